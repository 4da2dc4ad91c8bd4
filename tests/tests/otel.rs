//! What arrives at a receiver of OTLP/HTTP: every kind, as it was counted, and as others read it.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::backend::{OpenTelemetry, OpenTelemetryBuilder};
use dyn_metrics::{Gauge, GaugeMode, MetricsRegistry, Opts, Registry};
use dyn_metrics_tests::otlp::{Export, Receiver, attributes};
use dyn_metrics_tests::servers::wait_for;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, HistogramDataPoint, Metric, NumberDataPoint,
};
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};

/// Time that no test needs.
const LONG: Duration = Duration::from_secs(60);
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

fn registry(builder: OpenTelemetryBuilder) -> (Arc<OpenTelemetry>, Registry) {
    let backend = Arc::new(builder.build().unwrap());
    (Arc::clone(&backend), Registry::with_backend(backend))
}

fn number(point: &NumberDataPoint) -> String {
    match point.value.unwrap() {
        Value::AsInt(n) => format!("{n}"),
        Value::AsDouble(x) => format!("{x:?}"),
    }
}

/// A number, and its attributes.
type Point = (String, Vec<(String, String)>);

/// A metric of numbers: its kind, and its points sorted.
fn numbers(metric: &Metric) -> (String, Vec<Point>) {
    let (kind, points) = match metric.data.as_ref().unwrap() {
        Data::Gauge(gauge) => ("gauge".to_owned(), &gauge.data_points),
        Data::Sum(sum) => {
            let temporality = AggregationTemporality::try_from(sum.aggregation_temporality).unwrap();
            let monotonic = if sum.is_monotonic { "counter" } else { "up-down" };
            (format!("{monotonic} {}", temporality.as_str_name()), &sum.data_points)
        }
        other => panic!("{other:?}"),
    };
    let mut points: Vec<_> =
        points.iter().map(|point| (number(point), attributes(&point.attributes))).collect();
    points.sort();
    (kind, points)
}

fn histogram(metric: &Metric) -> (i32, Vec<HistogramDataPoint>) {
    let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
    (histogram.aggregation_temporality, histogram.data_points.clone())
}

