//! Where the numbers of counters, tallies and histograms are.

mod chosen;

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::ops::Range;

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::error::Error as Fault;
use dyn_metrics_layout::extent::{Extent, HEADER_BYTES};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::record::{CURRENT, REMOVING, State, cells_place, state_offset};
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};

use crate::catalog::{Catalog, Source};
use crate::ranges::Ranges;
use crate::skip::{Reason, SkipLog};
use crate::sums;

pub(crate) use chosen::Chosen;

/// Series whose state is looked at together.
const RUN: usize = 16;

/// The words of a series in an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    extent: u32,
    /// Where the first of them is among the segment's sums.
    pub(crate) place: usize,
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
    /// Series that may change, in the order of their offsets.
    watched: Vec<Watched>,
    /// How many series of the catalog were looked at.
    known: usize,
}

/// What is looked at of a series in each collection; small, because there are many.
#[derive(Clone, Copy, Debug)]
struct Watched {
    /// Number of the first word of its state block in the file; `u32::MAX` where that is too small a type.
    word: u32,
    /// Its number in the catalog.
    number: u32,
    /// A bit for each representation of which cells may come: not where there are some, or can't be any.
    open: u8,
    /// Its family's.
    level: u8,
}

#[derive(Debug)]
struct ExtentEntry {
    offset: u64,
    words: u32,
    /// Where its words are among the segment's sums.
    start: usize,
    uses: Uses,
    /// One for each CPU, then the shared one: the order of every sum.
    blocks: Vec<Block>,
}

/// Which words of an extent belong to series.
#[derive(Debug)]
struct Uses {
    of: Vec<Use>,
    /// Words that hold doubles, ascending; what is in `of` put otherwise, as `end` and `integers`.
    floats: Vec<u32>,
    has_integers: bool,
    /// Behind the last word that is used.
    end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Integer,
    Float,
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
    ///
    /// Series of families above `level` are looked at only when another one shows something new: cells of a removed
    /// series, which nobody has asked for since, may have become another's.
    pub(crate) fn refresh(
        &mut self,
        source: Source<'_>,
        catalog: &mut Catalog,
        taken: &mut Ranges,
        log: &mut SkipLog,
        level: u8,
    ) {
        self.watch_new(catalog);
        let mut watched = mem::take(&mut self.watched);
        let words = source.view().words(0, (source.map.len() / 8) as usize).unwrap_or_default();
        let is_idle = level < u8::MAX
            && watched.iter().filter(|series| series.level <= level).all(|series| series.news(words) == 0);
        let (mut looked_at, mut idle) = (&mut watched, Vec::new());
        if is_idle {
            looked_at = &mut idle;
        }
        let mut removed = false;
        for run in looked_at.chunks_mut(RUN) {
            // Nearly always nothing has happened: one branch for a whole run, which memory answers together.
            if run.iter().fold(0, |any, series| any | series.news(words)) != 0 {
                for series in run.iter_mut().filter(|series| series.news(words) != 0) {
                    removed |= self.refresh_series(source, series, catalog, taken, log);
                }
            }
        }
        if removed {
            watched.retain(|series| !catalog.series[series.number as usize].removed);
        }
        self.watched = watched;
        for extent in 0..self.list.len() {
            self.find_blocks(source, extent, taken, log);
        }
        self.fill_holes(source);
    }

    fn watch_new(&mut self, catalog: &Catalog) {
        if self.known == catalog.series.len() {
            return;
        }
        for (number, series) in catalog.series.iter().enumerate().skip(self.known) {
            let word = u32::try_from(state_offset(series.offset) / 8).unwrap_or(u32::MAX);
            let has_cells = catalog.families[series.family].cell_words() > 0;
            let open = if has_cells { (1 << Representation::COUNT) - 1 } else { 0 };
            let level = catalog.families[series.family].level;
            self.watched.push(Watched { word, number: number as u32, open, level });
        }
        self.known = catalog.series.len();
        // In this order memory is fastest.
        self.watched.sort_by_key(|series| series.word);
    }

