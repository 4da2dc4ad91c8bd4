//! Registries that are no segment, through their back ends.
#![allow(unsafe_code, reason = "updates words as a binding does")]

use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::backend::{Backend, Descriptor, Dropped, Instrument, Number, Selection, Value};
use dyn_metrics::raw::{self, Statistic};
use dyn_metrics::testing::{Call, Fake, Update};
use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Error, FloatCounter, Gauge, Histogram, Kind, OVERFLOW, Opts,
    Registry, Result, StateSet,
};

#[test]
fn every_kind_of_update_reaches_the_instrument_as_it_was_made() {
    let fake = Fake::new();
    let registry = fake.registry();
    registry.counter("c_total", "").unwrap().inc_by(3);
    registry.duration_counter("busy_seconds_total", "").unwrap().inc_by(Duration::from_nanos(5));
    registry.gauge("g", "").unwrap().set(-4);
    registry.duration_gauge("age_seconds", "").unwrap().sub(Duration::from_nanos(7));
    registry.histogram("h", "", &[1.0]).unwrap().observe_n(0.1, 3);
    registry.tally("t", "").unwrap().observe(2.5);
    assert!(registry.state_set("s", "", &["a", "b"]).unwrap().set("b"));
    let calls = fake.calls();
    let updates = calls.iter().filter_map(|call| match call {
        Call::Update { name, update, .. } => Some((name.as_str(), *update)),
        _ => None,
    });
    let updates: Vec<_> = updates.collect();
    let expected = [
        ("c_total", Update::Add(Number::Integer(3))),
        ("busy_seconds_total", Update::Add(Number::Nanoseconds(5))),
        ("g", Update::Set(Number::Integer(-4))),
        ("age_seconds", Update::Add(Number::Nanoseconds(-7))),
        ("h", Update::Observe { value: 0.1, count: 3 }),
        ("t", Update::Observe { value: 2.5, count: 1 }),
        ("s", Update::Switch { on: 0b10, off: 0b01 }),
    ];
    assert_eq!(updates, expected);
}

#[test]
fn handles_read_back_what_the_instrument_has() {
    let registry = Fake::new().registry();
    let counter = registry.counter("c_total", "").unwrap();
    counter.inc_by(u64::MAX - 1);
    counter.inc();
    assert_eq!((counter.value(), counter.is_private()), (u64::MAX, false));
    let float = registry.float_counter("f_total", "").unwrap();
    float.inc_by(0.5);
    assert_eq!(float.value(), 0.5);
    let gauge = registry.float_gauge("g", "").unwrap();
    gauge.sub(1.5);
    assert_eq!(gauge.value(), -1.5);
    let histogram = registry.histogram("h", "", &[1.0, 2.0]).unwrap();
    for value in [0.5, 2.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        histogram.observe(value);
    }
    assert_eq!((histogram.buckets(), histogram.count(), histogram.sum()), (vec![2, 1, 1], 4, 2.5));
    let tally = registry.tally("t", "").unwrap();
    tally.observe(-1.0);
    tally.observe(f64::INFINITY);
    assert_eq!((tally.count(), tally.sum()), (2, -1.0));
    let states = registry.state_set("s", "", &["a", "b"]).unwrap();
    states.enable("b");
    assert!(states.is_on("b") && !states.is_on("a") && !states.enable("c"));
}

#[test]
fn what_does_not_count_is_told_and_changes_nothing() {
    let fake = Fake::new();
    let registry = fake.registry();
    let float = registry.float_counter("f_total", "").unwrap();
    [f64::NAN, f64::INFINITY, -1.0, 0.0, -0.0].iter().for_each(|amount| float.inc_by(*amount));
    let dropped = |reason| Update::Dropped(reason);
    let (nan, negative) = (dropped(Dropped::Nan), dropped(Dropped::Negative));
    assert_eq!(fake.updates("f_total"), [nan, nan, negative, Update::Add(Number::Float(0.0))]);
    registry.float_gauge("g", "").unwrap().add(f64::NAN);
    assert_eq!(fake.updates("g"), [nan]);
    let histogram = registry.histogram("h", "", &[1.0]).unwrap();
    histogram.observe(f64::NAN);
    histogram.observe_n(1.0, 0);
    histogram.observe_n(f64::MAX, 2);
    let infinite = dropped(Dropped::Infinite);
    assert_eq!(fake.updates("h"), [nan, Update::Observe { value: f64::MAX, count: 2 }, infinite]);
}

