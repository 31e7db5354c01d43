//! The client: one epoll loop a thread, each connection a small state machine.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, getpeername, sockopt};

use super::child::{Failed, Shared, TICK, Timer, pop_due};
use super::protocol::Event;
use super::{Client, Close};
use crate::socket::{bind_address_no_port, keepalive, reset_on_close, tcp_socket, wait};

/// Connections begun before the answers to others are looked at.
const BURST: usize = 16;

pub(crate) fn run(shared: &Shared, spec: &Client) -> Result<(), Failed> {
    if spec.targets.is_empty() && spec.connections > 0 {
        return Err(Failed::new("connect (the client has no targets)", Errno::INVAL));
    }
    if [&spec.response_until, &spec.leak_on].into_iter().flatten().any(String::is_empty) {
        return Err(Failed::new("recv (the text to look for is empty)", Errno::INVAL));
    }
    shared.tell(&Event::Ready { ports: Vec::new() });
    if shared.wait_for_go() {
        shared.begin();
        let start = Instant::now();
        let work = Work { shared, spec, start, next: AtomicU64::new(0), is_halted: AtomicBool::new(false) };
        let result = thread::scope(|scope| {
            let others: Vec<_> = (1..spec.threads).map(|_| scope.spawn(|| Loop::new(&work)?.run())).collect();
            let own = Loop::new(&work).and_then(Loop::run);
            others
                .into_iter()
                .map(|thread| thread.join().expect("a loop doesn't panic"))
                .fold(own, Result::and)
        });
        result.map_err(|error| Failed::new("epoll", error))?;
        shared.finish();
        shared.done();
        shared.wait_for_stop();
    }
    shared.done();
    Ok(())
}

/// What the loops share.
struct Work<'a> {
    shared: &'a Shared,
    spec: &'a Client,
    start: Instant,
    /// The index of the next connection to try.
    next: AtomicU64,
    /// After a failure that is to be the last.
    is_halted: AtomicBool,
}

/// What may be begun now.
enum Due {
    Connection(u64),
    At(Instant),
    Nothing,
}

impl Work<'_> {
    fn due(&self) -> Due {
        let next = self.next.load(Ordering::Relaxed);
        let is_late = self.spec.seconds.is_some_and(|limit| self.start.elapsed().as_secs_f64() >= limit);
        let is_over = is_late || self.is_halted.load(Ordering::Relaxed) || self.shared.is_stopping();
        if is_over || next >= self.spec.connections {
            return Due::Nothing;
        }
        if let Some(rate) = self.spec.rate.filter(|rate| *rate > 0.0) {
            let after = Duration::try_from_secs_f64(next as f64 / rate).ok();
            // So slow that it is never.
            let Some(at) = after.and_then(|after| self.start.checked_add(after)) else { return Due::Nothing };
            if Instant::now() < at {
                return Due::At(at);
            }
        }
        match self.next.fetch_add(1, Ordering::Relaxed) {
            index if index < self.spec.connections => Due::Connection(index),
            _ => Due::Nothing,
        }
    }

    fn ends(&self, index: u64) -> (SocketAddr, Option<IpAddr>) {
        let (targets, sources) = (&self.spec.targets, &self.spec.sources);
        let pick =
            |index: u64, length: usize| usize::try_from(index % length as u64).expect("below a length");
        let target = targets[pick(index, targets.len())];
        // Each source meets each target.
        let source =
            (!sources.is_empty()).then(|| sources[pick(index / targets.len() as u64, sources.len())]);
        (target, source)
    }
}

#[derive(Clone, Copy)]
enum Phase {
    Connecting,
    Writing {
        left: usize,
    },
    Reading {
        left: usize,
    },
    Pausing,
    Holding,
    /// Writing what nobody reads; whether the last time nothing could be.
    Filling {
        is_full: bool,
    },
    AwaitingEnd,
}

struct Connection {
    socket: OwnedFd,
    target: SocketAddr,
    begun: Instant,
    phase: Phase,
    /// The end of what was received since the request: where a text may begin that is looked for.
    received: Vec<u8>,
    /// After the one under way.
    requests_left: u32,
    interest: EventFlags,
    /// Tells it from others that had its descriptor before.
    serial: u64,
}

