//! `linger trace status`.

use super::style::Style;
use super::{clean, wrap};
use crate::cmd::trace::daemon::StatusReport;
use linger_rules::{counted, thousands};

/// The report as text.
pub fn text(report: &StatusReport, style: &Style) -> String {
    let mut sentences = Vec::new();
    if report.running {
        let pid = report.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        sentences.push(format!("A trace runs as a daemon{pid}."));
        if let (Some(capacity), Some(processes)) = (report.owners_capacity, report.processes) {
            sentences.push(format!(
                "It has seen {} so far and remembers up to {} owners.",
                counted(processes, "process"),
                thousands(capacity)
            ));
        }
        if let Some(lost) = report.owners_lost.filter(|n| *n > 0) {
            sentences.push(format!(
                "The owners of {} found no room in its table: `linger trace stop`, then `linger trace --daemon --owners N` \
                 with more.",
                counted(lost, "TIME_WAIT socket")
            ));
        }
    } else {
        sentences.push("No trace runs as a daemon.".to_owned());
        if report.stale {
            let left = format!("A killed one has left {}: `linger trace stop` takes it away.", report.pins);
            sentences.push(left);
        }
    }
    sentences.extend(report.gaps.iter().map(|gap| clean(gap)));
    let lines: Vec<String> = sentences.iter().map(|s| wrap(s, style.prose(), 0, 0)).collect();
    lines.join("\n") + "\n"
}
