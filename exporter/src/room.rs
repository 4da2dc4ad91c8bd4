//! Room for a bounded number of connections: who makes place when all are taken and one more client comes.
//!
//! Without it, clients that connect and say nothing, or ask and read nothing, would lock out the health checks and
//! Prometheus itself for as long as they may take. First goes who has waited longest for a request, then who has waited
//! longest for its client to read. Nobody goes while a page is made for it, or when its client did something within the
//! last second: who does as it should has asked, and has read its answer, by then.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// How long a client may ask nothing, or read nothing, before it may have to make place.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a client may read one answer, however steadily, before it may have to make place: Prometheus gives up after
/// this time unless told otherwise.
const READING: Duration = Duration::from_secs(10);

/// All connections. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Room(Arc<Shared>);

#[derive(Default)]
struct Shared {
    places: Mutex<Places>,
    /// Somebody has begun to wait, or goes on although asked to close.
    changed: Notify,
}

#[derive(Default)]
struct Places {
    /// Who waits for a request, and who for a reader, by the time from which they may be asked to close.
    queues: [Queue; 2],
    last: u64,
    /// Connections that were asked to close, and haven't yet.
    asked: usize,
    crowded: bool,
}

type Queue = BTreeMap<Turn, Arc<Notify>>;

/// From when a connection may be asked to close, and a unique number.
type Turn = (Instant, u64);

const REQUEST: usize = 0;
const READER: usize = 1;

/// A connection's place in the room. It waits for a request from the start.
pub(crate) struct Seat {
    room: Room,
    close: Arc<Notify>,
    now: Mutex<Now>,
}

#[derive(Clone, Copy)]
enum Now {
    Waiting(Turn),
    /// With the time at which it began to.
    Sending(Turn, Instant),
    Working,
    /// Asked to close, and has done something since that doesn't matter any more.
    Asked,
}

impl Room {
    /// A place for a new connection.
    pub(crate) fn seat(&self) -> Arc<Seat> {
        let seat = Seat { room: self.clone(), close: Arc::default(), now: Mutex::new(Now::Working) };
        seat.wait();
        Arc::new(seat)
    }

    /// Whether there is a client without a place.
    pub(crate) fn is_crowded(&self) -> bool {
        lock(&self.0.places).crowded
    }

    /// Says whether there is a client without a place.
    pub(crate) fn set_crowded(&self, crowded: bool) {
        lock(&self.0.places).crowded = crowded;
    }

    /// Asks connections to close, one at a time and as soon as they may be asked. Cancel safe.
    pub(crate) async fn make_place(&self) -> ! {
        loop {
            let later = lock(&self.0.places).ask_next();
            let changed = self.0.changed.notified();
            match later {
                None => changed.await,
                Some(later) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(later) => {}
                },
            }
        }
    }
}

impl Places {
    /// Asks one connection, unless one is asked already; else when the next may be, where there is one.
    fn ask_next(&mut self) -> Option<Instant> {
        if self.asked > 0 {
            return None;
        }
        let now = Instant::now();
        for queue in &mut self.queues {
            if let Some(first) = queue.first_entry().filter(|first| first.key().0 <= now) {
                first.remove().notify_one();
                self.asked += 1;
                return None;
            }
        }
        self.queues.iter().filter_map(|queue| Some(queue.first_key_value()?.0.0)).min()
    }

    /// Whether who is in this state has not been asked to close: those who are leave the queues.
    fn has(&self, now: Now) -> bool {
        match now {
            Now::Waiting(turn) => self.queues[REQUEST].contains_key(&turn),
            Now::Sending(turn, _) => self.queues[READER].contains_key(&turn),
            Now::Working => true,
            Now::Asked => false,
        }
    }

    /// Takes out who is in this state; false when it was asked to close.
    fn leave(&mut self, now: Now) -> bool {
        match now {
            Now::Waiting(turn) => self.queues[REQUEST].remove(&turn).is_some(),
            Now::Sending(turn, _) => self.queues[READER].remove(&turn).is_some(),
            Now::Working => true,
            Now::Asked => false,
        }
    }

    fn enter(&mut self, queue: usize, from: Instant, close: &Arc<Notify>) -> Turn {
        self.last += 1;
        let turn = (from, self.last);
        self.queues[queue].insert(turn, Arc::clone(close));
        turn
    }
}

impl Seat {
    /// The client has its answer.
    pub(crate) fn wait(&self) {
        self.change(|places, _| Now::Waiting(places.enter(REQUEST, Instant::now() + PATIENCE, &self.close)));
        self.room.0.changed.notify_one();
    }

