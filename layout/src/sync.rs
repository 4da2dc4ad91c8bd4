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
pub use model::{AtomicU64, vanish_before_write};

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
    use super::Ordering;
    use core::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    /// A 64-bit word of a segment, as loom sees it.
    #[derive(Debug)]
    #[allow(clippy::disallowed_types, reason = "the one place that names the type")]
    pub struct AtomicU64(loom::sync::atomic::AtomicU64);

    loom::thread_local! {
        static WRITES_LEFT: Cell<Option<usize>> = Cell::new(None);
    }

    struct Vanished;

    /// Runs `body` and stops it for ever before its `n`th write (counted from 0) to an [`AtomicU64`].
    ///
    /// None when it vanished. A stop before a load need not be tried: nobody else can tell it from a stop
    /// before the next write.
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

    fn vanish_if_due() {
        let due = WRITES_LEFT.with(|left| {
            let due = left.get() == Some(0);
            left.set(left.get().map(|n| n.saturating_sub(1)));
            due
        });
        if due {
            resume_unwind(Box::new(Vanished)); // without the panic hook: this is no failure
        }
    }

    #[allow(missing_docs, reason = "as core's")]
    impl AtomicU64 {
        pub fn new(value: u64) -> Self {
            Self(loom::sync::atomic::AtomicU64::new(value))
        }

        pub fn load(&self, order: Ordering) -> u64 {
            self.0.load(order)
        }

        pub fn store(&self, value: u64, order: Ordering) {
            vanish_if_due();
            self.0.store(value, order);
        }

        pub fn swap(&self, value: u64, order: Ordering) -> u64 {
            vanish_if_due();
            self.0.swap(value, order)
        }

        pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            vanish_if_due();
            self.0.fetch_add(value, order)
        }

        pub fn compare_exchange(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            vanish_if_due();
            self.0.compare_exchange(current, new, success, failure)
        }

        pub fn compare_exchange_weak(
            &self,
            current: u64,
            new: u64,
            success: Ordering,
            failure: Ordering,
        ) -> Result<u64, u64> {
            vanish_if_due();
            self.0.compare_exchange_weak(current, new, success, failure)
        }
    }
}
