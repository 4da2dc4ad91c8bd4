//! The conformance suite of registries: one component over each of them, with the same refusals and the same numbers.
//!
//! Another registry joins by a line in [`every`].

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::backend::Prometheus;
use dyn_metrics::testing::Fake;
use dyn_metrics::{
    Counter, DistributedRuntime, Error, Family, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    MetricsRegistry, OVERFLOW, Opts, Registry, Result, Scheme, StateSet, Tally,
};
use dyn_metrics_tests::otlp::Receiver;
use dyn_metrics_tests::plugins;

use dyn_metrics_tests::servers::{Exporter, get, program};

/// A component as people write them: nothing in it says what keeps its numbers.
struct Component {
    requests: Family<FloatCounter>,
    tokens: Counter,
    busy: dyn_metrics::DurationCounter,
    load: FloatGauge,
    queued: Family<Gauge>,
    age: dyn_metrics::DurationGauge,
    latency: Family<Histogram>,
    sizes: Tally,
    state: StateSet,
    tenants: Family<Counter>,
    untouched: Gauge,
}

impl Component {
    fn new(registry: &dyn MetricsRegistry) -> Result<Self> {
        let labels = [("model", "meta/Llama-3 \"8B\"\n\\")];
        registry.create_info("build_info", "What runs", &[("version", "1.2")])?;
        registry.create_histogram("unused_seconds", "Observed never", &[], Some(&[1.0]))?;
        Ok(Self {
            requests: registry.create_counter_vec("requests_total", "Requests", &["model", "status"])?,
            tokens: registry.create_intcounter("tokens_total", "Tokens", &labels)?,
            busy: registry.create_durationcounter("busy_seconds_total", "Time busy", &labels)?,
            load: registry.create_gauge("load", "Load", &labels)?,
            queued: registry.create_intgaugevec("queued", "Queue", &["queue"])?,
            age: registry.create_durationgauge("age_seconds", "Age", &[])?,
            latency: registry.create_histogram_vec(
                "latency_seconds",
                "Latency",
                &["op"],
                Some(&[0.1, 1.0, 10.0]),
            )?,
            sizes: registry.create_tally("size_bytes", "Sizes", &[])?,
            state: registry.create_stateset("state", "State", &[], &["starting", "ready", "draining"])?,
            tenants: registry
                .registry()
                .family(&Opts::new("tenants_total", "Few").max_series(2), &["tenant"])?,
            untouched: registry.create_intgauge("untouched", "Never set", &[])?,
        })
    }

    fn work(&self) {
        for (model, status, amount) in
            [("a", "ok", 1.0), ("b", "ok", 0.25), ("a", "bad", 2.0), ("a", "ok", 4.0)]
        {
            self.requests.with_label_values(&[model, status]).inc_by(amount);
            self.requests.with(&[model, status]).inc_by(f64::NAN);
        }
        self.tokens.inc();
        self.tokens.inc_by(41);
        self.busy.inc_by(Duration::from_millis(1250));
        self.load.set(3.5);
        self.load.sub(5.0);
        self.queued.with(&["in"]).add(7);
        self.queued.with(&["out"]).set(-2);
        self.age.set(Duration::from_millis(500));
        for value in [0.05, 0.1, 0.5, 5.0, 50.0, f64::INFINITY, f64::NAN] {
            self.latency.with(&["read"]).observe(value);
        }
        self.latency.with(&["write"]).observe_n(0.25, 4);
        [1.5, 2.5, f64::INFINITY].iter().for_each(|size| self.sizes.observe(*size));
        self.state.set("ready");
        self.state.enable("draining");
        for tenant in ["x", "y", "z", "w", "x"] {
            self.tenants.with(&[tenant]).inc();
        }
    }

    /// What its handles say, as far as any process's do.
    fn values(&self) -> String {
        let latency = self.latency.with(&["read"]);
        format!(
            "{} {} {:?} {} {} {} {:?} {} {} {} {} {}",
            self.requests.with(&["a", "ok"]).value(),
            self.tokens.value(),
            self.busy.value(),
            self.load.value(),
            self.queued.with(&["out"]).value(),
            self.age.value(),
            latency.buckets(),
            latency.sum(),
            self.sizes.count(),
            self.state.is_on("ready"),
            self.tenants.with(&["v"]).value(),
            self.untouched.value(),
        )
    }
}

