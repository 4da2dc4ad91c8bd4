//! Families: series of one name that differ in their labels.

use crate::local::{AtomicU64, AtomicUsize, Ordering};
use std::fmt;
use std::sync::Arc;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::record::{self, State};
use dyn_metrics_layout::sync::load_acquire;
use dyn_metrics_layout::{GaugeMode, Kind};

use crate::error::{Error, Result, difference, shorten};
use crate::foreign::ForeignFamily;
use crate::label_plan::LabelPlan;
use crate::metric::Metric;
use crate::metrics::Buckets;
use crate::opts::Opts;
use crate::origin::Identity;
use crate::registry::Registry;
use crate::segment::{Granted, Refusal, Segment};
use crate::series_cache::{Address, Content, Key, SeriesCache};

/// Label value of the series that stands for all beyond a family's limit.
pub const OVERFLOW: &str = "__overflow__";

/// At a family's limit, how many look-ups go by between two looks at what the segment's name leads to.
const OVERFLOWS_BETWEEN_LOOKS: usize = 1024;

/// A family of a segment, as this process knows it; never released.
pub(crate) struct FamilyCore {
    pub(crate) segment: &'static Segment,
    pub(crate) offset: u64,
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) unit: String,
    pub(crate) registrant: String,
    pub(crate) kind: Kind,
    pub(crate) mode: GaugeMode,
    pub(crate) level: u8,
    pub(crate) shared_only: bool,
    pub(crate) keep_dead: u32,
    pub(crate) max_series: u32,
    /// Of a histogram.
    pub(crate) buckets: Option<Buckets>,
    pub(crate) states: Box<[String]>,
}

impl fmt::Debug for FamilyCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FamilyCore")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl FamilyCore {
    pub(crate) fn new(segment: &'static Segment, offset: u64, family: &record::Family<'_>) -> Self {
        let buckets = || Buckets::new(&family.bounds.iter().collect::<Vec<_>>());
        Self {
            segment,
            offset,
            name: family.name.to_owned(),
            help: family.help.to_owned(),
            unit: family.unit.to_owned(),
            registrant: family.registrant.to_owned(),
            kind: family.kind,
            mode: family.mode,
            level: family.level,
            shared_only: family.shared_only,
            keep_dead: family.keep_dead,
            max_series: family.max_series,
            buckets: (family.kind == Kind::Histogram).then(buckets),
            states: family.states.iter().map(str::to_owned).collect(),
        }
    }

    /// Upper bounds of a histogram, without `+Inf`; none of other kinds.
    pub(crate) fn bounds(&self) -> &[f64] {
        Buckets::bounds_of(self.buckets.as_ref())
    }

    /// An error that names this family.
    pub(crate) fn error(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Layout(source @ dyn_metrics_layout::Error::TooLong { .. }) => {
                Error::TooLong { metric: self.name.clone(), source }
            }
            other => self.segment.error("a series", other),
        }
    }

    pub(crate) fn state(&self) -> Granted<&'static State> {
        self.segment.at(record::state_offset(self.offset))
    }

    /// Whether the family is at its limit of series.
    pub(crate) fn is_full(&self) -> Granted<bool> {
        Ok(load_acquire(&self.state()?.series) >= u64::from(self.max_series)) // pairs with: Segment::series()
    }

    /// Counts a look-up that got the overflow series.
    pub(crate) fn count_refused_series(&self) -> Granted<()> {
        self.state()?.refused.fetch_add(1, Ordering::Relaxed);
        self.segment.count(Statistic::RefusedSeriesLimit, 1);
        Ok(())
    }

    /// What another registration must agree with.
    pub(crate) fn shape(&self) -> Shape<'_> {
        let Self { name, unit, registrant, kind, mode, states, .. } = self;
        Shape { name, unit, registrant, kind: *kind, mode: *mode, bounds: self.bounds(), states }
    }
}

/// What all registrations of a family must agree in, and who registered it first.
pub(crate) struct Shape<'f> {
    pub(crate) name: &'f str,
    pub(crate) unit: &'f str,
    pub(crate) registrant: &'f str,
    pub(crate) kind: Kind,
    pub(crate) mode: GaugeMode,
    pub(crate) bounds: &'f [f64],
    pub(crate) states: &'f [String],
}

