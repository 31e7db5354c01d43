//! Snapshots of one or more namespaces, one moment after the other.

use crate::processes::{Closed, HolderTable, ScanOptions, Trace};
use crate::walk::{Walk, WalkEnd, WalkError, walk, walk_proc};
use crate::{cgroups, conntrack, files};
use linger_model::aggregate::{Aggregator, Gather, Owners, PortRange, SocketSource};
use linger_model::snapshot::{
    Conntrack, Counters, Gap, GapKind, HostSnapshot, Kernel, Light, NetnsId, Reading, Snapshot, Sockstat,
    not_asked,
};
use linger_model::{SocketRecord, SocketTable, State};
use linger_netns::{Netns, Spec, run_in};
use linger_wire::sock_diag::Extensions;
use rustix::time::{ClockId, clock_gettime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How much of the sockets to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Everything, TIME_WAIT and tcp_info included.
    Full,
    /// Without TIME_WAIT (its number comes from sockstat) and tcp_info: what a window's first sample needs.
    Past,
    /// Of those, only what a trend is read from: TCP's counters, states, holders and their descriptors. There may be many such
    /// samples between a window's first and its last.
    Trend,
}

/// What does not change from sample to sample.
#[derive(Clone)]
pub struct SamplerOptions {
    /// Which aggregates to gather.
    pub gather: Gather,
    /// Keys of the sysctls to read.
    pub sysctls: Vec<&'static str>,
    /// From when an established connection counts as idle, milliseconds.
    pub idle_ms: u32,
    /// From when a closed window counts as stuck, milliseconds.
    pub stuck_ms: u32,
    /// Who says who made the sockets in TIME_WAIT, which nobody holds; asked for each full sample.
    pub trace: Option<Trace>,
}

/// Namespaces whose last walk is remembered before those of another sample are forgotten.
const MOST_NAMESPACES: usize = 4096;

/// Takes samples; knows what the last one saw where telling faults needs it.
pub struct Sampler {
    options: SamplerOptions,
    start: Instant,
    /// That moment by the clock of the snapshots.
    started: Duration,
    closed_before: Closed,
}

struct Inside {
    sockets: Reading<SocketTable>,
    sockstat: Reading<Sockstat>,
    counters: Reading<Counters>,
    sysctls: BTreeMap<String, Reading<String>>,
    conntrack: Reading<Option<Conntrack>>,
    gaps: Vec<Gap>,
    taken: (SystemTime, Instant),
}

impl Sampler {
    /// With nothing seen yet; its clock begins now.
    pub fn new(options: SamplerOptions) -> Sampler {
        Sampler { options, start: Instant::now(), started: Duration::ZERO, closed_before: Closed::default() }
    }

    /// As [`Sampler::new`], by CLOCK_MONOTONIC: what another process has sampled in this boot is on the same clock.
    pub fn on_the_boots_clock(options: SamplerOptions) -> Sampler {
        let clock = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(clock.tv_sec).unwrap_or(0);
        let started = Duration::new(seconds, u32::try_from(clock.tv_nsec).unwrap_or(0));
        Sampler { started, ..Sampler::new(options) }
    }

    /// Asks for something else from now on; what was seen stays known.
    pub fn ask(&mut self, options: SamplerOptions) {
        self.options = options;
    }

    /// Time by the clock of [`Snapshot::monotonic_us`].
    pub fn elapsed(&self) -> Duration {
        self.started + self.start.elapsed()
    }

