//! What a check is, and how it is registered.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::{Error, Probe, Result};

/// What a run of a check found: what it has to say when all is well (may be empty), or why not.
pub type Outcome = std::result::Result<String, String>;

/// Something that is asked again and again whether all is well.
///
/// It runs on a thread of its own and may block. A run that takes longer than its limit is a failure, and the next one
/// begins only when it has returned: a check holds at most one thread. A panic is a failure with its text.
pub trait Check: Send + Sync + 'static {
    /// Looks once. What takes long should look at [`Context::is_cancelled`], or stop by [`Context::deadline`].
    ///
    /// # Errors
    /// Why all is not well.
    fn check(&self, context: &Context) -> Outcome;

    /// Called once by another thread for a run that has gone over its limit: to wake what it waits for.
    fn cancel(&self) {}

    /// Whether its answer depends on others: such a check never feeds the liveness probe.
    fn needs_network(&self) -> bool {
        false
    }

    /// Whether it never blocks, so that it needs no thread of its own.
    #[doc(hidden)]
    fn is_quick(&self) -> bool {
        false
    }
}

impl<F: Fn(&Context) -> Outcome + Send + Sync + 'static> Check for F {
    fn check(&self, context: &Context) -> Outcome {
        self(context)
    }
}

/// A check of a function that knows nothing of checks: an error is a failure with its text.
pub fn from_fn<E: Display>(
    function: impl Fn() -> std::result::Result<(), E> + Send + Sync + 'static,
) -> impl Check {
    move |_: &Context| function().map(|()| String::new()).map_err(|error| error.to_string())
}

/// What a run of a check may want to know.
#[derive(Clone)]
pub struct Context {
    deadline: Instant,
    interval: Duration,
    engine: Arc<Engine>,
}

impl Context {
    pub(crate) fn new(spec: &Spec, began: Instant, engine: &Arc<Engine>) -> Self {
        let (deadline, interval) = (began + spec.timeout, spec.interval);
        Self { deadline, interval, engine: Arc::clone(engine) }
    }

    /// When this run counts as failed.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Time from the start of a run to that of the next.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How much of its time is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether nobody waits for this run any more: it is over its limit, or the system stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.remaining().is_zero() || self.engine.is_stopping()
    }

    /// Whether the liveness probe passes.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.engine.report(Probe::Liveness).passes
    }
}

/// How a check is registered: its name, what it feeds, when it runs.
///
/// ```
/// use std::time::Duration;
/// use dyn_metrics_system::{Probe, Spec};
///
/// let spec = Spec::new("engine").probe(Probe::Readiness).every(Duration::from_secs(10)).timeout(Duration::from_secs(2));
/// # let _ = spec;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    pub(crate) name: String,
    pub(crate) probe: Probe,
    pub(crate) required: bool,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) failures: u32,
    pub(crate) successes: u32,
}

/// Shortest and longest time between two runs, and for one.
const INTERVALS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(24 * 3600));
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(3600));
const MAX_NAME: usize = 64;
const MAX_THRESHOLD: u32 = 1000;

impl Spec {
    /// A required check that feeds the readiness probe, runs every 5 seconds, may take 1 second, and whose every result
    /// counts.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            probe: Probe::Readiness,
            required: true,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            failures: 1,
            successes: 1,
        }
    }

    /// The probe that it feeds; see [`Probe::includes`].
    #[must_use]
    pub const fn probe(mut self, probe: Probe) -> Self {
        self.probe = probe;
        self
    }

    /// Shown only: its failure makes `/health` say `degraded`, and fails no probe.
    #[must_use]
    pub const fn informative(mut self) -> Self {
        self.required = false;
        self
    }

    /// Time from the start of a run to that of the next.
    #[must_use]
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Longest time of a run.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Failures in a row from which on it fails.
    #[must_use]
    pub const fn failures(mut self, threshold: u32) -> Self {
        self.failures = threshold;
        self
    }

    /// Successes in a row from which on it passes.
    #[must_use]
    pub const fn successes(mut self, threshold: u32) -> Self {
        self.successes = threshold;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a check may be registered so: what [`crate::System::add`] looks at first.
    ///
    /// # Errors
    /// [`Error::CheckName`], [`Error::CheckOption`], [`Error::NetworkLiveness`].
    pub fn validate(&self, check: &dyn Check) -> Result<()> {
        self.validate_name()?;
        for (what, found, (least, most)) in
            [("interval", self.interval, INTERVALS), ("timeout", self.timeout, TIMEOUTS)]
        {
            if !(least..=most).contains(&found) {
                let expected = format!("{least:?} to {most:?}");
                return Err(self.option(what, format!("{found:?}"), expected));
            }
        }
        for (what, found) in [("failure threshold", self.failures), ("success threshold", self.successes)] {
            if !(1..=MAX_THRESHOLD).contains(&found) {
                return Err(self.option(what, found.to_string(), format!("1 to {MAX_THRESHOLD}")));
            }
        }
        if self.probe == Probe::Liveness && check.needs_network() {
            return Err(Error::NetworkLiveness { name: self.name.clone() });
        }
        Ok(())
    }

    fn validate_name(&self) -> Result<()> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
        let found = match self.name.chars().find(|c| !is_allowed(*c)) {
            _ if self.name.is_empty() => "an empty name".to_owned(),
            _ if self.name.len() > MAX_NAME => format!("{} bytes", self.name.len()),
            Some(c) => format!("{c:?}"),
            None => return Ok(()),
        };
        Err(Error::CheckName { name: self.name.chars().take(MAX_NAME).collect(), found })
    }

    fn option(&self, what: &'static str, found: String, expected: String) -> Error {
        Error::CheckOption { name: self.name.clone(), what, found, expected }
    }
}
