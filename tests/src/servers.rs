//! Real programs for the end-to-end tests: writers, the exporter, Prometheus. Each is ended by its own guard.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A child process that doesn't outlive its guard.
#[derive(Debug)]
pub struct Guard(pub Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of this workspace; `make test` builds them all first.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("the test knows its own path");
    path.pop(); // deps
    if path.ends_with("deps") {
        path.pop();
    }
    path.push(name);
    assert!(path.exists(), "{} is missing: cargo build --workspace --bins", path.display());
    path
}

/// A program of this workspace, to be run as another user in one group, who need not reach its path. Needs root.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn program_as(name: &str, uid: u32, gid: u32) -> Command {
    let file = std::fs::File::open(program(name)).expect("the program");
    let file = nix::unistd::dup(&file).expect("a descriptor that lives through exec").into_raw_fd();
    let mut command = Command::new(format!("/proc/self/fd/{file}"));
    command.uid(uid).gid(gid).current_dir("/");
    command
}

/// Whether `name` is on PATH. In CI a missing tool is a failure.
///
/// # Panics
/// When it is missing and `CI` is set.
#[must_use]
pub fn have(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(name).exists());
    assert!(found || std::env::var_os("CI").is_none(), "{name} is missing; make setup installs it");
    if !found {
        eprintln!("SKIPPED: {name} is missing; make setup installs it");
    }
    found
}

/// Waits until `ready` gives something.
///
/// # Panics
/// When it doesn't within a minute.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1200 {
        if let Some(found) = ready() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited in vain for {what}");
}

/// A port that was free a moment ago.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// `GET path`: status and body.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

/// `POST path`: status and body.
#[must_use]
pub fn post(address: SocketAddr, path: &str, body: &str) -> Option<(u16, String)> {
    let length = body.len();
    let head = "Host: test\r\nConnection: close\r\nContent-Type: application/json";
    ask(address, &format!("POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}"))
}

fn ask(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Some((status, body.to_owned()));
    }
    Some((status, unchunk(body)))
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.push_str(rest.get(..size).unwrap_or(rest));
        body = rest.get(size + 2..).unwrap_or("");
    }
    whole
}

/// The exporter, on a port of its own.
#[derive(Debug)]
pub struct Exporter {
    /// Its process.
    pub child: Guard,
    /// Where it listens.
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    reads_log: JoinHandle<()>,
}

impl Exporter {
    /// Starts it over these segments.
    ///
    /// # Panics
    /// When it doesn't start.
    #[must_use]
    pub fn start(patterns: &[&str]) -> Self {
        Self::start_by(Command::new(program("dyn-metrics-exporter")), patterns)
    }

    /// As [`Self::start`], as another user in one group. Needs root.
    ///
    /// # Panics
    /// When it doesn't start.
    #[must_use]
    pub fn start_as(uid: u32, gid: u32, patterns: &[&str]) -> Self {
        Self::start_by(program_as("dyn-metrics-exporter", uid, gid), patterns)
    }

    /// As [`Self::start`], by a command that runs it: with limits, as another user, ...
    ///
    /// # Panics
    /// When it doesn't start.
    #[must_use]
    pub fn start_by(mut command: Command, patterns: &[&str]) -> Self {
        for pattern in patterns {
            command.args(["--shm", pattern]);
        }
        command.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = Guard(command.spawn().expect("the exporter starts"));
        let mut lines = BufReader::new(child.0.stderr.take().expect("a pipe")).lines();
        let mut log = Vec::new();
        let address = loop {
            let line = lines.next().and_then(Result::ok);
            log.push(line.unwrap_or_else(|| panic!("the exporter ended before it listened: {log:?}")));
            if let Some((_, rest)) = log[log.len() - 1].split_once("listening address=") {
                break rest.split_whitespace().next().and_then(|a| a.parse().ok()).expect("an address");
            }
        };
        let log = Arc::new(Mutex::new(log));
        let writer = Arc::clone(&log);
        let reads_log = std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| writer.lock().expect("a log").push(line));
        });
        Self { child, address, log, reads_log }
    }

    /// Asks it to stop, as its supervisor would; all that it has logged.
    ///
    /// # Panics
    /// When it was dead, or doesn't end well.
    #[must_use]
    pub fn end(self) -> String {
        let Self { mut child, log, reads_log, .. } = self;
        kill(Pid::from_raw(child.0.id() as i32), Signal::SIGTERM).expect("the exporter lives");
        reads_log.join().expect("its log");
        let log: String = log.lock().expect("a log").iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        assert!(child.0.wait().expect("its end").success(), "{log}");
        log
    }

    /// What it has logged so far.
    ///
    /// # Panics
    /// Never: nobody panics who has the lock.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("a log").clone()
    }

    /// The text of `/metrics`.
    ///
    /// # Panics
    /// When it doesn't answer with 200.
    #[must_use]
    pub fn metrics(&self) -> String {
        let (status, body) = get(self.address, "/metrics").expect("the exporter answers");
        assert_eq!(status, 200, "{body}");
        body
    }

    /// The value of one sample of `/metrics`, named with its labels as the text has them.
    #[must_use]
    pub fn sample(&self, name: &str) -> Option<f64> {
        sample(&self.metrics(), name)
    }
}

/// The value of one sample in an exposition.
#[must_use]
pub fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name).filter(|rest| rest.starts_with(' ')));
    line?.trim().parse().ok()
}

/// A writer process: see `src/bin/serving.rs`.
#[derive(Debug)]
pub struct Serving {
    /// Its process.
    pub child: Guard,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Serving {
    /// Starts one on the segment at `path`.
    ///
    /// # Panics
    /// When it doesn't start.
    #[must_use]
    pub fn start(binary: &Path, path: &Path, role: &str) -> Self {
        let mut command = Command::new(binary);
        command.arg(path).arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a writer starts");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Self { child: Guard(child), input, output: BufReader::new(output) }
    }

    /// Has it count `n` times; returns what it acknowledges in all.
    ///
    /// # Panics
    /// When it is dead.
    pub fn work(&mut self, n: u64) -> u64 {
        writeln!(self.input, "work {n}").expect("the writer reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the writer answers");
        line.trim().strip_prefix("done ").and_then(|total| total.parse().ok()).expect("done TOTAL")
    }
}
