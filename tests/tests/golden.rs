//! A segment committed with what a reader says of it: every later version must read it, and say the same.
//!
//! `BLESS=1 cargo nextest run --test golden expositions` writes the files in `data/` anew. Only a new format version
//! calls for that, and it gets files of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use dyn_metrics_reader::check;
use dyn_metrics_tests::golden::{Golden, LIVING, NAME, data};
use dyn_metrics_tests::servers::Guard;

/// Starts a process that writes, and waits until it has written.
fn writer(path: &Path, role: &str, number: u32) -> Guard {
    let mut command = Command::new(env!("CARGO_BIN_EXE_golden"));
    command.arg(path).args([role, &number.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = Guard(command.spawn().expect("a writer starts"));
    let mut line = String::new();
    BufReader::new(child.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    child
}

/// Makes the golden files anew when `BLESS` asks for it.
fn bless() {
    if std::env::var_os("BLESS").is_none() {
        return;
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join(NAME);
    let first = writer(&path, "worker-a", 1);
    let _second = writer(&path, "worker-b", 2);
    drop(first); // killed
    // Takes the dead one's slot and, where the mode allows it, its gauge cells.
    let _third = writer(&path, "worker-c", 3);
    drop(writer(&path, "worker-d", 4));
    std::fs::copy(&path, data("segment")).expect("data");
    let golden = Golden::copy();
    std::fs::write(data("prometheus.txt"), golden.text()).expect("data");
    let json = serde_json::to_string_pretty(&golden.json()).expect("JSON");
    std::fs::write(data("json"), json + "\n").expect("data");
}

#[test]
fn expositions_of_the_golden_segment_are_what_they_were() {
    bless();
    let golden = Golden::copy();
    let (text, json) = (golden.text(), golden.json());
    let committed = std::fs::read_to_string(data("prometheus.txt")).expect("the committed text");
    let metrics = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.contains("dyn_metrics_")).map(str::to_owned).collect()
    };
    assert_eq!(metrics(&text), metrics(&committed));
    // Later versions may say more of themselves, and name another format version that they read.
    let is_stable = |line: &&str| line.starts_with("dyn_metrics_") && !line.starts_with("dyn_metrics_info");
    for line in committed.lines().filter(is_stable) {
        assert!(text.lines().any(|found| found == line), "{line} is missing from {text}");
    }
    let committed = std::fs::read_to_string(data("json")).expect("the committed JSON");
    let mut committed: serde_json::Value = serde_json::from_str(&committed).expect("JSON");
    committed.as_object_mut().expect("an object").remove("format_version");
    assert_contains(&json, &committed, "");
}

/// Fails unless `found` has everything that `expected` has; members may have been added to objects.
fn assert_contains(found: &serde_json::Value, expected: &serde_json::Value, place: &str) {
    use serde_json::Value::{Array, Object};
    match (found, expected) {
        (Object(found), Object(expected)) => {
            for (name, expected) in expected {
                let found = found.get(name).unwrap_or_else(|| panic!("{place}.{name} is missing"));
                assert_contains(found, expected, &format!("{place}.{name}"));
            }
        }
        (Array(found), Array(expected)) => {
            assert_eq!(found.len(), expected.len(), "{place}");
            for (number, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert_contains(found, expected, &format!("{place}[{number}]"));
            }
        }
        _ => assert_eq!(found, expected, "{place}"),
    }
}

/// Four processes on two CPUs; -4 and -1 are of dead ones, 2.002 and 3.5 of living ones: see `src/bin/golden.rs`.
#[test]
fn the_golden_numbers_are_those_that_the_writers_counted() {
    let text = Golden::copy().text();
    for (name, labels, expected) in [
        ("golden_requests_total", "model=\"模型-7b\"", "20"),
        ("golden_requests_total", "model=\"naïve \\\"q\\\" \\\\ \\n\"", "8"),
        ("golden_requests_total", "model=\"\"", "9223372036854775808"),
        ("golden_work_seconds_total", "", "94"),
        ("golden_batch_tokens_sum", "", "32"),
        ("golden_batch_tokens_count", "", "16"),
        ("golden_ttft_seconds_bucket", "model=\"模型-7b\",zone=\"a\",le=\"0.1\"", "24"),
        ("golden_ttft_seconds_count", "model=\"模型-7b\"", "40"),
        ("golden_ttft_seconds_sum", "model=\"other\"", "500"),
        ("golden_limited_total", "user=\"__overflow__\"", "16"),
        ("golden_shared_total", "", "24"),
        ("golden_gauge_livesum", "", "5.502"),
        ("golden_gauge_min", "", "-4"),
        ("golden_gauge_livemin", "", "2.002"),
        ("golden_gauge_max", "", "3.5"),
        ("golden_gauge_mostrecent", "", "-1"),
        ("golden_gauge_livemostrecent", "", "3.5"),
        ("golden_queue_depth", "queue=\"décode\"", "-2"),
        ("golden_phase", "golden_phase=\"starting\"", "1"),
        ("dyn_metrics_processes", "", "2"),
    ] {
        let sample = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(labels);
        let samples: Vec<&str> = text.lines().filter(sample).collect();
        assert_eq!(samples.len(), 1, "{name} {labels}: {samples:?}");
        assert_eq!(samples[0].rsplit(' ').next(), Some(expected), "{}", samples[0]);
    }
    let all: Vec<_> = text.lines().filter(|line| line.starts_with("golden_gauge_all{")).collect();
    let values: Vec<_> = all.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(values, ["2.002", "3.5", "-1"], "the living, and the newest dead");
}

#[test]
fn check_finds_nothing_in_the_golden_segment() {
    let golden = Golden::copy();
    let report = check::check(&golden.path).expect("a segment");
    assert_eq!(report.faults, []);
    assert_eq!((report.omitted, report.processes, report.processes_alive), (0, 3, LIVING.len()));
    let without_locks = check::check(data("segment")).expect("a segment");
    assert_eq!((without_locks.faults.len(), without_locks.processes_alive), (0, 0));
}
