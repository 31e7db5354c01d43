//! `linger lab`: what it prints, what it refuses, how it ends, and that nothing is left of it.
//!
//! The library's scenarios have a test of their own; here a scenario of a file is run, which takes a second.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use linger_lab::run::{Observer, Options};
use linger_lab::scenario::{Adjust, Check, from_text};
use linger_lab::{Error, Host, Sockets};
use linger_model::StateCounts;
use linger_model::snapshot::Counters;
use serde_json::Value;

use crate::cli::{NOBODY, Public};
use crate::support::{
    Done, LINGER, assert_valid, finish, in_ci, lab, launcher, linger, schema, start, wait_for,
};

/// A hundred local ports for three hundred connections.
const FEW_PORTS: &str = r#"
title = "A hundred ports for three hundred connections"
what = "A client opens 300 connections, one after the other, with 100 local ports. Each is in TIME_WAIT for 60 s."
look = "connect() fails when all ports are in TIME_WAIT."
source = ["a test"]
links = [["client 10.77.0.1/24", "server 10.77.0.2/24"]]

[params]
seconds = 0.3
connections = 300
ports = "40000 40099"

[limits]
sockets = 2000
seconds = 60.0

[host.client]
role = "opens a connection for each request"
sysctl = { "net.ipv4.ip_local_port_range" = "$ports", "net.ipv4.tcp_tw_reuse" = "0" }

[host.server]

[actor.labtest-api]
host = "server"
kind = "server"
listen = ["10.77.0.2:80"]

[actor.labtest-web]
host = "client"
kind = "client"
targets = ["10.77.0.2:80"]
connections = "$connections"
rate = 600.0

[[phase]]
name = "ports run out"
begin = ["labtest-web"]
done = ["labtest-web"]
seconds = "$seconds"
check = { samples = 2, interval = 0.3 }

[expect]
findings.client = ["TW001"]
measured = ["labtest-web: EADDRNOTAVAIL >= 100", "client: peak time_wait >= 90"]

[twin.range]
title = "The same, with ten thousand ports"
params = { ports = "40000 49999" }
expect = { measured = ["labtest-web: failed == 0"] }
"#;

/// A file of a user's own.
struct File {
    _folder: tempfile::TempDir,
    path: String,
}

fn file(name: &str, text: &str) -> File {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    File { path: path.to_str().unwrap().to_owned(), _folder: folder }
}

/// `linger lab`; the machine of a test is busy by nature.
fn lab_command(args: &[&str]) -> Done {
    let mut all = vec!["lab"];
    all.extend(args);
    if ["run", "compare"].contains(&args[0]) {
        all.push("--force");
    }
    linger(&all)
}

fn json(done: &Done, status: i32) -> Value {
    assert_eq!((done.status, done.stderr.as_str()), (Some(status), ""), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let done = lab_command(args);
    assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{args:?}: {done:?}");
    for word in words {
        assert!(done.stderr.contains(word), "{args:?}: {word:?} is not in {:?}", done.stderr);
    }
    let said = done.stderr.trim_end();
    let is_usage = said.starts_with("error: ");
    assert!(is_usage || !said.contains('\n') && said.len() < 600, "{args:?}: {said}");
    assert!(!said.contains("panicked"), "{said}");
}

// What there is.

#[test]
fn the_list_is_an_array_of_objects_with_names() {
    let list = json(&lab_command(&["list", "--format", "json"]), 0);
    assert_valid(&schema("lab-list"), &list);
    let entries = list.as_array().unwrap();
    let names: BTreeSet<&str> = entries.iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), entries.len());
    let twin = entries.iter().find(|it| it["name"] == "short-connections-pool").unwrap();
    assert_eq!((&twin["twin_of"], &twin["machine"]), (&"short-connections".into(), &false.into()));
    let text = lab_command(&["list"]).stdout;
    assert!(names.iter().all(|name| text.contains(name)), "{text}");
}

