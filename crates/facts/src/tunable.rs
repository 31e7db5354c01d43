//! The settings that may be changed by a program, and the values that it may choose.
//!
//! Narrower than what the kernel accepts: a value that is only ever a mistake (a trap, a protection switched off, a size
//! that exhausts memory) is not among them, and neither is a setting whose right value hangs on more than a program can
//! see (`tcp_mem` on the memory, `ip_local_reserved_ports` on what will listen).

use crate::{Scope, Sysctl, Version, sysctl};
use std::fmt;

/// The values of a setting that a program may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// One integer from `min` to `max`, both included.
    Int {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// Three integers that never fall, each from `min` to `max`.
    Three {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// Two ports from `min` on, the lower first, at least 1000 apart.
    Ports {
        /// The lowest.
        min: u16,
    },
}

/// The fewest ports that a range may be cut down to.
const FEWEST_PORTS: u16 = 1000;

impl Accepts {
    /// The value as the kernel's file shows it: fields separated by one space.
    ///
    /// # Errors
    /// A clause that says what is expected, for a value that is none of these.
    pub fn normal(&self, value: &str) -> Result<String, String> {
        let fields: Vec<&str> = value.split_ascii_whitespace().collect();
        let numbers: Option<Vec<i64>> = fields.iter().map(|field| plain(field)).collect();
        let numbers = numbers.unwrap_or_default();
        let is_right = match (self, numbers.as_slice()) {
            (Self::Int { min, max }, [n]) => (min..=max).contains(&n),
            (Self::Three { min, max }, [a, b, c]) => min <= a && a <= b && b <= c && c <= max,
            (Self::Ports { min }, [low, high]) => {
                i64::from(*min) <= *low && low + i64::from(FEWEST_PORTS) <= *high && *high <= 65_535
            }
            _ => false,
        };
        let text = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
        if is_right { Ok(text) } else { Err(self.to_string()) }
    }
}

/// A decimal number as the kernel prints one: no sign, no leading zero (which the kernel would read as octal).
fn plain(text: &str) -> Option<i64> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

impl fmt::Display for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int { min, max } if min == max => write!(f, "only {min}"),
            Self::Int { min, max } => write!(f, "an integer from {min} to {max}"),
            Self::Three { min, max } => {
                write!(f, "three integers from {min} to {max}, none below the one before")
            }
            Self::Ports { min } => {
                write!(f, "two ports from {min} to 65535, the lower first, {FEWEST_PORTS} or more apart")
            }
        }
    }
}

/// A setting that a program may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunable {
    /// The full dotted key, one of [`crate::sysctls()`].
    pub key: &'static str,
    /// The values to choose from.
    pub accepts: Accepts,
}

impl Tunable {
    /// Everything else about it.
    ///
    /// # Panics
    /// Never: a test holds this table against that of the sysctls.
    #[must_use]
    pub fn sysctl(&self) -> &'static Sysctl {
        sysctl(self.key).expect("every tunable is in the table of sysctls")
    }

    /// Whether it is the whole host's on kernel `version`.
    #[must_use]
    pub fn is_host_wide(&self, version: Version) -> bool {
        self.sysctl().scope_in(version) == Scope::Host
    }
}

const fn int(key: &'static str, min: i64, max: i64) -> Tunable {
    Tunable { key, accepts: Accepts::Int { min, max } }
}

const MIB: i64 = 1 << 20;

