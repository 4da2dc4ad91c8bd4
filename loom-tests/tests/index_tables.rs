//! A full window leads to the next table; whoever finds none links its own, and all use the first one linked.
#![cfg(loom)]

use dyn_metrics_layout::extent::{follow, publish_once};
use dyn_metrics_layout::index::{self, Probe};
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_loom_tests::{Executions, Records, explore, explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

const HASH: u64 = 0xabcd << 48;
const TABLE_BYTES: u64 = 4096;

/// Links `offset` behind the table whose link word lies at `place`; returns what the word links to.
type LinkNext = fn(&AtomicU64, u64, u64) -> u64;
/// Decides what follows a full window or a lost slot.
type Insert = fn(&[AtomicU64], u64, &mut dyn FnMut(u64) -> bool) -> Probe;

/// A table of one slot, so that the second identity needs the next table.
struct Table {
    slot: [AtomicU64; 1],
    next: AtomicU64,
}

struct Index {
    tables: Vec<Table>,
    records: Records,
    link_next: LinkNext,
    insert: Insert,
}

impl Index {
    fn new(link_next: LinkNext, insert: Insert) -> Arc<Self> {
        let table = || Table { slot: [AtomicU64::new(0)], next: AtomicU64::new(0) };
        let tables = (0..7).map(|_| table()).collect();
        Arc::new(Self { tables, records: Records::zeroed(3), link_next, insert })
    }

    fn place(table: u64) -> u64 {
        table * TABLE_BYTES + index::NEXT
    }

    /// Registers `identity` with record `n`, and with tables of `spares` where they are needed.
    fn register(&self, n: usize, identity: u64, spares: &[u64]) -> u64 {
        let mut spares = spares.iter();
        let candidate = self.records.write(n, identity);
        let mut table = 0;
        loop {
            let here = &self.tables[table as usize];
            match (self.insert)(&here.slot, candidate, &mut |at| self.records.identity(at) == identity) {
                Probe::Inserted => return candidate,
                Probe::Found(record) => return record,
                Probe::Absent => panic!("not inserted, and not full"),
                Probe::Full => {}
            }
            let place = Self::place(table);
            let next = follow(&here.next, place).unwrap_or(None).map(|offset| offset / TABLE_BYTES);
            table = next.unwrap_or_else(|| {
                let spare = spares.next().expect("tables enough") * TABLE_BYTES;
                (self.link_next)(&here.next, place, spare) / TABLE_BYTES
            });
        }
    }

    /// Every identity in the tables, in order.
    fn published(&self) -> Vec<u64> {
        let (mut identities, mut table) = (Vec::new(), 0);
        loop {
            let here = &self.tables[table as usize];
            let mut note = |record| {
                identities.push(self.records.identity(record));
                false
            };
            let probe = index::find(&here.slot, HASH, &mut note);
            match follow(&here.next, Self::place(table)).unwrap_or(None) {
                Some(offset) if probe == Probe::Full => table = offset / TABLE_BYTES,
                _ => return identities,
            }
        }
    }
}

fn production_link(word: &AtomicU64, place: u64, offset: u64) -> u64 {
    publish_once(word, place, offset).unwrap()
}

fn production_insert(slots: &[AtomicU64], candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    index::insert(slots, HASH, candidate, same)
}

/// Two registrants of one identity and one of another, all with a table of their own to link.
fn three_registrants(link_next: LinkNext, insert: Insert) -> Vec<Vec<u64>> {
    explore_bounded(3, move |outcomes| {
        let index = Index::new(link_next, insert);
        let (two, three) = (Arc::clone(&index), Arc::clone(&index));
        let second = thread::spawn(move || two.register(1, 7, &[2, 5]));
        let third = thread::spawn(move || three.register(2, 8, &[3, 6]));
        let first = index.register(0, 7, &[1, 4]);
        let (second, third) = (second.join().unwrap(), third.join().unwrap());
        let published = index.published();
        let mut sorted = published.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [7, 8], "the tables lost or doubled an identity");
        assert_eq!(first, second, "the two use different records");
        assert_eq!(index.records.identity(third), 8);
        outcomes.note(published);
    })
}

#[test]
fn the_second_identity_goes_to_the_next_table_and_stays_unique() {
    let outcomes = three_registrants(production_link, production_insert);
    assert_eq!(outcomes, [[7, 8], [8, 7]], "each order is possible");
}

