//! Repeatable damage.

/// A seeded random sequence (xorshift), so that a failure repeats.
pub struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    /// Damages a segment in one to eight places, mostly where its structures are: flipped bits, words copied
    /// from elsewhere, extreme words, and sometimes a shorter file.
    pub fn damage(&mut self, bytes: &mut Vec<u8>) {
        let end = u64::from_le_bytes(bytes[256..264].try_into().unwrap()).min(bytes.len() as u64);
        for _ in 0..=self.below(8) {
            // The header's fixed part is checksummed: little gets past it.
            let word = |random: &mut Self| match random.below(8) {
                0 => 32 + random.below(32),
                1 => 512 + random.below((end - 4096) / 8),
                _ => (end - random.below(end - 9000) - 8) / 8,
            };
            let at = 8 * word(self) as usize;
            let new = match self.below(4) {
                0 => u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) ^ (1 << self.below(64)),
                1 => {
                    let from = 8 * word(self) as usize;
                    u64::from_le_bytes(bytes[from..from + 8].try_into().unwrap())
                }
                2 => [0, 1, u64::MAX, 1 << 63, end, end - 8][self.below(6) as usize],
                _ => self.below(u64::MAX),
            };
            bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
        }
        if self.below(20) == 0 {
            let len = self.below(bytes.len() as u64) as usize;
            bytes.truncate(len);
        }
    }
}
