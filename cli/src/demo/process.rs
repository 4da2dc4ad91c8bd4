//! What every process of the demo does first: learn to stop, and to die with its parent.

#![allow(clippy::disallowed_types, reason = "process-local flag, never in the segment")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Set once the process is asked to stop.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set by SIGINT and SIGTERM; the second of them ends the process at once.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag unset here and sets it below.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))?;
            flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether the process is to stop.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Has the kernel send this process SIGTERM when `parent` ends, however it ends; survives `exec`.
///
/// Errors: where `parent` has ended already.
pub fn die_with(parent: u32) -> io::Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    let found = getppid();
    if i32::try_from(parent).is_ok_and(|pid| Pid::from_raw(pid) == found) {
        return Ok(());
    }
    Err(io::Error::other(format!("expected process {parent} as parent, found {found}")))
}