    /// Looks for the removal and for new cells of a series; returns whether it was removed.
    fn refresh_series(
        &mut self,
        source: Source<'_>,
        watched: &mut Watched,
        catalog: &mut Catalog,
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) -> bool {
        let series = &mut catalog.series[watched.number as usize];
        let state = match source.view().get::<State>(state_offset(series.offset)) {
            Ok(state) => state,
            Err(fault) => {
                source.note(log, Reason::Record, series.offset, fault);
                return false;
            }
        };
        let family = &mut catalog.families[series.family];
        let words = family.cell_words();
        // Once removed it stays so: labels that come back get a new record.
        if !matches!(state.state.load(Ordering::Relaxed), CURRENT | REMOVING) {
            series.removed = true;
            family.series -= 1;
            catalog.version += 1;
            // Retired words may be given to another series.
            self.release(&mut series.cells, words);
            return true;
        }
        for (representation, word) in Representation::ALL.into_iter().zip(&state.cells) {
            if watched.open & 1 << representation as u8 == 0 || word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let place = cells_place(series.offset, representation);
            let packed = load_acquire(word); // pairs with: extent::publish_once()
            match self.bind(source, packed, place, words, representation, taken) {
                Ok(cell) => {
                    series.cells[representation as usize] = cell;
                    watched.open &= !(1 << representation as u8);
                    catalog.version += 1;
                }
                Err(fault) => source.note(log, Reason::Cells, place, fault),
            }
        }
        false
    }

    fn release(&mut self, cells: &mut SeriesCells, words: usize) {
        for cell in cells.iter_mut().filter_map(Option::take) {
            let extent = &mut self.list[cell.extent as usize];
            let first = cell.place - extent.start;
            extent.uses.set(first, &vec![Use::Free; words]);
        }
    }

    /// Finds the words that a cell link names, and takes them for the series.
    fn bind(
        &mut self,
        source: Source<'_>,
        packed: u64,
        place: u64,
        words: usize,
        representation: Representation,
        taken: &mut Ranges,
    ) -> Result<Option<Cell>, Fault> {
        let Some(link) = CellLink::unpack(packed, place)? else { return Ok(None) };
        let number = self.extent(source, link.extent, taken)?;
        let extent = &mut self.list[number as usize];
        let first = link.word as usize;
        let (what, found) = ("cell link", u64::from(link.word));
        let Some(uses) = extent.uses.of.get(first..first + words) else {
            let limit = u64::from(extent.words);
            return Err(Fault::Corrupt { what, offset: place, found, expected: limit });
        };
        if uses.iter().any(|used| *used != Use::Free) {
            let what = "cell link to words of another series";
            return Err(Fault::Corrupt { what, offset: place, found, expected: 0 });
        }
        // Only the last word, a total, is of the representation; the words before it are counts.
        let mut uses = vec![Use::Integer; words];
        if let (Some(last), Representation::Float) = (uses.last_mut(), representation) {
            *last = Use::Float;
        }
        extent.uses.set(first, &uses);
        Ok(Some(Cell { extent: number, place: extent.start + first }))
    }

