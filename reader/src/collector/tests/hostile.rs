//! Damaged, foreign and forbidden files.

use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use dyn_metrics_layout::header::OPEN_EXTENT;
use dyn_metrics_layout::index;
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::record::cells_place;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::{Uid, geteuid, mkfifo, setfsuid};

use super::*;
use crate::check;
use crate::testing::{Random, every_kind};

#[test]
fn a_damaged_part_is_skipped_once_and_the_rest_served() {
    let mut built = counting(1, 5);
    let counter = built.family(&family("b_total", Kind::Counter));
    let (bad_record, bad_cells) =
        (built.series(counter, &[("n", "1")]), built.series(counter, &[("n", "2")]));
    built.cells(bad_cells, Representation::Integer, [&[7], &[], &[], &[]]);
    built.set(bad_record + 24, 1);
    let place = cells_place(bad_cells, Representation::Integer);
    built.set(place, built.word(place) ^ 1);
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    assert_eq!(bench.samples(), ["a_total 5", "b_total{n=\"2\"} 0"]);
    for _ in 0..3 {
        assert_eq!(bench.skipped(), [(Reason::Record, 1), (Reason::Cells, 1)]);
    }
}

#[test]
fn two_series_never_share_words() {
    let mut built = counting(1, 5);
    let counter = built.family(&family("b_total", Kind::Counter));
    let (one, two) = (built.series(counter, &[("n", "1")]), built.series(counter, &[("n", "2")]));
    built.cells(one, Representation::Integer, [&[7], &[], &[], &[]]);
    let extent = Link::unpack(built.word(OPEN_EXTENT), OPEN_EXTENT).unwrap().unwrap();
    let place = cells_place(two, Representation::Integer);
    built.set(place, CellLink { extent, word: 1 }.pack(place));
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    assert_eq!(bench.skipped(), [(Reason::Cells, 1)]);
    // A removed series gives its words back.
    built.remove(one);
    bench.write("segment", &built);
    assert_eq!(bench.samples(), ["a_total 5", "b_total{n=\"2\"} 7"]);
}

#[test]
fn holes_are_zero_and_read_once_they_are_filled() {
    let mut built = counting(1, 5);
    let extent = Link::unpack(built.word(OPEN_EXTENT), OPEN_EXTENT).unwrap().unwrap();
    built.draw(16 << 10, 4096);
    let block = built.block(extent, 2);
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    // Punch the block's page out, and count in it later.
    let file = fs::OpenOptions::new().write(true).open(bench.path("segment")).unwrap();
    let page = (block & !4095) as libc::off_t;
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, mode, page, 4096).unwrap();
    let blocks = || file.metadata().unwrap().blocks();
    let before = blocks();
    assert_eq!(bench.samples(), ["a_total 5"]);
    assert_eq!(blocks(), before, "reading a hole would have allocated it");
    file.write_all_at(&3_u64.to_le_bytes(), block).unwrap();
    assert_eq!(bench.samples(), ["a_total 8"]);
}

/// Writes the pages of `built` that aren't zero; the others stay as they are, holes at first.
fn write_sparsely(path: &Path, built: &Builder) {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.set_len(built.bytes().len() as u64).unwrap();
    for (number, page) in (0..).zip(built.bytes().chunks(4096)) {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, 4096 * number).unwrap();
        }
    }
}

#[test]
fn what_is_registered_into_holes_of_the_index_is_found() {
    let mut bench = Bench::new("segment");
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let mut expected = 0;
    for series in [500, 5000, 20_000] {
        for number in expected..series {
            built.series(counter, &[("n", &number.to_string())]);
        }
        expected = series;
        write_sparsely(&bench.path("segment"), &built);
        assert_eq!(bench.samples().len(), expected);
    }
    assert_eq!(bench.skipped(), []);
    assert_eq!(check::check(bench.path("segment")).unwrap().families, 1);
}

#[test]
fn a_sparse_file_costs_what_is_allocated_and_not_what_it_claims() {
    let mut built = counting(1, 5);
    let slots = 1 << 20;
    let index = built.header().index;
    let mut head = [0; 16];
    index::encode_header(slots, index, &mut head);
    for (number, word) in (0..).zip(head.chunks_exact(8)) {
        built.set(index + 8 * number, u64::from_le_bytes(word.try_into().unwrap()));
    }
    let mut bench = Bench::new("segment");
    write_sparsely(&bench.path("segment"), &built);
    let file = fs::OpenOptions::new().write(true).open(bench.path("segment")).unwrap();
    file.set_len(built.header().max_bytes).unwrap();
    let before = file.metadata().unwrap().blocks();
    assert!(before < 200, "{before}");
    assert_eq!(bench.states(), ["ok"]);
    assert_eq!(file.metadata().unwrap().blocks(), before, "reading a hole would have allocated it");
    let inspection = crate::inspect::Inspection::of(&bench.path("segment")).unwrap();
    assert_eq!(inspection.tables[0].slots, slots);
    assert!(inspection.tables[0].used.capacity() < 10_000, "{}", inspection.tables[0].used.capacity());
    assert_eq!(file.metadata().unwrap().blocks(), before);
}

