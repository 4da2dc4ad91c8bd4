//! The processes of a run: started, stopped, killed and, in the end, all accounted for.
//!
//! The driver is the reaper of all its descendants, so the pid of a process that it has not yet waited for is nobody
//! else's, and no death goes unseen. All workers hold the end of a pipe, forked ones too; when it is closed, all are dead.

use std::collections::BTreeMap;
use std::io::{PipeReader, PipeWriter, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::findings::Findings;
use super::ledger::{self, Beginning, Ledger, Life};
use super::options::Options;
use crate::random::Random;

/// A worker that has not ended by itself after so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// What was done to the processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Processes started.
    pub starts: u64,
    /// Processes that others forked.
    pub forks: u64,
    /// Processes that replaced themselves.
    pub execs: u64,
    /// Processes killed.
    pub kills: u64,
    /// Of them stopped at that moment.
    pub kills_stopped: u64,
    /// Of them forked just before.
    pub kills_of_parents: u64,
    /// Of them not yet counting.
    pub kills_young: u64,
    /// Times that a process was stopped, other than for a census.
    pub stops: u64,
    /// Of them for longer than the library waits for anybody.
    pub stops_long: u64,
}

/// A process that was not waited for yet.
#[derive(Clone, Copy, Debug, Default)]
struct Process {
    /// Its current life; none before it has begun one.
    life: Option<usize>,
    /// Seat, of those that the driver has started.
    seat: Option<u64>,
    stopped_until: Option<Instant>,
    killed: bool,
}

/// All processes of a run.
#[derive(Debug)]
pub struct Population<'f> {
    options: Options,
    directory: PathBuf,
    ledger: Ledger,
    findings: &'f Findings,
    processes: BTreeMap<i32, Process>,
    /// Lives whose entries are not complete yet, or never will be.
    incomplete: Vec<usize>,
    lives: usize,
    /// What workers have as their standard input; dropped when no further ones are started.
    held: Option<PipeWriter>,
    all_ended: PipeReader,
    /// What was done.
    pub figures: Figures,
}

