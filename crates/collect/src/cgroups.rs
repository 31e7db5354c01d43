//! Socket memory of cgroups, from the memory controller of cgroup v2.

use crate::{files, gap};
use linger_model::snapshot::{CgroupMemory, Gap, GapKind, Reading};
use linger_wire::procfs::named_value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// cgroups looked at; those of processes that hold sockets come first in any case.
const MOST: usize = 512;

/// Where cgroup v2 is mounted.
pub fn mount() -> Option<PathBuf> {
    let mounts = files::text("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (path, kind) = (words.nth(1)?, words.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path.replace("\\040", " ")))
    })
}

/// Socket memory of the cgroups of these paths that have the memory controller.
pub fn memory(paths: &BTreeSet<&str>) -> Reading<Vec<CgroupMemory>> {
    let what = "socket memory of cgroups";
    let root = mount().ok_or_else(|| Gap::new(what, GapKind::Unsupported, "cgroup v2 is not mounted", ""))?;
    if !root.join("cgroup.controllers").exists() {
        return Err(Gap::new(what, GapKind::Unsupported, "cgroup v2 has no controllers here", ""));
    }
    let controllers = files::text(root.join("cgroup.controllers")).map_err(|e| gap(what, &e))?;
    if !controllers.split_whitespace().any(|c| c == "memory") {
        return Err(Gap::new(
            what,
            GapKind::Unsupported,
            "cgroup v2 does not have the memory controller here",
            "",
        ));
    }
    let read = |path: &str| {
        let folder = root.join(path.trim_start_matches('/'));
        let file = |name: &str| files::text(folder.join(name)).ok();
        let stat = file("memory.stat")?;
        Some(CgroupMemory {
            path: path.to_owned(),
            sock_bytes: named_value(&stat, "sock")?,
            current_bytes: file("memory.current")?.trim().parse().ok()?,
            max_bytes: file("memory.max").and_then(|m| m.trim().parse().ok()),
            sock_throttled: file("memory.events").and_then(|e| named_value(&e, "sock_throttled")),
        })
    };
    Ok(paths.iter().filter(|p| **p != "/").take(MOST).filter_map(|p| read(p)).collect())
}

/// cgroup ids (as sock_diag gives them) with their paths: the id of a cgroup is its folder's inode.
pub fn paths_by_id() -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    if let Some(root) = mount() {
        visit(&root, &root, &mut found, 0);
    }
    found
}

fn visit(root: &Path, folder: &Path, found: &mut BTreeMap<u64, String>, depth: usize) {
    const DEEPEST: usize = 32;
    const MOST_CGROUPS: usize = 100_000;
    if depth > DEEPEST || found.len() >= MOST_CGROUPS {
        return;
    }
    let Ok(meta) = folder.metadata() else { return };
    let path = folder.strip_prefix(root).map_or_else(|_| "/".to_owned(), |p| format!("/{}", p.display()));
    found.insert(meta.ino(), path);
    let Ok(entries) = folder.read_dir() else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            visit(root, &entry.path(), found, depth + 1);
        }
    }
}
