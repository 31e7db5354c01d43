//! One step after the other: compare, journal, write, read back, watch, keep or take back.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use linger_facts::{Version, tunable};
use rustix::fs::Access;
use schemars::JsonSchema;
use serde::Serialize;

use crate::follow::Follower;
use crate::journal::{Event, Journal, Lock, boottime_s};
use crate::log::{Log, Phase, Run, Step, StepState};
use crate::observe::{BASELINE, Effect, Sample, effect, regression};
use crate::plan::{Change, ChangeScope, Plan};
use crate::settings::Settings;
use crate::state::now as now_text;
use crate::{Error, Kind, fault, persist};

/// So many looks in a row may fail before a step is not watched any more.
const BLIND: u32 = 3;
/// However long a look takes, so many are taken before and after a step: a level needs them.
const FEWEST: usize = 6;

/// What ends an apply from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    /// Ctrl-C, or a request to end.
    Asked,
    /// The terminal went away.
    TerminalGone,
}

/// Who looks at the host while settings change.
pub trait Attendant {
    /// Looks once.
    ///
    /// # Errors
    /// A sentence, when the host could not be looked at.
    fn look(&mut self) -> Result<Sample, String>;
    /// Waits so long, or until something ends the apply.
    fn pause(&mut self, time: Duration) -> Option<Interrupt>;
    /// Whether the guardian lives; nothing is written without one.
    fn is_guarded(&mut self) -> bool;
    /// Whether to make this step.
    fn go_on(&mut self, number: usize, change: &Change) -> Answer;
    /// Hears what happens.
    fn tell(&mut self, progress: &Progress<'_>);
}

/// Whether to make a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// No, and none after it; what was made stays.
    No,
    /// Neither: the operator wants everything back.
    Interrupted,
}

