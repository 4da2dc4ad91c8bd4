//! Updates.

use std::ffi::c_char;
use std::time::Duration;

use dyn_metrics::raw::{self, Number};

use crate::handles::{dynm_metric, object};
use crate::input::text;
use crate::metric::Handle;
use crate::status::{Result, dynm_status, edge, failure};

/// The metric is of another type than the function is for.
#[cold]
pub(crate) fn wrong_type<T>() -> Result<T> {
    failure(
        dynm_status::DYNM_WRONG_TYPE,
        c"the metric is of another type than this function is for; see its dynm_type",
    )
}

/// Runs `update` on what `metric` leads to.
#[inline(always)]
fn update(metric: *const dynm_metric, update: impl FnOnce(&'static Handle) -> Result<()>) -> dynm_status {
    edge(|| update(&object(metric)?.handle))
}

/// Adds 1 to a DYNM_COUNTER_U64 or DYNM_COUNTER_F64.
///
/// Requires: a metric of such a type, or NULL. Guarantees: one restartable add in this CPU's cell, or an
/// atomic one; relaxed; the total of all processes grows by it, whatever happens to this one. No system call
/// once the CPU has its cell. Threads: any. Signals: yes. After fork: yes. Cost: some nanoseconds. Errors:
/// DYNM_NULL, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_counter_inc(metric: *const dynm_metric) -> dynm_status {
    update(metric, |handle| {
        match handle {
            Handle::DYNM_COUNTER_U64(counter) => counter.inc(),
            Handle::DYNM_COUNTER_F64(counter) => counter.inc(),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// Adds `n` events to a DYNM_COUNTER_U64; the total wraps at 2^64.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_counter_inc().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_counter_add_u64(metric: *const dynm_metric, n: u64) -> dynm_status {
    update(metric, |handle| {
        match handle {
            Handle::DYNM_COUNTER_U64(counter) => counter.inc_by(n),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// Adds `amount` to a DYNM_COUNTER_F64. Negative, infinite and NaN amounts are dropped and counted
/// (`dyn_metrics_updates_dropped_total`), with DYNM_OK.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_counter_inc().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_counter_add_f64(metric: *const dynm_metric, amount: f64) -> dynm_status {
    update(metric, |handle| {
        match handle {
            Handle::DYNM_COUNTER_F64(counter) => counter.inc_by(amount),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// Adds time to a DYNM_COUNTER_NS; the total wraps at 584 years.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_counter_inc().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_counter_add_ns(metric: *const dynm_metric, nanoseconds: u64) -> dynm_status {
    update(metric, |handle| {
        match handle {
            Handle::DYNM_COUNTER_NS(counter) => counter.inc_by(Duration::from_nanos(nanoseconds)),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// Observes `value` in a DYNM_TALLY or DYNM_HISTOGRAM. NaN is dropped and counted; infinite values count but
/// stay out of the sum; a value equal to a bound belongs to that bound's bucket.
///
/// Guarantees: the +Inf bucket always equals the count; the sum may trail by what is in flight.
/// Requires, Threads, Signals, Cost, Errors: as dynm_counter_inc(), two adds.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_observe(metric: *const dynm_metric, value: f64) -> dynm_status {
    update(metric, |handle| {
        match handle {
            Handle::DYNM_HISTOGRAM(histogram) => histogram.observe(value),
            Handle::DYNM_TALLY(tally) => tally.observe(value),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// Observes `value` `count` times at once in a DYNM_HISTOGRAM.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_observe().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_observe_n(metric: *const dynm_metric, value: f64, count: u64) -> dynm_status {
    update(metric, |handle| {
        match handle {
            Handle::DYNM_HISTOGRAM(histogram) => histogram.observe_n(value, count),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// The number for a gauge of its own type.
#[inline]
fn of_type(handle: &Handle, number: Number) -> bool {
    matches!(
        (handle, number),
        (Handle::DYNM_GAUGE_I64(_), Number::Integer(_))
            | (Handle::DYNM_GAUGE_F64(_), Number::Float(_))
            | (Handle::DYNM_GAUGE_NS(_), Number::Nanoseconds(_))
    )
}

#[inline(always)]
fn set(metric: *const dynm_metric, number: Number) -> dynm_status {
    update(metric, |handle| {
        match handle {
            _ if !of_type(handle, number) => return wrong_type(),
            Handle::DYNM_GAUGE_I64(gauge) => raw::set(gauge, number),
            Handle::DYNM_GAUGE_F64(gauge) => raw::set(gauge, number),
            Handle::DYNM_GAUGE_NS(gauge) => raw::set(gauge, number),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

#[inline(always)]
fn add(metric: *const dynm_metric, number: Number) -> dynm_status {
    update(metric, |handle| {
        match (handle, number) {
            _ if !of_type(handle, number) => return wrong_type(),
            (Handle::DYNM_GAUGE_I64(gauge), _) => raw::add(gauge, number),
            (Handle::DYNM_GAUGE_F64(gauge), Number::Float(amount)) => gauge.add(amount), // NaN is counted there
            (Handle::DYNM_GAUGE_NS(gauge), _) => raw::add(gauge, number),
            _ => return wrong_type(),
        }
        Ok(())
    })
}

/// Sets this process's value of a DYNM_GAUGE_I64.
///
/// Requires: a metric of that type, or NULL. Guarantees: one store in this process's cell, relaxed; in modes
/// "mostrecent" a second one with the time. The first update, and the first after a fork, claims the cell.
/// Threads: any. Signals: yes. Cost: some nanoseconds, no system call once the process has its cell. Errors:
/// DYNM_NULL, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_gauge_set_i64(metric: *const dynm_metric, value: i64) -> dynm_status {
    set(metric, Number::Integer(value))
}

/// Sets this process's value of a DYNM_GAUGE_F64.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_gauge_set_f64(metric: *const dynm_metric, value: f64) -> dynm_status {
    set(metric, Number::Float(value))
}

/// Sets this process's value of a DYNM_GAUGE_NS.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_gauge_set_ns(metric: *const dynm_metric, nanoseconds: i64) -> dynm_status {
    set(metric, Number::Nanoseconds(nanoseconds))
}

/// Adds to this process's value of a DYNM_GAUGE_I64, which wraps; negative amounts subtract.
///
/// Guarantees: one atomic addition. Requires, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_gauge_add_i64(metric: *const dynm_metric, n: i64) -> dynm_status {
    add(metric, Number::Integer(n))
}

/// Adds to this process's value of a DYNM_GAUGE_F64; NaN is dropped and counted.
///
/// Guarantees: one atomic addition. Requires, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_gauge_add_f64(metric: *const dynm_metric, amount: f64) -> dynm_status {
    add(metric, Number::Float(amount))
}

/// Adds to this process's value of a DYNM_GAUGE_NS.
///
/// Guarantees: one atomic addition. Requires, Threads, Signals, Cost, Errors: as dynm_gauge_set_i64().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_gauge_add_ns(metric: *const dynm_metric, nanoseconds: i64) -> dynm_status {
    add(metric, Number::Nanoseconds(nanoseconds))
}

/// Runs `change` with the set and the state's name; it says whether the set has that state.
fn state(
    metric: *const dynm_metric,
    state: *const c_char,
    change: impl FnOnce(&dyn_metrics::StateSet, &str) -> bool,
) -> dynm_status {
    update(metric, |handle| {
        let Handle::DYNM_STATE_SET(set) = handle else { return wrong_type() };
        let state = text(state, "state")?;
        if change(set, state) {
            return Ok(());
        }
        let message = format!("found no state {state:?}, expected one of {:?}", set.states());
        failure(dynm_status::DYNM_NOT_FOUND, message)
    })
}

/// Switches `name` on and all other states of a DYNM_STATE_SET off, in this process.
///
/// Requires: a metric of that type, or NULL; `name` one of its states. Guarantees: one atomic change of all
/// bits. Threads: any. Signals: yes, with a known state. Cost: as dynm_gauge_add_i64(), and a search of the
/// states. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_NOT_FOUND.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_state_set(metric: *const dynm_metric, name: *const c_char) -> dynm_status {
    state(metric, name, dyn_metrics::StateSet::set)
}

/// Switches `name` on (`on` not 0) or off; the other states stay.
///
/// Requires, Guarantees, Threads, Signals, Cost, Errors: as dynm_state_set().
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_state_switch(
    metric: *const dynm_metric,
    name: *const c_char,
    on: i32,
) -> dynm_status {
    let change = if on == 0 { dyn_metrics::StateSet::disable } else { dyn_metrics::StateSet::enable };
    state(metric, name, change)
}
