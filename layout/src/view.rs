//! From bytes of a segment to checked references.
//!
//! Invariants that every `SAFETY:` comment of the workspace refers to:
//!
//! - **INV-MEM**: a [`Memory`] hands out addresses of bytes that stay mapped and readable as long as the
//!   `Memory` is borrowed; the memory is shared, and nobody ever forms a reference to plain data in it.
//! - **INV-ALIGN**: an address from [`Memory::resolve`] has the alignment of its offset, up to 128 bytes;
//!   [`View`] refuses offsets that are not aligned for the type.
//! - **INV-BOUNDS**: `resolve(offset, len)` succeeds only when all `len` bytes are mapped.
//! - **INV-ATOMIC**: types behind references are made of atomics alone, for which every bit pattern is valid
//!   and concurrent change, also by other processes, is defined.
#![allow(unsafe_code, reason = "makes references from mapped bytes; the one place that does")]

use crate::error::{Error, Result};
use crate::gauge::GaugeCell;
use crate::process::SlotWords;
use crate::record::State;
use crate::sync::{AtomicU64, Ordering};

/// The bytes of a segment, wherever they are mapped.
///
/// # Safety
/// Implementors keep INV-MEM, INV-ALIGN and INV-BOUNDS.
pub unsafe trait Memory {
    /// Address of `len` bytes at `offset`; none when not all of them are mapped.
    fn resolve(&self, offset: u64, len: u64) -> Option<*const u8>;
}

/// Types that may be referenced in a segment.
///
/// # Safety
/// Implementors keep INV-ATOMIC, and their alignment is at most 128.
pub unsafe trait Mapped {}

// SAFETY: INV-ATOMIC: an atomic.
unsafe impl Mapped for AtomicU64 {}
// SAFETY: INV-ATOMIC: repr(C), atomics only.
unsafe impl Mapped for GaugeCell {}
// SAFETY: INV-ATOMIC: repr(C), atomics only.
unsafe impl Mapped for SlotWords {}
// SAFETY: INV-ATOMIC: repr(C), atomics only.
unsafe impl Mapped for State {}

/// Checked access to a [`Memory`].
#[derive(Debug)]
pub struct View<'m, M: Memory + ?Sized> {
    memory: &'m M,
}

impl<M: Memory + ?Sized> Clone for View<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Memory + ?Sized> Copy for View<'_, M> {}

impl<'m, M: Memory + ?Sized> View<'m, M> {
    /// A view of `memory`.
    #[must_use]
    pub const fn new(memory: &'m M) -> Self {
        Self { memory }
    }

    /// The structure at `offset`.
    ///
    /// # Errors
    /// [`Error::OutOfBounds`] when it isn't aligned or not wholly mapped.
    pub fn get<T: Mapped>(self, offset: u64) -> Result<&'m T> {
        let address = self.resolve(offset, size_of::<T>() as u64, align_of::<T>() as u64)?;
        // SAFETY: INV-MEM, INV-ALIGN, INV-BOUNDS (just resolved for this size and alignment), INV-ATOMIC.
        Ok(unsafe { &*address.cast::<T>() })
    }

    /// The word at `offset`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn word(self, offset: u64) -> Result<&'m AtomicU64> {
        self.get(offset)
    }

    /// `count` words at `offset`.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn words(self, offset: u64, count: usize) -> Result<&'m [AtomicU64]> {
        let address = self.resolve(offset, 8 * count as u64, 8)?;
        // SAFETY: INV-MEM, INV-ALIGN, INV-BOUNDS (just resolved for this many words), INV-ATOMIC.
        Ok(unsafe { core::slice::from_raw_parts(address.cast::<AtomicU64>(), count) })
    }

    /// Copies `out.len()` bytes from `offset`; both a multiple of 8. Relaxed, word by word.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn copy(self, offset: u64, out: &mut [u8]) -> Result<()> {
        let words = self.words(offset, out.len() / 8)?;
        for (word, bytes) in words.iter().zip(out.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        Ok(())
    }

    /// Whether the bytes at `offset` are `expected`; both a multiple of 8 long. Relaxed.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn equals(self, offset: u64, expected: &[u8]) -> Result<bool> {
        let words = self.words(offset, expected.len() / 8)?;
        Ok(words
            .iter()
            .zip(expected.chunks_exact(8))
            .all(|(word, bytes)| word.load(Ordering::Relaxed).to_le_bytes() == *bytes))
    }

    /// Stores `bytes` at `offset`; both a multiple of 8. Relaxed, word by word: for bytes that nobody else
    /// can see yet, or that carry a checksum.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn store(self, offset: u64, bytes: &[u8]) -> Result<()> {
        let words = self.words(offset, bytes.len() / 8)?;
        for (word, bytes) in words.iter().zip(bytes.chunks_exact(8)) {
            let mut le = [0; 8];
            le.copy_from_slice(bytes);
            word.store(u64::from_le_bytes(le), Ordering::Relaxed);
        }
        Ok(())
    }

    fn resolve(self, offset: u64, len: u64, align: u64) -> Result<*const u8> {
        let address = if offset.is_multiple_of(align) { self.memory.resolve(offset, len) } else { None };
        address.ok_or(Error::OutOfBounds { offset, len })
    }
}

/// A segment on the heap, for tests and for Miri, which can't map files.
#[derive(Debug)]
pub struct HeapMemory {
    words: Box<[Aligned]>,
}

#[repr(C, align(128))]
#[derive(Debug)]
struct Aligned([AtomicU64; 16]);

impl HeapMemory {
    /// A zeroed segment of at least `bytes` bytes.
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let line = || Aligned(core::array::from_fn(|_| AtomicU64::new(0)));
        Self { words: (0..bytes.div_ceil(128)).map(|_| line()).collect() }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        128 * self.words.len() as u64
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

// SAFETY: INV-MEM (the box lives as long as it is borrowed), INV-ALIGN (lines are 128-aligned), INV-BOUNDS
// (checked against the length).
unsafe impl Memory for HeapMemory {
    fn resolve(&self, offset: u64, len: u64) -> Option<*const u8> {
        if offset.checked_add(len)? > self.len() {
            return None;
        }
        let base = self.words.as_ptr().cast::<u8>();
        Some(base.wrapping_add(offset as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outside_or_unaligned_is_refused() {
        let memory = HeapMemory::zeroed(256);
        let view = View::new(&memory);
        assert!(view.word(248).is_ok());
        for offset in [4, 249, 256, u64::MAX - 7, u64::MAX] {
            assert!(view.word(offset).is_err(), "{offset}");
        }
        assert!(view.words(0, 33).is_err());
        assert!(view.get::<GaugeCell>(192).is_err());
    }

    #[test]
    fn stored_bytes_come_back() {
        let memory = HeapMemory::zeroed(256);
        let view = View::new(&memory);
        view.store(64, &[7; 24]).unwrap();
        let mut back = [0; 24];
        view.copy(64, &mut back).unwrap();
        assert_eq!(back, [7; 24]);
        assert!(view.equals(64, &[7; 24]).unwrap());
        assert!(!view.equals(64, &[8; 24]).unwrap());
    }
}
