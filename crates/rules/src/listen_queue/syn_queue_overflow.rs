use crate::listen_queue::accept_queue_overflow::backlog_remedies;
use crate::listen_queue::points;
use crate::listen_queue::syn_flood::{Cause, Pressure, crowded, queues, syn_backlog_truth, who};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_model::report::{Applicability, Confidence, Remedy, Severity};

static CRITICAL_DROPS: Threshold = Threshold {
    key: "critical_dropped_syns_per_second",
    default: 10.0,
    unit: "/s",
    doc: "SYNs of honest clients dropped per second, cookies being off, from which this is critical.",
};

declare_rule! {
    /// # What it detects
    /// A request queue that is too small for honest load: SYN cookies are sent and most come back, or, with cookies off,
    /// SYNs are dropped although the queue's requests are completed.
    ///
    /// # Why it matters
    /// With cookies on nothing fails: this is information. A connection made by a cookie keeps window scaling and SACK
    /// only where both sides use timestamps, so that transfers may be slow. With cookies off each dropped SYN costs its
    /// client 1 s, then 3 s, then 7 s.
    ///
    /// # Evidence
    /// The same counters as SR001, with its thresholds: SyncookiesRecv ÷ SyncookiesSent from `validated_fraction` on is
    /// honest load. `tcp_syncookies` = 2 sends a cookie for every SYN, full queue or not; then the counters say nothing
    /// about the queue. The kernel's line "Possible SYN flooding on port 80" appears for this, too, once per listener:
    /// it is no proof of an attack.
    ///
    /// # Fix
    /// A larger backlog at listen(), and `net.core.somaxconn` at least as large, and a restart: since 4.4 the request
    /// queue's limit is the accept queue's. Raising `tcp_max_syn_backlog`, which the articles advise, does nothing while
    /// cookies are on. Often the accept queue of the same listener is about to overflow (LQ001): look there first.
    ///
    /// # Fix safety
    /// Safe: a longer queue costs about 300 bytes for each request that waits in it. The restart is the risk.
    ///
    /// # Sources
    /// net/ipv4/tcp_input.c tcp_conn_request() (want_cookie; the last quarter of tcp_max_syn_backlog for proven peers);
    /// include/net/inet_connection_sock.h inet_csk_reqsk_queue_is_full(); net/ipv4/syncookies.c. Measured on 6.18.
    SR002, "syn-queue-overflow", Netns, Critical, [CRITICAL_DROPS]
}

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable(
            "needs two samples: cookies and dropped SYNs are counted between them".into(),
        );
    }
    let all = cx.sockets().map(|table| points(cx.window, table)).unwrap_or_default();
    let p = known!(Pressure::read(cx, &all));
    if p.mode == Some(2) && p.dropped == 0 {
        return Outcome::NotApplicable(
            "tcp_syncookies is 2: every SYN is answered by a cookie, so cookies do not tell of a full queue"
                .into(),
        );
    }
    let crowded = crowded(&all);
    let at = who(cx, &crowded).map_or(String::new(), |who| format!(" of {who}"));
    let (severity, confidence, summary) = match p.cause {
        Cause::CookiesValidated => (
            Severity::Info,
            Confidence::High,
            format!(
                "The request queue{at} is too small for its load: {} sent in {:.1} s, {} came back, nothing was dropped",
                counted(p.cookies_sent, "SYN cookie"),
                p.seconds,
                thousands(p.cookies_back)
            ),
        ),
        Cause::DropsAnswered => {
            let rate = if p.seconds > 0.0 { p.dropped as f64 / p.seconds } else { 0.0 };
            let critical = rate >= cx.limit(&CRITICAL_DROPS);
            (
                if critical { Severity::Critical } else { Severity::Warning },
                Confidence::Medium,
                format!(
                    "The request queue{at} is too small for its load: {} dropped in {:.1} s, as no cookies are sent",
                    counted(p.dropped, "SYN"),
                    p.seconds
                ),
            )
        }
        Cause::CookiesUnanswered | Cause::DropsUnanswered => {
            return Outcome::Clear(format!("{}: unanswered requests are SR001's", p.quiet()));
        }
        Cause::Nothing => return Outcome::Clear(p.quiet()),
    };
    let subject = match crowded.first() {
        Some(point) => format!("listener {}, {}", point.label(), cx.process_label(point.owner())),
        None => format!("network namespace {}", cx.now().netns.label()),
    };
    let limit = crowded.first().and_then(|point| point.fullest()).and_then(|s| s.socket.limit);
    let mut why = syn_backlog_truth(cx).to_owned();
    if p.cause == Cause::CookiesValidated {
        why.push_str(" A full queue answers with cookies; a client that returns one gets its connection.");
        if cx.now().sysctl_int("net.ipv4.tcp_timestamps") == Ok(0) {
            why.push_str(
                " tcp_timestamps is 0, so connections made by a cookie lose window scaling and SACK.",
            );
        }
    } else {
        why.push_str(
            " With cookies off the kernel drops the SYN, and the client tries again after 1 s, 3 s, 7 s.",
        );
    }
    let mut finding = cx
        .finding(severity, confidence, subject, summary)
        .why(why)
        .evidence(p.evidence(cx))
        .evidence(queues(cx, &crowded))
        .evidence(cx.setting("net.ipv4.tcp_syncookies"))
        .remedies(backlog_remedies(cx, limit))
        .process(crowded.first().and_then(|point| point.owner()));
    if limit.is_none() {
        finding = finding.remedies([Remedy::application(
            "Find the listener in `linger listeners`, pass a larger backlog to its listen() (and raise \
             net.core.somaxconn to that), and restart it.",
        )]);
    }
    if p.mode == Some(0) {
        finding = finding.evidence(cx.setting("net.ipv4.tcp_max_syn_backlog")).remedies([Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.tcp_syncookies=1",
            "Answer with cookies when the queue is full instead of dropping SYNs. Takes effect at once.",
        )]);
    }
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;
    use linger_model::{SocketRecord, State};

    fn server(at_s: f64, half_open: u16) -> Moment {
        let requests = (0..half_open)
            .map(|i| SocketRecord::new(State::SynRecv, ip("10.0.0.1"), 80, ip("203.0.113.7"), 1024 + i));
        moment(at_s).process(12, "gunicorn").socket(listener("0.0.0.0", 80, 0, 128, 0)).sockets(requests)
    }

    #[test]
    fn fires_when_cookies_come_back() {
        let last = server(1.0, 120)
            .counter("TcpExt.SyncookiesSent", 550)
            .counter("TcpExt.SyncookiesRecv", 530)
            .counter("TcpExt.TCPReqQFullDoCookies", 550)
            .counter("Tcp.PassiveOpens", 1500);
        golden!([server(0.0, 0), last]);
    }

    #[test]
    fn is_clear_when_nothing_is_sent_or_dropped() {
        golden!([server(0.0, 3), server(1.0, 5)]);
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = server(1.0, 0);
        last.no_counters = true;
        golden!([server(0.0, 0), last]);
    }

    #[test]
    fn without_cookies_the_rate_of_drops_decides() {
        let severity = |n| {
            let off = |at_s| server(at_s, 120).sysctl("net.ipv4.tcp_syncookies", "0");
            let last = off(1.0)
                .counter("TcpExt.TCPReqQFullDrop", n)
                .counter("TcpExt.ListenDrops", n)
                .counter("Tcp.PassiveOpens", 1500);
            match run(&super::RULE, [off(0.0), last]) {
                Outcome::Fired(findings) => Some(findings[0].severity),
                _ => None,
            }
        };
        assert_eq!(severity(9), Some(Severity::Warning));
        assert_eq!(severity(10), Some(Severity::Critical));
        assert_eq!(severity(0), None);
    }

    #[test]
    fn a_flood_or_cookies_for_everyone_is_not_this() {
        let flood =
            server(1.0, 120).counter("TcpExt.SyncookiesSent", 5000).counter("TcpExt.SyncookiesRecv", 20);
        assert!(matches!(run(&super::RULE, [server(0.0, 0), flood]), Outcome::Clear(_)));
        let always = |at_s| server(at_s, 0).sysctl("net.ipv4.tcp_syncookies", "2");
        let last = always(1.0).counter("TcpExt.SyncookiesSent", 900).counter("TcpExt.SyncookiesRecv", 900);
        assert!(matches!(run(&super::RULE, [always(0.0), last]), Outcome::NotApplicable(_)));
    }
}