impl Shape<'_> {
    /// Whether `opts` describes this family; the first difference names both sides.
    pub(crate) fn check_same(&self, opts: &Opts, kind: Kind) -> Result<()> {
        let numbers = |bounds: &[f64]| bounds.iter().map(|bound| format!("{bound:?}")).collect::<Vec<_>>();
        let names = |states: &[String]| states.iter().map(|state| shorten(state)).collect::<Vec<_>>();
        let wanted_mode = opts.mode_for(kind);
        let differs = if self.kind != kind {
            ("type", self.kind.name().to_owned(), kind.name().to_owned())
        } else if self.unit != opts.unit {
            ("unit", shorten(self.unit), shorten(&opts.unit))
        } else if self.bounds != opts.bounds_for(kind) {
            let (existing, wanted) = difference(&numbers(self.bounds), &numbers(opts.bounds_for(kind)));
            ("bounds", existing, wanted)
        } else if kind.is_per_process() && self.mode != wanted_mode {
            ("mode", self.mode.name().to_owned(), wanted_mode.name().to_owned())
        } else if kind == Kind::StateSet && self.states != opts.states {
            let (existing, wanted) = difference(&names(self.states), &names(&opts.states));
            ("states", existing, wanted)
        } else {
            return Ok(());
        };
        let (what, existing, wanted) = differs;
        let (metric, registrant) = (self.name.to_owned(), self.registrant.to_owned());
        Err(Error::Conflict { metric, what, existing, registrant, wanted })
    }

    /// The error of a name that clashes with this family.
    pub(crate) fn clash(&self, opts: &Opts, kind: Kind) -> Error {
        Error::Clash {
            metric: opts.name.clone(),
            kind: kind.name(),
            other: self.name.to_owned(),
            other_kind: self.kind.name(),
            registrant: self.registrant.to_owned(),
        }
    }
}

/// A family of a segment or of another registry.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AnyFamily {
    Segment(&'static FamilyCore),
    Foreign(&'static ForeignFamily),
}

impl From<&'static FamilyCore> for AnyFamily {
    fn from(core: &'static FamilyCore) -> Self {
        Self::Segment(core)
    }
}

impl AnyFamily {
    /// Whether both are the same one.
    pub(crate) fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Segment(one), Self::Segment(other)) => std::ptr::eq(one, other),
            (Self::Foreign(one), Self::Foreign(other)) => std::ptr::eq(one, other),
            _ => false,
        }
    }

    /// Most series it may have.
    pub(crate) const fn max_series(self) -> u32 {
        match self {
            Self::Segment(core) => core.max_series,
            Self::Foreign(family) => family.max_series,
        }
    }

    /// Grows whenever one of its series is removed, before that is gone.
    pub(crate) fn removals(self) -> &'static AtomicU64 {
        match self {
            Self::Segment(core) => core.removals(),
            Self::Foreign(family) => &family.removals,
        }
    }

    /// A handle like those of its series, whose cells nobody else sees.
    pub(crate) fn private<M: Metric>(self) -> M {
        match self {
            Self::Segment(core) => M::private(core.buckets.as_ref(), &core.states),
            Self::Foreign(family) => M::private(family.buckets.as_ref(), &family.states),
        }
    }
}

/// Whether the series of a handle was removed.
fn is_gone<M: Metric>(handle: &M) -> bool {
    handle.identity().is_some_and(Identity::is_gone)
}

struct Inner<M> {
    registry: Registry,
    opts: Opts,
    kind: Kind,
    plan: LabelPlan,
    /// That of the overflow series, and its values.
    overflow: (LabelPlan, Vec<&'static str>),
    cache: SeriesCache<M>,
    /// Look-ups that ended in a private handle.
    failures: AtomicUsize,
    /// Look-ups at the family's limit.
    overflows: AtomicUsize,
}

/// Series of one name, found or made by the values of their labels.
///
/// Cheap to clone, `Send` and `Sync`. A look-up of a series that exists makes no system call. A family remembers
/// the handles it has handed out: about 200 bytes for each series that was asked for.
///
/// ```
/// # fn main() -> Result<(), dyn_metrics::Error> {
/// # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
/// # let registry = dyn_metrics::Registry::open_at(dir.path().join("s"))?;
/// use dyn_metrics::{Counter, Opts};
///
/// let requests = registry.family::<Counter>(
///     &Opts::new("llm_requests_total", "Requests answered"),
///     &["model", "status"],
/// )?;
/// requests.with(&["llama", "ok"]).inc();
/// assert_eq!(requests.with(&["llama", "ok"]).value(), 1);
/// assert!(requests.get(&["mistral", "ok"]).is_none());
/// # Ok(())
/// # }
/// ```
pub struct Family<M> {
    inner: Arc<Inner<M>>,
}

impl<M> Clone for Family<M> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.inner.opts.name).finish_non_exhaustive()
    }
}

