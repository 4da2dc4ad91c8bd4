//! The numbers of one series in this process's memory.

use std::time::Duration;

use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use super::{Descriptor, Dropped, Instrument, Number, Value};
use crate::local::{AtomicU64, Ordering};

/// An [`Instrument`] that keeps the numbers of a series of any kind: for back ends that only show them.
///
/// Shape: one atomic word for each number, shared by all threads. A counter that was added to in several
/// representations keeps one number for each, and shows their sum. As in a segment, a gauge whose mode is a sum is 0
/// before it is set, and others have no value then.
#[derive(Debug)]
pub struct Cell {
    kind: Kind,
    /// A gauge's numbers are kept in it.
    representation: Representation,
    bounds: Vec<f64>,
    /// Whether a gauge is 0 before it is set.
    starts_at_zero: bool,
    /// A counter's numbers by representation; a gauge's number and whether it was set; a histogram's buckets or a
    /// tally's count, then the sum; a state set's bits.
    words: Box<[AtomicU64]>,
    dropped: [AtomicU64; 3],
}

impl Cell {
    /// One for the series that `descriptor` describes, all 0.
    #[must_use]
    pub fn new(descriptor: &Descriptor) -> Self {
        let Descriptor { kind, representation, ref bounds, mode, .. } = *descriptor;
        let bounds = bounds.clone();
        let starts_at_zero = matches!(mode, GaugeMode::Sum | GaugeMode::LiveSum);
        let count = match kind {
            Kind::Counter => Representation::COUNT,
            Kind::Histogram => bounds.len() + 2,
            _ => 2,
        };
        let words = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { kind, representation, bounds, starts_at_zero, words, dropped: Default::default() }
    }

    /// How many updates were dropped for a reason.
    #[must_use]
    pub fn count_of(&self, reason: Dropped) -> u64 {
        self.dropped[reason as usize].load(Ordering::Relaxed)
    }

    fn add_f64(&self, at: usize, amount: f64) {
        self.change(at, |bits| (f64::from_bits(bits) + amount).to_bits());
    }

    fn change(&self, at: usize, change: impl Fn(u64) -> u64) {
        let _ = self.words[at].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| Some(change(bits)));
    }

    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    /// A counter's total: exact while all was counted in one integer representation.
    fn total(&self) -> Number {
        let [whole, float, nanoseconds] = [0, 1, 2].map(|at| self.word(at));
        match (whole, float, nanoseconds) {
            (_, 0, 0) if whole > 0 || self.representation == Representation::Integer => {
                Number::Integer(whole as i64)
            }
            (0, 0, _) if nanoseconds > 0 || self.representation == Representation::Nanoseconds => {
                Number::Nanoseconds(nanoseconds as i64)
            }
            _ => {
                let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
                Number::Float(whole as f64 + f64::from_bits(float) + seconds)
            }
        }
    }
}

impl Instrument for Cell {
    fn add(&self, amount: Number) {
        if self.kind == Kind::Gauge {
            let number = |bits| Number::from_bits(bits, self.representation);
            self.change(0, |bits| number(bits).plus(amount).convert(self.representation).to_bits());
            return self.words[1].store(1, Ordering::Release);
        }
        let at = amount.representation() as usize;
        match amount {
            Number::Float(amount) => self.add_f64(at, amount),
            Number::Integer(n) | Number::Nanoseconds(n) => {
                self.words[at].fetch_add(n as u64, Ordering::Relaxed);
            }
        }
    }

    fn set(&self, value: Number) {
        self.words[0].store(value.convert(self.representation).to_bits(), Ordering::Relaxed);
        self.words[1].store(1, Ordering::Release);
    }

    fn observe(&self, value: f64, count: u64) {
        let at = match self.kind {
            Kind::Histogram => self.bounds.partition_point(|bound| *bound < value),
            _ => 0,
        };
        self.words[at].fetch_add(count, Ordering::Relaxed);
        let sum = value * count as f64;
        if sum.is_finite() {
            self.add_f64(self.words.len() - 1, sum);
        }
    }

    fn switch(&self, on: u64, off: u64) {
        self.change(0, |bits| bits & !off | on);
        self.words[1].store(1, Ordering::Release);
    }

    fn dropped(&self, reason: Dropped) {
        self.dropped[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn value(&self) -> Option<Value> {
        let is_set = || self.words[1].load(Ordering::Acquire) != 0;
        match self.kind {
            Kind::Counter => Some(Value::Number(self.total())),
            Kind::Gauge => (self.starts_at_zero || is_set())
                .then(|| Value::Number(Number::from_bits(self.word(0), self.representation))),
            Kind::StateSet => is_set().then(|| Value::States(self.word(0))),
            Kind::Histogram | Kind::Tally => {
                let (counts, sum) = self.words.split_at(self.words.len() - 1);
                let counts: Vec<u64> = counts.iter().map(|word| word.load(Ordering::Relaxed)).collect();
                let count = counts.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count));
                let buckets = if self.kind == Kind::Histogram { counts } else { Vec::new() };
                Some(Value::Distribution {
                    buckets,
                    count,
                    sum: f64::from_bits(sum[0].load(Ordering::Relaxed)),
                })
            }
            _ => None,
        }
    }
}
