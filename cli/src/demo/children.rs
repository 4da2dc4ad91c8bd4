//! Child processes: started from this same binary, watched, stopped and always waited for.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::DemoError;

/// How often a child that is to end is looked at.
const POLL: Duration = Duration::from_millis(10);

/// A child process. Dropping it kills it.
pub struct Process {
    child: Child,
    name: String,
    ended: Option<ExitStatus>,
}

impl Process {
    fn spawn(name: String, command: &mut Command) -> Result<Self, DemoError> {
        let child = command.spawn().map_err(|source| DemoError::io(format!("start {name}"), source))?;
        Ok(Self { child, name, ended: None })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipe from its standard error, once, if it has one.
    pub fn take_stderr(&mut self) -> Option<std::process::ChildStderr> {
        self.child.stderr.take()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, DemoError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| self.wait_error(source))?;
        }
        Ok(self.ended)
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill(&mut self) -> Result<ExitStatus, DemoError> {
        if let Some(status) = self.ended()? {
            return Ok(status);
        }
        self.child.kill().map_err(|source| DemoError::io(format!("kill {}", self.name), source))?;
        let status = self.child.wait().map_err(|source| self.wait_error(source))?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Asks it to end and waits; kills it after `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus, DemoError> {
        self.ask_to_end()?;
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            thread::sleep(POLL);
        }
        self.kill()
    }

    /// Sends SIGTERM, unless it has ended and been waited for, so that the id cannot be somebody else's.
    pub fn ask_to_end(&mut self) -> Result<(), DemoError> {
        if self.ended()?.is_none() {
            let pid = Pid::from_raw(i32::try_from(self.pid()).expect("Linux process ids are below 2^22"));
            kill(pid, Signal::SIGTERM)
                .map_err(|error| DemoError::io(format!("stop {}", self.name), error.into()))?;
        }
        Ok(())
    }

    fn wait_error(&self, source: io::Error) -> DemoError {
        DemoError::io(format!("wait for {}", self.name), source)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The way out of an error: nothing more can be done about another one.
        let _ = self.kill();
    }
}

/// Starts the demo's processes.
pub struct Launcher {
    /// This binary.
    pub program: PathBuf,
    /// The segment.
    pub shm: PathBuf,
    /// Name of the socket on which the front end listens.
    pub socket: String,
    /// Seed of all random processes.
    pub seed: u64,
    /// Number of workers.
    pub workers: u32,
    /// Longest wait of the front end for requests under way at the end.
    pub drain: Duration,
}

impl Launcher {
    /// Starts the front end, which takes over `listener`.
    pub fn frontend(&self, listener: UnixListener) -> Result<Process, DemoError> {
        let mut command = self.command("frontend");
        command.args(["--workers", &self.workers.to_string()]);
        command.args(["--drain-ms", &self.drain.as_millis().to_string()]).stdin(OwnedFd::from(listener));
        Process::spawn("front end".into(), &mut command)
    }

    /// Starts worker `index`.
    pub fn worker(&self, index: u32) -> Result<Process, DemoError> {
        let mut command = self.command("worker");
        command.args(["--index", &index.to_string(), "--socket", &self.socket]);
        Process::spawn(format!("worker {index}"), &mut command)
    }

    /// Starts the exporter at `path` by way of this binary, so that it, too, ends with this process.
    pub fn exporter(&self, path: &Path, listen: SocketAddr) -> Result<Process, DemoError> {
        let mut command = self.command("exporter");
        command.arg("--program").arg(path).args(["--listen", &listen.to_string()]).stderr(Stdio::piped());
        Process::spawn("exporter".into(), &mut command)
    }

    fn command(&self, role: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["demo-process", "--parent", &std::process::id().to_string()]);
        command.arg("--shm").arg(&self.shm).args(["--seed", &self.seed.to_string(), role]);
        // Its own process group: Ctrl-C reaches this process alone, which then stops the others in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}
