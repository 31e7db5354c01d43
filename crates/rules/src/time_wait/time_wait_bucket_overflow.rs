use crate::closing::places;
use crate::ports::{socket_source, time_wait_buckets};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::State;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};

static MIN_OVERFLOWS: Threshold = Threshold {
    key: "min_overflows_per_second",
    default: 1.0,
    unit: "/s",
    doc: "Sockets per second that skip TIME_WAIT from which this is a warning; below, it is information.",
};

declare_rule! {
    /// # What it detects
    /// The namespace holds `tcp_max_tw_buckets` minisockets, so that connections which end now skip TIME_WAIT (or
    /// an orphan's FIN_WAIT2) altogether: TcpExt.TCPTimeWaitOverflow moves.
    ///
    /// # Why it matters
    /// Less than most articles say. Nothing is refused and nothing is dropped: the connection was over already. What is
    /// lost is TIME_WAIT's protection: a delayed segment of the old connection can reach a new one with the same
    /// ports, and a lost last ACK is answered by a RST. The kernel logs nothing (the "time wait bucket table
    /// overflow" line is gone since before 3.10), so only the counter tells.
    ///
    /// # Evidence
    /// TcpExt.TCPTimeWaitOverflow over the window; sockstat's `tw` against `tcp_max_tw_buckets`. The counter also moves
    /// when the kernel has no memory for a minisocket: then `tw` is below the limit, and the finding says so. 0 means
    /// no TIME_WAIT at all: every close of this side counts. A negative value means no limit from about 5.18 on; before,
    /// the kernel compares with sign, and it means no TIME_WAIT at all, as 0 does.
    ///
    /// # Fix
    /// Make fewer TIME_WAIT sockets first: keep connections alive, use pools. A lowered `tcp_max_tw_buckets` should
    /// go back to the kernel's default (half of the established-hash entries); 100,000 TIME_WAIT sockets cost 25 MB.
    ///
    /// # Fix safety
    /// Raising the limit is safe: it takes effect at once, costs 256 bytes a socket and can be taken back.
    ///
    /// # Sources
    /// net/ipv4/inet_timewait_sock.c inet_twsk_alloc(); net/ipv4/tcp_minisocks.c tcp_time_wait(). Measured on 6.18: with
    /// the limit two above `tw`, five closes left two TIME_WAIT and moved the counter by three; every connect succeeded.
    TW002, "time-wait-bucket-overflow", Netns, Warning, [MIN_OVERFLOWS]
}

