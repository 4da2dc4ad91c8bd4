//! A subscription: its callback, and the events that wait for it.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use super::computed::Computed;
use super::event::Event;
use super::lock;

/// Events after which others get their turn.
const TURN: usize = 16;

/// What is called.
pub(super) type Callback = Box<dyn FnMut(&Event) + Send>;

/// What has become of a subscription's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls that have ended, panics included.
    pub calls: u64,
    /// Events that were replaced by later ones of the same series before the callback was free.
    pub coalesced: u64,
    /// Calls that have panicked.
    pub panics: u64,
    /// How long the call has been running that is under way.
    pub running: Option<Duration>,
}

/// A subscription, as its owner, the watcher and the workers share it.
pub(super) struct Mailbox {
    /// What is watched, for people.
    what: Arc<str>,
    mail: Mutex<Mail>,
    /// Not there while it runs, and after the end.
    callback: Mutex<Option<Callback>>,
    /// Where the value is computed by a function of the application; as above.
    computed: Mutex<Option<Computed>>,
    is_computed: bool,
    ended: AtomicBool,
    /// A call has ended.
    free: Condvar,
    calls: AtomicU64,
    coalesced: AtomicU64,
    panics: AtomicU64,
}

#[derive(Default)]
struct Mail {
    /// Numbers of the series with an event, in the order in which they are told.
    order: VecDeque<u64>,
    events: HashMap<u64, Event>,
    /// In the workers' queue, or with one of them.
    is_queued: bool,
    running: Option<(ThreadId, Instant)>,
    /// Somebody was told that the call under way takes long.
    is_late: bool,
}

impl Mailbox {
    pub(super) fn new(what: Arc<str>, callback: Callback, computed: Option<Computed>) -> Arc<Self> {
        Arc::new(Self {
            what,
            mail: Mutex::default(),
            callback: Mutex::new(Some(callback)),
            is_computed: computed.is_some(),
            computed: Mutex::new(computed),
            ended: AtomicBool::new(false),
            free: Condvar::new(),
            calls: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        })
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn counts(&self) -> Counts {
        let mail = lock(&self.mail); // so that a call is under way or has ended
        Counts {
            calls: self.calls.load(Ordering::Relaxed),
            coalesced: self.coalesced.load(Ordering::Relaxed),
            panics: self.panics.load(Ordering::Relaxed),
            running: mail.running.map(|(_, since)| since.elapsed()),
        }
    }

    /// How many series have an event that waits.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        lock(&self.mail).events.len()
    }

    /// Leaves an event for the callback, and this in `work` if a worker is to be asked to come. One of the same series
    /// that still waits is replaced.
    pub(super) fn post(self: &Arc<Self>, series: u64, event: Event, work: &mut Vec<Arc<Self>>) {
        let mut mail = lock(&self.mail);
        if self.is_ended() {
            return;
        }
        let Mail { order, events, .. } = &mut *mail;
        if let Some(waiting) = events.get_mut(&series) {
            self.coalesced.fetch_add(1, Ordering::Relaxed);
            *waiting = Event { old: waiting.old, ..event };
            if (waiting.old, waiting.new) == (None, None) {
                // It has come and gone meanwhile. Kept, such events would be more and more.
                events.remove(&series);
                order.retain(|other| *other != series);
            }
        } else {
            order.push_back(series);
            events.insert(series, event);
        }
        if !std::mem::replace(&mut mail.is_queued, true) {
            work.push(Arc::clone(self));
        }
    }

    /// As [`Self::post`], to have the value computed.
    pub(super) fn ask(self: &Arc<Self>, work: &mut Vec<Arc<Self>>) {
        if !std::mem::replace(&mut lock(&self.mail).is_queued, true) {
            work.push(Arc::clone(self));
        }
    }

    /// Computes the value, if there is a function for it, and tells of events; called by one worker at a time. Returns
    /// whether there is more to do.
    pub(super) fn work(&self) -> bool {
        self.compute();
        for _ in 0..TURN {
            match self.next() {
                Some(event) => self.call(&event),
                None => return false,
            }
        }
        let mut mail = lock(&self.mail);
        mail.is_queued = !mail.order.is_empty();
        mail.is_queued
    }

