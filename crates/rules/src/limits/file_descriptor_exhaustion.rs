use super::{
    descriptor_limit, fraction, percent, processes_in_words, rate, read_from, same_process, span, unseen,
    worst,
};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::{Step, Symptom};
use linger_model::aggregate::ProcessIndex;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{FileUse, Process};
use linger_model::{Finding, State};

static WARNING: Threshold = Threshold {
    key: "warning_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "Share of a limit of descriptors in use from which this is a warning.",
};
static CRITICAL: Threshold = Threshold {
    key: "critical_fraction",
    default: 0.95,
    unit: "fraction",
    doc: "Share of a limit of descriptors in use from which this is critical.",
};
static MIN_LIMIT: Threshold = Threshold {
    key: "min_limit",
    default: 64.0,
    unit: "descriptors",
    doc: "A process with a smaller limit has locked itself in on purpose, and is left out.",
};
static EXHAUSTION: Threshold = Threshold {
    key: "exhaustion_seconds",
    default: 600.0,
    unit: "s",
    doc: "Time to exhaustion below which steady growth over three samples or more is a warning.",
};
static MIN_WINDOW: Threshold = Threshold {
    key: "min_growth_window_seconds",
    default: 10.0,
    unit: "s",
    doc: "Length of the window from which growth is trusted: below, a burst looks like a leak.",
};

static SOCKET_SHARE: Threshold = Threshold {
    key: "min_socket_share",
    default: 0.1,
    unit: "fraction",
    doc: "Share of a process's descriptors that are sockets below which, when they do not grow, this is information.",
};

declare_rule! {
    /// # What it detects
    /// A process has nearly as many descriptors open as its soft limit (RLIMIT_NOFILE) allows, or the host nearly
    /// fs.file-max.
    ///
    /// # Why it matters
    /// At the process's limit accept(), socket(), open() and dup() fail with EMFILE. accept() then leaves the connection
    /// in the queue, so that clients see a server that accepts nothing, and many event loops spin. At the host's limit
    /// every process without CAP_SYS_ADMIN gets ENFILE.
    ///
    /// # Evidence
    /// Entries in /proc/PID/fd against the soft limit of /proc/PID/limits; fs.file-nr against fs.file-max; how many of the
    /// descriptors are sockets, and in which state. TIME_WAIT sockets hold no descriptor at all: articles that count
    /// them against "max open files" are wrong. Harmless doubles: a process without limit; one that locked itself in
    /// with a tiny limit (sshd's and browsers' sandboxes set it to 0 and keep what they have); a cache of open files,
    /// which fills its limit on purpose and closes some before it opens more (PostgreSQL's max_files_per_process,
    /// MySQL's table_open_cache): hardly any of the descriptors are sockets and their number does not grow, so that is
    /// information. A process that was told to use four fifths of its limit and no more is shown as a warning. Where
    /// half of the processes or more cannot be looked at, or /proc hides them (hidepid), nothing is said of the rest.
    ///
    /// # Fix
    /// If the number grows with time and not with load, find the leak (CW001, CW002, FW001) first. Else raise the limit:
    /// LimitNOFILE= in the unit, --ulimit nofile for a container, prlimit for the running process.
    ///
    /// # Fix safety
    /// A higher soft limit is safe up to the hard limit, but for programs that use select(), which cannot handle
    /// descriptors of 1024 and above. The hard limit cannot pass fs.nr_open.
    ///
    /// # Sources
    /// fs/file.c alloc_fd() (EMFILE); fs/file_table.c alloc_empty_file() (ENFILE, CAP_SYS_ADMIN exempt),
    /// files_maxfiles_init(); net/ipv4/inet_timewait_sock.c (minisockets have no struct socket, so no file).
    FD001, "file-descriptor-exhaustion", Host, Critical, [
        WARNING, CRITICAL, MIN_LIMIT, EXHAUSTION, MIN_WINDOW, SOCKET_SHARE,
    ]
}

/// Descriptors above its limit that a process may have from who started it, such as a lock or a log.
const INHERITED: u64 = 3;

