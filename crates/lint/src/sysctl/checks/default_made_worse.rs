use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A value that gives less than the kernel gives by itself: a queue, table or limit below its default on this kernel and
    /// with this memory, a range of ports narrower than the default, a protocol option switched off.
    ///
    /// # Why it matters
    /// Files are copied from host to host and outlive kernels. `somaxconn = 1024` was a raise until 5.3 and is a cut since 5.4;
    /// `fs.file-max = 2000000` is a cut with 24 GB of memory.
    ///
    /// # Fix
    /// Take the line out, or write more than the default. Where it is meant as a limit, a comment saves the next reader.
    ///
    /// # Fix safety
    /// Back to the default: safe. Queues and buffers change for sockets that are opened afterwards.
    ///
    /// # Sources
    /// The default's sources in `linger explain KEY`. Where memory decides, the kernel's own formula is applied to `--ram`;
    /// without it such settings are not judged.
    SC009, "default-made-worse"
}

/// Settings of which less is worse.
const MORE_IS_BETTER: &[&str] = &[
    "fs.file-max",
    "fs.nr_open",
    "net.core.netdev_budget",
    "net.core.netdev_max_backlog",
    "net.core.rmem_max",
    "net.core.somaxconn",
    "net.core.wmem_max",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_tw_buckets",
    "net.netfilter.nf_conntrack_buckets",
    "net.netfilter.nf_conntrack_max",
];

/// Options that nobody should be without, and what is lost.
const OPTIONS: &[(&str, &str)] = &[
    (
        "net.ipv4.tcp_sack",
        "selective acknowledgements: several losses in a window then cost a round trip each",
    ),
    (
        "net.ipv4.tcp_window_scaling",
        "windows above 64 KiB: throughput is then 64 KiB per round trip at the most",
    ),
    ("net.ipv4.tcp_moderate_rcvbuf", "the growth of receive buffers: each socket stays at its initial one"),
];

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(kernel) = cx.context.kernel else { return };
    for (line, sysctl, ints) in cx.numbers() {
        let first = ints[0];
        if let Some((_, lost)) = OPTIONS.iter().find(|(key, _)| *key == sysctl.key && first == 0) {
            let message = format!("{} = 0 switches off {lost}", sysctl.short());
            out.push(line.value(&CHECK, Severity::Warning, message, sysctl.meaning));
            continue;
        }
        let Some(default) = cx.default(sysctl) else { continue };
        if MORE_IS_BETTER.contains(&sysctl.key) {
            // A computed default is right within some percent.
            let least = default[0] / 10 * 9;
            // 0 and below mean other things; the trap check tells them.
            let other_meaning = sysctl.key == "net.ipv4.tcp_max_tw_buckets" && first <= 0;
            if first < least && !other_meaning {
                let here = if matches!(sysctl.default_for(kernel), Some(linger_facts::DefaultValue::Fixed(_)))
                {
                    format!("on Linux {kernel}")
                } else {
                    "with this memory".to_owned()
                };
                let message = format!("{first} is less than the default of {} {here}", default[0]);
                out.push(line.value(&CHECK, Severity::Warning, message, sysctl.meaning));
            }
        }
        match (sysctl.key, &ints[..], &default[..]) {
            ("net.ipv4.ip_local_port_range", [low, high], [default_low, default_high]) if low <= high => {
                let (ports, usual) = (high - low + 1, default_high - default_low + 1);
                if ports < usual / 10 * 9 {
                    let message = format!("{ports} local ports are fewer than the default of {usual}");
                    let why = "Ports are what connections towards one destination run out of.";
                    out.push(line.value(&CHECK, Severity::Warning, message, why));
                }
            }
            ("net.ipv4.tcp_wmem", [_, start, most], [_, default_start, default_most]) => {
                if *most < default_most / 10 * 9 {
                    let message =
                        format!("the maximum of {most} bytes is below the default of {default_most}");
                    out.push(line.value(&CHECK, Severity::Warning, message, sysctl.meaning));
                } else if start > default_start && *start <= 1 << 20 {
                    let message =
                        format!("every socket starts with {start} bytes instead of {default_start}");
                    let why = "The send buffer grows with the window by itself. A larger start costs memory with many \
                               sockets, and gains nothing.";
                    out.push(line.value(&CHECK, Severity::Info, message, why));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_on, lint_with, the, with_ram};
    use linger_facts::Version;

    #[test]
    fn what_was_a_raise_may_be_a_cut() {
        let text = "net.core.somaxconn = 1024\n";
        assert!(the("SC009", lint(text)).message.contains("default of 4096 on Linux 6.18"));
        assert_eq!(codes(&lint_on(text, Version::new(5, 3))), Vec::<String>::new());
        let text = "net.core.rmem_max = 2097152\n";
        assert!(the("SC009", lint(text)).message.contains("4194304"));
        assert_eq!(codes(&lint_on(text, Version::new(6, 12))), Vec::<String>::new());
    }

    #[test]
    fn memory_decides_where_the_kernel_lets_it() {
        let text = "net.ipv4.tcp_max_tw_buckets = 200000\nfs.file-max = 2000000\n";
        assert_eq!(codes(&lint(text)), Vec::<String>::new());
        assert_eq!(codes(&lint_with(text, &with_ram(16 << 30))), Vec::<String>::new());
        assert_eq!(lint_with(text, &with_ram(64 << 30)).len(), 2);
    }

    #[test]
    fn options_that_are_off_are_told() {
        assert!(the("SC009", lint("net.ipv4.tcp_sack = 0\n")).message.contains("selective"));
        assert!(the("SC009", lint("net.ipv4.ip_local_port_range = 40000 49999\n")).message.contains("10000"));
    }
}
