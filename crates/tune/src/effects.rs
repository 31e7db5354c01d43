//! What a setting does, the figure that must move when it is changed, and what it may cost.

use crate::plan::{Direction, Metric, MetricKind, Risk, RiskLevel};

/// What comes of a change.
pub(crate) struct Expected {
    /// What it does, in a sentence.
    pub effect: &'static str,
    kind: MetricKind,
    name: &'static str,
    direction: Direction,
    within_s: f64,
    way: Way,
    risk: (RiskLevel, &'static str),
}

/// Which change of the value does it.
enum Way {
    /// To a larger one: of three the last counts, of a port range its width.
    Up,
    /// To a smaller one.
    Down,
    /// To this one.
    To(&'static str),
}

/// How much a value is; `None` for what is no number.
fn size(value: &str) -> Option<i64> {
    let numbers: Option<Vec<i64>> = value.split_ascii_whitespace().map(|it| it.parse().ok()).collect();
    match numbers?.as_slice() {
        [low, high] => high.checked_sub(*low),
        [.., last] => Some(*last),
        [] => None,
    }
}

impl Expected {
    /// Whether it comes of changing the setting from the one value to the other.
    pub(crate) fn comes_of(&self, from: &str, to: &str) -> bool {
        match (&self.way, size(from), size(to)) {
            (Way::To(only), ..) => to == *only,
            (Way::Up, Some(from), Some(to)) => to > from,
            (Way::Down, Some(from), Some(to)) => to < from,
            _ => false,
        }
    }

    /// What it may cost, where no finding's remedy says so.
    pub(crate) fn risk(&self) -> Risk {
        Risk { level: self.risk.0, text: self.risk.1.to_owned() }
    }

    pub(crate) fn metric(&self) -> Metric {
        Metric {
            kind: self.kind,
            name: self.name.to_owned(),
            direction: self.direction,
            within_s: self.within_s,
        }
    }
}

/// What comes of changing a setting; `None` for one that no figure tells of.
pub(crate) fn expected(key: &str) -> Option<Expected> {
    use Direction::{Falls, Rises};
    use MetricKind::{Counter, Headroom, State};
    use RiskLevel::{Safe, Unsafe};
    use Way::{Down, To, Up};
    let of = |kind, name, direction, within_s, way, effect, level, price| Expected {
        effect,
        kind,
        name,
        direction,
        within_s,
        way,
        risk: (level, price),
    };
    #[rustfmt::skip]
    let expected = match key {
        "net.ipv4.tcp_tw_reuse" => of(
            Counter, "TcpExt.TWRecycled", Rises, 10.0, To("1"),
            "connect() takes back ports in TIME_WAIT where both ends carry timestamps, so that ports stop running out",
            Safe, "outgoing connections alone, and a port is taken back after a second at the earliest",
        ),
        "net.ipv4.ip_local_port_range" => of(
            Headroom, "local ports", Falls, 10.0, Up,
            "connect() has more ports to choose from towards each destination",
            Unsafe, "a service that listens on a port in the new range may find it taken: reserve it first (net.ipv4.ip_local_reserved_ports)",
        ),
        "net.ipv4.tcp_timestamps" => of(
            Headroom, "local ports", Falls, 90.0, To("1"),
            "new connections carry timestamps, and the ports they leave in TIME_WAIT can be taken back",
            Safe, "12 bytes more in each segment of new connections",
        ),
        "net.ipv4.tcp_fin_timeout" => of(
            State, "fin_wait2", Falls, 60.0, Down,
            "closed connections whose peer sends no FIN end sooner; TIME_WAIT is as before",
            Unsafe, "a peer that sends its last data later than that gets a reset",
        ),
        "net.core.somaxconn" => of(
            Counter, "TcpExt.ListenOverflows", Falls, 60.0, Up,
            "accept queues may be longer, once the application has called listen() again",
            Safe, "connections may wait longer in a longer queue",
        ),
        "net.ipv4.tcp_max_syn_backlog" => of(
            Counter, "TcpExt.TCPReqQFullDrop", Falls, 30.0, Up,
            "without SYN cookies, more half-open connections of clients never heard of before may wait",
            Safe, "304 bytes for each that waits",
        ),
        "net.ipv4.tcp_syncookies" => of(
            Counter, "TcpExt.TCPReqQFullDrop", Falls, 5.0, To("1"),
            "a full queue of half-open connections answers instead of dropping",
            Safe, "connections made by a cookie lack some options where timestamps are off",
        ),
        "net.ipv4.tcp_abort_on_overflow" => of(
            Counter, "Tcp.OutRsts", Falls, 60.0, To("0"),
            "a client that meets a full accept queue tries again instead of failing",
            Safe, "a client waits longer before it learns that nobody accepts",
        ),
        "net.ipv4.tcp_synack_retries" => of(
            State, "syn_recv", Falls, 30.0, Down,
            "half-open connections whose client is silent end sooner",
            Unsafe, "clients on lossy paths have fewer tries",
        ),
        "net.ipv4.tcp_syn_retries" => of(
            State, "syn_sent", Falls, 60.0, Down,
            "connects that nobody answers end sooner",
            Unsafe, "connects over lossy paths have fewer tries, those of every application",
        ),
        "net.ipv4.tcp_orphan_retries" => of(
            Headroom, "orphans", Falls, 60.0, Down,
            "closed connections whose peer is gone end sooner",
            Unsafe, "a peer behind a short outage loses the end of what was sent",
        ),
        "net.ipv4.tcp_retries2" => of(
            Counter, "TcpExt.TCPAbortOnTimeout", Rises, 3600.0, Down,
            "connections whose peer is gone are given up sooner",
            Unsafe, "a shorter outage ends connections",
        ),
        "net.ipv4.tcp_keepalive_time" => of(
            Counter, "TcpExt.TCPKeepAlive", Rises, 3600.0, Down,
            "idle connections whose application asked for keep-alive are probed sooner",
            Safe, "a small packet for each such connection, more often",
        ),
        "net.ipv4.tcp_max_orphans" => of(
            Headroom, "orphans", Falls, 10.0, Up,
            "more closed connections may wait for their peer before they are reset",
            Unsafe, "as much kernel memory as their send buffers hold, of the whole host",
        ),
        "net.ipv4.tcp_max_tw_buckets" => of(
            Counter, "TcpExt.TCPTimeWaitOverflow", Falls, 10.0, Up,
            "connections are given their TIME_WAIT again",
            Safe, "256 bytes for each",
        ),
        "net.ipv4.tcp_tw_recycle" => of(
            Counter, "TcpExt.PAWSPassive", Falls, 10.0, To("0"),
            "SYNs of clients behind one address are not dropped any more",
            Safe, "TIME_WAIT lasts its 60 s again",
        ),
        "net.ipv4.tcp_rmem" => of(
            Counter, "TcpExt.PruneCalled", Falls, 30.0, Up,
            "receive buffers of new connections may grow larger",
            Unsafe, "as much kernel memory for each connection that needs it",
        ),
        "net.core.netdev_max_backlog" => of(
            Counter, "softnet.dropped", Falls, 30.0, Up,
            "more packets may wait for a CPU before they are dropped",
            Safe, "packets may wait longer in a longer queue",
        ),
        "net.netfilter.nf_conntrack_max" => of(
            Headroom, "conntrack entries", Falls, 5.0, Up,
            "more connections may be tracked, in every namespace",
            Unsafe, "some 300 bytes of kernel memory for each, and longer chains where the buckets stay as they are",
        ),
        "net.netfilter.nf_conntrack_tcp_timeout_established" => of(
            Headroom, "conntrack entries", Falls, 3600.0, Down,
            "entries of idle connections go sooner, from their next packet on",
            Unsafe, "a connection that is idle for longer loses its way through NAT and firewall",
        ),
        "net.netfilter.nf_conntrack_tcp_timeout_time_wait" => of(
            Headroom, "conntrack entries", Falls, 130.0, Down,
            "entries of closed connections go sooner",
            Unsafe, "the last segments of a slow peer are treated as a stranger's",
        ),
        "fs.file-max" => of(
            Headroom, "descriptors", Falls, 5.0, Up,
            "more files and sockets may be open on the whole host",
            Safe, "kernel memory for each that is opened",
        ),
        _ => return None,
    };
    Some(expected)
}

#[cfg(test)]
mod tests {
    use linger_facts::{Version, tunables};

