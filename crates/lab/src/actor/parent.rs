use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use super::program::{folder_of, remove_folder};
use super::protocol::{Command, Event};
use super::{ActorSpec, Outcome};
use crate::{Error, Host};

/// How long a running actor may take to answer; it does so from a thread that does nothing else.
const PROMPT: Duration = Duration::from_secs(20);

/// The program that actors are started from: `linger __actor`, or `linger-actor`.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the spec's JSON follows them.
    pub args: Vec<OsString>,
}

impl Launcher {
    /// A launcher without arguments.
    pub fn new(program: impl Into<PathBuf>) -> Launcher {
        Launcher { program: program.into(), args: Vec::new() }
    }

    /// The same with one argument more.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Launcher {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// The running program with `__actor`, for the command itself.
    ///
    /// # Errors
    /// Where `/proc/self/exe` can't be read.
    pub fn this_program() -> std::io::Result<Launcher> {
        Ok(Launcher::new(std::env::current_exe()?).arg("__actor"))
    }
}

/// A running actor; killed and reaped when dropped.
#[derive(Debug)]
pub struct Actor {
    comm: String,
    is_program: bool,
    child: Child,
    stdin: Mutex<Option<ChildStdin>>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

/// What the actor has said so far.
#[derive(Debug, Default)]
struct Heard {
    ready: Option<Vec<u16>>,
    failed: Option<(String, String)>,
    progress: Option<Outcome>,
    released: Option<Outcome>,
    done: Option<Outcome>,
    has_ended: bool,
}

impl Actor {
    pub(crate) fn spawn(host: &Host, launcher: &Launcher, spec: &ActorSpec) -> Result<Actor, Error> {
        let failed = |source| Error::Host {
            host: host.name().to_owned(),
            operation: "start",
            subject: format!("the actor {} ({})", spec.comm(), launcher.program.display()),
            source,
        };
        let json = serde_json::to_string(spec).map_err(|error| failed(error.into()))?;
        let mut command = host.command(&launcher.program)?;
        command.args(&launcher.args).arg(json).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for the process that started them; they end, and clear up, when it does.
        command.process_group(0);
        let mut child = command.spawn().map_err(failed)?;
        let stdin = Mutex::new(child.stdin.take());
        let stdout = child.stdout.take().expect("it is piped");
        let heard = Arc::<(Mutex<Heard>, Condvar)>::default();
        let is_program = matches!(spec, ActorSpec::Program(_));
        let actor =
            Actor { comm: spec.comm().to_owned(), is_program, child, stdin, heard: Arc::clone(&heard) };
        // Ends with the actor's output.
        thread::Builder::new()
            .name("lab-actor".into())
            .spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let Ok(event) = serde_json::from_str(&line) else { continue };
                    let mut state = lock(&heard.0);
                    match event {
                        Event::Ready { ports } => state.ready = Some(ports),
                        Event::Failed { call, errno } => state.failed = Some((call, errno)),
                        Event::Progress(outcome) => state.progress = Some(outcome),
                        Event::Released(outcome) => state.released = Some(outcome),
                        Event::Done(outcome) => state.done = Some(outcome),
                    }
                    heard.1.notify_all();
                }
                lock(&heard.0).has_ended = true;
                heard.1.notify_all();
            })
            .map_err(failed)?;
        Ok(actor)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Its process name.
    pub fn comm(&self) -> &str {
        &self.comm
    }

    /// Waits until it is set up; the ports that it listens at or holds.
    ///
    /// # Errors
    /// [`Error::Actor`] when it couldn't be set up, with call and errno; [`Error::Silent`] past `timeout`.
    pub fn ready(&self, timeout: Duration) -> Result<Vec<u16>, Error> {
        self.wait("was not ready", timeout, |heard| heard.ready.clone())
    }

    /// Lets a client begin.
    ///
    /// # Errors
    /// When it has ended.
    pub fn go(&self) -> Result<(), Error> {
        self.tell(Command::Go)
    }

    /// Waits until a client has tried all it should (it still holds what it holds).
    ///
    /// # Errors
    /// [`Error::Silent`] past `timeout`, or when it has ended.
    pub fn done(&self, timeout: Duration) -> Result<Outcome, Error> {
        self.wait("was not done", timeout, |heard| heard.done.clone())
    }

    /// Whether a client has tried all it should.
    ///
    /// # Errors
    /// When it failed, or ended before it was done.
    pub fn is_done(&self) -> Result<bool, Error> {
        match self.done(Duration::ZERO) {
            Ok(_) => Ok(true),
            Err(Error::Silent { .. }) if !lock(&self.heard.0).has_ended => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What it did up to now.
    ///
    /// # Errors
    /// [`Error::Silent`] when it has ended or hangs.
    pub fn outcome_so_far(&self) -> Result<Outcome, Error> {
        lock(&self.heard.0).progress = None;
        self.tell(Command::Report)?;
        self.wait("did not report", PROMPT, |heard| heard.progress.take())
    }

    /// Waits until what it did up to now satisfies `is_enough`.
    ///
    /// # Errors
    /// [`Error::Silent`] past `timeout`, with the last outcome; or when it has ended.
    pub fn wait_until(
        &self,
        timeout: Duration,
        is_enough: impl Fn(&Outcome) -> bool,
    ) -> Result<Outcome, Error> {
        let start = Instant::now();
        loop {
            let outcome = self.outcome_so_far()?;
            if is_enough(&outcome) {
                return Ok(outcome);
            }
            if start.elapsed() > timeout {
                let what = format!("was not where it should be ({outcome:?})");
                return Err(Error::Silent { actor: self.comm.clone(), what, timeout });
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Makes it close everything it holds, and waits until that is done.
    ///
    /// # Errors
    /// [`Error::Silent`] when it has ended or hangs.
    pub fn release(&self) -> Result<Outcome, Error> {
        lock(&self.heard.0).released = None;
        self.tell(Command::Release)?;
        self.wait("did not release", PROMPT, |heard| heard.released.take())
    }

    /// Makes it end (closing everything), and waits for what it did.
    ///
    /// # Errors
    /// [`Error::Silent`] past `timeout`, or when it has ended before.
    pub fn stop(self, timeout: Duration) -> Result<Outcome, Error> {
        lock(&self.heard.0).done = None;
        self.tell(Command::Stop)?;
        self.wait("did not stop", timeout, |heard| heard.done.clone())
    }

    fn tell(&self, command: Command) -> Result<(), Error> {
        let mut line = serde_json::to_vec(&command).expect("a command is always JSON");
        line.push(b'\n');
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let written = stdin.as_mut().is_some_and(|stdin| stdin.write_all(&line).is_ok());
        // Why it ended is the last thing it says.
        if written { Ok(()) } else { self.wait("was killed, or ended by itself", PROMPT, |_| None) }
    }

    fn wait<T>(
        &self,
        what: &str,
        timeout: Duration,
        mut pick: impl FnMut(&mut Heard) -> Option<T>,
    ) -> Result<T, Error> {
        let start = Instant::now();
        let mut heard = lock(&self.heard.0);
        loop {
            if let Some(value) = pick(&mut heard) {
                return Ok(value);
            }
            if let Some((call, errno)) = heard.failed.clone() {
                return Err(Error::Actor { actor: self.comm.clone(), call, errno });
            }
            if heard.has_ended {
                return Err(self.silent(format!("ended and {what}"), start.elapsed()));
            }
            let Some(left) = timeout.checked_sub(start.elapsed()) else {
                return Err(self.silent(what.to_owned(), timeout));
            };
            heard = self.heard.1.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn silent(&self, what: String, timeout: Duration) -> Error {
        Error::Silent { actor: self.comm.clone(), what, timeout }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Harmless when it has ended: until it is reaped its id is nobody else's.
        let _ = self.child.kill();
        if let Some(pid) = Pid::from_raw(self.pid()).filter(|_| self.is_program) {
            // The kernel ends the program with it; nobody else is left to remove the folder.
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            remove_folder(&folder_of(self.pid()));
        }
        let _ = self.child.wait();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
