//! Updates of the current CPU's cell, by a restartable sequence where the kernel and glibc offer one.
//!
//! The section reads the CPU number from the thread's rseq area, takes that CPU's block from the process's own
//! table of addresses and commits with one store. The kernel restarts it when the thread is preempted,
//! migrated or interrupted by a signal in between, so at most one thread of the machine is inside for a given
//! CPU, across processes. What can't be done so, for whatever reason, the caller adds to the shared block.
//!
//! Sources: Linux `include/uapi/linux/rseq.h` and `kernel/rseq.c`; glibc 2.35 manual, "Restartable
//! Sequences"; both for `__rseq_offset`, `__rseq_size` and the meaning of `cpu_id`.
#![allow(unsafe_code, reason = "restartable sequences are assembly; run-time look-up of glibc's symbols")]

use crate::local::{AtomicIsize, AtomicUsize, Ordering};
use crate::once_map::OnceValue;

#[cfg(not(target_arch = "x86_64"))]
mod fallback;
#[cfg(not(target_arch = "x86_64"))]
use fallback as arch;
#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

/// Offset of the rseq area from the thread pointer; 0 while restartable sequences aren't used.
static RSEQ_OFFSET: AtomicIsize = AtomicIsize::new(0);

/// Which path updates take in this process, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Restartable sequences in per-CPU blocks.
    Rseq,
    /// Atomic updates of the shared block; the reason.
    Shared(&'static str),
}

/// Decides once per process; later calls return the same.
///
/// Without a lock, for the sake of forked children: threads that meet here decide the same.
pub(crate) fn path() -> Path {
    static PATH: OnceValue<Path> = OnceValue::new();
    PATH.get_or(|| Some(decide())).copied().unwrap_or(Path::Shared("undecided"))
}

fn decide() -> Path {
    let wanted = std::env::var("DYN_METRICS_RSEQ").unwrap_or_default();
    if wanted.eq_ignore_ascii_case("off") {
        return Path::Shared("DYN_METRICS_RSEQ=off");
    }
    if !["", "on", "auto"].iter().any(|known| wanted.eq_ignore_ascii_case(known)) {
        log::warn!("DYN_METRICS_RSEQ: found {wanted:?}, expected off, auto or on; using auto");
    }
    let decided = if arch::SUPPORTED { look_up() } else { Path::Shared("no sequence for this architecture") };
    if let (Path::Shared(reason), true) = (decided, wanted.eq_ignore_ascii_case("on")) {
        log::warn!("DYN_METRICS_RSEQ=on, but {reason}; updating the shared block");
    }
    decided
}

/// Finds glibc's rseq registration and switches to it when it is in force.
fn look_up() -> Path {
    let symbol = |name: &std::ffi::CStr| {
        // SAFETY: dlsym with a NUL-terminated name; the default handle needs no opening.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    };
    let (Some(offset), Some(size)) = (symbol(c"__rseq_offset"), symbol(c"__rseq_size")) else {
        return Path::Shared("the C library registers no rseq area (glibc 2.35 and later do)");
    };
    // SAFETY: glibc declares `extern const ptrdiff_t __rseq_offset`.
    let offset = unsafe { *offset.cast::<isize>() };
    // SAFETY: glibc declares `extern const unsigned int __rseq_size`.
    let size = unsafe { *size.cast::<u32>() };
    if size == 0 || offset == 0 {
        return Path::Shared("rseq is not registered (disabled, or refused by the kernel)");
    }
    // SAFETY: glibc registered an area at this offset from the thread pointer of every thread.
    if unsafe { arch::cpu_id(offset) } >= dyn_metrics_layout::header::MAX_CPUS {
        return Path::Shared("the kernel reports no CPU number in the rseq area");
    }
    RSEQ_OFFSET.store(offset, Ordering::Relaxed);
    Path::Rseq
}

/// The CPU that this thread runs on; none when it has no registered rseq area.
pub(crate) fn current_cpu() -> Option<u32> {
    let offset = RSEQ_OFFSET.load(Ordering::Relaxed);
    if offset == 0 {
        return None;
    }
    // SAFETY: the offset is not 0, so glibc registered the area for every thread.
    let cpu = unsafe { arch::cpu_id(offset) };
    (cpu < dyn_metrics_layout::header::MAX_CPUS).then_some(cpu)
}

/// A process's addresses of the blocks of one extent: one for each CPU, 0 where it has none.
///
/// Never freed; entries go from 0 to the address of mapped, writable, 8-aligned memory that is never unmapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    entries: *const AtomicUsize,
    cpus: u32,
}

