//! What the kernel's TCP states, counters, sysctls and errnos are, by version, with sources.
//!
//! Data only: no IO, no dependency on the rest of linger, no panics. Every entry cites the kernel file,
//! the commit or the measurement it rests on. Where only distribution trees were read, a version is a
//! bracket ("absent in the 4.18 tree, present in the 5.4 tree") and the text says so. Distributions
//! backport, so a reader of these tables probes for the feature and uses the version only to explain.
//!
//! # Architecture invariant
//!
//! Nothing here reads a file or the clock, and nothing here decides: thresholds and verdicts belong to
//! the rules.
#![forbid(unsafe_code)]

pub mod cookbook;
mod counters;
pub mod errnos;
pub mod metrics;
mod role;
mod shorthand;
mod states;
mod sysctls;
pub mod topics;
mod tunable;

pub use counters::DECIDING;
pub use role::Role;
pub use tunable::{Accepts, Tunable, tunable, tunables};

use std::cmp::Ordering;
use std::fmt;

/// A kernel version (major, minor); patch levels are irrelevant because distributions backport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number of `uname -r`.
    pub major: u16,
    /// The second number of `uname -r`.
    pub minor: u16,
}

impl Version {
    /// The oldest kernel these tables speak about (RHEL 7 and CentOS 7 carry it).
    pub const OLDEST: Self = Self::new(3, 10);
    /// The newest kernel that these tables were checked against.
    pub const NEWEST: Self = Self::new(6, 18);

    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Reads the start of a `uname -r` string: `6.18.44-fc`, `5.4.0-150-generic`, `6.19-rc1`, `3.10`.
    ///
    /// Returns `None` when the text does not start with two numbers joined by a dot.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let (major, rest) = leading_number(release.trim())?;
        let (minor, _) = leading_number(rest.strip_prefix('.')?)?;
        Some(Self { major, minor })
    }
}

/// Splits a leading decimal number off a text.
fn leading_number(text: &str) -> Option<(u16, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl std::str::FromStr for Version {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).ok_or(BadVersion)
    }
}

/// A text that is no kernel version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadVersion;

impl fmt::Display for BadVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a kernel version: expected something like 6.18 or 5.4.0-150-generic")
    }
}

impl std::error::Error for BadVersion {}

/// Whose value a sysctl or counter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Each network namespace has its own; a new namespace starts from the kernel's default.
    Netns,
    /// One for the whole host. Usually the file is absent, or read-only, in a child namespace.
    Host,
    /// Per network namespace since this version, one for the host before.
    NetnsSince(Version),
}

impl Scope {
    /// The scope on kernel `version`: only ever [`Scope::Netns`] or [`Scope::Host`].
    #[must_use]
    pub fn on(self, version: Version) -> Self {
        match self {
            Self::NetnsSince(since) if version >= since => Self::Netns,
            Self::NetnsSince(_) => Self::Host,
            fixed => fixed,
        }
    }
}

/// Where a claim comes from: a kernel file and function, a commit, a document, or a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(pub &'static str);

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A wrong belief that people hold, and what is true instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Belief {
    /// What people say.
    pub claim: &'static str,
    /// What the kernel does.
    pub truth: &'static str,
}

/// A default value, from some version on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DefaultSince {
    /// The first version with this default; [`Version::OLDEST`] means "as far back as we look".
    pub since: Version,
    /// The default.
    pub value: DefaultValue,
}

/// What a sysctl holds when nobody has set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DefaultValue {
    /// A constant, as the file shows it, fields separated by one space: `32768 60999`.
    Fixed(&'static str),
    /// Computed at boot or copied from somewhere: the formula, in words.
    Computed(&'static str),
    /// The file does not exist on mainline kernels of this version.
    Absent,
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed("") => f.write_str("(empty)"),
            Self::Fixed(text) | Self::Computed(text) => f.write_str(text),
            Self::Absent => f.write_str("(does not exist)"),
        }
    }
}

