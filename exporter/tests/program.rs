//! The program as its supervisor sees it: log, signals and exit status.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PROGRAM: &str = env!("CARGO_BIN_EXE_dyn-metrics-exporter");

/// A running exporter; killed when a test ends before it.
struct Exporter {
    process: Child,
    log: BufReader<ChildStderr>,
    /// What it logged until it listened.
    start: String,
    address: String,
}

impl Exporter {
    fn start(shm: &str) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["--shm", shm, "--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
        let mut process = command.spawn().expect("the program");
        let log = BufReader::new(process.stderr.take().expect("a pipe"));
        let mut exporter = Self { process, log, start: String::new(), address: String::new() };
        while exporter.address.is_empty() {
            let before = exporter.start.len();
            let length = exporter.log.read_line(&mut exporter.start).expect("UTF-8");
            assert!(length > 0, "ended early: {}", exporter.start);
            if let Some((_, address)) = exporter.start[before..].trim().split_once("listening address=") {
                exporter.address = address.to_owned();
            }
        }
        exporter
    }

    /// Sends `signal`; exit status and the rest of the log.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        let process = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(process), signal).expect("a running process");
        let mut log = String::new();
        self.log.read_to_string(&mut log).expect("UTF-8");
        (self.process.wait().expect("an end").code(), log)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Both fail where it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).env_remove("DYN_METRICS_SHM").output().expect("the program")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn signals_end_it_with_status_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let exporter = Exporter::start("/nothing/here");
        let mut client = TcpStream::connect(&exporter.address).expect("a connection");
        client.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").expect("a request");
        let mut answer = [0; 15];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        let (status, log) = exporter.end(signal);
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains(&format!("asked to stop signal=\"{signal}\"")), "{log}");
    }
}

#[test]
fn the_log_has_a_line_for_each_change_and_none_for_a_scrape() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("segment");
    let exporter = Exporter::start(path.to_str().expect("UTF-8"));
    assert!(exporter.start.contains("segment does not exist yet"), "{}", exporter.start);
    let scrape = || {
        let mut client = TcpStream::connect(&exporter.address).expect("a connection");
        client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
        client.read_to_end(&mut Vec::new()).expect("an answer");
    };
    scrape();
    std::fs::write(&path, "no segment").expect("a file");
    (0..5).for_each(|_| scrape());
    std::fs::remove_file(&path).expect("no file");
    (0..5).for_each(|_| scrape());
    let (status, log) = exporter.end(Signal::SIGTERM);
    assert_eq!(status, Some(0), "a bad segment is no problem of the exporter: {log}");
    assert_eq!(log.matches("segment skipped").count(), 1, "{log}");
    assert_eq!(log.matches("segment is gone").count(), 1, "{log}");
    assert_eq!(log.lines().count(), 4, "{log}");
    assert!(!log.contains('\x1b'), "no colours outside a terminal: {log}");
}

#[test]
fn patterns_without_a_match_are_logged_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let pattern = directory.path().join("*.metrics");
    let exporter = Exporter::start(pattern.to_str().expect("UTF-8"));
    for _ in 0..3 {
        let mut client = TcpStream::connect(&exporter.address).expect("a connection");
        client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains("\ndyn_metrics_pattern_files{pattern=\""), "{answer}");
    }
    assert!(exporter.start.contains("pattern leads to no file yet"), "{}", exporter.start);
    let (_, log) = exporter.end(Signal::SIGTERM);
    assert!(!log.contains("pattern"), "{log}");
}

#[test]
fn an_empty_variable_is_none_and_one_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let start = |value: &[u8]| {
        let mut command = Command::new(PROGRAM);
        command.env("DYN_METRICS_SHM", std::ffi::OsStr::from_bytes(value));
        command.args(["--listen", "192.0.2.1:1"]).output().expect("the program")
    };
    // The address is nobody's: what it would have served is in the log.
    let log = text(&start(b"").stderr).to_owned();
    assert!(!log.contains("DYN_METRICS_SHM") && log.contains("192.0.2.1:1"), "{log}");
    let refused = start(b"/a\xff");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("DYN_METRICS_SHM: found \"/a\\xFF\", expected UTF-8"));
}

#[test]
fn an_address_in_use_is_status_2_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&["--shm", "/nothing/here", "--listen", &address]);
    let log = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains(&address) && log.contains("already in use"), "{log}");
}

#[test]
fn wrong_arguments_are_status_2() {
    for arguments in [&["--listen", "here"][..], &["--shm", ""], &["--port", "1"], &["segment"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn version_and_help_say_what_is_needed() {
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(text(&version.stdout).contains("segment format "));
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    for word in [
        "--shm",
        "--listen",
        "--log-level",
        "DYN_METRICS_SHM",
        "/dev/shm/dynamo",
        "0.0.0.0:9464",
        "Examples:",
    ] {
        assert!(text(&help.stdout).contains(word), "{word}");
    }
}
