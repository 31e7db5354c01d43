//! What `linger lab myths` shows.

use super::style::{Style, Tone};
use super::{clean, wrap};
use crate::cmd::lab::myths::MythsReport;
use linger_lab::myths::Verdict;
use std::fmt::Write;

/// Claim, measured, verdict; with `verbose` also why, and where the belief is read.
pub fn text(report: &MythsReport, style: &Style, verbose: bool) -> String {
    let mut out = String::new();
    let width = style.prose();
    for myth in &report.myths {
        let (word, tone) = word(myth.verdict);
        let _ = writeln!(
            out,
            "{}{}",
            style.paint(tone, &format!("{word:<8}")),
            style.paint(Tone::Strong, &wrap(&clean(myth.claim), width, 8, 8))
        );
        let mut line = |label: &str, text: &str| {
            let _ = writeln!(
                out,
                "        {}{}",
                style.paint(Tone::Faint, &format!("{label:<10}")),
                wrap(&clean(text), width, 18, 18)
            );
        };
        match (&myth.measured, &myth.error) {
            (Some(measured), _) => line("measured", measured),
            (None, Some(error)) => line("not done", error),
            (None, None) => {}
        }
        if verbose {
            line("why", myth.why);
            line("read in", myth.source);
            line("name", &format!("{} ({:.1} s)", myth.name, myth.seconds_taken));
        }
    }
    let count = |verdict: Verdict| report.myths.iter().filter(|it| it.verdict == verdict).count();
    let parts: Vec<String> = [Verdict::Wrong, Verdict::Partly, Verdict::Right, Verdict::Unsure]
        .into_iter()
        .filter(|verdict| count(*verdict) > 0)
        .map(|verdict| format!("{} {}", count(verdict), word(verdict).0.to_lowercase()))
        .collect();
    let more = if verbose { "" } else { " (-v says why)" };
    let last = format!("{} on kernel {}{more}", parts.join(", "), report.kernel);
    let _ = writeln!(out, "\n{}", style.paint(Tone::Faint, &wrap(&clean(&last), width, 0, 0)));
    out
}

fn word(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Wrong => ("WRONG", Tone::Bad),
        Verdict::Right => ("RIGHT", Tone::Good),
        Verdict::Partly => ("PARTLY", Tone::Warn),
        Verdict::Unsure => ("UNSURE", Tone::Note),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_lab::myths::{MythResult, all};

    #[test]
    fn myths_are_shown_as_they_were_reviewed() {
        let result = |nth: usize, verdict, measured: Option<&str>| {
            let myth = &all()[nth];
            MythResult {
                name: "a-name",
                claim: "A claim that is long enough to be wrapped at a width of eighty columns, as many are.",
                measured: measured.map(str::to_owned),
                verdict,
                why: "Because the kernel does it so, in a function.",
                source: "an article",
                seconds_taken: 1.25,
                error: measured.is_none().then(|| format!("nft is not installed ({})", myth.needs.len())),
            }
        };
        let report = MythsReport {
            schema: 1,
            kernel: "6.18.44".into(),
            myths: vec![
                result(0, Verdict::Wrong, Some("TIME_WAIT lasted 60.0 s with tcp_fin_timeout=5")),
                result(0, Verdict::Unsure, None),
            ],
        };
        let style = Style { color: false, width: 80, terminal: false };
        insta::assert_snapshot!(
            "lab-myths",
            text(&report, &style, true).replace("(1)", "(…)").replace("(2)", "(…)")
        );
        for width in [60, 80, 160] {
            let text = text(&report, &Style { width, ..style }, false);
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
    }
}
