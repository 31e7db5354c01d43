//! What can be asked. Parsing does no work.

mod history;
mod lab;
mod lint;
mod mitigate;
mod rules;
mod serve;
mod trace;
mod tune;

pub use history::HistoryArgs;
pub use lab::{CompareArgs, LabArgs, LabCommand, ListArgs, MythsArgs, RunArgs, RunOptions, ShowArgs};
pub use lint::{LintArgs, LintFormat};
pub use mitigate::{
    CloseArgs, Listener, MitigateArgs, MitigateClearArgs, MitigateCommand, PlaceArgs, SynLimitArgs,
};
pub use rules::{PrometheusArgs, RulesArgs, RulesCommand};
pub use serve::ServeArgs;
pub use trace::{DropsArgs, HandshakesArgs, TraceArgs, TraceBy, TraceCommand, TraceStatusArgs};
pub use tune::{
    GuardianArgs, OneNetns, PlanFormat, StateArgs, TuneApplyArgs, TuneArgs, TuneCommand, TuneConfirmArgs,
    TuneHereArgs, TuneLogArgs, TunePlanArgs, TuneRecoverArgs, TuneRehearseArgs, TuneRollbackArgs,
};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use linger_facts::Role;
use std::path::PathBuf;
use std::time::Duration;

/// The TCP connection-state doctor for Linux: reads the kernel, says what is wrong with this host's connections, who
/// causes it, why this kernel behaves so, and what to do.
#[derive(Debug, Parser)]
#[command(
    name = "linger",
    version,
    about = "The TCP connection-state doctor for Linux",
    after_help = "Start with `linger check`. `linger explain TIME_WAIT` explains a state; a sysctl, counter, errno or rule code works too.",
    after_long_help = "Examples:\n  linger check                       what is wrong here, and what to do\n  linger states --by peer --top 5    who has most connections\n  linger ports                       how full the local ports towards each destination are\n  linger listeners                   accept queues, half-open requests and drops of each listener\n  linger explain EADDRNOTAVAIL       which call fails with it, why, and how to tell the causes apart\n\nNothing of this changes the system. Run it as root to see every process's sockets.",
    disable_help_subcommand = true,
    propagate_version = true
)]
pub struct Cli {
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// Takes the hidden commands out of what clap offers for a misspelt one.
pub fn offer_what_is_shown(error: &mut clap::Error) {
    let Some(ContextValue::Strings(offered)) = error.get(ContextKind::SuggestedSubcommand) else { return };
    let cli = Cli::command();
    let commands = || cli.get_subcommands().flat_map(|it| std::iter::once(it).chain(it.get_subcommands()));
    let is_hidden = |name: &&String| commands().any(|it| it.get_name() == name.as_str() && it.is_hide_set());
    let shown: Vec<String> = offered.iter().filter(|name| !is_hidden(name)).cloned().collect();
    if shown.is_empty() {
        error.remove(ContextKind::SuggestedSubcommand);
    } else {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(shown));
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what is wrong with this host's TCP connections, who causes it, why, and what to do
    #[command(after_long_help = CHECK_EXAMPLES, after_help = "Examples:\n  linger check -v\n  linger check --netns all --format json\n\nExit status: 0 OK, 1 warning, 2 critical, 3 could not tell. More with --help.")]
    Check(CheckArgs),
    /// Record what `check` reads, in a file to look at elsewhere
    #[command(after_long_help = RECORD_EXAMPLES, after_help = "Examples:\n  linger record -o incident.linger\n  linger check --from incident.linger\n\nMore with --help.")]
    Record(RecordArgs),
    /// Say what changed between two moments or two hosts, and what that tells
    #[command(
        after_help = "Examples:\n  linger diff before.linger after.linger\n  linger diff yesterday.linger now\n  linger diff sosreport-web1/ sosreport-web2/ --format json\n\nRates need a recording on both sides, or now. The exit status is 0 whatever changed, 3 where a side could not be read."
    )]
    Diff(DiffArgs),
    /// Write a page for a post-mortem: what is wrong, its evidence, and charts, in one file that asks nobody for anything
    #[command(after_long_help = REPORT_EXAMPLES, after_help = "Examples:\n  linger report -o report.html\n  linger report --from incident.linger -o report.html\n\nMore with --help.")]
    Report(ReportArgs),
    /// Count sockets per state, or per peer, process, listener, …
    #[command(after_long_help = STATES_EXAMPLES, after_help = "Examples:\n  linger states --by peer --top 10\n  linger states --by process --state close-wait\n\nMore with --help.")]
    States(StatesArgs),
    /// Show how full the local ports towards each destination are, and how fast they fill
    #[command(after_long_help = PORTS_EXAMPLES, after_help = "Examples:\n  linger ports\n  linger ports --dst 10.0.0.0/8 --format json\n\nMore with --help.")]
    Ports(PortsArgs),
    /// Show each listener's accept queue, half-open requests, drops and process
    #[command(after_long_help = LISTENERS_EXAMPLES, after_help = "Examples:\n  linger listeners\n  linger listeners --sport 443\n\nMore with --help.")]
    Listeners(ListenersArgs),
    /// Watch who opens and closes connections, and so who makes the TIME_WAIT sockets
    #[command(after_long_help = trace::TRACE_EXAMPLES, after_help = "Examples:\n  linger trace\n  linger trace --duration 1m --netns all\n\nMore with --help.")]
    Trace(TraceArgs),
    /// Explain a rule, state, sysctl, counter, errno or topic as it is on this kernel
    #[command(after_long_help = EXPLAIN_EXAMPLES, after_help = "Examples:\n  linger explain TIME_WAIT\n  linger explain tcp_tw_reuse EADDRNOTAVAIL\n\nMore with --help.")]
    Explain(ExplainArgs),
    /// Reproduce incidents on this kernel, in network namespaces that vanish
    #[command(
        after_help = "Examples:\n  linger lab list\n  linger lab run short-connections\n\nMore with --help.",
        after_long_help = lab::LAB_EXAMPLES
    )]
    Lab(LabArgs),
    /// Change kernel settings step by step, watch each, and take back what does harm
    #[command(
        after_help = "Examples:\n  linger tune plan --format json > plan.json\n  linger tune apply plan.json --dry-run\n\nMore with --help.",
        after_long_help = TUNE_EXAMPLES
    )]
    Tune(TuneArgs),
    /// In an emergency: limit new connections per source, or destroy sockets
    #[command(
        after_help = "Examples:\n  linger mitigate syn-limit --listener :443 --for 10m --preview\n  linger mitigate close --state close-wait --process shop --dry-run\n\nMore with --help.",
        after_long_help = mitigate::MITIGATE_EXAMPLES
    )]
    Mitigate(MitigateArgs),
    /// Keep watching: metrics for Prometheus, and the report as JSON, over HTTP
    #[command(
        after_help = "Examples:\n  linger serve\n  linger serve --config linger.toml --listen 127.0.0.1:9719\n\nMore with --help.",
        after_long_help = serve::SERVE_EXAMPLES
    )]
    Serve(ServeArgs),
    /// Draw what `linger serve` has kept: states, counters and findings over time
    #[command(
        after_help = "Examples:\n  linger history\n  linger history --since 2h --state time_wait\n\nMore with --help.",
        after_long_help = history::HISTORY_EXAMPLES
    )]
    History(HistoryArgs),
    /// Write rules, a route and a dashboard for Prometheus, Alertmanager and Grafana
    #[command(
        after_help = "Examples:\n  linger rules prometheus > linger.rules.yml\n  linger rules grafana > linger.json\n\nMore with --help.",
        after_long_help = rules::RULES_EXAMPLES
    )]
    Rules(RulesArgs),
    /// Say what is wrong with sysctl files, or Prometheus rules, and mend what is sure
    #[command(
        after_help = "Examples:\n  linger lint\n  linger lint 99-tuning.conf --kernel 6.1 --ram 64G --role proxy\n\nExit status: 0 nothing or notes, 1 warnings, 2 critical, 3 could not be read.\nMore with --help.",
        after_long_help = lint::LINT_EXAMPLES
    )]
    Lint(LintArgs),
    /// Print every threshold with its default, as a configuration file
    #[command(after_help = "Examples:\n  linger config > linger.toml\n  linger check --config linger.toml")]
    Config,
    /// Print a completion script for a shell
    #[command(
        after_help = "Examples:\n  linger completions bash > /etc/bash_completion.d/linger\n  linger completions zsh > ~/.zfunc/_linger\n  linger completions fish > ~/.config/fish/completions/linger.fish"
    )]
    Completions {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Write the man pages
    #[command(name = "__man", hide = true)]
    Man {
        /// Into this folder.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Print a JSON Schema, or write all of them
    #[command(name = "__schema", hide = true)]
    Schema {
        /// Of this format.
        #[arg(value_enum, required_unless_present = "out")]
        format: Option<SchemaName>,
        /// Write a file for each format here.
        #[arg(long, value_name = "DIR", conflicts_with = "format")]
        out: Option<PathBuf>,
    },
    /// Guard a run of `linger tune apply`
    #[command(name = "__guardian", hide = true)]
    Guardian(GuardianArgs),
    /// Play a part in a lab
    #[command(name = "__actor", hide = true)]
    Actor {
        /// The part, as JSON.
        spec: String,
    },
}

/// The JSON formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SchemaName {
    /// `linger check`
    Report,
    /// `linger check` of several namespaces
    Reports,
    /// `linger diff`
    Diff,
    /// `linger states`
    States,
    /// `linger ports`
    Ports,
    /// `linger listeners`
    Listeners,
    /// `linger trace`
    Trace,
    /// `linger trace handshakes`
    TraceHandshakes,
    /// `linger trace drops`
    TraceDrops,
    /// `linger trace status`
    TraceStatus,
    /// `linger lint`
    Lint,
    /// `linger lab list`
    LabList,
    /// `linger lab show`
    LabShow,
    /// `linger lab run`
    LabRun,
    /// `linger lab run` of several scenarios
    LabRuns,
    /// `linger lab compare`
    LabCompare,
    /// `linger lab myths`
    LabMyths,
    /// `linger tune plan`, and what `linger tune apply` takes
    TunePlan,
    /// `linger tune apply`
    TuneApply,
    /// `linger tune status` and `linger tune history`
    TuneRuns,
    /// `linger tune diff` and `linger tune verify`
    TuneKept,
    /// `linger tune rollback` and `linger tune recover`
    TuneUndone,
    /// `linger history`
    History,
    /// `linger mitigate syn-limit`
    MitigateLimit,
    /// `linger mitigate close`
    MitigateClose,
    /// `linger mitigate status`
    MitigateStatus,
    /// `linger mitigate clear`
    MitigateClear,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  linger check                              one look at this namespace: two samples, 1 s apart
  linger check -v                           also what was ruled out, and what could not be read
  linger check --format json | jq .verdict
  linger check --netns all                  every network namespace that can be reached
  linger check --netns pid:4242             the namespace of a container's process
  linger check --select TW001,PX001         only these rules
  linger check --samples 30 --interval 2s   a minute's window, for rules that need a trend
  linger check --trace                      who makes the TIME_WAIT sockets: watch for 5 s
  linger check --at 03:12                   the report of that moment, which `linger serve` has kept
  linger check --fail-on critical           as a monitoring plugin: warnings exit with 0
  ss -tanpoemi | linger check --from -      what somebody pasted, or a file of it
  linger check --from sosreport-web1.tar.xz a sosreport, its folder, or a copy of /proc/net

Exit status: 0 OK, 1 warning, 2 critical, 3 could not tell (sockets or counters
could not be read, or a rule asked for with --select has no answer); usage
errors are 3 too.

It changes nothing. Without root, sockets and counters are read in full, but
other users' processes stay unnamed; the report says so.";

const RECORD_EXAMPLES: &str = "\
Examples:
  linger record -o incident.linger                        a minute, a sample each second
  linger record --duration 10m --interval 5s -o slow.linger
  linger record --redact addresses -o to-send.linger      the same address is always behind the same mask
  ssh web1 sudo linger record -o - > web1.linger          from another host, without a file there
  linger check --from incident.linger
  linger check --from incident.linger --between 10s,40s

Each sample is written as soon as it is taken: a recording that was cut short
opens up to its last whole one. It holds no content of connections, and of
command lines only the names of libraries and frameworks that advice depends on;
without --redact it tells who talks to whom.";

const REPORT_EXAMPLES: &str = "\
Examples:
  linger report -o report.html                                    ten seconds of this host
  linger report --duration 1m --netns pid:4242 -o container.html
  linger report --from incident.linger -o incident.html           a recording, with its charts
  linger report --from incident.linger --between 10s,40s -o part.html
  linger report --from sosreport-web1/ -o web1.html               one moment, so without charts

The page needs no network, no other file and no script; with one, its tables
sort. It tells who talks to whom: `linger record --redact all` makes a recording
whose page does not. The exit status is 0 whatever was found, 3 where nothing
could be read or written.";

const STATES_EXAMPLES: &str = "\
Examples:
  linger states                                       count per state
  linger states --by peer --top 10                    who has most connections
  linger states --by process --state close-wait       who leaks
  linger states --by peer-port --dst 10.0.0.0/8       which services of the private network
  linger states --by local-port --sport 1-1023
  linger states --watch                               again every 2 s, with what changed

The kernel filters states, addresses and ports itself; --pid is applied to what
it gives. Without filters TIME_WAIT is not walked: its number comes from
/proc/net/sockstat.";

const PORTS_EXAMPLES: &str = "\
Examples:
  linger ports                      the busiest destinations
  linger ports --top 50 --dst 10.0.0.0/8
  linger ports --format json | jq '.ports[] | select(.free < 1000)'

A connection needs a local port that no other connection of the same (source
address, destination address, destination port) has. TIME_WAIT holds its port
for 60 s. Accepted connections cost no port and are left out.";

const LISTENERS_EXAMPLES: &str = "\
Examples:
  linger listeners
  linger listeners --sport 443
  linger listeners --format json | jq '.listeners[] | select(.queue > .limit / 2)'

DROPS counts since the socket was opened and includes what port scans cause: it
says which listener, not that something is wrong.";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  linger explain TW001              the manual of a rule
  linger explain CLOSE_WAIT         a state: what it is, whose fault, what ends it
  linger explain tcp_tw_reuse       a sysctl: what it does on this kernel, its default, wrong beliefs
  linger explain ListenOverflows    a counter
  linger explain EADDRNOTAVAIL      an errno: which call, which causes, how to tell them apart
  linger explain bbr                a topic
  linger explain --list             everything that can be explained";

const TUNE_EXAMPLES: &str = "\
Examples:
  linger tune plan                                     what to change, and what to do first
  linger tune plan --format json > plan.json
  linger tune apply plan.json --dry-run                what it would do
  linger tune apply plan.json                          one step at a time, each watched
  linger tune confirm                                  keep it; else it is taken back
  linger tune verify                                   is what was kept still there?
  linger tune rollback                                 the old values again

Old values are in a journal (/var/lib/linger/tune) before anything is written;
after a crash `linger tune recover` brings them back.";

/// `linger check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Time between two samples, for example 500ms or 5s.
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    pub interval: Duration,
    /// How many samples; more make a longer window for the rules that need a past.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600), value_name = "N")]
    pub samples: u32,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
    /// Only these rules, by code or name.
    #[arg(long, value_delimiter = ',', value_name = "CODES")]
    pub select: Vec<String>,
    /// Not these rules, by code or name.
    #[arg(long, value_delimiter = ',', value_name = "CODES")]
    pub ignore: Vec<String>,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// Watch for so long who closes connections (5s if no TIME is given; Ctrl-C ends it earlier), so that the sockets in
    /// TIME_WAIT made meanwhile have an owner, and why handshakes are dropped. Needs what `linger trace` needs; without
    /// it, the report says so and is otherwise the same.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "5s", value_parser = interval)]
    pub trace: Option<Duration>,
    /// Not this host, but what was read of one: the output of ss, netstat, nstat, sysctl, lsof or conntrack, a sosreport
    /// (.tar, .tar.gz, .tar.xz) or its folder, a copy of /proc/net, a recording of `linger record`; - for standard input.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["netns", "interval", "samples", "trace"])]
    pub from: Option<PathBuf>,
    /// Of a recording, only from one moment to another, from its beginning: 10s,40s.
    #[arg(long, value_name = "FROM,TO", requires = "from", value_parser = between)]
    pub between: Option<(Duration, Duration)>,
    /// Thresholds from this file; `linger config` prints one with every default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Not now, but the report of a moment, from the history that `linger serve` keeps: 03:12, '2026-11-20 03:12', -2h, or
    /// RFC 3339.
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true, value_parser = history::moment)]
    #[arg(conflicts_with_all = ["interval", "samples", "trace", "from", "between", "config"])]
    pub at: Option<jiff::Timestamp>,
    /// The history's folder.
    #[arg(long, value_name = "DIR", requires = "at", default_value = linger_serve::history::FOLDER)]
    pub history: PathBuf,
    /// Findings below this severity leave the exit status at 0.
    #[arg(long, value_enum, default_value_t = FailOn::Warning, value_name = "SEVERITY")]
    pub fail_on: FailOn,
    /// Also list what was ruled out and what could not be read.
    #[arg(short, long)]
    pub verbose: bool,
}

