//! Shorthands for the tables: blank entries to fill in, and constructors that read as a line each.

use crate::{Belief, Counter, DefaultSince, DefaultValue, Range, Scope, Sysctl, Version};

/// A sysctl with everything optional left out; `..SYSCTL` ends every entry.
pub(crate) const SYSCTL: Sysctl = Sysctl {
    key: "",
    summary: "",
    meaning: "",
    unit: "",
    range: None,
    values: &[],
    scope: Scope::Netns,
    since: None,
    until: None,
    defaults: &[],
    beliefs: &[],
    see: &[],
    sources: &[],
};

/// A counter with everything optional left out; `..COUNTER` ends every entry.
pub(crate) const COUNTER: Counter = Counter {
    name: "",
    file: "",
    summary: "",
    meaning: "",
    scope: Scope::Netns,
    since: None,
    until: None,
    beliefs: &[],
    changes: &[],
    see: &[],
    sources: &[],
};

/// The version `major.minor`.
pub(crate) const fn v(major: u16, minor: u16) -> Version {
    Version::new(major, minor)
}

/// A constant default from `since` on.
pub(crate) const fn fixed(since: Version, text: &'static str) -> DefaultSince {
    DefaultSince { since, value: DefaultValue::Fixed(text) }
}

/// A computed default from `since` on.
pub(crate) const fn computed(since: Version, formula: &'static str) -> DefaultSince {
    DefaultSince { since, value: DefaultValue::Computed(formula) }
}

/// No such file from `since` on.
pub(crate) const fn absent(since: Version) -> DefaultSince {
    DefaultSince { since, value: DefaultValue::Absent }
}

/// An integer range, both ends included.
pub(crate) const fn ints(min: i64, max: i64) -> Option<Range> {
    Some(Range::Ints { min, max })
}

/// A wrong belief and the truth.
pub(crate) const fn belief(claim: &'static str, truth: &'static str) -> Belief {
    Belief { claim, truth }
}
