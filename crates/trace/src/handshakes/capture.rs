//! A packet socket that the kernel gives SYN and SYN-ACK packets, and no others.

use crate::error::{Error, Kind};
use linger_model::Addr;
use linger_netns::{Netns, run_in};
use linger_wire::handshake::{Handshake, parse};
use std::collections::HashSet;
use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Bytes of a packet that are looked at: the longest IPv4 header and the longest TCP header.
const LONGEST: usize = 120;
/// Bytes of packets that may wait to be read.
static WAITING: libc::c_int = 8 * 1024 * 1024;

/// `SKF_AD_OFF + SKF_AD_PROTOCOL` (include/uapi/linux/filter.h).
const PROTOCOL: u32 = -0x1000i32 as u32;
const LD: u16 = 0x00;
const LDX: u16 = 0x01;
const ALU: u16 = 0x04;
const JMP: u16 = 0x05;
const RET: u16 = 0x06;
const W: u16 = 0x00;
const H: u16 = 0x08;
const B: u16 = 0x10;
const ABS: u16 = 0x20;
const IND: u16 = 0x40;
const MSH: u16 = 0xa0;
const AND: u16 = 0x50;
const JEQ: u16 = 0x10;
const JSET: u16 = 0x40;

const fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// TCP with SYN and without RST or FIN, in the first fragment of IPv4 or right behind an IPv6 header.
const FILTER: [libc::sock_filter; 18] = [
    op(LD | W | ABS, 0, 0, PROTOCOL),
    op(JMP | JEQ, 0, 7, libc::ETH_P_IP as u32),
    op(LD | B | ABS, 0, 0, 9),
    op(JMP | JEQ, 0, 13, libc::IPPROTO_TCP as u32),
    op(LD | H | ABS, 0, 0, 6),
    op(JMP | JSET, 11, 0, 0x1fff),
    op(LDX | B | MSH, 0, 0, 0),
    op(LD | B | IND, 0, 0, 13),
    op(JMP, 0, 0, 5),
    op(JMP | JEQ, 0, 7, libc::ETH_P_IPV6 as u32),
    op(LD | B | ABS, 0, 0, 6),
    op(JMP | JEQ, 0, 5, libc::IPPROTO_TCP as u32),
    op(LD | B | ABS, 0, 0, 53),
    op(JMP, 0, 0, 0),
    op(ALU | AND, 0, 0, 0x07),
    op(JMP | JEQ, 0, 1, 0x02),
    op(RET, 0, 0, LONGEST as u32),
    op(RET, 0, 0, 0),
];

/// The SYN and SYN-ACK packets of one network namespace, as they come and go.
#[derive(Debug)]
pub struct Capture {
    socket: OwnedFd,
    lost: u64,
    own: HashSet<Addr>,
}

impl Capture {
    /// Begins.
    ///
    /// # Errors
    /// Denied without CAP_NET_RAW; unsupported without packet sockets (`CONFIG_PACKET`).
    pub fn start(ns: &Netns) -> Result<Capture, Error> {
        let opened = run_in(ns, || Ok((open()?, addresses().map_err(|e| ("list addresses", e))?)));
        let (socket, own) = opened
            .map_err(|e| Error::new("see packets", Kind::Denied, e.to_string(), ""))?
            .map_err(|(operation, error)| refused(operation, &error))?;
        Ok(Capture { socket, lost: 0, own })
    }

