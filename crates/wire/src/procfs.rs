//! Other texts of /proc: limits, and the names of descriptors.

/// The soft limit of open files from /proc/PID/limits; `u64::MAX` for `unlimited`.
pub fn open_files_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

/// The inode of a descriptor's link: `socket:[1234]`.
#[inline]
pub fn socket_inode(link: &[u8]) -> Option<u32> {
    let digits = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    inode(digits)
}

/// The inode of a namespace's link: `net:[4026531840]`.
pub fn netns_inode(link: &[u8]) -> Option<u32> {
    inode(link.strip_prefix(b"net:[")?.strip_suffix(b"]")?)
}

fn inode(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u32, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u32::from(digit.checked_sub(b'0').filter(|d| *d < 10)?))
    })
}

/// A value by its name from `name value` lines (memory.stat, memory.events).
pub fn named_value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_and_links_are_read() {
        let limits = "Limit   Soft Limit Hard Limit Units\nMax open files            1024                 20000  files\n";
        assert_eq!(open_files_limit(limits), Some(1024));
        assert_eq!(open_files_limit("Max open files unlimited unlimited files"), Some(u64::MAX));
        assert_eq!((socket_inode(b"socket:[123]"), socket_inode(b"pipe:[1]")), (Some(123), None));
        assert_eq!(socket_inode(b"socket:[99999999999]"), None);
        assert_eq!(netns_inode(b"net:[4026531840]"), Some(4026531840));
        assert_eq!(named_value("sock 42\nsock_x 7\n", "sock"), Some(42));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,200}") {
            let _ = (open_files_limit(&text), named_value(&text, "sock"));
            let _ = (socket_inode(text.as_bytes()), netns_inode(text.as_bytes()));
        }
    }
}
