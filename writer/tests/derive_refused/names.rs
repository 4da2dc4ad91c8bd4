//! Names, labels, units, help and limits.

use dyn_metrics::{Counter, Family, Gauge, Histogram, Metrics, StateSet};

#[derive(Metrics)]
struct Names {
    #[metric(name = "bad name")] //~ metric name "bad name" has ' ' at byte 3
    space: Counter,
    #[metric(name = "")] //~ metric name is empty
    empty: Counter,
    dyn_metrics_mine: Counter, //~ is reserved: dyn_metrics_* are metrics about dyn-metrics itself
    größe: Counter, //~ metric name "größe" has 'ö' at byte 2
    #[metric(unit = "seconds")] //~ metric "wait": expected the name to end in its unit, found unit "seconds"
    wait: Gauge,
    #[metric(unit = "seconds")] //~ expected the name to end in its unit
    milliseconds: Gauge,
}

#[derive(Metrics)]
#[metrics(prefix = "9_")] //~ prefix "9_" has '9' at byte 0
struct Prefix {
    a: Counter,
}

#[derive(Metrics)]
#[metrics(labels(zone = "a"))]
struct Labels {
    #[metric(labels(__x = "1"))] //~ label name "__x" is reserved
    reserved: Counter,
    #[metric(labels(zone = "b"))] //~ found label "zone" twice, expected once
    of_struct: Counter,
    #[metric(label_names = ["model", "model"])] //~ found label "model" twice, expected once
    twice: Family<Counter>,
    #[metric(label_names = ["a-b"])] //~ label name "a-b" has '-' at byte 1
    dash: Family<Counter>,
    #[metric(nested, labels(zone = "c"))] //~ found label "zone" twice, expected once
    nested: Inner,
}

#[derive(Metrics)]
struct Inner {}

#[derive(Metrics)]
struct Values {
    #[metric(buckets = [1.0, 0.5])] //~ found bucket 0.5 after 1, expected strictly ascending order
    order: Histogram,
    #[metric(buckets = [1, 1])] //~ found bucket 1 after 1
    equal: Histogram,
    #[metric(buckets = [])] //~ found 0 buckets, expected 1 to 256
    none: Histogram,
    #[metric(buckets = [1e999])] //~ found a bucket that is not finite
    infinite: Histogram,
    #[metric(states = ["a", "a"])] //~ found state "a" twice, expected once
    states: StateSet,
    #[metric(states = [])] //~ found 0 states, expected 1 to 63
    stateless: StateSet,
    #[metric(mode = Latest)] //~ found mode Latest, expected one of All, LiveAll
    mode: Gauge,
    #[metric(level = 256)] //~ option level: found 256, expected 0 to 255
    level: Gauge,
    #[metric(max_series = 0, label_names = ["a"])] //~ option max_series: found 0, expected 1 to
    limit: Family<Counter>,
    #[metric(name = "first_total", labels(b = "2", a = "1"))]
    one: Counter,
    #[metric(name = "first_total", labels(a = "1", b = "2"))]
    other: Counter, //~ field other: has name and labels of field one
}

fn main() {}
