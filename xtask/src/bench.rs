//! `cargo xtask bench`: linger beside ss and netstat on the same sockets, in the same run, as ratios.
//!
//! The load is built in namespaces of its own, bounded, and gone afterwards. A TIME_WAIT socket lives 60 s, so a fill
//! of a million is measured for what is left of that time, and then made anew.

mod serve;
#[cfg(feature = "trace")]
mod trace;

use crate::workspace::Workspace;
use anyhow::{Context, bail, ensure};
use linger_lab::{CloseWaitLoad, Cost, Host, Launcher, TimeWaitLoad, World, measure};
use linger_wire::netlink::{Message, Messages};
use linger_wire::sock_diag::{self, Extensions};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// TIME_WAIT sockets.
    #[arg(long, default_value_t = 1_000_000)]
    total: u64,
    /// How often the TIME_WAIT sockets are made anew.
    #[arg(long, default_value_t = 2)]
    fills: u32,
    /// Write docs/benchmarks.md.
    #[arg(long)]
    write: bool,
    /// Only these parts: time-wait, groups, close-wait, idle, trace, import, record, serve. With --write the others'
    /// figures stay.
    only: Vec<String>,
}

const PARTS: [&str; 8] = ["time-wait", "groups", "close-wait", "idle", "trace", "import", "record", "serve"];
/// From the first socket's birth: half a second is left to the last command.
const LIFE: Duration = Duration::from_millis(59_000);

/// What is kept free for netstat, which takes longest and runs once a fill.
const NETSTAT_TAKES: Duration = Duration::from_secs(10);

/// Seconds and peak memory of each command, over the runs.
#[derive(Default)]
struct Series {
    walls: BTreeMap<String, Vec<f64>>,
    peaks: BTreeMap<String, u64>,
    order: Vec<String>,
}

impl Series {
    fn add(&mut self, name: &str, wall: Duration, peak_kib: Option<u64>) {
        if !self.order.iter().any(|n| n == name) {
            self.order.push(name.to_owned());
        }
        self.walls.entry(name.to_owned()).or_default().push(wall.as_secs_f64());
        if let Some(peak) = peak_kib {
            let most = self.peaks.entry(name.to_owned()).or_default();
            *most = peak.max(*most);
        }
    }

    fn median(&self, name: &str) -> Option<f64> {
        let mut sorted = self.walls.get(name)?.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        Some(if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 })
    }
}

/// A demand on a ratio or a size.
struct Demand {
    what: String,
    value: f64,
    limit: f64,
    unit: &'static str,
}