fn check(cx: &Context<'_>) -> Outcome {
    let host = cx.now().host.files.as_ref();
    let mut findings: Vec<Finding> =
        host.ok().and_then(|files| host_finding(cx, files)).into_iter().collect();
    let mut note = String::new();
    let mut fullest: Option<(f64, &Process)> = None;
    match cx.processes() {
        Ok(processes) => {
            let mut near: Vec<(f64, ProcessIndex, &Process, Severity)> = Vec::new();
            let mut no_limit = 0;
            for (index, process) in processes.list.iter().enumerate() {
                no_limit += u64::from(process.fd_limit.is_none());
                let Some(limit) = descriptor_limit(process).filter(|l| *l as f64 >= cx.limit(&MIN_LIMIT))
                else {
                    continue;
                };
                // The limit bounds numbers, not how many there are: a limit lowered later leaves more open than it says. A
                // few may be inherited ones with high numbers.
                if process.fds > limit + INHERITED {
                    continue;
                }
                let used = fraction(process.fds.min(limit), limit);
                if fullest.is_none_or(|(most, _)| used > most) {
                    fullest = Some((used, process));
                }
                if let Some(severity) = severity(cx, process, limit, used) {
                    near.push((used, index as ProcessIndex, process, severity));
                }
            }
            near.sort_by(|a, b| b.0.total_cmp(&a.0));
            findings.extend(
                near.iter().map(|(used, index, process, s)| process_finding(cx, *index, process, *used, *s)),
            );
            if processes.denied > 0 {
                note = format!("; {} could not be looked at", processes_in_words(processes.denied));
            }
            if no_limit > 0 {
                note.push_str(&format!("; the limit of {} could not be read", processes_in_words(no_limit)));
            }
            if findings.is_empty()
                && let Some(gap) = unseen(processes)
            {
                return Outcome::Unknown(gap);
            }
        }
        Err(gap) if findings.is_empty() => return Outcome::Unknown(gap),
        Err(_) => {}
    }
    if !findings.is_empty() {
        return worst(findings, "processes");
    }
    let files = known!(host);
    // The list holds only processes with sockets, and those near their limit.
    let listed = cx.processes().is_ok_and(|p| !p.list.is_empty());
    let most = fullest.map_or(
        if listed {
            "no process with sockets has a limit that it could reach".to_owned()
        } else {
            "no process with sockets, or near its limit, was found".to_owned()
        },
        |(used, process)| {
            format!(
                "the fullest process with sockets, or near its limit, is {} with {} of its limit",
                process.label(),
                percent(used)
            )
        },
    );
    Outcome::Clear(format!(
        "{most}; the host has {} of {} files open{note}",
        thousands(files.open),
        thousands(files.max)
    ))
}

fn severity(cx: &Context<'_>, process: &Process, limit: u64, used: f64) -> Option<Severity> {
    if used >= cx.limit(&WARNING) && is_file_cache(cx, process) {
        Some(Severity::Info)
    } else if used >= cx.limit(&CRITICAL) {
        Some(Severity::Critical)
    } else if used >= cx.limit(&WARNING)
        || growth(cx, process, limit).is_some_and(|(_, left)| left <= cx.limit(&EXHAUSTION))
    {
        Some(Severity::Warning)
    } else {
        None
    }
}

/// Whether hardly any of its descriptors are sockets and their number does not grow, as in a cache of open files.
fn is_file_cache(cx: &Context<'_>, process: &Process) -> bool {
    let before = same_process(cx.window.first(), process).map(|(_, then)| then.fds);
    fraction(u64::from(process.sockets), process.fds) < cx.limit(&SOCKET_SHARE)
        && cx.window.has_past()
        && before.is_some_and(|before| process.fds <= before)
}

