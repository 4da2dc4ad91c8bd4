//! Callbacks on changes and thresholds, of what this process counts.
#![cfg(not(miri))]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use dyn_metrics::watch::{Event, Subscription, Threshold, Watched};
use dyn_metrics::{Counter, GaugeMode, Opts, Registry};
use dyn_metrics_reader::select::{Selection, Selector};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pause};
use tempfile::TempDir;

/// Longer than anything takes that is not broken.
const LONG: Duration = Duration::from_secs(60);

fn registry() -> (TempDir, Registry) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(8 << 20).open().unwrap();
    (directory, registry)
}

/// Labels as text, old and new value.
type Told = (String, Option<f64>, Option<f64>);

fn told(event: &Event) -> Told {
    let labels: Vec<_> = event.labels().iter().map(|(name, value)| format!("{name}={value}")).collect();
    (labels.join(","), event.old(), event.value())
}

fn listener() -> (impl FnMut(&Event) + Send + 'static, Receiver<Told>) {
    let (sender, events): (Sender<Told>, _) = channel();
    let tell = move |event: &Event| {
        let _ = sender.send(told(event));
    };
    (tell, events)
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The next event in which the value is `last`, after any number of others: who is slow sees only some.
fn next_to(events: &Receiver<Told>, last: f64) -> Told {
    loop {
        let event = events.recv_timeout(LONG).expect("an event");
        if event.2 == Some(last) {
            return event;
        }
    }
}

#[test]
fn a_handle_is_told_of_its_own_series_alone() {
    let (_directory, registry) = registry();
    let family = registry.family::<Counter>(&Opts::new("c_total", ""), &["m"]).unwrap();
    let (one, other) = (family.with(&["one"]), family.with(&["other"]));
    other.inc_by(7);
    let (tell, events) = listener();
    let _subscription = registry.on_change(&other, tell).unwrap();
    one.inc();
    other.inc_by(2);
    assert_eq!(next_to(&events, 9.0), ("m=other".to_owned(), Some(7.0), Some(9.0)));
    one.inc();
    other.inc();
    assert_eq!(events.recv_timeout(LONG).unwrap(), ("m=other".to_owned(), Some(9.0), Some(10.0)));
}

#[test]
fn a_family_is_told_of_all_series_also_of_those_to_come() {
    let (_directory, registry) = registry();
    let child = registry.child("a_", &[("zone", "1")]).unwrap();
    let (tell, events) = listener();
    let _all = child.on_change(Watched::family("h"), tell).unwrap();
    let (tell, matching) = listener();
    let _some = registry.on_change(Watched::family("a_h").matching("m", "y"), tell).unwrap();
    let family = child.family::<dyn_metrics::Histogram>(&Opts::new("h", "").bounds(&[1.0]), &["m"]).unwrap();
    family.with(&["x"]).observe(0.5);
    let first = next_to(&events, 1.0);
    assert!(first.0 == "m=x,zone=1" && first.1.is_none_or(|old| old == 0.0), "{first:?}");
    family.with(&["y"]).observe(0.5);
    assert_eq!(next_to(&events, 1.0).0, "m=y,zone=1");
    assert_eq!(next_to(&matching, 1.0).0, "m=y,zone=1");
    assert!(matching.try_recv().is_err());
}

#[test]
fn exact_labels_leave_out_series_with_more_but_for_the_common_ones() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let builder = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20);
    let registry = builder.common_label("host", "a").open().unwrap();
    let plain = registry.gauge("g", "").unwrap();
    let more = registry.create::<dyn_metrics::Gauge>(&Opts::new("g", "").label("m", "x")).unwrap();
    let (tell, by_name) = listener();
    let _named = registry.on_change(Watched::series("g", &[]), tell).unwrap();
    let (tell, by_handle) = listener();
    let _handle = registry.on_change(&plain, tell).unwrap();
    more.set(5);
    plain.set(6);
    for events in [by_name, by_handle] {
        assert_eq!(next_to(&events, 6.0).0, "host=a");
        assert!(events.try_iter().all(|event| event.0 == "host=a"));
    }
}

