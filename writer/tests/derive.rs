//! `#[derive(Metrics)]`: what its code registers, and what it says that it registers.
#![cfg(feature = "derive")]

use std::sync::Arc;
use std::time::Duration;

use dyn_metrics::backend::Descriptor;
use dyn_metrics::testing::{Call, Fake};
use dyn_metrics::{
    AnyMetric, Counter, DurationCounter, DurationGauge, Error, Family, FloatCounter, FloatGauge, Gauge,
    GaugeMode, Histogram, Info, Kind, MetricCounter, MetricGauge, MetricHistogram, Metrics, MetricsRegistry,
    Opts, Registry, StateSet, Tally,
};

const LATENCY: [f64; 3] = [0.5, 1.0, 2.0];
const SIZES: &[f64] = &[1024.0, 4096.0];

/// A field of every type, and every option.
#[derive(Metrics)]
#[metrics(prefix = "svc_", labels(service = "chat"))]
struct Everything {
    #[metric(registry)]
    registry: Arc<dyn MetricsRegistry>,
    /// Events
    events_total: Counter,
    /// Cost of
    /// everything
    ///
    /// Not part of the help.
    #[metric(name = "cost_dollars_total", unit = "dollars", labels(currency = "usd", type = "net"))]
    cost: FloatCounter,
    busy_seconds_total: DurationCounter,
    #[metric(help = "Queue", mode = LiveMax, level = 7)]
    queue: Gauge,
    #[metric(mode = All, keep_dead = 3)]
    load: FloatGauge,
    age_seconds: DurationGauge,
    #[metric(buckets = LATENCY)]
    latency_seconds: Histogram,
    #[metric(buckets = [-1, 0.5, 2 ])]
    drift: Histogram,
    #[metric(shared)]
    batch_bytes: Tally,
    #[metric(labels(version = "1"))]
    build_info: Info,
    #[metric(states = ["starting", "ready"])]
    r#state: StateSet,
    #[metric(label_names = ["model", "status"], max_series = 2)]
    requests_total: Family<Counter>,
    #[metric(label_names = ["model"], buckets = SIZES, unit = "bytes")]
    prompt_bytes: Family<Histogram>,
    boxed_total: Box<dyn MetricCounter>,
    #[metric(handle = Counter)]
    boxed_whole_total: Box<dyn MetricCounter>,
    boxed_gauge: Box<dyn MetricGauge>,
    #[metric(handle = Tally)]
    boxed_tally: Box<dyn MetricHistogram>,
    #[metric(nested)]
    plain: Inner,
    #[metric(nested, prefix = "deep_", labels(side = "left"))]
    left: Middle,
    #[metric(skip)]
    answered: u64,
}

#[derive(Metrics)]
struct Middle {
    #[metric(nested, labels(rank = "0"))]
    inner: Inner,
}

#[derive(Metrics)]
#[metrics(prefix = "inner_")]
struct Inner {
    /// Hits
    hits_total: Counter,
}

#[derive(Metrics)]
struct Empty {}

/// The series that were registered, in order.
fn registered(fake: &Fake) -> Vec<Descriptor> {
    let calls = fake.calls().into_iter();
    calls
        .filter_map(|call| if let Call::Series(descriptor) = call { Some(descriptor) } else { None })
        .collect()
}

