//! Blocks of CPUs are installed while others count and read: every update counts once, totals never fall.
//!
//! A thread stands for a CPU: the kernel lets at most one thread be inside a restartable sequence of a CPU,
//! and its last instruction is the one store. That store is modelled as what it is for everybody else, a load
//! and a store that no other writer of the word comes between.
#![cfg(loom)]

use dyn_metrics_layout::extent::{Extent, add_shared, follow, publish_once};
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_loom_tests::{Executions, Victim, explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;
use loom::thread::JoinHandle;

const EXTENT: u64 = 8192;
const FIRST_BLOCK: u64 = 16_384;
const BLOCK_BYTES: u64 = 1024;
/// What a block holds before it is zero, in the twin that zeroes too late.
const GARBAGE: u64 = 1000;

#[derive(Clone, Copy)]
struct Steps {
    /// Links a block, given the entry of the table, its place, the block's offset and word, and the shared word.
    install: fn(&AtomicU64, u64, u64, &AtomicU64, &AtomicU64),
    /// Adds 1 without a sequence, to the shared word, or wrongly to the word of a CPU's block.
    cold: fn(&AtomicU64, Option<&AtomicU64>),
    /// What blocks hold when they are drawn.
    fresh: u64,
    /// Whether to compare the total at the end; twins leave that out to show what the reader sees meanwhile.
    compare: bool,
}

const PRODUCTION: Steps = Steps {
    install: |entry, place, offset, _, _| {
        publish_once(entry, place, offset).unwrap();
    },
    cold: |shared, _| add_shared(shared, 1),
    fresh: 0,
    compare: true,
};

/// An extent of one word: the table of two CPUs, the shared block, and space for blocks.
struct Segment {
    entries: [AtomicU64; 2],
    shared: AtomicU64,
    blocks: Vec<AtomicU64>,
    steps: Steps,
}

impl Segment {
    fn new(steps: Steps) -> Arc<Self> {
        let blocks = (0..3).map(|_| AtomicU64::new(steps.fresh)).collect();
        let word = || AtomicU64::new(0);
        Arc::new(Self { entries: [word(), word()], shared: word(), blocks, steps })
    }

    fn block(&self, cpu: u32) -> Option<&AtomicU64> {
        let place = Extent::entry_place(EXTENT, cpu);
        let offset = follow(&self.entries[cpu as usize], place).unwrap()?;
        Some(&self.blocks[((offset - FIRST_BLOCK) / BLOCK_BYTES) as usize])
    }

    /// Adds 1 on `cpu`: in its block if it has one, else in the shared block.
    fn update(&self, cpu: u32) {
        match self.block(cpu) {
            Some(word) => word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed),
            None => (self.steps.cold)(&self.shared, None),
        }
    }

    /// Installs the block that this thread has drawn for `cpu`, unless it has one.
    fn install(&self, cpu: u32, drawn: usize) {
        let place = Extent::entry_place(EXTENT, cpu);
        let offset = FIRST_BLOCK + BLOCK_BYTES * drawn as u64;
        let entry = &self.entries[cpu as usize];
        (self.steps.install)(entry, place, offset, &self.blocks[drawn], &self.shared);
    }

    fn total(&self) -> u64 {
        let blocks = (0..2).filter_map(|cpu| self.block(cpu));
        blocks.map(|word| word.load(Ordering::Relaxed)).sum::<u64>() + self.shared.load(Ordering::Relaxed)
    }
}

/// CPU 0 counts before and after it has a block. A thread that ran there when it drew one installs it from CPU
/// 1, where it goes on counting. A reader sums twice.
fn two_cpus_and_a_reader(steps: Steps) -> Vec<(u64, u64)> {
    explore_bounded(2, move |outcomes| {
        let segment = Segment::new(steps);
        let (zero, one) = (Arc::clone(&segment), Arc::clone(&segment));
        let zero = thread::spawn(move || {
            zero.update(0);
            zero.install(0, 0);
            zero.update(0);
        });
        let one = thread::spawn(move || {
            one.install(0, 1);
            (one.steps.cold)(&one.shared, one.block(0));
            one.install(1, 2);
            one.update(1);
        });
        let (early, late) = (segment.total(), segment.total());
        assert!(late <= 4, "more was read than counted: {late}");
        assert!(early <= late, "the total fell: {early}, then {late}");
        zero.join().unwrap();
        one.join().unwrap();
        let total = segment.total();
        assert!(total == 4 || !steps.compare, "updates were lost or counted twice: {total}");
        outcomes.note((early, late));
    })
}

