//! From a file, a folder or standard input to what `linger_import` makes of it. This opens and reads; it understands
//! nothing.

use crate::archive::{self, Packing};
use anyhow::{Context, anyhow, bail};
use linger_import::recording::MAGIC;
use linger_import::tar::Members;
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
/// Files of an archive that are read, and of those the ones that are no small file of /proc.
const MOST_MEMBERS: usize = 10_000;
const MOST_TEXTS: usize = 500;
/// Bytes of these: a small archive can hold a file that fills every disk.
const MOST_BYTES: u64 = 2 << 30;
/// Bytes of a file of an archive that are kept in memory, and of all together; what is more goes to nameless temporary
/// files.
const MEMBER_IN_MEMORY: usize = 1 << 20;
const MEMBERS_IN_MEMORY: usize = 24 << 20;
/// Bytes read of a file of /proc/sys and of other small ones.
const SMALL: u64 = 1 << 20;

/// Something to read.
struct Item {
    /// As it is told of.
    name: String,
    role: Role,
    place: Place,
}

/// Where bytes are that are read more than once.
pub enum Place {
    /// In a file of their own.
    Path(PathBuf),
    /// In memory.
    Memory(Vec<u8>),
    /// In a nameless temporary file.
    Spooled(File),
}

impl Place {
    /// All bytes, from the first.
    pub fn reader(&mut self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Place::Memory(bytes) => Box::new(bytes.as_slice()),
            Place::Spooled(file) => {
                file.rewind()?;
                Box::new(file)
            }
            Place::Path(path) => Box::new(File::open(path)?),
        })
    }
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

/// What was named: a file, a folder, or `-`. It is opened once, as a pipe can be read only once, and known by its first
/// bytes.
pub struct Input {
    /// As it is told of.
    pub name: String,
    from: PathBuf,
    written: SystemTime,
    content: Content,
}

enum Content {
    Folder,
    Recording(Place),
    Archive(Box<dyn Read>),
    Text(Place),
}

/// Opens `from`, and unpacks what is packed.
pub fn open(from: &Path) -> anyhow::Result<Input> {
    let named = from != Path::new("-");
    let name = if named { from.display().to_string() } else { "standard input".to_owned() };
    let failed = || format!("cannot read {name}");
    let mut input = Input {
        name: name.clone(),
        from: from.to_owned(),
        written: SystemTime::now(),
        content: Content::Folder,
    };
    let mut path = None;
    let stream: Box<dyn Read> = if named {
        let about = fs::metadata(from).with_context(failed)?;
        input.written = about.modified().unwrap_or(input.written);
        if about.is_dir() {
            return Ok(input);
        }
        path = about.is_file().then(|| from.to_owned());
        Box::new(File::open(from).with_context(failed)?)
    } else {
        Box::new(io::stdin())
    };
    input.content = content(stream, path).with_context(failed)?;
    Ok(input)
}

/// What a stream is; `path` where it can be opened again.
fn content(stream: Box<dyn Read>, path: Option<PathBuf>) -> anyhow::Result<Content> {
    let (first, stream) = peek(stream)?;
    let packing = Packing::of(&first);
    if packing == Some(Packing::Tar) {
        return Ok(Content::Archive(archive::bounded(stream)));
    }
    if let Some(packing) = packing {
        let (first, stream) = peek(archive::unpacked(stream, packing)?)?;
        if Packing::of(&first) == Some(Packing::Tar) {
            return Ok(Content::Archive(stream));
        }
        // One file, packed for itself.
        let place = spool(&mut stream.take(MOST_BYTES + 1), IN_MEMORY)?;
        if let Place::Spooled(file) = &place
            && file.metadata()?.len() > MOST_BYTES
        {
            bail!("it has more than 2 GiB: unpack it and give the file");
        }
        return Ok(of_one_file(&first, place));
    }
    let place = match path {
        Some(path) => Place::Path(path),
        None => spool(&mut { stream }, IN_MEMORY)?,
    };
    Ok(of_one_file(&first, place))
}

fn of_one_file(first: &[u8], place: Place) -> Content {
    if first.starts_with(MAGIC) { Content::Recording(place) } else { Content::Text(place) }
}

/// The first bytes of a stream, and the stream with them.
fn peek(mut stream: Box<dyn Read>) -> io::Result<(Vec<u8>, Box<dyn Read>)> {
    let mut first = Vec::new();
    stream.by_ref().take(512).read_to_end(&mut first)?;
    let whole = io::Cursor::new(first.clone()).chain(stream);
    Ok((first, Box::new(whole)))
}

impl Input {
    /// Where it is a recording: its bytes, to be read as often as wanted.
    pub fn recording(&mut self) -> Option<&mut Place> {
        match &mut self.content {
            Content::Recording(place) => Some(place),
            _ => None,
        }
    }

