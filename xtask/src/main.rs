//! Developers' commands: `cargo xtask --help`.
#![forbid(unsafe_code)]

mod bench;
mod bpf;
mod dist;
mod fuzz;
mod generated;
mod lab;
mod needs;
mod sh;
mod test;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "The commands of linger's developers",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Test(test::Args),
    Fuzz(fuzz::Args),
    Gen(generated::Args),
    Bpf(bpf::Args),
    Dist(dist::Args),
    /// Measure linger beside ss and netstat, as ratios
    Bench(bench::Args),
    Lab(lab::Args),
    VmTest(vm::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = Workspace::find().and_then(|workspace| match cli.command {
        Command::Test(args) => test::run(&workspace, &args),
        Command::Fuzz(args) => fuzz::run(&workspace, &args),
        Command::Gen(args) => generated::run(&workspace, &args),
        Command::Bpf(args) => bpf::run(&workspace, &args),
        Command::Dist(args) => dist::run(&workspace, &args),
        Command::Bench(args) => bench::run(&workspace, &args),
        Command::Lab(args) => lab::run(&workspace, &args),
        Command::VmTest(args) => vm::run(&workspace, &args),
    });
    // Not anyhow's own print, which adds a backtrace where RUST_BACKTRACE is set for the tests.
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nFAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}
