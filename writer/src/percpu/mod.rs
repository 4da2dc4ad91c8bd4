//! Updates of the current CPU's cell, by a restartable sequence where the kernel and glibc offer one.
//!
//! The section reads the CPU number from the thread's rseq area, takes that CPU's block from the process's own
//! table of addresses and commits with one store. The kernel restarts it when the thread is preempted,
//! migrated or interrupted by a signal in between, so at most one thread of the machine is inside for a given
//! CPU, across processes. What can't be done so, for whatever reason, the caller adds to the shared block.
//!
//! Sources: Linux `include/uapi/linux/rseq.h` and `kernel/rseq.c`; glibc 2.35 manual, "Restartable
//! Sequences"; both for `__rseq_offset`, `__rseq_size` and the meaning of `cpu_id`.
#![allow(unsafe_code, reason = "restartable sequences are assembly")]
#![cfg_attr(
    not(any(target_arch = "x86_64", target_arch = "aarch64")),
    allow(unreachable_code, unused_macros, unused_unsafe, unused_variables, reason = "see fallback.rs")
)]

use crate::local::{AtomicU32, AtomicUsize, Ordering};

#[cfg(target_arch = "aarch64")]
#[macro_use]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[macro_use]
#[path = "x86_64.rs"]
mod arch;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[macro_use]
#[path = "fallback.rs"]
mod arch;
mod kernel;
mod path;
#[cfg(test)]
mod tests;

pub(crate) use path::{Path, path};

/// No delay: what production code has at the places where the tests put some.
macro_rules! none {
    ($point:literal) => {
        ""
    };
}

/// What a sequence needs to find the current CPU's cell.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Offset of the rseq area from the thread pointer.
    rseq: isize,
    /// `cpus` entries, each 0 or the address of a block with an aligned word at `byte_offset`.
    entries: *const AtomicUsize,
    cpus: u32,
    byte_offset: usize,
}

/// Adds `n`; false when the current CPU has no block.
///
/// # Safety
/// The fields of `place` are as documented.
#[inline(always)]
unsafe fn add_u64(place: Place, n: u64) -> bool {
    let Place { rseq, entries, cpus, byte_offset } = place;
    // SAFETY: stores a descriptor's address into this thread's rseq area, as the kernel's interface demands, and
    // one word of the block that the table names.
    unsafe { add_u64!(armed, none, (rseq, entries, cpus, byte_offset), [in(reg) n], []) };
    true
}

/// Adds 1: an instruction less than [`add_u64`].
///
/// # Safety
/// As [`add_u64`].
#[inline(always)]
unsafe fn add_one(place: Place) -> bool {
    let Place { rseq, entries, cpus, byte_offset } = place;
    // SAFETY: as in add_u64.
    unsafe { add_u64!(armed, none, (rseq, entries, cpus, byte_offset), [const 1], []) };
    true
}

/// Adds `x` to a double; false when the current CPU has no block.
///
/// # Safety
/// As [`add_u64`].
#[inline(always)]
unsafe fn add_f64(place: Place, x: f64) -> bool {
    let Place { rseq, entries, cpus, byte_offset } = place;
    // SAFETY: as in add_u64.
    unsafe { add_f64!(armed, none, (rseq, entries, cpus, byte_offset), x, []) };
    true
}

/// `cpu_id` in this thread's rseq area; -1 or -2 (as unsigned numbers) when the area is not registered.
///
/// # Safety
/// `rseq` is the offset of an rseq area from the thread pointer.
unsafe fn cpu_id(rseq: isize) -> u32 {
    let place = arch::thread_pointer().wrapping_add(rseq).wrapping_add(4) as *const AtomicU32;
    // SAFETY: the area lives as long as its thread, which is this one; the second word of 4 bytes is the CPU.
    let cpu_id = unsafe { &*place };
    cpu_id.load(Ordering::Relaxed)
}

/// The CPU that this thread runs on; none where updates don't use rseq, and when this thread has no
/// registered area.
pub(crate) fn current_cpu() -> Option<u32> {
    let Path::Rseq { offset } = path() else { return None };
    // SAFETY: glibc registered an area at this offset from the thread pointer of every thread.
    let cpu = unsafe { cpu_id(offset as isize) };
    (cpu < dyn_metrics_layout::header::MAX_CPUS).then_some(cpu)
}

