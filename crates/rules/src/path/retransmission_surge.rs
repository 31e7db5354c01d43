use crate::listen_queue::origin;
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, thousands};
use linger_model::aggregate::{PathStats, StateTally};
use linger_model::record::Addr;
use linger_model::report::{Confidence, Evidence, Finding, Remedy, Severity};
use linger_model::window::Delta;
use linger_model::{SocketTable, State};
use std::collections::BTreeMap;

static MIN_SEGMENTS: Threshold = Threshold {
    key: "min_segments",
    default: 500.0,
    unit: "segments",
    doc: "Segments sent over the window below which no share is judged.",
};

static MIN_RETRANSMITTED: Threshold = Threshold {
    key: "min_retransmitted",
    default: 20.0,
    unit: "segments",
    doc: "Segments retransmitted over the window below which nothing is judged.",
};

static INFO: Threshold = Threshold {
    key: "info_fraction",
    default: 0.03,
    unit: "fraction",
    doc: "Retransmitted ÷ sent from which it is told; clients on radio links come near it every day.",
};

static WARNING: Threshold = Threshold {
    key: "warning_fraction",
    default: 0.05,
    unit: "fraction",
    doc: "Retransmitted ÷ sent from which it is a warning, when retransmission time-outs occur as well.",
};

static CRITICAL: Threshold = Threshold {
    key: "critical_fraction",
    default: 0.15,
    unit: "fraction",
    doc: "Retransmitted ÷ sent from which it is critical, when retransmission time-outs occur as well.",
};

static MIN_TIMEOUTS: Threshold = Threshold {
    key: "min_timeouts",
    default: 5.0,
    unit: "time-outs",
    doc: "Retransmission time-outs over the window below which the losses were repaired without a stall.",
};

static STALLED: Threshold = Threshold {
    key: "stalled_connections",
    default: 10.0,
    unit: "connections",
    doc: "Connections to one peer that wait for a retransmission to be answered from which the path is told.",
};

static STALLED_SHARE: Threshold = Threshold {
    key: "stalled_fraction",
    default: 0.25,
    unit: "fraction",
    doc: "The share of the connections to that peer which must be so.",
};

static CLIENTS_SHARE: Threshold = Threshold {
    key: "stalled_clients_fraction",
    default: 0.1,
    unit: "fraction",
    doc: "Where only accepted connections stall: the share of all live connections that those of one peer must be. Phones \
          behind one carrier's address vanish all the time.",
};

static CRITICAL_STALLED: Threshold = Threshold {
    key: "critical_stalled_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "The share of the connections to that peer from which it is critical.",
};

declare_rule! {
    /// # What it detects
    /// Segments retransmitted beyond the path's normal, and peers towards which many connections wait for an answer to a
    /// retransmission.
    ///
    /// # Why it matters
    /// A loss repaired by fast retransmit costs a round trip. A retransmission time-out costs 200 ms at least, doubles
    /// each time, and shrinks the congestion window to one segment: that is what users notice as hanging requests.
    ///
    /// # Evidence
    /// Tcp.RetransSegs less TcpExt.TCPSynRetrans (SYNs and SYN-ACKs sent again belong to SS001 and SR001) over
    /// Tcp.OutSegs. OutSegs does not count retransmissions, so the quotient can pass 100 %. TCPTimeouts less
    /// TCPSynRetrans tells time-outs from losses that were repaired at once. By peer: connections whose retransmission
    /// timer has fired without an answer, and what live connections retransmitted (tcp_info): over the window where its
    /// first sample has tcp_info, else over their lives, and the finding says which. One bulk transfer that
    /// probes for bandwidth loses some percent for a moment: without time-outs this stays information.
    ///
    /// # Fix
    /// Find what the peers with losses have in common: a link, a switch, a region, an MTU black hole. Look at the
    /// interface's drops and errors (`ip -s link`, `ethtool -S`) and at a policer. No TCP setting cures a lossy path;
    /// BBR suffers less from random loss than CUBIC, and does not help where the queue overflows.
    ///
    /// # Fix safety
    /// Nothing is to be set. Lower `tcp_retries2` makes connections give up sooner; it does not make them lose less.
    ///
    /// # Sources
    /// net/ipv4/tcp_output.c __tcp_transmit_skb() (OutSegs), __tcp_retransmit_skb(), tcp_rtx_synack() (RetransSegs and
    /// TCPSynRetrans); net/ipv4/tcp_timer.c tcp_retransmit_timer() (TCPTimeouts). RFC 6298, RFC 8985.
    RT001, "retransmission-surge", Netns,
    Critical,
    [
        MIN_SEGMENTS, MIN_RETRANSMITTED, INFO, WARNING, CRITICAL, MIN_TIMEOUTS, STALLED, STALLED_SHARE, CLIENTS_SHARE,
        CRITICAL_STALLED,
    ]
}

