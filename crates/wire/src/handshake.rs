//! The packets that open a connection, and the options in them.

use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use linger_model::Addr;

/// What one side says of itself in its SYN or SYN-ACK (RFC 9293, 7323, 2018).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Timestamps.
    pub timestamps: bool,
    /// Selective acknowledgements.
    pub sack: bool,
    /// Window scaling, with the shift of this side's own window.
    pub window_scale: Option<u8>,
    /// The largest segment that it takes, bytes of data.
    pub mss: Option<u16>,
}

/// A SYN or a SYN-ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// Who sends it.
    pub src: Addr,
    /// From which port.
    pub sport: u16,
    /// To whom.
    pub dst: Addr,
    /// To which port.
    pub dport: u16,
    /// Whether it answers a SYN.
    pub is_answer: bool,
    /// Its options.
    pub options: Options,
}

/// Reads a packet that begins with its network header, and may be cut off after the TCP header; `None` for any other,
/// and for one that is no SYN.
pub fn parse(packet: &[u8]) -> Option<Handshake> {
    let sliced = LaxSlicedPacket::from_ip(packet).ok()?;
    let (src, dst) = match sliced.net? {
        LaxNetSlice::Ipv4(ip) => (Addr::v4(ip.header().source()), Addr::v4(ip.header().destination())),
        LaxNetSlice::Ipv6(ip) => (Addr::v6(ip.header().source()), Addr::v6(ip.header().destination())),
        _ => return None,
    };
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    (tcp.syn() && !tcp.rst() && !tcp.fin()).then(|| Handshake {
        src,
        sport: tcp.source_port(),
        dst,
        dport: tcp.destination_port(),
        is_answer: tcp.ack(),
        options: options(&tcp),
    })
}

fn options(tcp: &TcpSlice<'_>) -> Options {
    let mut options = Options::default();
    // What comes after a malformed option is nobody's to read.
    for option in tcp.options_iterator().map_while(Result::ok) {
        match option {
            TcpOptionElement::Timestamp(..) => options.timestamps = true,
            TcpOptionElement::SelectiveAcknowledgementPermitted => options.sack = true,
            TcpOptionElement::WindowScale(shift) => options.window_scale = Some(shift),
            TcpOptionElement::MaximumSegmentSize(mss) => options.mss = Some(mss),
            _ => {}
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn syn(elements: &[TcpOptionElement], answer: bool, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(40000, 443, 7, 65535).syn();
        let builder = if answer { builder.ack(9) } else { builder };
        let mut packet = Vec::new();
        builder.options(elements).expect("options fit").write(&mut packet, payload).expect("written");
        packet
    }

    const LINUX: [TcpOptionElement; 5] = [
        TcpOptionElement::MaximumSegmentSize(1460),
        TcpOptionElement::SelectiveAcknowledgementPermitted,
        TcpOptionElement::Timestamp(1, 0),
        TcpOptionElement::Noop,
        TcpOptionElement::WindowScale(7),
    ];

    #[test]
    fn options_are_read() {
        let all = Options { timestamps: true, sack: true, window_scale: Some(7), mss: Some(1460) };
        let seen = parse(&syn(&LINUX, false, b"")).expect("a SYN");
        assert_eq!((seen.options, seen.is_answer, seen.sport, seen.dport), (all, false, 40000, 443));
        assert_eq!((seen.src.to_string(), seen.dst.to_string()), ("10.0.0.1".into(), "10.0.0.2".into()));
        let seen = parse(&syn(&LINUX[..1], true, b"")).expect("a SYN-ACK");
        assert_eq!((seen.options, seen.is_answer), (Options { mss: Some(1460), ..Options::default() }, true));
    }

    #[test]
    fn data_behind_the_header_may_be_cut_off() {
        let packet = syn(&LINUX, false, &[1; 500]);
        assert!(parse(&packet[..60]).expect("a SYN").options.timestamps);
        // Within the header, nothing is sure.
        assert_eq!(parse(&packet[..50]), None);
    }

    #[test]
    fn other_packets_are_none() {
        let mut packet = Vec::new();
        let plain = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1, 2, 3, 4).ack(5);
        plain.write(&mut packet, b"x").expect("written");
        assert_eq!(parse(&packet), None);
        let mut packet = Vec::new();
        PacketBuilder::ipv4([1; 4], [2; 4], 64).udp(1, 2).write(&mut packet, b"x").expect("written");
        assert_eq!(parse(&packet), None);
        let mut packet = Vec::new();
        let six = PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1, 2, 3, 4).syn();
        six.write(&mut packet, b"").expect("written");
        assert_eq!(parse(&packet).expect("a SYN").src, Addr::v6([1; 16]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(packet in proptest::collection::vec(any::<u8>(), 0..160)) {
            let _ = parse(&packet);
        }

        #[test]
        fn any_options_are_survived(options in proptest::collection::vec(any::<u8>(), 0..40), cut in 0usize..120) {
            let mut packet = syn(&[], false, &[0; 60]);
            let length = options.len().div_ceil(4);
            packet[32] = ((5 + length) as u8) << 4;
            packet[40..40 + options.len()].copy_from_slice(&options);
            let _ = parse(&packet[..cut.min(packet.len())]);
            let seen = parse(&packet).expect("a SYN");
            prop_assert!((seen.sport, seen.dport) == (40000, 443));
        }
    }
}
