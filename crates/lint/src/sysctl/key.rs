//! The name of a sysctl, however it is written.

use std::fmt;

/// A sysctl's place under `/proc/sys`. `net.ipv4.conf.eth0/100.rp_filter` and `net/ipv4/conf/eth0.100/rp_filter` are the
/// same: whichever separator comes first separates, and the other one is part of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

impl Key {
    /// Reads a key as both systemd-sysctl and sysctl(8) do: the first separator decides.
    #[must_use]
    pub fn new(written: &str) -> Key {
        // Both know no white space but that of C: a no-break space is part of the key.
        let written = written.trim_matches([' ', '\t', '\r', '\n', '\x0b', '\x0c']);
        let written = written.strip_prefix("/proc/sys/").unwrap_or(written);
        let dots_separate = written.find(['/', '.']).is_some_and(|at| written.as_bytes()[at] == b'.');
        let path = if dots_separate { swap(written) } else { written.to_owned() };
        // As files are opened: `net//ipv4` is `net/ipv4`.
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        Key(parts.join("/"))
    }

    /// Under `/proc/sys`: `net/ipv4/conf/eth0.100/rp_filter`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }

    /// As people write it: `net.ipv4.conf.eth0/100.rp_filter`.
    #[must_use]
    pub fn dotted(&self) -> String {
        swap(&self.0)
    }

    /// Whether it stands for every key that fits it.
    #[must_use]
    pub fn is_glob(&self) -> bool {
        self.0.contains(['*', '?', '['])
    }

    /// Whether it would leave `/proc/sys`.
    #[must_use]
    pub fn escapes(&self) -> bool {
        self.0.split('/').any(|part| part == ".." || part == ".")
    }

    /// Whether this pattern fits another key, as glob(3) has it: `*` does not match `/`, nor a leading dot.
    #[must_use]
    pub fn matches(&self, other: &Key) -> bool {
        let (mut patterns, mut names) = (self.0.split('/'), other.0.split('/'));
        loop {
            match (patterns.next(), names.next()) {
                (None, None) => return true,
                (Some(pattern), Some(name)) if glob_matches(pattern, name) => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dotted())
    }
}

fn swap(text: &str) -> String {
    let other = |c| match c {
        '.' => '/',
        '/' => '.',
        c => c,
    };
    text.chars().map(other).collect()
}

/// Whether a name without `/` fits a pattern of `*`, `?` and `[…]`.
#[must_use]
pub fn glob_matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    if name.first() == Some(&'.') && pattern.first() != Some(&'.') {
        return false;
    }
    let (mut p, mut n) = (0, 0);
    // Where to go on when the last star has to take one character more.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        let step = match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[p..], name[n]),
            Some(c) if *c == name[n] => Some(1),
            _ => None,
        };
        match (step, star) {
            (Some(width), _) => {
                p += width;
                n += 1;
            }
            (None, Some((at, taken))) => {
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
            (None, None) => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// The width of a `[…]` that holds the character; a bracket that is never closed stands for itself.
fn class(pattern: &[char], wanted: char) -> Option<usize> {
    let negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if negated { 2 } else { 1 };
    let Some(end) = (first + 1..pattern.len()).find(|i| pattern[*i] == ']') else {
        return (wanted == '[').then_some(1);
    };
    let mut held = false;
    let mut at = first;
    while at < end {
        if at + 2 < end && pattern[at + 1] == '-' {
            held |= (pattern[at]..=pattern[at + 2]).contains(&wanted);
            at += 3;
        } else {
            held |= pattern[at] == wanted;
            at += 1;
        }
    }
    (held != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators_name_the_same_key() {
        let wanted = "net/ipv4/conf/eth0.100/rp_filter";
        for written in [
            "net.ipv4.conf.eth0/100.rp_filter",
            "net/ipv4/conf/eth0.100/rp_filter",
            "/net/ipv4/conf/eth0.100/rp_filter",
            "/proc/sys/net/ipv4/conf/eth0.100/rp_filter",
            " net.ipv4.conf.eth0/100.rp_filter ",
        ] {
            assert_eq!(Key::new(written).path(), wanted, "{written}");
        }
        assert_eq!(Key::new(wanted).dotted(), "net.ipv4.conf.eth0/100.rp_filter");
        assert_eq!(Key::new("kernel").path(), "kernel");
        assert_eq!(Key::new("net.ipv4.tcp_sack\u{a0}").path(), "net/ipv4/tcp_sack\u{a0}");
        assert!(Key::new("net/../../etc/passwd").escapes() && !Key::new("net.ipv4.a").escapes());
    }

    #[test]
    fn patterns_fit_as_glob_has_it() {
        let fits = |pattern: &str, key: &str| Key::new(pattern).matches(&Key::new(key));
        assert!(fits("net.ipv4.conf.*.rp_filter", "net.ipv4.conf.eth0/100.rp_filter"));
        assert!(fits("net.ipv4.conf.eth[0-9].rp_filter", "net.ipv4.conf.eth7.rp_filter"));
        assert!(!fits("net.ipv4.conf.eth[!0-9].rp_filter", "net.ipv4.conf.eth7.rp_filter"));
        assert!(!fits("net.*.rp_filter", "net.ipv4.conf.all.rp_filter"));
        assert!(fits("net.ipv4.tcp_*_s*e", "net.ipv4.tcp_a_b_ssse"));
        assert!(glob_matches("a[", "a[") && !glob_matches("a[", "ab") && !glob_matches("*", ".a"));
        assert!(glob_matches("*", "") && glob_matches("**a*", "bab") && !glob_matches("a?", "a"));
    }
}
