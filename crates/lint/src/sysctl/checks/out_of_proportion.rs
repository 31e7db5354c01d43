use super::super::defaults::PAGE;
use super::{Cx, Line, bytes, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A number in the wrong unit, or out of proportion to the memory (`--ram`): `tcp_mem`, which is in pages and sized by the
    /// kernel; times in milliseconds where seconds are read; first buffers of a megabyte; tables that would fill the memory.
    ///
    /// # Why it matters
    /// A fixed `tcp_mem` throttles a larger host and lets a smaller one run out of memory. In bytes instead of pages it is
    /// 4096 times too much, which is no limit at all.
    ///
    /// # Fix
    /// Leave `tcp_mem` out: the kernel takes 4.68, 6.25 and 9.37 % of memory. Give times in seconds.
    ///
    /// # Fix safety
    /// `tcp_mem` is the whole host's: take the line out, and look at MM001 for a while.
    ///
    /// # Sources
    /// net/ipv4/tcp.c tcp_init_mem(), tcp_check_oom(); net/ipv4/tcp_timer.c; net/netfilter/nf_conntrack_core.c (a conntrack
    /// entry is 256 bytes in 6.18, by /proc/slabinfo, without its extensions).
    SC008, "out-of-proportion"
}

/// Bytes of a conntrack entry.
const ENTRY: u64 = 256;
/// An orphan may hold so much that cannot be swapped: Documentation/networking/ip-sysctl.rst.
const ORPHAN: u64 = 64 << 10;
/// From here on a number of seconds is hardly meant: more than a week of silence.
const LONG_S: i64 = 604_800;

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let ram = cx.context.ram_bytes;
    for (line, sysctl, ints) in cx.numbers() {
        let first = u64::try_from(ints[0]).unwrap_or(0);
        match sysctl.key {
            "net.ipv4.tcp_mem" => tcp_mem(cx, &line, &ints, out),
            "net.ipv4.tcp_rmem" | "net.ipv4.tcp_wmem"
                if ints.get(1).is_some_and(|start| *start > 1 << 20) =>
            {
                let start = u64::try_from(ints[1]).unwrap_or(0);
                let message = format!(
                    "every socket starts with a buffer of {}: 10,000 may hold {}",
                    bytes(start),
                    bytes(start * 10_000)
                );
                let why = "The second number is where a socket starts, before anybody knows that it needs it. Buffers grow \
                           by themselves up to the third.";
                out.push(line.value(&CHECK, Severity::Warning, message, why));
            }
            "net.ipv4.tcp_keepalive_time" | "net.ipv4.tcp_keepalive_intvl" | "net.ipv4.tcp_fin_timeout"
                if ints[0] >= LONG_S =>
            {
                let days = ints[0] / 86_400;
                let message = format!("{} is in seconds: {} are {days} days", sysctl.short(), ints[0]);
                let why =
                    format!("In milliseconds it would be {} s, which may have been meant.", ints[0] / 1000);
                out.push(line.value(&CHECK, Severity::Warning, message, why));
            }
            "net.netfilter.nf_conntrack_max" => {
                let full = first.saturating_mul(ENTRY);
                if let Some(ram) = ram.filter(|ram| full > ram / 10) {
                    let message =
                        format!("a full table takes at least {} of {} of memory", bytes(full), bytes(ram));
                    let why = "An entry takes 256 bytes and its extensions, in memory that cannot be swapped. A flood of \
                               connections may fill the table.";
                    out.push(line.value(&CHECK, Severity::Warning, message, why));
                }
            }
            "net.ipv4.tcp_max_orphans" => {
                let full = first.saturating_mul(ORPHAN);
                if let Some(ram) = ram.filter(|ram| full > ram / 2) {
                    let default = cx.default(sysctl).unwrap_or_default();
                    // What the kernel allows by itself is no fault of the file.
                    if default.first().is_none_or(|default| ints[0] > *default) {
                        let message =
                            format!("so many orphans may hold {} of {} of memory", bytes(full), bytes(ram));
                        out.push(line.value(&CHECK, Severity::Warning, message, sysctl.meaning));
                    }
                }
            }
            _ => {}
        }
    }
}

