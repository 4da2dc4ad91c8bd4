mod blocks;
mod found;
mod gauges;
mod hostile;
mod levels;
mod render;

use std::fs;
use std::sync::Mutex;
use std::time::Duration;

use dyn_metrics_layout::header::{self, STATE};
use dyn_metrics_layout::record::{Doubles, Family};
use dyn_metrics_layout::{Kind, Representation};

use super::*;
use crate::encode;
use crate::skip::Reason;
use crate::snapshot::{Number, Value};
use crate::testing::{Builder, claimant, family, live, scratch};

/// A directory with a collector of one pattern in it, and a clock that a test moves.
struct Bench {
    directory: tempfile::TempDir,
    now: Arc<Mutex<Instant>>,
    collector: Collector,
    /// Follows the same files, and renders what it finds.
    renderer: Collector,
    /// Follows the same files, for tests of thresholds.
    selective: Collector,
}

impl Bench {
    fn new(pattern: &str) -> Self {
        let directory = scratch();
        let now = Arc::new(Mutex::new(Instant::now()));
        let (clock, pattern) = (now.clone(), directory.path().join(pattern).to_string_lossy().into_owned());
        let clock: Clock = Arc::new(move || *clock.lock().unwrap());
        let [collector, renderer, selective] =
            [(); 3].map(|()| Collector::with_clock(std::slice::from_ref(&pattern), clock.clone()));
        Self { directory, now, collector, renderer, selective }
    }

    /// Follows other files from now on: what patterns in its directory lead to, also of these users.
    fn follow(&mut self, patterns: &[&str], uids: &[u32]) {
        let path = |name: &&str| self.path(name).to_string_lossy().into_owned();
        let patterns: Vec<_> = patterns.iter().map(path).collect();
        [self.collector, self.renderer, self.selective] =
            [(); 3].map(|()| Collector::new(&patterns).allow_uids(uids));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, built: &Builder) {
        built.write(&self.path(name));
    }

    fn pass(&self, time: Duration) {
        *self.now.lock().unwrap() += time;
    }

    /// What is collected; who renders it at once must give the same text to the last byte.
    fn collect(&mut self) -> Snapshot {
        let snapshot = self.collector.collect();
        let (mut text, mut rendered) = (Vec::new(), b"before".to_vec());
        encode::text::encode(&snapshot, &mut text);
        let report = self.renderer.render(&mut rendered);
        let (text, rendered) = (String::from_utf8(text).unwrap(), String::from_utf8(rendered).unwrap());
        assert_eq!(rendered.strip_prefix("before"), Some(&*text));
        assert!(text.starts_with(&encode::text::plain::encode(&snapshot.families)), "{text}");
        let reports = [&report.segments, &snapshot.segments].map(|segments| format!("{segments:?}"));
        assert_eq!(reports[0], reports[1]);
        assert_eq!(
            (&report.patterns, &report.left_out, &report.stats),
            (&snapshot.patterns, &snapshot.left_out, &snapshot.stats)
        );
        snapshot
    }

    /// Samples as text, without self-metrics, `HELP` and `TYPE`.
    fn samples(&mut self) -> Vec<String> {
        let mut text = Vec::new();
        encode::text::encode_families(&self.collect().families, &mut text);
        let text = String::from_utf8(text).unwrap();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    fn states(&mut self) -> Vec<&'static str> {
        self.collect().segments.iter().map(|report| report.state.name()).collect()
    }

    fn skipped(&mut self) -> Vec<(Reason, u64)> {
        self.collect().stats.skipped.iter().map(|s| (s.reason, s.count)).collect()
    }

    fn error(&mut self) -> String {
        let snapshot = self.collect();
        match snapshot.segments.first().map(|report| &report.state) {
            Some(SegmentState::Unreadable(error)) => error.to_string(),
            state => panic!("{state:?}"),
        }
    }
}

/// A segment with one counter series of this value.
fn counting(created: u64, value: u64) -> Builder {
    let mut built = Builder::new(created);
    let counter = built.family(&family("a_total", Kind::Counter));
    let series = built.series(counter, &[]);
    built.cells(series, Representation::Integer, [&[value], &[], &[], &[]]);
    built
}