/// The values that a sysctl accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// Integers from `min` to `max`, both included. The kernel refuses others with EINVAL.
    Ints {
        /// The smallest value accepted.
        min: i64,
        /// The largest value accepted.
        max: i64,
    },
    /// Anything else, in words.
    Text(&'static str),
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ints { min, max } => write!(f, "{min} to {max}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A kernel setting under `/proc/sys`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sysctl {
    /// The full dotted key: `net.ipv4.tcp_tw_reuse`.
    pub key: &'static str,
    /// One line: what it is.
    pub summary: &'static str,
    /// What it really does.
    pub meaning: &'static str,
    /// The unit of its value: `s`, `pages`, `sockets`, `bytes`, `bool`, `mode`.
    pub unit: &'static str,
    /// What the kernel accepts, where it is known.
    pub range: Option<Range>,
    /// Values with a meaning of their own, and that meaning.
    pub values: &'static [(&'static str, &'static str)],
    /// Per network namespace or host-wide.
    pub scope: Scope,
    /// The first version that has it; `None` if it is older than [`Version::OLDEST`].
    pub since: Option<Version>,
    /// The first version that no longer has it.
    pub until: Option<Version>,
    /// Defaults, oldest first.
    pub defaults: &'static [DefaultSince],
    /// Wrong beliefs about it.
    pub beliefs: &'static [Belief],
    /// Related sysctls, counters, states and rule codes.
    pub see: &'static [&'static str],
    /// Where all this comes from.
    pub sources: &'static [Source],
}

impl Sysctl {
    /// The default on kernel `version`, or `None` if this sysctl is not there (or older than we know).
    #[must_use]
    pub fn default_for(&self, version: Version) -> Option<DefaultValue> {
        if !within(self.since, self.until, version) {
            return None;
        }
        self.defaults
            .iter()
            .rev()
            .find(|d| d.since <= version)
            .map(|d| d.value)
            .filter(|value| *value != DefaultValue::Absent)
    }

    /// Whether a mainline kernel of this version has the file. Distributions backport: probe as well.
    #[must_use]
    pub fn exists_in(&self, version: Version) -> bool {
        within(self.since, self.until, version)
            && self
                .defaults
                .iter()
                .rev()
                .find(|d| d.since <= version)
                .is_none_or(|d| d.value != DefaultValue::Absent)
    }

    /// The scope on kernel `version`: only ever [`Scope::Netns`] or [`Scope::Host`].
    #[must_use]
    pub fn scope_in(&self, version: Version) -> Scope {
        self.scope.on(version)
    }

    /// The file's path: `/proc/sys/net/ipv4/tcp_tw_reuse`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/sys/{}", self.key.replace('.', "/"))
    }

    /// The key without its directories: `tcp_tw_reuse`.
    #[must_use]
    pub fn short(&self) -> &'static str {
        last_part(self.key)
    }
}

/// A counter or gauge that the kernel exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Its full name: `TcpExt.ListenOverflows`, `Tcp.RetransSegs`, `sockstat.TCP.tw`, `softnet.dropped`,
    /// `conntrack.insert_failed`.
    pub name: &'static str,
    /// The file that shows it: `/proc/net/netstat`.
    pub file: &'static str,
    /// One line: what it counts.
    pub summary: &'static str,
    /// When the kernel moves it, and what that tells.
    pub meaning: &'static str,
    /// Per network namespace or host-wide.
    pub scope: Scope,
    /// The first version that has it; `None` if it is older than [`Version::OLDEST`].
    pub since: Option<Version>,
    /// The first version that no longer has it.
    pub until: Option<Version>,
    /// Wrong beliefs about it.
    pub beliefs: &'static [Belief],
    /// Changes of meaning, oldest first.
    pub changes: &'static [(Version, &'static str)],
    /// Related sysctls, counters, states and rule codes.
    pub see: &'static [&'static str],
    /// Where all this comes from.
    pub sources: &'static [Source],
}

impl Counter {
    /// Whether a mainline kernel of this version has it. Distributions backport: look by name as well.
    #[must_use]
    pub fn exists_in(&self, version: Version) -> bool {
        within(self.since, self.until, version)
    }

    /// The scope on kernel `version`: only ever [`Scope::Netns`] or [`Scope::Host`].
    #[must_use]
    pub fn scope_in(&self, version: Version) -> Scope {
        self.scope.on(version)
    }

    /// The name without its group: `ListenOverflows`.
    #[must_use]
    pub fn short(&self) -> &'static str {
        last_part(self.name)
    }
}

/// A state of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The name in linger's output: `time_wait`.
    pub name: &'static str,
    /// The name as people write it: `TIME_WAIT`.
    pub display: &'static str,
    /// The kernel's number (`include/net/tcp_states.h`), as sock_diag uses it.
    pub number: u8,
    /// What the state is.
    pub meaning: &'static str,
    /// Which side holds it, and who is to blame when there are many.
    pub who: &'static str,
    /// The normal range, in words.
    pub normal: &'static str,
    /// The count below which nobody needs to look (a default for configuration), where there is one.
    pub normal_below: Option<u64>,
    /// The count above which it is a signal (a default for configuration), where there is one.
    pub alert_above: Option<u64>,
    /// What ends it, and when.
    pub ends: &'static str,
    /// What a socket in this state costs.
    pub cost: &'static str,
    /// Wrong beliefs about it.
    pub beliefs: &'static [Belief],
    /// Related sysctls, counters, states and rule codes.
    pub see: &'static [&'static str],
    /// Where all this comes from.
    pub sources: &'static [Source],
}

