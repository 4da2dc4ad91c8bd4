//! The cells of counters, tallies and histograms as this process reaches them.
#![allow(unsafe_code, reason = "updates words through addresses that were validated once")]

use crate::local::AtomicUsize;

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::extent::{self, Extent};
use dyn_metrics_layout::header::{self, Statistic};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};

use crate::foreign::ForeignSeries;
use crate::once_map::OnceValue;
use crate::origin::{Identity, Origin};
use crate::percpu::{self, Blocks, Table};
use crate::segment::{Granted, Segment};

/// An extent as this process reaches it: checked once, mapped, never released.
#[derive(Debug)]
pub(crate) struct LocalExtent {
    segment: &'static Segment,
    offset: u64,
    words: u32,
    cpus: u32,
    /// Address of each CPU's block; 0 until this process has seen it.
    blocks: Blocks,
    shared: &'static [AtomicU64],
}

impl LocalExtent {
    /// The extent at `offset`, mapped and checked.
    pub(crate) fn reach(segment: &'static Segment, offset: u64) -> Granted<&'static Self> {
        segment.extents.get_or_try(offset, || {
            let mut bytes = [0; 40];
            segment.reach(offset)?.copy(offset, &mut bytes)?;
            let extent = Extent::decode(&bytes, offset)?;
            let shared = segment.reach(extent.shared)?.words(extent.shared, extent.words as usize)?;
            let blocks = Blocks::new(if segment.per_cpu { extent.cpus } else { 0 });
            Ok(Self { segment, offset, words: extent.words, cpus: extent.cpus, blocks, shared })
        })
    }

    /// Gives this process the block of the CPU it runs on, making it if there is none. Async-signal-safe.
    fn install_current_cpu(&self) {
        if self.blocks.is_empty() {
            return; // by decision: no rseq, or a family with a shared block only
        }
        let entry_of = |cpu| self.blocks.entry(cpu).map(|entry| (cpu, entry));
        let Some((cpu, entry)) = percpu::current_cpu().and_then(entry_of) else {
            self.segment.count_lost_rseq();
            return;
        };
        if entry.load(crate::local::Ordering::Relaxed) != 0
            || self.segment.no_blocks.load(crate::local::Ordering::Relaxed)
        {
            return;
        }
        match self.block(cpu, true) {
            Ok(Some(block)) => {
                entry.store(block.as_ptr() as usize, crate::local::Ordering::Release);
            }
            Ok(None) => (),
            Err(_) => {
                self.segment.no_blocks.store(true, crate::local::Ordering::Relaxed);
                self.segment.count(Statistic::BlockFailed, 1);
            }
        }
    }

    /// The block of `cpu`; made if need be and `make` is given.
    fn block(&self, cpu: u32, make: bool) -> Granted<Option<&'static [AtomicU64]>> {
        let place = Extent::entry_place(self.offset, cpu);
        let word = self.segment.word(place)?;
        let offset = match extent::follow(word, place)? {
            Some(offset) => offset,
            None if make => {
                let bytes = Extent::block_bytes(self.words);
                let drawn = self.segment.draw(bytes, extent::BLOCK_ALIGN)?;
                extent::publish_once(word, place, drawn)?
            }
            None => return Ok(None),
        };
        Ok(Some(self.segment.reach(offset)?.words(offset, self.words as usize)?))
    }