#[test]
fn a_segment_may_come_go_and_return() {
    let mut bench = Bench::new("segment");
    assert_eq!(bench.states(), ["missing"]);
    bench.write("segment", &counting(1, 5));
    assert_eq!(bench.samples(), ["a_total 5"]);
    assert_eq!(bench.states(), ["ok"]);
    fs::remove_file(bench.path("segment")).unwrap();
    assert_eq!(bench.states(), ["missing"]);
    bench.write("segment", &counting(2, 6));
    assert_eq!(bench.samples(), ["a_total 6"]);
}

#[test]
fn values_are_read_anew_and_new_series_found() {
    let mut bench = Bench::new("segment");
    let mut built = counting(1, 5);
    bench.write("segment", &built);
    assert_eq!(bench.samples(), ["a_total 5"]);
    let other = built.family(&family("b_total", Kind::Counter));
    let mut expected = vec!["a_total 5".to_owned()];
    for number in 100..900 {
        let series = built.series(other, &[("n", &number.to_string())]);
        built.cells(series, Representation::Integer, [&[], &[number], &[], &[1]]);
        expected.push(format!("b_total{{n=\"{number}\"}} {}", number + 1));
    }
    bench.write("segment", &built);
    assert_eq!(bench.samples(), expected);
    assert_eq!(bench.skipped(), []);
}

#[test]
fn an_unlinked_segment_is_served_until_its_last_process_ends() {
    let mut bench = Bench::new("segment");
    let mut built = counting(1, 5);
    built.process(&claimant(3, 1, 7), "worker");
    bench.write("segment", &built);
    let alive = live(&bench.path("segment"), 3);
    assert_eq!(bench.samples(), ["a_total 5"]);
    fs::remove_file(bench.path("segment")).unwrap();
    assert_eq!(bench.states(), ["unlinked"]);
    bench.write("segment", &counting(2, 1));
    assert_eq!(bench.states(), ["ok", "unlinked"]);
    assert_eq!(bench.samples(), ["a_total 6"]);
    let labels: Vec<_> = bench.collect().segments.iter().map(|s| s.label.clone()).collect();
    assert_ne!(labels[0], labels[1]);
    drop(alive);
    assert_eq!(bench.states(), ["ok", "unlinked"], "the answer is believed for a second");
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.states(), ["ok"]);
    assert_eq!(bench.samples(), ["a_total 1"]);
}

#[test]
fn superseded_files_are_merged_marked_or_not_and_never_fall() {
    let mut bench = Bench::new("segment");
    let mut old = counting(1, 5);
    bench.write("segment", &old);
    assert_eq!(bench.samples(), ["a_total 5"]);
    // The new one takes the name by exchange.
    bench.write("segment.superseded-1", &Builder::new(2));
    assert_eq!(bench.samples(), ["a_total 5"], "an unexchanged one is all zero");
    fs::rename(bench.path("segment"), bench.path("x")).unwrap();
    fs::rename(bench.path("segment.superseded-1"), bench.path("segment")).unwrap();
    fs::rename(bench.path("x"), bench.path("segment.superseded-1")).unwrap();
    assert_eq!(bench.samples(), ["a_total 5"]);
    assert_eq!(bench.states(), ["ok", "superseded"]);
    bench.write("segment", &counting(2, 3));
    old.set(STATE, header::STATE_SUPERSEDED);
    bench.write("segment.superseded-1", &old);
    fs::write(bench.path("segment.superseded-2"), "not a segment").unwrap();
    assert_eq!(bench.samples(), ["a_total 8"]);
    assert_eq!(bench.states(), ["ok", "superseded", "unreadable"]);
    assert_eq!(bench.skipped(), [(Reason::Segment, 1)]);
}

