//! A reader that finds a slot finds the complete record behind it.
#![cfg(loom)]

use dyn_metrics_layout::index::{self, Probe};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_loom_tests::{Records, explore_bounded};
use loom::sync::Arc;
use loom::thread;

const HASH: u64 = 0xabcd << 48;

/// Publishes a complete record.
type Publish = fn(&[AtomicU64], u64);
/// Searches as `index::find` does.
type Find = fn(&[AtomicU64], &mut dyn FnMut(u64) -> bool) -> Probe;

fn production_publish(slots: &[AtomicU64], record: u64) {
    assert_eq!(index::insert(slots, HASH, record, |_| false), Probe::Inserted);
}

fn production_find(slots: &[AtomicU64], same: &mut dyn FnMut(u64) -> bool) -> Probe {
    index::find(slots, HASH, same)
}

/// One registrant publishes two records; two readers search for the second one.
fn registrant_and_readers(publish: Publish, find: Find) -> Vec<(bool, bool)> {
    explore_bounded(3, move |outcomes| {
        let slots: Vec<_> = (0..2).map(|_| AtomicU64::new(0)).collect();
        let segment = Arc::new((slots, Records::zeroed(2)));
        let search = |segment: Arc<(Vec<AtomicU64>, Records)>| {
            move || match find(&segment.0, &mut |at| segment.1.identity(at) == 8) {
                Probe::Found(record) => record == 128,
                Probe::Absent => false,
                other => panic!("found {other:?}"),
            }
        };
        let reader = thread::spawn(search(Arc::clone(&segment)));
        let registrant = {
            let segment = Arc::clone(&segment);
            thread::spawn(move || {
                publish(&segment.0, segment.1.write(0, 7));
                publish(&segment.0, segment.1.write(1, 8));
            })
        };
        let found = search(Arc::clone(&segment))();
        outcomes.note((reader.join().unwrap(), found));
        registrant.join().unwrap();
        assert!(search(segment)(), "a published record is lost");
    })
}

#[test]
fn a_reader_finds_complete_records_or_none() {
    let outcomes = registrant_and_readers(production_publish, production_find);
    assert_eq!(outcomes, [(false, false), (false, true), (true, false), (true, true)]);
}

/// Publishes with a relaxed compare-and-swap.
fn relaxed_publish(slots: &[AtomicU64], record: u64) {
    let packed = index::pack(record, HASH);
    let won =
        |slot: &AtomicU64| slot.compare_exchange(0, packed, Ordering::Relaxed, Ordering::Relaxed).is_ok();
    assert!(slots.iter().any(won));
}

#[test]
#[should_panic(expected = "half a record")]
fn twin_a_relaxed_publish_shows_half_a_record() {
    registrant_and_readers(relaxed_publish, production_find);
}

/// Searches without the fence of an acquire.
fn relaxed_find(slots: &[AtomicU64], same: &mut dyn FnMut(u64) -> bool) -> Probe {
    for at in index::window(slots.len(), HASH) {
        let seen = slots[at].load(Ordering::Relaxed);
        if seen == 0 {
            return Probe::Absent;
        }
        if same(index::record_of(seen)) {
            return Probe::Found(index::record_of(seen));
        }
    }
    Probe::Full
}

#[test]
#[should_panic(expected = "half a record")]
fn twin_a_relaxed_search_sees_half_a_record() {
    registrant_and_readers(production_publish, relaxed_find);
}
