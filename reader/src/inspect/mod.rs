//! A segment's structures, read one by one and checked each for itself.
//!
//! Unlike a collection this reads by `pread` alone, so that nothing is allocated in the file and a dead or
//! copied file does as well; and it goes on after a fault wherever something still leads on. What concerns
//! several structures together is judged in [`crate::check`].

mod extents;
mod findings;
mod gauges;
mod header;
mod index;
mod processes;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dyn_metrics_layout::error::{Error as Damage, Result as LayoutResult};
use dyn_metrics_layout::fields::Field;
use dyn_metrics_layout::header::Header;

pub(crate) use findings::Findings;
pub use findings::{Fault, MAX_FAULTS, Severity};
pub(crate) use index::contains as index_contains;

use crate::error::Result;
use crate::file::SegmentFile;
use crate::raw::{RawExtent, RawFamily, RawGauge, RawSeries};
use crate::snapshot::ProcessReport;

/// Everything that was found in a segment.
pub(crate) struct Inspection {
    pub(crate) bytes: Bytes,
    pub(crate) words: HeaderWords,
    pub(crate) slots: Vec<Slot>,
    pub(crate) tables: Vec<Table>,
    /// Records that the index leads to, by offset.
    pub(crate) records: BTreeMap<u64, Record>,
    pub(crate) extents: Vec<RawExtent>,
    /// Gauge cells with their owners, by offset.
    pub(crate) gauges: BTreeMap<u64, RawGauge>,
    pub(crate) findings: Findings,
    /// Slots that searches of the index may still look at: bounds the time that a hostile chain of full tables
    /// costs.
    pub(crate) search_steps: Cell<u64>,
}

/// Slots that all searches together may look at for each byte of the file, and at all: a record of a sound segment takes
/// at least 128 bytes, and its search looks at 32 slots in each table. A chain of full tables of no use would take
/// minutes otherwise.
const SEARCH_STEPS_PER_BYTE: u64 = 16;
const SEARCH_STEPS_AT_MOST: u64 = 1 << 32;

/// The header's words that change.
#[derive(Debug, Default)]
pub(crate) struct HeaderWords {
    pub(crate) reserved_end: u64,
    pub(crate) state: u64,
    pub(crate) no_reuse: u64,
    pub(crate) statistics: Vec<u64>,
}

/// A slot that was claimed at least once.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) generation: u64,
    pub(crate) held: bool,
    pub(crate) report: Option<ProcessReport>,
}

/// An index table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) offset: u64,
    /// Slots that it has.
    pub(crate) slots: u32,
    /// Those that aren't empty, in order.
    pub(crate) used: Vec<(u32, u64)>,
}

impl Table {
    /// The slots in use from this one on.
    pub(crate) fn used_from(&self, slot: usize) -> &[(u32, u64)] {
        &self.used[self.used.partition_point(|(number, _)| (*number as usize) < slot)..]
    }
}

/// A record with its state block.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) length: u32,
    pub(crate) identity_hash: u64,
    pub(crate) content: Content,
}

/// What a record describes.
#[derive(Debug)]
pub(crate) enum Content {
    Family(RawFamily),
    Series(RawSeries),
}

impl Inspection {
    /// Reads everything in the segment at `path`.
    ///
    /// The order matters when processes write meanwhile: what refers to something is read before it, so
    /// that the something is complete.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let file = SegmentFile::open(path)?;
        let len = file.len()?;
        let budget = Cell::new(len.saturating_mul(16).saturating_add(1 << 20));
        let mut inspection = Self {
            bytes: Bytes { file, len: Cell::new(len), budget },
            words: HeaderWords::default(),
            slots: Vec::new(),
            tables: Vec::new(),
            records: BTreeMap::new(),
            extents: Vec::new(),
            gauges: BTreeMap::new(),
            findings: Findings::default(),
            search_steps: Cell::new(len.saturating_mul(SEARCH_STEPS_PER_BYTE).min(SEARCH_STEPS_AT_MOST)),
        };
        index::read_tables(&mut inspection);
        index::read_records(&mut inspection);
        gauges::read(&mut inspection);
        processes::read(&mut inspection);
        gauges::check_owners(&mut inspection);
        extents::read(&mut inspection);
        header::read(&mut inspection);
        Ok(inspection)
    }

    pub(crate) fn header(&self) -> &Header {
        self.bytes.file.header()
    }

    /// Families with their records' offsets.
    pub(crate) fn families(&self) -> impl Iterator<Item = &RawFamily> {
        self.records.values().filter_map(|record| match &record.content {
            Content::Family(family) => Some(family),
            Content::Series(_) => None,
        })
    }

    /// Series with their records' offsets.
    pub(crate) fn series(&self) -> impl Iterator<Item = &RawSeries> {
        self.records.values().filter_map(|record| match &record.content {
            Content::Family(_) => None,
            Content::Series(series) => Some(series),
        })
    }

    /// The family whose record lies at `offset`.
    pub(crate) fn family(&self, offset: u64) -> Option<&RawFamily> {
        match &self.records.get(&offset)?.content {
            Content::Family(family) => Some(family),
            Content::Series(_) => None,
        }
    }
}

