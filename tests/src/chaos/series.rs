//! The series of a run, and what an update of each adds.

use std::time::Duration;

use dyn_metrics::{
    Counter, DurationCounter, Family, FloatCounter, Gauge, GaugeMode, Histogram, Opts, Registry, Result,
    Tally,
};

use super::ledger::Line;
use super::twin::PlainWord;

/// Bounds of all histograms; an observation of the bound's value lies in its bucket.
pub const BOUNDS: [f64; 4] = [1.0, 2.0, 4.0, 8.0];
/// What is observed in each bucket.
pub const OBSERVED: [u64; 5] = [1, 2, 4, 8, 16];
/// What tallies observe.
pub const TALLIED: u64 = 5;
/// The gauge of mode `min` falls from here.
pub const LOWEST_FROM: u64 = 1 << 40;
/// Series of the family without blocks for CPUs.
pub const RARE: u64 = 8;
/// Dead processes whose sample the gauge of mode `all` keeps.
pub const KEEP_DEAD: u32 = 3;

/// Families, and those whose names are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Group {
    /// Integers, one series for all.
    Events = 1,
    /// Doubles, 2 each.
    Units,
    /// Nanoseconds, 3 each.
    Busy,
    /// Counted as integers by some, as doubles by others.
    Mixed,
    /// A tally.
    Bytes,
    /// A histogram.
    Latency,
    /// A series for each seat: who restarts finds it again.
    Seat,
    /// Likewise a histogram.
    SeatLatency,
    /// A family whose series grow in number.
    New,
    /// Families that grow in number: counters, tallies, histograms.
    NewFamily,
    /// Only in the shared block.
    Rare,
    /// Gauge, mode `sum`: incremented, so it must be conserved as a counter is.
    Kept,
    /// Likewise, a series for each seat.
    SeatKept,
    /// Gauge, mode `max`.
    Highest,
    /// Gauge, mode `min`.
    Lowest,
    /// Gauge, mode `livesum`: each process sets 1.
    Alive,
    /// Gauge, mode `liveall`.
    Each,
    /// Gauge, mode `all`, which keeps some of the dead.
    EachKept,
    /// Gauge, mode `mostrecent`: set to 1 + the number of the life, which is its index here.
    Latest,
}

const GROUPS: [(Group, &str, Option<&str>); 19] = [
    (Group::Events, "chaos_events_total", None),
    (Group::Units, "chaos_units_total", None),
    (Group::Busy, "chaos_busy_seconds_total", None),
    (Group::Mixed, "chaos_mixed_total", None),
    (Group::Bytes, "chaos_request_bytes", None),
    (Group::Latency, "chaos_latency_seconds", None),
    (Group::Seat, "chaos_by_seat_total", Some("seat")),
    (Group::SeatLatency, "chaos_by_seat_seconds", Some("seat")),
    (Group::New, "chaos_new_total", Some("n")),
    (Group::NewFamily, "", None),
    (Group::Rare, "chaos_rare_total", Some("n")),
    (Group::Kept, "chaos_kept", None),
    (Group::SeatKept, "chaos_kept_by_seat", Some("seat")),
    (Group::Highest, "chaos_highest", None),
    (Group::Lowest, "chaos_lowest", None),
    (Group::Alive, "chaos_alive", None),
    (Group::Each, "chaos_each", None),
    (Group::EachKept, "chaos_each_kept", None),
    (Group::Latest, "chaos_latest", None),
];

impl Group {
    /// Name of the family.
    #[must_use]
    pub fn name(self, index: u32) -> String {
        match (self, index % 3) {
            (Self::NewFamily, 0) => format!("chaos_family_{index}_total"),
            (Self::NewFamily, 1) => format!("chaos_family_{index}_bytes"),
            (Self::NewFamily, _) => format!("chaos_family_{index}_seconds"),
            _ => GROUPS[self as usize - 1].1.to_owned(),
        }
    }