#[test]
fn every_scenario_is_drawn_within_the_width() {
    let names: Vec<String> = json(&lab_command(&["list", "--format", "json"]), 0)
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap().to_owned())
        .collect();
    let validator = schema("lab-show");
    for name in &names {
        let shown = json(&lab_command(&["show", name, "--format", "json"]), 0);
        assert_valid(&validator, &shown);
        assert_eq!(shown["name"], **name);
        for width in [80, 160] {
            let mut command = Command::new(LINGER);
            let done = finish(command.args(["lab", "show", name]).env("COLUMNS", width.to_string()));
            assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""));
            for line in done.stdout.lines() {
                assert!(line.chars().count() <= width, "{name}, {width}: {line}");
            }
            let hosts = shown["topology"].as_array().unwrap();
            assert!(hosts.iter().all(|it| done.stdout.contains(it["name"].as_str().unwrap())), "{name}");
        }
    }
}

#[test]
fn what_is_shown_as_source_is_a_file_that_can_be_used() {
    let source = lab_command(&["show", "short-connections-pool", "--source"]);
    assert_eq!((source.status, source.stderr.as_str()), (Some(0), ""));
    let own = file("mine.toml", &source.stdout);
    let of = |args: &[&str]| {
        let mut shown = json(&lab_command(args), 0);
        for key in ["name", "related", "twin_of"] {
            shown.as_object_mut().unwrap().remove(key);
        }
        shown
    };
    assert_eq!(
        of(&["show", &own.path, "--twin", "pool", "--format", "json"]),
        of(&["show", "short-connections-pool", "--format", "json"])
    );
}

// What is refused.

#[test]
fn wrong_names_and_settings_are_refused_with_the_right_spelling() {
    refused(&["run", "short-conections"], &["short-conections", "did you mean short-connections?"]);
    refused(
        &["run", "short-connections", "--twin", "pol"],
        &["short-connections are: pool, destinations, sources"],
    );
    refused(&["show", "zzzz"], &["zzzz", "linger lab list"]);
    refused(&["run", "/nowhere.toml"], &["/nowhere.toml", "No such file"]);
    refused(&["run", "/dev/zero", "--twin", "x"], &["/dev/zero", "regular file"]);
    refused(&["run", "short-connections", "--set", "tcp_tw_reuze=1"], &["did you mean tcp_tw_reuse?"]);
    refused(&["run", "short-connections", "--set", "tcp_tw_reuse"], &["tcp_tw_reuse=1"]);
    refused(
        &["run", "short-connections", "--set", "tcp_mem=1 2 3"],
        &["net.ipv4.tcp_mem", "whole machine's"],
    );
    refused(
        &["run", "short-connections", "--set", "nobody:tcp_tw_reuse=1"],
        &["no host \"nobody\"", "client"],
    );
    refused(&["run", "short-connections", "--param", "rat=1"], &["no parameter \"rat\"", "rate"]);
    refused(&["run", "short-connections", "--param", "rate=fast"], &["rate=fast"]);
    refused(&["run", "short-connections", "--duration", "soon"], &["--duration", "500ms"]);
    refused(&["run"], &["NAME|FILE"]);
    refused(&["compare", "short-connections", "--a", "", "--b", "rat=1"], &["--b rat", "did you mean rate?"]);
    refused(&["compare", "short-connections", "--a", "x"], &["--b"]);
    refused(&["myths", "fin-timeout-shorten-time-wait"], &["did you mean fin-timeout-shortens-time-wait?"]);
    refused(&["runn"], &["'run'"]);
}

