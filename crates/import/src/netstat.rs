//! `netstat` of net-tools: a socket's line, and the sentences of `netstat -s`.

use crate::ss::{Entry, Taken, User, shown};
use crate::text::{NoEndpoint, Words, endpoint, leading, number, number32, thousandths};
use linger_model::State;
use linger_model::record::{Family, Timer, TimerKind};

/// netstat's names of states, and their translations in net-tools' catalogues (cs, de, pt_BR, sv; es of distributions).
/// Letters beyond ASCII are left out on both sides: old hosts write them in other encodings than UTF-8.
pub(crate) fn state(word: &[u8]) -> Option<State> {
    let mut letters = [0; 20];
    let mut length = 0;
    for byte in word.iter().filter(|b| b.is_ascii()) {
        *letters.get_mut(length)? = *byte;
        length += 1;
    }
    Some(match letters.get(..length)? {
        b"ESTABLISHED" | b"VERBUNDEN" | b"SPOJENO" | b"ESTABELECIDA" | b"ESTABLECIDO" | b"ETABLERAD" => {
            State::Established
        }
        b"TIME_WAIT" => State::TimeWait,
        b"CLOSE_WAIT" | b"ESPERANDO_FECHAR" | b"STNG_VNTA" => State::CloseWait,
        b"LISTEN" | b"NASLOUCH" | b"OUA" | b"ESCUCHAR" | b"LYSSNAR" => State::Listen,
        b"SYN_SENT" | b"SYN_ENVIADO" => State::SynSent,
        b"SYN_RECV" | b"SYN_RECEBIDO" => State::SynRecv,
        b"FIN_WAIT1" | b"ESPERA_FIN1" => State::FinWait1,
        b"FIN_WAIT2" | b"ESPERA_FIN2" => State::FinWait2,
        // In Czech two words.
        b"LAST_ACK" | b"POSLEDN" | b"LTIMO_ACK" => State::LastAck,
        b"CLOSING" | b"ZAVR" | b"FECHANDO" | b"STNGER" => State::Closing,
        b"CLOSE" | b"ZAVEN" | b"FECHAR" | b"STNG" => State::Close,
        _ => return None,
    })
}

/// Whether this is the heading of a table in any language: two queues behind the protocol, or as many words as Linux's
/// has and none of Windows's.
pub(crate) fn is_heading(line: &[u8]) -> bool {
    if line.iter().any(u8::is_ascii_digit) {
        return false;
    }
    let mut words = Words(line).skip(1);
    let queue = |word: Option<&[u8]>| word.is_some_and(|w| w.ends_with(b"-Q"));
    let queues = queue(words.next()) && queue(words.next());
    queues || (Words(line).word() == b"Proto" && Words(line).count() >= 7)
}

/// Whether this is a socket's line: the words do not change with the language, but the heading does.
pub(crate) fn begins_socket(line: &[u8]) -> bool {
    let mut words = Words(line);
    matches!(words.word(), b"tcp" | b"tcp6")
        && number(words.word()).is_some()
        && number(words.word()).is_some()
        && words.word().contains(&b':')
}

/// A row of Windows's: no queues, whatever the language.
pub(crate) fn windows_row(line: &[u8]) -> bool {
    let mut words = Words(line);
    words.word() == b"TCP" && endpoint(words.word()).is_ok() && endpoint(words.word()).is_ok()
}

