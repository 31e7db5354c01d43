//! The counters, by theme.

mod aborts;
mod buffers;
mod files;
mod guards;
mod loss;
mod queues;
mod snmp;
mod time_wait;

use crate::Counter;

/// The tables, each sorted by name. Where a bare name is ambiguous the earlier table wins.
pub(crate) static TABLES: [&[Counter]; 8] = [
    time_wait::TABLE,
    queues::TABLE,
    aborts::TABLE,
    loss::TABLE,
    buffers::TABLE,
    guards::TABLE,
    snmp::TABLE,
    files::TABLE,
];
