//! Fast lanes: methods that CPython calls without what PyO3 puts around each call.
//!
//! A method with an optional argument costs 19 ns through PyO3, 9 ns of them its own; an update is 2 ns. So
//! the updates and `labels()` have a lane: a function that looks whether the call is one of the few it knows
//! (no keywords, exact types), and otherwise hands it to the method that PyO3 made, which does and refuses
//! everything. What is done on a lane is safe code in the class's file; what makes it one is here, and is
//! nearly all the unsafe code of this crate.
#![allow(
    unsafe_code,
    reason = "functions that CPython calls with pointers, and the descriptors that lead to them"
)]

use std::ffi::{CStr, CString};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{Borrowed, PyClass};

/// A method and the calls of it that are done at once.
pub(crate) trait Lane: 'static {
    /// The class.
    type Class: PyClass<Frozen = True> + Sync;
    /// The method's name.
    const NAME: &'static CStr;

    /// How many arguments most calls have, none where that differs: only those are looked at in the lane's own
    /// function, which then needs few registers.
    const MOSTLY: Option<usize>;

    /// Whether the lane knows calls with keywords.
    const KEYWORDS: bool = false;

    /// Does the call, if it is one of those that the lane knows; never panics, for nothing would catch it.
    ///
    /// `given` are the arguments, those with `names` last.
    fn take<'py>(
        this: &Self::Class,
        given: &[Borrowed<'_, 'py, PyAny>],
        names: Option<Borrowed<'_, 'py, PyAny>>,
        py: Python<'py>,
    ) -> Option<Py<PyAny>>;

    /// Takes note of what the usual method has answered.
    fn remember(
        _this: &Self::Class,
        _given: &[Borrowed<'_, '_, PyAny>],
        _names: Option<Borrowed<'_, '_, PyAny>>,
        _answer: &Bound<'_, PyAny>,
    ) {
    }

    /// The method that does all other calls.
    fn usual() -> &'static PyOnceLock<Py<PyAny>>;
}

/// Declares a lane of `Class.name`, mostly called with so many arguments, that calls `take(&Class, arguments)`,
/// which gives `Some(())` when it is done.
macro_rules! update_lane {
    ($Lane:ident: $Class:ident . $name:literal, $mostly:literal, $take:expr) => {
        /// A lane; see `lane`.
        pub(crate) struct $Lane;

        impl $crate::lane::Lane for $Lane {
            type Class = $Class;
            const NAME: &'static std::ffi::CStr = $name;
            const MOSTLY: Option<usize> = Some($mostly);

            #[inline(always)]
            fn take<'py>(
                this: &$Class,
                given: &[pyo3::Borrowed<'_, 'py, PyAny>],
                _names: Option<pyo3::Borrowed<'_, 'py, PyAny>>,
                py: Python<'py>,
            ) -> Option<Py<PyAny>> {
                let take: fn(&$Class, &[pyo3::Borrowed<'_, 'py, PyAny>]) -> Option<()> = $take;
                take(this, given).map(|()| py.None())
            }

            fn usual() -> &'static pyo3::sync::PyOnceLock<Py<PyAny>> {
                static USUAL: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
                &USUAL
            }
        }
    };
}
pub(crate) use update_lane;

/// Puts the lane before the method.
pub(crate) fn open<L: Lane>(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<L::Class>();
    let name = L::NAME.to_string_lossy();
    let usual = class.getattr(&*name)?;
    let signature: String = usual.getattr("__text_signature__")?.extract()?;
    let doc = CString::new(format!("{name}{signature}\n--\n\n{}", usual.getattr("__doc__")?))?;
    if L::usual().set(py, usual.unbind()).is_err() {
        return Ok(());
    }
    let ml_meth = ffi::PyMethodDefPointer { PyCFunctionFastWithKeywords: enter::<L> };
    let ml_flags = ffi::METH_FASTCALL | ffi::METH_KEYWORDS;
    // Descriptors point to it for ever.
    let method = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: L::NAME.as_ptr(),
        ml_meth,
        ml_flags,
        ml_doc: Box::leak(doc.into_boxed_c_str()).as_ptr(),
    }));
    // SAFETY: a type, and a definition that stays; its function takes what the flags say.
    let descriptor = unsafe { ffi::PyDescr_NewMethod(class.as_type_ptr(), method) };
    // SAFETY: null with an exception, or a new reference.
    let descriptor = unsafe { Bound::from_owned_ptr_or_err(py, descriptor) }?;
    class.setattr(&*name, descriptor)
}

/// What CPython calls.
///
/// # Safety
/// As METH_FASTCALL | METH_KEYWORDS of a descriptor of `L::Class` says: the thread is attached, `slf` is an
/// instance, `args` are `nargs` objects and then the values of `kwnames`, a tuple or null.
unsafe extern "C" fn enter<L: Lane>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    let is_known = L::MOSTLY.is_none_or(|count| nargs as usize == count);
    if is_known && (L::KEYWORDS || kwnames.is_null()) {
        // SAFETY: as the caller promises.
        if let Some(result) = unsafe { take::<L>(slf, args, L::MOSTLY.unwrap_or(nargs as usize), kwnames) } {
            return result.into_ptr();
        }
    }
    // SAFETY: as the caller promises.
    unsafe { refer::<L>(slf, args, nargs, kwnames) }
}

