//! Families, and their series by label values.

use std::ffi::c_char;

use dyn_metrics::raw;

use crate::handles::{close, dynm_family, dynm_metric, dynm_registry, object, open, opened};
use crate::input::{list, sized, store, str_text, texts};
use crate::metric::{Families, opts, type_of};
use crate::status::{Result, dynm_status, edge, failure};
use crate::types::{dynm_metric_options, dynm_str};

/// Finds or registers a family, whose series differ in the values of `label_names`.
///
/// Requires: `registry` a registry; `options` from dynm_metric_options_init(); `label_names` a list of
/// `label_name_count`; `family` not NULL. Guarantees: the same arguments give the same family, as long as the
/// segment isn't replaced, and each call wants its dynm_family_close(). On failure `*family` is NULL;
/// dynm_private() gives what stands for its series. Threads: any. Signals: no. Cost: system calls, memory.
/// Errors: as dynm_register().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_register_family(
    registry: *const dynm_registry,
    options: *const dynm_metric_options,
    label_names: *const *const c_char,
    label_name_count: usize,
    family: *mut *const dynm_family,
) -> dynm_status {
    edge(|| {
        store(family, std::ptr::null(), "family")?;
        let (registry, options) = (open(registry)?, sized(options, "options")?);
        let metric_type = type_of(options.metric_type)?;
        let opts = opts(&options)?;
        let names = texts(label_names, label_name_count, "label_names")?;
        // After a replacement of the segment it is another family: what one has handed out stays in the old segment.
        let segment = raw::segment(&registry.registry)?;
        let key = format!("{segment:x} {metric_type:?} {opts:?} {names:?}");
        let make = || {
            let families = Families::new(&registry.registry, metric_type, &opts, &names)?;
            Ok(dynm_family::new(key.clone(), metric_type, families))
        };
        let found = registry.families.find_or_push(|known| known.key == key, make)?;
        store(family, opened(found), "family")
    })
}

/// The series of a family that is open; found or made.
fn series(family: *const dynm_family, values: &[&str]) -> Result<*const dynm_metric> {
    let family = open(family)?;
    Ok(dynm_metric::of(family.families.with(values)?, family.metric_type))
}

/// The texts of `values`, without memory for up to eight of them.
pub(crate) fn with_texts<T>(values: &[dynm_str], then: impl FnOnce(&[&str]) -> Result<T>) -> Result<T> {
    let mut few = [""; 8];
    if let Some(texts) = few.get_mut(..values.len()) {
        for (text, value) in texts.iter_mut().zip(values) {
            *text = str_text(*value, "values")?;
        }
        return then(texts);
    }
    let values: Result<Vec<_>> = values.iter().map(|value| str_text(*value, "values")).collect();
    then(&values?)
}

/// Stores what was found, or else a private metric of the family's type.
fn store_series(
    family: *const dynm_family,
    found: Result<*const dynm_metric>,
    metric: *mut *const dynm_metric,
) -> Result<()> {
    if let (Err(_), Ok(family)) = (&found, object(family)) {
        let private = dynm_metric::private(family.metric_type, || family.families.private());
        store(metric, private, "metric")?;
    }
    store(metric, found?, "metric")
}

/// The series with these label values, in the order of the family's label names; found or made.
///
/// Requires: `family` a family; `values` a list of `value_count`, each NUL-terminated; `metric` not NULL.
/// Guarantees: as dynm_register(); at the family's limit the series whose values are `__overflow__`. On
/// failure, also after the family's close, `*metric` is a metric of the family's type in this process alone,
/// as from dynm_private(); NULL when `family` is NULL or none. Threads: any; those that ask for series that
/// exist don't disturb each other. Signals: no. Cost: a look-up without lock or system call when it was asked
/// for before, else a registration. Errors: DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE, DYNM_UTF8, DYNM_LABELS,
/// DYNM_OPTION (too long), DYNM_FULL, DYNM_NOT_SEGMENT, DYNM_IO.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_with(
    family: *const dynm_family,
    values: *const *const c_char,
    value_count: usize,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let found = texts(values, value_count, "values").and_then(|values| series(family, &values));
        store_series(family, found, metric)
    })
}

/// As dynm_family_with(), for texts with their lengths.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_with_str(
    family: *const dynm_family,
    values: *const dynm_str,
    value_count: usize,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let found = list(values, value_count, "values")
            .and_then(|values| with_texts(values, |values| series(family, values)));
        store_series(family, found, metric)
    })
}

/// As dynm_family_with_str(), for callers that remember metrics by their label values.
///
/// Requires: as there; `number` not NULL. Guarantees: on failure `*metric` is the same private metric at every
/// failure of the family, so that memory doesn't grow with such look-ups. `*number` is 0 when the metric must
/// not be remembered for these values: it is private, or stands for all beyond the family's limit. Otherwise it
/// is the number of the segment, from 1 on: a higher one than before says that the family has moved to a new
/// segment, since the old one was replaced, and that what was remembered with a lower one is to be forgotten.
/// Threads, Signals, Errors: as there. Cost: two look-ups.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_look_up(
    family: *const dynm_family,
    values: *const dynm_str,
    value_count: usize,
    metric: *mut *const dynm_metric,
    number: *mut u64,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        store(number, 0, "number")?;
        let found = list(values, value_count, "values").and_then(|values| {
            with_texts(values, |values| {
                let family = open(family)?;
                let (handle, of_segment) = family.families.look_up(values)?;
                store(number, of_segment, "number")?;
                Ok(dynm_metric::of(handle, family.metric_type))
            })
        });
        if let (Err(_), Ok(family)) = (&found, object(family)) {
            store(metric, family.instead(), "metric")?;
        }
        store(metric, found?, "metric")
    })
}

/// As dynm_family_with(), but makes no series; on failure `*metric` is NULL.
///
/// Errors: as there, and DYNM_NOT_FOUND.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_find(
    family: *const dynm_family,
    values: *const *const c_char,
    value_count: usize,
    metric: *mut *const dynm_metric,
) -> dynm_status {
    edge(|| {
        store(metric, std::ptr::null(), "metric")?;
        let (values, family) = (texts(values, value_count, "values")?, open(family)?);
        match family.families.get(&values) {
            Some(handle) => store(metric, dynm_metric::of(handle, family.metric_type), "metric"),
            None => failure(dynm_status::DYNM_NOT_FOUND, c"no series with these label values is registered"),
        }
    })
}

/// Ends look-ups through a family, once for each registration of it.
///
/// Requires: a family. Guarantees: after the last close its use gives DYNM_CLOSED; its series stay, and so do
/// their handles. Registered again it is the same family, so memory doesn't grow. Threads: any, also while
/// others use it. Signals: yes. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_CLOSED.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_close(family: *const dynm_family) -> dynm_status {
    edge(|| close(family))
}
