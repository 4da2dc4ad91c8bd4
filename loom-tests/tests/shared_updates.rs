//! Updates of a shared block, by atomics, against a reading scrape: nothing is lost, and totals never fall.
#![cfg(loom)]

use dyn_metrics_layout::extent::{add_shared, add_shared_float};
use dyn_metrics_layout::gauge::{Claimant, GaugeCell};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_layout::{GaugeMode, Representation};
use dyn_metrics_loom_tests::{Executions, explore, explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

/// A tally's words: the count, and the sum as a double.
type Tally = (AtomicU64, AtomicU64);
type Observe = fn(&Tally);

fn production(tally: &Tally) {
    add_shared(&tally.0, 1);
    add_shared_float(&tally.1, 0.5);
}

fn read(tally: &Tally) -> (u64, f64) {
    (tally.0.load(Ordering::Relaxed), f64::from_bits(tally.1.load(Ordering::Relaxed)))
}

/// Two threads observe 0.5, one of them twice, while a third one reads twice.
fn observers_and_reader(observe: Observe) -> Vec<(u64, u64)> {
    observers_and_reader_without(observe, false)
}

/// As above; a twin may leave the look at the end out, to show what the reader sees meanwhile.
fn observers_and_reader_without(observe: Observe, end: bool) -> Vec<(u64, u64)> {
    explore_bounded(2, move |outcomes| {
        let tally: Arc<Tally> = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let (one, two) = (Arc::clone(&tally), Arc::clone(&tally));
        let first = thread::spawn(move || observe(&one));
        let second = thread::spawn(move || {
            observe(&two);
            observe(&two);
        });
        let (early, late) = (read(&tally), read(&tally));
        assert!(early.0 <= late.0 && early.1 <= late.1, "a total fell: {early:?}, then {late:?}");
        first.join().unwrap();
        second.join().unwrap();
        assert!(end || read(&tally) == (3, 1.5), "observations were lost: {:?}", read(&tally));
        outcomes.note((early.0, late.0));
    })
}

#[test]
fn observations_in_a_shared_block_add_up() {
    let outcomes = observers_and_reader(production);
    let every: Vec<_> = (0..=3).flat_map(|early| (early..=3).map(move |late| (early, late))).collect();
    assert_eq!(outcomes, every, "each pair of totals can be read");
}

/// An observer vanishes, another one doesn't: what the totals are in the end.
fn an_observer_that_dies(observe: Observe) -> Vec<Vec<(u64, u64)>> {
    explore_vanishing(
        |_| None,
        move |victim, outcomes: &Executions<_>| {
            let tally: Arc<Tally> = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
            let (one, victim) = (Arc::clone(&tally), victim.clone());
            let dying = thread::spawn(move || victim.run(|| observe(&one)).is_some());
            observe(&tally);
            let acknowledged = 1 + u64::from(dying.join().unwrap());
            let (count, sum) = read(&tally);
            assert!(count == acknowledged || count == acknowledged + 1, "not what was acknowledged: {count}");
            outcomes.note((count, (sum * 2.0) as u64));
        },
    )
}

#[test]
fn an_observer_that_dies_has_observed_or_not() {
    let explored = an_observer_that_dies(production);
    // Nothing; the count without its sum, which takes a second turn when another one was faster; all.
    assert_eq!(explored, [[(1, 1)].as_slice(), &[(2, 1)], &[(2, 1), (2, 2)], &[(2, 2)]]);
}

/// Takes the count away and puts it back larger.
fn taking_the_count(tally: &Tally) {
    let mut count = tally.0.load(Ordering::Relaxed);
    while let Err(now) = tally.0.compare_exchange(count, 0, Ordering::Relaxed, Ordering::Relaxed) {
        count = now;
    }
    add_shared(&tally.0, count + 1);
    add_shared_float(&tally.1, 0.5);
}

#[test]
#[should_panic(expected = "not what was acknowledged")]
fn twin_taking_a_count_to_put_it_back_loses_it_at_a_death() {
    an_observer_that_dies(taking_the_count);
}

fn plain_count(tally: &Tally) {
    tally.0.store(tally.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    add_shared_float(&tally.1, 0.5);
}

#[test]
#[should_panic(expected = "observations were lost")]
fn twin_a_plain_addition_loses_counts() {
    observers_and_reader(plain_count);
}

#[test]
#[should_panic(expected = "a total fell")]
fn twin_a_plain_addition_makes_totals_fall() {
    observers_and_reader_without(plain_count, true);
}

fn plain_sum(tally: &Tally) {
    add_shared(&tally.0, 1);
    let sum = f64::from_bits(tally.1.load(Ordering::Relaxed)) + 0.5;
    tally.1.store(sum.to_bits(), Ordering::Relaxed);
}

#[test]
#[should_panic(expected = "observations were lost")]
fn twin_a_plain_addition_of_doubles_loses_some() {
    observers_and_reader(plain_sum);
}

type Add = fn(&GaugeCell, Number, Representation, GaugeMode);

fn production_add(cell: &GaugeCell, number: Number, to: Representation, mode: GaugeMode) {
    cell.half(0).add(number, to, mode, || 1);
}

/// Two threads of a process add to its gauge.
fn two_threads_add_to_a_gauge(add: Add, number: Number, mode: GaugeMode) {
    const ME: Claimant = Claimant { slot: 1, generation: 1, process_id: 1, pid: 1 };
    explore(move |_: &dyn_metrics_loom_tests::Executions<()>| {
        let to = number.representation();
        let cell = Arc::new(GaugeCell::zeroed());
        cell.begin(8192, 640, &ME, to);
        let other = Arc::clone(&cell);
        let second = thread::spawn(move || add(&other, number, to, mode));
        add(&cell, number, to, mode);
        second.join().unwrap();
        assert_eq!(cell.half(0).value(to, mode), Some(number.plus(number)), "an addition was lost");
    });
}

#[test]
fn additions_to_a_gauge_by_two_threads_add_up() {
    for number in [Number::Integer(4), Number::Float(0.5), Number::Nanoseconds(-7)] {
        for mode in [GaugeMode::LiveSum, GaugeMode::Max, GaugeMode::MostRecent] {
            two_threads_add_to_a_gauge(production_add, number, mode);
        }
    }
}

fn plain_add(cell: &GaugeCell, number: Number, to: Representation, mode: GaugeMode) {
    let word = &cell.half(0).value;
    let old = Number::from_bits(mode.decode(word.load(Ordering::Relaxed), to).unwrap_or(0), to);
    word.store(mode.encode(old.plus(number).to_bits(), to), Ordering::Relaxed);
}

#[test]
#[should_panic(expected = "an addition was lost")]
fn twin_a_plain_addition_to_a_gauge_loses_one() {
    two_threads_add_to_a_gauge(plain_add, Number::Integer(4), GaugeMode::Max);
}
