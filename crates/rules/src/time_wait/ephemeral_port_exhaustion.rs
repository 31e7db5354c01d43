use crate::ports::{
    PortUse, Ports, ReusePolicy, by_trace, churner, made_by, percent, socket_source, tuple_label,
};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::aggregate::{HolderStats, ProcessIndex, Tuple, TupleStats};
use linger_model::record::endpoint;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::Reading;
use linger_model::{Finding, SocketTable, State};

static WARNING_FRACTION: Threshold = Threshold {
    key: "warning_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "Share of the ports towards one destination that connect() cannot take, from which this is a warning.",
};
static CRITICAL_FRACTION: Threshold = Threshold {
    key: "critical_fraction",
    default: 0.95,
    unit: "fraction",
    doc: "The same share from which this is critical.",
};
static PROJECTION_FRACTION: Threshold = Threshold {
    key: "projection_fraction",
    default: 0.25,
    unit: "fraction",
    doc: "Share of the ports that must be taken before the rate of the last 10 s is projected: below, a burst is no trend.",
};
static CRITICAL_PROJECTION_FRACTION: Threshold = Threshold {
    key: "critical_projection_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Share of the ports that must be taken before a projection can be critical and not only a warning.",
};
static CRITICAL_SECONDS: Threshold = Threshold {
    key: "critical_seconds",
    default: 60.0,
    unit: "s",
    doc: "Projected time to exhaustion below which this is critical.",
};

declare_rule! {
    /// # What it detects
    /// The local ports towards one destination run out. A connection is told apart by four things: source address,
    /// source port, destination address, destination port. For one (source address, destination address, destination
    /// port) only the source port is left to differ, and connect() picks it from `ip_local_port_range`: 28,232 ports by
    /// default. So the limit is per destination, not per host: 28,232 connections to each of ten backends are fine.
    ///
    /// # Why it matters
    /// When no port is left, connect() fails at once with EADDRNOTAVAIL ("Cannot assign requested address"). The kernel
    /// has no counter for it. TIME_WAIT holds a port for 60 s, so 28,232 ports carry about 470 short connections a second
    /// towards one destination. Trouble starts earlier: connect() tries the ports of one parity first, so past half of
    /// the range each call walks the full half before it finds a port, and connect() becomes slow.
    ///
    /// Not every TIME_WAIT counts. With `tcp_tw_reuse` = 1 (or 2, the default since 4.18, on loopback) connect() takes a
    /// port back after about one second, if the connection carried timestamps. Then thousands of TIME_WAIT are a note and
    /// no fault, and the ceiling is about the number of ports per second instead of per minute. A connection to the host's
    /// own non-loopback address is not loopback for mode 2. Accepted connections use no port of the range at all.
    ///
    /// # Evidence
    /// Per tuple: ports in use, less the TIME_WAIT ports that reuse can take back, against the range less
    /// `ip_local_reserved_ports` and less ports that a bind() holds (connect() skips those for every destination, even when
    /// the socket is not connected). FIN_WAIT2 minisockets count as used. The rate comes from the remaining times of
    /// the TIME_WAIT sockets: what was made in the last 10 s. If rate × 60 s plus the live connections pass what is
    /// available, the ports run out within a minute. Timestamps are known from live connections only: a TIME_WAIT
    /// socket does not show them, so without a live connection they are assumed, and the finding says so. When nothing
    /// went into TIME_WAIT in the last 2 s, the burst is over and nothing is projected. TIME_WAIT has no owner either:
    /// the process named is that of most live connections, and need not be the one that made them. Ports bound
    /// before connect() are estimated: bind() to port 0 takes first the parity that connect() tries last.
    ///
    /// # Fix
    /// Application: keep connections alive, use a pool with a limit. Architecture: more destination addresses or ports,
    /// or more source addresses; each one brings a full range of its own. Kernel: `tcp_tw_reuse` = 1 where the peers carry
    /// timestamps; then a wider range. What does not help: `tcp_fin_timeout` (TIME_WAIT is 60 s, fixed; articles that say
    /// otherwise are wrong), more descriptors, `tcp_max_tw_buckets`. "Linux supports 65,535 ports" is no limit per host.
    /// A program that binds a source address before connect() should set IP_BIND_ADDRESS_NO_PORT.
    ///
    /// # Fix safety
    /// `tcp_tw_reuse` = 1 is safe: new outgoing connections only, timestamps protect them, it can be taken back. A wider
    /// range can take a port that a server wants to listen on later: put such ports into `ip_local_reserved_ports` first.
    /// Both are per network namespace.
    ///
    /// # Sources
    /// net/ipv4/inet_hashtables.c __inet_hash_connect() and __inet_check_established(); net/ipv4/tcp_ipv4.c
    /// tcp_twsk_unique(); include/net/tcp.h TCP_TIMEWAIT_LEN; commit 07f4c90062f8 (range and parity, 4.2); commit 79e9fed46038
    /// (tcp_tw_reuse = 2, 4.18). Measured on 6.18: with 990 of 1,000 ports in TIME_WAIT and reuse on, the next 900
    /// connects succeed; with timestamps off they fail with EADDRNOTAVAIL.
    TW001, "ephemeral-port-exhaustion", Netns, Critical, [
        WARNING_FRACTION, CRITICAL_FRACTION, PROJECTION_FRACTION, CRITICAL_PROJECTION_FRACTION, CRITICAL_SECONDS,
    ]
}

