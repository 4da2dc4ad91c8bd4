//! The socket beside a segment's file over which a reader asks this process to run its callbacks.
#![allow(
    unsafe_code,
    reason = "closes the parent's descriptors in a forked child; a handler for the end of the process"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use dyn_metrics_layout::callbacks::{MAX_SOCKETS, SocketName, process_of};
use dyn_metrics_layout::gauge::Claimant;
use dyn_metrics_layout::process::{Process, STRIDE, SlotWords, lock_offset};
use dyn_metrics_layout::sync::Ordering as Shared;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, fstat};
use nix::unistd::{Gid, UnlinkatFlags, chown, geteuid, unlinkat};

use super::kept::Kept;
use crate::local::{AtomicBool, AtomicI32, Ordering};
use crate::segment::Segment;
use crate::sys;

/// Askers that may wait to be accepted.
const BACKLOG: i32 = 64;
/// Entries of a directory that are looked at for what the dead have left.
const MOST_ENTRIES: usize = 65_536;

/// A socket that listens; its name goes with [`Self::withdraw`], its descriptor with the last reference.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) segment: &'static Segment,
    fd: Kept,
    /// The directory, wherever the host's working directory and root go.
    directory: Kept,
    name: SocketName,
    number: u32,
    claimant: Claimant,
}

/// Listening descriptors of this process, for its children to close; -1 where there is none.
static LISTENING: [AtomicI32; 16] = [const { AtomicI32::new(-1) }; 16];

impl Listener {
    /// Opens a socket for this process's callbacks in `segment`, and removes those that the dead have left.
    pub(super) fn open(segment: &'static Segment) -> nix::Result<Self> {
        let claimant = segment.claimant().map_err(|_| Errno::ENOLCK)?;
        let directory = segment.path.parent().unwrap_or(Path::new("/"));
        clean(segment, directory);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let directory = Kept::new(nix::fcntl::open(directory, flags, Mode::empty())?)?;
        for number in 0..MAX_SOCKETS {
            let name = SocketName::new(segment.header.segment_id, claimant.process_id, number);
            match bind_at(directory.as_fd(), name.as_str()) {
                // Another copy of this library in the process has it.
                Err(Errno::EADDRINUSE) => {}
                Err(errno) => return Err(errno),
                Ok(fd) => {
                    let made = Self { segment, fd, directory, name, number, claimant };
                    made.begin().inspect_err(|_| made.withdraw())?;
                    return Ok(made);
                }
            }
        }
        Err(Errno::EADDRINUSE)
    }

    /// Whoever may read the segment may ask; then says so in the process's slot.
    fn begin(&self) -> nix::Result<()> {
        self.share()?;
        listen(&self.fd, Backlog::new(BACKLOG)?)?;
        note(self.fd.as_fd().as_raw_fd());
        remove_at_exit();
        if let Some(words) = self.words() {
            words.callback_sockets.fetch_or(1 << self.number, Shared::Release); // pairs with: readers' load
        }
        Ok(())
    }

    /// Connecting takes the right to write: it is given to those who may read the segment. The socket was made for its owner
    /// alone.
    fn share(&self) -> nix::Result<()> {
        let file = self.segment.with_fd(|fd| fstat(fd))?;
        let readers = file.st_mode & 0o044;
        // What was bound, and nothing that somebody has put in its place since.
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let inode = openat(&self.directory, self.name.as_str(), flags, Mode::empty())?;
        let found = fstat(&inode)?;
        let is_ours = found.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits()
            && found.st_uid == geteuid().as_raw();
        if !is_ours {
            return Err(Errno::EPERM);
        }
        let path = format!("/proc/self/fd/{}", inode.as_raw_fd());
        if readers != 0 && found.st_gid != file.st_gid {
            chown(path.as_str(), None, Some(Gid::from_raw(file.st_gid)))?;
        }
        // The umask may have cut bits even of the owner's.
        let mode = 0o600 | readers | readers >> 1;
        if found.st_mode & 0o777 == mode {
            return Ok(());
        }
        let follow = FchmodatFlags::FollowSymlink;
        fchmodat(AT_FDCWD, path.as_str(), Mode::from_bits_truncate(mode), follow)
    }

