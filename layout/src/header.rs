//! The first 4096 bytes of a segment.
//!
//! ```text
//!    0 +--------------------------------+
//!      | magic (stored last, release)   |
//!    8 | fixed fields                   |  written before the file gets its name, never changed
//!  256 +--------------------------------+
//!      | reserved_end                   |  moves forward only
//!  320 | open extents, state            |
//!  448 | statistics                     |  added to by anybody, in cold paths only
//!  960 +--------------------------------+
//! 1024 | common labels                  |  fixed
//! 4096 +--------------------------------+
//! ```

use crate::error::{Error, Result};
use crate::fields::{Field, field, put, u32_at, u64_at};
use crate::hash::checksum;

/// Version of the format that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// First eight bytes: `DYNMETRC` in ASCII.
pub const MAGIC: u64 = u64::from_le_bytes(*b"DYNMETRC");
/// Bytes of the header.
pub const BYTES: usize = 4096;
/// Longest block of common labels, in bytes.
pub const MAX_COMMON_LABELS: usize = BYTES - COMMON_LABELS;
/// Largest chunk by which a segment grows, in bytes.
pub const MAX_CHUNK: u32 = 1 << 20;
/// Smallest chunk by which a segment grows, in bytes.
pub const MIN_CHUNK: u32 = 1 << 16;
/// Most CPUs that a block table may have.
pub const MAX_CPUS: u32 = 8192;
/// Most slots that a process table may have.
pub const MAX_PROCESSES: u32 = 4096;
/// Incompatible features that this code knows.
pub const KNOWN_INCOMPAT: u64 = 0;
/// Features that this code knows among those that an unknowing program may read but not write.
pub const KNOWN_RO_COMPAT: u64 = 0;

/// Offset of the magic.
pub const MAGIC_AT: u64 = 0;
const HEADER_LEN: usize = 8;
const VERSION: usize = 12;
const COMPAT: usize = 16;
const RO_COMPAT: usize = 24;
const INCOMPAT: usize = 32;
const CREATED: usize = 40;
const SEGMENT_ID: usize = 48;
const BOOT_ID: usize = 64;
const HASH_SEED: usize = 80;
const PAGE_BYTES: usize = 88;
const CHUNK_BYTES: usize = 92;
const MAX_BYTES: usize = 96;
const POSSIBLE_CPUS: usize = 104;
const PROCESS_SLOTS: usize = 108;
const PROCESS_STRIDE: usize = 112;
const STATE_STRIDE: usize = 116;
const GAUGE_STRIDE: usize = 120;
const MAX_SERIES: usize = 124;
const PROCESSES: usize = 128;
const INDEX: usize = 136;
const DATA: usize = 144;
const COMMON_LEN: usize = 152;
const COMMON_COUNT: usize = 156;
const FIXED_RESERVED: usize = 160;
const CHECKSUM: usize = 248;
const COMMON_LABELS: usize = 1024;

/// Offset of the word that says where unreserved space starts.
pub const RESERVED_END: u64 = 256;
/// Offset of the link to the newest per-CPU extent.
pub const OPEN_EXTENT: u64 = 320;
/// Offset of the link to the newest extent with a shared block only.
pub const OPEN_SHARED_EXTENT: u64 = 328;
/// Offset of the state word: see [`STATE_CURRENT`] and [`STATE_SUPERSEDED`].
pub const STATE: u64 = 384;
/// Offset of the word that, once not 0, ends the reuse of retired cells.
pub const NO_REUSE: u64 = 392;
/// Offset of the first statistic.
pub const STATISTICS: u64 = 448;
/// State word of a segment that carries the name.
pub const STATE_CURRENT: u64 = 0;
/// State word of a segment that another one has replaced.
pub const STATE_SUPERSEDED: u64 = 1;

