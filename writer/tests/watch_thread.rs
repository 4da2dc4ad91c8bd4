//! The watcher's thread. One test: it looks at all threads of the process.
#![cfg(not(miri))]

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use dyn_metrics::watch::{self, Watched};
use dyn_metrics::{Gauge, Registry};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

const LONG: Duration = Duration::from_secs(60);

/// Names of the threads of this process that are ours, with the signals that they block.
fn threads() -> Vec<(String, u64)> {
    let status = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        let field = |name: &str| {
            Some(text.lines().find(|line| line.starts_with(name))?.split_once('\t')?.1.to_owned())
        };
        Some((field("Name:")?, u64::from_str_radix(&field("SigBlk:")?, 16).ok()?))
    };
    let all = std::fs::read_dir("/proc/self/task").unwrap().filter_map(status);
    all.filter(|(name, _)| name == "dyn-watch" || name == "dyn-callback").collect()
}

fn is_told(registry: &Registry, gauge: &Gauge) -> bool {
    let (sender, events) = channel();
    let _subscription = registry.on_change(gauge, move |event| sender.send(event.value()).unwrap()).unwrap();
    gauge.set(gauge.value() + 1);
    events.recv_timeout(LONG).is_ok_and(|value| value.is_some())
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[allow(unsafe_code, reason = "forks")]
fn there_is_one_thread_while_somebody_watches_and_none_before_after_and_in_children() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let registry = Registry::builder().path(directory.path().join("s")).max_bytes(1 << 20).open().unwrap();
    let gauge = registry.gauge("g", "").unwrap();
    assert!(threads().is_empty());
    for _ in 0..3 {
        assert!(is_told(&registry, &gauge));
        wait_until("all threads gone", || threads().is_empty());
    }
    let first = registry.on_change(&gauge, |_| {}).unwrap();
    let second = registry.on_change(Watched::family("other"), |_| {}).unwrap();
    let watchers = || threads().into_iter().filter(|(name, _)| name == "dyn-watch").collect::<Vec<_>>();
    wait_until("a thread that has its name", || !watchers().is_empty());
    let watchers = watchers();
    // Neither SIGKILL, SIGSTOP nor the two that the C library keeps for itself can be blocked.
    let always_open = 1 << 8 | 1 << 18 | 1 << 31 | 1 << 32;
    // A fault that is blocked kills, also where a handler would have mended it; profilers count where they are. Written
    // down again, not taken from the library: one that is missing there must be missed here.
    let faults_and_profilers = [
        Signal::SIGABRT,
        Signal::SIGBUS,
        Signal::SIGFPE,
        Signal::SIGILL,
        Signal::SIGPROF,
        Signal::SIGSEGV,
        Signal::SIGSYS,
        Signal::SIGTRAP,
    ];
    let open = faults_and_profilers.iter().fold(always_open, |all, signal| all | 1 << (*signal as u32 - 1));
    assert_eq!(watchers.len(), 1);
    assert_eq!(watchers[0].1 & !always_open, !open, "{:x}", watchers[0].1);
    // SAFETY: the child calls what children of threaded programs may, as far as this library promises, and ends.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let is_clear = threads().is_empty() && !first.is_active() && watch::report().subscriptions == 0;
            drop((first, second));
            let code = if is_clear && is_told(&registry, &gauge) { 0 } else { 1 };
            std::process::exit(code);
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0))
        }
    }
    assert_eq!((watch::report().subscriptions, first.is_active()), (2, true));
    drop((first, second));
    wait_until("all threads gone", || threads().is_empty());
}
