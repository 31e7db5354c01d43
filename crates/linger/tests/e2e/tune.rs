//! `linger tune` as an operator uses it, in namespaces made here; settings of the whole host only in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use linger_lab::{Client, Close, Host};
use serde_json::{Value, json};

use crate::support::{
    Done, LINGER, Lab, assert_valid, attempts, begin, client, finish, heavy_lab, in_ci, lab, linger,
    linger_on, load, run_all, schema, server, start, wait_for,
};

const REUSE: &str = "net.ipv4.tcp_tw_reuse";
const TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";

/// A folder with a plan in it, and room for the journal.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new(changes: Value) -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        desk.put(changes);
        desk
    }

    /// Another plan in the place of this one.
    fn put(&self, changes: Value) {
        let plan =
            json!({"schema": 1, "kernel": "", "netns": {"inode": 1}, "made_at": "", "changes": changes});
        fs::write(self.plan(), plan.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self) -> PathBuf {
        self.path("plan.json")
    }

    /// `linger tune …` with this desk's journal.
    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<String> {
        let state = self.path("state/tune").display().to_string();
        let mut all = vec!["tune".to_owned()];
        all.extend(args.iter().map(|it| (*it).to_owned()));
        all.extend(["--state-dir".to_owned(), state]);
        all
    }

    fn tune(&self, args: &[&str]) -> Done {
        finish(Command::new(LINGER).args(self.args(args)))
    }

    fn tune_on(&self, host: &Host, args: &[&str]) -> Done {
        finish(Command::new(LINGER).args(self.args(args)).arg("--netns").arg(host.path()))
    }

    /// `linger tune apply` of the plan, in the background.
    fn apply(&self, host: &Host, args: &[&str]) -> Child {
        self.applying(host, args).spawn().unwrap()
    }

    fn applying(&self, host: &Host, args: &[&str]) -> Command {
        let plan = self.plan().display().to_string();
        let mut all = vec!["apply", &plan, "--format", "json"];
        all.extend(args);
        let mut command = Command::new(LINGER);
        command.args(self.args(&all)).arg("--netns").arg(host.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The phase of a run, by the journal: `awaiting`.
    fn state(&self, run: usize) -> String {
        let history = self.tune(&["history", "--format", "json"]).json();
        history["runs"][run - 1]["state"].as_str().unwrap_or("none").to_owned()
    }

    /// Waits until a run awaits confirmation; one that came to another end fails at once, with its journal.
    #[track_caller]
    fn awaits(&self, run: usize) {
        wait_for("it awaits confirmation", || match self.state(run).as_str() {
            "awaiting" => true,
            "none" | "open" => false,
            other => panic!("run {run} is {other}:\n{}", self.journal()),
        });
    }

    fn journal(&self) -> String {
        fs::read_to_string(self.path("state/tune/journal.jsonl")).unwrap_or_default()
    }

    /// The guardian of this desk's run.
    fn guardian(&self) -> i32 {
        guardians(&self.path("state/tune"))[0]
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // What a failed test leaves would wait for its time.
        for pid in guardians(&self.path("state/tune")) {
            signal(pid, "KILL");
        }
    }
}

/// Processes that guard runs of this journal.
fn guardians(state: &Path) -> Vec<i32> {
    let state = state.display().to_string();
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|it| it.unwrap().file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        words.iter().any(|it| it == "__guardian") && words.iter().any(|it| *it == state)
    })
    .collect()
}

fn signal(pid: i32, name: &str) {
    let done = finish(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]));
    assert!(done.status == Some(0) || name == "KILL", "{done:?}");
}

fn change(key: &str, from: &str, to: &str, scope: &str) -> Value {
    json!({
        "key": key, "from": from, "to": to, "code": "TW001", "why": "ports run out", "effect": "more ports",
        "metric": {"kind": "counter", "name": "TcpExt.TWRecycled", "direction": "rises", "within_s": 10.0},
        "risk": {"level": "safe", "text": ""}, "scope": scope, "undo": "",
    })
}

fn two() -> Value {
    json!([change(REUSE, "2", "1", "namespace"), change(TIMEOUT, "60", "30", "namespace")])
}

/// A run that goes on for half a minute, in many short steps: nothing has to come at the right moment of one. Of those that
/// [`values`] reads, the first step changes one and the last the other.
fn many() -> Value {
    let between = [
        ("tcp_keepalive_time", "7200", "7100"),
        ("tcp_keepalive_intvl", "75", "70"),
        ("tcp_keepalive_probes", "9", "8"),
        ("tcp_syn_retries", "6", "5"),
        ("tcp_synack_retries", "5", "4"),
        ("tcp_retries2", "15", "14"),
        ("tcp_slow_start_after_idle", "1", "0"),
        ("tcp_rfc1337", "0", "1"),
    ];
    let between = between.map(|(key, from, to)| change(&format!("net.ipv4.{key}"), from, to, "namespace"));
    let mut all = vec![change(REUSE, "2", "1", "namespace")];
    all.extend(between);
    all.push(change(TIMEOUT, "60", "30", "namespace"));
    all.into()
}

/// How long each of [`many`] is watched.
const SHORT: &str = "2s";

fn one() -> Value {
    json!([change(REUSE, "2", "1", "namespace")])
}

fn values(host: &Host) -> (String, String) {
    (host.read_sysctl(REUSE).unwrap(), host.read_sysctl(TIMEOUT).unwrap())
}

fn are(host: &Host, reuse: &str, timeout: &str) -> bool {
    values(host) == (reuse.to_owned(), timeout.to_owned())
}

fn ended(child: Child) -> (Option<i32>, Value) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text:?}, {}", String::from_utf8_lossy(&output.stderr)));
    assert_valid(&schema("tune-apply"), &value);
    (output.status.code(), value)
}

