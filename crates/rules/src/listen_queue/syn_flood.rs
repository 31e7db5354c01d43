use crate::listen_queue::{Point, origin, points};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, thousands};
use linger_model::report::{Applicability, Confidence, Evidence, Finding, Remedy, Severity};
use linger_model::snapshot::Gap;

static COOKIES: Threshold = Threshold {
    key: "cookies_per_second",
    default: 10.0,
    unit: "/s",
    doc: "SYN cookies sent per second from which they are looked at; fewer are a burst's. SR002 uses it, too.",
};

static DROPS: Threshold = Threshold {
    key: "dropped_syns_per_second",
    default: 1.0,
    unit: "/s",
    doc: "SYNs dropped per second, cookies being off, from which they are looked at. SR002 uses it, too.",
};

static VALIDATED: Threshold = Threshold {
    key: "validated_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Cookies that came back ÷ cookies sent: below, a flood; from here on, honest load (SR002).",
};

static UNANSWERED: Threshold = Threshold {
    key: "unanswered_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Share of half-open requests whose SYN-ACK had to be sent again from which the sources count as silent.",
};

static FILL: Threshold = Threshold {
    key: "fill_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Share of a listener's request queue in use, mostly unanswered, from which this is a warning.",
};

static MIN_HALF_OPEN: Threshold = Threshold {
    key: "min_half_open",
    default: 10.0,
    unit: "requests",
    doc: "Half-open requests of a listener below which a filling queue is not looked at.",
};

static NORMAL_HALF_OPEN: Threshold = Threshold {
    key: "normal_half_open",
    default: 1000.0,
    unit: "requests",
    doc: "Half-open requests of a listener, mostly unanswered, from which this is a warning however large its queue.",
};

declare_rule! {
    /// # What it detects
    /// Half-open connections that their sources never complete: SYN cookies that do not come back, SYNs dropped at a
    /// queue full of silent requests, or a queue that fills with them.
    ///
    /// # Why it matters
    /// With `tcp_syncookies` = 1 (the default) new clients still get in: a full queue answers with cookies and drops
    /// nothing. With 0 every honest SYN that meets the full queue is dropped and its client waits 1 s, 3 s, 7 s.
    ///
    /// # Evidence
    /// Rates of TcpExt.SyncookiesSent, TCPReqQFullDoCookies and TCPReqQFullDrop; ListenDrops less ListenOverflows;
    /// SyncookiesRecv ÷ SyncookiesSent: few come back in a flood, most in honest load (then it is SR002); requests
    /// whose SYN-ACK was sent again. A listener whose *accept* queue is full retransmits SYN-ACKs, too, although its
    /// clients answer: that is LQ001 and not counted here. So would `TCP_DEFER_ACCEPT` on clients that send no data.
    ///
    /// The number of SYN_RECV sockets tells nothing about the size of a flood: since 4.4 a listener holds at most its
    /// backlog + 1 of them, and requests answered by a cookie leave no socket. An alert on "SYN_RECV > 10,000" cannot
    /// fire (measured: 60 SYNs, backlog 4, 5 SYN_RECV), and `node_netstat_Tcp_SynRecv` does not exist. For the same
    /// reason the sources shown are a biased sample of at most backlog + 1 per listener; a flood's may be forged.
    ///
    /// # Fix
    /// Keep `tcp_syncookies` = 1. Filter before the host, or by source on it (nftables: a dynamic set with a rate for
    /// each address). `iptables -m limit --limit 100/s` without a source counts all clients together: it shuts out the
    /// real ones and does the attacker's work. Raising `tcp_max_syn_backlog` does nothing while cookies are on: since
    /// 4.4 the request queue's limit is the listener's backlog, and the sysctl is read only with `tcp_syncookies` = 0.
    ///
    /// # Fix safety
    /// Turning cookies on is safe: they are used only while the queue is full. Lower `tcp_synack_retries` frees the
    /// queue sooner and loses honest clients on lossy paths.
    ///
    /// # Sources
    /// net/ipv4/tcp_input.c tcp_conn_request(), tcp_syn_flood_action(); include/net/inet_connection_sock.h
    /// inet_csk_reqsk_queue_is_full(); net/ipv4/syncookies.c cookie_v4_check(). RFC 4987. Measured on 6.18, 60 SYNs and
    /// backlog 4: cookies on, 55 sent and no drop; cookies off, TCPReqQFullDrop 55 and ListenDrops 55.
    SR001, "syn-flood", Netns, Critical, [COOKIES, DROPS, VALIDATED, UNANSWERED, FILL, MIN_HALF_OPEN, NORMAL_HALF_OPEN]
}

