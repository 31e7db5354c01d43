//! `linger tune rehearse`, for a person.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, wrap};
use crate::cmd::tune::rehearse::shown;
use linger_rules::{counted, thousands};
use linger_tune::Plan;
use linger_tune::plan::Change;
use linger_tune::rehearsed::Verdict;
use std::fmt::Write;

/// What each step did.
pub fn text(plan: &Plan, release: &str, style: &Style) -> String {
    let mut out = String::new();
    if plan.changes.is_empty() {
        out.push_str("The plan changes nothing: there is nothing to rehearse.\n");
        return out;
    }
    let steps = counted(plan.changes.len() as u64, "step");
    let title = style.paint(Tone::Strong, &format!("{steps} rehearsed on kernel {}", clean(release)));
    let _ = writeln!(out, "{title}\n\n{}", table(plan, style));
    for (at, it) in plan.changes.iter().enumerate() {
        step(&mut out, at + 1, it, style);
    }
    let _ = writeln!(out, "\n{}", conclusion(plan, style));
    let how = "A figure counts as moved if it did by more than twice what two runs without any step differ by, by more \
               than a fifth, and by more than a few.";
    if plan.changes.iter().any(|it| it.rehearsed.as_ref().is_some_and(|it| it.measured.is_some())) {
        let _ = writeln!(out, "{}", style.paint(Tone::Faint, &wrap(how, style.prose(), 0, 0)));
    }
    out
}

fn table(plan: &Plan, style: &Style) -> String {
    let mut table = Table::new(vec![
        Column::right("STEP"),
        Column::left("SETTING").shrinking(),
        Column::left("FIGURE").expendable(2),
        Column::left("BEFORE → AFTER"),
        Column::left("FAILED").expendable(1),
        Column::left("VERDICT"),
    ]);
    for (at, it) in plan.changes.iter().enumerate() {
        let short = it.key.rsplit('.').next().unwrap_or(&it.key);
        let rehearsed = it.rehearsed.as_ref();
        let measured = rehearsed.and_then(|it| it.measured.as_ref());
        let figure = measured.and_then(|it| it.metric);
        let failed = measured.map(|it| it.failed);
        let (word, tone) = word(rehearsed.map_or(Verdict::NotRehearsed, |it| it.verdict));
        let arrow = |before: String, after: String| format!("{before} → {after}");
        table.row(vec![
            (at + 1).to_string().into(),
            clean(&format!("{short}={}", it.to)).into(),
            clean(&it.metric.name).into(),
            figure.map_or_else(|| "-".into(), |of| arrow(shown(it, of.before), shown(it, of.after))).into(),
            failed
                .map_or_else(
                    || "-".into(),
                    |of| arrow(thousands(of.before as u64), thousands(of.after as u64)),
                )
                .into(),
            Cell::toned(word, tone),
        ]);
    }
    table.render(style)
}

fn step(out: &mut String, number: usize, it: &Change, style: &Style) {
    let title = clean(&format!("{}: {} → {}", it.key, it.from, it.to));
    let _ = writeln!(out, "{number:>3}. {}", style.paint(Tone::Strong, &title));
    let Some(rehearsed) = &it.rehearsed else { return };
    let place = match &rehearsed.measured {
        Some(it) => format!("In {}, {}: ", it.scenario, it.host),
        None => String::new(),
    };
    let note = clean(&format!("{place}{}", rehearsed.note));
    let _ = writeln!(out, "     {}", wrap(&note, style.prose(), 5, 5));
}

fn conclusion(plan: &Plan, style: &Style) -> String {
    let of = |verdict: Verdict| {
        let is = |it: &&Change| it.rehearsed.as_ref().is_some_and(|it| it.verdict == verdict);
        plan.changes.iter().filter(is).count() as u64
    };
    let (worse, none, not) = (of(Verdict::Worse), of(Verdict::NoEffect), of(Verdict::NotRehearsed));
    let (tone, text) = if worse > 0 {
        let which = if worse == 1 { "A step makes" } else { "Steps make" };
        (Tone::Bad, format!("{which} it worse: `linger tune apply` refuses the plan without --accept-risk."))
    } else if none > 0 {
        let which = if none == 1 { "A step has" } else { "Steps have" };
        (
            Tone::Warn,
            format!("{which} no effect in the lab: take it out of the plan, or say why it should stay."),
        )
    } else if not == plan.changes.len() as u64 {
        (Tone::Warn, "No step could be rehearsed.".to_owned())
    } else if not > 0 {
        (Tone::Good, "Every step that could be rehearsed does what it is for.".to_owned())
    } else {
        (Tone::Good, "Every step does what it is for.".to_owned())
    };
    style.paint(tone, &wrap(&text, style.prose(), 0, 0))
}

/// A verdict in a word.
fn word(verdict: Verdict) -> (&'static str, Tone) {
    match verdict {
        Verdict::Cures => ("CURES", Tone::Good),
        Verdict::Helps => ("HELPS", Tone::Good),
        Verdict::NoEffect => ("NO EFFECT", Tone::Warn),
        Verdict::Worse => ("WORSE", Tone::Bad),
        Verdict::NotRehearsed => ("not rehearsed", Tone::Faint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::tune::rehearse::tests::{change, plan, rehearsed};
    use linger_tune::rehearsed::Rehearsed;

    #[test]
    fn a_rehearsal_is_shown_as_it_was_reviewed() {
        let mut steps = vec![
            change("TW001", "net.ipv4.tcp_tw_reuse", "2", "1"),
            change("TW001", "net.ipv4.tcp_fin_timeout", "60", "30"),
            change("NQ001", "net.core.netdev_max_backlog", "1000", "4000"),
        ];
        steps[0].rehearsed = Some(rehearsed(Verdict::Cures, "TW001: critical without it, gone with it."));
        steps[1].rehearsed = Some(rehearsed(Verdict::NoEffect, "Nothing moved beyond the noise.\u{1b}[31m"));
        let note = "It is the whole host's; a lab sets only what every network namespace has for itself.";
        let none = Rehearsed { verdict: Verdict::NotRehearsed, note: note.into(), measured: None };
        steps[2].rehearsed = Some(none);
        let plan = plan(steps);
        let style = Style { color: false, width: 80, terminal: false };
        insta::assert_snapshot!("rehearse", text(&plan, "6.18.44", &style));
        for width in [60, 80, 160] {
            let text = text(&plan, "6.18.44", &Style { width, ..style });
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
        }
    }

    #[test]
    fn the_conclusion_is_the_worst_step() {
        let concludes = |verdicts: &[Verdict]| {
            let keys = ["net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_fin_timeout"];
            let step = |(key, verdict): (&&str, &Verdict)| {
                let mut step = change("TW001", key, "2", "1");
                step.rehearsed = Some(rehearsed(*verdict, ""));
                step
            };
            let plan = plan(keys.iter().zip(verdicts).map(step).collect());
            conclusion(&plan, &Style { color: false, width: 200, terminal: false })
        };
        use Verdict::{Cures, Helps, NoEffect, NotRehearsed, Worse};
        assert_eq!(concludes(&[Cures, Helps]), "Every step does what it is for.");
        assert!(concludes(&[Cures, NotRehearsed]).starts_with("Every step that could be rehearsed"));
        assert!(concludes(&[NotRehearsed, NotRehearsed]).starts_with("No step could"));
        assert!(concludes(&[Cures, NoEffect]).starts_with("A step has no effect"));
        assert!(concludes(&[NoEffect, NoEffect]).starts_with("Steps have no effect"));
        assert!(concludes(&[NoEffect, Worse]).contains("--accept-risk"));
    }
}
