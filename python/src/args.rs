//! Texts, names and numbers from Python, checked.

use std::convert::Infallible;
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDelta, PyDict, PyFloat, PyInt, PyString, PyTuple};
use pyo3::{Borrowed, PyTypeCheck};

use crate::errors::{invalid_type, invalid_value, shortened};

/// Name of an object's type, for errors.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

/// What an object says of itself, for errors.
pub(crate) fn shown(object: &Bound<'_, PyAny>) -> String {
    let text = object.repr().map_or_else(|_| type_name(object), |text| text.to_string_lossy().into_owned());
    if text.chars().nth(MOST_SHOWN).is_none() {
        return text;
    }
    text.chars().take(MOST_SHOWN).chain("...".chars()).collect()
}

/// Most characters of an object that an error shows.
const MOST_SHOWN: usize = 100;

/// What an error is about, at its beginning: a metric's name, or a call such as `Registry()`.
fn subject(metric: &str) -> String {
    if metric.ends_with("()") { metric.to_owned() } else { format!("metric {:?}", shortened(metric)) }
}

/// The error for an argument of the wrong type.
pub(crate) fn wrong_type(metric: &str, what: &str, found: &Bound<'_, PyAny>, expected: &str) -> PyErr {
    let (subject, found_type) = (subject(metric), type_name(found));
    invalid_type(found.py(), format!("{subject}: {what}: found {found_type}, expected {expected}"))
}

/// `ours` in place of a TypeError; what else code of `object` raises, such as a KeyboardInterrupt, stays.
pub(crate) fn of_type(error: PyErr, object: &Bound<'_, PyAny>, ours: impl FnOnce() -> PyErr) -> PyErr {
    if error.is_instance_of::<PyTypeError>(object.py()) { ours() } else { error }
}

/// The text `object`, which is `what` of `metric`.
pub(crate) fn text(object: &Bound<'_, PyAny>, what: &str, metric: &str) -> PyResult<String> {
    let Ok(string) = object.cast::<PyString>() else {
        return Err(wrong_type(metric, what, object, "str"));
    };
    string.to_str().map(str::to_owned).map_err(|_| {
        let subject = subject(metric);
        let text = format!("{subject}: {what}: found surrogates, expected text that UTF-8 can encode");
        invalid_value(object.py(), text)
    })
}

/// A list of texts: any iterable of str but a str itself.
pub(crate) fn texts(object: &Bound<'_, PyAny>, what: &str, metric: &str) -> PyResult<Vec<String>> {
    let wrong = || wrong_type(metric, what, object, "a sequence of str");
    if is_text_or_bytes(object) {
        return Err(wrong());
    }
    let items = object.try_iter().map_err(|error| of_type(error, object, wrong))?;
    items.map(|item| text(&item?, what, metric)).collect()
}

fn is_text_or_bytes(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyString>() || is_bytes(object)
}

fn is_bytes(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>()
}

/// A label's value: str, or what `str()` makes of an object that is hashable, no bytes and not None.
pub(crate) fn label_value(object: &Bound<'_, PyAny>, metric: &str) -> PyResult<String> {
    if object.is_instance_of::<PyString>() {
        return text(object, "label value", metric);
    }
    let wrong = || wrong_type(metric, "label value", object, "str");
    if is_bytes(object) || object.is_none() {
        return Err(wrong());
    }
    object.hash().map_err(|error| of_type(error, object, wrong))?;
    text(object.str()?.as_any(), "label value", metric)
}

/// Labels as pairs: a dict of str to what a label's value may be.
pub(crate) fn label_pairs(
    object: &Bound<'_, PyAny>,
    what: &str,
    metric: &str,
) -> PyResult<Vec<(String, String)>> {
    let Ok(dict) = object.cast::<PyDict>() else {
        return Err(wrong_type(metric, what, object, "a dict of str to str"));
    };
    let pair = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
        Ok((text(&name, "label name", metric)?, label_value(&value, metric)?))
    };
    // Of a copy: str() of a value may run code that changes it.
    dict.copy()?.iter().map(pair).collect()
}

/// An argument that may be absent, which is something else than None.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, 'py>(pub(crate) Option<Borrowed<'a, 'py, PyAny>>);

/// No argument.
pub(crate) const ABSENT: Given<'_, '_> = Given(None);

impl<'a, 'py> FromPyObject<'a, 'py> for Given<'a, 'py> {
    type Error = Infallible;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(object)))
    }
}

/// An amount: an int that 64 bits hold, or another number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Whole(i64),
    Fraction(f64),
}

impl Amount {
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Fraction(fraction) => fraction,
        }
    }
}

/// The number in an object whose type is exactly `float` or `int`, if 64 bits hold it. Runs no Python code.
#[inline(always)]
pub(crate) fn plain_amount(object: Borrowed<'_, '_, PyAny>) -> Option<Amount> {
    if object.is_exact_instance_of::<PyFloat>() {
        return object.cast_exact::<PyFloat>().ok().map(|float| Amount::Fraction(float.value()));
    }
    plain_int(object).map(Amount::Whole)
}

/// As [`plain_amount`], of ints alone.
#[inline(always)]
pub(crate) fn plain_int(object: Borrowed<'_, '_, PyAny>) -> Option<i64> {
    object.is_exact_instance_of::<PyInt>().then(|| object.extract().ok()).flatten()
}

/// As [`plain_amount`], as a double.
#[inline(always)]
pub(crate) fn plain_f64(object: Borrowed<'_, '_, PyAny>) -> Option<f64> {
    plain_amount(object).map(Amount::as_f64)
}

