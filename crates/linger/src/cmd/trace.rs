//! `linger trace`

mod beside;
pub mod daemon;
pub mod drops;
pub mod handshakes;

pub use beside::Tracing;

use super::show;
use super::states::{either, incomplete, now_us};
use crate::cli::{Format, TraceArgs, TraceBy, TraceCommand};
use crate::diagnose::timestamp;
use crate::render::style::Style;
use crate::render::trace::{progress, text};
use crate::targets;
use anyhow::Context;
use linger_collect::{HolderTable, ScanOptions, Traced, Walk, WalkError, cgroup_paths_by_id};
use linger_model::aggregate::{Owners as _, PeerClosed, ProcessIndex};
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{Addr, State};
use linger_netns::{Netns, reachable, run_in};
use linger_rules::counted;
use linger_trace::owners::{
    self, Flow, Group, Held, Histogram, Options, Owners, Process, ProcessId, Remembered, Role,
};
use linger_tune::Signals;
use linger_wire::cgroup;
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Who opened and closed connections, and who made the sockets in TIME_WAIT.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TraceReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The namespaces traced; with `--netns all`, those that could be reached at the end.
    pub netns: Vec<ReportNetns>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// How long it took.
    pub seconds: f64,
    /// What the rows are summed up by: process, container, peer or listener.
    pub by: String,
    /// The busiest first.
    pub rows: Vec<TraceRow>,
    /// Rows not shown.
    pub other_rows: u64,
    /// Their connections, opened and closed.
    pub other_connections: u64,
    /// Each process (by container: each container) over all its endpoints, the busiest first; empty by peer or listener.
    pub totals: Vec<TraceTotal>,
    /// Totals not shown.
    pub other_totals: u64,
    /// Everything together.
    pub total: Counts,
    /// TIME_WAIT sockets at the end that nobody is known for: from before the trace, or left out (see `lost`).
    pub time_wait_unknown: u64,
    /// Sockets whose peer has closed and whose process has not, at the end; those with most sockets first.
    pub close_wait: Vec<CloseWaitRow>,
    /// Rows of them not shown.
    pub other_close_wait: u64,
    /// connect() that failed, by destination; the most failures first.
    pub failed: Vec<FailedRow>,
    /// Destinations with failures that are not shown.
    pub other_failed: u64,
    /// How long connections were established whose first FIN came from here.
    pub lifetimes_closed_here: Lifetimes,
    /// How long those were that the peer ended, or a reset.
    pub lifetimes_closed_by_peer: Lifetimes,
    /// What did not fit into the kernel's tables.
    pub lost: Lost,
    /// TIME_WAIT sockets' owners that can be remembered at a time.
    pub owners_capacity: u64,
    /// Bytes of the kernel's memory that the tables took.
    pub memory_bytes: u64,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// Connections that are counted together.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TraceRow {
    /// The process, as `nginx (pid 123)`; null where rows are not by process, and for what happens in no process's
    /// context: handshakes that a listener completes, resets by the peer.
    pub process: Option<String>,
    /// Its id; null also where it is in a PID namespace out of sight.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// A thread of the kernel closed them, not a process.
    pub kernel_thread: bool,
    /// Container, systemd unit, or path of the cgroup v2 it was in.
    pub container: Option<String>,
    /// connect or accept.
    pub role: String,
    /// Peer address and port of outgoing connections, address and port listened on of accepted ones (by peer: the
    /// peer's address and the port listened on).
    pub endpoint: String,
    /// Inode of the network namespace; null where the row is of several.
    pub netns: Option<u64>,
    /// What became of them.
    #[serde(flatten)]
    pub counts: Counts,
}