/// Findings shown at most.
const SHOWN: usize = 5;

/// Ports of the kernel's default range, 32768 to 60999 (since 4.2).
const DEFAULT_PORTS: u32 = 60_999 - 32_768 + 1;

/// In which way the ports of a tuple are short.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shortage {
    /// Most ports are held and cannot be taken.
    Full,
    /// They will be, in so many seconds.
    Filling(f64),
    /// Most are held, but connect() takes them back.
    TakenBack,
    /// Only the half that connect() tries second is left.
    SlowHalf,
}

/// A tuple whose ports are short.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pressed<'a> {
    pub tuple: Tuple,
    pub stats: &'a TupleStats,
    pub ports: PortUse,
    /// Estimate of the ports bound before connect(), over all destinations, and of how many bind() takes first.
    pub prebound: Option<(u32, u32)>,
    pub shortage: Shortage,
    pub severity: Severity,
    pub confidence: Confidence,
}

/// This rule's thresholds hold for every rule that speaks of port pressure.
fn limit(cx: &Context<'_>, threshold: &'static Threshold) -> f64 {
    cx.config.get(RULE.code, threshold)
}

/// The share of the ports from which a rate is worth projecting.
pub(crate) fn projection_fraction(cx: &Context<'_>) -> f64 {
    limit(cx, &PROJECTION_FRACTION)
}

/// Every tuple whose ports are short, worst first.
pub(crate) fn pressed<'a>(cx: &Context<'a>, ports: &Ports) -> Reading<Vec<Pressed<'a>>> {
    let table = cx.now().sockets.as_ref().map_err(Clone::clone)?;
    let prebound = prebound(ports, table);
    let mut found: Vec<Pressed<'a>> = table
        .tuples
        .iter()
        .filter(|group| group.value.in_range() > 0)
        .filter_map(|group| judge(cx, group.key, &group.value, ports.usage(&group.key, &group.value)))
        .map(|one| Pressed { prebound, ..one })
        .collect();
    found.sort_by(|a, b| {
        (b.severity.cmp(&a.severity))
            .then(b.ports.hard_fraction().total_cmp(&a.ports.hard_fraction()))
            .then(b.ports.used.cmp(&a.ports.used))
            .then(a.tuple.cmp(&b.tuple))
    });
    Ok(found)
}

fn judge<'a>(cx: &Context<'_>, tuple: Tuple, stats: &'a TupleStats, ports: PortUse) -> Option<Pressed<'a>> {
    let hard = ports.hard_fraction();
    // Reuse that is assumed makes the ports look freer, never fuller.
    let full_confidence = match ports.reuse {
        ReusePolicy::Assumed => Confidence::High,
        known => known.confidence(),
    };
    let filling = ports.time_to_exhaustion_s.filter(|left| {
        *left > 0.0
            && hard >= limit(cx, &PROJECTION_FRACTION)
            && still_grows(cx, &tuple, stats) != Some(false)
    });
    let warning_from = limit(cx, &WARNING_FRACTION);
    let (shortage, severity, confidence) = if hard >= limit(cx, &CRITICAL_FRACTION) {
        (Shortage::Full, Severity::Critical, full_confidence)
    } else if let Some(left) = filling {
        let near = left < limit(cx, &CRITICAL_SECONDS) && hard >= limit(cx, &CRITICAL_PROJECTION_FRACTION);
        let severity = if near { Severity::Critical } else { Severity::Warning };
        (Shortage::Filling(left), severity, Confidence::Medium)
    } else if hard >= warning_from {
        (Shortage::Full, Severity::Warning, full_confidence)
    } else if ports.used_fraction() >= warning_from {
        (Shortage::TakenBack, Severity::Info, ports.reuse.confidence())
    } else if ports.second_half_only {
        (Shortage::SlowHalf, Severity::Info, Confidence::High)
    } else {
        return None;
    };
    Some(Pressed { tuple, stats, ports, prebound: None, shortage, severity, confidence })
}

/// Ports that look bound before connect(), of how many that bind() takes first.
fn prebound(ports: &Ports, table: &SocketTable) -> Option<(u32, u32)> {
    let of = ports.usable.saturating_sub(ports.first_parity_usable);
    ports.prebound(table).filter(|n| *n > 0 && of > 0).map(|n| (n, of))
}

/// Whether so many ports bound before connect() are worth a word, or an advice.
fn is_share(prebound: Option<(u32, u32)>, share: f64) -> bool {
    prebound.is_some_and(|(n, of)| f64::from(n) >= share * f64::from(of))
}

