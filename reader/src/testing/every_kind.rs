//! One segment with everything in it.

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::record::{Doubles, Family, Texts};
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use super::{Builder, claimant, family};

/// A segment with a family of every kind, two processes (slots 0 and 1) and labels that need escaping.
pub fn every_kind(created_unix_ns: u64) -> Builder {
    let mut built = Builder::with_common(created_unix_ns, &[("cluster", "a")]);
    let (first, second) = (claimant(0, 1, 100), claimant(1, 1, 200));
    built.process(&first, "vllm");
    built.process(&second, "decode");
    let requests =
        built.family(&Family { help: "Line\none \\ two.", ..family("requests_total", Kind::Counter) });
    let series = built.series(requests, &[("model", "ll\"a\\m\na"), ("status", "ök")]);
    built.cells(series, Representation::Integer, [&[u64::MAX - 10], &[4], &[], &[6]]);
    let series = built.series(requests, &[("model", "x")]);
    built.cells(series, Representation::Integer, [&[1], &[], &[], &[]]);
    built.cells(series, Representation::Float, [&[], &[0.5_f64.to_bits()], &[], &[]]);
    built.cells(series, Representation::Nanoseconds, [&[250_000_000], &[], &[], &[]]);
    let bounds = &[0.1, 1.0, 1e6];
    let latency = Family {
        bounds: Doubles::Numbers(bounds),
        unit: "seconds",
        ..family("ttft_seconds", Kind::Histogram)
    };
    let latency = built.family(&latency);
    let series = built.series(latency, &[("model", "x")]);
    let sum = 2.5_f64.to_bits();
    built.cells(
        series,
        Representation::Float,
        [&[1, 2, 0, 0, sum], &[0, 0, 0, 3, sum], &[], &[1, 0, 0, 0, 0]],
    );
    let tokens = built.family(&family("tokens", Kind::Tally));
    let series = built.series(tokens, &[]);
    built.cells(series, Representation::Integer, [&[3, 30], &[], &[], &[1, 12]]);
    let queue = built.family(&family("queue_depth", Kind::Gauge));
    let series = built.series(queue, &[]);
    built.gauge(series, &first, GaugeMode::LiveSum, Number::Integer(-4), 0);
    built.gauge(series, &second, GaugeMode::LiveSum, Number::Integer(7), 0);
    let info = built.family(&family("build_info", Kind::Info));
    built.series(info, &[("version", "1.2")]);
    let mode = GaugeMode::LiveMostRecent;
    let states =
        Family { mode, states: Texts::Strs(&["starting", "ready"]), ..family("phase", Kind::StateSet) };
    let states = built.family(&states);
    let series = built.series(states, &[]);
    built.gauge(series, &first, mode, Number::Integer(0b10), 5);
    built.family(&family("empty_total", Kind::Counter));
    built.statistic(Statistic::RefusedInvalid, 3);
    built
}
