//! Gauges of several processes and files.

use std::os::unix::fs::FileExt;

use dyn_metrics_layout::GaugeMode;
use dyn_metrics_layout::gauge::NEXT;
use dyn_metrics_layout::kind::Number as GaugeNumber;
use dyn_metrics_layout::link::Link;

use super::*;
use crate::testing::Alive;

/// Segments with one gauge series of `mode`: a living process (slot 0) set 5 at 50, a dead one (slot 1) set
/// 9 at 90 in a cell that retains 2 of an earlier one.
fn gauge_bench(mode: GaugeMode, keep_dead: u32) -> (Bench, Alive) {
    let mut built = Builder::new(1);
    let gauge = built.family(&Family { mode, keep_dead, ..family("g", Kind::Gauge) });
    let series = built.series(gauge, &[]);
    let (living, dead, earlier) = (claimant(0, 2, 10), claimant(1, 3, 10), claimant(1, 2, 30));
    built.process(&living, "living");
    built.process(&dead, "dead");
    built.gauge(series, &living, mode, GaugeNumber::Integer(5), 50);
    let integer = Representation::Integer;
    built.gauge_with(series, |cell, place| {
        cell.begin(place, series, &earlier, integer);
        cell.half(0).set(GaugeNumber::Integer(2), integer, mode, || 20);
        let reading = cell.read(place).unwrap();
        let half = cell.take_over(place, &reading, &dead, integer, Kind::Gauge, mode).unwrap();
        cell.half(half).set(GaugeNumber::Integer(9), integer, mode, || 90);
    });
    let bench = Bench::new("segment");
    bench.write("segment", &built);
    let alive = live(&bench.path("segment"), 0);
    (bench, alive)
}

#[test]
fn the_ten_modes_combine_the_living_and_the_dead() {
    for (mode, both, nobody) in [
        (GaugeMode::Sum, "16", Some("16")),
        (GaugeMode::Min, "2", Some("2")),
        (GaugeMode::Max, "9", Some("9")),
        (GaugeMode::MostRecent, "9", Some("9")),
        (GaugeMode::LiveSum, "5", Some("0")),
        (GaugeMode::LiveMin, "5", None),
        (GaugeMode::LiveMax, "5", None),
        (GaugeMode::LiveMostRecent, "5", None),
    ] {
        let (mut bench, alive) = gauge_bench(mode, 0);
        assert_eq!(bench.samples(), [format!("g {both}")], "{mode:?}");
        drop(alive);
        bench.pass(Duration::from_secs(1));
        let expected: Vec<String> = nobody.iter().map(|value| format!("g {value}")).collect();
        assert_eq!(bench.samples(), expected, "{mode:?}");
    }
}

#[test]
fn all_shows_each_process_and_tells_equal_pids_apart() {
    let (mut bench, alive) = gauge_bench(GaugeMode::All, 1);
    assert_eq!(bench.samples(), ["g{pid=\"10\"} 5", "g{pid=\"10-00abc1\"} 9"]);
    drop(alive);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.samples(), ["g{pid=\"10\"} 9"]);
    let (mut bench, _alive) = gauge_bench(GaugeMode::LiveAll, 1);
    assert_eq!(bench.samples(), ["g{pid=\"10\"} 5"]);
}

#[test]
fn a_process_counts_with_its_newest_file() {
    let mode = GaugeMode::Sum;
    let build = |created, value| {
        let mut built = Builder::new(created);
        let gauge = built.family(&Family { mode, ..family("g", Kind::Gauge) });
        let series = built.series(gauge, &[]);
        built.gauge(series, &claimant(0, 1, 10), mode, GaugeNumber::Integer(value), 0);
        built
    };
    let mut bench = Bench::new("*");
    bench.write("a", &build(3, 1));
    bench.write("a.superseded-1", &build(1, 10));
    bench.write("a.superseded-2", &build(2, 100));
    assert_eq!(bench.samples(), ["g 1"]);
    // In another segment the same process counts beside.
    bench.write("b", &build(4, 1000));
    assert_eq!(bench.samples(), ["g 1001"]);
}

#[test]
fn a_list_of_gauge_cells_that_runs_in_a_circle_shows_nothing() {
    let mode = GaugeMode::Sum;
    let mut built = Builder::new(1);
    let gauge = built.family(&Family { mode, ..family("g", Kind::Gauge) });
    let series = built.series(gauge, &[]);
    let cells: Vec<_> = (0..5)
        .map(|slot| built.gauge(series, &claimant(slot, 1, slot), mode, GaugeNumber::Integer(1), 0))
        .collect();
    let next = cells[0] + NEXT;
    built.set(next, Link::pack(cells[3], next));
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    assert_eq!(bench.samples(), ["g 0"]);
    assert_eq!(bench.skipped(), [(Reason::Gauge, 1)]);
}

#[test]
fn a_cell_that_was_added_after_the_file_was_mapped_hides_none_of_the_older_ones() {
    let mode = GaugeMode::Sum;
    let mut built = Builder::new(1);
    let gauge = built.family(&Family { mode, ..family("g", Kind::Gauge) });
    let series = built.series(gauge, &[]);
    for (slot, value) in [(0, 5), (1, 2)] {
        built.gauge(series, &claimant(slot, 1, slot), mode, GaugeNumber::Integer(value), 0);
    }
    let directory = scratch();
    let path = directory.path().join("segment");
    built.write(&path);
    let mapped = built.bytes().len();
    while built.bytes().len() == mapped {
        built.draw(4096, 64);
    }
    for (slot, value) in [(2, 10), (3, 100)] {
        built.gauge(series, &claimant(slot, 1, slot), mode, GaugeNumber::Integer(value), 0);
    }
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let grows = Arc::new(Mutex::new(false));
    let is_time = Arc::clone(&grows);
    // Asked once the file is mapped, and before values are read.
    let clock = Arc::new(move || {
        if *is_time.lock().unwrap() {
            file.write_all_at(built.bytes(), 0).unwrap();
        }
        Instant::now()
    });
    let mut collector = Collector::with_clock(&[path.display().to_string()], clock);
    let mut sample = || {
        let snapshot = collector.collect();
        assert!(snapshot.stats.skipped.is_empty(), "{:?}", snapshot.stats.skipped);
        let mut text = Vec::new();
        encode::text::encode_families(&snapshot.families, &mut text);
        String::from_utf8(text).unwrap().lines().last().unwrap().to_owned()
    };
    assert_eq!(sample(), "g 7");
    *grows.lock().unwrap() = true;
    assert_eq!(sample(), "g 7", "not 0");
    assert_eq!(sample(), "g 117");
}
