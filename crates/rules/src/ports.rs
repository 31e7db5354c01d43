//! Local ports of outgoing connections: what connect() may choose, what is taken, what it could take back.
//!
//! The one place that reads `ip_local_port_range`, `ip_local_reserved_ports` and the settings of reuse. Rules, the
//! headroom table and `linger ports` all count with it.

use crate::Context;
use crate::thousands;
use linger_model::SocketTable;
use linger_model::State;
use linger_model::aggregate::{PortRange, ProcessIndex, SocketSource, TimeWaitMakers, Tuple, TupleStats};
use linger_model::record::endpoint;
use linger_model::report::Confidence;
use linger_model::report::Evidence;
use linger_model::snapshot::{Gap, GapKind, Kernel, Reading, Snapshot};

const RANGE: &str = "net.ipv4.ip_local_port_range";
const RESERVED: &str = "net.ipv4.ip_local_reserved_ports";
const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const REUSE_DELAY: &str = "net.ipv4.tcp_tw_reuse_delay";
const TIMESTAMPS: &str = "net.ipv4.tcp_timestamps";
const BUCKETS: &str = "net.ipv4.tcp_max_tw_buckets";

/// How long TIME_WAIT holds a port, seconds (TCP_TIMEWAIT_LEN in include/net/tcp.h).
pub const TIME_WAIT_S: f64 = 60.0;

/// The ports that connect() may choose in a snapshot's namespace: `ip_local_port_range` less
/// `ip_local_reserved_ports`.
///
/// # Errors
/// A gap where one of the two sysctls was not read, or is not what the kernel writes.
pub fn port_range(snapshot: &Snapshot) -> Reading<PortRange> {
    let malformed = |e: String| Gap::new("local port range", GapKind::Malformed, e, "");
    PortRange::parse(snapshot.sysctl(RANGE)?, snapshot.sysctl(RESERVED)?).map_err(malformed)
}

/// `tcp_max_tw_buckets`: 0 means no TIME_WAIT at all. A negative value means the same on older kernels, which compare
/// with sign, and no limit (`None`) on newer ones (`refcount_read()` compares without; about 5.18).
///
/// # Errors
/// A gap where it was not read, or is negative on a kernel of unknown version.
pub fn time_wait_buckets(snapshot: &Snapshot) -> Reading<Option<u64>> {
    let kernel = &snapshot.host.kernel;
    match snapshot.sysctl_int(BUCKETS)? {
        limit @ 0.. => Ok(Some(limit.unsigned_abs())),
        _ if kernel.at_least(5, 18) => Ok(None),
        _ if kernel.version.is_some() => Ok(Some(0)),
        limit => Err(Gap::new(
            BUCKETS,
            GapKind::Unsupported,
            format!(
                "{limit} means no TIME_WAIT at all before about Linux 5.18, no limit after; the version is not known"
            ),
            "set a positive number",
        )),
    }
}

/// Whether connect() takes back the ports that TIME_WAIT sockets of a tuple hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReusePolicy {
    /// It does: the settings allow it and the live connections carry timestamps.
    Works,
    /// The settings allow it; no live connection shows whether the peer grants timestamps. Assumed to work.
    Assumed,
    /// The settings allow it; some live connections carry timestamps, some do not.
    Partly {
        /// Live connections with timestamps.
        with: u32,
        /// Live connections without.
        without: u32,
    },
    /// `tcp_tw_reuse` is 0.
    Off,
    /// `tcp_tw_reuse` is 2, and this is not loopback.
    LoopbackOnly,
    /// `tcp_tw_reuse` is on, but `tcp_timestamps` is 0 here.
    NoTimestampsHere,
    /// The settings allow it, but the live connections carry no timestamps.
    NoTimestampsPeer,
}

impl ReusePolicy {
    /// Whether the settings ask for reuse on this tuple.
    pub fn wanted(self) -> bool {
        !matches!(self, ReusePolicy::Off | ReusePolicy::LoopbackOnly)
    }