/// `tcp 0 0 10.0.0.1:80 10.0.0.2:5555 ESTABLISHED 1000 94986773 29265/python3 keepalive (7197.98/0/0)`; user, inode,
/// program and timer where they were asked for.
pub(crate) fn socket(line: &[u8], entry: &mut Entry) -> Taken {
    let mut words = Words(line);
    let family = match words.word() {
        b"tcp" => Family::Ipv4,
        b"tcp6" => Family::Ipv6,
        b"udp" | b"udp6" | b"udplite" | b"udplite6" | b"raw" | b"raw6" | b"unix" | b"sctp" | b"l2cap"
        | b"rfcomm" | b"mptcp" => return Taken::OtherProtocol,
        _ => return Taken::No("not a socket as netstat writes it"),
    };
    let (Some(receive), Some(send)) = (number32(words.word()), number32(words.word())) else {
        return Taken::No("no queues where netstat has them");
    };
    let mut address = || match endpoint(words.word()) {
        Ok(found) => Ok(found),
        Err(NoEndpoint::HostName) => Err(Taken::Lost("host names instead of addresses: run netstat with -n")),
        Err(NoEndpoint::PortName) => {
            Err(Taken::Lost("a port by a name that is not known: run netstat with -n"))
        }
        Err(NoEndpoint::Cut) => Err(Taken::Lost("an address that netstat cut: run it with -W")),
        Err(NoEndpoint::Other) => Err(Taken::No("no address and port where netstat has them")),
    };
    let local = match address() {
        Ok(found) => found,
        Err(taken) => return taken,
    };
    let peer = match address() {
        Ok(found) => found,
        Err(taken) => return taken,
    };
    let word = words.word();
    let Some(state) = state(word) else {
        return Taken::Lost("a state that is not known, perhaps translated: run netstat with LC_ALL=C");
    };
    entry.set(state, local, peer, Some((receive, send)));
    entry.record.family = family;
    if state == State::Listen {
        entry.record.wqueue = 0;
    }
    let mut last_number: Option<u64> = None;
    let mut before: &[u8] = b"";
    for word in words {
        if let Some(n) = number(word) {
            // User, then inode; a user may be a name.
            if let Some(user) = last_number {
                entry.record.uid = u32::try_from(user).unwrap_or(u32::MAX);
            }
            entry.record.inode = u32::try_from(n).unwrap_or(u32::MAX);
            entry.shown |= shown::INODES;
            last_number = Some(n);
        } else if let Some((pid, [b'/', name @ ..])) = leading(word) {
            entry.shown |= shown::USERS;
            if let Ok(pid) = u32::try_from(pid) {
                entry.user = Some(User::new(pid, name.strip_suffix(b":").unwrap_or(name)));
            }
        } else if let Some(times) = word.strip_prefix(b"(")
            && let Some(kind) = timer_kind(before)
        {
            // Estonian has two brackets.
            let times = times.strip_prefix(b"(").unwrap_or(times);
            entry.shown |= shown::TIMERS;
            if let Some(kind) = kind {
                let left = thousandths(times).unwrap_or(0);
                entry.record.timer =
                    Some(Timer { kind, expires_ms: u32::try_from(left).unwrap_or(u32::MAX) });
                let again = times.split(|b| *b == b'/').nth(1).and_then(number).unwrap_or(0);
                entry.record.retransmits = u8::try_from(again).unwrap_or(u8::MAX);
            }
        }
        before = word;
    }
    Taken::Socket
}

/// What stands before a timer's figures: in English, and as net-tools' catalogues have it (of two words the last).
fn timer_kind(word: &[u8]) -> Option<Option<TimerKind>> {
    Some(match std::str::from_utf8(word).ok()? {
        "off" | "aus" | "vyp" | "eikäi" | "desligado" | "av" | "オフ" | "გამორთული" => {
            None
        }
        "on" | "ein" | "zapnut" | "käib" | "em" | "på" | "オン" | "ჩართული" => {
            Some(TimerKind::Retransmit)
        }
        "keepalive" | "キープアライブ" | "დატოვება" => Some(TimerKind::KeepAlive),
        "timewait" | "時間待ち" | "დრო" => Some(TimerKind::TimeWait),
        "probe" => Some(TimerKind::ZeroWindowProbe),
        _ => return None,
    })
}

