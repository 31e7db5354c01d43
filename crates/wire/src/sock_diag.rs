//! inet_diag requests and answers (include/uapi/linux/inet_diag.h), and `struct tcp_info`
//! (include/uapi/linux/tcp.h).

use crate::bytecode::Filter;
use crate::netlink::{self, Attributes};
use crate::{Malformed, bytes};
use linger_model::State;
use linger_model::record::{Addr, Family, SkMem, SocketRecord, TcpInfo, Timer, TimerKind};

/// `TCPDIAG_GETSOCK`: the older request, which walks IPv4 and IPv6 in one pass.
pub const TCPDIAG_GETSOCK: u16 = 18;
/// `SOCK_DIAG_BY_FAMILY`: asks for one socket, or for those of one family.
pub const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `SOCK_DESTROY` (since 4.5): ends one socket.
pub const SOCK_DESTROY: u16 = 21;
const IPPROTO_TCP: u8 = 6;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const FIXED: usize = 72;
const REQ_BYTECODE: u16 = 1;

const INFO: u16 = 2;
const SKMEMINFO: u16 = 7;
const SKV6ONLY: u16 = 11;
const MARK: u16 = 15;
const ULP_INFO: u16 = 19;
const CGROUP_ID: u16 = 21;

/// Further data to ask for with each socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// `tcp_info`; also tells MPTCP's subflows.
    pub info: bool,
    /// Memory, and drops.
    pub skmeminfo: bool,
}

impl Extensions {
    /// Nothing further.
    pub const NONE: Extensions = Extensions { info: false, skmeminfo: false };
    /// Everything that [`parse`] reads.
    pub const ALL: Extensions = Extensions { info: true, skmeminfo: true };
}

/// Asks for every TCP socket, of both families in one walk, whose state's bit is set and which the filter lets pass.
///
/// The walk visits every bucket of the established-hash table in any case; masked states and filtered sockets save
/// their copying.
pub fn request(states: u32, extensions: Extensions, filter: Option<&Filter>, sequence: u32) -> Vec<u8> {
    // struct inet_diag_req: family, src_len, dst_len, ext; id (48 bytes); states; dbs.
    let mut fixed = [0u8; 60];
    let bit = |attribute: u16| 1u8 << (attribute - 1);
    fixed[3] =
        if extensions.info { bit(INFO) } else { 0 } | if extensions.skmeminfo { bit(SKMEMINFO) } else { 0 };
    fixed[52..56].copy_from_slice(&states.to_ne_bytes());
    let code = filter.map(Filter::encode).unwrap_or_default();
    let attributes: &[(u16, &[u8])] = if code.is_empty() { &[] } else { &[(REQ_BYTECODE, &code)] };
    netlink::encode(TCPDIAG_GETSOCK, netlink::REQUEST_DUMP, sequence, &fixed, attributes)
}

/// What a request about one socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum One {
    /// To be told of it; the answer is for [`parse`].
    Look,
    /// To have it destroyed; the answer is an acknowledgement, or an errno.
    Destroy,
}

/// Asks about the one socket with this record's addresses, ports, interface *and cookie*, which no other socket of the
/// machine ever has, before or after.
///
/// `None` for a record without a cookie, such as one of `/proc/net/tcp`: the kernel's lookup would take whatever has the
/// addresses, a listener if there is nothing else (`inet_diag_find_one_icsk()` in net/ipv4/inet_diag.c).
pub fn one(what: One, socket: &SocketRecord, sequence: u32) -> Option<Vec<u8>> {
    // INET_DIAG_NOCOOKIE, in both halves, means any socket; the kernel gives cookies from 1 on.
    if matches!(socket.cookie, 0 | u64::MAX) {
        return None;
    }
    // struct inet_diag_req_v2: family, protocol, ext, pad; states; id: ports, addresses, interface, cookie.
    let mut fixed = [0u8; 56];
    fixed[1] = IPPROTO_TCP;
    fixed[4..8].copy_from_slice(&u32::MAX.to_ne_bytes());
    fixed[8..10].copy_from_slice(&socket.sport.to_be_bytes());
    fixed[10..12].copy_from_slice(&socket.dport.to_be_bytes());
    for (at, addr) in [(12, socket.src), (28, socket.dst)] {
        match socket.family {
            Family::Ipv4 => fixed[at..at + 4].copy_from_slice(&addr.bytes()[12..]),
            Family::Ipv6 => fixed[at..at + 16].copy_from_slice(addr.bytes()),
        }
    }
    fixed[0] = match socket.family {
        Family::Ipv4 => AF_INET,
        Family::Ipv6 => AF_INET6,
    };
    fixed[44..48].copy_from_slice(&socket.ifindex.to_ne_bytes());
    fixed[48..52].copy_from_slice(&(socket.cookie as u32).to_ne_bytes());
    fixed[52..56].copy_from_slice(&((socket.cookie >> 32) as u32).to_ne_bytes());
    let (kind, flags) = match what {
        One::Look => (SOCK_DIAG_BY_FAMILY, netlink::REQUEST),
        One::Destroy => (SOCK_DESTROY, netlink::REQUEST_ACK),
    };
    Some(netlink::encode(kind, flags, sequence, &fixed, &[]))
}

