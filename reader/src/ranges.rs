//! Which bytes of a file are taken: no two structures may overlap.
//!
//! This is also what bounds a hostile file's cost: whatever it claims, the structures that are believed
//! together have no more bytes than the file.

use std::collections::BTreeMap;

/// Disjoint ranges of a file.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    ends: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Takes `len` bytes at `start`; false, and nothing taken, when one of them is taken already.
    pub(crate) fn take(&mut self, start: u64, len: u64) -> bool {
        let Some(end) = start.checked_add(len) else { return false };
        let before = self.ends.range(..end).next_back();
        if before.is_some_and(|(_, taken_end)| *taken_end > start) {
            return false;
        }
        if len > 0 {
            self.ends.insert(start, end);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_is_refused() {
        let mut ranges = Ranges::default();
        assert!(ranges.take(100, 50));
        for (start, len) in [(100, 50), (0, 101), (149, 1), (120, 10), (0, 1000), (u64::MAX, 2)] {
            assert!(!ranges.take(start, len), "{start} {len}");
        }
        assert!(ranges.take(150, 10));
        assert!(ranges.take(0, 100));
        assert!(ranges.take(500, 0));
        assert!(ranges.take(499, 2));
    }
}
