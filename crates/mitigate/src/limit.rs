//! New connections to a port, limited for each source: the nftables ruleset.
//!
//! What it is made of, and why so:
//!
//! - It hangs in the *input* hook: there the port is the listener's own, after any translation, and only what is for
//!   this host comes by; what is forwarded is not touched. It comes before the operator's own filter (priority −10),
//!   whose rules still judge whatever is let through. An earlier hook would spare connection tracking its look at a SYN
//!   that is dropped; it gains little, since nothing enters that table before a packet has passed input.
//! - A SYN is told by its flags, not by connection tracking, which a flood fills and which may not be there.
//! - The port is an element with a timeout. Once it is gone, nothing is looked at any more, whether or not linger runs.
//! - Sources are elements that packets make, each with a token bucket; IPv6 by /64, which is one customer. The sets are
//!   bounded. A source that finds no place is let through (the expression that should add it ends the rule), and
//!   counted by a rule of its own.

use std::fmt::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use linger_model::Addr;
use linger_wire::bytecode::Prefix;

use crate::table::Table;

/// The table's name, in the family `inet`.
pub const TABLE: &str = "linger";
/// Sources that are remembered for each port and family, unless another number is asked for.
pub const SOURCES: u32 = 65_536;
/// Bytes that a remembered source takes, measured on Linux 6.18: 12.2 MB of slabs for 65,536.
pub const SOURCE_BYTES: u64 = 192;
/// A limit lasts this long at the most.
pub const MOST_LASTING: Duration = Duration::from_secs(24 * 3600);
/// What every rule of linger's says of itself.
pub(crate) const MARK: &str = "linger mitigate";
/// The set of the ports.
pub(crate) const PORTS: &str = "ports";
/// The chain that sees every SYN for this host.
pub(crate) const INPUT: &str = "input";
/// A source is forgotten after so many seconds without a SYN, or later: not before its bucket is full again.
const FORGET_S: u64 = 60;

/// What a rate is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
}

/// New connections in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Per,
}

impl Rate {
    /// The most that is taken.
    pub const MOST: u32 = 1_000_000;

    /// Seconds until so many tokens are there again.
    fn refill_s(self, burst: u32) -> u64 {
        let unit = match self.per {
            Per::Second => 1,
            Per::Minute => 60,
        };
        (u64::from(burst) * unit).div_ceil(u64::from(self.count.max(1)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => "second",
            Per::Minute => "minute",
        };
        write!(f, "{}/{per}", self.count)
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `20`, `20/s`, `100/min`.
    fn from_str(text: &str) -> Result<Rate, String> {
        let bad = || format!("a rate like 20/s or 100/min is expected, from 1 to {}", Rate::MOST);
        let (count, per) = text.split_once('/').unwrap_or((text, "s"));
        let per = match per.trim() {
            "s" | "sec" | "second" => Per::Second,
            "m" | "min" | "minute" => Per::Minute,
            _ => return Err(bad()),
        };
        let count = count.trim().parse().ok().filter(|count| (1..=Rate::MOST).contains(count));
        Ok(Rate { count: count.ok_or_else(bad)?, per })
    }
}

/// A limit of the new connections to one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SynLimit {
    /// The listener's port.
    pub port: u16,
    /// Only connections to this address of the host.
    pub addr: Option<Addr>,
    /// How many a source may make, over time.
    pub rate: Rate,
    /// How many at once beyond that.
    pub burst: u32,
    /// How long it lasts; whole seconds.
    pub lasts: Duration,
    /// Sources that are not limited.
    pub allow: Vec<Prefix>,
    /// Count, and drop nothing.
    pub preview: bool,
    /// Sources to remember, of each family.
    pub sources: u32,
}

/// A source of IPv6 is its /64.
const SUBNET: &str = "ip6 saddr & ffff:ffff:ffff:ffff::";

impl SynLimit {
    /// What `nft -f -` must be given so that this limit is in force beside those that are there; one transaction.
    ///
    /// A limit of the same port is replaced, and those that have expired are taken out.
    #[must_use]
    pub fn ruleset(&self, present: &Table) -> String {
        let mut out = String::new();
        let stays: Vec<_> =
            present.limits.iter().filter(|it| it.port != self.port && it.expires_s.is_some()).collect();
        let goes = present.limits.iter().filter(|it| it.port == self.port || it.expires_s.is_none());
        if stays.is_empty() {
            if present.is_there {
                let _ = writeln!(out, "delete table inet {TABLE}");
            }
            self.begin(&mut out);
        } else {
            for it in goes {
                for handle in &it.jumps {
                    let _ = writeln!(out, "delete rule inet {TABLE} {INPUT} handle {handle}");
                }
                let _ = writeln!(out, "flush chain inet {TABLE} {}", chain(it.port));
                let _ = writeln!(out, "delete chain inet {TABLE} {}", chain(it.port));
                for set in sets(it.port).iter().filter(|it| present.sets.contains(*it)) {
                    let _ = writeln!(out, "delete set inet {TABLE} {set}");
                }
            }
            // Setting the time of an element that is there means to take it out first, and it may go meanwhile.
            let _ = writeln!(out, "flush set inet {TABLE} {PORTS}");
        }
        self.port_chain(&mut out);
        let mut elements = vec![format!("{} timeout {}s", self.port, self.lasts.as_secs().max(1))];
        elements.extend(
            stays.iter().map(|it| format!("{} timeout {}s", it.port, it.expires_s.unwrap_or(1).max(1))),
        );
        let _ = writeln!(out, "add element inet {TABLE} {PORTS} {{ {} }}", elements.join(", "));
        out
    }

