use crate::limits::{descriptor_limit, fraction, rate, read_from, same_process, span, worst};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::{Step, Symptom};
use linger_model::aggregate::{CloseWaitPeer, CloseWaitStats, ProcessIndex};
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{Finding, SocketTable};

static MIN_SOCKETS: Threshold = Threshold {
    key: "min_sockets",
    default: 10.0,
    unit: "sockets",
    doc: "Abandoned sockets of one process below which nothing is reported.",
};
static WARNING_SOCKETS: Threshold = Threshold {
    key: "warning_sockets",
    default: 100.0,
    unit: "sockets",
    doc: "Abandoned sockets of one process from which this is a warning.",
};
static CRITICAL_SOCKETS: Threshold = Threshold {
    key: "critical_sockets",
    default: 1000.0,
    unit: "sockets",
    doc: "Abandoned sockets of one process above which this is critical.",
};
static MIN_AGE: Threshold = Threshold {
    key: "min_age_seconds",
    default: 60.0,
    unit: "s",
    doc: "Time since the peer closed from which a socket counts as abandoned; taken up to 1, 10, 60 or 600 s.",
};
static CRITICAL_EXHAUSTION: Threshold = Threshold {
    key: "critical_exhaustion_seconds",
    default: 900.0,
    unit: "s",
    doc: "Time until the process is out of descriptors at the leak's rate, below which this is critical.",
};
static WARNING_EXHAUSTION: Threshold = Threshold {
    key: "warning_exhaustion_seconds",
    default: 86_400.0,
    unit: "s",
    doc: "The same time below which a small leak is a warning.",
};
static CRITICAL_DESCRIPTORS: Threshold = Threshold {
    key: "critical_descriptor_fraction",
    default: 0.9,
    unit: "fraction",
    doc: "Share of its descriptors in use from which a leak that is a warning becomes critical.",
};

declare_rule! {
    /// # What it detects
    /// A process keeps sockets in CLOSE_WAIT: the peer has closed, the process has not. A socket counts as abandoned
    /// when the peer's last sign of life is at least 60 s ago, nothing waits in its send queue, and nothing was
    /// sent since.
    ///
    /// # Why it matters
    /// CLOSE_WAIT has no timer. Each such socket holds a descriptor and its buffers until the process closes it or
    /// ends; when the descriptors are gone, accept(), connect() and open() fail with EMFILE. No sysctl shortens
    /// CLOSE_WAIT, whatever an article on tuning says: neither tcp_fin_timeout nor any other touches it. TCP
    /// keep-alive ends such a socket only when the peer has forgotten it, and then leaves the descriptor.
    ///
    /// # Evidence
    /// The count alone tells little: a server under load always has some that it is working on. What decides is
    /// age (tcp_info's last_ack_recv, a lower bound, as later ACKs of the peer reset it), growth, and Recv-Q. Recv-Q 0:
    /// the process read the end and did not close, a descriptor leak. Recv-Q 1 or more (the FIN counts one): it never
    /// read the end; a thread is stuck, the socket is forgotten, or a connection pool has not looked at it since. A pool
    /// stops at its size, a leak grows. Sockets with data to send, or that sent data after the peer's end, are
    /// half-closed and in use: no leak. Sockets with inode 0 were never accepted: that is LQ001. The rate comes from the
    /// ages (how many are between 10 and 60 s old), or from the window where that is 10 s or longer.
    /// Many sockets of one process that are younger than that (but untouched for 1 s) are information: look again.
    /// With a trace (`linger check --trace`, or its daemon) the age is also the time since the trace came upon the socket,
    /// which answered keep-alive probes do not reset; sockets from before the trace are counted as such.
    ///
    /// # Fix
    /// In the application: close on every path, errors included; return connections to their pool; read until the end.
    /// Until then restart the process before its descriptors run out.
    ///
    /// # Fix safety
    /// There is no kernel setting to change. `ss -K` on CLOSE_WAIT sends a RST and frees the buffers, but the process
    /// keeps the descriptor: the leak becomes CW002.
    ///
    /// # Sources
    /// RFC 9293 section 3.6; net/ipv4/tcp_input.c tcp_fin(); net/ipv4/tcp_diag.c tcp_diag_get_info(). Measured on
    /// 6.18: Recv-Q 1 before the end is read, 0 after it.
    CW001, "close-wait-leak", Netns, Critical, [
        MIN_SOCKETS, WARNING_SOCKETS, CRITICAL_SOCKETS, MIN_AGE, CRITICAL_EXHAUSTION, WARNING_EXHAUSTION,
        CRITICAL_DESCRIPTORS,
    ]
}

