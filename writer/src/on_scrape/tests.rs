use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use dyn_metrics_layout::callbacks::{Answer, Request, SocketName, is_socket_name};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket};
use std::os::fd::AsRawFd;

use super::hub::MAX_WORKERS;
use super::*;
use crate::testing::Fake;

/// Long enough for anything that ends at all.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

fn segment() -> (tempfile::TempDir, Registry) {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).open().unwrap();
    (directory, registry)
}

fn sockets(directory: &tempfile::TempDir) -> Vec<PathBuf> {
    let entries = directory.path().read_dir().unwrap().map(|entry| entry.unwrap());
    entries.filter(|e| is_socket_name(e.file_name().as_encoded_bytes())).map(|e| e.path()).collect()
}

/// A callback that hangs until the sender is used or dropped.
fn hanging(registry: &Registry) -> (OnScrape, Sender<()>, Receiver<()>) {
    let (go, gate) = channel::<()>();
    let (started, starts) = channel();
    let callback = registry.on_scrape(move || {
        let _ = started.send(());
        let _ = gate.recv();
    });
    (callback, go, starts)
}

#[test]
fn a_callback_runs_at_each_render_until_its_handle_is_dropped() {
    let fake = Fake::new();
    let registry = fake.registry();
    let gauge = registry.gauge("depth", "").unwrap();
    let count = Arc::new(Mutex::new(0));
    let callback = {
        let (gauge, count) = (gauge.clone(), Arc::clone(&count));
        registry.on_scrape(move || {
            *count.lock().unwrap() += 1;
            gauge.set(*count.lock().unwrap());
        })
    };
    assert!(callback.is_registered());
    let shown = || -> i64 {
        let page = registry.render().unwrap();
        page.lines().find_map(|line| line.strip_prefix("depth ")).map_or(0, |depth| depth.parse().unwrap())
    };
    // A page waits for a bounded time, and a thread may take longer to start.
    let later = |than| (0..1000).map(|_| shown()).find(|depth| *depth > than).expect("another run");
    later(later(0));
    drop(callback);
    // A run that is under way ends.
    while Arc::strong_count(&count) > 1 {
        std::thread::yield_now();
    }
    let last = *count.lock().unwrap();
    assert_eq!((shown(), shown()), (last, last), "no more runs");
}

#[test]
fn one_that_hangs_is_late_and_keeps_no_other_from_running() {
    let fake = Fake::new();
    let registry = fake.registry();
    let (_hanging, go, starts) = hanging(&registry);
    let gauge = registry.gauge("depth", "").unwrap();
    let mut value = 0;
    let _counts = {
        let gauge = gauge.clone();
        registry.on_scrape(move || {
            value += 1;
            gauge.set(value);
        })
    };
    // The hanging one comes first in the queue. How long threads take to start is not asserted.
    while gauge.value() < 3 {
        let run = registry.run_callbacks(SHORT);
        assert!(run.late >= 1 && run.failed == 0, "{run:?}");
    }
    starts.recv().unwrap();
    assert!(starts.try_recv().is_err(), "it is not started again while it hangs");
    drop(go);
    let mut last = registry.run_callbacks(LONG);
    while last.late > 0 {
        last = registry.run_callbacks(LONG);
    }
    assert_eq!(last, CallbackRun { done: 2, failed: 0, late: 0 });
}

#[test]
fn those_that_hang_hold_a_bounded_number_of_threads() {
    let fake = Fake::new();
    let registry = fake.registry();
    let all: Vec<_> = (0..2 * MAX_WORKERS).map(|_| hanging(&registry)).collect();
    let mut started = 0;
    while started < MAX_WORKERS {
        let run = registry.run_callbacks(SHORT);
        assert_eq!(run.done, 0);
        started += all.iter().map(|(_, _, starts)| starts.try_iter().count()).sum::<usize>();
    }
    registry.run_callbacks(SHORT);
    let surplus: usize = all.iter().map(|(_, _, starts)| starts.try_iter().count()).sum();
    assert_eq!((started, surplus), (MAX_WORKERS, 0));
    let (callbacks, gates): (Vec<_>, Vec<_>) = all.into_iter().map(|(c, go, s)| (c, (go, s))).unzip();
    drop(gates);
    drop(callbacks);
}

