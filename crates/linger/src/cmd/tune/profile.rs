//! The profile of a host: a file that its owner writes.

use super::bytes;
use crate::config::{brief, place};
use crate::nearest::hint;
use crate::render::clean;
use anyhow::{Context, bail};
use linger_facts::{Role, tunables};
use linger_tune::Profile;
use serde::Deserialize;
use std::path::Path;
use toml::{Spanned, Value};

/// The longest profile that is read.
const MOST_BYTES: u64 = 64 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    role: Option<Spanned<String>>,
    #[serde(default)]
    wanted: Table,
    #[serde(default)]
    never: Table,
}

/// Settings by key, as they stand in the file.
type Table = std::collections::BTreeMap<String, Spanned<Value>>;

/// Reads a profile.
pub fn read(path: &Path) -> anyhow::Result<Profile> {
    let name = clean(&path.display().to_string());
    let bytes = bytes(path, MOST_BYTES)?;
    let Ok(text) = std::str::from_utf8(&bytes) else { bail!("{name}: it is not UTF-8") };
    parse(text).context(name)
}

fn parse(text: &str) -> anyhow::Result<Profile> {
    let at = |start: usize| {
        let (line, column) = place(text, start);
        format!("line {line}, column {column}")
    };
    let file: File = match toml::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            bail!("{}: {}", at(error.span().map_or(0, |span| span.start)), brief(error.message()))
        }
    };
    let mut profile = Profile::default();
    if let Some(role) = file.role {
        let name = role.get_ref();
        profile.role = Role::named(name);
        if profile.role.is_none() {
            let names = Role::ALL.map(Role::name);
            let near = hint(name, names);
            bail!(
                "{}: {:?} is no role: one of {}{near}",
                at(role.span().start),
                brief(name),
                names.join(", ")
            );
        }
    }
    for (key, value) in in_order(file.wanted) {
        let told = wanted(value.get_ref()).and_then(|(value, why)| profile.want(&key, &value, why));
        told.map_err(|error| anyhow::anyhow!("{}: {error}{}", at(value.span().start), near(&key)))?;
    }
    for (key, value) in in_order(file.never) {
        let told = match value.get_ref() {
            Value::String(why) => profile.leave(&key, why),
            _ => Err(format!("{key} wants a reason, a text")),
        };
        told.map_err(|error| anyhow::anyhow!("{}: {error}{}", at(value.span().start), near(&key)))?;
    }
    Ok(profile)
}

/// The steps come in the order of the file.
fn in_order(table: Table) -> Vec<(String, Spanned<Value>)> {
    let mut all: Vec<_> = table.into_iter().collect();
    all.sort_by_key(|(_, value)| value.span().start);
    all
}

/// A value, and why it is wanted.
fn wanted(value: &Value) -> Result<(String, &str), String> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    let bad = || "a value is a number, a text with the numbers, or { value = …, why = \"…\" }".to_owned();
    let Value::Table(table) = value else { return Ok((plain(value).ok_or_else(bad)?, "")) };
    if let Some(strange) = table.keys().find(|key| !["value", "why"].contains(&key.as_str())) {
        return Err(format!("{:?} is neither value nor why", brief(strange)));
    }
    let why = match table.get("why") {
        None => "",
        Some(Value::String(why)) => why,
        Some(_) => return Err("why is a text".to_owned()),
    };
    Ok((table.get("value").and_then(plain).ok_or_else(bad)?, why))
}

fn near(key: &str) -> String {
    match linger_facts::tunable(key) {
        Some(_) => String::new(),
        None => hint(key, tunables().iter().map(|it| it.key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_example_of_the_help_is_one() {
        let mut command = crate::cli::Cli::command();
        let plan = command.find_subcommand_mut("tune").and_then(|it| it.find_subcommand_mut("plan")).unwrap();
        let help = plan.get_after_long_help().unwrap().to_string();
        let (_, example) = help.split_once("A profile:\n").unwrap();
        let (example, _) = example.split_once("\n\n").unwrap();
        let profile = parse(example).unwrap();
        assert_eq!(profile.role, Some(Role::Gateway));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_the_right_spelling() {
        let says = |text: &str| format!("{:#}", parse(text).unwrap_err());
        for (text, said) in [
            (
                "role = \"gatway\"",
                "line 1, column 8: \"gatway\" is no role: one of gateway, proxy, server, client, mesh-node; did you mean gateway?",
            ),
            (
                "\n[wanted]\n\"net.ipv4.tw_reuse\" = 1",
                "line 3, column 23: \"net.ipv4.tw_reuse\" is none of the settings that linger changes; did you mean net.ipv4.tcp_tw_reuse?",
            ),
            (
                "[wanted]\n\"net.ipv4.tcp_fin_timeout\" = 65",
                "line 2, column 30: net.ipv4.tcp_fin_timeout: \"65\" is not an integer from 5 to 60",
            ),
            (
                "[wanted]\n\"net.ipv4.tcp_fin_timeout\" = true",
                "line 2, column 30: a value is a number, a text with the numbers, or { value = …, why = \"…\" }",
            ),
            (
                "[wanted]\n\"net.core.somaxconn\" = { value = 5000, reason = \"x\" }",
                "line 2, column 24: \"reason\" is neither value nor why",
            ),
            (
                "[never]\n\"net.core.somaxconn\" = 1",
                "line 2, column 24: net.core.somaxconn wants a reason, a text",
            ),
            (
                "[wanted]\n\"net.core.somaxconn\" = 5000\n[never]\n\"net.core.somaxconn\" = \"\"",
                "line 4, column 24: net.core.somaxconn is named twice",
            ),
            (
                "rolle = 1",
                "line 1, column 1: unknown field `rolle`, expected one of `role`, `wanted`, `never`",
            ),
            ("\u{1b}[31m", "line 1, column 2: "),
            ("[wanted]\nnet.core.somaxconn = 5000", "line 2, column 1: "),
        ] {
            let told = says(text);
            assert!(told.starts_with(said), "{text:?}: {told:?}");
            assert!(!told.contains('\u{1b}'), "{told:?}");
        }
    }

    #[test]
    fn any_bytes_are_no_harm() {
        for text in
            ["", "[[wanted]]", "wanted = 1", "[wanted]\n\"\" = \"\"", "[wanted]\n\"a\" = [[[[[[1]]]]]]"]
        {
            let _ = parse(text);
        }
        let deep = format!("a = {}", "[".repeat(60_000));
        assert!(parse(&deep).is_err());
    }
}
