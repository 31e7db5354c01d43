//! One file per command.

pub mod check;
pub mod diff;
pub mod explain;
pub mod history;
pub mod lab;
pub mod lint;
pub mod lint_prometheus;
pub mod listeners;
pub mod mitigate;
pub mod ports;
pub mod record;
pub mod report;
pub mod rules;
pub mod serve;
pub mod states;
pub mod trace;
pub mod tune;

use crate::cli::{Cli, Command, Format, NetnsArgs, SchemaName};
use crate::render::style::{Style, Tone};
use crate::{config, render, targets};
use anyhow::Context;
use clap::{CommandFactory, ValueEnum};
use linger_collect::{HolderTable, ScanOptions};
use linger_model::report::ReportNetns;
use linger_netns::{Netns, run_in};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Does what was asked for; the exit status.
pub fn run(args: Cli) -> anyhow::Result<u8> {
    let style = Style::stdout(args.color);
    match args.command {
        Command::Check(args) => check::run(&args, &style),
        Command::Diff(args) => diff::run(&args, &style),
        Command::Record(args) => record::run(&args),
        Command::Report(args) => report::run(&args),
        Command::States(args) => states::run(&args, &style),
        Command::Ports(args) => ports::run(&args, &style),
        Command::Listeners(args) => listeners::run(&args, &style),
        Command::Trace(args) => trace::run(&args, &style),
        Command::Explain(args) => explain::run(&args, &style),
        Command::Lab(args) => lab::run(&args, &style),
        Command::Tune(args) => tune::run(&args, &style),
        Command::Mitigate(args) => mitigate::run(&args, &style),
        Command::Guardian(args) => tune::guardian(&args),
        Command::History(args) => history::run(&args, &style),
        Command::Serve(args) => serve::run(args),
        Command::Rules(args) => rules::run(&args),
        Command::Lint(args) => lint::run(&args, &style),
        Command::Config => print(&config::defaults()),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "linger", &mut out);
            print(&String::from_utf8_lossy(&out))
        }
        Command::Man { out } => man(&out),
        Command::Schema { format, out } => schema(format, out.as_deref()),
        Command::Actor { spec } => Ok(u8::try_from(linger_lab::actor_main(&spec)).unwrap_or(crate::UNKNOWN)),
    }
}

/// Prints to standard output.
fn print(text: &str) -> anyhow::Result<u8> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(0)
}

/// Prints JSON, or what `text` makes of the value.
fn show<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Text => out.write_all(text(value).as_bytes())?,
    }
    Ok(())
}

/// Several namespaces' reports.
#[derive(Debug, Clone, Serialize)]
struct Several<T> {
    schema: u32,
    reports: Vec<T>,
}

/// One namespace's report, with what could not be read for it.
trait NetnsReport: Serialize {
    fn netns(&self) -> &ReportNetns;
    fn gaps(&mut self) -> &mut Vec<String>;
}

/// Makes a report of each namespace, on a thread inside it, with the holders of its sockets; prints one, or several
/// under `reports`.
fn of_each_namespace<T: NetnsReport + Send>(
    netns: &NetnsArgs,
    format: Format,
    style: &Style,
    one: impl Fn(&Netns, &HolderTable) -> anyhow::Result<T> + Sync,
    text: fn(&T, &Style) -> String,
) -> anyhow::Result<u8> {
    let targets = targets::open(netns)?;
    let mut holders = HolderTable::scan(&ScanOptions { cgroups: true, limits: false, only_pid: None });
    if let Ok(holders) = &mut holders {
        holders.remember(trace::daemon::running());
    }
    let nobody = HolderTable::empty();
    let mut reports = Vec::new();
    for ns in &targets.namespaces {
        let owners = holders.as_ref().unwrap_or(&nobody);
        let mut report = run_in(ns, || one(ns, owners))
            .map_err(anyhow::Error::from)
            .flatten()
            .with_context(|| format!("network namespace {}", ns.label()))?;
        match &holders {
            Ok(holders) => report.gaps().extend(holders.gaps().iter().map(ToString::to_string)),
            Err(gap) => report.gaps().push(gap.to_string()),
        }
        reports.push(report);
    }
    match (reports.pop(), targets.several) {
        (Some(only), false) => show(format, &only, |r| text(r, style))?,
        (last, _) => {
            reports.extend(last);
            show(format, &Several { schema: 1, reports }, |all| {
                let texts = all
                    .reports
                    .iter()
                    .map(|r| format!("{}\n{}", netns_title(r.netns(), style), text(r, style)));
                texts.collect::<Vec<_>>().join("\n")
            })?;
        }
    }
    Ok(0)
}

