//! What handles have in common.

use dyn_metrics_layout::{Kind, Representation};

use crate::backend::Value;
use crate::cells::Cells;
use crate::error::Result;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::gauge_cells::GaugeCore;
use crate::metrics::Buckets;
use crate::origin::Identity;

pub(crate) mod sealed {
    use std::time::Duration;

    use super::{
        Buckets, Cells, FamilyCore, ForeignSeries, GaugeCore, Identity, Representation, Result, Value,
    };

    /// Metrics that take measured time.
    pub(crate) trait TakesTime {
        /// Records `elapsed`.
        fn take_time(&self, elapsed: Duration);
    }

    /// How handles are made; not for others.
    pub(crate) trait Handle: Sized {
        /// Representation of its numbers.
        const REPRESENTATION: Representation;
        /// The handle of a registered series.
        fn attach(core: &'static FamilyCore, series: u64) -> Result<Self>;
        /// The handle of a series of another registry.
        fn of_foreign(series: &'static ForeignSeries) -> Self;
        /// A handle whose updates go nowhere.
        fn nowhere(buckets: Option<&'static Buckets>, states: &'static [String]) -> Self;
        /// A handle whose cells nobody else sees.
        fn private(buckets: Option<&'static Buckets>, states: &'static [String]) -> Self;

        /// Its cells, if they are per CPU.
        fn cells(&self) -> Option<Cells> {
            None
        }

        /// Its cells, if they belong to processes.
        fn gauge(&self) -> Option<&'static GaugeCore> {
            None
        }

        /// What it has: of a gauge this process's value, of others the total of all.
        fn reading(&self) -> Option<Value>;

        /// Names of its states, if it is a state set.
        fn states(&self) -> &'static [String] {
            &[]
        }

        /// Its buckets, if it is a histogram.
        fn buckets(&self) -> Option<&'static Buckets> {
            None
        }

        /// Which series it belongs to; none of a private handle.
        fn identity(&self) -> Option<Identity> {
            match self.cells() {
                Some(cells) => cells.identity(),
                None => self.gauge()?.identity(),
            }
        }
    }
}

/// A kind of handle: [`crate::Counter`], [`crate::Gauge`], [`crate::Histogram`] and the others.
///
/// Handles are cheap to clone, `Send`, `Sync`, and their operations never fail. `default()` gives one whose
/// cell is private to the caller, so that `registry.counter(..).unwrap_or_default()` always works. A process
/// that makes more than 4096 of such handles gets further ones whose updates go nowhere and whose value is 0:
/// asking again and again after a refusal must not fill its memory.
///
/// Sealed: the kinds are those of the format.
#[allow(private_bounds, reason = "sealed")]
pub trait Metric: Clone + Default + std::fmt::Debug + Send + Sync + sealed::Handle + 'static {
    /// The kind of family that handles of this type belong to.
    const KIND: Kind;
}
