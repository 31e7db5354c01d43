//! Times in the configuration: `30s`, `5m`, `1h 30m`.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::time::Duration;

/// A length of time, as the configuration says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// The longest that makes sense.
    const MOST: Duration = Duration::from_secs(30 * 86_400);

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"30s\" or \"5m\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                Span::try_from(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl TryFrom<&str> for Span {
    type Error = String;

    fn try_from(text: &str) -> Result<Span, String> {
        let span = text.parse::<jiff::SignedDuration>().ok().and_then(|it| Duration::try_from(it).ok());
        match span {
            Some(span) if span <= Span::MOST => Ok(Span(span)),
            Some(_) => Err("a time of 30 days at the most is expected".to_owned()),
            None => Err("a time such as \"30s\", \"5m\" or \"1h 30m\" is expected".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_others_refused() {
        let read = |text: &str| Span::try_from(text);
        assert_eq!(read("90s"), Ok(Span::seconds(90)));
        assert_eq!(read("1h 30m"), Ok(Span::seconds(5400)));
        assert_eq!(read("0s"), Ok(Span::seconds(0)));
        for wrong in ["", "5", "-1s", "31d", "99999999999999999999h", "soon", "1\u{0}s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
