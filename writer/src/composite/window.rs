//! What a composite saw lately.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dyn_metrics_reader::{Number, ValueRef};

/// Most samples that are kept.
const MOST: usize = 256;

/// Samples of the last time, oldest first.
#[derive(Debug)]
pub(super) struct Window<S> {
    length: Duration,
    samples: VecDeque<(Instant, S)>,
}

/// What can be joined with the sample that follows.
pub(super) trait Join {
    fn join(&mut self, next: Self);
}

impl<S: Join> Window<S> {
    pub(super) const fn new(length: Duration) -> Self {
        Self { length, samples: VecDeque::new() }
    }

    /// Adds a sample of now; where there are too many, joins two that are close together.
    pub(super) fn push(&mut self, now: Instant, sample: S) {
        self.samples.push_back((now, sample));
        if self.samples.len() <= MOST {
            return;
        }
        // The first is what increases are compared with, the last is of now.
        let span = |at: &usize| self.samples[at + 2].0.saturating_duration_since(self.samples[*at].0);
        let closest = (0..self.samples.len() - 2).min_by_key(span).unwrap_or(0);
        if let Some((_, next)) = self.samples.remove(closest + 1) {
            self.samples[closest].1.join(next);
        }
    }

    /// Forgets samples that are older than the window.
    pub(super) fn drop_old(&mut self, now: Instant) {
        while self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > self.length) {
            self.samples.pop_front();
        }
    }

    /// The newest sample that is as old as the window or older, otherwise the first; those before it are forgotten.
    pub(super) fn base(&mut self, now: Instant) -> Option<&(Instant, S)> {
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.length) {
            self.samples.pop_front();
        }
        self.samples.front()
    }

    pub(super) fn samples(&self) -> impl Iterator<Item = &S> {
        self.samples.iter().map(|(_, sample)| sample)
    }
}

/// Values that gauges had.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) count: usize,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// Of one of the samples that were joined; only where they are asked for.
    pub(super) values: Vec<f64>,
}

impl Seen {
    pub(super) fn new(values: &[f64], keeps_values: bool) -> Self {
        Self {
            count: values.len(),
            sum: values.iter().sum(),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            values: if keeps_values { values.to_vec() } else { Vec::new() },
        }
    }
}

impl Join for Seen {
    fn join(&mut self, next: Self) {
        self.count += next.count;
        self.sum += next.sum;
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
    }
}

/// How much numbers had grown since the first sample.
#[derive(Clone, Debug, Default)]
pub(super) struct Grown {
    /// Observations in each bucket; one bucket of tallies, none of counters.
    pub(super) buckets: Vec<u64>,
    /// Of counters, or of observations.
    pub(super) sum: f64,
    /// Each series by itself, in the order of `ids`; only where that is asked for.
    each: Vec<f64>,
    ids: Arc<[u64]>,
}

impl Join for Grown {
    /// Increases until then are in the ones that follow.
    fn join(&mut self, _: Self) {}
}

impl Grown {
    /// Increase since `base` of each series that there is now.
    pub(super) fn each_since(&self, base: &Self, out: &mut Vec<f64>) {
        if Arc::ptr_eq(&self.ids, &base.ids) {
            return out.extend(self.each.iter().zip(&base.each).map(|(now, before)| now - before));
        }
        let before: HashMap<u64, f64> = base.ids.iter().copied().zip(base.each.iter().copied()).collect();
        let series = self.ids.iter().zip(&self.each);
        out.extend(series.map(|(id, now)| now - before.get(id).copied().unwrap_or(0.0)));
    }
}

/// Follows numbers that only grow, and notices where they began anew.
#[derive(Debug, Default)]
pub(super) struct Growth {
    series: Vec<Last>,
    ids: Arc<[u64]>,
    has_begun: bool,
    position: usize,
    pub(super) now: Grown,
    /// Whether the increase of each series is kept, too.
    keeps_each: bool,
}

/// What a series had at the last sample.
#[derive(Debug, Default)]
struct Last {
    /// Whether it had anything: nothing of a series that is new in the first sample is an increase.
    is_known: bool,
    number: Option<Number>,
    buckets: Vec<u64>,
    sum: f64,
    grown: f64,
}

impl Growth {
    /// Follows nothing yet.
    pub(super) fn new(keeps_each: bool) -> Self {
        Self { keeps_each, ..Self::default() }
    }

    /// The series are these from now on, in this order.
    pub(super) fn follow(&mut self, ids: Vec<u64>) {
        let last = std::mem::take(&mut self.series);
        let mut last: HashMap<u64, Last> = self.ids.iter().copied().zip(last).collect();
        let fresh = || Last { is_known: self.has_begun, ..Last::default() };
        self.series = ids.iter().map(|id| last.remove(id).unwrap_or_else(fresh)).collect();
        self.ids = ids.into();
    }

    /// A sample follows: each series in its order.
    pub(super) fn begin(&mut self) {
        self.position = 0;
        self.now.each.clear();
        self.now.ids = self.ids.clone();
    }

    pub(super) fn take(&mut self, value: Option<ValueRef<'_>>) {
        let Some(last) = self.series.get_mut(self.position) else { return };
        self.position += 1;
        match value {
            Some(ValueRef::Counter(number)) => {
                let grown = if last.is_known { increase(number, last.number) } else { 0.0 };
                last.number = Some(number);
                last.grown += grown;
                self.now.sum += grown;
            }
            Some(ValueRef::Tally { count, sum }) => last.observe(&[count], sum, &mut self.now),
            Some(ValueRef::Histogram { buckets, sum, .. }) => last.observe(buckets, sum, &mut self.now),
            _ => {}
        }
        last.is_known = true;
        if self.keeps_each {
            self.now.each.push(last.grown);
        }
    }

    pub(super) fn end(&mut self) {
        self.has_begun = true;
    }
}

impl Last {
    fn observe(&mut self, buckets: &[u64], sum: f64, grown: &mut Grown) {
        self.buckets.resize(buckets.len(), 0);
        grown.buckets.resize(buckets.len(), 0);
        if buckets.iter().zip(&self.buckets).any(|(now, before)| now < before) {
            self.buckets.fill(0);
            self.sum = 0.0;
        }
        if self.is_known {
            for ((grown, now), before) in grown.buckets.iter_mut().zip(buckets).zip(&self.buckets) {
                *grown = grown.wrapping_add(now - before);
            }
            grown.sum += sum - self.sum;
        }
        self.buckets.copy_from_slice(buckets);
        self.sum = sum;
    }
}

/// How much a counter has grown; one that fell began anew.
fn increase(now: Number, before: Option<Number>) -> f64 {
    match (now, before) {
        (Number::Unsigned(now), Some(Number::Unsigned(before))) => {
            now.checked_sub(before).unwrap_or(now) as f64
        }
        (now, before) => {
            let (now, before) = (now.as_f64(), before.map_or(0.0, Number::as_f64));
            if now < before { now } else { now - before }
        }
    }
}
