//! Levels, registries below registries, and metrics behind trait objects.
#![cfg(feature = "render")]

use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::testing::{Fake, Update};
use dyn_metrics::{
    AnyMetric, Counter, DistributedRuntime, DurationCounter, Error, FloatCounter, Gauge, Kind, MetricCounter,
    MetricGauge, MetricHistogram, MetricsRegistry, Opts, Registry, Scheme,
};

#[path = "../examples/http_metrics.rs"]
mod http_metrics;

#[cfg(feature = "derive")]
#[path = "../examples/derived_metrics.rs"]
mod derived_metrics;

fn segment() -> (tempfile::TempDir, Registry) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).open().unwrap();
    (directory, registry)
}

/// The lines of a text that hold values.
fn samples(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn each_level_adds_its_label_and_changes_no_value() {
    let (_directory, root) = segment();
    let runtime = DistributedRuntime::with_registry(&root, Scheme::default()).unwrap();
    let namespace = runtime.namespace("my-model/7b \"x\"\n").unwrap();
    let component = namespace.component("Backend 1").unwrap();
    let endpoint = component.endpoint("generate").unwrap();
    let levels: [&dyn MetricsRegistry; 4] = [&runtime, &namespace, &component, &endpoint];
    for (at, level) in levels.iter().enumerate() {
        level.create_intcounter("seen_total", "", &[]).unwrap().inc_by(at as u64 + 1);
    }
    let (n, c, e) =
        (r#"namespace="my-model/7b \"x\"\n""#, r#"component="Backend 1""#, r#"endpoint="generate""#);
    let line = |labels: &str, value: u32| format!("dynamo_seen_total{labels} {value}");
    let all = [
        line("", 1),
        line(&format!("{{{c},{e},{n}}}"), 4),
        line(&format!("{{{c},{n}}}"), 3),
        line(&format!("{{{n}}}"), 2),
    ];
    assert_eq!(samples(&runtime.prometheus_format_str().unwrap()), all);
    assert_eq!(samples(&namespace.prometheus_metrics_fmt().unwrap()), all[1..]);
    assert_eq!(samples(&component.prometheus_format_str().unwrap()), all[1..3]);
    assert_eq!(samples(&endpoint.prometheus_format_str().unwrap()), all[1..2]);
    assert!(root.render().unwrap().contains("\ndyn_metrics_"), "the root shows everything");
    assert_eq!((component.name(), component.prefix(), runtime.name()), ("Backend 1", "dynamo_", ""));
}

#[test]
fn upstream_s_scheme_has_its_names() {
    let fake = Fake::new();
    let scheme = Scheme::upstream().worker_id("1a2b");
    let runtime = DistributedRuntime::with_registry(&fake.registry(), scheme).unwrap();
    let endpoint =
        runtime.namespace("prod").unwrap().component("backend").unwrap().endpoint("generate").unwrap();
    endpoint.create_gauge("inflight_requests", "", &[("model", "llama")]).unwrap().set(2.0);
    let labels = [
        ("model", "llama"),
        ("worker_id", "1a2b"),
        ("dynamo_namespace", "prod"),
        ("dynamo_component", "backend"),
        ("dynamo_endpoint", "generate"),
    ];
    assert_eq!(fake.total("dynamo_component_inflight_requests", &labels), Some(2.0));
    assert!(endpoint.create_gauge("g", "", &[("namespace", "mine")]).is_ok(), "not automatic in this scheme");
}

#[test]
fn labels_of_levels_are_nobody_else_s_at_any_level() {
    let (_directory, root) = segment();
    let runtime = DistributedRuntime::with_registry(&root, Scheme::default()).unwrap();
    let component = runtime.namespace("a").unwrap().component("").unwrap();
    assert_eq!(component.labels().len(), 1, "an empty name is no label");
    let taken = |error: Error| matches!(error, Error::AutomaticLabel { .. });
    for label in ["namespace", "component", "endpoint"] {
        for level in [&runtime as &dyn MetricsRegistry, &component] {
            assert!(taken(level.create_counter("c_total", "", &[(label, "x")]).unwrap_err()), "{label}");
            assert!(taken(level.create_gauge_vec("g", "", &["a", label]).unwrap_err()), "{label}");
            assert!(taken(level.child("x_", &[(label, "x")]).unwrap_err()), "{label}");
        }
    }
    let error = component.create_counter("c_total", "", &[("namespace", "b")]).unwrap_err().to_string();
    let expected = "metric \"dynamo_c_total\": found label \"namespace\", expected another name: the registry adds it itself";
    assert_eq!(error, expected);
    let scheme = Scheme::default().label("namespace", "x");
    let doubled = DistributedRuntime::with_registry(&root, scheme).unwrap();
    assert!(matches!(doubled.namespace("a"), Err(Error::DuplicateLabel { .. })));
    let odd = DistributedRuntime::with_registry(&root, Scheme::default().prefix("9"));
    assert!(matches!(odd, Err(Error::Name { what: "prefix", .. })));
    assert!(root.create::<Counter>(&Opts::new("c_total", "").label("namespace", "x")).is_ok());
}

#[test]
fn registries_nest_to_any_depth() {
    let fake = Fake::new();
    let mut level = fake.registry();
    for depth in 0..40 {
        level = level.child("a_", &[(&format!("l{depth}"), "1")]).unwrap();
    }
    level.create_intcounter("x_total", "", &[]).unwrap().inc();
    let series = fake.series();
    assert_eq!(series[0].name, format!("{}x_total", "a_".repeat(40)));
    assert_eq!(series[0].labels.len(), 40);
}

#[test]
fn objects_do_what_handles_do() {
    let fake = Fake::new();
    let registry: Arc<dyn MetricsRegistry> = Arc::new(fake.registry());
    let labels = [("a", "1")];
    let counters: [Box<dyn MetricCounter>; 3] = [
        registry.create_counter("f_total", "Help", &labels).unwrap().into(),
        registry.create_intcounter("i_total", "Help", &labels).unwrap().into(),
        registry.create_durationcounter("d_seconds_total", "Help", &labels).unwrap().into(),
    ];
    for counter in counters {
        counter.inc();
        counter.increment();
        counter.inc_by(2.25);
        [-1.0, f64::NAN, f64::INFINITY].iter().for_each(|amount| counter.add(*amount));
        let expected = if counter.name() == "i_total" { 4.0 } else { 4.25 };
        assert_eq!(
            (counter.value(), counter.metric_type(), counter.description()),
            (expected, Kind::Counter, "Help")
        );
        assert_eq!(counter.labels(), [("a".to_owned(), "1".to_owned())]);
        let drops = fake.updates(counter.name()).iter().filter(|u| matches!(u, Update::Dropped(_))).count();
        assert_eq!(drops, 3, "{counter:?}");
    }
    let gauges: [Box<dyn MetricGauge>; 3] = [
        registry.create_gauge("size", "", &labels).unwrap().into(),
        registry.create_intgauge("queued", "", &labels).unwrap().into(),
        registry.create_durationgauge("age_seconds", "", &labels).unwrap().into(),
    ];
    for gauge in gauges {
        gauge.set(5.0);
        gauge.inc(3.0);
        gauge.dec(10.0);
        gauge.inc(f64::NAN);
        gauge.increment();
        gauge.decrement();
        assert_eq!(gauge.value(), -2.0, "{gauge:?}");
    }
    let histograms: [Box<dyn MetricHistogram>; 2] = [
        registry.create_histogram("h", "", &labels, Some(&[1.0])).unwrap().into(),
        registry.create_tally("t", "", &labels).unwrap().into(),
    ];
    for histogram in histograms {
        [0.5, 2.0].iter().for_each(|value| histogram.observe(*value));
        assert_eq!((histogram.count(), histogram.sum()), (2, 2.5));
    }
}

#[test]
fn an_object_shows_its_series_as_the_exposition_does() {
    let (_directory, root) = segment();
    let counter = root.create_intcounter("c_total", "Say \"hi\"", &[("a", "x\"y")]).unwrap();
    counter.inc_by(7);
    let histogram = root.create_histogram("h", "", &[], Some(&[0.5])).unwrap();
    histogram.observe(0.25);
    let states = root.create_stateset("s", "", &[], &["up", "down"]).unwrap();
    states.set("up");
    let info = root.create_info("build_info", "", &[("version", "1")]).unwrap();
    let page = root.render().unwrap();
    let gauge = root.create_durationgauge("age_seconds", "", &[]).unwrap();
    gauge.set(Duration::from_millis(1500));
    for object in [&counter as &dyn AnyMetric, &histogram, &states, &info] {
        assert!(page.contains(&object.output().unwrap()), "{} in {page}", object.output().unwrap());
    }
    assert!(gauge.output().unwrap().ends_with("\nage_seconds 1.5\n"));
    let private = FloatCounter::default();
    assert_eq!((private.name(), private.output().unwrap().as_str()), ("", ""));
    let null = DurationCounter::default();
    assert_eq!((null.description(), AnyMetric::labels(&null)), ("", Vec::new()));
}

#[test]
fn the_proposal_s_example_works_as_it_stands() {
    let (_directory, root) = segment();
    for registry in [root, Fake::new().registry()] {
        let runtime = DistributedRuntime::with_registry(&registry, Scheme::default()).unwrap();
        let text = http_metrics::backend(&runtime).unwrap();
        assert_is_example(&text, 2);
    }
}

#[cfg(feature = "derive")]
#[test]
fn the_proposal_s_example_with_a_derive_counts_into_the_same_series() {
    let (_directory, root) = segment();
    for registry in [root, Fake::new().registry()] {
        let runtime = DistributedRuntime::with_registry(&registry, Scheme::default()).unwrap();
        http_metrics::backend(&runtime).unwrap();
        let text = derived_metrics::backend(&runtime).unwrap();
        assert_is_example(&text, 4);
    }
}

/// The example's page, after so many requests.
fn assert_is_example(text: &str, requests: u32) {
    let labels = r#"component="registry",endpoint="generate",namespace="dynamo",service="registry""#;
    for line in [
        format!("dynamo_service_requests_total{{{labels}}} {requests}\n"),
        format!("dynamo_service_active_requests{{{labels}}} 0\n"),
        format!("dynamo_service_request_duration_seconds_count{{{labels}}} {requests}\n"),
    ] {
        assert!(text.contains(&line), "{line} in {text}");
    }
}

#[test]
fn families_by_either_name_are_the_same() {
    let fake = Fake::new();
    let registry = fake.registry();
    registry.create_counter_vec("c_total", "", &["a"]).unwrap().with_label_values(&["1"]).inc();
    registry.create_countervec("c_total", "", &["a"]).unwrap().with_label_values(&["1"]).inc_by(2.0);
    assert_eq!(fake.total("c_total", &[("a", "1")]), Some(3.0));
    let bounds = Some(&[1.0, 2.0][..]);
    registry.create_histogram_vec("h", "", &["a"], bounds).unwrap().with(&["1"]).observe(1.5);
    registry.create_histogramvec("h", "", &["a"], bounds).unwrap().with(&["1"]).observe(2.5);
    assert_eq!(fake.updates("h").len(), 2);
    let error = registry.create_histogram_vec("h", "", &["a"], None).unwrap_err();
    assert!(error.to_string().contains("found bounds [1.0, 2.0] registered by "), "{error}");
    registry.create_statesetvec("s", "", &["a"], &["up"]).unwrap().with(&["1"]).set("up");
    registry.create_intgaugevec("g", "", &["a"]).unwrap().with(&["1"]).set(1);
    registry.create_durationcountervec("d_seconds_total", "", &["a"]).unwrap();
    let _ = registry.create_infovec("i_info", "", &["a"]).unwrap().with_label_values(&["x"]);
    let gauge: Gauge = registry.create_intgauge("g", "", &[("a", "1")]).unwrap();
    assert_eq!(gauge.value(), 1);
}
