//! `metrics` 0.24 with `metrics-exporter-prometheus` 0.18.
//!
//! An observation is put in a queue, which the exporter empties at a scrape or when `run_upkeep` is called.
//! That is done here after each slice; its cost is not part of the operation's.

use std::hint::black_box;
use std::sync::{Arc, LazyLock};

use metrics::{Key, Label, Level, Metadata, Recorder, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::{Kind, Page, page_labels};
use dyn_metrics_benches::op::{BOUNDS, Input, LABELS, Op, PAIR, over, repeat};
use dyn_metrics_benches::pool::Contender;

const NAME: &str = "metrics";

fn recorder() -> PrometheusRecorder {
    PrometheusBuilder::new().set_buckets(&BOUNDS).expect("bounds").build_recorder()
}

/// The recorder that the macros use: global, which is faster than a local one.
static GLOBAL: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let recorder = recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).expect("no other recorder");
    handle
});

pub fn contender(op: Op, input: &Arc<Input>) -> Option<Contender> {
    LazyLock::force(&GLOBAL);
    let (name, input) = (op.metric(), Arc::clone(input));
    Some(match op {
        Op::CounterInc => {
            let counter = counter!(name);
            Contender::new(NAME, move |_, n| repeat(n, &counter, |counter| counter.increment(1)))
        }
        Op::GaugeSet => {
            let held = (gauge!(name), 7.0);
            Contender::new(NAME, move |_, n| repeat(n, &held, |(gauge, value)| gauge.set(*value)))
        }
        Op::CounterIncF64 | Op::GaugeSetMostRecent => return None,
        Op::HistObserve => {
            let histogram = histogram!(name);
            let slice = move |worker, n| {
                over(worker, n, &input.values, &histogram, |histogram, value| histogram.record(*value));
            };
            Contender { after: Some(Box::new(|| GLOBAL.run_upkeep())), ..Contender::new(NAME, slice) }
        }
        Op::CounterLabelsStatic => Contender::new(NAME, |_, n| {
            repeat(n, &(), |()| {
                counter!("bench_counter_labels_static", LABELS[0] => PAIR[0], LABELS[1] => PAIR[1])
                    .increment(1);
            });
        }),
        Op::CounterLabels | Op::CounterLabels16 | Op::CounterLabels10000 => {
            Contender::new(NAME, move |worker, n| {
                over(worker, n, input.pairs(op), &(), |(), [model, status]| {
                    counter!("bench_counter_labels", LABELS[0] => model.clone(), LABELS[1] => status.clone())
                        .increment(1);
                });
            })
        }
    })
}

pub fn page(kind: Kind, series: usize) -> Page {
    let recorder = recorder();
    let handle = recorder.handle();
    let metadata = Metadata::new(module_path!(), Level::INFO, None);
    let key = |name: &'static str, [model, status]: [String; 2]| {
        Key::from_parts(name, vec![Label::new(LABELS[0], model), Label::new(LABELS[1], status)])
    };
    let touch: Box<dyn Fn()> = match kind {
        Kind::Counter => {
            with_local_recorder(&recorder, || {
                metrics::describe_counter!("bench_requests_total", "Requests answered");
            });
            let keys = page_labels(series).map(|pair| key("bench_requests_total", pair));
            let all: Vec<_> = keys.map(|key| recorder.register_counter(&key, &metadata)).collect();
            Box::new(move || all.iter().for_each(|counter| counter.increment(17)))
        }
        Kind::Histogram => {
            with_local_recorder(&recorder, || {
                metrics::describe_histogram!("bench_latency_seconds", "Time to answer");
            });
            let keys = page_labels(series).map(|pair| key("bench_latency_seconds", pair));
            let all: Vec<_> = keys.map(|key| recorder.register_histogram(&key, &metadata)).collect();
            let handle = handle.clone();
            Box::new(move || {
                for histogram in &all {
                    histogram.record(0.004);
                    histogram.record(0.7);
                }
                handle.run_upkeep();
            })
        }
    };
    let mut text = Vec::new();
    Page::new(NAME, touch, move || {
        text.clear();
        handle.render_to_write(&mut text).expect("text");
        black_box(&text).len()
    })
}
