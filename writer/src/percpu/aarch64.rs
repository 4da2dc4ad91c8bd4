//! The restartable sequences for aarch64.
//!
//! Shape and delays are as in `x86_64.rs`. The thread pointer is read within the sequence, never kept: code that
//! switches stacks may come back in another thread.
//!
//! Sources: as there. Signature: glibc `sysdeps/unix/sysv/linux/aarch64/bits/rseq.h`, a `brk` whose bytes
//! are those of code, little-endian, on every aarch64.

use std::arch::asm;

/// Whether there is a sequence for this architecture.
pub(super) const SUPPORTED: bool = true;

/// The signature that glibc registers.
#[allow(dead_code, reason = "the sequences have it as text; tests compare")]
pub(super) const SIGNATURE: u32 = 0xd428_bc00;

/// The thread pointer.
pub(super) fn thread_pointer() -> isize {
    let pointer: isize;
    // SAFETY: reads a register that user space may read.
    unsafe { asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags)) };
    pointer
}

/// What arms the sequence; a twin that must lose updates leaves it out.
macro_rules! arm {
    (armed) => {
        "str {tmp}, [{area}, #8]"
    };
    (unarmed) => {
        ""
    };
}

/// A sequence that ends with `update`: instructions with a number of a delay between them.
macro_rules! sequence {
    (
        $armed:ident, $delay:ident, ($rseq:expr, $table:expr, $cpus:expr, $byte_offset:expr),
        [$first:literal $(, $point:literal, $next:literal)*], [$($operand:tt)*], [$($extra:tt)*]
    ) => {
        std::arch::asm!(
            ".pushsection __rseq_cs, \"aw\", %progbits",
            ".balign 32",
            "2:",
            ".long 0, 0",
            ".quad 3f, 4f - 3f, 5f",
            ".popsection",
            "6:",
            $delay!(0),
            "mrs {area}, tpidr_el0",
            "add {area}, {area}, {rseq}",
            "adrp {tmp}, 2b",
            "add {tmp}, {tmp}, :lo12:2b",
            $delay!(1),
            arm!($armed),
            "3:",
            $delay!(2),
            "ldr {tmp:w}, [{area}, #4]",
            $delay!(3),
            "cmp {tmp:w}, {cpus:w}",
            $delay!(4),
            "b.hs {cold}",
            $delay!(5),
            "ldr {tmp}, [{table}, {tmp}, lsl #3]",
            $delay!(6),
            "cbz {tmp}, {cold}",
            $delay!(8),
            $first,
            $($delay!($point), $next,)*
            "4:",
            $delay!(15),
            ".pushsection .text.rseq_abort, \"ax\", %progbits",
            ".inst 0xd428bc00",
            "5:",
            "b 6b",
            ".popsection",
            rseq = in(reg) $rseq,
            table = in(reg) $table,
            cpus = in(reg) $cpus,
            byte_offset = in(reg) $byte_offset,
            tmp = out(reg) _,
            area = out(reg) _,
            $($operand)*
            cold = label { return false },
            $($extra)*
            options(nostack),
        )
    };
}

/// Adds the operand `n` to an integer.
macro_rules! add_u64 {
    ($armed:ident, $delay:ident, $place:tt, [$($n:tt)*], $extra:tt) => {
        sequence!(
            $armed, $delay, $place,
            [
                "ldr {word}, [{tmp}, {byte_offset}]",
                9, "add {word}, {word}, {n}",
                10, "str {word}, [{tmp}, {byte_offset}]"
            ],
            [n = $($n)*, word = out(reg) _,], $extra
        )
    };
}

/// Adds `x` to a double.
macro_rules! add_f64 {
    ($armed:ident, $delay:ident, $place:tt, $x:expr, $extra:tt) => {
        sequence!(
            $armed, $delay, $place,
            [
                "ldr {sum:d}, [{tmp}, {byte_offset}]",
                9, "fadd {sum:d}, {sum:d}, {x:d}",
                10, "str {sum:d}, [{tmp}, {byte_offset}]"
            ],
            [x = in(vreg) $x, sum = out(vreg) _,], $extra
        )
    };
}