/// What goes wrong in every registry alike.
fn mistakes(registry: &dyn MetricsRegistry) -> Vec<String> {
    let long = "x".repeat(70_000);
    let many: Vec<String> = (0..200).map(|n| format!("l{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let opts = |name| Opts::new(name, "");
    let whole = registry.registry();
    let family = registry.create_countervec("requests_total", "Requests", &["model", "status"]).unwrap();
    let results: Vec<Result<()>> = vec![
        registry.create_counter("", "", &[]).map(drop),
        registry.create_counter("a b", "", &[]).map(drop),
        registry.create_counter("ä", "", &[]).map(drop),
        registry.create_counter("c_total", "", &[("1a", "")]).map(drop),
        registry.create_counter("c_total", "", &[("__a", "")]).map(drop),
        registry.create_counter("c_total", "", &[("a", "1"), ("a", "2")]).map(drop),
        registry.create_counter("c_total", "", &[("namespace", "mine")]).map(drop),
        registry.create_counter_vec("c_total", "", &["endpoint"]).map(drop),
        registry.create_counter("c_total", "", &[("a", &long)]).map(drop),
        registry.create_counter("c_total", &long, &[]).map(drop),
        registry.create_counter_vec("c_total", "", &many).map(drop),
        registry.create_histogram("h", "", &[], Some(&[])).map(drop),
        registry.create_histogram("h", "", &[], Some(&[2.0, 1.0])).map(drop),
        registry.create_histogram("h", "", &[("le", "1")], None).map(drop),
        registry.create_stateset("s", "", &[], &[]).map(drop),
        registry.create_stateset("s", "", &[], &["a", "a"]).map(drop),
        registry.create_gauge("tokens_total", "", &[]).map(drop),
        registry.create_histogram_vec("latency_seconds", "", &["op"], Some(&[1.0])).map(drop),
        registry.create_stateset("state", "", &[], &["on"]).map(drop),
        registry.create_gauge("tokens", "", &[]).map(drop),
        registry.create_intcounter("latency_seconds_count", "", &[]).map(drop),
        registry.child("a b", &[]).map(drop),
        registry.child("x_", &[("component", "mine")]).map(drop),
        whole.create::<Gauge>(&opts("load").mode(GaugeMode::Max)).map(drop),
        whole.create::<Gauge>(&opts("g").bounds(&[1.0])).map(drop),
        whole.create::<Counter>(&opts("tokens_total").unit("bytes")).map(drop),
        family.try_with(&["a"]).map(drop),
        family.try_with(&["a", "b", "c"]).map(drop),
        family.try_with(&["a", &long]).map(drop),
    ];
    let error = |(at, result): (usize, Result<()>)| match result {
        Ok(()) => panic!("mistake {at} is none"),
        Err(error) => error.to_string(),
    };
    results.into_iter().enumerate().map(error).collect()
}

/// The samples of a text, sorted.
fn samples(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
    lines.sort();
    lines
}

/// What each family is, sorted.
fn types(text: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        text.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect();
    lines.sort();
    lines
}

struct Outcome {
    text: String,
    values: String,
    mistakes: Vec<String>,
}

fn run(registry: &Registry) -> Outcome {
    let runtime = DistributedRuntime::with_registry(registry, Scheme::default()).unwrap();
    let endpoint =
        runtime.namespace("ns").unwrap().component("backend").unwrap().endpoint("generate").unwrap();
    let component = Component::new(&endpoint).unwrap();
    component.work();
    Component::new(&endpoint).unwrap().work();
    let values = component.values();
    let mistakes = mistakes(&endpoint);
    Outcome { text: endpoint.prometheus_format_str().unwrap(), values, mistakes }
}

fn segment() -> (tempfile::TempDir, Registry) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(4 << 20).open().unwrap();
    (directory, registry)
}

/// A registry of a kind, new, and what it needs: where its files are, or who receives its exports.
struct Subject(Registry, #[expect(dead_code, reason = "ended at the end")] Option<Box<dyn std::any::Any>>);

/// Every kind of registry.
fn every() -> Vec<Subject> {
    let (directory, shm) = segment();
    let prometheus = Prometheus::new(prometheus::Registry::new());
    let receiver = Receiver::start();
    let otel = Arc::new(receiver.builder().build().unwrap());
    let mut all = vec![
        Subject(shm, Some(Box::new(directory))),
        Subject(Registry::with_backend(Arc::new(prometheus)), None),
        Subject(Fake::new().registry(), None),
        Subject(Registry::with_backend(otel), Some(Box::new(receiver))),
        Subject(Registry::null(), None),
    ];
    all.extend(plugins::sample().map(|path| Subject(Registry::with_plugin(path, "").unwrap(), None)));
    all
}

impl Subject {
    /// Whether it keeps what it is told.
    fn keeps(&self) -> bool {
        self.0.kind() != "null"
    }
}

#[test]
fn a_component_does_the_same_in_every_registry() {
    let (_directory, shm) = segment();
    let expected = run(&shm);
    assert_eq!(expected.mistakes.len(), 29);
    for subject in every() {
        let (found, kind) = (run(&subject.0), subject.0.kind());
        assert_eq!(found.mistakes, expected.mistakes, "{kind}");
        if !subject.keeps() {
            let nothing = found.values.starts_with("0 0 0ns 0 0 0 [0, 0, 0, 0] 0 0 false 0");
            assert_eq!((found.text.as_str(), nothing), ("", true), "{kind}");
            continue;
        }
        assert_eq!(found.values, expected.values, "{kind}");
        assert_eq!(samples(&found.text), samples(&expected.text), "{kind}");
        assert_eq!(types(&found.text), types(&expected.text), "{kind}");
    }
    let overflow = format!("namespace=\"{OVERFLOW}\",tenant=\"{OVERFLOW}\"}} 4\n");
    assert!(expected.text.contains(&overflow), "{}", expected.text);
}

#[test]
fn what_a_component_does_is_gathered_and_exported_by_the_libraries_behind() {
    let (_directory, shm) = segment();
    let expected = run(&shm);
    let theirs = prometheus::Registry::new();
    run(&Registry::with_backend(Arc::new(Prometheus::new(theirs.clone()))));
    let receiver = Receiver::start();
    let otel = Registry::with_backend(Arc::new(receiver.builder().build().unwrap()));
    run(&otel);
    let gathered = prometheus::TextEncoder::new().encode_to_string(&theirs.gather()).unwrap();
    assert_eq!(samples(&gathered), samples(&expected.text), "as others gather it");
    otel.flush(Duration::from_secs(60)).unwrap();
    // Infinite observations don't pass through OpenTelemetry, nor does a histogram that observed nothing.
    let lost = ["unused_seconds", "latency_seconds_count", "latency_seconds_bucket", "size_bytes_count"];
    let arrives = |line: &String| !lost.iter().any(|name| line.starts_with(&format!("dynamo_{name}")));
    let (found, expected_lines) = (receiver.last().samples(), samples(&expected.text));
    assert_eq!(
        found.iter().filter(|line| arrives(line)).collect::<Vec<_>>(),
        expected_lines.iter().filter(|line| arrives(line)).collect::<Vec<_>>(),
        "as it is exported"
    );
    let write = |line: &&String| line.contains("latency_seconds") && line.contains("op=\"write\"");
    let (found, wanted) = (found.iter().filter(write), expected_lines.iter().filter(write));
    assert_eq!(found.collect::<Vec<_>>(), wanted.collect::<Vec<_>>());
}

/// What a registry with a prefix and a label shows of itself, sorted: its own samples, and none of its parent's.
fn shown(registry: &Registry) -> Vec<String> {
    let own = |line: &String| line.starts_with("own_");
    samples(&registry.render().unwrap()).into_iter().filter(own).collect()
}

/// The number of a sample, in whichever form.
fn value(line: &str) -> f64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_counter_adds_up_events_fractions_and_durations() {
    for subject in every().into_iter().filter(Subject::keeps) {
        let opts = Opts::new("own_seconds_total", "Time");
        subject.0.create::<Counter>(&opts).unwrap().inc_by(3);
        subject.0.create::<FloatCounter>(&opts).unwrap().inc_by(0.5);
        subject.0.create::<dyn_metrics::DurationCounter>(&opts).unwrap().inc_by(Duration::from_millis(250));
        assert_eq!(shown(&subject.0), ["own_seconds_total 3.75"], "{}", subject.0.kind());
        // Beyond what a signed number holds.
        let large = subject.0.create::<Counter>(&Opts::new("own_large_total", "")).unwrap();
        large.inc_by((1 << 63) - 1);
        large.inc();
        assert_eq!(large.value(), 1 << 63, "{}", subject.0.kind());
        assert_eq!(value(&shown(&subject.0)[0]), 2_f64.powi(63), "{}", subject.0.kind());
    }
}

#[test]
fn gauges_take_what_they_are_given_and_show_nothing_before_that_if_no_sum_is_meant() {
    for subject in every().into_iter().filter(Subject::keeps) {
        let (registry, kind) = (&subject.0, subject.0.kind().to_owned());
        let gauge =
            |name: &str, mode| registry.create::<FloatGauge>(&Opts::new(name, "").mode(mode)).unwrap();
        let (largest, sum) = (gauge("own_a", GaugeMode::Max), gauge("own_b", GaugeMode::Sum));
        assert_eq!(shown(registry), ["own_b 0"], "{kind}");
        largest.set(-0.125);
        sum.set(f64::INFINITY);
        let (a, b) = (value(&shown(registry)[0]), value(&shown(registry)[1]));
        assert_eq!((a, b), (-0.125, f64::INFINITY), "{kind}");
        let whole = registry.create::<Gauge>(&Opts::new("own_a", "").mode(GaugeMode::Max)).unwrap();
        whole.set(5);
        assert_eq!((shown(registry)[0].as_str(), largest.value()), ("own_a 5", 5.0), "{kind}");
        largest.set(f64::NAN);
        assert_eq!((shown(registry)[0].as_str(), largest.value().is_nan()), ("own_a NaN", true), "{kind}");
    }
}

#[test]
fn a_child_shows_its_own_part() {
    for subject in every().into_iter().filter(Subject::keeps) {
        let (registry, kind) = (&subject.0, subject.0.kind());
        let child = |value| registry.child("own_", &[("part", value)]).unwrap();
        let (one, two) = (child("1"), child("2"));
        for registry in [&one, &two, registry] {
            registry.create_intcounter("c_total", "", &[]).unwrap().inc();
        }
        assert_eq!(samples(&one.render().unwrap()), ["own_c_total{part=\"1\"} 1"], "{kind}");
        assert_eq!(samples(&two.render().unwrap()), ["own_c_total{part=\"2\"} 1"], "{kind}");
        assert_eq!(shown(registry).len(), 2, "{kind}");
        // The child's series by its full name and labels.
        registry.create_intcounter("own_c_total", "", &[("part", "2")]).unwrap().inc();
        assert_eq!(samples(&two.render().unwrap()), ["own_c_total{part=\"2\"} 2"], "{kind}");
    }
}

#[test]
fn updates_of_several_threads_are_all_counted() {
    const THREADS: u64 = 4;
    const TIMES: u64 = 5_000;
    for subject in every() {
        let registry = &subject.0;
        let count = || -> Result<()> {
            let events = registry.create_intcounter("own_a_total", "", &[])?;
            let parts = registry.create_counter("own_b_total", "", &[])?;
            let load = registry.create_intgauge("own_c", "", &[])?;
            let sizes = registry.create_histogram("own_d", "", &[], Some(&[1.0, 2.0]))?;
            for n in 0..TIMES {
                events.inc();
                parts.inc_by(0.25);
                load.add(1);
                sizes.observe((n % 2) as f64 + 0.5);
            }
            Ok(())
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(|| count().unwrap()))));
        let all = THREADS * TIMES;
        let expected = [
            format!("own_a_total {all}"),
            format!("own_b_total {}", all / 4),
            format!("own_c {all}"),
            format!("own_d_bucket{{le=\"+Inf\"}} {all}"),
            format!("own_d_bucket{{le=\"1\"}} {}", all / 2),
            format!("own_d_bucket{{le=\"2\"}} {all}"),
            format!("own_d_count {all}"),
            format!("own_d_sum {all}"),
        ];
        let expected = if subject.keeps() { &expected[..] } else { &[] };
        assert_eq!(shown(registry), expected, "{}", registry.kind());
    }
}