/// Builds, measures, prints.
pub fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    let root = workspace.root.as_path();
    if cfg!(debug_assertions) || cfg!(not(feature = "trace")) {
        // The load is made by this very program: a million sockets in half a minute need a release build.
        let mut cargo = Command::new("cargo");
        cargo
            .args(["run", "--release", "--quiet", "--package", "xtask", "--features", "trace", "--"])
            .args(std::env::args_os().skip(1));
        let status = cargo.current_dir(root).status()?;
        ensure!(status.success(), "the bench ended with {status}");
        return Ok(());
    }
    for part in &args.only {
        ensure!(PARTS.contains(&part.as_str()), "{part}: the parts are {}", PARTS.join(", "));
    }
    ensure!(rustix::process::geteuid().is_root(), "the load needs namespaces: run as root");
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|p| p == part);
    // The trace is measured without the command.
    if PARTS.iter().any(|part| *part != "trace" && wanted(part)) {
        build(root)?;
    }
    let linger = workspace.target.join("release/linger");
    let mut text = String::new();
    let mut demands = Vec::new();
    if wanted("idle") {
        idle(&linger, &mut text, &mut demands)?;
    }
    if wanted("time-wait") {
        time_wait(args, &linger, 40, &mut text, &mut demands)?;
    }
    if wanted("groups") {
        time_wait(args, &linger, args.total, &mut text, &mut demands)?;
    }
    if wanted("close-wait") {
        close_wait(&linger, &mut text, &mut demands)?;
    }
    #[cfg(feature = "trace")]
    if wanted("trace") {
        trace::measure(&mut text, &mut demands)?;
    }
    if wanted("import") {
        import(&linger, &mut text, &mut demands)?;
    }
    if wanted("record") {
        record(&linger, &mut text, &mut demands)?;
    }
    if wanted("serve") {
        serve::measure(&linger, &mut text, &mut demands)?;
    }
    let _ = writeln!(text, "{DEMANDED}\n\n| demand | measured | at most | |\n|---|---|---|---|");
    for d in &demands {
        let met = if d.value <= d.limit { "met" } else { "**missed**" };
        let _ =
            writeln!(text, "| {} | {:.2}{} | {:.2}{} | {met} |", d.what, d.value, d.unit, d.limit, d.unit);
    }
    println!("{text}");
    if args.write {
        let path = root.join("docs/benchmarks.md");
        let before = if args.only.is_empty() { String::new() } else { std::fs::read_to_string(&path)? };
        let page = format!("{}{}", head(), merged(&before, &text));
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The heading of the last section.
const DEMANDED: &str = "## What was demanded";

/// The sections of a page before, with those that were measured anew in their place, and their demands in the last.
fn merged(before: &str, text: &str) -> String {
    let sections = |text: &str| -> Vec<(String, String)> {
        let mut all: Vec<(String, String)> = Vec::new();
        for line in text.lines() {
            if line.starts_with("## ") {
                all.push((line.to_owned(), String::new()));
            } else if let Some((_, body)) = all.last_mut() {
                body.push_str(line);
                body.push('\n');
            }
        }
        all
    };
    let (mut all, new) = (sections(before), sections(text));
    for (title, body) in new {
        match all.iter_mut().find(|(known, _)| *known == title) {
            Some((_, old)) if title == DEMANDED => {
                let what = |row: &str| row.split(" | ").next().unwrap_or_default().to_owned();
                let mut rows: Vec<String> = old.trim_end().lines().map(str::to_owned).collect();
                for row in body.trim_end().lines().filter(|row| row.starts_with("| ")) {
                    match rows.iter_mut().find(|old| what(old) == what(row)) {
                        Some(old) => row.clone_into(old),
                        None => rows.push(row.to_owned()),
                    }
                }
                *old = format!("{}\n", rows.join("\n"));
            }
            Some((_, old)) => *old = body,
            None => {
                let last = all.iter().position(|(known, _)| known == DEMANDED).unwrap_or(all.len());
                all.insert(last, (title, body));
            }
        }
    }
    all.into_iter().map(|(title, body)| format!("{title}\n{body}")).collect()
}

fn build(root: &Path) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "--quiet", "-p", "linger"])
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "linger does not build");
    Ok(())
}

fn head() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown", |l| l.trim_start_matches([' ', '\t', ':']));
    let cpus = cpu.lines().filter(|l| l.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let kib: u64 = memory.lines().next().and_then(|l| l.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0);
    let kernel = rustix::system::uname();
    let version = |program: &str, arg: &str| {
        let out = Command::new(program).arg(arg).output();
        out.ok().map_or_else(String::new, |o| {
            String::from_utf8_lossy(&o.stdout).lines().next().unwrap_or("").trim().to_owned()
        })
    };
    format!(
        "# Benchmarks\n\n\
         Printed by `cargo xtask bench --write`: whole processes, started in the namespace that has the sockets, their\n\
         output read and thrown away; wall time until they were reaped, the most memory that was resident (wait4). The\n\
         commands take turns, so that a ratio compares neighbours in time. `ss | awk` and `netstat | awk` are the first\n\
         article's counting loops. The *bare walk* asks sock_diag for the same states in one request for both families\n\
         and throws the answers away unread: it is the kernel's share, which no reader can be faster than.\n\n\
         Machine: {cpus} CPUs ({model}), {:.0} GiB, Linux {}; {}.\n\n",
        kib as f64 / 1024.0 / 1024.0,
        kernel.release().to_string_lossy(),
        version("ss", "-V"),
    )
}

