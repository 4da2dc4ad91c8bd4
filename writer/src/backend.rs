//! What stands behind a registry that is no segment: the seam for other libraries, for tests, and for nothing.
//!
//! A [`Backend`] is asked for an [`Instrument`] once for each series; handles then hand their updates to it.
//! Names, labels, bounds and limits are checked before, a series is asked for once, and conflicts are found,
//! so that all of this is the same whatever is behind: see [`crate::Registry::with_backend`].
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicI64, Ordering};
//!
//! use dyn_metrics::backend::{Backend, Descriptor, Instrument, Number, Selection};
//! use dyn_metrics::{Registry, Result};
//!
//! /// Counts whole events, and nothing else.
//! #[derive(Debug, Default)]
//! struct Total(AtomicI64);
//!
//! impl Instrument for Total {
//!     fn add(&self, amount: Number) {
//!         self.0.fetch_add(amount.as_f64() as i64, Ordering::Relaxed);
//!     }
//! }
//!
//! /// One total of everything.
//! #[derive(Debug, Default)]
//! struct Totals(Arc<Total>);
//!
//! impl Backend for Totals {
//!     fn name(&self) -> &str {
//!         "totals"
//!     }
//!
//!     fn series(&self, _: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
//!         Ok(Some(self.0.clone()))
//!     }
//!
//!     fn render(&self, _: &Selection) -> Result<String> {
//!         Ok(format!("{}\n", self.0.0.load(Ordering::Relaxed)))
//!     }
//! }
//!
//! let registry = Registry::with_backend(Arc::new(Totals::default()));
//! registry.counter("a_total", "")?.inc_by(2);
//! registry.counter("b_total", "")?.inc();
//! assert_eq!(registry.render()?, "3\n");
//! # Ok::<(), dyn_metrics::Error>(())
//! ```

mod cell;
mod null;
#[cfg(feature = "otel")]
mod otel;
#[cfg(feature = "plugin")]
mod plugin;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "render")]
mod text;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

pub use cell::Cell;
pub use dyn_metrics_layout::Representation;
pub use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::{GaugeMode, Kind};
pub use null::Null;
#[cfg(feature = "otel")]
pub use otel::{Exports, OpenTelemetry, OpenTelemetryBuilder};
#[cfg(feature = "plugin")]
pub use plugin::Plugin;
#[cfg(feature = "prometheus")]
pub use prometheus::Prometheus;
#[cfg(feature = "render")]
pub use text::text;

use crate::error::{Error, Result};
use crate::family::OVERFLOW;

/// What a registry keeps its series in, when it is no segment.
///
/// Called by one thread at a time for each family; by any thread, and never on the path of an update. It may take
/// locks and allocate. What a forked child may do with it is the back end's to say: who can, registers after the
/// fork.
pub trait Backend: Send + Sync + Debug {
    /// A word for people and errors: `prometheus`, `null`, ...
    fn name(&self) -> &str;

    /// Takes note of a family, before its first series and once: labels are empty.
    ///
    /// # Errors
    /// Whatever makes its series impossible: the family is not registered then.
    fn family(&self, family: &Descriptor) -> Result<()> {
        let _ = family;
        Ok(())
    }

    /// Makes a series: what its handles update. None when updates may go nowhere; they cost nothing then.
    ///
    /// # Errors
    /// Whatever makes it impossible: it is not registered then, and asked for again when somebody asks again.
    fn series(&self, series: &Descriptor) -> Result<Option<Arc<dyn Instrument>>>;

    /// Forgets the series with these labels, sorted by name: it is shown no more, and the same labels will be asked
    /// for as a new series, by the registry that removes it: another one with this back end is not told. Its
    /// instrument may get updates for as long as handles of it are held; they count nowhere.
    ///
    /// # Errors
    /// [`Error::Unsupported`], as by default, where series stay; whatever else makes it impossible. The series is still
    /// there then.
    fn remove(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        let _ = (name, labels);
        Err(Error::Unsupported { registry: self.name().to_owned(), what: "remove a series" })
    }

    /// Is given what runs the on-scrape callbacks of a registry with this back end, once for each such registry: for back ends
    /// whose numbers others collect, who call it first. It waits for at most [`crate::CALLBACK_LIMIT`].
    fn before_collecting(&self, run: Arc<dyn Fn() + Send + Sync>) {
        let _ = run;
    }

    /// Everything in `selection` as Prometheus text; the registry's callbacks have run.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where there is nothing to show.
    fn render(&self, selection: &Selection) -> Result<String>;

    /// Sends what was counted so far to where the back end sends it, and waits for that at most as long.
    ///
    /// # Errors
    /// When it could not, or not in time.
    fn flush(&self, timeout: Duration) -> Result<()> {
        let _ = timeout;
        Ok(())
    }
}

