use std::ops::Range;
use std::os::unix::fs::FileExt;

use dyn_metrics_layout::gauge::{self, Owner};
use dyn_metrics_layout::header::{self, OPEN_EXTENT, RESERVED_END};
use dyn_metrics_layout::index::{self, HEADER_BYTES};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::record::{cells_place, state_offset};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use super::*;
use crate::testing::{Builder, INDEX_SLOTS, Random, claimant, every_kind, family, live, scratch_file};

fn checked(bytes: &[u8]) -> Result<Report, Error> {
    let file = scratch_file();
    std::fs::write(file.path(), bytes).unwrap();
    check(file.path())
}

fn faults(built: &Builder) -> Vec<String> {
    let report = checked(built.bytes()).unwrap();
    report.faults.iter().map(ToString::to_string).collect()
}

/// Expects one fault that contains each of `parts`.
#[track_caller]
fn expect(built: &Builder, parts: &[&str]) {
    let found = faults(built);
    assert!(found.iter().any(|fault| parts.iter().all(|part| fault.contains(part))), "{parts:?}: {found:?}");
}

#[test]
fn a_whole_segment_is_sound_and_its_bytes_add_up() {
    let report = checked(every_kind(1).bytes()).unwrap();
    assert_eq!(report.faults, []);
    assert!(report.is_sound());
    assert_eq!((report.families, report.series, report.gauge_cells), (7, 7, 3));
    assert_eq!((report.extents, report.processes, report.processes_alive), (1, 2, 0));
    assert_eq!(report.bytes_published + report.bytes_wasted, report.bytes_reserved);
    assert!(report.bytes_wasted < 2000, "{report:?}");
}

#[test]
fn living_processes_are_counted() {
    let file = scratch_file();
    every_kind(1).write(file.path());
    let _alive = live(file.path(), 1);
    assert_eq!(check(file.path()).unwrap().processes_alive, 1);
}

/// Every byte that some structure of [`every_kind`] publishes, other than numbers, and the state words of
/// families.
fn metadata(built: &Builder) -> (Vec<Range<u64>>, Vec<u64>) {
    let header = *built.header();
    let file = scratch_file();
    built.write(file.path());
    let inspection = Inspection::of(file.path()).unwrap();
    let mut ranges = vec![0..OPEN_EXTENT + 64, header::STATE..header::STATE + 8, 1024..4096];
    for slot in &inspection.slots {
        let start = header.process_slot(slot.number);
        ranges.extend([start..start + 8, start + 34..start + 40, start + 41..start + 512]);
    }
    ranges.push(header.index..header.index + HEADER_BYTES as u64);
    let slots = header.index + HEADER_BYTES as u64;
    let used = (0..u64::from(INDEX_SLOTS)).map(|slot| slots + 8 * slot).filter(|at| built.word(*at) != 0);
    ranges.extend(used.map(|at| at..at + 8));
    for (offset, record) in &inspection.records {
        let state = state_offset(*offset);
        match inspection.family(*offset) {
            // But for its numbers: removals and refused.
            Some(_) => ranges.extend([state..state + 8, state + 16..state + 56]),
            None => ranges.push(state..*offset),
        }
        ranges.push(*offset..*offset + u64::from(record.length));
    }
    for extent in &inspection.extents {
        ranges.push(extent.offset..extent.offset + HEADER_BYTES as u64 + 8 * u64::from(extent.cpus));
    }
    for offset in inspection.gauges.keys() {
        let identity_and_meta = offset + 48..offset + 64;
        ranges.extend([*offset..offset + 16, identity_and_meta, offset + gauge::SERIES..offset + 80]);
    }
    (ranges, inspection.families().map(|family| state_offset(family.offset)).collect())
}

#[test]
fn every_flipped_byte_of_metadata_is_found() {
    let built = every_kind(1);
    let (ranges, states) = metadata(&built);
    let file = scratch_file();
    built.write(file.path());
    let handle = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
    let (mut passed, mut flipped) = (Vec::new(), 0);
    for (at, mask) in ranges.into_iter().flatten().flat_map(|at| [(at, 0xff), (at, 0x01)]) {
        let byte = built.bytes()[at as usize];
        handle.write_all_at(&[byte ^ mask], at).unwrap();
        if check(file.path()).is_ok_and(|report| report.faults.is_empty()) {
            passed.push((at, mask));
        }
        handle.write_all_at(&[byte], at).unwrap();
        flipped += 1;
    }
    assert!(flipped > 10_000, "{flipped}");
    // What passes is as good as what was there: a cursor moved within unused space, and the state words'
    // other value.
    let mut expected = vec![(RESERVED_END + 1, 0xff), (RESERVED_END + 1, 0x01), (header::STATE, 0x01)];
    expected.extend(states.into_iter().map(|state| (state, 0x01)));
    assert_eq!(passed, expected, "of {flipped}");
}

#[test]
fn a_slot_that_a_search_misses_is_found() {
    let mut built = Builder::new(1);
    let record = built.family(&family("a", Kind::Counter));
    let start = built.header().index + HEADER_BYTES as u64;
    let at = |slot: u64| start + 8 * (slot % u64::from(INDEX_SLOTS));
    let slot = (0..u64::from(INDEX_SLOTS)).find(|slot| built.word(at(*slot)) != 0).unwrap();
    let word = built.word(at(slot));
    built.set(at(slot), 0);
    built.set(at(slot + 1), word);
    expect(&built, &["doesn't find", &record.to_string()]);
    built.set(at(slot + 1), 0);
    built.set(at(slot + 40), word);
    expect(&built, &["outside the probe window"]);
    built.set(at(slot), word);
    expect(&built, &["leads to the record at", &record.to_string()]);
}

