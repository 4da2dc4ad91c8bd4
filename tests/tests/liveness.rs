//! Who counts as living: a lock says it, whatever happens to the process.

use std::process::Command;
use std::time::{Duration, Instant};

use dyn_metrics_reader::{ProcessReport, Statistic};
use dyn_metrics_tests::reading::{assert_sound, assert_whole, by_pid, number, segment, statistic, total};
use dyn_metrics_tests::servers::{have, wait_for};
use dyn_metrics_tests::stage::{Peer, Stage, held_slots, wait_until_stopped};
use nix::sys::signal::Signal;

/// A peer that has set the gauges `live` (mode livesum) and `kept` (mode sum).
fn setting(stage: &Stage, value: i32, options: &[&str]) -> Peer {
    let mut peer = stage.peer_with(options);
    for (name, mode) in [("live", "livesum"), ("kept", "sum")] {
        peer.done(&format!("register gauge {name} {mode}"));
        peer.done(&format!("update {name} {value}"));
    }
    peer
}

fn values(stage: &Stage) -> (Option<f64>, Option<f64>) {
    let seen = stage.snapshot();
    assert_whole(&seen);
    (number(&seen, "live"), number(&seen, "kept"))
}

/// Waits until this many slots are held: what a kill releases, it releases a moment later.
fn wait_for_slots(stage: &Stage, count: usize) {
    wait_for("slots", || (held_slots(&stage.segment()).len() == count).then_some(()));
}

#[test]
fn a_killed_process_leaves_livesum_and_stays_in_sum() {
    let stage = Stage::new();
    let (one, _other) = (setting(&stage, 3, &[]), setting(&stage, 40, &[]));
    assert_eq!(values(&stage), (Some(43.0), Some(43.0)));
    one.kill();
    wait_for_slots(&stage, 1);
    assert_eq!(values(&stage), (Some(40.0), Some(43.0)));
}

#[test]
fn a_process_that_reads_its_own_segment_sees_itself_alive() {
    let stage = Stage::new();
    let registry = dyn_metrics::Registry::open_at(stage.segment()).unwrap();
    registry.gauge("live", "Set here").unwrap().set(3);
    let other = setting(&stage, 40, &[]);
    assert_eq!(values(&stage).0, Some(43.0));
    other.kill();
    wait_for_slots(&stage, 1);
    assert_eq!(values(&stage).0, Some(3.0));
    let seen = stage.snapshot();
    let alive = segment(&seen).processes.iter().find(|process| process.alive).unwrap();
    assert_eq!(alive.pid, std::process::id());
}

#[test]
fn a_process_that_ends_by_itself_releases_its_slot_too() {
    let stage = Stage::new();
    setting(&stage, 3, &[]).end();
    wait_for_slots(&stage, 0);
    assert_eq!(values(&stage).1, Some(3.0));
}

#[test]
fn a_process_is_described_to_people() {
    let stage = Stage::new();
    let peer = setting(&stage, 1, &["role=prefill"]);
    let seen = stage.snapshot();
    let [ProcessReport { alive, pid, uid, command, role, generation, .. }] = &segment(&seen).processes[..]
    else {
        panic!("{:?}", segment(&seen).processes)
    };
    assert_eq!((*alive, *pid as i32, *uid), (true, peer.pid(), nix::unistd::geteuid().as_raw()));
    assert_eq!((command.as_str(), role.as_str(), *generation), ("peer", "prefill", 1));
}

#[test]
fn a_stopped_process_is_not_dead() {
    let stage = Stage::new();
    let mut peer = setting(&stage, 5, &[]);
    peer.signal(Signal::SIGSTOP);
    wait_until_stopped(peer.pid());
    // Somebody who looks for dead cells to take over must not find the stopped one's.
    let other = setting(&stage, 70, &[]);
    assert_eq!(held_slots(&stage.segment()).len(), 2);
    assert_eq!(values(&stage), (Some(75.0), Some(75.0)));
    peer.signal(Signal::SIGCONT);
    peer.done("add live 1");
    other.kill();
    wait_for_slots(&stage, 1);
    assert_eq!(values(&stage), (Some(6.0), Some(75.0)));
}

