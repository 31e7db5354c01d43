//! From a name or a file to a scenario that can run.

use crate::config;
use crate::nearest::{hint, nearest};
use crate::render::clean;
use anyhow::{Context, anyhow, bail};
use linger_lab::scenario::{self, Adjust, Scenario, find, from_file, library, plain};
use linger_lab::{ActorSpec, Program};
use linger_rules::{RULES, rule};
use std::path::Path;

/// A program that a scenario needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The program: `nginx`.
    pub program: String,
    /// Debian's package of it.
    pub package: String,
    /// Whether it is installed here.
    pub is_installed: bool,
}

/// Whether a file is meant, not a scenario of the library.
pub fn is_file(name: &str) -> bool {
    name.contains('/') || Path::new(name).extension().is_some_and(|it| it == "toml")
}

/// Reads a scenario, and checks what can be told before it runs.
pub fn load(name: &str, twin: Option<&str>, adjust: &Adjust) -> anyhow::Result<Scenario> {
    let scenario = if is_file(name) {
        from_file(Path::new(name), twin, adjust).map_err(one_line)?
    } else {
        let full = twin.map_or_else(|| name.to_owned(), |twin| format!("{name}-{twin}"));
        match find(&full, adjust).map_err(one_line)? {
            Some(scenario) => scenario,
            None if twin.is_some() && incident(name) == Some(name) => return Err(no_twin(name, &full)),
            None => return Err(unknown(&full)),
        }
    };
    verify(&scenario).with_context(|| format!("scenario {:?}", clean(&scenario.name)))?;
    Ok(scenario)
}

fn no_twin(name: &str, full: &str) -> anyhow::Error {
    let all = library().unwrap_or_default();
    let of = all.iter().filter_map(|it| it.name.strip_prefix(name)?.strip_prefix('-'));
    let twins: Vec<&str> = of.collect();
    anyhow!("no scenario {:?}; the twins and variants of {name} are: {}", clean(full), twins.join(", "))
}

fn unknown(name: &str) -> anyhow::Error {
    let known: Vec<String> = library().unwrap_or_default().into_iter().map(|it| it.name).collect();
    let near = nearest(name, known.iter().map(String::as_str));
    let near = near.map_or_else(
        || "; `linger lab list` lists them, and a file's name ends in .toml or contains a /".to_owned(),
        |near| format!("; did you mean {near}?"),
    );
    anyhow!("no scenario {:?}{near}", clean(name))
}

/// A library's error as one line without control characters: a file's own words may be in it.
pub fn one_line(error: linger_lab::Error) -> anyhow::Error {
    let text = error.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    anyhow!("{}", clean(&words.join(" ")))
}

/// What the library cannot know: rules and their thresholds.
fn verify(scenario: &Scenario) -> anyhow::Result<()> {
    for phase in &scenario.phases {
        if let Some(check) = &phase.check {
            config::of_table(&check.thresholds)
                .with_context(|| format!("phase {:?}: check", clean(&phase.name)))?;
        }
    }
    for (host, codes) in &scenario.expect.findings {
        for code in codes {
            if rule(code).is_none_or(|rule| rule.code != code) {
                let near = hint(code, RULES.iter().map(|it| it.code));
                bail!("expect.findings.{}: no rule has the code {:?}{near}", clean(host), clean(code));
            }
        }
    }
    Ok(())
}

/// Programs that it needs.
pub fn needs(scenario: &Scenario) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    let mut add = |program: &Program| {
        let name = Path::new(&program.program)
            .file_name()
            .map_or_else(|| program.program.clone(), |name| name.to_string_lossy().into_owned());
        let package = if program.package.is_empty() { name.clone() } else { program.package.clone() };
        if needs.iter().all(|it| it.program != name) {
            needs.push(Need { program: name, package, is_installed: program.find().is_some() });
        }
    };
    if scenario.needs_nft() {
        add(&Program { program: "nft".into(), package: "nftables".into(), ..Program::default() });
    }
    for (_, part) in &scenario.actors {
        if let ActorSpec::Program(program) = &part.spec {
            add(program);
        }
    }
    needs
}

/// The incident of the library that a name is of: its own, or that of which it is a twin or variant.
pub fn incident(name: &str) -> Option<&str> {
    let mut end = name.len();
    loop {
        let prefix = &name[..end];
        if scenario::source(prefix).is_some() {
            return Some(prefix);
        }
        end = prefix.rfind('-')?;
    }
}

/// The incident that a scenario of the library shows in another way; `None` for incidents and twins.
pub fn variant_of(scenario: &Scenario) -> Option<&str> {
    let is_none = scenario.twin_of.is_some() || scenario::source(&scenario.name).is_some();
    if is_none { None } else { incident(&scenario.name) }
}

/// Parameters with their values, as they are written.
pub fn params(scenario: &Scenario) -> Vec<(String, String)> {
    scenario.params.iter().map(|(key, value)| (key.clone(), plain(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files_are_told_apart() {
        assert!(is_file("./x") && is_file("x.toml") && is_file("/x"));
        assert!(!is_file("short-connections"));
    }

    #[test]
    fn every_scenario_of_the_library_loads_and_names_real_rules() {
        for scenario in library().unwrap() {
            let loaded = load(&scenario.name, None, &Adjust::default()).unwrap();
            let incident = incident(&loaded.name).unwrap();
            assert!(loaded.name.starts_with(incident));
            assert_eq!(variant_of(&loaded).is_some() || loaded.twin_of.is_some(), incident != loaded.name);
        }
    }

    #[test]
    fn what_is_unknown_is_hinted_at() {
        let says = |name: &str| load(name, None, &Adjust::default()).unwrap_err().to_string();
        assert!(says("short-conections").contains("did you mean short-connections?"));
        assert!(says("zzz").contains("linger lab list"));
        assert!(says("/nowhere.toml").contains("No such file"));
    }
}
