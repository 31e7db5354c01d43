//! What the configuration file says of the service: its tables under `[serve]`.

use serde::Deserialize;

/// `[serve]`; what is left out has its default.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {}