#[test]
fn a_threshold_is_told_of_at_once_and_after_the_way_back() {
    let (_directory, registry) = registry();
    let gauge = registry.float_gauge("g", "").unwrap();
    gauge.set(20.0);
    let (tell, events) = listener();
    let rule = Threshold::above(10.0).hysteresis(2.0);
    let _subscription = registry.on_threshold(&gauge, rule, tell).unwrap();
    assert_eq!(events.recv_timeout(LONG).unwrap(), (String::new(), None, Some(20.0)));
    // The watcher has seen a value when another subscription was told of it.
    let (tell, changes) = listener();
    let _changes = registry.on_change(&gauge, tell).unwrap();
    for value in [9.0, 30.0, 7.0] {
        gauge.set(value);
        next_to(&changes, value);
    }
    assert!(events.try_recv().is_err(), "9 is not back behind the hysteresis");
    gauge.set(11.0);
    assert_eq!(events.recv_timeout(LONG).unwrap().2, Some(11.0));
}

#[test]
fn a_callback_that_panics_is_counted_and_called_again() {
    let (_directory, registry) = registry();
    let gauge = registry.gauge("g", "").unwrap();
    let (tell, events) = listener();
    let bad = registry.on_change(&gauge, |_| panic!("on purpose")).unwrap();
    let good = registry.on_change(&gauge, tell).unwrap();
    for value in 1..=3 {
        gauge.set(value);
        next_to(&events, value as f64);
        wait_until("the call's end", || bad.counts().calls == value as u64);
        assert_eq!(bad.counts().panics, value as u64);
    }
    assert_eq!((good.counts().panics, bad.is_active()), (0, true));
}

#[test]
fn a_callback_that_blocks_keeps_nobody_waiting_and_sees_the_latest_value() {
    let (_directory, registry) = registry();
    let gauge = registry.gauge("g", "").unwrap();
    let (release, blocked) = channel::<()>();
    let (sender, seen) = channel();
    let slow = registry.on_change(&gauge, move |event| {
        let _ = sender.send(told(event));
        let _ = blocked.recv();
    });
    let slow = slow.unwrap();
    gauge.set(1);
    assert_eq!(seen.recv_timeout(LONG).unwrap().2, Some(1.0));
    let (tell, events) = listener();
    let _quick = registry.on_change(&gauge, tell).unwrap();
    for value in 2..=9 {
        gauge.set(value);
        next_to(&events, value as f64);
    }
    assert!(slow.counts().running.is_some() && slow.counts().coalesced == 7, "{:?}", slow.counts());
    release.send(()).unwrap();
    assert_eq!(seen.recv_timeout(LONG).unwrap(), (String::new(), Some(1.0), Some(9.0)));
    assert!(!slow.cancel_and_wait(Duration::from_millis(1)), "the call goes on");
    release.send(()).unwrap();
    assert!(slow.cancel_and_wait(LONG));
    assert_eq!(slow.counts().calls, 2);
}

#[test]
fn a_callback_may_cancel_its_own_subscription_and_is_dropped_once() {
    let (_directory, registry) = registry();
    let gauge = registry.gauge("g", "").unwrap();
    let own = Arc::new(OnceLock::<Subscription>::new());
    let (held, dropped) = channel::<()>();
    let inside = Arc::clone(&own);
    let callback = move |_: &Event| {
        let _held = &held;
        let subscription = inside.wait();
        assert!(subscription.cancel_and_wait(LONG));
    };
    own.set(registry.on_change(&gauge, callback).unwrap()).unwrap();
    gauge.set(1);
    assert!(
        dropped
            .recv_timeout(LONG)
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected)
    );
    let counts = own.wait().counts();
    assert!((counts.calls, counts.panics) == (1, 0) && !own.wait().is_active());
}

#[test]
fn no_call_begins_after_the_end() {
    let (_directory, registry) = registry();
    let gauge = registry.gauge("g", "").unwrap();
    for round in 0..200 {
        let ended = Arc::new(Mutex::new(false));
        let seen = Arc::clone(&ended);
        let subscription =
            registry.on_change(&gauge, move |_| assert!(!*seen.lock().unwrap(), "called")).unwrap();
        gauge.set(round + 1);
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_micros(1000 + 10 * round as u64));
        }
        assert!(subscription.cancel_and_wait(LONG));
        *ended.lock().unwrap() = true;
        assert_eq!(subscription.counts().panics, 0);
    }
}

#[test]
fn thousands_of_subscriptions_are_all_told() {
    let (_directory, registry) = registry();
    let family = registry.family::<Counter>(&Opts::new("c_total", ""), &["n"]).unwrap();
    let (sender, events) = channel();
    let subscriptions: Vec<_> = (0..3000)
        .map(|number| {
            let (sender, handle) = (sender.clone(), family.with(&[&(number % 1000).to_string()]));
            registry.on_change(&handle, move |_| sender.send(number).unwrap()).unwrap()
        })
        .collect();
    (0..1000).for_each(|number: u32| family.with(&[&number.to_string()]).inc());
    let mut seen: Vec<u32> = (0..3000).map(|_| events.recv_timeout(LONG).unwrap()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..3000));
    drop(subscriptions);
    assert!(events.try_recv().is_err());
}

