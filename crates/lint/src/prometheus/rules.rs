//! From a file to its expressions: groups, rules, and what Prometheus would refuse of them.

use super::promql::{self, Unread};
use super::yaml::{Id, Tree};
use super::{Options, checks, lints};
use crate::{Diagnostic, Severity, Span};
use std::collections::HashSet;

/// Looks at every document of a file.
pub(super) fn check(tree: &Tree<'_>, file: &str, options: &Options, found: &mut Vec<Diagnostic>) {
    let recorded = tree.texts_of("record").collect();
    let mut walk = Walk { tree, file, options, recorded, seen: HashSet::new(), found };
    for root in &tree.roots {
        walk.document(*root);
    }
}

struct Walk<'a> {
    tree: &'a Tree<'a>,
    file: &'a str,
    options: &'a Options,
    /// Names that the file gives itself: whatever they are like, they are there.
    recorded: HashSet<&'a str>,
    /// Nodes that were looked at: aliases name them again.
    seen: HashSet<Id>,
    found: &'a mut Vec<Diagnostic>,
}

impl Walk<'_> {
    fn document(&mut self, root: Id) {
        if self.tree.is_null(root) {
            return;
        }
        let mut top = root;
        let mut groups = self.value(top, "groups");
        if groups.is_none()
            && let Some(spec) = self.value(root, "spec")
        {
            top = spec;
            groups = self.value(spec, "groups");
        }
        let Some(groups) = groups else {
            self.refuse(self.tree.node(root).span, "no rule file: it has no groups");
            return;
        };
        self.no_key_twice(top);
        // As it is left by copying from a page without indentation.
        for (key, value) in self.tree.pairs(top).unwrap_or_default() {
            if self.tree.scalar(key) == Some("rules") {
                self.refuse(self.tree.node(key).span, "rules stand beside the groups instead of in one");
                self.rules(value);
            }
        }
        match self.tree.items(groups) {
            Some(items) => {
                let mut names = HashSet::new();
                items.iter().for_each(|group| self.group(*group, &mut names));
            }
            None if self.tree.is_null(groups) => {}
            None => self.refuse(self.tree.node(groups).span, "groups is not a list"),
        }
    }

    fn group(&mut self, group: Id, names: &mut HashSet<String>) {
        if !self.seen.insert(group) {
            return;
        }
        let span = self.tree.node(group).span;
        if self.tree.pairs(group).is_none() {
            self.refuse(span, "a group is not a mapping with name and rules");
            return;
        }
        self.no_key_twice(group);
        match self.given(group, "name").and_then(|name| Some((name, self.tree.scalar(name)?.to_owned()))) {
            None => self.refuse(span, "a group has no name"),
            Some((place, name)) => {
                let message = format!("a second group has the name {name}");
                if !names.insert(name) {
                    self.refuse(self.tree.node(place).span, &message);
                }
            }
        }
        if let Some(rules) = self.value(group, "rules") {
            self.rules(rules);
        }
    }

    fn rules(&mut self, rules: Id) {
        if !self.seen.insert(rules) {
            return;
        }
        match self.tree.items(rules) {
            Some(items) => items.iter().for_each(|rule| self.rule(*rule)),
            None if self.tree.is_null(rules) => {}
            None => self.refuse(self.tree.node(rules).span, "rules is not a list"),
        }
    }

    fn rule(&mut self, rule: Id) {
        if !self.seen.insert(rule) {
            return;
        }
        let span = self.tree.node(rule).span;
        if self.tree.pairs(rule).is_none() {
            self.refuse(span, "a rule is not a mapping");
            return;
        }
        self.no_key_twice(rule);
        match (self.given(rule, "alert"), self.given(rule, "record")) {
            (None, None) => self.refuse(span, "a rule has neither alert nor record"),
            (Some(_), Some(record)) => {
                self.refuse(self.tree.node(record).span, "a rule has both alert and record");
            }
            _ => {}
        }
        for key in ["for", "keep_firing_for"] {
            if let Some(value) = self.given(rule, key)
                && !self.tree.scalar(value).is_some_and(is_duration)
            {
                self.refuse(self.tree.node(value).span, &format!("{key} is not a duration like 5m"));
            }
        }
        match self.given(rule, "expr") {
            Some(expr) if self.tree.scalar(expr).is_some() => self.expression(expr),
            Some(expr) => self.refuse(self.tree.node(expr).span, "expr is not a text"),
            None => self.refuse(span, "a rule has no expr"),
        }
    }

    fn expression(&mut self, expr: Id) {
        if !self.seen.insert(expr) {
            return;
        }
        let Some(text) = self.tree.scalar(expr) else { return };
        let node = self.tree.node(expr);
        let places = self.tree.places(expr);
        let place = Place { file: self.file, tree: self.tree, all: node.span, places: places.as_deref() };
        match promql::selectors(text) {
            Ok(selectors) => {
                for selector in selectors.iter().filter(|s| !self.recorded.contains(s.name.as_str())) {
                    checks::check(selector, text, &place, self.options, self.found);
                }
            }
            Err(Unread::Broken(message, span)) => {
                // The library quotes whole expressions.
                let message = message.split('\n').next().unwrap_or_default();
                let message: String = message.chars().take(200).collect();
                let why = "Prometheus refuses the whole file if one expression does not parse; promtool check rules of \
                           your version decides, since linger's parser follows Prometheus 2.45.";
                self.found.push(
                    place
                        .diagnostic(
                            &lints::PR003,
                            Severity::Warning,
                            span,
                            format!("not PromQL: {message}"),
                            why,
                        )
                        .source("the promql-parser library; Prometheus promql/parser"),
                );
            }
            Err(Unread::TooLarge) => {
                let why = "Expressions longer than 64 KiB or with more than 600 operators and brackets are not read.";
                self.found.push(
                    place
                        .diagnostic(
                            &lints::PR003,
                            Severity::Info,
                            None,
                            "the expression was not checked",
                            why,
                        )
                        .source("linger's own limit"),
                );
            }
        }
    }

    /// The value of a mapping's key.
    fn value(&self, mapping: Id, key: &str) -> Option<Id> {
        let pairs = self.tree.pairs(mapping)?;
        pairs.into_iter().find(|(k, _)| self.tree.scalar(*k) == Some(key)).map(|(_, value)| value)
    }

    /// The value of a mapping's key, unless it is empty.
    fn given(&self, mapping: Id, key: &str) -> Option<Id> {
        let empty = |id| self.tree.is_null(id) || self.tree.scalar(id).is_some_and(str::is_empty);
        self.value(mapping, key).filter(|value| !empty(*value))
    }

    /// Reports the first key that stands twice; what is merged in may.
    fn no_key_twice(&mut self, mapping: Id) {
        let super::yaml::Kind::Mapping(pairs) = &self.tree.node(mapping).kind else { return };
        let mut keys = HashSet::new();
        for (key, _) in pairs {
            if let Some(name) = self.tree.scalar(*key)
                && !keys.insert(name)
            {
                let message = format!("the key {name} stands twice");
                self.refuse(self.tree.node(*key).span, &message);
                return;
            }
        }
    }

    fn refuse(&mut self, span: Span, message: &str) {
        let why = "Prometheus refuses the whole file: at its start it ends, at a reload it goes on with the old rules.";
        self.found.push(
            self.tree
                .diagnostic(lints::PR002.code, Severity::Critical, self.file, span, message, why)
                .source("Prometheus model/rulefmt/rulefmt.go RuleGroups.Validate()"),
        );
    }
}

