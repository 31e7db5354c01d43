//! Whether a change did good or harm, judged against the noise that was there before it.
//!
//! Before a step, figures are sampled for a while: the baseline. After it they are sampled again. A counter counts as
//! its rate between two samples, everything else as it is. For each figure
//!
//! - the *level* is the median, before and after, so that one sample, however wild, decides nothing;
//! - the *noise* is that of a single baseline sample: 1.4826 × the median absolute deviation, which is the standard
//!   deviation of normal noise, and no less than what counting alone makes (√n of a count n; one event in the time
//!   between two samples; one percentage point of a fraction).
//!
//! A figure moved if its level did by more than [`CLEAR`] times the noise, and beyond every single sample of the
//! baseline: bursts that were there before are no news, whatever their shape. That is the regression test for the
//! figures in [`HARMFUL`], upwards, and for the step's own figure, against its direction; upwards it must also be half
//! as much again. Before the watch is over a step is given up only by [`GROSS`] times the noise, and by a critical finding that
//! no sample before the change had and two in a row after it have.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::{Direction, Metric, MetricKind};

/// How many times the noise of one sample a level must move.
pub const CLEAR: f64 = 4.0;
/// How many times, before the watch is over.
pub const GROSS: f64 = 10.0;
/// Samples after the change before anything is judged early.
const EARLY: usize = 12;
/// For how many samples the baseline goes on.
pub const BASELINE: usize = 12;
/// Counters whose rise is harm, whatever the change.
pub const HARMFUL: &[&str] = &[
    "Tcp.AttemptFails",
    "Tcp.EstabResets",
    "Tcp.OutRsts",
    "Tcp.RetransSegs",
    "TcpExt.ListenDrops",
    "TcpExt.ListenOverflows",
    "TcpExt.TCPAbortOnMemory",
    "TcpExt.TCPReqQFullDrop",
    "TcpExt.TCPTimeWaitOverflow",
    "TcpExt.TCPTimeouts",
];

/// One look at the host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in seconds of a clock that never goes back.
    pub at_s: f64,
    /// The kernel's counters, `TcpExt.TWRecycled`; none where they could not be read.
    pub counters: BTreeMap<String, u64>,
    /// Sockets per state, `time_wait`.
    pub states: BTreeMap<String, u64>,
    /// How full the fullest of each resource is, as a fraction: `local ports`.
    pub headroom: BTreeMap<String, f64>,
    /// Critical findings: the code, and a sentence.
    pub critical: BTreeMap<String, String>,
}

/// What was seen of a step's own figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum Effect {
    /// It moved as it should.
    Shown {
        /// Its level before.
        before: f64,
        /// Its level after.
        after: f64,
    },
    /// It did not, in the time that it had.
    NotShown {
        /// Its level before.
        before: f64,
        /// Its level after.
        after: f64,
    },
    /// The watch ended before the time that it has.
    TooEarly,
    /// It could not be read.
    Unknown,
}

/// The series of one figure.
struct Series {
    values: Vec<f64>,
    /// What counting alone makes of the figure at this level.
    floor: fn(level: f64, interval_s: f64) -> f64,
    interval_s: f64,
}

fn series(samples: &[Sample], kind: MetricKind, name: &str) -> Option<Series> {
    let interval_s = {
        let mut steps: Vec<f64> = samples.windows(2).map(|pair| pair[1].at_s - pair[0].at_s).collect();
        median(&mut steps)?.max(1e-3)
    };
    let later = || samples.iter().skip(1);
    let (values, floor): (Vec<f64>, fn(f64, f64) -> f64) = match kind {
        MetricKind::Counter => {
            let rate = |pair: &[Sample]| {
                let by = pair[1].counters.get(name)?.checked_sub(*pair[0].counters.get(name)?)?;
                Some(by as f64 / (pair[1].at_s - pair[0].at_s).max(1e-3))
            };
            (samples.windows(2).filter_map(rate).collect(), |level, dt| (level * dt).sqrt().max(1.0) / dt)
        }
        MetricKind::Headroom => {
            // What is not there is not used.
            let values = later().map(|it| it.headroom.get(name).copied().unwrap_or(0.0)).collect();
            (values, |_, _| 0.01)
        }
        MetricKind::State => {
            let values = later().filter_map(|it| it.states.get(name)).map(|it| *it as f64).collect();
            (values, |level, _| level.sqrt().max(1.0))
        }
    };
    // Judged only by what was there most of the time.
    (values.len() >= 3 && values.len() * 2 >= samples.len()).then_some(Series { values, floor, interval_s })
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[half]),
        _ => Some(f64::midpoint(values[half - 1], values[half])),
    }
}

