//! What the writer asks of the kernel, without surprises: every call that may run in an update's cold path keeps
//! `errno` and allocates nothing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, fstat};

use crate::kernel;
pub(crate) use crate::kernel::is_writable;

/// Nanoseconds since 1970.
pub(crate) fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A random number from the kernel; from the clock should the kernel have none.
pub(crate) fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    let read = File::open("/dev/urandom").and_then(|mut file| io::Read::read_exact(&mut file, &mut bytes));
    let number = u64::from_le_bytes(bytes);
    if read.is_ok() { number } else { unix_ns().wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// The kernel's boot id as two words; zeros where it can't be read.
pub(crate) fn boot_id() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| digits.get(range).and_then(|d| u64::from_str_radix(d, 16).ok()).unwrap_or(0);
    [half(0..16), half(16..32)]
}

/// Number of CPUs that this kernel may ever run: the largest possible CPU number plus one.
pub(crate) fn possible_cpus() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<u32>().ok());
    last.map_or_else(configured_cpus, |n| n.saturating_add(1)).clamp(1, dyn_metrics_layout::header::MAX_CPUS)
}

/// Where `/sys` isn't mounted: what the C library knows, and no less than the CPUs this thread may use.
fn configured_cpus() -> u32 {
    let configured = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF).ok().flatten();
    let usable = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap_or_default();
    let last = (0..nix::sched::CpuSet::count()).rev().find(|cpu| usable.is_set(*cpu).unwrap_or(false));
    let configured = configured.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    configured.max(last.map_or(1, |cpu| cpu as u32 + 1))
}

/// Size of a page, in bytes.
pub(crate) fn page_bytes() -> u32 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|n| u32::try_from(n).ok()).unwrap_or(4096)
}

/// Opens for reading and writing, under a number beyond the standard streams'.
///
/// In a host that has closed those, the next descriptors get their numbers, and what anybody prints would be
/// written into the segment. Std's duplicates are always beyond them.
fn open(path: &Path, flags: OFlag, mode: Mode) -> nix::Result<OwnedFd> {
    let fd = kernel::open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC | flags, mode)?;
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    fd.as_fd().try_clone_to_owned().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}

/// Opens an existing file for reading and writing; never creates, never follows a final symlink, never waits
/// on a FIFO.
pub(crate) fn open_existing(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY, Mode::empty())
}

/// Opens the file behind `fd` anew: a descriptor with an open file description of its own.
pub(crate) fn reopen(fd: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let mut path = [0_u8; 32];
    let text = format_fd_path(fd.as_raw_fd(), &mut path);
    open(text, OFlag::empty(), Mode::empty())
}

/// `/proc/self/fd/N` without allocating.
fn format_fd_path(fd: i32, out: &mut [u8; 32]) -> &Path {
    let prefix = b"/proc/self/fd/";
    out[..prefix.len()].copy_from_slice(prefix);
    let (mut digits, mut count, mut rest) = ([0_u8; 10], 0, fd.unsigned_abs());
    loop {
        digits[count] = b'0' + (rest % 10) as u8;
        count += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    for (at, digit) in digits[..count].iter().rev().enumerate() {
        out[prefix.len() + at] = *digit;
    }
    Path::new(std::ffi::OsStr::from_bytes(&out[..prefix.len() + count]))
}

/// An unnamed file in `directory`.
pub(crate) fn open_unnamed(directory: &Path) -> nix::Result<OwnedFd> {
    open(directory, OFlag::O_TMPFILE, Mode::from_bits_truncate(0o600))
}

/// A new file at `path`, which must not exist.
pub(crate) fn create_new(path: &Path) -> nix::Result<OwnedFd> {
    open(path, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW, Mode::from_bits_truncate(0o600))
}

/// Gives an unnamed file its name; fails with `EEXIST` when the name is taken.
pub(crate) fn link_unnamed(fd: BorrowedFd<'_>, path: &Path) -> nix::Result<()> {
    let mut buffer = [0_u8; 32];
    let source = format_fd_path(fd.as_raw_fd(), &mut buffer);
    let cwd = nix::fcntl::AT_FDCWD;
    nix::unistd::linkat(cwd, source, cwd, path, AtFlags::AT_SYMLINK_FOLLOW)
}

/// What a renaming does with a file that has the new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rename {
    /// Fails because of it.
    NoReplace,
    /// Gives it the old name.
    Exchange,
}

/// Renames without replacing, or exchanges two names.
pub(crate) fn rename(from: &Path, to: &Path, how: Rename) -> nix::Result<()> {
    let flags = match how {
        Rename::NoReplace => libc::RENAME_NOREPLACE,
        Rename::Exchange => libc::RENAME_EXCHANGE,
    };
    kernel::rename(from, to, flags)
}

