//! Median, minimum and maximum of a few samples.

/// What is kept of the samples of one contender.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle sample; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Summary {
    /// Of these samples, in any order; none without samples.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }

    /// Every figure times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_of_the_sorted_samples() {
        let odd = Summary::of(&[9.0, 1.0, 4.0]).unwrap();
        assert_eq!(odd, Summary { median: 4.0, min: 1.0, max: 9.0 });
        let even = Summary::of(&[8.0, 1.0, 4.0, 2.0]).unwrap();
        assert_eq!(even, Summary { median: 3.0, min: 1.0, max: 8.0 });
        assert_eq!(Summary::of(&[5.0]), Some(Summary { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(Summary::of(&[]), None);
    }
}