/// Connections of a process, or of a container, wherever they go to and come from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TraceTotal {
    /// The process, as in the rows; null by container.
    pub process: Option<String>,
    /// Container, systemd unit, or path of the cgroup v2.
    pub container: Option<String>,
    /// How many rows it has.
    pub endpoints: u64,
    /// What became of them.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What became of connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Counts {
    /// connect() was called.
    pub opened: u64,
    /// Of those, bound to a port before connect().
    pub opened_bound: u64,
    /// Handshakes that listeners completed.
    pub accepted: u64,
    /// This side sent the first FIN: it keeps TIME_WAIT.
    pub closed_first: u64,
    /// Closed after the peer's FIN.
    pub closed_after_peer: u64,
    /// Reset by this side: closed with unread data, or SO_LINGER 0.
    pub aborted: u64,
    /// Ended by a reset of the peer, or by ss -K.
    pub reset: u64,
    /// Ended since the peer did not answer any more.
    pub timed_out: u64,
    /// Closed after less than 16 KiB, both ways together: could have been kept for the next request.
    pub carried_little: u64,
    /// Bytes of both ways that the closed ones carried.
    pub bytes: u64,
    /// In TIME_WAIT at the end.
    pub time_wait: u64,
    /// Of those, with timestamps: without them connect() never takes a port back.
    pub time_wait_with_timestamps: u64,
    /// In FIN_WAIT2 at the end, closed, waiting for the peer's FIN.
    pub fin_wait2: u64,
}

impl Counts {
    fn add(&mut self, flow: &Flow) {
        self.opened += flow.opened;
        self.opened_bound += flow.opened_bound;
        self.accepted += flow.accepted;
        self.closed_first += flow.closed_first;
        self.closed_after_peer += flow.closed_after;
        self.aborted += flow.aborted;
        self.reset += flow.reset;
        self.timed_out += flow.timed_out;
        self.carried_little += flow.carried_little;
        self.bytes += flow.bytes;
    }

    fn sum(&mut self, other: &Counts) {
        self.opened += other.opened;
        self.opened_bound += other.opened_bound;
        self.accepted += other.accepted;
        self.closed_first += other.closed_first;
        self.closed_after_peer += other.closed_after_peer;
        self.aborted += other.aborted;
        self.reset += other.reset;
        self.timed_out += other.timed_out;
        self.carried_little += other.carried_little;
        self.bytes += other.bytes;
        self.time_wait += other.time_wait;
        self.time_wait_with_timestamps += other.time_wait_with_timestamps;
        self.fin_wait2 += other.fin_wait2;
    }

    fn hold(&mut self, held: &Held) {
        self.time_wait += held.time_wait;
        self.time_wait_with_timestamps += held.with_timestamps;
        self.fin_wait2 += held.fin_wait2;
    }

    /// Connections closed by this side's processes.
    pub fn closed(&self) -> u64 {
        self.closed_first + self.closed_after_peer
    }

    /// What rows are ordered by.
    fn weight(&self) -> u64 {
        self.opened.max(self.accepted).max(self.closed() + self.aborted).max(self.reset + self.timed_out)
            + self.time_wait
    }

    fn is_empty(&self) -> bool {
        *self == Counts::default()
    }
}

/// Sockets in CLOSE_WAIT of a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CloseWaitRow {
    /// Who holds them; null where nobody has accepted them, or the holder cannot be seen.
    pub process: Option<String>,
    /// Address and port listened on of accepted ones, peer address and port of others.
    pub endpoint: String,
    /// Inode of the network namespace.
    pub netns: u64,
    /// How many.
    pub sockets: u64,
    /// Of those, whose peer had closed when the trace began.
    pub before_trace: u64,
    /// Of those, that wait in an accept queue.
    pub unaccepted: u64,
    /// Milliseconds since the peer closed, at least (tcp_info's last_ack_recv, or since the trace came upon it): the median;
    /// null where it is not known.
    pub median_ms: Option<u32>,
    /// The longest.
    pub longest_ms: Option<u32>,
}

