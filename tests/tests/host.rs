//! What hosts do to a library: close its descriptors, lower limits, change directories, look at `errno`.

use std::path::PathBuf;

use dyn_metrics_reader::Statistic;
use dyn_metrics_tests::host::DECOY;
use dyn_metrics_tests::reading::{assert_whole, number, segment, series_count, statistic, total};
use dyn_metrics_tests::stage::{Peer, Stage, held_slots, snapshot};

const DECOYS: usize = 40;

fn register(peer: &mut Peer) {
    peer.done("register counter counted_total");
    peer.done("register gauge running livesum");
}

fn assert_decoys_untouched(stage: &Stage) {
    for n in 0..DECOYS {
        assert_eq!(std::fs::read(stage.path(&format!("decoy-{n}"))).unwrap(), DECOY, "decoy {n}");
    }
}

fn replace_descriptors(stage: &Stage, peer: &mut Peer) {
    peer.done(&format!("replace-descriptors {} {DECOYS}", stage.path("").display()));
}

/// Everything that needs a descriptor: a claim, growth, new chunks, a look at who lives.
fn do_everything(stage: &Stage, peer: &mut Peer) {
    peer.done("update running 5");
    peer.done("update counted_total 2");
    let before = segment(&stage.snapshot()).bytes_file;
    assert_eq!(peer.number("series many_total 20000 0 15000"), 0.0, "no private ones");
    peer.done("register gauge late livesum");
    peer.done("update late 7");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert!(segment(&seen).bytes_file > before, "it grew");
    assert_eq!(series_count(&seen, "many_total"), 15_000);
    assert_eq!((number(&seen, "running"), number(&seen, "late")), (Some(5.0), Some(7.0)));
    assert_eq!(held_slots(&stage.segment()).len(), 1);
}

#[test]
fn a_host_that_closes_every_descriptor_loses_nothing_and_its_files_stay_its_own() {
    for claimed_before in [false, true] {
        let stage = Stage::new();
        let mut peer = stage.peer();
        register(&mut peer);
        if claimed_before {
            peer.done("update running 1");
        }
        replace_descriptors(&stage, &mut peer);
        do_everything(&stage, &mut peer);
        // Again: what was opened anew is closed too.
        replace_descriptors(&stage, &mut peer);
        peer.done("register gauge later livesum");
        peer.done("update later 9");
        assert_eq!(peer.number("series more_total 20000 0 15000"), 0.0, "no private ones");
        let seen = stage.snapshot();
        assert_whole(&seen);
        assert_eq!((number(&seen, "later"), total(&seen, "more_total")), (Some(9.0), 15_000.0));
        assert_decoys_untouched(&stage);
    }
}

#[test]
fn a_host_that_opens_the_segment_for_reading_under_our_number_is_no_obstacle() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    register(&mut peer);
    peer.done(&format!("replace-descriptors-by {} {DECOYS}", stage.segment().display()));
    do_everything(&stage, &mut peer);
}

#[test]
fn what_a_host_prints_never_lands_in_a_segment() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    peer.done("close-standard");
    let path = stage.path("second");
    peer.done(&format!("open {}", path.display()));
    register(&mut peer);
    peer.done("update running 5");
    peer.done("update counted_total 2");
    assert_eq!(peer.number("write-standard"), 0.0, "somebody else's output went to a descriptor of ours");
    let seen = snapshot(&path);
    assert_whole(&seen);
    assert_eq!((number(&seen, "running"), number(&seen, "counted_total")), (Some(5.0), Some(2.0)));
}

#[test]
fn a_relative_path_names_the_same_segment_after_chdir() {
    let stage = Stage::new();
    let mut peer = stage.try_peer(&PathBuf::from("relative"), &[]).unwrap();
    register(&mut peer);
    std::fs::create_dir(stage.path("elsewhere")).unwrap();
    peer.done(&format!("chdir {}", stage.path("elsewhere").display()));
    peer.done("register counter after_total");
    peer.done("update after_total 3");
    assert_eq!(number(&snapshot(&stage.path("relative")), "after_total"), Some(3.0));
    assert!(!stage.path("elsewhere/relative").exists());
}