#[test]
fn what_is_wrong_in_a_file_is_one_clear_sentence() {
    let with = |from: &str, to: &str, words: &[&str]| {
        assert!(FEW_PORTS.contains(from), "{from}");
        let own = file("mine.toml", &FEW_PORTS.replacen(from, to, 1));
        refused(&["run", &own.path], words);
    };
    with("title = \"A", "title = \"\u{1b}[31m", &["mine"]);
    with("kind = \"client\"", "kind = \"clint\"", &["actor.labtest-web", "clint"]);
    with("host = \"server\"", "host = \"sever\"", &["no host \"sever\"", "client, server"]);
    with("rate = 600.0", "rates = 600.0", &["actor.labtest-web", "rates"]);
    with("\"TW001\"", "\"TW01\"", &["expect.findings.client", "did you mean TW001?"]);
    with("interval = 0.3", "interval = 0.3, thresholds = { TW001 = { warn = 1 } }", &["\"warn\"", "TW001"]);
    with("[\"10.77.0.2:80\"]\nconnections", "[\"8.8.8.8:80\"]\nconnections", &["8.8.8.8", "public"]);
    with("peak time_wait >= 90", "peak time_weight >= 90", &["time_weight"]);
    // Whether it is run or only shown.
    let shown = |from: &str, to: &str, words: &[&str]| {
        assert!(FEW_PORTS.contains(from), "{from}");
        let own = file("mine.toml", &FEW_PORTS.replacen(from, to, 1));
        refused(&["show", &own.path], words);
    };
    let port = ["actor.labtest-api: listen", "\"10.77.0.2\"", "10.77.0.2:80"];
    shown("listen = [\"10.77.0.2:80\"]", "listen = [\"10.77.0.2\"]", &port);
    shown("rate = 600.0", "rate = \"much\"", &["actor.labtest-web", "\"much\"", "`rate`"]);
    shown("kind = \"client\"\n", "", &["actor.labtest-web: `kind` is missing", "\"program\""]);
    shown("10.77.0.1/24", "10.77.0.1", &["links", "\"10.77.0.1\"", "10.77.0.1/24"]);
    shown(
        "[host.server]",
        "[host.server]\nsysctl = { \"kernel.panic\" = 1 }",
        &["host.server", "kernel.panic", "net.*"],
    );
    shown(
        "[host.server]",
        "[host.server]\naddress = { eth1 = [] }",
        &["host.server", "\"eth1\"", "server has eth0, lo"],
    );
    shown("[host.server]", "[host.server]\nroute = { default = \"there\" }", &["host.server", "\"there\""]);
    shown(
        "done = [",
        "link_down = [\"client:eth7\"]\ndone = [",
        &["ports run out", "\"eth7\"", "client has eth0, lo"],
    );
    let own = file("mine.toml", FEW_PORTS);
    refused(&["run", &own.path, "--twin", "rang"], &["no twin \"rang\"", "range"]);
}

#[test]
fn what_would_take_too_much_of_this_machine_is_refused_even_by_force() {
    let Some(_room) = lab() else { return };
    let own = file("greedy.toml", &FEW_PORTS.replacen("sockets = 2000", "sockets = 100000000", 1));
    refused(&["run", &own.path], &["greedy", "100000000 sockets", "a tenth"]);
    let own = file(
        "machine.toml",
        &FEW_PORTS.replacen("[limits]", "[machine]\n\"net.ipv4.tcp_max_orphans\" = \"1\"\n\n[limits]", 1),
    );
    let before = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_max_orphans").unwrap();
    refused(&["run", &own.path], &["net.ipv4.tcp_max_orphans", "--in-disposable-vm"]);
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/tcp_max_orphans").unwrap(), before);
}

#[test]
fn what_a_client_will_not_do_any_more_is_not_waited_for() {
    let Some(_room) = lab() else { return };
    let text =
        FEW_PORTS.replacen("done = [\"labtest-web\"]", "until = [\"labtest-web: EADDRNOTAVAIL >= 1000\"]", 1);
    let own = file("few-ports.toml", &text);
    let run = json(&lab_command(&["run", &own.path, "--format", "json"]), 1);
    // Its limit is a minute.
    assert!(run["seconds"].as_f64().unwrap() < 60.0, "{run:#}");
    let missed = &run["expectations"][0];
    assert_eq!(missed["what"], "phase \"ports run out\": labtest-web: EADDRNOTAVAIL >= 1000");
    assert!(missed["seen"].as_f64().unwrap() >= 100.0 && missed["is_met"] == false, "{run:#}");
}

#[test]
fn a_client_that_does_not_come_to_its_end_is_told() {
    let Some(_room) = lab() else { return };
    let text =
        FEW_PORTS.replacen("rate = 600.0", "rate = 0.01", 1).replacen("seconds = 60.0", "seconds = 5.0", 1);
    let own = file("few-ports.toml", &text);
    let done = lab_command(&["run", &own.path]);
    assert_eq!(done.status, Some(1), "{done:?}");
    for words in ["labtest-web: attempted all it should", "NOT MET, seen: 1"] {
        assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
    }
}

