//! `linger tune`, for a person.

use super::style::{Style, Tone};
use super::table::{Cell, Column, Table};
use super::{clean, duration, wrap};
use crate::cmd::tune::apply::ApplyReport;
use crate::cmd::tune::log::{KeptReport, RunState, RunsReport};
use crate::cmd::tune::undo::UndoneReport;
use linger_model::report::RemedyKind;
use linger_tune::plan::{Change, ChangeScope, Direction, MetricKind, Plan, RiskLevel};
use linger_tune::{Ended, Options, PERSIST_FILE, Progress, Run, StepOutcome, StepState, Undo};
use std::fmt::Write;
use std::path::Path;

/// A paragraph with a label in front; a line too long goes on below its beginning.
fn item(out: &mut String, label: &str, text: &str, style: &Style) {
    let indent = label.chars().count();
    let _ = writeln!(out, "{label}{}", wrap(&clean(text), style.prose(), indent, indent));
}

/// The plan.
pub fn plan(plan: &Plan, style: &Style) -> String {
    let mut out = String::new();
    let heading = |out: &mut String, text: &str| {
        let _ = writeln!(out, "\n{}", style.paint(Tone::Strong, text));
    };
    let what = match plan.changes.len() {
        0 => "No kernel setting needs to change.".to_owned(),
        1 => "One kernel setting to change.".to_owned(),
        n => format!("{n} kernel settings to change, one at a time."),
    };
    let is_found = plan.advice.iter().any(|it| !it.code.is_empty());
    let first = match &plan.role {
        _ if is_found => "First what a person should do:".to_owned(),
        Some(role) if !plan.advice.is_empty() => {
            format!("What was found calls for nothing else. How a {role} stays well:")
        }
        _ => String::new(),
    };
    let _ = writeln!(out, "{}", style.paint(Tone::Strong, &what));
    if !first.is_empty() {
        let _ = writeln!(out, "{}", wrap(&clean(&first), style.prose(), 0, 0));
    }
    let mut number = 0;
    for (kind, title) in [
        (RemedyKind::Application, "In the application"),
        (RemedyKind::Architecture, "In the architecture"),
        (RemedyKind::Kernel, "In the kernel, by hand"),
    ] {
        let mut advice = plan.advice.iter().filter(|it| it.kind == kind).peekable();
        if advice.peek().is_some() {
            heading(&mut out, title);
        }
        for it in advice {
            number += 1;
            let who = match it.code.as_str() {
                "" if is_found => format!(" (as a {})", it.subject),
                "" => String::new(),
                code => format!(" ({code}, {})", it.subject),
            };
            item(&mut out, &format!("{number:>3}. "), &format!("{}{who}", it.text), style);
        }
    }
    if !plan.changes.is_empty() {
        heading(&mut out, "Changes");
    }
    for (at, it) in plan.changes.iter().enumerate() {
        let same =
            plan.changes[..at].iter().position(|other| (&other.code, &other.why) == (&it.code, &it.why));
        change(&mut out, at + 1, it, same, style);
    }
    if !plan.changes.is_empty() {
        let how = "To make them: the same command with --format json > plan.json, then \
                   `linger tune apply plan.json`, which watches each and takes back what does harm.";
        let _ = writeln!(out, "\n{}", wrap(how, style.prose(), 0, 0));
    }
    if !plan.left_alone.is_empty() {
        heading(&mut out, "Left alone");
        for it in &plan.left_alone {
            item(&mut out, "  ", &format!("{}: {}", it.sysctl, it.why), style);
        }
    }
    if !plan.right.is_empty() {
        heading(&mut out, "Already right");
        for it in &plan.right {
            item(&mut out, "  ", &format!("{} = {}, {}", it.key, it.value, it.why), style);
        }
    }
    out
}

/// A change; `same` is the one before it that has the same reason.
fn change(out: &mut String, number: usize, it: &Change, same: Option<usize>, style: &Style) {
    let title = clean(&format!("{}: {} → {}", it.key, it.from, it.to));
    let _ = writeln!(out, "{number:>3}. {}", style.paint(Tone::Strong, &title));
    let why = match same {
        Some(at) => format!("{}, as step {}", it.code, at + 1),
        None => format!("{}: {}", it.code, it.why),
    };
    item(out, "     why     ", &why, style);
    item(out, "     effect  ", &it.effect, style);
    let what = match it.metric.kind {
        MetricKind::Counter => it.metric.name.clone(),
        MetricKind::Headroom => format!("the use of {}", it.metric.name),
        MetricKind::State => format!("the number of sockets in {}", it.metric.name),
    };
    let way = match it.metric.direction {
        Direction::Rises => "rises",
        Direction::Falls => "falls",
    };
    item(out, "     watch   ", &format!("{what} {way} within {}", duration(it.metric.within_s)), style);
    let level = match it.risk.level {
        RiskLevel::Safe => "safe",
        RiskLevel::Unsafe => "has a price (apply needs --accept-risk)",
    };
    item(out, "     risk    ", &format!("{level}: {}", it.risk.text), style);
    let scope = match it.scope {
        ChangeScope::Namespace => "this network namespace alone",
        ChangeScope::Host => "the whole host, every container included",
    };
    item(out, "     scope   ", scope, style);
    item(out, "     undo    ", &it.undo, style);
}

