//! `linger check --from`: what other programs print of sockets, beside linger's own reading of the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use linger_collect::{Depth, Sampler, SamplerOptions};
use linger_import::{Feed, Options, Survey};
use linger_lab::Host;
use linger_model::aggregate::Gather;
use linger_model::snapshot::Processes;
use linger_model::{Snapshot, SocketTable, State};
use linger_netns::Netns;
use serde_json::Value;

use crate::oracles::zoo;
use crate::support::{LINGER, assert_valid, finish, in_ci, lab, schema, ss, wait_for};

const HOUR: u32 = 3_600_000;

fn import(name: &str, text: &str) -> Snapshot {
    let mut survey = Survey::new(Options { sysctls: Vec::new(), idle_ms: HOUR, stuck_ms: HOUR });
    survey.begin(name);
    survey.feed(text.as_bytes());
    survey.end();
    let imported = survey.finish().run("test", 0, |feed| {
        feed(Feed::Begin(name));
        feed(Feed::Bytes(text.as_bytes()));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    let imported = imported.unwrap();
    assert!(imported.account.skipped.is_empty(), "{:?}", imported.account);
    imported.snapshot
}

fn live(host: &Host) -> Snapshot {
    host.run(|| {
        let options = SamplerOptions {
            gather: Gather::CHECK,
            sysctls: Vec::new(),
            idle_ms: HOUR,
            stuck_ms: HOUR,
            trace: None,
        };
        Sampler::new(options).sample(&[Netns::current().unwrap()], Depth::Full).remove(0)
    })
    .unwrap()
}

/// Every count that does not change while nothing happens, in words.
fn summary(table: &SocketTable, processes: &Processes) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let who = |index: Option<u32>| {
        index.and_then(|i| processes.get(i)).map_or("nobody".to_owned(), |p| format!("{} {}", p.pid, p.comm))
    };
    for state in State::ALL.into_iter().filter(|s| *s != State::BoundInactive) {
        all.insert(state.to_string(), format!("{:?}", table.states.get(state)));
    }
    all.insert("FIN_WAIT2 minisockets".to_owned(), table.fin_wait2_mini.to_string());
    all.insert("orphans".to_owned(), table.orphans.to_string());
    for group in table.tuples.iter() {
        let v = &group.value;
        let path = &v.path;
        all.insert(
            format!("{:?}", group.key),
            format!(
                "{:?} in range {} first {} owner {} ts {}/{} out {} retransmitting {} total {} syn {} zero {}",
                v.states(),
                v.in_range(),
                v.first_parity(),
                who(v.owner),
                path.timestamps,
                path.no_timestamps,
                path.segs_out > 0,
                path.retransmitting > 0,
                path.total_retrans > 0,
                v.syn_retransmitting() > 0,
                path.zero_window
            ),
        );
    }
    for group in table.clients.iter() {
        let v = &group.value;
        all.insert(
            format!("client {}", group.key),
            format!("{:?} {} {} {}", v.states, v.path.timestamps, v.path.no_timestamps, who(v.owner)),
        );
    }
    for point in &table.listeners {
        let mut sockets: Vec<String> = point
            .sockets
            .iter()
            .map(|s| {
                let of = who(s.owner);
                format!(
                    "{:?} {} {:?} {:?} inode {} uid {} cookie {} {of}",
                    s.family, s.queue, s.limit, s.drops, s.inode, s.uid, s.cookie
                )
            })
            .collect();
        sockets.sort();
        all.insert(
            format!("listener {}:{}", point.addr, point.port),
            format!("{sockets:?} {} {} {:?}", point.half_open, point.unaccepted, point.states),
        );
    }
    for (holder, held) in &table.holders {
        let close_wait = &held.close_wait;
        // ss 6.1 lists no bound sockets.
        let mut states = held.states;
        states[State::BoundInactive as usize] = 0;
        if states.iter().all(|n| *n == 0) {
            continue;
        }
        all.insert(
            format!("holder {}", who(*holder)),
            format!(
                "{:?} accepted {} outgoing {} unread {} close_wait {} {} {}",
                states,
                held.accepted,
                held.outgoing,
                held.unread_bytes,
                close_wait.read,
                close_wait.unread,
                close_wait.age_unknown
            ),
        );
    }
    for group in table.close_wait_peers.iter() {
        let key = &group.key;
        all.insert(
            format!("close_wait {} {}:{} {}", who(key.process), key.addr, key.port, key.accepted),
            group.count().to_string(),
        );
    }
    for group in table.syn_recv_sources.iter() {
        all.insert(format!("half-open from {}", group.key), group.count().to_string());
    }
    all
}

fn of(snapshot: &Snapshot) -> BTreeMap<String, String> {
    summary(snapshot.sockets.as_ref().unwrap(), snapshot.host.processes.as_ref().unwrap())
}

#[test]
fn an_import_of_ss_agrees_with_a_reading_on_every_count() {
    let Some(lab) = lab() else { return };
    let Some(_zoo) = zoo(&lab) else { return };
    for host in [&lab.near, &lab.far] {
        for options in ["-tanpoemi", "-Htanpoemi", "-OHtanpoemi"] {
            // Timers and requests go on: what a reading before and one after agree on is compared.
            let mut last = None;
            wait_for("two readings agree", || {
                let before = of(&live(host));
                let said = of(&import("-", &ss(host, &[options])));
                let after = of(&live(host));
                let rest = before == after;
                last = Some((said, after));
                rest
            });
            let Some((said, read)) = last else { unreachable!() };
            let keys: BTreeSet<&String> = said.keys().chain(read.keys()).collect();
            let differ: Vec<_> = keys
                .into_iter()
                .filter(|key| said.get(*key) != read.get(*key))
                .map(|key| format!("{key}\n  ss:     {:?}\n  linger: {:?}", said.get(key), read.get(key)))
                .collect();
            assert!(differ.is_empty(), "{options}:\n{}", differ.join("\n"));
            assert!(said.len() > 20);
        }
    }
}

/// The command's JSON, and its status.
fn check_from(from: &Path, more: &[&str]) -> (Value, i32) {
    let done =
        finish(Command::new(LINGER).args(["check", "--format", "json", "--from"]).arg(from).args(more));
    assert_eq!(done.stderr, "");
    (serde_json::from_str(&done.stdout).unwrap(), done.status.unwrap())
}

#[test]
fn programs_of_every_kind_are_read_from_a_folder_like_a_sosreport() {
    let Some(lab) = lab() else { return };
    let Some(_zoo) = zoo(&lab) else { return };
    let host = &lab.far;
    for program in ["netstat", "lsof", "nstat", "sysctl"] {
        if host
            .command(program)
            .unwrap()
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_err()
        {
            assert!(!in_ci(), "{program} is missing");
            println!("SKIPPED: {program} is missing");
            return;
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("sosreport-far-2020");
    let networking = base.join("sos_commands/networking");
    fs::create_dir_all(&networking).unwrap();
    let write = |name: &str, program: &str, args: &[&str]| {
        let output = host.command(program).unwrap().args(args).output().unwrap();
        fs::write(networking.join(name), output.stdout).unwrap();
    };
    write("ss_-peaonmi", "ss", &["-peaonmi"]);
    write("netstat_-W_-neopa", "netstat", &["-W", "-neopa"]);
    write("netstat_-s", "netstat", &["-s"]);
    write("nstat_-zas", "nstat", &["-zas"]);
    write("lsof_-i", "lsof", &["-i", "-n", "-P"]);
    fs::create_dir_all(base.join("sos_commands/kernel")).unwrap();
    let settings = host.command("sysctl").unwrap().arg("-a").output().unwrap();
    fs::write(base.join("sos_commands/kernel/sysctl_-a"), settings.stdout).unwrap();
    fs::create_dir_all(base.join("proc/net")).unwrap();
    for name in ["sockstat", "sockstat6", "snmp", "netstat", "tcp", "tcp6"] {
        let text = host.run(|| fs::read(format!("/proc/thread-self/net/{name}")).unwrap()).unwrap();
        fs::write(base.join("proc/net").join(name), text).unwrap();
    }
    let truth = of(&live(host));
    let count =
        |state: &str| truth[state].trim_start_matches("Some(").trim_end_matches(')').parse::<u64>().unwrap();
    for from in [folder.path(), &base] {
        let (report, status) = check_from(from, &["-v"]);
        assert_valid(&schema("report"), &report);
        for (name, state) in
            [("listen", "LISTEN"), ("established", "ESTABLISHED"), ("close_wait", "CLOSE_WAIT")]
        {
            assert_eq!(report["states"][name], count(state), "{state}");
        }
        assert_eq!(report["source"], "import");
        let imported = &report["imported"];
        let pieces = imported["pieces"].as_array().unwrap();
        let used = |what: &str| {
            let of_kind = |p: &&Value| p["what"] == what;
            pieces.iter().filter(of_kind).any(|p| p["unused"] == "")
        };
        for what in ["ss", "netstat -s", "nstat", "sysctl", "/proc/net/sockstat"] {
            assert!(used(what), "{what}: {pieces:?}");
        }
        assert!(!used("netstat") && !used("/proc/net/tcp") && !used("lsof"), "{pieces:?}");
        // Enough was there to judge by: the rest needs a second sample, or the host itself.
        assert_ne!(report["verdict"], "unknown", "{report:#}");
        assert!(status <= 2);
    }
    // The same packed, as sos leaves it.
    fs::create_dir_all(base.join("proc/sys/net/ipv4")).unwrap();
    fs::write(base.join("proc/sys/net/ipv4/tcp_tw_reuse"), "1\n").unwrap();
    fs::write(base.join("proc/large"), vec![7; 3 << 20]).unwrap();
    let (open, _) = check_from(&base, &["-v"]);
    for (flag, ending) in [("-cf", "tar"), ("-czf", "tar.gz"), ("-cJf", "tar.xz")] {
        let packed = folder.path().join(format!("sos.{ending}"));
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(folder.path()).arg(flag).arg(&packed).arg("./sosreport-far-2020");
        let done = finish(&mut tar);
        if done.status != Some(0) {
            assert!(!in_ci(), "tar or xz is missing: {done:?}");
            println!("SKIPPED: tar or xz is missing");
            continue;
        }
        let (report, _) = check_from(&packed, &["-v"]);
        // The same from a pipe, which can be read only once.
        let piped = Command::new(LINGER)
            .args(["check", "--format", "json", "-v", "--from", "-"])
            .stdin(fs::File::open(&packed).unwrap())
            .output()
            .unwrap();
        let piped: Value = serde_json::from_slice(&piped.stdout).unwrap();
        assert_eq!(piped["states"], report["states"]);
        assert_eq!(piped["imported"]["pieces"], report["imported"]["pieces"]);
        assert_eq!(piped["imported"]["from"], "standard input");
        // Only the names differ, and when it was written.
        let told = |report: &Value| {
            let list = |name: &str| report["imported"][name].to_string().replace("sosreport-far-2020/", "");
            (report["states"].clone(), report["findings"].clone(), list("pieces"), list("skipped"))
        };
        assert_eq!(told(&report), told(&open), "{ending}");
        // Cut short, damaged.
        let bytes = fs::read(&packed).unwrap();
        let cut = folder.path().join("cut");
        fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
        let done = finish(Command::new(LINGER).args(["check", "--from"]).arg(&cut));
        assert!(done.status == Some(3) && done.stderr.contains("cannot read"), "{done:?}");
        fs::remove_file(&packed).unwrap();
    }
    fs::remove_file(folder.path().join("cut")).unwrap();
    // A single output, packed for itself.
    let one = folder.path().join("ss_-peaonmi");
    fs::copy(networking.join("ss_-peaonmi"), &one).unwrap();
    assert_eq!(finish(Command::new("gzip").arg(&one)).status, Some(0));
    let packed = folder.path().join("ss_-peaonmi.gz");
    let (report, _) = check_from(&packed, &[]);
    assert_eq!(report["states"]["close_wait"], count("CLOSE_WAIT"));
    fs::remove_file(&packed).unwrap();
    // The sockets alone, by each of the other tables.
    for (name, file) in
        [("netstat", networking.join("netstat_-W_-neopa")), ("lsof", networking.join("lsof_-i"))]
    {
        let (report, _) = check_from(&file, &[]);
        assert_eq!(report["states"]["listen"], count("LISTEN"), "{name}");
        assert_eq!(report["states"]["time_wait"].is_null(), name == "lsof");
    }
    let (report, _) = check_from(&base.join("proc/net"), &[]);
    assert_eq!(report["states"]["established"], count("ESTABLISHED"));
}

#[test]
fn what_cannot_be_imported_is_told_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |from: &Path| {
        let done = finish(Command::new(LINGER).args(["check", "--from"]).arg(from));
        assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""));
        done.stderr
    };
    assert!(refused(&folder.path().join("none")).contains("No such file"));
    assert!(refused(folder.path()).contains("no sos_commands"));
    let packed = folder.path().join("sos.tar.xz");
    fs::write(&packed, b"\xfd7zXZ\0rest").unwrap();
    assert!(refused(&packed).contains("sos.tar.xz"));
    for (bytes, name) in [(&b"BZh91AY"[..], "bzip2"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")] {
        fs::write(&packed, bytes).unwrap();
        let said = refused(&packed);
        assert!(said.contains(name) && said.contains("unpack it"), "{said}");
    }
    fs::remove_file(&packed).unwrap();
    for host in ["a", "b"] {
        let place = folder.path().join("nodes").join(host);
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("ss_-tan"), "ESTAB 0 0 10.0.0.1:80 10.0.0.2:5555\n").unwrap();
    }
    let said = refused(folder.path());
    assert!(said.contains("2 hosts") && said.contains("nodes/a"), "{said}");
    let (report, _) = check_from(&folder.path().join("nodes/a"), &[]);
    assert_eq!(report["states"]["established"], 1);
}

