//! The golden segment: bytes that every later version must read.

use std::fs::File;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::process::lock_offset;
use dyn_metrics_reader::{Collector, Snapshot, encode, raw};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Roles of the processes that lived when the segment was copied; the others were killed.
pub const LIVING: [&str; 2] = ["worker-b", "worker-c"];
/// The segment's path in texts.
pub const NAME: &str = "golden-v1.segment";

/// Path of a committed file.
#[must_use]
pub fn data(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(format!("golden-v1.{extension}"))
}

/// A copy of the golden segment in which the same processes live as when it was made: their locks are held.
#[derive(Debug)]
pub struct Golden {
    _directory: tempfile::TempDir,
    /// Its path.
    pub path: PathBuf,
    _locks: File,
}

impl Golden {
    /// A new copy.
    ///
    /// # Panics
    /// When it can't be made.
    #[must_use]
    pub fn copy() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
        let path = directory.path().join(NAME);
        std::fs::copy(data("segment"), &path).expect("the golden segment");
        let locks = File::options().read(true).write(true).open(&path).expect("the copy");
        let processes = raw::read(&path).expect("a segment").processes;
        let living = processes.iter().filter(|process| LIVING.contains(&&*process.role));
        let slots: Vec<u32> = living.map(|process| process.slot).collect();
        assert_eq!(slots.len(), LIVING.len(), "{processes:?}");
        slots.iter().for_each(|slot| lock(&locks, *slot));
        Self { _directory: directory, path, _locks: locks }
    }

    /// What a reader that has never looked before sees.
    ///
    /// # Panics
    /// When the path isn't UTF-8.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Collector::new(&[self.path.to_str().expect("UTF-8").to_owned()]).collect()
    }

    /// The text, with the path that it had when it was written.
    ///
    /// # Panics
    /// When it isn't UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        let mut page = Vec::new();
        encode::text::encode(&self.snapshot(), &mut page);
        String::from_utf8(page).expect("UTF-8").replace(self.path.to_str().expect("UTF-8"), NAME)
    }

    /// The JSON, with that path.
    ///
    /// # Panics
    /// When it isn't JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let mut page = Vec::new();
        encode::json::encode(&self.snapshot(), &mut page);
        let text = String::from_utf8(page).expect("UTF-8").replace(self.path.to_str().expect("UTF-8"), NAME);
        serde_json::from_str(&text).expect("JSON")
    }
}

/// Holds the lock by which a process shows that it lives.
fn lock(file: &File, slot: u32) {
    let request = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: lock_offset(slot) as libc::off_t,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&request)).expect("a free lock");
}
