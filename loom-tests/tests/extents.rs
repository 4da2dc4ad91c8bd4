//! Extents, their words, and the cells of a series: drawn once, published whole, none lost.
#![cfg(loom)]

use dyn_metrics_layout::extent::{draw_words, follow, publish_cells, publish_extent};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::sync::{AtomicU64, Ordering, load_acquire};
use dyn_metrics_loom_tests::{Executions, explore, explore_bounded, explore_vanishing};
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
    load: fn(&AtomicU64) -> u64,
}

const PRODUCTION: Steps = Steps {
    publish: |open, seen, offset| publish_extent(open, OPEN, seen, offset),
    draw: |next_word| draw_words(next_word, CAPACITY, 2),
    load: load_acquire,
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
        Arc::new(Self { open: word(), extents: (0..6).map(|_| extent()).collect(), steps })
    }

    fn at(&self, offset: u64) -> &Extent {
        &self.extents[(offset / EXTENT_BYTES) as usize]
    }

    /// Draws two words from the newest extent, or from one of `spares`.
    fn draw(&self, spares: &[u64]) -> (u64, u32) {
        let mut spares = spares.iter().map(|spare| spare * EXTENT_BYTES).peekable();
        loop {
            let seen = (self.steps.load)(&self.open);
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
#[should_panic(expected = "half an extent")]
fn twin_a_relaxed_look_shows_half_an_extent() {
    two_extents(Steps { load: |open| open.load(Ordering::Relaxed), ..PRODUCTION });
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

/// A process vanishes while it draws; another one draws twice.
fn a_drawer_that_dies(steps: Steps) -> Vec<Vec<usize>> {
    explore_vanishing(
        |_| Some(3),
        move |victim, outcomes: &Executions<_>| {
            let segment = Segment::new(steps);
            let (one, victim) = (Arc::clone(&segment), victim.clone());
            let dying = thread::spawn(move || victim.run(|| one.draw(&[1, 2])));
            let mut drawn = vec![segment.draw(&[3, 4])];
            drawn.extend(dying.join().unwrap());
            drawn.push(segment.draw(&[5]));
            let chain = segment.chain();
            assert!(drawn.iter().all(|(extent, _)| chain.contains(extent)), "the chain lost an extent");
            drawn.sort_unstable();
            drawn.dedup();
            outcomes.note(drawn.len());
        },
    )
}

#[test]
fn a_process_that_dies_while_it_makes_an_extent_leaves_the_chain_to_the_others() {
    let explored = a_drawer_that_dies(PRODUCTION);
    let (last, dying) = explored.split_last().unwrap();
    assert_eq!(last[..], [3], "each draws words of its own");
    // Two words of the header, the link, the cursor; and again when another extent was linked first.
    assert_eq!(dying.len(), 8);
    assert!(dying.iter().all(|outcomes| outcomes.contains(&2)), "the other draws alone: {dying:?}");
}

/// Links an extent first, and completes it afterwards.
fn completing_late(segment: &Segment, made: u64) {
    let seen = load_acquire(&segment.open);
    assert!(publish_extent(&segment.open, OPEN, seen, made));
    segment.at(made).words.store(u64::from(CAPACITY), Ordering::Relaxed);
}

#[test]
#[should_panic(expected = "half an extent")]
fn twin_completing_an_extent_that_is_linked_leaves_half_of_one() {
    explore_vanishing(
        |_| None,
        |victim, _: &Executions<()>| {
            let segment = Segment::new(PRODUCTION);
            victim.run(|| completing_late(&segment, EXTENT_BYTES));
            segment.draw(&[3, 4]);
        },
    );
}

/// Where the link to a series' cells lies.
const CELLS: u64 = 8192;

#[derive(Clone, Copy)]
struct CellSteps {
    publish: fn(&AtomicU64, CellLink) -> CellLink,
    load: fn(&AtomicU64) -> u64,
}

const PRODUCTION_CELLS: CellSteps =
    CellSteps { publish: |word, cells| publish_cells(word, CELLS, cells).unwrap(), load: load_acquire };

/// A series' link to its cells, and `words` of the two extents that they may lie in.
struct Series {
    link: AtomicU64,
    words: [AtomicU64; 2],
    steps: CellSteps,
}

impl Series {
    fn new(steps: CellSteps) -> Self {
        let word = || AtomicU64::new(0);
        Self { link: word(), words: [word(), word()], steps }
    }

    /// Makes extent `n`, publishes its first cells for the series, and uses those that the series has then.
    fn handle(&self, n: usize) -> u64 {
        self.words[n].store(u64::from(CAPACITY), Ordering::Relaxed);
        let drawn = CellLink { extent: EXTENT_BYTES * n as u64, word: 0 };
        self.follow((self.steps.publish)(&self.link, drawn))
    }

    fn look(&self) -> Option<u64> {
        let cells = CellLink::unpack((self.steps.load)(&self.link), CELLS).unwrap();
        cells.map(|cells| self.follow(cells))
    }

    fn follow(&self, cells: CellLink) -> u64 {
        let words = self.words[(cells.extent / EXTENT_BYTES) as usize].load(Ordering::Relaxed);
        assert_eq!(words, u64::from(CAPACITY), "half an extent");
        cells.extent
    }
}

/// Two handles of one series publish cells for it; both, and a reader, use the same.
fn two_handles_of_one_series(steps: CellSteps) -> Vec<(bool, u64)> {
    explore(move |outcomes| {
        let series = Arc::new(Series::new(steps));
        let other = Arc::clone(&series);
        let second = thread::spawn(move || other.handle(1));
        let seen = series.look();
        let first = series.handle(0);
        let second = second.join().unwrap();
        assert_eq!((first, Some(first)), (second, series.look()), "two handles count in different cells");
        outcomes.note((seen.is_some(), first));
    })
}

#[test]
fn two_handles_of_one_series_use_the_same_cells() {
    let outcomes = two_handles_of_one_series(PRODUCTION_CELLS);
    assert_eq!(outcomes, [(false, 0), (false, EXTENT_BYTES), (true, EXTENT_BYTES)]);
}

#[test]
fn a_handle_that_vanishes_leaves_the_cells_to_the_others() {
    let explored = explore_vanishing(
        |_| None,
        |victim, outcomes: &Executions<_>| {
            let series = Arc::new(Series::new(PRODUCTION_CELLS));
            let (other, victim) = (Arc::clone(&series), victim.clone());
            let dying = thread::spawn(move || victim.run(|| other.handle(1)));
            let first = series.handle(0);
            let second = dying.join().unwrap();
            assert_eq!(Some(first), series.look(), "a handle counts where nobody reads");
            assert!(second.is_none_or(|second| second == first), "two handles count in different cells");
            outcomes.note(first);
        },
    );
    assert_eq!(explored, [&[0][..], &[0], &[0, EXTENT_BYTES]], "the extent's word, then the link");
}

#[test]
#[should_panic(expected = "two handles count in different cells")]
fn twin_storing_the_cells_splits_a_series() {
    let publish = |word: &AtomicU64, cells: CellLink| {
        if let Some(other) = CellLink::unpack(load_acquire(word), CELLS).unwrap() {
            return other;
        }
        word.store(cells.pack(CELLS), Ordering::Release);
        cells
    };
    two_handles_of_one_series(CellSteps { publish, ..PRODUCTION_CELLS });
}

/// Publishes cells with these orderings of a won and of a lost compare-and-swap.
fn publish_with(word: &AtomicU64, cells: CellLink, won: Ordering, lost: Ordering) -> CellLink {
    match word.compare_exchange(0, cells.pack(CELLS), won, lost) {
        Ok(_) => cells,
        Err(now) => CellLink::unpack(now, CELLS).unwrap().unwrap(),
    }
}

#[test]
#[should_panic(expected = "half an extent")]
fn twin_publishing_cells_relaxed_shows_half_an_extent() {
    let publish = |word: &AtomicU64, cells| publish_with(word, cells, Ordering::Relaxed, Ordering::Acquire);
    two_handles_of_one_series(CellSteps { publish, ..PRODUCTION_CELLS });
}

#[test]
#[should_panic(expected = "half an extent")]
fn twin_losing_relaxed_shows_half_the_winner_s_extent() {
    let publish = |word: &AtomicU64, cells| publish_with(word, cells, Ordering::AcqRel, Ordering::Relaxed);
    two_handles_of_one_series(CellSteps { publish, ..PRODUCTION_CELLS });
}

#[test]
#[should_panic(expected = "half an extent")]
fn twin_a_relaxed_look_at_the_cells_shows_half_an_extent() {
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    two_handles_of_one_series(CellSteps { load, ..PRODUCTION_CELLS });
}
