//! The claim of a gauge cell by threads of one process: the process has one cell in a series, and when a thread vanishes,
//! the others of its process don't wait and the next owner of its slot claims as if nothing were.
#![cfg(loom)]

use dyn_metrics_layout::gauge::{self, Claimant, GaugeCell};
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::process::SlotWords;
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use dyn_metrics_loom_tests::{Executions, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

/// Where the link to the newest cell lies.
const HEAD: u64 = 640;
const SERIES: u64 = 672;
const CELLS: u64 = 8192;
const CELL_BYTES: u64 = gauge::BYTES as u64;
const TO: Representation = Representation::Integer;

type Enter = fn(&SlotWords, u64) -> bool;

struct Series {
    slot: SlotWords,
    head: AtomicU64,
    drawn: AtomicU64,
    cells: [GaugeCell; 3],
    enter: Enter,
}

impl Series {
    fn new(enter: Enter) -> Arc<Self> {
        let cells = std::array::from_fn(|_| GaugeCell::zeroed());
        let (head, drawn) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { slot: SlotWords::zeroed(), head, drawn, cells, enter })
    }

    fn cell(&self, place: u64) -> &GaugeCell {
        &self.cells[((place - CELLS) / CELL_BYTES) as usize]
    }

    /// Each cell's place and owner.
    fn owners(&self) -> Vec<(u64, u32)> {
        let (mut owners, mut next) = (Vec::new(), Link::unpack(load_acquire(&self.head), HEAD));
        while let Some(place) = next.expect("half a cell") {
            let cell = self.cell(place);
            owners.push((place, cell.read(place).expect("half a cell").owner.generation));
            next = Link::unpack(load_acquire(&cell.next), place + gauge::NEXT);
        }
        owners
    }

    /// The cell of the process in a `generation` of the slot, found or made; a dead one's when `heirs` take it.
    fn find_or_make(&self, generation: u32, heirs: bool) -> u64 {
        let me = Claimant { slot: 1, generation, process_id: u64::from(generation), pid: generation };
        let owners = self.owners();
        if let Some((place, _)) = owners.iter().find(|(_, owner)| *owner == generation) {
            return *place;
        }
        if let Some((place, _)) = owners.first().filter(|_| heirs) {
            let reading = self.cell(*place).read(*place).unwrap();
            let taken = self.cell(*place).take_over(*place, &reading, &me, TO, Kind::Gauge, GaugeMode::Sum);
            taken.expect("nobody else takes it");
            return *place;
        }
        let place = CELLS + CELL_BYTES * self.drawn.fetch_add(1, Ordering::Relaxed);
        let cell = self.cell(place);
        cell.begin(place, SERIES, &me, TO);
        cell.publish(place, &self.head, HEAD).unwrap();
        place
    }

    /// Claims in a thread of the process, looking twice at most; none when others are at it.
    fn claim(&self, thread: u64, generation: u32, heirs: bool) -> Option<u64> {
        (0..2).any(|_| (self.enter)(&self.slot, thread)).then(|| {
            let place = self.find_or_make(generation, heirs);
            self.slot.leave();
            place
        })
    }
}

/// Two threads of a process claim, of which one vanishes; then the process dies, and another one gets its slot. Which of
/// them had a cell.
fn two_threads_and_an_heir(enter: Enter) -> Vec<Vec<(bool, bool)>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let series = Series::new(enter);
            let generation = series.slot.begin() as u32;
            let (one, victim) = (Arc::clone(&series), victim.clone());
            let dying = thread::spawn(move || victim.run(|| one.claim(11, generation, false)).flatten());
            let second = series.claim(12, generation, false);
            let first = dying.join().unwrap();
            let owners = series.owners();
            assert!(owners.len() <= 1, "a process has two cells: {owners:?}");
            let both = first.is_none() || second.is_none() || first == second;
            assert!(both, "two threads write different cells");
            let next = series.slot.begin() as u32;
            let cell = series.claim(12, next, true).expect("a dead thread keeps others from claiming");
            assert_eq!(series.owners(), [(cell, next)], "the next owner of the slot has not one cell");
            outcomes.note((first.is_some(), second.is_some()));
        },
    )
}

#[test]
fn a_thread_that_dies_while_it_claims_a_cell_keeps_nobody_waiting() {
    let explored = two_threads_and_an_heir(|words, me| words.enter(me).is_ok());
    let (last, dying) = explored.split_last().unwrap();
    assert!(last.contains(&(true, true)), "one after the other: {last:?}");
    // To enter (twice when kept out), to draw, six words to prepare, two to publish, to leave.
    assert!(dying.len() >= 11, "{}", dying.len());
    assert!(dying.iter().all(|outcomes| outcomes.iter().any(|(_, second)| *second)), "the other one claims");
    let kept_out = dying.iter().filter(|outcomes| outcomes.contains(&(false, false))).count();
    assert!(kept_out >= 10, "a thread that dies inside keeps the others of its process out: {dying:?}");
}

#[test]
#[should_panic(expected = "a process has two cells")]
fn twin_claiming_without_entering_makes_two_cells() {
    two_threads_and_an_heir(|_, _| true);
}

#[test]
#[should_panic(expected = "two cells")]
fn twin_looking_before_entering_makes_two_cells() {
    two_threads_and_an_heir(|words, me| {
        let free = words.claim.load(Ordering::Acquire) == 0;
        words.claim.store(if free { me } else { 0 }, Ordering::Release);
        free
    });
}
