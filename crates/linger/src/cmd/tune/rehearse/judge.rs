//! What a step did: two runs of a scenario beside each other, and two runs without any step for the noise.

use crate::render::duration;
use linger_lab::run::{HostReport, RunReport};
use linger_model::State;
use linger_model::report::Severity;
use linger_rules::ports::percent;
use linger_rules::{counted, thousands};
use linger_tune::plan::{Change, Direction, MetricKind};
use linger_tune::rehearsed::{Moved, Verdict};
use std::collections::BTreeMap;

/// A figure moved if it did by more than so many times the difference of two runs without any step,
const NOISE: f64 = 2.0;
/// by more than this part of the larger one,
const PART: f64 = 0.2;
/// and by more than this: connections and events,
const FEW: f64 = 20.0;
/// how full something is,
const FEW_PERCENT: f64 = 0.02;
/// ms until connected, where that is half of what it was.
const FEW_MS: f64 = 100.0;
/// So much longer is worse: what a lost SYN costs at least.
const SYN_AGAIN_MS: f64 = 900.0;

/// What a run says of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The step's own figure.
    pub metric: Option<f64>,
    /// Connections that clients tried.
    pub tried: f64,
    /// Those that failed.
    pub failed: f64,
    /// Within so many ms 99 of 100 were connected, of the slowest client.
    pub p99_ms: Option<f64>,
    /// How bad the step's finding is.
    pub finding: Option<Severity>,
    /// Findings of all hosts, without notes, and whether they are critical: `TW001 in client`.
    pub findings: BTreeMap<String, bool>,
}

impl Reading {
    /// Reads a run.
    pub fn of(run: &RunReport, host: &str, change: &Change) -> Reading {
        let of_host = run.hosts.iter().find(|it| it.name == host);
        let clients = || run.actors.iter().filter(|it| it.kind == "client");
        let p99 = clients().filter_map(|it| it.connect_ms).map(|it| it.p99).max_by(f64::total_cmp);
        let grave = |it: &&linger_lab::run::Found| it.severity >= Severity::Warning;
        let finding = of_host.into_iter().flat_map(|it| &it.findings);
        Reading {
            metric: of_host.and_then(|it| metric(it, change)),
            tried: clients().map(|it| it.attempted).sum::<u64>() as f64,
            failed: clients().flat_map(|it| it.errors.values()).sum::<u64>() as f64,
            p99_ms: p99,
            finding: finding.filter(|it| it.code == change.code).map(|it| it.severity).max(),
            findings: run
                .hosts
                .iter()
                .flat_map(|of| of.findings.iter().filter(grave).map(|it| (it, &of.name)))
                .map(|(it, host)| (format!("{} in {host}", it.code), it.severity == Severity::Critical))
                .collect(),
        }
    }

    /// Whether nothing is wrong that the step could mend.
    pub fn is_healthy(&self) -> bool {
        self.finding < Some(Severity::Warning) && self.failed < FEW
    }
}

/// A step's own figure of a host; `None` where the lab does not show it.
fn metric(host: &HostReport, change: &Change) -> Option<f64> {
    let name = change.metric.name.as_str();
    match change.metric.kind {
        // A run names the counters of TCP that rose.
        MetricKind::Counter if name.starts_with("Tcp") => {
            Some(host.counters.get(name).copied().unwrap_or(0) as f64)
        }
        MetricKind::Counter => None,
        MetricKind::Headroom => {
            let rows = host.report.headroom.iter().filter(|it| it.resource == name);
            rows.map(|it| it.fraction).max_by(f64::total_cmp)
        }
        MetricKind::State => {
            let state = State::ALL.into_iter().find(|it| it.name() == name)?;
            host.report.states.and_then(|it| it.get(state)).map(|it| it as f64)
        }
    }
}

