//! The registry: the segment under a name or what is used instead, and the metrics registered in it.
#![allow(unsafe_code, reason = "references to values that are leaked on purpose")]

use crate::local::{AtomicPtr, Ordering};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dyn_metrics_layout::Kind;
use dyn_metrics_layout::name::{NameError, check_label_name, check_metric_name};

use crate::attach;
use crate::backend::{Backend, Null, Selection};
use crate::error::{Error, Result};
use crate::family::{AnyFamily, Family, FamilyCore};
use crate::foreign::Foreign;
use crate::label_plan::LabelPlan;
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

/// A segment, followed to what replaces it.
struct Followed {
    options: Builder,
    current: AtomicPtr<Segment>,
}

/// What a registry's series are kept in.
#[derive(Clone)]
enum Home {
    Segment(Arc<Followed>),
    Foreign(Arc<Foreign>),
}

/// A segment, or what is used instead of one, and everything that is registered in it.
///
/// Cheap to clone, `Send` and `Sync`. All registries of one path, in all processes and languages, share
/// their series: equal name and labels are the same series.
///
/// After a replacement of the segment, handles go on counting into the old file (readers merge both), and new
/// registrations go to the new one.
///
/// A registry [with a back end](Self::with_backend) is used in the same way: see [`crate::MetricsRegistry`] for
/// components that don't know what is behind it.
#[derive(Clone)]
pub struct Registry {
    home: Home,
    scope: Arc<Selection>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Registry");
        match &self.home {
            Home::Segment(followed) => shown.field("path", &followed.options.path),
            Home::Foreign(foreign) => shown.field("backend", &foreign.backend),
        };
        let Selection { prefix, labels, .. } = &*self.scope;
        shown.field("prefix", prefix).field("labels", labels).finish_non_exhaustive()
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
        let home = Home::Segment(Arc::new(Followed { options, current }));
        Ok(Self { home, scope: Arc::default() })
    }

    /// A registry whose series are kept by `backend`, and by no segment.
    ///
    /// What it checks, and what it refuses, is the same as in a segment. Families are this registry's: of two made
    /// with one back end, neither knows what the other registers. Families and series live as long as the process,
    /// as a segment's handles do.
    #[must_use]
    pub fn with_backend(backend: Arc<dyn Backend>) -> Self {
        let foreign = Foreign::new(Arc::clone(&backend));
        let number = foreign.number;
        backend.before_collecting(Arc::new(move || crate::on_scrape::run_foreign(number)));
        Self { home: Home::Foreign(Arc::new(foreign)), scope: Arc::default() }
    }

    /// A registry whose updates go nowhere, at the cost of a comparison.
    #[must_use]
    pub fn null() -> Self {
        Self::with_backend(Arc::new(Null))
    }

    /// What its series are kept in: `shm` for a segment, else the back end's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        match &self.home {
            Home::Segment(_) => "shm",
            Home::Foreign(foreign) => foreign.backend.name(),
        }
    }

    /// Whether its series are in a segment, whatever name a back end has.
    #[must_use]
    pub const fn is_segment(&self) -> bool {
        matches!(self.home, Home::Segment(_))
    }

    /// Sends what was counted so far to where its back end sends it, and waits for that at most as long: for a
    /// process that ends. Where nothing is sent, as from a segment, nothing is done.
    ///
    /// # Errors
    /// When it could not be sent, or not in time.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        match &self.home {
            Home::Segment(_) => Ok(()),
            Home::Foreign(foreign) => foreign.backend.flush(timeout),
        }
    }

    /// The segment's path, absolute; empty where there is no segment.
    #[must_use]
    pub fn path(&self) -> &Path {
        match &self.home {
            Home::Segment(followed) => &followed.options.path,
            Home::Foreign(_) => Path::new(""),
        }
    }

    /// What it is a view of, with its prefix and labels.
    pub(crate) fn selection(&self) -> &Selection {
        &self.scope
    }

    /// Its back end, unless it is a segment.
    pub(crate) fn foreign(&self) -> Result<&Foreign> {
        match &self.home {
            Home::Segment(_) => Err(self.unsupported("ask a back end")),
            Home::Foreign(foreign) => Ok(foreign),
        }
    }

    /// As [`Self::foreign`], to keep.
    #[cfg(feature = "render")]
    pub(crate) fn foreign_shared(&self) -> Option<Arc<Foreign>> {
        match &self.home {
            Home::Segment(_) => None,
            Home::Foreign(foreign) => Some(foreign.clone()),
        }
    }

    pub(crate) fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported { registry: self.kind().to_owned(), what }
    }

    /// A registry of the same segment that puts `prefix` before every name and `labels` on every series.
    ///
    /// Prefixes are written as they shall stand in the name, `dynamo_` for instance: nothing is put between. A
    /// child of a child has both prefixes, the parent's first, and the labels of both. What is registered
    /// through a child is the same series as one of the full name and all labels registered anywhere else.
    ///
    /// ```
    /// # fn main() -> Result<(), dyn_metrics::Error> {
    /// # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let root = dyn_metrics::Registry::open_at(dir.path().join("s"))?;
    /// use dyn_metrics::Opts;
    ///
    /// let service = root.child("dynamo_", &[("namespace", "prod")])?;
    /// let router = service.child("router_", &[("component", "router")])?;
    /// router.counter("requests_total", "Requests routed")?.inc();
    ///
    /// let opts = Opts::new("dynamo_router_requests_total", "Requests routed");
    /// let same = opts.label("namespace", "prod").label("component", "router");
    /// assert_eq!(root.create::<dyn_metrics::Counter>(&same)?.value(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Name`] for a prefix that no name can begin with and for a label's name that is not allowed;
    /// [`Error::DuplicateLabel`] for a label that this registry has, too. The labels' values are checked by what
    /// is registered.
    pub fn child(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<Self> {
        if let Some((label, _)) = labels.iter().find(|(label, _)| self.reserves(label)) {
            let metric = format!("{}{prefix}*", self.prefix());
            return Err(Error::AutomaticLabel { metric, label: (*label).to_owned() });
        }
        self.level(prefix, labels, &[])
    }

    /// Of what this is a view of, all.
    pub(crate) fn whole(&self) -> Self {
        Self { home: self.home.clone(), scope: Arc::default() }
    }

    /// As [`Self::child`], also with labels that only levels may add; adds to these.
    pub(crate) fn level(&self, prefix: &str, labels: &[(&str, &str)], reserved: &[&str]) -> Result<Self> {
        let mut scope = (*self.scope).clone();
        scope.prefix.push_str(prefix);
        scope.reserved.extend(reserved.iter().map(|&label| label.to_owned()));
        let name = |what, name: &str, reason| Error::Name { what, name: name.to_owned(), reason };
        // With the shortest name behind it.
        check_metric_name(&format!("{}x", scope.prefix)).map_err(|r| name("prefix", &scope.prefix, r))?;
        for (label, value) in labels {
            check_label_name(label).map_err(|reason| name("label name", label, reason))?;
            if scope.labels.iter().any(|(known, _)| known == label) {
                let metric = format!("{}*", scope.prefix);
                return Err(Error::DuplicateLabel { metric, label: (*label).to_owned() });
            }
            scope.labels.push(((*label).to_owned(), (*value).to_owned()));
        }
        Ok(Self { home: self.home.clone(), scope: Arc::new(scope) })
    }

    /// The same registry, of which [`Self::render`] shows families up to this priority level: see [`Opts::level`].
    ///
    /// Its children are the same. Everything goes on being registered and counted as ever; so wide collection can be
    /// reported selectively, and others report more. In a segment the numbers of other families are not read.
    ///
    /// ```
    /// # use dyn_metrics::{Counter, Opts, Registry, testing::Fake};
    /// let registry = Fake::new().registry();
    /// registry.counter("requests_total", "Requests")?.inc();
    /// registry.create::<Counter>(&Opts::new("retries_total", "Retries").level(2))?.inc();
    /// # #[cfg(feature = "render")]
    /// assert!(!registry.with_max_level(1).render()?.contains("retries_total"));
    /// # #[cfg(feature = "render")]
    /// assert!(registry.render()?.contains("retries_total 1"));
    /// # Ok::<(), dyn_metrics::Error>(())
    /// ```
    #[must_use]
    pub fn with_max_level(&self, level: u8) -> Self {
        let scope = Selection { max_level: level, ..(*self.scope).clone() };
        Self { home: self.home.clone(), scope: Arc::new(scope) }
    }

    /// Level of the least important families that [`Self::render`] shows; 255 unless given.
    #[must_use]
    pub fn max_level(&self) -> u8 {
        self.scope.max_level
    }

    fn reserves(&self, label: &str) -> bool {
        self.scope.reserved.iter().any(|reserved| reserved == label)
    }

    /// What stands before every name: empty unless this is a [`Self::child`].
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.scope.prefix
    }

    /// The labels that every series gets: none unless this is a [`Self::child`].
    #[must_use]
    pub fn labels(&self) -> &[(String, String)] {
        &self.scope.labels
    }

    /// `opts` with this registry's prefix and labels.
    pub(crate) fn scoped<'o>(&self, opts: &'o Opts, label_names: &[&str]) -> Result<Cow<'o, Opts>> {
        if self.scope.is_all() {
            return Ok(Cow::Borrowed(opts));
        }
        if opts.name.is_empty() {
            // Also where the prefix alone would do as one.
            let (what, name) = ("metric name", String::new());
            return Err(self.refused(Error::Name { what, name, reason: NameError::Empty }));
        }
        let mut scoped = opts.clone();
        scoped.name = self.prefix().to_owned() + &opts.name;
        let mut given = opts.labels.iter().map(|(name, _)| name.as_str()).chain(label_names.iter().copied());
        let is_ours =
            |label: &&str| self.reserves(label) || self.labels().iter().any(|(name, _)| name == label);
        if let Some(label) = given.find(is_ours) {
            let (metric, label) = (scoped.name, label.to_owned());
            return Err(self.refused(Error::AutomaticLabel { metric, label }));
        }
        scoped.labels = self.labels().iter().chain(&opts.labels).cloned().collect();
        Ok(Cow::Owned(scoped))
    }

    /// Counts a refused registration, where there is a segment to count it in, and hands the error on.
    fn refused(&self, error: Error) -> Error {
        match &self.home {
            Home::Segment(followed) => leaked(followed.current.load(Ordering::Acquire)).refused(error),
            Home::Foreign(_) => error,
        }
    }

    /// The segment that the name leads to now; opened anew when it was replaced or removed.
    pub(crate) fn segment(&self) -> Result<&'static Segment> {
        let Home::Segment(followed) = &self.home else {
            return Err(self.unsupported("open a segment"));
        };
        let Followed { options, current } = &**followed;
        let now: &'static Segment = leaked(current.load(Ordering::Acquire));
        if FileId::at(&options.path) == Ok(now.id) {
            return Ok(now);
        }
        log::info!("{}: replaced or removed; new registrations go to the new segment", self.path().display());
        let opened = attach::open(options)?;
        opened.join();
        current.store(std::ptr::from_ref(opened).cast_mut(), Ordering::Release);
        Ok(opened)
    }

    /// The segment that the name led to when something was registered last; none where there is no segment.
    pub(crate) fn current(&self) -> Option<&'static Segment> {
        match &self.home {
            Home::Segment(followed) => Some(leaked(followed.current.load(Ordering::Acquire))),
            Home::Foreign(_) => None,
        }
    }

    /// Finds or registers a single series: a handle.
    ///
    /// # Errors
    /// What is wrong with name, labels, bounds or options; a conflict or clash with another family, naming
    /// who registered it; no space. The segment is unchanged then (but for a family that turns out to clash with one
    /// registered at the same moment: its record stays, and readers skip it). `unwrap_or_default()` gives a working
    /// handle that nobody else sees.
    pub fn create<M: Metric>(&self, opts: &Opts) -> Result<M> {
        let opts = &*self.scoped(opts, &[])?;
        let plan = LabelPlan::new(&opts.labels, &[]);
        match &self.home {
            Home::Segment(_) => {
                let core = self.segment_family(opts, M::KIND, &[])?;
                M::attach(core, plan.find_or_register(core, &[])?.0)
            }
            Home::Foreign(foreign) => {
                opts.check(M::KIND, &[])?;
                let family = foreign.family(opts, M::KIND, M::REPRESENTATION)?;
                let (slot, _) = foreign.series(family, M::REPRESENTATION, &plan, &[])?;
                Ok(family.handle(slot))
            }
        }
    }

    /// Finds or registers the family that `opts`, which has this registry's prefix and labels, describes.
    pub(crate) fn register_family<M: Metric>(&self, opts: &Opts, label_names: &[&str]) -> Result<AnyFamily> {
        match &self.home {
            Home::Segment(_) => self.segment_family(opts, M::KIND, label_names).map(AnyFamily::Segment),
            Home::Foreign(foreign) => {
                opts.check(M::KIND, label_names)?;
                foreign.family(opts, M::KIND, M::REPRESENTATION).map(AnyFamily::Foreign)
            }
        }
    }

    fn segment_family(&self, opts: &Opts, kind: Kind, label_names: &[&str]) -> Result<&'static FamilyCore> {
        let segment = self.segment()?;
        opts.check(kind, label_names).map_err(|error| segment.refused(error))?;
        segment.family(opts, kind)
    }

    /// Where what is registered goes to now, as a number.
    pub(crate) fn place(&self) -> Result<usize> {
        match &self.home {
            Home::Segment(_) => Ok(std::ptr::from_ref(self.segment()?).addr()),
            Home::Foreign(foreign) => Ok(Arc::as_ptr(foreign).addr()),
        }
    }

    /// Finds or registers a family whose series differ in the values of `label_names`.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn family<M: Metric>(&self, opts: &Opts, label_names: &[&str]) -> Result<Family<M>> {
        let opts = self.scoped(opts, label_names)?;
        Family::new(self, &opts, label_names)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_adds_its_prefix_and_labels_to_single_series_and_families() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).open().unwrap();
        let service = root.child("dynamo_", &[("namespace", "prod")]).unwrap();
        let router = service.child("router_", &[("component", "router")]).unwrap();
        assert_eq!((root.prefix(), router.prefix()), ("", "dynamo_router_"));
        assert_eq!(router.labels().len(), 2);
        let family = router.family::<Counter>(&Opts::new("requests_total", ""), &["model"]).unwrap();
        family.with(&["llama"]).inc();
        let opts = Opts::new("dynamo_router_requests_total", "").label("model", "llama");
        let same = opts.label("component", "router").label("namespace", "prod");
        assert_eq!(root.create::<Counter>(&same).unwrap().value(), 1);
        let found = crate::raw::describe(&root.create::<Counter>(&same).unwrap()).unwrap();
        assert_eq!(found.name, "dynamo_router_requests_total");
        let labels = [("component", "router"), ("model", "llama"), ("namespace", "prod")];
        assert_eq!(found.labels, labels.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn a_child_refuses_what_no_series_could_have() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).open().unwrap();
        let child = root.child("a_", &[("zone", "1")]).unwrap();
        assert!(matches!(root.child("9", &[]), Err(Error::Name { what: "prefix", .. })));
        assert!(matches!(child.child("b c", &[]), Err(Error::Name { what: "prefix", .. })));
        assert!(matches!(child.child("", &[("__x", "")]), Err(Error::Name { what: "label name", .. })));
        let twice = child.child("b_", &[("zone", "2")]).unwrap_err().to_string();
        assert_eq!(twice, "metric \"a_b_*\": found label \"zone\" twice, expected once");
        assert!(matches!(root.child("dyn_metrics_", &[]), Err(Error::Name { .. })), "reserved");
        // A label that only some kinds reserve shows when one is registered.
        let child = root.child("", &[("le", "1")]).unwrap();
        assert!(child.counter("c_total", "").is_ok());
        assert!(matches!(child.histogram("h", "", &[1.0]), Err(Error::ReservedLabel { .. })));
    }
}
