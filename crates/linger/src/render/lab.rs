//! What `linger lab list` and `linger lab run` show.

use super::style::{Style, Tone};
use super::table::{Column, Table};
use super::{clean, duration_exact, figure, wrap};
use crate::cmd::lab::list::ListEntry;
use crate::cmd::lab::run::Runs;
use linger_lab::run::{ActorReport, HostReport, RunReport, StateSeries};
use linger_model::report::Severity;
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// Incidents, with their twins and variants below them.
pub fn list_text(entries: &[ListEntry], style: &Style) -> String {
    let name = |entry: &ListEntry| match is_incident(entry) {
        true => entry.name.clone(),
        false => format!("  {}", entry.name),
    };
    let longest = entries.iter().map(|entry| name(entry).chars().count()).max().unwrap_or(0);
    let column = longest.min(style.width / 2) + 2;
    let mut out = String::new();
    for entry in entries {
        let name = name(entry);
        let length = name.chars().count();
        let tone = if is_incident(entry) { Tone::Strong } else { Tone::Good };
        let _ = write!(out, "{}", style.paint(tone, &clean(&name)));
        if length + 2 > column {
            let _ = write!(out, "\n{:column$}", "");
        } else {
            let _ = write!(out, "{:1$}", "", column - length);
        }
        let mut text = match (&entry.twin_of, &entry.variant_of) {
            (Some(_), _) => format!("twin: {}", entry.title),
            (None, Some(_)) => format!("variant: {}", entry.title),
            (None, None) => entry.title.clone(),
        };
        if !entry.missing.is_empty() {
            let _ = write!(text, " (needs {}, not installed)", entry.missing.join(", "));
        } else if !entry.needs.is_empty() {
            let names: Vec<&str> = entry.needs.iter().filter_map(|it| it.split(' ').next()).collect();
            let _ = write!(text, " (needs {})", names.join(", "));
        }
        if entry.machine {
            text.push_str(" (only with --in-disposable-vm)");
        }
        let _ = writeln!(out, "{}", wrap(&clean(&text), style.prose().max(column + 20), column, column));
    }
    let count = |is: fn(&ListEntry) -> bool| entries.iter().filter(|it| is(it)).count() as u64;
    let (incidents, twins) = (count(is_incident), count(|it| it.twin_of.is_some()));
    let variants = entries.len() as u64 - incidents - twins;
    let text = format!(
        "{}, {}, {}. `linger lab show NAME` draws one, `linger lab run NAME` runs it.",
        counted(incidents, "incident"),
        counted(twins, "healthy twin"),
        counted(variants, "variant")
    );
    let _ = writeln!(out, "\n{}", style.paint(Tone::Faint, &wrap(&text, style.prose(), 0, 0)));
    out
}

fn is_incident(entry: &ListEntry) -> bool {
    entry.twin_of.is_none() && entry.variant_of.is_none()
}

/// One run.
pub fn run_text(report: &RunReport, style: &Style, verbose: bool) -> String {
    let mut out = String::new();
    let indent = report.scenario.chars().count() + 2;
    let _ = writeln!(
        out,
        "{}  {}",
        style.paint(Tone::Strong, &clean(&report.scenario)),
        wrap(&clean(&report.title), style.prose(), indent.min(24), indent)
    );
    let mut pieces = vec![format!("kernel {}", report.kernel), duration_exact(report.seconds)];
    pieces.extend(report.params.iter().chain(&report.set).map(|(key, value)| format!("{key}={value}")));
    let line = unbroken(&pieces, style.prose(), 2);
    let _ = writeln!(out, "  {}", style.paint(Tone::Faint, &line));
    actors(&mut out, &report.actors, style);
    series(&mut out, &report.hosts, style);
    findings(&mut out, &report.hosts, style);
    measured(&mut out, report, style);
    if verbose {
        counters(&mut out, &report.hosts, style);
    }
    let _ = writeln!(out, "\n{}", verdict(report, style));
    out
}

/// Pieces with a dot between them; a line breaks between pieces, and within one only where it is too long for a line.
fn unbroken(pieces: &[String], width: usize, indent: usize) -> String {
    let whole = |piece: &String| {
        let piece = clean(piece);
        if piece.chars().count() + indent < width { piece.replace(' ', "\u{1}") } else { piece }
    };
    let line = pieces.iter().map(whole).collect::<Vec<_>>().join("\u{1}· ");
    wrap(&line, width, indent, indent).replace('\u{1}', " ")
}