/// The runs that are compared.
#[derive(Debug, Clone, Copy)]
pub struct Runs<'a> {
    /// Without any step, twice.
    pub still: [&'a Reading; 2],
    /// Without the step.
    pub before: &'a Reading,
    /// With it.
    pub after: &'a Reading,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// In a word.
    pub verdict: Verdict,
    /// In sentences.
    pub note: String,
    /// The step's own figure.
    pub metric: Option<Moved>,
    /// Connections that clients tried.
    pub tried: Moved,
    /// Those that failed.
    pub failed: Moved,
    /// ms until connected.
    pub connect_p99_ms: Option<Moved>,
    /// Critical findings that are there with the step alone.
    pub new_findings: Vec<String>,
}

/// Judges a step.
pub fn judge(change: &Change, runs: Runs<'_>) -> Judged {
    let Runs { still: [one, two], before, after } = runs;
    let moved = |read: fn(&Reading) -> f64| Moved {
        before: read(before),
        after: read(after),
        noise: (read(one) - read(two)).abs(),
    };
    let perhaps = |read: fn(&Reading) -> Option<f64>| -> Option<Moved> {
        let noise = read(one).zip(read(two)).map_or(0.0, |(one, two)| (one - two).abs());
        Some(Moved { before: read(before)?, after: read(after)?, noise })
    };
    let (metric, tried, failed) = (perhaps(|it| it.metric), moved(|it| it.tried), moved(|it| it.failed));
    let connect_p99_ms = perhaps(|it| it.p99_ms);
    // As if as much had been tried: a counter by its share.
    let as_much = if before.tried > 0.0 && after.tried > 0.0 { before.tried / after.tried } else { 1.0 };
    let of_load = |it: Moved| Moved { after: it.after * as_much, ..it };
    let failures = failures(before, after, failed.noise);
    let figure = metric.and_then(|it| match change.metric.kind {
        MetricKind::Counter => way(of_load(it), FEW),
        MetricKind::State => way(it, FEW),
        MetricKind::Headroom => way(it, FEW_PERCENT),
    });
    let (is_right, is_wrong) =
        (figure == Some(change.metric.direction), figure.is_some_and(|it| it != change.metric.direction));
    let is_faster = connect_p99_ms
        .is_some_and(|it| it.after <= it.before / 2.0 && way(it, FEW_MS) == Some(Direction::Falls));
    let is_slower = connect_p99_ms
        .is_some_and(|it| it.after >= it.before * 2.0 && way(it, SYN_AGAIN_MS) == Some(Direction::Rises));
    let was_always = [one, two, before].iter().filter_map(|it| it.finding).min();
    let was_always = was_always.filter(|_| [one, two, before].iter().all(|it| it.finding.is_some()));
    // A note tells of no fault, unless it is all there was.
    let is_gone = after.finding < was_always.min(Some(Severity::Warning));
    let new_findings: Vec<String> = after
        .findings
        .iter()
        .filter(|(it, critical)| {
            **critical && [one, two, before].iter().all(|of| !of.findings.contains_key(*it))
        })
        .map(|(it, _)| it.clone())
        .collect();
    let fewer = failures == Some(Direction::Falls);
    let is_worse = failures == Some(Direction::Rises)
        || !new_findings.is_empty()
        || (!fewer && (is_slower || is_wrong && !is_gone));
    // What only ends sooner is gone, too, and nobody was served.
    let is_cured = is_gone && after.failed < FEW && change.metric.kind != MetricKind::State;
    let verdict = if is_worse {
        Verdict::Worse
    } else if is_cured {
        Verdict::Cures
    } else if fewer || is_right || is_faster {
        Verdict::Helps
    } else {
        Verdict::NoEffect
    };
    let mut note = Vec::new();
    if verdict == Verdict::NoEffect {
        note.push("Nothing moved beyond the noise.".to_owned());
    }
    note.extend(of_finding(change, before.finding, after.finding));
    let number = |it: f64| thousands(it as u64);
    note.push(match (before.failed as u64, after.failed as u64) {
        (0, 0) => "No connect failed, without it or with it.".to_owned(),
        _ => format!(
            "{} of {} failed without it, {} of {} with it.",
            number(before.failed),
            counted(before.tried as u64, "connect"),
            number(after.failed),
            number(after.tried)
        ),
    });
    if is_faster || is_slower {
        let ms = |it: f64| duration(it / 1000.0);
        note.extend(connect_p99_ms.map(|it| {
            format!(
                "99 of 100 were connected within {} without it, within {} with it.",
                ms(it.before),
                ms(it.after)
            )
        }));
    }
    if let Some(it) = metric {
        let (name, before, after) = (&change.metric.name, shown(change, it.before), shown(change, it.after));
        let wrong = if is_wrong { ", against what the plan expects" } else { "" };
        note.push(format!("{name}: {before} without it, {after} with it{wrong}."));
    }
    if !new_findings.is_empty() {
        note.push(format!("Only with it there is, critical: {}.", new_findings.join(", ")));
    }
    Judged { verdict, note: note.join(" "), metric, tried, failed, connect_p99_ms, new_findings }
}

