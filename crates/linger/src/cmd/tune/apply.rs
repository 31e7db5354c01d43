//! `linger tune apply`

use super::look::Watcher;
use super::{PATIENCE, bytes, open, settings, version};
use crate::cli::TuneApplyArgs;
use crate::cmd::show;
use crate::config;
use crate::render::style::Style;
use crate::render::{clean, tune};
use anyhow::{Context, bail};
use linger_netns::Netns;
use linger_tune::journal::{Event, boottime_s};
use linger_tune::plan::{MOST_BYTES, RiskLevel};
use linger_tune::rehearsed::Verdict;
use linger_tune::{
    Applied, Ended, Follower, Guard, Interrupt, Journal, Kind, Options, Phase, Plan, Run, Settings, Signals,
    StepOutcome, StepState, Told, Undo, UndoReport, apply, begin, may_write, persist_confirmed, preflight,
    roll_back,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How often it looks whether somebody confirmed.
const TICK: Duration = Duration::from_millis(100);
/// A question may stay unanswered for so long.
const THINKING: Duration = Duration::from_secs(3600);

/// What came of a plan.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ApplyReport {
    /// Version of this format: 1.
    pub schema: u32,
    /// The steps, and how they ended.
    #[serde(flatten)]
    pub applied: Applied,
    /// Whether what was kept is confirmed.
    pub is_confirmed: bool,
}

/// Applies the plan; the exit status.
pub fn run(args: &TuneApplyArgs, style: &Style) -> anyhow::Result<u8> {
    // Before the first thread: they are held back in all of them.
    let signals = Signals::hold_back().context("cannot hold signals back")?;
    let version = version()?;
    let plan = Plan::read(&bytes(&args.plan, MOST_BYTES as u64)?, version)?;
    if let Some((at, change)) = plan
        .changes
        .iter()
        .enumerate()
        .find(|(_, it)| it.risk.level == RiskLevel::Unsafe && !args.accept_risk)
    {
        bail!(
            "step {} ({}={}) has a price: read the plan, and add --accept-risk or take the step out",
            at + 1,
            change.key,
            change.to
        );
    }
    for (at, change) in plan.changes.iter().enumerate() {
        let marked = change.rehearsed.as_ref().filter(|it| it.verdict.is_marked());
        let Some(rehearsed) = marked else { continue };
        let step = format!("step {} ({}={})", at + 1, change.key, change.to);
        if rehearsed.verdict == Verdict::Worse && !args.accept_risk {
            bail!("{step} made it worse when it was rehearsed: take it out, or add --accept-risk");
        }
        let _ = writeln!(io::stderr(), "linger: {step} {} when it was rehearsed", rehearsed.verdict.words());
    }
    let config = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
    let ns = open(&args.place)?;
    let settings = settings(&ns, args.place.proc_sys.as_deref())?;
    let persist = args.persist.then(|| folder_for_boot(&args.sysctl_dir)).transpose()?;
    if persist.as_deref() == Some(linger_tune::SYSCTL_DIR.as_ref()) && !settings.is_host() {
        bail!(
            "--persist: {} is read for the host's network namespace, and this is another",
            linger_tune::SYSCTL_DIR
        );
    }
    may_write(&plan, settings.as_ref())?;
    if let Some(note) = tune::made_elsewhere(&plan, ns.inode()) {
        let _ = writeln!(io::stderr(), "{note}");
    }
    let options = Options {
        observe: args.observe,
        confirm_within: (!args.no_confirm).then_some(args.confirm_within),
        require_effect: args.require_effect,
    };
    if args.dry_run {
        return dry_run(args, &plan, settings.as_ref(), persist.as_ref(), &options);
    }
    let journal = Journal::open(&args.state.state_dir)?;
    let lock = journal.lock(settings.netns(), PATIENCE)?;
    let log = journal.read()?;
    preflight(&plan, settings.as_ref(), version, &log, journal.boot(), persist.as_ref())?;
    if plan.changes.is_empty() {
        writeln!(io::stdout(), "The plan changes nothing.")?;
        return Ok(0);
    }
    let mut follower = begin(&journal, &lock, settings.as_ref(), persist)?;
    let run = follower.run().id;
    let guard = match guardian(args, &journal, &ns, run, plan.changes.len(), &options) {
        Ok(guard) => guard,
        Err(error) => {
            journal.append(&lock, run, Event::Closed { why: "no guardian could be started".into() })?;
            return Err(error);
        }
    };
    let mut watcher = Watcher::new(ns, config, signals, args.step_by_step);
    watcher.guarded_by(guard);
    let applied = apply(&plan, &mut follower, &journal, &lock, settings.as_ref(), &options, &mut watcher);
    let mut report = ApplyReport { schema: 1, is_confirmed: applied.ended == Ended::Confirmed, applied };
    let mut persisted = Ok(());
    match report.applied.ended {
        Ended::Confirmed => persisted = persist_confirmed(&journal, &lock, run),
        Ended::Awaiting => {
            drop(lock);
            let left = match follower.run().phase {
                Phase::Awaiting(until) => until - boottime_s(),
                _ => 0.0,
            };
            let _ = writeln!(io::stderr(), "{}", tune::awaiting(run, left, journal.path()));
            await_word(&journal, settings.as_ref(), &mut watcher, &mut follower, &mut report)?;
        }
        Ended::NothingKept | Ended::RolledBack => {}
    }
    let is_stuck = report.applied.steps.iter().any(|it| it.outcome == StepOutcome::Stuck);
    if report.applied.ended != Ended::Awaiting && !is_stuck {
        watcher.dismiss_guard();
    }
    // The status is of the settings, whether or not anybody reads what is said of them.
    let shown = show(args.format, &report, |report| tune::applied(report, style));
    persisted?;
    if let Err(error) = shown {
        let _ =
            writeln!(io::stderr(), "linger: cannot say what came of it: {}", clean(&format!("{error:#}")));
    }
    Ok(u8::from(!report.is_whole()))
}

