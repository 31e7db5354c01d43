//! Healthy hosts: no rule may bother them with more than a note that is justified.

use crate::testing::*;
use crate::{Config, Outcome, Selection, evaluate};
use linger_model::record::{Timer, TimerKind};
use linger_model::report::Severity;
use linger_model::snapshot::{Conntrack, Softnet};
use linger_model::{SocketRecord, State};

/// Evaluates every rule; asserts that none warns, and returns the codes of the notes.
fn notes(moments: impl IntoIterator<Item = Moment>) -> Vec<&'static str> {
    let mut notes = Vec::new();
    for (rule, outcome) in evaluate(&window(moments), &Config::default(), &Selection::default()) {
        if let Outcome::Fired(findings) = &outcome {
            assert!(findings.iter().all(|f| f.severity == Severity::Info), "{}", show(&outcome));
            notes.push(rule.code);
        }
    }
    notes
}

/// Connections that clients made to a local port, held by process 0.
fn accepted(n: u16, state: State, port: u16) -> Vec<SocketRecord> {
    let one = |i: u16| {
        let client = ip(&format!("198.51.{}.{}", i / 200, i % 200));
        SocketRecord::new(state, ip("10.0.0.1"), port, client, 20_000 + i)
    };
    (0..n).map(one).collect()
}

fn working(sockets: Vec<SocketRecord>) -> Vec<SocketRecord> {
    with_info(held_by(sockets, 0), |i| {
        (i.segs_out, i.total_retrans) = (Some(300), 3);
        (i.last_data_sent_ms, i.last_data_recv_ms, i.last_ack_recv_ms) = (40, 45, 40);
    })
}

/// What a server that works moves in a second.
fn busy(moment: Moment) -> Moment {
    [
        ("Tcp.InSegs", 180_000),
        ("Tcp.OutSegs", 200_000),
        ("Tcp.RetransSegs", 3500),
        ("Tcp.PassiveOpens", 1500),
        ("Tcp.ActiveOpens", 300),
        ("Tcp.AttemptFails", 12),
        ("Tcp.EstabResets", 170),
        ("Tcp.OutRsts", 190),
        ("TcpExt.TCPTimeouts", 400),
        ("TcpExt.TCPSynRetrans", 150),
        ("TcpExt.TCPAbortOnClose", 60),
        ("TcpExt.TCPAbortOnData", 90),
        ("TcpExt.TCPAbortOnTimeout", 3),
        ("TcpExt.ListenDrops", 4),
        ("TcpExt.PAWSEstab", 9),
        ("TcpExt.TCPRcvCollapsed", 200),
        ("TcpExt.TCPToZeroWindowAdv", 50),
        ("TcpExt.TCPWinProbe", 20),
    ]
    .into_iter()
    .fold(moment, |moment, (counter, by)| moment.counter(counter, by))
}

#[test]
fn a_busy_web_server_with_phones_and_paused_players() {
    let server = |at_s: f64| {
        let mut phones = working(accepted(3000, State::Established, 443));
        // A carrier's address with phones that have gone.
        for socket in phones.iter_mut().take(14) {
            socket.dst = ip("203.0.113.1");
            socket.retransmits = 4;
            socket.timer = Some(Timer { kind: TimerKind::Retransmit, expires_ms: 900 });
        }
        let mut paused = working(accepted(25, State::Established, 443));
        for socket in &mut paused {
            (socket.dport, socket.wqueue) = (socket.dport + 5000, 3_000_000);
            socket.timer = Some(Timer { kind: TimerKind::ZeroWindowProbe, expires_ms: 900 });
            if let Some(info) = &mut socket.info {
                info.last_data_sent_ms = 45_000;
            }
        }
        let mut closing = working(accepted(60, State::CloseWait, 443));
        closing.iter_mut().for_each(|s| s.dport += 9000);
        moment(at_s)
            .process_with(9, "nginx", |p| (p.fds, p.fd_limit, p.sockets) = (4000, Some(65_536), 3900))
            .socket(listener("0.0.0.0", 443, 12, 511, (at_s * 4.0) as u32))
            .sockets(phones)
            .sockets(paused)
            .sockets(closing)
            .sockets(expiring(accepted(30_000, State::TimeWait, 443), 0, 60_000))
            .sockets(expiring(accepted(400, State::FinWait2, 443), 0, 60_000))
            .sockets(accepted(40, State::SynRecv, 443))
            .sockets(accepted(80, State::LastAck, 443))
    };
    let notes = notes([server(0.0), busy(server(1.0))]);
    assert_eq!(notes, ["ZW001", "RS001"].into_iter().filter(|c| notes.contains(c)).collect::<Vec<_>>());
}

#[test]
fn a_proxy_with_kept_connections() {
    let proxy = |at_s: f64| {
        let backends = (0..20)
            .flat_map(|n| many(200, State::Established, "10.0.0.1", 33_000, &format!("10.1.0.{n}"), 8080));
        let gone = (0..20).flat_map(|n| {
            expiring(many(900, State::TimeWait, "10.0.0.1", 34_000, &format!("10.1.0.{n}"), 8080), 0, 60_000)
        });
        moment(at_s)
            .process_with(9, "haproxy", |p| (p.fds, p.fd_limit, p.sockets) = (9000, Some(100_000), 8990))
            .socket(listener("0.0.0.0", 443, 0, 4096, 0))
            .sockets(working(accepted(4000, State::Established, 443)))
            .sockets(working(backends.collect()))
            .sockets(gone)
    };
    assert!(notes([proxy(0.0), busy(proxy(1.0))]).is_empty());
}

