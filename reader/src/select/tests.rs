use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dyn_metrics_layout::kind::Number as GaugeNumber;
use dyn_metrics_layout::record::{Doubles, Family, REMOVING, state_offset};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use super::*;
use crate::snapshot::{Number, Value};
use crate::testing::{Builder, claimant, family, live, scratch};

/// A directory with a selection from a segment in it, and a clock that stands still until a test moves it: what is
/// found then was found by its signs.
struct Bench {
    directory: tempfile::TempDir,
    now: Arc<Mutex<Instant>>,
    selection: Selection,
}

type Found = (u64, String, Option<Value>);

impl Bench {
    fn new(selector: Selector) -> Self {
        let directory = scratch();
        let now = Arc::new(Mutex::new(Instant::now()));
        let clock = now.clone();
        let path = directory.path().join("segment");
        let selection = Selection::with_clock(path, selector, Arc::new(move || *clock.lock().unwrap()));
        Self { directory, now, selection }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("segment")
    }

    /// Writes the segment in place, as writers do.
    fn write(&self, built: &Builder) {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.path()).unwrap();
        file.write_all_at(built.bytes(), 0).unwrap();
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    fn read(&mut self) -> Vec<Found> {
        self.selection.refresh();
        let mut found = Vec::new();
        self.selection.read(|sample| {
            found.push((sample.id, sample.labels.text().to_owned(), sample.value.map(Value::from)));
        });
        found
    }

    fn counters(&mut self) -> Vec<(u64, String, f64)> {
        let number = |value| match value {
            Some(Value::Counter(number)) => Number::as_f64(number),
            other => panic!("{other:?}"),
        };
        self.read().into_iter().map(|(id, labels, value)| (id, labels, number(value))).collect()
    }
}

fn requests(built: &mut Builder, family: u64, model: &str, code: &str, value: u64) -> u64 {
    let series = built.series(family, &[("code", code), ("model", model)]);
    built.cells(series, Representation::Integer, [&[value], &[], &[1], &[]]);
    series
}

#[test]
fn labels_are_matched_exactly_and_a_missing_one_is_empty() {
    let labels = Labels::from_iter([("model", "llama"), ("code", "200"), ("zone", "")]);
    let selector = || Selector::new("x");
    for (selector, matches) in [
        (selector(), true),
        (selector().equal("model", "llama"), true),
        (selector().equal("model", "Llama"), false),
        (selector().equal("other", ""), true),
        (selector().not_equal("other", "a"), true),
        (selector().not_equal("code", "200"), false),
        (selector().one_of("code", ["500", "200"]), true),
        (selector().one_of("code", ["500", "20"]), false),
        (selector().one_of("code", [] as [&str; 0]), false),
        (selector().any("code"), true),
        (selector().any("zone"), false),
        (selector().any("other"), false),
        (selector().equal("model", "llama").equal("code", "500"), false),
    ] {
        assert_eq!(selector.matches(&labels), matches, "{selector:?}");
    }
}

#[test]
fn what_matches_is_read_anew_and_what_comes_is_found_by_its_signs() {
    let mut bench = Bench::new(Selector::new("requests_total").equal("model", "a"));
    assert_eq!(bench.read(), []);
    assert_eq!(bench.selection.family(), None);
    let mut built = Builder::new(1);
    let other = built.family(&family("other_total", Kind::Counter));
    requests(&mut built, other, "a", "200", 1000);
    bench.write(&built);
    assert_eq!(bench.read(), []);
    let counter = built.family(&family("requests_total", Kind::Counter));
    requests(&mut built, counter, "a", "200", 4);
    requests(&mut built, counter, "b", "200", 100);
    bench.write(&built);
    let labels = |code: &str| format!("code=\"{code}\",model=\"a\"");
    assert_eq!(bench.counters(), [(1, labels("200"), 5.0)]);
    // Behind the first and before it in the order of labels.
    requests(&mut built, counter, "a", "500", 6);
    let removed = requests(&mut built, counter, "a", "100", 9);
    bench.write(&built);
    assert_eq!(
        bench.counters(),
        [(2, labels("100"), 10.0), (1, labels("200"), 5.0), (3, labels("500"), 7.0)]
    );
    let version = bench.selection.version();
    assert!(!bench.selection.refresh());
    built.remove(removed);
    bench.write(&built);
    assert_eq!(bench.counters(), [(1, labels("200"), 5.0), (3, labels("500"), 7.0)]);
    assert_ne!(bench.selection.version(), version);
    let info = bench.selection.family().unwrap();
    assert_eq!((info.kind, info.label_names.len()), (Kind::Counter, 2));
}

