use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::io::{self, BufRead, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::latency::Histogram;
use super::program::Running;
use super::protocol::{Command, Event, errno_name};
use super::{ActorSpec, Outcome, client, hold, program, server};

/// How long a loop may sleep before it looks whether it is to stop.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// When, for the connection at which descriptor, and its serial.
pub(crate) type Timer = (Instant, RawFd, u64);

/// Takes the first of `timers`, which are in order, if it is due.
pub(crate) fn pop_due(timers: &mut VecDeque<Timer>, now: Instant) -> Option<Timer> {
    if timers.front()?.0 <= now { timers.pop_front() } else { None }
}

/// Runs an actor to its end; returns the exit status of its process.
///
/// `spec_json` is an [`ActorSpec`]. It takes over the process: its name, its descriptor limit, standard input and
/// output, and ends it when standard input does.
pub fn actor_main(spec_json: &str) -> i32 {
    close_inherited();
    let spec: ActorSpec = match serde_json::from_str(spec_json) {
        Ok(spec) => spec,
        Err(error) => {
            eprintln!("an actor can't understand what it is to do: {error}");
            return 3;
        }
    };
    if let Ok(name) = CString::new(spec.comm()) {
        // A name is for people; the kernel takes its first 15 bytes.
        let _ = rustix::thread::set_name(&name);
    }
    set_nofile(spec.nofile());

    let shared = Arc::new(Shared::default());
    let listener = Arc::clone(&shared);
    if let Err(error) = thread::Builder::new().spawn(move || listener.listen_to_parent()) {
        shared.tell(&Event::Failed { call: "start a thread".into(), errno: errno_name(&error) });
        return 1;
    }
    let result = match &spec {
        ActorSpec::Client(spec) => client::run(&shared, spec),
        ActorSpec::Server(spec) => server::run(&shared, spec),
        ActorSpec::Bound(spec) => hold::bound(&shared, spec),
        ActorSpec::Sockets(spec) => hold::sockets(&shared, spec),
        ActorSpec::Program(spec) => program::run(&shared, spec),
    };
    match result {
        Ok(()) => 0,
        Err(Failed { call, error }) => {
            shared.tell(&Event::Failed { call, errno: errno_name(&error) });
            1
        }
    }
}

/// Closes what came down from a shell by accident: a descriptor above an actor's limit would make it hold more than it
/// may, which no rule can make sense of.
fn close_inherited() {
    // SAFETY: it is the first thing this process does: nobody holds a descriptor but the standard ones. A kernel before
    // 5.9 refuses, and they stay.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

fn set_nofile(wanted: Option<u64>) {
    let limit = getrlimit(Resource::Nofile);
    let maximum = wanted.or(limit.maximum);
    // What was asked for may be above the hard limit; then the limit stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted.or(limit.maximum), maximum });
}

/// Why an actor can't begin.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) call: String,
    pub(crate) error: io::Error,
}

impl Failed {
    pub(crate) fn new(call: impl Into<String>, error: impl Into<io::Error>) -> Failed {
        Failed { call: call.into(), error: error.into() }
    }
}

/// What an actor's threads share.
#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) attempted: AtomicU64,
    pub(crate) succeeded: AtomicU64,
    /// Answers that a client got whole.
    pub(crate) answered: AtomicU64,
    pub(crate) ended: AtomicU64,
    /// Accepted connections that a server's loop still looks after.
    pub(crate) active: AtomicU64,
    /// Connections that the client forgot.
    pub(crate) leaked: AtomicU64,
    pub(crate) connects: Histogram,
    /// The program that is to end with this process.
    pub(crate) program: Mutex<Option<Running>>,
    is_stopping: AtomicBool,
    errors: Mutex<BTreeMap<(&'static str, String), u64>>,
    first_error_after: OnceLock<u64>,
    held: Mutex<Vec<OwnedFd>>,
    clock: Mutex<(Option<Instant>, Option<Instant>)>,
    has_go: Mutex<bool>,
    told: Condvar,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn attempt(&self) {
        self.attempted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn succeed(&self) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn fail(&self, call: &'static str, error: &io::Error) {
        self.first_error_after.get_or_init(|| self.succeeded.load(Ordering::Relaxed));
        *lock(&self.errors).entry((call, errno_name(error))).or_default() += 1;
    }

    /// Keeps a socket until it is released.
    pub(crate) fn hold(&self, socket: OwnedFd) {
        lock(&self.held).push(socket);
    }

    pub(crate) fn begin(&self) {
        lock(&self.clock).0 = Some(Instant::now());
    }

    pub(crate) fn finish(&self) {
        lock(&self.clock).1 = Some(Instant::now());
    }

    /// Waits for `go`; false when it is `stop` that came.
    pub(crate) fn wait_for_go(&self) -> bool {
        let mut has_go = lock(&self.has_go);
        while !*has_go && !self.is_stopping() {
            has_go = self.told.wait(has_go).unwrap_or_else(PoisonError::into_inner);
        }
        *has_go
    }

    pub(crate) fn wait_for_stop(&self) {
        let mut guard = lock(&self.has_go);
        while !self.is_stopping() {
            guard = self.told.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sleeps, unless `stop` comes.
    pub(crate) fn sleep(&self, time: Duration) {
        let guard = lock(&self.has_go);
        let waited = self.told.wait_timeout_while(guard, time, |_| !self.is_stopping());
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn outcome(&self) -> Outcome {
        let mut outcome = Outcome {
            attempted: self.attempted.load(Ordering::Relaxed),
            succeeded: self.succeeded.load(Ordering::Relaxed),
            answered: self.answered.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
            leaked: self.leaked.load(Ordering::Relaxed),
            first_error_after: self.first_error_after.get().copied(),
            connect_ms: self.connects.latency(),
            held: lock(&self.held).len() as u64 + self.active.load(Ordering::Relaxed),
            ..Outcome::default()
        };
        for ((call, errno), count) in lock(&self.errors).iter() {
            *outcome.errors.entry(errno.clone()).or_default() += count;
            *outcome.errors_by_call.entry(format!("{call} {errno}")).or_default() += count;
        }
        if let (Some(start), end) = *lock(&self.clock) {
            outcome.seconds = end.unwrap_or_else(Instant::now).duration_since(start).as_secs_f64();
        }
        outcome
    }

    pub(crate) fn tell(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).expect("an event is always JSON");
        line.push(b'\n');
        if io::stdout().lock().write_all(&line).is_err() {
            // Nobody is left to tell.
            self.end(1);
        }
    }

    pub(crate) fn done(&self) {
        self.tell(&Event::Done(self.outcome()));
    }

    fn listen_to_parent(&self) {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let Ok(command) = serde_json::from_str::<Command>(&line) else {
                eprintln!("an actor can't understand {line:?}");
                continue;
            };
            match command {
                Command::Go => {
                    *lock(&self.has_go) = true;
                    self.told.notify_all();
                }
                Command::Report => self.tell(&Event::Progress(self.outcome())),
                Command::Release => {
                    drop(std::mem::take(&mut *lock(&self.held)));
                    self.tell(&Event::Released(self.outcome()));
                }
                Command::Stop => {
                    let _guard = lock(&self.has_go);
                    self.is_stopping.store(true, Ordering::Relaxed);
                    self.told.notify_all();
                }
            }
        }
        // The parent has gone, in whatever way; so does everything of its world.
        self.end(0);
    }

    /// Ends this process, and the program with it.
    fn end(&self, status: i32) -> ! {
        drop(lock(&self.program).take());
        std::process::exit(status);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
