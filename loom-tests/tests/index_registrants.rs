//! Registrants of one identity at once: one record wins, and all of them see that one.
#![cfg(loom)]

use dyn_metrics_layout::index::{self, Probe};
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_loom_tests::{Executions, Records, explore, explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

type Insert = fn(&[AtomicU64], u64, u64, &mut dyn FnMut(u64) -> bool) -> Probe;

/// The same for every identity: all of them want the same slot, and only a full comparison tells them apart.
const HASH: u64 = 0xabcd << 48 | 1;

struct Index {
    slots: Vec<AtomicU64>,
    records: Records,
    insert: Insert,
}

impl Index {
    fn new(insert: Insert) -> Arc<Self> {
        let slots = (0..4).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { slots, records: Records::zeroed(3), insert })
    }

    /// Registers `identity` with record `n` and returns the offset of the record to use.
    fn register(&self, n: usize, identity: u64) -> u64 {
        let candidate = self.records.write(n, identity);
        match (self.insert)(&self.slots, HASH, candidate, &mut |at| self.records.identity(at) == identity) {
            Probe::Inserted => candidate,
            Probe::Found(record) => record,
            other => panic!("no room: {other:?}"),
        }
    }

    /// The identities that the slots lead to, in order of slots.
    fn published(&self) -> Vec<u64> {
        let slots = self.slots.iter().map(load_acquire).filter(|slot| *slot != 0);
        slots.map(|slot| self.records.identity(index::record_of(slot))).collect()
    }
}

fn production(slots: &[AtomicU64], hash: u64, candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    index::insert(slots, hash, candidate, same)
}

fn two_registrants_of_one_identity(insert: Insert) -> Vec<u64> {
    explore(move |winners| {
        let index = Index::new(insert);
        let other = Arc::clone(&index);
        let second = thread::spawn(move || other.register(1, 7));
        let first = index.register(0, 7);
        let second = second.join().unwrap();
        assert_eq!(index.published(), [7], "one identity has not one record");
        assert_eq!(first, second, "the two use different records");
        winners.note(first);
    })
}

fn three_registrants_of_two_identities(insert: Insert) -> Vec<(u64, u64)> {
    explore_bounded(3, move |outcomes| {
        let index = Index::new(insert);
        let (two, three) = (Arc::clone(&index), Arc::clone(&index));
        let second = thread::spawn(move || two.register(1, 7));
        let third = thread::spawn(move || three.register(2, 8));
        let first = index.register(0, 7);
        let (second, third) = (second.join().unwrap(), third.join().unwrap());
        let mut published = index.published();
        published.sort_unstable();
        assert_eq!(published, [7, 8], "an identity has not one record");
        assert_eq!(first, second, "the two use different records");
        assert_eq!(index.records.identity(third), 8);
        outcomes.note((first, index::record_of(load_acquire(&index.slots[1]))));
    })
}

#[test]
fn two_registrants_of_one_identity_use_one_record() {
    assert_eq!(two_registrants_of_one_identity(production), [64, 128], "each of them wins once");
}

#[test]
fn three_registrants_of_two_identities_use_one_record_each() {
    let outcomes = three_registrants_of_two_identities(production);
    assert_eq!(outcomes, [(64, 64), (64, 192), (128, 128), (128, 192)], "each order is possible");
}

/// A registrant vanishes; another one registers the same identity, and a third one a different one.
fn a_registrant_that_dies(insert: Insert) -> Vec<Vec<bool>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let index = Index::new(insert);
            let (one, three, victim) = (Arc::clone(&index), Arc::clone(&index), victim.clone());
            let dying = thread::spawn(move || victim.run(|| one.register(1, 7)));
            let third = thread::spawn(move || three.register(2, 8));
            let first = index.register(0, 7);
            let (completed, third) = (dying.join().unwrap(), third.join().unwrap());
            let mut published = index.published();
            published.sort_unstable();
            assert_eq!(published, [7, 8], "an identity has not one record");
            assert_eq!(completed.unwrap_or(first), first, "the two use different records");
            assert_eq!(index.records.identity(third), 8);
            outcomes.note(completed.is_some());
        },
    )
}

