//! The tables of `linger trace drops`.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, wrap};
use crate::cmd::trace::drops::{Cause, DropsReport, ListenerRow, PortRow, Reason};
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// The report as text.
pub fn text(report: &DropsReport, style: &Style) -> String {
    let mut out = String::new();
    let line = |text: &str, tone: Option<Tone>, indent: usize| {
        let text = wrap(text, style.prose(), indent, indent);
        let text = text.trim_start();
        let text = tone.map_or_else(|| text.to_owned(), |tone| style.paint(tone, text));
        format!("{}{text}\n", " ".repeat(indent))
    };
    let unknown = (report.unknown_listeners > 0).then(|| {
        format!(
            "What {} dropped in {:.1} s cannot be read.",
            counted(report.unknown_listeners, "listening socket"),
            report.seconds
        )
    });
    if let (Some(unknown), true) = (&unknown, report.listeners.is_empty()) {
        out.push_str(&line(unknown, None, 0));
    } else if report.listeners.is_empty() {
        let nobody = format!(
            "In {:.1} s no listener dropped anything; {} watched.",
            report.seconds,
            counted(report.quiet_listeners, "listening socket")
        );
        out.push_str(&line(&nobody, None, 0));
    } else {
        out.push_str(&listeners(report, style));
        if report.quiet_listeners > 0 {
            let quiet =
                format!("and {} that dropped nothing", counted(report.quiet_listeners, "listening socket"));
            out.push_str(&line(&quiet, Some(Tone::Faint), 2));
        }
        if let Some(unknown) = &unknown {
            out.push_str(&line(unknown, None, 2));
        }
        for (cause, what) in CAUSES {
            if report.listeners.iter().any(|row| row.cause == Some(cause)) {
                out.push_str(&line(what, Some(Tone::Faint), 2));
            }
        }
    }
    for (title, rows) in [
        ("SYNs to ports where nobody listens (answered with a reset)", &report.no_listener),
        ("SYNs dropped elsewhere", &report.elsewhere),
    ] {
        if let Some(rows) = rows.as_ref().filter(|rows| !rows.is_empty()) {
            let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, title));
            out.push_str(&ports(report, rows, style));
        }
    }
    if report.other_ports > 0 {
        let more = format!("and {} (--top shows more)", counted(report.other_ports, "more row"));
        out.push_str(&line(&more, Some(Tone::Faint), 2));
    }
    for ns in &report.counted {
        let figures = [
            (ns.listen_overflows, "accept queue overflows"),
            (ns.request_queue_full_drops, "SYNs dropped at a full request queue"),
            (ns.request_queue_full_cookies, "cookies sent instead of queueing"),
            (ns.cookies_valid, "cookies that came back valid"),
            (ns.cookies_invalid, "cookies that came back invalid"),
            (ns.listen_drops, "drops by listeners in all"),
        ];
        let told: Vec<String> = figures
            .iter()
            .filter_map(|(n, what)| n.filter(|n| *n > 0).map(|n| format!("{} {what}", thousands(n))))
            .collect();
        if !told.is_empty() {
            let of = if report.counted.len() > 1 {
                format!("{} counted: ", name(report, ns.netns))
            } else {
                String::new()
            };
            out.push('\n');
            out.push_str(&line(&format!("{of}{}.", told.join(", ")), None, 0));
        }
    }
    if report.left_out > 0 {
        let lost = format!("{} in no row.", counted(report.left_out, "dropped packet"));
        out.push_str(&line(&lost, Some(Tone::Warn), 2));
    }
    for gap in &report.gaps {
        out.push_str(&line(&clean(gap), None, 2));
    }
    out
}

const CAUSES: [(Cause, &str); 5] = [
    (Cause::AcceptQueue, "accept queue: full, the application does not accept fast enough."),
    (Cause::RequestQueue, "request queue: full of half-open requests, and tcp_syncookies is 0."),
    (Cause::Either, "either queue: both were full, and the kernel does not count them apart for a listener."),
    (Cause::Cookies, "cookies: the request queue was full, and cookies stood in; nothing is lost."),
    (
        Cause::Other,
        "other: neither queue was full; SYNs sent again while the first waits half-open, packets that are no \
         handshake (a scan), or no memory.",
    ),
];

fn name(report: &DropsReport, inode: u64) -> String {
    let ns = report.netns.iter().find(|ns| ns.inode == inode);
    clean(&ns.and_then(|ns| ns.name.clone()).unwrap_or_else(|| format!("net:[{inode}]")))
}

fn listeners(report: &DropsReport, style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::left("LISTENER").shrinking(),
        Column::right("DROPS"),
        Column::left("CAUSE"),
        Column::right("QUEUE"),
        Column::right("LIMIT"),
        Column::right("FULL").expendable(3),
        Column::right("HALF-OPEN").expendable(2),
        Column::left("THE KERNEL SAYS").expendable(4),
        Column::left("PROCESS").expendable(1),
        Column::left("NETNS").expendable(5),
    ]);
    let several = report.netns.len() > 1;
    for row in &report.listeners {
        let drops = row.drops.map_or_else(|| "?".to_owned(), thousands);
        table.row(vec![
            row.address.clone().into(),
            if row.drops.unwrap_or(0) > 0 { Cell::toned(drops, Tone::Bad) } else { drops.into() },
            cause(row).into(),
            thousands(u64::from(row.most_waiting)).into(),
            row.limit.map_or_else(|| "?".to_owned(), |n| thousands(u64::from(n))).into(),
            super::percent(row.full as f64 / row.looks.max(1) as f64).into(),
            thousands(u64::from(row.most_half_open)).into(),
            row.reasons.iter().map(said).collect::<Vec<_>>().join(", ").into(),
            clean(row.process.as_deref().unwrap_or("?")).into(),
            if several { name(report, row.netns).into() } else { Cell::default() },
        ]);
    }
    table.render(style)
}

fn cause(row: &ListenerRow) -> &'static str {
    match row.cause {
        Some(Cause::AcceptQueue) => "accept queue",
        Some(Cause::RequestQueue) => "request queue",
        Some(Cause::Either) => "either queue",
        Some(Cause::Cookies) => "cookies",
        Some(Cause::Other) => "other",
        None => "",
    }
}

fn said(reason: &Reason) -> String {
    let packet = match reason.packet.as_str() {
        "last_ack" => " (last ACK)",
        "own_syn" => " (own SYN)",
        _ => "",
    };
    format!("{} {}{packet}", thousands(reason.packets), reason.reason)
}

fn ports(report: &DropsReport, rows: &[PortRow], style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::left("TO").shrinking(),
        Column::right("PACKETS"),
        Column::left("THE KERNEL SAYS"),
        Column::left("WHOSE"),
        Column::left("NETNS").expendable(1),
    ]);
    let several = report.netns.len() > 1;
    for row in rows {
        table.row(vec![
            row.address.clone().into(),
            thousands(row.reason.packets).into(),
            row.reason.reason.clone().into(),
            if row.reason.packet == "own_syn" { "this host's" } else { "" }.into(),
            match row.netns {
                Some(inode) if several => name(report, inode).into(),
                _ => Cell::default(),
            },
        ]);
    }
    table.render(style)
}
