//! From a file, a folder or standard input to what `linger_import` makes of it. This opens and reads; it understands
//! nothing.

use anyhow::{Context, anyhow, bail};
use linger_import::{Feed, Imported, Options, Survey};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes at a time.
const CHUNK: usize = 256 << 10;
/// Of what cannot be read twice (a pipe), this much is kept in memory; more goes to a nameless temporary file.
const IN_MEMORY: usize = 8 << 20;
/// Entries of a folder, with all its folders, that are looked at.
const MOST_ENTRIES: usize = 200_000;
/// How deep it is looked.
const DEEPEST: usize = 12;
/// Bytes read of a file of /proc/sys and of other small ones.
const SMALL: u64 = 1 << 20;

/// Something to read.
struct Item {
    /// As it is told of.
    name: String,
    role: Role,
    place: Place,
}

enum Place {
    Path(PathBuf),
    Memory(Vec<u8>),
    Spooled(File),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Role {
    /// A program's output, or a file of /proc/net that tells by itself what it is.
    Text,
    /// A file of /proc/sys, by its key.
    Sysctl(String),
    /// Another file of /proc, by its path below it.
    Proc(String),
}

/// Reads `from`: a file, a folder, or `-`.
pub fn read(from: &Path, options: Options) -> anyhow::Result<Imported> {
    let (label, items, taken_at) = if from == Path::new("-") {
        let item = Item { name: "-".to_owned(), role: Role::Text, place: spool(&mut io::stdin().lock())? };
        ("standard input".to_owned(), vec![item], SystemTime::now())
    } else {
        let label = from.display().to_string();
        let about = fs::metadata(from).with_context(|| format!("cannot read {label}"))?;
        let written = about.modified().unwrap_or_else(|_| SystemTime::now());
        if about.is_dir() {
            (label, folder(from)?, written)
        } else {
            let mut file = File::open(from).with_context(|| format!("cannot read {label}"))?;
            let place = if about.is_file() { Place::Path(from.to_owned()) } else { spool(&mut file)? };
            (label.clone(), vec![Item { name: label, role: Role::Text, place }], written)
        }
    };
    let mut items = items;
    let mut survey = Survey::new(options);
    for item in &mut items {
        if let Err(error) = surveyed(item, &mut survey) {
            // One file of a folder that cannot be read is told of; a file that was asked for must be read.
            if from.is_dir() {
                survey.left_out(&item.name, &format!("cannot be read: {error:#}"));
                item.place = Place::Memory(Vec::new());
                continue;
            }
            return Err(error.context(format!("cannot read {}", item.name)));
        }
    }
    let since_1970 = taken_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let taken_at_us = i64::try_from(since_1970.as_micros()).unwrap_or(i64::MAX);
    survey.finish().run(&label, taken_at_us, |feed| -> anyhow::Result<()> {
        for item in items.iter_mut().filter(|item| item.role == Role::Text) {
            feed(Feed::Begin(&item.name));
            item.each(|bytes| feed(Feed::Bytes(bytes)))
                .with_context(|| format!("cannot read {} again", item.name))?;
            feed(Feed::End);
        }
        Ok(())
    })
}

fn surveyed(item: &mut Item, survey: &mut Survey) -> anyhow::Result<()> {
    match item.role.clone() {
        Role::Text => {
            survey.begin(&item.name);
            let mut first = true;
            let mut packed = None;
            item.each(|bytes| {
                if std::mem::take(&mut first) {
                    packed = archive(bytes);
                }
                if packed.is_none() {
                    survey.feed(bytes);
                }
            })?;
            survey.end();
            match packed {
                Some((what, how)) => Err(anyhow!("it is {what}: {how}")),
                None => Ok(()),
            }
        }
        Role::Sysctl(key) => {
            survey.sysctl(&key, &item.small()?);
            Ok(())
        }
        Role::Proc(name) => {
            survey.proc_file(&name, &item.small()?);
            Ok(())
        }
    }
}

impl Item {
    /// Gives all bytes, from the first.
    fn each(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<()> {
        let mut opened;
        let file = match &mut self.place {
            Place::Memory(bytes) => {
                bytes.chunks(CHUNK).for_each(take);
                return Ok(());
            }
            Place::Spooled(file) => {
                file.rewind()?;
                file
            }
            Place::Path(path) => {
                opened = File::open(path)?;
                &mut opened
            }
        };
        let mut buffer = vec![0; CHUNK];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => take(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn small(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        if let Place::Path(path) = &self.place {
            File::open(path)?.take(SMALL).read_to_end(&mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What is packed, and how to unpack it.
fn archive(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const UNPACK: &str = "unpack it (tar xf FILE) and give the folder";
    let known: [(&[u8], &str); 5] = [
        (b"\xfd7zXZ\0", "an xz archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"BZh", "a bzip2 archive"),
        (b"\x28\xb5\x2f\xfd", "a zstd archive"),
        (b"PK\x03\x04", "a zip archive"),
    ];
    let tar = bytes.get(257..262) == Some(b"ustar");
    let found = known.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, what)| *what);
    found.or_else(|| tar.then_some("a tar archive")).map(|what| (what, UNPACK))
}

/// Keeps what can be read only once, so that it can be read twice.
fn spool(from: &mut impl Read) -> anyhow::Result<Place> {
    let mut memory = Vec::new();
    from.take(IN_MEMORY as u64).read_to_end(&mut memory).context("cannot read what is piped in")?;
    if memory.len() < IN_MEMORY {
        return Ok(Place::Memory(memory));
    }
    let folder = std::env::temp_dir();
    let unnamed = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(&folder, unnamed, Mode::RUSR | Mode::WUSR).map_err(io::Error::from).with_context(
            || format!("cannot keep what is piped in under {} (TMPDIR): give it as a file", folder.display()),
        )?;
    let mut file = File::from(file);
    let kept = file.write_all(&memory).and_then(|()| io::copy(from, &mut file).map(drop));
    kept.with_context(|| {
        format!("cannot keep what is piped in under {} (TMPDIR): give it as a file", folder.display())
    })?;
    Ok(Place::Spooled(file))
}

/// Names of the files of /proc/net that are read.
const PROC_NET: [&str; 8] =
    ["tcp", "tcp6", "sockstat", "sockstat6", "snmp", "netstat", "softnet_stat", "stat/nf_conntrack"];
/// Programs whose output is looked for by the file's name.
const PROGRAMS: [&str; 7] = ["ss", "netstat", "nstat", "lsof", "conntrack", "sysctl", "uname"];

/// What there is to read in a folder: a sosreport, a copy of /proc or /proc/net, or files with pasted outputs.
fn folder(from: &Path) -> anyhow::Result<Vec<Item>> {
    let mut files = Vec::new();
    let mut seen = 0;
    walk(from, &mut PathBuf::new(), 0, &mut seen, &mut files)?;
    files.sort();
    let bare = ["tcp", "sockstat", "snmp"].iter().any(|name| files.contains(&PathBuf::from(name)));
    let mut found: Vec<(String, Item)> = Vec::new();
    for file in &files {
        let text = file.to_string_lossy();
        let Some((root, role)) = role(&text, bare) else { continue };
        let item = Item { name: text.clone().into_owned(), role, place: Place::Path(from.join(file)) };
        found.push((root, item));
    }
    if found.is_empty() {
        // Files with pasted outputs, by whatever name.
        let own = files.iter().filter(|file| file.components().count() == 1);
        for file in own.take(256) {
            let name = file.to_string_lossy().into_owned();
            found.push((String::new(), Item { name, role: Role::Text, place: Place::Path(from.join(file)) }));
        }
    }
    if found.is_empty() {
        bail!("{}: no sos_commands, no proc and no file of a program's output is in it", from.display());
    }
    let mut roots: Vec<&str> = found.iter().map(|(root, _)| root.as_str()).collect();
    roots.sort_unstable();
    roots.dedup();
    if roots.len() > 1 {
        let shown: Vec<String> = roots.iter().take(5).map(|r| from.join(r).display().to_string()).collect();
        let more = if roots.len() > 5 { ", …" } else { "" };
        bail!(
            "{} holds the files of {} hosts; give one of them: {}{more}",
            from.display(),
            roots.len(),
            shown.join(", ")
        );
    }
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// Regular files below a folder. Links are not followed: in a sosreport they lead to files that are there anyway.
fn walk(
    base: &Path,
    below: &mut PathBuf,
    depth: usize,
    seen: &mut usize,
    files: &mut Vec<PathBuf>,
) -> anyhow::Result<()> {
    let folder = base.join(&below);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if depth == 0 => {
            return Err(error).with_context(|| format!("cannot read {}", folder.display()));
        }
        Err(_) => return Ok(()),
    };
    for entry in entries.flatten() {
        *seen += 1;
        if *seen > MOST_ENTRIES {
            bail!("{} holds more than {MOST_ENTRIES} files: give the folder of one host", base.display());
        }
        let Ok(kind) = entry.file_type() else { continue };
        below.push(entry.file_name());
        if kind.is_dir() && depth < DEEPEST {
            walk(base, below, depth + 1, seen, files)?;
        } else if kind.is_file() {
            files.push(below.clone());
        }
        below.pop();
    }
    Ok(())
}

/// Whose file this is (the folder of its host), and how it is read.
fn role(path: &str, bare: bool) -> Option<(String, Role)> {
    if bare && !path.contains('/') {
        return PROC_NET.contains(&path).then(|| (String::new(), proc_net(path)));
    }
    if bare {
        return (path == "stat/nf_conntrack").then(|| (String::new(), proc_net(path)));
    }
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    // `proc/…`, `HOST/proc/…`
    let in_proc = match path.strip_prefix("proc/") {
        Some(rest) => Some(("", rest)),
        None => path.split_once("/proc/"),
    };
    if let Some((root, rest)) = in_proc {
        let role = match rest.strip_prefix("net/").or_else(|| rest.strip_prefix("self/net/")) {
            Some(net) => PROC_NET.contains(&net).then(|| proc_net(net)),
            None if rest == "version" => Some(Role::Text),
            None if rest == "sys/fs/file-nr" || rest == "sys/kernel/osrelease" => {
                Some(Role::Proc(rest.to_owned()))
            }
            None => rest.strip_prefix("sys/").map(|key| Role::Sysctl(key.replace('/', "."))),
        };
        return role.map(|role| (root.to_owned(), role));
    }
    let program = name.split(['_', '.', '-']).next().unwrap_or(name);
    let in_namespace = name.starts_with("ip_netns_exec_");
    if !PROGRAMS.contains(&program) && !in_namespace {
        return None;
    }
    // A service of that name has its configuration there, too.
    if matches!(name.rsplit_once('.'), Some((_, "conf" | "d" | "service" | "socket" | "so"))) {
        return None;
    }
    let root = match folder
        .strip_prefix("sos_commands")
        .map(|_| "")
        .or_else(|| folder.split_once("/sos_commands").map(|(root, _)| root))
    {
        Some(root) => root,
        None if folder.split('/').any(|part| matches!(part, "etc" | "usr" | "var" | "lib" | "run")) => {
            return None;
        }
        None => folder,
    };
    Some((root.to_owned(), Role::Text))
}

fn proc_net(name: &str) -> Role {
    match name {
        "softnet_stat" | "stat/nf_conntrack" => Role::Proc(format!("net/{name}")),
        _ => Role::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_in_every_tree() {
        let text = |root: &str| Some((root.to_owned(), Role::Text));
        assert_eq!(role("sos_commands/networking/ss_-peaonmi", false), text(""));
        assert_eq!(role("sosreport-web1/sos_commands/networking/netstat_-s", false), text("sosreport-web1"));
        assert_eq!(role("sosreport-web1/proc/net/tcp", false), text("sosreport-web1"));
        assert_eq!(role("nodes/a/ss_-tan.txt", false), text("nodes/a"));
        assert_eq!(role("tcp", true), text(""));
        let sysctl = Role::Sysctl("net.ipv4.tcp_tw_reuse".to_owned());
        assert_eq!(role("proc/sys/net/ipv4/tcp_tw_reuse", false), Some((String::new(), sysctl)));
        assert_eq!(role("net/softnet_stat", false), None);
        assert_eq!(
            role("proc/net/softnet_stat", false),
            Some((String::new(), Role::Proc("net/softnet_stat".to_owned())))
        );
        for other in
            ["etc/sysctl.conf", "etc/sysctl.d/ss.conf", "sos_commands/date/date", "proc/cpuinfo", "sshd"]
        {
            assert_eq!(role(other, false), None, "{other}");
        }
    }

    #[test]
    fn archives_are_known_by_their_first_bytes() {
        assert!(archive(b"\x1f\x8b\x08").is_some_and(|(what, _)| what.contains("gzip")));
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(archive(&tar).is_some());
        assert_eq!(archive(b"State Recv-Q"), None);
    }
}
