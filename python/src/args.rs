//! Texts, names and numbers from Python, checked.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyFloat, PyInt, PyString};

use crate::errors::{invalid_type, invalid_value};

/// Name of an object's type, for errors.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// The text `object`, which is `what` of `metric`.
pub(crate) fn text(object: &Bound<'_, PyAny>, what: &str, metric: &str) -> PyResult<String> {
    let py = object.py();
    let Ok(string) = object.cast::<PyString>() else {
        let found = type_name(object);
        return Err(invalid_type(py, format!("metric {metric:?}: {what}: found {found}, expected str")));
    };
    match string.to_str() {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(surrogates(py, what, metric)),
    }
}

/// The error for a text that is not Unicode.
pub(crate) fn surrogates(py: Python<'_>, what: &str, metric: &str) -> PyErr {
    let text = format!("metric {metric:?}: {what}: found surrogates, expected text that UTF-8 can encode");
    invalid_value(py, text)
}

/// A list of texts: any iterable of str but a str itself.
pub(crate) fn texts(object: &Bound<'_, PyAny>, what: &str, metric: &str) -> PyResult<Vec<String>> {
    let wrong = || {
        let found = type_name(object);
        let text = format!("metric {metric:?}: {what}: found {found}, expected a sequence of str");
        invalid_type(object.py(), text)
    };
    if object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>() {
        return Err(wrong());
    }
    let items = object.try_iter().map_err(|_| wrong())?;
    items.map(|item| text(&item?, what, metric)).collect()
}

/// A label's value: str, or what `str()` makes of an object that is hashable and no bytes.
pub(crate) fn label_value(object: &Bound<'_, PyAny>, metric: &str) -> PyResult<String> {
    if object.is_instance_of::<PyString>() {
        return text(object, "label value", metric);
    }
    let is_bytes = object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>();
    if is_bytes || object.is_none() || object.hash().is_err() {
        let found = type_name(object);
        let text = format!("metric {metric:?}: label value: found {found}, expected str");
        return Err(invalid_type(object.py(), text));
    }
    text(object.str()?.as_any(), "label value", metric)
}

/// An amount: an int that 64 bits hold, or a float.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Whole(i64),
    Fraction(f64),
}

/// The number `object`; a TypeError that names it otherwise.
#[inline]
pub(crate) fn amount(object: &Bound<'_, PyAny>, metric: &dyn Fn() -> String) -> PyResult<Amount> {
    if object.is_exact_instance_of::<PyInt>()
        && let Ok(whole) = object.extract()
    {
        return Ok(Amount::Whole(whole));
    }
    number(object, metric).map(Amount::Fraction)
}

/// The number `object` as a double; a TypeError that names it otherwise.
#[inline]
pub(crate) fn number(object: &Bound<'_, PyAny>, metric: &dyn Fn() -> String) -> PyResult<f64> {
    if let Ok(float) = object.cast_exact::<PyFloat>() {
        return Ok(float.value());
    }
    odd_number(object, metric)
}

#[cold]
fn odd_number(object: &Bound<'_, PyAny>, metric: &dyn Fn() -> String) -> PyResult<f64> {
    let py = object.py();
    object.extract::<f64>().map_err(|error| {
        let metric = metric();
        if error.is_instance_of::<PyTypeError>(py) {
            let found = type_name(object);
            return invalid_type(py, format!("metric {metric:?}: found {found}, expected a number"));
        }
        invalid_value(py, format!("metric {metric:?}: {error}"))
    })
}
