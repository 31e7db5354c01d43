//! The thread that reads: light readings each second, walks where something moved and as the budget allows.

use crate::history::{Past, Pasts, trend};
use crate::pace::{Budget, Change, Watch};
use crate::state::{Cost, NetnsView, State, View, Walked};
use crate::{CurrentPlan, Found, Plan, Settings};
use linger_collect::{Depth, Sampler};
use linger_model::snapshot::Light;
use linger_model::{Snapshot, Window};
use linger_netns::Netns;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often namespaces are looked for.
const FIND_EVERY: Duration = Duration::from_secs(30);
/// Namespaces at the most; those beyond are counted.
const MOST_NAMESPACES: usize = 256;
/// A namespace in which nothing moves is walked as often as this, where the budget allows: owners change, ages grow.
const QUIET: Duration = Duration::from_secs(60);
/// How long the end waits for a reading that has begun.
const PATIENCE: Duration = Duration::from_millis(200);

/// The running thread.
pub struct Running {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Ends it; one that is in the middle of a walk is left behind.
    pub fn stop(self) {
        let _ = self.stop.try_send(());
        let until = Instant::now() + PATIENCE;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Starts it.
pub fn start(
    settings: &Settings,
    state: Arc<State>,
    plan: Arc<CurrentPlan>,
    find: Box<dyn FnMut() -> Found + Send>,
    pasts: Pasts,
) -> io::Result<Running> {
    let (stop, stopped) = sync_channel(1);
    let (budget, second) = (Budget::new(settings.cpu_budget), settings.second);
    let thread = thread::Builder::new()
        .name("sampler".to_owned())
        .spawn(move || Loop::new(state, plan, find, budget, second, pasts).run(&stopped))?;
    Ok(Running { stop, thread })
}

/// What is known of a namespace from one moment to the next.
#[derive(Default)]
struct Known {
    watch: Watch,
    moved: bool,
    /// The last walk's snapshot: the past of the next window.
    past: Option<Snapshot>,
    /// Before that, what a trend is read from.
    earlier: Past,
    walked: Option<Walked>,
    /// Whether the report was made with a past.
    complete: bool,
}

struct Loop {
    state: Arc<State>,
    current: Arc<CurrentPlan>,
    plan: Arc<Plan>,
    find: Box<dyn FnMut() -> Found + Send>,
    found: Found,
    left_out: u64,
    found_at: Option<Instant>,
    sampler: Sampler,
    known: HashMap<u64, Known>,
    budget: Budget,
    /// How long a second is.
    second: Duration,
    cost: Cost,
}

impl Loop {
    fn new(
        state: Arc<State>,
        current: Arc<CurrentPlan>,
        find: Box<dyn FnMut() -> Found + Send>,
        budget: Budget,
        second: Duration,
        pasts: Pasts,
    ) -> Loop {
        let plan = current.get();
        let sampler = Sampler::on_the_boots_clock(plan.sampler.clone());
        Loop {
            state,
            current,
            plan,
            find,
            found: Found::default(),
            left_out: 0,
            found_at: None,
            sampler,
            known: pasts
                .into_iter()
                .map(|(inode, earlier)| (inode, Known { earlier, ..Known::default() }))
                .collect(),
            budget,
            second,
            cost: Cost::default(),
        }
    }

    fn run(mut self, stopped: &Receiver<()>) {
        let mut paid_until = Instant::now();
        loop {
            let began = Instant::now();
            self.budget.earn((began - paid_until).as_secs_f64());
            paid_until = began;
            let before = self.state.sampling_s();
            self.reload();
            self.find();
            let lights = self.sampler.light(&self.found.namespaces);
            self.cost.readings += 1;
            let changes = self.look(&lights);
            let light_s = self.state.sampling_s() - before;
            self.budget.spend(light_s);
            self.walk(changes);
            self.publish(lights);
            // Publishing belongs to the cost, too, and is next to nothing.
            let next = began + self.second.mul_f64(self.budget.tick_s(light_s));
            match stopped.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn reload(&mut self) {
        let plan = self.current.get();
        if !Arc::ptr_eq(&plan, &self.plan) {
            self.sampler.ask(plan.sampler.clone());
            self.plan = plan;
        }
    }

    fn find(&mut self) {
        if self.found_at.is_some_and(|at| at.elapsed() < FIND_EVERY) {
            return;
        }
        self.found = (self.find)();
        let all = self.found.namespaces.len();
        self.found.namespaces.truncate(MOST_NAMESPACES);
        self.left_out = (all - self.found.namespaces.len()) as u64;
        self.found_at = Some(Instant::now());
        let here: HashSet<u64> = self.found.namespaces.iter().map(Netns::inode).collect();
        self.known.retain(|inode, _| here.contains(inode));
    }

    /// Marks what moved; what the changes of all namespaces come to.
    fn look(&mut self, lights: &[Light]) -> Change {
        let mut all = Change::default();
        for (ns, light) in self.found.namespaces.iter().zip(lights) {
            let known = self.known.entry(ns.inode()).or_default();
            let change = known.watch.look(light);
            known.moved |= change.moved;
            all.moved |= change.moved;
            all.jumped |= change.jumped;
        }
        all
    }

    /// Walks the namespaces where something moved, if the budget allows it.
    fn walk(&mut self, changes: Change) {
        let incomplete = self.known.values().any(|known| !known.complete);
        if !self.budget.allows(changes.jumped || incomplete) {
            return;
        }
        // The first one always: its report speaks of the host, where anything may have moved.
        let wanted: Vec<usize> = (0..self.found.namespaces.len())
            .filter(|i| {
                let known = self.known.get(&self.found.namespaces[*i].inode());
                *i == 0
                    || known.is_none_or(|k| {
                        k.moved || !k.complete || k.walked.as_ref().is_none_or(|w| w.at.elapsed() > QUIET)
                    })
            })
            .collect();
        let before = self.state.sampling_s();
        let at = Instant::now();
        let mut targets = Vec::with_capacity(wanted.len());
        let mut rest = Vec::new();
        for (i, ns) in std::mem::take(&mut self.found.namespaces).into_iter().enumerate() {
            if wanted.binary_search(&i).is_ok() { targets.push(ns) } else { rest.push((i, ns)) }
        }
        let snapshots = self.sampler.sample(&targets, Depth::Full);
        // The namespaces share it.
        let mut host = None;
        for (i, snapshot) in wanted.iter().zip(snapshots) {
            let known = self.known.entry(snapshot.netns.inode).or_default();
            let complete = known.past.is_some();
            let Some(window) = Window::new(known.past.take().into_iter().chain([snapshot]).collect()) else {
                continue;
            };
            let earlier = known.earlier.before(window.last());
            let window = window.with_earlier(earlier);
            let report = (self.plan.diagnose)(&window, *i == 0);
            let snapshot = window.into_last();
            let mut walked = Walked::new(at, &snapshot, report, self.state.top);
            let point = known
                .earlier
                .add(&snapshot, || host.get_or_insert_with(|| trend::host(&snapshot.host)).clone());
            walked.trend = point.or_else(|| known.walked.take()?.trend);
            known.walked = Some(walked);
            (known.past, known.moved, known.complete) = (Some(snapshot), false, complete);
            self.cost.walks += 1;
            self.cost.urgent += u64::from(changes.jumped);
        }
        // Back in their order.
        let mut all: Vec<(usize, Netns)> = wanted.into_iter().zip(targets).chain(rest).collect();
        all.sort_by_key(|(i, _)| *i);
        self.found.namespaces = all.into_iter().map(|(_, ns)| ns).collect();
        self.budget.spend_walk(self.state.sampling_s() - before);
    }

    fn publish(&mut self, lights: Vec<Light>) {
        // Another thread's share may be known a little later than it is taken.
        self.cost.sampling_s = self.cost.sampling_s.max(self.state.sampling_s());
        self.cost.interval_s = self.budget.interval_s().max(1.0);
        self.cost.resident_bytes = resident_bytes();
        let mut labels = HashSet::new();
        let namespaces = self.found.namespaces.iter().zip(lights).map(|(ns, light)| {
            // A name may be made to look like another one's number.
            let mut label = label(ns);
            if !labels.insert(label.clone()) {
                label = format!("{label} net:[{}]", ns.inode());
                labels.insert(label.clone());
            }
            let walked = self.known.get(&ns.inode()).and_then(|known| known.walked.clone());
            NetnsView { label, light: Arc::new(light), walked }
        });
        let view = View {
            namespaces: namespaces.collect(),
            left_out: self.left_out,
            gaps: self.found.gaps.clone(),
            files: linger_collect::file_use(),
            page_size: rustix::param::page_size() as u64,
            cost: self.cost,
        };
        self.state.publish(view);
    }
}

/// A name that stays the same while the namespace lives: a process in it may end.
pub fn label(ns: &Netns) -> String {
    match (ns.name(), ns.is_current()) {
        (Some(name), _) => name.to_owned(),
        (None, true) => "self".to_owned(),
        (None, false) => format!("net:[{}]", ns.inode()),
    }
}

/// This process's resident memory.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}
