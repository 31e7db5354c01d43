//! What clients and servers do in incidents: texts, probes, full buffers, limits.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::common::{PATIENCE, assert_states, client, launcher, pair, run, server, start, wait_for};
use linger_lab::{Behaviour, Bound, Client, Close, Error, Host, KeepaliveTimes, Server, TcpSocket};

/// The host's sockets of a state.
fn sockets(host: &Host, state: &str) -> Vec<TcpSocket> {
    host.tcp_sockets().unwrap().into_iter().filter(|it| it.state == state).collect()
}

#[test]
fn an_answer_ends_with_a_text() {
    let Some((_world, near, far)) = pair() else { return };
    // More than is read at a time, so that the text is in several pieces.
    let bytes = 70_000;
    let _server = start(&far, Server { response_bytes: bytes, ..server() });
    let until = |length: u32| Client { response_until: Some("!".repeat(length as usize)), ..client(3) };
    let (_actor, outcome) = run(&near, Client { requests: 4, ..until(bytes) });
    assert_eq!((outcome.succeeded, outcome.failed()), (3, 0), "{outcome:?}");

    let listen: Vec<SocketAddr> = vec!["10.77.0.2:81".parse().unwrap()];
    let closing = Server { listen: listen.clone(), behaviour: Behaviour::CloseFirst, ..server() };
    let _closing = start(&far, Server { response_bytes: bytes, ..closing });
    let (_actor, outcome) = run(&near, Client { targets: listen, ..until(bytes + 1) });
    assert_eq!((outcome.succeeded, outcome.errors_by_call["recv EOF"]), (0, 3), "{outcome:?}");
}

#[test]
fn a_request_has_the_text_it_is_told() {
    let Some((_world, near, far)) = pair() else { return };
    // It answers once for each 6 bytes: what is sent must be the text, not the filler.
    let _server = start(&far, Server { request_bytes: 6, ..server() });
    let spec = Client { request: Some("PING\r\n".into()), requests: 5, ..client(2) };
    let (_actor, outcome) = run(&near, spec);
    assert_eq!((outcome.succeeded, outcome.failed()), (2, 0), "{outcome:?}");
}

#[test]
fn a_client_forgets_connections_after_an_error() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, server());
    let forgetful = Client { leak_on: Some("!!!".into()), concurrency: 1, ..client(20) };
    let (actor, outcome) = run(&near, forgetful.clone());
    assert_eq!((outcome.attempted, outcome.leaked, outcome.held), (20, 20, 20), "{outcome:?}");
    assert_eq!((outcome.succeeded, outcome.failed()), (0, 0), "{outcome:?}");
    assert_states(&near, &[("established", 20)]);
    let outcome = actor.release().unwrap();
    assert_eq!((outcome.held, outcome.leaked), (0, 20));
    let (_actor, outcome) = run(&near, Client { leak_on: Some("???".into()), ..forgetful });
    assert_eq!((outcome.succeeded, outcome.leaked, outcome.held), (20, 0, 0), "{outcome:?}");
}

