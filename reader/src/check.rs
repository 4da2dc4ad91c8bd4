//! Verifies a segment: everything that a correct writer keeps, also across structures.
//!
//! What can't be seen, because any value is right there: the numbers themselves (value words, the values and
//! times in gauge cells), most of the header's statistics and `no_reuse`, a cursor moved within unused space, a state
//! word (current, superseded or removed) turned into its other value, and what lies in space that nothing
//! leads to.

mod index;
mod space;

use std::path::{Path, PathBuf};

use dyn_metrics_layout::name::{clash, is_reserved_label, taken_names};

use crate::catalog::unfit;
use crate::error::Error;
pub use crate::inspect::{Fault, MAX_FAULTS, Severity};
use crate::inspect::{Findings, Inspection};
use crate::raw::{RawFamily, RawSeries};
use crate::skip::Reason;

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes_file: u64,
    /// Bytes reserved: the cursor's position.
    pub bytes_reserved: u64,
    /// Bytes of structures that something leads to, the header and the tables behind it included.
    pub bytes_published: u64,
    /// Reserved bytes that nothing leads to: alignment, and what dead processes and lost races left.
    pub bytes_wasted: u64,
    /// Families.
    pub families: usize,
    /// Series, those that were removed included.
    pub series: usize,
    /// Gauge cells.
    pub gauge_cells: usize,
    /// Extents.
    pub extents: usize,
    /// Processes that hold a slot.
    pub processes_alive: usize,
    /// Slots ever claimed.
    pub processes: usize,
    /// Faults and notes, by offset; at most [`MAX_FAULTS`].
    pub faults: Vec<Fault>,
    /// Faults and notes beyond that.
    pub omitted: u64,
}

impl Report {
    /// Whether nothing is wrong; notes are allowed.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.omitted == 0 && self.faults.iter().all(|fault| fault.severity == Severity::Note)
    }
}

/// Verifies the segment at `path`, which may be dead or a copy, and changes nothing.
///
/// Cost: reads every structure but no values, once; bounded by the file's length, whatever it holds.
///
/// # Errors
/// When it can't be opened, or when its header is damaged so that nothing else can be found.
pub fn check(path: impl AsRef<Path>) -> Result<Report, Error> {
    let inspection = Inspection::of(path.as_ref())?;
    let mut findings = Findings::default();
    index::check(&inspection, &mut findings);
    check_series(&inspection, &mut findings);
    check_families(&inspection, &mut findings);
    let bytes_published = space::check(&inspection, &mut findings);
    let bytes_reserved = inspection.words.reserved_end;
    let mut report = Report {
        path: path.as_ref().to_owned(),
        bytes_file: inspection.bytes.len(),
        bytes_reserved,
        bytes_published,
        bytes_wasted: bytes_reserved.saturating_sub(bytes_published),
        families: inspection.families().count(),
        series: inspection.series().count(),
        gauge_cells: inspection.gauges.len(),
        extents: inspection.extents.len(),
        processes_alive: inspection.slots.iter().filter(|slot| slot.held).count(),
        processes: inspection.slots.len(),
        ..Report::default()
    };
    findings.append(inspection.findings);
    (report.faults, report.omitted) = findings.into_sorted();
    Ok(report)
}

fn check_series(inspection: &Inspection, findings: &mut Findings) {
    for series in inspection.series() {
        match inspection.family(series.family) {
            Some(family) => check_one_series(family, series, findings),
            None => {
                let what = format!("family of a series: found no family at {} in the index", series.family);
                findings.fault(series.offset, what);
            }
        }
    }
}

fn check_one_series(family: &RawFamily, series: &RawSeries, findings: &mut Findings) {
    let (kind, all) = (family.kind, family.mode.is_all());
    for (name, _) in series.labels.iter().filter(|(name, _)| is_reserved_label(name, kind, all, &family.name))
    {
        let what = format!("label {name} of {}, which the exposition itself adds", family.name);
        findings.fault(series.offset, what);
    }
    if !kind.is_per_process() && !series.gauges.is_empty() {
        findings.fault(series.offset, format_args!("gauge cells of a {}", kind.name()));
    }
    if kind.cell_words(family.bounds.len()) == 0 && !series.cells.is_empty() {
        findings.fault(series.offset, format_args!("cells in an extent of a {}", kind.name()));
    }
}

fn check_families(inspection: &Inspection, findings: &mut Findings) {
    let mut counts = std::collections::BTreeMap::new();
    for series in inspection.series().filter(|series| !series.overflow && !series.removed) {
        *counts.entry(series.family).or_insert(0_u64) += 1;
    }
    let is_alive = inspection.slots.iter().any(|slot| slot.held);
    for family in inspection.families() {
        let expected = counts.get(&family.offset).copied().unwrap_or(0);
        let what = format!("series of {}: found {} counted, expected {expected}", family.name, family.series);
        // Published first, counted then: a death in between leaves too few. Removed first, counted then: too many.
        let uncounted = family.series.saturating_sub(expected);
        if uncounted > 0 && uncounted <= family.removals && !is_alive {
            findings.note(family.offset, format_args!("{what}: a process died while it removed one"));
        } else if uncounted > 0 && !is_alive {
            findings.fault(family.offset, what);
        } else if family.series < expected && !is_alive {
            findings.note(family.offset, format_args!("{what}: a process died while it registered one"));
        }
        if let Some((reason, what)) = unfit(family.kind, &family.name, family.states.iter()) {
            let what = format!("{}: {what}", family.name);
            match reason {
                Reason::UnknownKind => findings.note(family.offset, what),
                _ => findings.fault(family.offset, what),
            }
        }
    }
    check_clashes(inspection, findings);
}

/// Two families whose samples clash: registrants that don't know of each other can't prevent it.
fn check_clashes(inspection: &Inspection, findings: &mut Findings) {
    let mut taken = std::collections::HashMap::new();
    for family in inspection.families() {
        for name in taken_names(&family.name, family.kind) {
            let name = [name.stem, name.suffix].concat();
            let first: &mut &RawFamily = taken.entry(name).or_insert(family);
            if first.offset != family.offset && clash(&first.name, first.kind, &family.name, family.kind) {
                let what = format!("{}: its samples clash with those of {}", family.name, first.name);
                findings.note(family.offset, what);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