fn killed(mut child: Child) -> Option<Child> {
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn changes(plan: &Value) -> Vec<String> {
    let changes = plan["changes"].as_array().unwrap();
    changes
        .iter()
        .map(|it| format!("{}={}", it["key"].as_str().unwrap(), it["to"].as_str().unwrap()))
        .collect()
}

fn plan_of(host: &Host, args: &[&str]) -> Value {
    let mut all = vec!["tune", "plan", "--format", "json"];
    all.extend(args);
    let plan = linger_on(host, &all).json();
    assert_valid(&schema("tune-plan"), &plan);
    plan
}

/// 200 ports towards one destination, used up: 195 in TIME_WAIT, 5 held.
fn short_of_ports(lab: &Lab, reuse: &str) -> (linger_lab::Actor, linger_lab::Actor) {
    lab.near.sysctl("net.ipv4.ip_local_port_range", "40000 40199").unwrap();
    lab.near.sysctl(REUSE, reuse).unwrap();
    let server = start(&lab.far, server());
    let pool = run_all(&lab.near, Client { close: Close::Never, comm: "shop-api".into(), ..client(5) });
    run_all(&lab.near, client(195));
    (server, pool)
}

#[test]
fn a_plan_for_what_is_wrong_and_none_for_what_is_not() {
    let Some(lab) = lab() else { return };
    for role in ["gateway", "proxy", "server", "client", "mesh-node"] {
        let healthy = plan_of(&lab.near, &["--role", role, "--interval", "200ms"]);
        assert_eq!(changes(&healthy), Vec::<String>::new(), "{healthy:#}");
        assert!(healthy["right"].as_array().unwrap().len() >= 5, "{healthy:#}");
    }
    let _busy = short_of_ports(&lab, "0");
    let plan = plan_of(&lab.near, &[]);
    assert_eq!(
        changes(&plan),
        ["net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=32768 60999"],
        "{plan:#}"
    );
    assert_eq!(plan["advice"][0]["kind"], "application");
    // From a report it is the same.
    let report = linger_on(&lab.near, &["check", "--format", "json"]);
    let desk = Desk::new(one());
    fs::write(desk.path("report.json"), &report.stdout).unwrap();
    let from = plan_of(&lab.near, &["--from", desk.path("report.json").to_str().unwrap()]);
    assert_eq!(changes(&from), changes(&plan));
    let elsewhere =
        linger_on(&lab.far, &["tune", "plan", "--from", desk.path("report.json").to_str().unwrap()]);
    assert_eq!(elsewhere.status, Some(3));
    assert!(elsewhere.stderr.contains("name its namespace with --netns"), "{elsewhere:?}");
    let file = linger_on(&lab.near, &["tune", "plan", "--format", "sysctl.d"]).stdout;
    assert!(file.contains("\nnet.ipv4.tcp_tw_reuse = 1\n"), "{file}");

    // And it is the cure: applied, the next connects succeed.
    fs::write(desk.plan(), plan.to_string()).unwrap();
    let (status, applied) = ended(desk.apply(&lab.near, &["--observe", "300ms", "--no-confirm"]));
    assert_eq!((status, &applied["is_confirmed"]), (Some(0), &Value::from(true)), "{applied:#}");
    run_all(&lab.near, client(150));
}

#[test]
fn a_plan_without_reuse_where_connections_carry_no_timestamps() {
    let Some(lab) = lab() else { return };
    lab.far.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    let _busy = short_of_ports(&lab, "1");
    lab.near.sysctl(REUSE, "0").unwrap();
    let plan = plan_of(&lab.near, &[]);
    assert!(!changes(&plan).contains(&"net.ipv4.tcp_tw_reuse=1".to_owned()), "{plan:#}");
    // Nor where it is this end that has none; first those are turned on.
    lab.far.sysctl("net.ipv4.tcp_timestamps", "1").unwrap();
    lab.near.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    let plan = plan_of(&lab.near, &[]);
    assert!(!changes(&plan).contains(&"net.ipv4.tcp_tw_reuse=1".to_owned()), "{plan:#}");
    assert!(changes(&plan).contains(&"net.ipv4.tcp_timestamps=1".to_owned()), "{plan:#}");
}

#[test]
fn apply_confirm_verify_roll_back() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    let plan = desk.plan().display().to_string();
    let dry = desk.tune_on(&lab.near, &["apply", &plan, "--dry-run"]);
    assert_eq!((dry.status, dry.stdout.contains("Nothing was changed.")), (Some(0), true), "{dry:?}");
    assert!(!desk.path("state").exists() && are(&lab.near, "2", "60"));

    let apply = desk.apply(&lab.near, &["--observe", "100ms", "--confirm-within", "60s"]);
    desk.awaits(1);
    assert!(are(&lab.near, "1", "30"));
    let status = desk.tune(&["status", "--format", "json"]).json();
    assert_valid(&schema("tune-runs"), &status);
    assert!(status["runs"][0]["left_s"].as_f64().unwrap() > 10.0, "{status:#}");
    assert_eq!(desk.tune(&["confirm"]).stdout, "Run 1 is confirmed.\n");
    let (code, applied) = ended(apply);
    assert_eq!((code, &applied["ended"]), (Some(0), &Value::from("confirmed")), "{applied:#}");
    wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
    let again = desk.tune(&["confirm"]);
    assert!(again.status == Some(3) && again.stderr.contains("nothing awaits confirmation"), "{again:?}");

    assert_eq!(desk.tune_on(&lab.near, &["verify"]).status, Some(0));
    lab.near.sysctl(TIMEOUT, "45").unwrap();
    let drift = desk.tune_on(&lab.near, &["verify", "--format", "json"]);
    let kept: Value = serde_json::from_str(&drift.stdout).unwrap();
    assert_valid(&schema("tune-kept"), &kept);
    assert_eq!((drift.status, &kept["settings"][1]["now"]), (Some(1), &Value::from("45")), "{kept:#}");
    // What somebody else changed is left alone, and said.
    let undone = desk.tune_on(&lab.near, &["rollback", "--format", "json"]);
    let told: Value = serde_json::from_str(&undone.stdout).unwrap();
    assert_valid(&schema("tune-undone"), &told);
    assert_eq!((undone.status, &told["steps"][0]["outcome"]), (Some(1), &Value::from("foreign")), "{told:#}");
    assert!(are(&lab.near, "2", "45"));
    let history = desk.tune(&["history"]).stdout;
    assert!(history.contains("rolled back: by the operator"), "{history}");
    let told = desk.tune(&["history", "--format", "json"]).json();
    assert_valid(&schema("tune-runs"), &told);
    let run = &told["runs"][0];
    for who in ["who", "settled_by"] {
        assert!(run[who].as_str().unwrap().starts_with("uid "), "{who}: {run:#}");
    }
    // When it was written for the first time, and when for the last, to take it back.
    let (begun, step) = (run["at"].as_str().unwrap(), run["steps"][0]["at"].as_str().unwrap());
    assert!(begun < step && step >= run["settled_at"].as_str().unwrap(), "{run:#}");
}

#[test]
fn rolling_back_to_a_run_takes_back_what_came_after_it() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(one());
    assert_eq!(ended(desk.apply(&lab.near, &["--observe", "50ms", "--no-confirm"])).0, Some(0));
    for (from, to) in [("60", "30"), ("30", "20")] {
        desk.put(json!([change(TIMEOUT, from, to, "namespace")]));
        assert_eq!(ended(desk.apply(&lab.near, &["--observe", "50ms", "--no-confirm"])).0, Some(0));
    }
    assert!(are(&lab.near, "1", "20"));
    assert_eq!(desk.tune_on(&lab.near, &["rollback", "--to", "1"]).status, Some(0));
    assert!(are(&lab.near, "1", "60"));
    // Another namespace has nothing of it.
    assert!(desk.tune_on(&lab.far, &["rollback", "--to", "0"]).stdout.contains("Nothing is there"));
    assert_eq!(desk.tune_on(&lab.near, &["rollback", "--to", "0"]).status, Some(0));
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn what_nobody_confirms_is_taken_back() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    let (status, applied) = ended(desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "500ms"]));
    assert_eq!((status, &applied["ended"]), (Some(1), &Value::from("rolled_back")), "{applied:#}");
    assert!(applied["why"].as_str().unwrap().contains("not confirmed in time"), "{applied:#}");
    assert_eq!(applied["steps"][0]["outcome"], "rolled_back");
    assert!(are(&lab.near, "2", "60"));
}

