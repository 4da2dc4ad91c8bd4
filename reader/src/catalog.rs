//! What a segment describes: its families and series, each read and checked once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use dyn_metrics_layout::error::Error as Fault;
use dyn_metrics_layout::header::Header;
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::name::{check_label_name, is_reserved_label, is_reserved_name};
use dyn_metrics_layout::record::{self, Family, RecordHead, STATE_BYTES, Series, state_offset};
use dyn_metrics_layout::sync::load_acquire;
use dyn_metrics_layout::view::View;
use dyn_metrics_layout::{GaugeMode, Kind, index};

use crate::cells::SeriesCells;
use crate::file::SegmentFile;
use crate::labels::Labels;
use crate::map::Map;
use crate::ranges::Ranges;
use crate::skip::{Reason, SkipLog};
use crate::tables::Table;

/// Most index tables that are followed; a longer chain is damaged.
pub(crate) const MAX_TABLES: usize = 4096;

/// Bytes read at once: most records fit.
pub(crate) const FIRST_READ: usize = 512;

/// Bytes of records that are read for each byte of a segment, and at all: sound ones don't overlap, and the smallest
/// take a quarter of [`FIRST_READ`]. Without it slots that lead to overlapping records would have the file read
/// thousands of times.
const READ_PER_BYTE: u64 = 16;
const READ_AT_LEAST: u64 = 1 << 20;

/// A family as its record describes it.
#[derive(Debug)]
pub(crate) struct FamilyEntry {
    pub(crate) offset: u64,
    pub(crate) name: Arc<str>,
    pub(crate) help: String,
    pub(crate) unit: String,
    pub(crate) registrant: String,
    pub(crate) kind: Kind,
    pub(crate) mode: GaugeMode,
    pub(crate) level: u8,
    pub(crate) keep_dead: u32,
    pub(crate) bounds: Arc<[f64]>,
    pub(crate) states: Arc<[String]>,
    /// Its series that are not removed.
    pub(crate) series: u64,
}

impl FamilyEntry {
    fn new(offset: u64, family: &Family<'_>) -> Self {
        Self {
            offset,
            name: family.name.into(),
            help: family.help.to_owned(),
            unit: family.unit.to_owned(),
            registrant: family.registrant.to_owned(),
            kind: family.kind,
            mode: family.mode,
            level: family.level,
            keep_dead: family.keep_dead,
            bounds: family.bounds.iter().collect(),
            states: family.states.iter().map(str::to_owned).collect(),
            series: 0,
        }
    }

    /// Words of a series of this family in each block.
    pub(crate) fn cell_words(&self) -> usize {
        self.kind.cell_words(self.bounds.len())
    }
}

/// A series as its record describes it, and where its numbers are.
#[derive(Debug)]
pub(crate) struct SeriesEntry {
    pub(crate) offset: u64,
    /// Index of its family in the catalog.
    pub(crate) family: usize,
    /// Its labels and the segment's common ones.
    pub(crate) labels: Labels,
    /// Once removed it stays so: labels that come back get a new record.
    pub(crate) removed: bool,
    pub(crate) cells: SeriesCells,
}

/// Everything that a reading of the segment needs to reach.
#[derive(Clone, Copy)]
pub(crate) struct Source<'s> {
    pub(crate) file: &'s SegmentFile,
    pub(crate) map: &'s Map,
}

impl<'s> Source<'s> {
    pub(crate) const fn view(self) -> View<'s, Map> {
        self.map.view()
    }

    pub(crate) const fn header(self) -> &'s Header {
        self.file.header()
    }

    /// Whether a fault only means that the file has grown since it was mapped: the next collection maps more.
    pub(crate) fn is_growth(self, fault: Fault) -> bool {
        let Fault::OutOfBounds { offset, len } = fault else { return false };
        let mapped = self.map.len();
        offset.saturating_add(len) > mapped && self.file.len().is_ok_and(|len| len > mapped)
    }

    /// Notes a fault, unless it only means that the file has grown.
    pub(crate) fn note(self, log: &mut SkipLog, reason: Reason, offset: u64, fault: Fault) {
        if !self.is_growth(fault) {
            log.note(reason, offset, fault);
        }
    }
}

/// Families and series of one segment, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) families: Vec<FamilyEntry>,
    pub(crate) series: Vec<SeriesEntry>,
    /// Numbers of all series in the order of their labels.
    pub(crate) by_labels: Vec<u32>,
    /// Changes whenever families, series or their cells come or go.
    pub(crate) version: u64,
    common: Vec<(String, String)>,
    records: HashMap<u64, Found>,
    tables: Vec<Table>,
    /// Bytes of records that were read so far.
    bytes_read: u64,
}