/// What happens.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The baseline of a step is taken.
    Baseline(usize, &'a Change, Duration),
    /// The value was written, and is watched for so long.
    Watching(usize, &'a Change, Duration),
    /// A step is over.
    Done(&'a StepReport),
    /// Steps are taken back, and why.
    RollingBack(&'a str),
}

/// How to apply.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long each step is watched.
    pub observe: Duration,
    /// Within what time the operator must confirm; `None` for not at all.
    pub confirm_within: Option<Duration>,
    /// Take a step back that shows no effect in its time.
    pub require_effect: bool,
}

impl Options {
    /// The time between two samples.
    #[must_use]
    pub fn interval(&self) -> Duration {
        (self.observe / 20).clamp(Duration::from_millis(1), Duration::from_secs(2))
    }

    /// For how long the baseline of a step is taken.
    #[must_use]
    pub fn baseline(&self) -> Duration {
        self.interval() * BASELINE as u32
    }
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StepReport {
    /// Its number in the plan, from 1.
    pub number: usize,
    /// The setting.
    pub key: String,
    /// The value before.
    pub from: String,
    /// The value to set.
    pub to: String,
    /// What came of it.
    pub outcome: StepOutcome,
    /// In words: the effect, or why it was not kept.
    pub note: String,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// The new value stays.
    Kept,
    /// It was there already.
    Already,
    /// The old value is there again.
    RolledBack,
    /// Somebody else changed the setting, and it was left alone.
    Foreign,
    /// The kernel did not take the value.
    Refused,
    /// It could not be taken back.
    Stuck,
    /// It was not begun.
    NotMade,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Applied {
    /// The run's number in the journal.
    pub run: u64,
    /// Each step of the plan.
    pub steps: Vec<StepReport>,
    /// How it ended.
    pub ended: Ended,
    /// Why it did not go to its end; empty where it did.
    pub why: String,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Steps were kept, and are there until the operator confirms or the time is over.
    Awaiting,
    /// Steps were kept for good.
    Confirmed,
    /// Nothing stays changed.
    NothingKept,
    /// Everything was taken back.
    RolledBack,
}

/// What came of taking a step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// The old value was written and read back.
    Undone,
    /// It was there already.
    AlreadyOld,
    /// Somebody else changed the setting; it was left alone.
    Foreign,
    /// It could not be written or read.
    Stuck,
}

/// What came of taking a step back.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct UndoReport {
    /// The run's number.
    pub run: u64,
    /// The step's number in it, from 1.
    pub number: usize,
    /// The setting.
    pub key: String,
    /// The value that was to go.
    pub to: String,
    /// The value that was to come back.
    pub from: String,
    /// What came of it.
    pub outcome: Undo,
    /// What was found, or why it failed.
    pub note: String,
}

fn refused(why: impl Into<String>) -> Error {
    Error::new("apply", "the plan", Kind::Refused, why)
}

/// Whether this process may write what a plan changes. Nothing is written, not even a journal begun.
///
/// # Errors
/// The first setting that it may not write.
pub fn may_write(plan: &Plan, settings: &dyn Settings) -> Result<(), Error> {
    plan.changes.iter().filter_map(|change| tunable(&change.key)).try_for_each(|key| settings.may_write(key))
}

/// Whether a plan can be applied here, before anything is written: its rules, the journal's state, privileges, present
/// values.
///
/// # Errors
/// The first reason against it.
pub fn preflight(
    plan: &Plan,
    settings: &dyn Settings,
    version: Version,
    log: &Log,
    boot: &str,
    persist: Option<&PathBuf>,
) -> Result<(), Error> {
    plan.check(version).map_err(|error| refused(error.0))?;
    if let Some(run) = log.unsettled(boot).find(|run| run.netns == settings.netns()) {
        let what = match run.phase {
            Phase::Awaiting(until) if until > boottime_s() => {
                "awaits confirmation: `linger tune confirm`, or `linger tune rollback`"
            }
            _ => "was not ended: `linger tune recover`",
        };
        return Err(refused(format!("run {} {what}", run.id)));
    }
    for change in &plan.changes {
        let key = tunable(&change.key).ok_or_else(|| refused("a setting is not tunable"))?;
        if change.scope == ChangeScope::Host && !settings.is_host() {
            let key = key.key;
            return Err(refused(format!(
                "{key} is the whole host's, and this is not the host's network namespace"
            )));
        }
        settings.may_write(key)?;
        let now = settings.read(key)?;
        if now != change.from && now != change.to {
            let (key, from) = (key.key, &change.from);
            return Err(refused(format!(
                "{key} is {now}, and was {from} when the plan was made; make the plan again"
            )));
        }
        if key.key == "net.ipv4.tcp_tw_reuse" && change.to != "0" {
            let timestamps = tunable("net.ipv4.tcp_timestamps").map(|it| settings.read(it)).transpose()?;
            if timestamps.as_deref() == Some("0") {
                return Err(refused("tcp_tw_reuse does nothing while net.ipv4.tcp_timestamps is 0"));
            }
        }
    }
    if let Some(folder) = persist {
        rustix::fs::access(folder, Access::WRITE_OK)
            .map_err(|error| Error::io("write to", folder.display().to_string(), error.into()))?;
        persist::read(&folder.join(persist::PERSIST_FILE))?;
        for change in &plan.changes {
            if let Some(by) = persist::overridden(folder, &change.key)? {
                let key = &change.key;
                return Err(refused(format!(
                    "{key} would be overridden at boot by {}, so it is not persisted",
                    by.display()
                )));
            }
        }
    }
    Ok(())
}

/// Begins a run.
///
/// # Errors
/// When the journal can't be written, or read again.
pub fn begin(
    journal: &Journal,
    lock: &Lock,
    settings: &dyn Settings,
    persist: Option<PathBuf>,
) -> Result<Follower, Error> {
    let begin = Event::Begin { netns: settings.netns(), is_host: settings.is_host(), persist };
    Follower::new(journal, journal.begin(lock, begin)?)
}

struct Engine<'a> {
    run: u64,
    journal: &'a Journal,
    lock: &'a Lock,
    settings: &'a dyn Settings,
    /// Steps that were begun.
    begun: Vec<Step>,
    reports: Vec<StepReport>,
}

/// Why the steps end before the plan does.
enum Break {
    /// Those that are kept stay; what came of the last, and why.
    Stop(Box<StepReport>, String),
    /// All are taken back.
    TakeBack(String),
}

/// Makes the steps of a plan that [`preflight`] let through, in a run that has begun. Who follows it knows of every step,
/// even if the journal is taken away the moment after.
pub fn apply(
    plan: &Plan,
    follower: &mut Follower,
    journal: &Journal,
    lock: &Lock,
    settings: &dyn Settings,
    options: &Options,
    attendant: &mut dyn Attendant,
) -> Applied {
    let run = follower.run().id;
    let mut engine = Engine { run, journal, lock, settings, begun: Vec::new(), reports: Vec::new() };
    let (mut stopped, mut taken_back) = (String::new(), None);
    for (at, change) in plan.changes.iter().enumerate() {
        match engine.step(at, change, options, attendant) {
            Ok(report) => {
                attendant.tell(&Progress::Done(&report));
                engine.reports.push(report);
            }
            Err(Break::Stop(report, why)) => {
                attendant.tell(&Progress::Done(&report));
                engine.reports.push(*report);
                stopped = why;
                break;
            }
            Err(Break::TakeBack(why)) => {
                taken_back = Some(why);
                break;
            }
        }
    }
    for (at, change) in plan.changes.iter().enumerate().skip(engine.reports.len()) {
        engine.reports.push(report(at, change, StepOutcome::NotMade, String::new()));
    }
    if let Some(why) = taken_back {
        return engine.take_back(why, attendant);
    }
    let is_kept = engine.begun.iter().any(|step| step.state == StepState::Kept);
    if !is_kept && engine.begun.iter().any(|step| step.state == StepState::Stuck) {
        // Nobody is to take it for settled: the guardian tries again, and `recover` does.
        return Applied { run, steps: engine.reports, ended: Ended::NothingKept, why: stopped };
    }
    let until = options.confirm_within.filter(|_| is_kept).map(|time| boottime_s() + time.as_secs_f64());
    let (event, ended) = match until {
        _ if !is_kept => (Event::Closed { why: "no step was kept".into() }, Ended::NothingKept),
        Some(until_s) => (Event::Awaiting { until_s }, Ended::Awaiting),
        None => (Event::Confirmed, Ended::Confirmed),
    };
    match journal.append(lock, run, event) {
        Ok(()) => {}
        // Nothing is there to be taken back.
        Err(error) if ended == Ended::NothingKept => stopped = error.to_string(),
        Err(error) => return engine.take_back(error.to_string(), attendant),
    }
    fault::point("after-settled");
    if let Some(until) = until {
        follower.has_done(engine.begun, Phase::Awaiting(until));
    }
    Applied { run, steps: engine.reports, ended, why: stopped }
}

fn report(at: usize, change: &Change, outcome: StepOutcome, note: String) -> StepReport {
    let (key, from, to) = (change.key.clone(), change.from.clone(), change.to.clone());
    StepReport { number: at + 1, key, from, to, outcome, note }
}

impl Engine<'_> {
    fn append(&self, event: Event) -> Result<(), Break> {
        self.journal.append(self.lock, self.run, event).map_err(|error| Break::TakeBack(error.to_string()))
    }

    fn step(
        &mut self,
        at: usize,
        change: &Change,
        options: &Options,
        attendant: &mut dyn Attendant,
    ) -> Result<StepReport, Break> {
        let take_back = |why: &str| Break::TakeBack(why.to_owned());
        let stop = |outcome: StepOutcome, why: String| {
            Err(Break::Stop(
                Box::new(report(at, change, outcome, why.clone())),
                format!("step {}: {why}", at + 1),
            ))
        };
        let Some(key) = tunable(&change.key) else { return stop(StepOutcome::NotMade, "not tunable".into()) };
        match attendant.go_on(at + 1, change) {
            Answer::Yes => {}
            Answer::No => return stop(StepOutcome::NotMade, "the operator said no".into()),
            Answer::Interrupted => return Err(take_back("interrupted")),
        }
        attendant.tell(&Progress::Baseline(at + 1, change, options.baseline()));
        let before = watch(attendant, options.interval(), options.baseline(), &mut |_| None)?.samples;
        if !attendant.is_guarded() {
            return Err(take_back("the guardian is gone"));
        }

        let now = match self.settings.read(key) {
            Ok(now) => now,
            Err(error) => return stop(StepOutcome::NotMade, error.to_string()),
        };
        if now == change.to {
            return Ok(report(at, change, StepOutcome::Already, "it has this value already".into()));
        }
        if now != change.from {
            return stop(
                StepOutcome::Foreign,
                format!("it is {now} by now, and was {} in the plan", change.from),
            );
        }
        fault::point("after-compare");
        let (from, to) = (now, change.to.clone());
        self.append(Event::Write { step: at, key: change.key.clone(), from: from.clone(), to: to.clone() })?;
        let (state, note) = (StepState::Writing, String::new());
        self.begun.push(Step { number: at, key, from, to, wrote: None, state, note, at: now_text() });
        fault::point("after-journal");
        // The disk may have taken its time over the journal.
        match self.settings.read(key) {
            Ok(now) if now == change.from => {}
            Ok(found) => return stop(StepOutcome::Foreign, self.foreign(at, found)?),
            Err(error) => return stop(self.undone("it can't be read"), error.to_string()),
        }
        if let Err(error) = self.settings.write(key, &change.to) {
            let undone = self.undo_last("the kernel refused it");
            let outcome = if undone == Undo::Stuck { StepOutcome::Stuck } else { StepOutcome::Refused };
            return stop(outcome, error.to_string());
        }
        fault::point("after-write");
        let value = match self.settings.read(key) {
            Ok(value) => value,
            Err(error) => return stop(self.undone("it can't be read back"), error.to_string()),
        };
        self.last().wrote = Some(value.clone());
        fault::point("after-read-back");
        if value != change.to {
            let why = format!("the kernel made {value} of it");
            return stop(self.undone(&why), why);
        }
        self.append(Event::Wrote { step: at, value })?;
        self.last().state = StepState::Written;
        fault::point("after-wrote");

        attendant.tell(&Progress::Watching(at + 1, change, options.observe));
        let mut early = |after: &[Sample]| regression(&before, after, &change.metric, false);
        let watched = watch(attendant, options.interval(), options.observe, &mut early)?;
        let worse = watched.given_up.or_else(|| regression(&before, &watched.samples, &change.metric, true));
        if let Some(why) = worse {
            return stop(self.undone(&why), why);
        }
        let seen = effect(&before, &watched.samples, &change.metric);
        let told = seen.told(&change.metric);
        if options.require_effect && matches!(seen, Effect::NotShown { .. }) {
            let outcome = self.undone(&told);
            if outcome != StepOutcome::RolledBack {
                return stop(outcome, told);
            }
            return Ok(report(at, change, outcome, told));
        }
        match self.settings.read(key) {
            Ok(now) if now == change.to => {}
            Ok(found) => return stop(StepOutcome::Foreign, self.foreign(at, found)?),
            Err(error) => return stop(self.undone("it can't be read"), error.to_string()),
        }
        self.append(Event::Kept { step: at, effect: told.clone() })?;
        self.last().state = StepState::Kept;
        fault::point("after-kept");
        Ok(report(at, change, StepOutcome::Kept, told))
    }

    fn last(&mut self) -> &mut Step {
        self.begun.last_mut().expect("a step was begun")
    }

    /// Leaves the last step to somebody else; that it is theirs.
    fn foreign(&mut self, at: usize, found: String) -> Result<String, Break> {
        let why = format!("somebody else set it to {found} meanwhile");
        self.append(Event::Foreign { step: at, found })?;
        self.last().state = StepState::Foreign;
        Ok(why)
    }

    fn undo_last(&mut self, why: &str) -> Undo {
        let (journal, lock, settings, run) = (self.journal, self.lock, self.settings, self.run);
        undo(journal, lock, settings, run, self.last(), why).outcome
    }

    fn undone(&mut self, why: &str) -> StepOutcome {
        outcome(self.undo_last(why))
    }

    /// Takes all steps back, the last first, whether or not the journal can be written.
    fn take_back(mut self, why: String, attendant: &mut dyn Attendant) -> Applied {
        attendant.tell(&Progress::RollingBack(&why));
        let mut is_clean = true;
        for step in self.begun.iter_mut().rev().filter(|step| step.state.is_open()) {
            let undone = undo(self.journal, self.lock, self.settings, self.run, step, &why);
            is_clean &= undone.outcome != Undo::Stuck;
            if let Some(report) = self.reports.iter_mut().find(|it| it.number == step.number + 1) {
                report.outcome = outcome(undone.outcome);
                report.note = if undone.note.is_empty() { why.clone() } else { undone.note };
            }
        }
        if is_clean {
            // A full disk keeps this from being written; `recover` then finds the old values and says so.
            let _ = self.journal.append(
                self.lock,
                self.run,
                Event::Closed { why: format!("rolled back: {why}") },
            );
        }
        Applied { run: self.run, steps: self.reports, ended: Ended::RolledBack, why }
    }
}

