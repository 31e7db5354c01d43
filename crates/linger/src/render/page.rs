//! The page of `linger report`: one file, which asks nobody for anything.

use super::{clean, duration, duration_exact, figure, percent};
use crate::diagnose::total;
use crate::render::report::{headline, not_listed, skipped_line, understood_line};
use crate::trend::{Moment, Trend};
use askama::Template;
use linger_model::State;
use linger_model::report::{Applicability, Confidence, Finding, RemedyKind, Report, Severity, Verdict};
use linger_rules::thousands;
use std::fmt::Write;

const STYLE: &str = include_str!("../../templates/report.css");
const SCRIPT: &str = include_str!("../../templates/report.js");
/// Of [`STYLE`] and [`SCRIPT`], as a Content-Security-Policy has it: a browser runs nothing else, whatever a process or
/// a host is called. The test in a browser says what they should be.
const STYLE_HASH: &str = "sha256-t1JWwrmUKy330UtfhaMMIP/4C3dV9YWbs6pX0Z6c8ds=";
const SCRIPT_HASH: &str = "sha256-BpqDfjqWoiXEIvlzALHgjJHEGkbmnvtE3K1J0PdEpc0=";

/// Panels of states, and of headroom.
const PANELS: usize = 9;
/// What is nowhere this full has no panel, unless it is local ports.
const WORTH_A_PANEL: f64 = 0.1;

