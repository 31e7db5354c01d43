//! What the kernel makes of a written value.
//!
//! proc_dointvec() and its kin read numbers up to the count that the setting has, separated by white space, in the bases
//! of C. What follows the last number is ignored if white space stands before it; a number with anything else behind it
//! refuses the whole write. Numbers that are missing leave the old ones.

use linger_facts::{Range, Sysctl};

/// How a setting's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// So many integers.
    Ints(usize),
    /// A text that the setting reads by itself.
    Text,
    /// Not at all: the file cannot be written.
    ReadOnly,
}

impl Shape {
    /// The shape of a setting.
    #[must_use]
    pub fn of(sysctl: &Sysctl) -> Shape {
        if matches!(sysctl.range, Some(Range::Text("read only")))
            || sysctl.key == "net.ipv4.tcp_ehash_entries"
        {
            return Shape::ReadOnly;
        }
        match sysctl.unit {
            "name" | "port list" => Shape::Text,
            "port port" => Shape::Ints(2),
            _ if matches!(sysctl.short(), "tcp_mem" | "tcp_rmem" | "tcp_wmem") => Shape::Ints(3),
            _ => Shape::Ints(1),
        }
    }
}

/// Why a value is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is none.
    Empty,
    /// Something that is no number, or runs on behind one.
    NotANumber,
    /// More than 64 bits.
    TooLarge,
}

/// The integers that the kernel takes from a text, at most `count`; never none.
///
/// # Errors
/// Where the kernel refuses the write whatever the setting.
pub fn ints(text: &str, count: usize) -> Result<Vec<i64>, Refused> {
    let mut taken = Vec::new();
    for word in text.split_ascii_whitespace().take(count) {
        // A word that is no number is ignored behind a full count only.
        taken.push(int(word)?);
    }
    if taken.is_empty() { Err(Refused::Empty) } else { Ok(taken) }
}

/// What follows the integers that the kernel takes, and is ignored.
#[must_use]
pub fn ignored_tail(text: &str, count: usize) -> Option<&str> {
    let mut rest = text.trim_ascii();
    for _ in 0..count {
        rest = rest.find(|c: char| c.is_ascii_whitespace()).map_or("", |at| rest[at..].trim_ascii_start());
    }
    (!rest.is_empty()).then_some(rest)
}

/// One number, in the base that its prefix says: `0x20`, `040` and `32` are the same.
fn int(word: &str) -> Result<i64, Refused> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(base)) {
        return Err(Refused::NotANumber);
    }
    let number = i64::from_str_radix(digits, base).map_err(|_| Refused::TooLarge)?;
    Ok(if negative { -number } else { number })
}

/// Whether a number is written so that people read another one: `050` is 40.
#[must_use]
pub fn reads_as_octal(word: &str) -> Option<i64> {
    let digits = word.strip_prefix('-').unwrap_or(word);
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.chars().all(|c| c.is_ascii_digit());
    octal.then(|| int(word).ok()).flatten().filter(|number| digits.parse() != Ok(number.abs()))
}

/// The bounds that the kernel checks, where facts know them as numbers.
#[must_use]
pub fn bounds(sysctl: &Sysctl) -> Option<(i64, i64)> {
    match sysctl.range? {
        Range::Ints { min, max } => Some((min, max)),
        // `0 to 255; every other value than 0 means on`.
        Range::Text(text) => {
            let (low, rest) = text.split_once(" to ")?;
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            Some((low.parse().ok()?, rest[..end].parse().ok()?))
        }
    }
}