fn pairs(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Counts with every kind.
fn count(registry: &Registry) {
    let odd = "meta/Llama-3 \"8B\"\n\\ ü";
    registry.create_intcounter("tokens_total", "Tokens", &[("model", odd)]).unwrap().inc_by(1 << 60);
    let requests = registry.create_counter_vec("requests_total", "Requests", &["a", "b"]).unwrap();
    requests.with(&["1", "2"]).inc_by(2.5);
    requests.with(&["2", "1"]).inc();
    let busy = registry.create_durationcounter("busy_seconds_total", "Busy", &[]).unwrap();
    busy.inc_by(Duration::from_millis(1250));
    let queued = registry.create_intgauge("queued", "Queue", &[]).unwrap();
    queued.set(7);
    queued.sub(10);
    let load = registry.create_gauge("load_ratio", "Load", &[]).unwrap();
    load.inc();
    load.sub(0.25);
    let age = registry.create_durationgauge("age_seconds", "Age", &[]).unwrap();
    age.set(Duration::from_millis(500));
    let newest = Opts::new("newest", "Newest").mode(GaugeMode::MostRecent);
    registry.create::<Gauge>(&newest).unwrap().set(-5);
    registry.create::<Gauge>(&Opts::new("unset", "").mode(GaugeMode::Max)).unwrap();
    registry.create_info("build_info", "What runs", &[("version", "1.2")]).unwrap();
    let state = registry.create_stateset("state", "State", &[("x", "y")], &["starting", "ready"]).unwrap();
    state.set("ready");
    let latency =
        registry.create_histogram("latency_seconds", "Latency", &[("op", "read")], Some(&[0.1, 1.0]));
    let latency = latency.unwrap();
    [0.05, 0.1, 0.5, 5.0].iter().for_each(|value| latency.observe(*value));
    latency.observe_n(2.0, 3);
    registry.create_histogram("unused_seconds", "", &[("op", "none")], None).unwrap();
    let sizes = registry.create_tally("sent_bytes", "Sizes", &[]).unwrap();
    [1.5, 2.5].iter().for_each(|size| sizes.observe(*size));
}

#[test]
fn every_kind_arrives_as_it_was_counted() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder());
    count(&registry);
    registry.flush(LONG).unwrap();
    let export = receiver.last();
    let expect = |name: &str, kind: &str, unit: &str, help: &str, points: &[(&str, &[(&str, &str)])]| {
        let metric = export.metric(name);
        let points = points.iter().map(|(value, labels)| ((*value).to_owned(), pairs(labels))).collect();
        assert_eq!(numbers(&metric), (kind.to_owned(), points), "{name}");
        assert_eq!((metric.unit.as_str(), metric.description.as_str()), (unit, help), "{name}");
    };
    let counter = "counter AGGREGATION_TEMPORALITY_CUMULATIVE";
    let up_down = "up-down AGGREGATION_TEMPORALITY_CUMULATIVE";
    let odd = "meta/Llama-3 \"8B\"\n\\ ü";
    expect("tokens_total", counter, "", "Tokens", &[("1152921504606846976", &[("model", odd)])]);
    let requests: [(&str, &[_]); 2] =
        [("1.0", &[("a", "2"), ("b", "1")]), ("2.5", &[("a", "1"), ("b", "2")])];
    expect("requests_total", counter, "", "Requests", &requests);
    expect("busy_seconds_total", counter, "s", "Busy", &[("1.25", &[])]);
    expect("queued", up_down, "", "Queue", &[("-3", &[])]);
    expect("load_ratio", up_down, "1", "Load", &[("0.75", &[])]);
    expect("age_seconds", up_down, "s", "Age", &[("0.5", &[])]);
    expect("newest", "gauge", "", "Newest", &[("-5", &[])]);
    assert_eq!((export.metrics("unset"), export.metrics("unused_seconds")), (Vec::new(), Vec::new()));
    expect("build_info", "gauge", "", "What runs", &[("1", &[("version", "1.2")])]);
    let states: [(&str, &[_]); 2] =
        [("0", &[("state", "starting"), ("x", "y")]), ("1", &[("state", "ready"), ("x", "y")])];
    expect("state", "gauge", "", "State", &states);

    let (temporality, points) = histogram(&export.metric("latency_seconds"));
    let [point] = &points[..] else { panic!("{points:?}") };
    assert_eq!((temporality, attributes(&point.attributes)), (CUMULATIVE, pairs(&[("op", "read")])));
    assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.1, 1.0][..], &[2, 1, 4][..]));
    assert_eq!((point.count, point.sum, point.min, point.max), (7, Some(11.65), Some(0.05), Some(5.0)));
    let (temporality, points) = histogram(&export.metric("sent_bytes"));
    let [point] = &points[..] else { panic!("{points:?}") };
    assert_eq!((temporality, point.count, point.sum), (CUMULATIVE, 2, Some(4.0)));
    assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[][..], &[][..]));
    assert_eq!(export.metric("sent_bytes").unit, "By");
    assert_eq!((backend.exports().succeeded, backend.exports().failed), (1, 0));
}

#[test]
fn resource_scope_and_headers_arrive() {
    let receiver = Receiver::start();
    let builder = receiver.builder().service_name("llm").attribute("zone", "1").header("x-key", "secret");
    let (_backend, registry) = registry(builder);
    registry.create_intcounter("c_total", "", &[]).unwrap().inc();
    registry.flush(LONG).unwrap();
    let export = receiver.last();
    let resource = export.resource();
    for pair in pairs(&[("service.name", "llm"), ("zone", "1"), ("telemetry.sdk.language", "rust")]) {
        assert!(resource.contains(&pair), "{resource:?}");
    }
    assert!(
        resource.iter().any(|(name, id)| name == "service.instance.id" && id.len() == 36),
        "{resource:?}"
    );
    let scope = export.message.resource_metrics[0].scope_metrics[0].scope.clone().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str()), ("dyn-metrics", env!("CARGO_PKG_VERSION")));
    let header = |name: &str| export.headers.get(name).map(String::as_str);
    assert_eq!((export.path.as_str(), header("x-key")), ("/v1/metrics", Some("secret")));
    assert_eq!(header("content-type"), Some("application/x-protobuf"));
    assert!(header("host").is_some_and(|host| receiver.base().ends_with(host)));
}