/// Whoever comes first, confirming or the end of the time: what is said is what is there.
#[test]
fn a_word_at_the_last_moment_counts_or_does_not() {
    let Some(lab) = lab() else { return };
    let mut seen = [0, 0];
    for round in 0..12u64 {
        let desk = Desk::new(one());
        let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "300ms"]);
        wait_for("it awaits confirmation, or did", || ["awaiting", "closed"].contains(&&*desk.state(1)));
        std::thread::sleep(Duration::from_millis(round * 25));
        let is_confirmed = desk.tune(&["confirm", "--run", "1"]).status == Some(0);
        let (status, applied) = ended(apply);
        assert_eq!((status == Some(0), &applied["is_confirmed"]), (is_confirmed, &is_confirmed.into()));
        let value = if is_confirmed { "1" } else { "2" };
        assert_eq!(lab.near.read_sysctl(REUSE).unwrap(), value, "{round}: {}", desk.journal());
        assert_eq!(desk.state(1), if is_confirmed { "confirmed" } else { "closed" });
        wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
        assert_eq!(lab.near.read_sysctl(REUSE).unwrap(), value);
        seen[usize::from(is_confirmed)] += 1;
        lab.near.sysctl(REUSE, "2").unwrap();
    }
    println!("{} taken back, {} confirmed", seen[0], seen[1]);
}

#[test]
fn in_most_containers_settings_are_read_only() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(one());
    let args =
        desk.args(&["apply", desk.plan().to_str().unwrap(), "--netns", lab.near.path().to_str().unwrap()]);
    let script = "mount -o bind,ro /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$@\"";
    let done = finish(Command::new("unshare").args(["-m", "sh", "-c", script, "sh", LINGER]).args(args));
    assert!(done.status == Some(3) && done.stderr.contains("with --netns pid:N"), "{done:?}");
    assert!(!desk.path("state").exists() && are(&lab.near, "2", "60"));
}

#[test]
fn the_unit_for_boot_starts_what_there_is() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/linger-tune-recover.service");
    let text = fs::read_to_string(unit).unwrap();
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    let [command] = commands.as_slice() else { panic!("{commands:?}") };
    let args: Vec<&str> = command.strip_prefix("/usr/bin/linger tune ").unwrap().split(' ').collect();
    let desk = Desk::new(one());
    let done = desk.tune(&args);
    assert_eq!((done.status, done.stdout.as_str()), (Some(0), "Nothing is left half done.\n"), "{done:?}");
    // It waits for the journal where that is by default.
    let state = linger_tune::journal::STATE_DIR;
    assert!(text.contains(&format!("ConditionPathExists={state}/journal.jsonl\n")), "{text}");
}

#[test]
fn ctrl_c_takes_everything_back() {
    let Some(lab) = lab() else { return };
    for phase in ["watching", "awaiting"] {
        let (plan, observe) = if phase == "watching" { (many(), SHORT) } else { (two(), "50ms") };
        let desk = Desk::new(plan);
        let apply = desk.applying(&lab.near, &["--observe", observe]).spawn().unwrap();
        match phase {
            "watching" => wait_for("a value is written", || are(&lab.near, "1", "60")),
            _ => desk.awaits(1),
        }
        signal(apply.id() as i32, "INT");
        let (status, applied) = ended(apply);
        assert_eq!(
            (status, &applied["ended"]),
            (Some(1), &Value::from("rolled_back")),
            "{phase}: {applied:#}"
        );
        assert!(are(&lab.near, "2", "60"), "{phase}");
        wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
    }
}

#[test]
fn when_the_applier_is_killed_the_guardian_takes_back() {
    let Some(lab) = lab() else { return };
    // In the middle of a step, at once.
    let desk = Desk::new(many());
    let mut apply = desk.apply(&lab.near, &["--observe", SHORT]);
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    apply.kill().unwrap();
    apply.wait().unwrap();
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert!(are(&lab.near, "2", "60"));
    assert!(desk.journal().contains("the applying process is gone"));
    // While it awaits confirmation, when the time is over; until then it can be confirmed.
    for is_confirmed in [false, true] {
        let desk = Desk::new(two());
        let mut apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "4s"]);
        desk.awaits(1);
        apply.kill().unwrap();
        apply.wait().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        assert!(are(&lab.near, "1", "30"));
        if is_confirmed {
            assert_eq!(desk.tune(&["confirm"]).status, Some(0));
            wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
            assert!(are(&lab.near, "1", "30"));
        } else {
            wait_for("the guardian takes back", || desk.state(1) == "closed");
            assert!(are(&lab.near, "2", "60"));
        }
    }
}

#[test]
fn when_the_terminal_goes_away_the_guardian_stays() {
    let Some(lab) = lab() else { return };
    // A terminal of its own, which ends: the kernel sends SIGHUP to what runs in it.
    let desk = Desk::new(two());
    let inner = desk.applying(&lab.near, &["--observe", "50ms", "--confirm-within", "4s"]);
    let line: Vec<String> = std::iter::once(inner.get_program())
        .chain(inner.get_args())
        .map(|it| format!("'{}'", it.to_str().unwrap()))
        .collect();
    let mut script = Command::new("script");
    script
        .args(["-qfc", &line.join(" "), "/dev/null"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut script = match script.spawn() {
        Ok(script) => script,
        Err(error) if !in_ci() => return println!("SKIPPED: script(1): {error}"),
        Err(error) => panic!("{error}"),
    };
    desk.awaits(1);
    script.kill().unwrap();
    script.wait().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(are(&lab.near, "1", "30"));
    assert_eq!(guardians(&desk.path("state/tune")).len(), 1);
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn when_the_guardian_is_killed_the_applier_takes_back() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(many());
    let apply = desk.apply(&lab.near, &["--observe", SHORT]);
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    signal(desk.guardian(), "KILL");
    let (status, applied) = ended(apply);
    assert_eq!(status, Some(1));
    assert!(applied["why"].as_str().unwrap().contains("the guardian is gone"), "{applied:#}");
    assert!(are(&lab.near, "2", "60"));
    // Later, when the time to confirm is over.
    let desk = Desk::new(two());
    let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "2s"]);
    desk.awaits(1);
    signal(desk.guardian(), "KILL");
    let (status, applied) = ended(apply);
    assert_eq!((status, &applied["ended"]), (Some(1), &Value::from("rolled_back")), "{applied:#}");
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn when_both_are_killed_recover_takes_back() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(many());
    let mut apply = desk.apply(&lab.near, &["--observe", SHORT]);
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    signal(desk.guardian(), "KILL");
    apply.kill().unwrap();
    apply.wait().unwrap();
    // The applier may have been quicker than the second kill.
    if are(&lab.near, "1", "60") {
        let next = ended_early(&desk, &lab.near);
        assert!(next.stderr.contains("run 1 was not ended: `linger tune recover`"), "{next:?}");
        assert!(desk.tune(&["status"]).stdout.contains("not ended"));
    }
    // It finds the namespace by itself.
    let recovered = desk.tune(&["recover", "--format", "json"]);
    let told: Value = serde_json::from_str(&recovered.stdout).unwrap();
    assert_valid(&schema("tune-undone"), &told);
    assert_eq!(recovered.status, Some(0), "{told:#}");
    assert!(are(&lab.near, "2", "60"), "{told:#}");
    assert!(desk.tune(&["recover"]).stdout.contains("Nothing is left half done."));
}

