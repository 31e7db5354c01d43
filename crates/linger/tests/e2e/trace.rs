//! `linger trace`: what it says of TIME_WAIT sockets' owners against what each process counted itself.

use std::fs;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use linger_lab::{Behaviour, Client, Close, Host, Server};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::*;

/// A trace that runs, and the schema of its report.
struct Tracing(Child, &'static str);

/// Traces a host until [`Tracing::end`]; nothing, and a word about it, where that cannot be done. In CI it must be.
fn trace(host: &Host, args: &[&str]) -> Option<Tracing> {
    begin_trace(host, &["trace"], args, "trace", Tracing::is_attached)
}

fn handshakes(host: &Host, args: &[&str]) -> Option<Tracing> {
    let sees_packets = |_: &Tracing| {
        let done = finish(host.command("cat").unwrap().arg("/proc/thread-self/net/packet"));
        done.stdout.lines().any(|l| l.split_ascii_whitespace().nth(3) == Some("0003"))
    };
    begin_trace(host, &["trace", "handshakes"], args, "trace-handshakes", sees_packets)
}

fn drops(host: &Host) -> Option<Tracing> {
    if !kernel_knows("skb_drop_reason") {
        assert!(!in_ci(), "no drop reasons");
        println!("SKIPPED: this kernel gives no reasons for drops (before Linux 5.17)");
        return None;
    }
    begin_trace(host, &["trace", "drops"], &[], "trace-drops", Tracing::is_attached)
}

/// Whether a name is among the kernel's types.
fn kernel_knows(name: &str) -> bool {
    let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    types.windows(name.len()).any(|at| at == name.as_bytes())
}

fn begin_trace(
    host: &Host,
    command: &[&str],
    args: &[&str],
    schema: &'static str,
    is_ready: impl Fn(&Tracing) -> bool,
) -> Option<Tracing> {
    let mut linger = Command::new(LINGER);
    linger.args(command).args(["--duration", "1h", "--format", "json"]).args(args);
    linger.arg("--netns").arg(host.path());
    linger.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    until(Tracing(linger.spawn().unwrap(), schema), is_ready)
}

/// Waits until a trace is so far; `None` where the kernel refuses it.
fn until(mut tracing: Tracing, mut is_ready: impl FnMut(&Tracing) -> bool) -> Option<Tracing> {
    let start = Instant::now();
    while !is_ready(&tracing) {
        if let Some(status) = tracing.0.try_wait().unwrap() {
            let mut said = String::new();
            tracing.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(!in_ci() && status.code() == Some(3), "{status}: {said}");
            println!("SKIPPED: {said}");
            return None;
        }
        assert!(start.elapsed() < PATIENCE, "not ready within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(tracing)
}

impl Tracing {
    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it holds a link to a tracepoint.
    fn is_attached(&self) -> bool {
        self.links() > 0
    }

    /// Tracepoints; a walk over the sockets has a link, too.
    fn links(&self) -> usize {
        let Ok(fds) = fs::read_dir(format!("/proc/{}/fdinfo", self.pid())) else { return 0 };
        let told = fds.flatten().filter_map(|fd| fs::read_to_string(fd.path()).ok());
        let kind = |it: String| Some(it.lines().find_map(|l| l.strip_prefix("link_type:"))?.trim() != "iter");
        told.filter_map(kind).filter(|is_tracepoint| *is_tracepoint).count()
    }

    /// Ctrl-C; the report.
    fn end(mut self) -> Value {
        kill_process(Pid::from_child(&self.0), Signal::INT).unwrap();
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        let mut errors = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        assert_eq!((self.0.wait().unwrap().code(), errors.as_str()), (Some(0), ""));
        let report = serde_json::from_str(&said).unwrap();
        assert_valid(&schema(self.1), &report);
        report
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A figure of the rows of a process (or of those that `which` chooses), summed up.
fn sum(report: &Value, figure: &str, which: impl Fn(&Value) -> bool) -> u64 {
    let rows = report["rows"].as_array().unwrap();
    rows.iter().filter(|row| which(row)).map(|row| row[figure].as_u64().unwrap()).sum()
}

fn of(pid: u32) -> impl Fn(&Value) -> bool {
    move |row| row["pid"] == pid
}

#[track_caller]
fn assert_nothing_lost(report: &Value) {
    for (what, n) in report["lost"].as_object().unwrap() {
        // An interrupt may come at any time.
        assert!(n == 0 || what == "missed", "{what}: {report:#}");
    }
}

/// A cgroup that is gone afterwards.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> std::io::Result<Cgroup> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mount = mounts.lines().find_map(|l| {
            let words: Vec<&str> = l.split(' ').collect();
            (words.get(2) == Some(&"cgroup2")).then(|| words[1].to_owned())
        });
        let mount = mount.ok_or(std::io::ErrorKind::NotFound)?;
        let path = Path::new(&mount).join(format!("linger-test-{}-{name}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Cgroup(path))
    }

    fn take_in(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }

    /// As the report has it.
    fn name(&self) -> String {
        self.0.file_name().unwrap().to_str().unwrap().to_owned()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process leaves its cgroup a moment after it was waited for.
        let start = Instant::now();
        while fs::remove_dir(&self.0).is_err() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// TIME_WAIT sockets live for 60 s; a machine that takes longer proves nothing about them.
const YOUNG: Duration = Duration::from_secs(45);

#[test]
fn each_time_wait_socket_goes_to_the_process_and_cgroup_that_made_it() {
    let Some(lab) = heavy_lab() else { return };
    let _server = start(&lab.far, server());
    let cgroups = match (Cgroup::new("a"), Cgroup::new("b")) {
        (Ok(a), Ok(b)) => Some([a, b]),
        (Err(error), _) | (_, Err(error)) => {
            assert!(!in_ci(), "cgroup v2: {error}");
            println!("SKIPPED: no cgroup v2 to write to ({error}): only processes are compared");
            None
        }
    };
    let Some(by_process) = trace(&lab.near, &["--top", "1000"]) else { return };
    let by_container = trace(&lab.near, &["--by", "container"]).unwrap();
    let began = Instant::now();
    // All go to the same place at the same time, so that neither tells whose a socket is.
    let counts = [700, 900, 1100];
    let clients: Vec<_> = counts
        .iter()
        .enumerate()
        .map(|(i, n)| {
            let actor = start(&lab.near, Client { concurrency: 16, comm: format!("shop{i}"), ..client(*n) });
            if let Some(cgroups) = &cgroups {
                cgroups[i / 2].take_in(actor.pid());
            }
            actor
        })
        .collect();
    clients.iter().for_each(|it| it.go().unwrap());
    let own: Vec<u64> = clients.iter().map(|it| it.done(PATIENCE).unwrap().succeeded).collect();
    let all: u64 = own.iter().sum();
    // The last FIN is answered by now, or soon.
    wait_for("no connection is left", || {
        let states = lab.near.tcp_states().unwrap();
        states.keys().all(|state| ["time_wait", "listen"].contains(state))
    });
    let (report, groups) = (by_process.end(), by_container.end());
    let is_young = began.elapsed() < YOUNG;
    assert_nothing_lost(&report);
    for (client, own) in clients.iter().zip(&own) {
        let which = of(client.pid() as u32);
        assert_eq!(sum(&report, "opened", &which), *own, "{report:#}");
        assert_eq!(sum(&report, "closed_first", &which), *own, "{report:#}");
        assert_eq!(sum(&report, "closed_after_peer", &which), 0, "{report:#}");
        assert!(sum(&report, "time_wait", &which) <= *own, "another's: {report:#}");
        if is_young {
            assert_eq!(sum(&report, "time_wait", &which), *own, "{report:#}");
        }
        let rows = report["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| which(row)).unwrap();
        assert_eq!((row["comm"].as_str(), row["role"].as_str()), (Some(client.comm()), Some("connect")));
        assert_eq!(row["endpoint"], SERVICE);
    }
    assert_eq!(
        (report["total"]["opened"].as_u64(), report["total"]["closed_first"].as_u64()),
        (Some(all), Some(all))
    );
    // None made during the trace is nobody's.
    assert_eq!(report["time_wait_unknown"], 0);
    assert!(report["lifetimes_closed_here"]["p99_us"].as_u64().is_some_and(|p99| p99 > 0), "{report:#}");
    if let Some(cgroups) = &cgroups {
        for (cgroup, own) in cgroups.iter().zip([own[0] + own[1], own[2]]) {
            let which = |row: &Value| row["container"].as_str().is_some_and(|c| c.ends_with(&cgroup.name()));
            assert_eq!(sum(&groups, "closed_first", which), own, "{groups:#}");
            if is_young {
                assert_eq!(sum(&groups, "time_wait", which), own, "{groups:#}");
            }
        }
    }
    clients.iter().for_each(|it| drop(it.release()));
}

#[test]
fn what_a_server_closes_first_is_the_servers() {
    let Some(lab) = lab() else { return };
    // A backlog of 0 leaves no mark on what was accepted.
    let servers: Vec<_> = [(80, 128), (81, 0)]
        .map(|(port, backlog)| Server {
            listen: vec![format!("10.77.0.2:{port}").parse().unwrap()],
            backlog,
            behaviour: Behaviour::CloseFirst,
            ..Server::default()
        })
        .map(|spec| start(&lab.far, spec))
        .into();
    let Some(tracing) = trace(&lab.far, &[]) else { return };
    let by_listener = trace(&lab.far, &["--by", "listener"]).unwrap();
    let began = Instant::now();
    for (port, n) in [(80, 120), (81, 40)] {
        let targets = vec![format!("10.77.0.2:{port}").parse().unwrap()];
        // One at a time: a queue without room refuses the second.
        let spec = Client { targets, close: Close::ServerFirst, concurrency: 1, ..client(n) };
        run_all(&lab.near, spec);
    }
    wait_for_states(&lab.far, &[("time_wait", 160)]);
    let (report, listeners) = (tracing.end(), by_listener.end());
    let is_young = began.elapsed() < YOUNG;
    for (server, port, n) in [(&servers[0], 80, 120), (&servers[1], 81, 40)] {
        let endpoint = format!("10.77.0.2:{port}");
        let which = |row: &Value| {
            of(server.pid() as u32)(row) && row["endpoint"] == endpoint && row["role"] == "accept"
        };
        assert_eq!(sum(&report, "closed_first", which), n, "{report:#}");
        let here = |row: &Value| row["endpoint"] == endpoint;
        assert_eq!(sum(&listeners, "closed_first", here), n, "{listeners:#}");
        let (accepted, missed) =
            (sum(&listeners, "accepted", here), listeners["lost"]["missed"].as_u64().unwrap());
        assert!(accepted <= n && accepted + missed >= n, "{listeners:#}");
        if is_young {
            assert_eq!(sum(&report, "time_wait", which), n, "{report:#}");
        }
    }
    // The accepting side asks for nothing.
    assert_eq!(report["total"]["opened"], 0);
}

#[test]
fn a_socket_passed_on_or_left_to_exit_belongs_to_who_closes_it() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let Some(tracing) = trace(&lab.near, &[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = UnixStream::pair().unwrap();
    let mut giver = part(&lab.near, "give", a.into());
    let mut taker = part(&lab.near, "take", b.into());
    let (mut leaver, forker) = (part(&lab.near, "exit", devnull()), fork(&lab.near, folder.path()));
    for child in [&mut giver, &mut taker, &mut leaver] {
        assert!(child.wait().unwrap().success());
    }
    let output = forker.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // The shell's child, which held the sockets last.
    let forked: u32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let report = tracing.end();
    assert_nothing_lost(&report);
    let figures = |pid: u32| (sum(&report, "opened", of(pid)), sum(&report, "closed_first", of(pid)));
    assert_eq!(figures(giver.id()), (PASSED as u64, 0), "{report:#}");
    assert_eq!(figures(taker.id()), (0, PASSED as u64), "{report:#}");
    assert_eq!(figures(leaver.id()), (PASSED as u64, PASSED as u64), "{report:#}");
    assert_eq!(figures(forked), (0, FORKED), "{report:#}");
    assert_eq!(report["time_wait_unknown"], 0, "{report:#}");
    let rows = report["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["kernel_thread"] == false), "{report:#}");
}

#[test]
fn failed_connects_are_told_apart() {
    let Some(lab) = lab() else { return };
    lab.near.sysctl("net.ipv4.tcp_tw_reuse", "0").unwrap();
    lab.near.sysctl("net.ipv4.ip_local_port_range", "40000 40009").unwrap();
    let _server = start(&lab.far, server());
    let Some(tracing) = trace(&lab.near, &[]) else { return };
    let (full, tried) = run(&lab.near, Client { close: Close::Never, concurrency: 32, ..client(14) });
    assert_eq!(tried.succeeded, 10, "{tried:?}");
    let refused = Client { targets: vec![address("10.77.0.2:9")], ..client(3) };
    let (_refused, _) = run(&lab.near, refused);
    let report = tracing.end();
    let rows = report["failed"].as_array().unwrap();
    let row = |endpoint: &str| rows.iter().find(|row| row["endpoint"] == endpoint).unwrap();
    assert_eq!((row(SERVICE)["no_port"].as_u64(), row(SERVICE)["refused"].as_u64()), (Some(4), Some(0)));
    assert_eq!(row(SERVICE)["process"].as_str().unwrap(), named(&full) + ")");
    // The answer comes in an interrupt, and may come while the CPU is counting another event.
    let refused = rows.iter().find(|row| row["endpoint"] == "10.77.0.2:9");
    let n = refused.map_or(0, |row| row["refused"].as_u64().unwrap());
    assert!(n <= 3 && n + report["lost"]["missed"].as_u64().unwrap() >= 3, "{report:#}");
}

#[test]
fn a_killed_trace_leaves_nothing_and_old_sockets_are_nobodys() {
    let Some(lab) = lab() else { return };
    let _server = start(&lab.far, server());
    let began = Instant::now();
    run_all(&lab.near, client(30));
    wait_for_states(&lab.near, &[("time_wait", 30)]);
    let Some(mut killed) = trace(&lab.near, &[]) else { return };
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    let pid = killed.pid();
    // Programs are named by who holds them, and freed a moment after the last descriptor.
    wait_for("its descriptors are closed", || !Path::new(&format!("/proc/{pid}/fd")).exists());
    let report = trace(&lab.near, &[]).unwrap().end();
    assert_eq!(report["total"]["closed_first"], 0, "{report:#}");
    if began.elapsed() < YOUNG {
        assert_eq!(
            (report["time_wait_unknown"].as_u64(), report["total"]["time_wait"].as_u64()),
            (Some(30), Some(30))
        );
    }
    assert_eq!(report["rows"].as_array().unwrap().len(), 0, "{report:#}");
}

#[test]
fn check_lays_time_wait_to_who_made_it() {
    let Some(lab) = heavy_lab() else { return };
    let _server = start(&lab.far, server());
    // A pool with many live connections to the same place, which closes none, is whom one would suspect.
    let _pool = run_all(&lab.near, Client { comm: "pool".into(), close: Close::Never, ..client(60) });
    let churner = begin(&lab.near, Client { comm: "churner".into(), ..load(150.0) });
    attempts(&churner, 600);
    let checked = check(&lab.near, &["--trace", "2s", "--select", "TW003"]);
    let unknown = checked.report["unknown"].to_string();
    if unknown.contains("owners of TIME_WAIT sockets") {
        assert!(!in_ci(), "{unknown}");
        println!("SKIPPED: {unknown}");
        return;
    }
    let [finding] = checked.of("TW003")[..] else { panic!("{checked:?}") };
    let summary = finding["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("in TIME_WAIT are from {}", named(&churner))), "{summary}");
    assert_eq!(finding["confidence"], "high", "{finding:#}");
    // Those from before the trace are nobody's.
    let of = |text: &str| text.replace(',', "").parse::<u64>().unwrap();
    let words: Vec<&str> = summary.split("; ").last().unwrap().split(' ').collect();
    assert!(of(words[0]) >= 1 && of(words[0]) + 100 <= of(words[3]), "{summary}");
    let seen = checked.figure("TW003", "TIME_WAIT sockets whose maker the trace has seen");
    let before = checked.figure("TW003", "TIME_WAIT sockets from before the trace");
    assert_eq!((seen, seen + before), (of(words[0]) as f64, of(words[3]) as f64), "{finding:#}");
}

/// `linger check` of a host beside a trace, while something happens; nothing where nothing can be traced.
fn check_traced(host: &Host, args: &[&str], meanwhile: impl FnOnce()) -> Option<Checked> {
    let mut linger = Command::new(LINGER);
    linger.args(["check", "--format", "json", "--trace", "1h"]).args(args).arg("--netns").arg(host.path());
    linger.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = Tracing(linger.spawn().unwrap(), "");
    let start = Instant::now();
    let mut ended = None;
    // It also looks at what is dropped, where the kernel gives reasons.
    let links = if kernel_knows("skb_drop_reason") { 2 } else { 1 };
    while ended.is_none() && checking.links() < links {
        ended = checking.0.try_wait().unwrap();
        assert!(start.elapsed() < PATIENCE, "not attached within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    if ended.is_none() {
        meanwhile();
        kill_process(Pid::from_child(&checking.0), Signal::INT).unwrap();
    }
    let (mut stdout, mut stderr) = (String::new(), String::new());
    checking.0.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    checking.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let checked = Checked::new(&Done { status: checking.0.wait().unwrap().code(), stdout, stderr });
    let unknown = checked.report["unknown"].to_string();
    if unknown.contains("owners of TIME_WAIT sockets") {
        assert!(!in_ci(), "{unknown}");
        println!("SKIPPED: {unknown}");
        return None;
    }
    Some(checked)
}

#[test]
fn check_tells_which_close_wait_was_there_before_the_trace() {
    let Some(lab) = lab() else { return };
    let leaky = Server { behaviour: Behaviour::NeverClose, comm: "leaky".into(), ..server() };
    let leaky = start(&lab.far, leaky);
    let close = |more: u64, all: u64| {
        run_all(&lab.near, client(more));
        leaky.wait_until(PATIENCE, |it| it.ended == all).unwrap();
    };
    close(110, 110);
    let soon = config("[CW001]\nmin_age_seconds = 1\n");
    let args = ["--config", path_of(&soon), "--select", "CW001"];
    let Some(checked) = check_traced(&lab.far, &args, || {
        close(40, 150);
        std::thread::sleep(Duration::from_millis(1100));
    }) else {
        return;
    };
    checked.assert_finding("CW001", "warning", &[&named(&leaky)]);
    assert_eq!(checked.figure("CW001", "whose peer closed before the trace"), 110.0, "{checked:?}");
    assert_eq!(checked.figure("CW001", "whose peer closed during the trace"), 40.0, "{checked:?}");
}

#[test]
fn check_tells_who_does_not_accept_and_why_the_kernel_drops() {
    let Some(lab) = lab() else { return };
    let hung = Server { behaviour: Behaviour::NeverAccept, backlog: 8, comm: "hung".into(), ..server() };
    let hung = start(&lab.far, hung);
    let knock = Client { requests: 0, close: Close::Never, connect_timeout_ms: Some(300), ..client(5) };
    let _first = run_all(&lab.near, knock.clone());
    let silence = "table inet lab { chain in { type filter hook input priority 0; \
                   tcp flags & (syn | ack | fin | rst) == ack drop; }; };";
    if !nft(&lab.far, silence) {
        return;
    }
    let mut clients = Vec::new();
    let Some(checked) = check_traced(&lab.far, &["--select", "LQ001"], || {
        // The last ACKs of eight more handshakes get lost; there is room for four of them when they come again.
        clients.push(run_all(&lab.near, Client { connections: 8, ..knock.clone() }));
        wait_for("half-open requests", || lab.far.tcp_states().unwrap().get("syn_recv") == Some(&8));
        let overflows = || counter(&lab.far, "TcpExt.ListenOverflows");
        let from = overflows();
        let mended = nft(&lab.far, "delete table inet lab");
        assert!(mended);
        wait_for("last ACKs that find no room", || overflows() > from);
        clients.push(begin(&lab.near, Client { connections: 1_000_000, rate: Some(50.0), ..knock }));
        wait_for_counter(&lab.far, "TcpExt.ListenOverflows", 30);
    }) else {
        return;
    };
    let finding = checked.assert_finding("LQ001", "critical", &[&named(&hung)]);
    assert!(finding["summary"].as_str().unwrap().contains("does not accept"), "{finding:#}");
    // A SYN that is dropped there has no reason, and an ACK only on later kernels.
    if kernel_knows("SKB_DROP_REASON_TCP_LISTEN_OVERFLOW") {
        let what = format!("final ACKs to {SERVICE} dropped for TCP_LISTEN_OVERFLOW");
        assert!(checked.figure("LQ001", &what) >= 1.0, "{finding:#}");
    }
}

/// A mount namespace with a BPF file system and a /run of its own.
struct Mounts(Child);

impl Mounts {
    fn new() -> Option<Mounts> {
        if !rustix::process::geteuid().is_root() {
            assert!(!in_ci(), "not root");
            println!("SKIPPED: not root");
            return None;
        }
        let mounts = "mount -t tmpfs run /run && mount -t bpf bpf /sys/fs/bpf && echo mounted && exec cat";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", mounts]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut mounts = Mounts(command.spawn().unwrap());
        let mut said = [0; 8];
        mounts.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"mounted\n");
        Some(mounts)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-m", "-t"]).arg(self.0.id().to_string()).arg(program);
        command
    }

    fn linger(&self, args: &[&str]) -> Done {
        finish(self.command(LINGER).args(args))
    }

    fn pins(&self) -> String {
        finish(self.command("ls").arg("/sys/fs/bpf")).stdout
    }

    /// A daemon that runs; nothing, and a word about it, where nothing can be traced.
    fn daemon(&self, args: &[&str]) -> Option<Tracing> {
        let mut command = self.command(LINGER);
        command.args(["trace", "--daemon"]).args(args).stdin(Stdio::null()).stderr(Stdio::piped());
        let daemon = Tracing(command.spawn().unwrap(), "");
        let daemon = until(daemon, |_| self.pins().contains("linger"))?;
        wait_for("it says that it runs", || self.status().0 == Some(0));
        Some(daemon)
    }

    fn status(&self) -> (Option<i32>, Value) {
        let done = self.linger(&["trace", "status", "--format", "json"]);
        let report = serde_json::from_str(&done.stdout).unwrap();
        assert_valid(&schema("trace-status"), &report);
        (done.status, report)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_daemon_remembers_owners_for_the_others_and_leaves_nothing() {
    let Some(lab) = heavy_lab() else { return };
    let Some(mounts) = Mounts::new() else { return };
    assert_eq!(mounts.status().0, Some(1));
    let Some(mut daemon) = mounts.daemon(&[]) else { return };
    let (_, status) = mounts.status();
    assert_eq!((&status["running"], &status["pid"]), (&true.into(), &daemon.pid().into()), "{status:#}");
    let second = mounts.linger(&["trace", "--daemon"]);
    assert_eq!((second.status, second.stdout.as_str()), (Some(3), ""), "{second:?}");
    assert!(second.stderr.contains(&format!("already (pid {})", daemon.pid())), "{second:?}");

    let _server = start(&lab.far, server());
    let churner = begin(&lab.near, Client { comm: "churner".into(), ..load(150.0) });
    attempts(&churner, 600);
    let near = lab.near.path();
    let near = near.to_str().unwrap();
    let on_near = |args: &[&str]| -> Value {
        let done = mounts.linger(&[args, &["--netns", near, "--format", "json"]].concat());
        serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"))
    };
    let states = on_near(&["states", "--by", "process", "--state", "time-wait"]);
    let groups = states["groups"]["groups"].as_array().unwrap();
    assert!(groups[0]["group"].as_str().unwrap().starts_with(&named(&churner)), "{states:#}");
    let others: u64 = groups[1..].iter().map(|g| g["count"].as_u64().unwrap()).sum();
    assert_eq!((groups[0]["count"].as_u64().unwrap() >= 100, others), (true, 0), "{states:#}");
    let ports = on_near(&["ports"]);
    let row = &ports["ports"][0];
    assert!(
        row["time_wait_process"].as_str().is_some_and(|it| it.starts_with(&named(&churner))),
        "{ports:#}"
    );
    let checked = on_near(&["check", "--select", "TW003"]);
    let summary = checked["findings"][0]["summary"].as_str().unwrap();
    assert!(summary.contains(&format!("in TIME_WAIT are from {}", named(&churner))), "{summary}");

    // Whatever takes samples knows them.
    let folder = tempfile::tempdir().unwrap();
    let recording = folder.path().join("recording");
    let recording = recording.to_str().unwrap();
    let recorded = mounts.linger(&["record", "-o", recording, "--duration", "1s", "--netns", near]);
    assert_eq!(recorded.status, Some(0), "{recorded:?}");
    let read = mounts.linger(&["check", "--from", recording, "--select", "TW003", "--format", "json"]);
    assert!(read.stdout.contains(&format!("in TIME_WAIT are from {}", named(&churner))), "{read:?}");

    let stopped = mounts.linger(&["trace", "stop"]);
    assert_eq!((stopped.status, stopped.stderr.as_str()), (Some(0), ""), "{stopped:?}");
    assert_eq!(daemon.0.wait().unwrap().code(), Some(0));
    assert!(!mounts.pins().contains("linger"), "{}", mounts.pins());
    assert_eq!(mounts.status().0, Some(1));

    let mut killed = mounts.daemon(&[]).unwrap();
    killed.0.kill().unwrap();
    killed.0.wait().unwrap();
    let (code, status) = mounts.status();
    assert_eq!((code, &status["stale"]), (Some(1), &true.into()), "{status:#}");
    let states = on_near(&["states", "--by", "process", "--state", "time-wait"]);
    assert!(states["unknown"].to_string().contains("linger trace stop"), "{states:#}");
    assert_eq!(mounts.linger(&["trace", "stop"]).status, Some(0));
    assert!(!mounts.pins().contains("linger") && mounts.status().1["stale"] == false);
}

#[test]
fn owners_without_room_are_told() {
    let Some(lab) = heavy_lab() else { return };
    let Some(mounts) = Mounts::new() else { return };
    let _server = start(&lab.far, server());
    // The smallest table.
    let Some(_daemon) = mounts.daemon(&["--owners", "1024"]) else { return };
    let lost = || mounts.status().1["owners_lost"].as_u64().unwrap();
    assert_eq!(lost(), 0);
    let mut crowding = part(&lab.near, "crowd", devnull());
    assert!(crowding.wait().unwrap().success());
    let n = lost();
    assert!(n > 0);
    let near = lab.near.path();
    let done = mounts.linger(&["check", "--netns", near.to_str().unwrap(), "--format", "json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("{done:?}"));
    // It traces the whole host, where more may be lost meanwhile.
    let gaps = report["unknown"].as_array().unwrap().iter().filter_map(|it| it["gap"].as_str());
    let of = |gap: &str| -> Option<u64> {
        let (told, why) = gap.strip_prefix("owners of ")?.split_once(" TIME_WAIT socket")?;
        assert!(why.contains("the trace's table was full"), "{gap}");
        told.replace(',', "").parse().ok()
    };
    let told = gaps.filter_map(of).next();
    assert!(told.is_some_and(|told| told >= n), "{n}: {report:#}");
    assert_eq!(mounts.linger(&["trace", "stop"]).status, Some(0));
}

#[test]
fn what_a_process_does_at_several_endpoints_is_summed_up() {
    let Some(lab) = lab() else { return };
    let other = address("10.77.0.2:81");
    let _server = start(&lab.far, Server { listen: vec![address(SERVICE), other], ..server() });
    let Some(tracing) = trace(&lab.near, &[]) else { return };
    let spread = run_all(&lab.near, Client { targets: vec![address(SERVICE), other], ..client(60) });
    let single = run_all(&lab.near, client(20));
    let report = tracing.end();
    let total = |pid: u32| {
        let totals = report["totals"].as_array().unwrap();
        let of = |total: &&Value| total["process"].as_str().unwrap().contains(&format!("(pid {pid})"));
        totals.iter().find(of).unwrap_or_else(|| panic!("{report:#}"))
    };
    for (actor, endpoints, n) in [(&spread, 2, 60), (&single, 1, 20)] {
        let total = total(actor.pid() as u32);
        assert_eq!(
            (&total["endpoints"], &total["closed_first"]),
            (&endpoints.into(), &n.into()),
            "{total:#}"
        );
        assert_eq!(sum(&report, "closed_first", of(actor.pid() as u32)), n);
    }
}

#[test]
fn sockets_that_are_not_closed_go_to_who_holds_them() {
    let Some(lab) = lab() else { return };
    let leaky = Server { behaviour: Behaviour::NeverClose, comm: "leaky".into(), ..server() };
    let leaky = start(&lab.far, leaky);
    let half_closed = |state: &str, n: u64| {
        let count = || lab.far.tcp_states().unwrap().get(state).copied().unwrap_or(0);
        wait_for(state, || count() == n);
    };
    run_all(&lab.near, client(7));
    half_closed("close_wait", 7);
    std::thread::sleep(Duration::from_millis(1500));
    let Some(tracing) = trace(&lab.far, &[]) else { return };
    run_all(&lab.near, client(4));
    half_closed("close_wait", 11);
    let report = tracing.end();
    let [row] = &report["close_wait"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert!(row["process"].as_str().unwrap().starts_with(&named(&leaky)), "{row:#}");
    assert_eq!((&row["sockets"], &row["unaccepted"]), (&11.into(), &0.into()), "{row:#}");
    assert_eq!(row["endpoint"], SERVICE);
    assert!(row["longest_ms"].as_u64().unwrap() >= 1500, "{row:#}");
    assert_eq!(row["before_trace"], 7, "{row:#}");
}

#[test]
fn without_the_capabilities_it_says_which() {
    let done = finish(Command::new("setpriv").args([
        "--bounding-set=-all",
        "--inh-caps=-all",
        LINGER,
        "trace",
        "--duration",
        "100ms",
    ]));
    if !rustix::process::geteuid().is_root() {
        assert!(!in_ci(), "not root");
        println!("SKIPPED: not root");
        return;
    }
    assert_eq!((done.status, done.stdout.as_str()), (Some(3), ""), "{done:?}");
    for word in ["CAP_BPF", "CAP_PERFMON", "check, states, ports and listeners work without"] {
        assert!(done.stderr.contains(word), "{done:?}");
    }
}

#[test]
fn a_path_that_takes_timestamps_out_is_told_from_the_direct_one() {
    let Some(lab) = lab() else { return };
    // far serves directly, and is the middlebox on the way to what is behind it.
    let behind = lab.host("behind");
    lab.link((&lab.far, "10.78.0.254/24"), (&behind, "10.78.0.2/24"));
    lab.far.forward().unwrap();
    lab.near.route("10.78.0.0/24", "10.77.0.2").unwrap();
    behind.default_route("10.78.0.254").unwrap();
    let strip = "table inet lab { chain forward { type filter hook forward priority 0; \
                 tcp flags & syn == syn reset tcp option timestamp; }; };";
    if !nft(&lab.far, strip) {
        return;
    }
    let _direct = start(&lab.far, server());
    let through = address("10.78.0.2:80");
    let _behind = start(&behind, Server { listen: vec![through], ..server() });
    let Some(at_client) = handshakes(&lab.near, &[]) else { return };
    let (at_middlebox, at_server) = (handshakes(&lab.far, &[]).unwrap(), handshakes(&behind, &[]).unwrap());
    let began = Instant::now();
    run_all(&lab.near, client(40));
    let _direct_pool = run_all(&lab.near, Client { close: Close::Never, ..client(3) });
    run_all(&lab.near, Client { targets: vec![through], ..client(30) });
    let _pool = run_all(&lab.near, Client { targets: vec![through], close: Close::Never, ..client(2) });
    wait_for_states(&lab.near, &[("time_wait", 70), ("established", 5)]);
    let (report, middlebox, server) = (at_client.end(), at_middlebox.end(), at_server.end());
    let is_young = began.elapsed() < YOUNG;
    for report in [&report, &middlebox, &server] {
        assert_eq!((&report["lost_packets"], &report["left_out"]), (&0.into(), &0.into()), "{report:#}");
        assert_eq!(report["unknown"].as_array().unwrap().len(), 0, "{report:#}");
    }
    let row = |peer: &str| {
        let rows = report["peers"].as_array().unwrap();
        assert_eq!(rows.len(), 2, "{report:#}");
        rows.iter().find(|row| row["peer"] == peer).unwrap().clone()
    };
    for (peer, closed, live, with, agreement) in
        [(SERVICE, 40, 3, true, "agreed"), ("10.78.0.2:80", 30, 2, false, "not_granted")]
    {
        let row = row(peer);
        let all = closed + live;
        let had = |n: u64| if with { n } else { 0 };
        assert_eq!(row["timestamps"], agreement, "{row:#}");
        assert_eq!((&row["role"], &row["sack"]), (&"connect".into(), &"agreed".into()), "{row:#}");
        assert_eq!((&row["offered"]["packets"], &row["offered"]["timestamps"]), (&all.into(), &all.into()));
        assert_eq!(
            (&row["granted"]["packets"], &row["granted"]["timestamps"]),
            (&all.into(), &had(all).into())
        );
        assert_eq!(row["granted"]["least_mss"], 1460, "{row:#}");
        assert_eq!(
            (&row["live"]["connections"], &row["live"]["timestamps"]),
            (&live.into(), &had(live).into())
        );
        if is_young {
            assert_eq!(row["time_wait"], closed, "{row:#}");
            assert_eq!(row["time_wait_with_timestamps"], had(closed), "{row:#}");
        }
    }
    let [comparison] = &report["comparisons"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!((&comparison["option"], &comparison["role"]), (&"timestamps".into(), &"connect".into()));
    assert_eq!(comparison["with"], serde_json::json!([SERVICE]));
    assert_eq!(comparison["without"], serde_json::json!(["10.78.0.2:80"]));
    // What is forwarded is of neither end.
    let [row] = &middlebox["peers"].as_array().unwrap()[..] else { panic!("{middlebox:#}") };
    assert_eq!((&row["role"], &row["peer"]), (&"accept".into(), &"10.77.0.1".into()));
    assert_eq!((&row["offered"]["packets"], &row["timestamps"]), (&43.into(), &"agreed".into()));
    // The server sees a client that does not offer.
    let [row] = &server["peers"].as_array().unwrap()[..] else { panic!("{server:#}") };
    assert_eq!((&row["listener_port"], &row["offered"]["timestamps"]), (&80.into(), &0.into()));
    assert_eq!(row["timestamps"], "not_offered", "{row:#}");
}

#[test]
fn without_capabilities_live_connections_still_tell_their_options() {
    let Some(lab) = lab() else { return };
    if !rustix::process::geteuid().is_root() {
        assert!(!in_ci(), "not root");
        println!("SKIPPED: not root");
        return;
    }
    let _server = start(&lab.far, server());
    let _pool = run_all(&lab.near, Client { close: Close::Never, ..client(4) });
    let mut command = lab.near.command("setpriv").unwrap();
    command.args(["--bounding-set=-all", "--inh-caps=-all", LINGER, "trace", "handshakes"]);
    let done = finish(command.args(["--duration", "100ms", "--format", "json"]));
    let report = done.json();
    let unknown = report["unknown"].to_string();
    for word in ["CAP_NET_RAW", "CAP_BPF"] {
        assert!(unknown.contains(word), "{unknown}");
    }
    let [row] = &report["peers"].as_array().unwrap()[..] else { panic!("{report:#}") };
    assert_eq!((&row["live"]["timestamps"], &row["timestamps"]), (&4.into(), &"agreed".into()), "{row:#}");
    assert!(row["time_wait"].is_null(), "{row:#}");
}

/// The row of the listener at [`SERVICE`].
fn listener(report: &Value) -> &Value {
    let rows = report["listeners"].as_array().unwrap();
    rows.iter().find(|row| row["address"] == SERVICE).unwrap_or_else(|| panic!("{report:#}"))
}

/// Waits until a counter of a host is so much higher.
fn wait_for_counter(host: &Host, name: &str, by: u64) {
    let from = counter(host, name);
    wait_for(name, || counter(host, name) >= from + by);
}

fn counter(host: &Host, name: &str) -> u64 {
    host.run(linger_collect::counters).unwrap().unwrap().get(name).copied().unwrap_or(0)
}

#[test]
fn drops_of_a_full_accept_queue_are_laid_to_it() {
    let Some(lab) = lab() else { return };
    let spec = Server { behaviour: Behaviour::NeverAccept, backlog: 8, comm: "hung".into(), ..server() };
    let hung = start(&lab.far, spec);
    let knocks = Client { requests: 0, close: Close::Never, connect_timeout_ms: Some(300), ..load(50.0) };
    let _work = begin(&lab.near, knocks);
    wait_for_counter(&lab.far, "TcpExt.ListenOverflows", 1);
    let Some(tracing) = drops(&lab.far) else { return };
    wait_for_counter(&lab.far, "TcpExt.ListenOverflows", 30);
    let report = tracing.end();
    let row = listener(&report);
    assert_eq!((&row["cause"], &row["limit"]), (&"accept_queue".into(), &8.into()), "{report:#}");
    assert!(row["drops"].as_u64().is_some_and(|n| n > 0), "{row:#}");
    assert!(row["full"].as_u64().is_some_and(|n| n > 0) && row["most_waiting"] == 9, "{row:#}");
    assert!(row["process"].as_str().unwrap().starts_with(&named(&hung)), "{row:#}");
    let counted = &report["counted"][0];
    assert!(counted["listen_overflows"].as_u64().is_some_and(|n| n > 0), "{counted:#}");
    assert_eq!(counted["request_queue_full_drops"], 0, "{counted:#}");
}

#[test]
fn drops_of_a_full_request_queue_are_told_from_cookies() {
    let Some(lab) = lab() else { return };
    let silence = "table inet lab { chain in { type filter hook input priority 0; \
                   tcp flags & (syn | ack) == syn | ack drop; }; };";
    if !nft(&lab.near, silence) {
        return;
    }
    let _server = start(&lab.far, Server { backlog: 8, ..server() });
    let _flood = begin(&lab.near, Client { nonblocking_hold: true, ..load(60.0) });
    for (cookies, counter, cause) in
        [("1", "TcpExt.TCPReqQFullDoCookies", "cookies"), ("0", "TcpExt.TCPReqQFullDrop", "request_queue")]
    {
        lab.far.sysctl("net.ipv4.tcp_syncookies", cookies).unwrap();
        wait_for_counter(&lab.far, counter, 1);
        let Some(tracing) = drops(&lab.far) else { return };
        wait_for_counter(&lab.far, counter, 40);
        let report = tracing.end();
        let row = listener(&report);
        assert_eq!(row["cause"], cause, "{report:#}");
        // A SYN that is sent again while its request waits counts as dropped, too.
        assert!(row["drops"].as_u64().unwrap() > 0 || cause == "cookies", "{row:#}");
        assert!(row["most_half_open"].as_u64().unwrap() >= 8, "{row:#}");
        assert_eq!(report["counted"][0]["tcp_syncookies"].to_string(), cookies);
        assert_eq!(report["counted"][0]["listen_overflows"], 0, "{report:#}");
    }
}

#[test]
fn ports_without_a_listener_and_firewalls_are_told_by_the_kernels_reason() {
    let Some(lab) = lab() else { return };
    let firewall = |hook: &str, port: u16| {
        format!(
            "table inet lab {{ chain c {{ type filter hook {hook} priority 0; tcp dport {port} drop; }}; }};"
        )
    };
    if !nft(&lab.far, &firewall("input", 81)) || !nft(&lab.near, &firewall("output", 82)) {
        return;
    }
    let _server = start(&lab.far, server());
    let Some(at_server) = drops(&lab.far) else { return };
    let at_client = drops(&lab.near).unwrap();
    let to = |port: u16, n: u64| Client {
        targets: vec![address(&format!("10.77.0.2:{port}"))],
        connect_timeout_ms: Some(200),
        ..client(n)
    };
    run_all(&lab.near, client(3));
    let _refused = run(&lab.near, to(9, 5));
    let _walls = [run(&lab.near, to(81, 2)), run(&lab.near, to(82, 2))];
    let (server, client) = (at_server.end(), at_client.end());
    let packets = |report: &Value, list: &str, endpoint: &str, reason: &str, packet: &str| -> u64 {
        let rows = report[list].as_array().unwrap();
        let of =
            |row: &&Value| row["address"] == endpoint && row["reason"] == reason && row["packet"] == packet;
        rows.iter().filter(of).map(|row| row["packets"].as_u64().unwrap()).sum()
    };
    // A drop in an interrupt, while the CPU counts another, is in `left_out`.
    let missed = server["left_out"].as_u64().unwrap();
    let refused = packets(&server, "no_listener", "10.77.0.2:9", "NO_SOCKET", "syn");
    assert!(refused <= 5 && refused + missed >= 5, "{server:#}");
    let wall = packets(&server, "elsewhere", "10.77.0.2:81", "NETFILTER_DROP", "syn");
    assert!(wall + missed >= 2, "{server:#}");
    assert_eq!((&server["listeners"], &server["quiet_listeners"]), (&serde_json::json!([]), &1.into()));
    let own = packets(&client, "elsewhere", "10.77.0.2:82", "NETFILTER_DROP", "own_syn");
    assert!(own + client["left_out"].as_u64().unwrap() >= 2, "{client:#}");
    // What the one drops is not the other's.
    assert_eq!(client["no_listener"], serde_json::json!([]), "{client:#}");
    assert_eq!(packets(&client, "elsewhere", "10.77.0.2:81", "NETFILTER_DROP", "syn"), 0, "{client:#}");
}

#[test]
fn without_capabilities_drops_are_still_told_by_listener() {
    let Some(lab) = lab() else { return };
    if !rustix::process::geteuid().is_root() {
        assert!(!in_ci(), "not root");
        println!("SKIPPED: not root");
        return;
    }
    let _server = start(&lab.far, server());
    let mut command = lab.far.command("setpriv").unwrap();
    command.args(["--bounding-set=-all", "--inh-caps=-all", LINGER, "trace", "drops"]);
    let report = finish(command.args(["--duration", "100ms", "--format", "json"])).json();
    assert!(report["unknown"].to_string().contains("CAP_BPF"), "{report:#}");
    // Not known is not none.
    assert!(report["no_listener"].is_null() && report["elsewhere"].is_null(), "{report:#}");
    assert_eq!(report["quiet_listeners"], 1, "{report:#}");
}

// Parts that other processes play.

/// Sockets that a part connects.
const PASSED: usize = 24;
const FORKED: u64 = 5;

fn devnull() -> OwnedFd {
    fs::File::open("/dev/null").unwrap().into()
}

/// This very program, playing a part in a host.
fn part(host: &Host, part: &str, stdin: OwnedFd) -> Child {
    let mut command = host.command(std::env::current_exe().unwrap()).unwrap();
    command
        .args(["--exact", "trace::plays_a_part", "--ignored", "--nocapture"])
        .env("LINGER_TEST_PART", part);
    command.stdin(Stdio::from(stdin)).stdout(Stdio::null()).spawn().unwrap()
}

/// A shell that connects, forks, and closes its own descriptors; the child's are the last.
fn fork(host: &Host, folder: &Path) -> Child {
    let script = "for fd in 10 11 12 13 14; do eval \"exec $fd<>/dev/tcp/10.77.0.2/80\"; done\n\
                  (echo $BASHPID; read -r _ < \"$0\"; exit 0) & \n\
                  for fd in 10 11 12 13 14; do eval \"exec $fd>&-\"; done\n\
                  echo > \"$0\"; wait";
    let pipe = folder.join("fork");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut command = host.command("bash").unwrap();
    command.arg("-c").arg(script).arg(&pipe).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
#[ignore = "a part of other tests, in a process of its own"]
fn plays_a_part() {
    let connect =
        || -> Vec<TcpStream> { (0..PASSED).map(|_| TcpStream::connect(SERVICE).unwrap()).collect() };
    let channel = || UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    match std::env::var("LINGER_TEST_PART").as_deref() {
        Ok("give") => {
            let (sockets, mut channel) = (connect(), channel());
            let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED))];
            let mut buffer = SendAncillaryBuffer::new(&mut space);
            assert!(buffer.push(SendAncillaryMessage::ScmRights(&fds)));
            let text = [IoSlice::new(b"x")];
            rustix::net::sendmsg(&channel, &text, &mut buffer, SendFlags::empty()).unwrap();
            // They are received before they are closed here.
            channel.read_exact(&mut [0]).unwrap();
            drop(fds);
            drop(sockets);
            channel.write_all(b"x").unwrap();
        }
        Ok("take") => {
            let mut channel = channel();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED))];
            let mut buffer = RecvAncillaryBuffer::new(&mut space);
            let (mut byte, mut sockets) = ([0], Vec::new());
            let text = &mut [IoSliceMut::new(&mut byte)];
            rustix::net::recvmsg(&channel, text, &mut buffer, RecvFlags::CMSG_CLOEXEC).unwrap();
            for message in buffer.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    sockets.extend(fds);
                }
            }
            assert_eq!(sockets.len(), PASSED);
            channel.write_all(b"x").unwrap();
            channel.read_exact(&mut [0]).unwrap();
        }
        Ok("exit") => {
            let _left_open: Vec<_> = connect().into_iter().map(IntoRawFd::into_raw_fd).collect();
            std::process::exit(0);
        }
        // Closes connections whose owners all belong to the same few places of the smallest table. Cookies tell the
        // place, and are given in order to each CPU, so that those of other sockets are used up in between.
        Ok("crowd") => {
            const PLACES: u64 = 1 << 16;
            const BATCH: u64 = 4096;
            const SOME: usize = 64;
            let mut one = rustix::thread::CpuSet::new();
            one.set(rustix::thread::sched_getcpu());
            rustix::thread::sched_setaffinity(None, &one).unwrap();
            let cookie = |socket: &dyn AsFd| rustix::net::sockopt::socket_cookie(socket.as_fd()).unwrap();
            let use_up = |until: &dyn Fn(u64) -> bool| loop {
                let (family, kind) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM);
                let now = cookie(&rustix::net::socket(family, kind, None).unwrap());
                if until(now) {
                    return now;
                }
            };
            let first = use_up(&|now| now % BATCH < 128);
            for round in 0..4 {
                if round > 0 {
                    use_up(&|now| (now - first) % PLACES < 8);
                }
                for _ in 0..SOME {
                    cookie(&TcpStream::connect(SERVICE).unwrap());
                }
            }
        }
        _ => {}
    }
}
