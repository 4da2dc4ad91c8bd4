use std::sync::{Arc, Mutex};
use std::time::Instant;

use dyn_metrics_reader::Clock;

use super::*;
use crate::{Counter, FloatGauge, Gauge, GaugeMode, Histogram, Opts, Registry, Tally};
use Reading::{Idle, Unknown, Value};

/// A segment, and a clock that a test moves.
struct Bench {
    _directory: tempfile::TempDir,
    registry: Registry,
    now: Arc<Mutex<Instant>>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let registry =
            Registry::builder().path(directory.path().join("s")).max_bytes(4 << 20).open().unwrap();
        Self { _directory: directory, registry, now: Arc::new(Mutex::new(Instant::now())) }
    }

    fn pass(&self, seconds: u64) {
        *self.now.lock().unwrap() += Duration::from_secs(seconds);
    }

    fn live(&self, composite: Composite) -> LiveComposite {
        let now = self.now.clone();
        let clock: Clock = Arc::new(move || *now.lock().unwrap());
        LiveComposite::at(composite, self.registry.path(), clock).unwrap()
    }

    fn read(&self, composite: Composite) -> Reading {
        self.registry.composite(&composite).unwrap().read()
    }

    fn refusal(&self, composite: Composite) -> String {
        self.registry.composite(&composite).unwrap_err().to_string()
    }
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

#[test]
fn counters_and_gauges_are_composed_over_label_sets() {
    let bench = Bench::new();
    let counters = bench.registry.family::<Counter>(&Opts::new("c_total", ""), &["model", "code"]).unwrap();
    let gauges = bench.registry.family::<FloatGauge>(&Opts::new("g", ""), &["model"]).unwrap();
    for (model, code, value) in [("a", "200", 6), ("a", "500", 2), ("b", "200", 10)] {
        counters.with(&[model, code]).inc_by(value);
    }
    for (model, value) in [("a", 0.5), ("b", 2.5), ("c", f64::NAN)] {
        gauges.with(&[model]).set(value);
    }
    for (composite, expected) in [
        (Composite::sum("c_total"), 18.0),
        (Composite::avg("c_total"), 6.0),
        (Composite::min("c_total"), 2.0),
        (Composite::max("c_total"), 10.0),
        (Composite::count("c_total"), 3.0),
        (Composite::sum("c_total").matching("model", "a"), 8.0),
        (Composite::sum("c_total").matching("model", "a").not_matching("code", "200"), 2.0),
        (Composite::sum("c_total").matching_any("model", ["b", "c"]), 10.0),
        (Composite::count("c_total").having("code"), 3.0),
        (Composite::sum("g"), 3.0),
        (Composite::count("g"), 2.0),
        (Composite::quantile("g", 0.25), 1.0),
        (Composite::max("g").over_processes(), 2.5),
    ] {
        assert_eq!(bench.read(composite.clone()), Value(expected), "{composite:?}");
    }
    assert_eq!(bench.read(Composite::avg("g").matching("model", "c")), Idle, "not NaN");
}

#[test]
fn observations_of_all_series_count_together() {
    let bench = Bench::new();
    let histograms =
        bench.registry.family::<Histogram>(&Opts::new("h", "").bounds(&[1.0, 2.0]), &["m"]).unwrap();
    let tallies = bench.registry.family::<Tally>(&Opts::new("t", ""), &["m"]).unwrap();
    assert_eq!(bench.read(Composite::avg("h")), Unknown, "no series");
    let _ = histograms.with(&["a"]);
    assert_eq!(bench.read(Composite::avg("h")), Idle, "a series without observations");
    assert_eq!(bench.read(Composite::quantile("h", 0.5)), Idle);
    assert_eq!(bench.read(Composite::count("h")), Value(0.0));
    for (m, value) in [("a", 0.5), ("a", 1.5), ("b", 1.5), ("b", 4.5)] {
        histograms.with(&[m]).observe(value);
        tallies.with(&[m]).observe(value);
    }
    for (composite, expected) in [
        (Composite::sum("h"), 8.0),
        (Composite::avg("h"), 2.0),
        (Composite::count("h"), 4.0),
        (Composite::quantile("h", 0.5), 1.5),
        (Composite::quantile("h", 1.0), 2.0),
        (Composite::quantile("h", 0.5).matching("m", "a"), 1.0),
        (Composite::avg("t"), 2.0),
        (Composite::count("t").matching("m", "a"), 2.0),
    ] {
        assert_eq!(bench.read(composite.clone()), Value(expected), "{composite:?}");
    }
}

