//! TIME_WAIT and local ports: TW001, TW002, TW003, TW004, TW005, TW007.

use std::net::SocketAddr;
use std::time::Duration;

use linger_lab::{Behaviour, Bound, Client, Close, Error, Host, Server, TimeWaitLoad};

use crate::support::{
    PATIENCE, SERVICE, address, attempts, begin, check, client, config, heavy_lab, lab, load, named, path_of,
    run, run_all, server, start, wait_for, wait_for_states,
};

const TUPLE: &str = "10.77.0.1 -> 10.77.0.2:80";

/// Few ports, and `tcp_tw_reuse`.
fn few_ports(host: &Host, reuse: &str) {
    host.sysctl("net.ipv4.ip_local_port_range", "40000 40199").unwrap();
    host.sysctl("net.ipv4.tcp_tw_reuse", reuse).unwrap();
}

#[test]
fn tw001_ports_towards_one_destination_run_out() {
    let Some(lab) = lab() else { return };
    few_ports(&lab.near, "0");
    let _server = start(&lab.far, server());
    let pool = run_all(&lab.near, Client { close: Close::Never, comm: "shop-api".into(), ..client(5) });
    run_all(&lab.near, client(195));
    let (_, outcome) = run(&lab.near, client(20));
    assert_eq!(outcome.errors_by_call["connect EADDRNOTAVAIL"], 20, "{outcome:?}");

    let sick = check(&lab.near, &[]);
    let finding = sick.assert_finding("TW001", "critical", &[TUPLE]);
    assert_eq!(sick.status, 2);
    assert!(finding["summary"].as_str().unwrap().contains(&named(&pool)), "{sick:?}");
    assert_eq!(sick.figure("TW001", "local ports in use towards"), 200.0);
    assert_eq!(sick.figure("TW001", "of those, in TIME_WAIT"), 195.0);
    assert_eq!(sick.figure("TW001", "of those, that connect() can take back"), 0.0);
    sick.assert_as_ss(&lab.near);
    assert_eq!((sick.state("time_wait"), sick.state("established")), (195, 5));
    // The same load costs the accepting side no port.
    check(&lab.far, &[]).assert_healthy("TW001");

    // The same sockets, where connect() may take them back: a note, and the next connects succeed.
    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "1").unwrap();
    let well = check(&lab.near, &[]);
    well.assert_finding("TW001", "info", &[TUPLE]);
    well.assert_calm();
    assert_eq!((well.status, well.of("TW004").len()), (0, 0));
    assert_eq!(well.figure("TW001", "of those, that connect() can take back"), 195.0);
    well.assert_as_ss(&lab.near);
    run_all(&lab.near, client(150));
}

#[test]
fn tw004_reuse_without_timestamps_does_nothing() {
    let Some(lab) = lab() else { return };
    few_ports(&lab.near, "1");
    // It takes one end without.
    lab.far.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    let _server = start(&lab.far, server());
    let pool = run_all(&lab.near, Client { close: Close::Never, comm: "shop-api".into(), ..client(5) });
    run_all(&lab.near, client(195));
    std::thread::sleep(Duration::from_millis(1_200));
    let (_, outcome) = run(&lab.near, client(20));
    assert_eq!(outcome.errors_by_call["connect EADDRNOTAVAIL"], 20, "{outcome:?}");
    let sick = check(&lab.near, &[]);
    sick.assert_finding("TW001", "critical", &[TUPLE]);
    let finding = sick.assert_finding("TW004", "warning", &[TUPLE]);
    assert!(finding["summary"].as_str().unwrap().contains(&named(&pool)), "{sick:?}");
    assert_eq!(sick.figure("TW004", "live connections without timestamps"), 5.0);
    sick.assert_as_ss(&lab.near);
}

#[test]
fn tw001_as_many_over_several_destinations_are_fine() {
    let Some(lab) = lab() else { return };
    few_ports(&lab.near, "0");
    let listen: Vec<SocketAddr> = (80..85).map(|port| SocketAddr::from(([10, 77, 0, 2], port))).collect();
    let _server = start(&lab.far, Server { listen: listen.clone(), ..server() });
    run_all(&lab.near, Client { targets: listen, ..client(200) });
    let well = check(&lab.near, &[]);
    well.assert_healthy("TW001");
    assert_eq!((well.status, well.state("time_wait")), (0, 200));
    well.assert_as_ss(&lab.near);
}