/// A process's addresses of the blocks of one extent: one for each CPU, 0 where it has none.
///
/// Never freed; entries go from 0 to the address of mapped, writable, 8-aligned memory that is never unmapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blocks {
    entries: &'static [AtomicUsize],
}

impl Blocks {
    /// A table of `cpus` entries, all 0; never freed.
    pub(crate) fn new(cpus: u32) -> Self {
        Self { entries: Box::leak((0..cpus).map(|_| AtomicUsize::new(0)).collect()) }
    }

    /// Whether it has no entries.
    pub(crate) const fn is_empty(self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of a CPU.
    pub(crate) fn entry(self, cpu: u32) -> Option<&'static AtomicUsize> {
        self.entries.get(cpu as usize)
    }
}

/// How the hot path reaches the cells of one series: two words, because loads are what limits it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    entries: *const AtomicUsize,
    /// Offset of the rseq area from the thread pointer in the upper half; below it 16 bits of offset of the first
    /// cell in each block, in bytes, and 16 bits of length of the table. All 0 where updates don't use rseq.
    packed: u64,
}

// SAFETY: points to leaked atomics.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// A table that leaves every update to the caller.
    pub(crate) const EMPTY: Self = Self { entries: std::ptr::null(), packed: 0 };

    /// A table of cells whose updates go nowhere; see [`Self::is_nowhere`].
    pub(crate) const NOWHERE: Self = Self { entries: std::ptr::dangling(), packed: 0 };

    /// Cells from `byte_offset` on in `blocks`. Leaves every update to the caller unless this process uses rseq.
    pub(crate) fn new(blocks: Blocks, byte_offset: usize) -> Self {
        let (cpus, start) = (u16::try_from(blocks.entries.len()), u16::try_from(byte_offset));
        match (path(), cpus, start) {
            (Path::Rseq { offset }, Ok(cpus @ 1..), Ok(start)) => Self {
                entries: blocks.entries.as_ptr(),
                packed: u64::from(offset as u32) << 32 | u64::from(start) << 16 | u64::from(cpus),
            },
            _ => Self::EMPTY,
        }
    }

    /// Its two words.
    pub(crate) const fn to_raw(self) -> (*const AtomicUsize, u64) {
        (self.entries, self.packed)
    }

    /// Whether updates can ever be added through it.
    #[inline(always)]
    pub(crate) const fn is_used(self) -> bool {
        self.packed != 0
    }

    /// Whether updates shall go nowhere, where the table is not used.
    #[inline(always)]
    pub(crate) const fn is_nowhere(self) -> bool {
        !self.entries.is_null()
    }

    #[inline(always)]
    const fn place(self, index: usize) -> Place {
        let packed = self.packed;
        Place {
            rseq: (packed as i64 >> 32) as isize,
            entries: self.entries,
            cpus: packed as u16 as u32,
            byte_offset: (packed as u32 >> 16) as usize + 8 * index,
        }
    }

    /// Adds `n` to cell `index` of the current CPU's block; false when it was not added.
    ///
    /// # Safety
    /// The extent's blocks have that cell.
    #[inline(always)]
    pub(crate) unsafe fn add_u64(self, index: usize, n: u64) -> bool {
        // SAFETY: used, so `new` has packed what Place demands; the cell exists.
        self.is_used() && unsafe { add_u64(self.place(index), n) }
    }

    /// As [`Self::add_u64`] of 1, with an instruction less.
    ///
    /// # Safety
    /// As [`Self::add_u64`].
    #[inline(always)]
    pub(crate) unsafe fn add_one(self, index: usize) -> bool {
        // SAFETY: as in add_u64.
        self.is_used() && unsafe { add_one(self.place(index)) }
    }

    /// Adds `x` to cell `index`, a double, of the current CPU's block; false when it was not added.
    ///
    /// # Safety
    /// As [`Self::add_u64`].
    #[inline(always)]
    pub(crate) unsafe fn add_f64(self, index: usize, x: f64) -> bool {
        // SAFETY: as in add_u64.
        self.is_used() && unsafe { add_f64(self.place(index), x) }
    }
}
