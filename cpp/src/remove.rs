//! Removal of series.

use crate::family::with_texts;
use crate::handles::{dynm_family, dynm_metric, dynm_registry, open};
use crate::input::{labels, list, store, text};
use crate::status::{dynm_status, edge, failure};
use crate::types::{dynm_label, dynm_str};
use std::ffi::c_char;

/// Removes the series with this name and exactly these labels, of whatever type, beside the registry's prefix and
/// labels.
///
/// Requires: a registry; `name` NUL-terminated; `labels` a list of `label_count`; `removed` not NULL. Guarantees:
/// `*removed` is 1 when there was one, else 0. It is shown in no process any more; whoever asks for its labels
/// again gets a new series, which begins at 0. Metrics of it that are held stay valid, and what they count is lost.
/// Its space in the segment is not used again. A process that dies meanwhile has removed the series or left it.
/// Threads: any. Signals: no. Cost: a search, system calls when the segment was replaced. Errors: DYNM_NULL,
/// DYNM_CLOSED, DYNM_UTF8, DYNM_LABELS, DYNM_OPTION (too long), DYNM_UNSUPPORTED (a registry that can't),
/// DYNM_NOT_SEGMENT, DYNM_IO.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_remove(
    registry: *const dynm_registry,
    name: *const c_char,
    labels: *const dynm_label,
    label_count: usize,
    removed: *mut i32,
) -> dynm_status {
    edge(|| {
        store(removed, 0, "removed")?;
        let (registry, name) = (open(registry)?, text(name, "name")?);
        let found = registry.registry.remove(name, &self::labels(labels, label_count, "labels")?)?;
        store(removed, found.into(), "removed")
    })
}

/// Removes the series of a family with these label values, in the order of the family's label names.
///
/// Requires: a family; `values` a list of `value_count`; `removed` not NULL. Guarantees, Threads, Signals, Cost,
/// Errors: as dynm_remove().
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_remove(
    family: *const dynm_family,
    values: *const dynm_str,
    value_count: usize,
    removed: *mut i32,
) -> dynm_status {
    edge(|| {
        store(removed, 0, "removed")?;
        let family = open(family)?;
        let found =
            with_texts(list(values, value_count, "values")?, |values| Ok(family.families.remove(values)?))?;
        store(removed, found.into(), "removed")
    })
}

/// Whether the series of a metric was removed, or is about to be: its updates count for nobody then.
///
/// Requires: a metric; `removed` not NULL. Guarantees: `*removed` is 1 or 0; 0 of a private metric. A call is a full
/// memory fence. Threads: any. Signals: yes. Cost: small. Errors: DYNM_NULL, DYNM_WRONG_TYPE.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_is_removed(metric: *const dynm_metric, removed: *mut i32) -> dynm_status {
    edge(|| {
        store(removed, 0, "removed")?;
        let is_removed = crate::handles::object(metric)?.handle.is_removed();
        store(removed, is_removed.into(), "removed")
    })
}

/// The word that grows whenever a series of a family is removed, before it is gone: for callers that remember
/// metrics by their label values. While it is what it was, all that they remember count; when it isn't,
/// dynm_is_removed() says which don't.
///
/// Requires: a family; `number` from dynm_family_look_up(); `removals` not NULL. Guarantees: `*removals` is valid for
/// ever, and any process changes what it points to: read it atomically. Threads: any. Signals: yes. Cost: small.
/// Errors: DYNM_NULL, DYNM_CLOSED, DYNM_WRONG_TYPE; DYNM_NOT_FOUND when the family has moved on to another segment,
/// with `*removals` NULL.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_family_removals(
    family: *const dynm_family,
    number: u64,
    removals: *mut *const u64,
) -> dynm_status {
    edge(|| {
        store(removals, std::ptr::null(), "removals")?;
        match open(family)?.families.removals(number) {
            Some(word) => store(removals, std::ptr::from_ref(word).cast(), "removals"),
            None => failure(dynm_status::DYNM_NOT_FOUND, c"the family has moved on to another segment"),
        }
    })
}
