//! Findings as alerts: sent to Alertmanager and to webhooks, and taken back when they are over.
//!
//! A thread takes each sample and decides ([`lifecycle`]); each target has a thread that sends, with what waits for it
//! (`target`): one that hangs holds up nobody else.

mod kept;
pub mod lifecycle;
mod message;
mod target;

use crate::client::{Client, Http, Url};
use crate::span::Span;
use crate::state::{Meter, State, View};
use crate::worker::Worker;
use crate::{CurrentPlan, Level, Log, Plan};
use jiff::Timestamp;
use kept::{Kept, Store};
pub use lifecycle::lasting;
use lifecycle::{Hold, Lifecycle};
use linger_model::report::Severity;
pub use message::alert_name;
use message::{Additions, Map};
use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
pub use target::Stats as TargetStats;
use target::Target;

/// Where the alerts that are on are kept, unless somebody says otherwise.
const STATE: &str = "/var/lib/linger/alerts/alerts.json";
/// How often it is looked whether something has to be sent again, or kept.
const TICK: Duration = Duration::from_millis(250);
/// How long an alert is on without a word from here, at least.
const VALID: Duration = Duration::from_secs(300);
/// How soon it is tried again to keep what could not be kept.
const KEEP_AGAIN: Duration = Duration::from_secs(10);
/// Samples that wait for the alerts' thread, which never waits itself.
const WAITING: usize = 8;
/// Targets at the most: each has a thread.
const TARGETS: usize = 16;
/// Labels that are linger's own.
const OWN: [&str; 6] = ["alertname", "code", "severity", "subject", "netns", "instance"];

/// `[serve.alerts]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a finding has to hold, by severity.
    #[serde(rename = "for")]
    pub hold: Hold,
    /// How long it has to be gone.
    pub resolve_after: Span,
    /// How often Alertmanagers are told what is on.
    pub resend: Span,
    /// The label `instance`; the host's name by default.
    pub instance: Option<String>,
    /// More labels.
    pub labels: Map,
    /// Where runbooks are: `https://wiki/{code}`.
    pub runbook_url: Option<String>,
    /// Where the alerts that are on are kept for a later run; empty for nowhere.
    pub state: PathBuf,
    /// Alertmanagers, each told the same.
    pub alertmanager: Vec<TargetConfig>,
    /// Webhooks.
    pub webhook: Vec<TargetConfig>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hold: Hold::default(),
            resolve_after: Span::seconds(300),
            resend: Span::seconds(60),
            instance: None,
            labels: Map::new(),
            runbook_url: None,
            state: STATE.into(),
            alertmanager: Vec::new(),
            webhook: Vec::new(),
        }
    }
}

/// One of `[[serve.alerts.alertmanager]]` or `[[serve.alerts.webhook]]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetConfig {
    /// Where.
    pub url: Url,
    /// The least severity that is sent there.
    #[serde(default = "warning")]
    pub severity: Severity,
    /// How.
    #[serde(default)]
    pub http: Http,
}

fn warning() -> Severity {
    Severity::Warning
}

impl TargetConfig {
    /// By what a later run knows it, without its secrets.
    fn id(&self, kind: Kind) -> String {
        let url = Map::from([(String::new(), self.url.secret().to_owned())]);
        format!("{} {:016x}", kind.name(), message::fingerprint(&url))
    }
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Told what is on, again and again.
    Alertmanager,
    /// Told what begins and what is over, once.
    Webhook,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Alertmanager => "alertmanager",
            Kind::Webhook => "webhook",
        }
    }
}

