//! Running one scenario, or several side by side as far as this machine allows.

use super::load::{needs, one_line};
use super::observer::Collected;
use super::progress::Board;
use linger_lab::Launcher;
use linger_lab::run::{Machine, Options, RunReport, admit, run};
use linger_lab::scenario::{Limits, Scenario};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How many scenarios run at a time, at most.
const SIDE_BY_SIDE: usize = 6;

/// Runs scenarios on this machine.
pub struct Runner {
    launcher: Launcher,
    machine: Machine,
    is_disposable: bool,
}

/// A run, or why there was none.
pub type Ran = Result<RunReport, String>;

struct Queue {
    waiting: VecDeque<usize>,
    running: Vec<usize>,
}

impl Runner {
    /// Makes sure that namespaces may be made, and looks at the machine. It must come before the first thread.
    pub fn new(is_forced: bool, is_disposable: bool) -> anyhow::Result<Runner> {
        let launcher = super::enter()?;
        let mut machine = Machine::read();
        if is_forced {
            machine.runnable = None;
        }
        Ok(Runner { launcher, machine, is_disposable })
    }

    /// Runs one; `label` stands on the board.
    pub fn one(&self, scenario: &Scenario, label: &str, board: &Board) -> Ran {
        let limits = [scenario.limits];
        let ran = admit(&self.machine, &limits)
            .map_err(|error| error.to_string())
            .and_then(|()| self.admitted(scenario, label, board));
        board.done(label);
        ran
    }

    fn admitted(&self, scenario: &Scenario, label: &str, board: &Board) -> Ran {
        if let Some(missing) = needs(scenario).into_iter().find(|it| !it.is_installed) {
            return Err(format!(
                "{} is not installed; on Debian, install the package {}",
                missing.program, missing.package
            ));
        }
        let options = Options {
            launcher: &self.launcher,
            observer: &Collected,
            progress: &|progress| board.tell(label, progress),
            is_disposable: self.is_disposable,
        };
        run(scenario, &options).map_err(|error| one_line(error).to_string())
    }

    /// Runs all of them: those that mostly wait side by side, then the others one at a time. The results are in the
    /// order of `scenarios`.
    pub fn several(&self, scenarios: &[Scenario], board: &Board) -> Vec<Ran> {
        let (busy, waiting): (Vec<usize>, Vec<usize>) =
            (0..scenarios.len()).partition(|at| scenarios[*at].runs_alone());
        let results: Mutex<Vec<Option<Ran>>> = Mutex::new(vec![None; scenarios.len()]);
        let lanes = SIDE_BY_SIDE.min(waiting.len());
        let queue = (Mutex::new(Queue { waiting: waiting.into(), running: Vec::new() }), Condvar::new());
        thread::scope(|scope| {
            for _ in 0..lanes {
                scope.spawn(|| {
                    while let Some((at, admitted)) = self.next(scenarios, &queue) {
                        let scenario = &scenarios[at];
                        let ran = admitted.and_then(|()| self.admitted(scenario, &scenario.name, board));
                        board.done(&scenario.name);
                        lock(&results)[at] = Some(ran);
                        lock(&queue.0).running.retain(|it| *it != at);
                        queue.1.notify_all();
                    }
                });
            }
        });
        for at in busy {
            lock(&results)[at] = Some(self.one(&scenarios[at], &scenarios[at].name, board));
        }
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        results.into_iter().map(|ran| ran.unwrap_or_else(|| Err("it was not run".into()))).collect()
    }

    /// The next that may run beside those that do; waits until there is room.
    fn next(
        &self,
        scenarios: &[Scenario],
        (queue, changed): &(Mutex<Queue>, Condvar),
    ) -> Option<(usize, Result<(), String>)> {
        let mut state = lock(queue);
        loop {
            let next = *state.waiting.front()?;
            let wanted: Vec<Limits> =
                state.running.iter().chain([&next]).map(|at| scenarios[*at].limits).collect();
            match admit(&self.machine, &wanted) {
                Err(_) if !state.running.is_empty() => {
                    state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                admitted => {
                    state.waiting.pop_front();
                    state.running.push(next);
                    return Some((next, admitted.map_err(|error| error.to_string())));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
