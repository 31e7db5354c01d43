//! Network sysctls inside the lab's namespaces.

use std::io;
use std::path::{Path, PathBuf};

use linger_netns::{Netns, Origin, run_in};

use crate::Error;

/// The file of a network sysctl, from `net.ipv4.tcp_tw_reuse` or `net/ipv4/conf/eth0.100/forwarding`.
pub(crate) fn path(key: &str) -> Result<PathBuf, Error> {
    let malformed =
        |why: &str| Error::Malformed { what: "sysctl", text: key.to_owned(), why: why.to_owned() };
    // As sysctl(8): the first separator decides which of the two it is.
    let is_slashed = key.find(['/', '.']).is_some_and(|at| key.as_bytes()[at] == b'/');
    let relative = if is_slashed { key.to_owned() } else { key.replace('.', "/") };
    if !relative.starts_with("net/") {
        return Err(malformed("only net.* belongs to a network namespace; the rest is the whole host's"));
    }
    if relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(malformed("an empty or relative part"));
    }
    Ok(Path::new("/proc/sys").join(relative))
}

/// Reads a network sysctl inside `ns`, without the newline.
///
/// # Errors
/// When the key is none of `net.*`, isn't there on this kernel, or can't be read.
pub fn read_sysctl(ns: &Netns, key: &str) -> Result<String, Error> {
    let path = path(key)?;
    let text = run_in(ns, || std::fs::read_to_string(&path))?;
    Ok(text.map_err(failed(ns, "read", key))?.trim_end().to_owned())
}

/// Writes a network sysctl inside `ns`, which must be a namespace that this process made.
///
/// # Errors
/// [`Error::NotOurs`] for any other namespace, whatever the value. Else as [`read_sysctl`], and EINVAL for a value
/// that the kernel doesn't take.
pub fn write_sysctl(ns: &Netns, key: &str, value: &str) -> Result<(), Error> {
    let path = path(key)?;
    // A write of nothing succeeds and changes nothing; of an empty line, the kernel takes it where empty is a value.
    let text = if value.trim().is_empty() { "\n" } else { value };
    let is_of_this_process = ns.is_current()
        || ns.is_init() == Some(true)
        || std::fs::metadata("/proc/self/ns/net")
            .map_or(true, |own| std::os::unix::fs::MetadataExt::ino(&own) == ns.inode());
    if *ns.origin() != Origin::Created || is_of_this_process {
        return Err(Error::NotOurs { key: key.to_owned() });
    }
    // The kernel resolves /proc/sys/net by the namespace of the thread that opens it.
    run_in(ns, || std::fs::write(&path, text))?.map_err(|source| {
        let why = match source.raw_os_error() {
            Some(libc::ENOENT | libc::EACCES | libc::EPERM) => {
                "; this kernel may not have it, or it is the whole machine's and no namespace's own"
            }
            Some(libc::EINVAL | libc::ERANGE) => "; the kernel does not take this value",
            Some(libc::EROFS) => "; /proc/sys is read-only, as in most containers: run it on the host",
            _ => "",
        };
        let host = ns.label();
        Error::Host {
            host,
            operation: "write",
            subject: format!("the sysctl {key}={value:?}"),
            source: explained(source, why),
        }
    })
}

/// The same error with a word more.
fn explained(source: io::Error, why: &str) -> io::Error {
    if why.is_empty() { source } else { io::Error::new(source.kind(), format!("{source}{why}")) }
}

fn failed(ns: &Netns, operation: &'static str, key: &str) -> impl FnOnce(io::Error) -> Error {
    let (host, subject) = (ns.label(), format!("the sysctl {key}"));
    move |source| Error::Host { host, operation, subject, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(path("net.ipv4.tcp_tw_reuse").unwrap(), Path::new("/proc/sys/net/ipv4/tcp_tw_reuse"));
        let dotted = path("net/ipv4/conf/eth0.100/forwarding").unwrap();
        assert_eq!(dotted, Path::new("/proc/sys/net/ipv4/conf/eth0.100/forwarding"));
        for bad in
            ["fs.file-max", "net", "net.", "net/../kernel/panic", "net..x", "/net/ipv4/x", "", "kernel.panic"]
        {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_own_namespace_is_left_alone() {
        let own = Netns::current().unwrap();
        let value = read_sysctl(&own, "net.ipv4.tcp_fin_timeout").unwrap();
        // The value it has, so that a failure of this test changes nothing.
        let refused = write_sysctl(&own, "net.ipv4.tcp_fin_timeout", &value).unwrap_err();
        assert!(matches!(refused, Error::NotOurs { .. }), "{refused}");
    }
}