fn tcp_mem(cx: &Cx<'_>, line: &Line<'_>, ints: &[i64], out: &mut Vec<Diagnostic>) {
    let [_, pressure, limit] = ints else { return };
    let (Ok(pressure), Ok(limit)) = (u64::try_from(*pressure), u64::try_from(*limit)) else { return };
    let size = |pages: u64| bytes(pages.saturating_mul(PAGE));
    let why = "tcp_mem is in pages, for all sockets of the host together. The kernel sizes it by itself: 4.68, 6.25 and \
               9.37 % of memory. Above the second number every socket is throttled, at the third allocations fail.";
    let Some(ram) = cx.context.ram_bytes else {
        let message = format!(
            "a fixed tcp_mem: TCP is throttled from {} on and stops at {}, whatever the memory",
            size(pressure),
            size(limit)
        );
        out.push(line.value(&CHECK, Severity::Warning, message, why));
        return;
    };
    let share = |pages: u64| pages as f64 * PAGE as f64 / ram as f64 * 100.0;
    let (at, end) = (share(pressure), share(limit));
    let message = if limit >= ram {
        format!(
            "tcp_mem is in pages: {limit} pages are {}, of {} of memory; bytes were meant?",
            size(limit),
            bytes(ram)
        )
    } else if end > 50.0 {
        format!("TCP may take {end:.0} % of {} of memory; by default 9.4 %", bytes(ram))
    } else if at < 3.2 {
        format!("TCP is throttled from {} on, {at:.1} % of {}; by default 6.3 %", size(pressure), bytes(ram))
    } else if end > 25.0 {
        let message = format!("TCP may take {end:.0} % of {} of memory; by default 9.4 %", bytes(ram));
        out.push(line.value(&CHECK, Severity::Info, message, why));
        return;
    } else {
        let message = format!(
            "a fixed tcp_mem fits {} of memory ({at:.1} %, {end:.1} %) and no host of another size",
            bytes(ram)
        );
        out.push(line.value(&CHECK, Severity::Info, message, why));
        return;
    };
    out.push(line.value(&CHECK, Severity::Warning, message, why));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_with, the, with_ram};
    use crate::Severity;

    /// `tcp_mem = 786432 1048576 1572864`: 3, 4 and 6 GiB.
    const FIXED: &str = "net.ipv4.tcp_mem = 786432 1048576 1572864\n";

    #[test]
    fn a_fixed_tcp_mem_is_right_for_one_size() {
        let on = |gib: u64| the("SC008", lint_with(FIXED, &with_ram(gib << 30)));
        assert!(on(256).message.contains("throttled from 4 GiB on, 1.6 %"), "{}", on(256).message);
        assert!(on(8).message.contains("75 % of 8 GiB"), "{}", on(8).message);
        assert_eq!(on(64).severity, Severity::Info);
        assert_eq!(the("SC008", lint(FIXED)).severity, Severity::Warning);
    }

    #[test]
    fn bytes_in_place_of_pages_are_seen() {
        let text = "net.ipv4.tcp_mem = 8589934592 12884901888 17179869184\n";
        assert!(the("SC008", lint_with(text, &with_ram(16 << 30))).message.contains("bytes were meant"));
    }

    #[test]
    fn milliseconds_are_seen() {
        assert!(
            the(
                "SC008",
                lint("net.ipv4.tcp_keepalive_time = 600000\nnet.ipv4.tcp_keepalive_intvl = 7200000\n")
            )
            .why
            .contains("7200 s")
        );
        assert_eq!(codes(&lint("net.ipv4.tcp_keepalive_time = 86400\n")), Vec::<String>::new());
    }

    #[test]
    fn tables_are_held_against_memory() {
        let text = "net.netfilter.nf_conntrack_max = 2000000\n";
        assert!(codes(&lint_with(text, &with_ram(4 << 30))).contains(&"SC008".to_owned()));
        assert!(!codes(&lint_with(text, &with_ram(64 << 30))).contains(&"SC008".to_owned()));
    }
}
