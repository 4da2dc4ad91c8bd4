//! What is registered through a registry that is no segment: found, checked, and handed to its back end.
//!
//! Families and series are remembered here and never released, as handles are references to them. So equal
//! registrations are the same series, conflicts name both sides, and limits hold, whatever the back end does.

mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dyn_metrics_layout::name::{MAX_NAME, clash, clash_candidates};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

pub(crate) use series::ForeignSeries;

use crate::backend::{Backend, Descriptor};
use crate::error::{Error, Result};
use crate::family::Shape;
use crate::label_plan::LabelPlan;
use crate::local::{AtomicU64, AtomicUsize, Ordering};
use crate::metric::Metric;
use crate::metrics::Buckets;
use crate::options::MAX_SERIES_PER_FAMILY;
use crate::opts::Opts;
use crate::register::{family_record, registrant};

/// A series of a back end; none where updates go nowhere.
pub(crate) type Slot = Option<&'static ForeignSeries>;

/// A back end, and what this process has registered in it.
#[derive(Debug)]
pub(crate) struct Foreign {
    /// Odd, and no other's.
    pub(crate) number: usize,
    pub(crate) backend: Arc<dyn Backend>,
    families: Mutex<BTreeMap<String, &'static ForeignFamily>>,
}

/// A family of a back end; never released.
pub(crate) struct ForeignFamily {
    /// Number of its [`Foreign`].
    pub(crate) registry: usize,
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) unit: String,
    registrant: String,
    pub(crate) kind: Kind,
    pub(crate) mode: GaugeMode,
    pub(crate) level: u8,
    pub(crate) max_series: u32,
    /// Of a histogram.
    pub(crate) buckets: Option<Buckets>,
    pub(crate) states: Box<[String]>,
    /// How often one of its series was removed.
    pub(crate) removals: AtomicU64,
    series: Mutex<Series>,
}

/// The series of a family by their labels.
#[derive(Default)]
struct Series {
    by_labels: BTreeMap<Vec<u8>, Slot>,
    /// That of everything beyond the limit.
    overflow: Option<Slot>,
}

impl std::fmt::Debug for ForeignFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ForeignFamily")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What a lock guards, also when a back end has panicked: each change of it is one insertion.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Foreign {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Self { number: NEXT.fetch_add(2, Ordering::Relaxed), backend, families: Mutex::default() }
    }

    /// Names of the families above a priority level.
    pub(crate) fn above(&self, level: u8) -> BTreeSet<String> {
        let families = locked(&self.families);
        families.values().filter(|family| family.level > level).map(|family| family.name.clone()).collect()
    }

    /// Finds or registers the family that `opts` describes, already checked.
    pub(crate) fn family(
        &self,
        opts: &Opts,
        kind: Kind,
        first: Representation,
    ) -> Result<&'static ForeignFamily> {
        let mut families = locked(&self.families);
        if let Some(known) = families.get(&opts.name) {
            known.shape().check_same(opts, kind)?;
            return Ok(known);
        }
        check_clashes(&families, opts, kind)?;
        check_lengths(opts, kind)?;
        let family = ForeignFamily::new(self.number, opts, kind);
        self.backend.family(&family.descriptor(first, Vec::new()))?;
        let family: &'static ForeignFamily = Box::leak(Box::new(family));
        families.insert(family.name.clone(), family);
        log::debug!("{}: registered {} {:?}", self.backend.name(), kind.name(), opts.name);
        Ok(family)
    }

    /// The family of this name, if it is registered.
    #[cfg(feature = "render")]
    pub(crate) fn family_named(&self, name: &str) -> Option<&'static ForeignFamily> {
        locked(&self.families).get(name).copied()
    }

    /// The series with these values, if it is registered.
    pub(crate) fn find(
        &self,
        family: &ForeignFamily,
        plan: &LabelPlan,
        values: &[&str],
    ) -> Result<Option<Slot>> {
        let key = plan.key(&family.name, values)?;
        Ok(locked(&family.series).by_labels.get(&key).copied())
    }

    /// Removes the series of `family` with these values; whether there was one.
    pub(crate) fn remove(&self, family: &ForeignFamily, plan: &LabelPlan, values: &[&str]) -> Result<bool> {
        let key = plan.key(&family.name, values)?;
        let mut series = locked(&family.series);
        let Some(known) = series.by_labels.get(&key) else { return Ok(false) };
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.backend.remove(&family.name, &plan.pairs(values).map(own).collect::<Vec<_>>())?;
        if let Some(known) = known {
            known.is_gone.store(true, Ordering::Release);
        }
        series.by_labels.remove(&key);
        family.removals.fetch_add(1, Ordering::AcqRel); // pairs with: SeriesCache::sweep()
        Ok(true)
    }

    /// As [`Self::remove`], of the family of this name, if there is one.
    pub(crate) fn remove_named(&self, name: &str, plan: &LabelPlan) -> Result<bool> {
        let family = locked(&self.families).get(name).copied();
        family.map_or(Ok(false), |family| self.remove(family, plan, &[]))
    }

    /// Finds or registers the series with these values, or at the family's limit the overflow series; whether it
    /// is that.
    pub(crate) fn series(
        &self,
        family: &'static ForeignFamily,
        first: Representation,
        plan: &LabelPlan,
        values: &[&str],
    ) -> Result<(Slot, bool)> {
        let key = plan.key(&family.name, values)?;
        let mut series = locked(&family.series);
        if let Some(known) = series.by_labels.get(&key) {
            return Ok((*known, false));
        }
        if series.by_labels.len() < family.max_series as usize {
            let slot = self.ask(family, first, plan, values)?;
            series.by_labels.insert(key, slot);
            return Ok((slot, false));
        }
        if let Some(known) = series.overflow {
            return Ok((known, true));
        }
        let (plan, values) = plan.overflow();
        let slot = self.ask(family, first, &plan, &values)?;
        let (registry, name, limit) = (self.backend.name(), &family.name, family.max_series);
        log::warn!("{registry}: metric {name:?} has {limit} series, its limit");
        series.overflow = Some(slot);
        Ok((slot, true))
    }

    /// Has the back end make a series.
    fn ask(
        &self,
        family: &'static ForeignFamily,
        first: Representation,
        plan: &LabelPlan,
        values: &[&str],
    ) -> Result<Slot> {
        let labels = plan.pairs(values).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let descriptor = family.descriptor(first, labels);
        let instrument = self.backend.series(&descriptor)?;
        let made = instrument.map(|instrument| ForeignSeries::new(family, descriptor.labels, instrument));
        Ok(made.map(|series| &*Box::leak(Box::new(series))))
    }
}

