//! `linger tune rehearse`

mod fit;
mod judge;

use super::{bytes, version};
use crate::UNKNOWN;
use crate::cli::TuneRehearseArgs;
use crate::cmd::lab::progress::Board;
use crate::cmd::lab::run::{ready, seen};
use crate::cmd::lab::runner::Runner;
use crate::cmd::show;
use crate::render::style::Style;
use crate::render::{clean, duration, rehearse};
use anyhow::{Context, bail};
use fit::{Place, Values, fitting, values};
pub use judge::shown;
use judge::{Judged, Reading, Runs, judge};
use linger_lab::run::RunReport;
use linger_lab::scenario::{Adjust, Reached, Scenario, library};
use linger_tune::Plan;
use linger_tune::plan::{Change, MOST_BYTES, MetricKind};
use linger_tune::rehearsed::{Measured, Rehearsed, Verdict};
use rustix::fs::Access;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a run takes, about, seconds; a little less than the library's mean on two processors.
const RUN_TAKES: f64 = 6.0;
/// A state is given so long to change: with tcp_syn_retries = 3 the kernel gives up after 19 s (since 6.5).
const STATE_TAKES: f64 = 21.0;

/// Rehearses the plan; the exit status.
pub fn run(args: &TuneRehearseArgs, style: &Style) -> anyhow::Result<u8> {
    let version = version()?;
    let mut plan = Plan::read(&bytes(&args.plan, MOST_BYTES as u64)?, version)?;
    let output = args.output.as_deref().map(target).transpose()?;
    let library = library()?;
    let mut troupe = Troupe::new(&plan, &library);
    // It must come before the first thread.
    let runner = if troupe.places.is_empty() { None } else { Some(Runner::new(args.force, false)?) };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if let Some(runner) = &runner {
        announce(&plan, &troupe, &release);
        let board = Board::new(troupe.most_runs());
        troupe.rehearse(&plan, &Theatre { runner, board: &board, library: &library });
    }
    let (results, failed) = (troupe.results, troupe.failed);
    let why =
        results.iter().zip(&troupe.cast).find_map(|(it, cast)| it.as_ref().err().filter(|_| cast.is_some()));
    if let Some(why) = why.filter(|_| failed && results.iter().all(Result::is_err)) {
        bail!("{}", clean(why));
    }
    for (change, result) in plan.changes.iter_mut().zip(results) {
        change.rehearsed = Some(match result {
            Ok((rehearsed, _)) => rehearsed,
            Err(why) => Rehearsed { verdict: Verdict::NotRehearsed, note: shortened(&why), measured: None },
        });
    }
    // What linger itself would not read is not written.
    plan.check(version)?;
    if let Some(path) = &output {
        let text = format!("{}\n", serde_json::to_string_pretty(&plan)?);
        replace(path, text.as_bytes()).with_context(|| cannot_write(path))?;
    }
    let is_marked = |it: &Change| it.rehearsed.as_ref().is_some_and(|it| it.verdict.is_marked());
    let status = match (plan.changes.iter().any(is_marked), failed) {
        (true, _) => 1,
        (false, true) => UNKNOWN,
        (false, false) => 0,
    };
    seen(show(args.format, &plan, |plan| rehearse::text(plan, &release, style)), status)
}

/// Says what comes, before it begins.
fn announce(plan: &Plan, troupe: &Troupe, release: &str) {
    let mut said = String::new();
    if plan.kernel != release {
        said = format!("The plan was made on kernel {}, and this is {release}. ", clean(&plan.kernel));
    }
    let names: BTreeSet<&str> = troupe.places.iter().map(|it| it.scenario.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let runs = troupe.most_runs();
    let seconds = troupe.places.iter().zip(&troupe.waits).map(|(place, waits)| {
        let takes = if *waits { RUN_TAKES + STATE_TAKES } else { RUN_TAKES };
        takes * troupe.runs_of(place) as f64
    });
    // A terminal that is gone can be told nothing.
    let _ = writeln!(
        io::stderr(),
        "{said}Up to {runs} runs of {} in network namespaces that vanish, about {} in all.",
        names.join(", "),
        duration(seconds.sum())
    );
}

/// A step's result, with the place where it was measured; else why there is none.
type Tried = Result<(Rehearsed, usize), String>;

/// The steps and where each is tried.
struct Troupe {
    /// Of each step: the number of its place.
    cast: Vec<Option<usize>>,
    places: Vec<Place>,
    /// Of each place: whether a step there needs a state to change by time.
    waits: Vec<bool>,
    /// Of each step; what cannot be tried has its reason from the beginning.
    results: Vec<Tried>,
    /// Whether a run that should have been could not.
    failed: bool,
}

/// What runs are made with.
struct Theatre<'a> {
    runner: &'a Runner,
    board: &'a Board,
    library: &'a [Scenario],
}