#[test]
fn registering_twice_is_one_series_whatever_the_numbers() {
    let fake = Fake::new();
    let registry = fake.registry();
    registry.counter("c_total", "").unwrap().inc();
    registry.clone().float_counter("c_total", "other help").unwrap().inc_by(0.5);
    let family = registry.family::<Counter>(&Opts::new("c_total", ""), &["a"]).unwrap();
    family.with(&["1"]).inc();
    family.with(&["1"]).inc();
    registry.create::<Counter>(&Opts::new("c_total", "").label("a", "1")).unwrap().inc();
    assert_eq!(fake.series().len(), 2);
    assert_eq!(fake.total("c_total", &[]), Some(1.5));
    assert_eq!(fake.total("c_total", &[("a", "1")]), Some(3.0));
    assert!(family.get(&["1"]).is_some() && family.get(&["2"]).is_none());
    assert_eq!(fake.series().len(), 2, "looking makes none");
}

#[test]
fn a_refusal_leaves_nothing_and_a_family_counts_privately() {
    let fake = Fake::new();
    let registry = fake.registry();
    let family = registry.family::<Counter>(&Opts::new("c_total", ""), &["a"]).unwrap();
    fake.refuse("c_total", "enough");
    let error = family.try_with(&["1"]).unwrap_err().to_string();
    assert_eq!(error, "registry fake: metric \"c_total\": enough");
    let private = family.with(&["1"]);
    private.inc();
    assert_eq!((private.value(), private.is_private()), (1, true));
    assert!(matches!(fake.calls().last(), Some(Call::Refused(of)) if of.labels.len() == 1));
    fake.accept("c_total");
    family.with(&["1"]).inc();
    assert_eq!(fake.total("c_total", &[("a", "1")]), Some(1.0));
    fake.refuse("h", "no family either");
    assert!(matches!(registry.histogram("h", "", &[1.0]), Err(Error::Backend { .. })));
    assert!(registry.histogram("h", "", &[1.0]).unwrap_or_default().count() == 0);
}

#[test]
fn beyond_its_limit_a_family_has_one_series() {
    let fake = Fake::new();
    let registry = fake.registry().child("", &[("zone", "z")]).unwrap();
    let family = registry.family::<Counter>(&Opts::new("c_total", "").max_series(2), &["a"]).unwrap();
    for value in ["1", "2", "3", "4", "1", "4"] {
        family.with(&[value]).inc();
    }
    assert_eq!(fake.total("c_total", &[("a", "1"), ("zone", "z")]), Some(2.0));
    assert_eq!(fake.total("c_total", &[("zone", OVERFLOW), ("a", OVERFLOW)]), Some(3.0));
    assert_eq!(fake.series().len(), 3);
}

/// A binding that updates words itself: see `raw`.
#[test]
fn words_are_put_together_to_observations() {
    let fake = Fake::new();
    let registry = fake.registry();
    let histogram = registry.histogram("h", "", &[1.0]).unwrap();
    let tally = registry.tally("t", "").unwrap();
    let counter = registry.duration_counter("c_seconds_total", "").unwrap();
    let [h, t, c] = [raw::cells(&histogram), raw::cells(&tally), raw::cells(&counter)].map(Option::unwrap);
    assert!([h, t, c].iter().all(|cells| cells.packed == 0 && cells.shared.is_null()));
    let add = |cells: raw::RawCells, word, n| {
        // SAFETY: from cells().
        unsafe { raw::add_u64_cold(cells.cold, word, n) };
    };
    let sum = |cells: raw::RawCells, word, x| {
        // SAFETY: from cells().
        unsafe { raw::add_f64_cold(cells.cold, word, x) };
    };
    add(c, 0, 9);
    add(h, 0, 2);
    sum(h, 2, 1.0);
    add(t, 0, 1);
    sum(t, 1, -3.0);
    add(h, 1, 1); // infinite: without a sum
    // SAFETY: from cells().
    unsafe { raw::count_cold(h.cold, Statistic::InfiniteObservations) };
    add(h, 7, 1);
    sum(h, 7, 1.0);
    assert_eq!(counter.value(), Duration::from_nanos(9));
    assert_eq!((histogram.buckets(), histogram.sum()), (vec![2, 1], 1.0));
    assert_eq!((tally.count(), tally.sum()), (1, -3.0));
    let seen = fake.updates("h");
    assert_eq!(seen[0], Update::Observe { value: 0.5, count: 2 });
    assert_eq!(
        seen[1..],
        [Update::Observe { value: f64::INFINITY, count: 1 }, Update::Dropped(Dropped::Infinite)]
    );
    let description = raw::describe(&histogram).unwrap();
    assert_eq!((description.name, description.kind), ("h", Kind::Histogram));
    assert!(raw::attachment(&counter, raw::Representation::Nanoseconds).is_some());
}