fn outcome(undo: Undo) -> StepOutcome {
    match undo {
        Undo::Undone | Undo::AlreadyOld => StepOutcome::RolledBack,
        Undo::Foreign => StepOutcome::Foreign,
        Undo::Stuck => StepOutcome::Stuck,
    }
}

struct Watched {
    samples: Vec<Sample>,
    given_up: Option<String>,
}

/// Takes samples for so long, or until `judge` gives up.
fn watch(
    attendant: &mut dyn Attendant,
    interval: Duration,
    time: Duration,
    judge: &mut dyn FnMut(&[Sample]) -> Option<String>,
) -> Result<Watched, Break> {
    let start = Instant::now();
    let (mut samples, mut blind, mut due) = (Vec::new(), 0, Duration::ZERO);
    loop {
        let pause = due.saturating_sub(start.elapsed());
        match attendant.pause(pause) {
            Some(Interrupt::Asked) => return Err(Break::TakeBack("interrupted".into())),
            Some(Interrupt::TerminalGone) => return Err(Break::TakeBack("the terminal is gone".into())),
            None => {}
        }
        if !attendant.is_guarded() {
            return Err(Break::TakeBack("the guardian is gone".into()));
        }
        match attendant.look() {
            Ok(sample) => {
                samples.push(sample);
                blind = 0;
                if let Some(why) = judge(&samples) {
                    return Ok(Watched { samples, given_up: Some(why) });
                }
            }
            Err(_) if blind < BLIND => blind += 1,
            Err(why) => return Err(Break::TakeBack(format!("the host can't be looked at: {why}"))),
        }
        if start.elapsed() >= time && samples.len() >= FEWEST {
            return Ok(Watched { samples, given_up: None });
        }
        let next = start.elapsed().max(due) + interval;
        due = if samples.len() >= FEWEST { next.min(time) } else { next };
    }
}

