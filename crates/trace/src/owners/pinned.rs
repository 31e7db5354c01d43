//! Owners that a daemon remembers, in maps pinned to the BPF file system.

use super::layout::{Line, RawProcess, line_of};
use super::{Owners, Process, ProcessId};
use crate::error::{Error, Kind};
use crate::kernel::absent;
use aya::maps::{Array, HashMap, Map, MapData};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The maps by which owners are found.
const PINNED: [&str; 2] = ["closers", "processes"];

/// Where maps are pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pins(PathBuf);

impl Pins {
    /// A folder in a BPF file system.
    pub fn at(folder: impl Into<PathBuf>) -> Pins {
        Pins(folder.into())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Whether anything is pinned.
    pub fn exist(&self) -> bool {
        self.0.symlink_metadata().is_ok()
    }

    /// Unpins everything; it is no error when nothing is pinned.
    ///
    /// # Errors
    /// Those of unlink(2) and rmdir(2).
    pub fn remove(&self) -> Result<(), Error> {
        let gone = |result: io::Result<()>| match result {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Error::io(format!("unpin the maps in {}", self.0.display()), &error))
            }
            _ => Ok(()),
        };
        for name in PINNED {
            gone(std::fs::remove_file(self.0.join(name)))?;
        }
        gone(std::fs::remove_dir(&self.0))
    }

    fn create(&self) -> Result<(), Error> {
        /// include/uapi/linux/magic.h
        const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
        let parent = self.0.parent().unwrap_or(Path::new("/"));
        let making = format!("pin maps to {}", self.0.display());
        let kind = rustix::fs::statfs(parent).map_err(|e| Error::io(making.as_str(), &e.into()))?;
        if kind.f_type as i64 != BPF_FS_MAGIC {
            let detail = format!("{} is no BPF file system", parent.display());
            let hint = format!("mount -t bpf bpf {}", parent.display());
            return Err(Error::new(making, Kind::Unsupported, detail, hint));
        }
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().mode(0o700).create(&self.0);
        made.map_err(|e| Error::io(making, &e))
    }
}

impl Owners {
    /// Pins the maps by which owners are found, for [`Remembered`].
    ///
    /// # Errors
    /// Unsupported without a BPF file system there.
    pub fn pin(&self, pins: &Pins) -> Result<(), Error> {
        pins.create()?;
        for name in PINNED {
            let map = self.bpf.map(name).ok_or_else(|| absent(name))?;
            let pinned = map.pin(pins.0.join(name));
            pinned.map_err(|e| {
                let at = format!("pin maps to {}", pins.0.display());
                Error::new(at, Kind::Unsupported, crate::error::chain(&e), "")
            })?;
        }
        Ok(())
    }
}

/// The owners that a daemon remembers.
pub struct Remembered {
    closers: Array<MapData, Line>,
    lines: u32,
    processes: BTreeMap<ProcessId, Process>,
    by_index: BTreeMap<u32, ProcessId>,
}

impl Remembered {
    /// Opens what is pinned there.
    ///
    /// # Errors
    /// Denied without CAP_BPF; unsupported where the maps are of another version of linger.
    pub fn open(pins: &Pins) -> Result<Remembered, Error> {
        let opening = format!("read the trace daemon's maps in {}", pins.0.display());
        let map = |name: &str| MapData::from_pin(pins.0.join(name)).map_err(|e| Error::map(&opening, e));
        let (closers, processes) = (map("closers")?, map("processes")?);
        let lines = closers.info().map_err(|e| Error::map(&opening, e))?.max_entries();
        let closers = Array::try_from(Map::Array(closers)).map_err(|e| Error::map(&opening, e))?;
        let processes: HashMap<_, u64, RawProcess> =
            HashMap::try_from(Map::HashMap(processes)).map_err(|e| Error::map(&opening, e))?;
        let raw: Vec<(ProcessId, RawProcess)> =
            processes.iter().filter_map(Result::ok).map(|(id, raw)| (ProcessId(id), raw)).collect();
        Ok(Remembered {
            closers,
            lines,
            by_index: raw.iter().map(|(id, raw)| (raw.index, *id)).collect(),
            processes: raw.into_iter().map(|(id, raw)| (id, raw.into())).collect(),
        })
    }

    /// The processes seen until it was opened.
    pub fn processes(&self) -> &BTreeMap<ProcessId, Process> {
        &self.processes
    }

    /// Who closed the connection with this cookie first; `None` where it is not known, as of what was closed before the
    /// daemon began.
    pub fn closer(&self, cookie: u64) -> Option<ProcessId> {
        let line = self.closers.get(&line_of(cookie, self.lines), 0).ok()?;
        self.by_index.get(&line.find(cookie)?).copied()
    }

    /// How many owners can be remembered at a time.
    pub fn capacity(&self) -> u64 {
        u64::from(self.lines) * 8
    }
}
