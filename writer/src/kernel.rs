//! The system calls that Miri doesn't know, and nothing else: the whole of the seam between the writer and Miri.
//!
//! Under Miri `kernel/miri.rs` takes this file's place, with the same functions: there a mapping of a file is memory on
//! the heap, and a lock is a line in a table of the process. Everything above, from `Registry::open` down to the
//! cell, is the same code in both, without a `cfg(miri)`.
#![allow(unsafe_code, reason = "maps files; renameat2, for which musl has no function")]

use std::ffi::{CStr, c_uint};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::NonNull;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fcntl};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::Mode;
use nix::sys::statfs::{FsType, fstatfs};

/// Opens a file.
pub(crate) fn open(path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    nix::fcntl::open(path, flags, mode)
}

/// Whether `fd` can be read and written.
pub(crate) fn is_writable(fd: impl AsFd) -> bool {
    fcntl(fd, FcntlArg::F_GETFL).is_ok_and(|flags| flags & libc::O_ACCMODE == libc::O_RDWR)
}

/// `renameat2` with these flags.
pub(crate) fn rename(from: &Path, to: &Path, flags: c_uint) -> nix::Result<()> {
    let call = |from: &CStr, to: &CStr| {
        let cwd = libc::AT_FDCWD;
        // SAFETY: two strings that end with NUL; the kernel reads them and touches no other memory.
        unsafe { libc::syscall(libc::SYS_renameat2, cwd, from.as_ptr(), cwd, to.as_ptr(), flags) }
    };
    let done = from.with_nix_path(|from| to.with_nix_path(|to| call(from, to)))??;
    Errno::result(done).map(drop)
}

/// What a file lies on: its type, and its bytes in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filesystem {
    pub(crate) kind: FsType,
    pub(crate) bytes: u64,
}

impl Filesystem {
    pub(crate) fn of(fd: impl AsFd) -> nix::Result<Self> {
        let stat = fstatfs(fd)?;
        let block = u64::try_from(stat.block_size()).unwrap_or(4096);
        Ok(Self { kind: stat.filesystem_type(), bytes: stat.blocks().saturating_mul(block) })
    }
}

/// The length that no file of this process may exceed.
pub(crate) fn file_size_limit() -> nix::Result<u64> {
    getrlimit(Resource::RLIMIT_FSIZE).map(|(soft, _)| soft)
}

/// Makes `len` bytes from `from` on part of the file, with every byte allocated.
pub(crate) fn allocate(fd: BorrowedFd<'_>, from: u64, len: u64) -> nix::Result<()> {
    nix::fcntl::fallocate(fd, FallocateFlags::empty(), from as i64, len as i64)
}

/// Takes or gives up locks for the open file description of `fd`, without waiting.
pub(crate) fn set_lock(fd: impl AsFd, request: &libc::flock) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_OFD_SETLK(request)).map(drop)
}

/// Finds a lock of another open file description that stands in the way of `request`.
pub(crate) fn find_lock(fd: impl AsFd, request: &mut libc::flock) -> nix::Result<()> {
    fcntl(fd, FcntlArg::F_OFD_GETLK(request)).map(drop)
}

/// Maps a page of the file at `offset`, far beyond its end and without access, at `address` if that was reserved: the
/// locks of the open file description behind `fd` live as long as the mapping. Its address. Async-signal-safe.
pub(crate) fn keep_locks(fd: impl AsFd, offset: u64, address: Option<usize>) -> nix::Result<usize> {
    let fixed = if address.is_some() { libc::MAP_FIXED } else { 0 };
    map_page(address.unwrap_or(0), libc::MAP_SHARED | fixed, fd.as_fd().as_raw_fd(), offset)
}

/// Reserves the address of a page for [`keep_locks`]. Async-signal-safe.
pub(crate) fn reserve_page() -> nix::Result<usize> {
    map_page(0, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
}

fn map_page(address: usize, flags: i32, fd: i32, offset: u64) -> nix::Result<usize> {
    let (len, offset) = (crate::sys::page_bytes() as usize, offset as libc::off_t);
    // SAFETY: a mapping without access, at an address of the kernel's choice or over a page that was reserved for it.
    let page = unsafe { libc::mmap(address as *mut libc::c_void, len, libc::PROT_NONE, flags, fd, offset) };
    if page == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(page as usize) }
}

/// Keeps the page of [`keep_locks`] from forked children.
///
/// # Safety
/// `page` is such a page.
pub(crate) unsafe fn keep_from_children(page: usize) {
    // SAFETY: the advice concerns forked children only, which don't miss the page.
    unsafe { libc::madvise(page as *mut _, crate::sys::page_bytes() as usize, libc::MADV_DONTFORK) };
}

/// Gives up the page of [`keep_locks`], and with it the locks unless a descriptor keeps them.
///
/// # Safety
/// `page` is such a page, given up once.
pub(crate) unsafe fn drop_locks(page: usize) {
    // SAFETY: the caller's; nobody ever reads or writes the page.
    unsafe { libc::munmap(page as *mut libc::c_void, crate::sys::page_bytes() as usize) };
}

/// Shared, writable mapping of `len` bytes at `offset`; left out of core dumps.
pub(crate) fn map(fd: BorrowedFd<'_>, offset: u64, len: u64) -> nix::Result<NonNull<u8>> {
    let length = NonZeroUsize::new(len as usize).ok_or(Errno::EINVAL)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, offset as i64) }?;
    // SAFETY: the range was just mapped; the advice only concerns core dumps.
    let _ = unsafe { madvise(address, len as usize, MmapAdvise::MADV_DONTDUMP) };
    Ok(address.cast())
}

/// Undoes [`map`].
///
/// # Safety
/// Nobody has, or will have, a reference into the mapping.
pub(crate) unsafe fn unmap(address: NonNull<u8>, len: u64) {
    // SAFETY: the caller's.
    let _ = unsafe { libc::munmap(address.as_ptr().cast(), len as usize) };
}

/// Has forked children find zeros in anonymous memory; false when the kernel (before Linux 4.14) can't.
pub(crate) fn wipe_on_fork(address: NonNull<u8>, len: usize) -> bool {
    // SAFETY: the advice concerns forked children only.
    unsafe { libc::madvise(address.as_ptr().cast(), len, libc::MADV_WIPEONFORK) == 0 }
}
