//! What mail, tickets, chats and terminals do to a text on its way: colours, hard spaces, other dashes, quote marks,
//! UTF-16.

/// A line without colours, with plain spaces and dashes; `None` where it has nothing of these.
pub(crate) fn plain(line: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr3(0x1b, 0xc2, 0xe2, line)?;
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    let mut changed = false;
    while let [first, ..] = rest {
        let (byte, length) = match rest {
            // Colours and the like: ESC [ … letter.
            [0x1b, b'[', sequence @ ..] => {
                let end = sequence.iter().position(|b| (0x40..=0x7e).contains(b)).unwrap_or(0);
                (None, 2 + sequence.len().min(end + 1))
            }
            [0x1b, ..] => (None, 1),
            // No-break space, figure space, narrow no-break space.
            [0xc2, 0xa0, ..] => (Some(b' '), 2),
            [0xe2, 0x80, 0x87 | 0xaf, ..] => (Some(b' '), 3),
            // Hyphens and dashes that a word processor likes better; the minus sign.
            [0xe2, 0x80, 0x90..=0x94, ..] | [0xe2, 0x88, 0x92, ..] => (Some(b'-'), 3),
            _ => {
                out.push(*first);
                rest = &rest[1..];
                continue;
            }
        };
        changed = true;
        out.extend(byte);
        rest = &rest[length..];
    }
    changed.then_some(out)
}

/// How many bytes before the text are a quote's or an indented block's.
pub(crate) fn dress(line: &[u8]) -> usize {
    line.iter().position(|b| !matches!(b, b' ' | b'\t' | b'>' | b'|')).unwrap_or(line.len())
}

/// A line without what stood before the heading: quote marks of any depth, or as much indentation.
pub(crate) fn undress<'a>(line: &'a [u8], dressing: &[u8]) -> &'a [u8] {
    if dressing.iter().any(|b| matches!(b, b'>' | b'|')) {
        let marks = line.iter().position(|b| !matches!(b, b' ' | b'>' | b'|')).unwrap_or(line.len());
        let (before, _) = line.split_at(marks);
        return match before.iter().rposition(|b| *b != b' ') {
            // A space belongs to the mark.
            Some(last) => line[last + 1..].strip_prefix(b" ").unwrap_or(&line[last + 1..]),
            None => line,
        };
    }
    line.strip_prefix(dressing).unwrap_or(line)
}

/// Text in UTF-16 as UTF-8: PowerShell writes such files.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    start: Vec<u8>,
    kind: Option<Encoding>,
    odd: Option<u8>,
    high: Option<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Bytes,
    Utf16 { little: bool },
}

impl Decoder {
    /// Hands on bytes, decoded where the first two say so.
    pub fn feed(&mut self, mut bytes: &[u8], mut take: impl FnMut(&[u8])) {
        let little = match self.kind {
            Some(Encoding::Bytes) => return take(bytes),
            Some(Encoding::Utf16 { little }) => little,
            None => {
                let (first, rest) = bytes.split_at(bytes.len().min(2 - self.start.len().min(2)));
                self.start.extend_from_slice(first);
                bytes = rest;
                let little = match self.start.as_slice() {
                    [0xff, 0xfe] => true,
                    [0xfe, 0xff] => false,
                    [_, _, ..] => {
                        self.end(&mut take);
                        return take(bytes);
                    }
                    _ => return,
                };
                self.kind = Some(Encoding::Utf16 { little });
                little
            }
        };
        let mut out = String::with_capacity(bytes.len());
        for byte in bytes {
            let Some(before) = self.odd.take() else {
                self.odd = Some(*byte);
                continue;
            };
            let pair = [before, *byte];
            self.unit(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }, &mut out);
        }
        take(out.as_bytes());
    }

    fn unit(&mut self, unit: u16, out: &mut String) {
        let units = self.high.take().into_iter().chain([unit]);
        for decoded in char::decode_utf16(units) {
            match decoded {
                Ok(c) => out.push(c),
                // The first half of a pair waits for the second.
                Err(half) if half.unpaired_surrogate() == unit && (0xd800..0xdc00).contains(&unit) => {
                    self.high = Some(unit);
                }
                Err(_) => out.push(char::REPLACEMENT_CHARACTER),
            }
        }
    }

    /// Hands on what was too short to tell.
    pub fn end(&mut self, mut take: impl FnMut(&[u8])) {
        if self.kind.is_none() {
            self.kind = Some(Encoding::Bytes);
            take(&std::mem::take(&mut self.start));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_plain() {
        let text = |line: &str| plain(line.as_bytes()).map(|it| String::from_utf8_lossy(&it).into_owned());
        assert_eq!(text("ESTAB 0"), None);
        assert_eq!(text("Übersicht"), None);
        assert_eq!(text("\x1b[1;32mESTAB\x1b[0m\u{a0}0"), Some("ESTAB 0".to_owned()));
        assert_eq!(text("TIME\u{2011}WAIT\u{202f}–1 \u{20ac}"), Some("TIME-WAIT -1 \u{20ac}".to_owned()));
        assert_eq!(text("a\x1b[12"), Some("a2".to_owned()));
        assert_eq!(text("a\x1b["), Some("a".to_owned()));
    }

    #[test]
    fn quotes_and_indents_are_taken_off() {
        let bare = |line: &'static str, dressing: &str| {
            String::from_utf8_lossy(undress(line.as_bytes(), dressing.as_bytes())).into_owned()
        };
        assert_eq!(bare("> a", "> "), "a");
        assert_eq!(bare(">> a", "> "), "a");
        assert_eq!(bare("> >   a", "> "), "  a");
        assert_eq!(bare("    a", "> "), "    a");
        assert_eq!(bare("      a", "    "), "  a");
        assert_eq!(bare("a", "    "), "a");
        assert_eq!(dress(b"  > | State"), 6);
    }

    #[test]
    fn utf_16_is_read_however_it_is_cut() {
        let text = "ESTAB \u{1f600} ü\n";
        for little in [true, false] {
            let units = [0xfeffu16].into_iter().chain(text.encode_utf16());
            let pair = |u: u16| if little { u.to_le_bytes() } else { u.to_be_bytes() };
            let bytes: Vec<u8> = units.flat_map(pair).collect();
            for chunk in 1..bytes.len() {
                let mut decoder = Decoder::default();
                let mut out = Vec::new();
                bytes.chunks(chunk).for_each(|bytes| decoder.feed(bytes, |it| out.extend_from_slice(it)));
                decoder.end(|it| out.extend_from_slice(it));
                assert_eq!(String::from_utf8_lossy(&out), text, "{chunk}");
            }
        }
        for plain in [&b""[..], b"a", b"\xff", b"ab", b"abc"] {
            let mut decoder = Decoder::default();
            let mut out = Vec::new();
            decoder.feed(plain, |it| out.extend_from_slice(it));
            decoder.end(|it| out.extend_from_slice(it));
            assert_eq!(out, plain);
        }
    }
}
