//! Opening a segment by name: check what is there, create what isn't, replace what must be.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use dyn_metrics_layout::header::{self, Header};
use dyn_metrics_layout::{self as layout, index};
use nix::errno::Errno;
use nix::sys::stat::{FileStat, SFlag, fstat, lstat};

use crate::birth::{self, check_filesystem, denied};
use crate::error::{Error, Result};
use crate::kernel::Filesystem;
use crate::options::Builder;
use crate::replace::{Keep, replace};
use crate::segment::Segment;
use crate::sys::{self, FileId};

/// How often a lost race for the name is tried again.
const ATTEMPTS: usize = 32;

/// What the name leads to.
enum Found {
    /// A segment to attach to.
    Segment(OwnedFd, FileId, Header),
    /// Bytes of ours that can't be used, and may be replaced by their owner.
    Replaceable(OwnedFd, layout::Error),
    /// The name changed meanwhile.
    Again,
}

/// Attaches to the segment that the options name; creates it when there is none.
///
/// # Errors
/// [`Error`]; what the name leads to is unchanged then.
pub(crate) fn open(options: &Builder) -> Result<&'static Segment> {
    let path = &options.path;
    let mut fresh = options.fresh;
    for _ in 0..ATTEMPTS {
        match look(options)? {
            None => {
                if let Some(fd) = birth::create(path, options)? {
                    log::debug!("{}: created", path.display());
                    drop(fd);
                }
                fresh = false;
            }
            Some(Found::Again) => (),
            Some(Found::Replaceable(fd, fault)) => {
                let owner = fstat(&fd).map_or(u32::MAX, |stat| stat.st_uid);
                let me = nix::unistd::geteuid().as_raw();
                if me != owner && me != 0 {
                    return Err(Error::Format { path: path.clone(), source: fault });
                }
                log::warn!("{}: {fault}; replacing it", path.display());
                replace(&fd, options, Keep::Superseded)?;
            }
            Some(Found::Segment(fd, ..)) if fresh => {
                replace(&fd, options, Keep::Nothing)?;
                fresh = false;
            }
            Some(Found::Segment(fd, id, header)) => {
                if let Some(listed) = Segment::find(id) {
                    return Ok(listed);
                }
                let segment = Segment::adopt(fd, id, header, options)?;
                log_attached(segment);
                return Ok(segment);
            }
        }
    }
    Err(Error::Busy { path: path.clone() })
}

fn log_attached(segment: &Segment) {
    let path = segment.path.display();
    log::debug!("{path}: attached ({:?})", crate::percpu::path());
    if !segment.same_boot {
        log::warn!(
            "{path}: made before the last reboot: updates are slower, gauges stay private; use `fresh`"
        );
    }
}

/// Opens and checks what the name leads to; none when there is nothing.
fn look(options: &Builder) -> Result<Option<Found>> {
    let path = &options.path;
    let absent = |errno| if errno == Errno::ENOENT { Ok(None) } else { Err(cannot_open(path, errno)) };
    // Before it is opened: opening alone wakes who waits at a FIFO, and starts some devices.
    match lstat(path) {
        Ok(stat) => check_kind(path, &stat)?,
        Err(errno) => return absent(errno),
    }
    let fd = match sys::open_existing(path) {
        Ok(fd) => fd,
        Err(errno) => return absent(errno),
    };
    let io = |action| move |errno: Errno| Error::Io { path: path.clone(), action, source: errno.into() };
    let stat = fstat(&fd).map_err(io("look at it"))?;
    check_file(path, &stat, options)?;
    if stat.st_nlink == 0 {
        return Ok(Some(Found::Again));
    }
    let filesystem = Filesystem::of(&fd).map_err(io("look at its filesystem"))?;
    check_filesystem(path, filesystem.kind)?;
    read(fd, path, &stat).map(Some)
}

fn cannot_open(path: &Path, errno: Errno) -> Error {
    let path = path.to_owned();
    match errno {
        Errno::ELOOP => Error::NotRegular { path, found: "symbolic link" },
        Errno::EACCES | Errno::EPERM => {
            let remedy =
                "run as its owner, or let its creator set a group (mode 0660) that this process is in";
            denied(&path, "open it for reading and writing", &path, remedy)
        }
        _ => Error::Io { path, action: "open it", source: errno.into() },
    }
}

fn check_kind(path: &Path, stat: &FileStat) -> Result<()> {
    let found = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => return Ok(()),
        SFlag::S_IFLNK => "symbolic link",
        SFlag::S_IFIFO => "FIFO",
        SFlag::S_IFDIR => "directory",
        SFlag::S_IFSOCK => "socket",
        _ => "device",
    };
    Err(Error::NotRegular { path: path.to_owned(), found })
}

fn check_file(path: &Path, stat: &FileStat, options: &Builder) -> Result<()> {
    check_kind(path, stat)?;
    let me = nix::unistd::geteuid().as_raw();
    let trusted = stat.st_uid == me || stat.st_uid == 0 || options.allowed_uids.contains(&stat.st_uid);
    if !trusted {
        return Err(Error::Owner { path: path.to_owned(), found: stat.st_uid, expected: me });
    }
    if stat.st_nlink > 1 {
        #[allow(clippy::unnecessary_cast, reason = "32 bits wide on aarch64")]
        let found = stat.st_nlink as u64;
        return Err(Error::Links { path: path.to_owned(), found });
    }
    Ok(())
}

/// Reads and checks header and first index table.
fn read(fd: OwnedFd, path: &Path, stat: &FileStat) -> Result<Found> {
    let io = |source| Error::Io { path: path.to_owned(), action: "read it", source };
    let file = File::from(fd);
    let bytes = u64::try_from(stat.st_size).unwrap_or(0);
    let mut head = vec![0_u8; header::BYTES.min(bytes as usize)];
    file.read_exact_at(&mut head, 0).map_err(io)?;
    let decoded = Header::decode(&head, bytes).and_then(|header| {
        let bits = header.ro_compat & !header::KNOWN_RO_COMPAT;
        if bits != 0 {
            return Err(layout::Error::UnknownFeatures { bits });
        }
        let mut table = [0; 16];
        // A short read leaves zeros, which no table header is.
        let _ = file.read_exact_at(&mut table, header.index);
        index::decode_header(&table, header.index)?;
        check_length(&file, &head, &header)?;
        Ok(header)
    });
    let fd = OwnedFd::from(file);
    match decoded {
        Ok(header) => Ok(Found::Segment(fd, FileId::of(stat), header)),
        Err(fault @ layout::Error::Corrupt { .. }) => Ok(Found::Replaceable(fd, fault)),
        Err(fault @ layout::Error::BadVersion { found, supported }) if found < supported => {
            Ok(Found::Replaceable(fd, fault))
        }
        Err(source) => Err(Error::Format { path: path.to_owned(), source }),
    }
}

/// Refuses a file that ends before what is reserved in it: touching that would be a SIGBUS.
///
/// Looks at the length after the header was read: a segment in use grows first and reserves then.
fn check_length(file: &File, head: &[u8], header: &Header) -> layout::Result<()> {
    let at = header::RESERVED_END as usize;
    let end = head[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let (what, offset) = ("end of reserved space", header::RESERVED_END);
    if end < header.data {
        return Err(layout::Error::Corrupt { what, offset, found: end, expected: header.data });
    }
    let bytes = file.metadata().map_or(0, |meta| meta.len());
    if end > bytes {
        return Err(layout::Error::Corrupt { what, offset, found: end, expected: bytes });
    }
    Ok(())
}
