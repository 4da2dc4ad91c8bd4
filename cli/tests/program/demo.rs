//! `dyn-metrics demo`, with real processes and the real exporter.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use dyn_metrics::Registry;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{PROGRAM, Run, finish, program, run, text};

/// Whether the exporter lies beside the program; without, where that is expected, the test fails.
fn can_run() -> bool {
    let exporter = Path::new(PROGRAM).with_file_name("dyn-metrics-exporter");
    let found = exporter.is_file();
    assert!(found || std::env::var_os("CI").is_none(), "{}: build it first", exporter.display());
    if !found {
        eprintln!("SKIPPED: {} has not been built", exporter.display());
    }
    found
}

/// A running demo; its processes end with it.
struct Demo {
    process: Child,
    out: BufReader<ChildStdout>,
    said: String,
    segment: PathBuf,
    _directory: tempfile::TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        let segment = directory.path().join("demo");
        let mut command = program();
        command.args(["demo", "--listen", "127.0.0.1:0", "--shm"]).arg(&segment).args(arguments);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        Self { process, out, said: String::new(), segment, _directory: directory }
    }

    /// Reads up to the line that contains `text`.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let before = self.said.len();
            let length = self.out.read_line(&mut self.said).expect("UTF-8");
            assert!(length > 0, "no {text:?} in\n{}", self.said);
            if self.said[before..].contains(text) {
                return self.said[before..].trim().to_owned();
            }
        }
    }

    /// What it gave in all, and the segment that it left.
    fn end(mut self) -> (Run, PathBuf, tempfile::TempDir) {
        self.out.read_to_string(&mut self.said).expect("UTF-8");
        let output = self.process.wait_with_output().expect("an end");
        (Run { out: self.said, ..finish(&output) }, self.segment, self._directory)
    }
}

fn get(address: &str) -> String {
    let (host, path) = address.trim_start_matches("http://").split_once('/').expect("a path");
    let mut stream = TcpStream::connect(host).expect("the exporter");
    write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("UTF-8");
    answer
}

/// Sum of a family's series.
fn total(segment: &Path, family: &str) -> u64 {
    let out = run(&["dump", &text(segment), "--format", "json", "--family", family]).out;
    let json: Value = serde_json::from_str(&out).expect("JSON");
    let series = json["families"][0]["series"].as_array().unwrap_or_else(|| panic!("no {family}"));
    series.iter().map(|series| series["value"].as_u64().expect("a number")).sum()
}

#[test]
fn the_demo_serves_kills_restarts_and_leaves_a_sound_segment() {
    if !can_run() {
        return;
    }
    let mut demo = Demo::start(&["--seconds", "5", "--seed", "7"]);
    let address = demo.wait_for("http://").split_whitespace().last().expect("an address").to_owned();
    demo.wait_for("killing worker 0 ");
    demo.wait_for("started worker 0 again ");
    let page = get(&address);
    assert!(page.starts_with("HTTP/1.0 200 OK\r\n") || page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("\ndynamo_frontend_requests_started_total{"), "{page}");
    let (run_, segment, _directory) = demo.end();
    assert_eq!((run_.status, run_.err.as_str()), (Some(0), ""), "{}", run_.out);
    assert!(run_.out.contains("processes: 1 alive, 4 dead"), "{}", run_.out);
    assert!(TcpStream::connect(address.trim_start_matches("http://").trim_end_matches("/metrics")).is_err());

    let check = run(&["check", &text(&segment)]);
    assert_eq!(check.status, Some(0), "{}", check.out);
    let started = total(&segment, "dynamo_frontend_requests_started_total");
    assert!(started > 0);
    assert_eq!(total(&segment, "dynamo_frontend_requests_total"), started, "what was started has ended");
    assert_eq!(total(&segment, "dynamo_supervisor_worker_restarts_total"), 1);
}

#[test]
fn an_interrupt_ends_the_demo_in_order() {
    if !can_run() {
        return;
    }
    let mut demo = Demo::start(&["--workers", "1"]);
    demo.wait_for("1/1 workers");
    let second = program().args(["demo", "--shm"]).arg(&demo.segment).output().expect("the program");
    let second = finish(&second);
    assert_eq!((second.status, second.out.as_str()), (Some(2), ""), "{}", second.err);
    assert!(second.err.contains("in use by process "), "{}", second.err);
    kill(Pid::from_raw(demo.process.id() as i32), Signal::SIGINT).expect("a running process");
    let (run_, segment, _directory) = demo.end();
    assert_eq!((run_.status, run_.err.as_str()), (Some(0), ""), "{}", run_.out);
    let started = total(&segment, "dynamo_frontend_requests_started_total");
    assert_eq!(total(&segment, "dynamo_frontend_requests_total"), started);
}

#[test]
fn a_segment_of_another_service_is_left_alone() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let path = directory.path().join("service");
    let counter = Registry::open_at(&path).and_then(|registry| registry.counter("real_total", "Real"));
    counter.expect("a counter").inc_by(7);
    let refused = run(&["demo", "--seconds", "1", &text(&path)]);
    assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{}", refused.err);
    assert!(refused.err.contains(": is no segment of an earlier demo"), "{}", refused.err);
    assert_eq!(total(&path, "real_total"), 7);
    let output = program().args(["demo", "--seconds", "1"]).env("DYN_METRICS_SHM", &path).output();
    let refused = finish(&output.expect("the program"));
    let expected = format!("{} (from DYN_METRICS_SHM): is no segment", path.display());
    assert!(refused.status == Some(2) && refused.err.contains(&expected), "{}", refused.err);
    assert_eq!(total(&path, "real_total"), 7);
}

#[test]
fn what_no_demo_has_made_is_left_alone_whatever_it_is() {
    if !can_run() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let path = directory.path().join("service");
    drop(Registry::open_at(&path).expect("a segment"));
    let empty = std::fs::read(&path).expect("a segment");
    let with = |at: usize, value: u8| {
        let mut bytes = empty.clone();
        bytes[at] = value;
        bytes
    };
    for (what, bytes) in [
        ("a segment without metrics", empty.clone()),
        ("a later format", with(12, 9)),
        ("a damaged header", with(100, empty[100] ^ 1)),
        ("no bytes", Vec::new()),
        ("no segment", b"not a segment".to_vec()),
    ] {
        for place in [path.clone(), directory.path().join("service.superseded-1")] {
            std::fs::remove_file(&path).ok();
            std::fs::write(&place, &bytes).expect("a file");
            let refused = run(&["demo", "--seconds", "1", &text(&path)]);
            assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{what}: {}", refused.err);
            assert!(refused.err.contains("is no segment of an earlier demo"), "{what}: {}", refused.err);
            assert!(std::fs::read(&place).expect("a file") == bytes, "{what}");
            std::fs::remove_file(&place).expect("a file");
        }
    }
}

#[test]
fn without_the_exporter_the_demo_does_not_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let alone = directory.path().join("dyn-metrics");
    std::fs::copy(PROGRAM, &alone).expect("a copy");
    let segment = directory.path().join("segment");
    let output = Command::new(&alone).args(["demo", "--shm"]).arg(&segment).output().expect("the program");
    let refused = finish(&output);
    assert_eq!((refused.status, refused.err.lines().count()), (Some(2), 1), "{}", refused.err);
    assert!(refused.err.contains("dyn-metrics-exporter: no such file"), "{}", refused.err);
    assert!(!segment.exists());
}
