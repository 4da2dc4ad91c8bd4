//! A family as OpenTelemetry's instruments.
//!
//! Numbers of every kind are kept in [`Cell`]s. Those of all but histograms and tallies are read by a callback when the
//! SDK collects: so `set` and `inc` both work on a gauge, and an update takes no lock. The SDK has no histogram that is
//! read when it collects: an observation goes to the cell, for `value` and `render`, and to the instrument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, BoundHistogram, Histogram, Meter};

use super::super::{Cell, Descriptor, Dropped, Instrument, Number, Value};
use super::unit::ucum;
use super::{Ours, locked};
use crate::local::{AtomicBool, AtomicU64, Ordering};

/// How often at once the SDK is told of an observation: it takes one at a time.
pub(super) const MOST_AT_ONCE: u64 = 10_000;

/// A family, and its instruments.
#[derive(Debug)]
pub(super) struct OtelFamily {
    /// None in a forked child, which has numbers and no instruments.
    meter: Option<Meter>,
    /// Of histograms and tallies.
    histogram: Option<Histogram<f64>>,
    numbers: Arc<Numbers>,
}

/// Names and values, sorted by name.
type Labels = Vec<(String, String)>;

/// What the callbacks of a family read. They live as long as the SDK's meter, which this must not refer to.
#[derive(Debug)]
struct Numbers {
    /// Without labels.
    descriptor: Descriptor,
    series: Mutex<Kept>,
    fractions: Fractions,
}

#[derive(Debug, Default)]
struct Kept {
    by_labels: BTreeMap<Labels, Arc<Series>>,
    /// What was removed since the SDK last collected: one collection without it, and it has forgotten the number from which it
    /// takes a new one's difference.
    removed: BTreeSet<Labels>,
    /// Whether the SDK has ever collected it; until then it has nothing to forget.
    is_collected: bool,
}

/// Whether a counter of whole numbers has got fractions, or exceeds 2^63. Its instrument can't show these: another one does then.
#[derive(Debug, Default)]
struct Fractions {
    family: OnceLock<Weak<OtelFamily>>,
    are_wanted: AtomicBool,
    /// The other instrument is there.
    are_shown: AtomicBool,
}

/// A series: its numbers, and what the SDK is told.
pub(super) struct Series {
    pub(super) descriptor: Descriptor,
    cell: Cell,
    attributes: Vec<KeyValue>,
    /// Those of the states of a state set.
    states: Vec<Vec<KeyValue>>,
    recorder: Option<Recorder>,
}

/// A series of a histogram or tally, as the SDK has it.
struct Recorder {
    histogram: Histogram<f64>,
    /// Bound by the first observation: the SDK would export one that has none with a least and a greatest value.
    bound: OnceLock<BoundHistogram<f64>>,
    /// A forked child must not touch the instrument: another thread may have held its lock at the fork.
    ours: Ours,
    left_out: Arc<AtomicU64>,
}

/// Makes an instrument of a family that is read by `$read` when the SDK collects.
macro_rules! observed {
    ($meter:expr, $numbers:expr, $instrument:ident, $read:ident) => {{
        let (numbers, of) = (Arc::clone($numbers), &$numbers.descriptor);
        let builder = $meter.$instrument(of.name.clone()).with_unit(ucum_of(of));
        let builder = builder.with_description(of.help.clone());
        builder.with_callback(move |observer| numbers.$read(observer)).build();
    }};
}

/// A family's unit; durations are exported in seconds.
pub(super) fn ucum_of(of: &Descriptor) -> String {
    match of.representation {
        Representation::Nanoseconds => "s".to_owned(),
        _ => ucum(&of.name, &of.unit),
    }
}

impl OtelFamily {
    pub(super) fn new(meter: Option<&Meter>, descriptor: &Descriptor) -> Arc<Self> {
        let histogram = meter.filter(|_| is_distribution(descriptor.kind)).map(|meter| {
            let builder = meter.f64_histogram(descriptor.name.clone()).with_unit(ucum_of(descriptor));
            // A tally is a histogram without buckets.
            builder
                .with_description(descriptor.help.clone())
                .with_boundaries(descriptor.bounds.clone())
                .build()
        });
        let (series, fractions) = Default::default();
        let numbers = Arc::new(Numbers { descriptor: descriptor.clone(), series, fractions });
        let family = Arc::new(Self { meter: meter.cloned(), histogram, numbers });
        let _ = family.numbers.fractions.family.set(Arc::downgrade(&family));
        if let Some(meter) = meter {
            observe(meter, &family.numbers);
        }
        family
    }