/// One process's abandoned sockets.
struct Leak {
    process: Option<ProcessIndex>,
    stats: CloseWaitStats,
    /// The sockets that count, and from which age.
    count: u32,
    age_s: u32,
    /// New ones per second, and how that is known.
    growth: Option<(f64, String)>,
    /// Seconds until the descriptors are gone.
    exhaustion_s: Option<f64>,
    severity: Severity,
    confidence: Confidence,
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    let mut leaks: Vec<Leak> =
        table.holders.iter().filter_map(|(process, held)| leak(cx, *process, &held.close_wait)).collect();
    leaks.sort_by_key(|l| std::cmp::Reverse((l.severity, l.count)));
    let mut findings: Vec<Finding> = leaks.iter().map(|leak| finding(cx, table, leak)).collect();
    let told = |process: &Option<ProcessIndex>| leaks.iter().any(|l| l.process == *process);
    let mut young: Vec<_> = table
        .holders
        .iter()
        .map(|(process, held)| (*process, &held.close_wait))
        .filter(|(process, stats)| {
            !told(process) && f64::from(waits(stats)) >= cx.limit(&WARNING_SOCKETS).max(1.0)
        })
        .collect();
    young.sort_by_key(|(process, stats)| (std::cmp::Reverse(waits(stats)), *process));
    findings.extend(young.iter().map(|(process, stats)| young_finding(cx, table, *process, stats)));
    if !findings.is_empty() {
        return worst(findings, "processes");
    }
    let stats = table.holders.values().map(|held| &held.close_wait);
    let all: u32 = stats.clone().map(|s| s.read + s.unread).sum();
    let unknown: u32 = stats.clone().map(|s| s.age_unknown).sum();
    if f64::from(unknown) >= cx.limit(&MIN_SOCKETS) {
        return Outcome::Unknown(Gap::new(
            format!("age of {}", counted(u64::from(unknown), "CLOSE_WAIT socket")),
            GapKind::Unsupported,
            format!("{} has no tcp_info", read_from(table)),
            "load the tcp_diag module, or compare two samples a minute apart",
        ));
    }
    let age = min_age(cx);
    let aged: u32 = stats.clone().map(|s| s.older_than_s(age)).sum();
    let in_use: u32 = stats.map(|s| s.in_use).sum();
    if all == 0 {
        return Outcome::Clear("no process holds a CLOSE_WAIT socket".to_owned());
    }
    let rest = match (in_use, (all - in_use.min(all)).saturating_sub(aged)) {
        (0, young) => format!("{} younger", thousands(young.into())),
        (used, 0) => format!("{} half-closed and in use", thousands(used.into())),
        (used, young) => {
            format!("{} younger, {} half-closed and in use", thousands(young.into()), thousands(used.into()))
        }
    };
    Outcome::Clear(format!(
        "{}: {} abandoned for {age} s or more (no process has {} of those), {rest}",
        counted(u64::from(all), "CLOSE_WAIT socket"),
        thousands(u64::from(aged)),
        cx.limit(&MIN_SOCKETS)
    ))
}

/// How many were there before a trace, and how many came since; nothing without one.
fn by_trace(stats: &CloseWaitStats) -> Vec<Evidence> {
    let Some(before) = stats.before_trace else { return Vec::new() };
    let all = stats.read + stats.unread;
    let figure = |what, n: u32| {
        Evidence::new(what, f64::from(n), "sockets", "trace (eBPF iter/tcp), joined by cookie")
    };
    vec![
        figure("whose peer closed during the trace", all.saturating_sub(before)),
        figure("whose peer closed before the trace", before),
    ]
}