    /// The share of the TIME_WAIT sockets that reuse does not take back, 0 to 1.
    pub fn stuck_share(self) -> f64 {
        match self {
            ReusePolicy::Works | ReusePolicy::Assumed => 0.0,
            ReusePolicy::Partly { with, without } => f64::from(without) / f64::from((with + without).max(1)),
            _ => 1.0,
        }
    }

    /// How sure this is: a setting is known, timestamps are told from what is alive at this moment.
    pub fn confidence(self) -> Confidence {
        match self {
            ReusePolicy::Works
            | ReusePolicy::Off
            | ReusePolicy::LoopbackOnly
            | ReusePolicy::NoTimestampsHere => Confidence::High,
            ReusePolicy::Assumed | ReusePolicy::Partly { .. } | ReusePolicy::NoTimestampsPeer => {
                Confidence::Medium
            }
        }
    }

    /// The reason, as a clause.
    pub fn why(self) -> String {
        match self {
            ReusePolicy::Works => "tcp_tw_reuse applies and the live connections carry timestamps".to_owned(),
            ReusePolicy::Assumed => {
                "tcp_tw_reuse applies and tcp_timestamps is on (assumed of the peer too: no live \
                                     connection shows it)"
                    .to_owned()
            }
            ReusePolicy::Partly { with, without } => format!(
                "tcp_tw_reuse applies, but only {with} of {} live connections carry the timestamps it needs",
                with + without
            ),
            ReusePolicy::Off => "tcp_tw_reuse is 0".to_owned(),
            ReusePolicy::LoopbackOnly => {
                "tcp_tw_reuse is 2 (loopback only) and this is not loopback".to_owned()
            }
            ReusePolicy::NoTimestampsHere => {
                "tcp_timestamps is 0 here, and reuse needs timestamps on both ends".to_owned()
            }
            ReusePolicy::NoTimestampsPeer => {
                "tcp_tw_reuse applies, but the live connections carry no timestamps, which it needs"
                    .to_owned()
            }
        }
    }
}

/// What a namespace's ports and settings are; read once, then asked for each tuple.
#[derive(Debug, Clone, PartialEq)]
pub struct Ports {
    /// The range with its reserved ports.
    pub range: PortRange,
    /// Ports that connect() may choose from.
    pub usable: u32,
    /// Of those, with the parity that connect() tries first.
    pub first_parity_usable: u32,
    /// Usable ports that a bind() holds (listeners, bound-inactive sockets): connect() skips them for every destination.
    pub bound: u32,
    /// `tcp_tw_reuse`.
    pub reuse_mode: i64,
    /// Whether `tcp_timestamps` is on.
    pub timestamps: bool,
    /// The age from which a TIME_WAIT can be taken back, seconds.
    pub reuse_delay_s: f64,
    /// Whether this kernel's connect() tries one parity first (in the 4.15 tree at the latest).
    pub by_parity: bool,
}

/// The ports of one tuple.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PortUse {
    /// Ports that connect() may choose from.
    pub usable: u32,
    /// Of those, with the parity that connect() tries first.
    pub first_parity_usable: u32,
    /// Usable ports that a bind() holds: lost for every destination.
    pub bound: u32,
    /// Ports that connections of this tuple hold, TIME_WAIT included; at most `usable - bound`.
    pub used: u32,
    /// Of those, with the parity that connect() tries first.
    pub first_parity_used: u32,
    /// Ports that nobody holds.
    pub free: u32,
    /// Of `used`, held by TIME_WAIT sockets that connect() takes back.
    pub reusable: u32,
    /// Of `used`, those that connect() cannot take: `used - reusable`.
    pub hard_used: u32,
    /// Less than 1 % of the first half is left, so that connect() walks all of it before it finds a port.
    pub second_half_only: bool,
    /// TIME_WAIT sockets made per second at present (see [`present_rate`]). Absent where remaining times are unknown.
    pub rate_per_s: Option<f64>,
    /// Whether TIME_WAIT ports can be taken back.
    pub reuse: ReusePolicy,
    /// Seconds until no port is left if that rate goes on; absent where that never happens.
    pub time_to_exhaustion_s: Option<f64>,
    /// Estimate from port parity: the share of the ports that were bound before connect() (it would have chosen the
    /// first parity, bind() to port 0 takes the other). Absent where nothing can be told.
    pub prebound_share: Option<f64>,
}

