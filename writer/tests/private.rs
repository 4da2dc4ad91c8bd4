//! Handles that nobody else sees. Alone in its program: it uses up the number of those that have cells.

use dyn_metrics::{Counter, Gauge};

#[test]
fn private_handles_beyond_the_limit_count_nothing_rather_than_for_each_other() {
    let counters: Vec<_> = (0..5000).map(|_| Counter::default()).collect();
    counters.iter().for_each(Counter::inc);
    assert!(counters.iter().all(|counter| counter.value() <= 1 && counter.is_private()));
    assert_eq!(counters.first().map(Counter::value), Some(1));
    assert_eq!(counters.last().map(Counter::value), Some(0));
    let gauges: Vec<_> = (0..5000).map(|_| Gauge::default()).collect();
    gauges.iter().for_each(Gauge::inc);
    assert!(gauges.iter().all(|gauge| gauge.value() <= 1));
    assert_eq!((gauges[0].value(), gauges[4999].value()), (1, 0));
}