#[test]
fn what_is_registered_is_also_what_the_prometheus_registry_gathers() {
    let theirs = prometheus::Registry::new();
    let found = run(&Registry::with_backend(Arc::new(Prometheus::new(theirs.clone()))));
    let gathered = prometheus::TextEncoder::new().encode_to_string(&theirs.gather()).unwrap();
    assert_eq!(samples(&gathered), samples(&found.text));
}

#[test]
fn a_name_that_others_have_in_the_prometheus_registry_is_a_conflict_of_both() {
    let theirs = prometheus::Registry::new();
    let mine = prometheus::IntGauge::new("dynamo_load", "Theirs").unwrap();
    theirs.register(Box::new(mine)).unwrap();
    let labelled = prometheus::Opts::new("sized_total", "Theirs").const_label("zone", "1");
    theirs.register(Box::new(prometheus::IntCounter::with_opts(labelled).unwrap())).unwrap();
    let registry = Registry::with_backend(Arc::new(Prometheus::new(theirs.clone())));
    let runtime = DistributedRuntime::with_registry(&registry, Scheme::default()).unwrap();
    let error = runtime.create_counter("load", "Ours", &[]).unwrap_err();
    assert!(matches!(error, Error::Backend { .. }));
    let (text, expected) =
        (error.to_string(), "wanted a counter, found a gauge of that name registered by other code");
    assert!(
        text.starts_with("registry prometheus: metric \"dynamo_load\": ") && text.contains(expected),
        "{text}"
    );
    let error = registry.create_counter("sized_total", "Ours", &[]).unwrap_err().to_string();
    assert!(error.contains("found a counter of that name"), "{error}");
    runtime.create_gauge("other", "", &[]).unwrap().set(1.0);
    let text = registry.render().unwrap();
    assert!(text.contains("\ndynamo_load 0\n") && text.contains("\ndynamo_other 1\n"), "{text}");
    assert_eq!(samples(&runtime.prometheus_format_str().unwrap()), ["dynamo_other 1"]);
}

