//! Threads of ours in somebody else's process.

use std::io;
use std::thread::{Builder, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// What says that this very thread is at fault, or is being profiled. Blocked, a fault would kill the process whatever
/// handler there is: a reader's guard against truncated files, or the application's own.
const OPEN: [Signal; 8] = [
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGPROF,
    Signal::SIGSEGV,
    Signal::SIGSYS,
    Signal::SIGTRAP,
];

/// Starts a thread on which the application's signal handlers don't run, but for those of faults and profilers. The
/// kernel shows 15 bytes of its name.
///
/// # Errors
/// When the system has no thread.
pub fn spawn_quiet(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mut quiet = SigSet::all();
    OPEN.into_iter().for_each(|signal| quiet.remove(signal));
    // A thread inherits the mask. Where it can't be set, the thread is as loud as others.
    let before = quiet.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let spawned = Builder::new().name(name.to_owned()).spawn(work);
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    spawned
}
