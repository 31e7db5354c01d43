//! `linger record`

use super::check::sampler_options;
use crate::cli::{RecordArgs, Redact};
use crate::render::{self, bytes};
use crate::targets;
use anyhow::{Context, bail};
use linger_collect::{Depth, Sampler};
use linger_facts::cookbook;
use linger_import::Redactor;
use linger_import::recording::{About, Redaction, head, sample};
use linger_model::Snapshot;
use linger_model::aggregate::Gather;
use linger_rules::{Config, counted};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Groups kept of a sample: fewer than for a look, as there are many.
const GATHER: Gather = Gather { tuples: 20_000, clients: 10_000, holders: true };

/// Samples until the time is over, each written as soon as it is taken.
pub fn run(args: &RecordArgs) -> anyhow::Result<u8> {
    let targets = targets::open(&args.netns)?;
    let [namespace] = targets.namespaces.as_slice() else {
        bail!("a recording is of one namespace: record each for itself");
    };
    let namespace = std::slice::from_ref(namespace);
    let to_stdout = args.output == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        bail!("a recording is no text for a terminal: name a file, or redirect standard output");
    }
    let file = if to_stdout { None } else { Some(create(args)?) };
    let about = about(args);
    let shown = if to_stdout { "standard output".to_owned() } else { args.output.display().to_string() };
    let mut written = 0u64;
    let mut write = |bytes: &[u8]| -> anyhow::Result<u64> {
        // One write for each frame: what is cut short is the last.
        let done = match &file {
            Some(file) => (&*file).write_all(bytes),
            None => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
        };
        done.with_context(|| format!("cannot write to {shown}"))?;
        written += bytes.len() as u64;
        Ok(written)
    };
    write(&head(&about)?)?;
    let mut sampler = Sampler::new(sampler_options(&Config::default(), GATHER));
    let mut redactor = Redactor::new(about.redaction);
    let most = args.max_size.saturating_mul(1 << 20);
    let progress = Progress::new(args.duration);
    let (mut samples, mut due, mut size) = (0u64, Duration::ZERO, 0);
    let mut full = false;
    loop {
        std::thread::sleep(due.saturating_sub(sampler.elapsed()));
        let at = sampler.elapsed();
        let mut snapshot = sampler.sample(namespace, Depth::Full).remove(0);
        without_arguments(&mut snapshot);
        let bytes = sample(&redactor.redact(snapshot))?;
        if samples > 0 && size + bytes.len() as u64 > most {
            full = true;
            break;
        }
        size = write(&bytes)?;
        samples += 1;
        progress.show(at, samples, size);
        due = at + args.interval;
        if due > args.duration {
            break;
        }
    }
    if let Some(file) = &file {
        file.sync_all().with_context(|| format!("cannot write to {shown}"))?;
    }
    progress.end();
    let mut said = format!("{}: {}, {}", render::clean(&shown), counted(samples, "sample"), bytes(size));
    if full {
        said.push_str(&format!(
            "; ended early, as it would have passed {} MiB (--max-size): a longer --interval needs less",
            args.max_size
        ));
    }
    writeln!(io::stderr(), "{said}")?;
    Ok(0)
}

/// Leaves of command lines what tells which remedies fit: arguments may be passwords.
fn without_arguments(snapshot: &mut Snapshot) {
    if let Ok(processes) = &mut Arc::make_mut(&mut snapshot.host).processes {
        for process in &mut processes.list {
            process.cmdline = process.cmdline.as_deref().and_then(cookbook::known_words);
        }
    }
}

fn about(args: &RecordArgs) -> About {
    About {
        linger: env!("CARGO_PKG_VERSION").to_owned(),
        redaction: match args.redact {
            None => Redaction::None,
            Some(Redact::Addresses) => Redaction::Addresses,
            Some(Redact::All) => Redaction::All,
        },
        interval_ms: u64::try_from(args.interval.as_millis()).unwrap_or(u64::MAX),
    }
}

/// A new file, which only its owner reads: it tells who talks to whom.
fn create(args: &RecordArgs) -> anyhow::Result<File> {
    let path = &args.output;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already: name another file, or remove it", path.display())
        }
        other => other.with_context(|| format!("cannot write to {}", path.display())),
    }
}

/// A line that is written over, on a terminal.
struct Progress {
    on: bool,
    duration: Duration,
}

impl Progress {
    fn new(duration: Duration) -> Progress {
        Progress { on: io::stderr().is_terminal(), duration }
    }

    fn show(&self, at: Duration, samples: u64, size: u64) {
        if !self.on {
            return;
        }
        let share = (at.as_secs_f64() / self.duration.as_secs_f64().max(0.001)).clamp(0.0, 1.0);
        let full = (share * 30.0) as usize;
        let bar: String = (0..30).map(|i| if i < full { '#' } else { '.' }).collect();
        let samples = counted(samples, "sample");
        let _ = write!(io::stderr(), "\r[{bar}] {:3.0} %  {samples}, {}\x1b[K", share * 100.0, bytes(size));
    }

    fn end(&self) {
        if self.on {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
