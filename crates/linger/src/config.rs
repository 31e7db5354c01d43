//! The configuration file: thresholds by rule code. Unknown keys are refused, with the nearest right spelling.

use crate::nearest::hint;
use anyhow::{Context, bail};
use linger_rules::{Config, RULES, UnknownSetting};
use std::fmt::Write;
use std::path::Path;

/// Reads a configuration file.
pub fn read(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Config> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => bail!("not TOML: {}", error.to_string().trim_end()),
    };
    let mut config = Config::default();
    for (code, section) in &table {
        let line = line_of(text, code);
        let Some(section) = section.as_table() else {
            bail!("line {line}: {code} must be a section, [{code}], with thresholds under it")
        };
        if !RULES.iter().any(|r| r.code.eq_ignore_ascii_case(code)) {
            let near = hint(code, RULES.iter().map(|r| r.code));
            bail!("line {line}: {}{near}", UnknownSetting::Rule(code.clone()));
        }
        for (key, value) in section {
            let line = line_in_section(text, code, key);
            let number = value.as_float().or_else(|| value.as_integer().map(|i| i as f64));
            let Some(number) = number else {
                bail!("line {line}: {code}.{key} = {value}: a threshold is a number, 0 or more")
            };
            config.set(code, key, number).map_err(|error| {
                let near = match &error {
                    UnknownSetting::Rule(code) => hint(code, RULES.iter().map(|r| r.code)),
                    UnknownSetting::Threshold(_, key, known) => hint(key, known.iter().copied()),
                    UnknownSetting::Value(..) => String::new(),
                };
                anyhow::anyhow!("line {line}: {error}{near}")
            })?;
        }
    }
    Ok(config)
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

/// Every threshold with its default, as a file that `--config` takes.
pub fn defaults() -> String {
    let mut out = String::from(
        "# Thresholds of linger's rules, each with its default. What is left out keeps its default.\n\
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
    out
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_configuration_that_changes_nothing() {
        let config = parse(&defaults()).expect("the defaults load");
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
    }
}
