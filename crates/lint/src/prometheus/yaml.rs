//! YAML with places: the events of the parser as a tree without recursion, and the way from a scalar's text back to the
//! file.

use crate::{Diagnostic, Severity, Span};
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::borrow::Cow;
use std::collections::HashMap;

/// Mappings that one `<<` merges in, and keys of each: far more than a rule can have, and few enough that a file of aliases
/// costs no more than its size.
const MAX_MERGED: usize = 16;

/// A node's place in [`Tree::nodes`].
pub(super) type Id = usize;

/// What a node is.
pub(super) enum Kind<'t> {
    Scalar {
        value: Cow<'t, str>,
        style: ScalarStyle,
    },
    Sequence(Vec<Id>),
    /// Keys and values, as they stand.
    Mapping(Vec<(Id, Id)>),
}

/// A node and its place.
pub(super) struct Node<'t> {
    pub(super) kind: Kind<'t>,
    /// Of a collection: its beginning alone.
    pub(super) span: Span,
}

/// Every document of a file. Aliases are followed: they have the number of their anchor's node.
pub(super) struct Tree<'t> {
    pub(super) text: &'t str,
    /// Where each line begins.
    lines: Vec<usize>,
    nodes: Vec<Node<'t>>,
    /// The documents' top nodes.
    pub(super) roots: Vec<Id>,
}

/// Why a file cannot be read as YAML, and where.
pub(super) struct Broken {
    pub(super) span: Span,
    pub(super) message: String,
}

/// A collection that is being read.
enum Open {
    Sequence(Id),
    Mapping(Id, Option<Id>),
}