/// Runs of one place.
struct Season {
    still: [RunReport; 2],
    /// Steps of the plan that are made in it → the run.
    others: Vec<(BTreeSet<usize>, RunReport)>,
}

impl Troupe {
    fn new(plan: &Plan, library: &[Scenario]) -> Troupe {
        let mut it = Troupe { cast: vec![], places: vec![], waits: vec![], results: vec![], failed: false };
        for change in &plan.changes {
            let found = fitting(plan, change, library)
                .and_then(|place| values(scenario(library, &place), &place.host, change).map(|_| place));
            let (cast, why) = match found {
                Ok(place) => {
                    let at = it.places.iter().position(|other| *other == place).unwrap_or_else(|| {
                        it.places.push(place);
                        it.waits.push(false);
                        it.places.len() - 1
                    });
                    let is_short = usual_seconds(scenario(library, &it.places[at])) < STATE_TAKES;
                    it.waits[at] |= is_short && change.metric.kind == MetricKind::State;
                    (Some(at), "It was not reached.".to_owned())
                }
                Err(why) => (None, why),
            };
            it.cast.push(cast);
            it.results.push(Err(why));
        }
        it
    }

    /// Two without any step, one for each step, and one more for each step but the first: after a cure it is measured
    /// alone, or after steps of other places.
    fn runs_of(&self, place: &Place) -> usize {
        let at = self.places.iter().position(|it| it == place);
        let steps = self.cast.iter().filter(|it| **it == at).count();
        2 + steps + steps.saturating_sub(1)
    }

    fn most_runs(&self) -> usize {
        self.places.iter().map(|it| self.runs_of(it)).sum()
    }

    fn rehearse(&mut self, plan: &Plan, theatre: &Theatre<'_>) {
        let mut seasons: Vec<Option<Result<Season, String>>> = self.places.iter().map(|_| None).collect();
        let mut kept = BTreeSet::new();
        for step in 0..plan.changes.len() {
            let Some(at) = self.cast[step] else { continue };
            if seasons[at].is_none() {
                seasons[at] = Some(self.open(at, plan, theatre));
            }
            let Some(season) = &mut seasons[at] else { continue };
            let result = match season {
                Ok(season) => self.try_step(step, at, plan, &kept, season, theatre),
                Err(why) => Err(Fault { why: why.clone(), is_failure: true }),
            };
            if result.as_ref().is_ok_and(|it| it.verdict != Verdict::Worse) {
                kept.insert(step);
            }
            self.failed |= result.as_ref().is_err_and(|it| it.is_failure);
            self.results[step] = result.map(|it| (it, at)).map_err(|it| it.why);
        }
    }

    /// The two runs without any step.
    fn open(&self, at: usize, plan: &Plan, theatre: &Theatre<'_>) -> Result<Season, String> {
        let run = |label: &str| self.play(at, plan, &BTreeSet::new(), &[], label, theatre);
        let still = [run("as it is")?, run("as it is, again")?];
        Ok(Season { still, others: Vec::new() })
    }

    /// Runs a place with these steps made.
    fn play(
        &self,
        at: usize,
        plan: &Plan,
        made: &BTreeSet<usize>,
        as_far_as: &[Reached],
        label: &str,
        theatre: &Theatre<'_>,
    ) -> Result<RunReport, String> {
        let place = &self.places[at];
        let plain = scenario(theatre.library, place);
        let mut adjust = Adjust::default();
        for (step, change) in plan.changes.iter().enumerate() {
            // What no lab can set, and what cannot be scaled to this scenario, stays as the scenario has it.
            if self.cast[step].is_none() {
                continue;
            }
            if let Ok(Values { from, to, .. }) = values(plain, &place.host, change) {
                let value = if made.contains(&step) { to } else { from };
                adjust.sysctls.push((format!("{}:{}", place.host, change.key), value));
            }
        }
        let waits = self.waits[at].then(|| Duration::from_secs_f64(STATE_TAKES));
        if let Some(waits) = waits {
            adjust.params.push(("seconds".to_owned(), waits.as_secs_f64().to_string()));
        }
        let mut scenario =
            ready(&place.scenario, None, waits, &adjust).map_err(|error| format!("{error:#}"))?;
        for (phase, far) in scenario.phases.iter_mut().zip(as_far_as) {
            phase.as_far_as = Some(far.clone());
        }
        theatre.runner.one(&scenario, &format!("{}, {label}", place.scenario), theatre.board)
    }

