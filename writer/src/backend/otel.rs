//! Series as OpenTelemetry's instruments, exported over OTLP/HTTP or by a provider of the user's.

mod client;
mod exporting;
mod flushing;
mod instruments;
mod pipeline;
mod unit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;

pub use exporting::Exports;
pub use pipeline::OpenTelemetryBuilder;

use super::{Backend, Descriptor, Instrument, Selection};
use crate::error::{Error, Result};
use crate::local::{AtomicU64, AtomicUsize, Ordering};
use crate::once_map::OnceValue;
use crate::registry::Registry;
use crate::wipe;
use exporting::Outcomes;
use flushing::Flushing;
use instruments::OtelFamily;
use pipeline::Limits;

const NAME: &str = "otel";
/// What OpenTelemetry allows.
const LONGEST_NAME: usize = 255;
const LONGEST_UNIT: usize = 63;
/// Of a family in the SDK, which makes place for the limit at once: 34 MB, untouched.
const MOST_SERIES: usize = 1 << 20;

/// The back end whose families are OpenTelemetry instruments.
///
/// | kind | instrument |
/// | --- | --- |
/// | counter | observable counter: u64; f64 once it has fractions; seconds for durations |
/// | gauge whose values add up over processes | observable up-down counter, i64 or f64 |
/// | other gauges | observable gauge; nothing before it is set |
/// | histogram | histogram with the family's bounds |
/// | tally | histogram without buckets: count, sum, least and greatest |
/// | info | gauge, 1 |
/// | state set | gauge with an attribute of the metric's name, 0 or 1 for each state |
///
/// Names stay as they are, labels become attributes, help the description, and the unit, or the word that the name
/// ends in, a UCUM code. OpenTelemetry refuses names that don't begin with a letter, have a `:`, are longer than 255, or
/// differ from another in case alone; such a registration is an error.
///
/// A histogram's infinite observations, and what one call observes more than 10 000 times, are not exported and are
/// counted in [`Exports::left_out`]; [`Registry::render`] and `value()` have all of them. A gauge that is infinite or NaN is
/// not exported either: the SDK takes neither.
///
/// Series can be [removed](Registry::remove): the next export is without them, also where somebody has begun anew, whose numbers
/// come with the one after it. Those of histograms and tallies can't, nor can any of a provider that was given: the SDK
/// goes on exporting what it has.
///
/// Exports are made by a thread of the SDK. An update never waits for it: a counter or gauge takes no lock, an
/// observation one that is held for as long as a histogram is updated or copied, the first of a series one more. A forked child counts on in its own
/// memory: its updates and registrations leave the SDK alone, nothing of them is exported, and flushing is an error
/// there. A child that is to export makes an `OpenTelemetry` of its own.
///
/// Dropped, with every registry that uses it, it exports once more, for 5 s at most.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use dyn_metrics::Registry;
/// use dyn_metrics::backend::OpenTelemetry;
///
/// let otel = OpenTelemetry::builder().endpoint("http://127.0.0.1:9/v1/metrics").service_name("decoder");
/// let otel = Arc::new(otel.build()?);
/// let registry = Registry::with_backend(otel.clone());
/// registry.counter("requests_total", "Requests answered")?.inc();
/// if let Err(error) = registry.flush(Duration::from_secs(20)) {
///     eprintln!("{error}: {:?}", otel.exports()); // nobody listens on that port
/// }
/// assert_eq!(otel.exports().succeeded, 0);
/// # Ok::<(), dyn_metrics::Error>(())
/// ```
#[derive(Debug)]
pub struct OpenTelemetry {
    provider: SdkMeterProvider,
    meter: Meter,
    ours: Ours,
    limits: Limits,
    outcomes: Arc<Outcomes>,
    left_out: Arc<AtomicU64>,
    flushing: Arc<Flushing>,
    /// Whether it collects for one reader, which is told once that a series has ended; a provider of others' may have several.
    has_one_reader: bool,
    /// By name in small letters: OpenTelemetry's names have no case.
    families: Mutex<BTreeMap<String, Arc<OtelFamily>>>,
}