/// connect() that failed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct FailedRow {
    /// The process, where it failed at once: with no port left, or abandoned; null where an answer, or none, came later.
    pub process: Option<String>,
    /// Peer address and port.
    pub endpoint: String,
    /// Inode of the network namespace.
    pub netns: u64,
    /// EADDRNOTAVAIL: no local port was left towards this destination.
    pub no_port: u64,
    /// Failed at once with a port bound before connect(): EADDRNOTAVAIL since the port is taken towards this
    /// destination, or no route.
    pub no_port_bound: u64,
    /// ECONNREFUSED.
    pub refused: u64,
    /// ETIMEDOUT.
    pub timed_out: u64,
    /// EHOSTUNREACH or ENETUNREACH.
    pub unreachable: u64,
    /// Another error.
    pub other: u64,
    /// Closed by the process before there was an answer.
    pub abandoned: u64,
}

impl FailedRow {
    fn all(&self) -> u64 {
        self.no_port
            + self.no_port_bound
            + self.refused
            + self.timed_out
            + self.unreachable
            + self.other
            + self.abandoned
    }
}

/// How long connections were established. A figure is right to an eighth; under load it is of a sample.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Lifetimes {
    /// Connections (an estimate, where many were made in a second).
    pub connections: u64,
    /// The median, microseconds; null of none.
    pub p50_us: Option<u64>,
    /// The 90th percentile.
    pub p90_us: Option<u64>,
    /// The 99th percentile.
    pub p99_us: Option<u64>,
    /// Connections by lifetime: eight buckets to each power of two.
    pub buckets: Vec<Bucket>,
    /// For the drawing: each power of two's beginning and connections.
    #[serde(skip)]
    pub octaves: Vec<(u64, u64)>,
}

/// Connections of similar lifetimes.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct Bucket {
    /// From, microseconds.
    pub from_us: u64,
    /// Until, microseconds (exclusive).
    pub until_us: u64,
    /// How many.
    pub connections: u64,
}

/// What did not fit into the kernel's tables.
#[derive(Debug, Clone, Copy, Default, Serialize, JsonSchema)]
pub struct Lost {
    /// Connections closed by this side whose owner was not remembered (`--owners` makes room).
    pub owners: u64,
    /// Events that no row has.
    pub events: u64,
    /// Processes without a name.
    pub processes: u64,
    /// Connections left out of the lifetimes.
    pub lifetimes: u64,
    /// TIME_WAIT sockets that no row has.
    pub time_wait: u64,
    /// Times that a socket in CLOSE_WAIT was come upon without room to remember since when.
    pub close_wait: u64,
    /// Events outside of any process's context that came in an interrupt while the CPU was counting another: handshakes
    /// that a listener completed, resets, failures. No owner is missed by that.
    pub missed: u64,
}

impl From<&Histogram> for Lifetimes {
    fn from(histogram: &Histogram) -> Lifetimes {
        Lifetimes {
            connections: histogram.total(),
            p50_us: histogram.quantile_us(0.5),
            p90_us: histogram.quantile_us(0.9),
            p99_us: histogram.quantile_us(0.99),
            buckets: histogram
                .buckets()
                .map(|(from_us, until_us, connections)| Bucket { from_us, until_us, connections })
                .collect(),
            octaves: histogram.octaves(),
        }
    }
}

/// How often the sockets are walked, so that the owners of those that wait long for the peer's FIN stay remembered.
const WALK_EVERY: Duration = Duration::from_secs(25);
/// For how long an owner is remembered.
const REMEMBERED_S: u64 = 66;
const OWNERS_PER_S: u64 = 10_000;
/// A short trace may come upon a burst.
const FEWEST_OWNERS: u32 = 500_000;

/// What a sample lacks without a trace.
const TRACED: &str = "owners of TIME_WAIT sockets";

fn gap(error: &linger_trace::Error) -> Gap {
    let kind = match error.kind {
        linger_trace::Kind::Denied => GapKind::Denied,
        linger_trace::Kind::Unsupported => GapKind::Unsupported,
        linger_trace::Kind::Exhausted => GapKind::Partial,
    };
    Gap::new(TRACED, kind, error.to_string(), "")
}

