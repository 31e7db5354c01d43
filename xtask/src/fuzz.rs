//! `cargo xtask fuzz`: libFuzzer on the stable toolchain.
//!
//! This is what `cargo fuzz run -s none` does: LLVM's coverage counters are compiled into every dependency, and
//! libfuzzer-sys brings the engine. A sanitizer would need a nightly toolchain, and finds nothing in code without
//! `unsafe`.

use crate::sh;
use crate::workspace::{Workspace, ci, host_triple};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;

/// Run fuzz targets: feed parsers with mutated inputs until one panics
///
/// Starts from the inputs in fuzz/seeds/TARGET and from what earlier runs found in fuzz/corpus/TARGET. An input that
/// makes a target panic is written to fuzz/artifacts/TARGET: mend the parser, and commit the input under fuzz/seeds.
#[derive(clap::Args)]
pub struct Args {
    /// Target to run, a file of fuzz/fuzz_targets; all of them when none is named
    target: Option<String>,
    /// Seconds for each target
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Run the target once, on this input
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
    /// Name the targets
    #[arg(long, exclusive = true)]
    list: bool,
}

/// All targets together may take about this long in `cargo xtask test`, on one core.
const SMOKE_SECONDS: u64 = 50;

const COVERAGE: [&str; 7] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cforce-frame-pointers=yes",
];

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let mut targets = targets(workspace)?;
    if args.list {
        targets.iter().for_each(|target| println!("{target}"));
        return Ok(());
    }
    if let Some(wanted) = &args.target {
        if !targets.contains(wanted) {
            bail!("no fuzz target is named {wanted}; there are: {}", targets.join(", "));
        }
        targets = vec![wanted.clone()];
    }
    let folder = build(workspace)?;
    if let (Some(input), [target]) = (&args.replay, targets.as_slice()) {
        let input = fs::canonicalize(input).with_context(|| format!("{}", input.display()))?;
        return sh::run(Command::new(folder.join(target)).arg(input));
    }
    fuzz(workspace, &folder, &targets, args.seconds)
}

/// Every target for a few seconds. They are no part of the workspace, so that their lints are looked at here.
pub fn smoke(workspace: &Workspace, seconds: Option<u64>) -> Result<()> {
    let targets = targets(workspace)?;
    sh::run(cargo(workspace, "clippy", &host_triple()?).args(["--", "-D", "warnings"]))?;
    let folder = build(workspace)?;
    let seconds = seconds.unwrap_or_else(|| (SMOKE_SECONDS / targets.len() as u64).clamp(1, 3));
    fuzz(workspace, &folder, &targets, seconds)
}

fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for file in fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))? {
        let path = file?.path();
        if let (Some(name), Some("rs")) = (path.file_stem(), path.extension().and_then(|e| e.to_str())) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets and says where they are.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let triple = host_triple()?;
    sh::run(&mut cargo(workspace, "build", &triple)).with_context(|| {
        let hint = "; is fuzz/Cargo.lock up to date? Without CI=true it is brought up to date";
        format!("the fuzz targets do not build{}", if ci() { hint } else { "" })
    })?;
    Ok(workspace.target.join("fuzz").join(triple).join("release"))
}

/// A cargo command on all targets, with coverage.
fn cargo(workspace: &Workspace, subcommand: &str, triple: &str) -> Command {
    let mut command = workspace.cargo(subcommand);
    command
        .args(["--manifest-path", "fuzz/Cargo.toml", "--release", "--bins", "--target", triple])
        // With a --target the flags are not for build scripts and macros.
        .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        .env("CARGO_TARGET_DIR", workspace.target.join("fuzz"));
    command
}

/// Runs targets, as many at a time as there are cores, and fails with all that crashed.
fn fuzz(workspace: &Workspace, folder: &Path, targets: &[String], seconds: u64) -> Result<()> {
    eprintln!("{} fuzz targets, {seconds} s each", targets.len());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(targets.iter());
    let crashes = Mutex::new(Vec::new());
    let next = || queue.lock().expect("no panic").next();
    std::thread::scope(|scope| {
        for _ in 0..cores.min(targets.len()) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    if let Err(error) = fuzz_one(workspace, folder, target, seconds, targets.len() == 1) {
                        crashes.lock().expect("no panic").push(format!("{target}: {error:#}"));
                    }
                }
            });
        }
    });
    let crashes = crashes.into_inner().expect("no panic");
    if !crashes.is_empty() {
        bail!("{}", crashes.join("\n"));
    }
    Ok(())
}

/// Runs one target, showing all that it says or only how it ended.
fn fuzz_one(workspace: &Workspace, folder: &Path, target: &str, seconds: u64, loud: bool) -> Result<()> {
    let place = |kind: &str| workspace.root.join("fuzz").join(kind).join(target);
    let (corpus, artifacts, seeds) = (place("corpus"), place("artifacts"), place("seeds"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let program = folder.join(target);
    let mut command = Command::new(&program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=5", "-rss_limit_mb=1024"])
        .arg(&corpus);
    if seeds.is_dir() {
        command.arg(&seeds);
    }
    let (status, said) = watch(&mut command, loud).with_context(|| {
        format!("{} could not be started; has fuzz/Cargo.toml a [[bin]] for it?", program.display())
    })?;
    if status.success() {
        let last = said.iter().rev().find(|line| line.contains("DONE")).map_or("", |line| line.trim());
        eprintln!("  {target:16} {last}");
        return Ok(());
    }
    if !loud {
        said.iter().skip(said.len().saturating_sub(60)).for_each(|line| eprintln!("  {target}: {line}"));
    }
    let file =
        said.iter().find_map(|line| line.split_once("Test unit written to ")).map(|(_, file)| file.trim());
    match file.map(|file| Path::new(file).strip_prefix(&workspace.root).unwrap_or(Path::new(file))) {
        Some(file) => bail!(
            "an input makes it fail: {0}\nagain: cargo xtask fuzz {target} --replay {0}\nonce mended: commit it as \
             fuzz/seeds/{target}/WHAT_IT_IS",
            file.display()
        ),
        None => bail!("ended with {status}"),
    }
}

/// Runs to the end, and gives what was said.
fn watch(command: &mut Command, loud: bool) -> std::io::Result<(ExitStatus, Vec<String>)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if loud {
                eprintln!("{line}");
            }
            said.push(line);
        }
    }
    Ok((child.wait()?, said))
}
