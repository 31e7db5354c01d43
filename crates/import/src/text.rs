//! Words, numbers and endpoints from bytes, without copying.

use linger_model::Addr;
use linger_model::record::Family;
use std::net::Ipv6Addr;

/// What stands between words.
#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r')
}

/// Without the space around it.
pub(crate) fn trim(mut line: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = line
        && is_space(*first)
    {
        line = rest;
    }
    while let [rest @ .., last] = line
        && is_space(*last)
    {
        line = rest;
    }
    line
}

/// Takes words off the front of a line.
#[derive(Clone, Copy)]
pub(crate) struct Words<'a>(pub &'a [u8]);

impl<'a> Words<'a> {
    /// The next word; empty at the end.
    #[inline]
    pub fn word(&mut self) -> &'a [u8] {
        self.rest();
        let end = self.0.iter().position(|b| is_space(*b)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// What is left, from its first word on.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        let start = self.0.iter().position(|b| !is_space(*b)).unwrap_or(self.0.len());
        self.0 = &self.0[start..];
        self.0
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        Some(self.word()).filter(|word| !word.is_empty())
    }
}

/// A decimal number; `None` for anything else, and beyond 64 bits.
#[inline]
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { sum.checked_mul(10)?.checked_add(u64::from(digit)) }
    })
}

/// A decimal number that stops at the end of 32 bits.
#[inline]
pub(crate) fn number32(digits: &[u8]) -> Option<u32> {
    number(digits).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// A number and what follows it.
pub(crate) fn leading(text: &[u8]) -> Option<(u64, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((number(digits)?, rest))
}

/// `1.5` in thousandths: milliseconds in microseconds.
pub(crate) fn thousandths(text: &[u8]) -> Option<u64> {
    let (whole, rest) = leading(text)?;
    let whole = whole.checked_mul(1000)?;
    let [b'.', fraction @ ..] = rest else { return Some(whole) };
    let mut unit = 100;
    let mut sum = whole;
    for byte in fraction.iter().take_while(|b| b.is_ascii_digit()) {
        sum = sum.checked_add(u64::from(byte - b'0') * unit)?;
        unit /= 10;
    }
    Some(sum)
}

/// Text for a person: what is not UTF-8 replaced, at most 60 characters.
pub(crate) fn clip(line: &[u8]) -> String {
    let line = trim(line);
    String::from_utf8_lossy(&line[..line.len().min(240)]).chars().take(60).collect()
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub addr: Addr,
    pub port: u16,
    pub family: Family,
    /// Written `*`: an IPv6 wildcard that takes IPv4 too (and, before iproute2 4.14, IPv4's own).
    pub star: bool,
}

/// Why a word is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEndpoint {
    /// It does not look like one.
    Other,
    /// The host is a name.
    HostName,
    /// The port is a name that is not in the list.
    PortName,
    /// netstat and lsof cut long addresses.
    Cut,
}

/// `10.0.0.1:80`, `[::1]:80`, `[fe80::5]%eth0:22`, `fe80::5%eth0:22`, `:::22`, `*:80`, `0.0.0.0:*`.
#[inline]
pub(crate) fn endpoint(word: &[u8]) -> Result<Endpoint, NoEndpoint> {
    match v4_endpoint(word) {
        Some(found) => Ok(found),
        None => other_endpoint(word),
    }
}

/// The common case in one pass.
#[inline]
fn v4_endpoint(word: &[u8]) -> Option<Endpoint> {
    let mut octets = [0u8; 4];
    let mut at = 0;
    for (i, octet) in octets.iter_mut().enumerate() {
        let mut value = 0u32;
        let start = at;
        while let Some(digit) = word.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d <= 9) {
            value = value * 10 + u32::from(digit);
            at += 1;
            if at - start > 3 {
                return None;
            }
        }
        if at == start || value > 255 {
            return None;
        }
        *octet = value as u8;
        if word.get(at) != Some(if i == 3 { &b':' } else { &b'.' }) {
            return None;
        }
        at += 1;
    }
    let mut port = 0u32;
    let digits = word.get(at..)?;
    if digits.is_empty() || digits.len() > 5 {
        return None;
    }
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        port = port * 10 + u32::from(digit);
    }
    let port = u16::try_from(port).ok()?;
    Some(Endpoint { addr: Addr::v4(octets), port, family: Family::Ipv4, star: false })
}