#[test]
fn a_run_that_passes_its_limit_of_sockets_is_stopped() {
    let Some(_room) = lab() else { return };
    let text = FEW_PORTS.replacen("sockets = 2000", "sockets = 50", 1).replacen(
        "seconds = 0.3",
        "seconds = 10.0",
        1,
    );
    let own = file("few-ports.toml", &text);
    refused(&["run", &own.path], &["few-ports: stopped: it has ", "its scenario allows 50 (limits.sockets)"]);
}

// What comes of a run.

#[test]
fn a_run_is_as_expected_and_its_twin_too() {
    let Some(_room) = lab() else { return };
    let own = file("few-ports.toml", FEW_PORTS);
    let run = json(&lab_command(&["run", &own.path, "--format", "json"]), 0);
    assert_valid(&schema("lab-run"), &run);
    assert_eq!((&run["as_expected"], &run["scenario"]), (&true.into(), &"few-ports".into()));
    assert_eq!(run["hosts"][0]["findings"][0]["code"], "TW001");
    assert_eq!(run["hosts"][0]["report"]["netns"]["name"], "client");
    let twin = json(&lab_command(&["run", &own.path, "--twin", "range", "--format", "json"]), 0);
    assert_eq!((&twin["as_expected"], &twin["hosts"][0]["findings"]), (&true.into(), &Value::Array(vec![])));

    for width in [80, 160] {
        let mut command = Command::new(LINGER);
        command.args(["lab", "run", &own.path, "--force", "--verbose"]).env("COLUMNS", width.to_string());
        let done = finish(&mut command);
        assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        assert!(done.stdout.lines().all(|line| line.chars().count() <= width), "{}", done.stdout);
        for words in ["EADDRNOTAVAIL", "TIME_WAIT", "█", "✓ expected", "CRITICAL TW001", "AS EXPECTED"] {
            assert!(done.stdout.contains(words), "{words}: {}", done.stdout);
        }
    }
}

#[test]
fn a_setting_or_a_parameter_changes_the_outcome() {
    let Some(_room) = lab() else { return };
    let own = file("few-ports.toml", FEW_PORTS);
    for change in [
        ["--set", "client:ip_local_port_range=40000 49999"],
        ["--set", "net.ipv4.ip_local_port_range=40000 49999"],
        ["--param", "ports=40000 49999"],
    ] {
        let run = json(&lab_command(&["run", &own.path, "--format", "json", change[0], change[1]]), 1);
        assert_eq!(run["as_expected"], false, "{change:?}");
        assert_eq!(run["hosts"][0]["missing"], Value::from(vec!["TW001"]), "{change:?}");
        assert_eq!(run["actors"][1]["succeeded"], 300, "{change:?}");
        // What was set is told.
        let given = change[1].split_once('=').unwrap();
        let told = ["params", "set"].map(|it| run[it].as_object().unwrap()).into_iter().flatten();
        let mut values = told.filter(|(key, _)| key.ends_with(given.0.rsplit(':').next().unwrap()));
        assert!(values.any(|(_, value)| value == given.1), "{change:?}: {run:#}");
    }
    // In the other host it does nothing.
    let server = ["run", &own.path, "--format", "json", "--set", "server:ip_local_port_range=40000 49999"];
    assert_eq!(json(&lab_command(&server), 0)["as_expected"], true);
    let text = lab_command(&["run", &own.path, "--param", "ports=40000 49999"]);
    assert_eq!(text.status, Some(1));
    for words in ["✗ MISSING", "TW001", "NOT MET", "NOT AS EXPECTED"] {
        assert!(text.stdout.contains(words), "{words}: {}", text.stdout);
    }
    // It takes so much longer.
    let start = Instant::now();
    let run = json(&lab_command(&["run", &own.path, "--format", "json", "--duration", "3s"]), 0);
    assert_eq!(run["params"]["seconds"], "3.0");
    assert!(start.elapsed() > Duration::from_secs(3));
}