/// What a trace remembers, for whoever joins it with sockets.
fn traced(remembered: Remembered) -> Traced {
    let mut gaps = Vec::new();
    let mut left_out = |what: String, detail: &str, hint: &str| {
        gaps.push(Gap::new(what, GapKind::Partial, detail, hint));
    };
    let lost = remembered.owners_lost();
    if lost > 0 {
        left_out(
            format!("owners of {}", counted(lost, "TIME_WAIT socket")),
            "the trace's table was full",
            "`linger trace --daemon --owners N` has more room",
        );
    }
    if remembered.waiting_lost() > 0 {
        let detail = "the trace remembers it for 65,536 of them";
        left_out("since when some sockets are in CLOSE_WAIT".to_owned(), detail, "");
    }
    let waiting = |(cookie, it): &(u64, owners::PeerClosed)| {
        let ms = u32::try_from(it.since.as_millis()).unwrap_or(u32::MAX);
        (*cookie, PeerClosed { ms, before_trace: it.before_trace })
    };
    Traced {
        processes: known(remembered.processes(), &cgroup_paths_by_id()),
        waiting: remembered.waiting().iter().map(waiting).collect(),
        lost,
        closer: Box::new(move |cookie| remembered.closer(cookie).map(ProcessId::number)),
        gaps,
    }
}

/// Processes as the collector has them, with their numbers.
fn known(
    seen: &BTreeMap<ProcessId, Process>,
    cgroups: &BTreeMap<u64, String>,
) -> Vec<(u64, linger_model::snapshot::Process)> {
    let process = |(id, process): (&ProcessId, &Process)| {
        let cgroup = cgroups.get(&process.cgroup).cloned();
        let process = linger_model::snapshot::Process {
            pid: process.pid.unwrap_or(id.tgid()),
            comm: process.comm.clone(),
            exe: None,
            cmdline: None,
            container: cgroup.as_deref().and_then(cgroup::container),
            cgroup,
            netns: None,
            fds: 0,
            fd_limit: None,
            sockets: 0,
            closed_tcp: 0,
            closed_tcp_lasting: 0,
        };
        (id.number(), process)
    };
    seen.iter().map(process).collect()
}

/// Room for the owners that so long a trace may find.
fn owners_for(time: Duration) -> u32 {
    let seconds = time.as_secs().min(REMEMBERED_S) + 1;
    u32::try_from(seconds * OWNERS_PER_S).unwrap_or(u32::MAX).max(FEWEST_OWNERS)
}

/// Traces and prints.
pub fn run(args: &TraceArgs, style: &Style) -> anyhow::Result<u8> {
    match &args.command {
        None if args.daemon => daemon::run(args),
        None => owners(args, style),
        Some(TraceCommand::Status(args)) => daemon::status(args, style),
        Some(TraceCommand::Stop) => daemon::stop(),
        Some(TraceCommand::Drops(args)) => drops::run(args, style),
        Some(TraceCommand::Handshakes(args)) => handshakes::run(args, style),
    }
}

