//! Makes inputs out of inputs, edit by edit.

use super::edit::{EDGES, EDIT_BYTES, FIX, MAX_EDITS, OPERATIONS};
use crate::bytes::Random;

/// Bytes before the edits.
const HEAD: usize = 2;
/// Longest input.
pub const MAX_INPUT: usize = HEAD + MAX_EDITS * EDIT_BYTES;

/// Changes the first `len` bytes of `input`, which may become more or fewer; how many they are then.
pub fn mutate(input: &mut [u8], len: usize, seed: u32) -> usize {
    let mut random = Random::new(u64::from(seed) | 1 << 40);
    let mut bytes = input[..len].to_vec();
    bytes.resize(bytes.len().max(HEAD), 0);
    let whole = (bytes.len() - HEAD) / EDIT_BYTES * EDIT_BYTES;
    bytes.truncate(HEAD + whole);
    for _ in 0..1 << random.below(3) {
        change(&mut bytes, &mut random);
    }
    bytes.truncate(input.len().min(MAX_INPUT));
    input[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let edits = (bytes.len() - HEAD) / EDIT_BYTES;
    let at = HEAD + EDIT_BYTES * random.below(edits.max(1) as u64) as usize;
    match random.below(12) {
        0 => bytes[0] = random.below(6) as u8,
        1 => bytes[1] = random.below(4) as u8,
        2 | 3 if edits < MAX_EDITS => bytes.extend(new_edit(random)),
        _ if edits == 0 => bytes.extend(new_edit(random)),
        4 => drop(bytes.drain(at..at + EDIT_BYTES)),
        5 if edits < MAX_EDITS => bytes.extend_from_within(at..at + EDIT_BYTES),
        6 => bytes[at + 2] = random.below(u64::from(OPERATIONS)) as u8,
        7 => bytes[at + 3] ^= FIX,
        8 => bytes[at + 3] = bytes[at + 3] & FIX | random.below(8) as u8,
        // A neighbouring place: another field of the same structure.
        9 => {
            let site = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let site = site.wrapping_add(random.below(17) as u16).wrapping_sub(8);
            bytes[at..at + 2].copy_from_slice(&site.to_le_bytes());
        }
        10 => bytes[at + 4 + random.below(8) as usize] = random.number() as u8,
        _ => bytes[at + 4..at + 12].copy_from_slice(&value(random).to_le_bytes()),
    }
}

fn new_edit(random: &mut Random) -> [u8; EDIT_BYTES] {
    let mut edit = [0; EDIT_BYTES];
    edit[..2].copy_from_slice(&(random.below(4096) as u16).to_le_bytes());
    edit[2] = random.below(u64::from(OPERATIONS)) as u8;
    edit[3] = random.below(8) as u8 | if random.below(4) == 0 { 0 } else { FIX };
    edit[4..].copy_from_slice(&value(random).to_le_bytes());
    edit
}

fn value(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => EDGES[random.below(EDGES.len() as u64) as usize],
        1 => random.below(256) | random.below(256) << 32,
        2 => random.below(1 << 16) & !63,
        _ => random.odd(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::edit::Input;

    #[test]
    fn inputs_stay_whole_and_within_their_length() {
        let mut input = [0; MAX_INPUT];
        let (mut len, mut longest) = (0, 0);
        for seed in 0..20_000 {
            len = mutate(&mut input, len, seed);
            assert!((HEAD..=MAX_INPUT).contains(&len) && (len - HEAD).is_multiple_of(EDIT_BYTES), "{len}");
            assert_eq!(Input::decode(&input[..len]).edits.len(), (len - HEAD) / EDIT_BYTES);
            longest = longest.max(len);
        }
        assert_eq!(longest, MAX_INPUT);
    }
}
