//! `cargo xtask bpf`: the programs for the kernel, compiled and committed, so that who builds linger needs no clang.

use crate::sh;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compile the BPF programs (crates/trace/src/*/probe.bpf.c) to the objects beside them
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail when an object is not what its source compiles to
    #[arg(long)]
    check: bool,
}

/// Where the probes are, from the workspace's root.
const PROBES: &str = "crates/trace/src";

/// Another compiler makes other objects, so it is pinned.
const CLANG: &str = "clang-14";
const STRIP: &str = "llvm-strip-14";

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if args.check { check(&workspace.root) } else { write(&workspace.root) }
}

fn write(root: &Path) -> Result<()> {
    for source in sources(root)? {
        compile(root, &source, &root.join(source.with_extension("o")))?;
    }
    Ok(())
}

/// Fails when an object is not what its source compiles to.
pub fn check(root: &Path) -> Result<()> {
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let mut stale = Vec::new();
    for source in sources(root)? {
        let (fresh, object) = (folder.path().join("probe.o"), source.with_extension("o"));
        compile(root, &source, &fresh)?;
        let committed = fs::read(root.join(&object)).unwrap_or_default();
        if committed != fs::read(&fresh)? {
            stale.push(object.display().to_string());
        }
    }
    if !stale.is_empty() {
        bail!("not what the source compiles to: {}; to mend it: cargo xtask bpf", stale.join(", "));
    }
    Ok(())
}

/// The programs' sources, from the root.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(root.join(PROBES)).context(PROBES)? {
        let name = entry?.file_name();
        let source = Path::new(PROBES).join(name).join("probe.bpf.c");
        if root.join(&source).is_file() {
            sources.push(source);
        }
    }
    sources.sort();
    ensure!(!sources.is_empty(), "{PROBES} has no probe");
    Ok(sources)
}

/// The same bytes from whichever folder: the paths in the line information are relative to the root.
fn compile(root: &Path, source: &Path, object: &Path) -> Result<()> {
    let mut clang = Command::new(CLANG);
    clang
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Wextra", "-Werror"])
        // A user's own header folders and environment play no part.
        .args(["-nostdinc", "-fno-ident", "-fdebug-compilation-dir=."])
        .arg(format!("-ffile-prefix-map={}=.", root.display()))
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .env_remove("CPATH")
        .env_remove("C_INCLUDE_PATH")
        .current_dir(root);
    sh::run(&mut clang).context("Debian's packages clang-14 and llvm-14 compile the BPF programs")?;
    // The kernel reads BTF; DWARF is for nobody.
    let mut strip = Command::new(STRIP);
    sh::run(strip.arg("--strip-debug").arg(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_compiles_to_the_same_bytes_in_any_folder() {
        if sh::which(CLANG).is_none() || sh::which(STRIP).is_none() {
            assert!(!crate::workspace::ci(), "{CLANG} and {STRIP} are missing");
            println!("SKIPPED: {CLANG} or {STRIP} is missing");
            return;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let longer = folders[1].path().join("another/checkout");
        let mut objects = Vec::new();
        for to in [folders[0].path(), longer.as_path()] {
            for source in sources(root).expect("probes") {
                let headers = root.join(PROBES).join("bpf");
                let copied = to.join(PROBES).join("bpf");
                fs::create_dir_all(&copied).expect("a folder");
                for header in fs::read_dir(headers).expect("headers") {
                    let header = header.expect("a header");
                    fs::copy(header.path(), copied.join(header.file_name())).expect("copied");
                }
                fs::create_dir_all(to.join(&source).parent().expect("a folder")).expect("a folder");
                fs::copy(root.join(&source), to.join(&source)).expect("copied");
            }
            write(to).expect("compiled");
            let objects_of = |to: &Path| -> Vec<Vec<u8>> {
                let sources = sources(to).expect("probes");
                sources.iter().map(|s| fs::read(to.join(s.with_extension("o"))).expect("an object")).collect()
            };
            objects.push(objects_of(to));
            check(to).expect("just written");
        }
        assert!(objects[0] == objects[1], "the folder is in the object");
        let source = longer.join(&sources(&longer).expect("probes")[0]);
        let changed = fs::read_to_string(&source).expect("source") + "\nint one_more = 1;\n";
        fs::write(&source, changed).expect("written");
        assert!(check(&longer).expect_err("stale").to_string().contains("cargo xtask bpf"));
    }
}