#[test]
fn a_prefix_of_the_prometheus_registry_shows_where_it_is_gathered() {
    let theirs = prometheus::Registry::new_custom(Some("app".to_owned()), None).unwrap();
    let registry = Registry::with_backend(Arc::new(Prometheus::new(theirs)));
    registry.create_intcounter("c_total", "", &[]).unwrap().inc();
    assert_eq!(samples(&registry.render().unwrap()), ["app_c_total 1"]);
}

#[test]
fn a_threshold_shows_the_same_families_of_every_registry_and_all_go_on_counting() {
    for subject in every().into_iter().filter(Subject::keeps) {
        let registry = &subject.0;
        let child = registry.with_max_level(4).child("a_", &[("zone", "1")]).unwrap();
        assert_eq!((child.max_level(), registry.max_level()), (4, 255));
        for level in [0, 4, 5, 255] {
            let opts = Opts::new(&format!("level_{level}_total"), "").level(level);
            child.create::<Counter>(&opts).unwrap().inc_by(u64::from(level) + 1);
        }
        let line = |level: u64| format!("a_level_{level}_total{{zone=\"1\"}} {}", level + 1);
        let lines = |levels: &[u64]| levels.iter().map(|level| line(*level)).collect::<Vec<_>>();
        let shown = |text: String| {
            let ours = |line: &&str| line.starts_with("a_");
            text.lines().filter(ours).map(str::to_owned).collect::<Vec<_>>()
        };
        let of_level = |level| shown(registry.with_max_level(level).render().unwrap());
        assert_eq!(shown(child.render().unwrap()), lines(&[0, 4]), "{}", registry.kind());
        assert_eq!(of_level(0), lines(&[0]), "{}", registry.kind());
        assert_eq!(of_level(254), lines(&[0, 4, 5]), "{}", registry.kind());
        assert_eq!(shown(registry.render().unwrap()), lines(&[0, 255, 4, 5]), "{}", registry.kind());
    }
}

