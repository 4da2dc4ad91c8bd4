//! Kinds of metrics, number representations, and how numbers lie in words.

use crate::error::{Error, Result};

/// Type of a family, as exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Monotone total; one word in each block.
    Counter = 1,
    /// Current value; a gauge cell for each process.
    Gauge = 2,
    /// Counts by explicit upper bounds: a word for each bucket (`+Inf` last), then the sum.
    Histogram = 3,
    /// Count and sum: an OpenMetrics summary without quantiles.
    Tally = 4,
    /// Labels only; the value is 1.
    Info = 5,
    /// Named booleans: a gauge cell whose word has a bit for each state.
    StateSet = 6,
    /// Counts by base-2 exponential buckets. Number reserved, not yet written.
    ExponentialHistogram = 7,
}

impl Kind {
    /// Every kind that this version writes.
    pub const ALL: [Self; 6] =
        [Self::Counter, Self::Gauge, Self::Histogram, Self::Tally, Self::Info, Self::StateSet];

    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Counter),
            2 => Some(Self::Gauge),
            3 => Some(Self::Histogram),
            4 => Some(Self::Tally),
            5 => Some(Self::Info),
            6 => Some(Self::StateSet),
            7 => Some(Self::ExponentialHistogram),
            _ => None,
        }
    }

    /// Its OpenMetrics name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram | Self::ExponentialHistogram => "histogram",
            Self::Tally => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }

    /// Whether its values belong to processes (gauge cells) and not to CPUs (extents).
    #[must_use]
    pub const fn is_per_process(self) -> bool {
        matches!(self, Self::Gauge | Self::StateSet)
    }

    /// Words of one series in each block of its extent, given the number of bounds.
    #[must_use]
    pub const fn cell_words(self, bounds: usize) -> usize {
        match self {
            Self::Counter => 1,
            Self::Tally => 2,
            Self::Histogram => bounds + 2,
            Self::Gauge | Self::Info | Self::StateSet | Self::ExponentialHistogram => 0,
        }
    }
}

/// How a number lies in its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Representation {
    /// Integer: u64 in counters, tallies and state sets, i64 (two's complement) in gauges.
    Integer = 0,
    /// IEEE 754 double, as bits.
    Float = 1,
    /// Nanoseconds as an integer; exposed in seconds.
    Nanoseconds = 2,
}

impl Representation {
    /// Number of representations.
    pub const COUNT: usize = 3;
    /// Every representation, in order of number.
    pub const ALL: [Self; Self::COUNT] = [Self::Integer, Self::Float, Self::Nanoseconds];

    /// The representation with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Integer),
            1 => Some(Self::Float),
            2 => Some(Self::Nanoseconds),
            _ => None,
        }
    }

    /// The word that stands for "never set" in modes that must tell it from 0.
    const fn unset(self) -> u64 {
        match self {
            Self::Integer | Self::Nanoseconds => 1 << 63,
            Self::Float => 0x7ff4_0000_0000_0001,
        }
    }
}

/// How the gauge cells of several processes combine into one series.
///
/// The ten names users know from Python's multiprocess mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum GaugeMode {
    /// A sample for each process, with a `pid` label; also of the newest dead.
    All = 1,
    /// A sample for each living process, with a `pid` label.
    LiveAll = 2,
    /// Smallest value of any process, dead ones too.
    Min = 3,
    /// Smallest value of living processes.
    LiveMin = 4,
    /// Largest value of any process, dead ones too.
    Max = 5,
    /// Largest value of living processes.
    LiveMax = 6,
    /// Sum over all processes, dead ones too.
    Sum = 7,
    /// Sum over living processes.
    #[default]
    LiveSum = 8,
    /// Value set last by any process, dead ones too.
    MostRecent = 9,
    /// Value set last by a living process.
    LiveMostRecent = 10,
}

impl GaugeMode {
    /// Every mode.
    pub const EVERY: [Self; 10] = [
        Self::All,
        Self::LiveAll,
        Self::Min,
        Self::LiveMin,
        Self::Max,
        Self::LiveMax,
        Self::Sum,
        Self::LiveSum,
        Self::MostRecent,
        Self::LiveMostRecent,
    ];

    /// The mode with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::EVERY.into_iter().find(|mode| *mode as u8 == number)
    }

    /// Its name, as in Python's `multiprocess_mode`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::LiveAll => "liveall",
            Self::Min => "min",
            Self::LiveMin => "livemin",
            Self::Max => "max",
            Self::LiveMax => "livemax",
            Self::Sum => "sum",
            Self::LiveSum => "livesum",
            Self::MostRecent => "mostrecent",
            Self::LiveMostRecent => "livemostrecent",
        }
    }

    /// Whether only living processes count.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::LiveAll | Self::LiveMin | Self::LiveMax | Self::LiveSum | Self::LiveMostRecent)
    }

    /// Whether each process shows as its own sample.
    #[must_use]
    pub const fn is_all(self) -> bool {
        matches!(self, Self::All | Self::LiveAll)
    }

    /// Whether writers stamp each value with the time.
    #[must_use]
    pub const fn is_stamped(self) -> bool {
        matches!(self, Self::MostRecent | Self::LiveMostRecent)
    }

    /// Whether a word of 0 means "never set" and not the number 0.
    #[must_use]
    pub const fn tells_unset(self) -> bool {
        !matches!(self, Self::Sum | Self::LiveSum | Self::All | Self::LiveAll)
    }

    /// The word for `bits`, the raw bits of a number in `representation`.
    ///
    /// In modes that tell "never set" from 0 the word is XORed so that 0 means never set; the one number
    /// that would collide is moved to its neighbour (the smallest integer) or to the canonical NaN.
    #[must_use]
    pub const fn encode(self, bits: u64, representation: Representation) -> u64 {
        if !self.tells_unset() {
            return bits;
        }
        let unset = representation.unset();
        if bits != unset {
            return bits ^ unset;
        }
        match representation {
            Representation::Float => f64::NAN.to_bits() ^ unset,
            Representation::Integer | Representation::Nanoseconds => (unset + 1) ^ unset,
        }
    }

    /// The raw bits in `word`; none when it was never set.
    #[must_use]
    pub const fn decode(self, word: u64, representation: Representation) -> Option<u64> {
        if !self.tells_unset() {
            Some(word)
        } else if word == 0 {
            None
        } else {
            Some(word ^ representation.unset())
        }
    }
}