/// Where the ages come from.
fn age_source(stats: &CloseWaitStats) -> &'static str {
    match stats.before_trace {
        Some(_) => "sock_diag tcp_info last_ack_recv and the trace (a lower bound)",
        None => "sock_diag tcp_info last_ack_recv (a lower bound)",
    }
}

/// Sockets that nobody has touched for a second or more: a server that works on them has them for less.
fn waits(stats: &CloseWaitStats) -> u32 {
    stats.older_than_s(1)
}

/// Many, but too young to tell a leak from work in hand.
fn young_finding(
    cx: &Context<'_>,
    table: &SocketTable,
    process: Option<ProcessIndex>,
    stats: &CloseWaitStats,
) -> Finding {
    let who = cx.process_label(process);
    let (age, source) = (min_age(cx), read_from(table));
    let (all, old) = (idle(stats), stats.older_than_s(min_age(cx)));
    let which = match old {
        0 => "all".to_owned(),
        _ => format!("{} of them", thousands((all - old).into())),
    };
    let change = earlier(cx, process).map(|before| more_than(&before, stats));
    let seconds = cx.window.seconds();
    let grows = match change {
        Some(more) if more > 0 => {
            format!("; {} more than {seconds:.1} s ago", thousands(more.unsigned_abs()))
        }
        Some(0) => format!("; as many as {seconds:.1} s ago"),
        Some(less) => format!("; {} fewer than {seconds:.1} s ago", thousands(less.unsigned_abs())),
        None => String::new(),
    };
    cx.finding(
        Severity::Info,
        Confidence::Low,
        who.clone(),
        format!(
            "{who} holds {}, {which} younger than {age} s: too young to tell a leak from work in hand{grows}",
            counted(all.into(), "CLOSE_WAIT socket")
        ),
    )
    .why(
        "The peer has closed, the process has not yet. A slow request leaves such a socket for as long as it takes; a leak \
         leaves it for ever. Only time tells them apart: a leak grows and grows old.",
    )
    .evidence([
        Evidence::new(format!("CLOSE_WAIT sockets of {who}"), f64::from(stats.read + stats.unread), "sockets", source),
        Evidence::new(
            "untouched for 1 s or more",
            f64::from(waits(stats)),
            "sockets",
            age_source(stats),
        ),
        Evidence::new("oldest", f64::from(stats.oldest_ms) / 1000.0, "s", age_source(stats)),
        Evidence::new("end read, not closed (Recv-Q 0)", f64::from(stats.read), "sockets", source),
        Evidence::new("end never read (Recv-Q 1 or more)", f64::from(stats.unread), "sockets", source),
    ])
    .evidence(by_trace(stats))
    .remedies([Remedy::application(format!(
        "Look again in {age} s, or watch a window that long (`linger check --samples 10 --interval {}s`): a leak is still \
         there and has grown, work in hand is gone.",
        age.div_ceil(9).max(1)
    ))])
    .process(process)
}

/// The smallest age from which a socket counts as abandoned, as the aggregate knows ages.
fn min_age(cx: &Context<'_>) -> u32 {
    let wanted = cx.limit(&MIN_AGE);
    [0, 1, 10, 60].into_iter().find(|edge| f64::from(*edge) >= wanted).unwrap_or(600)
}

