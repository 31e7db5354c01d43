//! Conditions over what hosts and actors did: `client: peak time_wait < 900`.

use std::fmt;
use std::str::FromStr;

use linger_model::State;
use serde::Deserialize;
use serde::de::{self, Deserializer};

/// `subject: metric comparison number`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// A host or an actor.
    pub subject: String,
    /// What of it.
    pub metric: Metric,
    /// How it compares.
    pub comparison: Comparison,
    /// With what.
    pub number: f64,
}

/// Something that can be read off a host or an actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// A host's sockets in this state now: `time_wait`.
    State(State),
    /// The most there were at a time: `peak time_wait`.
    Peak(State),
    /// By how much a host's counter rose since the start: `TcpExt.ListenOverflows`.
    Counter(String),
    /// An actor's connections tried.
    Attempted,
    /// Those that went through.
    Succeeded,
    /// Answers that a client got.
    Answered,
    /// Those that failed.
    Failed,
    /// Sockets that it holds now.
    Held,
    /// Connections that a client did not give back.
    Leaked,
    /// Connections whose peer's end a server read.
    Ended,
    /// Those that failed with this errno: `EADDRNOTAVAIL`.
    Errno(String),
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    const ALL: [(&str, Comparison); 5] = [
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::More),
    ];

    /// Whether it holds.
    pub fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Comparison::Less => left < right,
            Comparison::AtMost => left <= right,
            Comparison::Equal => (left - right).abs() < f64::EPSILON,
            Comparison::AtLeast => left >= right,
            Comparison::More => left > right,
        }
    }
}

impl Condition {
    /// Whether it holds of what was seen; what could not be seen meets nothing.
    pub fn is_met_by(&self, seen: Option<f64>) -> bool {
        seen.is_some_and(|seen| self.comparison.holds(seen, self.number))
    }
}

impl Metric {
    /// Whether it is read off a host, not off an actor.
    pub fn is_of_host(&self) -> bool {
        matches!(self, Metric::State(_) | Metric::Peak(_) | Metric::Counter(_))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, _) = Comparison::ALL.iter().find(|(_, it)| it == self).expect("all are listed");
        f.write_str(text)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::State(state) => f.write_str(state.name()),
            Metric::Peak(state) => write!(f, "peak {}", state.name()),
            Metric::Counter(name) | Metric::Errno(name) => f.write_str(name),
            Metric::Attempted => f.write_str("attempted"),
            Metric::Succeeded => f.write_str("succeeded"),
            Metric::Answered => f.write_str("answered"),
            Metric::Failed => f.write_str("failed"),
            Metric::Held => f.write_str("held"),
            Metric::Leaked => f.write_str("leaked"),
            Metric::Ended => f.write_str("ended"),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {} {}", self.subject, self.metric, self.comparison, self.number)
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Metric, String> {
        let state = |name: &str| State::parse(name);
        if let Some(name) = text.strip_prefix("peak ") {
            return state(name.trim()).map(Metric::Peak).ok_or_else(|| format!("{name:?} is no TCP state"));
        }
        Ok(match text {
            "attempted" => Metric::Attempted,
            "succeeded" => Metric::Succeeded,
            "answered" => Metric::Answered,
            "failed" => Metric::Failed,
            "held" => Metric::Held,
            "leaked" => Metric::Leaked,
            "ended" => Metric::Ended,
            _ => match state(text) {
                Some(state) => Metric::State(state),
                None if text.split_once('.').is_some_and(|(group, name)| {
                    !group.is_empty()
                        && !name.is_empty()
                        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
                }) =>
                {
                    Metric::Counter(text.to_owned())
                }
                None if is_errno(text) => Metric::Errno(text.to_owned()),
                None => {
                    return Err(format!(
                        "{text:?} is no metric; a host has states (time_wait, peak time_wait) and counters \
                         (TcpExt.ListenOverflows), an actor has attempted, succeeded, answered, failed, held, leaked, ended and errnos \
                         (EADDRNOTAVAIL)"
                    ));
                }
            },
        })
    }
}

fn is_errno(text: &str) -> bool {
    text.starts_with('E')
        && text.len() > 2
        && text.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Condition, String> {
        let form = || format!("{text:?}: a condition is written as \"client: peak time_wait >= 900\"");
        let (subject, rest) = text.split_once(':').ok_or_else(form)?;
        let (sign, comparison) =
            Comparison::ALL.into_iter().find(|(sign, _)| rest.contains(sign)).ok_or_else(form)?;
        let (metric, number) = rest.split_once(sign).ok_or_else(form)?;
        let number = number.trim().replace('_', "").parse::<f64>().ok().filter(|it| it.is_finite());
        Ok(Condition {
            subject: subject.trim().to_owned(),
            metric: metric.trim().parse().map_err(|why| format!("{text:?}: {why}"))?,
            comparison,
            number: number.ok_or_else(form)?,
        })
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_understood() {
        for text in [
            "client: time_wait >= 900",
            "client: peak time_wait < 900",
            "server: TcpExt.ListenOverflows > 5",
            "load: EADDRNOTAVAIL == 0",
            "load: succeeded <= 1000",
        ] {
            assert_eq!(text.parse::<Condition>().unwrap().to_string(), text);
        }
        let spaced: Condition = " load :succeeded>=1_000 ".parse().unwrap();
        assert_eq!(spaced.to_string(), "load: succeeded >= 1000");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("time_wait > 5", "a condition is written as"),
            ("client: time_wait", "a condition is written as"),
            ("client: time_wait > many", "a condition is written as"),
            ("client: time_wait > inf", "a condition is written as"),
            ("client: peak nonsense > 5", "is no TCP state"),
            ("client: nonsense > 5", "is no metric"),
        ] {
            let error = text.parse::<Condition>().unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn comparisons() {
        for (sign, comparison) in Comparison::ALL {
            let holds: Vec<bool> = [1.0, 2.0, 3.0].map(|left| comparison.holds(left, 2.0)).into();
            let expected = match sign {
                "<" => [true, false, false],
                "<=" => [true, true, false],
                "==" => [false, true, false],
                ">=" => [false, true, true],
                _ => [false, false, true],
            };
            assert_eq!(holds, expected, "{sign}");
        }
    }
}
