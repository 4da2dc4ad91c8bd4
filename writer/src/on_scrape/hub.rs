//! The callbacks of this process, and running them: who asks waits for a bounded time, a callback as long as it likes.
//!
//! Callbacks wait in one queue and are run by workers, threads that end when it is empty. Whoever asks starts one worker, and
//! another one whenever nothing was finished for [`PATIENCE`] while callbacks wait: so a hanging callback holds up the others
//! by that, and holds one thread.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::functions::Bound;
use super::listener::Listener;
use super::{CallbackRun, Work, service};
use crate::local::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use crate::once_map::OnceValue;
use crate::segment::Segment;
use crate::threads::spawn_quiet;
use crate::wipe;

/// Most workers at once.
pub(super) const MAX_WORKERS: usize = 16;

/// How long the callbacks that wait do so while nothing is finished.
const PATIENCE: Duration = Duration::from_millis(10);

/// All callbacks of a process; never released, and unreachable in a forked child.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Told when a worker finds nothing more to do.
    idle: Condvar,
    /// Runs that ended.
    finished: AtomicU64,
    born: Instant,
}

#[derive(Debug, Default)]
pub(super) struct State {
    callbacks: Vec<Arc<Callback>>,
    queue: VecDeque<Arc<Callback>>,
    workers: usize,
    pub(super) listeners: Vec<Arc<Listener>>,
    /// What wakes the thread that answers, if there is one.
    pub(super) service: Option<Arc<service::Wake>>,
}

/// A registered callback.
pub(crate) struct Callback {
    pub(super) home: Bound,
    /// Callbacks with the same one replace each other.
    key: Option<usize>,
    work: Mutex<Work>,
    ended: AtomicBool,
    /// 0 idle, else 1 + when it was queued, in milliseconds after the hub was made.
    busy: AtomicU64,
    /// Runs that ended.
    runs: AtomicU64,
    failed: AtomicBool,
}

impl std::fmt::Debug for Callback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Callback").field("home", &self.home).field("runs", &self.runs).finish_non_exhaustive()
    }
}

/// What a lock of this module guards is whole between any two statements, and no code of others runs under one.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the hub of this process is; null in a forked child. None where memory can't be had.
fn place() -> Option<&'static AtomicPtr<Hub>> {
    static PLACE: OnceValue<&'static AtomicPtr<Hub>> = OnceValue::new();
    PLACE.get_or(|| wipe::pointer().ok()).copied()
}

/// Whether any process of this family of forks ever had a hub: saves the others a page.
static EVER: AtomicBool = AtomicBool::new(false);

