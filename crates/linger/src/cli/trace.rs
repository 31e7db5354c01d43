//! `linger trace`: what can be asked of it.

use super::{Format, NetnsArgs, interval};
use clap::{Args, ValueEnum};
use std::time::Duration;

/// `linger trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// For how long; Ctrl-C ends it earlier, with the summary.
    #[arg(long, default_value = "10s", value_parser = interval, value_name = "TIME")]
    pub duration: Duration,
    /// What to sum up by.
    #[arg(long, value_enum, default_value_t = TraceBy::Process, value_name = "WHAT")]
    pub by: TraceBy,
    /// How many rows of each table to show, the busiest first; the rest is summed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub top: u32,
    /// How many TIME_WAIT sockets' owners the kernel may remember at a time, in a table that is there from the start;
    /// enough for 10,000 a second if not given.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1024..=16_777_216), value_name = "N")]
    pub owners: Option<u32>,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// What a trace is summed up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TraceBy {
    /// Process, and where it connects to or listens.
    Process,
    /// Container, systemd unit or cgroup, and where it connects to or listens.
    Container,
    /// Peer address, and the port connected to or listened on.
    Peer,
    /// Address and port listened on.
    Listener,
}

impl TraceBy {
    /// The option's word.
    pub fn name(self) -> &'static str {
        match self {
            TraceBy::Process => "process",
            TraceBy::Container => "container",
            TraceBy::Peer => "peer",
            TraceBy::Listener => "listener",
        }
    }
}

pub(super) const TRACE_EXAMPLES: &str = "\
Examples:
  linger trace                                  who makes the TIME_WAIT sockets here
  linger trace --duration 1m --netns all        of every container
  linger trace --by container --format json | jq '.rows[0]'
  linger trace --by peer                        which peers reset, refuse or close first

The kernel counts by itself (eBPF): nothing is sent for a connection, and
nothing of it is left when the command ends. TIME_WAIT sockets that were there
before are shown as such; nobody knows whose they were.

It needs root, or CAP_BPF and CAP_PERFMON, and Linux 5.12 with BTF. Exit
status: 0, or 3 where that is missing; the message says what.";
