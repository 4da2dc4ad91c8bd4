//! What `tests/data/conformance/` says, done by the Rust writer. `cpp/tests/c/` does the same in C and C++.

use std::fs;
use std::process::Command;

use dyn_metrics_tests::conformance::{
    Replayer, comparable, expect_page, foreign_samples, page, samples, script, whole_page,
};
use dyn_metrics_tests::servers::program;

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn rust() -> Command {
    Command::new(program("replay"))
}

#[test]
fn rust_does_what_the_script_says() {
    let directory = directory();
    let pages = ["auto", "off"].map(|rseq| {
        let segment = directory.path().join(rseq);
        let mut command = rust();
        command.env("DYN_METRICS_RSEQ", rseq);
        let replayer = Replayer::start(command, &script(), &segment).unwrap();
        let seen = comparable(&whole_page(&segment), &segment, &[replayer.pid()]);
        assert_eq!(seen, replayer.own_page());
        replayer.end();
        seen
    });
    assert_eq!(pages[0], pages[1]);
    expect_page(&pages[0], true);
}

#[test]
fn a_foreign_parser_reads_the_page_as_ours_does() {
    let Some(found) = foreign_samples(&page()) else { return };
    let expected = samples(&fs::read_to_string(page()).unwrap());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}

/// The script with one line changed.
fn changed(from: &str, to: &str) -> String {
    let text = fs::read_to_string(script()).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from}");
    text.replace(from, to)
}

#[test]
fn a_replayer_that_differs_is_seen() {
    let directory = directory();
    let file = directory.path().join("script.txt");
    let start = |text: String, segment: &str| {
        fs::write(&file, text).unwrap();
        Replayer::start(rust(), &file, &directory.path().join(segment))
    };
    for (from, to) in [
        (
            "bounds\tregister\tbad\troot\thistogram\tconf_bad\tbounds=1,1\n",
            "ok\tregister\tbad\troot\thistogram\tconf_bad\tbounds=1,1\n",
        ),
        ("ok\tset\tage\t2000000000\n", "option\tset\tage\t2000000000\n"),
        ("ok\tcount\tlatency\t1013\n", "ok\tcount\tlatency\t1012\n"),
        ("ok\tis\tstate\tready\t0\n", "ok\tis\tstate\tready\t1\n"),
    ] {
        let said = start(changed(from, to), "refused").unwrap_err();
        assert!(said.contains("found "), "{said}");
        assert!(said.contains(to.trim_end()), "{said}");
        fs::remove_file(directory.path().join("refused")).unwrap();
    }
    let other =
        start(changed("ok\tadd\tlarge\t9007199254740993\n", "ok\tadd\tlarge\t9007199254740992\n"), "other");
    assert_ne!(other.unwrap().own_page(), fs::read_to_string(page()).unwrap());
}