impl Config {
    /// What could not be said while it was read.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn check(&self) -> Result<(), String> {
        let targets: Vec<_> = self.targets().collect();
        if targets.len() > TARGETS {
            return Err(format!(
                "serve.alerts: there are {} targets, and at most {TARGETS} may be",
                targets.len()
            ));
        }
        for (i, (kind, target)) in targets.iter().enumerate() {
            let of = |why: String| format!("serve.alerts.{}: {why}", kind.name());
            Client::new(&target.url, &target.http).map_err(of)?;
            if targets[..i].iter().any(|(other, it)| other == kind && it.url == target.url) {
                return Err(of(format!("{} is named twice", target.url.origin())));
            }
        }
        if self.resend.0 < Duration::from_secs(1) {
            return Err("serve.alerts: resend: a time of at least 1s is expected".to_owned());
        }
        for name in self.labels.keys() {
            let mut chars = name.chars();
            let valid = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '_');
            if !valid {
                return Err(format!(
                    "serve.alerts.labels: {name:?} is no name of a label (letters, digits and _)"
                ));
            }
            if OWN.contains(&name.as_str()) {
                return Err(format!("serve.alerts.labels: {name} is one of linger's own labels"));
            }
        }
        Ok(())
    }

    fn targets(&self) -> impl Iterator<Item = (Kind, &TargetConfig)> {
        let alertmanagers = self.alertmanager.iter().map(|it| (Kind::Alertmanager, it));
        alertmanagers.chain(self.webhook.iter().map(|it| (Kind::Webhook, it)))
    }

    fn additions(&self) -> Additions {
        Additions {
            instance: self.instance.clone().unwrap_or_else(host_name),
            labels: self.labels.clone(),
            runbook_url: self.runbook_url.clone(),
            valid: VALID.max(self.resend.0 * 4),
        }
    }

    /// Where to keep what is on, if anything can be.
    fn kept(&self) -> Option<&Path> {
        let path = (!self.state.as_os_str().is_empty()).then_some(&*self.state);
        path.filter(|_| self.targets().next().is_some())
    }
}

/// This host's name.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the metrics say of alerts.
#[derive(Debug, Default)]
pub struct Stats {
    /// Findings that do not hold for long enough yet.
    pub pending: AtomicU64,
    /// Alerts that are on.
    pub firing: AtomicU64,
    /// Findings that there was no room for.
    pub left_out: AtomicU64,
    targets: Mutex<Vec<Arc<TargetStats>>>,
}