#[test]
fn a_gauge_that_nobody_has_set_is_idle() {
    let bench = Bench::new();
    let gauge = bench.registry.gauge("g", "").unwrap();
    for composite in [Composite::sum("g"), Composite::count("g"), Composite::avg("g").over_processes()] {
        assert_eq!(bench.read(composite), Idle);
    }
    gauge.set(0);
    assert_eq!(bench.read(Composite::sum("g")), Value(0.0));
    let opts = Opts::new("each", "").mode(GaugeMode::All);
    bench.registry.create::<Gauge>(&opts).unwrap().set(4);
    assert_eq!(bench.read(Composite::max("each")), Value(4.0), "mode `all` is composed over processes");
}

#[test]
fn increases_are_since_the_sample_that_is_as_old_as_the_window() {
    let bench = Bench::new();
    let counters = bench.registry.family::<Counter>(&Opts::new("c_total", ""), &["m"]).unwrap();
    let a = counters.with(&["a"]);
    a.inc_by(1000);
    let composites = [Composite::rate("c_total"), Composite::sum("c_total"), Composite::max("c_total")];
    let mut live = composites.map(|composite| bench.live(composite.window(minute())));
    let mut read = || live.each_mut().map(LiveComposite::read);
    assert_eq!(read(), [Unknown; 3], "one sample says nothing");
    assert_eq!(read(), [Unknown; 3], "nor does another one of the same moment");
    bench.pass(10);
    assert_eq!(read(), [Value(0.0); 3]);
    a.inc_by(40);
    counters.with(&["b"]).inc_by(10); // new: all of it is an increase
    bench.pass(10);
    assert_eq!(read(), [Value(2.5), Value(50.0), Value(40.0)], "of 20 s");
    bench.pass(50); // the first sample is 70 s old, the second 60 s: that one counts
    assert_eq!(read(), [Value(50.0 / 60.0), Value(50.0), Value(40.0)]);
    bench.pass(50); // the third is 100 s old, the fourth 50 s
    assert_eq!(read(), [Value(0.0); 3], "nothing since the sample of 100 s ago");
}

#[test]
fn observations_in_a_window_are_those_since_its_first_sample() {
    let bench = Bench::new();
    let histogram = bench.registry.histogram("h", "", &[1.0, 2.0]).unwrap();
    histogram.observe(0.5);
    let composites =
        [Composite::quantile("h", 0.5), Composite::avg("h"), Composite::count("h"), Composite::rate("h")];
    let mut live = composites.map(|composite| bench.live(composite.window(minute())));
    let mut read = || live.each_mut().map(LiveComposite::read);
    assert_eq!(read(), [Unknown; 4]);
    bench.pass(20);
    assert_eq!(read(), [Idle, Idle, Value(0.0), Value(0.0)]);
    histogram.observe(1.5);
    histogram.observe(1.75);
    bench.pass(20);
    assert_eq!(read(), [Value(1.5), Value(1.625), Value(2.0), Value(0.05)]);
    bench.pass(100);
    assert_eq!(read()[0], Idle, "nothing since 100 s ago");
}

#[test]
fn gauges_in_a_window_are_what_its_samples_saw() {
    let bench = Bench::new();
    let gauge = bench.registry.gauge("g", "").unwrap();
    let composites =
        [Composite::avg("g"), Composite::min("g"), Composite::max("g"), Composite::quantile("g", 0.5)];
    let mut live = composites.map(|composite| bench.live(composite.window(minute())));
    let mut set = |value| {
        gauge.set(value);
        live.iter_mut().for_each(LiveComposite::sample);
        bench.pass(20);
        live.each_mut().map(LiveComposite::read)
    };
    assert_eq!(set(6), [Value(6.0); 4]);
    assert_eq!(set(0), [Value(3.0), Value(0.0), Value(6.0), Value(3.0)]);
    bench.pass(60);
    // Of the samples so far the last was read 60 s ago.
    assert_eq!(set(5)[1..3], [Value(5.0), Value(5.0)]);
}

