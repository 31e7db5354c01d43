//! From a window to a report.

use linger_model::report::{
    Finding, REPORT_SCHEMA, Report, ReportNetns, RuledOut, Severity, Unknown, Verdict,
};
use linger_model::snapshot::Gap;
use linger_model::{State, Window};
use linger_rules::{Config, Outcome, Selection, evaluate, headroom};

/// Runs the rules and puts the report together.
pub fn report(window: &Window, config: &Config, selection: &Selection) -> Report {
    let now = window.last();
    let (mut findings, mut ruled_out, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for (rule, outcome) in evaluate(window, config, selection) {
        match outcome {
            Outcome::Fired(found) => findings.extend(found),
            Outcome::Clear(why) => {
                ruled_out.push(RuledOut { code: rule.code.to_owned(), why, checked: true })
            }
            Outcome::NotApplicable(why) => {
                ruled_out.push(RuledOut { code: rule.code.to_owned(), why, checked: false });
            }
            Outcome::Unknown(gap) => {
                unknown.push(Unknown { code: rule.code.to_owned(), gap: gap.to_string() })
            }
        }
    }
    let asked_without_answer = !selection.only.is_empty() && !unknown.is_empty();
    for gap in &now.gaps {
        unknown.push(Unknown { code: String::new(), gap: gap.to_string() });
    }
    let unreadable = now.sockets.is_err() || now.counters.is_err();
    let readings: [Option<&Gap>; 2] = [now.sockets.as_ref().err(), now.counters.as_ref().err()];
    for gap in readings.into_iter().flatten() {
        if !unknown.iter().any(|u| u.code.is_empty() && u.gap == gap.to_string()) {
            unknown.push(Unknown { code: String::new(), gap: gap.to_string() });
        }
    }
    // Worst first; among equals the surer one, then by code. The order within a rule stays.
    findings.sort_by(|a: &Finding, b: &Finding| {
        b.severity.cmp(&a.severity).then(b.confidence.cmp(&a.confidence)).then(a.code.cmp(&b.code))
    });
    let worst = findings.iter().map(|f| f.severity).max();
    let verdict = match worst {
        Some(Severity::Critical) => Verdict::Critical,
        Some(Severity::Warning) => Verdict::Warning,
        _ if unreadable || asked_without_answer => Verdict::Unknown,
        _ => Verdict::Ok,
    };
    let table = now.sockets.as_ref().ok();
    Report {
        schema: REPORT_SCHEMA,
        kernel: now.host.kernel.release.clone(),
        netns: ReportNetns {
            inode: now.netns.inode,
            name: now.netns.name.clone(),
            is_init: now.netns.is_init,
        },
        taken_at: timestamp(now.taken_at_us),
        interval_s: (window.seconds() * 1000.0).round() / 1000.0,
        verdict,
        states: table.map(|t| t.states),
        source: table.map(|t| t.source),
        imported: None,
        findings,
        ruled_out,
        unknown,
        headroom: headroom(window, !selection.skip_host),
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub fn timestamp(us: i64) -> String {
    let moment = jiff::Timestamp::from_microsecond(us).unwrap_or_default();
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The number of sockets that a report speaks of.
pub fn total(report: &Report) -> u64 {
    report.states.map_or(0, |s| State::ALL.iter().map(|state| s.count(*state)).sum())
}
