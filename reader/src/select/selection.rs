//! The chosen series of the files of one name, followed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dyn_metrics_layout::{GaugeMode, Kind};

use super::Selector;
use super::trace::{Change, Trace};
use crate::catalog::FamilyEntry;
use crate::collector::{Clock, Collector};
use crate::combine;
use crate::error::Error;
use crate::file::{FileId, Stat};
use crate::labels::Labels;
use crate::merge::{Plan, PlannedFamily};
use crate::segment::{Glance, Reading};
use crate::snapshot::{Number, ValueRef};
use crate::values::per_process::{PerProcess, exposed, state_set};
use crate::values::{counter, histogram, tally};

/// How often everything is looked at without any sign that something has changed.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long after space was reserved its user is looked for once more: it is reserved before it is used.
const SETTLE: Duration = Duration::from_millis(5);

/// The series that a [`Selector`] chooses in the segment at a path and the superseded files beside it.
///
/// [`Self::refresh`] notices new series, new files and new processes at once, by words that change with them, or half a second
/// later at the latest; that a process has died, within two seconds. [`Self::read`] reads the numbers; call them in turn.
///
/// Threads: one at a time; it may move between threads. Cost of both while nothing is registered: a few system calls for
/// each file, a load for each series and those of its words in the blocks of all CPUs; no allocation with one file.
///
/// As with every mapped file, whoever truncates it kills who reads it (SIGBUS), unless the program has [`crate::guard`].
pub struct Selection {
    selector: Selector,
    collector: Collector,
    path: std::path::PathBuf,
    /// What had the name at the last look.
    named: Option<FileId>,
    looked: Option<Instant>,
    /// When it is to be looked again.
    again: Option<Instant>,
    trouble: Option<Error>,
    plan: Option<PlannedFamily>,
    plan_of: Vec<(u64, u64)>,
    groups: Vec<usize>,
    family: Option<FamilyInfo>,
    /// Of each series of the plan.
    ids: Vec<u64>,
    next_id: u64,
    version: u64,
    scratch: Scratch,
    trace: Trace,
}

/// Memory that is used again.
#[derive(Default)]
struct Scratch {
    buckets: Vec<u64>,
    per_process: PerProcess,
    processes: Vec<ProcessValue>,
}

/// What the family of a selection is.
#[derive(Clone, Debug, PartialEq)]
pub struct FamilyInfo {
    /// Exposed name.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// Unit; may be empty.
    pub unit: String,
    /// How the gauge cells of several processes combine.
    pub mode: GaugeMode,
    /// Upper bounds of a histogram, without `+Inf`.
    pub bounds: Arc<[f64]>,
    /// How many series it has in all files together, chosen or not; one in two files counts twice.
    pub series: usize,
    /// Names of the labels that any of its series has, chosen or not.
    pub label_names: BTreeSet<String>,
}

/// A series with its value.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'s> {
    /// Tells the series from all others of the selection for as long as it is there; never used for another.
    pub id: u64,
    /// Its labels, the segment's common ones included.
    pub labels: &'s Labels,
    /// Its value, merged over files and processes; none where processes show one by one (modes `all` and `liveall`), and
    /// where no process has set anything.
    pub value: Option<ValueRef<'s>>,
    /// Of gauges and state sets, what each process has set that lives, or has died and not been succeeded in its place.
    pub processes: &'s [ProcessValue],
}

/// What one process has set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessValue {
    /// Identity of the process: never another's.
    pub process_id: u64,
    /// Its pid, in its own namespace.
    pub pid: u32,
    /// Whether it lives.
    pub alive: bool,
    /// The value; a state set's bits.
    pub value: Number,
}

impl FamilyInfo {
    /// Whether numbers of both mean the same.
    fn is_same(&self, other: &Self) -> bool {
        let same_bounds =
            || self.bounds.iter().map(|x| x.to_bits()).eq(other.bounds.iter().map(|x| x.to_bits()));
        (self.kind, self.mode, &self.unit) == (other.kind, other.mode, &other.unit) && same_bounds()
    }
}

