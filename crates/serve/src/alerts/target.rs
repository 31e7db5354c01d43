//! One place that alerts are sent to: what waits for it, and the thread that sends.

use super::lifecycle::{Alert, MOST};
use super::message::{self, Additions};
use super::{Kind, TargetConfig};
use crate::client::{Client, Outcome, pause};
use crate::state::{Meter, State};
use crate::{Level, Log};
use jiff::Timestamp;
use linger_model::report::Severity;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

/// Alerts in one message.
const BATCH: usize = 50;

/// What a target's metrics say.
#[derive(Debug, Default)]
pub struct Stats {
    /// The label: what it is and where.
    pub name: String,
    /// Alerts that were taken.
    pub sent: AtomicU64,
    /// Attempts that failed.
    pub failed: AtomicU64,
    /// Alerts given up: refused as such, or beyond what may wait.
    pub dropped: AtomicU64,
    /// Alerts that wait.
    pub queue: AtomicU64,
}

/// What an alert is told by: its newest state replaces what waits.
fn same(a: &Alert, b: &Alert) -> bool {
    a.key == b.key && a.severity == b.severity
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Vec<Arc<Alert>>,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    outbox: Mutex<Outbox>,
    wake: Condvar,
    /// Moves with what waits.
    changes: AtomicU64,
    stats: Arc<Stats>,
}

impl Shared {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, outbox: &Outbox) {
        self.stats.queue.store(outbox.waiting.len() as u64, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

/// A target in force. Dropping it ends its thread, after the attempt that is under way.
#[derive(Debug)]
pub struct Target {
    /// What it was made of.
    pub kind: Kind,
    /// The same.
    pub config: TargetConfig,
    /// What every message is made with.
    pub additions: Additions,
    /// By what a later run knows it.
    pub id: String,
    shared: Arc<Shared>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shared.outbox().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Target {
    /// Starts its thread.
    ///
    /// # Errors
    /// When there is no thread to be had, or the configuration does not fit.
    pub fn start(
        (kind, config, additions): (Kind, &TargetConfig, &Additions),
        name: String,
        state: &Arc<State>,
        log: &Log,
    ) -> Result<Target, String> {
        let url = match kind {
            Kind::Alertmanager => config.url.join("/api/v2/alerts"),
            Kind::Webhook => config.url.clone(),
        };
        let client = Client::new(&url, &config.http)?;
        let shared = Arc::new(Shared {
            outbox: Mutex::default(),
            wake: Condvar::new(),
            changes: AtomicU64::new(0),
            stats: Arc::new(Stats { name, ..Stats::default() }),
        });
        let sender = Sender {
            kind,
            client,
            additions: additions.clone(),
            shared: shared.clone(),
            state: state.clone(),
            log: log.clone(),
        };
        let spawned = thread::Builder::new().name("alerts-send".to_owned()).spawn(move || sender.run());
        spawned.map_err(|error: io::Error| format!("no thread for alerts: {error}"))?;
        let id = config.id(kind);
        Ok(Target { kind, config: config.clone(), additions: additions.clone(), id, shared })
    }

    /// Whether it wants alerts of this severity.
    pub fn wants(&self, severity: Severity) -> bool {
        severity >= self.config.severity
    }

    /// Has alerts sent that it wants; the newest of each replaces what waits.
    pub fn push(&self, alerts: impl IntoIterator<Item = Alert>) {
        let mut alerts = alerts.into_iter().filter(|alert| self.wants(alert.severity)).peekable();
        if alerts.peek().is_none() {
            return;
        }
        let mut outbox = self.shared.outbox();
        for alert in alerts {
            match outbox.waiting.iter_mut().find(|it| same(it, &alert)) {
                Some(waiting) => *waiting = Arc::new(alert),
                None => outbox.waiting.push(Arc::new(alert)),
            }
        }
        let beyond = outbox.waiting.len().saturating_sub(MOST);
        outbox.waiting.drain(..beyond);
        self.shared.stats.dropped.fetch_add(beyond as u64, Ordering::Relaxed);
        self.shared.changed(&outbox);
        self.shared.wake.notify_all();
    }

    /// What waits, for a later run.
    pub fn waiting(&self) -> Vec<Alert> {
        self.shared.outbox().waiting.iter().map(|alert| Alert::clone(alert)).collect()
    }

    /// Moves with what waits.
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// For the metrics.
    pub fn stats(&self) -> Arc<Stats> {
        self.shared.stats.clone()
    }
}

struct Sender {
    kind: Kind,
    client: Client,
    additions: Additions,
    shared: Arc<Shared>,
    state: Arc<State>,
    log: Log,
}

impl Sender {
    fn run(self) {
        let mut meter = Meter::default();
        let (mut failures, mut said, mut not_before) = (0u32, false, None);
        let stats = &self.shared.stats;
        while let Some(batch) = self.next(not_before) {
            let outcome = self.send(&batch);
            meter.charge(&self.state.sending_ns);
            match outcome {
                Outcome::Accepted(_) => {
                    self.done(&batch);
                    stats.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    if std::mem::take(&mut said) {
                        (self.log)(Level::Info, &format!("alerts: {} takes them again", stats.name));
                    }
                    (failures, not_before) = (0, None);
                }
                Outcome::Refused(why) => {
                    self.done(&batch);
                    stats.failed.fetch_add(1, Ordering::Relaxed);
                    stats.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    if !std::mem::replace(&mut said, true) {
                        let n = batch.len();
                        let why = format!("alerts: {} refuses {n}, given up: {why}", stats.name);
                        (self.log)(Level::Warning, &why);
                    }
                }
                Outcome::Later { why, after, .. } => {
                    failures = failures.saturating_add(1);
                    stats.failed.fetch_add(1, Ordering::Relaxed);
                    not_before = Some(Instant::now() + pause(failures, after));
                    if !std::mem::replace(&mut said, true) {
                        let n = stats.queue.load(Ordering::Relaxed);
                        let name = &stats.name;
                        let why = format!(
                            "alerts: {name} does not take them: {why}; it is tried again ({n} waiting)"
                        );
                        (self.log)(Level::Warning, &why);
                    }
                }
            }
        }
    }

    fn send(&self, batch: &[Arc<Alert>]) -> Outcome {
        let alerts: Vec<&Alert> = batch.iter().map(|it| &**it).collect();
        let body = match self.kind {
            Kind::Alertmanager => message::for_alertmanager(&alerts, &self.additions, Timestamp::now()),
            Kind::Webhook => message::for_webhook(&alerts, &self.additions),
        };
        self.client.post("application/json", None, &body)
    }

    /// The next ones to send, once there are some and the pause is over; nothing at the end.
    fn next(&self, not_before: Option<Instant>) -> Option<Vec<Arc<Alert>>> {
        let mut outbox = self.shared.outbox();
        loop {
            let left = not_before.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.filter(|left| !left.is_zero());
            outbox = match left {
                _ if outbox.closed => return None,
                None if !outbox.waiting.is_empty() => {
                    return Some(outbox.waiting.iter().take(BATCH).cloned().collect());
                }
                None => self.shared.wake.wait(outbox).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.shared.wake.wait_timeout(outbox, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Forgets these, unless something newer has taken their place.
    fn done(&self, batch: &[Arc<Alert>]) {
        let mut outbox = self.shared.outbox();
        outbox.waiting.retain(|waiting| !batch.iter().any(|sent| Arc::ptr_eq(sent, waiting)));
        self.shared.changed(&outbox);
    }
}
