//! The history of `linger serve`: drawn while it is written, replayed, and what happens where it cannot be written.

use std::path::{Path, PathBuf};
use std::process::Command;

use linger_lab::{Client, Close, Host};
use rustix::process::Signal;
use serde_json::Value;

use crate::serve::Served;
use crate::support::{
    Done, LINGER, assert_valid, client, finish, lab, linger, run_all, schema, server, start, wait_for,
};

/// Seconds are short, so that there is something to see soon.
const FAST: [&str; 4] = ["--second-ms", "100", "--cpu-budget", "50"];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn served<'a>(host: &'a Host, folder: &Path) -> Served<'a> {
    let mut args = FAST.to_vec();
    args.extend(["--history", text(folder)]);
    Served::new(host, &args)
}

fn history(folder: &Path, args: &[&str]) -> Done {
    let mut all = vec!["history", "--history", text(folder)];
    all.extend(args);
    linger(&all)
}

/// The points of a series that are known.
fn points(answer: &Value, name: &str) -> Vec<f64> {
    let series = answer["namespaces"][0]["series"].as_array().into_iter().flatten();
    let found = series.filter(|it| it["name"] == name).flat_map(|it| it["points"].as_array().unwrap());
    found.filter_map(Value::as_f64).collect()
}

/// Whether the clients' connections are there; those that ask the service come on top.
fn many(answer: &Value) -> bool {
    points(answer, "established").into_iter().any(|n| n >= 40.0)
}

#[test]
fn what_was_is_drawn_and_replayed_while_it_is_written() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("history");
    let _server = start(&lab.far, server());
    let _clients = run_all(&lab.near, Client { close: Close::Never, ..client(40) });
    let mut served = served(&lab.far, &folder);
    served.ready();
    wait_for("the connections are in the history", || {
        let done = history(&folder, &["--since", "10min", "--state", "established", "--format", "json"]);
        done.status == Some(0) && many(&done.json())
    });
    assert_eq!(served.value("linger_history_writing"), Some(1.0));
    assert!(served.value("linger_history_size_bytes").unwrap() > 10_000.0);
    assert!(served.value("linger_cpu_seconds_total{part=\"history\"}").unwrap() > 0.0);

    let answer = history(&folder, &["--since", "10min", "--format", "json"]).json();
    assert_valid(&schema("history"), &answer);
    // Before the service began nothing is known, which is not 0.
    let all = answer["namespaces"][0]["series"][0]["points"].as_array().unwrap();
    assert!(all[0].is_null() && !all[all.len() - 1].is_null(), "{answer}");
    for path in ["/api/v1/history?since=10min&state=established", "/api/v1/findings?since=10min"] {
        let got = served.get(path, "*/*");
        assert_eq!(got.status, 200, "{got:?}");
        let got: Value = serde_json::from_str(&got.body).unwrap();
        assert!(got["findings"].is_array(), "{got}");
    }
    let wrong = served.get("/api/v1/history?since=yesterday", "*/*");
    assert!(wrong.status == 400 && wrong.body.contains("03:12"), "{wrong:?}");
    let missing = served.get("/api/v1/history?netns=nothing", "*/*");
    assert!(missing.status == 404 && missing.body.contains("self"), "{missing:?}");

    let drawn = history(&folder, &["--since", "5min"]);
    assert_eq!((drawn.status, drawn.stderr.as_str()), (Some(0), ""), "{drawn:?}");
    assert!(drawn.stdout.contains("ESTABLISHED") && drawn.stdout.contains('█'), "{drawn:?}");
    assert!(drawn.stdout.lines().all(|line| line.chars().count() <= 100), "{drawn:?}");
    let graph = history(&folder, &["--since", "5min", "--state", "established"]);
    assert!(graph.stdout.contains("ESTABLISHED: lowest "), "{graph:?}");

    // The report of a moment is one that was made.
    wait_for("there is a report of just now", || {
        let at = ["check", "--at", "-0s", "--history", text(&folder), "--netns", "all", "--format", "json"];
        let done = linger(&at);
        let report: Value = serde_json::from_str(&done.stdout).unwrap_or_default();
        report["reports"][0]["states"]["established"].as_u64().is_some_and(|n| n >= 40)
    });
    let done =
        linger(&["check", "--at", "-0s", "--history", text(&folder), "--netns", "all", "--format", "json"]);
    let reports: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_valid(&schema("reports"), &reports);
    let what = reports["reports"][0]["imported"]["pieces"][0]["what"].as_str().unwrap();
    assert!(what.contains("self's report of ") && what.contains("the moment asked for"), "{what}");
    let told =
        linger(&["check", "--at", "-0s", "--history", text(&folder), "--netns", "all", "--select", "TW001"]);
    assert!(told.status.is_some_and(|status| status < 3), "{told:?}");
    let far = linger(&["check", "--at", "-3d", "--history", text(&folder), "--netns", "all"]);
    assert!(far.status == Some(3) && far.stderr.contains("the nearest is of"), "{far:?}");

    served.signal(Signal::TERM);
    assert_eq!(served.child.wait().unwrap().code(), Some(0));
    let after = history(&folder, &["--since", "10min", "--state", "established", "--format", "json"]).json();
    assert!(many(&after), "{after}");

    // It goes on where it was.
    let again = self::served(&lab.far, &folder);
    again.ready();
    wait_for("it writes", || again.value("linger_history_writing") == Some(1.0));
    let after = history(&folder, &["--since", "10min", "--state", "established", "--format", "json"]).json();
    assert!(many(&after), "{after}");
}

