//! Taking over a dead owner's gauge cell: what it left counts once, wherever a taker dies.
//!
//! Process A sets 5 and dies; B, C and D, which set 30, 200 and 1000, take its cell over. The sum over the cell
//! must be that of the values that were set, at every look and at the end.
#![cfg(loom)]

use dyn_metrics_layout::gauge::{Claimant, GaugeCell, Meta, Owner, Reading};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::sync::{Ordering, fence};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use dyn_metrics_loom_tests::{Executions, Life, Victim, explore, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

const PLACE: u64 = 8192;
const SERIES: u64 = 640;
const KIND: Kind = Kind::Gauge;
const MODE: GaugeMode = GaugeMode::Sum;
const TO: Representation = Representation::Integer;

const A: usize = 1;
const B: usize = 2;
const C: usize = 3;
const D: usize = 4;
/// What each process sets, by its slot.
const VALUES: [u64; 5] = [0, 5, 30, 200, 1000];
/// Writes of a take-over: the claim, six words of the idle half, the flip; then the value is set.
const TAKE_OVER: usize = 8;
const WRITES: usize = TAKE_OVER + 1;

fn claimant(process: usize) -> Claimant {
    let id = process as u64;
    Claimant { slot: process as u32, generation: 7, process_id: id, pid: process as u32 }
}

type TakeOver = fn(&GaugeCell, &Reading, &Claimant) -> Option<usize>;

fn production(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    cell.take_over(PLACE, reading, me, TO, KIND, MODE)
}

struct Series {
    cell: GaugeCell,
    /// Of each process, by its slot.
    lives: [Life; 5],
    take_over: TakeOver,
}

impl Series {
    /// A has a cell.
    fn new(take_over: TakeOver) -> Self {
        let lives = std::array::from_fn(|_| Life::new());
        let series = Self { cell: GaugeCell::zeroed(), lives, take_over };
        series.cell.begin(PLACE, SERIES, &claimant(A), TO);
        series
    }

    /// A has set its value and is dead.
    fn of_a_dead_owner(take_over: TakeOver) -> Self {
        let series = Self::new(take_over);
        series.set(A, 0);
        series.lives[A].end();
        series
    }

    fn set(&self, process: usize, half: usize) {
        self.cell.half(half).set(Number::Integer(VALUES[process] as i64), TO, MODE, || 0);
    }

    /// Takes the cell over and sets a value, if its owner is dead; whether that succeeded.
    fn take(&self, process: usize) -> bool {
        self.take_as_read(process, &self.cell.read(PLACE).unwrap())
    }

    /// As [`Self::take`], after the look at the cell.
    fn take_as_read(&self, process: usize, reading: &Reading) -> bool {
        let me = claimant(process);
        assert_ne!(reading.owner.slot, me.slot, "a process met a cell of its own");
        if !self.lives[reading.owner.slot as usize].has_ended() {
            return false;
        }
        let half = (self.take_over)(&self.cell, reading, &me);
        half.inspect(|half| self.set(process, *half)).is_some()
    }

    /// The sum over the cell, as a reader counts it.
    fn total(&self) -> u64 {
        let contents = self.cell.read(PLACE).unwrap().contents;
        let of = |number: Option<Number>| number.map_or(0, Number::to_bits);
        of(contents.value(MODE)) + of(contents.retained(MODE))
    }
}

/// Everything that a subset of these processes may have set beside A.
fn possible(processes: &[usize]) -> Vec<u64> {
    let add = |sums: Vec<u64>, process: &usize| {
        sums.iter().flat_map(|sum| [*sum, sum + VALUES[*process]]).collect()
    };
    processes.iter().fold(vec![VALUES[A]], add)
}

/// A sets its value and dies while B looks on.
fn last_store_of_the_owner(take_over: TakeOver) -> Vec<(bool, u64)> {
    explore(move |outcomes| {
        let series = Arc::new(Series::new(take_over));
        let dying = Arc::clone(&series);
        let owner = thread::spawn(move || {
            dying.set(A, 0);
            dying.lives[A].end();
        });
        let taken = series.take(B);
        owner.join().unwrap();
        let expected = VALUES[A] + if taken { VALUES[B] } else { 0 };
        assert_eq!(series.total(), expected, "the total is wrong");
        outcomes.note((taken, expected));
    })
}

/// B dies at a step of its own take-over; the total.
fn die(series: &Series, victim: &Victim) -> u64 {
    let set = victim.run(|| series.take(B)).is_some();
    series.lives[B].end();
    let before = if set { VALUES[A] + VALUES[B] } else { VALUES[A] };
    assert_eq!(series.total(), before, "the total is wrong after a death");
    before
}

fn a_death(take_over: TakeOver) {
    explore_vanishing(
        |_| None,
        move |victim, outcomes: &Executions<_>| {
            outcomes.note(die(&Series::of_a_dead_owner(take_over), victim));
        },
    );
}

/// B dies at a step of its own take-over; then C and D come at once, and somebody reads.
fn two_takers_after_a_death(take_over: TakeOver) -> Vec<Vec<u64>> {
    explore_vanishing(
        |_| Some(2),
        move |victim, outcomes: &Executions<_>| {
            let series = Arc::new(Series::of_a_dead_owner(take_over));
            let before = die(&series, victim);
            let (one, two) = (Arc::clone(&series), Arc::clone(&series));
            let c = thread::spawn(move || one.take(C));
            let d = thread::spawn(move || two.take(D));
            let seen = series.total();
            let after = [before, before + VALUES[C], before + VALUES[D]];
            assert!(after.contains(&seen), "the reader saw a wrong total: {seen}");
            let taken = (c.join().unwrap(), d.join().unwrap());
            assert!(taken.0 != taken.1, "the cell has not one owner: {taken:?}");
            assert_eq!(series.total(), after[if taken.0 { 1 } else { 2 }], "the total is wrong");
            outcomes.note(seen);
        },
    )
}

/// B has looked, takes over, stops at some step and is dead; meanwhile C comes, and a reader if there is one. At
/// the end D inherits.
fn taker_that_dies_meanwhile(
    bound: fn(usize) -> Option<usize>,
    take_over: TakeOver,
    is_read: bool,
) -> Vec<Vec<(bool, bool, u64)>> {
    explore_vanishing(bound, move |victim: &Victim, outcomes: &Executions<_>| {
        let series = Arc::new(Series::of_a_dead_owner(take_over));
        let reading = series.cell.read(PLACE).unwrap();
        let (one, two) = (Arc::clone(&series), Arc::clone(&series));
        let victim = victim.clone();
        let b = thread::spawn(move || {
            let set = victim.run(|| one.take_as_read(B, &reading));
            one.lives[B].end();
            set.unwrap_or(false)
        });
        let (c, late) = if is_read {
            let c = thread::spawn(move || two.take(C));
            let (early, late) = (series.total(), series.total());
            for seen in [early, late] {
                assert!(possible(&[B, C]).contains(&seen), "the reader saw a wrong total: {seen}");
            }
            assert!(early <= late, "the total fell: {early}, then {late}");
            (c.join().unwrap(), late)
        } else {
            (two.take(C), 0)
        };
        let b = b.join().unwrap();
        let before = VALUES[A] + if b { VALUES[B] } else { 0 } + if c { VALUES[C] } else { 0 };
        assert_eq!(series.total(), before, "the total is wrong");
        series.lives[C].end();
        assert!(series.take(D), "the cell can't be inherited");
        assert_eq!(series.total(), before + VALUES[D], "the total is wrong in the end");
        outcomes.note((b, c, late));
    })
}

fn check_a_taker_that_dies(explored: &[Vec<(bool, bool, u64)>]) {
    assert_eq!(explored.len() - 1, WRITES);
    for (steps, outcomes) in explored.iter().enumerate() {
        let took = |b: bool| outcomes.iter().any(|outcome| outcome.0 == b);
        assert_eq!(took(true), steps == WRITES, "vanished before write {steps}: {outcomes:?}");
        assert!(outcomes.iter().any(|outcome| outcome.1), "C never took over: {outcomes:?}");
    }
}

#[test]
fn what_the_owner_stored_last_survives() {
    assert_eq!(last_store_of_the_owner(production), [(false, 5), (true, 35)]);
}

#[test]
fn a_death_at_any_step_neither_loses_nor_doubles() {
    let explored = two_takers_after_a_death(production);
    assert_eq!(explored.len() - 1, WRITES);
    assert!(explored.iter().all(|seen| seen.len() == 3), "the reader is early and late: {explored:?}");
}

#[test]
fn a_taker_that_dies_while_another_comes_neither_loses_nor_doubles() {
    // The whole take-over has 191 496 executions without a bound: 18 s.
    let bound = |steps| (steps == WRITES).then_some(5);
    check_a_taker_that_dies(&taker_that_dies_meanwhile(bound, production, false));
}

#[test]
fn a_taker_that_dies_while_another_comes_and_a_reader_looks_neither_loses_nor_doubles() {
    // A whole take-over before that of C multiplies what the loads of C and of the reader may see.
    let bound = |steps| Some(if steps < TAKE_OVER { 2 } else { 1 });
    check_a_taker_that_dies(&taker_that_dies_meanwhile(bound, production, true));
}

/// Begins the idle half as production does.
fn begin(cell: &GaugeCell, half: usize, me: &Claimant, retained: u64) {
    let half = cell.half(half);
    half.retained.store(retained, Ordering::Relaxed);
    half.value.store(0, Ordering::Relaxed);
    half.process_id.store(me.process_id, Ordering::Relaxed);
    let meta = Meta { pid: me.pid, representation: TO, retained: TO };
    half.meta.store(meta.pack(me.process_id), Ordering::Relaxed);
}

fn owner(me: &Claimant, half: usize, taking: bool) -> u64 {
    Owner { slot: me.slot, generation: me.generation, half, taking }.pack(PLACE)
}

fn claim(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<()> {
    let taking = owner(me, reading.owner.half, true);
    cell.owner.compare_exchange(reading.word, taking, Ordering::AcqRel, Ordering::Acquire).ok()?;
    fence(Ordering::Release);
    Some(())
}

/// Value and retained of the half that counts, added.
fn survivors(cell: &GaugeCell, half: usize) -> u64 {
    let half = cell.half(half);
    half.value.load(Ordering::Relaxed) + half.retained.load(Ordering::Relaxed)
}

/// `retained += value; value = 0`, in place.
fn in_place(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    let half = reading.owner.half;
    claim(cell, reading, me)?;
    cell.half(half).retained.store(survivors(cell, half), Ordering::Relaxed);
    cell.half(half).value.store(0, Ordering::Relaxed);
    cell.owner.store(owner(me, half, false), Ordering::Release);
    Some(half)
}

#[test]
#[should_panic(expected = "the total is wrong after a death")]
fn twin_adding_in_place_counts_twice() {
    a_death(in_place);
}

/// Flips owner and half before the new half is complete.
fn flipping_first(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    let from = reading.owner.half;
    claim(cell, reading, me)?;
    let retained = survivors(cell, from);
    begin(cell, 1 - from, me, 0);
    cell.owner.store(owner(me, 1 - from, false), Ordering::Release);
    cell.half(1 - from).retained.store(retained, Ordering::Relaxed);
    Some(1 - from)
}

#[test]
#[should_panic(expected = "the total is wrong after a death")]
fn twin_flipping_before_the_retained_is_stored_loses_it_at_a_death() {
    a_death(flipping_first);
}

#[test]
#[should_panic(expected = "the reader saw a wrong total")]
fn twin_flipping_before_the_retained_is_stored_hides_it_meanwhile() {
    two_takers_after_a_death(flipping_first);
}

/// Claims by a store: two takers at once believe that the cell is theirs.
fn storing_the_claim(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    let from = reading.owner.half;
    cell.owner.store(owner(me, from, true), Ordering::Release);
    begin(cell, 1 - from, me, survivors(cell, from));
    cell.owner.store(owner(me, 1 - from, false), Ordering::Release);
    Some(1 - from)
}

#[test]
#[should_panic(expected = "the cell has not one owner")]
fn twin_claiming_by_a_store_makes_two_owners() {
    two_takers_after_a_death(storing_the_claim);
}

/// Takes what it read before it knew the owner dead.
fn believing_the_first_look(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    let from = reading.owner.half;
    claim(cell, reading, me)?;
    let survivor = reading.contents.survivors(KIND, MODE).0.map_or(0, Number::to_bits);
    begin(cell, 1 - from, me, survivor);
    cell.owner.store(owner(me, 1 - from, false), Ordering::Release);
    Some(1 - from)
}

#[test]
#[should_panic(expected = "the total is wrong")]
fn twin_believing_the_first_look_loses_the_last_store() {
    last_store_of_the_owner(believing_the_first_look);
}

/// Flips with a relaxed store.
fn flipping_relaxed(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    let from = reading.owner.half;
    let taking = owner(me, from, true);
    cell.owner.compare_exchange(reading.word, taking, Ordering::Relaxed, Ordering::Relaxed).ok()?;
    begin(cell, 1 - from, me, survivors(cell, from));
    cell.owner.store(owner(me, 1 - from, false), Ordering::Relaxed);
    Some(1 - from)
}

#[test]
#[should_panic(expected = "called `Result::unwrap()` on an `Err` value: Corrupt { what: \"gauge cell meta\"")]
fn twin_a_relaxed_flip_shows_half_a_cell() {
    taker_that_dies_meanwhile(|_| None, flipping_relaxed, false);
}