/// Takes one step back. It never makes it worse: what is neither the new nor the old value was set by somebody else and
/// is left alone. The way back does not wait for the journal: what it needs is in there.
fn undo(
    journal: &Journal,
    lock: &Lock,
    settings: &dyn Settings,
    run: u64,
    step: &mut Step,
    why: &str,
) -> UndoReport {
    let number = step.number;
    let write = |event: Event| drop(journal.append(lock, run, event));
    let mut undone = UndoReport {
        run,
        number: number.saturating_add(1),
        key: step.key.key.to_owned(),
        to: step.to.clone(),
        from: step.from.clone(),
        outcome: Undo::Undone,
        note: String::new(),
    };
    let foreign = |undone: &mut UndoReport, step: &mut Step, now: String| {
        (undone.outcome, undone.note) = (Undo::Foreign, format!("somebody else set it to {now}"));
        step.state = StepState::Foreign;
        write(Event::Foreign { step: number, found: now });
    };
    let stuck = |undone: &mut UndoReport, step: &mut Step, why: String| {
        write(Event::Stuck { step: number, why: why.clone() });
        step.state = StepState::Stuck;
        (undone.outcome, undone.note) = (Undo::Stuck, why);
    };
    let now = match settings.read(step.key) {
        Ok(now) => now,
        Err(error) => {
            stuck(&mut undone, step, error.to_string());
            return undone;
        }
    };
    if now == step.from {
        undone.outcome = Undo::AlreadyOld;
    } else if now == step.to || step.wrote.as_ref() == Some(&now) {
        write(Event::Undo { step: number, why: why.to_owned() });
        fault::point("after-undo-journal");
        let written = settings.write(step.key, &step.from).and_then(|()| {
            fault::point("after-undo-write");
            settings.read(step.key)
        });
        match written {
            Ok(now) if now == step.from => {}
            Ok(now) if now != step.to && step.wrote.as_ref() != Some(&now) => {
                foreign(&mut undone, step, now);
                return undone;
            }
            Ok(now) => {
                stuck(&mut undone, step, format!("{} was written, and the kernel shows {now}", step.from));
                return undone;
            }
            Err(error) => {
                stuck(&mut undone, step, error.to_string());
                return undone;
            }
        }
    } else {
        foreign(&mut undone, step, now);
        return undone;
    }
    step.state = StepState::Undone;
    write(Event::Undone { step: number });
    fault::point("after-undone");
    undone
}