#[test]
fn one_that_panics_is_counted_and_goes_on_being_asked() {
    let fake = Fake::new();
    let registry = fake.registry();
    let _panics = registry.on_scrape(|| panic!("on purpose"));
    let fails = crate::raw::on_scrape(&registry, Box::new(|| false));
    let _runs = registry.on_scrape(|| ());
    for _ in 0..2 {
        assert_eq!(registry.run_callbacks(LONG), CallbackRun { done: 3, failed: 2, late: 0 });
    }
    assert!(crate::raw::end_callback(fails) && !crate::raw::end_callback(fails));
    assert_eq!(registry.run_callbacks(LONG), CallbackRun { done: 2, failed: 1, late: 0 });
}

#[test]
fn a_callback_may_register_metrics_and_callbacks_and_end_itself() {
    let fake = Fake::new();
    let registry = fake.registry();
    let own: Arc<Mutex<Option<OnScrape>>> = Arc::default();
    let (inner, slot) = (registry.clone(), Arc::clone(&own));
    let callback = registry.on_scrape(move || {
        inner.gauge("made_inside", "").unwrap().set(7);
        inner.on_scrape(|| ()).keep();
        drop(slot.lock().unwrap().take());
    });
    *own.lock().unwrap() = Some(callback);
    assert_eq!(registry.run_callbacks(LONG).done, 1);
    assert_eq!(fake.total("made_inside", &[]), Some(7.0));
    assert_eq!(registry.run_callbacks(LONG).done, 1, "the one that was made inside, and no other");
}

#[test]
fn a_function_of_a_series_replaces_the_one_before() {
    let fake = Fake::new();
    let registry = fake.registry();
    let gauge = registry.float_gauge("ratio", "").unwrap();
    gauge.set_function(|| 0.25).keep();
    registry.run_callbacks(LONG);
    assert_eq!(gauge.value(), 0.25);
    let second = gauge.clone().set_function(|| 0.5);
    assert_eq!(registry.run_callbacks(LONG).done, 1);
    assert_eq!(gauge.value(), 0.5);
    drop(second);
    assert_eq!(registry.run_callbacks(LONG).done, 0);
    let private = crate::Gauge::default();
    assert!(!private.set_function(|| 1).is_registered());
}

#[test]
fn what_bindings_give_as_doubles_is_set_in_the_unit_of_the_handle() {
    use crate::raw::{clear_function, set_function};
    let fake = Fake::new();
    let registry = fake.registry();
    let whole = registry.gauge("g", "").unwrap();
    let time = registry.duration_gauge("g_seconds", "").unwrap();
    let counter = registry.counter("c_total", "").unwrap();
    let seconds = registry.duration_counter("c_seconds_total", "").unwrap();
    let mut totals = [2.0, 3.5, f64::NAN, 1.0].into_iter();
    assert!(set_function(&whole, Box::new(|| Some(2.6))));
    assert!(set_function(&time, Box::new(|| Some(0.25))));
    assert!(set_function(&counter, Box::new(move || totals.next())));
    assert!(set_function(&seconds, Box::new(|| Some(1.5))));
    for (expected, failed) in [(2, 0), (4, 0), (4, 1), (5, 0), (5, 1)] {
        assert_eq!(registry.run_callbacks(LONG), CallbackRun { done: 4, failed, late: 0 });
        assert_eq!(counter.value(), expected);
    }
    assert_eq!((whole.value(), time.value(), seconds.value().as_secs_f64()), (3, 0.25, 1.5));
    assert!(clear_function(&whole) && !clear_function(&whole));
    assert!(!set_function(&registry.tally("t", "").unwrap(), Box::new(|| Some(1.0))));
    assert!(!set_function(&crate::Gauge::default(), Box::new(|| Some(1.0))));
}

#[test]
fn a_counter_s_function_adds_what_its_total_has_grown_by() {
    let fake = Fake::new();
    let registry = fake.registry();
    let whole = registry.counter("a_total", "").unwrap();
    let float = registry.float_counter("b_total", "").unwrap();
    let total = Arc::new(Mutex::new(10));
    let (one, other) = (Arc::clone(&total), Arc::clone(&total));
    let _one = whole.set_function(move || *one.lock().unwrap());
    let _other = float.set_function(move || *other.lock().unwrap() as f64 / 2.0);
    for (now, expected) in [(10, 10), (10, 10), (15, 15), (3, 18)] {
        *total.lock().unwrap() = now;
        assert_eq!(registry.run_callbacks(LONG).done, 2);
        assert_eq!((whole.value(), float.value()), (expected, expected as f64 / 2.0), "{now}");
    }
}

