//! Segments that try to keep a reader busy: circles, huge counts, overlapping records. Reading ends after work that is
//! bounded by the length of the file, counted in bytes read and system calls.

use std::fs::File;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::extent::{Extent, HEADER_BYTES};
use dyn_metrics_layout::gauge::NEXT;
use dyn_metrics_layout::header::{MAX_CPUS, OPEN_EXTENT, RESERVED_END};
use dyn_metrics_layout::index;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::record::{MAX_RECORD, SERIES_TAG, gauges_place};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use dyn_metrics_reader::{Collector, check, encode, raw};
use dyn_metrics_tests::exposition;
use dyn_metrics_tests::hostile::built::{Builder, CPUS, claimant, family};
use dyn_metrics_tests::hostile::fix::{fix, put, word};
use dyn_metrics_tests::hostile::sites::Kind as Structure;
use dyn_metrics_tests::hostile::work::bounded;
use nix::sys::resource::{Resource, setrlimit};

/// After so many seconds of a processor's time whoever still reads is stopped.
const HANGS_AFTER: u64 = 30;

/// A segment on a filesystem in memory.
struct Scene {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Scene {
    fn of(bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let path = directory.path().join("segment");
        std::fs::write(&path, bytes).expect("room");
        Self { _directory: directory, path }
    }
}

/// Reads in every way; the samples of a page but for those about the segment itself.
fn read(path: &Path) -> Vec<String> {
    setrlimit(Resource::RLIMIT_CPU, HANGS_AFTER, HANGS_AFTER).expect("a limit of its own");
    let bytes = path.metadata().expect("it").len();
    let mut collector = Collector::new(&[path.to_str().expect("UTF-8").to_owned()]);
    let [mut encoded, mut rendered] = [Vec::new(), Vec::new()];
    bounded(bytes, 1, || encode::text::encode(&collector.collect(), &mut encoded));
    // What was found bad is not looked at again.
    bounded(bytes, 1, || collector.render(&mut rendered));
    let both = bounded(bytes, 2, || (check::check(path), raw::read(path)));
    assert_eq!(both.0.is_ok(), both.1.is_ok());
    assert!(rendered == encoded, "{}", String::from_utf8_lossy(&rendered));
    exposition::parse(&encoded).unwrap_or_else(|what| panic!("{what}"));
    let page = String::from_utf8(encoded).expect("UTF-8");
    let own = |line: &&str| !line.starts_with('#') && !line.starts_with("dyn_metrics_");
    page.lines().filter(own).map(str::to_owned).collect()
}

/// A counter with cells, and a gauge of two processes.
fn built() -> (Builder, u64, [u64; 2]) {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let series = built.series(counter, &[]);
    built.cells(series, Representation::Integer, [&[5], &[], &[], &[]]);
    let gauge = built.family(&family("g", Kind::Gauge));
    let series = built.series(gauge, &[]);
    let owners = [claimant(0, 1, 1), claimant(1, 1, 2)];
    let cells = owners.map(|owner| built.gauge(series, &owner, GaugeMode::LiveSum, Number::Integer(1), 0));
    (built, series, cells)
}

#[test]
fn every_link_to_itself_ends() {
    let (mut built, series, [first, second]) = built();
    let link = |built: &mut Builder, place: u64, to: u64| built.set(place, Link::pack(to, place));
    let index = built.header().index;
    link(&mut built, index + index::NEXT, index);
    link(&mut built, first + NEXT, second);
    link(&mut built, second + NEXT, first);
    let extent = Link::unpack(built.word(OPEN_EXTENT), OPEN_EXTENT).expect("a link").expect("an extent");
    for cpu in 0..CPUS {
        link(&mut built, Extent::entry_place(extent, cpu), extent);
    }
    built.set(extent + 16, extent);
    let mut bytes = built.bytes().to_vec();
    fix(&mut bytes, Structure::Extent, extent as usize);
    assert_eq!(read(&Scene::of(&bytes).path), ["a_total 0", "g 0"], "what leads in circles is left out");
    // A series that is its own family.
    put(&mut bytes, series as usize + 40, series);
    fix(&mut bytes, Structure::Record, series as usize);
    assert_eq!(read(&Scene::of(&bytes).path), ["a_total 0"]);
    link(&mut built, gauges_place(series), gauges_place(series));
    assert_eq!(read(&Scene::of(built.bytes()).path), ["a_total 0", "g 0"]);
}

#[test]
fn a_circle_of_tables_ends() {
    let (mut built, ..) = built();
    let mut last = built.header().index;
    for _ in 0..3 {
        let table = built.draw(index::table_bytes(index::MIN_SLOTS), 64);
        let mut head = [0; 16];
        index::encode_header(index::MIN_SLOTS, table, &mut head);
        built.set(table, word(&head, 0));
        built.set(table + 8, word(&head, 8));
        built.set(last + index::NEXT, Link::pack(table, last + index::NEXT));
        last = table;
    }
    let first = built.header().index;
    built.set(last + index::NEXT, Link::pack(first, last + index::NEXT));
    assert_eq!(read(&Scene::of(built.bytes()).path), ["a_total 5", "g 0"]);
}

#[test]
fn huge_counts_end() {
    let (built, ..) = built();
    let index = built.header().index as usize;
    let extent =
        Link::unpack(built.word(OPEN_EXTENT), OPEN_EXTENT).expect("a link").expect("an extent") as usize;
    let table = |slots: u64| {
        let mut bytes = built.bytes().to_vec();
        let head = word(&bytes, index) & 0xffff_ffff | slots << 32;
        put(&mut bytes, index, head);
        fix(&mut bytes, Structure::Table, index);
        bytes
    };
    for slots in [1 << 31, 1 << 30, 1 << 16, u64::from(u32::MAX)] {
        assert!(read(&Scene::of(&table(slots)).path).is_empty(), "{slots} slots");
    }
    for (at, value) in [(extent, u64::from(u32::MAX) << 32), (extent + 24, u64::from(MAX_CPUS))] {
        let mut bytes = built.bytes().to_vec();
        let head = word(&bytes, at) & if at == extent { 0xffff_ffff } else { 0 } | value;
        put(&mut bytes, at, head);
        fix(&mut bytes, Structure::Extent, extent);
        assert_eq!(read(&Scene::of(&bytes).path), ["a_total 0", "g 0"], "{value:#x}");
    }
    assert_eq!(HEADER_BYTES, 64, "the block table follows");
}

/// Every 8 bytes something that passes for the beginning of a record of 32 KiB, and a slot that leads there: reading
/// them all would be reading the file 2 000 times.
#[test]
fn records_that_overlap_cost_no_more_than_the_file() {
    let (built, ..) = built();
    let (slots, bytes) = (1_u64 << 18, 6 << 20);
    let mut hostile = built.bytes().to_vec();
    hostile.resize(bytes, 0);
    let index = built.header().index;
    let mut head = [0; 16];
    index::encode_header(slots as u32, index, &mut head);
    hostile[index as usize..][..16].copy_from_slice(&head);
    let start = index + index::table_bytes(slots as u32);
    let record = u64::from(SERIES_TAG) | (MAX_RECORD as u64) << 32;
    for at in (start..bytes as u64).step_by(8) {
        put(&mut hostile, at as usize, record);
    }
    for slot in 0..slots {
        let to = start + 8 * slot % (bytes as u64 - start);
        put(&mut hostile, (index + 64 + 8 * slot) as usize, to);
    }
    put(&mut hostile, RESERVED_END as usize, bytes as u64);
    assert!(read(&Scene::of(&hostile).path).is_empty());
}

/// Searches of the index that look at every table for each record.
#[test]
fn full_tables_cost_no_more_than_the_file() {
    const TABLES: u64 = 2000;
    let (mut built, ..) = built();
    let counter = built.family(&family("c_total", Kind::Counter));
    for number in 0..20_000 {
        built.series(counter, &[("n", &number.to_string())]);
    }
    let (index, old) = (built.header().index, built.word(built.header().index + index::NEXT));
    let behind = Link::unpack(old, index + index::NEXT).expect("a link").expect("a table");
    let mut last = index;
    for _ in 0..TABLES {
        let table = built.draw(index::table_bytes(index::MIN_SLOTS), 64);
        let mut head = [0; 16];
        index::encode_header(index::MIN_SLOTS, table, &mut head);
        built.set(table, word(&head, 0));
        built.set(table + 8, word(&head, 8));
        for slot in 0..u64::from(index::MIN_SLOTS) {
            built.set(table + 64 + 8 * slot, index::pack(64, slot << 48));
        }
        built.set(last + index::NEXT, Link::pack(table, last + index::NEXT));
        last = table;
    }
    built.set(last + index::NEXT, Link::pack(behind, last + index::NEXT));
    assert!(read(&Scene::of(built.bytes()).path).len() > 19_000);
}

#[test]
fn a_sparse_tebibyte_ends() {
    let built = Builder::with_limits(1, &[], CPUS, 1 << 40);
    let scene = Scene::of(built.bytes());
    let file = File::options().write(true).open(&scene.path).expect("it");
    file.set_len(1 << 40).expect("a hole");
    // A table over most of it.
    let index = built.header().index;
    let mut head = [0; 16];
    index::encode_header(1 << 31, index, &mut head);
    std::os::unix::fs::FileExt::write_all_at(&file, &head, index).expect("room");
    let blocks = std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("it"));
    assert!(read(&scene.path).is_empty());
    let after = std::os::unix::fs::MetadataExt::blocks(&file.metadata().expect("it"));
    assert_eq!(after, blocks, "reading a hole would have allocated it");
}