#[test]
fn every_field_is_registered_with_its_options_and_counts() {
    let fake = Fake::new();
    let all = Everything::new(&fake.registry()).unwrap();
    all.events_total.inc_by(2);
    all.cost.inc_by(0.5);
    all.busy_seconds_total.inc_by(Duration::from_millis(1500));
    all.queue.set(4);
    all.load.set(0.25);
    all.age_seconds.set(Duration::from_secs(3));
    all.latency_seconds.observe(1.5);
    all.drift.observe(-2.0);
    all.batch_bytes.observe(10.0);
    all.r#state.set("ready");
    all.requests_total.with(&["llama", "ok"]).inc();
    all.prompt_bytes.with(&["llama"]).observe(2000.0);
    all.boxed_total.inc_by(1.5);
    all.boxed_whole_total.inc();
    all.boxed_gauge.set(2.0);
    all.boxed_tally.observe(1.0);
    all.plain.hits_total.inc();
    all.left.inner.hits_total.inc_by(3);
    assert_eq!((all.answered, all.build_info.description()), (0, ""));

    let service = ("service", "chat");
    for (name, labels, expected) in [
        ("svc_events_total", &[service][..], 2.0),
        ("svc_cost_dollars_total", &[("currency", "usd"), service, ("type", "net")], 0.5),
        ("svc_busy_seconds_total", &[service], 1.5),
        ("svc_queue", &[service], 4.0),
        ("svc_load", &[service], 0.25),
        ("svc_age_seconds", &[service], 3.0),
        ("svc_requests_total", &[("model", "llama"), service, ("status", "ok")], 1.0),
        ("svc_boxed_total", &[service], 1.5),
        ("svc_boxed_whole_total", &[service], 1.0),
        ("svc_boxed_gauge", &[service], 2.0),
        ("svc_inner_hits_total", &[service], 1.0),
        ("svc_deep_inner_hits_total", &[("rank", "0"), service, ("side", "left")], 3.0),
    ] {
        assert_eq!(fake.total(name, labels), Some(expected), "{name}");
    }
    assert_eq!(all.registry.prefix(), "", "it is the registry that was given");

    let found = |name: &str| registered(&fake).into_iter().find(|found| found.name == name).unwrap();
    let cost = found("svc_cost_dollars_total");
    assert_eq!((&*cost.help, &*cost.unit, cost.kind), ("Cost of everything", "dollars", Kind::Counter));
    let queue = found("svc_queue");
    assert_eq!((&*queue.help, queue.mode, queue.level), ("Queue", GaugeMode::LiveMax, 7));
    assert_eq!(found("svc_latency_seconds").bounds, LATENCY);
    assert_eq!(found("svc_drift").bounds, [-1.0, 0.5, 2.0]);
    assert_eq!(found("svc_prompt_bytes").bounds, SIZES);
    assert_eq!(found("svc_state").states, ["starting", "ready"]);
    assert_eq!(found("svc_boxed_tally").kind, Kind::Tally);
}

#[test]
fn limits_of_families_count() {
    let fake = Fake::new();
    let all = Everything::new(&fake.registry()).unwrap();
    for number in 0..5 {
        all.requests_total.with(&["m", &number.to_string()]).inc();
    }
    let series = registered(&fake).into_iter().filter(|found| found.name == "svc_requests_total");
    assert_eq!(series.count(), 3, "two, and the overflow series");
}

#[test]
fn what_is_declared_is_what_is_registered() {
    let fake = Fake::new();
    let all = Everything::new(&fake.registry()).unwrap();
    all.requests_total.with(&["m", "s"]).inc();
    all.prompt_bytes.with(&["m"]).observe(1.0);
    let declared = Everything::declared();
    let mut series = registered(&fake);
    assert_eq!(declared.len(), series.len());
    for declared in &declared {
        let at = series.iter().position(|found| found.name == declared.name).expect(&declared.name);
        let found = series.remove(at);
        let own = |(name, _): &(String, String)| !declared.label_names.contains(name);
        assert_eq!(
            declared.labels,
            found.labels.into_iter().filter(own).collect::<Vec<_>>(),
            "{}",
            found.name
        );
        assert_eq!((declared.kind, declared.level), (found.kind, found.level), "{}", found.name);
        assert_eq!((&declared.help, &declared.unit), (&found.help, &found.unit), "{}", found.name);
        assert_eq!((&declared.buckets, &declared.states), (&found.bounds, &found.states), "{}", found.name);
        let mode = declared.kind.is_per_process().then_some(found.mode);
        assert_eq!(declared.mode, mode, "{}", found.name);
    }
    let fields: Vec<_> = declared.iter().map(|declared| &*declared.field).collect();
    assert_eq!(fields[..3], ["events_total", "cost", "busy_seconds_total"]);
    assert_eq!(fields[fields.len() - 2..], ["plain.hits_total", "left.inner.hits_total"]);
    let requests = declared.iter().find(|declared| declared.field == "requests_total").unwrap();
    assert_eq!(requests.label_names, ["model", "status"]);
    assert_eq!(Empty::declared(), []);
    Empty::new(&Registry::null()).unwrap();
}

#[test]
fn the_list_as_json_has_all_of_it() {
    #[derive(Metrics)]
    #[metrics(prefix = "a_", labels(zone = "b\"c"))]
    #[allow(dead_code, reason = "it is declared")]
    struct Two {
        /// Held \ back
        #[metric(mode = Max, unit = "ratio", level = 2)]
        share_ratio: FloatGauge,
        #[metric(label_names = ["model"], buckets = [0.5, 10])]
        wait: Family<Histogram>,
    }
    let expected = r#"{"metrics":[
{"field":"share_ratio","name":"a_share_ratio","help":"Held \\ back","unit":"ratio","type":"gauge","labels":{"zone":"b\"c"},"label_names":[],"buckets":[],"states":[],"mode":"max","level":2},
{"field":"wait","name":"a_wait","help":"","unit":"","type":"histogram","labels":{"zone":"b\"c"},"label_names":["model"],"buckets":[0.5,10.0],"states":[],"mode":null,"level":0}
]}
"#;
    assert_eq!(Two::declared_json(), expected);
}

