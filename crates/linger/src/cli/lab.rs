//! `linger lab`

use super::{Format, interval};
use clap::{Args, Subcommand};
use std::time::Duration;

/// `linger lab`
#[derive(Debug, Args)]
pub struct LabArgs {
    /// What to do in the lab.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// What can be done in the lab.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// List the incidents, with their healthy twins and their variants
    #[command(
        after_help = "Examples:\n  linger lab list\n  linger lab list --format json | jq -r '.[] | select(.twin_of == null).name'\n\nMore with --help.",
        after_long_help = LIST_EXAMPLES
    )]
    List(ListArgs),
    /// Show an incident: hosts, links, actors, phases, and what is to be expected
    #[command(
        after_help = "Examples:\n  linger lab show short-connections\n  linger lab show short-connections --source > mine.toml\n\nMore with --help.",
        after_long_help = SHOW_EXAMPLES
    )]
    Show(ShowArgs),
    /// Run incidents in network namespaces that vanish, and compare them with what was expected
    #[command(
        after_help = "Examples:\n  linger lab run short-connections\n  linger lab run short-connections --set client:tcp_tw_reuse=1\n\nExit status: 0 as expected, 1 not, 3 could not run. More with --help.",
        after_long_help = RUN_EXAMPLES
    )]
    Run(RunArgs),
    /// Run the same load twice with different settings, and say what difference they made
    #[command(
        after_help = "Examples:\n  linger lab compare short-connections --a '' --b tcp_tw_reuse=1\n  linger lab compare short-connections --a rate=200 --b rate=2000\n\nExit status: 0 if a side showed what was expected, 1 if none, 3 could not run. More with --help.",
        after_long_help = COMPARE_EXAMPLES
    )]
    Compare(CompareArgs),
    /// Measure common beliefs about TCP connection states on this kernel: claim, measured, verdict
    #[command(
        after_help = "Examples:\n  linger lab myths\n  linger lab myths -v fin-timeout-shortens-time-wait\n\nExit status: 0 all were measured, 3 some could not. More with --help.",
        after_long_help = MYTHS_EXAMPLES
    )]
    Myths(MythsArgs),
}

/// What `linger lab --help` ends with.
pub(super) const LAB_EXAMPLES: &str = "\
Examples:
  linger lab list                                      what there is
  linger lab show short-connections                    hosts, actors, and what to expect
  linger lab run short-connections                     see what the incident looks like
  linger lab run short-connections-pool                its healthy twin
  linger lab compare short-connections --a '' --b tcp_tw_reuse=1
                                                       what a setting does on this kernel
  linger lab myths                                     common beliefs, measured

Everything happens in network namespaces of its own, which vanish with the
command; nothing of this host is changed.";

const LIST_EXAMPLES: &str = "\
Examples:
  linger lab list
  linger lab list --format json | jq -r '.[] | select(.twin_of == null).name'

A twin is the same incident with a few things changed, so that the fault does
not occur: nothing is found there. A variant shows the fault in another way.";

const SHOW_EXAMPLES: &str = "\
Examples:
  linger lab show short-connections
  linger lab show short-connections-pool            one of its twins
  linger lab show short-connections --format json
  linger lab show short-connections --source > mine.toml
  linger lab show ./mine.toml                       checks a file of your own, too

A name that ends in .toml or contains a / is a file.";

const RUN_EXAMPLES: &str = "\
Examples:
  linger lab run short-connections
  linger lab run short-connections short-connections-pool
  linger lab run short-connections --set client:tcp_tw_reuse=1
  linger lab run short-connections --param rate=200 --duration 20s
  linger lab run short-connections --format json | jq '.hosts[].findings'
  linger lab run ./mine.toml --twin pool
  linger lab run --all

A file of your own may run programs with your rights: read one from elsewhere
before you run it.

Hosts are unnamed network namespaces joined by veth, without a route to anywhere
else; they vanish with this command, however it ends. No setting of this host is
touched. It needs root, or a kernel on which users may make user namespaces.