#[test]
fn deltas_are_what_was_added_since() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder().temporality(Temporality::Delta));
    let counter = registry.create_intcounter("c_total", "", &[]).unwrap();
    let gauge = registry.create_intgauge("g", "", &[]).unwrap();
    let latency = registry.create_histogram("h", "", &[], Some(&[1.0])).unwrap();
    for (added, observed) in [(3, 2), (4, 1)] {
        counter.inc_by(added);
        gauge.add(10);
        latency.observe_n(0.5, observed);
        registry.flush(LONG).unwrap();
        let export = receiver.last();
        let expected =
            ("counter AGGREGATION_TEMPORALITY_DELTA".to_owned(), vec![(added.to_string(), Vec::new())]);
        assert_eq!(numbers(&export.metric("c_total")), expected);
        let (temporality, points) = histogram(&export.metric("h"));
        assert_eq!((temporality, points[0].count), (AggregationTemporality::Delta as i32, observed));
    }
    let (kind, points) = numbers(&receiver.last().metric("g"));
    assert_eq!((kind.as_str(), points[0].0.as_str()), ("up-down AGGREGATION_TEMPORALITY_CUMULATIVE", "20"));
}

#[test]
fn a_counter_of_whole_numbers_that_gets_fractions_is_exported_with_them() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder());
    registry.create_intcounter("c_total", "", &[]).unwrap().inc_by(4);
    registry.flush(LONG).unwrap();
    assert_eq!(numbers(&receiver.last().metric("c_total")).1[0].0, "4");
    registry.create_counter("c_total", "", &[]).unwrap().inc_by(0.75);
    wait_for("the fraction", || {
        registry.flush(LONG).unwrap();
        let (_, points) = numbers(&receiver.last().metric("c_total"));
        assert!(points[0].0 == "4" || points[0].0 == "4.75", "{points:?}");
        (points[0].0 == "4.75").then_some(())
    });
    registry.flush(LONG).unwrap();
    assert_eq!(numbers(&receiver.last().metric("c_total")).1.len(), 1);
}

#[test]
fn counters_beyond_what_a_signed_number_holds_are_exported_as_doubles() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder());
    let counter = registry.create_intcounter("c_total", "", &[]).unwrap();
    counter.inc_by(i64::MAX as u64);
    registry.flush(LONG).unwrap();
    assert_eq!(numbers(&receiver.last().metric("c_total")).1[0].0, i64::MAX.to_string());
    counter.inc_by(1 << 62);
    wait_for("the double", || {
        registry.flush(LONG).unwrap();
        let (kind, points) = numbers(&receiver.last().metric("c_total"));
        assert_eq!((kind.as_str(), points.len()), ("counter AGGREGATION_TEMPORALITY_CUMULATIVE", 1));
        assert!(points[0].0 == i64::MAX.to_string() || points[0].0 == "1.3835058055282164e19", "{points:?}");
        points[0].0.contains('.').then_some(())
    });
}

/// The points of a metric in the next export, by their labels; none where it isn't exported.
fn next(receiver: &Receiver, registry: &Registry, name: &str) -> Vec<Point> {
    registry.flush(LONG).unwrap();
    let mut points: Vec<Point> =
        receiver.last().metrics(name).iter().flat_map(|metric| numbers(metric).1).collect();
    points.sort_by(|a, b| a.1.cmp(&b.1));
    points
}

#[test]
fn what_is_removed_is_exported_no_more_and_begins_anew_after_an_export_without_it() {
    for temporality in [Temporality::Cumulative, Temporality::Delta] {
        let receiver = Receiver::start();
        let (_backend, registry) = registry(receiver.builder().temporality(temporality));
        let jobs = registry.create_intcounter_vec("c_total", "", &["n"]).unwrap();
        let one = |value: &str, n: &str| (value.to_owned(), pairs(&[("n", n)]));
        jobs.with(&["1"]).inc_by(100);
        jobs.with(&["2"]).inc_by(7);
        assert_eq!(next(&receiver, &registry, "c_total"), [one("100", "1"), one("7", "2")]);
        let held = jobs.with(&["1"]).clone();
        assert!(jobs.remove(&["1"]).unwrap() && !jobs.remove(&["1"]).unwrap());
        jobs.with(&["1"]).inc_by(3);
        held.inc_by(50);
        let still = if temporality == Temporality::Delta { "0" } else { "7" };
        assert_eq!(next(&receiver, &registry, "c_total"), [one(still, "2")], "{temporality:?}");
        assert_eq!(
            next(&receiver, &registry, "c_total"),
            [one("3", "1"), one(still, "2")],
            "{temporality:?}"
        );
    }
}

