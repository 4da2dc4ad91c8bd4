//! Gauges and state sets: what each process has set, combined or shown one by one.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use dyn_metrics_layout::kind::Number as GaugeNumber;
use dyn_metrics_layout::{GaugeMode, Kind};

use super::Samples;
use crate::catalog::FamilyEntry;
use crate::combine::{self, Part};
use crate::gauges::{self, Gauge};
use crate::merge::{LabelSets, Origin, PlannedFamily, Shown};
use crate::segment::Reading;
use crate::skip::Reason;
use crate::snapshot::{Number, ValueRef};

/// What was found of a family; its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct PerProcess {
    gauges: Vec<Gauge>,
    seen: HashSet<(usize, u64)>,
    /// Of a series, or of those that show as samples of their own.
    pub(crate) parts: Vec<Part>,
    /// Whether one of the parts is of a process that came after the last look.
    pub(crate) has_newcomers: bool,
    shown: Vec<Part>,
    processes: Vec<(u32, u32, u64)>,
}

impl PerProcess {
    /// A sample for each series: all processes' values combined. Returns how many there are.
    pub(super) fn combine(
        &mut self,
        family: &FamilyEntry,
        planned: &PlannedFamily,
        readings: &mut [Reading<'_>],
        groups: &[usize],
        mut samples: impl Samples,
    ) -> usize {
        let mut count = 0;
        for (number, origins) in planned.origins().enumerate() {
            self.read(family.mode, origins, readings, groups);
            let value = match family.kind {
                Kind::StateSet => combine::bits(family.mode, &self.parts).map(|bits| state_set(family, bits)),
                _ => combine::number(family.mode, &self.parts).map(|n| ValueRef::Gauge(exposed(n))),
            };
            if let Some(value) = value {
                samples.sample(number, value);
                count += 1;
            }
        }
        count
    }

    /// Finds which processes show in each series; their labels are made anew only where these have changed.
    pub(super) fn find(
        &mut self,
        family: &FamilyEntry,
        planned: &mut PlannedFamily,
        readings: &mut [Reading<'_>],
        groups: &[usize],
    ) {
        self.shown.clear();
        self.processes.clear();
        for (series, origins) in (0..).zip(planned.origins()) {
            self.read(family.mode, origins, readings, groups);
            let start = self.shown.len();
            combine::each(family.mode, family.keep_dead, &self.parts, &mut self.shown);
            let processes = self.shown[start..].iter().map(|part| (series, part.pid, part.process_id));
            self.processes.extend(processes);
        }
        if self.processes != planned.shown.processes {
            planned.shown = label(&self.processes, &planned.series);
            let left_out = self.processes.len() - planned.shown.order.len();
            if left_out > 0 {
                let what = format_args!("{}: {left_out} samples of equal labels", family.name);
                readings[planned.describes.0].log.note(Reason::Duplicate, family.offset, what);
            }
        }
    }

    /// A sample for each process that was found. Returns how many there are.
    pub(super) fn show(
        &self,
        family: &FamilyEntry,
        planned: &PlannedFamily,
        mut samples: impl Samples,
    ) -> usize {
        for (number, at) in planned.shown.order.iter().enumerate() {
            let Some(value) = self.shown[*at as usize].value else { continue };
            let value = match family.kind {
                Kind::StateSet => state_set(family, value.to_bits()),
                _ => ValueRef::Gauge(exposed(value)),
            };
            samples.sample(number, value);
        }
        planned.shown.order.len()
    }

    /// Reads the parts of all processes in a series.
    ///
    /// Segments come newest first: a process that has cells in several files of one name counts with its newest;
    /// what is retained in the older ones is other processes' and stays.
    pub(crate) fn read(
        &mut self,
        mode: GaugeMode,
        origins: &[Origin],
        readings: &mut [Reading<'_>],
        groups: &[usize],
    ) {
        self.parts.clear();
        self.seen.clear();
        for origin in origins {
            self.gauges.clear();
            let reading = &mut readings[origin.segment()];
            let record = origin.place as u64;
            gauges::read(reading.source, reading.processes, record, reading.log, &mut self.gauges);
            for gauge in &self.gauges {
                self.has_newcomers |= gauge.is_newcomer;
                let mut part = Part::new(gauge, mode);
                if origins.len() > 1 && !self.seen.insert((groups[origin.segment()], part.process_id)) {
                    part.value = None;
                }
                self.parts.push(part);
            }
        }
    }
}

/// Labels of samples that are told apart by a label `pid`; of samples with equal labels the first stays.
fn label(processes: &[(u32, u32, u64)], series: &LabelSets) -> Shown {
    let names = pid_labels(processes);
    let with_pid = |(number, (series_number, pid, process_id)): (u32, &(u32, u32, u64))| {
        let labels = series.list[*series_number as usize].with("pid", names.get(&(*pid, *process_id))?);
        Some((labels, number))
    };
    let mut samples: Vec<_> = (0..).zip(processes).filter_map(with_pid).collect();
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    samples.dedup_by(|a, b| a.0 == b.0);
    let (labels, order) = samples.into_iter().unzip();
    Shown { processes: processes.to_vec(), order, samples: LabelSets::new(labels) }
}

/// The label of each process: its pid; where several have the same, all but the first that came add the
/// random part of their identity.
fn pid_labels(processes: &[(u32, u32, u64)]) -> BTreeMap<(u32, u64), String> {
    let processes: BTreeSet<_> = processes.iter().map(|(_, pid, process_id)| (*pid, *process_id)).collect();
    let mut last = None;
    let label = |(pid, process_id): (u32, u64)| {
        let is_first = last.replace(pid) != Some(pid);
        let random = process_id & 0xff_ffff;
        let label = if is_first { pid.to_string() } else { format!("{pid}-{random:06x}") };
        ((pid, process_id), label)
    };
    processes.into_iter().map(label).collect()
}

pub(crate) fn state_set(family: &FamilyEntry, bits: u64) -> ValueRef<'_> {
    let known = 1_u64.checked_shl(family.states.len() as u32).map_or(u64::MAX, |limit| limit - 1);
    ValueRef::StateSet { states: &family.states, bits: bits & known }
}

pub(crate) const fn exposed(number: GaugeNumber) -> Number {
    match number {
        GaugeNumber::Integer(value) => Number::Signed(value),
        GaugeNumber::Float(_) | GaugeNumber::Nanoseconds(_) => Number::Float(number.as_f64()),
    }
}
