use super::ephemeral_port_exhaustion::note_more;
use crate::ports::{port_range, socket_source};
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, known};
use linger_facts::cookbook::Symptom;
use linger_model::record::endpoint;
use linger_model::report::{Confidence, Evidence, Severity};
use linger_model::snapshot::{Gap, GapKind};
use linger_model::{Addr, Groups};
use std::collections::BTreeSet;

static MAX_PORTS: Threshold = Threshold {
    key: "max_ports",
    default: 16.0,
    unit: "ports",
    doc: "Ports left behind up to which they look like servers'; more are a client that chooses its ports itself.",
};
static RANGE_SHARE: Threshold = Threshold {
    key: "range_share",
    default: 0.9,
    unit: "fraction",
    doc: "Share of the ports 1024 to 65535 in ip_local_port_range from which a server's port cannot be told from a client's.",
};

declare_rule! {
    /// # What it detects
    /// TIME_WAIT sockets stand on a local port that nobody listens on and that connect() would not have chosen: a server
    /// was there within the last minute, closed its connections first, and is gone. If it starts again now without
    /// SO_REUSEADDR, its bind() fails with EADDRINUSE ("Address already in use").
    ///
    /// # Why it matters
    /// A restart loop ends only when the last TIME_WAIT is over, 60 s after the last close. The port is free for
    /// everybody who sets SO_REUSEADDR. Articles show "bind: Address already in use" as a sign that local ports run
    /// out: it is not. That is EADDRNOTAVAIL from connect(), and `tcp_tw_reuse` does nothing for bind().
    ///
    /// # Evidence
    /// TIME_WAIT on ports outside `ip_local_port_range` without a listener, and the longest remaining time. That a bind()
    /// failed is not visible in the kernel's tables, and a server that was stopped on purpose looks the same: so this is
    /// information. To tell: the server's log says EADDRINUSE, or `strace -e trace=bind,setsockopt` shows that it binds
    /// without SO_REUSEADDR. When the server is back, there is nothing to report.
    ///
    /// # Fix
    /// Set SO_REUSEADDR before bind(). The old sockets need it too (accepted ones inherit it), so the first restart
    /// after the change may still fail once. Or hand the listening socket over (socket activation), or wait 60 s.
    ///
    /// # Fix safety
    /// SO_REUSEADDR is safe for a listening TCP socket on Linux: a second listener on the port is still refused.
    ///
    /// # Sources
    /// net/ipv4/inet_connection_sock.c inet_csk_bind_conflict(): two sockets share a port if both have SO_REUSEADDR and
    /// neither listens. Measured on 6.18: bind() to a port with only TIME_WAIT on it, without SO_REUSEADDR: EADDRINUSE.
    TW007, "address-in-use-on-restart", Netns, Info, [MAX_PORTS, RANGE_SHARE]
}

/// Findings shown at most.
const SHOWN: usize = 5;

fn check(cx: &Context<'_>) -> Outcome {
    let table = known!(&cx.now().sockets);
    if !table.walked_time_wait {
        let what = "local ports of TIME_WAIT sockets";
        return Outcome::Unknown(Gap::new(what, GapKind::NotAsked, "they were counted and not walked", ""));
    }
    let range = known!(port_range(cx.now()));
    let listened: BTreeSet<u16> = table.listeners.iter().map(|l| l.port).collect();
    let mut left: Vec<Left> = gather(&table.left_behind).filter(|l| !listened.contains(&l.port)).collect();
    if left.is_empty() {
        let high_ports = (1024..=65535u16).filter(|p| range.usable(*p)).count() as f64;
        if high_ports >= cx.limit(&RANGE_SHARE) * f64::from(65535 - 1024 + 1) {
            return Outcome::NotApplicable(format!(
                "ip_local_port_range is {} to {}: a port that a server left cannot be told from one that connect() chose",
                range.low, range.high
            ));
        }
        return Outcome::Clear("no TIME_WAIT on a port that a server has left".to_owned());
    }
    if left.len() as f64 > cx.limit(&MAX_PORTS) {
        return Outcome::Clear(format!(
            "TIME_WAIT on {} outside ip_local_port_range: a client that binds ports of its own, not a server",
            counted(left.len() as u64, "port")
        ));
    }
    left.sort_by(|a, b| b.sockets.cmp(&a.sockets).then(a.port.cmp(&b.port)).then(a.addr.cmp(&b.addr)));
    let source = socket_source(table);
    let mut findings: Vec<_> = left
        .iter()
        .take(SHOWN)
        .map(|l| {
            let at = endpoint(l.addr, l.port);
            let seconds = f64::from(l.longest_ms) / 1000.0;
            let until = if l.longest_ms > 0 { format!("for up to {seconds:.0} s") } else { "for up to 60 s".to_owned() };
            let evidence =
                [Evidence::new(format!("TIME_WAIT sockets on {at}"), l.sockets as f64, "sockets", source)];
            let longest = (l.longest_ms > 0).then(|| {
                Evidence::new("longest remaining time", seconds, "s", format!("timers of the TIME_WAIT sockets ({source})"))
            });
            cx.finding(
                Severity::Info,
                Confidence::Low,
                at.clone(),
                format!(
                    "{} left behind on {at}, where nobody listens: a server that starts there without SO_REUSEADDR gets \
                     EADDRINUSE {until}",
                    counted(l.sockets, "TIME_WAIT socket")
                ),
            )
            .why(
                "bind() refuses a port with sockets on it, TIME_WAIT included, unless both they and the new socket have \
                 SO_REUSEADDR. So after the server learns to set it, the first restart can still fail for 60 s. If the \
                 server was stopped on purpose, there is nothing to do.",
            )
            .evidence(evidence)
            .evidence(longest)
            .evidence([Evidence::new("listening sockets on the port", 0.0, "sockets", source)])
            .remedies(cx.application_remedies(None, Symptom::ReuseAddress))
        })
        .collect();
    note_more(&mut findings, left.len().saturating_sub(SHOWN), "ports", source);
    Outcome::Fired(findings)
}

