//! Where things are, as cargo tells it.

use crate::sh;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The workspace and its product.
pub struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// Where cargo builds.
    pub target: PathBuf,
    /// The product's version.
    pub version: String,
    /// The product's one-line description.
    pub description: String,
    /// The product's licence.
    pub license: String,
}

impl Workspace {
    /// Asks cargo.
    pub fn find() -> Result<Workspace> {
        // Set by `cargo run` and so by `cargo xtask`: the place of this checkout, also when target folders are shared.
        let here = std::env::var("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(here);
        let metadata: Value = serde_json::from_str(&sh::output(&mut command)?).context("cargo metadata")?;
        let text = |value: &Value, key: &str| -> Result<String> {
            Ok(value[key].as_str().with_context(|| format!("cargo metadata has no {key}"))?.to_owned())
        };
        let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
        let product =
            packages.iter().find(|p| p["name"] == "linger").context("no package is named linger")?;
        Ok(Workspace {
            root: text(&metadata, "workspace_root")?.into(),
            target: text(&metadata, "target_directory")?.into(),
            version: text(product, "version")?,
            description: text(product, "description")?,
            license: text(product, "license")?,
        })
    }

    /// A cargo command in the workspace. In CI the lock files must be right as they are.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = cargo();
        command.arg(subcommand).current_dir(&self.root);
        if ci() && subcommand != "fmt" {
            command.arg("--locked");
        }
        command
    }

    /// Builds `linger` with the dev profile and says where it is.
    pub fn build_linger(&self) -> Result<PathBuf> {
        sh::run(self.cargo("build").args(["--package", "linger", "--bin", "linger"]))?;
        Ok(self.target.join("debug/linger"))
    }
}

/// Whether a missing capability is a failure.
pub fn ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

/// The target triple of this machine.
pub fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = sh::output(Command::new(rustc).arg("-vV"))?;
    let triple = told.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("`rustc -vV` names no host")?.to_owned())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
