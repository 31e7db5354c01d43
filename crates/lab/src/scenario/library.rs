//! The scenarios that come with linger.

use super::Scenario;
use super::read::{Adjust, from_text, twins};
use crate::Error;

/// A scenario of the library.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The incident's name, which is its file's.
    name: &'static str,
    /// The file.
    text: &'static str,
}

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        &[$(Entry { name: $name, text: include_str!(concat!("../../scenarios/", $name, ".toml")) }),*]
    };
}

/// In the order in which one learns from them.
const LIBRARY: &[Entry] = scenarios![
    "short-connections",
    "server-closes-first",
    "bucket-overflow",
    "stripped-timestamps",
    "gateway",
    "held-backends",
    "close-wait-leak",
    "syn-flood",
    "request-queue-full",
    "slow-accept",
    "silent-peer",
    "vanished-peer",
    "descriptor-exhaustion",
    "deaf-receiver",
    "restart",
    "unanswered",
    "syn-limit-global",
    "conntrack-full",
    "memory-pressure",
    "orphans",
];

/// The file of a scenario of the library, which is also that of its twins.
pub fn source(name: &str) -> Option<&'static str> {
    LIBRARY.iter().find(|entry| entry.name == name).map(|entry| entry.text)
}

/// Every incident of the library, each followed by its twins.
///
/// # Errors
/// Never for what is shipped (a test reads every file); else what is wrong in a file.
pub fn library() -> Result<Vec<Scenario>, Error> {
    let mut all = Vec::new();
    for entry in LIBRARY {
        let adjust = Adjust::default();
        all.push(from_text(entry.name, entry.text, None, &adjust)?);
        for twin in twins(entry.name, entry.text)? {
            all.push(from_text(entry.name, entry.text, Some(&twin), &adjust)?);
        }
    }
    Ok(all)
}

/// A scenario or twin of the library by its name, adjusted.
///
/// # Errors
/// When a parameter is unknown or does not fit.
pub fn find(name: &str, adjust: &Adjust) -> Result<Option<Scenario>, Error> {
    for entry in LIBRARY {
        if entry.name == name {
            return from_text(entry.name, entry.text, None, adjust).map(Some);
        }
        let Some(twin) = name.strip_prefix(entry.name).and_then(|rest| rest.strip_prefix('-')) else {
            continue;
        };
        if twins(entry.name, entry.text)?.iter().any(|it| it == twin) {
            return from_text(entry.name, entry.text, Some(twin), adjust).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_is_a_scenario_and_has_a_twin() {
        let all = library().unwrap();
        let names: BTreeSet<&str> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for entry in LIBRARY {
            assert!(
                all.iter().any(|it| it.twin_of.as_deref() == Some(entry.name)),
                "{} has no twin",
                entry.name
            );
        }
        for scenario in &all {
            let Scenario { name, title, what, look, source, .. } = scenario;
            assert!(
                !title.is_empty() && !what.is_empty() && !look.is_empty() && !source.is_empty(),
                "{name}"
            );
            assert!(
                scenario.params.iter().any(|(key, _)| key == "seconds"),
                "{name}: --duration sets `seconds`"
            );
            assert_eq!(find(name, &Adjust::default()).unwrap().unwrap().name, *name);
            if scenario.twin_of.is_some() {
                let none = scenario.expect.findings.values().all(Vec::is_empty);
                assert!(none, "{name}: a twin is healthy");
            }
        }
    }

    #[test]
    fn what_is_expected_follows_the_number_of_connections() {
        let with = |name: &str, connections: &str| {
            let params = vec![("connections".to_owned(), connections.to_owned())];
            find(name, &Adjust { params, ..Adjust::default() }).unwrap().unwrap()
        };
        for name in ["close-wait-leak", "silent-peer", "silent-peer-orphaned", "unanswered", "vanished-peer"]
        {
            let scenario = with(name, "37");
            let conditions = scenario.phases.iter().flat_map(|it| &it.until).chain(&scenario.expect.measured);
            assert!(conditions.clone().any(|it| it.number == 37.0), "{name}");
            assert!(conditions.clone().all(|it| it.number <= 37.0), "{name}");
        }
    }

    #[test]
    fn every_file_of_the_folder_is_in_the_library() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(files, LIBRARY.iter().map(|it| it.name.to_owned()).collect());
    }
}
