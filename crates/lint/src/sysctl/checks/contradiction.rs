use super::{Cx, Line, declare_check};
use crate::{Diagnostic, Severity};
use std::collections::BTreeSet;

declare_check! {
    /// # What it detects
    /// Settings that work against each other: `tcp_tw_reuse` without `tcp_timestamps`; a conntrack time-out that ends before
    /// the first keep-alive probe; a range of local ports that takes in ports of services; numbers of `tcp_mem`, `tcp_rmem` or
    /// `tcp_wmem` that do not rise; `rmem_max` below what autotuning may use; a conntrack table much longer than its buckets;
    /// a `somaxconn` that caps listeners which overflow.
    ///
    /// # Why it matters
    /// Each line looks right for itself, and one of the two does nothing, or does harm.
    ///
    /// # Fix
    /// Change one of the two; the message says what each does. A wide range of ports needs `ip_local_reserved_ports` for the
    /// services' ports.
    ///
    /// # Fix safety
    /// See the settings' own pages. Reserving ports is safe: it concerns the automatic choice only.
    ///
    /// # Sources
    /// net/ipv4/tcp_ipv4.c tcp_twsk_unique(); net/netfilter/nf_conntrack_proto_tcp.c tcp_timeouts[]; net/ipv4/inet_hashtables.c
    /// __inet_hash_connect(); net/core/sock.c sock_setsockopt(); net/socket.c __sys_listen().
    SC010, "contradiction"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for (line, sysctl, ints) in cx.numbers() {
        match sysctl.key {
            "net.ipv4.tcp_tw_reuse" if ints[0] == 1 => {
                if let Some(off) = cx.value("net.ipv4.tcp_timestamps").filter(|t| t.int() == Some(0)) {
                    let message =
                        format!("tcp_tw_reuse needs timestamps, and tcp_timestamps is 0 ({})", off.how);
                    let why = "Only a TIME_WAIT whose connection carried timestamps is reused. With them off on either end \
                               nothing is, and connect() fails with EADDRNOTAVAIL as before.";
                    out.push(line.value(&CHECK, Severity::Warning, message, why));
                }
            }
            "net.netfilter.nf_conntrack_tcp_timeout_established" => {
                if let Some(idle) = cx.value("net.ipv4.tcp_keepalive_time")
                    && let Some(seconds) = idle.int().filter(|seconds| ints[0] <= *seconds)
                {
                    let message = format!(
                        "conntrack forgets an idle connection after {} s, before the first keep-alive probe at {seconds} s ({})",
                        ints[0], idle.how
                    );
                    let why = "Behind NAT, or where rules drop INVALID, an idle connection is cut off without a word before \
                               its keep-alive could hold it. Programs that set TCP_KEEPIDLE themselves are not concerned.";
                    out.push(line.value(&CHECK, Severity::Warning, message, why));
                }
            }
            "net.ipv4.tcp_mem" | "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem" => {
                if let Some(pair) = ints.windows(2).find(|pair| pair[0] > pair[1]) {
                    let message = format!("the numbers must rise, and {} stands before {}", pair[0], pair[1]);
                    let why = "The kernel takes them as they are: the least, the start and the most of a buffer, or low, \
                               pressure and limit.";
                    out.push(line.value(&CHECK, Severity::Warning, message, why));
                }
            }
            "net.core.rmem_max" | "net.core.wmem_max" => {
                let (tcp, option) = if sysctl.short() == "rmem_max" {
                    ("net.ipv4.tcp_rmem", "SO_RCVBUF")
                } else {
                    ("net.ipv4.tcp_wmem", "SO_SNDBUF")
                };
                let most =
                    cx.value(tcp).filter(|tcp| tcp.line.is_some()).and_then(|tcp| tcp.ints.get(2).copied());
                if let Some(most) = most.filter(|most| ints[0] < *most) {
                    let message =
                        format!("programs that set {option} get {} bytes at most, others {most}", ints[0]);
                    let why = format!(
                        "{option} is capped by {}; without it a buffer grows up to the third number of {tcp}.",
                        sysctl.short()
                    );
                    out.push(line.value(&CHECK, Severity::Info, message, why));
                }
            }
            "net.netfilter.nf_conntrack_max" => {
                if let Some(buckets) = cx.value("net.netfilter.nf_conntrack_buckets")
                    && let Some(n) = buckets.int().filter(|n| *n > 0 && ints[0] / n >= 6)
                {
                    let message = format!(
                        "{} entries in {n} buckets ({}) make chains of {} when full",
                        ints[0],
                        buckets.how,
                        ints[0] / n
                    );
                    let why = "Every packet walks the chain of its bucket. Raise nf_conntrack_buckets with the limit: one bucket \
                               per entry is the default from 5.15 on, one per four before.";
                    out.push(line.value(&CHECK, Severity::Info, message, why));
                }
            }
            "net.ipv4.ip_local_port_range" => ports(cx, &line, &ints, out),
            "net.core.somaxconn" => overflows(cx, &line, ints[0], out),
            _ => {}
        }
    }
}

