//! Forks: nothing is lost, both sides are shown, nothing of a dead parent lives on in its children.

use dyn_metrics_reader::Statistic;
use dyn_metrics_tests::reading::{
    assert_sound, assert_whole, by_pid, labelled, number, segment, series_count, statistic, total,
};
use dyn_metrics_tests::servers::{have, wait_for};
use dyn_metrics_tests::stage::{Peer, Stage, held_slots, snapshot};

fn register_gauges(peer: &mut Peer) {
    for mode in ["all", "livesum", "max"] {
        peer.done(&format!("register gauge {mode} {mode}"));
    }
}

fn set_gauges(peer: &mut Peer, value: i32) {
    for mode in ["all", "livesum", "max"] {
        peer.done(&format!("update {mode} {value}"));
    }
}

fn pids(peers: &[&Peer], values: &[f64]) -> Vec<(String, f64)> {
    let mut pairs: Vec<_> = peers.iter().map(|p| p.pid().to_string()).zip(values.iter().copied()).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

#[test]
fn a_fork_in_the_middle_of_counting_loses_nothing_and_shows_both_processes() {
    for rseq in ["DYN_METRICS_RSEQ=on", "DYN_METRICS_RSEQ=off"] {
        let stage = Stage::new();
        let mut parent = stage.peer_with(&[rseq]);
        register_gauges(&mut parent);
        set_gauges(&mut parent, 3);
        parent.done("spin 3");
        let mut child = stage.fork(&mut parent);
        child.done("spin 2");
        set_gauges(&mut child, 40);
        let mut acknowledged =
            child.number("count all none 2 10000") + parent.number("count all none 2 10000");
        acknowledged += child.number("stop") + parent.number("stop");
        let seen = stage.snapshot();
        assert_whole(&seen);
        assert_eq!(number(&seen, "work_total"), Some(acknowledged));
        assert_eq!(by_pid(&seen, "all"), pids(&[&parent, &child], &[3.0, 40.0]));
        assert_eq!(number(&seen, "livesum"), Some(43.0));
        assert_eq!(number(&seen, "max"), Some(40.0));
        assert_eq!(segment(&seen).processes_alive(), 2);
    }
}

#[test]
fn a_grandchild_lives_on_after_parent_and_grandparent() {
    let stage = Stage::new();
    let mut parent = stage.peer();
    register_gauges(&mut parent);
    set_gauges(&mut parent, 1);
    let mut child = stage.fork(&mut parent);
    set_gauges(&mut child, 20);
    let mut grandchild = stage.fork(&mut child);
    set_gauges(&mut grandchild, 300);
    let seen = stage.snapshot();
    assert_eq!(by_pid(&seen, "all"), pids(&[&parent, &child, &grandchild], &[1.0, 20.0, 300.0]));
    assert_eq!(number(&seen, "livesum"), Some(321.0));
    parent.kill();
    wait_for("the parent's slot", || (held_slots(&stage.segment()).len() == 2).then_some(()));
    assert_eq!(number(&stage.snapshot(), "livesum"), Some(320.0));
    child.kill();
    wait_for("the child's slot", || (held_slots(&stage.segment()).len() == 1).then_some(()));
    set_gauges(&mut grandchild, 7);
    let counted = grandchild.number("count all none 2 1000");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(by_pid(&seen, "all"), pids(&[&grandchild], &[7.0]));
    assert_eq!(number(&seen, "livesum"), Some(7.0));
    assert_eq!(number(&seen, "max"), Some(20.0), "the dead child's; its own 300 is gone");
    assert_eq!(number(&seen, "work_total"), Some(counted));
}

#[test]
fn a_child_that_only_counts_takes_no_slot() {
    let stage = Stage::new();
    let mut parent = stage.peer();
    register_gauges(&mut parent);
    set_gauges(&mut parent, 5);
    let mut child = stage.fork(&mut parent);
    child.done("count all none 2 1000");
    child.done("register gauge never_set livesum");
    assert_eq!(child.number("value livesum"), 0.0, "the parent's value is not the child's");
    assert_eq!(held_slots(&stage.segment()).len(), 1);
    parent.kill();
    wait_for("the parent's slot", || held_slots(&stage.segment()).is_empty().then_some(()));
    assert_eq!(number(&stage.snapshot(), "livesum").unwrap_or(0.0), 0.0);
    child.done("update livesum 9");
    let seen = stage.snapshot();
    assert_eq!(number(&seen, "livesum"), Some(9.0));
    assert_eq!(number(&seen, "work_total"), Some(2000.0));
}

#[test]
fn a_fork_beside_a_registering_thread_never_hangs_the_child() {
    let stage = Stage::new();
    let mut parent = stage.peer();
    assert_eq!(parent.number("fork-while-registering 200"), 0.0);
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_sound(&stage.segment());
    assert_eq!(series_count(&seen, "forked_total"), 200);
    assert_eq!(total(&seen, "forked_total"), 600.0);
    let counted = total(&seen, "busy_total");
    assert_eq!(series_count(&seen, "busy_total") as f64, counted, "each series was counted once");
    assert_eq!(labelled(&seen, "busy_lookups_total", &[]), Some(counted));
    assert_eq!(statistic(&seen, Statistic::DroppedBusy), 0);
    assert_eq!(held_slots(&stage.segment()).len(), 1, "the parent's");
}

/// Has `parent` fork `times` children, up to `microseconds` after a claim of its own began, and kills it.
fn dies_after_forking_while_it_claims(stage: &Stage, mut first: Peer, times: u32, microseconds: u32) {
    first.done(&format!("make-claimable {} {times}", stage.path("").display()));
    let mut parent = stage.fork(&mut first); // which has no slots yet
    first.kill();
    assert_eq!(parent.number(&format!("fork-while-claiming {microseconds}")), 0.0);
    let segments: Vec<_> = (0..times).map(|n| stage.path(&format!("claimed-{n}"))).collect();
    for path in &segments {
        assert_eq!(held_slots(path).len(), 2, "parent and child hold a slot of each");
        assert_eq!(number(&snapshot(path), "claimed"), Some(101.0), "a gauge each");
    }
    let children = parent.kill_and_keep_children();
    for path in &segments {
        wait_for("the release of a dead parent's slot", || (held_slots(path).len() == 1).then_some(()));
        let seen = snapshot(path);
        assert_eq!(number(&seen, "counted_total"), Some(1.0));
        assert_eq!(number(&seen, "claimed"), Some(100.0), "the child's");
    }
    drop(children);
}

#[test]
fn a_parent_that_forked_while_it_claimed_leaves_no_lock_behind() {
    let stage = Stage::new();
    let parent = stage.peer();
    dies_after_forking_while_it_claims(&stage, parent, 200, 200);
}

/// The steps of a claim between which a fork does harm are a few instructions long: the tracer stretches them.
#[test]
fn a_fork_between_any_two_steps_of_a_claim_leaves_no_lock_behind() {
    if !have("strace") {
        return;
    }
    let stage = Stage::new();
    let parent = stage.traced_peer(&["-e", "trace=openat,mmap", "-e", "inject=openat,mmap:delay_exit=12000"]);
    dies_after_forking_while_it_claims(&stage, parent, 20, 60_000);
}

#[test]
fn records_registered_on_both_sides_of_a_fork_never_overlap() {
    const TIMES: usize = 300;
    let stage = Stage::new();
    let mut parent = stage.peer();
    assert_eq!(parent.number(&format!("fork-after-collisions {TIMES}")), 0.0);
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_sound(&stage.segment());
    assert_eq!(series_count(&seen, "collided_total"), 3 * TIMES);
    for n in 0..TIMES {
        for (who, expected) in [("both", 4.0), ("child", 1.0), ("parent", 1.0)] {
            let found = labelled(&seen, "collided_total", &[("who", &format!("{who} {n}"))]);
            assert_eq!(found, Some(expected), "{who} {n}");
        }
    }
}
