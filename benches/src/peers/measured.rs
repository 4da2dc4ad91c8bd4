//! `measured` 0.0.25, the newest that builds with Rust 1.95.
//!
//! Strings that nothing is known about go through an interner (`ParaCord`, as in its own benches); labels known
//! at compile time are enums, with which a look-up is an index.

use std::hint::black_box;
use std::sync::Arc;

use measured::metric::histogram::Thresholds;
use measured::text::BufferedTextEncoder;
use measured::{
    Counter, CounterVec, FixedCardinalityLabel, Gauge, Histogram, HistogramVec, LabelGroup, MetricGroup,
};
use paracord::ParaCord;

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, Op, over, repeat};
use dyn_metrics_benches::pool::Contender;

const NAME: &str = "measured";

#[derive(Clone, Copy, Debug, PartialEq, LabelGroup)]
#[label(set = StringsSet)]
struct Strings<'a> {
    #[label(dynamic_with = ParaCord)]
    model: &'a str,
    #[label(dynamic_with = ParaCord)]
    status: &'a str,
}

fn strings() -> StringsSet {
    StringsSet { model: ParaCord::default(), status: ParaCord::default() }
}

#[derive(Clone, Copy, Debug, PartialEq, FixedCardinalityLabel)]
enum Model {
    #[label(rename = "meta-llama/Llama-3.1-8B-Instruct")]
    Llama8B,
    #[label(rename = "meta-llama/Llama-3.1-70B-Instruct")]
    Llama70B,
}

#[derive(Clone, Copy, Debug, PartialEq, FixedCardinalityLabel)]
enum Status {
    Ok = 200,
    Busy = 503,
}

#[derive(Clone, Copy, Debug, PartialEq, LabelGroup)]
#[label(set = KnownSet)]
struct Known {
    model: Model,
    status: Status,
}

pub fn contender(op: Op, input: &Arc<Input>) -> Option<Contender> {
    let input = Arc::clone(input);
    Some(match op {
        Op::CounterInc => {
            let counter = Counter::new();
            Contender::new(NAME, move |_, n| repeat(n, &counter, |counter| counter.inc()))
        }
        Op::GaugeSet => {
            let held = (Gauge::new(), 7);
            Contender::new(NAME, move |_, n| {
                repeat(n, &held, |(gauge, value)| gauge.get_metric().set(*value))
            })
        }
        Op::CounterIncF64 | Op::GaugeSetMostRecent => return None,
        Op::HistObserve => {
            let histogram = Histogram::with_metadata(Thresholds::with_buckets(BOUNDS));
            Contender::new(NAME, move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.observe(*value));
            })
        }
        Op::CounterLabelsStatic => {
            let (used, unused) = ((Model::Llama8B, Status::Ok), (Model::Llama70B, Status::Busy));
            let family = CounterVec::<KnownSet>::new();
            family.inc(Known { model: unused.0, status: unused.1 });
            Contender::new(NAME, move |_, n| {
                repeat(n, &family, |family| family.inc(Known { model: used.0, status: used.1 }));
            })
        }
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            let family = CounterVec::with_label_set(strings());
            Contender::new(NAME, move |worker, n| {
                over(worker, n, input.pairs(op), &family, |family, [model, status]| {
                    family.inc(Strings { model, status });
                });
            })
        }
    })
}

#[derive(MetricGroup)]
struct Counters {
    /// Requests answered
    bench_requests_total: CounterVec<StringsSet>,
}

#[derive(MetricGroup)]
struct Histograms {
    /// Time to answer
    bench_latency_seconds: HistogramVec<StringsSet, 11>,
}

pub fn page(kind: Kind, series: usize) -> Page {
    let pairs: Vec<_> = page_labels(series).collect();
    let mut encoder = BufferedTextEncoder::new();
    match kind {
        Kind::Counter => {
            let group = Arc::new(Counters { bench_requests_total: CounterVec::with_label_set(strings()) });
            let touched = Arc::clone(&group);
            let touch = move || {
                for [model, status] in &pairs {
                    touched.bench_requests_total.inc_by(Strings { model, status }, 17);
                }
            };
            touch();
            Page::new(NAME, touch, move || {
                let Ok(()) = group.collect_group_into(&mut encoder);
                black_box(encoder.finish()).len()
            })
        }
        Kind::Histogram => {
            let bounds = Thresholds::with_buckets(BOUNDS);
            let family = HistogramVec::with_label_set_and_metadata(strings(), bounds);
            let group = Arc::new(Histograms { bench_latency_seconds: family });
            let touched = Arc::clone(&group);
            let touch = move || {
                for [model, status] in &pairs {
                    touched.bench_latency_seconds.observe(Strings { model, status }, 0.004);
                    touched.bench_latency_seconds.observe(Strings { model, status }, 0.7);
                }
            };
            touch();
            Page::new(NAME, touch, move || {
                let Ok(()) = group.collect_group_into(&mut encoder);
                black_box(encoder.finish()).len()
            })
        }
    }
}
