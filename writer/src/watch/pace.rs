//! How often the watcher looks.

use std::time::Duration;

/// Time between two looks, unless they cost too much.
pub(super) const SHORTEST: Duration = Duration::from_millis(1);

/// Time between two looks, however much they cost.
pub(super) const LONGEST: Duration = Duration::from_millis(250);

/// Looks between two adjustments.
pub(super) const LOOKS: u32 = 64;

/// The share of a core that looking may take: one part in this many. A little less than a hundredth, for what a measurement
/// leaves out.
const SHARE: u32 = 110;

/// The time between two looks, adjusted to what they have cost.
#[derive(Debug)]
pub(super) struct Pace {
    period: Duration,
    looks: u32,
    spent: Duration,
}

impl Pace {
    /// Begins with the shortest period; `spent` is the processor time that the thread has had so far.
    pub(super) const fn new(spent: Duration) -> Self {
        Self { period: SHORTEST, looks: 0, spent }
    }

    pub(super) const fn period(&self) -> Duration {
        self.period
    }

    /// Counts a look; after [`LOOKS`] of them asks for the processor time and adjusts the period. A period as long
    /// as several looks' worth of them is adjusted sooner, so that it becomes short again.
    pub(super) fn count(&mut self, spent: impl FnOnce() -> Duration) {
        self.looks += 1;
        if self.looks < LOOKS && self.period * self.looks < SHORTEST * LOOKS {
            return;
        }
        let now = spent();
        let cost = now.saturating_sub(self.spent) / self.looks;
        let wanted = (cost * SHARE).clamp(SHORTEST, LONGEST);
        // Half way: one look that was dear, because series were new, doesn't make the next ones rare.
        self.period = if wanted > self.period { (self.period + wanted) / 2 } else { wanted };
        (self.looks, self.spent) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The period after `looks` looks of `cost` each.
    fn after(pace: &mut Pace, spent: &mut Duration, looks: u32, cost: Duration) -> Duration {
        for _ in 0..looks {
            *spent += cost;
            pace.count(|| *spent);
        }
        pace.period()
    }

    #[test]
    fn the_period_follows_the_cost_both_ways_within_its_bounds() {
        let (mut pace, mut spent) = (Pace::new(Duration::ZERO), Duration::ZERO);
        let micros = Duration::from_micros;
        assert_eq!(after(&mut pace, &mut spent, 640, micros(5)), SHORTEST);
        let slow = after(&mut pace, &mut spent, 2_000, micros(50));
        assert!(slow > micros(5_000) && slow <= micros(5_500), "{slow:?}");
        let rare = after(&mut pace, &mut spent, 6_000, Duration::from_secs(1));
        assert!(rare > LONGEST - micros(1) && rare <= LONGEST, "{rare:?}");
        assert_eq!(after(&mut pace, &mut spent, 1, micros(5)), SHORTEST);
    }
}