/// Takes the steps of a run back, the last first, and closes it where none is stuck. What was written for boot is
/// written again without them.
///
/// # Errors
/// When the file for boot can't be written; the values are back then all the same.
pub fn roll_back(
    journal: &Journal,
    lock: &Lock,
    settings: &dyn Settings,
    run: &Run,
    why: &str,
) -> Result<Vec<UndoReport>, Error> {
    if settings.netns() != run.netns && run.boot == journal.boot() {
        let why = "it was made in another network namespace";
        return Err(Error::new("take back", format!("run {}", run.id), Kind::Refused, why));
    }
    if run.phase != Phase::TakingBack {
        // From here on nobody can confirm it, and `recover` goes on with it. A full disk does not stop the way back.
        let _ = journal.append(lock, run.id, Event::TakingBack { why: why.to_owned() });
    }
    fault::point("after-taking-back");
    let mut reports = Vec::new();
    for step in run.steps.iter().rev().filter(|step| step.state.is_open()) {
        reports.push(undo(journal, lock, settings, run.id, &mut step.clone(), why));
    }
    if reports.iter().all(|it| it.outcome != Undo::Stuck) {
        journal.append(lock, run.id, Event::Closed { why: format!("rolled back: {why}") })?;
    }
    mend_boot(journal, lock, run)?;
    Ok(reports)
}

