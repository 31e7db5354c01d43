//! `linger mitigate`: emergency measures.

pub mod close;
pub mod limit;
pub mod spared;
pub mod status;

use crate::cli::{MitigateArgs, MitigateCommand, NetnsArgs};
use crate::render::style::Style;
use crate::targets;
use anyhow::bail;
use linger_model::report::ReportNetns;
use linger_netns::Netns;
use linger_tune::{Namespace, NetnsMark, Settings};
use std::time::Duration;

/// How long a command waits for another that mitigates.
const PATIENCE: Duration = Duration::from_secs(10);

/// Does what was asked for; the exit status.
pub fn run(args: &MitigateArgs, style: &Style) -> anyhow::Result<u8> {
    match &args.command {
        MitigateCommand::SynLimit(args) => limit::run(args, style),
        MitigateCommand::Close(args) => close::run(args, style),
        MitigateCommand::Status(args) => status::run(args, style),
        MitigateCommand::Clear(args) => status::clear(args, style),
    }
}

/// The one namespace asked for.
fn open(netns: &str) -> anyhow::Result<Netns> {
    if netns.trim() == "all" {
        bail!("--netns all: one namespace at a time");
    }
    let targets = targets::open(&NetnsArgs { netns: vec![netns.to_owned()] })?;
    match targets.namespaces.into_iter().next() {
        Some(ns) => Ok(ns),
        None => bail!("--netns {netns}: there is no such namespace"),
    }
}

/// How the journal names a namespace.
fn mark(ns: &Netns) -> anyhow::Result<NetnsMark> {
    Ok(Namespace::new(ns)?.netns())
}

fn named(ns: &Netns) -> ReportNetns {
    ReportNetns { inode: ns.inode(), name: ns.name().map(str::to_owned), is_init: ns.is_init() }
}
