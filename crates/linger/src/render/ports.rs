//! The table of `linger ports`.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, duration, percent};
use crate::cmd::ports::{PortRow, PortsReport};
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// The report as text.
pub fn text(report: &PortsReport, style: &Style) -> String {
    let mut out = String::new();
    let range = &report.range;
    let mut line = |text: String| {
        let _ = writeln!(out, "{}", super::wrap(&text, style.prose(), 0, 0));
    };
    line(format!(
        "Local ports {}-{}: {} usable ({} reserved, {} held by listeners and bound sockets).",
        range.low,
        range.high,
        thousands(u64::from(range.usable)),
        thousands(u64::from(range.reserved)),
        thousands(u64::from(range.bound)),
    ));
    line(format!("tcp_tw_reuse = {}: {}", range.tcp_tw_reuse, range.reuse_says));
    if report.ports.is_empty() {
        let _ = writeln!(out, "\nNo outgoing connections.");
        return out;
    }
    let mut table = Table::new(vec![
        Column::left("SOURCE").expendable(2),
        Column::left("DESTINATION").shrinking(),
        Column::right("USED"),
        Column::right("TIME_WAIT").expendable(6),
        Column::right("LIVE").expendable(4),
        Column::right("REUSABLE").expendable(3),
        Column::right("FREE"),
        Column::right("FULL"),
        Column::right("NEW/S"),
        Column::left("FULL IN"),
        Column::left("PROCESS").expendable(1),
    ]);
    for row in &report.ports {
        let tone = match row.fraction {
            f if f >= 0.95 => Some(Tone::Bad),
            f if f >= 0.8 => Some(Tone::Warn),
            _ => None,
        };
        let full = percent(row.fraction);
        let used = if row.error > 0 { format!("≤{}", thousands(row.used)) } else { thousands(row.used) };
        table.row(vec![
            row.src.to_string().into(),
            row.destination().into(),
            used.into(),
            thousands(row.states.count(linger_model::State::TimeWait)).into(),
            thousands(row.live).into(),
            thousands(row.reusable).into(),
            thousands(row.free).into(),
            tone.map_or_else(|| full.clone().into(), |tone| Cell::toned(full.clone(), tone)),
            row.new_per_s.map_or_else(|| "?".to_owned(), |r| format!("{r:.1}")).into(),
            row.time_to_exhaustion_s.map_or_else(String::new, duration).into(),
            clean(&who(row)).into(),
        ]);
    }
    out.push('\n');
    out.push_str(&table.render(style));
    if report.ports.iter().any(|row| row.reusable > 0) {
        let text = "FULL leaves out the ports that connect() takes back (REUSABLE).";
        let _ = writeln!(out, "  {}", style.paint(Tone::Faint, text));
    }
    for row in &report.ports {
        let note = note(row);
        if !note.is_empty() {
            let text = format!("{} -> {}: {note}", row.src, row.destination());
            let _ = writeln!(out, "  {}", super::wrap(&text, style.prose(), 4, 2));
        }
    }
    if report.other_destinations > 0 {
        let _ = writeln!(
            out,
            "  {}",
            style.paint(
                Tone::Faint,
                &format!(
                    "and {} with {} (--top shows more)",
                    counted(report.other_destinations, "more tuple"),
                    counted(report.other_sockets, "socket")
                )
            )
        );
    }
    for gap in &report.gaps {
        let _ = writeln!(out, "  {}", super::wrap(&clean(gap), style.prose(), 2, 2));
    }
    out
}

/// Who holds live ones, and who made those in TIME_WAIT where that is another and known.
fn who(row: &PortRow) -> String {
    match (&row.process, &row.time_wait_process) {
        (Some(holder), Some(maker)) if holder != maker => format!("{holder}; TIME_WAIT: {maker}"),
        (Some(process), _) | (None, Some(process)) => process.clone(),
        (None, None) => String::new(),
    }
}

fn note(row: &PortRow) -> String {
    let mut notes = Vec::new();
    if row.second_half_only {
        notes.push("only the half that connect() tries last is free: each connect() is slow".to_owned());
    }
    if let Some(share) = row.bound_before_connect_estimate.filter(|s| *s >= 0.25) {
        notes.push(format!(
            "about {:.0} % were bound before connect() (estimate from the ports' parity)",
            share * 100.0
        ));
    }
    notes.join("; ")
}
