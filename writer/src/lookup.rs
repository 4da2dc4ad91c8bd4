//! Searching the index of a segment, and adding to it.

use dyn_metrics_layout::index::{self, Match, NEXT, Probe};
use dyn_metrics_layout::record::{FAMILY_TAG, SERIES_TAG, identity_start};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_layout::{Error, extent, hash};

use crate::segment::{Granted, Segment};

/// Most tables of one index; a longer chain is damaged.
const MOST_TABLES: usize = 4096;

/// An index table as this process reaches it.
#[derive(Debug)]
pub(crate) struct LocalTable {
    offset: u64,
    slots: &'static [AtomicU64],
    next: &'static AtomicU64,
}

/// What a record is to be compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'b> {
    pub(crate) tag: u16,
    bytes: &'b [u8],
    hash: u64,
}

impl<'b> Identity<'b> {
    /// Of a family; `bytes` is the identity part of its record.
    pub(crate) fn family(segment: &Segment, bytes: &'b [u8]) -> Self {
        Self { tag: FAMILY_TAG, bytes, hash: hash::identity(bytes, segment.header.hash_seed) }
    }

    /// Of a series; `bytes` is the identity part of its record.
    pub(crate) fn series(segment: &Segment, bytes: &'b [u8]) -> Self {
        Self { tag: SERIES_TAG, bytes, hash: hash::identity(bytes, segment.header.hash_seed) }
    }
}

impl Segment {
    fn table(&'static self, offset: u64) -> Granted<&'static LocalTable> {
        self.tables.get_or_try(offset, || {
            let mut bytes = [0; 16];
            let view = self.reach(offset)?;
            view.copy(offset, &mut bytes)?;
            let count = index::decode_header(&bytes, offset)? as usize;
            let slots = view.words(offset + index::HEADER_BYTES as u64, count)?;
            Ok(LocalTable { offset, slots, next: self.word(offset + NEXT)? })
        })
    }

    /// Whether the record at `offset` has this identity, and counts.
    fn same(&'static self, offset: u64, identity: &Identity<'_>) -> Match {
        let Ok(view) = self.reach(offset) else { return Match::No };
        let Ok(head) = view.word(offset) else { return Match::No };
        let at = offset + identity_start(identity.tag) as u64;
        if head.load(Ordering::Relaxed) as u16 != identity.tag || view.equals(at, identity.bytes) != Ok(true)
        {
            return Match::No;
        }
        self.current_or_gone(offset, identity)
    }

    /// The record of this identity, if it is registered. No system call once its chunks are mapped.
    pub(crate) fn find_record(&'static self, identity: &Identity<'_>) -> Granted<Option<u64>> {
        let mut offset = self.header.index;
        for _ in 0..MOST_TABLES {
            let table = self.table(offset)?;
            match index::find(table.slots, identity.hash, |at| self.same(at, identity)) {
                Probe::Found(record) => return Ok(Some(record)),
                Probe::Full => (),
                Probe::Absent | Probe::Inserted => return Ok(None),
            }
            match extent::follow(table.next, table.offset + NEXT)? {
                Some(next) => offset = next,
                None => return Ok(None),
            }
        }
        Err(too_many_tables(offset))
    }

    /// Publishes the complete record at `candidate`, unless its identity is registered: the offset of the
    /// record that counts, and whether it is the candidate.
    pub(crate) fn publish_record(
        &'static self,
        identity: &Identity<'_>,
        candidate: u64,
    ) -> Granted<(u64, bool)> {
        let mut offset = self.header.index;
        for _ in 0..MOST_TABLES {
            let table = self.table(offset)?;
            match index::insert(table.slots, identity.hash, candidate, |at| self.same(at, identity)) {
                Probe::Found(record) => return Ok((record, false)),
                Probe::Inserted => return Ok((candidate, true)),
                Probe::Full | Probe::Absent => (),
            }
            let place = table.offset + NEXT;
            offset = match extent::follow(table.next, place)? {
                Some(next) => next,
                None => extent::publish_once(table.next, place, self.new_table(table.slots.len())?)?,
            };
        }
        Err(too_many_tables(offset))
    }

    /// A new table of twice as many slots, as far as a chunk holds them.
    fn new_table(&'static self, slots: usize) -> Granted<u64> {
        let most = (self.header.chunk_bytes / 16).max(index::MIN_SLOTS);
        let slots = (slots as u32).saturating_mul(2).min(most);
        let offset = self.draw(index::table_bytes(slots), 64)?;
        let mut bytes = [0; 16];
        index::encode_header(slots, offset, &mut bytes);
        self.reach(offset)?.store(offset, &bytes)?;
        Ok(offset)
    }
}

fn too_many_tables(offset: u64) -> crate::segment::Refusal {
    let (found, expected) = (MOST_TABLES as u64 + 1, MOST_TABLES as u64);
    Error::Corrupt { what: "chain of index tables", offset, found, expected }.into()
}
