//! What a lint found, where, and how to mend it.

use crate::Severity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A place in a text, as byte offsets from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From `start` up to, not including, `end`.
    #[must_use]
    pub const fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Diagnostic {
    /// The code: `SC001`, `PM001`. Never changes its meaning.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// The file, as it was named to linger; `/proc/sys/…` for a running value.
    pub file: String,
    /// Line in the file, from 1.
    pub line: u32,
    /// Column of the first byte concerned, from 1, in bytes.
    pub column: u32,
    /// Column after the last byte concerned, from 1, in bytes.
    pub end_column: u32,
    /// The sysctl, or the metric, that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub key: Option<String>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Why: what the kernel (or the exporter) does.
    pub why: String,
    /// Where that can be read: kernel file and function, commit, document, measurement.
    pub source: String,
    /// What mends it, where that is sure.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fix: Option<Fix>,
}

impl Diagnostic {
    /// A diagnostic about `span` of `text`, which is the content of `file`; key, source and fix are filled in afterwards.
    #[must_use]
    pub fn at(
        code: &str,
        severity: Severity,
        file: &str,
        text: &[u8],
        span: Span,
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        let before = &text[..span.start.min(text.len())];
        let line = before.iter().filter(|b| **b == b'\n').count();
        Diagnostic::in_line(code, severity, file, text, (line, span), message, why)
    }

    /// The same where the line is known, from 0: counting lines takes as long as the text is.
    #[must_use]
    pub fn in_line(
        code: &str,
        severity: Severity,
        file: &str,
        text: &[u8],
        (line, span): (usize, Span),
        message: impl Into<String>,
        why: impl Into<String>,
    ) -> Diagnostic {
        let start = span.start.min(text.len());
        let line_start = text[..start].iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
        let line_end =
            text[start..].iter().position(|b| *b == b'\n').map_or(text.len(), |newline| start + newline);
        // A span that goes on over several lines is shown up to the end of its first.
        let end = span.end.clamp(start, line_end);
        let column = |offset: usize| u32::try_from(offset - line_start + 1).unwrap_or(u32::MAX);
        Diagnostic {
            code: code.to_owned(),
            severity,
            file: file.to_owned(),
            line: u32::try_from(line + 1).unwrap_or(u32::MAX),
            column: column(start),
            end_column: column(end),
            key: None,
            message: message.into(),
            why: why.into(),
            source: String::new(),
            fix: None,
        }
    }

    /// The same, about this sysctl or metric.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Diagnostic {
        self.key = Some(key.into());
        self
    }

    /// The same, with where it can be read.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Diagnostic {
        self.source = source.into();
        self
    }

    /// The same, with what mends it.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Diagnostic {
        self.fix = Some(fix);
        self
    }
}

/// What mends a file. Offered only where it is sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fix {
    /// What it does: `delete the line`.
    pub description: String,
    /// The changes to the diagnostic's file, in the order of their places, without overlap.
    pub edits: Vec<Edit>,
}

/// One change to a file: the bytes from `start` to `end` become `replacement`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Edit {
    /// Offset of the first byte that goes.
    pub start: usize,
    /// Offset after the last byte that goes; equal to `start` where something is only put in.
    pub end: usize,
    /// What comes instead.
    pub replacement: String,
}

/// A fix that was left out, because another one changes the same place or it does not fit the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotApplied {
    /// The diagnostic's code.
    pub code: String,
    /// Its line, from 1.
    pub line: u32,
}
