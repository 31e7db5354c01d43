use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A key that is set twice in one file.
    ///
    /// # Why it matters
    /// The last line wins. Whoever finds the first one believes it.
    ///
    /// # Fix
    /// Keep the last line. `--fix` makes the earlier ones comments.
    ///
    /// # Fix safety
    /// Safe: the effective value stays the same. Where the kernel would refuse the last value nothing is changed.
    ///
    /// # Sources
    /// systemd src/sysctl/sysctl.c ("Overwriting earlier assignment"), procps src/sysctl.c (all are written, in order);
    /// tried with systemd-sysctl 252 and procps 4.0.2.
    SC016, "repeated"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for (old, new) in &cx.effective.undone {
        if old.file != new.file {
            continue;
        }
        let (Some(line), Some(by)) = (cx.setting(*old), cx.setting(*new)) else { continue };
        let same = line.setting.value == by.setting.value;
        let severity = if same { Severity::Info } else { Severity::Warning };
        let message = if same {
            format!("line {} says the same again", new.line + 1)
        } else {
            format!("line {} sets it to {}, and wins", new.line + 1, by.setting.value)
        };
        let why = "The last assignment of a key counts.";
        let diagnostic = line.key(&CHECK, severity, message, why).source(
            "systemd src/sysctl/sysctl.c; procps src/sysctl.c; tried with systemd 252 and procps 4.0.2",
        );
        // procps writes both: a last value that is refused leaves the first one.
        let taken =
            same || by.known.is_some_and(|sysctl| super::value::surely_taken(sysctl, &by.setting.value));
        // A pattern's place in the order matters to the others, and a file may be one of several that are read.
        let sure =
            taken && !line.setting.key.is_glob() && line.setting.dash.is_some() == by.setting.dash.is_some();
        out.push(if sure { diagnostic.fix(line.comment_out(&CHECK, "set again below")) } else { diagnostic });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lint, the};
    use crate::Severity;

    #[test]
    fn the_earlier_line_is_named() {
        let d = the(
            "SC016",
            lint("net.ipv4.tcp_retries2 = 10\nnet.ipv4.tcp_sack = 1\nnet/ipv4/tcp_retries2=12\n"),
        );
        assert!(d.line == 1 && d.severity == Severity::Warning && d.message.contains("line 3"));
        assert!(d.fix.is_some());
    }

    #[test]
    fn a_last_value_that_is_refused_saves_the_first() {
        let d = the("SC016", lint("net.ipv4.tcp_retries2 = 10\nnet.ipv4.tcp_retries2 = 300\n"));
        assert!(d.fix.is_none());
        let text = "net.ipv4.ip_local_port_range = 20000 60999\nnet.ipv4.ip_local_port_range = 60000 50001\n";
        assert!(the("SC016", lint(text)).fix.is_none());
    }
}