impl Selection {
    /// The series that `selector` chooses in the segment at `path`. Neither needs to exist yet.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, selector: Selector) -> Self {
        Self::with_clock(path, selector, Arc::new(Instant::now))
    }

    /// As [`Self::new`], with a clock of the caller's.
    #[must_use]
    pub fn with_clock(path: impl AsRef<Path>, selector: Selector, clock: Clock) -> Self {
        let path = path.as_ref();
        Self {
            selector,
            collector: Collector::with_clock(&[path.to_string_lossy().into_owned()], clock),
            path: path.to_owned(),
            named: None,
            looked: None,
            again: None,
            trouble: None,
            plan: None,
            plan_of: Vec::new(),
            groups: Vec::new(),
            family: None,
            ids: Vec::new(),
            next_id: 0,
            version: 0,
            scratch: Scratch::default(),
            trace: Trace::default(),
        }
    }

    /// What it chooses.
    #[must_use]
    pub const fn selector(&self) -> &Selector {
        &self.selector
    }

    /// What the family is; none as long as no series' family of this name was found.
    #[must_use]
    pub const fn family(&self) -> Option<&FamilyInfo> {
        self.family.as_ref()
    }

    /// Why a file could not be read at the last look. That there is none is no reason.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// Changes whenever series come or go, or the family becomes another one.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The chosen series in the order of their labels, in which [`Self::read`] gives them.
    pub fn series(&self) -> impl Iterator<Item = (u64, &Labels)> {
        let labels = self.plan.iter().flat_map(|plan| &plan.series.list);
        self.ids.iter().copied().zip(labels)
    }

    /// Whether a process may still count into one of the files. Cost: two system calls for each file.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.collector.followed.iter().any(|followed| followed.segment.is_in_use())
    }

    /// Whether the last [`Self::read`] met values of a process that came after the last look, and took it for a dead one:
    /// who can't wait for the next one refreshes and reads again.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.scratch.per_process.has_newcomers
    }

    /// Looks for what has come and gone, if there is a sign of it or the last look was long ago; whether
    /// [`Self::version`] changed.
    pub fn refresh(&mut self) -> bool {
        let now = (self.collector.clock)();
        self.is_due(now) && self.look()
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_old = self.looked.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY);
        let was_promised = self.again.is_some_and(|at| now >= at);
        let is_renamed = Stat::of(&self.path).map(|stat| stat.id) != self.named;
        let mut is_due = is_old || was_promised || is_renamed || self.scratch.per_process.has_newcomers;
        if was_promised {
            self.again = None;
        }
        for followed in &mut self.collector.followed {
            match followed.segment.glance() {
                Glance::Same => {}
                Glance::Grown => (is_due, self.again) = (true, Some(now + SETTLE)),
                Glance::Changed => is_due = true,
            }
        }
        is_due
    }

    /// As [`Self::refresh`], without waiting for a sign.
    pub fn look(&mut self) -> bool {
        self.looked = Some((self.collector.clock)());
        self.scratch.per_process.has_newcomers = false;
        self.named = Stat::of(&self.path).map(|stat| stat.id);
        self.collector.followed.iter_mut().for_each(|followed| followed.segment.mark());
        self.trouble = self.collector.look();
        let (key, before) = (self.collector.version(), self.version);
        if key == self.plan_of {
            self.collector.followed.iter_mut().for_each(|followed| followed.segment.choose_again());
            return false;
        }
        self.plan_of = key;
        self.trace.forget();
        self.groups = self.collector.group_numbers();
        let chosen = self.make_plan();
        for (followed, (family, numbers)) in self.collector.followed.iter_mut().zip(chosen) {
            followed.segment.choose(family, &numbers);
        }
        self.version != before
    }

    /// Plans which series are merged; returns for each segment its record of the family and its chosen series.
    fn make_plan(&mut self) -> Vec<(Option<u64>, Vec<u32>)> {
        let Self { collector, selector, .. } = self;
        let mut readings: Vec<Reading<'_>> =
            collector.followed.iter_mut().map(|followed| followed.segment.reading_chosen()).collect();
        let mut chosen = vec![(None, Vec::new()); readings.len()];
        for (reading, (family, _)) in readings.iter().zip(&mut chosen) {
            let mut families = reading.catalog.families.iter();
            *family = families.find(|family| &*family.name == selector.family()).map(|family| family.offset);
        }
        let (mut label_names, mut all) = (BTreeSet::new(), 0);
        let is_wanted = |family: &FamilyEntry| &*family.name == selector.family();
        let plan = Plan::of(&mut readings, is_wanted, |segment, number, series| {
            all += 1;
            for (name, _) in &series.labels {
                if !label_names.contains(name) {
                    label_names.insert(name.clone());
                }
            }
            let matches = selector.matches(&series.labels);
            if matches {
                chosen[segment].1.push(number);
            }
            matches
        });
        let plan = plan.families.into_iter().next();
        let family = plan.as_ref().map(|plan| {
            let (segment, family) = plan.describes;
            info(&readings[segment].catalog.families[family], all, label_names)
        });
        drop(readings);
        if let (Some(before), Some(family)) = (&self.family, &family)
            && !before.is_same(family)
        {
            // A file that was made anew has another family of this name: its series are others, whatever their labels.
            self.ids.clear();
            self.version += 1;
        }
        self.family = family;
        self.name_series(plan);
        chosen
    }

    /// Takes a plan; series that were there before keep their ids.
    fn name_series(&mut self, plan: Option<PlannedFamily>) {
        let old = std::mem::take(&mut self.ids);
        let before = self.plan.take().map(|plan| plan.series.list).unwrap_or_default();
        let mut known = before.iter().zip(old).peekable();
        let list = plan.as_ref().map(|plan| plan.series.list.as_slice()).unwrap_or_default();
        let is_same = before == list;
        for labels in list {
            while known.next_if(|(other, _)| *other < labels).is_some() {}
            let id = known.next_if(|(other, _)| *other == labels).map(|(_, id)| id);
            self.ids.push(id.unwrap_or_else(|| {
                self.next_id += 1;
                self.next_id
            }));
        }
        if !is_same {
            self.version += 1;
        }
        self.plan = plan;
    }

    /// Whether a value may have changed since the last call, which [`Self::read`] is to follow when it says so.
    ///
    /// Compares the words that hold the values with copies, and now and then those that say where they are. What it can't
    /// see is that a process has died: ask [`Self::read`] from time to time anyway. Cost: a load and a comparison for each
    /// word of the series in each block, for each gauge two; no system call.
    pub fn has_changed(&mut self) -> bool {
        let Self { plan: Some(plan), trace, collector, family, .. } = self else { return false };
        let is_per_process = family.as_ref().is_some_and(|family| family.kind.is_per_process());
        let change = trace.compare(plan, is_per_process, &collector.followed);
        if change == Change::Places {
            self.refresh();
        }
        change != Change::None
    }

    /// Gives `each` the chosen series with their values of now, in the order of their labels.
    ///
    /// Each word is read once, whole, at its own moment. Which series there are, was found by [`Self::refresh`].
    pub fn read(&mut self, each: impl FnMut(Sample<'_>)) {
        let Self { collector, plan, ids, groups, scratch, .. } = self;
        let Some(plan) = plan else { return };
        let mut followed = collector.followed.iter_mut();
        match (followed.next(), followed.next()) {
            (Some(only), None) => {
                read(plan, ids, &mut [only.segment.reading_chosen()], groups, scratch, each);
            }
            _ => {
                let mut readings: Vec<_> =
                    collector.followed.iter_mut().map(|f| f.segment.reading_chosen()).collect();
                read(plan, ids, &mut readings, groups, scratch, each);
            }
        }
    }
}

