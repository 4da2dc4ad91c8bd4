//! `set_function` of gauges and counters: a value that is computed when somebody asks.

use std::ptr;
use std::time::Duration;

use super::{OnScrape, Work, add, remove_key};
use crate::metric::Metric;
use crate::metrics::{Counter, DurationGauge, FloatCounter, FloatGauge, Gauge};
use crate::origin::Identity;
use crate::segment::Segment;

/// The registry that a callback belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    Segment(&'static Segment),
    /// By the number of its [`crate::foreign::Foreign`].
    Foreign(usize),
}

impl Bound {
    /// The same for the same registry, and for no other: numbers of back ends are odd, addresses of segments even.
    pub(super) fn number(self) -> usize {
        match self {
            Self::Segment(segment) => ptr::from_ref(segment).addr(),
            Self::Foreign(number) => number,
        }
    }
}

/// Where a series is, and a number that no other has; none of a handle that nobody else sees.
fn bound<M: Metric>(handle: &M) -> Option<(Bound, usize)> {
    Some(match handle.identity()? {
        Identity::Segment(origin) => (Bound::Segment(origin.family.segment), ptr::from_ref(origin).addr()),
        Identity::Foreign(series) => (Bound::Foreign(series.family.registry), ptr::from_ref(series).addr()),
    })
}

/// Has `work` run as the one that sets this series.
pub(crate) fn set_function<M: Metric>(handle: &M, work: Work) -> OnScrape {
    match bound(handle) {
        Some((home, key)) => add(Some(home), Some(key), work),
        None => add(None, None, work),
    }
}

/// Ends what sets this series.
pub(crate) fn clear_function<M: Metric>(handle: &M) {
    if let Some((_, key)) = bound(handle) {
        remove_key(key);
    }
}

macro_rules! gauges {
    ($($Gauge:ident $value:ty;)*) => {
        $(impl $Gauge {
            /// Has this process's value computed by `function` whenever somebody asks for it, in place of an earlier function
            /// of this series. What else sets the gauge is seen until then.
            ///
            /// How it runs, and when it ends: see [`crate::Registry::on_scrape`].
            pub fn set_function(&self, mut function: impl FnMut() -> $value + Send + 'static) -> OnScrape {
                let gauge = self.clone();
                set_function(self, Box::new(move || {
                    gauge.set(function());
                    true
                }))
            }
        })*
    };
}

gauges! {
    Gauge i64;
    FloatGauge f64;
    DurationGauge Duration;
}

impl Counter {
    /// Has the total that `function` gives, of something that is counted elsewhere, added to this counter whenever somebody
    /// asks: the first time all of it, then what it has grown by. A total that has become less counts as one that began
    /// again at 0. In place of an earlier function of this series.
    ///
    /// How it runs, and when it ends: see [`crate::Registry::on_scrape`].
    pub fn set_function(&self, mut function: impl FnMut() -> u64 + Send + 'static) -> OnScrape {
        let (counter, mut last) = (self.clone(), 0);
        let work = move || {
            let total = function();
            counter.inc_by(if total >= last { total - last } else { total });
            last = total;
            true
        };
        set_function(self, Box::new(work))
    }
}

impl FloatCounter {
    /// As [`Counter::set_function`]. A total that is negative, NaN or infinite is left out.
    pub fn set_function(&self, mut function: impl FnMut() -> f64 + Send + 'static) -> OnScrape {
        let (counter, mut last) = (self.clone(), 0.0);
        let work = move || {
            let total = function();
            if total.is_finite() && total >= 0.0 {
                counter.inc_by(if total >= last { total - last } else { total });
                last = total;
            }
            total.is_finite() && total >= 0.0
        };
        set_function(self, Box::new(work))
    }
}
