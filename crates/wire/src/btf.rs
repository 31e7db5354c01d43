//! BTF, the kernel's description of its own types (Documentation/bpf/btf.rst): the names of an enum's values.

use crate::{Malformed, bytes};
use std::collections::BTreeMap;

const ENUM: u32 = 6;

/// The names of the values of an enum of 32 bits; `None` where the kernel has no such enum. What names a value first
/// counts.
pub fn enum_names(btf: &[u8], name: &str) -> Result<Option<BTreeMap<u32, String>>, Malformed> {
    let bad = |detail: &str| Malformed::new("BTF", detail);
    let word = |b: &[u8], at: usize| bytes::u32(b, at).ok_or_else(|| bad("it ends within a type"));
    if bytes::u16(btf, 0) != Some(0xeb9f) {
        return Err(bad("it does not begin with 0xeb9f in this machine's byte order"));
    }
    let size = |at: usize| Ok::<_, Malformed>(word(btf, at)? as usize);
    let section = |offset: usize, length: usize| {
        let start = offset.checked_add(size(4)?).ok_or_else(|| bad("a section lies outside"))?;
        let end = start.checked_add(length).ok_or_else(|| bad("a section lies outside"))?;
        btf.get(start..end).ok_or_else(|| bad("a section lies outside"))
    };
    let mut types = section(size(8)?, size(12)?)?;
    let strings = section(size(16)?, size(20)?)?;
    let text = |at: u32| -> Option<&[u8]> { strings.get(at as usize..)?.split(|b| *b == 0).next() };
    while !types.is_empty() {
        let (name_at, info) = (word(types, 0)?, word(types, 4)?);
        let (members, kind) = ((info & 0xffff) as usize, info >> 24 & 0x1f);
        let behind = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * members,
            ENUM | 13 => 8 * members,
            2 | 7..=12 | 16 | 18 => 0,
            _ => return Err(Malformed::new("BTF", format!("a type of the unknown kind {kind}"))),
        };
        let end = 12 + behind;
        let body = types.get(12..end).ok_or_else(|| bad("it ends within a type"))?;
        if kind == ENUM && text(name_at) == Some(name.as_bytes()) {
            let mut names = BTreeMap::new();
            for member in body.chunks_exact(8) {
                let value = word(member, 4)?;
                let name = text(word(member, 0)?).unwrap_or_default();
                names.entry(value).or_insert_with(|| String::from_utf8_lossy(name).into_owned());
            }
            return Ok(Some(names));
        }
        types = types.get(end..).unwrap_or_default();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An int, an enum `reason` with two values, and a struct of one member.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0reason\0NONE\0NO_SOCKET\0pair\0";
        let types: [u32; 20] = [
            1,
            1 << 24,
            4,
            32, // int
            28,
            4 << 24 | 1,
            4,
            1,
            1,
            0, // struct pair
            5,
            6 << 24 | 2,
            4,
            12,
            0,
            17,
            3, // enum reason
            0,
            2 << 24,
            1, // pointer
        ];
        let mut b = Vec::new();
        b.extend(0xeb9fu16.to_ne_bytes());
        b.extend([1, 0]);
        for word in [24, 0, 80, 80, strings.len() as u32] {
            b.extend(word.to_ne_bytes());
        }
        b.extend(types.iter().flat_map(|w| w.to_ne_bytes()));
        b.extend(strings);
        b
    }

    #[test]
    fn names_are_found_by_value() {
        let names = enum_names(&sample(), "reason").expect("BTF").expect("the enum");
        assert_eq!(names, BTreeMap::from([(0, "NONE".to_owned()), (3, "NO_SOCKET".to_owned())]));
        assert_eq!(enum_names(&sample(), "pair"), Ok(None));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = sample();
        for length in 0..whole.len() {
            assert!(enum_names(&whole[..length], "reason").is_err(), "{length} bytes");
        }
        assert!(enum_names(&[], "x").unwrap_err().to_string().starts_with("BTF: "));
    }

    #[test]
    fn the_running_kernels_own_are_read() {
        let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("SKIPPED: this kernel shows no BTF");
            return;
        };
        let names = enum_names(&btf, "bpf_prog_type").expect("BTF").expect("the enum");
        assert_eq!(names.get(&1).map(String::as_str), Some("BPF_PROG_TYPE_SOCKET_FILTER"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), start in any::<bool>()) {
            if start && bytes.len() >= 2 {
                bytes[..2].copy_from_slice(&0xeb9fu16.to_ne_bytes());
            }
            let _ = enum_names(&bytes, "x");
        }

        #[test]
        fn a_changed_byte_is_survived(at in 0usize..140, to in any::<u8>()) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = enum_names(&bytes, "reason");
        }
    }
}