impl PortUse {
    /// Ports that connections of this tuple can have at all.
    pub fn available(&self) -> u32 {
        self.usable - self.bound.min(self.usable)
    }

    /// The share of the available ports that connect() cannot take; 1 where there are none.
    pub fn hard_fraction(&self) -> f64 {
        fraction(self.hard_used, self.available())
    }

    /// The share of the available ports that are held at all.
    pub fn used_fraction(&self) -> f64 {
        fraction(self.used, self.available())
    }
}

fn fraction(used: u32, limit: u32) -> f64 {
    if limit == 0 { 1.0 } else { f64::from(used) / f64::from(limit) }
}

impl Ports {
    /// From a snapshot.
    ///
    /// # Errors
    /// A gap where the sockets, their TIME_WAIT part, or one of the settings was not read.
    pub fn read(snapshot: &Snapshot) -> Reading<Ports> {
        let table = snapshot.sockets.as_ref().map_err(Gap::clone)?;
        Ports::of(port_range(snapshot)?, table, &snapshot.host.kernel, |key| snapshot.sysctl_int(key))
    }

    /// From a table of sockets alone, with the settings given by `setting`.
    ///
    /// # Errors
    /// As [`Ports::read`].
    pub fn of(
        range: PortRange,
        table: &SocketTable,
        kernel: &Kernel,
        setting: impl Fn(&str) -> Reading<i64>,
    ) -> Reading<Ports> {
        if !table.walked_time_wait {
            return Err(Gap::new(
                "ports in TIME_WAIT",
                GapKind::NotAsked,
                "TIME_WAIT sockets were counted and not walked",
                "",
            ));
        }
        Ok(Ports {
            usable: range.usable_count(),
            first_parity_usable: range.first_parity_count(),
            bound: table.bound_ports_in_range,
            reuse_mode: setting(REUSE)?,
            timestamps: setting(TIMESTAMPS)? != 0,
            // Absent before 6.14, where the age counts in whole seconds.
            reuse_delay_s: setting(REUSE_DELAY).map_or(1.0, |ms| ms.max(0) as f64 / 1000.0),
            by_parity: kernel.version.is_none() || kernel.at_least(4, 15),
            range,
        })
    }

    /// Ports that look bound before connect(), over all destinations: those of live outgoing connections with the
    /// parity that connect() tries last. `None` where connect() itself may have come to them.
    pub fn prebound(&self, table: &SocketTable) -> Option<u32> {
        let open = |stats: &TupleStats| {
            u64::from(stats.first_parity() + self.bound) * 10 < u64::from(self.first_parity_usable) * 9
        };
        let told = self.by_parity && table.tuples.is_exact() && table.tuples.iter().all(|g| open(&g.value));
        told.then_some(table.other_parity_ports_in_range)
    }

    /// Whether `tcp_tw_reuse` applies to a tuple at all.
    fn reuse(&self, tuple: &Tuple, stats: &TupleStats) -> ReusePolicy {
        let (with, without) = (stats.path.timestamps, stats.path.no_timestamps);
        match self.reuse_mode {
            0 => ReusePolicy::Off,
            2 if !tuple.is_loopback() => ReusePolicy::LoopbackOnly,
            _ if !self.timestamps => ReusePolicy::NoTimestampsHere,
            _ => match (with, without) {
                (0, 0) => ReusePolicy::Assumed,
                (_, 0) => ReusePolicy::Works,
                (0, _) => ReusePolicy::NoTimestampsPeer,
                (with, without) => ReusePolicy::Partly { with, without },
            },
        }
    }