    /// Whether the number of a line is a value that was set, and no count.
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(
            self,
            Self::Highest | Self::Lowest | Self::Alive | Self::Each | Self::EachKept | Self::Latest
        )
    }

    /// Whether it is a gauge.
    #[must_use]
    pub const fn is_gauge(self) -> bool {
        self.is_set() || matches!(self, Self::Kept | Self::SeatKept)
    }

    /// What one count adds to the exposed value.
    #[must_use]
    pub const fn amount(self) -> f64 {
        match self {
            Self::Units => 2.0,
            Self::Busy => 3e-9,
            _ => 1.0,
        }
    }
}

/// A series, or a bucket of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct What {
    /// Its family.
    pub group: Group,
    /// Number of its label or of its family; 0 where there is none.
    pub index: u32,
    /// Bucket of a histogram; 0 otherwise.
    pub bucket: u8,
}

impl What {
    /// A series without buckets, or its first one.
    #[must_use]
    pub const fn new(group: Group, index: u32) -> Self {
        Self { group, index, bucket: 0 }
    }

    /// Another bucket.
    #[must_use]
    pub const fn bucket(self, bucket: u8) -> Self {
        Self { bucket, ..self }
    }

    /// In one word, never 0.
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.group as u64) << 40 | (self.bucket as u64) << 32 | self.index as u64
    }

    /// The reverse; none of 0.
    #[must_use]
    pub fn unpack(word: u64) -> Option<Self> {
        let (group, ..) = GROUPS.get(((word >> 40) as usize).checked_sub(1)?)?;
        Some(Self { group: *group, bucket: (word >> 32) as u8, index: word as u32 })
    }

    /// The series of a family of this name with this label; none where a run has no such.
    #[must_use]
    pub fn exposed(family: &str, label: Option<(&str, &str)>) -> Option<Self> {
        if let Some(rest) = family.strip_prefix("chaos_family_") {
            let index = rest.split('_').next()?.parse().ok()?;
            return (Group::NewFamily.name(index) == family && label.is_none())
                .then_some(Self::new(Group::NewFamily, index));
        }
        let (group, _, expected) = GROUPS.iter().find(|(_, name, _)| *name == family)?;
        let index = match (expected, label) {
            (None, None) => 0,
            (Some(expected), Some((name, value))) if *expected == name => value.parse().ok()?,
            _ => return None,
        };
        Some(Self::new(*group, index))
    }

    /// Whether it is a histogram.
    #[must_use]
    pub const fn is_histogram(self) -> bool {
        match self.group {
            Group::Latency | Group::SeatLatency => true,
            Group::NewFamily => self.index % 3 == 2,
            _ => false,
        }
    }
}

/// What a thread counts in.
#[derive(Clone, Debug)]
pub enum Target {
    /// Integers.
    Counter(Counter),
    /// Doubles, so much each.
    Float(FloatCounter, f64),
    /// Nanoseconds.
    Duration(DurationCounter),
    /// Count and sum.
    Tally(Tally),
    /// One bucket.
    Histogram(Histogram, f64),
    /// A gauge that is incremented.
    Gauge(Gauge),
    /// A broken one.
    Plain(PlainWord),
}

impl Target {
    /// Makes `n` updates, each of which `line` acknowledges.
    #[inline]
    pub fn count(&self, n: u64, line: &Line) {
        match self {
            Self::Counter(counter) => line.count(n, || counter.inc()),
            Self::Float(counter, amount) => line.count(n, || counter.inc_by(*amount)),
            Self::Duration(counter) => line.count(n, || counter.inc_by(Duration::from_nanos(3))),
            Self::Tally(tally) => line.count(n, || tally.observe(TALLIED as f64)),
            Self::Histogram(histogram, value) => line.count(n, || histogram.observe(*value)),
            Self::Gauge(gauge) => line.count(n, || gauge.inc()),
            Self::Plain(word) => line.count(n, || word.add_one()),
        }
    }
}

/// What a process registers when it begins; a forked child has its parent's.
#[derive(Clone, Debug)]
pub struct Handles {
    registry: Registry,
    by_seat: Family<Counter>,
    by_seat_seconds: Family<Histogram>,
    new: Family<Counter>,
    rare: Family<Counter>,
    kept_by_seat: Family<Gauge>,
}

