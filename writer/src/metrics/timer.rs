//! Timers.

use std::fmt;
use std::time::{Duration, Instant};

/// Measures the time until it is stopped or dropped, and hands it to its metric.
///
/// Clock: the monotonic one (`CLOCK_MONOTONIC`, read without a system call).
#[must_use = "a timer that is dropped at once measures nothing"]
pub struct Timer {
    start: Instant,
    done: Option<Box<dyn FnOnce(Duration) + Send>>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("start", &self.start).finish_non_exhaustive()
    }
}

impl Timer {
    pub(crate) fn new(done: impl FnOnce(Duration) + Send + 'static) -> Self {
        Self { start: Instant::now(), done: Some(Box::new(done)) }
    }

    /// Stops, records the time and returns it.
    pub fn stop(mut self) -> Duration {
        let elapsed = self.start.elapsed();
        if let Some(done) = self.done.take() {
            done(elapsed);
        }
        elapsed
    }

    /// Stops without recording anything.
    pub fn discard(mut self) {
        self.done = None;
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(self.start.elapsed());
        }
    }
}
