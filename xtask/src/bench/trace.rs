//! What `linger trace` costs whoever opens and closes connections, beside bcc's tcpstates.

use super::Demand;
use anyhow::{Context, bail, ensure};
use linger_lab::{TimeWaitLoad, World};
use linger_trace::drops::Drops;
use linger_trace::owners::{Options, Owners};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, copy, sink};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Rounds of runs with and without each tracer, begun with another one each time.
const ROUNDS: usize = 9;
const CONNECTIONS: u64 = 100_000;
const OWNERS: u32 = 600_000;

/// Debian's two: what is compiled when the package is, and what compiles itself when it is started.
const TCPSTATES: [(&str, &str); 2] = [("tcpstates", "libbpf-tools"), ("tcpstates-bpfcc", "bpfcc-tools")];

/// What runs beside the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    Trace,
    Drops,
    Tcpstates(&'static str),
}

impl Beside {
    fn name(self) -> String {
        match self {
            Beside::Nothing => "nothing".to_owned(),
            Beside::Trace => "`linger trace`".to_owned(),
            Beside::Drops => "the probe of `linger trace drops`".to_owned(),
            Beside::Tcpstates(program) => format!("bcc's `{program}`"),
        }
    }
}

pub fn measure(text: &mut String, demands: &mut Vec<Demand>) -> anyhow::Result<()> {
    let mut turns = vec![Beside::Nothing, Beside::Trace, Beside::Drops];
    let mut refused = Vec::new();
    for (program, package) in TCPSTATES {
        match Tcpstates::start(program) {
            Ok(started) => {
                started.end()?;
                turns.push(Beside::Tcpstates(program));
            }
            Err(error) => {
                refused.push(format!("`{program}` (Debian's {package}) does not run here: {error:#}"))
            }
        }
    }
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); turns.len()];
    let mut lost: Vec<Vec<f64>> = vec![Vec::new(); turns.len()];
    let mut spent: Vec<Vec<f64>> = vec![Vec::new(); turns.len()];
    let (mut own_cpu, mut missed) = (Vec::new(), Vec::new());
    let mut counted = Counted::default();
    for round in 0..ROUNDS {
        let mut now = vec![0.0; turns.len()];
        for turn in 0..turns.len() {
            let at = (round + turn) % turns.len();
            let run = run(turns[at])?;
            now[at] = run.per_second;
            spent[at].push(run.load_us);
            own_cpu.extend(run.cpu_ns);
            missed.extend(run.missed);
        }
        for (at, rate) in now.iter().enumerate() {
            rates[at].push(*rate);
            lost[at].push((1.0 - rate / now[0]) * 100.0);
        }
        let said: Vec<String> =
            turns.iter().zip(&now).map(|(it, rate)| format!("{rate:.0} beside {}", it.name())).collect();
        eprintln!("connections a second: {}", said.join(", "));
        // Counting costs, too, so it has runs of its own.
        counted.run()?;
    }
    let _ = writeln!(
        text,
        "## `linger trace`\n\n\
         {} short connections over loopback, both ends on this host, ten changes of state each: {ROUNDS} rounds of\n\
         a run beside each of these, begun with another one each time; what is lost is the ratio to the run beside nothing of\n\
         the same round. The probes' time is the kernel's own count (BPF_ENABLE_STATS) in runs of their own; it includes the\n\
         counting. The tables take {:.1} MiB, for {} owners. tcpstates sends an event for each change of state, and its output\n\
         is read and thrown away.\n",
        CONNECTIONS,
        counted.memory as f64 / 1024.0 / 1024.0,
        counted.capacity,
    );
    for said in &refused {
        let _ = writeln!(text, "{said}\n");
    }
    let _ = writeln!(text, "| | median | least | most |\n|---|---|---|---|");
    let mut row = |what: &str, mut values: Vec<f64>| -> f64 {
        values.sort_by(f64::total_cmp);
        let median = values[values.len() / 2];
        let (least, most) = (values[0], values[values.len() - 1]);
        let places = if most >= 1000.0 { 0 } else { 2 };
        let _ = writeln!(text, "| {what} | {median:.places$} | {least:.places$} | {most:.places$} |");
        median
    };
    for (it, rates) in turns.iter().zip(rates) {
        row(&format!("connections a second beside {}", it.name()), rates);
    }
    for (it, spent) in turns.iter().zip(spent) {
        row(&format!("µs of the load's CPU per connection beside {}", it.name()), spent);
    }
    let mut losses = Vec::new();
    for (it, lost) in turns.iter().zip(lost).skip(1) {
        losses.push((*it, row(&format!("% of them lost beside {}", it.name()), lost)));
    }
    row("`linger trace`: ns per event", counted.ns_per_event);
    let cost = row("`linger trace`: ns per connection", counted.ns_per_connection);
    row("probe of `linger trace drops`: packets dropped, per connection", counted.drops_per_connection);
    row("probe of `linger trace drops`: ns per connection", counted.drop_ns_per_connection);
    if !own_cpu.is_empty() {
        row("bcc's tcpstates: ns of its own process's CPU per connection", own_cpu);
        row("bcc's tcpstates: % of the changes of state that it lost", missed);
    }
    let _ = writeln!(text);
    let mut demand = |what: String, value, limit, unit| demands.push(Demand { what, value, limit, unit });
    demand("`linger trace`: CPU per connection, both ends".to_owned(), cost / 1000.0, 1.5, " µs");
    let loss =
        |wanted: Beside| losses.iter().find(|(it, _)| *it == wanted).map_or(f64::NAN, |(_, loss)| *loss);
    demand("`linger trace`: load lost".to_owned(), loss(Beside::Trace), 5.0, " %");
    for (it, loss_of_it) in &losses {
        if let Beside::Tcpstates(_) = it {
            let what = format!("`linger trace`: load lost ÷ that lost beside {}", it.name());
            demand(what, loss(Beside::Trace).max(0.0) / loss_of_it.max(0.01), 0.5, "");
        }
    }
    Ok(())
}

