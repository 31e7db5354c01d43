//! Each actor leads to the states that it is for.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{
    PATIENCE, SERVER, assert_states, client, launcher, pair, run, server, sockets_of, start, wait_for, world,
};
use linger_lab::{Behaviour, Bound, Client, Close, Error, Host, Outcome, Server, Sockets};

/// Makes the host's TIME_WAIT sockets stay whatever comes. Two CPUs may reorder a link's segments; an old one that
/// reaches TIME_WAIT is answered, the peer that has forgotten the connection resets it, and one is missing (RFC 1337).
fn keep_time_wait(host: &Host) {
    host.sysctl("net.ipv4.tcp_rfc1337", "1").unwrap();
}

#[track_caller]
fn assert_all(outcome: &Outcome, count: u64) {
    assert_eq!((outcome.attempted, outcome.succeeded, outcome.failed()), (count, count, 0), "{outcome:?}");
}

#[test]
fn who_closes_first_keeps_time_wait() {
    let Some((_world, near, far)) = pair() else { return };
    keep_time_wait(&far);
    keep_time_wait(&near);
    let echo = start(&far, server());
    assert_all(&run(&near, client(50)).1, 50);
    assert_states(&near, &[("time_wait", 50)]);
    assert_states(&far, &[]);
    let outcome = echo.wait_until(PATIENCE, |it| it.ended == 50).unwrap();
    assert_eq!((outcome.succeeded, outcome.held), (50, 0));
    echo.stop(PATIENCE).unwrap();

    let _closing = start(&far, Server { behaviour: Behaviour::CloseFirst, ..server() });
    assert_all(&run(&near, Client { close: Close::ServerFirst, ..client(30) }).1, 30);
    assert_states(&near, &[("time_wait", 50)]);
    assert_states(&far, &[("time_wait", 30)]);
}

#[test]
fn a_server_that_closes_at_once() {
    let Some((_world, near, far)) = pair() else { return };
    keep_time_wait(&far);
    let closing = Server { behaviour: Behaviour::CloseFirst, request_bytes: 0, ..server() };
    let _closing = start(&far, closing);
    let spec = Client { close: Close::ServerFirst, requests: 0, ..client(20) };
    assert_all(&run(&near, spec).1, 20);
    assert_states(&far, &[("time_wait", 20)]);
    assert_states(&near, &[]);
}

#[test]
fn an_abort_leaves_nothing() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, server());
    assert_all(&run(&near, Client { close: Close::Abort, ..client(20) }).1, 20);
    assert_states(&near, &[]);
    assert_states(&far, &[]);
    let outcome = server.wait_until(PATIENCE, |it| it.failed() == 20).unwrap();
    assert_eq!(outcome.errors_by_call["recv ECONNRESET"], 20);
}

#[test]
fn connections_are_held_until_released() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, server());
    let (actor, outcome) = run(&near, Client { close: Close::Never, comm: "pool".into(), ..client(40) });
    assert_all(&outcome, 40);
    assert_eq!(outcome.held, 40);
    assert_states(&near, &[("established", 40)]);
    assert_eq!(server.outcome_so_far().unwrap().held, 40);
    assert_eq!(std::fs::read_to_string(format!("/proc/{}/comm", actor.pid())).unwrap().trim(), "pool");
    assert_eq!(actor.release().unwrap().held, 0);
    assert_states(&near, &[("time_wait", 40)]);
    actor.stop(PATIENCE).unwrap();
}

#[test]
fn a_pool_uses_few_connections_for_many_requests() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, Server { delay_ms: 2, ..server() });
    let pool = Client { requests: 20, pause_ms: 1, keepalive: true, response_bytes: 64, ..client(4) };
    let (_actor, outcome) = run(&near, pool);
    assert_all(&outcome, 4);
    // 20 answers, each 2 ms later, and 19 pauses.
    assert!(outcome.seconds > 0.059, "{outcome:?}");
    assert_states(&near, &[("time_wait", 4)]);
}

#[test]
fn a_half_closed_connection_stays_in_fin_wait2() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, Server { behaviour: Behaviour::NeverClose, ..server() });
    let (_actor, outcome) = run(&near, Client { close: Close::HalfClose, ..client(10) });
    assert_all(&outcome, 10);
    assert_states(&near, &[("fin_wait2", 10)]);
    assert_states(&far, &[("close_wait", 10)]);
    assert!(
        far.tcp_sockets()
            .unwrap()
            .iter()
            .all(|it| it.state != "close_wait" || it.rx_queue == 0 && it.inode != 0)
    );
    assert_eq!(server.release().unwrap().held, 0);
    assert_states(&far, &[]);
}

#[test]
fn what_was_never_read_stays_in_the_queue() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, Server { behaviour: Behaviour::NeverRead, ..server() });
    assert_all(&run(&near, Client { request_bytes: 0, ..client(10) }).1, 10);
    assert_states(&far, &[("close_wait", 10)]);
    // The end counts as one byte.
    assert!(far.tcp_sockets().unwrap().iter().all(|it| it.state != "close_wait" || it.rx_queue == 1));
    assert_eq!(server.outcome_so_far().unwrap().held, 10);
}

