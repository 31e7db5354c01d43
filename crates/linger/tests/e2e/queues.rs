//! Listening sockets: LQ001, LQ002, SR001.

use linger_lab::{Behaviour, Client, Close, Server};

use crate::support::{
    Lab, PATIENCE, SERVICE, attempts, begin, check, client, lab, linger_on, load, named, nft, run_all,
    server, ss, start, wait_for,
};

/// A client that connects and says nothing, so many times a second, and doesn't wait for long.
fn knocks(per_second: f64) -> Client {
    Client { requests: 0, close: Close::Never, connect_timeout_ms: Some(300), ..load(per_second) }
}

/// Recv-Q and Send-Q of the listener at [`SERVICE`], by `ss`.
fn queue(lab: &Lab) -> (u64, u64) {
    let text = ss(&lab.far, &["-Hltn", "sport", "=", ":80"]);
    let mut fields = text.split_ascii_whitespace().skip(1).map(|it| it.parse().unwrap());
    (fields.next().unwrap(), fields.next().unwrap())
}

#[test]
fn lq001_a_server_that_never_accepts() {
    let Some(lab) = lab() else { return };
    let spec = Server { behaviour: Behaviour::NeverAccept, backlog: 8, comm: "hung".into(), ..server() };
    let hung = start(&lab.far, spec);
    let work = begin(&lab.near, knocks(50.0));
    wait_for("the queue is full", || queue(&lab) == (9, 8));
    attempts(&work, 20);
    let sick = check(&lab.far, &[]);
    let finding = sick.assert_finding("LQ001", "critical", &[SERVICE, &named(&hung)]);
    assert!(finding["summary"].as_str().unwrap().contains("does not accept"), "{sick:?}");
    assert_eq!(sick.status, 2);
    assert!(sick.figure("LQ001", "TcpExt.ListenOverflows") > 5.0, "{sick:?}");
    assert_eq!(sick.figure("LQ001", "accept queue of 10.77.0.2:80"), 9.0);
    assert_eq!(sick.figure("LQ001", "limit of that queue"), 8.0);
    assert_eq!(sick.figure("LQ001", "connections that nobody accepted"), 9.0);
    assert_eq!(queue(&lab), (9, 8));
    // Not capped, and no flood, though the kernel sends SYN-ACKs again.
    assert_eq!((sick.of("LQ002").len(), sick.of("SR001").len()), (0, 0), "{sick:?}");

    // Nobody comes any more, and still the next one would be dropped.
    drop(work);
    wait_for("the queue is full of the dead", || queue(&lab) == (9, 8));
    let quiet = check(&lab.far, &[]);
    assert!(quiet.status > 0);
    assert_eq!(quiet.of("LQ001").len(), 1, "{quiet:?}");
}

#[test]
fn lq001_a_server_that_accepts_too_slowly() {
    let Some(lab) = lab() else { return };
    let slow = Behaviour::SlowAccept { per_second: 5.0 };
    let spec = Server { behaviour: slow, backlog: 8, comm: "slow".into(), ..server() };
    let slow = start(&lab.far, spec);
    let work = begin(&lab.near, knocks(80.0));
    wait_for("the queue is full", || queue(&lab).0 >= 8);
    attempts(&work, 20);
    let sick = check(&lab.far, &[]);
    sick.assert_finding("LQ001", "critical", &[SERVICE, &named(&slow)]);
    assert_eq!(sick.status, 2);
    assert!(slow.outcome_so_far().unwrap().succeeded > 0);
}

#[test]
fn lq001_one_stuck_worker_of_a_group() {
    let Some(lab) = lab() else { return };
    // Two sockets of one port; who watches the second one is stuck.
    let work = Server { backlog: 8, reuseport: 2, comm: "worker".into(), ..server() };
    let _worker = start(&lab.far, Server { threads: 1, ..work.clone() });
    let stuck = Server { behaviour: Behaviour::NeverAccept, comm: "stuck".into(), ..work };
    let stuck = start(&lab.far, stuck);
    let load = begin(&lab.near, knocks(100.0));
    wait_for("its queues are full", || {
        let text = ss(&lab.far, &["-Hltn", "sport", "=", ":80"]);
        text.lines().filter(|line| line.split_ascii_whitespace().nth(1) == Some("9")).count() == 2
    });
    attempts(&load, 20);
    let sick = check(&lab.far, &[]);
    let finding = sick.assert_finding("LQ001", "critical", &[SERVICE, &named(&stuck)]);
    assert!(finding["why"].as_str().unwrap().contains("SO_REUSEPORT"), "{finding:#}");
    assert_eq!(sick.status, 2);
}

#[test]
fn lq001_a_server_that_accepts_fast_enough() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, Server { backlog: 64, ..server() });
    let work = begin(&lab.near, load(80.0));
    attempts(&work, 20);
    let well = check(&lab.far, &[]);
    well.assert_healthy("LQ001");
    assert_eq!(well.status, 0);
    assert_eq!(work.outcome_so_far().unwrap().failed(), 0);
}