/// An apply that can't begin.
fn ended_early(desk: &Desk, host: &Host) -> Done {
    let plan = desk.plan().display().to_string();
    let done = desk.tune_on(host, &["apply", &plan]);
    assert_eq!(done.status, Some(3), "{done:?}");
    done
}

/// As in the tests of the crate, and with the guardian, who is to be quicker than anybody.
#[test]
fn killed_at_any_place_the_guardian_takes_back() {
    let Some(lab) = lab() else { return };
    for point in [
        "after-compare",
        "before-journal:2",
        "torn-journal:2",
        "after-journal-write:2",
        "after-journal",
        "before-write",
        "after-write",
        "after-read-back",
        "after-wrote",
        "after-kept",
        "after-wrote:2",
        "after-kept:2",
    ] {
        let desk = Desk::new(two());
        let mut apply =
            desk.applying(&lab.near, &["--observe", "50ms"]).env("LINGER_FAULT", point).spawn().unwrap();
        let status = apply.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}");
        wait_for("the guardian takes back", || desk.state(1) == "closed");
        assert!(are(&lab.near, "2", "60"), "{point}: {:?}", values(&lab.near));
        wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
    }
}

#[test]
fn a_hanging_applier_cannot_hold_a_confirmed_run_up() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "1s"]);
    desk.awaits(1);
    signal(apply.id() as i32, "STOP");
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert!(are(&lab.near, "2", "60"));
    signal(apply.id() as i32, "CONT");
    assert_eq!(ended(apply).0, Some(1));
}

#[test]
fn a_hanging_applier_is_ended_by_the_guardian() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(many());
    let mut apply = desk.apply(&lab.near, &["--observe", SHORT]);
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    signal(apply.id() as i32, "STOP");
    // Its own guardian would give it some minutes.
    signal(desk.guardian(), "KILL");
    let mut guardian = lab.near.command(LINGER).unwrap();
    guardian.arg("__guardian").arg("--state-dir").arg(desk.path("state/tune"));
    guardian.args(["--run", "1", "--at-most", "1", "--applier", &apply.id().to_string()]);
    let mut guardian = guardian.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let alive = guardian.stdin.take();
    std::thread::sleep(Duration::from_millis(300));
    assert!(are(&lab.near, "1", "60"));
    let status = apply.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    // The applier's end of the pipe, which this test has.
    drop(alive);
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert!(are(&lab.near, "2", "60"));
    assert!(guardian.wait().unwrap().success());
}

#[test]
fn a_guardian_that_is_told_to_end_takes_back_first() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    let mut apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "10m"]);
    desk.awaits(1);
    apply.kill().unwrap();
    apply.wait().unwrap();
    let guardian = desk.guardian();
    signal(guardian, "HUP");
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(desk.state(1), "awaiting");
    signal(guardian, "TERM");
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert!(are(&lab.near, "2", "60"));
    // While the applier makes steps, it takes back itself.
    let desk = Desk::new(many());
    let apply = desk.apply(&lab.near, &["--observe", SHORT]);
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    signal(desk.guardian(), "TERM");
    assert_eq!(ended(apply).1["ended"], "rolled_back");
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn each_step_is_asked_for_where_that_was_wanted() {
    use std::io::Write;
    let Some(lab) = lab() else { return };
    for (answers, reuse, timeout, ended_as) in [
        ("y\ny\n", "1", "30", "confirmed"),
        ("y\nn\n", "1", "60", "confirmed"),
        ("", "2", "60", "nothing_kept"),
    ] {
        let desk = Desk::new(two());
        let mut command = desk.applying(&lab.near, &["--observe", "50ms", "--no-confirm", "--step-by-step"]);
        let mut apply = command.stdin(Stdio::piped()).spawn().unwrap();
        apply.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let (_, applied) = ended(apply);
        assert_eq!(applied["ended"], ended_as, "{answers:?}: {applied:#}");
        assert!(are(&lab.near, reuse, timeout), "{answers:?}: {:?}", values(&lab.near));
        desk.tune_on(&lab.near, &["rollback"]);
        assert!(are(&lab.near, "2", "60"));
    }
}

#[test]
fn a_write_that_cannot_be_journalled_is_not_made() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    let mount = desk.path("small");
    fs::create_dir(&mount).unwrap();
    // A file system of one page for the journal's lines: room for the first step or a part of it.
    let line: Vec<String> = desk.args(&[
        "apply",
        desk.plan().to_str().unwrap(),
        "--observe",
        "50ms",
        "--no-confirm",
        "--format",
        "json",
        "--netns",
        lab.near.path().to_str().unwrap(),
    ]);
    let state = desk.path("state/tune").display().to_string();
    for filled in [0, 1, 2, 3, 4] {
        let script = format!(
            "mount -t tmpfs -o size=4k,mode=700 none {m} && mkdir -m 700 {m}/tune && \
             head -c {n} /dev/zero | tr '\\0' '\\n' > {m}/tune/journal.jsonl && exec \"$@\"",
            m = mount.display(),
            n = 4096 - 120 - filled * 200,
        );
        let args =
            line.iter().map(|it| if *it == state { format!("{}/tune", mount.display()) } else { it.clone() });
        let done = finish(Command::new("unshare").args(["-m", "sh", "-c", &script, "sh", LINGER]).args(args));
        assert!(matches!(done.status, Some(1 | 3)), "{done:?}");
        assert!(
            (done.stderr.clone() + &done.stdout).contains("No space left on device"),
            "{filled}: {done:?}"
        );
        assert!(are(&lab.near, "2", "60"), "{filled}: {:?}", values(&lab.near));
    }
}

