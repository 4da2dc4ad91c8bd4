//! Refuses sub-interpreters: classes and cached objects here are those of one interpreter.
#![allow(unsafe_code, reason = "PyO3 has no safe way to ask which interpreter this is")]

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Number of the interpreter that a process begins with.
const MAIN: i64 = 0;

/// An ImportError in any but the main interpreter; before anything of this module is made.
pub(crate) fn check(_py: Python<'_>) -> PyResult<()> {
    // SAFETY: the thread is attached, as the token says.
    let state = unsafe { ffi::PyInterpreterState_Get() };
    // SAFETY: this thread's interpreter, which is there as long as it runs.
    if unsafe { ffi::PyInterpreterState_GetID(state) } == MAIN {
        return Ok(());
    }
    let expected = "expected the main one; use processes, which share the segment";
    Err(PyImportError::new_err(format!("dyn_metrics: found a sub-interpreter, {expected}")))
}
