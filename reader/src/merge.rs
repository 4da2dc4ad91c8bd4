//! One set of families out of several segments.
//!
//! Which series of which segment make one series of the snapshot changes rarely: that plan is kept between
//! collections, which then only read values.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::name::taken_names;

use crate::catalog::{FamilyEntry, SeriesEntry};
use crate::encode::lines::Lines;
use crate::labels::Labels;
use crate::segment::Reading;
use crate::skip::Reason;

/// Which series are merged, for one state of the catalogs.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) families: Vec<PlannedFamily>,
}

/// A family of the snapshot.
#[derive(Debug)]
pub(crate) struct PlannedFamily {
    /// The segment and family that describe it: the first that had the name.
    pub(crate) describes: (usize, usize),
    /// Its series, sorted by labels.
    pub(crate) series: LabelSets,
    /// Samples of its series for each process, where the mode asks for them.
    pub(crate) shown: Shown,
    /// Where each series ends among the origins.
    ends: Vec<u32>,
    origins: Vec<Origin>,
}

/// Labels of samples, in the order of exposition.
#[derive(Debug, Default)]
pub(crate) struct LabelSets {
    pub(crate) list: Vec<Labels>,
    /// What lines of text with these labels begin with; made when text is first asked for.
    pub(crate) lines: OnceCell<Lines>,
}

/// Samples of each process, as they were at the last collection.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// Series, pid and identity of each.
    pub(crate) processes: Vec<(u32, u32, u64)>,
    /// Numbers of these in the order of exposition.
    pub(crate) order: Vec<u32>,
    pub(crate) samples: LabelSets,
}

/// Where a part of a value lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    segment: u32,
    /// Of totals.
    pub(crate) representation: Representation,
    /// Of totals the place of the first word among the segment's sums, of gauges the offset of the record.
    pub(crate) place: usize,
}

impl Origin {
    /// Number of its segment.
    pub(crate) const fn segment(&self) -> usize {
        self.segment as usize
    }
}

impl LabelSets {
    pub(crate) fn new(list: Vec<Labels>) -> Self {
        Self { list, lines: OnceCell::new() }
    }
}

/// A series of a segment: its labels, the segment's number and its entry.
type Member<'s> = (&'s Labels, usize, &'s SeriesEntry);

impl PlannedFamily {
    /// What makes up each series, in the order of segments and of representations.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &[Origin]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let range = Range { start, end: *end as usize };
            start = range.end;
            &self.origins[range]
        })
    }

    fn new(describes: (usize, usize), is_per_process: bool, mut members: Vec<Member<'_>>) -> Self {
        // Each segment's are sorted already. Stable: equal labels stay in the order of segments.
        if members.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            members.sort_by_key(|(labels, ..)| *labels);
        }
        let mut labels: Vec<Labels> = Vec::with_capacity(members.len());
        let (mut ends, mut origins) = (Vec::with_capacity(members.len()), Vec::with_capacity(members.len()));
        for (own, segment, series) in members {
            if labels.last() != Some(own) {
                labels.push(own.clone());
                ends.push(0);
            }
            let origin = |representation, place| Origin { segment: segment as u32, representation, place };
            if is_per_process {
                origins.push(origin(Representation::Integer, series.offset as usize));
            }
            let cells = Representation::ALL.into_iter().zip(series.cells);
            origins.extend(cells.filter_map(|(of, cell)| Some(origin(of, cell?.place))));
            if let Some(end) = ends.last_mut() {
                *end = origins.len() as u32;
            }
        }
        Self { describes, series: LabelSets::new(labels), shown: Shown::default(), ends, origins }
    }
}

