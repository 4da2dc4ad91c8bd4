//! Segments built by hand, from the format's encoders alone.
#![allow(dead_code, unused_imports, reason = "included by several test binaries, each of which uses a part")]

#[path = "testing/every_kind.rs"]
mod every_kind;
#[path = "testing/random.rs"]
mod random;

use std::fs::{File, OpenOptions};
use std::path::Path;

use dyn_metrics_layout::extent::{BLOCK_ALIGN, Extent, HEADER_BYTES, NEXT_WORD};
use dyn_metrics_layout::gauge::{self, Claimant, GaugeCell, Half};
use dyn_metrics_layout::header::{self, Header, MAGIC, Statistic};
use dyn_metrics_layout::index;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::process::{self, Process, STRIDE};
use dyn_metrics_layout::record::{
    self, Doubles, Family, RecordHead, STATE_BYTES, Series, Texts, cells_place, gauges_place, state_offset,
};
use dyn_metrics_layout::space::{Limits, reserve};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_layout::{Error, GaugeMode, Kind, Representation};

pub use every_kind::every_kind;
pub use random::Random;

/// CPUs of every built segment.
pub const CPUS: u32 = 3;
/// Process slots of every built segment.
pub const SLOTS: u32 = 8;
/// Slots of the first index table.
pub const INDEX_SLOTS: u32 = 256;
/// Words of a block.
pub const WORDS: u32 = 128;

const SEED: u64 = 0x5eed;

/// A family with nothing special about it.
pub fn family(name: &str, kind: Kind) -> Family<'_> {
    Family {
        name,
        kind,
        mode: GaugeMode::LiveSum,
        level: 0,
        shared_only: false,
        help: "Help.",
        unit: "",
        registrant: "test",
        created_unix_ns: 7,
        keep_dead: 0,
        max_series: 1000,
        bounds: Doubles::Numbers(&[]),
        states: Texts::Strs(&[]),
    }
}

/// A process that claims gauge cells.
pub const fn claimant(slot: u32, generation: u32, pid: u32) -> Claimant {
    Claimant { slot, generation, process_id: process_id(slot, generation), pid }
}

/// The identity of the process that has this generation of a slot.
pub const fn process_id(slot: u32, generation: u32) -> u64 {
    process::process_id(1_000_000 * generation as u64 + slot as u64, 0xabc0 + slot as u64)
}

/// A segment in memory, complete after every call.
pub struct Builder {
    bytes: Vec<u8>,
    header: Header,
    end: AtomicU64,
    tables: Vec<(u64, u32)>,
    open: [Option<(u64, u32)>; 2],
}

impl Builder {
    /// An empty segment created at this time.
    pub fn new(created_unix_ns: u64) -> Self {
        Self::with_common(created_unix_ns, &[])
    }

    /// An empty segment with common labels.
    pub fn with_common(created_unix_ns: u64, common: &[(&str, &str)]) -> Self {
        Self::with_limits(created_unix_ns, common, CPUS, 16 << 20)
    }

    /// An empty segment with this limit of its size, for a machine with this many CPUs.
    pub fn with_limits(created_unix_ns: u64, common: &[(&str, &str)], cpus: u32, max_bytes: u64) -> Self {
        let mut block = [0; 1024];
        let used = record::encode_labels(common.iter().copied(), &mut block).unwrap();
        let processes = header::BYTES as u64;
        let index = processes + u64::from(SLOTS) * STRIDE as u64;
        let data = (index + index::table_bytes(INDEX_SLOTS)).next_multiple_of(4096);
        let header = Header {
            compat: 0,
            ro_compat: 0,
            incompat: 0,
            created_unix_ns,
            segment_id: [created_unix_ns, 1],
            boot_id: [2, 3],
            hash_seed: SEED,
            page_bytes: 4096,
            chunk_bytes: header::MIN_CHUNK,
            max_bytes,
            possible_cpus: cpus,
            process_slots: SLOTS,
            max_series: 1000,
            processes,
            index,
            data,
            common_len: used as u32,
            common_count: common.len() as u32,
        };
        let mut first = [0; header::BYTES];
        header.encode(&block[..used], &mut first).unwrap();
        first[..8].copy_from_slice(&MAGIC.to_le_bytes());
        let mut bytes = first.to_vec();
        bytes.resize(header::MIN_CHUNK as usize, 0);
        let mut built =
            Self { bytes, header, end: AtomicU64::new(data), tables: Vec::new(), open: [None; 2] };
        built.table(index, INDEX_SLOTS);
        built.set(header::RESERVED_END, data);
        built
    }

