//! A series of a back end, as handles reach it.

use std::cell::Cell as ThreadCell;
use std::fmt;
use std::ptr;
use std::sync::Arc;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::{Kind, Representation};

use super::ForeignFamily;
use crate::backend::{Dropped, Instrument, Value};
use crate::cells::{Amount, Cells};
use crate::gauge_cells::GaugeCore;
use crate::local::{AtomicBool, AtomicUsize, Ordering};
use crate::metrics::Buckets;
use crate::once_map::OnceValue;

/// A series that is no segment's; never released.
pub(crate) struct ForeignSeries {
    pub(crate) family: &'static ForeignFamily,
    /// Sorted by name.
    pub(crate) labels: Vec<(String, String)>,
    instrument: Arc<dyn Instrument>,
    /// As [`crate::origin::Origin::attachments`].
    pub(crate) attachments: [AtomicUsize; Representation::COUNT],
    /// What handles of counters, histograms and tallies hold, by representation.
    cells: [OnceValue<Cells>; Representation::COUNT],
    gauge: OnceValue<GaugeCore>,
    /// Whether it was removed.
    pub(super) is_gone: AtomicBool,
}

impl fmt::Debug for ForeignSeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignSeries")
            .field("family", &self.family.name)
            .field("labels", &self.labels)
            .field("instrument", &self.instrument)
            .finish_non_exhaustive()
    }
}

/// The first half of an observation that a binding hands over in words: the series, the bucket, and the count.
type Half = Option<(&'static ForeignSeries, usize, u64)>;

thread_local! {
    static HALF: ThreadCell<Half> = const { ThreadCell::new(None) };
}

impl ForeignSeries {
    pub(super) fn new(
        family: &'static ForeignFamily,
        labels: Vec<(String, String)>,
        instrument: Arc<dyn Instrument>,
    ) -> Self {
        Self {
            family,
            labels,
            instrument,
            attachments: Default::default(),
            cells: [const { OnceValue::new() }; Representation::COUNT],
            gauge: OnceValue::new(),
            is_gone: AtomicBool::new(false),
        }
    }

    /// Whether it was removed.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    /// What handles of one representation hold.
    pub(crate) fn cells(&'static self, representation: Representation) -> Cells {
        let made = self.cells[representation as usize].get_or(|| Some(Cells::foreign(self, representation)));
        made.copied().unwrap_or_else(Cells::nowhere)
    }

    /// What handles of a gauge hold.
    pub(crate) fn gauge(&'static self) -> Option<&'static GaugeCore> {
        self.gauge.get_or(|| Some(GaugeCore::foreign(self, self.family.mode)))
    }

    pub(crate) fn instrument(&self) -> &dyn Instrument {
        &*self.instrument
    }

    /// A gauge's number.
    pub(crate) fn number(&self) -> Option<Number> {
        match self.instrument.value()? {
            Value::Number(number) => Some(number),
            Value::States(bits) => Some(Number::Integer(bits as i64)),
            Value::Distribution { .. } => None,
        }
    }

    /// Takes note of what a handle dropped.
    pub(crate) fn dropped(&self, statistic: Statistic) {
        match statistic {
            Statistic::DroppedNan => self.instrument.dropped(Dropped::Nan),
            Statistic::DroppedNegative => self.instrument.dropped(Dropped::Negative),
            Statistic::InfiniteObservations => {
                end_observation();
                self.instrument.dropped(Dropped::Infinite);
            }
            _ => (),
        }
    }

    /// Observes `value` `count` times.
    pub(crate) fn observe(&self, value: f64, count: u64) {
        self.instrument.observe(value, count);
        if !(value * count as f64).is_finite() {
            self.instrument.dropped(Dropped::Infinite);
        }
    }

    /// Takes an update in words, as cells have them: a counter's amount, or a half of an observation. A thread hands
    /// over its count first, then its sum, unless that is infinite.
    pub(crate) fn add_word(&'static self, representation: Representation, index: usize, amount: Amount) {
        match (self.family.kind, amount) {
            (Kind::Counter, _) if index > 0 => (),
            (Kind::Counter, Amount::Whole(n)) => self.add_whole(representation, n),
            (Kind::Counter, Amount::Double(x)) => self.instrument.add(Number::Float(x)),
            (_, Amount::Whole(count)) if index < self.sum_index() => {
                end_observation();
                HALF.set(Some((self, index, count)));
            }
            (_, Amount::Double(sum)) if index == self.sum_index() => match HALF.take() {
                Some((series, _, count)) if ptr::eq(series, self) && count > 0 => {
                    self.instrument.observe(sum / count as f64, count);
                }
                other => HALF.set(other),
            },
            _ => (),
        }
    }

    /// A number of events or nanoseconds, in parts that are not negative as signed numbers.
    fn add_whole(&self, representation: Representation, mut n: u64) {
        loop {
            let part = n.min(i64::MAX as u64);
            self.instrument.add(Number::from_bits(part, representation));
            n -= part;
            if n == 0 {
                return;
            }
        }
    }

    /// Words that the series would have in a segment.
    pub(crate) fn words(&self) -> usize {
        self.family.kind.cell_words(Buckets::bounds_of(self.family.buckets.as_ref()).len())
    }

    /// Which word is the sum.
    fn sum_index(&self) -> usize {
        match self.family.kind {
            Kind::Histogram => Buckets::bounds_of(self.family.buckets.as_ref()).len() + 1,
            _ => 1,
        }
    }

    /// What cells would have in word `index`, as a number of `representation`.
    pub(crate) fn word(&self, representation: Representation, index: usize) -> Number {
        let none = Number::from_bits(0, representation);
        match self.instrument.value() {
            Some(Value::Number(number)) if index == 0 => number.convert(representation),
            Some(Value::Distribution { sum, .. }) if index == self.sum_index() => Number::Float(sum),
            Some(Value::Distribution { count, .. }) if self.family.kind == Kind::Tally => {
                Number::Integer(count as i64)
            }
            Some(Value::Distribution { buckets, .. }) => {
                buckets.get(index).map_or(none, |count| Number::Integer(*count as i64))
            }
            _ => none,
        }
    }
}

/// Observes what has a count and gets no sum: it was infinite.
fn end_observation() {
    let Some((series, bucket, count)) = HALF.take() else { return };
    let is_least = bucket == 0 && series.sum_index() > 1;
    series.instrument.observe(if is_least { f64::NEG_INFINITY } else { f64::INFINITY }, count);
}
