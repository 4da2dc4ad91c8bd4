//! Which names are allowed, and which clash.

use crate::kind::Kind;

/// Longest metric name, in bytes.
pub const MAX_NAME: usize = 512;
/// Longest label name, in bytes.
pub const MAX_LABEL_NAME: usize = 256;
/// Names that begin with this are kept for metrics about the system itself: nobody registers them.
pub const RESERVED_PREFIX: &str = "dyn_metrics_";

/// Why a name is not allowed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has no characters.
    Empty,
    /// It is longer than allowed.
    TooLong {
        /// Its bytes.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// It has a character that is not allowed.
    BadCharacter {
        /// Which.
        found: char,
        /// At which byte.
        at: usize,
    },
    /// It is kept for the system.
    Reserved,
    /// It is or begins with what is kept for metrics about the system itself: [`RESERVED_PREFIX`].
    ReservedPrefix,
}

impl core::fmt::Display for NameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty"),
            Self::TooLong { found, limit } => write!(f, "has {found} bytes, expected at most {limit}"),
            Self::BadCharacter { found, at } => write!(f, "has {found:?} at byte {at}"),
            Self::Reserved => write!(f, "is reserved"),
            Self::ReservedPrefix => {
                write!(f, "is reserved: {RESERVED_PREFIX}* are metrics about dyn-metrics itself")
            }
        }
    }
}

impl core::error::Error for NameError {}

/// Checks a metric name that is to be registered: well-formed, see [`check_metric_form`], and not reserved, see
/// [`is_reserved_name`].
///
/// # Errors
/// [`NameError`].
pub fn check_metric_name(name: &str) -> Result<(), NameError> {
    check_metric_form(name)?;
    if is_reserved_name(name) { Err(NameError::ReservedPrefix) } else { Ok(()) }
}

/// Checks that a metric name can be exposed: `[a-zA-Z_:][a-zA-Z0-9_:]*`, at most [`MAX_NAME`] bytes.
///
/// # Errors
/// [`NameError`]. Source: Prometheus data model, OpenMetrics 1.0 ABNF.
pub fn check_metric_form(name: &str) -> Result<(), NameError> {
    check(name, MAX_NAME, |c| c == ':')
}

/// Whether samples of a family of this name could pass for metrics about the system itself.
///
/// That is every name that begins with [`RESERVED_PREFIX`], and that prefix without its underscore, to which samples
/// of some kinds append `_sum` and the like.
#[must_use]
pub fn is_reserved_name(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX) || RESERVED_PREFIX.strip_suffix('_') == Some(name)
}

/// Checks a label name: `[a-zA-Z_][a-zA-Z0-9_]*`, not starting with `__`, at most [`MAX_LABEL_NAME`] bytes.
///
/// # Errors
/// [`NameError`]. Source: Prometheus data model.
pub fn check_label_name(name: &str) -> Result<(), NameError> {
    check(name, MAX_LABEL_NAME, |_| false)?;
    if name.starts_with("__") { Err(NameError::Reserved) } else { Ok(()) }
}

/// Whether the exposition itself adds a label of this name to series of `kind`.
#[must_use]
pub fn is_reserved_label(name: &str, kind: Kind, all_mode: bool, family: &str) -> bool {
    match kind {
        Kind::Histogram | Kind::ExponentialHistogram => name == "le",
        Kind::Tally => name == "quantile",
        Kind::StateSet => name == family || (all_mode && name == "pid"),
        Kind::Gauge => all_mode && name == "pid",
        Kind::Counter | Kind::Info => false,
    }
}

fn check(name: &str, limit: usize, extra: impl Fn(char) -> bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > limit {
        return Err(NameError::TooLong { found: name.len(), limit });
    }
    let bad = name.char_indices().find(|&(at, c)| {
        !(c.is_ascii_alphabetic() || c == '_' || extra(c) || (at > 0 && c.is_ascii_digit()))
    });
    bad.map_or(Ok(()), |(at, found)| Err(NameError::BadCharacter { found, at }))
}