    /// The ports of one tuple.
    pub fn usage(&self, tuple: &Tuple, stats: &TupleStats) -> PortUse {
        let bound = self.bound.min(self.usable);
        let available = self.usable - bound;
        // A dump is no atomic picture: a socket can be seen twice.
        let used = stats.in_range().min(available);
        let total: u32 = stats.states().iter().sum();
        let in_range_share = f64::from(stats.in_range()) / f64::from(total.max(1));
        let time_wait = stats.state(State::TimeWait).min(used);
        let reuse = self.reuse(tuple, stats);
        let stuck = reuse.stuck_share();

        let ages_known = time_wait == 0 || stats.made_60s() > 0 || stats.time_wait_aged() > 0;
        // Without ages (netstat's text), all but the youngest sixtieth are taken as old enough.
        let aged = if ages_known {
            stats.time_wait_aged().min(time_wait)
        } else {
            time_wait - time_wait.div_ceil(60)
        };
        let reusable = (f64::from(aged) * (1.0 - stuck)) as u32;
        let hard_used = used - reusable;

        let rate = ages_known.then(|| present_rate(stats.made_10s(), stats.made_2s()) * in_range_share);
        let live = used - time_wait;
        let time_to_exhaustion_s = if hard_used >= available {
            Some(0.0)
        } else {
            rate.and_then(|rate| {
                let fresh = rate * stuck;
                // TIME_WAIT made from now on outlives all that is there: in 60 s it is rate × 60 and the live ones.
                if f64::from(live) + fresh * TIME_WAIT_S <= f64::from(available) {
                    return None;
                }
                let ending =
                    f64::from(stats.made_60s().saturating_sub(stats.made_10s())) * in_range_share * stuck
                        / 50.0;
                let growth = fresh - ending;
                (growth > 0.0).then(|| (f64::from(available - hard_used) / growth).min(TIME_WAIT_S))
            })
        };

        let first_used = stats.first_parity().min(used);
        // What reuse takes back may be in either half; what a bind() holds is about half in each.
        let first_hard = first_used.saturating_sub(reusable) + bound / 2;
        let first_free = self.first_parity_usable.saturating_sub(first_hard);
        let second_half_only =
            self.by_parity && used > 0 && u64::from(first_free) * 100 < u64::from(self.first_parity_usable);
        // Beyond nine tenths of the first half, connect() may have come to the second one itself a moment ago.
        let first_open = u64::from(first_used + bound) * 10 < u64::from(self.first_parity_usable) * 9;
        let prebound_share = (self.by_parity && used > 0 && first_open)
            .then(|| f64::from(used - first_used) / f64::from(used));
        PortUse {
            usable: self.usable,
            first_parity_usable: self.first_parity_usable,
            bound,
            used,
            first_parity_used: first_used,
            free: available - used,
            reusable,
            hard_used,
            second_half_only,
            rate_per_s: rate,
            reuse,
            time_to_exhaustion_s,
            prebound_share,
        }
    }
}

/// What goes into TIME_WAIT per second at present: the mean of the last 10 s, but of the last 2 s where these have less
/// than a quarter of that pace. Then a burst is over, or nearly: what it made is no rate of the present, and nothing is
/// projected from it. The one place that judges this.
pub fn present_rate(made_10s: u32, made_2s: u32) -> f64 {
    let (mean, latest) = (f64::from(made_10s) / 10.0, f64::from(made_2s) / 2.0);
    if latest * 4.0 < mean { latest } else { mean }
}

/// The same of a whole namespace.
pub fn present_rate_of_all(table: &SocketTable) -> f64 {
    let made = |seconds: usize| table.time_wait_made.iter().take(seconds).sum();
    present_rate(made(10), made(2))
}

/// The process that the churn of a tuple may be laid to: that of its live connections, where these are as few as short
/// connections at that rate leave. TIME_WAIT sockets have no owner, and a process with many live connections keeps
/// them, which speaks against it.
pub fn likely_churner(stats: &TupleStats) -> Option<ProcessIndex> {
    // Without ages (netstat's text) the mean of the minute.
    let per_second = f64::from(stats.made_10s()) / 10.0;
    let per_second = per_second.max(f64::from(stats.state(State::TimeWait)) / TIME_WAIT_S);
    stats.owner.filter(|_| f64::from(stats.live()) <= per_second.max(1.0))
}