/// Sorted by key.
static TABLE: &[Tunable] = &[
    int("fs.file-max", 65_536, 64 * MIB),
    int("net.core.netdev_max_backlog", 300, 100_000),
    int("net.core.somaxconn", 128, 65_535),
    Tunable { key: "net.ipv4.ip_local_port_range", accepts: Accepts::Ports { min: 1024 } },
    int("net.ipv4.tcp_abort_on_overflow", 0, 0),
    // 61 to 119 shorten what they seem to lengthen.
    int("net.ipv4.tcp_fin_timeout", 5, 60),
    int("net.ipv4.tcp_keepalive_intvl", 5, 75),
    int("net.ipv4.tcp_keepalive_probes", 3, 30),
    int("net.ipv4.tcp_keepalive_time", 60, 86_400),
    int("net.ipv4.tcp_max_orphans", 4096, MIB),
    int("net.ipv4.tcp_max_syn_backlog", 128, 65_535),
    int("net.ipv4.tcp_max_tw_buckets", 4096, 4 * MIB),
    int("net.ipv4.tcp_mtu_probing", 0, 1),
    int("net.ipv4.tcp_orphan_retries", 0, 15),
    int("net.ipv4.tcp_retries2", 8, 15),
    int("net.ipv4.tcp_rfc1337", 0, 1),
    Tunable { key: "net.ipv4.tcp_rmem", accepts: Accepts::Three { min: 4096, max: 64 * MIB } },
    int("net.ipv4.tcp_sack", 1, 1),
    int("net.ipv4.tcp_slow_start_after_idle", 0, 1),
    int("net.ipv4.tcp_syn_retries", 2, 10),
    int("net.ipv4.tcp_synack_retries", 2, 10),
    int("net.ipv4.tcp_syncookies", 1, 1),
    int("net.ipv4.tcp_timestamps", 1, 1),
    int("net.ipv4.tcp_tw_recycle", 0, 0),
    int("net.ipv4.tcp_tw_reuse", 0, 2),
    int("net.ipv4.tcp_tw_reuse_delay", 1000, 60_000),
    int("net.ipv4.tcp_window_scaling", 1, 1),
    Tunable { key: "net.ipv4.tcp_wmem", accepts: Accepts::Three { min: 4096, max: 64 * MIB } },
    int("net.netfilter.nf_conntrack_max", 16_384, 16 * MIB),
    int("net.netfilter.nf_conntrack_tcp_timeout_established", 3600, 432_000),
    int("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 30, 120),
];

/// Every tunable setting, sorted by key.
#[must_use]
pub fn tunables() -> &'static [Tunable] {
    TABLE
}

/// The tunable setting of exactly this dotted key; other spellings are none.
#[must_use]
pub fn tunable(key: &str) -> Option<&'static Tunable> {
    TABLE.binary_search_by(|it| it.key.cmp(key)).ok().map(|at| &TABLE[at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Range;

    #[test]
    fn the_table_is_sorted_and_of_known_sysctls_in_the_kernels_ranges() {
        assert!(TABLE.is_sorted_by(|a, b| a.key < b.key));
        for it in TABLE {
            assert_eq!(it.sysctl().key, it.key);
            assert_eq!(tunable(it.key), Some(it));
            if let (Some(Range::Ints { min, max }), Accepts::Int { min: low, max: high }) =
                (it.sysctl().range, it.accepts)
            {
                assert!(min <= low && low <= high && high <= max, "{}", it.key);
            }
        }
    }

    #[test]
    fn only_the_exact_key_is_one() {
        for key in [
            "tcp_tw_reuse",
            "net/ipv4/tcp_tw_reuse",
            "net.ipv4.tcp_tw_reuse ",
            "net.ipv4.TCP_TW_REUSE",
            "",
            "net.ipv4..tcp_tw_reuse",
            "kernel.panic",
            "net.ipv4.tcp_mem",
        ] {
            assert_eq!(tunable(key), None, "{key:?}");
        }
    }

    #[test]
    fn values_are_normal_or_refused() {
        let reuse = tunable("net.ipv4.tcp_tw_reuse").unwrap().accepts;
        assert_eq!(reuse.normal(" 1\n"), Ok("1".into()));
        for bad in ["", "3", "-1", "01", "0x1", "1 1", "+1", "99999999999999999999", "1\u{a0}"] {
            assert_eq!(reuse.normal(bad), Err("an integer from 0 to 2".into()), "{bad:?}");
        }
        let ports = tunable("net.ipv4.ip_local_port_range").unwrap().accepts;
        assert_eq!(ports.normal("15000\t64999"), Ok("15000 64999".into()));
        for bad in ["80 60999", "60999 32768", "32768 32769", "32768 65536", "32768"] {
            assert!(ports.normal(bad).is_err(), "{bad:?}");
        }
        let memory = tunable("net.ipv4.tcp_rmem").unwrap().accepts;
        assert_eq!(memory.normal("4096 131072 6291456"), Ok("4096 131072 6291456".into()));
        assert!(memory.normal("4096 6291456 131072").is_err() && memory.normal("1 2 3").is_err());
    }
}
