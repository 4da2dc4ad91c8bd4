//! A composite of series that are there.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dyn_metrics_layout::Kind;
use dyn_metrics_reader::select::{Matcher, Selection};
use dyn_metrics_reader::{Clock, ValueRef};

use super::source::{Family, Item, Source};
use super::window::{Grown, Growth, Seen, Window};
use super::{Composite, Operation, Reading, numbers};
use crate::error::{Error, Result};
use crate::registry::Registry;

/// A composite with its series: asks them again and again.
///
/// Threads: one at a time; it may move between threads. Cost: as of a [`Selection`], and a few ns for each series.
pub struct LiveComposite {
    composite: Composite,
    source: Source,
    clock: Clock,
    family: Option<Family>,
    trouble: Option<Error>,
    now: Now,
    history: History,
}

/// What one pass over the series finds; its memory is used again.
#[derive(Debug, Default)]
struct Now {
    series: usize,
    values: Vec<f64>,
    buckets: Vec<u64>,
    sum: f64,
    /// Whether any process has set a gauge, and whether one that has lives.
    was_set: bool,
    is_living: bool,
}

/// What earlier passes found.
#[derive(Debug)]
enum History {
    None,
    Values(Window<Seen>),
    Increases(Box<Growth>, Window<Grown>),
}

impl Composite {
    /// Composes what the segment at `path` has, and the superseded files beside it, without attaching to it: this process is
    /// none of those that keep it alive. It needs not exist yet.
    ///
    /// # Errors
    /// As [`Registry::composite`].
    pub fn open_at(&self, path: impl AsRef<Path>) -> Result<LiveComposite> {
        LiveComposite::at(self.clone(), path.as_ref(), Arc::new(Instant::now))
    }
}

impl Registry {
    /// Composes series of this registry: see [`crate::composite`]. Of a [child](Self::child) those that it could have
    /// registered: the name gets its prefix, and its labels must match.
    ///
    /// A segment is read directly, with what other processes count. Of a back end it is what this process counts.
    ///
    /// # Errors
    /// [`Error::Name`] and [`Error::MetricOption`], saying what was found and what expected: a name that is not allowed, a
    /// quantile out of 0 to 1, a window of 0, and, where the family is registered already, an operation that its kind
    /// doesn't have and a label that none of its series has. [`Error::AutomaticLabel`] for a label that the registry itself
    /// adds. [`Error::Unsupported`] where a back end can't say what it has counted.
    pub fn composite(&self, composite: &Composite) -> Result<LiveComposite> {
        let metric = || format!("{}{}", self.prefix(), composite.family());
        let automatic = |matcher: &&Matcher| self.labels().iter().any(|(name, _)| name == matcher.label());
        if let Some(matcher) = composite.selector.matchers().iter().find(automatic) {
            return Err(Error::AutomaticLabel { metric: metric(), label: matcher.label().to_owned() });
        }
        let composite = composite.scoped(self.prefix(), self.labels());
        match self.foreign_shared() {
            None => LiveComposite::at(composite, self.path(), Arc::new(Instant::now)),
            Some(foreign) => {
                let source = Source::own(foreign, composite.selector.clone());
                LiveComposite::new(composite, source, Arc::new(Instant::now))
            }
        }
    }
}

impl LiveComposite {
    pub(super) fn at(composite: Composite, path: &Path, clock: Clock) -> Result<Self> {
        let selection = Selection::with_clock(path, composite.selector.clone(), clock.clone());
        Self::new(composite, Source::Segment(Box::new(selection)), clock)
    }

    fn new(composite: Composite, source: Source, clock: Clock) -> Result<Self> {
        composite.check()?;
        let (now, history) = (Now::default(), History::None);
        let mut live = Self { composite, source, clock, family: None, trouble: None, now, history };
        live.look();
        match live.family {
            None => live.source.trouble()?,
            Some(_) => live.source.unsupported().and_then(|()| live.check())?,
        }
        Ok(live)
    }

    /// What is composed.
    #[must_use]
    pub const fn composite(&self) -> &Composite {
        &self.composite
    }

    /// Why the last reading was [`Reading::Unknown`], where there is more to say than that there is nothing yet.
    #[must_use]
    pub const fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// The number of now. With a window, this takes a sample, too.
    ///
    /// Errors, panics: none. Never NaN.
    pub fn read(&mut self) -> Reading {
        let now = (self.clock)();
        if !self.pass() {
            return Reading::Unknown;
        }
        let reading = self.reading(now);
        self.keep(now);
        if self.is_dead() { Reading::Dead } else { reading }
    }

