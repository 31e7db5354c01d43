use crate::{Context, FindingExt, Outcome, Threshold, declare_rule, known, thousands};
use linger_model::report::{Confidence, Evidence, Finding, Remedy, Severity};
use linger_model::window::Delta;

static PER_SECOND: Threshold = Threshold {
    key: "rejections_per_second",
    default: 10.0,
    unit: "/s",
    doc: "Segments refused for an old timestamp per second from which they are told; a few are delayed duplicates.",
};

static SEGMENTS_SHARE: Threshold = Threshold {
    key: "fraction_of_segments",
    default: 0.001,
    unit: "fraction",
    doc: "On live connections: refused ÷ segments received from which they are told.",
};

static CONNECTIONS_SHARE: Threshold = Threshold {
    key: "fraction_of_connections",
    default: 0.01,
    unit: "fraction",
    doc: "In TIME_WAIT, or in answer to a SYN: refused ÷ connections opened in the window from which they are told.",
};

declare_rule! {
    /// # What it detects
    /// Segments refused because their TCP timestamp is older than one seen before on the same connection or port (PAWS),
    /// well beyond the few that are normal.
    ///
    /// # Why it matters
    /// The segment is dropped and an ACK sent. Where a NAT or a load balancer puts several clients behind one address
    /// and reuses its ports, the SYN of one client meets the TIME_WAIT socket of another with a later timestamp: that
    /// client's connect waits for a retry, a second or more each. "Some users cannot connect, sometimes."
    ///
    /// # Evidence
    /// TcpExt.PAWSEstab (live connections; on TIME_WAIT too where PAWSTimewait is absent) against Tcp.InSegs,
    /// TcpExt.PAWSTimewait (absent in the 6.12 tree, present in 6.18) and TcpExt.PAWSActive (a SYN-ACK that echoes a timestamp never sent) against the connections
    /// opened. A retransmitted or reordered segment that arrives late is refused rightly: a few for a lossy path are
    /// normal. PAWSPassive belongs to `tcp_tw_recycle` (to 4.11): that is TW006.
    ///
    /// # Fix
    /// Let the device between keep timestamps consistent, or more ports (source addresses) on its side, so that it
    /// reuses them later. On this side, keep connections alive, so that fewer are opened.
    ///
    /// # Fix safety
    /// Turning `tcp_timestamps` off, an advice of some articles, ends the rejections and loses PAWS, the round-trip
    /// measurements and the reuse of TIME_WAIT ports by connect(). It is not worth it.
    ///
    /// # Sources
    /// net/ipv4/tcp_input.c tcp_validate_incoming(), tcp_rcv_synsent_state_process(); net/ipv4/tcp_minisocks.c
    /// tcp_timewait_state_process(), tcp_check_req(). RFC 7323 section 5. PAWSTimewait: absent in the 6.12 tree, present in the 6.18 tree.
    PW001, "paws-rejections", Netns, Warning, [PER_SECOND, SEGMENTS_SHARE, CONNECTIONS_SHARE]
}

const ESTAB: &str = "TcpExt.PAWSEstab";
const TIME_WAIT: &str = "TcpExt.PAWSTimewait";
const ACTIVE: &str = "TcpExt.PAWSActive";

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable("needs two samples: rejections are counted between them".into());
    }
    let estab = known!(cx.window.delta(ESTAB));
    let time_wait = cx.window.delta(TIME_WAIT).ok();
    let active = known!(cx.window.delta(ACTIVE));
    let segments = known!(cx.window.delta("Tcp.InSegs")).by as f64;
    let made = known!(cx.window.delta("Tcp.ActiveOpens")).by as f64;
    let accepted = known!(cx.window.delta("Tcp.PassiveOpens")).by as f64;
    // Where PAWSTimewait is absent (6.12 tree), PAWSEstab holds the rejections in TIME_WAIT as well, and nothing tells the two apart.
    let mixed = time_wait.is_none();
    let often = |moved: Delta| cx.sure_rate(moved.by as f64) >= cx.limit(&PER_SECOND);
    let of = |n: u64, all: f64, share: f64| n > 0 && n as f64 >= share * all;
    let mut findings: Vec<Finding> = Vec::new();
    if let Some(moved) = time_wait
        && often(moved)
        && of(moved.by, accepted, cx.limit(&CONNECTIONS_SHARE))
    {
        findings.push(finding(
            cx,
            (TIME_WAIT, moved),
            Severity::Warning,
            Confidence::Medium,
            format!(
                "{} segments met a TIME_WAIT socket with a later timestamp in {:.1} s and were refused, as \
                         happens to clients behind one NAT or balancer; their connects wait for a retry",
                thousands(moved.by),
                moved.seconds
            ),
        ));
    }
    let many_segments = of(estab.by, segments, cx.limit(&SEGMENTS_SHARE));
    let many_connections = mixed && of(estab.by, accepted + made, cx.limit(&CONNECTIONS_SHARE));
    if often(estab) && (many_segments || many_connections) {
        let share = estab.by as f64 / segments.max(1.0);
        let on = if mixed { "live or TIME_WAIT connections" } else { "live connections" };
        findings.push(
            finding(
                cx,
                (ESTAB, estab),
                if many_segments { Severity::Warning } else { Severity::Info },
                if many_segments { Confidence::Medium } else { Confidence::Low },
                format!(
                    "{} segments of {on} were refused for an old timestamp in {:.1} s ({:.2} % of those received)",
                    thousands(estab.by),
                    estab.seconds,
                    share * 100.0
                ),
            ),
        );
    }
    if often(active) && of(active.by, made, cx.limit(&CONNECTIONS_SHARE)) {
        findings.push(
            finding(
                cx,
                (ACTIVE, active),
                Severity::Warning,
                Confidence::Medium,
                format!(
                    "{} SYN-ACKs echoed a timestamp that this host never sent, in {:.1} s: a device between rewrites \
                     timestamps and those connects fail",
                    thousands(active.by),
                    active.seconds
                ),
            ),
        );
    }
    if !findings.is_empty() {
        findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
        return Outcome::Fired(findings);
    }
    let all = estab.by + active.by + time_wait.map_or(0, |d| d.by);
    Outcome::Clear(format!(
        "{} of {} segments received were refused for an old timestamp in {:.1} s",
        thousands(all),
        thousands(segments as u64),
        estab.seconds
    ))
}

