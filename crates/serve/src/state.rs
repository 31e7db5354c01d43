//! The last sample, for whoever asks; sampling puts it here, and nothing here reads the kernel.

use crate::Settings;
use crate::compact::Compact;
use crate::{alerts, history, otlp};
use linger_model::Report;
use linger_model::snapshot::{FileUse, Light, Reading, Snapshot, not_asked};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Everything that is served.
#[derive(Debug, Clone)]
pub struct View {
    /// The namespaces, the first one's report with the host's findings.
    pub namespaces: Vec<NetnsView>,
    /// Namespaces beyond the limit.
    pub left_out: u64,
    /// What could not be opened.
    pub gaps: Vec<String>,
    /// Descriptors of the host.
    pub files: Reading<FileUse>,
    /// Bytes in a page.
    pub page_size: u64,
    /// linger's own cost.
    pub cost: Cost,
}

/// One namespace.
#[derive(Debug, Clone)]
pub struct NetnsView {
    /// Its name in labels; no two have the same.
    pub label: String,
    /// The newest light reading.
    pub light: Arc<Light>,
    /// The newest walk; absent before the first.
    pub walked: Option<Walked>,
}

/// A walk, and what it showed.
#[derive(Debug, Clone)]
pub struct Walked {
    /// When it began.
    pub at: Instant,
    /// The sockets.
    pub compact: Arc<Compact>,
    /// What is wrong.
    pub report: Arc<Report>,
    /// The newest moment of its trend.
    pub trend: Option<Arc<Snapshot>>,
}

impl Walked {
    /// Bounded, of a snapshot and its report.
    pub fn new(at: Instant, snapshot: &Snapshot, report: Report, top: usize) -> Walked {
        Walked { at, compact: Arc::new(Compact::new(snapshot, top)), report: Arc::new(report), trend: None }
    }
}

/// What sampling costs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cost {
    /// CPU that sampling has taken since the beginning, seconds; all its threads.
    pub sampling_s: f64,
    /// Walks over the sockets, a namespace's each.
    pub walks: u64,
    /// Of those, the ones that a jump brought forward.
    pub urgent: u64,
    /// Readings of the counters, all namespaces' at a time.
    pub readings: u64,
    /// Seconds between two walks that the budget allows.
    pub interval_s: f64,
    /// Resident memory, bytes; `None` where it could not be read.
    pub resident_bytes: Option<u64>,
}

/// A thread that takes each sample.
#[derive(Debug)]
struct Sink {
    name: &'static str,
    views: SyncSender<Arc<View>>,
    missed: u64,
}

/// What sampling and serving share.
#[derive(Debug)]
pub struct State {
    view: RwLock<Arc<View>>,
    sinks: Mutex<Vec<Sink>>,
    began: Instant,
    beat_ms: AtomicU64,
    http_ns: AtomicU64,
    /// CPU that sending alerts and metrics has taken, nanoseconds.
    pub sending_ns: AtomicU64,
    /// What becomes of alerts.
    pub alerts: alerts::Stats,
    /// What becomes of exported metrics.
    pub otlp: otlp::Stats,
    /// CPU that checking passwords has taken, nanoseconds: it has a thread of its own.
    pub checking_ns: AtomicU64,
    reload_failed: AtomicBool,
    /// How the history does.
    pub history: history::Status,
    /// The budget: a share of one core.
    pub budget: f64,
    /// Rows of a kind.
    pub top: usize,
    /// Connections served now.
    pub open: AtomicU64,
    /// Connections served at the most.
    pub most_open: u64,
    /// Connections turned away because there were too many.
    pub refused: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Of those, the ones that were not let in: no user of this service, or another's name.
    pub denied: AtomicU64,
}

