//! What holds of the command whatever it finds: bad input, pipes, colour, exit status, privileges.

use std::io::pipe;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use linger_lab::{Behaviour, Bound, Host, Server};

use crate::support::{
    Checked, Done, LINGER, PATIENCE, SERVICE, check, client, config, finish, in_ci, lab, linger, linger_on,
    named, path_of, run_all, server, ss, start, wait_for,
};

/// That a command line is refused: status 3, these words in one message, and nothing else.
#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let done = linger(args);
    assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{args:?}: {done:?}");
    for word in words {
        assert!(done.stderr.contains(word), "{args:?}: {word:?} is not in {:?}", done.stderr);
    }
    let said = done.stderr.trim_end();
    assert!(!said.is_empty() && !said.contains("panicked"), "{args:?}: {said}");
    // linger's own messages are a line; those about the command line may end with a usage.
    assert!(said.starts_with("error: ") || !said.contains('\n'), "{args:?}: {said}");
}

#[test]
fn bad_input_is_refused_with_the_right_spelling() {
    refused(&["check", "--select", "TW01"], &["--select TW01", "did you mean TW001?"]);
    refused(&["check", "--select", "TW001,CW01"], &["CW01", "did you mean CW001?"]);
    refused(&["check", "--ignore", "close-wait-lek"], &["did you mean close-wait-leak?"]);
    refused(&["check", "--select", "CW001", "--ignore", "CW001"], &["leave no rule"]);
    for command in ["check", "states", "ports", "listeners"] {
        refused(&[command, "--netns", "nowhere"], &["\"nowhere\"", "no such name", "ip netns"]);
        refused(&[command, "--netns", "/nowhere"], &["/nowhere", "No such file"]);
        refused(&[command, "--netns", "/etc/passwd"], &["/etc/passwd", "no network namespace"]);
        refused(&[command, "--netns", "pid:999999999"], &["999999999", "no such process"]);
        refused(&[command, "--netns", "pid:x"], &["pid:x", "positive number"]);
        refused(&[command, "--netns", ""], &["empty"]);
        refused(&[command, "--fromat", "json"], &["--fromat", "--format"]);
        refused(&[command, "--format", "jsn"], &["jsn", "json"]);
    }
    refused(&["states", "--state", "time_wiat"], &["did you mean time_wait?"]);
    refused(&["states", "--state", "ESTABLISHD"], &["did you mean established?"]);
    refused(&["states", "--src", "10.0.0"], &["--src 10.0.0:", "10.0.0.0/8"]);
    refused(&["states", "--dst", "10.0.0.0/33"], &["--dst 10.0.0.0/33:", "0 to 32"]);
    refused(&["ports", "--sport", "70000"], &["--sport 70000:", "65535"]);
    refused(&["ports", "--dport", "9-1"], &["--dport 9-1:", "ends before it begins"]);
    refused(&["listeners", "--sport", "http"], &["--sport http:", "8000-8999"]);
    refused(&["states", "--pid", "999999999"], &["--pid 999999999:", "no such process"]);
    refused(&["states", "--by", "peers"], &["peers", "peer-port"]);
    refused(&["states", "--top", "0"], &["--top"]);
    refused(&["check", "--interval", "0"], &["--interval", "50ms"]);
    refused(&["check", "--interval", "soon"], &["--interval", "500ms"]);
    refused(&["check", "--samples", "0"], &["--samples"]);
    refused(&["check", "--fail-on", "warn"], &["warning"]);
    refused(&["chek"], &["chek", "'check'"]);
    // Commands for programs are not offered to persons.
    let offered = linger(&["chekc"]).stderr;
    assert!(offered.contains("'check'") && !offered.contains("schema"), "{offered}");
    // Nothing said is answered with the help, and is no success either.
    let help = linger(&[]);
    assert_eq!((help.status, help.stdout.as_str()), (Some(3), ""));
    assert!(help.stderr.contains("Usage: linger"), "{help:?}");
}