/// New descriptors per second and the time that is left, where every sample has more than the one before.
fn growth(cx: &Context<'_>, process: &Process, limit: u64) -> Option<(f64, f64)> {
    if cx.window.trend().count() < 3 || cx.window.trend_seconds() < cx.limit(&MIN_WINDOW) {
        return None;
    }
    let series = cx.window.trend_series(|s| Some(same_process(s, process)?.1.fds));
    let rises = series.len() >= 3 && series.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if a < b));
    let ((from, first), (to, last)) = (series.first()?, series.last()?);
    let per_second = (*last as f64 - *first as f64) / (to - from);
    (rises && per_second > 0.0).then(|| (per_second, limit.saturating_sub(*last) as f64 / per_second))
}

fn process_finding(
    cx: &Context<'_>,
    index: ProcessIndex,
    process: &Process,
    used: f64,
    severity: Severity,
) -> Finding {
    let who = process.label();
    let limit = descriptor_limit(process).unwrap_or(process.fds);
    let growth = growth(cx, process, limit);
    let end =
        growth.map_or(String::new(), |(r, left)| format!("; with {} they last {}", rate(r), span(left)));
    let mut evidence = vec![
        Evidence::new(
            "open descriptors",
            process.fds as f64,
            "descriptors",
            format!("/proc/{}/fd", process.pid),
        ),
        Evidence::new("soft limit", limit as f64, "descriptors", format!("/proc/{}/limits", process.pid)),
        Evidence::new(
            "sockets among them",
            f64::from(process.sockets),
            "sockets",
            format!("/proc/{}/fd", process.pid),
        ),
    ];
    let mut leaks = Vec::new();
    if let Some((table, held)) = cx.sockets().ok().and_then(|t| Some((t, t.holders.get(&Some(index))?))) {
        for (state, code) in
            [(State::Established, None), (State::CloseWait, Some("CW001")), (State::FinWait2, Some("FW001"))]
        {
            let n = held.states.get(state as usize).copied().unwrap_or(0);
            if n > 0 {
                evidence.push(Evidence::new(
                    format!("{state} sockets of {who}"),
                    f64::from(n),
                    "sockets",
                    read_from(table),
                ));
            }
            // A quarter of its descriptors in a state that the peer has left is where to look first.
            if u64::from(n) * 4 >= process.fds {
                leaks.extend(code.map(|code| format!("{state} ({code})")));
            }
        }
    }
    if process.closed_tcp_lasting > 0 {
        evidence.push(Evidence::new(
            "closed TCP sockets among them",
            f64::from(process.closed_tcp_lasting),
            "sockets",
            format!("/proc/{}/fd against sock_diag", process.pid),
        ));
        if u64::from(process.closed_tcp_lasting) * 4 >= process.fds {
            leaks.push("closed sockets (CW002)".to_owned());
        }
    }
    if let Some((per_second, _)) = growth {
        let source = format!("/proc/{}/fd over {:.1} s", process.pid, cx.window.trend_seconds());
        evidence.push(Evidence::new("growth", (per_second * 100.0).round() / 100.0, "descriptors/s", source));
    }
    let mut remedies = Vec::new();
    if !leaks.is_empty() {
        remedies.push(Remedy::application(format!(
            "A large part of them are sockets in {}: fix that first, a higher limit only postpones it.",
            leaks.join(" and ")
        )));
    }
    remedies.push(Remedy::application(format!(
        "For the running process: `prlimit --pid {} --nofile={}:` raises the soft limit, up to the hard one.",
        process.pid,
        limit.saturating_mul(4)
    )));
    // That a leak comes first is said above, with its rule.
    let fits = |step: &Step| leaks.is_empty() || step.setting != "find the leak first";
    remedies.extend(cx.application_remedies_if(Some(index), Symptom::DescriptorLimit, fits));
    remedies.truncate(3);
    let cache = severity == Severity::Info;
    cx.finding(
        severity,
        if cache { Confidence::Low } else { Confidence::High },
        who.clone(),
        format!(
            "{who} has {} of {} descriptors open ({}), {} of them sockets{end}",
            thousands(process.fds),
            thousands(limit),
            percent(used),
            thousands(u64::from(process.sockets))
        ),
    )
    .why(if cache {
        "At the soft limit accept(), socket() and open() fail with EMFILE. But nearly all of these are files and their \
         number does not grow: a cache of open files fills its limit on purpose, and closes some before it opens more."
    } else {
        "RLIMIT_NOFILE is counted per process; at the soft limit accept(), socket() and open() fail with EMFILE. \
         TIME_WAIT sockets hold no descriptor: fewer of them would not help here."
    })
    .evidence(evidence)
    .remedies(remedies)
    .process(Some(index))
}

