//! `cargo xtask gen`: files that linger itself writes, committed so that they can be read without it.

use crate::workspace::Workspace;
use crate::{lab, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Write the generated files: man pages, completions, schemas, the rules' manual, the default configuration
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail with the difference when a file is not up to date
    #[arg(long)]
    check: bool,
}

enum Output {
    /// The command's standard output is the file.
    File,
    /// The command writes files into the folder, whose path is its last argument.
    Folder,
}
use Output::{File, Folder};

/// What is generated, and by which arguments of `linger`.
const GENERATED: &[(&str, Output, &[&str])] = &[
    ("docs/man", Folder, &["__man", "--out"]),
    ("docs/completions/linger.bash", File, &["completions", "bash"]),
    ("docs/completions/_linger", File, &["completions", "zsh"]),
    ("docs/completions/linger.fish", File, &["completions", "fish"]),
    ("docs/schema", Folder, &["__schema", "--out"]),
    ("docs/rules.md", File, &["explain", "--all", "--format", "markdown"]),
    ("docs/linger.toml", File, &["config"]),
];

/// What holds nothing else: these folders as a whole, and the single files. What is no longer generated is removed.
const OWNED: &[&str] = &["docs/man", "docs/completions", "docs/schema", "docs/rules.md", "docs/linger.toml"];

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.check {
        return check(workspace);
    }
    let fresh = fresh(&workspace.build_linger()?)?;
    for owned in OWNED {
        let (from, to) = (fresh.path().join(owned), workspace.root.join(owned));
        if from.is_file() {
            copy(&from, &to)?;
            continue;
        }
        if to.exists() {
            fs::remove_dir_all(&to).with_context(|| format!("{owned} could not be removed"))?;
        }
        copy_folder(&from, &to)?;
    }
    Ok(())
}

/// Fails with the difference when a generated file is not what linger writes now.
pub fn check(workspace: &Workspace) -> Result<()> {
    let linger = workspace.build_linger()?;
    let fresh = fresh(&linger)?;
    let mut stale = Vec::new();
    for owned in OWNED {
        if !workspace.root.join(owned).exists() {
            println!("{owned} does not exist");
            stale.push(*owned);
            continue;
        }
        let mut diff = Command::new("diff");
        diff.arg("-ru").arg(owned).arg(fresh.path().join(owned)).current_dir(&workspace.root);
        let status = diff.status().context("diff (Debian's package diffutils) could not be started")?;
        match status.code() {
            Some(0) => {}
            Some(1) => stale.push(*owned),
            _ => bail!("`{}` ended with {status}", sh::line(&diff)),
        }
    }
    if !stale.is_empty() {
        bail!("not up to date: {}; to mend it: cargo xtask gen", stale.join(", "));
    }
    lab::check(&workspace.root, &linger)
}

/// Everything as linger writes it now, in a temporary folder.
fn fresh(linger: &Path) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    write_all(linger, folder.path())?;
    Ok(folder)
}

/// Writes every generated file under `root`.
pub fn write_all(linger: &Path, root: &Path) -> Result<()> {
    for (path, output, arguments) in GENERATED {
        write(linger, root, path, output, arguments)
            .with_context(|| format!("`linger {}` could not make {path}", arguments.join(" ")))?;
    }
    Ok(())
}

fn write(linger: &Path, root: &Path, path: &str, output: &Output, arguments: &[&str]) -> Result<()> {
    let to = root.join(path);
    let mut command = Command::new(linger);
    // The same text for everybody.
    command
        .args(arguments)
        .current_dir(root)
        .env("LC_ALL", "C.UTF-8")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100");
    match output {
        File => {
            let text = sh::output(&mut command)?;
            ensure!(!text.trim().is_empty(), "it printed nothing");
            fs::create_dir_all(to.parent().context("a folder")?)?;
            fs::write(&to, text)?;
        }
        Folder => {
            fs::create_dir_all(&to)?;
            sh::output(command.arg(&to))?;
            ensure!(fs::read_dir(&to)?.next().is_some(), "it wrote no file");
        }
    }
    Ok(())
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let (entry, name) = entry.map(|e| (e.path(), e.file_name()))?;
        if entry.is_dir() { copy_folder(&entry, &to.join(name))? } else { copy(&entry, &to.join(name))? }
    }
    Ok(())
}

/// Copies a file, making the folder for it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(from, to))
        .with_context(|| format!("{} could not be copied to {}", from.display(), to.display()))?;
    Ok(())
}
