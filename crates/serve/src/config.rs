//! What the configuration file says of the service: its tables under `[serve]`.

use crate::{alerts, history, otlp};
use serde::Deserialize;

/// `[serve]`; what is left out has its default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// Who is told what is wrong.
    pub alerts: alerts::Config,
    /// Where metrics are sent.
    pub otlp: otlp::Config,
    /// What is kept of the past, and where.
    pub history: history::Config,
}

impl ServeConfig {
    /// What could not be said while it was read.
    ///
    /// # Errors
    /// A sentence for a person.
    pub fn check(&self) -> Result<(), String> {
        self.alerts.check()?;
        self.otlp.check()
    }
}
