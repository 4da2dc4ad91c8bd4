//! What the code of `#[derive(Metrics)]` calls. Not for others: it changes as that does.

use std::sync::Arc;

use dyn_metrics_layout::Kind;
use dyn_metrics_layout::record::MAX_BOUNDS;

use crate::declaration::{Declaration, Metrics};
use crate::error::{Error, Result};
use crate::family::Family;
use crate::metric::Metric;
use crate::metrics::{FloatCounter, FloatGauge, Histogram};
use crate::metrics_registry::MetricsRegistry;
use crate::objects::{MetricCounter, MetricGauge, MetricHistogram};
use crate::opts::Opts;
use crate::registry::Registry;

/// A type that a field may have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no metric",
    label = "expected a handle, `Family<..>` of one, or a box such as `Box<dyn MetricCounter>`",
    note = "a struct that derives `Metrics` is marked `#[metric(nested)]`, a registry `#[metric(registry)]`, anything else \
            `#[metric(skip)]`"
)]
pub trait Field: Sized {
    /// Kind of its family.
    const KIND: Kind;
    /// Whether its series are found by their labels.
    const FAMILY: bool;

    /// Registers it.
    fn create(registry: &Registry, opts: &Opts, label_names: &[&str]) -> Result<Self>;
}

impl<M: Metric> Field for M {
    const KIND: Kind = M::KIND;
    const FAMILY: bool = false;

    fn create(registry: &Registry, opts: &Opts, _: &[&str]) -> Result<Self> {
        registry.create(opts)
    }
}

impl<M: Metric> Field for Family<M> {
    const KIND: Kind = M::KIND;
    const FAMILY: bool = true;

    fn create(registry: &Registry, opts: &Opts, label_names: &[&str]) -> Result<Self> {
        registry.family(opts, label_names)
    }
}

macro_rules! boxed {
    ($($object:ident: $handle:ident;)*) => {$(
        impl Field for Box<dyn $object> {
            const KIND: Kind = <$handle as Metric>::KIND;
            const FAMILY: bool = false;

            fn create(registry: &Registry, opts: &Opts, _: &[&str]) -> Result<Self> {
                registry.create::<$handle>(opts).map(Into::into)
            }
        }
    )*};
}

boxed! {
    MetricCounter: FloatCounter;
    MetricGauge: FloatGauge;
    MetricHistogram: Histogram;
}

/// A way to keep the registry that a struct was made with.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't keep a registry",
    label = "expected `Registry` or `Arc<dyn MetricsRegistry>`"
)]
pub trait Kept {
    /// Keeps it.
    fn of(registry: &dyn MetricsRegistry) -> Self;
}

impl Kept for Registry {
    fn of(registry: &dyn MetricsRegistry) -> Self {
        registry.registry().clone()
    }
}

impl Kept for Arc<dyn MetricsRegistry> {
    fn of(registry: &dyn MetricsRegistry) -> Self {
        Arc::new(registry.registry().clone())
    }
}

/// Where a struct's fields are registered, and what the struct is called.
#[derive(Debug)]
pub struct Scope {
    owner: &'static str,
    registry: Registry,
}

impl Scope {
    /// `registry` with a struct's prefix and labels.
    ///
    /// # Errors
    /// As [`Registry::child`], for the struct.
    pub fn new(
        owner: &'static str,
        registry: &dyn MetricsRegistry,
        prefix: &str,
        labels: &[(&str, &str)],
    ) -> Result<Self> {
        let registry =
            below(registry.registry(), prefix, labels).map_err(|e| of_field(owner.to_owned(), e))?;
        Ok(Self { owner, registry })
    }

    /// A metric.
    ///
    /// # Errors
    /// As [`Registry::create`], for the field.
    pub fn metric<F: Field>(&self, field: &str, opts: &Opts, label_names: &[&str]) -> Result<F> {
        F::create(&self.registry, opts, label_names).map_err(|error| self.of_field(field, error))
    }

    /// A struct of metrics in a field of this one.
    ///
    /// # Errors
    /// As [`Metrics::new`], for the field.
    pub fn nested<S: Metrics>(&self, field: &str, prefix: &str, labels: &[(&str, &str)]) -> Result<S> {
        let registry = below(&self.registry, prefix, labels).map_err(|error| self.of_field(field, error))?;
        S::new(&registry).map_err(|error| self.of_field(field, error))
    }

    fn of_field(&self, field: &str, error: Error) -> Error {
        of_field(format!("{}.{field}", self.owner), error)
    }
}

fn of_field(field: String, source: Error) -> Error {
    Error::Field { field, source: Box::new(source) }
}

fn below(registry: &Registry, prefix: &str, labels: &[(&str, &str)]) -> Result<Registry> {
    if prefix.is_empty() && labels.is_empty() {
        return Ok(registry.clone());
    }
    registry.child(prefix, labels)
}

/// What a struct declares, in the order of its fields.
#[derive(Debug)]
pub struct List {
    prefix: &'static str,
    labels: &'static [(&'static str, &'static str)],
    declared: Vec<Declaration>,
}

impl List {
    /// Nothing yet, of a struct with this prefix and these labels.
    #[must_use]
    pub const fn new(prefix: &'static str, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { prefix, labels, declared: Vec::new() }
    }

    /// Adds a metric.
    #[must_use]
    pub fn metric<F: Field>(mut self, field: &str, opts: &Opts, label_names: &[&str]) -> Self {
        let mut declared = Declaration::new(field, F::KIND, opts, label_names);
        declared.put_below("", self.prefix, self.labels);
        self.declared.push(declared);
        self
    }

    /// Adds what a nested struct declares.
    #[must_use]
    pub fn nested<S: Metrics>(mut self, field: &str, prefix: &str, labels: &[(&str, &str)]) -> Self {
        self.declared.extend(S::declared().into_iter().map(|mut declared| {
            declared.put_below(field, prefix, labels);
            declared.put_below("", self.prefix, self.labels);
            declared
        }));
        self
    }

    /// The list.
    #[must_use]
    pub fn done(self) -> Vec<Declaration> {
        self.declared
    }
}

/// What is wrong with a histogram's bounds, as the compiler can say it.
#[must_use]
pub const fn fault_of_bounds(bounds: &[f64]) -> Option<&'static str> {
    if bounds.is_empty() || bounds.len() > MAX_BOUNDS {
        return Some("expected 1 to 256 buckets");
    }
    let mut at = 0;
    while at < bounds.len() {
        if !bounds[at].is_finite() {
            return Some("found a bucket that is not finite; the last one is +Inf anyway");
        }
        if at > 0 && bounds[at - 1] >= bounds[at] {
            return Some("found buckets out of order, expected strictly ascending ones");
        }
        at += 1;
    }
    None
}

/// Ends the compilation with this error, at the caller.
///
/// # Panics
/// Always: the compiler, which evaluates it.
#[track_caller]
pub const fn refuse(fault: &str) -> ! {
    panic!("{}", fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_judged_as_a_registry_does() {
        let long: Vec<f64> = (0..300).map(f64::from).collect();
        for bounds in [&[][..], &[1.0, 1.0], &[2.0, 1.0], &[f64::NAN], &[1.0, f64::INFINITY], &long] {
            let refused = Opts::new("h", "").bounds(bounds).check(Kind::Histogram, &[]).is_err();
            assert!(refused && fault_of_bounds(bounds).is_some(), "{bounds:?}");
        }
        assert_eq!(fault_of_bounds(&long[..256]), None);
        assert_eq!(fault_of_bounds(&[-1.0, 0.0, 0.5]), None);
    }
}