impl ApplyReport {
    /// Whether every step of the plan has its value, for good.
    fn is_whole(&self) -> bool {
        let are = |wanted: &[StepOutcome]| self.applied.steps.iter().all(|it| wanted.contains(&it.outcome));
        let is_there = are(&[StepOutcome::Kept, StepOutcome::Already]);
        is_there && self.applied.why.is_empty() && (self.is_confirmed || are(&[StepOutcome::Already]))
    }
}

/// The folder as recorded in the journal, which others read from elsewhere: absolute, and without links.
fn folder_for_boot(folder: &Path) -> anyhow::Result<PathBuf> {
    let failed = || format!("--sysctl-dir: cannot open {}", clean(&folder.display().to_string()));
    let real = fs::canonicalize(folder).with_context(failed)?;
    let is_system = fs::canonicalize(linger_tune::SYSCTL_DIR).is_ok_and(|it| it == real);
    Ok(if is_system { linger_tune::SYSCTL_DIR.into() } else { real })
}

/// Waits until somebody confirms, the time is over, or the operator has enough.
fn await_word(
    journal: &Journal,
    settings: &dyn Settings,
    watcher: &mut Watcher,
    follower: &mut Follower,
    report: &mut ApplyReport,
) -> anyhow::Result<()> {
    use linger_tune::Attendant;
    let mut is_asked = false;
    loop {
        let told = follower.look(journal);
        let phase = follower.run().phase;
        match phase {
            Phase::Confirmed => {
                report.is_confirmed = true;
                report.applied.ended = Ended::Confirmed;
                return Ok(());
            }
            Phase::Closed => {
                taken_back(&mut report.applied, follower.run());
                return Ok(());
            }
            Phase::Open | Phase::Awaiting(_) | Phase::TakingBack => {}
        }
        match watcher.wait(TICK) {
            // The guardian goes on waiting, and so may the operator, in another terminal.
            Some(Interrupt::TerminalGone) => return Ok(()),
            Some(Interrupt::Asked) => is_asked = true,
            None => {}
        }
        let is_over = match phase {
            Phase::Awaiting(until) => boottime_s() >= until,
            _ => true,
        };
        let why = if is_asked {
            "interrupted"
        } else if told == Told::Lost {
            "the journal was taken away"
        } else if is_over && !watcher.is_guarded() {
            "not confirmed in time"
        } else {
            continue;
        };
        let lock = match journal.lock(follower.run().netns, PATIENCE) {
            Ok(lock) => lock,
            // Whoever has it confirms, or takes back.
            Err(error) if error.kind == Kind::Busy => continue,
            Err(error) => return Err(error.into()),
        };
        follower.look(journal);
        if follower.run().phase.is_unsettled() {
            let undone = roll_back(journal, &lock, settings, follower.run(), why);
            (report.applied.ended, report.applied.why) = (Ended::RolledBack, why.to_owned());
            match undone {
                Ok(undone) => undone.iter().for_each(|it| was_undone(&mut report.applied, it)),
                // By the values, not by the journal, which can't be written.
                Err(error) => {
                    follower.look(journal);
                    taken_back(&mut report.applied, follower.run());
                    report.applied.why = format!("{why}; {error}");
                }
            }
            return Ok(());
        }
    }
}

