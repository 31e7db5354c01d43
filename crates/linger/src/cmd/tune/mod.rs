//! `linger tune`: changes of kernel settings that are watched, and taken back by themselves.

pub mod apply;
pub mod log;
mod look;
pub mod plan;
mod profile;
pub mod rehearse;
pub mod undo;

use crate::cli::{GuardianArgs, OneNetns, StateArgs, TuneArgs, TuneCommand};
use crate::render::style::Style;
use crate::targets::need_proc;
use anyhow::{Context, bail};
use linger_facts::Version;
use linger_netns::{Netns, Spec};
use linger_tune::{Guardian, Journal, Namespace, NetnsMark, OwnCgroup, Settings, Signals, Tree, stand_guard};
use rustix::fs::OFlags;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How long a command waits for another that changes settings.
const PATIENCE: Duration = Duration::from_secs(5);

/// Does what was asked for; the exit status.
pub fn run(args: &TuneArgs, style: &Style) -> anyhow::Result<u8> {
    match &args.command {
        TuneCommand::Plan(args) => plan::run(args, style),
        TuneCommand::Rehearse(args) => rehearse::run(args, style),
        TuneCommand::Apply(args) => apply::run(args, style),
        TuneCommand::Confirm(args) => undo::confirm(args),
        TuneCommand::Rollback(args) => undo::roll_back(args, style),
        TuneCommand::Status(args) => log::status(args, style),
        TuneCommand::History(args) => log::history(args, style),
        TuneCommand::Diff(args) => log::diff(args, style),
        TuneCommand::Verify(args) => log::verify(args, style),
        TuneCommand::Recover(args) => undo::recover(args, style),
    }
}

/// `linger __guardian`: the namespace is this process's own.
pub fn guardian(args: &GuardianArgs) -> anyhow::Result<u8> {
    let signals = Signals::hold_back().context("cannot hold signals back")?;
    let _stay = OwnCgroup::enter();
    let settings = settings(&Netns::current()?, args.proc_sys.as_deref())?;
    let guardian =
        Guardian { run: args.run, applier: args.applier, at_most: Duration::from_secs(args.at_most) };
    stand_guard(guardian, &Journal::open(&args.state_dir)?, settings.as_ref(), &signals)?;
    Ok(0)
}

/// The namespace asked for.
fn open(place: &OneNetns) -> anyhow::Result<Netns> {
    need_proc()?;
    let spec = Spec::parse(&place.netns)?;
    if spec == Spec::All {
        bail!("--netns all: settings are changed in one namespace at a time");
    }
    Ok(Netns::open(&spec)?)
}

fn settings(ns: &Netns, tree: Option<&Path>) -> anyhow::Result<Box<dyn Settings>> {
    Ok(match tree {
        Some(root) => Box::new(Tree::new(root)),
        None => Box::new(Namespace::new(ns)?),
    })
}

/// The journal in this folder; `None` where there is no such folder, which is not made.
fn journal(state: &StateArgs) -> anyhow::Result<Option<Journal>> {
    Ok(Journal::find(&state.state_dir)?)
}

/// The settings of a namespace that the journal names.
enum Whose {
    /// These.
    Found(Box<dyn Settings>),
    /// It is gone.
    Gone,
    /// It may be there, and not all places could be looked at; why.
    Unknown(String),
}

fn settings_of(mark: NetnsMark, tree: Option<&Path>) -> anyhow::Result<Whose> {
    // The same number, and another namespace.
    let same = |it: Box<dyn Settings>| if it.netns() == mark { Whose::Found(it) } else { Whose::Gone };
    let own = Netns::current()?;
    if tree.is_some() || own.inode() == mark.inode {
        return Ok(same(settings(&own, tree)?));
    }
    let reachable = linger_netns::reachable();
    match reachable.namespaces.into_iter().find(|ns| ns.inode() == mark.inode) {
        Some(ns) => Ok(same(settings(&ns, None)?)),
        None => Ok(reachable.gaps.into_iter().next().map_or(Whose::Gone, Whose::Unknown)),
    }
}

/// The running kernel's.
fn version() -> anyhow::Result<Version> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    Version::parse(&release)
        .with_context(|| format!("the kernel calls itself {release:?}, which is no version"))
}

/// The bytes of a regular file that is not longer than this: a device never ends, and a pipe may never begin.
fn bytes(path: &Path, most: u64) -> anyhow::Result<Vec<u8>> {
    let name = crate::render::clean(&path.display().to_string());
    let read = || -> anyhow::Result<Vec<u8>> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            bail!("it is no regular file");
        }
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            bail!("it has more than {} KiB", most >> 10);
        }
        Ok(bytes)
    };
    read().with_context(|| format!("cannot read {name}"))
}
