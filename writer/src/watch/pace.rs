//! How often the watcher looks.

use std::time::Duration;

/// Time between two looks, unless they cost too much.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// Time between two looks, however much they cost.
pub(super) const LONGEST: Duration = Duration::from_millis(250);

/// Looks between two adjustments.
pub(super) const LOOKS: u32 = 64;

/// The share of a core that looking may take while nothing changes: one part in this many. A little less than a hundredth,
/// for what a measurement leaves out.
const IDLE_SHARE: u32 = 120;

/// The same while something changes.
const BUSY_SHARE: u32 = 20;

/// Looks after which what hasn't changed again counts as idle.
const BUSY_LOOKS: u32 = 64;

/// The time between two looks, adjusted to what they have cost.
#[derive(Debug)]
pub(super) struct Pace {
    idle: Duration,
    busy: Duration,
    /// Looks that are still to be made at the pace for what changes.
    busy_looks: u32,
    /// Since the last adjustment: looks, and the time that was waited for them.
    looks: u32,
    waited: Duration,
    /// Processor time at the last adjustment.
    spent: Duration,
}

impl Pace {
    /// Begins with the shortest period; `spent` is the processor time that the thread has had so far.
    pub(super) const fn new(spent: Duration) -> Self {
        let waited = Duration::ZERO;
        Self { idle: SHORTEST, busy: SHORTEST, busy_looks: 0, looks: 0, waited, spent }
    }

    pub(super) const fn period(&self) -> Duration {
        if self.busy_looks > 0 { self.busy } else { self.idle }
    }

    /// Counts a look, which has found a change or not; after [`LOOKS`] of them asks for the processor time and adjusts
    /// the periods. When these are as long as several looks' worth of them they are adjusted sooner, so that they become
    /// short again.
    pub(super) fn count(&mut self, has_news: bool, spent: impl FnOnce() -> Duration) {
        self.waited += self.period();
        self.busy_looks = if has_news { BUSY_LOOKS } else { self.busy_looks.saturating_sub(1) };
        self.looks += 1;
        if self.looks < LOOKS && self.waited < SHORTEST * LOOKS {
            return;
        }
        let now = spent();
        let cost = now.saturating_sub(self.spent) / self.looks;
        self.idle = adjusted(self.idle, cost * IDLE_SHARE);
        self.busy = adjusted(self.busy, cost * BUSY_SHARE);
        (self.looks, self.waited, self.spent) = (0, Duration::ZERO, now);
    }
}

/// A longer period at once only half way: one look that was dear, because series were new, doesn't make the next ones rare.
fn adjusted(period: Duration, wanted: Duration) -> Duration {
    let wanted = wanted.clamp(SHORTEST, LONGEST);
    if wanted > period { (period + wanted) / 2 } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The period after `looks` looks of `cost` each.
    fn after(pace: &mut Pace, spent: &mut Duration, looks: u32, cost: Duration) -> Duration {
        for _ in 0..looks {
            *spent += cost;
            pace.count(false, || *spent);
        }
        pace.period()
    }

    #[test]
    fn the_period_follows_the_cost_both_ways_within_its_bounds() {
        let (mut pace, mut spent) = (Pace::new(Duration::ZERO), Duration::ZERO);
        let micros = Duration::from_micros;
        assert_eq!(after(&mut pace, &mut spent, 640, micros(5)), SHORTEST);
        let slow = after(&mut pace, &mut spent, 2_000, micros(50));
        assert!(slow > micros(5_500) && slow <= micros(6_000), "{slow:?}");
        let rare = after(&mut pace, &mut spent, 6_000, Duration::from_secs(1));
        assert!(rare > LONGEST - micros(1) && rare <= LONGEST, "{rare:?}");
        assert_eq!(after(&mut pace, &mut spent, 1, micros(5)), SHORTEST);
    }

    #[test]
    fn what_changes_is_looked_at_more_often() {
        let (mut pace, mut spent) = (Pace::new(Duration::ZERO), Duration::ZERO);
        let micros = Duration::from_micros;
        after(&mut pace, &mut spent, 2_000, micros(100));
        pace.count(true, || spent);
        assert!(pace.period() > micros(1_900) && pace.period() <= micros(2_000), "{:?}", pace.period());
        let idle = after(&mut pace, &mut spent, BUSY_LOOKS, micros(100));
        assert!(idle > micros(11_000) && idle <= micros(12_000), "{idle:?}");
    }
}