/// The kernel's share: everything of these states, read and thrown away.
fn bare_walk(host: &Host, states: u32) -> anyhow::Result<Duration> {
    host.run(|| -> anyhow::Result<Duration> {
        let start = Instant::now();
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        send(&socket, &sock_diag::request(states, Extensions::NONE, None, 1), SendFlags::empty())?;
        let mut buffer = vec![0u8; 32 * 1024];
        loop {
            let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
            // The end of a dump comes in a datagram of its own, or last in one.
            let mut last = None;
            if length < 1024 {
                last = Messages::new(&buffer[..length]).last();
            }
            match last {
                Some(Ok(Message::Done(None))) => return Ok(start.elapsed()),
                Some(Ok(Message::Done(Some(errno)) | Message::Error(errno))) => {
                    bail!("sock_diag: errno {errno}")
                }
                _ => {}
            }
        }
    })?
}

fn cost(host: &Host, program: &Path, args: &[&str]) -> anyhow::Result<Cost> {
    let cost = measure(host.command(program)?.args(args))?;
    // check's own status says how bad the load is.
    ensure!(
        matches!(cost.status, Some(0..=2)),
        "{} {args:?} ended with {:?}",
        program.display(),
        cost.status
    );
    ensure!(cost.printed > 0, "{} {args:?} printed nothing", program.display());
    Ok(cost)
}

const SS: &str = "ss -Hant | awk '{++state[$1]} END {for (k in state) print k, state[k]}'";
const NETSTAT: &str = "netstat -ant | awk '{++state[$NF]} END {for (k in state) print k, state[k]}'";
const ALL_BUT_TIME_WAIT: u32 = 0x3ffe & !(1 << 6);
const EVERYTHING: u32 = 0x3ffe;

fn time_wait(
    args: &Args,
    linger: &Path,
    groups: u64,
    text: &mut String,
    demands: &mut Vec<Demand>,
) -> anyhow::Result<()> {
    let many = groups >= args.total;
    let mut series = Series::default();
    let mut left: Option<(u64, u64)> = None;
    for _ in 0..args.fills {
        let world = World::new();
        let host = world.host("load")?;
        let born = Instant::now();
        let made = TimeWaitLoad { total: args.total, groups, ..TimeWaitLoad::default() }.make(&host)?;
        eprintln!("{} TIME_WAIT sockets in {} groups made in {:.1} s", made.made, made.groups, made.seconds);
        let mut pass = Duration::ZERO;
        let mut passes = 0;
        let life = if many { LIFE } else { LIFE - NETSTAT_TAKES };
        while passes == 0 || born.elapsed() + pass.mul_f64(1.2) < life {
            let start = Instant::now();
            let mut turn = |name: &str, command: &[&str]| -> anyhow::Result<()> {
                let cost = cost(&host, linger, command)?;
                series.add(name, cost.wall, Some(cost.peak_kib));
                Ok(())
            };
            turn("linger states --by peer", &["states", "--by", "peer"])?;
            turn("linger states --by peer-port", &["states", "--by", "peer-port"])?;
            turn("linger ports", &["ports"])?;
            // What is compared most closely stands side by side, now the one first and now the other.
            if passes % 2 == 0 {
                turn("linger states", &["states"])?;
            }
            let bare = bare_walk(&host, ALL_BUT_TIME_WAIT)?;
            if passes % 2 == 1 {
                turn("linger states", &["states"])?;
            }
            turn("linger check", &["check"])?;
            series.add("bare walk without TIME_WAIT", bare, None);
            series.add("bare walk of everything", bare_walk(&host, EVERYTHING)?, None);
            let ss = cost(&host, Path::new("sh"), &["-c", SS])?;
            series.add("ss -Hant \\| awk", ss.wall, None);
            let now = sockstat_tw(&host)?;
            left = Some(left.map_or((now, now), |(low, high)| (low.min(now), high.max(now))));
            passes += 1;
            pass = start.elapsed();
        }
        if !many && born.elapsed() + NETSTAT_TAKES < LIFE {
            let netstat = cost(&host, Path::new("sh"), &["-c", NETSTAT])?;
            series.add("netstat -ant \\| awk", netstat.wall, None);
        }
    }
    let (low, high) = left.unwrap_or_default();
    let title = if many {
        format!("{} TIME_WAIT sockets, each a group of its own", args.total)
    } else {
        format!("{} TIME_WAIT sockets in {groups} groups", args.total)
    };
    let _ = writeln!(
        text,
        "## {title}\n\nWhile it was measured, sockstat's `tw` was between {low} and {high}.\n"
    );
    table(text, &series, "ss -Hant \\| awk");
    let mut ratio = |what: &str, of: &str, limit: f64| {
        if let (Some(a), Some(b)) = (series.median(what), series.median(of)) {
            let what = format!("{title}: `{what}` ÷ {}", of.replace("\\|", "&#124;"));
            demands.push(Demand { what, value: a / b, limit, unit: "" });
        }
    };
    if !many {
        ratio("linger states", "bare walk without TIME_WAIT", 1.25);
        ratio("linger states", "ss -Hant \\| awk", 0.16);
        ratio("linger states", "netstat -ant \\| awk", 0.07);
    }
    ratio("linger states --by peer", "ss -Hant \\| awk", 0.35);
    ratio("linger ports", "ss -Hant \\| awk", 0.35);
    if let (Some(check), Some(ss)) = (series.median("linger check"), series.median("ss -Hant \\| awk")) {
        let what = format!("{title}: (`linger check` − its interval) ÷ ss &#124; awk");
        demands.push(Demand { what, value: (check - 1.0) / ss, limit: 0.7, unit: "" });
    }
    for (name, most) in [
        ("linger states --by peer", 32.0),
        ("linger states --by peer-port", 32.0),
        ("linger ports", 32.0),
        ("linger check", 48.0),
    ] {
        if let Some(peak) = series.peaks.get(name) {
            let what = format!("{title}: peak memory of `{name}`");
            demands.push(Demand { what, value: *peak as f64 / 1024.0, limit: most, unit: " MiB" });
        }
    }
    Ok(())
}

