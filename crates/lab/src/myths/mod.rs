//! Beliefs about TCP connection states that articles repeat, measured on the running kernel.
//!
//! Each [`Myth`] makes the situation that the claim is about, in namespaces of its own, and judges the claim by what it
//! measured. Nothing is known beforehand: on a kernel that does what the claim says, the verdict is
//! [`Verdict::Right`]. Where the situation did not come about, it is [`Verdict::Unsure`].

mod kit;
mod ports;
mod queues;
mod settings;
mod time_wait;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use schemars::JsonSchema;
use serde::Serialize;

use crate::{Error, Launcher};

pub use kit::Lab;

/// Measurements that take longer than this many seconds mostly wait; each has a thread of its own.
const MOSTLY_WAITS: u32 = 8;
/// How many of the others run at a time.
const AT_A_TIME: usize = 2;

/// A belief, and how it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Myth {
    /// Its name, such as `fin-timeout-shortens-time-wait`.
    pub name: &'static str,
    /// The belief, as people say it, in one sentence.
    pub claim: &'static str,
    /// Where it is read.
    pub source: &'static str,
    /// What the kernel does instead, with its function or documentation.
    pub why: &'static str,
    /// About how long the measurement takes, seconds.
    pub seconds: u32,
    /// What the measurement needs: `network namespaces`, `veth`.
    pub needs: &'static [&'static str],
    /// Measures it; blocks for about `seconds`.
    pub measure: fn(&Lab) -> Result<Measured, Error>,
}

/// What a measurement found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Measured {
    /// The figures, in one line.
    pub text: String,
    /// What they say about the claim.
    pub verdict: Verdict,
}

/// What the figures say about a claim, on this kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The kernel does not do what is claimed.
    Wrong,
    /// It does.
    Right,
    /// It does in part, or only under a condition that the claim leaves out.
    Partly,
    /// It could not be measured, or the measurement's conditions were not met.
    Unsure,
}

/// A claim and what came of measuring it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MythResult {
    /// The belief's name.
    pub name: &'static str,
    /// The belief, in one sentence.
    pub claim: &'static str,
    /// The figures, in one line; absent where there are none.
    pub measured: Option<String>,
    /// What they say; `unsure` where there are none.
    pub verdict: Verdict,
    /// What the kernel does, with the source.
    pub why: &'static str,
    /// Where the belief is read.
    pub source: &'static str,
    /// How long the measurement took.
    pub seconds_taken: f64,
    /// Why there are no figures.
    pub error: Option<String>,
}

/// All of them, in the order in which they are shown.
pub fn all() -> &'static [Myth] {
    &[
        time_wait::FIN_TIMEOUT,
        time_wait::TWO_MINUTES,
        time_wait::REUSE_ON_THE_SERVER,
        time_wait::REUSE_WITHOUT_TIMESTAMPS,
        time_wait::BUCKETS,
        time_wait::DESCRIPTORS,
        time_wait::LONG_FIN_TIMEOUT,
        ports::PER_HOST,
        ports::BOUND,
        ports::PROXY,
        queues::ACCEPT_QUEUE,
        queues::SOMAXCONN,
        queues::FLOOD,
        queues::SYN_BACKLOG,
        settings::CONTAINERS,
        settings::RMEM_DEFAULT,
    ]
}

/// Measures those of these names (all, without names), and returns the results in the order of [`all`].
///
/// Those that mostly wait run side by side; of the others, which need a processor, two at a time. Together they take
/// little longer than the longest. `on_result` is called with each result as it comes, from several threads.
///
/// # Errors
/// [`Error::Malformed`] for a name that none has. What goes wrong while measuring is in the result.
pub fn measure_all(
    launcher: &Launcher,
    names: &[String],
    on_result: impl Fn(&'static str, &MythResult) + Sync,
) -> Result<Vec<MythResult>, Error> {
    let chosen = choose(names)?;
    let lab = Lab::new(launcher.clone());
    let results = Mutex::new(vec![None; chosen.len()]);
    let (waiting, working): (Vec<_>, Vec<_>) =
        chosen.into_iter().enumerate().partition(|(_, myth)| myth.seconds > MOSTLY_WAITS);
    let lanes = working.len().min(AT_A_TIME);
    let queue = Mutex::new(VecDeque::from(working));
    let measure = |(at, myth): (usize, &'static Myth)| {
        let result = measure(&lab, myth);
        on_result(myth.name, &result);
        lock(&results)[at] = Some(result);
    };
    thread::scope(|scope| {
        for each in waiting {
            scope.spawn(move || measure(each));
        }
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).pop_front();
                    match next {
                        Some(each) => measure(each),
                        None => break,
                    }
                }
            });
        }
    });
    Ok(results.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect())
}