/// Bytes read at once where much is read.
const PIECE: u64 = 64 << 10;

/// The bytes of a file within limits: what a hostile file makes us read is bounded by its length, and what we keep of
/// it by what is allocated for it.
pub(crate) struct Bytes {
    pub(crate) file: SegmentFile,
    len: Cell<u64>,
    budget: Cell<u64>,
}

impl Bytes {
    /// Length of the file when somebody last asked beyond it.
    pub(crate) fn len(&self) -> u64 {
        self.len.get()
    }

    /// Whether `len` bytes at `offset` lie in the file, which may have grown.
    ///
    /// # Errors
    /// [`Damage::OutOfBounds`].
    pub(crate) fn expect_inside(&self, offset: u64, len: u64) -> LayoutResult<()> {
        let is_inside = |limit| offset.checked_add(len).is_some_and(|end| end <= limit);
        if !is_inside(self.len()) {
            self.len.set(self.file.len().unwrap_or(0).max(self.len()));
        }
        if is_inside(self.len()) { Ok(()) } else { Err(Damage::OutOfBounds { offset, len }) }
    }

    /// Fills `out` from `offset`.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> LayoutResult<()> {
        let len = out.len() as u64;
        self.charge(offset, len)?;
        self.expect_inside(offset, len)?;
        if self.file.read(offset, out) { Ok(()) } else { Err(Damage::OutOfBounds { offset, len }) }
    }

    /// Reads `N` words from `offset`.
    pub(crate) fn words<const N: usize>(&self, offset: u64) -> LayoutResult<[u64; N]> {
        let list = self.word_list(offset, N)?;
        Ok(std::array::from_fn(|number| list[number]))
    }

    /// Reads `count` words from `offset`; allocates nothing when they lie outside the file.
    pub(crate) fn word_list(&self, offset: u64, count: usize) -> LayoutResult<Vec<u64>> {
        self.expect_inside(offset, 8 * count as u64)?;
        let mut bytes = vec![0; 8 * count];
        self.read(offset, &mut bytes)?;
        Ok(bytes.chunks_exact(8).map(|word| word_at(word, 0)).collect())
    }

    /// Calls `visit` with the number and the value of each word that isn't 0 among `count` words from `offset`; holes
    /// are not read, and no more than a piece is in memory.
    pub(crate) fn used_words(
        &self,
        offset: u64,
        count: u32,
        mut visit: impl FnMut(u32, u64),
    ) -> LayoutResult<()> {
        let len = 8 * u64::from(count);
        self.expect_inside(offset, len)?;
        let mut bytes = Vec::new();
        for data in self.file.data(offset, offset + len) {
            let mut at = data.start - (data.start - offset) % 8;
            while at < data.end {
                bytes.resize((data.end - at).next_multiple_of(8).min(PIECE) as usize, 0);
                self.read(at, &mut bytes)?;
                for (number, word) in ((at - offset) / 8..).zip(bytes.chunks_exact(8)) {
                    if word_at(word, 0) != 0 {
                        visit(number as u32, word_at(word, 0));
                    }
                }
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Accounts for `len` bytes read.
    pub(crate) fn charge(&self, offset: u64, len: u64) -> LayoutResult<()> {
        let what = "structures: they claim more bytes than the file has";
        let (found, expected) = (len, self.budget.get());
        let left = expected.checked_sub(len).ok_or(Damage::Corrupt { what, offset, found, expected })?;
        self.budget.set(left);
        Ok(())
    }
}

/// The little-endian word at `at`; 0 past the end.
pub(crate) fn word_at(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

/// Finds reserved fields of a structure that are not 0; `bytes` is a copy of it.
fn check_reserved(bytes: &[u8], fields: &[Field], offset: u64, findings: &mut Findings) {
    let is_reserved = |name: &str| {
        let number = name.strip_prefix("reserved").map(|rest| rest.strip_prefix('_').unwrap_or(rest));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    for field in fields.iter().filter(|field| is_reserved(field.name) && field.bytes > 0) {
        let Some(content) = bytes.get(field.offset..field.offset + field.bytes) else { continue };
        if let Some(at) = content.iter().position(|byte| *byte != 0) {
            let place = offset + (field.offset + at) as u64;
            findings.fault(place, format_args!("{}: found {:#x}, expected 0", field.name, content[at]));
        }
    }
}

/// Places that were visited, so that nothing is read twice.
type Visited = BTreeSet<u64>;
