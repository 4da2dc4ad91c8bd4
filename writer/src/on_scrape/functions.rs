//! `set_function` of gauges and counters: a value that is computed when somebody asks.

use std::ptr;
use std::time::Duration;

use super::{OnScrape, Work, add, remove_key};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::{Kind, Representation};

use crate::metric::Metric;
use crate::metrics::{self, Counter, DurationGauge, FloatCounter, FloatGauge, Gauge};
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
fn set_function<M: Metric>(handle: &M, work: Work) -> OnScrape {
    match bound(handle) {
        Some((home, key)) => add(Some(home), Some(key), work),
        None => add(None, None, work),
    }
}

/// Ends what sets this series; false when nothing does.
pub(crate) fn clear_function<M: Metric>(handle: &M) -> bool {
    bound(handle).is_some_and(|(_, key)| remove_key(key))
}

/// Has a series set, or added to if it is a counter, by a number in its unit that `function` gives, or fails to give; none of
/// other kinds.
pub(crate) fn set_number_function<M: Metric>(
    handle: &M,
    mut function: Box<dyn FnMut() -> Option<f64> + Send>,
) -> Option<OnScrape> {
    let (own, mut last) = (handle.clone(), 0.0);
    let set: Box<dyn FnMut(f64) + Send> = match M::KIND {
        Kind::Gauge => Box::new(move |value| metrics::set(own.gauge(), number::<M>(value))),
        Kind::Counter => Box::new(move |total| {
            let Some(cells) = own.cells() else { return };
            // Differences of what is counted, so that what is rounded away now comes later.
            match (number::<M>(total), number::<M>(if total >= last { last } else { 0.0 })) {
                (Number::Float(now), Number::Float(before)) => cells.add_f64(0, now - before),
                (now, before) => cells.add_u64(0, now.to_bits().wrapping_sub(before.to_bits())),
            }
            last = total;
        }),
        _ => return None,
    };
    let mut set = set;
    let is_good = |value: f64| M::KIND != Kind::Counter || (value.is_finite() && value >= 0.0);
    let work = move || function().filter(|value| is_good(*value)).map(&mut set).is_some();
    Some(set_function(handle, Box::new(work)))
}

/// A value in the representation of a handle; saturates.
fn number<M: Metric>(value: f64) -> Number {
    match M::REPRESENTATION {
        Representation::Float => Number::Float(value),
        Representation::Nanoseconds => Number::Nanoseconds((value * 1e9).round() as i64),
        _ => Number::Integer(value.round() as i64),
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
