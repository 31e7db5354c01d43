//! `linger rules`: what Prometheus, Alertmanager and Grafana need to make something of linger's metrics.

mod grafana;
mod prometheus;

use crate::cli::{RulesArgs, RulesCommand};
use serde::Serialize;
use serde_saphyr::LitString;
use std::collections::BTreeMap;
use std::time::Duration;

/// Prints what was asked for.
pub fn run(args: &RulesArgs) -> anyhow::Result<u8> {
    let text = match &args.what {
        RulesCommand::Prometheus(args) => prometheus::file(args)?,
        RulesCommand::Alertmanager => include_str!("alertmanager.yml").to_owned(),
        RulesCommand::Grafana => grafana::dashboard()?,
        RulesCommand::NodeExporter => include_str!("node_exporter.yml").to_owned(),
    };
    super::print(&text)
}

/// A rule file of Prometheus.
#[derive(Debug, Serialize)]
struct RuleFile {
    groups: Vec<Group>,
}

/// Rules that are evaluated one after the other.
#[derive(Debug, Serialize)]
struct Group {
    name: &'static str,
    rules: Vec<Entry>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry {
    Alert(Alert),
    Record(Record),
}

/// A rule that tells somebody.
#[derive(Debug, Serialize)]
struct Alert {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    lasting: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_firing_for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: Annotations,
}

/// What whoever is told reads; templates of Prometheus.
#[derive(Debug, Serialize)]
struct Annotations {
    /// What, and where.
    summary: String,
    /// What that is, and why it matters.
    description: LitString,
    /// What to do.
    runbook: LitString,
    #[serde(skip_serializing_if = "Option::is_none")]
    runbook_url: Option<String>,
}

/// A rule that keeps a result.
#[derive(Debug, Serialize)]
struct Record {
    record: &'static str,
    expr: String,
}

impl Group {
    fn new(name: &'static str, rules: impl IntoIterator<Item = Entry>) -> Group {
        Group { name, rules: rules.into_iter().collect() }
    }
}

/// An alert of this file's own, not of one of linger's rules. Its texts are templates.
struct Own {
    alert: &'static str,
    severity: &'static str,
    lasting: &'static str,
    expr: String,
    summary: &'static str,
    description: &'static str,
    runbook: &'static str,
}

impl From<Own> for Entry {
    fn from(own: Own) -> Entry {
        Entry::Alert(Alert {
            alert: own.alert.to_owned(),
            expr: own.expr,
            lasting: own.lasting.to_owned(),
            keep_firing_for: None,
            labels: BTreeMap::from([("severity".to_owned(), own.severity.to_owned())]),
            annotations: Annotations {
                summary: own.summary.to_owned(),
                description: LitString(own.description.to_owned()),
                runbook: LitString(own.runbook.to_owned()),
                runbook_url: None,
            },
        })
    }
}

fn record(record: &'static str, expr: &str) -> Entry {
    Entry::Record(Record { record, expr: expr.to_owned() })
}

/// A YAML document with a comment before it.
fn yaml(comment: &str, document: &impl Serialize) -> anyhow::Result<String> {
    let mut text: String =
        comment.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect();
    // Expressions are read, and searched for, as one line.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 10_000 };
    text.push_str(&serde_saphyr::to_string_with_options(document, options)?);
    Ok(text)
}

/// Text that a template of Prometheus shows as it is.
fn verbatim(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// A string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A duration of Prometheus.
fn duration(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// A section of a manual, each paragraph and each item of a list on a line of its own.
fn section(manual: &str, heading: &str) -> String {
    let lines = manual.lines().map(str::trim);
    let of_it = lines
        .skip_while(|line| line.strip_prefix('#').map(str::trim) != Some(heading))
        .skip(1)
        .take_while(|line| !line.starts_with('#'));
    let mut text = String::new();
    let mut open = false;
    for line in of_it {
        let item =
            line.starts_with("- ") || line.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        if line.is_empty() {
            open = false;
        } else {
            if open && !item {
                text.push(' ');
            } else if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
            open = true;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_rules::RULES;

    #[test]
    fn every_manual_has_the_sections_that_are_shown() {
        for rule in RULES {
            for heading in ["What it detects", "Why it matters", "Fix", "Fix safety"] {
                let text = section(rule.doc, heading);
                assert!(
                    text.len() > 20 && !text.contains("  ") && !text.contains('#'),
                    "{}: {text}",
                    rule.code
                );
            }
        }
        assert_eq!(section(" # A\n one\n two\n\n - x\n   y\n - z\n # B\n c\n", "A"), "one two\n- x y\n- z");
        assert_eq!(section(" # A\n one\n", "B"), "");
    }

    #[test]
    fn what_others_wrote_stays_what_it_is() {
        assert_eq!(verbatim("a {{ .Value }}"), "a {{ \"{{\" }} .Value }}");
        assert_eq!(quoted("a\"\\{}"), "\"a\\\"\\\\{}\"");
        let times = [0, 90_000, 120_000, 1500, 3_600_000].map(|ms| duration(Duration::from_millis(ms)));
        assert_eq!(times, ["0s", "90s", "2m", "1500ms", "60m"]);
        for text in [
            "yes",
            "1e3",
            "0x1f",
            "- a",
            "a: b #c",
            "",
            " a ",
            "\u{7f}\u{85}\u{1b}",
            "é\t\"'\\",
            "~",
            "{{ x }}",
        ] {
            let written = serde_saphyr::to_string(&BTreeMap::from([("k", text)])).expect("written");
            let read: BTreeMap<String, serde_json::Value> = serde_saphyr::from_str(&written).expect("read");
            assert_eq!(read["k"], text, "{written}");
        }
    }

    /// What a rule file asks and whom it tells, without the texts; of one alert with them.
    #[test]
    fn the_rules_upon_linger() {
        let args = crate::cli::PrometheusArgs { config: None, job: "linger".to_owned() };
        let text = prometheus::file(&args).expect("written");
        let mut full = false;
        let mut shown = String::new();
        for line in text.lines() {
            if line.starts_with("  - ") {
                full = line.ends_with("LingerCloseWaitLeak");
            }
            let text = line.starts_with("        ") || line.ends_with("|-") || line.contains(" summary: ");
            if full || !(text || line.ends_with("annotations:")) {
                shown.extend([line, "\n"]);
            }
        }
        insta::assert_snapshot!("rules-prometheus", shown);
    }

    #[test]
    fn what_the_dashboard_asks() {
        let board: serde_json::Value =
            serde_json::from_str(&grafana::dashboard().expect("written")).expect("JSON");
        let mut shown = String::new();
        for panel in board["panels"].as_array().expect("panels") {
            let title = panel["title"].as_str().expect("a title");
            shown.extend([if panel["type"] == "row" { "\n# " } else { "" }, title, "\n"]);
            for target in panel["targets"].as_array().into_iter().flatten() {
                shown.extend(["    ", target["expr"].as_str().expect("an expression"), "\n"]);
            }
        }
        insta::assert_snapshot!("rules-grafana", shown);
    }
}
