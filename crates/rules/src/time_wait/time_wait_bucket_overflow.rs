use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
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
    /// when the kernel has no memory for a minisocket: then `tw` is below the limit, and the finding says so.
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
    TW002, "time-wait-bucket-overflow", Netns, [MIN_OVERFLOWS]
}

const COUNTER: &str = "TcpExt.TCPTimeWaitOverflow";
const LIMIT: &str = "net.ipv4.tcp_max_tw_buckets";

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable(format!("needs two samples: {COUNTER} tells by moving"));
    }
    let moved = known!(cx.window.delta(COUNTER));
    let tw = known!(&cx.now().sockstat).tw;
    let limit = known!(cx.now().sysctl_int(LIMIT)).max(0) as u64;
    if moved.by == 0 {
        return Outcome::Clear(format!(
            "{COUNTER} did not move in {:.1} s; {} of {} buckets in use",
            moved.seconds,
            thousands(tw),
            thousands(limit)
        ));
    }
    let severity =
        if moved.per_second() >= cx.limit(&MIN_OVERFLOWS) { Severity::Warning } else { Severity::Info };
    // Near the limit some have ended again between the overflow and the sample.
    let at_limit = tw + moved.by >= limit;
    let cause = if at_limit {
        format!("the namespace is at its limit of {}", counted(limit, "minisocket"))
    } else {
        format!(
            "the kernel had no memory for a minisocket ({} of {} in use)",
            thousands(tw),
            thousands(limit)
        )
    };
    let finding = cx
        .finding(
            severity,
            if at_limit { Confidence::High } else { Confidence::Medium },
            format!("network namespace {}", cx.now().netns.label()),
            format!("{} skipped TIME_WAIT in {:.1} s: {cause}", counted(moved.by, "closed connection"), moved.seconds),
        )
        .why(
            "A connection that ends when tcp_max_tw_buckets minisockets exist is forgotten at once. No connection is \
             refused or dropped by this; what is lost is the protection against delayed segments.",
        )
        .evidence([
            cx.moved(COUNTER, moved),
            Evidence::new("minisockets in use", tw as f64, "sockets", "/proc/net/sockstat TCP tw"),
        ])
        .evidence(cx.setting(LIMIT))
        .remedies(cx.application_remedies(None, Symptom::ShortConnections))
        .remedies([Remedy::kernel(
            Applicability::Safe,
            format!("{LIMIT}={}", (limit * 2).max(262_144)),
            "Raise the limit; a minisocket costs 256 bytes. If someone lowered it, restore the default.",
        )]);
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use crate::testing::*;

    #[test]
    fn fires_when_the_counter_moves_at_the_limit() {
        let mut last = moment(1.0).counter("TcpExt.TCPTimeWaitOverflow", 120);
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