#[test]
fn a_second_service_and_one_without_a_folder_serve_on_and_say_so() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    let first = served(&lab.far, &path);
    wait_for("it writes", || first.value("linger_history_writing") == Some(1.0));
    let log = folder.path().join("log");
    let elsewhere = Path::new("/proc/no/history");
    for (folder, word) in [(path.as_path(), "another linger serve"), (elsewhere, "/proc/no")] {
        let script = format!("exec {LINGER} \"$@\" 2>&1 | tee {} >&2", text(&log));
        let mut command = lab.far.command("sh").unwrap();
        command.args(["-c", &script, "sh", "serve", "--listen", "127.0.0.1:0", "--netns", "self"]);
        command.args(FAST).args(["--history", text(folder)]);
        let refused = Served::start(&lab.far, command);
        refused.ready();
        assert_eq!(refused.value("linger_history_writing"), Some(0.0));
        wait_for("it counts what is lost", || {
            refused.value("linger_history_lost_samples_total").unwrap() > 2.0
        });
        let said = std::fs::read_to_string(&log).unwrap();
        assert_eq!(said.matches("no history is being written").count(), 1, "{said}");
        assert!(said.contains(word), "{said}");
        let got = refused.get("/api/v1/history", "*/*");
        assert!(got.status == 503 && got.body.contains(word), "{got:?}");
        end(refused);
    }
    assert_eq!(first.value("linger_history_writing"), Some(1.0));
}

/// Ends a service that a shell has started.
fn end(served: Served<'_>) {
    let pid = served.child.id();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace().filter_map(|it| it.parse().ok()) {
        if let Some(child) = rustix::process::Pid::from_raw(child) {
            let _ = rustix::process::kill_process(child, Signal::TERM);
        }
    }
}

#[test]
fn on_a_full_disk_it_serves_on_and_resumes_when_there_is_room() {
    let Some(lab) = lab() else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk: PathBuf = folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    // A disk of its own, which nobody else sees.
    let script = format!(
        "mount -t tmpfs -o size=2m,mode=0700 none {0} && head -c 1300000 /dev/zero > {0}/fill && exec {LINGER} \"$@\"",
        text(&disk)
    );
    let mut command = lab.far.command("unshare").unwrap();
    command.args(["-m", "sh", "-c", &script, "sh", "serve", "--listen", "127.0.0.1:0", "--netns", "self"]);
    let history = disk.join("history");
    command.args(FAST).args(["--history", text(&history)]);
    let mut served = Served::start(&lab.far, command);
    served.ready();
    wait_for("the disk is full", || {
        served.value("linger_history_lost_samples_total").unwrap() > 0.0
            && served.value("linger_history_writing") == Some(0.0)
    });
    let said = served.next_line();
    assert!(said.contains("the disk is full") && said.contains("everything else goes on"), "{said}");
    // What is there can be read, and the rest goes on.
    assert_eq!(served.get("/api/v1/report", "*/*").status, 200);
    assert_eq!(served.get("/api/v1/history", "*/*").status, 200);
    let pid = served.child.id();
    let inside = |path: &Path| format!("/proc/{pid}/root{}", text(path));
    std::fs::remove_file(inside(&disk.join("fill"))).unwrap();
    wait_for("it resumes", || served.value("linger_history_writing") == Some(1.0));
    let said = served.next_line();
    assert!(said.contains("is being written again"), "{said}");
    served.signal(Signal::KILL);
    served.child.wait().unwrap();
}

#[test]
fn where_there_is_none_it_says_so() {
    let none = linger(&["history", "--history", "/nonexistent"]);
    assert!(
        none.status == Some(3) && none.stderr.contains("there is no history in /nonexistent"),
        "{none:?}"
    );
    let none = linger(&["check", "--at", "03:12", "--history", "/nonexistent"]);
    assert!(none.status == Some(3) && none.stderr.contains("linger serve"), "{none:?}");
    for (args, word) in [
        (&["history", "--since", "yesterday"][..], "03:12"),
        (&["history", "--since", "1h", "--until", "2h"], "before --until"),
        (&["history", "--state", "tw"], "--state"),
        (&["check", "--at", "noon"], "03:12"),
        (&["check", "--at", "03:12", "--samples", "3"], "--samples"),
        (&["check", "--history", "/nonexistent"], "--at"),
        (&["serve", "--no-history", "--history", "/nonexistent"], "--no-history"),
    ] {
        let done = linger(args);
        assert!(done.status == Some(3) && done.stderr.contains(word), "{args:?}: {done:?}");
    }
    // A file that is none.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("history.db"), "not a database, and long enough to be looked at")
        .unwrap();
    let done = finish(Command::new(LINGER).args(["history", "--history", text(folder.path())]));
    assert!(done.status == Some(3) && done.stderr.contains("not a database"), "{done:?}");
}
