//! The golden segment with each byte of its metadata damaged in turn: `check` finds it, and what it doesn't concern is
//! served as before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dyn_metrics_layout::extent::{self, Extent};
use dyn_metrics_layout::fields::Field;
use dyn_metrics_layout::{gauge, header, index, process, record};
use dyn_metrics_reader::{Collector, FamilySnapshot, Snapshot, check, encode, raw};
use dyn_metrics_tests::bytes::word;
use dyn_metrics_tests::golden::Golden;

/// A field of a structure in the golden segment, and the families that may suffer when it is damaged.
#[derive(Debug)]
struct Place {
    name: String,
    bytes: Range<u64>,
    sufferers: BTreeSet<String>,
}

/// Everything published in the golden segment but the blocks of extents, where each number is right.
struct Places {
    raw: raw::Raw,
    bytes: Vec<u8>,
    list: Vec<Place>,
}

impl Places {
    fn of(golden: &Golden) -> Self {
        let raw = raw::read(&golden.path).expect("a segment");
        let bytes = std::fs::read(&golden.path).expect("its bytes");
        Self { raw, bytes, list: Vec::new() }
    }

    fn all(&self) -> BTreeSet<String> {
        self.raw.families.iter().map(|family| family.name.clone()).collect()
    }

    /// Families whose values belong to processes.
    fn per_process(&self) -> BTreeSet<String> {
        let families = self.raw.families.iter().filter(|family| family.kind.is_per_process());
        families.map(|family| family.name.clone()).collect()
    }

    fn add(&mut self, name: &str, bytes: Range<u64>, sufferers: &BTreeSet<String>) {
        self.list.push(Place { name: name.to_owned(), bytes, sufferers: sufferers.clone() });
    }

    fn add_fields(&mut self, structure: &str, fields: &[Field], at: u64, sufferers: &BTreeSet<String>) {
        for field in fields.iter().filter(|field| field.bytes > 0) {
            let start = at + field.offset as u64;
            self.add(&format!("{structure}.{}", field.name), start..start + field.bytes as u64, sufferers);
        }
    }

    fn header(mut self) -> Vec<Place> {
        let all = self.all();
        self.add_fields("header", header::FIELDS, 0, &all);
        self.list
    }

    fn processes(mut self) -> Vec<Place> {
        let sufferers = self.per_process();
        let slots: Vec<(u32, bool)> =
            self.raw.processes.iter().map(|process| (process.slot, process.alive)).collect();
        for (slot, alive) in slots {
            let structure = if alive { "living process" } else { "dead process" };
            let at = self.raw.header.process_slot(slot);
            self.add_fields(structure, process::FIELDS, at, &sufferers);
        }
        let at = self.raw.header.process_slot(15);
        self.add("slot never claimed", at..at + process::STRIDE as u64, &BTreeSet::new());
        self.list
    }

    fn index(mut self) -> Vec<Place> {
        let all = self.all();
        let at = self.raw.header.index;
        self.add_fields("index table", index::FIELDS, at, &all);
        let names = |raw: &raw::Raw, record: u64| {
            let series =
                raw.series.iter().find(|series| series.offset == record).map(|series| series.name.clone());
            let family =
                raw.families.iter().find(|family| family.offset == record).map(|family| family.name.clone());
            series.or(family).into_iter().collect()
        };
        let slots = u64::from(self.raw.tables[0].slots);
        let mut empty = 0;
        for place in (0..slots).map(|slot| at + index::HEADER_BYTES as u64 + 8 * slot) {
            let sufferers = names(&self.raw, index::record_of(word(&self.bytes, place)));
            if word(&self.bytes, place) != 0 {
                self.add("index table.slot in use", place..place + 8, &sufferers);
            } else if empty < 100 {
                self.add("index table.empty slot", place..place + 8, &sufferers);
                empty += 1;
            }
        }
        self.list
    }

    fn records(mut self) -> Vec<Place> {
        let families = self.raw.families.iter().map(|f| ("family", f.offset, f.length, f.name.clone()));
        let series = self.raw.series.iter().map(|s| ("series", s.offset, s.length, s.name.clone()));
        let records: Vec<_> = families.chain(series).collect();
        for (what, at, length, name) in records {
            let sufferers = [name].into();
            self.add_fields(
                &format!("state of a {what}"),
                record::STATE_FIELDS,
                record::state_offset(at),
                &sufferers,
            );
            self.add_fields("record", record::HEADER_FIELDS, at, &sufferers);
            let body = at + record::HEADER_BYTES as u64..at + u64::from(length);
            self.add(&format!("{what} record.body"), body, &sufferers);
        }
        self.list
    }

    fn extents(mut self) -> Vec<Place> {
        for extent in self.raw.extents.clone() {
            let of_extent =
                |series: &&raw::RawSeries| series.cells.iter().any(|(_, link)| link.extent == extent.offset);
            let sufferers =
                self.raw.series.iter().filter(of_extent).map(|series| series.name.clone()).collect();
            self.add_fields("extent", extent::FIELDS, extent.offset, &sufferers);
            let table =
                Extent::entry_place(extent.offset, 0)..Extent::entry_place(extent.offset, extent.cpus);
            self.add("extent.block table", table, &sufferers);
        }
        self.list
    }

