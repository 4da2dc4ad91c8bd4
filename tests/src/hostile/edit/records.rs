//! New records in free space: sound ones, of which some contradict what is there.

use dyn_metrics_layout::header::RESERVED_END;
use dyn_metrics_layout::record::{self, Doubles, Family, STATE_BYTES, Series, Texts};
use dyn_metrics_layout::{GaugeMode, Kind};

use super::super::built::family;
use super::super::fix::word;
use super::super::sites::{self, Sites, Structure};
use super::{Edited, publish};

/// Names of families that clash with one another, are taken, or odd.
const NAMES: [&str; 16] = [
    "a_total",
    "a",
    "a_count",
    "a_sum",
    "a_bucket",
    "a_created",
    "a_info",
    "phase",
    "le",
    "golden_requests_total",
    "dyn_metrics_segments",
    "dyn_metrics",
    ":",
    "h_seconds",
    "g_all",
    "c_total",
];

/// Label sets that the exposition itself uses, or odd.
const LABELS: [&[(&str, &str)]; 16] = [
    &[],
    &[("l", "v")],
    &[("le", "1")],
    &[("pid", "100")],
    &[("quantile", "0.5")],
    &[("phase", "on")],
    &[("a", "")],
    &[("cluster", "a")],
    &[("a", "\"\\\n")],
    &[("a", "\u{1b}[2J\r\t\u{0}")],
    &[("n", "0"), ("n2", "1")],
    &[("n", "0")],
    &[("segment", "x")],
    &[("a", "\u{202e}\u{2028}é")],
    &[("zone", "b")],
    &[("A", "1"), ("_", "2"), ("a", "3")],
];

const BOUNDS: [&[f64]; 4] = [&[], &[0.5], &[f64::MIN, -0.0, 5e-324, f64::MAX], &[0.1, 0.1 + 1e-17, 1e6]];

/// Adds a series to a family, which is that of the chosen structure if it is one.
pub(super) fn add_series(structure: &Structure, sites: &Sites, value: u64, edited: &mut Edited) {
    let file = structure.file;
    let is_family = |at: usize| edited.files[file].get(at..at + 2) == Some(&record::FAMILY_TAG.to_le_bytes());
    let in_file = |s: &&Structure| s.file == file && s.kind == sites::Kind::Record && is_family(s.at);
    let families: Vec<usize> = sites.structures.iter().filter(in_file).map(|s| s.at).collect();
    let chosen = (value >> 16) as usize % families.len().max(1);
    let family =
        if is_family(structure.at) { structure.at } else { families.get(chosen).copied().unwrap_or(0) };
    let labels = LABELS[value as usize % LABELS.len()];
    let mut block = [0; 512];
    let Ok(used) = record::encode_labels(labels.iter().copied(), &mut block) else { return };
    let series = Series {
        family: family as u64,
        labels: &block[..used],
        label_count: labels.len() as u32,
        overflow: value >> 8 & 1 != 0,
        created_unix_ns: value >> 40,
    };
    let (at, seed) = (draw(file, series.encoded_len(), edited), seed(file, edited));
    let mut bytes = vec![0; series.encoded_len()];
    if series.encode(at as u64, seed, &mut bytes).is_ok() {
        edited.write(file, at, &bytes);
        publish(edited, file, at, (value >> 32) as usize);
    }
}

/// Adds a family.
pub(super) fn add_family(file: usize, value: u64, argument: u8, edited: &mut Edited) {
    let pick = |shift: u32, of: usize| (value >> shift) as usize % of;
    let described = Family {
        mode: GaugeMode::EVERY[pick(8, GaugeMode::EVERY.len())],
        bounds: Doubles::Numbers(BOUNDS[pick(16, BOUNDS.len())]),
        states: Texts::Strs(&["on", "off", "on"][..1 + argument as usize % 3]),
        help: ["", "a\\b\nc", "\u{1b}[2J"][pick(20, 3)],
        unit: ["", "seconds", "\n"][pick(24, 3)],
        keep_dead: value as u32 >> 28,
        ..family(NAMES[pick(0, NAMES.len())], Kind::ALL[pick(4, Kind::ALL.len())])
    };
    let (at, seed) = (draw(file, described.encoded_len(), edited), seed(file, edited));
    let mut bytes = vec![0; described.encoded_len()];
    if described.encode(at as u64, seed, &mut bytes).is_ok() {
        edited.write(file, at, &bytes);
        publish(edited, file, at, (value >> 32) as usize);
    }
}

fn seed(file: usize, edited: &Edited) -> u64 {
    word(&edited.files[file], 80)
}

/// Space for a record of so many bytes and its state, as a writer draws it; where it says nothing sensible, the middle
/// of the file.
fn draw(file: usize, bytes: usize, edited: &mut Edited) -> usize {
    let (len, end) = (edited.files[file].len(), word(&edited.files[file], RESERVED_END as usize) as usize);
    let start = if end < len { end.next_multiple_of(64) } else { (len / 2) & !63 };
    let at = start + STATE_BYTES;
    edited.set(file, RESERVED_END as usize, (at + bytes).next_multiple_of(64) as u64);
    at
}
