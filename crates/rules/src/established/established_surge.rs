use crate::limits::{descriptor_limit, percent, rate, read_from, same_process, span, worst};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_model::aggregate::ProcessIndex;
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::Snapshot;
use linger_model::{Finding, State};

static MIN_GROWTH: Threshold = Threshold {
    key: "min_growth",
    default: 100.0,
    unit: "connections",
    doc: "Established connections gained over the window below which nothing is reported.",
};
static MIN_SHARE: Threshold = Threshold {
    key: "min_growth_share",
    default: 0.2,
    unit: "fraction",
    doc: "The same gain as a share of what there was at the beginning.",
};
static EXTRAPOLATION: Threshold = Threshold {
    key: "extrapolation_windows",
    default: 10.0,
    unit: "windows",
    doc: "How many times its own length a trend is carried on: descriptors that run out within that time are a warning.",
};

declare_rule! {
    /// # What it detects
    /// Established connections, of one process where it can be told, grow from each sample to the next as a leak does: by
    /// a large share and a large number, without ever falling.
    ///
    /// # Why it matters
    /// A client that opens a connection for each request and never closes it, or a server that never times idle clients
    /// out, works until descriptors, ports or memory run out. Nothing in the kernel ends an idle established connection.
    ///
    /// # Evidence
    /// Three samples or more (--samples), each higher than the last. The kernel counts opened connections
    /// (Tcp.ActiveOpens, Tcp.PassiveOpens): if nearly all that were opened stay, nothing is being closed. The harmless
    /// doubles are load that rises, a pool that fills, clients that come back after a restart: these bend and stop, so
    /// a longer window tells. Tcp.CurrEstab is no evidence, as it includes CLOSE_WAIT.
    ///
    /// # Fix
    /// Client: one client object and pool for all requests, closed when done; a bound on the pool. Server: an idle
    /// time-out, a bound on connections.
    ///
    /// # Fix safety
    /// No kernel setting closes established connections. An idle time-out must be longer than the clients' pauses.
    ///
    /// # Sources
    /// RFC 9293 section 3.8.4 (keep-alive is optional and off by default); net/ipv4/tcp.c tcp_set_state() (CurrEstab,
    /// EstabResets); net/ipv4/tcp_output.c tcp_connect() (ActiveOpens).
    ES001, "established-surge", Netns, Warning, [MIN_GROWTH, MIN_SHARE, EXTRAPOLATION]
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(cx.sockets());
    if cx.window.trend().count() < 3 {
        return Outcome::NotApplicable("needs a trend: three samples or more (--samples 3)".to_owned());
    }
    for snapshot in cx.window.trend() {
        known!(&snapshot.sockets);
    }
    let all = cx.window.trend_series(|s| Some(s.sockets.as_ref().ok()?.states.count(State::Established)));
    let mut surges: Vec<(u64, Finding)> = Vec::new();
    for (process, held) in &table.holders {
        let now = held.states.get(State::Established as usize).copied().unwrap_or(0);
        let Some(index) = process.filter(|_| f64::from(now) >= cx.limit(&MIN_GROWTH)) else { continue };
        let series = cx.window.trend_series(|s| established_of(cx, s, index));
        if let Some(gain) = surge(cx, &series) {
            surges.push((gain, process_finding(cx, index, &series, gain)));
        }
    }
    surges.sort_by_key(|(gain, _)| std::cmp::Reverse(*gain));
    if !surges.is_empty() {
        return worst(surges.into_iter().map(|(_, finding)| finding).collect(), "processes");
    }
    if let Some(gain) = surge(cx, &all) {
        let netns = format!("network namespace {}", cx.now().netns.label());
        let (from, to) = ends(&all);
        let evidence =
            Evidence::new("ESTABLISHED sockets at first", from as f64, "sockets", read_from(table));
        let finding =
            finding(cx, Severity::Info, netns, gain, (from, to), String::new(), vec![evidence], None);
        return Outcome::Fired(vec![finding]);
    }
    let (from, to) = ends(&all);
    Outcome::Clear(format!(
        "{} ESTABLISHED sockets {:.1} s ago, {} now: no steady growth by {} and {}",
        thousands(from),
        cx.window.trend_seconds(),
        thousands(to),
        percent(cx.limit(&MIN_SHARE)).replace(".0 %", " %"),
        cx.limit(&MIN_GROWTH)
    ))
}

