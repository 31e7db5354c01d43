//! `linger report`: a page for a post-mortem.

use super::check::{elsewhere, sampler_options};
use crate::cli::ReportArgs;
use crate::diagnose::timestamp;
use crate::kept::Kept;
use crate::render::{bytes, clean, page};
use crate::trend::Trend;
use crate::{config, diagnose, targets};
use anyhow::{Context, bail};
use linger_collect::{Depth, Sampler};
use linger_model::Window;
use linger_model::aggregate::Gather;
use linger_model::report::Imported;
use linger_rules::{Config, Selection};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Reads, writes the page. The status is 0 whatever was found.
pub fn run(args: &ReportArgs) -> anyhow::Result<u8> {
    let to_stdout = args.output == Path::new("-");
    if !to_stdout && fs::symlink_metadata(&args.output).is_ok() {
        bail!("{}", taken(&args.output));
    }
    let config = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
    let mut trend = Trend::default();
    let (window, imported): (Window, Option<Imported>) = match &args.from {
        Some(from) => {
            let (window, account) = elsewhere(from, args.between, &config, Some(&mut trend))?;
            (window, Some(account))
        }
        None => (live(args, &config, &mut trend)?, None),
    };
    let mut report = diagnose::report(&window, &config, &Selection::default());
    report.imported = imported;
    let html = page::html(&page::Content {
        report: &report,
        trend: &trend,
        from: timestamp(window.first().taken_at_us),
        normal: &|state| config.normal_below(state),
    })
    .context("cannot make the page")?;
    if to_stdout {
        io::stdout().write_all(html.as_bytes())?;
        return Ok(0);
    }
    write(&args.output, html.as_bytes())?;
    let shown = clean(&args.output.display().to_string());
    writeln!(io::stderr(), "{shown}: {}, {}", report.verdict.name(), bytes(html.len() as u64))?;
    Ok(0)
}

/// Samples until the time is over; those in between keep what a trend needs.
fn live(args: &ReportArgs, config: &Config, trend: &mut Trend) -> anyhow::Result<Window> {
    let targets = targets::open(&args.netns)?;
    let [namespace] = targets.namespaces.as_slice() else {
        bail!("a page is of one namespace: make one for each");
    };
    let namespace = std::slice::from_ref(namespace);
    let mut sampler = Sampler::new(sampler_options(config, Gather::CHECK));
    let (mut kept, mut due) = (Kept::new(), Duration::ZERO);
    loop {
        std::thread::sleep(due.saturating_sub(sampler.elapsed()));
        due = sampler.elapsed() + args.interval;
        kept.push(trend.add(sampler.sample(namespace, Depth::Full).remove(0)));
        if due > args.duration {
            break;
        }
    }
    kept.into_window().context("nothing could be read")
}

/// All of it or nothing, for its owner alone: it tells who talks to whom.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    let name = path.file_name().with_context(|| format!("{shown} names no file"))?;
    let part = path.with_file_name(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    // A link is refused where something of that name came meanwhile. Some filesystems have none.
    let placed = written.and_then(|()| match fs::hard_link(&part, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists && !path.exists() => fs::rename(&part, path),
        other => other,
    });
    let _ = fs::remove_file(&part);
    match placed {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => bail!("{}", taken(path)),
        other => other.with_context(|| format!("cannot write to {shown}")),
    }
}

fn taken(path: &Path) -> String {
    format!("{} is there already: name another file, or remove it", path.display())
}
