//! What was, kept in SQLite: series, findings with begin and end, and the report of each moment.
//!
//! A thread of its own takes every sample (`start`) and writes what is new of it in one transaction; nothing waits for
//! it. Ages are counted by a clock that never jumps (`watched_ms`), so that no wrong date deletes, overwrites or turns
//! anything around; the date stands beside.

mod database;
pub(crate) mod http;
mod reader;
mod retention;
mod schema;
#[cfg(test)]
mod tests;
pub(crate) mod trend;
mod writer;

pub use database::FILE;
pub use reader::{
    Answer, Ask, Findings, Found, Moment, NetnsSeries, ReadError, Reader, Series, parse_moment, parse_since,
};
pub use schema::SCHEMA;

use crate::state::{State, View};
use crate::worker::Worker;
use crate::{CurrentPlan, Level, Log};
use database::{Failure, Kind};
use serde::Deserialize;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
pub(crate) use trend::{Past, Pasts};
use writer::Writer;

/// Where the history is, unless somebody says otherwise.
pub const FOLDER: &str = "/var/lib/linger/history";
/// Samples that wait for the disk; beyond, they are dropped and counted.
const WAITING: usize = 16;
/// How long it stays away from a disk or a folder that refused.
const PAUSE: Duration = Duration::from_secs(5);

/// `[serve.history]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether there is one.
    pub enabled: bool,
    /// The folder.
    pub folder: PathBuf,
    /// What its files may take together, MiB. Beyond, the oldest goes first.
    #[serde(deserialize_with = "size")]
    pub max_size_mib: u64,
}

impl Config {
    /// The least size in which a day of a small host has room.
    pub const LEAST_MIB: u64 = 16;
}

impl Default for Config {
    fn default() -> Config {
        Config { enabled: true, folder: FOLDER.into(), max_size_mib: 512 }
    }
}

fn size<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let mib = u64::deserialize(deserializer)?;
    let right = (Config::LEAST_MIB..=1 << 20).contains(&mib);
    right.then_some(mib).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "max_size_mib = {mib}: {} to 1048576 is expected",
            Config::LEAST_MIB
        ))
    })
}

/// How the history does, for the metrics and for whoever asks for it.
#[derive(Debug, Default)]
pub struct Status {
    writing: AtomicBool,
    bytes: AtomicU64,
    lost: AtomicU64,
    cpu_ns: AtomicU64,
    folder: Mutex<Option<PathBuf>>,
    why: Mutex<String>,
}

impl Status {
    /// Whether the last sample was written.
    pub fn writing(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// What its files take.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Samples that could not be written.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// CPU that writing has taken, seconds.
    pub fn cpu_s(&self) -> f64 {
        self.cpu_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// The folder to read, also while nothing can be written; else why there is none.
    ///
    /// # Errors
    /// A sentence.
    pub fn folder(&self) -> Result<PathBuf, String> {
        let folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        folder.ok_or_else(|| {
            let why = self.why.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if why.is_empty() {
                "no history is kept (--no-history, or [serve.history])".to_owned()
            } else {
                why
            }
        })
    }

    fn set_folder(&self, folder: Option<&Path>, why: &str) {
        *self.folder.lock().unwrap_or_else(PoisonError::into_inner) = folder.map(Path::to_owned);
        why.clone_into(&mut self.why.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Opens the history and starts its thread. Gives what of the namespaces' past still holds, for the rules that need
/// one. Where there is no history to be had, the log says so once, and the thread tries again now and then.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(state: &Arc<State>, plan: &Arc<CurrentPlan>, log: &Log) -> io::Result<(Worker, Pasts)> {
    let mut keeper = Keeper {
        state: state.clone(),
        plan: plan.clone(),
        log: log.clone(),
        config: plan.get().serve.history.clone(),
        writer: None,
        tried: None,
        said: None,
    };
    keeper.open();
    let pasts = keeper.writer.as_ref().map_or_else(HashMap::new, Writer::pasts);
    let worker = Worker::start(state, "history", WAITING, move |views| keeper.run(&views))?;
    Ok((worker, pasts))
}

/// Keeps a writer as long as there can be one.
struct Keeper {
    state: Arc<State>,
    plan: Arc<CurrentPlan>,
    log: Log,
    config: Config,
    writer: Option<Writer>,
    /// When it last failed.
    tried: Option<Instant>,
    /// What is wrong, which is said once.
    said: Option<String>,
}

impl Keeper {
    fn run(mut self, views: &Receiver<Arc<View>>) {
        while let Ok(view) = views.recv() {
            self.follow();
            if self.writer.is_none() {
                self.open();
            }
            self.write(&view);
            self.state.history.cpu_ns.store(crate::state::thread_ns(), Ordering::Relaxed);
        }
        if let Some(writer) = self.writer.take() {
            writer.close();
        }
    }

    /// Does what the configuration says by now.
    fn follow(&mut self) {
        let plan = self.plan.get();
        let config = &plan.serve.history;
        if *config != self.config {
            (self.config, self.writer, self.tried, self.said) = (config.clone(), None, None, None);
            self.state.history.set_folder(None, "");
        }
    }

    fn open(&mut self) {
        let resting = self.tried.is_some_and(|at| at.elapsed() < PAUSE);
        if !self.config.enabled || self.writer.is_some() || resting {
            return;
        }
        match Writer::open(&self.config) {
            Ok((writer, told)) => {
                if let Some(told) = told {
                    (self.log)(Level::Warning, &told);
                }
                self.state.history.set_folder(Some(&self.config.folder), "");
                self.writer = Some(writer);
                self.tried = None;
            }
            Err(failure) => self.failed(&failure),
        }
    }

    fn write(&mut self, view: &View) {
        let status = &self.state.history;
        let resting = self.tried.is_some_and(|at| at.elapsed() < PAUSE);
        let Some(writer) = self.writer.as_mut().filter(|_| !resting) else {
            let lost = u64::from(self.config.enabled);
            status.lost.fetch_add(lost, Ordering::Relaxed);
            return;
        };
        match writer.write(view) {
            Ok(bytes) => {
                status.writing.store(true, Ordering::Relaxed);
                status.bytes.store(bytes, Ordering::Relaxed);
                self.tried = None;
                if self.said.take().is_some() {
                    (self.log)(Level::Info, "the history is being written again");
                }
            }
            Err(failure) => {
                status.lost.fetch_add(1, Ordering::Relaxed);
                self.failed(&failure);
            }
        }
    }

    /// Says it, once, and rests. A disk that is full keeps its writer; anything else opens the history anew.
    fn failed(&mut self, failure: &Failure) {
        let status = &self.state.history;
        status.writing.store(false, Ordering::Relaxed);
        if failure.kind != Kind::Full {
            self.writer = None;
            status.set_folder(None, &failure.to_string());
        }
        self.tried = Some(Instant::now());
        let what = failure.to_string();
        if self.said.as_ref() != Some(&what) {
            (self.log)(
                Level::Warning,
                &format!("no history is being written: {what}; everything else goes on"),
            );
            self.said = Some(what);
        }
    }
}
