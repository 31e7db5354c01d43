//! The eye on a run: states over time, and the limits it must keep to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use linger_model::{State, StateCounts};

use super::machine::Shared as OfMachine;
use super::{Observer, StateSeries};
use crate::scenario::Limits;
use crate::{Error, Host};

/// How often it looks, unless that costs more than a tenth of the time.
const INTERVAL: Duration = Duration::from_millis(200);
/// Columns of a series.
const COLUMNS: usize = 60;
/// How far a run may pass what its scenario says it needs: a loaded machine is slow.
const SLACK: f64 = 3.0;

/// Looks at the hosts again and again, on a thread of its own, until it is dropped.
pub(super) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    hosts: Vec<Host>,
    limits: Limits,
    /// What the machine shares, where the scenario keeps to its part of it.
    of_machine: Option<OfMachine>,
    observer: &'static dyn Observer,
    start: Instant,
    is_over: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// By look, then by host.
    looks: Vec<Vec<StateCounts>>,
    /// What stopped the run.
    failed: Option<String>,
}

impl Watch {
    pub(super) fn start(
        hosts: &[Host],
        limits: &Limits,
        of_machine: Option<OfMachine>,
        observer: &'static dyn Observer,
    ) -> Result<Watch, Error> {
        let shared = Arc::new(Shared {
            hosts: hosts.to_vec(),
            limits: *limits,
            of_machine,
            observer,
            start: Instant::now(),
            is_over: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        shared.look()?;
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new().name("lab-watch".into()).spawn(move || {
            while !watched.is_over.load(Ordering::Relaxed) {
                let start = Instant::now();
                if let Err(error) = watched.look() {
                    watched.seen().failed.get_or_insert(error.to_string());
                }
                let until = Instant::now() + INTERVAL.max(start.elapsed() * 10);
                // Others wake a parked thread, too.
                while !watched.is_over.load(Ordering::Relaxed) && Instant::now() < until {
                    thread::park_timeout(until.saturating_duration_since(Instant::now()));
                }
            }
        });
        let thread = thread.map_err(|source| Error::Host {
            host: String::new(),
            operation: "start",
            subject: "the thread that watches".into(),
            source,
        })?;
        Ok(Watch { shared, thread: Some(thread) })
    }

    /// Looks now.
    pub(super) fn look(&self) -> Result<(), Error> {
        self.shared.look()
    }

    /// Whether the run keeps to its limits.
    pub(super) fn verify(&self) -> Result<(), Error> {
        let Limits { sockets, seconds, .. } = self.shared.limits;
        if let Some(reason) = self.shared.seen().failed.clone() {
            return Err(Error::Stopped { reason });
        }
        let (now, elapsed) = (self.sockets(), self.elapsed().as_secs_f64());
        if now > sockets {
            let reason = format!("it has {now} sockets, and its scenario allows {sockets} (limits.sockets)");
            return Err(Error::Stopped { reason });
        }
        if elapsed > seconds * SLACK {
            let reason =
                format!("it takes {elapsed:.1} s, and its scenario allows {seconds} (limits.seconds)");
            return Err(Error::Stopped { reason });
        }
        Ok(())
    }

    /// Until the run is stopped.
    pub(super) fn time_left(&self) -> Duration {
        Duration::from_secs_f64(self.shared.limits.seconds * SLACK).saturating_sub(self.elapsed())
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.shared.start.elapsed()
    }

    /// Sockets of all hosts, at the last look.
    pub(super) fn sockets(&self) -> u64 {
        self.shared.seen().looks.last().map_or(0, |look| look.iter().map(StateCounts::total).sum())
    }

    pub(super) fn now(&self, host: usize, state: State) -> u64 {
        self.shared.seen().looks.last().map_or(0, |look| look[host].count(state))
    }

    pub(super) fn peak(&self, host: usize, state: State) -> u64 {
        self.shared.seen().looks.iter().map(|look| look[host].count(state)).max().unwrap_or(0)
    }

    pub(super) fn series(&self, host: usize) -> Vec<StateSeries> {
        let seen = self.shared.seen();
        State::ALL
            .iter()
            .filter_map(|state| {
                let counts: Vec<u64> = seen.looks.iter().map(|look| look[host].count(*state)).collect();
                let peak = *counts.iter().max()?;
                let last = *counts.last()?;
                (peak > 0).then(|| StateSeries {
                    state: *state,
                    counts: squeeze(&counts, COLUMNS),
                    peak,
                    last,
                })
            })
            .collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> Result<(), Error> {
        let observer = self.observer;
        let states = |host: &Host| {
            host.work(|| observer.states())
                .map_err(|what| Error::Unreadable { host: host.name().to_owned(), what })
        };
        let look = self.hosts.iter().map(states).collect::<Result<Vec<_>, _>>()?;
        self.seen().looks.push(look);
        match self.of_machine.and_then(|it| it.used_up()) {
            Some(reason) => Err(Error::Stopped { reason }),
            None => Ok(()),
        }
    }
}

/// At most so many columns, each the largest of its part.
fn squeeze(counts: &[u64], columns: usize) -> Vec<u64> {
    if counts.len() <= columns {
        return counts.to_vec();
    }
    (0..columns)
        .map(|column| {
            let (from, to) = (column * counts.len() / columns, (column + 1) * counts.len() / columns);
            counts[from..to].iter().copied().max().unwrap_or(0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_series_keeps_its_peaks() {
        assert_eq!(squeeze(&[1, 2, 3], 5), [1, 2, 3]);
        assert_eq!(squeeze(&[1, 9, 3, 4, 5, 6, 7], 3), [9, 4, 7]);
        let long: Vec<u64> = (0..1000).collect();
        let squeezed = squeeze(&long, COLUMNS);
        assert_eq!((squeezed.len(), squeezed.last()), (COLUMNS, Some(&999)));
    }
}