    /// Sum of a word over all blocks, integers wrapping.
    fn sum_u64(&self, word: usize) -> u64 {
        self.fold(word, 0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }

    /// Sum of a word over all blocks, in doubles, in fixed order.
    fn sum_f64(&self, word: usize) -> f64 {
        self.fold(word, 0.0, |sum, cell| sum + f64::from_bits(cell.load(Ordering::Relaxed)))
    }

    fn fold<T>(&self, word: usize, start: T, add: impl Fn(T, &AtomicU64) -> T) -> T {
        let blocks = (0..self.cpus).filter_map(|cpu| self.block(cpu, false).ok().flatten());
        let sum = blocks.filter_map(|block| block.get(word)).fold(start, &add);
        add(sum, &self.shared[word])
    }
}

/// Where the cold path of a series' updates goes.
#[derive(Debug)]
enum Home {
    /// Words of an extent.
    Extent(&'static LocalExtent),
    /// Words of this process alone.
    Private,
    /// Words that nobody reads: of handles beyond the number that get words of their own.
    Sink,
    /// No words, but a series of another registry, in the representation of its handles; none where updates go
    /// nowhere.
    Foreign(Option<(&'static ForeignSeries, Representation)>),
}

/// What the cells of one series have beside the hot path's two words; leaked, one for each handle's series.
#[derive(Debug)]
struct Cold {
    home: Home,
    first: usize,
    /// Empty where there are no words.
    shared: &'static [AtomicU64],
    /// None: private.
    origin: Option<Origin>,
}

impl Cold {
    /// Adds `n` to a word of the shared block; false when there is none.
    #[inline(always)]
    fn add_u64(&self, index: usize, n: u64) -> bool {
        let word = self.shared.get(index);
        word.inspect(|word| extent::add_shared(word, n)).is_some()
    }

    /// Adds `x` to a double of the shared block; false when there is none.
    fn add_f64(&self, index: usize, x: f64) -> bool {
        let word = self.shared.get(index);
        word.inspect(|word| extent::add_shared_float(word, x)).is_some()
    }

    /// Hands what is added to a word that isn't here to another registry, if the series is of one.
    #[cold]
    fn add_u64_elsewhere(&self, index: usize, n: u64) {
        if let Home::Foreign(Some((series, representation))) = self.home {
            series.add_word(representation, index, Amount::Whole(n));
        }
    }

    /// As [`Self::add_u64_elsewhere`], for a double.
    #[cold]
    fn add_f64_elsewhere(&self, index: usize, x: f64) {
        if let Home::Foreign(Some((series, representation))) = self.home {
            series.add_word(representation, index, Amount::Double(x));
        }
    }

    fn install(&self) {
        if let Home::Extent(extent) = self.home {
            extent.install_current_cpu();
        }
    }

    fn count(&self, statistic: Statistic) {
        match self.home {
            Home::Extent(extent) => extent.segment.count(statistic, 1),
            Home::Foreign(Some((series, _))) => series.dropped(statistic),
            _ => (),
        }
    }
}

/// What [`Cells::add_cold`] adds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    Whole(u64),
    Double(f64),
}

/// The cells of one series: a run of words in each block of an extent.
///
/// Copied freely; what it points to is never released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells {
    table: Table,
    cold: &'static Cold,
}

/// Private cells leaked so far; beyond a limit updates go to words that nobody reads, so that a host which asks
/// again and again after a refusal doesn't grow.
static PRIVATE_CELLS: AtomicUsize = AtomicUsize::new(0);
const MOST_PRIVATE_CELLS: usize = 4096;

impl Cells {
    /// The cells that `link` names in the segment of `origin`: `words` of them.
    pub(crate) fn reach(origin: Origin, link: CellLink, words: usize) -> Granted<Self> {
        let extent = LocalExtent::reach(origin.family.segment, link.extent)?;
        let first = link.word as usize;
        let shared =
            extent.shared.get(first..first + words).ok_or(dyn_metrics_layout::Error::OutOfBounds {
                offset: link.extent,
                len: 8 * (first + words) as u64,
            })?;
        Ok(Self {
            table: Table::new(extent.blocks, 8 * first),
            cold: Box::leak(Box::new(Cold {
                home: Home::Extent(extent),
                first,
                shared,
                origin: Some(origin),
            })),
        })
    }

