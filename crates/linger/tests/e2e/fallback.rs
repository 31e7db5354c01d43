//! Where sock_diag cannot be had: a command that may open no netlink socket reads /proc/net/tcp, and says so.

use std::time::Duration;

use linger_lab::{Host, without_netlink};
use serde_json::Value;

use crate::support::{
    Done, LINGER, SERVICE, address, assert_states_as_ss, assert_valid, client, finish, lab, named, run_all,
    schema, server, ss_states, start, wait_for,
};

fn sandboxed(host: &Host, args: &[&str]) -> Done {
    finish(without_netlink(host.command(LINGER).unwrap().args(args)))
}

#[test]
fn proc_net_tcp_is_read_where_netlink_may_not_be() {
    let Some(lab) = lab() else { return };
    let server = start(&lab.far, server());
    server.ready(Duration::from_secs(30)).unwrap();
    let _client = run_all(&lab.near, client(50));
    wait_for("50 TIME_WAIT", || lab.near.tcp_states().unwrap().get("time_wait") == Some(&50));

    for host in [&lab.near, &lab.far] {
        let states = sandboxed(host, &["states", "--format", "json"]).json();
        assert_valid(&schema("states"), &states);
        assert_states_as_ss(&states["states"], &ss_states(host, &[]));
        assert_eq!(states["states"]["bound_inactive"], Value::Null);
        assert!(states["unknown"].to_string().contains("/proc/net/tcp"), "{states}");
    }
    let filtered =
        sandboxed(&lab.near, &["states", "--dst", "10.77.0.2", "--dport", "80", "--format", "json"]).json();
    assert_eq!(filtered["states"]["time_wait"], 50);

    let ports = sandboxed(&lab.near, &["ports", "--format", "json"]).json();
    assert_eq!(
        (&ports["ports"][0]["used"], &ports["ports"][0]["dport"]),
        (&Value::from(50), &Value::from(80))
    );
    let listeners = sandboxed(&lab.far, &["listeners", "--format", "json"]).json();
    let listener = &listeners["listeners"][0];
    assert_eq!(
        (&listener["port"], &listener["limit"]),
        (&Value::from(address(SERVICE).port()), &Value::Null)
    );
    assert!(listener["process"].as_str().unwrap().starts_with(&named(&server)), "{listener}");

    let done = sandboxed(&lab.near, &["check", "--format", "json"]);
    let report = done.json();
    assert_valid(&schema("report"), &report);
    assert_eq!(report["source"], "proc_net_tcp");
    assert_eq!(report["states"]["time_wait"], 50);
    let unknown = report["unknown"].to_string();
    assert!(
        unknown.contains("/proc/net/tcp was read instead") && unknown.contains("modprobe tcp_diag"),
        "{unknown}"
    );
}