/// `linger record`
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Into this file, which must not be there yet; - for standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// For how long, for example 30s or 10m; at most a day.
    #[arg(long, default_value = "60s", value_parser = span, value_name = "TIME")]
    pub duration: Duration,
    /// Time between two samples.
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    pub interval: Duration,
    /// Hide addresses, also where names hold them, or all names of processes, containers and namespaces, too.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub redact: Option<Redact>,
    /// End before the file has more than so many MiB.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096), value_name = "MIB")]
    pub max_size: u64,
    #[command(flatten)]
    pub netns: NetnsArgs,
}

/// `linger diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The first side: a recording, a file or folder as for `check --from`, or now.
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// The second side.
    #[arg(value_name = "B")]
    pub after: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Into this file, which must not be there yet; - for standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// For how long to look, for example 30s or 10m; at most a day.
    #[arg(long, default_value = "10s", value_parser = span, value_name = "TIME")]
    pub duration: Duration,
    /// Time between two samples.
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME")]
    pub interval: Duration,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// Not this host, but a recording, or whatever `linger check --from` takes; - for standard input.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["netns", "interval", "duration"])]
    pub from: Option<PathBuf>,
    /// Of a recording, only from one moment to another, from its beginning: 10s,40s.
    #[arg(long, value_name = "FROM,TO", requires = "from", value_parser = between)]
    pub between: Option<(Duration, Duration)>,
    /// Thresholds from this file; `linger config` prints one with every default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What to hide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Redact {
    /// Addresses
    Addresses,
    /// Addresses, and names of processes, containers, units and namespaces
    All,
}

