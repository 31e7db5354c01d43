use crate::limits::{
    descriptor_limit, fraction, percent, processes_in_words, rate, same_process, span, unseen, worst,
};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_model::Finding;
use linger_model::aggregate::ProcessIndex;
use linger_model::report::{Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::Process;

static MIN_SOCKETS: Threshold = Threshold {
    key: "min_sockets",
    default: 100.0,
    unit: "sockets",
    doc: "Closed sockets that one process keeps over two samples, from which they are reported.",
};
static WARNING_SHARE: Threshold = Threshold {
    key: "warning_descriptor_share",
    default: 0.1,
    unit: "fraction",
    doc: "Share of its descriptor limit that a process spends on closed sockets from which this is a warning.",
};
static CRITICAL_DESCRIPTORS: Threshold = Threshold {
    key: "critical_descriptor_fraction",
    default: 0.9,
    unit: "fraction",
    doc: "Share of its descriptors in use from which such a leak is critical.",
};

declare_rule! {
    /// # What it detects
    /// A process holds descriptors of TCP sockets that are in no table any more: state CLOSE, no peer, no port. The
    /// connection was reset, timed out or was killed, and the process never closed the descriptor.
    ///
    /// # Why it matters
    /// The leak cannot be seen with ss, netstat or /proc/net/tcp: they list what is in the tables. Each such socket
    /// holds a descriptor and kernel memory for as long as the process runs; in the end accept() and connect() fail
    /// with EMFILE while all socket counts look healthy. A CLOSE_WAIT leak turns into this one when peers reset the
    /// connections or somebody runs `ss -K`.
    ///
    /// # Evidence
    /// TCP socket inodes in /proc/PID/fd that no table of the namespace lists, in two samples running. The harmless
    /// double is a socket fresh from socket() that connect() has not yet put into a table: it is gone from the count a
    /// moment later. On kernels that cannot list bound but unconnected sockets (before the 6.8 tree) those count too.
    /// sockstat's `alloc` (host-wide) includes closed sockets and supports the finding.
    ///
    /// # Fix
    /// In the application: close on errors too. ECONNRESET, ETIMEDOUT and EPIPE end the connection, not the descriptor.
    ///
    /// # Fix safety
    /// There is no kernel setting to change. A restart of the process frees all of them.
    ///
    /// # Sources
    /// net/ipv4/tcp.c tcp_done() (unhashes, keeps the struct socket); net/socket.c sock_close() (the only way out);
    /// fs/proc/fd.c; net/ipv4/proc.c sockstat_seq_show().
    CW002, "closed-socket-leak", Netns, Critical, [MIN_SOCKETS, WARNING_SHARE, CRITICAL_DESCRIPTORS]
}

fn check(cx: &Context<'_>) -> Outcome {
    let processes = known!(cx.processes());
    if !processes.has_past {
        return Outcome::NotApplicable(
            "needs two samples: a socket just made is in no table either".to_owned(),
        );
    }
    // Processes of other namespaces are for those namespaces' reports.
    let here = processes.list.iter().enumerate().filter(|(_, p)| p.netns == Some(cx.now().netns.inode));
    let mut leaks: Vec<(usize, &Process)> = here
        .clone()
        .filter(|(_, p)| f64::from(p.closed_tcp_lasting) >= cx.limit(&MIN_SOCKETS).max(1.0))
        .collect();
    leaks.sort_by_key(|(_, p)| std::cmp::Reverse(p.closed_tcp_lasting));
    if leaks.is_empty() {
        if let Some(gap) = unseen(processes) {
            return Outcome::Unknown(gap);
        }
        let most = here.map(|(_, p)| p.closed_tcp_lasting).max().unwrap_or(0);
        let unread = match processes.denied {
            0 => String::new(),
            n => format!("; {} could not be looked at", processes_in_words(n)),
        };
        return Outcome::Clear(format!(
            "no process keeps {} in two samples running{unread}",
            match most {
                0 => "a closed TCP socket".to_owned(),
                n => format!("more than {}", counted(u64::from(n), "closed TCP socket")),
            }
        ));
    }
    worst(
        leaks.iter().map(|(index, process)| finding(cx, *index as ProcessIndex, process)).collect(),
        "processes",
    )
}

fn finding(cx: &Context<'_>, index: ProcessIndex, process: &Process) -> Finding {
    let who = process.label();
    let kept = u64::from(process.closed_tcp_lasting);
    let limit = descriptor_limit(process);
    // Only samples that could tell: the first one of a run knows no closed sockets.
    let series = cx.window.series(|s| {
        let then = same_process(s, process)?.1.closed_tcp_lasting;
        s.host.processes.as_ref().ok()?.has_past.then_some(f64::from(then))
    });
    let growth = match (series.first(), series.last()) {
        (Some((from, first)), Some((to, last))) if to > from => {
            Some(((last - first) / (to - from), to - from))
        }
        _ => None,
    };
    let grows = growth.filter(|(per_second, _)| *per_second > 0.0);
    let share = limit.map(|l| fraction(kept, l));
    let nearly_full = limit.is_some_and(|l| fraction(process.fds, l) >= cx.limit(&CRITICAL_DESCRIPTORS));
    let large = share.is_some_and(|s| s >= cx.limit(&WARNING_SHARE));
    let severity = match (nearly_full && large, large || grows.is_some()) {
        (true, _) => Severity::Critical,
        (false, true) => Severity::Warning,
        (false, false) => Severity::Info,
    };
    let of_limit = match limit {
        Some(l) => format!(", {} of its limit of {}", percent(fraction(kept, l)), counted(l, "descriptor")),
        None => String::new(),
    };
    let end = match (grows, limit) {
        (Some((per_second, _)), Some(l)) => {
            let left = l.saturating_sub(process.fds) as f64 / per_second;
            format!("; with {} its descriptors last {}", rate(per_second), span(left))
        }
        _ => String::new(),
    };
    let fd = format!("/proc/{}/fd", process.pid);
    let mut evidence = vec![
        Evidence::new(
            "TCP sockets held and in no table, in two samples",
            kept as f64,
            "sockets",
            format!("{fd} against sock_diag"),
        ),
        Evidence::new("open descriptors", process.fds as f64, "descriptors", fd.as_str()),
    ];
    evidence.extend(limit.map(|l| {
        Evidence::new(
            "descriptor limit",
            l as f64,
            "descriptors",
            format!("/proc/{}/limits, soft limit", process.pid),
        )
    }));
    evidence.extend(growth.map(|(per_second, seconds)| {
        Evidence::new(
            "growth",
            (per_second * 100.0).round() / 100.0,
            "sockets/s",
            format!("{fd} against sock_diag over {seconds:.1} s"),
        )
    }));
    evidence.extend(cx.now().sockstat.as_ref().ok().map(|s| {
        Evidence::new(
            "TCP sockets allocated",
            s.alloc as f64,
            "sockets",
            "/proc/net/sockstat TCP alloc (host-wide)",
        )
    }));
    cx.finding(
        severity,
        if grows.is_some() { Confidence::High } else { Confidence::Medium },
        who.clone(),
        format!("{who} keeps {} that no table lists{of_limit}{end}", counted(kept, "closed TCP socket")),
    )
    .why(format!(
        "A connection that is reset or times out leaves the kernel's tables at once; its descriptor stays until the \
         process closes it. ss and netstat cannot show these {} sockets.",
        thousands(kept)
    ))
    .evidence(evidence)
    .remedies([Remedy::application(format!(
        "Close the descriptor when read() or write() fails (ECONNRESET, ETIMEDOUT, EPIPE), and when connect() fails. \
         Until that is fixed, a restart of {who} frees them."
    ))])
    // The cookbook's steps speak of CLOSE_WAIT; these sockets have left it.
    .remedies([Remedy::application(format!(
        "`strace -f -e trace=connect,accept4,read,write,close -p {}` shows which call fails without a close() after it. \
         A pool has to close a connection that failed when it throws it away.",
        process.pid
    ))])
    .process(Some(index))
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::{Confidence, Severity};
    use linger_model::snapshot::{Gap, GapKind};

    fn with(at_s: f64, now: u32, lasting: u32, fds: u64, limit: u64) -> Moment {
        moment(at_s).process_with(9, "gateway", move |p| {
            (p.closed_tcp, p.closed_tcp_lasting, p.fds, p.fd_limit) = (now, lasting, fds, Some(limit));
        })
    }

    fn first(outcome: Outcome) -> (Severity, Confidence) {
        let Outcome::Fired(findings) = outcome else { panic!("{outcome:?}") };
        (findings[0].severity, findings[0].confidence)
    }

    #[test]
    fn fires_when_closed_sockets_stay_and_grow() {
        let mut last = with(10.0, 420, 400, 620, 1024);
        last.sockstat.alloc = 655;
        golden!([with(0.0, 380, 380, 600, 1024), last]);
    }

    #[test]
    fn is_clear_when_they_are_only_fresh() {
        golden!([with(0.0, 800, 3, 900, 1024), with(1.0, 900, 3, 1000, 1024)]);
    }

    #[test]
    fn is_unknown_without_processes() {
        let last = moment(1.0).change_host(|h| {
            h.processes =
                Err(Gap::new("processes", GapKind::Denied, "/proc: Permission denied", "run as root"));
        });
        golden!([moment(0.0), last]);
    }

    #[test]
    fn needs_a_past_and_its_own_namespace() {
        let young = with(0.0, 400, 0, 600, 1024).change_host(|h| {
            if let Ok(processes) = &mut h.processes {
                processes.has_past = false;
            }
        });
        assert!(matches!(run(&super::RULE, [young]), Outcome::NotApplicable(_)));
        let elsewhere =
            moment(1.0).process_with(9, "gateway", |p| (p.closed_tcp_lasting, p.netns) = (500, Some(2)));
        assert!(matches!(run(&super::RULE, [elsewhere]), Outcome::Clear(_)));
    }

    #[test]
    fn too_few_seen_is_unknown() {
        for (denied, hidden) in [(40, false), (0, true)] {
            let blind = |at_s| {
                with(at_s, 3, 3, 100, 1024).change_host(move |h| {
                    if let Ok(processes) = &mut h.processes {
                        (processes.seen, processes.denied, processes.hidden) = (80, denied, hidden);
                    }
                })
            };
            let outcome = run(&super::RULE, [blind(0.0), blind(1.0)]);
            assert!(matches!(outcome, Outcome::Unknown(_)), "{outcome:?}");
        }
    }

    #[test]
    fn severity_follows_descriptors() {
        let still = |lasting, fds, limit| {
            first(run(
                &super::RULE,
                [with(0.0, lasting, lasting, fds, limit), with(1.0, lasting, lasting, fds, limit)],
            ))
        };
        assert_eq!(still(100, 300, 65_536), (Severity::Info, Confidence::Medium));
        assert_eq!(still(200, 300, 1024).0, Severity::Warning);
        assert_eq!(still(200, 1000, 1024).0, Severity::Critical);
        assert!(matches!(
            run(&super::RULE, [with(0.0, 99, 99, 100, 1024), with(1.0, 99, 99, 100, 1024)]),
            Outcome::Clear(_)
        ));
    }

    #[test]
    fn unlimited_descriptors_never_run_out() {
        let none = || with(0.0, 5000, 5000, 6000, u64::MAX);
        assert_eq!(
            first(run(&super::RULE, [none(), with(1.0, 5000, 5000, 6000, u64::MAX)])).0,
            Severity::Info
        );
    }
}
