//! Running a scenario: build its hosts, play its phases, look while it happens, compare with what was expected.

mod machine;
mod report;
mod watch;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use linger_model::StateCounts;
use linger_model::report::{Report, Severity};
use linger_model::snapshot::Counters;

pub use machine::{Machine, admit};
pub use report::{ActorReport, Expectation, Found, HostReport, RUN_SCHEMA, RunReport, StateSeries};
use watch::Watch;

use crate::scenario::{Check, Condition, Metric, Phase, Reached, Scenario, plain};
use crate::{Actor, ActorSpec, Error, Host, Launcher, Outcome, World};

/// How long an actor may take to be ready or to end: programs such as nginx included, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often conditions are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How the lab looks at its hosts. It builds and plays; what is to be seen is the command's to read.
pub trait Observer: Sync {
    /// Sockets by state, of the calling thread's namespace.
    ///
    /// # Errors
    /// Why they could not be read.
    fn states(&self) -> Result<StateCounts, String>;

    /// Counters by full name (`TcpExt.ListenOverflows`), of the calling thread's namespace.
    ///
    /// # Errors
    /// Why they could not be read.
    fn counters(&self) -> Result<Counters, String>;

    /// `linger check` inside hosts.
    ///
    /// Looks at the hosts at the same time; a report for each, in their order. Findings about the whole machine are
    /// wanted only where the scenario changes it.
    ///
    /// # Errors
    /// When it could not look.
    fn check(&self, hosts: &[Host], check: &Check, whole_machine: bool) -> Result<Vec<Report>, Error>;
}

/// Where a run is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// What it does now: a phase's name, or `building`.
    pub phase: &'a str,
    /// The number of the phase, from 1; 0 before the first.
    pub number: usize,
    /// How many phases there are.
    pub of: usize,
    /// Since the beginning.
    pub elapsed: Duration,
    /// Sockets of all hosts at the last look.
    pub sockets: u64,
}

/// What a run needs beside its scenario.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The program that actors are started from.
    pub launcher: &'a Launcher,
    /// How hosts are looked at.
    pub observer: &'static dyn Observer,
    /// Called often while it runs.
    pub progress: &'a (dyn Fn(&Progress<'_>) + Sync),
    /// The machine is thrown away afterwards: settings that are the whole machine's may be changed.
    pub is_disposable: bool,
}

/// Runs a scenario. When it returns, and when this process ends in whatever way, nothing is left of it.
///
/// # Errors
/// When it could not run: privileges, a program that isn't installed, a machine setting on a machine that is kept, an
/// actor that failed, a limit that was passed. What was seen and not expected is no error but in the report.
pub fn run(scenario: &Scenario, options: &Options<'_>) -> Result<RunReport, Error> {
    let start = Instant::now();
    let tell = |phase: &str, number: usize, sockets: u64| {
        let of = scenario.phases.len();
        (options.progress)(&Progress { phase, number, of, elapsed: start.elapsed(), sockets });
    };
    tell("building", 0, 0);
    let _machine = machine::Settings::apply(scenario, options.is_disposable)?;
    let world = build(scenario)?;
    let hosts = world.hosts();
    // What changes these limits is about passing them.
    let of_machine = if scenario.machine.is_empty() { machine::Shared::read() } else { None };
    let watch = Watch::start(&hosts, &scenario.limits, of_machine, options.observer)?;
    let mut stage = Stage {
        scenario,
        options,
        hosts: &hosts,
        before: counters(&hosts, options.observer)?,
        after: None,
        actors: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        watch,
        reached: Vec::new(),
        missed: Vec::new(),
    };
    for condition in scenario.phases.iter().flat_map(|phase| &phase.until) {
        // Else it would be waited for in vain.
        if matches!(condition.metric, Metric::Counter(_)) && stage.read(condition)?.is_none() {
            let why = "this kernel has no such counter".to_owned();
            return Err(Error::Malformed { what: "condition", text: condition.to_string(), why });
        }
    }
    for (name, part) in &scenario.actors {
        if !part.is_late {
            stage.spawn(name)?;
        }
    }
    let mut reports = Vec::new();
    for (index, phase) in scenario.phases.iter().enumerate() {
        let tell = |sockets| tell(&phase.name, index + 1, sockets);
        if let Some(found) = stage.play(phase, &tell)? {
            reports = found;
        }
    }
    stage.finish(reports, start)
}

