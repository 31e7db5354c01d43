//! `cargo xtask vm-test`: linger on other kernels.

mod cpio;
mod guest;
mod kernel;
mod plan;

use crate::workspace::{Workspace, ci};
use crate::{dist, sh};
use anyhow::{Context, Result, bail, ensure};
use cpio::Archive;
use guest::{Outcome, Run};
use kernel::Kernel;
use plan::{Check, PLAN};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Boot Debian's kernels in qemu and try linger there, with and without the kernel modules that it reads through
///
/// The kernels' packages are fetched with apt-get and unpacked under target/vm; they are never installed. A guest has
/// no network and no disk. Everything that it reported is kept beside its kernel.
#[derive(clap::Args)]
pub struct Args {
    /// Series of kernels
    #[arg(value_name = "KERNEL", default_values_t = SERIES.map(str::to_owned))]
    kernels: Vec<String>,
    /// Seconds after which a guest is killed
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    timeout: u64,
    /// Take the static release build, as `cargo xtask dist` makes it
    #[arg(long)]
    release: bool,
}

const SERIES: [&str; 2] = ["6.1", "6.12"];
const SECONDS: u64 = 1200;

pub fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if let Some(lack) = lack() {
        bail!("{lack}; Debian's packages for this are qemu-system-x86, busybox-static and xz-utils");
    }
    let kernels = args.kernels.iter().map(|series| kernel::fetch(series, &folder(workspace)));
    let kernels = kernels.collect::<Result<Vec<Kernel>>>()?;
    for skipped in test(workspace, &kernels, args.release, Duration::from_secs(args.timeout))? {
        println!("SKIPPED: {skipped}");
    }
    Ok(())
}

/// The step of `cargo xtask test`: what this machine cannot try is skipped, and a failure in CI.
pub fn step(workspace: &Workspace) -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    let mut kernels = Vec::new();
    match lack() {
        Some(lack) => skipped.push(lack),
        None => {
            for series in SERIES {
                match kernel::fetch(series, &folder(workspace)) {
                    Ok(kernel) => kernels.push(kernel),
                    Err(error) => skipped.push(format!("linger on kernel {series}: {error:#}")),
                }
            }
        }
    }
    if !kernels.is_empty() {
        skipped.extend(test(workspace, &kernels, false, Duration::from_secs(SECONDS))?);
    }
    if ci() && !skipped.is_empty() {
        bail!("in CI nothing may be skipped:\n{}", skipped.join("\n"));
    }
    for skipped in &skipped {
        println!("SKIPPED: {skipped}");
    }
    Ok(skipped)
}

/// Why no guest can be made here.
fn lack() -> Option<String> {
    if !cfg!(target_arch = "x86_64") {
        return Some("linger on other kernels: they are those of x86-64 machines".to_owned());
    }
    let programs = ["qemu-system-x86_64", "busybox", "xz", "setpriv", "ldd", "apt-get", "dpkg-deb"];
    let program = programs.into_iter().find(|program| sh::which(program).is_none())?;
    Some(format!("linger on other kernels: {program} is missing"))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("vm")
}

