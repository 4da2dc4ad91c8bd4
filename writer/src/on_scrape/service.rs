//! The thread that answers those who ask over this process's sockets. It begins with the first socket and ends with the last.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use dyn_metrics_layout::callbacks::{Answer, MESSAGE_BYTES, Request};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use super::functions::Bound;
use super::hub::{Hub, State};
use super::kept::Kept;
use super::listener::Listener;
use crate::segment::Segment;
use crate::threads::spawn_quiet;

/// Most askers at once; others wait to be accepted.
const MAX_GUESTS: usize = 64;
/// How long one may be connected without having asked.
const SILENCE: Duration = Duration::from_secs(1);
/// Of the time that an asker gives, the share after which it is answered in any case.
const SHARE: (u32, u32) = (4, 5);

/// Wakes the thread.
#[derive(Debug)]
pub(super) struct Wake {
    bell: Kept,
    ear: Kept,
}

/// Somebody who has connected.
struct Guest {
    fd: OwnedFd,
    segment: &'static Segment,
    since: Instant,
    request: Option<Request>,
}

impl Wake {
    fn new() -> io::Result<Self> {
        let (bell, ear) = UnixStream::pair()?;
        Ok(Self { bell: Kept::new(bell.into())?, ear: Kept::new(ear.into())? })
    }

    pub(super) fn ring(&self) {
        if self.bell.is_ours() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            let _ = send(self.bell.as_fd().as_raw_fd(), &[1], flags); // full: it is ringing
        }
    }

    /// Stops ringing.
    fn hush(&self) {
        while recv(self.ear.as_fd().as_raw_fd(), &mut [0; 64], MsgFlags::MSG_DONTWAIT).is_ok_and(|n| n > 0) {}
    }
}

/// Makes sure that somebody can ask for the callbacks in `segment`, as far as possible.
pub(super) fn ensure(hub: &'static Hub, segment: &'static Segment) {
    let has_socket =
        |state: &State| state.listeners.iter().any(|one| one.segment.id == segment.id && one.is_ours());
    if has_socket(&hub.state()) {
        return;
    }
    let listener = match Listener::open(segment) {
        Ok(listener) => Arc::new(listener),
        Err(errno) => {
            let path = segment.path.display();
            return log::warn!(
                "{path}: no socket beside it ({errno}); on-scrape callbacks run for this process's own pages only"
            );
        }
    };
    let mut state = hub.state();
    // Another thread may have been faster, or the callback be gone again.
    if has_socket(&state) || !state.has_callbacks_in(segment) {
        return listener.withdraw();
    }
    state.listeners.push(listener);
    match &state.service {
        Some(wake) if wake.ear.is_ours() => wake.ring(),
        _ => start_or_give_up(hub, &mut state),
    }
}

fn start_or_give_up(hub: &'static Hub, state: &mut State) {
    if let Err(error) = start(hub, state) {
        log::warn!("no thread to answer who asks for on-scrape callbacks: {error}");
        state.service = None;
        state.listeners.drain(..).for_each(|listener| listener.withdraw());
    }
}

fn start(hub: &'static Hub, state: &mut State) -> io::Result<()> {
    let wake = Arc::new(Wake::new()?);
    let own = Arc::clone(&wake);
    spawn_quiet("dyn-ask", move || serve(hub, &own))?;
    state.service = Some(wake);
    Ok(())
}

fn serve(hub: &'static Hub, wake: &Arc<Wake>) {
    let mut guests: Vec<Guest> = Vec::new();
    loop {
        let listeners = {
            let mut state = hub.state();
            if !state.service.as_ref().is_some_and(|own| Arc::ptr_eq(own, wake)) {
                return; // replaced
            }
            if state.listeners.is_empty() {
                state.service = None;
                return;
            }
            state.listeners.clone()
        };
        wait(wake, &listeners, &guests);
        if !wake.ear.is_ours() || !listeners.iter().all(|listener| listener.is_ours()) {
            return give_up(hub, wake);
        }
        wake.hush();
        for listener in &listeners {
            welcome(listener, &mut guests);
        }
        guests.retain_mut(Guest::listen);
        let (asking, silent) = guests.into_iter().partition(|guest| guest.request.is_some());
        guests = silent;
        answer(hub, asking);
    }
}

