//! PromQL: the library says what an expression means, a scanner of our own where its names stand, since the library's
//! tree has no places.

use crate::Span;
use promql_parser::label::MatchOp;
use promql_parser::parser::{BinaryExpr, Expr, VectorSelector};
use std::time::Duration;

/// Longer expressions are not read.
const MAX_BYTES: usize = 64 * 1024;
/// Expressions with more brackets and operators are not read: the library's tree is as deep as there are operators, and it
/// is freed by recursion.
const MAX_DEPTH: usize = 600;

/// Why an expression cannot be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is none, by what the library says; the place, where there is one.
    Broken(String, Option<Span>),
    /// It is longer or deeper than is read here.
    TooLarge,
}

/// What an expression's value is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Comparison {
    /// As if the value stood on the left.
    pub(super) op: Op,
    /// The number, if the value itself is compared, not something reckoned from it.
    pub(super) with: Option<f64>,
}

/// The comparisons that tell something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Above,
    AtLeast,
    NotEqual,
    Other,
}

/// A selector and what is done with it.
#[derive(Debug)]
pub(super) struct Selector {
    pub(super) name: String,
    /// Where the name stands in the expression.
    pub(super) name_span: Option<Span>,
    /// The function that takes it as a range.
    pub(super) function: Option<&'static str>,
    /// The range.
    pub(super) range: Option<Duration>,
    pub(super) compared: Option<Comparison>,
    /// Whether it is shifted in time, by `offset` or `@`.
    pub(super) shifted: bool,
    /// The name with its braces, if it has any.
    pub(super) whole_span: Option<Span>,
    /// Its matcher of the label `state`, and where the value stands.
    pub(super) state: Option<StateMatcher>,
}

/// A matcher of the label `state`.
#[derive(Debug)]
pub(super) struct StateMatcher {
    pub(super) value: String,
    pub(super) matches: StateMatch,
    pub(super) span: Option<Span>,
}

