//! Which files are read, in which order, and what is left in the end.

use super::key::Key;
use super::parse::{Document, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// The folders, first wins: a file masks those of the same name in later ones.
pub const FOLDERS: [&str; 5] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"];

/// The file that procps reads after all others, and systemd-sysctl not at all.
pub const SYSCTL_CONF: &str = "/etc/sysctl.conf";

/// A file's content, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// As it is named to people.
    pub name: String,
    /// Its bytes.
    pub text: Vec<u8>,
    /// The paths under which the host finds it, links among them: `/etc/sysctl.d/99-sysctl.conf` and `/etc/sysctl.conf`
    /// are often one file. Empty for a file that was named by itself.
    pub places: Vec<String>,
}

/// Who reads the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loader {
    /// systemd-sysctl, at boot.
    Systemd,
    /// `sysctl --system` of procps 4; at boot where there is no systemd.
    Procps,
}

impl Loader {
    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Loader::Systemd => "systemd-sysctl",
            Loader::Procps => "sysctl --system",
        }
    }
}

/// A file in the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading<'a> {
    /// Index of the file.
    pub file: usize,
    /// Under which path it is read; its name, where it was named by itself.
    pub place: &'a str,
}

/// A file that is not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// Index of the file.
    pub file: usize,
    /// Where it would be found.
    pub place: String,
    /// What is read instead.
    pub by: String,
}

/// Folder's rank and file's name, for a path in one of the folders.
fn in_folder(place: &str) -> Option<(usize, &str)> {
    let (folder, name) = place.rsplit_once('/')?;
    let rank = FOLDERS.iter().position(|f| *f == folder)?;
    (name.ends_with(".conf") && name.len() > ".conf".len() && !name.starts_with('.')).then_some((rank, name))
}

/// The files that are read, in order, and those that are not because another one of the same name comes first.
///
/// Files named by themselves come in the order given, behind the others, as in `sysctl -p FILE…`.
#[must_use]
pub fn order(files: &[File], loader: Loader) -> (Vec<Reading<'_>>, Vec<Masked>) {
    let mut by_name: BTreeMap<&[u8], Vec<(usize, Reading<'_>)>> = BTreeMap::new();
    let mut last = Vec::new();
    let mut named = Vec::new();
    for (file, it) in files.iter().enumerate() {
        if it.places.is_empty() {
            named.push(Reading { file, place: &it.name });
        }
        for place in &it.places {
            if let Some((rank, name)) = in_folder(place) {
                by_name.entry(name.as_bytes()).or_default().push((rank, Reading { file, place }));
            } else if place == SYSCTL_CONF && loader == Loader::Procps {
                last.push(Reading { file, place });
            }
        }
    }
    let mut read = Vec::new();
    let mut masked = Vec::new();
    for mut same in by_name.into_values() {
        same.sort_by_key(|(rank, _)| *rank);
        let mut same = same.into_iter().map(|(_, reading)| reading);
        let Some(first) = same.next() else { continue };
        // /lib is often a link to /usr/lib: then it is the same file.
        let others = same.filter(|other| other.file != first.file);
        masked.extend(others.map(|other| Masked {
            file: other.file,
            place: other.place.to_owned(),
            by: first.place.to_owned(),
        }));
        read.push(first);
    }
    read.extend(last);
    read.extend(named);
    (read, masked)
}

/// A line, by file and line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    /// Index of the file.
    pub file: usize,
    /// Index of the line in its document.
    pub line: usize,
}

/// What remains of all files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effective {
    /// The line that decides each key that is named in full; the last one does.
    pub keys: BTreeMap<Key, At>,
    /// Lines that a later one undoes, and that one.
    pub undone: Vec<(At, At)>,
    /// Patterns, in the order in which they are applied. They leave out keys that are named in full or excluded.
    pub globs: Vec<At>,
    /// Keys that no glob sets.
    pub excluded: BTreeMap<Key, At>,
}

