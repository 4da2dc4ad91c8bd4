//! What stands in for the kernel under Miri; see `kernel.rs`, whose functions these are.
//!
//! Files are real ones: Miri opens, reads, writes and lengthens them. A mapping of one is memory on the heap that holds
//! what the file holds when its part is first mapped; from then on whoever maps that part gets that memory, and
//! nobody writes it back. So Miri sees every access to a segment, but no second process sees any.
//! A lock belongs to an open file description and ends with its last descriptor and page, as in Linux.
#![allow(unsafe_code, reason = "memory that stands for a mapping")]

use std::alloc::{Layout, alloc_zeroed};
use std::ffi::c_uint;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::sys::statfs::FsType;

use crate::sys::FileId;

/// All that the stand-in remembers.
struct Kernel {
    /// Open file descriptions: each opening makes one.
    descriptions: Vec<Description>,
    /// Pages that were handed out, with the description whose locks each keeps.
    pages: Vec<Option<usize>>,
    locks: Vec<Lock>,
    mappings: Vec<Mapping>,
}

struct Description {
    /// Its descriptor; none once another one has its number.
    fd: Option<i32>,
}

struct Lock {
    description: usize,
    file: FileId,
    offset: u64,
    shared: bool,
}

struct Mapping {
    file: FileId,
    offset: u64,
    len: u64,
    address: NonNull<u8>,
}

// SAFETY: memory that is never freed, and accessed through atomics.
unsafe impl Send for Mapping {}

static KERNEL: Mutex<Kernel> = Mutex::new(Kernel {
    descriptions: Vec::new(),
    pages: Vec::new(),
    locks: Vec::new(),
    mappings: Vec::new(),
});

fn kernel() -> MutexGuard<'static, Kernel> {
    KERNEL.lock().expect("no panic while it is held")
}

impl Kernel {
    fn description(&self, fd: impl AsFd) -> nix::Result<usize> {
        let fd = fd.as_fd().as_raw_fd();
        self.descriptions.iter().rposition(|description| description.fd == Some(fd)).ok_or(Errno::EBADF)
    }

    /// Whether a description has a descriptor or a page yet.
    fn lives(&self, description: usize) -> bool {
        let is_kept = self.pages.contains(&Some(description));
        let is_open = |fd| {
            // SAFETY: only asked whether it is open; its number is no other description's.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            fcntl(fd, FcntlArg::F_GETFD).is_ok()
        };
        is_kept || self.descriptions[description].fd.is_some_and(is_open)
    }

    /// The first lock of another description on `file` that stands in the way of `request`.
    fn obstacle(&self, description: usize, file: FileId, request: &libc::flock) -> Option<&Lock> {
        let excludes = |lock: &&Lock| !lock.shared || libc::c_int::from(request.l_type) == libc::F_WRLCK;
        let others = self.locks.iter().filter(|lock| lock.description != description && lock.file == file);
        let lasting = others.filter(|lock| covers(request, lock.offset) && self.lives(lock.description));
        lasting.filter(excludes).min_by_key(|lock| lock.offset)
    }
}

/// Whether a request is about the byte at `offset`.
fn covers(request: &libc::flock, offset: u64) -> bool {
    let (start, len) = (request.l_start as u64, request.l_len as u64);
    offset >= start && (len == 0 || offset < start + len)
}

/// Opens a file. Miri doesn't know what keeps from waiting; and `/proc/self` is about Miri itself, so it isn't there.
pub(crate) fn open(path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    if path.starts_with("/proc/self") {
        return Err(Errno::ENOENT);
    }
    let fd = nix::fcntl::open(path, flags - OFlag::O_NONBLOCK - OFlag::O_NOCTTY, mode)?;
    let (number, mut kernel) = (Some(fd.as_raw_fd()), kernel());
    for earlier in kernel.descriptions.iter_mut().filter(|description| description.fd == number) {
        earlier.fd = None;
    }
    kernel.descriptions.push(Description { fd: number });
    Ok(fd)
}

/// Whether `fd` can be read and written: the writer opens for nothing else.
pub(crate) fn is_writable(fd: impl AsFd) -> bool {
    kernel().description(fd).is_ok()
}

/// Renames without replacing; exchanges nothing.
pub(crate) fn rename(from: &Path, to: &Path, flags: c_uint) -> nix::Result<()> {
    let _one_at_a_time = kernel();
    if flags != libc::RENAME_NOREPLACE {
        return Err(Errno::EINVAL);
    }
    if to.symlink_metadata().is_ok() {
        return Err(Errno::EEXIST);
    }
    std::fs::rename(from, to).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// What a file lies on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filesystem {
    pub(crate) kind: FsType,
    pub(crate) bytes: u64,
}