#[test]
fn the_exporter_serves_up_to_its_level_and_a_scrape_may_ask_for_less() {
    let (_directory, shm) = segment();
    for level in [0, 1, 2] {
        let opts = Opts::new(&format!("level_{level}_total"), "").level(level);
        shm.create::<Counter>(&opts).unwrap().inc();
    }
    let mut command = Command::new(program("dyn-metrics-exporter"));
    command.args(["--level", "1"]);
    let exporter = Exporter::start_by(command, &[&shm.path().to_string_lossy()]);
    let shown = |query: &str| {
        let (status, page) = get(exporter.address, &format!("/metrics{query}")).unwrap();
        let found = (0..3).filter(|level| page.contains(&format!("\nlevel_{level}_total 1\n"))).count();
        (status, found)
    };
    for (query, expected) in [("", 2), ("?level=0", 1), ("?level=1", 2), ("?level=255", 2)] {
        assert_eq!(shown(query), (200, expected), "{query}");
    }
    assert_eq!(shown("?level=high"), (400, 0));
    let _ = exporter.end();
}

/// The process's own registry; run by the test below.
#[test]
#[ignore = "is started by another test, with its environment"]
fn component_of_the_environment() {
    match Registry::root() {
        Ok(root) => {
            let text = run(&root).text;
            assert_eq!(Registry::root().unwrap().render().unwrap(), root.render().unwrap(), "the same");
            println!("KIND {} SAMPLES {}", root.kind(), samples(&text).len());
        }
        Err(error) => println!("ERROR {error}"),
    }
}