/// What a record's offset led to.
#[derive(Clone, Copy, Debug)]
enum Found {
    Family(usize),
    Series,
    /// A sound family that can't be exposed: so are its series, and that is noted once.
    Unfit,
    Bad,
}

impl Catalog {
    /// An empty catalog for a segment with these common labels.
    pub(crate) fn new(common: Vec<(String, String)>) -> Self {
        Self { common, ..Self::default() }
    }

    /// Reads what was registered since the last look.
    pub(crate) fn refresh(&mut self, source: Source<'_>, taken: &mut Ranges, log: &mut SkipLog) {
        self.follow_tables(source, taken, log);
        for table in 0..self.tables.len() {
            for change in self.tables[table].changes(source) {
                if self.visit(source, change.slot, taken, log).is_some() {
                    self.tables[table].keep(&change);
                }
            }
        }
        self.sort_new();
    }

    /// Puts new series in their places among the sorted ones, without comparing these anew.
    fn sort_new(&mut self) {
        let labels = |number: &u32| &self.series[*number as usize].labels;
        let mut new: Vec<u32> = (self.by_labels.len() as u32..self.series.len() as u32).collect();
        if new.is_empty() {
            return;
        }
        new.sort_by(|a, b| labels(a).cmp(labels(b)));
        let mut merged = Vec::with_capacity(self.series.len());
        let mut old = self.by_labels.as_slice();
        for number in new {
            let (before, after) = old.split_at(old.partition_point(|n| labels(n) <= labels(&number)));
            merged.extend_from_slice(before);
            merged.push(number);
            old = after;
        }
        merged.extend_from_slice(old);
        self.by_labels = merged;
    }

    fn follow_tables(&mut self, source: Source<'_>, taken: &mut Ranges, log: &mut SkipLog) {
        while self.tables.len() < MAX_TABLES {
            let (place, next) = match self.tables.last() {
                None => (0, Ok(Some(source.header().index))),
                Some(last) => {
                    let place = last.offset + index::NEXT;
                    (place, source.view().word(place).and_then(|w| Link::unpack(load_acquire(w), place)))
                }
            };
            match next.and_then(|next| next.map(|offset| Table::read(source, offset)).transpose()) {
                Ok(None) => return,
                Ok(Some(table)) => {
                    if !taken.take(table.offset, index::table_bytes(table.slots)) {
                        return log.note(Reason::Index, place, "index table overlaps another structure");
                    }
                    self.tables.push(table);
                }
                Err(fault) => return source.note(log, Reason::Index, place, fault),
            }
        }
    }

    /// Looks at a slot that has changed; none when it must be looked at again.
    fn visit(&mut self, source: Source<'_>, slot: u64, taken: &mut Ranges, log: &mut SkipLog) -> Option<()> {
        let offset = index::record_of(slot);
        if slot == 0 || self.records.contains_key(&offset) {
            return Some(());
        }
        let found = match self.read_record(source, offset, taken, log) {
            Ok(found) => found,
            Err(fault) if source.is_growth(fault) => return None,
            Err(fault) => {
                log.note(Reason::Record, offset, fault);
                Found::Bad
            }
        };
        self.records.insert(offset, found);
        Some(())
    }

    fn read_record(
        &mut self,
        source: Source<'_>,
        offset: u64,
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) -> Result<Found, Fault> {
        let bytes = self.record_bytes(source, offset)?;
        if bytes.starts_with(&record::FAMILY_TAG.to_le_bytes()) {
            return self.add_family(source, offset, &bytes, taken, log);
        }
        let series = Series::decode(&bytes, offset, source.header().hash_seed)?;
        // A family is published before its series, but the slot with it may have been looked at before.
        let family = match self.records.get(&series.family) {
            Some(found) => *found,
            None => self.read_family(source, series.family, taken, log)?,
        };
        if !taken.take(state_offset(offset), (STATE_BYTES + bytes.len()) as u64) {
            log.note(Reason::Record, offset, "record overlaps another structure");
            return Ok(Found::Bad);
        }
        match family {
            Found::Family(family) => Ok(self.add_series(offset, family, &series, log)),
            Found::Unfit => Ok(Found::Unfit),
            Found::Series | Found::Bad => {
                log.note(Reason::Orphan, offset, format_args!("no family at offset {}", series.family));
                Ok(Found::Bad)
            }
        }
    }

