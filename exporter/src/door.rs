//! Who comes in: the next client, once there is a place for it.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

use crate::room::{Room, Seat};

/// Shortest time between two warnings of a kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Pause after an accept that failed for want of descriptors or memory: at once it would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The listener, and the room behind it.
pub(crate) struct Door {
    listener: TcpListener,
    room: Room,
    places: usize,
    /// A client for whom there is no place yet.
    newcomer: Option<TcpStream>,
    told_full: Told,
    told_failed: Told,
}

impl Door {
    /// Leads to a room with so many places.
    pub(crate) fn new(listener: TcpListener, places: usize) -> Self {
        let (room, newcomer, told_full, told_failed) = Default::default();
        Self { listener, room, places, newcomer, told_full, told_failed }
    }

    /// The next client, with its seat; `taken` places are taken. Cancel safe: to be asked again when that has changed.
    pub(crate) async fn next(&mut self, taken: usize) -> (TcpStream, Arc<Seat>) {
        let is_full = taken >= self.places;
        while self.newcomer.is_none() {
            match self.accept(is_full).await {
                Ok(stream) => self.newcomer = Some(stream),
                Err(error) if is_the_clients(&error) => {
                    tracing::debug!(%error, "client left before it was served");
                }
                Err(error) => self.pause(&error).await,
            }
        }
        if is_full {
            if self.told_full.is_due() {
                let places = self.places;
                tracing::warn!(places, "connection limit reached, closing slow connections for new clients");
            }
            self.room.make_place().await;
        }
        let stream = self.newcomer.take().expect("waited for above");
        // Without it a page's last segment may wait for an acknowledgement; a failure only costs time.
        let _ = stream.set_nodelay(true);
        (stream, self.room.seat())
    }

    /// The next client; notes whether one is there for whom there is no place.
    async fn accept(&self, is_full: bool) -> io::Result<TcpStream> {
        poll_fn(|cx| {
            let accepted = self.listener.poll_accept(cx);
            if is_full || accepted.is_pending() {
                self.room.set_crowded(accepted.is_ready());
            }
            Poll::Ready(ready!(accepted).map(|(stream, _)| stream))
        })
        .await
    }

    /// The system has no descriptor or no memory for a client: connections that it can do without make place.
    async fn pause(&mut self, error: &io::Error) {
        if self.told_failed.is_due() {
            tracing::warn!(%error, "cannot accept clients, closing slow connections");
        }
        self.room.set_crowded(true);
        let again = sleep_until(Instant::now() + ACCEPT_PAUSE);
        tokio::select! {
            never = self.room.make_place() => never,
            () = again => {}
        }
    }
}

/// Whether an accept failed for this one client only.
fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// When a warning was given last.
#[derive(Debug, Default)]
struct Told(Option<Instant>);

impl Told {
    /// Whether it should be given again, which is noted.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|told| told.elapsed() >= WARNING_INTERVAL);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}
