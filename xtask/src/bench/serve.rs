//! What `linger serve` costs: a scrape beside node_exporter's tcpstat, memory, and CPU under load.

use super::{Demand, LIFE, Series};
use anyhow::{Context, ensure};
use linger_lab::{Host, TimeWaitLoad, World};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const TIME_WAIT: u64 = 500_000;
/// linger gives an answer again for 200 ms: a scrape that is later is rendered.
const APART: Duration = Duration::from_millis(210);
const SCRAPES: usize = 60;
const NODE_EXPORTER: &str = "prometheus-node-exporter";
/// Connections a second, and for how long.
const RATE: u64 = 10_000;
const UNDER_LOAD: Duration = Duration::from_secs(60);

/// An exporter; it ends with this value.
struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Exporter {
    fn linger(host: &Host, linger: &Path, history: &Path, more: &[&str]) -> anyhow::Result<Exporter> {
        let mut command = host.command(linger)?;
        command.args(["serve", "--listen", "127.0.0.1:0", "--netns", "self", "--history"]).arg(history);
        command.args(more).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("its log")?);
        let mut line = String::new();
        while !line.contains("serving http://") {
            line.clear();
            ensure!(log.read_line(&mut line)? > 0, "linger serve ended");
        }
        // Whatever else it says has somewhere to go.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let address =
            line.split("//").nth(1).and_then(|rest| rest.split('/').next()).context("an address")?;
        Ok(Exporter { child, address: address.parse()? })
    }

    /// Debian's, with the one collector that asks for the same; nothing where it is not installed.
    fn node(host: &Host) -> anyhow::Result<Option<Exporter>> {
        if crate::sh::which(NODE_EXPORTER).is_none() {
            eprintln!("SKIPPED: {NODE_EXPORTER} is missing, nothing to compare with");
            return Ok(None);
        }
        let free = host.run(|| TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()))??;
        let mut command = host.command(NODE_EXPORTER)?;
        command.args(["--collector.disable-defaults", "--collector.tcpstat"]);
        command.arg(format!("--web.listen-address={free}"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let exporter = Exporter { child, address: free };
        let since = Instant::now();
        while exporter.get(host, "/").is_err() {
            ensure!(since.elapsed() < Duration::from_secs(20), "{NODE_EXPORTER} does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(exporter))
    }

    /// An answer, and how long it took from the connection on.
    fn get(&self, host: &Host, path: &str) -> anyhow::Result<(String, Duration)> {
        let (address, ask) =
            (self.address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        host.run(move || {
            let start = Instant::now();
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(ask.as_bytes())?;
            let mut all = String::new();
            stream.read_to_string(&mut all)?;
            let took = start.elapsed();
            ensure!(all.starts_with("HTTP/1.1 200"), "{}", all.lines().next().unwrap_or_default());
            Ok((all, took))
        })?
    }

    fn value(&self, host: &Host, series: &str) -> anyhow::Result<f64> {
        let (text, _) = self.get(host, "/metrics")?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        value.with_context(|| format!("{series} is no metric"))
    }

    /// The most memory that was resident, KiB.
    fn peak(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(peak.context("a peak")?.parse()?)
    }

    /// CPU of all its threads, seconds.
    fn cpu(&self) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = text.rsplit(')').next().context("a name")?.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

pub fn measure(linger: &Path, text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let _ = writeln!(text, "## `linger serve`\n");
    for groups in [40, TIME_WAIT] {
        scrapes(linger, groups, text, demands)?;
    }
    let _ = writeln!(
        text,
        "{RATE} connections a second over loopback, as far as the machine makes them, for {} s:\n\n\
         | | connections a second | CPU, % of one core | walks | peak memory |\n|---|---|---|---|---|",
        UNDER_LOAD.as_secs()
    );
    let within = under_load("its budget of 1 %", linger, &[], text)?;
    under_load("a budget of 100 %", linger, &["--cpu-budget", "100"], text)?;
    let _ = writeln!(text);
    let what = format!("`linger serve` at {RATE} connections a second: CPU over {} s", UNDER_LOAD.as_secs());
    // What is saved up at the beginning is a second of CPU.
    let limit = 1.0 + 100.0 / UNDER_LOAD.as_secs_f64();
    demands.push(Demand { what, value: within, limit, unit: " %" });
    Ok(())
}

/// Scrapes while so many sockets are there.
fn scrapes(linger: &Path, groups: u64, text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let world = World::new();
    let host = world.host("load")?;
    let folder = tempfile::tempdir()?;
    let born = Instant::now();
    let made = TimeWaitLoad { total: TIME_WAIT, groups, ..TimeWaitLoad::default() }.make(&host)?;
    eprintln!("{} TIME_WAIT sockets in {} groups made in {:.1} s", made.made, made.groups, made.seconds);
    let served = Exporter::linger(&host, linger, &folder.path().join("history"), &[])?;
    let node = Exporter::node(&host)?;
    let seen = "linger_sockets{netns=\"self\",state=\"time_wait\"}";
    while served.value(&host, seen).unwrap_or(0.0) < TIME_WAIT as f64 * 0.9 {
        ensure!(born.elapsed() < LIFE, "linger serve did not see them");
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut series = Series::default();
    let mut last = 0;
    for i in 0..SCRAPES {
        if born.elapsed() + Duration::from_secs(2) > LIFE {
            break;
        }
        std::thread::sleep(APART);
        let (answer, took) = served.get(&host, "/metrics")?;
        last = answer.len();
        series.add("linger serve", took, Some(served.peak()?));
        if let Some(node) = node.as_ref().filter(|_| i % 10 == 0) {
            let (answer, took) = node.get(&host, "/metrics")?;
            ensure!(
                answer.contains("node_tcp_connection_states{state=\"time_wait\"}"),
                "no tcpstat: {answer}"
            );
            series.add("node_exporter, tcpstat alone", took, Some(node.peak()?));
        }
    }
    let title = format!("A scrape at {TIME_WAIT} TIME_WAIT sockets in {groups} groups");
    let _ =
        writeln!(text, "{title}, rendered anew each time ({last} bytes), over a connection of its own:\n");
    super::table(text, &series, "node_exporter, tcpstat alone");
    let mut walls = series.walls.get("linger serve").context("no scrape in time")?.clone();
    walls.sort_by(f64::total_cmp);
    // The longest of all is as long as the scheduler makes it.
    let most = walls[walls.len() * 95 / 100];
    demands.push(Demand {
        what: format!("{title}: 95 of 100 take at most"),
        value: most * 1e3,
        limit: 10.0,
        unit: " ms",
    });
    if let (Some(ours), Some(node)) =
        (series.median("linger serve"), series.median("node_exporter, tcpstat alone"))
    {
        let what = format!("{title} ÷ node_exporter's tcpstat");
        demands.push(Demand { what, value: ours / node, limit: 0.05, unit: "" });
    }
    let peak = served.peak()? as f64 / 1024.0;
    demands.push(Demand { what: format!("{title}: peak memory"), value: peak, limit: 40.0, unit: " MiB" });
    Ok(())
}

/// CPU while connections come and go, per cent of one core.
fn under_load(title: &str, linger: &Path, more: &[&str], text: &mut String) -> anyhow::Result<f64> {
    let world = World::new();
    let host = world.host("load")?;
    let folder = tempfile::tempdir()?;
    let served = Exporter::linger(&host, linger, &folder.path().join("history"), more)?;
    let (start, before) = (Instant::now(), served.cpu()?);
    let mut made = 0;
    while start.elapsed() < UNDER_LOAD {
        let began = Instant::now();
        // A quarter of a second's, so that they are spread.
        let chunk = TimeWaitLoad { total: RATE / 4, threads: 1, ..TimeWaitLoad::default() }.make(&host)?;
        made += chunk.made;
        std::thread::sleep(Duration::from_millis(250).saturating_sub(began.elapsed()));
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (served.cpu()? - before) / seconds * 100.0;
    let due = served.value(&host, "linger_walks_total{reason=\"due\"}")?;
    let urgent = served.value(&host, "linger_walks_total{reason=\"jump\"}")?;
    let _ = writeln!(
        text,
        "| {title} | {:.0} | {cpu:.2} | {:.0} | {:.1} MiB |",
        made as f64 / seconds,
        due + urgent,
        served.peak()? as f64 / 1024.0
    );
    Ok(cpu)
}
