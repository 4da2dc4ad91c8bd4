//! One number out of many.

use super::Operation;

/// The composed number of values, none of them NaN; none where there is nothing to make one of.
pub(super) fn of_values(operation: Operation, values: &mut [f64]) -> Option<f64> {
    let count = values.len() as f64;
    match operation {
        Operation::Count => Some(count),
        Operation::Sum | Operation::Rate => Some(values.iter().sum()),
        _ if values.is_empty() => None,
        Operation::Avg => Some(values.iter().sum::<f64>() / count),
        Operation::Min => values.iter().copied().reduce(f64::min),
        Operation::Max => values.iter().copied().reduce(f64::max),
        Operation::Quantile(q) => Some(quantile(q, values)),
    }
}

/// Interpolated between the two nearest of these values, of which there is one at least.
fn quantile(q: f64, values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len() - 1;
    let rank = q * last as f64;
    let below = (rank.floor() as usize).min(last);
    let (low, high, part) = (values[below], values[(below + 1).min(last)], rank - rank.floor());
    if low == high || part == 0.0 { low } else { low * (1.0 - part) + high * part }
}

/// The composed number of observations: how many are in each bucket, `+Inf`'s last, and their sum. Tallies have one bucket.
pub(super) fn of_observations(
    operation: Operation,
    bounds: &[f64],
    buckets: &[u64],
    sum: f64,
) -> Option<f64> {
    let count = buckets.iter().fold(0_u64, |all, bucket| all.wrapping_add(*bucket));
    match operation {
        Operation::Count | Operation::Rate => Some(count as f64),
        Operation::Sum => Some(sum),
        _ if count == 0 => None,
        Operation::Quantile(q) => bucket_quantile(q, bounds, buckets, count),
        _ => Some(sum / count as f64),
    }
}

/// Interpolated within the bucket that has it, as if observations were spread evenly over it; the first one begins at 0
/// unless it ends below, and of the last one nothing is known but its bound.
fn bucket_quantile(q: f64, bounds: &[f64], buckets: &[u64], count: u64) -> Option<f64> {
    let rank = q * count as f64;
    let mut below = 0_u64;
    let mut start = None;
    for (bound, bucket) in bounds.iter().zip(buckets) {
        if *bucket > 0 && (below + bucket) as f64 >= rank {
            let start = match start {
                Some(start) => start,
                None if *bound <= 0.0 => return Some(*bound),
                None => 0.0,
            };
            return Some(start + (bound - start) * ((rank - below as f64) / *bucket as f64));
        }
        below = below.wrapping_add(*bucket);
        start = Some(*bound);
    }
    bounds.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_become_one() {
        let mut values = [3.0, -1.0, 4.0, 2.0];
        for (operation, expected) in [
            (Operation::Avg, 2.0),
            (Operation::Min, -1.0),
            (Operation::Max, 4.0),
            (Operation::Sum, 8.0),
            (Operation::Count, 4.0),
            (Operation::Quantile(0.0), -1.0),
            (Operation::Quantile(0.5), 2.5),
            (Operation::Quantile(0.9), 3.7),
            (Operation::Quantile(1.0), 4.0),
        ] {
            let found = of_values(operation, &mut values).unwrap();
            assert!((found - expected).abs() < 1e-12, "{operation:?}: {found}");
        }
        assert_eq!(of_values(Operation::Quantile(0.3), &mut [f64::INFINITY; 2]), Some(f64::INFINITY));
    }

    #[test]
    fn of_nothing_there_is_a_sum_and_a_count_and_nothing_else() {
        for operation in [Operation::Avg, Operation::Min, Operation::Max, Operation::Quantile(0.5)] {
            assert_eq!(of_values(operation, &mut []), None);
            assert_eq!(of_observations(operation, &[1.0], &[0, 0], 0.0), None);
        }
        for operation in [Operation::Sum, Operation::Count, Operation::Rate] {
            assert_eq!(of_values(operation, &mut []), Some(0.0));
            assert_eq!(of_observations(operation, &[1.0], &[0, 0], 0.0), Some(0.0));
        }
    }

    /// Expected: Prometheus 2.42, `histogram_quantile` of the same buckets; but for empty first buckets, of which it makes NaN.
    #[test]
    fn quantiles_of_buckets_are_interpolated() {
        let bounds = [0.1, 0.5, 1.0];
        let quantile =
            |q, buckets: &[u64]| of_observations(Operation::Quantile(q), &bounds, buckets, 0.0).unwrap();
        for (q, buckets, expected) in [
            (0.5, [4, 4, 2, 0], 0.2),
            (0.0, [4, 4, 2, 0], 0.0),
            (0.0, [0, 4, 2, 0], 0.1),
            (0.4, [4, 4, 2, 0], 0.1),
            (0.9, [4, 4, 2, 0], 0.75),
            (1.0, [4, 4, 2, 0], 1.0),
            (0.99, [0, 0, 0, 5], 1.0),
            (1.0, [0, 3, 0, 0], 0.5),
        ] {
            let found = quantile(q, &buckets);
            assert!((found - expected).abs() < 1e-12, "{q} of {buckets:?}: {found}");
        }
        assert_eq!(of_observations(Operation::Quantile(0.5), &[-1.0, 1.0], &[2, 0, 0], 0.0), Some(-1.0));
    }
}