#[test]
fn nothing_can_be_found_in_an_empty_text() {
    let Some((_world, near, _far)) = pair() else { return };
    let spec = Client { leak_on: Some(String::new()), ..client(1) };
    let error = near.spawn(&launcher(), &spec.into()).unwrap().ready(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}

#[test]
fn probes_find_a_peer_that_has_gone() {
    let Some((_world, near, far)) = pair() else { return };
    let times = Some(KeepaliveTimes { idle_s: 1, interval_s: 1, probes: 2 });
    let probing = start(&far, Server { keepalive_times: times, ..server() });
    let listen: Vec<SocketAddr> = vec!["10.77.0.2:81".parse().unwrap()];
    let trusting = start(&far, Server { listen: listen.clone(), ..server() });
    let held = |spec: Client| {
        let actor = start(&near, Client { hold_ms: 600_000, ..spec });
        actor.go().unwrap();
        actor
    };
    let probed = held(Client { keepalive_times: times, ..client(5) });
    let others = held(Client { targets: listen, ..client(7) });
    assert_states(&near, &[("established", 12)]);
    wait_for("the answers come", || {
        near.tcp_sockets().unwrap().iter().all(|it| it.rx_queue == 0)
            && probing.outcome_so_far().unwrap().held == 5
            && trusting.outcome_so_far().unwrap().held == 7
    });
    far.set_link("eth0", false).unwrap();
    let outcome = probed.done(PATIENCE).unwrap();
    assert_eq!((outcome.succeeded, outcome.failed()), (0, 5), "{outcome:?}");
    assert!(outcome.errors_by_call.keys().all(|it| it.starts_with("hold E")), "{outcome:?}");
    // An idle second, and two probes.
    assert!(outcome.seconds > 2.5, "{outcome:?}");
    let outcome = probing.wait_until(PATIENCE, |it| it.failed() == 5).unwrap();
    assert_eq!(outcome.held, 0);
    // Without probes, nobody notices.
    assert_states(&near, &[("established", 7)]);
    assert_states(&far, &[("established", 7)]);
    assert_eq!((others.outcome_so_far().unwrap().failed(), trusting.outcome_so_far().unwrap().held), (0, 7));
}

#[test]
fn closing_with_unsent_data_leaves_orphans() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, Server { behaviour: Behaviour::NeverRead, ..server() });
    let unsent = 100_000;
    let spec = Client { requests: 0, close: Close::WithUnsent, unsent_bytes: unsent, ..client(8) };
    let (actor, outcome) = run(&near, spec);
    assert_eq!((outcome.succeeded, outcome.failed(), outcome.held), (8, 0, 0), "{outcome:?}");
    assert_states(&near, &[("fin_wait1", 8)]);
    // They outlive the process.
    actor.stop(PATIENCE).unwrap();
    let orphans = sockets(&near, "fin_wait1");
    assert!(orphans.iter().all(|it| it.inode == 0 && it.tx_queue >= unsent), "{orphans:?}");
    assert_eq!(orphans.len(), 8);
    let unread = sockets(&far, "established");
    assert!(unread.len() == 8 && unread.iter().all(|it| it.rx_queue > 10_000), "{unread:?}");
}

#[test]
fn a_full_send_buffer_is_held() {
    let Some((_world, near, far)) = pair() else { return };
    let reader = start(&far, Server { behaviour: Behaviour::NeverRead, ..server() });
    let spec = Client { requests: 0, fill: true, ..client(4) };
    let (actor, outcome) = run(&near, spec.clone());
    assert_eq!((outcome.succeeded, outcome.held), (4, 4), "{outcome:?}");
    let (queues, unread) = (sockets(&near, "established"), sockets(&far, "established"));
    assert!(queues.iter().all(|it| it.tx_queue >= 65_536 && it.inode != 0), "{queues:?}");
    // A queue that the kernel sizes holds more.
    let (_own, _) = run(&near, Client { unsent_bytes: 0, ..spec });
    let largest = sockets(&near, "established").iter().map(|it| it.tx_queue).max().unwrap();
    assert!(largest > queues.iter().map(|it| it.tx_queue).max().unwrap(), "{largest}: {queues:?}");
    std::thread::sleep(Duration::from_millis(300));
    // The peer's window stays shut.
    let kept = sockets(&far, "established");
    assert!(unread.iter().all(|it| kept.contains(it)), "{unread:?} {kept:?}");
    assert_eq!(reader.outcome_so_far().unwrap().held, 8);
    actor.release().unwrap();
    wait_for("released, they are orphans", || sockets(&near, "fin_wait1").len() == 4);
}

#[test]
fn a_client_stops_in_time() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, server());
    let spec = Client { seconds: Some(0.5), rate: Some(100.0), ..client(u64::MAX) };
    let (_actor, outcome) = run(&near, spec);
    assert!((2..=50).contains(&outcome.attempted), "{outcome:?}");
    assert_eq!(outcome.succeeded, outcome.attempted);
    assert!(outcome.seconds < 10.0, "{outcome:?}");
    let (_actor, outcome) = run(&near, Client { rate: Some(1e-300), ..client(5) });
    assert_eq!(outcome.attempted, 1, "the next one would be too far away: {outcome:?}");
}