/// The header's fields.
pub const FIELDS: &[Field] = &[
    field("magic", 0, 8, "`DYNMETRC` in ASCII; stored last, with release"),
    field("header_len", HEADER_LEN, 4, "bytes of the header: 4096"),
    field("version", VERSION, 4, "format version: 1"),
    field("compat", COMPAT, 8, "features that any program may ignore"),
    field("ro_compat", RO_COMPAT, 8, "features that a reader may ignore and a writer may not"),
    field("incompat", INCOMPAT, 8, "features that nobody may ignore"),
    field("created", CREATED, 8, "creation time, ns since 1970"),
    field("segment_id", SEGMENT_ID, 16, "random"),
    field("boot_id", BOOT_ID, 16, "the kernel's boot id at creation"),
    field("hash_seed", HASH_SEED, 8, "seed of identity hashes, random"),
    field("page_bytes", PAGE_BYTES, 4, "page size of the creating kernel"),
    field("chunk_bytes", CHUNK_BYTES, 4, "the file grows by this; a power of two, 64 KiB to 1 MiB"),
    field("max_bytes", MAX_BYTES, 8, "the file never grows beyond this"),
    field("possible_cpus", POSSIBLE_CPUS, 4, "entries of each block table"),
    field("process_slots", PROCESS_SLOTS, 4, "slots of the process table"),
    field("process_stride", PROCESS_STRIDE, 4, "bytes from slot to slot: 512"),
    field("state_stride", STATE_STRIDE, 4, "bytes of the state block before each record: 64"),
    field("gauge_stride", GAUGE_STRIDE, 4, "bytes of a gauge cell: 128"),
    field("max_series", MAX_SERIES, 4, "default limit of series in a family"),
    field("processes", PROCESSES, 8, "offset of the process table"),
    field("index", INDEX, 8, "offset of the first index table"),
    field("data", DATA, 8, "offset of the first byte that registration may use"),
    field("common_len", COMMON_LEN, 4, "bytes of common labels"),
    field("common_count", COMMON_COUNT, 4, "number of common labels"),
    field("reserved", FIXED_RESERVED, 88, "0"),
    field("checksum", CHECKSUM, 8, "XXH64, seed 0, of bytes 8 to 248 and 1024 to 4096"),
    field("reserved_end", 256, 8, "atomic: offset of the first byte nobody has reserved"),
    field("reserved_1", 264, 56, "0"),
    field("open_extent", 320, 8, "atomic link: newest per-CPU extent"),
    field("open_shared_extent", 328, 8, "atomic link: newest extent with a shared block only"),
    field("reserved_2", 336, 48, "0"),
    field("state", 384, 8, "atomic: 0 current, 1 superseded"),
    field("no_reuse", 392, 8, "atomic: not 0 ends the reuse of retired cells"),
    field("reserved_3", 400, 48, "0"),
    field("statistics", 448, 512, "atomic: 64 counters, see \"Statistics\""),
    field("reserved_4", 960, 64, "0"),
    field("common_labels", COMMON_LABELS, MAX_COMMON_LABELS, "label block added to every sample"),
];

/// What is refused or lost, counted in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Statistic {
    /// Registrations refused: name, labels, bounds or options are not valid.
    RefusedInvalid = 0,
    /// Registrations refused: the family exists with another type, unit, bounds or mode.
    RefusedConflict = 1,
    /// Registrations refused: the name clashes with samples of another family.
    RefusedClash = 2,
    /// Registrations refused: the filesystem or the segment is full.
    RefusedFull = 3,
    /// Label sets that got the overflow series because their family was at its limit.
    RefusedSeriesLimit = 4,
    /// Updates dropped: not a number.
    DroppedNan = 5,
    /// Updates dropped: negative increment of a counter.
    DroppedNegative = 6,
    /// Gauge updates dropped: the cell could not be claimed at once.
    DroppedBusy = 7,
    /// Gauge updates that went to a private cell: no process slot could be had.
    PrivateNoSlot = 8,
    /// Blocks that could not be allocated for a CPU; its updates go to the shared block.
    BlockFailed = 9,
    /// Registrations whose help differed from the family's (the first one stays).
    HelpDiffers = 10,
    /// Registrations whose level differed from the family's (the first one stays).
    LevelDiffers = 11,
    /// Processes that write the shared block only, for any reason: no restartable sequences.
    ProcessesWithoutRseq = 12,
    /// Gauge cells taken over from dead processes.
    GaugeTakeovers = 13,
    /// Infinite observations, counted in their bucket and left out of the sum.
    InfiniteObservations = 14,
    /// Processes attached since creation.
    ProcessesAttached = 15,
    /// Gauge updates that went to a private cell: no space for one in the segment.
    PrivateFull = 16,
    /// Processes that write the shared block only: `DYN_METRICS_RSEQ=off`.
    SharedOff = 17,
    /// Likewise: the C library knows rseq but has not registered it.
    SharedUnregistered = 18,
    /// Likewise: the C library doesn't know rseq.
    SharedLibrary = 19,
    /// Likewise: the kernel may not restart sequences.
    SharedKernel = 20,
    /// Likewise: no sequence for the architecture.
    SharedArchitecture = 21,
    /// Likewise: the segment was created before the machine's last start.
    SharedReboot = 22,
    /// Processes with restartable sequences in which an update found no CPU number, or one beyond the block
    /// table: such updates go to the shared block. A process counts once.
    RseqLost = 23,
}

