//! sysctl.conf(5) and sysctl.d(5): what a line does on a given kernel, and what it does not.

pub mod checks;
pub mod context;
pub mod defaults;
pub mod effective;
pub mod key;
mod names;
pub mod parse;
pub mod value;

use crate::{Diagnostic, NotApplied, apply};
pub use checks::{CHECKS, Check, check};
pub use context::{Context, Listener, Live};
pub use effective::{File, Loader};
pub use key::Key;

/// Everything that is wrong with these files, in the order in which they are read.
#[must_use]
pub fn lint(files: &[File], context: &Context) -> Vec<Diagnostic> {
    checks::run(files, context)
}

/// A file that fixes change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixed {
    /// Index of the file.
    pub file: usize,
    /// Its new content.
    pub text: Vec<u8>,
    /// What was mended, in the order in which it was.
    pub mended: Vec<Diagnostic>,
    /// Fixes that could not be applied.
    pub left_out: Vec<NotApplied>,
}

/// The files as their fixes leave them: only those that change. What a fix reveals is mended too, so that the result has
/// nothing more to mend.
#[must_use]
pub fn fix(files: &[File], context: &Context) -> Vec<Fixed> {
    // Each round mends at least one line, and a mended line is a comment or right; a bound all the same.
    const ROUNDS: usize = 32;
    let mut now = files.to_vec();
    let mut fixed: Vec<Option<Fixed>> = files.iter().map(|_| None).collect();
    for _ in 0..ROUNDS {
        let diagnostics = lint(&now, context);
        let mut changed = false;
        for (index, file) in now.iter_mut().enumerate() {
            let its: Vec<&Diagnostic> =
                diagnostics.iter().filter(|d| d.fix.is_some() && d.file == file.name).collect();
            let (text, left_out) = apply(&file.text, &its);
            if text == file.text {
                continue;
            }
            changed = true;
            let entry = fixed[index].get_or_insert_with(|| Fixed {
                file: index,
                text: Vec::new(),
                mended: Vec::new(),
                left_out: Vec::new(),
            });
            let put_off =
                |d: &Diagnostic| left_out.contains(&NotApplied { code: d.code.clone(), line: d.line });
            entry.mended.extend(its.iter().filter(|d| !put_off(d)).map(|d| (*d).clone()));
            entry.text.clone_from(&text);
            entry.left_out = left_out;
            file.text = text;
        }
        if !changed {
            break;
        }
    }
    fixed.into_iter().flatten().collect()
}
