//! Room for a bounded number of connections: who has waited longest for its client makes place for a new one.
//!
//! Without it, clients that connect and say nothing would lock out the health checks and Prometheus itself for as long
//! as they are allowed to be idle.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All connections that wait for their clients. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Somebody has begun to wait.
    begun: Notify,
}

#[derive(Default)]
struct Waiting {
    /// By the order in which they began; the number is unique.
    seats: BTreeMap<u64, Arc<Notify>>,
    next: u64,
}

/// A connection's place in the room. It waits from the start.
pub(crate) struct Seat {
    room: Room,
    close: Arc<Notify>,
    /// Its number while it waits.
    number: Mutex<Option<u64>>,
}

impl Room {
    /// A place for a new connection.
    pub(crate) fn seat(&self) -> Arc<Seat> {
        let seat = Seat { room: self.clone(), close: Arc::default(), number: Mutex::default() };
        seat.wait();
        Arc::new(seat)
    }

    /// Asks the connection that has waited longest for its client to close; false when none waits.
    pub(crate) fn close_longest(&self) -> bool {
        let longest = lock(&self.0.waiting).seats.pop_first();
        longest.map(|(_, close)| close.notify_one()).is_some()
    }

    /// Returns when a connection has begun to wait since this was last asked.
    pub(crate) async fn somebody_waits(&self) {
        self.0.begun.notified().await;
    }
}

impl Seat {
    /// The client has its answer and may take its time.
    pub(crate) fn wait(&self) {
        let mut number = lock(&self.number);
        if number.is_none() {
            let mut waiting = lock(&self.room.0.waiting);
            let next = waiting.next;
            *number = Some(next);
            waiting.seats.insert(next, Arc::clone(&self.close));
            waiting.next += 1;
            self.room.0.begun.notify_one();
        }
    }

    /// The client has sent a whole request.
    pub(crate) fn work(&self) {
        if let Some(number) = lock(&self.number).take() {
            lock(&self.room.0.waiting).seats.remove(&number);
        }
    }

    /// Returns when the connection should close.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.work();
    }
}

/// Poison is ignored: no step under these locks leaves something half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_closed(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.closed()).await.is_ok()
    }

    #[tokio::test]
    async fn who_has_waited_longest_closes_and_who_works_stays() {
        let room = Room::default();
        let [working, early, again, late] = [room.seat(), room.seat(), room.seat(), room.seat()];
        working.work();
        again.work();
        again.wait();
        for expected in [&early, &late, &again] {
            assert!(room.close_longest());
            for seat in [&working, &early, &again, &late] {
                assert_eq!(is_closed(seat).await, Arc::ptr_eq(seat, expected));
            }
        }
        assert!(!room.close_longest(), "one that works is left alone");
        working.wait();
        drop(working);
        assert!(!room.close_longest(), "one that has gone isn't asked");
    }
}