/// Stores its own table over whatever was linked meanwhile.
fn overwriting_link(word: &AtomicU64, place: u64, offset: u64) -> u64 {
    word.store(Link::pack(offset, place), Ordering::Release);
    offset
}

/// Two different identities meet behind a full table: both need the next one.
fn two_behind_a_full_table(link_next: LinkNext) -> Vec<Vec<u64>> {
    explore(move |outcomes| {
        let index = Index::new(link_next, production_insert);
        assert_eq!(index.register(0, 6, &[]), 64);
        let other = Arc::clone(&index);
        let second = thread::spawn(move || other.register(1, 7, &[1, 2]));
        index.register(2, 8, &[3, 4]);
        second.join().unwrap();
        let published = index.published();
        assert_eq!(published.len(), 3, "the tables lost an identity: {published:?}");
        outcomes.note(published);
    })
}

#[test]
fn two_that_need_a_next_table_use_the_one_linked_first() {
    let outcomes = two_behind_a_full_table(production_link);
    assert_eq!(outcomes, [[6, 7, 8], [6, 8, 7]], "each order is possible");
}

#[test]
#[should_panic(expected = "the tables lost an identity")]
fn twin_overwriting_the_link_loses_a_table() {
    two_behind_a_full_table(overwriting_link);
}

/// As [`two_behind_a_full_table`], and one of the two vanishes.
fn one_behind_a_full_table_dies(link_next: LinkNext) -> Vec<Vec<Vec<u64>>> {
    explore_vanishing(
        |_| Some(4),
        move |victim, outcomes: &Executions<_>| {
            let index = Index::new(link_next, production_insert);
            assert_eq!(index.register(0, 6, &[]), 64);
            let (other, victim) = (Arc::clone(&index), victim.clone());
            let dying = thread::spawn(move || victim.run(|| other.register(1, 7, &[1, 2])));
            assert_eq!(index.register(2, 8, &[3, 4]), 192, "the index has no place for the other");
            let completed = dying.join().unwrap().is_some();
            let published = index.published();
            assert!(published.contains(&8), "the tables lost an identity: {published:?}");
            assert!(!completed || published.contains(&7), "the tables lost an identity: {published:?}");
            outcomes.note(published);
        },
    )
}

#[test]
fn who_dies_while_it_links_a_table_leaves_the_index_to_the_others() {
    let explored = one_behind_a_full_table_dies(production_link);
    // The record's two words, the first slot as far as it looks empty, the link of each table, their slots.
    let (last, dying) = explored.split_last().unwrap();
    assert_eq!(last[..], [[6, 7, 8], [6, 8, 7]], "each order is possible");
    assert!(
        dying.iter().all(|outcomes| outcomes.contains(&vec![6, 8])),
        "the other goes on alone: {dying:?}"
    );
    assert!(dying.len() >= 6, "{dying:?}");
}

/// Marks the link first, and stores it afterwards; who sees the mark waits.
fn marking_link(word: &AtomicU64, place: u64, offset: u64) -> u64 {
    const MARK: u64 = 1;
    if word.compare_exchange(0, MARK, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        word.store(Link::pack(offset, place), Ordering::Release);
        return offset;
    }
    let linked = (0..3).find_map(|_| follow(word, place).ok().flatten());
    linked.expect("a table that is being linked comes in time")
}

#[test]
#[should_panic(expected = "a table that is being linked comes in time")]
fn twin_marking_a_link_before_it_is_stored_makes_others_wait() {
    one_behind_a_full_table_dies(marking_link);
}

/// Takes a lost slot for a full window.
fn giving_up_insert(slots: &[AtomicU64], candidate: u64, same: &mut dyn FnMut(u64) -> bool) -> Probe {
    let packed = index::pack(candidate, HASH);
    match index::find(slots, HASH, same) {
        Probe::Absent => match slots[0].compare_exchange(0, packed, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Probe::Inserted,
            Err(_) => Probe::Full,
        },
        other => other,
    }
}

#[test]
#[should_panic(expected = "the tables lost or doubled an identity")]
fn twin_leaving_the_table_after_a_lost_slot_doubles() {
    three_registrants(production_link, giving_up_insert);
}
