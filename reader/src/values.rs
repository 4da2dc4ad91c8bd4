//! The values of planned series, read from their segments, one after the other into a [`Sink`].

pub(crate) mod per_process;

use dyn_metrics_layout::{Kind, Representation};

use crate::catalog::FamilyEntry;
use crate::merge::{LabelSets, Origin, Plan, PlannedFamily};
use crate::segment::Reading;
use crate::snapshot::{Number, ValueRef};
use per_process::PerProcess;

/// What takes the values of a collection: a snapshot, or text.
pub(crate) trait Sink {
    /// What takes the values of one family.
    type Family<'f>: Samples
    where
        Self: 'f;

    /// Forgets what it was given: the collection begins anew.
    fn restart(&mut self);

    /// A family; its samples follow.
    fn family<'f>(&'f mut self, family: &'f FamilyEntry, labels: &'f LabelSets) -> Self::Family<'f>;
}

/// What takes the samples of a family.
pub(crate) trait Samples {
    /// The value of the sample with the label set of this number; numbers ascend.
    fn sample(&mut self, number: usize, value: ValueRef<'_>);
}

/// Memory that is used again, so that no series costs an allocation.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    per_process: PerProcess,
    buckets: Vec<u64>,
}

/// Reads every family of `plan` and returns the number of samples; `groups[i]` says to which name the segment
/// of `readings[i]` belongs.
pub(crate) fn read(
    plan: &mut Plan,
    readings: &mut [Reading<'_>],
    groups: &[usize],
    scratch: &mut Scratch,
    sink: &mut impl Sink,
) -> usize {
    let mut count = 0;
    for planned in &mut plan.families {
        let (segment, number) = planned.describes;
        let catalog = readings[segment].catalog;
        let family = &catalog.families[number];
        count += if !family.kind.is_per_process() {
            totals(family, planned, readings, &mut scratch.buckets, sink.family(family, &planned.series));
            planned.series.list.len()
        } else if family.mode.is_all() {
            scratch.per_process.find(family, planned, readings, groups);
            scratch.per_process.show(family, planned, sink.family(family, &planned.shown.samples))
        } else {
            let samples = sink.family(family, &planned.series);
            scratch.per_process.combine(family, planned, readings, groups, samples)
        };
    }
    count
}

/// Families whose values don't belong to processes.
fn totals(
    family: &FamilyEntry,
    planned: &PlannedFamily,
    readings: &[Reading<'_>],
    buckets: &mut Vec<u64>,
    mut samples: impl Samples,
) {
    let series = planned.origins().enumerate();
    // A loop for each kind: they run long.
    match family.kind {
        Kind::Counter => series.for_each(|(number, origins)| {
            samples.sample(number, ValueRef::Counter(counter(origins, readings)));
        }),
        Kind::Tally => series.for_each(|(number, origins)| samples.sample(number, tally(origins, readings))),
        Kind::Histogram => series.for_each(|(number, origins)| {
            samples.sample(number, histogram(family, origins, readings, buckets));
        }),
        _ => series.for_each(|(number, _)| samples.sample(number, ValueRef::Info)),
    }
}

pub(crate) fn counter(origins: &[Origin], readings: &[Reading<'_>]) -> Number {
    let mut sum = Sum::default();
    for origin in origins {
        sum.add(words(origin, readings, 1)[0], origin.representation);
    }
    sum.number()
}

pub(crate) fn tally<'v>(origins: &[Origin], readings: &[Reading<'_>]) -> ValueRef<'v> {
    let (mut count, mut sum) = (0_u64, Sum::default());
    for origin in origins {
        let words = words(origin, readings, 2);
        count = count.wrapping_add(words[0]);
        sum.add(words[1], origin.representation);
    }
    ValueRef::Tally { count, sum: sum.number().as_f64() }
}

pub(crate) fn histogram<'v>(
    family: &'v FamilyEntry,
    origins: &[Origin],
    readings: &[Reading<'_>],
    buckets: &'v mut Vec<u64>,
) -> ValueRef<'v> {
    let count = family.bounds.len() + 1;
    buckets.clear();
    buckets.resize(count, 0);
    let mut sum = Sum::default();
    for origin in origins {
        let (found, last) = words(origin, readings, count + 1).split_at(count);
        for (bucket, found) in buckets.iter_mut().zip(found) {
            *bucket = bucket.wrapping_add(*found);
        }
        sum.add(last[0], origin.representation);
    }
    ValueRef::Histogram { bounds: &family.bounds, buckets, sum: sum.number().as_f64() }
}

/// The words of a series, each the sum of all blocks.
fn words<'s>(origin: &Origin, readings: &[Reading<'s>], count: usize) -> &'s [u64] {
    &readings[origin.segment()].sums[origin.place..origin.place + count]
}

/// A sum over segments and representations; always in the same order.
#[derive(Default)]
struct Sum {
    integer: u64,
    nanoseconds: u64,
    float: f64,
    has_fractions: bool,
}

impl Sum {
    fn add(&mut self, word: u64, representation: Representation) {
        self.has_fractions |= representation != Representation::Integer;
        match representation {
            Representation::Integer => self.integer = self.integer.wrapping_add(word),
            Representation::Float => self.float += f64::from_bits(word),
            Representation::Nanoseconds => self.nanoseconds = self.nanoseconds.wrapping_add(word),
        }
    }

    /// Exact as long as there are only integers.
    fn number(&self) -> Number {
        if self.has_fractions {
            Number::Float(self.integer as f64 + self.float + self.nanoseconds as f64 / 1e9)
        } else {
            Number::Unsigned(self.integer)
        }
    }
}