impl<'t> Tree<'t> {
    /// Reads a file.
    pub(super) fn read(text: &'t str) -> Result<Tree<'t>, Broken> {
        // The parser counts characters.
        let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        let byte = |index: usize| offsets.get(index).copied().unwrap_or(text.len());
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let mut tree = Tree { text, lines, nodes: Vec::new(), roots: Vec::new() };
        let mut open: Vec<Open> = Vec::new();
        let mut anchors: HashMap<usize, Id> = HashMap::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| {
                let at = byte(error.marker().index());
                Broken { span: Span::new(at, at), message: error.info().to_owned() }
            })?;
            let start = byte(span.start.index());
            let end = byte(span.end.index()).max(start);
            let start = match &event {
                Event::Scalar(_, style, ..) => start + content_start(&text[start..end], *style),
                _ => start,
            };
            let span = Span::new(start, end);
            let (kind, anchor) = match event {
                Event::Scalar(value, style, anchor, _) => (Kind::Scalar { value, style }, anchor),
                Event::SequenceStart(anchor, _) => (Kind::Sequence(Vec::new()), anchor),
                Event::MappingStart(anchor, _) => (Kind::Mapping(Vec::new()), anchor),
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                Event::Alias(anchor) => {
                    if let Some(id) = anchors.get(&anchor) {
                        tree.attach(&mut open, *id);
                    }
                    continue;
                }
                _ => continue,
            };
            let opens = match kind {
                Kind::Scalar { .. } => None,
                Kind::Sequence(_) => Some(Open::Sequence(tree.nodes.len())),
                Kind::Mapping(_) => Some(Open::Mapping(tree.nodes.len(), None)),
            };
            let id = tree.nodes.len();
            tree.nodes.push(Node { kind, span });
            // The parser numbers anchors from 1.
            if anchor > 0 {
                anchors.insert(anchor, id);
            }
            tree.attach(&mut open, id);
            open.extend(opens);
        }
        Ok(tree)
    }

    /// Puts a node where the reading has come to.
    fn attach(&mut self, open: &mut [Open], id: Id) {
        match open.last_mut() {
            None => self.roots.push(id),
            Some(Open::Sequence(parent)) => {
                if let Some(Node { kind: Kind::Sequence(items), .. }) = self.nodes.get_mut(*parent) {
                    items.push(id);
                }
            }
            Some(Open::Mapping(_, key @ None)) => *key = Some(id),
            Some(Open::Mapping(parent, key)) => {
                if let (Some(Node { kind: Kind::Mapping(pairs), .. }), Some(key)) =
                    (self.nodes.get_mut(*parent), key.take())
                {
                    pairs.push((key, id));
                }
            }
        }
    }

    /// A node. Numbers come from this tree alone.
    pub(super) fn node(&self, id: Id) -> &Node<'t> {
        &self.nodes[id]
    }

    /// The text of a scalar; `None` of anything else.
    pub(super) fn scalar(&self, id: Id) -> Option<&str> {
        match &self.node(id).kind {
            Kind::Scalar { value, .. } => Some(value),
            _ => None,
        }
    }

    /// The elements of a list; `None` of anything else.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match &self.node(id).kind {
            Kind::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The keys and values of a mapping, those merged in with `<<` at the end; `None` of anything else.
    pub(super) fn pairs(&self, id: Id) -> Option<Vec<(Id, Id)>> {
        let Kind::Mapping(own) = &self.node(id).kind else { return None };
        let mut pairs = own.clone();
        // Once: what is merged in from there again is left out, and no circle can be built.
        for (_, value) in own.iter().filter(|(key, _)| self.scalar(*key) == Some("<<")) {
            let from = self.items(*value).unwrap_or(std::slice::from_ref(value));
            for merged in from.iter().take(MAX_MERGED) {
                if let Kind::Mapping(theirs) = &self.node(*merged).kind {
                    pairs.extend(theirs.iter().copied().take(MAX_MERGED));
                }
            }
        }
        Some(pairs)
    }

    /// [`Diagnostic::at`], which counts lines from the text's beginning; here there may be one for each of many lines.
    pub(super) fn diagnostic(
        &self,
        code: &str,
        severity: Severity,
        file: &str,
        span: Span,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        let before = self.lines.partition_point(|start| *start <= span.start).saturating_sub(1);
        let start = self.lines.get(before).copied().unwrap_or(0);
        let end = self.lines.get(before + 1).copied().unwrap_or(self.text.len());
        let line = self.text.as_bytes().get(start..end).unwrap_or_default();
        let inside = Span::new(span.start - start, span.end.max(span.start) - start);
        let mut found = Diagnostic::at(code, severity, file, line, inside, message, why);
        found.line = u32::try_from(before + 1).unwrap_or(u32::MAX);
        found
    }

    /// The texts that a key has, wherever it stands.
    pub(super) fn texts_of(&self, key: &str) -> impl Iterator<Item = &str> {
        let mappings = self.nodes.iter().filter_map(|node| match &node.kind {
            Kind::Mapping(pairs) => Some(pairs),
            _ => None,
        });
        mappings
            .flatten()
            .filter(move |(k, _)| self.scalar(*k) == Some(key))
            .filter_map(|(_, value)| self.scalar(*value))
    }

    /// Whether a node is nothing: `key:` without a value, or an empty document.
    pub(super) fn is_null(&self, id: Id) -> bool {
        matches!(&self.node(id).kind, Kind::Scalar { value, style: ScalarStyle::Plain }
            if matches!(&**value, "" | "~" | "null" | "Null" | "NULL"))
    }

    /// For every byte of a scalar's text its offset in the file; `None` where that cannot be told.
    pub(super) fn places(&self, id: Id) -> Option<Vec<usize>> {
        let Node { kind: Kind::Scalar { value, style }, span } = self.node(id) else { return None };
        places(self.text.get(span.start..span.end)?, span.start, value, *style)
    }
}

/// Where a scalar's text begins in its source, which may begin with an anchor and a tag.
fn content_start(source: &str, style: ScalarStyle) -> usize {
    let mut rest = source;
    while rest.starts_with(['&', '!']) {
        rest = rest.trim_start_matches(|c: char| !c.is_whitespace()).trim_start();
        while rest.starts_with('#') {
            rest = rest.trim_start_matches(|c| c != '\n').trim_start();
        }
    }
    // Without them the parser leaves out the line of a block's sign by itself.
    if rest.len() < source.len() && matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
        rest = rest.trim_start_matches(|c| c != '\n').trim_start_matches('\n');
    }
    source.len() - rest.len()
}