/// Reads one `struct inet_diag_msg` with its attributes.
#[inline]
pub fn parse(body: &[u8]) -> Result<SocketRecord, Malformed> {
    let bad = |detail: String| Malformed::new("sock_diag record", detail);
    let Some((fixed, attributes)) = body.split_first_chunk::<FIXED>() else {
        return Err(bad(format!("{} bytes, at least {FIXED} expected", body.len())));
    };
    let family = match fixed[0] {
        AF_INET => Family::Ipv4,
        AF_INET6 => Family::Ipv6,
        other => return Err(bad(format!("address family {other}"))),
    };
    let address = |at: usize| -> Addr {
        match family {
            Family::Ipv4 => Addr::v4([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]),
            Family::Ipv6 => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&fixed[at..at + 16]);
                Addr::v6(bytes)
            }
        }
    };
    let word = |at: usize| u32::from_ne_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let port = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let (sport, dport) = (port(4), port(6));
    // A bound socket that neither listens nor is connected comes back as CLOSE; no other closed socket has a port.
    let state = match State::from_kernel(fixed[1]).ok_or_else(|| bad(format!("state {}", fixed[1])))? {
        State::Close if sport != 0 && dport == 0 => State::BoundInactive,
        state => state,
    };
    let kind = match fixed[2] {
        1 => Some(TimerKind::Retransmit),
        2 => Some(TimerKind::KeepAlive),
        3 => Some(TimerKind::TimeWait),
        4 => Some(TimerKind::ZeroWindowProbe),
        _ => None,
    };
    let mut record = SocketRecord {
        family,
        state,
        src: address(8),
        sport,
        dst: address(24),
        dport,
        ifindex: word(40),
        cookie: u64::from(word(44)) | u64::from(word(48)) << 32,
        timer: kind.map(|kind| Timer { kind, expires_ms: word(52) }),
        retransmits: fixed[3],
        rqueue: word(56),
        wqueue: word(60),
        uid: word(64),
        inode: word(68),
        cgroup_id: None,
        mark: None,
        v6only: None,
        mptcp: false,
        skmem: None,
        info: None,
    };
    for (kind, value) in Attributes::new(attributes) {
        match kind {
            INFO => record.info = tcp_info(value),
            SKMEMINFO => record.skmem = skmem(value),
            SKV6ONLY => record.v6only = value.first().map(|v| *v != 0),
            MARK => record.mark = bytes::u32(value, 0),
            CGROUP_ID => record.cgroup_id = bytes::u64(value, 0),
            // INET_ULP_INFO_NAME (1): a string, `mptcp` for a subflow.
            ULP_INFO => {
                record.mptcp =
                    Attributes::new(value).any(|(kind, name)| kind == 1 && name.starts_with(b"mptcp"));
            }
            _ => {}
        }
    }
    Ok(record)
}

fn skmem(value: &[u8]) -> Option<SkMem> {
    Some(SkMem {
        rmem_alloc: bytes::u32(value, 0)?,
        rcvbuf: bytes::u32(value, 4)?,
        sndbuf: bytes::u32(value, 12)?,
        wmem_queued: bytes::u32(value, 20)?,
        drops: bytes::u32(value, 32),
    })
}