#[test]
fn the_environment_chooses_the_process_s_registry() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (_kept, shm) = segment();
    let samples = samples(&run(&shm).text).len();
    let no = "option DYN_METRICS_REGISTRY: found";
    let known = "shm, prometheus, otel, plugin:PATH or null";
    let sample = plugins::sample().map(|path| format!("plugin:{}", path.display()));
    let sample =
        sample.map(|name| (Some(name.clone() + "?Of the test"), format!("KIND {name} SAMPLES {samples}")));
    let others = [
        (None, format!("KIND shm SAMPLES {samples}")),
        (Some("shm"), format!("KIND shm SAMPLES {samples}")),
        (Some("prometheus"), format!("KIND prometheus SAMPLES {samples}")),
        (Some("null"), "KIND null SAMPLES 0".to_owned()),
        (Some("otel"), format!("KIND otel SAMPLES {samples}")),
        (Some("plugin:/x.so"), "ERROR /x.so: plugin: found no file (No such file or directory".to_owned()),
        (Some("influx"), format!("ERROR {no} \"influx\", expected {known}\n")),
    ];
    let others = others.map(|(kind, expected)| (kind.map(str::to_owned), expected));
    for (number, (kind, expected)) in others.into_iter().chain(sample).enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "component_of_the_environment", "--ignored", "--nocapture"]);
        child
            .env_remove("DYN_METRICS_REGISTRY")
            .env("OTEL_METRICS_EXPORTER", "none")
            .env("DYN_METRICS_SHM", directory.path().join(number.to_string()));
        if let Some(kind) = &kind {
            child.env("DYN_METRICS_REGISTRY", kind);
        }
        let output = child.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(&expected), "{kind:?}: {text}");
    }
}
