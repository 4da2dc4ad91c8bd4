//! Why EACCES, in words that help.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{getegid, geteuid};

/// Who wanted to read a file, and what the file allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Effective user id of this process.
    pub uid: u32,
    /// Effective group id of this process.
    pub gid: u32,
    /// Owner, group and mode of the file; none when even those can't be read.
    pub file: Option<FilePermissions>,
}

/// Owner, group and mode of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePermissions {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Permissions {
    /// What is known about this process and the file at `path`.
    pub(crate) fn of(path: &Path) -> Self {
        let file = path.symlink_metadata().ok().map(|meta| FilePermissions::of(&meta));
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw(), file }
    }
}

impl FilePermissions {
    fn of(meta: &Metadata) -> Self {
        Self { uid: meta.uid(), gid: meta.gid(), mode: meta.mode() & 0o7777 }
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this process is uid {} gid {}, ", self.uid, self.gid)?;
        match self.file {
            Some(FilePermissions { uid, gid, mode }) => write!(
                f,
                "the file is mode {mode:04o} uid {uid} gid {gid}; \
                 run as uid {uid}, or create the segment with a group that both share and mode 0640"
            ),
            None => write!(f, "a directory on the path can't be searched; run as its owner"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_both_sides_and_a_remedy() {
        let file = Some(FilePermissions { uid: 7, gid: 8, mode: 0o600 });
        let text = Permissions { uid: 1000, gid: 1001, file }.to_string();
        for part in ["uid 1000 gid 1001", "mode 0600 uid 7 gid 8", "run as uid 7", "mode 0640"] {
            assert!(text.contains(part), "{text} lacks {part}");
        }
    }
}
