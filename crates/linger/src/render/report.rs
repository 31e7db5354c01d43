//! The text report: verdict, states, findings, headroom, what was ruled out, what is not known.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, duration, figure, percent, wrap};
use crate::diagnose::total;
use linger_model::State;
use linger_model::report::{
    Applicability, Confidence, Finding, Headroom, ImportSkipped, Imported, ImportedPiece, RemedyKind, Report,
    Severity, Verdict,
};
use linger_rules::{counted, thousands};
use std::fmt::Write;

/// What to show.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Also what was ruled out and what is not known, a line each.
    pub verbose: bool,
    /// One of several reports: a healthy one is a line.
    pub one_of_several: bool,
    /// Below how many sockets of a state a host is normal.
    pub normal: &'a dyn Fn(State) -> Option<u64>,
}

/// The report as text.
pub fn text(report: &Report, style: &Style, options: &Options<'_>) -> String {
    let mut out = String::new();
    verdict(&mut out, report, style, options);
    let calm = report.findings.iter().all(|f| f.severity == Severity::Info);
    if options.one_of_several && calm && !options.verbose && report.verdict == Verdict::Ok {
        return out;
    }
    out.push('\n');
    out.push_str(&states(report, style, options));
    findings(&mut out, report, style);
    headroom(&mut out, report, style, calm && !options.verbose);
    imported(&mut out, report, style, options);
    rest(&mut out, report, style, options);
    out
}

/// The verdict's word, and what was found, counted.
pub fn headline(report: &Report) -> (&'static str, String) {
    let word = match report.verdict {
        Verdict::Ok => "OK",
        Verdict::Warning => "WARNING",
        Verdict::Critical => "CRITICAL",
        Verdict::Unknown => "UNKNOWN",
    };
    if report.verdict == Verdict::Unknown {
        let why = match &report.imported {
            Some(imported) if imported.is_used() => {
                "nothing wrong found, and what was imported leaves much open"
            }
            Some(_) => "nothing in it can be used",
            None => "sockets, counters or a rule asked for could not be read",
        };
        return (word, why.to_owned());
    }
    let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count() as u64;
    let mut parts = Vec::new();
    for (severity, word) in
        [(Severity::Critical, "critical finding"), (Severity::Warning, "warning"), (Severity::Info, "note")]
    {
        if count(severity) > 0 {
            parts.push(counted(count(severity), word));
        }
    }
    if parts.is_empty() {
        parts.push("nothing wrong found".to_owned());
    }
    (word, parts.join(", "))
}

fn verdict(out: &mut String, report: &Report, style: &Style, options: &Options<'_>) {
    let (word, said) = headline(report);
    let tone = match report.verdict {
        Verdict::Ok => Tone::Good,
        Verdict::Warning | Verdict::Unknown => Tone::Warn,
        Verdict::Critical => Tone::Bad,
    };
    let mut pieces = vec![said];
    pieces.extend(report.states.is_some().then(|| counted(total(report), "TCP socket")));
    if let Some(imported) = &report.imported {
        pieces.push(format!("from {}", imported.from));
    } else if options.one_of_several || report.netns.name.is_some() {
        pieces.push(report.netns.name.clone().unwrap_or_else(|| format!("net:[{}]", report.netns.inode)));
    }
    pieces.push(if report.imported.is_some() && report.kernel == "unknown" {
        "kernel not known".to_owned()
    } else {
        format!("kernel {}", report.kernel)
    });
    pieces.push(if report.interval_s > 0.0 {
        format!("{} window", super::duration_exact(report.interval_s))
    } else if report.imported.is_some() {
        "one moment, so no rates".to_owned()
    } else {
        "one sample, so no rates (--samples 2)".to_owned()
    });
    // A line breaks between the pieces, never within one.
    let line = clean(&pieces.join(" · ")).replace(' ', "\u{1}").replace("\u{1}·\u{1}", " · ");
    let line = wrap(&line, style.prose(), word.len() + 2, word.len() + 2).replace('\u{1}', " ");
    let _ = writeln!(out, "{}  {line}", style.paint(tone, word));
    let missing = report.imported.as_ref().map_or(&[][..], |imported| &imported.missing);
    if !missing.is_empty() {
        // A command stays on one line.
        let commands: Vec<String> = missing.iter().map(|c| format!("`{c}`").replace(' ', "\u{1}")).collect();
        let line = format!("To answer more, add the output of {}.", commands.join(", "));
        let _ = writeln!(out, "{}", wrap(&line, style.prose(), 0, 0).replace('\u{1}', " "));
    }
}

