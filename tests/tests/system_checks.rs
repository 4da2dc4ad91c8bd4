//! The engine of checks: off the request path, each with its limit, whatever a check does.
#![allow(clippy::disallowed_types, reason = "counts of the test's own, never in the segment")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use dyn_metrics_system::checks::{Canary, Cancelled, Progress, SegmentAttached, Space};
use dyn_metrics_system::{Beat, Check, Context, Error, Outcome, Probe, Spec, from_fn};
use dyn_metrics_tests::servers::{sample, wait_for};
use dyn_metrics_tests::systems::{Scene, fails_with, often};

fn ok() -> impl Check {
    from_fn(|| Ok::<(), String>(()))
}

/// Threads of this process whose name begins so.
fn threads(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|found| found.starts_with(name)).count()
}

#[test]
fn each_check_feeds_its_probe() {
    let scene = Scene::start(|builder| builder);
    let failing = |text: &'static str| from_fn(move || Err::<(), _>(text));
    scene.system.add(often("ready").probe(Probe::Readiness), failing("engine down")).unwrap();
    scene.system.add(often("seen").informative(), failing("just so")).unwrap();
    scene.wait_for_check("ready", |check| fails_with(check, "engine down"));
    scene.wait_for_check("seen", |check| fails_with(check, "just so"));
    assert_eq!(scene.probe("/liveness").status, 200);
    assert_eq!(scene.probe("/readiness").word(), "not_ready");
    assert_eq!(scene.probe("/health").word(), "unhealthy");
    assert!(scene.system.remove("ready").unwrap() && !scene.system.remove("ready").unwrap());
    assert_eq!(scene.probe("/readiness").status, 200);
    assert_eq!(scene.probe("/health").word(), "degraded");
    scene.system.add(often("alive").probe(Probe::Liveness), failing("deadlock")).unwrap();
    wait_for("liveness", || (scene.probe("/liveness").status == 503).then_some(()));
    assert_eq!(scene.probe("/live").word(), "not_live");
    assert_eq!(scene.probe("/readiness").word(), "not_ready", "who must be restarted is not ready");
}

#[test]
fn a_hung_check_fails_for_that_reason_and_holds_one_thread() {
    let scene = Scene::start(|builder| builder);
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let check = from_fn(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        gate.lock().unwrap().recv().map_err(|_| "closed")
    });
    let spec = Spec::new("hung").every(Duration::from_millis(10)).timeout(Duration::from_millis(50));
    scene.system.add(spec, check).unwrap();
    let found = scene.wait_for_check("hung", |check| check["consecutive_failures"].as_u64() > Some(20));
    let reason = found["reason"].as_str().unwrap();
    assert!(reason.starts_with("no answer for ") && reason.ends_with(" s, limit 0.05 s"), "{found}");
    assert_eq!(runs.load(Ordering::SeqCst), 1, "no further run before it returns");
    assert_eq!(threads("check-hung"), 1);
    assert_eq!(scene.probe("/liveness").status, 200);
    open.send(()).unwrap();
    wait_for("a second run", || (runs.load(Ordering::SeqCst) == 2).then_some(()));
    open.send(()).unwrap();
    // The second came in time, or is late as well: another decides.
    for _ in 0..50 {
        open.send(()).unwrap();
    }
    scene.wait_for_check("hung", |check| check["status"] == "ok" && check["consecutive_failures"] == 0);
}

