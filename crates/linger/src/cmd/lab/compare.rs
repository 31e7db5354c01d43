//! `linger lab compare`

use super::progress::Board;
use super::run::{ready, seen};
use super::runner::Runner;
use super::settings::{adjust, side};
use crate::cli::CompareArgs;
use crate::cmd::show;
use crate::render::lab_compare::text;
use crate::render::style::Style;
use anyhow::anyhow;
use linger_lab::run::{HostReport, RunReport};
use linger_model::report::Severity;
use linger_rules::thousands;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// Counters that differ by less than this part of the larger are alike.
const ALIKE: f64 = 0.2;
/// Counts below this differ by chance.
const FEW: f64 = 20.0;
/// Peaks below this, too: how many connections are just being opened depends on who gets the processor.
const FEW_SOCKETS: f64 = 50.0;
/// How many counters are told, at most.
const COUNTERS: usize = 8;

/// The same load twice.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CompareReport {
    /// The version of this format: 1.
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// The one side.
    pub a: Side,
    /// The other.
    pub b: Side,
    /// What differs notably, the most telling first.
    pub differences: Vec<Difference>,
    /// The difference in a sentence or two.
    pub summary: String,
}

/// One side.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Side {
    /// Its settings as they were given; empty for none.
    pub settings: String,
    /// What came of it.
    pub run: RunReport,
}

/// A figure that differs.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    /// The actor or host.
    pub subject: String,
    /// `succeeded`, `EADDRNOTAVAIL`, `peak time_wait`, `TcpExt.TWRecycled`, or a finding's code (0 none or a note, 1
    /// warning, 2 critical).
    pub what: String,
    /// Of which kind it is.
    pub kind: Kind,
    /// On the one side.
    pub a: f64,
    /// On the other.
    pub b: f64,
}

/// The kind of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What an actor did.
    Actor,
    /// The most sockets in a state at a time.
    State,
    /// By how much a counter rose.
    Counter,
    /// A finding.
    Finding,
}

/// Runs both sides and compares.
pub fn run(args: &CompareArgs, style: &Style) -> anyhow::Result<u8> {
    let options = &args.options;
    let common = adjust(options)?;
    let twin = options.twin.as_deref();
    let plain = ready(&args.scenario, twin, options.duration, &common)?;
    let mut scenarios = Vec::new();
    for (option, settings) in [("--a", &args.a), ("--b", &args.b)] {
        let changes = side(option, settings, &plain, &common)?;
        scenarios.push(ready(&args.scenario, twin, options.duration, &changes)?);
    }
    let runner = Runner::new(options.force, options.in_disposable_vm)?;
    let board = Board::new(2);
    let mut sides = Vec::new();
    for ((scenario, name), settings) in scenarios.iter().zip(["a", "b"]).zip([&args.a, &args.b]) {
        let ran = runner.one(scenario, name, &board);
        sides.push(ran.map(|run| Side { settings: settings.trim().to_owned(), run }).map_err(|why| {
            let with = if settings.trim().is_empty() { String::new() } else { format!(" with {settings}") };
            anyhow!("{}{with}: {why}", scenario.name)
        }));
        if sides.last().is_some_and(Result::is_err) {
            break;
        }
    }
    drop(board);
    let mut sides = sides.into_iter().collect::<anyhow::Result<Vec<Side>>>()?.into_iter();
    let (Some(a), Some(b)) = (sides.next(), sides.next()) else { unreachable!("both sides ran") };
    let differences = differences(&a.run, &b.run);
    let summary = summary(&a, &b, &differences);
    let report = CompareReport { schema: 1, scenario: plain.name, a, b, differences, summary };
    let status = if report.a.run.as_expected || report.b.run.as_expected { 0 } else { 1 };
    seen(show(options.format, &report, |report| text(report, style)), status)
}