impl Stats {
    /// Those in force.
    pub fn targets(&self) -> Vec<Arc<TargetStats>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts the thread that takes each sample.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(state: &Arc<State>, plan: &Arc<CurrentPlan>, log: &Log) -> io::Result<Worker> {
    let (shared, plan, log) = (state.clone(), plan.clone(), log.clone());
    Worker::start(state, "alerts", WAITING, move |views| {
        let alerting = Alerting::new(shared, plan.get(), log);
        run(alerting, &views, &plan);
    })
}

/// Takes samples until there are no more.
fn run(mut alerting: Alerting, views: &Receiver<Arc<View>>, current: &CurrentPlan) {
    loop {
        match views.recv_timeout(TICK) {
            Ok(view) => alerting.take(&view),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        alerting.follow(current.get());
        alerting.resend();
        alerting.keep();
        alerting.meter.charge(&alerting.state.sending_ns);
    }
    // The end of linger is not the end of what it saw: nothing is resolved.
    alerting.keep();
}

struct Alerting {
    state: Arc<State>,
    plan: Arc<Plan>,
    log: Log,
    lifecycle: Lifecycle,
    targets: Vec<Target>,
    resent: Instant,
    /// Whether alerts have changed since they were kept, and what waited then.
    changed: bool,
    waited: Vec<u64>,
    store: Option<Store>,
    keep_failed: Option<Instant>,
    meter: Meter,
}

impl Alerting {
    fn new(state: Arc<State>, plan: Arc<Plan>, log: Log) -> Alerting {
        let config = &plan.serve.alerts;
        let mut alerting = Alerting {
            state,
            lifecycle: Lifecycle::default(),
            plan: plan.clone(),
            log,
            targets: Vec::new(),
            resent: Instant::now(),
            changed: false,
            waited: Vec::new(),
            store: None,
            keep_failed: None,
            meter: Meter::default(),
        };
        let Kept { alerts, waiting, .. } = alerting.open(config.kept());
        alerting.lifecycle = Lifecycle::resume(alerts, Instant::now());
        alerting.retarget(|target| waiting.get(&target.id).cloned());
        alerting.count();
        alerting
    }

    /// Takes the file, and what an earlier run kept in it.
    fn open(&mut self, path: Option<&Path>) -> Kept {
        let Some(path) = path else {
            self.store = None;
            return Kept::default();
        };
        let opened = Store::open(path).and_then(|store| Ok((store.read()?, store)));
        let name = path.display();
        match opened {
            Ok((kept, store)) => {
                self.store = Some(store);
                kept.unwrap_or_default()
            }
            Err(error) => {
                self.store = None;
                let why = format!(
                    "alerts: {name}: {error}; a restart forgets what is on (`state` in [serve.alerts] names \
                     another file)"
                );
                (self.log)(Level::Warning, &why);
                Kept::default()
            }
        }
    }

    /// Makes the targets those of the plan; `known` says what waits for one of which an earlier run knew.
    fn retarget(&mut self, known: impl Fn(&Target) -> Option<Vec<lifecycle::Alert>>) {
        let plan = self.plan.clone();
        let config = &plan.serve.alerts;
        let additions = config.additions();
        let mut before = std::mem::take(&mut self.targets);
        let mut names: Vec<String> = Vec::new();
        for (kind, target) in config.targets() {
            let mut name = format!("{} {}", kind.name(), target.url.origin());
            let alike = names.iter().filter(|it| **it == name).count();
            names.push(name.clone());
            if alike > 0 {
                name = format!("{name} #{}", alike + 1);
            }
            let is_it = |it: &Target| {
                it.kind == kind
                    && it.config == *target
                    && it.additions == additions
                    && it.stats().name == name
            };
            if let Some(at) = before.iter().position(is_it) {
                self.targets.push(before.swap_remove(at));
                continue;
            }
            match Target::start((kind, target, &additions), name, &self.state, &self.log) {
                Ok(target) => {
                    // What waited for it under other conditions waits still.
                    let waited = before.iter().find(|it| it.id == target.id).map(Target::waiting);
                    let waiting = waited.or_else(|| known(&target));
                    // An Alertmanager may have forgotten.
                    if waiting.is_none() || kind == Kind::Alertmanager {
                        target.push(self.lifecycle.firing());
                    }
                    target.push(waiting.unwrap_or_default());
                    self.targets.push(target);
                }
                Err(why) => (self.log)(Level::Error, &format!("alerts: {why}")),
            }
        }
        let stats = self.targets.iter().map(Target::stats).collect();
        *self.state.alerts.targets.lock().unwrap_or_else(PoisonError::into_inner) = stats;
        self.changed = true;
    }

    /// Follows a reload of the configuration.
    fn follow(&mut self, plan: Arc<Plan>) {
        if Arc::ptr_eq(&plan, &self.plan) {
            return;
        }
        let before = std::mem::replace(&mut self.plan, plan);
        let plan = self.plan.clone();
        let (before, now) = (&before.serve.alerts, &plan.serve.alerts);
        if before.kept() != now.kept() {
            // What is on is known here, and better.
            self.open(now.kept());
        }
        if before != now {
            self.retarget(|_| None);
        }
    }

    fn take(&mut self, view: &View) {
        let plan = self.plan.clone();
        let config = &plan.serve.alerts;
        if self.targets.is_empty() {
            self.lifecycle = Lifecycle::default();
            return self.count();
        }
        let now = (Instant::now(), Timestamp::now());
        let told = self.lifecycle.observe(view, &config.hold, config.resolve_after.0, now);
        if !told.is_empty() {
            self.targets.iter().for_each(|target| target.push(told.iter().cloned()));
            self.changed = true;
        }
        self.count();
    }

    fn count(&self) {
        let (pending, firing) = self.lifecycle.count();
        let stats = &self.state.alerts;
        stats.pending.store(pending as u64, Ordering::Relaxed);
        stats.firing.store(firing as u64, Ordering::Relaxed);
        stats.left_out.store(self.lifecycle.left_out, Ordering::Relaxed);
    }

    /// Tells Alertmanagers what is on, so that they go on believing it.
    fn resend(&mut self) {
        if self.resent.elapsed() < self.plan.serve.alerts.resend.0 {
            return;
        }
        self.resent = Instant::now();
        for target in self.targets.iter().filter(|target| target.kind == Kind::Alertmanager) {
            target.push(self.lifecycle.firing());
        }
    }

    /// Keeps what a later run has to know.
    fn keep(&mut self) {
        let waited: Vec<u64> = self.targets.iter().map(Target::changes).collect();
        let due = (self.changed || waited != self.waited)
            && self.keep_failed.is_none_or(|at| at.elapsed() > KEEP_AGAIN);
        let Some(store) = self.store.as_ref().filter(|_| due) else { return };
        let waiting = self.targets.iter().map(|target| (target.id.clone(), target.waiting())).collect();
        let kept = Kept { version: 1, alerts: self.lifecycle.firing().collect(), waiting };
        let name = store.path().display();
        match store.write(&kept) {
            Ok(()) => {
                if self.keep_failed.take().is_some() {
                    (self.log)(Level::Info, &format!("alerts: {name} can be written again"));
                }
                (self.changed, self.waited) = (false, waited);
            }
            Err(error) => {
                if self.keep_failed.replace(Instant::now()).is_none() {
                    let why =
                        format!("alerts: {name} cannot be written, so a restart forgets what is on: {error}");
                    (self.log)(Level::Warning, &why);
                }
            }
        }
    }
}
