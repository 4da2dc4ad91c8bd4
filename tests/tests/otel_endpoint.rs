//! Exports that fail: nothing waits for them, nothing piles up, and each is counted.

use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use dyn_metrics::backend::{OpenTelemetry, OpenTelemetryBuilder};
use dyn_metrics::{Counter, Histogram, MetricsRegistry, Registry};
use dyn_metrics_tests::forks;
use dyn_metrics_tests::otlp::{Answer, Receiver};
use dyn_metrics_tests::servers::wait_for;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;

/// Time that no test needs.
const LONG: Duration = Duration::from_secs(60);

fn registry(builder: OpenTelemetryBuilder) -> (Arc<OpenTelemetry>, Registry) {
    let backend = Arc::new(builder.build().unwrap());
    (Arc::clone(&backend), Registry::with_backend(backend))
}

/// A counter and a histogram, and what to do with both.
fn handles(registry: &Registry) -> (Counter, Histogram) {
    let counter = registry.create_intcounter("c_total", "", &[]).unwrap();
    (counter, registry.create_histogram("h", "", &[], Some(&[1.0])).unwrap())
}

/// What the newest export says of both: a total and a number of observations.
fn arrived(receiver: &Receiver) -> (i64, u64) {
    let export = receiver.last();
    let (sum, histogram) = (export.metric("c_total"), export.metric("h"));
    let (Some(Data::Sum(sum)), Some(Data::Histogram(histogram))) = (sum.data, histogram.data) else {
        panic!("{export:?}")
    };
    let Some(Value::AsInt(total)) = sum.data_points[0].value else { panic!("{sum:?}") };
    (total, histogram.data_points[0].count)
}

#[test]
fn an_endpoint_that_comes_later_and_fails_for_a_while_gets_all_totals() {
    let mut receiver = Receiver::bound();
    let (backend, registry) = registry(receiver.builder());
    let (counter, latency) = handles(&registry);
    let update = || {
        (0..1000).for_each(|_| counter.inc());
        (0..1000).for_each(|_| latency.observe(0.5));
    };
    update();
    let error = registry.flush(LONG).unwrap_err().to_string();
    assert!(error.starts_with("registry otel: ") && error.contains("refused"), "{error}");
    update();
    assert_eq!((backend.exports().succeeded, backend.exports().failed), (0, 1));
    receiver.listen();
    registry.flush(LONG).unwrap();
    assert_eq!((arrived(&receiver), backend.exports().last_error), ((2000, 2000), None));
    receiver.answer(Answer::Close);
    update();
    assert!(registry.flush(LONG).is_err());
    receiver.answer(Answer::Take);
    update();
    registry.flush(LONG).unwrap();
    assert_eq!(arrived(&receiver), (4000, 4000));
    assert_eq!((backend.exports().succeeded, backend.exports().failed), (2, 2));
}

#[test]
fn whatever_an_endpoint_answers_ends_in_time_and_is_counted() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder().timeout(Duration::from_millis(300)));
    let (counter, latency) = handles(&registry);
    for (at, (answer, expected)) in [
        (Answer::Status(400), "answered 400"),
        (Answer::Status(401), "answered 401"),
        (Answer::Status(404), "answered 404"),
        (Answer::Status(429), "answered 429"),
        (Answer::Status(500), "answered 500"),
        (Answer::Status(503), "answered 503"),
        (Answer::Status(302), "answered 302"),
        (Answer::Page, "something else than OTLP"),
        (Answer::Endless, "length limit"),
        (Answer::Noise, ""),
        (Answer::Silence, "no answer within 300ms"),
        (Answer::Close, ""),
    ]
    .into_iter()
    .enumerate()
    {
        receiver.answer(answer.clone());
        counter.inc();
        latency.observe(0.5);
        let error = registry.flush(LONG).unwrap_err().to_string();
        assert!(error.starts_with("registry otel: ") && error.contains(expected), "{answer:?}: {error}");
        let exports = backend.exports();
        assert_eq!((exports.succeeded, exports.failed), (0, at as u64 + 1), "{answer:?}");
        assert!(exports.last_error.is_some_and(|error| error.contains(expected)));
    }
    assert_eq!(receiver.exports().len(), 0);
    receiver.answer(Answer::Take);
    registry.flush(LONG).unwrap();
    assert_eq!(arrived(&receiver), (12, 12));
}

