use crate::ports::percent;
use crate::{Context, FindingExt, Outcome, Threshold, declare_rule, known, thousands};
use linger_model::aggregate::ListenPoint;
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Finding, Remedy, Severity};

static PER_SECOND: Threshold = Threshold {
    key: "resets_per_second",
    default: 10.0,
    unit: "/s",
    doc: "Resets of one cause per second from which they are told; health checks and scans stay below.",
};

static SHARE: Threshold = Threshold {
    key: "fraction_of_connections",
    default: 0.1,
    unit: "fraction",
    doc: "Resets of one cause ÷ connections opened or attempted (or resets, if more) from which they are told.",
};

static MOST: Threshold = Threshold {
    key: "warning_fraction_of_connections",
    default: 0.5,
    unit: "fraction",
    doc: "Resets by peers, or for unread data, ÷ connections opened from which they are a warning: browsers and TLS \
          clients end many a connection like this.",
};

static REFUSED_WARNING: Threshold = Threshold {
    key: "warning_refused_per_second",
    default: 100.0,
    unit: "/s",
    doc: "Resets sent to segments without a connection, per second, from which this is a warning and no scan.",
};

declare_rule! {
    /// # What it detects
    /// Resets far beyond the usual, by cause: connects of this host that are refused, segments that met no connection
    /// or listener here, established connections that peers reset, and connections that this side aborts.
    ///
    /// # Why it matters
    /// A reset is an error for the application at the other end at once: "connection refused" while connecting,
    /// "connection reset by peer" afterwards, and data that was on its way is lost.
    ///
    /// # Evidence
    /// Linux does not count the resets it receives; they follow from what they do. All figures over the window:
    /// refused connects: Tcp.AttemptFails less TcpExt.TCPAbortOnTimeout, at most Tcp.ActiveOpens (SYN scans of this
    /// host's listeners raise AttemptFails, too). Resets by peers: Tcp.EstabResets less the aborts of this side. Sent for
    /// want of a connection: Tcp.OutRsts less the aborts. Aborts: TCPAbortOnClose (closed with unread data),
    /// TCPAbortOnData (SO_LINGER 0, or data came after close), TCPAbortOnTimeout (the peer was silent),
    /// TCPAbortOnMemory. Health checks that end with a reset and port scans move the same counters slowly; the rate and
    /// the share of all connections tell them apart. Browsers and TLS clients end many connections with a reset, so
    /// resets by peers and for unread data are information until they are half of all. A name such as localhost that
    /// means ::1 first, where only 127.0.0.1 is listened on, makes every second connect a refused one: information, too. The counters name no peer: resets leave no socket behind.
    ///
    /// # Fix
    /// Refused connects: start the service, correct the port, take the destination out of the pool. Resets by peers:
    /// look at the idle timeout of proxies and load balancers between; the client's keep-alive must end before the
    /// server's. Closing with unread data: read the request to its end before close(). SO_LINGER 0: remove it; it is no
    /// cure for TIME_WAIT, it loses data.
    ///
    /// # Fix safety
    /// All of it is the application's. No kernel setting reduces resets; `tcp_abort_on_overflow` = 1 makes more.
    ///
    /// # Sources
    /// net/ipv4/tcp.c tcp_set_state() (EstabResets), tcp_done() (AttemptFails), __tcp_close() (TCPAbortOnClose,
    /// TCPAbortOnData, TCPAbortOnLinger); net/ipv4/tcp_input.c tcp_rcv_state_process() (TCPAbortOnData);
    /// net/ipv4/tcp_timer.c tcp_write_err() (TCPAbortOnTimeout), tcp_out_of_resources() (TCPAbortOnMemory);
    /// net/ipv4/tcp_ipv4.c tcp_v4_send_reset() (OutRsts).
    RS001, "reset-surge", Netns, Warning, [PER_SECOND, SHARE, MOST, REFUSED_WARNING]
}

/// One cause, with what it moved.
struct Cause {
    n: f64,
    of: f64,
    severity: Severity,
    confidence: Confidence,
    subject: &'static str,
    what: &'static str,
    why: &'static str,
    counters: &'static [&'static str],
    remedies: Vec<Remedy>,
}

const ON_CLOSE: &str = "TcpExt.TCPAbortOnClose";
const ON_DATA: &str = "TcpExt.TCPAbortOnData";
const ON_TIMEOUT: &str = "TcpExt.TCPAbortOnTimeout";
const ON_MEMORY: &str = "TcpExt.TCPAbortOnMemory";
const ON_LINGER: &str = "TcpExt.TCPAbortOnLinger";

