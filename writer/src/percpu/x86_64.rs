//! The restartable sequences for x86-64.
//!
//! Each stores the address of its descriptor into the thread's `rseq_cs`; directly after that store the
//! section starts. It reads `cpu_id`, leaves for the cold path when that is beyond the table or has no block,
//! and ends with the one store that commits. The abort handler, preceded by the signature that glibc has
//! registered, starts all over: `rseq_cs` is armed anew each time, because the kernel clears it at every abort.
//!
//! `DELAY` marks the places where the delay tests splice loops in: between any two instructions, also between a
//! comparison and its branch. Here they are empty. The tests instantiate the same macros from this file.
//!
//! Sources: Linux `include/uapi/linux/rseq.h` (`cpu_id` at offset 4, `rseq_cs` at 8; the descriptor is version,
//! flags, start, length, abort address, aligned to 32) and `kernel/rseq.c` (the signature is the word before
//! the abort handler, which lies outside the section). Signature: glibc
//! `sysdeps/unix/sysv/linux/x86/bits/rseq.h`, the operand of a `ud1` that traps when it is run.

use std::arch::asm;

/// Whether there is a sequence for this architecture.
pub(super) const SUPPORTED: bool = true;

/// The signature that glibc registers.
#[allow(dead_code, reason = "the sequences have it as text; tests compare")]
pub(super) const SIGNATURE: u32 = 0x5305_3053;

/// The thread pointer.
pub(super) fn thread_pointer() -> isize {
    let pointer: isize;
    // SAFETY: the x86-64 ABI keeps the thread pointer's own value where it points to.
    unsafe {
        asm!("mov {}, qword ptr fs:[0]", out(reg) pointer, options(nostack, readonly, preserves_flags))
    };
    pointer
}

/// What arms the sequence; a twin that must lose updates leaves it out.
macro_rules! arm {
    (armed) => {
        "mov qword ptr fs:[{rseq} + 8], {tmp}"
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
            ".pushsection __rseq_cs, \"aw\", @progbits",
            ".balign 32",
            "2:",
            ".long 0, 0",
            ".quad 3f, 4f - 3f, 5f",
            ".popsection",
            "6:",
            $delay!(0),
            "lea {tmp}, [rip + 2b]",
            $delay!(1),
            arm!($armed),
            "3:",
            $delay!(2),
            "mov {tmp:e}, dword ptr fs:[{rseq} + 4]",
            $delay!(3),
            "cmp {tmp:e}, {cpus:e}",
            $delay!(4),
            "jae {cold}",
            $delay!(5),
            "mov {tmp}, qword ptr [{table} + {tmp} * 8]",
            $delay!(6),
            "test {tmp}, {tmp}",
            $delay!(7),
            "jz {cold}",
            $delay!(8),
            $first,
            $($delay!($point), $next,)*
            "4:",
            $delay!(15),
            ".pushsection .text.rseq_abort, \"ax\", @progbits",
            ".byte 0x0f, 0xb9, 0x3d",
            ".long 0x53053053",
            "5:",
            "jmp 6b",
            ".popsection",
            rseq = in(reg) $rseq,
            table = in(reg) $table,
            cpus = in(reg) $cpus,
            byte_offset = in(reg) $byte_offset,
            tmp = out(reg) _,
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
            ["add qword ptr [{tmp} + {byte_offset}], {n}"],
            [n = $($n)*,], $extra
        )
    };
}

/// Adds `x` to a double, which is loaded and stored as an integer: on Zen 4 a store reaches the load of the next
/// update sooner by way of the general registers (10 cycles for an update instead of 12).
macro_rules! add_f64 {
    ($armed:ident, $delay:ident, $place:tt, $x:expr, $extra:tt) => {
        sequence!(
            $armed, $delay, $place,
            [
                "mov {word}, qword ptr [{tmp} + {byte_offset}]",
                9, "movq {sum}, {word}",
                10, "addsd {sum}, {x}",
                11, "movq {word}, {sum}",
                12, "mov qword ptr [{tmp} + {byte_offset}], {word}"
            ],
            [x = in(xmm_reg) $x, sum = out(xmm_reg) _, word = out(reg) _,], $extra
        )
    };
}
