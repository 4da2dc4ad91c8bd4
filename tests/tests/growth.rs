//! Many series, many chunks, and limits.

use std::collections::HashSet;

use dyn_metrics_reader::{Statistic, Value};
use dyn_metrics_tests::reading::{
    assert_sound, assert_whole, labelled, number, segment, series_count, statistic, total,
};
use dyn_metrics_tests::stage::{Peer, Stage};

/// Tells all peers at the same time, and adds up what they answer.
fn together(peers: &mut [Peer], commands: &[String]) -> f64 {
    for (peer, command) in peers.iter_mut().zip(commands) {
        peer.tell(command);
    }
    peers.iter_mut().map(|peer| peer.answer().unwrap().parse::<f64>().unwrap()).sum()
}

#[test]
fn four_processes_register_fifty_thousand_overlapping_series_once_each() {
    const SERIES: usize = 50_000;
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..4).map(|_| stage.peer()).collect();
    let empty = segment(&stage.snapshot()).bytes_file;
    // Each label set of the middle is registered by two processes, and the family's limit is exactly enough.
    let ranges = [(0, 20_000), (10_000, 30_000), (20_000, 40_000), (30_000, 50_000)];
    let commands = ranges.map(|(from, to)| format!("series many_total {SERIES} {from} {to}"));
    assert_eq!(together(&mut peers, &commands), 0.0, "private ones");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(statistic(&seen, Statistic::RefusedSeriesLimit), 0, "the limit is enough for all");
    assert_eq!(series_count(&seen, "many_total"), SERIES);
    let family = seen.families.iter().find(|family| family.name == "many_total").unwrap();
    let names: HashSet<_> = family.series.iter().map(|series| series.labels.value("n").unwrap()).collect();
    assert_eq!(names.len(), SERIES, "every series is unique");
    for n in 0..SERIES {
        let expected = ranges.iter().filter(|(from, to)| (*from..*to).contains(&n)).count();
        assert!(names.contains(n.to_string().as_str()), "{n}");
        if n % 997 == 0 {
            assert_eq!(labelled(&seen, "many_total", &[("n", &n.to_string())]), Some(expected as f64));
        }
    }
    assert_eq!(total(&seen, "many_total"), 80_000.0);
    assert!(segment(&seen).bytes_file > empty + (4 << 20), "it grew over many chunks");

    assert_sound(&stage.segment());
    // A process that comes later finds all of them, and makes none.
    let mut late = stage.peer();
    assert_eq!(late.number(&format!("series many_total {SERIES} 0 {SERIES}")), 0.0);
    let seen = stage.snapshot();
    assert_eq!(total(&seen, "many_total"), 130_000.0);
    assert_eq!(series_count(&seen, "many_total"), SERIES);
    assert_whole(&seen);
}

#[test]
fn processes_that_register_the_same_series_at_the_same_time_share_them() {
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..8).map(|_| stage.peer()).collect();
    for round in 0..10 {
        let command = format!("series raced_{round}_total 200 0 200");
        assert_eq!(together(&mut peers, &vec![command; 8]), 0.0, "private ones");
    }
    let seen = stage.snapshot();
    assert_whole(&seen);
    for round in 0..10 {
        let family = format!("raced_{round}_total");
        assert_eq!((series_count(&seen, &family), total(&seen, &family)), (200, 1600.0), "{family}");
    }
    assert_eq!(statistic(&seen, Statistic::RefusedSeriesLimit), 0, "no one of them was one too many");
}

#[test]
fn the_last_series_that_a_limit_allows_is_never_refused_to_those_who_race_for_it() {
    const ROUNDS: usize = 2000;
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..2).map(|_| stage.peer()).collect();
    together(&mut peers, &vec![format!("race-for-the-last {ROUNDS} 4"); 2]);
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(statistic(&seen, Statistic::RefusedSeriesLimit), 0);
    for round in 0..ROUNDS {
        let found = labelled(&seen, &format!("last_{round}_total"), &[("n", "only")]);
        assert_eq!(found, Some(8.0), "round {round}");
    }
}

#[test]
fn a_family_at_its_limit_hands_out_the_overflow_series() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    assert_eq!(peer.number("series capped_total 10 0 25"), 0.0, "private ones");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert_eq!(series_count(&seen, "capped_total"), 11);
    assert_eq!(labelled(&seen, "capped_total", &[("n", "__overflow__")]), Some(15.0));
    assert_eq!(labelled(&seen, "capped_total", &[("n", "9")]), Some(1.0));
    assert_eq!(statistic(&seen, Statistic::RefusedSeriesLimit), 15);
    let report = segment(&seen).families.iter().find(|family| &*family.name == "capped_total").unwrap();
    assert_eq!(report.refused, 15);
    // Another process meets the same limit, and its own registrations don't move it.
    let mut other = stage.peer();
    assert_eq!(other.number("series capped_total 1000 5 30"), 0.0);
    let seen = stage.snapshot();
    assert_eq!(series_count(&seen, "capped_total"), 11);
    assert_eq!(labelled(&seen, "capped_total", &[("n", "__overflow__")]), Some(35.0));
    assert_eq!(total(&seen, "capped_total"), 50.0);
}

#[test]
fn a_limit_that_many_processes_run_into_at_once_holds() {
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..6).map(|_| stage.peer()).collect();
    let commands: Vec<_> =
        (0..6).map(|n| format!("series capped_total 500 {} {}", n * 300, n * 300 + 300)).collect();
    assert_eq!(together(&mut peers, &commands), 0.0, "private ones");
    let seen = stage.snapshot();
    assert_whole(&seen);
    let series = series_count(&seen, "capped_total") - 1;
    assert!((500..=505).contains(&series), "{series}: at most one too many for each other process");
    assert_eq!(labelled(&seen, "capped_total", &[("n", "__overflow__")]), Some(1800.0 - series as f64));
    assert_eq!(total(&seen, "capped_total"), 1800.0);
    // Label sets that were refused stay so, and those that exist are still found.
    assert_eq!(peers[0].number("series capped_total 500 0 1800"), 0.0);
    assert_eq!(series_count(&stage.snapshot(), "capped_total") - 1, series);
}

#[test]
fn a_full_segment_refuses_registration_and_counts_on() {
    let stage = Stage::new();
    let mut peer = stage.peer_with(&["max_bytes=1048576", "max_series=100000"]);
    let mut counted = peer.number("count all none 1 12");
    assert!(peer.number("series many_total 100000 0 20000") > 0.0, "private ones");
    let error = peer.ask("register counter one_more_total").unwrap_err();
    assert!(error.contains("no space") && error.contains("max_bytes"), "{error}");
    counted += peer.number("count all moving 2 1200");
    peer.done("register counter work_total");
    let seen = stage.snapshot();
    assert_whole(&seen);
    assert!(segment(&seen).bytes_file <= 1 << 20);
    assert_eq!(number(&seen, "work_total"), Some(counted));
    assert!(statistic(&seen, Statistic::RefusedFull) > 0);
}

#[test]
fn histograms_with_the_most_bounds_stay_exact_over_many_extents() {
    let stage = Stage::new();
    let mut peers: Vec<_> = (0..2).map(|_| stage.peer()).collect();
    for peer in &mut peers {
        peer.done("wide-histograms 64 256");
    }
    let seen = stage.snapshot();
    assert_whole(&seen);
    for n in 0..64 {
        let family = seen.families.iter().find(|family| family.name == format!("wide_{n}")).unwrap();
        let Value::Histogram { buckets, .. } = &family.series[0].value else { panic!("a histogram") };
        assert_eq!(buckets, &[2; 257], "{}", family.name);
    }
}
