//! The server: listeners, and one epoll loop a thread for what they accept.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, sockopt};

use super::child::{Failed, Shared, TICK, Timer, pop_due};
use super::protocol::Event;
use super::{Behaviour, Server};
use crate::socket::{keepalive, local_port, tcp_socket, wait};

/// Marks an event as a listener's; below it are descriptors.
const LISTENER: u64 = 1 << 32;
/// Connections accepted before those there are get their turn.
const BATCH: usize = 64;
/// How long accept() rests after a failure that will last, such as EMFILE.
const REST: Duration = Duration::from_millis(50);

/// How long a server that can't listen waits before it tries again.
const RETRY: Duration = Duration::from_millis(200);

pub(crate) fn run(shared: &Shared, spec: &Server) -> Result<(), Failed> {
    let mut listeners = Vec::new();
    let mut ports = Vec::new();
    for &address in &spec.listen {
        let mut address = address;
        for _ in 0..spec.reuseport.max(1) {
            let Some(listener) = listen_at_last(shared, spec, address)? else {
                shared.done();
                return Ok(());
            };
            // The rest of a group takes the port that the first was given.
            address.set_port(local_port(&listener).map_err(|error| Failed::new("getsockname", error))?);
            listeners.push(listener);
        }
        ports.push(address.port());
    }
    let threads = spec.threads.max(1);
    let prepare = |thread| {
        let own: Vec<&OwnedFd> = listeners
            .iter()
            .enumerate()
            .filter(|(index, _)| spec.reuseport <= 1 || index % threads == thread)
            .map(|(_, listener)| listener)
            .collect();
        Loop::new(shared, spec, own).map_err(|error| Failed::new("epoll", error))
    };
    let loops = (0..threads).map(prepare).collect::<Result<Vec<Loop<'_>>, Failed>>()?;
    shared.begin();
    shared.tell(&Event::Ready { ports });
    let result = thread::scope(|scope| {
        let threads: Vec<_> = loops.into_iter().map(|each| scope.spawn(|| each.run())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a loop doesn't panic"))
            .fold(Ok(()), Result::and)
    });
    result.map_err(|error| Failed::new("epoll", error))?;
    shared.finish();
    shared.done();
    Ok(())
}

/// Listens, however often it takes where the server is to try again; nothing when it is to stop.
fn listen_at_last(shared: &Shared, spec: &Server, address: SocketAddr) -> Result<Option<OwnedFd>, Failed> {
    while !shared.is_stopping() {
        match listen(spec, address) {
            Ok(listener) => return Ok(Some(listener)),
            Err((call, error)) if spec.retry_bind => {
                shared.attempt();
                shared.fail(call, &error);
                shared.sleep(RETRY);
            }
            Err((call, error)) => return Err(Failed::new(format!("{call} {address}"), error)),
        }
    }
    Ok(None)
}

fn listen(spec: &Server, address: SocketAddr) -> Result<OwnedFd, (&'static str, io::Error)> {
    let failed = |call: &'static str| move |error: Errno| (call, error.into());
    let socket = tcp_socket(&address).map_err(|error| ("socket", error))?;
    sockopt::set_socket_reuseaddr(&socket, spec.reuseaddr).map_err(failed("setsockopt"))?;
    if spec.reuseport > 1 {
        sockopt::set_socket_reuseport(&socket, true).map_err(failed("setsockopt"))?;
    }
    if spec.keepalive || spec.keepalive_times.is_some() {
        // What it accepts inherits it.
        keepalive(&socket, spec.keepalive_times).map_err(|error| ("setsockopt", error))?;
    }
    rustix::net::bind(&socket, &address).map_err(failed("bind"))?;
    rustix::net::listen(&socket, spec.backlog).map_err(failed("listen"))?;
    Ok(socket)
}

struct Connection {
    socket: OwnedFd,
    /// Bytes of the request under way.
    received: u64,
    /// Bytes to send now.
    owed: u64,
    /// Answers that are delayed.
    delayed: u64,
    interest: EventFlags,
    serial: u64,
}

enum Next {
    Stay,
    Close,
    Hold,
}

struct Loop<'a> {
    shared: &'a Shared,
    spec: &'a Server,
    listeners: Vec<&'a OwnedFd>,
    epoll: OwnedFd,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    /// When an answer is due, on which connection.
    timers: VecDeque<Timer>,
    /// Listeners that rest, until when.
    resting: Vec<(Instant, usize)>,
    /// When a slow server accepts next.
    accept_at: Instant,
    answer: Vec<u8>,
    buffer: Vec<u8>,
    serial: u64,
}