/// Runs the plan on these kernels side by side; gives what was skipped, and fails if any check did.
fn test(workspace: &Workspace, kernels: &[Kernel], release: bool, limit: Duration) -> Result<Vec<String>> {
    let linger = if release {
        dist::build(workspace, &crate::workspace::host_triple()?)?
    } else {
        workspace.build_linger()?
    };
    let facts = build_test(workspace, "running_kernel")?;
    let e2e = build_test(workspace, "e2e")?;
    // Where cargo told the tests that it is.
    let expected = workspace.target.join("debug/linger");
    let (plan, left): (Vec<&Check>, Vec<&Check>) =
        PLAN.iter().partition(|check| check.programs.iter().all(|program| sh::which(program).is_some()));
    let mut programs = BTreeMap::from([("linger", linger), ("running_kernel", facts), ("e2e", e2e)]);
    for program in plan.iter().flat_map(|check| check.programs).chain(&["busybox"]) {
        programs.insert(program, sh::which(program).with_context(|| format!("{program} is missing"))?);
    }
    for program in plan::SERVERS {
        programs.extend(sh::which(program).map(|path| (*program, path)));
    }
    let folder = folder(workspace);
    let runs: Vec<Result<Run>> = std::thread::scope(|scope| {
        let guests: Vec<_> = kernels
            .iter()
            .map(|kernel| scope.spawn(|| boot(kernel, &programs, &expected, &plan, &folder, limit)))
            .collect();
        let join = |guest: std::thread::ScopedJoinHandle<'_, _>| {
            guest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        guests.into_iter().map(join).collect()
    });
    let mut failed = Vec::new();
    for (kernel, run) in kernels.iter().zip(runs) {
        let run = run.with_context(|| kernel.release.clone())?;
        let transcript = folder.join(format!("{}.report", kernel.release));
        fs::write(&transcript, &run.transcript).with_context(|| format!("{}", transcript.display()))?;
        let wrong = judge(&plan, &run, &kernel.release);
        if wrong > 0 {
            println!("  all that was reported: {}", transcript.display());
            failed.push(format!("{wrong} on {}", kernel.release));
        }
    }
    ensure!(failed.is_empty(), "checks failed: {}", failed.join(", "));
    let lack = |check: &&Check| {
        format!("{} on other kernels: {} is missing", check.name, check.programs.join(" or "))
    };
    Ok(left.iter().map(lack).collect())
}

/// Prints how each check went, and gives how many failed.
fn judge(plan: &[&Check], run: &Run, release: &str) -> usize {
    println!("\n{release}");
    if let Some(boot) = run.boot {
        println!("  {:24} {:>6.1} s  ok", "boot", boot.as_secs_f64());
    }
    let mut wrong = usize::from(run.failure.is_some());
    for check in plan {
        let Some(step) = run.steps.iter().find(|step| step.name == check.name) else {
            println!("  {:24} {:>8}  not reached", check.name, "");
            continue;
        };
        let seconds = step.took.as_secs_f64();
        match (check.expect)(&step.outcome, release) {
            Ok(()) => println!("  {:24} {seconds:>6.1} s  ok", check.name),
            Err(error) => {
                wrong += 1;
                println!("  {:24} {seconds:>6.1} s  FAILED: {error:#}", check.name);
                print!("{}", excerpt(&step.outcome));
            }
        }
    }
    if let Some(failure) = &run.failure {
        println!("  FAILED: {}", failure.replace('\n', "\n    "));
    }
    wrong
}

/// The end of what a failed step printed.
fn excerpt(outcome: &Outcome) -> String {
    const LINES: usize = 20;
    let mut text = String::new();
    for (name, stream) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        let lines: Vec<&str> = stream.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            let _ = writeln!(text, "    {name}: {line}");
        }
    }
    text
}

/// Builds a test and says where it is.
fn build_test(workspace: &Workspace, test: &str) -> Result<PathBuf> {
    // Of the whole workspace, so that what `cargo test --workspace` has built is taken.
    let mut command = workspace.cargo("test");
    command.args(["--workspace", "--test", test, "--no-run", "--message-format=json-render-diagnostics"]);
    sh::announce(&command);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cargo test")?;
    ensure!(output.status.success(), "`{}` ended with {}", sh::line(&command), output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages")?;
    let built = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == test)
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    built.with_context(|| format!("cargo built no test {test}"))
}

fn boot(
    kernel: &Kernel,
    programs: &BTreeMap<&str, PathBuf>,
    linger: &Path,
    plan: &[&Check],
    folder: &Path,
    limit: Duration,
) -> Result<Run> {
    let initramfs = folder.join(format!("{}.cpio", kernel.release));
    let content = initramfs_of(kernel, programs, linger, plan)?;
    fs::write(&initramfs, content).with_context(|| format!("{}", initramfs.display()))?;
    let console = folder.join(format!("{}.console", kernel.release));
    guest::boot(&kernel.image, &initramfs, &console, limit)
}

