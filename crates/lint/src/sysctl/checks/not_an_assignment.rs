use super::super::parse::Kind;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A line that is neither a setting nor a comment nor an exclusion: `net.ipv4.tcp_sack 1`, a pasted command, `= 1`.
    ///
    /// # Why it matters
    /// Both systemd-sysctl and sysctl(8) report such a line and go on without it.
    ///
    /// # Fix
    /// Write `key = value`, or begin the line with `#`. linger does not guess which.
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
        for line in &cx.documents[*index].lines {
            let Kind::Malformed(span) = line.kind else { continue };
            let diagnostic = Diagnostic::at(
                CHECK.code,
                Severity::Warning,
                &file.name,
                &file.text,
                span,
                "this line is no setting, and is passed over",
                "A setting is `key = value`; a comment begins with # or ; and stands on a line of its own.",
            );
            out.push(diagnostic.source("sysctl.d(5); systemd src/sysctl/sysctl.c; procps src/sysctl.c"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lint, the};

    #[test]
    fn lines_without_an_equals_sign_are_told() {
        let d = the("SC007", lint("# fine\n\n  net.ipv4.tcp_sack 1\n"));
        assert_eq!((d.line, d.column, d.end_column), (3, 3, 22));
    }
}
