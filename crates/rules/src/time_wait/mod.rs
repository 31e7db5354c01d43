//! TIME_WAIT: its ports, its limit, who makes it.

/// TW007.
pub mod address_in_use_on_restart;
/// TW001, and what it says of ports to other rules.
pub mod ephemeral_port_exhaustion;
/// TW003.
pub mod short_connection_churn;
/// TW002.
pub mod time_wait_bucket_overflow;
/// TW005.
pub mod time_wait_high;
/// TW006.
pub mod time_wait_recycle_enabled;
/// TW004.
pub mod time_wait_reuse_ineffective;
