//! Tar archives as a stream: ustar, GNU's and pax's long names. Nothing is unpacked, and little is kept.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// Bytes of a long name that are kept.
const LONGEST_NAME: u64 = 4096;
/// Bytes of a pax header that are kept; a longer one is passed over.
const LONGEST_PAX: u64 = 64 << 10;

/// Reads the regular files of an archive, one after the other.
pub struct Members<R> {
    from: R,
    /// Bytes of the present file that were not read.
    left: u64,
    /// Bytes after it up to the next block.
    padding: u64,
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path; a leading `./` is left out.
    pub name: String,
    /// Its bytes.
    pub size: u64,
}

impl<R: Read> Members<R> {
    /// Of an archive from its beginning.
    pub fn new(from: R) -> Members<R> {
        Members { from, left: 0, padding: 0 }
    }

    /// The next regular file; what was not read of the one before is passed over. `None` at the end.
    ///
    /// # Errors
    /// Where reading fails, and where a header is damaged or the archive breaks off.
    pub fn next_member(&mut self) -> io::Result<Option<Member>> {
        let (mut long_name, mut long_size): (Option<Vec<u8>>, Option<u64>) = (None, None);
        loop {
            self.pass_over()?;
            let mut header = [0; BLOCK];
            if !self.fill(&mut header)? {
                return Ok(None);
            }
            if header.iter().all(|b| *b == 0) {
                return Ok(None);
            }
            if checksum(&header) != octal(&header[148..156]) {
                return Err(damaged("a header's checksum is wrong"));
            }
            let kind = header[156];
            let size = match (long_size.take(), kind) {
                (Some(size), b'0' | b'7' | 0) => size,
                _ => octal(&header[124..136]).ok_or_else(|| damaged("a file's size is no number"))?,
            };
            self.left = size;
            self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
            match kind {
                b'L' => long_name = Some(self.start(LONGEST_NAME)?),
                b'x' if size <= LONGEST_PAX => {
                    let (name, size) = pax(&self.start(LONGEST_PAX)?);
                    (long_name, long_size) = (name.or(long_name), size);
                }
                b'0' | b'7' | 0 => {
                    let name = long_name.unwrap_or_else(|| short_name(&header));
                    let name = String::from_utf8_lossy(until_nul(&name)).into_owned();
                    let name = name.strip_prefix("./").map_or(name.clone(), str::to_owned);
                    return Ok(Some(Member { name, size }));
                }
                // A long name is the next header's, also where that is a link's.
                b'K' | b'g' | b'x' => {}
                _ => (long_name, long_size) = (None, None),
            }
        }
    }