/// Which of the constant delays a timer is of; the timers of one delay are due in the order they were set.
#[derive(Clone, Copy)]
enum Delay {
    Connect,
    Pause,
    Hold,
    Fill,
}

const DELAYS: [Delay; 4] = [Delay::Connect, Delay::Pause, Delay::Hold, Delay::Fill];
/// How long a full send buffer must stay so.
const FULL_MS: u64 = 250;

/// How a step ended that didn't fail.
enum Step {
    /// The connection waits for an event or a timer.
    Wait,
    /// It is over; the socket is to be closed.
    Close,
    /// It is over; the socket is to be held.
    Hold,
    /// It is forgotten: the same, but no success.
    Leak,
}

/// What of an answer was found.
struct Found {
    /// Its end, if that is a text.
    end: Option<bool>,
    /// The text of an error.
    error: bool,
}

type Failure = (&'static str, io::Error);

/// Why a held connection is over.
fn lost(socket: &OwnedFd) -> Failure {
    match sockopt::socket_error(socket) {
        Ok(Err(error)) | Err(error) => ("hold", error.into()),
        Ok(Ok(())) => ("hold", io::ErrorKind::UnexpectedEof.into()),
    }
}

fn call(name: &'static str) -> impl Fn(Errno) -> Failure {
    move |error| (name, error.into())
}

struct Loop<'a> {
    work: &'a Work<'a>,
    epoll: OwnedFd,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    timers: [VecDeque<Timer>; DELAYS.len()],
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// Where texts are looked for.
    text: Vec<u8>,
    /// How many may be under way here.
    concurrency: usize,
    open: usize,
    /// Those of `open` that only wait for their hold time.
    holding: usize,
    serial: u64,
}

impl<'a> Loop<'a> {
    fn new(work: &'a Work<'a>) -> io::Result<Loop<'a>> {
        Ok(Loop {
            work,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            timers: Default::default(),
            request: match &work.spec.request {
                Some(text) => text.clone().into_bytes(),
                None => vec![b'?'; work.spec.request_bytes as usize],
            },
            buffer: vec![0; 1 << 16],
            text: Vec::new(),
            concurrency: (work.spec.concurrency / work.spec.threads.max(1)).max(1),
            open: 0,
            holding: 0,
            serial: 0,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        loop {
            let mut until = Instant::now() + TICK;
            for begun in 0.. {
                if self.open - self.holding >= self.concurrency {
                    break;
                }
                if begun == BURST {
                    until = Instant::now();
                    break;
                }
                match self.work.due() {
                    Due::Connection(index) => self.begin(index),
                    Due::Nothing if self.open == 0 => return Ok(()),
                    Due::Nothing => break,
                    Due::At(at) => {
                        until = until.min(at);
                        break;
                    }
                }
            }
            if self.work.shared.is_stopping() {
                return Ok(());
            }
            for timers in &self.timers {
                until = timers.front().map_or(until, |timer| until.min(timer.0));
            }
            wait(&self.epoll, &mut events, until)?;
            for event in events.drain(..) {
                self.wake(RawFd::try_from(event.data.u64()).expect("a descriptor was put in"), None);
            }
            for delay in DELAYS {
                self.run_timers(delay);
            }
        }
    }

    fn begin(&mut self, index: u64) {
        let shared = self.work.shared;
        shared.attempt();
        let (target, source) = self.work.ends(index);
        let begun = Instant::now();
        match self.connect(target, source) {
            Ok(socket) if self.work.spec.nonblocking_hold => {
                shared.succeed();
                shared.hold(socket);
            }
            Ok(socket) => {
                self.serial += 1;
                self.open += 1;
                let connection = Connection {
                    socket,
                    target,
                    begun,
                    phase: Phase::Connecting,
                    received: Vec::new(),
                    requests_left: self.work.spec.requests.saturating_sub(1),
                    interest: EventFlags::empty(),
                    serial: self.serial,
                };
                self.advance(connection);
            }
            Err(failure) => self.fail(failure),
        }
    }

    fn connect(&self, target: SocketAddr, source: Option<IpAddr>) -> Result<OwnedFd, Failure> {
        let spec = self.work.spec;
        let socket = tcp_socket(&target).map_err(|error| ("socket", error))?;
        if source.is_some() || spec.bind_port {
            if !spec.bind_port {
                bind_address_no_port(&socket).map_err(|error| ("setsockopt", error))?;
            }
            let any = if target.is_ipv6() { IpAddr::from([0u16; 8]) } else { IpAddr::from([0u8; 4]) };
            let address = SocketAddr::new(source.unwrap_or(any), 0);
            rustix::net::bind(&socket, &address).map_err(call("bind"))?;
        }
        if spec.keepalive || spec.keepalive_times.is_some() {
            keepalive(&socket, spec.keepalive_times).map_err(|error| ("setsockopt", error))?;
        }
        if (spec.fill || spec.close == Close::WithUnsent) && spec.unsent_bytes > 0 {
            sockopt::set_socket_send_buffer_size(&socket, spec.unsent_bytes as usize)
                .map_err(call("setsockopt"))?;
        }
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
            Err(error) => Err(call("connect")(error)),
        }
    }

