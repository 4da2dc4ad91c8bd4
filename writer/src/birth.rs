//! Making a new segment: complete before it has a name.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::file::{BIRTH_INFIX, birth_base, superseded_base};
use dyn_metrics_layout::header::{self, Header};
use dyn_metrics_layout::index;
use dyn_metrics_layout::process::{self, REPLACE_LOCK};
use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::Gid;

use crate::error::{Error, Result};
use crate::kernel::Filesystem;
use crate::options::Builder;
use crate::sys::{self, Rename};

/// How often a temporary name that somebody has removed is made anew.
const ATTEMPTS: usize = 8;

/// Makes a segment under `path`; none when somebody else made one first.
pub(crate) fn create(path: &Path, options: &Builder) -> Result<Option<OwnedFd>> {
    remove_abandoned(path);
    let directory = directory_of(path);
    match sys::open_unnamed(directory) {
        Ok(fd) => {
            fill(&fd, path, options)?;
            match sys::link_unnamed(fd.as_fd(), path) {
                // The name of a descriptor leads nowhere where /proc isn't mounted.
                Err(Errno::ENOENT) if directory.exists() => {
                    drop(fd); // its space may be all there is
                    create_by_rename(path, options)
                }
                linked => named(linked, path, fd),
            }
        }
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => create_by_rename(path, options),
        Err(errno) => Err(failed(path, "create a file in its directory", errno)),
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// For filesystems without unnamed files: a temporary name, renamed without replacing.
fn create_by_rename(path: &Path, options: &Builder) -> Result<Option<OwnedFd>> {
    for _ in 0..ATTEMPTS {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{BIRTH_INFIX}{:016x}", sys::random()));
        let temporary = PathBuf::from(name);
        let fd = sys::create_new(&temporary)
            .map_err(|errno| failed(path, "create a file in its directory", errno))?;
        // Until it has its name: whoever finds it unlocked takes its maker for dead.
        let _ = sys::try_lock(&fd, REPLACE_LOCK);
        let renamed = fill(&fd, path, options).map(|()| sys::rename(&temporary, path, Rename::NoReplace));
        if matches!(renamed, Ok(Err(Errno::ENOENT))) && directory_of(path).exists() {
            continue; // found before it was locked
        }
        // Closing is not enough: a forked child may have the descriptor.
        let _ = sys::unlock(&fd, REPLACE_LOCK, 1);
        let made = renamed.and_then(|renamed| named(renamed, path, fd));
        if !matches!(made, Ok(Some(_))) {
            let _ = std::fs::remove_file(&temporary);
        }
        return made;
    }
    Err(Error::Busy { path: path.to_owned() })
}

/// Removes temporary files of this segment, and of those that were to replace it, whose makers have died.
fn remove_abandoned(path: &Path) {
    let base = |name: &[u8]| superseded_base(name).unwrap_or(name.len());
    let Some(name) = path.file_name().map(OsStr::as_encoded_bytes) else { return };
    let Ok(entries) = std::fs::read_dir(directory_of(path)) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name();
        let Some(end) = birth_base(file.as_encoded_bytes()) else { continue };
        let (made, random) = (&file.as_encoded_bytes()[..end], &file.as_encoded_bytes()[end..]);
        let is_ours = is_temporary(random) && made[..base(made)] == name[..base(name)];
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let Ok(fd) = sys::open_existing(&entry.path()) else { continue };
        if sys::try_lock(&fd, REPLACE_LOCK) == Ok(true) {
            // Gone by now if its maker lives and was faster.
            if std::fs::remove_file(entry.path()).is_ok() {
                log::info!("{}: removed, its maker had died", entry.path().display());
            }
        }
    }
}

/// Whether a name that ends so is one of [`create_by_rename`], and not one that somebody has chosen.
fn is_temporary(end: &[u8]) -> bool {
    let digits = end.strip_prefix(BIRTH_INFIX.as_bytes()).unwrap_or_default();
    digits.len() == 16 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

fn named(linked: nix::Result<()>, path: &Path, fd: OwnedFd) -> Result<Option<OwnedFd>> {
    match linked {
        Ok(()) => Ok(Some(fd)),
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(failed(path, "give it its name", errno)),
    }
}

fn failed(path: &Path, action: &'static str, errno: Errno) -> Error {
    match errno {
        Errno::ENOSPC | Errno::EDQUOT => Error::Full {
            path: path.to_owned(),
            what: "a new segment",
            reason: format!("filesystem full ({errno}); remedy: remove files there or enlarge it"),
        },
        Errno::EFBIG => Error::Full {
            path: path.to_owned(),
            what: "a new segment",
            reason: "file size limit (RLIMIT_FSIZE) reached; remedy: raise ulimit -f".to_owned(),
        },
        Errno::EACCES | Errno::EPERM => {
            let remedy = "choose a directory (DYN_METRICS_SHM) and group that this user may use";
            denied(path, action, directory_of(path), remedy)
        }
        Errno::ENOENT => {
            Error::NoDirectory { path: path.to_owned(), directory: directory_of(path).to_owned() }
        }
        _ => Error::Io { path: path.to_owned(), action, source: errno.into() },
    }
}

/// An error that says who was denied what by the mode of `what`, or of the directory that hides it.
pub(crate) fn denied(path: &Path, action: &'static str, what: &Path, remedy: &'static str) -> Error {
    let found = what.ancestors().find_map(describe);
    Error::Permission {
        path: path.to_owned(),
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        action,
        found: found.unwrap_or_else(|| "a directory of unknown mode".to_owned()),
        remedy,
    }
}

/// Mode and owner of a file or directory, unless it is hidden.
fn describe(path: &Path) -> Option<String> {
    let stat = nix::sys::stat::lstat(path).ok()?;
    let (mode, uid, gid) = (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
    Some(format!("{} with mode {mode:04o} owner {uid}:{gid}", path.display()))
}

/// Sizes of a new segment.
struct Plan {
    header: Header,
    initial_bytes: u64,
    index_slots: u32,
}

fn fill(fd: &OwnedFd, path: &Path, options: &Builder) -> Result<()> {
    let at = |action| move |errno| failed(path, action, errno);
    let filesystem = Filesystem::of(fd).map_err(at("look at its filesystem"))?;
    check_filesystem(path, filesystem.kind)?;
    let common = options.encode_common_labels()?;
    let plan = plan(options, filesystem.bytes, common.len() as u32);
    if let Some(found) = options.max_bytes.filter(|most| *most < plan.initial_bytes) {
        let slots = plan.header.process_slots;
        let expected = format!("at least {} with {slots} process slots", plan.initial_bytes);
        return Err(Error::Option { option: "max_bytes", found: found.to_string(), expected });
    }
    sys::allocate(fd, 0, plan.initial_bytes).map_err(at("allocate it"))?;
    write(fd, &plan, &common).map_err(|source| Error::Io {
        path: path.to_owned(),
        action: "write it",
        source,
    })?;
    let mode = options.mode.unwrap_or(if options.group.is_some() { 0o660 } else { 0o600 });
    nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode)).map_err(at("set its mode"))?;
    if let Some(gid) = options.group {
        nix::unistd::fchown(fd, None, Some(Gid::from_raw(gid))).map_err(at("set its group"))?;
    }
    Ok(())
}

fn plan(options: &Builder, filesystem_bytes: u64, common_len: u32) -> Plan {
    let cpus = sys::possible_cpus();
    let wanted = options.max_bytes.unwrap_or_else(|| (filesystem_bytes / 4).clamp(256 << 10, 64 << 30));
    let mut chunk = header::MAX_CHUNK;
    while chunk > header::MIN_CHUNK && (u64::from(chunk) * 16 > wanted) && cpus <= 1024 {
        chunk /= 2;
    }
    let slots = options.processes.unwrap_or(((wanted / 16 / process::STRIDE as u64) as u32).clamp(16, 512));
    let index_slots = ((wanted / 512) as u32).clamp(index::MIN_SLOTS, 2048).next_power_of_two();
    let processes = header::BYTES as u64;
    let index = processes + u64::from(slots) * process::STRIDE as u64;
    let data = (index + index::table_bytes(index_slots)).next_multiple_of(128);
    let chunk_bytes = u64::from(chunk);
    let initial_bytes = (data + chunk_bytes / 2).next_multiple_of(chunk_bytes);
    let max_bytes = (wanted - wanted % chunk_bytes).max(initial_bytes);
    let header = Header {
        compat: 0,
        ro_compat: 0,
        incompat: 0,
        created_unix_ns: sys::unix_ns(),
        segment_id: [sys::random(), sys::random()],
        boot_id: sys::boot_id(),
        hash_seed: sys::random(),
        page_bytes: sys::page_bytes(),
        chunk_bytes: chunk,
        max_bytes,
        possible_cpus: cpus,
        process_slots: slots,
        max_series: options.max_series,
        processes,
        index,
        data,
        common_len,
        common_count: options.common_labels.len() as u32,
    };
    Plan { header, initial_bytes, index_slots }
}

fn write(fd: &OwnedFd, plan: &Plan, common: &[u8]) -> std::io::Result<()> {
    let file = std::fs::File::from(fd.try_clone()?);
    let mut bytes = [0_u8; header::BYTES];
    plan.header.encode(common, &mut bytes).map_err(std::io::Error::other)?;
    let end = header::RESERVED_END as usize;
    bytes[end..end + 8].copy_from_slice(&plan.header.data.to_le_bytes());
    file.write_all_at(&bytes, 0)?;
    let mut table = [0; 16];
    index::encode_header(plan.index_slots, plan.header.index, &mut table);
    file.write_all_at(&table, plan.header.index)?;
    file.write_all_at(&header::MAGIC.to_le_bytes(), header::MAGIC_AT)
}

/// Refuses filesystems that another kernel may have mounted too; warns of those that write to disk.
pub(crate) fn check_filesystem(path: &Path, kind: nix::sys::statfs::FsType) -> Result<()> {
    const SHARED: [(i64, &str); 6] = [
        (0x6969, "NFS"),
        (0x6573_5546, "FUSE or virtiofs"),
        (0x0102_1997, "9p"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x00c3_6400, "Ceph"),
    ];
    const MEMORY: [i64; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];
    #[allow(clippy::unnecessary_cast, reason = "the type differs between C libraries")]
    let magic = kind.0 as i64 & 0xffff_ffff;
    if let Some((_, found)) = SHARED.iter().find(|(known, _)| *known == magic) {
        return Err(Error::Filesystem { path: path.to_owned(), found });
    }
    if !MEMORY.contains(&magic) {
        log::warn!(
            "{}: not in memory (filesystem type {magic:#x}): write-back to disk can stall updates for 100s of ms; \
             use /dev/shm",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_fits_small_and_large_filesystems() {
        for bytes in [1 << 20, 8 << 20, 64 << 20, 24 << 30, 1 << 44] {
            let plan = plan(&Builder::default(), bytes, 0);
            let h = plan.header;
            assert!(plan.initial_bytes <= h.max_bytes, "{bytes}: {h:?}");
            assert!(plan.initial_bytes <= bytes, "{bytes}: {h:?}");
            assert!(h.data < plan.initial_bytes && h.max_bytes.is_multiple_of(u64::from(h.chunk_bytes)));
        }
        assert_eq!(plan(&Builder::default(), 64 << 20, 0).header.max_bytes, 16 << 20);
    }

    #[test]
    fn only_temporary_files_that_nobody_holds_are_removed() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = |name: &str| directory.path().join(name);
        let abandoned = ["s.birth-0123456789abcdef", "s.superseded-00000000000000aa.birth-0123456789abcdef"];
        let others = [
            "s.birth-rate",
            "s.birth-0123456789ABCDEF",
            "s.birth-00123456789abcdef",
            "t.birth-0123456789abcdef",
            "ss.birth-0123456789abcdef",
            "s.superseded-00000000000000aa",
        ];
        for name in abandoned.iter().chain(&others) {
            sys::create_new(&path(name)).unwrap();
        }
        let held = sys::create_new(&path("s.birth-fedcba9876543210")).unwrap();
        assert_eq!(sys::try_lock(&held, REPLACE_LOCK), Ok(true));
        remove_abandoned(&path("s"));
        assert!(abandoned.iter().all(|name| !path(name).exists()));
        assert!(others.iter().all(|name| path(name).exists()) && path("s.birth-fedcba9876543210").exists());
        drop(held);
        remove_abandoned(&path("s"));
        assert!(!path("s.birth-fedcba9876543210").exists());
    }

    #[test]
    fn network_filesystems_are_refused_by_name() {
        let error = check_filesystem(Path::new("/x"), nix::sys::statfs::FsType(0x6969)).unwrap_err();
        assert_eq!(error.to_string(), "/x: on NFS, expected a filesystem of this machine, such as tmpfs");
    }
}
