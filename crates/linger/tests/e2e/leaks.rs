//! Sockets that a process keeps: CW001, CW002, FW001.

use std::time::Duration;

use linger_lab::{Behaviour, Client, Close, Host, Server, Sockets};

use crate::support::{
    PATIENCE, SERVICE, begin, check, check_meanwhile, client, config, lab, named, path_of, run_all, server,
    start, wait_for, wait_for_states,
};

/// A second instead of a minute, so that the test needn't wait for one.
const SOON: &str = "[CW001]\nmin_age_seconds = 1\n";

/// Waits until every CLOSE_WAIT socket of the host is so old, by the kernel's own word.
fn wait_for_age(host: &Host, count: usize, ms: u64) {
    wait_for("the sockets are old enough", || {
        let text = crate::support::ss(host, &["-Hnti", "state", "close-wait"]);
        let ages = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("lastack:"));
        let old = ages.filter(|age| age.parse::<u64>().unwrap() >= ms).count();
        assert!(old <= count);
        old == count
    });
}

#[test]
fn cw001_a_server_that_never_closes() {
    let Some(lab) = lab() else { return };
    let spec = Server { behaviour: Behaviour::NeverClose, comm: "leaky".into(), ..server() };
    let leaky = start(&lab.far, spec);
    run_all(&lab.near, client(150));
    leaky.wait_until(PATIENCE, |it| it.ended == 150).unwrap();
    wait_for_age(&lab.far, 150, 1_000);
    let soon = config(SOON);
    let sick = check(&lab.far, &["--config", path_of(&soon)]);
    let finding = sick.assert_finding("CW001", "warning", &[&named(&leaky)]);
    assert!(finding["summary"].as_str().unwrap().contains("it read the end and did not close"), "{sick:?}");
    assert_eq!((sick.status, sick.state("close_wait")), (1, 150));
    assert_eq!(sick.figure("CW001", "end read, not closed"), 150.0);
    assert_eq!(sick.figure("CW001", "end never read"), 0.0);
    assert_eq!(sick.figure("CW001", &format!("CLOSE_WAIT on connections accepted on {SERVICE}")), 150.0);
    sick.assert_as_ss(&lab.far);

    // Sockets whose peer closed seconds ago are what any server has that works on them: a note, as there are many.
    let young = check(&lab.far, &[]);
    young.assert_finding("CW001", "info", &[&named(&leaky)]);
    young.assert_calm();
    assert_eq!((young.status, young.state("close_wait")), (0, 150));

    leaky.release().unwrap();
    let well = check(&lab.far, &["--config", path_of(&soon)]);
    well.assert_healthy("CW001");
    assert_eq!((well.status, well.state("close_wait")), (0, 0));
}

#[test]
fn cw001_more_than_a_thousand_that_were_never_read() {
    let Some(lab) = lab() else { return };
    let spec = Server { behaviour: Behaviour::NeverRead, comm: "stuck".into(), ..server() };
    let stuck = start(&lab.far, spec);
    run_all(&lab.near, Client { response_bytes: 0, ..client(1_200) });
    stuck.wait_until(PATIENCE, |it| it.held == 1_200).unwrap();
    wait_for_age(&lab.far, 1_200, 1_000);
    let soon = config(SOON);
    let sick = check(&lab.far, &["--config", path_of(&soon)]);
    let finding = sick.assert_finding("CW001", "critical", &[&named(&stuck)]);
    assert!(finding["summary"].as_str().unwrap().contains("it never read the end"), "{sick:?}");
    assert_eq!((sick.status, sick.state("close_wait")), (2, 1_200));
    assert_eq!(sick.figure("CW001", "end never read"), 1_200.0);
    sick.assert_as_ss(&lab.far);
}

#[test]
fn cw001_sockets_being_worked_on_are_no_leak() {
    let Some(lab) = lab() else { return };
    // The clients have sent their last word and are still being answered.
    let _server = start(&lab.far, Server { response_bytes: 64 << 20, ..server() });
    let half = Client { response_bytes: 0, close: Close::HalfClose, ..client(120) };
    let _clients = run_all(&lab.near, half);
    wait_for_states(&lab.far, &[("close_wait", 120)]);
    std::thread::sleep(Duration::from_millis(1_500));
    // What waits for a client here is another rule's business.
    let soon = config(&format!("{SOON}[ZW001]\nstuck_ms = 600000\n"));
    let well = check(&lab.far, &["--config", path_of(&soon)]);
    well.assert_healthy("CW001");
    assert_eq!((well.status, well.state("close_wait")), (0, 120));
    well.assert_as_ss(&lab.far);
}

#[test]
fn cw001_a_server_that_closes_has_none() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    run_all(&lab.near, client(150));
    wait_for_states(&lab.far, &[]);
    let soon = config(SOON);
    let well = check(&lab.far, &["--config", path_of(&soon)]);
    well.assert_healthy("CW001");
    assert_eq!(well.status, 0);
    well.assert_as_ss(&lab.far);
}

