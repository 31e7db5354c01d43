//! The configuration file: thresholds by rule code. Unknown keys are refused, with the nearest right spelling.

use crate::nearest::{hint, nearest};
use crate::render::clean;
use anyhow::{Context, anyhow, bail};
use linger_rules::{Config, RULES, UnknownSetting};
use linger_serve::config::ServeConfig;
use rustix::fs::OFlags;
use serde::Deserialize;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The longest configuration that is read.
const MOST_BYTES: u64 = 1 << 20;

/// All that a configuration file says.
#[derive(Debug, Default)]
pub struct File {
    /// Of the rules.
    pub thresholds: Config,
    /// Of `linger serve`.
    pub serve: ServeConfig,
}

/// The part under `[serve]`.
#[derive(Deserialize)]
struct Served {
    #[serde(default)]
    serve: ServeConfig,
}

/// Reads the thresholds of a configuration file, all of which must be right.
pub fn read(path: &Path) -> anyhow::Result<Config> {
    Ok(read_all(path)?.thresholds)
}

/// Reads a configuration file.
pub fn read_all(path: &Path) -> anyhow::Result<File> {
    let name = clean(&path.display().to_string());
    let text = text(path).with_context(|| format!("cannot read {name}"))?;
    parse(&text).context(name)
}

/// A regular file's text: a device never ends, and a pipe may never begin.
pub fn text(path: &Path) -> anyhow::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        bail!("it is no regular file");
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        bail!("it has more than {} KiB, which is no configuration", MOST_BYTES >> 10);
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8").into())
}

/// Words of the file in a message: nothing that a terminal would obey, and not too much of it.
pub fn brief(text: &str) -> String {
    const MOST_CHARS: usize = 120;
    let mut brief: String = clean(text).chars().take(MOST_CHARS).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        brief.push('…');
    }
    brief
}

/// Line and column of a place in the text, from 1.
pub fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

fn parse(text: &str) -> anyhow::Result<File> {
    let said = |error: &toml::de::Error| {
        let (line, column) = place(text, error.span().map_or(0, |span| span.start));
        format!("line {line}, column {column}: {}", brief(error.message()))
    };
    let mut table: toml::Table = text.parse().map_err(|error| anyhow!("not TOML: {}", said(&error)))?;
    // Read from the text, because a table has forgotten the lines.
    let served: Served = toml::from_str(text).map_err(|error| anyhow!(said(&error)))?;
    table.remove("serve");
    let at = |code: &str, key: Option<&str>| {
        let line = key.map_or_else(|| line_of(text, code), |key| line_in_section(text, code, key));
        format!("line {line}: ")
    };
    Ok(File { thresholds: thresholds(&table, &at)?, serve: served.serve })
}

/// Thresholds of a table that is part of another file.
pub fn of_table(table: &toml::Table) -> anyhow::Result<Config> {
    thresholds(table, &|_, _| String::new())
}

/// Thresholds by rule code; `at` says where a section, or a key of it, is.
fn thresholds(table: &toml::Table, at: &dyn Fn(&str, Option<&str>) -> String) -> anyhow::Result<Config> {
    let mut config = Config::default();
    for (code, section) in table {
        let line = at(code, None);
        let Some(section) = section.as_table() else {
            let code = brief(code);
            bail!("{line}{code} must be a section, [{code}], with thresholds under it")
        };
        if !RULES.iter().any(|r| r.code.eq_ignore_ascii_case(code)) {
            bail!("{line}{}{}", UnknownSetting::Rule(brief(code)), section_hint(code));
        }
        for (key, value) in section {
            let line = at(code, Some(key));
            let number = value.as_float().or_else(|| value.as_integer().map(|i| i as f64));
            let Some(number) = number else {
                let setting = brief(&format!("{code}.{key} = {value}"));
                bail!("{line}{setting}: a threshold is a number, 0 or more")
            };
            config.set(code, key, number).map_err(|error| {
                let near = match &error {
                    UnknownSetting::Rule(code) => section_hint(code),
                    UnknownSetting::Threshold(_, key, known) => hint(key, known.iter().copied()),
                    UnknownSetting::Value(..) => String::new(),
                };
                anyhow!("{line}{}{near}", brief(&error.to_string()))
            })?;
        }
    }
    Ok(config)
}