    /// Imports what is no recording.
    pub fn import(self, options: Options) -> anyhow::Result<Imported> {
        let Input { name: label, from, written, content } = self;
        let is_folder = matches!(content, Content::Folder);
        let mut items = match content {
            Content::Folder => folder(&from)?,
            Content::Archive(unpacked) => {
                archived(unpacked, &label).with_context(|| format!("cannot read {label}"))?
            }
            Content::Recording(place) | Content::Text(place) => {
                let name = if from == Path::new("-") { "-".to_owned() } else { label.clone() };
                vec![Item { name, role: Role::Text, place }]
            }
        };
        let mut survey = Survey::new(options);
        for item in &mut items {
            if let Err(error) = surveyed(item, &mut survey) {
                // One file of a folder that cannot be read is told of; a file that was asked for must be read.
                if is_folder {
                    survey.left_out(&item.name, &format!("cannot be read: {error:#}"));
                    item.place = Place::Memory(Vec::new());
                    continue;
                }
                return Err(error.context(format!("cannot read {}", item.name)));
            }
        }
        let since_1970 = written.duration_since(UNIX_EPOCH).unwrap_or_default();
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
}

fn surveyed(item: &mut Item, survey: &mut Survey) -> anyhow::Result<()> {
    match item.role.clone() {
        Role::Text => {
            survey.begin(&item.name);
            let mut first = true;
            let mut packed = None;
            item.each(|bytes| {
                if std::mem::take(&mut first) {
                    packed = Packing::of(bytes);
                }
                if packed.is_none() {
                    survey.feed(bytes);
                }
            })?;
            survey.end();
            match packed {
                Some(packed) => Err(anyhow!("it is {}: unpack it first", packed.name())),
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
        let mut from = self.place.reader()?;
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => take(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn small(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.place.reader()?.take(SMALL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Keeps what can be read only once, so that it can be read twice.
fn spool(from: &mut impl Read, in_memory: usize) -> anyhow::Result<Place> {
    let mut memory = Vec::new();
    from.take(in_memory as u64).read_to_end(&mut memory).context("cannot be read to its end")?;
    if memory.len() < in_memory {
        return Ok(Place::Memory(memory));
    }
    let folder = std::env::temp_dir();
    let unnamed = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(&folder, unnamed, Mode::RUSR | Mode::WUSR).map_err(io::Error::from).with_context(
            || format!("cannot keep it under {} (TMPDIR): give a file that is not packed", folder.display()),
        )?;
    let mut file = File::from(file);
    let kept = file.write_all(&memory).and_then(|()| io::copy(from, &mut file).map(drop));
    kept.with_context(|| {
        format!("cannot keep it under {} (TMPDIR): give a file that is not packed", folder.display())
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
    one_host(found, |root| from.join(root).display().to_string(), &from.display().to_string())
}

/// The items, if they are all of one host.
fn one_host(
    found: Vec<(String, Item)>,
    shown: impl Fn(&str) -> String,
    label: &str,
) -> anyhow::Result<Vec<Item>> {
    let mut roots: Vec<&str> = found.iter().map(|(root, _)| root.as_str()).collect();
    roots.sort_unstable();
    roots.dedup();
    if roots.len() > 1 {
        let list: Vec<String> = roots.iter().take(5).map(|root| shown(root)).collect();
        let more = if roots.len() > 5 { ", …" } else { "" };
        bail!(
            "{label} holds the files of {} hosts; give one of them: {}{more}",
            roots.len(),
            list.join(", ")
        );
    }
    Ok(found.into_iter().map(|(_, item)| item).collect())
}

/// What there is to read in an archive, in one pass over it: what is wanted is a small part of a sosreport.
fn archived(mut unpacked: Box<dyn Read>, label: &str) -> anyhow::Result<Vec<Item>> {
    let mut members = Members::new(&mut unpacked);
    let mut found: Vec<(String, Item)> = Vec::new();
    let (mut seen, mut texts, mut bytes, mut room) = (0, 0, 0u64, MEMBERS_IN_MEMORY);
    while let Some(member) = members.next_member()? {
        seen += 1;
        if seen > MOST_ENTRIES {
            bail!("it holds more than {MOST_ENTRIES} files: unpack it and give the folder of one host");
        }
        let Some((root, role)) = role(&member.name, false) else { continue };
        if role == Role::Text {
            texts += 1;
            bytes = bytes.saturating_add(member.size);
        }
        if bytes > MOST_BYTES {
            bail!(
                "{} and what is before it have more than 2 GiB: unpack it and give the folder",
                member.name
            );
        }
        if found.len() == MOST_MEMBERS || texts > MOST_TEXTS || (role != Role::Text && room == 0) {
            bail!("it holds more to read than one host has: unpack it and give the folder of one host");
        }
        let place = match role {
            Role::Text => spool(&mut members, room.min(MEMBER_IN_MEMORY))?,
            _ => {
                let mut bytes = Vec::new();
                members.by_ref().take(SMALL.min(room as u64)).read_to_end(&mut bytes)?;
                Place::Memory(bytes)
            }
        };
        if let Place::Memory(bytes) = &place {
            room = room.saturating_sub(bytes.len());
        }
        found.push((root, Item { name: member.name, role, place }));
    }
    if found.is_empty() {
        bail!("no sos_commands, no proc and no file of a program's output is in it");
    }
    found.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    one_host(found, str::to_owned, label)
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
}
