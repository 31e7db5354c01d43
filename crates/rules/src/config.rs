//! The thresholds that a user set. Absolute thresholds live here and nowhere else.

use crate::{RULES, Threshold};
use linger_model::State;
use std::collections::BTreeMap;
use std::fmt;

/// Thresholds by rule code and key; what is not set has its default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    set: BTreeMap<(&'static str, &'static str), f64>,
}

/// A rule or a threshold that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnknownSetting {
    /// No rule has this code.
    Rule(String),
    /// The rule has no such threshold; it has these.
    Threshold(&'static str, String, Vec<&'static str>),
    /// A threshold has to be a number, 0 or more.
    Value(&'static str, &'static str, String),
}

impl fmt::Display for UnknownSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UnknownSetting::Rule(code) => write!(f, "no rule has the code {code:?}"),
            UnknownSetting::Threshold(code, key, known) if known.is_empty() => {
                write!(f, "{code} has no thresholds, so no {key:?} either")
            }
            UnknownSetting::Threshold(code, key, known) => {
                write!(f, "{code} has no threshold {key:?}; it has {}", known.join(", "))
            }
            UnknownSetting::Value(code, key, value) => {
                write!(f, "{code}.{key} = {value}: a threshold is a number, 0 or more")
            }
        }
    }
}

impl std::error::Error for UnknownSetting {}

impl Config {
    /// Sets a threshold by the rule's code (any case) and the threshold's key.
    pub fn set(&mut self, code: &str, key: &str, value: f64) -> Result<(), UnknownSetting> {
        let rule = RULES.iter().find(|r| r.code.eq_ignore_ascii_case(code));
        let rule = rule.ok_or_else(|| UnknownSetting::Rule(code.to_owned()))?;
        let threshold = rule.thresholds.iter().find(|t| t.key == key).ok_or_else(|| {
            UnknownSetting::Threshold(
                rule.code,
                key.to_owned(),
                rule.thresholds.iter().map(|t| t.key).collect(),
            )
        })?;
        if !value.is_finite() || value < 0.0 {
            return Err(UnknownSetting::Value(rule.code, threshold.key, value.to_string()));
        }
        self.set.insert((rule.code, threshold.key), value);
        Ok(())
    }

    /// A threshold's value by the rule's code and the threshold's key; `None` where there is no such threshold.
    pub fn value(&self, code: &str, key: &str) -> Option<f64> {
        let rule = RULES.iter().find(|r| r.code == code)?;
        let threshold = rule.thresholds.iter().find(|t| t.key == key)?;
        Some(self.get(rule.code, threshold))
    }

    /// Below how many sockets of a state a host is normal; `None` where that depends on the load.
    pub fn normal_below(&self, state: State) -> Option<u64> {
        let (code, key) = match state {
            State::TimeWait => ("TW005", "many_sockets"),
            State::CloseWait => ("CW001", "warning_sockets"),
            State::FinWait2 => ("FW001", "normal_sockets"),
            State::SynRecv => ("SR001", "normal_half_open"),
            _ => return None,
        };
        self.value(code, key).map(|n| n as u64)
    }

    /// From when an established connection counts as idle, seconds.
    pub fn idle_seconds(&self) -> f64 {
        self.value("KA001", "idle_seconds").unwrap_or(7200.0)
    }

    /// From when a connection whose peer's window is closed counts as stuck, milliseconds since it sent data.
    pub fn stuck_ms(&self) -> f64 {
        self.value("ZW001", "stuck_ms").unwrap_or(5000.0)
    }

    /// A threshold's value: the user's, or the default.
    pub fn get(&self, code: &'static str, threshold: &'static Threshold) -> f64 {
        self.set.get(&(code, threshold.key)).copied().unwrap_or(threshold.default)
    }
}