/// What a run took.
struct Run {
    per_second: f64,
    /// CPU of the load, the kernel's part included, microseconds for each connection.
    load_us: f64,
    /// tcpstates' own CPU for a connection, nanoseconds.
    cpu_ns: Option<f64>,
    /// The share of the events that tcpstates lost, percent.
    missed: Option<f64>,
}

fn load(world: &World) -> anyhow::Result<(linger_lab::Host, TimeWaitLoad)> {
    Ok((world.host("load")?, TimeWaitLoad { total: CONNECTIONS, ..TimeWaitLoad::default() }))
}

fn make(load: &TimeWaitLoad, host: &linger_lab::Host) -> anyhow::Result<f64> {
    let made = load.make(host)?;
    ensure!(made.made == CONNECTIONS, "the load made {} connections: {:?}", made.made, made.errors);
    Ok(made.per_second())
}

fn owners(host: &linger_lab::Host) -> anyhow::Result<Owners> {
    let options = Options { netns: Some(vec![host.inode()]), owners: OWNERS, accepted_by_peer: false };
    Ok(Owners::start(&options, &[])?)
}

fn run(beside: Beside) -> anyhow::Result<Run> {
    let world = World::new();
    let (host, load) = load(&world)?;
    let (mut cpu_ns, mut missed) = (None, None);
    let own = std::process::id();
    let mut load_us = 0.0;
    let mut make = |load: &TimeWaitLoad, host: &linger_lab::Host| -> anyhow::Result<f64> {
        let before = cpu_of(own)?;
        let rate = make(load, host)?;
        load_us = (cpu_of(own)? - before).as_secs_f64() * 1e6 / CONNECTIONS as f64;
        Ok(rate)
    };
    let per_second = match beside {
        Beside::Nothing => make(&load, &host)?,
        Beside::Trace => {
            let owners = owners(&host)?;
            let rate = make(&load, &host)?;
            let closed: u64 = owners.flows()?.values().map(|f| f.closed_first).sum();
            ensure!(closed == CONNECTIONS, "the trace counted {closed} connections");
            rate
        }
        Beside::Drops => {
            let _drops = Drops::start()?;
            make(&load, &host)?
        }
        Beside::Tcpstates(program) => {
            let tracer = Tcpstates::start(program)?;
            let before = tracer.cpu()?;
            let rate = make(&load, &host)?;
            // What it has not read yet when the load ends is part of the cost.
            tracer.settle();
            cpu_ns = Some((tracer.cpu()? - before).as_nanos() as f64 / CONNECTIONS as f64);
            let lost = tracer.end()?;
            // Ten for each connection, as many as come; those of the listeners are few.
            missed = Some(lost as f64 / (CONNECTIONS * 10) as f64 * 100.0);
            rate
        }
    };
    Ok(Run { per_second, load_us, cpu_ns, missed })
}