/// `5m`, `1h30m`, `0`.
fn is_duration(text: &str) -> bool {
    if text == "0" {
        return true;
    }
    let units = ["y", "w", "d", "h", "m", "s", "ms"];
    let mut rest = text;
    let mut last = None;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest.bytes().skip(digits).take_while(u8::is_ascii_alphabetic).count();
        let unit = rest.get(digits..digits + letters).and_then(|unit| units.iter().position(|u| *u == unit));
        if digits == 0 || unit.is_none() || unit <= last {
            return false;
        }
        last = unit;
        rest = rest.get(digits + letters..).unwrap_or_default();
    }
    last.is_some()
}

/// Where an expression stands in its file.
pub(super) struct Place<'a> {
    file: &'a str,
    tree: &'a Tree<'a>,
    all: Span,
    places: Option<&'a [usize]>,
}

impl Place<'_> {
    /// The place in the file of a piece of the expression `expr`, if the file has it there letter by letter.
    pub(super) fn exact(&self, expr: &str, span: Span) -> Option<Span> {
        let places = self.places?;
        let start = *places.get(span.start)?;
        let end = places.get(span.end.checked_sub(1)?)? + 1;
        (self.tree.text.get(start..end)? == expr.get(span.start..span.end)?).then_some(Span::new(start, end))
    }

    /// A diagnostic about a piece of the expression, or about its first line.
    pub(super) fn diagnostic(
        &self,
        lint: &lints::Lint,
        severity: Severity,
        span: Option<Span>,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        let near = |span: Span| {
            let places = self.places?;
            let start = *places.get(span.start)?;
            Some(Span::new(start, places.get(span.end.max(span.start + 1) - 1)? + 1))
        };
        let span = span.and_then(near).unwrap_or(self.all);
        self.tree.diagnostic(lint.code, severity, self.file, span, message, why)
    }
}

#[cfg(test)]
mod tests {
    use super::is_duration;

    #[test]
    fn durations() {
        for good in ["0", "5m", "1h30m", "90s", "1d", "500ms"] {
            assert!(is_duration(good), "{good}");
        }
        for bad in ["", "5", "m", "5 m", "30m1h", "5min", "-5m", "5m5m"] {
            assert!(!is_duration(bad), "{bad}");
        }
    }
}
