//! Runs the rules over a window.

use crate::shown::only_what_is_shown;
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
    let mut outcomes: Vec<(&'static Rule, Outcome)> = RULES
        .iter()
        .copied()
        .filter(|rule| selection.wants(rule))
        .map(|rule| (rule, judge(rule, window, config)))
        .collect();
    for (rule, outcome) in &mut outcomes {
        only_what_is_shown(rule.code, window, outcome);
    }
    leave_out_covered(&mut outcomes);
    outcomes
}

/// One rule's outcome.
pub(crate) fn judge(rule: &'static Rule, window: &Window, config: &Config) -> Outcome {
    let outcome = (rule.check)(&Context { rule, window, config });
    if let Outcome::Fired(findings) = &outcome {
        let worst = findings.iter().map(|it| it.severity).max();
        debug_assert!(
            worst <= Some(rule.worst),
            "{} says that it ends with {:?}: {worst:?}",
            rule.code,
            rule.worst
        );
    }
    outcome
}

/// One fault is told once: by the finding that says most about it.
fn leave_out_covered(outcomes: &mut [(&'static Rule, Outcome)]) {
    let covered: Vec<(&'static str, String, &'static str)> = outcomes
        .iter()
        .filter_map(|(rule, outcome)| match outcome {
            Outcome::Fired(findings) => Some((rule.code, findings)),
            _ => None,
        })
        .flat_map(|(by, findings)| findings.iter().flat_map(move |it| it.covers.iter().map(move |c| (by, c))))
        .map(|(by, (code, subject))| (*code, subject.clone(), by))
        .collect();
    for (rule, outcome) in outcomes {
        let Outcome::Fired(findings) = outcome else { continue };
        let mut teller = None;
        findings.retain(|it| {
            let by = covered.iter().find(|(code, subject, _)| *code == rule.code && *subject == it.subject);
            teller = by.map(|(_, _, by)| *by).or(teller);
            by.is_none()
        });
        if let (true, Some(teller)) = (findings.is_empty(), teller) {
            *outcome = Outcome::NotApplicable(format!("{teller} says it, and who it is"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::*;
    use linger_model::{SocketRecord, State};

    /// nginx, with and without accepted connections, that has no port left towards its backend.
    fn found(accepted: u16, only: &[&'static str]) -> Vec<&'static str> {
        let client =
            |i| SocketRecord::new(State::Established, ip("10.0.0.1"), 443, ip("192.0.2.7"), 20_000 + i);
        let accepted: Vec<_> = (0..accepted).map(client).collect();
        let to_backend = many(28_000, State::Established, "10.0.0.1", 32_768, "10.0.1.5", 8080);
        let now = moment(1.0)
            .process(900, "nginx")
            .socket(listener("0.0.0.0", 443, 0, 4096, 0))
            .sockets(held_by(accepted, 0))
            .sockets(held_by(to_backend, 0));
        let selection = Selection { only: only.to_vec(), ..Selection::default() };
        evaluate(&window([moment(0.0), now]), &Config::default(), &selection)
            .into_iter()
            .filter(|(_, outcome)| matches!(outcome, Outcome::Fired(_)))
            .map(|(rule, _)| rule.code)
            .collect()
    }

    #[test]
    fn a_fault_is_told_once() {
        assert_eq!(found(50, &["TW001", "PX001"]), ["PX001"]);
        // Whoever asks for the one rule gets its answer; a client is no proxy.
        assert_eq!(found(50, &["TW001"]), ["TW001"]);
        assert_eq!(found(0, &["TW001", "PX001"]), ["TW001"]);
    }
}
