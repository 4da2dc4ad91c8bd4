//! Records: the immutable descriptions of families and series, and the state block before each.
//!
//! ```text
//! offset - 64   +-------------------+
//!               | state block       |  mutable: where the numbers are, whether removed
//! offset        +-------------------+
//!               | record header     |  published by one store of the offset into the index;
//! offset + 40   | body              |  never changed afterwards
//!               | identity          |  <- what makes two records the same
//!               | rest              |
//! offset + len  +-------------------+
//! ```

use crate::error::{Error, Result};
use crate::fields::{Field, field, put, u16_at, u32_at, u64_at};
use crate::hash::{checksum, identity};
use crate::kind::{GaugeMode, Kind, kind_at, mode_at};
use crate::sync::{AtomicU64, Ordering};

/// Bytes of the state block before each record.
pub const STATE_BYTES: usize = 64;
/// Bytes of the record header.
pub const HEADER_BYTES: usize = 40;
/// Longest record, in bytes.
pub const MAX_RECORD: usize = 32 * 1024;
/// Most labels of a series.
pub const MAX_LABELS: usize = 64;
/// Longest label value, in bytes.
pub const MAX_LABEL_VALUE: usize = 4096;
/// Longest help text, in bytes.
pub const MAX_HELP: usize = 4096;
/// Longest unit, in bytes.
pub const MAX_UNIT: usize = 64;
/// Longest text naming a registrant, in bytes.
pub const MAX_REGISTRANT: usize = 256;
/// Most explicit bounds of a histogram.
pub const MAX_BOUNDS: usize = 256;
/// Most states of a state set.
pub const MAX_STATES: usize = 63;

const TAG: usize = 0;
const LENGTH: usize = 4;
const CHECKSUM: usize = 8;
const IDENTITY_HASH: usize = 16;
const CREATED: usize = 24;
const RESERVED: usize = 32;

/// Tag of a family record.
pub const FAMILY_TAG: u16 = 0x4601;
/// Tag of a series record.
pub const SERIES_TAG: u16 = 0x5301;

/// The record header's fields.
pub const HEADER_FIELDS: &[Field] = &[
    field("tag", TAG, 2, "0x4601 family, 0x5301 series"),
    field("flags", 2, 2, "family: 1 shared block only; series: 1 overflow series"),
    field("length", LENGTH, 4, "bytes of the record, a multiple of 8, at most 32 KiB"),
    field("checksum", CHECKSUM, 8, "XXH64, seed = offset of the record, of bytes 0 to 8 and 16 to length"),
    field("identity_hash", IDENTITY_HASH, 8, "XXH64 of the identity, seed = the segment's hash seed"),
    field("created", CREATED, 8, "ns since 1970"),
    field("reserved", RESERVED, 8, "0"),
];

const KIND: usize = 40;
const MODE: usize = 41;
const LEVEL: usize = 42;
const SCHEMA: usize = 43;
const BOUND_COUNT: usize = 44;
const STATE_COUNT: usize = 46;
const KEEP_DEAD: usize = 48;
const MAX_SERIES: usize = 52;
const ZERO_THRESHOLD: usize = 56;
const UNIT_LEN: usize = 64;
const HELP_LEN: usize = 66;
const REGISTRANT_LEN: usize = 68;
const STATES_LEN: usize = 70;
const NAME_LEN: usize = 72;
const NAME: usize = 80;

