//! Reading back what was counted, and what a metric is registered as.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::sync::atomic::Ordering;

use dyn_metrics::Kind;
use dyn_metrics::raw::{self, Representation};

use crate::described::Described;
use crate::handles::{dynm_metric, object};
use crate::input::{give, not_null};
use crate::metric::Handle;
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{dynm_description, dynm_value};
use crate::update::wrong_type;

fn value_of(handle: &Handle) -> dynm_value {
    let none = dynm_value::default();
    let number = |number: f64, integer: i64| dynm_value { number, integer, ..none };
    match handle {
        Handle::DYNM_COUNTER_U64(counter) => number(counter.value() as f64, counter.value() as i64),
        Handle::DYNM_COUNTER_F64(counter) => number(counter.value(), 0),
        Handle::DYNM_COUNTER_NS(counter) => {
            let time = counter.value();
            number(time.as_secs_f64(), time.as_nanos() as i64)
        }
        Handle::DYNM_GAUGE_I64(gauge) => number(gauge.value() as f64, gauge.value()),
        Handle::DYNM_GAUGE_F64(gauge) => number(gauge.value(), 0),
        Handle::DYNM_GAUGE_NS(gauge) => {
            let time = raw::value(gauge, Representation::Nanoseconds);
            number(time.as_f64(), time.to_bits() as i64)
        }
        Handle::DYNM_TALLY(tally) => dynm_value { count: tally.count(), sum: tally.sum(), ..none },
        Handle::DYNM_HISTOGRAM(histogram) => {
            dynm_value { count: histogram.count(), sum: histogram.sum(), ..none }
        }
        Handle::DYNM_INFO(_) => number(1.0, 1),
        Handle::DYNM_STATE_SET(set) => {
            let bit = |(at, state): (usize, &String)| u64::from(set.is_on(state)) << at;
            dynm_value { states: set.states().iter().enumerate().map(bit).sum(), ..none }
        }
    }
}

/// Reads a metric's value: of counters, tallies and histograms the total over all processes, as far as it was
/// counted in the metric's own numbers; of gauges and state sets this process's.
///
/// Requires: a metric; `value->struct_size` set. Guarantees: relaxed reads, no point in time; a total never
/// falls. Threads: any. Signals: no. Cost: a read for each CPU and bucket; system calls when blocks of other
/// processes are seen for the first time. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OPTION (struct_size).
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_metric_value(
    metric: *const dynm_metric,
    value: *mut dynm_value,
) -> dynm_status {
    edge(|| {
        let metric = object(metric)?;
        not_null(value, "value")?;
        give(&value_of(&metric.handle), value, "value")
    })
}

/// Reads the buckets of a DYNM_HISTOGRAM, not cumulative, the last one +Inf's, over all processes.
///
/// Requires: a histogram; room for `count` numbers at `buckets`. Guarantees: writes at most `count` numbers,
/// and to `*needed`, unless that is NULL, how many there are. Threads: any. Signals: no. Cost: as
/// dynm_metric_value(). Errors: DYNM_NULL, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_histogram_buckets(
    metric: *const dynm_metric,
    buckets: *mut u64,
    count: usize,
    needed: *mut usize,
) -> dynm_status {
    edge(|| {
        let Handle::DYNM_HISTOGRAM(histogram) = &object(metric)?.handle else { return wrong_type() };
        let read = histogram.buckets();
        if count > 0 {
            not_null(buckets, "buckets")?;
            // SAFETY: not null, and the caller promises room for `count`.
            unsafe { buckets.copy_from_nonoverlapping(read.as_ptr(), read.len().min(count)) };
        }
        if !needed.is_null() {
            // SAFETY: not null, and the caller promises that it may be written.
            unsafe { needed.write(read.len()) };
        }
        Ok(())
    })
}

/// The texts of a metric: made once, by whichever thread is first.
fn described(metric: &'static dynm_metric) -> Result<&'static Described> {
    // SAFETY: null or leaked below.
    if let Some(known) = unsafe { metric.described.load(Ordering::Acquire).as_ref() } {
        return Ok(known);
    }
    let Some(made) = Described::new(&metric.handle) else {
        return failure(
            dynm_status::DYNM_NOT_SEGMENT,
            c"the metric's record in the segment is damaged; start afresh",
        );
    };
    let (raw, none) = (Box::into_raw(Box::new(made)), std::ptr::null_mut());
    let kept = match metric.described.compare_exchange(none, raw, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => raw,
        Err(other) => {
            // SAFETY: made above, and published nowhere.
            drop(unsafe { Box::from_raw(raw) });
            other
        }
    };
    // SAFETY: published, and never freed.
    Ok(unsafe { &*kept })
}

/// What a metric is registered as: type, kind, name, help, unit, labels, bounds, states.
///
/// Requires: a metric; `out->struct_size` set. Guarantees: what `*out` points to belongs to the library and
/// stays for ever; name, help, unit and labels of a private metric are empty. Threads: any. Signals: no.
/// Cost: memory at the first call for a metric, then a copy.
/// Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OPTION (struct_size), DYNM_NOT_SEGMENT (damaged).
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_metric_describe(
    metric: *const dynm_metric,
    out: *mut dynm_description,
) -> dynm_status {
    edge(|| {
        let metric = object(metric)?;
        not_null(out, "out")?;
        let Described { description, name, help, unit, labels, bounds, states } = described(metric)?;
        let is_gauge = matches!(description.kind, Kind::Gauge | Kind::StateSet);
        let view = dynm_description {
            struct_size: 0,
            metric_type: metric.metric_type as u32,
            kind: description.kind as u32,
            mode: if is_gauge { description.mode as u32 } else { 0 },
            level: description.level.into(),
            name: name.as_ptr(),
            help: help.as_ptr(),
            unit: unit.as_ptr(),
            labels: labels.list().as_ptr(),
            label_count: labels.list().len(),
            bounds: bounds.as_ptr(),
            bound_count: bounds.len(),
            states: states.list().as_ptr(),
            state_count: states.list().len(),
        };
        give(&view, out, "out")
    })
}
