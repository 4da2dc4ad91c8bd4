//! `prometheus` 0.14, by TiKV.
//!
//! Its static form (`prometheus-static-metric`) keeps the handles of known label values in a struct, which is
//! what `counter_inc` measures. `local()` counters, which others see after a flush only, are not used.

use std::hint::black_box;
use std::sync::Arc;

use prometheus::core::Collector;
use prometheus::{
    Counter, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    TextEncoder,
};

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, LABELS, Op, PAIR, over, repeat};
use dyn_metrics_benches::pool::Contender;

const NAME: &str = "prometheus";
const USABLE: &str = "a name of ours is valid";

pub fn contender(op: Op, input: &Arc<Input>) -> Option<Contender> {
    let (name, help, input) = (op.metric(), "What a bench counts", Arc::clone(input));
    Some(match op {
        Op::CounterInc => {
            let counter = IntCounter::new(name, help).expect(USABLE);
            Contender::new(NAME, move |_, n| repeat(n, &counter, |counter| counter.inc()))
        }
        Op::CounterIncF64 => {
            let held = (Counter::new(name, help).expect(USABLE), 1.5);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(counter, value)| counter.inc_by(*value)))
        }
        Op::GaugeSet => {
            let held = (IntGauge::new(name, help).expect(USABLE), 7);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(gauge, value)| gauge.set(*value)))
        }
        Op::GaugeSetMostRecent => return None,
        Op::HistObserve => {
            let opts = HistogramOpts::new(name, help).buckets(BOUNDS.to_vec());
            let histogram = Histogram::with_opts(opts).expect(USABLE);
            Contender::new(NAME, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.observe(*value));
            })
        }
        Op::CounterLabelsStatic => {
            let family = IntCounterVec::new(Opts::new(name, help), &LABELS).expect(USABLE);
            Contender::new(NAME, move |_, n| {
                repeat(n, &family, |family| family.with_label_values(&PAIR).inc());
            })
        }
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            let family = IntCounterVec::new(Opts::new(name, help), &LABELS).expect(USABLE);
            Contender::new(NAME, move |worker, n| {
                over(worker, n, input.pairs(op), &family, |family, [model, status]| {
                    family.with_label_values(&[model.as_str(), status]).inc();
                });
            })
        }
    })
}

pub fn page(kind: Kind, series: usize) -> Page {
    let registry = Registry::new();
    let touch: Box<dyn Fn()> = match kind {
        Kind::Counter => {
            let opts = Opts::new("bench_requests_total", "Requests answered");
            let family = register(&registry, IntCounterVec::new(opts, &LABELS).expect(USABLE));
            let all: Vec<_> = page_labels(series).map(|pair| family.with_label_values(&pair)).collect();
            Box::new(move || all.iter().for_each(|counter| counter.inc_by(17)))
        }
        Kind::Histogram => {
            let opts = HistogramOpts::new("bench_latency_seconds", "Time to answer").buckets(BOUNDS.to_vec());
            let family = register(&registry, HistogramVec::new(opts, &LABELS).expect(USABLE));
            let all: Vec<_> = page_labels(series).map(|pair| family.with_label_values(&pair)).collect();
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
        TextEncoder::new().encode_utf8(&registry.gather(), &mut text).expect("text");
        black_box(&text).len()
    })
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> C {
    registry.register(Box::new(family.clone())).expect(USABLE);
    family
}