    /// Reads the host once and each namespace once. A namespace that cannot be entered gives a snapshot of gaps.
    pub fn sample(&mut self, namespaces: &[Netns], depth: Depth) -> Vec<Snapshot> {
        let kernel = Kernel::new(rustix::system::uname().release().to_string_lossy());
        let scan = ScanOptions { cgroups: depth != Depth::Trend, limits: true, only_pid: None };
        let mut holders = HolderTable::scan(&scan);
        let nobody = HolderTable::empty();
        if let (Depth::Full, Some(trace), Ok(holders)) = (depth, &self.options.trace, &mut holders) {
            holders.remember(trace());
        }
        let mut inside = Vec::with_capacity(namespaces.len());
        for ns in namespaces {
            let owners = holders.as_ref().unwrap_or(&nobody);
            let read = run_in(ns, || self.inside(depth, &kernel, owners));
            inside.push(read.unwrap_or_else(|error| Inside::unreadable(&error.to_string())));
        }
        let mut gaps = Vec::new();
        if let Ok(holders) = &mut holders {
            gaps = holders.gaps();
            let walked: Vec<u64> = namespaces.iter().map(Netns::inode).collect();
            // Namespaces that are not in this sample keep theirs; those that are gone are few between two samples of all.
            if self.closed_before.len() > MOST_NAMESPACES {
                self.closed_before.retain(|inode, _| walked.contains(inode));
            }
            let closed = holders.find_closed(&walked, &self.closed_before);
            self.closed_before.extend(closed);
            if depth == Depth::Full {
                let named: BTreeSet<u32> =
                    inside.iter().filter_map(|i| i.sockets.as_ref().ok()).flat_map(named).collect();
                holders.describe(named);
            }
        }
        let trend = depth == Depth::Trend;
        let processes = holders.map(|holders| holders.into_processes(trend));
        let cgroup_memory = if trend {
            not_asked("socket memory of cgroups")
        } else {
            let groups: BTreeSet<&str> =
                processes.iter().flat_map(|p| &p.list).filter_map(|p| p.cgroup.as_deref()).collect();
            cgroups::memory(&groups)
        };
        let host = Arc::new(HostSnapshot {
            kernel,
            cgroup_memory,
            processes,
            files: files::file_use(),
            softnet: files::softnet(),
            sysctls: if trend { BTreeMap::new() } else { host_sysctls(&self.options.sysctls) },
            page_size: rustix::param::page_size() as u64,
        });
        namespaces
            .iter()
            .zip(inside)
            .map(|(ns, mut inside)| {
                if trend {
                    (inside.gaps, inside.sysctls) = (Vec::new(), BTreeMap::new());
                    if let Ok(counters) = &mut inside.counters {
                        counters.retain(|name, _| name.starts_with("Tcp"));
                    }
                } else {
                    inside.gaps.extend(gaps.iter().cloned());
                }
                let (taken_at_us, monotonic_us) = self.times(inside.taken);
                Snapshot {
                    taken_at_us,
                    monotonic_us,
                    netns: NetnsId {
                        inode: ns.inode(),
                        name: ns.name().map(str::to_owned),
                        is_init: ns.is_init(),
                    },
                    host: host.clone(),
                    sockets: inside.sockets,
                    sockstat: inside.sockstat,
                    counters: inside.counters,
                    sysctls: inside.sysctls,
                    conntrack: inside.conntrack,
                    gaps: inside.gaps,
                }
            })
            .collect()
    }

    /// Reads each namespace's counters without walking its sockets: some ten microseconds each, whatever the number of
    /// sockets. The host is not looked at.
    pub fn light(&self, namespaces: &[Netns]) -> Vec<Light> {
        let read = |ns: &Netns| {
            run_in(ns, || {
                let (counters, taken) = (files::counters(), (SystemTime::now(), Instant::now()));
                let conntrack = conntrack::read(&mut Vec::new());
                Inside {
                    sockets: not_asked("sockets"),
                    sockstat: files::sockstat(),
                    counters,
                    sysctls: BTreeMap::new(),
                    conntrack,
                    gaps: Vec::new(),
                    taken,
                }
            })
            .unwrap_or_else(|error| Inside::unreadable(&error.to_string()))
        };
        let lights = namespaces.iter().map(|ns| {
            let inside = read(ns);
            let (taken_at_us, monotonic_us) = self.times(inside.taken);
            Light {
                taken_at_us,
                monotonic_us,
                sockstat: inside.sockstat,
                counters: inside.counters,
                conntrack: inside.conntrack,
            }
        });
        lights.collect()
    }