#[test]
fn a_bad_configuration_is_refused_with_its_line() {
    let with = |text: &str, words: &[&str]| {
        let file = config(text);
        let mut all = vec![path_of(&file)];
        all.extend(words);
        refused(&["check", "--config", path_of(&file)], &all);
    };
    with("[TW02]\nwarning_fraction = 1\n", &["line 1", "TW02", "did you mean TW002?"]);
    with("\n[TW001]\nwarning_fracton = 1\n", &["line 3", "did you mean warning_fraction?"]);
    with("[TW001]\nwarning_fraction = \"much\"\n", &["line 2", "much", "a number"]);
    with("[TW001]\nwarning_fraction = -1\n", &["line 2", "0 or more"]);
    with("TW001 = 3\n", &["line 1", "[TW001]"]);
    refused(&["check", "--config", "/nowhere.toml"], &["/nowhere.toml", "No such file"]);
    // TOML's own words may take several lines.
    let broken = config("[[[");
    let done = linger(&["check", "--config", path_of(&broken)]);
    assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
    assert!(done.stderr.contains("not TOML") && done.stderr.contains("line 1"), "{done:?}");

    // What `linger config` prints is a configuration that changes nothing.
    let defaults = linger(&["config"]);
    assert_eq!((defaults.status, defaults.stderr.as_str()), (Some(0), ""));
    let Some(lab) = lab() else { return };
    let file = config(&defaults.stdout);
    check(&lab.near, &["--config", path_of(&file)]).assert_nothing();
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    for args in [
        &["states"][..],
        &["states", "--by", "peer"],
        &["check", "--interval", "50ms"],
        &["check", "--interval", "50ms", "--format", "json"],
        &["ports"],
        &["listeners", "--format", "json"],
        &["config"],
        &["completions", "bash"],
        &["__schema", "report"],
        &["states", "--watch", "50ms"],
    ] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let output = Command::new(LINGER).args(args).stdin(Stdio::null()).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn findings_are_told_by_the_status_even_where_nobody_reads_them() {
    let Some(lab) = lab() else { return };
    let _holder = warned(&lab.near);
    for format in ["text", "json"] {
        for netns in [lab.near.path().to_str().unwrap(), "all"] {
            let (reader, writer) = pipe().unwrap();
            drop(reader);
            let mut command = Command::new(LINGER);
            command.args(["check", "--interval", "50ms", "--select", "TW001", "--format", format]);
            let output = command.args(["--netns", netns]).stdout(writer).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            // Others' namespaces may be in a worse state.
            let expected: &[i32] = if netns == "all" { &[1, 2] } else { &[1] };
            assert!(expected.contains(&output.status.code().unwrap()), "{format}, {netns}: {output:?}");
            assert_eq!(said, "");
        }
    }
}

#[test]
fn a_configuration_is_a_small_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let fifo = path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for file in ["/dev/zero", &fifo, folder.path().to_str().unwrap()] {
        refused(&["check", "--config", file], &["cannot read", file, "no regular file"]);
    }
    let large = path("large");
    std::fs::write(&large, "#".repeat((1 << 20) + 1)).unwrap();
    refused(&["check", "--config", &large], &["cannot read", &large, "1024 KiB"]);
    // What is quoted of it is short, and does nothing to a terminal.
    let long = "x".repeat(500_000);
    for text in [
        long.clone(),
        format!("[{long}]\n"),
        format!("[TW001]\n{long} = 1\n"),
        format!("[TW001]\nwarning_fraction = \"{long}\"\n"),
        "[\"\\u001b[31m\"]\n".to_owned(),
        "[TW001]\n\x1b[31m = 1\n".to_owned(),
    ] {
        let file = config(&text);
        let done = linger(&["check", "--config", path_of(&file)]);
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
        assert!(done.stderr.contains("line ") && done.stderr.len() < 600, "{done:?}");
        assert!(done.stderr.lines().count() == 1 && !done.stderr.contains('\x1b'), "{done:?}");
    }
    let named = config("[close-wait-leak]\nmin_age_seconds = 1\n");
    refused(&["check", "--config", path_of(&named)], &["line 1", "did you mean [CW001]?"]);
}

