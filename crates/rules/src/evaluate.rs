//! Runs the rules over a window.

use crate::{Config, Context, Outcome, RULES, Rule, Scope};
use linger_model::Window;

/// Which rules to run.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only these codes; all when empty.
    pub only: Vec<&'static str>,
    /// Not these.
    pub without: Vec<&'static str>,
    /// Whether to leave out rules that speak of the whole host (another namespace's report has them).
    pub skip_host: bool,
}

impl Selection {
    /// Whether a rule is to run.
    pub fn wants(&self, rule: &Rule) -> bool {
        (self.only.is_empty() || self.only.contains(&rule.code))
            && !self.without.contains(&rule.code)
            && !(self.skip_host && rule.scope == Scope::Host)
    }
}

/// Runs every selected rule, in the order of [`RULES`].
pub fn evaluate(window: &Window, config: &Config, selection: &Selection) -> Vec<(&'static Rule, Outcome)> {
    RULES
        .iter()
        .copied()
        .filter(|rule| selection.wants(rule))
        .map(|rule| (rule, (rule.check)(&Context { rule, window, config })))
        .collect()
}