impl ForeignFamily {
    fn new(registry: usize, opts: &Opts, kind: Kind) -> Self {
        let bounds = opts.bounds_for(kind);
        let buckets = || Buckets::new(bounds);
        Self {
            registry,
            name: opts.name.clone(),
            help: opts.help.clone(),
            unit: opts.unit.clone(),
            registrant: registrant(""),
            kind,
            mode: opts.mode_for(kind),
            level: opts.level,
            max_series: opts.max_series.unwrap_or(MAX_SERIES_PER_FAMILY).max(1),
            buckets: (kind == Kind::Histogram).then(buckets),
            states: opts.states.clone().into(),
            removals: AtomicU64::new(0),
            series: Mutex::default(),
        }
    }

    fn shape(&self) -> Shape<'_> {
        let Self { name, unit, registrant, kind, mode, buckets, states, .. } = self;
        let bounds = Buckets::bounds_of(buckets.as_ref());
        Shape { name, unit, registrant, kind: *kind, mode: *mode, bounds, states }
    }

    /// What a back end is told of a series with these labels.
    fn descriptor(&self, representation: Representation, labels: Vec<(String, String)>) -> Descriptor {
        Descriptor {
            name: self.name.clone(),
            help: self.help.clone(),
            unit: self.unit.clone(),
            kind: self.kind,
            representation,
            labels,
            bounds: Buckets::bounds_of(self.buckets.as_ref()).to_vec(),
            states: self.states.to_vec(),
            mode: self.mode,
            level: self.level,
            max_series: self.max_series,
        }
    }

    /// Gives each of its series.
    #[cfg(feature = "render")]
    pub(crate) fn each_series(&self, mut each: impl FnMut(Slot)) {
        let series = locked(&self.series);
        series.by_labels.values().chain(&series.overflow).for_each(|slot| each(*slot));
    }

    /// The handle of one of its series.
    pub(crate) fn handle<M: Metric>(&'static self, slot: Slot) -> M {
        match slot {
            Some(series) => M::of_foreign(series),
            None => M::nowhere(self.buckets.as_ref(), &self.states),
        }
    }
}

/// Refuses a name whose samples another family would expose too.
fn check_clashes(families: &BTreeMap<String, &'static ForeignFamily>, opts: &Opts, kind: Kind) -> Result<()> {
    let (mut buffer, mut found) = ([0; MAX_NAME + 32], None);
    clash_candidates(&opts.name, kind, &mut buffer, |candidate| {
        let other = families.get(candidate).filter(|other| clash(&opts.name, kind, &other.name, other.kind));
        found = found.or(other);
    });
    found.map_or(Ok(()), |other| Err(other.shape().clash(opts, kind)))
}

/// Refuses what would be too long for a segment.
fn check_lengths(opts: &Opts, kind: Kind) -> Result<()> {
    let states: Vec<&str> = opts.states.iter().map(String::as_str).collect();
    let record = family_record(opts, kind, &states);
    let long = |source| Error::TooLong { metric: opts.name.clone(), source };
    record.encode(0, 0, &mut vec![0; record.encoded_len()]).map(drop).map_err(long)
}
