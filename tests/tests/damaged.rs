//! Damaged segments: no writer crashes, hangs or stores where it must not, and no reader panics.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::header::{self, FIELDS, RESERVED_END, STATISTICS};
use dyn_metrics_reader::{Collector, check, encode, raw};
use dyn_metrics_tests::bytes::{Random, field, put, set_word, word};
use dyn_metrics_tests::refusals::{Tree, stranger};

fn golden() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden-v1.segment")).expect("it")
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// Has a process use the segments as a writer does; it must survive.
fn use_as_writer(paths: &[PathBuf]) {
    let words: Vec<&str> =
        ["use"].into_iter().chain(paths.iter().map(|path| path.to_str().unwrap())).collect();
    stranger(&words, &[]).expect("it minds no error");
}

fn use_as_reader(path: &Path) {
    let mut collector = Collector::new(&[path.to_str().expect("UTF-8").to_owned()]);
    let mut page = Vec::new();
    for _ in 0..2 {
        let snapshot = collector.collect();
        encode::text::encode(&snapshot, &mut page);
        encode::json::encode(&snapshot, &mut page);
    }
    assert!(std::str::from_utf8(&page).is_ok());
    let _ = (check::check(path), raw::read(path));
}

/// Writes segments that `damage` has damaged; then a writer and readers use each. `DAMAGED_SEGMENTS` says how many
/// they are, 400 unless it is set.
fn use_damaged(mut damage: impl FnMut(&mut Vec<u8>)) {
    let count = std::env::var("DAMAGED_SEGMENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let (golden, mut done) = (golden(), 0);
    while done < count {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let paths: Vec<PathBuf> = (0..50).map(|n| directory.path().join(format!("damaged-{n}"))).collect();
        for path in &paths {
            let mut bytes = golden.clone();
            damage(&mut bytes);
            write(path, &bytes);
            let before = Tree::of(directory.path());
            use_as_reader(path);
            before.assert_unchanged(directory.path(), "reading");
        }
        use_as_writer(&paths);
        paths.iter().for_each(|path| use_as_reader(path));
        done += paths.len();
    }
}

#[test]
fn random_damage_behind_the_fixed_header_kills_nobody() {
    let (mut random, end) = (Random::new(2026), word(&golden(), RESERVED_END));
    use_damaged(|bytes| {
        for _ in 0..1 << random.below(5) {
            // The fixed part has a checksum: see the next test.
            let fixed = bytes[..256].to_vec();
            random.damage(bytes, end);
            bytes[..256].copy_from_slice(&fixed);
        }
    });
}

#[test]
fn any_header_with_a_right_checksum_kills_nobody() {
    let mut random = Random::new(7);
    let fields: Vec<_> = FIELDS.iter().filter(|field| (12..160).contains(&field.offset)).collect();
    use_damaged(|bytes| {
        for _ in 0..=random.below(2) {
            let field = fields[random.below(fields.len() as u64) as usize];
            let value = random.odd().to_le_bytes();
            put(bytes, field.name, &value[..field.bytes.min(8)]);
        }
    });
}

#[test]
fn a_segment_that_was_cut_off_is_replaced_and_kills_nobody() {
    let golden = golden();
    let data = word(&golden, field("data").offset as u64);
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    for length in (data..word(&golden, RESERVED_END)).step_by(4000).chain([word(&golden, RESERVED_END) - 8]) {
        let path = directory.path().join(format!("cut-{length}"));
        write(&path, &golden[..length as usize]);
        use_as_reader(&path);
        assert!(!check::check(&path).expect("its header is whole").is_sound());
        use_as_writer(std::slice::from_ref(&path));
        assert!(check::check(&path).expect("a new segment").is_sound());
        let aside = directory.path().read_dir().expect("it").filter(|entry| {
            entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .starts_with(&format!("cut-{length}.superseded-"))
        });
        assert_eq!(aside.count(), 1, "what is left of the old one is kept");
    }
}

#[test]
fn a_segment_whose_last_chunk_is_not_whole_goes_on() {
    let golden = golden();
    let reserved = word(&golden, RESERVED_END);
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    for length in [reserved, reserved + 1, 61_440, 65_535] {
        let path = directory.path().join(format!("short-{length}"));
        write(&path, &golden[..length as usize]);
        use_as_writer(std::slice::from_ref(&path));
        let bytes = std::fs::read(&path).expect("its bytes");
        assert_eq!(bytes[..256], golden[..256], "still the same segment");
        assert!(bytes.len().is_multiple_of(65_536), "{}", bytes.len());
        let report = check::check(&path).expect("a segment");
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}

#[test]
fn a_cursor_outside_the_data_overwrites_nothing() {
    let golden = golden();
    let data = word(&golden, field("data").offset as u64);
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    for end in [0, 8, 256, 4096, data - 8, golden.len() as u64 + 8, 1 << 47, 1 << 63, u64::MAX - 7, u64::MAX]
    {
        let path = directory.path().join("segment");
        let mut bytes = golden.clone();
        set_word(&mut bytes, RESERVED_END, end);
        write(&path, &bytes);
        use_as_writer(std::slice::from_ref(&path));
        let superseded = directory.path().read_dir().expect("it").map(|entry| entry.unwrap().path());
        let superseded =
            superseded.into_iter().find(|found| *found != path).expect("the damaged one was replaced");
        set_word(&mut bytes, header::STATE, header::STATE_SUPERSEDED);
        assert!(std::fs::read(&superseded).expect("it") == bytes, "cursor {end}: nothing else was stored");
        std::fs::remove_file(superseded).expect("it goes");
    }
}

/// While a process uses it, a cursor that goes wrong stops registration and harms nothing that is there.
#[test]
fn a_cursor_that_goes_wrong_in_a_segment_in_use_overwrites_nothing() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join("segment");
    let registry = dyn_metrics::Registry::open_at(&path).expect("a segment");
    let counter = registry.counter("x_total", "").expect("a counter");
    counter.inc();
    let mut before = std::fs::read(&path).expect("its bytes");
    for end in [0, 64, 4096, 1 << 60] {
        set_word(&mut before, RESERVED_END, end);
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&path).expect("it");
        file.write_all_at(&end.to_le_bytes(), RESERVED_END).expect("room");
        registry.counter("y_total", "").expect_err("no space can be had");
        let mut after = std::fs::read(&path).expect("its bytes");
        let statistics = STATISTICS as usize..STATISTICS as usize + 512;
        after[statistics.clone()].copy_from_slice(&before[statistics]);
        assert!(after == before, "cursor {end}");
    }
    counter.inc();
    assert_eq!(counter.value(), 2);
}

#[test]
fn what_damaged_segments_are_made_of_is_sound_itself() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join("segment");
    write(&path, &golden());
    use_as_writer(std::slice::from_ref(&path));
    let report = check::check(&path).expect("a segment");
    assert!(report.is_sound(), "{:?}", report.faults);
    let names: BTreeSet<String> =
        raw::read(&path).expect("it").families.into_iter().map(|f| f.name).collect();
    assert!(names.contains("golden_requests_total") && names.contains("another_4_total"), "{names:?}");
}