const MAX_FINDINGS: usize = 5;

/// The connections with one peer address, in both directions.
#[derive(Default, Clone, Copy)]
struct Peer {
    live: u64,
    stalled: u64,
    /// Of those, on connections that this host made.
    stalled_outgoing: u64,
    retransmitted: u64,
    sent: u64,
}

impl Peer {
    fn add(&mut self, states: &StateTally, path: &PathStats, syn_retransmitting: u32) {
        let live = [State::Established, State::FinWait1, State::CloseWait, State::LastAck, State::Closing];
        self.live += live.iter().filter_map(|s| states.get(*s as usize)).map(|n| u64::from(*n)).sum::<u64>();
        self.stalled += u64::from(path.retransmitting.saturating_sub(syn_retransmitting));
        self.retransmitted += u64::from(path.total_retrans);
        self.sent += u64::from(path.segs_out);
    }
}

/// Whether the live connections of a table were read with their tcp_info.
fn has_tcp_info(table: &SocketTable) -> bool {
    let told = |path: &PathStats| path.timestamps + path.no_timestamps > 0;
    table.tuples.iter().any(|g| told(&g.value.path)) || table.clients.iter().any(|g| told(&g.value.path))
}

fn peers(table: &SocketTable) -> BTreeMap<Addr, Peer> {
    let mut peers: BTreeMap<Addr, Peer> = BTreeMap::new();
    for group in table.tuples.iter() {
        let stats = &group.value;
        let peer = peers.entry(group.key.dst).or_default();
        peer.add(&stats.states(), &stats.path, stats.syn_retransmitting());
        peer.stalled_outgoing = peer.stalled;
    }
    for group in table.clients.iter() {
        peers.entry(group.key).or_default().add(&group.value.states, &group.value.path, 0);
    }
    peers
}

/// The counters' part.
struct Loss {
    sent: Delta,
    retransmitted: f64,
    timeouts: f64,
    share: f64,
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = cx.sockets();
    let mut peers: Vec<(Addr, Peer)> =
        table.as_ref().map(|t| peers(t).into_iter().collect()).unwrap_or_default();
    let live: u64 = peers.iter().map(|(_, p)| p.live).sum();
    peers.retain(|(_, p)| p.stalled > 0 || p.retransmitted > 0);
    let stalls = |p: &Peer| {
        let service = p.stalled_outgoing as f64 >= cx.limit(&STALLED);
        p.stalled as f64 >= cx.limit(&STALLED)
            && p.stalled as f64 >= cx.limit(&STALLED_SHARE) * p.live as f64
            && (service || p.stalled as f64 >= cx.limit(&CLIENTS_SHARE) * live as f64)
    };
    let mut stalled: Vec<(Addr, Peer)> = peers.iter().copied().filter(|(_, p)| stalls(p)).collect();
    stalled.sort_by_key(|(addr, p)| (std::cmp::Reverse(p.stalled), *addr));
    let loss = loss(cx);
    let mut findings = Vec::new();
    if let (Some(Ok(loss)), Ok(table)) = (&loss, &table) {
        findings.extend(counters_finding(cx, loss, Some(table), &peers));
    } else if let Some(Ok(loss)) = &loss {
        findings.extend(counters_finding(cx, loss, None, &peers));
    }
    if let Ok(table) = &table {
        let room = MAX_FINDINGS.saturating_sub(findings.len());
        let more = stalled.len().saturating_sub(room);
        findings
            .extend(stalled.iter().take(room).map(|(addr, peer)| stalled_finding(cx, table, *addr, peer)));
        if let (Some(last), true) = (findings.last_mut(), more > 0) {
            last.evidence.push(Evidence::new("further stalled peers", more as f64, "peers", origin(table)));
        }
    }
    if !findings.is_empty() {
        findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
        return Outcome::Fired(findings);
    }
    match (loss, table) {
        (None, _) => Outcome::NotApplicable("needs two samples: segments are counted between them".into()),
        (Some(Err(gap)), _) | (Some(Ok(_)), Err(gap)) => Outcome::Unknown(gap),
        (Some(Ok(loss)), Ok(_)) => {
            let few = (loss.sent.by as f64) < cx.limit(&MIN_SEGMENTS);
            let why = if few { ": too few to judge a share" } else { "" };
            Outcome::Clear(format!(
                "{} retransmitted (SYNs apart) and {} sent in {:.1} s{why}",
                counted(loss.retransmitted as u64, "segment"),
                thousands(loss.sent.by),
                loss.sent.seconds
            ))
        }
    }
}