    /// As it was registered.
    pub(super) fn descriptor(&self) -> &Descriptor {
        &self.numbers.descriptor
    }

    /// Its series.
    pub(super) fn series(&self) -> Vec<Arc<Series>> {
        self.numbers.series()
    }

    /// The series that `descriptor` describes, made if there is none.
    pub(super) fn make(&self, descriptor: &Descriptor, ours: Ours, left_out: &Arc<AtomicU64>) -> Arc<Series> {
        let make = || {
            let attributes = attributes(&descriptor.labels);
            let recorder = self.histogram.clone().map(|histogram| {
                let (bound, left_out) = (OnceLock::new(), Arc::clone(left_out));
                Recorder { histogram, bound, ours, left_out }
            });
            Arc::new(Series::new(descriptor, attributes, recorder))
        };
        let mut kept = locked(&self.numbers.series);
        Arc::clone(kept.by_labels.entry(descriptor.labels.clone()).or_insert_with(make))
    }

    /// Forgets a series; false where the SDK has no end of one: it goes on exporting histograms as they were.
    pub(super) fn remove(&self, labels: &[(String, String)]) -> bool {
        let ends = !is_distribution(self.numbers.descriptor.kind);
        if ends {
            let mut kept = locked(&self.numbers.series);
            kept.by_labels.remove(labels);
            // Where nothing is exported nobody ever collects, and this would grow for ever.
            if kept.is_collected {
                kept.removed.insert(labels.to_vec());
            }
        }
        ends
    }

    /// Makes the instrument that shows a counter of whole numbers with its fractions.
    fn show_fractions(&self) {
        if let Some(meter) = &self.meter {
            observed!(meter, &self.numbers, f64_observable_counter, read_fractions);
            self.numbers.fractions.are_shown.store(true, Ordering::Release);
        }
    }
}

/// Whether it is a histogram to the SDK.
fn is_distribution(kind: Kind) -> bool {
    matches!(kind, Kind::Histogram | Kind::ExponentialHistogram | Kind::Tally)
}

/// Makes what is read when the SDK collects.
fn observe(meter: &Meter, numbers: &Arc<Numbers>) {
    let of = &numbers.descriptor;
    let whole = of.representation == Representation::Integer;
    let adds_up = matches!(of.mode, GaugeMode::Sum | GaugeMode::LiveSum);
    match (of.kind, whole) {
        (Kind::Counter, true) => observed!(meter, numbers, u64_observable_counter, read_events),
        (Kind::Counter, false) => observed!(meter, numbers, f64_observable_counter, read_float),
        (Kind::Gauge, true) if adds_up => {
            observed!(meter, numbers, i64_observable_up_down_counter, read_whole);
        }
        (Kind::Gauge, false) if adds_up => {
            observed!(meter, numbers, f64_observable_up_down_counter, read_float);
        }
        (Kind::Gauge, false) => observed!(meter, numbers, f64_observable_gauge, read_float),
        (Kind::Gauge | Kind::Info | Kind::StateSet, _) => {
            observed!(meter, numbers, i64_observable_gauge, read_whole);
        }
        _ => (),
    }
}

impl Numbers {
    fn series(&self) -> Vec<Arc<Series>> {
        locked(&self.series).by_labels.values().cloned().collect()
    }

    /// What a collection is told of.
    fn collected(&self) -> Vec<Arc<Series>> {
        let mut kept = locked(&self.series);
        kept.is_collected = true;
        let removed = std::mem::take(&mut kept.removed);
        let due = kept.by_labels.iter().filter(|(labels, _)| !removed.contains(*labels));
        due.map(|(_, series)| Arc::clone(series)).collect()
    }

    /// A counter of whole numbers; nothing once another instrument shows it.
    fn read_events(&self, observer: &dyn AsyncInstrument<u64>) {
        if self.fractions.are_shown.load(Ordering::Acquire) {
            return;
        }
        for series in self.collected() {
            match series.cell.value() {
                // Protocol Buffers' numbers are signed: the SDK exports larger ones as 0.
                Some(Value::Number(Number::Integer(n))) if n >= 0 => {
                    observer.observe(n as u64, &series.attributes);
                }
                Some(Value::Number(number)) => {
                    observer.observe(as_double(number) as i64 as u64, &series.attributes);
                    self.want_fractions();
                }
                _ => (),
            }
        }
    }