    /// A part of the answer has gone out.
    pub(crate) fn send(&self) {
        self.change(|places, before| {
            let now = Instant::now();
            let since = if let Now::Sending(_, since) = before { since } else { now };
            let from = (now + PATIENCE).min(since + READING);
            Now::Sending(places.enter(READER, from, &self.close), since)
        });
        self.room.0.changed.notify_one();
    }

    /// The client has sent a whole request: from here on it isn't closed, even if it was asked to.
    pub(crate) fn work(&self) {
        let mut now = lock(&self.now);
        let mut places = lock(&self.room.0.places);
        if !places.leave(mem::replace(&mut *now, Now::Working)) {
            places.asked -= 1;
            self.room.0.changed.notify_one();
        }
    }

    /// Whether the client should be told to come back on another connection.
    pub(crate) fn is_crowded(&self) -> bool {
        self.room.is_crowded()
    }

    /// Whether a part of an answer hasn't gone out.
    pub(crate) fn is_sending(&self) -> bool {
        matches!(*lock(&self.now), Now::Sending(..))
    }

    /// Returns when the connection should close.
    pub(crate) async fn closed(&self) {
        while !self.is_asked() {
            self.close.notified().await;
        }
    }

    fn is_asked(&self) -> bool {
        let now = lock(&self.now);
        !lock(&self.room.0.places).has(*now)
    }

    /// Does what `next` says, unless this connection is to close.
    fn change(&self, next: impl FnOnce(&mut Places, Now) -> Now) {
        let mut now = lock(&self.now);
        let mut places = lock(&self.room.0.places);
        *now = if places.leave(*now) { next(&mut places, *now) } else { Now::Asked };
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
    use tokio::time::{advance, timeout};

    use super::*;

    async fn is_closed(seat: &Seat) -> bool {
        timeout(Duration::ZERO, seat.closed()).await.is_ok()
    }

    /// Asks whoever may be asked now.
    async fn make_place(room: &Room) {
        assert!(timeout(Duration::ZERO, room.make_place()).await.is_err());
    }

    /// Which of `seats` is asked to close; those that were must have gone.
    async fn asked<const N: usize>(room: &Room, seats: [&Seat; N]) -> Option<usize> {
        make_place(room).await;
        let mut asked = None;
        for (number, seat) in seats.into_iter().enumerate() {
            if is_closed(seat).await {
                assert_eq!(asked.replace(number), None, "one at a time");
            }
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_waited_longest_closes_and_who_works_stays() {
        let room = Room::default();
        let [working, early, again, late] = [room.seat(), room.seat(), room.seat(), room.seat()];
        working.work();
        again.work();
        again.wait();
        advance(PATIENCE).await;
        assert_eq!(asked(&room, [&working, &early, &again, &late]).await, Some(1));
        drop(early);
        assert_eq!(asked(&room, [&working, &again, &late]).await, Some(2));
        drop(late);
        assert_eq!(asked(&room, [&working, &again]).await, Some(1));
        drop(again);
        assert_eq!(asked(&room, [&working]).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_closes_within_the_first_second() {
        let room = Room::default();
        let seat = room.seat();
        assert_eq!(asked(&room, [&seat]).await, None);
        let began = Instant::now();
        tokio::select! {
            () = room.make_place() => {}
            () = seat.closed() => {}
        }
        assert_eq!(began.elapsed(), PATIENCE, "it is asked at its time");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_work_before_it_closes_stays_and_another_closes() {
        let room = Room::default();
        let (first, second) = (room.seat(), room.seat());
        advance(PATIENCE).await;
        make_place(&room).await;
        first.work();
        assert_eq!(asked(&room, [&first, &second]).await, Some(1));
        first.send();
        first.wait();
        second.send();
        assert!(is_closed(&second).await, "what it does after being asked doesn't save it");
        drop(second);
        advance(PATIENCE).await;
        assert_eq!(asked(&room, [&first]).await, Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn readers_close_after_those_who_ask_nothing_and_only_if_slow() {
        let room = Room::default();
        let [stalled, steady] = [room.seat(), room.seat()];
        for seat in [&stalled, &steady] {
            seat.work();
            seat.send();
        }
        let silent = room.seat();
        advance(PATIENCE).await;
        steady.send();
        assert_eq!(asked(&room, [&stalled, &steady, &silent]).await, Some(2), "first who asks nothing");
        drop(silent);
        assert_eq!(asked(&room, [&stalled, &steady]).await, Some(0));
        drop(stalled);
        for _ in 1..READING.as_secs() {
            assert_eq!(asked(&room, [&steady]).await, None);
            advance(PATIENCE).await;
            steady.send();
        }
        assert_eq!(asked(&room, [&steady]).await, Some(0), "at last also who reads steadily");
    }
}
