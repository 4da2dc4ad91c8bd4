//! A stream that fails when its client dawdles, so that no connection is held for ever.
//!
//! Three deadlines, one at a time: until a request begins, until a whole request has come and its
//! response begins, until the response has gone out. None is extended by single bytes, so that dripping does not help.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::room::Seat;

/// Longest wait between two requests; above Prometheus' usual scrape intervals, so that its connection is kept.
pub(crate) const IDLE: Duration = Duration::from_secs(120);

/// Longest time from a request's first byte, or from the connection, to the response's first.
pub(crate) const REQUEST: Duration = Duration::from_secs(30);

/// Longest time from a response's first byte to its last.
pub(crate) const RESPONSE: Duration = Duration::from_secs(60);

/// `S` with deadlines. Errors: `TimedOut` from whichever side waits.
pub(crate) struct Timed<S> {
    stream: S,
    phase: Phase,
    deadline: Pin<Box<Sleep>>,
    seat: Arc<Seat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Request,
    Response,
}

impl<S> Timed<S> {
    /// Starts the clock: a new connection owes a request. Tells `seat` when its client reads, and when the next request
    /// is waited for.
    pub(crate) fn new(stream: S, seat: Arc<Seat>) -> Self {
        Self { stream, phase: Phase::Request, deadline: Box::pin(sleep(REQUEST)), seat }
    }

    /// The stream itself, without deadlines.
    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    fn enter(&mut self, phase: Phase) {
        let limit = match phase {
            Phase::Idle => IDLE,
            Phase::Request => REQUEST,
            Phase::Response => RESPONSE,
        };
        self.phase = phase;
        self.deadline.as_mut().reset(Instant::now() + limit);
    }

    /// For a side that has to wait: so long, and no longer.
    fn poll_deadline<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn note_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let begins = self.phase != Phase::Response;
        if begins {
            self.enter(Phase::Response);
        }
        if begins || written.is_ready() {
            self.seat.send();
        }
        if written.is_pending() { self.poll_deadline(cx) } else { written }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_pending() {
            return self.poll_deadline(cx);
        }
        if self.phase == Phase::Idle && buffer.filled().len() > filled {
            self.enter(Phase::Request);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_write(cx, written)
    }

    /// Passed on, because hyper copies whole bodies for streams without it.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has nothing more to write: the response is out.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            return self.poll_deadline(cx);
        }
        if self.phase == Phase::Response {
            self.enter(Phase::Idle);
            self.seat.wait();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::room::Room;

    fn timed<S>(stream: S) -> Timed<S> {
        Timed::new(stream, Room::default().seat())
    }

    #[tokio::test(start_paused = true)]
    async fn a_dripping_request_ends_at_its_deadline() {
        let (mut client, server) = duplex(64);
        let (mut server, began) = (timed(server), Instant::now());
        for _ in 0..2 {
            client.write_u8(b'G').await.expect("a write");
            assert_eq!(server.read_u8().await.expect("a byte"), b'G');
            tokio::time::advance(REQUEST / 3).await;
        }
        let error = server.read_u8().await.expect_err("a time-out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), REQUEST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_reading_ends_at_the_deadline() {
        let (mut client, server) = duplex(4);
        let (mut server, began) = (timed(server), Instant::now());
        server.write_all(b"HTTP").await.expect("four bytes fit");
        tokio::time::advance(RESPONSE / 2).await;
        assert_eq!(client.read_u8().await.expect("a byte"), b'H');
        let error = server.write_all(b"/1.1").await.expect_err("a time-out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), RESPONSE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_between_requests_has_its_own_limit() {
        let (mut client, server) = duplex(64);
        let mut server = timed(server);
        server.write_all(b"ok").await.expect("room");
        server.flush().await.expect("a flush");
        tokio::time::advance(IDLE - Duration::from_secs(1)).await;
        client.write_u8(b'G').await.expect("a write");
        assert_eq!(server.read_u8().await.expect("a byte"), b'G');
        let began = Instant::now();
        assert_eq!(server.read_u8().await.expect_err("a time-out").kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), REQUEST.as_secs());
    }
}