/// A process's established connections in a snapshot; 0 where it lived and had none.
fn established_of(cx: &Context<'_>, snapshot: &Snapshot, index: ProcessIndex) -> Option<u64> {
    let process = cx.processes().ok()?.get(index)?;
    let (then, _) = same_process(snapshot, process)?;
    let held = snapshot.sockets.as_ref().ok()?.holders.get(&Some(then));
    Some(held.and_then(|h| h.states.get(State::Established as usize).copied()).map_or(0, u64::from))
}

/// By how much it grew, if it did so in every step and by enough.
fn surge(cx: &Context<'_>, series: &[(f64, u64)]) -> Option<u64> {
    let complete = series.len() == cx.window.trend().count();
    let rises = series.windows(2).all(|pair| matches!(pair, [(_, a), (_, b)] if a < b));
    let (from, to) = ends(series);
    let gain = to.saturating_sub(from);
    let enough =
        gain as f64 >= cx.limit(&MIN_GROWTH).max(1.0) && gain as f64 >= cx.limit(&MIN_SHARE) * from as f64;
    (complete && rises && enough).then_some(gain)
}

fn ends(series: &[(f64, u64)]) -> (u64, u64) {
    (series.first().map_or(0, |(_, n)| *n), series.last().map_or(0, |(_, n)| *n))
}

fn process_finding(cx: &Context<'_>, index: ProcessIndex, series: &[(f64, u64)], gain: u64) -> Finding {
    let who = cx.process_label(Some(index));
    let per_second = gain as f64 / cx.window.trend_seconds();
    let process = cx.processes().ok().and_then(|p| p.get(index));
    let limit = process.and_then(|p| Some((p, descriptor_limit(p)?)));
    let left = limit.map(|(p, l)| l.saturating_sub(p.fds) as f64 / per_second);
    // A trend of two seconds says nothing of tomorrow.
    let soon = left.is_some_and(|s| s <= cx.limit(&EXTRAPOLATION) * cx.window.trend_seconds());
    let severity = if soon { Severity::Warning } else { Severity::Info };
    let end = left
        .filter(|_| soon)
        .map_or(String::new(), |s| format!("; with {} its descriptors last {}", rate(per_second), span(s)));
    let (from, to) = ends(series);
    let mut evidence = vec![Evidence::new(
        format!("ESTABLISHED sockets of {who} at first"),
        from as f64,
        "sockets",
        cx.sockets().map_or("sock_diag", read_from),
    )];
    evidence.extend(limit.into_iter().flat_map(|(p, l)| {
        [
            Evidence::new("open descriptors", p.fds as f64, "descriptors", format!("/proc/{}/fd", p.pid)),
            Evidence::new(
                "descriptor limit",
                l as f64,
                "descriptors",
                format!("/proc/{}/limits, soft limit", p.pid),
            ),
        ]
    }));
    finding(cx, severity, who, gain, (from, to), end, evidence, Some(index))
}

