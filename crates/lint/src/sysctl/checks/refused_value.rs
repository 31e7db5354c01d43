use super::super::value::{self, Refused, Shape};
use super::{Cx, declare_check, unseen};
use crate::{Diagnostic, Severity};
use linger_facts::Version;

declare_check! {
    /// # What it detects
    /// A value that the kernel refuses, or takes only in part: outside the range it checks, no number, no value at all, a
    /// range the wrong way round, a key that cannot be written.
    ///
    /// # Why it matters
    /// The write fails with EINVAL and the old value stays. At boot that is one line in the journal; the rest of the file is
    /// applied, so the host looks configured.
    ///
    /// # Fix
    /// Write a value within the range: `linger explain KEY` shows it. linger does not choose one for you.
    ///
    /// # Fix safety
    /// A setting that was at its default so far begins to act.
    ///
    /// # Sources
    /// kernel/sysctl.c proc_dointvec(), proc_dointvec_minmax(), proc_get_long(); net/ipv4/sysctl_net_ipv4.c
    /// ipv4_local_port_range(); measured on 6.18, value by value.
    SC005, "refused-value"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for line in cx.lines() {
        let Some(sysctl) = line.known.filter(|known| cx.may_exist(known, &line.setting.key)) else {
            continue;
        };
        let text = line.setting.value.as_str();
        let refused = |message: String, why: &str| line.value(&CHECK, Severity::Warning, message, why);
        let short = sysctl.short();
        let count = match Shape::of(sysctl) {
            Shape::ReadOnly => {
                let message = format!("{short} can only be read");
                out.push(line.key(&CHECK, Severity::Warning, message, sysctl.meaning));
                continue;
            }
            Shape::Text => {
                if text.is_empty() && sysctl.unit == "name" {
                    out.push(refused(format!("{short} has no value"), "The kernel refuses an empty one."));
                } else if sysctl.unit == "port list" && !is_port_list(text) {
                    let message = format!("`{text}` is no list of ports such as 8080,9000-9100");
                    out.push(refused(
                        message,
                        "Ports and ranges are separated by commas, without anything else.",
                    ));
                }
                continue;
            }
            Shape::Ints(count) => count,
        };
        let ints = match value::ints(text, count) {
            Ok(ints) => ints,
            Err(why) => {
                let message = match why {
                    Refused::Empty => format!("{short} has no value"),
                    Refused::NotANumber if unseen(text).is_some() => {
                        let character = unseen(text).unwrap_or_default();
                        format!("the value is no number: {character}, which is not seen, stands in it")
                    }
                    Refused::NotANumber if count > 1 => {
                        format!("`{text}` is not {count} numbers with white space between")
                    }
                    Refused::NotANumber => format!("`{text}` is no number"),
                    Refused::TooLarge => format!("`{text}` is too large"),
                };
                let why = "The kernel refuses the write, and the old value stays. It takes digits, then white space or the \
                           end; no units, no quotes, no commas.";
                out.push(refused(message, why));
                continue;
            }
        };
        if ints.len() < count {
            let message =
                format!("{short} has {count} numbers; the other {} stay as they were", count - ints.len());
            out.push(refused(message, "The kernel changes the numbers that are given and keeps the rest."));
        }
        // What a version older than the ones that were tried does not check, it takes and misunderstands.
        if let Some((min, max)) = value::bounds(sysctl)
            && !(min..=max).contains(&ints[0])
        {
            let message = format!("{} is outside {min} to {max}", ints[0]);
            let why = format!("The kernel refuses it, and the old value stays. {}", sysctl.meaning);
            out.push(refused(message, &why));
        }
        // A listener's limit had 16 bits.
        if sysctl.key == "net.core.somaxconn"
            && ints[0] > 65_535
            && cx.context.kernel.is_some_and(|kernel| kernel < Version::new(4, 1))
        {
            let message = format!("{} is above 65535", ints[0]);
            let why = "Kernels before about 4.1 refuse it, and the old value stays; the oldest take it and keep 16 bits of it, \
                       so that 65536 is 0.";
            let source = "commit 5f671d6b4ec3 (2013-08); refused by 3.16 (owncloud-archive/documentation issue 1293); the last \
                          version that does from memory";
            out.push(refused(message, why).source(source));
        }
        if sysctl.unit == "bytes" && count == 3 && ints.iter().any(|number| *number < 1) {
            let message = format!("every number of {short} must be at least 1");
            out.push(refused(message, "The kernel refuses smaller ones."));
        }
        if let ("net.ipv4.ip_local_port_range", [low, high]) = (sysctl.key, &ints[..]) {
            let unprivileged = cx
                .value("net.ipv4.ip_unprivileged_port_start")
                .and_then(|k| k.int())
                .filter(|_| cx.at_least(4, 11));
            let message = if low > high {
                Some(format!("{low} is above {high}"))
            } else if *low < 1 || *high > 65_535 {
                Some("ports go from 1 to 65535".to_owned())
            } else {
                unprivileged
                    .filter(|start| low < start)
                    .map(|start| format!("{low} is below ip_unprivileged_port_start, {start}"))
            };
            if let Some(message) = message {
                out.push(refused(message, "The kernel refuses the range, and the old one stays."));
            }
        }
    }
}

