//! One socket, as it streams past.

use crate::State;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 or IPv6 address in 16 bytes, IPv4 as its v4-mapped form: a v4-mapped IPv6 socket and an IPv4 socket
/// compete for the same ports, so they must be equal here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Addr([u8; 16]);

/// Two words instead of sixteen bytes with their length: addresses are hashed for every socket.
impl std::hash::Hash for Addr {
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let bits = u128::from_ne_bytes(self.0);
        state.write_u64(bits as u64);
        state.write_u64((bits >> 64) as u64);
    }
}

impl Addr {
    /// The unspecified IPv6 address, which a wildcard listener shows.
    pub const UNSPECIFIED: Addr = Addr([0; 16]);

    /// From the 4 network-order bytes of an IPv4 address.
    pub const fn v4(b: [u8; 4]) -> Addr {
        Addr([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]])
    }

    /// From the 16 network-order bytes of an IPv6 address.
    pub const fn v6(bytes: [u8; 16]) -> Addr {
        Addr(bytes)
    }

    /// The 16 bytes.
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The address as the standard library has it; v4-mapped ones as IPv4.
    pub fn ip(&self) -> IpAddr {
        let v6 = Ipv6Addr::from(self.0);
        v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
    }

    /// Whether this is an IPv4 address (or a v4-mapped one).
    pub fn is_v4(&self) -> bool {
        self.0[..12] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]
    }

    /// 127.0.0.0/8, ::1 or ::ffff:127.0.0.0/104: what `tcp_tw_reuse` = 2 takes for loopback
    /// (`tcp_twsk_unique()` in net/ipv4/tcp_ipv4.c).
    pub fn is_loopback(&self) -> bool {
        self.ip().is_loopback()
    }

    /// 0.0.0.0 or ::.
    pub fn is_unspecified(&self) -> bool {
        self.ip().is_unspecified()
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Addr {
        match ip {
            IpAddr::V4(v4) => Addr::v4(v4.octets()),
            IpAddr::V6(v6) => Addr::v6(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(ip: Ipv4Addr) -> Addr {
        Addr::v4(ip.octets())
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.ip(), f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text for a person's formats, the 16 bytes for others.
impl Serialize for Addr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Addr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Addr, D::Error> {
        struct Sixteen;
        impl serde::de::Visitor<'_> for Sixteen {
            type Value = Addr;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the 16 bytes of an address")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Addr, E> {
                bytes.try_into().map(Addr).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        if deserializer.is_human_readable() {
            return Ok(IpAddr::deserialize(deserializer)?.into());
        }
        deserializer.deserialize_bytes(Sixteen)
    }
}

/// Writes `10.0.0.1:443` or `[fd00::1]:443`; `*:443` for the unspecified IPv6 address, which takes IPv4 too unless the
/// socket is IPv6 only, and `0.0.0.0:443` for IPv4's.
pub fn endpoint(addr: Addr, port: u16) -> String {
    match addr.ip() {
        IpAddr::V6(ip) if ip.is_unspecified() => format!("*:{port}"),
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// The socket's own address family; a v4-mapped socket is IPv6 here while its addresses compare as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// AF_INET.
    Ipv4,
    /// AF_INET6.
    Ipv6,
}

/// What the socket's timer is for (`idiag_timer`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// Retransmission, early retransmit or tail-loss probe.
    Retransmit,
    /// Keep-alive, or FIN_WAIT2's of an orphan.
    KeepAlive,
    /// The rest of a minisocket's life.
    TimeWait,
    /// Zero-window probe.
    ZeroWindowProbe,
}

/// A running timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// What for.
    pub kind: TimerKind,
    /// Milliseconds until it fires.
    pub expires_ms: u32,
}

/// Memory of a socket (`INET_DIAG_SKMEMINFO`), bytes; and its drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SkMem {
    /// Bytes in the receive queue, overhead included.
    pub rmem_alloc: u32,
    /// Receive buffer limit.
    pub rcvbuf: u32,
    /// Bytes in the transmit queue, overhead included.
    pub wmem_queued: u32,
    /// Send buffer limit.
    pub sndbuf: u32,
    /// `sk_drops`: for a listener, connection requests dropped. Absent before 4.7.
    pub drops: Option<u32>,
}

/// The part of `struct tcp_info` (include/uapi/linux/tcp.h) that the rules use. Fields that a kernel may be too old
/// to fill are optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TcpInfo {
    /// `TCPI_OPT_*` bits.
    pub options: u8,
    /// Consecutive retransmissions of the segment at the head of the queue.
    pub retransmits: u8,
    /// Unanswered zero-window or keep-alive probes.
    pub probes: u8,
    /// Retransmission time-out.
    pub rto_us: u32,
    /// Bytes of data that a segment to the peer may carry: its MSS, less what the path and the options take.
    #[serde(default)]
    pub snd_mss: Option<u32>,
    /// Segments in flight.
    pub unacked: u32,
    /// Milliseconds since data was last sent.
    pub last_data_sent_ms: u32,
    /// Milliseconds since data was last received.
    pub last_data_recv_ms: u32,
    /// Milliseconds since an ACK was last received.
    pub last_ack_recv_ms: u32,
    /// Smoothed round-trip time.
    pub rtt_us: u32,
    /// Segments retransmitted over the connection's life.
    pub total_retrans: u32,
    /// Bytes sent and acknowledged (since 4.1).
    pub bytes_acked: Option<u64>,
    /// Bytes received (since 4.1).
    pub bytes_received: Option<u64>,
    /// Segments sent (since 4.2).
    pub segs_out: Option<u32>,
    /// Segments received (since 4.2).
    pub segs_in: Option<u32>,
    /// Bytes in the send queue that were never sent (since 4.6).
    pub notsent_bytes: Option<u32>,
    /// The window that the peer offers, bytes (since 5.4).
    pub snd_wnd: Option<u32>,
}

impl TcpInfo {
    /// Whether both sides agreed on timestamps (`TCPI_OPT_TIMESTAMPS`).
    pub fn timestamps(&self) -> bool {
        self.options & 1 != 0
    }

    /// Whether both sides agreed on selective acknowledgements (`TCPI_OPT_SACK`).
    pub fn sack(&self) -> bool {
        self.options & 2 != 0
    }

    /// Whether both sides agreed to scale windows (`TCPI_OPT_WSCALE`).
    pub fn window_scale(&self) -> bool {
        self.options & 4 != 0
    }
}

/// One socket as the kernel, or an import, gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRecord {
    /// The socket's family.
    pub family: Family,
    /// Its state; a bound-inactive socket has `BoundInactive`.
    pub state: State,
    /// Local address.
    pub src: Addr,
    /// Local port.
    pub sport: u16,
    /// Peer address; unspecified for listeners.
    pub dst: Addr,
    /// Peer port.
    pub dport: u16,
    /// Interface index that the socket is bound to, 0 for none.
    pub ifindex: u32,
    /// The kernel's cookie, unique while the host runs; a TIME_WAIT socket keeps its connection's.
    pub cookie: u64,
    /// The running timer, if any.
    pub timer: Option<Timer>,
    /// Retransmissions of the SYN-ACK (request sockets) or of the head of the queue.
    pub retransmits: u8,
    /// Receive queue: bytes unread (a FIN counts 1); for a listener, connections waiting for accept().
    pub rqueue: u32,
    /// Send queue: bytes not acknowledged; for a listener, the accept queue's limit.
    pub wqueue: u32,
    /// User id of the socket's owner; 0 for minisockets and request sockets.
    pub uid: u32,
    /// Inode; 0 when no process holds the socket.
    pub inode: u32,
    /// cgroup v2 id (since 5.7; full sockets only).
    pub cgroup_id: Option<u64>,
    /// SO_MARK, where the reader may see it.
    pub mark: Option<u32>,
    /// IPV6_V6ONLY of a listener.
    pub v6only: Option<bool>,
    /// Whether this is a subflow of an MPTCP connection.
    pub mptcp: bool,
    /// Memory and drops, where asked for.
    pub skmem: Option<SkMem>,
    /// tcp_info, where asked for.
    pub info: Option<TcpInfo>,
}

