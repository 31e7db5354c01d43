//! The report of `linger diff`.

use super::style::{Style, Tone};
use super::table::{Column, Table};
use super::{clean, percent, wrap};
use crate::cmd::diff::{Change, DiffReport};
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// The report as text.
pub fn text(report: &DiffReport, style: &Style) -> String {
    let mut out = String::new();
    let [before, after] = &report.sides;
    let title = format!("{} -> {}", clean(before), clean(after));
    let _ = writeln!(out, "{}", style.paint(Tone::Strong, &title));
    let width = style.prose();
    out.push('\n');
    if report.story.is_empty() {
        let _ = writeln!(out, "  Nothing that tells a story changed.");
    }
    for conclusion in &report.story {
        let _ = writeln!(out, "  {}", wrap(&clean(&conclusion.text), width, 2, 2));
        for evidence in &conclusion.evidence {
            let _ = writeln!(
                out,
                "  {}",
                style.paint(Tone::Faint, &wrap(&format!("- {}", clean(evidence)), width, 4, 2))
            );
        }
    }
    let whole = |n: f64| thousands(n as u64);
    let rate = |n: f64| format!("{n:.1}");
    table(&mut out, style, "STATE", &report.states, &whole);
    table(&mut out, style, "DESTINATION", &report.destinations, &whole);
    table(&mut out, style, "PROCESS", &report.processes, &whole);
    table(&mut out, style, "EVENTS A SECOND", &report.rates, &rate);
    table(&mut out, style, "WITH TIMESTAMPS", &report.timestamps, &percent);
    let lists = [
        ("Findings that came", &report.findings_new),
        ("Findings that went", &report.findings_gone),
        ("Findings that stayed", &report.findings_stayed),
        ("Not compared", &report.unknown),
    ];
    for (title, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, title));
        for line in list {
            let _ = writeln!(out, "  {}", wrap(&clean(line), width, 4, 2));
        }
    }
    let compared = counted(report.settings_compared, "setting");
    let line = match report.settings.len() {
        0 => format!("{compared} compared, none differs"),
        n => format!("{compared} compared, {n} differ (above)"),
    };
    let _ = writeln!(out, "\n{}", style.paint(Tone::Faint, &line));
    out
}

fn table(
    out: &mut String,
    style: &Style,
    name: &'static str,
    rows: &[Change],
    figure: &dyn Fn(f64) -> String,
) {
    if rows.is_empty() {
        return;
    }
    let mut table =
        Table::new(vec![Column::left(name).shrinking(), Column::right("BEFORE"), Column::right("AFTER")]);
    for row in rows {
        let of = |n: Option<f64>| n.map_or("?".to_owned(), figure);
        table.row(vec![clean(&row.what).into(), of(row.before).into(), of(row.after).into()]);
    }
    out.push('\n');
    out.push_str(&table.render(style));
}