fn is_port_list(text: &str) -> bool {
    text.is_empty()
        || text.split(',').filter(|part| !part.is_empty()).all(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            matches!((low.parse::<u16>(), high.parse::<u16>()), (Ok(low), Ok(high)) if low <= high)
        })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_on, the};
    use linger_facts::Version;

    /// Each was refused by 6.18.
    #[test]
    fn what_the_kernel_refuses_is_told() {
        for line in [
            "net.ipv4.tcp_tw_reuse = 3",
            "net.ipv4.tcp_sack = 256",
            "net.ipv4.tcp_sack = true",
            "net.ipv4.tcp_fin_timeout = 33s",
            "net.ipv4.tcp_fin_timeout = \"37\"",
            "net.ipv4.tcp_fin_timeout = 60.5",
            "net.ipv4.tcp_fin_timeout =",
            "net.ipv4.tcp_rmem = 4096, 87380, 33554432",
            "net.ipv4.tcp_rmem = 0 131072 33554432",
            "net.ipv4.ip_local_port_range = 1024-65535",
            "net.ipv4.ip_local_port_range = 60000 50001",
            "net.ipv4.ip_local_port_range = 1024 65537",
            "net.ipv4.ip_local_port_range = 1000 65535",
            "net.ipv4.ip_local_reserved_ports = 8080 9000",
            "net.core.somaxconn = -1",
            "net.ipv4.tcp_syn_retries = 0",
            "fs.file-nr = 5",
        ] {
            let found = lint(&format!("{line}\n"));
            assert!(codes(&found).contains(&"SC005".to_owned()), "{line}: {found:?}");
        }
    }

    #[test]
    fn what_old_kernels_refuse_is_told() {
        let text = "net.core.somaxconn = 65536\n";
        assert!(the("SC005", lint_on(text, Version::new(3, 16))).message.contains("above 65535"));
        assert!(!codes(&lint_on(text, Version::new(4, 18))).contains(&"SC005".to_owned()));
        assert!(
            !codes(&lint_on("net.core.somaxconn = 65535\n", Version::new(3, 16)))
                .contains(&"SC005".to_owned())
        );
    }

    #[test]
    fn characters_that_nobody_sees_are_named() {
        let d = the("SC005", lint("net.ipv4.tcp_fin_timeout = 30\u{a0}\n"));
        assert!(d.message.contains("U+00A0"), "{}", d.message);
    }

    /// Each was taken by 6.18.
    #[test]
    fn what_the_kernel_takes_is_not() {
        for line in [
            "net.ipv4.tcp_tw_reuse = 1",
            "net.ipv4.tcp_fin_timeout = 0x20",
            "net.ipv4.tcp_keepalive_time = 40000",
            "net.core.somaxconn = 70000",
            "net.ipv4.tcp_rmem = 4096 131072 33554432",
            "net.ipv4.ip_local_port_range = 1024 65535",
            "net.ipv4.ip_local_reserved_ports = 8080,9000-9100",
            "net.ipv4.ip_local_reserved_ports =",
            "net.ipv4.tcp_congestion_control = bbr",
        ] {
            assert!(!codes(&lint(&format!("{line}\n"))).contains(&"SC005".to_owned()), "{line}");
        }
        assert!(the("SC005", lint("net.ipv4.tcp_rmem = 4096 131072\n")).message.contains("the other 1"));
    }
}