impl<'f> Population<'f> {
    /// Nobody.
    ///
    /// # Panics
    /// When this process can't become the reaper of its descendants.
    #[must_use]
    pub fn new(options: Options, directory: PathBuf, ledger: Ledger, findings: &'f Findings) -> Self {
        nix::sys::prctl::set_child_subreaper(true).expect("a reaper of descendants");
        let (all_ended, held) = std::io::pipe().expect("a pipe");
        fcntl(&all_ended, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe that doesn't block");
        Self {
            options,
            directory,
            ledger,
            findings,
            processes: BTreeMap::new(),
            incomplete: Vec::new(),
            lives: 0,
            held: Some(held),
            all_ended,
            figures: Figures::default(),
        }
    }

    /// Starts a worker on every seat that has none.
    ///
    /// # Panics
    /// When no process can be started.
    pub fn fill_seats(&mut self, random: &mut Random) {
        for seat in 0..self.options.processes {
            if !self.processes.values().any(|process| process.seat == Some(seat) && !process.killed) {
                self.start(seat, random.next());
            }
        }
    }

    #[allow(clippy::zombie_processes, reason = "reap() waits for all, forked ones too")]
    fn start(&mut self, seat: u64, seed: u64) {
        let program = std::env::current_exe().expect("the driver knows its own path");
        let mut command = Command::new(program);
        command
            .arg("work")
            .arg(&self.directory)
            .args([seat, seed, self.options.threads].map(|n| n.to_string()));
        command.arg(self.options.twin.name()).arg("started").stdout(Stdio::null());
        let held = self.held.as_ref().and_then(|held| held.try_clone().ok());
        command.stdin(held.map_or_else(Stdio::null, Stdio::from));
        // A share of the seats does without restartable sequences.
        command.env("DYN_METRICS_RSEQ", if seat % 4 == 3 { "off" } else { "auto" });
        let child = command.spawn().expect("a worker starts");
        self.processes.insert(child.id() as i32, Process { seat: Some(seat), ..Process::default() });
        self.figures.starts += 1;
    }

    /// Looks for new lives; those that were forked.
    pub fn discover(&mut self) -> Vec<Life> {
        let lives = self.ledger.lives();
        self.incomplete.extend(self.lives..lives);
        self.lives = lives;
        let mut begun = Vec::new();
        self.incomplete.retain(|number| match self.ledger.life(*number) {
            Some(life) => {
                begun.push(life);
                false
            }
            None => true,
        });
        for life in &begun {
            match life.beginning {
                Some(Beginning::Forked) => self.figures.forks += 1,
                Some(Beginning::Replaced) => self.figures.execs += 1,
                _ => (),
            }
            self.processes.entry(life.pid).or_default().life = Some(life.number);
        }
        begun.retain(|life| life.beginning == Some(Beginning::Forked));
        begun
    }

    /// Takes note of every process that has ended since.
    pub fn reap(&mut self) {
        loop {
            let status = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            self.discover(); // it may have begun a life that was not seen yet
            let Some(pid) = status.pid() else { continue };
            let process = self.processes.remove(&pid.as_raw()).unwrap_or_default();
            match status {
                WaitStatus::Signaled(_, Signal::SIGKILL, _) if process.killed => self.figures.kills += 1,
                WaitStatus::Exited(_, 0) if self.held.is_none() => (),
                other => self.findings.add(format!("a process ended by itself: {other:?}")),
            }
        }
    }

    /// Processes that have begun to count and were not killed.
    #[must_use]
    pub fn living(&self) -> Vec<i32> {
        let living = self.processes.iter().filter(|(_, process)| !process.killed && process.life.is_some());
        living.map(|(pid, _)| *pid).collect()
    }

    /// Those of them that run.
    #[must_use]
    pub fn running(&self) -> Vec<i32> {
        let mut living = self.living();
        living.retain(|pid| self.processes[pid].stopped_until.is_none());
        living
    }

    /// Processes started that have not begun to count.
    #[must_use]
    pub fn young(&self) -> Vec<i32> {
        let young = self.processes.iter().filter(|(_, process)| !process.killed && process.life.is_none());
        young.map(|(pid, _)| *pid).collect()
    }

    /// Current lives of those that run or are stopped.
    #[must_use]
    pub fn current_lives(&self) -> BTreeMap<usize, Life> {
        let numbers = self.processes.values().filter(|process| !process.killed);
        let lives = numbers.filter_map(|process| self.ledger.life(process.life?));
        lives.map(|life| (life.number, life)).collect()
    }

    /// Has a process fork or replace itself, when it gets to it.
    pub fn command(&self, pid: i32, command: ledger::Command) {
        if let Some(life) = self.processes.get(&pid).and_then(|process| process.life) {
            self.ledger.command(life, command);
        }
    }

    /// Kills a process, with SIGKILL; false when it is dead.
    pub fn kill(&mut self, pid: i32) -> bool {
        let Some(process) = self.processes.get_mut(&pid).filter(|process| !process.killed) else {
            return false;
        };
        process.killed = true;
        self.figures.kills_stopped += u64::from(process.stopped_until.is_some());
        self.figures.kills_young += u64::from(process.life.is_none());
        kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
    }

    /// Kills the process of a life, if that is still its current one.
    pub fn kill_life(&mut self, life: usize) {
        let found = self.processes.iter().find(|(_, process)| process.life == Some(life));
        if let Some(pid) = found.map(|(pid, _)| *pid)
            && self.kill(pid)
        {
            self.figures.kills_of_parents += 1;
        }
    }

    /// Stops a process for a while.
    pub fn stop(&mut self, pid: i32, time: Duration) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.stopped_until = Some(Instant::now() + time);
            self.figures.stops += 1;
            self.figures.stops_long += u64::from(time >= Duration::from_millis(150));
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        }
    }

    /// Lets those go on whose time has come.
    pub fn go_on(&mut self) {
        let now = Instant::now();
        for (pid, process) in &mut self.processes {
            if process.stopped_until.is_some_and(|until| until <= now) {
                process.stopped_until = None;
                let _ = kill(Pid::from_raw(*pid), Signal::SIGCONT);
            }
        }
    }

    /// Stops everybody who counts, calls `look`, and lets those go on who ran before.
    pub fn while_all_are_stopped<R>(&mut self, look: impl FnOnce(&Self) -> R) -> R {
        let mut moving = self.living();
        let deadline = Instant::now() + HANGS_AFTER;
        while !moving.is_empty() {
            // Again and again: a process that replaces itself forgets that it was to stop.
            for pid in &moving {
                let _ = kill(Pid::from_raw(*pid), Signal::SIGSTOP);
            }
            std::thread::sleep(Duration::from_millis(2));
            moving.retain(|pid| !is_at_rest(*pid));
            if Instant::now() > deadline {
                self.findings.add(format!("processes that don't stop: {moving:?}"));
                break;
            }
        }
        let seen = look(self);
        for pid in self.running() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGCONT);
        }
        seen
    }

    /// Ends everybody: some by SIGKILL, the others by themselves. Waits for all of them.
    pub fn end(&mut self, random: &mut Random) {
        for pid in self.living() {
            if random.one_in(2) {
                self.kill(pid);
            }
        }
        self.held = None;
        self.ledger.set_global(ledger::Global::Stop, 1);
        let deadline = Instant::now() + HANGS_AFTER;
        let mut told = false;
        while !self.have_all_ended() {
            // Also those that were forked at the last moment, and whom nobody has stopped.
            for (pid, process) in self.processes.iter_mut().filter(|(_, process)| !process.killed) {
                process.stopped_until = None;
                let _ = kill(Pid::from_raw(*pid), Signal::SIGCONT);
            }
            if !told && Instant::now() > deadline {
                told = true;
                self.end_those_that_hang();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether nobody has the pipe any more, and everybody known was waited for.
    fn have_all_ended(&mut self) -> bool {
        let ended = matches!(self.all_ended.read(&mut [0]), Ok(0));
        self.discover();
        self.reap();
        ended && self.processes.is_empty()
    }

    fn end_those_that_hang(&mut self) {
        let stuck: Vec<_> = self.living();
        self.findings.add(format!("processes that hang: {stuck:?}, of {:?}", self.processes));
        for pid in stuck {
            self.kill(pid);
        }
    }
}

impl Drop for Population<'_> {
    fn drop(&mut self) {
        for pid in self.processes.keys() {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
    }
}

/// Whether a process is stopped, or dead and not yet waited for.
fn is_at_rest(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['T', 'Z', 'X']))
}