/// Suffixes that the exposition appends to family names or that belong to them.
pub const SUFFIXES: [&str; 6] = ["_total", "_created", "_bucket", "_count", "_sum", "_info"];

/// A name that a family takes: its stem and one suffix.
#[derive(Clone, Copy, Debug)]
pub struct Taken<'n> {
    /// First part.
    pub stem: &'n str,
    /// Second part; may be empty.
    pub suffix: &'static str,
}

impl Taken<'_> {
    /// Its length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.stem.len() + self.suffix.len()
    }

    /// Whether it has no characters.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl PartialEq for Taken<'_> {
    fn eq(&self, other: &Self) -> bool {
        let chained = |taken: &Self| taken.len();
        chained(self) == chained(other)
            && self.stem.bytes().chain(self.suffix.bytes()).eq(other.stem.bytes().chain(other.suffix.bytes()))
    }
}

/// Every name that a family of this kind takes in some format: its own, its samples', and its
/// OpenMetrics family name.
pub fn taken_names(name: &str, kind: Kind) -> impl Iterator<Item = Taken<'_>> {
    let stem = |suffix| name.strip_suffix(suffix);
    let (base, suffixes): (&str, &'static [&'static str]) = match kind {
        Kind::Counter => {
            stem("_total").map_or((name, &["", "_created"]), |b| (b, &["", "_total", "_created"]))
        }
        Kind::Info => stem("_info").map_or((name, &[""]), |b| (b, &["", "_info"])),
        Kind::Histogram | Kind::ExponentialHistogram => {
            (name, &["", "_bucket", "_count", "_sum", "_created"])
        }
        Kind::Tally => (name, &["", "_count", "_sum", "_created"]),
        Kind::Gauge | Kind::StateSet => (name, &[""]),
    };
    suffixes.iter().map(move |suffix| Taken { stem: base, suffix })
}

/// Whether two different families can't stand beside each other.
#[must_use]
pub fn clash(name: &str, kind: Kind, other: &str, other_kind: Kind) -> bool {
    name != other && taken_names(name, kind).any(|a| taken_names(other, other_kind).any(|b| a == b))
}

/// Calls `visit` with the name of every family that could clash with this one, whatever its kind.
///
/// `buffer` must hold [`MAX_NAME`] + 32 bytes; longer candidates can't exist and are left out.
pub fn clash_candidates(
    name: &str,
    kind: Kind,
    buffer: &mut [u8; MAX_NAME + 32],
    mut visit: impl FnMut(&str),
) {
    for taken in taken_names(name, kind) {
        let len = taken.len();
        buffer[..taken.stem.len()].copy_from_slice(taken.stem.as_bytes());
        buffer[taken.stem.len()..len].copy_from_slice(taken.suffix.as_bytes());
        let Ok(stem_len) = candidate_stem(&buffer[..len]) else { continue };
        for (start, suffix) in
            [len, stem_len].into_iter().flat_map(|at| [(at, ""), (at, "_total"), (at, "_info")])
        {
            buffer[start..start + suffix.len()].copy_from_slice(suffix.as_bytes());
            if let Ok(candidate) = core::str::from_utf8(&buffer[..start + suffix.len()])
                && candidate != name
            {
                visit(candidate);
            }
            // The bytes beyond `start` were overwritten: write the name anew.
            buffer[taken.stem.len()..len].copy_from_slice(taken.suffix.as_bytes());
            buffer[..taken.stem.len()].copy_from_slice(taken.stem.as_bytes());
        }
    }
}