/// Which namespaces.
#[derive(Debug, Args)]
pub struct NetnsArgs {
    /// Network namespace: self, all, a NAME of `ip netns`, a /PATH, or pid:N. May be given several times, or as a list.
    #[arg(long = "netns", value_name = "NETNS", default_value = "self", value_delimiter = ',')]
    pub netns: Vec<String>,
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person.
    Text,
    /// For a program; the schemas are under docs/schema.
    Json,
}

/// From which severity on a finding decides the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Also notes.
    Info,
    /// Warnings and worse.
    Warning,
    /// Only critical findings.
    Critical,
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupBy {
    /// Peer address.
    Peer,
    /// Peer address and port.
    PeerPort,
    /// Local port.
    LocalPort,
    /// Listening address and port that the connection came through.
    Listener,
    /// Process that holds the socket.
    Process,
    /// cgroup.
    Cgroup,
    /// Container or systemd unit.
    Container,
    /// Network namespace.
    Netns,
    /// Address family.
    Family,
}

/// Filters on sockets.
#[derive(Debug, Args, Default)]
pub struct FilterArgs {
    /// Only these states, for example time-wait,close-wait.
    #[arg(long, value_delimiter = ',', value_name = "STATES")]
    pub state: Vec<String>,
    /// Only these local addresses, for example 10.0.0.1 or fd00::/64.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub src: Vec<String>,
    /// Only these peer addresses.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub dst: Vec<String>,
    /// Only these local ports, for example 443 or 8000-8999.
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    pub sport: Vec<String>,
    /// Only these peer ports.
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    pub dport: Vec<String>,
    /// Only sockets that this process holds.
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
}

