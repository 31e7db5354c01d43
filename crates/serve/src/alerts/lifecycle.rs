//! When a finding becomes an alert, and when an alert is over. No IO and no clock.

use crate::metrics::brief;
use crate::span::Span;
use crate::state::View;
use jiff::Timestamp;
use linger_model::report::{Finding, Report, Severity};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, Instant};

/// Alerts that are kept, those that may become one included.
pub const MOST: usize = 1000;
/// Walks in a row that a finding has to be missing from, whatever time they take.
const WALKS: u32 = 3;
/// Bytes of a sentence in an annotation.
const SENTENCE: usize = 1000;
const SEVERITIES: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];

/// How long a finding has to hold before it is sent: one time for all, or one by severity.
#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    /// Of notes.
    pub info: Span,
    /// Of warnings.
    pub warning: Span,
    /// Of what is critical.
    pub critical: Span,
}

impl Default for Hold {
    fn default() -> Hold {
        Hold { info: Span::seconds(900), warning: Span::seconds(300), critical: Span::seconds(60) }
    }
}

impl<'de> Deserialize<'de> for Hold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hold, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct BySeverity {
            info: Option<Span>,
            warning: Option<Span>,
            critical: Option<Span>,
        }
        struct OneOrThree;
        impl<'de> Visitor<'de> for OneOrThree {
            type Value = Hold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"5m\", or { info = …, warning = …, critical = … }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hold, E> {
                let all = Span::try_from(text).map_err(E::custom)?;
                Ok(Hold { info: all, warning: all, critical: all })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Hold, A::Error> {
                let by = BySeverity::deserialize(MapAccessDeserializer::new(map))?;
                let Hold { info, warning, critical } = Hold::default();
                Ok(Hold {
                    info: by.info.unwrap_or(info),
                    warning: by.warning.unwrap_or(warning),
                    critical: by.critical.unwrap_or(critical),
                })
            }
        }
        deserializer.deserialize_any(OneOrThree)
    }
}

impl Hold {
    fn of(&self, severity: Severity) -> Duration {
        match severity {
            Severity::Info => self.info.0,
            Severity::Warning => self.warning.0,
            Severity::Critical => self.critical.0,
        }
    }
}

/// What an alert is about: there is one alert for each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The namespace's label.
    pub netns: String,
    /// The rule's code.
    pub code: String,
    /// Who, without what changes while it is the same: see [`lasting`].
    pub subject: String,
}

/// What is said of it; it may change while the alert is the same.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Words {
    /// The rule's name.
    pub name: String,
    /// What is wrong, with figures.
    pub summary: String,
    /// Why this kernel behaves so.
    pub why: String,
    /// Who, in full.
    pub who: String,
    /// The first remedy.
    pub remedy: String,
}

impl Words {
    fn of(finding: &Finding) -> Words {
        Words {
            name: finding.name.clone(),
            summary: sentence(&finding.summary),
            why: sentence(&finding.why),
            who: sentence(&finding.subject),
            remedy: finding.remedies.first().map(|it| sentence(&it.text)).unwrap_or_default(),
        }
    }
}

