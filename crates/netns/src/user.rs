//! Doing without root: a user namespace in which this process may make network namespaces.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, UnshareFlags, unshare_unsafe};

use crate::{Error, Kind, create};

const WHAT: &str = "a user namespace, which making network namespaces without root needs";

/// Whether this process may make network namespaces as it is: it has CAP_SYS_ADMIN in its user namespace.
///
/// A security module or a seccomp filter can still refuse; [`create`] tells.
pub fn has_sys_admin() -> bool {
    rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Moves this whole process into a new user namespace, in which it is root and may make network namespaces.
///
/// It is for good, and outside the namespace it changes nothing: files are still this user's.
///
/// # Errors
/// [`Kind::Denied`] where the kernel refuses, with the setting that is the reason; [`Kind::Unsupported`] when the
/// process has more than one thread (the kernel takes only one).
pub fn enter_user_namespace() -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if field(&status, "Threads:").is_none_or(|threads| threads != "1") {
        let detail = "only a process with a single thread can enter one";
        return Err(Error::new("enter", WHAT, Kind::Unsupported, detail));
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    // SAFETY: NEWUSER alone is unshared, so every descriptor stays valid; there is no other thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }.map_err(|error| refused("enter", error.into()))?;
    match fs::write("/proc/self/setgroups", "deny") {
        // Kernels before 3.19 have no such file, and need none.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused("set up", error)),
        _ => {}
    }
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(|error| refused("set up", error))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(|error| refused("set up", error))?;
    // AppArmor lets one in and then takes every capability away: whether it is of use shows only now.
    match create() {
        Err(error) if error.kind == Kind::Denied => {
            let why = format!("{error}; {}", Reasons::read().text(None));
            Err(Error::new("use", WHAT, Kind::Denied, why))
        }
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

fn refused(operation: &'static str, error: io::Error) -> Error {
    let errno = Errno::from_io_error(&error);
    let kind = match errno {
        Some(Errno::NOSYS | Errno::INVAL) => Kind::Unsupported,
        _ => Kind::Denied,
    };
    Error::new(operation, WHAT, kind, format!("{error}; {}", Reasons::read().text(errno)))
}

/// What may stand in the way, as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Reasons {
    /// Whether this kernel has user namespaces at all.
    has_namespaces: bool,
    /// kernel.unprivileged_userns_clone (Debian's and Ubuntu's kernels).
    unprivileged_clone: Option<u64>,
    /// user.max_user_namespaces.
    most: Option<u64>,
    /// kernel.apparmor_restrict_unprivileged_userns (Ubuntu, AppArmor 4).
    apparmor: Option<u64>,
    /// Whether a seccomp filter is on.
    has_filter: bool,
    /// Whether this looks like a container.
    is_container: bool,
}

impl Reasons {
    fn read() -> Reasons {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let exists = |path: &str| fs::exists(path).unwrap_or(false);
        Reasons {
            has_namespaces: exists("/proc/self/ns/user"),
            unprivileged_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            most: number("/proc/sys/user/max_user_namespaces"),
            apparmor: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            has_filter: field(&status, "Seccomp:").is_some_and(|mode| mode == "2"),
            is_container: exists("/.dockerenv") || exists("/run/.containerenv"),
        }
    }

    /// The reason in words, with what would change it.
    fn text(&self, errno: Option<Errno>) -> String {
        let mut reasons = Vec::new();
        if !self.has_namespaces {
            reasons.push("this kernel was built without user namespaces (CONFIG_USER_NS)".to_owned());
        }
        if self.unprivileged_clone == Some(0) {
            reasons.push("kernel.unprivileged_userns_clone is 0, and must be 1".to_owned());
        }
        if self.most == Some(0) {
            reasons.push("user.max_user_namespaces is 0, and must be above it".to_owned());
        } else if matches!(errno, Some(Errno::NOSPC | Errno::USERS)) {
            reasons
                .push("all of user.max_user_namespaces are in use, or they are nested too deeply".to_owned());
        }
        if self.apparmor == Some(1) {
            reasons.push(
                "kernel.apparmor_restrict_unprivileged_userns is 1: it must be 0, or a profile of AppArmor allow linger \
                 `userns`"
                    .to_owned(),
            );
        }
        if reasons.is_empty() && self.has_filter {
            let of = if self.is_container { "this container's" } else { "a" };
            reasons.push(format!(
                "{of} seccomp filter refuses it, probably (docker: --cap-add SYS_ADMIN, or --security-opt with a profile \
                 that allows unshare)"
            ));
        }
        if reasons.is_empty() {
            reasons.push(
                "neither the kernel's settings nor seccomp say why: a security module, probably".to_owned(),
            );
        }
        reasons.join("; ")
    }
}

/// The value of a line of /proc/PID/status.
fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABLE: Reasons = Reasons {
        has_namespaces: true,
        unprivileged_clone: Some(1),
        most: Some(1000),
        apparmor: Some(0),
        has_filter: false,
        is_container: false,
    };

    #[test]
    fn the_reason_is_named() {
        for (reasons, errno, words) in [
            (
                Reasons { unprivileged_clone: Some(0), ..ABLE },
                Some(Errno::PERM),
                "unprivileged_userns_clone is 0",
            ),
            (Reasons { most: Some(0), ..ABLE }, Some(Errno::NOSPC), "max_user_namespaces is 0"),
            (ABLE, Some(Errno::NOSPC), "in use"),
            (Reasons { apparmor: Some(1), ..ABLE }, None, "apparmor_restrict_unprivileged_userns is 1"),
            (Reasons { has_filter: true, ..ABLE }, Some(Errno::PERM), "a seccomp filter"),
            (
                Reasons { has_filter: true, is_container: true, ..ABLE },
                None,
                "this container's seccomp filter",
            ),
            (Reasons { has_namespaces: false, ..ABLE }, Some(Errno::INVAL), "CONFIG_USER_NS"),
            (ABLE, Some(Errno::PERM), "a security module"),
        ] {
            let text = reasons.text(errno);
            assert!(text.contains(words), "{reasons:?}: {text}");
        }
    }

    #[test]
    fn a_process_with_threads_is_left_where_it_is() {
        let before = fs::read_link("/proc/self/ns/user").unwrap();
        // The harness waits meanwhile, so that there are two threads at least.
        let error = std::thread::spawn(|| enter_user_namespace().unwrap_err()).join().unwrap();
        assert_eq!(error.kind, Kind::Unsupported);
        assert!(error.to_string().contains("single thread"), "{error}");
        assert_eq!(fs::read_link("/proc/self/ns/user").unwrap(), before);
    }

    #[test]
    fn this_kernel_is_read() {
        let reasons = Reasons::read();
        assert!(reasons.has_namespaces && reasons.most.is_some(), "{reasons:?}");
    }
}
