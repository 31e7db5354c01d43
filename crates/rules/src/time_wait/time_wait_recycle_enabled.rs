use crate::{Context, FindingExt, Outcome, counted, declare_rule, known};
use linger_model::report::{Applicability, Confidence, Remedy, Severity};
use linger_model::snapshot::{Gap, GapKind};

declare_rule! {
    /// # What it detects
    /// `tcp_tw_recycle` is on, on a kernel that still has it (to 4.11).
    ///
    /// # Why it matters
    /// The setting shortens TIME_WAIT to 3.5 retransmission time-outs. Its price is on the accepting side: the kernel
    /// remembers one timestamp per peer address and silently drops SYNs from that address whose timestamp went
    /// backwards within 60 s. Clients behind one NAT share an address and have different clocks, so some of them cannot
    /// connect, at random. From 4.10 on, timestamps differ per connection and it breaks all clients. Articles that
    /// call it "deprecated" are late: it was removed in 4.12. On a later kernel a line in sysctl.conf does nothing.
    ///
    /// # Evidence
    /// The sysctl; TcpExt.PAWSPassive, which counts the SYNs dropped for it; whether anything here listens on an address
    /// other than loopback; `tcp_timestamps`, without which it does nothing.
    ///
    /// # Fix
    /// Set it to 0 and take it out of sysctl.conf. Against the TIME_WAIT sockets that come back: keep connections alive;
    /// `tcp_tw_reuse` = 1, which concerns outgoing connections only and is safe behind NAT.
    ///
    /// # Fix safety
    /// Turning it off is safe and takes effect at once. TIME_WAIT then lasts 60 s again: look at the ports (TW001).
    ///
    /// # Sources
    /// Linux 3.10 net/ipv4/tcp_minisocks.c tcp_time_wait() and net/ipv4/tcp_ipv4.c tcp_v4_conn_request(); commit 4396e46187ca
    /// (removed, 4.12); commit 95a22caee396 (timestamps per connection, 4.10).
    TW006, "time-wait-recycle-enabled", Netns, Critical, []
}

const SETTING: &str = "net.ipv4.tcp_tw_recycle";
const COUNTER: &str = "TcpExt.PAWSPassive";

fn check(cx: &Context<'_>) -> Outcome {
    let kernel = &cx.now().host.kernel;
    let value = match cx.now().sysctl_int(SETTING) {
        Ok(value) => value,
        Err(gap) => {
            let absent = matches!(gap.kind, GapKind::Unsupported | GapKind::Vanished);
            // Before 4.11 the file is in the first namespace only, and holds for all.
            let could_hide =
                kernel.version.is_some_and(|v| v < (4, 12)) && cx.now().netns.is_init != Some(true);
            let gone = format!(
                "tcp_tw_recycle does not exist here ({}): it was removed in Linux 4.12",
                kernel.release
            );
            return match gap.kind {
                _ if absent && !could_hide => Outcome::NotApplicable(gone),
                GapKind::NotAsked if kernel.at_least(4, 12) => Outcome::NotApplicable(gone),
                _ if absent => Outcome::Unknown(Gap::new(
                    SETTING,
                    gap.kind,
                    "not in this namespace; on this kernel the host's value may hold for all namespaces",
                    "check the host's own namespace",
                )),
                _ => Outcome::Unknown(gap),
            };
        }
    };
    if value == 0 {
        return Outcome::Clear("tcp_tw_recycle is 0".to_owned());
    }
    let timestamps = known!(cx.now().sysctl_int("net.ipv4.tcp_timestamps"));
    let dropped = cx.window.delta(COUNTER).ok();
    let dropping = dropped.filter(|d| d.by > 0);
    // Not knowing of listeners is no reason to call it harmless.
    let open = cx.sockets().map_or(true, |table| {
        table.listeners_left_out > 0 || table.listeners.iter().any(|l| !l.addr.is_loopback())
    });
    let (severity, clause) = if timestamps == 0 {
        (Severity::Info, "it does nothing, because tcp_timestamps is 0".to_owned())
    } else if let Some(d) = dropping {
        let n = counted(d.by, "SYN");
        (Severity::Critical, format!("{n} dropped in {:.1} s for timestamps that went back", d.seconds))
    } else if open {
        (Severity::Critical, "clients behind NAT that share an address are refused at random".to_owned())
    } else {
        (
            Severity::Warning,
            "nothing here accepts connections from other hosts now, so it harms nobody yet".to_owned(),
        )
    };
    let why = "For each peer address the kernel keeps one timestamp, and it drops, without an answer, SYNs whose timestamp is \
               older. Hosts behind one NAT have one address and many clocks. From 4.10 on each connection has a clock of its own, and \
               any client can be hit.";
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            format!("network namespace {}", cx.now().netns.label()),
            format!("tcp_tw_recycle is {value}: {clause}"),
        )
        .why(why)
        .evidence(cx.setting(SETTING))
        .evidence(dropped.map(|d| cx.moved(COUNTER, d)))
        .evidence(cx.setting("net.ipv4.tcp_timestamps"))
        .remedies([
            Remedy::application("Against TIME_WAIT use persistent connections and pools, not this setting."),
            Remedy::kernel(
                Applicability::Safe,
                format!("{SETTING}=0"),
                "Turn it off, and take it out of sysctl.conf: Linux 4.12 and later do not have it.",
            ),
        ]);
    Outcome::Fired(vec![finding])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;

    fn old(at_s: f64) -> Moment {
        let mut last =
            moment(at_s).sysctl(SETTING, "1").socket(listener("0.0.0.0", 80, 0, 128, 0)).counter(COUNTER, 0);
        last.kernel = "3.10.0-1160.el7.x86_64";
        last
    }

    fn severity(outcome: Outcome) -> Severity {
        match outcome {
            Outcome::Fired(findings) => findings[0].severity,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_where_it_exists_and_is_on() {
        golden!([old(0.0), old(1.0).counter(COUNTER, 12)]);
    }

    #[test]
    fn is_clear_when_off() {
        golden!([old(1.0).sysctl(SETTING, "0")]);
    }

    #[test]
    fn is_not_applicable_since_4_12() {
        golden!([moment(1.0)]);
    }

    #[test]
    fn is_unknown_where_the_kernel_may_have_it_and_nobody_read_it() {
        golden!([old(1.0).without_sysctl(SETTING)]);
    }

    #[test]
    fn severity_follows_who_can_be_harmed() {
        assert_eq!(severity(run(&RULE, [old(0.0), old(1.0)])), Severity::Critical);
        assert_eq!(severity(run(&RULE, [old(1.0).sysctl("net.ipv4.tcp_timestamps", "0")])), Severity::Info);
        let mut client = old(1.0);
        client.sockets = vec![listener("127.0.0.1", 25, 0, 100, 0)];
        assert_eq!(severity(run(&RULE, [client])), Severity::Warning);
        let mut blind = old(1.0);
        blind.no_sockets = true;
        assert_eq!(severity(run(&RULE, [blind])), Severity::Critical);
    }
}
