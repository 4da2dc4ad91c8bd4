//! On-scrape callbacks: values that are computed when somebody asks.

use std::ffi::c_void;

use dyn_metrics::raw;

use crate::handles::{dynm_metric, dynm_registry, object, open};
use crate::input::store;
use crate::status::{dynm_status, edge, failure};

/// Called when somebody asks for values; it sets metrics. 0 is good, anything else is counted as a failure. Must
/// return: no exception and no longjmp may leave it.
pub type dynm_scrape_callback = Option<unsafe extern "C" fn(user: *mut c_void) -> i32>;

/// Called when somebody asks for a value, to store it in `*value`: seconds of durations. 0 is good; anything else is
/// counted as a failure, and what is in `*value` is left out. Must return, as dynm_scrape_callback.
pub type dynm_scrape_function = Option<unsafe extern "C" fn(user: *mut c_void, value: *mut f64) -> i32>;

/// Called once when a callback has ended and doesn't run any more, to release `user`. By any thread. Must return.
pub type dynm_scrape_destroy = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// What belongs to a callback of C's.
struct User {
    user: *mut c_void,
    destroy: dynm_scrape_destroy,
}

// SAFETY: the caller promises that its functions may be called by any thread.
unsafe impl Send for User {}

impl User {
    const fn pointer(&self) -> *mut c_void {
        self.user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy {
            // SAFETY: the caller's function, once, and nothing uses `user` afterwards.
            unsafe { destroy(self.user) };
        }
    }
}

/// Has `callback` run whenever somebody asks for values, before they are read: when the exporter is scraped, when this
/// process's own server is, and in dynm_render(). For values that are computed, such as the length of a queue.
///
/// Requires: a registry; `callback` not NULL, callable by any thread, never by two at once; `destroy` NULL or what
/// releases `user`; `id` NULL or where the callback's number goes. Guarantees: runs on a thread of the library's, until
/// dynm_on_scrape_end() or the end of the process. Who asks waits a short time (100 ms unless the exporter is told
/// otherwise) and reads what is there; one that is still running is not started again and keeps no other from running. A
/// forked child has none of its parent's callbacks, and destroys nothing of them. On failure nothing is kept and `destroy` is not called. Threads: any, also
/// from a callback. Signals: no. Cost: a thread and a socket beside the segment, once. Errors: DYNM_NULL,
/// DYNM_WRONG_TYPE, DYNM_CLOSED.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_on_scrape(
    registry: *const dynm_registry,
    callback: dynm_scrape_callback,
    user: *mut c_void,
    destroy: dynm_scrape_destroy,
    id: *mut usize,
) -> dynm_status {
    edge(|| {
        let registry = open(registry)?;
        let Some(callback) = callback else { return failure(dynm_status::DYNM_NULL, c"callback is NULL") };
        let user = User { user, destroy };
        let work = move || {
            let pointer = user.pointer();
            // SAFETY: the caller's function, with what the caller has given for it.
            unsafe { callback(pointer) == 0 }
        };
        let number = raw::on_scrape(&registry.registry, Box::new(work));
        if id.is_null() { Ok(()) } else { store(id, number, "id") }
    })
}

/// Ends a callback.
///
/// Requires: a number that dynm_on_scrape() gave. Guarantees: no further run begins; one that is under way goes on, and
/// `destroy` is called when it is over, else before this returns. Threads: any, also from a callback. Signals: no. Cost:
/// small. Errors: DYNM_NOT_FOUND when it has ended, and in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_on_scrape_end(id: usize) -> dynm_status {
    edge(|| {
        if raw::end_callback(id) {
            return Ok(());
        }
        failure(
            dynm_status::DYNM_NOT_FOUND,
            c"no such on-scrape callback; it has ended, or is a parent process's",
        )
    })
}

/// Has the value of a gauge, or the total of a counter, computed by `function` whenever somebody asks for it. Of a counter's
/// totals what they have grown by is added; one that has become less counts as having begun again at 0.
///
/// Requires: a metric; `function` callable as for dynm_on_scrape(), or NULL to end the one before; `destroy` NULL or what
/// releases `user`. Guarantees: as dynm_on_scrape(); a later function of the same series takes the place of an earlier one.
/// On failure nothing is kept, nothing ends and `destroy` is not called. Threads, Signals, Cost: as dynm_on_scrape(). Errors: DYNM_NULL, DYNM_WRONG_TYPE for
/// other metrics than gauges and counters, DYNM_NOT_FOUND for a private metric, which nobody asks for, and for NULL when there is none to end.
///
/// # Safety
/// As Requires says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn dynm_set_function(
    metric: *const dynm_metric,
    function: dynm_scrape_function,
    user: *mut c_void,
    destroy: dynm_scrape_destroy,
) -> dynm_status {
    edge(|| {
        let handle = &object(metric)?.handle;
        if !handle.may_be_computed() {
            return failure(dynm_status::DYNM_WRONG_TYPE, c"found neither a gauge nor a counter");
        }
        let Some(function) = function else {
            let ended = handle.clear_function();
            return if ended {
                Ok(())
            } else {
                failure(dynm_status::DYNM_NOT_FOUND, c"the metric has no function")
            };
        };
        if handle.describe().is_none() {
            return failure(dynm_status::DYNM_NOT_FOUND, c"the metric is private: nobody asks for it");
        }
        let user = User { user, destroy };
        let compute = move || {
            let (pointer, mut value) = (user.pointer(), f64::NAN);
            // SAFETY: the caller's function, with what the caller has given for it, and a place for a double.
            let status = unsafe { function(pointer, &raw mut value) };
            (status == 0).then_some(value)
        };
        handle.set_function(Box::new(compute));
        Ok(())
    })
}
