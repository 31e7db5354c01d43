use super::super::names;
use super::{BYTE_ORDER_MARK, Cx, declare_check, unseen, without_mark};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A key that is no setting: a slip of the pen, a setting in the wrong folder, a character in it that nobody sees (a
    /// no-break space, a byte-order mark), or, where the running host could be asked, a file that is not there.
    ///
    /// # Why it matters
    /// The line does nothing, and at boot nobody says so: systemd-sysctl and `sysctl --system` pass over keys that do not
    /// exist.
    ///
    /// # Fix
    /// Write the key that is meant. linger names the nearest, and does not change the line: only you know which was meant.
    /// `--fix` takes out a byte-order mark.
    ///
    /// # Fix safety
    /// A key that was dead so far begins to act. Look at what it does first: `linger explain KEY`.
    ///
    /// # Sources
    /// The names under /proc/sys/net of Linux 6.18, and those of older kernels that are known; systemd src/sysctl/sysctl.c
    /// (ENOENT is ignored).
    SC002, "unknown-sysctl"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for line in cx.lines() {
        let key = line.setting.key.dotted();
        let live = cx.context.live.as_ref();
        let why = "Keys that do not exist are passed over at boot without an error.";
        let source = "names under /proc/sys/net of Linux 6.18; systemd src/sysctl/sysctl.c";
        if let Some(clean) = key.strip_prefix(BYTE_ORDER_MARK) {
            let clean = clean.trim_start_matches(['-', ' ', '\t']);
            let message = format!("`{clean}` is not set: a byte-order mark stands before it");
            let mut diagnostic = line.key(&CHECK, Severity::Warning, message, why).key(clean).source(source);
            if line.setting.key_span.start == 0 {
                diagnostic = diagnostic.fix(without_mark());
            }
            out.push(diagnostic);
            continue;
        }
        if line.setting.key.is_glob()
            || line.known.is_some()
            || names::removed(&key).is_some()
            || live.is_some_and(|live| live.values.contains_key(&line.setting.key))
        {
            continue;
        }
        if let Some(character) = unseen(&key) {
            let message = format!("`{key}` is no key: {character}, which is not seen, stands in it");
            out.push(line.key(&CHECK, Severity::Warning, message, why).source(source));
        } else if line.setting.key.escapes() || key.contains(char::is_whitespace) {
            let message = format!("`{key}` is no key: a path under /proc/sys is expected");
            out.push(line.key(&CHECK, Severity::Warning, message, why).source(source));
        } else if let Some(nearest) = names::nearest(&key) {
            let message = format!("{key} is no setting; is {nearest} meant?");
            out.push(line.key(&CHECK, Severity::Warning, message, why).source(source));
        } else if live.is_some_and(|live| live.absent.contains(&line.setting.key)) {
            let ignored = line.setting.dash.is_some();
            // The dash says that it may be missing. An interface or a module may come later.
            let severity = if ignored { continue } else { Severity::Info };
            let message = format!("{key} is not there on the running host");
            let why =
                "The line does nothing, unless a module or an interface that comes later brings the key.";
            out.push(line.key(&CHECK, severity, message, why).source("/proc/sys of the running host"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lint, the};

    #[test]
    fn slips_are_told_with_the_nearest_name() {
        let d = the("SC002", lint("net.ipv4.tcp_tw_resue = 1\n"));
        assert!(d.message.contains("is net.ipv4.tcp_tw_reuse meant"), "{}", d.message);
        assert_eq!((d.line, d.column, d.end_column), (1, 1, 22));
    }

    #[test]
    fn characters_that_nobody_sees_are_named() {
        let marked = "\u{feff}net.ipv4.tcp_retries2 = 9\nnet.ipv4.tcp_retries1 = 4\n";
        let d = the("SC002", lint(marked));
        assert!(d.line == 1 && d.message.contains("byte-order mark"), "{}", d.message);
        assert_eq!(d.key.as_deref(), Some("net.ipv4.tcp_retries2"));
        let (fixed, _) = crate::apply(marked.as_bytes(), &[&d]);
        assert_eq!(fixed, marked.trim_start_matches('\u{feff}').as_bytes());
        let d = the("SC002", lint("net.ipv4.tcp_retries2\u{a0}= 9\n"));
        assert!(d.message.contains("U+00A0") && d.fix.is_none(), "{}", d.message);
        assert!(the("SC002", lint("net.ipv4.tcp_retries2\0 = 9\n")).message.contains("U+0000"));
        // An interface may be called so.
        assert_eq!(lint("net.ipv4.conf.bücher.rp_filter = 2\n"), []);
    }

    #[test]
    fn a_pasted_command_is_no_key() {
        assert!(the("SC002", lint("sysctl -w net.ipv4.tcp_sack=1\n")).message.contains("no key"));
    }

    #[test]
    fn keys_that_linger_does_not_know_are_left_alone() {
        let text = "kernel.sysrq = 438\nnet.ipv4.conf.all.rp_filter = 1\nvm.swappiness = 10\nnet.ipv4.ip_forward=1\n\
                    net.ipv6.conf.all.disable_ipv6 = 1\nnet.core.default_qdisc = fq\n";
        assert_eq!(lint(text), []);
    }
}