/// A namespace's name as a heading.
fn netns_title(netns: &ReportNetns, style: &Style) -> String {
    let name = netns.name.clone().unwrap_or_else(|| format!("net:[{}]", netns.inode));
    style.paint(Tone::Strong, &render::clean(&name))
}

fn man(out: &Path) -> anyhow::Result<u8> {
    std::fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let mut command = Cli::command();
    command.build();
    clap_mangen::generate_to(command, out)
        .with_context(|| format!("cannot write man pages to {}", out.display()))?;
    Ok(0)
}

fn schema(format: Option<SchemaName>, out: Option<&Path>) -> anyhow::Result<u8> {
    if let Some(format) = format {
        return print(&schema_of(format)?);
    }
    let out = out.context("a format or --out is expected")?;
    for format in SchemaName::value_variants() {
        let name = format.to_possible_value().context("a format without a name")?;
        let path = out.join(format!("{}.json", name.get_name()));
        std::fs::write(&path, schema_of(*format)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(0)
}

fn schema_of(format: SchemaName) -> anyhow::Result<String> {
    let schema = match format {
        SchemaName::Report => schemars::schema_for!(linger_model::Report),
        SchemaName::Reports => schemars::schema_for!(linger_model::report::Reports),
        SchemaName::Diff => schemars::schema_for!(diff::DiffReport),
        SchemaName::States => schemars::schema_for!(states::StatesReport),
        SchemaName::Ports => schemars::schema_for!(ports::PortsReport),
        SchemaName::Listeners => schemars::schema_for!(listeners::ListenersReport),
        SchemaName::Trace => schemars::schema_for!(trace::TraceReport),
        SchemaName::TraceDrops => schemars::schema_for!(trace::drops::DropsReport),
        SchemaName::TraceStatus => schemars::schema_for!(trace::daemon::StatusReport),
        SchemaName::TraceHandshakes => schemars::schema_for!(trace::handshakes::HandshakesReport),
        SchemaName::Lint => schemars::schema_for!(lint::LintReport),
        SchemaName::LabList => schemars::schema_for!(Vec<lab::list::ListEntry>),
        SchemaName::LabShow => schemars::schema_for!(lab::show::ShowReport),
        SchemaName::LabRun => schemars::schema_for!(linger_lab::run::RunReport),
        SchemaName::LabRuns => schemars::schema_for!(lab::run::Runs),
        SchemaName::LabCompare => schemars::schema_for!(lab::compare::CompareReport),
        SchemaName::LabMyths => schemars::schema_for!(lab::myths::MythsReport),
        SchemaName::TunePlan => schemars::schema_for!(linger_tune::Plan),
        SchemaName::TuneApply => schemars::schema_for!(tune::apply::ApplyReport),
        SchemaName::TuneRuns => schemars::schema_for!(tune::log::RunsReport),
        SchemaName::TuneKept => schemars::schema_for!(tune::log::KeptReport),
        SchemaName::TuneUndone => schemars::schema_for!(tune::undo::UndoneReport),
        SchemaName::History => schemars::schema_for!(linger_serve::history::Answer),
        SchemaName::MitigateLimit => schemars::schema_for!(mitigate::limit::LimitReport),
        SchemaName::MitigateClose => schemars::schema_for!(mitigate::close::CloseReport),
        SchemaName::MitigateStatus => schemars::schema_for!(mitigate::status::StatusReport),
        SchemaName::MitigateClear => schemars::schema_for!(mitigate::status::ClearReport),
    };
    Ok(serde_json::to_string_pretty(&schema)? + "\n")
}

/// The sysctls of the knowledge base.
fn sysctl_keys() -> Vec<&'static str> {
    linger_facts::sysctls().map(|s| s.key).collect()
}
