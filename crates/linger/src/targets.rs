//! From `--netns` to open namespaces.

use crate::cli::NetnsArgs;
use crate::nearest::hint;
use anyhow::anyhow;
use linger_netns::{Netns, Spec, names, reachable};

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

/// Opens them.
pub fn open(args: &NetnsArgs) -> anyhow::Result<Targets> {
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
                Spec::Named(name) => hint(name, known.iter().map(String::as_str).chain(["self", "all"])),
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
