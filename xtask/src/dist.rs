//! `cargo xtask dist`: what is handed out, each part tried before it is.

use crate::workspace::{Workspace, host_triple};
use crate::{generated, sh};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

/// Build what is handed out: a static binary, a tar.gz with its manuals, a Debian package
///
/// Everything goes to target/dist. The binary is tried in an empty root (as root), the package is unpacked and tried.
/// The same commit gives the same bytes wherever it is built with the same toolchain: times are the commit's, or
/// SOURCE_DATE_EPOCH.
#[derive(clap::Args)]
pub struct Args {}

/// Files of the repository that go beside the binary, where they exist.
const DOCUMENTS: [&str; 4] = ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"];

/// What systemd runs at boot.
const AT_BOOT: &str = "linger-tune-recover.service";
/// What systemd runs, and with what more its command is tried.
const UNIT_FILES: [(&str, &[&str]); 2] =
    [(AT_BOOT, &["--dry-run", "--state-dir", "/nonexistent/linger"]), ("linger.service", &["--help"])];
/// The folder of units, in the repository.
const UNITS: &str = "crates/linger/systemd";

pub fn run(workspace: &Workspace, _: &Args) -> Result<()> {
    let triple = host_triple()?;
    let architecture = triple.split('-').next().unwrap_or_default();
    let epoch = epoch(workspace);
    let dist = workspace.target.join("dist");
    let name = format!("linger-{}-{architecture}", workspace.version);
    let folder = dist.join(&name);
    for old in [&dist.join("tmp"), &folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("{} could not be removed", old.display()))?;
        }
    }

    let built = build(workspace, &triple)?;
    let binary = folder.join("linger");
    generated::copy(&built, &binary)?;
    is_static(&binary)?;
    starts_in_an_empty_root(&binary, &dist.join("tmp/root"), &workspace.version)?;

    let fresh = dist.join("tmp/generated");
    fs::create_dir_all(&fresh)?;
    generated::write_all(&binary, &fresh)?;
    generated::copy_folder(&fresh.join("docs"), &folder)?;
    for document in DOCUMENTS.iter().filter(|document| workspace.root.join(document).is_file()) {
        generated::copy(&workspace.root.join(document), &folder.join(document))?;
    }
    for (name, more) in UNIT_FILES {
        let unit = folder.join("systemd").join(name);
        generated::copy(&workspace.root.join(UNITS).join(name), &unit)?;
        unit_works(&unit, more, &binary, &dist.join("tmp/unit"))?;
    }
    settle(&folder, epoch)?;

    let archive = tar_gz(&dist, &name, epoch)?;
    let mut made = vec![binary, archive];
    if sh::which("dpkg-deb").is_some() {
        made.push(deb(workspace, &folder, &dist, epoch)?);
    } else {
        println!("SKIPPED: no .deb, dpkg-deb is missing");
    }
    fs::remove_dir_all(dist.join("tmp"))?;
    for path in made {
        let size = fs::metadata(&path)?.len() as f64 / (1 << 20) as f64;
        println!("{size:6.1} MiB  {}", path.display());
    }
    Ok(())
}

/// A release binary that holds the C library.
pub fn build(workspace: &Workspace, triple: &str) -> Result<PathBuf> {
    let home = |name: &str, default: &str| {
        std::env::var_os(name).map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(default)))
    };
    // Where it was built shows in panics; it must not.
    let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
    for (from, to) in [(home("CARGO_HOME", ".cargo"), "/cargo"), (Some(workspace.root.clone()), "/linger")] {
        if let Some(from) = from {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
    }
    let mut command = workspace.cargo("build");
    command
        .args(["--release", "--package", "linger", "--bin", "linger", "--target", triple])
        // With a --target the flags are not for build scripts and macros, which must be dynamic.
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS");
    sh::run(&mut command)?;
    Ok(workspace.target.join(triple).join("release/linger"))
}

/// No interpreter, no needed library.
fn is_static(binary: &Path) -> Result<()> {
    let told = sh::output(Command::new("readelf").args(["--wide", "--segments", "--dynamic"]).arg(binary))?;
    for sign in ["INTERP", "(NEEDED)"] {
        ensure!(!told.contains(sign), "{} is not static: it has {sign}\n{told}", binary.display());
    }
    println!("static: no interpreter, no needed library");
    Ok(())
}

