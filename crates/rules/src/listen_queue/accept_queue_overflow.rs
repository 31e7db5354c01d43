use crate::listen_queue::{Point, origin, points};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, thousands};
use linger_facts::cookbook::{Step, Symptom};
use linger_model::SocketTable;
use linger_model::aggregate::ProcessIndex;
use linger_model::report::{Applicability, Confidence, Evidence, Finding, Remedy, Severity};
use linger_model::window::Delta;

static CRITICAL_OVERFLOWS: Threshold = Threshold {
    key: "critical_overflows_per_second",
    default: 10.0,
    unit: "/s",
    doc: "Handshake segments dropped per second, at a full accept queue, from which this is critical.",
};

declare_rule! {
    /// # What it detects
    /// A listener whose accept queue is full, so that the kernel drops SYNs and final ACKs: TcpExt.ListenOverflows
    /// moves. Also a queue that is full at both ends of the window while nobody tries to connect: the next client is
    /// dropped.
    ///
    /// # Why it matters
    /// The client whose SYN is dropped waits 1 s, then 3 s, then 7 s. The client whose last ACK is dropped believes
    /// that it is connected, sends its request and gets no answer. Both look like "the network is slow" from outside.
    /// SYN cookies do not help: a full accept queue drops before them.
    ///
    /// # Evidence
    /// TcpExt.ListenOverflows over the window. ListenDrops contains ListenOverflows and other drops besides, so it
    /// decides nothing here. The listener's own drops (`sk_drops`, by socket cookie) say which listener; they do not
    /// accuse, as scans and a full queue of half-open requests move them too. Accept queue and limit of each socket: the
    /// limit is min(backlog, net.core.somaxconn), fixed at listen(), and the queue holds one more. Connections with
    /// inode 0 are those that nobody accepted. In a SO_REUSEPORT group each socket has a queue of its own, and one
    /// full socket drops its share while the others are idle. With `--trace`, the kernel's own reasons for the packets that
    /// it dropped there (tracepoint skb:kfree_skb), where it names them.
    ///
    /// # Fix
    /// Find out why the process does not accept: a blocked event loop, all workers busy, a descriptor limit. Then the
    /// backlog. Raising somaxconn alone does nothing: the application must ask for more and call listen() again, which
    /// for most means a restart. A longer queue rides out bursts; it does not make a slow process faster.
    ///
    /// # Fix safety
    /// Raising somaxconn is safe and changes no existing listener. `tcp_abort_on_overflow` = 1 is not a fix: it turns a
    /// retry that may succeed into a reset, and SYNs are dropped all the same (only completed handshakes get the reset).
    ///
    /// # Sources
    /// include/net/sock.h sk_acceptq_is_full() (`>`, hence one more); net/socket.c __sys_listen(); net/ipv4/tcp_input.c
    /// tcp_conn_request(); net/ipv4/tcp_ipv4.c tcp_v4_syn_recv_sock(); include/net/tcp.h tcp_listendrop(). Measured on
    /// 6.18: listen(2) shows Recv-Q 3, Send-Q 2, and the fourth SYN is dropped; in an overflow a listener's `sk_drops`
    /// equalled ListenDrops, 111 of 111.
    LQ001, "accept-queue-overflow", Netns, Critical, [CRITICAL_OVERFLOWS]
}