/// The process that a tuple's churn is laid to: who made its TIME_WAIT sockets, where a trace knows it, else
/// [`likely_churner`].
pub fn churner(table: &SocketTable, tuple: &Tuple, stats: &TupleStats) -> Option<ProcessIndex> {
    table.maker(tuple).map(|(process, _)| process).or_else(|| likely_churner(stats))
}

/// `; 900 of the 1,000 in TIME_WAIT are from curl (pid 12), by the trace`, where a trace knows it, else what
/// [`live_ones_of`] says.
pub(crate) fn made_by(cx: &Context<'_>, table: &SocketTable, tuple: &Tuple, stats: &TupleStats) -> String {
    let Some((process, made)) = table.maker(tuple) else { return live_ones_of(cx, stats) };
    let (all, label) = (stats.state(State::TimeWait).into(), cx.process_label(Some(process)));
    format!(
        "; {} of the {} in TIME_WAIT are from {label}, by the trace",
        thousands(made.min(all)),
        thousands(all)
    )
}

/// What a trace knows of a tuple's TIME_WAIT sockets; nothing without one.
pub(crate) fn by_trace(table: &SocketTable, tuple: &Tuple, stats: &TupleStats) -> Vec<Evidence> {
    let Some(makers) = &table.time_wait_makers else { return Vec::new() };
    let all = u64::from(stats.state(State::TimeWait));
    let of_it = makers.by.iter().filter(|group| group.key.0 == *tuple);
    let known = of_it.map(|group| group.at_least()).sum::<u64>().min(all);
    seen_by_trace(makers, known, all - known)
}

/// What a trace knows of all outgoing connections in TIME_WAIT; nothing without one.
pub(crate) fn all_by_trace(table: &SocketTable) -> Vec<Evidence> {
    let Some(makers) = &table.time_wait_makers else { return Vec::new() };
    seen_by_trace(makers, makers.by.total(), makers.unknown)
}

fn seen_by_trace(makers: &TimeWaitMakers, known: u64, unknown: u64) -> Vec<Evidence> {
    let figure = |what, n: u64| Evidence::new(what, n as f64, "sockets", "trace (eBPF), joined by cookie");
    let before = match makers.lost {
        0 => "TIME_WAIT sockets from before the trace",
        _ => "TIME_WAIT sockets from before the trace, or without room in its table",
    };
    vec![figure("TIME_WAIT sockets whose maker the trace has seen", known), figure(before, unknown)]
}

/// `; the live connections there are mostly of haproxy (pid 12)`, where a process is known. More cannot be said of who
/// made those in TIME_WAIT, which have no owner.
pub(crate) fn live_ones_of(cx: &Context<'_>, stats: &TupleStats) -> String {
    let label = || cx.process_label(stats.owner);
    match (stats.owner, stats.live()) {
        (None, _) => String::new(),
        (_, 1) => format!("; the one live connection there is of {}", label()),
        _ => format!("; the live connections there are mostly of {}", label()),
    }
}

/// The ports of one tuple of a snapshot. For many tuples read [`Ports`] once.
///
/// # Errors
/// As [`Ports::read`].
pub fn port_use(snapshot: &Snapshot, tuple: &Tuple, stats: &TupleStats) -> Reading<PortUse> {
    Ok(Ports::read(snapshot)?.usage(tuple, stats))
}

/// `10.0.0.1 -> 10.0.0.2:443`.
pub fn tuple_label(tuple: &Tuple) -> String {
    format!("{} -> {}", tuple.src, endpoint(tuple.dst, tuple.dport))
}

/// Where a table's sockets were read, as a source of evidence.
pub fn socket_source(table: &SocketTable) -> &'static str {
    match table.source {
        SocketSource::SockDiag => "sock_diag",
        SocketSource::ProcNetTcp => "/proc/net/tcp and tcp6",
        SocketSource::Import => "the imported sockets",
    }
}