#[test]
fn a_window_is_no_shorter_than_what_was_asked_for() {
    let Some(lab) = lab() else { return };
    for (interval, samples, least) in [("50ms", "2", 0.05), ("200ms", "2", 0.2), ("60ms", "5", 0.24)] {
        for _ in 0..3 {
            let args = [
                "check",
                "--format",
                "json",
                "--interval",
                interval,
                "--samples",
                samples,
                "--select",
                "TW001",
            ];
            let report = linger_on(&lab.near, &args).json();
            let window = report["interval_s"].as_f64().unwrap();
            assert!(window >= least, "{samples} samples every {interval}: {window} s");
        }
    }
}

#[test]
fn without_descriptors_of_its_own_it_says_that_it_saw_none() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let starved = |args: &str| {
        let mut command = lab.far.command("sh").unwrap();
        finish(command.args(["-c", &format!("ulimit -n 5; exec {LINGER} {args}")]))
    };
    for args in ["states --by process", "check --interval 50ms -v"] {
        let done = starved(args);
        assert!(done.stdout.contains("too many open files (raise ulimit -n)"), "{args}: {done:?}");
    }
    let report = starved("check --interval 50ms --format json --select CW002");
    assert_eq!(report.status, Some(3), "{report:?}");
}

/// What linger prints on a terminal, which `script` plays.
fn on_terminal(environment: &[(&str, &str)], arguments: &str) -> Option<String> {
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{LINGER} {arguments}"), "/dev/null"]).stdin(Stdio::null());
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR").envs(environment.iter().copied());
    match command.output() {
        Ok(output) => Some(String::from_utf8(output.stdout).unwrap()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !in_ci() => {
            println!("SKIPPED: script is not installed");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn colour_is_for_terminals() {
    let is_coloured = |text: &str| {
        assert!(text.contains("OK") || text.contains("STATE") || text.contains("No TCP"), "{text:?}");
        text.contains("\x1b[")
    };
    let args = |color: &'static str| ["check", "--interval", "50ms", "--color", color];
    assert!(!is_coloured(&linger(&args("auto")).stdout));
    assert!(!is_coloured(&linger(&args("never")).stdout));
    assert!(is_coloured(&linger(&args("always")).stdout));
    // Asked for, it comes whatever the environment says.
    let asked = finish(Command::new(LINGER).args(args("always")).env("NO_COLOR", "1"));
    assert!(is_coloured(&asked.stdout));
    let json = linger(&["check", "--interval", "50ms", "--format", "json", "--color", "always"]).stdout;
    assert!(!json.contains('\x1b'));

    let terminal = "check --interval 50ms";
    let Some(plain) = on_terminal(&[], terminal) else { return };
    assert!(is_coloured(&plain));
    assert!(!is_coloured(&on_terminal(&[("NO_COLOR", "1")], terminal).unwrap()));
    assert!(is_coloured(&on_terminal(&[("NO_COLOR", "")], terminal).unwrap()));
    assert!(!is_coloured(&on_terminal(&[("TERM", "dumb")], terminal).unwrap()));
    assert!(!is_coloured(&on_terminal(&[], &format!("{terminal} --color never")).unwrap()));
}

/// A host on which 165 of 200 local ports are held by bind(): a warning that nothing moves.
fn warned(host: &Host) -> linger_lab::Actor {
    host.sysctl("net.ipv4.ip_local_port_range", "40000 40199").unwrap();
    let holder = start(host, Bound { ports: (40_000..40_165).collect(), ..Bound::default() });
    assert_eq!(holder.done(PATIENCE).unwrap().held, 165);
    holder
}

#[test]
fn the_exit_status_is_that_of_the_worst_finding_asked_for() {
    let Some(lab) = lab() else { return };
    let _holder = warned(&lab.near);
    let status = |args: &[&str]| {
        let mut all = vec!["check", "--format", "json", "--interval", "200ms", "--ignore", "FD001"];
        all.extend(args);
        let done = linger_on(&lab.near, &all);
        assert_eq!(done.stderr, "");
        let report: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
        (done.status.unwrap(), report["findings"].as_array().unwrap().len())
    };
    assert_eq!(status(&[]), (1, 1));
    assert_eq!(status(&["--fail-on", "warning"]), (1, 1));
    assert_eq!(status(&["--fail-on", "info"]), (1, 1));
    assert_eq!(status(&["--fail-on", "critical"]), (0, 1));
    assert_eq!(status(&["--ignore", "TW001"]), (0, 0));
    assert_eq!(status(&["--ignore", "ephemeral-port-exhaustion"]), (0, 0));
    assert_eq!(status(&["--select", "tw001"]), (1, 1));
    assert_eq!(status(&["--select", "CW001,TW002"]), (0, 0));
    let lower = config("[TW001]\ncritical_fraction = 0.8\n");
    assert_eq!(status(&["--config", path_of(&lower)]), (2, 1));
    assert_eq!(status(&["--config", path_of(&lower), "--fail-on", "critical"]), (2, 1));
    let higher = config("[TW001]\nwarning_fraction = 0.9\n");
    assert_eq!(status(&["--config", path_of(&higher)]), (0, 0));

    // Notes fail only where they are asked to.
    let _hung = start(&lab.far, Server { behaviour: Behaviour::NeverAccept, ..server() });
    lab.far.sysctl("net.core.somaxconn", "8").unwrap();
    let _capped = start(
        &lab.far,
        Server {
            listen: vec![crate::support::address("10.77.0.2:81")],
            behaviour: Behaviour::NeverAccept,
            ..server()
        },
    );
    let target = vec![crate::support::address("10.77.0.2:81")];
    run_all(&lab.near, linger_lab::Client { targets: target, requests: 0, bind_port: false, ..client(5) });
    for (fail_on, expected) in [("info", 1), ("warning", 0), ("critical", 0)] {
        let args = ["check", "--select", "LQ002", "--interval", "200ms", "--fail-on", fail_on];
        assert_eq!(linger_on(&lab.far, &args).status, Some(expected), "{fail_on}");
    }
}

#[test]
fn only_the_rules_asked_for_are_reported() {
    let Some(lab) = lab() else { return };
    let checked = check(&lab.near, &["--interval", "200ms", "--select", "TW001,close-wait-leak"]);
    let codes = |key: &str| -> Vec<String> {
        let items = checked.report[key].as_array().unwrap();
        items.iter().map(|it| it["code"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(codes("ruled_out"), ["TW001", "CW001"]);
    let all = check(&lab.near, &["--interval", "200ms"]);
    assert!(all.report["ruled_out"].as_array().unwrap().len() > 20, "{all:?}");
}

#[test]
fn the_text_fits_its_width() {
    let Some(lab) = lab() else { return };
    let text = |width: &str, args: &[&str]| {
        let mut command = Command::new(LINGER);
        command.args(args).arg("--netns").arg(lab.near.path()).env("COLUMNS", width);
        finish(&mut command)
    };
    let fits = |done: &Done, width: usize| {
        assert_eq!(done.stderr, "");
        for line in done.stdout.lines() {
            assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
        }
    };
    let healthy = ["check", "--interval", "200ms", "--ignore", "FD001"];
    for width in ["80", "160"] {
        let done = text(width, &healthy);
        fits(&done, width.parse().unwrap());
        assert!(done.stdout.starts_with("OK "), "{}", done.stdout);
        assert!(done.stdout.lines().count() <= 12, "a dozen lines:\n{}", done.stdout);
        assert_eq!(done.status, Some(0));
    }
    let _holder = warned(&lab.near);
    for width in ["80", "160"] {
        for args in [
            &["check", "--interval", "200ms", "-v", "--ignore", "FD001"][..],
            &["states"],
            &["states", "--by", "process"],
            &["ports"],
            &["listeners"],
        ] {
            let done = text(width, args);
            // What was ruled out is a line each, as long as it is.
            fits(&done, width.parse().unwrap());
            if args[0] == "check" {
                assert!(
                    done.stdout.starts_with("WARNING ") && done.stdout.contains("TW001"),
                    "{}",
                    done.stdout
                );
                assert_eq!(done.status, Some(1));
            }
        }
    }
}

/// linger where everybody can run it.
pub struct Public {
    folder: tempfile::TempDir,
}

impl Public {
    pub fn new() -> Public {
        let folder = tempfile::tempdir().unwrap();
        let public = Public { folder };
        let everybody = || std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(public.folder.path(), everybody()).unwrap();
        // Copied by a process of its own: a child that another test is just starting would hold the copy open for writing, and
        // then it cannot be run (ETXTBSY).
        let copied = finish(Command::new("cp").arg(LINGER).arg(public.program()));
        assert_eq!(copied.status, Some(0), "{copied:?}");
        std::fs::set_permissions(public.program(), everybody()).unwrap();
        public
    }

    pub fn program(&self) -> PathBuf {
        self.folder.path().join("linger")
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

pub const NOBODY: [&str; 5] = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];

#[test]
fn without_privileges_owners_alone_are_missing() {
    let Some(lab) = lab() else { return };
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root can become nobody");
        return;
    }
    let public = Public::new();
    let spec = Server { behaviour: Behaviour::NeverClose, comm: "leaky".into(), ..server() };
    let leaky = start(&lab.far, spec);
    run_all(&lab.near, client(150));
    leaky.wait_until(PATIENCE, |it| it.ended == 150).unwrap();
    wait_for("the sockets are a second old", || {
        let text = ss(&lab.far, &["-Hnti", "state", "close-wait"]);
        let ages = text.split_ascii_whitespace().filter_map(|word| word.strip_prefix("lastack:"));
        ages.filter(|age| age.parse::<u64>().unwrap() >= 1_000).count() == 150
    });
    let soon = public.file("soon.toml", "[CW001]\nmin_age_seconds = 1\n");
    let args = ["check", "--format", "json", "--ignore", "FD001", "--config", &soon];
    let as_nobody = |args: &[&str]| {
        let mut command = lab.far.command("setpriv").unwrap();
        finish(command.args(NOBODY).arg(public.program()).args(args))
    };
    let root = Checked::new(&linger_on(&lab.far, &args));
    let nobody = Checked::new(&as_nobody(&args));

    root.assert_finding("CW001", "warning", &[&named(&leaky)]);
    nobody.assert_finding("CW001", "warning", &["not visible"]);
    assert_eq!((nobody.status, nobody.state("close_wait")), (1, 150));
    assert_eq!(nobody.report["states"], root.report["states"]);
    nobody.assert_as_ss(&lab.far);
    let gaps = nobody.report["unknown"].as_array().unwrap();
    let says = |words: &str| gaps.iter().any(|it| it["gap"].as_str().unwrap().contains(words));
    assert!(says("descriptors of") && says("run as root"), "{nobody:?}");
    // The counters are everybody's.
    let quiet = |checked: &Checked, code: &str| {
        checked.report["ruled_out"].as_array().unwrap().iter().any(|it| it["code"] == code)
    };
    for code in ["TW001", "TW002", "LQ001", "SR001", "RS001", "RT001", "ZW001"] {
        assert!(quiet(&nobody, code) && quiet(&root, code), "{code}: {nobody:?}");
    }

    // What can't be told without privileges is not told to be fine, once it is asked for.
    let asked = as_nobody(&["check", "--format", "json", "--interval", "200ms", "--select", "CW002"]);
    assert_eq!((asked.status, asked.stderr.as_str()), (Some(3), ""), "{asked:?}");
    let report: serde_json::Value = serde_json::from_str(&asked.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["unknown"][0]["code"]), (&"unknown".into(), &"CW002".into()));

    // The other commands.
    let states = as_nobody(&["states", "--format", "json"]).json();
    assert_eq!(states["states"], root.report["states"]);
    let listeners = as_nobody(&["listeners", "--format", "json"]).json();
    let row = &listeners["listeners"][0];
    assert_eq!((&row["port"], &row["process"]), (&80.into(), &serde_json::Value::Null));
    assert!(!listeners["unknown"].as_array().unwrap().is_empty());
    let by_process = as_nobody(&["states", "--by", "process"]);
    assert!(by_process.stdout.lines().any(|l| l.contains("descriptors of") && l.ends_with("(run as root)")));
    assert!(!as_nobody(&["states", "--by", "peer"]).stdout.contains("descriptors of"));
    // A process whose descriptors can't be read has not none.
    let pid = leaky.pid().to_string();
    for command in ["states", "ports"] {
        let refused = as_nobody(&[command, "--pid", &pid]);
        assert_eq!((refused.status, refused.stdout.as_str()), (Some(3), ""), "{refused:?}");
        let says = |words: &str| refused.stderr.contains(words);
        assert!(
            says(&format!("cannot read the descriptors of process {pid}: permission denied")),
            "{refused:?}"
        );
        assert!(says("run as root") && refused.stderr.lines().count() == 1, "{refused:?}");
    }
    let denied = as_nobody(&["check", "--netns", &format!("pid:{}", std::process::id())]);
    assert_eq!((denied.status, denied.stdout.as_str()), (Some(3), ""), "{denied:?}");
    assert!(denied.stderr.contains("ermission denied"), "{denied:?}");
    drop(leaky);
}

#[test]
fn in_a_user_namespace_of_its_own() {
    let public = Public::new();
    let mut commands = vec![Command::new("unshare")];
    if rustix::process::geteuid().is_root() {
        let mut nobody = Command::new("setpriv");
        nobody.args(NOBODY).arg("unshare");
        commands.push(nobody);
    }
    for mut command in commands {
        command.arg("-Urn").arg(public.program()).args(["check", "--format", "json", "--interval", "200ms"]);
        let done = finish(command.args(["--ignore", "FD001"]));
        if done.stderr.starts_with("unshare:") && !in_ci() {
            println!("SKIPPED: {}", done.stderr);
            continue;
        }
        let well = Checked::new(&done);
        well.assert_nothing();
        assert_eq!((well.state("established"), well.state("listen")), (0, 0));
    }
}

#[test]
fn killed_it_leaves_nothing() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let sockets = ss(&lab.far, &["-Hantue"]);
    let folder = tempfile::tempdir().unwrap();
    let here = || -> Vec<PathBuf> {
        std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| std::fs::metadata(path.join("ns/net")).is_ok_and(|it| it.ino() == lab.far.inode()))
            .collect()
    };
    let before = here();
    for signal in [rustix::process::Signal::KILL, rustix::process::Signal::TERM, rustix::process::Signal::INT]
    {
        let mut command = lab.far.command(LINGER).unwrap();
        command.args(["check", "--interval", "60s"]).current_dir(folder.path()).env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        // Between its samples it sleeps.
        std::thread::sleep(Duration::from_millis(400));
        rustix::process::kill_process(pid, signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(signal.as_raw()));
        assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
    }
    assert_eq!(here(), before);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(ss(&lab.far, &["-Hantue"]), sockets);
    assert!(sockets.contains(SERVICE), "{sockets}");
}
