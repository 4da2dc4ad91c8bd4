//! A slot of the process table and its successive owners, and the word in it that serialises the claims of gauge
//! cells by the threads of its owner. Whoever vanishes leaves the slot to the next process and nobody waits.
#![cfg(loom)]

use dyn_metrics_layout::process::SlotWords;
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_loom_tests::{Executions, Records, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

/// The generation that a slot's last owner had, who died while one of its threads claimed a gauge cell.
const BEFORE: u64 = 7;
const CLAIMER: u64 = 99;

#[derive(Clone, Copy)]
struct Steps {
    begin: fn(&SlotWords) -> u64,
    enter: fn(&SlotWords, u64) -> bool,
}

const PRODUCTION: Steps = Steps { begin: SlotWords::begin, enter: |words, me| words.enter(me).is_ok() };

struct Slot {
    words: SlotWords,
    /// The kernel's lock byte: who holds it; 0 nobody.
    lock: AtomicU64,
    record: Records,
    /// The generation of the owner that has finished its claim, as somebody hears of it that it talks to.
    told: AtomicU64,
    /// Threads that claim a gauge cell.
    inside: AtomicU64,
    steps: Steps,
}

impl Slot {
    fn new(steps: Steps) -> Arc<Self> {
        let word = || AtomicU64::new(0);
        let words = SlotWords::zeroed();
        words.generation.store(BEFORE, Ordering::Relaxed);
        words.claim.store(CLAIMER, Ordering::Relaxed);
        let record = Records::zeroed(1);
        Arc::new(Self { words, lock: word(), record, told: word(), inside: word(), steps })
    }

    /// Claims the slot for a process; its generation, none when another one has it.
    fn claim(&self, process: u64) -> Option<u64> {
        self.lock.compare_exchange(0, process, Ordering::AcqRel, Ordering::Acquire).ok()?;
        let generation = (self.steps.begin)(&self.words);
        self.record.write(0, generation);
        self.told.store(generation, Ordering::Release);
        Some(generation)
    }

    /// The process ends, and the kernel frees its lock.
    fn end(&self, process: u64) {
        let _ = self.lock.compare_exchange(process, 0, Ordering::AcqRel, Ordering::Acquire);
    }

    fn is_alive(&self, generation: u64) -> bool {
        self.words.is_alive(generation as u32, || load_acquire(&self.lock) != 0)
    }

    /// Claims a gauge cell in a thread, looking twice at most; whether it came to that.
    fn claim_a_cell(&self, thread: u64) -> bool {
        let entered = (0..2).any(|_| (self.steps.enter)(&self.words, thread));
        if entered {
            assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "two threads claim at once");
            self.inside.store(0, Ordering::Relaxed);
            self.words.leave();
        }
        entered
    }
}

/// A process claims the slot and may vanish; another one comes; somebody asks who lives.
fn two_claims_and_a_reader(steps: Steps) -> Vec<Vec<(bool, bool)>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let slot = Slot::new(steps);
            let (one, two) = (Arc::clone(&slot), Arc::clone(&slot));
            let each = victim.clone();
            let first = thread::spawn(move || {
                let claimed = each.run(|| one.claim(1));
                if claimed.is_none() {
                    one.end(1);
                }
                claimed.flatten()
            });
            let second = thread::spawn(move || two.claim(2));
            let told = load_acquire(&slot.told);
            assert!(told == 0 || slot.is_alive(told), "a living process is taken for dead");
            let (first, second) = (first.join().unwrap(), second.join().unwrap());
            assert!(first.is_none() || second.is_none(), "two processes have the slot");
            let generation = slot.words.generation.load(Ordering::Relaxed);
            for claimed in [first, second].into_iter().flatten() {
                assert!(claimed > BEFORE && claimed == generation, "the slot is of another generation");
                assert!(
                    slot.is_alive(claimed) && !slot.is_alive(BEFORE),
                    "the dead owner is taken for alive"
                );
            }
            // Whoever comes next gets the slot, and its threads claim.
            (1..=2).for_each(|process| slot.end(process));
            assert!(slot.claim(3) > Some(generation), "a generation has two processes");
            assert!(slot.claim_a_cell(5), "a dead thread keeps others from claiming");
            outcomes.note((first.is_some(), second.is_some()));
        },
    )
}

#[test]
fn a_slot_has_one_owner_at_a_time_wherever_the_last_one_died() {
    let explored = two_claims_and_a_reader(PRODUCTION);
    // The lock, five words to clear, the generation, the record's two, and the word of the model.
    assert_eq!(explored.len() - 1, 10);
    assert_eq!(explored[10], [(false, true), (true, false)], "each of them wins once");
    assert!(explored[..10].iter().all(|outcomes| outcomes.contains(&(false, true))), "the other one wins");
}

#[test]
#[should_panic(expected = "a generation has two processes")]
fn twin_keeping_the_generation_makes_two_owners_one() {
    let begin = |words: &SlotWords| {
        words.claim.store(0, Ordering::Relaxed);
        words.generation.store(BEFORE + 1, Ordering::Release);
        BEFORE + 1
    };
    two_claims_and_a_reader(Steps { begin, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "a dead thread keeps others from claiming")]
fn twin_not_clearing_the_claim_of_a_dead_thread_keeps_others_out() {
    let begin = |words: &SlotWords| {
        let generation = words.generation.load(Ordering::Relaxed) + 1;
        words.generation.store(generation, Ordering::Release);
        generation
    };
    two_claims_and_a_reader(Steps { begin, ..PRODUCTION });
}

/// A copy of the library claims the slot; another one in the same process finds the record; both claim a gauge cell, and
/// the first may vanish meanwhile. Which of them came to claim, and whether the second found the record.
fn two_copies(steps: Steps) -> Vec<Vec<(bool, bool, bool)>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let slot = Slot::new(steps);
            slot.words.claim.store(0, Ordering::Relaxed);
            let (one, two) = (Arc::clone(&slot), Arc::clone(&slot));
            let each = victim.clone();
            let first = thread::spawn(move || each.run(|| one.claim(1).is_some() && one.claim_a_cell(11)));
            let second = thread::spawn(move || {
                let record = two.record.published(0);
                let found = record.is_some_and(|record| two.words.has_written(record));
                (found, found && two.claim_a_cell(12))
            });
            let (first, (found, second)) = (first.join().unwrap(), second.join().unwrap());
            outcomes.note((first == Some(true), found, second));
        },
    )
}

#[test]
fn threads_of_two_copies_claim_one_after_the_other_or_not_at_all() {
    let explored = two_copies(PRODUCTION);
    let last = explored.last().unwrap();
    assert_eq!(
        last[..],
        [(false, true, true), (true, false, false), (true, true, false), (true, true, true)]
    );
    let kept_out = explored.iter().filter(|outcomes| outcomes.contains(&(false, true, false))).count();
    assert_eq!(
        kept_out, 3,
        "a thread that vanishes inside keeps the others of its process out, which don't wait"
    );
}

#[test]
#[should_panic(expected = "two threads claim at once")]
fn twin_looking_before_entering_lets_two_in() {
    let enter = |words: &SlotWords, me| {
        let free = words.claim.load(Ordering::Acquire) == 0;
        if free {
            words.claim.store(me, Ordering::Release);
        }
        free
    };
    two_copies(Steps { enter, ..PRODUCTION });
}
