//! Asks processes to run their on-scrape callbacks, and waits for them for a bounded time.
//!
//! A process that has not answered in time is remembered with its connection: as long as nothing comes from it, it is counted as
//! late at once, so that one that is stopped or hangs delays one page and not every page.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dyn_metrics_layout::callbacks::{Answer, MESSAGE_BYTES, Request, SocketName};
use dyn_metrics_reader::{CallbackSocket, Collector};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use nix::unistd::geteuid;

use crate::self_metrics::CallbackCounts;

/// Most processes asked at the same time; more are asked one batch after the other.
const BATCH: usize = 128;
/// Most connections to late processes that are kept. Who is beyond them is waited for again.
const MOST_LATE: usize = 128;

/// An [`Asker`] that outlives the collectors which it is given to.
pub(crate) struct SharedAsker(Arc<Mutex<Asker>>);

/// Asks, and remembers who was late.
struct Asker {
    limit: Duration,
    /// Users whose sockets are believed, besides the owners of segments and processes.
    allowed: Vec<u32>,
    late: HashMap<Key, OwnedFd>,
    counts: CallbackCounts,
}

type Key = (PathBuf, SocketName);

/// What came over a connection.
enum Heard {
    Answer(Answer),
    Nothing,
    /// It was closed, or what came is no answer.
    End,
}

impl SharedAsker {
    pub(crate) fn new(limit: Duration, allow_uids: &[u32], counts: CallbackCounts) -> Self {
        let mut allowed = vec![0, geteuid().as_raw()];
        allowed.extend(allow_uids);
        Self(Arc::new(Mutex::new(Asker { limit, allowed, late: HashMap::new(), counts })))
    }

    /// Has `collector` ask before each reading, unless nobody is to be asked.
    pub(crate) fn attach(&self, collector: Collector) -> Collector {
        let asker = Arc::clone(&self.0);
        if asker.lock().unwrap_or_else(PoisonError::into_inner).limit.is_zero() {
            return collector;
        }
        collector.asking(move |sockets| asker.lock().unwrap_or_else(PoisonError::into_inner).ask(sockets))
    }
}

impl Asker {
    /// Whether anybody was asked.
    fn ask(&mut self, sockets: &[CallbackSocket]) -> bool {
        self.counts.took.set(0);
        if sockets.is_empty() {
            self.late.clear();
            return false;
        }
        let started = Instant::now();
        let due = self.without_the_late(sockets);
        for batch in due.chunks(BATCH) {
            // None left: who comes last is told to hurry, and not waited for.
            let left = self.limit.saturating_sub(started.elapsed());
            let asked = batch.iter().filter_map(|one| self.connect(one, left)).collect();
            self.wait(asked, started + self.limit);
        }
        self.counts.took.set(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
        true
    }

    /// The sockets of those who owe no answer.
    fn without_the_late<'s>(&mut self, sockets: &'s [CallbackSocket]) -> Vec<&'s CallbackSocket> {
        let mut known = std::mem::take(&mut self.late);
        let mut due = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let key = key(socket);
            match known.remove(&key) {
                Some(fd) if matches!(hear(&fd), Heard::Nothing) => {
                    self.counts.late.add(1);
                    self.late.insert(key, fd);
                }
                // What it answers now is an earlier page's.
                _ => due.push(socket),
            }
        }
        due
    }

    /// Asks one process; none when that can't be done, which is counted unless it has just ended.
    fn connect(&self, socket: &CallbackSocket, left: Duration) -> Option<(Key, OwnedFd)> {
        let allowed = |uid| socket.owners.contains(&uid) || self.allowed.contains(&uid);
        let limit_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
        match connect_to(socket, allowed).and_then(|fd| {
            let request = Request { limit_ms }.encode();
            send(fd.as_raw_fd(), &request, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)?;
            Ok(fd)
        }) {
            Ok(fd) => {
                self.counts.asked.add(1);
                Some((key(socket), fd))
            }
            Err(Errno::ENOENT | Errno::ECONNREFUSED | Errno::EPIPE | Errno::ECONNRESET) => None,
            Err(errno) => {
                // So many wait already that one more can't: it is stopped, say.
                let is_late = errno == Errno::EAGAIN;
                if is_late {
                    self.counts.late.add(1)
                } else {
                    self.counts.failed.add(1)
                }
                let path = socket.directory.join(socket.name.as_str());
                tracing::debug!(path = %path.display(), "not asked to run its on-scrape callbacks: {errno}");
                None
            }
        }
    }

    /// Waits for answers; who has given none by then is late.
    fn wait(&mut self, mut asked: Vec<(Key, OwnedFd)>, deadline: Instant) {
        loop {
            asked.retain(|(_, fd)| match hear(fd) {
                Heard::Nothing => true,
                Heard::End => false,
                Heard::Answer(Answer { late, failed }) => {
                    self.counts.late.add(u64::from(late));
                    self.counts.failed.add(u64::from(failed));
                    false
                }
            });
            let left = deadline.saturating_duration_since(Instant::now());
            if asked.is_empty() || left.is_zero() {
                break;
            }
            let mut fds: Vec<_> =
                asked.iter().map(|(_, fd)| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
            // Rounded up, lest the last part of a millisecond be spent in circles.
            let milliseconds = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
            if matches!(poll(&mut fds, PollTimeout::from(milliseconds)), Err(errno) if errno != Errno::EINTR)
            {
                break;
            }
        }
        self.counts.late.add(asked.len() as u64);
        let room = MOST_LATE.saturating_sub(self.late.len());
        self.late.extend(asked.into_iter().take(room));
    }
}