#[expect(clippy::too_many_arguments, reason = "the two callers differ in just these")]
fn finding(
    cx: &Context<'_>,
    severity: Severity,
    who: String,
    gain: u64,
    (from, to): (u64, u64),
    end: String,
    mut evidence: Vec<Evidence>,
    process: Option<ProcessIndex>,
) -> Finding {
    let seconds = cx.window.trend_seconds();
    evidence.push(Evidence::new(
        "ESTABLISHED sockets now",
        to as f64,
        "sockets",
        cx.sockets().map_or("sock_diag", read_from),
    ));
    evidence.push(Evidence::new(
        "growth",
        (gain as f64 / seconds * 100.0).round() / 100.0,
        "sockets/s",
        format!("{} over {seconds:.1} s", cx.sockets().map_or("sock_diag", read_from)),
    ));
    let place = grown_most(cx, process);
    if let Some((name, more)) = &place {
        evidence.push(Evidence::new(
            format!("more on {name}"),
            *more as f64,
            "sockets",
            format!("sock_diag over {:.1} s", cx.window.seconds()),
        ));
    }
    let opened: Option<u64> =
        ["Tcp.ActiveOpens", "Tcp.PassiveOpens"].iter().map(|c| cx.window.trend_delta(c)).sum();
    evidence.extend(opened.map(|n| {
        Evidence::new(
            "connections opened in the namespace",
            n as f64,
            "connections",
            format!("/proc/net/snmp ActiveOpens + PassiveOpens over {seconds:.1} s"),
        )
    }));
    // Where four of five that were opened stay, hardly any is closed.
    let stay = opened.is_some_and(|n| n > 0 && gain * 5 >= n * 4);
    let at = place.map_or(String::new(), |(name, more)| format!(", {} more on {name}", thousands(more)));
    let none_closed = if stay { "; hardly any of those opened was closed" } else { "" };
    let remedies = [
        Remedy::application(
            "Take a longer window (linger check --samples 10 --interval 60s): load and pools bend and stop, a leak goes on as a \
         straight line.",
        ),
        Remedy::application(
            "Client: one client object with a bounded pool for all requests, responses read to their end. Server: an idle \
         time-out and a bound on connections.",
        ),
    ];
    cx.finding(
        severity,
        if stay { Confidence::Medium } else { Confidence::Low },
        who.clone(),
        format!(
            "{who} went from {} to {} in {seconds:.1} s, up in every sample{at}{none_closed}{end}",
            thousands(from),
            counted(to, "established connection")
        ),
    )
    .why(
        "Nothing in the kernel ends an established connection that is idle. Rising load, a pool that fills, or clients that \
         come back look the same at first.",
    )
    .evidence(evidence)
    .remedies(remedies)
    .process(process)
}

