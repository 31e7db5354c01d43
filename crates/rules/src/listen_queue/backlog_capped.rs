use crate::listen_queue::accept_queue_overflow::backlog_remedies;
use crate::listen_queue::{Point, origin, points};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::SocketSource;
use linger_model::report::{Confidence, Evidence, Severity};
use linger_model::snapshot::{Gap, GapKind};

static FRACTION: Threshold = Threshold {
    key: "used_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Share of a capped accept queue in use from which it is told; an empty queue at the cap is normal.",
};

declare_rule! {
    /// # What it detects
    /// A listener whose queue limit equals `net.core.somaxconn`, and whose queue is used: half full, or overflowing.
    /// The application may have asked for more and was cut down without a word.
    ///
    /// # Why it matters
    /// listen() takes min(backlog, somaxconn) and returns success. A backlog of 65,535 in a configuration file means
    /// nothing while somaxconn is 4,096 (the default since 5.4; 128 before). In a container somaxconn is the
    /// namespace's own: a new network namespace starts from the kernel's default, whatever the host's sysctl.conf says.
    ///
    /// # Evidence
    /// Limit and queue of each listening socket against somaxconn. What the application asked for isn't exposed by any
    /// kernel, so "possibly capped" is all that can be said. A limit equal to somaxconn is what many healthy daemons
    /// have (they ask for SOMAXCONN), so an unused queue is not reported.
    ///
    /// # Fix
    /// If the queue overflows, first make the process accept faster (see LQ001). Then raise somaxconn *and* make the
    /// application call listen() again: the limit is fixed at listen(), and raising somaxconn changes no listener that
    /// exists. Articles that stop at `sysctl -w` have changed nothing.
    ///
    /// # Fix safety
    /// Raising somaxconn is safe and reversible. The restart that must follow is the risk.
    ///
    /// # Sources
    /// net/socket.c __sys_listen(); include/net/sock.h sk_acceptq_is_full(). somaxconn is per network namespace (since
    /// before 3.10). Measured on 6.18: a raised somaxconn takes effect with the next listen() only.
    LQ002, "backlog-capped", Netns, Warning, [FRACTION]
}

