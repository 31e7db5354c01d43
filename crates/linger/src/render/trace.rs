//! The summary of `linger trace`.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, percent};
use crate::cmd::trace::{Counts, FailedRow, Lifetimes, TraceReport, TraceRow};
use linger_rules::{counted, thousands};
use linger_trace::owners::Flow;
use std::fmt::Write;
use std::time::Duration;

/// How it goes, in a line.
pub fn progress(elapsed: Duration, of: Duration, sum: &Flow) -> String {
    format!(
        "{:.0} of {:.0} s: {} opened, {} accepted, {} closed first here",
        elapsed.as_secs_f64(),
        of.as_secs_f64(),
        thousands(sum.opened),
        thousands(sum.accepted),
        thousands(sum.closed_first),
    )
}

/// The report as text.
pub fn text(report: &TraceReport, style: &Style) -> String {
    let mut out = String::new();
    let rate = |n: u64| per_second(n, report.seconds);
    let total = &report.total;
    let sentence = format!(
        "In {:.1} s, {} opened ({}/s) and {} accepted ({}/s); {} closed first here ({}/s).",
        report.seconds,
        counted(total.opened, "connection"),
        rate(total.opened),
        thousands(total.accepted),
        rate(total.accepted),
        thousands(total.closed_first),
        rate(total.closed_first),
    );
    let _ = writeln!(out, "{}", super::wrap(&sentence, style.prose(), 0, 0));
    let sentence = time_wait(report);
    let _ = writeln!(out, "{}", super::wrap(&sentence, style.prose(), 0, 0));
    if !report.rows.is_empty() {
        out.push('\n');
        let table = rows(report, style);
        out.push_str(&table);
        let faint = |text: &str| style.paint(Tone::Faint, text);
        let mut note = "FIRST: closed first by this side, which keeps TIME_WAIT for 60 s.".to_owned();
        if table.contains("LITTLE") {
            note.push_str(
                " LITTLE: carried less than 16 KiB, so one kept connection could have served several.",
            );
        }
        for line in super::wrap(&note, style.prose().saturating_sub(2), 0, 0).lines() {
            let _ = writeln!(out, "  {}", faint(line));
        }
        if report.other_rows > 0 {
            let more = format!(
                "and {} with {} (--top shows more)",
                counted(report.other_rows, "more row"),
                counted(report.other_connections, "connection")
            );
            let _ = writeln!(out, "  {}", faint(&more));
        }
    }
    if report.totals.iter().any(|total| total.endpoints > 1) {
        let title = format!("Each {} over all its endpoints", report.by);
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, &title));
        out.push_str(&totals(report, style));
        if report.other_totals > 0 {
            let more = format!("and {} (--top shows more)", counted(report.other_totals, "more row"));
            let _ = writeln!(out, "  {}", style.paint(Tone::Faint, &more));
        }
    }
    if !report.close_wait.is_empty() {
        let title = "CLOSE_WAIT: the peer has closed, the process has not";
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, title));
        out.push_str(&close_wait(report, style));
        if report.other_close_wait > 0 {
            let more = format!("and {} (--top shows more)", counted(report.other_close_wait, "more row"));
            let _ = writeln!(out, "  {}", style.paint(Tone::Faint, &more));
        }
    }
    if !report.failed.is_empty() {
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, "connect() that failed"));
        out.push_str(&failed(&report.failed, style));
        if report.other_failed > 0 {
            let more = format!("and {} (--top shows more)", counted(report.other_failed, "more row"));
            let _ = writeln!(out, "  {}", style.paint(Tone::Faint, &more));
        }
    }
    for (title, lifetimes) in [
        ("Lifetimes, closed first here", &report.lifetimes_closed_here),
        ("Lifetimes, closed by the peer or reset", &report.lifetimes_closed_by_peer),
    ] {
        if lifetimes.connections > 0 {
            out.push('\n');
            out.push_str(&histogram(title, lifetimes, style));
        }
    }
    let lost = &report.lost;
    for (n, what) in [
        (
            lost.owners,
            "TIME_WAIT sockets' owners were not remembered: the table was full (--owners makes room)",
        ),
        (lost.events, "events are in no row: there were too many groups"),
        (lost.processes, "processes have no name here: there were too many"),
        (lost.lifetimes, "connections are left out of the lifetimes: too many were open"),
        (lost.time_wait, "TIME_WAIT sockets are in no row: there were too many groups"),
        (lost.close_wait, "times a socket in CLOSE_WAIT was seen and is not remembered: there were too many"),
    ] {
        if n > 0 {
            let sentence = format!("{} {what}.", thousands(n));
            let _ =
                writeln!(out, "  {}", style.paint(Tone::Warn, &super::wrap(&sentence, style.prose(), 2, 2)));
        }
    }
    for gap in &report.gaps {
        let _ = writeln!(out, "  {}", super::wrap(&clean(gap), style.prose(), 2, 2));
    }
    let memory = format!(
        "The kernel's tables took {:.1} MiB, for {} owners.",
        report.memory_bytes as f64 / 1024.0 / 1024.0,
        thousands(report.owners_capacity)
    );
    let _ = writeln!(out, "\n{}", style.paint(Tone::Faint, &memory));
    out
}

