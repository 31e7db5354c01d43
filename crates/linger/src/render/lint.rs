//! What is wrong with files, for a person: the line, the place in it, and why.

use super::style::{Style, Tone};
use super::{clean, wrap};
use crate::cli::LintArgs;
use crate::cmd::lint::{Lines, LintReport, Source};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use linger_lint::{Diagnostic, Severity};
use std::fmt::Write;
use std::ops::Range;

/// The report as text.
pub fn text(report: &LintReport, sources: &[Source], args: &LintArgs, style: &Style) -> String {
    let renderer = if style.color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(style.prose());
    let mut out = String::new();
    if args.diff {
        for change in report.changes.iter().flatten() {
            out.push_str(&colored(&change.diff, style));
        }
        if report.changes.as_ref().is_some_and(Vec::is_empty) {
            out.push_str("Nothing to mend.\n");
        }
        return out;
    }
    for change in report.changes.iter().flatten() {
        let file = clean(&change.file);
        match (&change.backup, &change.refused) {
            (Some(backup), _) => {
                let _ = writeln!(
                    out,
                    "{}: mended; the old one is {}",
                    style.paint(Tone::Strong, &file),
                    clean(backup)
                );
            }
            (None, why) => {
                let why = why.as_deref().unwrap_or("nothing was written");
                let _ = writeln!(out, "{}: not mended: {why}", style.paint(Tone::Strong, &file));
            }
        }
        for mended in &change.mended {
            let _ = writeln!(out, "  line {}: {} ({})", mended.line, clean(&mended.fix), mended.code);
        }
        out.push('\n');
    }
    let texts = Lines::of_all(sources);
    for diagnostic in &report.diagnostics {
        let line = texts.get(diagnostic.file.as_str()).map_or(&[][..], |lines| lines.line(diagnostic.line));
        out.push_str(&shown(diagnostic, line, &renderer, style.prose()));
        out.push_str("\n\n");
    }
    for gap in &report.gaps {
        let _ = writeln!(out, "not known: {}", clean(gap));
    }
    out.push_str(&summary(report, style));
    out
}

/// One diagnostic with its line.
fn shown(d: &Diagnostic, line: &[u8], renderer: &Renderer, width: usize) -> String {
    let (level, level_name) = match d.severity {
        Severity::Info => (Level::NOTE, "note"),
        Severity::Warning => (Level::WARNING, "warning"),
        Severity::Critical => (Level::ERROR.with_name("critical"), "critical"),
    };
    let (line, span) = line_of(d, line);
    const LONGEST: usize = 400;
    let (mut title, file) = (clean(&d.message), clean(&d.file));
    // A key may be as long as its line.
    if title.chars().count() > LONGEST {
        title = title.chars().take(LONGEST).chain(['…']).collect();
    }
    // Before the title stands `warning[SC001]: `.
    let before = level_name.len() + d.code.len() + 4;
    let title = wrap(&title, width.saturating_sub(before).max(30), 0, 0);
    // Beside the text stand the gutter, with the line's number, and the name of what follows.
    let width = width.saturating_sub(16).max(30);
    let why = wrap(&clean(&d.why), width, 0, 0);
    let snippet = Snippet::source(line)
        .line_start(d.line as usize)
        .path(file)
        .annotation(AnnotationKind::Primary.span(span));
    let mut group: Group<'_> = level.primary_title(title).id(d.code.as_str()).element(snippet);
    group = group.element(Level::NOTE.no_name().message(why));
    if !d.source.is_empty() {
        group =
            group.element(Level::NOTE.with_name("source").message(wrap(&sources(&d.source), width, 0, 0)));
    }
    if let Some(fix) = &d.fix {
        group = group
            .element(Level::HELP.with_name("fix").message(format!("{} (--fix)", clean(&fix.description))));
    }
    renderer.render(&[group])
}

/// The first sources: the others are in the JSON, and in `linger explain`.
fn sources(text: &str) -> String {
    const SHOWN: usize = 2;
    let all: Vec<&str> = text.split("; ").collect();
    let more = if all.len() > SHOWN { "; …" } else { "" };
    clean(&all[..all.len().min(SHOWN)].join("; ")) + more
}