    /// Cells that nobody else sees.
    pub(crate) fn private(words: usize) -> Self {
        static SINK: OnceValue<Cold> = OnceValue::new();
        let make = |home, words: usize| {
            let shared = Box::leak((0..words).map(|_| AtomicU64::new(0)).collect::<Box<[_]>>());
            Cold { home, first: 0, shared, origin: None }
        };
        let count = PRIVATE_CELLS.fetch_add(1, crate::local::Ordering::Relaxed);
        let most = dyn_metrics_layout::record::MAX_BOUNDS + 2;
        let sink = || SINK.get_or(|| Some(make(Home::Sink, most)));
        let sink = if count < MOST_PRIVATE_CELLS { None } else { sink() };
        let cold = sink.unwrap_or_else(|| Box::leak(Box::new(make(Home::Private, words))));
        Self { table: Table::EMPTY, cold }
    }

    /// Words of the series; of one of another registry, as many as it would have in a segment.
    pub(crate) fn words(&self) -> usize {
        match self.cold.home {
            Home::Foreign(Some((series, _))) => series.words(),
            _ => self.cold.shared.len(),
        }
    }

    /// Cells of a series of another registry.
    pub(crate) fn foreign(series: &'static ForeignSeries, representation: Representation) -> Self {
        let home = Home::Foreign(Some((series, representation)));
        Self {
            table: Table::EMPTY,
            cold: Box::leak(Box::new(Cold { home, first: 0, shared: &[], origin: None })),
        }
    }

    /// Cells whose updates go nowhere.
    pub(crate) fn nowhere() -> Self {
        static NOWHERE: Cold = Cold { home: Home::Foreign(None), first: 0, shared: &[], origin: None };
        Self { table: Table::NOWHERE, cold: &NOWHERE }
    }

    /// Whether updates try the table first.
    #[inline(always)]
    pub(crate) const fn is_used(&self) -> bool {
        self.table.is_used()
    }

    /// Whether updates go nowhere, where they don't try the table.
    #[inline(always)]
    pub(crate) const fn is_nowhere(&self) -> bool {
        self.table.is_nowhere()
    }

    /// Where there is no table: has another registry observe a value, if the series is of one; false if it isn't.
    #[inline]
    pub(crate) fn observe_elsewhere(&self, value: f64, count: u64) -> bool {
        let Home::Foreign(foreign) = self.cold.home else { return false };
        if let Some((series, _)) = foreign {
            series.observe(value, count);
        }
        true
    }

    /// Adds `n` to word `index`.
    #[inline]
    pub(crate) fn add_u64(&self, index: usize, n: u64) {
        debug_assert!(index < self.cold.shared.len() || self.cold.shared.is_empty());
        if !self.table.is_used() {
            self.add_u64_unused(index, n);
            return;
        }
        // SAFETY: `reach` has checked that the series' words lie within the extent's blocks.
        if !unsafe { self.table.add_u64(index, n) } {
            self.add_u64_without_block(index, n);
        }
    }

    /// Adds 1 to word `index`.
    #[inline]
    pub(crate) fn add_one(&self, index: usize) {
        debug_assert!(index < self.cold.shared.len() || self.cold.shared.is_empty());
        if !self.table.is_used() {
            self.add_u64_unused(index, 1);
            return;
        }
        // SAFETY: as in add_u64.
        if !unsafe { self.table.add_one(index) } {
            self.add_u64_without_block(index, 1);
        }
    }

    /// Adds `x` to word `index`, a double.
    #[inline]
    pub(crate) fn add_f64(&self, index: usize, x: f64) {
        debug_assert!(index < self.cold.shared.len() || self.cold.shared.is_empty());
        if !self.table.is_used() {
            if !self.is_nowhere() {
                self.add_f64_unused(index, x);
            }
            return;
        }
        // SAFETY: as in add_u64.
        if !unsafe { self.table.add_f64(index, x) } {
            self.add_f64_without_block(index, x);
        }
    }

    /// Adds where there is no table, unless updates go nowhere.
    #[inline(always)]
    fn add_u64_unused(&self, index: usize, n: u64) {
        if !self.is_nowhere() && !self.cold.add_u64(index, n) {
            self.cold.add_u64_elsewhere(index, n);
        }
    }

