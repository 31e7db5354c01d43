//! What `linger lab show` draws.

use super::style::{Style, Tone};
use super::{clean, wrap};
use crate::cmd::lab::show::{ShowHost, ShowReport};
use linger_rules::thousands;
use std::fmt::Write;

/// A scenario: topology, what happens, what is to be expected.
pub fn text(report: &ShowReport, style: &Style) -> String {
    let mut out = String::new();
    let entry = &report.entry;
    let indent = entry.name.chars().count() + 2;
    let _ = writeln!(
        out,
        "{}  {}",
        style.paint(Tone::Strong, &clean(&entry.name)),
        wrap(&clean(&entry.title), style.prose(), indent.min(24), indent)
    );
    if let Some(of) = &entry.twin_of {
        paragraph(&mut out, style, &format!("The healthy twin of {of}: nothing is found."));
    } else if let Some(of) = &entry.variant_of {
        paragraph(&mut out, style, &format!("A variant of {of}."));
    }
    out.push('\n');
    links(&mut out, &report.topology, style);
    for host in &report.topology {
        draw(&mut out, host, style);
    }
    for (title, text) in [("What happens", &report.what), ("What to look at", &report.look)] {
        if !text.is_empty() {
            heading(&mut out, style, title);
            paragraph(&mut out, style, text);
        }
    }
    heading(&mut out, style, "Phases");
    for (nth, phase) in report.phases.iter().enumerate() {
        let does = phase.does.join("; ");
        let name = if phase.name.is_empty() { String::new() } else { format!("{}: ", phase.name) };
        item(&mut out, style, &format!("{}. ", nth + 1), &format!("{name}{does}"));
    }
    if !report.params.is_empty() {
        heading(&mut out, style, "Parameters (--param NAME=VALUE)");
        let width = report.params.iter().map(|it| it.name.chars().count()).max().unwrap_or(0);
        for param in &report.params {
            let value = if param.value.is_empty() { "(empty)" } else { &param.value };
            let column = width + 4;
            let value = wrap(&clean(value), style.prose(), column, column);
            let _ = writeln!(out, "  {:width$}  {value}", clean(&param.name));
        }
    }
    expected(&mut out, report, style);
    limits(&mut out, report, style);
    if !report.source.is_empty() {
        heading(&mut out, style, "Sources");
        for source in &report.source {
            item(&mut out, style, "- ", source);
        }
    }
    if !report.related.is_empty() {
        heading(&mut out, style, "See also");
        for other in &report.related {
            item(&mut out, style, "- ", &format!("{} ({}): {}", other.name, other.kind, other.title));
        }
    }
    out
}

fn heading(out: &mut String, style: &Style, text: &str) {
    let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, text));
}

fn paragraph(out: &mut String, style: &Style, text: &str) {
    let _ = writeln!(out, "  {}", wrap(&clean(&text.replace('\n', " ")), style.prose(), 2, 2));
}

fn item(out: &mut String, style: &Style, mark: &str, text: &str) {
    let indent = 2 + mark.chars().count();
    let _ = writeln!(out, "  {mark}{}", wrap(&clean(text), style.prose(), indent, indent));
}

/// A line for each link: `client 10.77.0.1/24 ────── 10.77.0.2/24 server`, or without the addresses where that is too
/// wide.
fn links(out: &mut String, hosts: &[ShowHost], style: &Style) {
    let mut rows = Vec::new();
    for (nth, host) in hosts.iter().enumerate() {
        for interface in &host.interfaces {
            // Each link once: from the host that comes first.
            let other = hosts.iter().position(|it| it.name == interface.peer).unwrap_or(nth);
            if nth < other || (nth == other && interface.name < interface.peer_interface) {
                let end = |name: &str, device: &str, address: &str| {
                    (clean(name), format!("{} {}", clean(device), clean(address)))
                };
                rows.push((
                    end(&host.name, &interface.name, &interface.address),
                    end(&interface.peer, &interface.peer_interface, &interface.peer_address),
                ));
            }
        }
    }
    let widest = |text: &dyn Fn(&(End, End)) -> usize| rows.iter().map(text).max().unwrap_or(0);
    let name = widest(&|it| it.0.0.chars().count());
    let address = widest(&|it| it.0.1.chars().count());
    let peer = widest(&|it| it.1.1.chars().count());
    for ((from, near), (to, far)) in &rows {
        let line = format!("  {from:>name$} ── {near:address$} ──── {far:>peer$} ── {to}");
        if line.chars().count() <= style.width {
            let _ = writeln!(out, "{line}");
        } else {
            let _ = writeln!(out, "  {from} ── {near}\n    ──── {far} ── {to}");
        }
    }
    if !rows.is_empty() {
        out.push('\n');
    }
}