/// Ports that services hold and a wider range takes in.
fn ports(cx: &Cx<'_>, line: &Line<'_>, ints: &[i64], out: &mut Vec<Diagnostic>) {
    const DEFAULT_LOW: i64 = 32_768;
    let [low, high] = ints else { return };
    if *low >= DEFAULT_LOW {
        return;
    }
    let why = "connect() takes any free port of the range. A service that starts later, or restarts, and finds its port taken \
               fails with EADDRINUSE. Ports in ip_local_reserved_ports are left alone.";
    let reserved = cx.setting_text("net.ipv4.ip_local_reserved_ports");
    let is_reserved = |port: u16| {
        reserved.as_deref().is_some_and(|text| {
            text.split(',').any(|part| {
                let (a, b) = part.split_once('-').unwrap_or((part, part));
                matches!((a.trim().parse::<u16>(), b.trim().parse::<u16>()), (Ok(a), Ok(b)) if (a..=b).contains(&port))
            })
        })
    };
    if let Some(live) = &cx.context.live {
        let taken: BTreeSet<u16> = live
            .listeners
            .iter()
            .map(|listener| listener.port)
            .filter(|port| {
                let number = i64::from(*port);
                (*low..=*high).contains(&number) && number < DEFAULT_LOW && !is_reserved(*port)
            })
            .collect();
        if !taken.is_empty() {
            let some: Vec<String> = taken.iter().take(8).map(u16::to_string).collect();
            let more = if taken.len() > 8 { format!(" and {} more", taken.len() - 8) } else { String::new() };
            let message =
                format!("the range takes in ports on which services listen: {}{more}", some.join(", "));
            out.push(line.value(&CHECK, Severity::Warning, message, why));
        }
    } else if reserved.is_none_or(|text| text.is_empty()) {
        let message = format!(
            "ports {low} to {} are no longer free for services, and none is reserved",
            DEFAULT_LOW - 1
        );
        out.push(line.value(&CHECK, Severity::Info, message, why));
    }
}

/// Listeners that overflow at exactly this limit.
fn overflows(cx: &Cx<'_>, line: &Line<'_>, limit: i64, out: &mut Vec<Diagnostic>) {
    let Some(live) = &cx.context.live else { return };
    if live.listen_overflows.is_none_or(|overflows| overflows == 0) {
        return;
    }
    let capped = |listener: &&super::super::Listener| {
        i64::from(listener.limit) == limit && listener.drops.is_some_and(|drops| drops > 0)
    };
    let labels: Vec<&str> = live.listeners.iter().filter(capped).map(|l| l.label.as_str()).take(4).collect();
    if !labels.is_empty() {
        let message = format!("{limit} caps listeners that have dropped connections: {}", labels.join(", "));
        let why = "listen() takes min(backlog, somaxconn) at that moment. First see why nobody accepts (LQ001); then raise \
                   both, and restart the service.";
        out.push(line.value(&CHECK, Severity::Warning, message, why));
    }
}

