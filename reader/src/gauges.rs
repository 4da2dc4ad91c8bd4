//! The gauge cells of a series.

use dyn_metrics_layout::error::Error as Fault;
use dyn_metrics_layout::gauge::{Contents, GaugeCell, HALVES, NEXT, SERIES};
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::record::gauges_place;
use dyn_metrics_layout::sync::load_acquire;

use crate::catalog::Source;
use crate::processes::Processes;
use crate::segment::Place;
use crate::skip::{Reason, SkipLog};

/// Most cells of one series; a longer list is damaged. A correct one has a cell for each process that lived
/// at the same time, and for the dead that are kept.
pub(crate) const MAX_CELLS: usize = 1 << 16;

/// What one process has set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gauge {
    /// Whether that process lives.
    pub(crate) alive: bool,
    /// Whether that process came after the last look at the process table.
    pub(crate) is_newcomer: bool,
    pub(crate) contents: Contents,
}

/// Appends the cells of the series whose record lies at `series`, newest first.
///
/// A damaged cell is left out and the rest read; a list that runs in circles or into another series gives
/// nothing at all, because nobody knows which of its cells count.
pub(crate) fn read(
    source: Source<'_>,
    processes: &Processes,
    series: u64,
    log: &mut SkipLog,
    out: &mut Vec<Gauge>,
) {
    let start = out.len();
    let mut walk = Walk { place: gauges_place(series), next: None, steps: 0, milestone: 0, milestone_at: 1 };
    loop {
        match walk.step(source, series) {
            Ok(None) => return,
            Ok(Some((_, None))) => (),
            Ok(Some((offset, Some(cell)))) => match cell.read(offset) {
                Ok(reading) => {
                    let alive = !reading.owner.taking && processes.is_alive(&reading.owner);
                    let is_newcomer = processes.is_newcomer(&reading.owner);
                    out.push(Gauge { alive, is_newcomer, contents: reading.contents });
                }
                Err(fault) => source.note(log, Reason::Gauge, offset, fault),
            },
            Err(fault) => {
                source.note(log, Reason::Gauge, walk.place, fault);
                if matches!(fault, Fault::Corrupt { what: CIRCLE, .. }) {
                    out.truncate(start);
                }
                return;
            }
        }
    }
}

/// Where the values of the cells are of the series whose record lies at `series`, and what says so; as far as the list
/// is sound.
pub(crate) fn places(source: Source<'_>, series: u64, mut each: impl FnMut(Place, u64, u32)) {
    let mut walk = Walk { place: gauges_place(series), next: None, steps: 0, milestone: 0, milestone_at: 1 };
    each(Place::Link, gauges_place(series), 1);
    while let Ok(Some((offset, cell))) = walk.step(source, series) {
        let Some(Ok(reading)) = cell.map(|cell| cell.read(offset)) else { continue };
        let half = HALVES[reading.owner.half & 1];
        each(Place::Link, offset, 1); // the owner's word
        each(Place::Value, offset + half, 2); // value and stamp
    }
}

const CIRCLE: &str = "list of gauge cells";

/// A walk along a list that may be a circle (Brent's way to notice: a milestone at each power of two).
struct Walk {
    /// Where the link to the next cell lies.
    place: u64,
    /// What was read there; none before the first step.
    next: Option<u64>,
    steps: usize,
    milestone: u64,
    milestone_at: usize,
}

impl Walk {
    /// The next cell and where it lies. One that was drawn after the file was mapped is passed over, for behind it come
    /// older ones; the next collection maps it.
    fn step<'s>(
        &mut self,
        source: Source<'s>,
        series: u64,
    ) -> Result<Option<(u64, Option<&'s GaugeCell>)>, Fault> {
        let word = match self.next {
            Some(word) => word,
            None => load_acquire(source.view().word(self.place)?), // pairs with: whoever links a new cell
        };
        let Some(offset) = Link::unpack(word, self.place)? else { return Ok(None) };
        self.steps += 1;
        if offset == self.milestone || self.steps > MAX_CELLS {
            return Err(Fault::Corrupt { what: CIRCLE, offset: self.place, found: offset, expected: 0 });
        }
        if self.steps == self.milestone_at {
            self.milestone = offset;
            self.milestone_at *= 2;
        }
        let (cell, next, back) = match source.view().get::<GaugeCell>(offset) {
            // Neither link changes once the cell is in the list.
            Ok(cell) => (Some(cell), load_acquire(&cell.next), load_acquire(&cell.series)),
            Err(fault) if source.is_growth(fault) => {
                let word = |at| source.file.word(at).ok_or(fault);
                (None, word(offset + NEXT)?, word(offset + SERIES)?)
            }
            Err(fault) => return Err(fault),
        };
        let back = Link::unpack(back, offset + SERIES)?;
        if back != Some(series) {
            let found = back.unwrap_or(0);
            return Err(Fault::Corrupt { what: "series of a gauge cell", offset, found, expected: series });
        }
        (self.place, self.next) = (offset + NEXT, Some(next));
        Ok(Some((offset, cell)))
    }
}
