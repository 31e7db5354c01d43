//! `linger tune confirm`, `rollback`, `recover`

use super::{PATIENCE, Whose, journal, open, settings, settings_of};
use crate::cli::{TuneConfirmArgs, TuneRecoverArgs, TuneRollbackArgs};
use crate::cmd::{print, show};
use crate::render::style::Style;
use crate::render::tune;
use anyhow::bail;
use linger_tune::{Journal, Kind, Log, Phase, Run, Settings, Undo, UndoReport};
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

/// The run that awaits confirmation, or the one that was named.
fn waiting<'a>(log: &'a Log, journal: &'a Journal, named: Option<u64>) -> anyhow::Result<&'a Run> {
    let mut waiting = log.unsettled(journal.boot()).filter(|it| matches!(it.phase, Phase::Awaiting(_)));
    Ok(match (named, waiting.next(), waiting.next()) {
        (Some(id), ..) => match log.run(id) {
            Some(run) => run,
            None => bail!("there is no run {id}; `linger tune history` lists them"),
        },
        (None, Some(run), None) => run,
        (None, None, _) => bail!("nothing awaits confirmation; `linger tune history` says what became of it"),
        (None, Some(_), Some(_)) => {
            bail!("several runs await confirmation: name one with --run; `linger tune status` lists them")
        }
    })
}

/// Confirms the run that awaits it.
pub fn confirm(args: &TuneConfirmArgs) -> anyhow::Result<u8> {
    let Some(journal) = journal(&args.state)? else {
        bail!("nothing awaits confirmation: there is no journal in {}", args.state.state_dir.display())
    };
    let log = journal.read()?;
    let run = waiting(&log, &journal, args.run)?;
    if args.dry_run {
        linger_tune::may_confirm(&journal, run)?;
        return print(&tune::would_confirm(run));
    }
    let lock = journal.lock(run.netns, PATIENCE)?;
    // Meanwhile somebody may have confirmed it, or taken it back.
    let log = journal.read()?;
    let run = waiting(&log, &journal, Some(run.id))?;
    linger_tune::confirm(&journal, &lock, run)?;
    print(&format!("Run {} is confirmed.\n", run.id))
}

/// Whether a run is of this namespace: as it is now, or, for what is set again at each boot, the host's.
pub fn is_here(run: &Run, journal: &Journal, settings: &dyn Settings) -> bool {
    if run.boot == journal.boot() {
        run.netns == settings.netns()
    } else {
        run.is_persisted && run.is_host && settings.is_host()
    }
}

/// Takes runs back, the last first.
pub fn roll_back(args: &TuneRollbackArgs, style: &Style) -> anyhow::Result<u8> {
    let ns = open(&args.place)?;
    let settings = settings(&ns, args.place.proc_sys.as_deref())?;
    let mut report = UndoneReport { schema: 1, steps: Vec::new(), notes: Vec::new() };
    if let Some(journal) = journal(&args.state)? {
        let lock = match args.dry_run {
            true => None,
            false => Some(journal.lock(settings.netns(), PATIENCE)?),
        };
        let log = journal.read()?;
        let is_open = |run: &&Run| {
            is_here(run, &journal, settings.as_ref()) && run.steps.iter().any(|step| step.state.is_open())
        };
        let mut runs: Vec<&Run> = log.runs.iter().filter(is_open).collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.id));
        match args.to {
            Some(to) if to > 0 && log.run(to).is_none() => {
                bail!("--to {to}: there is no such run; `linger tune history` lists them")
            }
            Some(to) => runs.retain(|run| run.id > to),
            None => runs.truncate(1),
        }
        let steps = || runs.iter().flat_map(|run| run.steps.iter().rev().map(move |step| (run.id, step)));
        let open_steps = || steps().filter(|(_, step)| step.state.is_open());
        for (run, step) in open_steps().filter(|_| args.dry_run) {
            let now = settings.read(step.key).unwrap_or_else(|error| error.to_string());
            let (key, from) = (step.key.key, &step.from);
            report.notes.push(match () {
                () if now == *from => format!("run {run}: {key} is {now} already"),
                () if now == step.to => format!("run {run}: {key} is {now}; {from} would be written"),
                () => format!("run {run}: {key} is {now}, which is not linger's; it would be left alone"),
            });
        }
        if let Some(lock) = &lock {
            // Before anything is done, and before a line says that it will be.
            open_steps().try_for_each(|(_, step)| settings.may_write(step.key))?;
            for run in &runs {
                let undone =
                    linger_tune::roll_back(&journal, lock, settings.as_ref(), run, "by the operator")?;
                report.steps.extend(undone);
            }
        }
    }
    if report.steps.is_empty() && report.notes.is_empty() {
        report.notes.push("Nothing is there to be taken back in this namespace.".to_owned());
    }
    show(args.format, &report, |report| tune::undone(report, style))?;
    Ok(report.status())
}