#[test]
fn a_plan_from_anywhere_can_do_no_harm() {
    let Some(lab) = lab() else { return };
    let bad = |changes: Value| {
        let desk = Desk::new(changes);
        let done = ended_early(&desk, &lab.near);
        assert!(!desk.path("state").exists() && done.stdout.is_empty(), "{done:?}");
        assert!(are(&lab.near, "2", "60"));
        assert_eq!(done.stderr.lines().count(), 1, "{done:?}");
        done.stderr
    };
    let good = || change(REUSE, "2", "1", "namespace");
    let refused = bad(json!([good(), change("kernel.core_pattern", "core", "|/bin/sh", "namespace")]));
    assert_eq!(
        refused,
        "linger: the plan is refused: change 2 (\"kernel.core_pattern\"): this is none of the settings that linger changes\n"
    );
    bad(json!([good(), change("net.ipv4.../../kernel/panic", "0", "1", "namespace")]));
    bad(json!([good(), change(TIMEOUT, "60", "65", "namespace")]));
    bad(json!([change(TIMEOUT, "60", "30", "host")]));
    bad(json!("nothing"));
    let mut unsafe_one = good();
    unsafe_one["risk"]["level"] = "unsafe".into();
    assert!(bad(json!([unsafe_one])).contains("--accept-risk"));
    for file in ["/dev/zero", "/proc/self/mem", "/"] {
        let done = linger(&["tune", "apply", file]);
        assert_eq!(done.status, Some(3), "{done:?}");
    }
    // A host-wide setting is out of reach from a container's namespace.
    let desk = Desk::new(json!([change("fs.file-max", "100000", "200000", "host")]));
    let done = ended_early(&desk, &lab.near);
    assert!(done.stderr.contains("whole host's, and this is not the host's network namespace"), "{done:?}");
}

/// Settings of the whole host, in a folder.
fn tree(desk: &Desk) -> String {
    let root = desk.path("proc-sys");
    fs::create_dir_all(root.join("fs")).unwrap();
    fs::write(root.join("fs/file-max"), "100000\n").unwrap();
    root.display().to_string()
}

fn file_max() -> Value {
    let mut change = change("fs.file-max", "100000", "200000", "host");
    change["metric"]["direction"] = "falls".into();
    json!([change])
}

#[test]
fn settings_of_the_host_are_guarded_alike() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(file_max());
    let tree = tree(&desk);
    let value = || fs::read_to_string(desk.path("proc-sys/fs/file-max")).unwrap().trim().to_owned();
    let mut apply = desk.apply(&lab.near, &["--observe", "10s", "--proc-sys", &tree]);
    wait_for("a value is written", || value() == "200000");
    apply.kill().unwrap();
    apply.wait().unwrap();
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert_eq!(value(), "100000");
}

#[test]
fn what_is_kept_is_set_again_at_boot_where_that_was_asked_for() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    let folder = desk.path("sysctl.d");
    fs::create_dir(&folder).unwrap();
    let dir = folder.display().to_string();
    let file = folder.join("99-linger.conf");
    let fast = ["--observe", "50ms", "--persist", "--sysctl-dir", &dir];
    // The host's folder is not for another namespace.
    let plan = desk.plan().display().to_string();
    let host = desk.tune_on(&lab.near, &["apply", &plan, "--persist"]);
    assert!(host.status == Some(3) && host.stderr.contains("host's network namespace"), "{host:?}");

    let apply = desk.apply(&lab.near, &[&fast[..], &["--confirm-within", "60s"]].concat());
    desk.awaits(1);
    assert!(!file.exists(), "nothing is written before it is confirmed");
    assert_eq!(desk.tune(&["confirm"]).status, Some(0));
    assert_eq!(ended(apply).0, Some(0));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with("\nnet.ipv4.tcp_tw_reuse = 1\nnet.ipv4.tcp_fin_timeout = 30\n"), "{text}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    // It is that namespace's alone, though it is set at boot.
    let host = desk.tune(&["rollback", "--to", "0", "--dry-run"]);
    assert!(host.stdout.contains("Nothing is there to be taken back"), "{host:?}");
    // What others wrote into the file meanwhile stays.
    fs::write(&file, format!("# by hand\nvm.swappiness = 10\n{text}")).unwrap();
    assert_eq!(desk.tune_on(&lab.near, &["rollback"]).status, Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "# by hand\nvm.swappiness = 10\n");
    assert!(are(&lab.near, "2", "60"));
    fs::remove_file(&file).unwrap();

    // A link would be replaced: that is said before anything is done.
    std::os::unix::fs::symlink("/dev/null", &file).unwrap();
    let mut all = vec!["apply", &plan];
    all.extend(fast);
    let refused = desk.tune_on(&lab.near, &all);
    assert!(refused.status == Some(3) && refused.stderr.contains("it is a link"), "{refused:?}");
    assert!(are(&lab.near, "2", "60"));
    fs::remove_file(&file).unwrap();

    // A later file would undo it at boot: that is said before anything is done.
    fs::write(folder.join("99-sysctl.conf"), "net.ipv4.tcp_fin_timeout = 15\n").unwrap();
    let mut all = vec!["apply", &plan];
    all.extend(fast);
    let refused = desk.tune_on(&lab.near, &all);
    assert_eq!(refused.status, Some(3));
    assert!(
        refused.stderr.contains("net.ipv4.tcp_fin_timeout would be overridden at boot by"),
        "{refused:?}"
    );
    assert!(are(&lab.near, "2", "60"));
    fs::remove_file(folder.join("99-sysctl.conf")).unwrap();

    // Killed around the replacement of the file: the old content, which was none, or the new; recover settles it.
    for point in ["before-persist", "after-persist"] {
        let desk = Desk::new(one());
        let mut apply = desk.applying(&lab.near, &[&fast[..], &["--no-confirm"]].concat());
        let status = apply.env("LINGER_FAULT", point).status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{point}");
        assert_eq!(file.exists(), point == "after-persist");
        assert_eq!(desk.tune(&["recover"]).status, Some(0));
        // The run was confirmed: it stays, and so does the file.
        assert!(are(&lab.near, "1", "60") && file.exists(), "{point}");
        assert_eq!(desk.tune_on(&lab.near, &["rollback"]).status, Some(0));
        assert!(are(&lab.near, "2", "60") && !file.exists(), "{point}");
    }
}