fn owners(args: &TraceArgs, style: &Style) -> anyhow::Result<u8> {
    let signals = Signals::hold_back().context("cannot hold signals back")?;
    let targets = targets::open(&args.netns)?;
    let all = args.netns.netns.iter().any(|n| n == "all");
    let capacity = args.owners.unwrap_or_else(|| owners_for(args.duration));
    let options = Options {
        netns: (!all).then(|| targets.namespaces.iter().map(Netns::inode).collect()),
        owners: capacity,
        accepted_by_peer: args.by == TraceBy::Peer,
    };
    let started_at = timestamp(now_us());
    let mut owners = Owners::start(&options, &targets.namespaces)
        .context("nothing can be traced here; check, states, ports and listeners work without")?;
    let start = Instant::now();
    let memory_bytes = owners.memory_bytes();
    let mut gaps = targets.gaps;
    let mut namespaces = targets.namespaces;
    wait(args, style, &signals, &mut owners, |owners| {
        if all {
            namespaces = reachable().namespaces;
        }
        owners.time_wait(&namespaces).map(|_| ())
    })?;
    let seconds = start.elapsed().as_secs_f64();
    if all {
        let found = reachable();
        (namespaces, gaps) = (found.namespaces, found.gaps);
    }
    let taken = Taken {
        flows: owners.flows()?,
        held: owners.time_wait(&namespaces)?,
        processes: owners.processes()?,
        cgroups: cgroup_paths_by_id(),
    };
    let lifetimes = owners.lifetimes()?;
    let lost = owners.lost()?;
    let (rows, total) = taken.rows(args.by);
    let totals = totals(args.by, &rows);
    let failed = taken.failed(args.by);
    let close_wait = close_wait(&namespaces, traced(owners.remembered()?), &mut gaps)?;
    let top = args.top as usize;
    let report = TraceReport {
        schema: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        netns: namespaces.iter().map(report_netns).collect(),
        started_at,
        seconds,
        by: args.by.name().to_owned(),
        other_rows: rows.len().saturating_sub(top) as u64,
        other_connections: rows.iter().skip(top).map(|r| r.counts.opened + r.counts.closed()).sum(),
        rows: rows.into_iter().take(top).collect(),
        other_totals: totals.len().saturating_sub(top) as u64,
        totals: totals.into_iter().take(top).collect(),
        total,
        time_wait_unknown: taken.unknown(),
        other_close_wait: close_wait.len().saturating_sub(top) as u64,
        close_wait: close_wait.into_iter().take(top).collect(),
        other_failed: failed.len().saturating_sub(top) as u64,
        failed: failed.into_iter().take(top).collect(),
        lifetimes_closed_here: (&lifetimes.closed_here).into(),
        lifetimes_closed_by_peer: (&lifetimes.closed_by_peer).into(),
        lost: Lost {
            owners: lost.owners,
            events: lost.events,
            processes: lost.processes,
            lifetimes: lost.lifetimes,
            time_wait: lost.minisockets,
            close_wait: lost.waiting,
            missed: lost.missed,
        },
        owners_capacity: owners.capacity(),
        memory_bytes,
        gaps,
    };
    show(args.format, &report, |r| text(r, style))?;
    Ok(0)
}

/// Sums the rows of each process, or container, up.
fn totals(by: TraceBy, rows: &[TraceRow]) -> Vec<TraceTotal> {
    let mut totals: BTreeMap<(Option<&str>, Option<&str>), TraceTotal> = BTreeMap::new();
    for row in rows {
        // What is outside of any process is of all, and sums up to nothing that means something.
        let is_somebodys = match by {
            TraceBy::Process => row.process.is_some(),
            TraceBy::Container => row.container.is_some(),
            TraceBy::Peer | TraceBy::Listener => false,
        };
        if !is_somebodys {
            continue;
        }
        let key = (row.process.as_deref(), row.container.as_deref());
        let total = totals.entry(key).or_insert_with(|| TraceTotal {
            process: row.process.clone(),
            container: row.container.clone(),
            endpoints: 0,
            counts: Counts::default(),
        });
        total.endpoints += 1;
        total.counts.sum(&row.counts);
    }
    let mut totals: Vec<TraceTotal> = totals.into_values().collect();
    totals.sort_by_key(|total| std::cmp::Reverse(total.counts.weight()));
    totals
}

/// Sockets in CLOSE_WAIT of a process at an endpoint.
#[derive(Default)]
struct CloseWait {
    sockets: u64,
    unaccepted: u64,
    before_trace: u64,
    ages: Vec<u32>,
}

