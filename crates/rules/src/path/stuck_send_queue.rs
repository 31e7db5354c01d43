use crate::limits::{size, span};
use crate::listen_queue::origin;
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{PathStats, ProcessIndex, SocketSource, StateTally};
use linger_model::record::{Addr, endpoint};
use linger_model::report::{Confidence, Evidence, Finding, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{SocketTable, State};
use std::collections::BTreeMap;

static STUCK_MS: Threshold = Threshold {
    key: "stuck_ms",
    default: 5000.0,
    unit: "ms",
    doc: "Time without sending, window closed and data waiting, from which a peer does not read; below, it is slow.",
};

static WARNING_SOCKETS: Threshold = Threshold {
    key: "warning_sockets",
    default: 5.0,
    unit: "sockets",
    doc: "Stuck connections to one peer from which this is a warning; for a client they must be half of its connections.",
};

static WARNING_BYTES: Threshold = Threshold {
    key: "warning_bytes",
    default: 1_048_576.0,
    unit: "bytes",
    doc: "Bytes waiting for one service that this host connected to from which this is a warning.",
};

static WARNING_MS: Threshold = Threshold {
    key: "warning_stuck_ms",
    default: 30_000.0,
    unit: "ms",
    doc: "Time from which a single stuck connection that this host made is a warning.",
};

static CRITICAL_MEMORY: Threshold = Threshold {
    key: "critical_memory_fraction",
    default: 0.1,
    unit: "fraction",
    doc: "Bytes waiting for all such peers ÷ the host's limit of TCP memory (tcp_mem) from which this is critical.",
};

declare_rule! {
    /// # What it detects
    /// Peers that do not read: connections with data to send whose peer has closed its receive window and keeps it
    /// closed, so that only zero-window probes go out.
    ///
    /// # Why it matters
    /// The sender's memory fills, its write() blocks (or its event loop's buffers grow), and whoever waits behind it
    /// waits, too. A peer that answers the probes keeps this up for ever: no time-out of TCP ends it.
    ///
    /// # Evidence
    /// Sockets whose timer is the zero-window probe and whose Send-Q is not empty, by peer; how many of them have sent no
    /// data for 5 s, the longest time, and the bytes that wait (tcp_info); TcpExt.TCPWinProbe. A slow consumer closes its
    /// window for a moment, too; the time tells. A browser or player that pauses is a stuck connection from a client:
    /// information, however much its buffer holds, and many such clients are told in one finding. TCPToZeroWindowAdv is
    /// no evidence: there *this* host closed its window, because a process here does not read.
    ///
    /// # Fix
    /// At the peer: find why it does not read (blocked, paused, stopped in a debugger, out of memory). Here: a write
    /// timeout, a bound on what is buffered for one peer, TCP_USER_TIMEOUT. Larger buffers only delay it.
    ///
    /// # Fix safety
    /// TCP_USER_TIMEOUT on the sockets is safe; it ends connections to peers that pause for longer. `tcp_wmem` and
    /// `wmem_max` change nothing here (and `wmem_default` has no effect on TCP at all).
    ///
    /// # Sources
    /// net/ipv4/tcp_timer.c tcp_probe_timer() (no limit while the peer answers, RFC 1122 4.2.2.17); net/ipv4/tcp_output.c
    /// tcp_send_probe0(), tcp_select_window() (TCPToZeroWindowAdv); net/ipv4/inet_diag.c (timer 4).
    ZW001, "stuck-send-queue", Netns, Critical, [STUCK_MS, WARNING_SOCKETS, WARNING_BYTES, WARNING_MS, CRITICAL_MEMORY]
}

const MAX_FINDINGS: usize = 5;

/// A peer that does not read.
struct Stuck {
    /// The service's port for a connection that this host made.
    peer: (Addr, Option<u16>),
    /// Connections whose window has been closed for long.
    sockets: u64,
    /// Those whose window is closed only now.
    slow: u64,
    /// All its live connections.
    live: u64,
    bytes: u64,
    oldest_ms: u32,
    owner: Option<ProcessIndex>,
}

impl Stuck {
    fn add(&mut self, path: &PathStats, states: &StateTally, owner: Option<ProcessIndex>) {
        self.sockets += u64::from(path.zero_window_stuck);
        self.slow += u64::from(path.zero_window.saturating_sub(path.zero_window_stuck));
        let live = [State::Established, State::CloseWait].iter().filter_map(|s| states.get(*s as usize));
        self.live += live.map(|n| u64::from(*n)).sum::<u64>();
        self.bytes += u64::from(path.zero_window_bytes);
        self.oldest_ms = self.oldest_ms.max(path.zero_window_oldest_ms);
        self.owner = self.owner.or(owner);
    }

    fn label(&self) -> String {
        match self.peer.1 {
            Some(port) => endpoint(self.peer.0, port),
            None => format!("client {}", self.peer.0),
        }
    }
}

fn stuck(table: &SocketTable) -> Vec<Stuck> {
    let mut peers: BTreeMap<(Addr, Option<u16>), Stuck> = BTreeMap::new();
    let mut add = |peer, path: &PathStats, states: &StateTally, owner| {
        if path.zero_window > 0 {
            let empty = Stuck { peer, sockets: 0, slow: 0, live: 0, bytes: 0, oldest_ms: 0, owner: None };
            peers.entry(peer).or_insert(empty).add(path, states, owner);
        }
    };
    for group in table.tuples.iter() {
        let stats = &group.value;
        add((group.key.dst, Some(group.key.dport)), &stats.path, &stats.states(), stats.owner);
    }
    for group in table.clients.iter() {
        add((group.key, None), &group.value.path, &group.value.states, group.value.owner);
    }
    peers.into_values().collect()
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    let all = stuck(table);
    let sockets: u64 = all.iter().map(|s| s.sockets + s.slow).sum();
    let bytes: u64 = all.iter().map(|s| s.bytes).sum();
    let oldest = all.iter().map(|s| s.oldest_ms).max().unwrap_or(0);
    if sockets > 0 && oldest == 0 && table.source != SocketSource::SockDiag {
        return Outcome::Unknown(Gap::new(
            format!("for how long {} with a closed window sent nothing", counted(sockets, "connection")),
            GapKind::Unsupported,
            format!("{} has no tcp_info", origin(table)),
            "load the module tcp_diag, or use `ss -i`",
        ));
    }
    let long = |s: &Stuck| s.sockets > 0 && f64::from(s.oldest_ms) >= cx.limit(&STUCK_MS);
    let mut hit: Vec<&Stuck> = all.iter().filter(|s| long(s)).collect();
    if hit.is_empty() {
        return Outcome::Clear(match sockets {
            0 => "no connection waits for its peer's window".to_owned(),
            n => format!(
                "{} with a closed window and data waiting ({} bytes), none for longer than {:.1} s: slow, not stuck",
                counted(n, "connection"),
                thousands(bytes),
                f64::from(oldest) / 1000.0
            ),
        });
    }
    let limit = cx.now().sysctl_ints("net.ipv4.tcp_mem").ok().and_then(|v| v.get(2).copied());
    let limit = limit.map(|pages| pages.max(0) as u64 * cx.now().host.page_size).filter(|bytes| *bytes > 0);
    let memory = limit.map(|limit| hit.iter().map(|s| s.bytes).sum::<u64>() as f64 / limit as f64);
    hit.sort_by_key(|s| (std::cmp::Reverse((severity(cx, s), s.sockets, s.bytes)), s.peer));
    // Clients that pause are told together: one by one they would be all that there is to read.
    let (paused, mut single): (Vec<&Stuck>, Vec<&Stuck>) =
        hit.into_iter().partition(|s| s.peer.1.is_none() && severity(cx, s) == Severity::Info);
    let paused = if let [one] = paused.as_slice() {
        single.push(one);
        Vec::new()
    } else {
        paused
    };
    let room = MAX_FINDINGS - usize::from(!paused.is_empty());
    let more = single.len().saturating_sub(room);
    let mut findings: Vec<Finding> = single.iter().take(room).map(|s| finding(cx, table, s)).collect();
    if let (Some(last), true) = (findings.last_mut(), more > 0) {
        let what = "further peers that do not read";
        last.evidence.push(Evidence::new(what, more as f64, "peers", origin(table)));
    }
    if !paused.is_empty() {
        findings.push(paused_finding(cx, table, &paused));
    }
    if let (Some(worst), Some(memory)) =
        (findings.first_mut(), memory.filter(|m| *m >= cx.limit(&CRITICAL_MEMORY)))
    {
        worst.severity = Severity::Critical;
        worst
            .why
            .push_str(" What waits for such peers takes a good part of the host's TCP memory: see MM001.");
        let what = "bytes waiting for peers that do not read ÷ tcp_mem's limit";
        let source = format!("{}, sysctl net.ipv4.tcp_mem", origin(table));
        worst.evidence.push(Evidence::new(what, memory, "fraction", source));
    }
    Outcome::Fired(findings)
}

fn severity(cx: &Context<'_>, s: &Stuck) -> Severity {
    let many = s.sockets as f64 >= cx.limit(&WARNING_SOCKETS);
    let bad = match s.peer.1 {
        Some(_) => {
            many || s.bytes as f64 >= cx.limit(&WARNING_BYTES)
                || f64::from(s.oldest_ms) >= cx.limit(&WARNING_MS)
        }
        // Behind one address there can be many clients, some of which pause.
        None => many && s.sockets * 2 >= s.live,
    };
    if bad { Severity::Warning } else { Severity::Info }
}

const WHY: &str = "The peer's receive buffer is full and its application takes nothing out, so its TCP offers a window of 0. \
                   This host probes, and as long as the probes are answered no time-out ends the connection.";

/// From when a window counts as closed for long, in words.
fn long_closed(table: &SocketTable) -> String {
    span(f64::from(table.stuck_ms) / 1000.0)
}

fn probes(cx: &Context<'_>) -> Option<Evidence> {
    const PROBES: &str = "TcpExt.TCPWinProbe";
    let moved = cx.window.delta(PROBES).ok().filter(|d| d.by > 0)?;
    Some(cx.moved(PROBES, moved))
}

fn remedies(cx: &Context<'_>, owner: Option<ProcessIndex>) -> Vec<Remedy> {
    // That one is for a process of this host that does not read.
    cx.application_remedies_if(owner, Symptom::SlowReader, |step| step.setting != "read while computing")
}

fn finding(cx: &Context<'_>, table: &SocketTable, s: &Stuck) -> Finding {
    let name = s.label();
    let whose = s.owner.map_or(String::new(), |p| format!(" of {}", cx.process_label(Some(p))));
    let severity = severity(cx, s);
    let slow = match s.slow {
        0 => String::new(),
        n => format!("; {} more closed it less than {} ago", thousands(n), long_closed(table)),
    };
    let info = format!("{} tcp_info", origin(table));
    let mut finding = cx
        .finding(
            severity,
            if severity == Severity::Info { Confidence::Medium } else { Confidence::High },
            name.clone(),
            format!(
                "{name} does not read: its window is closed on {}{whose}, {}for {}, and {} wait{slow}",
                counted(s.sockets, "connection"),
                if s.sockets == 1 { "" } else { "the longest " },
                span(f64::from(s.oldest_ms) / 1000.0),
                size(s.bytes)
            ),
        )
        .why(WHY)
        .evidence([
            Evidence::new(
                format!(
                    "connections with a closed window that sent nothing for {} or more",
                    long_closed(table)
                ),
                s.sockets as f64,
                "connections",
                info.clone(),
            ),
            Evidence::new("bytes that wait in them", s.bytes as f64, "bytes", origin(table)),
            Evidence::new(
                "longest time since one of them sent data",
                f64::from(s.oldest_ms) / 1000.0,
                "s",
                info.clone(),
            ),
        ])
        .evidence((s.slow > 0).then(|| {
            Evidence::new("connections with a closed window for less", s.slow as f64, "connections", info)
        }))
        .evidence(probes(cx))
        .process(s.owner);
    if s.owner.is_none() {
        let mut holders: Vec<_> = table.holders.iter().filter(|(_, h)| h.zero_window > 0).collect();
        holders.sort_by_key(|(process, h)| (std::cmp::Reverse(h.zero_window), **process));
        for (process, held) in holders.into_iter().take(3) {
            let what = format!(
                "connections with a closed window, to whatever peer, of {}",
                cx.process_label(*process)
            );
            finding.evidence.push(Evidence::new(what, held.zero_window.into(), "connections", origin(table)));
        }
    }
    finding.remedies(remedies(cx, s.owner)).remedies([Remedy::architecture(match s.peer.1 {
        Some(_) => format!(
            "Look at {name}: a process there is blocked, paused, or waits for this host in turn. Its Recv-Q is full."
        ),
        None => "A client that pauses costs its buffer and no more. If it is one of yours, look there: its Recv-Q is full."
            .to_owned(),
    })])
}

/// Clients that do not read, few connections each.
fn paused_finding(cx: &Context<'_>, table: &SocketTable, paused: &[&Stuck]) -> Finding {
    let sum = |figure: fn(&Stuck) -> u64| paused.iter().map(|s| figure(s)).sum::<u64>();
    let (sockets, bytes) = (sum(|s| s.sockets), sum(|s| s.bytes));
    let oldest = paused.iter().map(|s| s.oldest_ms).max().unwrap_or(0);
    let worst = paused.iter().max_by_key(|s| (s.bytes, s.peer));
    let owner = worst.and_then(|s| s.owner);
    let whose = owner.map_or(String::new(), |p| format!(", most of them of {}", cx.process_label(Some(p))));
    let clients = counted(paused.len() as u64, "client");
    let info = format!("{} tcp_info", origin(table));
    let largest = worst.map(|s| {
        Evidence::new(
            format!("bytes that wait for {}, the most", s.label()),
            s.bytes as f64,
            "bytes",
            origin(table),
        )
    });
    cx.finding(
        Severity::Info,
        Confidence::Medium,
        // Their number changes; who it is about does not.
        "clients of this host",
        format!(
            "{clients} do not read: their window is closed on {}{whose}, the longest for {}, and {} wait",
            counted(sockets, "connection"),
            span(f64::from(oldest) / 1000.0),
            size(bytes)
        ),
    )
    .why(format!("{WHY} Players and browsers that pause look like this."))
    .evidence([
        Evidence::new(
            format!("connections with a closed window that sent nothing for {} or more", long_closed(table)),
            sockets as f64,
            "connections",
            info,
        ),
        Evidence::new("bytes that wait in them", bytes as f64, "bytes", origin(table)),
    ])
    .evidence(largest)
    .evidence(probes(cx))
    .process(owner)
    .remedies(remedies(cx, owner))
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::record::{Timer, TimerKind};
    use linger_model::report::Severity;
    use linger_model::{SocketRecord, State};

    fn stuck(mut sockets: Vec<SocketRecord>, bytes: u32, ms: u32) -> Vec<SocketRecord> {
        for socket in &mut sockets {
            socket.wqueue = bytes;
            socket.timer = Some(Timer { kind: TimerKind::ZeroWindowProbe, expires_ms: 900 });
        }
        with_info(sockets, |info| info.last_data_sent_ms = ms)
    }

    fn to_replica(n: u16, bytes: u32, ms: u32) -> Vec<SocketRecord> {
        stuck(held_by(many(n, State::Established, "10.0.0.1", 33000, "10.0.0.9", 6379), 0), bytes, ms)
    }

    /// A server with clients that do not read.
    fn server(sockets: Vec<SocketRecord>) -> Moment {
        moment(1.0).process(5, "streamer").socket(listener("0.0.0.0", 80, 0, 511, 0)).sockets(sockets)
    }

    fn to_client(n: u16, bytes: u32, ms: u32) -> Vec<SocketRecord> {
        let sockets = (0..n)
            .map(|i| SocketRecord::new(State::Established, ip("10.0.0.1"), 80, ip("192.0.2.7"), 4000 + i));
        stuck(held_by(sockets.collect(), 0), bytes, ms)
    }

    fn severity(last: Moment) -> Option<Severity> {
        match run(&super::RULE, [moment(0.0), last]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            _ => None,
        }
    }

    #[test]
    fn fires_and_names_peer_and_process() {
        let last = server(to_replica(8, 250_000, 42_000)).counter("TcpExt.TCPWinProbe", 3);
        golden!([moment(0.0), last]);
    }

    #[test]
    fn is_clear_with_a_slow_consumer() {
        golden!([moment(0.0), server(to_replica(20, 250_000, 800))]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = moment(1.0);
        last.no_sockets = true;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn a_paused_player_is_information() {
        golden!([moment(0.0), server(to_client(1, 90_000, 90_000))]);
        assert_eq!(severity(server(to_client(1, 90_000, 4999))), None);
        assert_eq!(severity(server(to_client(4, 90_000, 5000))), Some(Severity::Info));
        assert_eq!(severity(server(to_client(5, 90_000, 5000))), Some(Severity::Warning));
        assert_eq!(
            severity(server(to_client(1, 4_194_304, 5000))),
            Some(Severity::Info),
            "a full send buffer"
        );
        // Behind one address there can be many clients.
        let reading = (0..20u16)
            .map(|i| SocketRecord::new(State::Established, ip("10.0.0.1"), 80, ip("192.0.2.7"), 9000 + i));
        let shared = to_client(6, 90_000, 5000).into_iter().chain(reading).collect();
        assert_eq!(severity(server(shared)), Some(Severity::Info));
    }

    #[test]
    fn many_paused_players_are_one_note() {
        let players = (0..40u16).flat_map(|i| {
            let mut one = to_client(1, 1_000_000, 20_000);
            one.iter_mut().for_each(|s| s.dst = ip(&format!("192.0.2.{i}")));
            one
        });
        golden!([moment(0.0), server(players.collect())]);
    }

    #[test]
    fn slow_connections_beside_stuck_ones_are_counted_apart() {
        let both = to_replica(8, 1000, 42_000).into_iter().chain(to_replica(3, 1000, 100)).collect();
        let Outcome::Fired(findings) = run(&super::RULE, [server(both)]) else { panic!("fires") };
        let summary = &findings[0].summary;
        assert!(summary.contains("on 8 connections of streamer (pid 5)"), "{summary}");
        assert!(summary.ends_with("; 3 more closed it less than 5 s ago"), "{summary}");
    }

    #[test]
    fn a_service_that_does_not_read_is_a_warning_after_a_while() {
        assert_eq!(severity(server(to_replica(1, 9000, 29_999))), Some(Severity::Info));
        assert_eq!(severity(server(to_replica(1, 9000, 30_000))), Some(Severity::Warning));
    }

    #[test]
    fn much_of_tcp_memory_is_critical() {
        // The limit is 562,500 pages: 2,304,000,000 bytes.
        assert_eq!(severity(server(to_replica(100, 2_304_000, 9000))), Some(Severity::Critical));
        assert_eq!(severity(server(to_replica(100, 2_303_000, 9000))), Some(Severity::Warning));
    }

    #[test]
    fn idle_keepalive_connections_are_nothing() {
        let mut idle = to_replica(10, 0, 90_000);
        idle.iter_mut().for_each(|s| s.timer = None);
        assert_eq!(severity(server(idle)), None);
    }
}
