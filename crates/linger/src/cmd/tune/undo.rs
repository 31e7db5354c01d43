//! `linger tune confirm`, `rollback`, `recover`

use super::{PATIENCE, open, settings, settings_of};
use crate::cli::{TuneConfirmArgs, TuneRecoverArgs, TuneRollbackArgs};
use crate::cmd::{print, show};
use crate::render::style::Style;
use crate::render::tune;
use anyhow::bail;
use linger_tune::{Journal, Phase, Run, Settings, Undo, UndoReport};
use schemars::JsonSchema;
use serde::Serialize;

/// What was taken back.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UndoneReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// Each step, in the order in which they were taken back.
    pub steps: Vec<UndoReport>,
    /// What else was done.
    pub notes: Vec<String>,
}

impl UndoneReport {
    fn status(&self) -> u8 {
        u8::from(self.steps.iter().any(|it| matches!(it.outcome, Undo::Foreign | Undo::Stuck)))
    }
}

/// Confirms the run that awaits it.
pub fn confirm(args: &TuneConfirmArgs) -> anyhow::Result<u8> {
    let journal = Journal::open(&args.state.state_dir)?;
    let lock = journal.lock(PATIENCE)?;
    let log = journal.read()?;
    let mut waiting = log.unsettled(journal.boot()).filter(|it| matches!(it.phase, Phase::Awaiting(_)));
    let run = match (args.run, waiting.next(), waiting.next()) {
        (Some(id), ..) => match log.run(id) {
            Some(run) => run,
            None => bail!("there is no run {id}; `linger tune history` lists them"),
        },
        (None, Some(run), None) => run,
        (None, None, _) => bail!("nothing awaits confirmation; `linger tune history` says what became of it"),
        (None, Some(_), Some(_)) => {
            bail!("several runs await confirmation: name one with --run; `linger tune status` lists them")
        }
    };
    linger_tune::confirm(&journal, &lock, run)?;
    print(&format!("Run {} is confirmed.\n", run.id))
}

/// Whether a run is of this namespace: as it is now, or, for what is set again at each boot, as it was then.
pub fn is_here(run: &Run, journal: &Journal, settings: &dyn Settings) -> bool {
    run.netns == settings.netns() && run.boot == journal.boot() || run.is_persisted && settings.is_host()
}

/// Takes runs back, the last first.
pub fn roll_back(args: &TuneRollbackArgs, style: &Style) -> anyhow::Result<u8> {
    let ns = open(&args.place)?;
    let settings = settings(&ns, args.place.proc_sys.as_deref())?;
    let journal = Journal::open(&args.state.state_dir)?;
    let lock = journal.lock(PATIENCE)?;
    let log = journal.read()?;
    let is_open = |run: &&Run| {
        is_here(run, &journal, settings.as_ref()) && run.steps.iter().any(|step| step.state.is_open())
    };
    let mut runs: Vec<&Run> = log.runs.iter().filter(is_open).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.id));
    match args.to {
        Some(to) => runs.retain(|run| run.id > to),
        None => runs.truncate(1),
    }
    let mut report = UndoneReport { schema: 1, steps: Vec::new(), notes: Vec::new() };
    if runs.is_empty() {
        report.notes.push("Nothing is there to be taken back in this namespace.".to_owned());
    }
    for run in runs {
        if args.dry_run {
            for step in run.steps.iter().rev().filter(|step| step.state.is_open()) {
                let now = settings.read(step.key).unwrap_or_else(|error| error.to_string());
                report.notes.push(format!(
                    "run {}: {} is {now}; {} would be written",
                    run.id, step.key.key, step.from
                ));
            }
            continue;
        }
        report.steps.extend(linger_tune::roll_back(
            &journal,
            &lock,
            settings.as_ref(),
            run,
            "by the operator",
        )?);
    }
    show(args.format, &report, |report| tune::undone(report, style))?;
    Ok(report.status())
}

/// Ends what was left half done.
pub fn recover(args: &TuneRecoverArgs, style: &Style) -> anyhow::Result<u8> {
    crate::targets::need_proc()?;
    let journal = Journal::open(&args.state.state_dir)?;
    let lock = journal.lock(PATIENCE)?;
    let log = journal.read()?;
    let mut report = UndoneReport { schema: 1, steps: Vec::new(), notes: Vec::new() };
    for run in log.runs.iter().rev() {
        let is_old = run.boot != journal.boot();
        let is_unsettled = matches!(run.phase, Phase::Open | Phase::Awaiting(_));
        let settings = if is_old { None } else { settings_of(run.netns, args.proc_sys.as_deref())? };
        if args.dry_run {
            if is_unsettled || run.half_persisted.is_some() {
                report.notes.push(format!("Run {} of {} was not ended.", run.id, run.at));
            }
            continue;
        }
        if let Some((steps, what)) = linger_tune::recover(&journal, &lock, settings.as_deref(), run)? {
            report.steps.extend(steps);
            report.notes.push(format!("Run {} of {}: {what}.", run.id, run.at));
        }
    }
    if !log.unreadable.is_empty() {
        let lines: Vec<String> = log.unreadable.iter().take(10).map(usize::to_string).collect();
        report.notes.push(format!(
            "{} lines of the journal can't be read: {}.",
            log.unreadable.len(),
            lines.join(", ")
        ));
    }
    if report.notes.is_empty() {
        report.notes.push("Nothing is left half done.".to_owned());
    }
    show(args.format, &report, |report| tune::undone(report, style))?;
    Ok(report.status())
}