/// Device and inode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    pub(crate) const fn of(stat: &FileStat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Of what `path` names now; a final symlink is not followed.
    pub(crate) fn at(path: &Path) -> nix::Result<Self> {
        nix::sys::stat::lstat(path).map(|stat| Self::of(&stat))
    }

    pub(crate) fn of_fd(fd: impl AsFd) -> nix::Result<Self> {
        fstat(fd).map(|stat| Self::of(&stat))
    }
}

const fn lock_request(kind: libc::c_int, offset: u64, len: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: offset as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    }
}

/// Takes the write lock on the byte at `offset` for the open file description of `fd`, without waiting.
pub(crate) fn try_lock(fd: impl AsFd, offset: u64) -> nix::Result<bool> {
    match kernel::set_lock(fd, &lock_request(libc::F_WRLCK, offset, 1)) {
        Ok(()) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Takes a read lock on the byte at `offset` for the open file description of `fd`, without waiting.
pub(crate) fn share_lock(fd: impl AsFd, offset: u64) -> nix::Result<()> {
    kernel::set_lock(fd, &lock_request(libc::F_RDLCK, offset, 1))
}

/// Whether another open file description holds a lock on the byte at `offset`, a read lock included.
pub(crate) fn is_shared(fd: impl AsFd, offset: u64) -> nix::Result<bool> {
    let mut request = lock_request(libc::F_WRLCK, offset, 1);
    kernel::find_lock(fd, &mut request)?;
    Ok(libc::c_int::from(request.l_type) != libc::F_UNLCK)
}

/// Gives up the locks on `len` bytes at `offset`; on all behind it when `len` is 0.
pub(crate) fn unlock(fd: impl AsFd, offset: u64, len: u64) -> nix::Result<()> {
    kernel::set_lock(fd, &lock_request(libc::F_UNLCK, offset, len))
}

/// The first byte of `len` from `offset` on which another open file description holds a lock.
pub(crate) fn first_lock(fd: impl AsFd, offset: u64, len: u64) -> nix::Result<Option<u64>> {
    let mut request = lock_request(libc::F_RDLCK, offset, len);
    kernel::find_lock(fd, &mut request)?;
    Ok((libc::c_int::from(request.l_type) != libc::F_UNLCK).then_some(request.l_start as u64))
}

/// How often an allocation that a signal has interrupted is tried again.
const ALLOCATE_ATTEMPTS: usize = 1000;

/// Makes `len` bytes from `from` on part of the file, with every byte allocated.
///
/// Looks at the file size limit first: beyond it the kernel would kill the process.
pub(crate) fn allocate(fd: impl AsFd, from: u64, len: u64) -> nix::Result<()> {
    if from + len > kernel::file_size_limit()? {
        return Err(Errno::EFBIG);
    }
    let attempt = || kernel::allocate(fd.as_fd(), from, len);
    // A signal undoes what was allocated so far. Signals that come faster than a chunk takes must not hold the
    // host here for ever.
    for _ in 0..ALLOCATE_ATTEMPTS {
        match attempt() {
            Err(Errno::EINTR) => (),
            done => return done,
        }
    }
    attempt()
}

/// Keeps `errno` while it lives: cold paths run inside updates, which must not change it.
pub(crate) struct KeepErrno(i32);

impl KeepErrno {
    pub(crate) fn new() -> Self {
        Self(Errno::last_raw())
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        Errno::set_raw(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_s_path_is_formatted_without_allocating() {
        let mut buffer = [0; 32];
        assert_eq!(format_fd_path(0, &mut buffer), Path::new("/proc/self/fd/0"));
        assert_eq!(format_fd_path(10_203, &mut buffer), Path::new("/proc/self/fd/10203"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "/proc/self is about Miri itself")]
    fn a_lock_is_seen_by_another_description_only() {
        let file = tempfile::tempfile().unwrap();
        let fd = file.as_fd();
        assert!(try_lock(fd, 1 << 42).unwrap());
        assert_eq!(first_lock(fd, 1 << 42, 1).unwrap(), None);
        let other = reopen(fd).unwrap();
        assert_eq!(first_lock(&other, 1 << 41, 1 << 42).unwrap(), Some(1 << 42));
        assert!(!try_lock(&other, 1 << 42).unwrap());
        unlock(fd, 1 << 42, 1).unwrap();
        assert!(try_lock(&other, 1 << 42).unwrap());
    }

    #[test]
    fn there_is_at_least_one_cpu_and_a_boot_id() {
        assert!(possible_cpus() >= 1);
        assert_ne!(boot_id(), [0, 0]);
    }
}
