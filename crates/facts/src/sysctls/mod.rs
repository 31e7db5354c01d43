//! The sysctls, by theme.

mod conntrack;
mod device;
mod memory;
mod opening;
mod protocol;
mod time_wait_and_ports;
mod timers;

use crate::Sysctl;

/// The tables, each sorted by key.
pub(crate) static TABLES: [&[Sysctl]; 7] = [
    time_wait_and_ports::TABLE,
    opening::TABLE,
    timers::TABLE,
    memory::TABLE,
    protocol::TABLE,
    device::TABLE,
    conntrack::TABLE,
];