#[test]
fn lq002_a_backlog_cut_down_by_somaxconn() {
    let Some(lab) = lab() else { return };
    lab.far.sysctl("net.core.somaxconn", "8").unwrap();
    let spec = Server { behaviour: Behaviour::NeverAccept, backlog: 4096, ..server() };
    let hung = start(&lab.far, spec);
    // Used, and nothing is lost: a note.
    run_all(&lab.near, Client { requests: 0, ..client(5) });
    wait_for("the queue is half full", || queue(&lab) == (5, 8));
    let note = check(&lab.far, &[]);
    note.assert_finding("LQ002", "info", &[SERVICE, &named(&hung)]);
    note.assert_calm();
    assert_eq!(note.status, 0);

    let work = begin(&lab.near, knocks(50.0));
    wait_for("the queue is full", || queue(&lab) == (9, 8));
    attempts(&work, 20);
    let sick = check(&lab.far, &[]);
    sick.assert_finding("LQ002", "warning", &[SERVICE, &named(&hung)]);
    sick.assert_finding("LQ001", "critical", &[SERVICE, &named(&hung)]);
    assert_eq!(sick.figure("LQ002", "net.core.somaxconn"), 8.0);
}

#[test]
fn lq002_a_queue_at_the_cap_that_is_emptied() {
    let Some(lab) = lab() else { return };
    lab.far.sysctl("net.core.somaxconn", "64").unwrap();
    let _server = start(&lab.far, server());
    let work = begin(&lab.near, load(50.0));
    attempts(&work, 20);
    let well = check(&lab.far, &[]);
    well.assert_healthy("LQ002");
    assert_eq!((well.status, queue(&lab).1), (0, 64));
}

/// The sources of half-open connections: what answers them is dropped on their side.
const SILENCE: &str = "table inet lab { chain in { type filter hook input priority 0; \
                       tcp flags & (syn | ack) == syn | ack drop; }; }";

/// Half-open connections from four addresses of the near host, of which nothing comes but SYNs.
fn silent_sources(lab: &Lab) -> Option<Client> {
    if !nft(&lab.near, SILENCE) {
        return None;
    }
    let mut sources = Vec::new();
    for last in 11..15 {
        lab.near.add_address("eth0", &format!("10.77.0.{last}/24")).unwrap();
        sources.push(format!("10.77.0.{last}").parse().unwrap());
    }
    Some(Client { sources, nonblocking_hold: true, ..load(60.0) })
}

#[test]
fn sr001_half_open_connections_with_cookies() {
    let Some(lab) = lab() else { return };
    let Some(flood) = silent_sources(&lab) else { return };
    let server = start(&lab.far, Server { backlog: 16, comm: "front".into(), ..server() });
    let work = begin(&lab.near, flood);
    attempts(&work, 40);
    wait_for("the request queue is full", || lab.far.tcp_states().unwrap().get("syn_recv") >= Some(&16));
    let sick = check(&lab.far, &[]);
    sick.assert_finding("SR001", "warning", &[SERVICE, &named(&server)]);
    assert_eq!(sick.status, 1);
    assert!(sick.figure("SR001", "TcpExt.SyncookiesSent") > 20.0, "{sick:?}");
    assert_eq!(sick.figure("SR001", "TcpExt.SyncookiesRecv"), 0.0);
    assert_eq!(sick.figure("SR001", "sources of the"), 4.0);
    assert_eq!(sick.of("LQ001").len(), 0, "{sick:?}");
    // Half-open requests are bounded by the backlog, whatever comes.
    let half_open = sick.state("syn_recv");
    assert!((16..=17).contains(&half_open), "{sick:?}");
    assert_eq!(crate::support::ss_states(&lab.far, &[])["syn_recv"], half_open);
    let listeners = linger_on(&lab.far, &["listeners", "--format", "json"]).json();
    assert_eq!(listeners["listeners"][0]["half_open"], half_open);
}

#[test]
fn sr001_half_open_connections_without_cookies() {
    let Some(lab) = lab() else { return };
    lab.far.sysctl("net.ipv4.tcp_syncookies", "0").unwrap();
    let Some(flood) = silent_sources(&lab) else { return };
    let server = start(&lab.far, Server { backlog: 16, comm: "front".into(), ..server() });
    let work = begin(&lab.near, flood);
    attempts(&work, 40);
    wait_for("the request queue is full", || lab.far.tcp_states().unwrap().get("syn_recv") >= Some(&16));
    let sick = check(&lab.far, &[]);
    let finding = sick.assert_finding("SR001", "critical", &[SERVICE, &named(&server)]);
    assert_eq!(sick.status, 2);
    assert!(sick.figure("SR001", "TcpExt.TCPReqQFullDrop") > 20.0, "{sick:?}");
    let remedies = finding["remedies"].as_array().unwrap();
    assert!(remedies.iter().any(|it| it["sysctl"] == "net.ipv4.tcp_syncookies=1"), "{finding:#}");
    assert_eq!(crate::support::ss_states(&lab.far, &[])["syn_recv"], sick.state("syn_recv"));
}

#[test]
fn sr001_honest_load_is_no_flood() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, Server { backlog: 16, ..server() });
    let work = begin(&lab.near, load(60.0));
    attempts(&work, 40);
    let well = check(&lab.far, &[]);
    well.assert_healthy("SR001");
    assert_eq!(well.status, 0);
    work.stop(PATIENCE).unwrap();
}
