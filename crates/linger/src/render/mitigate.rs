//! `linger mitigate`, for a person.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, duration, wrap};
use crate::cmd::mitigate::close::{CloseReport, Outcome, Share};
use crate::cmd::mitigate::limit::LimitReport;
use crate::cmd::mitigate::spared::Why;
use crate::cmd::mitigate::status::{ClearReport, LimitRow, StatusReport};
use linger_model::record::endpoint;
use linger_model::{Addr, State};
use linger_rules::{counted, thousands};
use std::fmt::Write;
use std::net::IpAddr;

/// A paragraph, two columns in.
fn note(out: &mut String, tone: Tone, text: &str, style: &Style) {
    let text = wrap(&clean(text), style.prose(), 2, 2);
    let lines: Vec<String> = text.lines().map(|line| style.paint(tone, line.trim_start())).collect();
    let _ = writeln!(out, "  {}", lines.join("\n  "));
}

/// A heading line.
fn say(out: &mut String, tone: Tone, text: &str, style: &Style) {
    let _ = writeln!(out, "{}", style.paint(tone, &wrap(&clean(text), style.prose(), 0, 0)));
}

/// A limit in force, or its ruleset.
pub fn limit(report: &LimitReport, style: &Style) -> String {
    let mut out = String::new();
    let (count, per) = report.rate.split_once('/').unwrap_or((&report.rate, "second"));
    let burst = thousands(report.burst.into());
    let what = format!("each source may make {count} new connections a {per}, and {burst} at once");
    let time = duration(report.for_s as f64);
    if report.is_in_force {
        let verb = if report.preview { "Counted, not dropped" } else { "In force" };
        say(&mut out, Tone::Strong, &format!("{verb} for {time}: {what}."), style);
    } else {
        say(
            &mut out,
            Tone::Strong,
            &format!("For {time}: {what}. The kernel would take it; nothing was changed."),
            style,
        );
    }
    for it in &report.listeners {
        note(&mut out, Tone::Strong, it, style);
    }
    if report.replaces {
        note(&mut out, Tone::Note, "It replaces the limit of this port that is in force.", style);
    }
    if report.allow.is_empty() {
        let text = "Nobody is excepted: users behind one address (a proxy, a balancer, NAT) share one bucket. --allow CIDR excepts them.";
        note(&mut out, Tone::Warn, text, style);
    } else {
        note(&mut out, Tone::Note, &format!("Excepted: {}.", report.allow.join(", ")), style);
    }
    let mib = report.sources_bytes as f64 / f64::from(1 << 20);
    let room = format!(
        "{} of each family are remembered (about {mib:.0} MiB of kernel memory each). When there is no place for a new one it is let through.",
        counted(report.sources.into(), "source")
    );
    note(&mut out, Tone::Faint, &room, style);
    let forged = "Useless against forged source addresses: each is a new source. SYN cookies answer those (linger explain tcp_syncookies).";
    note(&mut out, Tone::Faint, forged, style);
    if report.is_in_force {
        let next = match report.preview {
            true => "What it would drop: linger mitigate status. Then once more without --preview.",
            false => {
                "What it drops: linger mitigate status. It ends by itself; sooner: linger mitigate clear."
            }
        };
        note(&mut out, Tone::Faint, next, style);
    } else {
        let _ = write!(out, "\n{}", report.ruleset);
    }
    out
}