/// CPU 1 counts, installs its block, counts again and vanishes at some write; meanwhile its counterpart on the same CPU,
/// which takes over there, and CPU 0 do the same. Nobody counts less for it, and the victim itself at most once less.
fn a_counter_that_dies(steps: Steps) -> Vec<Vec<u64>> {
    fn on(segment: &Arc<Segment>, cpu: u32, victim: Victim) -> JoinHandle<u64> {
        let segment = Arc::clone(segment);
        thread::spawn(move || {
            let acknowledged = std::cell::Cell::new(0);
            let count = || {
                segment.update(cpu);
                acknowledged.set(acknowledged.get() + 1);
            };
            victim.run(|| {
                count();
                segment.install(cpu, cpu as usize);
                count();
            });
            acknowledged.get()
        })
    }
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let segment = Segment::new(steps);
            let dying = on(&segment, 1, victim.clone());
            let other = on(&segment, 0, Victim::immortal());
            let early = segment.total();
            let acknowledged = dying.join().unwrap() + other.join().unwrap();
            let total = segment.total();
            assert!(total == acknowledged, "not what was acknowledged: {total}, {acknowledged}");
            assert!(early <= total, "the total fell: {early}, then {total}");
            segment.install(1, 2);
            segment.update(1);
            assert_eq!(segment.total(), total + 1, "whoever comes to the dead one's CPU counts nothing");
            outcomes.note(acknowledged);
        },
    )
}

#[test]
fn a_thread_that_dies_while_it_installs_a_block_loses_nothing() {
    let explored = a_counter_that_dies(PRODUCTION);
    // The shared word, the link, the word of the block: each either wholly or not at all.
    assert_eq!(explored, [[2], [3], [3], [4]]);
}

#[test]
#[should_panic(expected = "not what was acknowledged")]
fn twin_moving_shared_counts_into_a_block_loses_them_at_a_death() {
    let install = |entry: &AtomicU64, place, offset, word: &AtomicU64, shared: &AtomicU64| {
        let counted = shared.load(Ordering::Relaxed);
        if shared.compare_exchange(counted, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            word.store(counted, Ordering::Relaxed);
        }
        publish_once(entry, place, offset).unwrap();
    };
    a_counter_that_dies(Steps { install, ..PRODUCTION });
}

#[test]
fn every_update_counts_once_while_blocks_are_installed() {
    let outcomes = two_cpus_and_a_reader(PRODUCTION);
    assert!(outcomes.contains(&(0, 4)) && outcomes.contains(&(2, 3)), "readers see all: {outcomes:?}");
}

#[test]
fn a_block_is_seen_zeroed_or_not_at_all() {
    let install = |entry: &AtomicU64, place, offset, word: &AtomicU64, _: &AtomicU64| {
        word.store(0, Ordering::Relaxed);
        publish_once(entry, place, offset).unwrap();
    };
    let outcomes = two_cpus_and_a_reader(Steps { install, fresh: GARBAGE, ..PRODUCTION });
    assert!(outcomes.contains(&(0, 4)), "readers see all: {outcomes:?}");
}

#[test]
#[should_panic(expected = "more was read than counted")]
fn twin_zeroing_a_published_block_shows_garbage() {
    let install = |entry: &AtomicU64, place, offset, word: &AtomicU64, _: &AtomicU64| {
        publish_once(entry, place, offset).unwrap();
        word.store(0, Ordering::Relaxed);
    };
    two_cpus_and_a_reader(Steps { install, fresh: GARBAGE, compare: false, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "updates were lost")]
fn twin_storing_the_link_loses_a_block() {
    let install = |entry: &AtomicU64, place, offset, _: &AtomicU64, _: &AtomicU64| {
        entry.store(Link::pack(offset, place), Ordering::Release);
    };
    two_cpus_and_a_reader(Steps { install, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "updates were lost")]
fn twin_looking_before_storing_the_link_loses_a_block() {
    let install = |entry: &AtomicU64, place, offset, _: &AtomicU64, _: &AtomicU64| {
        if follow(entry, place).unwrap().is_none() {
            entry.store(Link::pack(offset, place), Ordering::Release);
        }
    };
    two_cpus_and_a_reader(Steps { install, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "more was read than counted")]
fn twin_a_relaxed_link_shows_garbage() {
    let install = |entry: &AtomicU64, place, offset, word: &AtomicU64, _: &AtomicU64| {
        word.store(0, Ordering::Relaxed);
        let packed = Link::pack(offset, place);
        let _ = entry.compare_exchange(0, packed, Ordering::Relaxed, Ordering::Relaxed);
    };
    two_cpus_and_a_reader(Steps { install, fresh: GARBAGE, compare: false, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "updates were lost")]
fn twin_an_atomic_addition_to_a_word_of_plain_ones_is_lost() {
    let cold = |shared: &AtomicU64, block: Option<&AtomicU64>| add_shared(block.unwrap_or(shared), 1);
    two_cpus_and_a_reader(Steps { cold, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "the total fell")]
fn twin_moving_shared_counts_into_a_new_block_makes_totals_fall() {
    let install = |entry: &AtomicU64, place, offset, word: &AtomicU64, shared: &AtomicU64| {
        if follow(entry, place).unwrap().is_none() {
            let counted = shared.load(Ordering::Relaxed);
            if shared.compare_exchange(counted, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                word.store(counted, Ordering::Relaxed);
            }
        }
        publish_once(entry, place, offset).unwrap();
    };
    two_cpus_and_a_reader(Steps { install, compare: false, ..PRODUCTION });
}