#[test]
fn tw001_a_burst_that_is_over_is_no_trend() {
    let Some(lab) = lab() else { return };
    few_ports(&lab.near, "0");
    let _server = start(&lab.far, server());
    // At this rate the ports would not last a minute; but nobody connects any more.
    run_all(&lab.near, client(90));
    std::thread::sleep(Duration::from_millis(2_500));
    let well = check(&lab.near, &[]);
    well.assert_healthy("TW001");
    assert_eq!(well.state("time_wait"), 90);
    well.assert_as_ss(&lab.near);
    // Beyond half of the ports connect() is slower: worth a note.
    run_all(&lab.near, client(30));
    std::thread::sleep(Duration::from_millis(2_500));
    let note = check(&lab.near, &[]);
    note.assert_finding("TW001", "info", &[TUPLE]);
    note.assert_calm();
    // While they do, it is one.
    let _work = begin(&lab.near, load(10.0));
    wait_for("some more are made", || lab.near.tcp_states().unwrap()["time_wait"] > 125);
    check(&lab.near, &[]).assert_finding("TW001", "critical", &[TUPLE]);
}

#[test]
fn tw001_mode_2_helps_on_loopback_only() {
    let Some(lab) = lab() else { return };
    few_ports(&lab.near, "2");
    let _server = start(&lab.far, server());
    run_all(&lab.near, client(200));
    let sick = check(&lab.near, &[]);
    sick.assert_finding("TW001", "critical", &[TUPLE]);
    sick.assert_as_ss(&lab.near);
    assert_eq!(sick.status, 2);

    few_ports(&lab.far, "2");
    let local = address("127.0.0.1:80");
    let _local = start(&lab.far, Server { listen: vec![local], ..server() });
    let local = || Client { targets: vec![local], ..client(190) };
    run_all(&lab.far, local());
    let well = check(&lab.far, &[]);
    well.assert_finding("TW001", "info", &["127.0.0.1 -> 127.0.0.1:80"]);
    well.assert_calm();
    assert_eq!(well.status, 0);
    well.assert_as_ss(&lab.far);
    run_all(&lab.far, Client { connections: 150, ..local() });
}

#[test]
fn tw001_ports_that_bind_holds_are_lost_for_every_destination() {
    let Some(lab) = lab() else { return };
    few_ports(&lab.near, "1");
    let _server = start(&lab.far, server());
    let holder = start(&lab.near, Bound { ports: (40_000..40_195).collect(), ..Bound::default() });
    assert_eq!(holder.done(PATIENCE).unwrap().held, 195);
    let sick = check(&lab.near, &[]);
    sick.assert_finding("TW001", "critical", &["network namespace"]);
    assert_eq!(sick.figure("TW001", "ports that a bind() holds"), 195.0);
    assert_eq!(sick.state("bound_inactive"), 195);
    let (_, outcome) = run(&lab.near, Client { close: Close::Never, ..client(10) });
    assert_eq!((outcome.succeeded, outcome.errors_by_call["connect EADDRNOTAVAIL"]), (5, 5), "{outcome:?}");
    holder.release().unwrap();
    let well = check(&lab.near, &[]);
    well.assert_healthy("TW001");
    assert_eq!(well.state("bound_inactive"), 0);
}

