//! Stamped gauges: whoever sees a time sees the value that was set before it, or a later one.
#![cfg(loom)]

use dyn_metrics_layout::gauge::{Claimant, GaugeCell, Half};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::sync::Ordering;
use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use dyn_metrics_loom_tests::{Executions, explore, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

const PLACE: u64 = 8192;
const ME: Claimant = Claimant { slot: 1, generation: 1, process_id: 1, pid: 1 };
const MODE: GaugeMode = GaugeMode::MostRecent;

/// Sets the value to the time.
type Set = fn(&Half, i64);

/// The owner sets 1 at time 1 and 2 at time 2, while another process reads.
fn owner_and_reader(set: Set) -> Vec<(i64, u64)> {
    explore(move |outcomes| {
        let cell = Arc::new(GaugeCell::zeroed());
        cell.begin(PLACE, 640, &ME, Representation::Integer);
        let owned = Arc::clone(&cell);
        let owner = thread::spawn(move || {
            set(owned.half(0), 1);
            set(owned.half(0), 2);
        });
        let contents = cell.read(PLACE).unwrap().contents;
        let value = contents.value(MODE).map_or(0, |number| number.to_bits() as i64);
        assert!(value >= contents.stamp as i64, "a time without its value: {value} at {}", contents.stamp);
        owner.join().unwrap();
        outcomes.note((value, contents.stamp));
    })
}

#[test]
fn a_time_never_comes_without_its_value() {
    let outcomes = owner_and_reader(|half, time| {
        half.set(Number::Integer(time), Representation::Integer, MODE, || time as u64);
    });
    assert_eq!(outcomes, [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]);
}

/// As [`owner_and_reader`], and the owner vanishes; whoever comes next takes its cell over. What is retained.
fn an_owner_that_dies(set: Set) -> Vec<Vec<(i64, u64)>> {
    explore_vanishing(
        |_| None,
        move |victim, outcomes: &Executions<_>| {
            let cell = Arc::new(GaugeCell::zeroed());
            cell.begin(PLACE, 640, &ME, Representation::Integer);
            let (owned, victim) = (Arc::clone(&cell), victim.clone());
            let owner = thread::spawn(move || {
                victim.run(|| {
                    set(owned.half(0), 1);
                    set(owned.half(0), 2);
                })
            });
            let contents = cell.read(PLACE).unwrap().contents;
            let value = contents.value(MODE).map_or(0, |number| number.to_bits() as i64);
            assert!(
                value >= contents.stamp as i64,
                "a time without its value: {value} at {}",
                contents.stamp
            );
            owner.join().unwrap();
            let (reading, heir) = (cell.read(PLACE).unwrap(), Claimant { generation: 2, ..ME });
            let to = Representation::Integer;
            cell.take_over(PLACE, &reading, &heir, to, Kind::Gauge, MODE).expect("nobody else takes it");
            let contents = cell.read(PLACE).unwrap().contents;
            let retained = contents.retained(MODE).map_or(0, |number| number.to_bits() as i64);
            let stamp = contents.retained_stamp;
            assert!(retained >= stamp as i64, "a time without its value: {retained} at {stamp}");
            outcomes.note((retained, stamp));
        },
    )
}

#[test]
fn an_owner_that_dies_between_value_and_time_leaves_a_value_of_its_own() {
    let explored = an_owner_that_dies(|half, time| {
        half.set(Number::Integer(time), Representation::Integer, MODE, || time as u64);
    });
    assert_eq!(explored, [[(0, 0)], [(1, 0)], [(1, 1)], [(2, 1)], [(2, 2)]]);
}

#[test]
#[should_panic(expected = "a time without its value")]
fn twin_an_owner_that_dies_after_the_time_leaves_it_without_its_value() {
    an_owner_that_dies(|half, time| {
        half.stamp.store(time as u64, Ordering::Release);
        half.value.store(word(time), Ordering::Relaxed);
    });
}

fn word(value: i64) -> u64 {
    MODE.encode(value as u64, Representation::Integer)
}

#[test]
#[should_panic(expected = "a time without its value")]
fn twin_time_before_value_comes_alone() {
    owner_and_reader(|half, time| {
        half.stamp.store(time as u64, Ordering::Release);
        half.value.store(word(time), Ordering::Relaxed);
    });
}

#[test]
#[should_panic(expected = "a time without its value")]
fn twin_a_relaxed_time_comes_alone() {
    owner_and_reader(|half, time| {
        half.value.store(word(time), Ordering::Relaxed);
        half.stamp.store(time as u64, Ordering::Relaxed);
    });
}
