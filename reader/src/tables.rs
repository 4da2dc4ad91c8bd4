//! Index tables as a collection follows them: what has changed in their slots since the last look.

use dyn_metrics_layout::error::Error as Fault;
use dyn_metrics_layout::index;
use dyn_metrics_layout::sync::{Ordering, fence};

use crate::catalog::Source;

/// Slots that are compared at once.
const COMPARED: usize = 64;

/// A table whose header was sound.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) offset: u64,
    pub(crate) slots: u32,
    /// The slots that are no holes, in order.
    known: Vec<Run>,
}

/// Neighbouring slots as they were at the last look.
#[derive(Debug)]
struct Run {
    first: u32,
    slots: Vec<u64>,
}

/// A slot that differs from the last look, and where that is kept.
pub(crate) struct Change {
    run: usize,
    at: usize,
    pub(crate) slot: u64,
}

impl Table {
    /// Reads the header of the table at `offset`.
    pub(crate) fn read(source: Source<'_>, offset: u64) -> Result<Self, Fault> {
        let mut head = [0; 16];
        let out_of_bounds = |len| Fault::OutOfBounds { offset, len };
        if !source.file.read(offset, &mut head) {
            return Err(out_of_bounds(16));
        }
        let slots = index::decode_header(&head, offset)?;
        source.view().words(offset, index::table_bytes(slots) as usize / 8)?;
        Ok(Self { offset, slots, known: Vec::new() })
    }

    /// Offset of a slot.
    const fn place(&self, slot: u32) -> u64 {
        self.offset + index::HEADER_BYTES as u64 + 8 * slot as u64
    }

    /// Looks for holes that were filled. They are never touched, and have no memory here: what a table costs is
    /// bounded by what is allocated for it, not by the slots that it claims.
    fn find_data(&mut self, source: Source<'_>) {
        let mut found = Vec::new();
        let mut end = 0;
        let after = [Run { first: self.slots, slots: Vec::new() }];
        for run in self.known.iter().chain(&after) {
            let (start, stop) = (self.place(end), self.place(run.first));
            for data in source.file.data(start, stop) {
                let first = end + ((data.start - start) / 8) as u32;
                let len = (data.end - data.start).div_ceil(8) as usize;
                found.push(Run { first, slots: vec![0; len] });
            }
            end = run.first + run.slots.len() as u32;
        }
        if !found.is_empty() {
            self.known.append(&mut found);
            self.known.sort_by_key(|run| run.first);
        }
    }

    /// Slots that differ from the last look.
    pub(crate) fn changes(&mut self, source: Source<'_>) -> Vec<Change> {
        self.find_data(source);
        let mut changes = Vec::new();
        for (run, known) in self.known.iter().enumerate() {
            let Ok(slots) = source.view().words(self.place(known.first), known.slots.len()) else { continue };
            let parts = slots.chunks(COMPARED).zip(known.slots.chunks(COMPARED));
            for (number, (slots, known)) in parts.enumerate() {
                let pairs = || slots.iter().map(|slot| slot.load(Ordering::Relaxed)).zip(known);
                // Nearly always nothing has changed: one branch for all of them.
                if pairs().fold(0, |any, (now, known)| any | (now ^ known)) != 0 {
                    let changed =
                        (number * COMPARED..).zip(pairs()).filter(|(_, (now, known))| now != *known);
                    changes.extend(changed.map(|(at, (slot, _))| Change { run, at, slot }));
                }
            }
        }
        fence(Ordering::Acquire); // pairs with: index::insert()
        changes
    }

    /// Takes note of a change, so that it is none at the next look.
    pub(crate) fn keep(&mut self, change: &Change) {
        self.known[change.run].slots[change.at] = change.slot;
    }
}
