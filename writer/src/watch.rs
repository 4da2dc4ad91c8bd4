//! Callbacks on changes and on thresholds, in the process that asks, whoever writes.
//!
//! ```
//! # fn main() -> Result<(), dyn_metrics::Error> {
//! # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
//! # let registry = dyn_metrics::Registry::open_at(dir.path().join("s"))?;
//! use std::sync::mpsc::channel;
//! use dyn_metrics::watch::{Threshold, Watched};
//!
//! let depth = registry.gauge("queue_depth", "Requests that wait")?;
//! let (sender, events) = channel();
//! let rule = Threshold::above(100.0).hysteresis(20.0);
//! let _subscription = registry.on_threshold(Watched::family("queue_depth"), rule, move |event| {
//!     let _ = sender.send((event.name().to_owned(), event.value()));
//! })?;
//! depth.set(150); // here, or in any other process
//! assert_eq!(events.recv().unwrap(), ("queue_depth".to_owned(), Some(150.0)));
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is added to updates: one thread of the process that asks looks at the segment about every millisecond, less
//! often when that would cost more than a hundredth of a processor, or a twentieth while values change. So it sees what is
//! there when it looks: a gauge that is set and set back in between has not changed.
//!
//! Callbacks run on threads of their own, one call of a subscription at a time. While a callback is busy, the newest
//! event of each series waits for it and replaces an older one; nothing else queues. One that blocks keeps one thread (of
//! at most 512) and nobody else waits for it; one that panics is called again at the next event. Both are logged, and
//! counted in [`Counts`].
//!
//! What is compared is the merged value, as a scrape would show it: of a counter the total, of a gauge its processes'
//! combined by its mode, of a tally and a histogram the number of observations, of a state set its bits as a number.
//! Series and segments need not exist yet. A series that comes later is an event with no old value, one that goes one with no
//! new value.
//!
//! A forked child has none of its parent's subscriptions, and may subscribe anew.

mod computed;
mod engine;
mod event;
mod home;
mod mailbox;
mod pace;
mod pool;
mod rule;
mod source;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use computed::Computed;
use engine::Engine;
pub use engine::Report;
pub use event::Event;
use home::Choice;
pub use mailbox::Counts;
use mailbox::Mailbox;
use rule::Rule;
pub use rule::Threshold;

use dyn_metrics_layout::name::check_metric_name;

use crate::error::{Error, Result};
use crate::family::{AnyFamily, Family};
use crate::metric::Metric;
use crate::origin::Identity;
use crate::registry::Registry;

/// What is watched: a family, some of its series or one, or what a function computes.
///
/// A handle and a [`Family`] become one by `into()`, so they can be given where one is wanted.
pub struct Watched(What);

enum What {
    /// Series by names as the registry knows them: its prefix and labels are added.
    Named {
        name: String,
        choice: Choice,
    },
    /// Those of a handle or a family of the segment at this path.
    Ours {
        path: PathBuf,
        name: Arc<str>,
        choice: Choice,
    },
    Computed {
        name: String,
        function: computed::Function,
    },
    /// A handle's or a family's that belongs to no segment.
    Nothing,
}

impl Watched {
    /// All series of a family, also those that come later. `name` is what it was registered by in the registry that is
    /// asked: a [child](Registry::child) adds its prefix and sees the series with its labels.
    #[must_use]
    pub fn family(name: &str) -> Self {
        Self(What::Named { name: name.to_owned(), choice: Choice::default() })
    }

    /// The series of a family with these labels and, but for those that the registry and the segment add, no others.
    #[must_use]
    pub fn series(name: &str, labels: &[(&str, &str)]) -> Self {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self(What::Named { name: name.to_owned(), choice: Choice { labels, others: Some(Vec::new()) } })
    }

    /// What `function` gives, called about every 5 ms on one of the callbacks' threads; none is no value.
    #[must_use]
    pub fn computed(name: &str, function: impl FnMut() -> Option<f64> + Send + 'static) -> Self {
        Self(What::Computed { name: name.to_owned(), function: Box::new(function) })
    }

    /// Only series with this label.
    #[must_use]
    pub fn matching(mut self, label: &str, value: &str) -> Self {
        if let What::Named { choice, .. } | What::Ours { choice, .. } = &mut self.0 {
            choice.labels.push((label.to_owned(), value.to_owned()));
        }
        self
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            What::Named { name, choice } => write!(f, "Watched({name} {:?})", choice.labels),
            What::Ours { name, choice, .. } => write!(f, "Watched({name} {:?})", choice.labels),
            What::Computed { name, .. } => write!(f, "Watched({name}, computed)"),
            What::Nothing => f.write_str("Watched(nothing)"),
        }
    }
}

impl<M: Metric> From<&M> for Watched {
    fn from(handle: &M) -> Self {
        let Some(Identity::Segment(origin)) = handle.identity() else { return Self(What::Nothing) };
        let Ok(labels) = origin.labels() else { return Self(What::Nothing) };
        let segment = origin.family.segment;
        let choice = Choice { labels, others: Some(crate::own::common_labels(segment)) };
        let name = origin.family.name.as_str().into();
        Self(What::Ours { path: segment.path.clone(), name, choice })
    }
}

