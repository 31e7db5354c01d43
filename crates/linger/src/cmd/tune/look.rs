//! Looking at a namespace while its settings change: the code behind `linger check`, and the operator's signals.

use crate::cmd::check::sampler_options;
use crate::diagnose;
use crate::render::tune;
use linger_collect::{Depth, Sampler};
use linger_facts::state;
use linger_model::aggregate::Gather;
use linger_model::report::Severity;
use linger_model::{Snapshot, State, Window};
use linger_netns::Netns;
use linger_rules::{Config, Selection};
use linger_tune::plan::Change;
use linger_tune::{Answer, Attendant, Guard, Interrupt, Progress, Sample, Signals};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::Duration;

/// Looks, waits, asks, and tells on standard error.
pub struct Watcher {
    sampler: Sampler,
    namespaces: Vec<Netns>,
    last: Option<Snapshot>,
    config: Config,
    selection: Selection,
    signals: Signals,
    guard: Option<Guard>,
    asks: bool,
}

impl Watcher {
    /// Of one namespace; `asks` before each step.
    pub fn new(ns: Netns, config: Config, signals: Signals, asks: bool) -> Watcher {
        // In a container's namespace the host's own troubles are no news of the change.
        let selection = Selection { skip_host: ns.is_init() != Some(true), ..Selection::default() };
        let (sampler, namespaces) = (Sampler::new(sampler_options(&config, Gather::CHECK)), vec![ns]);
        Watcher { sampler, namespaces, last: None, config, selection, signals, guard: None, asks }
    }

    /// From now on nothing is written without this guardian.
    pub fn guarded_by(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// Ends the guardian: nothing is left to be taken back.
    pub fn dismiss_guard(&mut self) {
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
    }

    /// Hears of signals alone.
    pub fn wait(&self, time: Duration) -> Option<Interrupt> {
        self.signals.wait(time)
    }
}

/// A line, and nothing after it: the next question's answer may be there already.
fn line(input: &io::Stdin) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 100
        && rustix::io::read(input, &mut byte).is_ok_and(|length| length == 1)
        && byte != *b"\n"
    {
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

impl Attendant for Watcher {
    fn look(&mut self) -> Result<Sample, String> {
        let now = self.sampler.sample(&self.namespaces, Depth::Full).pop().ok_or("no sample was taken")?;
        let mut counters = now.counters.clone().map_err(|gap| gap.to_string())?;
        if let Ok(softnet) = &now.host.softnet {
            counters.insert("softnet.dropped".to_owned(), softnet.dropped);
        }
        let at_s = now.monotonic_us as f64 / 1e6;
        let window: Vec<Snapshot> = self.last.replace(now.clone()).into_iter().chain([now]).collect();
        let window = Window::new(window).ok_or("no sample was taken")?;
        let report = diagnose::report(&window, &self.config, &self.selection);
        let counted = |it: &State| {
            let count = report.states.and_then(|states| states.get(*it))?;
            state(it.name()).map(|known| (known.name.to_owned(), count))
        };
        let mut sample = Sample { at_s, counters, ..Sample::default() };
        sample.states = State::ALL.iter().filter_map(counted).collect();
        for row in &report.headroom {
            let fullest = sample.headroom.entry(row.resource.clone()).or_default();
            *fullest = fullest.max(row.fraction);
        }
        let critical = report.findings.into_iter().filter(|it| it.severity == Severity::Critical);
        sample.critical = critical.map(|it| (it.code, it.summary)).collect();
        Ok(sample)
    }

    fn pause(&mut self, time: Duration) -> Option<Interrupt> {
        self.signals.wait(time)
    }

    fn is_guarded(&mut self) -> bool {
        self.guard.as_mut().is_some_and(Guard::is_alive)
    }

    fn go_on(&mut self, number: usize, change: &Change) -> Answer {
        if !self.asks {
            return Answer::Yes;
        }
        // A terminal that is gone can be asked nothing: the answer is no.
        let _ = write!(io::stderr(), "{}", tune::question(number, change));
        let _ = io::stderr().flush();
        let input = io::stdin();
        let time = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        loop {
            if self.signals.wait(Duration::ZERO).is_some() || !self.is_guarded() {
                let _ = writeln!(io::stderr());
                return Answer::Interrupted;
            }
            let ready = poll(&mut [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)], Some(&time));
            if ready.is_ok_and(|count| count > 0) {
                let is_yes = matches!(line(&input).trim(), "y" | "Y" | "yes");
                return if is_yes { Answer::Yes } else { Answer::No };
            }
        }
    }

    fn tell(&mut self, progress: &Progress<'_>) {
        // A terminal that is gone can be told nothing.
        let _ = writeln!(io::stderr(), "{}", tune::progress(progress));
    }
}