    fn gauges(mut self) -> Vec<Place> {
        for series in self.raw.series.clone() {
            let sufferers = [series.name.clone()].into();
            for cell in &series.gauges {
                for field in gauge::FIELDS.iter().filter(|field| !field.name.starts_with("half_")) {
                    let start = cell.offset + field.offset as u64;
                    self.add(
                        &format!("gauge cell.{}", field.name),
                        start..start + field.bytes as u64,
                        &sufferers,
                    );
                }
                for (half, at) in [(0, cell.offset + 16), (1, cell.offset + 80)] {
                    let what = if half == cell.half { "half that counts" } else { "idle half" };
                    for (number, word) in
                        ["value", "stamp", "retained", "retained_stamp", "process_id", "meta"]
                            .iter()
                            .enumerate()
                    {
                        let start = at + 8 * number as u64;
                        self.add(&format!("{what}.{word}"), start..start + 8, &sufferers);
                    }
                }
            }
        }
        self.list
    }
}

/// What check says of a flipped byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Finding {
    Fault,
    Note,
    Nothing,
}

use Finding::{Note, Nothing};

/// Flips that are no fault: the field, what check says of them, how many they are, and why that is right.
type Passed = (&'static str, Finding, u32, &'static str);

/// What check says now: the most severe of what it says while processes live and when all are dead.
fn finding(golden: &Golden) -> Finding {
    let living = finding_at(&golden.path);
    if living == Finding::Fault {
        return living;
    }
    let dead = golden.path.with_extension("dead");
    std::fs::copy(&golden.path, &dead).expect("a copy without locks");
    living.min(finding_at(&dead))
}

fn finding_at(path: &Path) -> Finding {
    match check::check(path) {
        Err(_) => Finding::Fault,
        Ok(report) if !report.is_sound() => Finding::Fault,
        Ok(report) if !report.faults.is_empty() => Note,
        Ok(_) => Nothing,
    }
}

/// Each family as a page shows it.
fn pages(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let page = |family: &FamilySnapshot| {
        let mut page = Vec::new();
        encode::text::encode_families(std::slice::from_ref(family), &mut page);
        (family.name.clone(), String::from_utf8(page).expect("UTF-8"))
    };
    snapshot.families.iter().map(page).collect()
}

/// Fields that remove a series or family.
const REMOVED: [&str; 2] = ["state of a family.state", "state of a series.state"];

/// Flips one bit of each byte of `places` in turn. Check must find it, but for what is expected to pass; and
/// families that the byte doesn't concern are served as before.
fn flip(places: impl Fn(Places) -> Vec<Place>, expected: &[Passed]) {
    let golden = Golden::copy();
    let places = places(Places::of(&golden));
    let file = File::options().read(true).write(true).open(&golden.path).expect("the copy");
    let before = pages(&golden.snapshot());
    // One that has read everything before it is damaged.
    let [mut follower, mut renderer] = [(); 2].map(|()| collector(&golden));
    let seen = follower.collect();
    assert_eq!(pages(&seen), before);
    assert_rendered(&mut renderer, &seen, "undamaged", 0);
    let mut found: BTreeMap<(&str, Finding), u32> = BTreeMap::new();
    for place in &places {
        for at in place.bytes.clone() {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("a byte");
            file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at).expect("room");
            *found.entry((&place.name, finding(&golden))).or_default() += 1;
            assert_rest_is_served(&golden, place, at, &before);
            // Removal is for ever, so that one would see nothing of what comes after.
            if !REMOVED.contains(&&*place.name) {
                assert_rendered(&mut renderer, &follower.collect(), &place.name, at);
            }
            file.write_all_at(&byte, at).expect("room");
        }
    }
    assert_eq!(pages(&golden.snapshot()), before, "every byte was put back");
    assert_eq!(pages(&follower.collect()), before, "and who follows it has recovered");
    let passed = found.iter().filter(|((_, finding), _)| *finding != Finding::Fault);
    let passed: Vec<_> = passed.map(|((name, finding), count)| (*name, *finding, *count)).collect();
    let mut expected: Vec<_> =
        expected.iter().map(|(name, finding, count, _)| (*name, *finding, *count)).collect();
    expected.sort_unstable();
    assert_eq!(passed, expected, "{found:?}");
}

fn collector(golden: &Golden) -> Collector {
    Collector::new(&[golden.path.to_str().expect("UTF-8").to_owned()])
}

/// Who renders at once writes the same as who encodes a snapshot.
fn assert_rendered(renderer: &mut Collector, snapshot: &Snapshot, place: &str, at: u64) {
    let (mut text, mut rendered) = (Vec::new(), Vec::new());
    encode::text::encode(snapshot, &mut text);
    renderer.render(&mut rendered);
    assert!(text == rendered, "{place} byte {at}: {}", String::from_utf8_lossy(&rendered));
}

