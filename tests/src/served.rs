//! An exporter that serves a small or a large segment, for tests of the server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use dyn_metrics::{Counter, Histogram, Opts, Registry};
use tempfile::TempDir;

use crate::servers::{Exporter, program};

/// A sample that every whole page has.
pub const SAMPLE: &str = "served_total{n=\"0\"}";

/// Somebody without rights.
const NOBODY: u32 = 65_534;

/// A segment, and the exporter over it.
#[derive(Debug)]
pub struct Served {
    /// The exporter.
    pub exporter: Exporter,
    /// The segment's path.
    pub path: PathBuf,
    directory: TempDir,
    _registry: Registry,
}

/// A segment of so many counters, with so many bytes of labels each, and a histogram, that anybody may read.
///
/// # Panics
/// When it can't be made.
#[must_use]
pub fn segment(series: usize, bytes: usize) -> (TempDir, PathBuf, Registry) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("its owner may");
    let path = directory.path().join("segment");
    let registry = Registry::builder().path(&path).mode(0o644).open().expect("a segment");
    let family =
        registry.family::<Counter>(&Opts::new("served_total", "Counted."), &["n"]).expect("a family");
    for n in 0..series {
        family.with(&[&format!("{n:0<bytes$}")]).inc();
    }
    let latency = registry.create::<Histogram>(&Opts::new("served_seconds", "Time.").bounds(&[0.1, 1.0]));
    latency.expect("a histogram").observe(0.5);
    (directory, path, registry)
}

/// A command that runs the exporter as somebody without rights, where we are root; as ourselves where we aren't.
///
/// # Panics
/// When the program can't be copied.
#[must_use]
pub fn as_nobody(directory: &TempDir) -> Command {
    if !nix::unistd::geteuid().is_root() {
        return Command::new(program("dyn-metrics-exporter"));
    }
    // Where it was built nobody may be able to reach it.
    let copy = directory.path().join("dyn-metrics-exporter");
    fs::copy(program("dyn-metrics-exporter"), &copy).expect("a copy");
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY);
    command
}

impl Served {
    /// Serves a small segment, without rights.
    ///
    /// # Panics
    /// When it can't.
    #[must_use]
    pub fn start() -> Self {
        Self::start_by(segment(100, 1), |command| command)
    }

    /// Serves this [`segment`], by what `wrap` makes of the command.
    ///
    /// # Panics
    /// When it can't.
    #[must_use]
    pub fn start_by(segment: (TempDir, PathBuf, Registry), wrap: impl FnOnce(Command) -> Command) -> Self {
        let (directory, path, registry) = segment;
        let programs = tempfile::tempdir().expect("a directory");
        fs::set_permissions(programs.path(), Permissions::from_mode(0o755)).expect("its owner may");
        let command = wrap(as_nobody(&programs));
        let exporter = Exporter::start_by(command, &[path.to_str().expect("UTF-8")]);
        Self { exporter, path, directory, _registry: registry }
    }

    /// The directory of the segment.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}