fn sockstat_tw(host: &Host) -> anyhow::Result<u64> {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/sockstat"))??;
    let tw = text
        .lines()
        .find_map(|l| l.strip_prefix("TCP:")?.split(" tw ").nth(1)?.split(' ').next()?.parse().ok());
    tw.context("sockstat has no tw")
}

fn close_wait(linger: &Path, text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let world = World::new();
    let host = world.host("leak")?;
    let launcher = Launcher::new(PathBuf::from(linger)).arg("__actor");
    let load = CloseWaitLoad { total: 60_000, processes: 4, comm: "leaky".to_owned() };
    let held = load.make(&host, &launcher)?;
    eprintln!("{} CLOSE_WAIT sockets made", held.made.made);
    let mut series = Series::default();
    for _ in 0..7 {
        let command = ["states", "--by", "process", "--state", "close-wait"];
        let ours = cost(&host, linger, &command)?;
        series.add("linger states --by process --state close-wait", ours.wall, Some(ours.peak_kib));
        let ss = cost(&host, Path::new("ss"), &["-Hantp", "state", "close-wait"])?;
        series.add("ss -Hantp state close-wait", ss.wall, Some(ss.peak_kib));
    }
    let _ = writeln!(text, "## 60,000 CLOSE_WAIT sockets of 4 processes\n");
    table(text, &series, "ss -Hantp state close-wait");
    if let (Some(a), Some(b)) = (
        series.median("linger states --by process --state close-wait"),
        series.median("ss -Hantp state close-wait"),
    ) {
        demands.push(Demand {
            what: "60,000 CLOSE_WAIT sockets: `linger states --by process --state close-wait` ÷ `ss -Hantp state close-wait`"
                .to_owned(),
            value: a / b,
            limit: 0.4,
            unit: "",
        });
    }
    Ok(())
}

