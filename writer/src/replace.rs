//! Putting a new segment under an old one's name.
//!
//! The new file is linked as `NAME.superseded-ID` and takes the name by exchange, so at every moment the name
//! leads to a whole segment, and the old one stays readable beside it. A replacer that dies before the
//! exchange leaves a segment of zeros, after it a finished replacement.

use std::ffi::OsStr;
use std::fs::{DirEntry, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dyn_metrics_layout::file::{SUPERSEDED_INFIX, superseded_base};
use dyn_metrics_layout::header::{self, Header};
use dyn_metrics_layout::process::{self, LOCK_BASE, LOCK_STRIDE, REPLACE_LOCK};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::birth;
use crate::error::{Error, Result};
use crate::options::Builder;
use crate::sys::{self, FileId, Rename};

/// What remains of the old segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// It stays as a superseded file, whose totals readers merge.
    Superseded,
    /// Nothing: start from zero.
    Nothing,
}

/// How often, a millisecond apart, a lock that somebody else holds is tried.
const LOCK_ATTEMPTS: usize = 1000;

/// Replaces the file behind `old` by a new segment, unless the name leads elsewhere by now.
pub(crate) fn replace(old: &OwnedFd, options: &Builder, keep: Keep) -> Result<()> {
    let path = &options.path;
    let io = |action| move |errno: Errno| Error::Io { path: path.clone(), action, source: errno.into() };
    // A description of its own, so that the lock ends with it.
    let lock = sys::reopen(old.as_fd()).map_err(io("open it again"))?;
    take_lock(&lock, path)?;
    let replaced = replace_locked(&lock, old, options, keep);
    // Closing is not enough: a child that was forked meanwhile has the descriptor, too.
    let _ = sys::unlock(&lock, REPLACE_LOCK, 1);
    replaced
}

fn replace_locked(lock: &OwnedFd, old: &OwnedFd, options: &Builder, keep: Keep) -> Result<()> {
    let path = &options.path;
    let io = |action| move |errno: Errno| Error::Io { path: path.clone(), action, source: errno.into() };
    if FileId::at(path).ok() != FileId::of_fd(old).ok() {
        return Ok(()); // somebody else has replaced it
    }
    if keep == Keep::Nothing && !options.force {
        refuse_in_use(lock, path)?;
    }
    // Listed before the exchange: after it the next replacer may make its new file under such a name.
    let earlier = if keep == Keep::Nothing { superseded_files(path) } else { Vec::new() };
    let aside = superseded_name(path);
    let heir = fstat(old).map_or_else(|_| options.clone(), |stat| options.clone().inheriting(&stat));
    if birth::create(&aside, &heir)?.is_none() {
        return Ok(()); // the random name is taken: the caller looks again
    }
    if let Err(errno) = sys::rename(&aside, path, Rename::Exchange) {
        let _ = std::fs::remove_file(&aside);
        return Err(io("exchange the new file with it")(errno));
    }
    mark_superseded(lock);
    log::info!("{}: replaced; the old segment is {}", path.display(), aside.display());
    if keep == Keep::Nothing {
        // Who attached since the first look counts into the old file: then it stays.
        let in_use = !options.force && refuse_in_use(lock, path).is_err();
        if in_use {
            log::warn!(
                "{}: a process attached meanwhile; its totals stay in {}",
                path.display(),
                aside.display()
            );
        }
        for file in earlier.iter().chain((!in_use).then_some(&aside)) {
            let _ = std::fs::remove_file(file);
        }
    }
    Ok(())
}

fn take_lock(lock: &OwnedFd, path: &Path) -> Result<()> {
    for _ in 0..LOCK_ATTEMPTS {
        match sys::try_lock(lock, REPLACE_LOCK) {
            Ok(true) => return Ok(()),
            Ok(false) => std::thread::sleep(Duration::from_millis(1)),
            Err(errno) => {
                let path = path.to_owned();
                return Err(Error::Io { path, action: "lock it for replacement", source: errno.into() });
            }
        }
    }
    Err(Error::Busy { path: path.to_owned() })
}

fn refuse_in_use(file: &OwnedFd, path: &Path) -> Result<()> {
    let len = u64::from(header::MAX_PROCESSES) * LOCK_STRIDE;
    if let Ok(Some(locked)) = sys::first_lock(file, LOCK_BASE, len) {
        let slot = process::slot_of_lock(locked, header::MAX_PROCESSES).unwrap_or(0);
        return Err(Error::InUse { path: path.to_owned(), pid: pid_in_slot(file, slot) });
    }
    // Without a slot: a forked child that only counts, or a process beyond the number of slots.
    if sys::is_shared(file, process::USERS_LOCK) == Ok(true) {
        return Err(Error::InUse { path: path.to_owned(), pid: None });
    }
    Ok(())
}

/// The pid that the process in `slot` has written, read past the map.
fn pid_in_slot(fd: &OwnedFd, slot: u32) -> Option<u32> {
    let file = File::from(fd.try_clone().ok()?);
    let mut head = [0; header::BYTES];
    file.read_exact_at(&mut head, 0).ok()?;
    let header = Header::decode(&head, file.metadata().ok()?.len()).ok()?;
    let (offset, mut bytes) = (header.process_slot(slot), [0; process::STRIDE]);
    file.read_exact_at(&mut bytes, offset).ok()?;
    process::Process::decode(&bytes, offset).ok()?.map(|record| record.pid)
}

/// Writes the mark into the old file, unless that ends before it; what can't be marked readers merge all the same.
fn mark_superseded(fd: &OwnedFd) {
    let is_whole = |file: &File| file.metadata().is_ok_and(|meta| meta.len() >= header::BYTES as u64);
    if let Some(file) = fd.try_clone().map(File::from).ok().filter(is_whole) {
        let _ = file.write_all_at(&header::STATE_SUPERSEDED.to_le_bytes(), header::STATE);
    }
}

fn superseded_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{SUPERSEDED_INFIX}{:016x}", sys::random()));
    PathBuf::from(name)
}

/// Every superseded file of `path`.
fn superseded_files(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().map(OsStr::as_encoded_bytes) else { return Vec::new() };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let Ok(entries) = std::fs::read_dir(directory.unwrap_or(Path::new("."))) else { return Vec::new() };
    let named = |entry: &DirEntry| {
        let file = entry.file_name();
        superseded_base(file.as_encoded_bytes()).is_some_and(|end| file.as_encoded_bytes()[..end] == *name)
    };
    entries.flatten().filter(named).map(|entry| entry.path()).collect()
}
