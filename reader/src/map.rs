//! A segment mapped read-only.
#![allow(unsafe_code, reason = "maps a file, and vouches for the addresses in the mapping")]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use dyn_metrics_layout::view::{Memory, View};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};

use crate::guard::Guarded;

/// The first bytes of a file, mapped shared and read-only.
///
/// The length is what the file had when it was mapped; what is beyond is out of bounds for ever.
#[derive(Debug)]
pub(crate) struct Map {
    base: NonNull<u8>,
    len: u64,
    mapped: NonZeroUsize,
    guarded: Option<Guarded>, // none only while it is dropped
}

impl Map {
    /// Maps `len` bytes of `file`.
    pub(crate) fn new(file: &File, len: u64) -> io::Result<Self> {
        let mapped = usize::try_from(len).ok().and_then(NonZeroUsize::new);
        let mapped = mapped.ok_or(io::ErrorKind::InvalidInput)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: INV-MEM: a fresh mapping at an address of the kernel's choice, unmapped only in drop().
        let base = unsafe { mmap(None, mapped, ProtFlags::PROT_READ, flags, file, 0) }?;
        // SAFETY: the range was mapped above; the advice changes core dumps only.
        let _ = unsafe { madvise(base, mapped.get(), MmapAdvise::MADV_DONTDUMP) };
        let base = base.cast::<u8>();
        let guarded = Some(Guarded::register(base.as_ptr() as usize, mapped.get()));
        Ok(Self { base, len, mapped, guarded })
    }

    /// Bytes that are mapped.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Checked access to the bytes.
    pub(crate) const fn view(&self) -> View<'_, Self> {
        View::new(self)
    }

    /// Whether the guard had to put a zero page over a fault: what was read since the mapping was made
    /// can't be trusted.
    pub(crate) fn was_hit(&self) -> bool {
        self.guarded.as_ref().is_some_and(Guarded::was_hit)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        self.guarded = None;
        // SAFETY: INV-MEM: nobody borrows the map any more, and the range was mapped by new().
        let unmapped = unsafe { munmap(self.base.cast(), self.mapped.get()) };
        debug_assert!(unmapped.is_ok(), "unmapping what was mapped can't fail");
    }
}

// SAFETY: INV-MEM: the mapping lives until drop(). INV-ALIGN: its base is page-aligned. INV-BOUNDS: checked
// against the length at mapping; a file that shrinks afterwards faults, which the guard is for.
unsafe impl Memory for Map {
    fn resolve(&self, offset: u64, len: u64) -> Option<*const u8> {
        if offset.checked_add(len)? > self.len {
            return None;
        }
        Some(self.base.as_ptr().wrapping_add(usize::try_from(offset).ok()?))
    }
}

// SAFETY: the mapping belongs to the value and is only read, through atomics (INV-ATOMIC).
unsafe impl Send for Map {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_beyond_the_length_is_out_of_bounds() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 5000]).unwrap();
        let map = Map::new(&file, 5000).unwrap();
        assert!(map.view().word(4992).is_ok());
        for offset in [4993, 5000, u64::MAX - 7] {
            assert!(map.view().word(offset).is_err(), "{offset}");
        }
        assert!(!map.was_hit());
    }

    #[test]
    fn nothing_can_be_mapped_of_an_empty_file() {
        assert!(Map::new(&tempfile::tempfile().unwrap(), 0).is_err());
    }
}