fn leak(cx: &Context<'_>, process: Option<ProcessIndex>, stats: &CloseWaitStats) -> Option<Leak> {
    let age = min_age(cx);
    let aged = stats.older_than_s(age);
    // A leak that began less than a minute ago shows in those that nobody touched for 10 s, if they do grow.
    let stuck = stats.older_than_s(age.min(10));
    let at_least = |n: u32, threshold| n > 0 && f64::from(n) >= cx.limit(threshold);
    if stats.age_unknown > 0 {
        return without_ages(cx, process, stats);
    }
    if !at_least(stuck, &MIN_SOCKETS) {
        return None;
    }
    let growth = growth(cx, process, stats);
    let held = process.and_then(|p| cx.processes().ok()?.get(p));
    let descriptors = held.and_then(|p| Some((p.fds, descriptor_limit(p)?)));
    let exhaustion_s = match (&growth, descriptors) {
        (Some((rate, _)), Some((used, limit))) if *rate > 0.0 => {
            Some(limit.saturating_sub(used) as f64 / rate)
        }
        _ => None,
    };
    let ends_within = |threshold| exhaustion_s.is_some_and(|s| s <= cx.limit(threshold));
    let full =
        descriptors.is_some_and(|(used, limit)| fraction(used, limit) >= cx.limit(&CRITICAL_DESCRIPTORS));

    let runs_out = at_least(stuck, &WARNING_SOCKETS) && ends_within(&CRITICAL_EXHAUSTION);
    let severity = if f64::from(aged) > cx.limit(&CRITICAL_SOCKETS)
        || runs_out
        || (full && at_least(aged, &WARNING_SOCKETS))
    {
        Severity::Critical
    } else if at_least(aged, &WARNING_SOCKETS)
        || (at_least(aged, &MIN_SOCKETS) && ends_within(&WARNING_EXHAUSTION))
    {
        Severity::Warning
    } else if at_least(aged, &MIN_SOCKETS) {
        Severity::Info
    } else {
        return None;
    };
    let (count, age_s) = if at_least(aged, &MIN_SOCKETS) { (aged, age) } else { (stuck, age.min(10)) };
    let grows = growth.as_ref().is_some_and(|(rate, _)| *rate > 0.0);
    // What was read to its end and still is there after minutes is forgotten; what was never read can be a pool's.
    let forgotten = stats.read > stats.unread && stats.older_than_s(600) > 0;
    let confidence = if grows || forgotten { Confidence::High } else { Confidence::Medium };
    Some(Leak { process, stats: *stats, count, age_s, growth, exhaustion_s, severity, confidence })
}

/// What can be said where no ages are known: the number, with little confidence.
fn without_ages(cx: &Context<'_>, process: Option<ProcessIndex>, stats: &CloseWaitStats) -> Option<Leak> {
    let count = stats.read + stats.unread;
    let severity = if f64::from(count) > cx.limit(&CRITICAL_SOCKETS) {
        Severity::Warning
    } else if f64::from(count) >= cx.limit(&WARNING_SOCKETS) {
        Severity::Info
    } else {
        return None;
    };
    Some(Leak {
        process,
        stats: *stats,
        count,
        age_s: 0,
        growth: None,
        exhaustion_s: None,
        severity,
        confidence: Confidence::Low,
    })
}

fn idle(stats: &CloseWaitStats) -> u32 {
    stats.by_age.iter().sum()
}

/// By how many sockets a process has more than before. A window's first sample is read without tcp_info: then all of
/// its sockets are compared, as which of them were in use is not known.
fn more_than(before: &CloseWaitStats, now: &CloseWaitStats) -> i64 {
    if before.age_unknown == 0 && now.age_unknown == 0 {
        i64::from(idle(now)) - i64::from(idle(before))
    } else {
        i64::from(now.read + now.unread) - i64::from(before.read + before.unread)
    }
}

/// How many abandoned sockets come in a second, and how that is known.
fn growth(cx: &Context<'_>, process: Option<ProcessIndex>, stats: &CloseWaitStats) -> Option<(f64, String)> {
    let seconds = cx.window.seconds();
    let measured = earlier(cx, process).map(|before| {
        (
            more_than(&before, stats) as f64 / seconds,
            format!("{} over {seconds:.1} s", cx.sockets().map_or("sock_diag", read_from)),
        )
    });
    // Below the width of the age classes a window sees noise, and the ages know more.
    if seconds >= 10.0 && measured.is_some() {
        return measured;
    }
    let [_, _, young, minutes, older] = stats.by_age;
    let by_age = |over_s: f64| {
        let source = format!("sock_diag tcp_info: those {:.0} to {:.0} s old", 10.0, 10.0 + over_s);
        (f64::from(young) / over_s, source)
    };
    if minutes + older > 0 {
        return Some(by_age(50.0));
    }
    // All of them are younger than a minute: they can as well be slow work that ends. Then the window has to agree.
    let found = by_age((f64::from(stats.oldest_ms) / 1000.0 - 10.0).clamp(1.0, 50.0));
    measured.map(|seen| if seen.0 < found.0 { seen } else { found })
}

