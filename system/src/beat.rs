//! Progress beats: a loop says that it still turns.
#![allow(clippy::disallowed_types, reason = "process-local times, never in the segment")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::check::{Check, Context, Outcome};
use crate::record::seconds;

/// A loop's pulse: [`Beat::beat`] on every turn. Clones are one pulse.
///
/// Cost of a beat: reading a clock, and a store; no lock, no system call. Any thread.
#[derive(Clone, Debug)]
pub struct Beat(Arc<Pulse>);

#[derive(Debug)]
struct Pulse {
    start: Instant,
    /// Nanoseconds from the start to the last beat.
    last: AtomicU64,
}

impl Beat {
    /// A pulse that has just beaten.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Pulse { start: Instant::now(), last: AtomicU64::new(0) }))
    }

    /// The loop still turns.
    pub fn beat(&self) {
        let since = u64::try_from(self.0.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.last.store(since, Ordering::Relaxed);
    }

    /// Time since the last beat.
    #[must_use]
    pub fn silence(&self) -> Duration {
        let last = Duration::from_nanos(self.0.last.load(Ordering::Relaxed));
        self.0.start.elapsed().saturating_sub(last)
    }

    /// A check that fails once there was no beat for `limit`.
    #[must_use]
    pub fn stalls_after(&self, limit: Duration) -> impl Check {
        BeatCheck { beat: self.clone(), limit }
    }
}

impl Default for Beat {
    fn default() -> Self {
        Self::new()
    }
}

struct BeatCheck {
    beat: Beat,
    limit: Duration,
}

impl Check for BeatCheck {
    fn check(&self, _: &Context) -> Outcome {
        let silence = self.beat.silence();
        if silence < self.limit {
            return Ok(String::new());
        }
        Err(format!("stalled: no beat for {}, limit {}", seconds(silence), seconds(self.limit)))
    }

    fn is_quick(&self) -> bool {
        true
    }
}