fn heading(out: &mut String, style: &Style, text: &str) {
    let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, text));
}

fn actors(out: &mut String, actors: &[ActorReport], style: &Style) {
    let mut table = Table::new(vec![
        Column::left("ACTOR"),
        Column::left("HOST"),
        Column::left("KIND").expendable(2),
        Column::right("TRIED"),
        Column::right("SUCCEEDED"),
        Column::right("ANSWERS").expendable(3),
        Column::right("HELD").expendable(1),
        Column::left("FAILED").shrinking(),
    ]);
    for actor in actors {
        let mut failed: Vec<String> =
            actor.errors.iter().map(|(errno, count)| format!("{} {errno}", thousands(*count))).collect();
        if actor.leaked > 0 {
            failed.push(format!("{} leaked", thousands(actor.leaked)));
        }
        // A program counts nothing.
        let number = |n: u64| if actor.kind == "program" { String::new() } else { thousands(n) };
        table.row(vec![
            clean(&actor.name).into(),
            clean(&actor.host).into(),
            actor.kind.as_str().into(),
            number(actor.attempted).into(),
            number(actor.succeeded).into(),
            if actor.kind == "client" { thousands(actor.answered) } else { String::new() }.into(),
            if actor.held > 0 { thousands(actor.held) } else { String::new() }.into(),
            failed.join(", ").into(),
        ]);
    }
    if !table.is_empty() {
        out.push('\n');
        out.push_str(&table.render(style));
    }
}

/// States over time, a line each.
fn series(out: &mut String, hosts: &[HostReport], style: &Style) {
    let name_width = hosts.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    let all: Vec<(&HostReport, &StateSeries)> =
        hosts.iter().flat_map(|host| host.states.iter().map(move |series| (host, series))).collect();
    let figures = |series: &StateSeries| (thousands(series.peak), thousands(series.last));
    let widest = |text: &dyn Fn(&StateSeries) -> usize| all.iter().map(|(_, it)| text(it)).max().unwrap_or(0);
    let state_width = widest(&|it| it.state.display().chars().count());
    let (peak_width, last_width) = (widest(&|it| figures(it).0.len()), widest(&|it| figures(it).1.len()));
    let fixed =
        2 + name_width + 2 + state_width + 2 + "  peak ".len() + peak_width + "  last ".len() + last_width;
    let room = style.width.saturating_sub(fixed).clamp(8, 60);
    heading(out, style, "Sockets over time, each line up to its own peak");
    if all.is_empty() {
        let _ = writeln!(out, "  none");
    }
    let mut before = "";
    for (host, series) in all {
        let name = if host.name == before { "" } else { host.name.as_str() };
        before = &host.name;
        let line = sparkline(&series.counts, series.peak, room);
        let columns = series.counts.len().min(room);
        let (peak, last) = figures(series);
        let _ = writeln!(
            out,
            "  {:name_width$}  {:state_width$}  {}{:pad$}  peak {peak:>peak_width$}  last {last:>last_width$}",
            clean(name),
            series.state.display(),
            style.paint(Tone::Note, &line),
            "",
            pad = room.min(60).saturating_sub(columns)
        );
    }
}

/// A bar for each of at most `columns` parts, each as high as its most; nothing is a blank.
pub fn sparkline(counts: &[u64], peak: u64, columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let columns = columns.min(counts.len());
    (0..columns)
        .map(|column| {
            let (from, to) = (column * counts.len() / columns, (column + 1) * counts.len() / columns);
            let most = counts[from..to].iter().copied().max().unwrap_or(0);
            match most {
                0 => ' ',
                _ => BARS[((most * 8).div_ceil(peak.max(most)) as usize).clamp(1, 8) - 1],
            }
        })
        .collect()
}

