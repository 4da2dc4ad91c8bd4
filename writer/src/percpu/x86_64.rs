//! The restartable sequences for x86-64.
//!
//! Shape of each: store the address of the section's descriptor into the thread's `rseq_cs`; directly
//! after that store the section starts; read `cpu_id`; leave for the cold path when it is beyond the table
//! or has no block; compute; commit with the one store that is the section's last instruction. The abort
//! handler, preceded by the signature that glibc registered, starts all over: `rseq_cs` is armed anew each
//! time, because the kernel clears it at every abort.
//!
//! Source: Linux `include/uapi/linux/rseq.h`: `cpu_id` at offset 4, `rseq_cs` at 8; descriptor of
//! version, flags, start, post-commit offset, abort address, aligned to 32. Signature: glibc
//! `sysdeps/unix/sysv/linux/x86/bits/rseq.h`, 0x53053053, encoded as the operand of `ud1`.

use crate::local::AtomicUsize;
use std::arch::asm;

/// Whether there is a sequence for this architecture.
pub(super) const SUPPORTED: bool = true;

/// The thread's `cpu_id`.
///
/// # Safety
/// `rseq` is the offset of the rseq area from the thread pointer.
pub(super) unsafe fn cpu_id(rseq: isize) -> u32 {
    let cpu: u32;
    // SAFETY: reads 4 bytes of this thread's rseq area.
    unsafe {
        asm!("mov {cpu:e}, dword ptr fs:[{rseq} + 4]", rseq = in(reg) rseq, cpu = out(reg) cpu,
             options(nostack, readonly, preserves_flags));
    }
    cpu
}

/// Adds `n` in the current CPU's block; false when there is none.
///
/// # Safety
/// `rseq` is the offset of a registered rseq area; `table` has `cpus` entries, each 0 or the address of a
/// block that holds an aligned word at `byte_offset`.
#[inline(always)]
pub(super) unsafe fn add_u64(
    rseq: isize,
    table: *const AtomicUsize,
    cpus: u32,
    byte_offset: usize,
    n: u64,
) -> bool {
    // SAFETY: stores the descriptor's address into this thread's rseq area, as the kernel's interface
    // demands, and one word of the block that the table names.
    unsafe {
        asm!(
            ".pushsection __rseq_cs, \"aw\", @progbits",
            ".balign 32",
            "2:",
            ".long 0, 0",
            ".quad 3f, 4f - 3f, 5f",
            ".popsection",
            "6:",
            "lea {tmp}, [rip + 2b]",
            "mov qword ptr fs:[{rseq} + 8], {tmp}",
            "3:",
            "mov {tmp:e}, dword ptr fs:[{rseq} + 4]",
            "cmp {tmp:e}, {cpus:e}",
            "jae {cold}",
            "mov {tmp}, qword ptr [{table} + {tmp} * 8]",
            "test {tmp}, {tmp}",
            "jz {cold}",
            "add qword ptr [{tmp} + {byte_offset}], {n}",
            "4:",
            ".pushsection .text.rseq_abort, \"ax\", @progbits",
            ".byte 0x0f, 0xb9, 0x3d",
            ".long 0x53053053",
            "5:",
            "jmp 6b",
            ".popsection",
            rseq = in(reg) rseq,
            table = in(reg) table,
            cpus = in(reg) cpus,
            byte_offset = in(reg) byte_offset,
            n = in(reg) n,
            tmp = out(reg) _,
            cold = label { return false },
            options(nostack),
        );
    }
    true
}

/// Adds `x` to a double in the current CPU's block; false when there is none.
///
/// # Safety
/// As [`add_u64`].
#[inline(always)]
pub(super) unsafe fn add_f64(
    rseq: isize,
    table: *const AtomicUsize,
    cpus: u32,
    byte_offset: usize,
    x: f64,
) -> bool {
    // SAFETY: as in add_u64.
    unsafe {
        asm!(
            ".pushsection __rseq_cs, \"aw\", @progbits",
            ".balign 32",
            "2:",
            ".long 0, 0",
            ".quad 3f, 4f - 3f, 5f",
            ".popsection",
            "6:",
            "lea {tmp}, [rip + 2b]",
            "mov qword ptr fs:[{rseq} + 8], {tmp}",
            "3:",
            "mov {tmp:e}, dword ptr fs:[{rseq} + 4]",
            "cmp {tmp:e}, {cpus:e}",
            "jae {cold}",
            "mov {tmp}, qword ptr [{table} + {tmp} * 8]",
            "test {tmp}, {tmp}",
            "jz {cold}",
            "movsd {sum}, qword ptr [{tmp} + {byte_offset}]",
            "addsd {sum}, {x}",
            "movsd qword ptr [{tmp} + {byte_offset}], {sum}",
            "4:",
            ".pushsection .text.rseq_abort, \"ax\", @progbits",
            ".byte 0x0f, 0xb9, 0x3d",
            ".long 0x53053053",
            "5:",
            "jmp 6b",
            ".popsection",
            rseq = in(reg) rseq,
            table = in(reg) table,
            cpus = in(reg) cpus,
            byte_offset = in(reg) byte_offset,
            x = in(xmm_reg) x,
            sum = out(xmm_reg) _,
            tmp = out(reg) _,
            cold = label { return false },
            options(nostack),
        );
    }
    true
}
