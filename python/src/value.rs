//! Words of series, for code that brings its own metric classes and asks for nothing but a number.

use dyn_metrics::raw::{self, Number, Representation};
use dyn_metrics::{Counter, FloatCounter, FloatGauge, GaugeMode, Histogram, Opts, Tally};
use pyo3::prelude::*;

use crate::args::{ABSENT, Amount, Given, amount, number, plain_amount, plain_f64};
use crate::errors::{invalid_value, raise};
use crate::lane::update_lane;
use crate::registry::Registry;

/// What a word belongs to.
enum Word {
    Counter(Counter, FloatCounter),
    Gauge(FloatGauge),
    /// A bucket, or the sum behind them.
    Histogram(Histogram, usize),
    /// 0: the count, 1: the sum.
    Tally(Tally, usize),
}

/// One number of a series: `inc`, `set`, `get`. See the stub.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct Value {
    name: String,
    word: Word,
}

impl Value {
    fn add_whole(&self, n: u64) {
        match &self.word {
            Word::Counter(whole, _) => whole.inc_by(n),
            Word::Gauge(gauge) => gauge.add(n as f64),
            Word::Histogram(histogram, at) if *at <= histogram.bounds().len() => {
                raw::add_u64(histogram, *at, n)
            }
            Word::Tally(tally, 0) => raw::add_u64(tally, 0, n),
            _ => self.add(n as f64),
        }
    }

    fn add(&self, x: f64) {
        match &self.word {
            Word::Counter(_, fraction) => fraction.inc_by(x),
            Word::Gauge(gauge) => gauge.add(x),
            Word::Histogram(histogram, at) if *at <= histogram.bounds().len() => {
                raw::add_u64(histogram, *at, x as u64);
            }
            Word::Histogram(histogram, at) if x.is_finite() => raw::add_f64(histogram, *at, x),
            Word::Histogram(histogram, _) => raw::count(histogram, dropped(x)),
            Word::Tally(tally, 0) => raw::add_u64(tally, 0, x as u64),
            Word::Tally(tally, at) if x.is_finite() => raw::add_f64(tally, *at, x),
            Word::Tally(tally, _) => raw::count(tally, dropped(x)),
        }
    }
}

/// What is counted for a value that can't go into a sum.
fn dropped(x: f64) -> raw::Statistic {
    if x.is_nan() { raw::Statistic::DroppedNan } else { raw::Statistic::InfiniteObservations }
}

#[pymethods]
impl Value {
    /// Adds `amount`. See the stub.
    #[pyo3(signature = (amount=ABSENT, /), text_signature = "($self, amount=1, /)")]
    fn inc(&self, amount: Given<'_, '_>) -> PyResult<()> {
        let Some(given) = amount.0.as_deref() else {
            self.add_whole(1);
            return Ok(());
        };
        match self::amount(given, &self.name)? {
            Amount::Whole(n) => match u64::try_from(n) {
                Ok(n) => self.add_whole(n),
                Err(_) => self.add(n as f64),
            },
            Amount::Fraction(x) => self.add(x),
        }
        Ok(())
    }

    /// Sets a gauge; another word can't be set. See the stub.
    #[pyo3(signature = (value, timestamp=None))]
    fn set(&self, value: &Bound<'_, PyAny>, timestamp: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let _ = timestamp; // a gauge of mode mostrecent takes the time itself
        let Word::Gauge(gauge) = &self.word else {
            let text = format!("metric {:?}: found a call of set(), which only a gauge has", self.name);
            return Err(invalid_value(value.py(), text));
        };
        gauge.set(number(value, &self.name)?);
        Ok(())
    }

    /// The number: of a gauge this process's, otherwise over all processes.
    fn get(&self) -> f64 {
        match &self.word {
            Word::Counter(whole, fraction) => whole.value() as f64 + fraction.value(),
            Word::Gauge(gauge) => match raw::value(gauge, Representation::Float) {
                Number::Float(value) => value,
                other => other.as_f64(),
            },
            Word::Histogram(histogram, at) if *at <= histogram.bounds().len() => {
                raw::sum_u64(histogram, *at) as f64
            }
            Word::Histogram(histogram, at) => raw::sum_f64(histogram, *at),
            Word::Tally(tally, 0) => raw::sum_u64(tally, 0) as f64,
            Word::Tally(tally, at) => raw::sum_f64(tally, *at),
        }
    }
}

update_lane!(ValueInc: Value.c"inc", 1, |value, given| {
    match given {
        [] => value.add_whole(1),
        [one] => match plain_amount(*one)? {
            Amount::Whole(n) if n >= 0 => value.add_whole(n as u64),
            other => value.add(other.as_f64()),
        },
        _ => return None,
    }
    Some(())
});

update_lane!(ValueSet: Value.c"set", 1, |value, given| {
    let ([one], Word::Gauge(gauge)) = (given, &value.word) else { return None };
    gauge.set(plain_f64(*one)?);
    Some(())
});

/// The words of a series. See the stub.
#[pyfunction]
#[pyo3(signature = (kind, name, documentation, labels=Vec::new(), *, registry=None, unit="", mode="", buckets=None))]
#[allow(clippy::too_many_arguments, reason = "what a series is made of")]
pub(crate) fn values(
    py: Python<'_>,
    kind: &str,
    name: &str,
    documentation: &str,
    labels: Vec<(String, String)>,
    registry: Option<&Bound<'_, Registry>>,
    unit: &str,
    mode: &str,
    buckets: Option<Vec<f64>>,
) -> PyResult<Vec<Value>> {
    let mut opts = Opts::new(name, documentation).unit(unit);
    opts = labels.iter().fold(opts, |opts, (name, value)| opts.label(name, value));
    if !mode.is_empty() {
        let known = GaugeMode::EVERY.into_iter().find(|known| known.name() == mode);
        let unknown =
            || invalid_value(py, format!("metric {name:?}: found mode {mode:?}, expected a gauge mode"));
        opts = opts.mode(known.ok_or_else(unknown)?);
    }
    if let Some(buckets) = &buckets {
        opts = opts.bounds(buckets);
    }
    let registry = match registry {
        Some(registry) => registry.get(),
        None => Registry::root(py)?.get(),
    };
    let registry = registry.attached(py, Some(name))?;
    let refused = |error| raise(py, &error, Some(name));
    let words = match kind {
        "counter" => {
            let whole = registry.create(&opts).map_err(refused)?;
            vec![Word::Counter(whole, registry.create(&opts).map_err(refused)?)]
        }
        "gauge" => vec![Word::Gauge(registry.create(&opts).map_err(refused)?)],
        "histogram" => {
            let histogram: Histogram = registry.create(&opts).map_err(refused)?;
            (0..histogram.bounds().len() + 2).map(|at| Word::Histogram(histogram.clone(), at)).collect()
        }
        "summary" => {
            let tally: Tally = registry.create(&opts).map_err(refused)?;
            vec![Word::Tally(tally.clone(), 0), Word::Tally(tally, 1)]
        }
        _ => {
            let expected = "counter, gauge, histogram or summary";
            return Err(invalid_value(
                py,
                format!("metric {name:?}: found kind {kind:?}, expected {expected}"),
            ));
        }
    };
    Ok(words.into_iter().map(|word| Value { name: name.to_owned(), word }).collect())
}