#[test]
fn tw001_the_whole_default_range_in_time_wait() {
    let Some(lab) = heavy_lab() else { return };
    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    let range = lab.near.read_sysctl("net.ipv4.ip_local_port_range").unwrap();
    assert_eq!(range.split_ascii_whitespace().collect::<Vec<_>>(), ["32768", "60999"]);
    let _server = start(&lab.far, Server { threads: 2, ..server() });
    // A part of the range after the other: past half of its ports each connect() walks the other half, and all of it
    // takes longer than the first TIME_WAIT lasts.
    for low in (32_768u64..61_000).step_by(2_000) {
        let high = (low + 1_999).min(60_999);
        lab.near.sysctl("net.ipv4.ip_local_port_range", &format!("{low} {high}")).unwrap();
        run_all(&lab.near, client(high - low + 1));
    }
    lab.near.sysctl("net.ipv4.ip_local_port_range", &range).unwrap();
    let (_, outcome) = run(&lab.near, client(5));
    assert_eq!(outcome.errors_by_call["connect EADDRNOTAVAIL"], 5, "{outcome:?}");
    let sick = check(&lab.near, &[]);
    let finding = sick.assert_finding("TW001", "critical", &[TUPLE]);
    assert!(finding["summary"].as_str().unwrap().starts_with("28,232 of 28,232 local ports"), "{sick:?}");
    assert_eq!((sick.status, sick.state("time_wait")), (2, 28_232));
    sick.assert_as_ss(&lab.near);

    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "1").unwrap();
    let well = check(&lab.near, &[]);
    well.assert_finding("TW001", "info", &[TUPLE]);
    well.assert_calm();
    assert_eq!(well.status, 0);
    run_all(&lab.near, client(900));
}

#[test]
fn tw002_time_wait_is_cut_short_at_its_limit() {
    let Some(lab) = lab() else { return };
    lab.near.sysctl("net.ipv4.tcp_max_tw_buckets", "50").unwrap();
    let _server = start(&lab.far, server());
    let work = begin(&lab.near, load(100.0));
    attempts(&work, 60);
    let sick = check(&lab.near, &[]);
    sick.assert_finding("TW002", "warning", &["network namespace"]);
    assert_eq!(sick.status, 1);
    assert_eq!(sick.figure("TW002", "net.ipv4.tcp_max_tw_buckets"), 50.0);
    assert!(sick.figure("TW002", "TcpExt.TCPTimeWaitOverflow") > 20.0, "{sick:?}");
    assert_eq!(sick.state("time_wait"), 50);
    // Nothing is refused.
    assert_eq!(work.outcome_so_far().unwrap().failed(), 0);

    // The same load with room.
    lab.near.sysctl("net.ipv4.tcp_max_tw_buckets", "100000").unwrap();
    let well = check(&lab.near, &[]);
    well.assert_healthy("TW002");
    assert_eq!(well.status, 0);
}

#[test]
fn tw003_short_connections_many_times_a_second() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let work = begin(&lab.near, Client { comm: "crawler".into(), ..load(300.0) });
    // Room for all: worth a note.
    work.wait_until(PATIENCE, |it| it.succeeded > 700).unwrap();
    let note = check(&lab.near, &[]);
    note.assert_finding("TW003", "info", &[TUPLE]);
    note.assert_calm();
    assert!(note.figure("TW003", "TIME_WAIT made towards") >= 70.0, "{note:?}");
    // The accepting side has no TIME_WAIT and no churn.
    check(&lab.far, &[]).assert_healthy("TW003");

    // The same rate, where the ports don't carry it.
    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    drop(work);
    let made = lab.near.tcp_states().unwrap()["time_wait"];
    lab.near.sysctl("net.ipv4.ip_local_port_range", "10000 13999").unwrap();
    let work = begin(&lab.near, load(300.0));
    work.wait_until(PATIENCE, |it| it.succeeded > 1_300).unwrap();
    let sick = check(&lab.near, &[]);
    sick.assert_finding("TW003", "warning", &[TUPLE]);
    assert!(sick.status > 0 && sick.state("time_wait") > made, "{sick:?}");
}

#[test]
fn tw003_kept_connections_and_servers_that_close_are_no_churn() {
    let Some(lab) = lab() else { return };
    let hosts = [&lab.near, &lab.far];
    let _server = start(&lab.far, server());
    // As many requests a second, over ten connections.
    let pool = Client { requests: 1_000_000, pause_ms: 10, close: Close::Never, ..client(10) };
    let pool = begin(&lab.near, pool);
    wait_for("the pool is connected", || lab.near.tcp_states().unwrap().get("established") == Some(&10));
    let well = check(&lab.near, &[]);
    well.assert_healthy("TW003");
    assert_eq!((well.status, well.state("time_wait")), (0, 0));
    well.assert_as_ss(&lab.near);
    drop(pool);

    // The server closes first: its TIME_WAIT sockets cost no port.
    let at = address("10.77.0.2:81");
    let closing = Server { listen: vec![at], behaviour: Behaviour::CloseFirst, ..server() };
    let _closing = start(&lab.far, closing);
    run_all(&lab.near, Client { targets: vec![at], close: Close::ServerFirst, ..client(700) });
    wait_for("the server's TIME_WAIT", || lab.far.tcp_states().unwrap().get("time_wait") >= Some(&700));
    for host in hosts {
        let well = check(host, &[]);
        well.assert_healthy("TW003");
        well.assert_as_ss(host);
        assert_eq!(well.status, 0);
    }
}