#[test]
fn what_nothing_is_known_of_is_no_host_without_faults() {
    let folder = tempfile::tempdir().unwrap();
    let (file, page) = (folder.path().join("input"), folder.path().join("page.html"));
    let known = folder.path().join("known");
    fs::write(&known, "ESTAB 0 0 10.0.0.1:80 10.0.0.2:5555\n").unwrap();
    let windows = "Active Connections\n\n  Proto  Local Address  Foreign Address  State\n";
    for (bytes, word) in [
        (&b""[..], "nothing that is known"),
        (b"Dear support,\n", "not the output of a program"),
        (&[0; 5000], "not the output of a program"),
        (windows.as_bytes(), "this is Windows's netstat"),
    ] {
        fs::write(&file, bytes).unwrap();
        let done = finish(Command::new(LINGER).args(["check", "--from"]).arg(&file));
        let first = done.stdout.lines().next().unwrap();
        assert!(first.starts_with("UNKNOWN  nothing in it can be used"), "{first}");
        assert!(!done.stdout.contains("TCP sockets"), "{}", done.stdout);
        let words = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(word), "{words}");
        assert_eq!(done.status, Some(3));
        // It is no side to compare, and its page says the same.
        let done = finish(Command::new(LINGER).arg("diff").args([&file, &known]));
        assert!(done.status == Some(3) && done.stderr.contains("can be used"), "{done:?}");
        let done = finish(Command::new(LINGER).args(["report", "--from"]).args([&file]).arg("-o").arg(&page));
        assert_eq!(done.status, Some(0));
        let html = fs::read_to_string(&page).unwrap();
        assert!(html.contains("nothing in it can be used") && html.contains("not known"), "{html}");
        fs::remove_file(&page).unwrap();
    }
}

