//! How a segment is opened.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::file::MAX_FILE_NAME;
use dyn_metrics_layout::name::check_label_name;
use dyn_metrics_layout::process;
use nix::sys::stat::FileStat;
use nix::unistd::Gid;

use crate::error::{Error, Result, shorten};
use crate::registry::Registry;

/// Path of the segment when neither an argument nor `DYN_METRICS_SHM` names one.
pub const DEFAULT_PATH: &str = "/dev/shm/dynamo";

/// Most bytes that a segment may ever have: 1 TiB.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 1 << 40;
/// Most series of a family, unless it or its segment says otherwise.
pub(crate) const MAX_SERIES_PER_FAMILY: u32 = 10_000;
/// Longest role, in bytes.
const MAX_ROLE: usize = 128;
/// Longest block of process labels, in bytes: what command (at most 16 bytes) and role leave of a slot.
pub(crate) const MAX_PROCESS_LABELS: usize = process::MAX_TEXT - 16 - MAX_ROLE;

/// Options for opening a segment; made by [`Registry::builder`].
///
/// What concerns the file (sizes, mode, group, common labels) counts for the process that creates it; the
/// others take what they find. A file that replaces another has its mode and group, unless others are given. What concerns this process (role, labels) counts for the first
/// opening of a segment in it.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) path: PathBuf,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) max_series: u32,
    pub(crate) processes: Option<u32>,
    pub(crate) mode: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) role: String,
    pub(crate) process_labels: Vec<(String, String)>,
    pub(crate) common_labels: Vec<(String, String)>,
    pub(crate) allowed_uids: Vec<u32>,
    pub(crate) fresh: bool,
    pub(crate) force: bool,
}

impl Default for Builder {
    fn default() -> Self {
        let path = std::env::var_os("DYN_METRICS_SHM").filter(|path| !path.is_empty());
        Self {
            path: path.map_or_else(|| PathBuf::from(DEFAULT_PATH), PathBuf::from),
            max_bytes: None,
            max_series: MAX_SERIES_PER_FAMILY,
            processes: None,
            mode: None,
            group: None,
            role: String::new(),
            process_labels: Vec::new(),
            common_labels: Vec::new(),
            allowed_uids: Vec::new(),
            fresh: false,
            force: false,
        }
    }
}

impl Builder {
    /// The segment's path; by default `DYN_METRICS_SHM`, else [`DEFAULT_PATH`].
    #[must_use]
    pub fn path(mut self, path: impl AsRef<Path>) -> Self {
        path.as_ref().clone_into(&mut self.path);
        self
    }

    /// Limit of the file's length, in bytes, at most 1 TiB; by default a quarter of the filesystem, at most 64 GiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Default limit of series in a family; 10 000 unless given. See [`crate::Opts::max_series`].
    #[must_use]
    pub const fn max_series_per_family(mut self, series: u32) -> Self {
        self.max_series = series;
        self
    }

    /// Most processes that may be attached at the same time, 1 to 4096; 512 unless the segment is tiny. Further
    /// ones count all the same, but their gauges stay private.
    #[must_use]
    pub const fn processes(mut self, slots: u32) -> Self {
        self.processes = Some(slots);
        self
    }

    /// Permission bits of a new file; 0600 by default, 0660 with a group. The umask doesn't cut them.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Group (its number) of a new file.
    #[must_use]
    pub const fn group(mut self, gid: u32) -> Self {
        self.group = Some(gid);
        self
    }

    /// Role of this process, shown to people: `frontend`, `worker`, ...; at most 128 bytes.
    #[must_use]
    pub fn role(mut self, role: &str) -> Self {
        role.clone_into(&mut self.role);
        self
    }

