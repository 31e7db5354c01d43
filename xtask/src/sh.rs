//! Running programs. None of them gets a standard input.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Says what is run, runs it, and fails unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| cannot_start(command))?;
    if !status.success() {
        bail!("`{}` ended with {status}", line(command));
    }
    Ok(())
}

/// Runs quietly; gives its standard output, or an error that has its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| cannot_start(command))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` ended with {}\n{}", line(command), output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{}`", line(command)))
}

/// Prints the command as one would type it.
pub fn announce(command: &Command) {
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let set: String = set
        .filter(|(name, _)| !["PATH", "CARGO_ENCODED_RUSTFLAGS"].iter().any(|hidden| name == hidden))
        .map(|(name, value)| format!("{}={} ", name.to_string_lossy(), quoted(value)))
        .collect();
    eprintln!("$ {set}{}", line(command));
}

/// The command's words.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words: Vec<String> = std::iter::once(program).chain(command.get_args()).map(quoted).collect();
    words.join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./,:@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn cannot_start(command: &Command) -> String {
    format!("`{}` could not be started", line(command))
}

/// `PATH` with the folders of administrators' programs, which a user's lacks on Debian.
pub fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    [path.as_str(), "/usr/sbin", "/sbin"]
        .iter()
        .filter(|p| !p.is_empty())
        .copied()
        .collect::<Vec<_>>()
        .join(":")
}

/// Where a program is.
pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path()).map(|folder| folder.join(program)).find(|path| path.is_file())
}
