//! `linger trace drops`

use super::report_netns;
use crate::cli::DropsArgs;
use crate::cmd::show;
use crate::cmd::states::{either, incomplete, now_us};
use crate::diagnose::timestamp;
use crate::render::style::Style;
use crate::render::trace_drops::text;
use crate::targets;
use anyhow::Context;
use linger_collect::{HolderTable, ScanOptions, Walk, counters, sysctls};
use linger_model::aggregate::Owners as _;
use linger_model::record::endpoint;
use linger_model::report::ReportNetns;
use linger_model::snapshot::Counters;
use linger_model::{Addr, SocketRecord, State};
use linger_netns::{Netns, run_in};
use linger_trace::drops::{Dropped, Drops, Packet};
use linger_tune::Signals;
use linger_wire::sock_diag::Extensions;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Why handshakes fail.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DropsReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// The namespaces watched.
    pub netns: Vec<ReportNetns>,
    /// When it began, RFC 3339 in UTC.
    pub started_at: String,
    /// How long it took.
    pub seconds: f64,
    /// Listening sockets that something happened to, those with most drops first.
    pub listeners: Vec<ListenerRow>,
    /// Listening sockets to which nothing happened.
    pub quiet_listeners: u64,
    /// Listening sockets of which it cannot be read whether they dropped anything.
    pub unknown_listeners: u64,
    /// SYNs to ports where nobody listens: they are answered with a reset. Null where the kernel gives no reasons.
    pub no_listener: Option<Vec<PortRow>>,
    /// SYNs that came and were dropped before a listener saw them, and this host's own that never left, with the kernel's
    /// reason. Null where it gives none.
    pub elsewhere: Option<Vec<PortRow>>,
    /// Rows of these two not shown.
    pub other_ports: u64,
    /// What each namespace counted meanwhile.
    pub counted: Vec<Counted>,
    /// Drops that no row has: of too many destinations, or counted while an interrupt came.
    pub left_out: u64,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// Why a listener dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The accept queue was full: the application does not accept fast enough.
    AcceptQueue,
    /// The request queue was full and cookies are off: SYNs are dropped.
    RequestQueue,
    /// Both were full at some time; the kernel does not count them apart for each listener.
    Either,
    /// The request queue was full, and cookies stood in: nothing is lost.
    Cookies,
    /// Neither queue was full: SYNs that were sent again while the first waits half-open, packets that are no handshake (a
    /// scan), or no memory.
    Other,
}

/// A listening socket.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListenerRow {
    /// Address and port.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Inode of the network namespace.
    pub netns: u64,
    /// Who holds it.
    pub process: Option<String>,
    /// What it dropped (sk_drops): SYNs, also those that were sent again for a request that waits, last ACKs, and what is
    /// no handshake. Null where that cannot be read.
    pub drops: Option<u64>,
    /// Why; null where nothing was dropped.
    pub cause: Option<Cause>,
    /// The most connections that waited for accept() when it was looked at.
    pub most_waiting: u32,
    /// The limit of that queue; it holds one more.
    pub limit: Option<u32>,
    /// How often it was looked at.
    pub looks: u64,
    /// How often the accept queue was full then.
    pub full: u64,
    /// The most half-open requests when it was looked at (every second).
    pub most_half_open: u32,
    /// The kernel's reasons for dropping packets to it, where it names them.
    pub reasons: Vec<Reason>,
}

/// The kernel's reason.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Reason {
    /// Its name, without SKB_DROP_REASON_.
    pub reason: String,
    /// syn, last_ack, or own_syn for one of this host.
    pub packet: String,
    /// How many packets.
    pub packets: u64,
}

/// Dropped packets to a port.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PortRow {
    /// Where they were to go.
    pub address: String,
    /// The port.
    pub port: u16,
    /// Inode of the network namespace; null where the packet no longer told.
    pub netns: Option<u64>,
    /// The kernel's reason.
    #[serde(flatten)]
    pub reason: Reason,
}