impl Plan {
    /// Merges the catalogs of `readings`, whose order says who wins where they disagree.
    pub(crate) fn new(readings: &mut [Reading<'_>]) -> Self {
        Self::of(readings, |_| true, |_, _, _| true)
    }

    /// As [`Self::new`], with some families only, and of these with some series: `has_wanted` is asked with the number of
    /// the segment and the number in its catalog.
    pub(crate) fn of(
        readings: &mut [Reading<'_>],
        is_wanted: impl Fn(&FamilyEntry) -> bool,
        mut has_wanted: impl FnMut(usize, u32, &SeriesEntry) -> bool,
    ) -> Self {
        let mut admitted = Admitted::default();
        let mut members: Vec<Vec<Member<'_>>> = Vec::new();
        for segment in 0..readings.len() {
            let places = admitted.admit_all(readings, segment);
            members.resize_with(admitted.families.len(), Vec::new);
            let catalog = readings[segment].catalog;
            for number in &catalog.by_labels {
                let series = &catalog.series[*number as usize];
                if let (false, Some(family)) = (series.removed, places[series.family])
                    && is_wanted(&catalog.families[series.family])
                    && has_wanted(segment, *number, series)
                {
                    members[family].push((&series.labels, segment, series));
                }
            }
        }
        let planned = admitted.families.into_iter().zip(members);
        let planned = planned.filter_map(|(describes, members)| {
            let family = &readings[describes.0].catalog.families[describes.1];
            let planned = || PlannedFamily::new(describes, family.kind.is_per_process(), members);
            is_wanted(family).then(planned)
        });
        let mut families: Vec<_> = planned.collect();
        let name = |f: &PlannedFamily| &readings[f.describes.0].catalog.families[f.describes.1].name;
        families.sort_by(|a, b| name(a).cmp(name(b)));
        Self { families }
    }
}

/// The families that are in the snapshot, and the names they take.
#[derive(Default)]
struct Admitted {
    families: Vec<(usize, usize)>,
    by_name: HashMap<Arc<str>, usize>,
    taken: HashMap<String, usize>,
}

impl Admitted {
    /// Where each family of a segment goes; none for those that are skipped.
    fn admit_all(&mut self, readings: &mut [Reading<'_>], segment: usize) -> Vec<Option<usize>> {
        let catalog = readings[segment].catalog;
        let mut places = vec![None; catalog.families.len()];
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|family| catalog.families[*family].offset);
        for family in order {
            places[family] = self.admit(readings, (segment, family));
        }
        places
    }

    fn admit(&mut self, readings: &mut [Reading<'_>], at: (usize, usize)) -> Option<usize> {
        let family = &readings[at.0].catalog.families[at.1];
        let describes = |number: usize| {
            let (segment, family): (usize, usize) = self.families[number];
            &readings[segment].catalog.families[family]
        };
        if let Some(&known) = self.by_name.get(&family.name) {
            if agree(describes(known), family) {
                return Some(known);
            }
            let what = format!("{}: another type, unit, bounds, states or mode than before", family.name);
            readings[at.0].log.note(Reason::Disagree, family.offset, what);
            return None;
        }
        let names = || taken_names(&family.name, family.kind).map(|name| [name.stem, name.suffix].concat());
        if let Some(other) = names().find_map(|name| self.taken.get(&name)) {
            let what = format!("{}: its samples clash with those of {}", family.name, describes(*other).name);
            readings[at.0].log.note(Reason::Clash, family.offset, what);
            return None;
        }
        let number = self.families.len();
        for name in names() {
            if let Entry::Vacant(free) = self.taken.entry(name) {
                free.insert(number);
            }
        }
        self.by_name.insert(family.name.clone(), number);
        self.families.push(at);
        Some(number)
    }
}

/// Whether two files mean the same by a name; help, level and registrant are the first one's.
fn agree(a: &FamilyEntry, b: &FamilyEntry) -> bool {
    let same_bits = || a.bounds.iter().map(|x| x.to_bits()).eq(b.bounds.iter().map(|x| x.to_bits()));
    a.kind == b.kind && a.unit == b.unit && a.mode == b.mode && a.states == b.states && same_bits()
}
