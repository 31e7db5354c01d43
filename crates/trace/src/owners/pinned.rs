//! Owners that a daemon remembers, in maps pinned to the BPF file system.

use super::Owners;
use super::remembered::MAPS;
use crate::error::{Error, Kind};
use crate::kernel::absent;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

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
        for name in MAPS {
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
    /// Pins the maps by which owners are found, for [`super::Remembered`].
    ///
    /// # Errors
    /// Unsupported without a BPF file system there.
    pub fn pin(&self, pins: &Pins) -> Result<(), Error> {
        pins.create()?;
        for name in MAPS {
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