fn findings(out: &mut String, hosts: &[HostReport], style: &Style) {
    heading(out, style, "Findings");
    let name_width = hosts.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
    let indent = 2 + name_width + 2;
    for host in hosts {
        let mut name = clean(&host.name);
        let mut line = |mark: (&str, Tone), text: String, more: Option<&str>| {
            let (word, tone) = mark;
            let column = indent + 14;
            let width = style.prose();
            let _ = write!(out, "  {name:name_width$}  {}", style.paint(tone, word));
            let pad = 14usize.saturating_sub(word.chars().count());
            if !text.is_empty() {
                let _ = write!(out, "{:pad$}{}", "", wrap(&text, width, column, column));
            }
            out.push('\n');
            if let Some(more) = more {
                let _ = writeln!(out, "{:column$}{}", "", wrap(&clean(more), width, column, column));
            }
            name.clear();
        };
        for found in &host.findings {
            let mark = match (found.severity, found.is_expected) {
                (Severity::Info, _) => ("  note", Tone::Faint),
                (_, true) => ("✓ expected", Tone::Good),
                (_, false) => ("✗ UNEXPECTED", Tone::Bad),
            };
            let severity = if found.severity == Severity::Info {
                String::new()
            } else {
                format!("{} ", found.severity.name().to_uppercase())
            };
            line(mark, format!("{severity}{} {}", found.code, rule_name(&found.code)), Some(&found.summary));
        }
        for code in &host.missing {
            line(("✗ MISSING", Tone::Bad), format!("{code} {}", rule_name(code)), None);
        }
        if host.findings.is_empty() && host.missing.is_empty() {
            line(("✓ none", Tone::Good), String::new(), None);
        }
    }
}

fn rule_name(code: &str) -> &'static str {
    linger_rules::rule(code).map_or("", |rule| rule.name)
}

fn measured(out: &mut String, report: &RunReport, style: &Style) {
    if report.expectations.is_empty() {
        return;
    }
    heading(out, style, "Measured");
    let widest = report.expectations.iter().map(|it| it.what.chars().count()).max().unwrap_or(0);
    let column = (2 + 2 + widest + 2).min(style.width.saturating_sub(24));
    for expectation in &report.expectations {
        let (mark, tone) = if expectation.is_met { ("✓", Tone::Good) } else { ("✗", Tone::Bad) };
        let seen = match (expectation.seen, expectation.is_met) {
            (None, _) => "UNKNOWN: this kernel has no such counter".to_owned(),
            (Some(seen), true) => format!("seen: {}", figure(seen, "")),
            (Some(seen), false) => format!("NOT MET, seen: {}", figure(seen, "")),
        };
        let used = 4 + expectation.what.chars().count();
        let pad = column.saturating_sub(used).max(2);
        let _ = writeln!(
            out,
            "  {} {}{:pad$}{}",
            style.paint(tone, mark),
            clean(&expectation.what),
            "",
            wrap(&seen, style.width, 4, used + pad)
        );
    }
}

fn counters(out: &mut String, hosts: &[HostReport], style: &Style) {
    heading(out, style, "Counters that rose");
    let mut table =
        Table::new(vec![Column::left("HOST"), Column::left("COUNTER").shrinking(), Column::right("BY")]);
    for host in hosts {
        for (nth, (counter, by)) in host.counters.iter().enumerate() {
            let name = if nth == 0 { clean(&host.name) } else { String::new() };
            table.row(vec![name.into(), counter.as_str().into(), thousands(*by).into()]);
        }
    }
    out.push_str(&table.render(style));
}

/// `AS EXPECTED`, or what was not.
pub fn verdict(report: &RunReport, style: &Style) -> String {
    let (word, tone) = verdict_word(report);
    let text = if report.as_expected {
        "what was to be seen was seen, and nothing else of warning or worse.".to_owned()
    } else {
        let found = report.hosts.iter().flat_map(|it| &it.findings);
        let unexpected = found.filter(|it| !it.is_expected).count() as u64;
        let missing = report.hosts.iter().map(|it| it.missing.len()).sum::<usize>() as u64;
        let unmet = report.expectations.iter().filter(|it| !it.is_met).count() as u64;
        let parts: Vec<String> = [
            (missing, "finding", "missing"),
            (unexpected, "finding", "unexpected"),
            (unmet, "measurement", "not met"),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, what, how)| format!("{} {how}", counted(count, what)))
        .collect();
        format!("{}.", parts.join(", "))
    };
    let indent = word.len() + 2;
    format!("{}  {}", style.paint(tone, word), wrap(&text, style.prose(), indent, indent))
}

fn verdict_word(report: &RunReport) -> (&'static str, Tone) {
    if report.as_expected { ("AS EXPECTED", Tone::Good) } else { ("NOT AS EXPECTED", Tone::Bad) }
}

