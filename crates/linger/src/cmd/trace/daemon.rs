//! `linger trace --daemon`, `status` and `stop`; and what others know by it.

use super::{OWNERS_PER_S, REMEMBERED_S, TRACED, WALK_EVERY, gap, traced};
use crate::cli::{TraceArgs, TraceStatusArgs};
use crate::cmd::show;
use anyhow::{Context, bail};
use linger_collect::Traced;
use linger_model::snapshot::{Gap, GapKind, Reading};
use linger_netns::reachable;
use linger_trace::owners::{Options, Owners, Pins, Remembered};
use linger_tune::Signals;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use schemars::JsonSchema;
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Seek, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where BPF maps are pinned by custom; systemd mounts it.
const PINS: &str = "/sys/fs/bpf/linger";
/// Held as long as a daemon runs; has its process id.
const LOCK: &str = "/run/linger/trace.lock";
/// Unpinning takes no time; a walk that is under way takes a while where there are millions of sockets.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a trace runs as a daemon.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct StatusReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Whether it runs.
    pub running: bool,
    /// Its process id, as it sees itself.
    pub pid: Option<u32>,
    /// Where its maps are pinned.
    pub pins: String,
    /// Pins that a killed daemon has left; `linger trace stop` takes them away.
    pub stale: bool,
    /// TIME_WAIT sockets' owners that can be remembered at a time; null where it does not run, or that cannot be read.
    pub owners_capacity: Option<u64>,
    /// Processes seen so far.
    pub processes: Option<u64>,
    /// Owners that it had no room for: `--owners` makes room.
    pub owners_lost: Option<u64>,
    /// What could not be read, and how to get it.
    #[serde(rename = "unknown")]
    pub gaps: Vec<String>,
}

/// The process id of the daemon that runs; `None` if none does.
fn holder() -> anyhow::Result<Option<u32>> {
    let file = match File::open(LOCK) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(format!("cannot read {LOCK}")),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            let mut text = String::new();
            // Just begun, it has not written it yet.
            (&file).take(32).read_to_string(&mut text).with_context(|| format!("cannot read {LOCK}"))?;
            Ok(Some(text.trim().parse().unwrap_or(0)))
        }
        Err(error) => Err(error).context(format!("cannot lock {LOCK}")),
    }
}

/// Takes the lock for as long as the file is open.
fn lock() -> anyhow::Result<File> {
    let folder = Path::new(LOCK).parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make {} (run as root)", folder.display()))?;
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(LOCK)
        .with_context(|| format!("cannot open {LOCK} (run as root)"))?;
    // Whoever asks for the status holds it for a moment.
    for _ in 0..40 {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                file.set_len(0).and_then(|()| file.rewind())?;
                writeln!(file, "{}", std::process::id())?;
                return Ok(file);
            }
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(25)),
            Err(error) => return Err(error).context(format!("cannot lock {LOCK}")),
        }
    }
    let pid = holder()?.filter(|pid| *pid != 0).map_or_else(String::new, |pid| format!(" (pid {pid})"));
    bail!("a trace runs as a daemon already{pid}: `linger trace stop` ends it");
}

/// Traces until it is told to stop.
pub fn run(args: &TraceArgs) -> anyhow::Result<u8> {
    let signals = Signals::hold_back().context("cannot hold signals back")?;
    let lock = lock()?;
    let pins = Pins::at(PINS);
    // The lock was free: they are a killed daemon's.
    pins.remove()?;
    let owners = args.owners.unwrap_or((REMEMBERED_S * OWNERS_PER_S) as u32);
    let options = Options { netns: None, owners, accepted_by_peer: false };
    let mut owners =
        Owners::start(&options, &reachable().namespaces).context("nothing can be traced here")?;
    let done = owners.pin(&pins).map_err(anyhow::Error::from).and_then(|()| {
        eprintln!("linger: tracing; `linger trace stop` ends it");
        loop {
            if signals.wait(WALK_EVERY).is_some() {
                return Ok(0);
            }
            // Keeps the owners of sockets that wait long for the peer's FIN.
            owners.time_wait(&reachable().namespaces)?;
        }
    });
    let removed = pins.remove();
    drop(owners);
    drop(lock);
    let status = done?;
    removed?;
    Ok(status)
}

/// Says whether it runs.
pub fn status(args: &TraceStatusArgs, style: &crate::render::style::Style) -> anyhow::Result<u8> {
    let pid = holder()?;
    let pins = Pins::at(PINS);
    let mut gaps = Vec::new();
    let opened = pid.and_then(|_| match Remembered::open(&pins) {
        Ok(remembered) => Some(remembered),
        Err(error) => {
            gaps.push(error.to_string());
            None
        }
    });
    let report = StatusReport {
        schema: 1,
        running: pid.is_some(),
        pid: pid.filter(|pid| *pid != 0),
        pins: PINS.to_owned(),
        stale: pid.is_none() && pins.exist(),
        owners_capacity: opened.as_ref().map(Remembered::capacity),
        processes: opened.as_ref().map(|it| it.processes().len() as u64),
        owners_lost: opened.as_ref().map(Remembered::owners_lost),
        gaps,
    };
    show(args.format, &report, |r| crate::render::trace_status::text(r, style))?;
    Ok(u8::from(!report.running))
}

/// Ends it, and takes away what a killed one has left.
pub fn stop() -> anyhow::Result<u8> {
    let pins = Pins::at(PINS);
    let Some(pid) = holder()? else {
        let left = pins.exist();
        pins.remove()?;
        eprintln!(
            "linger: no trace runs as a daemon{}",
            if left { "; what a killed one had left in the kernel is gone" } else { "" }
        );
        return Ok(0);
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.with_context(|| format!("{LOCK} has no process id"))?;
    match kill_process(process, Signal::TERM) {
        // It ended just now.
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => {
            return Err(error).context(format!("cannot end the trace (pid {pid}; run as root)"));
        }
    }
    let start = Instant::now();
    while holder()?.is_some() {
        if start.elapsed() > PATIENCE {
            bail!("the trace (pid {pid}) did not end within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(0)
}

/// What a daemon remembers, if one runs here.
///
/// # Errors
/// Why that cannot be read.
pub fn running() -> Reading<Option<Traced>> {
    let pins = Pins::at(PINS);
    // Who may not look there knows of none.
    if !pins.exist() {
        return Ok(None);
    }
    let holder = holder().map_err(|e| Gap::new(TRACED, GapKind::Denied, format!("{e:#}"), "run as root"))?;
    if holder.is_none() {
        let detail = "the trace daemon was killed, and its owners are old";
        return Err(Gap::new(TRACED, GapKind::Partial, detail, "`linger trace stop` clears them"));
    }
    Remembered::open(&pins).map(|it| Some(traced(it))).map_err(|error| gap(&error))
}