/// Length of the name without a known suffix.
fn candidate_stem(name: &[u8]) -> Result<usize, core::str::Utf8Error> {
    let name = core::str::from_utf8(name)?;
    let stem = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    Ok(stem.map_or(name.len(), str::len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_prometheus_data_model() {
        for good in ["a", "_x", ":rule:x", "A9_"] {
            assert_eq!(check_metric_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_metric_name(""), Err(NameError::Empty));
        assert_eq!(check_metric_name("9a"), Err(NameError::BadCharacter { found: '9', at: 0 }));
        assert_eq!(check_metric_name("a-b"), Err(NameError::BadCharacter { found: '-', at: 1 }));
        assert_eq!(check_metric_name("é"), Err(NameError::BadCharacter { found: 'é', at: 0 }));
        assert_eq!(check_label_name("a:b"), Err(NameError::BadCharacter { found: ':', at: 1 }));
        assert_eq!(check_label_name("__x"), Err(NameError::Reserved));
        let long = "x".repeat(65_536);
        assert_eq!(check_metric_name(&long), Err(NameError::TooLong { found: 65_536, limit: MAX_NAME }));
    }

    #[test]
    fn names_of_metrics_about_the_system_itself_are_reserved() {
        for name in ["dyn_metrics", "dyn_metrics_", "dyn_metrics_segments", "dyn_metrics_mine_total"] {
            assert_eq!(check_metric_name(name), Err(NameError::ReservedPrefix), "{name}");
            assert_eq!(check_metric_form(name), Ok(()), "{name}");
        }
        for name in ["dyn_metricsx", "dyn_metric", "my_dyn_metrics_segments", "dyn_metrics:segments"] {
            assert_eq!(check_metric_name(name), Ok(()), "{name}");
        }
        let text = NameError::ReservedPrefix.to_string();
        assert_eq!(text, "is reserved: dyn_metrics_* are metrics about dyn-metrics itself");
        // Nothing that is not reserved has a sample that is.
        for (kind, name) in
            Kind::ALL.into_iter().flat_map(|kind| [(kind, "dyn_metricsx"), (kind, "dyn_metric")])
        {
            for taken in taken_names(name, kind) {
                assert!(!is_reserved_name(&[taken.stem, taken.suffix].concat()), "{name} {kind:?}");
            }
        }
    }

    #[test]
    fn families_clash_exactly_when_a_sample_would() {
        use Kind::{Counter, Gauge, Histogram, Info, Tally};
        for (name, kind, other, other_kind, expected) in [
            ("h", Histogram, "h_sum", Gauge, true),
            ("h", Histogram, "h_bucket", Counter, true),
            ("h", Histogram, "h_count_total", Counter, true),
            ("t", Tally, "t_bucket", Gauge, false),
            ("x_total", Counter, "x", Gauge, true),
            ("x_total", Counter, "x_created", Gauge, true),
            ("x_info", Info, "x", Gauge, true),
            ("x", Gauge, "x_sum", Gauge, false),
            ("x", Gauge, "y", Gauge, false),
            ("x_total", Counter, "x_total", Counter, false),
        ] {
            assert_eq!(clash(name, kind, other, other_kind), expected, "{name} {other}");
            assert_eq!(clash(other, other_kind, name, kind), expected, "{other} {name}");
        }
    }

    #[test]
    fn every_clash_is_among_the_candidates() {
        let names = ["x", "x_total", "x_info", "x_sum", "x_count", "x_bucket", "x_created", "x_sum_total"];
        for name in names {
            for kind in Kind::ALL {
                let mut buffer = [0; MAX_NAME + 32];
                let mut seen = std::collections::BTreeSet::new();
                clash_candidates(name, kind, &mut buffer, |candidate| {
                    seen.insert(candidate.to_owned());
                });
                for other in names {
                    let clashes = Kind::ALL.iter().any(|k| clash(name, kind, other, *k));
                    assert!(!clashes || seen.contains(other), "{name} {kind:?} misses {other}: {seen:?}");
                }
            }
        }
    }

    #[test]
    fn labels_that_the_exposition_adds_are_reserved() {
        assert!(is_reserved_label("le", Kind::Histogram, false, "h"));
        assert!(!is_reserved_label("le", Kind::Counter, false, "c"));
        assert!(is_reserved_label("quantile", Kind::Tally, false, "t"));
        assert!(is_reserved_label("pid", Kind::Gauge, true, "g"));
        assert!(is_reserved_label("state", Kind::StateSet, false, "state"));
    }
}
