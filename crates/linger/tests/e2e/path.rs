//! Peers and paths: SS001, RS001, ZW001.

use std::time::Duration;

use linger_lab::{Client, Close, Host, Server};

use crate::support::{
    NEAR, address, attempts, begin, check, client, lab, load, named, nft, run_all, server, ss, start,
    wait_for, wait_for_states,
};

/// Where every SYN is dropped without a word.
const SILENT: &str = "10.77.0.2:81";
const SILENCE: &str =
    "table inet lab { chain in { type filter hook input priority 0; tcp dport 81 drop; }; }";

/// Waits until so many sockets in SYN_SENT have sent their SYN again, by the word of `ss`.
fn wait_for_retransmits(host: &Host, count: usize) {
    wait_for("the SYNs are sent again", || {
        let text = ss(host, &["-Hanto", "state", "syn-sent"]);
        let again = |line: &&str| line.contains("timer:(on,") && !line.trim_end().ends_with(",0)");
        text.lines().filter(again).count() == count
    });
}

#[test]
fn ss001_connects_into_silence() {
    let Some(lab) = lab() else { return };
    if !nft(&lab.far, SILENCE) {
        return;
    }
    let target = |count| Client {
        targets: vec![address(SILENT)],
        nonblocking_hold: true,
        comm: "shop-api".into(),
        ..client(count)
    };
    let few = run_all(&lab.near, target(30));
    wait_for_retransmits(&lab.near, 30);
    let sick = check(&lab.near, &[]);
    sick.assert_finding("SS001", "warning", &[SILENT, &named(&few)]);
    assert_eq!((sick.status, sick.state("syn_sent")), (1, 30));
    assert_eq!(sick.figure("SS001", "of those, SYN sent again"), 30.0);
    sick.assert_as_ss(&lab.near);
    drop(few);

    let many = run_all(&lab.near, target(150));
    wait_for_retransmits(&lab.near, 150);
    let worse = check(&lab.near, &[]);
    worse.assert_finding("SS001", "critical", &[SILENT, &named(&many)]);
    assert_eq!((worse.status, worse.state("syn_sent")), (2, 150));
    worse.assert_as_ss(&lab.near);
}

#[test]
fn ss001_connects_just_begun_are_no_pile_up() {
    let Some(lab) = lab() else { return };
    if !nft(&lab.far, SILENCE) {
        return;
    }
    // Given up before their SYN is sent again.
    let quick = Client { targets: vec![address(SILENT)], connect_timeout_ms: Some(400), ..load(60.0) };
    let work = begin(&lab.near, quick);
    attempts(&work, 60);
    let young = check(&lab.near, &[]);
    young.assert_healthy("SS001");
    assert!(young.state("syn_sent") > 0, "{young:?}");
    drop(work);

    // A server that answers.
    let _server = start(&lab.far, server());
    let work = begin(&lab.near, load(60.0));
    attempts(&work, 60);
    let well = check(&lab.near, &[]);
    well.assert_healthy("SS001");
    assert_eq!(well.status, 0);
}

#[test]
fn rs001_connects_that_are_refused() {
    let Some(lab) = lab() else { return };
    let work = begin(&lab.near, Client { targets: vec![address(SILENT)], ..load(60.0) });
    attempts(&work, 60);
    let sick = check(&lab.near, &[]);
    sick.assert_finding("RS001", "warning", &["connects of this host", "network namespace"]);
    assert_eq!(sick.status, 1);
    assert!(sick.figure("RS001", "Tcp.AttemptFails") > 20.0, "{sick:?}");
    // Who refuses sees it, too: as a note, since a scan looks alike.
    let refusing = check(&lab.far, &[]);
    refusing.assert_finding("RS001", "info", &["segments without a connection"]);
    refusing.assert_calm();
    assert!(refusing.figure("RS001", "Tcp.OutRsts") > 20.0, "{refusing:?}");
}

#[test]
fn rs001_connections_that_peers_reset() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let work = begin(&lab.near, Client { close: Close::Abort, ..load(60.0) });
    attempts(&work, 60);
    let sick = check(&lab.far, &[]);
    sick.assert_finding("RS001", "warning", &["resets by peers", "network namespace"]);
    assert_eq!(sick.status, 1);
    assert!(sick.figure("RS001", "Tcp.EstabResets") > 20.0, "{sick:?}");
    // The other side does so on purpose.
    let resetting = check(&lab.near, &[]);
    resetting.assert_finding("RS001", "info", &["aborted by this side"]);
    resetting.assert_calm();
}

#[test]
fn rs001_connections_that_end_in_order() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let work = begin(&lab.near, load(60.0));
    attempts(&work, 60);
    for host in [&lab.near, &lab.far] {
        let well = check(host, &[]);
        well.assert_healthy("RS001");
        assert_eq!(well.status, 0);
    }
}

#[test]
fn zw001_a_peer_that_never_reads() {
    let Some(lab) = lab() else { return };
    let spec = Server { response_bytes: 64 << 20, comm: "feeder".into(), ..server() };
    let _feeder = start(&lab.far, spec);
    let _deaf = run_all(&lab.near, Client { never_read: true, ..client(6) });
    wait_for("nothing was sent for 5 s", || {
        let text = ss(&lab.far, &["-Hnti", "state", "established"]);
        let sent = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("lastsnd:"));
        sent.filter(|ms| ms.parse::<u64>().unwrap() >= 5_000).count() == 6
    });
    let sick = check(&lab.far, &[]);
    let finding = sick.assert_finding("ZW001", "warning", &[&format!("client {NEAR}")]);
    assert!(finding["summary"].as_str().unwrap().contains("feeder (pid "), "{sick:?}");
    assert_eq!(sick.status, 1);
    assert_eq!(sick.figure("ZW001", "connections with a closed window"), 6.0);
    // The bytes that wait are those in ss's Send-Q.
    let text = ss(&lab.far, &["-Hnt", "state", "established"]);
    let waiting: f64 =
        text.lines().map(|line| line.split_ascii_whitespace().nth(1).unwrap().parse::<f64>().unwrap()).sum();
    assert_eq!(sick.figure("ZW001", "bytes that wait in them"), waiting);
    sick.assert_as_ss(&lab.far);
}

#[test]
fn zw001_a_peer_that_reads() {
    let Some(lab) = lab() else { return };
    let _feeder = start(&lab.far, Server { response_bytes: 4 << 20, ..server() });
    let busy = Client { response_bytes: 4 << 20, requests: 1_000_000, pause_ms: 50, ..client(2) };
    let busy = begin(&lab.near, busy);
    wait_for_states(&lab.far, &[("established", 2)]);
    std::thread::sleep(Duration::from_millis(500));
    let well = check(&lab.far, &[]);
    well.assert_healthy("ZW001");
    assert_eq!((well.status, well.state("established")), (0, 2));
    drop(busy);
}
