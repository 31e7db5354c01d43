//! The kernel's settings, as files under one root: a namespace's `/proc/sys`, or a folder in their place.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use linger_facts::Tunable;
use linger_netns::{Netns, Worker};
use rustix::fs::{FileType, Mode, OFlags, fstat, fstatfs, open, openat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Kind, fault};

/// include/uapi/linux/magic.h PROC_SUPER_MAGIC
const PROC_MAGIC: rustix::fs::FsWord = 0x9fa0;
/// A setting's file is never longer.
const MOST_BYTES: u64 = 4096;

/// Which network namespace settings are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetnsMark {
    /// Its inode; the kernel gives it to another namespace once this one is gone.
    pub inode: u64,
    /// The kernel's cookie, which no other namespace ever has until the next boot (Linux 5.14); 0 where there is none.
    pub cookie: u64,
}

/// Settings that can be read and written.
pub trait Settings {
    /// The value, fields separated by one space.
    ///
    /// # Errors
    /// When the file isn't there, can't be read, or is no plain file under the root.
    fn read(&self, key: &Tunable) -> Result<String, Error>;
    /// Sets a value.
    ///
    /// # Errors
    /// [`Kind::Refused`] when the kernel doesn't take it; else as [`Settings::read`].
    fn write(&self, key: &Tunable, value: &str) -> Result<(), Error>;
    /// Whether the setting may be written; nothing is.
    ///
    /// # Errors
    /// As [`Settings::write`] would have.
    fn may_write(&self, key: &Tunable) -> Result<(), Error>;
    /// Of which namespace they are.
    fn netns(&self) -> NetnsMark;
    /// Whether settings of the whole host may be changed here.
    fn is_host(&self) -> bool;
}

/// The kernel's settings as one network namespace sees them.
#[derive(Debug)]
pub struct Namespace {
    inside: Worker,
    mark: NetnsMark,
    is_host: bool,
}

impl Namespace {
    /// Those of `ns`, which stays alive as long as this value: a thread of it lives there.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    pub fn new(ns: &Netns) -> Result<Namespace, Error> {
        let inside = Worker::new(ns)?;
        let cookie = inside.run(cookie);
        let mark = NetnsMark { inode: ns.inode(), cookie };
        Ok(Namespace { inside, mark, is_host: ns.is_init() == Some(true) })
    }
}

impl Settings for Namespace {
    fn read(&self, key: &Tunable) -> Result<String, Error> {
        let key = *key;
        self.inside.run(move || read(Path::new(REAL), true, &key))
    }

    fn write(&self, key: &Tunable, value: &str) -> Result<(), Error> {
        let (key, value) = (*key, value.to_owned());
        self.inside.run(move || write(Path::new(REAL), true, &key, &value))
    }

    fn may_write(&self, key: &Tunable) -> Result<(), Error> {
        let key = *key;
        self.inside.run(move || open_file(Path::new(REAL), true, &key, OFlags::WRONLY).map(drop))
    }

    fn netns(&self) -> NetnsMark {
        self.mark
    }

    fn is_host(&self) -> bool {
        self.is_host
    }
}

const REAL: &str = "/proc/sys";

/// Files of a folder in the kernel's place.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
}

impl Tree {
    /// Those under `root`, laid out as `/proc/sys`.
    pub fn new(root: impl Into<PathBuf>) -> Tree {
        Tree { root: root.into() }
    }
}

impl Settings for Tree {
    fn read(&self, key: &Tunable) -> Result<String, Error> {
        read(&self.root, false, key)
    }

    fn write(&self, key: &Tunable, value: &str) -> Result<(), Error> {
        write(&self.root, false, key, value)
    }

    fn may_write(&self, key: &Tunable) -> Result<(), Error> {
        open_file(&self.root, false, key, OFlags::WRONLY).map(drop)
    }

    fn netns(&self) -> NetnsMark {
        NetnsMark { inode: 0, cookie: 0 }
    }

    fn is_host(&self) -> bool {
        true
    }
}

/// Opens a setting's file step by step, so that no link leads anywhere else.
fn open_file(root: &Path, is_real: bool, key: &Tunable, access: OFlags) -> Result<OwnedFd, Error> {
    let operation = if access == OFlags::RDONLY { "read" } else { "write" };
    let failed = |error: rustix::io::Errno| Error::io(operation, key.key, error.into());
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = open(root, step, Mode::empty()).map_err(failed)?;
    if is_real && fstatfs(&folder).map_err(failed)?.f_type != PROC_MAGIC {
        return Err(Error::new(operation, key.key, Kind::Malformed, "/proc/sys is not the kernel's here"));
    }
    let mut parts: Vec<&str> = key.key.split('.').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        folder = openat(&folder, part, step, Mode::empty()).map_err(failed)?;
    }
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(&folder, last, flags, Mode::empty()).map_err(failed)?;
    let found = fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(Error::new(operation, key.key, Kind::Malformed, "it is no plain file"));
    }
    Ok(file)
}

