//! Families: series of one name that differ in their labels.

use crate::local::{AtomicUsize, Ordering};
use std::fmt;
use std::sync::Arc;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::record::{self, MAX_RECORD, Series, State};
use dyn_metrics_layout::sync::load_acquire;
use dyn_metrics_layout::{GaugeMode, Kind};

use crate::error::{Error, Result, difference, shorten};
use crate::lookup::Identity;
use crate::metric::Metric;
use crate::metrics::Buckets;
use crate::opts::Opts;
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
    pub(crate) buckets: Option<&'static Buckets>,
    pub(crate) states: &'static [String],
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
        let buckets = || Box::leak(Box::new(Buckets::new(Box::leak(family.bounds.iter().collect()))));
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
            buckets: (family.kind == Kind::Histogram).then(buckets).map(|made| &*made),
            states: Box::leak(family.states.iter().map(str::to_owned).collect()),
        }
    }

    /// Upper bounds of a histogram, without `+Inf`; none of other kinds.
    pub(crate) fn bounds(&self) -> &'static [f64] {
        Buckets::bounds_of(self.buckets)
    }

    /// An error that names this family.
    fn error(&self, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Layout(source @ dyn_metrics_layout::Error::TooLong { .. }) => {
                Error::TooLong { metric: self.name.clone(), source }
            }
            other => self.segment.error("a series", other),
        }
    }

    fn state(&self) -> Granted<&'static State> {
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

    /// Whether `opts` describes this family; the first difference names both sides.
    pub(crate) fn check_same(&self, opts: &Opts, kind: Kind) -> Result<()> {
        let numbers = |bounds: &[f64]| bounds.iter().map(|bound| format!("{bound:?}")).collect::<Vec<_>>();
        let names = |states: &[String]| states.iter().map(|state| shorten(state)).collect::<Vec<_>>();
        let wanted_mode = opts.mode_for(kind);
        let differs = if self.kind != kind {
            ("type", self.kind.name().to_owned(), kind.name().to_owned())
        } else if self.unit != opts.unit {
            ("unit", shorten(&self.unit), shorten(&opts.unit))
        } else if self.bounds() != opts.bounds_for(kind) {
            let (existing, wanted) = difference(&numbers(self.bounds()), &numbers(opts.bounds_for(kind)));
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
        let (metric, registrant) = (self.name.clone(), self.registrant.clone());
        Err(Error::Conflict { metric, what, existing, registrant, wanted })
    }
}

/// Where the value of a label comes from.
#[derive(Clone, Debug)]
enum Source {
    Fixed(String),
    Given(usize),
}

/// The labels of a family's series, sorted by name: what identity is made of.
#[derive(Clone, Debug)]
pub(crate) struct LabelPlan {
    labels: Vec<(String, Source)>,
    given: usize,
}

/// Bytes before the label block in a series' identity: family offset, length, count.
const IDENTITY_HEAD: usize = 16;
/// Identities up to this long are built on the stack.
const STACK_IDENTITY: usize = 1024;

impl LabelPlan {
    pub(crate) fn new(fixed: &[(String, String)], names: &[&str]) -> Self {
        let fixed = fixed.iter().map(|(name, value)| (name.clone(), Source::Fixed(value.clone())));
        let given = names.iter().enumerate().map(|(at, name)| ((*name).to_owned(), Source::Given(at)));
        let mut labels: Vec<_> = fixed.chain(given).collect();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        Self { labels, given: names.len() }
    }

