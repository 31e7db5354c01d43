//! What runs out: descriptors, TCP memory, conntrack entries, the queue of input packets.

/// CT001.
pub mod conntrack_table_pressure;
/// FD001.
pub mod file_descriptor_exhaustion;
/// NQ001.
pub mod input_backlog_drops;
/// MM001.
pub mod tcp_memory_pressure;

pub(crate) use crate::ports::percent;
use crate::{Context, Outcome, counted, thousands};
use linger_model::aggregate::{ProcessIndex, SocketSource};
use linger_model::report::Evidence;
use linger_model::snapshot::{Gap, GapKind, Process, Processes, Reading, Snapshot};
use linger_model::{Finding, SocketTable};

/// Findings of one rule at the most.
const AT_MOST: usize = 5;

/// `less than 1 s`, `12 s`, `5 min`, `3.2 h`, `4 days`.
pub(crate) fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "less than 1 s".to_owned(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0).replace(".0 h", " h"),
        s => format!("{:.0} days", s / 86_400.0),
    }
}

/// `12 more a second`, `3 more an hour`.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 1.0 => format!("{r:.0} more a second"),
        r if r * 60.0 >= 1.0 => format!("{:.0} more a minute", r * 60.0),
        r => format!("{:.1} more an hour", r * 3600.0),
    }
}

/// `1.5 GiB`.
pub(crate) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        b if b >= 1073741824.0 => format!("{:.1} GiB", b / 1073741824.0),
        b if b >= 1048576.0 => format!("{:.1} MiB", b / 1048576.0),
        b => format!("{:.0} KiB", b / 1024.0),
    }
}

/// `used / limit`, 0 without a limit.
pub(crate) fn fraction(used: u64, limit: u64) -> f64 {
    if limit == 0 { 0.0 } else { used as f64 / limit as f64 }
}

/// `1 process`, `2,000 processes`.
pub(crate) fn processes_in_words(n: u64) -> String {
    counted(n, "process")
}

/// What is missing where too few processes could be looked at to say that none has a fault: half of them or more were
/// denied, or /proc hides other users' processes, however many those are.
pub(crate) fn unseen(processes: &Processes) -> Option<Gap> {
    let (what, detail) = if processes.hidden {
        ("descriptors of other users' processes".to_owned(), "/proc hides them (hidepid)".to_owned())
    } else if processes.denied > 0 && processes.denied.saturating_mul(2) >= processes.seen {
        let what = format!("descriptors of {}", processes_in_words(processes.denied));
        (
            what,
            format!(
                "{} of {} could not be looked at",
                thousands(processes.denied),
                counted(processes.seen, "process")
            ),
        )
    } else {
        return None;
    };
    Some(Gap::new(what, GapKind::Denied, detail, "run as the host's root"))
}

/// From where the sockets were read.
pub(crate) fn read_from(table: &SocketTable) -> &'static str {
    match table.source {
        SocketSource::SockDiag => "sock_diag",
        SocketSource::ProcNetTcp => "/proc/net/tcp and tcp6",
        SocketSource::Import => "import",
    }
}

/// The processes with the most unread bytes in their receive queues, at most three; a few bytes are everybody's.
pub(crate) fn unread(cx: &Context<'_>) -> Vec<(Option<ProcessIndex>, u64)> {
    const WORTH_A_WORD: u64 = 64 << 10;
    let Ok(table) = cx.sockets() else { return Vec::new() };
    let holders = table.holders.iter().map(|(process, held)| (*process, held.unread_bytes));
    let mut all: Vec<_> = holders.filter(|(_, bytes)| *bytes >= WORTH_A_WORD).collect();
    all.sort_by_key(|(process, bytes)| (std::cmp::Reverse(*bytes), *process));
    all.truncate(3);
    all
}

/// The soft limit of a process's descriptors, where it has one.
pub(crate) fn descriptor_limit(process: &Process) -> Option<u64> {
    process.fd_limit.filter(|limit| *limit != u64::MAX && *limit > 0)
}

/// The same process in another snapshot.
pub(crate) fn same_process<'a>(
    snapshot: &'a Snapshot,
    process: &Process,
) -> Option<(ProcessIndex, &'a Process)> {
    let list = &snapshot.host.processes.as_ref().ok()?.list;
    let at = list.iter().position(|p| p.pid == process.pid && p.comm == process.comm)?;
    Some((at as ProcessIndex, list.get(at)?))
}

/// The numbers of a host-wide sysctl, whose file child namespaces do not have.
pub(crate) fn host_sysctl(cx: &Context<'_>, key: &str) -> Reading<Vec<i64>> {
    let Some(Ok(text)) = cx.now().host.sysctls.get(key) else { return cx.now().sysctl_ints(key) };
    let numbers: Result<Vec<i64>, _> = text.split_whitespace().map(str::parse).collect();
    numbers.map_err(|_| Gap::new(key, GapKind::Malformed, format!("is {text:?}, not numbers"), ""))
}

/// The worst findings, with a word of the rest. `findings` must not be empty.
pub(crate) fn worst(mut findings: Vec<Finding>, subjects: &str) -> Outcome {
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let left_out = findings.len().saturating_sub(AT_MOST);
    findings.truncate(AT_MOST);
    if left_out > 0
        && let Some(last) = findings.last_mut()
    {
        let what = format!("{subjects} with the same fault that are not shown");
        last.evidence.push(Evidence::new(what, left_out as f64, subjects, "counted by this rule"));
        last.summary.push_str(&format!(" ({left_out} more not shown)"));
    }
    Outcome::Fired(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_rates_sizes_and_shares_read_well() {
        assert_eq!(
            [span(12.4), span(300.0), span(7200.0), span(11_520.0), span(400_000.0)],
            ["12 s", "5 min", "2 h", "3.2 h", "5 days"]
        );
        assert_eq!(
            [rate(12.0), rate(0.5), rate(0.001)],
            ["12 more a second", "30 more a minute", "3.6 more an hour"]
        );
        assert_eq!([size(2048), size(3 << 19), size(3 << 29)], ["2 KiB", "1.5 MiB", "1.5 GiB"]);
        assert_eq!(
            [percent(0.8), percent(0.9999), percent(1.0), percent(1.2)],
            ["80.0 %", "99.9 %", "100 %", "120 %"]
        );
        assert_eq!(fraction(5, 0), 0.0);
    }
}