impl Cx<'_> {
    /// A setting's text: as the files have it, else as it is running.
    fn setting_text(&self, key: &str) -> Option<String> {
        let path = super::Key::new(key);
        if let Some(at) = self.effective.line_of(&path, &self.documents) {
            return self.setting(at).map(|line| line.setting.value.clone());
        }
        self.context.live.as_ref()?.values.get(&path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_with, the, with_ram};
    use crate::Severity;
    use crate::sysctl::{Context, Key, Listener, Live};
    use linger_facts::Version;

    #[test]
    fn reuse_needs_timestamps() {
        let d = the("SC010", lint("net.ipv4.tcp_tw_reuse = 1\nnet.ipv4.tcp_timestamps = 0\n"));
        assert_eq!(d.line, 1);
        assert_eq!(codes(&lint("net.ipv4.tcp_tw_reuse = 1\n")), Vec::<String>::new());
    }

    #[test]
    fn keep_alive_must_come_before_conntrack_forgets() {
        let text = "net.netfilter.nf_conntrack_tcp_timeout_established = 1200\n";
        assert!(the("SC010", lint(text)).message.contains("at 7200 s (by default)"));
        let fine = format!("{text}net.ipv4.tcp_keepalive_time = 600\n");
        assert!(!codes(&lint(&fine)).contains(&"SC010".to_owned()));
    }

    fn live(ports: &[u16], reserved: &str) -> Context {
        let listeners = ports.iter().map(|port| Listener {
            label: format!("port {port}"),
            port: *port,
            limit: 128,
            drops: Some(3),
        });
        let mut live = Live { listeners: listeners.collect(), listen_overflows: Some(3), ..Live::default() };
        live.values.insert(Key::new("net.ipv4.ip_local_reserved_ports"), reserved.to_owned());
        Context { kernel: Some(Version::new(6, 18)), live: Some(live), ..Context::default() }
    }

    #[test]
    fn a_wide_range_swallows_services() {
        let text = "net.ipv4.ip_local_port_range = 1024 65535\n";
        let d = the("SC010", lint_with(text, &live(&[22, 8080, 9090, 40000], "9000-9100")));
        assert!(d.message.ends_with("listen: 8080") && d.severity == Severity::Warning, "{}", d.message);
        assert!(!codes(&lint_with(text, &live(&[22], ""))).contains(&"SC010".to_owned()));
        assert_eq!(the("SC010", lint(text)).severity, Severity::Info);
        let reserved = format!("{text}net.ipv4.ip_local_reserved_ports = 8080\n");
        assert!(!codes(&lint(&reserved)).contains(&"SC010".to_owned()));
    }

    #[test]
    fn somaxconn_is_blamed_only_where_it_caps_what_overflows() {
        let with = |value: u32| lint_with(&format!("net.core.somaxconn = {value}\n"), &live(&[443], ""));
        assert!(codes(&with(128)).contains(&"SC010".to_owned()));
        assert!(!codes(&with(4096)).contains(&"SC010".to_owned()));
    }

    #[test]
    fn what_so_rcvbuf_may_ask_for_is_held_against_autotuning() {
        let text = "net.ipv4.tcp_rmem = 4096 131072 67108864\nnet.core.rmem_max = 16777216\n";
        let d = the("SC010", lint(text));
        assert!(d.line == 2 && d.message.contains("16777216 bytes at most, others 67108864"), "{d:?}");
        let text = "net.ipv4.tcp_wmem = 4096 16384 67108864\nnet.core.wmem_max = 16777216\n";
        assert!(the("SC010", lint(text)).message.contains("SO_SNDBUF"));
        for fine in [
            "net.ipv4.tcp_rmem = 4096 131072 67108864\nnet.core.rmem_max = 67108864\n",
            // Autotuning does not look at rmem_max, and nothing is said of what nobody set.
            "net.ipv4.tcp_rmem = 4096 131072 67108864\n",
            "net.core.rmem_max = 16777216\n",
        ] {
            assert!(!codes(&lint(fine)).contains(&"SC010".to_owned()), "{fine}");
        }
    }

    #[test]
    fn numbers_must_rise_and_tables_have_buckets() {
        assert!(
            the("SC010", lint("net.ipv4.tcp_wmem = 8192 4096 33554432\n"))
                .message
                .contains("8192 stands before 4096")
        );
        let text = "net.netfilter.nf_conntrack_max = 2000000\n";
        let d = the("SC010", lint_with(text, &with_ram(64 << 30)));
        assert!(d.message.contains("chains of 7"), "{}", d.message);
        assert!(!codes(&lint(text)).contains(&"SC010".to_owned()), "the buckets are not known");
    }
}