/// The family record's fields.
pub const FAMILY_FIELDS: &[Field] = &[
    field("header", 0, HEADER_BYTES, "see \"Record header\""),
    field("kind", KIND, 1, "see \"Kinds\""),
    field("mode", MODE, 1, "see \"Gauge modes\"; 0 where the kind has none"),
    field("level", LEVEL, 1, "priority level; 0 is the most important"),
    field("schema", SCHEMA, 1, "exponential histograms; else 0"),
    field("bound_count", BOUND_COUNT, 2, "number of bounds, `+Inf` not among them"),
    field("state_count", STATE_COUNT, 2, "number of states"),
    field("keep_dead", KEEP_DEAD, 4, "mode `all`: samples of this many newest dead processes are kept"),
    field("max_series", MAX_SERIES, 4, "limit of series, the overflow series not counted"),
    field("zero_threshold", ZERO_THRESHOLD, 8, "exponential histograms, double; else 0"),
    field("unit_len", UNIT_LEN, 2, "bytes of the unit"),
    field("help_len", HELP_LEN, 2, "bytes of the help"),
    field("registrant_len", REGISTRANT_LEN, 2, "bytes of the registrant"),
    field("states_len", STATES_LEN, 2, "bytes of the states"),
    field("name_len", NAME_LEN, 4, "bytes of the name; the identity starts here"),
    field("reserved", 76, 4, "0"),
    field("name", NAME, 0, "exposed name, padded with 0 to a multiple of 8; the identity ends here"),
    field("bounds", NAME, 0, "doubles, strictly ascending, finite"),
    field("states", NAME, 0, "for each state its length (2 bytes) and its text"),
    field("texts", NAME, 0, "unit, help, registrant, one after the other, padded with 0 to a multiple of 8"),
];

const SERIES_FAMILY: usize = 40;
const SERIES_LABELS_LEN: usize = 48;
const SERIES_LABEL_COUNT: usize = 52;
const SERIES_LABELS: usize = 56;

/// The series record's fields.
pub const SERIES_FIELDS: &[Field] = &[
    field("header", 0, HEADER_BYTES, "see \"Record header\""),
    field("family", SERIES_FAMILY, 8, "offset of the family record; the identity starts here"),
    field("labels_len", SERIES_LABELS_LEN, 4, "bytes of the label block, without padding"),
    field("label_count", SERIES_LABEL_COUNT, 4, "number of labels"),
    field(
        "labels",
        SERIES_LABELS,
        0,
        "label block, padded with 0 to a multiple of 8; the identity ends here",
    ),
];

/// The state block's fields.
pub const STATE_FIELDS: &[Field] = &[
    field("state", 0, 8, "atomic: 0 current, 1 removed, 2 current and about to be removed"),
    field(
        "cells",
        8,
        24,
        "atomic: series: cell links by representation: integer, double, nanoseconds; \
         family: removals of its series, then 0",
    ),
    field("gauges", 32, 8, "atomic link: newest gauge cell of the series"),
    field("exemplars", 40, 8, "atomic link: reserved for exemplar cells"),
    field("series", 48, 8, "atomic: family: series registered; series: reserved"),
    field("refused", 56, 8, "atomic: family: look-ups that found the family at its limit; series: reserved"),
];

/// The mutable words that precede a record.
#[repr(C)]
#[derive(Debug)]
pub struct State {
    /// [`CURRENT`], [`REMOVED`] or [`REMOVING`].
    pub state: AtomicU64,
    /// Of a series: links to the cells of each representation. Of a family: see [`Self::removals`].
    pub cells: [AtomicU64; 3],
    /// Link to the newest gauge cell.
    pub gauges: AtomicU64,
    /// Reserved for exemplar cells.
    pub exemplars: AtomicU64,
    /// Of a family: series registered.
    pub series: AtomicU64,
    /// Of a family: look-ups that found it at its limit.
    pub refused: AtomicU64,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<State>() == STATE_BYTES);
    assert!(core::mem::offset_of!(State, cells) == 8);
    assert!(core::mem::offset_of!(State, gauges) == 32);
    assert!(core::mem::offset_of!(State, series) == 48);
};

/// State of a record that counts.
pub const CURRENT: u64 = 0;
/// State of a series that was removed; for ever.
pub const REMOVED: u64 = 1;
/// State of a series that counts until `removals` of its family says that it is about to go: whoever meets it in a
/// look-up finishes that.
pub const REMOVING: u64 = 2;

impl State {
    /// Of a family: how often one of its series was removed. Grows before a series' state becomes [`REMOVED`], so
    /// who remembers series and finds it unchanged knows that all of them count.
    #[must_use]
    pub const fn removals(&self) -> &AtomicU64 {
        &self.cells[0]
    }

