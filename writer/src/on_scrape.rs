//! On-scrape callbacks: values that are computed when somebody asks, such as the length of a queue.
//!
//! | module | what |
//! | --- | --- |
//! | `hub` | the callbacks of this process, and running them on threads of their own |
//! | `listener` | the socket beside a segment over which a reader asks |
//! | `kept` | its descriptors, in a host that may close them |
//! | `service` | the thread that answers there |
//! | `functions` | `set_function` of gauges and counters |

mod functions;
mod hub;
mod kept;
mod listener;
mod service;

use std::sync::Arc;
use std::time::Duration;

use functions::Bound;
pub(crate) use functions::{clear_function, set_number_function};
use hub::{Callback, Hub};
pub(crate) use listener::close_in_child;

use crate::local::{AtomicUsize, Ordering};
use crate::registry::Registry;

/// How long this process's own pages wait for its callbacks; also what the exporter waits unless it is told otherwise.
pub const CALLBACK_LIMIT: Duration = Duration::from_millis(100);

/// What a callback does; false when it failed.
pub(crate) type Work = Box<dyn FnMut() -> bool + Send>;

/// What became of a process's callbacks when somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallbackRun {
    /// Callbacks that have run.
    pub done: usize,
    /// Of these, callbacks that panicked or failed: what they set before that counts.
    pub failed: usize,
    /// Callbacks that were not done in time: the values are those of an earlier run.
    pub late: usize,
}

/// A callback that runs when somebody asks for values, until this is dropped.
///
/// A run that is under way when this is dropped goes on; no other one begins. In a forked child it does nothing: callbacks
/// belong to the process that registered them.
#[derive(Debug)]
#[must_use = "the callback ends when this is dropped; keep() makes it last"]
pub struct OnScrape(Option<(&'static Hub, Arc<Callback>)>);

impl OnScrape {
    /// Lets the callback run for as long as the process lives.
    pub fn keep(mut self) {
        self.0 = None;
    }

    /// Whether there is a callback: not where updates go nowhere, so that nobody would ask.
    #[must_use]
    pub const fn is_registered(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for OnScrape {
    fn drop(&mut self) {
        if let Some((hub, callback)) = self.0.take() {
            hub.remove(callback);
        }
    }
}

impl Registry {
    /// Has `callback` run whenever somebody asks for values, before they are read: when the exporter is scraped, when this
    /// process's own server is, and in [`Self::render`]. It sets gauges and adds to counters through handles that it holds.
    ///
    /// Runs on a thread of its own, never on one of the application's and never twice at once. Who asks waits a short
    /// time ([`CALLBACK_LIMIT`] unless the exporter is told otherwise) and then reads what is there; a callback that is still
    /// running is not started again, and keeps no other from running: while one hangs, it holds one thread, and with 16 of
    /// them hanging no others run any more. A panic is caught where panics unwind, and counted.
    ///
    /// The first callback in a segment makes a socket beside its file, with a thread that waits there and ends with the
    /// last callback. Where the socket can't be had, which is logged, only this process's own pages run the callbacks.
    ///
    /// Threads: any, also from a callback. A forked child has none of its parent's callbacks and may register its own.
    ///
    /// ```
    /// # fn main() -> Result<(), dyn_metrics::Error> {
    /// # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let registry = dyn_metrics::Registry::open_at(dir.path().join("s"))?;
    /// let depth = registry.gauge("queue_depth", "Requests that wait")?;
    /// let queue = std::sync::Arc::new(std::sync::Mutex::new(vec![1, 2, 3]));
    /// let asked = queue.clone();
    /// let callback = registry.on_scrape(move || depth.set(asked.lock().unwrap().len() as i64));
    /// assert!(registry.render()?.contains("\nqueue_depth 3\n"));
    /// drop(callback); // or callback.keep()
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_scrape(&self, mut callback: impl FnMut() + Send + 'static) -> OnScrape {
        let work = move || {
            callback();
            true
        };
        self.add_callback(None, Box::new(work))
    }

    /// As [`Self::on_scrape`], of what says itself whether it has failed.
    pub(crate) fn add_callback(&self, key: Option<usize>, work: Work) -> OnScrape {
        let home = match self.current() {
            Some(segment) => Some(Bound::Segment(segment)),
            None => self.foreign().ok().map(|foreign| Bound::Foreign(foreign.number)),
        };
        add(home, key, work)
    }

    /// Runs the callbacks of this process in this registry now, and waits for them for at most `limit`.
    ///
    /// For pages that show this process's values; [`Self::render`] does it itself. Those that are running already, not for
    /// longer than `limit`, are waited for instead of being started again; those that have been are late at once. Cost
    /// without callbacks: a load.
    pub fn run_callbacks(&self, limit: Duration) -> CallbackRun {
        let Some(hub) = Hub::existing() else { return CallbackRun::default() };
        match self.foreign() {
            Ok(foreign) => hub.run(&|callback| callback.home.number() == foreign.number, limit),
            Err(_) => {
                let path = self.path();
                let is_ours = |callback: &Callback| matches!(callback.home, Bound::Segment(segment) if segment.path == path);
                hub.run(&is_ours, limit)
            }
        }
    }
}

/// Runs the callbacks of the registry with this number.
pub(crate) fn run_foreign(number: usize) {
    if let Some(hub) = Hub::existing() {
        hub.run(&|callback| callback.home.number() == number, CALLBACK_LIMIT);
    }
}

/// Registers a callback; in place of those with the same key.
pub(crate) fn add(home: Option<Bound>, key: Option<usize>, work: Work) -> OnScrape {
    let Some((home, hub)) = home.and_then(|home| Some((home, Hub::of_this_process()?))) else {
        return OnScrape(None);
    };
    OnScrape(Some((hub, hub.add(home, key, work))))
}

/// Ends the callback with this key; false when there is none.
pub(crate) fn remove_key(key: usize) -> bool {
    Hub::existing().is_some_and(|hub| hub.remove_key(key))
}

/// A key that no series and no other callback has.
pub(crate) fn new_key() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(2, Ordering::Relaxed) // odd: those of series are addresses
}

/// Ends all callbacks of this process, and waits for those that run, for at most `limit`; false when some still do.
pub(crate) fn end_all(limit: Duration) -> bool {
    Hub::existing().is_none_or(|hub| hub.end_all(limit))
}

// Threads with signal masks, and sockets: Miri has neither.
#[cfg(all(test, not(miri)))]
mod tests;
