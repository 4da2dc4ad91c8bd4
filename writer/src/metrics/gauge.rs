//! Gauges and state sets: values that belong to a process.

use std::time::Duration;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use super::Buckets;
use super::nanoseconds;
use crate::backend::{Instrument, Value};
use crate::error::Result;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::gauge_cells::GaugeCore;
use crate::metric::{Metric, sealed::Handle};

/// A whole number that goes up and down.
///
/// Each process has its own cell; the family's [`GaugeMode`] says how readers combine them. A forked child
/// gets its own at its first update.
#[derive(Clone, Debug)]
pub struct Gauge(Option<&'static GaugeCore>);

/// A fractional number that goes up and down. See [`Gauge`].
///
/// The first handle that a process updates in a series decides whether its cell holds whole numbers, fractions or
/// nanoseconds; what others set or add there is rounded to that.
#[derive(Clone, Debug)]
pub struct FloatGauge(Option<&'static GaugeCore>);

/// A duration that goes up and down, exposed in seconds. See [`Gauge`].
#[derive(Clone, Debug)]
pub struct DurationGauge(Option<&'static GaugeCore>);

/// Named states, each on or off. See [`Gauge`].
///
/// Readers combine the processes' states: the living process's that set them last, unless `Opts` gives another
/// mode: `livemax` (on in any process), `livemin` (on in every process), the same without `live` (the dead count
/// too), `mostrecent`, `all`, `liveall`. Sums are refused.
#[derive(Clone, Debug)]
pub struct StateSet {
    core: Option<&'static GaugeCore>,
    states: &'static [String],
}

/// Time for stamped modes: cheap, the same for all processes of the machine, without a system call.
fn now() -> u64 {
    use nix::sys::time::TimeSpec;
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_REALTIME_COARSE).unwrap_or(TimeSpec::new(0, 0));
    (time.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec() as u64)
}

#[inline]
pub(crate) fn set(core: Option<&'static GaugeCore>, number: Number) {
    let Some(core) = core else { return };
    match core.plain(number.representation()) {
        Some(half) => half.set_plain(number.to_bits()),
        None => set_any(core, number),
    }
}

fn set_any(core: &'static GaugeCore, number: Number) {
    match core.own(number.representation()) {
        Some((half, representation)) => half.set(number, representation, core.mode(), now),
        None => elsewhere(core, |instrument| instrument.set(number)),
    }
}

#[inline]
pub(crate) fn add(core: Option<&'static GaugeCore>, number: Number) {
    let Some(core) = core else { return };
    match core.plain(number.representation()) {
        Some(half) if number.representation() != Representation::Float => half.add_plain(number.to_bits()),
        _ => add_any(core, number),
    }
}

fn add_any(core: &'static GaugeCore, number: Number) {
    match core.own(number.representation()) {
        Some((half, representation)) => half.add(number, representation, core.mode(), now),
        None => elsewhere(core, |instrument| instrument.add(number)),
    }
}

/// Hands an update to the registry that a gauge without a cell belongs to, if it is another one.
#[cold]
fn elsewhere(core: &'static GaugeCore, update: impl FnOnce(&dyn Instrument)) {
    if let Some(instrument) = core.instrument() {
        update(instrument);
    }
}

pub(crate) fn value(core: Option<&'static GaugeCore>, representation: Representation) -> Number {
    let value = core.and_then(GaugeCore::value);
    value.unwrap_or(Number::Integer(0)).convert(representation)
}

impl Gauge {
    /// Sets this process's value.
    ///
    /// Ordering: relaxed; any thread, signal handlers too. Cost: a store, and in `mostrecent` modes a second one
    /// with the time; no system call once the process has its cell. Errors, panics: none.
    #[inline]
    pub fn set(&self, value: i64) {
        set(self.0, Number::Integer(value));
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Subtracts 1.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// Adds `n`; wraps at 2^63. Cost: an atomic addition in this process's cell.
    #[inline]
    pub fn add(&self, n: i64) {
        add(self.0, Number::Integer(n));
    }

    /// Subtracts `n`.
    #[inline]
    pub fn sub(&self, n: i64) {
        self.add(n.wrapping_neg());
    }

    /// This process's value; 0 while it has set none.
    #[must_use]
    pub fn value(&self) -> i64 {
        match value(self.0, Representation::Integer) {
            Number::Integer(value) => value,
            other => other.as_f64() as i64,
        }
    }
}

impl FloatGauge {
    /// Sets this process's value. Cost: as [`Gauge::set`].
    #[inline]
    pub fn set(&self, value: f64) {
        set(self.0, Number::Float(value));
    }

    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.add(1.0);
    }

    /// Subtracts 1.
    #[inline]
    pub fn dec(&self) {
        self.add(-1.0);
    }

    /// Adds `amount`; NaN is dropped and counted.
    #[inline]
    pub fn add(&self, amount: f64) {
        match self.0 {
            Some(core) if amount.is_nan() => core.count(Statistic::DroppedNan),
            core => add(core, Number::Float(amount)),
        }
    }

    /// Subtracts `amount`.
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.add(-amount);
    }

    /// Sets this process's value to the time, in seconds since 1970.
    pub fn set_to_current_time(&self) {
        self.set(crate::sys::unix_ns() as f64 / 1e9);
    }

    /// This process's value.
    #[must_use]
    pub fn value(&self) -> f64 {
        value(self.0, Representation::Float).as_f64()
    }
}

impl DurationGauge {
    /// Sets this process's value; saturates at 292 years.
    #[inline]
    pub fn set(&self, value: Duration) {
        set(self.0, signed(value));
    }

    /// Adds `amount`.
    #[inline]
    pub fn add(&self, amount: Duration) {
        add(self.0, signed(amount));
    }

    /// Subtracts `amount`; the value may become negative.
    #[inline]
    pub fn sub(&self, amount: Duration) {
        let Number::Nanoseconds(amount) = signed(amount) else { return };
        add(self.0, Number::Nanoseconds(-amount));
    }

    /// This process's value, in seconds.
    #[must_use]
    pub fn value(&self) -> f64 {
        value(self.0, Representation::Nanoseconds).as_f64()
    }
}

fn signed(duration: Duration) -> Number {
    Number::Nanoseconds(i64::try_from(nanoseconds(duration)).unwrap_or(i64::MAX))
}

impl StateSet {
    /// Switches `state` on and all others off; unknown states are ignored and false is returned.
    pub fn set(&self, state: &str) -> bool {
        self.change(state, |bit| (bit, !bit))
    }

    /// Switches `state` on; false when it is unknown.
    pub fn enable(&self, state: &str) -> bool {
        self.change(state, |bit| (bit, 0))
    }

    /// Switches `state` off; false when it is unknown.
    pub fn disable(&self, state: &str) -> bool {
        self.change(state, |bit| (0, bit))
    }

    /// Whether `state` is on in this process.
    #[must_use]
    pub fn is_on(&self, state: &str) -> bool {
        let bits = value(self.core, Representation::Integer).to_bits();
        self.bit(state).is_some_and(|bit| bits & bit != 0)
    }

    /// Names of the states, in the order of their bits.
    #[must_use]
    pub const fn states(&self) -> &'static [String] {
        self.states
    }

    fn bit(&self, state: &str) -> Option<u64> {
        self.states.iter().position(|known| known == state).map(|at| 1 << at)
    }

    fn change(&self, state: &str, bits: impl FnOnce(u64) -> (u64, u64)) -> bool {
        let Some(bit) = self.bit(state) else { return false };
        let (on, off) = bits(bit);
        let Some(core) = self.core else { return true };
        match core.own(Representation::Integer) {
            Some((half, _)) => half.set_bits(on, off, core.mode(), now),
            None => {
                let known = !(u64::MAX << self.states.len());
                elsewhere(core, |instrument| instrument.switch(on, off & known));
            }
        }
        true
    }
}