fn check(cx: &Context<'_>) -> Outcome {
    if !cx.window.has_past() {
        return Outcome::NotApplicable("needs two samples: resets are counted between them".into());
    }
    let out = known!(cx.window.delta("Tcp.OutRsts"));
    let established = known!(cx.window.delta("Tcp.EstabResets")).by as f64;
    let failed = known!(cx.window.delta("Tcp.AttemptFails")).by as f64;
    let active = known!(cx.window.delta("Tcp.ActiveOpens")).by as f64;
    let passive = known!(cx.window.delta("Tcp.PassiveOpens")).by as f64;
    let [on_close, on_data, on_timeout, on_memory, on_linger] =
        [ON_CLOSE, ON_DATA, ON_TIMEOUT, ON_MEMORY, ON_LINGER].map(|name| cx.window.delta_or_zero(name));
    let seconds = out.seconds;
    let opened = active + passive;

    // Each is a lower bound: what another counter can explain is taken off.
    let refused_there = (failed - on_timeout).clamp(0.0, active);
    let by_peer = (established - on_close - on_data - on_timeout - on_memory - on_linger).max(0.0);
    let overflow_resets = if cx.now().sysctl_int("net.ipv4.tcp_abort_on_overflow") == Ok(1) {
        cx.window.delta_or_zero("TcpExt.ListenOverflows")
    } else {
        0.0
    };
    let refused_here =
        (out.by as f64 - on_close - on_data - on_memory - on_linger - overflow_resets).max(0.0);
    // Both ends in this namespace: one refused connect moves both.
    let same = refused_there > 0.0 && (refused_here - refused_there).abs() <= 0.1 * refused_there;

    let beyond = |c: &Cause| {
        cx.sure_rate(c.n) >= cx.limit(&PER_SECOND) && c.n >= cx.limit(&SHARE) * c.of.max(c.n) && c.n > 0.0
    };
    let most = |n: f64, of: f64| {
        if n >= cx.limit(&MOST) * of.max(n) { Severity::Warning } else { Severity::Info }
    };
    // Each connect that was refused may have been followed by one that was not: ::1, then 127.0.0.1.
    let second_try = same && active - refused_there >= 0.9 * refused_there;
    let mut causes = vec![
        Cause {
            n: refused_there,
            of: active,
            severity: if second_try { Severity::Info } else { Severity::Warning },
            confidence: Confidence::Medium,
            subject: "connects of this host",
            what: "connects of this host were refused",
            why: "A RST answered their SYN: nothing listens at that address and port, or a firewall rejects. A host that \
                  is down or drops would not answer at all (SS001).",
            counters: &["Tcp.AttemptFails", "Tcp.ActiveOpens", ON_TIMEOUT],
            remedies: vec![
                Remedy::application(
                    "Look in the applications' logs for \"connection refused\": the destination is in them, in the \
                     kernel's counters it is not. Back off between attempts.",
                ),
                Remedy::architecture(
                    "Start the service that refuses, or take it out of the pool; check its port.",
                ),
            ],
        },
        Cause {
            n: if same { 0.0 } else { refused_here },
            of: opened + refused_here,
            severity: if cx.sure_rate(refused_here) >= cx.limit(&REFUSED_WARNING) {
                Severity::Warning
            } else {
                Severity::Info
            },
            confidence: Confidence::Low,
            subject: "segments without a connection",
            what: "resets were sent to segments that met no connection or listener",
            why: "Clients connect to a port that nobody listens on, or go on using connections that this host has \
                  forgotten (a restart, an address that moved). A port scan looks the same; it ends by itself.",
            counters: &["Tcp.OutRsts", "Tcp.ActiveOpens", "Tcp.PassiveOpens"],
            remedies: vec![
                Remedy::application(
                    "Check that every service of this host listens (`linger listeners`). The counters name neither port \
                     nor peer: `tcpdump -n 'tcp[13] & 4 != 0'` does.",
                ),
                Remedy::architecture(
                    "Let the load balancer stop sending to a port before its service stops. Filter scans at the edge.",
                ),
            ],
        },
        Cause {
            n: by_peer,
            of: opened,
            severity: most(by_peer, opened),
            confidence: Confidence::Medium,
            subject: "resets by peers",
            what: "established connections were reset by their peers",
            why: "Nothing on this side explains them. A proxy or load balancer that has ended an idle connection, a peer \
                  that restarted or crashed, or one that closes with unread data resets like this; so do browsers that give \
                  a page up, and health checks.",
            counters: &["Tcp.EstabResets", ON_CLOSE, ON_DATA, ON_TIMEOUT, ON_MEMORY],
            remedies: vec![
                Remedy::application(
                    "Let the side that reuses connections give up idle ones sooner than the other side (or a balancer \
                     between) ends them, and repeat idempotent requests once on a fresh connection.",
                ),
                Remedy::architecture(
                    "Look at the peers' logs and at idle timeouts of every hop at this time.",
                ),
            ],
        },
        Cause {
            n: on_close,
            of: opened,
            severity: most(on_close, opened),
            confidence: Confidence::High,
            subject: "connections closed with unread data",
            what: "connections were reset because a process here closed them with unread data",
            why: "close() with data in the receive queue sends a RST instead of a FIN. The peer may lose the answer that it \
                  has not read yet.",
            counters: &[ON_CLOSE, "Tcp.OutRsts", "Tcp.EstabResets"],
            remedies: vec![Remedy::application(
                "Read the request (or the answer) to its end before close(), or shutdown(SHUT_WR) and read until the \
                 end comes. Limits on body size and early error answers are the usual places.",
            )],
        },
        Cause {
            n: on_data,
            of: opened,
            severity: Severity::Info,
            confidence: Confidence::High,
            subject: "connections aborted by this side",
            what: "connections were aborted by this side (SO_LINGER 0, or data came after close)",
            why: "With SO_LINGER 0 close() discards what is unsent and sends a RST; some programs do so on purpose. The \
                  same counter moves when a peer goes on sending to a connection that was closed here.",
            counters: &[ON_DATA, "Tcp.OutRsts", "Tcp.EstabResets"],
            remedies: vec![Remedy::application(
                "Remove SO_LINGER with 0 s where it was set \"against TIME_WAIT\": it loses data. Where the peer sends \
                 after close, read until its end.",
            )],
        },
        Cause {
            n: (on_timeout - failed).max(0.0),
            of: opened,
            severity: Severity::Warning,
            confidence: Confidence::High,
            subject: "connections that timed out",
            what: "connections ended because their peers were silent",
            why: "Retransmissions, probes or keep-alives went unanswered until the kernel gave up: the peers or the path \
                  to them are gone (RT001, KA001). Connects that timed out are not counted here.",
            counters: &[ON_TIMEOUT, "Tcp.AttemptFails", "Tcp.EstabResets"],
            remedies: vec![Remedy::architecture(
                "Check the path: firewalls that forget idle connections, links, routes.",
            )],
        },
        Cause {
            n: on_memory,
            of: opened,
            severity: Severity::Warning,
            confidence: Confidence::High,
            subject: "connections reset for want of memory",
            what: "connections were reset for want of memory or beyond tcp_max_orphans",
            why: "The kernel resets orphans beyond tcp_max_orphans, or when TCP memory is used up: see OR001 and MM001.",
            counters: &[ON_MEMORY, "Tcp.OutRsts"],
            remedies: vec![Remedy::architecture("See OR001 and MM001 for what uses it up.")],
        },
    ];
    causes.retain(beyond);
    if causes.is_empty() {
        return Outcome::Clear(format!(
            "{} resets sent, {} established connections reset, {} attempts failed and {} connections opened in {seconds:.1} s",
            thousands(out.by),
            thousands(established as u64),
            thousands(failed as u64),
            thousands(opened as u64)
        ));
    }
    causes.sort_by(|a, b| b.severity.cmp(&a.severity).then(b.n.total_cmp(&a.n)));
    let more = causes.len().saturating_sub(5);
    let mut findings: Vec<Finding> =
        causes.into_iter().take(5).map(|cause| finding(cx, cause, seconds, same)).collect();
    if let (Some(last), true) = (findings.last_mut(), more > 0) {
        last.evidence.push(Evidence::new(
            "further causes of resets",
            more as f64,
            "causes",
            "the same counters",
        ));
    }
    Outcome::Fired(findings)
}

