//! What doesn't suit a field's type, also where that has another name.

use dyn_metrics::{
    Counter, DEFAULT_BOUNDS, Family, Gauge, Histogram, MetricCounter, MetricHistogram, Metrics, StateSet, Tally,
};

type Requests = Family<Counter>;

const WRONG: &[f64] = &[2.0, 1.0];

#[derive(Metrics)]
struct Kinds {
    #[metric(buckets = [1.0])] //~ field buckets: option buckets is for histograms only
    buckets: Counter,
    #[metric(buckets = [1.0], label_names = ["a"])] //~ field of_family: option buckets is for histograms only
    of_family: Requests,
    #[metric(buckets = WRONG)] //~ found buckets out of order, expected strictly ascending ones
    constant: Histogram,
    #[metric(buckets = [1.0, DEFAULT_BOUNDS[0]])] //~ found buckets out of order
    mixed: Histogram,
    #[metric(states = ["a"])] //~ field states: option states is for state sets only
    states: Gauge,
    stateless: StateSet, //~ field stateless: a state set needs its states
    #[metric(mode = Max)] //~ field mode: option mode is for gauges and state sets only
    mode: Box<dyn MetricCounter>,
    #[metric(keep_dead = 1)] //~ field kept: option keep_dead is for gauges and state sets only
    kept: Histogram,
    #[metric(mode = LiveSum, states = ["a"])] //~ field sum: states don't add up, expected another mode
    sum: StateSet,
    #[metric(label_names = ["a"])] //~ field names: option label_names is for Family<..> only
    names: Counter,
    nameless: Requests, //~ field nameless: a family needs the names of its labels
    #[metric(labels(le = "1"))] //~ field le: found label "le", expected another name
    le: Box<dyn MetricHistogram>,
    #[metric(label_names = ["quantile"])] //~ field quantile: found label "quantile", expected another name
    quantile: Family<Tally>,
    #[metric(mode = All, labels(pid = "1"))] //~ field pid: found label "pid", expected another name
    pid: Gauge,
}

fn main() {}
