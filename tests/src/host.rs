//! What hosts do to a library that lives in them: descriptors, limits, directories, `errno`.
#![allow(unsafe_code, reason = "closes descriptors that Rust knows nothing of, on purpose")]

use std::fs::File;
use std::io::Write;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

/// Text that decoys hold, and that must still be all they hold in the end.
pub const DECOY: &[u8] = b"somebody else's file";

/// Closes every descriptor from `first` on.
pub fn close_all(first: u32) {
    // SAFETY: closes what others have open; whoever calls this has nothing open that it still uses.
    unsafe { libc::close_range(first, u32::MAX, 0) };
}

/// Closes every descriptor from 3 on and opens `count` decoys under the same numbers.
///
/// # Errors
/// When a decoy can't be made.
pub fn replace_descriptors(directory: &Path, count: usize) -> std::io::Result<()> {
    close_all(3);
    for n in 0..count {
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(directory.join(format!("decoy-{n}")))?;
        file.write_all(DECOY)?;
        let _ = file.into_raw_fd();
    }
    Ok(())
}

/// Closes every descriptor from 3 on and opens `path` for reading `count` times under the same numbers.
///
/// # Errors
/// When it can't be opened.
pub fn replace_descriptors_by(path: &Path, count: usize) -> std::io::Result<()> {
    close_all(3);
    for _ in 0..count {
        let _ = File::open(path)?.into_raw_fd();
    }
    Ok(())
}

/// The socket that this program has as its standard input, by that very number.
#[must_use]
pub fn input() -> UnixStream {
    // SAFETY: nobody else of this program reads from it, or closes it.
    unsafe { UnixStream::from_raw_fd(0) }
}

/// Moves that socket out of the way, and closes descriptors 0 to 2, as daemons do.
///
/// # Errors
/// When the kernel refuses.
pub fn close_standard() -> nix::Result<UnixStream> {
    // SAFETY: duplicates a descriptor.
    let moved = unsafe { libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 9) };
    Errno::result(moved)?;
    (0..3).for_each(|fd| {
        // SAFETY: nobody of this program uses them from here on.
        unsafe { libc::close(fd) };
    });
    // SAFETY: just made, and owned by nobody else.
    Ok(unsafe { UnixStream::from_raw_fd(moved) })
}

/// Writes to descriptors 0 to 2, as libraries do that print; what the kernel thinks of each.
#[must_use]
pub fn write_standard() -> [bool; 3] {
    [0, 1, 2].map(|fd| {
        let text = b"a line that somebody prints\n";
        // SAFETY: writes valid bytes; a descriptor that isn't open is an error.
        unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) > 0 }
    })
}

/// Sets a soft limit: `files` (descriptors) or `bytes` (file size).
///
/// # Errors
/// When the kernel refuses.
pub fn limit(what: &str, soft: u64) -> nix::Result<()> {
    let resource = if what == "files" { Resource::RLIMIT_NOFILE } else { Resource::RLIMIT_FSIZE };
    let (_, hard) = nix::sys::resource::getrlimit(resource)?;
    setrlimit(resource, soft, hard)
}

/// Lets every descriptor from 3 on live through exec; how many they are.
///
/// # Errors
/// When the kernel refuses.
pub fn leak_descriptors() -> std::io::Result<usize> {
    let entries =
        std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let open: Vec<libc::c_int> = entries.filter_map(|name| name.parse().ok()).filter(|fd| *fd > 2).collect();
    let leak = |fd: &&libc::c_int| {
        // SAFETY: changes a flag of a descriptor; that of the directory is closed by now, which is an error.
        unsafe { libc::fcntl(**fd, libc::F_SETFD, 0) == 0 }
    };
    Ok(open.iter().filter(leak).count())
}

/// Becomes another user, in one group alone.
///
/// # Errors
/// When the kernel refuses.
pub fn become_other(uid: u32, gid: u32) -> nix::Result<()> {
    let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(gid, gid, gid)?;
    nix::unistd::setresuid(uid, uid, uid)
}

/// Ends this thread alone, even where it is the process's first.
pub fn end_this_thread() -> ! {
    loop {
        // SAFETY: the thread's stack and what others borrow of it stay as they are; nothing of it runs any more.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Whether `work` leaves `errno` as it was.
pub fn keeps_errno(work: impl FnOnce()) -> bool {
    Errno::set_raw(4242);
    work();
    Errno::last_raw() == 4242
}