/// A series of a [`Backend`], as its handles update it: each kind of metric uses its own part.
///
/// Updates come from any thread at any time, also from several at once, and never fail: what can't be taken is the
/// instrument's to drop and to count. They should neither block nor allocate. In signal handlers and forked
/// children they are as safe as the instrument is.
pub trait Instrument: Send + Sync + Debug {
    /// Counters, by an amount that is neither negative, NaN nor infinite; gauges, by any amount that is not NaN.
    fn add(&self, amount: Number) {
        let _ = amount;
    }

    /// Gauges.
    fn set(&self, value: Number) {
        let _ = value;
    }

    /// Histograms and tallies: `value` was observed `count` times, once or more. It is never NaN; where it is
    /// infinite, or its sum is, it belongs into its bucket and the count, and not into the sum.
    fn observe(&self, value: f64, count: u64) {
        let _ = (value, count);
    }

    /// State sets: switches states on and off; bit 0 is the first one.
    fn switch(&self, on: u64, off: u64) {
        let _ = (on, off);
    }

    /// Takes note of an update that said nothing countable.
    fn dropped(&self, reason: Dropped) {
        let _ = reason;
    }

    /// What handles show as their value; none where that can't be read back, or nothing was set.
    fn value(&self) -> Option<Value> {
        None
    }
}

/// Why an update, or a part of it, did not count.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// It was NaN, or an infinite amount for a counter.
    Nan,
    /// It was a negative amount for a counter.
    Negative,
    /// It was an infinite observation: it counts, and is left out of the sum.
    Infinite,
}

/// What an [`Instrument`] has.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Counters and gauges. A counter's whole events and nanoseconds are unsigned, by their bits.
    Number(Number),
    /// Histograms and tallies.
    Distribution {
        /// Observations in each bucket, not cumulative, `+Inf` last; none of a tally.
        buckets: Vec<u64>,
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
    },
    /// State sets: a bit for each state that is on.
    States(u64),
}

/// A series, or with no labels its family, as a [`Backend`] gets it: checked, with the registry's prefix and labels.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Descriptor {
    /// Exposed name.
    pub name: String,
    /// For people.
    pub help: String,
    /// Unit, in which the name ends; may be empty.
    pub unit: String,
    /// Type.
    pub kind: Kind,
    /// Representation of the numbers that came first; others may follow.
    pub representation: Representation,
    /// Names and values, sorted by name.
    pub labels: Vec<(String, String)>,
    /// Upper bounds of a histogram, without `+Inf`.
    pub bounds: Vec<f64>,
    /// States of a state set.
    pub states: Vec<String>,
    /// How a gauge's values of several processes combine; of one process's interest only where it tells others.
    pub mode: GaugeMode,
    /// Priority, 0 is the most important.
    pub level: u8,
    /// Most series of the family, not counting the one that stands for all beyond them.
    pub max_series: u32,
}

/// Which part of a registry is shown: what a child of it could have registered, up to a priority level.
#[derive(Clone, Debug)]
pub struct Selection {
    pub(crate) prefix: String,
    pub(crate) labels: Vec<(String, String)>,
    /// Labels that levels of a hierarchy add, and nobody else.
    pub(crate) reserved: Vec<String>,
    /// Families that are not shown, because of their priority levels.
    pub(crate) hidden: BTreeSet<String>,
    /// Level of the least important families that are shown; `hidden` has the names of others.
    pub(crate) max_level: u8,
}

impl Default for Selection {
    /// Everything.
    fn default() -> Self {
        let (prefix, labels, reserved, hidden) = Default::default();
        Self { prefix, labels, reserved, hidden, max_level: u8::MAX }
    }
}

impl Selection {
    /// Whether that is everything.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.prefix.is_empty() && self.labels.is_empty() && self.hidden.is_empty()
    }

    /// Whether a series of this name and labels, in any order, is in it; the one that stands for all beyond a limit is.
    #[must_use]
    pub fn includes(&self, name: &str, labels: &[(String, String)]) -> bool {
        let is_ours = |own: &(String, String), (name, value): &(String, String)| {
            own.0 == *name && (own.1 == *value || value == OVERFLOW)
        };
        let has = |own| labels.iter().any(|label| is_ours(own, label));
        name.starts_with(&self.prefix) && !self.hidden.contains(name) && self.labels.iter().all(has)
    }
}

impl Error {
    /// The error of a back end that can't do what is asked, or refuses a metric.
    #[must_use]
    pub fn backend(registry: &str, metric: &str, reason: impl Into<String>) -> Self {
        Self::Backend { registry: registry.to_owned(), metric: metric.to_owned(), reason: reason.into() }
    }
}