    /// The first bytes of the present file.
    fn start(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Read::by_ref(self).take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn pass_over(&mut self) -> io::Result<()> {
        let mut rest = self.left.saturating_add(self.padding);
        (self.left, self.padding) = (0, 0);
        let mut buffer = [0; 8192];
        while rest > 0 {
            let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(buffer.len()));
            match self.from.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(broken_off()),
                Ok(n) => rest -= n as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether there was another block; part of one is an error.
    fn fill(&mut self, block: &mut [u8; BLOCK]) -> io::Result<bool> {
        let mut at = 0;
        while at < BLOCK {
            match self.from.read(&mut block[at..]) {
                Ok(0) if at == 0 => return Ok(false),
                Ok(0) => return Err(broken_off()),
                Ok(n) => at += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The present file's bytes.
impl<R: Read> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        match self.from.read(&mut buffer[..most])? {
            0 => Err(broken_off()),
            n => {
                self.left -= n as u64;
                Ok(n)
            }
        }
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the archive is damaged: {what}"))
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the archive breaks off")
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or(bytes)
}

/// The sum of a header's bytes, its own field taken as spaces.
fn checksum(header: &[u8; BLOCK]) -> Option<u64> {
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u64::from(*b)).sum::<u64>();
    Some(sum(&header[..148]) + 8 * u64::from(b' ') + sum(&header[156..]))
}

/// A number as text in base 8; or, where its first bit is set, in binary as GNU writes large ones.
fn octal(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        let high = u64::from(first & 0x7f);
        return rest
            .iter()
            .try_fold(high, |n, b| n.checked_mul(256)?.checked_add(u64::from(*b)))
            .filter(|n| *n <= u64::MAX / 2);
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0u64, |n, b| match b {
        b'0'..=b'7' => n.checked_mul(8)?.checked_add(u64::from(b - b'0')),
        _ => None,
    })
}

fn short_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let (name, prefix) = (until_nul(&header[..100]), until_nul(&header[345..500]));
    // GNU's older format has other things where ustar has the prefix.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() {
        return [prefix, b"/", name].concat();
    }
    name.to_vec()
}

/// `path` and `size` of records as `27 path=…\n`.
fn pax(mut records: &[u8]) -> (Option<Vec<u8>>, Option<u64>) {
    let (mut path, mut size) = (None, None);
    while let Some(space) = records.iter().position(|b| *b == b' ') {
        let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|t| t.parse::<u64>().ok());
        let length = number(&records[..space]).and_then(|n| usize::try_from(n).ok());
        let Some(length) = length.filter(|n| *n > space + 1 && *n <= records.len()) else { break };
        let (record, rest) = records.split_at(length);
        let record = &record[space + 1..];
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        if let Some(value) = record.strip_prefix(b"path=") {
            path = Some(value.to_vec());
        } else if let Some(value) = record.strip_prefix(b"size=") {
            size = number(value).filter(|n| *n <= u64::MAX / 2);
        }
        records = rest;
    }
    (path, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, kind: u8, size: usize) -> Vec<u8> {
        let mut header = [0u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[156] = kind;
        header[257..263].copy_from_slice(b"ustar\0");
        let sum = checksum(&header).expect("a sum");
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        header.to_vec()
    }

    fn file(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = header(name, kind, content.len());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }

    fn all(bytes: &[u8]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let mut members = Members::new(bytes);
        let mut found = Vec::new();
        while let Some(member) = members.next_member()? {
            let mut content = Vec::new();
            members.read_to_end(&mut content)?;
            assert_eq!(content.len() as u64, member.size);
            found.push((member.name, content));
        }
        Ok(found)
    }

    #[test]
    fn files_are_found_and_all_else_is_passed_over() {
        let mut bytes = file("./a/", b'5', b"");
        bytes.extend(file("./a/ss_-tan", b'0', b"ESTAB"));
        bytes.extend(file("link", b'2', b""));
        bytes.extend(file("././@LongLink", b'L', b"a/long/name\0"));
        bytes.extend(file("a/long/n", b'0', &[b'x'; 513]));
        bytes.extend(file("pax", b'x', "19 path=a/\u{fc}/nstat\n12 other=22\n".as_bytes()));
        bytes.extend(file("a/nstat", b'0', b"1"));
        bytes.extend([0; 1024]);
        bytes.extend(b"what stands behind the end");
        let found = all(&bytes).expect("an archive");
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a/ss_-tan", "a/long/name", "a/\u{fc}/nstat"]);
        assert_eq!(found[1].1.len(), 513);
        // What is not read of a file is passed over.
        let mut members = Members::new(bytes.as_slice());
        assert_eq!(std::iter::from_fn(|| members.next_member().expect("an archive")).count(), 3);
    }

    #[test]
    fn a_damaged_archive_and_one_that_breaks_off_are_told() {
        let bytes = file("a", b'0', &[b'x'; 600]);
        for cut in [1, 511, 513, 1000, bytes.len() - 1] {
            let error = all(&bytes[..cut]).expect_err("it breaks off").to_string();
            // The last bytes are padding, which nobody misses before the next header.
            assert!(error.contains("breaks off"), "{cut}: {error}");
        }
        let mut other = bytes.clone();
        other[3] ^= 1;
        assert!(all(&other).expect_err("it is damaged").to_string().contains("damaged"));
        let mut endless = header("a", b'0', 0);
        endless[124..136].copy_from_slice(&[0xff; 12]);
        let sum = checksum(endless.as_slice().try_into().expect("a block")).expect("a sum");
        endless[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        assert!(all(&endless).is_err());
        assert_eq!(octal(&[0x80, 0, 0, 1, 0]), Some(256));
        assert_eq!(octal(b"0000644\0"), Some(0o644));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(
            name in "[a-z/]{1,90}", kind in prop::sample::select(b"0Lx75gKS\0".to_vec()), content in prop::collection::vec(any::<u8>(), 0..1500),
            rest in prop::collection::vec(any::<u8>(), 0..1500), flips in prop::collection::vec(any::<prop::sample::Index>(), 0..4)
        ) {
            let mut bytes = file(&name, kind, &content);
            bytes.extend(file("next", b'0', b"1"));
            bytes.extend(rest);
            for flip in flips {
                let at = flip.index(bytes.len());
                bytes[at] ^= 0x11;
            }
            let _ = all(&bytes);
        }
    }
}
