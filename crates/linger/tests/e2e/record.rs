//! `linger record`, and `linger check --from` of what it wrote.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use linger_lab::{Client, Close, Host};
use linger_model::Addr;
use serde_json::Value;

use crate::oracles::zoo;
use crate::support::{
    LINGER, assert_valid, client, finish, lab, linger_on, run_all, schema, server, start, wait_for,
};

fn check_from(from: &Path, more: &[&str]) -> Value {
    let done =
        finish(Command::new(LINGER).args(["check", "--format", "json", "-v", "--from"]).arg(from).args(more));
    assert_eq!(done.stderr, "");
    assert!(matches!(done.status, Some(0..=2)), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

/// Starts a recording inside a host.
fn record(host: &Host, file: &Path, more: &[&str]) -> Child {
    let mut command = host.command(LINGER).unwrap();
    command.arg("record").arg("-o").arg(file).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_recording_reads_like_a_look_at_the_same_moment() {
    let Some(lab) = lab() else { return };
    let Some(_zoo) = zoo(&lab) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("incident.linger");
    let done =
        record(&lab.far, &file, &["--duration", "600ms", "--interval", "200ms"]).wait_with_output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("samples, "), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let report = check_from(&file, &[]);
    assert_valid(&schema("report"), &report);
    let states = linger_on(&lab.far, &["states", "--format", "json"]).json();
    for state in ["listen", "established", "close_wait", "bound_inactive", "closing"] {
        assert_eq!(report["states"][state], states["states"][state], "{state}");
    }
    assert_eq!(report["source"], "sock_diag");
    let length = report["interval_s"].as_f64().unwrap();
    assert!(length > 0.0, "{report:#}");
    let what = report["imported"]["pieces"][0]["what"].as_str().unwrap();
    assert!(what.starts_with("recording of linger"), "{what}");
    // From its end on; what is beyond is its last sample, too.
    let part = check_from(&file, &["--between", &format!("{length}s,1h")]);
    assert_eq!(part["interval_s"], 0.0);
    let all = check_from(&file, &["--between", "0s,1h"]);
    assert_eq!(all["interval_s"], length);

    // From a pipe, and packed once more.
    let packed = folder.path().join("incident.linger.gz");
    let gzip = Command::new("gzip").arg("-c").arg(&file).output().unwrap();
    assert!(gzip.status.success(), "{gzip:?}");
    fs::write(&packed, gzip.stdout).unwrap();
    let between = ["--between", "0s,300ms"];
    let part = check_from(&file, &between);
    for path in [&file, &packed] {
        let piped = Command::new("sh")
            .args(["-c", "cat \"$0\" | \"$@\""])
            .arg(path)
            .arg(LINGER)
            .args(["check", "--format", "json", "-v", "--from", "-"])
            .args(between)
            .output()
            .unwrap();
        let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
        assert_eq!((&piped["states"], &piped["interval_s"]), (&part["states"], &part["interval_s"]));
        assert_eq!(piped["imported"]["pieces"][0]["what"], part["imported"]["pieces"][0]["what"]);
    }
    assert_eq!(check_from(&packed, &between)["states"], part["states"]);
    // To a pipe, as through ssh.
    let mut command = lab.far.command(LINGER).unwrap();
    let piped =
        command.args(["record", "-o", "-", "--duration", "100ms", "--interval", "50ms"]).output().unwrap();
    assert!(piped.status.success(), "{piped:?}");
    fs::write(&packed, piped.stdout).unwrap();
    assert_eq!(check_from(&packed, &[])["states"]["listen"], report["states"]["listen"]);

    // It is there already.
    let again = record(&lab.far, &file, &[]).wait_with_output().unwrap();
    assert_eq!(again.status.code(), Some(3));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already"));
    for (args, word) in [(["--between", "5s,1s"], "earlier"), (["--between", "100s,200s"], "s long")] {
        let done = finish(Command::new(LINGER).args(["check", "--from"]).arg(&file).args(args));
        assert!(done.status == Some(3) && done.stderr.contains(word), "{done:?}");
    }
}

#[test]
fn a_recording_that_was_killed_opens_up_to_its_last_whole_sample() {
    let Some(lab) = lab() else { return };
    let _listener = lab.near.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8080)).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("killed.linger");
    let mut child = record(&lab.near, &file, &["--duration", "1h", "--interval", "50ms"]);
    let size = || fs::metadata(&file).map_or(0, |about| about.len());
    // The head, and the larger part of what three samples take.
    wait_for("samples are written", || size() > 200);
    let one = size();
    wait_for("more samples are written", || size() > one * 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let whole = fs::read(&file).unwrap();
    let report = check_from(&file, &[]);
    assert_eq!(report["states"]["listen"], 1);
    assert!(report["interval_s"].as_f64().unwrap() > 0.0);
    // As if the power had failed within a sample.
    fs::write(&file, &whole[..whole.len() - 5]).unwrap();
    let shorter = check_from(&file, &[]);
    assert!(shorter["interval_s"].as_f64().unwrap() < report["interval_s"].as_f64().unwrap());
    let reason = shorter["imported"]["skipped"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("breaks off"), "{reason}");
    // And within the first, or as another version.
    for (bytes, word) in [(whole[..150].to_vec(), "first whole sample"), (later(&whole), "version 7")] {
        fs::write(&file, bytes).unwrap();
        let done = finish(Command::new(LINGER).args(["check", "--from"]).arg(&file));
        assert!(done.status == Some(3) && done.stderr.contains(word), "{done:?}");
    }
}

fn later(recording: &[u8]) -> Vec<u8> {
    let mut bytes = recording.to_vec();
    bytes[8] = 7;
    bytes
}

#[test]
fn hidden_addresses_are_not_in_the_file() {
    let Some(lab) = lab() else { return };
    let (near, far) = (&lab.near, &lab.far);
    let _server = start(far, server());
    // Held, so that the counts stay as they are.
    let _client = run_all(near, Client { close: Close::Never, ..client(20) });
    let folder = tempfile::tempdir().unwrap();
    let recorded = |name: &str, more: &[&str]| {
        let file = folder.path().join(name);
        let mut args = vec!["--duration", "100ms", "--interval", "50ms"];
        args.extend(more);
        let done = record(near, &file, &args).wait_with_output().unwrap();
        assert!(done.status.success(), "{done:?}");
        file
    };
    let open = recorded("open", &[]);
    let hidden = recorded("hidden", &["--redact", "addresses"]);
    let nameless = recorded("nameless", &["--redact", "all"]);
    let secrets: Vec<Vec<u8>> = ["10.77.0.1", "10.77.0.2"]
        .into_iter()
        .flat_map(|text| {
            let addr = Addr::from(text.parse::<Ipv4Addr>().unwrap());
            [text.as_bytes().to_vec(), addr.bytes()[10..].to_vec()]
        })
        .collect();
    let holds = |bytes: &[u8], secret: &[u8]| bytes.windows(secret.len()).any(|w| w == secret);
    for file in [&hidden, &nameless] {
        let packed = fs::read(file).unwrap();
        let unpacked = unpacked(&packed);
        for secret in &secrets {
            assert!(
                !holds(&packed, secret) && !holds(&unpacked, secret),
                "{}",
                String::from_utf8_lossy(secret)
            );
        }
    }
    assert!(secrets.iter().any(|secret| holds(&unpacked(&fs::read(&open).unwrap()), secret)));
    // Arguments may be passwords: they are in no recording.
    assert!(processes(near).iter().any(|line| holds(line, b"__actor")));
    for file in [&open, &hidden, &nameless] {
        assert!(!holds(&unpacked(&fs::read(file).unwrap()), b"__actor"));
    }
    // The counts are the same, and the destination is one still.
    let (seen, masked) = (check_from(&open, &[]), check_from(&nameless, &[]));
    assert_eq!(seen["states"]["established"], masked["states"]["established"]);
    let ports = |report: &Value| {
        let rows =
            report["headroom"].as_array().unwrap().iter().filter(|row| row["resource"] == "local ports");
        rows.map(|row| (row["used"].clone(), row["subject"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(ports(&seen).len(), ports(&masked).len());
    assert_eq!(ports(&seen)[0].0, ports(&masked)[0].0);
    assert!(ports(&masked)[0].1.as_str().unwrap().contains("240.0.0."), "{:?}", ports(&masked));
}

/// The command lines of the processes that hold sockets in a namespace.
fn processes(host: &Host) -> Vec<Vec<u8>> {
    let pids = crate::support::ss(host, &["-Htanp"]);
    let pids = pids.split("pid=").skip(1).filter_map(|rest| rest.split([',', ')']).next());
    pids.filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok()).collect()
}

/// All frames' content.
fn unpacked(recording: &[u8]) -> Vec<u8> {
    let mut rest = &recording[12..];
    let mut all = Vec::new();
    while let [head, ..] = [rest.get(..16)]
        && let Some(head) = head
    {
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap()) as usize;
        let (packed, length) = (number(4), number(8));
        all.extend(lz4_flex::block::decompress(&rest[16..16 + packed], length).unwrap());
        rest = &rest[16 + packed..];
    }
    all
}
