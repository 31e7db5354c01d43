//! A cpio archive in the `newc` format, as the kernel unpacks it into its first root.

use std::collections::BTreeSet;

/// An archive that grows; folders are made for what lies in them.
pub struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    folders: BTreeSet<String>,
}

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
/// Fields of a header, after its six bytes of magic; all of eight hexadecimal digits.
const FIELDS: usize = 13;

impl Archive {
    pub fn new() -> Archive {
        Archive { bytes: Vec::new(), inode: 0, folders: BTreeSet::new() }
    }

    /// Adds a folder and those that it lies in. A path has no leading slash.
    pub fn folder(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]) {
            if self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, &[]);
            }
        }
    }

    /// Adds a file of these permissions.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        if let Some((folder, _)) = path.rsplit_once('/') {
            self.folder(folder);
        }
        self.entry(path, FILE | permissions, content);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.inode += 1;
        let length = |bytes: usize| u32::try_from(bytes).expect("nothing in here is of 4 GiB");
        let mut fields = [0; FIELDS];
        (fields[0], fields[1], fields[4]) = (self.inode, mode, 1);
        // The name's length counts the zero at its end.
        (fields[6], fields[11]) = (length(content.len()), length(path.len() + 1));
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents end at a multiple of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_as_the_format_says() {
        let mut archive = Archive::new();
        archive.file("a/b", 0o755, b"hello");
        archive.folder("a");
        let bytes = archive.finish();
        let entry = |inode: u32, mode: &str, size: u32, path: &str| {
            let zero = "0".repeat(8);
            let links = "00000001";
            let length = path.len() + 1;
            let times_and_size = format!("{zero}{size:08X}");
            format!(
                "070701{inode:08X}{mode}{zero}{zero}{links}{times_and_size}{}{length:08X}{zero}{path}\0",
                zero.repeat(4)
            )
        };
        let mut expected = Vec::new();
        let mut add = |text: &str| {
            expected.extend_from_slice(text.as_bytes());
            expected.resize(expected.len().next_multiple_of(4), 0);
        };
        add(&entry(1, "000041ED", 0, "a"));
        add(&entry(2, "000081ED", 5, "a/b"));
        add("hello");
        add(&entry(3, "00000000", 0, "TRAILER!!!"));
        assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&expected));
    }
}