type End = (String, String);

/// A box with everything in a host.
fn draw(out: &mut String, host: &ShowHost, style: &Style) {
    let width = style.prose().saturating_sub(2).min(100);
    let inner = width.saturating_sub(4);
    let mut lines: Vec<String> = Vec::new();
    let mut add = |label: &str, text: &str| {
        let indent = 9;
        let wrapped = wrap(&clean(text), inner, indent, indent);
        lines.extend(format!("{label:<9}{wrapped}").lines().flat_map(|line| chunks(line, inner)));
    };
    for (device, addresses) in &host.addresses {
        let text = match addresses.as_slice() {
            [first, .., last] if addresses.len() > 3 => format!("{first} … {last} ({})", addresses.len()),
            all => all.join(", "),
        };
        add("address", &format!("{device}: {text}"));
    }
    if host.forwards {
        add("forwards", "between its links");
    }
    for (network, via) in &host.routes {
        add("route", &format!("{network} via {via}"));
    }
    for (key, value) in &host.sysctls {
        add("sysctl", &format!("{key} = {value}"));
    }
    for actor in &host.actors {
        let late = if actor.is_late { " (starts in a phase)" } else { "" };
        add(&actor.kind, &format!("{}{late}: {}", actor.name, actor.does));
    }
    if let Some(nft) = &host.nft {
        for (nth, line) in nft.trim_matches('\n').lines().enumerate() {
            let label = if nth == 0 { "nft" } else { "" };
            let line = clean(&line.replace('\t', "    "));
            lines.extend(chunks(&format!("{label:<9}{}", line.trim_end()), inner));
        }
    }
    let title = match &host.role {
        Some(role) => format!("{}: {role}", host.name),
        None => host.name.clone(),
    };
    let title: Vec<String> = wrap(&clean(&title), inner, 0, 0).lines().map(str::to_owned).collect();
    let _ = writeln!(out, "  ┌{}┐", "─".repeat(width - 2));
    let mut row = |line: &str, tone: Option<Tone>| {
        let pad = " ".repeat(inner.saturating_sub(line.chars().count()));
        let painted = tone.map_or_else(|| line.to_owned(), |tone| style.paint(tone, line));
        let _ = writeln!(out, "  │ {painted}{pad} │");
    };
    for line in &title {
        row(line, Some(Tone::Strong));
    }
    for line in &lines {
        row(line, None);
    }
    let _ = writeln!(out, "  └{}┘", "─".repeat(width - 2));
}

/// A line in pieces of at most `width`: a long word is no reason to break a box.
fn chunks(line: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    if chars.is_empty() {
        return vec![String::new()];
    }
    chars.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect()
}

fn expected(out: &mut String, report: &ShowReport, style: &Style) {
    heading(out, style, "Expected");
    if report.findings.is_empty() {
        paragraph(out, style, "No finding of warning or worse in any host.");
    }
    for host in &report.topology {
        let of: Vec<String> = report
            .findings
            .iter()
            .filter(|it| it.host == host.name)
            .map(|it| format!("{} {}", it.code, it.name))
            .collect();
        if !of.is_empty() {
            item(out, style, "- ", &format!("{}: {}", host.name, of.join(", ")));
        }
    }
    for condition in &report.measured {
        item(out, style, "- ", condition);
    }
}

fn limits(out: &mut String, report: &ShowReport, style: &Style) {
    let entry = &report.entry;
    heading(out, style, "Limits");
    let alone = if report.busy { "; it keeps the processors busy, and runs alone" } else { "" };
    let text = format!(
        "At most {} sockets at a time and about {} s{alone}.",
        thousands(entry.sockets),
        entry.seconds
    );
    paragraph(out, style, &text);
    if !entry.needs.is_empty() {
        let missing = if entry.missing.is_empty() {
            String::new()
        } else {
            format!(" Not installed here: {}.", entry.missing.join(", "))
        };
        paragraph(out, style, &format!("Needs {}.{missing}", entry.needs.join(", ")));
    }
    if !report.machine_settings.is_empty() {
        let settings: Vec<String> =
            report.machine_settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let text = format!(
            "It sets what is the whole machine's: {}. It runs only with --in-disposable-vm.",
            settings.join(", ")
        );
        paragraph(out, style, &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_do_not_break_the_box() {
        assert_eq!(chunks("abcdef", 4), ["abcd", "ef"]);
        assert_eq!(chunks("", 4), [""]);
    }
}