/// What the counters say about a namespace's half-open requests; SR001 and SR002 share it.
pub(crate) struct Pressure {
    pub(crate) seconds: f64,
    pub(crate) cookies_sent: u64,
    pub(crate) cookies_back: u64,
    pub(crate) dropped: u64,
    /// `tcp_syncookies`, where it could be read.
    pub(crate) mode: Option<i64>,
    pub(crate) cause: Cause,
}

/// Why requests do not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// They fit.
    Nothing,
    /// Cookies are sent, and most do not come back.
    CookiesUnanswered,
    /// Cookies are sent, and most come back.
    CookiesValidated,
    /// SYNs are dropped at a queue of silent requests.
    DropsUnanswered,
    /// SYNs are dropped at a queue whose requests are completed.
    DropsAnswered,
}

impl Pressure {
    /// Reads the counters; needs two samples.
    pub(crate) fn read(cx: &Context<'_>, points: &[Point<'_>]) -> Result<Pressure, Gap> {
        let sent = cx.window.delta("TcpExt.SyncookiesSent")?;
        let back = cx.window.delta("TcpExt.SyncookiesRecv")?.by;
        let overflows = cx.window.delta("TcpExt.ListenOverflows")?.by;
        let drops = cx.window.delta("TcpExt.ListenDrops")?.by;
        let full_drops = cx.window.delta_or_zero("TcpExt.TCPReqQFullDrop") as u64;
        let passive = cx.window.delta("Tcp.PassiveOpens").map(|d| d.by);
        let mode = cx.now().sysctl_int("net.ipv4.tcp_syncookies").ok();
        // Without cookies the last quarter of tcp_max_syn_backlog is kept for proven peers; those drops are in
        // ListenDrops alone. With cookies ListenDrops has other reasons.
        let dropped =
            if mode == Some(0) { full_drops.max(drops.saturating_sub(overflows)) } else { full_drops };
        // SR002 reads the same limits, so that one of the two fires and never both.
        let limit = |threshold| cx.config.get(RULE.code, threshold);
        let cause = if dropped > 0 && cx.sure_rate(dropped as f64) >= limit(&DROPS) {
            let silent = points.iter().filter(|p| !p.at_limit()).map(|p| p.point);
            let (open, again) = silent.fold((0u64, 0u64), |(open, again), p| {
                (open + u64::from(p.half_open), again + u64::from(p.half_open_retransmitted))
            });
            // In a flood's first second no SYN-ACK has been sent again yet; but hardly anybody gets through.
            let nobody_passes = overflows == 0 && passive.is_ok_and(|n| n * 5 < dropped);
            if (again > 0 && again as f64 >= limit(&UNANSWERED) * open as f64) || nobody_passes {
                Cause::DropsUnanswered
            } else {
                Cause::DropsAnswered
            }
        } else if sent.by > 0 && cx.sure_rate(sent.by as f64) >= limit(&COOKIES) {
            if (back as f64) < limit(&VALIDATED) * sent.by as f64 {
                Cause::CookiesUnanswered
            } else {
                Cause::CookiesValidated
            }
        } else {
            Cause::Nothing
        };
        Ok(Pressure {
            seconds: sent.seconds,
            cookies_sent: sent.by,
            cookies_back: back,
            dropped,
            mode,
            cause,
        })
    }

    /// The counters as evidence, those that moved.
    pub(crate) fn evidence(&self, cx: &Context<'_>) -> Vec<Evidence> {
        let names = [
            "TcpExt.SyncookiesSent",
            "TcpExt.SyncookiesRecv",
            "TcpExt.SyncookiesFailed",
            "TcpExt.TCPReqQFullDoCookies",
            "TcpExt.TCPReqQFullDrop",
            "TcpExt.ListenDrops",
            "TcpExt.ListenOverflows",
            "Tcp.PassiveOpens",
        ];
        let cookies = self.cookies_sent > 0;
        let moved = names.iter().filter_map(|name| Some((*name, cx.window.delta(name).ok()?)));
        // How many cookies came back matters most where none did.
        let told = moved.filter(|(name, d)| d.by > 0 || (cookies && *name == "TcpExt.SyncookiesRecv"));
        told.map(|(name, d)| cx.moved(name, d)).collect()
    }
}