/// Text without what a terminal or a page would obey, and not too much of it.
fn sentence(text: &str) -> String {
    let mut end = text.len().min(SENTENCE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An alert, as it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// About what.
    pub key: Key,
    /// How bad.
    pub severity: Severity,
    /// What is said.
    pub words: Words,
    /// When it was first seen.
    pub starts_at: Timestamp,
    /// When it was over; absent while it is not.
    pub ends_at: Option<Timestamp>,
}

/// A subject without what changes while the culprit is the same: `nginx (pid 12, docker 3f…)` is `nginx`. Workers that
/// come and go are one alert, and a service that is restarted is not a new one.
pub fn lasting(subject: &str) -> String {
    let mut rest = subject;
    let mut out = String::with_capacity(subject.len());
    while let Some((before, after)) = rest.split_once(" (pid ") {
        out.push_str(before);
        match after.split_once(')') {
            Some((pid, behind)) if pid.starts_with(|c: char| c.is_ascii_digit()) => rest = behind,
            _ => {
                out.push_str(" (pid ");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    brief(&out).to_owned()
}

/// Whether a finding is at least so bad: there, gone, and since when.
#[derive(Debug, Clone, Default)]
struct Level {
    since: Option<Instant>,
    gone: Option<(Instant, u32)>,
    on: bool,
}

impl Level {
    /// A walk saw it, or did not, or could not tell.
    fn step(&mut self, seen: Option<bool>, at: Instant, hold: Duration, resolve_after: Duration) {
        match seen {
            Some(true) => {
                self.gone = None;
                let since = *self.since.get_or_insert(at);
                self.on |= at.saturating_duration_since(since) >= hold;
            }
            Some(false) if self.on => {
                let (first, walks) = self.gone.map_or((at, 1), |(first, walks)| (first, walks + 1));
                self.gone = Some((first, walks));
                if walks >= WALKS && at.saturating_duration_since(first) >= resolve_after {
                    *self = Level::default();
                }
            }
            Some(false) => self.since = None,
            // It may have been there in between: whoever says that it is gone begins anew.
            None => self.gone = None,
        }
    }
}

#[derive(Debug)]
struct Entry {
    levels: [Level; 3],
    words: Words,
    first: Timestamp,
    /// What was last told of it.
    told: Option<Severity>,
}

impl Entry {
    fn severity(&self) -> Option<Severity> {
        SEVERITIES.into_iter().zip(&self.levels).rev().find(|(_, level)| level.on).map(|(it, _)| it)
    }

    fn alert(&self, key: &Key, severity: Severity, ends_at: Option<Timestamp>) -> Alert {
        Alert { key: key.clone(), severity, words: self.words.clone(), starts_at: self.first, ends_at }
    }
}

/// Every finding that is, or may become, an alert.
#[derive(Debug, Default)]
pub struct Lifecycle {
    entries: BTreeMap<Key, Entry>,
    walked: HashMap<String, Instant>,
    /// Findings that there was no room for.
    pub left_out: u64,
}

impl Lifecycle {
    /// Goes on with the alerts of an earlier run, as though they had been seen at this moment.
    pub fn resume(alerts: Vec<Alert>, now: Instant) -> Lifecycle {
        let mut lifecycle = Lifecycle::default();
        for alert in alerts.into_iter().take(MOST) {
            let levels = SEVERITIES.map(|severity| {
                let on = severity <= alert.severity;
                Level { since: on.then_some(now), gone: None, on }
            });
            let told = Some(alert.severity);
            let entry = Entry { levels, words: alert.words, first: alert.starts_at, told };
            lifecycle.entries.insert(alert.key, entry);
        }
        lifecycle
    }

    /// Takes a sample: what has to be told, alerts that began, and those that are over. An alert whose severity has
    /// changed is another one, because its labels are.
    pub fn observe(
        &mut self,
        view: &View,
        hold: &Hold,
        resolve_after: Duration,
        now: (Instant, Timestamp),
    ) -> Vec<Alert> {
        for ns in &view.namespaces {
            let Some(walked) = &ns.walked else { continue };
            if self.walked.insert(ns.label.clone(), walked.at) != Some(walked.at) {
                self.walk(&ns.label, &walked.report, (walked.at, now.1), hold, resolve_after);
            }
        }
        // A namespace that is gone has no findings; one that may only be out of sight is unknown.
        let here: HashSet<&str> = view.namespaces.iter().map(|ns| ns.label.as_str()).collect();
        self.walked.retain(|label, _| here.contains(label.as_str()));
        let seen = (!here.is_empty() && view.left_out == 0).then_some(false);
        for (_, entry) in self.entries.iter_mut().filter(|(key, _)| !here.contains(key.netns.as_str())) {
            step(entry, |_| seen, now.0, hold, resolve_after);
        }
        self.tell(now.1)
    }

    fn walk(
        &mut self,
        netns: &str,
        report: &Report,
        (at, now): (Instant, Timestamp),
        hold: &Hold,
        resolve_after: Duration,
    ) {
        // Worst first: the first of several with one key is the worst.
        let mut found: BTreeMap<Key, &Finding> = BTreeMap::new();
        for finding in &report.findings {
            let key = Key {
                netns: netns.to_owned(),
                code: finding.code.clone(),
                subject: lasting(&finding.subject),
            };
            let worst = found.entry(key).or_insert(finding);
            if finding.severity > worst.severity {
                *worst = finding;
            }
        }
        let unknown: HashSet<&str> = report.unknown.iter().map(|it| it.code.as_str()).collect();
        for (key, entry) in self.entries.iter_mut().filter(|(key, _)| key.netns == netns) {
            match found.remove(key) {
                Some(finding) => {
                    entry.words = Words::of(finding);
                    step(entry, |level| Some(finding.severity >= level), at, hold, resolve_after);
                }
                None => {
                    // A rule of rates has no answer from one sample.
                    let known = !unknown.contains(key.code.as_str()) && report.interval_s > 0.0;
                    step(entry, |_| known.then_some(false), at, hold, resolve_after);
                }
            }
        }
        for (key, finding) in found {
            if self.entries.len() >= MOST {
                self.left_out += 1;
                continue;
            }
            let levels = <[Level; 3]>::default();
            let mut entry = Entry { levels, words: Words::of(finding), first: now, told: None };
            step(&mut entry, |level| Some(finding.severity >= level), at, hold, resolve_after);
            self.entries.insert(key, entry);
        }
    }

    fn tell(&mut self, now: Timestamp) -> Vec<Alert> {
        let mut changes = Vec::new();
        for (key, entry) in &mut self.entries {
            let severity = entry.severity();
            if severity != entry.told {
                changes.extend(entry.told.map(|told| entry.alert(key, told, Some(now))));
                changes.extend(severity.map(|severity| entry.alert(key, severity, None)));
                entry.told = severity;
            }
        }
        self.entries.retain(|_, entry| entry.levels.iter().any(|level| level.since.is_some()));
        changes
    }

    /// The alerts that are on.
    pub fn firing(&self) -> impl Iterator<Item = Alert> {
        self.entries.iter().filter_map(|(key, entry)| Some(entry.alert(key, entry.told?, None)))
    }

    /// How many findings wait to become an alert, and how many are one.
    pub fn count(&self) -> (usize, usize) {
        let firing = self.entries.values().filter(|entry| entry.told.is_some()).count();
        (self.entries.len() - firing, firing)
    }
}

fn step(
    entry: &mut Entry,
    seen: impl Fn(Severity) -> Option<bool>,
    at: Instant,
    hold: &Hold,
    resolve_after: Duration,
) {
    for (severity, level) in SEVERITIES.into_iter().zip(&mut entry.levels) {
        level.step(seen(severity), at, hold.of(severity), resolve_after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compact::Compact;
    use crate::state::{Cost, NetnsView, Walked};
    use Severity::{Critical, Info, Warning};
    use linger_model::report::{Confidence, ReportNetns, Unknown, Verdict};
    use linger_model::snapshot::{Light, not_asked};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use std::sync::Arc;

    fn finding(code: &str, severity: Severity, subject: &str) -> Finding {
        Finding {
            code: code.to_owned(),
            name: "a-fault".to_owned(),
            severity,
            confidence: Confidence::High,
            summary: format!("{severity} it is"),
            subject: subject.to_owned(),
            why: String::new(),
            evidence: Vec::new(),
            remedies: Vec::new(),
            process: None,
            covers: Vec::new(),
        }
    }

    fn report(findings: Vec<Finding>, unknown: &[&str]) -> Report {
        let gap = |code: &&str| Unknown { code: (*code).to_owned(), gap: String::new() };
        Report {
            schema: 1,
            kernel: String::new(),
            netns: ReportNetns { inode: 1, name: None, is_init: None },
            taken_at: String::new(),
            interval_s: 1.0,
            verdict: Verdict::Ok,
            states: None,
            source: None,
            imported: None,
            findings,
            ruled_out: Vec::new(),
            unknown: unknown.iter().map(gap).collect(),
            headroom: Vec::new(),
        }
    }

    /// A run of samples, a second from one to the next.
    struct Run {
        lifecycle: Lifecycle,
        began: Instant,
        second: u64,
        hold: u64,
        resolve_after: u64,
    }

    impl Run {
        fn new(hold: u64, resolve_after: u64) -> Run {
            Run { lifecycle: Lifecycle::default(), began: Instant::now(), second: 0, hold, resolve_after }
        }

        /// What is told after a walk with this report, as `+TW001 warning` and `-TW001 warning`.
        fn see(&mut self, reports: Vec<(&str, Report)>) -> Vec<String> {
            self.second += 1;
            let at = self.began + Duration::from_secs(self.second);
            let light = Arc::new(Light {
                taken_at_us: 0,
                monotonic_us: 0,
                sockstat: not_asked("x"),
                counters: not_asked("x"),
                conntrack: Ok(None),
            });
            let namespaces = reports.into_iter().map(|(label, report)| {
                let compact = Compact {
                    taken_at_us: 0,
                    netns: report.netns.clone(),
                    source: None,
                    states: None,
                    listeners: Vec::new(),
                    processes: Vec::new(),
                    containers: Vec::new(),
                    destinations: Vec::new(),
                    queues: Vec::new(),
                };
                let (compact, report) = (Arc::new(compact), Arc::new(report));
                let walked = Walked { at, compact, report, trend: None };
                NetnsView { label: label.to_owned(), light: light.clone(), walked: Some(walked) }
            });
            let view = View {
                namespaces: namespaces.collect(),
                left_out: 0,
                gaps: Vec::new(),
                files: not_asked("x"),
                page_size: 4096,
                cost: Cost::default(),
            };
            let hold = Span::seconds(self.hold);
            let hold = Hold { info: hold, warning: hold, critical: hold };
            let now = (at, Timestamp::from_second(self.second as i64).expect("a time"));
            let told = self.lifecycle.observe(&view, &hold, Duration::from_secs(self.resolve_after), now);
            let told = told.iter().map(|it| {
                let sign = if it.ends_at.is_some() { '-' } else { '+' };
                format!("{sign}{} {} {}", it.key.code, it.severity, it.key.subject)
            });
            told.collect()
        }

        fn one(&mut self, severity: Option<Severity>) -> Vec<String> {
            let found = severity.map(|severity| finding("TW001", severity, "x")).into_iter().collect();
            self.see(vec![("a", report(found, &[]))])
        }
    }

    #[test]
    fn a_finding_has_to_hold_and_to_be_gone_for_several_walks() {
        let mut run = Run::new(2, 0);
        for _ in 0..5 {
            // One that comes and goes never holds.
            assert_eq!(run.one(Some(Warning)), [""; 0]);
            assert_eq!(run.one(None), [""; 0]);
        }
        assert_eq!(run.one(Some(Warning)), [""; 0]);
        assert_eq!(run.one(Some(Warning)), [""; 0]);
        assert_eq!(run.one(Some(Warning)), ["+TW001 warning x"]);
        for _ in 0..5 {
            // And once it is told, one that comes and goes is one alert.
            assert_eq!(run.one(None), [""; 0]);
            assert_eq!(run.one(None), [""; 0]);
            assert_eq!(run.one(Some(Warning)), [""; 0]);
        }
        assert_eq!(run.lifecycle.count(), (0, 1));
        assert_eq!([run.one(None), run.one(None), run.one(None)].concat(), ["-TW001 warning x"]);
        assert_eq!(run.lifecycle.count(), (0, 0));
    }

    #[test]
    fn walks_that_follow_each_other_fast_do_not_resolve_it() {
        let mut run = Run::new(0, 10);
        assert_eq!(run.one(Some(Warning)), ["+TW001 warning x"]);
        let told: Vec<_> = (0..10).flat_map(|_| run.one(None)).collect();
        assert_eq!(told, [""; 0]);
        assert_eq!(run.one(None), ["-TW001 warning x"]);
    }

    #[test]
    fn what_is_unknown_is_neither_there_nor_gone() {
        let mut run = Run::new(0, 0);
        let unknown = |run: &mut Run| run.see(vec![("a", report(Vec::new(), &["TW001"]))]);
        assert_eq!(run.one(Some(Warning)), ["+TW001 warning x"]);
        let told: Vec<_> = (0..20).flat_map(|_| unknown(&mut run)).collect();
        assert_eq!(told, [""; 0]);
        assert_eq!(
            [run.one(None), run.one(None), unknown(&mut run), run.one(None), run.one(None)].concat(),
            [""; 0]
        );
        assert_eq!(run.one(None), ["-TW001 warning x"]);
        // Neither is it there: it does not hold by not being known.
        let mut run = Run::new(2, 0);
        assert_eq!(
            [run.one(Some(Warning)), unknown(&mut run), unknown(&mut run), unknown(&mut run)].concat(),
            [""; 0]
        );
        assert_eq!(run.one(Some(Warning)), ["+TW001 warning x"]);
    }

    #[test]
    fn a_severity_rises_at_once_and_falls_when_it_has_been_lower_for_long() {
        let mut run = Run::new(0, 0);
        assert_eq!(run.one(Some(Warning)), ["+TW001 warning x"]);
        assert_eq!(run.one(Some(Critical)), ["-TW001 warning x", "+TW001 critical x"]);
        assert_eq!([run.one(Some(Warning)), run.one(Some(Info)), run.one(Some(Critical))].concat(), [""; 0]);
        assert_eq!([run.one(Some(Warning)), run.one(Some(Warning))].concat(), [""; 0]);
        assert_eq!(run.one(Some(Warning)), ["-TW001 critical x", "+TW001 warning x"]);
        assert_eq!([run.one(None), run.one(None), run.one(None)].concat(), ["-TW001 warning x"]);
    }

    #[test]
    fn each_subject_and_namespace_has_its_own_and_workers_share_one() {
        let mut run = Run::new(0, 0);
        let both = || {
            report(
                vec![
                    finding("CW001", Warning, "a (pid 1)"),
                    finding("CW001", Critical, "a (pid 2)"),
                    finding("CW001", Info, "b (pid 3)"),
                ],
                &[],
            )
        };
        let told =
            run.see(vec![("x", both()), ("y", report(vec![finding("CW001", Info, "a (pid 9)")], &[]))]);
        assert_eq!(told, ["+CW001 critical a", "+CW001 info b", "+CW001 info a"]);
        // The namespace y is gone; a worker of a is, too, and another one came.
        let left = || {
            report(vec![finding("CW001", Critical, "a (pid 77)"), finding("CW001", Info, "b (pid 3)")], &[])
        };
        let told: Vec<_> = (0..4).flat_map(|_| run.see(vec![("x", left())])).collect();
        assert_eq!(told, ["-CW001 info a"]);
        // No namespace could be read at all: nothing is known.
        let told: Vec<_> = (0..9).flat_map(|_| run.see(Vec::new())).collect();
        assert_eq!(told, [""; 0]);
    }

    #[test]
    fn a_later_run_goes_on_where_this_one_ends() {
        let mut run = Run::new(0, 3);
        run.one(Some(Critical));
        let told: Vec<Alert> = run.lifecycle.firing().collect();
        let mut next = Run::new(1_000, 3);
        next.lifecycle = Lifecycle::resume(told.clone(), next.began);
        assert_eq!(next.lifecycle.firing().collect::<Vec<_>>(), told);
        // It is neither told again, although it would have to hold for long, nor is it over by a sample without a past.
        let first = Report { interval_s: 0.0, ..report(Vec::new(), &[]) };
        assert_eq!(next.see(vec![("a", first)]), [""; 0]);
        assert_eq!(
            [next.one(Some(Critical)), next.one(None), next.one(None), next.one(None)].concat(),
            [""; 0]
        );
        assert_eq!(next.one(None), ["-TW001 critical x"]);
    }

    proptest! {
        /// Whatever walks say: an alert ends only if it began, and only after three walks without it.
        #[test]
        fn what_is_told_makes_sense(
            walks in vec(select(vec![None, Some(None), Some(Some(Info)), Some(Some(Warning)), Some(Some(Critical))]), 0..80),
            hold in 0..4u64,
            resolve_after in 0..6u64,
        ) {
            let mut run = Run::new(hold, resolve_after);
            let mut on: Option<Severity> = None;
            let mut past = Vec::new();
            for walk in walks {
                let told = match walk {
                    None => run.see(vec![("a", report(Vec::new(), &["TW001"]))]),
                    Some(seen) => run.one(seen),
                };
                past.push(walk);
                for line in told {
                    let severity = SEVERITIES.into_iter().find(|it| line.contains(it.name())).expect("one");
                    if line.starts_with('-') {
                        prop_assert_eq!(on.take(), Some(severity));
                        let rises = walk.flatten() > Some(severity);
                        let mut last = past.iter().rev().take(WALKS as usize);
                        let is_over = last.all(|walk| walk.is_some_and(|seen| seen < Some(severity)));
                        prop_assert!(rises || is_over && past.len() > WALKS as usize, "{} after {:?}", line, past);
                    } else {
                        prop_assert_eq!(on.replace(severity), None);
                    }
                }
                prop_assert_eq!(run.lifecycle.firing().map(|it| it.severity).next(), on);
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut run = Run::new(5, 0);
        let many: Vec<_> = (0..3 * MOST).map(|i| finding("TW001", Warning, &format!("s{i}"))).collect();
        run.see(vec![("a", report(many, &[]))]);
        assert_eq!((run.lifecycle.count(), run.lifecycle.left_out), ((MOST, 0), 2 * MOST as u64));
        run.one(None);
        assert_eq!(run.lifecycle.count(), (0, 0));
    }

    #[test]
    fn subjects_are_those_that_last() {
        for (subject, lasts) in [
            ("nginx (pid 12)", "nginx"),
            ("listener 0.0.0.0:80, nginx (pid 12, docker 3f0aa1)", "listener 0.0.0.0:80, nginx"),
            ("a (pid 1) and b (pid 2)", "a and b"),
            ("10.0.0.1 -> 10.0.0.2:443", "10.0.0.1 -> 10.0.0.2:443"),
            ("evil (pid x) (pid 3", "evil (pid x) (pid 3"),
            ("", ""),
        ] {
            assert_eq!(lasting(subject), lasts);
        }
        assert!(lasting(&"\u{e9}".repeat(500)).len() <= 200);
        assert_eq!(sentence("a\u{1b}[31m\nb"), "a [31m b");
        assert_eq!(sentence(&"\u{e9}".repeat(700)).chars().count(), 500);
    }
}