#[test]
fn a_struct_in_a_segment_counts_beside_handles_of_others() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(4 << 20).open().unwrap();
    let (first, second) = (Everything::new(&registry).unwrap(), Everything::new(&registry).unwrap());
    first.left.inner.hits_total.inc();
    second.left.inner.hits_total.inc();
    let opts = Opts::new("svc_deep_inner_hits_total", "Hits").label("rank", "0").label("side", "left");
    assert_eq!(registry.create::<Counter>(&opts.label("service", "chat")).unwrap().value(), 2);
    first.latency_seconds.observe(1.0);
    assert_eq!(second.latency_seconds.count(), 1);
}

/// What `new` says of a struct.
fn refusal<M: Metrics>(registry: &dyn MetricsRegistry) -> (String, Error) {
    match M::new(registry) {
        Err(Error::Field { field, source }) => (field, *source),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("registered"),
    }
}

#[test]
fn what_the_registry_refuses_names_the_field() {
    #[derive(Debug, Metrics)]
    #[allow(dead_code, reason = "it is refused")]
    struct Labelled {
        fine_total: Counter,
        #[metric(labels(namespace = "x"))]
        wrong_total: Counter,
    }
    #[derive(Debug, Metrics)]
    #[metrics(labels(component = "x"))]
    struct Whole {}
    #[derive(Debug, Metrics)]
    #[allow(dead_code, reason = "it is refused")]
    struct Outer {
        #[metric(nested)]
        inner: Labelled,
    }
    #[derive(Debug, Metrics)]
    #[allow(dead_code, reason = "it is refused")]
    struct Named {
        #[metric(nested, labels(endpoint = "x"))]
        inner: Empty2,
        #[metric(label_names = ["endpoint"])]
        family: Family<Gauge>,
    }
    #[derive(Debug, Metrics)]
    struct Empty2 {}

    let runtime =
        dyn_metrics::DistributedRuntime::with_registry(&Registry::null(), Default::default()).unwrap();
    let (field, error) = refusal::<Labelled>(&runtime);
    assert_eq!(field, "Labelled.wrong_total");
    assert!(matches!(&error, Error::AutomaticLabel { label, .. } if label == "namespace"), "{error}");
    let (field, error) = refusal::<Whole>(&runtime);
    assert!(field == "Whole" && matches!(error, Error::AutomaticLabel { .. }), "{field} {error}");
    let (field, error) = refusal::<Named>(&runtime);
    assert!(field == "Named.inner" && matches!(error, Error::AutomaticLabel { .. }), "{field} {error}");
    let text = Outer::new(&runtime).unwrap_err().to_string();
    let expected = "field Outer.inner: field Labelled.wrong_total: metric \"dynamo_wrong_total\": found label \
                    \"namespace\", expected another name: the registry adds it itself";
    assert_eq!(text, expected);

    let taken = Registry::with_backend(Arc::new(Fake::new()));
    taken.gauge("fine_total", "another type").unwrap();
    let (field, error) = refusal::<Labelled>(&taken);
    assert!(
        field == "Labelled.fine_total" && matches!(error, Error::Conflict { what: "type", .. }),
        "{error}"
    );
}

mod elsewhere {
    //! Types under other names are known all the same, and the crate may have another one, too.
    use dyn_metrics::{self as metrics, Counter as C, Family as F};

    type Requests = F<C>;

    #[derive(metrics::Metrics)]
    #[metrics(crate = metrics)]
    pub struct Renamed {
        #[metric(label_names = ["model"])]
        pub requests_total: Requests,
        #[metric(registry)]
        pub registry: metrics::Registry,
    }
}

#[test]
fn types_and_the_crate_may_have_other_names() {
    let renamed = elsewhere::Renamed::new(&Registry::null()).unwrap();
    renamed.requests_total.with(&["a"]).inc();
    assert_eq!(renamed.registry.kind(), "null");
    assert_eq!(elsewhere::Renamed::declared()[0].kind, Kind::Counter);
}

macro_rules! counted {
    ($name:ident: $field:ident $type:ty) => {
        #[derive(Metrics)]
        struct $name {
            #[metric(mode = Max)]
            $field: $type,
            #[metric(nested)]
            inner: Inner,
        }
    };
}

counted! { Written: depth Gauge }

#[test]
fn a_macro_may_write_the_struct() {
    let fake = Fake::new();
    let written = Written::new(&fake.registry()).unwrap();
    written.depth.set(3);
    written.inner.hits_total.inc();
    assert_eq!(fake.total("depth", &[]), Some(3.0));
}