    /// Gives the segment another identity than its time of creation makes.
    pub fn set_segment_id(&mut self, segment_id: [u64; 2]) {
        let mut first = [0; header::BYTES];
        self.header.segment_id = segment_id;
        self.header.encode(&[], &mut first).unwrap();
        first[..8].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[..256].copy_from_slice(&first[..256]);
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the segment to `path`.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.bytes).unwrap();
    }

    /// Stores a word.
    pub fn set(&mut self, offset: u64, word: u64) {
        self.put(offset, &word.to_le_bytes());
    }

    /// The word at `offset`.
    pub fn word(&self, offset: u64) -> u64 {
        let at = offset as usize;
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    /// Sets a statistic.
    pub fn statistic(&mut self, statistic: Statistic, value: u64) {
        self.set(statistic.offset(), value);
    }

    /// Registers a family and returns its record's offset.
    pub fn family(&mut self, family: &Family<'_>) -> u64 {
        let record = self.draw((STATE_BYTES + family.encoded_len()) as u64, 64) + STATE_BYTES as u64;
        let mut bytes = vec![0; family.encoded_len()];
        family.encode(record, SEED, &mut bytes).unwrap();
        self.publish(record, &bytes);
        record
    }

    /// Registers a series and returns its record's offset.
    pub fn series(&mut self, family: u64, labels: &[(&str, &str)]) -> u64 {
        let record = self.unpublished_series(family, labels);
        let len = self.word(record) >> 32;
        let bytes = self.bytes[record as usize..][..len as usize].to_vec();
        self.publish(record, &bytes);
        self.set(state_offset(family) + 48, self.word(state_offset(family) + 48) + 1);
        record
    }

    /// Writes a series' record that nothing leads to.
    pub fn unpublished_series(&mut self, family: u64, labels: &[(&str, &str)]) -> u64 {
        let mut block = vec![0; 16 * 1024];
        let used = record::encode_labels(labels.iter().copied(), &mut block).unwrap();
        let (labels, label_count) = (&block[..used], labels.len() as u32);
        let series = Series { family, labels, label_count, overflow: false, created_unix_ns: 8 };
        let record = self.draw((STATE_BYTES + series.encoded_len()) as u64, 64) + STATE_BYTES as u64;
        let mut bytes = vec![0; series.encoded_len()];
        series.encode(record, SEED, &mut bytes).unwrap();
        self.put(record, &bytes);
        record
    }

    /// Marks a series removed.
    pub fn remove(&mut self, series: u64) {
        self.set(state_offset(series), 1);
    }

    /// Gives a series cells, with these words in the block of each CPU and last in the shared block.
    pub fn cells(
        &mut self,
        series: u64,
        representation: Representation,
        blocks: [&[u64]; CPUS as usize + 1],
    ) {
        let (shared, cpus) = blocks.split_last().unwrap();
        self.cells_on(series, representation, cpus, shared);
    }

    /// As [`Self::cells`], for any number of CPUs; returns the extent.
    pub fn cells_on(
        &mut self,
        series: u64,
        representation: Representation,
        cpus: &[&[u64]],
        shared: &[u64],
    ) -> u64 {
        let words = cpus.iter().chain([&shared]).map(|words| words.len()).max().unwrap() as u32;
        let (extent, word) = self.draw_words(words, 0);
        let place = cells_place(series, representation);
        self.set(place, CellLink { extent, word }.pack(place));
        for (cpu, values) in (0..).zip(cpus) {
            if !values.is_empty() {
                let block = self.block(extent, cpu);
                self.put_words(block + 8 * u64::from(word), values);
            }
        }
        let block = self.word(extent + 32);
        self.put_words(block + 8 * u64::from(word), shared);
        extent
    }

    /// Gives a series a gauge cell of `owner` with this value, set at `stamp`.
    pub fn gauge(
        &mut self,
        series: u64,
        owner: &Claimant,
        mode: GaugeMode,
        value: Number,
        stamp: u64,
    ) -> u64 {
        let representation = value.representation();
        self.gauge_with(series, |cell, place| {
            cell.begin(place, series, owner, representation);
            cell.half(0).set(value, representation, mode, || stamp);
        })
    }

    /// Gives a series a gauge cell and lets `fill` write it.
    pub fn gauge_with(&mut self, series: u64, fill: impl FnOnce(&GaugeCell, u64)) -> u64 {
        let offset = self.draw(gauge::BYTES as u64, gauge::ALIGN);
        let cell = GaugeCell::zeroed();
        fill(&cell, offset);
        let head = gauges_place(series);
        if let Ok(Some(next)) = Link::unpack(self.word(head), head) {
            cell.next.store(Link::pack(next, offset + gauge::NEXT), Ordering::Relaxed);
        }
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        self.put_words(offset, &[load(&cell.owner), load(&cell.next)]);
        self.put_words(offset + 16, &half_words(cell.half(0)));
        self.put_words(offset + gauge::SERIES, &[load(&cell.series), 0]);
        self.put_words(offset + 80, &half_words(cell.half(1)));
        self.set(head, Link::pack(offset, head));
        offset
    }

    /// Writes a slot as the claim of `owner` leaves it.
    pub fn process(&mut self, owner: &Claimant, command: &str) {
        let offset = self.header.process_slot(owner.slot);
        let mut labels = [0; 64];
        let used = record::encode_labels([("rank", "0")].into_iter(), &mut labels).unwrap();
        let process = Process {
            generation: u64::from(owner.generation),
            process_id: owner.process_id,
            pid: owner.pid,
            uid: 1000,
            claimed_unix_ns: 9,
            start_ticks: 10,
            pid_namespace: 11,
            command,
            role: "worker",
            labels: &labels[..used],
            label_count: 1,
        };
        let mut bytes = [0; STRIDE - 64];
        process.encode(offset, &mut bytes).unwrap();
        self.put(process::record_offset(offset), &bytes);
        self.set(offset, u64::from(owner.generation));
    }

    /// The fixed part of the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Draws space that nothing leads to.
    pub fn draw(&mut self, size: u64, align: u64) -> u64 {
        let limits =
            Limits { chunk_bytes: u64::from(self.header.chunk_bytes), max_bytes: self.header.max_bytes };
        let offset = reserve::<Error>(&self.end, size, align, limits, |_| Ok(())).unwrap();
        let end = self.end.load(Ordering::Relaxed);
        self.bytes.resize((end as usize).next_multiple_of(header::MIN_CHUNK as usize), 0);
        self.set(header::RESERVED_END, end);
        offset
    }

    /// Draws words from the open per-CPU extent (0) or the open one with a shared block only (1).
    pub fn draw_words(&mut self, words: u32, kind: usize) -> (u64, u32) {
        let (extent, next) = match self.open[kind] {
            Some((extent, next)) if next + words <= WORDS => (extent, next),
            previous => (self.extent(previous.map_or(0, |(extent, _)| extent), kind), 0),
        };
        self.open[kind] = Some((extent, next + words));
        self.set(extent + NEXT_WORD, u64::from(next + words));
        (extent, next)
    }

    /// The block of `cpu` in an extent, which is installed if there is none.
    pub fn block(&mut self, extent: u64, cpu: u32) -> u64 {
        let place = Extent::entry_place(extent, cpu);
        if let Some(block) = Link::unpack(self.word(place), place).unwrap() {
            return block;
        }
        let block = self.draw(Extent::block_bytes(WORDS), BLOCK_ALIGN);
        self.set(place, Link::pack(block, place));
        block
    }

    fn extent(&mut self, previous: u64, kind: usize) -> u64 {
        let cpus = if kind == 0 { self.header.possible_cpus } else { 0 };
        let offset = self.draw(Extent::bytes(WORDS, cpus), BLOCK_ALIGN);
        let shared = offset + Extent::shared_start(cpus);
        let mut head = [0; 40];
        Extent { words: WORDS, cpus, previous, shared }.encode(offset, &mut head);
        assert!(HEADER_BYTES >= head.len());
        self.put(offset, &head);
        let place = [header::OPEN_EXTENT, header::OPEN_SHARED_EXTENT][kind];
        self.set(place, Link::pack(offset, place));
        offset
    }

    /// Writes a record and links it from the index.
    fn publish(&mut self, record: u64, bytes: &[u8]) {
        self.put(record, bytes);
        let hash = RecordHead::decode(bytes, record).unwrap().identity_hash;
        for table in 0.. {
            if table == self.tables.len() {
                let (last, slots) = self.tables[table - 1];
                let slots = (2 * slots).min(self.header.chunk_bytes / 16);
                let next = self.draw(index::table_bytes(slots), 64);
                self.set(last + index::NEXT, Link::pack(next, last + index::NEXT));
                self.table(next, slots);
            }
            let (offset, slots) = self.tables[table];
            let places = index::window(slots as usize, hash);
            let mut places = places.map(|slot| offset + index::HEADER_BYTES as u64 + 8 * slot as u64);
            if let Some(place) = places.find(|place| self.word(*place) == 0) {
                return self.set(place, index::pack(record, hash));
            }
        }
    }

    fn table(&mut self, offset: u64, slots: u32) {
        let mut head = [0; 16];
        index::encode_header(slots, offset, &mut head);
        self.put(offset, &head);
        self.tables.push((offset, slots));
    }

    fn put_words(&mut self, offset: u64, words: &[u64]) {
        for (number, word) in (0..).zip(words) {
            self.set(offset + 8 * number, *word);
        }
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

fn half_words(half: &Half) -> [u64; 6] {
    [&half.value, &half.stamp, &half.retained, &half.retained_stamp, &half.process_id, &half.meta]
        .map(|word| word.load(Ordering::Relaxed))
}

/// A private directory, in memory if possible: where segments live.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A file in such a place.
pub fn scratch_file() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new()).unwrap()
}

/// Holds the lock of a slot until dropped: its process lives.
pub struct Alive {
    _file: File,
}

/// Takes the lock of a slot in the segment at `path`.
pub fn live(path: &Path, slot: u32) -> Alive {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: process::lock_offset(slot) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    Alive { _file: file }
}
