//! The registry: the segment under a name, and the metrics registered in it.
#![allow(unsafe_code, reason = "references to values that are leaked on purpose")]

use crate::local::{AtomicPtr, Ordering};
use std::path::Path;
use std::sync::Arc;

use crate::attach;
use crate::error::Result;
use crate::family::{Family, LabelPlan};
use crate::metric::Metric;
use crate::metrics::{
    Counter, DurationCounter, DurationGauge, FloatCounter, FloatGauge, Gauge, Histogram, Info, StateSet,
    Tally,
};
use crate::options::Builder;
use crate::opts::Opts;
use crate::segment::Segment;
use crate::sys::FileId;

/// The reference behind a pointer to something that was leaked; callers store only such pointers.
pub(crate) fn leaked<T>(pointer: *mut T) -> &'static T {
    // SAFETY: callers take the pointer from a `&'static T`.
    unsafe { &*pointer }
}

struct Inner {
    options: Builder,
    current: AtomicPtr<Segment>,
}

/// A segment, and everything that is registered in it.
///
/// Cheap to clone, `Send` and `Sync`. All registries of one path, in all processes and languages, share
/// their series: equal name and labels are the same series.
///
/// After a replacement of the segment, handles go on counting into the old file (readers merge both), and new
/// registrations go to the new one.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("path", &self.inner.options.path).finish_non_exhaustive()
    }
}

impl Registry {
    /// Opens the segment at `DYN_METRICS_SHM`, else at `/dev/shm/dynamo`; creates it when there is none.
    ///
    /// # Errors
    /// [`crate::Error`]; what is at the path is unchanged then.
    pub fn open() -> Result<Self> {
        Self::builder().open()
    }

    /// Opens the segment at `path`; creates it when there is none.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_at(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().path(path).open()
    }

    /// Options for opening a segment.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn with_options(mut options: Builder) -> Result<Self> {
        // The host may change its directory; registrations go on going to the same segment.
        if let Ok(path) = std::path::absolute(&options.path) {
            options.path = path;
        }
        let segment = attach::open(&options)?;
        segment.join();
        options.fresh = false;
        let current = AtomicPtr::new(std::ptr::from_ref(segment).cast_mut());
        Ok(Self { inner: Arc::new(Inner { options, current }) })
    }

    /// The segment's path, absolute.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.options.path
    }

    /// The segment that the name leads to now; opened anew when it was replaced or removed.
    pub(crate) fn segment(&self) -> Result<&'static Segment> {
        let current: &'static Segment = leaked(self.inner.current.load(Ordering::Acquire));
        if FileId::at(&self.inner.options.path) == Ok(current.id) {
            return Ok(current);
        }
        log::info!("{}: replaced or removed; new registrations go to the new segment", self.path().display());
        let opened = attach::open(&self.inner.options)?;
        opened.join();
        self.inner.current.store(std::ptr::from_ref(opened).cast_mut(), Ordering::Release);
        Ok(opened)
    }

    /// Finds or registers a single series: a handle.
    ///
    /// # Errors
    /// What is wrong with name, labels, bounds or options; a conflict or clash with another family, naming
    /// who registered it; no space. The segment is unchanged then (but for a family that turns out to clash with one
    /// registered at the same moment: its record stays, and readers skip it). `unwrap_or_default()` gives a working
    /// handle that nobody else sees.
    pub fn create<M: Metric>(&self, opts: &Opts) -> Result<M> {
        let segment = self.segment()?;
        opts.check(M::KIND, &[]).map_err(|error| segment.refused(error))?;
        let core = segment.family(opts, M::KIND)?;
        M::attach(core, LabelPlan::new(&opts.labels, &[]).find_or_register(core, &[])?.0)
    }

    /// Finds or registers a family whose series differ in the values of `label_names`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn family<M: Metric>(&self, opts: &Opts, label_names: &[&str]) -> Result<Family<M>> {
        Family::new(self, opts, label_names)
    }

    /// A counter of whole events. Errors: as [`Self::create`], here and below.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter> {
        self.create(&Opts::new(name, help))
    }

    /// A counter of fractional amounts.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn float_counter(&self, name: &str, help: &str) -> Result<FloatCounter> {
        self.create(&Opts::new(name, help))
    }

    /// A counter of time, exposed in seconds.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn duration_counter(&self, name: &str, help: &str) -> Result<DurationCounter> {
        self.create(&Opts::new(name, help))
    }

    /// Count and sum of observations.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn tally(&self, name: &str, help: &str) -> Result<Tally> {
        self.create(&Opts::new(name, help))
    }

    /// A gauge of whole numbers; values of several processes add up unless `Opts` says otherwise.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge> {
        self.create(&Opts::new(name, help))
    }

    /// A gauge of fractional numbers.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn float_gauge(&self, name: &str, help: &str) -> Result<FloatGauge> {
        self.create(&Opts::new(name, help))
    }

    /// A gauge of time, exposed in seconds.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn duration_gauge(&self, name: &str, help: &str) -> Result<DurationGauge> {
        self.create(&Opts::new(name, help))
    }

    /// A histogram with these upper bounds, ascending, without `+Inf`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram> {
        self.create(&Opts::new(name, help).bounds(bounds))
    }

    /// Facts that don't change, as labels.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<Info> {
        let opts = labels.iter().fold(Opts::new(name, help), |opts, (name, value)| opts.label(name, value));
        self.create(&opts)
    }

    /// Named states, each on or off.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn state_set(&self, name: &str, help: &str, states: &[&str]) -> Result<StateSet> {
        self.create(&Opts::new(name, help).states(states))
    }
}