#[test]
fn a_client_that_never_reads_fills_the_servers_send_queue() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, Server { response_bytes: 64 << 20, ..server() });
    let (_actor, outcome) = run(&near, Client { never_read: true, ..client(2) });
    assert_eq!(outcome.held, 2);
    wait_for("the send queues fill", || {
        let full =
            far.tcp_sockets().unwrap().into_iter().filter(|it| it.state == "established" && it.tx_queue > 0);
        full.count() == 2
    });
}

#[test]
fn an_accept_queue_holds_one_more_than_its_backlog() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, Server { behaviour: Behaviour::NeverAccept, backlog: 2, ..server() });
    let (_actor, outcome) =
        run(&near, Client { requests: 0, close: Close::Never, connect_timeout_ms: Some(2000), ..client(5) });
    assert_eq!(outcome.succeeded, 3, "{outcome:?}");
    assert_eq!(outcome.errors_by_call["connect ETIMEDOUT"], 2);
    let listener = far.tcp_sockets().unwrap().into_iter().find(|it| it.state == "listen").unwrap();
    assert_eq!(listener.rx_queue, 3);
}

#[test]
fn a_slow_server_accepts_slowly() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, Server { behaviour: Behaviour::SlowAccept { per_second: 50.0 }, ..server() });
    let (_actor, outcome) = run(&near, client(20));
    assert_all(&outcome, 20);
    assert!(outcome.seconds > 0.3, "{outcome:?}");
    assert_eq!(server.stop(PATIENCE).unwrap().succeeded, 20);
}

#[test]
fn descriptors_kept_after_a_reset_are_in_no_table() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, Server { behaviour: Behaviour::KeepAfterReset, ..server() });
    let before = sockets_of(server.pid());
    run(&near, Client { close: Close::Abort, ..client(15) });
    server.wait_until(PATIENCE, |it| it.failed() == 15).unwrap();
    assert_states(&far, &[]);
    assert_eq!(sockets_of(server.pid()), before + 15);
    server.release().unwrap();
    assert_eq!(sockets_of(server.pid()), before);
}

#[test]
fn ports_run_out_towards_one_destination() {
    let Some((_world, near, far)) = pair() else { return };
    near.sysctl("net.ipv4.ip_local_port_range", "40000 40099").unwrap();
    near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    let listen = vec![SERVER.parse().unwrap(), "10.77.0.2:81".parse().unwrap()];
    let _server = start(&far, Server { listen: listen.clone(), ..server() });
    let (_actor, outcome) = run(&near, client(120));
    assert_eq!(
        (outcome.succeeded, outcome.errors_by_call["connect EADDRNOTAVAIL"]),
        (100, 20),
        "{outcome:?}"
    );
    // Another destination, or another source, has them all again.
    near.add_address("eth0", "10.77.0.3/24").unwrap();
    assert_all(&run(&near, Client { targets: vec![listen[1]], ..client(100) }).1, 100);
    assert_all(&run(&near, Client { sources: vec!["10.77.0.3".parse().unwrap()], ..client(100) }).1, 100);
    let stopped = Client { stop_on_error: true, ..client(100) };
    assert_eq!(run(&near, stopped).1.attempted, 1);
}

#[test]
fn a_port_bound_before_connect_is_taken_for_all() {
    let Some((_world, near, far)) = pair() else { return };
    near.sysctl("net.ipv4.ip_local_port_range", "40000 40009").unwrap();
    let targets: Vec<SocketAddr> = vec![SERVER.parse().unwrap(), "10.77.0.2:81".parse().unwrap()];
    let _server = start(&far, Server { listen: targets.clone(), ..server() });
    let spec = Client { targets, bind_port: true, close: Close::Never, concurrency: 1, ..client(16) };
    let (_actor, outcome) = run(&near, spec);
    assert_eq!((outcome.succeeded, outcome.errors_by_call["bind EADDRINUSE"]), (10, 6), "{outcome:?}");
}

#[test]
fn bound_sockets_hold_ports() {
    let Some((_world, host)) = world() else { return };
    let spec = Bound { count: 20, ports: vec![5000, 5000], ..Bound::default() };
    let actor = start(&host, spec);
    let outcome = actor.done(PATIENCE).unwrap();
    assert_eq!((outcome.held, outcome.errors_by_call["bind EADDRINUSE"]), (21, 1), "{outcome:?}");
    let ports = actor.ready(PATIENCE).unwrap();
    assert_eq!((ports.len(), ports[0]), (21, 5000));
    assert!(host.run(|| std::net::TcpListener::bind(("127.0.0.1", ports[7])).is_err()).unwrap());
    actor.release().unwrap();
    assert!(host.run(|| std::net::TcpListener::bind(("127.0.0.1", ports[7])).is_ok()).unwrap());
}

