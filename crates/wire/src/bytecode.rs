//! Filters as sock_diag bytecode (`INET_DIAG_BC_*`, run by `inet_diag_bc_run()` in net/ipv4/inet_diag.c), and the same
//! filters as a plain function, for sources that have no kernel to run them.

use linger_model::record::{Addr, SocketRecord};

/// Addresses by prefix: `10.0.0.0/8`, `fd00::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The network's address.
    pub addr: Addr,
    /// Length in bits, of the address's own family.
    pub length: u8,
}

impl Prefix {
    /// Whether an address lies in it. An IPv4 prefix also holds the v4-mapped form.
    pub fn holds(&self, addr: Addr) -> bool {
        if self.addr.is_v4() != addr.is_v4() {
            return false;
        }
        let length = if self.addr.is_v4() { 96 + u32::from(self.length) } else { u32::from(self.length) };
        let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
        let bits = |a: Addr| u128::from_be_bytes(*a.bytes());
        bits(addr) & mask == bits(self.addr) & mask
    }
}

/// A condition on a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Local address in the prefix.
    Src(Prefix),
    /// Peer address in the prefix.
    Dst(Prefix),
    /// Local port in the inclusive range.
    Sport(u16, u16),
    /// Peer port in the inclusive range.
    Dport(u16, u16),
    /// All of them.
    All(Vec<Filter>),
    /// At least one of them.
    Any(Vec<Filter>),
}

const JUMP: u8 = 1;
const SPORT_GE: u8 = 2;
const SPORT_LE: u8 = 3;
const DPORT_GE: u8 = 4;
const DPORT_LE: u8 = 5;
const SRC: u8 = 7;
const DST: u8 = 8;

impl Filter {
    /// Whether a socket passes.
    pub fn passes(&self, socket: &SocketRecord) -> bool {
        match self {
            Filter::Src(prefix) => prefix.holds(socket.src),
            Filter::Dst(prefix) => prefix.holds(socket.dst),
            Filter::Sport(from, to) => (*from..=*to).contains(&socket.sport),
            Filter::Dport(from, to) => (*from..=*to).contains(&socket.dport),
            Filter::All(all) => all.iter().all(|f| f.passes(socket)),
            Filter::Any(any) => any.iter().any(|f| f.passes(socket)),
        }
    }

    /// The bytecode. Empty for a filter that lets everything pass, and for one longer than a jump can span (64 KiB):
    /// the caller applies [`Filter::passes`] in any case.
    pub fn encode(&self) -> Vec<u8> {
        let code = self.code();
        if code.len() + 4 > usize::from(u16::MAX) { Vec::new() } else { code }
    }

    /// Every piece of code ends at its own end when it matches, and four bytes behind it when it does not.
    fn code(&self) -> Vec<u8> {
        match self {
            Filter::Src(prefix) => host(SRC, prefix),
            Filter::Dst(prefix) => host(DST, prefix),
            Filter::Sport(from, to) => ports(SPORT_GE, SPORT_LE, *from, *to),
            Filter::Dport(from, to) => ports(DPORT_GE, DPORT_LE, *from, *to),
            Filter::All(all) => all.iter().map(Filter::code).reduce(and).unwrap_or_default(),
            Filter::Any(any) => any.iter().map(Filter::code).reduce(or).unwrap_or_default(),
        }
    }
}

fn op(code: u8, yes: usize, no: usize) -> [u8; 4] {
    let no = (no as u16).to_ne_bytes();
    [code, yes as u8, no[0], no[1]]
}

fn host(code: u8, prefix: &Prefix) -> Vec<u8> {
    let bytes = prefix.addr.bytes();
    let (family, addr): (u8, &[u8]) = if prefix.addr.is_v4() { (2, &bytes[12..]) } else { (10, bytes) };
    // struct inet_diag_hostcond: family, prefix_len, (2 bytes of padding,) port as int (-1 for any), addr.
    let length = 4 + 8 + addr.len();
    let mut out = op(code, length, length + 4).to_vec();
    out.extend([family, prefix.length, 0, 0]);
    out.extend((-1i32).to_ne_bytes());
    out.extend(addr);
    out
}

fn ports(ge: u8, le: u8, from: u16, to: u16) -> Vec<u8> {
    let one = |code, port: u16| {
        let mut out = op(code, 8, 12).to_vec();
        out.extend(op(0, 0, usize::from(port)));
        out
    };
    and(one(ge, from), one(le, to))
}