fn finding(cx: &Context<'_>, cause: Cause, seconds: f64, same: bool) -> Finding {
    let share = cause.n / cause.of.max(cause.n).max(1.0);
    let refused =
        cause.counters.first() == Some(&"Tcp.AttemptFails") || cause.subject.starts_with("segments");
    let mut finding = cx
        .finding(
            cause.severity,
            cause.confidence,
            format!("{}, network namespace {}", cause.subject, cx.now().netns.label()),
            format!(
                "{} {} in {seconds:.1} s ({:.0} per second, {} of {})",
                thousands(cause.n as u64),
                if cause.n < 2.0 { singular(cause.what) } else { cause.what.to_owned() },
                if seconds > 0.0 { cause.n / seconds } else { 0.0 },
                percent(share),
                if refused { "the attempts" } else { "the connections opened, or reset" },
            ),
        )
        .why(cause.why);
    if same && refused {
        finding.why.push_str(match cause.severity {
            Severity::Info => {
                " As many resets were sent by this namespace itself, and as many connects succeeded: a name such as \
                 localhost that means ::1 first, where nothing listens, looks like this, and the second try succeeds."
            }
            _ => " As many resets were sent by this namespace itself: both ends are here, and a local service is missing.",
        });
        finding =
            finding.evidence(cx.window.delta("Tcp.OutRsts").ok().map(|moved| cx.moved("Tcp.OutRsts", moved)));
    }
    for counter in cause.counters {
        let moved = cx.window.delta(counter).ok().filter(|d| d.by > 0);
        finding = finding.evidence(moved.map(|moved| cx.moved(counter, moved)));
    }
    let gone = if refused { vanished_listeners(cx) } else { Vec::new() };
    if !gone.is_empty() {
        let names = gone.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if gone.len() > 3 { format!(" and {} more", gone.len() - 3) } else { String::new() };
        finding.summary.push_str(&format!("; gone since the first sample: the listener {names}{more}"));
        let source = format!("sock_diag over {seconds:.1} s");
        finding.evidence.push(Evidence::new("listeners gone", gone.len() as f64, "listeners", source));
    }
    finding.remedies(cause.remedies)
}

