//! Which bucket of a histogram a value belongs to, without a search.

use crate::once_map::OnceValue;
use crate::opts::DEFAULT_BOUNDS;

/// Most entries of a table.
const MOST_CELLS: u64 = 2048;
/// Bits of a double's mantissa.
const MANTISSA_BITS: u32 = 52;

/// The bounds of a histogram, and a table from a value's exponent (and as many bits of its mantissa as it takes) to
/// the one bound that it has to be compared with. Bounds that are too close together for a table, or not all
/// positive, are counted through.
#[derive(Debug)]
pub(crate) struct Buckets {
    /// The bounds, and infinity behind them.
    padded: Box<[f64]>,
    /// For each cell, the number of bounds below it. At most one bound lies in a cell.
    below: Box<[u16]>,
    shift: u32,
    /// The first cell, and the number of the last one behind it.
    first: i64,
    last: i64,
}

impl Buckets {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        let padded = bounds.iter().copied().chain([f64::INFINITY]).collect();
        let none = Self { padded, below: Box::new([]), shift: 0, first: 0, last: 0 };
        let (Some(least), Some(most)) = (bounds.first(), bounds.last()) else { return none };
        if *least < f64::MIN_POSITIVE {
            return none;
        }
        // Doubles above 0 are in the order of their bits.
        let shifts = (MANTISSA_BITS - 11..=MANTISSA_BITS).rev();
        let few = |shift: &u32| (most.to_bits() >> shift) - (least.to_bits() >> shift) < MOST_CELLS - 1;
        let found = shifts.take_while(few).find(|shift| {
            let cells = bounds.iter().map(|bound| bound.to_bits() >> shift);
            cells.clone().zip(cells.skip(1)).all(|(cell, next)| cell < next)
        });
        let Some(shift) = found else { return none };
        let (first, last) = (least.to_bits() >> shift, (most.to_bits() >> shift) + 1);
        let number = |cell| bounds.iter().filter(|bound| bound.to_bits() >> shift < cell).count() as u16;
        let below = (first..=last).map(number).collect();
        Self { below, shift, first: first as i64, last: (last - first) as i64, ..none }
    }

    /// The bounds with infinity behind them, and the table: below, shift, first, last.
    pub(crate) fn parts(&self) -> (&[f64], &[u16], u32, i64, i64) {
        (&self.padded, &self.below, self.shift, self.first, self.last)
    }

    /// The default bounds.
    pub(crate) fn default_bounds() -> Option<&'static Self> {
        static DEFAULT: OnceValue<Buckets> = OnceValue::new();
        DEFAULT.get_or(|| Some(Self::new(&DEFAULT_BOUNDS)))
    }

    /// Upper bounds, without `+Inf`; none where there are no buckets.
    #[inline]
    pub(crate) const fn bounds_of(buckets: Option<&Self>) -> &[f64] {
        match buckets {
            Some(buckets) => buckets.bounds(),
            None => &[],
        }
    }

    /// Upper bounds, without `+Inf`.
    #[inline]
    const fn bounds(&self) -> &[f64] {
        match self.padded.split_last() {
            Some((_infinity, bounds)) => bounds,
            None => &[],
        }
    }

    /// Index of the first bucket whose bound is not below `value`, which is not NaN.
    #[inline]
    pub(crate) fn of(&self, value: f64) -> usize {
        if self.below.is_empty() {
            return self.bounds().iter().map(|bound| usize::from(*bound < value)).sum();
        }
        // As a signed number, so that what is below the first cell, negative values too, is below 0.
        let cell = (value.to_bits() as i64 >> self.shift) - self.first;
        let below = usize::from(self.below[cell.clamp(0, self.last) as usize]);
        below + usize::from(self.padded[below] < value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with a search at every bound, its neighbours, and between.
    fn assert_right(bounds: &[f64]) {
        let buckets = Buckets::new(bounds);
        let near = |bound: &f64| [bound.next_down(), *bound, bound.next_up(), bound * 1.3, bound * 0.7];
        let odd = [0.0, -0.0, -1.0, 5e-324, f64::MIN, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, 1e-9, 1e9];
        for value in bounds.iter().flat_map(near).chain(odd) {
            let expected = bounds.partition_point(|bound| *bound < value);
            assert_eq!(buckets.of(value), expected, "{value:?} in {bounds:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes, and no unsafe code is reached")]
    fn the_table_agrees_with_a_search() {
        let linear: Vec<f64> = (1..=64).map(f64::from).collect();
        let exponential: Vec<f64> = (0..40).map(|n| 1e-6 * 1.7_f64.powi(n)).collect();
        let cases: [&[f64]; 8] = [
            &DEFAULT_BOUNDS,
            &linear,
            &exponential,
            &[1.0],
            &[f64::MIN_POSITIVE, 1.0],
            &[0.001, 0.0011, 0.0012, 10.0],
            &[1.0, f64::MAX],
            &[100.0, 100.5, 101.0],
        ];
        for bounds in cases {
            assert!(!Buckets::new(bounds).below.is_empty() || bounds[0] < 1e-300, "{bounds:?} has a table");
            assert_right(bounds);
        }
    }

    #[test]
    fn bounds_without_a_table_are_counted_through() {
        for bounds in [&[-1.0, 0.0, 1.0][..], &[0.0, 1.0], &[5e-324, 1.0], &[1.0, 1.000_000_1], &[]] {
            assert!(Buckets::new(bounds).below.is_empty(), "{bounds:?}");
            assert_right(bounds);
        }
    }
}
