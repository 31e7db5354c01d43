//! What the owner of a host wants of it, whatever is found: its role, values, and settings that nobody is to touch.
//!
//! A profile is no finding: what it wants goes through the same planner, and is not offered where it would do nothing.

use linger_facts::{Tunable, tunable};

use crate::plan::{MOST_CHANGES, brief};
use linger_facts::Role;

/// The longest reason, characters.
const MOST_WHY: usize = 300;

/// What is wanted of a host; nothing by default.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// What it is.
    pub role: Option<Role>,
    wanted: Vec<Wanted>,
    never: Vec<(&'static Tunable, String)>,
}

/// A value that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub key: &'static Tunable,
    /// As the kernel shows it.
    pub value: String,
    pub why: String,
}

impl Profile {
    /// Of a host of this role, and nothing else.
    #[must_use]
    pub fn of(role: Option<Role>) -> Profile {
        Profile { role, ..Profile::default() }
    }

    /// Wants a value.
    ///
    /// # Errors
    /// A sentence: for a setting that linger doesn't change, a value that is not in its range, a second word on it.
    pub fn want(&mut self, key: &str, value: &str, why: &str) -> Result<(), String> {
        let key = self.fresh(key, why)?;
        let value = key
            .accepts
            .normal(value)
            .map_err(|expected| format!("{}: {} is not {expected}", key.key, brief(value)))?;
        self.wanted.push(Wanted { key, value, why: why.to_owned() });
        Ok(())
    }

    /// Wants that a setting is left as it is.
    ///
    /// # Errors
    /// As [`Profile::want`].
    pub fn leave(&mut self, key: &str, why: &str) -> Result<(), String> {
        let key = self.fresh(key, why)?;
        self.never.push((key, why.to_owned()));
        Ok(())
    }

    /// The setting, if nothing was said of it yet.
    fn fresh(&self, name: &str, why: &str) -> Result<&'static Tunable, String> {
        let key = tunable(name)
            .ok_or_else(|| format!("{} is none of the settings that linger changes", brief(name)))?;
        if self.wanted(key.key).is_some() || self.never(key.key).is_some() {
            return Err(format!("{name} is named twice"));
        }
        if self.wanted.len() + self.never.len() >= MOST_CHANGES {
            return Err(format!("it names more than {MOST_CHANGES} settings"));
        }
        if why.chars().count() > MOST_WHY {
            return Err(format!("{name}: its reason has more than {MOST_WHY} characters"));
        }
        Ok(key)
    }

    pub(crate) fn all_wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    pub(crate) fn wanted(&self, key: &str) -> Option<&Wanted> {
        self.wanted.iter().find(|it| it.key.key == key)
    }

    /// Why a setting is to be left as it is, where it is.
    pub(crate) fn never(&self, key: &str) -> Option<&str> {
        self.never.iter().find(|(it, _)| it.key == key).map(|(_, why)| why.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_only_what_a_plan_may() {
        let mut profile = Profile::default();
        assert_eq!(profile.want("net.ipv4.tcp_fin_timeout", " 30", "so"), Ok(()));
        assert_eq!(profile.leave("net.core.somaxconn", ""), Ok(()));
        let mut says = |key: &str, value: &str| profile.want(key, value, "").unwrap_err();
        assert!(
            says("kernel.core_pattern", "|sh").starts_with("\"kernel.core_pattern\" is none of the settings")
        );
        assert!(says("\u{1b}[31m", "1").starts_with("\"\\u{1b}[31m\" is none"));
        assert_eq!(
            says("net.ipv4.tcp_tw_reuse", "7"),
            "net.ipv4.tcp_tw_reuse: \"7\" is not an integer from 0 to 2"
        );
        assert_eq!(says("net.ipv4.tcp_fin_timeout", "20"), "net.ipv4.tcp_fin_timeout is named twice");
        assert_eq!(says("net.core.somaxconn", "8192"), "net.core.somaxconn is named twice");
        assert!(profile.want("net.ipv4.tcp_tw_reuse", "1", &"x".repeat(301)).unwrap_err().contains("300"));
    }
}