    /// The next event, to be told at once; none, and no worker's any more, where there is none.
    fn next(&self) -> Option<Event> {
        let mut mail = lock(&self.mail);
        let Mail { order, events, .. } = &mut *mail;
        let event = order.pop_front().and_then(|series| events.remove(&series));
        if event.is_none() || !self.begin(&mut mail) {
            mail.is_queued = false;
            return None;
        }
        event
    }

    fn compute(&self) {
        if !self.is_computed || !self.begin(&mut lock(&self.mail)) {
            return;
        }
        let computed = lock(&self.computed).take();
        if let Some(mut computed) = computed {
            match catch_unwind(AssertUnwindSafe(|| computed.look(&self.what))) {
                Ok(Some(event)) => self.keep(event),
                Ok(None) => (),
                Err(payload) => self.panicked("the function that computes it", payload),
            }
            *lock(&self.computed) = Some(computed);
        }
        self.end(0);
    }

    /// Leaves the event of a computed value for the calls that follow.
    fn keep(&self, event: Event) {
        let mut mail = lock(&self.mail);
        let Mail { order, events, .. } = &mut *mail;
        if events.insert(0, event).is_none() {
            order.push_back(0);
        }
    }

    fn call(&self, event: &Event) {
        let callback = lock(&self.callback).take();
        let calls = callback.is_some().into();
        if let Some(mut callback) = callback {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(event))) {
                self.panicked("the callback", payload);
            }
            *lock(&self.callback) = Some(callback);
        }
        self.end(calls);
    }

    /// Notes that a call begins, unless the subscription has ended: under the lock, so that none begins after
    /// [`Self::finish`].
    fn begin(&self, mail: &mut Mail) -> bool {
        let may = !self.is_ended();
        if may {
            mail.running = Some((thread::current().id(), Instant::now()));
        }
        may
    }

    /// Notes that what [`Self::begin`] began has ended: so many calls.
    fn end(&self, calls: u64) {
        let mut mail = lock(&self.mail);
        self.calls.fetch_add(calls, Ordering::Relaxed);
        if self.is_ended() {
            drop(mail);
            self.release(); // it was cancelled meanwhile, and whoever did that could not
            mail = lock(&self.mail);
        }
        (mail.running, mail.is_late) = (None, false);
        drop(mail);
        self.free.notify_all();
    }

    fn panicked(&self, who: &str, payload: Box<dyn Any + Send>) {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        log::error!("watching {}: {who} panicked: {}", self.what, text.unwrap_or("with no text"));
        self.panics.fetch_add(1, Ordering::Relaxed);
        std::mem::forget(payload); // dropping it may panic, too
    }

    /// Says once of a call that runs longer than `most` that it does; whether it did now.
    pub(super) fn note_late(&self, most: Duration) -> bool {
        let mut mail = lock(&self.mail);
        let is_late = mail.running.is_some_and(|(_, since)| since.elapsed() > most);
        let is_new = is_late && !std::mem::replace(&mut mail.is_late, is_late);
        drop(mail);
        if is_new {
            log::warn!("watching {}: a call has been running for more than {most:?}", self.what);
        }
        is_new
    }

    /// Ends the subscription: no call begins any more. What was handed over for calls is dropped here, or where the
    /// call under way ends.
    pub(super) fn finish(&self) {
        if !self.ended.swap(true, Ordering::AcqRel) {
            let mut mail = lock(&self.mail);
            mail.order.clear();
            mail.events.clear();
            drop(mail);
            self.release();
        }
    }

    /// Ends it without touching what a thread that is not there any more may have locked.
    pub(super) fn abandon(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Drops what was handed over, unless it runs.
    fn release(&self) {
        let callback = lock(&self.callback).take();
        let computed = lock(&self.computed).take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop((callback, computed)))) {
            self.panicked("what the callback held", payload);
        }
    }

    /// Waits until no call runs, or for `most`; whether none runs. In the callback itself: at once.
    pub(super) fn wait_until_free(&self, most: Duration) -> bool {
        let busy = |mail: &mut Mail| mail.running.is_some_and(|(id, _)| id != thread::current().id());
        let waited = self.free.wait_timeout_while(lock(&self.mail), most, busy);
        waited.is_ok_and(|(_, timeout)| !timeout.timed_out())
    }
}
