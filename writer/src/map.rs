//! The segment's bytes in this process: chunk by chunk, each mapped when it is first needed and never
//! unmapped, so that addresses handed to the hot path stay valid as long as the process lives.
#![allow(unsafe_code, reason = "maps files and hands out addresses (INV-MEM)")]

use crate::local::{AtomicPtr, Ordering};
use std::os::fd::AsFd;
use std::ptr;

use dyn_metrics_layout::view::Memory;
use nix::errno::Errno;

use crate::kernel;
use crate::sys::KeepErrno;

/// Where chunks of a segment are mapped.
#[derive(Debug)]
pub(crate) struct Map {
    /// Address of each chunk; null while it isn't mapped.
    chunks: Box<[AtomicPtr<u8>]>,
    chunk_bytes: u64,
    /// Bytes from the start that one mapping covers: header, process table and first index table.
    first_bytes: u64,
}

impl Map {
    /// Maps the first `first_bytes` (rounded up to chunks) of the file; `max_bytes` limits its growth.
    pub(crate) fn new(
        fd: impl AsFd,
        chunk_bytes: u64,
        first_bytes: u64,
        max_bytes: u64,
    ) -> nix::Result<Self> {
        let first_bytes = first_bytes.next_multiple_of(chunk_bytes);
        let most = max_bytes.min(crate::options::MAX_SEGMENT_BYTES);
        let count = most.max(first_bytes).div_ceil(chunk_bytes) as usize;
        let chunks: Box<[AtomicPtr<u8>]> = (0..count).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        let base = kernel::map(fd.as_fd(), 0, first_bytes)?.as_ptr();
        for (n, chunk) in chunks.iter().take((first_bytes / chunk_bytes) as usize).enumerate() {
            chunk.store(base.wrapping_add(n * chunk_bytes as usize), Ordering::Release);
        }
        Ok(Self { chunks, chunk_bytes, first_bytes })
    }

    /// Maps the chunk that holds `offset`, which must exist in the file, unless it is mapped already.
    ///
    /// Async-signal-safe: no allocation, no lock, `errno` kept.
    pub(crate) fn ensure(&self, fd: impl AsFd, offset: u64) -> nix::Result<()> {
        let chunk = self.chunks.get((offset / self.chunk_bytes) as usize).ok_or(Errno::EFBIG)?;
        if !chunk.load(Ordering::Acquire).is_null() {
            return Ok(());
        }
        let _errno = KeepErrno::new();
        let start = offset - offset % self.chunk_bytes;
        let len = u64::try_from(nix::sys::stat::fstat(fd.as_fd())?.st_size).unwrap_or(0);
        if len < start + self.chunk_bytes {
            return Err(Errno::ENXIO); // not there: touching it would be a SIGBUS
        }
        let address = kernel::map(fd.as_fd(), start, self.chunk_bytes)?;
        let kept =
            chunk.compare_exchange(ptr::null_mut(), address.as_ptr(), Ordering::AcqRel, Ordering::Acquire);
        if kept.is_err() {
            // SAFETY: this thread just made the mapping and nobody else has seen its address.
            unsafe { kernel::unmap(address, self.chunk_bytes) };
        }
        Ok(())
    }
}

// SAFETY: INV-MEM: mappings are never released. INV-ALIGN: chunks are page-aligned. INV-BOUNDS: a range
// lies in the first mapping or in one chunk, which is mapped whole.
unsafe impl Memory for Map {
    fn resolve(&self, offset: u64, len: u64) -> Option<*const u8> {
        let end = offset.checked_add(len)?;
        let chunk = offset / self.chunk_bytes;
        let in_one = end <= self.first_bytes || end.saturating_sub(1) / self.chunk_bytes == chunk;
        let base = self.chunks.get(chunk as usize)?.load(Ordering::Acquire);
        (in_one && !base.is_null())
            .then(|| base.wrapping_add((offset % self.chunk_bytes) as usize).cast_const())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dyn_metrics_layout::view::View;

    #[test]
    fn chunks_are_mapped_when_needed_and_only_where_the_file_exists() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(3 << 16).unwrap();
        let map = Map::new(&file, 1 << 16, 100, 8 << 16).unwrap();
        let view = View::new(&map);
        assert!(view.word(0).is_ok());
        assert!(view.word(1 << 16).is_err(), "not mapped yet");
        map.ensure(&file, (1 << 16) + 8).unwrap();
        assert!(view.word((1 << 17) - 8).is_ok());
        assert!(view.words((1 << 17) - 8, 2).is_err(), "crosses a chunk");
        assert_eq!(map.ensure(&file, 3 << 16), Err(Errno::ENXIO));
        assert_eq!(map.ensure(&file, 100 << 16), Err(Errno::EFBIG));
    }
}