const COUNTER: &str = "TcpExt.TCPTimeWaitOverflow";
const LIMIT: &str = "net.ipv4.tcp_max_tw_buckets";

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable(format!("needs two samples: {COUNTER} tells by moving"));
    }
    let moved = known!(cx.window.delta(COUNTER));
    let tw = known!(&cx.now().sockstat).tw;
    // On a kernel of unknown version it is not known what a negative limit means: nothing is said of it.
    let limit = time_wait_buckets(cx.now());
    if let Err(gap) = &limit
        && cx.now().sysctl_int(LIMIT).is_err()
    {
        return Outcome::Unknown(gap.clone());
    }
    let in_use = match limit {
        Ok(Some(limit)) => format!("{} of {}", thousands(tw), thousands(limit)),
        Ok(None) => format!("{} of any number", thousands(tw)),
        Err(_) => format!("{} of an unknown limit", thousands(tw)),
    };
    let unclear = limit.is_err();
    let limit = limit.ok().flatten();
    if moved.by == 0 {
        return Outcome::Clear(format!(
            "{COUNTER} did not move in {:.1} s; {in_use} minisockets in use",
            moved.seconds
        ));
    }
    let severity = if cx.sure_rate(moved.by as f64) >= cx.limit(&MIN_OVERFLOWS) {
        Severity::Warning
    } else {
        Severity::Info
    };
    // Near the limit some have ended again between the overflow and the sample.
    let at_limit = limit.is_some_and(|limit| tw + moved.by >= limit);
    let cause = match limit {
        Some(0) => format!(
            "tcp_max_tw_buckets is {}, so that no connection gets TIME_WAIT",
            cx.now().sysctl(LIMIT).unwrap_or("0")
        ),
        Some(limit) if at_limit => {
            format!("the namespace is at its limit of {}", counted(limit, "minisocket"))
        }
        _ if unclear => format!(
            "tcp_max_tw_buckets is negative, which older kernels take for none and newer ones for no limit ({in_use})"
        ),
        _ => format!("the kernel had no memory for a minisocket ({in_use} in use)"),
    };
    let table = cx.sockets().ok().filter(|table| table.walked_time_wait);
    let found = table.map(|table| places(table, &[State::TimeWait], 1));
    let most = found.iter().flatten().take(2).flatten().max_by_key(|place| place.count);
    let owner = most.and_then(|place| place.owner);
    let churner = most.and_then(|place| place.churner);
    let by = most.map_or(String::new(), |place| {
        // TIME_WAIT has no owner.
        let whose = owner.map_or(String::new(), |_| {
            format!(", where the live or listening sockets are of {}", cx.process_label(owner))
        });
        format!("; the most TIME_WAIT, {}, are on {}{whose}", thousands(place.count.into()), place.name)
    });
    let source = table.map_or("sock_diag", socket_source);
    let finding = cx
        .finding(
            severity,
            if at_limit { Confidence::High } else { Confidence::Medium },
            format!("network namespace {}", cx.now().netns.label()),
            format!("{} skipped TIME_WAIT in {:.1} s: {cause}", counted(moved.by, "closed connection"), moved.seconds) + &by,
        )
        .why(
            "A connection that ends when tcp_max_tw_buckets minisockets exist is forgotten at once. No connection is \
             refused or dropped by this; what is lost is the protection against delayed segments.",
        )
        .evidence([
            cx.moved(COUNTER, moved),
            Evidence::new("minisockets in use", tw as f64, "sockets", "/proc/net/sockstat TCP tw"),
        ])
        .evidence(found.iter().flatten().take(2).flatten().map(|place| place.evidence("TIME_WAIT", source)))
        .evidence(cx.setting(LIMIT))
        .remedies(cx.application_remedies(churner, Symptom::ShortConnections).into_iter().take(2))
        .remedies(limit.filter(|_| at_limit).map(|limit| {
            Remedy::kernel(
                Applicability::Safe,
                format!("{LIMIT}={}", limit.saturating_mul(2).max(262_144)),
                "Raise the limit; a minisocket costs 256 bytes. Where somebody lowered it, restore the default (half of \
                 the established-hash entries).",
            )
        }))
        .process(churner);
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::State;

    fn overflowing(limit: &str, tw: u64) -> linger_model::Finding {
        let mut last = moment(1.0).counter("TcpExt.TCPTimeWaitOverflow", 120).sysctl(super::LIMIT, limit);
        last.sockstat.tw = tw;
        match run(&super::RULE, [moment(0.0), last]) {
            Outcome::Fired(mut findings) => findings.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn zero_is_no_time_wait_and_below_zero_is_no_limit() {
        let zero = overflowing("0", 0);
        assert!(zero.summary.ends_with("tcp_max_tw_buckets is 0, so that no connection gets TIME_WAIT"));
        assert!(zero.remedies.iter().any(|r| r.sysctl.is_some()));
        let none = overflowing("-1", 900_000);
        assert!(none.summary.contains("had no memory"), "{}", none.summary);
        assert!(none.remedies.iter().all(|r| r.sysctl.is_none()), "there is no limit to raise");
    }

    #[test]
    fn below_zero_is_no_time_wait_on_old_kernels_and_unclear_on_unknown_ones() {
        let on = |kernel| {
            let at = |at_s| {
                let mut moment = moment(at_s).sysctl(super::LIMIT, "-1");
                moment.kernel = kernel;
                moment
            };
            match run(&super::RULE, [at(0.0), at(1.0).counter("TcpExt.TCPTimeWaitOverflow", 120)]) {
                Outcome::Fired(mut findings) => findings.remove(0),
                other => panic!("{other:?}"),
            }
        };
        let old = on("5.15.0-91-generic");
        assert!(old.summary.contains("is -1, so that no connection gets TIME_WAIT"), "{}", old.summary);
        assert!(old.remedies.iter().any(|r| r.sysctl.is_some()));
        let unknown = on("custom");
        assert!(unknown.summary.contains("older kernels take for none"), "{}", unknown.summary);
        assert!(unknown.remedies.iter().all(|r| r.sysctl.is_none()));
    }

    #[test]
    fn one_event_of_a_short_window_is_no_rate() {
        let last = moment(0.05).counter("TcpExt.TCPTimeWaitOverflow", 5);
        match run(&super::RULE, [moment(0.0), last]) {
            Outcome::Fired(findings) => {
                assert_eq!(findings[0].severity, linger_model::report::Severity::Info)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_when_the_counter_moves_at_the_limit() {
        let waiting = expiring(many(9000, State::TimeWait, "10.0.0.1", 40_000, "10.0.0.2", 443), 0, 60_000);
        let live = held_by(many(2, State::Established, "10.0.0.1", 60_000, "10.0.0.2", 443), 0);
        let mut last = moment(1.0).process(31, "haproxy").sockets(waiting).sockets(live);
        last = last.counter("TcpExt.TCPTimeWaitOverflow", 120);
        last.sockstat.tw = 131_072;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn is_clear_at_the_limit_when_nothing_overflows() {
        let mut last = moment(1.0);
        last.sockstat.tw = 131_072;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn is_not_applicable_without_a_past() {
        golden!([moment(1.0)]);
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = moment(1.0);
        last.no_counters = true;
        golden!([moment(0.0), last]);
    }
}