/// What differs notably. Both runs are of the same scenario, so that actors and hosts are the same.
pub fn differences(a: &RunReport, b: &RunReport) -> Vec<Difference> {
    let mut all = Vec::new();
    let mut add = |subject: &str, what: &str, kind: Kind, a: u64, b: u64| {
        let (a, b) = (a as f64, b as f64);
        let is_notable = match kind {
            Kind::Finding => a != b,
            Kind::State => differs(a, b, FEW_SOCKETS),
            Kind::Actor | Kind::Counter => differs(a, b, FEW),
        };
        if is_notable {
            all.push(Difference { subject: subject.to_owned(), what: what.to_owned(), kind, a, b });
        }
    };
    for (one, other) in a.actors.iter().zip(&b.actors) {
        let errnos: BTreeSet<&String> = one.errors.keys().chain(other.errors.keys()).collect();
        for errno in errnos {
            let of = |actor: &linger_lab::run::ActorReport| actor.errors.get(errno).copied().unwrap_or(0);
            add(&one.name, errno, Kind::Actor, of(one), of(other));
        }
        add(&one.name, "succeeded", Kind::Actor, one.succeeded, other.succeeded);
        add(&one.name, "tried", Kind::Actor, one.attempted, other.attempted);
        add(&one.name, "held", Kind::Actor, one.held, other.held);
        add(&one.name, "leaked", Kind::Actor, one.leaked, other.leaked);
    }
    for (one, other) in a.hosts.iter().zip(&b.hosts) {
        let codes: BTreeSet<&str> = codes(one).into_iter().chain(codes(other)).collect();
        for code in codes {
            add(&one.name, code, Kind::Finding, gravity(one, code), gravity(other, code));
        }
        for state in linger_model::State::ALL {
            let peak =
                |host: &HostReport| host.states.iter().find(|it| it.state == state).map_or(0, |it| it.peak);
            add(&one.name, &format!("peak {}", state.name()), Kind::State, peak(one), peak(other));
        }
        let names: BTreeSet<&String> = one.counters.keys().chain(other.counters.keys()).collect();
        for name in names {
            let of = |host: &HostReport| host.counters.get(name).copied().unwrap_or(0);
            add(&one.name, name, Kind::Counter, of(one), of(other));
        }
    }
    // Of the many counters those that moved on one side alone say most, then those that differ most.
    let (mut counters, mut rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|it| it.kind == Kind::Counter);
    counters.retain(|it| !is_of_volume(&it.what));
    counters.sort_by(|x, y| ratio(y).total_cmp(&ratio(x)));
    counters.truncate(COUNTERS);
    rest.extend(counters);
    rest
}

/// How bad what a rule found is: 0 nothing or a note, 1 warning, 2 critical.
fn gravity(host: &HostReport, code: &str) -> u64 {
    let of = |it: &linger_lab::run::Found| match it.severity {
        Severity::Critical => 2,
        Severity::Warning => 1,
        Severity::Info => 0,
    };
    host.findings.iter().filter(|it| it.code == code).map(of).max().unwrap_or(0)
}

fn codes(host: &HostReport) -> Vec<&str> {
    host.findings.iter().filter(|it| it.severity >= Severity::Warning).map(|it| it.code.as_str()).collect()
}

fn differs(a: f64, b: f64, few: f64) -> bool {
    let most = a.max(b);
    most >= few && (a - b).abs() >= ALIKE * most
}

/// How many times more it is on the one side.
fn ratio(difference: &Difference) -> f64 {
    let (low, high) = (difference.a.min(difference.b), difference.a.max(difference.b));
    // One that did not move at all on one side comes before every other, the larger first.
    if low == 0.0 { 1e12 + high } else { high / low }
}

/// Counters that rise with every segment: they tell only how much was sent, which the actors tell better.
fn is_of_volume(name: &str) -> bool {
    const OF_VOLUME: [&str; 10] = [
        "InSegs",
        "OutSegs",
        "TCPHPHits",
        "TCPPureAcks",
        "TCPHPAcks",
        "TCPOrigDataSent",
        "TCPDelivered",
        "TCPAutoCorking",
        "TCPRcvCoalesce",
        "DelayedACKs",
    ];
    name.rsplit('.').next().is_some_and(|short| OF_VOLUME.contains(&short))
}