fn reach(core: &'static FamilyCore, series: u64) -> Result<&'static GaugeCore> {
    let segment = core.segment;
    let reached = GaugeCore::reach(core, series);
    reached.map_err(|refusal| segment.refused(segment.error("a gauge", refusal)))
}

macro_rules! gauge_handle {
    ($handle:ident, $representation:ident) => {
        impl Metric for $handle {
            const KIND: Kind = Kind::Gauge;
        }

        impl Handle for $handle {
            const REPRESENTATION: Representation = Representation::$representation;

            fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
                reach(core, series).map(|core| Self(Some(core)))
            }

            fn of_foreign(series: &'static ForeignSeries) -> Self {
                Self(series.gauge())
            }

            fn nowhere(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
                Self(None)
            }

            fn private(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
                Self(GaugeCore::private(GaugeMode::LiveSum))
            }

            fn gauge(&self) -> Option<&'static GaugeCore> {
                self.0
            }

            fn reading(&self) -> Option<Value> {
                self.0?.value().map(Value::Number)
            }
        }

        impl Default for $handle {
            fn default() -> Self {
                Self::private(None, &[])
            }
        }
    };
}

gauge_handle!(Gauge, Integer);
gauge_handle!(FloatGauge, Float);
gauge_handle!(DurationGauge, Nanoseconds);

impl Metric for StateSet {
    const KIND: Kind = Kind::StateSet;
}

impl Handle for StateSet {
    const REPRESENTATION: Representation = Representation::Integer;

    fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
        Ok(Self { core: Some(reach(core, series)?), states: &core.states })
    }

    fn of_foreign(series: &'static ForeignSeries) -> Self {
        Self { core: series.gauge(), states: &series.family.states }
    }

    fn nowhere(_: Option<&'static Buckets>, states: &'static [String]) -> Self {
        Self { core: None, states }
    }

    fn private(_: Option<&'static Buckets>, states: &'static [String]) -> Self {
        Self { core: GaugeCore::private(GaugeMode::LiveSum), states }
    }

    fn gauge(&self) -> Option<&'static GaugeCore> {
        self.core
    }

    fn reading(&self) -> Option<Value> {
        self.core?.value().map(|bits| Value::States(bits.to_bits()))
    }

    fn states(&self) -> &'static [String] {
        self.states
    }
}

impl Default for StateSet {
    fn default() -> Self {
        Self::private(None, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_gauges_go_up_and_down() {
        let gauge = Gauge::default();
        gauge.set(5);
        gauge.inc();
        gauge.dec();
        gauge.add(-7);
        gauge.sub(1);
        assert_eq!(gauge.value(), -3);
        let gauge = FloatGauge::default();
        gauge.set(1.5);
        gauge.add(f64::NAN);
        gauge.sub(0.5);
        assert_eq!(gauge.value(), 1.0);
        let gauge = DurationGauge::default();
        gauge.set(Duration::from_millis(1500));
        gauge.sub(Duration::from_secs(2));
        assert_eq!(gauge.value(), -0.5);
    }

    #[test]
    fn an_unknown_state_is_ignored() {
        assert!(!StateSet::default().set("ready"));
    }
}