fn of_finding(change: &Change, before: Option<Severity>, after: Option<Severity>) -> Option<String> {
    let code = &change.code;
    Some(match (before, after) {
        (None, None) => return None,
        (Some(before), None) => format!("{code}: {before} without it, gone with it."),
        (None, Some(after)) => format!("{code}: not there without it, {after} with it."),
        (Some(before), Some(after)) if before == after => format!("{code}: {after}, without it and with it."),
        (Some(before), Some(after)) => format!("{code}: {before} without it, {after} with it."),
    })
}

/// A value of the step's own figure, for a person.
pub fn shown(change: &Change, value: f64) -> String {
    match change.metric.kind {
        MetricKind::Headroom => percent(value),
        MetricKind::Counter | MetricKind::State => thousands(value.round() as u64),
    }
}

/// Where failures went, if that is beyond the noise. One run has tried more than the other, and what of that failed is not
/// known: none of it or all of it, whichever says less.
fn failures(before: &Reading, after: &Reading, noise: f64) -> Option<Direction> {
    let tried = before.tried.min(after.tried);
    let least = |it: &Reading| (it.failed - (it.tried - tried)).max(0.0);
    let most = |it: &Reading| it.failed.min(tried);
    let between = |before: f64, after: f64| way(Moved { before, after, noise }, FEW);
    let falls = between(least(before), most(after)).filter(|it| *it == Direction::Falls);
    falls.or_else(|| between(most(before), least(after)).filter(|it| *it == Direction::Rises))
}

