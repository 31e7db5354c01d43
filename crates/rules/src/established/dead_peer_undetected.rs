use crate::limits::{descriptor_limit, fraction, percent, span, worst};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{ProcessIndex, SocketSource};
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{Finding, SocketTable, State};

static IDLE: Threshold = Threshold {
    key: "idle_seconds",
    default: 7200.0,
    unit: "s",
    doc: "Time without data or acknowledgement from which an established connection counts as idle.",
};
static PER_PEER: Threshold = Threshold {
    key: "idle_per_peer",
    default: 100.0,
    unit: "connections",
    doc: "Idle connections to or from one peer that nothing probes, from which they are reported.",
};
static PRESSURE: Threshold = Threshold {
    key: "warning_descriptor_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "Share of its descriptors that the holder has in use from which this can be a warning.",
};
static SHARE: Threshold = Threshold {
    key: "warning_idle_share",
    default: 0.25,
    unit: "fraction",
    doc: "Share of the holder's open descriptors that such idle connections must be for that.",
};

declare_rule! {
    /// # What it detects
    /// Established connections, many with one peer, over which nothing went in either direction for `idle_seconds` (two
    /// hours by default) and on which the kernel has no timer: nothing would notice if the peer were gone.
    ///
    /// # Why it matters
    /// A peer that loses power, or a firewall that forgets the connection, sends no FIN. Without keep-alive or data to
    /// send the socket then stays ESTABLISHED for ever, with its descriptor, and a pool hands it out as good.
    ///
    /// # Evidence
    /// tcp_info's times since data and ACKs, and the absence of a timer: a socket with SO_KEEPALIVE always has one
    /// (timer 2). The harmless double is the idle connection that is meant: a pool, a WebSocket, a database session,
    /// whose application may ping in its own protocol, though it did not within that time. So this is information,
    /// and a warning only where the holder runs out of descriptors by such connections.
    ///
    /// # Fix
    /// Set SO_KEEPALIVE with times of your own on the sockets, or ping in the protocol; end idle connections.
    ///
    /// # Fix safety
    /// Lowering net.ipv4.tcp_keepalive_time does nothing for these sockets: it is for those that have SO_KEEPALIVE. No
    /// sysctl switches keep-alive on.
    ///
    /// # Sources
    /// net/ipv4/tcp_timer.c tcp_set_keepalive(), tcp_keepalive_timer(); net/ipv4/inet_diag.c inet_sk_diag_fill()
    /// (idiag_timer); RFC 9293 section 3.8.4; RFC 5382 section 5 (NATs keep idle connections two hours and four
    /// minutes at the least; many keep them for minutes).
    KA001, "dead-peer-undetected", Netns, Warning, [IDLE, PER_PEER, PRESSURE, SHARE]
}

/// Idle connections with one peer.
struct Idle {
    name: String,
    count: u32,
    established: u32,
    owner: Option<ProcessIndex>,
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    let established = table.states.count(State::Established);
    let paths = table.tuples.iter().map(|g| &g.value.path).chain(table.clients.iter().map(|g| &g.value.path));
    let mut informed = false;
    let mut idle = 0;
    for path in paths {
        informed |= path.timestamps > 0 || path.no_timestamps > 0;
        idle += u64::from(path.idle_unprobed);
    }
    if table.source == SocketSource::ProcNetTcp || (established > 0 && !informed) {
        return Outcome::Unknown(Gap::new(
            format!("idle times of {}", counted(established, "established connection")),
            GapKind::Unsupported,
            "the sockets were read without tcp_info",
            "load the tcp_diag module",
        ));
    }
    let mut peers = by_peer(table);
    peers.retain(|p| p.count > 0 && f64::from(p.count) >= cx.limit(&PER_PEER));
    peers.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    if peers.is_empty() {
        return Outcome::Clear(format!(
            "{} idle for {} or more that nothing probes; no peer has {} of them",
            counted(idle, "established connection"),
            span(idle_seconds(table)),
            cx.limit(&PER_PEER)
        ));
    }
    worst(peers.iter().map(|peer| finding(cx, table, peer)).collect(), "peers")
}

/// From when the connections were counted as idle: what the aggregator was told, which is `idle_seconds`.
fn idle_seconds(table: &SocketTable) -> f64 {
    f64::from(table.idle_ms) / 1000.0
}

fn by_peer(table: &SocketTable) -> Vec<Idle> {
    let established = |tally: &[u32; 14]| tally.get(State::Established as usize).copied().unwrap_or(0);
    let tuples = table.tuples.iter().map(|g| Idle {
        name: format!("to {} from {}", endpoint(g.key.dst, g.key.dport), g.key.src),
        count: g.value.path.idle_unprobed,
        established: established(&g.value.states()),
        owner: g.value.owner,
    });
    let clients = table.clients.iter().map(|g| Idle {
        name: format!("from {}", g.key),
        count: g.value.path.idle_unprobed,
        established: established(&g.value.states),
        owner: g.value.owner,
    });
    tuples.chain(clients).collect()
}

