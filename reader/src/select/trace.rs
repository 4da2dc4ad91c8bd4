//! The words that a reading depends on, as they were at the last look: whether it is worth reading again.
//!
//! A reading follows lists and adds blocks up. That most often nothing has changed is found out by comparing a few words
//! for each series, in the order of the file.

use crate::collector::Followed;
use crate::merge::PlannedFamily;
use crate::segment::Place;
use dyn_metrics_layout::sync::{AtomicU64, Ordering};

/// Comparisons after which the words are compared, too, that say where the numbers are.
const PLACES_EVERY: u32 = 8;

/// What is compared.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Where values are.
    values: Words,
    /// What says where they are.
    places: Words,
    is_known: bool,
    comparisons: u32,
}

#[derive(Debug, Default)]
struct Words {
    runs: Vec<Run>,
    copy: Vec<u64>,
}

/// Neighbouring words of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    segment: u32,
    count: u32,
    offset: u64,
}

impl Trace {
    /// Forgets everything, because series or files have come or gone.
    pub(super) fn forget(&mut self) {
        self.is_known = false;
    }

    /// Whether anything has changed since the last call, as far as that can be told; and whether the words that say where
    /// values are have.
    pub(super) fn compare(
        &mut self,
        plan: &PlannedFamily,
        is_per_process: bool,
        followed: &[Followed],
    ) -> Change {
        if !self.is_known {
            self.find(plan, is_per_process, followed);
            // A copy of before the reading that follows: what changes meanwhile is seen by the next comparison.
            self.values.differ(followed);
            self.places.differ(followed);
            self.is_known = true;
            return Change::Values;
        }
        self.comparisons = (self.comparisons + 1) % PLACES_EVERY;
        if self.comparisons == 0 && self.places.differ(followed) {
            self.is_known = false;
            return Change::Places;
        }
        if self.values.differ(followed) { Change::Values } else { Change::None }
    }

    fn find(&mut self, plan: &PlannedFamily, is_per_process: bool, followed: &[Followed]) {
        let Self { values, places, .. } = self;
        values.runs.clear();
        places.runs.clear();
        for (number, followed) in (0..).zip(followed) {
            followed.segment.places_of_totals(|what, offset, count| match what {
                Place::Value => values.add(number, offset, count),
                Place::Link => places.add(number, offset, count),
            });
        }
        for origin in plan.origins().flatten().filter(|_| is_per_process) {
            let segment = origin.segment();
            followed[segment].segment.places_of_gauge(
                origin.place as u64,
                |what, offset, count| match what {
                    Place::Value => values.add(segment as u32, offset, count),
                    Place::Link => places.add(segment as u32, offset, count),
                },
            );
        }
    }
}

/// What a comparison says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    Values,
    Places,
}

impl Words {
    fn add(&mut self, segment: u32, offset: u64, count: u32) {
        self.runs.push(Run { segment, count, offset });
    }

    /// Whether any of the words is another one than before, as which it is kept now.
    fn differ(&mut self, followed: &[Followed]) -> bool {
        let Self { runs, copy } = self;
        let (mut at, mut differ) = (0, false);
        for run in &*runs {
            let count = run.count as usize;
            if copy.len() < at + count {
                copy.resize(at + count, 0);
            }
            match followed[run.segment as usize].segment.words(run.offset, count) {
                Some(words) => differ |= update(&mut copy[at..at + count], words),
                None => differ = true,
            }
            at += count;
        }
        differ
    }
}

/// Makes `copy` what `words` are now; whether it was something else.
fn update(copy: &mut [u64], words: &[AtomicU64]) -> bool {
    let mut bits = 0;
    for (copy, word) in copy.iter().zip(words) {
        bits |= *copy ^ word.load(Ordering::Relaxed);
    }
    if bits != 0 {
        copy.iter_mut().zip(words).for_each(|(copy, word)| *copy = word.load(Ordering::Relaxed));
    }
    bits != 0
}
