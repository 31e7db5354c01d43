//! sysctl.conf(5) and sysctl.d(5), read without losing a byte.
//!
//! Every line becomes pieces whose bytes, one after the other, are the text again. What a line means is what
//! systemd-sysctl and sysctl(8) of procps agree on; where they differ, see `effective`.

use super::key::Key;
use crate::Span;

/// A file, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its lines, in order.
    pub lines: Vec<Line>,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its bytes in the text, with the end of line.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but white space.
    Blank,
    /// A line that starts with `#` or `;`: everything from there to the last character that is no white space.
    Comment(Span),
    /// `key = value`, or `-key = value`.
    Setting(Setting),
    /// `-key`: a glob does not set this key.
    Exclusion {
        /// The dash.
        dash: Span,
        /// The key, as it is written.
        key_span: Span,
        /// Which key, or which keys.
        key: Key,
    },
    /// Anything else. Both programs report it and go on.
    Malformed(Span),
}

/// `key = value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dash before the key: failures are no errors.
    pub dash: Option<Span>,
    /// The key, as it is written.
    pub key_span: Span,
    /// Which key, or which keys.
    pub key: Key,
    /// The equals sign.
    pub equals: Span,
    /// The value, as it is written: all from the first to the last character that is no white space. Empty where there is
    /// none.
    pub value_span: Span,
    /// The value; bytes that are no UTF-8 are replaced.
    pub value: String,
}

/// What isspace(3) takes as white space.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

/// The span without white space at its ends.
fn trimmed(text: &[u8], span: Span) -> Span {
    let bytes = &text[span.start..span.end];
    let Some(first) = bytes.iter().position(|b| !is_space(*b)) else {
        return Span::new(span.start, span.start);
    };
    let last = bytes.iter().rposition(|b| !is_space(*b)).unwrap_or(first);
    Span::new(span.start + first, span.start + last + 1)
}

impl Document {
    /// Reads a text: any bytes, any length.
    #[must_use]
    pub fn parse(text: &[u8]) -> Document {
        let mut start = 0;
        let lines = text.split_inclusive(|b| *b == b'\n').map(|line| {
            let span = Span::new(start, start + line.len());
            start = span.end;
            Line { span, kind: kind(text, span) }
        });
        Document { lines: lines.collect() }
    }

    /// The settings, each with the index of its line.
    pub fn settings(&self) -> impl Iterator<Item = (usize, &Setting)> {
        self.lines.iter().enumerate().filter_map(|(index, line)| match &line.kind {
            Kind::Setting(setting) => Some((index, setting)),
            _ => None,
        })
    }

    /// The pieces of all lines: white space, marks, keys and values. Side by side they are the whole text.
    #[must_use]
    pub fn pieces(&self) -> Vec<Span> {
        let mut pieces = Vec::new();
        for line in &self.lines {
            let mut at = line.span.start;
            for inner in line.kind.spans() {
                pieces.push(Span::new(at, inner.start));
                pieces.push(inner);
                at = inner.end;
            }
            pieces.push(Span::new(at, line.span.end));
        }
        pieces.retain(|piece| piece.start != piece.end);
        pieces
    }
}

impl Kind {
    fn spans(&self) -> Vec<Span> {
        match self {
            Kind::Blank => Vec::new(),
            Kind::Comment(span) | Kind::Malformed(span) => vec![*span],
            Kind::Exclusion { dash, key_span, .. } => vec![*dash, *key_span],
            Kind::Setting(s) => s.dash.into_iter().chain([s.key_span, s.equals, s.value_span]).collect(),
        }
    }
}