/// Where a figure went, if that is beyond the noise.
fn way(it: Moved, few: f64) -> Option<Direction> {
    let apart = (it.after - it.before).abs();
    let is_beyond = apart > NOISE * it.noise && apart > PART * it.before.max(it.after) && apart > few;
    is_beyond.then_some(if it.after > it.before { Direction::Rises } else { Direction::Falls })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::tune::rehearse::tests::change;

    fn sick() -> Reading {
        Reading {
            metric: Some(0.0),
            tried: 1115.0,
            failed: 115.0,
            p99_ms: Some(0.4),
            finding: Some(Severity::Critical),
            findings: BTreeMap::from([("TW001 in client".to_owned(), true)]),
        }
    }

    fn well() -> Reading {
        let findings = BTreeMap::new();
        Reading { metric: Some(600.0), tried: 1120.0, failed: 0.0, finding: None, findings, ..sick() }
    }

    fn judged(still: [&Reading; 2], before: &Reading, after: &Reading) -> Judged {
        judge(&change("TW001", "net.ipv4.tcp_tw_reuse", "2", "1"), Runs { still, before, after })
    }

    fn verdict(edit: impl Fn(&mut Reading)) -> Verdict {
        let mut after = sick();
        edit(&mut after);
        judged([&sick(), &sick()], &sick(), &after).verdict
    }

    #[test]
    fn what_is_gone_is_cured() {
        let judged = judged([&sick(), &sick()], &sick(), &well());
        assert_eq!(judged.verdict, Verdict::Cures);
        assert_eq!(
            judged.note,
            "TW001: critical without it, gone with it. 115 of 1,115 connects failed without it, 0 of 1,120 with it. \
             TcpExt.TWRecycled: 0 without it, 600 with it."
        );
    }

    #[test]
    fn what_does_not_move_beyond_the_noise_is_no_effect() {
        assert_eq!(verdict(|_| {}), Verdict::NoEffect);
        assert_eq!(verdict(|it| it.failed = 100.0), Verdict::NoEffect);
        assert_eq!(verdict(|it| it.metric = Some(19.0)), Verdict::NoEffect);
        // More was tried, and once ports have run out all of it fails.
        assert_eq!(verdict(|it| (it.tried, it.failed) = (1415.0, 415.0)), Verdict::NoEffect);
        // A finding may be warning or critical by chance.
        assert_eq!(verdict(|it| it.finding = Some(Severity::Warning)), Verdict::NoEffect);
        // Gone, and users still fail.
        assert_eq!(verdict(|it| it.finding = None), Verdict::NoEffect);
        // Fewer, by less than two runs without a step differ.
        let mut other = sick();
        other.failed = 60.0;
        let mut after = sick();
        after.failed = 30.0;
        assert_eq!(judged([&sick(), &other], &sick(), &after).verdict, Verdict::NoEffect);
        assert_eq!(judged([&sick(), &sick()], &sick(), &after).verdict, Verdict::Helps);
        // A finding that is not always there is not gone.
        other = Reading { finding: None, ..sick() };
        after = Reading { finding: None, ..sick() };
        assert_eq!(judged([&sick(), &other], &sick(), &after).verdict, Verdict::NoEffect);
    }

    #[test]
    fn what_moves_the_right_way_helps() {
        assert_eq!(verdict(|it| it.metric = Some(300.0)), Verdict::Helps);
        assert_eq!(verdict(|it| it.failed = 20.0), Verdict::Helps);
        let slow = Reading { p99_ms: Some(1040.0), ..sick() };
        assert_eq!(judged([&slow, &slow], &slow, &sick()).verdict, Verdict::Helps);
    }

    #[test]
    fn what_ends_sooner_is_not_cured() {
        let mut change = change("SS001", "net.ipv4.tcp_syn_retries", "6", "3");
        (change.metric.kind, change.metric.direction) = (MetricKind::State, Direction::Falls);
        let waiting = Reading { metric: Some(60.0), failed: 0.0, ..sick() };
        let ended = Reading { metric: Some(0.0), failed: 0.0, finding: None, ..sick() };
        let runs = Runs { still: [&waiting, &waiting], before: &waiting, after: &ended };
        assert_eq!(judge(&change, runs).verdict, Verdict::Helps);
    }

    #[test]
    fn what_users_feel_comes_before_the_figure() {
        let worse = |it: &mut Reading| (it.metric, it.failed) = (Some(600.0), 300.0);
        assert_eq!(verdict(worse), Verdict::Worse);
        assert_eq!(verdict(|it| it.p99_ms = Some(1040.0)), Verdict::Worse);
        let found = |critical| {
            let reset = |it: &mut Reading| it.findings.extend([("RS001 in server".to_owned(), critical)]);
            verdict(reset)
        };
        assert_eq!((found(true), found(false)), (Verdict::Worse, Verdict::NoEffect));
        let counted = Reading { metric: Some(600.0), ..sick() };
        let judged = judged([&counted, &counted], &counted, &sick());
        assert_eq!(judged.verdict, Verdict::Worse);
        assert!(judged.note.contains("against what the plan expects"), "{}", judged.note);
    }
}