/// Whether the tuple has more ports in use than at the window's beginning; `None` where that can't be told.
fn still_grows(cx: &Context<'_>, tuple: &Tuple, stats: &TupleStats) -> Option<bool> {
    let past = cx.window.has_past().then(|| cx.window.first().sockets.as_ref().ok()).flatten();
    // Where TIME_WAIT sockets were only counted then, the rate has to say it.
    let before = past.filter(|table| table.walked_time_wait)?;
    Some(stats.in_range() > before.tuples.get(tuple).map_or(0, |group| group.value.in_range()))
}

impl Pressed<'_> {
    /// Whether what holds the ports is mostly connections that are not in TIME_WAIT.
    pub(crate) fn mostly_live(&self) -> bool {
        let filling = matches!(self.shortage, Shortage::Filling(_) | Shortage::TakenBack);
        !filling && self.time_wait() * 2 < self.ports.used
    }

    /// TIME_WAIT sockets that hold one of the ports.
    fn time_wait(&self) -> u32 {
        self.stats.state(State::TimeWait).min(self.ports.used)
    }

    /// What the application can do: `short` is what helps against short connections, which is of use only where there
    /// are TIME_WAIT sockets to speak of.
    pub(crate) fn application(&self, holder: Option<String>, short: Vec<Remedy>) -> Vec<Remedy> {
        if !self.mostly_live() {
            return short;
        }
        let live = thousands((self.ports.used - self.time_wait()).into());
        let whose = holder.map_or(String::new(), |who| format!(", mostly of {who}"));
        let mut out = vec![Remedy::application(format!(
            "{live} of these are live connections{whose}, not short ones: give their pool a limit, let idle connections \
             end, or multiplex (HTTP/2, pipelining). A number that grows with time and not with load is a leak."
        ))];
        if self.time_wait() * 4 >= self.ports.used {
            out.extend(short);
        }
        out
    }

    /// `from 10.0.0.1 towards 10.0.0.2:443`.
    pub(crate) fn direction(&self) -> String {
        format!("from {} towards {}", self.tuple.src, endpoint(self.tuple.dst, self.tuple.dport))
    }

    /// What is short, as a clause with its figures.
    pub(crate) fn clause(&self) -> String {
        let ports = &self.ports;
        let time_wait = self.time_wait();
        let used = format!(
            "{} of {} local ports {} are in use ({})",
            thousands(ports.used.into()),
            thousands(ports.available().into()),
            self.direction(),
            percent(ports.used_fraction())
        );
        match self.shortage {
            Shortage::Full if u64::from(time_wait) * 2 < u64::from(ports.hard_used) => {
                format!(
                    "{used}, {} of them by connections that are not in TIME_WAIT",
                    thousands((ports.used - time_wait).into())
                )
            }
            Shortage::Full => format!(
                "{used}, and connect() can take back {} of the {} in TIME_WAIT: {}",
                if ports.reusable == 0 { "none".to_owned() } else { thousands(ports.reusable.into()) },
                thousands(time_wait.into()),
                ports.reuse.why()
            ),
            Shortage::Filling(left) => format!(
                "{used} and run out in about {left:.0} s at {:.0} new a second (mean of 10 s): {}",
                ports.rate_per_s.unwrap_or(0.0),
                ports.reuse.why()
            ),
            Shortage::TakenBack => format!(
                "{used}, but connect() takes {} of them back from TIME_WAIT: {}",
                thousands(ports.reusable.into()),
                ports.reuse.why()
            ),
            Shortage::SlowHalf => {
                format!(
                    "{used}: the half that connect() tries first is full, so each connect() walks it in vain"
                )
            }
        }
    }

    /// Every figure behind it.
    pub(crate) fn evidence(&self, cx: &Context<'_>) -> Vec<Evidence> {
        let source = cx.sockets().map_or("sock_diag", socket_source);
        let (ports, stats) = (&self.ports, self.stats);
        let towards = endpoint(self.tuple.dst, self.tuple.dport);
        let count = |what: &str, value: u32| Evidence::new(what, f64::from(value), "ports", source);
        let mut out = vec![
            count(&format!("local ports in use towards {towards}"), ports.used),
            count("of those, in TIME_WAIT", stats.state(State::TimeWait).min(ports.used)),
            count("of those, that connect() can take back", ports.reusable),
        ];
        for (what, value) in [
            ("of those, in FIN_WAIT2 without a process", stats.fin_wait2_mini()),
            ("of those, in SYN_SENT", stats.state(State::SynSent)),
        ] {
            if value > 0 {
                out.push(count(what, value));
            }
        }
        out.push(Evidence::new(
            "local ports available",
            f64::from(ports.available()),
            "ports",
            if ports.bound > 0 {
                "sysctl net.ipv4.ip_local_port_range less ip_local_reserved_ports and bound ports"
            } else {
                "sysctl net.ipv4.ip_local_port_range less ip_local_reserved_ports"
            },
        ));
        if ports.bound > 0 {
            out.push(count("ports that a bind() holds, lost for every destination", ports.bound));
        }
        if let Some(rate) = ports.rate_per_s {
            let over = rate < f64::from(stats.made_10s()) / 10.0 && stats.made_2s() * 10 < stats.made_10s();
            let last = if over { "last 2 s: the burst before is over" } else { "last 10 s" };
            let how = format!("remaining times of the TIME_WAIT sockets ({source}), {last}");
            out.push(Evidence::new("TIME_WAIT made", (rate * 10.0).round() / 10.0, "/s", how));
        }
        if let Some(left) = ports.time_to_exhaustion_s {
            let left = (left * 10.0).round() / 10.0;
            out.push(Evidence::new("time to exhaustion", left, "s", "free ports ÷ growth at that rate"));
        }
        if ports.second_half_only {
            let what = "ports in use of the half that connect() tries first";
            out.push(count(what, ports.first_parity_used));
        }
        if let Some(share) = ports.prebound_share.filter(|share| *share >= 0.1) {
            let share = (share * 100.0).round() / 100.0;
            out.push(Evidence::new("bound before connect()", share, "fraction", "estimate from port parity"));
        }
        if let Some((n, _)) = self.prebound.filter(|_| is_share(self.prebound, 0.1)) {
            out.push(prebound_evidence(n));
        }
        if ports.reuse.wanted() && stats.path.timestamps + stats.path.no_timestamps > 0 {
            out.push(Evidence::new(
                "live connections with timestamps",
                f64::from(stats.path.timestamps),
                "connections",
                "tcp_info",
            ));
        }
        let recycled = cx.window.delta("TcpExt.TWRecycled").ok().filter(|d| d.by > 0 && ports.reuse.wanted());
        out.extend(recycled.map(|d| cx.moved("TcpExt.TWRecycled", d)));
        out.extend(cx.setting("net.ipv4.tcp_tw_reuse"));
        out.extend(cx.setting("net.ipv4.tcp_timestamps"));
        out
    }

    /// What to do about it: what the application's own steps are, then architecture, then kernel.
    pub(crate) fn remedies(&self, range: &Ports, application: Vec<Remedy>) -> Vec<Remedy> {
        let ports = &self.ports;
        let mut out = Vec::new();
        let here = ports.prebound_share.is_some_and(|share| share >= 0.5);
        if here || is_share(self.prebound, 0.5) {
            let which = if here { "Most of these" } else { "Many" };
            out.push(Remedy::application(format!(
                "{which} ports look bound before connect(); such a port is lost for every destination. Set \
                 IP_BIND_ADDRESS_NO_PORT (Linux 4.2) before bind() to a source address: connect() then picks the port."
            )));
        }
        out.extend(application);
        out.truncate(3);
        out.push(Remedy::architecture(
            "Spread the connections: each further destination address or port, and each further source address, brings a \
             full port range of its own.",
        ));
        out.extend(kernel_remedies(range, ports, self.stats));
        out
    }
}

