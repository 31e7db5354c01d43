//! `linger lab`: incidents reproduced in network namespaces that vanish.

pub mod compare;
pub mod list;
pub mod load;
pub mod myths;
mod observer;
pub mod progress;
pub mod run;
pub mod runner;
mod settings;
pub mod show;

use crate::cli::{LabArgs, LabCommand};
use crate::render::style::Style;
use crate::targets::need_proc;
use anyhow::Context;
use linger_lab::Launcher;

/// Does what was asked for; the exit status.
pub fn run(args: &LabArgs, style: &Style) -> anyhow::Result<u8> {
    match &args.command {
        LabCommand::List(args) => list::run(args, style),
        LabCommand::Show(args) => show::run(args, style),
        LabCommand::Run(args) => run::run(args, style),
        LabCommand::Compare(args) => compare::run(args, style),
        LabCommand::Myths(args) => myths::run(args, style),
    }
}

/// Makes sure that this process may make network namespaces, and says what actors are started from. It must come
/// before the first thread.
fn enter() -> anyhow::Result<Launcher> {
    need_proc()?;
    if !linger_netns::has_sys_admin() {
        linger_netns::enter_user_namespace()?;
    }
    Launcher::this_program().context("cannot find this program, from which actors are started")
}
