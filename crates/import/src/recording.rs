//! linger's own recordings: samples of one namespace, each in a frame of its own with its length and checksum, so that
//! one that was cut short opens up to its last whole sample.
//!
//! ```text
//! "LINGERec"  version: u32
//! frame:  kind: u32  packed: u32  unpacked: u32  crc32: u32 (of the three before and of the bytes)   bytes…
//! ```
//!
//! All numbers are little-endian. The bytes are an LZ4 block of MessagePack: first [`About`], then a [`Snapshot`] each.

use linger_model::aggregate::SocketTable;
use linger_model::snapshot::Snapshot;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

/// The first bytes of a recording.
pub const MAGIC: &[u8; 8] = b"LINGERec";
/// The version that is written. Once released, it changes when a field of a snapshot comes, goes, or changes its meaning
/// or place: fields have no names here, so that an older reader could not pass over one.
pub const VERSION: u32 = 1;
/// Bytes of a sample, unpacked, at the most.
const LARGEST: u32 = 64 << 20;
const ABOUT: u32 = 0;
const SAMPLE: u32 = 1;

/// What was hidden before anything was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Redaction {
    /// Nothing.
    None,
    /// Addresses, consistently, and command lines.
    Addresses,
    /// Also names: of processes, containers, units and namespaces.
    All,
}

/// What a recording says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Which linger wrote it.
    pub linger: String,
    /// What was hidden.
    pub redaction: Redaction,
    /// Time between two samples as it was asked for, milliseconds.
    pub interval_ms: u64,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It is none.
    #[error("this is no recording of linger")]
    NotARecording,
    /// Of a later linger.
    #[error(
        "this recording has version {0}, and this linger reads up to {VERSION}: use the linger that made it, or a later one"
    )]
    Version(u32),
    /// Its head is damaged.
    #[error("the recording's head is damaged: {0}")]
    Head(String),
    /// It holds no sample.
    #[error("the recording ends before its first whole sample")]
    Empty,
    /// A sample that cannot be packed.
    #[error("a sample cannot be written: {0}")]
    Write(String),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The first bytes of a recording with what it says of itself.
///
/// # Errors
/// Never, in fact: it is small.
pub fn head(about: &About) -> Result<Vec<u8>, RecordingError> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&frame(ABOUT, about)?);
    Ok(bytes)
}

/// A sample as a frame, to be appended.
///
/// # Errors
/// Where it is larger than a reader would take.
pub fn sample(snapshot: &Snapshot) -> Result<Vec<u8>, RecordingError> {
    frame(SAMPLE, snapshot)
}

fn frame<T: Serialize>(kind: u32, value: &T) -> Result<Vec<u8>, RecordingError> {
    let unpacked = rmp_serde::to_vec(value).map_err(|e| RecordingError::Write(e.to_string()))?;
    let length = u32::try_from(unpacked.len()).ok().filter(|n| *n <= LARGEST);
    let Some(length) = length else {
        return Err(RecordingError::Write(format!("{} bytes are too many", unpacked.len())));
    };
    let packed = lz4_flex::block::compress(&unpacked);
    let mut bytes = Vec::with_capacity(16 + packed.len());
    for number in [kind, packed.len() as u32, length] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes);
    sum.update(&packed);
    bytes.extend_from_slice(&sum.finalize().to_le_bytes());
    bytes.extend_from_slice(&packed);
    Ok(bytes)
}

/// How a recording ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a whole sample.
    Whole,
    /// Within a sample, or with a damaged one: what came before it is whole.
    Cut,
}

/// Reads a recording, sample by sample.
pub struct Samples<R> {
    from: R,
    /// What it says of itself.
    pub about: About,
    end: Option<End>,
}

impl<R: Read> Samples<R> {
    /// Reads the head.
    ///
    /// # Errors
    /// Where it is no recording, or of a later version.
    pub fn open(mut from: R) -> Result<Samples<R>, RecordingError> {
        let mut magic = [0; 12];
        if !fill(&mut from, &mut magic)? || !magic.starts_with(MAGIC) {
            return Err(RecordingError::NotARecording);
        }
        let mut version = [0; 4];
        version.copy_from_slice(&magic[8..]);
        match u32::from_le_bytes(version) {
            VERSION => {}
            other => return Err(RecordingError::Version(other)),
        }
        let damaged = |what: &str| RecordingError::Head(what.to_owned());
        let Some((ABOUT, unpacked)) = next_frame(&mut from)? else {
            return Err(damaged("what it says of itself is not whole"));
        };
        let about = rmp_serde::from_slice(&unpacked).map_err(|e| damaged(&e.to_string()))?;
        Ok(Samples { from, about, end: None })
    }