/// Ends what was left half done.
pub fn recover(args: &TuneRecoverArgs, style: &Style) -> anyhow::Result<u8> {
    crate::targets::need_proc()?;
    let mut report = UndoneReport { schema: 1, steps: Vec::new(), notes: Vec::new() };
    let mut is_left = false;
    if let Some(journal) = journal(&args.state)? {
        let log = journal.read()?;
        // The last first: what it changed, an earlier one may have changed before.
        for id in log.runs.iter().rev().filter(|run| is_half_done(run, &journal)).map(|run| run.id) {
            is_left |= recover_one(args, &journal, id, &mut report)?;
        }
        if !log.unreadable.is_empty() {
            let lines: Vec<String> = log.unreadable.iter().take(10).map(usize::to_string).collect();
            report.notes.push(format!(
                "{} lines of the journal can't be read: {}.",
                log.unreadable.len(),
                lines.join(", ")
            ));
        }
    }
    if report.notes.is_empty() {
        report.notes.push("Nothing is left half done.".to_owned());
    }
    show(args.format, &report, |report| tune::undone(report, style))?;
    Ok(report.status().max(u8::from(is_left)))
}

fn is_half_done(run: &Run, journal: &Journal) -> bool {
    match run.phase {
        Phase::Open | Phase::TakingBack => true,
        Phase::Awaiting(_) => linger_tune::is_overdue(run, journal.boot()),
        Phase::Confirmed | Phase::Closed => run.is_half_persisted,
    }
}

/// Ends one run, if nobody else is at it; whether it is left.
fn recover_one(
    args: &TuneRecoverArgs,
    journal: &Journal,
    id: u64,
    report: &mut UndoneReport,
) -> anyhow::Result<bool> {
    let log = journal.read()?;
    let Some(run) = log.run(id) else { return Ok(false) };
    let lock = match journal.lock(run.netns, if args.dry_run { std::time::Duration::ZERO } else { PATIENCE })
    {
        Ok(lock) => lock,
        Err(error) if error.kind == Kind::Busy => {
            report.notes.push(format!("Run {id} of {}: another linger is at it.", run.at));
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    // As it is now that nobody else writes.
    let log = journal.read()?;
    let Some(run) = log.run(id).filter(|run| is_half_done(run, journal)) else { return Ok(false) };
    if args.dry_run {
        report.notes.push(format!("Run {id} of {} was not ended.", run.at));
        return Ok(false);
    }
    let settings = match run.boot == journal.boot() {
        true => settings_of(run.netns, args.proc_sys.as_deref())?,
        false => Whose::Gone,
    };
    let settings = match settings {
        Whose::Found(settings) => Some(settings),
        Whose::Gone => None,
        Whose::Unknown(why) => {
            report.notes.push(format!(
                "Run {id} of {}: its namespace, net:[{}], is not found, and not every place could be looked at: {why}",
                run.at, run.netns.inode
            ));
            return Ok(true);
        }
    };
    if let Some((steps, what)) = linger_tune::recover(journal, &lock, settings.as_deref(), run)? {
        report.steps.extend(steps);
        report.notes.push(format!("Run {id} of {}: {what}.", run.at));
    }
    Ok(false)
}