fn read(root: &Path, is_real: bool, key: &Tunable) -> Result<String, Error> {
    let file = File::from(open_file(root, is_real, key, OFlags::RDONLY)?);
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(|error| Error::io("read", key.key, error))?;
    Ok(fields(&text))
}

fn write(root: &Path, is_real: bool, key: &Tunable, value: &str) -> Result<(), Error> {
    let mut file = File::from(open_file(root, is_real, key, OFlags::WRONLY | OFlags::TRUNC)?);
    fault::point("before-write");
    // One call: the kernel takes each write for a value of its own.
    let line = format!("{value}\n");
    let written = file.write(line.as_bytes()).map_err(|error| Error::io("write", key.key, error))?;
    if written < value.len() {
        return Err(Error::new(
            "write",
            key.key,
            Kind::Refused,
            format!("{written} bytes of {value:?} were taken"),
        ));
    }
    Ok(())
}

/// Fields separated by one space.
pub(crate) fn fields(text: &str) -> String {
    text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// The calling thread's namespace's cookie; 0 where the kernel has none.
fn cookie() -> u64 {
    use std::os::fd::AsRawFd;
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let Ok(socket) = rustix::net::socket_with(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    ) else {
        return 0;
    };
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has that many, and both outlive the call.
    let status = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if status == 0 { cookie } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_facts::tunable;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("net/ipv4")).unwrap();
        std::fs::create_dir_all(folder.path().join("fs")).unwrap();
        std::fs::write(folder.path().join("net/ipv4/ip_local_port_range"), "32768\t60999\n").unwrap();
        std::fs::write(folder.path().join("fs/file-max"), "100000\n").unwrap();
        let tree = Tree::new(folder.path());
        (folder, tree)
    }

    #[test]
    fn values_are_read_and_written() {
        let (folder, tree) = tree();
        let range = tunable("net.ipv4.ip_local_port_range").unwrap();
        assert_eq!(tree.read(range).unwrap(), "32768 60999");
        tree.may_write(range).unwrap();
        tree.write(range, "15000 64999").unwrap();
        assert_eq!(tree.read(range).unwrap(), "15000 64999");
        let files = tunable("fs.file-max").unwrap();
        tree.write(files, "200000").unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("fs/file-max")).unwrap(), "200000\n");
        let missing = tree.read(tunable("net.ipv4.tcp_tw_reuse").unwrap()).unwrap_err();
        assert_eq!(missing.kind, Kind::Vanished);
    }

    #[test]
    fn no_link_is_followed() {
        let (folder, tree) = tree();
        let aim = folder.path().join("aim");
        std::fs::write(&aim, "1\n").unwrap();
        symlink(&aim, folder.path().join("net/ipv4/tcp_tw_reuse")).unwrap();
        let reuse = tunable("net.ipv4.tcp_tw_reuse").unwrap();
        for failed in [tree.read(reuse).map(drop), tree.write(reuse, "2"), tree.may_write(reuse)] {
            assert_eq!(failed.unwrap_err().kind, Kind::Malformed);
        }
        assert_eq!(std::fs::read_to_string(&aim).unwrap(), "1\n");
        // A folder on the way, too.
        std::fs::rename(folder.path().join("net/ipv4"), folder.path().join("elsewhere")).unwrap();
        symlink(folder.path().join("elsewhere"), folder.path().join("net/ipv4")).unwrap();
        assert!(tree.read(tunable("net.ipv4.ip_local_port_range").unwrap()).is_err());
    }

    #[test]
    fn a_folder_is_no_setting() {
        let (folder, tree) = tree();
        std::fs::create_dir(folder.path().join("net/ipv4/tcp_tw_reuse")).unwrap();
        assert!(tree.read(tunable("net.ipv4.tcp_tw_reuse").unwrap()).is_err());
    }

    #[test]
    fn a_namespace_has_its_own() {
        let ns = match linger_netns::create() {
            Ok(ns) => ns,
            Err(error) if std::env::var_os("CI").is_none() => return println!("SKIPPED: {error}"),
            Err(error) => panic!("{error}"),
        };
        let inside = Namespace::new(&ns).unwrap();
        let own = Namespace::new(&Netns::current().unwrap()).unwrap();
        assert_ne!(inside.netns(), own.netns());
        assert!(!inside.is_host());
        let key = tunable("net.ipv4.tcp_fin_timeout").unwrap();
        let before = own.read(key).unwrap();
        let value = if before == "17" { "18" } else { "17" };
        inside.write(key, value).unwrap();
        assert_eq!((inside.read(key).unwrap().as_str(), own.read(key).unwrap()), (value, before));
        // The kernel's own no: a range below the ports that need a privilege.
        let start = tunable("net.ipv4.ip_local_port_range").unwrap();
        inside
            .inside
            .run(|| std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "20000"))
            .unwrap();
        assert_eq!(inside.write(start, "15000 64999").unwrap_err().kind, Kind::Refused);
        assert_eq!(inside.read(start).unwrap(), "32768 60999");
    }
}