/// Where the growth is: the destination or listener that gained most.
fn grown_most(cx: &Context<'_>, process: Option<ProcessIndex>) -> Option<(String, u64)> {
    let (now, then) = (cx.sockets().ok()?, cx.window.first().sockets.as_ref().ok()?);
    let at = |tally: &[u32; 14]| tally.get(State::Established as usize).copied().map_or(0, u64::from);
    let tuples = now.tuples.iter().filter(|g| process.is_none() || g.value.owner == process).map(|g| {
        let before = then.tuples.get(&g.key).map_or(0, |old| at(&old.value.states()));
        (
            format!("connections to {}", endpoint(g.key.dst, g.key.dport)),
            at(&g.value.states()).saturating_sub(before),
        )
    });
    let mine = |l: &&linger_model::aggregate::ListenPoint| {
        process.is_none() || l.sockets.iter().any(|s| s.owner == process)
    };
    let listeners = now.listeners.iter().filter(mine).map(|l| {
        let before =
            then.listeners.iter().find(|o| (o.addr, o.port) == (l.addr, l.port)).map_or(0, |o| at(&o.states));
        (
            format!("connections accepted on {}", endpoint(l.addr, l.port)),
            at(&l.states).saturating_sub(before),
        )
    });
    tuples
        .chain(listeners)
        .filter(|(_, more)| *more > 0)
        .max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0)))
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::{Confidence, Severity};
    use linger_model::{Finding, State};

    fn app(at_s: f64, connections: u16, fds: u64, limit: u64) -> Moment {
        let sockets = held_by(many(connections, State::Established, "10.0.0.1", 30_000, "10.0.0.9", 5432), 0);
        moment(at_s)
            .process_with(31, "billing", move |p| (p.fds, p.fd_limit) = (fds, Some(limit)))
            .sockets(sockets)
            .counter("Tcp.ActiveOpens", u64::from(connections))
    }

    fn of(counts: [u16; 3]) -> Outcome {
        run(&super::RULE, (0u8..).zip(counts).map(|(i, n)| app(f64::from(i) * 30.0, n, 500, 1_000_000)))
    }

    fn first(outcome: Outcome) -> Finding {
        let Outcome::Fired(mut findings) = outcome else { panic!("{outcome:?}") };
        findings.remove(0)
    }

    #[test]
    fn fires_on_steady_growth_towards_the_descriptor_limit() {
        golden!([app(0.0, 200, 250, 1024), app(30.0, 400, 450, 1024), app(60.0, 600, 650, 1024)]);
    }

    #[test]
    fn is_clear_when_it_breathes() {
        golden!([app(0.0, 400, 500, 1024), app(30.0, 300, 500, 1024), app(60.0, 600, 500, 1024)]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = app(2.0, 9, 50, 1024);
        last.no_sockets = true;
        golden!([app(0.0, 9, 50, 1024), app(1.0, 9, 50, 1024), last]);
    }

    #[test]
    fn two_samples_are_no_trend() {
        let outcome = run(&super::RULE, [app(0.0, 10, 50, 1024), app(1.0, 900, 950, 1024)]);
        assert!(matches!(outcome, Outcome::NotApplicable(_)));
    }

    #[test]
    fn moments_before_the_window_are_its_trend() {
        let earlier = |counts: [u16; 3]| {
            let moments = (0u8..).zip(counts).map(|(i, n)| app(f64::from(i) * 60.0, n, 500, 1024));
            moments.map(|it| std::sync::Arc::new(it.snapshot())).collect()
        };
        // In the last second nothing came.
        let now = || window([app(179.0, 800, 900, 1024), app(180.0, 800, 900, 1024)]);
        let found = first(run_in(&super::RULE, &now().with_earlier(earlier([200, 400, 600]))));
        assert!(found.summary.contains("from 200 to 800") && found.summary.contains("180.0 s"), "{found:?}");
        assert_eq!(found.severity, Severity::Warning, "124 descriptors are left, for 37 s");
        let halting = run_in(&super::RULE, &now().with_earlier(earlier([200, 400, 800])));
        assert!(matches!(halting, Outcome::Clear(_)), "{halting:?}");
        assert!(matches!(run_in(&super::RULE, &now()), Outcome::NotApplicable(_)));
    }

    #[test]
    fn small_or_halting_growth_is_none() {
        assert!(matches!(of([100, 150, 190]), Outcome::Clear(_)), "90 more");
        assert!(matches!(of([5000, 5300, 5600]), Outcome::Clear(_)), "12 %");
        assert!(matches!(of([100, 400, 400]), Outcome::Clear(_)), "a pool that has filled");
        assert_eq!(first(of([100, 400, 700])).severity, Severity::Info);
    }

    #[test]
    fn opened_and_closed_again_is_less_of_a_leak() {
        assert_eq!(first(of([100, 400, 700])).confidence, Confidence::Medium);
        let busy = (0u8..3).map(|i| {
            app(f64::from(i), 100 + 200 * u16::from(i), 500, 1_000_000)
                .counter("Tcp.PassiveOpens", 5000 * u64::from(i))
        });
        assert_eq!(first(run(&super::RULE, busy)).confidence, Confidence::Low);
    }

    #[test]
    fn a_short_trend_is_not_carried_far() {
        let short = [app(0.0, 100, 150, 65_536), app(1.0, 400, 450, 65_536), app(2.0, 700, 750, 65_536)];
        assert_eq!(
            first(run(&super::RULE, short)).severity,
            Severity::Info,
            "216 s away, by a window of 2 s"
        );
    }

    #[test]
    fn growth_of_nobody_in_particular_is_the_namespaces() {
        let at = |i: u8, n| {
            moment(f64::from(i)).sockets(many(n, State::Established, "10.0.0.1", 30_000, "10.0.0.9", 80))
        };
        let finding = first(run(&super::RULE, [at(0, 100), at(1, 400), at(2, 700)]));
        assert!(finding.subject.starts_with("network namespace"), "{}", finding.subject);
    }
}
