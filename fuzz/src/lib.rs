//! What the targets share.

use linger_import::{Feed, Options, Survey};

/// Imports a text below a heading that says what it is. Its first byte says in how large pieces it comes.
pub fn import_below(heading: &str, bytes: &[u8]) {
    import("-", heading, bytes);
}

/// Imports a text of this name, below a heading, through both passes. Its first byte says in how large pieces it comes.
pub fn import(name: &str, heading: &str, bytes: &[u8]) {
    let Some((size, text)) = bytes.split_first() else { return };
    let size = usize::from(*size) * 16 + 1;
    let text = [heading.as_bytes(), text].concat();
    let sysctls = vec!["net.ipv4.tcp_tw_reuse", "net.ipv4.ip_local_port_range"];
    let mut survey = Survey::new(Options { sysctls, idle_ms: 1, stuck_ms: 1 });
    survey.begin(name);
    text.chunks(size).for_each(|bytes| survey.feed(bytes));
    survey.end();
    let imported = survey.finish().run("-", 0, |feed| {
        feed(Feed::Begin(name));
        text.chunks(size).for_each(|bytes| feed(Feed::Bytes(bytes)));
        feed(Feed::End);
        Ok::<(), std::convert::Infallible>(())
    });
    let Ok(imported) = imported;
    for piece in &imported.account.pieces {
        assert!(piece.first_line <= piece.last_line);
    }
}
