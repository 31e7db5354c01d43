//! Packed archives as a stream: which packing, by the first bytes.

use anyhow::bail;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use std::io::{BufReader, Read};

/// KiB that unpacking xz may take: `xz -9` needs 65 MiB.
const XZ_KIB: u32 = 80 << 10;
/// Unpacked bytes that are read of an archive; a few bytes can be packed that would go on for ever.
const MOST: u64 = 16 << 30;

/// What a file is packed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// A tar archive as it is.
    Tar,
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Something that is told of and not read.
    Other(&'static str),
}

impl Packing {
    /// By a file's first bytes.
    pub fn of(bytes: &[u8]) -> Option<Packing> {
        let known: [(&[u8], Packing); 5] = [
            (b"\xfd7zXZ\0", Packing::Xz),
            (b"\x1f\x8b", Packing::Gzip),
            (b"BZh", Packing::Other("a bzip2 archive")),
            (b"\x28\xb5\x2f\xfd", Packing::Other("a zstd archive")),
            (b"PK\x03\x04", Packing::Other("a zip archive")),
        ];
        let tar = bytes.get(257..262) == Some(b"ustar");
        let found = known.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, packing)| *packing);
        found.or_else(|| tar.then_some(Packing::Tar))
    }

    /// As it is told of.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Tar => "a tar archive",
            Packing::Gzip => "a gzip archive",
            Packing::Xz => "an xz archive",
            Packing::Other(name) => name,
        }
    }
}

/// A packed stream's unpacked bytes.
pub fn unpacked(packed: Box<dyn Read>, packing: Packing) -> anyhow::Result<Box<dyn Read>> {
    let packed = BufReader::with_capacity(256 << 10, packed);
    Ok(match packing {
        Packing::Tar => bounded(packed),
        Packing::Gzip => bounded(MultiGzDecoder::new(packed)),
        Packing::Xz => bounded(XzReader::new_mem_limit(packed, true, XZ_KIB)),
        Packing::Other(name) => bail!("it is {name}: unpack it and give the folder"),
    })
}

/// So much of a stream as is read of an archive.
pub fn bounded(stream: impl Read + 'static) -> Box<dyn Read> {
    Box::new(BufReader::with_capacity(64 << 10, stream.take(MOST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_their_first_bytes() {
        assert_eq!(Packing::of(b"\x1f\x8b\x08"), Some(Packing::Gzip));
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Packing::of(&tar), Some(Packing::Tar));
        assert_eq!(Packing::of(b"State Recv-Q"), None);
        assert_eq!(Packing::of(b""), None);
    }
}