    /// The table, and the chain that sees every SYN for this host.
    fn begin(&self, out: &mut String) {
        let mut line = |text: &str| {
            let _ = writeln!(out, "add {text}");
        };
        line(&format!("table inet {TABLE}"));
        line(&format!("set inet {TABLE} {PORTS} {{ type inet_service; flags timeout; }}"));
        line(&format!(
            "chain inet {TABLE} {INPUT} {{ type filter hook input priority filter - 10; policy accept; }}"
        ));
        let mut rule = |text: &str| line(&format!("rule inet {TABLE} {INPUT} {text} comment \"{MARK}\""));
        rule("tcp flags & (fin | syn | rst | ack) != syn return");
        rule(&format!("tcp dport != @{PORTS} return"));
        rule("iifname \"lo\" return");
    }

    fn port_chain(&self, out: &mut String) {
        let port = self.port;
        let [sources4, sources6, allow4, allow6] = sets(port);
        // A source whose bucket is not full yet must not be forgotten: it would begin with a full one.
        let forget = self.rate.refill_s(self.burst).saturating_add(1).max(FORGET_S);
        for (name, kind) in [(&sources4, "ipv4_addr"), (&sources6, "ipv6_addr")] {
            let _ = writeln!(
                out,
                "add set inet {TABLE} {name} {{ type {kind}; size {}; flags dynamic,timeout; timeout {forget}s; }}",
                self.sources.max(1)
            );
        }
        for (name, kind, is_v4) in [(&allow4, "ipv4_addr", true), (&allow6, "ipv6_addr", false)] {
            let networks: Vec<String> =
                self.allow.iter().filter(|it| it.addr.is_v4() == is_v4).map(network).collect();
            let elements = match networks.is_empty() {
                true => String::new(),
                false => format!(" elements = {{ {} }};", networks.join(", ")),
            };
            let _ = writeln!(
                out,
                "add set inet {TABLE} {name} {{ type {kind}; flags interval; auto-merge;{elements} }}"
            );
        }
        let chain = chain(port);
        let _ = writeln!(out, "add chain inet {TABLE} {chain}");
        let verdict = if self.preview { "" } else { " drop" };
        let mut rule = |text: &str, what: &str| {
            let _ = writeln!(out, "add rule inet {TABLE} {chain} {text} comment \"{MARK}: {what}\"");
        };
        if let Some(addr) = self.addr {
            let family = if addr.is_v4() { "ip" } else { "ip6" };
            // The other family's connections have another address, too.
            let other = if addr.is_v4() { "ipv6" } else { "ipv4" };
            rule(&format!("meta nfproto {other} return"), "another address");
            rule(&format!("{family} daddr != {addr} return"), "another address");
        }
        rule(&format!("ip saddr @{allow4} counter return"), "allowed");
        rule(&format!("ip6 saddr @{allow6} counter return"), "allowed");
        rule("counter", "seen");
        let bucket = format!("limit rate over {} burst {} packets", self.rate, self.burst);
        rule(&format!("update @{sources4} {{ ip saddr {bucket} }} counter{verdict}"), "over");
        rule(&format!("update @{sources6} {{ {SUBNET} {bucket} }} counter{verdict}"), "over");
        rule(&format!("ip saddr != @{sources4} counter"), "no place");
        rule(&format!("{SUBNET} != @{sources6} counter"), "no place");
        let _ =
            writeln!(out, "add rule inet {TABLE} {INPUT} tcp dport {port} jump {chain} comment \"{MARK}\"");
    }
}

/// The chain of a port.
pub(crate) fn chain(port: u16) -> String {
    format!("port_{port}")
}

/// The sets of a port: sources, then allowed networks, of IPv4 and IPv6 each.
pub(crate) fn sets(port: u16) -> [String; 4] {
    ["sources4", "sources6", "allow4", "allow6"].map(|name| format!("{name}_{port}"))
}

/// A network without the bits of a host.
fn network(prefix: &Prefix) -> String {
    let length = if prefix.addr.is_v4() { 96 + u32::from(prefix.length) } else { u32::from(prefix.length) };
    let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
    let bits = u128::from_be_bytes(*prefix.addr.bytes()) & mask;
    // Of an IPv4 address the bits before its own stay.
    let addr = if prefix.addr.is_v4() {
        Addr::v4((bits as u32).to_be_bytes())
    } else {
        Addr::v6(bits.to_be_bytes())
    };
    format!("{addr}/{}", prefix.length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn prefix(text: &str, length: u8) -> Prefix {
        Prefix { addr: text.parse::<IpAddr>().unwrap().into(), length }
    }

    fn limit(port: u16) -> SynLimit {
        SynLimit {
            port,
            addr: None,
            rate: "10/s".parse().unwrap(),
            burst: 20,
            lasts: Duration::from_secs(600),
            allow: Vec::new(),
            preview: false,
            sources: SOURCES,
        }
    }

    #[test]
    fn rates_are_read() {
        assert_eq!("20".parse(), Ok(Rate { count: 20, per: Per::Second }));
        assert_eq!("100/min".parse(), Ok(Rate { count: 100, per: Per::Minute }));
        for bad in ["", "0", "0/s", "-1", "1/h", "1/", "1000001", "1e3", "1.5/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_lose_their_host_bits() {
        assert_eq!(network(&prefix("10.1.2.3", 8)), "10.0.0.0/8");
        assert_eq!(network(&prefix("10.1.2.3", 0)), "0.0.0.0/0");
        assert_eq!(network(&prefix("10.1.2.3", 32)), "10.1.2.3/32");
        assert_eq!(network(&prefix("fd00::1:2", 64)), "fd00::/64");
        assert_eq!(network(&prefix("fd00::1", 0)), "::/0");
    }

    #[test]
    fn a_source_is_not_forgotten_before_its_bucket_is_full() {
        let slow = SynLimit { rate: "1/min".parse().unwrap(), burst: 100, ..limit(443) };
        assert!(slow.ruleset(&Table::default()).contains("timeout 6001s"));
        assert!(limit(443).ruleset(&Table::default()).contains("timeout 60s"));
    }

    #[test]
    fn a_preview_drops_nothing_and_says_nothing_else() {
        let preview = SynLimit { preview: true, ..limit(443) }.ruleset(&Table::default());
        assert!(!preview.contains("drop"));
        assert_eq!(preview, limit(443).ruleset(&Table::default()).replace(" drop", ""));
    }
}