fn loss(cx: &Context<'_>) -> Option<Result<Loss, linger_model::snapshot::Gap>> {
    if !cx.window.has_past() {
        return None;
    }
    let read = || {
        let sent = cx.window.delta("Tcp.OutSegs")?;
        let all = cx.window.delta("Tcp.RetransSegs")?.by as f64;
        // Absent on kernels before 3.15: then SYNs are among them.
        let syns = cx.window.delta_or_zero("TcpExt.TCPSynRetrans");
        let retransmitted = (all - syns).max(0.0);
        let timeouts = (cx.window.delta("TcpExt.TCPTimeouts")?.by as f64 - syns).max(0.0);
        let share = retransmitted / (sent.by as f64).max(1.0);
        Ok(Loss { sent, retransmitted, timeouts, share })
    };
    Some(read())
}

fn counters_finding(
    cx: &Context<'_>,
    loss: &Loss,
    table: Option<&SocketTable>,
    peers: &[(Addr, Peer)],
) -> Option<Finding> {
    let enough =
        loss.sent.by as f64 >= cx.limit(&MIN_SEGMENTS) && loss.retransmitted >= cx.limit(&MIN_RETRANSMITTED);
    if !enough || loss.share < cx.limit(&INFO) {
        return None;
    }
    let times_out = loss.timeouts >= cx.limit(&MIN_TIMEOUTS);
    let severity = if times_out && loss.share >= cx.limit(&CRITICAL) {
        Severity::Critical
    } else if times_out && loss.share >= cx.limit(&WARNING) {
        Severity::Warning
    } else {
        Severity::Info
    };
    // What the live connections retransmitted over the window. Connections that ended have taken their figures along,
    // so this is a lower bound.
    let past = cx.window.first().sockets.as_ref().ok();
    let before = past.map(self::peers).unwrap_or_default();
    // A window's first sample is read without tcp_info: then only what they did over their lives is known.
    let in_window =
        past.is_some_and(has_tcp_info) || (past.is_some() && before.values().all(|p| p.live == 0));
    let recent = |addr: &Addr, now: &Peer| {
        now.retransmitted.saturating_sub(before.get(addr).map_or(0, |then| then.retransmitted))
    };
    let mut ranked: Vec<_> = peers.iter().map(|(addr, p)| (*addr, recent(addr, p), *p)).collect();
    ranked.retain(|(_, recent, _)| *recent > 0);
    let stalled = |peer: &Peer| if in_window { 0 } else { peer.stalled };
    ranked.sort_by_key(|(addr, recent, peer)| {
        (std::cmp::Reverse(stalled(peer)), std::cmp::Reverse(*recent), *addr)
    });
    let worst = ranked.first().map_or(String::new(), |(addr, n, _)| match in_window {
        true => format!(", most of what can be attributed ({}) towards {addr}", thousands(*n)),
        false => {
            format!("; the live connections towards {addr} sent {} again over their lives", thousands(*n))
        }
    });
    let mut finding = cx
        .finding(
            severity,
            if times_out { Confidence::High } else { Confidence::Medium },
            match ranked.first() {
                Some((addr, _, peer)) if in_window || peer.stalled > 0 => format!("peer {addr}"),
                _ => format!("network namespace {}", cx.now().netns.label()),
            },
            format!(
                "{:.1} % of the segments had to be sent again: {} for {} sent in {:.1} s{worst}",
                loss.share * 100.0,
                thousands(loss.retransmitted as u64),
                thousands(loss.sent.by),
                loss.sent.seconds
            ),
        )
        .why(if times_out {
            "Losses that only a time-out repairs stall their connection for 200 ms and more, each time twice as long. \
             SYNs and SYN-ACKs sent again are not counted here."
        } else {
            "The losses were repaired within a round trip (hardly any time-outs): congestion control probes for \
             bandwidth this way. SYNs and SYN-ACKs sent again are not counted here."
        });
    for counter in ["Tcp.RetransSegs", "TcpExt.TCPSynRetrans", "Tcp.OutSegs", "TcpExt.TCPTimeouts"] {
        finding = finding.evidence(cx.window.delta(counter).ok().map(|moved| cx.moved(counter, moved)));
    }
    for (addr, recent, peer) in ranked.iter().take(5) {
        let source = table.map_or("sock_diag", origin);
        let when =
            if in_window { "in the window, at least" } else { "over the lives of the live connections" };
        let what = format!("segments sent again to {addr} {when}");
        finding.evidence.push(Evidence::new(what, *recent as f64, "segments", format!("{source} tcp_info")));
        if peer.stalled > 0 {
            let what = format!("connections to {addr} waiting after a time-out");
            finding.evidence.push(Evidence::new(what, peer.stalled as f64, "connections", source));
        }
    }
    Some(finding.remedies(remedies()))
}

