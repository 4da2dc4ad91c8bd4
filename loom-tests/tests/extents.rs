//! Extents, their words, and the cells of a series: drawn once, published whole, none lost.
#![cfg(loom)]

use dyn_metrics_layout::extent::{draw_words, follow, publish_cells, publish_extent};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_loom_tests::{explore, explore_bounded};
use loom::sync::Arc;
use loom::thread;

/// Where the link to the newest extent lies.
const OPEN: u64 = 320;
const EXTENT_BYTES: u64 = 4096;
/// An extent holds the cells of one series only, so that the second one needs another extent.
const CAPACITY: u32 = 2;

#[derive(Clone, Copy)]
struct Steps {
    publish: fn(&AtomicU64, u64, u64) -> bool,
    draw: fn(&AtomicU64) -> Option<u32>,
}

const PRODUCTION: Steps = Steps {
    publish: |open, seen, offset| publish_extent(open, OPEN, seen, offset),
    draw: |next_word| draw_words(next_word, CAPACITY, 2),
};

/// An extent's header as far as it matters: what goes before, and a field that shows half a header.
struct Extent {
    previous: AtomicU64,
    words: AtomicU64,
    next_word: AtomicU64,
}

struct Segment {
    open: AtomicU64,
    extents: Vec<Extent>,
    steps: Steps,
}

impl Segment {
    fn new(steps: Steps) -> Arc<Self> {
        let word = || AtomicU64::new(0);
        let extent = || Extent { previous: word(), words: word(), next_word: word() };
        Arc::new(Self { open: word(), extents: (0..5).map(|_| extent()).collect(), steps })
    }

    fn at(&self, offset: u64) -> &Extent {
        &self.extents[(offset / EXTENT_BYTES) as usize]
    }

    /// Draws two words from the newest extent, or from one of `spares`.
    fn draw(&self, spares: &[u64]) -> (u64, u32) {
        let mut spares = spares.iter().map(|spare| spare * EXTENT_BYTES).peekable();
        loop {
            let seen = load_acquire(&self.open);
            let newest = Link::unpack(seen, OPEN).unwrap();
            if let Some(offset) = newest {
                let words = self.at(offset).words.load(Ordering::Relaxed);
                assert_eq!(words, u64::from(CAPACITY), "half an extent");
                if let Some(word) = (self.steps.draw)(&self.at(offset).next_word) {
                    return (offset, word);
                }
            }
            let made = *spares.peek().expect("extents enough");
            self.at(made).previous.store(newest.unwrap_or(0), Ordering::Relaxed);
            self.at(made).words.store(u64::from(CAPACITY), Ordering::Relaxed);
            if (self.steps.publish)(&self.open, seen, made) {
                spares.next();
            }
        }
    }

    /// The extents from the newest to the oldest.
    fn chain(&self) -> Vec<u64> {
        let (mut chain, mut next) = (Vec::new(), follow(&self.open, OPEN).unwrap().unwrap_or(0));
        while next != 0 {
            let extent = self.at(next);
            assert_eq!(extent.words.load(Ordering::Relaxed), u64::from(CAPACITY), "half an extent");
            chain.push(next);
            next = extent.previous.load(Ordering::Relaxed);
        }
        chain
    }
}

/// Two processes draw the cells of a series each; neither finds room beside the other. A reader walks.
fn two_extents(steps: Steps) -> Vec<(usize, bool)> {
    explore_bounded(3, move |outcomes| {
        let segment = Segment::new(steps);
        let (one, two) = (Arc::clone(&segment), Arc::clone(&segment));
        let first = thread::spawn(move || one.draw(&[1, 2]));
        let second = thread::spawn(move || two.draw(&[3, 4]));
        let seen = segment.chain().len();
        let drawn = [first.join().unwrap(), second.join().unwrap()];
        assert_ne!(drawn[0], drawn[1], "two series share words");
        let chain = segment.chain();
        for (extent, _) in drawn {
            assert!(chain.contains(&extent), "the chain lost an extent");
        }
        outcomes.note((seen, drawn[0].0 < drawn[1].0));
    })
}

#[test]
fn two_that_need_a_new_extent_are_both_in_the_chain() {
    let outcomes = two_extents(PRODUCTION);
    let every: Vec<_> = (0..=2).flat_map(|seen| [(seen, false), (seen, true)]).collect();
    assert_eq!(outcomes, every, "the reader is early and late, and each of them wins once");
}

#[test]
#[should_panic(expected = "the chain lost an extent")]
fn twin_storing_the_newest_extent_loses_one() {
    let publish = |open: &AtomicU64, _, offset| {
        open.store(Link::pack(offset, OPEN), Ordering::Release);
        true
    };
    two_extents(Steps { publish, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "half an extent")]
fn twin_a_relaxed_publish_shows_half_an_extent() {
    let publish = |open: &AtomicU64, seen, offset| {
        let packed = Link::pack(offset, OPEN);
        open.compare_exchange(seen, packed, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    two_extents(Steps { publish, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "two series share words")]
fn twin_drawing_words_by_a_store_gives_them_twice() {
    let draw = |next_word: &AtomicU64| {
        let next = next_word.load(Ordering::Relaxed);
        (next == 0).then(|| {
            next_word.store(2, Ordering::Relaxed);
            0
        })
    };
    two_extents(Steps { draw, ..PRODUCTION });
}

/// Where the link to a series' cells lies.
const CELLS: u64 = 8192;

type PublishCells = fn(&AtomicU64, CellLink) -> CellLink;

/// Two handles of one series draw cells for it; both, and a reader, use the same.
fn two_handles_of_one_series(publish: PublishCells) -> Vec<(bool, u32)> {
    explore(move |outcomes| {
        let word = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let other = Arc::clone(&word);
        let second = thread::spawn(move || publish(&other.0, CellLink { extent: 4096, word: 8 }));
        let seen = CellLink::unpack(load_acquire(&word.0), CELLS).unwrap();
        let first = publish(&word.0, CellLink { extent: 4096, word: 0 });
        let second = second.join().unwrap();
        let late = CellLink::unpack(load_acquire(&word.0), CELLS).unwrap();
        assert_eq!((first, Some(first)), (second, late), "two handles count in different cells");
        outcomes.note((seen.is_some(), first.word));
    })
}

#[test]
fn two_handles_of_one_series_use_the_same_cells() {
    let outcomes = two_handles_of_one_series(|word, cells| publish_cells(word, CELLS, cells).unwrap());
    assert_eq!(outcomes, [(false, 0), (false, 8), (true, 8)]);
}

#[test]
#[should_panic(expected = "two handles count in different cells")]
fn twin_storing_the_cells_splits_a_series() {
    two_handles_of_one_series(|word, cells| {
        if let Some(other) = CellLink::unpack(load_acquire(word), CELLS).unwrap() {
            return other;
        }
        word.store(cells.pack(CELLS), Ordering::Release);
        cells
    });
}