    /// Lists the namespace's addresses again.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub fn refresh(&mut self, ns: &Netns) -> Result<(), Error> {
        let listed = run_in(ns, addresses).map_err(|e| refused("list addresses", &io::Error::other(e)))?;
        self.own = listed.map_err(|e| refused("list addresses", &e))?;
        Ok(())
    }

    /// Gives those that wait to `each`, with whether they leave this host; never waits. What is only forwarded is left
    /// out: neither end of it is here.
    ///
    /// # Errors
    /// Those of recvfrom(2).
    pub fn take(&mut self, mut each: impl FnMut(bool, &Handshake)) -> Result<(), Error> {
        let mut packet = [0u8; LONGEST];
        loop {
            // SAFETY: all zero is a value of this plain struct.
            let mut from: libc::sockaddr_ll = unsafe { zeroed() };
            let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: the buffers are this function's and as long as is said.
            let received = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    libc::MSG_DONTWAIT,
                    (&raw mut from).cast(),
                    &raw mut length,
                )
            };
            let Ok(received) = usize::try_from(received) else {
                let error = io::Error::last_os_error();
                match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(()),
                    // An interface went down: a packet socket tells it once.
                    Some(libc::EINTR | libc::ENETDOWN) => continue,
                    _ => return Err(refused("receive packets", &error)),
                }
            };
            let Some(handshake) = packet.get(..received).and_then(parse) else { continue };
            let leaves = from.sll_pkttype == libc::PACKET_OUTGOING;
            let here = if leaves { handshake.src } else { handshake.dst };
            if self.own.contains(&here) || here.is_loopback() {
                each(leaves, &handshake);
            }
        }
    }

    /// Packets that did not fit into the buffer so far.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn lost(&mut self) -> Result<u64, Error> {
        // SAFETY: all zero is a value of this plain struct.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the buffer is this function's and as long as is said.
        let done = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if done != 0 {
            return Err(refused("count lost packets", &io::Error::last_os_error()));
        }
        // Reading sets it back to 0.
        self.lost += u64::from(stats.tp_drops);
        Ok(self.lost)
    }
}

fn refused(operation: &str, error: &io::Error) -> Error {
    let (kind, hint) = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => (Kind::Denied, "run as root, or with CAP_NET_RAW"),
        Some(libc::ENOMEM | libc::ENOBUFS | libc::EMFILE | libc::ENFILE) => (Kind::Exhausted, ""),
        Some(libc::EAFNOSUPPORT) => {
            (Kind::Unsupported, "the kernel needs CONFIG_PACKET (modprobe af_packet)")
        }
        _ => (Kind::Unsupported, ""),
    };
    Error::new(operation, kind, error.to_string(), hint)
}

/// In the calling thread's namespace.
fn open() -> Result<OwnedFd, (&'static str, io::Error)> {
    let check = |operation, result: libc::c_int| match result {
        0.. => Ok(result),
        _ => Err((operation, io::Error::last_os_error())),
    };
    // Of no protocol: nothing comes before the filter is there.
    // SAFETY: no pointer is given.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let fd = check("open a packet socket", fd)?;
    // SAFETY: it was opened just now, and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let program = libc::sock_fprog { len: FILTER.len() as u16, filter: FILTER.as_ptr().cast_mut() };
    let set = |level, option, value: *const libc::c_void, length: usize| {
        // SAFETY: both callers give a pointer to what they own, and its length; the kernel only reads it.
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length as libc::socklen_t) }
    };
    let pointer = (&raw const program).cast();
    let attached = set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, pointer, size_of::<libc::sock_fprog>());
    check("filter packets", attached)?;
    // Without CAP_NET_ADMIN it stays as it is; what does not fit is counted.
    let pointer = (&raw const WAITING).cast();
    let _ = set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, pointer, size_of::<libc::c_int>());
    // SAFETY: all zero is a value of this plain struct: every interface.
    let mut every: libc::sockaddr_ll = unsafe { zeroed() };
    every.sll_family = libc::AF_PACKET as u16;
    every.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the address is this function's and as long as is said.
    let bound = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const every).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check("see packets", bound)?;
    Ok(socket)
}

/// The addresses of the calling thread's namespace.
fn addresses() -> io::Result<HashSet<Addr>> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is to be filled in.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = HashSet::new();
    let mut at = first;
    // SAFETY: the list is whole, and nobody else's, until it is freed below.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: an address is absent or has a family.
        match unsafe { entry.ifa_addr.as_ref() }.map(|a| i32::from(a.sa_family)) {
            Some(libc::AF_INET) => {
                // SAFETY: that is what this family's addresses are.
                let v4 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
                found.insert(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into());
            }
            Some(libc::AF_INET6) => {
                // SAFETY: as above.
                let v6 = unsafe { entry.ifa_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
                found.insert(Addr::v6(Ipv6Addr::from(v6.sin6_addr.s6_addr).octets()));
            }
            _ => {}
        }
    }
    // SAFETY: getifaddrs() gave it, and nothing points into it any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}