/// Brings what is set at boot to what the journal says, where the run ever touched it.
fn mend_boot(journal: &Journal, lock: &Lock, run: &Run) -> Result<(), Error> {
    match &run.persist {
        Some(folder) if run.is_persisted || run.is_half_persisted => {
            persist::write(journal, lock, run.id, folder)
        }
        _ => Ok(()),
    }
}

/// Confirms a run: its steps stay, and are written for boot where that was asked for.
///
/// # Errors
/// When the run awaits nothing, the time is over, or a file can't be written.
pub fn confirm(journal: &Journal, lock: &Lock, run: &Run) -> Result<(), Error> {
    may_confirm(journal, run)?;
    journal.append(lock, run.id, Event::Confirmed)?;
    fault::point("after-confirmed");
    if let Some(folder) = &run.persist {
        persist::write(journal, lock, run.id, folder)?;
    }
    Ok(())
}

/// Whether a run can be confirmed now.
///
/// # Errors
/// When it awaits nothing, or the time is over.
pub fn may_confirm(journal: &Journal, run: &Run) -> Result<(), Error> {
    let failed = |why: &str| Err(Error::new("confirm", format!("run {}", run.id), Kind::Refused, why));
    match run.phase {
        Phase::Awaiting(until) if run.boot == journal.boot() && boottime_s() < until => Ok(()),
        Phase::Awaiting(_) => failed("its time is over"),
        Phase::Open => failed("its steps are not all made"),
        Phase::Confirmed => failed("it is confirmed already"),
        Phase::TakingBack => failed(&format!("it is being taken back ({})", run.outcome)),
        Phase::Closed => failed(&format!("it is over ({})", run.outcome)),
    }
}