    /// Goes on with a connection that an event or a timer is for.
    fn wake(&mut self, fd: RawFd, timer: Option<(Delay, u64)>) {
        let Some(slot) = usize::try_from(fd).ok().and_then(|fd| self.connections.get_mut(fd)) else { return };
        let is_meant = slot.as_ref().is_some_and(|connection| match (timer, connection.phase) {
            // Of what waits for a timer, an event is not.
            (None, _) => !connection.interest.is_empty(),
            (Some((Delay::Connect, serial)), Phase::Connecting)
            | (Some((Delay::Pause, serial)), Phase::Pausing)
            | (Some((Delay::Hold, serial)), Phase::Holding)
            | (Some((Delay::Fill, serial)), Phase::Filling { .. }) => connection.serial == serial,
            (Some(_), _) => false,
        });
        let Some(mut connection) = is_meant.then(|| slot.take()).flatten() else { return };
        match timer {
            // A process that was not run for so long has the answer, and the news of it, at the same time.
            Some((Delay::Connect, _)) if getpeername(&connection.socket).is_err() => {
                self.open -= 1;
                return self.fail(("connect", Errno::TIMEDOUT.into()));
            }
            Some((Delay::Connect, _)) => {}
            Some((Delay::Pause, _)) => self.ask(&mut connection),
            Some((Delay::Hold, _)) => {
                self.holding -= 1;
                let step = self.end(&mut connection);
                return self.after(connection, step);
            }
            Some((Delay::Fill, _)) => {}
            None if matches!(connection.phase, Phase::Holding) => {
                self.holding -= 1;
                self.open -= 1;
                return self.fail(lost(&connection.socket));
            }
            None => {}
        }
        self.advance(connection);
    }

    /// Turns to the next request.
    fn ask(&self, connection: &mut Connection) {
        connection.received.clear();
        connection.phase = Phase::Writing { left: self.request.len() };
    }

    fn advance(&mut self, mut connection: Connection) {
        let step = self.step(&mut connection);
        self.after(connection, step);
    }

    fn after(&mut self, connection: Connection, step: Result<Step, Failure>) {
        match step {
            Ok(Step::Wait) => {
                let at = usize::try_from(connection.socket.as_raw_fd()).expect("descriptors aren't negative");
                if at >= self.connections.len() {
                    self.connections.resize_with(at + 1, || None);
                }
                self.connections[at] = Some(connection);
                return;
            }
            Ok(Step::Close) => self.work.shared.succeed(),
            Ok(step @ (Step::Hold | Step::Leak)) => {
                match step {
                    Step::Leak => drop(self.work.shared.leaked.fetch_add(1, Ordering::Relaxed)),
                    _ => self.work.shared.succeed(),
                }
                if !connection.interest.is_empty() {
                    let _ = epoll::delete(&self.epoll, &connection.socket);
                }
                self.work.shared.hold(connection.socket);
            }
            Err(failure) => self.fail(failure),
        }
        self.open -= 1;
    }

