use super::super::{defaults, value};
use super::{Cx, Line, bytes, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Sysctl;

declare_check! {
    /// # What it detects
    /// A value that does something else than it seems to: `tcp_fin_timeout` from 61 to 119, which waits *shorter* than 60;
    /// a maximum of `tcp_rmem` below what this kernel uses by itself; 0 or a negative number for `tcp_max_tw_buckets`; both ends
    /// of `ip_local_port_range` of the same parity; numbers that begin with 0, which the kernel reads as octal.
    ///
    /// # Why it matters
    /// The setting makes worse what it was meant to make better. `tcp_fin_timeout = 61` keeps an orphaned FIN_WAIT2 for 2 s
    /// instead of 60. "16 MB receive buffers" were a raise on old kernels and halve what 6.18 does by itself.
    ///
    /// # Fix
    /// `tcp_fin_timeout`: 60, or at least 120. `tcp_rmem`: leave the line out, or write this kernel's maximum. Octal numbers:
    /// `--fix` writes the number that the kernel reads.
    ///
    /// # Fix safety
    /// The fix of `tcp_fin_timeout` concerns orphaned FIN_WAIT2 sockets only. That of octal numbers changes no value.
    ///
    /// # Sources
    /// net/ipv4/tcp.c __tcp_close(), net/ipv4/tcp_input.c tcp_rcv_state_process(), net/ipv4/tcp_timer.c
    /// tcp_keepalive_timer(); net/ipv4/tcp.c tcp_init(); net/ipv4/inet_timewait_sock.c inet_twsk_alloc();
    /// net/ipv4/inet_hashtables.c __inet_hash_connect(). Measured on 6.18: 61 waits 2.2 s, 65 waits 10.4 s.
    SC004, "trap-value"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for (line, sysctl, ints) in cx.numbers() {
        octal(&line, sysctl, &ints, out);
        let first = ints[0];
        match sysctl.key {
            "net.ipv4.tcp_fin_timeout" if (61..=119).contains(&first) => {
                let message =
                    format!("tcp_fin_timeout = {first} waits about {} s, not {first} s", 2 * (first - 60));
                let why = "Above 60 the socket waits (value - 60) s as a full socket and as long again as a minisocket. \
                           60 waits 60 s, 120 waits 120 s.";
                out.push(line.value(&CHECK, Severity::Warning, message, why).fix(line.set("60")));
            }
            "net.ipv4.tcp_fin_timeout" if first <= 0 => {
                let message = format!("tcp_fin_timeout = {first} cuts every orphaned FIN_WAIT2 off at once");
                out.push(line.value(&CHECK, Severity::Warning, message, sysctl.meaning));
            }
            "net.ipv4.tcp_rmem" => rmem(cx, &line, &ints, out),
            "net.ipv4.tcp_max_tw_buckets" if first <= 0 => {
                let (severity, what) = if first == 0 {
                    (Severity::Warning, "switches TIME_WAIT off: every close counts as an overflow")
                } else if cx.at_least(5, 18) {
                    (Severity::Info, "is no limit on this kernel, and no TIME_WAIT at all before about 5.18")
                } else {
                    (Severity::Warning, "means no TIME_WAIT at all before about 5.18, and no limit later")
                };
                let message = format!("tcp_max_tw_buckets = {first} {what}");
                out.push(line.value(&CHECK, severity, message, sysctl.meaning));
            }
            "net.ipv4.ip_local_port_range" => {
                let [low, high] = ints[..] else { continue };
                if low < high && low % 2 == high % 2 {
                    let message = format!(
                        "both ends, {low} and {high}, are {}",
                        if low % 2 == 0 { "even" } else { "odd" }
                    );
                    let why = "connect() takes ports of the parity of the lower end first and bind(port 0) the others. \
                               The ends should differ; the kernel logs \"prefer different parity for start/end values\".";
                    out.push(line.value(&CHECK, Severity::Info, message, why));
                }
            }
            _ => {}
        }
    }
}

/// The default's maximum is min(cap, memory / 128).
fn rmem(cx: &Cx<'_>, line: &Line<'_>, ints: &[i64], out: &mut Vec<Diagnostic>) {
    let (Some(kernel), [_, first, most]) = (cx.context.kernel, ints) else { return };
    let Ok(most) = u64::try_from(*most) else { return };
    let cap = defaults::rmem_cap(kernel);
    let default = match cx.context.ram_bytes {
        Some(ram) => (ram / 128).min(cap),
        None => cap,
    };
    // What was free at boot is a little less than the whole.
    if most * 10 >= default * 9 {
        return;
    }
    let hosts = match cx.context.ram_bytes {
        Some(_) => String::new(),
        None => format!(" with {} of memory and more", bytes((most * 128).next_power_of_two())),
    };
    let default_first = if cx.at_least(5, 0) { 131_072 } else { 87_380 };
    let also = if *first < default_first {
        format!(" It also lowers the initial buffer from {default_first} to {first} bytes.")
    } else {
        String::new()
    };
    let message = format!(
        "the maximum of {} is below the {} that Linux {kernel} uses by itself{hosts}",
        bytes(most),
        bytes(default)
    );
    let why = format!(
        "Autotuning grows the receive buffer up to the third number, whatever rmem_max says. Its default is 1/128 of \
         memory, at most {} on this kernel.{also}",
        bytes(cap)
    );
    out.push(line.value(&CHECK, Severity::Warning, message, why));
}

/// `050` is 40.
fn octal(line: &Line<'_>, sysctl: &Sysctl, ints: &[i64], out: &mut Vec<Diagnostic>) {
    let written: Vec<&str> = line.setting.value.split_ascii_whitespace().take(ints.len()).collect();
    let Some((word, number)) = written.iter().find_map(|word| Some((word, value::reads_as_octal(word)?)))
    else {
        return;
    };
    let message = format!("{} is set to {number}: {word} is an octal number", sysctl.short());
    let as_read = ints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let diagnostic = line
        .value(
            &CHECK,
            Severity::Warning,
            message,
            "Numbers are read as in C: 0 begins an octal one, 0x a hexadecimal one.",
        )
        .source("kernel/sysctl.c proc_get_long(); measured on 6.18: 050 sets 40");
    out.push(diagnostic.fix(line.set(&as_read)));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_with, the, with_ram};

    #[test]
    fn fin_timeouts_between_60_and_120_are_a_trap() {
        for (value, waits) in [("61", "about 2 s"), ("65", "about 10 s"), ("119", "about 118 s")] {
            let d = the("SC004", lint(&format!("net.ipv4.tcp_fin_timeout = {value}\n")));
            assert!(d.message.contains(waits), "{}", d.message);
        }
        for fine in ["1", "15", "59", "120", "300"] {
            assert_eq!(
                codes(&lint(&format!("net.ipv4.tcp_fin_timeout = {fine}\n"))),
                Vec::<String>::new(),
                "{fine}"
            );
        }
    }

    #[test]
    fn a_receive_buffer_may_be_smaller_than_by_default() {
        let text = "net.ipv4.tcp_rmem = 4096 87380 16777216\n";
        let d = the("SC004", lint_with(text, &with_ram(64 << 30)));
        assert!(d.message.contains("16 MiB is below the 32 MiB"), "{}", d.message);
        assert!(d.why.contains("87380"));
        assert!(the("SC004", lint(text)).message.contains("with 2 GiB of memory and more"));
        // With 1 GB of memory the default is 8 MB.
        assert!(!codes(&lint_with(text, &with_ram(1 << 30))).contains(&"SC004".to_owned()));
    }

    #[test]
    fn octal_numbers_are_told() {
        let d = the("SC004", lint("net.ipv4.tcp_fin_timeout = 050\n"));
        assert!(d.message.contains("is set to 40"), "{}", d.message);
        assert_eq!(d.fix.expect("sure").edits[0].replacement, "40");
    }

    #[test]
    fn ends_of_one_parity_are_noted() {
        assert!(the("SC004", lint("net.ipv4.ip_local_port_range = 32768 61000\n")).message.contains("even"));
    }
}