    /// Has another instrument made: by another thread, for the SDK waits until this collection is done.
    fn want_fractions(&self) {
        let family = self.fractions.family.get().and_then(Weak::upgrade);
        if let (Some(family), false) = (family, self.fractions.are_wanted.swap(true, Ordering::Relaxed)) {
            let thread = std::thread::Builder::new().name("dyn-metrics-otel".to_owned());
            if let Err(error) = thread.spawn(move || family.show_fractions()) {
                log::warn!("otel: {:?} is exported without its fractions: {error}", self.descriptor.name);
            }
        }
    }

    fn read_fractions(&self, observer: &dyn AsyncInstrument<f64>) {
        if self.fractions.are_shown.load(Ordering::Acquire) {
            self.read_float(observer);
        }
    }

    fn read_float(&self, observer: &dyn AsyncInstrument<f64>) {
        for series in self.collected() {
            if let Some(Value::Number(number)) = series.cell.value() {
                let is_counter = self.descriptor.kind == Kind::Counter;
                let number = if is_counter { as_double(number) } else { number.as_f64() };
                observer.observe(number, &series.attributes);
            }
        }
    }

    fn read_whole(&self, observer: &dyn AsyncInstrument<i64>) {
        for series in self.collected() {
            match (self.descriptor.kind, series.cell.value()) {
                (Kind::Info, _) => observer.observe(1, &series.attributes),
                (_, Some(Value::Number(Number::Integer(n)))) => observer.observe(n, &series.attributes),
                (_, Some(Value::States(bits))) => {
                    for (at, attributes) in series.states.iter().enumerate() {
                        observer.observe((bits >> at & 1) as i64, attributes);
                    }
                }
                _ => (),
            }
        }
    }
}

/// A counter's number, whose whole events are unsigned.
fn as_double(number: Number) -> f64 {
    match number {
        Number::Integer(n) => n as u64 as f64,
        Number::Float(_) | Number::Nanoseconds(_) => number.as_f64(),
    }
}

fn attributes(labels: &[(String, String)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())).collect()
}

impl Series {
    fn new(descriptor: &Descriptor, attributes: Vec<KeyValue>, recorder: Option<Recorder>) -> Self {
        let with_state = |state: &String| {
            let mut all = attributes.clone();
            all.push(KeyValue::new(descriptor.name.clone(), state.clone()));
            all.sort_by(|a, b| a.key.cmp(&b.key)); // as the SDK keeps them: others it keeps twice
            all
        };
        let states = descriptor.states.iter().map(with_state).collect();
        let cell = Cell::new(descriptor);
        Self { descriptor: descriptor.clone(), cell, attributes, states, recorder }
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Series").field("name", &self.descriptor.name).field("cell", &self.cell).finish()
    }
}

impl Recorder {
    fn observe(&self, attributes: &[KeyValue], value: f64, count: u64) {
        if !self.ours.is_so() {
            return;
        }
        // An infinite sum would stay so: the SDK has no observation without one.
        let told = if (value * count as f64).is_finite() { count.min(MOST_AT_ONCE) } else { 0 };
        if told > 0 {
            let bound = self.bound.get_or_init(|| self.histogram.bind(attributes));
            (0..told).for_each(|_| bound.record(value));
        }
        if told < count {
            self.left_out.fetch_add(count - told, Ordering::Relaxed);
        }
    }
}

impl Instrument for Series {
    fn add(&self, amount: Number) {
        self.cell.add(amount);
    }

    fn set(&self, value: Number) {
        self.cell.set(value);
    }

    fn observe(&self, value: f64, count: u64) {
        self.cell.observe(value, count);
        if let Some(recorder) = &self.recorder {
            recorder.observe(&self.attributes, value, count);
        }
    }

    fn switch(&self, on: u64, off: u64) {
        self.cell.switch(on, off);
    }

    fn dropped(&self, reason: Dropped) {
        self.cell.dropped(reason);
    }

    fn value(&self) -> Option<Value> {
        self.cell.value()
    }
}
