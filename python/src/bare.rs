//! What a call costs that does nothing; for benches.

use pyo3::prelude::*;

/// Has a method that does nothing.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct Bare;

#[pymethods]
impl Bare {
    #[new]
    fn new() -> Self {
        Self
    }

    /// Nothing, without arguments.
    fn nothing(&self) {}

    /// Nothing, with an argument that may be absent.
    #[pyo3(signature = (amount=None))]
    fn nothing_of(&self, amount: Option<&Bound<'_, PyAny>>) {
        let _ = amount;
    }
}
