//! One connection's patience: a peer that neither reads nor writes loses it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// A stream on which waiting ends: in [`Patient::IDLE`] for what the peer has to send, in [`Patient::STALLED`] for what
/// it has to take. A whole answer has to be taken within [`Patient::ANSWER`], however slowly it goes on.
pub struct Patient {
    stream: TcpStream,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    answering: Option<Instant>,
}

impl Patient {
    /// Longer than any usual interval between two scrapes.
    pub const IDLE: Duration = Duration::from_secs(130);
    /// A peer that takes nothing for so long is stuck.
    pub const STALLED: Duration = Duration::from_secs(5);
    /// A trickle holds an answer's memory no longer than this.
    pub const ANSWER: Duration = Duration::from_secs(20);

    /// Of a fresh connection.
    pub fn new(stream: TcpStream) -> Patient {
        Patient { stream, reading: None, writing: None, answering: None }
    }

    /// Ends a wait whose time is over.
    fn wait(
        timer: &mut Option<Pin<Box<Sleep>>>,
        until: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            // What the peer asks next is another answer.
            (self.reading, self.answering) = (None, None);
            return Poll::Ready(done);
        }
        let until = Instant::now() + Patient::IDLE;
        Patient::wait(&mut self.reading, until, cx).map_ok(|_| ())
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let began = *self.answering.get_or_insert(now);
        if now.duration_since(began) > Patient::ANSWER {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_write(cx, bytes) {
            self.writing = None;
            return Poll::Ready(done);
        }
        let until = (now + Patient::STALLED).min(began + Patient::ANSWER);
        Patient::wait(&mut self.writing, until, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