/// The listeners whose request queue is fullest, at least half; those with a full accept queue left out.
pub(crate) fn crowded<'a, 'b>(points: &'b [Point<'a>]) -> Vec<&'b Point<'a>> {
    let share = |p: &Point<'_>| match p.capacity() {
        Some(capacity) if capacity > 0 => f64::from(p.point.half_open) / capacity as f64,
        _ => 0.0,
    };
    let mut crowded: Vec<_> =
        points.iter().filter(|p| p.point.half_open > 0 && !p.at_limit() && share(p) >= 0.5).collect();
    crowded.sort_by(|a, b| share(b).total_cmp(&share(a)).then(b.point.half_open.cmp(&a.point.half_open)));
    crowded
}

/// `nginx (pid 12) on *:80 and 1 more`, or that nobody is known.
pub(crate) fn who(cx: &Context<'_>, crowded: &[&Point<'_>]) -> Option<String> {
    let first = crowded.first()?;
    let more = if crowded.len() > 1 { format!(" and {} more", crowded.len() - 1) } else { String::new() };
    Some(format!("{} on {}{more}", cx.process_label(first.owner()), first.label()))
}

/// Request queue and its limit, for each of the first three listeners.
pub(crate) fn queues(cx: &Context<'_>, crowded: &[&Point<'_>]) -> Vec<Evidence> {
    let Ok(table) = cx.sockets() else { return Vec::new() };
    let mut evidence = Vec::new();
    for point in crowded.iter().take(3) {
        let label = point.label();
        let figure = |what: String, n: u64| Evidence::new(what, n as f64, "requests", origin(table));
        evidence.push(figure(format!("half-open requests of {label}"), point.point.half_open.into()));
        evidence.push(figure(
            format!("of those, SYN-ACK sent again ({label})"),
            point.point.half_open_retransmitted.into(),
        ));
        if let Some(capacity) = point.capacity() {
            evidence.push(figure(format!("requests that {label} can hold (backlog + 1)"), capacity));
        }
    }
    evidence
}