#[test]
fn what_cannot_be_composed_is_refused_in_words_that_help() {
    let bench = Bench::new();
    let family = bench.registry.family::<Counter>(&Opts::new("c_total", ""), &["model", "code"]).unwrap();
    let _ = family.with(&["a", "b"]);
    bench.registry.gauge("g", "").unwrap();
    bench.registry.histogram("h", "", &[1.0]).unwrap();
    bench.registry.info("i_info", "", &[]).unwrap();
    for (composite, expected) in [
        (Composite::quantile("c_total", 0.5), "option quantile: found counter, expected gauge or histogram"),
        (Composite::quantile("g", 1.5), "option quantile: found 1.5, expected 0 to 1"),
        (Composite::quantile("g", f64::NAN), "option quantile: found NaN, expected 0 to 1"),
        (Composite::quantile("g", -0.1), "option quantile: found -0.1, expected 0 to 1"),
        (Composite::avg("g").window(Duration::ZERO), "option window: found 0 s, expected more than 0 s"),
        (Composite::rate("c_total"), "option window: found none, expected one: a rate is of a window"),
        (
            Composite::rate("g").window(minute()),
            "option rate: found gauge, expected counter or summary or histogram",
        ),
        (Composite::max("h"), "option max: found histogram, expected counter or gauge"),
        (
            Composite::sum("i_info"),
            "option sum: found info, expected counter or gauge or summary or histogram",
        ),
        (
            Composite::sum("g").window(minute()),
            "option sum: found gauge, expected counter or summary or histogram",
        ),
        (Composite::avg("h").over_processes(), "option over_processes: found histogram, expected gauge"),
        (
            Composite::avg("c_total").matching("modle", "a"),
            "option label: found modle, expected code or model",
        ),
        (
            Composite::avg("g").having("model"),
            "option label: found model, expected none: its series have no labels",
        ),
    ] {
        let refusal = bench.refusal(composite.clone());
        let expected = format!("metric {:?}: {expected}", composite.family());
        assert_eq!(refusal, expected);
    }
    assert!(bench.refusal(Composite::avg("")).starts_with("metric name"));
    assert!(bench.refusal(Composite::avg("x").having("a-b")).starts_with("label name"));
    assert_eq!(bench.read(Composite::avg("c_total").matching("model", "none")), Unknown);
    assert_eq!(bench.read(Composite::avg("c_total").not_matching("zone", "x")), Value(0.0));
}

#[test]
fn what_comes_later_and_cannot_be_composed_is_unknown_and_says_why() {
    let bench = Bench::new();
    let mut live = bench.registry.composite(&Composite::quantile("c_total", 0.5)).unwrap();
    assert_eq!(live.read(), Unknown);
    assert!(live.trouble().is_none());
    bench.registry.counter("c_total", "").unwrap();
    assert_eq!(live.read(), Unknown);
    let trouble = live.trouble().unwrap().to_string();
    assert!(trouble.ends_with("found counter, expected gauge or histogram"), "{trouble}");
}

#[test]
fn a_segment_made_anew_may_have_another_family_of_the_name() {
    let bench = Bench::new();
    bench.registry.gauge("x", "").unwrap().set(7);
    let mut now = bench.live(Composite::quantile("x", 0.5));
    let mut lately = bench.live(Composite::sum("c_total").window(minute()));
    let opts = Opts::new("c_total", "");
    bench.registry.create::<Counter>(&opts).unwrap().inc();
    assert_eq!([&mut now, &mut lately].map(LiveComposite::read), [Value(7.0), Unknown]);
    std::fs::remove_file(bench.registry.path()).unwrap();
    let other = Registry::builder().path(bench.registry.path()).max_bytes(4 << 20).open().unwrap();
    other.counter("x", "").unwrap().inc();
    other.tally("c_total", "").unwrap().observe(2.0);
    bench.pass(1);
    assert_eq!(now.read(), Unknown);
    let trouble = now.trouble().unwrap().to_string();
    assert!(trouble.ends_with("found counter, expected gauge or histogram"), "{trouble}");
    assert_eq!(lately.read(), Unknown, "of a new family one sample says nothing");
    bench.pass(1);
    assert_eq!(lately.read(), Value(0.0));
}

#[test]
fn a_series_that_is_removed_leaves_and_one_that_comes_back_begins_at_0() {
    let bench = Bench::new();
    let family = bench.registry.family::<Counter>(&Opts::new("c_total", ""), &["m"]).unwrap();
    for (m, number) in [("a", 10), ("b", 4)] {
        family.with(&[m]).inc_by(number);
    }
    let mut live = [Composite::sum("c_total"), Composite::count("c_total")].map(|c| bench.live(c));
    let mut lately = [Composite::sum("c_total"), Composite::max("c_total")]
        .map(|composite| bench.live(composite.window(minute())));
    let mut read = || (live.each_mut().map(LiveComposite::read), lately.each_mut().map(LiveComposite::read));
    assert_eq!(read(), ([Value(14.0), Value(2.0)], [Unknown; 2]));
    bench.pass(1);
    assert!(family.remove(&["a"]).unwrap());
    assert_eq!(read(), ([Value(4.0), Value(1.0)], [Value(0.0); 2]));
    bench.pass(1);
    family.with(&["a"]).inc_by(12); // more than it had before: not the old one that has grown by 2
    assert_eq!(read(), ([Value(16.0), Value(2.0)], [Value(12.0); 2]));
}