    fn try_step(
        &self,
        step: usize,
        at: usize,
        plan: &Plan,
        kept: &BTreeSet<usize>,
        season: &mut Season,
        theatre: &Theatre<'_>,
    ) -> Result<Rehearsed, Fault> {
        let (place, change) = (&self.places[at], &plan.changes[step]);
        let read = |run: &RunReport| Reading::of(run, &place.host, change);
        let still = [read(&season.still[0]), read(&season.still[1])];
        if place.shows_finding && still.iter().all(|it| it.finding.is_none()) {
            let why = format!(
                "With the values of now {} does not show {} in {} on this kernel, so there is nothing to cure.",
                place.scenario, change.code, place.host
            );
            return Err(Fault { why, is_failure: false });
        }
        let mut run = |made: BTreeSet<usize>, label: &str| -> Result<RunReport, Fault> {
            if made.is_empty() {
                return Ok(season.still[1].clone());
            }
            if let Some((_, run)) = season.others.iter().find(|(other, _)| *other == made) {
                return Ok(run.clone());
            }
            let as_far_as = &season.still[0].phases;
            let run = self.play(at, plan, &made, as_far_as, label, theatre);
            let run = run.map_err(|why| Fault { why, is_failure: true })?;
            season.others.push((made, run.clone()));
            Ok(run)
        };
        let label = format!("step {}", step + 1);
        let mut before = read(&run(kept.clone(), &format!("before {label}"))?);
        let alone = place.shows_finding && !kept.is_empty() && before.is_healthy();
        let made: BTreeSet<usize> = if alone { BTreeSet::new() } else { kept.clone() };
        if alone {
            before = still[1].clone();
        }
        let with = run(made.into_iter().chain([step]).collect(), &label)?;
        let after = read(&with);
        let runs = Runs { still: [&still[0], &still[1]], before: &before, after: &after };
        let judged = judge(change, runs);
        let Values { from, to, scaled } = values(scenario(theatre.library, place), &place.host, change)
            .map_err(|why| Fault { why, is_failure: false })?;
        let Judged { verdict, metric, tried, failed, connect_p99_ms, new_findings, .. } = judged;
        let mut note = judged.note;
        if alone {
            note = format!("With the steps before it the fault is gone already; alone: {note}");
        }
        if !scaled.is_empty() {
            note = format!("{note} The scenario is {scaled}.");
        }
        let measured = Measured {
            scenario: place.scenario.clone(),
            host: place.host.clone(),
            kernel: with.kernel,
            from,
            to,
            alone,
            metric,
            tried,
            failed,
            connect_p99_ms,
            finding_before: before.finding,
            finding_after: after.finding,
            new_findings,
        };
        Ok(Rehearsed { verdict, note: shortened(&note), measured: Some(measured) })
    }
}

/// Why a step was not measured.
struct Fault {
    why: String,
    /// Whether a run should have been, and could not.
    is_failure: bool,
}

/// What a plan takes as a note.
fn shortened(text: &str) -> String {
    const MOST: usize = 600;
    let text = clean(text);
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST - 1).chain(['…']).collect() }
}

fn scenario<'a>(library: &'a [Scenario], place: &Place) -> &'a Scenario {
    let found = library.iter().find(|it| it.name == place.scenario);
    found.expect("places are made of the library")
}

/// How long its load goes on, or a state is waited for.
fn usual_seconds(scenario: &Scenario) -> f64 {
    let seconds = scenario.params.iter().find(|(name, _)| name == "seconds");
    seconds.and_then(|(_, it)| it.as_float()).unwrap_or(0.0)
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", clean(&path.display().to_string()))
}