    /// A label of this process, shown to people; all of them together take at most 240 bytes.
    #[must_use]
    pub fn process_label(mut self, name: &str, value: &str) -> Self {
        self.process_labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A label that the exporter adds to every sample of a new segment.
    #[must_use]
    pub fn common_label(mut self, name: &str, value: &str) -> Self {
        self.common_labels.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Accepts a segment owned by this user, besides one's own and root's.
    #[must_use]
    pub fn allow_uid(mut self, uid: u32) -> Self {
        self.allowed_uids.push(uid);
        self
    }

    /// Starts from zero: replaces what is there, and removes it and every superseded file.
    ///
    /// Refused while processes hold the segment, unless [`Self::force`] is given too.
    #[must_use]
    pub const fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// Lets [`Self::fresh`] replace a segment that is in use; what its processes count in handles they already
    /// hold is lost.
    #[must_use]
    pub const fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Creates the segment or attaches to it.
    ///
    /// # Errors
    /// [`Error`]; what is at the path is unchanged then.
    pub fn open(self) -> Result<Registry> {
        self.check()?;
        Registry::with_options(self)
    }

    fn check(&self) -> Result<()> {
        let path = self.path.as_os_str().as_bytes();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        if name.is_empty() || path.contains(&0) || name.len() > MAX_FILE_NAME {
            let found = shorten(&self.path.to_string_lossy());
            let expected = format!("the path of a file, with a name of at most {MAX_FILE_NAME} bytes");
            return Err(Error::Option { option: "path", found, expected });
        }
        let range = |option, found: u64, least: u64, most: u64| {
            if (least..=most).contains(&found) {
                return Ok(());
            }
            Err(Error::Option { option, found: found.to_string(), expected: format!("{least} to {most}") })
        };
        if let Some(slots) = self.processes {
            range("processes", slots.into(), 1, dyn_metrics_layout::header::MAX_PROCESSES.into())?;
        }
        if let Some(bytes) = self.max_bytes {
            range("max_bytes", bytes, 256 << 10, MAX_SEGMENT_BYTES)?;
        }
        if let Some(mode) = self.mode.filter(|mode| mode & 0o600 != 0o600 || *mode > 0o777) {
            let (found, expected) =
                (format!("{mode:04o}"), "0600 to 0777, readable and writable by the owner");
            return Err(Error::Option { option: "mode", found, expected: expected.to_owned() });
        }
        range("role (its bytes)", self.role.len() as u64, 0, MAX_ROLE as u64)?;
        range("max_series_per_family", self.max_series.into(), 1, u32::MAX.into())?;
        for (name, _) in self.process_labels.iter().chain(&self.common_labels) {
            check_label_name(name).map_err(|reason| Error::Name {
                what: "label name",
                name: name.clone(),
                reason,
            })?;
        }
        self.encode_common_labels()?;
        self.encode_process_labels().map(drop)
    }

    /// With the mode and group of the file that is replaced, where none are given: who could use it still can.
    pub(crate) fn inheriting(mut self, old: &FileStat) -> Self {
        let gid = Gid::from_raw(old.st_gid);
        let is_mine = || nix::unistd::getgroups().is_ok_and(|mine| mine.contains(&gid));
        let may = nix::unistd::geteuid().is_root() || nix::unistd::getegid() == gid || is_mine();
        let is_ours = self.group.is_none() && may;
        if is_ours {
            self.group = Some(old.st_gid);
        }
        // What the old group might do is no other group's business.
        let mode = old.st_mode & if is_ours { 0o777 } else { 0o707 };
        if self.mode.is_none() && mode & 0o600 == 0o600 {
            self.mode = Some(mode);
        }
        self
    }

    /// The block of common labels.
    pub(crate) fn encode_common_labels(&self) -> Result<Vec<u8>> {
        encode_label_block(
            "common labels",
            &self.common_labels,
            dyn_metrics_layout::header::MAX_COMMON_LABELS,
        )
    }

    /// The block of this process's labels.
    pub(crate) fn encode_process_labels(&self) -> Result<Vec<u8>> {
        encode_label_block("process labels", &self.process_labels, MAX_PROCESS_LABELS)
    }
}

/// Encodes labels as the format wants them: sorted, no duplicates.
fn encode_label_block(owner: &str, labels: &[(String, String)], limit: usize) -> Result<Vec<u8>> {
    let mut sorted: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    sorted.sort_unstable();
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::DuplicateLabel { metric: owner.to_owned(), label: pair[0].0.to_owned() });
    }
    let bytes: usize = sorted.iter().map(|(name, value)| 4 + name.len() + value.len()).sum();
    let mut block = vec![0; bytes.min(limit)];
    let used = dyn_metrics_layout::record::encode_labels(sorted.iter().copied(), &mut block)
        .map_err(|source| Error::TooLong { metric: owner.to_owned(), source })?;
    block.truncate(used);
    Ok(block)
}