#[test]
fn a_segment_s_callbacks_have_a_socket_beside_it_while_there_are_any() {
    let (directory, registry) = segment();
    assert!(sockets(&directory).is_empty());
    let (first, second) = (registry.on_scrape(|| ()), registry.on_scrape(|| ()));
    let found = sockets(&directory);
    assert_eq!(found.len(), 1, "{found:?}");
    let meta = found[0].symlink_metadata().unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    drop(first);
    assert_eq!(sockets(&directory), found);
    drop(second);
    assert!(sockets(&directory).is_empty());
    let _again = registry.gauge("g", "").unwrap().set_function(|| 1);
    assert_eq!(sockets(&directory), found);
}

#[test]
fn who_may_read_the_segment_may_ask() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let builder = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).mode(0o640);
    let registry = builder.open().unwrap();
    let _callback = registry.on_scrape(|| ());
    let mode = sockets(&directory)[0].symlink_metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn what_the_dead_have_left_is_removed_and_nothing_else() {
    let (directory, registry) = segment();
    let id = registry.current().unwrap().header.segment_id;
    let left = directory.path().join(SocketName::new(id, 0x1234, 0).as_str());
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    let other = directory.path().join(SocketName::new([id[0] ^ 1, id[1]], 0x1234, 0).as_str());
    drop(std::os::unix::net::UnixListener::bind(&other).unwrap());
    let _callback = registry.on_scrape(|| ());
    assert!(!left.exists());
    assert!(other.exists(), "it belongs to another segment");
    assert_eq!(sockets(&directory).len(), 2);
}

#[test]
fn who_connects_and_asks_gets_an_answer_after_the_callbacks_have_run() {
    let (directory, registry) = segment();
    let gauge = registry.gauge("depth", "").unwrap();
    let _function = gauge.set_function(|| 5);
    let _panics = registry.on_scrape(|| panic!("on purpose"));
    let path = sockets(&directory).remove(0);
    let ask = |message: &[u8]| {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        send(fd.as_raw_fd(), message, MsgFlags::empty()).unwrap();
        let mut answer = [0; 64];
        let read = recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap_or(0);
        Answer::decode(&answer[..read])
    };
    assert_eq!(ask(b"GET / HTTP/1.1"), None, "it hangs up");
    assert_eq!(gauge.value(), 0);
    assert_eq!(ask(&Request { limit_ms: 10_000 }.encode()), Some(Answer { late: 0, failed: 1 }));
    assert_eq!(gauge.value(), 5);
}

#[test]
fn a_registry_s_callbacks_are_not_another_s() {
    let (_one_directory, one) = segment();
    let (_other_directory, other) = segment();
    let _one = one.on_scrape(|| ());
    let _other = (other.on_scrape(|| ()), other.on_scrape(|| ()));
    assert_eq!((one.run_callbacks(LONG).done, other.run_callbacks(LONG).done), (1, 2));
    assert_eq!(Registry::null().run_callbacks(LONG), CallbackRun::default());
}

#[cfg(feature = "prometheus")]
#[test]
fn whoever_gathers_the_prometheus_registry_has_callbacks_run() {
    let theirs = prometheus::Registry::new();
    let registry = Registry::with_backend(Arc::new(crate::backend::Prometheus::new(theirs.clone())));
    let (one, other) = (registry.gauge("one", "").unwrap(), registry.gauge("other", "").unwrap());
    let mut runs = 0;
    let _callback = registry.on_scrape(move || {
        runs += 1;
        one.set(runs);
        other.set(runs);
    });
    let gathered = || -> Vec<f64> {
        theirs.gather().iter().map(|family| family.get_metric()[0].get_gauge().get_value()).collect()
    };
    // Who gathers waits for a bounded time: not every time are all families of one run.
    let all = |values: &Vec<f64>| values[0] > 0.0 && values[0] == values[1];
    let first = (0..1000).map(|_| gathered()).find(all).expect("one run for all families");
    while gathered() == first {}
    registry.render().unwrap();
}
