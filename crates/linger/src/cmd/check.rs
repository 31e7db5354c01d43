//! `linger check`

use super::{history, show, sysctl_keys};
use crate::cli::{CheckArgs, FailOn};
use crate::cmd::trace::{Tracing, daemon};
use crate::render::report::{self, text};
use crate::render::style::Style;
use crate::trend::Trend;
use crate::{UNKNOWN, config, diagnose, import, nearest, recording, targets};
use anyhow::{Context, bail};
use linger_collect::{Depth, Sampler, SamplerOptions};
use linger_import::Options;
use linger_model::aggregate::Gather;
use linger_model::report::{Imported, Reports, Severity, Unknown, Verdict};
use linger_model::{Report, Snapshot, State, Window};
use linger_netns::Netns;
use linger_rules::{Config, RULES, Selection, rule};
use linger_tune::Signals;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Takes samples, runs the rules, prints the report.
pub fn run(args: &CheckArgs, style: &Style) -> anyhow::Result<u8> {
    let selection = selection(args)?;
    let config = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
    if let Some(from) = &args.from {
        return imported(args, from, &config, &selection, style);
    }
    if let Some(at) = args.at {
        return then(args, at, &config, &selection, style);
    }
    let targets = targets::open(&args.netns)?;
    let mut options = sampler_options(&config, Gather::CHECK);
    let tracing = match args.trace {
        Some(time) => {
            let signals = Signals::hold_back().context("cannot hold signals back")?;
            let tracing = Tracing::start(&targets.namespaces, time);
            tracing.wait(args.interval * (args.samples - 1), &signals);
            signals.release().context("cannot let signals through")?;
            options.trace = Some(tracing.trace());
            Some(tracing)
        }
        None => None,
    };
    let mut taken = sample_as(&targets.namespaces, args.samples, args.interval, options);
    if let Some(tracing) = &tracing {
        tracing.explain_drops(taken.iter_mut().filter_map(|snapshots| snapshots.last_mut()));
    }
    let windows: Vec<Window> = taken.into_iter().filter_map(Window::new).collect();
    let mut reports: Vec<Report> = Vec::with_capacity(windows.len());
    for window in &windows {
        // What belongs to the host stands in the first report only.
        let selection = Selection { skip_host: !reports.is_empty(), ..selection.clone() };
        reports.push(diagnose::report(window, &config, &selection));
    }
    if let Some(first) = reports.first_mut() {
        first
            .unknown
            .extend(targets.gaps.iter().map(|gap| Unknown { code: String::new(), gap: gap.clone() }));
    }
    let normal = |state: State| config.normal_below(state);
    let options = report::Options { verbose: args.verbose, one_of_several: targets.several, normal: &normal };
    let status =
        reports.iter().map(|r| status(r, args.fail_on)).max_by_key(|s| severity_of(*s)).unwrap_or(UNKNOWN);
    let shown = if targets.several {
        show(args.format, &Reports::new(reports), |all| {
            let texts: Vec<String> = all.reports.iter().map(|r| text(r, style, &options)).collect();
            texts.join("\n")
        })
    } else if let [report] = reports.as_slice() {
        show(args.format, report, |report| text(report, style, &options))
    } else {
        Ok(())
    };
    match shown {
        // What was found stays found, whether or not it is read to its end.
        Err(error) if !crate::reader_left(&error) => Err(error),
        _ => Ok(status),
    }
}

/// The reports of a moment, as `linger serve` made them.
fn then(
    args: &CheckArgs,
    at: jiff::Timestamp,
    config: &Config,
    selection: &Selection,
    style: &Style,
) -> anyhow::Result<u8> {
    let netns = &args.netns.netns;
    let (mut reports, around) = history::moment(at, &args.history, netns, style)?;
    for report in &mut reports {
        only(report, selection);
    }
    let several = netns.len() > 1 || netns.iter().any(|name| name == "all");
    let normal = |state: State| config.normal_below(state);
    let options = report::Options { verbose: args.verbose, one_of_several: several, normal: &normal };
    let status =
        reports.iter().map(|r| status(r, args.fail_on)).max_by_key(|s| severity_of(*s)).unwrap_or(UNKNOWN);
    let shown = match reports.as_slice() {
        [report] if !several => show(args.format, report, |report| {
            let mut text = text(report, style, &options);
            if let Some(ns) = around.namespaces.first() {
                crate::render::history::around(&mut text, ns, &around, style);
            }
            text
        }),
        _ => show(args.format, &Reports::new(reports), |all| {
            let texts: Vec<String> = all.reports.iter().map(|r| text(r, style, &options)).collect();
            texts.join("\n")
        }),
    };
    match shown {
        Err(error) if !crate::reader_left(&error) => Err(error),
        _ => Ok(status),
    }
}

/// Leaves what was asked for of a report that was made before. A rule of which it says nothing is unknown.
fn only(report: &mut Report, selection: &Selection) {
    let wants = |code: &str| rule(code).is_none_or(|rule| selection.wants(rule));
    report.findings.retain(|finding| wants(&finding.code));
    report.ruled_out.retain(|out| wants(&out.code));
    report.unknown.retain(|unknown| wants(&unknown.code));
    for code in &selection.only {
        let told = report.findings.iter().any(|f| f.code == *code)
            || report.ruled_out.iter().any(|r| r.code == *code)
            || report.unknown.iter().any(|u| u.code == *code);
        if !told {
            let gap = "the report of that moment does not speak of it".to_owned();
            report.unknown.push(Unknown { code: (*code).to_owned(), gap });
        }
    }
    let unanswered = !selection.only.is_empty() && report.unknown.iter().any(|u| !u.code.is_empty());
    let unreadable = report.states.is_none() || report.verdict == Verdict::Unknown;
    report.verdict = match report.findings.iter().map(|f| f.severity).max() {
        Some(Severity::Critical) => Verdict::Critical,
        Some(Severity::Warning) => Verdict::Warning,
        _ if unreadable || unanswered => Verdict::Unknown,
        _ => Verdict::Ok,
    };
}