/// `linger states`
#[derive(Debug, Args)]
pub struct StatesArgs {
    /// Count per group.
    #[arg(long, value_enum, value_name = "WHAT")]
    pub by: Option<GroupBy>,
    /// How many groups to show, the largest first; the rest is summed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub top: u32,
    /// Again and again, every 2 s or the TIME given.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "2s", value_parser = interval)]
    pub watch: Option<Duration>,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger ports`
#[derive(Debug, Args)]
pub struct PortsArgs {
    /// How many destinations to show, the fullest first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub top: u32,
    #[command(flatten)]
    pub filter: FilterArgs,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger listeners`
#[derive(Debug, Args)]
pub struct ListenersArgs {
    /// How many listening addresses to show, the fullest queue first.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub top: u32,
    /// Only these local addresses, for example 10.0.0.1 or fd00::/64.
    #[arg(long, value_delimiter = ',', value_name = "CIDR")]
    pub src: Vec<String>,
    /// Only these local ports, for example 443 or 8000-8999.
    #[arg(long, value_delimiter = ',', value_name = "PORTS")]
    pub sport: Vec<String>,
    #[command(flatten)]
    pub netns: NetnsArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Rule code, state, sysctl, counter, errno or topic.
    #[arg(value_name = "TERM", required_unless_present_any = ["list", "all"])]
    pub term: Vec<String>,
    /// List everything that can be explained.
    #[arg(long)]
    pub list: bool,
    /// Every rule's manual.
    #[arg(long, hide = true)]
    pub all: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = TextFormat::Text, value_name = "FORMAT")]
    pub format: TextFormat,
}