/// The limits, and what was destroyed.
pub fn status(report: &StatusReport, style: &Style) -> String {
    let mut out = String::new();
    let active = report.limits.iter().filter(|it| it.expires_s.is_some()).count();
    match active {
        0 => say(&mut out, Tone::Good, "No limit is in force.", style),
        n => say(&mut out, Tone::Strong, &format!("{} in force.", counted(n as u64, "limit")), style),
    }
    out.push_str(&limits(&report.limits, style));
    for it in report.limits.iter().filter(|it| it.no_place > 0) {
        let text = format!(
            ":{}: {} came from sources that found no place among {} and were let through: the flood has more sources than are remembered, or forges them.",
            it.port,
            counted(it.no_place, "SYN"),
            thousands(it.sources.into())
        );
        note(&mut out, Tone::Warn, &text, style);
    }
    for it in report.limits.iter().filter(|it| it.preview && it.expires_s.is_some()) {
        let text = format!(":{}: a preview, which drops nothing.", it.port);
        note(&mut out, Tone::Note, &text, style);
    }
    if !report.closings.is_empty() {
        let mut table = Table::new(vec![
            Column::left("WHEN"),
            Column::right("DESTROYED"),
            Column::right("PASSED"),
            Column::right("LEFT"),
            Column::left("BY").shrinking(),
        ]);
        for it in &report.closings {
            table.row(vec![
                clean(&it.at).into(),
                thousands(it.destroyed).into(),
                thousands(it.passed).into(),
                thousands(it.left).into(),
                clean(&it.who).into(),
            ]);
        }
        let _ =
            write!(out, "\n{}\n{}", style.paint(Tone::Strong, "Sockets destroyed here"), table.render(style));
    }
    for gap in &report.gaps {
        note(&mut out, Tone::Faint, gap, style);
    }
    out
}

fn limits(rows: &[LimitRow], style: &Style) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new(vec![
        Column::left("LISTENER"),
        Column::right("ENDS IN"),
        Column::right("RATE"),
        Column::right("BURST").expendable(1),
        Column::right("SYNS"),
        Column::right("OVER"),
        Column::right("ALLOWED").expendable(2),
        Column::right("NO PLACE").expendable(3),
    ]);
    for it in rows {
        let listener = match &it.addr {
            Some(addr) => match addr.parse::<IpAddr>() {
                Ok(ip) => endpoint(Addr::from(ip), it.port),
                Err(_) => format!("{}:{}", clean(addr), it.port),
            },
            None => format!(":{}", it.port),
        };
        let ends: Cell = match it.expires_s {
            Some(seconds) => duration(seconds as f64).into(),
            None => Cell::toned("ended", Tone::Faint),
        };
        let over = thousands(it.over);
        let over: Cell = if it.over > 0 { Cell::toned(over, Tone::Warn) } else { over.into() };
        table.row(vec![
            listener.into(),
            ends,
            it.rate.as_deref().map_or_else(|| "?".to_owned(), rate).into(),
            thousands(it.burst.into()).into(),
            thousands(it.seen).into(),
            over,
            thousands(it.allowed).into(),
            thousands(it.no_place).into(),
        ]);
    }
    table.render(style)
}

/// What was taken away.
pub fn cleared(report: &ClearReport, style: &Style) -> String {
    let mut out = String::new();
    let text = match (report.is_cleared, report.limits.is_empty()) {
        (true, _) => "Nothing of linger's is in force any more. It was:",
        (false, true) => "Nothing of linger's was in force.",
        (false, false) => "This would be taken away; nothing was changed.",
    };
    let text = if report.limits.is_empty() { text.trim_end_matches(" It was:") } else { text };
    say(&mut out, Tone::Strong, text, style);
    out.push_str(&limits(&report.limits, style));
    out
}

/// What would be hit.
pub fn preview(report: &CloseReport, style: &Style) -> String {
    let mut out = String::new();
    let count = counted(report.matched, "socket");
    say(&mut out, Tone::Strong, &format!("{count} would be destroyed."), style);
    let mut groups = |title: &'static str, shares: &[Share]| {
        let mut table = Table::new(vec![Column::left(title).shrinking(), Column::right("SOCKETS")]);
        for it in shares {
            table.row(vec![clean(&it.name).into(), thousands(it.count).into()]);
        }
        let _ = write!(out, "\n{}", table.render(style));
    };
    groups("PROCESS", &report.by_process);
    groups("PEER", &report.by_peer);
    let mut table = Table::new(vec![
        Column::left("FOR EXAMPLE"),
        Column::left("LOCAL"),
        Column::left("PEER"),
        Column::left("HELD BY").shrinking().expendable(1),
    ]);
    for it in &report.first {
        let end = |addr: &str, port| {
            addr.parse::<IpAddr>().map_or_else(|_| clean(addr), |ip| endpoint(Addr::from(ip), port))
        };
        table.row(vec![
            it.state.to_uppercase().into(),
            end(&it.src, it.sport).into(),
            end(&it.dst, it.dport).into(),
            clean(it.holder.as_deref().unwrap_or("")).into(),
        ]);
    }
    let _ = writeln!(out, "\n{}", table.render(style));
    spared(&mut out, report, style);
    consequences(&mut out, report, style);
    out
}

