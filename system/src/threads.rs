//! Threads of ours in somebody else's process.

use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

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
    let mut quiet = SigSet::all();
    for signal in [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGPROF,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ] {
        quiet.remove(signal);
    }
    let mut before = SigSet::empty();
    // A thread inherits the mask. Where it can't be set, the thread is as loud as others.
    let changed = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&quiet), Some(&mut before)).is_ok();
    let spawned = spawn(name, work);
    if changed {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    spawned
}