/// Several runs: in full only what was not as expected, then a line each.
pub fn runs_text(runs: &Runs, style: &Style, verbose: bool) -> String {
    let mut out = String::new();
    for report in runs.runs.iter().filter(|it| verbose || !it.as_expected) {
        out.push_str(&run_text(report, style, verbose));
        out.push('\n');
    }
    let names = runs.runs.iter().map(|it| it.scenario.as_str());
    let others = runs.could_not_run.iter().chain(&runs.left_out).map(|it| it.scenario.as_str());
    let width = names.chain(others).map(|it| it.chars().count()).max().unwrap_or(0).min(style.width / 2);
    for report in &runs.runs {
        let (word, tone) = verdict_word(report);
        let mut found: Vec<String> = Vec::new();
        for host in &report.hosts {
            let codes: Vec<&str> = host
                .findings
                .iter()
                .filter(|it| it.severity >= Severity::Warning || host.expected.contains(&it.code))
                .map(|it| it.code.as_str())
                .collect();
            if !codes.is_empty() {
                found.push(format!("{}: {}", clean(&host.name), codes.join(" ")));
            }
        }
        let found = if found.is_empty() { "no findings".to_owned() } else { found.join("; ") };
        line(
            &mut out,
            style,
            (&report.scenario, width),
            (word, tone),
            &format!("{:.0} s · {found}", report.seconds),
        );
    }
    for not in &runs.could_not_run {
        line(&mut out, style, (&not.scenario, width), ("COULD NOT RUN", Tone::Warn), &not.reason);
    }
    for not in &runs.left_out {
        line(&mut out, style, (&not.scenario, width), ("LEFT OUT", Tone::Faint), &not.reason);
    }
    let expected = runs.runs.iter().filter(|it| it.as_expected).count();
    let mut parts = vec![format!("{expected} of {} as expected", counted(runs.runs.len() as u64, "run"))];
    for (count, what) in [(runs.could_not_run.len(), "could not run"), (runs.left_out.len(), "left out")] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let tone = if runs.as_expected { Tone::Good } else { Tone::Bad };
    let _ = writeln!(out, "\n{}", style.paint(tone, &parts.join(", ")));
    out
}

fn line(out: &mut String, style: &Style, name: (&str, usize), mark: (&str, Tone), text: &str) {
    let ((name, width), (word, tone)) = (name, mark);
    // As wide as the widest word.
    let column = width + 2 + 17;
    let pad = 17usize.saturating_sub(word.len());
    let _ = writeln!(
        out,
        "{:width$}  {}{:pad$}{}",
        clean(name),
        style.paint(tone, word),
        "",
        wrap(&clean(text), style.prose(), column, column.max(name.chars().count() + 19))
    );
}

/// What tests show.
#[cfg(test)]
pub mod samples {
    use super::*;
    use linger_lab::run::{Expectation, Found};
    use linger_model::{Report, State};
    use std::collections::BTreeMap;

    fn empty_report() -> Report {
        serde_json::from_value(serde_json::json!({
            "schema": 1, "kernel": "6.18.44", "netns": {"inode": 1, "name": "client", "is_init": false},
            "taken_at": "", "interval_s": 1.0, "verdict": "ok", "states": null, "source": null, "findings": [],
            "ruled_out": [], "unknown": [], "headroom": []
        }))
        .unwrap()
    }