impl Hub {
    /// The hub of this process, if it has registered a callback.
    pub(crate) fn existing() -> Option<&'static Self> {
        if !EVER.load(Ordering::Acquire) {
            return None;
        }
        let hub = place()?.load(Ordering::Acquire);
        (!hub.is_null()).then(|| crate::registry::leaked(hub))
    }

    /// The hub of this process.
    pub(crate) fn of_this_process() -> Option<&'static Self> {
        if let Some(hub) = Self::existing() {
            return Some(hub);
        }
        EVER.store(true, Ordering::Release);
        let made: &'static Self = Box::leak(Box::new(Self {
            state: Mutex::default(),
            idle: Condvar::new(),
            finished: AtomicU64::new(0),
            born: Instant::now(),
        }));
        // The loser of a race leaks its own.
        let raw = ptr::from_ref(made).cast_mut();
        let _ = place()?.compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire);
        Self::existing()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Without waiting for another thread; none also where one has panicked meanwhile, which none does.
    pub(super) fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock().ok()
    }

    pub(super) fn add(&'static self, home: Bound, key: Option<usize>, work: Work) -> Arc<Callback> {
        let callback = Arc::new(Callback {
            home,
            key,
            work: Mutex::new(work),
            ended: AtomicBool::new(false),
            busy: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        });
        // Replaced ones are dropped without the lock: that may run code of the application.
        let replaced = {
            let mut state = self.state();
            let replaced = state.take(|other| key.is_some() && other.key == key);
            state.callbacks.push(Arc::clone(&callback));
            replaced
        };
        drop(replaced);
        if let Bound::Segment(segment) = home {
            service::ensure(self, segment);
        }
        callback
    }

    /// Ends a callback. In a forked child it is left alone, with what the parent's threads were doing to it.
    pub(super) fn remove(&'static self, callback: Arc<Callback>) {
        if Self::existing().is_none_or(|own| !ptr::eq(own, self)) {
            return std::mem::forget(callback);
        }
        self.remove_where(|other| Arc::ptr_eq(other, &callback));
    }

    /// False when no callback has this key.
    pub(super) fn remove_key(&'static self, key: usize) -> bool {
        self.remove_where(|other| other.key == Some(key))
    }

    fn remove_where(&'static self, is_meant: impl Fn(&Arc<Callback>) -> bool) -> bool {
        let removed = {
            let mut state = self.state();
            let removed = state.take(is_meant);
            state.close_unused();
            removed
        };
        !removed.is_empty()
    }

    /// Ends every callback; whether none runs any more.
    pub(super) fn end_all(&'static self, limit: Duration) -> bool {
        // What never began is released behind the lock: that may run code of the application.
        let (removed, queued) = {
            let mut state = self.state();
            let queued = std::mem::take(&mut state.queue);
            queued.iter().for_each(|callback| callback.busy.store(0, Ordering::Release));
            let removed = state.take(|_| true);
            state.close_unused();
            (removed, queued)
        };
        drop(queued);
        let busy: Vec<_> = removed.into_iter().filter(|callback| callback.is_busy()).collect();
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        while state.workers > 0 && busy.iter().any(|callback| callback.is_busy()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wait(state, left.min(PATIENCE));
        }
        true
    }

    /// Runs those callbacks that are meant and waits for them, for at most `limit`.
    pub(super) fn run(&'static self, is_meant: &dyn Fn(&Callback) -> bool, limit: Duration) -> CallbackRun {
        let deadline = Instant::now() + limit;
        let (mut awaited, mut result) = self.enqueue(is_meant, limit);
        // Released behind the lock: a last reference runs code of the application.
        let mut settled = Vec::new();
        let mut finished = self.finished.load(Ordering::Acquire);
        let mut state = self.state();
        loop {
            let (waits, settles): (Vec<_>, Vec<_>) = awaited.into_iter().partition(Awaited::is_under_way);
            awaited = waits;
            for one in &settles {
                result.done += usize::from(one.is_done());
                result.failed += usize::from(one.is_done() && one.callback.failed.load(Ordering::Acquire));
            }
            settled.extend(settles);
            let left = deadline.saturating_duration_since(Instant::now());
            if awaited.is_empty() || left.is_zero() {
                result.late += awaited.len();
                return result;
            }
            state = self.wait(state, left.min(PATIENCE));
            let now = self.finished.load(Ordering::Acquire);
            if now == finished && !state.queue.is_empty() {
                self.start_worker(&mut state);
            }
            finished = now;
        }
    }

    /// Puts callbacks into the queue; which are to be waited for. Those that have
    /// been busy for longer than `limit` are late.
    fn enqueue(
        &'static self,
        is_meant: &dyn Fn(&Callback) -> bool,
        limit: Duration,
    ) -> (Vec<Awaited>, CallbackRun) {
        let now = 1 + u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        let mut awaited = Vec::new();
        let mut result = CallbackRun::default();
        let mut state = self.state();
        let State { callbacks, queue, .. } = &mut *state;
        for callback in callbacks.iter().filter(|callback| is_meant(callback)) {
            let runs = callback.runs.load(Ordering::Acquire);
            let since = callback.busy.load(Ordering::Acquire);
            if since == 0 {
                callback.busy.store(now, Ordering::Release);
                queue.push_back(Arc::clone(callback));
            } else if u128::from(now - since.min(now)) > limit.as_millis() {
                result.late += 1;
                continue;
            }
            awaited.push(Awaited { callback: Arc::clone(callback), runs });
        }
        if !queue.is_empty() {
            self.start_worker(&mut state);
        }
        (awaited, result)
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, limit: Duration) -> MutexGuard<'s, State> {
        self.idle.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    fn start_worker(&'static self, state: &mut State) {
        if state.workers >= MAX_WORKERS {
            log::debug!("{MAX_WORKERS} on-scrape callbacks hang: no others run");
            return;
        }
        state.workers += 1;
        if let Err(error) = spawn_quiet("dyn-callback", move || self.work()) {
            state.workers -= 1;
            log::warn!("no thread for on-scrape callbacks: {error}");
        }
    }

    fn work(&'static self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.queue.pop_front();
                state.workers -= usize::from(next.is_none());
                next
            };
            let Some(callback) = next else { return self.idle.notify_all() };
            callback.run();
            {
                // Under the lock: whoever asks then finds it running, or as one that has run, and never takes this run for a
                // later one.
                let _state = self.state();
                callback.settle();
            }
            self.finished.fetch_add(1, Ordering::AcqRel);
            // The last reference may be this one, and dropping it code of the application.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(callback)));
        }
    }
}

/// A callback that somebody waits for.
struct Awaited {
    callback: Arc<Callback>,
    /// Its runs before that.
    runs: u64,
}

impl Awaited {
    fn is_done(&self) -> bool {
        self.callback.runs.load(Ordering::Acquire) != self.runs
    }

    fn is_under_way(&self) -> bool {
        !self.is_done() && !self.callback.ended.load(Ordering::Acquire)
    }
}

impl State {
    /// Takes out what is meant.
    fn take(&mut self, is_meant: impl Fn(&Arc<Callback>) -> bool) -> Vec<Arc<Callback>> {
        let (taken, left) = std::mem::take(&mut self.callbacks).into_iter().partition(is_meant);
        self.callbacks = left;
        let taken: Vec<Arc<Callback>> = taken;
        taken.iter().for_each(|callback| callback.ended.store(true, Ordering::Release));
        taken
    }

    pub(super) fn has_callbacks_in(&self, segment: &'static Segment) -> bool {
        let home = Bound::Segment(segment).number();
        self.callbacks.iter().any(|callback| callback.home.number() == home)
    }

    /// Closes sockets over which nobody needs to ask any more.
    fn close_unused(&mut self) {
        let before = self.listeners.len();
        let listeners = std::mem::take(&mut self.listeners);
        let (used, unused): (Vec<_>, Vec<_>) =
            listeners.into_iter().partition(|listener| self.has_callbacks_in(listener.segment));
        unused.iter().for_each(|listener| listener.withdraw());
        self.listeners = used;
        if self.listeners.len() != before
            && let Some(wake) = &self.service
        {
            wake.ring();
        }
    }
}

impl Callback {
    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) != 0
    }

    fn run(&self) {
        if !self.ended.load(Ordering::Acquire) {
            let mut work = locked(&self.work);
            let done = catch_unwind(AssertUnwindSafe(&mut *work)).unwrap_or_else(|panic| {
                log::warn!("an on-scrape callback panicked");
                // Dropping what it panicked with may panic, too.
                std::mem::forget(panic);
                false
            });
            self.failed.store(!done, Ordering::Release);
        }
    }

    /// The run is over.
    fn settle(&self) {
        self.busy.store(0, Ordering::Release);
        self.runs.fetch_add(1, Ordering::AcqRel);
    }
}
