use super::harmful::harms;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Role;

declare_check! {
    /// # What it detects
    /// A value that harms hosts of the role that was given with `--role`: `tcp_syn_retries = 2` where connections cross lossy
    /// links, a short conntrack time-out where pools idle, `tcp_max_tw_buckets` lowered where connections are opened,
    /// `tcp_synack_retries = 2` where clients are mobile.
    ///
    /// # Why it matters
    /// Most settings are right for one kind of host. Copied to another they do what they do well, and it is not wanted.
    ///
    /// # Fix
    /// Take the line out on these hosts; the message says what it does there.
    ///
    /// # Fix safety
    /// Back to the default: safe, for new connections.
    ///
    /// # Sources
    /// net/ipv4/tcp_timer.c, net/ipv4/inet_timewait_sock.c inet_twsk_alloc(), net/netfilter/nf_conntrack_proto_tcp.c;
    /// measured on 6.18: tcp_syn_retries 2 gives up after 7 s.
    SC011, "harmful-in-role"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(role) = cx.context.role else { return };
    for (line, harm, value) in harms(cx) {
        if let Some(severity) = harm.in_role(Some(role)) {
            let (what, why) = harm.told(cx, value);
            out.push(line.value(&CHECK, severity, format!("on a {role}: {what}"), why));
        }
    }
    if !matches!(role, Role::Gateway | Role::Proxy | Role::Client) {
        return;
    }
    for (line, sysctl, ints) in
        cx.numbers().filter(|(_, sysctl, _)| sysctl.key == "net.ipv4.tcp_max_tw_buckets")
    {
        // Without the memory the default is not known; below what the smallest hosts have it is lowered for sure.
        const SMALL: i64 = 16_384;
        let default = cx.default(sysctl).map_or(SMALL, |default| default[0]);
        if (1..default).contains(&ints[0]) {
            let message = format!("on a {role}: more than {} closed connections skip TIME_WAIT", ints[0]);
            let why = "A host that opens connections closes many of them first. Beyond the limit TIME_WAIT is skipped: a late \
                       FIN is answered with RST, and an old duplicate may hit a new connection on the same ports. A \
                       TIME_WAIT costs 256 bytes; it is not worth saving.";
            out.push(line.value(&CHECK, Severity::Warning, message, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, in_role, lint_with, the};
    use crate::Severity;
    use linger_facts::Role;

    #[test]
    fn the_role_decides() {
        let text = "net.ipv4.tcp_syn_retries = 2\n";
        let d = the("SC011", lint_with(text, &in_role(Role::Client)));
        assert!(
            d.severity == Severity::Warning
                && d.message.starts_with("on a client: connect() gives up after 7 s")
        );
        assert!(!codes(&lint_with(text, &in_role(Role::Client))).contains(&"SC012".to_owned()));
        assert_eq!(codes(&lint_with(text, &in_role(Role::Server))), ["SC012"]);
    }

    #[test]
    fn fewer_time_waits_harm_who_connects() {
        let text = "net.ipv4.tcp_max_tw_buckets = 5000\n";
        assert_eq!(codes(&lint_with(text, &in_role(Role::Gateway))), ["SC011"]);
        assert_eq!(codes(&lint_with(text, &in_role(Role::Server))), Vec::<String>::new());
    }
}