/// The table of states; those without sockets in a line.
fn states(report: &Report, style: &Style, options: &Options<'_>) -> String {
    let Some(states) = &report.states else {
        return "  The sockets could not be read.\n".to_owned();
    };
    let total = states.total().max(1) as f64;
    let mut table = Table::new(vec![
        Column::left("STATE"),
        Column::right("COUNT"),
        Column::right("SHARE"),
        Column::left("NORMAL"),
        Column::left(""),
    ]);
    let mut order: Vec<State> = State::ALL.into_iter().filter(|s| states.count(*s) > 0).collect();
    order.sort_by_key(|s| std::cmp::Reverse(states.count(*s)));
    for state in order {
        let n = states.count(state);
        let normal = (options.normal)(state);
        let high = normal.is_some_and(|limit| n >= limit);
        table.row(vec![
            state.display().into(),
            thousands(n).into(),
            percent(n as f64 / total).into(),
            normal.map_or_else(|| "by load".to_owned(), |limit| format!("< {}", thousands(limit))).into(),
            if high { Cell::toned("high", Tone::Warn) } else { "".into() },
        ]);
    }
    let mut out = if table.is_empty() { "  No TCP sockets.\n".to_owned() } else { table.render(style) };
    if let Some(line) = not_listed(report) {
        for line in wrap(&line, style.prose(), 2, 2).lines() {
            let _ = writeln!(out, "  {}", style.paint(Tone::Faint, line.trim_start()));
        }
    }
    out
}

/// The states that nothing is known of.
pub fn not_listed(report: &Report) -> Option<String> {
    let states = report.states.as_ref()?;
    let unlisted: Vec<_> =
        State::ALL.into_iter().filter(|s| states.get(*s).is_none()).map(State::display).collect();
    let by = if report.imported.is_some() { "what was imported" } else { "this kernel" };
    (!unlisted.is_empty()).then(|| format!("not listed by {by}: {}", unlisted.join(", ")))
}

fn findings(out: &mut String, report: &Report, style: &Style) {
    // Advice that an earlier finding gave already is not given again.
    let mut given: Vec<(&str, &str)> = Vec::new();
    for finding in &report.findings {
        out.push('\n');
        one_finding(out, finding, style, &given);
        given.extend(finding.remedies.iter().map(|r| (r.text.as_str(), finding.code.as_str())));
    }
}

