//! What reading a segment has cost, in numbers that don't depend on the machine.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Reads by which a file of any length may be looked at: its header again and again, the parser's and ours.
const FREE_READS: u64 = 4_000;
/// Bytes likewise.
const FREE_BYTES: u64 = 16 << 20;

/// Bytes that this thread has read, and system calls in which it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes.
    pub bytes: u64,
    /// System calls.
    pub calls: u64,
}

impl Work {
    /// So far; none where the kernel doesn't count.
    #[must_use]
    pub fn so_far() -> Option<Self> {
        let mut text = [0; 512];
        let file = File::open("/proc/thread-self/io").ok()?;
        let len = file.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(&text[..len]).ok()?;
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Some(Self { bytes: number("rchar:")?, calls: number("syscr:")? })
    }

    /// Since `before`.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self { bytes: self.bytes - before.bytes, calls: self.calls - before.calls }
    }
}

/// Runs `work`, which reads segments of `bytes` bytes `times` times.
///
/// # Panics
/// When it reads more than it may for what there is.
pub fn bounded<R>(bytes: u64, times: u64, work: impl FnOnce() -> R) -> R {
    let before = Work::so_far();
    let result = work();
    let cost = before.zip(Work::so_far()).map(|(before, after)| after.since(before));
    if let Some(cost) = cost {
        let (most_bytes, most_calls) = (times * (20 * bytes + FREE_BYTES), times * (bytes / 8 + FREE_READS));
        assert!(cost.bytes <= most_bytes && cost.calls <= most_calls, "{cost:?} for {times} x {bytes} bytes");
    }
    result
}
