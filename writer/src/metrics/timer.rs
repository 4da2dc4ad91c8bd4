//! Timers.

use std::fmt;
use std::time::{Duration, Instant};

use crate::metric::sealed::TakesTime;

/// Measures the time until it is stopped or dropped, and hands it to its metric.
///
/// Clock: the monotonic one (`CLOCK_MONOTONIC`), read without a system call; nothing is allocated.
#[must_use = "a timer that is dropped at once measures nothing"]
#[allow(private_bounds, reason = "sealed: histograms, tallies and duration counters take time")]
pub struct Timer<M: TakesTime> {
    start: Instant,
    metric: Option<M>,
}

impl<M: TakesTime> fmt::Debug for Timer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timer").field("start", &self.start).finish_non_exhaustive()
    }
}

#[allow(private_bounds, reason = "sealed")]
impl<M: TakesTime> Timer<M> {
    pub(crate) fn new(metric: M) -> Self {
        Self { start: Instant::now(), metric: Some(metric) }
    }

    /// Stops, records the time and returns it.
    pub fn stop(mut self) -> Duration {
        let elapsed = self.start.elapsed();
        if let Some(metric) = self.metric.take() {
            metric.take_time(elapsed);
        }
        elapsed
    }

    /// Stops without recording anything.
    pub fn discard(mut self) {
        self.metric = None;
    }
}

impl<M: TakesTime> Drop for Timer<M> {
    fn drop(&mut self) {
        if let Some(metric) = self.metric.take() {
            metric.take_time(self.start.elapsed());
        }
    }
}

/// Runs `work` and hands the time it took to `metric`.
pub(crate) fn timed<M: TakesTime, R>(metric: &M, work: impl FnOnce() -> R) -> R {
    let start = Instant::now();
    let done = work();
    metric.take_time(start.elapsed());
    done
}