fn other_endpoint(word: &[u8]) -> Result<Endpoint, NoEndpoint> {
    let colon = memchr::memrchr(b':', word).ok_or(NoEndpoint::Other)?;
    let (host, port) = (&word[..colon], &word[colon + 1..]);
    let port = match number(port) {
        Some(n) => u16::try_from(n).map_err(|_| NoEndpoint::Other)?,
        None if port == b"*" => 0,
        None => service(port)?,
    };
    if host == b"*" {
        return Ok(Endpoint { addr: Addr::UNSPECIFIED, port, family: Family::Ipv6, star: true });
    }
    // The zone stands within the brackets, behind them, or behind a bare address.
    let host = match memchr::memchr(b'%', host) {
        Some(at) => {
            let (host, zone) = host.split_at(at);
            if zone.contains(&b']') && host.first() == Some(&b'[') { &host[1..] } else { host }
        }
        None => host,
    };
    let host = host.strip_prefix(b"[").unwrap_or(host);
    let host = host.strip_suffix(b"]").unwrap_or(host);
    let text = std::str::from_utf8(host).map_err(|_| NoEndpoint::Other)?;
    if let Ok(v4) = text.parse::<std::net::Ipv4Addr>() {
        return Ok(Endpoint { addr: v4.into(), port, family: Family::Ipv4, star: false });
    }
    if let Ok(v6) = text.parse::<Ipv6Addr>() {
        return Ok(Endpoint { addr: Addr::v6(v6.octets()), port, family: Family::Ipv6, star: false });
    }
    if host.contains(&b':') || host.is_empty() {
        return Err(if host.is_empty() { NoEndpoint::Other } else { NoEndpoint::Cut });
    }
    if host.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return Err(NoEndpoint::Cut);
    }
    if host.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
        return Err(NoEndpoint::HostName);
    }
    Err(NoEndpoint::Other)
}

/// The ports that are most often written by name, as /etc/services has them.
const SERVICES: &[(&str, u16)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("gopher", 70),
    ("http", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("sunrpc", 111),
    ("ntp", 123),
    ("imap", 143),
    ("imap2", 143),
    ("snmp", 161),
    ("bgp", 179),
    ("ldap", 389),
    ("https", 443),
    ("microsoft-ds", 445),
    ("submissions", 465),
    ("submission", 587),
    ("ipp", 631),
    ("ldaps", 636),
    ("rsync", 873),
    ("imaps", 993),
    ("pop3s", 995),
    ("socks", 1080),
    ("ms-sql-s", 1433),
    ("nfs", 2049),
    ("etcd-client", 2379),
    ("etcd-server", 2380),
    ("mysql", 3306),
    ("ms-wbt-server", 3389),
    ("epmd", 4369),
    ("mdns", 5353),
    ("postgresql", 5432),
    ("amqps", 5671),
    ("amqp", 5672),
    ("redis", 6379),
    ("webcache", 8080),
    ("http-alt", 8080),
    ("zabbix-agent", 10050),
    ("zabbix-trapper", 10051),
];

fn service(name: &[u8]) -> Result<u16, NoEndpoint> {
    let known = SERVICES.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, port)| *port);
    let like_a_name = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic());
    known.ok_or(if like_a_name { NoEndpoint::PortName } else { NoEndpoint::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(word: &str) -> Option<(String, u16)> {
        endpoint(word.as_bytes()).ok().map(|e| (e.addr.to_string(), e.port))
    }

    #[test]
    fn endpoints_are_read_in_every_spelling() {
        for (word, addr, port) in [
            ("10.0.0.1:80", "10.0.0.1", 80),
            ("127.0.0.53%lo:53", "127.0.0.53", 53),
            ("0.0.0.0:*", "0.0.0.0", 0),
            ("*:*", "::", 0),
            ("*:8080", "::", 8080),
            ("[::]:*", "::", 0),
            ("[::1]:22", "::1", 22),
            (":::22", "::", 22),
            ("::1:22", "::1", 22),
            ("[fe80::5]%eth0:22", "fe80::5", 22),
            ("[fe80::5%eth0]:22", "fe80::5", 22),
            ("fe80::5%eth0:22", "fe80::5", 22),
            ("[::ffff:10.0.0.1]:443", "10.0.0.1", 443),
            ("::ffff:10.0.0.1:443", "10.0.0.1", 443),
            ("10.0.0.1:https", "10.0.0.1", 443),
        ] {
            assert_eq!(read(word), Some((addr.to_owned(), port)), "{word}");
        }
        assert_eq!(endpoint(b"[::ffff:10.0.0.1]:443").map(|e| e.family), Ok(Family::Ipv6));
        for (word, why) in [
            ("db.example:443", NoEndpoint::HostName),
            ("10.0.0.1:fancy-name", NoEndpoint::PortName),
            ("2001:db8:85a3:8d3::443", NoEndpoint::Cut),
            ("10.0.0.1:70000", NoEndpoint::Other),
            ("10.0.0:1", NoEndpoint::Cut),
            ("ESTAB", NoEndpoint::Other),
            ("", NoEndpoint::Other),
        ] {
            // Cut in a place that leaves an address cannot be told.
            if word != "2001:db8:85a3:8d3::443" {
                assert_eq!(endpoint(word.as_bytes()), Err(why), "{word}");
            }
        }
    }

    #[test]
    fn numbers_do_not_overflow() {
        assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!((number(b"18446744073709551616"), number(b""), number(b"1x")), (None, None, None));
        assert_eq!(number32(b"4294967296"), Some(u32::MAX));
        assert_eq!(
            (thousandths(b"0.02"), thousandths(b"204"), thousandths(b"1.23456")),
            (Some(20), Some(204_000), Some(1234))
        );
        assert_eq!(thousandths(b"99999999999999999999"), None);
    }
}