    fn fail(&self, (call, error): Failure) {
        self.work.shared.fail(call, &error);
        if self.work.spec.stop_on_error {
            self.work.is_halted.store(true, Ordering::Relaxed);
        }
    }

    /// Does what can be done without waiting.
    fn step(&mut self, connection: &mut Connection) -> Result<Step, Failure> {
        let spec = self.work.spec;
        loop {
            match connection.phase {
                // Asked again, connect() tells how it went, or that it goes on.
                Phase::Connecting => match rustix::net::connect(&connection.socket, &connection.target) {
                    Ok(()) | Err(Errno::ISCONN) => {
                        self.work.shared.connects.count(connection.begun.elapsed());
                        if spec.requests == 0 || self.request.is_empty() {
                            return self.exchanged(connection);
                        }
                        self.ask(connection);
                    }
                    Err(Errno::ALREADY | Errno::INPROGRESS) => {
                        if connection.interest.is_empty()
                            && let Some(patience) = spec.connect_timeout_ms
                        {
                            self.set_timer(Delay::Connect, patience, connection);
                        }
                        return self.wait_for(connection, EventFlags::OUT);
                    }
                    Err(error) => return Err(call("connect")(error)),
                },
                Phase::Writing { left } => {
                    let rest = &self.request[self.request.len() - left..];
                    match rustix::net::send(&connection.socket, rest, SendFlags::NOSIGNAL) {
                        Ok(sent) if sent < left => connection.phase = Phase::Writing { left: left - sent },
                        Ok(_) if spec.never_read => return Ok(Step::Hold),
                        Ok(_) if spec.response_bytes == 0 && spec.response_until.is_none() => {
                            return self.exchanged(connection);
                        }
                        Ok(_) => connection.phase = Phase::Reading { left: spec.response_bytes as usize },
                        Err(Errno::AGAIN) => return self.wait_for(connection, EventFlags::OUT),
                        Err(error) => return Err(call("send")(error)),
                    }
                }
                Phase::Reading { left } => {
                    match rustix::net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty()) {
                        Ok((0, _)) => return Err(("recv", io::ErrorKind::UnexpectedEof.into())),
                        Ok((read, _)) => {
                            let found = self.look(connection, read);
                            if found.error {
                                return Ok(Step::Leak);
                            }
                            if !found.end.unwrap_or(read >= left) {
                                connection.phase = Phase::Reading { left: left.saturating_sub(read) };
                                continue;
                            }
                            self.work.shared.answered.fetch_add(1, Ordering::Relaxed);
                            if connection.requests_left > 0 && spec.pause_ms == 0 {
                                connection.requests_left -= 1;
                                self.ask(connection);
                            } else {
                                return self.exchanged(connection);
                            }
                        }
                        Err(Errno::AGAIN) => return self.wait_for(connection, EventFlags::IN),
                        Err(error) => return Err(call("recv")(error)),
                    }
                }
                Phase::AwaitingEnd => {
                    match rustix::net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty()) {
                        Ok((0, _)) => return Ok(Step::Close),
                        Ok(_) => {}
                        Err(Errno::AGAIN) => return self.wait_for(connection, EventFlags::IN),
                        Err(error) => return Err(call("recv")(error)),
                    }
                }
                Phase::Filling { is_full } => return self.fill(connection, is_full),
                Phase::Pausing | Phase::Holding => return Ok(Step::Wait),
            }
        }
    }

    /// Looks for texts in what was received now, and the end of what was before.
    fn look(&mut self, connection: &mut Connection, read: usize) -> Found {
        let spec = self.work.spec;
        let wanted = [&spec.response_until, &spec.leak_on].map(Option::as_deref);
        let Some(longest) = wanted.iter().flatten().map(|text| text.len()).max() else {
            return Found { end: None, error: false };
        };
        self.text.clear();
        self.text.append(&mut connection.received);
        self.text.extend_from_slice(&self.buffer[..read]);
        let rest = self.text.len().saturating_sub(longest - 1);
        connection.received.extend_from_slice(&self.text[rest..]);
        let [end, error] = wanted.map(|wanted| {
            wanted.map(|wanted| self.text.windows(wanted.len()).any(|part| part == wanted.as_bytes()))
        });
        Found { end, error: error == Some(true) }
    }

    /// Writes until nothing more can be, and then again after a while: the peer may only have been slow.
    fn fill(&mut self, connection: &mut Connection, was_full: bool) -> Result<Step, Failure> {
        let mut is_full = was_full;
        // Bounded, in case that the peer does read.
        for _ in 0..BURST {
            match rustix::net::send(&connection.socket, &self.buffer, SendFlags::NOSIGNAL) {
                Ok(_) => is_full = false,
                Err(Errno::AGAIN) if is_full => {
                    let is_kept = self.work.spec.close != Close::WithUnsent;
                    return Ok(if is_kept { Step::Hold } else { Step::Close });
                }
                Err(Errno::AGAIN) => {
                    is_full = true;
                    break;
                }
                Err(error) => return Err(call("send")(error)),
            }
        }
        connection.phase = Phase::Filling { is_full };
        self.set_timer(Delay::Fill, FULL_MS, connection);
        self.wait_for(connection, EventFlags::empty())
    }

    /// After an answer, or where none is waited for.
    fn exchanged(&mut self, connection: &mut Connection) -> Result<Step, Failure> {
        let spec = self.work.spec;
        if connection.requests_left > 0 && !self.request.is_empty() {
            connection.requests_left -= 1;
            connection.phase = Phase::Pausing;
            self.set_timer(Delay::Pause, spec.pause_ms, connection);
            return self.wait_for(connection, EventFlags::empty());
        }
        if spec.hold_ms > 0 && spec.close != Close::Never {
            connection.phase = Phase::Holding;
            self.holding += 1;
            self.set_timer(Delay::Hold, spec.hold_ms, connection);
            // With probes, the end of a peer is an error here; its FIN is none.
            let has_probes = spec.keepalive || spec.keepalive_times.is_some();
            let interest = if has_probes { EventFlags::ERR } else { EventFlags::empty() };
            return self.wait_for(connection, interest);
        }
        self.end(connection)
    }

    fn end(&mut self, connection: &mut Connection) -> Result<Step, Failure> {
        if self.work.spec.fill || self.work.spec.close == Close::WithUnsent {
            return self.fill(connection, false);
        }
        match self.work.spec.close {
            Close::ClientFirst | Close::WithUnsent => Ok(Step::Close),
            Close::Never => Ok(Step::Hold),
            Close::Abort => match reset_on_close(&connection.socket) {
                Ok(()) => Ok(Step::Close),
                Err(error) => Err(("setsockopt", error)),
            },
            Close::HalfClose => match rustix::net::shutdown(&connection.socket, Shutdown::Write) {
                Ok(()) => Ok(Step::Hold),
                Err(error) => Err(call("shutdown")(error)),
            },
            Close::ServerFirst => {
                connection.phase = Phase::AwaitingEnd;
                self.step(connection)
            }
        }
    }

    fn wait_for(&self, connection: &mut Connection, interest: EventFlags) -> Result<Step, Failure> {
        if connection.interest != interest {
            let socket = &connection.socket;
            let data =
                EventData::new_u64(u64::try_from(socket.as_raw_fd()).expect("descriptors aren't negative"));
            let result = if connection.interest.is_empty() {
                epoll::add(&self.epoll, socket, data, interest)
            } else if interest.is_empty() {
                // Even without any interest, errors and hang-ups would be reported over and over.
                epoll::delete(&self.epoll, socket)
            } else {
                epoll::modify(&self.epoll, socket, data, interest)
            };
            result.map_err(call("epoll_ctl"))?;
            connection.interest = interest;
        }
        Ok(Step::Wait)
    }

    fn set_timer(&mut self, delay: Delay, ms: u64, connection: &Connection) {
        let at = Instant::now() + Duration::from_millis(ms);
        self.timers[delay as usize].push_back((at, connection.socket.as_raw_fd(), connection.serial));
    }

    fn run_timers(&mut self, delay: Delay) {
        let now = Instant::now();
        while let Some((_, fd, serial)) = pop_due(&mut self.timers[delay as usize], now) {
            self.wake(fd, Some((delay, serial)));
        }
    }
}