#[test]
fn a_hung_check_holds_up_neither_others_nor_the_end() {
    let scene = Scene::start(|builder| builder);
    let (_open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let hangs = from_fn(move || gate.lock().unwrap().recv().map_err(|_| "closed"));
    scene.system.add(often("hung"), hangs).unwrap();
    scene.system.add(often("fine"), ok()).unwrap();
    scene.wait_for_check("fine", |check| check["status"] == "ok");
    scene.wait_for_check("hung", |check| check["status"] == "failing");
    scene.system.stop();
    // A thread that was joined stays in /proc for a moment.
    wait_for("the ends of server and monitor", || (threads("dyn-") == 0).then_some(()));
}

#[test]
fn panics_and_rubbish_are_failures_of_one_line() {
    let scene = Scene::start(|builder| builder);
    scene.system.add(often("text"), |_: &Context| -> Outcome { panic!("on purpose: {}", 7) }).unwrap();
    scene.system.add(often("odd"), |_: &Context| -> Outcome { std::panic::panic_any(7) }).unwrap();
    let rubbish = |_: &Context| Outcome::Err("\0\u{1b}[31m\"}\n".repeat(100_000));
    scene.system.add(often("rubbish"), rubbish).unwrap();
    scene.wait_for_check("text", |check| fails_with(check, "it panicked: on purpose: 7"));
    scene.wait_for_check("odd", |check| fails_with(check, "it panicked: without a text"));
    let found = scene.wait_for_check("rubbish", |check| check["status"] == "failing");
    let reason = found["reason"].as_str().unwrap();
    assert!(reason.len() < 1100 && !reason.contains(char::is_control), "{reason}");
    scene.wait_for_check("text", |check| check["consecutive_failures"].as_u64() > Some(3));
}

#[test]
fn bad_registrations_are_refused_with_the_reason() {
    let scene = Scene::start(|builder| builder.check(often("twice"), ok()));
    let refused = |spec: Spec| scene.system.add(spec, ok()).expect_err("a refusal").to_string();
    let twice = refused(often("twice"));
    assert_eq!(twice, "check \"twice\": found one of the same name, expected another name");
    assert_eq!(
        refused(often("segment")),
        "check \"segment\": found one of the same name, expected another name"
    );
    for (name, found) in
        [("", "an empty name"), ("a b", "' '"), ("ü", "'ü'"), ("a\n", "'\\n'"), (&"x".repeat(65), "65 bytes")]
    {
        let expected = format!(
            "check {:?}: found {found}, expected 1 to 64 of A-Z a-z 0-9 _ . : / -",
            &name[..name.len().min(64)]
        );
        assert_eq!(refused(often(name)), expected);
    }
    let zero = Duration::ZERO;
    assert_eq!(refused(often("a").every(zero)), "check \"a\": found interval 0ns, expected 10ms to 86400s");
    assert_eq!(refused(often("a").timeout(zero)), "check \"a\": found timeout 0ns, expected 1ms to 3600s");
    assert_eq!(refused(often("a").failures(0)), "check \"a\": found failure threshold 0, expected 1 to 1000");
    assert_eq!(
        refused(often("a").successes(1001)),
        "check \"a\": found success threshold 1001, expected 1 to 1000"
    );
    let names: BTreeSet<String> = (0..300).map(|n| format!("many{n}")).collect();
    let added = names.iter().map(|name| scene.system.add(Spec::new(name), ok()));
    let errors: Vec<Error> = added.filter_map(Result::err).collect();
    assert_eq!(errors.len(), 300 + 2 - 256, "the segment's and the first are there already");
    assert!(errors.iter().all(|error| matches!(error, Error::TooManyChecks { limit: 256, .. })));
}

#[test]
fn a_system_with_a_bad_check_does_not_start() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = dyn_metrics::Registry::open_at(directory.path().join("s")).unwrap();
    let builder = dyn_metrics_system::System::builder().registry(&registry).host("127.0.0.1").port(0);
    let error = builder.check(often("a"), ok()).check(often("a"), ok()).start().err().expect("an error");
    assert!(matches!(error, Error::DuplicateCheck { .. }));
    wait_for("the end of what was started", || (threads("dyn-") == 0).then_some(()));
}

#[test]
fn a_loop_that_stands_still_is_stalled_and_live() {
    let scene = Scene::start(|builder| builder);
    let beat = Beat::new();
    scene.system.add(often("loop"), beat.stalls_after(Duration::from_millis(300))).unwrap();
    let dead = Spec::new("loop_dead").probe(Probe::Liveness);
    scene.system.add(dead, beat.stalls_after(Duration::from_secs(3600))).unwrap();
    let found = scene.wait_for_check("loop", |check| check["status"] == "failing");
    assert!(fails_with(&found, "stalled: no beat for ") && fails_with(&found, " s, limit 0.3 s"), "{found}");
    assert_eq!(scene.probe("/liveness").status, 200);
    wait_for("a beat to count", || {
        beat.beat();
        (scene.probe("/health").check("loop")["status"] == "ok").then_some(())
    });
}

#[test]
fn work_that_does_not_move_is_stalled() {
    let scene = Scene::start(|builder| builder);
    let done = scene.registry.counter("done_total", "").unwrap();
    let pending = scene.registry.gauge("pending", "").unwrap();
    let progress = Progress::new(&done, &pending, Duration::from_millis(300));
    scene.system.add(often("engine"), progress).unwrap();
    scene.wait_for_check("engine", |check| check["reason"] == "nothing pending");
    pending.set(2);
    scene.wait_for_check("engine", |check| {
        fails_with(check, "stalled: 2 pending, and the count stays at 0 for ")
    });
    assert_eq!(scene.probe("/liveness").status, 200);
    wait_for("progress to count", || {
        done.inc();
        (scene.probe("/health").check("engine")["status"] == "ok").then_some(())
    });
}

