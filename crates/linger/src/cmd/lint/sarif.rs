//! SARIF 2.1.0, as code review tools read it.

use super::{LintReport, Source};
use linger_lint::sysctl::CHECKS;
use linger_lint::{Diagnostic, Severity, prometheus};
use serde_json::{Value, json};

/// The report as a log with one run.
pub fn log(report: &LintReport, sources: &[Source]) -> Value {
    let every = CHECKS
        .iter()
        .map(|check| (check.code, check.name, check.doc))
        .chain(prometheus::LINTS.iter().map(|lint| (lint.code, lint.name, lint.doc)));
    let used: Vec<(&str, &str, &str)> =
        every.filter(|(code, _, _)| report.diagnostics.iter().any(|d| d.code == *code)).collect();
    let rules: Vec<Value> = used
        .iter()
        .map(|(code, name, doc)| {
            json!({
                "id": code,
                "name": pascal(name),
                "shortDescription": { "text": name.replace('-', " ") },
                "help": { "text": plain(doc), "markdown": markdown(doc) },
            })
        })
        .collect();
    let results: Vec<Value> = report
        .diagnostics
        .iter()
        .map(|d| {
            let text = sources.iter().find(|s| s.name == d.file).map_or(&[][..], |s| s.text.as_slice());
            let rule = used.iter().position(|(code, _, _)| *code == d.code);
            let mut result = json!({
                "ruleId": d.code,
                "level": level(d.severity),
                "message": { "text": format!("{}. {}", d.message, d.why) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(&d.file) },
                        "region": region(d, text),
                    }
                }],
            });
            if let Some(rule) = rule {
                result["ruleIndex"] = json!(rule);
            }
            if let Some(key) = &d.key {
                result["properties"] = json!({ "key": key, "source": d.source });
            }
            result
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "linger",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Critical => "error",
    }
}

/// The place, in characters instead of bytes. Of a text that --fix has changed the line alone is sure.
fn region(d: &Diagnostic, text: &[u8]) -> Value {
    let line = text.split(|b| *b == b'\n').nth(d.line.saturating_sub(1) as usize).unwrap_or_default();
    let chars = |column: u32| {
        let end = (column.saturating_sub(1) as usize).min(line.len());
        String::from_utf8_lossy(&line[..end]).chars().count() + 1
    };
    json!({ "startLine": d.line, "startColumn": chars(d.column), "endColumn": chars(d.end_column) })
}

/// A path as a reference: relative, or `file:` where it is absolute.
fn uri(path: &str) -> String {
    let encoded: String = path
        .bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect();
    if encoded.starts_with('/') { format!("file://{encoded}") } else { encoded }
}

/// `removed-sysctl` as `RemovedSysctl`.
fn pascal(name: &str) -> String {
    name.split('-')
        .map(|word| {
            let (first, rest) = word.split_at(word.len().min(1));
            first.to_uppercase() + rest
        })
        .collect()
}

/// A manual without the space that begins the lines of a doc comment.
fn markdown(doc: &str) -> String {
    doc.lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn plain(doc: &str) -> String {
    markdown(doc).lines().map(|line| line.trim_start_matches(['#', ' '])).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_spelled_as_sarif_wants() {
        assert_eq!(pascal("not-an-assignment"), "NotAnAssignment");
        assert_eq!(uri("/etc/sysctl.d/a b.conf"), "file:///etc/sysctl.d/a%20b.conf");
        assert_eq!(uri("sysctl.d/ü.conf"), "sysctl.d/%C3%BC.conf");
    }
}