    /// The next sample; `None` at the end.
    ///
    /// # Errors
    /// Where reading fails. A damaged or broken-off sample is the end ([`Samples::end`]).
    pub fn next_sample(&mut self) -> Result<Option<Snapshot>, RecordingError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let mut first = [0; 1];
        if !fill(&mut self.from, &mut first)? {
            self.end = Some(End::Whole);
            return Ok(None);
        }
        let mut rest = io::Cursor::new(first).chain(&mut self.from);
        let read = next_frame(&mut rest)?;
        let snapshot = match read {
            Some((SAMPLE, unpacked)) => decode(&unpacked),
            _ => None,
        };
        if snapshot.is_none() {
            self.end = Some(End::Cut);
        }
        Ok(snapshot)
    }

    /// How it ended, once it did.
    pub fn end(&self) -> Option<End> {
        self.end
    }
}

/// A sample from its unpacked bytes, where they are one that a host can have.
pub fn decode(unpacked: &[u8]) -> Option<Snapshot> {
    rmp_serde::from_slice(unpacked).ok().filter(plausible)
}

/// Fills a buffer; whether there were enough bytes.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A whole frame's kind and content; `None` where it breaks off or its checksum is wrong.
fn next_frame(from: &mut impl Read) -> io::Result<Option<(u32, Vec<u8>)>> {
    let mut head = [0; 16];
    if !fill(from, &mut head)? {
        return Ok(None);
    }
    let number = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&head[at..at + 4]);
        u32::from_le_bytes(bytes)
    };
    let (kind, packed, unpacked, sum) = (number(0), number(4), number(8), number(12));
    // A byte of LZ4 stands for 255 at the most.
    let most = packed.saturating_mul(255).saturating_add(64);
    if unpacked > LARGEST.min(most) || packed > LARGEST + LARGEST / 200 + 64 {
        return Ok(None);
    }
    // Memory only for bytes that come.
    let mut bytes = Vec::new();
    if from.by_ref().take(u64::from(packed)).read_to_end(&mut bytes)? != packed as usize {
        return Ok(None);
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..12]);
    hasher.update(&bytes);
    if hasher.finalize() != sum {
        return Ok(None);
    }
    Ok(lz4_flex::block::decompress(&bytes, unpacked as usize).ok().map(|content| (kind, content)))
}

/// Counts that a host can have: the rules add them up in 32 bits.
fn plausible(snapshot: &Snapshot) -> bool {
    const MOST: u64 = 1 << 28;
    let Ok(table) = &snapshot.sockets else { return true };
    let sum = |counts: &[u32]| counts.iter().map(|n| u64::from(*n)).sum::<u64>();
    let clients: u64 = table.clients.iter().map(|g| sum(&g.value.states)).sum();
    let listeners: u64 = table
        .listeners
        .iter()
        .map(|l| sum(&l.states) + sum(&[l.half_open, l.half_open_retransmitted, l.unaccepted]))
        .sum();
    let holders: u64 = table
        .holders
        .values()
        .map(|h| {
            let c = &h.close_wait;
            sum(&h.states)
                + sum(&[h.accepted, h.outgoing, h.zero_window, h.fin_wait2_idle])
                + sum(&[c.read, c.unread, c.in_use, c.age_unknown])
                + sum(&c.by_age)
        })
        .sum();
    let paths = table.tuples.iter().map(|g| &g.value.path).chain(table.clients.iter().map(|g| &g.value.path));
    let paths: u64 = paths
        .map(|p| {
            sum(&[
                p.timestamps,
                p.no_timestamps,
                p.retransmitting,
                p.zero_window,
                p.zero_window_stuck,
                p.idle_unprobed,
            ])
        })
        .sum();
    [clients, listeners, holders, paths, sum(&table.time_wait_made), states(table)].iter().all(|n| *n < MOST)
}

fn states(table: &SocketTable) -> u64 {
    linger_model::State::ALL.into_iter().map(|s| table.states.count(s)).fold(0, u64::saturating_add)
}