#[test]
fn a_canary_flies_when_idle_and_is_ended_and_cleaned_up_in_time() {
    let scene = Scene::start(|builder| builder);
    let busy = scene.registry.gauge("running", "").unwrap();
    busy.set(1);
    let (end, ended) = mpsc::channel::<()>();
    let (end, ended, log) = (Mutex::new(end), Mutex::new(ended), Arc::new(Mutex::new(Vec::new())));
    let (gauge, notes) = (busy.clone(), Arc::clone(&log));
    let canary = Canary::new(move |context| {
        ended.lock().unwrap().recv().map_err(|_| "closed")?;
        assert!(context.is_cancelled(), "it was ended because it was late");
        Err("cancelled".to_owned())
    });
    let canary = canary.when(move || gauge.value() == 0).clean_up(move |why| {
        notes.lock().unwrap().push(why);
        if why == Cancelled::Now {
            end.lock().unwrap().send(()).unwrap();
        }
    });
    scene.system.add(often("canary").timeout(Duration::from_millis(100)), canary).unwrap();
    scene.wait_for_check("canary", |check| check["reason"] == "not sent: the process is at work");
    assert!(log.lock().unwrap().is_empty());
    busy.set(0);
    scene.wait_for_check("canary", |check| fails_with(check, "limit 0.1 s"));
    wait_for("cleanup", || {
        let log = log.lock().unwrap();
        (log.len() >= 4).then(|| assert_eq!(log[..4], [Cancelled::Now, Cancelled::Done].repeat(2)))
    });
    busy.set(1);
    scene.wait_for_check("canary", |check| check["status"] == "ok");
}

#[test]
fn space_and_segment_are_checked() {
    let scene = Scene::start(|builder| builder);
    let shm = scene.directory().to_owned();
    scene.system.add(often("shm"), Space::new(&shm, 1)).unwrap();
    scene.system.add(often("more"), Space::new(&shm, u64::MAX)).unwrap();
    scene.system.add(often("none"), Space::new(shm.join("none"), 1)).unwrap();
    scene.system.add(often("attached"), SegmentAttached::new(&scene.registry)).unwrap();
    scene.wait_for_check("shm", |check| check["status"] == "ok");
    scene.wait_for_check("more", |check| fails_with(check, " bytes free, expected 18446744073709551615"));
    scene.wait_for_check("none", |check| fails_with(check, "No such file or directory"));
    scene.wait_for_check("attached", |check| check["status"] == "ok");
    std::fs::remove_file(scene.registry.path()).unwrap();
    scene.wait_for_check("attached", |check| {
        fails_with(check, ": removed, and what was registered counts where no name leads")
    });
    // A new segment does not bring back what counts into the old one.
    scene.registry.counter("late_total", "").unwrap();
    assert!(scene.registry.path().exists());
    let before = scene.probe("/health").check("attached")["consecutive_failures"].as_u64();
    scene.wait_for_check("attached", |check| check["consecutive_failures"].as_u64() > before.map(|n| n + 2));
}

#[test]
fn health_is_metrics_too() {
    let scene = Scene::start(|builder| builder);
    scene.system.add(often("good"), ok()).unwrap();
    scene.system.add(often("bad").failures(3), from_fn(|| Err::<(), _>("no"))).unwrap();
    scene.wait_for_check("good", |check| check["status"] == "ok");
    scene.wait_for_check("bad", |check| check["consecutive_failures"].as_u64() > Some(3));
    let page = String::from_utf8(scene.get("/metrics").body).unwrap();
    let value =
        |name: &str, check: &str| sample(&page, &format!("dynamo_health_check_{name}{{check=\"{check}\"}}"));
    assert_eq!((value("status", "good"), value("status", "bad")), (Some(1.0), Some(0.0)));
    assert!(value("consecutive_failures", "bad") > Some(3.0), "{page}");
    assert_eq!(value("consecutive_failures", "good"), Some(0.0));
    assert!(value("duration_seconds", "good").is_some());
    assert!(value("last_success_timestamp_seconds", "good") > Some(1.6e9));
    assert_eq!(value("last_success_timestamp_seconds", "bad"), Some(0.0));
    scene.system.remove("bad").unwrap();
    let page = String::from_utf8(scene.get("/metrics").body).unwrap();
    let gone = sample(&page, "dynamo_health_check_status{check=\"bad\"}");
    assert!(gone.is_some_and(f64::is_nan), "{gone:?}");
}