impl Filesystem {
    /// A small tmpfs: chunks are small then, too.
    #[allow(clippy::unnecessary_wraps, reason = "kernel.rs has errors")]
    pub(crate) fn of(_: impl AsFd) -> nix::Result<Self> {
        Ok(Self { kind: nix::sys::statfs::TMPFS_MAGIC, bytes: 16 << 20 })
    }
}

/// The length that no file of this process may exceed: none.
#[allow(clippy::unnecessary_wraps, reason = "kernel.rs has errors")]
pub(crate) fn file_size_limit() -> nix::Result<u64> {
    Ok(u64::MAX)
}

/// Makes `len` bytes from `from` on part of the file.
pub(crate) fn allocate(fd: BorrowedFd<'_>, from: u64, len: u64) -> nix::Result<()> {
    nix::fcntl::posix_fallocate(fd, from as i64, len as i64)
}

/// Takes or gives up locks for the open file description of `fd`, without waiting.
pub(crate) fn set_lock(fd: impl AsFd, request: &libc::flock) -> nix::Result<()> {
    let (file, mut kernel) = (FileId::of_fd(&fd)?, kernel());
    let description = kernel.description(&fd)?;
    let kind = libc::c_int::from(request.l_type);
    if kind != libc::F_UNLCK && kernel.obstacle(description, file, request).is_some() {
        return Err(Errno::EAGAIN);
    }
    kernel
        .locks
        .retain(|lock| lock.description != description || lock.file != file || !covers(request, lock.offset));
    if kind != libc::F_UNLCK {
        let (offset, shared) = (request.l_start as u64, kind == libc::F_RDLCK);
        assert_eq!(request.l_len, 1, "the writer locks single bytes");
        kernel.locks.push(Lock { description, file, offset, shared });
    }
    Ok(())
}

/// Finds a lock of another open file description that stands in the way of `request`.
pub(crate) fn find_lock(fd: impl AsFd, request: &mut libc::flock) -> nix::Result<()> {
    let (file, kernel) = (FileId::of_fd(&fd)?, kernel());
    let found = kernel.obstacle(kernel.description(&fd)?, file, request);
    request.l_type = found
        .map_or(libc::F_UNLCK, |lock| if lock.shared { libc::F_RDLCK } else { libc::F_WRLCK })
        as libc::c_short;
    request.l_start = found.map_or(request.l_start, |lock| lock.offset as libc::off_t);
    Ok(())
}

/// The locks of the open file description behind `fd` live until [`drop_locks`]. A number that stands for the page.
pub(crate) fn keep_locks(fd: impl AsFd, _: u64, address: Option<usize>) -> nix::Result<usize> {
    let page = address.map_or_else(reserve_page, Ok)?;
    let mut kernel = kernel();
    kernel.pages[page - 1] = Some(kernel.description(fd)?);
    Ok(page)
}

/// A number that stands for a page.
#[allow(clippy::unnecessary_wraps, reason = "kernel.rs has errors")]
pub(crate) fn reserve_page() -> nix::Result<usize> {
    let mut kernel = kernel();
    kernel.pages.push(None);
    Ok(kernel.pages.len())
}

/// Nobody forks under Miri.
///
/// # Safety
/// None is needed here.
pub(crate) const unsafe fn keep_from_children(_: usize) {}

/// Gives up a page of [`keep_locks`].
///
/// # Safety
/// None is needed here.
pub(crate) unsafe fn drop_locks(page: usize) {
    kernel().pages[page - 1] = None;
}

/// Memory with what the file holds in `len` bytes at `offset`; the same each time.
pub(crate) fn map(fd: BorrowedFd<'_>, offset: u64, len: u64) -> nix::Result<NonNull<u8>> {
    let (file, mut kernel) = (FileId::of_fd(fd)?, kernel());
    if let Some(earlier) = kernel.mappings.iter().find(|made| made.file == file && made.offset == offset) {
        assert_eq!(earlier.len, len, "parts are mapped as a whole");
        return Ok(earlier.address);
    }
    let mut bytes = vec![0; len as usize];
    let copy = File::from(fd.try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
    copy.read_exact_at(&mut bytes, offset).map_err(|_| Errno::EIO)?;
    let layout = Layout::from_size_align(bytes.len(), 4096).map_err(|_| Errno::EINVAL)?;
    // SAFETY: of more than 0 bytes: the writer maps whole chunks.
    let address = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(Errno::ENOMEM)?;
    // SAFETY: as many bytes as were just allocated, which nobody else knows of yet.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address.as_ptr(), bytes.len()) };
    kernel.mappings.push(Mapping { file, offset, len, address });
    Ok(address)
}

/// Keeps the memory: whoever maps the part again needs what it holds.
///
/// # Safety
/// None is needed here.
pub(crate) const unsafe fn unmap(_: NonNull<u8>, _: u64) {}

/// Nobody forks under Miri.
pub(crate) const fn wipe_on_fork(_: NonNull<u8>, _: usize) -> bool {
    true
}
