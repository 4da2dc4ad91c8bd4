//! The exceptions of `dyn_metrics.errors`, raised from Rust.

use std::fmt::Display;

use dyn_metrics::Error;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

macro_rules! exceptions {
    ($($function:ident $class:literal;)*) => {$(
        #[doc = concat!("An `errors.", $class, "`.")]
        pub(crate) fn $function(py: Python<'_>, text: impl Display) -> PyErr {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            match CLASS.import(py, "dyn_metrics.errors", $class) {
                Ok(class) => PyErr::from_type(class.clone(), text.to_string()),
                Err(error) => error,
            }
        }
    )*};
}

exceptions! {
    invalid_value "InvalidValueError";
    invalid_type "InvalidTypeError";
    conflict "ConflictError";
}

macro_rules! segment_exceptions {
    ($($function:ident $class:literal;)*) => {$(
        fn $function(py: Python<'_>, errno: i32, text: String) -> PyErr {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            match CLASS.import(py, "dyn_metrics.errors", $class) {
                Ok(class) => PyErr::from_type(class.clone(), (errno, text)),
                Err(error) => error,
            }
        }
    )*};
}

segment_exceptions! {
    segment "SegmentError";
    not_found "SegmentNotFoundError";
    permission "SegmentPermissionError";
    full "SegmentFullError";
    busy "SegmentBusyError";
}

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const EACCES: i32 = 13;
const EBUSY: i32 = 16;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;

/// The exception for `error`, which concerns `metric`, if any: its name is in the text in any case.
pub(crate) fn raise(py: Python<'_>, error: &Error, metric: Option<&str>) -> PyErr {
    let mut text = error.to_string();
    if let Some(metric) = metric.filter(|metric| !text.contains(&shortened(metric))) {
        text = format!("metric \"{}\": {text}", shortened(metric));
    }
    match error {
        Error::Conflict { .. } | Error::Clash { .. } => conflict(py, text),
        Error::NoDirectory { .. } => not_found(py, ENOENT, text),
        Error::Permission { .. } | Error::Owner { .. } => permission(py, EACCES, text),
        Error::Full { .. } => full(py, ENOSPC, text),
        Error::InUse { .. } | Error::Busy { .. } => busy(py, EBUSY, text),
        Error::Io { source, .. } => {
            let errno = source.raw_os_error().unwrap_or(EIO);
            match errno {
                ENOENT => not_found(py, errno, text),
                EACCES => permission(py, errno, text),
                ENOSPC => full(py, errno, text),
                _ => segment(py, errno, text),
            }
        }
        Error::Thread { source, .. } => segment(py, source.raw_os_error().unwrap_or(EIO), text),
        Error::NotRegular { .. } | Error::Links { .. } | Error::Filesystem { .. } | Error::Format { .. } => {
            segment(py, EINVAL, text)
        }
        Error::Damaged { .. } => segment(py, EIO, text),
        _ => invalid_value(py, text),
    }
}

/// The exception for a segment that is not where it was.
pub(crate) fn segment_not_found(py: Python<'_>, text: String) -> PyErr {
    not_found(py, ENOENT, text)
}

/// The exception for something that other threads don't let go of.
pub(crate) fn segment_busy(py: Python<'_>, text: String) -> PyErr {
    busy(py, EBUSY, text)
}

/// As much of a name as the texts of errors show at least.
pub(crate) fn shortened(name: &str) -> String {
    name.chars().take(64).collect()
}
