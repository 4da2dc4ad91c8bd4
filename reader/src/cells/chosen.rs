//! Some series of a segment, read without the others.

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::extent::{Extent, HEADER_BYTES};
use dyn_metrics_layout::record::state_offset;
use dyn_metrics_layout::sync::Ordering;

use super::{Block, Extents, Use, Watched};
use crate::catalog::{Catalog, Source};
use crate::ranges::Ranges;
use crate::segment::Place;
use crate::skip::SkipLog;
use crate::sums;

/// Words between two series that are added up although nobody wants them: less work than another run.
const GAP: u32 = 8;

/// Where the numbers of some series are.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// Ascending, disjoint.
    runs: Vec<Run>,
    /// Extents of the runs, ascending.
    extents: Vec<u32>,
    /// Blocks of these that are holes so far: offset, extent, number of the block.
    holes: Vec<(u64, u32, u32)>,
    series: Vec<Watched>,
}

/// Neighbouring words of an extent.
#[derive(Debug)]
struct Run {
    extent: u32,
    first: u32,
    end: u32,
    has_integers: bool,
    /// Those that hold doubles, from the first.
    floats: Vec<u32>,
}

impl Extents {
    /// Says where the numbers of the series with these numbers in the catalog are, as far as that is known.
    pub(crate) fn choose(&self, catalog: &Catalog, numbers: &[u32]) -> Chosen {
        let mut words = Vec::new();
        let mut series = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let entry = &catalog.series[number as usize];
            let count = catalog.families[entry.family].cell_words() as u32;
            for cell in entry.cells.iter().flatten() {
                let first = (cell.place - self.list[cell.extent as usize].start) as u32;
                words.push((cell.extent, first, first + count));
            }
            let is_open = |of: &Representation| count > 0 && entry.cells[*of as usize].is_none();
            let open =
                Representation::ALL.iter().filter(|of| is_open(of)).fold(0, |all, of| all | 1 << *of as u8);
            let word = u32::try_from(state_offset(entry.offset) / 8).unwrap_or(u32::MAX);
            let level = catalog.families[entry.family].level;
            series.push(Watched { word, number, open, level });
        }
        // In this order memory is fastest.
        words.sort_unstable();
        series.sort_unstable_by_key(|series| series.word);
        let runs: Vec<Run> = self.runs(&words);
        let mut extents: Vec<u32> = runs.iter().map(|run| run.extent).collect();
        extents.dedup();
        let holes = self.holes_in(&extents);
        Chosen { runs, extents, holes, series }
    }

    fn runs(&self, words: &[(u32, u32, u32)]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for &(extent, first, end) in words {
            match runs.last_mut() {
                Some(last) if last.extent == extent && first <= last.end + GAP => last.end = end,
                _ => runs.push(Run { extent, first, end, has_integers: false, floats: Vec::new() }),
            }
        }
        for run in &mut runs {
            let uses = &self.list[run.extent as usize].uses;
            run.has_integers = uses.of[run.first as usize..run.end as usize].contains(&Use::Integer);
            let floats = uses.floats.iter().filter(|word| (run.first..run.end).contains(word));
            run.floats = floats.map(|word| word - run.first).collect();
        }
        runs
    }

    fn holes_in(&self, extents: &[u32]) -> Vec<(u64, u32, u32)> {
        let holes = self.holes.iter().filter(|(_, (extent, _))| extents.binary_search(extent).is_ok());
        holes.map(|(offset, (extent, block))| (*offset, *extent, *block)).collect()
    }

    /// Looks for new blocks of the chosen series, and for holes that were filled; returns whether a series was removed or
    /// has new cells. Cost: at most one system call for each hole.
    pub(crate) fn refresh_chosen(
        &mut self,
        source: Source<'_>,
        chosen: &mut Chosen,
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) -> bool {
        let mut is_new = false;
        for &extent in &chosen.extents {
            if self.has_new_blocks(source, extent as usize) {
                self.find_blocks(source, extent as usize, taken, log);
                is_new = true;
            }
        }
        if is_new {
            self.choose_holes(chosen);
        }
        self.fill_chosen_holes(source, chosen);
        let words = source.view().words(0, (source.map.len() / 8) as usize).unwrap_or_default();
        chosen.series.iter().fold(0, |any, series| any | series.news(words)) != 0
    }

    /// Finds the holes among the blocks of the chosen series.
    pub(crate) fn choose_holes(&self, chosen: &mut Chosen) {
        chosen.holes = self.holes_in(&chosen.extents);
    }

    fn has_new_blocks(&self, source: Source<'_>, number: usize) -> bool {
        let extent = &self.list[number];
        let cpus = extent.blocks.len() - 1;
        let Ok(table) = source.view().words(extent.offset + HEADER_BYTES as u64, cpus) else { return false };
        let is_new = |(block, word): (&Block, &dyn_metrics_layout::sync::AtomicU64)| {
            *block == Block::None && word.load(Ordering::Relaxed) != 0
        };
        extent.blocks.iter().zip(table).any(is_new)
    }

    fn fill_chosen_holes(&mut self, source: Source<'_>, chosen: &mut Chosen) {
        let mut clear = 0..0;
        let Self { list, holes, .. } = self;
        chosen.holes.retain(|&(offset, extent, block)| {
            let extent = &mut list[extent as usize];
            let end = offset + Extent::block_bytes(extent.words);
            if !(clear.contains(&offset) && end <= clear.end) {
                clear = offset..source.file.next_data(offset).unwrap_or(u64::MAX);
            }
            let is_hole = end <= clear.end;
            if !is_hole {
                extent.blocks[block as usize] = Block::At(offset);
                holes.remove(&offset);
            }
            is_hole
        });
    }

    /// Where the numbers of the chosen series are, and the tables of their blocks.
    pub(crate) fn places(&self, chosen: &Chosen, mut each: impl FnMut(Place, u64, u32)) {
        for Run { extent, first, end, .. } in &chosen.runs {
            for block in &self.list[*extent as usize].blocks {
                if let Block::At(offset) = block {
                    each(Place::Value, offset + 8 * u64::from(*first), end - first);
                }
            }
        }
        for extent in &chosen.extents {
            let extent = &self.list[*extent as usize];
            each(Place::Link, extent.offset + HEADER_BYTES as u64, extent.blocks.len() as u32 - 1);
        }
    }

    /// As [`Self::sum`], for the chosen series; all other sums are left as they come.
    pub(crate) fn sum_chosen(&self, source: Source<'_>, chosen: &Chosen, sums: &mut Vec<u64>) {
        sums.resize(self.list.last().map_or(0, |last| last.start + last.words as usize), 0);
        for Run { extent, first, end, has_integers, floats } in &chosen.runs {
            let extent = &self.list[*extent as usize];
            let (first, count) = (*first as usize, (end - first) as usize);
            let sums = &mut sums[extent.start + first..extent.start + first + count];
            if *has_integers {
                sums::add_integers(extent.words_of_blocks(source, first, count), sums);
            }
            if !floats.is_empty() {
                sums::add_floats(extent.words_of_blocks(source, first, count), floats, sums);
            }
        }
    }
}