impl Statistic {
    /// Every statistic with its name in self-metrics.
    pub const ALL: [(Self, &'static str); 24] = [
        (Self::RefusedInvalid, "invalid"),
        (Self::RefusedConflict, "conflict"),
        (Self::RefusedClash, "clash"),
        (Self::RefusedFull, "full"),
        (Self::RefusedSeriesLimit, "series_limit"),
        (Self::DroppedNan, "nan"),
        (Self::DroppedNegative, "negative"),
        (Self::DroppedBusy, "busy"),
        (Self::PrivateNoSlot, "no_slot"),
        (Self::BlockFailed, "block_failed"),
        (Self::HelpDiffers, "help_differs"),
        (Self::LevelDiffers, "level_differs"),
        (Self::ProcessesWithoutRseq, "processes_without_rseq"),
        (Self::GaugeTakeovers, "gauge_takeovers"),
        (Self::InfiniteObservations, "infinite"),
        (Self::ProcessesAttached, "processes_attached"),
        (Self::PrivateFull, "private_full"),
        (Self::SharedOff, "off"),
        (Self::SharedUnregistered, "unregistered"),
        (Self::SharedLibrary, "library"),
        (Self::SharedKernel, "kernel"),
        (Self::SharedArchitecture, "architecture"),
        (Self::SharedReboot, "reboot"),
        (Self::RseqLost, "rseq_lost"),
    ];

    /// Offset of its word in the segment.
    #[must_use]
    pub const fn offset(self) -> u64 {
        STATISTICS + 8 * self as u64
    }
}

/// The fixed part of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Features that any program may ignore.
    pub compat: u64,
    /// Features that a writer must know.
    pub ro_compat: u64,
    /// Features that everybody must know.
    pub incompat: u64,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Random identity of the segment.
    pub segment_id: [u64; 2],
    /// The kernel's boot id at creation.
    pub boot_id: [u64; 2],
    /// Seed of identity hashes.
    pub hash_seed: u64,
    /// Page size of the creating kernel, in bytes.
    pub page_bytes: u32,
    /// Step by which the file grows, in bytes; no structure crosses a multiple of it.
    pub chunk_bytes: u32,
    /// Limit of the file's length, in bytes.
    pub max_bytes: u64,
    /// Entries of each block table.
    pub possible_cpus: u32,
    /// Slots of the process table.
    pub process_slots: u32,
    /// Default limit of series in a family.
    pub max_series: u32,
    /// Offset of the process table.
    pub processes: u64,
    /// Offset of the first index table.
    pub index: u64,
    /// Offset of the first byte that registration may use.
    pub data: u64,
    /// Bytes of common labels.
    pub common_len: u32,
    /// Number of common labels.
    pub common_count: u32,
}

impl Header {
    /// Writes the header, all but the magic and the mutable words, into zeroed bytes.
    ///
    /// # Errors
    /// [`Error::TooLong`] when the common labels don't fit; `common_labels` is a block from
    /// [`crate::record::encode_labels`].
    pub fn encode(&self, common_labels: &[u8], out: &mut [u8; BYTES]) -> Result<()> {
        if common_labels.len() > MAX_COMMON_LABELS {
            let found = common_labels.len();
            return Err(Error::TooLong { what: "common labels", found, limit: MAX_COMMON_LABELS });
        }
        put(out, HEADER_LEN, &(BYTES as u32).to_le_bytes());
        put(out, VERSION, &FORMAT_VERSION.to_le_bytes());
        for (at, value) in [
            (COMPAT, self.compat),
            (RO_COMPAT, self.ro_compat),
            (INCOMPAT, self.incompat),
            (CREATED, self.created_unix_ns),
            (SEGMENT_ID, self.segment_id[0]),
            (SEGMENT_ID + 8, self.segment_id[1]),
            (BOOT_ID, self.boot_id[0]),
            (BOOT_ID + 8, self.boot_id[1]),
            (HASH_SEED, self.hash_seed),
            (MAX_BYTES, self.max_bytes),
            (PROCESSES, self.processes),
            (INDEX, self.index),
            (DATA, self.data),
        ] {
            put(out, at, &value.to_le_bytes());
        }
        for (at, value) in [
            (PAGE_BYTES, self.page_bytes),
            (CHUNK_BYTES, self.chunk_bytes),
            (POSSIBLE_CPUS, self.possible_cpus),
            (PROCESS_SLOTS, self.process_slots),
            (PROCESS_STRIDE, crate::process::STRIDE as u32),
            (STATE_STRIDE, crate::record::STATE_BYTES as u32),
            (GAUGE_STRIDE, crate::gauge::BYTES as u32),
            (MAX_SERIES, self.max_series),
            (COMMON_LEN, self.common_len),
            (COMMON_COUNT, self.common_count),
        ] {
            put(out, at, &value.to_le_bytes());
        }
        put(out, COMMON_LABELS, common_labels);
        let sum = header_checksum(out);
        put(out, CHECKSUM, &sum.to_le_bytes());
        Ok(())
    }

