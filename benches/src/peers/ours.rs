//! dyn-metrics: the public handles with default features, the reader and its text encoder.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dyn_metrics::{
    Counter, Family, FloatCounter, Gauge, GaugeMode, Histogram, MetricCounter, Metrics, Opts, Registry,
};
use dyn_metrics_benches::bars::OURS;
use dyn_metrics_reader::Collector;

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, LABELS, Op, PAIR, over, repeat};
use dyn_metrics_benches::pool::{Contender, pin};

/// The contender that calls through `Box<dyn MetricCounter>`.
const OBJECT: &str = "dyn-metrics-object";

/// The contender that has its counters in a struct.
const DERIVED: &str = "dyn-metrics-derived";

/// Such a struct.
#[derive(Metrics)]
#[metrics(prefix = "bench_derived_")]
struct Derived {
    /// What a bench counts
    whole_total: Counter,
    /// What a bench counts
    fractional_total: FloatCounter,
}

/// The sample plugin, which `make bench` compiles beside this program; none where that was not done.
fn plugin() -> Option<Registry> {
    let path = std::env::current_exe().ok()?.with_file_name("sample_plugin.so");
    path.exists().then(|| Registry::with_plugin(path, "").expect("the sample plugin"))
}

/// More than any family here has.
const MAX_SERIES: u32 = 200_000;

/// A private directory in memory for segments.
pub struct Home {
    path: PathBuf,
    /// Removes it at the end; none for a directory of another process.
    _owner: Option<tempfile::TempDir>,
}

impl Home {
    /// A new one, removed when dropped.
    pub fn new() -> std::io::Result<Self> {
        let owner = tempfile::Builder::new().prefix("dyn-metrics-bench-").tempdir_in("/dev/shm")?;
        Ok(Self { path: owner.path().to_owned(), _owner: Some(owner) })
    }

    /// That of the process which started this one.
    pub fn at(path: &str) -> Self {
        Self { path: PathBuf::from(path), _owner: None }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// The path of the file of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Opens the segment of this name.
    pub fn open(&self, segment: &str) -> Registry {
        let builder = Registry::builder().path(self.path(segment)).max_series_per_family(MAX_SERIES);
        builder.open().expect("a segment in a private directory")
    }
}

/// Those that do `op`: by a handle and, of counters, in a struct and as a trait object; and by handles of nothing, of
/// OpenTelemetry and of the sample plugin.
pub fn contenders(op: Op, input: &Arc<Input>, home: &Home) -> Vec<Contender> {
    let registry = home.open("operations");
    let mut all = vec![contender(OURS, op, input, &registry)];
    if matches!(op, Op::CounterInc | Op::CounterIncF64 | Op::GaugeSet | Op::HistObserve) {
        all.push(contender("dyn-metrics-null", op, input, &Registry::null()));
        all.push(contender("dyn-metrics-otel", op, input, &super::opentelemetry::behind_ours()));
        all.extend(plugin().map(|registry| contender("dyn-metrics-plugin", op, input, &registry)));
    }
    let opts = Opts::new(&op.metric(), "What a bench counts");
    let object: Option<Box<dyn MetricCounter>> = match op {
        Op::CounterInc => Some(registry.create::<Counter>(&opts).expect("as above").into()),
        Op::CounterIncF64 => Some(registry.create::<FloatCounter>(&opts).expect("as above").into()),
        _ => None,
    };
    if matches!(op, Op::CounterInc | Op::CounterIncF64) {
        all.push(derived(op, Derived::new(&registry).expect("as above")));
    }
    all.extend(object.map(|object| match op {
        Op::CounterInc => Contender::new(OBJECT, move |_, n| repeat(n, &object, |object| object.inc())),
        _ => {
            let held = (object, 1.5);
            Contender::new(OBJECT, move |_, n| repeat(n, &held, |(object, value)| object.inc_by(*value)))
        }
    }));
    all
}

/// Does `op`, which counts, through a struct of metrics.
fn derived(op: Op, metrics: Derived) -> Contender {
    match op {
        Op::CounterInc => {
            Contender::new(DERIVED, move |_, n| repeat(n, &metrics, |metrics| metrics.whole_total.inc()))
        }
        _ => {
            let held = (metrics, 1.5);
            Contender::new(DERIVED, move |_, n| {
                repeat(n, &held, |(metrics, value)| metrics.fractional_total.inc_by(*value));
            })
        }
    }
}

/// Does `op` in the segment of `registry`, by whichever path this process takes.
pub fn contender(name: &'static str, op: Op, input: &Arc<Input>, registry: &Registry) -> Contender {
    let (opts, input) = (Opts::new(&op.metric(), "What a bench counts"), Arc::clone(input));
    let usable = "a name of ours is valid";
    match op {
        Op::CounterInc => {
            let counter = registry.create::<Counter>(&opts).expect(usable);
            Contender::new(name, move |_, n| repeat(n, &counter, |counter| counter.inc()))
        }
        Op::CounterIncF64 => {
            let held = (registry.create::<FloatCounter>(&opts).expect(usable), 1.5);
            Contender::new(name, move |_, n| repeat(n, &held, |(counter, value)| counter.inc_by(*value)))
        }
        Op::GaugeSet | Op::GaugeSetMostRecent => {
            let mode = if op == Op::GaugeSet { GaugeMode::LiveSum } else { GaugeMode::LiveMostRecent };
            let held = (registry.create::<Gauge>(&opts.mode(mode)).expect(usable), 7);
            Contender::new(name, move |_, n| repeat(n, &held, |(gauge, value)| gauge.set(*value)))
        }
        Op::HistObserve => {
            let histogram = registry.create::<Histogram>(&opts.bounds(&BOUNDS)).expect(usable);
            Contender::new(name, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.observe(*value));
            })
        }
        Op::CounterLabelsStatic => {
            let family = registry.family::<Counter>(&opts, &LABELS).expect(usable);
            Contender::new(name, move |_, n| repeat(n, &family, |family| family.with_static(&PAIR).inc()))
        }
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            let family = registry.family::<Counter>(&opts, &LABELS).expect(usable);
            Contender::new(name, move |worker, n| {
                over(worker, n, input.pairs(op), &family, |family, [model, status]| {
                    family.with(&[model, status]).inc();
                });
            })
        }
    }
}