/// Where the plan is to be written, checked before the minutes of work; a link stays one.
fn target(path: &Path) -> anyhow::Result<PathBuf> {
    let check = || -> anyhow::Result<PathBuf> {
        let path = match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(path)?,
            found => found?,
        };
        match fs::metadata(&path) {
            Ok(it) if !it.is_file() => bail!("it is no regular file"),
            Ok(_) => rustix::fs::access(&path, Access::WRITE_OK)?,
            Err(_) => {}
        }
        let folder = path.parent().filter(|_| path.file_name().is_some()).context("it is no file")?;
        rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(path)
    };
    check().with_context(|| cannot_write(path))
}

/// Puts a new text in a file's place, at once or not at all.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".linger-{}", std::process::id()));
    let beside = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let mut write = || -> io::Result<()> {
        file.write_all(text)?;
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use linger_tune::plan::{ChangeScope, Direction, Metric, PLAN_SCHEMA, PlanNetns, Risk, RiskLevel};
    use linger_tune::rehearsed::Moved;

    pub(crate) fn change(code: &str, key: &str, from: &str, to: &str) -> Change {
        let is_host =
            linger_facts::tunable(key).is_some_and(|it| it.is_host_wide(linger_facts::Version::NEWEST));
        Change {
            key: key.into(),
            from: from.into(),
            to: to.into(),
            code: code.into(),
            why: String::new(),
            effect: String::new(),
            metric: Metric {
                kind: MetricKind::Counter,
                name: "TcpExt.TWRecycled".into(),
                direction: Direction::Rises,
                within_s: 10.0,
            },
            risk: Risk { level: RiskLevel::Safe, text: String::new() },
            scope: if is_host { ChangeScope::Host } else { ChangeScope::Namespace },
            undo: String::new(),
            rehearsed: None,
        }
    }

    pub(crate) fn plan(changes: Vec<Change>) -> Plan {
        Plan {
            schema: PLAN_SCHEMA,
            kernel: "6.18.44".into(),
            netns: PlanNetns { inode: 1, name: None },
            made_at: String::new(),
            role: None,
            advice: vec![],
            changes,
            right: vec![],
            left_alone: vec![],
        }
    }

    pub(crate) fn rehearsed(verdict: Verdict, note: &str) -> Rehearsed {
        let measured = Measured {
            scenario: "short-connections".into(),
            host: "client".into(),
            kernel: "6.18.44".into(),
            from: "2".into(),
            to: "1".into(),
            alone: false,
            metric: Some(Moved { before: 0.0, after: 626.0, noise: 0.0 }),
            tried: Moved { before: 1111.0, after: 1120.0, noise: 7.0 },
            failed: Moved { before: 111.0, after: 0.0, noise: 7.0 },
            connect_p99_ms: None,
            finding_before: None,
            finding_after: None,
            new_findings: vec![],
        };
        Rehearsed { verdict, note: note.into(), measured: Some(measured) }
    }

    #[test]
    fn runs_are_counted_before_they_begin() {
        let plan = plan(vec![
            change("TW001", "net.ipv4.tcp_tw_reuse", "2", "1"),
            change("LQ001", "net.core.somaxconn", "8", "4096"),
            change("TW001", "net.ipv4.ip_local_port_range", "40000 40999", "32768 60999"),
            change("NQ001", "net.core.netdev_max_backlog", "1000", "4000"),
        ]);
        let troupe = Troupe::new(&plan, &library().unwrap());
        assert_eq!(troupe.cast, [Some(0), Some(1), Some(0), None]);
        assert_eq!(troupe.most_runs(), 5 + 3);
        assert!(troupe.results[3].as_ref().is_err_and(|why| why.contains("whole host")));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (plan, link) = (folder.path().join("plan.json"), folder.path().join("link"));
        std::os::unix::fs::symlink("plan.json", &link).unwrap();
        replace(&target(&plan).unwrap(), b"one").unwrap();
        replace(&target(&link).unwrap(), b"two").unwrap();
        assert_eq!(fs::read(&plan).unwrap(), b"two");
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        for bad in ["/dev/null", "/", "/nowhere/plan.json"] {
            let text = format!("{:#}", target(Path::new(bad)).unwrap_err());
            assert!(text.starts_with(&format!("cannot write {bad}: ")), "{text}");
        }
    }
}