#[test]
fn cw002_descriptors_of_sockets_that_are_in_no_table() {
    let Some(lab) = lab() else { return };
    let keeper = Server {
        behaviour: Behaviour::KeepAfterReset,
        comm: "keeper".into(),
        nofile: Some(1_000),
        ..server()
    };
    let keeper = start(&lab.far, keeper);
    run_all(&lab.near, Client { close: Close::Abort, ..client(150) });
    keeper.wait_until(PATIENCE, |it| it.failed() == 150).unwrap();
    wait_for_states(&lab.far, &[]);
    let sick = check(&lab.far, &[]);
    sick.assert_finding("CW002", "warning", &[&named(&keeper)]);
    assert_eq!(sick.status, 1);
    assert_eq!(sick.figure("CW002", "TCP sockets held and in no table"), 150.0);
    // ss sees nothing of it.
    sick.assert_as_ss(&lab.far);
    // It belongs to that namespace's report.
    check(&lab.near, &[]).assert_healthy("CW002");

    keeper.release().unwrap();
    let well = check(&lab.far, &[]);
    well.assert_healthy("CW002");
    assert_eq!(well.status, 0);
}

#[test]
fn cw002_sockets_fresh_from_socket_are_no_leak() {
    let Some(lab) = lab() else { return };
    let fresh = start(&lab.far, Sockets { count: 150, ..Sockets::default() });
    assert_eq!(fresh.done(PATIENCE).unwrap().held, 150);
    let well = check_meanwhile(&lab.far, &["--interval", "4s"], || {
        std::thread::sleep(Duration::from_millis(1_500));
        fresh.release().unwrap();
    });
    well.assert_healthy("CW002");
    assert_eq!(well.status, 0);
}

#[test]
fn cw002_a_server_that_closes_after_a_reset_has_none() {
    let Some(lab) = lab() else { return };
    let server = start(&lab.far, Server { nofile: Some(1_000), ..server() });
    run_all(&lab.near, Client { close: Close::Abort, ..client(150) });
    server.wait_until(PATIENCE, |it| it.failed() == 150).unwrap();
    let well = check(&lab.far, &[]);
    well.assert_healthy("CW002");
    assert_eq!(well.status, 0);
}

#[test]
fn fw001_half_closed_by_a_process_that_holds_on() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, Server { behaviour: Behaviour::NeverClose, ..server() });
    let half = Client { close: Close::HalfClose, comm: "relay".into(), nofile: Some(4_000), ..client(600) };
    let relay = run_all(&lab.near, half);
    wait_for_states(&lab.near, &[("fin_wait2", 600)]);
    let sick = check(&lab.near, &[]);
    sick.assert_finding("FW001", "warning", &[&named(&relay)]);
    assert_eq!((sick.status, sick.state("fin_wait2")), (1, 600));
    sick.assert_as_ss(&lab.near);

    relay.release().unwrap();
    // Closed, they are the kernel's alone, and end by themselves: a note.
    wait_for_states(&lab.near, &[("fin_wait2", 600)]);
    let orphaned = check(&lab.near, &[]);
    orphaned.assert_finding("FW001", "info", &["network namespace"]);
    orphaned.assert_calm();
    assert_eq!(orphaned.status, 0);
    // Minisockets are in the kernel's number of TIME_WAIT sockets, and are none.
    assert_eq!((orphaned.state("fin_wait2"), orphaned.state("time_wait")), (600, 0));
    assert_eq!(orphaned.figure("FW001", "minisockets among them"), 600.0);
    orphaned.assert_as_ss(&lab.near);
}

#[test]
fn fw001_peers_that_close_leave_none() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    run_all(&lab.near, client(600));
    wait_for_states(&lab.near, &[("time_wait", 600)]);
    let well = check(&lab.near, &[]);
    well.assert_healthy("FW001");
    assert_eq!((well.status, well.state("fin_wait2")), (0, 0));
    well.assert_as_ss(&lab.near);
    // A few half-closed connections are a relay at work.
    let _relay = {
        let _never = start(
            &lab.far,
            Server {
                listen: vec![crate::support::address("10.77.0.2:81")],
                behaviour: Behaviour::NeverClose,
                ..server()
            },
        );
        let half = Client {
            targets: vec![crate::support::address("10.77.0.2:81")],
            close: Close::HalfClose,
            ..client(50)
        };
        let relay = begin(&lab.near, half);
        relay.done(PATIENCE).unwrap();
        let well = check(&lab.near, &[]);
        well.assert_healthy("FW001");
        assert_eq!((well.status, well.state("fin_wait2")), (0, 50));
        relay
    };
}