impl SocketRecord {
    /// A record with everything but addresses and state empty.
    pub fn new(state: State, src: Addr, sport: u16, dst: Addr, dport: u16) -> SocketRecord {
        SocketRecord {
            family: if src.is_v4() { Family::Ipv4 } else { Family::Ipv6 },
            state,
            src,
            sport,
            dst,
            dport,
            ifindex: 0,
            cookie: 0,
            timer: None,
            retransmits: 0,
            rqueue: 0,
            wqueue: 0,
            uid: 0,
            inode: 0,
            cgroup_id: None,
            mark: None,
            v6only: None,
            mptcp: false,
            skmem: None,
            info: None,
        }
    }

    /// Whether this is a minisocket (`struct inet_timewait_sock`): TIME_WAIT, or FIN_WAIT2 in its second part.
    pub fn is_minisocket(&self) -> bool {
        matches!(self.timer, Some(Timer { kind: TimerKind::TimeWait, .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_equals_its_v4_form() {
        let v4: Addr = "127.0.0.1".parse::<IpAddr>().expect("address").into();
        let mapped: Addr = "::ffff:127.0.0.1".parse::<IpAddr>().expect("address").into();
        assert_eq!(v4, mapped);
        assert!(v4.is_loopback() && v4.is_v4());
        assert_eq!(mapped.to_string(), "127.0.0.1");
        assert_eq!(endpoint(Addr::UNSPECIFIED, 80), "*:80");
        assert_eq!(endpoint(Ipv4Addr::UNSPECIFIED.into(), 80), "0.0.0.0:80");
        assert_eq!(endpoint("fd00::1".parse::<IpAddr>().expect("address").into(), 80), "[fd00::1]:80");
    }
}