#[test]
fn cells_of_another_representation_and_blocks_of_another_cpu_are_found_by_their_signs() {
    let mut bench = Bench::new(Selector::new("c_total"));
    let mut built = Builder::new(1);
    let counter = built.family(&family("c_total", Kind::Counter));
    let series = built.series(counter, &[]);
    built.cells(series, Representation::Integer, [&[2], &[], &[], &[]]);
    bench.write(&built);
    assert_eq!(bench.counters()[0].2, 2.0);
    built.cells(series, Representation::Float, [&[0.5_f64.to_bits()], &[], &[], &[]]);
    bench.write(&built);
    assert_eq!(bench.counters()[0].2, 2.5);
    let next = built.series(counter, &[("n", "1")]);
    built.cells(next, Representation::Integer, [&[], &[3], &[], &[4]]);
    bench.write(&built);
    assert_eq!(bench.counters()[1].2, 7.0);
}

#[test]
fn every_kind_is_read() {
    let mut built = Builder::new(1);
    let bounds = Doubles::Numbers(&[0.5, 1.0]);
    let histogram = built.family(&Family { bounds, ..family("h", Kind::Histogram) });
    let series = built.series(histogram, &[]);
    built.cells(series, Representation::Float, [&[1, 2, 3, 4.5_f64.to_bits()], &[], &[], &[1, 0, 0, 0]]);
    let tally = built.family(&family("t", Kind::Tally));
    let series = built.series(tally, &[]);
    built.cells(series, Representation::Nanoseconds, [&[2, 500_000_000], &[], &[], &[]]);
    let info = built.family(&family("i_info", Kind::Info));
    built.series(info, &[("version", "1")]);
    for (name, expected) in [
        ("h", Value::Histogram { bounds: [0.5, 1.0].into(), buckets: vec![2, 2, 3], sum: 4.5 }),
        ("t", Value::Tally { count: 2, sum: 0.5 }),
        ("i_info", Value::Info),
    ] {
        let mut bench = Bench::new(Selector::new(name));
        bench.write(&built);
        let found: Vec<_> = bench.read().into_iter().map(|(_, _, value)| value).collect();
        assert_eq!(found, [Some(expected)], "{name}");
    }
}

#[test]
fn gauges_combine_by_mode_and_show_each_process() {
    for (mode, expected) in [
        (GaugeMode::Sum, Some(14)),
        (GaugeMode::LiveSum, Some(5)),
        (GaugeMode::Max, Some(9)),
        (GaugeMode::LiveAll, None),
    ] {
        let mut built = Builder::new(1);
        let gauge = built.family(&Family { mode, ..family("g", Kind::Gauge) });
        let series = built.series(gauge, &[]);
        let (living, dead) = (claimant(0, 2, 10), claimant(1, 3, 11));
        for (owner, value) in [(living, 5), (dead, 9)] {
            built.process(&owner, "x");
            built.gauge(series, &owner, mode, GaugeNumber::Integer(value), 1);
        }
        let mut bench = Bench::new(Selector::new("g"));
        bench.write(&built);
        let alive = live(&bench.path(), 0);
        let expected = expected.map(|number| Value::Gauge(Number::Signed(number)));
        assert_eq!(bench.read(), [(1, String::new(), expected)], "{mode:?}");
        let processes = |bench: &mut Bench| {
            let mut found = Vec::new();
            bench.selection.refresh();
            bench.selection.read(|sample| {
                found.extend(sample.processes.iter().map(|p| (p.pid, p.alive, p.value.as_f64())));
            });
            found.sort_by_key(|(pid, ..)| *pid);
            found
        };
        assert_eq!(processes(&mut bench), [(10, true, 5.0), (11, false, 9.0)]);
        drop(alive);
        bench.pass(Duration::from_secs(1));
        assert_eq!(processes(&mut bench), [(10, false, 5.0), (11, false, 9.0)]);
        assert!(!bench.selection.is_in_use());
    }
}

#[test]
fn a_process_that_comes_is_noticed_by_its_first_value() {
    let mut built = Builder::new(1);
    let mode = GaugeMode::LiveSum;
    let gauge = built.family(&family("g", Kind::Gauge));
    let series = built.series(gauge, &[]);
    // Space that is reserved before, as by somebody who has died: nothing else tells of the newcomer.
    let owner = claimant(3, 1, 10);
    let mut bench = Bench::new(Selector::new("g"));
    built.gauge_with(series, |cell, place| {
        cell.begin(place, series, &claimant(2, 1, 9), Representation::Integer)
    });
    bench.write(&built);
    let _alive = live(&bench.path(), 3);
    let sum = |bench: &mut Bench| bench.read().remove(0).2;
    assert_eq!(sum(&mut bench), Some(Value::Gauge(Number::Signed(0))));
    bench.selection.look();
    let end = built.word(dyn_metrics_layout::header::RESERVED_END);
    built.process(&owner, "new");
    built.gauge(series, &owner, mode, GaugeNumber::Integer(4), 1);
    built.set(dyn_metrics_layout::header::RESERVED_END, end);
    bench.write(&built);
    let first = sum(&mut bench);
    assert_eq!(first, Some(Value::Gauge(Number::Signed(0))), "read before the process table was looked at");
    assert!(bench.selection.is_behind());
    assert_eq!(sum(&mut bench), Some(Value::Gauge(Number::Signed(4))));
}