const COUNTER: &str = "TcpExt.ListenOverflows";
const SOMAXCONN: &str = "net.core.somaxconn";
const MAX_FINDINGS: usize = 5;

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable("needs two samples: overflows are counted between them".into());
    }
    let overflows = cx.window.delta(COUNTER);
    let table = match cx.sockets() {
        Ok(table) => table,
        Err(gap) => {
            return match overflows {
                Ok(moved) if moved.by > 0 => Outcome::Fired(vec![unattributed(cx, moved, None)]),
                _ => Outcome::Unknown(gap),
            };
        }
    };
    let all = points(cx.window, table);
    let moved = overflows.as_ref().ok().filter(|d| d.by > 0);
    let mut suspects: Vec<&Point<'_>> = match moved {
        Some(_) => all.iter().filter(|p| p.dropped().is_some_and(|d| d > 0) || p.at_limit()).collect(),
        None => all.iter().filter(|p| p.sockets.iter().any(|s| s.stays_full())).collect(),
    };
    // Who is at the limit now comes first, then who dropped most.
    suspects.sort_by_key(|p| {
        let queue = p.fullest().map_or(0, |s| s.socket.queue);
        (!p.at_limit(), std::cmp::Reverse(p.dropped().unwrap_or(0)), std::cmp::Reverse(queue), p.point.port)
    });
    // Drops have other reasons, too: once the overflows are accounted for, the rest of the listeners is not accused.
    let mut left = moved.map_or(0, |m| m.by);
    suspects.retain(|p| {
        let stuck = p.sockets.iter().any(|s| s.stays_full());
        let dropped = p.dropped();
        let accused = left > 0 && dropped != Some(0);
        left = left.saturating_sub(dropped.unwrap_or(0));
        moved.is_none() || accused || stuck
    });
    match (&overflows, suspects.is_empty()) {
        (Err(gap), true) => Outcome::Unknown(gap.clone()),
        (Ok(delta), true) if delta.by == 0 => Outcome::Clear(clear(cx, *delta, &all)),
        (Ok(delta), true) => Outcome::Fired(vec![unattributed(cx, *delta, Some(&all))]),
        (_, false) => {
            let more = suspects.len().saturating_sub(MAX_FINDINGS);
            let alone = suspects.len() == 1;
            let mut findings: Vec<Finding> = suspects
                .iter()
                .take(MAX_FINDINGS)
                .map(|p| finding(cx, table, p, moved.copied(), alone))
                .collect();
            findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
            if let (Some(last), true) = (findings.last_mut(), more > 0) {
                last.evidence.push(Evidence::new(
                    "further listeners alike",
                    more as f64,
                    "listeners",
                    origin(table),
                ));
            }
            Outcome::Fired(findings)
        }
    }
}

fn clear(cx: &Context<'_>, delta: Delta, all: &[Point<'_>]) -> String {
    let drops = cx.window.delta("TcpExt.ListenDrops").map_or(0, |d| d.by);
    let drops = match drops {
        0 => String::new(),
        n => format!("; ListenDrops moved by {} for other reasons", thousands(n)),
    };
    let fullest = all.iter().max_by_key(|p| p.fullest().map_or(0, |s| s.socket.queue));
    let fullest = match fullest.and_then(|p| p.fullest().map(|s| (p.label(), s.socket))) {
        Some((label, socket)) if socket.queue > 0 => {
            let limit = socket.limit.map_or("an unknown limit".to_owned(), |l| thousands(l.into()));
            format!("; the longest accept queue is {label}'s, {} of {limit}", thousands(socket.queue.into()))
        }
        Some(_) => {
            format!("; the accept queues of {} are empty", counted(all.len() as u64, "listening address"))
        }
        None => "; nothing listens".to_owned(),
    };
    format!("{COUNTER} did not move in {:.1} s{fullest}{drops}", delta.seconds)
}

const WHY: &str = "The accept queue holds min(backlog, somaxconn) + 1 connections, a limit that listen() fixed. While it \
                   is full the kernel drops new SYNs and the ACK that ends a handshake: the one client retries after 1 s, \
                   3 s and 7 s, the other believes that it is connected and waits for an answer. SYN cookies do not get \
                   around a full accept queue.";

