//! What a setting does, and the figure that must move when it is changed.

use crate::plan::{Direction, Metric, MetricKind};

/// What comes of a change.
pub(crate) struct Expected {
    /// What it does, in a sentence.
    pub effect: &'static str,
    kind: MetricKind,
    name: &'static str,
    direction: Direction,
    within_s: f64,
}

impl Expected {
    pub(crate) fn metric(&self) -> Metric {
        Metric {
            kind: self.kind,
            name: self.name.to_owned(),
            direction: self.direction,
            within_s: self.within_s,
        }
    }
}

const fn falls(kind: MetricKind, name: &'static str, within_s: f64, effect: &'static str) -> Expected {
    Expected { effect, kind, name, direction: Direction::Falls, within_s }
}

/// What comes of changing a setting; `None` for one that no figure tells of.
pub(crate) fn expected(key: &str) -> Option<Expected> {
    use MetricKind::{Counter, Headroom, State};
    Some(match key {
        "net.ipv4.tcp_tw_reuse" => Expected {
            effect: "connect() takes back ports in TIME_WAIT where both ends carry timestamps, so that ports stop running out",
            kind: Counter,
            name: "TcpExt.TWRecycled",
            direction: Direction::Rises,
            within_s: 10.0,
        },
        "net.ipv4.ip_local_port_range" => falls(
            Headroom,
            "local ports",
            10.0,
            "connect() has more ports to choose from towards each destination",
        ),
        "net.ipv4.tcp_timestamps" => falls(
            Headroom,
            "local ports",
            90.0,
            "new connections carry timestamps, and the ports they leave in TIME_WAIT can be taken back",
        ),
        "net.ipv4.tcp_fin_timeout" => falls(
            State,
            "fin_wait2",
            60.0,
            "closed connections whose peer sends no FIN end sooner; TIME_WAIT is as before",
        ),
        "net.core.somaxconn" => falls(
            Counter,
            "TcpExt.ListenOverflows",
            60.0,
            "accept queues may be longer, once the application has called listen() again",
        ),
        "net.ipv4.tcp_syncookies" => falls(
            Counter,
            "TcpExt.TCPReqQFullDrop",
            5.0,
            "a full queue of half-open connections answers instead of dropping",
        ),
        "net.ipv4.tcp_synack_retries" => {
            falls(State, "syn_recv", 30.0, "half-open connections whose client is silent end sooner")
        }
        "net.ipv4.tcp_syn_retries" => {
            falls(State, "syn_sent", 60.0, "connects that nobody answers end sooner")
        }
        "net.ipv4.tcp_orphan_retries" => {
            falls(Headroom, "orphans", 60.0, "closed connections whose peer is gone end sooner")
        }
        "net.ipv4.tcp_max_orphans" => falls(
            Headroom,
            "orphans",
            10.0,
            "more closed connections may wait for their peer before they are reset",
        ),
        "net.ipv4.tcp_max_tw_buckets" => {
            falls(Counter, "TcpExt.TCPTimeWaitOverflow", 10.0, "connections are given their TIME_WAIT again")
        }
        "net.ipv4.tcp_tw_recycle" => falls(
            Counter,
            "TcpExt.PAWSPassive",
            10.0,
            "SYNs of clients behind one address are not dropped any more",
        ),
        "net.ipv4.tcp_rmem" => {
            falls(Counter, "TcpExt.PruneCalled", 30.0, "receive buffers of new connections may grow larger")
        }
        "net.core.netdev_max_backlog" => {
            falls(Counter, "softnet.dropped", 30.0, "more packets may wait for a CPU before they are dropped")
        }
        "net.netfilter.nf_conntrack_max" => {
            falls(Headroom, "conntrack entries", 5.0, "more connections may be tracked, in every namespace")
        }
        "net.netfilter.nf_conntrack_tcp_timeout_established" => falls(
            Headroom,
            "conntrack entries",
            3600.0,
            "entries of idle connections go sooner, from their next packet on",
        ),
        "fs.file-max" => {
            falls(Headroom, "descriptors", 5.0, "more files and sockets may be open on the whole host")
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use linger_facts::{Version, tunables};

    use super::*;
    use crate::plan::tests::{change, plan};
    use crate::plan::{Change, ChangeScope};

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
        assert_eq!(known, 17);
    }
}
