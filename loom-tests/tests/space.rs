//! Draws of space by two processes never overlap, and the file is long enough before anybody has one.
#![cfg(loom)]

use dyn_metrics_layout::Error;
use dyn_metrics_layout::space::{Limits, reserve};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_loom_tests::explore_bounded;
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

/// Two processes draw 200 bytes each, of which no chunk holds two; one of them draws 40 more.
fn two_draw(reserve: Reserve) -> Vec<[u64; 3]> {
    explore_bounded(3, move |outcomes| {
        let segment = Arc::new((AtomicU64::new(40), AtomicU64::new(64)));
        let draw = move |segment: &(AtomicU64, AtomicU64), size| {
            let start = reserve(&segment.0, size, &segment.1).unwrap();
            assert!(segment.1.load(Ordering::Relaxed) >= start + size, "drawn beyond the end of the file");
            start
        };
        let other = Arc::clone(&segment);
        let second = thread::spawn(move || [draw(&other, 200), draw(&other, 40)]);
        let first = draw(&segment, 200);
        let [second, third] = second.join().unwrap();
        let mut drawn = [(first, 200), (second, 200), (third, 40)];
        drawn.sort_unstable();
        for pair in drawn.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "draws overlap: {drawn:?}");
        }
        let crosses =
            |(start, size): (u64, u64)| start / LIMITS.chunk_bytes != (start + size - 1) / LIMITS.chunk_bytes;
        assert!(!drawn.into_iter().any(crosses), "a draw crosses a chunk: {drawn:?}");
        outcomes.note([first, second, third]);
    })
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
