//! Versions and features.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::ffi::{CStr, c_char};
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::handles::c_text;
use crate::types::DYNM_ABI_LEVEL;

/// What [`dynm_has_feature`] answers with 1.
const FEATURES: &[&CStr] = &[
    c"counter",
    c"gauge",
    c"histogram",
    c"tally",
    c"info",
    c"state_set",
    c"family",
    c"child",
    c"visit",
    c"render",
    c"cells",
    c"fork",
    c"remove",
    #[cfg(feature = "system")]
    c"system",
];

/// The library's version: "0.1.0".
///
/// Guarantees: never NULL; static. Threads, signals: any. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// The level of the ABI that the library has; see DYNM_ABI_LEVEL.
///
/// Guarantees: a header of this level or a lower one works. Threads, signals: any. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_abi_version() -> u32 {
    DYNM_ABI_LEVEL
}

/// Whether the library can do something: "counter", "gauge", "histogram", "tally", "info", "state_set",
/// "family", "child", "visit", "render", "cells", "fork", "remove", "system". 1 or 0; 0 for what it doesn't know, and for
/// NULL.
///
/// Requires: NULL or a NUL-terminated text. Threads, signals: any. Errors: none.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_has_feature(name: *const c_char) -> i32 {
    if name.is_null() {
        return 0;
    }
    // SAFETY: not null; a NUL-terminated text, as the caller promises.
    let name = unsafe { CStr::from_ptr(name) };
    i32::from(FEATURES.contains(&name))
}

/// Which path updates take in this process, and why: "rseq", or "shared: " and the reason.
///
/// Guarantees: never NULL; belongs to the library and stays for ever; decided once. Threads: any. Signals:
/// no. Cost: memory at the first call. Errors: none.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_update_path() -> *const c_char {
    static PATH: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
    let known = PATH.load(Ordering::Acquire);
    if !known.is_null() {
        return known;
    }
    let Ok(path) = std::panic::catch_unwind(dyn_metrics::update_path) else { return c"unknown".as_ptr() };
    let made = c_text(&path).into_raw();
    let none = std::ptr::null_mut();
    match PATH.compare_exchange(none, made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(other) => {
            // SAFETY: made by into_raw above, and published nowhere.
            drop(unsafe { std::ffi::CString::from_raw(made) });
            other
        }
    }
}