fn finding(
    cx: &Context<'_>,
    (counter, moved): (&str, Delta),
    severity: Severity,
    confidence: Confidence,
    summary: String,
) -> Finding {
    let why = if counter == ACTIVE {
        "A SYN-ACK must echo the timestamp of this host's SYN. One that echoes something else is answered with a RST, and \
         the connect waits for its next try. The counter names no peer."
    } else {
        "PAWS drops a segment whose timestamp is older than the last one accepted from the same address and port. \
         Each host starts its timestamps elsewhere, so clients that share an address and take turns with a port \
         look like one host whose clock jumps back. The counter names no peer."
    };
    // What it is a share of.
    let all = match counter {
        ESTAB => "Tcp.InSegs",
        ACTIVE => "Tcp.ActiveOpens",
        _ => "Tcp.PassiveOpens",
    };
    let mut finding = cx
        .finding(severity, confidence, format!("network namespace {}", cx.now().netns.label()), summary)
        .why(why)
        .evidence([cx.moved(counter, moved)])
        .evidence(cx.window.delta(all).ok().map(|moved| cx.moved(all, moved)));
    // The device in between is likely where most clients seem to come from.
    if let Ok(table) = cx.sockets() {
        let total = table.clients.total();
        if let Some(group) =
            table.clients.largest(1).first().filter(|g| total >= 20 && g.count() * 2 >= total)
        {
            let what = format!("share of the accepted connections that come from {}", group.key);
            let share = group.count() as f64 / total as f64;
            finding.evidence.push(Evidence::new(what, share, "fraction", crate::listen_queue::origin(table)));
        }
    }
    finding.evidence(cx.setting("net.ipv4.tcp_timestamps")).remedies([
        Remedy::application("Keep connections alive between the peers concerned, so that ports are reused less often."),
        Remedy::architecture(
            "Find the NAT or balancer between: give it more source addresses, let it pass timestamps unchanged, or let \
             it reuse a port later than TIME_WAIT lasts (60 s).",
        ),
    ])
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;

    fn after(counters: &[(&str, u64)]) -> Moment {
        counters.iter().fold(moment(1.0), |m, (name, by)| m.counter(name, *by))
    }

    fn severity(first: Moment, last: Moment) -> Option<Severity> {
        match run(&super::RULE, [first, last]) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            _ => None,
        }
    }

    #[test]
    fn fires_on_time_wait_behind_a_nat() {
        golden!([
            moment(0.0),
            after(&[("TcpExt.PAWSTimewait", 35), ("Tcp.InSegs", 90_000), ("Tcp.PassiveOpens", 900)])
        ]);
    }

    #[test]
    fn is_clear_with_a_few_delayed_duplicates() {
        golden!([
            moment(0.0),
            after(&[("TcpExt.PAWSEstab", 4), ("Tcp.InSegs", 90_000), ("Tcp.PassiveOpens", 900)])
        ]);
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = moment(1.0);
        last.no_counters = true;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn rate_and_share_decide() {
        let estab =
            |n, segments| severity(moment(0.0), after(&[("TcpExt.PAWSEstab", n), ("Tcp.InSegs", segments)]));
        assert_eq!(estab(9, 1000), None);
        assert_eq!(estab(10, 10_000), Some(Severity::Warning));
        assert_eq!(estab(10, 10_001), None, "late duplicates on a busy host");
        let active = |n| severity(moment(0.0), after(&[("TcpExt.PAWSActive", n), ("Tcp.ActiveOpens", 1000)]));
        assert_eq!((active(9), active(10)), (None, Some(Severity::Warning)));
    }

    #[test]
    fn on_older_kernels_the_two_kinds_cannot_be_told_apart() {
        let older = |mut moment: Moment| {
            moment.counters.remove("TcpExt.PAWSTimewait");
            moment
        };
        let counters = [("TcpExt.PAWSEstab", 20), ("Tcp.InSegs", 100_000), ("Tcp.PassiveOpens", 900)];
        assert_eq!(severity(older(moment(0.0)), older(after(&counters))), Some(Severity::Info));
        assert!(matches!(run(&super::RULE, [moment(0.0)]), Outcome::NotApplicable(_)));
    }
}