#[test]
fn several_scenarios_end_with_the_worst() {
    let Some(_room) = lab() else { return };
    let good = file("good.toml", FEW_PORTS);
    let wrong = file("wrong.toml", &FEW_PORTS.replacen("[\"TW001\"]", "[]", 1));
    let missing = FEW_PORTS.replacen("[[phase]]", MISSING_PROGRAM, 1);
    let missing = file("missing.toml", &missing);
    let busy = file("busy.toml", &FEW_PORTS.replacen("seconds = 60.0", "seconds = 60.0\nbusy = true", 1));
    let validator = schema("lab-runs");
    let run = |files: &[&File], status: i32| {
        let mut args = vec!["run", "--format", "json"];
        args.extend(files.iter().map(|it| it.path.as_str()));
        let runs = json(&lab_command(&args), status);
        assert_valid(&validator, &runs);
        runs
    };
    let both = run(&[&busy, &good], 0);
    assert_eq!(both["as_expected"], true);
    let names: Vec<&str> =
        both["runs"].as_array().unwrap().iter().map(|it| it["scenario"].as_str().unwrap()).collect();
    assert_eq!(names, ["busy", "good"]);
    let some = run(&[&good, &missing], 3);
    assert_eq!(
        (&some["as_expected"], &some["could_not_run"][0]["scenario"]),
        (&false.into(), &"missing".into())
    );
    let reason = some["could_not_run"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("no-such-program") && reason.contains("the package no-such-package"), "{reason}");
    let all = run(&[&good, &missing, &wrong], 1);
    assert_eq!(all["runs"].as_array().unwrap().len(), 2);
    assert_eq!(all["runs"][1]["hosts"][0]["findings"][0]["is_expected"], false);
    // Alone it is an error.
    refused(&["run", &missing.path], &["missing: no-such-program is not installed", "no-such-package"]);
}

const MISSING_PROGRAM: &str = r#"
[actor.gone]
host = "server"
kind = "program"
program = "no-such-program"
package = "no-such-package"

[[phase]]"#;

#[test]
fn a_comparison_says_what_the_setting_did() {
    let Some(_room) = lab() else { return };
    let own = file("few-ports.toml", FEW_PORTS);
    let compare = |a: &str, b: &str, status: i32| {
        let done = lab_command(&["compare", &own.path, "--a", a, "--b", b, "--format", "json"]);
        json(&done, status)
    };
    let report = compare("", "client:ip_local_port_range=40000 49999 tcp_tw_reuse=0", 0);
    assert_valid(&schema("lab-compare"), &report);
    let figure = |subject: &str, what: &str| {
        let all = report["differences"].as_array().unwrap();
        let found = all.iter().find(|it| it["subject"] == subject && it["what"] == what);
        found.map(|it| (it["a"].as_f64().unwrap(), it["b"].as_f64().unwrap()))
    };
    let (failed, none) = figure("labtest-web", "EADDRNOTAVAIL").unwrap();
    assert!(failed >= 100.0 && none == 0.0, "{report:#}");
    assert_eq!(figure("client", "TW001"), Some((2.0, 0.0)));
    assert_eq!(figure("labtest-web", "tried"), None, "{report:#}");
    let summary = report["summary"].as_str().unwrap();
    assert!(summary.contains("EADDRNOTAVAIL failures of labtest-web fell from"), "{summary}");
    assert!(summary.contains("Only A has TW001 in client."), "{summary}");
    // Where neither side shows it, nothing was compared.
    let neither = compare("ports=40000 49999", "ports=40000 48999", 1);
    let told = neither["differences"].as_array().unwrap();
    assert!(told.iter().all(|it| it["kind"] != "actor" && it["kind"] != "finding"), "{neither:#}");
    let text = lab_command(&["compare", &own.path, "--a", "", "--b", "ports=40000 49999"]);
    assert_eq!(text.status, Some(0));
    assert!(text.stdout.contains("only A") && text.stdout.contains("Only A has TW001"), "{}", text.stdout);
}

#[test]
fn processes_elsewhere_are_no_finding_of_a_run() {
    let Some(lab) = lab() else { return };
    // Of this machine's other work: near its limit all the time.
    let crowd = start(&lab.near, Sockets { count: 96, nofile: Some(100), comm: "labtest-crowd".into() });
    wait_for("it has its descriptors", || {
        std::fs::read_dir(format!("/proc/{}/fd", crowd.pid())).unwrap().count() >= 96
    });
    let well = file("well.toml", FEW_PORTS);
    // Of another lab beside it.
    let crowded = r#"
title = "A process near its limit"
[host.only]
[actor.labtest-near]
host = "only"
kind = "sockets"
count = 90
nofile = 100
[[phase]]
seconds = 1.5
check = { interval = 0.3 }
[expect]
findings.only = ["FD001"]
"#;
    let crowded = file("crowded.toml", crowded);
    let runs = json(&lab_command(&["run", &well.path, &crowded.path, "--format", "json"]), 0);
    assert_eq!(runs["as_expected"], true, "{runs:#}");
}

