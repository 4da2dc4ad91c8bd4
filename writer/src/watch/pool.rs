//! The threads on which callbacks run.
//!
//! There is one for all as long as callbacks return soon. When everything that waits has waited since the last look, all
//! are busy: one is added. So who blocks for ever keeps one thread, and the others wait a few looks at most.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

use super::lock;
use super::mailbox::Mailbox;
use crate::threads::spawn_quiet;

/// Most threads: when so many callbacks block for ever, others wait for one of them.
pub(super) const MOST: usize = 512;

/// How long a thread that has nothing to do stays, if it isn't the only one.
const LINGERS: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    ready: Condvar,
    /// Length of the queue.
    waiting: AtomicUsize,
    /// Subscriptions that were taken from the queue.
    taken: AtomicU64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Mailbox>>,
    idle: usize,
    workers: usize,
    is_closed: bool,
    /// The signals that are blocked where callbacks run.
    mask: Option<SigSet>,
}

impl Pool {
    /// Lets threads in again; new ones block the signals that the caller blocks.
    pub(super) fn open(&self) {
        let mut state = lock(&self.state);
        state.is_closed = false;
        state.mask = SigSet::thread_get_mask().ok();
    }

    /// Has the threads end when nothing waits.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.ready.notify_all();
    }

    pub(super) fn workers(&self) -> usize {
        lock(&self.state).workers
    }

    /// Leaves subscriptions to the threads.
    pub(super) fn push(&self, work: &mut Vec<Arc<Mailbox>>) {
        if work.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        state.queue.extend(work.drain(..));
        self.waiting.store(state.queue.len(), Ordering::Relaxed);
        drop(state);
        self.ready.notify_one();
    }

    /// Adds a thread if there is none, or if none has taken anything of what waits since `taken` was what is returned.
    pub(super) fn grow(&'static self, taken: u64) -> u64 {
        let now = self.taken.load(Ordering::Relaxed);
        if self.waiting.load(Ordering::Relaxed) > 0 && now == taken {
            self.add_worker();
        }
        now
    }

    fn add_worker(&'static self) {
        let mut state = lock(&self.state);
        let is_enough = state.idle > 0 && state.workers > 0;
        if state.queue.is_empty() || state.workers >= MOST || is_enough {
            drop(state);
            self.ready.notify_one();
            return;
        }
        state.workers += 1;
        let mask = state.mask;
        drop(state);
        let spawned = spawn_quiet("dyn-callback", move || {
            if let Some(mask) = mask {
                let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None);
            }
            self.work();
        });
        if let Err(error) = spawned {
            lock(&self.state).workers -= 1;
            log::warn!("watching: no thread for callbacks, tried again at the next look: {error}");
        }
    }

    /// What a thread does.
    fn work(&self) {
        while let Some(mailbox) = self.next() {
            if mailbox.work() {
                self.push(&mut vec![mailbox]);
            }
        }
    }

    /// The subscription that has waited longest; none when the thread is to end.
    fn next(&self) -> Option<Arc<Mailbox>> {
        let mut state = lock(&self.state);
        loop {
            if let Some(mailbox) = state.queue.pop_front() {
                self.waiting.store(state.queue.len(), Ordering::Relaxed);
                self.taken.fetch_add(1, Ordering::Relaxed);
                if !state.queue.is_empty() && state.idle > 0 {
                    self.ready.notify_one();
                }
                return Some(mailbox);
            }
            if state.is_closed {
                state.workers -= 1;
                return None;
            }
            state.idle += 1;
            let (after, waited) = match self.ready.wait_timeout(state, LINGERS) {
                Ok(after) => after,
                Err(poisoned) => poisoned.into_inner(),
            };
            state = after;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() && state.idle > 0 {
                state.workers -= 1;
                return None;
            }
        }
    }
}