    /// Reads and checks a header; `bytes` is a copy of the file's first 4096 bytes (or fewer, if it has no
    /// more) and `file_len` the file's length.
    ///
    /// # Errors
    /// The stage that failed: [`Error::TooShort`], [`Error::BadMagic`], [`Error::WrongEndian`],
    /// [`Error::BadVersion`], [`Error::UnknownFeatures`] or [`Error::Corrupt`].
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Self> {
        check_magic(bytes)?;
        let version = u32_at(bytes, VERSION);
        if version != FORMAT_VERSION {
            return Err(Error::BadVersion { found: version, supported: FORMAT_VERSION });
        }
        if bytes.len() < BYTES {
            return Err(Error::TooShort { found: bytes.len() as u64, expected: BYTES as u64 });
        }
        let (found, expected) = (u64_at(bytes, CHECKSUM), header_checksum(bytes));
        if found != expected {
            return Err(corrupt("header checksum", CHECKSUM, found, expected));
        }
        let bits = u64_at(bytes, INCOMPAT) & !KNOWN_INCOMPAT;
        if bits != 0 {
            return Err(Error::UnknownFeatures { bits });
        }
        let header = Self::read(bytes);
        header.check_strides(bytes)?;
        header.check_places(file_len)?;
        Ok(header)
    }

    fn read(bytes: &[u8]) -> Self {
        Self {
            compat: u64_at(bytes, COMPAT),
            ro_compat: u64_at(bytes, RO_COMPAT),
            incompat: u64_at(bytes, INCOMPAT),
            created_unix_ns: u64_at(bytes, CREATED),
            segment_id: [u64_at(bytes, SEGMENT_ID), u64_at(bytes, SEGMENT_ID + 8)],
            boot_id: [u64_at(bytes, BOOT_ID), u64_at(bytes, BOOT_ID + 8)],
            hash_seed: u64_at(bytes, HASH_SEED),
            page_bytes: u32_at(bytes, PAGE_BYTES),
            chunk_bytes: u32_at(bytes, CHUNK_BYTES),
            max_bytes: u64_at(bytes, MAX_BYTES),
            possible_cpus: u32_at(bytes, POSSIBLE_CPUS),
            process_slots: u32_at(bytes, PROCESS_SLOTS),
            max_series: u32_at(bytes, MAX_SERIES),
            processes: u64_at(bytes, PROCESSES),
            index: u64_at(bytes, INDEX),
            data: u64_at(bytes, DATA),
            common_len: u32_at(bytes, COMMON_LEN),
            common_count: u32_at(bytes, COMMON_COUNT),
        }
    }

    fn check_strides(&self, bytes: &[u8]) -> Result<()> {
        for (what, at, expected) in [
            ("header length", HEADER_LEN, BYTES),
            ("process stride", PROCESS_STRIDE, crate::process::STRIDE),
            ("state stride", STATE_STRIDE, crate::record::STATE_BYTES),
            ("gauge stride", GAUGE_STRIDE, crate::gauge::BYTES),
        ] {
            let found = u64::from(u32_at(bytes, at));
            if found != expected as u64 {
                return Err(corrupt(what, at, found, expected as u64));
            }
        }
        Ok(())
    }

    fn check_places(&self, file_len: u64) -> Result<()> {
        let chunk = u64::from(self.chunk_bytes);
        if !self.chunk_bytes.is_power_of_two() || !(MIN_CHUNK..=MAX_CHUNK).contains(&self.chunk_bytes) {
            return Err(corrupt("chunk size", CHUNK_BYTES, chunk, u64::from(MAX_CHUNK)));
        }
        let limits = [
            ("possible CPUs", POSSIBLE_CPUS, self.possible_cpus, MAX_CPUS),
            ("process slots", PROCESS_SLOTS, self.process_slots, MAX_PROCESSES),
            ("common labels", COMMON_LEN, self.common_len, MAX_COMMON_LABELS as u32),
        ];
        for (what, at, found, most) in limits {
            if found > most {
                return Err(corrupt(what, at, u64::from(found), u64::from(most)));
            }
        }
        let table = u64::from(self.process_slots) * crate::process::STRIDE as u64;
        let ordered = self.processes == BYTES as u64
            && self.index == self.processes + table
            && self.index < self.data
            && self.data <= self.readable(file_len);
        if !ordered {
            return Err(corrupt("start of data", DATA, self.data, self.readable(file_len)));
        }
        if self.max_bytes > crate::link::MAX_OFFSET {
            return Err(corrupt("maximum length", MAX_BYTES, self.max_bytes, crate::link::MAX_OFFSET));
        }
        Ok(())
    }

