//! Threads of ours in somebody else's process.

use std::thread::{Builder, JoinHandle};

use dyn_metrics::raw;

use crate::{Error, Result};

/// A thread that runs the application's own code: signals reach it as any other.
pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    // The kernel shows 15 bytes.
    Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|source| Error::Thread { name: name.to_owned(), source })
}

/// A thread that runs none: the application's signal handlers run elsewhere, but for those of faults and profilers.
pub(crate) fn spawn_quiet(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    raw::spawn_quiet(name, work).map_err(|source| Error::Thread { name: name.to_owned(), source })
}
