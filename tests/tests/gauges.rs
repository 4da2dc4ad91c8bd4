//! The ten modes: how gauges of living and dead processes combine.

use dyn_metrics_reader::{GaugeMode, Snapshot, Statistic, Value};
use dyn_metrics_tests::reading::{
    assert_sound, assert_whole, by_pid, number, segment, series, statistic, total,
};
use dyn_metrics_tests::servers::wait_for;
use dyn_metrics_tests::stage::{Peer, Stage, held_slots, next_tick};

fn wait_for_slots(stage: &Stage, count: usize) {
    wait_for("slots", || (held_slots(&stage.segment()).len() == count).then_some(()));
}

/// Registers a gauge of each mode under the mode's name.
fn registering(stage: &Stage, kind: &str) -> Peer {
    let mut peer = stage.peer();
    for mode in GaugeMode::EVERY {
        peer.done(&format!("register {kind} {0} {0}", mode.name()));
    }
    peer
}

fn set_all(peer: &mut Peer, value: f64) {
    for mode in GaugeMode::EVERY {
        peer.done(&format!("update {} {value}", mode.name()));
    }
}

fn numbers(seen: &Snapshot) -> Vec<(&'static str, Option<f64>)> {
    let modes = GaugeMode::EVERY.into_iter().filter(|mode| !mode.is_all());
    modes.map(|mode| (mode.name(), number(seen, mode.name()))).collect()
}

fn pids(peers: &[(&Peer, f64)]) -> Vec<(String, f64)> {
    let mut pairs: Vec<_> = peers.iter().map(|(peer, value)| (peer.pid().to_string(), *value)).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

fn combines(kind: &str, scale: f64) {
    let stage = Stage::new();
    let (mut low, mut high) = (registering(&stage, kind), registering(&stage, kind));
    set_all(&mut high, 7.0 * scale);
    next_tick();
    set_all(&mut low, 2.0 * scale);
    let expect = |dead: [f64; 4], live: [f64; 4]| {
        let seen = stage.snapshot();
        assert_whole(&seen);
        let names =
            [("min", "livemin"), ("max", "livemax"), ("sum", "livesum"), ("mostrecent", "livemostrecent")];
        let pairs = names.iter().zip(dead).zip(live);
        let expected: Vec<_> =
            pairs.flat_map(|((n, d), l)| [(n.0, Some(d * scale)), (n.1, Some(l * scale))]).collect();
        assert_eq!(numbers(&seen), expected);
        seen
    };
    let seen = expect([2.0, 7.0, 9.0, 2.0], [2.0, 7.0, 9.0, 2.0]);
    for mode in ["all", "liveall"] {
        assert_eq!(by_pid(&seen, mode), pids(&[(&low, 2.0 * scale), (&high, 7.0 * scale)]), "{mode}");
    }
    low.kill();
    wait_for_slots(&stage, 1);
    let seen = expect([2.0, 7.0, 9.0, 2.0], [7.0, 7.0, 7.0, 7.0]);
    assert_eq!(by_pid(&seen, "liveall"), pids(&[(&high, 7.0 * scale)]));
    // A third process takes the dead one's cells over.
    let mut third = registering(&stage, kind);
    next_tick();
    set_all(&mut third, 4.0 * scale);
    expect([2.0, 7.0, 13.0, 4.0], [4.0, 7.0, 11.0, 4.0]);
    high.kill();
    third.kill();
    wait_for_slots(&stage, 0);
    let seen = stage.snapshot();
    for (mode, expected) in [("min", 2.0), ("max", 7.0), ("sum", 13.0), ("mostrecent", 4.0)] {
        assert_eq!(number(&seen, mode), Some(expected * scale), "{mode}");
    }
    assert!(by_pid(&seen, "all").is_empty() && by_pid(&seen, "liveall").is_empty());
}

#[test]
fn ten_modes_combine_whole_numbers_of_living_and_dead() {
    combines("gauge", 1.0);
    combines("gauge", -3.0 / -1.0);
}

#[test]
fn ten_modes_combine_fractional_numbers_of_living_and_dead() {
    combines("fgauge", 0.5);
}

#[test]
fn ten_modes_combine_durations_of_living_and_dead() {
    combines("dgauge", 0.25);
}

#[test]
fn zero_and_negative_numbers_are_numbers() {
    let stage = Stage::new();
    let (mut zero, mut other) = (registering(&stage, "gauge"), registering(&stage, "gauge"));
    set_all(&mut zero, 0.0);
    set_all(&mut other, -5.0);
    let seen = stage.snapshot();
    assert_eq!(number(&seen, "max"), Some(0.0));
    assert_eq!(number(&seen, "min"), Some(-5.0));
    other.kill();
    wait_for_slots(&stage, 1);
    let seen = stage.snapshot();
    assert_eq!(number(&seen, "livemin"), Some(0.0));
    assert_eq!(number(&seen, "min"), Some(-5.0));
}

#[test]
fn a_process_that_has_set_nothing_does_not_take_part() {
    let stage = Stage::new();
    let mut setting = registering(&stage, "gauge");
    let mut idle = registering(&stage, "gauge");
    set_all(&mut setting, 5.0);
    for mode in GaugeMode::EVERY {
        assert_eq!(idle.number(&format!("value {}", mode.name())), 0.0);
    }
    let seen = stage.snapshot();
    assert!(numbers(&seen).iter().all(|(_, number)| *number == Some(5.0)), "{:?}", numbers(&seen));
    assert_eq!(by_pid(&seen, "liveall"), pids(&[(&setting, 5.0)]));
}

#[test]
fn handles_of_different_representation_share_a_series() {
    let stage = Stage::new();
    let (mut whole, mut half) = (stage.peer(), stage.peer());
    whole.done("register gauge shared livesum");
    half.done("register fgauge shared livesum");
    whole.done("update shared 3");
    half.done("update shared 0.5");
    assert_eq!(number(&stage.snapshot(), "shared"), Some(3.5));
    half.kill();
    wait_for_slots(&stage, 1);
    assert_eq!(number(&stage.snapshot(), "shared"), Some(3.0));
}

#[test]
fn mode_all_keeps_the_newest_dead_as_the_family_says() {
    let stage = Stage::new();
    let mut dead = Vec::new();
    for n in 0..5 {
        let mut peer = stage.peer();
        peer.done("register gauge kept all 2");
        peer.done(&format!("update kept {n}"));
        dead.push((peer.pid().to_string(), f64::from(n)));
        peer.kill();
        wait_for_slots(&stage, 0);
    }
    let mut newest = dead[3..].to_vec();
    newest.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(by_pid(&stage.snapshot(), "kept"), newest);
}

/// Process after process: cells follow the peak of simultaneous processes, totals all that ever lived.
#[test]
fn two_hundred_processes_one_after_another_share_their_cells() {
    const PROCESSES: u32 = 200;
    let stage = Stage::new();
    let mut used = Vec::new();
    for n in 1..=PROCESSES {
        let mut peer = stage.peer();
        for (kind, mode) in [("gauge", "sum"), ("fgauge", "max"), ("gauge", "mostrecent"), ("gauge", "min")] {
            peer.done(&format!("register {kind} {mode} {mode}"));
            peer.done(&format!("update {mode} {n}"));
        }
        used.push(segment(&stage.snapshot()).bytes_used);
        peer.kill();
        wait_for_slots(&stage, 0);
    }
    assert!(used.iter().all(|bytes| *bytes == used[0]), "the segment grew: {used:?}");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(number(&seen, "sum"), Some(f64::from(PROCESSES * (PROCESSES + 1) / 2)));
    assert_eq!(number(&seen, "max"), Some(f64::from(PROCESSES)));
    assert_eq!(number(&seen, "min"), Some(1.0));
    assert_eq!(number(&seen, "mostrecent"), Some(f64::from(PROCESSES)));
    assert_sound(&stage.segment());
    assert_eq!(statistic(&seen, Statistic::GaugeTakeovers), u64::from(4 * (PROCESSES - 1)));
    assert_eq!(segment(&seen).processes.len(), 1, "one slot was enough");
}

/// Waves of processes that live at the same time: the first wave makes the cells, the others take them over.
#[test]
fn waves_of_processes_share_the_cells_of_the_first_wave() {
    let stage = Stage::new();
    let mut used = Vec::new();
    for wave in 1..=10_u32 {
        let mut peers: Vec<_> = (0..6).map(|_| stage.peer()).collect();
        peers.iter_mut().for_each(|peer| peer.done("register gauge sum sum"));
        // All at once: they race for the same dead cells.
        peers.iter_mut().for_each(|peer| peer.tell("race sum 2"));
        peers.iter_mut().for_each(|peer| drop(peer.answer().unwrap()));
        let seen = stage.snapshot();
        assert_eq!(number(&seen, "sum"), Some(f64::from(12 * wave)), "wave {wave}");
        used.push(segment(&seen).bytes_used);
        peers.into_iter().for_each(Peer::kill);
        wait_for_slots(&stage, 0);
    }
    // Who loses the race for a dead cell makes a new one: bounded by the racers of one wave.
    let cells = (used[used.len() - 1] - used[0]) / 128;
    assert!(cells <= 6, "{cells} cells more than in the first wave: {used:?}");
}

#[test]
fn first_updates_in_signal_handlers_are_shown_or_counted_as_dropped() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    let updates = peer.number("claim-in-signals 9000");
    assert!(updates > 9000.0, "no signal was handled");
    let seen = stage.snapshot();
    assert_whole(&seen);
    let dropped = statistic(&seen, Statistic::DroppedBusy) as f64;
    assert_eq!(total(&seen, "claimed") + dropped, updates, "{dropped} dropped");
    assert_sound(&stage.segment());
}

