//! `linger`: the TCP connection-state doctor for Linux.
//!
//! This crate puts the others together and knows nothing of the kernel by itself: `cli` says what can be asked,
//! `cmd` does it, `render` shows it.
#![forbid(unsafe_code)]

mod archive;
mod cli;
mod cmd;
mod config;
mod diagnose;
mod filters;
mod group;
mod import;
mod kept;
mod nearest;
mod recording;
mod render;
mod targets;
mod trend;

use clap::Parser;
use clap::error::ErrorKind;
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit status of usage errors, and of questions that could not be answered (as monitoring plugins have it).
const UNKNOWN: u8 = 3;

fn main() -> ExitCode {
    let args = match cli::Cli::try_parse() {
        Ok(args) => args,
        Err(mut error) => {
            cli::offer_what_is_shown(&mut error);
            // Help and version are no errors.
            let status = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
                _ => UNKNOWN,
            };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    let result = cmd::run(args);
    let flushed = io::stdout().flush();
    match result {
        Ok(status) => match flushed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error.into()),
            _ => ExitCode::from(status),
        },
        Err(error) => fail(&error),
    }
}

/// Whether whoever reads has enough: `linger states | head` is no error.
fn reader_left(error: &anyhow::Error) -> bool {
    let broken_pipe = |e: &(dyn std::error::Error + 'static)| {
        e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken_pipe)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    if reader_left(error) {
        return ExitCode::SUCCESS;
    }
    // Programs, files and peers have their words in it.
    let text = format!("{error:#}");
    let lines: Vec<String> = text.lines().map(render::clean).collect();
    let _ = writeln!(io::stderr(), "linger: {}", lines.join("\n"));
    ExitCode::from(UNKNOWN)
}