/// The section that was meant: sections have the rules' codes, and a rule's name tells its code.
fn section_hint(written: &str) -> String {
    let near = hint(written, RULES.iter().map(|r| r.code));
    let name = nearest(written, RULES.iter().map(|r| r.name));
    match RULES.iter().find(|r| Some(r.name) == name) {
        Some(rule) if near.is_empty() || written.contains('-') => format!("; did you mean [{}]?", rule.code),
        _ => near,
    }
}

fn line_of(text: &str, section: &str) -> usize {
    let head =
        text.lines().position(|l| l.trim_start().trim_start_matches('[').trim_start().starts_with(section));
    head.map_or(1, |at| at + 1)
}

fn line_in_section(text: &str, section: &str, key: &str) -> usize {
    let start = line_of(text, section);
    let found = text.lines().skip(start - 1).position(|l| {
        l.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    });
    found.map_or(start, |at| start + at)
}

/// What `linger serve` does with what it sees, each with its default.
const SERVE: &str = r#"
# What `linger serve` does besides; docs/serve.md describes it.
[serve.history]
enabled = true
folder = "/var/lib/linger/history"
# What its files may take together; beyond, the oldest goes first.
max_size_mib = 512

[serve.alerts]
# How long a finding has to hold, and to be gone. Nobody is told without a [[serve.alerts.alertmanager]] or
# [[serve.alerts.webhook]], each with its url.
for = { critical = "1m", warning = "5m", info = "15m" }
resolve_after = "5m"
resend = "1m"
# Where what is on is kept for a later run.
state = "/var/lib/linger/alerts/alerts.json"

[serve.otlp]
# url = "http://127.0.0.1:4318/v1/metrics"
interval = "1m"
gzip = false
"#;

/// Every threshold with its default, as a file that `--config` takes.
pub fn defaults() -> String {
    let mut out = String::from(
        "# linger's configuration: thresholds of its rules, and what `linger serve` does, each with its default. What is left out\n\
         # keeps its default.\n\
         # `linger explain CODE` has a rule's manual.\n",
    );
    for rule in RULES.iter().filter(|r| !r.thresholds.is_empty()) {
        let _ = write!(out, "\n# {}\n[{}]\n", rule.name, rule.code);
        for threshold in rule.thresholds {
            let unit =
                if threshold.unit.is_empty() { String::new() } else { format!(" ({})", threshold.unit) };
            let _ =
                writeln!(out, "# {}{unit}\n{} = {}", threshold.doc, threshold.key, number(threshold.default));
        }
    }
    out + SERVE
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_configuration_that_changes_nothing() {
        let File { thresholds: config, serve } = parse(&defaults()).expect("the defaults load");
        assert_eq!(serve, ServeConfig::default());
        for rule in RULES {
            for threshold in rule.thresholds {
                assert_eq!(
                    config.get(rule.code, threshold),
                    threshold.default,
                    "{}.{}",
                    rule.code,
                    threshold.key
                );
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_the_right_spelling() {
        let says = |text: &str| format!("{:#}", parse(text).expect_err("refused"));
        assert!(
            says("\n[TW02]\nx = 1\n").contains("line 2") && says("[TW02]\n").contains("did you mean TW002?")
        );
        let wrong_key = says("[TW002]\nmin_overflow_per_second = 1\n");
        assert!(
            wrong_key.contains("line 2") && wrong_key.contains("did you mean min_overflows_per_second?"),
            "{wrong_key}"
        );
        assert!(says("[TW002]\nmin_overflows_per_second = \"x\"\n").contains("a threshold is a number"));
        assert!(says("[TW002]\nmin_overflows_per_second = -1\n").contains("0 or more"));
        assert!(says("TW002 = 3\n").contains("must be a section"));
        assert!(says("[[[").contains("not TOML"));
        assert!(says("[close-wait-leak]\nx = 1\n").contains("did you mean [CW001]?"));
        assert!(says("[close-wait-lek]\n").contains("did you mean [CW001]?"));
        assert!(says("[TW001]\nb\u{fc} = \n").contains("line 2, column "));
        let long = "x".repeat(1 << 19);
        for text in [
            format!("[\"{long}\"]"),
            format!("\"\\u001b{long}\" = 1"),
            format!("[TW001]\n{long} = 1"),
            format!("[TW001]\na = \"{long}\""),
            long.clone(),
        ] {
            let said = says(&text);
            assert!(said.len() < 500 && !said.contains(['\n', '\u{1b}']), "{said}");
        }
    }
}