#[derive(Template)]
#[template(path = "report.html")]
struct Page {
    style: &'static str,
    script: &'static str,
    style_hash: &'static str,
    script_hash: &'static str,
    version: &'static str,
    title: String,
    word: &'static str,
    class: &'static str,
    said: String,
    facts: Vec<(&'static str, String)>,
    missing: Vec<String>,
    findings: Vec<FindingView>,
    charts: Vec<Chart>,
    no_charts: &'static str,
    states: Vec<StateView>,
    no_states: &'static str,
    not_listed: String,
    headroom: Vec<HeadroomView>,
    lists: Vec<List>,
}

struct FindingView {
    id: String,
    class: &'static str,
    word: &'static str,
    code: String,
    name: String,
    sure: &'static str,
    what: String,
    who: String,
    why: String,
    evidence: Vec<EvidenceView>,
    remedies: Vec<(&'static str, Vec<RemedyView>)>,
}

struct EvidenceView {
    what: String,
    figure: String,
    value: f64,
    source: String,
}

struct RemedyView {
    sysctl: String,
    text: String,
    price: &'static str,
}

struct Chart {
    title: &'static str,
    note: String,
    panels: Vec<Panel>,
}

struct Panel {
    title: String,
    last: String,
    said: String,
    guides: Vec<Guide>,
    line: String,
    area: String,
    dots: Vec<(String, String)>,
    start: String,
    end: String,
}

struct Guide {
    y: String,
    label: String,
    class: &'static str,
}

struct StateView {
    name: &'static str,
    count: u64,
    shown: String,
    fraction: f64,
    share: String,
    normal: String,
    normal_value: String,
    high: bool,
}

struct HeadroomView {
    class: &'static str,
    resource: String,
    subject: String,
    used: u64,
    used_shown: String,
    limit: u64,
    limit_shown: String,
    fraction: f64,
    full: String,
    soon: String,
    soon_value: String,
}

struct List {
    title: &'static str,
    note: &'static str,
    heads: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// What the page is made of.
pub struct Content<'a> {
    /// What was found.
    pub report: &'a Report,
    /// Of each sample.
    pub trend: &'a Trend,
    /// When the first sample was taken, RFC 3339.
    pub from: String,
    /// Below how many sockets of a state a host is normal.
    pub normal: &'a dyn Fn(State) -> Option<u64>,
}

/// The page.
///
/// # Errors
/// Never, in fact: it is written to memory.
pub fn html(content: &Content<'_>) -> Result<String, askama::Error> {
    let Content { report, trend, .. } = content;
    let (word, said) = headline(report);
    let imported = report.imported.as_ref();
    let page = Page {
        style: STYLE,
        script: SCRIPT,
        style_hash: STYLE_HASH,
        script_hash: SCRIPT_HASH,
        version: env!("CARGO_PKG_VERSION"),
        title: clean(&title(report)),
        word,
        class: match report.verdict {
            Verdict::Ok => "ok",
            Verdict::Unknown => "unknown",
            Verdict::Warning => "warning",
            Verdict::Critical => "critical",
        },
        said,
        facts: facts(content),
        missing: imported.map_or_else(Vec::new, |i| i.missing.clone()),
        findings: findings(&report.findings),
        charts: charts(trend),
        no_charts: "It is one moment: a chart needs a recording (linger record), or a look that takes a while \
                    (linger report --duration 30s).",
        states: states(content),
        no_states: if report.states.is_some() { "No TCP sockets." } else { "The sockets could not be read." },
        not_listed: not_listed(report).unwrap_or_default(),
        headroom: headroom(report),
        lists: lists(report),
    };
    page.render()
}

/// Of which host or file.
fn title(report: &Report) -> String {
    match &report.imported {
        Some(imported) => imported.from.clone(),
        None => report.netns.name.clone().unwrap_or_else(|| format!("net:[{}]", report.netns.inode)),
    }
}

/// `2026-11-20 17:26:06 UTC`
fn moment(rfc3339: &str) -> String {
    let seconds = rfc3339.split_once('.').map_or(rfc3339, |(seconds, _)| seconds);
    format!("{} UTC", seconds.replace('T', " "))
}

fn facts(content: &Content<'_>) -> Vec<(&'static str, String)> {
    let report = content.report;
    let sockets = report.states.as_ref().map_or("not known".to_owned(), |_| thousands(total(report)));
    let mut all = vec![("TCP sockets", sockets)];
    if report.interval_s > 0.0 {
        all.push(("From", moment(&content.from)));
        all.push(("To", moment(&report.taken_at)));
        all.push(("Window", duration_exact(report.interval_s)));
    } else {
        all.push(("As of", moment(&report.taken_at)));
        all.push(("Window", "one moment, so no rates".to_owned()));
    }
    let kernel = if report.kernel == "unknown" { "not known".to_owned() } else { clean(&report.kernel) };
    all.push(("Kernel", kernel));
    let name = report.netns.name.as_ref().filter(|name| **name != title(report));
    all.extend(name.map(|name| ("Namespace", clean(name))));
    all
}

fn findings(findings: &[Finding]) -> Vec<FindingView> {
    // Advice that an earlier finding gave already is not given again.
    let mut given: Vec<(&str, &str)> = Vec::new();
    let mut all = Vec::new();
    for (i, finding) in findings.iter().enumerate() {
        let (class, word) = match finding.severity {
            Severity::Critical => ("critical", "CRITICAL"),
            Severity::Warning => ("warning", "WARNING"),
            Severity::Info => ("info", "NOTE"),
        };
        all.push(FindingView {
            id: format!("f{}", i + 1),
            class,
            word,
            code: finding.code.clone(),
            name: finding.name.clone(),
            sure: match finding.confidence {
                Confidence::High => "",
                Confidence::Medium => "likely",
                Confidence::Low => "perhaps",
            },
            what: clean(&finding.summary),
            who: clean(&finding.subject),
            why: clean(&finding.why),
            evidence: finding
                .evidence
                .iter()
                .map(|e| EvidenceView {
                    what: clean(&e.what),
                    figure: figure(e.value, &e.unit),
                    value: e.value,
                    source: clean(&e.source),
                })
                .collect(),
            remedies: remedies(finding, &given),
        });
        given.extend(finding.remedies.iter().map(|r| (r.text.as_str(), finding.code.as_str())));
    }
    all
}

fn remedies(finding: &Finding, given: &[(&str, &str)]) -> Vec<(&'static str, Vec<RemedyView>)> {
    let mut all: Vec<(&'static str, Vec<RemedyView>)> = Vec::new();
    for remedy in &finding.remedies {
        let kind = match remedy.kind {
            RemedyKind::Application => "Application",
            RemedyKind::Architecture => "Design",
            RemedyKind::Kernel => "Kernel",
        };
        if all.last().is_none_or(|(last, _)| *last != kind) {
            all.push((kind, Vec::new()));
        }
        let Some((_, list)) = all.last_mut() else { continue };
        let view = match given.iter().find(|(text, _)| *text == remedy.text) {
            Some((_, code)) => {
                RemedyView { sysctl: String::new(), text: format!("As under {code}."), price: "" }
            }
            None => RemedyView {
                sysctl: remedy.sysctl.as_deref().map_or_else(String::new, clean),
                text: clean(&remedy.text),
                price: match remedy.applicability {
                    Applicability::Safe => "(safe to try)",
                    Applicability::Unsafe => "(has a price)",
                    Applicability::Advice => "",
                },
            },
        };
        if !list.iter().any(|other| other.text == view.text && other.sysctl == view.sysctl) {
            list.push(view);
        }
    }
    all
}

fn states(content: &Content<'_>) -> Vec<StateView> {
    let Some(states) = &content.report.states else { return Vec::new() };
    let total = states.total().max(1) as f64;
    let mut order: Vec<State> = State::ALL.into_iter().filter(|s| states.count(*s) > 0).collect();
    order.sort_by_key(|s| std::cmp::Reverse(states.count(*s)));
    let view = |state: State| {
        let count = states.count(state);
        let normal = (content.normal)(state);
        let fraction = count as f64 / total;
        StateView {
            name: state.display(),
            count,
            shown: thousands(count),
            fraction,
            share: percent(fraction),
            normal: normal.map_or_else(|| "by load".to_owned(), |limit| format!("< {}", thousands(limit))),
            normal_value: normal.map_or_else(String::new, |limit| limit.to_string()),
            high: normal.is_some_and(|limit| count >= limit),
        }
    };
    order.into_iter().map(view).collect()
}

fn headroom(report: &Report) -> Vec<HeadroomView> {
    let view = |row: &linger_model::report::Headroom| {
        let soon = row.time_to_exhaustion_s.filter(|s| *s < 3600.0 || row.fraction >= 0.5);
        HeadroomView {
            class: level(row.fraction),
            resource: row.resource.clone(),
            subject: clean(&row.subject),
            used: row.used,
            used_shown: thousands(row.used),
            limit: row.limit,
            limit_shown: thousands(row.limit),
            fraction: row.fraction,
            full: percent(row.fraction),
            soon: soon.map_or_else(String::new, duration),
            soon_value: soon.map_or_else(String::new, |s| s.to_string()),
        }
    };
    report.headroom.iter().map(view).collect()
}

fn level(fraction: f64) -> &'static str {
    match fraction {
        f if f >= 0.95 => "critical",
        f if f >= 0.8 => "warning",
        _ => "",
    }
}

fn lists(report: &Report) -> Vec<List> {
    let name = |code: &str| linger_rules::rule(code).map_or("", |r| r.name).to_owned();
    let mut all = vec![List {
        title: "Not known",
        note: "Questions without an answer: nothing here is known to be healthy.",
        heads: vec!["Rule", "What is missing"],
        rows: report
            .unknown
            .iter()
            .map(|u| vec![format!("{} {}", u.code, name(&u.code)).trim().to_owned(), clean(&u.gap)])
            .collect(),
    }];
    for (checked, title) in [(true, "Ruled out"), (false, "Not applicable here, or in this window")] {
        let rows = report.ruled_out.iter().filter(|r| r.checked == checked);
        let rows = rows.map(|r| vec![format!("{} {}", r.code, name(&r.code)), clean(&r.why)]).collect();
        all.push(List { title, note: "", heads: vec!["Rule", "Why"], rows });
    }
    if let Some(imported) = &report.imported {
        let rows = imported.pieces.iter().map(|p| vec![clean(&understood_line(imported, p))]).collect();
        all.push(List { title: "Imported", note: "", heads: vec!["What was understood"], rows });
        let rows = imported.skipped.iter().map(|s| vec![clean(&skipped_line(imported, s))]).collect();
        all.push(List { title: "Not understood", note: "", heads: vec!["What was skipped, and why"], rows });
    }
    all.retain(|list| !list.rows.is_empty());
    all
}

// Charts.

/// Where the curve is drawn: x from 44 to 312, y from 8 to 94.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 312.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 94.0;

fn charts(trend: &Trend) -> Vec<Chart> {
    let moments = trend.moments();
    let length = moments.last().map_or(0.0, |m| m.seconds);
    if length <= 0.0 {
        return Vec::new();
    }
    let each = match trend.per_point() {
        1 => String::new(),
        n => format!(" Each point is the highest of {n} samples."),
    };
    let mut all = Vec::new();
    let panels = state_panels(moments, length);
    if !panels.is_empty() {
        let note = format!("Sockets in each state, each panel with a scale of its own.{each}");
        all.push(Chart { title: "States over time", note, panels });
    }
    let panels = level_panels(moments, length);
    if !panels.is_empty() {
        let note = format!("Used share of what is limited; at 100 % there is no more.{each}");
        all.push(Chart { title: "Headroom over time", note, panels });
    }
    all
}

fn state_panels(moments: &[Moment], length: f64) -> Vec<Panel> {
    let series = |state: State| -> Vec<(f64, Option<f64>)> {
        let count = |m: &Moment| m.states.and_then(|s| s.get(state)).map(|n| n as f64);
        moments.iter().map(|m| (m.seconds, count(m))).collect()
    };
    let mut all: Vec<_> = State::ALL.into_iter().map(|state| (state, series(state))).collect();
    all.retain(|(_, points)| peak(points) > 0.0);
    all.sort_by(|(_, a), (_, b)| peak(b).total_cmp(&peak(a)));
    all.truncate(PANELS);
    let shown = |n: f64| thousands(n as u64);
    all.iter()
        .map(|(state, points)| {
            let top = above(peak(points));
            let guides = [0.0, top].map(|at| guide(at, top, shown(at), ""));
            panel(state.display().to_owned(), points, top, length, guides.into(), &shown)
        })
        .collect()
}

fn level_panels(moments: &[Moment], length: f64) -> Vec<Panel> {
    let mut names: Vec<&(String, String)> = Vec::new();
    for level in moments.iter().flat_map(|m| &m.levels) {
        if !names.contains(&&level.of) && names.len() < 1000 {
            names.push(&level.of);
        }
    }
    let series = |of: &(String, String)| -> Vec<(f64, Option<f64>)> {
        let fraction = |m: &Moment| m.levels.iter().find(|l| l.of == *of).map(|l| l.fraction);
        moments.iter().map(|m| (m.seconds, fraction(m))).collect()
    };
    let mut all: Vec<_> = names.into_iter().map(|of| (of, series(of))).collect();
    let is_ports = |of: &(String, String)| of.0 == "local ports";
    all.retain(|(of, points)| peak(points) >= WORTH_A_PANEL || is_ports(of));
    all.sort_by(|(x, a), (y, b)| peak(b).total_cmp(&peak(a)).then_with(|| is_ports(y).cmp(&is_ports(x))));
    all.truncate(PANELS);
    all.iter()
        .map(|(of, points)| {
            let top = peak(points).max(1.0);
            let guides = vec![
                guide(0.0, top, "0 %".to_owned(), ""),
                guide(0.8, top, "80 %".to_owned(), "warning"),
                guide(1.0, top, "100 %".to_owned(), "critical"),
            ];
            let title = if is_ports(of) { format!("Ports {}", of.1) } else { format!("{} ({})", of.0, of.1) };
            panel(clean(&title), points, top, length, guides, &percent)
        })
        .collect()
}

fn peak(points: &[(f64, Option<f64>)]) -> f64 {
    points.iter().filter_map(|(_, value)| *value).fold(0.0, f64::max)
}

/// The next number that reads well: 1, 2 or 5 with noughts.
fn above(peak: f64) -> f64 {
    let mut power = 1.0;
    while power * 10.0 < peak {
        power *= 10.0;
    }
    [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|top| *top >= peak).unwrap_or(peak)
}

fn height(value: f64, top: f64) -> f64 {
    BOTTOM - (value / top).clamp(0.0, 1.0) * (BOTTOM - TOP)
}

fn guide(at: f64, top: f64, label: String, class: &'static str) -> Guide {
    Guide { y: format!("{:.1}", height(at, top)), label, class }
}

fn panel(
    title: String,
    points: &[(f64, Option<f64>)],
    top: f64,
    length: f64,
    guides: Vec<Guide>,
    shown: &dyn Fn(f64) -> String,
) -> Panel {
    let place = |(at, value): (f64, f64)| (LEFT + at / length * (RIGHT - LEFT), height(value, top));
    let (mut line, mut area, mut dots) = (String::new(), String::new(), Vec::new());
    // What is not known breaks the line.
    for run in points.split(|(_, value)| value.is_none()) {
        let run: Vec<(f64, f64)> = run.iter().filter_map(|(at, v)| Some(place((*at, (*v)?)))).collect();
        match run.as_slice() {
            [] => {}
            [(x, y)] => dots.push((format!("{x:.1}"), format!("{y:.1}"))),
            [first, .., last] => {
                let _ = write!(area, "M{:.1} {BOTTOM:.1}", first.0);
                for (i, (x, y)) in run.iter().enumerate() {
                    let _ = write!(line, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
                    let _ = write!(area, "L{x:.1} {y:.1}");
                }
                let _ = write!(area, "L{:.1} {BOTTOM:.1}Z", last.0);
            }
        }
    }
    let known: Vec<f64> = points.iter().filter_map(|(_, value)| *value).collect();
    let lowest = known.iter().copied().fold(f64::INFINITY, f64::min);
    let (first, last) = (known.first().copied().unwrap_or(0.0), known.last().copied().unwrap_or(0.0));
    let said = format!(
        "{title}: {} at first, {} at last, between {} and {} over {}",
        shown(first),
        shown(last),
        shown(lowest.min(last)),
        shown(peak(points)),
        duration_exact(length)
    );
    let last = match points.last() {
        Some((_, Some(value))) => shown(*value),
        _ => "not known".to_owned(),
    };
    Panel {
        title,
        last,
        said,
        guides,
        line,
        area,
        dots,
        start: "0 s".to_owned(),
        end: duration_exact(length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_with_round_numbers() {
        for (peak, top) in
            [(0.5, 1.0), (1.0, 1.0), (3.0, 5.0), (10.0, 10.0), (11.0, 20.0), (28_231.0, 50_000.0)]
        {
            assert_eq!(above(peak), top, "{peak}");
        }
    }

    #[test]
    fn what_is_not_known_breaks_the_line() {
        let points = [(0.0, Some(0.0)), (1.0, Some(10.0)), (2.0, None), (3.0, Some(5.0)), (4.0, None)];
        let shown = |n: f64| n.to_string();
        let p = panel("a".to_owned(), &points, 10.0, 4.0, Vec::new(), &shown);
        assert_eq!(p.line, "M44.0 94.0L111.0 8.0");
        assert_eq!(p.area, "M44.0 94.0L44.0 94.0L111.0 8.0L111.0 94.0Z");
        assert_eq!(p.dots, [("245.0".to_owned(), "51.0".to_owned())]);
        assert_eq!(p.last, "not known");
        assert_eq!(p.said, "a: 0 at first, 5 at last, between 0 and 10 over 4.0 s");
    }
}
