//! A composite for bindings, which can't keep their callers' threads apart. Hidden: not for applications.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use super::{Composite, LiveComposite, Operation};
use crate::error::Result;

/// A composite that several threads may ask, one after the other.
#[derive(Debug)]
pub struct SharedComposite(Mutex<Held>);

/// None once it is closed; boxed, since what a binding has closed stays where it is.
type Held = Option<Box<LiveComposite>>;

/// How often a thread tries, a millisecond apart, to get its turn; in a child forked while another thread had it, it never
/// comes.
const ATTEMPTS: usize = 1000;

impl SharedComposite {
    /// One that is open.
    #[must_use]
    pub fn new(live: LiveComposite) -> Self {
        Self(Mutex::new(Some(Box::new(live))))
    }

    /// Does something with it when it is this thread's turn; none where the turn doesn't come within a second. The
    /// argument is none once it is closed.
    pub fn with<T>(&self, act: impl FnOnce(Option<&mut LiveComposite>) -> T) -> Option<T> {
        self.locked().map(|mut live| act(live.as_deref_mut()))
    }

    /// Lets go of what it reads.
    pub fn close(&self) {
        if let Some(mut live) = self.locked() {
            *live = None;
        }
    }

    fn locked(&self) -> Option<MutexGuard<'_, Held>> {
        for _ in 0..ATTEMPTS {
            match self.0.try_lock() {
                Ok(live) => return Some(live),
                Err(TryLockError::Poisoned(live)) => return Some(PoisonError::into_inner(live)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        None
    }
}

impl Composite {
    /// From names and numbers, as other languages have them: `avg`, `min`, `max`, `sum`, `count`, `rate` or `quantile`.
    ///
    /// # Errors
    /// [`crate::Error::MetricOption`] for another operation, a quantile that is missing or too much, and a window that is not
    /// above 0.
    pub fn from_parts(operation: &str, family: &str, q: Option<f64>, window: Option<f64>) -> Result<Self> {
        let mut composite = Self::new(Operation::Avg, family);
        composite.operation = match (operation, q) {
            ("avg", None) => Operation::Avg,
            ("min", None) => Operation::Min,
            ("max", None) => Operation::Max,
            ("sum", None) => Operation::Sum,
            ("count", None) => Operation::Count,
            ("rate", None) => Operation::Rate,
            ("quantile", Some(q)) => Operation::Quantile(q),
            ("quantile", None) => return Err(composite.error("quantile", "none".to_owned(), "0 to 1")),
            ("avg" | "min" | "max" | "sum" | "count" | "rate", Some(q)) => {
                let expected = format!("none: {operation} has no quantile");
                return Err(composite.error("quantile", q.to_string(), &expected));
            }
            _ => {
                let expected = "avg, min, max, sum, count, rate or quantile";
                return Err(composite.error("operation", crate::error::shorten(operation), expected));
            }
        };
        let Some(seconds) = window else { return Ok(composite) };
        match Duration::try_from_secs_f64(seconds) {
            Ok(window) if !window.is_zero() => Ok(composite.window(window)),
            _ => Err(composite.error("window", format!("{seconds} s"), "more than 0 s")),
        }
    }
}