// SAFETY: points to leaked atomics.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// A table that sends every update to the caller.
    pub(crate) const EMPTY: Self = Self { entries: std::ptr::null(), cpus: 0 };

    /// A table over leaked entries.
    pub(crate) fn new(entries: &'static [AtomicUsize]) -> Self {
        Self { entries: entries.as_ptr(), cpus: entries.len() as u32 }
    }

    /// Adds `n` to the word `byte_offset` bytes into the current CPU's block; false when it was not added.
    ///
    /// # Safety
    /// `byte_offset` is a multiple of 8 below the length of the extent's blocks.
    #[inline(always)]
    pub(crate) unsafe fn add_u64(self, byte_offset: usize, n: u64) -> bool {
        let rseq = RSEQ_OFFSET.load(Ordering::Relaxed);
        // SAFETY: rseq is the offset of a registered area, the table as documented, byte_offset as required.
        rseq != 0 && unsafe { arch::add_u64(rseq, self.entries, self.cpus, byte_offset, n) }
    }

    /// Adds `x` to the double `byte_offset` bytes into the current CPU's block; false when it was not added.
    ///
    /// # Safety
    /// As [`Self::add_u64`].
    #[inline(always)]
    pub(crate) unsafe fn add_f64(self, byte_offset: usize, x: f64) -> bool {
        let rseq = RSEQ_OFFSET.load(Ordering::Relaxed);
        // SAFETY: rseq is the offset of a registered area, the table as documented, byte_offset as required.
        rseq != 0 && unsafe { arch::add_f64(rseq, self.entries, self.cpus, byte_offset, x) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::AtomicU64;

    fn table(blocks: &'static [AtomicU64]) -> Table {
        let cpus = crate::sys::possible_cpus();
        let entries: Vec<_> = (0..cpus).map(|_| AtomicUsize::new(blocks.as_ptr() as usize)).collect();
        Table::new(Box::leak(entries.into_boxed_slice()))
    }

    fn words() -> &'static [AtomicU64] {
        Box::leak((0..4).map(|_| AtomicU64::new(0)).collect())
    }

    #[test]
    fn an_update_reaches_its_word_and_no_other() {
        if path() != Path::Rseq {
            eprintln!("SKIPPED: {:?}", path());
            return;
        }
        let words = words();
        let table = table(words);
        // SAFETY: the blocks have four words.
        assert!(unsafe { table.add_u64(8, 5) });
        // SAFETY: as above.
        assert!(unsafe { table.add_u64(8, u64::MAX) });
        // SAFETY: as above.
        assert!(unsafe { table.add_f64(24, 1.5) });
        // SAFETY: as above.
        assert!(unsafe { table.add_f64(24, 0.25) });
        let seen: Vec<_> = words.iter().map(|w| w.load(Ordering::Relaxed)).collect();
        assert_eq!(seen, [0, 4, 0, 1.75_f64.to_bits()]);
    }

    #[test]
    fn no_block_and_no_cpu_leave_the_update_to_the_caller() {
        path();
        // SAFETY: an empty table stores nothing.
        assert!(!unsafe { Table::EMPTY.add_u64(0, 1) });
        let zeros: &'static [AtomicUsize] =
            Box::leak((0..crate::sys::possible_cpus()).map(|_| AtomicUsize::new(0)).collect());
        // SAFETY: a table without blocks stores nothing.
        assert!(!unsafe { Table::new(zeros).add_f64(0, 1.0) });
    }
}