#[test]
fn series_of_every_kind_but_histograms_and_tallies_can_be_removed() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder());
    registry.create_counter("always_total", "", &[]).unwrap();
    registry.create_intgauge("sum", "", &[]).unwrap().set(4);
    let newest = Opts::new("newest", "").mode(GaugeMode::MostRecent);
    registry.create::<Gauge>(&newest).unwrap().set(5);
    registry.create_info("info", "", &[]).unwrap();
    registry.create_stateset("states", "", &[], &["on"]).unwrap().set("on");
    for name in ["sum", "newest", "info", "states"] {
        assert_eq!(next(&receiver, &registry, name).len(), 1, "{name}");
        assert!(registry.remove(name, &[]).unwrap(), "{name}");
        assert!(next(&receiver, &registry, name).is_empty(), "{name}");
    }
    let refused = "registry otel: found no way to remove a series: the SDK goes on exporting it";
    registry.create_histogram("h", "", &[], Some(&[1.0])).unwrap().observe(0.5);
    registry.create_tally("t", "", &[]).unwrap().observe(0.5);
    for name in ["h", "t"] {
        assert_eq!(registry.remove(name, &[]).unwrap_err().to_string(), refused);
    }
    assert!(registry.render().unwrap().contains("h_count 1"));
    // Of a provider of others' it isn't known how many readers it has.
    let theirs = OpenTelemetry::with_meter_provider(SdkMeterProvider::default()).unwrap();
    let theirs = Registry::with_backend(Arc::new(theirs));
    theirs.create_counter("c_total", "", &[]).unwrap();
    assert_eq!(theirs.remove("c_total", &[]).unwrap_err().to_string(), refused);
}

#[test]
fn a_family_has_as_many_series_as_its_limit_says_and_not_the_sdk_s() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder());
    let family = registry.create_intcounter_vec("c_total", "", &["n"]).unwrap();
    let histograms = registry.create_histogram_vec("h", "", &["n"], Some(&[1.0])).unwrap();
    for n in 0..3000 {
        family.with(&[&n.to_string()]).inc();
        histograms.with(&[&n.to_string()]).observe(0.5);
    }
    registry.flush(LONG).unwrap();
    let export = receiver.last();
    let (_, points) = numbers(&export.metric("c_total"));
    assert_eq!(points.len(), 3000);
    assert!(points.iter().all(|(value, labels)| value == "1" && labels[0].0 == "n"));
    assert_eq!(histogram(&export.metric("h")).1.len(), 3000);
}

#[test]
fn what_the_sdk_cannot_take_is_counted_and_shown_all_the_same() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder());
    let latency = registry.create_histogram("h", "", &[], Some(&[1.0])).unwrap();
    latency.observe(f64::INFINITY);
    latency.observe_n(0.5, 25_000);
    registry.flush(LONG).unwrap();
    let (_, points) = histogram(&receiver.last().metric("h"));
    assert_eq!((points[0].count, points[0].sum), (10_000, Some(5000.0)));
    assert_eq!((backend.exports().left_out, latency.count()), (15_001, 25_001));
    assert!(registry.render().unwrap().contains("h_count 25001\n"));
}

#[test]
fn a_gauge_that_is_no_finite_number_is_missing() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder());
    registry.create_counter("always_total", "", &[]).unwrap();
    let sum = registry.create_gauge("sum", "", &[]).unwrap();
    let largest = Opts::new("largest", "").mode(GaugeMode::Max);
    let largest = registry.create::<dyn_metrics::FloatGauge>(&largest).unwrap();
    for value in [2.5, f64::INFINITY, f64::NAN] {
        sum.set(value);
        largest.set(value);
        let points = usize::from(value.is_finite());
        let found = ["sum", "largest"].map(|name| next(&receiver, &registry, name).len());
        assert_eq!(found, [points; 2], "{value}");
    }
}

#[test]
fn names_that_opentelemetry_has_not_are_refused() {
    let (_backend, registry) = registry(Receiver::bound().builder());
    let long = "x".repeat(256);
    for name in ["_c_total", "a:b", &long] {
        let error = registry.create_intcounter(name, "", &[]).unwrap_err().to_string();
        assert!(error.starts_with("registry otel: metric ") && error.contains("OpenTelemetry"), "{error}");
    }
    registry.create_intcounter("c_total", "", &[]).unwrap();
    let error = registry.create_intcounter("C_total", "", &[]).unwrap_err().to_string();
    assert!(error.contains("found \"c_total\", a counter, registered"), "{error}");
    let unit = Opts::new(&format!("c_{}", "u".repeat(62)), "").unit(&"u".repeat(62));
    assert!(registry.create::<Gauge>(&unit).unwrap_err().to_string().contains("61 bytes"));
}

