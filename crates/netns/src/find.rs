use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::ns::{Member, NAMED_DIRS, comm, name_of};
use crate::{Error, Kind, Netns, Origin};

/// The namespaces that could be opened, and what is missing.
#[derive(Debug)]
pub struct Reachable {
    /// One per inode; the calling thread's own first, then the named ones, then those of processes by rising pid.
    pub namespaces: Vec<Netns>,
    /// What could not be read, counted, with what to do about it.
    pub gaps: Vec<String>,
}

/// The names under `/run/netns` and `/run/docker/netns`, sorted, without duplicates.
///
/// What can't be read is left out: this serves suggestions.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = named_files()
        .0
        .into_iter()
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The files in the directories of named namespaces, and the directories that couldn't be listed.
fn named_files() -> (Vec<PathBuf>, Vec<(PathBuf, io::Error)>) {
    let (mut files, mut failed) = (Vec::new(), Vec::new());
    for dir in NAMED_DIRS.map(PathBuf::from) {
        match fs::read_dir(&dir) {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
                paths.sort_unstable();
                files.append(&mut paths);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => failed.push((dir, error)),
        }
    }
    (files, failed)
}

/// Every network namespace this process can open: its own, the named ones, those mounted in its view of the file
/// system, and those that any process or thread lives in.
///
/// One that only a descriptor of another process holds is found by nobody.
pub fn reachable() -> Reachable {
    let mut found = Found::default();
    match Netns::current() {
        Ok(ns) => found.insert(ns),
        Err(error) => found.gaps.push(error.to_string()),
    }

    let (files, failed) = named_files();
    for (dir, error) in failed {
        found.gaps.push(Error::io("list", dir.display().to_string(), error).to_string());
    }
    for path in files {
        let name = name_of(&path);
        let origin = name.clone().map_or_else(|| Origin::Path(path.clone()), Origin::Named);
        found.open(&path, None, origin, name);
    }
    match fs::read("/proc/thread-self/mountinfo") {
        Ok(text) => {
            for (inode, path) in nsfs_mounts(&text) {
                found.open(&path, Some(inode), Origin::Path(path.clone()), name_of(&path));
            }
        }
        Err(error) => found.gaps.push(Error::io("read", "/proc/thread-self/mountinfo", error).to_string()),
    }
    found.processes();
    found.finish()
}

#[derive(Default)]
struct Found {
    namespaces: Vec<Netns>,
    by_inode: HashMap<u64, usize>,
    gaps: Vec<String>,
    /// How many files were refused, and one of the refusals.
    refused: Option<(usize, Error)>,
    exhausted: Option<(usize, Error)>,
}

impl Found {
    fn insert(&mut self, ns: Netns) {
        if let Some(&known) = self.by_inode.get(&ns.inode()) {
            let known = &mut self.namespaces[known];
            known.member = known.member.take().or(ns.member);
            return;
        }
        self.by_inode.insert(ns.inode(), self.namespaces.len());
        self.namespaces.push(ns);
    }

    fn open(&mut self, path: &Path, inode: Option<u64>, origin: Origin, name: Option<String>) {
        if inode.is_some_and(|inode| self.by_inode.contains_key(&inode)) {
            return;
        }
        match Netns::open_file(path, origin, name) {
            Ok(ns) => self.insert(ns),
            Err(error) => self.failed(error),
        }
    }

    /// What vanished while we looked, or is a stale name that nothing is mounted on, is no gap.
    fn failed(&mut self, error: Error) {
        let slot = match error.kind {
            Kind::Vanished | Kind::Malformed => return,
            Kind::Exhausted => &mut self.exhausted,
            Kind::Denied | Kind::Unsupported => &mut self.refused,
        };
        slot.get_or_insert((0, error)).0 += 1;
    }

    fn processes(&mut self) {
        let entries = match fs::read_dir("/proc") {
            Ok(entries) => entries,
            Err(error) => return self.gaps.push(Error::io("list", "/proc", error).to_string()),
        };
        let mut pids: Vec<i32> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        // The lowest pid in a namespace is likely the one that people know it by.
        pids.sort_unstable();
        for pid in pids {
            let dir = PathBuf::from(format!("/proc/{pid}"));
            if !self.member(&dir.join("ns/net"), pid) {
                continue; // refused once is refused for every thread
            }
            let tasks = dir.join("task");
            // A directory's link count is that of its sub-directories, here of the threads, and two more.
            if fs::metadata(&tasks).is_ok_and(|meta| meta.nlink() > 3) {
                for task in fs::read_dir(&tasks).into_iter().flatten().flatten() {
                    self.member(&task.path().join("ns/net"), pid);
                }
            }
        }
    }