fn finding(
    cx: &Context<'_>,
    table: &SocketTable,
    point: &Point<'_>,
    moved: Option<Delta>,
    alone: bool,
) -> Finding {
    let label = point.label();
    let owner = point.owner();
    let who = cx.process_label(owner);
    let full_sockets = point.sockets.iter().filter(|s| s.is_full()).count();
    let stays_full = point.sockets.iter().any(|s| s.stays_full());
    let (queue, limit) = point.fullest().map_or((0, None), |s| (s.socket.queue, s.socket.limit));
    let state = match limit {
        Some(limit) => {
            let most = thousands(u64::from(limit) + 1);
            format!("{} of at most {most} wait in its queue", thousands(queue.into()))
        }
        None => format!("{} wait in its queue", thousands(queue.into())),
    };
    let window = cx.window.seconds();
    // The counter is the namespace's: with several suspects a listener's share is at most what it dropped itself.
    let dropped = moved
        .map(|m| match point.dropped() {
            Some(own) if !alone => own.min(m.by),
            _ => m.by,
        })
        .filter(|dropped| *dropped > 0);
    let other_reasons = cx.window.delta_or_zero("TcpExt.ListenDrops") > moved.map_or(0.0, |m| m.by as f64);
    let (severity, summary) = match dropped {
        Some(dropped) => {
            // An empty queue now means a burst that is over.
            let severity = if (cx.sure_rate(dropped as f64) >= cx.limit(&CRITICAL_OVERFLOWS) && queue > 0)
                || stays_full
            {
                Severity::Critical
            } else {
                Severity::Warning
            };
            // A queue that stays full takes a new connection only when one was accepted.
            let verb = match cx.window.delta_or_zero("Tcp.PassiveOpens") > 0.0 {
                _ if !stays_full => "accepts too slowly",
                true => "hardly accepts",
                false => "does not accept",
            };
            let count = counted(dropped, "SYN or final ACK");
            let count =
                if dropped == 1 { count } else { count.replace("SYN or final ACKs", "SYNs and final ACKs") };
            (
                severity,
                format!("{who} {verb} on {label}: the kernel dropped {count} in {window:.1} s; {state}"),
            )
        }
        None => (
            Severity::Warning,
            format!(
                "{who} does not accept on {label}: {state}, as {window:.1} s ago; the next clients are dropped"
            ),
        ),
    };
    let confidence = match moved {
        Some(_) if alone && !other_reasons => Confidence::High,
        Some(_) if full_sockets > 0 => Confidence::High,
        Some(_) => Confidence::Medium,
        None => Confidence::High,
    };
    let mut finding = cx
        .finding(severity, confidence, format!("listener {label}, {who}"), summary)
        .why(WHY)
        .evidence(moved.map(|m| cx.moved(COUNTER, m)))
        .evidence(point.dropped().map(|own| {
            let source = format!("{} SKMEMINFO over {window:.1} s", origin(table));
            Evidence::new(format!("drops of the listener {label}"), own as f64, "drops", source)
        }))
        .evidence([Evidence::new(
            format!("accept queue of {label}"),
            queue.into(),
            "connections",
            origin(table),
        )])
        .evidence(limit.map(|l| {
            Evidence::new("limit of that queue, which holds one more", l.into(), "connections", origin(table))
        }))
        .process(owner);
    finding.evidence.extend(reasons(point));
    if point.point.unaccepted > 0 {
        finding.evidence.push(Evidence::new(
            format!("connections that nobody accepted on {label} (inode 0)"),
            point.point.unaccepted.into(),
            "connections",
            origin(table),
        ));
    }
    finding = finding.evidence(cx.setting(SOMAXCONN));
    let idle = point.sockets.iter().filter(|s| s.socket.queue == 0).count();
    if full_sockets > 0 && idle > 0 {
        finding.why.push_str(&format!(
            " The load is uneven: {full_sockets} of the {} sockets of this SO_REUSEPORT group {} full and {idle} idle. \
             The kernel spreads by a hash of the addresses and does not look at the queues, so a stuck worker loses its \
             share.",
            point.sockets.len(),
            if full_sockets == 1 { "is" } else { "are" }
        ));
        finding.evidence.push(Evidence::new(
            format!("full sockets of the group {label}, of {}", point.sockets.len()),
            full_sockets as f64,
            "sockets",
            origin(table),
        ));
    }
    if cx.now().sysctl_int("net.ipv4.tcp_abort_on_overflow") == Ok(1) {
        finding.why.push_str(
            " tcp_abort_on_overflow is 1 here: clients whose final ACK meets the full queue get a RST; SYNs are dropped \
             all the same.",
        );
        finding = finding.evidence(cx.setting("net.ipv4.tcp_abort_on_overflow"));
    }
    if stays_full {
        // A longer queue helps nobody while nobody takes from it: that comes last.
        let fits = |step: &Step| !step.setting.contains("backlog") && !step.text.contains("backlog");
        let steps = cx.application_remedies_if(owner, Symptom::SlowAccept, fits).into_iter().take(1);
        return finding
            .remedies([find_out_why(cx, owner)])
            .remedies(steps)
            .remedies(backlog_remedies(cx, limit));
    }
    finding
        .remedies(cx.application_remedies(owner, Symptom::SlowAccept).into_iter().take(2))
        .remedies(backlog_remedies(cx, limit))
}