fn assert_rest_is_served(golden: &Golden, place: &Place, at: u64, before: &BTreeMap<String, String>) {
    let snapshot = golden.snapshot();
    assert_rendered(&mut collector(golden), &snapshot, &place.name, at);
    let mut page = Vec::new();
    encode::text::encode(&snapshot, &mut page);
    encode::json::encode(&snapshot, &mut page);
    assert!(std::str::from_utf8(&page).is_ok(), "{place:?} byte {at}");
    let now = pages(&snapshot);
    for (family, page) in before.iter().filter(|(family, _)| !place.sufferers.contains(*family)) {
        assert_eq!(now.get(family), Some(page), "{place:?} byte {at}");
    }
}

#[test]
fn a_flipped_bit_in_each_byte_of_the_header_is_found() {
    let known = 8 * header::Statistic::ALL.len() as u32;
    let refused = 8 * 2; // registrations and gauges that found no space
    let expected = [
        ("header.reserved_end", Nothing, 1, "a cursor moved within unused space"),
        ("header.state", Nothing, 1, "its other value: superseded"),
        ("header.no_reuse", Nothing, 8, "whatever is not 0 means the same, and no cell was retired yet"),
        ("header.statistics", Nothing, known - refused, "numbers"),
        ("header.statistics", Note, 512 - known + refused, "statistics of a newer version, or want of space"),
    ];
    flip(Places::header, &expected);
}

#[test]
fn a_flipped_bit_in_each_byte_of_processes_is_found() {
    let torn = "the process died while it wrote its record";
    let number = "a number that only the process itself knows";
    let expected = [
        ("dead process.generation", Note, 7, torn),
        ("dead process.checksum", Note, 8, torn),
        ("dead process.record_generation", Note, 8, torn),
        ("dead process.process_id", Note, 8, torn),
        ("dead process.pid", Note, 4, torn),
        ("dead process.uid", Note, 4, torn),
        ("dead process.claimed", Note, 8, torn),
        ("dead process.start_ticks", Note, 8, torn),
        ("dead process.pid_namespace", Note, 8, torn),
        ("dead process.command_len", Note, 2, torn),
        ("dead process.role_len", Note, 2, torn),
        ("dead process.labels_len", Note, 2, torn),
        ("dead process.label_count", Note, 2, torn),
        ("dead process.text", Note, 384, torn),
        ("dead process.claim", Note, 8, "the process died while it claimed a gauge cell"),
        ("dead process.forks", Nothing, 8, number),
        ("dead process.oldest", Nothing, 8, "reserved for later versions"),
        ("dead process.callback_sockets", Nothing, 1, "a small number: a socket that nobody answers at"),
        ("dead process.http_port", Nothing, 2, "any port"),
        ("living process.generation", Note, 15, "the process is about to write its record"),
        ("living process.claim", Note, 16, "a thread is claiming a gauge cell"),
        ("living process.forks", Nothing, 16, number),
        ("living process.oldest", Nothing, 16, "reserved for later versions"),
        ("living process.callback_sockets", Nothing, 2, "as of the dead"),
        ("living process.http_port", Nothing, 4, "any port"),
        ("slot never claimed", Note, 483, "its claimer died while it wrote its record"),
    ];
    flip(Places::processes, &expected);
}

#[test]
fn a_flipped_bit_in_each_byte_of_the_index_is_found() {
    flip(Places::index, &[]);
}

#[test]
fn a_flipped_bit_in_each_byte_of_records_and_their_states_is_found() {
    let expected = [
        ("state of a family.state", Nothing, 23, "its other value: removed"),
        ("state of a series.state", Nothing, 1, "the overflow series, which is not counted"),
        ("state of a family.cells", Nothing, 184, "a number: removals"),
        ("state of a family.series", Note, 20, "a process died while it registered one"),
        ("state of a family.refused", Nothing, 184, "a number"),
    ];
    flip(Places::records, &expected);
}

#[test]
fn a_flipped_bit_in_each_byte_of_extents_is_found() {
    let expected =
        [("extent.next_word", Nothing, 1, "words drawn by a process that died before it used them")];
    flip(Places::extents, &expected);
}

#[test]
fn a_flipped_bit_in_each_byte_of_gauge_cells_is_found() {
    let unfinished = "a process died while it took the cell over";
    let expected = [
        ("half that counts.value", Nothing, 344, "a number"),
        ("half that counts.stamp", Nothing, 344, "a time"),
        ("half that counts.retained", Nothing, 344, "a number"),
        ("half that counts.retained_stamp", Nothing, 344, "a time"),
        ("idle half.value", Nothing, 344, unfinished),
        ("idle half.stamp", Nothing, 344, unfinished),
        ("idle half.retained", Nothing, 344, unfinished),
        ("idle half.retained_stamp", Nothing, 344, unfinished),
        ("idle half.process_id", Nothing, 240, unfinished),
    ];
    flip(Places::gauges, &expected);
}