    /// Takes a sample for the window and says nothing; without a window this does nothing.
    pub fn sample(&mut self) {
        if self.composite.window.is_some() && self.pass() {
            let now = (self.clock)();
            if let History::Values(window) = &mut self.history {
                window.drop_old(now);
            }
            self.keep(now);
        }
    }

    /// Looks for the family and its series.
    fn look(&mut self) {
        let has_changed = self.source.refresh();
        if has_changed || self.family.is_none() || self.trouble.is_some() {
            let before = std::mem::replace(&mut self.family, self.source.family());
            if let (Some(before), Some(family)) = (before, &self.family)
                && !before.is_same(family)
            {
                // What was seen of another family says nothing about this one.
                self.history = History::None;
            }
            if has_changed && let (Some(window), Some(family)) = (self.composite.window, &self.family) {
                self.history.follow(window, family.kind, self.composite.operation, &self.source);
            }
        }
    }

    /// Checks what was found.
    fn check(&self) -> Result<()> {
        let Some(family) = &self.family else { return Ok(()) };
        self.composite.check_kind(family.kind)?;
        let is_asked =
            |matcher: &&Matcher| !matcher.matches("") && !family.labels.iter().any(|l| l == matcher.label());
        match self.composite.selector.matchers().iter().find(is_asked) {
            Some(matcher) if family.series > 0 => {
                let expected = match family.labels.join(" or ") {
                    empty if empty.is_empty() => "none: its series have no labels".to_owned(),
                    labels => labels,
                };
                Err(self.composite.error("label", matcher.label().to_owned(), &expected))
            }
            _ => Ok(()),
        }
    }

    /// Reads all series; whether there are any that can be composed.
    fn pass(&mut self) -> bool {
        self.look();
        let Self { composite, source, family: Some(family), now, history, .. } = self else {
            self.trouble = self.source.trouble().err();
            return false;
        };
        if composite.check_kind(family.kind).is_err() {
            self.trouble = composite.check_kind(family.kind).err();
            return false;
        }
        now.clear(family);
        if let History::Increases(growth, _) = history {
            growth.begin();
        }
        let (each_process, only_living) =
            (composite.over_processes || family.mode.is_all(), family.mode.is_live());
        source.read(|item| {
            if let History::Increases(growth, _) = history {
                growth.take(item.value);
            }
            now.take(item, each_process, only_living);
        });
        if source.is_behind() {
            // Only gauges have processes: no increase is taken twice.
            source.refresh();
            now.clear(family);
            source.read(|item| now.take(item, each_process, only_living));
        }
        if let History::Increases(growth, _) = history {
            growth.end();
        }
        self.trouble = self.source.unsupported().and_then(|()| self.check()).err();
        self.now.series > 0 && !matches!(self.trouble, Some(Error::Unsupported { .. }))
    }

    fn keep(&mut self, now: Instant) {
        match &mut self.history {
            History::None => {}
            History::Values(window) if self.now.was_set => {
                let keeps_values = matches!(self.composite.operation, Operation::Quantile(_));
                window.push(now, Seen::new(&self.now.values, keeps_values));
            }
            History::Values(_) => {}
            History::Increases(growth, window) => window.push(now, growth.now.clone()),
        }
    }

    fn is_dead(&self) -> bool {
        match &self.family {
            Some(family) if family.kind.is_per_process() => self.now.was_set && !self.now.is_living,
            Some(_) => !self.source.is_in_use(),
            None => false,
        }
    }

    /// What the last pass, and those before it, say.
    fn reading(&mut self, at: Instant) -> Reading {
        let Self { composite, now, history, family: Some(family), .. } = self else {
            return Reading::Unknown;
        };
        let operation = composite.operation;
        if family.kind == Kind::Gauge && !now.was_set {
            return Reading::Idle;
        }
        let number = match history {
            History::None if matches!(family.kind, Kind::Tally | Kind::Histogram) => {
                numbers::of_observations(operation, &family.bounds, &now.buckets, now.sum)
            }
            History::None => numbers::of_values(operation, &mut now.values),
            History::Values(window) => of_seen(operation, window, at, &now.values),
            History::Increases(growth, window) => match window.base(at) {
                Some((base_at, base)) if at > *base_at => {
                    let seconds = at.duration_since(*base_at).as_secs_f64();
                    of_increases(operation, family, &growth.now, base, seconds, &mut now.values)
                }
                _ => return Reading::Unknown,
            },
        };
        match number {
            Some(number) if number.is_nan() => Reading::Unknown,
            Some(number) => Reading::Value(number),
            None => Reading::Idle,
        }
    }
}

