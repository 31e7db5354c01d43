//! The table of `linger trace handshakes`.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, wrap};
use crate::cmd::trace::handshakes::{Agreement, HandshakesReport, PeerRow, Seen, side_arrow};
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// The report as text.
pub fn text(report: &HandshakesReport, style: &Style) -> String {
    let mut out = String::new();
    if report.peers.is_empty() {
        let sentence = format!("No connection was opened in {:.1} s, and none is there.", report.seconds);
        let _ = writeln!(out, "{}", wrap(&sentence, style.prose(), 0, 0));
    } else {
        out.push_str(&table(report, style));
    }
    let note = |text: &str, tone: Option<Tone>| {
        let text = wrap(text, style.prose(), 2, 2);
        let text = text.trim_start();
        format!("  {}\n", tone.map_or_else(|| text.to_owned(), |tone| style.paint(tone, text)))
    };
    if report.other_peers > 0 {
        let more = format!("and {} (--top shows more)", counted(report.other_peers, "more peer"));
        out.push_str(&note(&more, Some(Tone::Faint)));
    }
    if !report.peers.is_empty() {
        let legend = "SYN: connections opened while watching. yes: offered and granted; refused: offered, not granted; no: not \
                      offered; some: of some connections; ?: not seen.";
        out.push_str(&note(legend, Some(Tone::Faint)));
    }
    for comparison in &report.comparisons {
        out.push('\n');
        out.push_str(&note(&comparison.conclusion, None));
    }
    for (n, what) in [
        (report.lost_packets, "packets came faster than they could be read: SYN is too low"),
        (report.left_out, "handshakes or sockets are in no row: there were too many peers"),
    ] {
        if n > 0 {
            out.push_str(&note(&format!("{} {what}.", thousands(n)), Some(Tone::Warn)));
        }
    }
    for gap in &report.gaps {
        out.push_str(&note(&clean(gap), None));
    }
    out
}

fn table(report: &HandshakesReport, style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::left("PEER"),
        Column::right("SYN"),
        Column::right("LIVE"),
        Column::right("TIME_WAIT").expendable(1),
        Column::left("TIMESTAMPS"),
        Column::left("WINDOW SCALE").expendable(3),
        Column::left("SACK").expendable(4),
        Column::right("MSS").expendable(2),
        Column::left("NETNS").expendable(5),
    ]);
    for row in &report.peers {
        let netns = report.netns.iter().find(|ns| ns.inode == row.netns && report.netns.len() > 1);
        let netns = netns.map(|ns| ns.name.clone().unwrap_or_else(|| format!("net:[{}]", ns.inode)));
        let count = |n: Option<u64>| match n {
            None => "?".to_owned(),
            Some(0) => String::new(),
            Some(n) => thousands(n),
        };
        table.row(vec![
            side_arrow(row).into(),
            count(Some(row.offered.packets.max(row.granted.packets))).into(),
            count(row.live.map(|l| l.connections)).into(),
            count(row.time_wait).into(),
            word(row.timestamps, ""),
            word(row.window_scale, &shifts(row)),
            word(row.sack, ""),
            mss(row).into(),
            clean(&netns.unwrap_or_default()).into(),
        ]);
    }
    table.render(style)
}

fn word(agreement: Agreement, more: &str) -> Cell {
    match agreement {
        Agreement::Agreed => format!("yes{more}").into(),
        Agreement::NotGranted => Cell::toned("refused", Tone::Bad),
        Agreement::NotOffered => Cell::toned("no", Tone::Warn),
        Agreement::Mixed => Cell::toned("some", Tone::Warn),
        Agreement::Absent => Cell::toned("absent", Tone::Warn),
        Agreement::Unknown => "?".into(),
    }
}

/// The peer's packets.
fn of_peer(row: &PeerRow) -> &Seen {
    if row.role == "connect" { &row.granted } else { &row.offered }
}

fn shifts(row: &PeerRow) -> String {
    match (of_peer(row).least_window_shift, of_peer(row).most_window_shift) {
        (Some(least), Some(most)) if least == most => format!(" ({least})"),
        (Some(least), Some(most)) => format!(" ({least}-{most})"),
        _ => String::new(),
    }
}

/// What the peer takes: by its own packets, else what live connections send.
fn mss(row: &PeerRow) -> String {
    let seen = of_peer(row);
    let live = row.live.as_ref();
    let least = seen.least_mss.map(u32::from).or_else(|| live?.least_mss);
    let most = seen.most_mss.map(u32::from).or_else(|| live?.most_mss);
    match (least, most) {
        (Some(least), Some(most)) if least == most => least.to_string(),
        (Some(least), Some(most)) => format!("{least}-{most}"),
        _ => "?".to_owned(),
    }
}