#[test]
fn where_files_disagree_the_named_one_wins() {
    let mut bench = Bench::new("segment");
    let mut old = counting(5, 7);
    old.family(&Family { unit: "bytes", ..family("only_old", Kind::Gauge) });
    bench.write("segment.superseded-1", &old);
    let mut new = Builder::new(3);
    let gauge = new.family(&family("a_total", Kind::Gauge));
    new.series(gauge, &[]);
    bench.write("segment", &new);
    assert_eq!(bench.samples(), ["a_total 0"]);
    assert_eq!(bench.skipped(), [(Reason::Disagree, 1)]);
    let names: Vec<_> = bench.collect().families.iter().map(|f| f.name.clone()).collect();
    assert_eq!(names, ["a_total", "only_old"]);
}

#[test]
fn segments_of_several_names_add_up() {
    let mut bench = Bench::new("*.shm");
    for (name, value) in [("a.shm", 1), ("b.shm", 2), ("c.shm", 4), ("d.other", 8)] {
        bench.write(name, &counting(value, value));
    }
    fs::write(bench.path("foreign.shm"), vec![1; 5000]).unwrap();
    assert_eq!(bench.samples(), ["a_total 7"]);
    assert_eq!(bench.states(), ["ok", "ok", "ok"], "foreign files in a glob are left out");
}

#[test]
fn the_lower_of_two_clashing_families_wins() {
    let mut built = Builder::new(1);
    let histogram = Family { bounds: Doubles::Numbers(&[1.0]), ..family("h", Kind::Histogram) };
    built.family(&histogram);
    let sum = built.family(&family("h_sum", Kind::Gauge));
    built.series(sum, &[]);
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    assert_eq!(bench.samples(), [] as [&str; 0]);
    assert_eq!(bench.skipped(), [(Reason::Clash, 1)]);
}

#[test]
fn removed_series_are_not_shown_and_duplicates_add_up() {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let twin = built.family(&Family { help: "Another.", ..family("a_total", Kind::Counter) });
    let (one, two) = (built.series(counter, &[("n", "1")]), built.series(counter, &[("n", "2")]));
    let three = built.series(twin, &[("n", "1")]);
    for series in [one, two, three] {
        built.cells(series, Representation::Integer, [&[2], &[], &[], &[]]);
    }
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    assert_eq!(bench.samples(), ["a_total{n=\"1\"} 4", "a_total{n=\"2\"} 2"]);
    built.remove(two);
    bench.write("segment", &built);
    assert_eq!(bench.samples(), ["a_total{n=\"1\"} 4"]);
}

#[test]
fn common_labels_yield_to_a_series_own() {
    let mut built = Builder::with_common(1, &[("cluster", "a"), ("le", "x")]);
    let histogram = Family { bounds: Doubles::Numbers(&[]), ..family("h", Kind::Histogram) };
    let histogram = built.family(&histogram);
    built.series(histogram, &[("cluster", "own")]);
    let reserved = built.family(&family("t", Kind::Tally));
    built.series(reserved, &[("quantile", "0.5")]);
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    assert_eq!(bench.samples()[0], "h_bucket{cluster=\"own\",le=\"+Inf\"} 0");
    assert_eq!(bench.skipped(), [(Reason::ReservedLabel, 1)]);
}

#[test]
fn numbers_of_every_representation_add_up() {
    let mut built = Builder::new(1);
    let counter = built.family(&family("a_total", Kind::Counter));
    let series = built.series(counter, &[]);
    built.cells(series, Representation::Integer, [&[1], &[2], &[], &[u64::MAX]]);
    let mut bench = Bench::new("segment");
    bench.write("segment", &built);
    let value = |bench: &mut Bench| bench.collect().families[0].series[0].value.clone();
    assert_eq!(value(&mut bench), Value::Counter(Number::Unsigned(2)), "integers wrap");
    built.cells(series, Representation::Float, [&[0.25_f64.to_bits()], &[], &[], &[0.25_f64.to_bits()]]);
    built.cells(series, Representation::Nanoseconds, [&[500_000_000], &[], &[1_000_000_000], &[]]);
    bench.write("segment", &built);
    assert_eq!(value(&mut bench), Value::Counter(Number::Float(4.0)));
}

#[test]
fn a_collector_may_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    movable(&Collector::new(&[]));
    movable(&Collector::new(&[]).collect());
}