    /// Somebody who has connected.
    pub(super) fn accept(&self) -> nix::Result<OwnedFd> {
        let fd = accept4(self.fd.as_fd().as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        // SAFETY: just made, and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// The words of this process's slot, while it is that.
    fn words(&self) -> Option<&'static SlotWords> {
        let offset = self.segment.header.process_slot(self.claimant.slot);
        let words: &'static SlotWords = self.segment.at(offset).ok()?;
        (words.generation.load(Shared::Relaxed) as u32 == self.claimant.generation).then_some(words)
    }

    /// Ends being asked: no name, and no word of it in the slot. Who has connected gets no answer.
    pub(super) fn withdraw(&self) {
        forget(self.fd.as_fd().as_raw_fd());
        if let Some(words) = self.words() {
            words.callback_sockets.fetch_and(!(1 << self.number), Shared::Relaxed);
        }
        if self.directory.is_ours() {
            let _ = unlinkat(&self.directory, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }

    /// Whether the host has left its socket alone.
    pub(super) fn is_ours(&self) -> bool {
        self.fd.is_ours()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A socket with this name. By the descriptor of its directory: a whole path may be longer than an address.
fn bind_at(directory: BorrowedFd<'_>, name: &str) -> nix::Result<Kept> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // The file gets these bits, less the umask's: nobody else can connect before it is shared.
    fchmod(&fd, Mode::from_bits_truncate(0o600))?;
    let path = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    bind(fd.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    Kept::new(fd)
}

/// Removes the sockets of dead processes of this segment.
fn clean(segment: &'static Segment, directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let ours = |entry: fs::DirEntry| {
        Some((process_of(entry.file_name().as_bytes(), segment.header.segment_id)?, entry.path()))
    };
    // All names first, and then who lives: whoever makes a socket while this goes on holds its slot before.
    let found: Vec<_> = entries.take(MOST_ENTRIES).filter_map(Result::ok).filter_map(ours).collect();
    if found.is_empty() {
        return;
    }
    let living = living_processes(segment);
    for (_, path) in found.iter().filter(|(process, _)| !living.contains(process)) {
        // Also what is no socket: it stands in nobody's way, but under our name.
        if let Err(error) = fs::remove_file(path) {
            log::debug!("{}: left by a dead process and not removed: {error}", path.display());
        }
    }
}

/// The processes that hold a slot.
fn living_processes(segment: &'static Segment) -> BTreeSet<u64> {
    let process_in = |slot| {
        let offset = segment.header.process_slot(slot);
        let mut bytes = [0; STRIDE];
        segment.reach(offset).ok()?.copy(offset, &mut bytes).ok()?;
        let process_id = Process::decode(&bytes, offset).ok().flatten()?.process_id;
        // Where the kernel can't tell, it lives.
        let held = segment.with_fd(|fd| sys::first_lock(fd, lock_offset(slot), 1));
        (!matches!(held, Ok(None))).then_some(process_id)
    };
    (0..segment.header.process_slots).filter_map(process_in).collect()
}

fn note(fd: i32) {
    let free =
        |place: &&AtomicI32| place.compare_exchange(-1, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if LISTENING.iter().find(free).is_none() {
        log::debug!("more sockets than forked children close");
    }
}

fn forget(fd: i32) {
    for place in &LISTENING {
        let _ = place.compare_exchange(fd, -1, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// In a forked child: closes the parent's sockets, which would seem alive for as long as the child. Async-signal-safe.
pub(crate) fn close_in_child() {
    for place in &LISTENING {
        let fd = place.swap(-1, Ordering::AcqRel);
        if fd >= 0 {
            // SAFETY: the copy of a descriptor whose owner is the parent's; nothing in the child uses or closes it.
            unsafe { libc::close(fd) };
        }
    }
}

/// Removes the names of sockets when the process ends by itself.
fn remove_at_exit() {
    static DONE: AtomicBool = AtomicBool::new(false);
    if !DONE.swap(true, Ordering::AcqRel) {
        // SAFETY: a plain function, in an object that is never unloaded.
        unsafe { libc::atexit(at_exit) };
    }
}

extern "C" fn at_exit() {
    let Some(hub) = super::hub::Hub::existing() else { return };
    // Whoever ends while another thread holds the lock leaves the names to the next one who opens a socket.
    if let Some(state) = hub.try_state() {
        state.listeners.iter().for_each(|listener| listener.withdraw());
    }
}