#[test]
fn two_registries_of_one_back_end_share_their_series() {
    let receiver = Receiver::start();
    let (backend, one) = registry(receiver.builder());
    let other = Registry::with_backend(backend);
    for registry in [&one, &other] {
        registry.create_intcounter("c_total", "", &[("a", "b")]).unwrap().inc();
        registry.create_histogram("h", "", &[], None).unwrap().observe(1.0);
    }
    assert!(other.create_gauge("c_total", "", &[]).is_err());
    one.flush(LONG).unwrap();
    assert_eq!(numbers(&receiver.last().metric("c_total")).1, [("2".to_owned(), pairs(&[("a", "b")]))]);
    assert_eq!(histogram(&receiver.last().metric("h")).1[0].count, 2);
}

/// What the test below reads in another language.
const READ: &str = "import json, sys
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest as Request
request = Request.FromString(open(sys.argv[1], 'rb').read())
shown = []
for resource in request.resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            data = getattr(metric, metric.WhichOneof('data'))
            for point in data.data_points:
                labels = {a.key: a.value.string_value for a in point.attributes}
                if metric.HasField('histogram'):
                    value = [point.count, point.sum, list(point.explicit_bounds), list(point.bucket_counts)]
                else:
                    value = getattr(point, point.WhichOneof('value'))
                shown.append([metric.name, metric.unit, metric.WhichOneof('data'), labels, value])
json.dump(sorted(shown, key=lambda one: (one[0], sorted(one[3].items()))), sys.stdout)";

/// A message as PyPI's `opentelemetry-proto` reads it.
fn read_by_others(export: &Export) -> Option<serde_json::Value> {
    let import = Command::new("python3").args(["-c", "import opentelemetry.proto"]).output();
    if !import.is_ok_and(|done| done.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "opentelemetry-proto is missing; make setup installs it");
        eprintln!("SKIPPED: opentelemetry-proto is missing; make setup installs it");
        return None;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &export.body).unwrap();
    let done = Command::new("python3").args(["-c", READ]).arg(file.path()).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

#[test]
fn others_read_the_same() {
    let receiver = Receiver::start();
    let (_backend, registry) = registry(receiver.builder());
    count(&registry);
    registry.flush(LONG).unwrap();
    let Some(read) = read_by_others(&receiver.last()) else { return };
    let odd = "meta/Llama-3 \"8B\"\n\\ ü";
    let expected = serde_json::json!([
        ["age_seconds", "s", "sum", {}, 0.5],
        ["build_info", "", "gauge", {"version": "1.2"}, 1],
        ["busy_seconds_total", "s", "sum", {}, 1.25],
        ["latency_seconds", "s", "histogram", {"op": "read"}, [7, 11.65, [0.1, 1.0], [2, 1, 4]]],
        ["load_ratio", "1", "sum", {}, 0.75],
        ["newest", "", "gauge", {}, -5],
        ["queued", "", "sum", {}, -3],
        ["requests_total", "", "sum", {"a": "1", "b": "2"}, 2.5],
        ["requests_total", "", "sum", {"a": "2", "b": "1"}, 1.0],
        ["sent_bytes", "By", "histogram", {}, [2, 4.0, [], []]],
        ["state", "", "gauge", {"state": "ready", "x": "y"}, 1],
        ["state", "", "gauge", {"state": "starting", "x": "y"}, 0],
        ["tokens_total", "", "sum", {"model": odd}, 1_152_921_504_606_846_976_i64],
    ]);
    assert_eq!(read, expected);
}

#[test]
fn a_provider_of_the_user_s_has_the_instruments() {
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::metrics::data::ResourceMetrics;
    use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
    use std::sync::Mutex;

    /// Notes what is exported.
    struct Noting(Arc<Mutex<Vec<String>>>);

    impl PushMetricExporter for Noting {
        async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
            let names = metrics.scope_metrics().flat_map(|scope| scope.metrics());
            self.0.lock().unwrap().extend(names.map(|metric| metric.name().to_owned()));
            Ok(())
        }
        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }
        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
        fn temporality(&self) -> Temporality {
            Temporality::Cumulative
        }
    }

    let noted = Arc::new(Mutex::new(Vec::new()));
    let provider = SdkMeterProvider::builder().with_periodic_exporter(Noting(Arc::clone(&noted))).build();
    let backend = Arc::new(OpenTelemetry::with_meter_provider(provider.clone()).unwrap());
    let registry = Registry::with_backend(backend);
    let counter = registry.create_intcounter("c_total", "", &[]).unwrap();
    drop(registry);
    counter.inc();
    provider.force_flush().unwrap();
    assert_eq!(*noted.lock().unwrap(), ["c_total"]);
    provider.shutdown().unwrap();
}
