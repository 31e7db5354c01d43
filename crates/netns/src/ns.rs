use std::ffi::c_void;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, opcode};

use crate::{Error, Kind};

/// Where `ip netns` and Docker keep theirs.
pub(crate) const NAMED_DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];
const OWN: &str = "/proc/thread-self/ns/net";

/// Which network namespace is meant, as a person writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    /// `self`: the one this thread is in.
    Current,
    /// `all`: every one that can be reached; [`crate::reachable`] lists them.
    All,
    /// `NAME` under `/run/netns` or `/run/docker/netns`.
    Named(String),
    /// `/PATH` of a namespace file.
    Path(PathBuf),
    /// `pid:N`: the one process N lives in.
    Pid(i32),
}

impl Spec {
    /// Reads `self`, `all`, `NAME`, `/PATH` or `pid:N`.
    ///
    /// # Errors
    /// [`Kind::Malformed`] for anything else. Whether it exists is [`Netns::open`]'s business.
    pub fn parse(text: &str) -> Result<Spec, Error> {
        let bad = |detail: &str| {
            let detail = format!("{detail}; write self, all, NAME, /PATH or pid:N");
            Err(Error::new("understand", format!("the network namespace {text:?}"), Kind::Malformed, detail))
        };
        match text {
            "self" => return Ok(Spec::Current),
            "all" => return Ok(Spec::All),
            "" => return bad("it is empty"),
            _ => {}
        }
        if text.contains('\0') {
            return bad("it contains a NUL");
        }
        if text.starts_with('/') {
            return Ok(Spec::Path(PathBuf::from(text)));
        }
        if let Some(pid) = text.strip_prefix("pid:") {
            return match pid.parse::<i32>() {
                Ok(pid) if pid > 0 => Ok(Spec::Pid(pid)),
                _ => bad("pid: must be followed by a positive number"),
            };
        }
        if text == "." || text == ".." || text.contains('/') {
            return bad("a path must start with /");
        }
        Ok(Spec::Named(text.to_owned()))
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spec::Current => f.write_str("self"),
            Spec::All => f.write_str("all"),
            Spec::Named(name) => f.write_str(name),
            Spec::Path(path) => write!(f, "{}", path.display()),
            Spec::Pid(pid) => write!(f, "pid:{pid}"),
        }
    }
}

/// How a namespace was come by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It is the calling thread's own.
    Current,
    /// By its name under `/run/netns` or `/run/docker/netns`.
    Named(String),
    /// By the path of a namespace file.
    Path(PathBuf),
    /// By a process (or thread) that lives in it.
    Pid(i32),
    /// This process made it with [`crate::create`]; it ends with the last descriptor, thread and process in it.
    Created,
}

/// A process that lives in a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its process id, as this process sees it (of the process, also where only one of its threads is inside).
    pub pid: i32,
    /// Its `comm`, at most 15 bytes.
    pub comm: String,
}

/// An open network namespace. It can't vanish while this value lives.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    inode: u64,
    name: Option<String>,
    origin: Origin,
    pub(crate) member: Option<Member>,
}

impl Netns {
    /// The calling thread's own namespace.
    ///
    /// # Errors
    /// When `/proc` isn't mounted or hides this very thread.
    pub fn current() -> Result<Netns, Error> {
        Netns::open_file(Path::new(OWN), Origin::Current, None)
    }

    /// Opens what `spec` means.
    ///
    /// # Errors
    /// Denied, vanished, or malformed when the path is no network namespace. `all` is malformed here: it is
    /// not one namespace.
    pub fn open(spec: &Spec) -> Result<Netns, Error> {
        match spec {
            Spec::Current => Netns::current(),
            Spec::All => Err(Error::new(
                "open",
                "`all`",
                Kind::Malformed,
                "it stands for every namespace, and one is needed here",
            )),
            Spec::Named(name) => Netns::named(name),
            Spec::Path(path) => Netns::open_file(path, Origin::Path(path.clone()), name_of(path)),
            Spec::Pid(pid) => {
                let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                let opened = Netns::open_file(&path, Origin::Pid(*pid), None);
                let mut ns = opened.map_err(|error| match error.kind {
                    Kind::Vanished => Error::new(
                        "find",
                        format!("the network namespace of process {pid}"),
                        Kind::Vanished,
                        "there is no such process",
                    ),
                    _ => error,
                })?;
                ns.member = Some(Member { pid: *pid, comm: comm(*pid) });
                Ok(ns)
            }
        }
    }

    fn named(name: &str) -> Result<Netns, Error> {
        for dir in NAMED_DIRS {
            let path = Path::new(dir).join(name);
            match Netns::open_file(&path, Origin::Named(name.to_owned()), Some(name.to_owned())) {
                Err(error) if error.kind == Kind::Vanished => {}
                other => return other,
            }
        }
        Err(Error::new(
            "find",
            format!("the network namespace {name:?}"),
            Kind::Vanished,
            format!("there is no such name under {}; `ip netns` lists them", NAMED_DIRS.join(" or ")),
        ))
    }

    pub(crate) fn open_file(path: &Path, origin: Origin, name: Option<String>) -> Result<Netns, Error> {
        let subject = || format!("the network namespace {}", path.display());
        let failed = |error: io::Error| Error::io("open", subject(), error);
        // Asked before it is opened: opening a device or a pipe could block or do something.
        let is_nsfs = rustix::fs::statfs(path).map_err(|e| failed(e.into()))?.f_type == NSFS_MAGIC;
        let no_namespace = || Error::new("open", subject(), Kind::Malformed, "this is no network namespace");
        if !is_nsfs {
            return Err(no_namespace());
        }
        let file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(path)
            .map_err(failed)?;
        let fd = OwnedFd::from(file);
        match namespace_type(fd.as_fd()) {
            // ENOTTY: kernels before 4.11 can't tell; setns will.
            Err(rustix::io::Errno::NOTTY) | Ok(CLONE_NEWNET) => {}
            Err(error) => return Err(failed(error.into())),
            Ok(_) => return Err(no_namespace()),
        }
        let inode = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?.st_ino;
        Ok(Netns { fd, inode, name, origin, member: None })
    }