    /// Removes this series of `family`; whether this call did it.
    pub fn remove(&self, family: &Self) -> bool {
        match self.state.compare_exchange(CURRENT, REMOVING, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) | Err(REMOVING) => self.finish_removal(family),
            Err(_) => false,
        }
    }

    /// Removes this series of `family`, if its state says that it is about to go; whether this call did it.
    pub fn finish_removal(&self, family: &Self) -> bool {
        family.removals().fetch_add(1, Ordering::AcqRel); // before it is gone: see removals()
        self.state.compare_exchange(REMOVING, REMOVED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// Offset of the state block of the record at `record`.
#[must_use]
pub const fn state_offset(record: u64) -> u64 {
    record.wrapping_sub(STATE_BYTES as u64)
}

/// Offset of the word that links to the cells of `representation`, for the record at `record`.
#[must_use]
pub const fn cells_place(record: u64, representation: crate::Representation) -> u64 {
    state_offset(record) + 8 + 8 * representation as u64
}

/// Offset of the word that links to the newest gauge cell, for the record at `record`.
#[must_use]
pub const fn gauges_place(record: u64) -> u64 {
    state_offset(record) + 32
}

/// A family as its record says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family<'b> {
    /// Exposed name.
    pub name: &'b str,
    /// Type.
    pub kind: Kind,
    /// How gauge cells combine; [`GaugeMode::LiveSum`] for kinds without.
    pub mode: GaugeMode,
    /// Priority level; 0 is the most important.
    pub level: u8,
    /// Only the shared block is used.
    pub shared_only: bool,
    /// Help text.
    pub help: &'b str,
    /// Unit; may be empty.
    pub unit: &'b str,
    /// Who registered it.
    pub registrant: &'b str,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Samples of dead processes kept in mode `all`.
    pub keep_dead: u32,
    /// Limit of series.
    pub max_series: u32,
    /// Upper bounds of a histogram, without `+Inf`.
    pub bounds: Doubles<'b>,
    /// States of a state set.
    pub states: Texts<'b>,
}

/// Doubles in a record or in memory.
#[derive(Clone, Copy, Debug)]
pub enum Doubles<'b> {
    /// Little-endian bytes.
    Bytes(&'b [u8]),
    /// Numbers.
    Numbers(&'b [f64]),
}

impl<'b> Doubles<'b> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len() / 8,
            Self::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = f64> + use<'b> {
        let this = *self;
        (0..this.len()).map(move |i| match this {
            Self::Bytes(bytes) => f64::from_bits(u64_at(bytes, 8 * i)),
            Self::Numbers(numbers) => numbers[i],
        })
    }
}

impl PartialEq for Doubles<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other.iter()).all(|(a, b)| a.to_bits() == b.to_bits())
    }
}

/// Texts in a record or in memory.
#[derive(Clone, Copy, Debug)]
pub enum Texts<'b> {
    /// Length-prefixed texts; already validated.
    Bytes(&'b [u8]),
    /// Texts.
    Strs(&'b [&'b str]),
}

impl<'b> Texts<'b> {
    /// Each in turn.
    pub fn iter(&self) -> impl Iterator<Item = &'b str> + use<'b> {
        let this = *self;
        let (mut at, mut next) = (0, 0);
        core::iter::from_fn(move || match this {
            Self::Bytes(bytes) => {
                let len = usize::from(u16_at(bytes, at));
                let text = bytes.get(at + 2..at + 2 + len)?;
                at += 2 + len;
                core::str::from_utf8(text).ok()
            }
            Self::Strs(texts) => {
                next += 1;
                texts.get(next - 1).copied()
            }
        })
    }

    fn encoded_len(&self) -> usize {
        self.iter().map(|text| 2 + text.len()).sum()
    }
}

impl PartialEq for Texts<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

const fn padded(len: usize) -> usize {
    len.next_multiple_of(8)
}