/// A segment with this many series, read as the exporter does.
pub fn page(kind: Kind, series: usize, home: &Home) -> Page {
    let segment = format!("page_{}_{series}", kind.name());
    let registry = home.open(&segment);
    let touch = toucher(kind, series, &registry);
    touch_on_each_cpu(&touch);
    Page::new(OURS, touch, scraper(&home.path(&segment)))
}

/// Registers `series` series; what is returned updates each.
pub fn toucher(kind: Kind, series: usize, registry: &Registry) -> Box<dyn Fn()> {
    let usable = "a name of ours is valid";
    match kind {
        Kind::Counter => {
            let opts = Opts::new("bench_requests_total", "Requests answered");
            let family: Family<Counter> = registry.family(&opts, &LABELS).expect(usable);
            let all: Vec<_> = page_labels(series).map(|[a, b]| family.with(&[&a, &b])).collect();
            Box::new(move || all.iter().for_each(|counter| counter.inc_by(17)))
        }
        Kind::Histogram => {
            let opts = Opts::new("bench_latency_seconds", "Time to answer").bounds(&BOUNDS);
            let family: Family<Histogram> = registry.family(&opts, &LABELS).expect(usable);
            let all: Vec<_> = page_labels(series).map(|[a, b]| family.with(&[&a, &b])).collect();
            Box::new(move || {
                for histogram in &all {
                    histogram.observe(0.004);
                    histogram.observe(0.7);
                }
            })
        }
    }
}

/// Updates twice on each of two CPUs, so that both have blocks: the first update on a CPU makes its block.
pub fn touch_on_each_cpu(touch: &dyn Fn()) {
    let before = nix::sched::sched_getaffinity(nix::unistd::Pid::from_raw(0));
    for cpu in [1, 0] {
        pin(cpu);
        touch();
        touch();
        if let Ok(before) = &before {
            let _ = nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), before);
        }
    }
}

/// Collects and encodes the segment at `path`, as a scrape does; the bytes of the text.
pub fn scraper(path: &Path) -> impl FnMut() -> usize + use<> {
    let mut collector = Collector::new(&[path.display().to_string()]);
    let mut text = Vec::new();
    move || {
        text.clear();
        collector.render(&mut text);
        black_box(&text).len()
    }
}
