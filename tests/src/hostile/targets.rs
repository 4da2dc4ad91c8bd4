//! What is done with a hostile segment by whoever reads it, and what must hold.

use dyn_metrics_cli::shown;
use dyn_metrics_reader::{Collector, Snapshot, check, encode, raw};

use super::edit::Input;
use super::stage::{Scene, Stage};
use super::work::bounded;
use crate::exposition;

/// Most bytes that may be written for each byte of a segment, and at all: a label in a file of many series with long
/// common labels is written more often than it is there.
const MOST_OUTPUT: u64 = 64 << 20;

/// [`Collector::collect`] while the segment is followed, and what both encoders make of it.
///
/// # Panics
/// When something doesn't hold that must.
pub fn snapshot(stage: &mut Stage, input: &[u8]) {
    let input = Input::decode(input);
    let mut scene = stage.scene(&input);
    let mut collector = Collector::new(&[scene.pattern()]);
    for edits in input.steps() {
        scene.edit(edits);
        let snapshot = bounded(scene.bytes(), 1, || collector.collect());
        expect_sane(&snapshot);
        let mut page = Vec::new();
        encode::text::encode(&snapshot, &mut page);
        expect_strict(&page);
        if !input.two_steps {
            break;
        }
    }
}

/// [`Collector::render`] writes what [`encode::text::encode`] makes of a snapshot, and a strict parser accepts it.
///
/// But for holes: who reads through a map fills them, and who comes next can't tell that there was one.
///
/// # Panics
/// When something doesn't hold that must.
pub fn render(stage: &mut Stage, input: &[u8]) {
    let input = Input::decode(input);
    let mut scene = stage.scene(&input);
    let [mut renderer, mut follower] = [(); 2].map(|()| Collector::new(&[scene.pattern()]));
    for edits in input.steps() {
        scene.edit(edits);
        let mut rendered = b"before".to_vec();
        bounded(scene.bytes(), 1, || renderer.render(&mut rendered));
        let mut encoded = b"before".to_vec();
        encode::text::encode(&follower.collect(), &mut encoded);
        assert!(
            without_holes(&rendered).eq(without_holes(&encoded)),
            "rendered:\n{}\nencoded:\n{}",
            String::from_utf8_lossy(&rendered),
            String::from_utf8_lossy(&encoded)
        );
        expect_strict(&rendered[6..]);
        if !input.two_steps {
            break;
        }
    }
}

/// The lines of a page that don't count holes.
fn without_holes(page: &[u8]) -> impl Iterator<Item = &[u8]> {
    const HOLE: &[u8] = b"dyn_metrics_records_skipped_total{reason=\"hole\"";
    page.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(HOLE))
}

/// [`check::check`] and [`raw::read`].
///
/// # Panics
/// When something doesn't hold that must.
pub fn check(stage: &mut Stage, input: &[u8]) {
    let input = Input::decode(input);
    let mut scene = stage.scene(&input);
    scene.edit(&input.edits);
    for path in scene.paths() {
        let bytes = scene.bytes();
        let (report, raw) = bounded(bytes, 2, || (check::check(path), raw::read(path)));
        assert_eq!(report.is_ok(), raw.is_ok(), "{report:?}");
        let (Ok(report), Ok(raw)) = (report, raw) else { continue };
        let faults = report.faults.len() as u64 + report.omitted;
        assert!(report.faults.len() <= check::MAX_FAULTS, "{faults}");
        assert!(raw.skipped.is_empty() || !report.is_sound(), "{:?}", raw.skipped);
        assert!(report.families == raw.families.len() && report.series == raw.series.len(), "{report:?}");
        if report.is_sound() {
            // Whoever reads it leaves out nothing but what contradicts itself, in other files as well.
            let _ = read_once(&scene);
        }
    }
}

/// What `dyn-metrics dump`, `check` and `info` write, in each format.
///
/// # Panics
/// When something doesn't hold that must.
pub fn dump(stage: &mut Stage, input: &[u8]) {
    let input = Input::decode(input);
    let mut scene = stage.scene(&input);
    scene.edit(&input.edits);
    let (pattern, mut shown) = (scene.pattern(), Vec::new());
    bounded(scene.bytes(), 4, || {
        shown::table(&pattern, &mut shown).expect("memory takes everything");
        shown::structures(&pattern, &mut shown).expect("memory takes everything");
        shown::check(&pattern, &mut shown).expect("memory takes everything");
    });
    expect_harmless(&shown);
    let mut json = Vec::new();
    shown::json(&pattern, &mut json);
    let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&json);
    let parsed = parsed.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&json)));
    assert!(parsed["families"].is_array() && parsed["segments"].is_array(), "{parsed}");
}

fn read_once(scene: &Scene<'_>) -> Snapshot {
    let snapshot = Collector::new(&[scene.pattern()]).collect();
    expect_sane(&snapshot);
    snapshot
}

/// What holds of every snapshot.
pub(super) fn expect_sane(snapshot: &Snapshot) {
    let names: Vec<_> = snapshot.families.iter().map(|family| &family.name).collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len(), "each family once: {names:?}");
    let series: usize = snapshot.families.iter().map(|family| family.series.len()).sum();
    assert_eq!(series, snapshot.stats.series, "{:?}", snapshot.stats);
}

/// What holds of every page.
pub(super) fn expect_strict(page: &[u8]) {
    assert!(page.len() as u64 <= MOST_OUTPUT, "{} bytes", page.len());
    assert_eq!(page.last(), Some(&b'\n'), "there are always metrics about the segment");
    if let Err(what) = exposition::parse(page) {
        panic!("{what} in:\n{}", String::from_utf8_lossy(page));
    }
}

/// What people see has nothing in it that commands a terminal.
fn expect_harmless(shown: &[u8]) {
    let text = std::str::from_utf8(shown).unwrap_or_else(|error| panic!("{error}"));
    let bad = |c: &char| (c.is_control() && *c != '\n') || ('\u{202a}'..='\u{202e}').contains(c);
    if let Some(found) = text.chars().find(bad) {
        panic!("{found:?} in:\n{}", text.escape_debug());
    }
}