impl Handles {
    /// Finds or registers them.
    ///
    /// # Errors
    /// Those of registration.
    pub fn register(registry: Registry) -> Result<Self> {
        let opts = |group: Group| Opts::new(&group.name(0), "Counted in chaos").max_series(1 << 20);
        Ok(Self {
            by_seat: registry.family(&opts(Group::Seat), &["seat"])?,
            by_seat_seconds: registry.family(&opts(Group::SeatLatency).bounds(&BOUNDS), &["seat"])?,
            new: registry.family(&opts(Group::New), &["n"])?,
            rare: registry.family(&opts(Group::Rare).shared(true), &["n"])?,
            kept_by_seat: registry.family(&opts(Group::SeatKept).mode(GaugeMode::Sum), &["seat"])?,
            registry,
        })
    }

    /// Finds or registers a series. `as_float`: counts what may be counted in several ways in doubles.
    ///
    /// # Errors
    /// Those of registration.
    pub fn target(&self, what: What, as_float: bool) -> Result<Target> {
        let (registry, name, help) = (&self.registry, what.group.name(what.index), "Counted in chaos");
        let label = what.index.to_string();
        let value = OBSERVED[usize::from(what.bucket)] as f64;
        let kind = if what.group == Group::NewFamily { what.index % 3 } else { 3 };
        Ok(match (what.group, kind) {
            (Group::Units, _) => Target::Float(registry.float_counter(&name, help)?, what.group.amount()),
            (Group::Mixed, _) if as_float => Target::Float(registry.float_counter(&name, help)?, 1.0),
            (Group::Busy, _) => Target::Duration(registry.duration_counter(&name, help)?),
            (Group::Bytes, _) | (_, 1) => Target::Tally(registry.tally(&name, help)?),
            (Group::Latency, _) | (_, 2) => {
                Target::Histogram(registry.histogram(&name, help, &BOUNDS)?, value)
            }
            (Group::SeatLatency, _) => Target::Histogram(self.by_seat_seconds.try_with(&[&label])?, value),
            (Group::Seat, _) => Target::Counter(self.by_seat.try_with(&[&label])?),
            (Group::New, _) => Target::Counter(self.new.try_with(&[&label])?),
            (Group::Rare, _) => Target::Counter(self.rare.try_with(&[&label])?),
            (Group::SeatKept, _) => Target::Gauge(self.kept_by_seat.try_with(&[&label])?),
            (group, _) if group.is_gauge() => Target::Gauge(self.gauge(group)?),
            _ => Target::Counter(registry.counter(&name, help)?),
        })
    }

    /// The gauge of a family without labels.
    ///
    /// # Errors
    /// Those of registration.
    pub fn gauge(&self, group: Group) -> Result<Gauge> {
        let opts = Opts::new(&group.name(0), "Set in chaos");
        let opts = match group {
            Group::Kept => opts.mode(GaugeMode::Sum),
            Group::Highest => opts.mode(GaugeMode::Max),
            Group::Lowest => opts.mode(GaugeMode::Min),
            Group::Each => opts.mode(GaugeMode::LiveAll),
            Group::EachKept => opts.mode(GaugeMode::All).keep_dead(KEEP_DEAD),
            Group::Latest => opts.mode(GaugeMode::MostRecent),
            _ => opts,
        };
        self.registry.create(&opts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_survives_packing_and_exposition() {
        for (at, (group, ..)) in GROUPS.into_iter().enumerate() {
            assert_eq!(group as usize, at + 1);
            let what = What::new(group, 7).bucket(3);
            assert_eq!(What::unpack(what.pack()), Some(what));
            let label = GROUPS[at].2.map(|label| (label, "7"));
            let index = if label.is_some() || group == Group::NewFamily { 7 } else { 0 };
            assert_eq!(What::exposed(&group.name(7), label), Some(What::new(group, index)));
        }
        assert_eq!(What::unpack(0), None);
        assert_eq!(What::exposed("chaos_family_4_total", None), None);
    }
}
