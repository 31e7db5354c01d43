//! `cargo xtask test`: everything that CI checks, in named steps.

use crate::workspace::{Workspace, ci};
use crate::{bpf, fuzz, generated, needs, sh, vm};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Run every check that CI runs, stopping at the first that fails
///
/// As root it first installs from Debian what the tests need and is missing; else it says what is missing and what is
/// skipped for that. With CI=true nothing may be skipped, snapshots are never written, and the lock files must be
/// right as they are.
#[derive(clap::Args)]
pub struct Args {
    /// Steps to run; all of them when none is named
    #[arg(value_name = "ONLY")]
    only: Vec<Step>,
    /// Install nothing
    #[arg(long)]
    no_install: bool,
    /// Seconds for each fuzz target; by default three, and less where there are many
    #[arg(long, value_name = "N")]
    fuzz_seconds: Option<u64>,
}

/// A step, in the order in which they run: what fails fast comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Step {
    /// Formatting
    Fmt,
    /// Lints, of every target
    Clippy,
    /// The documentation builds, and its links lead somewhere
    Doc,
    /// BPF objects are what their sources compile to
    Bpf,
    /// Generated files are up to date
    Gen,
    /// Unit, golden, property and end-to-end tests
    Test,
    /// The command on Debian's other kernels, in qemu
    Vm,
    /// Every fuzz target for a few seconds
    Fuzz,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Step::Fmt => "fmt",
            Step::Clippy => "clippy",
            Step::Doc => "doc",
            Step::Bpf => "bpf",
            Step::Gen => "gen",
            Step::Test => "test",
            Step::Vm => "vm",
            Step::Fuzz => "fuzz",
        }
    }
}

/// A step that is over.
struct Done {
    step: Step,
    took: Duration,
    /// What was not tried, and why.
    skipped: Vec<String>,
}

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let steps: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(|step| args.only.is_empty() || args.only.contains(step))
        .collect();
    let missing = needs::provide(&steps, !args.no_install)?;
    let mut done = Vec::new();
    for step in steps {
        let mut lacks: Vec<String> = missing.iter().filter(|n| n.is_for(step)).map(|n| n.lack()).collect();
        eprintln!("\n=== {} ===", step.name());
        let start = Instant::now();
        let outcome = match step {
            Step::Fmt => fmt(workspace),
            Step::Clippy => clippy(workspace),
            Step::Doc => doc(workspace),
            Step::Bpf if lacks.is_empty() => bpf::check(&workspace.root).map(|()| Vec::new()),
            Step::Bpf => Ok(Vec::new()),
            Step::Gen => generated::check(workspace).map(|()| Vec::new()),
            Step::Test => cargo_test(workspace),
            Step::Vm => vm::step(workspace),
            Step::Fuzz if lacks.is_empty() => fuzz::smoke(workspace, args.fuzz_seconds).map(|()| Vec::new()),
            Step::Fuzz => Ok(Vec::new()),
        };
        let took = start.elapsed();
        match outcome {
            Ok(mut skipped) => {
                lacks.retain(|lack| !skipped.contains(lack));
                skipped.splice(0..0, lacks);
                done.push(Done { step, took, skipped });
            }
            Err(error) => {
                summary(&done);
                println!("  {:8} {:>6.1} s  FAILED", step.name(), took.as_secs_f64());
                let name = step.name();
                bail!("{name}: {error:#}\nto run this step alone: cargo xtask test {name}");
            }
        }
    }
    summary(&done);
    let total: Duration = done.iter().map(|d| d.took).sum();
    println!("  {:8} {:>6.1} s", "total", total.as_secs_f64());
    Ok(())
}

fn summary(done: &[Done]) {
    println!("\n=== summary ===");
    for Done { step, took, skipped } in done {
        let word = if skipped.is_empty() { "ok" } else { "ok, but skipped:" };
        println!("  {:8} {:>6.1} s  {word}", step.name(), took.as_secs_f64());
        for skipped in skipped {
            println!("             {skipped}");
        }
    }
}

fn fmt(workspace: &Workspace) -> Result<Vec<String>> {
    sh::run(workspace.cargo("fmt").args(["--all", "--check"]))?;
    sh::run(workspace.cargo("fmt").args(["--manifest-path", "fuzz/Cargo.toml", "--check"]))?;
    Ok(Vec::new())
}

fn clippy(workspace: &Workspace) -> Result<Vec<String>> {
    sh::run(workspace.cargo("clippy").args([
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok(Vec::new())
}

fn doc(workspace: &Workspace) -> Result<Vec<String>> {
    let mut command = workspace.cargo("doc");
    command.args(["--workspace", "--no-deps", "--document-private-items"]);
    sh::run(command.env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(Vec::new())
}

/// A test that cannot run here prints `SKIPPED: why` and passes (in CI it fails). Passing tests are made to show what
/// they print, and all but those lines is left out again.
fn cargo_test(workspace: &Workspace) -> Result<Vec<String>> {
    let cargo = workspace.cargo("test");
    // A shell that starts this in the background, or nohup, has these signals ignored, and so would all that the tests
    // start and end with them.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,QUIT").arg(cargo.get_program()).args(cargo.get_args());
    command.args(["--workspace", "--no-fail-fast", "--", "--show-output"]).env("PATH", sh::search_path());
    command.current_dir(&workspace.root);
    if ci() {
        command.env("INSTA_UPDATE", "no");
    }
    sh::announce(&command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{}` could not be started", sh::line(&command)))?;
    let stdout = child.stdout.take().context("a pipe")?;
    let mut filter = Filter::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("the tests' output")?).into_owned();
        if filter.shows(&line) {
            // A reader that went away is no reason to stop the tests.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
    let status = child.wait().context("the tests' end")?;
    if !status.success() {
        let hint =
            if ci() { "" } else { "; changed snapshots: cargo insta review, or read the *.snap.new files" };
        bail!("`{}` ended with {status}{hint}", sh::line(&command));
    }
    Ok(filter.skipped)
}

/// Leaves out what passing tests printed, and keeps who was skipped.
#[derive(Default)]
struct Filter {
    in_successes: bool,
    test: String,
    skipped: Vec<String>,
}

impl Filter {
    fn shows(&mut self, line: &str) -> bool {
        if line == "successes:" {
            self.in_successes = true;
        } else if line == "failures:" || line.starts_with("test result: ") {
            self.in_successes = false;
        } else if let Some(test) =
            line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            test.clone_into(&mut self.test);
        } else if let Some(why) = line.strip_prefix("SKIPPED: ") {
            self.skipped.push(format!("{}: {why}", self.test));
        }
        !self.in_successes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passing_tests_print_is_left_out_and_skips_are_kept() {
        let output = "running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nsuccesses:\n\n---- a stdout ----\nnoise\n\
                      SKIPPED: no nft\n\n\nsuccesses:\n    a\n\nfailures:\n\n---- b stdout ----\npanicked\n\n\
                      failures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed\n";
        let mut filter = Filter::default();
        let shown: Vec<&str> = output.lines().filter(|line| filter.shows(line)).collect();
        assert_eq!(filter.skipped, ["a: no nft"]);
        assert!(!shown.contains(&"noise") && !shown.contains(&"    a"));
        assert!(shown.contains(&"panicked") && shown.contains(&"    b"));
        assert_eq!(shown.last(), Some(&"test result: FAILED. 1 passed; 1 failed"));
    }
}