#[test]
fn progress_is_for_terminals() {
    let Some(_room) = lab() else { return };
    let own = file("few-ports.toml", FEW_PORTS);
    assert_eq!(lab_command(&["run", &own.path]).stderr, "");
    let mut command = Command::new("script");
    let inner = format!("{LINGER} lab run {} --force >/dev/null", own.path);
    command.args(["-qec", &inner, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::null());
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !in_ci() => {
            println!("SKIPPED: script is not installed");
        }
        output => {
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            assert!(text.contains("few-ports: 1/1 ports run out"), "{text:?}");
            assert!(!text.contains('\n') && text.ends_with("\r\x1b[K"), "{text:?}");
        }
    }
}

#[test]
fn a_myth_is_measured() {
    let Some(_room) = lab() else { return };
    // The one that takes least.
    let quick = linger_lab::myths::all().iter().min_by_key(|it| it.seconds).unwrap().name;
    let done = lab_command(&["myths", quick, "--format", "json"]);
    let report = json(&done, 0);
    assert_valid(&schema("lab-myths"), &report);
    assert_eq!(report["myths"][0]["name"], quick);
    assert!(report["myths"][0]["measured"].is_string(), "{report:#}");
}

// Without root.

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root can become nobody");
    }
    is_root
}

#[test]
fn it_runs_without_root() {
    let Some(_room) = lab().filter(|_| is_root()) else { return };
    let public = Public::new();
    let own = public.file("few-ports.toml", FEW_PORTS);
    let mut command = Command::new("setpriv");
    command.args(NOBODY).arg(public.program()).args(["lab", "run", &own, "--force", "--format", "json"]);
    let run = json(&finish(&mut command), 0);
    assert_eq!(run["as_expected"], true, "{run:#}");
    // The processes of the lab are seen, as root sees them.
    let findings = run["hosts"][0]["report"]["findings"].as_array().unwrap();
    assert_eq!(findings.iter().filter(|it| it["code"] == "TW001").count(), 1, "{run:#}");
    let headroom = run["hosts"][1]["report"]["headroom"].as_array().unwrap();
    assert!(
        headroom.iter().any(|it| it["subject"].as_str().unwrap().contains("labtest-api")),
        "{headroom:#?}"
    );
}

#[test]
fn what_is_missing_without_root_is_said() {
    let Some(_room) = lab().filter(|_| is_root()) else { return };
    let public = Public::new();
    let own = public.file("few-ports.toml", FEW_PORTS);
    // A user namespace in which no further ones may be made, and a root without CAP_SYS_ADMIN in it.
    let inner = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-sys_admin {} lab run {own} --force",
        public.program().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &inner]);
    let done = finish(&mut command);
    assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
    assert!(done.stderr.contains("user.max_user_namespaces is 0"), "{done:?}");
    assert_eq!(done.stderr.trim_end().lines().count(), 1, "{done:?}");
}

// Nothing is left.

/// A run that goes on until it is ended, with a real program in it.
fn endless() -> String {
    let program = r#"
[actor.labtest-sleep]
host = "server"
kind = "program"
program = "sh"
args = ["-c", "sleep 3600 & wait"]

[[phase]]"#;
    FEW_PORTS.replacen("[[phase]]", program, 1).replacen("seconds = 0.3", "seconds = 3000.0", 1)
}

/// What a run consists of: processes beside itself, and namespaces.
#[derive(Debug)]
struct Parts {
    processes: BTreeSet<i32>,
    namespaces: BTreeSet<String>,
}

/// Every process's parent.
fn parents() -> BTreeMap<i32, i32> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut rest = stat.rsplit_once(") ")?.1.split(' ');
        // A zombie has ended; whoever reaps it takes its time.
        (rest.next()? != "Z").then_some(())?;
        rest.next()?.parse().ok()
    };
    pids().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The namespaces that threads and descriptors of a process hold.