/// Why the kernel dropped packets to it, in its own words, where a trace has seen some.
fn reasons(point: &Point<'_>) -> Vec<Evidence> {
    let Some(seen) = &point.point.reasons else { return Vec::new() };
    let source = format!("trace (eBPF, skb:kfree_skb) over {:.1} s", seen.seconds);
    let evidence = |(reason, packet, n): &(String, String, u64)| {
        let what = match packet.as_str() {
            "last_ack" => "final ACKs",
            _ => "SYNs",
        };
        let what = format!("{what} to {} dropped for {reason}", point.label());
        Evidence::new(what, *n as f64, "packets", source.as_str())
    };
    seen.packets.iter().take(3).map(evidence).collect()
}

/// How to see why a process does not call accept().
fn find_out_why(cx: &Context<'_>, owner: Option<ProcessIndex>) -> Remedy {
    let stack = match owner.and_then(|p| cx.processes().ok()?.get(p)) {
        Some(process) => {
            let name = process.exe.as_deref().unwrap_or(&process.comm);
            let pid = process.pid;
            let tool = match name.rsplit('/').next().unwrap_or(name) {
                n if n.starts_with("python") || n.starts_with("gunicorn") || n.starts_with("uwsgi") => {
                    format!("py-spy dump --pid {pid}")
                }
                n if n.starts_with("java") => format!("jstack {pid}"),
                _ => format!("gdb -p {pid} -batch -ex 'thread apply all bt'"),
            };
            format!("a stack shows it (`{tool}`)")
        }
        None => "a stack of its threads shows it (gdb, py-spy, jstack)".to_owned(),
    };
    Remedy::application(format!(
        "First find out why it does not accept: {stack}: stuck, deadlocked, an event loop blocked, all workers waiting. A \
         process out of descriptors looks the same: `linger explain EMFILE`."
    ))
}

/// What to do about the limit: the application's part, and somaxconn only where that is what limits.
pub(crate) fn backlog_remedies(cx: &Context<'_>, limit: Option<u32>) -> Vec<Remedy> {
    let Some(limit) = limit.map(u64::from) else { return Vec::new() };
    let Ok(somaxconn) = cx.now().sysctl_int(SOMAXCONN) else { return Vec::new() };
    let somaxconn = somaxconn.max(0) as u64;
    if limit < somaxconn {
        return vec![Remedy::application(format!(
            "The limit of {} is below net.core.somaxconn ({}): the application asked for no more, or somaxconn was raised \
             after its listen(). Ask for more in listen() and restart; a longer queue helps against bursts only.",
            thousands(limit),
            thousands(somaxconn)
        ))];
    }
    let wanted = (limit * 4).clamp(4096, 65_535);
    if limit > somaxconn || limit >= wanted {
        return Vec::new();
    }
    vec![
        Remedy::application(
            "Let the application call listen() again (restart it) after somaxconn is raised, with a backlog that is \
             larger, too: the limit of a listener never changes by itself.",
        ),
        Remedy::kernel(
            Applicability::Safe,
            format!("{SOMAXCONN}={wanted}"),
            "Lift the cap on backlogs. It does nothing until the application calls listen() again.",
        ),
    ]
}