/// How `explain` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TextFormat {
    /// For a terminal.
    Text,
    /// Markdown.
    Markdown,
    /// JSON.
    Json,
}

/// `1s`, `500ms`, `2`: none means seconds.
fn time(text: &str) -> Option<Duration> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
        Err(_) => text.parse::<jiff::SignedDuration>().ok().and_then(|d| d.try_into().ok()),
    }
}

/// `gateway`, and the others.
fn role() -> impl TypedValueParser<Value = Role> {
    let names = Role::ALL.map(|role| PossibleValue::new(role.name()).help(role.meaning()));
    let known = |name: String| Role::named(&name).ok_or_else(|| format!("{name:?} is no role"));
    PossibleValuesParser::new(names).try_map(known)
}

/// What a time looks like, for who wrote another thing.
const A_TIME: &str = "a time like 500ms, 1s or 2m is expected";

/// `30s`, `10m`: up to a day.
fn span(text: &str) -> Result<Duration, String> {
    let duration = time(text).ok_or(A_TIME)?;
    if duration <= Duration::from_secs(86_400) { Ok(duration) } else { Err("at most a day".to_owned()) }
}

/// `10s,40s`: two moments, the earlier first.
fn between(text: &str) -> Result<(Duration, Duration), String> {
    let (from, to) = text.split_once(',').ok_or("two times are expected, like 10s,40s")?;
    let (from, to) = (time(from).ok_or(A_TIME)?, time(to).ok_or(A_TIME)?);
    if from < to { Ok((from, to)) } else { Err("the earlier moment comes first, like 10s,40s".to_owned()) }
}