#[test]
fn tw005_many_time_wait_far_from_every_limit() {
    let Some(lab) = lab() else { return };
    let made = TimeWaitLoad { total: 1_200, groups: 12, threads: 2 }.make(&lab.near).unwrap();
    assert_eq!((made.made, made.errors.len()), (1_200, 0), "{made:?}");
    let few = config("[TW005]\nmany_sockets = 1000\n");
    let many = check(&lab.near, &["--config", path_of(&few)]);
    many.assert_finding("TW005", "info", &["network namespace"]);
    many.assert_calm();
    assert_eq!((many.status, many.state("time_wait")), (0, 1_200));
    many.assert_as_ss(&lab.near);
    check(&lab.near, &[]).assert_healthy("TW005");
}

#[test]
fn tw005_two_hundred_thousand_with_room() {
    let Some(lab) = heavy_lab() else { return };
    let made = TimeWaitLoad { total: 200_000, groups: 40, threads: 2 }.make(&lab.near).unwrap();
    assert_eq!((made.made, made.errors.len()), (200_000, 0), "{made:?}");
    lab.near.sysctl("net.ipv4.tcp_max_tw_buckets", "400000").unwrap();
    let many = check(&lab.near, &[]);
    many.assert_finding("TW005", "info", &["network namespace"]);
    many.assert_calm();
    assert_eq!((many.status, many.state("time_wait")), (0, 200_000));
    many.assert_as_ss(&lab.near);
}

#[test]
fn tw007_a_server_leaves_its_port_in_time_wait() {
    let Some(lab) = lab() else { return };
    let closing = || Server { behaviour: Behaviour::CloseFirst, reuseaddr: false, ..server() };
    let first = start(&lab.far, closing());
    run_all(&lab.near, Client { close: Close::ServerFirst, ..client(3) });
    wait_for_states(&lab.far, &[("time_wait", 3)]);
    // While it listens there is nothing to say.
    check(&lab.far, &[]).assert_healthy("TW007");
    first.stop(PATIENCE).unwrap();
    let again = lab.far.spawn(&crate::support::launcher(), &closing().into()).unwrap();
    match again.ready(PATIENCE).unwrap_err() {
        Error::Actor { call, errno, .. } => {
            assert_eq!((call.as_str(), errno.as_str()), ("bind 10.77.0.2:80", "EADDRINUSE"));
        }
        other => panic!("{other}"),
    }
    let sick = check(&lab.far, &[]);
    sick.assert_finding("TW007", "info", &[SERVICE]);
    assert_eq!(sick.status, 0);
    assert_eq!(sick.figure("TW007", "TIME_WAIT sockets on 10.77.0.2:80"), 3.0);
    sick.assert_as_ss(&lab.far);
    // The clients' side has none.
    check(&lab.near, &[]).assert_healthy("TW007");
}

#[test]
fn tw007_with_reuseaddr_the_server_is_back() {
    let Some(lab) = lab() else { return };
    let closing = || Server { behaviour: Behaviour::CloseFirst, ..server() };
    let first = start(&lab.far, closing());
    run_all(&lab.near, Client { close: Close::ServerFirst, ..client(3) });
    first.stop(PATIENCE).unwrap();
    let _second = start(&lab.far, closing());
    let well = check(&lab.far, &[]);
    well.assert_healthy("TW007");
    assert_eq!((well.status, well.state("time_wait"), well.state("listen")), (0, 3, 1));
    well.assert_as_ss(&lab.far);
}
