//! What a journal tells: runs, their steps, and how far each is.

use std::io::BufRead;
use std::path::PathBuf;

use linger_facts::{Tunable, tunable};
use serde::Serialize;

use crate::journal::{Event, Record, VERSION};
use crate::settings::NetnsMark;
use crate::state::{Stamp, lines};

/// So many steps of one run are taken from the journal.
const MOST_STEPS: usize = 64;

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// The new value may be there or not.
    Writing,
    /// It is there.
    Written,
    /// It was watched and stays.
    Kept,
    /// The old value may be there again or not.
    Undoing,
    /// The old value is there again.
    Undone,
    /// Somebody else changed it.
    Foreign,
    /// It could not be undone.
    Stuck,
}

impl StepState {
    /// Whether the new value may be there, by this journal.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            StepState::Writing | StepState::Written | StepState::Kept | StepState::Undoing | StepState::Stuck
        )
    }
}

/// A step, as the journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its number in the run, from 0.
    pub number: usize,
    /// The setting.
    pub key: &'static Tunable,
    /// The value before.
    pub from: String,
    /// The value to set.
    pub to: String,
    /// What the kernel made of it, once it was read back.
    pub wrote: Option<String>,
    /// How far it is.
    pub state: StepState,
    /// What was seen of its effect, or why it was undone.
    pub note: String,
    /// When its file was written last, RFC 3339 in UTC: the line before that.
    pub at: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Steps are made, or the process that made them is gone.
    Open,
    /// All are made; they are taken back at this time of CLOCK_BOOTTIME, seconds.
    Awaiting(f64),
    /// They stay.
    Confirmed,
    /// They are being taken back, or the process that did it is gone.
    TakingBack,
    /// It is over.
    Closed,
}

impl Phase {
    /// Whether a process is to end it, or `recover`.
    #[must_use]
    pub fn is_unsettled(self) -> bool {
        matches!(self, Phase::Open | Phase::Awaiting(_) | Phase::TakingBack)
    }
}

/// A run, as the journal tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number.
    pub id: u64,
    /// When it began.
    pub at: String,
    /// In which boot.
    pub boot: String,
    /// Who began it.
    pub who: String,
    /// Where.
    pub netns: NetnsMark,
    /// Whether that was the host's own namespace.
    pub is_host: bool,
    /// The folder to persist into.
    pub persist: Option<PathBuf>,
    /// Whether a replacement of the file that sets values at boot was begun and not ended.
    pub is_half_persisted: bool,
    /// Whether its values are in the file that sets them at boot.
    pub is_persisted: bool,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How far it is.
    pub phase: Phase,
    /// How it ended.
    pub outcome: String,
    /// When it was confirmed or taken back, and who did that; empty where nobody has.
    pub settled: (String, String),
}

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Log {
    /// Runs, oldest first.
    pub runs: Vec<Run>,
    /// Lines that could not be read, by number from 1.
    pub unreadable: Vec<usize>,
}

impl Log {
    /// The run of this number.
    #[must_use]
    pub fn run(&self, id: u64) -> Option<&Run> {
        self.runs.iter().find(|run| run.id == id)
    }

    /// Runs of this boot that are neither confirmed nor over.
    pub fn unsettled<'a>(&'a self, boot: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.boot == boot && run.phase.is_unsettled())
    }

    /// Reads lines. It never fails: what it does not know, it counts.
    pub fn read(from: impl BufRead) -> Log {
        let mut log = Log::default();
        for (number, line) in lines::<Record>(from) {
            let known = line.ok().flatten().filter(|record| record.v == VERSION);
            if known.and_then(|record| log.take(record)).is_none() {
                log.unreadable.push(number);
            }
        }
        log
    }

    /// Takes a line in; `None` if it fits nothing before it.
    fn take(&mut self, record: Record) -> Option<()> {
        let Stamp { at, boot, who, .. } = record.stamp;
        if let Event::Begin { netns, is_host, persist } = record.event {
            let is_strange = persist.as_ref().is_some_and(|it| !it.is_absolute());
            if self.run(record.run).is_some() || is_strange {
                return None;
            }
            self.runs.push(Run {
                id: record.run,
                at,
                boot,
                who,
                netns,
                is_host,
                persist,
                is_half_persisted: false,
                is_persisted: false,
                steps: Vec::new(),
                phase: Phase::Open,
                outcome: String::new(),
                settled: (String::new(), String::new()),
            });
            return Some(());
        }
        let run = self.runs.iter_mut().find(|run| run.id == record.run)?;
        let steps = &mut run.steps;
        match record.event {
            Event::Begin { .. } => return None,
            Event::Write { step, key, from, to } => {
                let is_new = steps.iter().all(|it| it.number != step);
                // What was never a value of the kernel's is never written to it.
                let is_plain = |text: &str| {
                    !text.is_empty()
                        && text.len() <= 256
                        && text.bytes().all(|b| b.is_ascii_digit() || b" -,".contains(&b))
                };
                if !is_new
                    || step >= MOST_STEPS
                    || steps.len() >= MOST_STEPS
                    || !is_plain(&from)
                    || !is_plain(&to)
                {
                    return None;
                }
                let (key, state) = (tunable(&key)?, StepState::Writing);
                let (note, at) = (String::new(), at);
                steps.push(Step { number: step, key, from, to, wrote: None, state, note, at });
            }
            Event::Wrote { step, value } => found(steps, step, StepState::Written, None)?.wrote = Some(value),
            Event::Kept { step, effect } => {
                found(steps, step, StepState::Kept, Some(effect))?;
            }
            Event::Undo { step, why } => {
                found(steps, step, StepState::Undoing, Some(why))?.at = at;
            }
            Event::Undone { step } => {
                found(steps, step, StepState::Undone, None)?;
            }
            Event::Foreign { step, found: value } => {
                let note = format!("{value} was found");
                found(steps, step, StepState::Foreign, Some(note))?;
            }
            Event::Stuck { step, why } => {
                found(steps, step, StepState::Stuck, Some(why))?;
            }
            Event::Awaiting { until_s } => run.phase = Phase::Awaiting(until_s),
            Event::Confirmed => (run.phase, run.settled) = (Phase::Confirmed, (at, who)),
            Event::TakingBack { why } => {
                (run.phase, run.outcome, run.settled) = (Phase::TakingBack, why, (at, who));
            }
            Event::Closed { why } => {
                // Who began to take it back did it.
                if run.phase != Phase::TakingBack {
                    run.settled = (at, who);
                }
                (run.phase, run.outcome) = (Phase::Closed, why);
            }
            Event::Persisting { .. } => run.is_half_persisted = true,
            Event::Persisted => (run.is_half_persisted, run.is_persisted) = (false, true),
        }
        Some(())
    }
}

