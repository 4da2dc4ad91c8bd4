//! A segment's file: opened with care, read by `pread`, asked about locks and holes.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dyn_metrics_layout::header::{self, Header};
use dyn_metrics_layout::process::{USERS_LOCK, lock_offset};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{Whence, lseek};

use crate::error::{Error, Result};
use crate::permission::Permissions;

/// What tells two files apart for as long as one of them is open.
pub(crate) type FileId = (u64, u64);

/// An open segment file whose header was valid.
#[derive(Debug)]
pub(crate) struct SegmentFile {
    file: File,
    path: PathBuf,
    id: FileId,
    uid: u32,
    /// Whether its filesystem is one in memory, which tells exactly what is allocated.
    is_in_memory: bool,
    header: Header,
    header_bytes: Box<[u8]>,
}

impl SegmentFile {
    /// Opens the file at `path` without following a symbolic link, without waiting for a FIFO's writer, and
    /// reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let meta = path.symlink_metadata().map_err(|error| failed(path, "stat", error))?;
        expect_regular(path, &meta)?;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| failed(path, "open", error))?;
        Self::of(file, path)
    }

    /// The same file with the header that it has now.
    pub(crate) fn again(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|error| failed(&self.path, "open", error))?;
        Self::of(file, &self.path)
    }

    fn of(file: File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|error| failed(path, "stat", error))?;
        expect_regular(path, &meta)?;
        let header_bytes = read_start(&file).map_err(|error| failed(path, "read", error))?;
        let header = Header::decode(&header_bytes, meta.len()).map_err(|e| Error::format(path, e))?;
        let (path, id, uid) = (path.to_owned(), id_of(&meta), meta.uid());
        let is_in_memory = fstatfs(&file).is_ok_and(|stat| stat.filesystem_type() == TMPFS_MAGIC);
        Ok(Self { file, path, id, uid, is_in_memory, header, header_bytes })
    }

    pub(crate) const fn id(&self) -> FileId {
        self.id
    }

    /// Its owner.
    pub(crate) const fn uid(&self) -> u32 {
        self.uid
    }

    /// Bytes that its filesystem has left; none when it has no limit, or can't tell.
    pub(crate) fn filesystem_free(&self) -> Option<u64> {
        let stat = fstatvfs(&self.file).ok().filter(|stat| stat.blocks() > 0)?;
        Some(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    /// The header's bytes as they were at opening.
    pub(crate) fn header_bytes(&self) -> &[u8] {
        &self.header_bytes
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn set_path(&mut self, path: &Path) {
        if self.path != path {
            self.path = path.to_owned();
        }
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Its length now, as far as it is the segment's.
    pub(crate) fn len(&self) -> Result<u64> {
        self.full_len().map(|len| self.header.readable(len))
    }

    /// Its length now.
    pub(crate) fn full_len(&self) -> Result<u64> {
        let meta = self.file.metadata().map_err(|error| failed(&self.path, "stat", error))?;
        Ok(meta.len())
    }

    /// Bytes that are allocated for it; none where the filesystem doesn't tell exactly.
    pub(crate) fn allocated(&self) -> Option<u64> {
        let meta = self.file.metadata().ok().filter(|_| self.is_in_memory)?;
        Some(meta.blocks().saturating_mul(512))
    }

    /// Fills `out` from `offset`; false when the file ends before.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        self.file.read_exact_at(out, offset).is_ok()
    }

    /// The word at `offset`; none when the file ends before.
    pub(crate) fn word(&self, offset: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(offset, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// Reads from `offset` as much as there is, at most `out.len()` bytes.
    pub(crate) fn read_some(&self, offset: u64, out: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        filled
    }

    /// First offset at or after `offset` that is no hole; none when only holes follow.
    ///
    /// A filesystem that can't tell has no holes.
    pub(crate) fn next_data(&self, offset: u64) -> Option<u64> {
        let Ok(at) = i64::try_from(offset) else { return None };
        match lseek(&self.file, at, Whence::SeekData) {
            Ok(found) => u64::try_from(found).ok(),
            Err(nix::Error::ENXIO) => None,
            Err(_) => Some(offset),
        }
    }

    /// The ranges between `start` and `end` that are no holes, in order.
    ///
    /// Holes are zero. Reading them through a map would allocate them, and reading them at all is a waste: what a file
    /// costs is thus bounded by what is allocated for it, whatever length it claims. Cost: two system calls for each
    /// range.
    pub(crate) fn data(&self, start: u64, end: u64) -> impl Iterator<Item = Range<u64>> {
        let mut at = start;
        std::iter::from_fn(move || {
            let data = if at < end { self.next_data(at).filter(|data| *data < end)? } else { return None };
            // One who can't tell, or a range that vanishes meanwhile: all of it.
            at = self.next_hole(data).filter(|hole| *hole > data).unwrap_or(end).min(end);
            Some(data..at)
        })
    }

    fn next_hole(&self, offset: u64) -> Option<u64> {
        let found = lseek(&self.file, i64::try_from(offset).ok()?, Whence::SeekHole).ok()?;
        u64::try_from(found).ok()
    }

    /// Whether a process holds the lock of `slot`: whether the slot's owner lives.
    ///
    /// Cost: one system call. If the kernel can't tell, the owner counts as living.
    pub(crate) fn slot_is_held(&self, slot: u32) -> bool {
        self.is_locked(libc::F_RDLCK, lock_offset(slot))
    }

    /// Whether a process may still count into the file: also one without a slot. Cost, doubt: as above.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_locked(libc::F_WRLCK, USERS_LOCK)
    }

    /// Whether somebody holds a lock that conflicts with one of this kind.
    fn is_locked(&self, kind: libc::c_int, offset: u64) -> bool {
        let mut lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: offset as libc::off_t,
            l_len: 1,
            l_pid: 0,
        };
        match fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut lock)) {
            Ok(_) => i32::from(lock.l_type) != libc::F_UNLCK,
            Err(_) => true,
        }
    }
}

/// What is known of a file without opening it.
#[derive(Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) id: FileId,
    /// When its inode last changed.
    pub(crate) changed: (i64, i64),
    pub(crate) uid: u32,
}

impl Stat {
    /// Of the file at `path`; none when there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let meta = path.symlink_metadata().ok()?;
        Some(Self { id: id_of(&meta), changed: (meta.ctime(), meta.ctime_nsec()), uid: meta.uid() })
    }
}

fn id_of(meta: &Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

fn expect_regular(path: &Path, meta: &Metadata) -> Result<()> {
    if meta.is_file() {
        Ok(())
    } else {
        Err(Error::NotAFile { path: path.to_owned(), found: type_name(meta.file_type()) })
    }
}

fn type_name(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "directory",
        kind if kind.is_symlink() => "symbolic link",
        kind if kind.is_fifo() => "FIFO",
        kind if kind.is_socket() => "socket",
        _ => "device",
    }
}

fn read_start(file: &File) -> io::Result<Box<[u8]>> {
    let mut bytes = vec![0; header::BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

fn failed(path: &Path, action: &'static str, error: io::Error) -> Error {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) => Error::NotFound { path: path.to_owned() },
        (ErrorKind::PermissionDenied, _) => {
            Error::PermissionDenied { path: path.to_owned(), permissions: Permissions::of(path) }
        }
        (_, Some(libc::ELOOP)) => Error::NotAFile { path: path.to_owned(), found: "symbolic link" },
        _ => Error::io(path, action, error),
    }
}
