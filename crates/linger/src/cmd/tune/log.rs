//! `linger tune status`, `history`, `diff`, `verify`

use super::undo::is_here;
use super::{journal, open, settings};
use crate::cli::{TuneHereArgs, TuneLogArgs};
use crate::cmd::show;
use crate::render::style::Style;
use crate::render::tune;
use linger_tune::journal::boottime_s;
use linger_tune::{Log, Phase, Run, StepState};
use schemars::JsonSchema;
use serde::Serialize;

/// Runs of the journal.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunsReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Runs, oldest first.
    pub runs: Vec<RunReport>,
    /// Lines of the journal that can't be read, by number from 1.
    pub unreadable_lines: Vec<usize>,
}

/// A run of the journal.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct RunReport {
    /// Its number.
    pub id: u64,
    /// When it began, RFC 3339 in UTC.
    pub at: String,
    /// Who began it.
    pub who: String,
    /// The inode of its network namespace.
    pub netns: u64,
    /// Whether the host has not been started again since.
    pub is_this_boot: bool,
    /// How far it is.
    pub state: RunState,
    /// Seconds that are left to confirm it.
    pub left_s: Option<f64>,
    /// How it ended; empty where it has not.
    pub outcome: String,
    /// When it was confirmed or taken back, RFC 3339 in UTC; null where nobody has.
    pub settled_at: Option<String>,
    /// Who did that.
    pub settled_by: Option<String>,
    /// Whether its values are set again at boot.
    pub is_persisted: bool,
    /// Steps that were begun.
    pub steps: Vec<LogStep>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Steps are made at the moment, or were left half done.
    Open,
    /// It is taken back unless it is confirmed in time.
    Awaiting,
    /// It is taken back at the moment, or that was left half done.
    TakingBack,
    /// Its steps stay.
    Confirmed,
    /// It is over.
    Closed,
}

/// A step of the journal.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct LogStep {
    /// Its number in the run, from 1.
    pub number: usize,
    /// The setting.
    pub key: String,
    /// The value before.
    pub from: String,
    /// The value that was set.
    pub to: String,
    /// When it was written last, to change it or to take it back, RFC 3339 in UTC.
    pub at: String,
    /// How far it is.
    pub state: StepState,
    /// What was seen of its effect, or why it was taken back.
    pub note: String,
}

/// Kept settings.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct KeptReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Each setting that was kept in this namespace.
    pub settings: Vec<Kept>,
}

/// A kept setting.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Kept {
    /// The full dotted key.
    pub key: String,
    /// The value before linger changed it first.
    pub before: String,
    /// The value that was kept.
    pub kept: String,
    /// The value now; `null` where it can't be read.
    pub now: Option<String>,
    /// The last run that changed it.
    pub run: u64,
    /// Whether it has another value than was kept.
    pub is_drifted: bool,
}

fn report(run: &Run, boot: &str) -> RunReport {
    let (state, left_s) = match run.phase {
        Phase::Open => (RunState::Open, None),
        Phase::TakingBack => (RunState::TakingBack, None),
        Phase::Awaiting(until) => {
            let left = (until - boottime_s()).max(0.0).round();
            (RunState::Awaiting, (run.boot == boot).then_some(left))
        }
        Phase::Confirmed => (RunState::Confirmed, None),
        Phase::Closed => (RunState::Closed, None),
    };
    let steps = run.steps.iter().map(|step| LogStep {
        number: step.number.saturating_add(1),
        key: step.key.key.to_owned(),
        from: step.from.clone(),
        to: step.to.clone(),
        at: step.at.clone(),
        state: step.state,
        note: step.note.clone(),
    });
    let settled = |text: &String| Some(text.clone()).filter(|it| !it.is_empty());
    RunReport {
        settled_at: settled(&run.settled.0),
        settled_by: settled(&run.settled.1),
        id: run.id,
        at: run.at.clone(),
        who: run.who.clone(),
        netns: run.netns.inode,
        is_this_boot: run.boot == boot,
        state,
        left_s,
        outcome: run.outcome.clone(),
        is_persisted: run.is_persisted && run.phase == Phase::Confirmed,
        steps: steps.collect(),
    }
}

/// The journal where there is one; it is not made.
fn read(args: &TuneLogArgs) -> anyhow::Result<(Log, String)> {
    Ok(match journal(&args.state)? {
        Some(journal) => (journal.read()?, journal.boot().to_owned()),
        None => (Log::default(), String::new()),
    })
}

fn runs(args: &TuneLogArgs, style: &Style, wanted: fn(&RunReport) -> bool, none: &str) -> anyhow::Result<u8> {
    let (log, boot) = read(args)?;
    let runs = log.runs.iter().map(|run| report(run, &boot)).filter(wanted).collect();
    let report = RunsReport { schema: 1, runs, unreadable_lines: log.unreadable };
    show(args.format, &report, |report| tune::runs(report, none, style))?;
    Ok(0)
}

/// What is not over.
pub fn status(args: &TuneLogArgs, style: &Style) -> anyhow::Result<u8> {
    let is_of_now = |run: &RunReport| match run.state {
        RunState::Open | RunState::Awaiting | RunState::TakingBack => true,
        RunState::Confirmed => run.is_this_boot || run.is_persisted,
        RunState::Closed => run.steps.iter().any(|step| step.state == StepState::Stuck),
    };
    runs(args, style, is_of_now, "Nothing is changed, and nothing awaits confirmation.\n")
}

/// Everything.
pub fn history(args: &TuneLogArgs, style: &Style) -> anyhow::Result<u8> {
    runs(args, style, |_| true, "The journal is empty.\n")
}

fn kept(args: &TuneHereArgs) -> anyhow::Result<KeptReport> {
    let ns = open(&args.place)?;
    let settings = settings(&ns, args.place.proc_sys.as_deref())?;
    let mut report = KeptReport { schema: 1, settings: Vec::new() };
    let Some(journal) = journal(&args.state)? else { return Ok(report) };
    let log = journal.read()?;
    for run in log.runs.iter().filter(|run| is_here(run, &journal, settings.as_ref())) {
        for step in run.steps.iter().filter(|step| step.state == StepState::Kept) {
            let now = settings.read(step.key).ok();
            let is_drifted = now.as_ref() != Some(&step.to);
            let before = report.settings.iter().position(|it| it.key == step.key.key);
            let before = before.map_or(step.from.clone(), |at| report.settings.remove(at).before);
            let (key, kept) = (step.key.key.to_owned(), step.to.clone());
            report.settings.push(Kept { key, before, kept, now, run: run.id, is_drifted });
        }
    }
    Ok(report)
}

/// Before, as kept, and now.
pub fn diff(args: &TuneHereArgs, style: &Style) -> anyhow::Result<u8> {
    let report = kept(args)?;
    show(args.format, &report, |report| tune::kept(report, style))?;
    Ok(0)
}

/// Whether what was kept is still there.
pub fn verify(args: &TuneHereArgs, style: &Style) -> anyhow::Result<u8> {
    let report = kept(args)?;
    let is_drifted = report.settings.iter().any(|it| it.is_drifted);
    show(args.format, &report, |report| tune::kept(report, style))?;
    Ok(u8::from(is_drifted))
}