fn one_finding(out: &mut String, finding: &Finding, style: &Style, given: &[(&str, &str)]) {
    let (word, tone) = match finding.severity {
        Severity::Critical => ("CRITICAL", Tone::Bad),
        Severity::Warning => ("WARNING", Tone::Warn),
        Severity::Info => ("NOTE", Tone::Note),
    };
    let sure = match finding.confidence {
        Confidence::High => "",
        Confidence::Medium => " (likely)",
        Confidence::Low => " (perhaps)",
    };
    let _ = writeln!(
        out,
        "{} {}{}",
        style.paint(tone, word),
        style.paint(Tone::Strong, &format!("{} {}", finding.code, finding.name)),
        style.paint(Tone::Faint, sure)
    );
    let width = style.prose();
    let mut line = |label: &str, text: &str| {
        let _ = writeln!(
            out,
            "  {}{}",
            style.paint(Tone::Faint, &format!("{label:<9}")),
            wrap(&clean(text), width, 11, 11)
        );
    };
    line("what", &finding.summary);
    line("who", &finding.subject);
    for (i, evidence) in finding.evidence.iter().enumerate() {
        let text =
            format!("{}: {}  [{}]", evidence.what, figure(evidence.value, &evidence.unit), evidence.source);
        line(if i == 0 { "evidence" } else { "" }, &text);
    }
    if !finding.why.is_empty() {
        line("why", &finding.why);
    }
    let mut last = None;
    let mut referred: Vec<(RemedyKind, &str)> = Vec::new();
    for remedy in &finding.remedies {
        let before = given.iter().find(|(text, _)| *text == remedy.text).map(|(_, code)| *code);
        if before.is_some_and(|code| referred.contains(&(remedy.kind, code))) {
            continue;
        }
        let kind = match remedy.kind {
            RemedyKind::Application => "app",
            RemedyKind::Architecture => "design",
            RemedyKind::Kernel => "kernel",
        };
        let label = if last == Some(remedy.kind) { "" } else { kind };
        last = Some(remedy.kind);
        let mut text = String::from("- ");
        if let Some(code) = before {
            let _ = write!(text, "as under {code}");
            referred.push((remedy.kind, code));
        } else {
            if let Some(sysctl) = &remedy.sysctl {
                let _ = write!(text, "{sysctl}: ");
            }
            text.push_str(&remedy.text);
            match remedy.applicability {
                Applicability::Safe => text.push_str(" (safe to try)"),
                Applicability::Unsafe => text.push_str(" (has a price)"),
                Applicability::Advice => {}
            }
        }
        let _ = writeln!(
            out,
            "  {}{}",
            style.paint(Tone::Good, &format!("{label:<9}")),
            wrap(&clean(&text), width, 13, 11)
        );
    }
}

/// Fullest first. On a calm host the few that say most.
fn headroom(out: &mut String, report: &Report, style: &Style, short: bool) {
    let most = if short { 4 } else { 8 };
    let rows: Vec<&Headroom> = report.headroom.iter().filter(|r| r.used > 0).take(most).collect();
    if rows.is_empty() {
        return;
    }
    let mut table = Table::new(vec![
        Column::left("HEADROOM"),
        Column::left("OF").shrinking(),
        Column::right("USED"),
        Column::right("LIMIT"),
        Column::right("FULL"),
        Column::left("FULL IN"),
    ]);
    for row in rows {
        let tone = match row.fraction {
            f if f >= 0.95 => Some(Tone::Bad),
            f if f >= 0.8 => Some(Tone::Warn),
            _ => None,
        };
        let full = percent(row.fraction);
        // From one second's growth nothing can be said of next week.
        let soon = row.time_to_exhaustion_s.filter(|s| *s < 3600.0 || row.fraction >= 0.5);
        table.row(vec![
            row.resource.as_str().into(),
            clean(&row.subject).into(),
            thousands(row.used).into(),
            thousands(row.limit).into(),
            tone.map_or_else(|| full.clone().into(), |tone| Cell::toned(full.clone(), tone)),
            soon.map_or_else(String::new, duration).into(),
        ]);
    }
    out.push('\n');
    out.push_str(&table.render(style));
}

/// What was understood of an import, and what was not.
fn imported(out: &mut String, report: &Report, style: &Style, options: &Options<'_>) {
    const SHOWN: usize = 12;
    let Some(imported) = &report.imported else { return };
    let most = if options.verbose { usize::MAX } else { SHOWN };
    let width = style.prose();
    let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, "Imported"));
    let mut line = |text: &str| {
        let _ = writeln!(out, "  {}", wrap(&clean(text), width, 4, 2));
    };
    for piece in imported.pieces.iter().take(most) {
        line(&understood_line(imported, piece));
    }
    if imported.pieces.len() > most {
        line(&format!("and {} more (-v lists them)", imported.pieces.len() - most));
    }
    if imported.pieces.is_empty() {
        line("nothing that is known: give the output of `ss -tanpoemi`, `nstat -az` and `sysctl -a`");
    }
    for skipped in imported.skipped.iter().take(most) {
        line(&skipped_line(imported, skipped));
    }
    if imported.skipped.len() > most {
        line(&format!("and {} more kinds of lines (-v lists them)", imported.skipped.len() - most));
    }
}