fn finding(cx: &Context<'_>, table: &SocketTable, peer: &Idle) -> Finding {
    let idle = span(idle_seconds(table));
    let process = peer.owner.and_then(|p| cx.processes().ok()?.get(p));
    let full = process.and_then(|p| Some((p, fraction(p.fds, descriptor_limit(p)?))));
    let pressed = full.is_some_and(|(p, used)| {
        used >= cx.limit(&PRESSURE) && fraction(u64::from(peer.count), p.fds) >= cx.limit(&SHARE)
    });
    let whose = process.map_or(String::new(), |p| format!(" of {}", p.label()));
    let and = match full {
        Some((p, used)) if pressed => {
            format!("; {} has {} of its descriptors in use", p.label(), percent(used))
        }
        _ => String::new(),
    };
    let mut evidence = vec![
        Evidence::new(
            format!("connections {} idle for {idle} or more, without a timer", peer.name),
            f64::from(peer.count),
            "sockets",
            "sock_diag tcp_info and timer",
        ),
        Evidence::new(
            format!("established connections {}", peer.name),
            f64::from(peer.established),
            "sockets",
            "sock_diag",
        ),
    ];
    if let Some((p, used)) = full {
        evidence.push(Evidence::new(
            format!("descriptors of {} in use", p.label()),
            (used * 1000.0).round() / 1000.0,
            "fraction",
            format!("/proc/{}/fd and limits", p.pid),
        ));
    }
    cx.finding(
        if pressed { Severity::Warning } else { Severity::Info },
        if pressed { Confidence::Medium } else { Confidence::Low },
        format!("connections {}{whose}", peer.name),
        format!(
            "{} {}{whose} carried nothing for {idle} or more, and nothing probes whether the peer is alive{and}",
            counted(u64::from(peer.count), "connection"),
            peer.name
        ),
    )
    .why(
        "Only SO_KEEPALIVE makes the kernel probe an idle connection, and it is off by default; no sysctl switches it on, and \
         tcp_keepalive_time is for sockets that have it. Idle pools and WebSockets look the same and may be fine.",
    )
    .evidence(evidence)
    // TCP_USER_TIMEOUT is for sent data that is not acknowledged: here nothing is sent.
    .remedies(cx.application_remedies_if(peer.owner, Symptom::DeadPeers, |s| s.setting != "TCP_USER_TIMEOUT"))
    .remedies([Remedy::architecture(
        "Give idle connections a time-out on the balancer or server that is shorter than what firewalls and NATs in between \
         remember.",
    )])
    .process(peer.owner)
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::record::{Timer, TimerKind};
    use linger_model::report::Severity;
    use linger_model::{SocketRecord, State};

    fn idle(n: u16, ms: u32) -> Vec<SocketRecord> {
        let sockets = many(n, State::Established, "10.0.0.1", 30_000, "10.0.0.9", 5432);
        with_info(held_by(sockets, 0), |i| {
            (i.last_data_sent_ms, i.last_data_recv_ms, i.last_ack_recv_ms) = (ms, ms, ms);
        })
    }

    fn app(fds: u64) -> Moment {
        moment(1.0).process_with(31, "billing", move |p| (p.fds, p.fd_limit) = (fds, Some(1024)))
    }

    const HOURS: u32 = 3 * 3_600_000;

    fn severity(moment: Moment) -> Option<Severity> {
        match run(&super::RULE, [moment]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_as_information_when_many_pile_up_with_one_peer() {
        golden!([app(200).sockets(idle(150, HOURS))]);
    }

    #[test]
    fn fires_as_a_warning_when_the_holder_runs_out_of_descriptors() {
        golden!([app(900).sockets(idle(600, HOURS))]);
    }

    #[test]
    fn is_clear_with_a_small_pool() {
        golden!([app(200).sockets(idle(20, HOURS))]);
    }

    #[test]
    fn is_unknown_without_tcp_info() {
        let bare = many(200, State::Established, "10.0.0.1", 30_000, "10.0.0.9", 5432);
        golden!([app(200).sockets(bare)]);
    }

    #[test]
    fn a_probed_or_used_connection_is_none() {
        let mut probed = idle(500, HOURS);
        probed
            .iter_mut()
            .for_each(|s| s.timer = Some(Timer { kind: TimerKind::KeepAlive, expires_ms: 1000 }));
        assert_eq!(severity(app(900).sockets(probed)), None);
        assert_eq!(severity(app(900).sockets(idle(500, 60_000))), None, "a WebSocket with pings");
    }

    #[test]
    fn descriptors_alone_do_not_make_it_a_warning() {
        assert_eq!(
            severity(app(900).sockets(idle(150, HOURS))),
            Some(Severity::Info),
            "a sixth of what is open"
        );
        assert_eq!(severity(app(700).sockets(idle(600, HOURS))), Some(Severity::Info), "room is left");
    }

    #[test]
    fn accepted_connections_are_counted_by_client() {
        let mut sockets = idle(300, HOURS);
        sockets.iter_mut().enumerate().for_each(|(i, s)| (s.sport, s.dport) = (8080, 20_000 + i as u16));
        let busy = app(350).socket(listener("0.0.0.0", 8080, 0, 128, 0)).sockets(sockets);
        let Outcome::Fired(findings) = run(&super::RULE, [busy]) else { panic!() };
        assert_eq!(findings[0].subject, "connections from 10.0.0.9 of billing (pid 31)");
        // Each client's own holder is named, however many processes accept.
        let mut other = idle(120, HOURS);
        other.iter_mut().enumerate().for_each(|(i, s)| {
            (s.sport, s.dport, s.dst, s.inode) = (8080, 20_000 + i as u16, ip("10.0.0.77"), 1001);
        });
        let mut mine = idle(300, HOURS);
        mine.iter_mut().enumerate().for_each(|(i, s)| (s.sport, s.dport) = (8080, 20_000 + i as u16));
        let two = app(350).process(32, "worker").socket(listener("0.0.0.0", 8080, 0, 128, 0));
        let Outcome::Fired(findings) = run(&super::RULE, [two.sockets(mine).sockets(other)]) else {
            panic!()
        };
        assert_eq!(findings[1].subject, "connections from 10.0.0.77 of worker (pid 32)");
    }
}
