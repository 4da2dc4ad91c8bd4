//! The test's side of scriptable writer processes: see `src/bin/peer.rs`.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dyn_metrics_reader::{Collector, Snapshot};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

use crate::servers::{Guard, program, wait_for};

/// How long a peer may take for one command before the test gives up on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A private directory in shared memory, and the place where forked peers report.
#[derive(Debug)]
pub struct Stage {
    directory: tempfile::TempDir,
    listener: UnixListener,
}

impl Stage {
    /// An empty one.
    ///
    /// # Panics
    /// When `/dev/shm` can't be used.
    #[must_use]
    pub fn new() -> Self {
        Self::within(Path::new("/dev/shm"))
    }

    /// One with its directory in this one.
    ///
    /// # Panics
    /// When it can't be used.
    #[must_use]
    pub fn within(place: &Path) -> Self {
        let directory = tempfile::tempdir_in(place).expect("a directory");
        let listener = UnixListener::bind(directory.path().join("control")).expect("a socket");
        let timeout = TimeVal::new(PATIENCE.as_secs() as i64, 0);
        setsockopt(&listener, ReceiveTimeout, &timeout).expect("a time limit");
        Self { directory, listener }
    }

    /// A path in the directory.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The usual segment.
    #[must_use]
    pub fn segment(&self) -> PathBuf {
        self.path("segment")
    }

    /// Files in the directory whose name starts so.
    ///
    /// # Panics
    /// When the directory can't be read.
    #[must_use]
    pub fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        paths
            .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(prefix)))
            .collect()
    }

    /// A process attached to the usual segment.
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer_with(&[])
    }

    /// As [`Self::peer`], with options for opening (`fresh`, `max_series=5`, ...) and variables (`NAME=value` in
    /// capitals).
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn peer_with(&self, options: &[&str]) -> Peer {
        self.try_peer(&self.segment(), options).expect("the peer attaches")
    }

    /// As [`Self::peer_with`], for any path.
    ///
    /// # Errors
    /// What the peer says when it can't attach.
    ///
    /// # Panics
    /// When no process can be started.
    pub fn try_peer(&self, path: &Path, options: &[&str]) -> Result<Peer, String> {
        self.start(Command::new(program("peer")), path, options)
    }

    /// As [`Self::peer`], traced by strace with these arguments.
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn traced_peer(&self, strace: &[&str]) -> Peer {
        let mut command = Command::new("strace");
        // -D: the peer is our child, the tracer is not.
        command.args(["-D", "-f", "-o", "/dev/null"]).args(strace).arg(program("peer"));
        self.start(command, &self.segment(), &[]).expect("the peer attaches")
    }

    /// As [`Self::peer`], as process 1 of a pid namespace of its own.
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn namespaced_peer(&self) -> Peer {
        self.namespaced_peer_with(&[])
    }

    /// As [`Self::namespaced_peer`], with options for opening.
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn namespaced_peer_with(&self, options: &[&str]) -> Peer {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(program("peer"));
        self.start(command, &self.segment(), options).expect("the peer attaches")
    }

    /// As [`Self::peer_with`], as another user in one group. Needs root.
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn peer_as(&self, uid: u32, gid: u32, options: &[&str]) -> Peer {
        let mut peer = self.spawn(Command::new(program("peer")), options);
        peer.done(&format!("become {uid} {gid}"));
        peer.open(&self.segment(), options).expect("the peer attaches");
        peer
    }

    /// As [`Self::peer`], where the kernel knows no rseq call.
    ///
    /// # Panics
    /// When it can't attach.
    #[must_use]
    pub fn peer_without_rseq_call(&self) -> Peer {
        let mut command = Command::new(program("peer"));
        crate::rseq::deny(&mut command);
        self.start(command, &self.segment(), &[]).expect("the peer attaches")
    }

    fn start(&self, command: Command, path: &Path, options: &[&str]) -> Result<Peer, String> {
        let mut peer = self.spawn(command, options);
        peer.open(path, options)?;
        Ok(peer)
    }

    /// A peer that has opened nothing yet.
    ///
    /// # Panics
    /// When no process can be started.
    #[must_use]
    pub fn idle_peer(&self) -> Peer {
        self.spawn(Command::new(program("peer")), &[])
    }

    fn spawn(&self, mut command: Command, options: &[&str]) -> Peer {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        command.arg("serve").arg(self.path("control")).current_dir(self.directory.path());
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        for variable in options.iter().filter(|option| is_variable(option)) {
            let (name, value) = variable.split_once('=').expect("NAME=value");
            command.env(name, value);
        }
        let child = Guard(command.spawn().expect("a peer starts"));
        drop(command); // it keeps the peer's end of the sockets
        Peer { pid: child.0.id() as i32, child: Some(child), stream: stream(ours) }
    }

    /// Forks a peer: the child.
    ///
    /// # Panics
    /// When the child doesn't report.
    pub fn fork(&self, parent: &mut Peer) -> Peer {
        let pid = parent.number("fork") as i32;
        let (accepted, _) = self.listener.accept().expect("the child reports in time");
        Peer { pid, child: None, stream: stream(accepted) }
    }

    /// What a reader sees in the usual segment now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        snapshot(&self.segment())
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// What a reader that has never looked before sees in a segment.
#[must_use]
pub fn snapshot(path: &Path) -> Snapshot {
    Collector::new(&[path.display().to_string()]).collect()
}