    /// As [`record_bytes`], as long as all records together haven't been more than a sound segment has.
    fn record_bytes(&mut self, source: Source<'_>, offset: u64) -> Result<Vec<u8>, Fault> {
        let len = source.map.len();
        let (found, expected) = (self.bytes_read, len.saturating_mul(READ_PER_BYTE).max(READ_AT_LEAST));
        if found > expected {
            let what = "records: they claim more bytes than the file has";
            return Err(Fault::Corrupt { what, offset, found, expected });
        }
        let bytes = record_bytes(source.file, offset, len);
        self.bytes_read += bytes.as_ref().map_or(0, Vec::len).max(FIRST_READ) as u64;
        bytes
    }

    /// Reads a family that a series refers to; whatever else lies there is no family.
    fn read_family(
        &mut self,
        source: Source<'_>,
        offset: u64,
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) -> Result<Found, Fault> {
        let found = match self.record_bytes(source, offset) {
            Ok(bytes) => self.add_family(source, offset, &bytes, taken, log),
            Err(fault) => Err(fault),
        };
        match found {
            Ok(found) => {
                self.records.insert(offset, found);
                Ok(found)
            }
            Err(fault) if source.is_growth(fault) => Err(fault),
            Err(_) => Ok(Found::Bad),
        }
    }

    fn add_family(
        &mut self,
        source: Source<'_>,
        offset: u64,
        bytes: &[u8],
        taken: &mut Ranges,
        log: &mut SkipLog,
    ) -> Result<Found, Fault> {
        let family = Family::decode(bytes, offset, source.header().hash_seed)?;
        if !taken.take(state_offset(offset), (STATE_BYTES + bytes.len()) as u64) {
            log.note(Reason::Record, offset, "record overlaps another structure");
            return Ok(Found::Bad);
        }
        if let Some((reason, what)) = unfit(family.kind, family.name, family.states.iter()) {
            log.note(reason, offset, format_args!("{}: {what}", family.name));
            return Ok(Found::Unfit);
        }
        self.families.push(FamilyEntry::new(offset, &family));
        self.version += 1;
        Ok(Found::Family(self.families.len() - 1))
    }

    fn add_series(&mut self, offset: u64, family: usize, series: &Series<'_>, log: &mut SkipLog) -> Found {
        let entry = &mut self.families[family];
        let reserved = |name: &str| is_reserved_label(name, entry.kind, entry.mode.is_all(), &entry.name);
        if let Some((name, _)) = record::labels(series.labels).find(|(name, _)| reserved(name)) {
            log.note(Reason::ReservedLabel, offset, format_args!("{}: label {name}", entry.name));
            return Found::Bad;
        }
        let own = || record::labels(series.labels);
        let common = self.common.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let common = common.filter(|(name, _)| !reserved(name) && own().all(|(n, _)| n != *name));
        let labels = common.chain(own()).collect();
        let cells = SeriesCells::default();
        entry.series += 1;
        self.series.push(SeriesEntry { offset, family, labels, removed: false, cells });
        self.version += 1;
        Found::Series
    }
}

/// Why a family can't be exposed, though its record is sound.
pub(crate) fn unfit<S: Eq + Hash>(
    kind: Kind,
    name: &str,
    mut states: impl Iterator<Item = S>,
) -> Option<(Reason, &'static str)> {
    let mut seen = HashSet::new();
    match kind {
        _ if is_reserved_name(name) => {
            Some((Reason::ReservedName, "name that is kept for metrics about dyn-metrics itself"))
        }
        Kind::ExponentialHistogram => {
            Some((Reason::UnknownKind, "exponential buckets, which are not yet read"))
        }
        Kind::StateSet if check_label_name(name).is_err() => {
            Some((Reason::Record, "name of a state set that can't be a label's"))
        }
        Kind::StateSet if !states.all(|state| seen.insert(state)) => {
            Some((Reason::Record, "a state appears twice"))
        }
        _ => None,
    }
}

/// Copies the record at `offset`, of which nothing is known yet; `limit` is the length of the segment.
pub(crate) fn record_bytes(file: &SegmentFile, offset: u64, limit: u64) -> Result<Vec<u8>, Fault> {
    let start = file.header().data + STATE_BYTES as u64;
    if offset < start || !offset.is_multiple_of(8) || offset >= limit {
        return Err(Fault::OutOfBounds { offset, len: record::HEADER_BYTES as u64 });
    }
    let mut bytes = vec![0; FIRST_READ];
    let first = file.read_some(offset, &mut bytes);
    bytes.truncate(first);
    let len = RecordHead::peek(&bytes, offset)?;
    if offset.checked_add(len as u64).is_none_or(|end| end > limit) {
        return Err(Fault::OutOfBounds { offset, len: len as u64 });
    }
    let had = bytes.len().min(len);
    bytes.resize(len, 0);
    if had < len && !file.read(offset + had as u64, &mut bytes[had..]) {
        return Err(Fault::OutOfBounds { offset, len: len as u64 });
    }
    Ok(bytes)
}