/// What a namespace counted while it was watched; null where a counter is not there.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Counted {
    /// Inode of the network namespace.
    pub netns: u64,
    /// net.ipv4.tcp_syncookies.
    pub tcp_syncookies: Option<u32>,
    /// TcpExt.ListenOverflows: an accept queue was full.
    pub listen_overflows: Option<u64>,
    /// TcpExt.ListenDrops: everything that listeners dropped.
    pub listen_drops: Option<u64>,
    /// TcpExt.TCPReqQFullDrop: a request queue was full, and cookies are off.
    pub request_queue_full_drops: Option<u64>,
    /// TcpExt.TCPReqQFullDoCookies: a request queue was full, and a cookie was sent.
    pub request_queue_full_cookies: Option<u64>,
    /// TcpExt.SyncookiesSent.
    pub cookies_sent: Option<u64>,
    /// TcpExt.SyncookiesRecv: valid ones that came back.
    pub cookies_valid: Option<u64>,
    /// TcpExt.SyncookiesFailed: invalid ones.
    pub cookies_invalid: Option<u64>,
}

impl Counted {
    fn new(netns: u64, syncookies: Option<u32>, before: &Counters, after: &Counters) -> Counted {
        let moved = |name: &str| Some(after.get(name)?.saturating_sub(*before.get(name)?));
        Counted {
            netns,
            tcp_syncookies: syncookies,
            listen_overflows: moved("TcpExt.ListenOverflows"),
            listen_drops: moved("TcpExt.ListenDrops"),
            request_queue_full_drops: moved("TcpExt.TCPReqQFullDrop"),
            request_queue_full_cookies: moved("TcpExt.TCPReqQFullDoCookies"),
            cookies_sent: moved("TcpExt.SyncookiesSent"),
            cookies_valid: moved("TcpExt.SyncookiesRecv"),
            cookies_invalid: moved("TcpExt.SyncookiesFailed"),
        }
    }
}

/// How often the accept queues are looked at; listening sockets are in a table of their own, which is short.
const LOOK: Duration = Duration::from_millis(100);
/// How often half-open requests are: they are among all sockets.
const LOOK_WIDE: Duration = Duration::from_secs(1);

/// A listener, as it was seen.
#[derive(Debug)]
struct Watched {
    socket: SocketRecord,
    drops_before: Option<u32>,
    most_waiting: u32,
    looks: u64,
    full: u64,
    most_half_open: u32,
}

/// A namespace's listeners by cookie.
#[derive(Debug, Default)]
struct Watch {
    listeners: BTreeMap<u64, Watched>,
    before: Counters,
    by_proc: bool,
    gaps: Vec<String>,
}

fn drops_of(socket: &SocketRecord) -> Option<u32> {
    socket.skmem.as_ref()?.drops
}

impl Watch {
    fn look(&mut self, first: bool, wide: bool) -> anyhow::Result<()> {
        let listen = Walk { states: State::Listen.bit(), extensions: Extensions::ALL, filter: None };
        let (end, by_proc) = either(&listen, |s| {
            // /proc/net/tcp tells no cookie.
            let key = if s.cookie == 0 { u64::from(s.inode) } else { s.cookie };
            let watched = self.listeners.entry(key).or_insert_with(|| Watched {
                socket: s.clone(),
                // One that is opened meanwhile begins with none.
                drops_before: drops_of(s).map(|n| if first { n } else { 0 }),
                most_waiting: 0,
                looks: 0,
                full: 0,
                most_half_open: 0,
            });
            watched.looks += 1;
            watched.most_waiting = watched.most_waiting.max(s.rqueue);
            // The queue holds one more than its limit.
            watched.full += u64::from(s.wqueue > 0 && s.rqueue > s.wqueue);
            watched.socket = s.clone();
        })?;
        self.by_proc |= by_proc;
        let mut ends = vec![end];
        if wide {
            let mut half_open: BTreeMap<(Addr, u16), u32> = BTreeMap::new();
            let requests = Walk { states: State::SynRecv.bit(), extensions: Extensions::NONE, filter: None };
            let (end, _) = either(&requests, |s| *half_open.entry((s.src, s.sport)).or_insert(0) += 1)?;
            ends.push(end);
            for watched in self.listeners.values_mut() {
                let there = half_open.iter().filter(|((addr, port), _)| watched.takes(*addr, *port));
                watched.most_half_open = watched.most_half_open.max(there.map(|(_, n)| *n).sum());
            }
        }
        for gap in incomplete(&ends) {
            if !self.gaps.contains(&gap) {
                self.gaps.push(gap);
            }
        }
        Ok(())
    }
}

