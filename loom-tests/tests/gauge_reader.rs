//! A reader of a gauge cell while it changes owners: the contents before or after, never a mixture.
//!
//! The cell changes owners twice, so that the half that the reader copies is written anew under its eyes.
#![cfg(loom)]

use dyn_metrics_layout::error::Result;
use dyn_metrics_layout::gauge::{Claimant, Contents, GaugeCell, Meta, Owner, Reading};
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::sync::{Ordering, load_acquire};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use dyn_metrics_loom_tests::explore_bounded;
use loom::sync::Arc;
use loom::thread;

const PLACE: u64 = 8192;
const MODE: GaugeMode = GaugeMode::Sum;
const TO: Representation = Representation::Integer;
/// What each process sets, by its slot: A, B and C are 1, 2 and 3.
const VALUES: [u64; 4] = [0, 5, 30, 200];

fn claimant(process: u32) -> Claimant {
    Claimant { slot: process, generation: 7, process_id: u64::from(process), pid: process }
}

fn set(cell: &GaugeCell, process: u32, half: usize) {
    cell.half(half).set(Number::Integer(VALUES[process as usize] as i64), TO, MODE, || 0);
}

type TakeOver = fn(&GaugeCell, &Reading, &Claimant) -> Option<usize>;
/// Process, value and retained of a cell.
type Read = fn(&GaugeCell) -> Result<(u64, u64, u64)>;

fn production_take_over(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    cell.take_over(PLACE, reading, me, TO, Kind::Gauge, MODE)
}

fn production_read(cell: &GaugeCell) -> Result<(u64, u64, u64)> {
    let of = |number: Option<Number>| number.map_or(0, Number::to_bits);
    let parts = |c: Contents| (c.process_id, of(c.value(MODE)), of(c.retained(MODE)));
    cell.read(PLACE).map(|reading| parts(reading.contents))
}

/// A is dead; B takes the cell over, sets and dies, and so does C; meanwhile a reader looks.
fn two_takeovers_and_a_reader(take_over: TakeOver, read: Read) -> Vec<(u64, u64, u64)> {
    explore_bounded(2, move |outcomes| {
        let cell = Arc::new(GaugeCell::zeroed());
        cell.begin(PLACE, 640, &claimant(1), TO);
        set(&cell, 1, 0);
        let taken = Arc::clone(&cell);
        let takers = thread::spawn(move || {
            for process in [2, 3] {
                let reading = taken.read(PLACE).unwrap();
                let half = take_over(&taken, &reading, &claimant(process)).expect("nobody else takes it");
                set(&taken, process, half);
            }
        });
        let (process, value, retained) = read(&cell).expect("a mixture: its check failed");
        let earlier: u64 = VALUES[..process as usize].iter().sum();
        assert_eq!(retained, earlier, "a mixture: process {process} with what is retained for another");
        let own = [0, VALUES[process as usize]];
        assert!(own.contains(&value), "a mixture: process {process} with another's {value}");
        outcomes.note((process, value, retained));
        takers.join().unwrap();
        assert_eq!(production_read(&cell), Ok((3, 200, 35)));
    })
}

#[test]
fn a_reader_sees_the_cell_before_or_after_a_takeover() {
    let outcomes = two_takeovers_and_a_reader(production_take_over, production_read);
    assert_eq!(outcomes, [(1, 5, 0), (2, 0, 5), (2, 30, 5), (3, 0, 35), (3, 200, 35)]);
}

/// Doesn't look at the owner again.
fn reading_once(cell: &GaugeCell) -> Result<(u64, u64, u64)> {
    let owner = Owner::unpack(load_acquire(&cell.owner), PLACE)?;
    let half = cell.half(owner.half);
    let word = |word: &dyn_metrics_layout::sync::AtomicU64| word.load(Ordering::Relaxed);
    Ok((word(&half.process_id), word(&half.value), word(&half.retained)))
}

#[test]
#[should_panic(expected = "a mixture")]
fn twin_a_reader_that_looks_once_sees_a_mixture() {
    two_takeovers_and_a_reader(production_take_over, reading_once);
}

/// Looks again, but without the fence that keeps this look behind the copy.
fn looking_again_too_early(cell: &GaugeCell) -> Result<(u64, u64, u64)> {
    let word = load_acquire(&cell.owner);
    let copied = reading_once(cell)?;
    if cell.owner.load(Ordering::Relaxed) == word { Ok(copied) } else { production_read(cell) }
}

#[test]
#[should_panic(expected = "a mixture")]
fn twin_a_second_look_without_a_fence_sees_a_mixture() {
    two_takeovers_and_a_reader(production_take_over, looking_again_too_early);
}

/// Writes the idle half without the release fence behind the claim.
fn without_a_fence(cell: &GaugeCell, reading: &Reading, me: &Claimant) -> Option<usize> {
    let from = reading.owner.half;
    let owner = |half, taking| Owner { slot: me.slot, generation: me.generation, half, taking }.pack(PLACE);
    let taking = owner(from, true);
    cell.owner.compare_exchange(reading.word, taking, Ordering::AcqRel, Ordering::Acquire).ok()?;
    let (old, idle) = (cell.half(from), cell.half(1 - from));
    let survivors = old.value.load(Ordering::Relaxed) + old.retained.load(Ordering::Relaxed);
    idle.retained.store(survivors, Ordering::Relaxed);
    idle.value.store(0, Ordering::Relaxed);
    idle.process_id.store(me.process_id, Ordering::Relaxed);
    let meta = Meta { pid: me.pid, representation: TO, retained: TO };
    idle.meta.store(meta.pack(me.process_id), Ordering::Relaxed);
    cell.owner.store(owner(1 - from, false), Ordering::Release);
    Some(1 - from)
}

#[test]
#[should_panic(expected = "a mixture")]
fn twin_a_takeover_without_a_fence_shows_a_mixture() {
    two_takeovers_and_a_reader(without_a_fence, production_read);
}
