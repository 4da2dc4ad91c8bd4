//! What a header needs to update cells without a call, and the cold paths of such updates.

use dyn_metrics::raw::{self, Statistic};

use crate::handles::{dynm_metric, object};
use crate::input::store;
use crate::metric::Handle;
use crate::registry::check_level;
use crate::status::{dynm_status, edge};
use crate::types::{dynm_buckets, dynm_cells, dynm_gauge_cell};
use crate::update::wrong_type;

/// Why a value was not counted as it was given; for dynm_cells_dropped().
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum dynm_dropped {
    /// NaN, or an infinite amount for a counter.
    DYNM_DROPPED_NAN = 5,
    /// A negative amount for a counter.
    DYNM_DROPPED_NEGATIVE = 6,
    /// An infinite observation: counted, and left out of the sum.
    DYNM_DROPPED_INFINITE = 14,
}

const _: () = {
    assert!(Statistic::DroppedNan as u32 == dynm_dropped::DYNM_DROPPED_NAN as u32);
    assert!(Statistic::DroppedNegative as u32 == dynm_dropped::DYNM_DROPPED_NEGATIVE as u32);
    assert!(Statistic::InfiniteObservations as u32 == dynm_dropped::DYNM_DROPPED_INFINITE as u32);
};

/// The cells of a counter, tally or histogram.
///
/// Requires: such a metric; `level` the DYNM_ABI_LEVEL that the caller was compiled with; `cells` not NULL.
/// Guarantees: `*cells` is valid until the process ends, in forked children too; on failure it is all zero.
/// Threads: any. Signals: yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OLD_LIBRARY.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_metric_cells(
    metric: *const dynm_metric,
    level: u32,
    cells: *mut dynm_cells,
) -> dynm_status {
    edge(|| {
        let (nothing, nowhere) = (std::ptr::null(), std::ptr::null_mut());
        let none = dynm_cells { entries: nothing, packed: 0, shared: nowhere, cold: std::ptr::null() };
        store(cells, none, "cells")?;
        check_level(level)?;
        let Some(raw) = object(metric)?.handle.cells() else { return wrong_type() };
        let raw::RawCells { entries, packed, shared, cold } = raw;
        let shared = shared.cast_mut().cast();
        store(cells, dynm_cells { entries: entries.cast(), packed, shared, cold: cold.cast() }, "cells")
    })
}

/// The buckets of a histogram.
///
/// Requires: a histogram; `level` the DYNM_ABI_LEVEL that the caller was compiled with; `buckets` not NULL.
/// Guarantees: what `*buckets` points to belongs to the library and stays for ever. Threads: any. Signals:
/// yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OLD_LIBRARY.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_metric_buckets(
    metric: *const dynm_metric,
    level: u32,
    buckets: *mut dynm_buckets,
) -> dynm_status {
    edge(|| {
        check_level(level)?;
        let Handle::DYNM_HISTOGRAM(histogram) = &object(metric)?.handle else { return wrong_type() };
        let Some(raw) = raw::buckets(histogram) else { return wrong_type() };
        let view = dynm_buckets {
            below: if raw.below.is_empty() { std::ptr::null() } else { raw.below.as_ptr() },
            padded: raw.padded.as_ptr(),
            first: raw.first,
            last: raw.last,
            shift: raw.shift,
            bound_count: histogram.bounds().len() as u32,
        };
        store(buckets, view, "buckets")
    })
}

/// Where a gauge's value is.
///
/// Requires: a gauge of any type; `level` the DYNM_ABI_LEVEL that the caller was compiled with; `cell` not
/// NULL. Guarantees: `*cell` is valid until the process ends, in forked children too. Threads: any. Signals:
/// yes. Cost: a copy. Errors: DYNM_NULL, DYNM_WRONG_TYPE, DYNM_OLD_LIBRARY.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_metric_gauge_cell(
    metric: *const dynm_metric,
    level: u32,
    cell: *mut dynm_gauge_cell,
) -> dynm_status {
    edge(|| {
        check_level(level)?;
        let handle = &object(metric)?.handle;
        match handle.gauge() {
            Some(own) if !matches!(handle, Handle::DYNM_STATE_SET(_)) => {
                store(cell, dynm_gauge_cell { own: std::ptr::from_ref(own).cast() }, "cell")
            }
            _ => wrong_type(),
        }
    })
}

/// What `cells` has for the cold path; none of zeroed ones.
fn cold(cells: *const dynm_cells) -> Option<*const ()> {
    // SAFETY: null, or cells that the caller of the C function promises.
    let cells = unsafe { cells.as_ref() }?;
    (!cells.cold.is_null()).then(|| cells.cold.cast())
}

/// Adds `n` to word `index` where the hot path could not, and gives this CPU a cell for the next time.
///
/// Requires: `cells` from dynm_metric_cells(), or zeroed, or NULL; a word that is no double. Guarantees: an
/// atomic addition in the shared block; a word beyond the series' is ignored; zeroed cells too. Keeps errno.
/// Threads: any. Signals: yes. Cost: an atomic addition; system calls when the CPU's block is made. Errors:
/// none.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_cells_add_u64_cold(cells: *const dynm_cells, index: u32, n: u64) {
    let _ = edge(|| {
        if let Some(cold) = cold(cells) {
            // SAFETY: from dynm_metric_cells, as the caller promises.
            unsafe { raw::add_u64_cold(cold, index as usize, n) };
        }
        Ok(())
    });
}

/// As dynm_cells_add_u64_cold(), for words that are doubles.
///
/// # Safety
/// As there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_cells_add_f64_cold(cells: *const dynm_cells, index: u32, x: f64) {
    let _ = edge(|| {
        if let Some(cold) = cold(cells) {
            // SAFETY: from dynm_metric_cells, as the caller promises.
            unsafe { raw::add_f64_cold(cold, index as usize, x) };
        }
        Ok(())
    });
}

/// Counts a value that an update dropped or left out of a sum.
///
/// Requires: `cells` from dynm_metric_cells(), or zeroed, or NULL; `why` a dynm_dropped. Guarantees: one
/// atomic addition in the segment's header; other numbers are ignored. Threads: any. Signals: yes. Cost:
/// small. Errors: none.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_cells_dropped(cells: *const dynm_cells, why: u32) {
    const EVERY: [(dynm_dropped, Statistic); 3] = [
        (dynm_dropped::DYNM_DROPPED_NAN, Statistic::DroppedNan),
        (dynm_dropped::DYNM_DROPPED_NEGATIVE, Statistic::DroppedNegative),
        (dynm_dropped::DYNM_DROPPED_INFINITE, Statistic::InfiniteObservations),
    ];
    let _ = edge(|| {
        let known = EVERY.iter().find(|(known, _)| *known as u32 == why);
        if let (Some(cold), Some((_, statistic))) = (cold(cells), known) {
            // SAFETY: from dynm_metric_cells, as the caller promises.
            unsafe { raw::count_cold(cold, *statistic) };
        }
        Ok(())
    });
}