#[test]
fn a_read_only_folder_for_boot_is_said_before_anything_is_done() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(one());
    let folder = desk.path("etc");
    fs::create_dir(&folder).unwrap();
    let args = desk.args(&[
        "apply",
        desk.plan().to_str().unwrap(),
        "--persist",
        "--sysctl-dir",
        folder.to_str().unwrap(),
        "--netns",
        lab.near.path().to_str().unwrap(),
    ]);
    let script = format!("mount -t tmpfs -o ro none {} && exec \"$@\"", folder.display());
    let done = finish(Command::new("unshare").args(["-m", "sh", "-c", &script, "sh", LINGER]).args(args));
    assert_eq!(done.status, Some(3), "{done:?}");
    assert!(done.stderr.contains("Read-only file system"), "{done:?}");
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn without_the_privilege_it_says_so_and_does_nothing() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(one());
    // Anybody may try to read the plan and make a journal.
    let line = desk.args(&["apply", desk.plan().to_str().unwrap()]).join(" ");
    finish(Command::new("chmod").args(["-R", "a+rwX", desk.folder.path().to_str().unwrap()]));
    let mut command = lab.near.command("setpriv").unwrap();
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        &format!("exec {LINGER} {line}"),
    ]);
    let done = finish(&mut command);
    if done.stderr.contains("sh: ") || done.status == Some(126) || done.status == Some(127) {
        assert!(!in_ci(), "{done:?}");
        return println!("SKIPPED: another user can't start {LINGER}");
    }
    assert_eq!(done.status, Some(3), "{done:?}");
    assert!(done.stderr.contains("run as root, or with CAP_NET_ADMIN"), "{done:?}");
    assert!(!desk.path("state").exists(), "not even a journal is begun");
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn a_run_does_not_wait_for_one_in_another_namespace() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(many());
    // One is watched for long, with its lock held.
    let long = desk.apply(&lab.near, &["--observe", "5s"]);
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    desk.put(two());
    // Beside it others are confirmed,
    let short = desk.apply(&lab.far, &["--observe", "50ms", "--confirm-within", "10m"]);
    desk.awaits(2);
    assert_eq!(desk.tune(&["confirm", "--run", "2"]).status, Some(0));
    assert_eq!(ended(short).0, Some(0));
    assert_eq!(desk.tune_on(&lab.far, &["rollback"]).status, Some(0));
    // and taken back in time, by a guardian alone.
    let mut short = desk.apply(&lab.far, &["--observe", "50ms", "--confirm-within", "500ms"]);
    wait_for("it awaits confirmation, or did", || ["awaiting", "closed"].contains(&&*desk.state(3)));
    short.kill().unwrap();
    short.wait().unwrap();
    wait_for("the guardian takes back", || desk.state(3) == "closed");
    assert!(are(&lab.far, "2", "60") && are(&lab.near, "1", "60"));
    // What is at work is not left half done.
    let recovered = desk.tune(&["recover"]);
    assert!(
        recovered.status == Some(0) && recovered.stdout.contains("another linger is at it"),
        "{recovered:?}"
    );
    assert!(are(&lab.near, "1", "60"));
    signal(long.id() as i32, "INT");
    assert_eq!(ended(long).0, Some(1));
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn an_old_value_that_the_kernel_refuses_is_told_and_tried_again() {
    let Some(lab) = lab() else { return };
    let range = "net.ipv4.ip_local_port_range";
    let start = "net.ipv4.ip_unprivileged_port_start";
    let mut narrow = change(range, "32768 60999", "50000 60999", "namespace");
    narrow["metric"]["name"] = "TcpExt.TW".into();
    let desk = Desk::new(json!([narrow]));
    let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "1s"]);
    desk.awaits(1);
    // From now on the kernel takes no range that begins below.
    lab.near.sysctl(start, "45000").unwrap();
    let (status, applied) = ended(apply);
    assert_eq!((status, &applied["steps"][0]["outcome"]), (Some(1), &Value::from("stuck")), "{applied:#}");
    wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
    assert!(desk.journal().lines().count() < 20, "{}", desk.journal());
    let status = desk.tune(&["status"]);
    assert!(status.stdout.contains("NOT taken back"), "{status:?}");
    let next = ended_early(&desk, &lab.near);
    assert!(next.stderr.contains("run 1 was not ended: `linger tune recover`"), "{next:?}");
    let stuck = desk.tune(&["recover"]);
    assert!(stuck.status == Some(1) && stuck.stdout.contains("set them by hand"), "{stuck:?}");
    assert_eq!(lab.near.read_sysctl(range).unwrap(), "50000\t60999");
    lab.near.sysctl(start, "1024").unwrap();
    assert_eq!(desk.tune(&["recover"]).status, Some(0));
    assert_eq!(lab.near.read_sysctl(range).unwrap(), "32768\t60999");
    assert_eq!(desk.state(1), "closed");
}

#[test]
fn what_is_half_taken_back_cannot_be_confirmed() {
    let Some(lab) = lab() else { return };
    for (point, reuse, timeout) in [("after-taking-back", "1", "30"), ("after-undone", "1", "60")] {
        let desk = Desk::new(two());
        let mut apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "10m"]);
        desk.awaits(1);
        // Nobody is left to end it.
        signal(desk.guardian(), "KILL");
        apply.kill().unwrap();
        apply.wait().unwrap();
        let args = desk.args(&["rollback"]);
        let mut back = Command::new(LINGER);
        back.args(args).arg("--netns").arg(lab.near.path()).env("LINGER_FAULT", point);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&back.status().unwrap()), Some(9));
        assert!(are(&lab.near, reuse, timeout), "{point}: {:?}", values(&lab.near));
        let confirmed = desk.tune(&["confirm", "--run", "1"]);
        assert!(
            confirmed.status == Some(3) && confirmed.stderr.contains("is being taken back"),
            "{confirmed:?}"
        );
        let told = desk.tune(&["status", "--format", "json"]).json();
        assert_valid(&schema("tune-runs"), &told);
        assert_eq!(told["runs"][0]["state"], "taking_back");
        assert_eq!(desk.tune(&["recover"]).status, Some(0));
        assert!(are(&lab.near, "2", "60"), "{point}");
    }
    // With a guardian it is the guardian who ends it.
    let desk = Desk::new(two());
    let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "10m"]);
    desk.awaits(1);
    let args = desk.args(&["rollback"]);
    let mut back = Command::new(LINGER);
    back.args(args).arg("--netns").arg(lab.near.path()).env("LINGER_FAULT", "after-undone");
    assert!(!back.status().unwrap().success());
    assert_eq!(ended(apply).1["ended"], "rolled_back");
    assert!(are(&lab.near, "2", "60"));
}

