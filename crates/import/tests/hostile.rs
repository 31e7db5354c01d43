//! Whatever comes in: nothing panics, and what is read does not depend on how the bytes are cut.

use linger_import::{Feed, Imported, Options, Survey};
use proptest::prelude::*;

fn import(chunk: usize, text: &[u8]) -> Imported {
    let options = Options { sysctls: vec!["net.ipv4.tcp_tw_reuse"], idle_ms: 7_200_000, stuck_ms: 5000 };
    let mut survey = Survey::new(options);
    survey.begin("-");
    text.chunks(chunk).for_each(|bytes| survey.feed(bytes));
    survey.end();
    let again = |feed: &mut dyn FnMut(Feed<'_>)| -> Result<(), std::convert::Infallible> {
        feed(Feed::Begin("-"));
        text.chunks(chunk).for_each(|bytes| feed(Feed::Bytes(bytes)));
        feed(Feed::End);
        Ok(())
    };
    match survey.finish().run("-", 0, again) {
        Ok(imported) => imported,
        Err(never) => match never {},
    }
}

/// Every socket of the pieces that are used is counted in the table, once.
fn consistent(imported: &Imported) -> Result<(), TestCaseError> {
    let used = imported.account.pieces.iter().filter(|p| p.unused.is_empty());
    let used: Vec<_> = used.filter(|p| p.sockets > 0).collect();
    if let (Ok(table), false) = (&imported.snapshot.sockets, used.iter().any(|p| p.what == "lsof")) {
        let said: u64 = used.iter().map(|p| p.sockets).sum();
        let summary = said == 0;
        prop_assert!(summary || table.states.total() == said, "{} of {said}", table.states.total());
    }
    for piece in &imported.account.pieces {
        prop_assert!(piece.first_line <= piece.last_line, "{piece:?}");
    }
    Ok(())
}

/// A line or a part of one, as the programs write them.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\n".to_owned()),
        Just("\n".to_owned()),
        Just(" ".to_owned()),
        Just("\t".to_owned()),
        Just("\r\n".to_owned()),
        prop::sample::select(vec![
            "State      Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n",
            "Netid State Recv-Q Send-Q Local Address:Port\n",
            "Recv-Q Send-Q Local Address:Port\n",
            "$ ss -tan state time-wait\n",
            "# ip netns exec a ss -tan\n",
            "ESTAB 0 0 10.0.0.1:80 10.0.0.2:5555 ",
            "LISTEN 0 128 *:80 *:* ",
            "tcp LISTEN 0 128 [::]:80 [::]:* ",
            "ESTAB 0 0 10.0.0.1:80",
            "0 0 10.0.0.1:80 10.0.0.2:5555",
            "users:((\"a\",pid=1,fd=2),(\"b\",3,4))",
            "users:((\"",
            "\",pid=",
            "timer:(on,1min5sec,9)",
            "skmem:(r0,rb1,t0,tb1,f0,w0,o0,bl0,d4)",
            "ts sack rto:1.5 rtt:99999999999999999999/1 retrans:1/2",
            "ino:99999999999 sk:zz uid:1",
            "Proto Recv-Q Send-Q Local Address Foreign Address State\n",
            "tcp 0 0 10.0.0.1:80 10.0.0.2:5555 ESTABLISHED 12/nginx",
            "tcp6 0 0 :::22 :::* LISTEN",
            "  sl  local_address rem_address st\n",
            "0: 0100007F:1F90 0200000A:01BB 06 00000000:00000000 03:0000176F 00000000 0 0 0",
            "sockets: used 9\nTCP: inuse 1 orphan 0 tw 8 alloc 3 mem 130\n",
            "Tcp: A B\nTcp: 1 2\n",
            "Tcp:\n",
            "TcpExt: X\n",
            "    3 segments retransmitted\n",
            "#kernel\n",
            "TcpExtListenDrops 3 0.0",
            "{\"kernel\":{\"TcpInSegs\":5}}",
            "COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME\n",
            "a 1 root 3u IPv4 99 0t0 TCP *:22 (LISTEN)",
            "cpu=0 found=1 drop=18446744073709551615",
            "conntrack v1.4.7 (conntrack-tools): 5 flow entries have been shown.",
            "net.ipv4.tcp_tw_reuse = 2",
            "Linux h 6.1.0 #1",
            "Total: 25\nTCP: 1 (estab 1, closed 0, orphaned 0, timewait 3)\n",
            "Active Connections\n",
        ])
        .prop_map(str::to_owned),
        "[0-9]{1,22}",
        "[ -~]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_or_skipped(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        consistent(&import(333, &bytes))?;
    }

    #[test]
    fn likely_text_is_read_the_same_however_it_is_cut(words in prop::collection::vec(word(), 0..60), chunk in 1usize..200) {
        let text = words.concat();
        let whole = import(1 << 20, text.as_bytes());
        consistent(&whole)?;
        let cut = import(chunk, text.as_bytes());
        prop_assert_eq!(&whole.account, &cut.account);
        let states = |i: &Imported| i.snapshot.sockets.as_ref().map(|t| t.states).ok();
        prop_assert_eq!(states(&whole), states(&cut));
        prop_assert_eq!(whole.snapshot.counters, cut.snapshot.counters);
    }
}
