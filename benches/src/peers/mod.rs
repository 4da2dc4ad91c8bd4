//! Everything that is measured: a file for each library, and one for what is no library.
//!
//! Each has `contender`, an operation in its best documented use (none where it has no such thing), and
//! `page`, a registry that is rendered as Prometheus text.

use std::sync::Arc;

use dyn_metrics_benches::op::{Input, Op};
use dyn_metrics_benches::pool::Contender;

mod fastmetrics;
mod measured;
mod metrics;
mod opentelemetry;
pub mod ours;
mod prometheus;
mod prometheus_client;
pub mod raw;

/// What is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counters with two labels.
    Counter,
    /// Histograms with 11 bounds and two labels.
    Histogram,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Metrics that are rendered again and again.
pub struct Page {
    pub name: &'static str,
    /// Updates every series, as happens between scrapes; not measured.
    pub touch: Box<dyn FnMut()>,
    /// Renders; the bytes of the text.
    pub render: Box<dyn FnMut() -> usize>,
}

impl Page {
    pub fn new(
        name: &'static str,
        touch: impl FnMut() + 'static,
        render: impl FnMut() -> usize + 'static,
    ) -> Self {
        Self { name, touch: Box::new(touch), render: Box::new(render) }
    }
}

/// The labels of the series of a page.
pub fn page_labels(series: usize) -> impl Iterator<Item = [String; 2]> {
    (0..series).map(|at| [format!("model-{:04}", at / 100), format!("{}", 200 + at % 100)])
}

/// Everyone who does `op`, ours first; `fetch_add` is always among them.
pub fn contenders(op: Op, input: &Arc<Input>, home: &ours::Home) -> Vec<Contender> {
    let mut all = ours::contenders(op, input, home);
    all.extend(raw::contenders(op));
    all.extend(prometheus::contender(op, input));
    all.extend(prometheus_client::contender(op, input));
    all.extend(metrics::contender(op, input));
    all.extend(opentelemetry::contender(op, input));
    all.extend(opentelemetry::bound(op, input));
    all.extend(measured::contender(op, input));
    all.extend(fastmetrics::contender(op, input));
    all
}

/// Everyone's page of this many series, ours first.
pub fn pages(kind: Kind, series: usize, home: &ours::Home) -> Vec<Page> {
    vec![
        ours::page(kind, series, home),
        prometheus::page(kind, series),
        prometheus_client::page(kind, series),
        metrics::page(kind, series),
        opentelemetry::page(kind, series),
        measured::page(kind, series),
        fastmetrics::page(kind, series),
    ]
}
