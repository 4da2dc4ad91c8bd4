//! Threads of ours in somebody else's process.

use std::io;
use std::thread::Builder;

use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};

/// Starts a thread in which no signal handler runs, but for those of its own faults, which can't be blocked.
///
/// Nobody joins it: what is started here ends by itself.
pub(super) fn spawn_quiet(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut before = SigSet::empty();
    // A thread inherits the mask. Where it can't be set, the thread is as loud as others.
    let changed = pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&SigSet::all()), Some(&mut before)).is_ok();
    let spawned = Builder::new().name(name.to_owned()).spawn(work);
    if changed {
        let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None);
    }
    spawned.map(drop)
}
