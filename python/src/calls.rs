//! Calls of Python's functions by threads of ours, and their end before the interpreter's.
//!
//! A thread that comes back to an interpreter that has ended is ended by it, and takes the process with it where it is in the
//! middle of code of ours.
#![allow(unsafe_code, reason = "PyO3 has no safe way to raise an exception in another thread")]
#![allow(clippy::disallowed_types, reason = "process-local state, never in the segment")]

use std::collections::BTreeSet;
use std::ffi::c_long;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::exceptions::PySystemExit;
use pyo3::ffi;
use pyo3::prelude::*;

/// Between two looks at who is still there.
const PAUSE: Duration = Duration::from_millis(2);

/// Calls that are under way.
pub(crate) struct Calls {
    /// A process, and its threads, as Python numbers them: a forked child has none of its parent's.
    threads: Mutex<(u32, BTreeSet<c_long>)>,
    ending: AtomicBool,
}

impl Calls {
    pub(crate) const fn new() -> Self {
        Self { threads: Mutex::new((0, BTreeSet::new())), ending: AtomicBool::new(false) }
    }

    fn threads(&self) -> MutexGuard<'_, (u32, BTreeSet<c_long>)> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if threads.0 != process {
            *threads = (process, BTreeSet::new());
        }
        threads
    }

    /// Whether no more calls begin: what goes wrong is then nobody's business any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Runs `body` with the interpreter, unless that ends.
    pub(crate) fn attached<R>(&self, body: impl FnOnce(Python<'_>) -> R) -> Option<R> {
        if self.is_ending() {
            return None;
        }
        Python::try_attach(|py| {
            // Not `threading`: the thread that imports that first is taken for the main one.
            let own: c_long =
                py.import("_thread").and_then(|t| t.call_method0("get_ident")?.extract()).ok()?;
            self.threads().1.insert(own);
            let found = (!self.is_ending()).then(|| body(py));
            self.threads().1.remove(&own);
            found
        })
        .flatten()
    }

    /// No more calls begin.
    pub(crate) fn close(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Raises SystemExit in calls that are under way, and waits until they are over; one that waits in C isn't reached, and
    /// waited for no longer than `limit`.
    pub(crate) fn end(&self, py: Python<'_>, limit: Duration) {
        self.close();
        let exit = py.get_type::<PySystemExit>();
        let running = self.threads().1.clone();
        for thread in running {
            // SAFETY: attached, as the token says; an exception class that `exit` keeps. Of a thread that is gone nothing
            // happens.
            unsafe { ffi::PyThreadState_SetAsyncExc(thread, exit.as_ptr()) };
        }
        py.detach(|| {
            let until = Instant::now() + limit;
            while !self.threads().1.is_empty() && Instant::now() < until {
                thread::sleep(PAUSE);
            }
        });
    }
}
