//! How the guardian outlives the session that it was started from.
//!
//! A session of its own (`setsid`) keeps it from the terminal's end. What ends a login session's processes ends them by
//! their cgroup, so it also needs another one of those. Where systemd manages the host, it is asked for a transient
//! scope: unlike a transient service, a scope takes in the process that asks, with its descriptors (the pipe from the
//! applier), its network namespace and its parent, who waits for it. Elsewhere the guardian moves itself into a cgroup
//! below the root of cgroup v2. Where neither works it stays where it is.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

/// Who else may be asked to run it.
const RUNNERS: &[&str] = &["usr/bin/systemd-run", "bin/systemd-run"];
/// The cgroup of guardians, below the root of cgroup v2.
const CGROUP: &str = "linger-guardian";

/// The program and its arguments before those of a guardian that puts it into a scope of systemd's; `None` where systemd
/// does not manage this host, or would ask for a password.
#[must_use]
pub fn scope(run: u64) -> Option<(PathBuf, Vec<OsString>)> {
    if !geteuid().is_root() {
        return None;
    }
    let runner = runner(Path::new("/"))?;
    let unit = format!("--unit=linger-guardian-{run}-{}", std::process::id());
    Some((runner, ["--quiet", "--scope", &unit, "--"].map(OsString::from).into()))
}

/// As sd_booted(3): whether systemd manages the host with this root, and its program to run others with.
fn runner(root: &Path) -> Option<PathBuf> {
    if !is_booted(root) {
        return None;
    }
    RUNNERS.iter().map(|it| root.join(it)).find(|it| access(it, Access::EXEC_OK).is_ok())
}

fn is_booted(root: &Path) -> bool {
    fs::symlink_metadata(root.join("run/systemd/system")).is_ok_and(|it| it.is_dir())
}

/// This process's stay in the cgroup of guardians; it leaves at the end, and the last takes the cgroup away.
#[derive(Debug)]
pub struct OwnCgroup {
    root: PathBuf,
}

impl OwnCgroup {
    /// Moves this process there. `None` where systemd manages cgroups, where this process is at their root already, and
    /// where it may not.
    #[must_use]
    pub fn enter() -> Option<OwnCgroup> {
        if is_booted(Path::new("/")) {
            return None;
        }
        let own = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let root = root_of_v2(&mounts).filter(|_| is_below_root(&own))?;
        OwnCgroup::below(root).ok()
    }

    fn below(root: PathBuf) -> io::Result<OwnCgroup> {
        let folder = root.join(CGROUP);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Err(error) = move_to(&folder) {
            let _ = fs::remove_dir(&folder);
            return Err(error);
        }
        Ok(OwnCgroup { root })
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        // With others in it, it stays.
        let _ = move_to(&self.root);
        let _ = fs::remove_dir(self.root.join(CGROUP));
    }
}

/// 0 is whoever writes it.
fn move_to(cgroup: &Path) -> io::Result<()> {
    use std::io::Write;
    fs::OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"))?.write_all(b"0\n")
}

/// By /proc/self/cgroup.
fn is_below_root(own: &str) -> bool {
    own.lines().filter_map(|line| line.strip_prefix("0::")).any(|path| path.len() > 1)
}

/// Where the whole of cgroup v2 is mounted, by /proc/self/mountinfo.
fn root_of_v2(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ').skip(3);
        let (inner, at) = (fields.next()?, fields.next()?);
        (kind.starts_with("cgroup2 ") && inner == "/" && !at.contains('\\')).then(|| PathBuf::from(at))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn systemd_is_asked_only_where_it_manages_the_host() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("usr/bin/systemd-run");
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        fs::write(&program, "").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        // Installed, and not running.
        assert_eq!(runner(root.path()), None);
        fs::create_dir_all(root.path().join("run/systemd")).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("run/systemd/system")).unwrap();
        assert_eq!(runner(root.path()), None);
        fs::remove_file(root.path().join("run/systemd/system")).unwrap();
        fs::create_dir(root.path().join("run/systemd/system")).unwrap();
        assert_eq!(runner(root.path()), Some(program.clone()));
        fs::remove_file(program).unwrap();
        assert_eq!(runner(root.path()), None);
    }

    #[test]
    fn the_root_of_cgroups_is_found() {
        let hybrid = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(root_of_v2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(root_of_v2("31 30 0:27 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"), None);
        assert_eq!(root_of_v2("nothing\n - cgroup2 \n"), None);
        assert!(is_below_root("1:cpu:/a\n0::/user.slice/session-1.scope\n"));
        assert!(!is_below_root("1:cpu:/a\n0::/\n") && !is_below_root(""));
    }

    /// A folder in the place of a cgroup file system.
    #[test]
    fn the_cgroup_goes_with_the_last() {
        let root = tempfile::tempdir().unwrap();
        assert!(OwnCgroup::below(root.path().into()).is_err(), "nothing to write to");
        assert!(!root.path().join(CGROUP).exists());
        fs::create_dir(root.path().join(CGROUP)).unwrap();
        for folder in [root.path().into(), root.path().join(CGROUP)] {
            fs::write(folder.join("cgroup.procs"), "").unwrap();
        }
        let stay = OwnCgroup::below(root.path().into()).unwrap();
        assert_eq!(fs::read_to_string(root.path().join(CGROUP).join("cgroup.procs")).unwrap(), "0\n");
        drop(stay);
        assert_eq!(fs::read_to_string(root.path().join("cgroup.procs")).unwrap(), "0\n");
    }
}
