use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A setting that exists and does nothing here: `route.gc_timeout`, a relic of the routing cache that went in 3.6;
    /// `rmem_default` and `wmem_default` next to TCP settings, which TCP does not read; `tcp_max_syn_backlog` while SYN cookies
    /// are on; `tcp_tw_reuse_delay` without reuse; settings that the kernel keeps for the sake of old files.
    ///
    /// # Why it matters
    /// Nothing breaks, and nothing improves. The next person at 3 a.m. takes the line for the reason of something.
    ///
    /// # Fix
    /// Delete the line. `--fix` makes it a comment where it has no effect on anything that could be meant.
    ///
    /// # Fix safety
    /// Safe for the relics. `rmem_default` and `wmem_default` are left as they are: UDP, Unix and raw sockets use them.
    /// `tcp_max_syn_backlog` acts again as soon as somebody switches SYN cookies off.
    ///
    /// # Sources
    /// net/ipv4/route.c; net/ipv4/tcp.c tcp_init_sock(); net/ipv4/tcp_input.c tcp_conn_request(); net/ipv4/tcp_ipv4.c
    /// tcp_twsk_unique(); Documentation/networking/ip-sysctl.rst.
    SC003, "no-effect"
}

/// Settings that ip-sysctl.rst calls legacy or unused.
const LEGACY: &[(&str, &str)] = &[
    ("net.ipv4.route.max_size", "The IPv4 routing cache that it bounded was removed in 3.6."),
    ("net.ipv4.route.gc_elasticity", "The IPv4 routing cache that it pruned was removed in 3.6."),
    (
        "net.ipv4.tcp_low_latency",
        "The prequeue that it switched off is gone; the file is kept for old configurations.",
    ),
    (
        "net.ipv4.tcp_fack",
        "Forward acknowledgements were replaced by RACK; the file is kept for old configurations.",
    ),
];

/// The first versions of which that holds for sure: since 3.6 of the cache, 4.14 and 4.15 of the others.
fn legacy(cx: &Cx<'_>, key: &str) -> Option<&'static str> {
    let (_, why) = LEGACY.iter().find(|(legacy, _)| *legacy == key)?;
    (key.contains(".route.") || cx.at_least(4, 15)).then_some(*why)
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for line in cx.deciding() {
        let key = line.setting.key.dotted();
        if let Some(why) = legacy(cx, &key) {
            let message = format!("{key} has no effect");
            let source = "Documentation/networking/ip-sysctl.rst";
            out.push(
                line.key(&CHECK, Severity::Warning, message, why)
                    .source(source)
                    .fix(line.comment_out(&CHECK, "has no effect")),
            );
            continue;
        }
        let Some(sysctl) = line.known.filter(|known| cx.may_exist(known, &line.setting.key)) else {
            continue;
        };
        match sysctl.key {
            "net.ipv4.route.gc_timeout" => out.push(
                line.key(
                    &CHECK,
                    Severity::Warning,
                    "route.gc_timeout has no effect on connections",
                    sysctl.meaning,
                )
                .fix(line.comment_out(&CHECK, "has no effect on connections")),
            ),
            "net.core.rmem_default" | "net.core.wmem_default" => {
                let (tcp, short) = if sysctl.short() == "rmem_default" {
                    ("tcp_rmem", "rmem_default")
                } else {
                    ("tcp_wmem", "wmem_default")
                };
                let message =
                    format!("{short} has no effect on TCP: it starts with the second number of {tcp}");
                out.push(line.key(&CHECK, Severity::Info, message, sysctl.meaning));
            }
            "net.ipv4.tcp_max_syn_backlog" if cx.at_least(4, 4) => {
                if let Some(cookies) = cx.value("net.ipv4.tcp_syncookies").filter(|c| c.int() != Some(0)) {
                    let message = format!(
                        "tcp_max_syn_backlog has no effect while tcp_syncookies is {} ({})",
                        cookies.ints[0], cookies.how
                    );
                    out.push(line.key(&CHECK, Severity::Warning, message, sysctl.meaning));
                }
            }
            "net.ipv4.tcp_tw_reuse_delay" => {
                if let Some(reuse) = cx.value("net.ipv4.tcp_tw_reuse").filter(|r| r.int() == Some(0)) {
                    let message =
                        format!("tcp_tw_reuse_delay has no effect while tcp_tw_reuse is 0 ({})", reuse.how);
                    out.push(line.key(&CHECK, Severity::Info, message, sysctl.meaning));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_on, the};
    use crate::Severity;
    use linger_facts::Version;

    #[test]
    fn relics_are_named() {
        let d = the("SC003", lint("net.ipv4.route.gc_timeout = 100\n"));
        assert!(d.fix.is_some() && d.severity == Severity::Warning);
        assert!(the("SC003", lint("net.ipv4.tcp_fack = 1\n")).why.contains("RACK"));
        assert_eq!(lint_on("net.ipv4.tcp_fack = 1\n", Version::new(4, 9)), []);
    }

    #[test]
    fn the_syn_backlog_acts_without_cookies_only() {
        let with = |cookies: &str| lint(&format!("net.ipv4.tcp_max_syn_backlog = 8192\n{cookies}"));
        assert!(the("SC003", with("")).message.contains("by default"));
        assert!(the("SC003", with("net.ipv4.tcp_syncookies = 2\n")).message.contains("as set here"));
        assert!(!codes(&with("net.ipv4.tcp_syncookies = 0\n")).contains(&"SC003".to_owned()));
        assert_eq!(lint_on("net.ipv4.tcp_max_syn_backlog = 8192\n", Version::new(3, 10)), []);
    }
}
