//! `linger tune rehearse`: plans for what the lab's scenarios show, tried in them.

use std::fs;
use std::path::PathBuf;

use linger_lab::Host;
use serde_json::{Value, json};

use crate::support::{Done, Lab, assert_valid, heavy_lab, linger, linger_on, nft, schema};

const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const RANGE: &str = "net.ipv4.ip_local_port_range";
const TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";

/// A folder for reports and plans.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) -> String {
        fs::write(self.path(name), value.to_string()).unwrap();
        self.path(name).display().to_string()
    }

    fn plan(&self, changes: &[Value]) -> String {
        let netns = json!({"inode": 1});
        let plan = json!({"schema": 1, "kernel": "", "netns": netns, "made_at": "", "changes": changes});
        self.write("plan.json", &plan)
    }

    /// The plan for what `linger check` finds in a host of a scenario when its fault is there. `here` stands for that
    /// host, which is gone by then, and has its settings.
    fn plan_for(&self, scenario: &str, host: &str, here: &Host, settings: &[(&str, &str)]) -> Value {
        let ran = linger(&["lab", "run", scenario, "--force", "--format", "json"]);
        let run: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{scenario}: {ran:?}"));
        let of_host = |it: &&Value| it["name"] == host;
        let mut report = run["hosts"].as_array().unwrap().iter().find(of_host).unwrap()["report"].clone();
        report["netns"]["inode"] = here.inode().into();
        for (key, value) in settings {
            here.sysctl(key, value).unwrap();
        }
        let report = self.write("report.json", &report);
        let plan = linger_on(here, &["tune", "plan", "--from", &report, "--format", "json"]).json();
        self.write("plan.json", &plan);
        plan
    }

    /// Rehearses the plan in its place; the exit status is looked at by the caller.
    fn rehearse(&self) -> (Done, Value) {
        let plan = self.path("plan.json").display().to_string();
        let done = linger(&["tune", "rehearse", &plan, "--force", "--format", "json", "-o", &plan]);
        let printed: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
        assert_valid(&schema("tune-plan"), &printed);
        assert_eq!(printed, serde_json::from_slice::<Value>(&fs::read(&plan).unwrap()).unwrap());
        (done, printed)
    }
}

fn change(code: &str, key: &str, from: &str, to: &str, scope: &str) -> Value {
    json!({
        "key": key, "from": from, "to": to, "code": code, "why": "", "effect": "",
        "metric": {"kind": "state", "name": "fin_wait2", "direction": "falls", "within_s": 10.0},
        "risk": {"level": "safe", "text": ""}, "scope": scope, "undo": "",
    })
}

fn changes(plan: &Value) -> Vec<(String, String)> {
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    plan["changes"].as_array().unwrap().iter().map(|it| (text(&it["key"]), text(&it["to"]))).collect()
}

/// What a step did, and that it did what it should.
#[track_caller]
fn good(plan: &Value, step: usize, scenario: &str) -> Value {
    let rehearsed = &plan["changes"][step]["rehearsed"];
    let verdict = rehearsed["verdict"].as_str();
    assert!(matches!(verdict, Some("cures" | "helps")), "{rehearsed:#}");
    assert_eq!(rehearsed["measured"]["scenario"], scenario, "{rehearsed:#}");
    rehearsed["measured"].clone()
}

fn figure(measured: &Value, name: &str, when: &str) -> f64 {
    measured[name][when].as_f64().unwrap_or_else(|| panic!("{name} {when}: {measured:#}"))
}

fn pair(key: &str, to: &str) -> (String, String) {
    (key.to_owned(), to.to_owned())
}

