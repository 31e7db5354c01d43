//! One line on a terminal that says where runs are.

use crate::render::clean;
use linger_lab::run::Progress;
use linger_rules::thousands;
use rustix::termios::tcgetwinsize;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often the line is written anew.
const REDRAW: Duration = Duration::from_millis(100);

/// The line; erased when dropped. Nothing is written where standard error is no terminal.
pub struct Board {
    state: Option<Mutex<State>>,
}

struct State {
    start: Instant,
    drawn: Option<Instant>,
    total: usize,
    done: usize,
    running: BTreeMap<String, String>,
}

impl Board {
    /// For so many runs.
    pub fn new(total: usize) -> Board {
        let is_shown =
            io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let state = State { start: Instant::now(), drawn: None, total, done: 0, running: BTreeMap::new() };
        Board { state: is_shown.then(|| Mutex::new(state)) }
    }

    /// A run is here now.
    pub fn tell(&self, name: &str, progress: &Progress<'_>) {
        let Some(mut state) = self.lock() else { return };
        let phase = clean(progress.phase);
        let line = match progress.number {
            0 => phase,
            number => {
                format!("{number}/{} {phase} · {} sockets", progress.of, thousands(progress.sockets))
            }
        };
        state.running.insert(name.to_owned(), line);
        state.draw(false);
    }

    /// It begins, and tells no more than when runs are over.
    pub fn begin(&self, doing: &str) {
        let Some(mut state) = self.lock() else { return };
        state.running.insert(doing.to_owned(), "…".to_owned());
        state.draw(true);
    }

    /// A run is over.
    pub fn done(&self, name: &str) {
        let Some(mut state) = self.lock() else { return };
        state.done += 1;
        state.running.remove(name);
        state.draw(true);
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        Some(self.state.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn draw(&mut self, at_once: bool) {
        if !at_once && self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let elapsed = self.start.elapsed().as_secs_f64();
        let line = self.line(elapsed, width());
        // A terminal that is gone is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
        let _ = io::stderr().flush();
    }

    fn line(&self, elapsed: f64, width: usize) -> String {
        let mut line = format!("{elapsed:.0} s");
        if self.total > 1 {
            line = format!("{} of {} done · {line}", self.done, self.total);
        }
        match self.running.iter().next() {
            Some((name, phase)) if self.running.len() == 1 => line = format!("{line} · {name}: {phase}"),
            Some(_) => {
                let names: Vec<&str> = self.running.keys().map(String::as_str).collect();
                line = format!("{line} · {}", names.join(", "));
            }
            None => {}
        }
        // The last column stays free: some terminals would go on to the next line.
        line.chars().take(width.saturating_sub(1)).collect()
    }
}

fn width() -> usize {
    tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_col)).filter(|it| *it > 0).unwrap_or(80)
}

impl Drop for Board {
    fn drop(&mut self) {
        if self.lock().is_some_and(|state| state.drawn.is_some()) {
            let _ = write!(io::stderr(), "\r\x1b[K");
            let _ = io::stderr().flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_it_is_and_fits() {
        let mut state =
            State { start: Instant::now(), drawn: None, total: 1, done: 0, running: BTreeMap::new() };
        state.running.insert("slow-accept".into(), "2/3 the queue is full · 1,003 sockets".into());
        assert_eq!(state.line(3.2, 80), "3 s · slow-accept: 2/3 the queue is full · 1,003 sockets");
        state.total = 4;
        state.running.insert("syn-flood".into(), "building".into());
        assert_eq!(state.line(3.2, 80), "0 of 4 done · 3 s · slow-accept, syn-flood");
        assert_eq!(state.line(3.2, 20).chars().count(), 19);
    }
}
