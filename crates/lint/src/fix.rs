//! Applying fixes to a text.

use crate::{Diagnostic, Edit, NotApplied};
use std::collections::BTreeMap;

/// The text with the fixes of these diagnostics, which are all about it, and the fixes that were left out: one that
/// touches a place which an earlier one changes is for the next time.
#[must_use]
pub fn apply(text: &[u8], diagnostics: &[&Diagnostic]) -> (Vec<u8>, Vec<NotApplied>) {
    // By their beginnings. None meets another one, so that only the neighbours of a new one can be in its way.
    let mut edits: BTreeMap<usize, &Edit> = BTreeMap::new();
    let mut left_out = Vec::new();
    for diagnostic in diagnostics {
        let Some(fix) = &diagnostic.fix else { continue };
        if fix.edits.iter().all(|edit| edits.get(&edit.start) == Some(&edit)) {
            continue;
        }
        let fits = |edit: &Edit| {
            let before = edits.range(..=edit.start).next_back();
            let after = edits.range(edit.start..).next();
            edit.start <= edit.end
                && edit.end <= text.len()
                && before.into_iter().chain(after).all(|(_, taken)| apart(taken, edit))
        };
        let in_order =
            fix.edits.windows(2).all(|pair| pair[0].end <= pair[1].start && pair[0].start < pair[1].start);
        if in_order && fix.edits.iter().all(fits) {
            edits.extend(fix.edits.iter().map(|edit| (edit.start, edit)));
        } else {
            left_out.push(NotApplied { code: diagnostic.code.clone(), line: diagnostic.line });
        }
    }
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    for edit in edits.values() {
        out.extend_from_slice(&text[at..edit.start]);
        out.extend_from_slice(edit.replacement.as_bytes());
        at = edit.end;
    }
    out.extend_from_slice(&text[at..]);
    (out, left_out)
}

/// Whether two changes have nothing to do with each other, not even at their ends.
fn apart(a: &Edit, b: &Edit) -> bool {
    a.end < b.start || b.end < a.start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fix, Severity, Span};

    fn with(edits: &[(usize, usize, &str)]) -> Diagnostic {
        let edits = edits.iter().map(|(start, end, text)| Edit {
            start: *start,
            end: *end,
            replacement: (*text).to_owned(),
        });
        Diagnostic::at("SC000", Severity::Info, "f", b"", Span::new(0, 0), "", "")
            .fix(Fix { description: String::new(), edits: edits.collect() })
    }

    #[test]
    fn changes_that_meet_are_left_for_the_next_time() {
        let (a, b, c) = (with(&[(0, 1, "X"), (4, 5, "Y")]), with(&[(1, 2, "Z")]), with(&[(7, 7, "+")]));
        let (text, left_out) = apply(b"0123456789", &[&a, &b, &c, &a]);
        assert_eq!(String::from_utf8_lossy(&text), "X123Y56+789");
        assert_eq!(left_out.len(), 1);
    }

    #[test]
    fn changes_outside_the_text_are_refused() {
        let (text, left_out) = apply(b"abc", &[&with(&[(2, 9, "")]), &with(&[(2, 1, "")])]);
        assert_eq!((text.as_slice(), left_out.len()), (b"abc".as_slice(), 2));
    }
}