#[test]
fn short_connections_are_cured_by_reuse_and_by_a_wider_range() {
    let Some(lab) = heavy_lab() else { return };
    let desk = Desk::new();
    let plan = desk.plan_for("short-connections", "client", &lab.near, &[(RANGE, "40000 40999")]);
    assert_eq!(changes(&plan), [pair(REUSE, "1"), pair(RANGE, "32768 60999")]);

    let (done, plan) = desk.rehearse();
    let reuse = good(&plan, 0, "short-connections");
    let range = good(&plan, 1, "short-connections");
    for measured in [&reuse, &range] {
        let (before, after) = (figure(measured, "failed", "before"), figure(measured, "failed", "after"));
        assert!(before >= 100.0 && after < before / 5.0, "{measured:#}");
        assert!(measured["finding_before"].is_string(), "{measured:#}");
    }
    assert_eq!(figure(&reuse, "metric", "before"), 0.0);
    assert!(figure(&reuse, "metric", "after") >= 100.0, "{reuse:#}");
    assert!(figure(&range, "metric", "after") < figure(&range, "metric", "before") / 2.0, "{range:#}");
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.stderr.contains("runs of short-connections in network namespaces"), "{done:?}");

    // `apply` reads it.
    let plan = desk.path("plan.json").display().to_string();
    let state = desk.path("state").display().to_string();
    let dry = ["tune", "apply", &plan, "--dry-run", "--state-dir", &state];
    let dry = linger_on(&lab.near, &dry);
    assert_eq!((dry.status, dry.stderr.as_str()), (Some(0), ""), "{dry:?}");
}

#[test]
fn where_timestamps_are_stripped_reuse_is_not_planned() {
    let Some(lab) = heavy_lab() else { return };
    if !nft(&lab.host("any"), "table inet lab { };") {
        return;
    }
    let settings = [(RANGE, "40000 40999"), (REUSE, "1")];
    let desk = Desk::new();
    let plan = desk.plan_for("stripped-timestamps", "client", &lab.near, &settings);
    assert_eq!(changes(&plan), [pair(RANGE, "32768 60999")]);
    // Where it is not on yet, it is not offered either.
    lab.near.sysctl(REUSE, "2").unwrap();
    let report = desk.path("report.json").display().to_string();
    let plan = linger_on(&lab.near, &["tune", "plan", "--from", &report, "--format", "json"]).json();
    assert!(changes(&plan).iter().all(|(key, _)| key != REUSE), "{plan:#}");

    let (done, plan) = desk.rehearse();
    let range = good(&plan, 0, "stripped-timestamps");
    assert!(figure(&range, "failed", "after") < figure(&range, "failed", "before") / 5.0, "{range:#}");
    assert_eq!(done.status, Some(0), "{done:?}");
}

/// Those whose findings call for a change that shows in seconds.
#[test]
fn what_is_planned_for_other_scenarios_helps() {
    let Some(Lab { near, .. }) = &heavy_lab() else { return };
    for (scenario, host, key, from, to) in [
        ("bucket-overflow", "client", "net.ipv4.tcp_max_tw_buckets", "100", "262144"),
        ("slow-accept-capped", "server", "net.core.somaxconn", "8", "4096"),
        ("request-queue-full-no-cookies", "server", "net.ipv4.tcp_syncookies", "0", "1"),
    ] {
        if scenario.starts_with("request") && !nft(near, "table inet lab { };") {
            continue;
        }
        let desk = Desk::new();
        let plan = desk.plan_for(scenario, host, near, &[(key, from)]);
        assert_eq!(changes(&plan), [pair(key, to)], "{scenario}");
        let (done, plan) = desk.rehearse();
        let measured = good(&plan, 0, scenario);
        let (before, after) = (figure(&measured, "metric", "before"), figure(&measured, "metric", "after"));
        assert!(before >= 20.0 && after < before / 2.0, "{scenario}: {measured:#}");
        assert_eq!(done.status, Some(0), "{scenario}: {done:?}");
    }
}