fn time_wait(report: &TraceReport) -> String {
    let (all, unknown) = (report.total.time_wait, report.time_wait_unknown);
    let lost = report.lost.owners > 0;
    match (all, unknown) {
        (0, _) => "No socket is in TIME_WAIT.".to_owned(),
        (_, 0) => format!("{} in TIME_WAIT, every owner known.", counted(all, "socket")),
        _ => format!(
            "{} in TIME_WAIT; {} {}.",
            counted(all, "socket"),
            thousands(unknown),
            if lost {
                "from before the trace, or without room for their owners"
            } else {
                "from before the trace"
            }
        ),
    }
}

fn rows(report: &TraceReport, style: &Style) -> String {
    let who = match report.by.as_str() {
        "container" => "CONTAINER",
        "process" => "PROCESS",
        _ => "",
    };
    let mut table = Table::new(vec![
        Column::left(who).shrinking(),
        Column::left("CONTAINER").expendable(6),
        Column::left("WHERE"),
        Column::right("OPENED/S"),
        Column::right("ACCEPTED/S").expendable(2),
        Column::right("CLOSED/S").expendable(4),
        Column::right("FIRST"),
        Column::right("LITTLE").expendable(3),
        Column::right("RESET").expendable(5),
        Column::right("TIME_WAIT"),
        Column::left("NETNS").expendable(7),
    ]);
    for row in &report.rows {
        table.row(cells(report, row));
    }
    table.render(style)
}

/// The same figures as in the rows, without where.
fn totals(report: &TraceReport, style: &Style) -> String {
    let by_process = report.by == "process";
    let mut table = Table::new(vec![
        Column::left(if by_process { "PROCESS" } else { "CONTAINER" }).shrinking(),
        Column::left("CONTAINER").expendable(6),
        Column::right("ENDPOINTS"),
        Column::right("OPENED/S"),
        Column::right("CLOSED/S").expendable(4),
        Column::right("FIRST"),
        Column::right("LITTLE").expendable(2),
        Column::right("RESET").expendable(5),
        Column::right("TIME_WAIT"),
    ]);
    for total in &report.totals {
        let container = clean(total.container.as_deref().unwrap_or(""));
        let process = total.process.as_deref().map(clean);
        let (who, container) =
            if by_process { (process.unwrap_or_default(), container) } else { (container, String::new()) };
        let [opened, _, closed, first, little, reset, time_wait] = figures(report, &total.counts);
        table.row(vec![
            who.into(),
            container.into(),
            thousands(total.endpoints).into(),
            opened,
            closed,
            first,
            little,
            reset,
            time_wait,
        ]);
    }
    table.render(style)
}

/// Opened, accepted and closed a second; shares of those closed first and with little; reset; in TIME_WAIT.
fn figures(report: &TraceReport, counts: &Counts) -> [Cell; 7] {
    let rate = |n: u64| if n == 0 { String::new() } else { per_second(n, report.seconds) };
    let number = |n: u64| if n == 0 { String::new() } else { thousands(n) };
    let share = |n: u64, of: u64| if of == 0 { String::new() } else { percent(n as f64 / of as f64) };
    [
        rate(counts.opened).into(),
        rate(counts.accepted).into(),
        rate(counts.closed() + counts.aborted).into(),
        share(counts.closed_first, counts.closed() + counts.aborted).into(),
        share(counts.carried_little, counts.closed()).into(),
        number(counts.reset + counts.timed_out + counts.aborted).into(),
        number(counts.time_wait).into(),
    ]
}

fn cells(report: &TraceReport, row: &TraceRow) -> Vec<Cell> {
    let several = report.netns.len() > 1;
    let container = clean(row.container.as_deref().unwrap_or(""));
    let process = row.process.as_deref().map(clean);
    let (who, container) = match report.by.as_str() {
        "container" => (if container.is_empty() { "(none)".to_owned() } else { container }, String::new()),
        "process" => (process.unwrap_or_else(|| "(outside of any)".to_owned()), container),
        _ => (String::new(), String::new()),
    };
    let arrow = if row.role == "accept" { "<-" } else { "->" };
    let netns = row.netns.filter(|_| several).and_then(|inode| {
        let ns = report.netns.iter().find(|ns| ns.inode == inode);
        ns.and_then(|ns| ns.name.clone()).or_else(|| Some(format!("net:[{inode}]")))
    });
    let mut cells = vec![who.into(), container.into(), format!("{arrow} {}", row.endpoint).into()];
    cells.extend(figures(report, &row.counts));
    cells.push(clean(&netns.unwrap_or_default()).into());
    cells
}

