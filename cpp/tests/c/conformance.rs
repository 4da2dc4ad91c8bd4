//! What `tests/data/conformance/` says, done in C, and by several languages on one segment.

use std::path::Path;
use std::process::Command;

use dyn_metrics_tests::conformance::{Replayer, comparable, expect_page, script, whole_page};
use dyn_metrics_tests::servers;

use crate::library::{directory, program};

fn rust() -> Command {
    Command::new(servers::program("replay"))
}

fn c(directory: &Path) -> Command {
    Command::new(program(directory, "replay"))
}

#[test]
fn c_does_what_the_script_says() {
    let directory = directory();
    for rseq in ["auto", "off"] {
        let segment = directory.path().join(rseq);
        let mut command = c(directory.path());
        command.env("DYN_METRICS_RSEQ", rseq);
        let replayer = Replayer::start(command, &script(), &segment).unwrap();
        expect_page(&replayer.own_page(), false);
        expect_page(&comparable(&whole_page(&segment), &segment, &[replayer.pid()]), false);
        replayer.end();
    }
}

/// The page of a segment on which several replayers have done the script without the steps that read totals, and live.
fn page_of(directory: &Path, name: &str, commands: Vec<Command>) -> String {
    let text = std::fs::read_to_string(script()).unwrap();
    let reads =
        |line: &&str| ["value", "count", "sum"].contains(&line.split('\t').nth(1).unwrap_or_default());
    let steps: Vec<_> = text.lines().filter(|line| !reads(line)).collect();
    let (file, segment) = (directory.join("script"), directory.join(name));
    std::fs::write(&file, steps.join("\n") + "\n").unwrap();
    let replayers: Vec<_> =
        commands.into_iter().map(|command| Replayer::start(command, &file, &segment).unwrap()).collect();
    let pids: Vec<u32> = replayers.iter().map(Replayer::pid).collect();
    let page = comparable(&whole_page(&segment), &segment, &pids);
    replayers.into_iter().for_each(Replayer::end);
    page
}

#[test]
fn two_languages_on_one_segment_are_as_two_processes_of_one() {
    let directory = directory();
    let path = directory.path();
    let alike = page_of(path, "alike", vec![rust(), rust()]);
    assert!(alike.contains("\nconf_requests_total 88\n"), "{alike}");
    assert!(alike.contains("\nconf_running_requests -4\n"), "{alike}");
    for (name, commands) in [("rust first", vec![rust(), c(path)]), ("c first", vec![c(path), rust()])] {
        let mixed = page_of(path, name, commands);
        for (mixed, alike) in mixed.lines().zip(alike.lines()) {
            assert_eq!(mixed, alike, "{name}");
        }
        assert_eq!(mixed.len(), alike.len(), "{name}: {mixed}");
    }
}
