//! Architectures without a sequence: the caller updates the shared block.

/// Whether there is a sequence for this architecture.
pub(super) const SUPPORTED: bool = false;

/// None that matters.
pub(super) fn thread_pointer() -> isize {
    0
}

/// Adds nothing: the caller does.
macro_rules! add_u64 {
    ($armed:ident, $delay:ident, ($rseq:expr, $table:expr, $cpus:expr, $byte_offset:expr), [$($n:tt)*], $extra:tt) => {{
        let _ = ($rseq, $table, $cpus, $byte_offset);
        return false;
    }};
}

/// Adds nothing: the caller does.
macro_rules! add_f64 {
    ($armed:ident, $delay:ident, ($rseq:expr, $table:expr, $cpus:expr, $byte_offset:expr), $x:expr, $extra:tt) => {{
        let _ = ($rseq, $table, $cpus, $byte_offset, $x);
        return false;
    }};
}
