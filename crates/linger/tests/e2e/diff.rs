//! `linger diff`: two recordings of one host, before something changed and after.

use std::process::Command;

use linger_lab::{Client, Close, Host};
use serde_json::Value;

use crate::support::{LINGER, assert_valid, client, finish, lab, run_all, schema, server, start, wait_for};

fn record(host: &Host, file: &std::path::Path) {
    let mut command = host.command(LINGER).unwrap();
    let done = finish(command.args(["record", "--duration", "100ms", "--interval", "100ms", "-o"]).arg(file));
    assert_eq!(done.status, Some(0), "{done:?}");
}

/// The incident that a load balancer makes: it is put before the server, and does not grant timestamps. Nothing changes
/// on this host.
#[test]
fn timestamps_that_vanish_on_the_way_are_told_from_a_setting_here() {
    let Some(lab) = lab() else { return };
    let (near, far) = (&lab.near, &lab.far);
    let _server = start(far, server());
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    let held = || Client { close: Close::Never, ..client(10) };

    let first = run_all(near, held());
    record(near, &before);
    drop(first);
    wait_for("the first connections end", || {
        let states = near.tcp_states().unwrap();
        states.keys().all(|state| *state == "time_wait")
    });
    // What answers at the server's address does so without timestamps from now on.
    far.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    let _second = run_all(near, held());
    let _churn = run_all(near, client(50));
    record(near, &after);

    let run = |more: &[&str]| {
        let done = finish(Command::new(LINGER).arg("diff").arg(&before).arg(&after).args(more));
        assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""));
        done.stdout
    };
    let report: Value = serde_json::from_str(&run(&["--format", "json"])).unwrap();
    assert_valid(&schema("diff"), &report);
    let change = &report["timestamps"][0];
    assert_eq!(
        (&change["what"], &change["before"], &change["after"]),
        (&"10.77.0.2".into(), &1.0.into(), &0.0.into())
    );
    assert_eq!(report["settings"], serde_json::json!([]));
    assert!(report["settings_compared"].as_u64().unwrap() > 20);
    let story = &report["story"][0];
    let text = story["text"].as_str().unwrap();
    assert!(text.contains("10.77.0.2 lost their timestamps") && text.contains("balancer"), "{text}");
    let evidence = story["evidence"].to_string();
    assert!(evidence.contains("tcp_timestamps: 1 on both sides"), "{evidence}");
    let shown = run(&[]);
    assert!(shown.contains("lost their timestamps") && shown.contains("WITH TIMESTAMPS"), "{shown}");

    // The other way round it is no loss; a setting of this host is told as that.
    near.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    let own = folder.path().join("own");
    record(near, &own);
    let done = finish(Command::new(LINGER).args(["diff", "--format", "json"]).arg(&before).arg(&own));
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["settings"][0]["key"], "net.ipv4.tcp_timestamps");
    let story = report["story"].to_string();
    assert!(!story.contains("balancer") && story.contains("Settings differ"), "{story}");
}

#[test]
fn imports_and_now_are_sides_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, sockets: u32| {
        let mut text = String::from(
            "State Recv-Q Send-Q Local Address:Port Peer Address:Port\nLISTEN 0 128 0.0.0.0:80 0.0.0.0:*\n",
        );
        for i in 0..sockets {
            text.push_str(&format!("TIME-WAIT 0 0 10.0.0.1:{} 10.0.0.2:5432\n", 20_000 + i));
        }
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (a, b) = (file("a", 10), file("b", 5010));
    let done = finish(Command::new(LINGER).args(["diff", "--format", "json"]).arg(&a).arg(&b));
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(report["states"][0]["what"], "TIME_WAIT");
    assert_eq!(report["destinations"][0]["after"], 5010.0);
    assert!(report["story"][0]["text"].as_str().unwrap().contains("towards 10.0.0.2:5432"));
    assert!(report["unknown"].to_string().contains("rates need two samples"));
    let done = finish(Command::new(LINGER).arg("diff").arg(&a).arg("now"));
    assert_eq!(done.status, Some(0), "{done:?}");
    let same = finish(Command::new(LINGER).arg("diff").arg(&a).arg(&a));
    assert!(same.status == Some(3) && same.stderr.contains("both sides"), "{same:?}");
}
