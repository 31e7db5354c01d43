//! Filters as bytecode: the kernel must take what is encoded, and must not lose a socket that passes.
#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use linger_model::State;
use linger_model::record::{Addr, Family, SocketRecord};
use linger_wire::bytecode::{Filter, Prefix};

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    if let (Ok(filter), Ok(socket)) = (filter(&mut input, 4), socket(&mut input)) {
        check(&filter, &socket);
    }
});

fn check(filter: &Filter, socket: &SocketRecord) {
    let code = filter.encode();
    if code.is_empty() {
        return;
    }
    assert!(audit(&code), "the kernel refuses {code:?} of {filter:?}");
    let (taken, passes) = (run(&code, socket), filter.passes(socket));
    assert!(taken || !passes, "the kernel drops {socket:?}, which passes {filter:?}");
    // An IPv6 prefix holds v4-mapped addresses for the kernel alone: it may then give more, which is dropped later.
    if socket.family == Family::Ipv4 {
        assert_eq!(taken, passes, "{socket:?} and {filter:?}");
    }
}

/// Few addresses, so that prefixes and sockets meet.
fn addr(input: &mut Unstructured<'_>, v4: bool) -> Result<Addr> {
    let low: [u8; 4] = input.arbitrary()?;
    if v4 {
        return Ok(Addr::v4(low));
    }
    let mut bytes = [0; 16];
    bytes[12..].copy_from_slice(&low);
    if input.arbitrary()? {
        bytes[..2].copy_from_slice(&[0xfd, low[0]]);
    }
    if input.ratio(1, 4)? {
        bytes[10..12].copy_from_slice(&[0xff, 0xff]);
    }
    Ok(Addr::v6(bytes))
}

fn socket(input: &mut Unstructured<'_>) -> Result<SocketRecord> {
    let v4 = input.arbitrary()?;
    let (src, dst) = (addr(input, v4)?, addr(input, v4)?);
    let mut socket = SocketRecord::new(State::Established, src, input.arbitrary()?, dst, input.arbitrary()?);
    socket.family = if v4 { Family::Ipv4 } else { Family::Ipv6 };
    Ok(socket)
}

fn filter(input: &mut Unstructured<'_>, depth: u8) -> Result<Filter> {
    let kinds = if depth == 0 { 3 } else { 5 };
    Ok(match input.int_in_range(0..=kinds)? {
        0 => Filter::Src(prefix(input)?),
        1 => Filter::Dst(prefix(input)?),
        2 => Filter::Sport(input.arbitrary()?, input.arbitrary()?),
        3 => Filter::Dport(input.arbitrary()?, input.arbitrary()?),
        4 => Filter::All(filters(input, depth - 1)?),
        _ => Filter::Any(filters(input, depth - 1)?),
    })
}

fn filters(input: &mut Unstructured<'_>, depth: u8) -> Result<Vec<Filter>> {
    let n = input.int_in_range(1..=4)?;
    (0..n).map(|_| filter(input, depth)).collect()
}

fn prefix(input: &mut Unstructured<'_>) -> Result<Prefix> {
    let v4 = input.arbitrary()?;
    let addr = addr(input, v4)?;
    let length = input.int_in_range(0..=if addr.is_v4() { 32 } else { 128 })?;
    Ok(Prefix { addr, length })
}

/// An operation's code, `yes` and `no`.
fn op(code: &[u8], at: usize) -> Option<(u8, usize, usize)> {
    let b = code.get(at..at + 4)?;
    Some((b[0], usize::from(b[1]), usize::from(u16::from_ne_bytes([b[2], b[3]]))))
}

/// `inet_diag_bc_audit()` of net/ipv4/inet_diag.c (6.1), for the operations that linger uses.
fn audit(code: &[u8]) -> bool {
    let mut at = 0;
    while at < code.len() {
        let left = code.len() - at;
        let Some((kind, yes, no)) = op(code, at) else { return false };
        let least = match kind {
            1 => 4,
            2..=5 => 8,
            7 | 8 => match code.get(at + 4) {
                Some(2) => 16,
                Some(10) => 28,
                _ => return false,
            },
            _ => return false,
        };
        let lands = |jump: usize| jump.is_multiple_of(4) && jump <= left + 4;
        if left < least || no < least || !lands(no) || (no < left && !reaches(code, at + no)) {
            return false;
        }
        if yes < least || !lands(yes) {
            return false;
        }
        at += yes;
    }
    at == code.len()
}

/// `valid_cc()`: whether the chain of `yes` comes by this place.
fn reaches(code: &[u8], place: usize) -> bool {
    let mut at = 0;
    while at < place {
        match op(code, at) {
            Some((_, yes, _)) if yes >= 4 && yes.is_multiple_of(4) => at += yes,
            _ => return false,
        }
    }
    at == place
}

/// `inet_diag_bc_run()`.
fn run(code: &[u8], socket: &SocketRecord) -> bool {
    let mut at = 0;
    while at < code.len() {
        let (kind, yes, no) = op(code, at).expect("audited");
        let port = || u16::from_ne_bytes([code[at + 6], code[at + 7]]);
        let taken = match kind {
            1 => false,
            2 => socket.sport >= port(),
            3 => socket.sport <= port(),
            4 => socket.dport >= port(),
            5 => socket.dport <= port(),
            7 => host(&code[at + 4..], socket.family, socket.src),
            _ => host(&code[at + 4..], socket.family, socket.dst),
        };
        at += if taken { yes } else { no };
    }
    at == code.len()
}

/// `struct inet_diag_hostcond`: family, length, padding, port, address.
fn host(condition: &[u8], family: Family, addr: Addr) -> bool {
    let of = if condition[0] == 2 { Family::Ipv4 } else { Family::Ipv6 };
    let (length, wanted) = (u32::from(condition[1]), &condition[8..]);
    let bytes = addr.bytes();
    let starts = |bytes: &[u8]| {
        (0..length).all(|bit| {
            let (byte, mask) = (bit as usize / 8, 0x80u8 >> (bit % 8));
            (bytes[byte] ^ wanted[byte]) & mask == 0
        })
    };
    match (of, family) {
        (Family::Ipv4, Family::Ipv4) => starts(&bytes[12..]),
        (Family::Ipv4, Family::Ipv6) => addr.is_v4() && starts(&bytes[12..]),
        (Family::Ipv6, Family::Ipv6) => starts(bytes),
        (Family::Ipv6, Family::Ipv4) => false,
    }
}
