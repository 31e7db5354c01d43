//! What a setting holds when nobody has set it, as numbers.
//!
//! Where the kernel computes a default from memory, so does this, from the whole memory instead of what was free at boot:
//! the result is right within some percent, or within the power of two that the kernel rounds to.

use super::value;
use linger_facts::{DefaultValue, Sysctl, Version};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes of a page on x86-64 and on most arm64 kernels.
pub const PAGE: u64 = 4096;

/// The default's numbers; `None` where there is none, or where memory decides and is not known.
#[must_use]
pub fn ints(sysctl: &Sysctl, kernel: Version, ram: Option<u64>) -> Option<Vec<i64>> {
    match sysctl.default_for(kernel)? {
        DefaultValue::Fixed(text) => value::ints(text, 3).ok(),
        DefaultValue::Computed(_) => {
            let numbers = computed(sysctl.key, kernel, ram?)?;
            numbers.into_iter().map(|number| i64::try_from(number).ok()).collect()
        }
        DefaultValue::Absent => None,
    }
}

fn computed(key: &str, kernel: Version, ram: u64) -> Option<Vec<u64>> {
    // One bucket per 128 KiB, at most 512 Ki: alloc_large_system_hash() in tcp_init().
    let hash = (ram / (128 * KIB)).next_power_of_two().min(512 * KIB);
    let pages = ram / PAGE;
    // nf_conntrack_init_start(); below 1 GB it depends on what was free.
    let conntrack = match ram {
        ram if ram > 4 * GIB && kernel >= Version::new(4, 4) => 262_144,
        ram if ram > GIB => 65_536,
        _ if key.starts_with("net.netfilter.") => return None,
        _ => 0,
    };
    Some(match key {
        "net.ipv4.tcp_max_tw_buckets" | "net.ipv4.tcp_max_orphans" => vec![hash / 2],
        "net.ipv4.tcp_max_syn_backlog" => vec![(hash / 128).max(128)],
        "net.ipv4.tcp_mem" => {
            let pressure = pages / if kernel < Version::new(4, 4) { 8 } else { 16 };
            vec![pressure / 4 * 3, pressure, pressure / 4 * 6]
        }
        // tcp_init(): at most 1/128 of memory.
        "net.ipv4.tcp_rmem" => {
            let first = if kernel < Version::new(5, 0) { 87_380 } else { 131_072 };
            vec![4096, first, (ram / 128).min(rmem_cap(kernel)).max(first)]
        }
        "net.ipv4.tcp_wmem" => vec![4096, 16_384, (ram / 128).clamp(64 * KIB, 4 * MIB)],
        // files_maxfiles_init(): a tenth of memory in KiB.
        "fs.file-max" => vec![ram / KIB / 10],
        "net.netfilter.nf_conntrack_max" => vec![conntrack],
        "net.netfilter.nf_conntrack_buckets" if kernel < Version::new(5, 15) => vec![conntrack / 4],
        "net.netfilter.nf_conntrack_buckets" => vec![conntrack],
        _ => return None,
    })
}

/// The most that tcp_rmem's maximum is by default, in bytes, whatever the memory.
#[must_use]
pub fn rmem_cap(kernel: Version) -> u64 {
    if kernel < Version::new(6, 18) { 6 * MIB } else { 32 * MIB }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conntrack_is_sized_by_memory_and_version() {
        let of = |key: &str, kernel, gib: u64| {
            ints(linger_facts::sysctl(key).expect("known"), kernel, Some((gib << 30) - (200 << 20)))
        };
        for (kernel, gib, most, buckets) in [
            (Version::new(3, 10), 64, 65_536, 16_384),
            (Version::new(4, 4), 64, 262_144, 65_536),
            (Version::new(5, 10), 3, 65_536, 16_384),
            (Version::new(5, 15), 64, 262_144, 262_144),
            (Version::new(6, 18), 3, 65_536, 65_536),
        ] {
            assert_eq!(of("nf_conntrack_max", kernel, gib), Some(vec![most]), "{kernel}, {gib} GiB");
            assert_eq!(of("nf_conntrack_buckets", kernel, gib), Some(vec![buckets]), "{kernel}, {gib} GiB");
        }
        assert_eq!(of("nf_conntrack_max", Version::new(6, 18), 1), None);
        assert_eq!(of("tcp_max_tw_buckets", Version::new(6, 18), 1), Some(vec![4096]));
    }

    /// Of a machine with 24 GB and 6.18, by its own files.
    #[test]
    fn defaults_are_those_of_a_real_machine() {
        const RAM: u64 = 25_276_510_208;
        let of = |key: &str| {
            ints(linger_facts::sysctl(key).expect("known"), Version::new(6, 18), Some(RAM)).expect("computed")
        };
        assert_eq!(of("tcp_max_tw_buckets"), [131_072]);
        assert_eq!(of("tcp_max_orphans"), [131_072]);
        assert_eq!(of("tcp_rmem"), [4096, 131_072, 33_554_432]);
        assert_eq!(of("tcp_wmem"), [4096, 16_384, 4_194_304]);
        assert_eq!(of("nf_conntrack_max"), [262_144]);
        assert_eq!(of("somaxconn"), [4096]);
        let near = |a: i64, b: i64| (a as f64 / b as f64 - 1.0).abs() < 0.03;
        assert!(near(of("file-max")[0], 2_466_177));
        for (computed, real) in of("tcp_mem").into_iter().zip([287_901, 383_868, 575_802]) {
            assert!(near(computed, real), "{computed} {real}");
        }
    }
}
