//! Threads that register, count and let go at the same time. Under Miri (`make miri`) on a heap segment, with fewer
//! rounds; under ThreadSanitizer (`make tsan`) on a mapped file.

use std::sync::Barrier;
use std::thread;

use dyn_metrics::{Counter, Family, FloatGauge, Gauge, Histogram, OVERFLOW, Opts, Registry};

const THREADS: usize = 3;

/// How much a test does; Miri is some thousand times slower.
const fn rounds(many: usize, few: usize) -> usize {
    if cfg!(miri) { few } else { many }
}

/// A directory for a small segment: chunks of 64 KiB, so that files grow soon.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn open(directory: &tempfile::TempDir, max_bytes: u64) -> Registry {
    Registry::builder().path(directory.path().join("s")).max_bytes(max_bytes).processes(4).open().unwrap()
}

/// Runs `work` in several threads that start at the same moment.
fn at_once<R: Send>(work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let start = Barrier::new(THREADS);
    let run = |thread| {
        start.wait();
        work(thread)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Histograms of 2 KiB.
fn wide(registry: &Registry) -> Family<Histogram> {
    let bounds: Vec<f64> = (0..256).map(f64::from).collect();
    registry.family(&Opts::new("wide", "").bounds(&bounds), &["a"]).unwrap()
}

fn family(registry: &Registry, max_series: u32) -> Family<Counter> {
    registry.family(&Opts::new("x_total", "").max_series(max_series), &["a", "b"]).unwrap()
}

#[test]
fn threads_that_open_and_register_the_same_at_once_share_it() {
    let directory = directory();
    let seen = at_once(|_| {
        let registry = open(&directory, 1 << 20);
        let counter = registry.counter("events_total", "").unwrap();
        let histogram = registry.histogram("seconds", "", &[1.0, 2.0]).unwrap();
        for _ in 0..rounds(1000, 4) {
            counter.inc();
            histogram.observe(1.5);
            family(&registry, 10).with(&["x", "y"]).inc_by(2);
        }
        (counter, histogram, family(&registry, 10).get(&["x", "y"]).unwrap())
    });
    let all = (THREADS * rounds(1000, 4)) as u64;
    for (counter, histogram, labelled) in &seen {
        assert_eq!((counter.value(), labelled.value()), (all, 2 * all));
        assert_eq!((histogram.buckets(), histogram.sum()), (vec![0, all, 0], 1.5 * all as f64));
        assert!(!counter.is_private());
    }
}

#[test]
fn series_registered_at_once_are_all_there_and_the_file_grows_for_them() {
    let (directory, each) = (directory(), rounds(500, 8));
    let registry = open(&directory, 4 << 20);
    let before = std::fs::metadata(registry.path()).unwrap().len();
    at_once(|thread| {
        let family = family(&registry, 10_000);
        for n in 0..each {
            // One of its own, and one that the others register too.
            family.with(&[&thread.to_string(), &n.to_string()]).inc_by(1 + n as u64);
            family.with(&["all", &n.to_string()]).inc();
        }
        // What such a series needs soon fills a chunk.
        (0..40).for_each(|n| wide(&registry).with(&[&format!("{thread} {n}")]).observe(7.0));
    });
    let family = family(&registry, 10_000);
    for n in 0..each {
        let value = |a: &str| family.get(&[a, &n.to_string()]).map(|counter| counter.value());
        assert_eq!(value("all"), Some(THREADS as u64));
        for thread in 0..THREADS {
            assert_eq!(value(&thread.to_string()), Some(1 + n as u64));
        }
    }
    assert!(std::fs::metadata(registry.path()).unwrap().len() > before);
}

#[test]
fn a_handle_counts_on_while_other_threads_register() {
    let (directory, rounds, registered) = (directory(), rounds(20_000, 60), rounds(200, 10));
    let registry = open(&directory, 4 << 20);
    let counter = registry.counter("events_total", "").unwrap();
    let histogram = registry.histogram("seconds", "", &[1.0]).unwrap();
    let wide = wide(&registry);
    at_once(|thread| match thread {
        0 => (0..rounds).for_each(|_| counter.inc()),
        1 => (0..rounds).for_each(|n| histogram.observe((n % 2) as f64 * 2.0)),
        _ => (0..registered).for_each(|n| {
            wide.with(&[&n.to_string()]).observe(2.5);
        }),
    });
    assert_eq!(counter.value(), rounds as u64);
    assert_eq!(histogram.buckets(), [rounds as u64 / 2, rounds as u64 / 2]);
    for n in 0..registered {
        assert_eq!(wide.get(&[&n.to_string()]).map(|made| made.buckets()[3]), Some(1));
    }
}

#[test]
fn threads_that_claim_a_gauge_s_cell_at_once_add_to_the_same() {
    let (directory, rounds) = (directory(), rounds(10_000, 10));
    let registry = open(&directory, 1 << 20);
    let whole: Gauge = registry.gauge("running", "").unwrap();
    let float: FloatGauge = registry.float_gauge("load", "").unwrap();
    at_once(|_| {
        for _ in 0..rounds {
            whole.add(3);
            whole.dec();
            float.add(0.5);
        }
    });
    let all = (THREADS * rounds) as i64;
    assert_eq!((whole.value(), float.value()), (2 * all, 0.5 * all as f64));
    at_once(|thread| whole.set(thread as i64));
    assert!((0..THREADS as i64).contains(&whole.value()));
}

#[test]
fn remembered_handles_are_those_of_the_index() {
    const VALUES: [[&str; 2]; 4] =
        [["a", ""], ["b", "c"], ["", "a long value, longer than an entry has room for"], ["d", "e"]];
    let (directory, rounds) = (directory(), rounds(2000, 4));
    let registry = open(&directory, 1 << 20);
    let shared = family(&registry, 100);
    at_once(|thread| {
        // The cache of the shared family grows under those who read it; that of the other one ends with each round.
        for n in 0..rounds {
            let own = family(&registry, 100);
            for values in &VALUES {
                shared.with_static(values).inc();
                shared.with(&values.map(String::from).each_ref().map(String::as_str)).inc();
                own.with(values).inc();
            }
            shared.with(&[&format!("{thread}"), &format!("{}", n % 20)]).inc();
        }
    });
    for values in &VALUES {
        assert_eq!(shared.get(values).unwrap().value(), (3 * THREADS * rounds) as u64);
    }
}

#[test]
fn at_its_limit_a_family_counts_what_is_beyond_in_one_series() {
    let (directory, each) = (directory(), rounds(300, 5));
    let registry = open(&directory, 1 << 20);
    let limit = 5;
    at_once(|thread| {
        let family = family(&registry, limit);
        (0..each).for_each(|n| family.with(&[&thread.to_string(), &n.to_string()]).inc());
    });
    let family = family(&registry, limit);
    let name = |n: usize| (n / each).to_string();
    let kept = (0..THREADS * each).filter_map(|n| family.get(&[&name(n), &(n % each).to_string()]));
    let kept: Vec<u64> = kept.map(|counter| counter.value()).collect();
    // Registrations at the same moment may pass the limit by their number.
    assert!((limit as usize..limit as usize + THREADS).contains(&kept.len()), "{kept:?}");
    let beyond = family.get(&[OVERFLOW, OVERFLOW]).unwrap().value();
    assert_eq!(kept.iter().sum::<u64>() + beyond, (THREADS * each) as u64);
}

#[test]
fn a_full_segment_leaves_private_handles_that_count_for_their_owner() {
    let directory = directory();
    let registry = open(&directory, 256 << 10);
    let family = wide(&registry);
    let refused = at_once(|thread| {
        let name = |n: usize| format!("{thread} {n}");
        let refused = (0..200).find(|n| family.try_with(&[&name(*n)]).is_err()).expect("400 KiB don't fit");
        let handle = family.with(&[&name(refused)]);
        handle.observe(1.0);
        assert!(family.get(&[&name(refused)]).is_none());
        assert!((0..refused).all(|n| family.get(&[&name(n)]).is_some()));
        handle
    });
    for handle in refused {
        handle.observe(1.0);
        assert_eq!((handle.count(), handle.sum()), (2, 2.0));
    }
}

#[test]
fn handles_outlive_what_they_were_made_from() {
    let (directory, rounds) = (directory(), rounds(200, 3));
    let handles = at_once(|_| {
        let registry = open(&directory, 1 << 20);
        let family = family(&registry, 1000);
        let made: Vec<_> = (0..rounds).map(|n| family.clone().with(&["x", &n.to_string()])).collect();
        let gauge = registry.gauge("running", "").unwrap();
        drop((family, registry));
        made.iter().for_each(Counter::inc);
        gauge.inc();
        (made, gauge)
    });
    drop(directory); // the name is gone, too
    for (counters, gauge) in &handles {
        counters.iter().for_each(Counter::inc);
        gauge.inc();
    }
    let (counters, gauge) = &handles[0];
    assert!(counters.iter().all(|counter| counter.value() == 2 * THREADS as u64));
    assert_eq!(gauge.value(), 2 * THREADS as i64);
}
