use super::super::names;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Version;

declare_check! {
    /// # What it detects
    /// A line for a setting that this kernel does not have: it was removed, or it comes with a later version.
    ///
    /// # Why it matters
    /// The line does nothing. systemd-sysctl passes over it without a word, `sysctl --system` too, and `sysctl -p` fails at
    /// it. Whoever reads the file believes in a protection or a tuning that is not there.
    ///
    /// # Fix
    /// Where it was removed the line becomes a comment (`--fix`). Where it comes with a later version nothing is changed:
    /// the line may be meant for other hosts.
    ///
    /// # Fix safety
    /// Safe: no value changes.
    ///
    /// # Sources
    /// The setting's entry in `linger explain`; systemd src/sysctl/sysctl.c (ENOENT is ignored) and procps src/sysctl.c.
    SC001, "removed-sysctl"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(kernel) = cx.context.kernel else { return };
    for line in cx.lines() {
        let key = line.setting.key.dotted();
        // Distributions backport: the host's word counts more than its version.
        if cx.context.live.as_ref().is_some_and(|live| live.values.contains_key(&line.setting.key)) {
            continue;
        }
        if let Some(sysctl) = line.known {
            if sysctl.exists_in(kernel) {
                continue;
            }
            let gone = sysctl.until.filter(|until| kernel >= *until);
            let diagnostic = if let Some(until) = gone {
                let message =
                    format!("{key} was removed in Linux {until}; on {kernel} this line does nothing");
                line.key(&CHECK, Severity::Warning, message, sysctl.meaning)
                    .fix(line.comment_out(&CHECK, &format!("removed in Linux {until}")))
            } else if let Some(since) = sysctl.since.filter(|since| kernel < *since) {
                let message = format!("{key} comes with Linux {since}; on {kernel} this line does nothing");
                line.key(&CHECK, Severity::Warning, message, sysctl.meaning)
            } else {
                let message = format!("no mainline kernel has {key}; on {kernel} this line does nothing");
                line.key(&CHECK, Severity::Warning, message, sysctl.meaning)
            };
            out.push(diagnostic);
        } else if let Some(removed) = names::removed(&key) {
            let until = Version::new(removed.until.0, removed.until.1);
            if kernel >= until {
                let message = format!("{key} is gone; on {kernel} this line does nothing");
                let diagnostic = line
                    .key(
                        &CHECK,
                        Severity::Warning,
                        message,
                        format!("The kernel no longer has it: {}.", removed.why),
                    )
                    .source(removed.source)
                    .fix(line.comment_out(&CHECK, "removed from the kernel"));
                out.push(diagnostic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint_on, the};
    use linger_facts::Version;

    #[test]
    fn tcp_tw_recycle_is_gone_since_4_12() {
        let text = "net.ipv4.tcp_tw_recycle = 1\n";
        let d = the("SC001", lint_on(text, Version::new(4, 12)));
        assert!(d.message.contains("removed in Linux 4.12") && d.fix.is_some(), "{d:?}");
        assert!(!codes(&lint_on(text, Version::new(4, 11))).contains(&"SC001".to_owned()));
    }

    #[test]
    fn a_setting_of_a_later_kernel_is_kept() {
        let text = "net.ipv4.tcp_tw_reuse_delay = 500\nnet.ipv4.tcp_tw_reuse = 1\n";
        let d = the("SC001", lint_on(text, Version::new(6, 12)));
        assert!(d.message.contains("comes with Linux 6.14") && d.fix.is_none(), "{d:?}");
        assert!(codes(&lint_on(text, Version::new(6, 18))).is_empty());
    }

    #[test]
    fn names_of_old_kernels_are_told_from_slips() {
        let d = the("SC001", lint_on("net.ipv4.netfilter.ip_conntrack_max = 65536\n", Version::new(6, 1)));
        assert!(d.why.contains("nf_conntrack_"));
    }
}