#[test]
fn a_child_composes_what_it_could_have_registered() {
    let bench = Bench::new();
    let child = |zone| bench.registry.child("app_", &[("zone", zone)]).unwrap();
    for (zone, value) in [("a", 1), ("b", 2)] {
        child(zone).counter("c_total", "").unwrap().inc_by(value);
    }
    assert_eq!(child("b").composite(&Composite::sum("c_total")).unwrap().read(), Value(2.0));
    assert_eq!(bench.read(Composite::sum("app_c_total")), Value(3.0));
    let error = child("b").composite(&Composite::sum("c_total").matching("zone", "a")).unwrap_err();
    assert!(matches!(error, Error::AutomaticLabel { .. }), "{error}");
}

#[test]
fn back_ends_give_what_this_process_counts_or_say_that_they_cannot() {
    let fake = crate::testing::Fake::new();
    let registry = fake.registry();
    let mut sum = registry.composite(&Composite::sum("c_total").matching("m", "a")).unwrap();
    assert_eq!(sum.read(), Unknown);
    let family = registry.family::<Counter>(&Opts::new("c_total", ""), &["m"]).unwrap();
    family.with(&["a"]).inc_by(3);
    family.with(&["b"]).inc();
    assert_eq!(sum.read(), Value(3.0));
    let gauge = registry.float_gauge("g", "").unwrap();
    gauge.set(2.5);
    assert_eq!(registry.composite(&Composite::avg("g").over_processes()).unwrap().read(), Value(2.5));
    registry.histogram("h", "", &[1.0, 2.0]).unwrap().observe(1.5);
    assert_eq!(registry.composite(&Composite::quantile("h", 0.5)).unwrap().read(), Value(1.5));

    let null = Registry::null();
    let mut later = null.composite(&Composite::sum("c_total")).unwrap();
    null.counter("c_total", "").unwrap().inc();
    assert_eq!(later.read(), Unknown);
    assert!(matches!(later.trouble(), Some(Error::Unsupported { .. })));
    assert!(matches!(null.composite(&Composite::sum("c_total")), Err(Error::Unsupported { .. })));
}

#[test]
fn nobody_has_the_segment_open() {
    let bench = Bench::new();
    let opened = bench.registry.counter("c_total", "").unwrap();
    opened.inc_by(2);
    // As a copy that no process has open.
    let copy = bench.registry.path().with_file_name("copy");
    std::fs::copy(bench.registry.path(), &copy).unwrap();
    let mut other = Composite::sum("c_total").open_at(&copy).unwrap();
    assert_eq!(other.read(), Reading::Dead);
    assert_eq!(bench.read(Composite::sum("c_total")), Value(2.0));
}

#[test]
fn names_and_numbers_of_other_languages_are_checked() {
    let parts = Composite::from_parts;
    assert_eq!(parts("quantile", "x", Some(0.5), None).unwrap(), Composite::quantile("x", 0.5));
    assert_eq!(
        parts("rate", "x", None, Some(1.5)).unwrap(),
        Composite::rate("x").window(Duration::from_millis(1500))
    );
    for (operation, q, window, expected) in [
        (
            "mean",
            None,
            None,
            "option operation: found \"mean\", expected avg, min, max, sum, count, rate or quantile",
        ),
        ("quantile", None, None, "option quantile: found none, expected 0 to 1"),
        ("avg", Some(0.5), None, "option quantile: found 0.5, expected none: avg has no quantile"),
        ("avg", None, Some(-1.0), "option window: found -1 s, expected more than 0 s"),
        ("avg", None, Some(0.0), "option window: found 0 s, expected more than 0 s"),
        ("avg", None, Some(f64::NAN), "option window: found NaN s, expected more than 0 s"),
        ("avg", None, Some(f64::INFINITY), "option window: found inf s, expected more than 0 s"),
    ] {
        let refusal = parts(operation, "x", q, window).unwrap_err().to_string();
        assert_eq!(refusal, format!("metric \"x\": {expected}"));
    }
}

#[test]
fn a_turn_that_never_comes_is_given_up() {
    let bench = Bench::new();
    let shared = SharedComposite::new(bench.live(Composite::avg("x")));
    assert_eq!(shared.with(|live| live.map(LiveComposite::read)), Some(Some(Unknown)));
    shared.with(|_| assert_eq!(shared.with(|_| ()), None));
    shared.close();
    assert!(shared.with(|live| live.is_none()).unwrap());
}
