//! Datagrams from the kernel: framing and attributes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linger_wire::netlink::{Attributes, Message, Messages, encode};

fuzz_target!(|datagram: &[u8]| {
    let mut left = datagram.len();
    let mut refused = false;
    for message in Messages::new(datagram) {
        assert!(!refused, "a message after one that could not be read");
        match message {
            Err(_) => refused = true,
            Ok(Message::Payload { kind, body, .. }) => {
                left =
                    left.checked_sub(16 + body.len()).expect("bodies lie within the datagram, side by side");
                let all = Attributes::new(body).map(|(_, value)| 4 + value.len()).sum::<usize>();
                assert!(all <= body.len(), "attributes lie within the body, side by side");
                let again = encode(kind, 0, 1, body, &[]);
                let read = Messages::new(&again).next();
                assert!(
                    matches!(read, Some(Ok(_))),
                    "{read:?}: what was encoded is not read back from {again:?}"
                );
            }
            Ok(Message::Done(_) | Message::Error(_)) => {}
        }
    }
});
