//! The list of a series' gauge cells: two processes add theirs at once, a reader walks.
#![cfg(loom)]

use dyn_metrics_layout::gauge::{self, Claimant, GaugeCell};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_layout::{GaugeMode, Representation};
use dyn_metrics_loom_tests::explore_bounded;
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
        let cells = [GaugeCell::zeroed(), GaugeCell::zeroed()];
        let series = Arc::new(Series { head: AtomicU64::new(0), cells });
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
    let outcomes = two_processes_and_a_reader(|cell, place, head| cell.publish(place, head, HEAD).unwrap());
    assert_eq!(outcomes, [vec![], vec![1], vec![1, 2], vec![2], vec![2, 1]], "the reader is early and late");
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