fn idle(linger: &Path, text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let world = World::new();
    let host = world.host("idle")?;
    let mut series = Series::default();
    for _ in 0..9 {
        let check = cost(&host, linger, &["check"])?;
        series.add("linger check", check.wall, Some(check.peak_kib));
        let states = cost(&host, linger, &["states"])?;
        series.add("linger states", states.wall, Some(states.peak_kib));
        let ss =
            cost(&host, Path::new("ss"), &["-Hant"]).or_else(|_| cost(&host, Path::new("ss"), &["-ant"]))?;
        series.add("ss -ant", ss.wall, Some(ss.peak_kib));
    }
    let _ = writeln!(text, "## An idle host\n");
    table(text, &series, "ss -ant");
    if let Some(check) = series.median("linger check") {
        let what = "idle: `linger check` beyond its interval".to_owned();
        demands.push(Demand { what, value: (check - 1.0) * 1000.0, limit: 60.0, unit: " ms" });
    }
    if let Some(peak) = series.peaks.get("linger check") {
        let what = "idle: peak memory of `linger check`".to_owned();
        demands.push(Demand { what, value: *peak as f64 / 1024.0, limit: 12.0, unit: " MiB" });
    }
    Ok(())
}

/// Bytes of the text that is imported.
const IMPORTED: u64 = 1_000_000_000;

/// A large `ss -tan`, as a file: 12 million sockets of 20,000 peers.
fn import(linger: &Path, text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("ss.txt");
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(&path)?);
    writeln!(file, "State      Recv-Q Send-Q      Local Address:Port        Peer Address:Port Process")?;
    writeln!(file, "LISTEN     0      511                0.0.0.0:80               0.0.0.0:*           ")?;
    let states = ["ESTAB", "TIME-WAIT", "TIME-WAIT", "CLOSE-WAIT", "FIN-WAIT-2", "SYN-SENT"];
    let (mut written, mut i) = (0u64, 0u64);
    let mut line = String::new();
    while written < IMPORTED {
        line.clear();
        let peer = (i * 7919) % 20_000;
        let local = format!("10.0.0.1:{}", if i % 2 == 0 { 80 } else { 32_768 + i % 28_000 });
        let remote = format!(
            "10.1.{}.{}:{}",
            peer / 250,
            peer % 250,
            if i % 2 == 0 { 1024 + i % 60_000 } else { 443 }
        );
        let state = states[(i % 6) as usize];
        let _ = writeln!(line, "{state:<11}0      0      {local:>23} {remote:>24}       ");
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        i += 1;
    }
    file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
    eprintln!("{written} bytes, {i} sockets written");
    let name = path.to_str().context("a path that is text")?;
    let mut series = Series::default();
    for _ in 0..3 {
        // Without counters nothing is called healthy: its status is 3, or that of a finding.
        let ours = measure(Command::new(linger).args(["check", "--from", name]))?;
        ensure!(matches!(ours.status, Some(0..=3)) && ours.printed > 0, "ended with {:?}", ours.status);
        series.add("linger check --from ss.txt", ours.wall, Some(ours.peak_kib));
        let awk = measure(Command::new("awk").args(["{++s[$1]} END {for (k in s) print k, s[k]}", name]))?;
        series.add("awk '{++s[$1]} …' ss.txt", awk.wall, Some(awk.peak_kib));
    }
    let _ = writeln!(text, "## {written} bytes of `ss -tan`, {i} sockets\n");
    table(text, &series, "awk '{++s[$1]} …' ss.txt");
    let gigabytes = written as f64 / 1e9;
    if let Some(seconds) = series.median("linger check --from ss.txt") {
        let what = "`linger check --from`: seconds for a GB (150 MB/s)".to_owned();
        demands.push(Demand { what, value: seconds / gigabytes, limit: 6.67, unit: " s" });
    }
    if let Some(peak) = series.peaks.get("linger check --from ss.txt") {
        let what = "`linger check --from`: peak memory".to_owned();
        demands.push(Demand { what, value: *peak as f64 / 1024.0, limit: 64.0, unit: " MiB" });
    }
    Ok(())
}

