//! Architectures without a sequence: the caller updates the shared block.

use crate::local::AtomicUsize;

/// Whether there is a sequence for this architecture.
pub(super) const SUPPORTED: bool = false;

/// No CPU.
///
/// # Safety
/// None needed; the signature is that of the other architectures.
pub(super) unsafe fn cpu_id(_rseq: isize) -> u32 {
    u32::MAX
}

/// Adds nothing.
///
/// # Safety
/// None needed.
pub(super) unsafe fn add_u64(_: isize, _: *const AtomicUsize, _: u32, _: usize, _: u64) -> bool {
    false
}

/// Adds nothing.
///
/// # Safety
/// None needed.
pub(super) unsafe fn add_f64(_: isize, _: *const AtomicUsize, _: u32, _: usize, _: f64) -> bool {
    false
}