/// Whether this process is the one that made it, and no child.
#[derive(Clone, Copy, Debug)]
struct Ours(&'static AtomicUsize);

impl Ours {
    fn new() -> Result<Self> {
        let words = wipe::words(1).map_err(|error| Error::backend(NAME, "*", error.to_string()))?;
        let word = words.first().ok_or_else(|| Error::backend(NAME, "*", "found no memory"))?;
        word.store(1, Ordering::Relaxed);
        Ok(Self(word))
    }

    fn is_so(self) -> bool {
        self.0.load(Ordering::Relaxed) != 0
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the environment chose.
type OfEnvironment = (Arc<OpenTelemetry>, Registry);

impl OpenTelemetry {
    /// With instruments of `provider`, which its owner has set up, flushes and shuts down.
    ///
    /// The SDK has a limit of 2 000 series of a family unless a view of the provider says otherwise.
    ///
    /// # Errors
    /// When there is no memory for a page.
    pub fn with_meter_provider(provider: SdkMeterProvider) -> Result<Self> {
        Self::new(provider, Limits::default(), Arc::default(), false)
    }

    /// Options for one that exports over OTLP/HTTP.
    pub fn builder() -> OpenTelemetryBuilder {
        OpenTelemetryBuilder::default()
    }

    /// The process's, as the variables of OpenTelemetry's specification say; the same one at each call.
    ///
    /// # Errors
    /// As [`OpenTelemetryBuilder::build`]; the next call tries again.
    pub fn of_environment() -> Result<Arc<Self>> {
        Self::environment().map(|(backend, _)| backend)
    }

    /// The process's registry in [`Self::of_environment`]; the same one at each call.
    ///
    /// # Errors
    /// As [`Self::of_environment`].
    pub fn default_registry() -> Result<Registry> {
        Self::environment().map(|(_, registry)| registry)
    }

    fn environment() -> Result<OfEnvironment> {
        static MADE: OnceValue<OfEnvironment> = OnceValue::new();
        // Of two that are made at once, one would export for nobody.
        static MAKING: Mutex<()> = Mutex::new(());
        if let Some(made) = MADE.get_or(|| None) {
            return Ok(made.clone());
        }
        let _making = locked(&MAKING);
        let mut failed = None;
        let make = || {
            let backend = Arc::new(Self::builder().build().map_err(|error| failed = Some(error)).ok()?);
            Some((Arc::clone(&backend), Registry::with_backend(backend)))
        };
        let made = MADE.get_or(make).cloned();
        made.ok_or_else(|| failed.unwrap_or_else(|| Error::backend(NAME, "*", "found no memory")))
    }

    fn new(
        provider: SdkMeterProvider,
        limits: Limits,
        outcomes: Arc<Outcomes>,
        has_one_reader: bool,
    ) -> Result<Self> {
        let scope = InstrumentationScope::builder("dyn-metrics").with_version(env!("CARGO_PKG_VERSION"));
        let (meter, ours) = (provider.meter_with_scope(scope.build()), Ours::new()?);
        let (left_out, flushing, families) = Default::default();
        Ok(Self { provider, meter, ours, limits, outcomes, left_out, flushing, has_one_reader, families })
    }

    /// What became of exports. Of a provider that was given, only what the SDK was not told of is known.
    #[must_use]
    pub fn exports(&self) -> Exports {
        Exports { left_out: self.left_out.load(Ordering::Relaxed), ..self.outcomes.so_far() }
    }

    /// Exports for the last time, and ends exporting; later updates stay in this process.
    ///
    /// Waits for `timeout` at most, and never for more than 5 s, the SDK's own limit.
    ///
    /// # Errors
    /// When that failed or took longer, when it was done before, and in a forked child.
    pub fn shutdown(&self, timeout: Duration) -> Result<()> {
        self.run(timeout, SdkMeterProvider::shutdown)
    }

    fn run(
        &self,
        timeout: Duration,
        work: fn(&SdkMeterProvider) -> opentelemetry_sdk::error::OTelSdkResult,
    ) -> Result<()> {
        if !self.ours.is_so() {
            return Err(self.refuse("*", "a forked child exports nothing"));
        }
        let provider = self.provider.clone();
        let done = self.flushing.run(timeout, move || work(&provider));
        done.map_err(|error| self.refuse("*", self.outcomes.so_far().last_error.unwrap_or(error)))
    }

    fn refuse(&self, metric: &str, reason: impl Into<String>) -> Error {
        Error::backend(self.name(), metric, reason)
    }

    /// Refuses a family that another registry of this back end has in another form: the SDK would mix their numbers.
    fn check_same(&self, known: &Descriptor, family: &Descriptor) -> Result<()> {
        let shape =
            |of: &Descriptor| (of.kind, of.mode, of.bounds.clone(), of.states.clone(), of.unit.clone());
        if known.name == family.name && shape(known) == shape(family) {
            return Ok(());
        }
        let reason =
            format!("wanted a {}, found {:?}, a {}", family.kind.name(), known.name, known.kind.name());
        Err(self.refuse(&family.name, format!("{reason}, registered by another registry or in other case")))
    }

    /// Refuses what the SDK would turn into an instrument that does nothing.
    fn check(&self, family: &Descriptor) -> Result<()> {
        let name = &family.name;
        let fail = |reason: &str| Err(self.refuse(name, reason));
        if name.len() > LONGEST_NAME {
            return fail("found a name of more than 255 bytes, which OpenTelemetry has not");
        }
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || name.contains(':') {
            return fail("found a name that begins with no letter or has a ':', which OpenTelemetry has not");
        }
        if instruments::ucum_of(family).len() > LONGEST_UNIT {
            return fail("found a unit of more than 61 bytes, which OpenTelemetry has not");
        }
        Ok(())
    }
}

impl Drop for OpenTelemetry {
    fn drop(&mut self) {
        if !self.ours.is_so() {
            // The last instance of a provider ends its exports, and would wait here for a thread of the parent's.
            std::mem::forget(self.provider.clone());
        }
    }
}

impl Backend for OpenTelemetry {
    fn name(&self) -> &str {
        NAME
    }

    fn family(&self, family: &Descriptor) -> Result<()> {
        self.check(family)?;
        let key = family.name.to_ascii_lowercase();
        let known = locked(&self.families).get(&key).cloned();
        if let Some(known) = known {
            return self.check_same(known.descriptor(), family);
        }
        let meter = self.ours.is_so().then_some(&self.meter);
        // Beside them, the one that stands for all beyond the limit; and each state is a series for the SDK.
        let limit = (family.max_series as usize).saturating_add(1).saturating_mul(family.states.len().max(1));
        let limit = limit.min(MOST_SERIES);
        locked(&self.limits).insert(family.name.clone(), limit);
        // Made without the lock: the SDK finishes a collection first.
        let made = OtelFamily::new(meter, family);
        locked(&self.families).insert(key, made);
        Ok(())
    }

    fn series(&self, series: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
        let family = locked(&self.families).get(&series.name.to_ascii_lowercase()).cloned();
        let Some(family) = family else {
            return Err(self.refuse(&series.name, "expected its family first"));
        };
        Ok(Some(family.make(series, self.ours, &self.left_out)))
    }

    fn remove(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        let family = locked(&self.families).get(&name.to_ascii_lowercase()).cloned();
        if self.has_one_reader && family.is_some_and(|family| family.remove(labels)) {
            return Ok(());
        }
        let what = "remove a series: the SDK goes on exporting it";
        Err(Error::Unsupported { registry: NAME.to_owned(), what })
    }

    #[cfg(feature = "render")]
    fn render(&self, selection: &Selection) -> Result<String> {
        let families: Vec<_> = locked(&self.families).values().cloned().collect();
        let series: Vec<_> = families.iter().flat_map(|family| family.series()).collect();
        let selected =
            series.iter().filter(|one| selection.includes(&one.descriptor.name, &one.descriptor.labels));
        Ok(super::text(selected.map(|one| (&one.descriptor, one.value()))))
    }

    #[cfg(not(feature = "render"))]
    fn render(&self, _: &Selection) -> Result<String> {
        let what = "render without feature \"render\"";
        Err(Error::Unsupported { registry: NAME.to_owned(), what })
    }

    fn flush(&self, timeout: Duration) -> Result<()> {
        self.run(timeout, SdkMeterProvider::force_flush)
    }
}