impl std::fmt::Debug for LiveComposite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { composite, source, .. } = self;
        f.debug_struct("LiveComposite")
            .field("composite", composite)
            .field("source", source)
            .finish_non_exhaustive()
    }
}

impl History {
    /// The series are those of `source` from now on.
    fn follow(&mut self, length: Duration, kind: Kind, operation: Operation, source: &Source) {
        let is_gauge = kind == Kind::Gauge;
        match self {
            Self::Values(_) if is_gauge => {}
            Self::Increases(growth, _) if !is_gauge => growth.follow(source.ids()),
            _ if is_gauge => *self = Self::Values(Window::new(length)),
            _ => {
                let keeps_each = matches!(operation, Operation::Avg | Operation::Min | Operation::Max);
                let mut growth = Growth::new(keeps_each && kind == Kind::Counter);
                growth.follow(source.ids());
                *self = Self::Increases(Box::new(growth), Window::new(length));
            }
        }
    }
}

impl Now {
    fn clear(&mut self, family: &Family) {
        self.series = 0;
        self.values.clear();
        self.buckets.clear();
        let buckets = if family.kind == Kind::Histogram { family.bounds.len() + 1 } else { 1 };
        self.buckets.resize(buckets, 0);
        (self.sum, self.was_set, self.is_living) = (0.0, false, false);
    }

    /// Takes a series: of gauges what each living process has set, or what their mode makes of it, which in live modes
    /// is nothing unless one lives.
    fn take(&mut self, item: Item<'_>, each_process: bool, only_living: bool) {
        self.series += 1;
        let (mut was_set, mut is_living) = (false, false);
        for (alive, value) in item.processes {
            (was_set, is_living) = (true, is_living | alive);
            if each_process && alive && !value.is_nan() {
                self.values.push(value);
            }
        }
        (self.was_set, self.is_living) = (self.was_set | was_set, self.is_living | is_living);
        let counts = was_set && !each_process && (is_living || !only_living);
        match item.value {
            Some(ValueRef::Counter(number)) => self.values.push(number.as_f64()),
            Some(ValueRef::Gauge(number)) if counts && !number.as_f64().is_nan() => {
                self.values.push(number.as_f64());
            }
            Some(ValueRef::Tally { count, sum }) => {
                self.buckets[0] = self.buckets[0].wrapping_add(count);
                self.sum += sum;
            }
            Some(ValueRef::Histogram { buckets, sum, .. }) => {
                for (all, bucket) in self.buckets.iter_mut().zip(buckets) {
                    *all = all.wrapping_add(*bucket);
                }
                self.sum += sum;
            }
            _ => {}
        }
    }
}

/// Of what gauges had in a window, and what they have now.
fn of_seen(operation: Operation, window: &mut Window<Seen>, at: Instant, values: &[f64]) -> Option<f64> {
    window.drop_old(at);
    let now = Seen::new(values, true);
    let all = || window.samples().chain([&now]);
    let count: usize = all().map(|seen| seen.count).sum();
    match operation {
        _ if count == 0 => None,
        Operation::Min => all().map(|seen| seen.min).reduce(f64::min),
        Operation::Max => all().map(|seen| seen.max).reduce(f64::max),
        Operation::Quantile(_) => {
            let mut values: Vec<f64> = all().flat_map(|seen| &seen.values).copied().collect();
            numbers::of_values(operation, &mut values)
        }
        _ => Some(all().map(|seen| seen.sum).sum::<f64>() / count as f64),
    }
}

/// Of how much numbers have grown since a sample.
fn of_increases(
    operation: Operation,
    family: &Family,
    now: &Grown,
    base: &Grown,
    seconds: f64,
    values: &mut Vec<f64>,
) -> Option<f64> {
    let observed = now.sum - base.sum;
    let number = if family.kind == Kind::Counter {
        match operation {
            Operation::Sum | Operation::Rate => Some(observed),
            Operation::Count => numbers::of_values(operation, values),
            _ => {
                values.clear();
                now.each_since(base, values);
                numbers::of_values(operation, values)
            }
        }
    } else {
        let base = base.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets: Vec<u64> =
            now.buckets.iter().zip(base).map(|(now, base)| now.wrapping_sub(base)).collect();
        numbers::of_observations(operation, &family.bounds, &buckets, observed)
    };
    if operation == Operation::Rate { number.map(|number| number / seconds) } else { number }
}
