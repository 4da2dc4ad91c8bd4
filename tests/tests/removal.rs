//! Removal of series: no process shows or finds them any more, and nothing that counts again is lost.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use dyn_metrics::testing::Fake;
use dyn_metrics::{Counter, Gauge, Histogram, MetricsRegistry, Opts, Registry};
use dyn_metrics_layout::record::{REMOVING, state_offset};
use dyn_metrics_reader::Value;
use dyn_metrics_tests::otlp::Receiver;
use dyn_metrics_tests::plugins;
use dyn_metrics_tests::reading::{assert_sound, assert_whole, labelled, series, series_count};
use dyn_metrics_tests::stage::{Peer, Stage};

fn labelled_by(peer: &mut Peer, value: &str, n: u64) -> u64 {
    peer.ask(&format!("labelled jobs_total {value} {n}")).expect("counted").parse().expect("a number")
}

fn shown(stage: &Stage, value: &str) -> Option<f64> {
    let snapshot = stage.snapshot();
    assert_whole(&snapshot);
    labelled(&snapshot, "jobs_total", &[("n", value)])
}

#[test]
fn what_one_process_removes_another_counts_anew() {
    let stage = Stage::new();
    let (mut one, mut other) = (stage.peer(), stage.peer());
    assert_eq!(labelled_by(&mut one, "a", 5), 5);
    assert_eq!(labelled_by(&mut other, "a", 2), 7);
    assert_eq!(labelled_by(&mut other, "b", 1), 1);
    assert_eq!(one.ask("remove jobs_total a").as_deref(), Ok("true"));
    assert_eq!(one.ask("remove jobs_total a").as_deref(), Ok("false"));
    assert_eq!((shown(&stage, "a"), shown(&stage, "b")), (None, Some(1.0)));
    // The other process remembered it, and so did this one.
    assert_eq!(labelled_by(&mut other, "a", 3), 3);
    assert_eq!(labelled_by(&mut one, "a", 4), 7);
    assert_eq!((shown(&stage, "a"), shown(&stage, "b")), (Some(7.0), Some(1.0)));
    assert_sound(&stage.segment());
}

#[test]
fn limits_count_what_is_there() {
    let stage = Stage::new();
    let mut peer = stage.peer();
    for round in 0..50 {
        for n in 0..4 {
            assert_eq!(labelled_by(&mut peer, &format!("{round}.{n}"), 1), 1);
        }
        // The limit is 4, so this one counts with all others beyond it.
        labelled_by(&mut peer, "beyond", 1);
        assert_eq!(series_count(&stage.snapshot(), "jobs_total"), 5);
        for n in 0..4 {
            assert_eq!(peer.ask(&format!("remove jobs_total {round}.{n}")).as_deref(), Ok("true"));
        }
    }
    assert_eq!(shown(&stage, "__overflow__"), Some(50.0));
    assert_sound(&stage.segment());
}

#[test]
fn a_removal_that_its_process_began_is_finished_by_the_next_look_up() {
    let stage = Stage::new();
    let (mut one, mut other) = (stage.peer(), stage.peer());
    labelled_by(&mut one, "a", 5);
    labelled_by(&mut other, "a", 0);
    let raw = dyn_metrics_reader::raw::read(stage.segment()).expect("a segment");
    let found = raw.series.iter().find(|series| series.labels.contains(&("n".to_owned(), "a".to_owned())));
    let state = state_offset(found.expect("the series").offset);
    let file = std::fs::File::options().write(true).open(stage.segment()).unwrap();
    file.write_all_at(&REMOVING.to_le_bytes(), state).unwrap();
    // Nobody was told: it still counts, and is shown.
    assert_eq!(labelled_by(&mut one, "a", 1), 6);
    assert_eq!(shown(&stage, "a"), Some(6.0));
    // A process that doesn't remember it finds it so, and all others are told.
    assert_eq!(labelled_by(&mut stage.peer(), "a", 2), 2);
    assert_eq!(labelled_by(&mut one, "a", 1), 3);
    assert_eq!(labelled_by(&mut other, "a", 1), 4);
    assert_eq!(shown(&stage, "a"), Some(4.0));
    assert_sound(&stage.segment());
}

