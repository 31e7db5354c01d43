//! `linger diff`: two recordings of one host, before something changed and after.

use std::net::SocketAddr;
use std::process::Command;

use linger_lab::{Client, Close, Host, Server};
use serde_json::Value;

use crate::support::{LINGER, assert_valid, client, finish, lab, run_all, schema, server, start, wait_for};

fn record(host: &Host, file: &std::path::Path) {
    record_with(host, file, &[]);
}

fn record_with(host: &Host, file: &std::path::Path, more: &[&str]) {
    let mut command = host.command(LINGER).unwrap();
    command.args(["record", "--duration", "100ms", "--interval", "100ms"]).args(more).arg("-o").arg(file);
    let done = finish(&mut command);
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

/// Masks of one recording mean nothing in another: nothing differs between a host and itself.
#[test]
fn what_a_side_hides_is_not_compared() {
    let Some(lab) = lab() else { return };
    let (near, far) = (&lab.near, &lab.far);
    // Their ports are the same always, whichever address is seen first.
    let servers: Vec<SocketAddr> = ["10.77.0.2:81", "10.77.0.2:82"].map(|at| at.parse().unwrap()).to_vec();
    let _server = start(far, Server { listen: servers.clone(), ..server() });
    let held = Client { close: Close::Never, targets: servers, ..client(20) };
    let _clients = run_all(near, held);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        record_with(near, &path, more);
        path
    };
    let open = file("open", &[]);
    let hidden = [file("addresses", &["--redact", "addresses"]), file("all", &["--redact", "all"])];
    for (i, side) in hidden.iter().enumerate() {
        let done = finish(Command::new(LINGER).args(["diff", "--format", "json"]).arg(&open).arg(side));
        let report: Value = serde_json::from_str(&done.stdout).unwrap();
        assert_valid(&schema("diff"), &report);
        for list in
            ["destinations", "processes", "timestamps", "states", "findings_new", "findings_gone", "story"]
        {
            assert_eq!(report[list], serde_json::json!([]), "{list}: {report:#}");
        }
        let unknown = report["unknown"].to_string();
        assert!(unknown.contains("hidden: destinations are compared by port"), "{unknown}");
        assert_eq!(unknown.contains("names are hidden"), i == 1, "{unknown}");
    }
    // A port's change is told still.
    let more = run_all(
        near,
        Client { close: Close::Never, targets: vec!["10.77.0.2:82".parse().unwrap()], ..client(7) },
    );
    let later = file("later", &["--redact", "all"]);
    let done = finish(Command::new(LINGER).args(["diff", "--format", "json"]).arg(&hidden[0]).arg(&later));
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    let change = &report["destinations"][0];
    let gain = change["after"].as_f64().unwrap() - change["before"].as_f64().unwrap();
    assert_eq!((&change["what"], gain), (&"*:82".into(), 7.0));
    let text = finish(Command::new(LINGER).arg("diff").arg(&open).arg(&later)).stdout;
    assert!(!text.contains("240.0.0.") && text.contains("*:82"), "{text}");
    drop(more);
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
