//! The operations that are measured, and what they are fed with.

use std::hint::black_box;
use std::sync::Arc;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Upper bounds of every histogram here: 11, those that Prometheus' libraries use for seconds.
pub const BOUNDS: [f64; 11] = dyn_metrics::DEFAULT_BOUNDS;
/// The label names of every labelled family here.
pub const LABELS: [&str; 2] = ["model", "status"];
/// The pair of the operations that use one.
pub const PAIR: [&str; 2] = ["meta-llama/Llama-3.1-8B-Instruct", "200"];

/// What one iteration does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Adds 1 to a counter whose handle is held.
    CounterInc,
    /// Adds 1.5 to a counter of doubles.
    CounterIncF64,
    /// Sets a gauge to an integer.
    GaugeSet,
    /// The same, for a gauge that keeps the time too.
    GaugeSetMostRecent,
    /// Observes values that are spread over all buckets.
    HistObserve,
    /// Finds a counter by two strings that nothing is known about, and adds 1.
    CounterLabels,
    /// The same with literals, or whatever the library offers for labels known at compile time.
    CounterLabelsStatic,
    /// As `CounterLabels`, with 16 pairs in turn.
    CounterLabels16,
    /// The same with 10 000.
    CounterLabels10000,
}

impl Op {
    /// Every operation, with its name in tables.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::CounterInc, "counter_inc"),
        (Self::CounterIncF64, "counter_inc_f64"),
        (Self::GaugeSet, "gauge_set"),
        (Self::GaugeSetMostRecent, "gauge_set_mostrecent"),
        (Self::HistObserve, "hist_observe"),
        (Self::CounterLabels, "counter_labels"),
        (Self::CounterLabelsStatic, "counter_labels_static"),
        (Self::CounterLabels16, "counter_labels_16"),
        (Self::CounterLabels10000, "counter_labels_10000"),
    ];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    /// A metric's name for it.
    #[must_use]
    pub fn metric(self) -> String {
        format!("bench_{}", self.name())
    }
}

/// Label values as an application has them: strings on the heap.
pub type Pair = [String; 2];

/// What operations are fed with, the same for all contenders.
pub struct Input {
    /// Values to observe: each of the 12 buckets gets as many, in random order.
    pub values: Vec<f64>,
    one: Vec<Pair>,
    sixteen: Vec<Pair>,
    many: Vec<Pair>,
}

impl Input {
    /// The same at each run.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        // Copies, so that the loop's end is as far away as with other pairs.
        let one = vec![PAIR.map(str::to_owned); 16];
        let (sixteen, many) = (pairs(4, 4, &mut random), pairs(100, 100, &mut random));
        Arc::new(Self { values: values(&mut random), one, sixteen, many })
    }

    /// The label values of an operation, in random order.
    #[must_use]
    pub fn pairs(&self, op: Op) -> &[Pair] {
        match op {
            Op::CounterLabels16 => &self.sixteen,
            Op::CounterLabels10000 => &self.many,
            _ => &self.one,
        }
    }
}

fn pairs(models: usize, statuses: usize, random: &mut ChaCha8Rng) -> Vec<Pair> {
    let pair =
        |at: usize| [format!("model-{:03}-instruct", at / statuses), format!("{}", 200 + at % statuses)];
    let mut order: Vec<usize> = (0..models * statuses).collect();
    order.shuffle(random);
    order.into_iter().map(pair).collect()
}

fn values(random: &mut ChaCha8Rng) -> Vec<f64> {
    let buckets = BOUNDS.len() + 1;
    let value = |at: usize| {
        let bucket = at % buckets;
        let below = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] };
        let above = BOUNDS.get(bucket).copied().unwrap_or(2.0 * below);
        // Above the lower bound, so that no bucket gets its neighbour's.
        below + (above - below) * random.random_range(0.001..1.0)
    };
    let mut values: Vec<f64> = (0..170 * buckets).map(value).collect();
    values.shuffle(random);
    values
}

/// Does `work` `n` times with `held`: a handle, or a handle and a value.
///
/// The compiler knows neither what `held` is nor that its memory stays the same from one iteration to the next, so it
/// loads it anew each time, as an application that keeps it in a structure does. `held` itself stays in a
/// register: passed through `black_box` each time, it would go through the stack, which doubled the time of the
/// fastest operations.
#[inline(always)] // the loop belongs to each contender alone
pub fn repeat<H>(n: u64, held: &H, mut work: impl FnMut(&H)) {
    let held = black_box(held);
    for _ in 0..n {
        work(held);
        black_box(()); // a barrier: memory may have changed
    }
}

/// As [`repeat`], with the items in turn; each worker starts elsewhere.
#[inline(always)]
pub fn over<T, H>(worker: usize, n: u64, items: &[T], held: &H, mut work: impl FnMut(&H, &T)) {
    let (items, held) = (black_box(items), black_box(held));
    let (mut left, mut start) = (n as usize, worker * items.len() / 2 % items.len());
    while left > 0 {
        let end = items.len().min(start + left);
        for item in &items[start..end] {
            work(held, item);
            black_box(());
        }
        left -= end - start;
        start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spread_evenly_over_all_buckets() {
        let mut counts = [0; 12];
        for value in &Input::new().values {
            counts[BOUNDS.iter().filter(|bound| **bound < *value).count()] += 1;
        }
        assert_eq!(counts, [170; 12]);
    }

    #[test]
    fn items_are_taken_in_turn_as_often_as_asked() {
        let (items, mut seen) = ([1, 2, 3, 4], Vec::new());
        over(1, 7, &items, &(), |(), item| seen.push(*item));
        assert_eq!(seen, [3, 4, 1, 2, 3, 4, 1]);
    }
}
