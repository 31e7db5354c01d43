//! Small files of /proc: read whole, with a gap for each that cannot be.

use crate::{gap, malformed};
use linger_model::snapshot::{Counters, FileUse, Gap, GapKind, Reading, Sockstat, Softnet};
use linger_wire::procnet;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Files of /proc that are read whole have a few KiB; this bounds one that is not what it seems.
const MOST: u64 = 4 << 20;

/// A file's text.
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?.take(MOST).read_to_end(&mut text)?;
    Ok(String::from_utf8(text).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn net(name: &str) -> Reading<String> {
    text(format!("/proc/thread-self/net/{name}")).map_err(|e| gap(format!("/proc/net/{name}"), &e))
}

/// /proc/net/snmp and netstat of the calling thread's namespace.
pub fn counters() -> Reading<Counters> {
    let mut counters = Counters::new();
    for name in ["snmp", "netstat"] {
        let text = net(name)?;
        procnet::counter_pairs(&text, &mut counters)
            .map_err(|e| malformed(format!("/proc/net/{name}"), &e))?;
    }
    Ok(counters)
}

/// /proc/net/sockstat and sockstat6.
pub fn sockstat() -> Reading<Sockstat> {
    let text = net("sockstat")?;
    procnet::sockstat(&text, net("sockstat6").ok().as_deref())
        .map_err(|e| malformed("/proc/net/sockstat", &e))
}

/// /proc/net/softnet_stat.
pub fn softnet() -> Reading<Softnet> {
    procnet::softnet(&net("softnet_stat")?).map_err(|e| malformed("/proc/net/softnet_stat", &e))
}

/// /proc/sys/fs/file-nr.
pub fn file_use() -> Reading<FileUse> {
    let what = "/proc/sys/fs/file-nr";
    let text = text(what).map_err(|e| gap(what, &e))?;
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(open)), Some(Ok(_)), Some(Ok(max))) => Ok(FileUse { open, max }),
        _ => Err(Gap::new(what, GapKind::Malformed, format!("three figures expected, found {text:?}"), "")),
    }
}

/// Where a sysctl's file is. A dot within an interface's name is written as `/` in the key, as sysctl(8) does.
fn sysctl_path(key: &str) -> String {
    let swapped: String = key
        .chars()
        .map(|c| {
            if c == '.' {
                '/'
            } else if c == '/' {
                '.'
            } else {
                c
            }
        })
        .collect();
    format!("/proc/sys/{swapped}")
}

/// That the namespace's sysctls are there at all: where they are masked, a missing file says nothing.
pub fn need_sysctls(what: &str) -> Reading<()> {
    std::fs::read_dir("/proc/sys/net/ipv4").map(drop).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            let hint = "something is mounted over it, or /proc is not mounted";
            Gap::new(what, GapKind::Unsupported, "/proc/sys/net is not there", hint)
        }
        _ => gap(what, &e),
    })
}

/// The sysctls that exist here; one that may not be read has a gap. `absent` decides whether a missing one has too.
pub fn sysctls(keys: &[&str], absent: bool) -> BTreeMap<String, Reading<String>> {
    let mut read = BTreeMap::new();
    let masked = need_sysctls("sysctls").is_err();
    for key in keys {
        match text(sysctl_path(key)) {
            Ok(text) => {
                read.insert((*key).to_owned(), Ok(text.trim().to_owned()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && masked => {
                let why = need_sysctls(key).err();
                read.extend(why.map(|gap| ((*key).to_owned(), Err(gap))));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && !absent => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let gone =
                    Gap::new(*key, GapKind::Unsupported, "this kernel or namespace does not have it", "");
                read.insert((*key).to_owned(), Err(gone));
            }
            Err(e) => {
                read.insert((*key).to_owned(), Err(gap(*key, &e)));
            }
        }
    }
    read
}