#[test]
fn what_a_function_gives_is_watched_as_series_are() {
    let registry = Registry::null();
    let value = Arc::new(Mutex::new(None));
    let read = Arc::clone(&value);
    let (tell, events) = listener();
    let watched = Watched::computed("answer", move || *read.lock().unwrap());
    let _subscription = registry.on_change(watched, tell).unwrap();
    *value.lock().unwrap() = Some(42.0);
    assert_eq!(events.recv_timeout(LONG).unwrap(), (String::new(), None, Some(42.0)));
    *value.lock().unwrap() = None;
    assert_eq!(events.recv_timeout(LONG).unwrap(), (String::new(), Some(42.0), None));
}

/// Runs `work` in a child that then waits to be killed.
#[allow(unsafe_code, reason = "forks")]
fn spawn(work: impl FnOnce()) -> Pid {
    // SAFETY: the child calls what children of threaded programs may, as far as this library promises.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            work();
            loop {
                pause();
            }
        }
    }
}

#[test]
fn the_death_of_a_process_is_a_change_of_what_it_had_set() {
    let (_directory, registry) = registry();
    let live = registry.gauge("live", "").unwrap();
    let each = Opts::new("each", "").mode(GaugeMode::LiveAll);
    let each: dyn_metrics::Gauge = registry.create(&each).unwrap();
    let (tell, events) = listener();
    let _live = registry.on_change(&live, tell).unwrap();
    let (tell, processes) = listener();
    let _each = registry.on_change(&each, tell).unwrap();
    live.set(1);
    next_to(&events, 1.0);
    let child = spawn(|| {
        live.set(5);
        each.set(7);
    });
    assert_eq!(next_to(&events, 6.0).2, Some(6.0));
    assert_eq!(next_to(&processes, 7.0).0, format!("pid={child}"));
    kill(child, Signal::SIGKILL).unwrap();
    waitpid(child, None).unwrap();
    assert_eq!(next_to(&events, 1.0).1, Some(6.0));
    assert_eq!(processes.recv_timeout(LONG).unwrap(), (format!("pid={child}"), Some(7.0), None));
}

#[test]
fn a_segment_that_replaces_another_is_watched_with_it() {
    let (directory, registry) = registry();
    let old = registry.counter("c_total", "").unwrap();
    old.inc_by(3);
    let (tell, events) = listener();
    let _subscription = registry.on_change(Watched::family("c_total"), tell).unwrap();
    let path = directory.path().join("s");
    std::fs::rename(&path, directory.path().join("s.superseded-0000000000000001")).unwrap();
    let new =
        Registry::builder().path(&path).max_bytes(1 << 20).open().unwrap().counter("c_total", "").unwrap();
    new.inc_by(4);
    assert_eq!(next_to(&events, 7.0).2, Some(7.0));
    old.inc();
    assert_eq!(next_to(&events, 8.0).1, Some(7.0));
}

#[test]
fn a_selection_has_changed_when_a_value_has_and_not_before() {
    let (directory, registry) = registry();
    let counter = registry.counter("c_total", "").unwrap();
    let gauge = registry.gauge("g", "").unwrap();
    counter.inc();
    gauge.set(1);
    for name in ["c_total", "g"] {
        let mut selection = Selection::new(directory.path().join("s"), Selector::new(name));
        selection.refresh();
        for value in 2..50 {
            // Where values are is compared less often than the values; nothing changes for long.
            while (0..20).any(|_| selection.has_changed()) {}
            counter.inc();
            gauge.set(value);
            assert!((0..20).any(|_| selection.has_changed()), "{name}");
        }
    }
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let (_directory, registry) = registry();
    let nothing = |_: &Event| {};
    let refused = |found: dyn_metrics::Result<Subscription>| found.unwrap_err().to_string();
    assert!(refused(registry.on_change(&Counter::default(), nothing)).contains("not of its segment"));
    assert!(refused(Registry::null().on_change(Watched::family("c"), nothing)).contains("null"));
    assert!(refused(registry.on_change(Watched::family("9 x"), nothing)).contains("metric name"));
    let (_elsewhere, other) = self::registry();
    let handle = other.counter("c_total", "").unwrap();
    assert!(registry.on_change(&handle, nothing).is_err());
    let rule = Threshold::above(f64::NAN);
    assert!(refused(registry.on_threshold(Watched::family("c"), rule, nothing)).contains("found NaN"));
}