/// The plan as a file for /etc/sysctl.d.
pub fn sysctl_d(plan: &Plan) -> String {
    let mut out =
        format!("# Made by linger tune plan on {}, {}.\n", clean(&plan.kernel), clean(&plan.made_at));
    if plan.changes.is_empty() {
        out.push_str("# No kernel setting needs to change.\n");
    }
    for it in &plan.changes {
        let _ = writeln!(out, "\n# {}: {}", clean(&it.code), clean(&it.why));
        let _ = writeln!(out, "# {}. Was {}.", clean(&it.effect), clean(&it.from));
        let _ = writeln!(out, "{} = {}", clean(&it.key), clean(&it.to));
    }
    out
}

/// What would be done.
pub fn dry_run(plan: &Plan, options: &Options, persist: Option<&Path>) -> String {
    let mut out = String::new();
    for (at, it) in plan.changes.iter().enumerate() {
        let line = format!("{:>3}. {}: {} → {}", at + 1, it.key, it.from, it.to);
        let (before, after) =
            (duration(options.baseline().as_secs_f64()), duration(options.observe.as_secs_f64()));
        let _ = writeln!(out, "{}, watched for {before} before and {after} after", clean(&line));
    }
    if plan.changes.is_empty() {
        out.push_str("The plan changes nothing.\n");
        return out;
    }
    match options.confirm_within {
        Some(time) => {
            let _ =
                writeln!(out, "Then taken back unless confirmed within {}.", duration(time.as_secs_f64()));
        }
        None => out.push_str("Then kept.\n"),
    }
    if let Some(folder) = persist {
        let _ =
            writeln!(out, "What is kept would be set at boot by {}.", clean(&folder.display().to_string()));
    }
    out.push_str("Nothing was changed.\n");
    out
}

/// What would be kept.
pub fn would_confirm(run: &Run) -> String {
    let mut out = format!("Run {} would be confirmed:\n", run.id);
    for step in run.steps.iter().filter(|step| step.state == StepState::Kept) {
        let _ = writeln!(out, "{}", clean(&format!("  {}: {} → {}", step.key.key, step.from, step.to)));
    }
    if let Some(folder) = &run.persist {
        let file = folder.join(PERSIST_FILE);
        let _ = writeln!(out, "They would be set at boot by {}.", clean(&file.display().to_string()));
    }
    out.push_str("Nothing was changed.\n");
    out
}

/// That a plan was made for another place.
pub fn made_elsewhere(plan: &Plan, inode: u64) -> Option<String> {
    (plan.netns.inode != inode).then(|| {
        let name = plan.netns.name.as_ref().map(|it| format!(" ({it})")).unwrap_or_default();
        clean(&format!(
            "the plan was made for namespace net:[{}]{name}, and this is net:[{inode}]; --netns names another",
            plan.netns.inode
        ))
    })
}

/// A question before a step.
pub fn question(number: usize, it: &Change) -> String {
    clean(&format!("Step {number}: {}: {} → {}. Make it? [y/N] ", it.key, it.from, it.to))
}

/// What happens, a line.
pub fn progress(progress: &Progress<'_>) -> String {
    clean(&match progress {
        Progress::Baseline(number, it, time) => {
            format!(
                "step {number}: {}: watching the host for {} before the change",
                it.key,
                duration(time.as_secs_f64())
            )
        }
        Progress::Watching(number, it, time) => {
            format!("step {number}: {} is {}; watching for {}", it.key, it.to, duration(time.as_secs_f64()))
        }
        Progress::Done(it) => format!("step {}: {}: {}: {}", it.number, it.key, word(it.outcome), it.note),
        Progress::RollingBack(why) => format!("{why}: taking everything back"),
    })
}

fn word(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Kept => "kept",
        StepOutcome::Already => "already so",
        StepOutcome::RolledBack => "taken back",
        StepOutcome::Foreign => "left alone",
        StepOutcome::Refused => "refused",
        StepOutcome::Stuck => "NOT taken back",
        StepOutcome::NotMade => "not made",
    }
}

/// That somebody must confirm.
pub fn awaiting(run: u64, seconds: f64, state_dir: &Path) -> String {
    let folder = if state_dir == Path::new(linger_tune::journal::STATE_DIR) {
        String::new()
    } else {
        format!(" --state-dir {}", state_dir.display())
    };
    clean(&format!(
        "Run {run} is taken back unless confirmed within {}: in another terminal, linger tune confirm{folder}",
        duration(seconds)
    ))
}