#[test]
fn exec_releases_the_slot_of_a_process_that_lives_on() {
    let stage = Stage::new();
    let mut peer = setting(&stage, 5, &[]);
    peer.tell("exec");
    wait_for_slots(&stage, 0);
    let (live, kept) = values(&stage);
    assert_eq!((live.unwrap_or(0.0), kept), (0.0, Some(5.0)));
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", peer.pid())).unwrap();
    assert!(command.contains("idle"), "it lives on as another program: {command:?}");
}

#[test]
fn the_end_of_the_thread_that_claimed_ends_nothing() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    peer.done("register gauge live livesum");
    peer.done("in-thread live 5");
    assert_eq!(held_slots(&stage.segment()).len(), 1);
    peer.done("add live 2");
    assert_eq!(number(&stage.snapshot(), "live"), Some(7.0));
    assert_eq!(held_slots(&stage.segment()).len(), 1);
}

/// Whether this process may make pid namespaces; in CI it must.
fn may_make_namespaces() -> bool {
    if !have("unshare") {
        return false;
    }
    let made =
        Command::new("unshare").args(["--pid", "--fork", "true"]).status().expect("unshare starts").success();
    assert!(made || std::env::var_os("CI").is_none(), "pid namespaces can't be made");
    if !made {
        eprintln!("SKIPPED: no permission to make a pid namespace");
    }
    made
}