/// Whether every kernel that has the setting takes this text, and all numbers of the setting with it; not so where that
/// cannot be told.
#[must_use]
pub fn surely_taken(sysctl: &Sysctl, text: &str) -> bool {
    // The start of the ports that anybody may bind: a range must not begin below.
    const UNPRIVILEGED: i64 = 1024;
    let Shape::Ints(count) = Shape::of(sysctl) else { return false };
    let Ok(ints) = ints(text, count) else { return false };
    let within = bounds(sysctl).is_none_or(|(min, max)| (min..=max).contains(&ints[0]));
    let fits = match sysctl.key {
        "net.ipv4.ip_local_port_range" => {
            matches!(ints[..], [low, high] if (UNPRIVILEGED..=high).contains(&low) && high <= 65_535)
        }
        // A listener's limit had 16 bits.
        "net.core.somaxconn" => ints[0] <= 65_535,
        _ => ints
            .iter()
            .all(|number| (i64::from(sysctl.unit == "bytes")..=i64::from(i32::MAX)).contains(number)),
    };
    ints.len() == count && within && fits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written to /proc/sys on 6.18.
    #[test]
    fn numbers_are_read_as_the_kernel_reads_them() {
        for (text, count, wanted) in [
            ("30 ; trailing", 1, Ok(vec![30])),
            ("31 # c", 1, Ok(vec![31])),
            ("32# c", 1, Err(Refused::NotANumber)),
            ("33s", 1, Err(Refused::NotANumber)),
            ("34,", 1, Err(Refused::NotANumber)),
            ("0x20", 1, Ok(vec![32])),
            ("050", 1, Ok(vec![40])),
            ("35 36", 1, Ok(vec![35])),
            ("abc", 1, Err(Refused::NotANumber)),
            ("\"37\"", 1, Err(Refused::NotANumber)),
            ("60.5", 1, Err(Refused::NotANumber)),
            ("-5", 1, Ok(vec![-5])),
            ("", 1, Err(Refused::Empty)),
            ("4096 87380", 3, Ok(vec![4096, 87380])),
            ("4096 131072 6291456 7", 3, Ok(vec![4096, 131_072, 6_291_456])),
            ("4096, 87380, 7000000", 3, Err(Refused::NotANumber)),
            ("4096 131072 # c", 3, Err(Refused::NotANumber)),
            ("4096 131072 6291456 # c", 3, Ok(vec![4096, 131_072, 6_291_456])),
            ("1024-65535", 2, Err(Refused::NotANumber)),
            ("99999999999999999999", 1, Err(Refused::TooLarge)),
        ] {
            assert_eq!(ints(text, count), wanted, "{text:?}");
        }
        assert_eq!(reads_as_octal("050"), Some(40));
        assert_eq!((reads_as_octal("0"), reads_as_octal("07"), reads_as_octal("50")), (None, None, None));
        assert_eq!(ignored_tail("35 36", 1), Some("36"));
        assert_eq!((ignored_tail("1 2 3", 3), ignored_tail("1 # c", 1)), (None, Some("# c")));
    }

    #[test]
    fn what_may_be_refused_is_not_surely_taken() {
        let of = |key, text| surely_taken(linger_facts::sysctl(key).expect("known"), text);
        for (key, text) in [
            ("net.ipv4.tcp_retries2", "12"),
            ("net.ipv4.tcp_rmem", "4096 131072 6291456"),
            ("net.ipv4.ip_local_port_range", "1024 65535"),
        ] {
            assert!(of(key, text), "{key} = {text}");
        }
        for (key, text) in [
            ("net.ipv4.tcp_retries2", "300"),
            ("net.ipv4.tcp_rmem", "4096 131072"),
            ("net.ipv4.tcp_rmem", "0 131072 6291456"),
            ("net.ipv4.ip_local_port_range", "60000 50000"),
            ("net.ipv4.ip_local_port_range", "1000 65535"),
            ("net.ipv4.tcp_congestion_control", "bbr"),
            ("net.core.somaxconn", "65536"),
        ] {
            assert!(!of(key, text), "{key} = {text}");
        }
    }

    #[test]
    fn bounds_are_found_in_words_too() {
        let of = |key| bounds(linger_facts::sysctl(key).expect("known"));
        assert_eq!(of("net.ipv4.tcp_tw_reuse"), Some((0, 2)));
        assert_eq!(of("net.ipv4.tcp_sack"), Some((0, 255)));
        assert_eq!(of("net.core.somaxconn"), Some((0, 2_147_483_647)));
        assert_eq!(of("fs.nr_open"), Some((64, 2_147_483_584)));
        assert_eq!(of("net.ipv4.tcp_fin_timeout"), None);
    }
}
