//! SARIF 2.1.0, as code review tools read it.

use super::{Lines, LintReport, Source};
use linger_lint::sysctl::CHECKS;
use linger_lint::{Diagnostic, Fix, Severity, prometheus};
use serde_json::{Value, json};

/// The report as a log with one run; `incomplete` where a file could not be read, or not be rewritten.
pub fn log(report: &LintReport, sources: &[Source], incomplete: bool) -> Value {
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
    let (texts, nothing) = (Lines::of_all(sources), Lines::of(&[]));
    let results: Vec<Value> = report
        .diagnostics
        .iter()
        .map(|d| {
            let lines = texts.get(d.file.as_str()).unwrap_or(&nothing);
            let rule = used.iter().position(|(code, _, _)| *code == d.code);
            let mut result = json!({
                "ruleId": d.code,
                "level": level(d.severity),
                "message": { "text": format!("{}. {}", d.message, d.why) },
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": { "uri": uri(&d.file) },
                        "region": region(d, lines),
                    }
                }],
                "properties": { "source": d.source },
            });
            if let Some(rule) = rule {
                result["ruleIndex"] = json!(rule);
            }
            if let Some(key) = &d.key {
                result["properties"]["key"] = json!(key);
            }
            if let Some(fix) = &d.fix {
                result["fixes"] = json!([fixed(d, fix, lines)]);
            }
            result
        })
        .collect();
    let refused = report.changes.iter().flatten().filter_map(|change| {
        change.refused.as_ref().map(|why| format!("{}: not mended: {why}", change.file))
    });
    let notifications: Vec<Value> = report
        .gaps
        .iter()
        .cloned()
        .chain(refused)
        .map(|text| json!({ "level": if incomplete { "error" } else { "warning" }, "message": { "text": text } }))
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
            "invocations": [{
                "executionSuccessful": !incomplete,
                "toolExecutionNotifications": notifications,
            }],
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

/// The place, in characters instead of bytes.
fn region(d: &Diagnostic, lines: &Lines<'_>) -> Value {
    let line = lines.line(d.line);
    let chars = |column: u32| chars(&line[..(column.saturating_sub(1) as usize).min(line.len())]) + 1;
    json!({ "startLine": d.line, "startColumn": chars(d.column), "endColumn": chars(d.end_column) })
}

/// What --fix would do about a diagnostic.
fn fixed(d: &Diagnostic, fix: &Fix, lines: &Lines<'_>) -> Value {
    let place = |at: usize| {
        let (line, before) = lines.before(at);
        (line, chars(before) + 1)
    };
    let replacements: Vec<Value> = fix
        .edits
        .iter()
        .map(|edit| {
            let ((line, column), (end_line, end_column)) = (place(edit.start), place(edit.end));
            json!({
                "deletedRegion": {
                    "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column,
                },
                "insertedContent": { "text": edit.replacement },
            })
        })
        .collect();
    json!({
        "description": { "text": fix.description },
        "artifactChanges": [{
            "artifactLocation": { "uri": uri(&d.file) },
            "replacements": replacements,
        }],
    })
}

/// How many characters; bytes that are no UTF-8 are one each, or as many as belong together.
fn chars(bytes: &[u8]) -> usize {
    String::from_utf8_lossy(bytes).chars().count()
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