/// Sentences of `netstat -s` and the counters that they tell; `#` stands for the figure.
const SENTENCES: &[(&str, &str, &str)] = &[
    ("Tcp", "# active connection openings", "ActiveOpens"),
    ("Tcp", "# active connections openings", "ActiveOpens"),
    ("Tcp", "# passive connection openings", "PassiveOpens"),
    ("Tcp", "# failed connection attempts", "AttemptFails"),
    ("Tcp", "# connection resets received", "EstabResets"),
    ("Tcp", "# connections established", "CurrEstab"),
    ("Tcp", "# segments received", "InSegs"),
    ("Tcp", "# segments sent out", "OutSegs"),
    ("Tcp", "# segments send out", "OutSegs"),
    ("Tcp", "# segments retransmitted", "RetransSegs"),
    ("Tcp", "# segments retransmited", "RetransSegs"),
    ("Tcp", "# bad segments received", "InErrs"),
    ("Tcp", "# bad segments received.", "InErrs"),
    ("Tcp", "# resets sent", "OutRsts"),
    ("TcpExt", "# SYN cookies sent", "SyncookiesSent"),
    ("TcpExt", "# SYN cookies received", "SyncookiesRecv"),
    ("TcpExt", "# invalid SYN cookies received", "SyncookiesFailed"),
    ("TcpExt", "# resets received for embryonic SYN_RECV sockets", "EmbryonicRsts"),
    ("TcpExt", "# SYNs to LISTEN sockets dropped", "ListenDrops"),
    ("TcpExt", "# times the listen queue of a socket overflowed", "ListenOverflows"),
    ("TcpExt", "# TCP sockets finished time wait in fast timer", "TW"),
    ("TcpExt", "# TCP sockets finished time wait in slow timer", "TWKilled"),
    ("TcpExt", "# time wait sockets recycled by time stamp", "TWRecycled"),
    ("TcpExt", "# active connections rejected because of time stamp", "PAWSActive"),
    ("TcpExt", "# passive connections rejected because of time stamp", "PAWSPassive"),
    ("TcpExt", "# packetes rejected in established connections because of timestamp", "PAWSEstab"),
    ("TcpExt", "# packets rejected in established connections because of timestamp", "PAWSEstab"),
    ("TcpExt", "# packets rejects in established connections because of timestamp", "PAWSEstab"),
    ("TcpExt", "# packets pruned from receive queue because of socket buffer overrun", "PruneCalled"),
    ("TcpExt", "# packets pruned from receive queue", "RcvPruned"),
    ("TcpExt", "# packets dropped from out-of-order queue because of socket buffer overrun", "OfoPruned"),
    ("TcpExt", "# packets collapsed in receive queue due to low socket buffer", "TCPRcvCollapsed"),
    ("TcpExt", "# delayed acks sent", "DelayedACKs"),
    ("TcpExt", "Quick ack mode was activated # times", "DelayedACKLost"),
    ("TcpExt", "# fast retransmits", "TCPFastRetrans"),
    ("TcpExt", "# retransmits in slow start", "TCPSlowStartRetrans"),
    ("TcpExt", "# retransmits lost", "TCPLostRetransmit"),
    ("TcpExt", "# other TCP timeouts", "TCPTimeouts"),
    ("TcpExt", "# connections reset due to unexpected data", "TCPAbortOnData"),
    ("TcpExt", "# connections reset due to early user close", "TCPAbortOnClose"),
    ("TcpExt", "# connections aborted due to memory pressure", "TCPAbortOnMemory"),
    ("TcpExt", "# connections aborted due to timeout", "TCPAbortOnTimeout"),
    ("TcpExt", "# connections aborted after user close in linger timeout", "TCPAbortOnLinger"),
    ("TcpExt", "# times unable to send RST due to no memory", "TCPAbortFailed"),
    ("TcpExt", "TCP ran low on memory # times", "TCPMemoryPressures"),
    ("TcpExt", "# DSACKs received", "TCPDSACKRecv"),
    ("TcpExt", "# acknowledgments not containing data payload received", "TCPPureAcks"),
    ("TcpExt", "# packet headers predicted", "TCPHPHits"),
    ("TcpExt", "# predicted acknowledgments", "TCPHPAcks"),
];

/// What a line of `netstat -s` told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sentence {
    Counter(String, u64),
    /// A group that no rule reads.
    OtherGroup,
    Unknown,
}