impl<M: Metric> From<&Family<M>> for Watched {
    fn from(family: &Family<M>) -> Self {
        let AnyFamily::Segment(core) = family.core() else { return Self(What::Nothing) };
        let (path, name) = (core.segment.path.clone(), core.name.as_str().into());
        Self(What::Ours { path, name, choice: Choice::default() })
    }
}

/// A subscription. It ends when this is dropped.
#[must_use = "a subscription ends when it is dropped"]
pub struct Subscription {
    mailbox: Arc<Mailbox>,
    engine: &'static Engine,
    is_kept: bool,
}

impl Subscription {
    /// Ends it: no call begins after this has returned; one that is under way goes on. Waits for nobody, and may be
    /// called by the callback itself, and more than once.
    pub fn cancel(&self) {
        if self.mailbox.is_ended() {
            return;
        }
        if self.engine.is_ours() {
            self.mailbox.finish();
            self.engine.note_end();
        } else {
            // In a forked child: whatever its parent's threads had locked stays locked here.
            self.mailbox.abandon();
        }
    }

    /// As [`Self::cancel`], and waits at most `most` for the call that is under way: whether none is. Called by the
    /// callback itself it doesn't wait.
    pub fn cancel_and_wait(&self, most: Duration) -> bool {
        self.cancel();
        !self.engine.is_ours() || self.mailbox.wait_until_free(most)
    }

    /// Whether it hasn't ended.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.mailbox.is_ended() && self.engine.is_ours()
    }

    /// What has become of its events.
    #[must_use]
    pub fn counts(&self) -> Counts {
        if self.engine.is_ours() { self.mailbox.counts() } else { Counts::default() }
    }

    /// Keeps it for as long as the process lives.
    pub fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.is_kept {
            self.cancel();
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("is_active", &self.is_active()).finish_non_exhaustive()
    }
}

/// What the watcher of this process does.
#[must_use]
pub fn report() -> Report {
    Engine::of_this_process().map_or_else(|_| Report::default(), Engine::report)
}

impl Registry {
    /// Calls `callback` whenever a value of what is watched has changed: see [`crate::watch`].
    ///
    /// Cost: reads the family, in which updates meanwhile are not noticed by others' subscriptions; none for updates.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for series of a registry that is no segment, and for handles of another; [`Error::Thread`]
    /// when there can be no further thread.
    pub fn on_change(
        &self,
        watched: impl Into<Watched>,
        callback: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Subscription> {
        self.subscribe(watched.into(), Rule::Change, Box::new(callback))
    }

    /// Calls `callback` whenever a value of what is watched has crossed `threshold`, at once if it has already.
    ///
    /// It is told of once, and again only after the value has come back behind the limit by the hysteresis, or was
    /// gone. The way back is not told of. See [`crate::watch`].
    ///
    /// # Errors
    /// [`Error::Option`] for a limit or hysteresis that is no finite number, and for a negative hysteresis; as
    /// [`Self::on_change`].
    pub fn on_threshold(
        &self,
        watched: impl Into<Watched>,
        threshold: Threshold,
        callback: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Subscription> {
        threshold.check()?;
        self.subscribe(watched.into(), Rule::Threshold(threshold), Box::new(callback))
    }

    fn subscribe(&self, watched: Watched, rule: Rule, callback: mailbox::Callback) -> Result<Subscription> {
        let engine = Engine::of_this_process()?;
        let (path, name, choice) = match watched.0 {
            What::Computed { name, function } => {
                let mut computed = Computed::new(function, rule);
                let name: Arc<str> = name.into();
                let first = computed.look(&name);
                let mailbox = Mailbox::new(name, callback, Some(computed));
                engine.watch_computed(Arc::clone(&mailbox), first)?;
                return Ok(Subscription { mailbox, engine, is_kept: false });
            }
            What::Named { name, choice } => self.named(&name, choice)?,
            What::Ours { path, name, choice } if path == self.path() => (path, name, choice),
            What::Ours { .. } | What::Nothing => {
                return Err(self.unsupported("watch a handle that is not of its segment"));
            }
        };
        let mailbox = Mailbox::new(Arc::clone(&name), callback, None);
        engine.watch((&path, &name), choice, rule, Arc::clone(&mailbox))?;
        Ok(Subscription { mailbox, engine, is_kept: false })
    }

    /// Series by their names in this registry.
    fn named(&self, name: &str, mut choice: Choice) -> Result<(PathBuf, Arc<str>, Choice)> {
        let Some(segment) = self.current() else {
            return Err(self.unsupported("watch series, only functions"));
        };
        let name = [self.prefix(), name].concat();
        check_metric_name(&name).map_err(|reason| {
            let (what, name) = ("metric name", name.clone());
            Error::Name { what, name, reason }
        })?;
        choice.labels.extend(self.labels().iter().cloned());
        if let Some(others) = &mut choice.others {
            others.extend(crate::own::common_labels(segment));
        }
        Ok((self.path().to_owned(), name.into(), choice))
    }
}

/// What a lock guards, also after a panic: no user's code runs under one of ours.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
