//! Drawing space from a segment: a cursor that only moves forward.
//!
//! Whoever dies between drawing and publishing leaves unused bytes, never a wrong one. How many is derived:
//! reserved minus published.

use crate::error::Error;
use crate::sync::{AtomicU64, Ordering};

/// Limits of a draw.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// No structure crosses a multiple of this; a power of two.
    pub chunk_bytes: u64,
    /// The cursor never passes this.
    pub max_bytes: u64,
}

/// Draws `size` bytes aligned to `align` (powers of two of at least 8) and returns their offset.
///
/// `grow(end)` makes the file at least `end` bytes long before anybody can draw them; it may run in several
/// processes at once and repeatedly. The bytes are zero: nobody has ever owned them.
///
/// # Errors
/// [`Error::Full`] beyond the limit, [`Error::TooLong`] when no chunk can hold `size`, and whatever `grow`
/// says; the cursor has not moved then.
pub fn reserve<E: From<Error>>(
    end: &AtomicU64,
    size: u64,
    align: u64,
    limits: Limits,
    mut grow: impl FnMut(u64) -> Result<(), E>,
) -> Result<u64, E> {
    if size > limits.chunk_bytes {
        let (found, limit) = (size as usize, limits.chunk_bytes as usize);
        return Err(Error::TooLong { what: "structure", found, limit }.into());
    }
    let mut seen = end.load(Ordering::Relaxed);
    loop {
        let start = place(seen, size, align, limits.chunk_bytes);
        let new_end = start.saturating_add(size);
        if new_end > limits.max_bytes {
            return Err(Error::Full { wanted: size, limit: limits.max_bytes }.into());
        }
        grow(new_end)?;
        match end.compare_exchange(seen, new_end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return Ok(start),
            Err(now) => seen = now,
        }
    }
}

/// Makes sure that structures of these sizes, each aligned to at most 128, can be drawn one after the other;
/// draws nothing.
///
/// Who needs several asks first, so that a refusal leaves none of them behind. Others may draw meanwhile.
///
/// # Errors
/// As [`reserve`].
pub fn make_room<E: From<Error>>(
    end: &AtomicU64,
    sizes: &[u64],
    limits: Limits,
    grow: impl FnOnce(u64) -> Result<(), E>,
) -> Result<(), E> {
    let after = |end, size: &u64| place(end, *size, 128, limits.chunk_bytes).saturating_add(*size);
    let needed = sizes.iter().fold(end.load(Ordering::Relaxed), after);
    if needed > limits.max_bytes {
        return Err(Error::Full { wanted: sizes.iter().sum(), limit: limits.max_bytes }.into());
    }
    grow(needed)
}

/// First aligned offset at or after `from` where `size` bytes cross no chunk.
const fn place(from: u64, size: u64, align: u64, chunk: u64) -> u64 {
    let start = from.saturating_add(align - 1) & !(align - 1);
    if start & (chunk - 1) != 0 && (start & (chunk - 1)) + size > chunk {
        start.saturating_add(chunk - 1) & !(chunk - 1)
    } else {
        start
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { chunk_bytes: 1 << 16, max_bytes: 1 << 18 };

    fn draw(end: &AtomicU64, size: u64) -> Result<u64, Error> {
        reserve::<Error>(end, size, 64, LIMITS, |_| Ok(()))
    }

    #[test]
    fn draws_are_aligned_disjoint_and_cross_no_chunk() {
        let end = AtomicU64::new(100);
        let mut last = 100;
        while let Ok(start) = draw(&end, 1000) {
            assert_eq!(start % 64, 0);
            assert!(start >= last);
            last = start + 1000;
            assert_eq!(start >> 16, (last - 1) >> 16);
        }
        assert!(last > (1 << 18) - 2100, "the limit is reached before drawing fails: {last}");
    }

    #[test]
    fn a_failed_draw_moves_nothing() {
        let end = AtomicU64::new(64);
        assert!(draw(&end, 1 << 17).is_err());
        let failed = reserve(&end, 8, 8, LIMITS, |_| Err(Error::WrongEndian));
        assert_eq!(failed, Err(Error::WrongEndian));
        let end = AtomicU64::new(u64::MAX - 3);
        assert!(matches!(draw(&end, 64), Err(Error::Full { .. })));
        assert_eq!(end.load(Ordering::Relaxed), u64::MAX - 3);
    }
}