#[test]
fn a_journal_that_is_taken_away_takes_no_way_back_with_it() {
    let Some(lab) = lab() else { return };
    let file = |desk: &Desk| desk.path("state/tune/journal.jsonl");
    for is_whole_folder in [false, true] {
        let take_away = |desk: &Desk| match is_whole_folder {
            true => fs::remove_dir_all(desk.path("state/tune")).unwrap(),
            false => fs::remove_file(file(desk)).unwrap(),
        };
        // While a step is watched.
        let desk = Desk::new(two());
        let apply = desk.apply(&lab.near, &["--observe", "300ms"]);
        wait_for("a value is written", || are(&lab.near, "1", "60"));
        take_away(&desk);
        let (status, applied) = ended(apply);
        assert_eq!((status, &applied["ended"]), (Some(1), &Value::from("rolled_back")), "{applied:#}");
        assert!(are(&lab.near, "2", "60"));
        // It would take back what the next run writes.
        assert!(guardians(&desk.path("state/tune")).is_empty());
        // While it awaits confirmation, with the applier and without.
        for is_alone in [false, true] {
            let desk = Desk::new(two());
            let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "10m"]);
            desk.awaits(1);
            let apply = if is_alone { killed(apply) } else { Some(apply) };
            take_away(&desk);
            wait_for("it is taken back", || are(&lab.near, "2", "60"));
            if let Some(apply) = apply {
                assert_eq!(ended(apply).0, Some(1));
            }
            wait_for("the guardian ends", || guardians(&desk.path("state/tune")).is_empty());
        }
    }
}

#[test]
fn the_status_is_of_the_settings_whoever_reads() {
    let Some(lab) = lab() else { return };
    for (args, status, reuse) in
        [(["--no-confirm", "--step-by-step"], 1, "2"), (["--no-confirm", "--accept-risk"], 0, "1")]
    {
        let desk = Desk::new(one());
        let mut command = desk.applying(&lab.near, &["--observe", "50ms"]);
        let mut apply = command.args(args).stderr(Stdio::null()).spawn().unwrap();
        // Nobody reads what it prints.
        drop(apply.stdout.take());
        assert_eq!(apply.wait().unwrap().code(), Some(status), "{args:?}");
        assert_eq!(lab.near.read_sysctl(REUSE).unwrap(), reuse);
    }
    // What is there already is no failure.
    let desk = Desk::new(one());
    let (status, applied) = ended(desk.apply(&lab.near, &["--observe", "50ms", "--no-confirm"]));
    assert_eq!((status, &applied["steps"][0]["outcome"]), (Some(0), &Value::from("already")), "{applied:#}");
}

#[test]
fn asking_makes_nothing() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(two());
    for (args, status) in [
        (&["recover"][..], 0),
        (&["recover", "--dry-run"], 0),
        (&["confirm"], 3),
        (&["confirm", "--dry-run"], 3),
        (&["status"], 0),
        (&["history"], 0),
    ] {
        assert_eq!(desk.tune(args).status, Some(status), "{args:?}");
    }
    for args in [&["rollback"][..], &["rollback", "--dry-run"], &["diff"], &["verify"]] {
        assert_eq!(desk.tune_on(&lab.near, args).status, Some(0), "{args:?}");
    }
    assert!(!desk.path("state").exists());
    // And where there is something, a rehearsal of it changes nothing.
    let apply = desk.apply(&lab.near, &["--observe", "50ms", "--confirm-within", "10m"]);
    desk.awaits(1);
    let journal = desk.journal();
    let confirm = desk.tune(&["confirm", "--dry-run"]);
    assert!(
        confirm.status == Some(0) && confirm.stdout.contains("net.ipv4.tcp_tw_reuse: 2 → 1"),
        "{confirm:?}"
    );
    lab.near.sysctl(TIMEOUT, "45").unwrap();
    let back = desk.tune_on(&lab.near, &["rollback", "--dry-run"]);
    assert!(back.stdout.contains("net.ipv4.tcp_tw_reuse is 1; 2 would be written"), "{back:?}");
    assert!(back.stdout.contains("net.ipv4.tcp_fin_timeout is 45, which is not linger's"), "{back:?}");
    assert!(desk.tune(&["recover", "--dry-run"]).stdout.contains("Nothing is left half done."));
    assert!(desk.journal() == journal && are(&lab.near, "1", "45"));
    signal(apply.id() as i32, "INT");
    assert_eq!(ended(apply).0, Some(1));
}

#[test]
fn what_the_owner_wants_is_planned_and_made() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(one());
    let profile = desk.path("edge.toml");
    let text = "role = \"gateway\"\n[wanted]\n\"net.ipv4.tcp_fin_timeout\" = 30\n\
                \"net.ipv4.tcp_syncookies\" = 1\n\
                \"net.ipv4.tcp_tw_reuse\" = { value = \"1\", why = \"short connections\" }\n\
                [never]\n\"net.core.somaxconn\" = \"ask Ann\"\n";
    fs::write(&profile, text).unwrap();
    let args = ["--profile", profile.to_str().unwrap()];
    let plan = plan_of(&lab.near, &args);
    assert_eq!(changes(&plan), ["net.ipv4.tcp_fin_timeout=30", "net.ipv4.tcp_tw_reuse=1"], "{plan:#}");
    assert_eq!((&plan["role"], &plan["changes"][1]["why"]), (&"gateway".into(), &"short connections".into()));
    assert!(plan["right"].to_string().contains("what the profile wants"), "{plan:#}");
    assert!(plan["left_alone"].to_string().contains("ask Ann"), "{plan:#}");
    // The command line goes before the file.
    let client = plan_of(&lab.near, &[&args[..], &["--role", "client"]].concat());
    assert_eq!(client["role"], "client");
    fs::write(desk.plan(), plan.to_string()).unwrap();
    let all = ["--observe", "50ms", "--no-confirm"];
    let next = desk.tune_on(&lab.near, &["apply", desk.plan().to_str().unwrap()]);
    assert!(next.status == Some(3) && next.stderr.contains("--accept-risk"), "{next:?}");
    assert_eq!(ended(desk.apply(&lab.near, &[&all[..], &["--accept-risk"]].concat())).0, Some(0));
    assert!(are(&lab.near, "1", "30"));
    // Reuse does nothing without timestamps, whoever wants it.
    lab.far.sysctl("net.ipv4.tcp_timestamps", "0").unwrap();
    let off = plan_of(&lab.far, &args);
    assert_eq!(changes(&off), ["net.ipv4.tcp_fin_timeout=30"], "{off:#}");
    assert!(off["left_alone"].to_string().contains("timestamps are off"), "{off:#}");
    // What is none says so in one line.
    for bad in ["[wanted]\n\"net.ipv4.tw_reuse\" = 1\n", "\u{1b}[31m", "role = 1"] {
        fs::write(&profile, bad).unwrap();
        let refused = linger_on(&lab.near, &["tune", "plan", "--profile", profile.to_str().unwrap()]);
        assert_eq!((refused.status, refused.stderr.lines().count()), (Some(3), 1), "{refused:?}");
        assert!(
            refused.stderr.contains("edge.toml: line ") && !refused.stderr.contains('\u{1b}'),
            "{refused:?}"
        );
    }
}

