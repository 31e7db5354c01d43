//! Files of sysctl.conf(5): any bytes are read without loss, judged, and mended once and for all.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_facts::{Role, Version};
use linger_lint::sysctl::parse::Document;
use linger_lint::sysctl::{Context, File, fix, lint};

fuzz_target!(|text: &[u8]| {
    let document = Document::parse(text);
    let mut at = 0;
    for piece in document.pieces() {
        assert!(piece.start == at && piece.end > at, "a gap, or an overlap, at {at}");
        at = piece.end;
    }
    assert_eq!(at, text.len());
    // The first byte chooses for whom: without it the text is the same file.
    let kernels = [None, Some(Version::new(3, 10)), Some(Version::new(6, 18))];
    let first = usize::from(text.first().copied().unwrap_or(0));
    let context = Context {
        kernel: kernels[first % 3],
        ram_bytes: (first % 2 == 0).then_some(64 << 30),
        role: (first % 5 == 0).then_some(Role::Proxy),
        ..Context::default()
    };
    let mut files = vec![File { name: "f".to_owned(), text: text.to_vec(), places: Vec::new() }];
    for diagnostic in lint(&files, &context) {
        assert!(diagnostic.line > 0 && diagnostic.column > 0 && diagnostic.end_column >= diagnostic.column);
    }
    if let Some(fixed) = fix(&files, &context).pop() {
        files[0].text = fixed.text;
        assert!(fix(&files, &context).is_empty(), "a second time changes more");
    }
});
