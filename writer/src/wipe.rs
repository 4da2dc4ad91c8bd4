//! Words that are 0 in a forked child: where a process keeps what belongs to it alone.
#![allow(unsafe_code, reason = "maps memory and marks it wipe-on-fork")]

use crate::local::{AtomicPtr, AtomicUsize, Ordering};
use std::num::NonZeroUsize;
use std::ptr;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// Bytes of one mapping of such words.
const CHUNK_BYTES: usize = 64 << 10;
const CHUNK_WORDS: usize = CHUNK_BYTES / size_of::<AtomicUsize>();

/// A mapping, its words handed out one by one; the bookkeeping itself survives a fork.
struct Chunk {
    words: &'static [AtomicUsize],
    used: AtomicUsize,
    /// The kernel doesn't wipe (before Linux 4.14): the fork handler must.
    by_hand: bool,
    next: *const Chunk,
}

static CHUNKS: AtomicPtr<Chunk> = AtomicPtr::new(std::ptr::null_mut());

/// `count` words, at most a few, that are 0 now and in every forked child; never freed.
pub(crate) fn words(count: usize) -> nix::Result<&'static [AtomicUsize]> {
    loop {
        let head = CHUNKS.load(Ordering::Acquire);
        // SAFETY: null or a leaked chunk.
        if let Some(chunk) = unsafe { head.as_ref() } {
            let start = chunk.used.fetch_add(count, Ordering::Relaxed);
            if let Some(words) = chunk.words.get(start..start.saturating_add(count)) {
                return Ok(words);
            }
        }
        add_chunk(head)?;
    }
}

/// A pointer that is null now and in every forked child; never freed.
pub(crate) fn pointer<T>() -> nix::Result<&'static AtomicPtr<T>> {
    let word = ptr::from_ref(words(1)?.first().ok_or(Errno::ENOMEM)?);
    // SAFETY: handed out to this caller alone; as large and as aligned as a word, valid whatever its bits, and null when
    // they are 0.
    Ok(unsafe { &*word.cast::<AtomicPtr<T>>() })
}

fn add_chunk(head: *mut Chunk) -> nix::Result<()> {
    let length = NonZeroUsize::new(CHUNK_BYTES).ok_or(Errno::EINVAL)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: new anonymous memory at an address of the kernel's choice.
    let address = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }?;
    let by_hand = !crate::kernel::wipe_on_fork(address.cast(), CHUNK_BYTES);
    // SAFETY: mapped, zero, aligned to a page, never unmapped once published, atomics only.
    let words = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<AtomicUsize>(), CHUNK_WORDS) };
    let chunk = Chunk { words, used: AtomicUsize::new(0), by_hand, next: head };
    let raw = Box::into_raw(Box::new(chunk));
    if CHUNKS.compare_exchange(head, raw, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // SAFETY: `raw` came from Box::into_raw and was not published.
        drop(unsafe { Box::from_raw(raw) });
        // SAFETY: mapped above, and no word of it was handed out.
        unsafe { libc::munmap(address.as_ptr(), CHUNK_BYTES) };
    }
    Ok(())
}

/// In a forked child: wipes what the kernel could not. Async-signal-safe.
pub(crate) fn wipe_by_hand() {
    // SAFETY: null or a leaked chunk.
    let mut next: Option<&Chunk> = unsafe { CHUNKS.load(Ordering::Acquire).as_ref() };
    while let Some(chunk) = next {
        if chunk.by_hand {
            chunk.words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        // SAFETY: null or a leaked chunk.
        next = unsafe { chunk.next.as_ref() };
    }
}
