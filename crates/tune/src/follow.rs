//! A run that a process follows in the journal.

use std::fs::File;
use std::io::{BufReader, Seek};

use crate::journal::Journal;
use crate::log::{Log, Phase, Run, Step};
use crate::{Error, Kind};

/// A run, as the journal tells it again and again, by a process whose duty it is to end it: it outlasts the journal. Its
/// file is held open, so that every line that was written before somebody took it away is known.
#[derive(Debug)]
pub struct Follower {
    file: BufReader<File>,
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
        let lost =
            || Error::new("follow", format!("run {run}"), Kind::Vanished, "the journal has no such run");
        let mut file = journal.file()?.ok_or_else(lost)?;
        let length = length(&file).map_err(|error| Error::io("follow", format!("run {run}"), error))?;
        let run = Log::read(&mut file).runs.into_iter().find(|it| it.id == run).ok_or_else(lost)?;
        Ok(Follower { file, length, run })
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
        let told = self.read();
        match journal.is_file(self.file.get_ref()) {
            Ok(true) => told,
            Ok(false) => match journal.file() {
                // Another file in its place, as an editor leaves it, may tell of the run all the same.
                Ok(Some(file)) => {
                    let held = std::mem::replace(&mut self.file, file);
                    self.length = 0;
                    let told = self.read();
                    if told != Told::Known {
                        self.file = held;
                    }
                    told
                }
                Ok(None) => Told::Lost,
                Err(_) => Told::Unreadable,
            },
            Err(_) => Told::Unreadable,
        }
    }

    /// Reads the file that is held.
    fn read(&mut self) -> Told {
        let Ok(length) = length(&self.file) else { return Told::Unreadable };
        // Read anew only where a line was added.
        if length == self.length {
            return Told::Known;
        }
        if self.file.rewind().is_err() {
            return Told::Unreadable;
        }
        let log = Log::read(&mut self.file);
        match log.runs.into_iter().find(|it| it.id == self.run.id && it.at == self.run.at) {
            Some(run) => {
                (self.length, self.run) = (length, run);
                Told::Known
            }
            None => Told::Lost,
        }
    }
}

fn length(file: &BufReader<File>) -> std::io::Result<u64> {
    Ok(file.get_ref().metadata()?.len())
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
        // Another file in its place.
        let file = journal.path().join(FILE);
        std::fs::copy(&file, journal.path().join("copy")).unwrap();
        std::fs::rename(journal.path().join("copy"), &file).unwrap();
        assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Known, 1));
        // What was written since the last look is known, though the file is gone.
        journal.append(&lock, 1, write(1)).unwrap();
        std::fs::remove_file(&file).unwrap();
        for _ in 0..2 {
            assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Lost, 2));
        }
        // No lines without their beginning; another run of this number is not the one that is followed.
        assert_eq!(journal.append(&lock, 1, Event::Confirmed).unwrap_err().kind, Kind::Vanished);
        std::thread::sleep(Duration::from_millis(2));
        journal.append(&lock, 1, begin()).unwrap();
        for _ in 0..2 {
            assert_eq!((follower.look(&journal), follower.run().steps.len()), (Told::Lost, 2));
        }
        // Emptied.
        let mut follower = Follower::new(&journal, 1).unwrap();
        std::fs::File::create(&file).unwrap();
        for _ in 0..2 {
            assert_eq!(follower.look(&journal), Told::Lost);
        }
    }
}
