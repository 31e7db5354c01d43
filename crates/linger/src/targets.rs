//! From `--netns` to open namespaces.

use crate::cli::NetnsArgs;
use crate::nearest::hint;
use anyhow::{anyhow, bail};
use linger_netns::{Netns, Spec, names, reachable};
use std::path::Path;

/// The namespaces asked for, each once, in the order asked.
#[derive(Debug)]
pub struct Targets {
    /// Open namespaces; never empty.
    pub namespaces: Vec<Netns>,
    /// Whether several were asked for (`all` counts as several).
    pub several: bool,
    /// Namespaces that could not be opened.
    pub gaps: Vec<String>,
}

/// That /proc is mounted: namespaces, processes and counters are read there.
pub fn need_proc() -> anyhow::Result<()> {
    if !Path::new("/proc/self").exists() {
        bail!("/proc is not mounted here: mount it (mount -t proc proc /proc)");
    }
    Ok(())
}

/// Opens them.
pub fn open(args: &NetnsArgs) -> anyhow::Result<Targets> {
    need_proc()?;
    let mut targets = Targets { namespaces: Vec::new(), several: args.netns.len() > 1, gaps: Vec::new() };
    for text in &args.netns {
        let spec = Spec::parse(text)?;
        if spec == Spec::All {
            let found = reachable();
            targets.several = true;
            targets.gaps.extend(found.gaps);
            targets.namespaces.extend(found.namespaces);
            continue;
        }
        let known = names();
        let namespace = Netns::open(&spec).map_err(|error| {
            let near = match &spec {
                // A name that is there and stale is not offered again.
                Spec::Named(name) => {
                    let others = known.iter().map(String::as_str).filter(|other| other != name);
                    hint(name, others.chain(["self", "all"]))
                }
                _ => String::new(),
            };
            anyhow!("{error}{near}")
        })?;
        targets.namespaces.push(namespace);
    }
    let mut seen = Vec::new();
    targets.namespaces.retain(|ns| {
        let new = !seen.contains(&ns.inode());
        seen.push(ns.inode());
        new
    });
    Ok(targets)
}
