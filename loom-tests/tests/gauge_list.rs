//! The list of a series' gauge cells: two processes add theirs at once, a reader walks.
#![cfg(loom)]

use dyn_metrics_layout::gauge::{self, Claimant, GaugeCell};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_layout::{GaugeMode, Representation};
use dyn_metrics_loom_tests::{Executions, explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

/// Where the link to the newest cell lies.
const HEAD: u64 = 640;
const SERIES: u64 = 672;
const CELL_BYTES: u64 = gauge::BYTES as u64;

type Publish = fn(&GaugeCell, u64, &AtomicU64);

struct Series {
    head: AtomicU64,
    cells: [GaugeCell; 2],
}

impl Series {
    fn new() -> Self {
        Self { head: AtomicU64::new(0), cells: [GaugeCell::zeroed(), GaugeCell::zeroed()] }
    }

    fn place(cell: usize) -> u64 {
        8192 + CELL_BYTES * cell as u64
    }

    /// Process `n` prepares its cell and publishes it.
    fn add(&self, n: usize, publish: Publish) {
        let me = Claimant { slot: n as u32, generation: 1, process_id: n as u64 + 1, pid: n as u32 + 1 };
        let cell = &self.cells[n];
        cell.begin(Self::place(n), SERIES, &me, Representation::Integer);
        publish(cell, Self::place(n), &self.head);
        cell.half(0).set(Number::Integer(1), Representation::Integer, GaugeMode::Sum, || 0);
    }

    /// The processes of the cells from the newest to the oldest, and the sum of their values.
    fn walk(&self) -> (Vec<u64>, u64) {
        let (mut processes, mut sum, mut place, mut word) = (Vec::new(), 0, HEAD, load_acquire(&self.head));
        while let Some(offset) = Link::unpack(word, place).expect("half a cell") {
            let cell = &self.cells[((offset - 8192) / CELL_BYTES) as usize];
            let contents = cell.read(offset).expect("half a cell").contents;
            processes.push(contents.process_id);
            sum += contents.value(GaugeMode::Sum).map_or(0, Number::to_bits);
            place = offset + gauge::NEXT;
            word = load_acquire(&cell.next);
        }
        (processes, sum)
    }
}

fn two_processes_and_a_reader(publish: Publish) -> Vec<Vec<u64>> {
    explore_bounded(3, move |outcomes| {
        let series = Arc::new(Series::new());
        let (one, two) = (Arc::clone(&series), Arc::clone(&series));
        let first = thread::spawn(move || one.add(0, publish));
        let second = thread::spawn(move || two.add(1, publish));
        let (seen, _) = series.walk();
        first.join().unwrap();
        second.join().unwrap();
        let (all, sum) = series.walk();
        assert_eq!((all.len(), sum), (2, 2), "the list lost a cell");
        assert!(all.ends_with(&seen), "the list changed behind its newest cell");
        outcomes.note(seen);
    })
}

#[test]
fn cells_of_two_processes_are_both_in_the_list() {
    let outcomes = two_processes_and_a_reader(production);
    assert_eq!(outcomes, [vec![], vec![1], vec![1, 2], vec![2], vec![2, 1]], "the reader is early and late");
}

/// A process vanishes while it adds its cell and sets 1; another one does the same. Who is in the list, and the sum.
fn a_process_that_dies(publish: Publish) -> Vec<Vec<(Vec<u64>, u64)>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let series = Arc::new(Series::new());
            let (one, victim) = (Arc::clone(&series), victim.clone());
            let dying = thread::spawn(move || victim.run(|| one.add(0, publish)));
            series.add(1, publish);
            let (seen, early) = series.walk();
            assert!(seen.contains(&2), "the list lost a cell");
            let completed = dying.join().unwrap().is_some();
            let (all, sum) = series.walk();
            assert!(all.ends_with(&seen) && early <= sum, "the list changed behind its newest cell");
            assert_eq!(sum, if completed { 2 } else { 1 }, "the list lost a cell");
            outcomes.note((all, sum));
        },
    )
}

fn production(cell: &GaugeCell, place: u64, head: &AtomicU64) {
    cell.publish(place, head, HEAD).unwrap();
}

#[test]
fn a_process_that_dies_while_it_adds_its_cell_leaves_the_list_to_the_others() {
    let explored = a_process_that_dies(production);
    let (last, dying) = explored.split_last().unwrap();
    assert_eq!(last[..], [(vec![1, 2], 2), (vec![2, 1], 2)]);
    // Six words to prepare, two to publish, again when another one was faster; then the value is set.
    assert_eq!(dying.len(), 11);
    assert!(dying[..7].iter().all(|outcomes| outcomes[..] == [(vec![2], 1)]), "not published yet: {dying:?}");
}

/// Publishes the cell, and prepares it afterwards.
fn preparing_late(cell: &GaugeCell, place: u64, head: &AtomicU64) {
    cell.series.store(0, Ordering::Relaxed);
    let owner = cell.owner.load(Ordering::Relaxed);
    cell.owner.store(0, Ordering::Relaxed);
    cell.publish(place, head, HEAD).unwrap();
    cell.owner.store(owner, Ordering::Release);
}

#[test]
#[should_panic(expected = "half a cell")]
fn twin_preparing_a_cell_that_is_in_the_list_leaves_half_of_one() {
    a_process_that_dies(preparing_late);
}

/// Prepares the link to the older cell once, and not again after a lost compare-and-swap.
fn linking_once(cell: &GaugeCell, place: u64, head: &AtomicU64) {
    let mut seen = load_acquire(head);
    let older = Link::unpack(seen, HEAD).unwrap();
    let next = older.map_or(0, |older| Link::pack(older, place + gauge::NEXT));
    cell.next.store(next, Ordering::Relaxed);
    let packed = Link::pack(place, HEAD);
    while let Err(now) = head.compare_exchange(seen, packed, Ordering::AcqRel, Ordering::Acquire) {
        seen = now;
    }
}

#[test]
#[should_panic(expected = "the list lost a cell")]
fn twin_not_linking_again_after_a_lost_compare_and_swap_loses_cells() {
    two_processes_and_a_reader(linking_once);
}

/// Publishes with a relaxed compare-and-swap.
fn relaxed(cell: &GaugeCell, place: u64, head: &AtomicU64) {
    let mut seen = load_acquire(head);
    let packed = Link::pack(place, HEAD);
    loop {
        let older = Link::unpack(seen, HEAD).unwrap();
        let next = older.map_or(0, |older| Link::pack(older, place + gauge::NEXT));
        cell.next.store(next, Ordering::Relaxed);
        match head.compare_exchange(seen, packed, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => seen = now,
        }
    }
}

#[test]
#[should_panic(expected = "half a cell")]
fn twin_a_relaxed_publish_shows_half_a_cell() {
    two_processes_and_a_reader(relaxed);
}