    /// How much of a file of this length is the segment's: it never grows beyond its limit, so what lies there is
    /// nobody's, and is not read.
    #[must_use]
    pub const fn readable(&self, file_len: u64) -> u64 {
        if file_len < self.max_bytes { file_len } else { self.max_bytes }
    }

    /// Offset of a slot of the process table.
    #[must_use]
    pub const fn process_slot(&self, slot: u32) -> u64 {
        self.processes + slot as u64 * crate::process::STRIDE as u64
    }

    /// The block of common labels in a copy of the header's bytes.
    #[must_use]
    pub fn common_labels<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(COMMON_LABELS..COMMON_LABELS + self.common_len as usize).unwrap_or(&[])
    }
}

fn check_magic(bytes: &[u8]) -> Result<()> {
    if bytes.len() < 16 {
        return Err(Error::TooShort { found: bytes.len() as u64, expected: BYTES as u64 });
    }
    let found = u64_at(bytes, 0);
    if found == MAGIC {
        Ok(())
    } else if found == MAGIC.swap_bytes() {
        Err(Error::WrongEndian)
    } else {
        Err(Error::BadMagic { found })
    }
}

fn header_checksum(bytes: &[u8]) -> u64 {
    checksum(&[&bytes[HEADER_LEN..CHECKSUM], &bytes[COMMON_LABELS..BYTES]], 0)
}

const fn corrupt(what: &'static str, at: usize, found: u64, expected: u64) -> Error {
    Error::Corrupt { what, offset: at as u64, found, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            compat: 0,
            ro_compat: 0,
            incompat: 0,
            created_unix_ns: 1,
            segment_id: [2, 3],
            boot_id: [4, 5],
            hash_seed: 6,
            page_bytes: 4096,
            chunk_bytes: MAX_CHUNK,
            max_bytes: 1 << 30,
            possible_cpus: 2,
            process_slots: 16,
            max_series: 1000,
            processes: 4096,
            index: 4096 + 16 * 512,
            data: 65536,
            common_len: 0,
            common_count: 0,
        }
    }

    fn encoded() -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        sample().encode(&[], &mut bytes).unwrap();
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes
    }

    #[test]
    fn a_header_survives_encoding() {
        assert_eq!(Header::decode(&encoded(), 1 << 20), Ok(sample()));
    }

    #[test]
    fn every_flipped_byte_of_the_fixed_part_is_found() {
        for at in (0..256).chain(COMMON_LABELS..BYTES).step_by(if cfg!(miri) { 61 } else { 1 }) {
            let mut bytes = encoded();
            bytes[at] ^= 0x40;
            assert!(Header::decode(&bytes, 1 << 20).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_stage_that_failed_is_named() {
        assert!(matches!(Header::decode(&[], 0), Err(Error::TooShort { found: 0, .. })));
        let mut bytes = encoded();
        bytes[..8].copy_from_slice(&MAGIC.to_be_bytes());
        assert_eq!(Header::decode(&bytes, 1 << 20), Err(Error::WrongEndian));
        let mut bytes = encoded();
        bytes[VERSION] = 9;
        assert_eq!(
            Header::decode(&bytes, 1 << 20),
            Err(Error::BadVersion { found: 9, supported: FORMAT_VERSION })
        );
        assert!(matches!(Header::decode(&encoded(), 100), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_file_counts_up_to_its_limit_only() {
        let header = sample();
        for (len, expected) in [(65536, 65536), (1 << 30, 1 << 30), (u64::MAX, 1 << 30)] {
            assert_eq!(header.readable(len), expected);
        }
        let mut bytes = [0; BYTES];
        Header { max_bytes: 65535, ..sample() }.encode(&[], &mut bytes).unwrap();
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        assert!(matches!(Header::decode(&bytes, 1 << 20), Err(Error::Corrupt { what: "start of data", .. })));
    }
}
