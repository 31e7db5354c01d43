//! `linger tune`: what can be asked of it.

use super::{Format, interval, role};
use clap::{Args, Subcommand, ValueEnum};
use linger_facts::Role;
use linger_tune::SYSCTL_DIR;
use linger_tune::journal::STATE_DIR;
use std::path::PathBuf;
use std::time::Duration;

/// `linger tune`
#[derive(Debug, Args)]
pub struct TuneArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: TuneCommand,
}

/// The commands of `linger tune`.
#[derive(Debug, Subcommand)]
pub enum TuneCommand {
    /// Plan what to change, and what to do first, by what `linger check` finds
    #[command(
        after_help = "Examples:\n  linger tune plan\n  linger tune plan --role proxy --format json > plan.json\n\nMore with --help.",
        after_long_help = PLAN_EXAMPLES
    )]
    Plan(TunePlanArgs),
    /// Try a plan's changes in the lab, one after the other, and add to the plan what each did
    #[command(
        after_help = "Examples:\n  linger tune rehearse plan.json\n  linger tune rehearse plan.json -o rehearsed.json\n\nExit status: 0 each step helps or cannot be tried, 1 one does not help, 3 it\ncould not run. More with --help.",
        after_long_help = REHEARSE_EXAMPLES
    )]
    Rehearse(TuneRehearseArgs),
    /// Make a plan's changes one at a time, watch each, and take back what does harm
    #[command(
        after_help = "Examples:\n  linger tune apply plan.json --dry-run\n  linger tune apply plan.json --confirm-within 5m\n\nMore with --help.",
        after_long_help = APPLY_EXAMPLES
    )]
    Apply(TuneApplyArgs),
    /// Keep what `apply` changed
    #[command(after_help = "Examples:\n  linger tune confirm\n  linger tune confirm --run 3")]
    Confirm(TuneConfirmArgs),
    /// Take changes back, the last first
    #[command(
        after_help = "Examples:\n  linger tune rollback           the last run\n  linger tune rollback --to 2    everything after run 2\n  linger tune rollback --to 0    everything\n\nExit status: 0 all old values are there, 1 some are not (somebody else changed\nthem, or the kernel refused them), 3 it could not be done."
    )]
    Rollback(TuneRollbackArgs),
    /// Show what awaits confirmation, what is kept, and what was left half done
    #[command(after_help = "Examples:\n  linger tune status\n  linger tune status --format json")]
    Status(TuneLogArgs),
    /// Show every run and step of the journal
    #[command(after_help = "Examples:\n  linger tune history\n  linger tune history --format json")]
    History(TuneLogArgs),
    /// Show kept settings: before, as kept, and now
    #[command(after_help = "Examples:\n  linger tune diff\n  linger tune diff --netns pid:4242")]
    Diff(TuneHereArgs),
    /// Say whether kept settings still have the values that were kept
    #[command(after_help = "Examples:\n  linger tune verify\n\nExit status: 0 they have, 1 some have not.")]
    Verify(TuneHereArgs),
    /// End what a crash left half done: the old values come back
    #[command(
        after_help = "Examples:\n  linger tune recover\n  linger tune recover --dry-run\n\nExit status: 0 nothing is left half done, 1 some old values are not back."
    )]
    Recover(TuneRecoverArgs),
}

const PLAN_EXAMPLES: &str = "\
Examples:
  linger tune plan                                  for what is wrong here and now
  linger tune plan --role gateway                   and for what the host is
  linger check --format json > report.json
  linger tune plan --from report.json --format json > plan.json
  linger tune plan --profile edge.toml              and for what its owner wants
  linger tune plan --netns pid:4242                 for a container's namespace
  linger tune plan --format sysctl.d                as a file for /etc/sysctl.d

It changes nothing. Advice for the application comes first, then the
architecture, then single changes of kernel settings, each with the figure that
must move. Where nothing calls for a change, there is none.

A profile:
  role = \"gateway\"
  [wanted]
  \"net.ipv4.tcp_tw_reuse\" = 1
  \"net.core.somaxconn\" = { value = 16384, why = \"bursts at the full hour\" }
  [never]
  \"net.ipv4.ip_local_port_range\" = \"the firewall admits this range alone\"

Wanted values are changes like others: not planned where they would do nothing,
or where no figure could show that they help.";

const REHEARSE_EXAMPLES: &str = "\
Examples:
  linger tune rehearse plan.json
  linger tune rehearse plan.json -o rehearsed.json  the plan, with what was measured
  linger tune rehearse plan.json -o plan.json       in its place
  linger tune rehearse plan.json --format json | jq '.changes[].rehearsed'

For each step the scenario of `linger lab list` that shows the finding which the
step is for: first twice with the values of now, then with the step, with those
before it kept. A step that shows no effect or a bad one is marked, and
`linger tune apply` refuses one that made it worse. What a scenario scales down,
such as the port range, is changed by as many times as the plan changes it here;
settings of the whole host are not rehearsed.

It runs in network namespaces that vanish, on this kernel, and changes nothing
of this host. It needs root, or a kernel on which users may make user namespaces.

Exit status: 0 each step helps or cannot be tried, 1 one does not help, 3 it
could not run.";

const APPLY_EXAMPLES: &str = "\
Examples:
  linger tune apply plan.json --dry-run             what it would do
  linger tune apply plan.json                       watch each step for 60 s, then wait 120 s for
                                                    `linger tune confirm` in another terminal
  linger tune apply plan.json --step-by-step        ask before each step
  linger tune apply plan.json --no-confirm --persist

Each step: sample the host, journal the old value, write the new one if the old
one is still there, read it back, watch. A step is taken back when it does harm.
Ctrl-C takes everything back; so does a guardian, a process of its own, when
this one is killed or nobody confirms in time.