/// A recording of a busy host, and what comes of it elsewhere.
fn record(linger: &Path, text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let world = World::new();
    let host = world.host("busy")?;
    let launcher = Launcher::new(PathBuf::from(linger)).arg("__actor");
    let load = CloseWaitLoad { total: 60_000, processes: 4, comm: "leaky".to_owned() };
    let held = load.make(&host, &launcher)?;
    eprintln!("{} CLOSE_WAIT sockets made", held.made.made);
    let folder = tempfile::tempdir()?;
    let mut series = Series::default();
    let (mut bytes, mut samples) = (0, 0);
    for run in 0..3 {
        let path = folder.path().join(format!("{run}.linger"));
        let name = path.to_str().context("a path that is text")?;
        let args = ["record", "--duration", "10s", "--interval", "1s", "-o", name];
        let recorded = measure(host.command(linger)?.args(args).stderr(std::process::Stdio::null()))?;
        ensure!(recorded.status == Some(0), "record ended with {:?}", recorded.status);
        series.add("linger record --duration 10s --interval 1s", recorded.wall, Some(recorded.peak_kib));
        let read = cost(&host, linger, &["check", "--from", name])?;
        series.add("linger check --from RECORDING", read.wall, Some(read.peak_kib));
        let live = cost(&host, linger, &["check"])?;
        series.add("linger check", live.wall, Some(live.peak_kib));
        bytes = std::fs::metadata(&path)?.len();
        samples = linger_import::recording::Samples::open(std::fs::File::open(&path)?)
            .map(|mut all| std::iter::from_fn(|| all.next_sample().ok().flatten()).count())?;
    }
    let _ = writeln!(
        text,
        "## A recording of 60,000 CLOSE_WAIT sockets of 4 processes\n\n{samples} samples, {bytes} bytes.\n"
    );
    table(text, &series, "linger check");
    let mut demand = |what: &str, value: f64, limit: f64, unit: &'static str| {
        demands.push(Demand { what: format!("a recording: {what}"), value, limit, unit });
    };
    demand("KiB a sample", bytes as f64 / 1024.0 / f64::max(samples as f64, 1.0), 64.0, " KiB");
    for (name, most) in
        [("linger record --duration 10s --interval 1s", 48.0), ("linger check --from RECORDING", 48.0)]
    {
        if let Some(peak) = series.peaks.get(name) {
            demand(&format!("peak memory of `{name}`"), *peak as f64 / 1024.0, most, " MiB");
        }
    }
    if let Some(seconds) = series.median("linger check --from RECORDING") {
        demand("seconds of `linger check --from`", seconds, 0.5, " s");
    }
    Ok(())
}

fn table(text: &mut String, series: &Series, beside: &str) {
    let _ = writeln!(
        text,
        "| command | runs | median | least | most | ÷ `{beside}` | peak memory |\n|---|---|---|---|---|---|---|"
    );
    for name in &series.order {
        let Some(walls) = series.walls.get(name) else { continue };
        let (least, most) = walls.iter().fold((f64::MAX, 0f64), |(l, m), w| (l.min(*w), m.max(*w)));
        let median = series.median(name).unwrap_or_default();
        let ratio = series.median(beside).map_or_else(String::new, |b| format!("{:.3}", median / b));
        let peak = series
            .peaks
            .get(name)
            .map_or_else(|| "–".to_owned(), |k| format!("{:.1} MiB", *k as f64 / 1024.0));
        let _ = writeln!(
            text,
            "| `{name}` | {} | {median:.3} s | {least:.3} s | {most:.3} s | {ratio} | {peak} |",
            walls.len()
        );
    }
    let _ = writeln!(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_were_not_measured_stay() {
        let old = "head\n\n## A\n\nold a\n\n## B\n\nold b\n\n## What was demanded\n\n| demand | m |\n|---|---|\n| a | 1 |\n| b | 2 |\n";
        let new = "## B\n\nnew b\n\n## C\n\nc\n\n## What was demanded\n\n| demand | m |\n|---|---|\n| b | 3 |\n| c | 4 |\n";
        assert_eq!(
            merged(old, new),
            "## A\n\nold a\n\n## B\n\nnew b\n\n## C\n\nc\n\n## What was demanded\n\n| demand | m |\n|---|---|\n| a | 1 |\n| b | 3 |\n| c | 4 |\n"
        );
        assert_eq!(merged("", new), new);
    }
}