/// Does a call, if the lane knows it.
///
/// # Safety
/// As [`enter`].
#[inline(always)]
unsafe fn take<L: Lane>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    count: usize,
    kwnames: *mut ffi::PyObject,
) -> Option<Py<PyAny>> {
    // SAFETY: the thread is attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: an object, which the caller holds until this returns.
    let this = unsafe { Borrowed::from_ptr(py, slf) };
    // SAFETY: the descriptor has checked that it is an instance of the class.
    let instance = unsafe { this.cast_unchecked::<L::Class>() };
    // SAFETY: null, or an object, which the caller holds until this returns.
    let names = unsafe { Borrowed::from_ptr_or_opt(py, kwnames) }.filter(|_| L::KEYWORDS);
    let all = count + names.as_ref().map_or(0, |names| names.len().unwrap_or(0));
    // SAFETY: as the caller promises: behind the arguments stand the values of those with names.
    L::take(instance.get(), unsafe { arguments(py, args, all) }, names, py)
}

/// Does every other call: what the lane doesn't know by the method that PyO3 made.
///
/// # Safety
/// As [`enter`].
#[inline(never)]
unsafe extern "C" fn refer<L: Lane>(
    slf: *mut ffi::PyObject,
    args: *const *mut ffi::PyObject,
    nargs: ffi::Py_ssize_t,
    kwnames: *mut ffi::PyObject,
) -> *mut ffi::PyObject {
    if kwnames.is_null() && L::MOSTLY.is_some_and(|count| nargs as usize != count) {
        // SAFETY: as the caller promises.
        if let Some(result) = unsafe { take::<L>(slf, args, nargs as usize, kwnames) } {
            return result.into_ptr();
        }
    }
    // SAFETY: the thread is attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: an object, which the caller holds until this returns.
    let this = unsafe { Borrowed::from_ptr(py, slf) };
    // SAFETY: null, or an object, which the caller holds until this returns.
    let names = unsafe { Borrowed::from_ptr_or_opt(py, kwnames) };
    let named = names.as_ref().map_or(0, |names| names.len().unwrap_or(0));
    // SAFETY: behind the arguments stand the values of those with names.
    let all = unsafe { arguments(py, args, nargs as usize + named) };
    call::<L>(this, all, named, names)
}

/// Arguments as they lie.
///
/// # Safety
/// `args` leads to `count` objects that live for `'a`; it may be null when there are none.
#[inline(always)]
unsafe fn arguments<'a, 'py>(
    _py: Python<'py>,
    args: *const *mut ffi::PyObject,
    count: usize,
) -> &'a [Borrowed<'a, 'py, PyAny>] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as the caller promises; a Borrowed is a pointer, transparently.
    unsafe { slice::from_raw_parts(args.cast(), count) }
}

/// Calls the method that PyO3 made; the last `named` of `all` have names.
#[cold]
fn call<L: Lane>(
    this: Borrowed<'_, '_, PyAny>,
    all: &[Borrowed<'_, '_, PyAny>],
    named: usize,
    names: Option<Borrowed<'_, '_, PyAny>>,
) -> *mut ffi::PyObject {
    let refer = |py: Python<'_>| {
        let done = catch_unwind(AssertUnwindSafe(|| {
            let (given, named) = all.split_at(all.len() - named);
            let given: Vec<_> = [this].iter().chain(given).copied().collect();
            let keywords = names.map(|_| PyDict::new(py));
            if let (Some(names), Some(keywords)) = (names, &keywords) {
                for (name, value) in names.try_iter()?.zip(named) {
                    keywords.set_item(name?, value)?;
                }
            }
            let usual = L::usual().get(py).ok_or_else(|| PyRuntimeError::new_err("no method"))?;
            let answer = usual.call(py, PyTuple::new(py, given)?, keywords.as_ref())?;
            if let Ok(this) = this.cast::<L::Class>() {
                L::remember(this.get(), all, names, answer.bind(py));
            }
            Ok(answer)
        }));
        let done = done.unwrap_or_else(|_| Err(PyRuntimeError::new_err("dyn_metrics: internal error")));
        match done {
            Ok(answer) => answer.into_ptr(),
            Err(error) => {
                error.restore(py);
                std::ptr::null_mut()
            }
        }
    };
    // Attached it is; but PyO3 must know. Not by attach(), which panics while the interpreter ends and `__del__` and
    // `atexit` still count.
    // SAFETY: as the token of `this` says the thread is attached, which is what attach() would see to.
    unsafe { Python::attach_unchecked(refer) }
}
