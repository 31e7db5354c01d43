//! Netlink framing (include/uapi/linux/netlink.h): messages in a datagram, attributes in a message.

use crate::{Malformed, bytes};

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_REQUEST | NLM_F_ACK`.
pub const REQUEST_ACK: u16 = 0x1 | 0x4;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
pub const REQUEST_DUMP: u16 = 0x1 | 0x300;
/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
pub const DUMP_INTERRUPTED: u16 = 0x10;
const HEADER: usize = 16;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// One message of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A message of the protocol itself.
    Payload {
        /// `nlmsg_type`.
        kind: u16,
        /// Whether the kernel said that the dump was interrupted.
        interrupted: bool,
        /// What follows the header.
        body: &'a [u8],
    },
    /// The dump is over; the errno it ended with, if any.
    Done(Option<i32>),
    /// The request failed with this errno; 0 is an acknowledgement.
    Error(i32),
}

/// The messages of a datagram, one after the other; the first that cannot be read ends it.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
    interrupted: bool,
}

impl<'a> Messages<'a> {
    /// Of one datagram.
    pub fn new(datagram: &'a [u8]) -> Messages<'a> {
        Messages { rest: datagram, interrupted: false }
    }

    fn take(&mut self) -> Result<Message<'a>, Malformed> {
        let bad = |detail: String| Malformed::new("netlink message", detail);
        let rest = self.rest;
        let (Some(length), Some(kind), Some(flags)) =
            (bytes::u32(rest, 0), bytes::u16(rest, 4), bytes::u16(rest, 6))
        else {
            return Err(bad(format!("{} bytes left, a header has 16", rest.len())));
        };
        let length = length as usize;
        if rest.len() < HEADER || length < HEADER || length > rest.len() {
            return Err(bad(format!("length {length} with {} bytes left", rest.len())));
        }
        let body = &rest[HEADER..length];
        self.rest = &rest[align(length).min(rest.len())..];
        self.interrupted |= flags & DUMP_INTERRUPTED != 0;
        Ok(match kind {
            ERROR => Message::Error(bytes::u32(body, 0).map_or(0, |e| (e as i32).saturating_neg())),
            DONE => {
                let errno = bytes::u32(body, 0).map_or(0, |e| (e as i32).saturating_neg());
                Message::Done((errno > 0).then_some(errno))
            }
            _ => Message::Payload { kind, interrupted: flags & DUMP_INTERRUPTED != 0, body },
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.take();
        if message.is_err() {
            self.rest = &[];
        }
        Some(message)
    }
}

/// Whether a datagram may be the last of a dump: it ends as NLMSG_DONE does, or is shorter than a full one would be.
/// Only [`Messages`] tells for sure.
pub fn may_end_dump(datagram: &[u8]) -> bool {
    const SHORT: usize = 1024;
    let done = datagram.len().checked_sub(HEADER + 4).and_then(|at| bytes::u16(datagram, at + 4));
    datagram.len() < SHORT || done == Some(DONE)
}

const fn align(length: usize) -> usize {
    (length + 3) & !3
}

/// A message's attributes as (type without flags, value); ends at the first that cannot be read.
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// Of the bytes after a message's fixed part.
    pub fn new(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes(bytes)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0;
        let (length, kind) = (bytes::u16(rest, 0)? as usize, bytes::u16(rest, 2)?);
        let value = rest.get(4..length)?;
        self.0 = rest.get(align(length)..).unwrap_or(&[]);
        Some((kind & 0x3fff, value))
    }
}

/// Puts a message together: header, fixed part, attributes.
pub fn encode(kind: u16, flags: u16, sequence: u32, fixed: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    out.extend_from_slice(fixed);
    for (kind, value) in attributes {
        out.resize(align(out.len()), 0);
        out.extend_from_slice(&(value.len() as u16 + 4).to_ne_bytes());
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(value);
    }
    out.resize(align(out.len()), 0);
    let length = out.len() as u32;
    out[..4].copy_from_slice(&length.to_ne_bytes());
    out[4..6].copy_from_slice(&kind.to_ne_bytes());
    out[6..8].copy_from_slice(&flags.to_ne_bytes());
    out[8..12].copy_from_slice(&sequence.to_ne_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_encoded_is_read_back() {
        let message = encode(20, REQUEST_DUMP, 7, &[1, 2, 3, 4], &[(5, &[9, 9, 9])]);
        let read: Vec<_> = Messages::new(&message).collect();
        let [Ok(Message::Payload { kind: 20, body, .. })] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(body[..4], [1, 2, 3, 4]);
        assert_eq!(Attributes::new(&body[4..]).collect::<Vec<_>>(), [(5, &[9u8, 9, 9][..])]);
    }

    #[test]
    fn errors_carry_their_errno() {
        let error = encode(ERROR, 0, 0, &(-2i32).to_ne_bytes(), &[]);
        assert_eq!(Messages::new(&error).next(), Some(Ok(Message::Error(2))));
        let done = encode(DONE, 0, 0, &0i32.to_ne_bytes(), &[]);
        assert_eq!(Messages::new(&done).next(), Some(Ok(Message::Done(None))));
        let mut long = encode(20, 0, 0, &[0; 2000], &[]);
        assert!(!may_end_dump(&long));
        long.extend(done);
        assert!(may_end_dump(&long));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            for message in Messages::new(&bytes) {
                if let Ok(Message::Payload { body, .. }) = message {
                    prop_assert!(Attributes::new(body).count() <= body.len() / 4 + 1);
                }
            }
        }
    }
}