/// Writes for boot what a run without confirmation kept.
///
/// # Errors
/// When the file can't be written.
pub fn persist_confirmed(journal: &Journal, lock: &Lock, run: u64) -> Result<(), Error> {
    match journal.read()?.run(run).and_then(|run| run.persist.clone()) {
        Some(folder) => persist::write(journal, lock, run, &folder),
        None => Ok(()),
    }
}

/// Ends a run that a crash left half done: takes its steps back, or, after a reboot, mends what is set at boot alone.
/// What it did, step by step; `None` where nothing was to be done.
///
/// `settings` are those of the run's namespace; `None` where it is gone.
///
/// # Errors
/// When the journal or the file for boot can't be written.
pub fn recover(
    journal: &Journal,
    lock: &Lock,
    settings: Option<&dyn Settings>,
    run: &Run,
) -> Result<Option<(Vec<UndoReport>, String)>, Error> {
    let mut done = Vec::new();
    let mut what = Vec::new();
    let is_this_boot = run.boot == journal.boot();
    let is_unsettled = match run.phase {
        Phase::Open | Phase::TakingBack => true,
        Phase::Awaiting(_) => is_overdue(run, journal.boot()),
        Phase::Confirmed | Phase::Closed => false,
    };
    if is_unsettled {
        match settings.filter(|it| is_this_boot && it.netns() == run.netns) {
            Some(settings) => {
                let is_any = run.steps.iter().any(|step| step.state.is_open());
                what.push(
                    if is_any { "its steps were taken back" } else { "none of its steps was there" }.into(),
                );
                for step in run.steps.iter().rev().filter(|step| step.state.is_open()) {
                    done.push(undo(journal, lock, settings, run.id, &mut step.clone(), "recovered"));
                }
            }
            None if is_this_boot => what.push("its namespace is gone, and its values with it".into()),
            None => what.push("the host was started again, and its values are gone".into()),
        }
        if done.iter().any(|it| it.outcome == Undo::Stuck) {
            what = vec![
                "not all of its steps could be taken back: set them by hand, then recover again".to_owned(),
            ];
        } else {
            journal.append(lock, run.id, Event::Closed { why: format!("recovered: {}", what.join("; ")) })?;
        }
    }
    if let Some(folder) = &run.persist
        && (run.is_half_persisted || is_unsettled && run.is_persisted)
    {
        persist::write(journal, lock, run.id, folder)?;
        what.push(format!("{} has what is kept, and no more", folder.join(persist::PERSIST_FILE).display()));
    }
    Ok((!what.is_empty()).then(|| (done, what.join("; "))))
}

/// Whether a run that awaits confirmation has waited for too long.
#[must_use]
pub fn is_overdue(run: &Run, boot: &str) -> bool {
    match run.phase {
        Phase::Awaiting(until) => run.boot != boot || boottime_s() >= until,
        _ => false,
    }
}