#[test]
fn a_state_set_shows_what_was_set_last_by_a_living_process() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    peer.done("register state engine_state");
    peer.done("update engine_state 0");
    next_tick();
    peer.done("update engine_state 1");
    let seen = stage.snapshot();
    let Value::StateSet { states, bits } = &series(&seen, "engine_state", &[]).unwrap().value else {
        panic!()
    };
    assert_eq!((&states[..], *bits), (&["starting".to_owned(), "ready".to_owned()][..], 0b10));
}

#[test]
fn states_of_the_dead_are_joined_in_mode_max_and_intersected_in_mode_min() {
    let stage = Stage::new();
    let peer = |on: u8| {
        let mut peer = stage.peer();
        for mode in ["max", "min"] {
            peer.done(&format!("register state {mode} {mode}"));
            peer.done(&format!("update {mode} {on}"));
        }
        peer
    };
    for on in [0, 1] {
        peer(on).kill();
        wait_for_slots(&stage, 0);
    }
    // The third takes the cells over a second time: what the first two left are 0b01 and 0b10.
    for on in [0, 1] {
        let third = peer(on);
        let seen = stage.snapshot();
        assert_eq!([bits(&seen, "max"), bits(&seen, "min")], [0b11, 0], "{on} is on in the last one");
        third.kill();
        wait_for_slots(&stage, 0);
    }
    assert_eq!(statistic(&stage.snapshot(), Statistic::GaugeTakeovers), 6);
}

fn bits(seen: &Snapshot, name: &str) -> u64 {
    match series(seen, name, &[]).unwrap().value {
        Value::StateSet { bits, .. } => bits,
        _ => panic!("{name} is a state set"),
    }
}
