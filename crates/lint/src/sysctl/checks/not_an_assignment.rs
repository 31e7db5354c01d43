use super::super::parse::Kind;
use super::{BYTE_ORDER_MARK, Cx, declare_check, without_mark};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A line that is neither a setting nor a comment nor an exclusion: `net.ipv4.tcp_sack 1`, a pasted command, `= 1`; a
    /// byte-order mark before a comment.
    ///
    /// # Why it matters
    /// Both systemd-sysctl and sysctl(8) report such a line and go on without it.
    ///
    /// # Fix
    /// Write `key = value`, or begin the line with `#`. linger does not guess which. `--fix` takes out a byte-order mark.
    ///
    /// # Fix safety
    /// A line that did nothing so far begins to act.
    ///
    /// # Sources
    /// sysctl.conf(5), sysctl.d(5); systemd src/sysctl/sysctl.c ("Line is not an assignment"), procps src/sysctl.c ("invalid
    /// syntax").
    SC007, "not-an-assignment"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for index in &cx.read {
        let file = &cx.files[*index];
        for (at, line) in cx.documents[*index].lines.iter().enumerate() {
            let Kind::Malformed(span) = line.kind else { continue };
            let text = String::from_utf8_lossy(&file.text[span.start..span.end]);
            let marked = text.strip_prefix(BYTE_ORDER_MARK).map(str::trim_start);
            // A comment, or nothing, was passed over anyway.
            let harmless = marked.is_some_and(|rest| rest.is_empty() || rest.starts_with(['#', ';']));
            let (severity, message) = if harmless {
                (Severity::Info, "a byte-order mark stands before this line")
            } else if marked.is_some() {
                (Severity::Warning, "a byte-order mark stands before this line, which is no setting either")
            } else {
                (Severity::Warning, "this line is no setting, and is passed over")
            };
            let why =
                "A setting is `key = value`; a comment begins with # or ; and stands on a line of its own.";
            let mut diagnostic =
                Diagnostic::in_line(CHECK.code, severity, &file.name, &file.text, (at, span), message, why);
            if marked.is_some() && span.start == 0 {
                diagnostic = diagnostic.fix(without_mark());
            }
            out.push(diagnostic.source("sysctl.d(5); systemd src/sysctl/sysctl.c; procps src/sysctl.c"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lint, the};
    use crate::Severity;

    #[test]
    fn lines_without_an_equals_sign_are_told() {
        let d = the("SC007", lint("# fine\n\n  net.ipv4.tcp_sack 1\n"));
        assert_eq!((d.line, d.column, d.end_column), (3, 3, 22));
    }

    #[test]
    fn a_byte_order_mark_is_told() {
        let text = "\u{feff}# tuning\nnet.ipv4.tcp_retries2 = 9\n";
        let d = the("SC007", lint(text));
        assert!(d.severity == Severity::Info && d.message.contains("byte-order mark"), "{}", d.message);
        let (fixed, _) = crate::apply(text.as_bytes(), &[&d]);
        assert_eq!(fixed, text.trim_start_matches('\u{feff}').as_bytes());
        assert_eq!(the("SC007", lint("\u{feff}junk\n")).severity, Severity::Warning);
        assert_eq!(lint("# tuning\n"), []);
    }
}