impl Family<'_> {
    /// Bytes of the record.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        NAME + padded(self.name.len())
            + 8 * self.bounds.len()
            + padded(self.states.encoded_len())
            + padded(self.unit.len() + self.help.len() + self.registrant.len())
    }

    /// Encodes the identity of a family called `name` into `out` and returns its length.
    ///
    /// # Errors
    /// [`Error::TooLong`] when `out` can't hold it.
    pub fn encode_identity(name: &str, out: &mut [u8]) -> Result<usize> {
        let len = NAME - NAME_LEN + padded(name.len());
        let limit = out.len();
        let out =
            out.get_mut(..len).ok_or(Error::TooLong { what: "metric name", found: name.len(), limit })?;
        out.fill(0);
        put(out, 0, &(name.len() as u32).to_le_bytes());
        put(out, NAME - NAME_LEN, name.as_bytes());
        Ok(len)
    }

    /// Encodes the record for the place `offset` and returns its length.
    ///
    /// # Errors
    /// [`Error::TooLong`] when a text or list is longer than the format allows or `out` too short.
    pub fn encode(&self, offset: u64, hash_seed: u64, out: &mut [u8]) -> Result<usize> {
        self.check_lengths()?;
        let len = self.encoded_len();
        let limit = out.len().min(MAX_RECORD);
        let too_long = Error::TooLong { what: "family record", found: len, limit };
        let out = if len > limit { None } else { out.get_mut(..len) }.ok_or(too_long)?;
        out.fill(0);
        let identity_end = NAME_LEN + Self::encode_identity(self.name, &mut out[NAME_LEN..])?;
        self.put_fixed(out);
        let mut at = identity_end;
        for bound in self.bounds.iter() {
            put(out, at, &bound.to_bits().to_le_bytes());
            at += 8;
        }
        let states_start = at;
        for text in self.states.iter() {
            put(out, at, &(text.len() as u16).to_le_bytes());
            put(out, at + 2, text.as_bytes());
            at += 2 + text.len();
        }
        at = states_start + padded(at - states_start);
        for text in [self.unit, self.help, self.registrant] {
            put(out, at, text.as_bytes());
            at += text.len();
        }
        let flags = u16::from(self.shared_only);
        finish(out, FAMILY_TAG, flags, self.created_unix_ns, (NAME_LEN, identity_end), offset, hash_seed);
        Ok(len)
    }

    fn check_lengths(&self) -> Result<()> {
        for (what, found, limit) in [
            ("metric name", self.name.len(), crate::name::MAX_NAME),
            ("help", self.help.len(), MAX_HELP),
            ("unit", self.unit.len(), MAX_UNIT),
            ("registrant", self.registrant.len(), MAX_REGISTRANT),
            ("list of bounds", self.bounds.len(), MAX_BOUNDS),
            ("list of states", self.states.iter().count(), MAX_STATES),
            ("texts of states", self.states.encoded_len(), 16 * 1024),
        ] {
            if found > limit {
                return Err(Error::TooLong { what, found, limit });
            }
        }
        Ok(())
    }

    fn put_fixed(&self, out: &mut [u8]) {
        out[KIND] = self.kind as u8;
        out[MODE] = if self.kind.is_per_process() { self.mode as u8 } else { 0 };
        out[LEVEL] = self.level;
        put(out, BOUND_COUNT, &(self.bounds.len() as u16).to_le_bytes());
        put(out, STATE_COUNT, &(self.states.iter().count() as u16).to_le_bytes());
        put(out, KEEP_DEAD, &self.keep_dead.to_le_bytes());
        put(out, MAX_SERIES, &self.max_series.to_le_bytes());
        for (at, len) in [
            (UNIT_LEN, self.unit.len()),
            (HELP_LEN, self.help.len()),
            (REGISTRANT_LEN, self.registrant.len()),
            (STATES_LEN, self.states.encoded_len()),
        ] {
            put(out, at, &(len as u16).to_le_bytes());
        }
    }
}