/// Whether pieces are told by their file.
fn several(imported: &Imported) -> bool {
    imported.pieces.iter().any(|p| p.file != imported.from && p.file != "-")
}

/// A piece that was understood, in a line.
pub fn understood_line(imported: &Imported, piece: &ImportedPiece) -> String {
    let file = several(imported).then(|| piece.file.clone());
    let lines = match piece.last_line {
        0 => None,
        last if last == piece.first_line => Some(format!("line {last}")),
        last => Some(format!("lines {} to {last}", piece.first_line)),
    };
    let sockets = (piece.sockets > 0).then(|| counted(piece.sockets, "TCP socket"));
    let place: Vec<String> = [file, lines, sockets].into_iter().flatten().collect();
    let unused = match piece.unused.as_str() {
        "" => String::new(),
        why => format!("; not used: {why}"),
    };
    match place.is_empty() {
        true => format!("{}{unused}", piece.what),
        false => format!("{} ({}){unused}", piece.what, place.join(", ")),
    }
}

/// Lines that were not understood, in a line.
pub fn skipped_line(imported: &Imported, skipped: &ImportSkipped) -> String {
    let file = if several(imported) { format!("{}, ", skipped.file) } else { String::new() };
    let what = match (skipped.lines, skipped.line) {
        (0, _) => format!("left out: {}", skipped.file),
        (1, at) => format!("skipped: {file}line {at}, `{}`", skipped.text),
        (n, 0) => format!("skipped: {}", counted(n, "line")),
        (n, at) => {
            format!("skipped: {}, the first {file}line {at}, `{}`", counted(n, "line"), skipped.text)
        }
    };
    format!("{what}: {}", skipped.reason)
}

fn rest(out: &mut String, report: &Report, style: &Style, options: &Options<'_>) {
    let (ruled_out, not_checked): (Vec<_>, Vec<_>) = report.ruled_out.iter().partition(|r| r.checked);
    let unknown = report.unknown.len() as u64;
    out.push('\n');
    if !options.verbose {
        let mut parts = vec![format!("{} ruled out", counted(ruled_out.len() as u64, "fault"))];
        if !not_checked.is_empty() {
            parts.push(format!("{} not applicable", not_checked.len()));
        }
        if unknown > 0 {
            parts.push(format!("{} could not be read", counted(unknown, "thing")));
        }
        let _ =
            writeln!(out, "{}", style.paint(Tone::Faint, &format!("{} (-v lists them)", parts.join(", "))));
        return;
    }
    let width = style.prose();
    let mut before = "";
    for (title, items) in [("Ruled out", ruled_out), ("Not applicable here, or in this window", not_checked)]
    {
        if items.is_empty() {
            continue;
        }
        let _ = writeln!(out, "{before}{}", style.paint(Tone::Strong, title));
        before = "\n";
        for item in items {
            let name = linger_rules::rule(&item.code).map_or("", |r| r.name);
            let _ = writeln!(
                out,
                "  {:<6} {}",
                item.code,
                wrap(&clean(&format!("{name}: {}", item.why)), width, 9, 9)
            );
        }
    }
    if unknown > 0 {
        let _ = writeln!(out, "{before}{}", style.paint(Tone::Strong, "Not known"));
        for item in &report.unknown {
            let _ = writeln!(out, "  {:<6} {}", item.code, wrap(&clean(&item.gap), width, 9, 9));
        }
    }
}