fn prebound_evidence(ports: u32) -> Evidence {
    let what = "ports that look bound before connect(), lost for every destination";
    let how = "estimate from port parity, live connections to all destinations";
    Evidence::new(what, f64::from(ports), "ports", how)
}

/// Settings that give connect() more ports; two at the most.
pub(crate) fn kernel_remedies(range: &Ports, ports: &PortUse, stats: &TupleStats) -> Vec<Remedy> {
    let mut out = Vec::new();
    let shows_none = stats.path.timestamps == 0 && stats.path.no_timestamps > 0;
    // Ports that live connections hold come back with no setting.
    let time_wait = u64::from(stats.state(State::TimeWait)) * 4 >= u64::from(ports.hard_used.max(1));
    if !range.timestamps && time_wait {
        out.push(Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.tcp_timestamps=1",
            "Turn timestamps on: without them no TIME_WAIT socket can be reused. Holds for new connections.",
        ));
    }
    if !ports.reuse.wanted() && time_wait && (!shows_none || !range.timestamps) {
        let proof = if stats.path.timestamps > 0 {
            "the live connections here do"
        } else {
            "no live connection shows it here"
        };
        out.push(Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.tcp_tw_reuse=1",
            format!(
                "Lets connect() take back a port that has been in TIME_WAIT for {} s. It works where both ends carry \
                 timestamps ({proof}), for outgoing connections, in this namespace.",
                range.reuse_delay_s
            ),
        ));
    }
    if u64::from(stats.fin_wait2_mini()) * 4 >= u64::from(ports.hard_used.max(1)) {
        out.push(Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.tcp_fin_timeout=15",
            "Many ports are in FIN_WAIT2 and wait for the peer's FIN: this shortens that wait. It does nothing for TIME_WAIT.",
        ));
    }
    if range.usable < DEFAULT_PORTS {
        out.push(Remedy::kernel(
            Applicability::Safe,
            "net.ipv4.ip_local_port_range=32768 60999",
            format!(
                "Go back to the kernel's default range: {} ports instead of {}.",
                thousands(DEFAULT_PORTS.into()),
                thousands(range.usable.into())
            ),
        ));
    } else if range.range.low > 15_000 {
        out.push(Remedy::kernel(
            Applicability::Unsafe,
            "net.ipv4.ip_local_port_range=15000 64999",
            "A wider range. connect() may then take a port that a server wants to listen on later: first put the ports of \
             all servers into net.ipv4.ip_local_reserved_ports.",
        ));
    }
    out.truncate(2);
    out
}