fn namespaces_of(pid: i32) -> BTreeSet<String> {
    let links = |folder: String, below: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.path().join(below)).ok());
        links.map(|link| link.to_string_lossy().into_owned()).filter(|it| it.starts_with("net:[")).collect()
    };
    let mut all: BTreeSet<String> = links(format!("/proc/{pid}/task"), "ns/net").into_iter().collect();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let fds = fds.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    all.extend(fds.map(|link| link.to_string_lossy().into_owned()).filter(|it| it.starts_with("net:[")));
    all
}

fn own_namespace() -> String {
    std::fs::read_link("/proc/self/ns/net").unwrap().to_string_lossy().into_owned()
}

fn parts_of(pid: i32) -> Parts {
    let parents = parents();
    let mut processes = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> = parents
            .iter()
            .filter(|(child, parent)| processes.contains(parent) && !processes.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if more.is_empty() {
            break;
        }
        processes.extend(more);
    }
    let mut namespaces: BTreeSet<String> = processes.iter().flat_map(|it| namespaces_of(*it)).collect();
    namespaces.remove(&own_namespace());
    processes.remove(&pid);
    Parts { processes, namespaces }
}

/// What of the machine must be as before: interfaces of this namespace, its settings, and folders of programs.
fn machine() -> (BTreeSet<String>, BTreeMap<String, String>) {
    let names = |folder: &str| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries.map(|it| it.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut settings = BTreeMap::new();
    for folder in ["/proc/sys/net/ipv4", "/proc/sys/net/core", "/proc/sys/net/ipv4/conf/all"] {
        for name in names(folder) {
            let path = format!("{folder}/{name}");
            if let Ok(value) = std::fs::read_to_string(&path) {
                settings.insert(path, value);
            }
        }
    }
    // This one changes by itself.
    settings.retain(|path, _| !path.ends_with("netdev_rss_key"));
    (names("/sys/class/net").into_iter().collect(), settings)
}

/// Starts the endless run, and waits until all of it is there.
fn start_endless(file: &File) -> (Child, Parts) {
    let mut command = Command::new(LINGER);
    command.args(["lab", "run", &file.path, "--force"]).stdin(Stdio::null());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let mut parts = parts_of(pid);
    // Three actors, the program and its child; a namespace of each host.
    wait_for("the run has begun", || {
        parts = parts_of(pid);
        parts.processes.len() == 5 && parts.namespaces.len() == 2
    });
    (child, parts)
}

/// How long what is left of a run may stay: namespaces are taken down by a worker of the kernel, one after the other.
const SOON: Duration = Duration::from_secs(10);

#[track_caller]
fn assert_gone(parts: &Parts, how: &str) {
    let start = Instant::now();
    loop {
        let alive: Vec<i32> = parents().into_keys().filter(|pid| parts.processes.contains(pid)).collect();
        let held: Vec<i32> = pids()
            .into_iter()
            .filter(|pid| namespaces_of(*pid).iter().any(|it| parts.namespaces.contains(it)))
            .collect();
        let folders: Vec<i32> = parts.processes.iter().copied().filter(|pid| has_folder(*pid)).collect();
        if alive.is_empty() && held.is_empty() && folders.is_empty() {
            return;
        }
        assert!(
            start.elapsed() < SOON,
            "after {how}: processes {alive:?}, holders of namespaces {held:?}, folders of {folders:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the folder of a program's actor is still there.
fn has_folder(pid: i32) -> bool {
    let end = format!("-{pid}");
    std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().any(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name.starts_with("linger-lab-") && name.ends_with(&end)
    })
}

#[test]
fn nothing_is_left_however_it_ends() {
    let Some(_room) = lab() else { return };
    let own = file("endless.toml", &endless());
    let before = machine();
    for (signal, number) in [("INT", 2), ("HUP", 1), ("TERM", 15), ("ABRT", 6), ("KILL", 9)] {
        let (mut child, parts) = start_endless(&own);
        assert!(parts.processes.iter().any(|pid| has_folder(*pid)), "the program has a folder");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(number), "{signal}");
        assert_gone(&parts, signal);
    }
    assert_eq!(machine(), before);
}

#[test]
fn nothing_is_left_when_ctrl_c_reaches_the_whole_group() {
    let Some(_room) = lab() else { return };
    let own = file("endless.toml", &endless());
    let mut command = Command::new(LINGER);
    command.args(["lab", "run", &own.path, "--force"]).stdin(Stdio::null()).process_group(0);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    wait_for("the run has begun", || parts_of(pid).processes.len() == 5);
    let parts = parts_of(pid);
    // As a terminal does.
    assert!(Command::new("kill").args(["-INT", "--", &format!("-{pid}")]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert_gone(&parts, "Ctrl-C");
}

/// An observer that notes what is there when it is to check, and panics.
struct Panics(Mutex<Option<Parts>>);

static PANICS: Panics = Panics(Mutex::new(None));

impl Observer for Panics {
    fn states(&self) -> Result<StateCounts, String> {
        Ok(StateCounts::default())
    }

    fn counters(&self) -> Result<Counters, String> {
        Ok(Counters::new())
    }

    fn check(&self, hosts: &[Host], _: &Check, _: bool) -> Result<Vec<linger_model::Report>, Error> {
        let namespaces: BTreeSet<String> =
            hosts.iter().map(|host| format!("net:[{}]", host.inode())).collect();
        let is_inside = |pid: &i32| namespaces_of(*pid).iter().any(|it| namespaces.contains(it));
        let own = i32::try_from(std::process::id()).unwrap();
        let processes = pids().into_iter().filter(|pid| *pid != own && is_inside(pid)).collect();
        *self.0.lock().unwrap() = Some(Parts { processes, namespaces });
        panic!("on purpose");
    }
}

#[test]
fn nothing_is_left_after_a_panic() {
    let Some(_room) = lab() else { return };
    let text = endless().replacen("seconds = 3000.0", "seconds = 0.0", 1);
    let scenario = from_text("panics", &text, None, &Adjust::default()).unwrap();
    let launcher = launcher();
    let options = Options { launcher: &launcher, observer: &PANICS, progress: &|_| {}, is_disposable: false };
    let panic =
        catch_unwind(AssertUnwindSafe(|| linger_lab::run::run(&scenario, &options).map(drop))).unwrap_err();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"on purpose"));
    let parts = PANICS.0.lock().unwrap().take().expect("it was looked at");
    assert!(parts.processes.len() >= 3 && parts.namespaces.len() == 2, "{parts:?}");
    assert_gone(&parts, "a panic");
}

// The library.

/// Every incident is found, nothing else is, and nothing is found of its twin. What changes settings of the machine runs
/// in `cargo xtask vm-test`.
#[test]
fn every_scenario_of_the_library_is_as_expected() {
    if lab().is_none() {
        return;
    }
    let done = lab_command(&["run", "--all", "--format", "json"]);
    let runs: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    assert_valid(&schema("lab-runs"), &runs);
    let could_not = runs["could_not_run"].as_array().unwrap();
    // What is missing is said; in CI nothing is.
    assert!(could_not.is_empty() || !in_ci(), "{could_not:#?}");
    for one in could_not {
        println!("SKIPPED: {one}");
    }
    let list = json(&lab_command(&["list", "--format", "json"]), 0);
    let here = list.as_array().unwrap().iter().filter(|it| it["machine"] == false).count();
    let ran = runs["runs"].as_array().unwrap();
    assert_eq!(ran.len() + could_not.len(), here);
    let not_expected: Vec<String> = ran.iter().filter(|run| run["as_expected"] != true).map(told).collect();
    assert!(not_expected.is_empty(), "{}", not_expected.join("\n"));
}

/// What of a run was not as expected.
fn told(run: &Value) -> String {
    let of = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let unmet = of(&run["expectations"]).into_iter().filter(|it| it["is_met"] != true);
    let findings = of(&run["hosts"]).into_iter().map(|host| {
        let unexpected: Vec<Value> =
            of(&host["findings"]).into_iter().filter(|it| it["is_expected"] != true).collect();
        format!("{}: missing {}, unexpected {unexpected:?}", host["name"], host["missing"])
    });
    let unmet: Vec<String> = unmet.map(|it| it.to_string()).collect();
    format!("{}: {unmet:?}; {}", run["scenario"], findings.collect::<Vec<_>>().join("; "))
}