    /// A moment as microseconds since 1970, and by the clock of the snapshots.
    fn times(&self, (wall, monotonic): (SystemTime, Instant)) -> (i64, u64) {
        let since_1970 = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_start = self.started + monotonic.saturating_duration_since(self.start);
        (
            i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX),
            u64::try_from(since_start.as_micros()).unwrap_or(u64::MAX),
        )
    }

    /// Reads what belongs to the calling thread's namespace.
    fn inside(&self, depth: Depth, kernel: &Kernel, owners: &(dyn Owners + Sync)) -> Inside {
        let mut gaps = Vec::new();
        let sysctls = files::sysctls(&self.options.sysctls, false);
        let (counters, taken) = (files::counters(), (SystemTime::now(), Instant::now()));
        let sockets = self.sockets(depth, kernel, &sysctls, owners, &mut gaps);
        let sockstat = files::sockstat();
        let sockets = sockets.map(|mut table| {
            if let (false, Ok(sockstat)) = (table.walked_time_wait, &sockstat) {
                table.states.set(State::TimeWait, sockstat.tw.saturating_sub(table.fin_wait2_mini));
            }
            table
        });
        Inside { sockets, sockstat, counters, conntrack: conntrack::read(&mut gaps), sysctls, gaps, taken }
    }

    fn sockets(
        &self,
        depth: Depth,
        kernel: &Kernel,
        sysctls: &Sysctls,
        owners: &(dyn Owners + Sync),
        gaps: &mut Vec<Gap>,
    ) -> Reading<SocketTable> {
        let range = port_range(sysctls).unwrap_or_else(|gap| {
            gaps.push(gap);
            PortRange::default()
        });
        let deep = depth == Depth::Full;
        // sockstat's tw was the host's before 4.15; there the sockets are walked.
        let skip_time_wait = !deep && kernel.at_least(4, 15);
        let extensions = if deep { Extensions::ALL } else { Extensions { info: false, skmeminfo: false } };
        let gather = match depth {
            Depth::Trend => Gather { tuples: 0, clients: 0, ..self.options.gather },
            Depth::Full | Depth::Past => self.options.gather,
        };
        let aggregate = |source, states: u32, walker: Walker| -> Result<SocketTable, WalkError> {
            let mut listening: Vec<SocketRecord> = Vec::new();
            let listen = Walk { states: State::Listen.bit(), extensions: Extensions::ALL, filter: None };
            walker(&listen, &mut |socket| listening.push(socket.clone()))?;
            let mut sums = Aggregator::new(source, gather, &range, &listening, owners);
            sums.idle_ms = self.options.idle_ms;
            sums.stuck_ms = self.options.stuck_ms;
            set_times(&mut sums, sysctls);
            let rest = Walk { states: states & !State::Listen.bit(), extensions, filter: None };
            let end = walker(&rest, &mut |socket| sums.add(socket))?;
            let mut table = sums.finish();
            if depth == Depth::Trend {
                table.slim();
            }
            (table.malformed, table.interrupted) = (end.malformed, end.interrupted);
            table.walked_time_wait = states & State::TimeWait.bit() != 0;
            if end.lost {
                return Err(WalkError::System {
                    operation: "keep up with",
                    source: rustix::io::Errno::NOBUFS,
                });
            }
            Ok(table)
        };
        let states = if skip_time_wait { ALL_STATES & !State::TimeWait.bit() } else { ALL_STATES };
        let mut table = match aggregate(SocketSource::SockDiag, states, |w, each| walk(w, each)) {
            Err(WalkError::NoTcpDiag(errno)) => {
                gaps.push(Gap::new(
                    "limits and drops of listeners, tcp_info, bound sockets",
                    GapKind::Unsupported,
                    format!(
                        "sock_diag cannot list TCP sockets here ({errno}); /proc/net/tcp was read instead"
                    ),
                    "load the module tcp_diag (modprobe tcp_diag)",
                ));
                aggregate(SocketSource::ProcNetTcp, ALL_STATES, |w, each| walk_proc(w, each))
            }
            other => other,
        }
        .map_err(|e| Gap::new("sockets", GapKind::Unsupported, e.to_string(), ""))?;
        let listed = table.states.count(State::BoundInactive) > 0
            || (kernel.at_least(6, 8) && table.source == SocketSource::SockDiag);
        if !listed {
            table.states.set_unlisted(State::BoundInactive);
        }
        if table.interrupted {
            gaps.push(Gap::new(
                "sockets",
                GapKind::Partial,
                "the table changed while the kernel dumped it (NLM_F_DUMP_INTR): a few may be missing or counted twice",
                "",
            ));
        }
        if table.malformed > 0 {
            let what = format!("{} sockets", table.malformed);
            gaps.push(Gap::new(what, GapKind::Malformed, "their records could not be read", ""));
        }
        Ok(table)
    }
}

