//! What kernels, sandboxes and other libraries do to a thread's rseq registration.
#![allow(unsafe_code, reason = "calls the kernel behind the C library's back, on purpose")]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc;

use crate::delays::{SIGNATURE, rseq_address, rseq_area};

const UNREGISTER: libc::c_int = 1;

fn call(area: usize, bytes: u32, flags: libc::c_int) -> nix::Result<()> {
    // SAFETY: the kernel checks the area; it belongs to this thread or to nobody, and is never freed.
    let done = unsafe { libc::syscall(libc::SYS_rseq, area, bytes, flags, SIGNATURE) };
    Errno::result(done).map(drop)
}

/// Takes this thread's registration away, as a library would that wants the only one for itself.
///
/// # Errors
/// The kernel's.
pub fn unregister() -> nix::Result<()> {
    let (offset, size) = rseq_area().ok_or(Errno::ENOENT)?;
    // The length that glibc registered: 32 at first, later what the kernel knows.
    let lengths = [32, size, size.next_multiple_of(32)];
    let attempts = lengths.map(|bytes| call(rseq_address(offset), bytes, UNREGISTER));
    attempts.into_iter().find(Result::is_ok).unwrap_or(Err(Errno::EINVAL))
}

/// Registers an area of one's own for this thread, as a library did before glibc had one.
///
/// # Errors
/// The kernel's: there may be one only.
pub fn register_own() -> nix::Result<()> {
    #[repr(C, align(64))]
    struct Area([u8; 64]);
    call(std::ptr::from_mut(Box::leak(Box::new(Area([0; 64])))) as usize, 32, 0)
}

/// Has the process that `command` starts live where the kernel, or a sandbox, has no rseq: the call fails with
/// ENOSYS, that of the C library's start too.
pub fn deny(command: &mut Command) {
    // SAFETY: `filter` makes two system calls and allocates nothing.
    unsafe { command.pre_exec(filter) };
}

fn filter() -> std::io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD, 0, 0, 0), // the call's number
        step(EQUAL, 0, 1, libc::SYS_rseq as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: changes this process, which is about to execute another program.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    Errno::result(done)?;
    // SAFETY: the kernel copies the program, which is valid.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    Errno::result(done)?;
    Ok(())
}