#[test]
fn handles_of_what_was_removed_count_for_nobody() {
    let stage = Stage::new();
    let registry = Registry::open_at(stage.segment()).unwrap();
    let opts = Opts::new("work_seconds", "Time").bounds(&[1.0]);
    let family = registry.family::<Histogram>(&opts, &["step"]).unwrap();
    let (held, gauge) = (family.with(&["load"]), registry.gauge("queued", "Waiting").unwrap());
    held.observe(0.5);
    gauge.set(7);
    assert!(family.remove(&["load"]).unwrap() && registry.remove("queued", &[]).unwrap());
    held.observe(0.5);
    gauge.set(8);
    assert!(family.get(&["load"]).is_none());
    let snapshot = stage.snapshot();
    assert!(series(&snapshot, "work_seconds", &[]).is_none() && series(&snapshot, "queued", &[]).is_none());
    assert!(dyn_metrics::own::series(&registry).iter().all(|one| one.name != "queued"));
    family.with(&["load"]).observe(2.0);
    registry.gauge("queued", "Waiting").unwrap().set(1);
    held.observe(0.5);
    let snapshot = stage.snapshot();
    let found = series(&snapshot, "work_seconds", &[("step", "load")]).expect("the new one");
    assert!(matches!(&found.value, Value::Histogram { buckets, .. } if buckets[..] == [0, 1]), "{found:?}");
    assert_eq!(labelled(&snapshot, "queued", &[]), Some(1.0));
}

#[test]
fn a_family_removes_from_the_segment_that_has_replaced_its_own() {
    let stage = Stage::new();
    let registry = Registry::open_at(stage.segment()).unwrap();
    let family = registry.family::<Counter>(&Opts::new("jobs_total", "Jobs"), &["n"]).unwrap();
    family.with(&["a"]).inc();
    std::fs::remove_file(stage.segment()).unwrap();
    assert_eq!(labelled_by(&mut stage.peer(), "a", 5), 5);
    assert!(family.remove(&["a"]).unwrap());
    assert_eq!(shown(&stage, "a"), None);
}

#[test]
fn threads_that_look_up_while_others_remove_lose_no_series() {
    let stage = Stage::new();
    let registry = Registry::open_at(stage.segment()).unwrap();
    let family = registry.family::<Counter>(&Opts::new("churn_total", "Comes and goes"), &["n"]).unwrap();
    let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..2000 {
                    family.with(&[&names[round % names.len()]]).inc();
                }
            });
        }
        scope.spawn(|| {
            for round in 0..500 {
                let _ = family.remove(&[&names[round * 7 % names.len()]]).unwrap();
            }
        });
    });
    // Whatever happened meanwhile, what is found now is what everybody sees.
    for name in &names {
        let before = family.with(&[name]).value();
        family.with(&[name]).inc();
        let seen = labelled(&stage.snapshot(), "churn_total", &[("n", name)]);
        assert_eq!(seen, Some(before as f64 + 1.0), "{name}");
    }
    assert_sound(&stage.segment());
}

#[test]
fn registries_of_all_kinds_forget_what_is_removed() {
    let stage = Stage::new();
    let fake = Fake::new();
    let prometheus = dyn_metrics::backend::Prometheus::new(prometheus::Registry::new());
    let segment = Registry::open_at(stage.segment()).unwrap();
    let receiver = Receiver::start();
    let otel = receiver.builder().build().unwrap();
    let mut registries = vec![segment, fake.registry(), Registry::with_backend(Arc::new(prometheus))];
    registries.push(Registry::with_backend(Arc::new(otel)));
    registries.extend(plugins::sample().map(|path| Registry::with_plugin(path, "").unwrap()));
    for registry in registries {
        let level = registry.child("svc_", &[("zone", "a")]).unwrap();
        let level: &dyn MetricsRegistry = &level;
        let jobs = level.create_intcounter_vec("jobs_total", "Jobs", &["n"]).unwrap();
        jobs.with(&["1"]).inc_by(3);
        jobs.with(&["2"]).inc_by(4);
        let gauge: Gauge = level.create_intgauge("queued", "Waiting", &[]).unwrap();
        gauge.set(9);
        assert!(level.remove("jobs_total", &[("n", "1")]).unwrap());
        assert!(!level.remove("jobs_total", &[("n", "1")]).unwrap());
        assert!(!level.remove("nothing", &[]).unwrap());
        assert!(level.remove("queued", &[]).unwrap());
        gauge.set(10);
        let error = level.remove("jobs_total", &[("zone", "b"), ("n", "2")]).unwrap_err().to_string();
        assert!(error.contains("zone"), "{error}");
        let page = level.prometheus_format_str().unwrap();
        assert!(
            !page.contains("n=\"1\"") && page.contains("n=\"2\"") && !page.contains("svc_queued{"),
            "{page}"
        );
        jobs.with(&["1"]).inc();
        assert_eq!(jobs.with(&["1"]).value(), 1);
        let page = level.prometheus_format_str().unwrap();
        assert!(page.contains("svc_jobs_total{n=\"1\",zone=\"a\"} 1"), "{page}");
    }
    let null = Registry::null();
    null.counter("jobs_total", "").unwrap();
    assert!(null.remove("jobs_total", &[]).unwrap());
}