#[test]
fn nothing_is_counted_in_the_null_registry() {
    let registry = Registry::null();
    let counter = registry.counter("c_total", "").unwrap();
    counter.inc();
    let histogram = registry.histogram("h", "", &[1.0]).unwrap();
    [0.5, f64::INFINITY, f64::NAN].iter().for_each(|value| histogram.observe(*value));
    let gauge = registry.gauge("g", "").unwrap();
    gauge.set(5);
    gauge.inc();
    assert_eq!((counter.value(), histogram.count(), gauge.value()), (0, 0, 0));
    let states = registry.state_set("s", "", &["a"]).unwrap();
    assert!(states.set("a") && !states.set("b") && !states.is_on("a"));
    let cells = raw::cells(&counter).unwrap();
    // SAFETY: from cells().
    unsafe { raw::add_u64_cold(cells.cold, 0, 1) };
    assert_eq!((registry.render().unwrap(), registry.kind()), (String::new(), "null"));
    assert!(matches!(registry.gauge("c_total", ""), Err(Error::Conflict { what: "type", .. })));
}

/// Implements the least that is possible, and panics once.
#[derive(Debug, Default)]
struct Rude(std::sync::Mutex<bool>);

#[derive(Debug)]
struct Silent;

impl Instrument for Silent {}

impl Backend for Rude {
    fn name(&self) -> &str {
        "rude\nand long"
    }

    fn series(&self, series: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
        let mut panicked = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert!(std::mem::replace(&mut *panicked, true), "at the first series");
        match series.kind {
            Kind::Gauge => Err(Error::backend(self.name(), &series.name, "no\ngauges")),
            _ => Ok(Some(Arc::new(Silent))),
        }
    }

    fn render(&self, _: &Selection) -> Result<String> {
        Err(Error::Unsupported { registry: "rude".to_owned(), what: "render" })
    }
}

#[test]
fn a_rude_back_end_harms_only_who_asks() {
    let registry = Registry::with_backend(Arc::new(Rude::default()));
    let ask = || registry.counter("c_total", "");
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(ask)).is_err());
    let counter = ask().unwrap();
    counter.inc();
    assert_eq!(counter.value(), 0);
    let histogram: Histogram = registry.histogram("h", "", &[1.0]).unwrap();
    histogram.observe(1.0);
    assert_eq!((histogram.count(), histogram.buckets()), (0, vec![0, 0]));
    let error = registry.gauge("g", "").unwrap_err().to_string();
    assert_eq!(error, "registry rude\\nand long: metric \"g\": no\\ngauges");
    assert_eq!(registry.render().unwrap_err().to_string(), "registry rude: found no way to render");
}

#[test]
fn numbers_of_any_representation_are_one_value() {
    let fake = Fake::new();
    let registry = fake.registry();
    let opts = Opts::new("x_seconds_total", "");
    registry.create::<DurationCounter>(&opts).unwrap().inc_by(Duration::from_millis(1500));
    let seconds = registry.create::<FloatCounter>(&opts).unwrap();
    seconds.inc_by(0.5);
    assert_eq!(seconds.value(), 2.0);
    let gauge = registry.create::<Gauge>(&Opts::new("g_seconds", "")).unwrap();
    gauge.set(3);
    registry.create::<DurationGauge>(&Opts::new("g_seconds", "")).unwrap().add(Duration::from_millis(600));
    assert_eq!(gauge.value(), 4, "kept as whole numbers, as the first handle said");
    registry.create::<StateSet>(&Opts::new("s", "").states(&["a"])).unwrap().enable("a");
    assert_eq!(fake.value("s", &[]), Some(Value::States(1)));
}

#[test]
fn a_back_end_that_calls_itself_as_segments_do_is_none() {
    #[derive(Debug)]
    struct Misnamed;
    impl Backend for Misnamed {
        fn name(&self) -> &str {
            "shm"
        }

        fn series(&self, _: &Descriptor) -> Result<Option<Arc<dyn Instrument>>> {
            Ok(None)
        }

        fn render(&self, _: &Selection) -> Result<String> {
            Ok(String::new())
        }
    }
    let registry = Registry::with_backend(Arc::new(Misnamed));
    assert_eq!((registry.kind(), registry.is_segment()), ("shm", false));
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    assert!(Registry::open_at(directory.path().join("segment")).unwrap().is_segment());
}