#[test]
fn growth_beyond_the_file_size_limit_is_an_error_and_no_death() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    register(&mut peer);
    let mut counted = peer.number("count main pinned 1 6");
    let bytes = segment(&stage.snapshot()).bytes_file;
    peer.done(&format!("limit bytes {bytes}"));
    let private = peer.number("series many_total 50000 0 20000");
    assert!(private > 0.0, "growth was refused");
    let error = peer.ask("register counter one_more_total").unwrap_err();
    assert!(error.contains("RLIMIT_FSIZE") && error.contains("segment"), "{error}");
    // What exists goes on, also where it needs a block that can't be had.
    counted += peer.number("count main moving 2 1000");
    peer.done("update counted_total 2");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!((number(&seen, "counted_total"), number(&seen, "work_total")), (Some(2.0), Some(counted)));
    assert!(statistic(&seen, Statistic::RefusedFull) > 0);
    assert_eq!(segment(&seen).bytes_file, bytes);
    peer.done(&format!("limit bytes {}", 1_u64 << 40));
    assert_eq!(peer.number("series many_total 50000 0 20000"), 0.0);
    assert_eq!(series_count(&stage.snapshot(), "many_total"), 20_000);
}

#[test]
fn without_descriptors_counting_goes_on_and_gauges_come_back() {
    let stage = Stage::new();
    let mut parent = stage.peer();
    register(&mut parent);
    let mut peer = stage.fork(&mut parent); // which has no slot yet
    peer.done("limit files 0");
    peer.done("update counted_total 2");
    peer.done("update running 5");
    peer.done("add running 1");
    assert_eq!(peer.number("value running"), 6.0);
    peer.done("register counter another_total");
    peer.done("update another_total 1");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!((number(&seen, "counted_total"), number(&seen, "another_total")), (Some(2.0), Some(1.0)));
    assert_eq!(number(&seen, "running").unwrap_or(0.0), 0.0);
    assert!(statistic(&seen, Statistic::PrivateNoSlot) > 0);
    peer.done("limit files 1000");
    peer.done("register counter a_third_total");
    peer.done("add running 1");
    assert_eq!(number(&stage.snapshot(), "running"), Some(7.0));
}

#[test]
fn a_fork_forgets_what_the_parent_counted_privately() {
    let stage = Stage::new();
    let mut grandparent = stage.peer();
    register(&mut grandparent);
    let mut parent = stage.fork(&mut grandparent); // which has no slot yet
    parent.done("limit files 0");
    parent.done("update running 5");
    parent.done("limit files 1000");
    let mut child = stage.fork(&mut parent);
    child.done("register counter child_total");
    child.done("add running 1");
    assert_eq!(number(&stage.snapshot(), "running"), Some(1.0), "the parent's 5 is not the child's");
    parent.done("register counter parent_total");
    parent.done("add running 1");
    assert_eq!(number(&stage.snapshot(), "running"), Some(7.0));
}

#[test]
fn the_first_update_of_each_kind_keeps_errno() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    let kinds = ["counter", "float", "duration", "tally", "histogram", "gauge", "fgauge", "dgauge", "state"];
    for kind in kinds {
        let name = format!("{kind}_metric");
        peer.done(&format!("register {kind} {name}"));
        assert_eq!(peer.number(&format!("keeps-errno {name} 1")), 1.0, "{kind}");
    }
    // Also where system calls fail.
    peer.done(&format!("open {}", stage.path("second").display()));
    peer.done("limit files 0");
    for kind in kinds {
        let name = format!("{kind}_metric");
        peer.done(&format!("register {kind} {name}"));
        assert_eq!(peer.number(&format!("keeps-errno {name} 1")), 1.0, "{kind} without descriptors");
    }
}

#[test]
fn what_is_dropped_is_counted() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    for (kind, name) in [("float", "f_total"), ("tally", "t"), ("histogram", "h"), ("fgauge", "g")] {
        peer.done(&format!("register {kind} {name}"));
        peer.done(&format!("update {name} 1.5"));
    }
    for (name, value) in
        [("f_total", "NaN"), ("f_total", "-1"), ("f_total", "-0.5"), ("t", "NaN"), ("h", "NaN")]
    {
        peer.done(&format!("update {name} {value}"));
    }
    peer.done("add g NaN");
    peer.done("update t inf");
    peer.done("update h -inf");
    let seen = stage.snapshot();
    assert_eq!(statistic(&seen, Statistic::DroppedNan), 4);
    assert_eq!(statistic(&seen, Statistic::DroppedNegative), 2);
    assert_eq!(statistic(&seen, Statistic::InfiniteObservations), 2);
    assert_eq!((number(&seen, "f_total"), number(&seen, "g")), (Some(1.5), Some(1.5)));
    assert_eq!((peer.number("value t"), peer.number("value h")), (2.0, 2.0));
}
