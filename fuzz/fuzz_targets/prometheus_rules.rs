//! Prometheus rule files: YAML, the PromQL in it, and the places that are reported.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_lint::prometheus::{Options, lint};

fuzz_target!(|bytes: &[u8]| {
    // As a file, and as an expression of a healthy one, so that both parsers are reached.
    hold(bytes);
    if let Ok(expr) = std::str::from_utf8(bytes) {
        let block = expr.replace('\n', "\n      ");
        hold(format!("groups:\n- name: a\n  rules:\n  - alert: A\n    expr: |\n      {block}\n").as_bytes());
    }
});

fn hold(bytes: &[u8]) {
    for found in lint("rules.yml", bytes, &Options::default()) {
        let line = bytes.split(|b| *b == b'\n').nth(found.line as usize - 1);
        let length = line.expect("a line of the file").len();
        assert!(1 <= found.column && found.column <= found.end_column, "{found:?}");
        assert!(found.end_column as usize <= length + 1, "{found:?}");
        for edit in found.fix.iter().flat_map(|fix| &fix.edits) {
            // What is replaced is a name, a state or a selector, on one line or several.
            assert!(edit.start < edit.end && edit.end <= bytes.len(), "{found:?}");
        }
    }
}