/// A line below `Tcp:` or `TcpExt:`.
pub(crate) fn sentence(group: &str, line: &[u8]) -> Sentence {
    if !matches!(group, "Tcp" | "TcpExt" | "MPTcpExt") {
        return Sentence::OtherGroup;
    }
    let text = String::from_utf8_lossy(crate::text::trim(line));
    // `TCPSynRetrans: 2`: what netstat has no sentence for.
    if let Some((name, figure)) = text.split_once(": ")
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
        && let Some(figure) = number(figure.as_bytes())
    {
        return Sentence::Counter(format!("{group}.{name}"), figure);
    }
    for (of, pattern, name) in SENTENCES.iter().filter(|(of, ..)| *of == group) {
        let Some((before, after)) = pattern.split_once('#') else { continue };
        let figure = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        if let Some(figure) = figure.and_then(|f| number(f.as_bytes())) {
            return Sentence::Counter(format!("{of}.{name}"), figure);
        }
    }
    Sentence::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::Addr;

    #[test]
    fn sockets_are_read_with_whatever_columns_there_are() {
        let mut entry = Entry::new();
        let line = "tcp        0      0 127.0.0.1:55490         127.0.0.1:9090          ESTABLISHED 1000       94987056   29265/python3        keepalive (7197.98/0/0)";
        assert_eq!(socket(line.as_bytes(), &mut entry), Taken::Socket);
        let r = &entry.record;
        assert_eq!((r.state, r.uid, r.inode), (State::Established, 1000, 94_987_056));
        assert_eq!(r.timer, Some(Timer { kind: TimerKind::KeepAlive, expires_ms: 7_197_980 }));
        assert_eq!(entry.user.map(|u| (u.pid, u.name())), Some((29265, "python3".to_owned())));
        let line = "tcp6       0      0 :::8080                 :::*                    LISTEN     ";
        assert_eq!(socket(line.as_bytes(), &mut entry), Taken::Socket);
        assert_eq!((entry.record.src, entry.record.sport), (Addr::UNSPECIFIED, 8080));
        let line = "tcp        0      0 10.0.0.1:22             10.0.0.9:50000          VERBUNDEN   1021/sshd: anna [pr";
        assert_eq!(socket(line.as_bytes(), &mut entry), Taken::Socket);
        assert_eq!(entry.user.map(|u| u.name()), Some("sshd".to_owned()));
        let foreign = "tcp 0 0 10.0.0.1:22 10.0.0.9:50000 GEHEIM";
        assert!(matches!(socket(foreign.as_bytes(), &mut entry), Taken::Lost(why) if why.contains("LC_ALL")));
    }

    #[test]
    fn timers_are_read_in_every_language() {
        let timers = |language: &str| {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outputs/netstat-anteop-");
            let text = std::fs::read(format!("{folder}{language}")).expect("an output");
            let mut entry = Entry::new();
            let mut kinds = Vec::new();
            for line in text.split(|b| *b == b'\n').filter(|line| line.starts_with(b"tcp")) {
                assert_eq!(socket(line, &mut entry), Taken::Socket);
                assert_ne!(entry.shown & shown::TIMERS, 0, "{}", String::from_utf8_lossy(line));
                kinds.push((entry.record.state, entry.record.timer.map(|timer| timer.kind)));
            }
            kinds
        };
        let english = timers("C");
        use TimerKind::{KeepAlive, Retransmit, TimeWait, ZeroWindowProbe};
        for kind in [None, Some(KeepAlive), Some(Retransmit), Some(TimeWait), Some(ZeroWindowProbe)] {
            assert!(english.iter().any(|(_, timer)| *timer == kind), "{kind:?}");
        }
        for language in ["cs", "de", "et", "fr", "ja", "pt_BR"] {
            assert_eq!(timers(language), english, "{language}");
        }
    }

    #[test]
    fn sentences_become_counters() {
        let counter = |group: &str, line: &str| match sentence(group, line.as_bytes()) {
            Sentence::Counter(name, n) => (name, n),
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(counter("Tcp", "    2 segments retransmitted"), ("Tcp.RetransSegs".to_owned(), 2));
        assert_eq!(counter("TcpExt", "    TCPSynRetrans: 2"), ("TcpExt.TCPSynRetrans".to_owned(), 2));
        assert_eq!(
            counter("TcpExt", "    TCP ran low on memory 7 times"),
            ("TcpExt.TCPMemoryPressures".to_owned(), 7)
        );
        assert_eq!(sentence("Udp", b"    5 packets received"), Sentence::OtherGroup);
        assert_eq!(sentence("Tcp", b"    2 Segmente erneut gesendet"), Sentence::Unknown);
    }
}