impl Watched {
    /// Whether packets to there come to this listener.
    fn takes(&self, addr: Addr, port: u16) -> bool {
        let own = self.socket.src;
        let takes = match (own.is_unspecified(), own.is_v4()) {
            (false, _) => own == addr,
            (true, true) => addr.is_v4(),
            (true, false) => !addr.is_v4() || self.socket.v6only != Some(true),
        };
        self.socket.sport == port && takes
    }

    fn dropped(&self) -> Option<u64> {
        Some(u64::from(drops_of(&self.socket)?.wrapping_sub(self.drops_before?)))
    }
}

/// Watches and prints.
pub fn run(args: &DropsArgs, style: &Style) -> anyhow::Result<u8> {
    let signals = Signals::hold_back().context("cannot hold signals back")?;
    let targets = targets::open(&args.netns)?;
    let namespaces = targets.namespaces;
    let mut gaps = targets.gaps;
    let started_at = timestamp(now_us());
    let drops = match Drops::start() {
        Ok(drops) => Some(drops),
        Err(error) => {
            gaps.push(format!("the kernel's reasons, and ports where nobody listens: {error}"));
            None
        }
    };
    let start = Instant::now();
    let mut watches: Vec<(&Netns, Watch)> = namespaces.iter().map(|ns| (ns, Watch::default())).collect();
    let within = |ns: &Netns, work: &mut (dyn FnMut() -> anyhow::Result<()> + Send)| {
        run_in(ns, work).map_err(anyhow::Error::from).flatten().with_context(|| ns.label())
    };
    for (ns, watch) in &mut watches {
        within(ns, &mut || {
            watch.look(true, true)?;
            watch.before = counters().map_err(|gap| anyhow::anyhow!("{gap}"))?;
            Ok(())
        })?;
    }
    let mut widely = start;
    loop {
        let left = args.duration.saturating_sub(start.elapsed());
        let stop = left.is_zero() || signals.wait(left.min(LOOK)).is_some();
        let wide = stop || widely.elapsed() >= LOOK_WIDE;
        for (ns, watch) in &mut watches {
            within(ns, &mut || watch.look(false, wide))?;
        }
        if wide {
            widely = Instant::now();
        }
        if stop {
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let mut counted = Vec::new();
    for (ns, watch) in &mut watches {
        within(ns, &mut || {
            let after = counters().map_err(|gap| anyhow::anyhow!("{gap}"))?;
            let key = "net.ipv4.tcp_syncookies";
            let cookies = sysctls(&[key], false).remove(key).and_then(Result::ok);
            let cookies = cookies.and_then(|t| t.trim().parse().ok());
            counted.push(Counted::new(ns.inode(), cookies, &watch.before, &after));
            Ok(())
        })?;
        gaps.append(&mut watch.gaps);
        if watch.by_proc {
            gaps.push("what each listener drops, and the limits of its queues: sock_diag cannot list TCP sockets here (modprobe tcp_diag)".to_owned());
        }
    }
    let named = drops.as_ref().map(Drops::read).transpose()?;
    let (left_out, missed) = drops.as_ref().map(Drops::lost).transpose()?.unwrap_or_default();
    let holders = HolderTable::scan(&ScanOptions { cgroups: true, ..ScanOptions::default() })
        .map_err(|gap| anyhow::anyhow!("{gap}"))?;
    gaps.extend(holders.gaps().iter().map(ToString::to_string));
    let sorted = Sorted::new(&watches, &counted, named.as_ref(), &holders);
    let top = args.top as usize;
    let (no_listener, elsewhere) = (sorted.no_listener, sorted.elsewhere);
    let other_ports = no_listener.len().saturating_sub(top) + elsewhere.len().saturating_sub(top);
    let shown = |rows: Vec<PortRow>| named.is_some().then(|| rows.into_iter().take(top).collect());
    let report = DropsReport {
        schema: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        netns: namespaces.iter().map(report_netns).collect(),
        started_at,
        seconds,
        listeners: sorted.listeners,
        quiet_listeners: sorted.quiet,
        unknown_listeners: sorted.unknown,
        no_listener: shown(no_listener),
        elsewhere: shown(elsewhere),
        other_ports: other_ports as u64,
        counted,
        left_out: left_out + missed,
        gaps,
    };
    show(args.format, &report, |r| text(r, style))?;
    Ok(0)
}

/// The rows.
#[derive(Debug, Default)]
struct Sorted {
    listeners: Vec<ListenerRow>,
    quiet: u64,
    unknown: u64,
    no_listener: Vec<PortRow>,
    elsewhere: Vec<PortRow>,
}

impl Sorted {
    fn new(
        watches: &[(&Netns, Watch)],
        counted: &[Counted],
        named: Option<&BTreeMap<Dropped, u64>>,
        holders: &HolderTable,
    ) -> Sorted {
        let mut sorted = Sorted::default();
        let none = BTreeMap::new();
        let named = named.unwrap_or(&none);
        for ((ns, watch), counted) in watches.iter().zip(counted) {
            for watched in watch.listeners.values() {
                let reasons: Vec<Reason> = named
                    .iter()
                    .filter(|(d, _)| d.netns == Some(ns.inode()) && d.is_for(watched))
                    .map(|(d, n)| reason(d, *n))
                    .collect();
                let row = row(ns.inode(), watched, counted, reasons, holders);
                if row.cause.is_some() || !row.reasons.is_empty() || row.full > 0 {
                    sorted.listeners.push(row);
                } else if row.drops.is_none() {
                    sorted.unknown += 1;
                } else {
                    sorted.quiet += 1;
                }
            }
        }
        sorted.listeners.sort_by_key(|row| std::cmp::Reverse((row.drops, row.full, row.most_half_open)));
        for (dropped, n) in named {
            let watch = watches.iter().find(|(ns, _)| Some(ns.inode()) == dropped.netns);
            // Of another namespace. What no longer told is everybody's.
            if watch.is_none() && dropped.netns.is_some() {
                continue;
            }
            if watch.is_some_and(|(_, watch)| watch.listeners.values().any(|w| dropped.is_for(w))) {
                continue;
            }
            let row = PortRow {
                address: endpoint(dropped.addr, dropped.port),
                port: dropped.port,
                netns: dropped.netns,
                reason: reason(dropped, *n),
            };
            if dropped.reason == "NO_SOCKET" && dropped.packet == Packet::Syn {
                sorted.no_listener.push(row);
            } else {
                sorted.elsewhere.push(row);
            }
        }
        for rows in [&mut sorted.no_listener, &mut sorted.elsewhere] {
            rows.sort_by_key(|row| std::cmp::Reverse(row.reason.packets));
        }
        sorted
    }
}

trait IsFor {
    fn is_for(&self, listener: &Watched) -> bool;
}

impl IsFor for Dropped {
    fn is_for(&self, listener: &Watched) -> bool {
        self.packet.comes_in() && listener.takes(self.addr, self.port)
    }
}

fn reason(dropped: &Dropped, packets: u64) -> Reason {
    Reason { reason: dropped.reason.clone(), packet: dropped.packet.name().to_owned(), packets }
}

fn row(
    netns: u64,
    watched: &Watched,
    counted: &Counted,
    reasons: Vec<Reason>,
    holders: &HolderTable,
) -> ListenerRow {
    let socket = &watched.socket;
    let process = holders.owner(socket).and_then(|at| holders.processes().get(at));
    ListenerRow {
        address: endpoint(socket.src, socket.sport),
        port: socket.sport,
        netns,
        process: process.map(|p| p.label()),
        drops: watched.dropped(),
        cause: cause(watched, counted),
        most_waiting: watched.most_waiting,
        limit: (socket.cookie != 0).then_some(socket.wqueue),
        looks: watched.looks,
        full: watched.full,
        most_half_open: watched.most_half_open,
        reasons,
    }
}

/// Why it dropped. The kernel counts the kinds for a namespace, and the sum for a listener: where only one kind moved,
/// that is it; else what was full when it was looked at.
fn cause(watched: &Watched, counted: &Counted) -> Option<Cause> {
    let moved = |n: Option<u64>| n.unwrap_or(0) > 0;
    let limit = watched.socket.wqueue;
    // More than the limit are kept from 5.4 on, as many before.
    let requests_full = limit > 0 && watched.most_half_open >= limit;
    let dropped = watched.dropped().unwrap_or(0) > 0;
    // sk_drops alone also counts a SYN that is sent again while its request waits half-open: nothing was refused.
    if !dropped || counted.listen_drops == Some(0) {
        let cookies = requests_full && moved(counted.request_queue_full_cookies);
        return cookies.then_some(Cause::Cookies).or(dropped.then_some(Cause::Other));
    }
    Some(match (moved(counted.listen_overflows), moved(counted.request_queue_full_drops)) {
        (true, false) => Cause::AcceptQueue,
        (false, true) => Cause::RequestQueue,
        (false, false) => Cause::Other,
        (true, true) => match (watched.full > 0, requests_full) {
            (true, false) => Cause::AcceptQueue,
            (false, true) => Cause::RequestQueue,
            _ => Cause::Either,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::record::SkMem;

    fn watched(waiting: u32, half_open: u32, drops: u32) -> Watched {
        let socket = linger_wire::procnet::tcp_line(
            "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 7 1 0 100 0 0 10 0",
        );
        let mut socket = socket.expect("a line").expect("a socket");
        (socket.rqueue, socket.wqueue, socket.cookie) = (waiting, 8, 1);
        let skmem = SkMem { rmem_alloc: 0, rcvbuf: 0, sndbuf: 0, wmem_queued: 0, drops: Some(drops) };
        socket.skmem = Some(skmem);
        Watched {
            socket,
            drops_before: Some(u32::MAX),
            most_waiting: waiting,
            looks: 1,
            full: u64::from(waiting > 8),
            most_half_open: half_open,
        }
    }

    fn counted(overflows: u64, requests: u64, cookies: u64) -> Counted {
        Counted {
            netns: 1,
            tcp_syncookies: None,
            listen_overflows: Some(overflows),
            listen_drops: None,
            request_queue_full_drops: Some(requests),
            request_queue_full_cookies: Some(cookies),
            cookies_sent: None,
            cookies_valid: None,
            cookies_invalid: None,
        }
    }

    #[test]
    fn the_cause_is_what_moved_or_what_was_full() {
        // sk_drops runs over.
        assert_eq!(watched(0, 0, 4).dropped(), Some(5));
        let nothing = u32::MAX;
        for (waiting, half_open, drops, moved, expected) in [
            (9, 0, 4, (5, 0, 0), Some(Cause::AcceptQueue)),
            (0, 9, 4, (0, 5, 0), Some(Cause::RequestQueue)),
            // Another listener's overflows do not hide what this one has.
            (0, 9, 4, (7, 5, 0), Some(Cause::RequestQueue)),
            (9, 2, 4, (7, 5, 0), Some(Cause::AcceptQueue)),
            (9, 9, 4, (7, 5, 0), Some(Cause::Either)),
            (0, 0, 4, (0, 0, 0), Some(Cause::Other)),
            (0, 9, nothing, (0, 0, 5), Some(Cause::Cookies)),
            (0, 2, nothing, (3, 3, 5), None),
        ] {
            let (overflows, requests, cookies) = moved;
            let found = cause(&watched(waiting, half_open, drops), &counted(overflows, requests, cookies));
            assert_eq!(found, expected, "{waiting} {half_open} {drops} {moved:?}");
        }
        // SYNs that are sent again while cookies stand in.
        let nothing = Counted { listen_drops: Some(0), ..counted(0, 0, 5) };
        assert_eq!(cause(&watched(0, 9, 4), &nothing), Some(Cause::Cookies));
        assert_eq!(cause(&watched(0, 2, 4), &nothing), Some(Cause::Other));
    }
}
