//! `opentelemetry` 0.33 with its SDK and `opentelemetry-prometheus` 0.33, which is also the reader.
//!
//! `opentelemetry-bound` are instruments bound to their attributes, an experimental feature of this version:
//! its held handles.

use std::hint::black_box;
use std::sync::Arc;

use dyn_metrics::Registry as OurRegistry;
use dyn_metrics::backend::OpenTelemetry;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Registry, TextEncoder};

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, LABELS, Op, PAIR, over, repeat};
use dyn_metrics_benches::pool::Contender;

const NAME: &str = "opentelemetry";
const BOUND: &str = "opentelemetry-bound";
/// Above what is used; the default of 2 000 would send the others to an overflow series.
const MAX_SERIES: usize = 200_000;

/// A provider with its Prometheus exporter; it must live as long as its instruments are used.
struct Source {
    provider: SdkMeterProvider,
    registry: Registry,
}

impl Source {
    fn new() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build();
        let limit = |_: &Instrument| Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok();
        let builder = SdkMeterProvider::builder().with_reader(exporter.expect("an exporter"));
        Self { provider: builder.with_view(limit).build(), registry }
    }

    fn meter(&self) -> Meter {
        self.provider.meter("bench")
    }
}

/// A registry of ours whose families are this library's instruments.
pub fn behind_ours() -> OurRegistry {
    let source = Box::leak(Box::new(Source::new())); // what ends with it would make instruments do nothing
    let backend = OpenTelemetry::with_meter_provider(source.provider.clone()).expect("memory for a page");
    OurRegistry::with_backend(Arc::new(backend))
}

fn attributes([model, status]: [String; 2]) -> [KeyValue; 2] {
    [KeyValue::new(LABELS[0], model), KeyValue::new(LABELS[1], status)]
}

pub fn contender(op: Op, input: &Arc<Input>) -> Option<Contender> {
    let (source, input) = (Source::new(), Arc::clone(input));
    let (meter, name) = (source.meter(), op.metric());
    let contender = match op {
        Op::CounterInc => {
            let counter = meter.u64_counter(name).build();
            Contender::new(NAME, move |_, n| repeat(n, &counter, |counter| counter.add(1, &[])))
        }
        Op::CounterIncF64 => {
            let held = (meter.f64_counter(name).build(), 1.5);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(counter, value)| counter.add(*value, &[])))
        }
        Op::GaugeSet => {
            let held = (meter.i64_gauge(name).build(), 7);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(gauge, value)| gauge.record(*value, &[])))
        }
        Op::GaugeSetMostRecent => return None,
        Op::HistObserve => {
            let histogram = meter.f64_histogram(name).with_boundaries(BOUNDS.to_vec()).build();
            Contender::new(NAME, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.record(*value, &[]));
            })
        }
        Op::CounterLabelsStatic => {
            let counter = meter.u64_counter(name).build();
            Contender::new(NAME, move |_, n| {
                repeat(n, &counter, |counter| {
                    let pair = [KeyValue::new(LABELS[0], PAIR[0]), KeyValue::new(LABELS[1], PAIR[1])];
                    counter.add(1, &pair);
                });
            })
        }
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            let counter = meter.u64_counter(name).build();
            Contender::new(NAME, move |worker, n| {
                over(worker, n, input.pairs(op), &counter, |counter, pair| {
                    counter.add(1, &attributes(pair.clone()));
                });
            })
        }
    };
    Some(keeping(source, contender))
}

/// The held handles of this version.
pub fn bound(op: Op, input: &Arc<Input>) -> Option<Contender> {
    let (source, input) = (Source::new(), Arc::clone(input));
    let (meter, name) = (source.meter(), op.metric());
    let contender = match op {
        Op::CounterInc => {
            let counter = meter.u64_counter(name).build().bind(&[]);
            Contender::new(BOUND, move |_, n| repeat(n, &counter, |counter| counter.add(1)))
        }
        Op::CounterIncF64 => {
            let held = (meter.f64_counter(name).build().bind(&[]), 1.5);
            Contender::new(BOUND, move |_, n| repeat(n, &held, |(counter, value)| counter.add(*value)))
        }
        Op::GaugeSet => {
            let held = (meter.i64_gauge(name).build().bind(&[]), 7);
            Contender::new(BOUND, move |_, n| repeat(n, &held, |(gauge, value)| gauge.record(*value)))
        }
        Op::HistObserve => {
            let histogram = meter.f64_histogram(name).with_boundaries(BOUNDS.to_vec()).build().bind(&[]);
            Contender::new(BOUND, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.record(*value));
            })
        }
        _ => return None,
    };
    Some(keeping(source, contender))
}

/// Lets `source` live as long as `contender`.
fn keeping(source: Source, contender: Contender) -> Contender {
    Contender {
        after: Some(Box::new(move || {
            black_box(&source);
        })),
        ..contender
    }
}

pub fn page(kind: Kind, series: usize) -> Page {
    let source = Source::new();
    let meter = source.meter();
    let all = page_labels(series).map(attributes);
    let touch: Box<dyn Fn()> = match kind {
        Kind::Counter => {
            let counter = meter.u64_counter("bench_requests").with_description("Requests answered").build();
            let all: Vec<_> = all.map(|pair| counter.bind(&pair)).collect();
            Box::new(move || all.iter().for_each(|counter| counter.add(17)))
        }
        Kind::Histogram => {
            let builder = meter.f64_histogram("bench_latency_seconds").with_description("Time to answer");
            let histogram = builder.with_boundaries(BOUNDS.to_vec()).build();
            let all: Vec<_> = all.map(|pair| histogram.bind(&pair)).collect();
            Box::new(move || {
                for histogram in &all {
                    histogram.record(0.004);
                    histogram.record(0.7);
                }
            })
        }
    };
    let mut text = String::new();
    Page::new(NAME, touch, move || {
        let source = black_box(&source); // all of it: dropped, the provider would end the export
        text.clear();
        TextEncoder::new().encode_utf8(&source.registry.gather(), &mut text).expect("text");
        black_box(&text).len()
    })
}