impl std::fmt::Debug for Selection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Selection");
        shown.field("path", &self.path).field("selector", &self.selector).finish_non_exhaustive()
    }
}

fn info(family: &FamilyEntry, series: usize, label_names: BTreeSet<String>) -> FamilyInfo {
    FamilyInfo {
        name: family.name.to_string(),
        kind: family.kind,
        unit: family.unit.clone(),
        mode: family.mode,
        bounds: family.bounds.clone(),
        series,
        label_names,
    }
}

fn read(
    plan: &PlannedFamily,
    ids: &[u64],
    readings: &mut [Reading<'_>],
    groups: &[usize],
    scratch: &mut Scratch,
    mut each: impl FnMut(Sample<'_>),
) {
    let (segment, number) = plan.describes;
    let catalog = readings[segment].catalog;
    let family = &catalog.families[number];
    for ((origins, labels), id) in plan.origins().zip(&plan.series.list).zip(ids) {
        let Scratch { buckets, per_process, processes } = scratch;
        processes.clear();
        let value = match family.kind {
            Kind::Counter => Some(ValueRef::Counter(counter(origins, readings))),
            Kind::Tally => Some(tally(origins, readings)),
            Kind::Histogram => Some(histogram(family, origins, readings, buckets)),
            Kind::Gauge | Kind::StateSet => {
                per_process.read(family.mode, origins, readings, groups);
                combined(family, per_process, processes)
            }
            _ => Some(ValueRef::Info),
        };
        each(Sample { id: *id, labels, value, processes });
    }
}

fn combined<'f>(
    family: &'f FamilyEntry,
    found: &PerProcess,
    processes: &mut Vec<ProcessValue>,
) -> Option<ValueRef<'f>> {
    let is_set = family.kind == Kind::StateSet;
    processes.extend(found.parts.iter().filter_map(|part| {
        let value = part.value?;
        let value = if is_set { Number::Unsigned(value.to_bits()) } else { exposed(value) };
        Some(ProcessValue { process_id: part.process_id, pid: part.pid, alive: part.alive, value })
    }));
    if is_set {
        combine::bits(family.mode, &found.parts).map(|bits| state_set(family, bits))
    } else {
        combine::number(family.mode, &found.parts).map(|number| ValueRef::Gauge(exposed(number)))
    }
}