#[test]
fn points_that_are_rejected_are_counted() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder());
    handles(&registry).0.inc();
    receiver.answer(Answer::Reject(3));
    registry.flush(LONG).unwrap();
    registry.flush(LONG).unwrap();
    let exports = backend.exports();
    assert_eq!((exports.succeeded, exports.failed, exports.rejected_points), (2, 0, 6));
    assert_eq!(exports.last_error.as_deref(), Some("3 points were rejected"));
}

#[test]
fn updates_and_registrations_go_on_while_an_export_hangs_and_a_flush_gives_up() {
    let receiver = Receiver::start();
    receiver.answer(Answer::Silence);
    let (_backend, registry) = registry(receiver.builder().timeout(Duration::from_secs(86_400)));
    let (counter, latency) = handles(&registry);
    counter.inc();
    latency.observe(0.5);
    let flush = |registry: &Registry| registry.flush(Duration::from_millis(50)).unwrap_err().to_string();
    let error = flush(&registry);
    assert!(error.ends_with("not exported within 50ms"), "{error}");
    wait_for("the request", || (receiver.requests() == 1).then_some(()));
    (0..100_000).for_each(|_| counter.inc());
    (0..100_000).for_each(|_| latency.observe(0.5));
    for n in 0..100 {
        let name = format!("c{n}_total");
        registry.create_intcounter(&name, "", &[]).unwrap().inc();
    }
    assert_eq!((counter.value(), latency.count()), (100_001, 100_001));
    assert!(registry.render().unwrap().contains("\nc99_total 1\n"));
    // Others wait for the first, each for its own time.
    (0..20).for_each(|_| assert!(flush(&registry).ends_with("not exported within 50ms")));
    assert_eq!((receiver.requests(), receiver.exports().len()), (1, 0));
    // Its end would wait for the export, for as long as the SDK does.
    std::mem::forget((_backend, registry));
}

#[test]
fn a_shutdown_exports_once_more_and_ends_exports() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder());
    let (counter, latency) = handles(&registry);
    counter.inc();
    latency.observe(0.5);
    backend.shutdown(LONG).unwrap();
    assert_eq!(arrived(&receiver), (1, 1));
    counter.inc();
    assert!(registry.flush(LONG).is_err() && backend.shutdown(LONG).is_err());
    assert_eq!((counter.value(), receiver.exports().len()), (2, 1));
}

#[test]
fn the_last_registry_s_end_exports_once_more() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder());
    let (counter, latency) = handles(&registry);
    counter.inc();
    latency.observe(0.5);
    drop((backend, registry));
    assert_eq!(arrived(&receiver), (1, 1));
}

/// Bytes of this process's memory that are used.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn failed_exports_leave_nothing_in_memory() {
    let receiver = Receiver::start();
    receiver.answer(Answer::Status(400));
    let (backend, registry) = registry(receiver.builder());
    let family = registry.create_intcounter_vec("c_total", "", &["n"]).unwrap();
    (0..2000).for_each(|n| family.with(&[&format!("{n:0100}")]).inc());
    let fail = |times| (0..times).for_each(|_| assert!(registry.flush(LONG).is_err()));
    fail(20);
    let before = resident();
    fail(150);
    let grown = resident().saturating_sub(before);
    // One of these exports has more than 200 kB.
    assert!(grown < 10 << 20, "{grown} bytes more");
    assert_eq!(backend.exports().failed, 170);
}

#[test]
fn a_child_forked_at_any_moment_updates_and_never_hangs() {
    let receiver = Receiver::start();
    let (backend, registry) = registry(receiver.builder());
    let (counter, latency) = handles(&registry);
    let gauge = registry.create_gauge("g", "", &[]).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let others: Vec<_> = (0..2)
        .map(|n| {
            let (latency, registry) = (latency.clone(), registry.clone());
            let (own_stop, own_stopped) = mpsc::channel::<()>();
            let thread = std::thread::spawn(move || {
                while own_stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    if n == 0 {
                        (0..100).for_each(|_| latency.observe(0.5));
                    } else {
                        registry.flush(LONG).unwrap();
                    }
                }
            });
            (own_stop, thread)
        })
        .collect();
    drop((stop, stopped));
    let hung = (0..100)
        .filter(|_| {
            let child = forks::child(|| {
                let before = latency.count();
                for _ in 0..100 {
                    counter.inc();
                    gauge.set(1.5);
                    latency.observe(0.5);
                }
                assert_eq!((counter.value(), latency.count()), (100, before + 100));
                assert!(backend.shutdown(LONG).is_err() && registry.flush(LONG).is_err());
            });
            !forks::ended_well(child)
        })
        .count();
    assert_eq!(hung, 0, "children hung or crashed");
    for (stop, thread) in others {
        drop(stop);
        thread.join().unwrap();
    }
    counter.inc();
    registry.flush(LONG).unwrap();
    assert_eq!(arrived(&receiver), (1, latency.count()), "nothing of the children");
}

