//! Foreign text in, records out: `ss`, `netstat`, `nstat`, `lsof`, `conntrack`, `sysctl` and the files of /proc.
//!
//! No IO: the caller feeds bytes, twice. The first pass, [`Survey`], finds what there is: pieces, listening sockets,
//! settings, counters. They may stand in any order, and the sockets can only be told apart (accepted, outgoing) once the
//! listening ones and the range of local ports are known. The second, [`Gathering`], streams the sockets of the best
//! pieces into the aggregates that a live reading fills, too.
//!
//! Memory is bounded by constants of this crate and by the aggregator, and `tests/memory.rs` holds it to that. A text
//! takes at most 64 KiB and 64 times its bytes, and never 64 MiB, whatever comes in. A sample of a recording takes at most
//! 8 MiB and 16 times its unpacked bytes; these are at most 64 MiB, and 255 times the packed ones.
#![forbid(unsafe_code)]

mod command;
mod gather;
mod netstat;
mod others;
mod paste;
mod reader;
pub mod recording;
mod redact;
mod ss;
mod survey;
pub mod tar;
mod text;

pub use gather::{Feed, Gathering, Imported};
pub use redact::Redactor;
pub use survey::{Options, Survey};

use linger_model::record::Family;

/// What a piece of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of sockets.
    Ss,
    /// `ss -s`.
    SsSummary,
    /// A table of sockets.
    Netstat,
    /// `netstat -s`.
    NetstatStatistics,
    /// `nstat`.
    Nstat,
    /// /proc/net/tcp or tcp6.
    ProcNetTcp(Family),
    /// /proc/net/sockstat or sockstat6.
    Sockstat,
    /// /proc/net/snmp or netstat.
    Counters,
    /// `sysctl -a`.
    Sysctl,
    /// `lsof -i`.
    Lsof,
    /// `conntrack -S`.
    ConntrackStat,
    /// `conntrack -L`.
    ConntrackList,
    /// `uname -a`, /proc/version.
    Uname,
    /// macOS's or a BSD's netstat.
    MacNetstat,
    /// Windows's netstat.
    WindowsNetstat,
}

impl Kind {
    /// The name that people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Ss => "ss",
            Kind::SsSummary => "ss -s",
            Kind::Netstat => "netstat",
            Kind::NetstatStatistics => "netstat -s",
            Kind::Nstat => "nstat",
            Kind::ProcNetTcp(Family::Ipv4) => "/proc/net/tcp",
            Kind::ProcNetTcp(Family::Ipv6) => "/proc/net/tcp6",
            Kind::Sockstat => "/proc/net/sockstat",
            Kind::Counters => "/proc/net/snmp or netstat",
            Kind::Sysctl => "sysctl",
            Kind::Lsof => "lsof",
            Kind::ConntrackStat => "conntrack -S",
            Kind::ConntrackList => "conntrack -L",
            Kind::Uname => "uname",
            Kind::MacNetstat => "netstat of macOS or a BSD",
            Kind::WindowsNetstat => "netstat of Windows",
        }
    }

    /// Whether it lists sockets.
    fn lists_sockets(self) -> bool {
        matches!(self, Kind::Ss | Kind::Netstat | Kind::ProcNetTcp(_) | Kind::Lsof)
    }

    /// Why it cannot be used, where it is another system's.
    fn refusal(self) -> Option<&'static str> {
        match self {
            Kind::MacNetstat => Some(
                "this is macOS's or a BSD's netstat: linger reads Linux's; its kernel has other states, counters and settings",
            ),
            Kind::WindowsNetstat => Some(
                "this is Windows's netstat: linger reads Linux's; its kernel has other states, counters and settings",
            ),
            _ => None,
        }
    }
}