/// `1s`, `500ms`, `2`: between 50 ms and an hour.
fn interval(text: &str) -> Result<Duration, String> {
    let duration = time(text).ok_or(A_TIME)?;
    if (Duration::from_millis(50)..=Duration::from_secs(3600)).contains(&duration) {
        Ok(duration)
    } else {
        Err("between 50ms and 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_and_without_unit() {
        assert_eq!(interval("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(interval("2"), Ok(Duration::from_secs(2)));
        assert_eq!(interval("1m"), Ok(Duration::from_secs(60)));
        assert!(
            interval("0").is_err()
                && interval("1day").is_err()
                && interval("x").is_err()
                && interval("NaN").is_err()
        );
    }

    #[test]
    fn help_is_as_it_was_reviewed() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut pages = vec![("linger".to_owned(), command.render_long_help().to_string())];
        for sub in command.get_subcommands_mut().filter(|s| !s.is_hide_set()) {
            pages.push((
                sub.get_name().to_owned(),
                sub.clone().term_width(100).render_long_help().to_string(),
            ));
            pages.push((
                format!("{}-short", sub.get_name()),
                sub.clone().term_width(100).render_help().to_string(),
            ));
            for nested in sub.get_subcommands_mut() {
                let name = nested.get_bin_name().unwrap_or_default().replace(' ', "-");
                pages.push((name, nested.clone().term_width(100).render_long_help().to_string()));
            }
        }
        for (name, page) in pages {
            insta::assert_snapshot!(format!("help-{name}"), page);
        }
    }
}