#[test]
fn what_shows_no_queues_says_nothing_of_reading() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lsof");
    let mut text = String::from("COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n");
    for i in 0..150 {
        text.push_str(&format!(
            "shop 77 root {i}u IPv4 {} 0t0 TCP 10.0.0.1:{}->10.0.0.2:80 (CLOSE_WAIT)\n",
            900 + i,
            40_000 + i
        ));
    }
    fs::write(&file, text).unwrap();
    let (report, _) = check_from(&file, &[]);
    let finding = report["findings"].as_array().unwrap().iter().find(|f| f["code"] == "CW001").unwrap();
    let summary = finding["summary"].as_str().unwrap();
    assert!(summary.contains("150 CLOSE_WAIT") && summary.contains("is not known"), "{summary}");
    assert!(!finding["evidence"].to_string().contains("Recv-Q"), "{finding:#}");
}

#[test]
fn what_to_add_to_a_paste_stands_in_the_first_lines() {
    let folder = tempfile::tempdir().unwrap();
    let paste = folder.path().join("paste");
    fs::write(
        &paste,
        "State Recv-Q Send-Q Local Address:Port Peer Address:Port\nESTAB 0 0 10.0.0.1:80 10.0.0.2:5\n",
    )
    .unwrap();
    let done = finish(Command::new(LINGER).args(["check", "--from"]).arg(&paste).env("COLUMNS", "80"));
    // Before the first table, with each command on one line.
    let (first, _) = done.stdout.split_once("\n\n").unwrap();
    let words = first.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        words.contains("To answer more, add the output of `sudo ss -tanpoemi`, `nstat -az`, `sysctl net`"),
        "{first}"
    );
    for command in ["`sudo ss -tanpoemi`", "`nstat -az`", "`sysctl net`", "`cat /proc/net/sockstat`"] {
        assert!(first.contains(command), "{first}");
    }
}

#[test]
fn what_is_piped_in_is_read_twice() {
    use std::io::Write;
    // More than is kept in memory.
    let mut text = String::from(
        "State Recv-Q Send-Q Local Address:Port Peer Address:Port\nLISTEN 0 128 0.0.0.0:80 0.0.0.0:*\n",
    );
    for i in 0..150_000 {
        let port = 1024 + i % 60_000;
        text.push_str(&format!("ESTAB      0      0      10.0.0.1:80      10.0.{}.2:{port}\n", i / 60_000));
    }
    text = text.repeat(2);
    assert!(text.len() > 8 << 20);
    let mut child = Command::new(LINGER)
        .args(["check", "--from", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    // The second table is another piece with the same states.
    assert_eq!(report["imported"]["pieces"].as_array().unwrap().len(), 2);
    assert_eq!(report["states"]["established"], 150_000);
}
