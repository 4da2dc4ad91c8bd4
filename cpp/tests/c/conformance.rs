//! What `tests/data/conformance/` says, done in C and in C++, and by several languages on one segment.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dyn_metrics_tests::conformance::{Replayer, comparable, expect_page, script, whole_page};
use dyn_metrics_tests::servers;

use crate::library::{directory, here, linked, program};

/// Runs a replayer with restartable sequences and without, and compares its page and ours of its segment.
fn expect_conformance(directory: &Path, program: &Path) {
    for rseq in ["auto", "off"] {
        let segment = directory.join(rseq);
        let mut command = Command::new(program);
        command.env("DYN_METRICS_RSEQ", rseq);
        let replayer = Replayer::start(command, &script(), &segment).unwrap();
        expect_page(&replayer.own_page(), false);
        expect_page(&comparable(&whole_page(&segment), &segment, &[replayer.pid()]), false);
        replayer.end();
    }
}

#[test]
fn c_does_what_the_script_says() {
    let directory = directory();
    expect_conformance(directory.path(), &program(directory.path(), "replay"));
}

/// The page of a segment on which several replayers have done the script without the steps that read totals, and live.
fn page_of(directory: &Path, name: &str, programs: [&PathBuf; 3]) -> String {
    let text = fs::read_to_string(script()).unwrap();
    let reads =
        |line: &&str| ["value", "count", "sum"].contains(&line.split('\t').nth(1).unwrap_or_default());
    let steps: Vec<_> = text.lines().filter(|line| !reads(line)).collect();
    let (file, segment) = (directory.join("script"), directory.join(name));
    fs::write(&file, steps.join("\n") + "\n").unwrap();
    let start = |program: &PathBuf| Replayer::start(Command::new(program), &file, &segment).unwrap();
    let replayers = programs.map(start);
    let pids = replayers.each_ref().map(Replayer::pid);
    let page = comparable(&whole_page(&segment), &segment, &pids);
    replayers.into_iter().for_each(Replayer::end);
    page
}

#[test]
fn cpp_does_what_the_script_says_also_beside_rust_and_c_on_one_segment() {
    let directory = directory();
    let path = directory.path();
    let cpp = linked(path, &here().join("tests/cpp/replay.cpp"));
    expect_conformance(path, &cpp);
    let place = path.join("c");
    fs::create_dir(&place).unwrap();
    let (c, rust) = (program(&place, "replay"), servers::program("replay"));
    let alike = page_of(path, "alike", [&rust, &rust, &rust]);
    assert!(alike.contains("\nconf_requests_total 132\n"), "{alike}");
    assert!(alike.contains("\nconf_running_requests -6\n"), "{alike}");
    for (name, programs) in [("rust first", [&rust, &c, &cpp]), ("rust last", [&cpp, &c, &rust])] {
        let mixed = page_of(path, name, programs);
        for (mixed, alike) in mixed.lines().zip(alike.lines()) {
            assert_eq!(mixed, alike, "{name}");
        }
        assert_eq!(mixed.len(), alike.len(), "{name}: {mixed}");
    }
}
