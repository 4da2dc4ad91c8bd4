//! Files that nobody named: which of them are served, and who wins.

use std::os::unix::fs::{PermissionsExt, chown};

use nix::unistd::{Uid, geteuid, setfsuid};

use super::*;
use crate::left_out::LeftOutReason;

/// What was left out, by reason.
fn left_out(bench: &mut Bench) -> Vec<(&'static str, usize)> {
    let left_out = bench.collect().left_out;
    LeftOutReason::ALL.map(|reason| (reason.name(), left_out.count(reason))).into()
}

fn gauge(created: u64) -> Builder {
    let mut built = Builder::new(created);
    let gauge = built.family(&family("a_total", Kind::Gauge));
    built.series(gauge, &[]);
    built
}

#[test]
fn of_files_in_a_directory_the_oldest_wins_where_they_disagree() {
    let mut bench = Bench::new("");
    bench.write("a", &gauge(20));
    bench.write("b", &counting(10, 5));
    assert_eq!(bench.samples(), ["a_total 5"]);
    let skipped = bench.collect().stats.skipped;
    assert_eq!(skipped.len(), 1);
    assert!(skipped[0].segment.ends_with("/a") && skipped[0].reason == Reason::Disagree, "{skipped:?}");
    // Reports stay in the order of names.
    let names: Vec<_> = bench.collect().segments.iter().map(|s| s.path.clone()).collect();
    assert_eq!(names, [bench.path("a"), bench.path("b")]);
    // Of equal age, the first name.
    let mut bench = Bench::new("*");
    let mut twin = counting(20, 5);
    twin.set_segment_id([7, 7]);
    bench.write("b", &twin);
    bench.write("a", &gauge(20));
    assert_eq!(bench.samples(), ["a_total 0"]);
}

#[test]
fn a_name_is_as_old_as_the_oldest_file_that_belongs_to_it() {
    let mut bench = Bench::new("");
    bench.write("a", &gauge(20));
    bench.write("b", &counting(30, 5));
    assert_eq!(bench.samples(), ["a_total 0"]);
    bench.write("b.superseded-1", &counting(10, 2));
    assert_eq!(bench.samples(), ["a_total 7"]);
}

#[test]
fn an_earlier_pattern_wins_whatever_its_age() {
    let mut bench = Bench::new("new");
    bench.write("new", &gauge(20));
    fs::create_dir(bench.path("old")).unwrap();
    bench.write("old/b", &counting(10, 5));
    bench.follow(&["new", "old"], &[]);
    assert_eq!(bench.samples(), ["a_total 0"]);
}

#[test]
fn of_copies_one_is_served_and_the_others_are_named() {
    let mut bench = Bench::new("");
    let mut built = counting(1, 5);
    built.process(&claimant(3, 1, 7), "worker");
    for name in ["backup", "a-copy", "segment"] {
        bench.write(name, &built);
    }
    let states = |bench: &mut Bench| -> Vec<String> {
        let segments = bench.collect().segments;
        segments.iter().map(|segment| format!("{:?}", segment.state)).collect()
    };
    let copy_of = |bench: &Bench, name| format!("Copy({:?})", bench.path(name));
    assert_eq!(bench.samples(), ["a_total 5"]);
    let copy = copy_of(&bench, "a-copy");
    assert_eq!(states(&mut bench), ["Ok", &copy, &copy], "the shorter name, of these the first");
    // Whose processes live is the real one; and stays it when they have ended.
    let alive = live(&bench.path("segment"), 3);
    bench.pass(Duration::from_secs(1));
    let copy = copy_of(&bench, "segment");
    assert_eq!(states(&mut bench), [&copy, &copy, "Ok"]);
    drop(alive);
    bench.pass(Duration::from_secs(1));
    assert_eq!(states(&mut bench), [&copy, &copy, "Ok"]);
    fs::remove_file(bench.path("segment")).unwrap();
    let copy = copy_of(&bench, "a-copy");
    assert_eq!(states(&mut bench), ["Ok", &copy]);
    assert_eq!(bench.samples(), ["a_total 5"]);
}

#[test]
fn of_copies_the_one_that_is_named_is_served() {
    let mut bench = Bench::new("");
    bench.write("a", &counting(1, 5));
    bench.write("segment", &counting(1, 5));
    bench.follow(&["", "segment"], &[]);
    assert_eq!(bench.states(), ["copy", "ok"]);
}

#[test]
fn what_belongs_to_others_is_left_out_unless_it_is_named_or_they_are_allowed() {
    if !geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs to be root");
        eprintln!("SKIPPED: needs to be root");
        return;
    }
    let somebody = 54_321;
    let mut bench = Bench::new("");
    bench.write("mine", &counting(1, 5));
    bench.write("theirs", &counting(2, 70));
    chown(bench.path("theirs"), Some(somebody), None).unwrap();
    for pattern in ["", "*"] {
        bench.follow(&[pattern], &[]);
        assert_eq!(bench.samples(), ["a_total 5"]);
        assert_eq!(left_out(&mut bench), [("no_segment", 0), ("permission_denied", 0), ("owner", 1)]);
        bench.follow(&[pattern], &[1, somebody]);
        assert_eq!(bench.samples(), ["a_total 75"]);
        assert_eq!(left_out(&mut bench)[2], ("owner", 0));
    }
    // A file that is named is served, and so is what its owner superseded; but nothing that a third one adds.
    bench.follow(&["theirs"], &[]);
    bench.write("theirs.superseded-1", &counting(3, 600));
    chown(bench.path("theirs.superseded-1"), Some(somebody), None).unwrap();
    bench.write("theirs.superseded-2", &counting(4, 8000));
    chown(bench.path("theirs.superseded-2"), Some(somebody + 1), None).unwrap();
    assert_eq!(bench.samples(), ["a_total 670"]);
    let left_out = bench.collect().left_out;
    assert_eq!(left_out.files(LeftOutReason::Owner), [bench.path("theirs.superseded-2")]);
}

#[test]
fn what_may_not_be_read_and_what_is_no_segment_is_counted() {
    let mut bench = Bench::new("");
    bench.write("good", &counting(1, 5));
    bench.write("secret", &counting(2, 5));
    fs::write(bench.path("foreign"), vec![1; 5000]).unwrap();
    fs::set_permissions(bench.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(bench.path("good"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(bench.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything, so this thread gives that up for a moment.
    let (root, nobody) = (Uid::from_raw(0), Uid::from_raw(65_534));
    if geteuid() == root {
        setfsuid(nobody);
    }
    let found: Vec<_> = (0..2).map(|_| left_out(&mut bench)).collect();
    let states = bench.states();
    let files = bench.collect().left_out.files(LeftOutReason::PermissionDenied).to_vec();
    if geteuid() == root {
        setfsuid(root);
    }
    let expected = [("no_segment", 1), ("permission_denied", 1), ("owner", 0)];
    assert_eq!(found, [expected, expected], "each time anew");
    assert_eq!((states, files), (vec!["ok"], vec![bench.path("secret")]));
}