    fn pairs<'p>(&'p self, values: &'p [&'p str]) -> impl Iterator<Item = (&'p str, &'p str)> {
        self.labels.iter().map(|(name, source)| match source {
            Source::Fixed(value) => (name.as_str(), value.as_str()),
            Source::Given(at) => (name.as_str(), values[*at]),
        })
    }

    /// Builds the identity of the series with these values in `buffer`: the lengths of its label block and of
    /// the whole.
    fn identity(
        &self,
        family: u64,
        values: &[&str],
        buffer: &mut [u8],
    ) -> dyn_metrics_layout::Result<(usize, usize)> {
        let (head, rest) = buffer.split_at_mut(IDENTITY_HEAD);
        let used = record::encode_labels(self.pairs(values), rest)?;
        head[..8].copy_from_slice(&family.to_le_bytes());
        head[8..12].copy_from_slice(&(used as u32).to_le_bytes());
        head[12..].copy_from_slice(&(self.labels.len() as u32).to_le_bytes());
        let end = used.next_multiple_of(8).min(rest.len());
        rest[used..end].fill(0);
        Ok((used, IDENTITY_HEAD + end))
    }

    fn encoded_len(&self, values: &[&str]) -> usize {
        let labels: usize = self.pairs(values).map(|(name, value)| 4 + name.len() + value.len()).sum();
        (IDENTITY_HEAD + labels).next_multiple_of(8)
    }

    /// Runs `work` with the identity of the series with these values, its label block's length, and the segment's hash.
    fn with_identity<R>(
        &self,
        core: &FamilyCore,
        values: &[&str],
        work: impl FnOnce(&[u8], usize) -> Result<R>,
    ) -> Result<R> {
        let long = |source| Error::TooLong { metric: core.name.clone(), source };
        let len = self.encoded_len(values);
        if len <= STACK_IDENTITY {
            let mut buffer = [0; STACK_IDENTITY];
            let (labels, end) = self.identity(core.offset, values, &mut buffer).map_err(long)?;
            return work(&buffer[..end], labels);
        }
        let mut buffer = vec![0; len.min(MAX_RECORD)];
        let (labels, end) = self.identity(core.offset, values, &mut buffer).map_err(long)?;
        work(&buffer[..end], labels)
    }

    /// The series with these values, if it is registered.
    pub(crate) fn find(&self, core: &'static FamilyCore, values: &[&str]) -> Result<Option<u64>> {
        self.with_identity(core, values, |bytes, _| {
            let identity = Identity::series(core.segment, bytes);
            core.segment.find_record(&identity).map_err(|r| core.error(r))
        })
    }

    /// Finds or registers the series with these values; none when the family is at its limit.
    fn register(&self, core: &'static FamilyCore, values: &[&str], overflow: bool) -> Result<Option<u64>> {
        self.with_identity(core, values, |bytes, labels_len| {
            let labels = &bytes[IDENTITY_HEAD..IDENTITY_HEAD + labels_len];
            let count = self.labels.len() as u32;
            let registered = core.segment.series(core, bytes, labels, count, overflow);
            registered.map_err(|r| core.segment.refused(core.error(r)))
        })
    }

    /// Finds or registers the series with these values, or at the family's limit the overflow series; whether it
    /// is that.
    pub(crate) fn find_or_register(&self, core: &'static FamilyCore, values: &[&str]) -> Result<(u64, bool)> {
        if let Some(offset) = self.register(core, values, false)? {
            return Ok((offset, false));
        }
        let (plan, values) = self.overflow();
        let offset = plan.register(core, &values, true)?;
        let offset = offset.ok_or_else(|| core.error(Refusal::Kernel(nix::errno::Errno::ENOSPC)))?;
        Ok((offset, true))
    }

    /// Names and values of the overflow series. Constant labels too: handles that differ in them alone must not
    /// pass the limit either.
    fn overflow(&self) -> (Self, Vec<&'static str>) {
        let names: Vec<&str> = self.labels.iter().map(|(name, _)| name.as_str()).collect();
        (Self::new(&[], &names), vec![OVERFLOW; names.len()])
    }
}

const _: () = assert!(IDENTITY_HEAD == Series::identity_range(56).end - 40);

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
        let segment = registry.segment()?;
        opts.check(M::KIND, names).map_err(|error| segment.refused(error))?;
        let core = segment.family(opts, M::KIND)?;
        let plan = LabelPlan::new(&opts.labels, names);
        let inner = Inner {
            registry: registry.clone(),
            opts: opts.clone(),
            kind: M::KIND,
            overflow: plan.overflow(),
            plan,
            cache: SeriesCache::new(core),
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

    #[cold]
    fn with_new<K: Key>(&self, values: &[&str]) -> M {
        self.find_or_make::<K>(values).unwrap_or_else(|error| {
            // Whoever asks again and again is told ever more rarely.
            if (self.inner.failures.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two() {
                log::warn!("{error}; counting privately");
            }
            M::private(self.core().buckets, self.core().states)
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
        let core = self.core();
        if let Some(found) = self.find_handle::<K>(core, values)? {
            return Ok(found);
        }
        if let Some(series) = self.known_overflow(core)? {
            return M::attach(core, series);
        }
        let core = self.current_core()?;
        let (series, is_overflow) = self.inner.plan.find_or_register(core, values)?;
        let handle = M::attach(core, series)?;
        if !is_overflow {
            self.inner.cache.put::<K>(core, values, handle.clone());
        }
        Ok(handle)
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
        self.find_handle::<Content>(self.core(), values).ok().flatten()
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
        let (found, expected) = (values.len(), self.inner.plan.given);
        if found != expected {
            let error = Error::LabelCount { metric: self.inner.opts.name.clone(), found, expected };
            return Err(core.segment.refused(error));
        }
        self.inner.plan.find(core, values).map_err(|error| core.segment.refused(error))
    }

    /// What is remembered for these values, and the number of the segment that it belongs to.
    pub(crate) fn remembered(&self, values: &[&str]) -> Option<(M, u64)> {
        let (handle, generation) = self.inner.cache.get_of_generation::<Content>(values)?;
        Some((handle.clone(), generation))
    }

    pub(crate) fn core(&self) -> &'static FamilyCore {
        self.inner.cache.core()
    }

    /// The family in the segment that the name leads to now; new series go there after a replacement.
    fn current_core(&self) -> Result<&'static FamilyCore> {
        let (core, segment) = (self.core(), self.inner.registry.segment()?);
        if core.segment.id == segment.id {
            return Ok(core);
        }
        let moved = segment.family(&self.inner.opts, self.inner.kind)?;
        self.inner.cache.move_to(moved);
        Ok(moved)
    }
}
