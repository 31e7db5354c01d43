//! What a step of a plan did when it was tried in the lab.

use linger_model::report::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest note, characters.
const MOST_NOTE: usize = 600;
/// The longest name or value, bytes.
const MOST_NAME: usize = 256;
/// The most codes of findings.
const MOST_CODES: usize = 32;

/// What a rehearsal says of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rehearsed {
    /// In a word.
    pub verdict: Verdict,
    /// In a sentence or two: what was seen, or why nothing was.
    pub note: String,
    /// The figures; absent where it was not rehearsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The finding that calls for it is gone, and hardly a connect failed.
    Cures,
    /// Something moved the right way, beyond the noise.
    Helps,
    /// Nothing moved beyond the noise.
    NoEffect,
    /// Something moved the wrong way, beyond the noise.
    Worse,
    /// It could not be tried.
    NotRehearsed,
}

impl Verdict {
    /// In words that go on: `step 1 had no effect`.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Cures => "cured the fault",
            Verdict::Helps => "helped",
            Verdict::NoEffect => "had no effect",
            Verdict::Worse => "made it worse",
            Verdict::NotRehearsed => "could not be tried",
        }
    }

    /// Whether the step should not be made as it is.
    #[must_use]
    pub fn is_marked(self) -> bool {
        matches!(self, Verdict::NoEffect | Verdict::Worse)
    }
}

/// The figures of two runs of a scenario, without the step and with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The scenario, a name of `linger lab list`.
    pub scenario: String,
    /// Its host that the setting was changed in.
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
    /// The value without the step; other than the plan's where the scenario is scaled down.
    pub from: String,
    /// The value with it.
    pub to: String,
    /// Whether it was measured without the steps before it, because after these there was no fault left.
    pub alone: bool,
    /// The step's own figure; absent where a lab does not show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Moved>,
    /// Connections that clients tried.
    pub tried: Moved,
    /// Those that failed.
    pub failed: Moved,
    /// Within so many ms 99 of 100 connects that succeeded were through; absent where none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_p99_ms: Option<Moved>,
    /// How bad the finding was that calls for the step, without it; absent where it was not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding_before: Option<Severity>,
    /// And with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding_after: Option<Severity>,
    /// Codes of critical findings that are there with the step alone, as `CODE in HOST`.
    #[serde(default)]
    pub new_findings: Vec<String>,
}

/// A figure without the step and with it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// Without.
    pub before: f64,
    /// With.
    pub after: f64,
    /// By how much two runs without any step differed.
    pub noise: f64,
}

impl Rehearsed {
    /// Whether it may stand in a plan: bounded, and of one piece.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.note.chars().count() > MOST_NOTE {
            return Err(format!("the note of its rehearsal has more than {MOST_NOTE} characters"));
        }
        match (&self.measured, self.verdict) {
            (None, Verdict::NotRehearsed) => Ok(()),
            (None, _) => Err("its rehearsal has a verdict and no figures".to_owned()),
            (Some(_), Verdict::NotRehearsed) => Err("its rehearsal has figures of nothing".to_owned()),
            (Some(measured), _) => measured.check(),
        }
    }
}

impl Measured {
    fn check(&self) -> Result<(), String> {
        let names = [&self.scenario, &self.host, &self.kernel, &self.from, &self.to];
        if names.into_iter().chain(&self.new_findings).any(|it| it.len() > MOST_NAME)
            || self.new_findings.len() > MOST_CODES
        {
            return Err(format!("a name or value of its rehearsal has more than {MOST_NAME} bytes"));
        }
        let moved = [Some(self.tried), Some(self.failed), self.metric, self.connect_p99_ms];
        let is_number = |it: f64| it.is_finite() && it >= 0.0;
        if moved.into_iter().flatten().any(|it| ![it.before, it.after, it.noise].into_iter().all(is_number)) {
            return Err("a figure of its rehearsal is below zero or no number".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::plan::tests::{V, change, plan};

    fn measured() -> Measured {
        let moved = Moved { before: 1.0, after: 0.0, noise: 0.0 };
        Measured {
            scenario: "short-connections".into(),
            host: "client".into(),
            kernel: "6.18.0".into(),
            from: "2".into(),
            to: "1".into(),
            alone: false,
            metric: Some(moved),
            tried: moved,
            failed: moved,
            connect_p99_ms: None,
            finding_before: Some(Severity::Critical),
            finding_after: None,
            new_findings: vec![],
        }
    }

    fn read(edit: impl Fn(&mut Rehearsed)) -> Result<Plan, String> {
        let mut one = change("net.ipv4.tcp_tw_reuse", "2", "1");
        let mut rehearsed =
            Rehearsed { verdict: Verdict::Cures, note: "Gone.".into(), measured: Some(measured()) };
        edit(&mut rehearsed);
        one.rehearsed = Some(rehearsed);
        let plan = plan(vec![one]);
        let read = Plan::read(&serde_json::to_vec(&plan).unwrap(), V).map_err(|error| error.to_string())?;
        assert_eq!(read, plan);
        Ok(read)
    }

    #[test]
    fn what_was_measured_comes_back_as_it_was() {
        assert_eq!(read(|_| {}).map(|_| ()), Ok(()));
        let none = |it: &mut Rehearsed| (it.verdict, it.measured) = (Verdict::NotRehearsed, None);
        assert_eq!(read(none).map(|_| ()), Ok(()));
    }

    #[test]
    fn what_no_rehearsal_says_refuses_the_plan() {
        let says = |edit: fn(&mut Rehearsed)| read(edit).unwrap_err();
        assert!(says(|it| it.note = "x".repeat(601)).contains("more than 600 characters"));
        assert!(says(|it| it.measured = None).contains("no figures"));
        assert!(says(|it| it.verdict = Verdict::NotRehearsed).contains("figures of nothing"));
        let figures = |edit: fn(&mut Measured)| read(|it| edit(it.measured.as_mut().unwrap())).unwrap_err();
        assert!(figures(|it| it.host = "x".repeat(257)).contains("256 bytes"));
        assert!(figures(|it| it.new_findings = vec!["x".into(); 33]).contains("256 bytes"));
        assert!(figures(|it| it.failed.after = -1.0).contains("below zero"));
        let mut text = serde_json::to_value(plan(vec![change("net.ipv4.tcp_tw_reuse", "2", "1")])).unwrap();
        text["changes"][0]["rehearsed"] = serde_json::json!({"verdict": "cures", "note": "", "more": 1});
        assert!(Plan::read(text.to_string().as_bytes(), V).unwrap_err().to_string().contains("format"));
    }
}