fn key(socket: &CallbackSocket) -> Key {
    (socket.directory.clone(), socket.name)
}

fn hear(fd: &OwnedFd) -> Heard {
    let mut bytes = [0; MESSAGE_BYTES + 1];
    match recv(fd.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT) {
        Ok(read) => Answer::decode(&bytes[..read]).map_or(Heard::End, Heard::Answer),
        Err(Errno::EAGAIN | Errno::EINTR) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}

/// Connects, without waiting, to what is a socket and belongs to somebody who is believed, and to nothing else: what was looked
/// at is what is connected to, also if somebody puts another file in its place meanwhile.
fn connect_to(wanted: &CallbackSocket, allowed: impl Fn(u32) -> bool) -> nix::Result<OwnedFd> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(0));
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    // Of what isn't opened nothing is read or written: neither a FIFO nor a device notices.
    let inode: File = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(wanted.directory.join(wanted.name.as_str()))
        .map_err(errno)?;
    let found = inode.metadata().map_err(errno)?;
    if !found.file_type().is_socket() {
        return Err(Errno::ENOTSOCK);
    }
    if !allowed(found.uid()) {
        return Err(Errno::EPERM);
    }
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    let path = format!("/proc/self/fd/{}", inode.as_raw_fd());
    connect(fd.as_raw_fd(), &UnixAddr::new(path.as_str())?)?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use nix::sys::socket::{Backlog, accept, bind, listen};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(20);

    fn asker(limit: Duration) -> Asker {
        let allowed = vec![geteuid().as_raw()];
        Asker { limit, allowed, late: HashMap::new(), counts: CallbackCounts::default() }
    }

    fn socket_in(directory: &Path, process: u64) -> CallbackSocket {
        let name = SocketName::new([1, 2], process, 0);
        CallbackSocket { directory: directory.to_owned(), name, owners: [geteuid().as_raw(); 2] }
    }

    fn path(socket: &CallbackSocket) -> PathBuf {
        socket.directory.join(socket.name.as_str())
    }

    /// A process that listens, and answers when it is told to.
    fn peer(socket: &CallbackSocket) -> OwnedFd {
        let kind = SockType::SeqPacket;
        let fd = super::socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(fd.as_raw_fd(), &UnixAddr::new(&path(socket)).expect("a short path")).expect("a free name");
        listen(&fd, Backlog::new(8).expect("a number")).expect("a listening socket");
        fd
    }

    /// Accepts one asker, reads what it asks and answers.
    fn answer(peer: &OwnedFd, answer: &[u8]) -> Option<Request> {
        let fd = accept(peer.as_raw_fd()).expect("somebody who asks");
        let mut asked = [0; 64];
        let read = recv(fd, &mut asked, MsgFlags::empty()).expect("a request");
        let _ = send(fd, answer, MsgFlags::MSG_NOSIGNAL);
        nix::unistd::close(fd).expect("an open descriptor");
        Request::decode(&asked[..read])
    }

    fn counts(asker: &Asker) -> [u64; 3] {
        let CallbackCounts { asked, late, failed, .. } = &asker.counts;
        [asked.value(), late.value(), failed.value()]
    }

    #[test]
    fn processes_are_asked_and_their_answers_counted() {
        let directory = tempfile::tempdir().expect("a directory");
        let sockets = [1, 2].map(|process| socket_in(directory.path(), process));
        let peers = sockets.each_ref().map(peer);
        let threads = peers
            .map(|peer| std::thread::spawn(move || answer(&peer, &Answer { late: 1, failed: 2 }.encode())));
        let mut asker = asker(LONG);
        assert!(asker.ask(&sockets));
        for thread in threads {
            let limit = thread.join().expect("an answer").expect("a request").limit_ms;
            assert!((1..=60_000).contains(&limit), "{limit}");
        }
        assert_eq!(counts(&asker), [2, 2, 4]);
        assert!(asker.late.is_empty());
        assert!(!asker.ask(&[]));
    }

    #[test]
    fn one_that_is_late_is_not_waited_for_again_until_it_answers() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = [socket_in(directory.path(), 1)];
        let peer = peer(&socket[0]);
        let mut asker = asker(SHORT);
        assert!(asker.ask(&socket));
        assert_eq!(counts(&asker), [1, 1, 0]);
        asker.limit = LONG;
        for late in 2..4 {
            asker.ask(&socket);
            assert_eq!(counts(&asker), [1, late, 0], "at once, or this test would take a minute");
        }
        answer(&peer, &Answer::default().encode());
        let thread = std::thread::spawn(move || answer(&peer, &Answer::default().encode()));
        asker.ask(&socket);
        thread.join().expect("an answer").expect("a request");
        assert_eq!(counts(&asker), [2, 3, 0]);
    }

    #[test]
    fn whoever_dies_or_talks_nonsense_is_not_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let sockets = [1, 2, 3, 4].map(|process| socket_in(directory.path(), process));
        let (babbling, dying) = (peer(&sockets[0]), peer(&sockets[1]));
        drop(peer(&sockets[2])); // dead, and its name is still there; the fourth has none
        let threads = [
            std::thread::spawn(move || answer(&babbling, &[b'x'; 60])),
            std::thread::spawn(move || answer(&dying, b"")),
        ];
        let mut asker = asker(LONG);
        assert!(asker.ask(&sockets));
        for thread in threads {
            thread.join().expect("a peer");
        }
        assert_eq!(counts(&asker), [2, 0, 0]);
    }

    #[test]
    fn what_is_no_socket_of_somebody_trusted_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let [file, fifo, link, folder, datagrams, stranger] =
            [1, 2, 3, 4, 5, 6].map(|process| socket_in(directory.path(), process));
        fs::write(path(&file), "unchanged").expect("a file");
        nix::unistd::mkfifo(&path(&fifo), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        let elsewhere = socket_in(directory.path(), 7);
        let hidden = peer(&elsewhere);
        symlink(path(&elsewhere), path(&link)).expect("a link");
        fs::create_dir(path(&folder)).expect("a directory");
        let datagrams_end = UnixDatagram::bind(path(&datagrams)).expect("a socket");
        datagrams_end.set_nonblocking(true).expect("a socket");
        let owned = peer(&stranger);
        let stranger = CallbackSocket { owners: [u32::MAX; 2], ..stranger };
        let mut asker = asker(LONG);
        asker.allowed.clear();
        assert!(asker.ask(&[file.clone(), fifo, link, folder, datagrams, stranger]));
        assert_eq!(counts(&asker), [0, 0, 6]);
        assert_eq!(fs::read(path(&file)).expect("a file"), b"unchanged");
        assert!(datagrams_end.recv(&mut [0; 64]).is_err());
        for untouched in [hidden, owned] {
            let mut fds = [PollFd::new(untouched.as_fd(), PollFlags::POLLIN)];
            assert_eq!(poll(&mut fds, PollTimeout::ZERO), Ok(0), "nobody has connected");
        }
    }
}