/// What `tcp_max_syn_backlog` is worth on this kernel.
pub(crate) fn syn_backlog_truth(cx: &Context<'_>) -> &'static str {
    let before_4_4 = cx.now().host.kernel.version.is_some_and(|version| version < (4, 4));
    let cookies_off = cx.now().sysctl_int("net.ipv4.tcp_syncookies") == Ok(0);
    if before_4_4 {
        "Before 4.4 a request queue holds min(backlog, tcp_max_syn_backlog), rounded up to a power of two."
    } else if cookies_off {
        "The request queue holds as many as the listener's backlog, plus one; with tcp_syncookies=0 it takes new peers \
         only up to three quarters of tcp_max_syn_backlog."
    } else {
        "The request queue holds as many as the listener's backlog, plus one; tcp_max_syn_backlog is read only with \
         tcp_syncookies=0, so raising it does nothing while cookies are on."
    }
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = cx.sockets();
    let all = table.as_ref().map(|t| points(cx.window, t)).unwrap_or_default();
    let pressure = if cx.window.has_past() { Some(Pressure::read(cx, &all)) } else { None };
    if let Some(Ok(p)) = &pressure
        && matches!(p.cause, Cause::CookiesUnanswered | Cause::DropsUnanswered)
    {
        return Outcome::Fired(vec![flood(cx, p, &all)]);
    }
    if let Err(gap) = table {
        return Outcome::Unknown(gap);
    }
    // A queue that fills without overflowing needs no past: a SYN-ACK that was sent again is a second old.
    let mut filling: Vec<&Point<'_>> = all.iter().filter(|p| fills(cx, p)).collect();
    if !filling.is_empty() {
        filling.sort_by_key(|p| std::cmp::Reverse(p.point.half_open));
        return Outcome::Fired(filling.into_iter().take(5).map(|p| filling_finding(cx, p)).collect());
    }
    let open: u64 = all.iter().map(|p| u64::from(p.point.half_open)).sum();
    match pressure {
        None => Outcome::NotApplicable(
            "needs two samples: cookies and dropped SYNs are counted between them".into(),
        ),
        Some(Err(gap)) => Outcome::Unknown(gap),
        Some(Ok(p)) => Outcome::Clear(format!("{}; {} now", p.quiet(), counted(open, "half-open request"))),
    }
}

impl Pressure {
    /// Why this is no pressure, or not this rule's, in figures.
    pub(crate) fn quiet(&self) -> String {
        let seconds = self.seconds;
        let (sent, back) = (thousands(self.cookies_sent), thousands(self.cookies_back));
        match (self.cookies_sent, self.dropped) {
            (0, 0) => format!("no SYN cookie sent and no SYN dropped in {seconds:.1} s"),
            (_, 0) => format!("{sent} SYN cookies sent in {seconds:.1} s, {back} came back"),
            (_, dropped) => format!("{} dropped in {seconds:.1} s", counted(dropped, "SYN")),
        }
    }
}

fn fills(cx: &Context<'_>, point: &Point<'_>) -> bool {
    let open = f64::from(point.point.half_open);
    let again = f64::from(point.point.half_open_retransmitted);
    let part =
        point.capacity().map_or(0.0, |capacity| if capacity > 0 { open / capacity as f64 } else { 0.0 });
    // Clients of a full accept queue do answer, and the kernel sends the SYN-ACK again all the same: LQ001.
    !point.at_limit()
        && open >= cx.limit(&MIN_HALF_OPEN)
        && again >= cx.limit(&UNANSWERED) * open
        && (part >= cx.limit(&FILL) || open >= cx.limit(&NORMAL_HALF_OPEN))
}

fn filling_finding(cx: &Context<'_>, point: &Point<'_>) -> Finding {
    let label = point.label();
    let owner = point.owner();
    let process = cx.process_label(owner);
    let capacity = point.capacity().map_or(String::new(), |c| format!(" of at most {}", thousands(c)));
    cx.finding(
        Severity::Warning,
        Confidence::Medium,
        format!("listener {label}, {process}"),
        format!(
            "{process} has {}{capacity} on {label} and {} did not answer the SYN-ACK: the request queue fills with \
             silent sources",
            counted(point.point.half_open.into(), "half-open request"),
            thousands(point.point.half_open_retransmitted.into())
        ),
    )
    .why(format!(
        "An honest client answers a SYN-ACK within its round trip; the kernel sends it again after 1 s, 3 s, 7 s. When \
         the queue is full, {}. {}",
        full_consequence(cx.now().sysctl_int("net.ipv4.tcp_syncookies").ok()),
        syn_backlog_truth(cx)
    ))
    .evidence(queues(cx, &[point]))
    .evidence(sources(cx))
    .evidence(cx.setting("net.ipv4.tcp_syncookies"))
    .remedies(remedies(cx))
    .process(owner)
}

fn full_consequence(mode: Option<i64>) -> &'static str {
    match mode {
        Some(0) => "SYNs are dropped, honest ones too, as tcp_syncookies is 0",
        Some(_) => "the kernel answers with SYN cookies and drops nothing",
        None => "the kernel answers with SYN cookies, or drops SYNs where tcp_syncookies is 0",
    }
}