impl<'b> Family<'b> {
    /// Reads and checks the family record that lies at `offset`; `bytes` is a copy of the whole record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the field; nothing in `bytes` is believed before it is checked.
    pub fn decode(bytes: &'b [u8], offset: u64, hash_seed: u64) -> Result<Self> {
        let head = RecordHead::decode(bytes, offset)?;
        head.expect_tag(FAMILY_TAG, offset)?;
        let corrupt = |what, found: usize, expected: usize| Error::Corrupt {
            what,
            offset,
            found: found as u64,
            expected: expected as u64,
        };
        let name_len = u32_at(bytes, NAME_LEN) as usize;
        if name_len > crate::name::MAX_NAME {
            return Err(corrupt("metric name length", name_len, crate::name::MAX_NAME));
        }
        let bounds_at = NAME + padded(name_len);
        let bounds_len = 8 * usize::from(u16_at(bytes, BOUND_COUNT));
        let states_at = bounds_at + bounds_len;
        let states_len = usize::from(u16_at(bytes, STATES_LEN));
        let texts_at = states_at + padded(states_len);
        let lens = [UNIT_LEN, HELP_LEN, REGISTRANT_LEN].map(|at| usize::from(u16_at(bytes, at)));
        let end = texts_at + padded(lens[0] + lens[1] + lens[2]);
        if end != bytes.len() {
            return Err(corrupt("family record length", bytes.len(), end));
        }
        head.check_identity(&bytes[NAME_LEN..bounds_at], hash_seed, offset)?;
        let utf8 = |from: usize, len: usize| {
            core::str::from_utf8(&bytes[from..from + len]).map_err(|_| corrupt("text", from, 0))
        };
        let kind = kind_at(bytes[KIND], offset)?;
        let mode = if kind.is_per_process() { mode_at(bytes[MODE], offset)? } else { GaugeMode::LiveSum };
        let family = Self {
            name: utf8(NAME, name_len)?,
            kind,
            mode,
            level: bytes[LEVEL],
            shared_only: head.flags & 1 != 0,
            unit: utf8(texts_at, lens[0])?,
            help: utf8(texts_at + lens[0], lens[1])?,
            registrant: utf8(texts_at + lens[0] + lens[1], lens[2])?,
            created_unix_ns: head.created_unix_ns,
            keep_dead: u32_at(bytes, KEEP_DEAD),
            max_series: u32_at(bytes, MAX_SERIES),
            bounds: Doubles::Bytes(&bytes[bounds_at..states_at]),
            states: Texts::Bytes(&bytes[states_at..states_at + states_len]),
        };
        family.check_meaning(usize::from(u16_at(bytes, STATE_COUNT)), offset)?;
        Ok(family)
    }

    fn check_meaning(&self, state_count: usize, offset: u64) -> Result<()> {
        let corrupt = |what| Error::Corrupt { what, offset, found: 0, expected: 0 };
        if crate::name::check_metric_form(self.name).is_err() {
            return Err(corrupt("metric name"));
        }
        let states = self.states.iter().count();
        if states != state_count || states > MAX_STATES {
            return Err(corrupt("states"));
        }
        let mut last = f64::NEG_INFINITY;
        for bound in self.bounds.iter() {
            if !bound.is_finite() || bound <= last {
                return Err(corrupt("bounds"));
            }
            last = bound;
        }
        if self.bounds.len() > MAX_BOUNDS { Err(corrupt("number of bounds")) } else { Ok(()) }
    }
}

/// A series as its record says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series<'b> {
    /// Offset of its family's record.
    pub family: u64,
    /// Label block, see [`encode_labels`] and [`labels`].
    pub labels: &'b [u8],
    /// Number of labels.
    pub label_count: u32,
    /// Whether it stands for all label sets beyond the family's limit.
    pub overflow: bool,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
}

impl<'b> Series<'b> {
    /// Where a series record has the offset of its family.
    pub const FAMILY_PLACE: u64 = SERIES_FAMILY as u64;