/// The sockets in CLOSE_WAIT, which a process holds yet: sock_diag and the descriptors tell whose they are.
fn close_wait(
    namespaces: &[Netns],
    mut traced: Traced,
    gaps: &mut Vec<String>,
) -> anyhow::Result<Vec<CloseWaitRow>> {
    let mut holders = HolderTable::scan(&ScanOptions { cgroups: true, ..ScanOptions::default() })
        .map_err(|gap| anyhow::anyhow!("{gap}"))?;
    // What is lost of TIME_WAIT is told elsewhere.
    traced.gaps.clear();
    holders.remember(Ok(Some(traced)));
    type Key = (u64, Option<ProcessIndex>, Addr, u16);
    let mut held: BTreeMap<Key, CloseWait> = BTreeMap::new();
    for ns in namespaces {
        let walked = run_in(ns, || {
            let mut ports = BTreeSet::new();
            let listen = Walk { states: State::Listen.bit(), extensions: Extensions::NONE, filter: None };
            let (first, _) = either(&listen, |s| {
                ports.insert(s.sport);
            })?;
            let waiting = Walk { states: State::CloseWait.bit(), extensions: Extensions::ALL, filter: None };
            let (second, _) = either(&waiting, |s| {
                let (addr, port) = if ports.contains(&s.sport) { (s.src, s.sport) } else { (s.dst, s.dport) };
                let key = (ns.inode(), holders.owner(s), addr, port);
                let sum = held.entry(key).or_default();
                let traced = holders.peer_closed(s);
                sum.sockets += 1;
                sum.unaccepted += u64::from(s.inode == 0);
                sum.before_trace += u64::from(traced.is_some_and(|it| it.before_trace));
                // Each is a lower bound.
                let told = s.info.as_ref().map(|info| info.last_ack_recv_ms);
                sum.ages.extend(told.max(traced.map(|it| it.ms)));
            })?;
            Ok::<_, WalkError>(incomplete(&[first, second]))
        });
        gaps.extend(walked.map_err(anyhow::Error::from)?.with_context(|| ns.label())?);
    }
    if !held.is_empty() {
        gaps.extend(holders.gaps().iter().map(ToString::to_string));
    }
    let row = |((netns, process, addr, port), mut sum): (Key, CloseWait)| {
        sum.ages.sort_unstable();
        CloseWaitRow {
            process: process.and_then(|at| Some(holders.processes().get(at)?.label())),
            endpoint: endpoint(addr, port),
            netns,
            sockets: sum.sockets,
            before_trace: sum.before_trace,
            unaccepted: sum.unaccepted,
            median_ms: sum.ages.get(sum.ages.len() / 2).copied(),
            longest_ms: sum.ages.last().copied(),
        }
    };
    let mut rows: Vec<CloseWaitRow> = held.into_iter().map(row).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.sockets, row.longest_ms)));
    Ok(rows)
}

fn report_netns(ns: &Netns) -> ReportNetns {
    ReportNetns { inode: ns.inode(), name: ns.name().map(str::to_owned), is_init: ns.is_init() }
}

/// Waits for the end, shows on a terminal how it goes, and walks the sockets now and then.
fn wait(
    args: &TraceArgs,
    style: &Style,
    signals: &Signals,
    owners: &mut Owners,
    mut walk: impl FnMut(&mut Owners) -> Result<(), linger_trace::Error>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut walked = start;
    let live = args.format == Format::Text && style.terminal && std::io::stderr().is_terminal();
    loop {
        let left = args.duration.saturating_sub(start.elapsed());
        if left.is_zero() || signals.wait(left.min(Duration::from_secs(1))).is_some() {
            break;
        }
        if live && !left.is_zero() {
            let mut sum = Flow::default();
            owners.flows()?.values().for_each(|flow| sum.add(flow));
            let line = progress(start.elapsed(), args.duration, &sum);
            let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
        }
        if walked.elapsed() >= WALK_EVERY {
            walk(owners)?;
            walked = Instant::now();
        }
    }
    if live {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    Ok(())
}

struct Taken {
    flows: BTreeMap<Group, Flow>,
    held: BTreeMap<Group, Held>,
    processes: BTreeMap<ProcessId, Process>,
    cgroups: BTreeMap<u64, String>,
}

/// What the groups of a row share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct RowKey {
    process: Option<ProcessId>,
    container: Option<String>,
    role: Role,
    addr: Addr,
    port: u16,
    netns: Option<u64>,
}