/// What came of a plan.
pub fn applied(report: &ApplyReport, style: &Style) -> String {
    let it = &report.applied;
    let has = |outcome| it.steps.iter().any(|step| step.outcome == outcome);
    let (tone, word_of_all) = match it.ended {
        _ if has(StepOutcome::Stuck) => (Tone::Bad, "NOT ALL TAKEN BACK"),
        Ended::NothingKept if it.why.is_empty() && !has(StepOutcome::RolledBack) => {
            (Tone::Good, "ALREADY SO")
        }
        Ended::Confirmed if it.why.is_empty() => (Tone::Good, "KEPT"),
        Ended::Confirmed => (Tone::Warn, "KEPT IN PART"),
        Ended::Awaiting => (Tone::Warn, "AWAITS CONFIRMATION"),
        Ended::NothingKept => (Tone::Warn, "NOTHING KEPT"),
        Ended::RolledBack => (Tone::Warn, "TAKEN BACK"),
    };
    let mut out = style.paint(tone, word_of_all);
    let why = if it.why.is_empty() { String::new() } else { format!(": {}", it.why) };
    let _ = writeln!(out, "  run {}{}", it.run, clean(&why));
    for step in &it.steps {
        let note = if step.note.is_empty() { String::new() } else { format!(": {}", step.note) };
        let text = format!("{}: {} → {}, {}{note}", step.key, step.from, step.to, word(step.outcome));
        item(&mut out, &format!("{:>3}. ", step.number), &text, style);
    }
    out
}

/// What was taken back.
pub fn undone(report: &UndoneReport, style: &Style) -> String {
    let mut out = String::new();
    for it in &report.steps {
        let what = match it.outcome {
            Undo::Undone => format!("{} → {}", it.to, it.from),
            Undo::AlreadyOld => format!("is {} already", it.from),
            Undo::Foreign => format!("left alone: {}", it.note),
            Undo::Stuck => format!("NOT taken back: {}", it.note),
        };
        item(&mut out, "  ", &format!("run {}, step {}: {}: {what}", it.run, it.number, it.key), style);
    }
    for note in &report.notes {
        item(&mut out, "", note, style);
    }
    out
}

/// Runs of the journal.
pub fn runs(report: &RunsReport, none: &str, style: &Style) -> String {
    let mut out = String::new();
    for run in &report.runs {
        let (tone, state) = match run.state {
            RunState::Open => (Tone::Warn, "not ended (running, or `linger tune recover`)".to_owned()),
            RunState::Awaiting => {
                let left =
                    run.left_s.map_or("of an earlier boot".to_owned(), |s| format!("{} left", duration(s)));
                (Tone::Warn, format!("awaits confirmation, {left}"))
            }
            RunState::TakingBack => {
                let state = "half taken back (by another linger now, or `linger tune recover`)";
                (Tone::Warn, state.to_owned())
            }
            RunState::Confirmed => (Tone::Good, "kept".to_owned()),
            RunState::Closed => (Tone::Faint, run.outcome.clone()),
        };
        let boot = if run.is_this_boot { "" } else { ", before the last start of the host" };
        let persisted = if run.is_persisted { ", set at boot" } else { "" };
        let state = style.paint(tone, &clean(&state));
        let _ = writeln!(out, "Run {}  {state}{persisted}", run.id);
        item(
            &mut out,
            "     ",
            &format!("begun {} by {} in net:[{}]{boot}", run.at, run.who, run.netns),
            style,
        );
        if let (Some(at), Some(by)) = (&run.settled_at, &run.settled_by) {
            let what = if run.state == RunState::Confirmed { "confirmed" } else { "ended" };
            item(&mut out, "     ", &format!("{what} {at} by {by}"), style);
        }
        for step in &run.steps {
            let state = match step.state {
                StepState::Writing | StepState::Written => "half done",
                StepState::Kept => "kept",
                StepState::Undoing => "half taken back",
                StepState::Undone => "taken back",
                StepState::Foreign => "left alone",
                StepState::Stuck => "NOT taken back",
            };
            let note = if step.note.is_empty() { String::new() } else { format!(": {}", step.note) };
            let text = format!("{}: {} → {}, {state}{note}", step.key, step.from, step.to);
            item(&mut out, &format!("{:>3}. ", step.number), &text, style);
        }
    }
    if report.runs.is_empty() {
        out.push_str(none);
    }
    if !report.unreadable_lines.is_empty() {
        let lines: Vec<String> = report.unreadable_lines.iter().take(10).map(usize::to_string).collect();
        let text = format!(
            "{} lines of the journal can't be read: {}",
            report.unreadable_lines.len(),
            lines.join(", ")
        );
        let _ = writeln!(out, "{}", style.paint(Tone::Warn, &text));
    }
    out
}

/// Kept settings.
pub fn kept(report: &KeptReport, style: &Style) -> String {
    if report.settings.is_empty() {
        return "No setting is kept in this namespace.\n".to_owned();
    }
    let columns = ["SETTING", "BEFORE", "KEPT", "NOW", "RUN", ""].map(Column::left);
    let mut table = Table::new(columns.into());
    for it in &report.settings {
        table.row(vec![
            it.key.clone().into(),
            it.before.clone().into(),
            it.kept.clone().into(),
            it.now.clone().unwrap_or_else(|| "?".to_owned()).into(),
            it.run.to_string().into(),
            if it.is_drifted { Cell::toned("drifted", Tone::Warn) } else { "".into() },
        ]);
    }
    table.render(style)
}
