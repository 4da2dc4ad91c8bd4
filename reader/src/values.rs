//! The values of planned series, read from their segments.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use dyn_metrics_layout::kind::Number as GaugeNumber;
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use crate::catalog::FamilyEntry;
use crate::cells::{Blocks, Cell};
use crate::combine::{self, Part};
use crate::gauges;
use crate::merge::{Plan, PlannedFamily, PlannedSeries, SeriesRef};
use crate::segment::Reading;
use crate::skip::Reason;
use crate::snapshot::{FamilySnapshot, Number, SeriesSnapshot, Value};

/// Reads every family of `plan`; `groups[i]` says to which name the segment of `readings[i]` belongs.
pub(crate) fn read(plan: &Plan, readings: &mut [Reading<'_>], groups: &[usize]) -> Vec<FamilySnapshot> {
    plan.families.iter().map(|family| read_family(family, readings, groups)).collect()
}

fn read_family(planned: &PlannedFamily, readings: &mut [Reading<'_>], groups: &[usize]) -> FamilySnapshot {
    let (segment, number) = planned.describes;
    let catalog = readings[segment].catalog;
    let family = &catalog.families[number];
    let series = if family.kind.is_per_process() && family.mode.is_all() {
        per_process(planned, family, readings, groups)
    } else {
        let one = |series| {
            let value = value(family, planned.sources(series), readings, groups)?;
            Some(SeriesSnapshot { labels: series.labels.clone(), value })
        };
        planned.series.iter().filter_map(one).collect()
    };
    FamilySnapshot {
        name: family.name.clone(),
        help: family.help.clone(),
        unit: family.unit.clone(),
        kind: family.kind,
        mode: family.mode,
        level: family.level,
        registrant: family.registrant.clone(),
        series,
    }
}

fn value(
    family: &FamilyEntry,
    sources: &[SeriesRef],
    readings: &mut [Reading<'_>],
    groups: &[usize],
) -> Option<Value> {
    match family.kind {
        Kind::Counter => Some(Value::Counter(counter(sources, readings))),
        Kind::Tally => Some(tally(sources, readings)),
        Kind::Histogram => Some(histogram(family, sources, readings)),
        Kind::Info => Some(Value::Info),
        Kind::Gauge => {
            let parts = parts(family.mode, sources, readings, groups);
            combine::number(family.mode, &parts).map(|number| Value::Gauge(exposed(number)))
        }
        Kind::StateSet => {
            let parts = parts(family.mode, sources, readings, groups);
            combine::bits(family.mode, &parts).map(|bits| state_set(family, bits))
        }
        Kind::ExponentialHistogram => None,
    }
}

fn counter(sources: &[SeriesRef], readings: &[Reading<'_>]) -> Number {
    let mut sum = Sum::default();
    for_each_cell(sources, readings, |blocks, cell, representation| sum.add(blocks, cell, 0, representation));
    sum.number()
}

fn tally(sources: &[SeriesRef], readings: &[Reading<'_>]) -> Value {
    let (mut count, mut sum) = (0_u64, Sum::default());
    for_each_cell(sources, readings, |blocks, cell, representation| {
        count = count.wrapping_add(blocks.integer(cell, 0));
        sum.add(blocks, cell, 1, representation);
    });
    Value::Tally { count, sum: sum.number().as_f64() }
}

fn histogram(family: &FamilyEntry, sources: &[SeriesRef], readings: &[Reading<'_>]) -> Value {
    let (mut buckets, mut sum) = (vec![0_u64; family.bounds.len() + 1], Sum::default());
    for_each_cell(sources, readings, |blocks, cell, representation| {
        for (word, bucket) in buckets.iter_mut().enumerate() {
            *bucket = bucket.wrapping_add(blocks.integer(cell, word));
        }
        sum.add(blocks, cell, buckets.len(), representation);
    });
    Value::Histogram { bounds: family.bounds.clone(), buckets, sum: sum.number().as_f64() }
}

/// Calls `visit` for every representation in every segment: always in the same order.
fn for_each_cell(
    sources: &[SeriesRef],
    readings: &[Reading<'_>],
    mut visit: impl FnMut(&Blocks<'_>, Cell, Representation),
) {
    for source in sources {
        let blocks = &readings[source.segment()].blocks;
        for (representation, cell) in Representation::ALL.into_iter().zip(source.cells) {
            if let Some(cell) = cell {
                visit(blocks, cell, representation);
            }
        }
    }
}

/// A sum over representations.
#[derive(Default)]
struct Sum {
    integer: u64,
    nanoseconds: u64,
    float: f64,
    has_fractions: bool,
}

impl Sum {
    fn add(&mut self, blocks: &Blocks<'_>, cell: Cell, word: usize, representation: Representation) {
        self.has_fractions |= representation != Representation::Integer;
        match representation {
            Representation::Integer => self.integer = self.integer.wrapping_add(blocks.integer(cell, word)),
            Representation::Float => self.float += blocks.float(cell, word),
            Representation::Nanoseconds => {
                self.nanoseconds = self.nanoseconds.wrapping_add(blocks.integer(cell, word));
            }
        }
    }

    /// Exact as long as there are only integers.
    fn number(&self) -> Number {
        if self.has_fractions {
            Number::Float(self.integer as f64 + self.float + self.nanoseconds as f64 / 1e9)
        } else {
            Number::Unsigned(self.integer)
        }
    }
}

/// The parts of all processes in a gauge.
///
/// Segments come newest first: a process that has cells in several files of one name counts with its newest;
/// what is retained in the older ones is other processes' and stays.
fn parts(
    mode: GaugeMode,
    sources: &[SeriesRef],
    readings: &mut [Reading<'_>],
    groups: &[usize],
) -> Vec<Part> {
    let (mut found, mut parts) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    for source in sources {
        found.clear();
        let reading = &mut readings[source.segment()];
        gauges::read(reading.source, reading.processes, source.offset, reading.log, &mut found);
        for gauge in &found {
            let mut part = Part::new(gauge, mode);
            if sources.len() > 1 && !seen.insert((groups[source.segment()], part.process_id)) {
                part.value = None;
            }
            parts.push(part);
        }
    }
    parts
}

/// A sample for each process, told apart by a label `pid`.
fn per_process(
    planned: &PlannedFamily,
    family: &FamilyEntry,
    readings: &mut [Reading<'_>],
    groups: &[usize],
) -> Vec<SeriesSnapshot> {
    let mut shown = Vec::new();
    for series in &planned.series {
        let parts = parts(family.mode, planned.sources(series), readings, groups);
        let each = combine::each(family.mode, family.keep_dead, &parts);
        shown.extend(each.into_iter().map(|part| (series, part)));
    }
    let names = pid_labels(shown.iter().map(|(_, part)| part));
    let sample = |(series, part): &(&PlannedSeries, Part)| {
        let value = part.value.map(|number| match family.kind {
            Kind::StateSet => state_set(family, number.to_bits()),
            _ => Value::Gauge(exposed(number)),
        })?;
        let labels = series.labels.with("pid", names.get(&(part.pid, part.process_id))?);
        Some(SeriesSnapshot { labels, value })
    };
    let mut samples: Vec<_> = shown.iter().filter_map(sample).collect();
    samples.sort_by(|a, b| a.labels.cmp(&b.labels));
    let before = samples.len();
    samples.dedup_by(|a, b| a.labels == b.labels);
    if samples.len() < before {
        let what = format!("{}: {} samples of equal labels", family.name, before - samples.len());
        readings[planned.describes.0].log.note(Reason::Duplicate, family.offset, what);
    }
    samples
}

/// The label of each process: its pid; where several have the same, all but the first that came add the
/// random part of their identity.
fn pid_labels<'p>(parts: impl Iterator<Item = &'p Part>) -> BTreeMap<(u32, u64), String> {
    let processes: BTreeSet<(u32, u64)> = parts.map(|part| (part.pid, part.process_id)).collect();
    let mut last = None;
    let label = |(pid, process_id): (u32, u64)| {
        let is_first = last.replace(pid) != Some(pid);
        let random = process_id & 0xff_ffff;
        let label = if is_first { pid.to_string() } else { format!("{pid}-{random:06x}") };
        ((pid, process_id), label)
    };
    processes.into_iter().map(label).collect()
}

fn state_set(family: &FamilyEntry, bits: u64) -> Value {
    let known = 1_u64.checked_shl(family.states.len() as u32).map_or(u64::MAX, |limit| limit - 1);
    Value::StateSet { states: family.states.clone(), bits: bits & known }
}

const fn exposed(number: GaugeNumber) -> Number {
    match number {
        GaugeNumber::Integer(value) => Number::Signed(value),
        GaugeNumber::Float(_) | GaugeNumber::Nanoseconds(_) => Number::Float(number.as_f64()),
    }
}
