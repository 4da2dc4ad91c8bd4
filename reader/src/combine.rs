//! How the gauge cells of several processes combine into one number: the ten modes.

use dyn_metrics_layout::GaugeMode;
use dyn_metrics_layout::kind::Number;

use crate::gauges::Gauge;

/// One process's part in a gauge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) alive: bool,
    pub(crate) process_id: u64,
    pub(crate) pid: u32,
    /// What the process has set; none when it never did, or when a newer file has its cell.
    pub(crate) value: Option<Number>,
    stamp: u64,
    /// What dead processes that had the cell before have left.
    retained: Option<Number>,
    retained_stamp: u64,
}

impl Part {
    /// The part of one cell in a family of this mode.
    pub(crate) fn new(gauge: &Gauge, mode: GaugeMode) -> Self {
        let contents = &gauge.contents;
        // In live modes nothing is retained, whatever lies there.
        let retained = if mode.is_live() { None } else { contents.retained(mode) };
        Self {
            alive: gauge.alive,
            process_id: contents.process_id,
            pid: contents.meta.pid,
            value: contents.value(mode),
            stamp: contents.stamp,
            retained,
            retained_stamp: contents.retained_stamp,
        }
    }

    fn counts(&self, mode: GaugeMode) -> bool {
        self.alive || !mode.is_live()
    }
}

/// The combined value of a gauge; none when there is nothing to show.
///
/// Sums of nobody are 0; nobody's smallest, largest or most recent value doesn't exist. NaN yields to any
/// number.
pub(crate) fn number(mode: GaugeMode, parts: &[Part]) -> Option<Number> {
    match mode {
        GaugeMode::Sum | GaugeMode::LiveSum => Some(sum(values(mode, parts))),
        GaugeMode::Min | GaugeMode::LiveMin => values(mode, parts).reduce(|a, b| choose(a, b, f64::lt)),
        GaugeMode::Max | GaugeMode::LiveMax => values(mode, parts).reduce(|a, b| choose(a, b, f64::gt)),
        GaugeMode::MostRecent | GaugeMode::LiveMostRecent => most_recent(mode, parts),
        GaugeMode::All | GaugeMode::LiveAll => None,
    }
}

/// The combined bits of a state set: `max` and the sums show a state that anybody is in, `min` one that all
/// are in.
pub(crate) fn bits(mode: GaugeMode, parts: &[Part]) -> Option<u64> {
    let bits = values(mode, parts).map(Number::to_bits);
    match mode {
        GaugeMode::Sum | GaugeMode::LiveSum => Some(bits.fold(0, |a, b| a | b)),
        GaugeMode::Max | GaugeMode::LiveMax => bits.reduce(|a, b| a | b),
        GaugeMode::Min | GaugeMode::LiveMin => bits.reduce(|a, b| a & b),
        GaugeMode::MostRecent | GaugeMode::LiveMostRecent => most_recent(mode, parts).map(Number::to_bits),
        GaugeMode::All | GaugeMode::LiveAll => None,
    }
}

/// Appends the parts that show as samples of their own: the living, and in mode `all` the newest dead.
pub(crate) fn each(mode: GaugeMode, keep_dead: u32, parts: &[Part], shown: &mut Vec<Part>) {
    let set = |alive| move |part: &&Part| part.value.is_some() && part.alive == alive;
    shown.extend(parts.iter().filter(set(true)));
    if mode == GaugeMode::All {
        let living = shown.len();
        shown.extend(parts.iter().filter(set(false)));
        shown[living..].sort_by_key(|part| std::cmp::Reverse(part.process_id));
        shown.truncate(living + keep_dead as usize);
    }
}

fn values(mode: GaugeMode, parts: &[Part]) -> impl Iterator<Item = Number> {
    parts.iter().filter(move |part| part.counts(mode)).flat_map(|part| [part.value, part.retained]).flatten()
}

/// Exact as long as all are integers of one representation; doubles are added in order.
fn sum(numbers: impl Iterator<Item = Number>) -> Number {
    let (mut integer, mut nanoseconds, mut float) = (None, None, None);
    for number in numbers {
        match number {
            Number::Integer(n) => integer = Some(integer.unwrap_or(0_i64).wrapping_add(n)),
            Number::Nanoseconds(n) => nanoseconds = Some(nanoseconds.unwrap_or(0_i64).wrapping_add(n)),
            Number::Float(n) => float = Some(float.unwrap_or(0.0) + n),
        }
    }
    let parts =
        [integer.map(Number::Integer), nanoseconds.map(Number::Nanoseconds), float.map(Number::Float)];
    parts.into_iter().flatten().reduce(Number::plus).unwrap_or(Number::Integer(0))
}

fn choose(a: Number, b: Number, better: fn(&f64, &f64) -> bool) -> Number {
    let (x, y) = (a.as_f64(), b.as_f64());
    if better(&y, &x) || x.is_nan() { b } else { a }
}

