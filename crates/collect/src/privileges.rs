//! What this process may look at, and what to advise where that is not enough.

use crate::files;
use rustix::process::{getegid, geteuid, getgroups};

const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_PTRACE: u32 = 19;
/// The initial user namespace's inode never changes (PROC_USER_INIT_INO).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// Capabilities, and where they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Privileges {
    root: bool,
    ptrace: bool,
    search: bool,
    first_user_namespace: bool,
}

impl Privileges {
    /// This process's; what cannot be read counts as not there.
    pub fn own() -> Privileges {
        let status = files::text("/proc/thread-self/status").unwrap_or_default();
        let effective = status
            .lines()
            .find_map(|l| u64::from_str_radix(l.strip_prefix("CapEff:")?.trim(), 16).ok())
            .unwrap_or(0);
        let has = |capability: u32| effective & (1 << capability) != 0;
        let namespace = std::fs::read_link("/proc/self/ns/user").ok();
        Privileges {
            root: geteuid().is_root(),
            ptrace: has(CAP_SYS_PTRACE),
            search: has(CAP_DAC_OVERRIDE) || has(CAP_DAC_READ_SEARCH),
            first_user_namespace: namespace.is_some_and(|n| n.as_os_str() == FIRST_USER_NAMESPACE),
        }
    }

    /// What to do about a process, or a file, that may not be read.
    pub fn hint(&self) -> &'static str {
        match self {
            Privileges { ptrace: true, search: true, first_user_namespace: false, .. } => {
                "another user namespace's"
            }
            Privileges { ptrace: true, search: true, .. } => "probably a security module",
            Privileges { root: true, .. } => "this root lacks CAP_SYS_PTRACE",
            _ => "run as root",
        }
    }

    /// How /proc, mounted with these options, hides processes from this reader, if it does. After has_pid_permissions()
    /// in fs/proc/base.c.
    fn hidden_by<'a>(&self, options: &'a str, groups: &[u32]) -> Option<&'a str> {
        // Who may trace whatever there is sees it in every mode.
        if self.ptrace && self.first_user_namespace {
            return None;
        }
        let value = |key: &str| options.split(',').find_map(|o| o.strip_prefix(key)?.strip_prefix('='));
        let mode = options.split(',').find(|o| o.starts_with("hidepid="))?;
        match value("hidepid")? {
            // It is printed as the first user namespace numbers it.
            "2" | "invisible" => {
                let gid = value("gid").map_or(Some(0), |gid| gid.parse().ok());
                let member = self.first_user_namespace && gid.is_some_and(|gid| groups.contains(&gid));
                (!member).then_some(mode)
            }
            "4" | "ptraceable" => Some(mode),
            // 1 (noaccess) hides what is in a process's folder: that is denied, and counted.
            _ => None,
        }
    }

    /// The option of /proc that hides processes from this reader.
    pub fn hidepid(&self) -> Option<String> {
        let mounts = files::text("/proc/self/mounts").ok()?;
        let groups: Vec<u32> = getgroups()
            .unwrap_or_default()
            .into_iter()
            .chain([getegid()])
            .map(rustix::process::Gid::as_raw)
            .collect();
        self.hidden_by(proc_options(&mounts)?, &groups).map(str::to_owned)
    }
}

/// Options of the /proc in effect: the one mounted last.
fn proc_options(mounts: &str) -> Option<&str> {
    mounts.lines().rev().find_map(|l| {
        let mut words = l.split(' ');
        (words.nth(1)? == "/proc").then(|| words.nth(1))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Privileges =
        Privileges { root: false, ptrace: false, search: false, first_user_namespace: true };
    const ROOT: Privileges =
        Privileges { root: true, ptrace: true, search: true, first_user_namespace: true };
    const ROOT_INSIDE: Privileges = Privileges { first_user_namespace: false, ..ROOT };

    #[test]
    fn the_last_mount_is_in_effect() {
        let mounts =
            "proc /proc proc rw,hidepid=2 0 0\nx /proc/x tmpfs rw 0 0\nproc /proc proc rw,gid=7 0 0\n";
        assert_eq!(proc_options(mounts), Some("rw,gid=7"));
        assert_eq!(proc_options("tmpfs /tmp tmpfs rw 0 0\n"), None);
    }

    #[test]
    fn who_is_hidden_from_depends_on_the_mode() {
        let nobody = |options| NOBODY.hidden_by(options, &[65534]).is_some();
        assert!(!nobody("rw") && !nobody("rw,hidepid=0") && !nobody("rw,hidepid=noaccess"));
        assert!(nobody("rw,hidepid=2") && nobody("rw,gid=7,hidepid=invisible"));
        assert!(!nobody("rw,gid=65534,hidepid=2") && nobody("rw,gid=65534,hidepid=ptraceable"));
        for options in ["rw,hidepid=2", "rw,hidepid=ptraceable", "hidepid=4"] {
            assert_eq!(ROOT.hidden_by(options, &[0]), None);
            assert!(ROOT_INSIDE.hidden_by(options, &[0]).is_some(), "{options}");
        }
        let lacking = Privileges { ptrace: false, ..ROOT };
        assert!(lacking.hidden_by("hidepid=4", &[0]).is_some());
        // The group of /proc is root's where nothing else is said.
        assert_eq!(lacking.hidden_by("hidepid=2", &[0]), None);
    }

    #[test]
    fn root_is_not_told_to_run_as_root() {
        assert_eq!(NOBODY.hint(), "run as root");
        assert!(ROOT.hint().contains("security module") && ROOT_INSIDE.hint().contains("user namespace"));
        assert!(Privileges { ptrace: false, ..ROOT }.hint().contains("CAP_SYS_PTRACE"));
    }
}