    use super::*;
    use crate::plan::tests::{change, plan};
    use crate::plan::{Change, ChangeScope};

    #[test]
    fn an_effect_is_of_one_way_alone() {
        let comes = |key: &str, from: &str, to: &str| expected(key).unwrap().comes_of(from, to);
        assert!(comes("net.ipv4.tcp_tw_reuse", "2", "1") && !comes("net.ipv4.tcp_tw_reuse", "1", "2"));
        assert!(
            comes("net.ipv4.tcp_fin_timeout", "60", "30") && !comes("net.ipv4.tcp_fin_timeout", "30", "60")
        );
        let range = "net.ipv4.ip_local_port_range";
        assert!(comes(range, "32768 60999", "15000 64999") && !comes(range, "32768 60999", "20000 30000"));
        assert!(comes("net.ipv4.tcp_rmem", "4096 131072 6291456", "4096 131072 16777216"));
        assert!(!comes("net.core.somaxconn", "4096", "128") && !comes("net.core.somaxconn", "?", "8192"));
    }

    #[test]
    fn every_figure_is_one_that_a_plan_may_name() {
        let mut known = 0;
        for it in tunables() {
            let Some(expected) = expected(it.key) else { continue };
            known += 1;
            let version =
                if it.key.ends_with("tw_recycle") { Version::new(4, 9) } else { Version::new(6, 18) };
            let scope = if it.is_host_wide(version) { ChangeScope::Host } else { ChangeScope::Namespace };
            let to = match it.accepts {
                linger_facts::Accepts::Int { min, .. } => min.to_string(),
                linger_facts::Accepts::Three { .. } => "4096 4096 4096".into(),
                linger_facts::Accepts::Ports { .. } => "1024 65535".into(),
            };
            let one = Change { metric: expected.metric(), scope, ..change(it.key, "999999", &to) };
            assert_eq!(plan(vec![one]).check(version), Ok(()), "{}", it.key);
        }
        assert_eq!(known, 22);
    }
}
