//! What the tests need beyond Rust.

use crate::sh;
use crate::test::Step;
use crate::workspace::ci;
use anyhow::{Context, Result, bail};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// A program that a step needs.
pub struct Need {
    program: &'static str,
    /// Debian's package.
    package: &'static str,
    steps: &'static [Step],
    /// What for, and so what is skipped without it.
    why: &'static str,
}

/// Everything that is needed; nothing else may be installed by hand.
const NEEDS: &[Need] = &[
    Need {
        program: "ss",
        package: "iproute2",
        steps: &[Step::Test],
        why: "the end-to-end tests that compare linger's counts with it",
    },
    Need {
        program: "netstat",
        package: "net-tools",
        steps: &[Step::Test],
        why: "the end-to-end tests that import its output",
    },
    Need {
        program: "lsof",
        package: "lsof",
        steps: &[Step::Test],
        why: "the end-to-end tests that import its output",
    },
    Need {
        program: "sysctl",
        package: "procps",
        steps: &[Step::Test],
        why: "the end-to-end tests that import its output",
    },
    Need {
        program: "nft",
        package: "nftables",
        steps: &[Step::Test, Step::Vm],
        why: "the tests that drop packets (peers that do not answer, half-open connections)",
    },
    Need {
        program: "unshare",
        package: "util-linux",
        steps: &[Step::Test],
        why: "the end-to-end tests inside a user namespace",
    },
    Need {
        program: "nginx",
        package: "nginx",
        steps: &[Step::Test, Step::Vm],
        why: "the lab's scenarios with real servers: a gateway with and without kept connections",
    },
    Need {
        program: "haproxy",
        package: "haproxy",
        steps: &[Step::Test, Step::Vm],
        why: "the lab's scenarios with real servers: a balancer that holds connections to few backends",
    },
    Need {
        program: "redis-server",
        package: "redis-server",
        steps: &[Step::Test, Step::Vm],
        why: "the lab's scenarios with real servers: one that closes idle clients",
    },
    Need {
        program: "systemd-analyze",
        package: "systemd",
        steps: &[Step::Test],
        why: "the test that holds linger.service to its exposure level",
    },
    Need {
        program: "chromium",
        package: "chromium",
        steps: &[Step::Test],
        why: "the end-to-end test of the page that linger report makes",
    },
    Need {
        program: "clang-14",
        package: "clang-14",
        steps: &[Step::Bpf, Step::Test],
        why: "compiling the BPF programs, to compare them with the objects",
    },
    Need {
        program: "llvm-strip-14",
        package: "llvm-14",
        steps: &[Step::Bpf, Step::Test],
        why: "compiling the BPF programs, to compare them with the objects",
    },
    Need {
        program: "promtool",
        package: "prometheus",
        steps: &[Step::Test],
        why: "the test that Prometheus accepts linger's metrics",
    },
    Need {
        program: "prometheus",
        package: "prometheus",
        steps: &[Step::Test],
        why: "the end-to-end test that an incident fires in Prometheus and resolves",
    },
    Need {
        program: "prometheus-alertmanager",
        package: "prometheus-alertmanager",
        steps: &[Step::Test],
        why: "the end-to-end test that an incident fires in Alertmanager and resolves",
    },
    Need {
        program: "amtool",
        package: "prometheus-alertmanager",
        steps: &[Step::Test],
        why: "the test of the route that linger rules alertmanager writes",
    },
    Need {
        program: "prometheus-node-exporter",
        package: "prometheus-node-exporter",
        steps: &[Step::Test],
        why: "the test that linger rules node-exporter asks for metrics that exist",
    },
    Need { program: "g++", package: "g++", steps: &[Step::Fuzz], why: "the fuzz smoke (libFuzzer is C++)" },
    Need {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        steps: &[Step::Vm],
        why: "linger on other kernels",
    },
    Need {
        program: "busybox",
        package: "busybox-static",
        steps: &[Step::Vm],
        why: "linger on other kernels",
    },
    Need {
        program: "xz",
        package: "xz-utils",
        steps: &[Step::Test, Step::Vm],
        why: "the end-to-end test that imports a packed sosreport; linger on other kernels",
    },
];

/// Installs what is missing for these steps if it may; says what is still missing, and gives that.
pub fn provide(steps: &[Step], install: bool) -> Result<Vec<&'static Need>> {
    let mut missing = missing(steps);
    if missing.is_empty() {
        return Ok(missing);
    }
    if install && rustix::process::geteuid().is_root() && sh::which("apt-get").is_some() {
        if let Err(error) = apt_get(&missing) {
            eprintln!("{error:#}");
        }
        missing = self::missing(steps);
    }
    for need in &missing {
        eprintln!("MISSING: {} (Debian's package {}), for {}", need.program, need.package, need.why);
    }
    if !missing.is_empty() {
        eprintln!("To install: sudo apt-get install {}", packages(&missing).join(" "));
        if ci() {
            bail!("something that the tests need is missing, and in CI nothing may be skipped");
        }
    }
    Ok(missing)
}

impl Need {
    /// Whether this step needs it.
    pub fn is_for(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// What cannot be done without it, as a line of the summary.
    pub fn lack(&self) -> String {
        format!("{}: {} is missing", self.why, self.program)
    }
}

fn missing(steps: &[Step]) -> Vec<&'static Need> {
    let wanted = |need: &&Need| steps.iter().any(|step| need.is_for(*step));
    NEEDS.iter().filter(wanted).filter(|need| sh::which(need.program).is_none()).collect()
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// What packages call on installation to start their servers, and to have them started with the machine.
const SERVICE_COMMANDS: [&str; 5] =
    ["invoke-rc.d", "update-rc.d", "deb-systemd-invoke", "deb-systemd-helper", "systemctl"];

/// A fresh machine or an old one knows no packages, or ones that are gone: then the lists are read anew.
///
/// Servers are installed for their programs alone. Their packages find, before the real commands, ones that do nothing:
/// so no server is started, now or with the machine, and no policy needs to be written to the system.
fn apt_get(needs: &[&Need]) -> Result<()> {
    let deaf = tempfile::tempdir().context("a temporary folder")?;
    for command in SERVICE_COMMANDS {
        let path = deaf.path().join(command);
        fs::write(&path, "#!/bin/sh\nexit 0\n")?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    }
    let path = format!("DPkg::Path={}:/usr/sbin:/usr/bin:/sbin:/bin", deaf.path().display());
    let install = || {
        let mut command = Command::new("apt-get");
        command
            .args(["install", "--yes", "--no-install-recommends", "--option", &path])
            .args(packages(needs));
        sh::run(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    install().or_else(|_| {
        sh::run(Command::new("apt-get").arg("update"))?;
        install()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_has_a_row_of_its_own() {
        let mut programs: Vec<_> = NEEDS.iter().map(|need| need.program).collect();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), NEEDS.len());
    }
}