/// The value set last; of two set at the same time, that of the younger process.
fn most_recent(mode: GaugeMode, parts: &[Part]) -> Option<Number> {
    let own = |part: &Part| part.value.map(|value| ((part.stamp, 1, part.process_id), value));
    let left = |part: &Part| part.retained.map(|value| ((part.retained_stamp, 0, part.process_id), value));
    let parts = parts.iter().filter(|part| part.counts(mode));
    let all = parts.flat_map(|part| [own(part), left(part)]).flatten();
    all.max_by_key(|(time, _)| *time).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Number::{Float, Integer, Nanoseconds};

    fn part(alive: bool, process_id: u64, value: Option<Number>, stamp: u64) -> Part {
        Part { alive, process_id, pid: 1, value, stamp, retained: None, retained_stamp: 0 }
    }

    /// Two living (5 and -2), one dead (9, set last) whose cell retains 4 of an earlier one.
    fn parts() -> [Part; 3] {
        [
            part(true, 30, Some(Integer(5)), 100),
            part(true, 20, Some(Integer(-2)), 200),
            Part { retained: Some(Integer(4)), ..part(false, 10, Some(Integer(9)), 300) },
        ]
    }

    #[test]
    fn each_mode_combines_as_it_says() {
        for (mode, expected) in [
            (GaugeMode::Sum, Some(16)),
            (GaugeMode::Min, Some(-2)),
            (GaugeMode::Max, Some(9)),
            (GaugeMode::MostRecent, Some(9)),
            (GaugeMode::All, None),
            (GaugeMode::LiveAll, None),
        ] {
            assert_eq!(number(mode, &parts()), expected.map(Integer), "{mode:?}");
        }
        let living = &parts()[..];
        let living: Vec<_> = living.iter().map(|p| Part { retained: None, ..*p }).collect();
        for (mode, expected) in [
            (GaugeMode::LiveSum, 3),
            (GaugeMode::LiveMin, -2),
            (GaugeMode::LiveMax, 5),
            (GaugeMode::LiveMostRecent, -2),
        ] {
            assert_eq!(number(mode, &living), Some(Integer(expected)), "{mode:?}");
        }
    }

    #[test]
    fn nobody_sums_to_zero_and_has_no_extreme() {
        for mode in GaugeMode::EVERY {
            let expected = matches!(mode, GaugeMode::Sum | GaugeMode::LiveSum).then_some(Integer(0));
            assert_eq!(number(mode, &[]), expected, "{mode:?}");
        }
        assert_eq!(number(GaugeMode::Max, &[part(true, 1, None, 0)]), None);
    }

    #[test]
    fn representations_mix_in_doubles_and_stay_exact_alone() {
        let sum = |numbers: &[Number]| sum(numbers.iter().copied());
        assert_eq!(sum(&[Integer(i64::MAX), Integer(-1)]), Integer(i64::MAX - 1));
        assert_eq!(sum(&[Nanoseconds(1), Nanoseconds(2)]), Nanoseconds(3));
        assert_eq!(sum(&[Integer(2), Nanoseconds(500_000_000), Float(0.25)]), Float(2.75));
    }

    #[test]
    fn not_a_number_yields() {
        let parts = [part(true, 1, Some(Float(f64::NAN)), 0), part(true, 2, Some(Float(3.0)), 0)];
        assert_eq!(number(GaugeMode::Max, &parts), Some(Float(3.0)));
        assert_eq!(number(GaugeMode::LiveMin, &parts), Some(Float(3.0)));
    }

    #[test]
    fn bits_are_joined_or_intersected() {
        let parts = [part(true, 1, Some(Integer(0b110)), 5), part(true, 2, Some(Integer(0b011)), 4)];
        for (mode, expected) in [
            (GaugeMode::LiveMax, 0b111),
            (GaugeMode::LiveSum, 0b111),
            (GaugeMode::LiveMin, 0b010),
            (GaugeMode::LiveMostRecent, 0b110),
        ] {
            assert_eq!(bits(mode, &parts), Some(expected), "{mode:?}");
        }
    }

    #[test]
    fn the_newest_dead_are_kept_beside_the_living() {
        let dead = |id| part(false, id, Some(Integer(0)), 0);
        let parts = [dead(1), part(true, 2, Some(Integer(0)), 0), dead(3), dead(4), part(true, 5, None, 0)];
        let shown = |mode, keep| {
            let mut shown = Vec::new();
            each(mode, keep, &parts, &mut shown);
            shown.iter().map(|p| p.process_id).collect::<Vec<_>>()
        };
        assert_eq!(shown(GaugeMode::All, 2), [2, 4, 3]);
        assert_eq!(shown(GaugeMode::All, 0), [2]);
        assert_eq!(shown(GaugeMode::LiveAll, 2), [2]);
    }
}