fn stalled_finding(cx: &Context<'_>, table: &SocketTable, addr: Addr, peer: &Peer) -> Finding {
    let outgoing = table.tuples.iter().filter(|g| g.key.dst == addr && g.value.path.retransmitting > 0);
    let process = outgoing.max_by_key(|g| g.value.path.retransmitting).and_then(|g| g.value.owner);
    let share = peer.stalled as f64 / peer.live.max(1) as f64;
    let process = process.or_else(|| table.clients.get(&addr)?.value.owner);
    let whose = process.map_or(String::new(), |p| format!(" of {}", cx.process_label(Some(p))));
    let tries = match cx.now().sysctl_int("net.ipv4.tcp_retries2") {
        Ok(n) if n != 15 => format!("until {n} retransmissions are unanswered (tcp_retries2)"),
        _ => "for about 15 minutes (tcp_retries2 = 15)".to_owned(),
    };
    cx.finding(
        if share >= cx.limit(&CRITICAL_STALLED) { Severity::Critical } else { Severity::Warning },
        Confidence::High,
        format!("peer {addr}"),
        format!(
            "{} of {}{whose} with {addr} wait for an answer to a retransmission",
            thousands(peer.stalled),
            counted(peer.live, "connection")
        ),
    )
    .why(format!(
        "The retransmission timer of these connections has fired at least once and the peer has acknowledged nothing \
         since: the path to it is broken, or it is gone. The kernel goes on {tries}."
    ))
    .evidence([
        Evidence::new(format!("connections to {addr} waiting after a time-out"), peer.stalled as f64, "connections", origin(table)),
        Evidence::new(format!("connections with {addr}"), peer.live as f64, "connections", origin(table)),
    ])
    .evidence((peer.sent > 0).then(|| {
        let what = format!("segments sent again to {addr} ÷ sent, over the connections' lives");
        Evidence::new(what, peer.retransmitted as f64 / peer.sent as f64, "fraction", format!("{} tcp_info", origin(table)))
    }))
    .process(process)
    .remedies(remedies())
}