fn is_variable(option: &str) -> bool {
    option.starts_with(|c: char| c.is_ascii_uppercase())
}

fn stream(socket: UnixStream) -> BufReader<UnixStream> {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    BufReader::new(socket)
}

/// A scriptable writer process. It ends when this is dropped.
#[derive(Debug)]
pub struct Peer {
    pid: i32,
    /// None for one that another peer has forked.
    child: Option<Guard>,
    stream: BufReader<UnixStream>,
}

impl Peer {
    /// Has it open a segment with these options.
    ///
    /// # Errors
    /// What it says when it can't attach.
    pub fn open(&mut self, path: &Path, options: &[&str]) -> Result<(), String> {
        let options: Vec<&str> = options.iter().copied().filter(|option| !is_variable(option)).collect();
        self.ask(&format!("open {} {}", path.display(), options.join(" "))).map(drop)
    }

    /// Its pid.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// Has it do something, and waits for its answer.
    ///
    /// # Errors
    /// What went wrong, in its words.
    ///
    /// # Panics
    /// When it is dead or doesn't answer.
    pub fn ask(&mut self, command: &str) -> Result<String, String> {
        self.tell(command);
        self.answer()
    }

    /// As [`Self::ask`], without waiting for the answer.
    ///
    /// # Panics
    /// When it is dead.
    pub fn tell(&mut self, command: &str) {
        writeln!(self.stream.get_mut(), "{command}").expect("the peer lives");
    }

    /// Waits for the answer to what it was told.
    ///
    /// # Errors
    /// What went wrong, in its words.
    ///
    /// # Panics
    /// When it is dead or doesn't answer.
    pub fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read =
            self.stream.read_line(&mut line).unwrap_or_else(|error| panic!("peer {}: {error}", self.pid));
        assert!(read > 0, "peer {} died", self.pid);
        let line = line.trim_end();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, rest) => Err(rest.to_owned()),
        }
    }

    /// Has it do something that must succeed.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn done(&mut self, command: &str) {
        self.ask(command).unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    /// Has it do something that must succeed and tells a number.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn number(&mut self, command: &str) -> f64 {
        let answer = self.ask(command).unwrap_or_else(|error| panic!("{command}: {error}"));
        answer.parse().unwrap_or_else(|_| panic!("{command}: answered {answer:?}"))
    }

    /// Kills it with SIGKILL and waits until the kernel has taken back what it held.
    ///
    /// # Panics
    /// When it doesn't die.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_for_end();
    }

    /// As [`Self::kill`], but what it has forked lives on until what this gives is dropped.
    ///
    /// # Panics
    /// When it doesn't die.
    pub fn kill_and_keep_children(mut self) -> impl Drop {
        self.signal(Signal::SIGKILL);
        self.wait_for_end();
        self
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is dead.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).expect("the peer lives");
    }

    /// Waits until it has ended, if a signal will end it or has: which one.
    ///
    /// # Panics
    /// When it was forked, or ends otherwise, or doesn't.
    #[must_use]
    pub fn death(mut self) -> i32 {
        let child = self.child.as_mut().expect("a child of ours");
        let status = wait_for("a death", || child.0.try_wait().expect("a child"));
        std::os::unix::process::ExitStatusExt::signal(&status).expect("a signal")
    }

    /// Lets it end by itself.
    ///
    /// # Panics
    /// When it doesn't.
    pub fn end(mut self) {
        self.tell("end");
        self.wait_for_end();
    }

    fn wait_for_end(&mut self) {
        match &mut self.child {
            Some(child) => drop(child.0.wait()),
            // The end of the connection alone comes too early: descriptors are closed after memory is given back,
            // but other processes of the family may hold the same socket.
            None => wait_for("the end of a forked peer", || has_ended(self.pid).then_some(())),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if self.child.is_none() && !has_ended(self.pid) {
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }
}

/// Whether a process is gone or a zombie.
fn has_ended(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Waits until a process has stopped (SIGSTOP).
///
/// # Panics
/// When it doesn't.
pub fn wait_until_stopped(pid: i32) {
    wait_for("a peer to stop", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')).then_some(())
    });
}

/// The clock that stamps `mostrecent` ticks a few hundred times a second: waits for the next tick.
///
/// # Panics
/// When there is no such clock.
pub fn next_tick() {
    use nix::time::{ClockId, clock_gettime};
    let now = || clock_gettime(ClockId::CLOCK_REALTIME_COARSE).expect("the time");
    let start = now();
    while now() == start {
        std::hint::spin_loop();
    }
}

/// Slots whose lock byte somebody holds, as the kernel says it.
///
/// # Panics
/// When the file can't be opened.
#[must_use]
pub fn held_slots(path: &Path) -> Vec<u32> {
    use dyn_metrics_layout::process::lock_offset;
    let file = std::fs::File::open(path).expect("the segment");
    (0..512).filter(|slot| is_locked(file.as_fd(), lock_offset(*slot))).collect()
}

fn is_locked(file: std::os::fd::BorrowedFd<'_>, offset: u64) -> bool {
    let mut lock = nix::libc::flock {
        l_type: nix::libc::F_RDLCK as i16,
        l_whence: 0,
        l_start: offset as i64,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_OFD_GETLK(&mut lock)).expect("an answer of the kernel");
    lock.l_type != nix::libc::F_UNLCK as i16
}
