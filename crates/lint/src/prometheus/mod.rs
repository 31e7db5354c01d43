//! Prometheus rule files: alerts on metrics of node_exporter that cannot fire, or fire for something else.
//!
//! [`lint`] reads the YAML with its places (`yaml`), finds the expressions in it (`rules`), asks a PromQL library what each
//! means and where its names stand (`promql`), and judges by what `linger-facts` knows of the metrics (`checks`).

mod checks;
mod lints;
mod promql;
mod rules;
mod yaml;

pub use lints::{LINTS, Lint};

use crate::{Diagnostic, Severity, Span};
use std::time::Duration;

/// Larger files are not read.
const MAX_BYTES: usize = 4 << 20;

/// What is known besides the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How often node_exporter is scraped; `None`: not known, so only ranges that are short at usual intervals count.
    pub scrape_interval: Option<Duration>,
}

/// The lint of a code (`PR004`, any case) or a name (`no-such-metric`).
#[must_use]
pub fn find(code_or_name: &str) -> Option<&'static Lint> {
    LINTS.iter().copied().find(|l| l.code.eq_ignore_ascii_case(code_or_name) || l.name == code_or_name)
}

/// Everything that is wrong with a rule file, in the order of its lines.
///
/// A file that is no YAML has that one diagnostic. `file` is only named in the diagnostics.
#[must_use]
pub fn lint(file: &str, content: &[u8], options: &Options) -> Vec<Diagnostic> {
    let refused = |at: usize, message: String| {
        let why = "Prometheus refuses the whole file: at its start it ends, at a reload it goes on with the old rules.";
        let span = Span::new(at, at);
        vec![
            Diagnostic::at(lints::PR001.code, Severity::Critical, file, content, span, message, why)
                .source("Prometheus model/rulefmt/rulefmt.go Parse()"),
        ]
    };
    if content.len() > MAX_BYTES {
        let why = "Files of more than 4 MiB are not read.";
        return vec![
            Diagnostic::at(
                lints::PR001.code,
                Severity::Warning,
                file,
                content,
                Span::new(0, 0),
                "the file was not checked",
                why,
            )
            .source("linger's own limit"),
        ];
    }
    let text = match std::str::from_utf8(content) {
        Ok(text) => text,
        Err(error) => return refused(error.valid_up_to(), "not YAML: a byte that is not UTF-8".to_owned()),
    };
    let tree = match yaml::Tree::read(text) {
        Ok(tree) => tree,
        Err(broken) => return refused(broken.span.start, format!("not YAML: {}", broken.message)),
    };
    let mut found = Vec::new();
    rules::check(&tree, file, options, &mut found);
    found.sort_by(|a, b| (a.line, a.column, &a.code).cmp(&(b.line, b.column, &b.code)));
    found
}

#[cfg(test)]
mod tests;
