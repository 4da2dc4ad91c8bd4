//! The interface that components use without knowing what keeps their metrics.

use std::fmt::Debug;
use std::sync::Arc;

use crate::error::Result;
use crate::family::Family;
use crate::metrics::{
    Counter, DurationCounter, DurationGauge, FloatCounter, FloatGauge, Gauge, Histogram, Info, StateSet,
    Tally,
};
use crate::opts::Opts;
use crate::registry::Registry;

/// A description with labels.
fn opts(name: &str, help: &str, labels: &[(&str, &str)]) -> Opts {
    labels.iter().fold(Opts::new(name, help), |opts, (name, value)| opts.label(name, value))
}

/// Adds bounds, where there are some to add.
fn bounded(opts: Opts, buckets: Option<&[f64]>) -> Opts {
    match buckets {
        Some(bounds) => opts.bounds(bounds),
        None => opts,
    }
}

/// The methods for the kinds that need no more than name, help and labels: one series, a family, and the family by
/// the name that upstream has.
macro_rules! kinds {
    ($($what:literal $handle:ident: $create:ident $create_vec:ident $alias:ident;)*) => {$(
        #[doc = concat!("A ", $what, " with these labels.")]
        ///
        /// # Errors
        /// As [`Registry::create`].
        fn $create(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<$handle> {
            self.registry().create(&opts(name, help, labels))
        }

        #[doc = concat!("A family of it, whose series are found by the values of `label_names`: a ", $what, ".")]
        ///
        /// # Errors
        /// As [`Registry::create`].
        fn $create_vec(&self, name: &str, help: &str, label_names: &[&str]) -> Result<Family<$handle>> {
            self.registry().family(&Opts::new(name, help), label_names)
        }

        #[doc = concat!("As [`Self::", stringify!($create_vec), "`].")]
        ///
        /// # Errors
        /// As there.
        fn $alias(&self, name: &str, help: &str, label_names: &[&str]) -> Result<Family<$handle>> {
            self.$create_vec(name, help, label_names)
        }
    )*};
}

/// A registry, or something that has one: a level of a hierarchy, a service's context, a test's stand-in.
///
/// Whoever implements it says which [`Registry`] is theirs; all else follows from that. What is behind the registry,
/// a segment or something else, changes no line of who uses it. Names get the registry's prefix, series its labels;
/// equal name and labels are the same series however often they are created, and a true conflict is an error that
/// names both sides.
///
/// ```
/// use std::sync::Arc;
/// use dyn_metrics::{Family, FloatCounter, Histogram, MetricsRegistry, Registry, Result};
///
/// struct Router {
///     requests: Family<FloatCounter>,
///     latency: Histogram,
/// }
///
/// impl Router {
///     fn new(registry: &dyn MetricsRegistry) -> Result<Self> {
///         Ok(Self {
///             requests: registry.create_counter_vec("requests_total", "Requests routed", &["model"])?,
///             latency: registry.create_histogram("latency_seconds", "Time to route", &[], None)?,
///         })
///     }
/// }
///
/// let root: Arc<dyn MetricsRegistry> = Arc::new(Registry::null().child("router_", &[("zone", "a")])?);
/// let router = Router::new(&root)?;
/// router.requests.with_label_values(&["llama"]).inc();
/// router.latency.observe(0.002);
/// # Ok::<(), dyn_metrics::Error>(())
/// ```
pub trait MetricsRegistry: Debug + Send + Sync {
    /// The registry that everything here is registered in.
    fn registry(&self) -> &Registry;

    /// What stands before every name.
    fn prefix(&self) -> &str {
        self.registry().prefix()
    }

    /// The labels that every series gets.
    fn labels(&self) -> &[(String, String)] {
        self.registry().labels()
    }

    /// A registry that adds to this one's prefix and labels: see [`Registry::child`].
    ///
    /// # Errors
    /// As there.
    fn child(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<Registry> {
        self.registry().child(prefix, labels)
    }

    /// Removes the series with this name and exactly these labels, beside the registry's own: see
    /// [`Registry::remove`].
    ///
    /// # Errors
    /// As there.
    fn remove(&self, name: &str, labels: &[(&str, &str)]) -> Result<bool> {
        self.registry().remove(name, labels)
    }

    /// Everything that is registered here or in a child, as Prometheus text 0.0.4: see [`Registry::render`].
    ///
    /// # Errors
    /// As there.
    fn prometheus_format_str(&self) -> Result<String> {
        self.registry().render()
    }

    /// As [`Self::prometheus_format_str`].
    ///
    /// # Errors
    /// As there.
    fn prometheus_metrics_fmt(&self) -> Result<String> {
        self.prometheus_format_str()
    }

    kinds! {
        "counter of fractional amounts" FloatCounter: create_counter create_counter_vec create_countervec;
        "counter of whole events" Counter: create_intcounter create_intcounter_vec create_intcountervec;
        "counter of time, exposed in seconds" DurationCounter:
            create_durationcounter create_durationcounter_vec create_durationcountervec;
        "gauge of fractional numbers" FloatGauge: create_gauge create_gauge_vec create_gaugevec;
        "gauge of whole numbers" Gauge: create_intgauge create_intgauge_vec create_intgaugevec;
        "gauge of time, exposed in seconds" DurationGauge:
            create_durationgauge create_durationgauge_vec create_durationgaugevec;
        "tally: count and sum of observations" Tally: create_tally create_tally_vec create_tallyvec;
        "set of facts, which are its labels" Info: create_info create_info_vec create_infovec;
    }

    /// A histogram with these upper bounds, ascending, without `+Inf`; those of [`crate::DEFAULT_BOUNDS`] where none
    /// are given.
    ///
    /// # Errors
    /// As [`Registry::create`].
    fn create_histogram(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        buckets: Option<&[f64]>,
    ) -> Result<Histogram> {
        self.registry().create(&bounded(opts(name, help, labels), buckets))
    }

    /// A family of histograms: see [`Self::create_histogram`].
    ///
    /// # Errors
    /// As [`Registry::create`].
    fn create_histogram_vec(
        &self,
        name: &str,
        help: &str,
        label_names: &[&str],
        buckets: Option<&[f64]>,
    ) -> Result<Family<Histogram>> {
        self.registry().family(&bounded(Opts::new(name, help), buckets), label_names)
    }

    /// As [`Self::create_histogram_vec`].
    ///
    /// # Errors
    /// As there.
    fn create_histogramvec(
        &self,
        name: &str,
        help: &str,
        label_names: &[&str],
        buckets: Option<&[f64]>,
    ) -> Result<Family<Histogram>> {
        self.create_histogram_vec(name, help, label_names, buckets)
    }

    /// Named states, each on or off.
    ///
    /// # Errors
    /// As [`Registry::create`].
    fn create_stateset(
        &self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        states: &[&str],
    ) -> Result<StateSet> {
        self.registry().create(&opts(name, help, labels).states(states))
    }

    /// A family of state sets.
    ///
    /// # Errors
    /// As [`Registry::create`].
    fn create_stateset_vec(
        &self,
        name: &str,
        help: &str,
        label_names: &[&str],
        states: &[&str],
    ) -> Result<Family<StateSet>> {
        self.registry().family(&Opts::new(name, help).states(states), label_names)
    }

    /// As [`Self::create_stateset_vec`].
    ///
    /// # Errors
    /// As there.
    fn create_statesetvec(
        &self,
        name: &str,
        help: &str,
        label_names: &[&str],
        states: &[&str],
    ) -> Result<Family<StateSet>> {
        self.create_stateset_vec(name, help, label_names, states)
    }
}

impl MetricsRegistry for Registry {
    fn registry(&self) -> &Registry {
        self
    }
}

impl<R: MetricsRegistry + ?Sized> MetricsRegistry for &R {
    fn registry(&self) -> &Registry {
        (**self).registry()
    }
}

impl<R: MetricsRegistry + ?Sized> MetricsRegistry for Arc<R> {
    fn registry(&self) -> &Registry {
        (**self).registry()
    }
}

impl<R: MetricsRegistry + ?Sized> MetricsRegistry for Box<R> {
    fn registry(&self) -> &Registry {
        (**self).registry()
    }
}