fn close_wait(report: &TraceReport, style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::left("PROCESS").shrinking(),
        Column::left("WHERE"),
        Column::right("SOCKETS"),
        Column::right("BEFORE THE TRACE").expendable(2),
        Column::right("UNACCEPTED").expendable(3),
        Column::right("MEDIAN").expendable(1),
        Column::right("LONGEST"),
    ]);
    let number = |n: u64| if n == 0 { String::new() } else { thousands(n) };
    let age = |ms: Option<u32>| match ms {
        None => "?".to_owned(),
        Some(0) => "<1 ms".to_owned(),
        Some(ms) => time(u64::from(ms) * 1000),
    };
    for row in &report.close_wait {
        let nobody = if row.unaccepted > 0 { "(not accepted)" } else { "?" };
        table.row(vec![
            clean(row.process.as_deref().unwrap_or(nobody)).into(),
            row.endpoint.clone().into(),
            thousands(row.sockets).into(),
            number(row.before_trace).into(),
            number(row.unaccepted).into(),
            age(row.median_ms).into(),
            age(row.longest_ms).into(),
        ]);
    }
    table.render(style)
}

fn failed(rows: &[FailedRow], style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::left("DESTINATION"),
        Column::left("PROCESS").shrinking(),
        Column::right("NO PORT"),
        Column::right("BOUND PORT"),
        Column::right("REFUSED"),
        Column::right("TIMED OUT"),
        Column::right("UNREACHABLE"),
        Column::right("OTHER"),
        Column::right("ABANDONED"),
    ]);
    let number = |n: u64| if n == 0 { String::new() } else { thousands(n) };
    for row in rows {
        let bad = |n: u64| if n == 0 { Cell::default() } else { Cell::toned(thousands(n), Tone::Bad) };
        table.row(vec![
            row.endpoint.clone().into(),
            clean(row.process.as_deref().unwrap_or("")).into(),
            bad(row.no_port),
            bad(row.no_port_bound),
            number(row.refused).into(),
            number(row.timed_out).into(),
            number(row.unreachable).into(),
            number(row.other).into(),
            number(row.abandoned).into(),
        ]);
    }
    table.render(style)
}

fn histogram(title: &str, lifetimes: &Lifetimes, style: &Style) -> String {
    let mut out = String::new();
    let at = |us: Option<u64>| us.map_or_else(|| "?".to_owned(), time);
    let _ = writeln!(
        out,
        "{}: p50 {}, p90 {}, p99 {}",
        style.paint(Tone::Strong, title),
        at(lifetimes.p50_us),
        at(lifetimes.p90_us),
        at(lifetimes.p99_us)
    );
    let most = lifetimes.octaves.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1);
    let width = style.prose().saturating_sub(32).clamp(8, 50) as u64;
    for (from, n) in &lifetimes.octaves {
        // Whoever is there is seen.
        let length = if *n == 0 { 0 } else { (n * width).div_ceil(most) as usize };
        let line = format!("  {:>8}  {:>11}  {}", time(*from), thousands(*n), "#".repeat(length));
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// Microseconds as a person says them.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => super::duration(us as f64 / 1e6),
    }
}

fn per_second(n: u64, seconds: f64) -> String {
    let rate = n as f64 / seconds.max(1e-3);
    if rate >= 100.0 || n == 0 { thousands(rate.round() as u64) } else { format!("{rate:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_drawn_to_scale() {
        let lifetimes = Lifetimes {
            connections: 150,
            p50_us: Some(900),
            p90_us: Some(1_500),
            p99_us: None,
            octaves: vec![(512, 100), (1024, 0), (2048, 1)],
            ..Lifetimes::default()
        };
        let text = histogram("T", &lifetimes, &Style { color: false, width: 80, terminal: false });
        let bars: Vec<usize> = text.lines().skip(1).map(|l| l.matches('#').count()).collect();
        assert_eq!(bars, [48, 0, 1]);
        assert!(text.starts_with("T: p50 900 us, p90 1.5 ms, p99 ?\n"), "{text}");
    }

    #[test]
    fn slow_rates_keep_a_decimal() {
        assert_eq!(
            (per_second(5, 10.0), per_second(0, 10.0), per_second(12_345, 10.0)),
            ("0.5".into(), "0".into(), "1,235".into())
        );
    }
}