/// How it matches.
#[derive(Debug)]
pub(super) enum StateMatch {
    Equal,
    /// The states of [`linger_facts::metrics::CONNECTION_STATES`] that it lets through.
    Pattern(Vec<&'static str>),
    Other,
}

/// Reads an expression: its selectors that have a name, in their order.
pub(super) fn selectors(text: &str) -> Result<Vec<Selector>, Unread> {
    if text.len() > MAX_BYTES {
        return Err(Unread::TooLarge);
    }
    let tokens =
        scan(text).map_err(|span| Unread::Broken("a string that does not end".to_owned(), Some(span)))?;
    if tokens.iter().filter(|t| t.kind == TokenKind::Sign || t.is_operator_word(text)).count() > MAX_DEPTH {
        return Err(Unread::TooLarge);
    }
    if let Some((message, span)) = unbalanced(text, &tokens) {
        return Err(Unread::Broken(message.to_owned(), Some(span)));
    }
    let expr = promql_parser::parser::parse(text).map_err(|message| {
        let place = place_of(&message, text, &tokens);
        Unread::Broken(message, place)
    })?;
    let mut found = Vec::new();
    walk(&expr, &mut found);
    locate(text, &tokens, &mut found);
    Ok(found)
}

/// How what is walked is used.
#[derive(Default, Clone, Copy)]
struct Use {
    function: Option<&'static str>,
    range: Option<Duration>,
    compared: Option<Comparison>,
}

/// Collects the selectors in the order of the text.
fn walk(expr: &Expr, found: &mut Vec<Selector>) {
    let mut rest = vec![(expr, Use::default())];
    while let Some((expr, used)) = rest.pop() {
        // What comes first in the text is pushed last.
        match expr {
            Expr::Paren(paren) => rest.push((&paren.expr, used)),
            Expr::Unary(unary) => rest.push((&unary.expr, Use::default())),
            Expr::Aggregate(aggregate) => {
                // Of these, what comes out is a value of what went in, or as many times as large.
                let compared = match aggregate.op.to_string().as_str() {
                    "max" | "min" | "avg" | "topk" | "bottomk" => used.compared,
                    "sum" => used.compared.map(without_number),
                    _ => None,
                };
                rest.push((&aggregate.expr, Use { compared, ..Use::default() }));
                rest.extend(aggregate.param.as_deref().map(|param| (param, Use::default())));
            }
            Expr::Binary(binary) => {
                let (left, right) = sides(binary, used);
                rest.push((&binary.rhs, right));
                rest.push((&binary.lhs, left));
            }
            Expr::Subquery(subquery) => {
                rest.push((&subquery.expr, Use { range: Some(subquery.range), ..used }));
            }
            Expr::Call(call) => {
                let inner = match call.func.name {
                    // What they give is one of the values they took.
                    name @ ("last_over_time" | "max_over_time" | "min_over_time" | "avg_over_time") => {
                        Use { function: Some(name), range: None, compared: used.compared }
                    }
                    "abs" | "ceil" | "floor" | "round" | "sort" | "sort_desc" | "scalar" | "vector"
                    | "label_replace" | "label_join" => Use { compared: used.compared, ..Use::default() },
                    name => Use { function: Some(name), range: None, compared: None },
                };
                rest.extend(call.args.args.iter().rev().map(|argument| (&**argument, inner)));
            }
            Expr::VectorSelector(selector) => push(selector, used, found),
            Expr::MatrixSelector(matrix) => {
                push(&matrix.vs, Use { range: Some(matrix.range), ..used }, found)
            }
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }
}

/// How the sides of an operator are used.
fn sides(binary: &BinaryExpr, used: Use) -> (Use, Use) {
    let op = binary.op.to_string();
    let comparison = |with, turned: bool| {
        let op = match (op.as_str(), turned) {
            (">", false) | ("<", true) => Op::Above,
            (">=", false) | ("<=", true) => Op::AtLeast,
            ("!=", _) => Op::NotEqual,
            _ => Op::Other,
        };
        Use { compared: Some(Comparison { op, with: Some(with) }), ..Use::default() }
    };
    match (op.as_str(), number(&binary.lhs, 0), number(&binary.rhs, 0)) {
        (">" | ">=" | "<" | "<=" | "==" | "!=", left, right) => (
            right.map(|with| comparison(with, false)).unwrap_or_default(),
            left.map(|with| comparison(with, true)).unwrap_or_default(),
        ),
        ("+" | "-" | "*" | "/", left, right) if left.is_some() != right.is_some() => {
            let through = Use { compared: used.compared.map(without_number), ..Use::default() };
            (through, through)
        }
        _ => Default::default(),
    }
}

/// Of something reckoned from the value.
fn without_number(comparison: Comparison) -> Comparison {
    Comparison { with: None, ..comparison }
}

/// The number that an expression is; limits are short.
fn number(expr: &Expr, depth: u8) -> Option<f64> {
    let deeper = depth.checked_add(1).filter(|depth| *depth < 16)?;
    match expr {
        Expr::NumberLiteral(literal) => Some(literal.val),
        Expr::Paren(paren) => number(&paren.expr, deeper),
        Expr::Unary(unary) => number(&unary.expr, deeper).map(|n| -n),
        Expr::Binary(binary) => {
            let right = number(&binary.rhs, deeper)?;
            let left = number(&binary.lhs, deeper)?;
            match binary.op.to_string().as_str() {
                "+" => Some(left + right),
                "-" => Some(left - right),
                "*" => Some(left * right),
                "/" => Some(left / right),
                "^" => Some(left.powf(right)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn push(selector: &VectorSelector, used: Use, found: &mut Vec<Selector>) {
    let mut matchers = selector.matchers.matchers.iter();
    let named = || {
        let name = matchers.find(|m| m.name == "__name__" && matches!(m.op, MatchOp::Equal));
        name.map(|m| m.value.clone())
    };
    let Some(name) = selector.name.clone().or_else(named) else { return };
    let state = selector.matchers.matchers.iter().find(|m| m.name == "state").map(|m| StateMatcher {
        value: m.value.clone(),
        matches: match &m.op {
            MatchOp::Equal => StateMatch::Equal,
            MatchOp::Re(pattern) => StateMatch::Pattern(
                linger_facts::metrics::CONNECTION_STATES
                    .iter()
                    .copied()
                    .filter(|s| pattern.is_match(s))
                    .collect(),
            ),
            _ => StateMatch::Other,
        },
        span: None,
    });
    found.push(Selector {
        name,
        name_span: None,
        function: used.function.filter(|_| used.range.is_some()),
        range: used.range,
        compared: used.compared,
        shifted: selector.offset.is_some() || selector.at.is_some(),
        whole_span: None,
        state,
    });
}

/// A piece of an expression.
#[derive(Debug, Clone, Copy)]
struct Token {
    kind: TokenKind,
    /// Of a string: what is between the quotes.
    span: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Word,
    Text,
    Number,
    /// One byte: a bracket, a comma, part of an operator.
    Sign,
}

impl Token {
    fn text<'t>(&self, text: &'t str) -> &'t str {
        text.get(self.span.start..self.span.end).unwrap_or_default()
    }

    fn is_operator_word(&self, text: &str) -> bool {
        self.kind == TokenKind::Word
            && ["and", "or", "unless", "atan2", "offset"]
                .iter()
                .any(|w| self.text(text).eq_ignore_ascii_case(w))
    }
}

/// Cuts an expression into pieces; the place of a string without an end.
fn scan(text: &str) -> Result<Vec<Token>, Span> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    let ends = |from: usize, is: fn(u8) -> bool| {
        bytes.iter().skip(from).position(|b| !is(*b)).map_or(bytes.len(), |n| from + n)
    };
    while let Some(&byte) = bytes.get(at) {
        let (kind, end) = match byte {
            b'#' => {
                at = ends(at, |b| b != b'\n');
                continue;
            }
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'"' | b'\'' | b'`' => {
                let mut end = at + 1;
                loop {
                    match bytes.get(end) {
                        None => return Err(Span::new(at, bytes.len())),
                        Some(b'\\') if byte != b'`' => end += 2,
                        Some(b) if *b == byte => break,
                        Some(_) => end += 1,
                    }
                }
                tokens.push(Token { kind: TokenKind::Text, span: Span::new(at + 1, end) });
                at = end + 1;
                continue;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => {
                (TokenKind::Word, ends(at, |b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':')))
            }
            b'0'..=b'9' => (TokenKind::Number, ends(at, |b| b.is_ascii_alphanumeric() || b == b'.')),
            _ => (TokenKind::Sign, at + 1),
        };
        tokens.push(Token { kind, span: Span::new(at, end) });
        at = end;
    }
    Ok(tokens)
}

/// The first bracket without its other half.
fn unbalanced(text: &str, tokens: &[Token]) -> Option<(&'static str, Span)> {
    let mut open: Vec<(&str, Span)> = Vec::new();
    for token in tokens.iter().filter(|t| t.kind == TokenKind::Sign) {
        let opens = match token.text(text) {
            bracket @ ("(" | "[" | "{") => {
                open.push((bracket, token.span));
                continue;
            }
            ")" => "(",
            "]" => "[",
            "}" => "{",
            _ => continue,
        };
        if open.pop().is_none_or(|(bracket, _)| bracket != opens) {
            return Some(("a bracket is closed that was not opened", token.span));
        }
    }
    open.pop().map(|(_, span)| ("a bracket is not closed", span))
}

/// Where the word stands that the library complains of.
fn place_of(message: &str, text: &str, tokens: &[Token]) -> Option<Span> {
    let quoted = message.split('\'').nth(1).filter(|word| !word.is_empty())?;
    tokens.iter().find(|t| t.kind == TokenKind::Word && t.text(text) == quoted).map(|t| t.span)
}

/// Finds the places of the selectors: both are in the order of the text.
fn locate(text: &str, tokens: &[Token], found: &mut [Selector]) {
    let sign = |at: usize, wanted: &str| {
        tokens.get(at).is_some_and(|t| t.kind == TokenKind::Sign && t.text(text) == wanted)
    };
    // Labels are no selectors: by (…), on (…).
    let mut skip_to = 0;
    let mut depth = 0_usize;
    let mut candidates: Vec<(usize, bool)> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let word = token.text(text);
        match token.kind {
            TokenKind::Sign if word == "{" => depth += 1,
            TokenKind::Sign if word == "}" => depth = depth.saturating_sub(1),
            TokenKind::Word if depth == 0 && at >= skip_to => {
                if sign(at + 1, "(") {
                    let labels = ["by", "without", "on", "ignoring", "group_left", "group_right"];
                    if labels.iter().any(|l| word.eq_ignore_ascii_case(l)) {
                        skip_to = (at..tokens.len()).find(|end| sign(*end, ")")).unwrap_or(tokens.len());
                    }
                } else {
                    candidates.push((at, false));
                }
            }
            // {"name"} and {__name__="name"}.
            TokenKind::Text if depth == 1 => {
                let equal = at >= 2 && sign(at - 1, "=") && !sign(at - 2, "!");
                let named = equal && tokens.get(at - 2).is_some_and(|t| t.text(text) == "__name__");
                let alone = at >= 1
                    && (sign(at - 1, "{") || sign(at - 1, ","))
                    && (sign(at + 1, "}") || sign(at + 1, ","));
                if named || alone {
                    candidates.push((at, true));
                }
            }
            _ => {}
        }
    }
    let mut candidates = candidates.into_iter();
    for selector in found {
        let mine = |(at, _): &(usize, bool)| tokens.get(*at).is_some_and(|t| t.text(text) == selector.name);
        let mut rest = candidates.clone();
        let Some((at, inside)) = rest.find(mine) else { continue };
        candidates = rest;
        let Some(name) = tokens.get(at) else { continue };
        selector.name_span = Some(name.span);
        let open = if inside {
            (0..at).rev().find(|n| sign(*n, "{"))
        } else {
            Some(at + 1).filter(|n| sign(*n, "{"))
        };
        let close = open.and_then(|open| (open..tokens.len()).find(|n| sign(*n, "}")));
        if !inside {
            let end = close.and_then(|close| tokens.get(close)).map_or(name.span.end, |t| t.span.end);
            selector.whole_span = Some(Span::new(name.span.start, end));
        }
        if let (Some(state), Some(open), Some(close)) = (&mut selector.state, open, close) {
            // A name, an operator of one sign or two, a text.
            state.span = (open..close)
                .find(|n| {
                    tokens.get(*n).is_some_and(|t| t.kind == TokenKind::Word && t.text(text) == "state")
                })
                .and_then(|n| {
                    (n..close.min(n + 4)).find(|n| tokens.get(*n).is_some_and(|t| t.kind == TokenKind::Text))
                })
                .and_then(|n| tokens.get(n))
                .filter(|t| t.text(text) == state.value)
                .map(|t| t.span);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, Option<usize>)> {
        let found = selectors(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        found.into_iter().map(|s| (s.name, s.name_span.map(|s| s.start))).collect()
    }

    #[test]
    fn names_are_found_where_they_stand() {
        for (text, expected) in [
            ("up", vec![("up", 0)]),
            ("sum by (up) (up)", vec![("up", 13)]),
            ("sum(up) by (up) / on (up) group_left (x) up", vec![("up", 4), ("up", 41)]),
            ("# up\nup{up=\"up\"} > 1 and rate(up[5m]) > 2", vec![("up", 5), ("up", 30)]),
            ("topk(3, a) or b", vec![("a", 8), ("b", 14)]),
            ("{__name__=\"up\", x='y'} - {\"up\"}", vec![("up", 11), ("up", 27)]),
            ("max_over_time(rate(a[1m])[1h:5m] offset 5m)", vec![("a", 19)]),
            ("`b` == bool 1 or sum(sum)", vec![]),
        ] {
            if expected.is_empty() {
                assert!(selectors(text).is_err(), "{text}");
                continue;
            }
            let expected: Vec<_> = expected.into_iter().map(|(n, at)| (n.to_owned(), Some(at))).collect();
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_done_with_it() {
        let one = |text: &str| selectors(text).expect(text).into_iter().next().expect("a selector");
        let s = one("1000 < max(a)");
        assert_eq!(s.compared, Some(Comparison { op: Op::Above, with: Some(1000.0) }));
        let s = one("(a / 2) >= 1 * 5");
        assert_eq!(s.compared, Some(Comparison { op: Op::AtLeast, with: None }));
        for text in
            ["a - a offset 5m > 0", "a > b", "changes(a[5m]) > 0", "count(a) > 0", "a / b > 1", "-a > 0"]
        {
            assert_eq!(one(text).compared, None, "{text}");
        }
        let s = one("rate(a[5m:1m])");
        assert_eq!((s.function, s.range), (Some("rate"), Some(Duration::from_secs(300))));
        let s = one("a{job=\"x\"} offset 5m");
        assert!(s.shifted);
        assert_eq!(s.whole_span, Some(Span::new(0, 10)));
        let s = one("a{x=\"state\", state=~\"syn_.*\"}");
        let state = s.state.expect("a matcher");
        assert!(matches!(&state.matches, StateMatch::Pattern(states) if states == &["syn_sent", "syn_recv"]));
        assert_eq!(state.span, Some(Span::new(21, 27)));
    }

    #[test]
    fn broken_and_large() {
        let broken = |text: &str| match selectors(text) {
            Err(Unread::Broken(_, place)) => place.map(|s| s.start),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(broken("sum(a"), Some(3));
        assert_eq!(broken("a)"), Some(1));
        assert_eq!(broken("a{b=\"c}"), Some(4));
        assert_eq!(broken("foo(a)"), Some(0));
        assert_eq!(broken("a >"), None);
        for large in ["-".repeat(700), "(".repeat(10_000), "a".repeat(100_000), "a or ".repeat(700)] {
            assert!(matches!(selectors(&large), Err(Unread::TooLarge)));
        }
    }

    #[test]
    fn as_deep_as_is_read_fits_a_small_stack() {
        let deep = [
            format!("{}1", "-".repeat(MAX_DEPTH)),
            format!("{}a{}", "(".repeat(MAX_DEPTH / 2), ")".repeat(MAX_DEPTH / 2)),
            format!("a{}", " or a".repeat(MAX_DEPTH)),
            format!("a{}", "+a".repeat(MAX_DEPTH)),
            format!("{}a{}", "abs(".repeat(MAX_DEPTH / 2), ")".repeat(MAX_DEPTH / 2)),
            format!("a{}", "^a".repeat(MAX_DEPTH)),
        ];
        let read = std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(move || {
                deep.iter().filter(|text| !matches!(selectors(text), Err(Unread::TooLarge))).count()
            })
            .expect("a thread");
        assert_eq!(read.join().expect("no overflow"), 6);
    }
}