/// The process's CLOSE_WAIT sockets at the beginning of the window.
fn earlier(cx: &Context<'_>, process: Option<ProcessIndex>) -> Option<CloseWaitStats> {
    if !cx.window.has_past() {
        return None;
    }
    let first = cx.window.first();
    let then = match process {
        Some(index) => Some(same_process(first, cx.processes().ok()?.get(index)?)?.0),
        None => None,
    };
    let holders = &first.sockets.as_ref().ok()?.holders;
    Some(holders.get(&then).map(|held| held.close_wait).unwrap_or_default())
}

fn finding(cx: &Context<'_>, table: &SocketTable, leak: &Leak) -> Finding {
    let who = cx.process_label(leak.process);
    let source = read_from(table);
    let stats = &leak.stats;
    let mut peers: Vec<_> = table.close_wait_peers.iter().filter(|g| g.key.process == leak.process).collect();
    peers.sort_by_key(|g| (std::cmp::Reverse(g.count()), g.key));
    let all = stats.read + stats.unread;
    let age = if leak.age_s == 0 {
        "of unknown age".to_owned()
    } else {
        let all_to_one = match peers.as_slice() {
            [one] if !one.key.accepted => format!("peer ({})", endpoint(one.key.addr, one.key.port)),
            _ => "peer".to_owned(),
        };
        format!("whose {all_to_one} closed {} s or more ago", leak.age_s)
    };
    let read = if !table.shown.queues {
        "whether it read the end is not known".to_owned()
    } else if stats.unread == 0 {
        "it read the end and did not close".to_owned()
    } else if stats.read == 0 {
        "it never read the end".to_owned()
    } else {
        format!(
            "of all its {} it read {} to the end and did not close, and {} it never read to the end",
            thousands(u64::from(all)),
            thousands(u64::from(stats.read)),
            thousands(u64::from(stats.unread))
        )
    };
    let end = match (leak.exhaustion_s, &leak.growth) {
        (Some(s), Some((per_second, _))) => {
            format!("; with {} its descriptors last {}", rate(*per_second), span(s))
        }
        (None, Some((per_second, _))) if *per_second > 0.0 => format!("; {}", rate(*per_second)),
        _ => String::new(),
    };
    let summary =
        format!("{who} holds {} {age}; {read}{end}", counted(u64::from(leak.count), "CLOSE_WAIT socket"));
    let mut evidence =
        vec![Evidence::new(format!("CLOSE_WAIT sockets of {who}"), f64::from(all), "sockets", source)];
    if leak.age_s > 0 {
        evidence.extend([
            Evidence::new(
                format!("abandoned for {} s or more", leak.age_s),
                f64::from(leak.count),
                "sockets",
                age_source(stats),
            ),
            Evidence::new("oldest", f64::from(stats.oldest_ms) / 1000.0, "s", age_source(stats)),
            Evidence::new(
                "half-closed and in use",
                f64::from(stats.in_use),
                "sockets",
                "sock_diag tcp_info and Send-Q",
            ),
        ]);
    }
    if table.shown.queues {
        evidence.extend([
            Evidence::new("end read, not closed (Recv-Q 0)", f64::from(stats.read), "sockets", source),
            Evidence::new("end never read (Recv-Q 1 or more)", f64::from(stats.unread), "sockets", source),
        ]);
    }
    evidence.extend(by_trace(stats));
    evidence.extend(peers.iter().take(3).map(|g| {
        Evidence::new(format!("CLOSE_WAIT on {}", place(&g.key)), g.count() as f64, "sockets", source)
    }));
    if let Some((per_second, how)) = &leak.growth {
        evidence.push(Evidence::new("growth", (per_second * 100.0).round() / 100.0, "sockets/s", how));
    }
    if let Some(process) = leak.process.and_then(|p| cx.processes().ok()?.get(p)) {
        evidence.push(Evidence::new(
            "open descriptors",
            process.fds as f64,
            "descriptors",
            format!("/proc/{}/fd", process.pid),
        ));
        if let Some(limit) = descriptor_limit(process) {
            let source = format!("/proc/{}/limits, soft limit", process.pid);
            evidence.push(Evidence::new("descriptor limit", limit as f64, "descriptors", source));
        }
    }
    let mut why =
        "CLOSE_WAIT has no kernel timer: only close() in the process ends it. No sysctl shortens it, \
                   tcp_fin_timeout included."
            .to_owned();
    if stats.unread > stats.read && !leak.growth.as_ref().is_some_and(|(rate, _)| *rate > 0.0) {
        why.push_str(
            " They do not grow: idle connections of a pool that does not look at them until it needs one look the \
             same, and stop at the pool's size.",
        );
    }
    if leak.confidence == Confidence::Low {
        why.push_str(
            " Without tcp_info their age is unknown: sockets that are being worked on are counted too.",
        );
    }
    // The general advice speaks of both kinds; only the kind that was found is of use.
    let fits = |step: &Step| match step.setting {
        _ if !table.shown.queues => true,
        s if s.contains("Recv-Q 0") => stats.read > 0,
        s if s.contains("Recv-Q 1") => stats.unread > 0,
        _ => true,
    };
    let port = peers.first().filter(|g| !g.key.accepted).map_or(0, |g| g.key.port);
    let mut remedies = cx.client_remedies(leak.process, Symptom::CloseWaitLeak, port, 2, fits);
    let before = leak.exhaustion_s.map_or(String::new(), |s| format!(" within {}", span(s)));
    remedies.push(Remedy::application(match leak.process {
        Some(_) => format!(
            "Until it is fixed, restart {who}{before}: only the end of the process frees what it leaked. `ss -K` would \
             free the buffers but not the descriptors."
        ),
        None => "Run linger as root to see which process it is.".to_owned(),
    }));
    cx.finding(leak.severity, leak.confidence, who, summary)
        .why(why)
        .evidence(evidence)
        .remedies(remedies)
        .process(leak.process)
}