/// Says in the last finding how many more there are.
pub(crate) fn note_more(findings: &mut [Finding], more: usize, what: &str, source: &str) {
    if let Some(last) = findings.last_mut().filter(|_| more > 0) {
        last.evidence.push(Evidence::new(
            format!("further {what} like this, not shown"),
            more as f64,
            what,
            source,
        ));
    }
}

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(&cx.now().sockets);
    let ports = known!(Ports::read(cx.now()));
    let pressed = known!(pressed(cx, &ports));
    let mut findings: Vec<Finding> = bound_ports(cx, table, &ports).into_iter().collect();
    let shown = SHOWN - findings.len();
    for one in pressed.iter().take(shown) {
        let owner = one.stats.owner;
        let who = match (table.maker(&one.tuple), owner) {
            (Some(_), _) => made_by(cx, table, &one.tuple, one.stats),
            (None, Some(_)) => format!("; the live ones are mostly of {}", cx.process_label(owner)),
            (None, None) => String::new(),
        };
        let churner = churner(table, &one.tuple, one.stats);
        findings.push(
            cx.finding(
                one.severity,
                one.confidence,
                tuple_label(&one.tuple),
                format!("{}{who}", one.clause()),
            )
            .why(why(one, &ports))
            .evidence(one.evidence(cx))
            .evidence(by_trace(table, &one.tuple, one.stats))
            .remedies(match one.shortage {
                Shortage::TakenBack => Vec::new(),
                _ => {
                    let symptom = Symptom::ShortConnections;
                    let short = cx.client_remedies(churner, symptom, one.tuple.dport, 3, |_| true);
                    let holder = owner.map(|_| cx.process_label(owner));
                    one.remedies(&ports, one.application(holder, short))
                }
            })
            .process(if one.mostly_live() { owner } else { churner }),
        );
    }
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    note_more(&mut findings, pressed.len().saturating_sub(shown), "tuples", socket_source(table));
    if findings.is_empty() { Outcome::Clear(clear(table, &ports)) } else { Outcome::Fired(findings) }
}

fn why(one: &Pressed<'_>, ports: &Ports) -> String {
    let mut text = match one.shortage {
        Shortage::Full | Shortage::Filling(_) => {
            "connect() needs a local port that no connection with the same addresses and peer port holds; TIME_WAIT holds one \
             for 60 s (fixed: tcp_fin_timeout does not change it). When none is left, connect() fails with EADDRNOTAVAIL."
                .to_owned()
        }
        Shortage::TakenBack => format!(
            "No hurry: connect() takes a port back once it has been in TIME_WAIT for about {} s, so the ceiling is about {} \
             new connections a second towards this destination, not that many a minute.",
            ports.reuse_delay_s,
            thousands((f64::from(one.ports.available()) / ports.reuse_delay_s.max(0.001)) as u64)
        ),
        Shortage::SlowHalf => {
            "connect() tries the ports with the parity of the range's first port, and only then the others. Past half of the \
             range each call costs a walk over thousands of busy ports: CPU time and latency, before any error."
                .to_owned()
        }
    };
    if one.ports.second_half_only && one.shortage != Shortage::SlowHalf && one.ports.free > 0 {
        text.push_str(
            " Only ports of the second half are free: each connect() first walks the other half, which is slow.",
        );
    }
    text
}