fn kind(text: &[u8], line: Span) -> Kind {
    let body = trimmed(text, line);
    let bytes = &text[body.start..body.end];
    let lossy = |span: Span| String::from_utf8_lossy(&text[span.start..span.end]).into_owned();
    let Some(first) = bytes.first() else { return Kind::Blank };
    if matches!(first, b'#' | b';') {
        return Kind::Comment(body);
    }
    let dash = (*first == b'-').then(|| Span::new(body.start, body.start + 1));
    let after_dash = dash.map_or(body.start, |dash| dash.end);
    let equals = bytes.iter().position(|b| *b == b'=').map(|at| body.start + at);
    let key_end = equals.unwrap_or(body.end);
    if key_end < after_dash {
        return Kind::Malformed(body);
    }
    let key_span = trimmed(text, Span::new(after_dash, key_end));
    if key_span.start == key_span.end {
        return Kind::Malformed(body);
    }
    let key = Key::new(&lossy(key_span));
    match (equals, dash) {
        (Some(at), dash) => {
            let equals = Span::new(at, at + 1);
            let value_span = trimmed(text, Span::new(at + 1, body.end));
            Kind::Setting(Setting { dash, key_span, key, equals, value_span, value: lossy(value_span) })
        }
        (None, Some(dash)) => Kind::Exclusion { dash, key_span, key },
        (None, None) => Kind::Malformed(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(text: &str) -> Kind {
        let mut document = Document::parse(text.as_bytes());
        assert_eq!(document.lines.len(), 1, "{text:?}");
        document.lines.remove(0).kind
    }

    fn setting(text: &str) -> Setting {
        match only(text) {
            Kind::Setting(setting) => setting,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn a_setting_has_its_places() {
        let text = "  - net.ipv4.tcp_rmem =\t4096 87380  6291456 \r\n";
        let s = setting(text);
        assert_eq!(&text[s.key_span.start..s.key_span.end], "net.ipv4.tcp_rmem");
        assert_eq!(&text[s.value_span.start..s.value_span.end], "4096 87380  6291456");
        assert_eq!((s.dash, s.equals), (Some(Span::new(2, 3)), Span::new(22, 23)));
    }

    #[test]
    fn only_the_first_character_makes_a_comment() {
        assert!(matches!(only("\t# a = b\n"), Kind::Comment(_)));
        assert!(matches!(only(";a = b"), Kind::Comment(_)));
        assert_eq!(setting("a.b = 1 # c ; d").value, "1 # c ; d");
    }

    #[test]
    fn what_is_no_assignment_is_named() {
        for text in ["net.ipv4.tcp_sack 1", "= 1", "-= 1", "-", "sysctl -w net.ipv4.tcp_sack"] {
            assert!(matches!(only(text), Kind::Malformed(_)), "{text:?}");
        }
        // A key before the equals sign, whatever it looks like.
        assert_eq!(setting("sysctl -w a.b=1").key.path(), "sysctl -w a/b");
        assert_eq!(setting("a.b==").value, "=");
        assert_eq!(setting("a.b =").value, "");
        assert!(
            matches!(only("-net.ipv4.conf.l*.rp_filter\n"), Kind::Exclusion { key, .. } if key.is_glob())
        );
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let document = Document::parse(b"a.\xff\xfe = \x80\n\x00\n\xef\xbb\xbf# bom\n");
        assert_eq!(document.lines.len(), 3);
        assert!(matches!(&document.lines[0].kind, Kind::Setting(s) if s.value == "\u{fffd}"));
        assert!(matches!(&document.lines[2].kind, Kind::Malformed(_)));
    }

    /// The pieces in a row, which must be the text; and a place is never out of it.
    fn check(text: &[u8]) {
        let document = Document::parse(text);
        let mut joined = Vec::new();
        for piece in document.pieces() {
            joined.extend_from_slice(&text[piece.start..piece.end]);
        }
        assert_eq!(joined, text);
        let lines: usize = document.lines.iter().map(|line| line.span.end - line.span.start).sum();
        assert_eq!(lines, text.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_loss(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            check(&text);
        }

        #[test]
        fn anything_like_a_file_is_read_without_loss(
            text in r"([ \t]{0,2}[-#;]?[ ]?([a-z]{1,4}[./=*]){0,4}[ ]?=?[ 0-9a#;=]{0,6}(\r\n|\n|\r|\x0b|\xff)?){0,12}"
        ) {
            check(text.as_bytes());
        }
    }
}