    /// Adds to a double where there is no table, and updates go somewhere.
    #[inline(never)]
    fn add_f64_unused(&self, index: usize, x: f64) {
        if !self.cold.add_f64(index, x) {
            self.cold.add_f64_elsewhere(index, x);
        }
    }

    /// Adds 1 to word `bucket` and `x` to word `sum`, a double: [`Self::add_one`] and [`Self::add_f64`] where
    /// [`Self::is_used`], with the table loaded and tested once.
    #[inline]
    pub(crate) fn observe(&self, bucket: usize, sum: usize, x: f64) {
        debug_assert!(bucket < self.cold.shared.len() && sum < self.cold.shared.len());
        let table = self.table;
        // SAFETY: as in add_u64.
        if !unsafe { table.add_one(bucket) } {
            self.add_u64_without_block(bucket, 1);
        }
        // SAFETY: as in add_u64.
        if !unsafe { table.add_f64(sum, x) } {
            self.add_f64_without_block(sum, x);
        }
    }

    #[cold]
    fn add_u64_without_block(&self, index: usize, n: u64) {
        self.cold.add_u64(index, n);
        self.cold.install();
    }

    #[cold]
    fn add_f64_without_block(&self, index: usize, x: f64) {
        self.cold.add_f64(index, x);
        self.cold.install();
    }

    /// Sum of word `index` over all blocks.
    pub(crate) fn sum_u64(&self, index: usize) -> u64 {
        match self.cold.home {
            Home::Extent(extent) => extent.sum_u64(self.cold.first + index),
            Home::Private => self.cold.shared[index].load(Ordering::Relaxed),
            Home::Sink | Home::Foreign(None) => 0,
            Home::Foreign(Some((series, representation))) => series.word(representation, index).to_bits(),
        }
    }

    /// Sum of word `index`, a double, over all blocks.
    pub(crate) fn sum_f64(&self, index: usize) -> f64 {
        match self.cold.home {
            Home::Extent(extent) => extent.sum_f64(self.cold.first + index),
            Home::Private => f64::from_bits(self.cold.shared[index].load(Ordering::Relaxed)),
            Home::Sink | Home::Foreign(None) => 0.0,
            Home::Foreign(Some((series, representation))) => series.word(representation, index).as_f64(),
        }
    }

    /// Counts something dropped in the header of the segment, if there is one.
    #[cold]
    pub(crate) fn count(&self, statistic: Statistic) {
        self.cold.count(statistic);
    }

    /// Which series they belong to; none of private ones.
    pub(crate) fn identity(&self) -> Option<Identity> {
        match self.cold.home {
            Home::Foreign(series) => Some(Identity::Foreign(series?.0)),
            _ => self.cold.origin.as_ref().map(Identity::Segment),
        }
    }

    /// The hot path's two words, the first word of the shared block or null where there are no words, and the address
    /// of the rest.
    pub(crate) fn to_raw(self) -> (*const AtomicUsize, u64, *const AtomicU64, *const ()) {
        let (entries, packed) = self.table.to_raw();
        let shared = self.cold.shared.first().map_or(std::ptr::null(), |_| self.cold.shared.as_ptr());
        (entries, packed, shared, std::ptr::from_ref(self.cold).cast())
    }

    /// Adds to word `index` what the hot path could not: to the shared block, and asks for one of the CPU. What
    /// lies beyond the series' words is ignored.
    ///
    /// # Safety
    /// `cold` comes from [`Self::to_raw`].
    pub(crate) unsafe fn add_cold(cold: *const (), index: usize, amount: Amount) {
        // SAFETY: to_raw made it from a reference that lives as long as the process.
        let cold = unsafe { &*cold.cast::<Cold>() };
        match amount {
            Amount::Whole(n) if !cold.add_u64(index, n) => cold.add_u64_elsewhere(index, n),
            Amount::Double(x) if !cold.add_f64(index, x) => cold.add_f64_elsewhere(index, x),
            _ => (),
        }
        cold.install();
    }

