//! Paths that lead to no segment: one line that says what was found and what was expected.

use std::fs::{self, File};
use std::path::Path;

use dyn_metrics_layout::header;
use nix::sys::stat::Mode;

use crate::{Fixture, run, text};

/// Each verb that reads refuses `path` with one line that ends with `expected`.
fn assert_refused(path: &Path, expected: &str) {
    assert_refused_by(&[&["dump"], &["dump", "--format", "json"], &["describe"]], path, expected);
    assert_refused_by(&[&["dump", "--raw"], &["check"], &["info"]], path, expected);
}

fn assert_refused_by(verbs: &[&[&str]], path: &Path, expected: &str) {
    let path = text(path);
    for &arguments in verbs {
        let refused = run(&[arguments, &[&path]].concat());
        assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{arguments:?} {path}");
        let (start, lines) = (format!("dyn-metrics: {path}: "), refused.err.lines().count());
        assert!(refused.err.starts_with(&start) && lines == 1, "{arguments:?} {}", refused.err);
        assert!(refused.err.trim_end().ends_with(expected), "{arguments:?} {}", refused.err);
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name| directory.path().join(name);
    assert_refused(&path("missing"), "no such file, expected a segment");
    assert_refused_by(&[&["dump"], &["describe"]], directory.path(), "no segment found");
    let expected = "found a directory, expected a regular file";
    assert_refused_by(&[&["dump", "--raw"], &["check"], &["info"]], directory.path(), expected);
    nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).expect("a FIFO");
    assert_refused(&path("fifo"), "found a FIFO, expected a regular file");
    std::os::unix::fs::symlink("/nothing", path("link")).expect("a link");
    assert_refused(&path("link"), "found a symbolic link, expected a regular file");
}

#[test]
fn what_is_no_segment_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    fs::write(&path, "").expect("a file");
    assert_refused(&path, "too short: found 0 bytes, expected at least 4096");
    fs::write(&path, "# HELP not_a_segment Something else\n".repeat(200)).expect("a file");
    assert_refused(&path, &format!("expected {:#018x}", header::MAGIC));
}

#[test]
fn another_version_and_a_damaged_header_are_refused() {
    let fixture = Fixture::new();
    let (copy, bytes) = (fixture.copy(), fs::read(fixture.path()).expect("a segment"));
    let with = |at: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        fs::write(&copy, bytes).expect("a copy");
    };
    with(12, 99);
    assert_refused(&copy, &format!("format version 99, expected {}", header::FORMAT_VERSION));
    with(41, bytes[41] ^ 0x10);
    let refused = run(&["check", &text(&copy)]);
    assert!(refused.status == Some(2) && refused.err.contains("corrupt header checksum"), "{}", refused.err);
}

#[test]
fn a_truncated_segment_is_refused_or_read_as_far_as_it_goes() {
    let fixture = Fixture::new();
    let copy = fixture.copy();
    let truncate = |bytes| File::options().write(true).open(&copy).and_then(|file| file.set_len(bytes));
    let raw = dyn_metrics_reader::raw::read(&copy).expect("a segment");
    let series = raw.series.last().expect("a series");

    truncate(series.offset + 8).expect("a truncated copy");
    let check = run(&["check", &text(&copy)]);
    assert_eq!((check.status, check.err.as_str()), (Some(1), ""), "{}", check.out);
    assert!(check.out.contains("FAULT"), "{}", check.out);
    let dump = run(&["dump", &text(&copy)]);
    assert_eq!((dump.status, dump.err.lines().count()), (Some(1), 1), "{}", dump.err);
    assert!(dump.out.contains("llm_requests_total"), "{}", dump.out);

    for bytes in [raw.header.data - 1, 5000, 100] {
        truncate(bytes).expect("a truncated copy");
        for verb in ["dump", "check", "info"] {
            let refused = run(&[verb, &text(&copy)]);
            assert_eq!((refused.status, refused.out.as_str()), (Some(2), ""), "{bytes} {verb}");
            assert_eq!(refused.err.lines().count(), 1, "{bytes} {verb}: {}", refused.err);
        }
    }
}