/// A share as a percentage, `58.7 %`: never `100 %` for less than all, never `0 %` for more than nothing.
pub fn percent(fraction: f64) -> String {
    match fraction * 100.0 {
        p if p <= 0.0 => "0 %".to_owned(),
        p if p < 0.1 => "<0.1 %".to_owned(),
        p if p < 99.95 => format!("{p:.1} %"),
        p if p < 100.0 => "99.9 %".to_owned(),
        p => format!("{p:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::aggregate::{Aggregator, Gather, NoOwners};
    use linger_model::record::SocketRecord;

    fn ports(low: u16, high: u16, mode: i64) -> Ports {
        let range = PortRange { low, high, reserved: Vec::new() };
        Ports {
            usable: range.usable_count(),
            first_parity_usable: range.first_parity_count(),
            bound: 0,
            reuse_mode: mode,
            timestamps: true,
            reuse_delay_s: 1.0,
            by_parity: true,
            range,
        }
    }

    /// The use of 10.0.0.1 -> 10.0.0.2:443 by these sockets.
    fn usage(ports: &Ports, sockets: Vec<SocketRecord>) -> PortUse {
        let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &ports.range, &[], &NoOwners);
        sockets.iter().for_each(|s| sums.add(s));
        let table = sums.finish();
        let tuple = Tuple { src: ip("10.0.0.1"), dst: ip("10.0.0.2"), dport: 443 };
        ports.usage(&tuple, &table.tuples.get(&tuple).expect("the tuple").value)
    }

    fn to_peer(n: u16, state: State, first_port: u16) -> Vec<SocketRecord> {
        many(n, state, "10.0.0.1", first_port, "10.0.0.2", 443)
    }

    #[test]
    fn time_wait_counts_unless_it_can_be_taken_back() {
        let sockets = || expiring(to_peer(990, State::TimeWait, 40000), 0, 59_000);
        let off = usage(&ports(40000, 40999, 0), sockets());
        assert_eq!((off.hard_used, off.reusable, off.free, off.reuse), (990, 0, 10, ReusePolicy::Off));
        let on = usage(&ports(40000, 40999, 1), sockets());
        assert_eq!((on.hard_used, on.reusable, on.free, on.reuse), (0, 990, 10, ReusePolicy::Assumed));
        assert_eq!(on.time_to_exhaustion_s, None);
        assert_eq!(usage(&ports(40000, 40999, 2), sockets()).reuse, ReusePolicy::LoopbackOnly);
        let mut no_timestamps = ports(40000, 40999, 1);
        no_timestamps.timestamps = false;
        assert_eq!(usage(&no_timestamps, sockets()).reuse, ReusePolicy::NoTimestampsHere);
    }

    #[test]
    fn live_connections_tell_of_timestamps() {
        let with_live = |options| {
            let mut sockets = expiring(to_peer(900, State::TimeWait, 40000), 0, 59_000);
            sockets.extend(with_info(to_peer(10, State::Established, 40900), |i| i.options = options));
            usage(&ports(40000, 40999, 1), sockets)
        };
        assert_eq!((with_live(1).reuse, with_live(1).hard_used), (ReusePolicy::Works, 10));
        assert_eq!((with_live(0).reuse, with_live(0).hard_used), (ReusePolicy::NoTimestampsPeer, 910));
    }

    #[test]
    fn fin_wait2_minisockets_are_not_taken_back() {
        let sockets = expiring(to_peer(100, State::FinWait2, 40000), 0, 59_000);
        assert_eq!(usage(&ports(40000, 40999, 1), sockets).hard_used, 100);
    }

    #[test]
    fn a_young_time_wait_is_not_taken_back_yet() {
        let sockets = expiring(to_peer(100, State::TimeWait, 40000), 59_100, 60_000);
        assert_eq!(usage(&ports(40000, 40999, 1), sockets).hard_used, 100);
    }

    #[test]
    fn exhaustion_is_foretold_from_the_last_ten_seconds() {
        // 30/s for 10 s, nothing older: in 60 s 1,800 of 1,000.
        let rising =
            usage(&ports(40000, 40999, 0), expiring(to_peer(300, State::TimeWait, 40000), 50_100, 60_000));
        assert_eq!(rising.rate_per_s, Some(30.0));
        assert!((rising.time_to_exhaustion_s.expect("a time") - 700.0 / 30.0).abs() < 0.1);
        // 10/s for a minute: 600 of 1,000 for ever.
        let steady =
            usage(&ports(40000, 40999, 0), expiring(to_peer(600, State::TimeWait, 40000), 0, 60_000));
        assert_eq!(steady.time_to_exhaustion_s, None);
        let full = usage(&ports(40000, 40009, 0), to_peer(10, State::Established, 40000));
        assert_eq!((full.time_to_exhaustion_s, full.hard_fraction()), (Some(0.0), 1.0));
    }

    #[test]
    fn a_burst_that_is_over_is_not_projected() {
        let made = |from, to| {
            usage(&ports(40000, 40999, 0), expiring(to_peer(300, State::TimeWait, 40000), from, to))
        };
        let over = made(50_100, 57_900);
        assert_eq!((over.rate_per_s, over.time_to_exhaustion_s), (Some(0.0), None));
        assert!(made(50_100, 60_000).time_to_exhaustion_s.is_some());
        // A few still trickle in: those are the rate.
        assert_eq!(present_rate(300, 6), 3.0);
        assert_eq!((present_rate(300, 15), present_rate(10, 1), present_rate(0, 0)), (30.0, 1.0, 0.0));
    }

    #[test]
    fn a_pool_of_kept_connections_is_not_blamed_for_the_churn() {
        let owner = |live| {
            let mut sockets = expiring(to_peer(600, State::TimeWait, 40000), 0, 60_000);
            sockets.extend(to_peer(live, State::Established, 41_000));
            struct One;
            impl linger_model::aggregate::Owners for One {
                fn owner(&self, _: &SocketRecord) -> Option<ProcessIndex> {
                    Some(7)
                }
            }
            let range = PortRange::default();
            let mut sums = Aggregator::new(SocketSource::SockDiag, Gather::CHECK, &range, &[], &One);
            sockets.iter().for_each(|s| sums.add(s));
            likely_churner(&sums.finish().tuples.iter().next().expect("the tuple").value)
        };
        assert_eq!((owner(10), owner(11), owner(200)), (Some(7), None, None), "10 a second");
    }

    #[test]
    fn parity_tells_the_slow_half_and_bind_before_connect() {
        let even: Vec<_> =
            to_peer(1000, State::Established, 40000).into_iter().filter(|s| s.sport % 2 == 0).collect();
        let half = usage(&ports(40000, 40999, 0), even.clone());
        assert!(half.second_half_only && half.prebound_share.is_none());
        let some = usage(&ports(40000, 40999, 0), even.into_iter().take(100).collect());
        assert_eq!((some.second_half_only, some.prebound_share), (false, Some(0.0)));
        let odd: Vec<_> =
            to_peer(100, State::Established, 40000).into_iter().filter(|s| s.sport % 2 == 1).collect();
        assert_eq!(usage(&ports(40000, 40999, 0), odd).prebound_share, Some(1.0));
    }

    #[test]
    fn bound_ports_are_lost_and_tiny_ranges_count() {
        let mut tiny = ports(50000, 50009, 0);
        tiny.bound = 5;
        let used = usage(&tiny, to_peer(4, State::Established, 50000));
        assert_eq!((used.available(), used.free, used.hard_fraction()), (5, 1, 0.8));
        tiny.bound = 10;
        assert_eq!(usage(&tiny, to_peer(4, State::Established, 50000)).hard_fraction(), 1.0);
    }

    #[test]
    fn text_without_remaining_times_still_counts() {
        let used = usage(&ports(40000, 40999, 1), to_peer(990, State::TimeWait, 40000));
        assert_eq!((used.rate_per_s, used.hard_used), (None, 17));
    }

    #[test]
    fn percentages_are_never_rounded_up_to_all() {
        assert_eq!([percent(0.9999), percent(1.0), percent(0.5866)], ["99.9 %", "100 %", "58.7 %"]);
        assert_eq!([percent(0.0), percent(0.0001), percent(1.2)], ["0 %", "<0.1 %", "120 %"]);
    }
}