/// A process whose environment says what is exported, and where; run by the tests below.
#[test]
#[ignore = "is started by another test, with its environment"]
fn process_of_the_environment() {
    match Registry::root() {
        Ok(root) => {
            root.create_intcounter("c_total", "", &[]).unwrap().inc();
            let mut line = String::new();
            println!(
                "KIND {} SAME {}",
                root.kind(),
                Registry::root().unwrap().render().unwrap().lines().count()
            );
            std::io::stdin().read_line(&mut line).unwrap();
            println!("FLUSHED {:?}", root.flush(LONG).map_err(|error| error.to_string()));
            println!("EXPORTS {:?}", OpenTelemetry::of_environment().unwrap().exports());
        }
        Err(error) => println!("ERROR {error}"),
    }
}

/// The process above, with these variables and no others of OpenTelemetry's; it reads a line before it ends.
fn process(variables: &[(&str, &str)]) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "process_of_the_environment", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        child.env_remove(name);
    }
    child.env("DYN_METRICS_REGISTRY", "otel").envs(variables.iter().copied());
    child
}

fn output(variables: &[(&str, &str)]) -> String {
    let output = process(variables).stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_environment_says_where_to_and_how_often() {
    let receiver = Receiver::start();
    let base = receiver.base();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", base.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b,x-other=2"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "20"),
        ("OTEL_SERVICE_NAME", "decoder"),
        ("OTEL_RESOURCE_ATTRIBUTES", "zone=eu,service.instance.id=seven"),
    ];
    let mut child = process(&variables);
    let mut child =
        child.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_for("exports that nobody asked for", || (receiver.exports().len() >= 3).then_some(()));
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("KIND otel SAME 3") && text.contains("FLUSHED Ok(())"), "{text}");
    let (export, resource) = (receiver.last(), receiver.last().resource());
    assert_eq!(export.path, "/v1/metrics");
    assert_eq!((export.headers["x-key"].as_str(), export.headers["x-other"].as_str()), ("a b", "2"));
    for (name, value) in [("service.name", "decoder"), ("zone", "eu"), ("service.instance.id", "seven")] {
        assert!(resource.contains(&(name.to_owned(), value.to_owned())), "{resource:?}");
    }
}

#[test]
fn the_environment_s_timeout_holds() {
    let receiver = Receiver::start();
    receiver.answer(Answer::Silence);
    let endpoint = receiver.endpoint();
    let text = output(&[
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "100"),
    ]);
    assert!(text.contains("no answer within 100ms") && text.contains("failed: 1"), "{text}");
}

#[test]
fn what_the_environment_wants_and_cannot_have_is_an_error() {
    let no = |option: &str, found: &str| format!("ERROR option {option}: found {found}, expected ");
    for (name, value, expected) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", no("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc") + "http/protobuf"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://x:4318",
            no("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x:4318") + "an address that begins with http://",
        ),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://a b", no("OTEL_EXPORTER_OTLP", "invalid exporter")),
        ("OTEL_METRICS_EXPORTER", "prometheus", no("OTEL_METRICS_EXPORTER", "prometheus") + "otlp or none"),
    ] {
        let text = output(&[(name, value)]);
        let expected =
            if name.contains("_METRICS_ENDPOINT") { "ERROR option OTEL_EXPORTER_OTLP" } else { &expected };
        assert!(text.contains(expected), "{name}={value}: {text}");
    }
}

#[test]
fn where_exports_are_disabled_there_are_none() {
    let receiver = Receiver::start();
    let base = receiver.base();
    for disabled in [("OTEL_SDK_DISABLED", "true"), ("OTEL_METRICS_EXPORTER", "none")] {
        let text = output(&[("OTEL_EXPORTER_OTLP_ENDPOINT", base.as_str()), disabled]);
        assert!(text.contains("KIND otel") && text.contains("FLUSHED Ok(())"), "{text}");
        assert!(text.contains("succeeded: 0, failed: 0"), "{text}");
    }
    assert_eq!(receiver.requests(), 0);
}
