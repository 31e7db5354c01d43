//! Threads that take each sample: what they do with it may take its time, and never holds up sampling or serving.

use crate::state::{State, View};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// A running thread, which ends when [`State::close`] has taken its source away.
pub struct Worker {
    thread: JoinHandle<()>,
    stop: Option<Sender<()>>,
}

impl Worker {
    /// Starts it. Samples wait for it, this many at the most; beyond, they are dropped and counted.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(
        state: &State,
        name: &'static str,
        waiting: usize,
        run: impl FnOnce(Receiver<Arc<View>>) + Send + 'static,
    ) -> io::Result<Worker> {
        let views = state.subscribe(name, waiting);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(views))?;
        Ok(Worker { thread, stop: None })
    }

    /// Starts one that asks for samples itself, and ends when its channel does.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn alone(name: &'static str, run: impl FnOnce(Receiver<()>) + Send + 'static) -> io::Result<Worker> {
        let (stop, stopped) = channel();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || run(stopped))?;
        Ok(Worker { thread, stop: Some(stop) })
    }

    /// Waits for its end until then, and leaves it behind after that.
    pub fn finish(self, until: Instant) {
        drop(self.stop);
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
