//! Series in the `prometheus` crate's registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::prometheus::core::{Collector, Desc};
use ::prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Summary,
};
use ::prometheus::{Registry as Theirs, TextEncoder};
use dyn_metrics_layout::Kind;

use super::{Backend, Cell, Descriptor, Instrument, Number, Selection, Value};
use crate::error::{Error, Result};
use crate::once_map::OnceValue;
use crate::registry::Registry;

/// The back end that registers families in a registry of the `prometheus` crate, for whoever gathers it.
///
/// | kind | shown as |
/// | --- | --- |
/// | counters, gauges | counter, gauge; whole numbers as doubles, durations in seconds |
/// | histogram | histogram; infinite observations count and stay out of the sum, as in a segment |
/// | tally | summary without quantiles |
/// | info | gauge, 1 |
/// | state set | gauge with a label of the metric's name, 0 or 1 for each state |
///
/// The numbers are this crate's ([`Cell`]): a family may have series with different label names, and observing a value
/// many times costs one update. The registry belongs to one process, so of a gauge's mode only this counts: whether it
/// is 0 or nothing before it is set.
#[derive(Debug)]
pub struct Prometheus {
    theirs: Theirs,
    families: Mutex<BTreeMap<String, Family>>,
    asking: Arc<Asking>,
}

/// What runs before a family is shown. Whoever gathers asks each family, one after the other.
#[derive(Default)]
struct Asking {
    run: Mutex<Vec<Arc<dyn Fn() + Send + Sync>>>,
    /// When it last ended: families that are asked at once share a run.
    ended: Mutex<Option<Instant>>,
}

/// How long after a run families are taken to be asked by who asked for it.
const ONE_GATHERING: Duration = Duration::from_millis(10);

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Asking {
    fn ask(&self) {
        // A callback may gather, too: nothing is locked while callbacks run.
        let is_recent = |ended: &Instant| ended.elapsed() < ONE_GATHERING;
        if locked(&self.ended).as_ref().is_some_and(is_recent) {
            return;
        }
        let run = locked(&self.run).clone();
        run.iter().for_each(|run| run());
        *locked(&self.ended) = Some(Instant::now());
    }
}

/// A family, as the other registry asks for it.
#[derive(Clone, Debug)]
struct Family {
    desc: Desc,
    /// Without labels.
    descriptor: Descriptor,
    series: Arc<Mutex<Vec<Series>>>,
    asking: Arc<Asking>,
}

/// What a series is, and its numbers.
type Series = (Descriptor, Arc<Cell>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Prometheus {
    /// In `registry`, beside what else is registered there.
    #[must_use]
    pub fn new(registry: Theirs) -> Self {
        Self { theirs: registry, families: Mutex::default(), asking: Arc::default() }
    }

    /// The crate's default registry, which its macros use; the same one at each call.
    #[must_use]
    pub fn default_registry() -> Registry {
        static DEFAULT: OnceValue<Registry> = OnceValue::new();
        let make = || Registry::with_backend(Arc::new(Self::new(::prometheus::default_registry().clone())));
        DEFAULT.get_or(|| Some(make())).cloned().unwrap_or_else(make)
    }

    fn refuse(&self, metric: &str, reason: String) -> Error {
        Error::backend(self.name(), metric, reason)
    }

    /// Why the other registry doesn't take a family, with what it has of that name.
    fn conflict(&self, family: &Descriptor, error: &::prometheus::Error) -> Error {
        let gathered = self.theirs.gather();
        let other = gathered.iter().find(|other| other.name() == family.name);
        let theirs = other.map_or_else(
            || "something of that name that shows nothing".to_owned(),
            |other| format!("a {} of that name", format!("{:?}", other.get_field_type()).to_lowercase()),
        );
        let reason =
            format!("wanted a {}, found {theirs} registered by other code: {error}", family.kind.name());
        self.refuse(&family.name, reason)
    }
}

impl Backend for Prometheus {
    fn name(&self) -> &str {
        "prometheus"
    }

    fn family(&self, family: &Descriptor) -> Result<()> {
        // It wants a help.
        let help = if family.help.is_empty() { &family.name } else { &family.help };
        let desc = Desc::new(family.name.clone(), help.clone(), Vec::new(), HashMap::new());
        let desc = desc.map_err(|error| self.refuse(&family.name, error.to_string()))?;
        let asking = Arc::clone(&self.asking);
        let made = Family { desc, descriptor: family.clone(), series: Arc::default(), asking };
        self.theirs.register(Box::new(made.clone())).map_err(|error| self.conflict(family, &error))?;
        locked(&self.families).insert(family.name.clone(), made);
        Ok(())
    }

    fn series(&self, series: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
        let families = locked(&self.families);
        let Some(family) = families.get(&series.name) else {
            return Err(self.refuse(&series.name, "expected its family first".to_owned()));
        };
        let cell = Arc::new(Cell::new(series));
        locked(&family.series).push((series.clone(), Arc::clone(&cell)));
        Ok(Some(cell))
    }

    fn remove(&self, name: &str, labels: &[(String, String)]) -> Result<()> {
        if let Some(family) = locked(&self.families).get(name) {
            locked(&family.series).retain(|(descriptor, _)| descriptor.labels != labels);
        }
        Ok(())
    }

    fn before_collecting(&self, run: Arc<dyn Fn() + Send + Sync>) {
        locked(&self.asking.run).push(run);
    }

    fn render(&self, selection: &Selection) -> Result<String> {
        *locked(&self.asking.ended) = Some(Instant::now()); // they have run for this page
        let families = if selection.is_all() {
            self.theirs.gather()
        } else {
            let families = locked(&self.families);
            let chosen = families.values().map(|family| family.metrics(selection));
            chosen.filter(|family| !family.get_metric().is_empty()).collect()
        };
        let text = TextEncoder::new().encode_to_string(&families);
        text.map_err(|error| self.refuse("*", error.to_string()))
    }
}

impl Collector for Family {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.asking.ask();
        vec![self.metrics(&Selection::default())]
    }
}

