//! `struct tcp_info` of any length: what an older kernel lacks is absent, the rest is the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::sock_diag::tcp_info;

fuzz_target!(|bytes: &[u8]| {
    let Some(whole) = tcp_info(bytes) else {
        assert!(bytes.len() < 104, "struct tcp_info of 104 bytes is what every kernel since 3.10 gives");
        return;
    };
    let oldest = tcp_info(&bytes[..104]).expect("the first 104 bytes are enough");
    assert_eq!((oldest.rto_us, oldest.total_retrans), (whole.rto_us, whole.total_retrans));
    assert!(oldest.bytes_acked.is_none() && oldest.snd_wnd.is_none());
});
