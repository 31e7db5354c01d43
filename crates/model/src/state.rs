//! TCP states as the kernel numbers them, and counts per state.

use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A TCP state. The numbers are the kernel's (`include/net/tcp_states.h`), so that a state is also the bit of
/// sock_diag's `idiag_states` mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Data can flow both ways.
    Established = 1,
    /// connect() has sent a SYN and waits.
    SynSent = 2,
    /// A request socket: SYN-ACK sent, the final ACK is missing.
    SynRecv = 3,
    /// Closed on this side, our FIN is not acknowledged.
    FinWait1 = 4,
    /// Closed on this side, the peer's FIN is missing.
    FinWait2 = 5,
    /// Closed on both sides, this side first.
    TimeWait = 6,
    /// A socket without a connection.
    Close = 7,
    /// The peer closed, this side's application has not.
    CloseWait = 8,
    /// Closed on both sides, the peer first; our FIN is not acknowledged.
    LastAck = 9,
    /// A listening socket.
    Listen = 10,
    /// Both sides closed at once.
    Closing = 11,
    /// Bound to a port, neither listening nor connected. sock_diag lists these only when asked with their own bit
    /// (in the 6.8 tree and later) and then reports state 7.
    BoundInactive = 13,
}

impl State {
    /// Every state, in the order in which reports list them.
    pub const ALL: [State; 12] = [
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
        State::BoundInactive,
    ];

    /// The state for a kernel number. `TCP_NEW_SYN_RECV` (12) is `SynRecv`; other numbers have no state.
    pub fn from_kernel(number: u8) -> Option<State> {
        if number == 12 {
            return Some(State::SynRecv);
        }
        State::ALL.into_iter().find(|s| *s as u8 == number)
    }

    /// This state's bit in a sock_diag `idiag_states` mask.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// The name in JSON and options: `time_wait`.
    pub fn name(self) -> &'static str {
        match self {
            State::Established => "established",
            State::SynSent => "syn_sent",
            State::SynRecv => "syn_recv",
            State::FinWait1 => "fin_wait1",
            State::FinWait2 => "fin_wait2",
            State::TimeWait => "time_wait",
            State::Close => "close",
            State::CloseWait => "close_wait",
            State::LastAck => "last_ack",
            State::Listen => "listen",
            State::Closing => "closing",
            State::BoundInactive => "bound_inactive",
        }
    }

    /// The name as people write it: `TIME_WAIT`.
    pub fn display(self) -> &'static str {
        match self {
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::FinWait1 => "FIN_WAIT1",
            State::FinWait2 => "FIN_WAIT2",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::Closing => "CLOSING",
            State::BoundInactive => "BOUND_INACTIVE",
        }
    }

    /// Finds a state by any usual spelling: `time_wait`, `TIME-WAIT`, `timewait`, `ESTAB`.
    pub fn parse(text: &str) -> Option<State> {
        let squeeze =
            |s: &str| s.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_lowercase();
        let wanted = squeeze(text);
        match wanted.as_str() {
            "estab" => return Some(State::Established),
            "synrcv" => return Some(State::SynRecv),
            "closed" | "unconn" => return Some(State::Close),
            _ => {}
        }
        State::ALL.into_iter().find(|s| squeeze(s.name()) == wanted)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.display())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<State, D::Error> {
        let text = String::deserialize(deserializer)?;
        State::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("unknown TCP state {text:?}")))
    }
}

/// Sockets per state. In JSON an object with every state's name, zeros included, and `null` for a state that this
/// kernel cannot list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateCounts {
    counts: [u64; 14],
    unlisted: u32,
}

impl StateCounts {
    /// Counts one socket.
    pub fn add(&mut self, state: State) {
        self.add_n(state, 1);
    }

    /// Counts `n` sockets.
    pub fn add_n(&mut self, state: State, n: u64) {
        self.counts[state as usize] += n;
    }

    /// Replaces a count: TIME_WAIT can come from sockstat instead of a walk.
    pub fn set(&mut self, state: State, n: u64) {
        self.counts[state as usize] = n;
        self.unlisted &= !state.bit();
    }

    /// Says that this kernel cannot list sockets of this state.
    pub fn set_unlisted(&mut self, state: State) {
        self.counts[state as usize] = 0;
        self.unlisted |= state.bit();
    }

    /// The number of sockets, or `None` where this kernel cannot list them.
    pub fn get(&self, state: State) -> Option<u64> {
        (self.unlisted & state.bit() == 0).then_some(self.counts[state as usize])
    }

    /// The number of sockets, 0 where they cannot be listed.
    pub fn count(&self, state: State) -> u64 {
        self.counts[state as usize]
    }

    /// All listed sockets.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another table's counts; a state unlisted on either side stays unlisted.
    pub fn merge(&mut self, other: &StateCounts) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.unlisted |= other.unlisted;
    }
}

impl Serialize for StateCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(State::ALL.len()))?;
        for state in State::ALL {
            map.serialize_entry(state.name(), &self.get(state))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for StateCounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StateCounts, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = StateCounts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of counts by state name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StateCounts, A::Error> {
                let mut counts = StateCounts::default();
                while let Some((state, n)) = map.next_entry::<State, Option<u64>>()? {
                    match n {
                        Some(n) => counts.set(state, n),
                        None => counts.set_unlisted(state),
                    }
                }
                Ok(counts)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

impl schemars::JsonSchema for StateCounts {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StateCounts".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let count = serde_json::json!({
            "type": ["integer", "null"], "minimum": 0,
            "description": "sockets in this state; null where this kernel cannot list them"
        });
        let properties: serde_json::Map<_, _> =
            State::ALL.iter().map(|s| (s.name().to_owned(), count.clone())).collect();
        let required: Vec<_> = State::ALL.iter().map(|s| s.name()).collect();
        schemars::json_schema!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_by_every_usual_spelling() {
        for state in State::ALL {
            assert_eq!(State::parse(state.name()), Some(state));
            assert_eq!(State::parse(state.display()), Some(state));
            assert_eq!(State::parse(&state.display().replace('_', "-")), Some(state));
            assert_eq!(State::from_kernel(state as u8), Some(state));
        }
        assert_eq!(State::parse("estab"), Some(State::Established));
        assert_eq!(State::parse("nonsense"), None);
        assert_eq!(State::from_kernel(12), Some(State::SynRecv));
    }

    #[test]
    fn counts_keep_the_difference_between_zero_and_unlisted() {
        let mut counts = StateCounts::default();
        counts.add(State::Listen);
        counts.set_unlisted(State::BoundInactive);
        let text = serde_json::to_string(&counts).expect("counts serialize");
        assert!(text.contains("\"time_wait\":0") && text.contains("\"bound_inactive\":null"));
        assert_eq!(serde_json::from_str::<StateCounts>(&text).expect("counts load"), counts);
    }
}
