//! The SIGBUS guard, in processes of their own: a file is truncated under the map that is being read.
#![allow(unsafe_code, reason = "faults on purpose in a map of its own, and installs a handler")]

#[path = "../src/testing.rs"]
mod testing;

use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use dyn_metrics_reader::{Collector, Error, SegmentReport, SegmentState, encode, guard};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};

const SCENARIO: &str = "DYN_METRICS_GUARD_SCENARIO";
const DIRECTORY: &str = "DYN_METRICS_GUARD_DIRECTORY";
const SURVIVED: i32 = 40;
const CHAINED: i32 = 41;

/// Runs a scenario in a child, which is this binary again.
fn child(scenario: &str) -> ExitStatus {
    // Removed by the parent, because the child may die.
    let directory = testing::scratch();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "scenario", "--nocapture"]);
    command.env(SCENARIO, scenario).env(DIRECTORY, directory.path());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status().unwrap()
}

#[test]
fn without_a_guard_a_truncated_segment_kills_its_reader() {
    assert_eq!(child("unguarded").signal(), Some(Signal::SIGBUS as i32));
}

#[test]
fn with_a_guard_it_is_reported_and_the_rest_served() {
    assert_eq!(child("guarded").code(), Some(SURVIVED));
}

#[test]
fn with_a_guard_it_is_reported_however_many_segments_there_are() {
    assert_eq!(child("crowded").code(), Some(SURVIVED));
}

#[test]
fn with_a_guard_it_is_reported_and_the_rest_rendered() {
    assert_eq!(child("rendered").code(), Some(SURVIVED));
}

#[test]
fn a_fault_elsewhere_goes_to_the_handler_before() {
    assert_eq!(child("chained").code(), Some(CHAINED));
}

#[test]
fn a_fault_elsewhere_kills_when_there_was_no_handler() {
    assert_eq!(child("foreign").signal(), Some(Signal::SIGBUS as i32));
}

#[test]
fn a_signal_that_somebody_sent_kills_as_ever() {
    assert_eq!(child("sent").signal(), Some(Signal::SIGBUS as i32));
}

/// Not a test: what the child does.
#[test]
fn scenario() {
    if std::env::var_os(SCENARIO).is_some() {
        // The standard library's own handler would swallow a signal that somebody sent.
        let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action needs no handler.
        unsafe { sigaction(Signal::SIGBUS, &action) }.unwrap();
    }
    match std::env::var(SCENARIO).as_deref() {
        Ok("unguarded") => truncate_while_reading(0, collect),
        Ok("guarded") => {
            guard::install().unwrap();
            guard::install().unwrap();
            truncate_while_reading(0, collect);
            std::process::exit(SURVIVED);
        }
        Ok("rendered") => {
            guard::install().unwrap();
            truncate_while_reading(0, render);
            std::process::exit(SURVIVED);
        }
        Ok("crowded") => {
            guard::install().unwrap();
            truncate_while_reading(300, collect); // The guard's table has room for 256 before it grows.
            std::process::exit(SURVIVED);
        }
        Ok("chained") => {
            let handler = SigHandler::Handler(exit_from_handler);
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            // SAFETY: the handler only ends the process, which is async-signal-safe.
            unsafe { sigaction(Signal::SIGBUS, &action) }.unwrap();
            guard::install().unwrap();
            fault();
        }
        Ok("foreign") => {
            guard::install().unwrap();
            fault();
        }
        Ok("sent") => {
            guard::install().unwrap();
            raise(Signal::SIGBUS).unwrap();
        }
        _ => (),
    }
}

extern "C" fn exit_from_handler(_: i32) {
    // SAFETY: async-signal-safe.
    unsafe { libc::_exit(CHAINED) };
}

/// What one collection says: about each segment, and as text.
type Found = (Vec<SegmentReport>, String);

fn collect(collector: &mut Collector) -> Found {
    let snapshot = collector.collect();
    let mut text = Vec::new();
    encode::text::encode(&snapshot, &mut text);
    (snapshot.segments, String::from_utf8(text).unwrap())
}

fn render(collector: &mut Collector) -> Found {
    let mut text = Vec::new();
    let segments = collector.render(&mut text).segments;
    (segments, String::from_utf8(text).unwrap())
}

/// Collects from two segments, one of which shrinks after its length was looked at and before it is read, and from
/// so many others that are mapped before them.
fn truncate_while_reading(others: u64, collect: fn(&mut Collector) -> Found) {
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    for number in 0..others {
        testing::Builder::new(100 + number).write(&directory.join(format!("other{number}")));
    }
    let (whole, shrunk) = (directory.join("whole"), directory.join("shrunk"));
    // The older one is read first.
    testing::every_kind(2).write(&whole);
    testing::every_kind(1).write(&shrunk);
    let file = OpenOptions::new().write(true).open(&shrunk).unwrap();
    let shrinks = Arc::new(Mutex::new(false));
    let is_time = shrinks.clone();
    let truncate: Arc<dyn Fn() -> Instant + Send + Sync> = Arc::new(move || {
        if *is_time.lock().unwrap() {
            file.set_len(0).unwrap();
        }
        Instant::now()
    });
    let mut collector = Collector::with_clock(&[directory.to_str().unwrap().to_owned()], truncate);
    let (segments, text) = collect(&mut collector);
    assert_eq!(segments.len() as u64, others + 2);
    assert_eq!(counts(&text), [14]);
    *shrinks.lock().unwrap() = true;
    let (segments, text) = collect(&mut collector);
    let states: Vec<_> = segments.iter().map(|segment| &segment.state).collect();
    let (others, [shrunk, whole]) = states.split_last_chunk().unwrap();
    assert!(matches!(shrunk, SegmentState::Unreadable(Error::Shrank { found: 0, .. })), "{shrunk:?}");
    assert!(matches!(whole, SegmentState::Ok), "{whole:?}");
    assert!(others.iter().all(|state| matches!(state, SegmentState::Ok)), "{others:?}");
    assert_eq!(counts(&text), [7], "only the whole one counts, and once");
}

/// How often the histogram was observed, by each sample that says so.
fn counts(text: &str) -> Vec<u64> {
    let samples = text.lines().filter_map(|line| line.strip_prefix("ttft_seconds_count{"));
    samples.map(|sample| sample.split_once("} ").unwrap().1.parse().unwrap()).collect()
}

/// Reads beyond the end of a file mapped by nobody but this test.
fn fault() {
    let file: File = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let len = NonZeroUsize::new(4096).unwrap();
    // SAFETY: a fresh mapping, never unmapped.
    let page = unsafe { mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0) }.unwrap();
    file.set_len(0).unwrap();
    // SAFETY: the address stays mapped; what the read raises is the point.
    let byte = unsafe { page.cast::<u8>().as_ptr().read_volatile() };
    panic!("read {byte} where there is no file");
}
