//! One set of families out of several segments.
//!
//! Which series of which segment make one series of the snapshot changes rarely: that plan is kept between
//! collections, which then only read values.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use dyn_metrics_layout::name::taken_names;

use crate::catalog::FamilyEntry;
use crate::cells::SeriesCells;
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
    /// Sorted by labels.
    pub(crate) series: Vec<PlannedSeries>,
    sources: Vec<SeriesRef>,
}

/// A series of the snapshot.
#[derive(Debug)]
pub(crate) struct PlannedSeries {
    pub(crate) labels: Labels,
    sources: Range<usize>,
}

/// A series of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeriesRef {
    segment: u32,
    /// Offset of its record.
    pub(crate) offset: u64,
    pub(crate) cells: SeriesCells,
}

impl SeriesRef {
    /// Number of its segment.
    pub(crate) const fn segment(&self) -> usize {
        self.segment as usize
    }
}

impl PlannedFamily {
    /// The series of segments that make `series`, in the order of segments.
    pub(crate) fn sources(&self, series: &PlannedSeries) -> &[SeriesRef] {
        &self.sources[series.sources.clone()]
    }

    fn new(describes: (usize, usize), mut members: Vec<(Labels, SeriesRef)>) -> Self {
        // Each segment's are sorted already. Stable: equal labels stay in the order of segments.
        if members.windows(2).any(|pair| pair[0].1.segment != pair[1].1.segment) {
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let sources = members.iter().map(|(_, source)| *source).collect();
        let mut series: Vec<PlannedSeries> = Vec::with_capacity(members.len());
        for (at, (labels, _)) in members.into_iter().enumerate() {
            match series.last_mut() {
                Some(last) if last.labels == labels => last.sources.end = at + 1,
                _ => series.push(PlannedSeries { labels, sources: at..at + 1 }),
            }
        }
        Self { describes, series, sources }
    }
}

impl Plan {
    /// Merges the catalogs of `readings`, whose order says who wins where they disagree.
    pub(crate) fn new(readings: &mut [Reading<'_>]) -> Self {
        let mut admitted = Admitted::default();
        let mut members: Vec<Vec<(Labels, SeriesRef)>> = Vec::new();
        for segment in 0..readings.len() {
            let places = admitted.admit_all(readings, segment);
            members.resize_with(admitted.families.len(), Vec::new);
            let catalog = readings[segment].catalog;
            for number in &catalog.by_labels {
                let series = &catalog.series[*number as usize];
                if let (false, Some(family)) = (series.removed, places[series.family]) {
                    let of =
                        SeriesRef { segment: segment as u32, offset: series.offset, cells: series.cells };
                    members[family].push((series.labels.clone(), of));
                }
            }
        }
        let planned = admitted.families.into_iter().zip(members);
        let mut families: Vec<_> = planned.map(|(head, members)| PlannedFamily::new(head, members)).collect();
        let name = |f: &PlannedFamily| &readings[f.describes.0].catalog.families[f.describes.1].name;
        families.sort_by(|a, b| name(a).cmp(name(b)));
        Self { families }
    }
}

/// The families that are in the snapshot, and the names they take.
#[derive(Default)]
struct Admitted {
    families: Vec<(usize, usize)>,
    by_name: HashMap<String, usize>,
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