/// The host has closed our descriptors, some of them or all: lets go of those, and of this thread unless it was replaced.
fn give_up(hub: &'static Hub, wake: &Arc<Wake>) {
    log::warn!(
        "somebody has closed sockets for on-scrape callbacks; these run for this process's own pages only"
    );
    let mut state = hub.state();
    let (kept, lost): (Vec<_>, Vec<_>) =
        std::mem::take(&mut state.listeners).into_iter().partition(|listener| listener.is_ours());
    state.listeners = kept;
    lost.iter().for_each(|listener| listener.withdraw());
    if state.service.as_ref().is_some_and(|own| Arc::ptr_eq(own, wake)) {
        state.service = None;
        if !state.listeners.is_empty() {
            start_or_give_up(hub, &mut state);
        }
    }
}

fn wait(wake: &Wake, listeners: &[Arc<Listener>], guests: &[Guest]) {
    let listen = PollFlags::POLLIN;
    let mut fds = vec![PollFd::new(wake.ear.as_fd(), listen)];
    fds.extend(guests.iter().map(|guest| PollFd::new(guest.fd.as_fd(), listen)));
    if guests.len() < MAX_GUESTS {
        fds.extend(listeners.iter().map(|listener| PollFd::new(listener.as_fd(), listen)));
    }
    let limit = if guests.is_empty() { PollTimeout::NONE } else { PollTimeout::from(200_u16) };
    if matches!(poll(&mut fds, limit), Err(errno) if errno != Errno::EINTR) {
        // Out of memory, say: not in a loop without end.
        thread::sleep(SILENCE);
    }
}

/// Accepts those who wait.
fn welcome(listener: &Listener, guests: &mut Vec<Guest>) {
    while guests.len() < MAX_GUESTS {
        match listener.accept() {
            Ok(fd) => {
                guests.push(Guest { fd, segment: listener.segment, since: Instant::now(), request: None });
            }
            Err(Errno::EINTR | Errno::ECONNABORTED) => {}
            Err(Errno::EAGAIN) => return,
            // No descriptors left: whoever waits goes on waiting, and this thread doesn't turn in circles.
            Err(_) => return thread::sleep(Duration::from_millis(50)),
        }
    }
}

impl Guest {
    /// Hears what the guest asks; false when it has gone, says something else, or nothing for too long.
    fn listen(&mut self) -> bool {
        let mut bytes = [0; MESSAGE_BYTES + 1];
        match recv(self.fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
            Ok(read) => {
                self.request = Request::decode(&bytes[..read]);
                self.request.is_some()
            }
            Err(Errno::EAGAIN | Errno::EINTR) => self.since.elapsed() < SILENCE,
            Err(_) => false,
        }
    }
}

/// Runs the callbacks that were asked for, once for all who ask, and tells them.
fn answer(hub: &'static Hub, mut asking: Vec<Guest>) {
    while let Some(segment) = asking.first().map(|guest| guest.segment) {
        let (ours, rest): (Vec<_>, Vec<_>) =
            asking.into_iter().partition(|guest| guest.segment.id == segment.id);
        asking = rest;
        let limits = ours.iter().filter_map(|guest| guest.request).map(|request| request.limit_ms);
        let limit = Duration::from_millis(u64::from(limits.max().unwrap_or(0))) * SHARE.0 / SHARE.1;
        let home = Bound::Segment(segment).number();
        let run = hub.run(&|callback| callback.home.number() == home, limit);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let answer = Answer { late: number(run.late), failed: number(run.failed) }.encode();
        for guest in ours {
            let _ = send(guest.fd.as_raw_fd(), &answer, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        }
    }
}