fn build(scenario: &Scenario) -> Result<World, Error> {
    let world = World::new();
    let mut hosts = BTreeMap::new();
    for (name, _) in &scenario.hosts {
        hosts.insert(name.as_str(), world.host(name)?);
    }
    for link in &scenario.links {
        world.link(
            &hosts[link.a.host.as_str()],
            &hosts[link.b.host.as_str()],
            &link.a.address,
            &link.b.address,
        )?;
    }
    for (name, spec) in &scenario.hosts {
        let host = &hosts[name.as_str()];
        for (device, addresses) in &spec.address {
            addresses.iter().try_for_each(|address| host.add_address(device, address))?;
        }
        if spec.forward {
            host.forward()?;
        }
        for (network, via) in &spec.route {
            match network.as_str() {
                "default" => host.default_route(via)?,
                network => host.route(network, via)?,
            }
        }
        spec.sysctl.iter().try_for_each(|(key, value)| host.sysctl(key, value))?;
        if let Some(rules) = &spec.nft {
            host.nft(rules)?;
        }
    }
    Ok(world)
}

fn counters(hosts: &[Host], observer: &'static dyn Observer) -> Result<Vec<Counters>, Error> {
    let read = |host: &Host| {
        host.work(|| observer.counters())
            .map_err(|what| Error::Unreadable { host: host.name().to_owned(), what })
    };
    hosts.iter().map(read).collect()
}

/// A run while it is under way.
struct Stage<'a> {
    scenario: &'a Scenario,
    options: &'a Options<'a>,
    hosts: &'a [Host],
    /// Counters at the start, by host.
    before: Vec<Counters>,
    actors: BTreeMap<&'a str, Actor>,
    /// Counters at the end, by host.
    after: Option<Vec<Counters>>,
    /// Of actors that have ended; in the end, of all.
    outcomes: BTreeMap<&'a str, Outcome>,
    watch: Watch,
    /// How far it was when each phase's waits were over.
    reached: Vec<Reached>,
    /// What phases waited for in vain.
    missed: Vec<Expectation>,
}

