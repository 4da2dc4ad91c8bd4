//! Where the numbers of counters, tallies and histograms are, and their sums over CPUs.

use std::collections::{BTreeMap, HashMap};

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::error::Error as Fault;
use dyn_metrics_layout::extent::{Extent, HEADER_BYTES};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::record::{State, cells_place, state_offset};
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};

use crate::catalog::{Catalog, SeriesEntry, Source};
use crate::ranges::Ranges;
use crate::skip::{Reason, SkipLog};

/// The first word of a series in an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    extent: u32,
    word: u32,
}

/// The cells of a series, by representation; they never move.
pub(crate) type SeriesCells = [Option<Cell>; Representation::COUNT];

/// The extents of a segment that hold cells of known series.
#[derive(Debug, Default)]
pub(crate) struct Extents {
    list: Vec<ExtentEntry>,
    by_offset: HashMap<u64, Option<u32>>,
    /// Blocks that are holes so far, by offset: their extent and their number in it.
    holes: BTreeMap<u64, (u32, u32)>,
}

#[derive(Debug)]
struct ExtentEntry {
    offset: u64,
    words: u32,
    /// A bit for each word that belongs to a series.
    used: Vec<bool>,
    /// One for each CPU, then the shared one: the order of every sum.
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// Not there.
    None,
    /// Never written: zero, and not to be touched, because reading would allocate it.
    Hole,
    /// At this offset.
    At(u64),
}

impl Extents {
    /// Looks for removed series, new cells, new blocks, and holes that were filled.
    pub(crate) fn refresh(
        &mut self,
        source: Source<'_>,
        catalog: &mut Catalog,
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) {
        let Catalog { families, series, version, .. } = catalog;
        for series in series {
            let words = families[series.family].cell_words();
            if self.refresh_series(source, series, words, taken, log) {
                *version += 1;
            }
        }
        for extent in 0..self.list.len() {
            self.find_blocks(source, extent, taken, log);
        }
        self.fill_holes(source);
    }

    /// Returns whether the series was removed or got cells.
    fn refresh_series(
        &mut self,
        source: Source<'_>,
        series: &mut SeriesEntry,
        words: usize,
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) -> bool {
        let state = match source.view().get::<State>(state_offset(series.offset)) {
            Ok(state) => state,
            Err(fault) => {
                source.note(log, Reason::Record, series.offset, fault);
                return false;
            }
        };
        let removed = series.removed || state.state.load(Ordering::Relaxed) != 0;
        let mut changed = removed != series.removed;
        series.removed = removed;
        if removed {
            // Retired words may be given to another series.
            self.release(&mut series.cells, words);
        } else if words > 0 {
            for representation in Representation::ALL {
                let number = representation as usize;
                let word = &state.cells[number];
                if series.cells[number].is_some() || word.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                let place = cells_place(series.offset, representation);
                let packed = load_acquire(word); // pairs with: extent::publish_once()
                match self.bind(source, packed, place, words, taken) {
                    Ok(cell) => {
                        series.cells[number] = cell;
                        changed = true;
                    }
                    Err(fault) => source.note(log, Reason::Cells, place, fault),
                }
            }
        }
        changed
    }

    fn release(&mut self, cells: &mut SeriesCells, words: usize) {
        for cell in cells.iter_mut().filter_map(Option::take) {
            let start = cell.word as usize;
            self.list[cell.extent as usize].used[start..start + words].fill(false);
        }
    }

    /// Finds the words that a cell link names, and takes them for the series.
    fn bind(
        &mut self,
        source: Source<'_>,
        packed: u64,
        place: u64,
        words: usize,
        taken: &mut Ranges,
    ) -> Result<Option<Cell>, Fault> {
        let Some(link) = CellLink::unpack(packed, place)? else { return Ok(None) };
        let extent = self.extent(source, link.extent, taken)?;
        let start = link.word as usize;
        let used = &mut self.list[extent as usize].used;
        let limit = used.len() as u64;
        let (what, found) = ("cell link", u64::from(link.word));
        let Some(used) = used.get_mut(start..start + words) else {
            return Err(Fault::Corrupt { what, offset: place, found, expected: limit });
        };
        if used.contains(&true) {
            let what = "cell link to words of another series";
            return Err(Fault::Corrupt { what, offset: place, found, expected: 0 });
        }
        used.fill(true);
        Ok(Some(Cell { extent, word: link.word }))
    }

    /// The number of the extent at `offset`, which is read when it is new.
    fn extent(&mut self, source: Source<'_>, offset: u64, taken: &mut Ranges) -> Result<u32, Fault> {
        let bad = Fault::Corrupt { what: "extent", offset, found: offset, expected: 0 };
        if let Some(known) = self.by_offset.get(&offset) {
            return known.ok_or(bad);
        }
        let number = self.list.len() as u32;
        match ExtentEntry::read(source, offset, taken) {
            Ok((entry, shared)) => {
                self.holes.insert(shared, (number, entry.blocks.len() as u32 - 1));
                self.list.push(entry);
                self.by_offset.insert(offset, Some(number));
                Ok(number)
            }
            Err(fault @ Fault::OutOfBounds { .. }) => Err(fault),
            Err(fault) => {
                self.by_offset.insert(offset, None);
                Err(fault)
            }
        }
    }

