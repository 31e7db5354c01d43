use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use linger_facts::{Tunable, Version, tunable};
use linger_netns::Netns;
use linger_tune::plan::{Change, ChangeScope, Direction, Metric, MetricKind, PlanNetns, Risk, RiskLevel};
use linger_tune::{
    Answer, Applied, Attendant, Interrupt, Journal, Log, Options, Plan, Progress, Sample, Settings, apply,
    begin, preflight,
};

pub const V: Version = Version::new(6, 18);
pub const REUSE: &str = "net.ipv4.tcp_tw_reuse";
pub const TIMEOUT: &str = "net.ipv4.tcp_fin_timeout";
pub const RANGE: &str = "net.ipv4.ip_local_port_range";
pub const OPTIONS: Options = Options {
    observe: Duration::from_millis(20),
    confirm_within: Some(Duration::from_secs(60)),
    require_effect: false,
};

pub fn key(name: &str) -> &'static Tunable {
    tunable(name).unwrap()
}

/// A namespace, or nothing and a word about it where none may be made. In CI it must be.
pub fn namespace() -> Option<Netns> {
    match linger_netns::create() {
        Ok(ns) => Some(ns),
        Err(error) if error.kind == linger_netns::Kind::Denied && std::env::var_os("CI").is_none() => {
            println!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub fn change(key: &str, from: &str, to: &str) -> Change {
    Change {
        key: key.into(),
        from: from.into(),
        to: to.into(),
        code: "TW001".into(),
        why: String::new(),
        effect: String::new(),
        metric: Metric {
            kind: MetricKind::Counter,
            name: "TcpExt.TWRecycled".into(),
            direction: Direction::Rises,
            within_s: 1.0,
        },
        risk: Risk { level: RiskLevel::Safe, text: String::new() },
        scope: if tunable(key).is_some_and(|it| it.is_host_wide(V)) {
            ChangeScope::Host
        } else {
            ChangeScope::Namespace
        },
        undo: String::new(),
        rehearsed: None,
    }
}

pub fn plan(changes: Vec<Change>) -> Plan {
    Plan {
        schema: 1,
        kernel: String::new(),
        netns: PlanNetns { inode: 0, name: None },
        made_at: String::new(),
        role: None,
        advice: vec![],
        changes,
        right: vec![],
        left_alone: vec![],
    }
}

/// One who sees what he is told to.
pub struct Scripted<'a> {
    /// What happens at each look, one after the other; then nothing does.
    pub looks: VecDeque<Look<'a>>,
    /// The counters of each further look.
    pub sample: Sample,
    pub is_guarded: bool,
    pub seen: Vec<String>,
    /// Ctrl-C once this step is watched.
    pub interrupted_at: Option<usize>,
}

/// What is seen at one look.
pub enum Look<'a> {
    Nothing,
    Do(Box<dyn FnOnce(&mut Sample) + 'a>),
    Ctrl,
    Blind,
    Unguarded,
}

impl<'a> Scripted<'a> {
    pub fn calm() -> Scripted<'a> {
        let sample = Sample { counters: [("TcpExt.TWRecycled".to_owned(), 5)].into(), ..Sample::default() };
        Scripted { looks: VecDeque::new(), sample, is_guarded: true, seen: vec![], interrupted_at: None }
    }

    /// Nothing during the first baseline, then this.
    pub fn after_baseline(looks: impl IntoIterator<Item = Look<'a>>) -> Scripted<'a> {
        Scripted { looks: looks.into_iter().collect(), ..Scripted::calm() }
    }
}

impl Scripted<'_> {
    fn is_watching(&self) -> bool {
        self.seen.last().is_some_and(|it| it.starts_with("watching"))
    }
}

impl Attendant for Scripted<'_> {
    fn look(&mut self) -> Result<Sample, String> {
        self.sample.at_s += 0.01;
        // The script is for the time after a value was written.
        if self.is_watching() {
            match self.looks.pop_front() {
                None | Some(Look::Nothing | Look::Ctrl) => {}
                Some(Look::Do(change)) => change(&mut self.sample),
                Some(Look::Blind) => return Err("blind".into()),
                Some(Look::Unguarded) => self.is_guarded = false,
            }
        }
        Ok(self.sample.clone())
    }

    fn pause(&mut self, time: Duration) -> Option<Interrupt> {
        std::thread::sleep(time.min(Duration::from_millis(2)));
        let step = self.interrupted_at.map(|step| format!("watching {step}"));
        if step.is_some() && self.seen.last() == step.as_ref() {
            return Some(Interrupt::Asked);
        }
        (self.is_watching() && matches!(self.looks.front(), Some(Look::Ctrl))).then_some(Interrupt::Asked)
    }

    fn is_guarded(&mut self) -> bool {
        self.is_guarded
    }

    fn go_on(&mut self, _: usize, _: &Change) -> Answer {
        Answer::Yes
    }

    fn tell(&mut self, progress: &Progress<'_>) {
        self.seen.push(match progress {
            Progress::Baseline(number, ..) => format!("baseline {number}"),
            Progress::Watching(number, ..) => format!("watching {number}"),
            Progress::Done(it) => format!("done {}: {}", it.number, it.note),
            Progress::RollingBack(why) => format!("rolling back: {why}"),
        });
    }
}

pub fn log(dir: &Path) -> Log {
    Journal::open(dir).unwrap().read().unwrap()
}

/// Checks, begins and applies.
pub fn go(
    plan: &Plan,
    dir: &Path,
    settings: &dyn Settings,
    options: &Options,
    attendant: &mut dyn Attendant,
) -> Result<Applied, linger_tune::Error> {
    let journal = Journal::open(dir)?;
    let lock = journal.lock(settings.netns(), Duration::from_secs(5))?;
    let log = journal.read()?;
    preflight(plan, settings, V, &log, journal.boot(), None)?;
    let mut follower = begin(&journal, &lock, settings, None)?;
    Ok(apply(plan, &mut follower, &journal, &lock, settings, options, attendant))
}