    /// The calling thread's namespace, as one it has made.
    pub(crate) fn created() -> Result<Netns, Error> {
        Netns::open_file(Path::new(OWN), Origin::Created, None)
    }

    /// Its number, as in `net:[4026531840]`; no two live namespaces of a host share one.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Its name under `/run/netns` or `/run/docker/netns`, where it was found by one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How it was come by.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A process that lives in it, where one was looked for and found.
    pub fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// Whether the calling thread is in it.
    pub fn is_current(&self) -> bool {
        inode_of(Path::new(OWN)).is_ok_and(|inode| inode == self.inode)
    }

    /// Whether it is process 1's; `None` when that can't be read (only root may).
    pub fn is_init(&self) -> Option<bool> {
        Some(inode_of(Path::new("/proc/1/ns/net")).ok()? == self.inode)
    }

    /// A short name for people: its name, its path, or a process in it, and its inode when there is nothing else.
    pub fn label(&self) -> String {
        match (&self.origin, &self.name, &self.member) {
            (Origin::Current, _, _) => "self".to_owned(),
            (_, Some(name), _) => name.clone(),
            (Origin::Path(path), _, None) => path.display().to_string(),
            (_, _, Some(member)) => format!("pid:{} ({})", member.pid, member.comm),
            (Origin::Pid(pid), _, _) => format!("pid:{pid}"),
            _ => format!("net:[{}]", self.inode),
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The name of a namespace file, where its directory is one of those that names come from.
pub(crate) fn name_of(path: &Path) -> Option<String> {
    let dir = path.parent()?;
    // /var/run is a link to /run everywhere.
    let dir = dir.strip_prefix("/var").map_or_else(|_| dir.to_owned(), |rest| Path::new("/").join(rest));
    let known = NAMED_DIRS.iter().any(|named| dir == Path::new(named));
    known.then(|| path.file_name().map(|name| name.to_string_lossy().into_owned()))?
}

pub(crate) fn inode_of(path: &Path) -> io::Result<u64> {
    Ok(fs::metadata(path)?.ino())
}

/// The `comm` of a process; empty when it has gone.
pub(crate) fn comm(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
}

// include/uapi/linux/magic.h, linux/sched.h, linux/nsfs.h
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
const CLONE_NEWNET: i32 = 0x4000_0000;

/// `NS_GET_NSTYPE`: which kind of namespace a descriptor is (4.11).
struct GetNsType;

// SAFETY: NS_GET_NSTYPE takes no argument and writes nothing; its answer is the return value.
unsafe impl Ioctl for GetNsType {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::none(0xb7, 3)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

fn namespace_type(fd: BorrowedFd<'_>) -> rustix::io::Result<i32> {
    // SAFETY: the descriptor was found to be on nsfs, where this opcode means NS_GET_NSTYPE.
    unsafe { ioctl::ioctl(fd, GetNsType) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs() {
        assert_eq!(Spec::parse("self").unwrap(), Spec::Current);
        assert_eq!(Spec::parse("all").unwrap(), Spec::All);
        assert_eq!(Spec::parse("blue").unwrap(), Spec::Named("blue".into()));
        assert_eq!(Spec::parse("/run/netns/x").unwrap(), Spec::Path("/run/netns/x".into()));
        assert_eq!(Spec::parse("pid:12").unwrap(), Spec::Pid(12));
        for bad in ["", "pid:", "pid:x", "pid:0", "pid:-4", "a/b", "..", "a\0b"] {
            let error = Spec::parse(bad).unwrap_err();
            assert_eq!(error.kind, Kind::Malformed, "{bad:?}");
            assert!(error.to_string().contains("pid:N"), "{error}");
        }
    }

    #[test]
    fn names_come_from_known_directories() {
        assert_eq!(name_of(Path::new("/run/netns/blue")).as_deref(), Some("blue"));
        assert_eq!(name_of(Path::new("/var/run/docker/netns/1a2b")).as_deref(), Some("1a2b"));
        assert_eq!(name_of(Path::new("/tmp/blue")), None);
    }

    #[test]
    fn own_namespace() {
        let ns = Netns::current().unwrap();
        assert!(ns.is_current());
        assert_eq!(ns.label(), "self");
        let same = Netns::open(&Spec::Pid(std::process::id() as i32)).unwrap();
        assert_eq!(ns.inode(), same.inode());
        assert_eq!(same.member().unwrap().pid, std::process::id() as i32);
    }

    #[test]
    fn what_is_no_namespace_is_said_to_be_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = |path: &str| Netns::open(&Spec::parse(path).unwrap()).unwrap_err();
        for path in [file.path().to_str().unwrap(), "/proc/self/ns/uts", "/dev/null", "/"] {
            let error = open(path);
            assert_eq!(error.kind, Kind::Malformed, "{path}");
            assert!(error.to_string().contains("no network namespace"), "{error}");
        }
        assert_eq!(open("/run/netns/there-is-none-of-this-name").kind, Kind::Vanished);
        let error = open("there-is-none-of-this-name");
        assert_eq!(error.kind, Kind::Vanished);
        assert!(error.to_string().contains("/run/netns"), "{error}");
        assert_eq!(open("all").kind, Kind::Malformed);
        assert_eq!(open("pid:2147483647").kind, Kind::Vanished);
    }
}