/// A number of a gauge, with its representation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Integer(i64),
    /// A double.
    Float(f64),
    /// Nanoseconds.
    Nanoseconds(i64),
}

impl Number {
    /// The number with these raw bits.
    #[must_use]
    pub const fn from_bits(bits: u64, representation: Representation) -> Self {
        match representation {
            Representation::Integer => Self::Integer(bits as i64),
            Representation::Float => Self::Float(f64::from_bits(bits)),
            Representation::Nanoseconds => Self::Nanoseconds(bits as i64),
        }
    }

    /// Its raw bits.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        match self {
            Self::Integer(value) | Self::Nanoseconds(value) => value as u64,
            Self::Float(value) => value.to_bits(),
        }
    }

    /// Its representation.
    #[must_use]
    pub const fn representation(self) -> Representation {
        match self {
            Self::Integer(_) => Representation::Integer,
            Self::Float(_) => Representation::Float,
            Self::Nanoseconds(_) => Representation::Nanoseconds,
        }
    }

    /// Its value as exposed; nanoseconds in seconds.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
            Self::Nanoseconds(value) => value as f64 / 1e9,
        }
    }

    /// The same value in another representation; integers round to nearest and saturate.
    #[must_use]
    pub fn convert(self, to: Representation) -> Self {
        match (self, to) {
            (same, _) if same.representation() == to => same,
            (_, Representation::Float) => Self::Float(self.as_f64()),
            (_, Representation::Integer) => Self::Integer(round(self.as_f64())),
            (_, Representation::Nanoseconds) => Self::Nanoseconds(round(self.as_f64() * 1e9)),
        }
    }

    /// The sum; exact within one integer representation (wrapping), otherwise in doubles.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Self::Integer(a.wrapping_add(b)),
            (Self::Nanoseconds(a), Self::Nanoseconds(b)) => Self::Nanoseconds(a.wrapping_add(b)),
            (a, b) => Self::Float(a.as_f64() + b.as_f64()),
        }
    }
}

/// Rounds half away from zero without std; saturates.
fn round(value: f64) -> i64 {
    (if value < 0.0 { value - 0.5 } else { value + 0.5 }) as i64
}

/// Reads a kind from a record.
pub(crate) fn kind_at(number: u8, offset: u64) -> Result<Kind> {
    Kind::from_number(number).ok_or(Error::Corrupt {
        what: "family kind",
        offset,
        found: u64::from(number),
        expected: Kind::ExponentialHistogram as u64,
    })
}

/// Reads a gauge mode from a record.
pub(crate) fn mode_at(number: u8, offset: u64) -> Result<GaugeMode> {
    GaugeMode::from_number(number).ok_or(Error::Corrupt {
        what: "gauge mode",
        offset,
        found: u64::from(number),
        expected: GaugeMode::LiveMostRecent as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_its_kind_mode_and_representation() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        for mode in GaugeMode::EVERY {
            assert_eq!(GaugeMode::from_number(mode as u8), Some(mode));
        }
        for representation in Representation::ALL {
            assert_eq!(Representation::from_number(representation as u8), Some(representation));
        }
        assert_eq!(Kind::from_number(0), None);
        assert_eq!(GaugeMode::from_number(11), None);
    }

    #[test]
    fn zero_means_never_set_only_where_the_mode_tells() {
        for mode in GaugeMode::EVERY {
            for representation in Representation::ALL {
                let zero = mode.encode(0, representation);
                assert_eq!(mode.decode(zero, representation), Some(0), "{mode:?}");
                assert_eq!(mode.decode(0, representation).is_none(), mode.tells_unset(), "{mode:?}");
            }
        }
    }

    #[test]
    fn the_colliding_number_moves_to_its_neighbour() {
        let word = GaugeMode::Max.encode(i64::MIN as u64, Representation::Integer);
        assert_eq!(GaugeMode::Max.decode(word, Representation::Integer), Some((i64::MIN + 1) as u64));
        let word = GaugeMode::Max.encode(0x7ff4_0000_0000_0001, Representation::Float);
        let bits = GaugeMode::Max.decode(word, Representation::Float).unwrap();
        assert!(f64::from_bits(bits).is_nan());
    }

    #[test]
    fn numbers_convert_and_add_without_surprise() {
        let second = Number::Nanoseconds(1_500_000_000);
        assert_eq!(second.convert(Representation::Float), Number::Float(1.5));
        assert_eq!(second.convert(Representation::Integer), Number::Integer(2));
        assert_eq!(Number::Float(f64::MAX).convert(Representation::Integer), Number::Integer(i64::MAX));
        assert_eq!(Number::Integer(2).plus(Number::Float(0.5)), Number::Float(2.5));
        assert_eq!(Number::Integer(i64::MAX).plus(Number::Integer(1)), Number::Integer(i64::MIN));
    }
}