    /// A run that had a bit of everything.
    pub fn run() -> RunReport {
        let found = |code: &str, severity, is_expected| Found {
            code: code.into(),
            severity,
            summary: format!(
                "1,000 of 1,000 local ports of 10.77.0.1 towards 10.77.0.2:80 are in use ({code})"
            ),
            is_expected,
        };
        let series = |state, counts: Vec<u64>| StateSeries {
            state,
            peak: *counts.iter().max().unwrap(),
            last: *counts.last().unwrap(),
            counts,
        };
        let host = |name: &str, states, findings, missing: &[&str]| HostReport {
            name: name.into(),
            states,
            counters: BTreeMap::from([
                ("TcpExt.TW".to_owned(), 1000),
                ("Tcp.ActiveOpens".to_owned(), 12_345),
            ]),
            findings,
            expected: Vec::new(),
            missing: missing.iter().map(|it| (*it).to_owned()).collect(),
            report: empty_report(),
        };
        RunReport {
            schema: 1,
            scenario: "short-connections".into(),
            title: "Short connections use up the ports towards one destination".into(),
            kernel: "6.18.44".into(),
            as_expected: false,
            seconds: 4.2,
            params: BTreeMap::from([
                ("ports".to_owned(), "40000 40999".to_owned()),
                ("rate".to_owned(), "600.0".to_owned()),
            ]),
            set: BTreeMap::from([("client:net.ipv4.tcp_rmem".to_owned(), "4096 131072 6291456".to_owned())]),
            hosts: vec![
                host(
                    "client",
                    vec![
                        series(State::Established, vec![0, 2, 4, 1, 0, 0]),
                        series(State::TimeWait, (0..60).map(|it| (it * 40).min(1000)).collect()),
                    ],
                    vec![
                        found("TW001", Severity::Critical, true),
                        found("RS001", Severity::Warning, false),
                        found("TW005", Severity::Info, true),
                    ],
                    &["TW003"],
                ),
                host("server", vec![series(State::Listen, vec![1; 60])], vec![], &[]),
            ],
            actors: vec![
                ActorReport {
                    name: "web".into(),
                    host: "client".into(),
                    kind: "client".into(),
                    attempted: 12_345,
                    succeeded: 1000,
                    answered: 1000,
                    errors: BTreeMap::from([("EADDRNOTAVAIL".to_owned(), 11_345)]),
                    connect_ms: None,
                    held: 0,
                    leaked: 0,
                    seconds: 4.0,
                },
                ActorReport {
                    name: "api".into(),
                    host: "server".into(),
                    kind: "program".into(),
                    attempted: 0,
                    succeeded: 0,
                    answered: 0,
                    errors: BTreeMap::new(),
                    connect_ms: None,
                    held: 0,
                    leaked: 0,
                    seconds: 4.2,
                },
            ],
            phases: vec![],
            expectations: vec![
                Expectation {
                    what: "client: peak time_wait >= 900".into(),
                    seen: Some(1000.0),
                    is_met: true,
                },
                Expectation { what: "web: EADDRNOTAVAIL == 0".into(), seen: Some(11_345.0), is_met: false },
                Expectation { what: "client: TcpExt.New > 0".into(), seen: None, is_met: false },
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::run;
    use super::*;
    use crate::cmd::lab::run::NotRun;

    const PLAIN: Style = Style { color: false, width: 80, terminal: false };

    fn assert_fits(text: &str, width: usize) {
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
        }
    }

    #[test]
    fn a_run_is_shown_as_it_was_reviewed() {
        insta::assert_snapshot!("lab-run", run_text(&run(), &PLAIN, true));
        for width in [60, 80, 160] {
            let style = Style { width, ..PLAIN };
            assert_fits(&run_text(&run(), &style, true), width);
            let colored = run_text(&run(), &Style { color: true, ..style }, true);
            let mut plain = String::new();
            let mut rest = colored.as_str();
            while let Some((before, after)) = rest.split_once("\x1b[") {
                plain.push_str(before);
                rest = after.split_once('m').unwrap().1;
            }
            plain.push_str(rest);
            // Colour says nothing that words do not.
            assert_eq!(plain, run_text(&run(), &style, true));
        }
    }

    #[test]
    fn several_runs_are_a_line_each() {
        let good = RunReport { as_expected: true, scenario: "x-twin".into(), ..run() };
        let not = |scenario: &str, reason: &str| NotRun { scenario: scenario.into(), reason: reason.into() };
        let runs = Runs {
            schema: 1,
            as_expected: false,
            runs: vec![good.clone(), good],
            could_not_run: vec![not(
                "gateway",
                "nginx is not installed; on Debian, install the package nginx",
            )],
            left_out: vec![not("memory-pressure", "it changes settings that are the whole machine's")],
        };
        let text = runs_text(&runs, &PLAIN, false);
        insta::assert_snapshot!("lab-runs", text);
        for width in [60, 80, 160] {
            assert_fits(&runs_text(&runs, &Style { width, ..PLAIN }, false), width);
        }
    }

    #[test]
    fn bars_are_as_high_as_their_part() {
        assert_eq!(sparkline(&[0, 1, 4, 8], 8, 10), " ▁▄█");
        assert_eq!(sparkline(&[1, 1000], 1000, 10), "▁█");
        assert_eq!(sparkline(&[0, 8, 0, 0, 0, 0], 8, 3), "█  ");
        assert_eq!(sparkline(&[], 0, 3), "");
    }
}