    /// Bytes of the record.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        SERIES_LABELS + padded(self.labels.len())
    }

    /// Encodes the record for the place `offset` and returns its length; the identity lies in
    /// [`Self::identity_range`].
    ///
    /// # Errors
    /// [`Error::TooLong`] when the labels are longer than the format allows or `out` too short.
    pub fn encode(&self, offset: u64, hash_seed: u64, out: &mut [u8]) -> Result<usize> {
        let len = self.encoded_len();
        let limit = out.len().min(MAX_RECORD);
        let too_long = Error::TooLong { what: "series record", found: len, limit };
        let out = if len > limit { None } else { out.get_mut(..len) }.ok_or(too_long)?;
        out.fill(0);
        put(out, SERIES_FAMILY, &self.family.to_le_bytes());
        put(out, SERIES_LABELS_LEN, &(self.labels.len() as u32).to_le_bytes());
        put(out, SERIES_LABEL_COUNT, &self.label_count.to_le_bytes());
        put(out, SERIES_LABELS, self.labels);
        let flags = u16::from(self.overflow);
        finish(out, SERIES_TAG, flags, self.created_unix_ns, (SERIES_FAMILY, len), offset, hash_seed);
        Ok(len)
    }

    /// Where the identity lies in an encoded record.
    #[must_use]
    pub const fn identity_range(record_len: usize) -> core::ops::Range<usize> {
        SERIES_FAMILY..record_len
    }

    /// Reads and checks the series record that lies at `offset`; `bytes` is a copy of the whole record.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the field.
    pub fn decode(bytes: &'b [u8], offset: u64, hash_seed: u64) -> Result<Self> {
        let head = RecordHead::decode(bytes, offset)?;
        head.expect_tag(SERIES_TAG, offset)?;
        let labels_len = u32_at(bytes, SERIES_LABELS_LEN) as usize;
        if labels_len > MAX_RECORD || SERIES_LABELS + padded(labels_len) != bytes.len() {
            let (found, expected) = (labels_len as u64, bytes.len() as u64);
            return Err(Error::Corrupt { what: "label block length", offset, found, expected });
        }
        head.check_identity(&bytes[SERIES_FAMILY..], hash_seed, offset)?;
        let block = &bytes[SERIES_LABELS..SERIES_LABELS + labels_len];
        let label_count = u32_at(bytes, SERIES_LABEL_COUNT);
        check_labels(block, label_count as usize, offset)?;
        Ok(Self {
            family: u64_at(bytes, SERIES_FAMILY),
            labels: block,
            label_count,
            overflow: head.flags & 1 != 0,
            created_unix_ns: head.created_unix_ns,
        })
    }
}

/// The part that every record starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHead {
    /// [`FAMILY_TAG`] or [`SERIES_TAG`].
    pub tag: u16,
    /// Flags of the kind of record.
    pub flags: u16,
    /// Bytes of the record.
    pub length: u32,
    /// Hash of the identity.
    pub identity_hash: u64,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
}

impl RecordHead {
    /// Reads the length of the record whose first bytes are `bytes`, before its checksum is known.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when tag or length can't be right.
    pub fn peek(bytes: &[u8], offset: u64) -> Result<usize> {
        let (tag, length) = (u16_at(bytes, TAG), u32_at(bytes, LENGTH) as usize);
        if tag != FAMILY_TAG && tag != SERIES_TAG {
            let (found, expected) = (u64::from(tag), u64::from(SERIES_TAG));
            return Err(Error::Corrupt { what: "record tag", offset, found, expected });
        }
        if !(SERIES_LABELS..=MAX_RECORD).contains(&length) || !length.is_multiple_of(8) {
            let (found, expected) = (length as u64, MAX_RECORD as u64);
            return Err(Error::Corrupt { what: "record length", offset, found, expected });
        }
        Ok(length)
    }