impl<M: Metric> Family<M> {
    pub(crate) fn new(registry: &Registry, opts: &Opts, names: &[&str]) -> Result<Self> {
        let core = registry.register_family::<M>(opts, names)?;
        let plan = LabelPlan::new(&opts.labels, names);
        let inner = Inner {
            registry: registry.clone(),
            opts: opts.clone(),
            kind: M::KIND,
            overflow: plan.overflow(),
            plan,
            cache: SeriesCache::new(core, is_gone),
            failures: AtomicUsize::new(0),
            overflows: AtomicUsize::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The series with these label values, in the order of the family's label names; found or made.
    ///
    /// Cost: a hash of the values and a comparison when they were asked for before: no lock, no allocation, no
    /// system call. A search of the index when the series exists; a registration otherwise. Threads that ask for
    /// the same series don't disturb each other.
    /// Errors: none. What can't be had is counted, and the handle's cell is then private to the caller.
    #[inline]
    #[must_use]
    pub fn with(&self, values: &[&str]) -> M {
        match self.inner.cache.get::<Content>(values) {
            Some(handle) => handle.clone(),
            None => self.with_new::<Content>(values),
        }
    }

    /// As [`Self::with`], for values that are literals: told apart by where they lie, which is cheaper.
    ///
    /// Equal values at different places are the same series.
    #[inline]
    #[must_use]
    pub fn with_static(&self, values: &[&'static str]) -> M {
        match self.inner.cache.get::<Address>(values) {
            Some(handle) => handle.clone(),
            None => self.with_new::<Address>(values),
        }
    }

    /// As [`Self::with`], by the name that Prometheus' libraries have for it.
    #[inline]
    #[must_use]
    pub fn with_label_values(&self, values: &[&str]) -> M {
        self.with(values)
    }

    #[cold]
    fn with_new<K: Key>(&self, values: &[&str]) -> M {
        self.find_or_make::<K>(values).unwrap_or_else(|error| {
            // Whoever asks again and again is told ever more rarely.
            if (self.inner.failures.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
                log::warn!("{error}; counting privately");
            }
            self.core().private()
        })
    }

    /// As [`Self::with`], but says what went wrong.
    ///
    /// # Errors
    /// [`Error::LabelCount`], [`Error::TooLong`], [`Error::Full`] and what concerns a damaged segment.
    pub fn try_with(&self, values: &[&str]) -> Result<M> {
        match self.inner.cache.get::<Content>(values) {
            Some(handle) => Ok(handle.clone()),
            None => self.find_or_make::<Content>(values),
        }
    }

    fn find_or_make<K: Key>(&self, values: &[&str]) -> Result<M> {
        if let Some(handle) = self.swept::<K>(values) {
            return Ok(handle);
        }
        match self.core() {
            AnyFamily::Segment(core) => self.find_or_register::<K>(core, values),
            AnyFamily::Foreign(family) => self.find_or_ask::<K>(family, values),
        }
    }

    fn find_or_register<K: Key>(&self, core: &'static FamilyCore, values: &[&str]) -> Result<M> {
        if let Some(found) = self.find_handle::<K>(core, values)? {
            return Ok(found);
        }
        if let Some(series) = self.known_overflow(core)? {
            return M::attach(core, series);
        }
        let core = self.current_core(core)?;
        let (series, is_overflow) = self.inner.plan.find_or_register(core, values)?;
        let handle = M::attach(core, series)?;
        if !is_overflow {
            self.inner.cache.put::<K>(core, values, handle.clone());
        }
        Ok(handle)
    }

    /// The handle of a series that is no segment's.
    fn find_or_ask<K: Key>(&self, family: &'static ForeignFamily, values: &[&str]) -> Result<M> {
        self.check_count(values)?;
        let Inner { registry, plan, cache, .. } = &*self.inner;
        let foreign = registry.foreign()?;
        let (slot, is_overflow) = foreign.series(family, M::REPRESENTATION, plan, values)?;
        let handle: M = family.handle(slot);
        if !is_overflow {
            cache.put::<K>(AnyFamily::Foreign(family), values, handle.clone());
        }
        Ok(handle)
    }

    /// As [`Self::find_handle`], of a series that is no segment's.
    fn find_foreign(&self, family: &'static ForeignFamily, values: &[&str]) -> Result<Option<M>> {
        self.check_count(values)?;
        let Inner { registry, plan, .. } = &*self.inner;
        Ok(registry.foreign()?.find(family, plan, values)?.map(|slot| family.handle(slot)))
    }

    /// The overflow series of a family that is at its limit, without a system call; now and then none, so that
    /// the caller sees whether the segment was replaced.
    fn known_overflow(&self, core: &'static FamilyCore) -> Result<Option<u64>> {
        let refuse = |refusal| core.segment.refused(core.error(refusal));
        if !core.is_full().map_err(refuse)? {
            return Ok(None);
        }
        let (plan, values) = &self.inner.overflow;
        let found = plan.find(core, values)?;
        let asked = self.inner.overflows.fetch_add(1, Ordering::Relaxed);
        if found.is_some() && !asked.is_multiple_of(OVERFLOWS_BETWEEN_LOOKS) {
            core.count_refused_series().map_err(refuse)?;
            return Ok(found);
        }
        Ok(None)
    }

    /// The series with these label values, if it is registered.
    #[must_use]
    pub fn get(&self, values: &[&str]) -> Option<M> {
        if let Some(handle) = self.inner.cache.get::<Content>(values) {
            return Some(handle.clone());
        }
        if let Some(handle) = self.swept::<Content>(values) {
            return Some(handle);
        }
        match self.core() {
            AnyFamily::Segment(core) => self.find_handle::<Content>(core, values).ok().flatten(),
            AnyFamily::Foreign(family) => self.find_foreign(family, values).ok().flatten(),
        }
    }

    /// What is remembered for these values once everything that was removed is forgotten.
    fn swept<K: Key>(&self, values: &[&str]) -> Option<M> {
        self.inner.cache.sweep();
        self.inner.cache.get::<K>(values).cloned()
    }

    /// The handle of a series of `core` that is registered; remembered from now on.
    fn find_handle<K: Key>(&self, core: &'static FamilyCore, values: &[&str]) -> Result<Option<M>> {
        let Some(series) = self.find(core, values)? else { return Ok(None) };
        let handle = M::attach(core, series)?;
        self.inner.cache.put::<K>(core, values, handle.clone());
        Ok(Some(handle))
    }

    /// The series in `core`, which another thread may be about to replace: offsets mean nothing elsewhere.
    fn find(&self, core: &'static FamilyCore, values: &[&str]) -> Result<Option<u64>> {
        self.check_count(values).map_err(|error| core.segment.refused(error))?;
        self.inner.plan.find(core, values).map_err(|error| core.segment.refused(error))
    }

    /// Its registry, and the labels of its series.
    pub(crate) fn parts(&self) -> (&Registry, &LabelPlan) {
        (&self.inner.registry, &self.inner.plan)
    }

    pub(crate) fn check_count(&self, values: &[&str]) -> Result<()> {
        let (found, expected) = (values.len(), self.inner.plan.given);
        if found == expected {
            return Ok(());
        }
        Err(Error::LabelCount { metric: self.inner.opts.name.clone(), found, expected })
    }

    /// What is remembered for these values, and the number of the segment that it belongs to.
    pub(crate) fn remembered(&self, values: &[&str]) -> Option<(M, u64)> {
        let (handle, generation) = self.inner.cache.get_of_generation::<Content>(values)?;
        Some((handle.clone(), generation))
    }

    /// See [`AnyFamily::removals`]; none unless the family is in the segment of this number.
    pub(crate) fn removals(&self, generation: u64) -> Option<&'static AtomicU64> {
        self.inner.cache.removals(generation)
    }

    pub(crate) fn core(&self) -> AnyFamily {
        self.inner.cache.core()
    }

    /// Looks what the name leads to now, as a look-up of new values does.
    pub(crate) fn follow(&self) -> Result<()> {
        match self.core() {
            AnyFamily::Segment(core) => self.current_core(core).map(drop),
            AnyFamily::Foreign(_) => Ok(()),
        }
    }

    /// The family in the segment that the name leads to now; new series go there after a replacement.
    fn current_core(&self, core: &'static FamilyCore) -> Result<&'static FamilyCore> {
        let segment = self.inner.registry.segment()?;
        if core.segment.id == segment.id {
            return Ok(core);
        }
        let moved = segment.family(&self.inner.opts, self.inner.kind)?;
        self.inner.cache.move_to(moved);
        Ok(moved)
    }
}