/// The step of this number, moved on.
fn found(steps: &mut [Step], number: usize, state: StepState, note: Option<String>) -> Option<&mut Step> {
    let step = steps.iter_mut().find(|step| step.number == number)?;
    step.state = state;
    if let Some(note) = note {
        step.note = note;
    }
    Some(step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{MARK, begin, write};
    use proptest::prelude::*;

    /// A record as a line, of nobody at no time.
    fn line(run: u64, event: Event) -> String {
        let (at, boot, who) = (String::new(), String::new(), String::new());
        let record = Record { v: VERSION, stamp: Stamp { at, boot, who, pid: 1 }, run, event };
        serde_json::to_string(&record).unwrap() + "\n"
    }

    #[test]
    fn lines_that_name_what_is_not_tunable_are_foreign() {
        let begin = line(1, begin());
        let of = |key: &str, from: &str| {
            line(1, Event::Write { step: 0, key: key.into(), from: from.into(), to: "1".into() })
        };
        for bad in [of("kernel.core_pattern", "1"), of("../x", "1"), of("net.ipv4.tcp_tw_reuse", "|sh")] {
            let log = Log::read((begin.clone() + &bad).as_bytes());
            assert_eq!((log.unreadable.as_slice(), log.runs[0].steps.len()), (&[2][..], 0), "{bad}");
        }
        // A folder that hangs on where it is read, a number that no other can follow, a step that no plan has.
        let relative = Event::Begin { netns: MARK, is_host: true, persist: Some("../etc".into()) };
        assert_eq!(Log::read(line(1, relative).as_bytes()).unreadable, [1]);
        let far = of("net.ipv4.tcp_tw_reuse", "2").replace("\"step\":0", "\"step\":18446744073709551615");
        assert_eq!(Log::read((begin.clone() + &far).as_bytes()).unreadable, [2]);
        // A step of a run that never began, and a second beginning.
        assert_eq!(Log::read(of("net.ipv4.tcp_tw_reuse", "2").as_bytes()).unreadable, [1]);
        assert_eq!(Log::read((begin.clone() + &begin).as_bytes()).unreadable, [2]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            let _ = Log::read(bytes.as_slice());
        }

        /// Lines in any order, some of them damaged.
        #[test]
        fn any_lines_are_read_without_a_panic(lines in proptest::collection::vec((0u64..3, 0usize..3, 0usize..12, any::<u8>(), 0usize..400), 0..40)) {
            let mut bytes = Vec::new();
            for (run, step, kind, damage, at) in lines {
                let event = match kind {
                    0 | 1 => begin(),
                    2 | 3 => write(step),
                    4 => Event::Wrote { step, value: "1".into() },
                    5 => Event::Kept { step, effect: String::new() },
                    6 => Event::Undo { step, why: String::new() },
                    7 => Event::Undone { step },
                    8 => Event::Foreign { step, found: "5".into() },
                    9 => Event::Awaiting { until_s: 1.0 },
                    10 => Event::Confirmed,
                    _ => Event::Closed { why: String::new() },
                };
                let mut line = line(run, event).into_bytes();
                if let Some(byte) = line.get_mut(at) {
                    *byte = damage;
                }
                bytes.extend(line);
            }
            let log = Log::read(bytes.as_slice());
            for run in &log.runs {
                prop_assert!(run.steps.len() <= MOST_STEPS);
            }
        }
    }
}