fn starts_in_an_empty_root(binary: &Path, root: &Path, version: &str) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: that it starts in an empty root; only root may change the root");
        return Ok(());
    }
    generated::copy(binary, &root.join("linger"))?;
    let inside = |arguments: &[&str]| {
        sh::output(Command::new("chroot").arg(root).arg("/linger").args(arguments))
            .context("it does not start in an empty root")
    };
    is_version(&inside(&["--version"])?, version)?;
    ensure!(inside(&["check", "--help"])?.contains("--interval"), "`linger check --help` says nothing");
    println!("starts in an empty root");
    Ok(())
}

fn is_version(printed: &str, version: &str) -> Result<()> {
    ensure!(
        printed.split_whitespace().take(2).eq(["linger", version]),
        "`linger --version` printed {printed:?}, not `linger {version}`"
    );
    Ok(())
}

/// Its command line is one of this binary's, and systemd takes it where systemd-analyze is there to ask.
fn unit_works(unit: &Path, more: &[&str], binary: &Path, folder: &Path) -> Result<()> {
    let name = unit.file_name().unwrap_or_default().to_string_lossy();
    let text = fs::read_to_string(unit).with_context(|| format!("{}", unit.display()))?;
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ExecStart=")).collect();
    let [command] = commands.as_slice() else { bail!("{name} has {} commands, not one", commands.len()) };
    let Some(arguments) = command.strip_prefix("/usr/bin/linger ") else {
        bail!("{name} starts {command}, and the package has /usr/bin/linger")
    };
    // What the user adds is in a variable.
    let own = arguments.split_whitespace().filter(|word| !word.starts_with('$'));
    sh::output(Command::new(binary).args(own).args(more))
        .with_context(|| format!("{name}: linger does not take `{arguments}`"))?;
    if sh::which("systemd-analyze").is_none() {
        println!("SKIPPED: that systemd takes {name}; systemd-analyze is missing");
        return Ok(());
    }
    // With a program that is there.
    fs::create_dir_all(folder)?;
    let tried = folder.join(&*name);
    fs::write(&tried, text.replace("/usr/bin/linger ", &format!("{} ", binary.display())))?;
    sh::output(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&tried))
        .with_context(|| format!("systemd does not take {name}"))?;
    println!("{name}: linger and systemd take it");
    Ok(())
}

/// The time that everything bears: told from outside, the commit's, or that of no commit at all.
fn epoch(workspace: &Workspace) -> u64 {
    let told = std::env::var("SOURCE_DATE_EPOCH").ok();
    let commit = || {
        let mut git = Command::new("git");
        sh::output(git.args(["log", "-1", "--format=%ct"]).current_dir(&workspace.root)).ok()
    };
    let parse = |text: String| text.trim().parse().ok();
    told.and_then(parse).or_else(|| commit().and_then(parse)).unwrap_or(315_532_800)
}

/// Gives a tree the modes and times that it has wherever it is built.
fn settle(path: &Path, epoch: u64) -> Result<()> {
    if path.is_symlink() {
        // It has no mode; dpkg-deb gives it the time.
        return Ok(());
    }
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            settle(&entry?.path(), epoch)?;
        }
    }
    let runs = fs::metadata(path)?.permissions().mode() & 0o100 != 0;
    let mode = if runs { 0o755 } else { 0o644 };
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    fs::set_permissions(path, Permissions::from_mode(mode))
        .and_then(|()| File::open(path)?.set_modified(time))
        .with_context(|| format!("{}", path.display()))
}

