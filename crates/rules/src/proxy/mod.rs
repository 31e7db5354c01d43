//! Processes that accept and connect.

/// PX001.
pub mod proxy_port_pressure;
