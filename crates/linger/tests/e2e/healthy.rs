//! Hosts that nothing is wrong with, quiet and busy.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use linger_lab::{Bound, Client, Close, Server};

use crate::support::{
    Checked, LINGER, STATES, address, assert_valid, attempts, begin, check, client, lab, linger_in, load,
    run_all, schema, server, start, wait_for_states,
};

#[test]
fn a_quiet_pair_is_healthy() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let _client = run_all(&lab.near, Client { close: Close::Never, ..client(20) });
    let _bound = start(&lab.near, Bound { count: 3, ..Bound::default() });
    for (host, bound) in [(&lab.near, 3), (&lab.far, 0)] {
        wait_for_states(host, &[("established", 20)]);
        let well = check(host, &[]);
        well.assert_nothing();
        assert_eq!((well.state("established"), well.state("bound_inactive")), (20, bound));
        well.assert_as_ss(host);
        assert_eq!(well.report["netns"]["inode"], host.inode());
        assert_eq!(well.report["source"], "sock_diag");
        // Every rule has an answer, and every state a number.
        assert!(well.report["unknown"].as_array().unwrap().iter().all(|it| it["code"] == ""), "{well:?}");
        assert_eq!(well.report["states"].as_object().unwrap().len(), STATES.len());
        // From inside it looks the same.
        let inside = Checked::new(&linger_in(host, &["check", "--format", "json", "--interval", "200ms"]));
        inside.assert_calm();
        assert_eq!(inside.report["states"], well.report["states"]);
        assert_eq!(inside.report["netns"]["inode"], host.inode());
    }
}

#[test]
fn a_busy_pair_is_healthy() {
    let Some(lab) = lab() else { return };
    let listen = vec![address("10.77.0.2:80"), address("10.77.0.2:81"), address("127.0.0.1:80")];
    let _server = start(&lab.far, Server { listen: listen.clone(), backlog: 128, delay_ms: 5, ..server() });
    let pool =
        Client { requests: 1_000_000, pause_ms: 20, close: Close::Never, keepalive: true, ..client(30) };
    let _pool = begin(&lab.near, pool);
    let short = begin(&lab.near, Client { targets: listen[..2].to_vec(), hold_ms: 50, ..load(60.0) });
    let local = begin(&lab.far, Client { targets: listen[2..].to_vec(), ..load(40.0) });
    attempts(&short, 30);
    attempts(&local, 20);
    for host in [&lab.near, &lab.far] {
        let well = check(host, &["--samples", "4", "--interval", "500ms"]);
        well.assert_calm();
        assert!(well.state("established") >= 30, "{well:?}");
        assert!(well.report["interval_s"].as_f64().unwrap() > 1.3, "{well:?}");
    }
    assert_eq!(short.outcome_so_far().unwrap().failed(), 0);
    assert_eq!(local.outcome_so_far().unwrap().failed(), 0);
}

#[test]
fn watched_states_come_a_line_at_a_time() {
    let Some(lab) = lab() else { return };
    let server = start(&lab.far, server());
    let mut command = Command::new(LINGER);
    command.args(["states", "--watch", "50ms", "--format", "json", "--netns"]).arg(lab.far.path());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let schema = schema("states");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut established = || {
        let line = lines.next().unwrap().unwrap();
        let report: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_valid(&schema, &report);
        report["states"]["established"].as_u64().unwrap()
    };
    assert_eq!([established(), established()], [0, 0]);
    let _client = run_all(&lab.near, Client { close: Close::Never, ..client(4) });
    while established() != 4 {}
    drop(server);
    child.kill().unwrap();
    child.wait().unwrap();
}