/// Runs with the kernel counting what the probes take.
#[derive(Default)]
struct Counted {
    ns_per_connection: Vec<f64>,
    ns_per_event: Vec<f64>,
    drop_ns_per_connection: Vec<f64>,
    drops_per_connection: Vec<f64>,
    memory: u64,
    capacity: u64,
}

impl Counted {
    fn run(&mut self) -> anyhow::Result<()> {
        let world = World::new();
        let (host, load) = load(&world)?;
        let _counting = linger_trace::count_cost()?;
        let (owners, drops) = (owners(&host)?, Drops::start()?);
        make(&load, &host)?;
        let each = |n: u128| n as f64 / CONNECTIONS as f64;
        let (events, time) = owners.cost()?;
        self.ns_per_connection.push(each(time.as_nanos()));
        self.ns_per_event.push(time.as_nanos() as f64 / events.max(1) as f64);
        let (events, time) = drops.cost()?;
        self.drop_ns_per_connection.push(each(time.as_nanos()));
        self.drops_per_connection.push(each(events.into()));
        (self.memory, self.capacity) = (owners.memory_bytes(), owners.capacity());
        Ok(())
    }
}

/// CPU that a process has taken.
fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').context("its stat")?.1;
    let ticks: u64 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// tcpstates as it runs, in a mount namespace of its own with tracefs; it traces the whole host.
struct Tcpstates {
    child: Child,
    output: JoinHandle<u64>,
    said: JoinHandle<String>,
}

/// The Python one compiles for some seconds.
const PATIENCE: Duration = Duration::from_secs(60);

impl Tcpstates {
    fn start(program: &str) -> anyhow::Result<Tcpstates> {
        let script = "mount -t tracefs tracefs /sys/kernel/tracing && exec \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, program]);
        command.env("PATH", crate::sh::search_path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("unshare")?;
        let mut stdout = child.stdout.take().context("its output")?;
        let mut stderr = child.stderr.take().context("its errors")?;
        let output = thread::spawn(move || copy(&mut stdout, &mut sink()).unwrap_or(0));
        let said = thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        let mut started = Tcpstates { child, output, said };
        let start = Instant::now();
        while !started.is_attached() {
            if let Some(status) = started.child.try_wait()? {
                let said = started.said.join().unwrap_or_default();
                // What its helpers lack is no reason, and a backtrace is none for a person.
                let words = said.lines().take_while(|line| !line.starts_with("Traceback"));
                let words: Vec<&str> =
                    words.filter(|line| !line.contains("modprobe")).map(str::trim).collect();
                bail!("{} ({status})", words.join("; "));
            }
            if start.elapsed() > PATIENCE {
                started.child.kill()?;
                started.child.wait()?;
                bail!("nothing is attached after {} s", PATIENCE.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        // The buffers come after the link.
        thread::sleep(Duration::from_millis(300));
        Ok(started)
    }

    fn is_attached(&self) -> bool {
        let Ok(fds) = fs::read_dir(format!("/proc/{}/fd", self.child.id())) else { return false };
        let links: Vec<_> = fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        links.iter().filter(|link| link.to_string_lossy().contains("[perf_event]")).count() >= 2
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        cpu_of(self.child.id())
    }

    /// Waits until it takes no more CPU.
    fn settle(&self) {
        let mut last = Duration::MAX;
        for _ in 0..100 {
            let now = self.cpu().unwrap_or_default();
            if now == last {
                return;
            }
            last = now;
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends it; how many events it says it lost.
    fn end(mut self) -> anyhow::Result<u64> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        self.child.wait()?;
        let _ = self.output.join();
        let said = self.said.join().unwrap_or_default();
        // `lost 123 events on CPU #1`, and the Python one's `Possibly lost 123 samples`.
        let number = |line: &str| -> Option<u64> {
            line.to_ascii_lowercase().split("lost ").nth(1)?.split(' ').next()?.parse().ok()
        };
        Ok(said.lines().filter_map(number).sum())
    }
}
