//! `linger trace`: what can be asked of it.

use super::{Format, NetnsArgs, interval};
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

/// `linger trace`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct TraceArgs {
    /// Another trace.
    #[command(subcommand)]
    pub command: Option<TraceCommand>,
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
    /// Trace every namespace until `linger trace stop`, and let check, states, ports and whatever else takes samples know the
    /// owners meanwhile.
    #[arg(long, conflicts_with_all = ["duration", "by", "top", "netns", "format"])]
    pub daemon: bool,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// Other traces.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Which options peers offer and grant: timestamps, window scaling, SACK, MSS
    #[command(
        after_help = "Examples:\n  linger trace handshakes\n  linger trace handshakes --duration 1m --netns pid:4242\n\nMore with --help.",
        after_long_help = HANDSHAKES_EXAMPLES
    )]
    Handshakes(HandshakesArgs),
    /// Why handshakes fail here: accept queue, request queue, cookies, no listener
    #[command(
        after_help = "Examples:\n  linger trace drops\n  linger trace drops --duration 1m --netns all\n\nMore with --help.",
        after_long_help = DROPS_EXAMPLES
    )]
    Drops(DropsArgs),
    /// Whether a trace runs as a daemon
    #[command(after_help = "Exit status: 0 it runs, 1 it does not.")]
    Status(TraceStatusArgs),
    /// End the daemon; nothing of it is left in the kernel
    Stop,
}

/// `linger trace status`
#[derive(Debug, Args)]
pub struct TraceStatusArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger trace drops`
#[derive(Debug, Args)]
pub struct DropsArgs {
    /// For how long; Ctrl-C ends it earlier, with the summary.
    #[arg(long, default_value = "10s", value_parser = interval, value_name = "TIME")]
    pub duration: Duration,
    /// How many ports without a listener to show, those with most packets first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub top: u32,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger trace handshakes`
#[derive(Debug, Args)]
pub struct HandshakesArgs {
    /// For how long; Ctrl-C ends it earlier, with the summary.
    #[arg(long, default_value = "10s", value_parser = interval, value_name = "TIME")]
    pub duration: Duration,
    /// How many peers to show, those with most connections first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub top: u32,
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
  linger trace handshakes                       which peers grant timestamps, and which do not
  linger trace drops                            which listeners drop handshakes, and why

  linger trace --daemon &                       owners at once in check, states and ports
  linger states --by process --state time-wait
  linger trace stop

The kernel counts by itself (eBPF): nothing is sent for a connection, and
nothing of it is left when the command ends. TIME_WAIT sockets that were there
before are shown as such; nobody knows whose they were.

It needs root, or CAP_BPF and CAP_PERFMON, and Linux 5.12 with BTF. Exit
status: 0, or 3 where that is missing; the message says what.";

const HANDSHAKES_EXAMPLES: &str = "\
Examples:
  linger trace handshakes                       this namespace, for 10 s
  linger trace handshakes --netns pid:4242      that of a container's process
  linger trace handshakes --format json | jq '.comparisons'

Without timestamps on both sides connect() never takes a port in TIME_WAIT back
(tcp_tw_reuse has no effect). Two peers side by side tell whose doing it is: if
one grants what was offered and another does not, the setting here is right, and
something on the way to the other, a load balancer say, or that peer itself,
leaves the option out.

New connections are seen on the wire (SYN and SYN-ACK only, picked out by the
kernel), live ones by tcp_info, those in TIME_WAIT by eBPF. What is missing is
said: the wire needs CAP_NET_RAW, TIME_WAIT needs CAP_BPF and CAP_PERFMON.";

const DROPS_EXAMPLES: &str = "\
Examples:
  linger trace drops                            this namespace, for 10 s
  linger trace drops --duration 5m --netns all  of every container
  linger trace drops --format json | jq '.listeners[] | {address, cause, drops}'

What each listener dropped is the kernel's own count; why, follows from what the
namespace counted meanwhile and from how full its queues were, looked at ten
times a second. Ports where nobody listens, and SYNs that a firewall dropped,
are told by the kernel's reasons (tracepoint skb:kfree_skb, eBPF): they need
CAP_BPF and CAP_PERFMON, and Linux 5.17. Without them the rest is shown, and
what is missing is said.";