#[test]
fn a_file_that_takes_the_name_is_merged_with_the_superseded_one() {
    let build = |created, value| {
        let mut built = Builder::new(created);
        let counter = built.family(&family("c_total", Kind::Counter));
        requests(&mut built, counter, "a", "200", value);
        built
    };
    let mut bench = Bench::new(Selector::new("c_total"));
    bench.write(&build(1, 4));
    assert_eq!(bench.counters()[0].2, 5.0);
    std::fs::rename(bench.path(), bench.directory.path().join("segment.superseded-1")).unwrap();
    bench.write(&build(2, 10));
    let found = bench.counters();
    assert_eq!((found.len(), found[0].0, found[0].2), (1, 1, 16.0));
}

#[test]
fn a_series_whose_remover_died_is_no_reason_to_look_again_and_again() {
    let directory = scratch();
    let path = directory.path().join("segment");
    let mut built = Builder::new(1);
    let counter = built.family(&family("c_total", Kind::Counter));
    let series = requests(&mut built, counter, "a", "200", 4);
    built.set(state_offset(series), REMOVING);
    std::fs::write(&path, built.bytes()).unwrap();
    let (asked, now) = (Arc::new(Mutex::new(0)), Instant::now());
    let count = asked.clone();
    let clock = move || {
        *count.lock().unwrap() += 1;
        now
    };
    let mut selection = Selection::with_clock(&path, Selector::new("c_total"), Arc::new(clock));
    let _ = (selection.refresh(), selection.refresh()); // a file is new for two looks
    assert_eq!(selection.series().count(), 1, "it still counts");
    let looks = |selection: &mut Selection| {
        *asked.lock().unwrap() = 0;
        selection.refresh();
        *asked.lock().unwrap() > 1
    };
    assert!(!looks(&mut selection), "nothing has happened");
    built.remove(series);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(built.bytes(), 0).unwrap();
    assert!(looks(&mut selection), "it was removed");
    assert_eq!(selection.series().count(), 0);
}

#[test]
fn another_family_of_the_name_has_other_series() {
    let mut bench = Bench::new(Selector::new("x"));
    let build = |created, kind| {
        let mut built = Builder::new(created);
        let family = built.family(&family("x", kind));
        built.series(family, &[("model", "a")]);
        built
    };
    bench.write(&build(1, Kind::Counter));
    let found = bench.read();
    let version = bench.selection.version();
    std::fs::remove_file(bench.path()).unwrap();
    bench.write(&build(2, Kind::Tally));
    let next = bench.read();
    assert_eq!(bench.selection.family().unwrap().kind, Kind::Tally);
    assert_eq!((found.len(), next.len()), (1, 1));
    assert_ne!(found[0].0, next[0].0, "another id");
    assert_ne!(bench.selection.version(), version);
}

#[test]
fn what_has_no_sign_is_found_half_a_second_later() {
    let mut built = Builder::new(1);
    let mut bench = Bench::new(Selector::new("c_total"));
    let spare = built.draw(4096, 64);
    bench.write(&built);
    for _ in 0..3 {
        assert_eq!(bench.read(), []);
        bench.pass(Duration::from_millis(5));
    }
    bench.selection.look();
    let counter = built.family(&family("c_total", Kind::Counter));
    requests(&mut built, counter, "a", "200", 4);
    built.set(dyn_metrics_layout::header::RESERVED_END, spare + 4096);
    bench.write(&built);
    bench.pass(Duration::from_millis(499));
    assert_eq!(bench.read(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.counters()[0].2, 5.0);
}

#[test]
fn trouble_with_a_file_is_told() {
    let mut bench = Bench::new(Selector::new("c_total"));
    bench.read();
    assert!(bench.selection.trouble().is_none());
    std::fs::write(bench.path(), "no segment").unwrap();
    assert_eq!(bench.read(), []);
    let trouble = bench.selection.trouble().unwrap().to_string();
    assert!(trouble.starts_with(&bench.path().display().to_string()), "{trouble}");
}

#[test]
fn a_selection_may_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<Selection>();
}
