//! A forked child must not keep its parent's port: it inherits the listening socket, and has nobody who accepts.
#![allow(unsafe_code, reason = "a fork handler that closes descriptors in the child")]
#![allow(clippy::disallowed_types, reason = "process-local numbers, never in the segment")]

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

/// Listening sockets of this process; -1 where there is none. Systems beyond them leave their port to children, too.
static LISTENING: [AtomicI32; 16] = [const { AtomicI32::new(-1) }; 16];

/// A socket that listens: children close it.
#[derive(Debug)]
pub(crate) struct Listens(Option<&'static AtomicI32>);

impl Listens {
    pub(crate) fn new(socket: &impl AsRawFd) -> Self {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: the handler is a plain function that lives as long as the process.
            let failed = unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
            if failed != 0 {
                tracing::warn!("no fork handler: forked children keep the port taken");
            }
        });
        let number: RawFd = socket.as_raw_fd();
        let free = |place: &&AtomicI32| {
            place.compare_exchange(-1, number, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        Self(LISTENING.iter().find(free))
    }
}

impl Drop for Listens {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(-1, Ordering::Release);
        }
    }
}

/// Async-signal-safe, as what runs in a child of a process with threads must be.
extern "C" fn close_in_child() {
    for place in &LISTENING {
        let number = place.swap(-1, Ordering::AcqRel);
        if number >= 0 {
            // SAFETY: the socket's copy in this child; its owner is a thread that isn't here, and is never dropped here.
            unsafe { libc::close(number) };
        }
    }
}
