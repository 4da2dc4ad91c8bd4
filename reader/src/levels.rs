//! What a collection reads for a threshold: families up to a level, and of all words those that are theirs.

use std::collections::VecDeque;
use std::ops::Range;

use crate::catalog::Catalog;
use crate::merge::Plan;

/// Thresholds whose words are remembered: whoever asks with several in turn doesn't pay for finding them anew.
const REMEMBERED: usize = 4;

/// Words among the sums of a segment, ascending, none of them twice.
pub(crate) type Words = Vec<Range<usize>>;

/// Which words of each segment belong to families up to a level, for one state of the plan.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// The one asked for last is the first.
    known: VecDeque<(u8, Vec<Words>)>,
}

impl Levels {
    /// Forgets everything: the plan is another.
    pub(crate) fn clear(&mut self) {
        self.known.clear();
    }

    /// For each segment what to read; none where that is everything.
    pub(crate) fn words(&mut self, plan: &Plan, catalogs: &[&Catalog], level: u8) -> Option<&[Words]> {
        if level == u8::MAX {
            return None;
        }
        let known = self.known.iter().position(|(known, _)| *known == level);
        let found = known.and_then(|at| self.known.remove(at));
        let found = found.unwrap_or_else(|| (level, find(plan, catalogs, level)));
        self.known.truncate(REMEMBERED - 1);
        self.known.push_front(found);
        self.known.front().map(|(_, words)| words.as_slice())
    }
}

/// The words of the families up to `level`: whose level that is, the segment says that describes the family.
fn find(plan: &Plan, catalogs: &[&Catalog], level: u8) -> Vec<Words> {
    let mut found: Vec<Words> = vec![Words::new(); catalogs.len()];
    for planned in &plan.families {
        let (segment, family) = planned.describes;
        let family = &catalogs[segment].families[family];
        if family.level > level || family.kind.is_per_process() {
            continue;
        }
        for origin in planned.origins().flatten() {
            found[origin.segment()].push(origin.place..origin.place + family.cell_words());
        }
    }
    found.iter_mut().for_each(join);
    found
}

/// Sorts ranges, and makes one of those that touch.
fn join(words: &mut Words) {
    words.sort_unstable_by_key(|range| range.start);
    words.dedup_by(|next, before| {
        let touches = next.start <= before.end;
        if touches {
            before.end = before.end.max(next.end);
        }
        touches
    });
    words.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut words = vec![8..9, 0..3, 3..5, 6..8, 20..21];
        join(&mut words);
        assert_eq!(words, [0..5, 6..9, 20..21]);
    }

    #[test]
    fn a_few_thresholds_are_remembered() {
        let mut levels = Levels::default();
        for level in (0..20).chain([18, u8::MAX]) {
            assert_eq!(levels.words(&Plan::default(), &[], level).is_none(), level == u8::MAX);
        }
        let known: Vec<u8> = levels.known.iter().map(|(level, _)| *level).collect();
        assert_eq!(known, [18, 19, 17, 16]);
    }
}