/// A diagnostic's line without what a terminal would obey, and the place in it; a long line is cut around the place.
fn line_of(d: &Diagnostic, line: &[u8]) -> (String, Range<usize>) {
    const MOST: usize = 300;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let column = |column: u32| (column.saturating_sub(1) as usize).min(line.len());
    let (start, end) = (column(d.column), column(d.end_column).max(column(d.column)));
    let part = |range: Range<usize>| clean(&String::from_utf8_lossy(&line[range]).replace('\t', " "));
    let (mut before, mut marked, mut after) = (part(0..start), part(start..end), part(end..line.len()));
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    if before.chars().count() > MOST {
        let from = before.chars().count() - MOST / 4;
        before = format!("…{}", before.chars().skip(from).collect::<String>());
    }
    if marked.chars().count() > MOST {
        marked = format!("{}…", cut(&marked, MOST));
        after.clear();
    }
    if after.chars().count() > MOST {
        after = format!("{}…", cut(&after, MOST / 4));
    }
    let span = before.len()..before.len() + marked.len();
    (format!("{before}{marked}{after}"), span)
}

/// `2 warnings and 3 notes in 1 file, for Linux 6.18 with 64 GiB of memory.`
fn summary(report: &LintReport, style: &Style) -> String {
    let count = |severity: Severity| report.diagnostics.iter().filter(|d| d.severity == severity).count();
    let plural = |n: usize, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let (critical, warnings, notes) =
        (count(Severity::Critical), count(Severity::Warning), count(Severity::Info));
    let mut found = Vec::new();
    if critical > 0 {
        found.push(style.paint(Tone::Bad, &format!("{critical} critical")));
    }
    if warnings > 0 {
        found.push(style.paint(Tone::Warn, &plural(warnings, "warning")));
    }
    if notes > 0 {
        found.push(plural(notes, "note"));
    }
    let found = match found.split_last() {
        // Unknown is not healthy.
        None if !report.gaps.is_empty() => "Nothing wrong in what could be read".to_owned(),
        None => style.paint(Tone::Good, "Nothing wrong"),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    };
    let read = report.files.iter().filter(|file| file.masked_by.is_none()).count();
    let mut text = format!("{found} in {}", plural(read, "file"));
    if let Some(kernel) = &report.kernel {
        let _ = write!(text, ", for Linux {kernel}");
        if let Some(bytes) = report.ram_bytes {
            let _ = write!(text, " with {} of memory", memory(bytes));
        }
        if let Some(role) = &report.role {
            let _ = write!(text, ", a {role}");
        }
    }
    text.push_str(".\n");
    if report.kernel.is_some() && report.ram_bytes.is_none() {
        text.push_str("What depends on the memory was left out (--ram).\n");
    }
    if report.changes.is_none() && report.diagnostics.iter().any(|d| d.fix.is_some()) {
        text.push_str("Some can be mended: --diff shows how.\n");
    }
    text
}

/// `64 GiB`, `23.5 GiB`, `512 MiB`.
fn memory(bytes: u64) -> String {
    let (unit, name) = if bytes < 1 << 30 { (1_u64 << 20, "MiB") } else { (1 << 30, "GiB") };
    match bytes.is_multiple_of(unit) {
        true => format!("{} {name}", bytes / unit),
        false => format!("{:.1} {name}", bytes as f64 / unit as f64),
    }
}

/// A diff in colour.
fn colored(diff: &str, style: &Style) -> String {
    let mut out = String::new();
    for line in diff.lines() {
        let line = clean(line);
        let tone = match line.as_bytes().first() {
            Some(b'+') => Tone::Good,
            Some(b'-') => Tone::Bad,
            Some(b'@') => Tone::Faint,
            _ => {
                out.push_str(&line);
                out.push('\n');
                continue;
            }
        };
        out.push_str(&style.paint(tone, &line));
        out.push('\n');
    }
    out
}