fn unattributed(cx: &Context<'_>, moved: Delta, all: Option<&[Point<'_>]>) -> Finding {
    let critical = cx.sure_rate(moved.by as f64) >= cx.limit(&CRITICAL_OVERFLOWS);
    let mut finding = cx
        .finding(
            if critical { Severity::Critical } else { Severity::Warning },
            Confidence::Medium,
            format!("network namespace {}", cx.now().netns.label()),
            format!(
                "A full accept queue dropped {} in {:.1} s; which listener's is not known",
                counted(moved.by, "handshake segment"),
                moved.seconds
            ),
        )
        .why(WHY)
        .evidence([cx.moved(COUNTER, moved)])
        .evidence(cx.setting(SOMAXCONN));
    let queued = all.unwrap_or_default().iter().filter(|p| p.fullest().is_some_and(|s| s.socket.queue > 0));
    let mut queued: Vec<_> = queued.collect();
    queued.sort_by_key(|p| std::cmp::Reverse(p.fullest().map_or(0, |s| s.socket.queue)));
    for point in queued.iter().take(3) {
        let queue = point.fullest().map_or(0, |s| s.socket.queue);
        let who = cx.process_label(point.owner());
        let source = cx.sockets().map_or("sock_diag", origin);
        finding.evidence.push(Evidence::new(
            format!("accept queue of {}, {who}", point.label()),
            queue.into(),
            "connections",
            source,
        ));
    }
    finding.remedies(cx.application_remedies(None, Symptom::SlowAccept))
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::{Confidence, RemedyKind, Severity};
    use linger_model::{SocketRecord, State};

    fn nginx(at_s: f64, queue: u32, drops: u32) -> Moment {
        let mut moment = moment(at_s).process(12, "nginx").socket(listener("0.0.0.0", 80, queue, 511, drops));
        for i in 0..queue.min(20) as u16 {
            moment.sockets.push(SocketRecord::new(
                State::Established,
                ip("10.0.0.1"),
                80,
                ip("10.9.9.9"),
                4000 + i,
            ));
        }
        moment
    }

    fn fired(outcome: Outcome) -> Vec<linger_model::Finding> {
        match outcome {
            Outcome::Fired(findings) => findings,
            other => panic!("not fired: {}", show(&other)),
        }
    }

    #[test]
    fn fires_when_overflows_move_and_names_the_listener() {
        let last =
            nginx(1.0, 512, 127).counter("TcpExt.ListenOverflows", 120).counter("TcpExt.ListenDrops", 120);
        golden!([nginx(0.0, 300, 7), last.socket(listener("0.0.0.0", 22, 0, 128, 4))]);
    }

    #[test]
    fn is_clear_when_only_scans_move_drops() {
        let last = nginx(1.0, 3, 90).counter("TcpExt.ListenDrops", 83);
        golden!([nginx(0.0, 1, 7), last]);
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = nginx(1.0, 3, 90);
        last.no_counters = true;
        golden!([nginx(0.0, 1, 7), last]);
    }

    #[test]
    fn warns_of_a_queue_that_stays_full_without_overflow() {
        golden!([nginx(0.0, 512, 7), nginx(1.0, 512, 7)]);
        // At its limit it still has room for one; and one that was full only now may be drained in a moment.
        assert!(matches!(run(&super::RULE, [nginx(0.0, 511, 7), nginx(1.0, 511, 7)]), Outcome::Clear(_)));
        assert!(matches!(run(&super::RULE, [nginx(0.0, 3, 7), nginx(1.0, 512, 7)]), Outcome::Clear(_)));
    }

    #[test]
    fn the_rate_decides_the_severity() {
        let overflow = |queue, n| {
            let last = nginx(1.0, queue, 7 + n as u32).counter("TcpExt.ListenOverflows", n);
            fired(run(&super::RULE, [nginx(0.0, 10, 7), last.counter("TcpExt.ListenDrops", n)])).remove(0)
        };
        assert_eq!(overflow(512, 9).severity, Severity::Warning);
        assert_eq!(overflow(512, 10).severity, Severity::Critical);
        assert_eq!(overflow(0, 50).severity, Severity::Warning, "a burst that is over");
        assert_eq!(overflow(512, 9).confidence, Confidence::High);
        // Nobody accepts at all: a single drop is enough.
        let stuck = [nginx(0.0, 512, 7), nginx(1.0, 512, 8).counter("TcpExt.ListenOverflows", 1)];
        let stuck = fired(run(&super::RULE, stuck)).remove(0);
        assert_eq!(stuck.severity, Severity::Critical);
        assert!(stuck.summary.contains("dropped 1 SYN or final ACK in"), "{}", stuck.summary);
        let first = &stuck.remedies[0].text;
        assert!(first.starts_with("First find out why") && first.contains("gdb -p 12"), "{first}");
        // Two of a window of 50 ms are no forty a second.
        let short = nginx(0.05, 512, 9).counter("TcpExt.ListenOverflows", 2).counter("TcpExt.ListenDrops", 2);
        let short = fired(run(&super::RULE, [nginx(0.0, 10, 7), short])).remove(0);
        assert_eq!(short.severity, Severity::Warning);
    }

    #[test]
    fn drops_of_other_listeners_accuse_nobody_once_the_overflows_are_explained() {
        let last =
            nginx(1.0, 512, 127).counter("TcpExt.ListenOverflows", 120).counter("TcpExt.ListenDrops", 620);
        let scanned = |drops| listener("0.0.0.0", 22, 0, 128, drops);
        let findings =
            fired(run(&super::RULE, [nginx(0.0, 3, 7).socket(scanned(0)), last.socket(scanned(500))]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].subject.contains("0.0.0.0:80"), "{}", findings[0].subject);
        // Two that overflow are told both.
        let last =
            nginx(1.0, 512, 127).counter("TcpExt.ListenOverflows", 150).counter("TcpExt.ListenDrops", 150);
        let other = |queue, drops| listener("0.0.0.0", 8080, queue, 128, drops);
        let findings =
            fired(run(&super::RULE, [nginx(0.0, 3, 7).socket(other(0, 0)), last.socket(other(129, 30))]));
        assert_eq!(findings.len(), 2);
    }

    #[test]
    fn an_uneven_reuseport_group_is_told() {
        let group = |at_s, queue, drops| {
            let mut idle = listener("0.0.0.0", 80, 0, 128, 0);
            (idle.cookie, idle.inode) = (9, 1001);
            let moment = moment(at_s).process(12, "worker").process(13, "worker");
            moment.socket(listener("0.0.0.0", 80, queue, 128, drops)).socket(idle)
        };
        let last = group(1.0, 129, 40).counter("TcpExt.ListenOverflows", 40);
        let finding = fired(run(&super::RULE, [group(0.0, 129, 0), last])).remove(0);
        assert!(finding.why.contains("1 of the 2 sockets"), "{}", finding.why);
        assert!(finding.summary.starts_with("worker (pid 12) does not accept"), "{}", finding.summary);
        // The limit is below somaxconn, so that raising somaxconn is not proposed.
        assert!(finding.remedies.iter().all(|r| r.kind != RemedyKind::Kernel));
    }

    #[test]
    fn without_drops_per_listener_it_still_fires() {
        let bare = |at_s| {
            let mut socket = listener("0.0.0.0", 80, 3, 511, 0);
            socket.skmem = None;
            moment(at_s).process(12, "nginx").socket(socket)
        };
        let finding =
            fired(run(&super::RULE, [bare(0.0), bare(1.0).counter("TcpExt.ListenOverflows", 4)])).remove(0);
        assert_eq!((finding.severity, finding.confidence), (Severity::Warning, Confidence::Medium));
        let mut blind = bare(1.0).counter("TcpExt.ListenOverflows", 40);
        blind.no_sockets = true;
        assert_eq!(fired(run(&super::RULE, [bare(0.0), blind])).remove(0).severity, Severity::Critical);
        assert!(matches!(run(&super::RULE, [bare(0.0)]), Outcome::NotApplicable(_)));
    }
}