/// The number `object`; a TypeError that names `metric` otherwise.
pub(crate) fn amount(object: &Bound<'_, PyAny>, metric: &str) -> PyResult<Amount> {
    if let Some(amount) = plain_amount(object.as_borrowed()) {
        return Ok(amount);
    }
    number(object, metric).map(Amount::Fraction)
}

/// The number `object` as a double: whatever `float()` takes, but no text.
pub(crate) fn number(object: &Bound<'_, PyAny>, metric: &str) -> PyResult<f64> {
    let py = object.py();
    if is_text_or_bytes(object) {
        return Err(wrong_type(metric, "value", object, "a number"));
    }
    object.extract::<f64>().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            wrong_type(metric, "value", object, "a number")
        } else if error.is_instance_of::<PyOverflowError>(py) {
            invalid_value(py, format!("metric {metric:?}: value: found an int that no float can hold"))
        } else {
            error // of the object's own __float__
        }
    })
}

/// The whole number `object`.
pub(crate) fn whole(object: &Bound<'_, PyAny>, metric: &str) -> PyResult<i64> {
    let py = object.py();
    object.extract::<i64>().map_err(|error| {
        if error.is_instance_of::<PyTypeError>(py) {
            wrong_type(metric, "value", object, "an int")
        } else if error.is_instance_of::<PyOverflowError>(py) {
            invalid_value(py, format!("metric {metric:?}: value: found an int that 64 bits don't hold"))
        } else {
            error
        }
    })
}

/// Seconds: a timedelta or a number of seconds. Whether they are negative, and how long.
pub(crate) fn seconds(object: &Bound<'_, PyAny>, metric: &str) -> PyResult<(bool, Duration)> {
    let seconds = if PyDelta::type_check(object) {
        number(&object.call_method0("total_seconds")?, metric)?
    } else {
        number(object, metric)?
    };
    duration(seconds).ok_or_else(|| {
        let text = format!("metric {metric:?}: value: found {seconds} seconds, expected a finite duration");
        invalid_value(object.py(), text)
    })
}

/// A number of seconds, to the nanosecond; none of what is not finite or longer than 584 years.
#[inline(always)]
pub(crate) fn duration(seconds: f64) -> Option<(bool, Duration)> {
    let length = seconds.abs();
    let is_sane = length < u64::MAX as f64 / 1e9;
    let nanoseconds = (length * 1e9).round();
    is_sane.then(|| (seconds < 0.0, Duration::from_nanos(nanoseconds as u64)))
}

/// What every constructor takes, in order.
const COMMON: [&str; 7] =
    ["name", "documentation", "labelnames", "namespace", "subsystem", "unit", "registry"];
/// What every constructor takes by name.
const OPTIONS: [&str; 3] = ["level", "max_series", "shared"];

/// Arguments of a constructor by name; those that are None count as not given.
pub(crate) struct Arguments<'py> {
    py: Python<'py>,
    class: &'static str,
    given: Vec<(String, Bound<'py, PyAny>)>,
}

impl<'py> Arguments<'py> {
    /// The arguments of a call of `class`, whose own options, given by name only, are `own`.
    pub(crate) fn new(
        class: &'static str,
        own: &[&str],
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Self> {
        let py = args.py();
        let wrong = |text: String| invalid_type(py, format!("{class}() {text}"));
        if args.len() > COMMON.len() {
            let (found, most) = (args.len(), COMMON.len());
            return Err(wrong(format!("takes at most {most} positional arguments, found {found}")));
        }
        let mut given: Vec<_> = COMMON.iter().map(|name| (*name).to_owned()).zip(args).collect();
        for (name, value) in keywords.into_iter().flatten() {
            let name: String = name.extract()?;
            if given.iter().any(|(known, _)| *known == name) {
                return Err(wrong(format!("got multiple values for argument '{name}'")));
            }
            if !COMMON.iter().chain(own).chain(&OPTIONS).any(|known| *known == name) {
                return Err(wrong(format!("got an unexpected keyword argument '{name}'")));
            }
            given.push((name, value));
        }
        let arguments = Self { py, class, given };
        if let Some(missing) = COMMON[..2].iter().find(|name| arguments.any(name).is_none()) {
            return Err(wrong(format!("missing required argument '{missing}'")));
        }
        Ok(arguments)
    }

    pub(crate) fn py(&self) -> Python<'py> {
        self.py
    }

    pub(crate) fn class(&self) -> &'static str {
        self.class
    }

    fn any(&self, name: &str) -> Option<&Bound<'py, PyAny>> {
        self.given.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The argument, unless it is None.
    pub(crate) fn get(&self, name: &str) -> Option<&Bound<'py, PyAny>> {
        self.any(name).filter(|value| !value.is_none())
    }

    /// What was given of the class's own options and those that all take.
    pub(crate) fn options(&self) -> PyResult<Py<PyDict>> {
        let options = PyDict::new(self.py);
        for (name, value) in self.given.iter().filter(|(name, _)| !COMMON.contains(&name.as_str())) {
            options.set_item(name, value)?;
        }
        Ok(options.unbind())
    }

    /// The argument as text of `metric`; empty when it isn't given.
    pub(crate) fn text(&self, name: &str, metric: &str) -> PyResult<String> {
        self.any(name).map_or_else(|| Ok(String::new()), |value| text(value, name, metric))
    }

    /// The argument as another type.
    pub(crate) fn option<T>(&self, name: &str, metric: &str, expected: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let Some(value) = self.get(name) else { return Ok(None) };
        let wrong = |_| match value.is_instance_of::<PyInt>() {
            false => wrong_type(metric, name, value, expected),
            true => {
                let text = format!("metric {metric:?}: {name}: found {}, expected {expected}", shown(value));
                invalid_value(self.py, text)
            }
        };
        value.extract().map(Some).map_err(wrong)
    }
}