Exit status: 0 every step was kept and confirmed, 1 some or all were not, 3 it
could not be begun.";

/// Where the journal is.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The folder of the journal.
    #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
    pub state_dir: PathBuf,
}

/// One namespace.
#[derive(Debug, Args)]
pub struct OneNetns {
    /// Network namespace: self, a NAME of `ip netns`, a /PATH, or pid:N.
    #[arg(long, value_name = "NETNS", default_value = "self")]
    pub netns: String,
    /// A folder in the place of /proc/sys.
    #[arg(long, value_name = "DIR", hide = true)]
    pub proc_sys: Option<PathBuf>,
}

/// How `plan` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For a person.
    Text,
    /// The plan, as `linger tune apply` takes it.
    Json,
    /// A file for /etc/sysctl.d.
    #[value(name = "sysctl.d")]
    SysctlD,
}

/// `linger tune plan`
#[derive(Debug, Args)]
pub struct TunePlanArgs {
    /// What this host does.
    #[arg(long, value_parser = role(), value_name = "ROLE")]
    pub role: Option<Role>,
    /// What the host's owner wants of it: a role, values, settings to leave alone; --help shows one. --role goes before
    /// its role.
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
    /// A report of `linger check --format json` of this namespace; without one, it is looked at now.
    #[arg(long, value_name = "REPORT.json")]
    pub from: Option<PathBuf>,
    /// Without --from: time between two samples.
    #[arg(long, default_value = "1s", value_parser = interval, value_name = "TIME", conflicts_with = "from")]
    pub interval: Duration,
    /// Without --from: how many samples.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=3600), value_name = "N", conflicts_with = "from")]
    pub samples: u32,
    /// Thresholds from this file, as for `linger check`.
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub place: OneNetns,
    /// How to print.
    #[arg(long, value_enum, default_value_t = PlanFormat::Text, value_name = "FORMAT")]
    pub format: PlanFormat,
}

/// `linger tune rehearse`
#[derive(Debug, Args)]
pub struct TuneRehearseArgs {
    /// A plan of `linger tune plan --format json`.
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// Also write the plan, with what was measured, to this file.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Run although this machine is busy. What a scenario may use of it stays bounded.
    #[arg(long)]
    pub force: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger tune apply`
#[derive(Debug, Args)]
pub struct TuneApplyArgs {
    /// A plan of `linger tune plan --format json`.
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
    /// How long to watch each step.
    #[arg(long, default_value = "60s", value_parser = interval, value_name = "TIME")]
    pub observe: Duration,
    /// Take everything back unless `linger tune confirm` is run within this time after the last step.
    #[arg(long, default_value = "120s", value_parser = interval, value_name = "TIME")]
    pub confirm_within: Duration,
    /// Keep the steps that pass without asking anybody.
    #[arg(long, conflicts_with = "confirm_within")]
    pub no_confirm: bool,
    /// Ask before each step.
    #[arg(long)]
    pub step_by_step: bool,
    /// Also make the steps that the plan calls unsafe.
    #[arg(long)]
    pub accept_risk: bool,
    /// Take a step back that shows no effect in the time that the plan gives it.
    #[arg(long)]
    pub require_effect: bool,
    /// Write what is kept for the next boot, to 99-linger.conf.
    #[arg(long)]
    pub persist: bool,
    /// The folder for --persist.
    #[arg(long, value_name = "DIR", default_value = SYSCTL_DIR)]
    pub sysctl_dir: PathBuf,
    /// Only say whether the plan can be applied, and what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Thresholds from this file, as for `linger check`.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub place: OneNetns,
    #[command(flatten)]
    pub state: StateArgs,
    /// How to print what came of it; what happens meanwhile goes to standard error.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger tune confirm`
#[derive(Debug, Args)]
pub struct TuneConfirmArgs {
    /// Which run, where several await it.
    #[arg(long, value_name = "ID")]
    pub run: Option<u64>,
    /// Only say what would be kept.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub state: StateArgs,
}

/// `linger tune rollback`
#[derive(Debug, Args)]
pub struct TuneRollbackArgs {
    /// Take back everything after this run; 0 for everything. Without it, the last run.
    #[arg(long, value_name = "ID")]
    pub to: Option<u64>,
    /// Only say what would be written.
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub place: OneNetns,
    #[command(flatten)]
    pub state: StateArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger tune status` and `history`
#[derive(Debug, Args)]
pub struct TuneLogArgs {
    #[command(flatten)]
    pub state: StateArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger tune diff` and `verify`
#[derive(Debug, Args)]
pub struct TuneHereArgs {
    #[command(flatten)]
    pub place: OneNetns,
    #[command(flatten)]
    pub state: StateArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger tune recover`
#[derive(Debug, Args)]
pub struct TuneRecoverArgs {
    /// Only say what is half done.
    #[arg(long)]
    pub dry_run: bool,
    /// A folder in the place of /proc/sys.
    #[arg(long, value_name = "DIR", hide = true)]
    pub proc_sys: Option<PathBuf>,
    #[command(flatten)]
    pub state: StateArgs,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub format: Format,
}

/// `linger __guardian`
#[derive(Debug, Args)]
pub struct GuardianArgs {
    /// The folder of the journal.
    #[arg(long)]
    pub state_dir: PathBuf,
    /// The run.
    #[arg(long)]
    pub run: u64,
    /// The process that applies.
    #[arg(long)]
    pub applier: i32,
    /// After so many seconds it hangs.
    #[arg(long)]
    pub at_most: u64,
    /// A folder in the place of /proc/sys.
    #[arg(long)]
    pub proc_sys: Option<PathBuf>,
}
