//! `linger lab run`

use super::load::load;
use super::progress::Board;
use super::runner::Runner;
use super::settings::adjust;
use crate::UNKNOWN;
use crate::cli::RunArgs;
use crate::cmd::show;
use crate::render::lab::{run_text, runs_text};
use crate::render::style::Style;
use anyhow::anyhow;
use linger_lab::run::{RUN_SCHEMA, RunReport};
use linger_lab::scenario::{Adjust, Scenario, library};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// Runs of several scenarios.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Runs {
    /// The version of this format.
    pub schema: u32,
    /// Whether all ran, and each was as expected.
    pub as_expected: bool,
    /// Those that ran, in the order asked for.
    pub runs: Vec<RunReport>,
    /// Those that could not run.
    pub could_not_run: Vec<NotRun>,
    /// Those that were left out.
    pub left_out: Vec<NotRun>,
}

/// A scenario that did not run.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NotRun {
    /// The scenario's name.
    pub scenario: String,
    /// Why not.
    pub reason: String,
}

/// Runs what was asked for.
pub fn run(args: &RunArgs, style: &Style) -> anyhow::Result<u8> {
    let options = &args.options;
    let changes = adjust(options)?;
    let mut scenarios = Vec::new();
    if args.all {
        for scenario in library()? {
            scenarios.push(ready(&scenario.name, None, options.duration, &changes)?);
        }
    }
    for name in &args.scenarios {
        scenarios.push(ready(name, options.twin.as_deref(), options.duration, &changes)?);
    }
    let (scenarios, left_out): (Vec<Scenario>, Vec<Scenario>) =
        scenarios.into_iter().partition(|it| !args.all || options.in_disposable_vm || it.machine.is_empty());
    let runner = Runner::new(options.force, options.in_disposable_vm)?;
    let board = Board::new(scenarios.len());
    if let ([scenario], false) = (scenarios.as_slice(), args.all) {
        let ran = runner.one(scenario, &scenario.name, &board);
        drop(board);
        let report = ran.map_err(|why| anyhow!("{}: {why}", scenario.name))?;
        let shown = show(options.format, &report, |report| run_text(report, style, args.verbose));
        return seen(shown, if report.as_expected { 0 } else { 1 });
    }
    let results = runner.several(&scenarios, &board);
    drop(board);
    let reason = "it changes settings that are the whole machine's: only with --in-disposable-vm";
    let mut runs = Runs {
        schema: RUN_SCHEMA,
        as_expected: true,
        runs: Vec::new(),
        could_not_run: Vec::new(),
        left_out: left_out
            .into_iter()
            .map(|it| NotRun { scenario: it.name, reason: reason.into() })
            .collect(),
    };
    for (scenario, ran) in scenarios.iter().zip(results) {
        match ran {
            Ok(report) => runs.runs.push(report),
            Err(reason) => runs.could_not_run.push(NotRun { scenario: scenario.name.clone(), reason }),
        }
    }
    let is_wrong = runs.runs.iter().any(|it| !it.as_expected);
    runs.as_expected = !is_wrong && runs.could_not_run.is_empty();
    let status = match (is_wrong, runs.could_not_run.is_empty()) {
        (true, _) => 1,
        (false, false) => UNKNOWN,
        (false, true) => 0,
    };
    seen(show(options.format, &runs, |runs| runs_text(runs, style, args.verbose)), status)
}

/// What was seen stays seen, whether or not it is read to its end.
pub fn seen(shown: anyhow::Result<()>, status: u8) -> anyhow::Result<u8> {
    match shown {
        Err(error) if !crate::reader_left(&error) => Err(error),
        _ => Ok(status),
    }
}

/// Loads a scenario; a longer duration may take so much longer.
pub fn ready(
    name: &str,
    twin: Option<&str>,
    duration: Option<Duration>,
    changes: &Adjust,
) -> anyhow::Result<Scenario> {
    let mut scenario = load(name, twin, changes)?;
    if let Some(duration) = duration {
        let usual = load(name, twin, &Adjust::default())?;
        let seconds = usual.params.iter().find(|(key, _)| key == "seconds").map(|(_, value)| value);
        let usual = seconds.and_then(|it| it.as_float().or_else(|| it.as_integer().map(|it| it as f64)));
        scenario.limits.seconds += (duration.as_secs_f64() - usual.unwrap_or(0.0)).max(0.0);
    }
    Ok(scenario)
}
