//! Types that no field can have.

use dyn_metrics::{Counter, Gauge, MetricCounter, Metrics};

#[derive(Metrics)]
struct Fields {
    number: u64, //~ `u64` is no metric
    unmarked: Inner, //~ `Inner` is no metric
    #[metric(nested)]
    nested: Counter, //~ Counter: Metrics` is not satisfied
    #[metric(registry)]
    registry: String, //~ `String` can't keep a registry
    #[metric(handle = Gauge)] //~ Gauge>` is not satisfied
    handle: Box<dyn MetricCounter>,
    #[metric(skip)]
    skipped: NoDefault, //~ `NoDefault: Default` is not satisfied
}

struct NoDefault;

#[derive(Metrics)]
struct Inner {}

fn main() {}
