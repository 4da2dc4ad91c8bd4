//! Draws of space by two processes never overlap, and the file is long enough before anybody has one.
#![cfg(loom)]

use dyn_metrics_layout::Error;
use dyn_metrics_layout::space::{Limits, reserve};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_loom_tests::{Executions, explore_bounded, explore_vanishing};
use loom::sync::Arc;
use loom::thread;

const LIMITS: Limits = Limits { chunk_bytes: 256, max_bytes: 1024 };

type Reserve = fn(&AtomicU64, u64, &AtomicU64) -> Result<u64, Error>;

/// The kernel's `fallocate`: the file is at least `end` bytes long afterwards.
fn grow(file: &AtomicU64, end: u64) {
    let mut len = file.load(Ordering::Relaxed);
    while len < end {
        match file.compare_exchange(len, end, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return,
            Err(now) => len = now,
        }
    }
}

fn production(cursor: &AtomicU64, size: u64, file: &AtomicU64) -> Result<u64, Error> {
    reserve(cursor, size, 64, LIMITS, |end| {
        grow(file, end);
        Ok(())
    })
}

/// The cursor, and the length of the file.
type Segment = (AtomicU64, AtomicU64);

fn segment() -> Arc<Segment> {
    Arc::new((AtomicU64::new(40), AtomicU64::new(64)))
}

fn draw(reserve: Reserve, segment: &Segment, size: u64) -> (u64, u64) {
    let start = reserve(&segment.0, size, &segment.1).unwrap();
    assert!(segment.1.load(Ordering::Relaxed) >= start + size, "drawn beyond the end of the file");
    (start, size)
}

fn check(mut drawn: Vec<(u64, u64)>) {
    drawn.sort_unstable();
    for pair in drawn.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "draws overlap: {drawn:?}");
    }
    let crosses =
        |(start, size): (u64, u64)| start / LIMITS.chunk_bytes != (start + size - 1) / LIMITS.chunk_bytes;
    assert!(!drawn.iter().copied().any(crosses), "a draw crosses a chunk: {drawn:?}");
}

/// Two processes draw 200 bytes each, of which no chunk holds two; one of them draws 40 more.
fn two_draw(reserve: Reserve) -> Vec<[u64; 3]> {
    explore_bounded(3, move |outcomes| {
        let segment = segment();
        let other = Arc::clone(&segment);
        let second = thread::spawn(move || [draw(reserve, &other, 200), draw(reserve, &other, 40)]);
        let first = draw(reserve, &segment, 200);
        let [second, third] = second.join().unwrap();
        check(vec![first, second, third]);
        outcomes.note([first.0, second.0, third.0]);
    })
}

/// A process draws and may vanish; another one draws as well, and once more in the end. How many bytes the first has
/// drawn for nobody.
fn a_drawer_that_dies(reserve: Reserve) -> Vec<Vec<u64>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let segment = segment();
            let (other, victim) = (Arc::clone(&segment), victim.clone());
            let first = thread::spawn(move || victim.run(|| draw(reserve, &other, 100)));
            let second = draw(reserve, &segment, 100);
            let first = first.join().unwrap();
            let third = draw(reserve, &segment, 40);
            let used = segment.0.load(Ordering::Relaxed);
            check([second, third].into_iter().chain(first).collect());
            outcomes.note(if first.is_some() { 0 } else { used - 64 - 128 - 40 });
        },
    )
}

#[test]
fn a_process_that_dies_while_it_draws_takes_no_more_than_it_asked_for() {
    let explored = a_drawer_that_dies(production);
    // The file grows and the cursor moves, each twice when another one was faster.
    assert_eq!(explored.len() - 1, 4);
    assert_eq!(explored[0], [0], "nothing is drawn by who hasn't moved the cursor");
    assert!(
        explored.iter().flatten().all(|lost| *lost == 0),
        "a death costs space that was not drawn: {explored:?}"
    );
}

/// Moves the cursor before the file is long enough.
fn moving_first(cursor: &AtomicU64, size: u64, file: &AtomicU64) -> Result<u64, Error> {
    let mut needed = 0;
    let start = reserve::<Error>(cursor, size, 64, LIMITS, |end| {
        needed = end;
        Ok(())
    });
    if file.load(Ordering::Relaxed) < needed {
        file.store(needed, Ordering::Relaxed);
    }
    start
}

#[test]
#[should_panic(expected = "drawn beyond the end of the file")]
fn twin_moving_the_cursor_before_the_file_grows_draws_beyond_its_end() {
    two_draw(moving_first);
}

#[test]
fn draws_of_two_processes_never_overlap() {
    let outcomes = two_draw(production);
    assert_eq!(outcomes, [[256, 512, 768], [512, 256, 768], [768, 256, 512]], "each order");
}

/// Moves the cursor by a plain store.
fn storing(cursor: &AtomicU64, size: u64, file: &AtomicU64) -> Result<u64, Error> {
    let scratch = AtomicU64::new(cursor.load(Ordering::Relaxed));
    let start = production(&scratch, size, file);
    cursor.store(scratch.load(Ordering::Relaxed), Ordering::Relaxed);
    start
}

#[test]
#[should_panic(expected = "draws overlap")]
fn twin_storing_the_cursor_draws_twice() {
    two_draw(storing);
}

/// Makes the file long enough for the first attempt only.
fn growing_once(cursor: &AtomicU64, size: u64, file: &AtomicU64) -> Result<u64, Error> {
    let mut grown = false;
    reserve(cursor, size, 64, LIMITS, |end| {
        if !grown {
            grow(file, end);
        }
        grown = true;
        Ok(())
    })
}

#[test]
#[should_panic(expected = "drawn beyond the end of the file")]
fn twin_growing_once_draws_beyond_the_end() {
    two_draw(growing_once);
}
