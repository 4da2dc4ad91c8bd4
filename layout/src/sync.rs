//! The atomics of the whole product: core's, or loom's in a model.
//!
//! The only file that names either, so that protocol code is the same in production and in a model.

/// A 64-bit word of a segment.
#[cfg(not(loom))]
#[allow(clippy::disallowed_types, reason = "the one place that names the type")]
pub type AtomicU64 = core::sync::atomic::AtomicU64;
#[cfg(not(loom))]
pub use core::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub use model::{AtomicU64, system_call, vanish_before_write};

/// Loads `word` so that everything its writer published before is visible.
///
/// A relaxed load and an acquire fence: unlike an acquire load this is defined on memory that is mapped
/// read-only, which is how readers map a segment (core's documentation of `atomic`, "read-only memory").
pub fn load_acquire(word: &AtomicU64) -> u64 {
    let value = word.load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    value
}

/// Loom's atomics, and threads that vanish as a killed process does.
#[cfg(loom)]
mod model {
    #![allow(clippy::disallowed_types, reason = "the one place that names the type")]

    use super::Ordering;
    use core::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::Mutex;

    /// Threads of a model, the one that starts the others included.
    const THREADS: usize = 3;

    /// A 64-bit word of a segment, as loom sees it.
    #[derive(Debug)]
    pub struct AtomicU64 {
        word: loom::sync::atomic::AtomicU64,
        readers: [loom::sync::atomic::AtomicU64; THREADS],
    }

    loom::thread_local! {
        static THREAD: usize = {
            let mut next = NEXT_THREAD.lock().expect("counting doesn't panic");
            *next += 1;
            *next - 1
        };
        static WRITES_LEFT: Cell<Option<usize>> = Cell::new(None);
    }

    loom::lazy_static! {
        static ref NEXT_THREAD: Mutex<usize> = Mutex::new(0);
    }

    struct Vanished;

    /// Runs `body` and stops it for ever before its `n`th write (counted from 0) to an [`AtomicU64`], or
    /// [`system_call`].
    ///
    /// None when it vanished. A stop before a load, or between a load and the next write, need not be tried: nobody
    /// else can tell it from a stop before that write.
    pub fn vanish_before_write<R>(n: usize, body: impl FnOnce() -> R) -> Option<R> {
        WRITES_LEFT.with(|left| left.set(Some(n)));
        let result = catch_unwind(AssertUnwindSafe(body));
        WRITES_LEFT.with(|left| left.set(None));
        match result {
            Ok(value) => Some(value),
            Err(payload) if payload.is::<Vanished>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// Before what a model's kernel does for a thread, where that isn't a write to an [`AtomicU64`]: counts as a write.
    pub fn system_call() {
        vanish_if_due();
    }

    fn vanish_if_due() {
        let left = WRITES_LEFT.with(Cell::get);
        if left == Some(0) {
            resume_unwind(Box::new(Vanished)); // without the panic hook: this is no failure
        }
        WRITES_LEFT.with(|cell| cell.set(left.map(|n| n - 1)));
    }

    #[allow(missing_docs, reason = "as core's")]
    impl AtomicU64 {
        pub fn new(value: u64) -> Self {
            let word = loom::sync::atomic::AtomicU64::new;
            Self { word: word(value), readers: [word(0), word(0), word(0)] }
        }

        pub fn load(&self, order: Ordering) -> u64 {
            self.note_load();
            self.word.load(order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            self.note_write();
            self.word.store(value, order);
        }

        pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            self.note_write();
            self.word.fetch_add(value, order)
        }

        pub fn swap(&self, value: u64, order: Ordering) -> u64 {
            self.note_write();
            self.word.swap(value, order)
        }

        pub fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.note_write();
            self.word.compare_exchange(current, new, success, failure)
        }

        pub fn compare_exchange_weak(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            self.compare_exchange(current, new, success, failure)
        }

        /// Keeps loom from overlooking executions.
        ///
        /// Loom (0.7.2) tries a write before an earlier load of another thread only if that load was the last
        /// access to the word; a load by the writing thread itself, as before every compare-and-swap, hides
        /// it. So each thread's loads and everybody else's writes also store into a word of that thread.
        /// Nobody ever loads that, so it orders nothing.
        fn note_load(&self) {
            self.readers[THREAD.with(|thread| *thread)].store(0, Ordering::Relaxed);
        }

        fn note_write(&self) {
            vanish_if_due();
            let me = THREAD.with(|thread| *thread);
            for reader in (0..THREADS).filter(|reader| *reader != me) {
                self.readers[reader].store(0, Ordering::Relaxed);
            }
        }
    }
}