/// The report of what was read elsewhere.
fn imported(
    args: &CheckArgs,
    from: &Path,
    config: &Config,
    selection: &Selection,
    style: &Style,
) -> anyhow::Result<u8> {
    let (window, account) = elsewhere(from, args.between, config, None)?;
    let mut report = diagnose::report(&window, config, selection);
    report.imported = Some(account);
    let normal = |state: State| config.normal_below(state);
    let options = report::Options { verbose: args.verbose, one_of_several: false, normal: &normal };
    let status = status(&report, args.fail_on);
    match show(args.format, &report, |report| text(report, style, &options)) {
        Err(error) if !crate::reader_left(&error) => Err(error),
        _ => Ok(status),
    }
}

/// What was read elsewhere: a recording from one moment to another, or anything else that can be imported. What charts
/// show of it is added to `trend`.
pub fn elsewhere(
    from: &Path,
    between: Option<(Duration, Duration)>,
    config: &Config,
    trend: Option<&mut Trend>,
) -> anyhow::Result<(Window, Imported)> {
    let mut input = import::open(from)?;
    let name = input.name.clone();
    if let Some(place) = input.recording() {
        return recording::window(&name, place, between, trend);
    }
    if between.is_some() {
        bail!("--between is for a recording, and {name} is none");
    }
    let (idle_ms, stuck_ms) = waits(config);
    let import = input.import(Options { sysctls: sysctl_keys(), idle_ms, stuck_ms })?;
    let snapshot = match trend {
        Some(trend) => trend.add(import.snapshot),
        None => import.snapshot,
    };
    Ok((Window::of_one(snapshot), import.account))
}

/// From when a connection counts as idle, and from when as stuck, milliseconds.
fn waits(config: &Config) -> (u32, u32) {
    let milliseconds = |seconds: f64| (seconds * 1000.0).clamp(0.0, f64::from(u32::MAX)) as u32;
    (milliseconds(config.idle_seconds()), milliseconds(config.stuck_ms() / 1000.0))
}

/// Critical is worse than a warning, a warning than "could not tell", that than OK.
fn severity_of(status: u8) -> u8 {
    match status {
        2 => 3,
        1 => 2,
        3 => 1,
        _ => 0,
    }
}

fn status(report: &Report, fail_on: FailOn) -> u8 {
    let counts = |severity: Severity| {
        severity
            >= match fail_on {
                FailOn::Info => Severity::Info,
                FailOn::Warning => Severity::Warning,
                FailOn::Critical => Severity::Critical,
            }
    };
    match report.findings.iter().map(|f| f.severity).filter(|s| counts(*s)).max() {
        Some(Severity::Critical) => 2,
        Some(_) => 1,
        None if report.verdict == Verdict::Unknown => UNKNOWN,
        None => 0,
    }
}

fn selection(args: &CheckArgs) -> anyhow::Result<Selection> {
    let codes = |option: &str, texts: &[String]| -> anyhow::Result<Vec<&'static str>> {
        texts
            .iter()
            .map(|text| match rule(text.trim()) {
                Some(rule) => Ok(rule.code),
                None => {
                    let known = RULES.iter().flat_map(|r| [r.code, r.name]);
                    bail!("{option} {text}: no rule has this code{}", nearest::hint(text, known))
                }
            })
            .collect()
    };
    let selection = Selection {
        only: codes("--select", &args.select)?,
        without: codes("--ignore", &args.ignore)?,
        skip_host: false,
    };
    if !RULES.iter().any(|r| selection.wants(r)) {
        bail!("--select and --ignore together leave no rule");
    }
    Ok(selection)
}

/// What to read for the rules under these thresholds; owners of TIME_WAIT sockets from a trace daemon, if one runs.
pub fn sampler_options(config: &Config, gather: Gather) -> SamplerOptions {
    let (idle_ms, stuck_ms) = waits(config);
    SamplerOptions {
        gather,
        sysctls: sysctl_keys(),
        idle_ms,
        stuck_ms,
        trace: Some(Arc::new(daemon::running)),
    }
}

/// Each namespace's snapshots, oldest first. All but the last sample are shallow: TIME_WAIT is counted, not walked.
/// Those between the first and the last keep what a trend needs.
pub fn sample(namespaces: &[Netns], samples: u32, interval: Duration, config: &Config) -> Vec<Vec<Snapshot>> {
    sample_as(namespaces, samples, interval, sampler_options(config, Gather::CHECK))
}

fn sample_as(
    namespaces: &[Netns],
    samples: u32,
    interval: Duration,
    options: SamplerOptions,
) -> Vec<Vec<Snapshot>> {
    let mut sampler = Sampler::new(options);
    let mut taken: Vec<Vec<Snapshot>> = namespaces.iter().map(|_| Vec::new()).collect();
    // Counters are read after the processes, which takes as long as it takes: from there the interval runs, in every
    // namespace, so that no window is shorter than what was asked for.
    let mut due = Duration::ZERO;
    for i in 0..samples {
        std::thread::sleep(due.saturating_sub(sampler.elapsed()));
        let depth = match i {
            i if i + 1 == samples => Depth::Full,
            0 => Depth::Past,
            _ => Depth::Trend,
        };
        for (snapshots, snapshot) in taken.iter_mut().zip(sampler.sample(namespaces, depth)) {
            due = due.max(Duration::from_micros(snapshot.monotonic_us) + interval);
            snapshots.push(snapshot);
        }
    }
    taken
}
