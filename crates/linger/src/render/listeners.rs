//! The table of `linger listeners`.

use super::clean;
use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use crate::cmd::listeners::ListenersReport;
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// The report as text.
pub fn text(report: &ListenersReport, style: &Style) -> String {
    let mut out = String::new();
    if report.listeners.is_empty() {
        let _ = writeln!(out, "No listening sockets.");
        return out;
    }
    let mut table = Table::new(vec![
        Column::left("ADDRESS").shrinking(),
        Column::right("QUEUE"),
        Column::right("LIMIT"),
        Column::right("HALF-OPEN"),
        Column::right("UNACCEPTED").expendable(3),
        Column::right("DROPS"),
        Column::right("CONNECTED").expendable(4),
        Column::left("PROCESS").expendable(2),
        Column::left("NOTE").expendable(1),
    ]);
    let (mut capped, mut grouped) = (false, false);
    for row in &report.listeners {
        let full = row.limit.is_some_and(|limit| row.queue > limit);
        let queue = thousands(u64::from(row.queue));
        let mut notes = Vec::new();
        if full {
            notes.push("full".to_owned());
        }
        if row.limit_equals_somaxconn {
            notes.push("capped?".to_owned());
            capped = true;
        }
        if row.group_size > 1 {
            notes.push(format!("reuseport {} of {}", row.group_index + 1, row.group_size));
            grouped = true;
        }
        if row.mptcp {
            notes.push("mptcp".to_owned());
        }
        // What belongs to the group is shown once.
        let of_group = |n: u32| if row.group_index == 0 { thousands(u64::from(n)) } else { String::new() };
        table.row(vec![
            row.address().into(),
            if full { Cell::toned(queue, Tone::Bad) } else { queue.into() },
            row.limit.map_or_else(|| "?".to_owned(), |l| thousands(u64::from(l))).into(),
            of_group(row.half_open).into(),
            of_group(row.unaccepted).into(),
            row.drops.map_or_else(|| "?".to_owned(), |d| thousands(u64::from(d))).into(),
            of_group(row.connected).into(),
            clean(row.process.as_deref().unwrap_or("?")).into(),
            notes.join(", ").into(),
        ]);
    }
    out.push_str(&table.render(style));
    let mut faint = |text: &str| {
        let _ = writeln!(out, "  {}", style.paint(Tone::Faint, &super::wrap(text, style.prose(), 2, 2)));
    };
    if capped {
        faint(&format!(
            "capped?: the limit equals net.core.somaxconn ({}); the application may have asked for more, which the kernel does not tell.",
            report.somaxconn.unwrap_or_default()
        ));
    }
    if grouped {
        faint(
            "reuseport: half-open, unaccepted and connected are of the whole group; queue, limit and drops of each socket.",
        );
    }
    if report.left_out > 0 {
        faint(&format!("and {} more (--top shows more)", counted(report.left_out, "socket")));
    }
    for gap in &report.gaps {
        faint(&clean(gap));
    }
    out
}