/// What became of a step that this process took back.
fn was_undone(applied: &mut Applied, undone: &UndoReport) {
    if let Some(report) = applied.steps.iter_mut().find(|it| it.number == undone.number) {
        report.outcome = match undone.outcome {
            Undo::Undone | Undo::AlreadyOld => StepOutcome::RolledBack,
            Undo::Foreign => StepOutcome::Foreign,
            Undo::Stuck => StepOutcome::Stuck,
        };
        report.note.clone_from(&undone.note);
    }
}

/// What became of the steps since, by the journal.
fn taken_back(applied: &mut Applied, run: &Run) {
    (applied.ended, applied.why) = (Ended::RolledBack, run.outcome.clone());
    for step in &run.steps {
        let outcome = match step.state {
            StepState::Undone => StepOutcome::RolledBack,
            StepState::Foreign => StepOutcome::Foreign,
            StepState::Stuck => StepOutcome::Stuck,
            _ => continue,
        };
        let report = applied.steps.iter_mut().find(|it| it.number == step.number.saturating_add(1));
        if let Some(report) = report.filter(|it| it.outcome == StepOutcome::Kept) {
            (report.outcome, report.note) = (outcome, step.note.clone());
        }
    }
}

/// Starts the guardian inside the namespace.
fn guardian(
    args: &TuneApplyArgs,
    journal: &Journal,
    ns: &Netns,
    run: u64,
    steps: usize,
    options: &Options,
) -> anyhow::Result<Guard> {
    let one = (options.observe + options.baseline()) * 2
        + if args.step_by_step { THINKING } else { Duration::ZERO };
    let at_most = one * u32::try_from(steps).unwrap_or(u32::MAX) + Duration::from_secs(60);
    let program =
        std::env::current_exe().context("cannot find this program, from which the guardian is started")?;
    let start = |scope: Option<(PathBuf, Vec<OsString>)>| -> anyhow::Result<Guard> {
        let mut command = match &scope {
            Some((runner, arguments)) => {
                let mut command = linger_netns::command(ns, runner)?;
                command.args(arguments).arg(&program);
                command
            }
            None => linger_netns::command(ns, &program)?,
        };
        guard_of(&mut command, args, journal, run, at_most)?;
        Ok(Guard::start(command)?)
    };
    // A manager that does not answer is no reason to do without a guardian.
    match linger_tune::scope(run).map(|scope| start(Some(scope))) {
        Some(Ok(guard)) => Ok(guard),
        Some(Err(_)) | None => start(None),
    }
}

/// What the guardian's command is told.
fn guard_of(
    command: &mut Command,
    args: &TuneApplyArgs,
    journal: &Journal,
    run: u64,
    at_most: Duration,
) -> anyhow::Result<()> {
    // It starts in another folder.
    let state_dir = std::path::absolute(journal.path())?;
    command.arg("__guardian").arg("--state-dir").arg(state_dir);
    command.args(["--run", &run.to_string(), "--applier", &std::process::id().to_string()]);
    command.args(["--at-most", &at_most.as_secs().to_string()]);
    if let Some(tree) = &args.place.proc_sys {
        command.arg("--proc-sys").arg(std::path::absolute(tree)?);
    }
    // Places where a test has this process killed are not the guardian's.
    command.env_remove("LINGER_FAULT");
    Ok(())
}

fn dry_run(
    args: &TuneApplyArgs,
    plan: &Plan,
    settings: &dyn Settings,
    persist: Option<&PathBuf>,
    options: &Options,
) -> anyhow::Result<u8> {
    // Nothing is made, the journal's folder neither.
    let (log, boot) = match super::journal(&args.state)? {
        Some(journal) => (journal.read()?, journal.boot().to_owned()),
        None => (linger_tune::Log::default(), String::new()),
    };
    preflight(plan, settings, version()?, &log, &boot, persist)?;
    io::stdout().write_all(tune::dry_run(plan, options, persist.map(PathBuf::as_path)).as_bytes())?;
    Ok(0)
}
