//! What a warm scrape allocates doesn't depend on how many series there are, and reading a selection allocates nothing.
#![allow(unsafe_code, reason = "counts allocations in an allocator of its own")]

#[path = "../src/testing.rs"]
mod testing;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::record::{Doubles, Family, Texts};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};
use dyn_metrics_reader::Collector;
use dyn_metrics_reader::select::{Selection, Selector};
use testing::{Builder, claimant, family, live, scratch};

/// The system's allocator, counted for each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; it came from alloc() or realloc().
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise; it came from alloc() or realloc().
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Families of every kind with this many series each, set by two processes.
fn segment(created: u64, series: u64) -> Builder {
    let mut built = Builder::new(created);
    let owners = [claimant(0, 1, 10), claimant(1, 1, 10)];
    owners.iter().for_each(|owner| built.process(owner, "worker"));
    let (bounds, states) = (Doubles::Numbers(&[0.1, 1.0]), Texts::Strs(&["on", "off"]));
    for kind in Kind::ALL {
        for mode in [GaugeMode::Max, GaugeMode::All] {
            let name = format!("{}_{}", kind.name(), mode.name());
            let described = match kind {
                Kind::Histogram => Family { bounds, ..family(&name, kind) },
                Kind::StateSet => Family { states, mode, keep_dead: 1, ..family(&name, kind) },
                Kind::Gauge => Family { mode, keep_dead: 1, ..family(&name, kind) },
                _ => family(&name, kind),
            };
            let family = built.family(&described);
            for number in 0..series {
                let series = built.series(family, &[("number", &number.to_string())]);
                if kind.is_per_process() {
                    for owner in &owners {
                        built.gauge(series, owner, mode, Number::Integer(number as i64), 0);
                    }
                }
                let words = vec![number; kind.cell_words(2)];
                if !words.is_empty() {
                    built.cells(series, Representation::ALL[number as usize % 3], [&words, &[], &words, &[]]);
                }
            }
        }
    }
    built
}

/// Allocations of one scrape after several others, of two files that merge.
fn allocations(series: u64) -> usize {
    let directory = scratch();
    for (name, created) in [("segment", 2), ("segment.superseded-1", 1)] {
        segment(created, series).write(&directory.path().join(name));
    }
    let path = directory.path().join("segment");
    let _alive = live(&path, 0);
    let mut collector = Collector::new(&[path.to_string_lossy().into_owned()]);
    let mut page = Vec::new();
    for _ in 0..3 {
        page.clear();
        let report = collector.render(&mut page);
        assert!(report.stats.series as u64 >= 12 * series, "{:?}", report.stats);
        assert_eq!(report.stats.skipped, []);
    }
    page.clear();
    let before = ALLOCATIONS.get();
    let report = collector.render(&mut page);
    let after = ALLOCATIONS.get();
    drop(report);
    after - before
}

#[test]
fn a_warm_scrape_allocates_the_same_for_few_and_for_many_series() {
    let few = allocations(5);
    assert_eq!(allocations(500), few);
    // Reports about segments, processes and families.
    assert!(few < 200, "{few}");
}

#[test]
fn reading_a_selection_allocates_nothing() {
    let directory = scratch();
    let path = directory.path().join("segment");
    segment(1, 100).write(&path);
    let _alive = live(&path, 0);
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::ExponentialHistogram) {
        for mode in [GaugeMode::Max, GaugeMode::All] {
            let mut selection = Selection::new(
                &path,
                Selector::new(format!("{}_{}", kind.name(), mode.name())).any("number"),
            );
            let mut read = || {
                selection.refresh();
                let mut series = 0;
                selection.read(|_| series += 1);
                series
            };
            (0..3).for_each(|_| assert_eq!(read(), 100, "{kind:?}"));
            // Now and then everything is looked at, which allocates; not twice in a row.
            let fewest = (0..3).map(|_| {
                let before = ALLOCATIONS.get();
                read();
                ALLOCATIONS.get() - before
            });
            assert_eq!(fewest.min(), Some(0), "{kind:?}");
        }
    }
}