#[test]
fn a_registrant_that_vanishes_leaves_the_identity_to_the_others() {
    let explored = a_registrant_that_dies(production);
    // Two writes make the record; then a compare-and-swap for each slot that was empty when it was looked at.
    assert_eq!(explored, [&[false][..], &[false], &[false, true], &[false, true], &[true]]);
}

/// Reserves the slot first, and publishes the record in it afterwards.
fn reserving(slots: &[AtomicU64], hash: u64, candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    for at in index::window(slots.len(), hash) {
        let mut seen = load_acquire(&slots[at]);
        if seen == 0 {
            let mine = slots[at].compare_exchange(0, 1, Ordering::AcqRel, Ordering::Acquire);
            if mine.is_ok() {
                slots[at].store(index::pack(candidate, hash), Ordering::Release);
                return Probe::Inserted;
            }
            seen = load_acquire(&slots[at]);
        }
        for _ in 0..2 {
            seen = if seen == 1 { load_acquire(&slots[at]) } else { seen };
        }
        assert_ne!(seen, 1, "waits for a registrant that is gone");
        if index::may_hold(seen, hash) && same(index::record_of(seen)) {
            return Probe::Found(index::record_of(seen));
        }
    }
    Probe::Full
}

#[test]
#[should_panic(expected = "waits for a registrant that is gone")]
fn twin_reserving_a_slot_before_publishing_in_it_makes_others_wait() {
    a_registrant_that_dies(reserving);
}

/// Goes on to the next slot after a lost compare-and-swap.
fn skipping(slots: &[AtomicU64], hash: u64, candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    for at in index::window(slots.len(), hash) {
        let seen = load_acquire(&slots[at]);
        if seen == 0 {
            let packed = index::pack(candidate, hash);
            match slots[at].compare_exchange(0, packed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Probe::Inserted,
                Err(_) => continue,
            }
        }
        if index::may_hold(seen, hash) && same(index::record_of(seen)) {
            return Probe::Found(index::record_of(seen));
        }
    }
    Probe::Full
}

#[test]
#[should_panic(expected = "one identity has not one record")]
fn twin_going_on_after_a_lost_compare_and_swap_duplicates() {
    two_registrants_of_one_identity(skipping);
}

#[test]
#[should_panic(expected = "an identity has not one record")]
fn twin_going_on_after_a_lost_compare_and_swap_duplicates_among_three() {
    three_registrants_of_two_identities(skipping);
}

/// Stores into the slot that it saw empty.
fn storing(slots: &[AtomicU64], hash: u64, candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    for at in index::window(slots.len(), hash) {
        let seen = load_acquire(&slots[at]);
        if seen == 0 {
            slots[at].store(index::pack(candidate, hash), Ordering::Release);
            return Probe::Inserted;
        }
        if index::may_hold(seen, hash) && same(index::record_of(seen)) {
            return Probe::Found(index::record_of(seen));
        }
    }
    Probe::Full
}

#[test]
#[should_panic(expected = "the two use different records")]
fn twin_storing_into_an_empty_slot_replaces_a_winner() {
    two_registrants_of_one_identity(storing);
}

/// Publishes with a relaxed compare-and-swap.
fn relaxed(slots: &[AtomicU64], hash: u64, candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    for at in index::window(slots.len(), hash) {
        let mut seen = load_acquire(&slots[at]);
        if seen == 0 {
            let packed = index::pack(candidate, hash);
            match slots[at].compare_exchange(0, packed, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Probe::Inserted,
                Err(now) => seen = now,
            }
        }
        if index::may_hold(seen, hash) && same(index::record_of(seen)) {
            return Probe::Found(index::record_of(seen));
        }
    }
    Probe::Full
}

#[test]
#[should_panic(expected = "half a record")]
fn twin_a_relaxed_publish_shows_half_a_record() {
    two_registrants_of_one_identity(relaxed);
}
