//! Showing things to a person.

pub mod diff;
pub mod explain;
pub mod history;
pub mod lab;
pub mod lab_compare;
pub mod lab_myths;
pub mod lab_show;
pub mod lint;
pub mod listeners;
pub mod mitigate;
pub mod page;
pub mod ports;
pub mod rehearse;
pub mod report;
pub mod states;
pub mod style;
pub mod table;
pub mod trace;
pub mod trace_drops;
pub mod trace_handshakes;
pub mod trace_status;
pub mod tune;

use std::fmt::Write;

/// Seconds as a person says them: `0.4 s`, `35 s`, `4 min`, `2.5 h`, `3 d`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.05 => "now".to_owned(),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// Seconds with one decimal: a window's length is a fact, not an estimate.
pub fn duration_exact(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

/// `340 KiB`, `1.2 MiB`.
pub fn bytes(n: u64) -> String {
    match n {
        n if n < 1 << 10 => format!("{n} bytes"),
        n if n < 1 << 20 => format!("{} KiB", n >> 10),
        n => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
    }
}

pub use linger_rules::ports::percent;

/// A figure of evidence: whole numbers with thousands, others with what matters.
pub fn figure(value: f64, unit: &str) -> String {
    let number = if unit == "fraction" {
        return percent(value);
    } else if value.fract().abs() < 1e-9 && value.abs() < 1e15 {
        let whole = linger_rules::thousands(value.abs() as u64);
        if value < 0.0 { format!("-{whole}") } else { whole }
    } else if value.abs() >= 100.0 {
        linger_rules::thousands(value.round() as u64)
    } else {
        format!("{value:.1}")
    };
    match unit {
        "" => number,
        "/s" => format!("{number}/s"),
        unit if value == 1.0 => format!("{number} {}", singular(unit)),
        unit => format!("{number} {unit}"),
    }
}

/// `1 socket`; units that are no plural of an English word stay as they are.
fn singular(unit: &str) -> &str {
    match unit {
        "ms" | "s" => unit,
        _ => unit
            .strip_suffix("es")
            .filter(|u| u.ends_with("ss"))
            .or_else(|| unit.strip_suffix('s'))
            .unwrap_or(unit),
    }
}

/// Words in lines of at most `width` columns, each begun by `indent` spaces but for the first, which the caller began
/// with `used` columns.
pub fn wrap(text: &str, width: usize, indent: usize, used: usize) -> String {
    let mut out = String::new();
    let mut column = used;
    let mut first = true;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !first && column + 1 + length > width && column > indent {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if !first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        first = false;
    }
    out
}

/// Foreign text without what a terminal would obey.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || hidden(c) { '\u{fffd}' } else { c }).collect()
}

/// Characters that nobody sees, and those that turn the direction of writing.
fn hidden(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(duration(0.0), "now");
        assert_eq!(
            (duration(35.2), duration(600.0), duration(1e6)),
            ("35 s".into(), "10 min".into(), "12 d".into())
        );
        assert_eq!(
            (percent(0.99999), percent(0.0001), percent(1.0)),
            ("99.9 %".into(), "<0.1 %".into(), "100 %".into())
        );
        assert_eq!(figure(1234567.0, "sockets"), "1,234,567 sockets");
        assert_eq!((figure(1.0, "sockets"), figure(1.0, "ms")), ("1 socket".into(), "1 ms".into()));
        assert_eq!(
            (figure(1.0, "addresses"), figure(1.0, "processes")),
            ("1 address".into(), "1 process".into())
        );
        assert_eq!((figure(12.34, "/s"), figure(0.25, "fraction")), ("12.3/s".into(), "25.0 %".into()));
    }

    #[test]
    fn words_are_wrapped_at_the_width() {
        assert_eq!(wrap("aaa bbb ccc", 7, 2, 0), "aaa bbb\n  ccc");
        assert_eq!(wrap("aaaaaaaaaa b", 5, 0, 0), "aaaaaaaaaa\nb");
        assert_eq!(clean("a\x1b[31mb"), "a\u{fffd}[31mb");
        // What turns the direction or is not seen goes; quotes, dashes and ellipses stay.
        assert_eq!(clean("\u{202e}a\u{2066}b\u{200b}\u{feff}"), "\u{fffd}a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(clean("half\u{2011}open “x” – …"), "half\u{2011}open “x” – …");
    }
}