    /// Reads the head of a whole record and checks the record's checksum.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn decode(bytes: &[u8], offset: u64) -> Result<Self> {
        let length = Self::peek(bytes, offset)?;
        if length != bytes.len() {
            let (found, expected) = (length as u64, bytes.len() as u64);
            return Err(Error::Corrupt { what: "record length", offset, found, expected });
        }
        let (found, expected) = (u64_at(bytes, CHECKSUM), record_checksum(bytes, offset));
        if found != expected {
            return Err(Error::Corrupt { what: "record checksum", offset, found, expected });
        }
        Ok(Self {
            tag: u16_at(bytes, TAG),
            flags: u16_at(bytes, 2),
            length: length as u32,
            identity_hash: u64_at(bytes, IDENTITY_HASH),
            created_unix_ns: u64_at(bytes, CREATED),
        })
    }

    fn expect_tag(&self, expected: u16, offset: u64) -> Result<()> {
        if self.tag == expected {
            return Ok(());
        }
        let (found, expected) = (u64::from(self.tag), u64::from(expected));
        Err(Error::Corrupt { what: "record tag", offset, found, expected })
    }

    fn check_identity(&self, bytes: &[u8], hash_seed: u64, offset: u64) -> Result<()> {
        let expected = identity(bytes, hash_seed);
        if self.identity_hash == expected {
            return Ok(());
        }
        Err(Error::Corrupt { what: "identity hash", offset, found: self.identity_hash, expected })
    }
}

/// Offset of the identity in a record with this tag.
#[must_use]
pub const fn identity_start(tag: u16) -> usize {
    if tag == FAMILY_TAG { NAME_LEN } else { SERIES_FAMILY }
}

fn finish(
    out: &mut [u8],
    tag: u16,
    flags: u16,
    created: u64,
    (start, end): (usize, usize),
    offset: u64,
    hash_seed: u64,
) {
    put(out, TAG, &tag.to_le_bytes());
    put(out, 2, &flags.to_le_bytes());
    put(out, LENGTH, &(out.len() as u32).to_le_bytes());
    let hash = identity(&out[start..end], hash_seed);
    put(out, IDENTITY_HASH, &hash.to_le_bytes());
    put(out, CREATED, &created.to_le_bytes());
    let sum = record_checksum(out, offset);
    put(out, CHECKSUM, &sum.to_le_bytes());
}

fn record_checksum(bytes: &[u8], offset: u64) -> u64 {
    checksum(&[&bytes[..CHECKSUM], &bytes[IDENTITY_HASH..]], offset)
}

/// Encodes labels, which the caller has sorted by name, and returns the block's length.
///
/// For each label: length of the name and of the value (2 bytes each), name, value.
///
/// # Errors
/// [`Error::TooLong`] when a part is longer than the format allows or `out` too short.
pub fn encode_labels<'l>(labels: impl Iterator<Item = (&'l str, &'l str)>, out: &mut [u8]) -> Result<usize> {
    let (mut at, mut count) = (0, 0);
    for (name, value) in labels {
        count += 1;
        for (what, found, limit) in [
            ("label name", name.len(), crate::name::MAX_LABEL_NAME),
            ("label value", value.len(), MAX_LABEL_VALUE),
            ("list of labels", count, MAX_LABELS),
            ("label block", at + 4 + name.len() + value.len(), out.len()),
        ] {
            if found > limit {
                return Err(Error::TooLong { what, found, limit });
            }
        }
        put(out, at, &(name.len() as u16).to_le_bytes());
        put(out, at + 2, &(value.len() as u16).to_le_bytes());
        put(out, at + 4, name.as_bytes());
        at += 4 + name.len();
        put(out, at, value.as_bytes());
        at += value.len();
    }
    Ok(at)
}

/// Each label of a block: name and value. Stops at the first that isn't whole.
pub fn labels(block: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let (name_len, value_len) = (usize::from(u16_at(block, at)), usize::from(u16_at(block, at + 2)));
        let name = block.get(at + 4..at + 4 + name_len)?;
        let value = block.get(at + 4 + name_len..at + 4 + name_len + value_len)?;
        if name.is_empty() {
            return None;
        }
        at += 4 + name_len + value_len;
        Some((core::str::from_utf8(name).ok()?, core::str::from_utf8(value).ok()?))
    })
}