#[test]
fn a_database_with_idle_sessions_and_a_cache_of_files() {
    let database = |at_s: f64| {
        let mut sessions = with_info(held_by(accepted(400, State::Established, 5432), 0), |i| {
            (i.last_data_sent_ms, i.last_data_recv_ms, i.last_ack_recv_ms) = (9_000_000, 9_000_000, 60_000);
        });
        for socket in &mut sessions {
            socket.dst = ip("10.0.0.50");
            socket.timer = Some(Timer { kind: TimerKind::KeepAlive, expires_ms: 1_000_000 });
        }
        moment(at_s)
            .process_with(9, "postgres", |p| (p.fds, p.fd_limit, p.sockets) = (997, Some(1024), 4))
            .socket(listener("0.0.0.0", 5432, 0, 200, 0))
            .sockets(sessions)
    };
    assert_eq!(notes([database(0.0), busy(database(1.0))]), ["FD001"]);
}

#[test]
fn a_ci_machine_that_tries_localhost_twice_and_restarts_servers() {
    let machine = |at_s: f64| {
        let own = many(2400, State::TimeWait, "127.0.0.1", 33_000, "127.0.0.1", 5432);
        let server = SocketRecord::new(State::TimeWait, ip("127.0.0.1"), 8080, ip("127.0.0.1"), 50_000);
        moment(at_s)
            .process(9, "node")
            .socket(listener("127.0.0.1", 5432, 0, 4096, 0))
            .sockets(expiring(own, 0, 60_000))
            .sockets(expiring(vec![server], 30_000, 31_000))
    };
    // ::1 is refused, 127.0.0.1 answers.
    let last = machine(1.0)
        .counter("Tcp.ActiveOpens", 80)
        .counter("Tcp.AttemptFails", 40)
        .counter("Tcp.PassiveOpens", 40)
        .counter("Tcp.OutRsts", 40);
    assert_eq!(notes([machine(0.0), last]), ["TW007", "RS001"]);
}

#[test]
fn a_laptop_whose_vpn_has_just_gone() {
    let laptop = |at_s: f64| {
        let mut lost =
            with_info(held_by(many(6, State::Established, "10.8.0.2", 40_000, "10.9.0.1", 443), 0), |_| ());
        for socket in &mut lost {
            socket.retransmits = 5;
            socket.timer = Some(Timer { kind: TimerKind::Retransmit, expires_ms: 900 });
        }
        let mut connects = held_by(many(4, State::SynSent, "10.8.0.2", 41_000, "10.9.0.1", 443), 0);
        connects.iter_mut().for_each(|s| s.retransmits = 2);
        let web = (0..60).flat_map(|n| {
            many(2, State::Established, "192.168.1.5", 42_000 + 2 * n, &format!("203.0.113.{n}"), 443)
        });
        let left = held_by(many(7, State::CloseWait, "192.168.1.5", 45_000, "203.0.113.9", 443), 0);
        moment(at_s)
            .process(9, "firefox")
            .sockets(lost)
            .sockets(connects)
            .sockets(working(web.collect()))
            .sockets(with_info(left, |i| (i.last_ack_recv_ms, i.last_data_sent_ms) = (900_000, 900_000)))
    };
    let last = laptop(1.0)
        .counter("Tcp.OutSegs", 900)
        .counter("Tcp.RetransSegs", 12)
        .counter("TcpExt.TCPTimeouts", 10)
        .counter("TcpExt.TCPSynRetrans", 2);
    assert!(notes([laptop(0.0), last]).is_empty());
}

#[test]
fn a_kubernetes_node_with_pods_that_resolve_names() {
    let node = |at_s: f64| {
        let mut moment = moment(at_s)
            .process(9, "kubelet")
            .socket(listener("0.0.0.0", 10_250, 0, 4096, 0))
            .sockets(working(accepted(300, State::Established, 10_250)));
        let stats = [("drop", at_s as u64 / 5), ("early_drop", 0), ("insert_failed", at_s as u64 / 5)];
        moment.conntrack = Some(Conntrack {
            count: 70_000,
            max: 262_144,
            stats: Some(stats.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        });
        moment.softnet =
            Softnet { processed: 1_000_000 + (at_s * 1e5) as u64, dropped: 12, time_squeeze: 900 };
        moment
    };
    // Probes of the kubelet and of balancers end with a reset.
    let last = node(5.0)
        .counter("Tcp.ActiveOpens", 300)
        .counter("Tcp.PassiveOpens", 100)
        .counter("Tcp.AttemptFails", 20)
        .counter("Tcp.EstabResets", 30)
        .counter("Tcp.OutRsts", 60)
        .counter("TcpExt.TCPAbortOnData", 25);
    assert!(notes([node(0.0), last]).is_empty());
}
