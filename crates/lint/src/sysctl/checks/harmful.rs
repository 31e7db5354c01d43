use super::{Cx, Line, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Role;
use linger_facts::Version;

declare_check! {
    /// # What it detects
    /// A value that does harm on nearly every host: `tcp_tw_recycle` where it still exists, `tcp_abort_on_overflow`,
    /// `tcp_timestamps = 0`, `tcp_syncookies = 0`, very few retransmissions.
    ///
    /// # Why it matters
    /// These are the lines that turn a short trouble into failed connections, for clients that nobody sees.
    ///
    /// # Fix
    /// Take the line out. linger does not: somebody may have had a reason.
    ///
    /// # Fix safety
    /// Back to the default: safe, for new connections.
    ///
    /// # Sources
    /// net/ipv4/tcp_ipv4.c, tcp_minisocks.c tcp_check_req(), tcp_timer.c tcp_write_timeout(), tcp_input.c tcp_conn_request();
    /// commit 4396e46187ca; RFC 1122 section 4.2.3.5 (at least 100 s before a connection is given up).
    SC012, "harmful"
}

/// What harms, whom, and why.
pub(super) struct Harm {
    key: &'static str,
    when: fn(i64) -> bool,
    /// On any host; `None` where it depends on what the host does.
    any: Option<Severity>,
    /// With a role that is hit in particular.
    pub(super) roles: &'static [(Role, Severity)],
    what: fn(&Cx<'_>, i64) -> String,
    why: &'static str,
}

use Role::{Client, Gateway, MeshNode, Proxy, Server};
use Severity::{Critical, Info, Warning};

static HARMS: &[Harm] = &[
    Harm {
        key: "net.ipv4.tcp_tw_recycle",
        when: |value| value != 0,
        any: Some(Critical),
        roles: &[(Gateway, Critical), (Proxy, Critical), (Server, Critical), (MeshNode, Critical)],
        what: |_, _| "clients behind NAT are refused at random".to_owned(),
        why: "The kernel drops, without an answer, SYNs whose timestamp is older than the last one from that address. Hosts \
              behind one NAT address have many clocks.",
    },
    Harm {
        key: "net.ipv4.tcp_abort_on_overflow",
        when: |value| value != 0,
        any: Some(Warning),
        roles: &[(Gateway, Warning), (Proxy, Warning), (Server, Warning), (MeshNode, Warning)],
        what: |_, _| "a full accept queue answers with RST instead of waiting for room".to_owned(),
        why: "A burst that would have been ridden out by one retransmission becomes an error for clients. It hides no \
              overflow and cures none.",
    },
    Harm {
        key: "net.ipv4.tcp_timestamps",
        when: |value| value == 0,
        any: Some(Warning),
        roles: &[(Gateway, Warning), (Proxy, Warning), (Client, Warning), (MeshNode, Warning)],
        what: |_, _| "without timestamps there is no reuse of TIME_WAIT and no protection by PAWS".to_owned(),
        why: "Since 4.10 each connection has its own random offset, so that timestamps tell nobody the uptime. Off, a host \
              that opens many connections runs out of local ports sooner.",
    },
    Harm {
        key: "net.ipv4.tcp_syncookies",
        when: |value| value == 0,
        any: Some(Warning),
        roles: &[(Gateway, Warning), (Proxy, Warning), (Server, Warning)],
        what: |_, _| "a full request queue drops SYNs instead of answering with cookies".to_owned(),
        why: "A flood from forged addresses then shuts out everybody.",
    },
    Harm {
        key: "net.ipv4.tcp_syn_retries",
        when: |value| (1..=3).contains(&value),
        any: Some(Info),
        roles: &[(Gateway, Warning), (Proxy, Warning), (Client, Warning), (MeshNode, Warning)],
        what: |cx, value| {
            // Not looked at before 6.5.
            let linear = cx.value("net.ipv4.tcp_syn_linear_timeouts").and_then(|known| known.int());
            let linear = linear.filter(|_| cx.at_least(6, 5)).unwrap_or(0);
            format!("connect() gives up after {} s", connect_gives_up_after(value, linear))
        },
        why: "A brief loss or a failover becomes an error for every program on the host. A time-out in the program (or \
              TCP_SYNCNT) is the better tool: it fits the destination.",
    },
    Harm {
        key: "net.ipv4.tcp_synack_retries",
        when: |value| (0..=2).contains(&value),
        any: Some(Info),
        roles: &[(Gateway, Warning), (Server, Warning)],
        what: |_, value| format!("a half-open connection is given up after {} s", (1_i64 << (value + 1)) - 1),
        why: "Clients on lossy paths, mobile ones above all, lose their connection. In a flood the kernel drops old requests \
              sooner by itself once the queue is half full.",
    },
    Harm {
        key: "net.ipv4.tcp_retries2",
        when: |value| (0..8).contains(&value),
        any: Some(Warning),
        roles: &[(Client, Warning), (Proxy, Warning), (MeshNode, Warning), (Server, Warning)],
        what: |_, value| {
            let seconds = 0.2 * ((1_i64 << (value + 1)) - 1) as f64;
            format!("an established connection is given up after about {seconds:.0} s without an answer")
        },
        why: "RFC 1122 asks for at least 100 s, which 8 gives. TCP_USER_TIMEOUT sets the time for one socket.",
    },
    Harm {
        key: "net.netfilter.nf_conntrack_tcp_timeout_established",
        when: |value| value < 7200,
        any: Some(Info),
        roles: &[(Gateway, Warning), (Proxy, Warning), (MeshNode, Warning), (Client, Warning)],
        what: |_, value| {
            format!("conntrack forgets idle connections after {value} s: idle pools die silently")
        },
        why: "Behind NAT, or where rules drop INVALID, the next packet of a pooled connection goes nowhere: the program hangs \
              until its own time-out. Connections with SO_KEEPALIVE are held if their probes come sooner.",
    },
    Harm {
        key: "net.ipv4.tcp_slow_start_after_idle",
        when: |value| value != 0,
        any: None,
        roles: &[(Proxy, Info)],
        what: |_, _| "pooled connections start slowly after each pause".to_owned(),
        why: "The window falls back to its first 10 segments after one retransmission time-out without sending.",
    },
];

/// Seconds until connect() fails: at the first time-out that is not before 2^(retries + 1) - 1 s. The time-outs are a second
/// apart as long as they are linear, and then double (tcp_retransmit_timer(), retransmits_timed_out()).
fn connect_gives_up_after(retries: i64, linear: i64) -> i64 {
    let least = (1 << (retries.clamp(0, 30) + 1)) - 1;
    let (mut elapsed, mut step, mut count) = (0, 1, 0);
    while elapsed < least {
        elapsed += step;
        count += 1;
        if count > linear {
            step *= 2;
        }
    }
    elapsed
}

/// The harms of lines that decide: with the line and its number.
pub(super) fn harms<'a>(cx: &'a Cx<'_>) -> impl Iterator<Item = (Line<'a>, &'static Harm, i64)> {
    cx.numbers().filter_map(|(line, sysctl, ints)| {
        let harm = HARMS.iter().find(|harm| harm.key == sysctl.key && (harm.when)(ints[0]))?;
        Some((line, harm, ints[0]))
    })
}

impl Harm {
    /// The severity in this role, if it is hit in particular.
    pub(super) fn in_role(&self, role: Option<Role>) -> Option<Severity> {
        self.roles.iter().find(|(of, _)| Some(*of) == role).map(|(_, severity)| *severity)
    }

    /// The diagnostic's texts.
    pub(super) fn told(&self, cx: &Cx<'_>, value: i64) -> (String, &'static str) {
        ((self.what)(cx, value), self.why)
    }
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for (line, harm, value) in harms(cx) {
        if harm.in_role(cx.context.role).is_some() {
            continue;
        }
        let Some(severity) = harm.any else { continue };
        // Without the kernel's version it may be a line that does nothing any more.
        let severity = match cx.context.kernel {
            Some(kernel) if kernel < Version::new(4, 12) => severity,
            _ => severity.min(Warning),
        };
        let (what, why) = harm.told(cx, value);
        out.push(line.value(&CHECK, severity, what, why));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_on, the};
    use super::connect_gives_up_after;
    use crate::Severity;
    use linger_facts::Version;

    #[test]
    fn recycling_is_critical_where_it_exists() {
        let text = "net.ipv4.tcp_tw_recycle = 1\n";
        assert_eq!(the("SC012", lint_on(text, Version::new(3, 10))).severity, Severity::Critical);
        assert!(!codes(&lint(text)).contains(&"SC012".to_owned()));
        assert_eq!(
            lint_on("net.ipv4.tcp_tw_recycle = 0\n", Version::new(3, 10))
                .iter()
                .filter(|d| d.code == "SC012")
                .count(),
            0
        );
    }

    /// As measured on 6.18, where four time-outs are linear.
    #[test]
    fn linear_time_outs_are_counted() {
        for (retries, old, new) in [(1, 3, 3), (2, 7, 7), (3, 15, 19), (6, 127, 131)] {
            assert_eq!((connect_gives_up_after(retries, 0), connect_gives_up_after(retries, 4)), (old, new));
        }
        let text = "net.ipv4.tcp_syn_retries = 3\n";
        assert!(the("SC012", lint(text)).message.contains("after 19 s"));
        assert!(the("SC012", lint_on(text, Version::new(6, 1))).message.contains("after 15 s"));
        let set = format!("{text}net.ipv4.tcp_syn_linear_timeouts = 0\n");
        assert!(the("SC012", lint(&set)).message.contains("after 15 s"));
    }

    #[test]
    fn harm_is_told_with_its_figures() {
        assert!(the("SC012", lint("net.ipv4.tcp_syn_retries = 2\n")).message.contains("after 7 s"));
        assert!(the("SC012", lint("net.ipv4.tcp_retries2 = 5\n")).message.contains("about 13 s"));
        assert_eq!(codes(&lint("net.ipv4.tcp_retries2 = 8\n")), Vec::<String>::new());
        assert_eq!(the("SC012", lint("net.ipv4.tcp_abort_on_overflow = 1\n")).severity, Severity::Warning);
    }
}