impl Family {
    fn metrics(&self, selection: &Selection) -> MetricFamily {
        let Descriptor { name, help, kind, .. } = &self.descriptor;
        let mut series: Vec<_> = locked(&self.series).clone();
        series.retain(|(one, _)| selection.includes(name, &one.labels));
        series.sort_by(|(a, _), (b, _)| a.labels.cmp(&b.labels));
        let mut family = MetricFamily::default();
        family.set_name(name.clone());
        family.set_help(help.clone());
        family.set_field_type(match kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Tally => MetricType::SUMMARY,
            Kind::Histogram | Kind::ExponentialHistogram => MetricType::HISTOGRAM,
            Kind::Gauge | Kind::Info | Kind::StateSet => MetricType::GAUGE,
        });
        family.set_metric(series.iter().flat_map(|(one, cell)| metrics(one, cell.value())).collect());
        family
    }
}

/// A metric with these labels, and perhaps one more.
fn labelled(descriptor: &Descriptor, more: Option<(&str, &str)>) -> Metric {
    let own = descriptor.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pairs = own.chain(more).map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value.to_owned());
        pair
    });
    Metric::from_label(pairs.collect())
}

fn gauge(mut metric: Metric, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    metric.set_gauge(gauge);
    metric
}

/// A series as the other crate shows it: several of a state set, none of a gauge that was not set.
fn metrics(of: &Descriptor, value: Option<Value>) -> Vec<Metric> {
    let mut metric = labelled(of, None);
    match (of.kind, value) {
        (Kind::Info, _) => return vec![gauge(metric, 1.0)],
        (Kind::Counter, Some(Value::Number(number))) => {
            let mut counter = Counter::default();
            counter.set_value(match number {
                Number::Integer(n) => n as u64 as f64,
                Number::Float(_) | Number::Nanoseconds(_) => number.as_f64(),
            });
            metric.set_counter(counter);
        }
        (_, Some(Value::Number(number))) => metric = gauge(metric, number.as_f64()),
        (_, Some(Value::States(bits))) => {
            let one = |(at, state): (usize, &String)| {
                gauge(labelled(of, Some((&of.name, state))), (bits >> at & 1) as f64)
            };
            return of.states.iter().enumerate().map(one).collect();
        }
        (Kind::Tally, Some(Value::Distribution { count, sum, .. })) => {
            let mut summary = Summary::default();
            summary.set_sample_count(count);
            summary.set_sample_sum(sum);
            metric.set_summary(summary);
        }
        (_, Some(Value::Distribution { buckets, count, sum })) => {
            metric.set_histogram(histogram(&of.bounds, &buckets, count, sum));
        }
        (_, None) => return Vec::new(),
    }
    vec![metric]
}

fn histogram(bounds: &[f64], buckets: &[u64], count: u64, sum: f64) -> Histogram {
    let mut below = 0;
    let cumulative = bounds.iter().zip(buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(cumulative.collect());
    histogram.set_sample_count(count);
    histogram.set_sample_sum(sum);
    histogram
}
