//! What the tests need beyond Rust.

use crate::sh;
use crate::test::Step;
use crate::workspace::ci;
use anyhow::{Result, bail};
use std::process::Command;

/// A program that a step needs.
pub struct Need {
    program: &'static str,
    /// Debian's package.
    package: &'static str,
    step: Step,
    /// What for, and so what is skipped without it.
    why: &'static str,
}

/// Everything that is needed; nothing else may be installed by hand.
const NEEDS: &[Need] = &[
    Need {
        program: "ss",
        package: "iproute2",
        step: Step::Test,
        why: "the end-to-end tests that compare linger's counts with it",
    },
    Need {
        program: "nft",
        package: "nftables",
        step: Step::Test,
        why: "the end-to-end tests that drop packets (peers that do not answer, half-open connections)",
    },
    Need {
        program: "unshare",
        package: "util-linux",
        step: Step::Test,
        why: "the end-to-end tests inside a user namespace",
    },
    Need { program: "g++", package: "g++", step: Step::Fuzz, why: "the fuzz smoke (libFuzzer is C++)" },
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
    /// Whether it is this step that needs it.
    pub fn is_for(&self, step: Step) -> bool {
        self.step == step
    }

    /// What cannot be done without it, as a line of the summary.
    pub fn lack(&self) -> String {
        format!("{}: {} is missing", self.why, self.program)
    }
}

fn missing(steps: &[Step]) -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| steps.contains(&need.step) && sh::which(need.program).is_none()).collect()
}

fn packages(needs: &[&Need]) -> Vec<&'static str> {
    let mut packages: Vec<_> = needs.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// A fresh machine or an old one knows no packages, or ones that are gone: then the lists are read anew.
fn apt_get(needs: &[&Need]) -> Result<()> {
    let install = || {
        let mut command = Command::new("apt-get");
        command.args(["install", "--yes", "--no-install-recommends"]).args(packages(needs));
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
