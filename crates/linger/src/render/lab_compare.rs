//! What `linger lab compare` shows.

use super::lab::verdict;
use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, wrap};
use crate::cmd::lab::compare::{CompareReport, Difference, Kind, Side};
use linger_lab::run::{ActorReport, HostReport};
use linger_model::State;
use linger_rules::thousands;
use std::collections::BTreeSet;
use std::fmt::Write;

/// Both sides in a table, and the difference in words.
pub fn text(report: &CompareReport, style: &Style) -> String {
    let mut out = String::new();
    let title = style.paint(Tone::Strong, &clean(&report.scenario));
    let _ = writeln!(out, "{title}  the same load twice, kernel {}", report.a.run.kernel);
    for (name, side) in [("A", &report.a), ("B", &report.b)] {
        let settings = if side.settings.is_empty() { "as it is" } else { &side.settings };
        let _ = writeln!(out, "  {name}  {}", wrap(&clean(settings), style.prose(), 5, 5));
    }
    out.push('\n');
    out.push_str(&table(report, style));
    out.push('\n');
    for (name, side) in [("A", &report.a), ("B", &report.b)] {
        // As narrow as a verdict in a line of its own.
        let narrow = Style { width: style.width.saturating_sub(3), ..*style };
        let _ = writeln!(out, "{name}  {}", verdict(&side.run, &narrow).replace('\n', "\n   "));
    }
    let _ = writeln!(out, "\n{}", wrap(&clean(&report.summary), style.prose(), 0, 0));
    out
}

fn table(report: &CompareReport, style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::left("WHO"),
        Column::left("WHAT").shrinking(),
        Column::right("A"),
        Column::right("B"),
        Column::left("DIFFERENCE"),
    ]);
    let (a, b) = (&report.a, &report.b);
    let differs = |subject: &str, what: &str| {
        report.differences.iter().find(|it| it.subject == subject && it.what == what)
    };
    let mut before = String::new();
    let mut row = |subject: &str, what: &str, left: String, right: String| {
        let name = if subject == before { String::new() } else { clean(subject) };
        subject.clone_into(&mut before);
        let mark =
            differs(subject, what).map_or_else(|| Cell::from(""), |it| Cell::toned(mark(it), Tone::Warn));
        table.row(vec![name.into(), clean(what).into(), left.into(), right.into(), mark]);
    };
    for (one, other) in a.run.actors.iter().zip(&b.run.actors) {
        if one.kind == "program" {
            continue;
        }
        let mut numbers = |what: &str, of: &dyn Fn(&ActorReport) -> u64, is_always: bool| {
            if is_always || of(one) + of(other) > 0 {
                row(&one.name, what, thousands(of(one)), thousands(of(other)));
            }
        };
        numbers("tried", &|it| it.attempted, true);
        numbers("succeeded", &|it| it.succeeded, true);
        let errnos: BTreeSet<&String> = one.errors.keys().chain(other.errors.keys()).collect();
        for errno in errnos {
            numbers(errno, &|it| it.errors.get(errno).copied().unwrap_or(0), true);
        }
        numbers("held", &|it| it.held, false);
        numbers("leaked", &|it| it.leaked, false);
    }
    for (one, other) in a.run.hosts.iter().zip(&b.run.hosts) {
        for state in State::ALL {
            let peak =
                |host: &HostReport| host.states.iter().find(|it| it.state == state).map_or(0, |it| it.peak);
            if peak(one) + peak(other) > 0 {
                let what = format!("peak {}", state.name());
                row(&one.name, &what, thousands(peak(one)), thousands(peak(other)));
            }
        }
        let counters =
            report.differences.iter().filter(|it| it.kind == Kind::Counter && it.subject == one.name);
        for it in counters {
            row(&one.name, &it.what, thousands(it.a as u64), thousands(it.b as u64));
        }
        let codes: BTreeSet<&str> =
            one.findings.iter().chain(&other.findings).map(|it| it.code.as_str()).collect();
        for code in codes {
            row(&one.name, code, severity(a, &one.name, code), severity(b, &one.name, code));
        }
    }
    table.render(style)
}

fn severity(side: &Side, host: &str, code: &str) -> String {
    let findings = side.run.hosts.iter().filter(|it| it.name == host).flat_map(|it| &it.findings);
    let worst = findings.filter(|it| it.code == code).map(|it| it.severity).max();
    worst.map_or_else(|| "-".to_owned(), |it| it.name().to_owned())
}

/// `only A`, `×4.2`
fn mark(difference: &Difference) -> String {
    let Difference { a, b, .. } = *difference;
    if a == 0.0 {
        "only B".to_owned()
    } else if b == 0.0 {
        "only A".to_owned()
    } else if b >= a {
        format!("B is {} of A", times(b / a))
    } else {
        format!("A is {} of B", times(a / b))
    }
}

fn times(ratio: f64) -> String {
    if ratio >= 10.0 { format!("×{}", thousands(ratio.round() as u64)) } else { format!("×{ratio:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::lab::compare::{differences, summary};
    use crate::render::lab::samples::run;

    #[test]
    fn a_comparison_is_shown_as_it_was_reviewed() {
        let a = Side { settings: String::new(), run: run() };
        let mut b = Side { settings: "tcp_tw_reuse=1".into(), run: run() };
        b.run.actors[0].succeeded = 12_000;
        b.run.actors[0].errors.insert("EADDRNOTAVAIL".into(), 345);
        b.run.hosts[0].findings.remove(0);
        b.run.hosts[0].counters.insert("TcpExt.TWRecycled".into(), 11_000);
        let differences = differences(&a.run, &b.run);
        let summary = summary(&a, &b, &differences);
        let report =
            CompareReport { schema: 1, scenario: "short-connections".into(), a, b, differences, summary };
        let style = Style { color: false, width: 80, terminal: false };
        insta::assert_snapshot!("lab-compare", text(&report, &style));
        for width in [60, 80, 160] {
            let text = text(&report, &Style { width, ..style });
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
    }
}
