//! Space of a filesystem.

use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::check::{Check, Context, Outcome};

/// Fails when a filesystem has less space left than it should: the segment's, for instance.
pub struct Space {
    path: PathBuf,
    least: u64,
}

impl Space {
    /// The filesystem of `path` must have `least_bytes` that this process may still use.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, least_bytes: u64) -> Self {
        Self { path: path.as_ref().to_owned(), least: least_bytes }
    }
}

impl Check for Space {
    fn check(&self, _: &Context) -> Outcome {
        let path = self.path.display();
        let stat = statvfs(&self.path).map_err(|errno| format!("{path}: {}", errno.desc()))?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        let least = self.least;
        if free < least {
            return Err(format!("{path}: {free} bytes free, expected {least}"));
        }
        Ok(format!("{path}: {free} bytes free"))
    }
}
