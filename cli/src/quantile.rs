//! Quantiles estimated from a histogram's buckets.

use std::fmt;

use crate::text::rounded;

/// An estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// About this.
    Near(f64),
    /// Somewhere above the last bound.
    Above(f64),
}

impl Quantile {
    /// The estimate, or the last bound where it lies above that, as Prometheus' `histogram_quantile` has it.
    pub const fn value(self) -> f64 {
        let (Self::Near(value) | Self::Above(value)) = self;
        value
    }
}

impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near(value) => f.pad(&short(*value)),
            Self::Above(bound) => f.pad(&format!(">{}", short(*bound))),
        }
    }
}

/// Three digits: an estimate has no more.
fn short(value: f64) -> String {
    rounded(value, 3)
}

/// Estimates the quantile `share` (0.5 is the median) by linear interpolation inside its bucket, as Prometheus'
/// `histogram_quantile` does; `buckets` has one count for each bound and one beyond. None without observations.
pub fn quantile(bounds: &[f64], buckets: &[u64], share: f64) -> Option<Quantile> {
    let count = buckets.iter().map(|count| *count as f64).sum::<f64>();
    let rank = share * count;
    let mut below = 0.0;
    for (index, bucket) in buckets.iter().map(|count| *count as f64).enumerate() {
        if bucket > 0.0 && below + bucket >= rank {
            let Some(upper) = bounds.get(index) else { return bounds.last().copied().map(Quantile::Above) };
            let lower = if index == 0 { 0f64.min(*upper) } else { bounds[index - 1] };
            return Some(Quantile::Near(lower + (upper - lower) * (rank - below) / bucket));
        }
        below += bucket;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [0.0, 0.125, 0.625];

    fn near(value: f64) -> Option<Quantile> {
        Some(Quantile::Near(value))
    }

    #[test]
    fn quantiles_are_interpolated_inside_their_bucket() {
        assert_eq!(quantile(&BOUNDS, &[0, 10, 0, 0], 0.5), near(0.0625));
        assert_eq!(quantile(&BOUNDS, &[0, 0, 4, 0], 0.25), near(0.25));
        assert_eq!(quantile(&BOUNDS, &[0, 5, 0, 5], 0.5), near(0.125));
        assert_eq!(quantile(&BOUNDS, &[0, 100, 300, 0], 0.9), near(0.125 + 0.5 * 260.0 / 300.0));
    }

    #[test]
    fn the_first_bucket_begins_at_zero_or_at_its_bound() {
        assert_eq!(quantile(&[4.0], &[2, 0], 0.5), near(2.0));
        assert_eq!(quantile(&[-4.0], &[2, 0], 0.5), near(-4.0));
        assert_eq!(quantile(&BOUNDS, &[3, 0, 0, 0], 0.99), near(0.0));
    }

    #[test]
    fn quantiles_beyond_the_last_bound_say_so() {
        let beyond = quantile(&BOUNDS, &[0, 0, 0, 3], 0.5);
        assert_eq!(beyond, Some(Quantile::Above(0.625)));
        assert_eq!(beyond.map(|q| (q.value(), q.to_string())), Some((0.625, ">0.625".to_owned())));
    }

    #[test]
    fn nothing_observed_has_no_quantile() {
        assert_eq!(quantile(&BOUNDS, &[0; 4], 0.5), None);
        assert_eq!(quantile(&[], &[], 0.5), None);
        assert_eq!(quantile(&[], &[7], 0.5), None);
    }

    #[test]
    fn totals_near_the_limit_of_u64_do_not_overflow() {
        assert_eq!(quantile(&[1.0, 2.0], &[u64::MAX, u64::MAX, 0], 0.5), near(1.0));
    }

    #[test]
    fn estimates_have_three_digits() {
        for (value, expected) in [(0.123_456, "0.123"), (1_234.56, "1235"), (2.0, "2"), (0.000_45, "0.00045")]
        {
            assert_eq!(Quantile::Near(value).to_string(), expected);
        }
    }
}