impl<'a> Loop<'a> {
    fn new(shared: &'a Shared, spec: &'a Server, listeners: Vec<&'a OwnedFd>) -> io::Result<Loop<'a>> {
        let each = Loop {
            shared,
            spec,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            connections: Vec::new(),
            timers: VecDeque::new(),
            resting: Vec::new(),
            accept_at: Instant::now(),
            answer: vec![b'!'; 1 << 16],
            buffer: vec![0; 1 << 16],
            serial: 0,
            listeners,
        };
        if !matches!(spec.behaviour, Behaviour::NeverAccept | Behaviour::SlowAccept { .. }) {
            for index in 0..each.listeners.len() {
                each.watch(index)?;
            }
        }
        Ok(each)
    }

    fn watch(&self, index: usize) -> io::Result<()> {
        // Of the threads that share a listener, one wakes.
        let interest = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(
            &self.epoll,
            self.listeners[index],
            EventData::new_u64(LISTENER | index as u64),
            interest,
        )?;
        Ok(())
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(256);
        while !self.shared.is_stopping() {
            let mut until = Instant::now() + TICK;
            until = self.timers.front().map_or(until, |timer| until.min(timer.0));
            if let Behaviour::SlowAccept { per_second } = self.spec.behaviour {
                self.accept_slowly(per_second);
                until = until.min(self.accept_at);
            }
            wait(&self.epoll, &mut events, until)?;
            for event in events.drain(..) {
                let data = event.data.u64();
                if data & LISTENER != 0 {
                    self.accept_batch(usize::try_from(data & !LISTENER).expect("an index was put in"))?;
                } else {
                    self.wake(usize::try_from(data).expect("a descriptor was put in"), None);
                }
            }
            let now = Instant::now();
            while let Some((_, fd, serial)) = pop_due(&mut self.timers, now) {
                self.wake(usize::try_from(fd).expect("descriptors aren't negative"), Some(serial));
            }
            while let Some(at) = self.resting.iter().position(|rest| rest.0 <= now) {
                let (_, index) = self.resting.swap_remove(at);
                self.watch(index)?;
            }
        }
        Ok(())
    }

    fn accept_batch(&mut self, index: usize) -> io::Result<()> {
        for _ in 0..BATCH {
            match self.accept(index) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    // It stays readable, and accept() would fail again at once.
                    epoll::delete(&self.epoll, self.listeners[index])?;
                    self.resting.push((Instant::now() + REST, index));
                    break;
                }
            }
        }
        Ok(())
    }

    fn accept_slowly(&mut self, per_second: f64) {
        let now = Instant::now();
        if now < self.accept_at || self.listeners.is_empty() {
            return;
        }
        let pause = Duration::try_from_secs_f64(self.spec.threads.max(1) as f64 / per_second);
        // So slow that it is never.
        let pause = pause.unwrap_or(Duration::from_secs(1 << 30));
        // From the time it was due, so that the rate is kept; an idle time isn't made up for.
        self.accept_at = (self.accept_at + pause).max(now);
        self.listeners.rotate_left(1);
        let mut rest = pause.min(Duration::from_millis(2));
        for index in 0..self.listeners.len() {
            match self.accept(index) {
                Ok(true) => return,
                Ok(false) => {}
                Err(_) => rest = REST,
            }
        }
        self.accept_at = now + rest;
    }

    /// Accepts one; false when there is none.
    fn accept(&mut self, index: usize) -> Result<bool, Errno> {
        let shared = self.shared;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = match rustix::net::accept_with(self.listeners[index], flags) {
            Ok(socket) => socket,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => {
                shared.attempt();
                shared.fail("accept", &error.into());
                // These are about one connection; the next may be well.
                let is_passing = matches!(error, Errno::CONNABORTED | Errno::INTR | Errno::PROTO);
                return if is_passing { Ok(true) } else { Err(error) };
            }
        };
        shared.attempt();
        shared.succeed();
        match self.spec.behaviour {
            Behaviour::NeverRead => shared.hold(socket),
            Behaviour::CloseFirst if self.spec.request_bytes == 0 => drop(socket),
            _ => {
                self.serial += 1;
                shared.active.fetch_add(1, Ordering::Relaxed);
                let interest = EventFlags::empty();
                let serial = self.serial;
                let mut connection =
                    Connection { socket, received: 0, owed: 0, delayed: 0, interest, serial };
                let next = self.watch_connection(&mut connection, EventFlags::IN);
                self.after(connection, next);
            }
        }
        Ok(true)
    }

    /// Goes on with a connection that an event or (with its serial) a timer is for.
    fn wake(&mut self, fd: usize, timer: Option<u64>) {
        let Some(slot) = self.connections.get_mut(fd) else { return };
        let is_meant = slot.as_ref().is_some_and(|it| timer.is_none_or(|serial| serial == it.serial));
        let Some(mut connection) = is_meant.then(|| slot.take()).flatten() else { return };
        let next = match timer {
            Some(_) => {
                connection.delayed -= 1;
                connection.owed += u64::from(self.spec.response_bytes);
                self.write(&mut connection)
            }
            None if connection.interest.contains(EventFlags::OUT) => self.write(&mut connection),
            None => self.read(&mut connection),
        };
        self.after(connection, next);
    }

    fn after(&mut self, connection: Connection, next: Next) {
        match next {
            Next::Stay => {
                let at = usize::try_from(connection.socket.as_raw_fd()).expect("descriptors aren't negative");
                if at >= self.connections.len() {
                    self.connections.resize_with(at + 1, || None);
                }
                self.connections[at] = Some(connection);
                return;
            }
            Next::Close => {}
            Next::Hold => {
                let _ = epoll::delete(&self.epoll, &connection.socket);
                self.shared.hold(connection.socket);
            }
        }
        self.shared.active.fetch_sub(1, Ordering::Relaxed);
    }

    fn read(&mut self, connection: &mut Connection) -> Next {
        match rustix::net::recv(&connection.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((0, _)) => {
                self.shared.ended.fetch_add(1, Ordering::Relaxed);
                if self.spec.behaviour == Behaviour::NeverClose { Next::Hold } else { Next::Close }
            }
            Ok((read, _)) => {
                let request = u64::from(self.spec.request_bytes);
                if request == 0 {
                    return Next::Stay;
                }
                connection.received += read as u64;
                let requests = connection.received / request;
                connection.received %= request;
                if self.spec.delay_ms == 0 {
                    connection.owed += requests * u64::from(self.spec.response_bytes);
                    let is_answered = requests > 0;
                    return if is_answered { self.write(connection) } else { Next::Stay };
                }
                let at = Instant::now() + Duration::from_millis(self.spec.delay_ms);
                connection.delayed += requests;
                for _ in 0..requests {
                    self.timers.push_back((at, connection.socket.as_raw_fd(), connection.serial));
                }
                Next::Stay
            }
            Err(Errno::AGAIN) => Next::Stay,
            Err(error) => self.broken("recv", error),
        }
    }

    fn write(&mut self, connection: &mut Connection) -> Next {
        while connection.owed > 0 {
            let length = usize::try_from(connection.owed).unwrap_or(usize::MAX).min(self.answer.len());
            match rustix::net::send(&connection.socket, &self.answer[..length], SendFlags::NOSIGNAL) {
                Ok(sent) => connection.owed -= sent as u64,
                // While the peer doesn't read, it gets nothing further to ask.
                Err(Errno::AGAIN) => return self.watch_connection(connection, EventFlags::OUT),
                Err(error) => return self.broken("send", error),
            }
        }
        if self.spec.behaviour == Behaviour::CloseFirst {
            return Next::Close;
        }
        self.watch_connection(connection, EventFlags::IN)
    }

    fn broken(&self, call: &'static str, error: Errno) -> Next {
        self.shared.fail(call, &error.into());
        if self.spec.behaviour == Behaviour::KeepAfterReset { Next::Hold } else { Next::Close }
    }

    fn watch_connection(&self, connection: &mut Connection, interest: EventFlags) -> Next {
        if connection.interest == interest {
            return Next::Stay;
        }
        let socket = &connection.socket;
        let data =
            EventData::new_u64(u64::try_from(socket.as_raw_fd()).expect("descriptors aren't negative"));
        let result = if connection.interest.is_empty() {
            epoll::add(&self.epoll, socket, data, interest)
        } else {
            epoll::modify(&self.epoll, socket, data, interest)
        };
        connection.interest = interest;
        match result {
            Ok(()) => Next::Stay,
            Err(error) => {
                self.shared.fail("epoll_ctl", &error.into());
                Next::Close
            }
        }
    }
}