/// How a figure moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Move {
    /// Its level before.
    pub before: f64,
    /// Its level after.
    pub after: f64,
    /// The noise of one sample before.
    pub noise: f64,
    /// The lowest and the highest sample before.
    pub range: (f64, f64),
}

impl Move {
    fn times_noise(&self) -> f64 {
        (self.after - self.before) / self.noise
    }

    fn rose(&self, times: f64) -> bool {
        self.times_noise() > times && self.after > self.range.1
    }

    fn fell(&self, times: f64) -> bool {
        self.times_noise() < -times && self.after < self.range.0
    }

    /// A rise that is worth taking a change back for.
    fn is_surge(&self, times: f64) -> bool {
        self.rose(times) && self.after > 1.5 * self.before
    }
}

/// The levels of a figure before and after, and the noise before; `None` where it could not be read often enough.
#[must_use]
pub fn moved(before: &[Sample], after: &[Sample], kind: MetricKind, name: &str) -> Option<Move> {
    let (mut old, mut new) = (series(before, kind, name)?, series(after, kind, name)?);
    let level = median(&mut old.values)?;
    let range = (*old.values.first()?, *old.values.last()?);
    let mut deviations: Vec<f64> = old.values.iter().map(|value| (value - level).abs()).collect();
    let noise = 1.4826 * median(&mut deviations)?;
    // At what it was like before, over the shorter of the two intervals: a longer one evens out more.
    let interval_s = old.interval_s.min(new.interval_s);
    let noise = noise.max((old.floor)(level, interval_s));
    Some(Move { before: level, after: median(&mut new.values)?, noise, range })
}

/// A reason to take a step back, by what was seen so far; `is_over` when the watch is.
#[must_use]
pub fn regression(before: &[Sample], after: &[Sample], metric: &Metric, is_over: bool) -> Option<String> {
    let known: BTreeSet<&String> = before.iter().flat_map(|it| it.critical.keys()).collect();
    if let [.., one, two] = after {
        let fresh =
            two.critical.iter().find(|(code, _)| one.critical.contains_key(*code) && !known.contains(code));
        if let Some((code, what)) = fresh {
            return Some(format!("a critical finding that was not there before: {code}: {what}"));
        }
    }
    let times = match is_over {
        true => CLEAR,
        false if after.len() > EARLY => GROSS,
        false => return None,
    };
    for name in HARMFUL {
        let is_own = metric.kind == MetricKind::Counter && metric.name == *name;
        if is_own && metric.direction == Direction::Rises {
            continue;
        }
        if let Some(it) = moved(before, after, MetricKind::Counter, name).filter(|it| it.is_surge(times)) {
            return Some(told(name, MetricKind::Counter, it));
        }
    }
    let own = moved(before, after, metric.kind, &metric.name)?;
    let is_worse = match metric.direction {
        Direction::Rises => own.fell(times),
        Direction::Falls => own.is_surge(times),
    };
    is_worse.then(|| told(&metric.name, metric.kind, own))
}

/// A value with its unit.
fn value(kind: MetricKind, value: f64) -> String {
    match kind {
        MetricKind::Counter => format!("{}/s", number(value)),
        MetricKind::Headroom => format!("{:.1} %", value * 100.0),
        MetricKind::State => format!("{} sockets", number(value)),
    }
}

fn told(name: &str, kind: MetricKind, it: Move) -> String {
    let (before, after) = (value(kind, it.before), value(kind, it.after));
    format!("{name} went from {before} to {after}, {:.0} times the noise before", it.times_noise().abs())
}

fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// Whether the step's own figure moved as it should; the samples after the change are given.
#[must_use]
pub fn effect(before: &[Sample], after: &[Sample], metric: &Metric) -> Effect {
    let (Some(first), Some(last)) = (before.last(), after.last()) else { return Effect::Unknown };
    // From when it must have moved; but a level needs a few samples.
    let due = after.iter().position(|it| it.at_s - first.at_s >= metric.within_s).unwrap_or(after.len());
    let judged = &after[due.min(after.len().saturating_sub(BASELINE.min(after.len())))..];
    let Some(it) = moved(before, judged, metric.kind, &metric.name) else { return Effect::Unknown };
    let has_moved = match metric.direction {
        Direction::Rises => it.rose(CLEAR),
        Direction::Falls => it.fell(CLEAR),
    };
    let (before, after) = (it.before, it.after);
    if has_moved {
        Effect::Shown { before, after }
    } else if last.at_s - first.at_s < metric.within_s {
        Effect::TooEarly
    } else {
        Effect::NotShown { before, after }
    }
}

impl Effect {
    /// In words.
    #[must_use]
    pub fn told(&self, metric: &Metric) -> String {
        let (name, value) = (&metric.name, |it: &f64| value(metric.kind, *it));
        match self {
            Effect::Shown { before, after } => {
                format!("{name} went from {} to {}", value(before), value(after))
            }
            Effect::NotShown { before, after } => {
                format!("no effect seen: {name} was at {} and is at {}", value(before), value(after))
            }
            Effect::TooEarly => {
                format!("no effect seen yet: {name} has {} s to move", number(metric.within_s))
            }
            Effect::Unknown => format!("{name} could not be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that look random and are the same each time (splitmix64).
    struct Dice(u64);

    impl Dice {
        fn unit(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
        }

        fn poisson(&mut self, mean: f64) -> u64 {
            if mean > 50.0 {
                return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
            }
            let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
            while product > limit {
                product *= self.unit();
                count += 1;
            }
            count
        }
    }

    fn metric(direction: Direction) -> Metric {
        Metric { kind: MetricKind::Counter, name: "TcpExt.TWRecycled".into(), direction, within_s: 10.0 }
    }

    /// Samples 1 s apart in which every counter rises by what `next` says.
    fn run(from_s: f64, count: usize, mut next: impl FnMut(&str, usize) -> u64) -> Vec<Sample> {
        let mut counters: BTreeMap<String, u64> =
            HARMFUL.iter().chain(&["TcpExt.TWRecycled"]).map(|it| ((*it).to_owned(), 1000)).collect();
        let mut samples = Vec::new();
        for at in 0..count {
            for (name, value) in &mut counters {
                *value += next(name, at);
            }
            samples.push(Sample {
                at_s: from_s + at as f64,
                counters: counters.clone(),
                ..Sample::default()
            });
        }
        samples
    }

    #[test]
    fn a_clear_rise_of_a_harmful_counter_is_a_regression() {
        let before = run(0.0, 13, |_, at| 2 + at as u64 % 3);
        let after = run(13.0, 20, |name, _| if name == "Tcp.RetransSegs" { 60 } else { 3 });
        let why = regression(&before, &after, &metric(Direction::Rises), true).unwrap();
        assert!(why.starts_with("Tcp.RetransSegs went from 3/s to 60/s"), "{why}");
        // Already before the watch is over, but not by the first few samples.
        assert!(regression(&before, &after[..14], &metric(Direction::Rises), false).is_some());
        assert!(regression(&before, &after[..4], &metric(Direction::Rises), false).is_none());
    }

    #[test]
    fn one_wild_sample_is_none() {
        let before = run(0.0, 13, |_, _| 3);
        let after = run(13.0, 20, |_, at| if at == 7 { 100_000 } else { 3 });
        assert_eq!(regression(&before, &after, &metric(Direction::Rises), true), None);
    }

    #[test]
    fn a_new_critical_finding_must_be_there_twice() {
        let before = run(0.0, 13, |_, _| 0);
        let mut after = run(13.0, 3, |_, _| 0);
        after[1].critical.insert("LQ001".into(), "drops".into());
        assert_eq!(regression(&before, &after[..2], &metric(Direction::Rises), false), None);
        assert_eq!(regression(&before, &after, &metric(Direction::Rises), false), None);
        after[2].critical.insert("LQ001".into(), "drops".into());
        assert!(
            regression(&before, &after, &metric(Direction::Rises), false).unwrap().contains("LQ001: drops")
        );
        let mut old = before.clone();
        old[4].critical.insert("LQ001".into(), "drops".into());
        assert_eq!(regression(&old, &after, &metric(Direction::Rises), false), None);
    }

    #[test]
    fn an_effect_is_shown_not_shown_or_not_yet() {
        let before = run(0.0, 13, |_, _| 0);
        let shown = run(13.0, 20, |name, _| if name == "TcpExt.TWRecycled" { 40 } else { 0 });
        let none = run(13.0, 20, |_, _| 0);
        let metric = metric(Direction::Rises);
        assert_eq!(effect(&before, &shown, &metric), Effect::Shown { before: 0.0, after: 40.0 });
        let ports = Metric { kind: MetricKind::Headroom, name: "local ports".into(), ..metric.clone() };
        let told = Effect::Shown { before: 0.194, after: 0.0068 }.told(&ports);
        assert_eq!(told, "local ports went from 19.4 % to 0.7 %");
        assert_eq!(effect(&before, &none, &metric), Effect::NotShown { before: 0.0, after: 0.0 });
        assert_eq!(effect(&before, &none[..5], &metric), Effect::TooEarly);
        assert_eq!(effect(&before, &[], &metric), Effect::Unknown);
        let blind: Vec<Sample> =
            none.iter().map(|it| Sample { at_s: it.at_s, ..Sample::default() }).collect();
        assert_eq!(effect(&before, &blind, &metric), Effect::Unknown);
    }

    /// What the documentation says of false alarms: of watches in which nothing changed, and of which all ten counters
    /// and the step's own are noise, so many end in a regression.
    #[test]
    fn false_alarms_are_as_rare_as_the_documentation_says() {
        const WATCHES: u32 = 2000;
        let mut dice = Dice(1);
        let mut rate = |next: &mut dyn FnMut(&mut Dice, usize) -> u64| {
            let mut alarms = 0;
            for _ in 0..WATCHES {
                let before = run(0.0, BASELINE + 1, |_, at| next(&mut dice, at));
                let after = run(13.0, 20, |_, at| next(&mut dice, at + 13));
                let mid = (EARLY + 1..after.len())
                    .any(|n| regression(&before, &after[..n], &metric(Direction::Rises), false).is_some());
                alarms +=
                    u32::from(mid || regression(&before, &after, &metric(Direction::Rises), true).is_some());
            }
            f64::from(alarms) / f64::from(WATCHES)
        };
        let rates = [
            ("counting noise, 0.2/s", rate(&mut |dice, _| dice.poisson(0.2)), 0.001),
            ("counting noise, 5/s", rate(&mut |dice, _| dice.poisson(5.0)), 0.001),
            ("counting noise, 1000/s", rate(&mut |dice, _| dice.poisson(1000.0)), 0.001),
            (
                "lognormal, as wide as its median",
                rate(&mut |dice, _| (100.0 * dice.normal().exp()) as u64),
                0.02,
            ),
            (
                "bursts in one second of five",
                rate(&mut |dice, _| if dice.unit() < 0.2 { 500 } else { 2 }),
                0.03,
            ),
            (
                "a level that drifts 1 % a second",
                rate(&mut |dice, at| dice.poisson(100.0 * 1.01f64.powi(at as i32))),
                0.02,
            ),
        ];
        println!("{rates:?}");
        for (what, rate, most) in rates {
            assert!(rate <= most, "{what}: {rate} of the watches ended in a false alarm");
        }
    }

    /// And the other side: what is missed.
    #[test]
    fn a_doubled_rate_is_found_where_it_stands_out_of_the_noise() {
        let mut dice = Dice(2);
        let mut found = 0;
        for _ in 0..500 {
            let before = run(0.0, BASELINE + 1, |_, _| dice.poisson(100.0));
            let after =
                run(13.0, 20, |name, _| dice.poisson(if name == "Tcp.OutRsts" { 200.0 } else { 100.0 }));
            found += u32::from(regression(&before, &after, &metric(Direction::Rises), true).is_some());
        }
        assert!(found > 485, "{found} of 500");
    }
}