fn place(peer: &CloseWaitPeer) -> String {
    let at = endpoint(peer.addr, peer.port);
    if peer.accepted { format!("connections accepted on {at}") } else { format!("connections to {at}") }
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::{Confidence, Severity};
    use linger_model::{SocketRecord, State};

    /// CLOSE_WAIT sockets to Redis that the peer left so long ago, read to their end.
    fn waiting(n: u16, first_port: u16, age_ms: u32) -> Vec<SocketRecord> {
        let sockets = many(n, State::CloseWait, "10.0.0.1", first_port, "10.0.0.9", 6379);
        with_info(held_by(sockets, 0), |i| (i.last_ack_recv_ms, i.last_data_sent_ms) = (age_ms, age_ms))
    }

    fn unread(mut sockets: Vec<SocketRecord>) -> Vec<SocketRecord> {
        sockets.iter_mut().for_each(|s| s.rqueue = 1);
        sockets
    }

    fn java(at_s: f64, fds: u64, limit: u64) -> Moment {
        moment(at_s).process_with(77, "java", move |p| (p.fds, p.fd_limit) = (fds, Some(limit)))
    }

    fn severity(outcome: &Outcome) -> Option<Severity> {
        match outcome {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    fn alone(n: u16, age_ms: u32) -> Option<Severity> {
        let now = java(1.0, 2000, 1_000_000).sockets(waiting(n, 30_000, age_ms));
        severity(&run(&super::RULE, [java(0.0, 2000, 1_000_000), now]))
    }

    #[test]
    fn fires_on_a_leak_that_grows_and_tells_when_it_ends() {
        let now = java(1.0, 3000, 4096)
            .sockets(waiting(1240, 30_000, 90_000))
            .sockets(waiting(100, 40_000, 30_000));
        golden!([java(0.0, 3000, 4096), now]);
    }

    #[test]
    fn fires_on_accepted_connections_that_nobody_reads() {
        let accepted = many(200, State::CloseWait, "10.0.0.1", 8080, "10.0.0.50", 40_000);
        let accepted = accepted.into_iter().enumerate().map(|(i, mut s)| {
            (s.sport, s.dport) = (8080, 40_000 + i as u16);
            s
        });
        let accepted = with_info(unread(held_by(accepted.collect(), 0)), |i| {
            (i.last_ack_recv_ms, i.last_data_sent_ms) = (700_000, 700_000);
        });
        let now = java(1.0, 300, 65_536).socket(listener("0.0.0.0", 8080, 0, 128, 0)).sockets(accepted);
        golden!([java(0.0, 300, 65_536), now]);
    }

    #[test]
    fn is_clear_when_the_sockets_are_being_worked_on() {
        golden!([java(0.0, 500, 1024), java(1.0, 500, 1024).sockets(waiting(400, 30_000, 700))]);
    }

    #[test]
    fn a_first_sample_without_tcp_info_is_no_growth() {
        let bare = |n| {
            let mut sockets = waiting(n, 30_000, 0);
            sockets.iter_mut().for_each(|s| s.info = None);
            java(0.0, 2000, 4096).sockets(sockets)
        };
        let later = |at_s| java(at_s, 2000, 4096).sockets(waiting(600, 30_000, 25_000));
        let outcome = run(&super::RULE, [bare(600), later(1.0)]);
        let Outcome::Fired(findings) = &outcome else { panic!("{outcome:?}") };
        assert_eq!(severity(&outcome), Some(Severity::Info));
        assert!(findings[0].summary.ends_with("as many as 1.0 s ago"), "{}", findings[0].summary);
        // A window of half a minute, and a leak's rate is what came in it: none.
        let outcome = run(&super::RULE, [bare(600), later(30.0)]);
        assert_eq!(severity(&outcome), Some(Severity::Info), "{outcome:?}");
        assert_eq!(severity(&run(&super::RULE, [bare(300), later(30.0)])), Some(Severity::Critical));
    }

    #[test]
    fn many_young_ones_are_a_note() {
        let young = |n| waiting(n, 30_000, 9_000);
        golden!([java(0.0, 2000, 65_536).sockets(young(1200)), java(1.0, 2000, 65_536).sockets(young(1260))]);
        assert_eq!(alone(99, 9_000), None);
        assert_eq!(alone(100, 9_000), Some(Severity::Info));
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = moment(1.0);
        last.no_sockets = true;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn severity_follows_number_and_age() {
        assert_eq!(alone(3, 3_600_000), None, "three old sockets are nothing");
        assert_eq!(alone(9, 90_000), None);
        assert_eq!(alone(10, 90_000), Some(Severity::Info));
        assert_eq!(alone(99, 90_000), Some(Severity::Info));
        assert_eq!(alone(200, 90_000), Some(Severity::Warning));
        assert_eq!(alone(1000, 90_000), Some(Severity::Warning));
        assert_eq!(alone(1001, 90_000), Some(Severity::Critical));
        assert_eq!(alone(5000, 9_000), Some(Severity::Info), "work of some seconds, or a young leak");
        assert_eq!(alone(5000, 900), None, "work");
    }

    #[test]
    fn descriptors_decide_for_a_smaller_leak() {
        let at = |fds, limit, old, young| {
            let sockets = || waiting(old, 30_000, 900_000).into_iter().chain(waiting(young, 40_000, 20_000));
            severity(&run(
                &super::RULE,
                [java(0.0, fds, limit).sockets(sockets()), java(1.0, fds, limit).sockets(sockets())],
            ))
        };
        assert_eq!(at(200, 1_000_000, 20, 1), Some(Severity::Info), "1.2 a minute of a million");
        assert_eq!(at(200, 1024, 20, 1), Some(Severity::Warning), "gone in less than a day");
        assert_eq!(at(950, 1024, 200, 0), Some(Severity::Critical), "nearly gone");
        assert_eq!(at(500, 1024, 200, 50), Some(Severity::Critical), "gone in nine minutes");
    }

    #[test]
    fn a_young_leak_counts_only_if_the_window_shows_it_grow() {
        let then = || java(0.0, 1500, 4096).sockets(waiting(600, 30_000, 25_000));
        let grown =
            java(1.0, 1540, 4096).sockets(waiting(600, 30_000, 26_000)).sockets(waiting(40, 40_000, 500));
        assert_eq!(severity(&run(&super::RULE, [then(), grown])), Some(Severity::Critical));
        // Work of 30 s at a steady load looks the same in one sample, and does not grow.
        let steady = java(1.0, 1500, 4096).sockets(waiting(600, 30_000, 25_000));
        assert_eq!(severity(&run(&super::RULE, [then(), steady])), Some(Severity::Info));
    }

    #[test]
    fn a_half_close_in_use_is_no_leak() {
        let sent =
            with_info(waiting(500, 30_000, 0), |i| (i.last_ack_recv_ms, i.last_data_sent_ms) = (90_000, 200));
        assert_eq!(
            severity(&run(&super::RULE, [java(0.0, 600, 1024), java(1.0, 600, 1024).sockets(sent)])),
            None
        );
        let mut queued = waiting(500, 30_000, 90_000);
        queued.iter_mut().for_each(|s| s.wqueue = 4096);
        assert_eq!(
            severity(&run(&super::RULE, [java(0.0, 600, 1024), java(1.0, 600, 1024).sockets(queued)])),
            None
        );
    }

    #[test]
    fn what_nobody_accepted_is_not_this_fault() {
        let mut sockets = waiting(500, 30_000, 90_000);
        sockets.iter_mut().for_each(|s| s.inode = 0);
        assert_eq!(
            severity(&run(&super::RULE, [java(0.0, 600, 1024), java(1.0, 600, 1024).sockets(sockets)])),
            None
        );
    }

    #[test]
    fn a_pool_that_does_not_look_is_told_with_less_confidence() {
        let pool = || unread(waiting(150, 30_000, 300_000));
        let outcome = run(
            &super::RULE,
            [java(0.0, 600, 65_536).sockets(pool()), java(1.0, 600, 65_536).sockets(pool())],
        );
        let Outcome::Fired(findings) = outcome else { panic!("{outcome:?}") };
        assert_eq!(findings[0].confidence, Confidence::Medium);
        assert!(findings[0].why.contains("pool"), "{}", findings[0].why);
    }

    #[test]
    fn without_ages_it_says_little() {
        let bare = |n| {
            let sockets = held_by(many(n, State::CloseWait, "10.0.0.1", 30_000, "10.0.0.9", 6379), 0);
            run(&super::RULE, [java(0.0, 600, 4096), java(1.0, 600, 4096).sockets(sockets)])
        };
        assert_eq!(severity(&bare(5)), None);
        assert!(matches!(bare(50), Outcome::Unknown(_)));
        let Outcome::Fired(findings) = bare(1500) else { panic!() };
        assert_eq!((findings[0].severity, findings[0].confidence), (Severity::Warning, Confidence::Low));
    }

    #[test]
    fn at_most_five_processes_are_shown() {
        let mut now = moment(1.0);
        for n in 0..7u32 {
            now = now.process(100 + n, "worker");
            let sockets = held_by(waiting(200, 30_000 + 300 * n as u16, 90_000), n);
            now = now.sockets(sockets);
        }
        let Outcome::Fired(findings) = run(&super::RULE, [now]) else { panic!() };
        assert_eq!(findings.len(), 5);
        assert!(findings[4].summary.ends_with("(2 more not shown)"), "{}", findings[4].summary);
    }
}
