//! `linger lab myths`

use super::progress::Board;
use super::run::seen;
use crate::UNKNOWN;
use crate::cli::MythsArgs;
use crate::cmd::show;
use crate::nearest::hint;
use crate::render::clean;
use crate::render::lab_myths::text;
use crate::render::style::Style;
use anyhow::bail;
use linger_lab::myths::{MythResult, all, measure_all};
use schemars::JsonSchema;
use serde::Serialize;

/// Beliefs, measured.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MythsReport {
    /// The version of this format: 1.
    pub schema: u32,
    /// The kernel they were measured on.
    pub kernel: String,
    /// Beliefs, in the order of the list.
    pub myths: Vec<MythResult>,
}

/// Measures and prints.
pub fn run(args: &MythsArgs, style: &Style) -> anyhow::Result<u8> {
    for name in &args.names {
        if all().iter().all(|it| it.name != name) {
            let near = hint(name, all().iter().map(|it| it.name));
            let names: Vec<&str> = all().iter().map(|it| it.name).collect();
            let list = if near.is_empty() { format!("; there are {}", names.join(", ")) } else { near };
            bail!("no myth {:?}{list}", clean(name));
        }
    }
    let launcher = super::enter()?;
    let total =
        all().iter().filter(|it| args.names.is_empty() || args.names.iter().any(|name| name == it.name));
    let board = Board::new(total.count());
    board.begin("measuring");
    let myths = measure_all(&launcher, &args.names, |_, _| board.done("measuring"))?;
    drop(board);
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let report = MythsReport { schema: 1, kernel, myths };
    let status = if report.myths.iter().any(|it| it.measured.is_none()) { UNKNOWN } else { 0 };
    seen(show(args.format, &report, |report| text(report, style, args.verbose)), status)
}