/// What a cause says, of a single one.
fn singular(what: &str) -> String {
    let of_one = [
        ("connections", "connection"),
        ("connects", "connect"),
        ("resets", "reset"),
        ("were reset by their peers", "was reset by its peer"),
        ("were", "was"),
        ("closed them", "closed it"),
        ("their peers was silent", "its peer was silent"),
    ];
    of_one.iter().fold(what.to_owned(), |text, (many, one)| text.replacen(many, one, 1))
}

/// Addresses that were listened on in the first sample and are not in the last: whom clients meet a RST at.
fn vanished_listeners(cx: &Context<'_>) -> Vec<String> {
    let (Ok(before), Ok(now)) = (&cx.window.first().sockets, &cx.now().sockets) else { return Vec::new() };
    let still = |addr, port| {
        now.listeners.iter().any(|l| l.port == port && (l.addr == addr || l.addr.is_unspecified()))
    };
    let gone = before.listeners.iter().filter(|l| !still(l.addr, l.port));
    let processes = cx.window.first().host.processes.as_ref().ok();
    let whose = |l: &ListenPoint| {
        let process = processes?.get(l.sockets.first()?.owner?)?;
        Some(format!(" of {}", process.label()))
    };
    gone.map(|l| format!("{}{}", endpoint(l.addr, l.port), whose(l).unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_single_one_reads_well() {
        assert_eq!(super::singular("connects of this host were refused"), "connect of this host was refused");
        assert_eq!(
            super::singular("established connections were reset by their peers"),
            "established connection was reset by its peer"
        );
        assert_eq!(
            super::singular("resets were sent to segments that met no connection or listener"),
            "reset was sent to segments that met no connection or listener"
        );
        assert_eq!(
            super::singular("connections ended because their peers were silent"),
            "connection ended because its peer was silent"
        );
        assert_eq!(
            super::singular("connections were reset because a process here closed them with unread data"),
            "connection was reset because a process here closed it with unread data"
        );
    }

    #[test]
    fn a_few_resets_of_a_short_window_are_no_surge() {
        let refused = |seconds: f64, n: u64| {
            let last = moment(seconds).counter("Tcp.AttemptFails", n).counter("Tcp.ActiveOpens", n);
            run(&super::RULE, [moment(0.0), last])
        };
        assert!(matches!(refused(0.05, 19), Outcome::Clear(_)), "380 a second, if they went on");
        assert!(matches!(refused(0.05, 20), Outcome::Fired(_)));
        assert!(matches!(refused(1.0, 10), Outcome::Fired(_)));
    }

    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;

    fn after(counters: &[(&str, u64)]) -> Moment {
        counters.iter().fold(moment(1.0), |m, (name, by)| m.counter(name, *by))
    }

    fn fired(last: Moment) -> Vec<linger_model::Finding> {
        match run(&super::RULE, [moment(0.0), last]) {
            Outcome::Fired(findings) => findings,
            _ => Vec::new(),
        }
    }

    #[test]
    fn fires_when_connects_are_refused() {
        golden!([moment(0.0), after(&[("Tcp.ActiveOpens", 520), ("Tcp.AttemptFails", 500)])]);
    }

    #[test]
    fn fires_when_a_listener_is_gone() {
        let first = moment(0.0).process(12, "api").socket(listener("0.0.0.0", 8080, 0, 511, 0));
        golden!([first, after(&[("Tcp.OutRsts", 480), ("Tcp.PassiveOpens", 20)])]);
    }

    #[test]
    fn is_clear_with_health_checks_and_scans() {
        golden!([
            moment(0.0),
            after(&[
                ("Tcp.OutRsts", 9),
                ("Tcp.EstabResets", 8),
                ("Tcp.AttemptFails", 9),
                ("Tcp.ActiveOpens", 20),
                ("Tcp.PassiveOpens", 40),
                ("TcpExt.TCPAbortOnData", 5),
            ])
        ]);
        // A busy host: many resets, few in a hundred connections.
        let busy = [("Tcp.OutRsts", 300), ("Tcp.EstabResets", 300), ("Tcp.PassiveOpens", 10_000)];
        assert!(fired(after(&busy)).is_empty());
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = moment(1.0);
        last.no_counters = true;
        golden!([moment(0.0), last]);
    }

    #[test]
    fn causes_are_told_apart() {
        let opened = ("Tcp.PassiveOpens", 200);
        let one = |counters: &[(&str, u64)]| {
            let mut all = counters.to_vec();
            all.push(opened);
            let findings = fired(after(&all));
            assert_eq!(findings.len(), 1, "{findings:?}");
            (findings[0].severity, findings[0].subject.split(',').next().unwrap_or_default().to_owned())
        };
        let by_peers = |n| one(&[("Tcp.EstabResets", n)]);
        assert_eq!(by_peers(20), (Severity::Info, "resets by peers".into()), "browsers give pages up");
        assert_eq!(by_peers(99).0, Severity::Info);
        assert_eq!(by_peers(100), (Severity::Warning, "resets by peers".into()));
        let aborted = |n| one(&[("Tcp.EstabResets", n), ("Tcp.OutRsts", n), ("TcpExt.TCPAbortOnClose", n)]);
        assert_eq!(
            aborted(50),
            (Severity::Info, "connections closed with unread data".into()),
            "TLS clients"
        );
        assert_eq!(aborted(100).0, Severity::Warning);
        let lingering = [("Tcp.EstabResets", 50), ("Tcp.OutRsts", 50), ("TcpExt.TCPAbortOnData", 50)];
        assert_eq!(one(&lingering), (Severity::Info, "connections aborted by this side".into()));
        let scan = [("Tcp.OutRsts", 99)];
        assert_eq!(one(&scan), (Severity::Info, "segments without a connection".into()));
        let timed_out = [("Tcp.EstabResets", 40), ("TcpExt.TCPAbortOnTimeout", 40)];
        assert_eq!(one(&timed_out), (Severity::Warning, "connections that timed out".into()));
        assert!(fired(after(&[("Tcp.EstabResets", 19), opened])).is_empty(), "below a tenth");
        assert!(fired(after(&[("Tcp.EstabResets", 9)])).is_empty(), "below ten per second");
    }

    #[test]
    fn connects_that_hang_or_scans_of_listeners_are_not_refused_connects() {
        let hanging = [("Tcp.AttemptFails", 50), ("TcpExt.TCPAbortOnTimeout", 50), ("Tcp.ActiveOpens", 60)];
        assert!(fired(after(&hanging)).is_empty());
        assert!(fired(after(&[("Tcp.AttemptFails", 500), ("Tcp.ActiveOpens", 3)])).is_empty());
    }

    #[test]
    fn a_refused_connect_within_the_namespace_is_told_once() {
        let findings =
            fired(after(&[("Tcp.AttemptFails", 500), ("Tcp.ActiveOpens", 500), ("Tcp.OutRsts", 503)]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].why.contains("both ends are here"), "{}", findings[0].why);
        assert_eq!(findings[0].severity, Severity::Warning);
        // localhost: ::1 is refused, 127.0.0.1 answers.
        let twice =
            fired(after(&[("Tcp.AttemptFails", 500), ("Tcp.ActiveOpens", 1000), ("Tcp.OutRsts", 500)]));
        assert_eq!((twice.len(), twice[0].severity), (1, Severity::Info));
    }

    #[test]
    fn resets_by_a_full_accept_queue_are_lq001s() {
        let last = after(&[("Tcp.OutRsts", 200), ("TcpExt.ListenOverflows", 200), ("Tcp.PassiveOpens", 50)]);
        assert!(fired(last.sysctl("net.ipv4.tcp_abort_on_overflow", "1")).is_empty());
        assert!(matches!(run(&super::RULE, [moment(0.0)]), Outcome::NotApplicable(_)));
    }
}
