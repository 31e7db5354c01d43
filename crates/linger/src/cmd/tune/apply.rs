//! `linger tune apply`

use super::look::Watcher;
use super::{PATIENCE, bytes, open, settings, version};
use crate::cli::TuneApplyArgs;
use crate::cmd::show;
use crate::config;
use crate::render::style::Style;
use crate::render::tune;
use anyhow::{Context, bail};
use linger_netns::Netns;
use linger_tune::journal::{Event, boottime_s};
use linger_tune::plan::{MOST_BYTES, RiskLevel};
use linger_tune::{
    Applied, Ended, Guard, Interrupt, Journal, Options, Phase, Plan, Run, Settings, Signals, StepOutcome,
    StepState, apply, begin, persist_confirmed, preflight, roll_back,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::io::{self, Write};
use std::path::PathBuf;
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
    let config = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
    let ns = open(&args.place)?;
    let settings = settings(&ns, args.place.proc_sys.as_deref())?;
    let persist = args.persist.then(|| args.sysctl_dir.clone());
    if persist.as_deref() == Some(linger_tune::SYSCTL_DIR.as_ref()) && !settings.is_host() {
        bail!(
            "--persist: {} is read for the host's network namespace, and this is another",
            linger_tune::SYSCTL_DIR
        );
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
    let lock = journal.lock(PATIENCE)?;
    let log = journal.read()?;
    preflight(&plan, settings.as_ref(), version, &log, journal.boot(), persist.as_ref())?;
    if plan.changes.is_empty() {
        writeln!(io::stdout(), "The plan changes nothing.")?;
        return Ok(0);
    }
    let run = begin(&journal, &lock, &log, settings.netns(), persist)?;
    let guard = match guardian(args, &journal, &ns, run, plan.changes.len(), &options) {
        Ok(guard) => guard,
        Err(error) => {
            journal.append(&lock, run, Event::Closed { why: "no guardian could be started".into() })?;
            return Err(error);
        }
    };
    let mut watcher = Watcher::new(ns, config, signals, args.step_by_step);
    watcher.guarded_by(guard);
    let applied = apply(&plan, run, &journal, &lock, settings.as_ref(), &options, &mut watcher);
    let mut report = ApplyReport { schema: 1, is_confirmed: applied.ended == Ended::Confirmed, applied };
    let mut persisted = Ok(());
    match report.applied.ended {
        Ended::Confirmed => persisted = persist_confirmed(&journal, &lock, run),
        Ended::Awaiting => {
            drop(lock);
            let until = match journal.read()?.run(run).map(|it| it.phase) {
                Some(Phase::Awaiting(until)) => until,
                _ => boottime_s(),
            };
            let _ = writeln!(
                io::stderr(),
                "{}",
                tune::awaiting(run, until - boottime_s(), &args.state.state_dir)
            );
            await_word(&journal, settings.as_ref(), &mut watcher, until, &mut report)?;
        }
        Ended::NothingKept | Ended::RolledBack => {}
    }
    show(args.format, &report, |report| tune::applied(report, style))?;
    persisted?;
    let is_whole = report.is_confirmed && report.applied.why.is_empty();
    Ok(u8::from(!is_whole))
}

/// Waits until somebody confirms, the time is over, or the operator has enough.
fn await_word(
    journal: &Journal,
    settings: &dyn Settings,
    watcher: &mut Watcher,
    until: f64,
    report: &mut ApplyReport,
) -> anyhow::Result<()> {
    use linger_tune::Attendant;
    let run = report.applied.run;
    loop {
        let log = journal.read()?;
        match log.run(run).map(|it| (it.phase, it)) {
            Some((Phase::Confirmed, _)) => {
                report.is_confirmed = true;
                report.applied.ended = Ended::Confirmed;
                return Ok(());
            }
            Some((Phase::Closed, run)) => {
                report.applied.ended = Ended::RolledBack;
                report.applied.why.clone_from(&run.outcome);
                taken_back(&mut report.applied, run);
                return Ok(());
            }
            _ => {}
        }
        let why = match watcher.wait(TICK) {
            // The guardian goes on waiting, and so may the operator, in another terminal.
            Some(Interrupt::TerminalGone) => return Ok(()),
            Some(Interrupt::Asked) => "interrupted",
            None if boottime_s() >= until && !watcher.is_guarded() => "not confirmed in time",
            None => continue,
        };
        let lock = journal.lock(PATIENCE)?;
        let log = journal.read()?;
        if let Some(run) = log.run(run).filter(|it| matches!(it.phase, Phase::Awaiting(_))) {
            roll_back(journal, &lock, settings, run, why)?;
        }
    }
}

/// What became of the steps since.
fn taken_back(applied: &mut Applied, run: &Run) {
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
    let mut command = linger_netns::command(ns, program)?;
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
    Ok(Guard::start(command)?)
}

fn dry_run(
    args: &TuneApplyArgs,
    plan: &Plan,
    settings: &dyn Settings,
    persist: Option<&PathBuf>,
    options: &Options,
) -> anyhow::Result<u8> {
    // Nothing is made, the journal's folder neither.
    let (log, boot) = match args.state.state_dir.exists() {
        true => {
            let journal = Journal::open(&args.state.state_dir)?;
            (journal.read()?, journal.boot().to_owned())
        }
        false => (linger_tune::Log::default(), String::new()),
    };
    preflight(plan, settings, version()?, &log, &boot, persist)?;
    io::stdout().write_all(tune::dry_run(plan, options, persist.map(PathBuf::as_path)).as_bytes())?;
    Ok(0)
}