    /// The number of the extent at `offset`, which is read when it is new.
    fn extent(&mut self, source: Source<'_>, offset: u64, taken: &mut Ranges) -> Result<u32, Fault> {
        let bad = Fault::Corrupt { what: "extent", offset, found: offset, expected: 0 };
        if let Some(known) = self.by_offset.get(&offset) {
            return known.ok_or(bad);
        }
        let number = self.list.len() as u32;
        let start = self.list.last().map_or(0, |last| last.start + last.words as usize);
        match ExtentEntry::read(source, offset, start, taken) {
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

    /// Adds up these words, which ascend, of all blocks that are there, or all words; the sums of others stay as they
    /// are. What belongs to no series is left as it comes.
    pub(crate) fn sum(&self, source: Source<'_>, sums: &mut Vec<u64>, words: Option<&[Range<usize>]>) {
        sums.resize(self.list.last().map_or(0, |last| last.start + last.words as usize), 0);
        for extent in &self.list {
            let all = extent.start..extent.start + extent.uses.end;
            let wanted = match words {
                None => std::slice::from_ref(&all),
                Some(words) => {
                    let words = &words[words.partition_point(|range| range.end <= all.start)..];
                    &words[..words.partition_point(|range| range.start < all.end)]
                }
            };
            if !wanted.is_empty() {
                extent.sum(source, &mut sums[all.clone()], wanted);
            }
        }
    }
}

impl Watched {
    /// Not 0 when it was removed or cells have come; `file` has the words of the whole file. One that is about to be
    /// removed is no news: it may stay so for as long as the file.
    fn news(&self, file: &[AtomicU64]) -> u64 {
        let state = file.get(self.word as usize..).and_then(<[_]>::first_chunk);
        let Some([state, integers, floats, nanoseconds]) = state else { return 1 };
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let open = |of: Representation| 0_u64.wrapping_sub(u64::from(self.open >> of as u8 & 1));
        load(state) & !REMOVING
            | load(integers) & open(Representation::Integer)
            | load(floats) & open(Representation::Float)
            | load(nanoseconds) & open(Representation::Nanoseconds)
    }
}

impl Uses {
    fn new(words: usize) -> Self {
        Self { of: vec![Use::Free; words], floats: Vec::new(), has_integers: false, end: 0 }
    }

    /// Says what the words from `first` on are from now.
    fn set(&mut self, first: usize, uses: &[Use]) {
        let range = first..first + uses.len();
        self.of[range.clone()].copy_from_slice(uses);
        self.floats.retain(|word| !range.contains(&(*word as usize)));
        let new = range.clone().filter(|word| self.of[*word] == Use::Float).map(|word| word as u32);
        self.floats.extend(new);
        self.floats.sort_unstable();
        self.has_integers |= uses.contains(&Use::Integer);
        self.end = self.end.max(range.end);
    }
}

impl ExtentEntry {
    /// Adds up those of its words that are among `words`, into `sums`, which are of all that are used.
    fn sum(&self, source: Source<'_>, sums: &mut [u64], words: &[Range<usize>]) {
        let Uses { floats, has_integers, end, .. } = &self.uses;
        for range in words {
            // It may have begun in the extent before, and go on in the next one.
            let own = range.start.saturating_sub(self.start)..(range.end - self.start).min(*end);
            if *has_integers {
                sums::add_integers(
                    self.words_of_blocks(source, own.start, own.len()),
                    &mut sums[own.clone()],
                );
            }
            let at = |word: usize| floats.partition_point(|float| (*float as usize) < word);
            let floats = &floats[at(own.start)..at(own.end)];
            if !floats.is_empty() {
                sums::add_floats(self.words_of_blocks(source, 0, *end), floats, sums);
            }
        }
    }

    /// Reads and checks the extent at `offset`; returns also the offset of its shared block.
    fn read(source: Source<'_>, offset: u64, start: usize, taken: &mut Ranges) -> Result<(Self, u64), Fault> {
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
        let entry = Self { offset, words, start, uses: Uses::new(words as usize), blocks };
        let shared = entry.block(source, Some(shared), taken)?.unwrap_or(0);
        Ok((entry, shared))
    }

    /// These words of each block that is there.
    fn words_of_blocks<'s>(
        &self,
        source: Source<'s>,
        first: usize,
        count: usize,
    ) -> impl Iterator<Item = &'s [AtomicU64]> {
        self.blocks.iter().filter_map(move |block| match block {
            Block::At(offset) => source.view().words(offset + 8 * first as u64, count).ok(),
            Block::None | Block::Hole => None,
        })
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
