//! Removal of a series: who remembers it finds out, whoever dies meanwhile, and all who ask for it again share one record.
#![cfg(loom)]

use dyn_metrics_layout::index::{self, Match, Probe};
use dyn_metrics_layout::record::{CURRENT, REMOVED, REMOVING, State};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_loom_tests::{explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

const HASH: u64 = 0xabcd << 48;
/// Records of the one identity that there is: the first one, and one for each process that may register it again.
const RECORDS: usize = 3;

type Remove = fn(&State, &State) -> bool;

struct Segment {
    slots: Vec<AtomicU64>,
    records: Vec<State>,
    family: State,
    remove: Remove,
}

fn state() -> State {
    let word = || AtomicU64::new(0);
    State {
        state: word(),
        cells: [word(), word(), word()],
        gauges: word(),
        exemplars: word(),
        series: word(),
        refused: word(),
    }
}

/// What a process remembers: the record, and the removals that it knows of.
struct Process {
    segment: Arc<Segment>,
    record: usize,
    swept: u64,
}

impl Segment {
    /// With the first record registered.
    fn new(remove: Remove) -> Arc<Self> {
        let slots: Vec<_> = (0..2).map(|_| AtomicU64::new(0)).collect();
        index::insert(&slots, HASH, 64, |_| false);
        Arc::new(Self { slots, records: (0..RECORDS).map(|_| state()).collect(), family: state(), remove })
    }

    fn same(&self, offset: u64) -> Match {
        let record = &self.records[offset as usize / 64 - 1];
        match record.state.load(Ordering::Acquire) {
            CURRENT => Match::Yes,
            REMOVING => {
                record.finish_removal(&self.family);
                Match::Gone
            }
            _ => Match::Gone,
        }
    }
}

impl Process {
    fn new(segment: &Arc<Segment>) -> Self {
        Self { segment: Arc::clone(segment), record: 0, swept: 0 }
    }

    /// Looks the series up as `Family::with` does: by what is remembered, if nothing was removed, or by the index;
    /// registers it with record `n` if there is none.
    fn look_up(&mut self, n: usize) -> usize {
        let removals = self.segment.family.removals().load(Ordering::Acquire);
        let is_gone = || self.segment.records[self.record].state.load(Ordering::Acquire) != CURRENT;
        if removals != self.swept && is_gone() {
            let candidate = 64 * (n as u64 + 1);
            let same = |at| self.segment.same(at);
            self.record = match index::insert(&self.segment.slots, HASH, candidate, same) {
                Probe::Inserted => n,
                Probe::Found(record) => record as usize / 64 - 1,
                other => panic!("no room: {other:?}"),
            };
        }
        self.swept = removals;
        self.record
    }
}

/// The records that a process was led to while one removes the first, and afterwards.
fn remover_and_counter(remove: Remove) -> Vec<Vec<(usize, usize)>> {
    explore_vanishing(
        |_| None,
        move |victim, outcomes| {
            let segment = Segment::new(remove);
            let (theirs, victim) = (Arc::clone(&segment), victim.clone());
            let remover = thread::spawn(move || {
                victim.run(|| (theirs.remove)(&theirs.records[0], &theirs.family));
            });
            let mut process = Process::new(&segment);
            let first = process.look_up(1);
            remover.join().unwrap();
            let second = process.look_up(2);
            let state = segment.records[second].state.load(Ordering::Acquire);
            assert_ne!(state, REMOVED, "what is remembered is gone");
            outcomes.note((first, second));
        },
    )
}

#[test]
fn nobody_remembers_what_is_gone() {
    let explored = remover_and_counter(State::remove);
    let [nothing, begun, told, done] = &explored[..] else { panic!("{} deaths", explored.len()) };
    // Dead before the first step, or before it told anybody: the series stays.
    assert_eq!((&nothing[..], &begun[..]), (&[(0, 0)][..], &[(0, 0)][..]));
    // Dead before the last: whoever looks finishes it, during the removal or afterwards.
    assert_eq!(told, &[(0, 2), (1, 1)]);
    assert_eq!(done, &[(0, 2), (1, 1)]);
}

/// Says so when it is done.
fn removal_told_afterwards(series: &State, family: &State) -> bool {
    let won = series.state.compare_exchange(CURRENT, REMOVED, Ordering::AcqRel, Ordering::Acquire).is_ok();
    family.removals().fetch_add(1, Ordering::AcqRel);
    won
}

#[test]
#[should_panic(expected = "what is remembered is gone")]
fn twin_a_removal_that_is_told_afterwards_is_never_told_by_the_dead() {
    remover_and_counter(removal_told_afterwards);
}

/// Says so before it begins.
fn removal_told_before(series: &State, family: &State) -> bool {
    family.removals().fetch_add(1, Ordering::AcqRel);
    series.state.compare_exchange(CURRENT, REMOVED, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[test]
#[should_panic(expected = "what is remembered is gone")]
fn twin_a_removal_that_is_told_before_is_missed() {
    remover_and_counter(removal_told_before);
}

#[test]
fn one_of_two_removes_and_those_who_ask_again_share_a_record() {
    let outcomes = explore_bounded(3, |outcomes| {
        let segment = Segment::new(State::remove);
        let other = Arc::clone(&segment);
        let second = thread::spawn(move || {
            let won = other.records[0].remove(&other.family);
            (won, Process::new(&other).look_up(2))
        });
        let won = segment.records[0].remove(&segment.family);
        let mine = Process::new(&segment).look_up(1);
        let (other_won, theirs) = second.join().unwrap();
        assert!(won != other_won, "one series was removed {}", if won { "twice" } else { "by nobody" });
        assert_eq!(mine, theirs, "two records of one series");
        outcomes.note((won, mine));
    });
    assert!(outcomes.iter().any(|(won, _)| *won) && outcomes.iter().any(|(won, _)| !won), "{outcomes:?}");
    assert!(
        outcomes.iter().any(|(_, by)| *by == 1) && outcomes.iter().any(|(_, by)| *by == 2),
        "{outcomes:?}"
    );
}
