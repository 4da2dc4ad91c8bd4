//! A canary: a request of the application's own making, sent through it while nothing else is.

use std::sync::{Mutex, PoisonError};

use crate::check::{Check, Context, Outcome};

type Probe = dyn Fn(&Context) -> Outcome + Send + Sync;

/// Why a canary's cleanup is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The request goes on, and is over its limit: end it, so that it returns.
    Now,
    /// The request has returned, late or in time: free what it had.
    Done,
}

/// Sends a probe request when the process is idle, and takes none for failed that was not sent.
///
/// While real requests are on their way they tell how the process is: see [`super::Progress`].
pub struct Canary {
    probe: Box<Probe>,
    is_idle: Box<dyn Fn() -> bool + Send + Sync>,
    clean_up: Box<dyn Fn(Cancelled) + Send + Sync>,
    /// Held from the request to its cleanup.
    on_its_way: Mutex<bool>,
}

impl Canary {
    /// Sends requests by `probe`, which looks at [`Context::is_cancelled`] or is ended by [`Self::clean_up`].
    #[must_use]
    pub fn new(probe: impl Fn(&Context) -> Outcome + Send + Sync + 'static) -> Self {
        Self {
            probe: Box::new(probe),
            is_idle: Box::new(|| true),
            clean_up: Box::new(|_| ()),
            on_its_way: Mutex::default(),
        }
    }

    /// Only while this is true.
    #[must_use]
    pub fn when(mut self, is_idle: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.is_idle = Box::new(is_idle);
        self
    }

    /// Called when a request is over its limit ([`Cancelled::Now`], from another thread while it goes on), and whenever one
    /// has returned ([`Cancelled::Done`]).
    #[must_use]
    pub fn clean_up(mut self, clean_up: impl Fn(Cancelled) + Send + Sync + 'static) -> Self {
        self.clean_up = Box::new(clean_up);
        self
    }

    fn set_on_its_way(&self, on_its_way: bool) -> bool {
        std::mem::replace(&mut *self.on_its_way.lock().unwrap_or_else(PoisonError::into_inner), on_its_way)
    }
}

/// Cleans up also when the request panics.
struct CleansUp<'c>(&'c Canary);

impl Drop for CleansUp<'_> {
    fn drop(&mut self) {
        self.0.set_on_its_way(false);
        (self.0.clean_up)(Cancelled::Done);
    }
}

impl Check for Canary {
    fn check(&self, context: &Context) -> Outcome {
        if !(self.is_idle)() {
            return Ok("not sent: the process is at work".to_owned());
        }
        self.set_on_its_way(true);
        let _cleans_up = CleansUp(self);
        (self.probe)(context)
    }

    fn cancel(&self) {
        if *self.on_its_way.lock().unwrap_or_else(PoisonError::into_inner) {
            (self.clean_up)(Cancelled::Now);
        }
    }
}
