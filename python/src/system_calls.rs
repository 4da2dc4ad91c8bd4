//! Calls from threads without an interpreter to one of Python.
//!
//! Checks and formats in Python run on threads that Python has made. Threads of ours wait for their answers without ever taking
//! the interpreter's lock: whoever holds that, and for how long, holds up nobody who asks a probe. And an interpreter that ends,
//! ends its own threads only.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

/// What a call is answered with: whether all is well, a text, and for formats its media type.
pub(crate) struct Answer {
    pub(crate) is_ok: bool,
    pub(crate) text: String,
    pub(crate) content_type: String,
}

/// Calls that a thread of Python takes one after the other.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct SystemCalls(Arc<Queue>);

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<(String, SyncSender<Answer>)>,
    is_closed: bool,
}

impl Queue {
    /// Poison is ignored: nothing that is done under this lock panics.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(String, SyncSender<Answer>)> {
        let mut waiting = self.lock();
        loop {
            if waiting.is_closed {
                return None;
            }
            if let Some(call) = waiting.calls.pop_front() {
                return Some(call);
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.is_closed = true;
        waiting.calls.clear();
        self.changed.notify_all();
    }
}

/// The side that calls. Dropping it ends the thread that answers, once it has answered.
pub(crate) struct Caller(Arc<Queue>);

impl Caller {
    /// Waits for the answer, however long it takes; none when nobody answers any more.
    pub(crate) fn call(&self, argument: String) -> Option<Answer> {
        self.send(argument)?.recv().ok()
    }

    fn send(&self, argument: String) -> Option<Receiver<Answer>> {
        let (answer, answered) = sync_channel(1);
        let mut waiting = self.0.lock();
        if waiting.is_closed {
            return None;
        }
        waiting.calls.push_back((argument, answer));
        self.0.changed.notify_one();
        Some(answered)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl SystemCalls {
    /// The side that calls.
    pub(crate) fn caller(&self) -> Caller {
        Caller(Arc::clone(&self.0))
    }
}

#[pymethods]
impl SystemCalls {
    #[new]
    fn new() -> Self {
        Self(Arc::default())
    }

    /// The next call, waited for; None when there won't be any.
    fn next(&self, py: Python<'_>) -> Option<SystemCall> {
        let (argument, answer) = py.detach(|| self.0.next())?;
        Some(SystemCall { argument, answer })
    }

    /// Nobody answers any more.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

/// One call. Whoever drops it without an answer has given the caller none.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct SystemCall {
    argument: String,
    answer: SyncSender<Answer>,
}

#[pymethods]
impl SystemCall {
    /// What the caller has given.
    #[getter]
    fn argument(&self) -> &str {
        &self.argument
    }

    /// Answers; once.
    #[pyo3(signature = (is_ok, text, content_type=""))]
    fn answer(&self, is_ok: bool, text: &str, content_type: &str) {
        let (text, content_type) = (text.to_owned(), content_type.to_owned());
        // There is room for one; nobody waits any more where it fails.
        let _ = self.answer.try_send(Answer { is_ok, text, content_type });
    }
}