/// Ports that a bind() holds are lost for every destination.
fn bound_ports(cx: &Context<'_>, table: &SocketTable, ports: &Ports) -> Option<Finding> {
    let share = if ports.usable == 0 { 1.0 } else { f64::from(ports.bound) / f64::from(ports.usable) };
    let severity = if share >= limit(cx, &CRITICAL_FRACTION) {
        Severity::Critical
    } else if share >= limit(cx, &WARNING_FRACTION) {
        Severity::Warning
    } else {
        return prebound_ports(cx, table, ports);
    };
    let summary = if ports.usable == 0 {
        format!(
            "ip_local_reserved_ports covers all of ip_local_port_range ({} to {}): connect() has no local port to choose",
            ports.range.low, ports.range.high
        )
    } else {
        format!(
            "{} of {} local ports are held by bind() ({}): connect() skips them for every destination",
            thousands(ports.bound.into()),
            thousands(ports.usable.into()),
            percent(share)
        )
    };
    let source = socket_source(table);
    let holders = bound_holders(table);
    // Where the reserved ports leave none, no holder is to blame.
    let holders = if ports.bound == 0 { Vec::new() } else { holders };
    let most = holders
        .first()
        .filter(|(process, n)| process.is_some() && f64::from(*n) * 2.0 >= f64::from(ports.bound));
    let by =
        most.map_or(String::new(), |(process, _)| format!("; most are of {}", cx.process_label(*process)));
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            format!("network namespace {}", cx.now().netns.label()),
            format!("{summary}{by}"),
        )
        .why(
            "A port with a socket that was bound by bind(), listening or not even connected, is passed over by connect() \
             whatever the destination and the local address.",
        )
        .evidence([
            Evidence::new("ports that a bind() holds", f64::from(ports.bound), "ports", source),
            Evidence::new(
                "local ports usable",
                f64::from(ports.usable),
                "ports",
                "sysctl net.ipv4.ip_local_port_range less ip_local_reserved_ports",
            ),
        ])
        .evidence(holders.iter().take(3).map(|(process, n)| {
            let what = format!("bound or listening sockets of {}, on any port", cx.process_label(*process));
            Evidence::new(what, f64::from(*n), "sockets", source)
        }))
        .remedies([
            Remedy::application(
                "Close sockets that are bound and never used; set IP_BIND_ADDRESS_NO_PORT (Linux 4.2) before bind() to a \
                 source address, so that connect() picks the port.",
            ),
            Remedy::architecture("Let servers listen outside ip_local_port_range."),
        ])
        .remedies((ports.usable < DEFAULT_PORTS).then(|| {
            Remedy::kernel(
                Applicability::Safe,
                "net.ipv4.ip_local_port_range=32768 60999",
                format!(
                    "Go back to the kernel's default range: {} ports instead of {}.",
                    thousands(DEFAULT_PORTS.into()),
                    thousands(ports.usable.into())
                ),
            )
        }))
        .process(holders.first().and_then(|(process, _)| *process));
    Some(finding)
}

/// Who holds bound or listening sockets, most first.
fn bound_holders(table: &SocketTable) -> Vec<(Option<ProcessIndex>, u32)> {
    let of = |held: &HolderStats, state: State| held.states.get(state as usize).copied().unwrap_or(0);
    let mut all: Vec<_> = table
        .holders
        .iter()
        .map(|(process, held)| (*process, of(held, State::BoundInactive) + of(held, State::Listen)))
        .filter(|(_, n)| *n > 0)
        .collect();
    all.sort_by_key(|(process, n)| (std::cmp::Reverse(*n), *process));
    all
}

/// Ports that were bound before connect() are lost for every destination, too; how many can only be estimated.
fn prebound_ports(cx: &Context<'_>, table: &SocketTable, ports: &Ports) -> Option<Finding> {
    let (n, of) = prebound(ports, table).filter(|all| is_share(Some(*all), limit(cx, &WARNING_FRACTION)))?;
    let most = table.tuples.iter().max_by_key(|g| (g.value.in_range() - g.value.first_parity(), g.key))?;
    let owner = most.value.owner;
    let whose = owner.map_or(String::new(), |_| format!(", most by {}", cx.process_label(owner)));
    let finding = cx
        .finding(
            Severity::Info,
            Confidence::Low,
            owner.map_or_else(|| tuple_label(&most.key), |_| cx.process_label(owner)),
            format!(
                "{} of the {} local ports that bind() takes first look bound before connect(){whose}: connect() skips \
                 such a port for every destination",
                thousands(n.into()),
                thousands(of.into())
            ),
        )
        .why(
            "bind() to a source address with port 0 takes a port at once, for all destinations together, and first the \
             ports that connect() tries last. When none is left, that bind() fails with EADDRINUSE.",
        )
        .evidence([
            prebound_evidence(n),
            Evidence::new(
                "ports with the parity that bind() takes first",
                f64::from(of),
                "ports",
                "sysctl net.ipv4.ip_local_port_range less ip_local_reserved_ports",
            ),
        ])
        .remedies([Remedy::application(
            "Set IP_BIND_ADDRESS_NO_PORT (Linux 4.2) before bind() to a source address: connect() then picks the port, \
             for one destination only.",
        )])
        .process(owner);
    Some(finding)
}