/// Whether `version` lies in `since..until`.
fn within(since: Option<Version>, until: Option<Version>, version: Version) -> bool {
    since.is_none_or(|v| version >= v) && until.is_none_or(|v| version < v)
}

/// What follows the last dot.
fn last_part(name: &'static str) -> &'static str {
    name.rsplit('.').next().unwrap_or(name)
}

/// Every sysctl, by theme, sorted by key within each theme.
pub fn sysctls() -> impl Iterator<Item = &'static Sysctl> + Clone {
    sysctls::TABLES.iter().flat_map(|table| table.iter())
}

/// Every counter, by theme, sorted by name within each theme.
pub fn counters() -> impl Iterator<Item = &'static Counter> + Clone {
    counters::TABLES.iter().flat_map(|table| table.iter())
}

/// Every state, in the kernel's order of numbers.
#[must_use]
pub fn states() -> &'static [State] {
    states::TABLE
}

/// Finds a sysctl by `net.ipv4.tcp_tw_reuse`, `net/ipv4/tcp_tw_reuse`, `/proc/sys/net/ipv4/tcp_tw_reuse`
/// or the bare `tcp_tw_reuse`; upper and lower case are the same.
#[must_use]
pub fn sysctl(key: &str) -> Option<&'static Sysctl> {
    let key = key.trim();
    let key = key.strip_prefix("/proc/sys/").unwrap_or(key);
    let key = key.replace('/', ".").to_ascii_lowercase();
    let key = match key.trim_matches('.') {
        "" => return None,
        // The kernel shows this one under two names.
        "net.nf_conntrack_max" => "net.netfilter.nf_conntrack_max",
        other => other,
    };
    sysctls::TABLES
        .iter()
        .find_map(|table| find(table, |s| s.key.cmp(key)))
        .or_else(|| sysctls().find(|s| ends_with_name(s.key, key)))
}

/// Finds a counter by `TcpExt.ListenOverflows`, `TcpExtListenOverflows` (as `nstat` prints it) or the bare
/// `ListenOverflows`. Case does not matter, unless it is all that tells two names apart: `TW` is
/// `TcpExt.TW`, `tw` is `sockstat.TCP.tw`.
#[must_use]
pub fn counter(name: &str) -> Option<&'static Counter> {
    let name = name.trim();
    let name = name.strip_prefix("node_netstat_").unwrap_or(name);
    if name.is_empty() {
        return None;
    }
    counters()
        .find(|c| c.name.eq_ignore_ascii_case(name))
        .or_else(|| counters().find(|c| c.short() == name))
        .or_else(|| counters().find(|c| ends_with_name(c.name, name)))
        .or_else(|| {
            let joined = |c: &str| c.replace(['.', '_'], "");
            let wanted = joined(name);
            counters().find(|c| joined(c.name).eq_ignore_ascii_case(&wanted))
        })
}

/// Finds a state by any usual spelling: `time_wait`, `TIME-WAIT`, `TIME_WAIT`, `TimeWait`,
/// `TCP_TIME_WAIT`, `ESTAB`, `SYN-RECV`, `FIN-WAIT-2`, `UNCONN`.
#[must_use]
pub fn state(name: &str) -> Option<&'static State> {
    let mut plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if let Some(rest) = plain.strip_prefix("tcp") {
        plain = rest.to_owned();
    }
    let wanted = match plain.as_str() {
        "estab" | "est" => "established",
        "synreceived" | "synrcvd" | "synrcv" | "newsynrecv" => "synrecv",
        "closed" | "unconn" => "close",
        "listening" => "listen",
        "bound" => "boundinactive",
        other => other,
    };
    states().iter().find(|s| s.name.chars().filter(|c| *c != '_').eq(wanted.chars()))
}

/// Binary search in a table that is sorted by what `order` compares.
fn find<T>(table: &'static [T], order: impl Fn(&T) -> Ordering) -> Option<&'static T> {
    table.binary_search_by(order).ok().and_then(|i| table.get(i))
}

/// Whether `full` ends in `.name`, case apart.
fn ends_with_name(full: &str, name: &str) -> bool {
    full.len()
        .checked_sub(name.len())
        .and_then(|at| full.get(at..).zip(full.get(..at)))
        .is_some_and(|(tail, head)| tail.eq_ignore_ascii_case(name) && head.ends_with('.'))
}