impl Taken {
    fn key(&self, by: TraceBy, group: &Group) -> RowKey {
        let key = RowKey {
            process: None,
            container: None,
            role: group.role,
            addr: group.addr,
            port: group.port,
            netns: Some(group.netns),
        };
        match by {
            TraceBy::Process => {
                RowKey { process: group.process, container: self.container(group.process), ..key }
            }
            TraceBy::Container => RowKey { container: self.container(group.process), ..key },
            TraceBy::Peer | TraceBy::Listener => key,
        }
    }

    /// Container, unit or cgroup of a process.
    fn container(&self, id: Option<ProcessId>) -> Option<String> {
        let process = self.processes.get(&id?)?;
        let path = self.cgroups.get(&process.cgroup)?;
        match cgroup::container(path) {
            Some(container) => Some(container.to_string()),
            None => (path != "/").then(|| path.clone()),
        }
    }

    fn label(&self, id: Option<ProcessId>) -> Option<String> {
        let id = id?;
        let label = match self.processes.get(&id) {
            Some(Process { comm, kernel: true, .. }) => format!("{comm} (kernel thread)"),
            Some(Process { comm, pid: Some(pid), .. }) => format!("{comm} (pid {pid})"),
            Some(Process { comm, pid: None, .. }) => format!("{comm} (pid {} of the host)", id.tgid()),
            None => format!("pid {}", id.tgid()),
        };
        Some(label)
    }

    /// The rows, the busiest first, and everything together.
    fn rows(&self, by: TraceBy) -> (Vec<TraceRow>, Counts) {
        let mut sums: BTreeMap<RowKey, Counts> = BTreeMap::new();
        let mut total = Counts::default();
        let wanted = |group: &Group| by != TraceBy::Listener || group.role == Role::Accept;
        for (group, flow) in &self.flows {
            total.add(flow);
            if wanted(group) {
                sums.entry(self.key(by, group)).or_default().add(flow);
            }
        }
        for (group, held) in &self.held {
            total.hold(held);
            if group.role != Role::Unknown && wanted(group) {
                sums.entry(self.key(by, group)).or_default().hold(held);
            }
        }
        let mut rows: Vec<TraceRow> = sums
            .into_iter()
            .filter(|(_, c)| !c.is_empty())
            .map(|(key, counts)| self.row(key, counts))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.counts.weight()));
        (rows, total)
    }

    fn row(&self, key: RowKey, counts: Counts) -> TraceRow {
        let process = key.process.and_then(|id| self.processes.get(&id));
        TraceRow {
            process: self.label(key.process),
            pid: process.and_then(|p| p.pid),
            comm: process.map(|p| p.comm.clone()),
            kernel_thread: process.is_some_and(|p| p.kernel),
            container: key.container,
            role: match key.role {
                Role::Accept => "accept",
                Role::Connect | Role::Unknown => "connect",
            }
            .to_owned(),
            endpoint: endpoint(key.addr, key.port),
            netns: key.netns,
            counts,
        }
    }

    /// Minisockets that nobody is known for.
    fn unknown(&self) -> u64 {
        self.held.iter().filter(|(g, _)| g.role == Role::Unknown).map(|(_, h)| h.time_wait).sum()
    }

    fn failed(&self, by: TraceBy) -> Vec<FailedRow> {
        if by == TraceBy::Listener {
            return Vec::new();
        }
        let rows = self.flows.iter().map(|(group, flow)| FailedRow {
            process: self.label(group.process),
            endpoint: endpoint(group.addr, group.port),
            netns: group.netns,
            no_port: flow.no_port,
            no_port_bound: flow.no_port_bound,
            refused: flow.refused,
            timed_out: flow.connect_timed_out,
            unreachable: flow.unreachable,
            other: flow.failed_otherwise,
            abandoned: flow.abandoned,
        });
        let mut rows: Vec<FailedRow> = rows.filter(|row| row.all() > 0).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.all()));
        rows
    }
}