impl Effective {
    /// Of files in the order of `order`.
    #[must_use]
    pub fn of(readings: &[Reading<'_>], documents: &[Document]) -> Effective {
        let mut effective = Effective::default();
        for reading in readings {
            let Some(document) = documents.get(reading.file) else { continue };
            for (line, it) in document.lines.iter().enumerate() {
                let at = At { file: reading.file, line };
                match &it.kind {
                    Kind::Setting(s) if s.key.is_glob() => {
                        effective.globs.retain(|old| {
                            let same = matches!(&documents[old.file].lines[old.line].kind,
                                Kind::Setting(o) if o.key == s.key);
                            if same && *old != at {
                                effective.undone.push((*old, at));
                            }
                            !same
                        });
                        effective.globs.push(at);
                    }
                    Kind::Setting(s) => {
                        // The same file may be read twice, by a link.
                        if let Some(old) = effective.keys.insert(s.key.clone(), at).filter(|old| *old != at) {
                            effective.undone.push((old, at));
                        }
                    }
                    Kind::Exclusion { key, .. } => {
                        effective.excluded.insert(key.clone(), at);
                    }
                    _ => {}
                }
            }
        }
        // A file that is read twice undoes and redoes its own lines: what decides in the end is not undone.
        let deciding: BTreeSet<At> = effective.keys.values().chain(&effective.globs).copied().collect();
        effective.undone.retain(|(old, _)| !deciding.contains(old));
        effective
    }

    /// The line that decides a key, on a host that has it: the one that names it in full, or the last pattern that fits
    /// and is not excluded. systemd-sysctl takes an exclusion literally; so does procps up to 4.0.2 at the least.
    #[must_use]
    pub fn line_of(&self, key: &Key, documents: &[Document]) -> Option<At> {
        if let Some(at) = self.keys.get(key) {
            return Some(*at);
        }
        if self.excluded.contains_key(key) {
            return None;
        }
        self.globs.iter().rev().copied().find(|at| {
            let line = documents.get(at.file).and_then(|document| document.lines.get(at.line));
            line.is_some_and(|line| matches!(&line.kind, Kind::Setting(s) if s.key.matches(key)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: &str, text: &str) -> File {
        File { name: place.to_owned(), text: text.as_bytes().to_vec(), places: vec![place.to_owned()] }
    }

    fn documents(files: &[File]) -> Vec<Document> {
        files.iter().map(|f| Document::parse(&f.text)).collect()
    }

    fn value(files: &[File], loader: Loader, key: &str) -> Option<String> {
        let documents = documents(files);
        let effective = Effective::of(&order(files, loader).0, &documents);
        let at = effective.line_of(&Key::new(key), &documents)?;
        match &documents[at.file].lines[at.line].kind {
            Kind::Setting(s) => Some(s.value.clone()),
            _ => None,
        }
    }

    /// As systemd-sysctl 252 and sysctl of procps 4.0.2 did it in a namespace.
    fn host() -> Vec<File> {
        vec![
            file("/etc/sysctl.conf", "net.ipv4.tcp_synack_retries = 6\nnet.ipv4.tcp_fin_timeout=25\n"),
            file(
                "/etc/sysctl.d/10-a.conf",
                "net.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.dummy0.rp_filter\n\
                 net/ipv4/conf/d0.100/rp_filter = 1\nnet.ipv4.tcp_fin_timeout = 20\n\
                 net.ipv4.tcp_fin_timeout = 30\n-net.ipv4.conf.l*.rp_filter\n",
            ),
            file("/etc/sysctl.d/50-x.conf", "net.ipv4.tcp_retries2 = 9\n"),
            file("/run/sysctl.d/50-x.conf", "net.ipv4.tcp_retries2 = 8\n"),
            file("/run/sysctl.d/05-y.conf", "net.ipv4.tcp_orphan_retries = 7\n"),
            file("/usr/local/lib/sysctl.d/90-y.conf", "net.ipv4.tcp_orphan_retries = 6\n"),
            file("/etc/sysctl.d/README", "net.ipv4.tcp_retries2 = 1\n"),
        ]
    }

    #[test]
    fn folders_mask_and_names_order() {
        let files = host();
        let (read, masked) = order(&files, Loader::Systemd);
        let places: Vec<&str> = read.iter().map(|r| r.place).collect();
        assert_eq!(
            places,
            [
                "/run/sysctl.d/05-y.conf",
                "/etc/sysctl.d/10-a.conf",
                "/etc/sysctl.d/50-x.conf",
                "/usr/local/lib/sysctl.d/90-y.conf"
            ]
        );
        assert_eq!(masked.len(), 1);
        assert_eq!(
            (masked[0].place.as_str(), masked[0].by.as_str()),
            ("/run/sysctl.d/50-x.conf", "/etc/sysctl.d/50-x.conf")
        );
        let last = order(&files, Loader::Procps).0.last().map(|r| r.place.to_owned());
        assert_eq!(last.as_deref(), Some("/etc/sysctl.conf"));
    }

    #[test]
    fn the_last_line_decides_and_a_pattern_yields_to_a_name() {
        let files = host();
        let of = |loader, key| value(&files, loader, key);
        for loader in [Loader::Systemd, Loader::Procps] {
            assert_eq!(of(loader, "net.ipv4.conf.all.rp_filter").as_deref(), Some("2"));
            assert_eq!(of(loader, "net.ipv4.conf.d0/100.rp_filter").as_deref(), Some("1"));
            assert_eq!(of(loader, "net.ipv4.conf.dummy0.rp_filter"), None);
            assert_eq!(of(loader, "net.ipv4.conf.lo.rp_filter").as_deref(), Some("2"), "{loader:?}");
            assert_eq!(of(loader, "net.ipv4.tcp_retries2").as_deref(), Some("9"));
            assert_eq!(of(loader, "net.ipv4.tcp_orphan_retries").as_deref(), Some("6"));
        }
        assert_eq!(of(Loader::Systemd, "net.ipv4.tcp_fin_timeout").as_deref(), Some("30"));
        assert_eq!(of(Loader::Procps, "net.ipv4.tcp_fin_timeout").as_deref(), Some("25"));
        assert_eq!(of(Loader::Systemd, "net.ipv4.tcp_synack_retries"), None);
    }

    #[test]
    fn a_file_that_is_read_twice_undoes_nothing_of_its_own() {
        let mut files = host();
        files[0].places.push("/etc/sysctl.d/99-sysctl.conf".to_owned());
        let documents = documents(&files);
        let effective = Effective::of(&order(&files, Loader::Procps).0, &documents);
        assert!(effective.undone.iter().all(|(old, _)| old.file != 0), "{:?}", effective.undone);
        assert!(effective.undone.contains(&(At { file: 1, line: 4 }, At { file: 0, line: 1 })));
    }
}