#[test]
fn slow_connects_show_in_the_latency() {
    let Some((_world, near, far)) = pair() else { return };
    let quick = vec!["10.77.0.2:81".parse().unwrap()];
    let _quick = start(&far, Server { listen: quick.clone(), ..server() });
    let (_actor, outcome) = run(&near, Client { targets: quick, ..client(200) });
    let latency = outcome.connect_ms.unwrap();
    assert!(latency.p50 > 0.0 && latency.p50 <= latency.p99 && latency.p99 <= latency.max, "{latency:?}");
    assert_eq!(outcome.first_error_after, None);

    // One waits to be accepted; the SYNs of others are dropped, and come again a second later.
    let slow = Server { behaviour: Behaviour::SlowAccept { per_second: 4.0 }, backlog: 0, ..server() };
    let _slow = start(&far, slow);
    let (_actor, outcome) = run(&near, Client { requests: 0, close: Close::Abort, ..client(6) });
    let latency = outcome.connect_ms.unwrap();
    assert!(latency.max > 900.0, "{latency:?}");
    let (_actor, outcome) = run(&near, Client { targets: vec!["10.77.0.2:9".parse().unwrap()], ..client(3) });
    assert_eq!((outcome.connect_ms, outcome.first_error_after), (None, Some(0)), "{outcome:?}");
}

#[test]
fn the_first_error_has_its_place() {
    let Some((_world, near, far)) = pair() else { return };
    near.sysctl("net.ipv4.ip_local_port_range", "40000 40049").unwrap();
    near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    let _server = start(&far, server());
    let (_actor, outcome) = run(&near, Client { concurrency: 1, ..client(60) });
    assert_eq!((outcome.first_error_after, outcome.errors["EADDRNOTAVAIL"]), (Some(50), 10), "{outcome:?}");
}

#[test]
fn a_server_without_descriptors_keeps_what_it_has() {
    let Some((_world, near, far)) = pair() else { return };
    for behaviour in [Behaviour::Echo, Behaviour::SlowAccept { per_second: 1000.0 }] {
        let server = start(&far, Server { nofile: Some(64), behaviour, ..server() });
        let (crowd, outcome) = run(&near, Client { close: Close::Never, requests: 0, ..client(100) });
        assert_eq!(outcome.succeeded, 100, "the kernel completes them: {outcome:?}");
        let first = server.wait_until(PATIENCE, |it| it.errors.contains_key("EMFILE")).unwrap();
        assert!(first.held > 40 && first.held < 64, "{first:?}");
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(500));
        let later = server.outcome_so_far().unwrap();
        assert_eq!((later.held, later.succeeded), (first.held, first.succeeded), "{later:?}");
        // It rests after each failure.
        let failures = later.errors_by_call["accept EMFILE"] - first.errors_by_call["accept EMFILE"];
        let most = start.elapsed().as_millis() as u64 / 50 + 2;
        assert!((1..=most).contains(&failures), "{failures} in {:?}", start.elapsed());
        // With descriptors again it accepts the rest.
        crowd.release().unwrap();
        let outcome = server.wait_until(PATIENCE, |it| it.succeeded == 100 && it.held == 0).unwrap();
        assert_eq!(outcome.failed(), outcome.errors["EMFILE"]);
        let (_actor, outcome) = run(&near, client(10));
        assert_eq!(outcome.succeeded, 10, "{outcome:?}");
        server.stop(PATIENCE).unwrap();
    }
}

#[test]
fn a_server_can_wait_for_its_address() {
    let Some((_world, near, far)) = pair() else { return };
    let address = "10.77.0.2".parse().unwrap();
    let bound = start(&far, Bound { address, ports: vec![80], ..Bound::default() });
    let spec = Server { retry_bind: true, ..server() };
    let waiting = far.spawn(&launcher(), &spec.clone().into()).unwrap();
    let outcome = waiting.wait_until(PATIENCE, |it| it.failed() >= 3).unwrap();
    assert_eq!(outcome.errors_by_call["bind EADDRINUSE"], outcome.failed(), "{outcome:?}");
    match waiting.ready(Duration::ZERO).unwrap_err() {
        Error::Silent { .. } => {}
        other => panic!("{other}"),
    }
    bound.release().unwrap();
    assert_eq!(waiting.ready(PATIENCE).unwrap(), [80]);
    assert_eq!(run(&near, client(5)).1.succeeded, 5);
    // One that never gets its address ends nevertheless.
    let second = far.spawn(&launcher(), &spec.into()).unwrap();
    second.wait_until(PATIENCE, |it| it.failed() >= 1).unwrap();
    assert_eq!(second.stop(PATIENCE).unwrap().succeeded, 0);
}