fn tar_gz(dist: &Path, name: &str, epoch: u64) -> Result<PathBuf> {
    let tar = dist.join(format!("{name}.tar"));
    let mut command = Command::new("tar");
    command
        .args(["--create", "--format=ustar", "--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg(format!("--mtime=@{epoch}"))
        .arg("--file")
        .arg(&tar)
        .arg(name);
    sh::run(command.current_dir(dist))?;
    gzip(&tar)
}

/// Compresses in place; neither name nor time goes into the file.
fn gzip(path: &Path) -> Result<PathBuf> {
    sh::output(Command::new("gzip").args(["--best", "--no-name", "--force"]).arg(path))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    Ok(name.into())
}

/// Where the parts of `target/dist/linger-…` go on a Debian system; a folder gives its files, manuals are compressed.
const DEB_PLACES: &[(&str, &str)] = &[
    ("linger", "usr/bin/linger"),
    ("man", "usr/share/man/man1"),
    ("completions/linger.bash", "usr/share/bash-completion/completions/linger"),
    ("completions/_linger", "usr/share/zsh/vendor-completions/_linger"),
    ("completions/linger.fish", "usr/share/fish/vendor_completions.d/linger.fish"),
    ("schema", "usr/share/doc/linger/schema"),
    ("rules.md", "usr/share/doc/linger/rules.md"),
    ("linger.toml", "usr/share/doc/linger/examples/linger.toml"),
    ("systemd", "usr/lib/systemd/system"),
    ("README.md", "usr/share/doc/linger/README.md"),
    ("CHANGELOG.md", "usr/share/doc/linger/changelog"),
];

fn deb(workspace: &Workspace, folder: &Path, dist: &Path, epoch: u64) -> Result<PathBuf> {
    let tree = dist.join("tmp/deb");
    for (from, to) in DEB_PLACES {
        let (from, to) = (folder.join(from), tree.join(to));
        if from.is_dir() {
            generated::copy_folder(&from, &to)?;
        } else if from.is_file() {
            generated::copy(&from, &to)?;
        }
    }
    // It does nothing without a journal, so it may be on from the start; `systemctl mask` turns it off.
    let wants = tree.join("usr/lib/systemd/system/sysinit.target.wants");
    fs::create_dir_all(&wants)?;
    symlink(Path::new("..").join(AT_BOOT), wants.join(AT_BOOT))?;
    for page in fs::read_dir(tree.join("usr/share/man/man1"))? {
        gzip(&page?.path())?;
    }
    let changelog = tree.join("usr/share/doc/linger/changelog");
    if changelog.is_file() {
        gzip(&changelog)?;
    }
    fs::write(tree.join("usr/share/doc/linger/copyright"), copyright(workspace)?)?;

    let architecture = sh::output(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    // A pre-release comes before its release.
    let version = workspace.version.replace('-', "~");
    let control = fs::read_to_string(workspace.root.join("dist/deb/control"))?
        .replace("@VERSION@", &version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@INSTALLED_SIZE@", &size(&tree)?.div_ceil(1024).to_string())
        .replace("@DESCRIPTION@", workspace.description.trim_end_matches('.'));
    fs::create_dir_all(tree.join("DEBIAN"))?;
    fs::write(tree.join("DEBIAN/control"), control)?;
    settle(&tree, epoch)?;

    let deb = dist.join(format!("linger_{version}_{architecture}.deb"));
    let mut command = Command::new("dpkg-deb");
    command.args(["--build", "--root-owner-group"]).arg(&tree).arg(&deb);
    sh::run(command.env("SOURCE_DATE_EPOCH", epoch.to_string()))?;
    deb_works(&deb, &dist.join("tmp/unpacked"), &workspace.version)?;
    Ok(deb)
}

/// The MIT licence's text stands in the file, as Debian wants it; it knows the other one.
fn copyright(workspace: &Workspace) -> Result<String> {
    ensure!(
        workspace.license == "MIT OR Apache-2.0",
        "the licence is {}: write dist/deb/copyright anew",
        workspace.license
    );
    let mit: String = fs::read_to_string(workspace.root.join("LICENSE-MIT"))?
        .trim_end()
        .lines()
        .map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") })
        .collect();
    Ok(fs::read_to_string(workspace.root.join("dist/deb/copyright"))?.replace("@MIT@\n", &mit))
}

fn size(path: &Path) -> Result<u64> {
    if path.is_symlink() {
        return Ok(0);
    }
    if !path.is_dir() {
        return Ok(fs::metadata(path)?.len());
    }
    fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

fn deb_works(deb: &Path, unpacked: &Path, version: &str) -> Result<()> {
    let ask = |question: &str| sh::output(Command::new("dpkg-deb").arg(question).arg(deb));
    print!("{}", ask("--info")?);
    let contents = ask("--contents")?;
    print!("{contents}");
    for expected in [
        "./usr/bin/linger\n",
        "./usr/share/man/man1/linger.1.gz\n",
        "./usr/share/bash-completion/completions/linger\n",
        "./usr/share/zsh/vendor-completions/_linger\n",
        "./usr/share/fish/vendor_completions.d/linger.fish\n",
        "./usr/share/doc/linger/copyright\n",
        "./usr/lib/systemd/system/linger.service\n",
        "./usr/lib/systemd/system/linger-tune-recover.service\n",
        "./usr/lib/systemd/system/sysinit.target.wants/linger-tune-recover.service -> ../linger-tune-recover.service\n",
    ] {
        ensure!(contents.contains(expected), "the package lacks {}", expected.trim_end());
    }
    let foreign = contents.lines().find(|line| line.split_whitespace().nth(1) != Some("root/root"));
    if let Some(line) = foreign {
        bail!("not root's: {line}");
    }
    sh::output(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(unpacked))?;
    is_version(&sh::output(Command::new(unpacked.join("usr/bin/linger")).arg("--version"))?, version)?;
    println!("the package unpacks, and what is in it starts");
    Ok(())
}
