//! The history as lines over time.

use super::style::{Style, Tone};
use super::{bytes, clean, duration, figure, wrap};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use linger_model::State;
use linger_rules::counted;
use linger_serve::history::{Answer, Found, NetnsSeries, Series};
use std::fmt::Write;

/// Columns of the figures that stand right of a line: lowest, highest, last.
const FIGURES: usize = 36;
/// Rows of a graph.
const ROWS: usize = 8;
/// Counters that stand in the text; the JSON has all.
const SHOWN: [&str; 13] = [
    "ActiveOpens",
    "PassiveOpens",
    "AttemptFails",
    "EstabResets",
    "RetransSegs",
    "OutRsts",
    "ListenOverflows",
    "ListenDrops",
    "SyncookiesSent",
    "TCPReqQFullDrop",
    "TCPTimeWaitOverflow",
    "conntrack_drop",
    "conntrack_insert_failed",
];

/// Columns of the name that stands left of it.
fn name_width(style: &Style) -> usize {
    (style.width / 4).clamp(16, 40)
}

/// How many columns a line over time has.
pub fn columns(style: &Style) -> usize {
    style.width.saturating_sub(2 + name_width(style) + FIGURES).clamp(10, 120)
}

/// Everything.
pub fn text(answer: &Answer, states: &[State], style: &Style) -> String {
    let mut out = String::new();
    let (from, until) = (micros(&answer.from), micros(&answer.until));
    let head = format!("{} to {}", local(from), local(until));
    let step = format!("a column is {}", span(answer, style));
    let _ = writeln!(out, "{}  {}", style.paint(Tone::Strong, &head), style.paint(Tone::Faint, &step));
    if answer.namespaces.is_empty() {
        let _ = writeln!(out, "\n  Nothing was sampled in this time.");
    }
    for ns in &answer.namespaces {
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, &clean(&ns.netns)));
        match &ns.series[..] {
            [one] if states.len() == 1 => graph(&mut out, one, answer, style),
            _ => lines(&mut out, ns, answer, style),
        }
    }
    if answer.namespaces_left_out > 0 {
        let more = counted(answer.namespaces_left_out, "more namespace");
        let _ = writeln!(out, "\n  {more}: --netns NAME shows one.");
    }
    findings(&mut out, answer, style);
    out
}

/// The lines of one namespace alone.
pub fn around(out: &mut String, ns: &NetnsSeries, answer: &Answer, style: &Style) {
    let _ = writeln!(
        out,
        "\n{}",
        style.paint(Tone::Strong, &format!("Around it, a column is {}", span(answer, style)))
    );
    lines(out, ns, answer, style);
}

/// How many a series has.
fn points(answer: &Answer) -> usize {
    answer.namespaces.iter().flat_map(|ns| &ns.series).map(|s| s.points.len()).max().unwrap_or(1).max(1)
}

fn span(answer: &Answer, style: &Style) -> String {
    let (points, columns) = (points(answer), columns(style));
    let seconds = answer.step_s * points as f64 / columns.max(points) as f64;
    duration(seconds.max(0.1))
}

fn lines(out: &mut String, ns: &NetnsSeries, answer: &Answer, style: &Style) {
    let shown = ns.series.iter().filter(|s| s.unit != "/s" || SHOWN.contains(&s.name.as_str()));
    // Around a moment all states are asked for, and most have none.
    let shown: Vec<&Series> =
        shown.filter(|s| s.name != "conntrack_limit" && s.highest.is_some_and(|most| most > 0.0)).collect();
    if shown.is_empty() {
        let _ = writeln!(out, "  Nothing of it, or no sample.");
        return;
    }
    let (columns, left) = (columns(style), name_width(style));
    let heading = format!("{:left$}{:columns$}", "", "");
    let _ = writeln!(
        out,
        "  {}",
        style.paint(Tone::Faint, &format!("{heading}{:>12}{:>12}{:>12}", "LOWEST", "HIGHEST", "LAST"))
    );
    for series in &shown {
        let line = sparkline(&series.points, columns, series.highest.unwrap_or(0.0));
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| amount(v, &series.unit));
        let _ = writeln!(
            out,
            "  {}{}{:>12}{:>12}{:>12}",
            name(series, left),
            style.paint(Tone::Note, &line),
            value(series.lowest),
            value(series.highest),
            value(series.last)
        );
    }
    axis(out, left + 2, columns, answer, style);
}

