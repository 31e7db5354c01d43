use super::super::parse::Kind;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// Lines that systemd-sysctl and sysctl(8) understand differently: an exclusion with a pattern
    /// (`-net.ipv4.conf.eth*.rp_filter`).
    ///
    /// # Why it matters
    /// systemd-sysctl takes an exclusion as one key, literally, so a pattern excludes nothing; newer versions of procps apply
    /// it. What holds then depends on who read the files last.
    ///
    /// # Fix
    /// Name each key that no pattern should set: `-net.ipv4.conf.eth0.rp_filter`.
    ///
    /// # Fix safety
    /// The keys that are named keep their value at the next boot.
    ///
    /// # Sources
    /// systemd src/sysctl/sysctl.c apply_glob_option() (a lookup by key), procps src/sysctl.c settinglist_findpath()
    /// (fnmatch); tried: systemd-sysctl 252 and procps 4.0.2 both set what such a line should exclude.
    SC019, "loaders-differ"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for index in &cx.read {
        let file = &cx.files[*index];
        for (at, line) in cx.documents[*index].lines.iter().enumerate() {
            let Kind::Exclusion { key_span, key, .. } = &line.kind else { continue };
            if !key.is_glob() {
                continue;
            }
            let diagnostic = Diagnostic::in_line(
                CHECK.code,
                Severity::Warning,
                &file.name,
                &file.text,
                (at, *key_span),
                "systemd-sysctl excludes nothing by a pattern",
                "It looks the key up literally. Newer versions of procps apply the pattern, so the two differ.",
            );
            out.push(diagnostic.key(key.dotted()).source(
                "systemd src/sysctl/sysctl.c; procps src/sysctl.c; tried with systemd 252 and procps 4.0.2",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint};

    #[test]
    fn only_exclusions_with_a_pattern_differ() {
        let text = "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n";
        assert_eq!(codes(&lint(text)), Vec::<String>::new());
        assert_eq!(codes(&lint(&format!("{text}-net.ipv4.conf.eth*.rp_filter\n"))), ["SC019"]);
    }
}