const SOMAXCONN: &str = "net.core.somaxconn";

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    let somaxconn = known!(cx.now().sysctl_int(SOMAXCONN)).max(0) as u64;
    if table.source == SocketSource::ProcNetTcp && !table.listeners.is_empty() {
        return Outcome::Unknown(Gap::new(
            "limits of the accept queues",
            GapKind::Unsupported,
            "/proc/net/tcp does not have them",
            "load the module tcp_diag, so that sock_diag can be asked",
        ));
    }
    let all = points(cx.window, table);
    let capped: Vec<&Point<'_>> = all
        .iter()
        .filter(|p| p.sockets.iter().any(|s| s.socket.limit.map(u64::from) == Some(somaxconn)))
        .collect();
    let overflowed = cx.window.delta("TcpExt.ListenOverflows").ok().filter(|d| d.by > 0);
    let used = |p: &&Point<'_>| {
        p.sockets.iter().any(|s| {
            let capped = s.socket.limit.map(u64::from) == Some(somaxconn);
            let overflows = overflowed.is_some() && s.dropped.is_some_and(|d| d > 0);
            // One entry in a queue of one is no use to speak of; `listen(0)` on a host with somaxconn 0 does not occur.
            let filled =
                s.socket.queue > 0 && f64::from(s.socket.queue) >= cx.limit(&FRACTION) * somaxconn as f64;
            capped && (overflows || filled || s.is_full())
        })
    };
    let hit: Vec<&Point<'_>> = capped.iter().copied().filter(used).collect();
    if hit.is_empty() {
        return Outcome::Clear(match capped.len() as u64 {
            0 => format!("no listener's limit equals {SOMAXCONN} ({})", thousands(somaxconn)),
            n => format!(
                "{} at {SOMAXCONN} ({}), possibly capped, but no queue of theirs is half full or overflows",
                counted(n, "listening address"),
                thousands(somaxconn)
            ),
        });
    }
    let overflows = |p: &&Point<'_>| {
        overflowed.is_some()
            && (p.dropped().is_some_and(|d| d > 0) || (p.dropped().is_none() && p.at_limit()))
    };
    let mut hit = hit;
    hit.sort_by_key(|p| {
        let queue = p.fullest().map_or(0, |s| s.socket.queue);
        (std::cmp::Reverse(overflows(p)), std::cmp::Reverse(queue))
    });
    let bad = hit.iter().filter(|p| overflows(p)).count();
    let names: Vec<String> =
        hit.iter().take(3).map(|p| format!("{} on {}", cx.process_label(p.owner()), p.label())).collect();
    let more = if hit.len() > 3 { format!(" and {} more", hit.len() - 3) } else { String::new() };
    let several = hit.len() > 1;
    let what = match (bad > 0, several) {
        (true, false) => "overflows and its limit equals".to_owned(),
        (true, true) => format!("overflow (at {bad} of them) and their limits equal"),
        (false, _) => {
            let queue = hit.first().and_then(|p| p.fullest()).map_or(0, |s| s.socket.queue);
            let queue = counted(queue.into(), "connection");
            if several {
                format!("fill (the fullest holds {queue}) and their limits equal")
            } else {
                format!("holds {queue} and its limit equals")
            }
        }
    };
    let queues = if several { "queues" } else { "queue" };
    let owner = hit.first().and_then(|p| p.owner());
    let mut finding = cx
        .finding(
            if bad > 0 { Severity::Warning } else { Severity::Info },
            if bad > 0 { Confidence::Medium } else { Confidence::Low },
            format!("listener {}", names.join(", ")),
            format!(
                "The accept {queues} of {}{more} {what} somaxconn ({}): a larger backlog may have been cut down",
                names.join(", "),
                thousands(somaxconn)
            ),
        )
        .why(
            "listen() takes min(backlog, somaxconn) and says nothing. The kernel does not tell what was asked for, so \
             the application's configuration must. The limit stays as it is until listen() is called again.",
        )
        .evidence(cx.setting(SOMAXCONN));
    for point in hit.iter().take(3) {
        let (queue, limit) = point.fullest().map_or((0, None), |s| (s.socket.queue, s.socket.limit));
        let label = point.label();
        finding.evidence.push(Evidence::new(
            format!("accept queue of {label}"),
            queue.into(),
            "connections",
            origin(table),
        ));
        let limit = limit.map(|l| {
            Evidence::new(format!("limit of that queue ({label})"), l.into(), "connections", origin(table))
        });
        finding = finding.evidence(limit);
    }
    let limit = u32::try_from(somaxconn).ok();
    finding = finding
        .evidence(overflowed.map(|d| cx.moved("TcpExt.ListenOverflows", d)))
        .process(owner)
        .remedies(cx.application_remedies(owner, Symptom::SlowAccept).into_iter().take(2))
        .remedies(backlog_remedies(cx, limit));
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;

    fn capped(at_s: f64, queue: u32, drops: u32) -> Moment {
        moment(at_s)
            .sysctl("net.core.somaxconn", "128")
            .process(12, "redis-server")
            .socket(listener("0.0.0.0", 6379, queue, 128, drops))
    }

    #[test]
    fn fires_when_a_capped_queue_overflows() {
        let last = capped(1.0, 129, 40).counter("TcpExt.ListenOverflows", 40);
        golden!([capped(0.0, 20, 0), last]);
    }

    #[test]
    fn is_clear_on_a_healthy_host_where_limits_equal_somaxconn() {
        let host = |at_s| {
            let moment = moment(at_s).process(1, "systemd");
            moment.sockets((0..12).map(|i| listener("0.0.0.0", 8000 + i, 0, 4096, 3)))
        };
        golden!([host(0.0), host(1.0)]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = capped(1.0, 0, 0);
        last.no_sockets = true;
        golden!([capped(0.0, 0, 0), last]);
    }

    #[test]
    fn use_without_overflow_is_information() {
        let severity = |queue| match run(&super::RULE, [capped(0.0, queue, 0), capped(1.0, queue, 0)]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            _ => None,
        };
        assert_eq!(severity(64), Some(Severity::Info));
        assert_eq!(severity(63), None);
        // Drops without an overflow are a scan's; an overflow elsewhere is LQ001's.
        let scanned = [capped(0.0, 0, 0), capped(1.0, 0, 90).counter("TcpExt.ListenDrops", 90)];
        assert!(matches!(run(&super::RULE, scanned), Outcome::Clear(_)));
        let elsewhere = [capped(0.0, 0, 0), capped(1.0, 0, 0).counter("TcpExt.ListenOverflows", 9)];
        assert!(matches!(run(&super::RULE, elsewhere), Outcome::Clear(_)));
    }

    #[test]
    fn a_limit_below_the_cap_is_the_applications_own() {
        let own = |at_s| {
            capped(at_s, 129, 40)
                .sysctl("net.core.somaxconn", "4096")
                .counter("TcpExt.ListenOverflows", (at_s * 40.0) as u64)
        };
        assert!(matches!(run(&super::RULE, [own(0.0), own(1.0)]), Outcome::Clear(_)));
    }
}
