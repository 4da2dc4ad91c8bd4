//! Sums over the blocks of an extent.
//!
//! All words of an extent are added at once, block after block: memory is read in its order, and what a scrape
//! costs grows with the bytes of the blocks and with nothing else.

use dyn_metrics_layout::sync::{AtomicU64, Ordering};

/// Words of a line of the cache.
const LINE: usize = 8;

/// Sets `sums` to the sums of integers: word by word over `blocks`, each of them as long as `sums`.
///
/// One block at a time: memory is fastest along one stream, and the sums stay in the nearest cache.
pub(crate) fn add_integers<'b>(blocks: impl Iterator<Item = &'b [AtomicU64]>, sums: &mut [u64]) {
    sums.fill(0);
    for block in blocks {
        let (lines, rest) = sums.as_chunks_mut::<LINE>();
        let (block_lines, block_rest) = block.as_chunks::<LINE>();
        for (sums, words) in lines.iter_mut().zip(block_lines) {
            let words = words.each_ref().map(load);
            *sums = std::array::from_fn(|at| sums[at].wrapping_add(words[at]));
        }
        for (sum, word) in rest.iter_mut().zip(block_rest) {
            *sum = sum.wrapping_add(load(word));
        }
    }
}

/// Sets those of `sums` that `floats` names to the sums of doubles, as bits.
///
/// Each is added in the order of blocks at every collection: rounding never makes it smaller.
pub(crate) fn add_floats<'b>(
    blocks: impl Iterator<Item = &'b [AtomicU64]>,
    floats: &[u32],
    sums: &mut [u64],
) {
    for word in floats {
        sums[*word as usize] = 0.0_f64.to_bits();
    }
    for block in blocks {
        // As long as the sums: one check of bounds for both.
        let block = &block[..sums.len()];
        for word in floats {
            let sum = &mut sums[*word as usize];
            *sum = (f64::from_bits(*sum) + f64::from_bits(load(&block[*word as usize]))).to_bits();
        }
    }
}

fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_added_over_any_number_of_blocks() {
        for count in 0..11 {
            let block = |number: u64| [u64::MAX, number, (number as f64 / 4.0).to_bits()].map(AtomicU64::new);
            let blocks: Vec<_> = (0..count).map(block).collect();
            let blocks: Vec<&[AtomicU64]> = blocks.iter().map(|block| &block[..]).collect();
            let mut sums = [7; 3];
            add_integers(blocks.iter().copied(), &mut sums);
            add_floats(blocks.iter().copied(), &[2], &mut sums);
            let total = (0..count).sum::<u64>();
            assert_eq!(sums, [0_u64.wrapping_sub(count), total, (total as f64 / 4.0).to_bits()], "{count}");
        }
    }
}