#[test]
fn equal_pids_of_different_namespaces_are_different_processes() {
    if !may_make_namespaces() {
        return;
    }
    let stage = Stage::new();
    let mut peers = [stage.namespaced_peer(), stage.namespaced_peer()];
    for (peer, value) in peers.iter_mut().zip([3, 40]) {
        for mode in ["all", "livesum"] {
            peer.done(&format!("register gauge {mode} {mode}"));
            peer.done(&format!("update {mode} {value}"));
        }
    }
    let seen = stage.snapshot();
    assert_whole(&seen);
    let alive: Vec<_> = segment(&seen).processes.iter().map(|process| (process.alive, process.pid)).collect();
    assert_eq!(alive, [(true, 1), (true, 1)]);
    assert_eq!(number(&seen, "livesum"), Some(43.0));
    let mut values: Vec<_> = by_pid(&seen, "all").into_iter().map(|(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    assert_eq!(values, [3.0, 40.0], "{:?}", by_pid(&seen, "all"));
    let [one, other] = peers;
    one.kill();
    wait_for_slots(&stage, 1);
    assert_eq!(number(&stage.snapshot(), "livesum"), Some(40.0));
    drop(other);
}

#[test]
fn threads_that_claim_at_once_get_one_slot_and_one_cell() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    peer.done("register gauge first livesum");
    peer.done("update first 1");
    let used = segment(&stage.snapshot()).bytes_used;
    for n in 0..50 {
        peer.done(&format!("register gauge raced_{n} livesum"));
    }
    let registered = segment(&stage.snapshot()).bytes_used;
    for n in 0..50 {
        peer.done(&format!("race raced_{n} 8"));
        assert_eq!(peer.number(&format!("value raced_{n}")), 8.0, "nothing went to a cell that lost");
    }
    let seen = stage.snapshot();
    assert_whole(&seen);
    for n in 0..50 {
        assert_eq!(number(&seen, &format!("raced_{n}")), Some(8.0));
    }
    let cells = (segment(&seen).bytes_used - registered).div_ceil(128);
    assert_eq!(cells, 50, "cells of 128 bytes each; {used} bytes before");
    assert_eq!(statistic(&seen, Statistic::DroppedBusy), 0);
    assert_eq!(held_slots(&stage.segment()).len(), 1);
}

#[test]
fn a_slot_that_was_raced_for_by_the_first_gauges_is_one() {
    for _ in 0..20 {
        let stage = Stage::new();
        let mut peers: Vec<_> = (0..4).map(|_| stage.peer()).collect();
        peers.iter_mut().for_each(|peer| peer.done("register gauge raced livesum"));
        peers.iter_mut().for_each(|peer| peer.tell("race raced 4"));
        peers.iter_mut().for_each(|peer| drop(peer.answer().unwrap()));
        assert_eq!(number(&stage.snapshot(), "raced"), Some(16.0));
        assert_eq!(held_slots(&stage.segment()), [0, 1, 2, 3]);
    }
}

#[test]
fn a_process_without_a_slot_gets_one_when_one_is_free() {
    let stage = Stage::new();
    let first = setting(&stage, 1, &["processes=2"]);
    let second = setting(&stage, 20, &[]);
    let mut third = setting(&stage, 300, &[]);
    assert_eq!(values(&stage), (Some(21.0), Some(21.0)), "the third one's are private");
    assert_eq!(third.number("value live"), 300.0);
    assert!(statistic(&stage.snapshot(), Statistic::PrivateNoSlot) >= 2);
    third.done("add live 1");
    first.kill();
    wait_for_slots(&stage, 1);
    // A registration lets it try again; what it had set privately comes along.
    third.done("register gauge another livesum");
    third.done("add live 1");
    third.done("update kept 300");
    assert_eq!(values(&stage), (Some(322.0), Some(321.0)));
    drop(second);
}

#[test]
fn slots_of_the_dead_are_used_again() {
    let stage = Stage::new();
    for n in 1..=20 {
        let peer = setting(&stage, n, &["processes=2"]);
        assert_eq!(number(&stage.snapshot(), "live"), Some(f64::from(n)));
        peer.kill();
        wait_for_slots(&stage, 0);
    }
    let seen = stage.snapshot();
    assert_eq!(number(&seen, "kept"), Some(210.0));
    assert_eq!(statistic(&seen, Statistic::PrivateNoSlot), 0);
    assert_eq!(segment(&seen).processes.iter().map(|process| process.generation).sum::<u64>(), 20);
}

/// Three processes register, two race for a gauge; two of the three are killed, each at another moment.
#[test]
fn processes_killed_at_any_moment_leave_a_whole_segment_and_exact_totals() {
    const EACH: u32 = 4000;
    let stage = Stage::new();
    let mut acknowledged = 0;
    for round in 0..60 {
        let mut peers: Vec<_> = (0..3).map(|_| stage.peer()).collect();
        let from = round * EACH / 2;
        peers
            .iter_mut()
            .for_each(|peer| peer.tell(&format!("series many_total 1000000 {from} {}", from + EACH)));
        kill_after(peers.remove(0), round * 37 % 60 * 100);
        for peer in &mut peers {
            assert_eq!(peer.answer().unwrap(), "0");
            acknowledged += EACH;
            peer.done("register gauge raced sum");
            peer.tell("race raced 3");
        }
        kill_after(peers.remove(0), round * 37 % 60 * 10);
        peers[0].answer().unwrap();
    }
    let seen = stage.snapshot();
    assert_whole(&seen);
    let counted = total(&seen, "many_total");
    let (least, most) = (f64::from(acknowledged), f64::from(acknowledged + 60 * EACH));
    assert!((least..=most).contains(&counted), "{counted}, acknowledged {least}");
    let raced = number(&seen, "raced").unwrap();
    assert!((180.0..=360.0).contains(&raced), "{raced}");
    assert_sound(&stage.segment());
}

/// Kills a peer this many microseconds from now.
fn kill_after(peer: Peer, microseconds: u32) {
    let (start, wait) = (Instant::now(), Duration::from_micros(microseconds.into()));
    while start.elapsed() < wait {
        std::hint::spin_loop();
    }
    peer.kill();
}