fn flood(cx: &Context<'_>, p: &Pressure, all: &[Point<'_>]) -> Finding {
    let crowded = crowded(all);
    let listener = who(cx, &crowded);
    let at = listener.as_ref().map_or(String::new(), |who| format!(" at {who}"));
    let (severity, confidence, summary) = if p.cause == Cause::DropsUnanswered {
        let why = if p.mode == Some(0) { " and tcp_syncookies is 0" } else { "" };
        (
            Severity::Critical,
            Confidence::Medium,
            format!(
                "A full request queue dropped {} in {:.1} s{at}: its half-open requests go unanswered{why}",
                counted(p.dropped, "SYN"),
                p.seconds
            ),
        )
    } else {
        let share = p.cookies_back as f64 / p.cookies_sent.max(1) as f64;
        (
            Severity::Warning,
            if share < 0.1 { Confidence::High } else { Confidence::Medium },
            format!(
                "{} sent in {:.1} s{at}, {} came back ({:.1} %): SYNs whose sources do not answer",
                counted(p.cookies_sent, "SYN cookie"),
                p.seconds,
                thousands(p.cookies_back),
                share * 100.0
            ),
        )
    };
    let subject = match crowded.first() {
        Some(point) => format!("listener {}, {}", point.label(), cx.process_label(point.owner())),
        None => format!("network namespace {}", cx.now().netns.label()),
    };
    cx.finding(severity, confidence, subject, summary)
        .why(format!(
            "When a listener's request queue is full, {}. The number of SYN_RECV sockets stays at backlog + 1 however \
             large the flood is: what does not fit leaves no socket. {}",
            full_consequence(p.mode),
            syn_backlog_truth(cx)
        ))
        .evidence(p.evidence(cx))
        .evidence(queues(cx, &crowded))
        .evidence(sources(cx))
        .evidence(cx.setting("net.ipv4.tcp_syncookies"))
        .remedies(remedies(cx))
        .process(crowded.first().and_then(|point| point.owner()))
}

fn sources(cx: &Context<'_>) -> Vec<Evidence> {
    let Ok(table) = cx.sockets() else { return Vec::new() };
    let total = table.syn_recv_sources.total();
    if total == 0 {
        return Vec::new();
    }
    let sampled = format!("{}, a biased sample: at most backlog + 1 per listener", origin(table));
    let mut evidence = vec![Evidence::new(
        format!("sources of the {} (they may be forged)", counted(total, "half-open request")),
        table.syn_recv_sources.len() as f64,
        "addresses",
        sampled.clone(),
    )];
    for group in table.syn_recv_sources.largest(3) {
        // A source that appears once says nothing.
        if group.count() > 1 {
            let what = format!("half-open requests from {}", group.key);
            evidence.push(Evidence::new(what, group.count() as f64, "requests", sampled.clone()));
        }
    }
    evidence
}