fn remedies() -> [Remedy; 2] {
    [
        Remedy::architecture(
            "Find what the peers with losses share: link, switch, zone, tunnel MTU, a policer. Look at `ip -s link` and \
             `ethtool -S` for drops and errors on this host first.",
        ),
        Remedy::application(
            "Set a time limit for each request (or TCP_USER_TIMEOUT on the sockets), so that a dead path is given up \
             after seconds and not when the kernel does (tcp_retries2).",
        ),
    ]
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::record::{Timer, TimerKind};
    use linger_model::report::Severity;
    use linger_model::{SocketRecord, State};

    fn to_db(n: u16, stalled: u16, retrans: u32) -> Vec<SocketRecord> {
        let sockets = held_by(many(n, State::Established, "10.0.0.1", 33000, "10.0.0.9", 5432), 0);
        let mut sockets = with_info(sockets, |info| {
            info.total_retrans = retrans;
            info.segs_out = Some(1000);
        });
        for socket in sockets.iter_mut().take(stalled.into()) {
            socket.retransmits = 3;
            socket.timer = Some(Timer { kind: TimerKind::Retransmit, expires_ms: 900 });
        }
        sockets
    }

    fn counted(sent: u64, again: u64, timeouts: u64, syns: u64) -> Moment {
        moment(1.0)
            .process(77, "api")
            .counter("Tcp.OutSegs", sent)
            .counter("Tcp.RetransSegs", again + syns)
            .counter("TcpExt.TCPSynRetrans", syns)
            .counter("TcpExt.TCPTimeouts", timeouts + syns)
    }

    fn severity(last: Moment) -> Option<Severity> {
        match run(&super::RULE, [moment(0.0), last]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            _ => None,
        }
    }

    #[test]
    fn fires_and_names_the_peer() {
        let first = moment(0.0).sockets(to_db(40, 0, 2));
        golden!([first, counted(5000, 400, 60, 12).sockets(to_db(40, 4, 11))]);
    }

    #[test]
    fn what_connections_lost_long_ago_is_not_said_of_the_window() {
        let bare = many(40, State::Established, "10.0.0.1", 33000, "10.0.0.9", 5432);
        let last = counted(5000, 400, 60, 12).sockets(to_db(40, 0, 11));
        let Outcome::Fired(findings) = run(&super::RULE, [moment(0.0).sockets(bare), last]) else {
            panic!("fires")
        };
        assert_eq!(findings[0].subject, "network namespace net:[1]");
        assert!(findings[0].summary.ends_with("sent 440 again over their lives"), "{}", findings[0].summary);
        assert!(
            findings[0].evidence.iter().all(|e| !e.what.contains("in the window")),
            "{:?}",
            findings[0].evidence
        );
    }

    #[test]
    fn is_clear_at_the_usual_losses() {
        golden!([moment(0.0), counted(20_000, 120, 3, 400)]);
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = moment(1.0);
        last.no_counters = true;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn share_and_timeouts_decide() {
        assert_eq!(severity(counted(10_000, 299, 50, 0)), None);
        assert_eq!(severity(counted(10_000, 300, 50, 0)), Some(Severity::Info));
        assert_eq!(severity(counted(10_000, 500, 50, 0)), Some(Severity::Warning));
        assert_eq!(severity(counted(10_000, 1500, 50, 0)), Some(Severity::Critical));
        assert_eq!(
            severity(counted(10_000, 1500, 4, 0)),
            Some(Severity::Info),
            "a bulk transfer probes for bandwidth"
        );
        assert_eq!(severity(counted(10_000, 0, 0, 5000)), None, "SYNs belong to SS001");
        assert_eq!(severity(counted(100, 30, 30, 0)), None, "an idle host");
    }

    #[test]
    fn a_peer_that_answers_nothing_is_told_by_its_connections() {
        golden!([moment(0.0), counted(60, 30, 30, 0).sockets(to_db(40, 30, 5))]);
        assert_eq!(severity(counted(60, 9, 9, 0).sockets(to_db(30, 9, 5))), None);
        assert_eq!(severity(counted(60, 10, 9, 0).sockets(to_db(40, 10, 5))), Some(Severity::Warning));
        assert_eq!(severity(counted(60, 10, 9, 0).sockets(to_db(41, 10, 5))), None);
        // Phones behind one carrier's address that have gone: nothing, unless it is a good part of all.
        let phones = |working: u16| {
            let mut gone = to_db(14, 12, 5);
            gone.iter_mut().enumerate().for_each(|(i, s)| (s.sport, s.dport) = (443, 20_000 + i as u16));
            let others = (0..working).map(|i| {
                SocketRecord::new(State::Established, ip("10.0.0.1"), 443, ip("192.0.2.7"), 20_000 + i)
            });
            counted(60, 12, 12, 0).socket(listener("0.0.0.0", 443, 0, 511, 0)).sockets(gone).sockets(others)
        };
        assert_eq!(severity(phones(2000)), None);
        assert_eq!(severity(phones(20)), Some(Severity::Critical));
        // Hanging connects are SS001's.
        let mut connects = many(50, State::SynSent, "10.0.0.1", 33000, "10.0.0.9", 5432);
        for socket in &mut connects {
            socket.retransmits = 2;
            socket.timer = Some(Timer { kind: TimerKind::Retransmit, expires_ms: 900 });
        }
        assert_eq!(severity(counted(60, 0, 0, 50).sockets(connects)), None);
        assert!(matches!(run(&super::RULE, [moment(0.0)]), Outcome::NotApplicable(_)));
    }
}