/// The first one's failures must land behind the second's end.
fn and(mut first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
    let length = first.len();
    let mut at = 0;
    while at < length {
        let no = usize::from(u16::from_ne_bytes([first[at + 2], first[at + 3]]));
        if no == length - at + 4 {
            let further = ((no + second.len()) as u16).to_ne_bytes();
            first[at + 2..at + 4].copy_from_slice(&further);
        }
        at += usize::from(first[at + 1]).max(4);
    }
    first.extend(second);
    first
}

/// The first one's failures land four bytes behind its end, which is behind the jump that its success takes.
fn or(mut first: Vec<u8>, second: Vec<u8>) -> Vec<u8> {
    first.extend(op(JUMP, 4, second.len() + 4));
    first.extend(second);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::State;
    use linger_model::record::Family;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    /// Runs bytecode as the kernel does.
    fn run(code: &[u8], socket: &SocketRecord) -> bool {
        let mut at = 0usize;
        while let Some([kind, yes, no_low, no_high]) =
            code.get(at..at + 4).and_then(|b| <[u8; 4]>::try_from(b).ok())
        {
            let no = usize::from(u16::from_ne_bytes([no_low, no_high]));
            let port = crate::bytes::u16(code, at + 6).unwrap_or(0);
            let matched = match kind {
                SPORT_GE => socket.sport >= port,
                SPORT_LE => socket.sport <= port,
                DPORT_GE => socket.dport >= port,
                DPORT_LE => socket.dport <= port,
                SRC | DST => {
                    let addr = if kind == SRC { socket.src } else { socket.dst };
                    let length = code.get(at + 5).copied().unwrap_or(0);
                    let prefix = match code.get(at + 4) {
                        Some(2) => code.get(at + 12..at + 16).and_then(|b| b.try_into().ok()).map(Addr::v4),
                        _ => code.get(at + 12..at + 28).and_then(|b| b.try_into().ok()).map(Addr::v6),
                    };
                    // The kernel compares the socket's family first; an IPv6 condition never holds for an IPv4 socket.
                    let own_v4 = socket.family == Family::Ipv4;
                    prefix.is_some_and(|p| (p.is_v4() || !own_v4) && Prefix { addr: p, length }.holds(addr))
                }
                _ => false,
            };
            at += if matched { usize::from(yes).max(4) } else { no.max(4) };
        }
        at == code.len()
    }

    fn socket(src: u32, sport: u16, dst: u32, dport: u16) -> SocketRecord {
        let v4 = |n: u32| Addr::from(IpAddr::V4(Ipv4Addr::from(n)));
        SocketRecord::new(State::Established, v4(src), sport, v4(dst), dport)
    }

    fn leaf() -> impl Strategy<Value = Filter> {
        let prefix = (any::<u32>(), 0u8..=32)
            .prop_map(|(a, length)| Prefix { addr: Addr::from(Ipv4Addr::from(a & 0x0303_0303)), length });
        let range = (0u16..20, 0u16..20).prop_map(|(a, b)| (a.min(b), a.max(b)));
        prop_oneof![
            prefix.clone().prop_map(Filter::Src),
            prefix.prop_map(Filter::Dst),
            range.clone().prop_map(|(a, b)| Filter::Sport(a, b)),
            range.prop_map(|(a, b)| Filter::Dport(a, b)),
        ]
    }

    fn filter() -> impl Strategy<Value = Filter> {
        leaf().prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..4).prop_map(Filter::All),
                prop::collection::vec(inner, 1..4).prop_map(Filter::Any),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_bytecode_says_what_the_filter_says(
            filter in filter(), src in any::<u32>(), dst in any::<u32>(), sport in 0u16..20, dport in 0u16..20,
        ) {
            let socket = socket(src & 0x0303_0303, sport, dst & 0x0303_0303, dport);
            prop_assert_eq!(run(&filter.encode(), &socket), filter.passes(&socket), "{:?}", filter);
        }
    }

    #[test]
    fn prefixes_hold_what_they_should() {
        let p = |text: &str, length| Prefix { addr: text.parse::<IpAddr>().expect("address").into(), length };
        let a = |text: &str| Addr::from(text.parse::<IpAddr>().expect("address"));
        assert!(p("10.0.0.0", 8).holds(a("10.9.8.7")) && !p("10.0.0.0", 8).holds(a("11.0.0.1")));
        assert!(p("10.0.0.0", 8).holds(a("::ffff:10.1.1.1")));
        assert!(p("0.0.0.0", 0).holds(a("1.2.3.4")) && !p("0.0.0.0", 0).holds(a("fd00::1")));
        assert!(p("fd00::", 64).holds(a("fd00::5")) && !p("fd00::", 64).holds(a("fd00:0:0:1::5")));
    }
}