fn remedies(cx: &Context<'_>) -> Vec<Remedy> {
    let mut remedies = vec![
        Remedy::architecture(
            "Filter by source before the host (provider, load balancer), or on it with a rate for each address \
             (nftables: a dynamic set with `limit rate`). A global `iptables -m limit --limit 100/s` counts all clients \
             together and shuts out the real ones.",
        ),
        Remedy::application(
            "If part of the load is honest: a larger backlog at listen() (and net.core.somaxconn at least as large), \
             then a restart, makes the request queue larger, too.",
        ),
    ];
    if cx.now().sysctl_int("net.ipv4.tcp_syncookies") == Ok(0) {
        remedies.push(Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.tcp_syncookies=1",
            "Answer with cookies when the queue is full instead of dropping SYNs. Takes effect at once.",
        ));
    }
    if cx.now().sysctl_int("net.ipv4.tcp_synack_retries").is_ok_and(|n| n > 2) {
        remedies.push(Remedy::kernel(
            Applicability::Unsafe,
            "net.ipv4.tcp_synack_retries=2",
            "Gives up a silent request after about 7 s. Loses honest clients on lossy paths; take it back afterwards.",
        ));
    }
    remedies
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::record::{Timer, TimerKind};
    use linger_model::report::Severity;
    use linger_model::{SocketRecord, State};

    /// Half-open requests at port 80 from this many sources, the first `again` of them retransmitted.
    fn half_open(n: u16, again: u16, sources: u16) -> Vec<SocketRecord> {
        (0..n)
            .map(|i| {
                let source = ip(&format!("198.51.100.{}", i % sources));
                let mut socket = SocketRecord::new(State::SynRecv, ip("10.0.0.1"), 80, source, 1024 + i);
                socket.timer = Some(Timer { kind: TimerKind::Retransmit, expires_ms: 500 });
                socket.retransmits = u8::from(i < again);
                socket
            })
            .collect()
    }

    fn server(at_s: f64, queue: u32, requests: Vec<SocketRecord>) -> Moment {
        moment(at_s).process(12, "nginx").socket(listener("0.0.0.0", 80, queue, 128, 0)).sockets(requests)
    }

    fn severity(moments: [Moment; 2]) -> Option<Severity> {
        match run(&super::RULE, moments) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            _ => None,
        }
    }

    #[test]
    fn fires_when_cookies_do_not_come_back() {
        let last = server(1.0, 0, half_open(129, 90, 4))
            .counter("TcpExt.SyncookiesSent", 5500)
            .counter("TcpExt.SyncookiesRecv", 12)
            .counter("TcpExt.TCPReqQFullDoCookies", 5500)
            .counter("Tcp.PassiveOpens", 40);
        golden!([server(0.0, 0, Vec::new()), last]);
    }

    #[test]
    fn is_clear_under_honest_load() {
        let last = server(1.0, 0, half_open(129, 2, 100))
            .counter("TcpExt.SyncookiesSent", 550)
            .counter("TcpExt.SyncookiesRecv", 530)
            .counter("Tcp.PassiveOpens", 1500);
        golden!([server(0.0, 0, Vec::new()), last]);
    }

    #[test]
    fn is_unknown_without_counters() {
        let mut last = server(1.0, 0, half_open(3, 0, 3));
        last.no_counters = true;
        golden!([server(0.0, 0, Vec::new()), last]);
    }

    #[test]
    fn without_cookies_drops_at_a_silent_queue_are_critical() {
        let off = |at_s, requests| server(at_s, 0, requests).sysctl("net.ipv4.tcp_syncookies", "0");
        let last = off(1.0, half_open(129, 120, 3))
            .counter("TcpExt.TCPReqQFullDrop", 900)
            .counter("TcpExt.ListenDrops", 900)
            .counter("Tcp.PassiveOpens", 3);
        golden!([off(0.0, Vec::new()), last]);
        // The queue's last quarter is kept for proven peers: those drops are in ListenDrops alone. And in the first
        // second nothing has been sent again.
        let first = off(1.0, half_open(97, 0, 97)).counter("TcpExt.ListenDrops", 400);
        assert_eq!(severity([off(0.0, Vec::new()), first]), Some(Severity::Critical));
        // Requests that are completed at a good rate are honest load.
        let honest = off(1.0, half_open(129, 4, 97)).counter("TcpExt.TCPReqQFullDrop", 400);
        let honest = honest.counter("TcpExt.ListenDrops", 400).counter("Tcp.PassiveOpens", 2000);
        assert_eq!(severity([off(0.0, Vec::new()), honest]), None);
    }

    #[test]
    fn a_queue_that_fills_with_silent_requests_is_a_warning() {
        golden!([server(0.0, 0, Vec::new()), server(1.0, 0, half_open(100, 80, 100))]);
        let at = |n, again| severity([server(0.0, 0, Vec::new()), server(1.0, 0, half_open(n, again, 50))]);
        assert_eq!(at(65, 33), Some(Severity::Warning));
        assert_eq!(at(60, 60), None, "below half of the queue: scanners");
        assert_eq!(at(129, 20), None, "fresh requests of honest clients");
    }

    #[test]
    fn a_full_accept_queue_is_not_a_flood() {
        // Its clients answer; the kernel cannot take their ACK and sends the SYN-ACK again.
        let stuck = |at_s| server(at_s, 129, half_open(128, 128, 60));
        let last = stuck(1.0).counter("TcpExt.ListenOverflows", 80).counter("TcpExt.ListenDrops", 80);
        assert_eq!(severity([stuck(0.0), last]), None);
        let off = |at_s| stuck(at_s).sysctl("net.ipv4.tcp_syncookies", "0");
        let last = off(1.0)
            .counter("TcpExt.TCPReqQFullDrop", 50)
            .counter("TcpExt.ListenOverflows", 80)
            .counter("TcpExt.ListenDrops", 130);
        assert_eq!(severity([off(0.0), last]), None);
    }

    #[test]
    fn a_few_cookies_are_a_burst() {
        let last = server(1.0, 0, Vec::new()).counter("TcpExt.SyncookiesSent", 9);
        assert_eq!(severity([server(0.0, 0, Vec::new()), last]), None);
        assert!(matches!(run(&super::RULE, [server(0.0, 0, Vec::new())]), Outcome::NotApplicable(_)));
    }
}