#[test]
fn a_report_from_anywhere_can_do_no_harm() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(one());
    let file = desk.path("report.json");
    let plan = |report: &str, format: &str| {
        fs::write(&file, report).unwrap();
        linger_on(&lab.near, &["tune", "plan", "--format", format, "--from", file.to_str().unwrap()])
    };
    let good = linger_on(&lab.near, &["check", "--format", "json"]).json();
    // What is no report says so in one short line that no terminal obeys.
    let mut other = good.clone();
    other["kernel"] = format!("\u{1b}[31m{}", "x".repeat(10_000)).into();
    let mut many = good.clone();
    many["netns"]["inode"] = 1.into();
    let many = json!({"schema": 1, "reports": vec![many; 300]});
    let deep = "[".repeat(100_000);
    let odd = good.to_string().replace("\"verdict\":\"ok\"", "\"verdict\":\"\\u001b[31m\"");
    for bad in [other.to_string(), many.to_string(), deep, odd + "x", String::new()] {
        let done = plan(&bad, "text");
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(done.stderr.len() < 600 && done.stderr.lines().count() == 1, "{done:?}");
        assert!(!done.stderr.contains('\u{1b}'), "{done:?}");
    }
    // What is one can put neither a line into a file nor a colour onto a terminal, and no setting into a plan that
    // linger does not change.
    let mut hostile = good;
    let word = "x\n\u{1b}[31m\nkernel.core_pattern = |/bin/sh\n";
    let remedy =
        |sysctl: &str| json!({"kind": "kernel", "applicability": "safe", "text": word, "sysctl": sysctl});
    hostile["findings"] = json!([{
        "code": word, "name": word, "severity": "critical", "confidence": "high", "summary": word, "subject": word,
        "why": word, "evidence": [], "covers": [], "process": null,
        "remedies": [
            {"kind": "application", "applicability": "advice", "text": word},
            remedy("net.ipv4.tcp_tw_reuse=1"), remedy("kernel.core_pattern=|/bin/sh"),
            remedy("net.ipv4.../../kernel/panic=1"), remedy("net.ipv4.tcp_fin_timeout=0"), remedy(word),
        ],
    }]);
    for format in ["text", "sysctl.d"] {
        let done = plan(&hostile.to_string(), format);
        assert_eq!(done.status, Some(0), "{done:?}");
        assert!(!done.stdout.contains('\u{1b}'), "{done:?}");
        assert!(!done.stdout.lines().any(|line| line.starts_with("kernel.core_pattern")), "{done:?}");
    }
    let made = plan(&hostile.to_string(), "json").json();
    assert_eq!(changes(&made), ["net.ipv4.tcp_tw_reuse=1"], "{made:#}");
}

/// Systemd's folder, and none of its manager: what is asked of it fails, and the guardian is there all the same.
#[test]
fn without_a_manager_that_answers_the_guardian_stands_all_the_same() {
    let Some(lab) = lab() else { return };
    let desk = Desk::new(many());
    let inner = desk.applying(&lab.near, &["--observe", SHORT]);
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec \"$@\"";
    let mut apply = Command::new("unshare");
    apply.args(["-m", "sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
    let mut apply = apply.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("a value is written", || are(&lab.near, "1", "60"));
    assert_eq!(guardians(&desk.path("state/tune")).len(), 1);
    apply.kill().unwrap();
    apply.wait().unwrap();
    wait_for("the guardian takes back", || desk.state(1) == "closed");
    assert!(are(&lab.near, "2", "60"));
}

/// Connections as fast as this to one server, without an end.
fn under_load(lab: &Lab, per_second: f64) -> (linger_lab::Actor, linger_lab::Actor) {
    let server = start(&lab.far, server());
    let load = begin(&lab.near, load(per_second));
    attempts(&load, 20);
    (server, load)
}

#[test]
fn a_change_that_helps_is_seen_to_help() {
    let Some(lab) = heavy_lab() else { return };
    lab.near.sysctl("net.ipv4.ip_local_port_range", "40000 40199").unwrap();
    lab.near.sysctl(REUSE, "0").unwrap();
    let _busy = under_load(&lab, 60.0);
    wait_for("ports run out", || lab.near.tcp_states().unwrap().get("time_wait") == Some(&200));
    let desk = Desk::new(json!([change(REUSE, "0", "1", "namespace")]));
    let (status, applied) =
        ended(desk.apply(&lab.near, &["--observe", "12s", "--no-confirm", "--require-effect"]));
    assert_eq!((status, &applied["steps"][0]["outcome"]), (Some(0), &Value::from("kept")), "{applied:#}");
    let note = applied["steps"][0]["note"].as_str().unwrap();
    assert!(note.starts_with("TcpExt.TWRecycled went from 0/s to "), "{note}");
}

#[test]
fn a_change_that_does_harm_is_taken_back() {
    let Some(lab) = heavy_lab() else { return };
    let _busy = under_load(&lab, 150.0);
    let mut narrow = change("net.ipv4.ip_local_port_range", "32768 60999", "40000 41000", "namespace");
    narrow["metric"]["kind"] = "headroom".into();
    narrow["metric"]["name"] = "local ports".into();
    narrow["metric"]["direction"] = "falls".into();
    let desk = Desk::new(json!([narrow]));
    let (status, applied) = ended(desk.apply(&lab.near, &["--observe", "40s", "--no-confirm"]));
    assert_eq!(
        (status, &applied["steps"][0]["outcome"]),
        (Some(1), &Value::from("rolled_back")),
        "{applied:#}"
    );
    let why = applied["why"].as_str().unwrap();
    assert!(
        why.contains("a critical finding that was not there before") || why.contains("local ports went"),
        "{why}"
    );
    assert_eq!(lab.near.read_sysctl("net.ipv4.ip_local_port_range").unwrap(), "32768\t60999");
}

/// Settings that change nothing here: every step that is taken back is a false alarm.
#[test]
fn a_change_that_does_nothing_is_no_harm() {
    let Some(lab) = heavy_lab() else { return };
    let _busy = under_load(&lab, 150.0);
    let runs = std::env::var("LINGER_TEST_RUNS").ok().and_then(|it| it.parse().ok()).unwrap_or(8);
    let mut alarms = Vec::new();
    for run in 0..runs {
        let (from, to) = if run % 2 == 0 { ("7200", "7100") } else { ("7100", "7200") };
        let desk = Desk::new(json!([change("net.ipv4.tcp_keepalive_time", from, to, "namespace")]));
        let (_, applied) = ended(desk.apply(&lab.near, &["--observe", "1s", "--no-confirm"]));
        if applied["steps"][0]["outcome"] != "kept" {
            alarms.push(applied["why"].clone());
            lab.near.sysctl("net.ipv4.tcp_keepalive_time", to).unwrap();
        }
    }
    println!("{} false alarms in {runs} runs: {alarms:?}", alarms.len());
    assert!(alarms.len() * 20 <= runs.max(20), "{alarms:?}");
}