impl State {
    /// With nothing seen yet.
    pub fn new(settings: &Settings) -> State {
        let view = View {
            namespaces: Vec::new(),
            left_out: 0,
            gaps: Vec::new(),
            files: not_asked("descriptors"),
            page_size: rustix::param::page_size() as u64,
            cost: Cost::default(),
        };
        State {
            view: RwLock::new(Arc::new(view)),
            sinks: Mutex::default(),
            began: Instant::now(),
            beat_ms: AtomicU64::new(0),
            http_ns: AtomicU64::new(0),
            sending_ns: AtomicU64::new(0),
            alerts: alerts::Stats::default(),
            otlp: otlp::Stats::default(),
            checking_ns: AtomicU64::new(0),
            reload_failed: AtomicBool::new(false),
            history: history::Status::default(),
            budget: settings.cpu_budget,
            top: settings.top,
            open: AtomicU64::new(0),
            most_open: settings.connections as u64,
            refused: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        }
    }

    /// The last sample.
    pub fn view(&self) -> Arc<View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces it; also the sampling thread's sign of life.
    pub fn publish(&self, view: View) {
        let view = Arc::new(view);
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view.clone();
        for sink in self.sinks.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            // It is slow, or has ended: nobody waits for it.
            sink.missed += u64::from(sink.views.try_send(view.clone()).is_err());
        }
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat_ms.store(since, Ordering::Relaxed);
    }

    /// Each sample from now on, for a thread of this name; so many wait for it.
    pub fn subscribe(&self, name: &'static str, waiting: usize) -> Receiver<Arc<View>> {
        let (views, taken) = sync_channel(waiting);
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).push(Sink { name, views, missed: 0 });
        taken
    }

    /// Ends the threads that take samples, after what waits for them.
    pub fn close(&self) {
        self.sinks.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Samples that each of the threads had no time for.
    pub fn missed(&self) -> Vec<(&'static str, u64)> {
        let sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.iter().map(|sink| (sink.name, sink.missed)).collect()
    }

    /// How long the sampling thread has given no sign of life.
    pub fn silence(&self) -> Duration {
        self.began.elapsed().saturating_sub(Duration::from_millis(self.beat_ms.load(Ordering::Relaxed)))
    }

    /// How a reload of the configuration went.
    pub fn reloaded(&self, well: bool) {
        self.reload_failed.store(!well, Ordering::Relaxed);
    }

    /// Whether the last reload was refused.
    pub fn reload_failed(&self) -> bool {
        self.reload_failed.load(Ordering::Relaxed)
    }

    /// Says how much CPU the calling thread, which serves, has taken.
    pub fn charge_http(&self) {
        self.http_ns.store(nanoseconds(ClockId::ThreadCPUTime), Ordering::Relaxed);
    }

    /// CPU that serving has taken, seconds.
    pub fn http_s(&self) -> f64 {
        (self.http_ns.load(Ordering::Relaxed) + self.checking_ns.load(Ordering::Relaxed)) as f64 / 1e9
    }

    /// CPU that sending alerts and metrics has taken, seconds.
    pub fn sending_s(&self) -> f64 {
        self.sending_ns.load(Ordering::Relaxed) as f64 / 1e9
    }

    /// CPU that the process has taken for anything but serving, sending and the history, seconds: sampling uses several
    /// threads.
    pub fn sampling_s(&self) -> f64 {
        let others = self.http_s() + self.sending_s() + self.history.cpu_s();
        (nanoseconds(ClockId::ProcessCPUTime) as f64 / 1e9 - others).max(0.0)
    }
}

/// Counts a thread's CPU, bit by bit.
#[derive(Debug, Default)]
pub struct Meter(u64);

impl Meter {
    /// Adds what the calling thread has taken since the last time.
    pub fn charge(&mut self, account: &AtomicU64) {
        let now = nanoseconds(ClockId::ThreadCPUTime);
        account.fetch_add(now.saturating_sub(std::mem::replace(&mut self.0, now)), Ordering::Relaxed);
    }
}

/// CPU that the calling thread has taken.
pub fn thread_ns() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

/// What a clock shows, nanoseconds.
pub fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