fn clear(table: &SocketTable, ports: &Ports) -> String {
    let busiest = table
        .tuples
        .iter()
        .filter(|group| group.value.in_range() > 0)
        .max_by(|a, b| a.value.in_range().cmp(&b.value.in_range()).then(b.key.cmp(&a.key)));
    match busiest {
        None => format!(
            "no outgoing connection holds one of the {}",
            counted(ports.usable.into(), "usable local port")
        ),
        Some(group) => {
            let used = ports.usage(&group.key, &group.value);
            format!(
                "the busiest tuple, {}, holds {} of {} local ports ({})",
                tuple_label(&group.key),
                thousands(used.used.into()),
                thousands(used.available().into()),
                percent(used.used_fraction())
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::SocketRecord;

    const LOCAL: &str = "10.0.0.1";
    const PEER: &str = "10.0.0.2";

    fn to_peer(n: u16, state: State, first_port: u16) -> Vec<SocketRecord> {
        many(n, state, LOCAL, first_port, PEER, 443)
    }

    /// 28,000 TIME_WAIT, made evenly over the last minute, and ten live connections of process 0.
    fn loaded(mode: &str, options: u8) -> Moment {
        moment(1.0)
            .process(4242, "crawler")
            .sockets(expiring(to_peer(28_000, State::TimeWait, 32_768), 0, 60_000))
            .sockets(held_by(with_info(to_peer(10, State::Established, 60_900), |i| i.options = options), 0))
            .sysctl("net.ipv4.tcp_tw_reuse", mode)
    }

    /// 1,000 ports to choose from.
    fn small() -> Moment {
        moment(1.0).sysctl("net.ipv4.ip_local_port_range", "40000 40999").sysctl("net.ipv4.tcp_tw_reuse", "0")
    }

    fn worst(outcome: Outcome) -> (Severity, Confidence) {
        match outcome {
            Outcome::Fired(findings) => (findings[0].severity, findings[0].confidence),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_when_time_wait_holds_nearly_every_port() {
        golden!([loaded("2", 1)]);
    }

    #[test]
    fn is_a_note_when_reuse_takes_the_ports_back() {
        golden!([loaded("1", 1)]);
    }

    #[test]
    fn is_clear_with_ports_free() {
        golden!([moment(1.0).sockets(to_peer(500, State::Established, 32_768))]);
    }

    #[test]
    fn is_clear_without_connections() {
        golden!([moment(1.0)]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = moment(1.0);
        last.no_sockets = true;
        golden!([last]);
    }

    #[test]
    fn is_unknown_without_the_range() {
        golden!([moment(1.0).without_sysctl("net.ipv4.ip_local_reserved_ports")]);
    }

    #[test]
    fn is_critical_wherever_reuse_cannot_help() {
        assert_eq!(worst(run(&RULE, [loaded("0", 1)])), (Severity::Critical, Confidence::High));
        assert_eq!(worst(run(&RULE, [loaded("2", 1)])), (Severity::Critical, Confidence::High));
        assert_eq!(worst(run(&RULE, [loaded("1", 0)])), (Severity::Critical, Confidence::Medium));
        let off_here = loaded("1", 1).sysctl("net.ipv4.tcp_timestamps", "0");
        assert_eq!(worst(run(&RULE, [off_here])), (Severity::Critical, Confidence::High));
    }

    #[test]
    fn is_a_note_of_medium_confidence_when_timestamps_are_assumed() {
        let sockets = expiring(to_peer(990, State::TimeWait, 40_000), 0, 59_000);
        let last = small().sysctl("net.ipv4.tcp_tw_reuse", "1").sockets(sockets);
        assert_eq!(worst(run(&RULE, [last])), (Severity::Info, Confidence::Medium));
    }

    #[test]
    fn is_a_note_on_loopback_in_mode_two() {
        let sockets = expiring(many(990, State::TimeWait, "127.0.0.1", 40_000, "127.0.0.1", 80), 0, 59_000);
        let last = small().sysctl("net.ipv4.tcp_tw_reuse", "2").sockets(sockets);
        assert_eq!(worst(run(&RULE, [last])).0, Severity::Info);
    }

    #[test]
    fn many_destinations_are_no_fault() {
        let spread = (0..100).flat_map(|n| {
            expiring(many(2000, State::TimeWait, LOCAL, 32_768, &format!("10.1.0.{n}"), 443), 0, 60_000)
        });
        let outcome = run(&RULE, [moment(1.0).sysctl("net.ipv4.tcp_tw_reuse", "0").sockets(spread)]);
        assert!(matches!(outcome, Outcome::Clear(_)), "{outcome:?}");
    }

    #[test]
    fn accepted_connections_cost_no_port() {
        let accepted = many(1, State::Established, LOCAL, 443, PEER, 1)
            .into_iter()
            .cycle()
            .take(30_000)
            .enumerate()
            .map(|(i, mut s)| {
                s.dport = 1024 + i as u16;
                s
            });
        let last = moment(1.0).socket(listener("0.0.0.0", 443, 0, 511, 0)).sockets(accepted);
        assert!(matches!(run(&RULE, [last]), Outcome::Clear(_)));
    }

    #[test]
    fn a_tiny_range_counts_like_a_large_one() {
        let tiny = |n| {
            let sockets = expiring(to_peer(n, State::TimeWait, 50_000), 0, 60_000);
            small().sysctl("net.ipv4.ip_local_port_range", "50000 50009").sockets(sockets)
        };
        assert_eq!(worst(run(&RULE, [tiny(10)])).0, Severity::Critical);
        assert_eq!(worst(run(&RULE, [tiny(8)])).0, Severity::Warning);
        assert!(matches!(run(&RULE, [tiny(4)]), Outcome::Clear(_)));
    }

    #[test]
    fn severity_follows_the_share_that_is_taken() {
        let held = |n| small().sockets(with_info(to_peer(n, State::Established, 40_000), |_| ()));
        assert_eq!(worst(run(&RULE, [held(950)])).0, Severity::Critical);
        assert_eq!(worst(run(&RULE, [held(949)])).0, Severity::Warning);
        assert_eq!(worst(run(&RULE, [held(800)])).0, Severity::Warning);
        // The half that connect() tries first is full: slow, and a note.
        let first_half = with_info(to_peer(1000, State::Established, 40_000), |_| ());
        let first_half = first_half.into_iter().filter(|s| s.sport % 2 == 0);
        assert_eq!(worst(run(&RULE, [small().sockets(first_half)])), (Severity::Info, Confidence::High));
    }

    /// `n` TIME_WAIT made in the last 10 s, on the ports that connect() would choose: even ones first.
    fn burst(n: u16, at_s: f64) -> Moment {
        let mut sockets = to_peer(1000, State::TimeWait, 40_000);
        sockets.sort_by_key(|s| (s.sport % 2, s.sport));
        sockets.truncate(n.into());
        let mut last = small().sockets(expiring(sockets, 50_000, 59_900));
        last.at_s = at_s;
        last
    }

    #[test]
    fn a_rate_that_will_exhaust_the_ports_is_foretold() {
        golden!([burst(500, 0.0), burst(600, 1.0)]);
    }

    #[test]
    fn a_burst_is_no_trend() {
        // A tenth of the ports in ten seconds: too little to project.
        assert!(matches!(run(&RULE, [burst(200, 1.0)]), Outcome::Clear(_)));
        assert_eq!(worst(run(&RULE, [burst(300, 1.0)])).0, Severity::Warning);
        // The same, but it is over: nothing was added since the first sample.
        assert!(matches!(run(&RULE, [burst(300, 0.0), burst(300, 1.0)]), Outcome::Clear(_)));
        // Where TIME_WAIT was not walked then, the youngest of now tell as much.
        let sockets = expiring(burst(300, 1.0).sockets, 50_000, 57_900);
        assert!(matches!(run(&RULE, [small().sockets(sockets)]), Outcome::Clear(_)));
    }

    #[test]
    fn ports_held_by_bind_are_lost_for_every_destination() {
        let bound = (40_000..40_960)
            .map(|port| SocketRecord::new(State::BoundInactive, ip("127.0.0.9"), port, ip("0.0.0.0"), 0))
            .collect();
        golden!([small().process(7, "fetcher").sockets(held_by(bound, 0))]);
    }

    #[test]
    fn ports_bound_before_connect_are_told_over_all_destinations() {
        // bind() took odd ports, each towards a destination of its own: no tuple shows it.
        let odd = |n: u16| {
            (0..n).flat_map(|i| {
                let one = many(
                    1,
                    State::Established,
                    LOCAL,
                    40_001 + 2 * i,
                    &format!("10.1.{}.{}", i / 250, i % 250),
                    443,
                );
                held_by(one, 0)
            })
        };
        let Outcome::Fired(findings) = run(&RULE, [small().process(7, "fetcher").sockets(odd(450))]) else {
            panic!("fires")
        };
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Info));
        assert_eq!(findings[0].subject, "fetcher (pid 7)");
        assert!(findings[0].summary.starts_with("450 of the 500 local ports"), "{}", findings[0].summary);
        assert!(matches!(run(&RULE, [small().sockets(odd(300))]), Outcome::Clear(_)), "some");
        // Where one destination has used up the first half, connect() itself takes odd ports.
        let first_half = to_peer(1000, State::Established, 40_000).into_iter().filter(|s| s.sport % 2 == 0);
        let Outcome::Fired(findings) = run(&RULE, [small().sockets(odd(450)).sockets(first_half)]) else {
            panic!("fires")
        };
        assert!(findings.iter().all(|f| !f.summary.contains("before connect()")), "{findings:#?}");
    }

    #[test]
    fn no_setting_is_proposed_that_cannot_help() {
        let live = small().sockets(with_info(to_peer(960, State::Established, 40_000), |_| ()));
        let Outcome::Fired(findings) = run(&RULE, [live]) else { panic!("fires") };
        let settings: Vec<_> = findings[0].remedies.iter().filter_map(|r| r.sysctl.as_deref()).collect();
        assert_eq!(settings, ["net.ipv4.ip_local_port_range=32768 60999"], "none is in TIME_WAIT");
    }

    #[test]
    fn live_connections_get_no_advice_against_short_ones() {
        let live = held_by(with_info(to_peer(960, State::Established, 40_000), |_| ()), 0);
        golden!([small().process(7, "python3").sockets(live)]);
    }

    #[test]
    fn at_most_five_findings_and_the_last_says_how_many_more() {
        let full =
            (0..7).flat_map(|n| many(1000, State::Established, LOCAL, 40_000, &format!("10.1.0.{n}"), 443));
        let Outcome::Fired(findings) = run(&RULE, [small().sockets(full)]) else { panic!("fires") };
        assert_eq!(findings.len(), 5);
        assert_eq!(findings[4].evidence.last().map(|e| e.value), Some(2.0));
    }
}