/// The guest's root: programs, their libraries, modules, the plan.
fn initramfs_of(
    kernel: &Kernel,
    programs: &BTreeMap<&str, PathBuf>,
    linger: &Path,
    plan: &[&Check],
) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for folder in ["dev", "proc", "sys", "tmp", "run", "root", "sbin", "usr/bin", "usr/sbin"] {
        archive.folder(folder);
    }
    let mut libraries = BTreeSet::new();
    for (name, path) in programs {
        archive.file(&format!("bin/{name}"), 0o755, &read(path)?);
        libraries.append(&mut libraries_of(path)?);
    }
    for library in libraries {
        let place = library.to_string_lossy();
        archive.file(place.trim_start_matches('/'), 0o755, &read(&library)?);
    }
    let modules = kernel.modules(plan::MODULES)?;
    let root = format!("lib/modules/{}", kernel.release);
    let mut order = String::new();
    for (name, content) in &modules.files {
        archive.file(&format!("{root}/{name}.ko"), 0o644, content);
        let needs: String = modules.needs[name].iter().map(|need| format!(" {need}.ko")).collect();
        let _ = writeln!(order, "{name}.ko:{needs}");
    }
    archive.file(&format!("{root}/modules.dep"), 0o644, order.as_bytes());
    archive.file("etc/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n");
    archive.file("etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    let mut steps = String::new();
    for check in plan {
        archive.file(&format!("plan/{}", check.name), 0o644, check.command.as_bytes());
        let _ = writeln!(steps, "step {} {}", check.name, check.seconds);
    }
    let linger = linger.to_str().context("the path of the build is no text")?;
    archive.file("init", 0o755, INIT.replace("@STEPS@\n", &steps).replace("@LINGER@", linger).as_bytes());
    Ok(archive.finish())
}

/// The first process. Its report goes to the second port; see [`guest::Run`].
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
# The tests call it there.
mkdir -p "$(dirname '@LINGER@')" && ln -s /bin/linger '@LINGER@'
stty -F /dev/ttyS1 raw
ip link set lo up
# The kernel loads no module on its own.
echo > /proc/sys/kernel/modprobe
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root CI=true
step() {
    echo "@@begin $1"
    timeout -s KILL "$2" sh "/plan/$1" >/tmp/stdout 2>/tmp/stderr </dev/null
    status=$?
    sed 's/^/>/' /tmp/stdout
    sed 's/^/!/' /tmp/stderr
    echo "@@end $1 $status"
}
{
@STEPS@
echo @@done
} >/dev/ttyS1 2>&1
poweroff -f
"#;

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{}", path.display()))
}

/// Files that the dynamic linker needs for a program, itself included.
fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut command = Command::new("ldd");
    command.arg(program).env("LC_ALL", "C");
    let output = command.stdin(Stdio::null()).output().context("ldd could not be started")?;
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if told.contains("not a dynamic executable") || told.contains("statically linked") {
        return Ok(BTreeSet::new());
    }
    ensure!(output.status.success() && !told.contains("not found"), "`{}`: {told}", sh::line(&command));
    Ok(libraries_told(&told))
}

fn libraries_told(ldd: &str) -> BTreeSet<PathBuf> {
    let path = |line: &str| {
        let (told, _address) = line.trim().rsplit_once(" (")?;
        let path = told.split_once(" => ").map_or(told, |(_, path)| path);
        // What the kernel itself maps has no path.
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    ldd.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_have_a_path() {
        let told = "\tlinux-vdso.so.1 (0x00007fafc8328000)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fafc741e000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fafc832a000)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries_told(told), BTreeSet::from(expected));
    }
}
