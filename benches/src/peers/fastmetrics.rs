//! `fastmetrics` 0.7.
//!
//! A family is searched by a label set of one type. For strings that nothing is known about that type owns them.

use std::hint::black_box;
use std::sync::Arc;

use fastmetrics::derive::LabelSet;
use fastmetrics::format::text::{TextProfile, encode};
use fastmetrics::metrics::counter::Counter;
use fastmetrics::metrics::family::Family;
use fastmetrics::metrics::gauge::Gauge;
use fastmetrics::metrics::histogram::Histogram;
use fastmetrics::registry::Registry;

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, Op, PAIR, over, repeat};
use dyn_metrics_benches::pool::Contender;

const NAME: &str = "fastmetrics";

#[derive(Clone, Eq, PartialEq, Hash, LabelSet)]
struct Owned {
    model: String,
    status: String,
}

#[derive(Clone, Eq, PartialEq, Hash, LabelSet)]
struct Known {
    model: &'static str,
    status: &'static str,
}

pub fn contender(op: Op, input: &Arc<Input>) -> Option<Contender> {
    let input = Arc::clone(input);
    Some(match op {
        Op::CounterInc => {
            let counter: Counter = Counter::default();
            Contender::new(NAME, move |_, n| repeat(n, &counter, |counter| counter.inc()))
        }
        Op::CounterIncF64 => {
            let held = (Counter::<f64>::default(), 1.5);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(counter, value)| counter.inc_by(*value)))
        }
        Op::GaugeSet => {
            let held: (Gauge, i64) = (Gauge::default(), 7);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(gauge, value)| gauge.set(*value)))
        }
        Op::GaugeSetMostRecent => return None,
        Op::HistObserve => {
            let histogram = Histogram::new(BOUNDS);
            Contender::new(NAME, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.observe(*value));
            })
        }
        Op::CounterLabelsStatic => {
            let family = Family::<Known, Counter>::default();
            let known = Known { model: PAIR[0], status: PAIR[1] };
            Contender::new(NAME, move |_, n| {
                repeat(n, &family, |family| family.with_or_new(&known, |counter| counter.inc()));
            })
        }
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            let family = Family::<Owned, Counter>::default();
            Contender::new(NAME, move |worker, n| {
                over(worker, n, input.pairs(op), &family, |family, [model, status]| {
                    let labels = Owned { model: model.clone(), status: status.clone() };
                    family.with_or_new(&labels, |counter| counter.inc());
                });
            })
        }
    })
}

pub fn page(kind: Kind, series: usize) -> Page {
    let mut registry = Registry::default();
    let usable = "a name of ours is valid";
    let labels = page_labels(series).map(|[model, status]| Owned { model, status });
    let touch: Box<dyn Fn()> = match kind {
        Kind::Counter => {
            let family = Family::<Owned, Counter>::default();
            registry.register("bench_requests_total", "Requests answered", family.clone()).expect(usable);
            let all: Vec<Counter> = labels.map(|labels| family.with_or_new(&labels, Clone::clone)).collect();
            Box::new(move || all.iter().for_each(|counter| counter.inc_by(17)))
        }
        Kind::Histogram => {
            let family = Family::<Owned, Histogram>::new(|| Histogram::new(BOUNDS));
            registry.register("bench_latency_seconds", "Time to answer", family.clone()).expect(usable);
            let all: Vec<Histogram> =
                labels.map(|labels| family.with_or_new(&labels, Clone::clone)).collect();
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
        encode(&mut text, &registry, TextProfile::PrometheusV0_0_4).expect("text");
        black_box(&text).len()
    })
}