    /// Looks for blocks that were installed in the table of an extent.
    fn find_blocks(&mut self, source: Source<'_>, number: usize, taken: &mut Ranges, log: &mut SkipLog) {
        let extent = &mut self.list[number];
        let cpus = extent.blocks.len() - 1;
        let Ok(table) = source.view().words(extent.offset + HEADER_BYTES as u64, cpus) else { return };
        for (cpu, word) in table.iter().enumerate() {
            if extent.blocks[cpu] != Block::None || word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let place = Extent::entry_place(extent.offset, cpu as u32);
            let packed = load_acquire(word); // pairs with: extent::publish_once()
            match Link::unpack(packed, place).and_then(|link| extent.block(source, link, taken)) {
                Ok(None) => {}
                Ok(Some(offset)) => {
                    extent.blocks[cpu] = Block::Hole;
                    self.holes.insert(offset, (number as u32, cpu as u32));
                }
                Err(fault) => source.note(log, Reason::Cells, place, fault),
            }
        }
    }

    /// Finds the blocks that are holes no longer. Cost: at most one system call for each, fewer when
    /// several lie in one hole.
    fn fill_holes(&mut self, source: Source<'_>) {
        let mut clear = 0..0;
        let list = &mut self.list;
        self.holes.retain(|&offset, &mut (extent, block)| {
            let extent = &mut list[extent as usize];
            let end = offset + Extent::block_bytes(extent.words);
            if !(clear.contains(&offset) && end <= clear.end) {
                clear = offset..source.file.next_data(offset).unwrap_or(u64::MAX);
            }
            let is_hole = end <= clear.end;
            if !is_hole {
                extent.blocks[block as usize] = Block::At(offset);
            }
            is_hole
        });
    }

    /// The words of every block that is there, for one pass of reading.
    pub(crate) fn blocks<'s>(&self, source: Source<'s>) -> Blocks<'s> {
        let words = |extent: &ExtentEntry| {
            let at = extent.blocks.iter().filter_map(|block| match block {
                Block::At(offset) => source.view().words(*offset, extent.words as usize).ok(),
                Block::None | Block::Hole => None,
            });
            at.collect()
        };
        Blocks { extents: self.list.iter().map(words).collect() }
    }
}

impl ExtentEntry {
    /// Reads and checks the extent at `offset`; returns also the offset of its shared block.
    fn read(source: Source<'_>, offset: u64, taken: &mut Ranges) -> Result<(Self, u64), Fault> {
        let mut bytes = [0; 40];
        if offset < source.header().data || !source.file.read(offset, &mut bytes) {
            return Err(Fault::OutOfBounds { offset, len: 40 });
        }
        let Extent { words, cpus, shared, .. } = Extent::decode(&bytes, offset)?;
        let head = HEADER_BYTES + 8 * cpus as usize;
        source.view().words(offset, head / 8)?;
        // What lies beyond the map must fail before anything is taken: it is looked at again.
        source.view().words(shared, words as usize)?;
        if !taken.take(offset, head as u64) {
            return Err(overlap("extent", offset));
        }
        let mut blocks = vec![Block::None; cpus as usize];
        blocks.push(Block::Hole);
        let entry = Self { offset, words, used: vec![false; words as usize], blocks };
        let shared = entry.block(source, Some(shared), taken)?.unwrap_or(0);
        Ok((entry, shared))
    }

    /// Checks the place of a block, and takes it.
    fn block(
        &self,
        source: Source<'_>,
        offset: Option<u64>,
        taken: &mut Ranges,
    ) -> Result<Option<u64>, Fault> {
        let Some(offset) = offset else { return Ok(None) };
        let len = Extent::block_bytes(self.words);
        source.view().words(offset, self.words as usize)?;
        if offset < source.header().data {
            return Err(Fault::OutOfBounds { offset, len });
        }
        if taken.take(offset, len) { Ok(Some(offset)) } else { Err(overlap("block", offset)) }
    }
}

const fn overlap(what: &'static str, offset: u64) -> Fault {
    Fault::Corrupt { what, offset, found: offset, expected: 0 }
}

/// The blocks of each extent, in the order of CPUs and the shared one last.
#[derive(Debug)]
pub(crate) struct Blocks<'s> {
    extents: Vec<Vec<&'s [AtomicU64]>>,
}

impl Blocks<'_> {
    /// Sum of unsigned integers: the series' word number `word`.
    pub(crate) fn integer(&self, cell: Cell, word: usize) -> u64 {
        self.words(cell, word).fold(0, u64::wrapping_add)
    }

    /// Sum of doubles, added in the same order at every collection: rounding never makes it smaller.
    pub(crate) fn float(&self, cell: Cell, word: usize) -> f64 {
        self.words(cell, word).fold(0.0, |sum, bits| sum + f64::from_bits(bits))
    }

    fn words(&self, cell: Cell, word: usize) -> impl Iterator<Item = u64> {
        let at = cell.word as usize + word;
        let blocks = self.extents.get(cell.extent as usize).map_or(&[][..], Vec::as_slice);
        blocks.iter().filter_map(move |block| block.get(at)).map(|word| word.load(Ordering::Relaxed))
    }
}