fn choose(names: &[String]) -> Result<Vec<&'static Myth>, Error> {
    if let Some(unknown) = names.iter().find(|name| all().iter().all(|myth| myth.name != *name)) {
        let known: Vec<&str> = all().iter().map(|myth| myth.name).collect();
        let why = format!("none has this name; there are {}", known.join(", "));
        return Err(Error::Malformed { what: "myth", text: unknown.clone(), why });
    }
    Ok(all().iter().filter(|myth| names.is_empty() || names.iter().any(|name| name == myth.name)).collect())
}

fn measure(lab: &Lab, myth: &'static Myth) -> MythResult {
    let start = Instant::now();
    let mut result = MythResult {
        name: myth.name,
        claim: myth.claim,
        measured: None,
        verdict: Verdict::Unsure,
        why: myth.why,
        source: myth.source,
        seconds_taken: 0.0,
        error: None,
    };
    // One that breaks must not take the others' results with it.
    match catch_unwind(AssertUnwindSafe(|| (myth.measure)(lab))) {
        Ok(Ok(measured)) => {
            result.measured = Some(measured.text);
            result.verdict = measured.verdict;
        }
        Ok(Err(error)) => result.error = Some(error.to_string()),
        Err(_) => result.error = Some("the measurement panicked".into()),
    }
    result.seconds_taken = start.elapsed().as_secs_f64();
    result
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn entries_are_complete() {
        let names: BTreeSet<&str> = all().iter().map(|myth| myth.name).collect();
        assert_eq!(names.len(), all().len(), "names are unique");
        for myth in all() {
            assert!(
                myth.name.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9'))
            );
            for sentence in [myth.claim, myth.why] {
                assert!(sentence.ends_with('.') && !sentence.contains("  "), "{}: {sentence:?}", myth.name);
            }
            assert!(!myth.source.is_empty() && !myth.needs.is_empty() && myth.seconds > 0, "{}", myth.name);
        }
    }

    #[test]
    fn they_are_chosen_by_name() {
        assert_eq!(choose(&[]).unwrap().len(), all().len());
        let last = all().last().unwrap().name;
        let first = all()[0].name;
        let chosen = choose(&[last.into(), first.into()]).unwrap();
        assert_eq!(chosen.iter().map(|myth| myth.name).collect::<Vec<_>>(), [first, last]);
        let error = choose(&["time-weight".into()]).unwrap_err().to_string();
        assert!(error.contains("time-weight") && error.contains(first), "{error}");
    }

    #[test]
    fn what_goes_wrong_is_no_verdict() {
        const DENIED: Myth = Myth {
            measure: |_| Err(Error::Missing { program: "nft", package: "nftables" }),
            ..time_wait::FIN_TIMEOUT
        };
        const BROKEN: Myth = Myth { measure: |_| panic!("on purpose"), ..time_wait::FIN_TIMEOUT };
        let lab = Lab::new(Launcher::new("/there/is/no/such/program"));
        let denied = measure(&lab, &DENIED);
        assert_eq!((denied.verdict, denied.measured), (Verdict::Unsure, None));
        assert!(denied.error.unwrap().contains("nft is not installed"));
        let broken = measure(&lab, &BROKEN);
        assert_eq!((broken.verdict, broken.error.is_some()), (Verdict::Unsure, true));
    }
}
