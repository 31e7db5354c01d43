//! A run that a process follows in the journal.

use crate::journal::Journal;
use crate::log::{Phase, Run, Step};
use crate::{Error, Kind};

/// A run, as the journal tells it again and again, by a process whose duty it is to end it: it outlasts the journal.
#[derive(Debug)]
pub struct Follower {
    length: u64,
    run: Run,
}

/// What a journal tells of a run that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// How far it is.
    Known,
    /// Nothing at the moment: it can't be read.
    Unreadable,
    /// It knows no such run any more: somebody has taken the journal away.
    Lost,
}

impl Follower {
    /// Of a run that the journal knows.
    ///
    /// # Errors
    /// When it does not, or can't be read.
    pub fn new(journal: &Journal, run: u64) -> Result<Follower, Error> {
        let length = journal.length()?;
        let lost =
            || Error::new("follow", format!("run {run}"), Kind::Vanished, "the journal has no such run");
        let run = journal.read()?.runs.into_iter().find(|it| it.id == run).ok_or_else(lost)?;
        Ok(Follower { length, run })
    }

    /// What this process did itself, whether or not the journal can still be read.
    pub(crate) fn has_done(&mut self, steps: Vec<Step>, phase: Phase) {
        (self.run.steps, self.run.phase) = (steps, phase);
    }

    /// The run, as it was told last.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Looks again.
    pub fn look(&mut self, journal: &Journal) -> Told {
        // Read anew only where a line was added.
        match journal.length() {
            Ok(length) if length == self.length => Told::Known,
            Ok(length) => match journal.read() {
                Ok(log) => match log.runs.into_iter().find(|it| it.id == self.run.id && it.at == self.run.at)
                {
                    Some(run) => {
                        (self.length, self.run) = (length, run);
                        Told::Known
                    }
                    None => Told::Lost,
                },
                Err(_) => Told::Unreadable,
            },
            Err(_) => Told::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::tests::{MARK, begin, journal, write};
    use crate::journal::{Event, FILE};
    use std::time::Duration;

    #[test]
    fn what_follows_a_run_outlasts_the_journal() {
        let (_folder, journal) = journal();
        let lock = journal.lock(MARK, Duration::ZERO).unwrap();
        assert_eq!(Follower::new(&journal, 1).unwrap_err().kind, Kind::Vanished);
        journal.append(&lock, 1, begin()).unwrap();
        let mut follower = Follower::new(&journal, 1).unwrap();
        journal.append(&lock, 1, write(0)).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Known, 1));
        std::fs::remove_file(journal.path().join(FILE)).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Lost, 1));
        // No lines without their beginning; another run of this number is not the one that is followed.
        assert_eq!(journal.append(&lock, 1, Event::Confirmed).unwrap_err().kind, Kind::Vanished);
        std::thread::sleep(Duration::from_millis(2));
        journal.append(&lock, 1, begin()).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Lost, 1));
    }
}
