//! `/api/v1/history` and `/api/v1/findings`: read beside the thread that answers, one at a time.

use super::reader::{Ask, MOST_POINTS, ReadError, Reader, parse_since};
use crate::state::State;
use axum::http::StatusCode;
use jiff::{Timestamp, Zoned};
use linger_model::State as TcpState;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Questions that are being answered, one, and that wait.
static ASKED: Semaphore = Semaphore::const_new(8);
/// Points where nobody says how many.
const POINTS: usize = 120;

/// What is answered, or why not.
type Answered = Result<Vec<u8>, (StatusCode, String)>;

/// The series, and the findings of the same time.
pub async fn history(state: Arc<State>, query: Option<String>) -> Answered {
    reading(state, query, |reader, ask| reader.answer(ask)).await
}

/// The findings alone.
pub async fn findings(state: Arc<State>, query: Option<String>) -> Answered {
    reading(state, query, |reader, ask| reader.findings(ask)).await
}

async fn reading<T: Serialize>(
    state: Arc<State>,
    query: Option<String>,
    answer: impl FnOnce(&Reader, &Ask) -> Result<T, ReadError> + Send + 'static,
) -> Answered {
    let ask = ask(query.as_deref().unwrap_or("")).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    let folder = state.history.folder().map_err(unavailable)?;
    let Ok(permit) = ASKED.try_acquire() else {
        return Err(unavailable("the history is being read by as many as may wait: ask again".to_owned()));
    };
    let read = move || {
        let _permit = permit;
        let answered = Reader::open(&folder).and_then(|reader| answer(&reader, &ask));
        answered.map(|answer| serde_json::to_vec(&answer).unwrap_or_default())
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error @ ReadError::Nothing(_))) => Err((StatusCode::NOT_FOUND, error.to_string())),
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(_) => Err(unavailable("the history could not be read".to_owned())),
    }
}

/// What stands behind the question mark.
fn ask(query: &str) -> Result<Ask, String> {
    let now = Zoned::now();
    let hour = now.timestamp().as_microsecond() - 3_600_000_000;
    let mut ask = Ask {
        from_us: hour,
        until_us: now.timestamp().as_microsecond(),
        netns: Vec::new(),
        states: Vec::new(),
        points: POINTS,
    };
    for (key, value) in
        query.split('&').filter(|pair| !pair.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
    {
        let value =
            decoded(value).ok_or_else(|| format!("{key} is no text in UTF-8, written as URLs have it"))?;
        let moment = |text: &str| parse_since(text, &now).map(Timestamp::as_microsecond);
        match key {
            "since" => ask.from_us = moment(&value).map_err(|why| format!("since: {why}"))?,
            "until" => ask.until_us = moment(&value).map_err(|why| format!("until: {why}"))?,
            "netns" => ask.netns.push(value),
            "state" => {
                for name in value.split(',') {
                    let state =
                        TcpState::ALL.into_iter().find(|state| state.name() == name.trim().replace('-', "_"));
                    ask.states.push(state.ok_or_else(|| format!("state: {name:?} is none, like time_wait"))?);
                }
            }
            "points" => {
                let points = value.parse().ok().filter(|n| (1..=MOST_POINTS).contains(n));
                ask.points = points.ok_or_else(|| format!("points: 1 to {MOST_POINTS} are expected"))?;
            }
            other => {
                return Err(format!(
                    "{other:?} cannot be asked for: since, until, netns, state and points can"
                ));
            }
        }
    }
    if ask.from_us >= ask.until_us {
        return Err("since has to be before until".to_owned());
    }
    Ok(ask)
}

/// `%2F` and `+`.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| (byte? as char).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_or_refused_in_a_sentence() {
        let asked = ask("since=2h&until=-30min&netns=web%2F1&netns=a+b&state=time-wait,close_wait&points=7");
        let asked = asked.expect("understood");
        assert_eq!((asked.until_us - asked.from_us) / 60_000_000, 90);
        assert_eq!(asked.netns, ["web/1", "a b"]);
        assert_eq!((asked.states, asked.points), (vec![TcpState::TimeWait, TcpState::CloseWait], 7));
        for (wrong, word) in [
            ("since=x", "03:12"),
            ("since=-1h&until=-2h", "before"),
            ("state=waiting", "time_wait"),
            ("points=0", "400"),
            ("points=99999999999999999999", "400"),
            ("netns=%zz", "UTF-8"),
            ("netns=%ff", "UTF-8"),
            ("netns=%f", "UTF-8"),
            ("x=1", "since, until"),
        ] {
            let why = ask(wrong).expect_err(wrong);
            assert!(why.contains(word), "{wrong}: {why}");
        }
    }
}