#[test]
fn sockets_are_held_up_to_the_limit() {
    let Some((_world, host)) = world() else { return };
    let actor = start(&host, Sockets { count: 100, nofile: Some(50), ..Sockets::default() });
    let outcome = actor.done(PATIENCE).unwrap();
    assert_eq!(outcome.attempted, 100);
    assert!(outcome.held > 30 && outcome.held < 50, "{outcome:?}");
    assert_eq!(outcome.errors["EMFILE"], 100 - outcome.held);
    assert_eq!(sockets_of(actor.pid()) as u64, outcome.held);
}

#[test]
fn a_server_without_descriptors_says_so() {
    let Some((_world, near, far)) = pair() else { return };
    let server = start(&far, Server { nofile: Some(40), ..server() });
    let client = start(&near, Client { close: Close::Never, requests: 0, ..client(60) });
    client.go().unwrap();
    let outcome = server.wait_until(PATIENCE, |it| it.errors.contains_key("EMFILE")).unwrap();
    assert!(outcome.succeeded < 40, "{outcome:?}");
    assert_eq!(outcome.errors_by_call["accept EMFILE"], outcome.errors["EMFILE"]);
}

#[test]
fn connects_without_an_answer_pile_up() {
    let Some((_world, near, _far)) = pair() else { return };
    // Nobody has this address; the kernel asks for it for 3 s.
    let spec =
        Client { targets: vec!["10.77.0.77:80".parse().unwrap()], nonblocking_hold: true, ..client(25) };
    let (_actor, outcome) = run(&near, spec);
    assert_eq!(outcome.held, 25, "{outcome:?}");
    assert_eq!(near.tcp_states().unwrap()["syn_sent"], 25);
}

#[test]
fn refusals_are_counted() {
    let Some((_world, near, _far)) = pair() else { return };
    let (_actor, outcome) = run(&near, client(10));
    assert_eq!((outcome.succeeded, outcome.errors_by_call["connect ECONNREFUSED"]), (0, 10), "{outcome:?}");
}

#[test]
fn a_restart_without_reuseaddr_fails() {
    let Some((_world, near, far)) = pair() else { return };
    keep_time_wait(&far);
    let first = start(&far, Server { behaviour: Behaviour::CloseFirst, ..server() });
    run(&near, Client { close: Close::ServerFirst, ..client(3) });
    first.stop(PATIENCE).unwrap();
    assert_states(&far, &[("time_wait", 3)]);
    let second = far.spawn(&launcher(), &Server { reuseaddr: false, ..server() }.into()).unwrap();
    match second.ready(PATIENCE).unwrap_err() {
        Error::Actor { actor, call, errno } => {
            assert_eq!(
                (actor.as_str(), call.as_str(), errno.as_str()),
                ("lab-server", "bind 10.77.0.2:80", "EADDRINUSE")
            );
        }
        other => panic!("{other}"),
    }
    start(&far, Server { ..server() });
}

#[test]
fn a_rate_is_kept() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, Server { threads: 2, ..server() });
    let (_actor, outcome) = run(&near, Client { rate: Some(200.0), threads: 2, ..client(100) });
    assert_all(&outcome, 100);
    assert!(outcome.seconds > 0.45, "{outcome:?}");
}

#[test]
fn connections_can_be_held_for_a_while() {
    let Some((_world, near, far)) = pair() else { return };
    let _server = start(&far, server());
    // More than may be under way at a time: those that wait don't count.
    let (_actor, outcome) = run(&near, Client { hold_ms: 300, concurrency: 10, ..client(50) });
    assert_all(&outcome, 50);
    assert!(outcome.seconds > 0.29, "{outcome:?}");
    assert!(outcome.seconds < 1.4, "they don't wait for each other: {outcome:?}");
}

#[test]
fn a_group_of_listeners_shares_a_port() {
    let Some((_world, near, far)) = pair() else { return };
    let spec = Server { listen: vec!["10.77.0.2:0".parse().unwrap()], reuseport: 4, threads: 2, ..server() };
    let server = start(&far, spec);
    let ports = server.ready(Duration::ZERO).unwrap();
    assert_eq!(ports.len(), 1);
    assert_eq!(far.tcp_states().unwrap()["listen"], 4);
    let targets = vec![SocketAddr::from(([10, 77, 0, 2], ports[0]))];
    assert_all(&run(&near, Client { targets, ..client(200) }).1, 200);
}

#[test]
fn what_an_actor_is_not_told_right_it_says() {
    let Some((_world, host)) = world() else { return };
    let actor = host.spawn(&launcher(), &Client { targets: Vec::new(), ..Client::default() }.into()).unwrap();
    let error = actor.ready(PATIENCE).unwrap_err();
    assert!(error.to_string().contains("no targets"), "{error}");
    let missing = linger_lab::Launcher::new("/there/is/no/such/program");
    let error = host.spawn(&missing, &Sockets::default().into()).unwrap_err();
    assert!(error.to_string().contains("/there/is/no/such/program"), "{error}");
}