impl<'a> Stage<'a> {
    fn host(&self, name: &str) -> Result<&'a Host, Error> {
        self.hosts.iter().find(|host| host.name() == name).ok_or_else(|| unknown("host", name))
    }

    fn actor(&self, name: &str) -> Result<&Actor, Error> {
        self.actors.get(name).ok_or_else(|| unknown("running actor", name))
    }

    fn spawn(&mut self, name: &'a str) -> Result<(), Error> {
        let part = self.scenario.actor(name).ok_or_else(|| unknown("actor", name))?;
        let actor = self.host(&part.host)?.spawn(self.options.launcher, &part.spec)?;
        // One that tries again and again is not ready before it succeeds.
        if !matches!(&part.spec, ActorSpec::Server(server) if server.retry_bind) {
            actor.ready(PATIENCE.min(self.watch.time_left()))?;
        }
        self.watch.verify()?;
        self.actors.insert(name, actor);
        Ok(())
    }

    /// Plays one phase; the reports, if it checks.
    fn play(&mut self, phase: &'a Phase, tell: &dyn Fn(u64)) -> Result<Option<Vec<Report>>, Error> {
        tell(self.watch.sockets());
        for (host, settings) in &phase.sysctl {
            let host = self.host(host)?;
            settings.iter().try_for_each(|(key, value)| host.sysctl(key, value))?;
        }
        for (host, rules) in &phase.nft {
            self.host(host)?.nft(rules)?;
        }
        for (devices, is_up) in [(&phase.link_down, false), (&phase.link_up, true)] {
            for device in devices {
                let (host, device) = device.split_once(':').ok_or_else(|| unknown("interface", device))?;
                self.host(host)?.set_link(device, is_up)?;
            }
        }
        for name in &phase.release {
            self.actor(name)?.release()?;
        }
        for name in &phase.stop {
            let actor = self.actors.remove(name.as_str()).ok_or_else(|| unknown("running actor", name))?;
            self.outcomes.insert(name, actor.stop(PATIENCE)?);
        }
        for name in &phase.spawn {
            self.spawn(name)?;
        }
        for name in &phase.begin {
            self.actor(name)?.go()?;
        }
        // What does not come about in the scenario's time is told at the end; a setting may well prevent it.
        let is_late = || self.watch.elapsed().as_secs_f64() > self.scenario.limits.seconds;
        let is_over = || {
            let is_there = match &phase.as_far_as {
                Some(other) => self.is_as_far(phase, other)?,
                None => self.missed(phase)?.is_empty() || self.is_in_vain(phase)?,
            };
            Ok(is_there || is_late())
        };
        self.wait(tell, is_over)?;
        let reached = self.reached(phase)?;
        self.reached.push(reached);
        let missed = self.missed(phase)?;
        self.missed.extend(missed);
        let held = Instant::now();
        let pause = Duration::from_secs_f64(phase.seconds);
        self.wait(tell, || Ok(held.elapsed() >= pause))?;
        let Some(check) = &phase.check else { return Ok(None) };
        let whole_machine = !self.scenario.machine.is_empty();
        // Shown while it looks, which takes seconds.
        let reports = thread::scope(|scope| {
            let look = scope.spawn(|| self.options.observer.check(self.hosts, check, whole_machine));
            while !look.is_finished() {
                tell(self.watch.sockets());
                thread::sleep(TICK);
            }
            look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        self.watch.verify()?;
        Ok(Some(reports))
    }

    /// What the phase waits for and is not there yet.
    fn missed(&self, phase: &Phase) -> Result<Vec<Expectation>, Error> {
        let mut missed = Vec::new();
        let mut miss = |what: String, seen| {
            let what = format!("phase \"{}\": {what}", phase.name);
            missed.push(Expectation { what, seen, is_met: false });
        };
        for name in &phase.done {
            if !self.actor(name)?.is_done()? {
                let tried = self.outcome(name)?.attempted;
                miss(format!("{name}: attempted all it should"), Some(tried as f64));
            }
        }
        for condition in &phase.until {
            let seen = self.read(condition)?;
            if !condition.is_met_by(seen) {
                miss(condition.to_string(), seen);
            }
        }
        Ok(missed)
    }

    /// How far the clients are.
    fn reached(&self, phase: &Phase) -> Result<Reached, Error> {
        let seconds = self.watch.elapsed().as_secs_f64();
        let mut reached = Reached { phase: phase.name.clone(), seconds, ..Reached::default() };
        for (name, part) in &self.scenario.actors {
            if matches!(part.spec, ActorSpec::Client(_)) {
                let outcome = self.outcome(name)?;
                // Over kept connections a request is what a client tries.
                reached.tried.insert(name.clone(), outcome.attempted.max(outcome.answered));
            }
        }
        Ok(reached)
    }

    /// Whether it is as far as the run that this one is compared with.
    fn is_as_far(&self, phase: &Phase, other: &Reached) -> Result<bool, Error> {
        if self.watch.elapsed().as_secs_f64() < other.seconds {
            return Ok(false);
        }
        for name in &phase.done {
            if !self.actor(name)?.is_done()? {
                return Ok(false);
            }
        }
        let own = self.reached(phase)?.tried;
        Ok(other.tried.iter().all(|(name, count)| own.get(name).is_some_and(|it| it >= count)))
    }

    /// Whether it waits for what a client has not done that has tried all it should.
    fn is_in_vain(&self, phase: &Phase) -> Result<bool, Error> {
        for condition in &phase.until {
            let part = self.scenario.actor(&condition.subject);
            let is_of_client = part.is_some_and(|it| matches!(it.spec, ActorSpec::Client(_)));
            // What it holds may still be closed.
            if is_of_client && !condition.metric.is_of_host() && condition.metric != Metric::Held {
                let is_done = self.actors.get(condition.subject.as_str()).map_or(Ok(true), Actor::is_done)?;
                if is_done && !condition.is_met_by(self.read(condition)?) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn wait(
        &self,
        tell: &dyn Fn(u64),
        mut is_over: impl FnMut() -> Result<bool, Error>,
    ) -> Result<(), Error> {
        loop {
            self.watch.verify()?;
            if is_over()? {
                return Ok(());
            }
            tell(self.watch.sockets());
            thread::sleep(TICK);
        }
    }

    /// What a condition speaks of; `None` for a counter that this kernel doesn't have.
    fn read(&self, condition: &Condition) -> Result<Option<f64>, Error> {
        let number = |it: u64| Some(it as f64);
        if condition.metric.is_of_host() {
            let index = self.hosts.iter().position(|host| host.name() == condition.subject);
            let index = index.ok_or_else(|| unknown("host", &condition.subject))?;
            return Ok(match &condition.metric {
                Metric::State(state) => number(self.watch.now(index, *state)),
                Metric::Peak(state) => number(self.watch.peak(index, *state)),
                Metric::Counter(name) => {
                    let now = match &self.after {
                        Some(after) => after[index].get(name).copied(),
                        None => {
                            counters(&self.hosts[index..=index], self.options.observer)?[0].get(name).copied()
                        }
                    };
                    let rise = |now: u64| now - self.before[index].get(name).copied().unwrap_or(0).min(now);
                    now.and_then(|it| number(rise(it)))
                }
                _ => None,
            });
        }
        let outcome = self.outcome(&condition.subject)?;
        Ok(match &condition.metric {
            Metric::Attempted => number(outcome.attempted),
            Metric::Succeeded => number(outcome.succeeded),
            Metric::Answered => number(outcome.answered),
            Metric::Failed => number(outcome.failed()),
            Metric::Held => number(outcome.held),
            Metric::Leaked => number(outcome.leaked),
            Metric::Ended => number(outcome.ended),
            Metric::Errno(name) => number(outcome.errors.get(name).copied().unwrap_or(0)),
            _ => None,
        })
    }

    fn outcome(&self, name: &str) -> Result<Outcome, Error> {
        match (self.outcomes.get(name), self.actors.get(name)) {
            (Some(outcome), _) => Ok(outcome.clone()),
            (None, Some(actor)) => actor.outcome_so_far(),
            // Not spawned in this run.
            (None, None) => Ok(Outcome::default()),
        }
    }

    fn finish(mut self, reports: Vec<Report>, start: Instant) -> Result<RunReport, Error> {
        // Everything is read once, so that what is shown is what was judged.
        self.watch.look()?;
        for (name, _) in &self.scenario.actors {
            let outcome = self.outcome(name)?;
            self.outcomes.insert(name, outcome);
        }
        let after = counters(self.hosts, self.options.observer)?;
        self.after = Some(after.clone());
        let mut actors = Vec::new();
        for (name, part) in &self.scenario.actors {
            actors.push(ActorReport::new(name, part, &self.outcome(name)?));
        }
        let mut expectations = self.missed.clone();
        for condition in &self.scenario.expect.measured {
            let seen = self.read(condition)?;
            let is_met = condition.is_met_by(seen);
            expectations.push(Expectation { what: condition.to_string(), seen, is_met });
        }
        let none = Vec::new();
        let mut hosts = Vec::new();
        for (index, (host, report)) in self.hosts.iter().zip(reports).enumerate() {
            let wanted = self.scenario.expect.findings.get(host.name()).unwrap_or(&none);
            let found: Vec<Found> = report
                .findings
                .iter()
                .map(|it| Found {
                    code: it.code.clone(),
                    severity: it.severity,
                    summary: it.summary.clone(),
                    is_expected: wanted.contains(&it.code) || it.severity < Severity::Warning,
                })
                .collect();
            let missing = wanted
                .iter()
                .filter(|code| report.findings.iter().all(|it| it.code != **code))
                .cloned()
                .collect();
            let risen = after[index].iter().filter_map(|(name, now)| {
                let rise = now.checked_sub(self.before[index].get(name).copied().unwrap_or(0))?;
                (rise > 0 && name.starts_with("Tcp")).then(|| (name.clone(), rise))
            });
            hosts.push(HostReport {
                name: host.name().to_owned(),
                expected: wanted.clone(),
                states: self.watch.series(index),
                counters: risen.collect(),
                findings: found,
                missing,
                report,
            });
        }
        let as_expected = expectations.iter().all(|it| it.is_met)
            && hosts
                .iter()
                .all(|it| it.missing.is_empty() && it.findings.iter().all(|found| found.is_expected));
        Ok(RunReport {
            schema: RUN_SCHEMA,
            scenario: self.scenario.name.clone(),
            title: self.scenario.title.clone(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            as_expected,
            seconds: (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
            params: self.scenario.params.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
            set: self.scenario.set.iter().cloned().collect(),
            hosts,
            actors,
            phases: self.reached,
            expectations,
        })
    }
}

fn unknown(what: &'static str, name: &str) -> Error {
    Error::Malformed { what, text: name.to_owned(), why: "there is none of this name now".into() }
}