#[test]
fn what_lies_beyond_the_limit_of_a_segment_is_not_read() {
    let built = counting(1, 5);
    let limit = built.header().max_bytes;
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    let file = fs::OpenOptions::new().write(true).open(bench.path("segment")).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(bench.samples(), ["a_total 5"]);
    assert_eq!(bench.collect().segments[0].bytes_file, limit);
    let report = check::check(bench.path("segment")).unwrap();
    let faults: Vec<_> = report.faults.iter().map(ToString::to_string).collect();
    let expected = format!(
        "fault at offset {limit}: length of the file: found {}, expected at most {limit}; the rest is not read",
        1_u64 << 40
    );
    assert_eq!(faults, [expected]);
}

#[test]
fn bad_paths_give_one_clear_line() {
    let mut bench = Bench::new("path");
    let path = bench.path("path");
    let shown = path.display().to_string();
    let set = |what: &dyn Fn(&Path)| {
        let _ = fs::remove_file(&path);
        what(&path);
    };
    set(&|path| mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap());
    assert_eq!(bench.error(), format!("{shown}: found a FIFO, expected a regular file"));
    set(&|path| symlink("/dev/null", path).unwrap());
    assert_eq!(bench.error(), format!("{shown}: found a symbolic link, expected a regular file"));
    set(&|path| fs::write(path, "").unwrap());
    assert!(bench.error().starts_with(&format!("{shown}: too short: found 0 bytes, expected at least")));
    set(&|path| fs::write(path, &every_kind(1).bytes()[..1000]).unwrap());
    assert!(bench.error().contains("too short: found 1000 bytes, expected at least 4096"));
    set(&|path| fs::write(path, vec![b'x'; 5000]).unwrap());
    assert!(bench.error().contains("not a dyn-metrics segment: found magic 0x7878787878787878"));
    for (at, byte, expected) in [(12, 9, "format version 9, expected 1"), (100, 1, "corrupt header checksum")]
    {
        let mut bytes = every_kind(1).bytes().to_vec();
        bytes[at] = byte;
        set(&|path| fs::write(path, &bytes).unwrap());
        assert!(bench.error().contains(expected), "{}", bench.error());
    }
    let mut bytes = every_kind(1).bytes().to_vec();
    bytes[..8].reverse();
    set(&|path| fs::write(path, &bytes).unwrap());
    assert!(bench.error().contains("big-endian machine, expected little-endian"));
}

#[test]
fn a_refused_file_says_who_may_read_it() {
    let mut bench = Bench::new("path");
    bench.write("path", &every_kind(1));
    fs::set_permissions(bench.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bench.path("path"), fs::Permissions::from_mode(0o200)).unwrap();
    // Root may read everything, so this thread gives that up for a moment.
    let (root, nobody) = (Uid::from_raw(0), Uid::from_raw(65_534));
    if geteuid() == root {
        setfsuid(nobody);
    }
    let error = bench.error();
    if geteuid() == root {
        setfsuid(root);
    }
    let path = bench.path("path").display().to_string();
    for part in [&format!("{path}: permission denied: this process is uid"), "the file is mode 0200 uid"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_truncated_or_overwritten_file_is_let_go_and_found_again() {
    let mut bench = Bench::new("segment");
    bench.write("segment", &counting(1, 5));
    assert_eq!(bench.samples(), ["a_total 5"]);
    let file = fs::OpenOptions::new().write(true).open(bench.path("segment")).unwrap();
    file.set_len(5000).unwrap();
    assert!(bench.error().contains("segment shrank: found 5000 bytes, expected 65536"));
    fs::write(bench.path("segment"), counting(2, 9).bytes()).unwrap();
    assert_eq!(bench.samples(), ["a_total 9"]);
    assert_eq!(bench.skipped(), [], "the inode is the same, the segment another one");
    fs::write(bench.path("segment"), counting(3, 1).bytes()).unwrap();
    assert!(bench.error().contains("header"));
    assert_eq!(bench.samples(), ["a_total 1"]);
}

#[test]
fn random_damage_never_stops_a_collection() {
    let built = every_kind(1);
    let mut random = Random::new(11);
    let mut text = Vec::new();
    for _ in 0..4000 {
        let mut bench = Bench::new("segment");
        let mut bytes = built.bytes().to_vec();
        random.damage(&mut bytes);
        fs::write(bench.path("segment"), &bytes).unwrap();
        let _alive = (bytes.len() == built.bytes().len()).then(|| live(&bench.path("segment"), 0));
        for _ in 0..2 {
            let snapshot = bench.collect();
            text.clear();
            encode::text::encode(&snapshot, &mut text);
            encode::json::encode(&snapshot, &mut text);
        }
        assert!(std::str::from_utf8(&text).is_ok());
    }
}

#[test]
fn damage_while_it_is_followed_never_stops_a_collection() {
    let mut built = every_kind(1);
    for number in 0..300 {
        let counter = built.family(&family(&format!("c{number}_total"), Kind::Counter));
        let series = built.series(counter, &[]);
        built.cells(series, Representation::Float, [&[1], &[2], &[3], &[4]]);
    }
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    let file = fs::OpenOptions::new().write(true).open(bench.path("segment")).unwrap();
    let mut random = Random::new(13);
    let mut bytes = built.bytes().to_vec();
    for round in 0..500 {
        random.damage(&mut bytes);
        bytes.resize(built.bytes().len(), 0);
        bytes[..header::BYTES].copy_from_slice(&built.bytes()[..header::BYTES]);
        if round % 50 == 0 {
            bytes = built.bytes().to_vec();
        }
        file.write_all_at(&bytes, 0).unwrap();
        bench.collect();
    }
}