/// Checks that a label block holds `count` valid labels, sorted and without duplicates, and nothing else.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn check_labels(block: &[u8], count: usize, offset: u64) -> Result<()> {
    let (mut used, mut seen, mut last) = (0, 0, "");
    for (name, value) in labels(block) {
        if name <= last || crate::name::check_label_name(name).is_err() {
            return Err(Error::Corrupt { what: "label name", offset, found: seen as u64, expected: 0 });
        }
        used += 4 + name.len() + value.len();
        seen += 1;
        last = name;
    }
    if used != block.len() || seen != count || count > MAX_LABELS {
        let (found, expected) = (seen as u64, count as u64);
        return Err(Error::Corrupt { what: "label block", offset, found, expected });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family() -> Family<'static> {
        Family {
            name: "ttft_seconds",
            kind: Kind::Histogram,
            mode: GaugeMode::LiveSum,
            level: 3,
            shared_only: false,
            help: "time to first token — é",
            unit: "seconds",
            registrant: "worker (pid 7)",
            created_unix_ns: 99,
            keep_dead: 0,
            max_series: 10,
            bounds: Doubles::Numbers(&[0.1, 1.0]),
            states: Texts::Strs(&[]),
        }
    }

    #[test]
    fn a_family_survives_encoding_and_refuses_every_flip() {
        let mut bytes = [0; 1024];
        let len = family().encode(8192, 5, &mut bytes).unwrap();
        assert_eq!(Family::decode(&bytes[..len], 8192, 5), Ok(family()));
        for at in 0..len {
            let mut flipped = bytes;
            flipped[at] ^= 0x10;
            assert!(Family::decode(&flipped[..len], 8192, 5).is_err(), "byte {at}");
        }
        assert!(Family::decode(&bytes[..len], 8256, 5).is_err());
    }

    #[test]
    fn states_survive_encoding() {
        let states = Family {
            kind: Kind::StateSet,
            bounds: Doubles::Numbers(&[]),
            states: Texts::Strs(&["starting", "ready", "ärger"]),
            mode: GaugeMode::MostRecent,
            ..family()
        };
        let mut bytes = [0; 1024];
        let len = states.encode(64, 0, &mut bytes).unwrap();
        assert_eq!(Family::decode(&bytes[..len], 64, 0), Ok(states));
    }

    #[test]
    fn a_series_survives_encoding_and_refuses_every_flip() {
        let mut block = [0; 128];
        let used = encode_labels([("model", "llama"), ("status", "ök")].into_iter(), &mut block).unwrap();
        let series = Series {
            family: 4096,
            labels: &block[..used],
            label_count: 2,
            overflow: true,
            created_unix_ns: 3,
        };
        let mut bytes = [0; 256];
        let len = series.encode(12_288, 1, &mut bytes).unwrap();
        assert_eq!(Series::decode(&bytes[..len], 12_288, 1), Ok(series));
        for at in 0..len {
            let mut flipped = bytes;
            flipped[at] ^= 0x01;
            assert!(Series::decode(&flipped[..len], 12_288, 1).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_and_never_cut() {
        let long = "x".repeat(65_536);
        let mut bytes = [0; MAX_RECORD];
        for family in [Family { name: &long, ..family() }, Family { help: &long, ..family() }] {
            assert!(matches!(family.encode(0, 0, &mut bytes), Err(Error::TooLong { found: 65_536, .. })));
        }
        let labels = encode_labels([("a", long.as_str())].into_iter(), &mut bytes);
        assert!(matches!(labels, Err(Error::TooLong { what: "label value", .. })));
    }

    #[test]
    fn unsorted_and_duplicate_labels_are_corrupt() {
        let mut block = [0; 64];
        for labels in [[("b", "1"), ("a", "2")], [("a", "1"), ("a", "2")]] {
            let used = encode_labels(labels.into_iter(), &mut block).unwrap();
            assert!(check_labels(&block[..used], 2, 0).is_err());
        }
    }
}
