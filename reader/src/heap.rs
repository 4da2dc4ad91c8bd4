//! Memory that goes back to the kernel: for programs that serve pages of several megabytes from many threads.
#![allow(unsafe_code, reason = "sets a parameter of the C library's allocator")]

/// Blocks of this many bytes or more get a mapping of their own.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 256 << 10;

/// Has the C library map every large block for itself, and unmap it when it is freed.
///
/// Left alone, glibc raises that limit when the first mapped block is freed; pages then lie in the heaps of whichever
/// threads made them, and stay there. With 100 000 counters, 16 clients and aborted scrapes an exporter grew from 43
/// to 156 MiB; with this it stays within 4 MiB. For a program to decide, not for a library: call it first in `main`.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets a number in the allocator; it may be called at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