    /// Counts something dropped; see [`Self::count`].
    ///
    /// # Safety
    /// As [`Self::add_cold`].
    pub(crate) unsafe fn count_cold(cold: *const (), statistic: Statistic) {
        // SAFETY: as above.
        let cold = unsafe { &*cold.cast::<Cold>() };
        cold.count(statistic);
    }

    /// Whether the cells belong to this process alone.
    pub(crate) fn is_private(&self) -> bool {
        !matches!(self.cold.home, Home::Extent(_) | Home::Foreign(Some(_)))
    }
}

/// Where the header says which extent new series draw their words from.
const fn open_place(shared_only: bool) -> u64 {
    if shared_only { header::OPEN_SHARED_EXTENT } else { header::OPEN_EXTENT }
}

/// Size of the extent that must be made before `words` can be drawn; 0 when the newest has them.
pub(crate) fn bytes_to_draw(segment: &'static Segment, words: u32, shared_only: bool) -> Granted<u64> {
    let place = open_place(shared_only);
    let newest = Link::unpack(dyn_metrics_layout::sync::load_acquire(segment.word(place)?), place)?;
    let mut before = None;
    if let Some(offset) = newest {
        let (extent, next_word) = read_extent(segment, offset)?;
        let drawn = next_word.load(Ordering::Relaxed);
        if drawn.saturating_add(u64::from(words)) <= u64::from(extent.words) {
            return Ok(0);
        }
        before = Some(extent);
    }
    let (size, cpus) = next_shape(segment, before, words, shared_only);
    Ok(Extent::bytes(size, cpus))
}

/// Words and CPUs of the extent made after `before`, with room for `words`.
fn next_shape(segment: &Segment, before: Option<Extent>, words: u32, shared_only: bool) -> (u32, u32) {
    let size = before.map_or(extent::MIN_WORDS, |extent| (extent.words * 2).min(extent::MAX_WORDS));
    let cpus = if shared_only { 0 } else { segment.header.possible_cpus };
    (size.max(words).next_multiple_of(16), cpus)
}

/// Draws `words` consecutive words for a new series, from the newest extent or a new one.
pub(crate) fn draw_words(segment: &'static Segment, words: u32, shared_only: bool) -> Granted<CellLink> {
    let place = open_place(shared_only);
    let open = segment.word(place)?;
    loop {
        let seen = dyn_metrics_layout::sync::load_acquire(open);
        let newest = Link::unpack(seen, place)?;
        let mut before = None;
        if let Some(offset) = newest {
            let (extent, next_word) = read_extent(segment, offset)?;
            if let Some(word) = extent::draw_words(next_word, extent.words, words) {
                return Ok(CellLink { extent: offset, word });
            }
            before = Some(extent);
        }
        let shape = next_shape(segment, before, words, shared_only);
        let made = new_extent(segment, shape, newest.unwrap_or(0))?;
        extent::publish_extent(open, place, seen, made);
    }
}

/// An extent and the cursor of its words.
fn read_extent(segment: &'static Segment, offset: u64) -> Granted<(Extent, &'static AtomicU64)> {
    let mut bytes = [0; 40];
    segment.reach(offset)?.copy(offset, &mut bytes)?;
    let extent = Extent::decode(&bytes, offset)?;
    Ok((extent, segment.word(offset + extent::NEXT_WORD)?))
}

fn new_extent(segment: &'static Segment, (words, cpus): (u32, u32), previous: u64) -> Granted<u64> {
    let offset = segment.draw(Extent::bytes(words, cpus), extent::BLOCK_ALIGN)?;
    let extent = Extent { words, cpus, previous, shared: offset + Extent::shared_start(cpus) };
    let mut bytes = [0; 40];
    extent.encode(offset, &mut bytes);
    segment.reach(offset)?.store(offset, &bytes)?;
    Ok(offset)
}