    /// Notes that `pid` lives in the namespace at `path`; false when that may not be known.
    fn member(&mut self, path: &Path, pid: i32) -> bool {
        // The link names the inode, so that most need no open.
        let inode = match fs::read_link(path) {
            Ok(link) => link.to_str().and_then(inode_in_brackets),
            Err(error) => {
                let error = Error::io("read", path.display().to_string(), error);
                let is_refused = error.kind == Kind::Denied;
                self.failed(error);
                return !is_refused;
            }
        };
        if let Some(&known) = inode.as_ref().and_then(|inode| self.by_inode.get(inode)) {
            self.namespaces[known].member.get_or_insert_with(|| Member { pid, comm: comm(pid) });
            return true;
        }
        match Netns::open_file(path, Origin::Pid(pid), None) {
            Ok(mut ns) => {
                ns.member = Some(Member { pid, comm: comm(pid) });
                self.insert(ns);
            }
            Err(error) => self.failed(error),
        }
        true
    }

    fn finish(mut self) -> Reachable {
        for (count, error) in [self.refused, self.exhausted].into_iter().flatten() {
            let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
            self.gaps.push(format!("{error}{more}"));
        }
        Reachable { namespaces: self.namespaces, gaps: self.gaps }
    }
}

/// `net:[4026531840]` → 4026531840.
fn inode_in_brackets(link: &str) -> Option<u64> {
    link.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The network namespaces mounted somewhere: (inode, mount point), from the text of a `mountinfo`.
fn nsfs_mounts(text: &[u8]) -> Vec<(u64, PathBuf)> {
    let mount = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let root = fields.nth(3)?;
        let point = fields.next()?;
        // Options and any number of tags, then a dash, then the file system.
        fields.find(|field| field == b"-")?;
        let inode = inode_in_brackets(std::str::from_utf8(root).ok()?)?;
        (fields.next()? == b"nsfs").then(|| (inode, PathBuf::from(OsString::from_vec(unescape(point)))))
    };
    text.split(|&byte| byte == b'\n').filter_map(mount).collect()
}

/// Undoes the octal escapes of `mountinfo` (space, tab, newline, backslash).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal =
            tail.get(..3).filter(|digits| first == b'\\' && digits.iter().all(|d| (b'0'..b'8').contains(d)));
        match octal {
            Some(digits) => {
                out.push(
                    digits.iter().fold(0u8, |value, digit| value.wrapping_mul(8).wrapping_add(digit - b'0')),
                );
                rest = &tail[3..];
            }
            None => {
                out.push(first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            291 27 0:4 net:[4026532290] /run/netns/blue rw shared:160 - nsfs nsfs rw\n\
            292 27 0:4 mnt:[4026532291] /run/snapd/ns/x.mnt rw - nsfs nsfs rw\n\
            293 27 0:4 net:[4026532292] /tmp/a\\040b rw shared:1 master:2 - nsfs nsfs rw\n\
            294 27 0:4 net:[4026532293] /tmp/fake rw - ext4 x rw\n\nshort line\n";
        let expected = vec![
            (4_026_532_290, PathBuf::from("/run/netns/blue")),
            (4_026_532_292, PathBuf::from("/tmp/a b")),
        ];
        assert_eq!(nsfs_mounts(text), expected);
        assert_eq!(nsfs_mounts(b"\xff\xfe \\ \\0 \\04"), Vec::new());
        assert_eq!(unescape(b"a\\134\\04\\9"), b"a\\\\04\\9");
    }

    #[test]
    fn the_own_one_is_first_and_each_is_there_once() {
        let found = reachable();
        assert!(found.namespaces[0].is_current());
        assert_eq!(found.namespaces[0].label(), "self");
        assert!(found.namespaces[0].member().is_some());
        let mut inodes: Vec<u64> = found.namespaces.iter().map(Netns::inode).collect();
        let count = inodes.len();
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), count);
    }

    #[test]
    fn a_process_of_one_thread_has_three_links() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let links = fs::metadata(format!("/proc/{}/task", child.id())).unwrap().nlink();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(links, 3);
    }
}