#[test]
fn a_step_that_shows_no_effect_is_marked() {
    let Some(lab) = heavy_lab() else { return };
    let desk = Desk::new();
    let timeout = "net.netfilter.nf_conntrack_tcp_timeout_established";
    desk.plan(&[
        // It shortens FIN_WAIT2, and not TIME_WAIT.
        change("TW001", TIMEOUT, "60", "30", "namespace"),
        change("NQ001", "net.core.netdev_max_backlog", "1000", "4000", "host"),
        change("CT001", timeout, "432000", "86400", "namespace"),
    ]);
    let (done, plan) = desk.rehearse();
    let verdicts: Vec<&Value> =
        plan["changes"].as_array().unwrap().iter().map(|it| &it["rehearsed"]["verdict"]).collect();
    assert_eq!(verdicts, ["no_effect", "not_rehearsed", "not_rehearsed"], "{plan:#}");
    assert_eq!(done.status, Some(1), "{done:?}");
    let note = |step: usize| plan["changes"][step]["rehearsed"]["note"].as_str().unwrap();
    assert!(note(1).contains("the whole host's") && note(2).contains("--in-disposable-vm"), "{plan:#}");
    let measured = &plan["changes"][0]["rehearsed"]["measured"];
    assert!(figure(measured, "failed", "after") >= 100.0, "{measured:#}");

    // `apply` says so, and refuses a step that made it worse.
    let state = desk.path("state").display().to_string();
    let apply = |plan: &Value| {
        let path = desk.write("marked.json", plan);
        linger_on(&lab.near, &["tune", "apply", &path, "--dry-run", "--state-dir", &state])
    };
    let mut one = plan.clone();
    one["changes"].as_array_mut().unwrap().truncate(1);
    let done = apply(&one);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.stderr.contains("step 1 (net.ipv4.tcp_fin_timeout=30) had no effect"), "{done:?}");
    one["changes"][0]["rehearsed"]["verdict"] = "worse".into();
    let done = apply(&one);
    assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
    assert!(done.stderr.contains("made it worse") && done.stderr.contains("--accept-risk"), "{done:?}");
}

#[test]
fn a_smaller_range_is_found_to_be_worse() {
    let Some(_room) = heavy_lab() else { return };
    let desk = Desk::new();
    let mut range = change("TW001", RANGE, "32768 60999", "50000 60999", "namespace");
    range["metric"] =
        json!({"kind": "headroom", "name": "local ports", "direction": "falls", "within_s": 10.0});
    desk.plan(&[range]);
    let (done, plan) = desk.rehearse();
    let rehearsed = &plan["changes"][0]["rehearsed"];
    assert_eq!((&rehearsed["verdict"], done.status), (&"worse".into(), Some(1)), "{rehearsed:#}");
    // 11,000 of 28,232 ports, as 390 of 1,000.
    assert_eq!(rehearsed["measured"]["to"], "40000 40389");
    assert!(rehearsed["note"].as_str().unwrap().contains("scaled: 1,000 ports for the 28,232 ports here"));
}

#[test]
fn a_plan_without_changes_needs_no_lab() {
    let desk = Desk::new();
    let plan = desk.plan(&[]);
    let done = linger(&["tune", "rehearse", &plan]);
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{done:?}");
    assert_eq!(done.stdout, "The plan changes nothing: there is nothing to rehearse.\n");
}

#[test]
fn what_cannot_be_read_or_written_is_said_before_anything_runs() {
    let desk = Desk::new();
    let good = desk.plan(&[change("TW001", TIMEOUT, "60", "30", "namespace")]);
    let bad = desk.write("bad.json", &json!({"schema": 1, "changes": []}));
    for (args, words) in [
        (vec!["/nowhere.json"], "cannot read /nowhere.json"),
        (vec![bad.as_str()], "the plan is refused: it is not of the plan's format"),
        (vec![good.as_str(), "-o", "/nowhere/plan.json"], "cannot write /nowhere/plan.json"),
        (vec![good.as_str(), "-o", "/dev/null"], "cannot write /dev/null: it is no regular file"),
        (vec![], "PLAN"),
    ] {
        let done = linger(&[&["tune", "rehearse"], args.as_slice()].concat());
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{args:?}: {done:?}");
        assert!(done.stderr.contains(words) && !done.stderr.contains("runs of"), "{args:?}: {done:?}");
    }
}