type Sysctls = BTreeMap<String, Reading<String>>;
type Walker = fn(&Walk<'_>, &mut dyn FnMut(&SocketRecord)) -> Result<WalkEnd, WalkError>;

/// Every state's bit, bound-inactive sockets' included.
pub const ALL_STATES: u32 = {
    let mut bits = 0;
    let mut i = 0;
    while i < State::ALL.len() {
        bits |= State::ALL[i].bit();
        i += 1;
    }
    bits
};

impl Inside {
    fn unreadable(why: &str) -> Inside {
        let missing = |what: &str| Gap::new(what, GapKind::Denied, why, "");
        Inside {
            sockets: Err(missing("sockets")),
            sockstat: Err(missing("/proc/net/sockstat")),
            counters: Err(missing("/proc/net/snmp and netstat")),
            sysctls: BTreeMap::new(),
            conntrack: Err(missing("connection tracking")),
            gaps: Vec::new(),
            taken: (SystemTime::now(), Instant::now()),
        }
    }
}

/// Some host-wide sysctls have files in the first namespace alone (`tcp_mem`, `tcp_max_orphans`): read there where it
/// can be entered, else here.
fn host_sysctls(keys: &[&'static str]) -> Sysctls {
    let first = Netns::open(&Spec::Pid(1)).ok().filter(|ns| !ns.is_current());
    let there = first.and_then(|ns| run_in(&ns, || files::sysctls(keys, true)).ok());
    there.unwrap_or_else(|| files::sysctls(keys, true))
}

/// Everyone whom a finding may name.
fn named(table: &SocketTable) -> impl Iterator<Item = u32> {
    let listeners = table.listeners.iter().flat_map(|l| &l.sockets).filter_map(|s| s.owner);
    let makers = table.time_wait_makers.iter().flat_map(|makers| makers.by.iter().map(|group| group.key.1));
    table.holders.keys().filter_map(|holder| *holder).chain(listeners).chain(makers)
}

/// Tells an aggregator how long TIME_WAIT lasts and from which age connect() reuses it, where sysctls say so.
pub fn set_times(sums: &mut Aggregator<'_>, sysctls: &BTreeMap<String, Reading<String>>) {
    let number = |key: &str| sysctls.get(key)?.as_ref().ok()?.trim().parse::<u32>().ok();
    if let Some(milliseconds) = number("net.ipv4.tcp_tw_reuse_delay") {
        sums.reuse_delay_ms = milliseconds;
    }
    if let Some(seconds) = number("net.ipv4.tcp_tw_timeout") {
        sums.time_wait_ms = seconds.saturating_mul(1000);
    }
}

/// The ports that connect() may take, from `ip_local_port_range` and `ip_local_reserved_ports`.
pub fn port_range(sysctls: &BTreeMap<String, Reading<String>>) -> Reading<PortRange> {
    let text = |key: &str| match sysctls.get(key) {
        Some(Ok(text)) => Ok(text.as_str()),
        Some(Err(gap)) => Err(gap.clone()),
        None => Err(Gap::new(key, GapKind::Unsupported, "not there", "")),
    };
    let range = text("net.ipv4.ip_local_port_range")?;
    // Where no port is reserved, older kernels print an empty line.
    let reserved = text("net.ipv4.ip_local_reserved_ports").unwrap_or("");
    PortRange::parse(range, reserved).map_err(|e| Gap::new("local port range", GapKind::Malformed, e, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_sample_for_a_trend_keeps_holders_and_counters_and_little_else() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let _connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("a connection");
        let mut sampler = Sampler::new(SamplerOptions {
            gather: Gather::CHECK,
            sysctls: vec!["net.ipv4.ip_local_port_range"],
            idle_ms: 1000,
            stuck_ms: 1000,
            trace: None,
        });
        let own = [Netns::current().expect("own namespace")];
        let snapshot = sampler.sample(&own, Depth::Trend).remove(0);
        let table = snapshot.sockets.as_ref().expect("sockets");
        assert!(table.tuples.is_empty() && table.clients.is_empty() && table.listeners.is_empty());
        assert!(table.states.count(State::Established) >= 1 && !table.holders.is_empty());
        assert!(snapshot.sysctls.is_empty() && snapshot.counter("TcpExt.TCPBacklogDrop").is_ok());
        let processes = snapshot.host.processes.as_ref().expect("processes");
        assert!(processes.list.iter().any(|p| p.pid == std::process::id() && p.fds > 0));
        assert!(Duration::from_micros(snapshot.monotonic_us) <= sampler.elapsed());
    }

    #[test]
    fn a_light_reading_has_the_counters_and_a_clock_in_common_with_samples() {
        let mut sampler = Sampler::new(SamplerOptions {
            gather: Gather::STATES,
            sysctls: Vec::new(),
            idle_ms: 1000,
            stuck_ms: 1000,
            trace: None,
        });
        let own = [Netns::current().expect("own namespace")];
        let light = sampler.light(&own).remove(0);
        let sample = sampler.sample(&own, Depth::Trend).remove(0);
        let segments = light.counters.as_ref().expect("counters").get("Tcp.InSegs").copied();
        assert!(segments.expect("segments") <= sample.counter("Tcp.InSegs").expect("segments"));
        assert!(light.sockstat.is_ok() && light.monotonic_us <= sample.monotonic_us);
    }
}
