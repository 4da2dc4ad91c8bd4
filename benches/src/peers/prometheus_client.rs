//! `prometheus-client` 0.25, of the Prometheus project.
//!
//! A family is searched by a label set of one type. For strings that nothing is known about that type owns them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, LABELS, Op, PAIR, over, repeat};
use dyn_metrics_benches::pool::Contender;

const NAME: &str = "prometheus-client";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Owned {
    model: String,
    status: String,
}

pub fn contender(op: Op, input: &Arc<Input>) -> Option<Contender> {
    let input = Arc::clone(input);
    Some(match op {
        Op::CounterInc => {
            let counter: Counter = Counter::default();
            Contender::new(NAME, move |_, n| {
                repeat(n, &counter, |counter| {
                    counter.inc();
                });
            })
        }
        Op::CounterIncF64 => {
            let held = (Counter::<f64>::default(), 1.5);
            Contender::new(NAME, move |_, n| {
                repeat(n, &held, |(counter, value)| {
                    counter.inc_by(*value);
                });
            })
        }
        Op::GaugeSet => {
            let held: (Gauge, i64) = (Gauge::default(), 7);
            Contender::new(NAME, move |_, n| {
                // `set` is a swap; a store is documented to be had through `inner`.
                repeat(n, &held, |(gauge, value)| gauge.inner().store(*value, Ordering::Relaxed));
            })
        }
        Op::GaugeSetMostRecent => return None,
        Op::HistObserve => {
            let histogram = Histogram::new(BOUNDS);
            Contender::new(NAME, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.observe(*value));
            })
        }
        Op::CounterLabelsStatic => {
            let family = Family::<[(&'static str, &'static str); 2], Counter>::default();
            let labels = [(LABELS[0], PAIR[0]), (LABELS[1], PAIR[1])];
            Contender::new(NAME, move |_, n| {
                repeat(n, &family, |family| {
                    family.get_or_create(&labels).inc();
                });
            })
        }
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            let family = Family::<Owned, Counter>::default();
            Contender::new(NAME, move |worker, n| {
                over(worker, n, input.pairs(op), &family, |family, [model, status]| {
                    let labels = Owned { model: model.clone(), status: status.clone() };
                    family.get_or_create(&labels).inc();
                });
            })
        }
    })
}

pub fn page(kind: Kind, series: usize) -> Page {
    let mut registry = Registry::default();
    let labels = page_labels(series).map(|[model, status]| Owned { model, status });
    let touch: Box<dyn Fn()> = match kind {
        Kind::Counter => {
            let family = Family::<Owned, Counter>::default();
            registry.register("bench_requests", "Requests answered", family.clone());
            let all: Vec<_> = labels.map(|labels| family.get_or_create_owned(&labels)).collect();
            Box::new(move || {
                for counter in &all {
                    counter.inc_by(17);
                }
            })
        }
        Kind::Histogram => {
            let family = Family::<Owned, Histogram>::new_with_constructor(|| Histogram::new(BOUNDS));
            registry.register("bench_latency_seconds", "Time to answer", family.clone());
            let all: Vec<_> = labels.map(|labels| family.get_or_create_owned(&labels)).collect();
            Box::new(move || {
                for histogram in &all {
                    histogram.observe(0.004);
                    histogram.observe(0.7);
                }
            })
        }
    };
    let mut text = String::new();
    Page::new(NAME, touch, move || {
        text.clear();
        encode(&mut text, &registry).expect("text");
        black_box(&text).len()
    })
}