/// Reads `struct tcp_info`; older kernels give a shorter one, and what they lack stays absent.
pub fn tcp_info(b: &[u8]) -> Option<TcpInfo> {
    Some(TcpInfo {
        retransmits: *b.get(2)?,
        probes: *b.get(3)?,
        options: *b.get(5)?,
        rto_us: bytes::u32(b, 8)?,
        snd_mss: bytes::u32(b, 16),
        unacked: bytes::u32(b, 24)?,
        last_data_sent_ms: bytes::u32(b, 44)?,
        last_data_recv_ms: bytes::u32(b, 52)?,
        last_ack_recv_ms: bytes::u32(b, 56)?,
        rtt_us: bytes::u32(b, 68)?,
        total_retrans: bytes::u32(b, 100)?,
        bytes_acked: bytes::u64(b, 120),
        bytes_received: bytes::u64(b, 128),
        segs_out: bytes::u32(b, 136),
        segs_in: bytes::u32(b, 140),
        notsent_bytes: bytes::u32(b, 144),
        snd_wnd: bytes::u32(b, 228),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(state: u8, timer: u8) -> Vec<u8> {
        let mut b = vec![0u8; FIXED];
        (b[0], b[1], b[2], b[3]) = (AF_INET, state, timer, 2);
        b[4..6].copy_from_slice(&40000u16.to_be_bytes());
        b[6..8].copy_from_slice(&443u16.to_be_bytes());
        b[8..12].copy_from_slice(&[10, 0, 0, 1]);
        b[24..28].copy_from_slice(&[10, 0, 0, 2]);
        b[44..48].copy_from_slice(&0x0504_0302u32.to_ne_bytes());
        b[48..52].copy_from_slice(&1u32.to_ne_bytes());
        b[52..56].copy_from_slice(&59_000u32.to_ne_bytes());
        b[68..72].copy_from_slice(&77u32.to_ne_bytes());
        b
    }

    #[test]
    fn a_time_wait_record_keeps_its_remaining_time_and_cookie() {
        let socket = parse(&record(6, 3)).expect("a record");
        assert_eq!((socket.state, socket.sport, socket.dport), (State::TimeWait, 40000, 443));
        assert_eq!(socket.timer, Some(Timer { kind: TimerKind::TimeWait, expires_ms: 59_000 }));
        assert_eq!((socket.cookie, socket.inode, socket.retransmits), (0x1_0504_0302, 77, 2));
        assert!(socket.is_minisocket() && socket.dst.to_string() == "10.0.0.2");
    }

    /// What a request about one socket names, read as the kernel does.
    fn named(request: &[u8]) -> (u16, u16, u8, u8, u64) {
        let mut messages = netlink::Messages::new(request);
        let Some(Ok(netlink::Message::Payload { kind, body, .. })) = messages.next() else {
            panic!("{request:?}")
        };
        assert!(messages.next().is_none() && body.len() == 56);
        let flags = bytes::u16(request, 6).expect("flags");
        let cookie = bytes::u64(body, 48).expect("a cookie");
        (kind, flags, body[0], body[1], cookie)
    }

    #[test]
    fn a_request_about_one_socket_names_its_cookie() {
        let socket = parse(&record(8, 0)).expect("a record");
        let destroy = one(One::Destroy, &socket, 3).expect("a request");
        assert_eq!(named(&destroy), (SOCK_DESTROY, 0x5, AF_INET, IPPROTO_TCP, socket.cookie));
        // The same 48 bytes that the kernel told of the socket.
        assert_eq!(destroy[16 + 8..16 + 56], record(8, 0)[4..52]);
        let look = one(One::Look, &socket, 3).expect("a request");
        assert_eq!(named(&look).0, SOCK_DIAG_BY_FAMILY);
        assert_eq!(look[16..], destroy[16..]);
        // Whatever has these addresses: that is never asked for.
        for cookie in [0, u64::MAX] {
            let nameless = SocketRecord { cookie, ..socket.clone() };
            assert_eq!((one(One::Look, &nameless, 1), one(One::Destroy, &nameless, 1)), (None, None));
        }
    }

    #[test]
    fn a_bound_socket_that_is_closed_is_bound_inactive() {
        let mut bytes = record(7, 0);
        bytes[6..8].fill(0);
        assert_eq!(parse(&bytes).expect("a record").state, State::BoundInactive);
        assert_eq!(parse(&record(12, 1)).expect("a record").state, State::SynRecv);
    }

    #[test]
    fn attributes_are_read() {
        let mut bytes = record(1, 0);
        let mut push = |kind: u16, value: &[u8]| {
            bytes.extend((value.len() as u16 + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        };
        let mut info = [0u8; 104];
        info[5] = 1;
        info[56..60].copy_from_slice(&1234u32.to_ne_bytes());
        push(INFO, &info);
        push(SKMEMINFO, &[7; 36]);
        push(CGROUP_ID, &42u64.to_ne_bytes());
        push(ULP_INFO, &[10, 0, 1, 0, b'm', b'p', b't', b'c', b'p', 0]);
        let socket = parse(&bytes).expect("a record");
        let info = socket.info.expect("tcp_info");
        assert!(info.timestamps() && info.last_ack_recv_ms == 1234 && info.segs_out.is_none());
        assert_eq!(socket.skmem.expect("skmem").drops, Some(0x0707_0707));
        assert_eq!((socket.cgroup_id, socket.mptcp), (Some(42), true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
            let _ = tcp_info(&bytes);
        }

        #[test]
        fn what_the_kernel_told_of_a_socket_is_what_it_is_asked_for(
            family in prop_oneof![Just(AF_INET), Just(AF_INET6)], state in 1u8..13,
            id in prop::collection::vec(any::<u8>(), 48),
        ) {
            let mut told = record(state, 0);
            told[0] = family;
            told[4..52].copy_from_slice(&id);
            if family == AF_INET {
                told[12..24].fill(0);
                told[28..40].fill(0);
            }
            let socket = parse(&told).expect("a record");
            match one(One::Destroy, &socket, 1) {
                Some(asked) => {
                    prop_assert_eq!(&asked[16 + 8..], &told[4..52]);
                    prop_assert_eq!(asked[16], family);
                }
                None => prop_assert!(matches!(socket.cookie, 0 | u64::MAX)),
            }
        }

        #[test]
        fn any_tail_is_survived(state in 0u8..16, timer in 0u8..6, tail in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = record(state, timer);
            bytes.extend(tail);
            let _ = parse(&bytes);
        }
    }
}