/// One series, as high as eight rows.
fn graph(out: &mut String, series: &Series, answer: &Answer, style: &Style) {
    const LABEL: usize = 12;
    // As many as it has points, or as there is room for.
    let room = style.width.saturating_sub(LABEL + 4);
    let columns = columns(style).max(room.min(points(answer))).min(room);
    let most = series.highest.unwrap_or(0.0);
    let heights: Vec<Option<usize>> =
        stretched(&series.points, columns).map(|value| value.map(|v| eighths(v, most, ROWS * 8))).collect();
    for row in (0..ROWS).rev() {
        let label = match row {
            row if row + 1 == ROWS && most > 0.0 => amount(most, &series.unit),
            0 => "0".to_owned(),
            row if row * 2 == ROWS && most > 1.0 => amount(most / 2.0, &series.unit),
            _ => String::new(),
        };
        let line: String = heights
            .iter()
            .map(|height| match height.map(|h| h.saturating_sub(row * 8)) {
                None => ' ',
                // What is 0 is not nothing.
                Some(0) if row == 0 => '▁',
                Some(0) => ' ',
                Some(height) => BARS[height.min(8) - 1],
            })
            .collect();
        let _ = writeln!(
            out,
            "  {} {}",
            style.paint(Tone::Faint, &format!("{label:>LABEL$}")),
            style.paint(Tone::Note, &line)
        );
    }
    axis(out, LABEL + 3, columns, answer, style);
    let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| figure(v, &series.unit));
    let _ = writeln!(
        out,
        "  {}: lowest {}, highest {}, last {}",
        name(series, usize::MAX),
        value(series.lowest),
        value(series.highest),
        value(series.last)
    );
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How many of so many parts a value has; 1 at the least, where it is not 0.
fn eighths(value: f64, most: f64, parts: usize) -> usize {
    if value <= 0.0 || most <= 0.0 {
        return 0;
    }
    ((value / most * parts as f64).ceil() as usize).clamp(1, parts)
}

/// A bar for each column: blank where nothing is known, and the lowest for 0.
fn sparkline(points: &[Option<f64>], columns: usize, most: f64) -> String {
    let bar = |value: Option<f64>| value.map_or(' ', |value| BARS[eighths(value, most, 7)]);
    stretched(points, columns).map(bar).collect()
}

/// The points, as many as there are columns; the highest, where several share one.
fn stretched(points: &[Option<f64>], columns: usize) -> impl Iterator<Item = Option<f64>> {
    (0..columns).map(move |column| {
        let (from, to) = (column * points.len() / columns, (column + 1) * points.len() / columns);
        let part = points.get(from..to.max(from + 1)).unwrap_or_default();
        part.iter().flatten().copied().reduce(f64::max)
    })
}

fn axis(out: &mut String, indent: usize, columns: usize, answer: &Answer, style: &Style) {
    let (from, until) = (micros(&answer.from), micros(&answer.until));
    let seconds = (until - from) as f64 / 1e6;
    let format = match seconds {
        s if s > 20.0 * 3600.0 => "%m-%d %H:%M",
        s if s > 1200.0 => "%H:%M",
        _ => "%H:%M:%S",
    };
    let at = |us: i64| zoned(us).strftime(format).to_string();
    let width = at(from).len();
    let marks = if columns > width * 5 { vec![0, 1, 2] } else { vec![0, 2] };
    let mut line = String::new();
    for mark in marks {
        let column = (columns * mark / 2).min(columns);
        let text = at(from + (until - from) / 2 * mark as i64);
        let start = match mark {
            0 => 0,
            1 => column.saturating_sub(width / 2),
            _ => column.saturating_sub(width),
        };
        let pad = start.saturating_sub(line.chars().count());
        let _ = write!(line, "{:pad$}{text}", "");
    }
    let _ = writeln!(out, "{:indent$}{}", "", style.paint(Tone::Faint, &line));
}