struct Left {
    addr: Addr,
    port: u16,
    sockets: u64,
    longest_ms: u32,
}

fn gather(groups: &Groups<(Addr, u16), u32>) -> impl Iterator<Item = Left> {
    groups.iter().map(|g| Left { addr: g.key.0, port: g.key.1, sockets: g.count(), longest_ms: g.value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::{SocketRecord, State};

    /// `n` TIME_WAIT on one local port, from as many clients' ports.
    fn left_on(port: u16, n: u16) -> Vec<SocketRecord> {
        let sockets = (0..n)
            .map(|i| SocketRecord::new(State::TimeWait, ip("10.0.0.1"), port, ip("10.0.0.9"), 40_000 + i))
            .collect();
        expiring(sockets, 30_000, 51_000)
    }

    #[test]
    fn fires_on_a_port_that_nobody_listens_on() {
        golden!([moment(1.0).sockets(left_on(8080, 40))]);
    }

    #[test]
    fn is_clear_when_the_server_is_back() {
        golden!([moment(1.0).socket(listener("0.0.0.0", 8080, 0, 511, 0)).sockets(left_on(8080, 40))]);
    }

    #[test]
    fn is_not_applicable_when_the_range_covers_all_ports() {
        golden!([moment(1.0)
            .sysctl("net.ipv4.ip_local_port_range", "1024 65535")
            .sockets(left_on(8080, 40))]);
    }

    #[test]
    fn is_unknown_without_sockets() {
        let mut last = moment(1.0);
        last.no_sockets = true;
        golden!([last]);
    }

    #[test]
    fn clients_are_no_servers() {
        // connect() chose the ports.
        let outgoing = expiring(many(40, State::TimeWait, "10.0.0.1", 40_000, "10.0.0.2", 8080), 0, 60_000);
        assert!(matches!(run(&RULE, [moment(1.0).sockets(outgoing)]), Outcome::Clear(_)));
        // A client with a source port range of its own.
        let own_range = expiring(many(40, State::TimeWait, "10.0.0.1", 20_000, "10.0.0.2", 8080), 0, 60_000);
        assert!(matches!(run(&RULE, [moment(1.0).sockets(own_range)]), Outcome::Clear(_)));
    }

    #[test]
    fn a_low_port_is_told_even_with_a_wide_range() {
        let wide = moment(1.0).sysctl("net.ipv4.ip_local_port_range", "1024 65535").sockets(left_on(80, 3));
        assert!(matches!(run(&RULE, [wide]), Outcome::Fired(_)));
    }

    #[test]
    fn a_listener_on_another_address_of_the_port_is_a_server_that_is_back() {
        let last = moment(1.0).socket(listener("10.0.0.7", 8080, 0, 511, 0)).sockets(left_on(8080, 4));
        assert!(matches!(run(&RULE, [last]), Outcome::Clear(_)));
    }

    #[test]
    fn is_never_more_than_information() {
        let Outcome::Fired(findings) = run(&RULE, [moment(1.0).sockets(left_on(8080, 9000))]) else {
            panic!("fires")
        };
        assert_eq!((findings[0].severity, findings[0].confidence), (Severity::Info, Confidence::Low));
    }
}
