//! Progress: a counter that must move while work is pending.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dyn_metrics::{Counter, Gauge};

use crate::check::{Check, Context, Outcome};
use crate::record::seconds;

/// Fails when a counter has not moved for a time although a gauge said all the while that work is pending: an engine that
/// hangs while its process answers.
///
/// A counter in the segment is the total of all processes: give the worker's a label of its own where others count the
/// same.
pub struct Progress {
    done: Box<dyn Fn() -> u64 + Send + Sync>,
    pending: Box<dyn Fn() -> f64 + Send + Sync>,
    limit: Duration,
    is_quick: bool,
    seen: Mutex<Option<Seen>>,
}

/// The counter's value, and since when it has that while work is pending.
#[derive(Clone, Copy)]
struct Seen {
    done: u64,
    since: Instant,
}

impl Progress {
    /// `done` must move within `limit` while `pending`, this process's own value, is above 0.
    #[must_use]
    pub fn new(done: &Counter, pending: &Gauge, limit: Duration) -> Self {
        let (done, pending) = (done.clone(), pending.clone());
        let made = Self::of(move || done.value(), move || pending.value() as f64, limit);
        Self { is_quick: true, ..made }
    }

    /// As [`Self::new`], for whatever tells how much is done and how much is pending.
    #[must_use]
    pub fn of(
        done: impl Fn() -> u64 + Send + Sync + 'static,
        pending: impl Fn() -> f64 + Send + Sync + 'static,
        limit: Duration,
    ) -> Self {
        Self {
            done: Box::new(done),
            pending: Box::new(pending),
            limit,
            is_quick: false,
            seen: Mutex::default(),
        }
    }

    fn look(&self, now: Instant) -> Outcome {
        let (done, pending) = ((self.done)(), (self.pending)());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.is_nan() || pending <= 0.0 {
            *seen = None;
            return Ok("nothing pending".to_owned());
        }
        let before = seen.filter(|seen| seen.done == done);
        let Seen { since, .. } = *seen.insert(before.unwrap_or(Seen { done, since: now }));
        let still = now.saturating_duration_since(since);
        if still < self.limit {
            return Ok(format!("{pending} pending"));
        }
        let (still, limit) = (seconds(still), seconds(self.limit));
        Err(format!("stalled: {pending} pending, and the count stays at {done} for {still}, limit {limit}"))
    }
}

impl Check for Progress {
    fn check(&self, _: &Context) -> Outcome {
        self.look(Instant::now())
    }

    fn is_quick(&self) -> bool {
        self.is_quick
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_count_that_stands_still_while_work_is_pending_is_a_stall() {
        let (done, pending) = (Counter::default(), Gauge::default());
        let limit = Duration::from_secs(5);
        let progress = Progress::new(&done, &pending, limit);
        let start = Instant::now();
        let at = |seconds| progress.look(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Ok("nothing pending".to_owned()));
        assert!(at(100).is_ok(), "idle is no stall");
        pending.set(3);
        assert_eq!(at(101), Ok("3 pending".to_owned()));
        assert!(at(105).is_ok());
        let expected = "stalled: 3 pending, and the count stays at 0 for 5 s, limit 5 s";
        assert_eq!(at(106), Err(expected.to_owned()));
        done.inc();
        assert!(at(107).is_ok());
        assert!(at(111).is_ok());
        assert!(at(112).is_err());
        pending.set(0);
        assert!(at(113).is_ok());
        pending.set(1);
        assert!(at(114).is_ok(), "the time counts from when work came");
    }
}