/// The difference in a sentence or two, from the figures alone.
pub fn summary(a: &Side, b: &Side, differences: &[Difference]) -> String {
    let named = |name: &str, side: &Side| match side.settings.as_str() {
        "" => format!("{name} (as it is)"),
        settings => format!("{name} ({settings})"),
    };
    let mut sentences = Vec::new();
    let is_client =
        |it: &Difference| a.run.actors.iter().any(|of| of.name == it.subject && of.kind == "client");
    let apart = |it: &Difference| (it.a - it.b).abs();
    let of_actors = differences.iter().filter(|it| it.kind == Kind::Actor);
    let mut told: Vec<&Difference> = of_actors.filter(|it| it.what != "tried" && it.what != "held").collect();
    if told.iter().any(|it| is_client(it)) {
        // A server only mirrors what its clients did.
        told.retain(|it| is_client(it));
    } else if told.is_empty() {
        told = differences.iter().filter(|it| it.kind == Kind::State).collect();
    }
    // Failures first; then by how far they are apart.
    told.sort_by(|x, y| apart(y).total_cmp(&apart(x)));
    told.sort_by_key(|it| it.what == "succeeded");
    let parts: Vec<String> = told.iter().take(2).map(|it| change(it)).collect();
    if !parts.is_empty() {
        let words = parts.join(", and ");
        sentences.push(format!("From {} to {}, {words}.", named("A", a), named("B", b)));
    }
    let findings = || differences.iter().filter(|it| it.kind == Kind::Finding);
    let only = |is: fn(&Difference) -> bool| -> Vec<String> {
        findings().filter(|it| is(it)).map(|it| format!("{} in {}", it.what, it.subject)).collect()
    };
    let (only_a, only_b) = (only(|it| it.b == 0.0), only(|it| it.a == 0.0));
    let worse = only(|it| it.a > 0.0 && it.b > it.a);
    let better = only(|it| it.b > 0.0 && it.a > it.b);
    match (only_a.as_slice(), only_b.as_slice()) {
        ([], []) if !worse.is_empty() || !better.is_empty() => {}
        ([], []) => {
            let all: BTreeSet<&str> = a.run.hosts.iter().flat_map(codes).collect();
            if !sentences.is_empty() && !all.is_empty() {
                let all: Vec<&str> = all.into_iter().collect();
                sentences.push(format!("The findings are the same on both sides: {}.", all.join(", ")));
            }
        }
        (one, []) => sentences.push(format!("Only A has {}.", one.join(", "))),
        ([], other) => sentences.push(format!("Only B has {}.", other.join(", "))),
        (one, other) => {
            sentences.push(format!("Only A has {}; only B has {}.", one.join(", "), other.join(", ")));
        }
    }
    for (them, what) in [(worse, "critical in B, a warning in A"), (better, "critical in A, a warning in B")]
    {
        if !them.is_empty() {
            sentences.push(format!("{}: {what}.", them.join(", ")));
        }
    }
    if sentences.is_empty() {
        sentences.push(format!(
            "{} and {} did the same: nothing differs by more than a fifth.",
            named("A", a),
            named("B", b)
        ));
    }
    if !a.run.as_expected && !b.run.as_expected {
        sentences.push("Neither side showed what the scenario expects.".to_owned());
    }
    sentences.join(" ")
}

/// `EADDRNOTAVAIL failures of web fell from 200 to 0`
fn change(difference: &Difference) -> String {
    let Difference { subject, what, a, b, .. } = difference;
    let of = match what.as_str() {
        "succeeded" => format!("successes of {subject}"),
        "leaked" => format!("leaked connections of {subject}"),
        peak if peak.starts_with("peak ") => format!("the {peak} of {subject}"),
        errno => format!("{errno} failures of {subject}"),
    };
    let went = if b > a { "rose" } else { "fell" };
    format!("{of} {went} from {} to {}", thousands(*a as u64), thousands(*b as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::lab::samples::run;

    fn side(settings: &str, run: RunReport) -> Side {
        Side { settings: settings.into(), run }
    }

    #[test]
    fn what_differs_is_told_with_its_figures() {
        let (a, mut b) = (run(), run());
        b.actors[0].succeeded = 12_345;
        b.actors[0].errors.clear();
        b.hosts[0].findings.clear();
        let differences = differences(&a, &b);
        let text = summary(&side("", a.clone()), &side("x=1", b), &differences);
        assert_eq!(
            text,
            "From A (as it is) to B (x=1), EADDRNOTAVAIL failures of web fell from 11,345 to 0, and successes of web \
             rose from 1,000 to 12,345. Only A has RS001 in client, TW001 in client. Neither side showed what the scenario \
             expects."
        );
        assert!(differences.iter().all(|it| it.kind != Kind::Counter), "{differences:?}");
    }

    #[test]
    fn two_alike_runs_are_said_to_be_alike() {
        let (a, mut b) = (run(), run());
        // A few by chance.
        b.actors[0].succeeded += 3;
        assert_eq!(differences(&a, &b), []);
        let text = summary(&side("", a), &side("x=1", b), &[]);
        assert!(text.contains("did the same"), "{text}");
    }

    #[test]
    fn counters_that_moved_on_one_side_alone_come_first() {
        let (a, mut b) = (run(), run());
        b.hosts[0].counters.insert("TcpExt.TWRecycled".into(), 500);
        b.hosts[0].counters.insert("TcpExt.TW".into(), 5000);
        b.hosts[0].counters.insert("Tcp.InSegs".into(), 1_000_000);
        let names: Vec<String> = differences(&a, &b).into_iter().map(|it| it.what).collect();
        assert_eq!(names, ["TcpExt.TWRecycled", "TcpExt.TW"]);
    }
}