#[test]
fn a_second_record_of_one_identity_is_found() {
    let mut built = Builder::new(1);
    let first = built.family(&family("a", Kind::Counter));
    built.family(&family("a", Kind::Gauge));
    expect(&built, &["same identity", &first.to_string()]);
}

#[test]
fn tables_beyond_the_first_are_checked_too() {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    for number in 0..600 {
        built.series(counter, &[("n", &number.to_string())]);
    }
    assert_eq!(faults(&built), [] as [String; 0]);
    let file = scratch_file();
    built.write(file.path());
    let inspection = Inspection::of(file.path()).unwrap();
    assert!(inspection.tables.len() > 1);
    let next = built.header().index + index::NEXT;
    built.set(next, Link::pack(built.header().index, next));
    expect(&built, &["circle"]);
}

#[test]
fn a_series_without_its_family_is_found() {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let series = built.series(counter, &[]);
    built.series(series, &[]);
    expect(&built, &["found no family at", &series.to_string()]);
}

#[test]
fn words_of_two_series_and_words_never_drawn_are_found() {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let (one, two) = (built.series(counter, &[("n", "1")]), built.series(counter, &[("n", "2")]));
    built.cells(one, Representation::Integer, [&[1], &[], &[], &[]]);
    let place = cells_place(one, Representation::Integer);
    let link = CellLink::unpack(built.word(place), place).unwrap().unwrap();
    let place = cells_place(two, Representation::Integer);
    built.set(place, link.pack(place));
    expect(&built, &["words 0..1", "are the series' at"]);
    built.remove(one);
    assert!(faults(&built).iter().all(|fault| !fault.contains("are the series'")));
    built.set(place, CellLink { word: 5, ..link }.pack(place));
    expect(&built, &["found words 5..6", "expected at most 1 drawn of 128"]);
    built.set(place, CellLink { extent: 64, word: 0 }.pack(place));
    expect(&built, &["in no chain"]);
}

#[test]
fn structures_that_overlap_or_pass_the_end_are_found() {
    let mut built = every_kind(1);
    let end = built.word(RESERVED_END);
    built.set(RESERVED_END, end - 128);
    expect(&built, &["passes the end of reserved space"]);
    built.set(RESERVED_END, 1 << 40);
    expect(&built, &["reserved end", "found 1099511627776"]);
    let mut built = every_kind(1);
    let place = OPEN_EXTENT;
    let extent = Link::unpack(built.word(place), place).unwrap().unwrap();
    let entry = dyn_metrics_layout::extent::Extent::entry_place(extent, 2);
    built.set(entry, Link::pack(extent, entry));
    expect(&built, &["overlaps the"]);
}

#[test]
fn what_a_death_explains_is_a_note() {
    let mut built = every_kind(1);
    let slot = built.header().process_slot(1);
    built.set(slot + 72, 99); // the record's generation, and so its checksum
    built.set(slot + 8, 1);
    built.process(&claimant(2, 1, 300), "died");
    let third = built.header().process_slot(2);
    built.set(third, 2);
    let report = checked(built.bytes()).unwrap();
    let notes: Vec<_> = report.faults.iter().map(|fault| fault.what.clone()).collect();
    assert!(report.is_sound(), "{notes:?}");
    for part in ["while it claimed a gauge cell", "record torn", "earlier process's"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{part}: {notes:?}");
    }
    let file = scratch_file();
    built.write(file.path());
    let _alive = live(file.path(), 1);
    assert!(!check(file.path()).unwrap().is_sound(), "a living process's record is whole");
}

#[test]
fn damaged_gauge_cells_are_found() {
    let mode = GaugeMode::LiveSum;
    let build = || {
        let mut built = Builder::new(1);
        built.process(&claimant(0, 3, 7), "x");
        let gauge = built.family(&family("g", Kind::Gauge));
        let series = built.series(gauge, &[]);
        let first = built.gauge(series, &claimant(0, 3, 7), mode, Number::Integer(1), 0);
        let second = built.gauge(series, &claimant(0, 2, 6), mode, Number::Integer(2), 0);
        (built, first, second)
    };
    assert_eq!(faults(&build().0), [] as [String; 0]);
    let (mut built, first, second) = build();
    built.set(first + gauge::NEXT, Link::pack(second, first + gauge::NEXT));
    expect(&built, &["in two lists or twice in one"]);
    let (mut built, first, _) = build();
    built.set(first + 72, 1);
    expect(&built, &["reserved"]);
    let (mut built, first, _) = build();
    let owner = Owner { slot: 0, generation: 4, half: 0, taking: false };
    built.set(first, owner.pack(first));
    expect(&built, &["generation 4 of slot 0", "at most 3"]);
    let (mut built, first, _) = build();
    built.set(first + 120, 5);
    expect(&built, &["idle half"]);
}

#[test]
fn random_damage_never_stops_a_check() {
    let built = every_kind(1);
    let file = scratch_file();
    let mut random = Random::new(7);
    for _ in 0..3000 {
        let mut bytes = built.bytes().to_vec();
        random.damage(&mut bytes);
        std::fs::write(file.path(), &bytes).unwrap();
        if let Ok(report) = check(file.path()) {
            assert!(report.faults.len() <= MAX_FAULTS);
        }
        let _ = crate::raw::read(file.path());
    }
}
