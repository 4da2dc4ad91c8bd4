//! Forks at awkward moments.
#![allow(unsafe_code, reason = "fork")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use dyn_metrics::{Counter, Gauge, Opts, Registry};
use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// After this many seconds a child that hangs is killed by its alarm.
const HANGS_AFTER: u32 = 20;

/// Forks a child that runs `work` and ends; its pid.
///
/// # Panics
/// When the kernel refuses.
pub fn child(work: impl FnOnce()) -> Pid {
    // SAFETY: the child of a threaded process may do only what is async-signal-safe, and allocate, which glibc
    // allows; `work` does no more.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            nix::unistd::alarm::set(HANGS_AFTER);
            work();
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(0) }
        }
    }
}

/// Whether a child ended well; false when it hung or crashed.
#[must_use]
pub fn ended_well(pid: Pid) -> bool {
    matches!(waitpid(pid, None), Ok(WaitStatus::Exited(_, 0)))
}

/// Forks `times` children while another thread registers series and claims gauges without pause. Each child
/// registers, counts and sets gauges of its own; how many of them hung or crashed.
///
/// # Errors
/// Those of registration.
///
/// # Panics
/// When the kernel refuses to fork.
pub fn while_registering(registry: &Registry, times: u32) -> dyn_metrics::Result<u32> {
    let counters = registry.family::<Counter>(&Opts::new("forked_total", "Children"), &["child"])?;
    let gauges = registry.family::<Gauge>(&Opts::new("forked_running", "Children"), &["n"])?;
    let busy = registry
        .family::<Counter>(&Opts::new("busy_total", "Registered meanwhile").max_series(1 << 20), &["n"])?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (others, registry) = (gauges.clone(), registry.clone());
    let thread = std::thread::spawn(move || {
        let mut n = 0_u32;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            busy.with(&[&n.to_string()]).inc();
            others.with(&[&(n % 4000).to_string()]).set(1);
            let _ =
                registry.counter("busy_lookups_total", "Looked up meanwhile").map(|counter| counter.inc());
            n += 1;
        }
    });
    let mut failed = 0;
    for n in 0..times {
        let (counters, gauges) = (counters.clone(), gauges.clone());
        let pid = child(move || {
            counters.with(&[&n.to_string()]).inc_by(3);
            gauges.with(&["5"]).set(1);
            gauges.with(&[&format!("child {n}")]).set(1);
        });
        failed += u32::from(!ended_well(pid));
    }
    drop(stop);
    thread.join().expect("the registering thread doesn't panic");
    Ok(failed)
}

/// A segment in which a forked child of this process has no slot yet.
pub struct Claimable {
    gauge: Gauge,
    counter: Counter,
}

/// Makes `times` segments in `directory`, to be claimed by a child.
///
/// # Errors
/// Those of registration.
pub fn claimable(directory: &Path, times: u32) -> dyn_metrics::Result<Vec<Claimable>> {
    let open = |n| {
        let path = directory.join(format!("claimed-{n}"));
        let registry = Registry::builder().path(path).max_bytes(512 << 10).processes(16).open()?;
        let gauge = registry.gauge("claimed", "Set once by each process")?;
        Ok(Claimable { gauge, counter: registry.counter("counted_total", "Counts")? })
    };
    (0..times).map(open).collect()
}

/// In each segment claims a slot in one thread, with a gauge of 1, while another one forks, up to `latest` later.
/// The children count once, set the gauge to 100 and live on until their standard input ends; how many of them hung.
///
/// # Panics
/// When the kernel refuses to fork.
pub fn while_claiming(segments: Vec<Claimable>, latest: Duration) -> usize {
    slow_down_forks();
    let (mut done, told) = std::io::pipe().expect("a pipe");
    let times = segments.len();
    for (n, Claimable { gauge, counter }) in (0..).zip(segments) {
        let childs_gauge = gauge.clone();
        let barrier = Arc::new(Barrier::new(2));
        let (claims, mut told) = (Arc::clone(&barrier), told.try_clone().expect("a pipe"));
        let thread = std::thread::spawn(move || {
            claims.wait();
            gauge.set(1);
        });
        barrier.wait();
        // Some forks come before the claim, some in its midst, some after.
        let start = Instant::now();
        while start.elapsed() < latest * (n % 20) / 20 {
            std::hint::spin_loop();
        }
        child(move || {
            counter.inc();
            if n % 3 > 0 {
                std::thread::sleep(latest * 10); // the parent has its slot by now
            }
            childs_gauge.set(100);
            let _ = told.write_all(b".");
            nix::unistd::alarm::set(10 * HANGS_AFTER);
            wait_for_end_of_input();
        });
        thread.join().expect("the claiming thread doesn't panic");
    }
    let mut counted = vec![0; times];
    drop(told);
    // Ends early when all children that had not answered have been killed by their alarm.
    let mut filled = 0;
    while filled < counted.len() {
        match done.read(&mut counted[filled..]) {
            Ok(read) if read > 0 => filled += read,
            _ => break,
        }
    }
    times - filled
}

/// Makes a fork take milliseconds between the copy of the descriptors and that of what the library remembers of them:
/// memory is copied in the order of addresses, and this much comes first.
fn slow_down_forks() {
    use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};
    let (low, len) = (std::num::NonZero::new(1 << 32), std::num::NonZero::new(256 << 20).expect("not 0"));
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_POPULATE;
    // SAFETY: a new mapping where nothing else is; the address is a wish.
    unsafe { mmap_anonymous(low, len, protection, flags) }.expect("256 MiB");
}

/// Waits until the other end of standard input is closed, and leaves what is written there to others.
fn wait_for_end_of_input() {
    let stdin = std::io::stdin();
    let mut wait =
        libc::pollfd { fd: std::os::fd::AsRawFd::as_raw_fd(&stdin.as_fd()), events: 0, revents: 0 };
    // SAFETY: one valid pollfd.
    while unsafe { libc::poll(&raw mut wait, 1, -1) } < 0 {}
}

/// Has two threads register the same series at once, again and again, and forks after each; parent and child
/// then register series of their own. How many children failed.
///
/// # Errors
/// Those of registration.
///
/// # Panics
/// When the kernel refuses to fork.
pub fn after_collisions(registry: &Registry, times: u32) -> dyn_metrics::Result<u32> {
    let opts = Opts::new("collided_total", "Registered by many at once").max_series(1 << 20);
    let family = registry.family::<Counter>(&opts, &["who"])?;
    let mut failed = 0;
    for n in 0..times {
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    family.with(&[&format!("both {n}")]).inc();
                });
            }
        });
        let both = family.clone();
        let pid = child(move || both.with(&[&format!("child {n}")]).inc());
        family.with(&[&format!("parent {n}")]).inc();
        failed += u32::from(!ended_well(pid));
    }
    Ok(failed)
}

/// Forks; the child's pid, and none in the child. Both go on.
///
/// # Errors
/// The kernel's.
pub fn fork_and_go_on() -> nix::Result<Option<Pid>> {
    // SAFETY: the child of a threaded process goes on with what is async-signal-safe, and with allocation, which
    // glibc allows.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Some(child)),
        ForkResult::Child => Ok(None),
    }
}
