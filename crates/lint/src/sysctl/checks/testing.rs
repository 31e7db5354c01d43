//! Linting a text in a test.

use crate::Diagnostic;
use crate::sysctl::{Context, File};
use linger_facts::Role;
use linger_facts::Version;

/// One file that was named by itself.
pub(super) fn file(text: &str) -> File {
    File { name: "test.conf".to_owned(), text: text.as_bytes().to_vec(), places: Vec::new() }
}

/// On 6.18, with nothing else known.
pub(super) fn lint(text: &str) -> Vec<Diagnostic> {
    lint_on(text, Version::new(6, 18))
}

pub(super) fn lint_on(text: &str, kernel: Version) -> Vec<Diagnostic> {
    lint_with(text, &Context { kernel: Some(kernel), ..Context::default() })
}

pub(super) fn lint_with(text: &str, context: &Context) -> Vec<Diagnostic> {
    crate::sysctl::lint(&[file(text)], context)
}

/// 6.18 with so many bytes of memory.
pub(super) fn with_ram(bytes: u64) -> Context {
    Context { kernel: Some(Version::new(6, 18)), ram_bytes: Some(bytes), ..Context::default() }
}

/// 6.18 in a role.
pub(super) fn in_role(role: Role) -> Context {
    Context { kernel: Some(Version::new(6, 18)), role: Some(role), ..Context::default() }
}

/// The codes, without repetition, in order.
pub(super) fn codes(found: &[Diagnostic]) -> Vec<String> {
    let mut codes: Vec<String> = found.iter().map(|d| d.code.clone()).collect();
    codes.sort();
    codes.dedup();
    codes
}

/// The one diagnostic of a code.
pub(super) fn the(code: &str, found: Vec<Diagnostic>) -> Diagnostic {
    let all = format!("{found:#?}");
    let mut its = found.into_iter().filter(|d| d.code == code);
    match (its.next(), its.next()) {
        (Some(only), None) => only,
        (first, _) => {
            panic!("{code} is told {} in {all}", if first.is_none() { "not at all" } else { "twice" })
        }
    }
}