fn spared(out: &mut String, report: &CloseReport, style: &Style) {
    for it in &report.spared {
        let why = match it.why {
            Why::Ancestor => "this command, or a process that it descends from, holds it",
            Why::SshConnection => "the SSH connection that this command came through",
            Why::Sshd => "sshd's, through which somebody may work",
            Why::NoProcess => {
                "no process holds it: the kernel's own, as for NFS or iSCSI, io_uring's, or new"
            }
            Why::Unseen => "not all processes can be seen, and it is not known who holds it; run as root",
        };
        note(out, Tone::Note, &format!("Left alone: {} ({why}).", counted(it.count, "socket")), style);
    }
    for gap in &report.gaps {
        note(out, Tone::Faint, gap, style);
    }
}

/// `20 a second`.
fn rate(text: &str) -> String {
    text.replace('/', " a ")
}

/// What it does to whom.
fn consequences(out: &mut String, report: &CloseReport, style: &Style) {
    let is_time_wait = report.states.count(State::TimeWait) > 0;
    let is_held =
        report.states.total() > report.states.count(State::TimeWait) + report.states.count(State::SynRecv);
    if is_held {
        let text = "The application keeps its descriptors: each next use fails with ECONNABORTED or EPIPE, and it still has to close them. The peer gets a reset. What leaks goes on leaking.";
        note(out, Tone::Warn, text, style);
    }
    if is_time_wait {
        let text = "A TIME_WAIT socket's port is free at once; segments of the old connection that are still on their way could be taken for a new one's.";
        note(out, Tone::Warn, text, style);
    }
}

/// The question before it.
pub fn question(report: &CloseReport) -> String {
    format!("Destroy {}? [y/N] ", counted(report.matched, "socket"))
}

/// How it ended; `was_shown` where the preview was.
pub fn closed(report: &CloseReport, was_shown: bool, style: &Style) -> String {
    let mut out = String::new();
    match report.outcome {
        Outcome::Nothing => {
            match report.spared.is_empty() {
                true => say(&mut out, Tone::Good, "No socket fits: there is nothing to destroy.", style),
                false => say(&mut out, Tone::Strong, "Every socket that fits is left alone.", style),
            }
            spared(&mut out, report, style);
        }
        Outcome::Preview => {
            out = preview(report, style);
            note(&mut out, Tone::Faint, "Nothing was changed.", style);
        }
        Outcome::Refused => {
            out = preview(report, style);
            say(&mut out, Tone::Bad, &format!("Refused: {}. Nothing was changed.", report.why), style);
        }
        Outcome::Declined => say(&mut out, Tone::Strong, "Nothing was changed.", style),
        Outcome::Done => {
            let count = counted(report.destroyed, "socket");
            say(&mut out, Tone::Strong, &format!("{count} destroyed."), style);
            let mut passed = |n: u64, why: &str| {
                if n > 0 {
                    note(&mut out, Tone::Note, &format!("{} {why}.", counted(n, "socket")), style);
                }
            };
            passed(report.gone, "gone by then");
            passed(report.changed, "in another state by then, and left alone");
            for it in &report.left {
                note(
                    &mut out,
                    Tone::Bad,
                    &format!("{} left: {}.", counted(it.count, "socket"), it.why),
                    style,
                );
            }
            if !was_shown {
                spared(&mut out, report, style);
                consequences(&mut out, report, style);
            }
        }
    }
    out
}
