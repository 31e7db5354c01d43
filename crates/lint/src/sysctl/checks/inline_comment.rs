use super::super::value::{self, Shape};
use super::{Cx, declare_check};
use crate::{Diagnostic, Edit, Fix, Severity, Span};

declare_check! {
    /// # What it detects
    /// A comment, or more words, behind a value.
    ///
    /// # Why it matters
    /// sysctl.conf has no comments at the end of a line: all that follows the equals sign goes to the kernel. A setting of
    /// numbers takes those and ignores the rest if white space stands between; `32# why` and settings of words
    /// (`tcp_congestion_control`) are refused, and the old value stays.
    ///
    /// # Fix
    /// Put the comment on a line of its own (`--fix` does, above the setting).
    ///
    /// # Fix safety
    /// Where the kernel refused the line, the setting begins to act. Otherwise no value changes.
    ///
    /// # Sources
    /// sysctl.conf(5); kernel/sysctl.c proc_get_long(); measured on 6.18: `31 # c` sets 31, `32# c` and `cubic # x` are
    /// refused.
    SC006, "inline-comment"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for line in cx.lines() {
        let setting = line.setting;
        let raw = &line.file.text[setting.value_span.start..setting.value_span.end];
        let mark = raw
            .iter()
            .enumerate()
            .position(|(at, b)| matches!(b, b'#' | b';') && (at == 0 || raw[at - 1].is_ascii_whitespace()));
        // Elsewhere a `#` may be part of the value: core_pattern, a banner.
        let Some(sysctl) = line.known else { continue };
        let shape = Shape::of(sysctl);
        if let Some(mark) = mark.filter(|mark| *mark > 0) {
            let taken = match shape {
                Shape::Ints(count) => value::ints(&setting.value, count).is_ok(),
                _ => false,
            };
            let what = if taken { "is ignored by the kernel" } else { "makes the kernel refuse the line" };
            let span = Span::new(setting.value_span.start + mark, setting.value_span.end);
            let comment = String::from_utf8_lossy(&raw[mark..]).into_owned();
            let value_end = setting.value_span.start + raw[..mark].trim_ascii_end().len();
            let start = cx.documents[line.at.file].lines[line.at.line].span.start;
            let ending = if line.file.text.contains(&b'\r') { "\r\n" } else { "\n" };
            let fix = Fix {
                description: "put the comment on a line of its own".to_owned(),
                edits: vec![
                    Edit { start, end: start, replacement: format!("{comment}{ending}") },
                    Edit { start: value_end, end: setting.value_span.end, replacement: String::new() },
                ],
            };
            let mut diagnostic = Diagnostic::in_line(
                CHECK.code,
                Severity::Warning,
                &line.file.name,
                &line.file.text,
                (line.at.line, span),
                format!("a comment behind a value is part of the value, and {what}"),
                "sysctl.conf knows comments on lines of their own only; the rest of the line goes to the kernel.",
            )
            .key(setting.key.dotted())
            .source("sysctl.conf(5); kernel/sysctl.c proc_get_long(); measured on 6.18");
            if std::str::from_utf8(&raw[mark..]).is_ok() {
                diagnostic = diagnostic.fix(fix);
            }
            out.push(diagnostic);
        } else if let Shape::Ints(count) = shape
            && value::ints(&setting.value, count).is_ok()
            && let Some(tail) = value::ignored_tail(&setting.value, count)
        {
            let message = format!(
                "`{tail}` is ignored: {} has {count} number{}",
                sysctl.short(),
                if count == 1 { "" } else { "s" }
            );
            let why = "The kernel takes as many numbers as the setting has, and ignores what follows.";
            out.push(
                line.value(&CHECK, Severity::Warning, message, why)
                    .source("kernel/sysctl.c proc_dointvec(); measured on 6.18: `35 36` sets 35"),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lint, the};
    use crate::apply;

    #[test]
    fn a_comment_goes_to_its_own_line() {
        let text = "net.ipv4.tcp_fin_timeout = 30   # short\r\n";
        let d = the("SC006", lint(text));
        assert!(d.message.contains("ignored by the kernel"));
        assert_eq!((d.column, d.end_column), (33, 40));
        let (fixed, _) = apply(text.as_bytes(), &[&d]);
        assert_eq!(String::from_utf8_lossy(&fixed), "# short\r\nnet.ipv4.tcp_fin_timeout = 30\r\n");
    }

    #[test]
    fn words_refuse_a_comment() {
        let d = the("SC006", lint("net.ipv4.tcp_congestion_control = bbr # fast\n"));
        assert!(d.message.contains("refuse"));
        assert_eq!(lint("kernel.core_pattern = |/bin/x # y\n"), []);
    }

    #[test]
    fn numbers_too_many_are_told() {
        assert!(the("SC006", lint("net.ipv4.tcp_retries2 = 10 20\n")).message.contains("`20` is ignored"));
    }
}