/// Walks a scalar's text and its source side by side. What only one of them has is indentation, folded line ends, quotes
/// and escapes.
fn places(source: &str, base: usize, value: &str, style: ScalarStyle) -> Option<Vec<usize>> {
    let quote = match style {
        ScalarStyle::SingleQuoted => Some('\''),
        ScalarStyle::DoubleQuoted => Some('"'),
        _ => None,
    };
    let mut at = quote.map_or(0, char::len_utf8);
    if quote.is_some_and(|quote| !source.starts_with(quote)) {
        return None;
    }
    let mut places = Vec::with_capacity(value.len());
    for wanted in value.chars() {
        loop {
            let found = source.get(at..)?.chars().next();
            if let (Some('\\'), Some('"')) = (found, quote) {
                let (meant, length) = escape(source.get(at + 1..)?)?;
                let here = at;
                at += 1 + length;
                match meant {
                    None => continue,
                    Some(meant) if meant == wanted => {
                        places.extend(std::iter::repeat_n(base + here, wanted.len_utf8()));
                        break;
                    }
                    Some(_) => return None,
                }
            }
            match found {
                Some(found) if found == wanted => {
                    places.extend((0..wanted.len_utf8()).map(|byte| base + at + byte));
                    at += found.len_utf8();
                    if quote == Some('\'') && wanted == '\'' {
                        at += 1;
                    }
                    break;
                }
                Some(' ' | '\t' | '\r' | '\n') => at += 1,
                // A line end that was folded, or that the block's end adds.
                _ if matches!(wanted, ' ' | '\n') => {
                    places.push(base + at);
                    break;
                }
                _ => return None,
            }
        }
    }
    Some(places)
}

/// What an escape means (`None`: a line end that is no space), and how long it is after the backslash.
fn escape(rest: &str) -> Option<(Option<char>, usize)> {
    let first = rest.chars().next()?;
    let digits = match first {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        '\n' => return Some((None, 1)),
        '\r' => return Some((None, 1 + usize::from(rest.starts_with("\r\n")))),
        _ => 0,
    };
    if digits > 0 {
        let code = u32::from_str_radix(rest.get(1..=digits)?, 16).ok()?;
        return Some((Some(char::from_u32(code)?), 1 + digits));
    }
    let meant = match first {
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        other => other,
    };
    Some((Some(meant), first.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The source text behind each word of every `expr`.
    fn words(text: &str) -> Vec<String> {
        let tree = Tree::read(text).unwrap_or_else(|broken| panic!("{}", broken.message));
        let pairs = tree.pairs(tree.roots[0]).expect("a mapping");
        let mut words = Vec::new();
        for (_, value) in pairs {
            let value_text = tree.scalar(value).expect("a scalar");
            let places = tree.places(value).expect("places");
            assert_eq!(places.len(), value_text.len());
            for word in value_text.split_whitespace() {
                let start = word.as_ptr() as usize - value_text.as_ptr() as usize;
                let end = places[start + word.len() - 1] + 1;
                words.push(format!("{word}={}", &text[places[start]..end]));
            }
        }
        words
    }

    #[test]
    fn every_style_leads_back_to_the_file() {
        let text = "é: ' '\na: foo bar\nb: |\n  foo\n    bar\n\nc: >- # why\n  foo\n  bar\n\n  baz\nd: \"foo\\\n    bar\\tx\n   \
                    y\"\ne: 'foo\n  bar'\nf: foo\n  bar\ng: |2\n    foo\nh: \"\\u0066oo\"\ni: |+\n  foo\n\n";
        let expected = [
            "foo", "bar", "foo", "bar", "foo", "bar", "baz", "foobar", "x", "y", "foo", "bar", "foo", "bar",
            "foo", "foo", "foo",
        ];
        let words = words(text);
        let found: Vec<(&str, &str)> = words.iter().filter_map(|w| w.split_once('=')).collect();
        assert_eq!(found.iter().map(|(word, _)| *word).collect::<Vec<_>>(), expected);
        for (word, source) in found {
            assert!(source == word || source.contains('\\'), "{word}: {source}");
        }
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark() {
        assert_eq!(words("\u{feff}a: |\r\n  foo\r\n  bar\r\nb: x\r\n"), ["foo=foo", "bar=bar", "x=x"]);
    }

    #[test]
    fn anchors_and_tags_are_no_text() {
        let text =
            "a: &e foo\nb: !!str &f |\n  bar\nc: &g !!str # why\n  foo\nd: &h 'bar'\ne: !x > # why\n  foo\n";
        assert_eq!(words(text), ["foo=foo", "bar=bar", "foo=foo", "bar=bar", "foo=foo"]);
    }

    #[test]
    fn quotes_inside_quotes() {
        assert_eq!(
            words("a: 'x{b=''c''}'\nd: \"y{b=\\\"c\\\"}\"\n"),
            ["x{b='c'}=x{b=''c''}", "y{b=\"c\"}=y{b=\\\"c\\\"}"]
        );
    }
}
