//! `linger explain`

use crate::cli::ExplainArgs;
use crate::render::style::Style;

/// Prints what is known of each term.
pub fn run(args: &ExplainArgs, style: &Style) -> anyhow::Result<u8> {
    let _ = (args, style);
    Ok(0)
}
