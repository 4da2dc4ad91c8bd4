//! When a value is worth a call.

use crate::error::{Error, Result};

/// What a watched value is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    limit: f64,
    hysteresis: f64,
    side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Above,
    Below,
}

impl Threshold {
    /// Crossed by a value greater than `limit`.
    #[must_use]
    pub const fn above(limit: f64) -> Self {
        Self { limit, hysteresis: 0.0, side: Side::Above }
    }

    /// Crossed by a value less than `limit`.
    #[must_use]
    pub const fn below(limit: f64) -> Self {
        Self { limit, hysteresis: 0.0, side: Side::Below }
    }

    /// How far the value must come back behind the limit before it can cross it again; 0 unless given.
    #[must_use]
    pub const fn hysteresis(self, hysteresis: f64) -> Self {
        Self { hysteresis, ..self }
    }

    pub(super) fn check(&self) -> Result<()> {
        let refused = |option, found: f64, expected: &str| {
            Err(Error::Option { option, found: found.to_string(), expected: expected.to_owned() })
        };
        if !self.limit.is_finite() {
            return refused("limit", self.limit, "a finite number");
        }
        if !self.hysteresis.is_finite() || self.hysteresis < 0.0 {
            return refused("hysteresis", self.hysteresis, "a finite number, 0 or more");
        }
        Ok(())
    }

    fn is_crossed_by(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value > self.limit,
            Side::Below => value < self.limit,
        }
    }

    fn is_behind(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value <= self.limit - self.hysteresis,
            Side::Below => value >= self.limit + self.hysteresis,
        }
    }
}

/// When a subscription is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    Change,
    Threshold(Threshold),
}

/// What is known of one value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) value: Option<f64>,
    /// Beyond the threshold, and not yet back by the hysteresis.
    is_beyond: bool,
}

impl Rule {
    /// Takes in what a value is now: whether to tell of it, and what it was before.
    ///
    /// NaN is a value that equals itself, and that is neither beyond a threshold nor behind it.
    pub(super) fn take(self, seen: &mut Seen, value: Option<f64>) -> Option<Option<f64>> {
        let before = std::mem::replace(&mut seen.value, value);
        match self {
            Self::Change => (!is_same(before, value)).then_some(before),
            Self::Threshold(threshold) => {
                let was_beyond = seen.is_beyond;
                seen.is_beyond = match value {
                    None => false,
                    Some(value) if was_beyond => !threshold.is_behind(value),
                    Some(value) => threshold.is_crossed_by(value),
                };
                (seen.is_beyond && !was_beyond).then_some(before)
            }
        }
    }

    /// Whether what there is when the subscription begins is told.
    pub(super) const fn tells_of_the_first(self) -> bool {
        matches!(self, Self::Threshold(_))
    }
}

fn is_same(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a == b || (a.is_nan() && b.is_nan()),
        (a, b) => a.is_none() && b.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of these values are told of.
    fn told(rule: Rule, values: &[Option<f64>]) -> Vec<usize> {
        let mut seen = Seen::default();
        (0..values.len()).filter(|at| rule.take(&mut seen, values[*at]).is_some()).collect()
    }

    #[test]
    fn a_change_is_told_once_also_to_and_from_nothing_and_nan() {
        let values =
            [None, Some(1.0), Some(1.0), Some(f64::NAN), Some(f64::NAN), None, Some(0.0), Some(-0.0)];
        assert_eq!(told(Rule::Change, &values), [1, 3, 5, 6]);
    }

    #[test]
    fn a_crossing_is_told_again_only_after_the_way_back() {
        let rule = Rule::Threshold(Threshold::above(10.0).hysteresis(2.0));
        let values = [9.0, 10.0, 10.5, 11.0, 9.0, 10.5, 8.0, 10.5].map(Some);
        assert_eq!(told(rule, &values), [2, 7]);
        let rule = Rule::Threshold(Threshold::below(10.0).hysteresis(2.0));
        let values = [11.0, 10.0, 9.5, 11.0, 9.5, 12.0, 9.5].map(Some);
        assert_eq!(told(rule, &values), [2, 6]);
    }

    #[test]
    fn without_hysteresis_the_limit_itself_is_the_way_back() {
        let rule = Rule::Threshold(Threshold::above(1.0));
        assert_eq!(told(rule, &[2.0, 1.0, 2.0, 3.0].map(Some)), [0, 2]);
    }

    #[test]
    fn a_value_that_is_gone_may_cross_again_and_nan_changes_nothing() {
        let rule = Rule::Threshold(Threshold::above(1.0));
        let values = [Some(2.0), None, Some(2.0), Some(f64::NAN), Some(2.0), Some(0.0), Some(f64::NAN)];
        assert_eq!(told(rule, &values), [0, 2]);
    }

    #[test]
    fn limits_and_hysteresis_must_make_sense() {
        let refused = |threshold: Threshold| threshold.check().unwrap_err().to_string();
        assert!(Threshold::above(-1.0).hysteresis(0.5).check().is_ok());
        assert_eq!(refused(Threshold::above(f64::NAN)), "option limit: found NaN, expected a finite number");
        assert!(refused(Threshold::below(f64::INFINITY)).contains("found inf"));
        assert!(refused(Threshold::above(1.0).hysteresis(-1.0)).contains("hysteresis: found -1, expected"));
        assert!(refused(Threshold::above(1.0).hysteresis(f64::NAN)).contains("found NaN"));
    }
}
