//! Where the numbers of a composite come from: a segment, or the registry that stands in its place.

use std::sync::Arc;

use dyn_metrics_layout::kind::Number as Given;
use dyn_metrics_layout::{GaugeMode, Kind};
use dyn_metrics_reader::select::{Selection, Selector};
use dyn_metrics_reader::{Number, ValueRef};

use crate::backend::Value;
use crate::error::{Error, Result};
use crate::foreign::{Foreign, ForeignFamily, Slot};

/// What has the series.
#[derive(Debug)]
pub(super) enum Source {
    /// Read-only, with what other processes count.
    Segment(Box<Selection>),
    /// A back end: what this process counts.
    Foreign(Own),
}

/// The series of a back end.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) foreign: Arc<Foreign>,
    pub(super) selector: Selector,
    series: Vec<Slot>,
    family: Option<&'static ForeignFamily>,
    is_readable: bool,
    buckets: Vec<u64>,
}

/// What is known of the family.
pub(super) struct Family {
    pub(super) kind: Kind,
    pub(super) mode: GaugeMode,
    pub(super) bounds: Arc<[f64]>,
    /// How many series it has, composed or not, and the names of their labels.
    pub(super) series: usize,
    pub(super) labels: Vec<String>,
}

impl Family {
    /// Whether numbers of both mean the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.kind, self.mode, &self.bounds) == (other.kind, other.mode, &other.bounds)
    }
}

/// A series with its value of now.
pub(super) struct Item<'i> {
    pub(super) value: Option<ValueRef<'i>>,
    /// What processes have set, and whether each lives.
    pub(super) processes: &'i mut dyn Iterator<Item = (bool, f64)>,
}

impl Source {
    pub(super) fn own(foreign: Arc<Foreign>, selector: Selector) -> Self {
        let (series, buckets) = (Vec::new(), Vec::new());
        Self::Foreign(Own { foreign, selector, series, family: None, is_readable: true, buckets })
    }

    /// Looks for what has come and gone; whether series have.
    pub(super) fn refresh(&mut self) -> bool {
        match self {
            Self::Segment(selection) => selection.refresh(),
            Self::Foreign(own) => own.refresh(),
        }
    }

    /// What the family is; none while there is none.
    pub(super) fn family(&self) -> Option<Family> {
        match self {
            Self::Segment(selection) => selection.family().map(|family| Family {
                kind: family.kind,
                mode: family.mode,
                bounds: family.bounds.clone(),
                series: family.series,
                labels: family.label_names.iter().cloned().collect(),
            }),
            Self::Foreign(own) => own.family.map(|family| own.describe(family)),
        }
    }

    /// What tells the series apart, in the order in which they are read.
    pub(super) fn ids(&self) -> Vec<u64> {
        match self {
            Self::Segment(selection) => selection.series().map(|(id, _)| id).collect(),
            Self::Foreign(own) => {
                own.series.iter().flatten().map(|s| std::ptr::from_ref(*s).addr() as u64).collect()
            }
        }
    }

    /// Gives the value of each series.
    pub(super) fn read(&mut self, mut each: impl FnMut(Item<'_>)) {
        match self {
            Self::Segment(selection) => selection.read(|sample| {
                let mut processes =
                    sample.processes.iter().map(|process| (process.alive, process.value.as_f64()));
                each(Item { value: sample.value, processes: &mut processes });
            }),
            Self::Foreign(own) => own.read(each),
        }
    }

    /// Whether a process that has just come was taken for a dead one.
    pub(super) fn is_behind(&self) -> bool {
        match self {
            Self::Segment(selection) => selection.is_behind(),
            Self::Foreign(_) => false,
        }
    }

    /// Whether somebody may still count into what belongs to no process.
    pub(super) fn is_in_use(&self) -> bool {
        match self {
            Self::Segment(selection) => selection.is_in_use(),
            Self::Foreign(_) => true,
        }
    }

    /// Why there may be no family although there is one.
    pub(super) fn trouble(&self) -> Result<()> {
        match self {
            Self::Segment(selection) => selection.trouble().map_or(Ok(()), |error| {
                Err(Error::backend("shm", selection.selector().family(), error.to_string()))
            }),
            Self::Foreign(_) => self.unsupported(),
        }
    }

    /// Whether numbers can't be read back.
    pub(super) fn unsupported(&self) -> Result<()> {
        match self {
            Self::Segment(_) => Ok(()),
            Self::Foreign(own) if !own.is_readable => {
                let registry = own.foreign.backend.name().to_owned();
                Err(Error::Unsupported { registry, what: "read its numbers back, as a composite must" })
            }
            Self::Foreign(_) => Ok(()),
        }
    }
}

impl Own {
    fn refresh(&mut self) -> bool {
        self.family = self.foreign.family_named(self.selector.family());
        let mut found = Vec::new();
        let mut readable = true;
        if let Some(family) = self.family {
            family.each_series(|slot| match slot {
                Some(series) => {
                    let value =
                        |name: &str| series.labels.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
                    if self.selector.matches_by(value) {
                        found.push(slot);
                    }
                }
                None => readable = false,
            });
        }
        self.is_readable = readable;
        let address = |slot: &Slot| slot.map(std::ptr::from_ref);
        let is_same = self.series.iter().map(address).eq(found.iter().map(address));
        self.series = found;
        !is_same
    }

    fn describe(&self, family: &ForeignFamily) -> Family {
        let (mut labels, mut series) = (Vec::new(), 0);
        family.each_series(|slot| {
            series += 1;
            labels.extend(slot.iter().flat_map(|series| series.labels.iter().map(|(name, _)| name.clone())));
        });
        labels.sort();
        labels.dedup();
        let bounds = crate::metrics::Buckets::bounds_of(family.buckets.as_ref()).into();
        Family { kind: family.kind, mode: family.mode, bounds, series, labels }
    }

    fn read(&mut self, mut each: impl FnMut(Item<'_>)) {
        let Some(family) = self.family else { return };
        let bounds: Arc<[f64]> = crate::metrics::Buckets::bounds_of(family.buckets.as_ref()).into();
        for series in self.series.iter().flatten() {
            let value = series.instrument().value();
            self.is_readable &= value.is_some() || family.kind.is_per_process();
            let value = value.and_then(|value| match (family.kind, value) {
                (Kind::Counter, Value::Number(number)) => Some(ValueRef::Counter(total(number))),
                (Kind::Gauge, Value::Number(number)) => Some(ValueRef::Gauge(Number::Float(number.as_f64()))),
                (Kind::Tally, Value::Distribution { count, sum, .. }) => Some(ValueRef::Tally { count, sum }),
                (Kind::Histogram, Value::Distribution { buckets, sum, .. }) => {
                    self.buckets = buckets;
                    Some(ValueRef::Histogram { bounds: &bounds, buckets: &self.buckets, sum })
                }
                _ => None,
            });
            let own = match value {
                Some(ValueRef::Gauge(number)) => Some((true, number.as_f64())),
                _ => None,
            };
            each(Item { value, processes: &mut own.into_iter() });
        }
    }
}

/// A counter's integers are unsigned by their bits.
fn total(number: Given) -> Number {
    match number {
        Given::Integer(whole) => Number::Unsigned(whole as u64),
        Given::Float(_) => Number::Float(number.as_f64()),
        Given::Nanoseconds(nanoseconds) => Number::Float(nanoseconds as u64 as f64 / 1e9),
    }
}
