//! A segment in which registrations are refused.

use std::path::PathBuf;

use dyn_metrics::{Builder, Counter, Error, Metric, Opts, Registry};
use dyn_metrics_reader::{Collector, Snapshot, Statistic, check};

use crate::refusals::{assert_clear, counted, substance};

/// A segment with a counter that must go on counting whatever is refused.
#[derive(Debug)]
pub struct Scene {
    /// Its directory, where nothing else lies.
    pub directory: tempfile::TempDir,
    /// Its path.
    pub path: PathBuf,
    /// The registry over it.
    pub registry: Registry,
    counter: Counter,
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Scene {
    /// A new one.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn new() -> Self {
        Self::with(|builder| builder)
    }

    /// A new one with these options.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn with(options: impl FnOnce(Builder) -> Builder) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let path = directory.path().join("segment");
        let registry = options(Registry::builder().path(&path)).open().expect("a segment");
        let counter = registry.counter("events_total", "Events").expect("a counter");
        counter.inc();
        Self { directory, path, registry, counter }
    }

    /// Its path as text.
    ///
    /// # Panics
    /// When that isn't UTF-8.
    #[must_use]
    pub fn path(&self) -> &str {
        self.path.to_str().expect("UTF-8")
    }

    /// `attempt` fails with these words, is counted as `why`, and changes nothing.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn refuses<T>(
        &self,
        why: Statistic,
        attempt: impl FnOnce(&Registry) -> Result<T, Error>,
        parts: &[&str],
    ) -> Error {
        let (before, count, events) = (substance(&self.path), counted(&self.path, why), self.counter.value());
        let error = attempt(&self.registry).err().unwrap_or_else(|| panic!("no error for {parts:?}"));
        assert!(substance(&self.path) == before, "the segment changed: {error}");
        assert_eq!(counted(&self.path, why), count + 1, "counted once: {error}");
        assert_clear(&error.to_string(), parts);
        self.counter.inc();
        assert_eq!(self.counter.value(), events + 1, "counting goes on");
        error
    }

    /// Neither a family nor, without label names, a single series of this kind is registered.
    ///
    /// # Panics
    /// When one is.
    pub fn refuses_invalid<M: Metric>(&self, opts: &Opts, names: &[&str], parts: &[&str]) {
        self.refuses(Statistic::RefusedInvalid, |registry| registry.family::<M>(opts, names), parts);
        if names.is_empty() {
            self.refuses(Statistic::RefusedInvalid, |registry| registry.create::<M>(opts), parts);
        }
    }

    /// What a reader sees.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Collector::new(&[self.path().to_owned()]).collect()
    }

    /// The families that are registered.
    #[must_use]
    pub fn families(&self) -> Vec<String> {
        self.snapshot().families.into_iter().map(|family| family.name).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let report = check::check(&self.path).expect("a segment");
            assert!(report.is_sound(), "{:?}", report.faults);
        }
    }
}