fn findings(out: &mut String, answer: &Answer, style: &Style) {
    if answer.namespaces.is_empty() && answer.findings.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, "Findings of that time"));
    if answer.findings.is_empty() {
        let _ = writeln!(out, "  none");
    }
    let several = answer.findings.iter().any(|f| f.netns != answer.findings[0].netns);
    for found in &answer.findings {
        let (word, tone) = match found.severity.as_str() {
            "critical" => ("CRITICAL", Tone::Bad),
            "warning" => ("WARNING", Tone::Warn),
            _ => ("NOTE", Tone::Note),
        };
        let netns = if several { format!("{}: ", found.netns) } else { String::new() };
        let _ = writeln!(
            out,
            "  {}{} {}  {}",
            style.paint(tone, word),
            " ".repeat(8usize.saturating_sub(word.len())),
            style.paint(Tone::Strong, &clean(&found.code)),
            style.paint(Tone::Faint, &times(found))
        );
        let words = clean(&format!("{netns}{}", found.summary));
        let _ = writeln!(out, "           {}", wrap(&words, style.prose(), 11, 11));
    }
    if answer.findings_left_out > 0 {
        let _ = writeln!(out, "  and {} before", counted(answer.findings_left_out, "finding"));
    }
}

/// From when to when.
fn times(found: &Found) -> String {
    let (began, last) = (micros(&found.began), micros(&found.last_seen));
    let (from, to) = (zoned(began), zoned(last));
    let from_text = from.strftime("%Y-%m-%d %H:%M:%S");
    if found.open {
        return format!("since {from_text}");
    }
    let to =
        if from.date() == to.date() { to.strftime("%H:%M:%S") } else { to.strftime("%Y-%m-%d %H:%M:%S") };
    let seconds = (last - began) as f64 / 1e6;
    if seconds < 1.0 {
        format!("{from_text}, seen once")
    } else {
        format!("{from_text} to {to}, for {}", duration(seconds))
    }
}

/// As wide as this, where that is a width.
fn name(series: &Series, width: usize) -> String {
    let state = State::ALL.into_iter().find(|state| state.name() == series.name);
    let name =
        state.map_or_else(|| clean(&series.name).replace('_', " "), |state| state.display().to_string());
    if width == usize::MAX {
        return name;
    }
    let short: String = name.chars().take(width.saturating_sub(2)).collect();
    let short = if name.chars().count() + 1 > width { format!("{short}…") } else { name };
    format!("{short:width$}")
}

fn amount(value: f64, unit: &str) -> String {
    match unit {
        "bytes" => bytes(value.max(0.0) as u64),
        "/s" | "fraction" => figure(value, unit),
        _ => figure(value.round(), ""),
    }
}

fn micros(rfc3339: &str) -> i64 {
    rfc3339.parse::<Timestamp>().map_or(0, Timestamp::as_microsecond)
}

fn zoned(us: i64) -> jiff::Zoned {
    Timestamp::from_microsecond(us).unwrap_or_default().to_zoned(TimeZone::system())
}

/// As a clock on the wall has it.
pub fn local(us: i64) -> String {
    zoned(us).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_blank_and_nothing_is_the_lowest_bar() {
        assert_eq!(sparkline(&[Some(0.0), None, Some(1.0), Some(8.0)], 4, 8.0), "▁ ▂█");
        assert_eq!(sparkline(&[Some(1.0), None], 4, 1.0), "██  ");
        assert_eq!(sparkline(&[Some(1.0), Some(9.0), None, None], 2, 9.0), "█ ");
        assert_eq!(sparkline(&[], 3, 0.0), "   ");
    }
}
