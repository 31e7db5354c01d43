//! Foreign text of any kind, through both passes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_import::{Feed, Options, Survey};

fuzz_target!(|bytes: &[u8]| {
    // The first byte says in how large pieces the rest comes.
    let Some((size, text)) = bytes.split_first() else { return };
    let size = usize::from(*size) * 16 + 1;
    let mut survey = Survey::new(Options { sysctls: vec!["net.ipv4.tcp_tw_reuse"], idle_ms: 1, stuck_ms: 1 });
    survey.begin("ss_-tan");
    text.chunks(size).for_each(|bytes| survey.feed(bytes));
    survey.end();
    let imported = survey.finish().run("-", 0, |feed| {
        feed(Feed::Begin("ss_-tan"));
        text.chunks(size).for_each(|bytes| feed(Feed::Bytes(bytes)));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(imported) = imported;
    for piece in &imported.account.pieces {
        assert!(piece.first_line <= piece.last_line);
    }
});
