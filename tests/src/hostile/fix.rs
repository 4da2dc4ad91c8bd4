//! Making checksums right again, as a writer would have written them.

use dyn_metrics_layout::hash::{checksum, identity};
use dyn_metrics_layout::{header, index, process, record};

use super::sites::Kind;

/// The header's field `hash_seed`.
const HASH_SEED: usize = 80;

/// Makes the checksum over the structure at `at` right, and the identity hash of a record. Returns which words that are.
pub fn fix(bytes: &mut [u8], kind: Kind, at: usize) -> Vec<usize> {
    let sum = |parts: &[Option<&[u8]>], seed: usize| {
        let parts: Option<Vec<&[u8]>> = parts.iter().copied().collect();
        parts.map(|parts| checksum(&parts, seed as u64))
    };
    let part = |start: usize, end: usize| bytes.get(at + start..at + end);
    let (place, sum) = match kind {
        Kind::Header => (248, sum(&[bytes.get(8..248), bytes.get(1024..header::BYTES)], 0)),
        Kind::Process => (at + 64, sum(&[part(72, process::STRIDE)], at)),
        Kind::Table => (at + 8, sum(&[part(0, 8)], at)),
        Kind::Extent => (at + 8, sum(&[part(0, 8), part(16, 40)], at)),
        Kind::Record => return fix_record(bytes, at).unwrap_or_default(),
        Kind::Gauge => return Vec::new(),
    };
    let Some(sum) = sum else { return Vec::new() };
    put(bytes, place, sum);
    vec![place]
}

fn fix_record(bytes: &mut [u8], at: usize) -> Option<Vec<usize>> {
    let seed = word(bytes, HASH_SEED);
    let length = half(bytes, at + 4).clamp(record::HEADER_BYTES as u32 + 16, record::MAX_RECORD as u32) & !7;
    let one = bytes.get_mut(at..at + length as usize)?;
    let start = record::identity_start(u16::from_le_bytes([one[0], one[1]]));
    let end = match start {
        72 => (80 + half(one, 72) as usize).next_multiple_of(8).min(one.len()),
        _ => one.len(),
    };
    let hash = identity(one.get(start..end).unwrap_or_default(), seed);
    put(one, 16, hash);
    let sum = checksum(&[&one[..8], &one[16..]], at as u64);
    put(one, 8, sum);
    let mut changed = vec![at + 8, at + 16];
    // A writer finds it only by the right bits in its slot.
    let table = (word(bytes, 136) as usize).saturating_add(index::HEADER_BYTES);
    for slot in (0..index::MIN_SLOTS as usize).map(|slot| table.saturating_add(8 * slot)) {
        if index::record_of(word(bytes, slot)) == at as u64 {
            put(bytes, slot, index::pack(at as u64, hash));
            changed.push(slot);
        }
    }
    Some(changed)
}

/// The word at `at`; 0 past the end.
#[must_use]
pub fn word(bytes: &[u8], at: usize) -> u64 {
    let word = at.checked_add(8).and_then(|end| bytes.get(at..end)?.try_into().ok());
    word.map_or(0, u64::from_le_bytes)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|half| half.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Stores a word where there is room for it.
pub fn put(bytes: &mut [u8], at: usize, value: u64) {
    if let Some(place) = at.checked_add(8).and_then(|end| bytes.get_mut(at..end)) {
        place.copy_from_slice(&value.to_le_bytes());
    }
}