What a scenario may use is bounded: no more than a tenth of anything that is
shared with this host (memory, open files, the table of established
connections), and nothing at all while this host is busy.

Several scenarios: those that mostly wait run side by side, the others one at a
time; only what was not expected is printed in full (-v prints all).

Exit status: 0 what was expected was seen, 1 it was not, 3 it could not run;
usage errors are 3 too.";

const COMPARE_EXAMPLES: &str = "\
Examples:
  linger lab compare short-connections --a '' --b tcp_tw_reuse=1
  linger lab compare short-connections --a rate=200 --b rate=2000
  linger lab compare short-connections --a '' --b 'client:tcp_tw_reuse=1 ports=40000 49999'
  linger lab compare ./mine.toml --a 'net.ipv4.tcp_rmem=4096 131072 6291456' --b ''

Settings are separated by spaces or commas: sysctls (for every host, or
HOST:sysctl) and the scenario's parameters; a value may have spaces itself. An
empty text leaves everything as it is. --set and --param hold for both sides.

Exit status: 0 if a side at least showed what the scenario expects (the load did
reproduce the incident), 1 if neither did, 3 if it could not run.";

const MYTHS_EXAMPLES: &str = "\
Examples:
  linger lab myths                                  all of them, about a minute
  linger lab myths -v fin-timeout-shortens-time-wait
  linger lab myths --format json | jq -r '.myths[] | [.verdict, .claim] | @tsv'

Each is measured in network namespaces of its own, on the running kernel: WRONG,
RIGHT, PARTLY, or UNSURE where it could not be measured.

Exit status: 0 all were measured, 3 some could not.";

/// `linger lab list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger lab show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// A scenario of `linger lab list`, or a file.
    #[arg(value_name = "NAME|FILE")]
    pub scenario: String,
    /// This twin or variant of it.
    #[arg(long, value_name = "TWIN")]
    pub twin: Option<String>,
    /// Print its file, as a start for one of your own.
    #[arg(long, conflicts_with = "format")]
    pub source: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// What is common to runs.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// This twin or variant of the scenario.
    #[arg(long, value_name = "TWIN")]
    pub twin: Option<String>,
    /// Set a network sysctl in every host of the lab, or in HOST alone; a short name such as tcp_tw_reuse will do.
    #[arg(long, value_name = "[HOST:]SYSCTL=VALUE")]
    pub set: Vec<String>,
    /// Set a parameter of the scenario; `linger lab show` lists them.
    #[arg(long, value_name = "NAME=VALUE")]
    pub param: Vec<String>,
    /// Set the parameter `seconds`, for example 10s: how long the load goes on, or a state is waited for.
    #[arg(long, value_parser = interval, value_name = "TIME", allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// Run although this machine is busy. What a scenario may use of it stays bounded.
    #[arg(long)]
    pub force: bool,
    /// This machine is thrown away afterwards: scenarios may change settings that are the whole machine's.
    #[arg(long)]
    pub in_disposable_vm: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger lab run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenarios of `linger lab list`, or files.
    #[arg(value_name = "NAME|FILE", required_unless_present = "all")]
    pub scenarios: Vec<String>,
    /// Every scenario that comes with linger, twins included.
    #[arg(long, conflicts_with_all = ["scenarios", "twin"])]
    pub all: bool,
    #[command(flatten)]
    pub options: RunOptions,
    /// Also print by how much counters rose, and of several scenarios each one.
    #[arg(short, long)]
    pub verbose: bool,
}

/// `linger lab compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// A scenario of `linger lab list`, or a file.
    #[arg(value_name = "NAME|FILE")]
    pub scenario: String,
    /// Settings of the one side.
    #[arg(long, value_name = "SETTINGS")]
    pub a: String,
    /// Settings of the other.
    #[arg(long, value_name = "SETTINGS")]
    pub b: String,
    #[command(flatten)]
    pub options: RunOptions,
}

/// `linger lab myths`
#[derive(Debug, Args)]
pub struct MythsArgs {
    /// Only these, by name.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// Also why the kernel behaves so, and where the belief is read.
    #[arg(short, long)]
    pub verbose: bool,
}
