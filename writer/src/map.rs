//! The segment's bytes in this process: chunk by chunk, each mapped when it is first needed and never
//! unmapped, so that addresses handed to the hot path stay valid as long as the process lives.
#![allow(unsafe_code, reason = "maps files and hands out addresses (INV-MEM)")]

use crate::local::{AtomicUsize, Ordering};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use dyn_metrics_layout::view::Memory;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};

use crate::sys::KeepErrno;

/// Shared, writable mapping of `len` bytes at `offset`; left out of core dumps.
fn map_shared(fd: BorrowedFd<'_>, offset: u64, len: u64) -> nix::Result<usize> {
    let length = NonZeroUsize::new(len as usize).ok_or(Errno::EINVAL)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, offset as i64) }?;
    // SAFETY: the range was just mapped; the advice only concerns core dumps.
    let _ = unsafe { madvise(address, len as usize, MmapAdvise::MADV_DONTDUMP) };
    Ok(address.as_ptr() as usize)
}

/// Where chunks of a segment are mapped.
#[derive(Debug)]
pub(crate) struct Map {
    /// Address of each chunk; 0 while it isn't mapped.
    chunks: Box<[AtomicUsize]>,
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
        let chunks: Box<[AtomicUsize]> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        let base = map_shared(fd.as_fd(), 0, first_bytes)?;
        for (n, chunk) in chunks.iter().take((first_bytes / chunk_bytes) as usize).enumerate() {
            chunk.store(base + n * chunk_bytes as usize, Ordering::Release);
        }
        Ok(Self { chunks, chunk_bytes, first_bytes })
    }

    /// Maps the chunk that holds `offset`, which must exist in the file, unless it is mapped already.
    ///
    /// Async-signal-safe: no allocation, no lock, `errno` kept.
    pub(crate) fn ensure(&self, fd: impl AsFd, offset: u64) -> nix::Result<()> {
        let chunk = self.chunks.get((offset / self.chunk_bytes) as usize).ok_or(Errno::EFBIG)?;
        if chunk.load(Ordering::Acquire) != 0 {
            return Ok(());
        }
        let _errno = KeepErrno::new();
        let start = offset - offset % self.chunk_bytes;
        let len = u64::try_from(nix::sys::stat::fstat(fd.as_fd())?.st_size).unwrap_or(0);
        if len < start + self.chunk_bytes {
            return Err(Errno::ENXIO); // not there: touching it would be a SIGBUS
        }
        let address = map_shared(fd.as_fd(), start, self.chunk_bytes)?;
        if chunk.compare_exchange(0, address, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: this thread just made the mapping and nobody else has seen its address.
            let _ = unsafe { libc::munmap(address as *mut libc::c_void, self.chunk_bytes as usize) };
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
        (in_one && base != 0).then(|| (base + (offset % self.chunk_bytes) as usize) as *const u8)
    }
}

/// Maps a page of the file at `offset`, far beyond its end and without access, at `address` if that was reserved: the
/// locks of the open file description behind `lock` live as long as the mapping. Its address. Async-signal-safe.
pub(crate) fn keep_lock_page(lock: impl AsFd, offset: u64, address: Option<usize>) -> nix::Result<usize> {
    let fixed = if address.is_some() { libc::MAP_FIXED } else { 0 };
    map_page(address.unwrap_or(0), libc::MAP_SHARED | fixed, lock.as_fd().as_raw_fd(), offset)
}

/// Reserves the address of a page for [`keep_lock_page`]. Async-signal-safe.
pub(crate) fn reserve_lock_page() -> nix::Result<usize> {
    map_page(0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
}

fn map_page(address: usize, flags: i32, fd: i32, offset: u64) -> nix::Result<usize> {
    let (len, offset) = (crate::sys::page_bytes() as usize, offset as libc::off_t);
    // SAFETY: a mapping without access, at an address of the kernel's choice or over a page that was reserved for it.
    let page = unsafe { libc::mmap(address as *mut libc::c_void, len, libc::PROT_NONE, flags, fd, offset) };
    if page == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(page as usize) }
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