fn host_finding(cx: &Context<'_>, files: &FileUse) -> Option<Finding> {
    let used = fraction(files.open, files.max);
    let severity = match used {
        u if u >= cx.limit(&CRITICAL) => Severity::Critical,
        u if u >= cx.limit(&WARNING) => Severity::Warning,
        _ => return None,
    };
    let largest = cx.processes().ok().and_then(|p| {
        p.list
            .iter()
            .enumerate()
            .max_by_key(|(_, process)| process.fds)
            // One that holds next to nothing of them is not to blame.
            .filter(|(_, process)| process.fds.saturating_mul(10) >= files.open)
            .map(|(i, process)| (i as ProcessIndex, process))
    });
    let by = largest.map_or(String::new(), |(_, p)| {
        format!("; {} has the most of those seen: {}", p.label(), thousands(p.fds))
    });
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            "host",
            format!(
                "the host has {} open of at most {} ({}){by}",
                counted(files.open, "file"),
                thousands(files.max),
                percent(used)
            ),
        )
        .why(
            "fs.file-max counts open files of all processes (a file shared by several descriptors once). At the limit \
             everybody without CAP_SYS_ADMIN gets ENFILE. TIME_WAIT sockets are no files.",
        )
        .evidence([
            Evidence::new("open files", files.open as f64, "files", "/proc/sys/fs/file-nr"),
            Evidence::new("fs.file-max", files.max as f64, "files", "sysctl fs.file-max (host-wide)"),
        ])
        .remedies([
            Remedy::application(match largest {
                Some((_, p)) => format!("See whether the number of {} grows with time or with load; if with time, it leaks.", p.label()),
                None => "Find the process that holds them, and whether its number grows with time or with load.".to_owned(),
            }),
            Remedy::kernel(
                Applicability::Safe,
                format!("fs.file-max={}", files.max.saturating_mul(2)),
                "Raise the host's limit; a file costs some hundred bytes of kernel memory, with what hangs on it more.",
            ),
        ])
        .process(largest.map(|(i, _)| i));
    Some(finding)
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::State;
    use linger_model::report::Severity;
    use linger_model::snapshot::{FileUse, Gap, GapKind, Processes};

    fn server(at_s: f64, fds: u64, limit: Option<u64>) -> Moment {
        moment(at_s)
            .process_with(42, "envoy", move |p| (p.fds, p.fd_limit, p.sockets) = (fds, limit, fds as u32 - 5))
    }

    fn severity(moments: impl IntoIterator<Item = Moment>) -> Option<Severity> {
        match run(&super::RULE, moments) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_on_a_process_near_its_limit_and_names_the_leak() {
        let leak = held_by(many(700, State::CloseWait, "10.0.0.1", 30_000, "10.0.0.9", 6379), 0);
        golden!([server(0.0, 990, Some(1024)), server(1.0, 1000, Some(1024)).sockets(leak)]);
    }

    #[test]
    fn fires_on_the_host() {
        let mut last = server(1.0, 45_000, Some(65_536));
        last.files = FileUse { open: 98_000, max: 100_000 };
        golden!([last]);
    }

    #[test]
    fn is_clear_with_room_whatever_the_number_of_time_wait() {
        let waiting = expiring(many(20_000, State::TimeWait, "10.0.0.1", 33_000, "10.0.0.9", 443), 1, 59_000);
        golden!([server(1.0, 300, Some(1024)).sockets(waiting)]);
    }

    #[test]
    fn is_unknown_when_no_process_could_be_read() {
        golden!([moment(1.0).change_host(|h| {
            h.processes = Ok(Processes { seen: 200, denied: 200, ..Processes::default() });
        })]);
    }

    #[test]
    fn is_answered_for_those_that_could_be_read() {
        let some = |h: &mut linger_model::snapshot::HostSnapshot| {
            if let Ok(processes) = &mut h.processes {
                (processes.seen, processes.denied) = (200, 99);
            }
        };
        let Outcome::Clear(why) = run(&super::RULE, [server(1.0, 100, Some(1024)).change_host(some)]) else {
            panic!()
        };
        assert!(why.ends_with("99 processes could not be looked at"), "{why}");
        assert_eq!(severity([server(1.0, 1020, Some(1024)).change_host(some)]), Some(Severity::Critical));
        // Half of them, or what /proc hides: nothing can be said.
        for (denied, hidden) in [(100, false), (0, true)] {
            let unseen = move |h: &mut linger_model::snapshot::HostSnapshot| {
                if let Ok(processes) = &mut h.processes {
                    (processes.seen, processes.denied, processes.hidden) = (200, denied, hidden);
                }
            };
            let outcome = run(&super::RULE, [server(1.0, 100, Some(1024)).change_host(unseen)]);
            assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
            assert_eq!(
                severity([server(1.0, 1020, Some(1024)).change_host(unseen)]),
                Some(Severity::Critical)
            );
        }
        let blind = server(1.0, 100, Some(1024)).change_host(|h| {
            h.files = Err(Gap::new("fs.file-nr", GapKind::Denied, "Permission denied", ""));
        });
        assert!(matches!(run(&super::RULE, [blind]), Outcome::Unknown(_)));
    }

    #[test]
    fn a_quiet_host_is_not_said_to_have_no_limits() {
        let Outcome::Clear(why) = run(&super::RULE, [moment(1.0)]) else { panic!() };
        assert!(why.starts_with("no process with sockets, or near its limit, was found"), "{why}");
        let Outcome::Clear(why) = run(&super::RULE, [server(1.0, 9, Some(u64::MAX))]) else { panic!() };
        assert!(why.starts_with("no process with sockets has a limit that it could reach"), "{why}");
    }

    #[test]
    fn severity_follows_the_fraction() {
        assert_eq!(severity([server(1.0, 819, Some(1024))]), None);
        assert_eq!(severity([server(1.0, 820, Some(1024))]), Some(Severity::Warning));
        assert_eq!(severity([server(1.0, 973, Some(1024))]), Some(Severity::Critical));
    }

    #[test]
    fn no_limit_an_unknown_one_or_a_sandboxs_never_fires() {
        for limit in [Some(u64::MAX), None, Some(0), Some(8)] {
            assert_eq!(severity([server(1.0, 9, limit)]), None, "{limit:?}");
        }
        assert_eq!(severity([server(1.0, 2000, Some(1024))]), None, "lowered after they were opened");
        assert_eq!(severity([server(1.0, 1025, Some(1024))]), Some(Severity::Critical), "one is inherited");
    }

    #[test]
    fn a_cache_of_open_files_is_information() {
        let postgres = |at_s, fds: u64| {
            moment(at_s).process_with(7, "postgres", move |p| {
                (p.fds, p.fd_limit, p.sockets) = (fds, Some(1024), 3);
            })
        };
        assert_eq!(severity([postgres(0.0, 997), postgres(1.0, 997)]), Some(Severity::Info));
        assert_eq!(severity([postgres(0.0, 990), postgres(1.0, 997)]), Some(Severity::Critical), "it grows");
        assert_eq!(severity([postgres(1.0, 997)]), Some(Severity::Critical), "that needs a past");
    }

    #[test]
    fn steady_growth_fires_before_the_fraction_does() {
        let at = |t: f64, fds| server(t, fds, Some(1024));
        assert_eq!(severity([at(0.0, 100), at(30.0, 200), at(60.0, 300)]), Some(Severity::Warning));
        assert_eq!(severity([at(0.0, 300), at(30.0, 200), at(60.0, 400)]), None, "it breathes");
        assert_eq!(severity([at(0.0, 100), at(1.0, 300)]), None, "a burst of one second");
        assert_eq!(severity([at(0.0, 100), at(30.0, 101), at(60.0, 102)]), None, "hours away");
    }
}
