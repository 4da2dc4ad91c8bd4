//! Work that a peer does: counting in many threads, with whatever disturbs it.
#![allow(unsafe_code, reason = "signal handlers and timers")]
#![allow(clippy::disallowed_types, reason = "process-local counts, never in the segment")]

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use dyn_metrics::{Counter, DurationCounter, FloatCounter, Gauge, Histogram, Opts, Registry, Tally};
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;

/// One metric of each kind whose values live in per-CPU cells.
#[derive(Clone, Debug)]
pub struct Metrics {
    counter: Counter,
    float: FloatCounter,
    duration: DurationCounter,
    tally: Tally,
    histogram: Histogram,
}

/// Which of them are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kinds {
    /// The counter and the histogram.
    Main,
    /// All.
    All,
}

/// What disturbs the threads while they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Nothing.
    None,
    /// All run on one CPU.
    Pinned,
    /// Each moves from CPU to CPU.
    Moving,
    /// Signals, whose handler counts too.
    Signals,
}

impl Metrics {
    /// Finds or registers them.
    ///
    /// # Errors
    /// Those of registration.
    pub fn register(registry: &Registry) -> dyn_metrics::Result<Self> {
        Ok(Self {
            counter: registry.counter("work_total", "Updates")?,
            float: registry.float_counter("work_halves_total", "Half of the updates")?,
            duration: registry.duration_counter("work_busy_seconds_total", "A nanosecond for each update")?,
            tally: registry.tally("work_bytes", "0 to 3")?,
            histogram: registry.histogram("work_seconds", "0 to 2", &[0.5, 1.5])?,
        })
    }

    /// The `i`th update.
    #[inline]
    fn update(&self, i: u64, kinds: Kinds) {
        self.counter.inc();
        self.histogram.observe((i % 3) as f64);
        if kinds == Kinds::All {
            self.float.inc_by(0.5);
            self.duration.inc_by(Duration::from_nanos(1));
            self.tally.observe((i % 4) as f64);
        }
    }
}

/// Has `threads` threads make `each` updates; the number of updates made, those of signal handlers included.
///
/// Every run of updates starts at 0, so that what the histogram and the tally must hold is known.
///
/// # Errors
/// Those of registration.
///
/// # Panics
/// When a worker does.
pub fn count(
    registry: &Registry,
    threads: usize,
    each: u64,
    kinds: Kinds,
    disturbance: Disturbance,
) -> dyn_metrics::Result<u64> {
    let metrics = Metrics::register(registry)?;
    if disturbance == Disturbance::Signals {
        install_handler(&metrics);
    }
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let metrics = metrics.clone();
            std::thread::spawn(move || run(&metrics, each, kinds, disturbance))
        })
        .collect();
    if disturbance == Disturbance::Signals {
        storm(&workers);
    }
    for worker in workers {
        worker.join().expect("a worker doesn't panic");
    }
    Ok(threads as u64 * each + HANDLED.swap(0, Ordering::Relaxed))
}

fn run(metrics: &Metrics, each: u64, kinds: Kinds, disturbance: Disturbance) {
    let cpus = cpus();
    if disturbance == Disturbance::Pinned {
        move_to(cpus[0]);
    }
    for i in 0..each {
        if disturbance == Disturbance::Moving && i.is_multiple_of(64) {
            move_to(cpus[(i / 64) as usize % cpus.len()]);
        }
        metrics.update(i, kinds);
    }
}

/// Registers `count` histograms with `bounds` bounds each, and observes once in each bucket, from all CPUs.
///
/// # Errors
/// Those of registration.
pub fn wide_histograms(registry: &Registry, count: usize, bounds: usize) -> dyn_metrics::Result<()> {
    let limits: Vec<f64> = (0..bounds).map(|n| n as f64).collect();
    let all = cpus();
    for n in 0..count {
        let histogram = registry.histogram(&format!("wide_{n}"), "One of many buckets", &limits)?;
        for value in 0..=bounds {
            if value.is_multiple_of(50) {
                move_to(all[value / 50 % all.len()]);
            }
            histogram.observe(value as f64);
        }
    }
    move_to_any(&all);
    Ok(())
}

/// Has `threads` threads ask for the one series that a family may have, at the same time, in `rounds` families.
///
/// # Errors
/// Those of registration.
pub fn race_for_the_last(registry: &Registry, rounds: usize, threads: usize) -> dyn_metrics::Result<()> {
    let barrier = Barrier::new(threads);
    for round in 0..rounds {
        let opts = Opts::new(&format!("last_{round}_total"), "Has one series").max_series(1);
        let family = registry.family::<Counter>(&opts, &["n"])?;
        let ask = || {
            barrier.wait();
            family.with(&["only"]).inc();
        };
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(ask))));
    }
    Ok(())
}

/// Has `threads` threads open the segment at `path` at the same time, and count once each.
///
/// # Errors
/// Those of opening and registration.
///
/// # Panics
/// When a thread does.
pub fn open_at_once(path: &str, threads: usize) -> dyn_metrics::Result<()> {
    let barrier = Barrier::new(threads);
    let open = || {
        barrier.wait();
        let registry = Registry::open_at(path)?;
        registry.counter("opened_total", "Threads")?.inc();
        registry.gauge("running", "Threads").map(|gauge| gauge.inc())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(open)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread doesn't panic"))
    })
}

/// CPUs that this thread may run on.
#[must_use]
pub fn cpus() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_else(|_| CpuSet::new());
    let all: Vec<usize> = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect();
    if all.is_empty() { vec![0] } else { all }
}

/// Runs this thread on one CPU alone.
///
/// # Panics
/// When it may not.
pub fn move_to(cpu: usize) {
    move_to_any(&[cpu]);
}

/// Runs this thread on any of these CPUs.
///
/// # Panics
/// When it may not.
pub fn move_to_any(cpus: &[usize]) {
    let mut set = CpuSet::new();
    let known = cpus.iter().try_for_each(|cpu| set.set(*cpu));
    known.and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).expect("CPUs that this thread may run on");
}

/// Makes the first update of `count` gauges, each with a cell to be claimed, while a signal handler makes the first
/// updates of as many others; how many updates were made.
///
/// # Errors
/// Those of registration.
pub fn claim_in_signals(registry: &Registry, count: usize) -> dyn_metrics::Result<u64> {
    let family = registry.family::<Gauge>(&Opts::new("claimed", "Set once"), &["by", "n"])?;
    let all = |by: &str| (0..count).map(|n| family.with(&[by, &n.to_string()])).collect::<Vec<_>>();
    let ours = all("thread");
    let _ = CLAIMED_IN_HANDLER.set(all("handler"));
    let action = SigAction::new(SigHandler::Handler(claiming_handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler loads statics and updates a gauge, which is async-signal-safe.
    unsafe { sigaction(Signal::SIGALRM, &action) }.expect("a handler can be installed");
    set_timer(libc::timeval { tv_sec: 0, tv_usec: 20 });
    ours.iter().for_each(Gauge::inc);
    set_timer(libc::timeval { tv_sec: 0, tv_usec: 0 });
    Ok((count + NEXT_IN_HANDLER.load(Ordering::Relaxed).min(count)) as u64)
}

static CLAIMED_IN_HANDLER: OnceLock<Vec<Gauge>> = OnceLock::new();
static NEXT_IN_HANDLER: AtomicUsize = AtomicUsize::new(0);

extern "C" fn claiming_handler(_: libc::c_int) {
    let next = NEXT_IN_HANDLER.fetch_add(1, Ordering::Relaxed);
    if let Some(gauge) = CLAIMED_IN_HANDLER.get().and_then(|gauges| gauges.get(next)) {
        gauge.inc();
    }
}

static IN_HANDLER: OnceLock<Metrics> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn handler(_: libc::c_int) {
    if let Some(metrics) = IN_HANDLER.get() {
        // Whole rounds of the histogram and the tally, so that their sums stay known.
        (0..12).for_each(|i| metrics.update(i, Kinds::All));
        HANDLED.fetch_add(12, Ordering::Relaxed);
    }
}

fn install_handler(metrics: &Metrics) {
    let _ = IN_HANDLER.set(metrics.clone());
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGALRM, Signal::SIGUSR1] {
        // SAFETY: the handler loads a static and updates metrics, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.expect("a handler can be installed");
    }
}

/// A timer signal each 200 microseconds, and a signal to each worker in turn, until all are done.
fn storm(workers: &[JoinHandle<()>]) {
    let every = libc::timeval { tv_sec: 0, tv_usec: 200 };
    let stop = libc::timeval { tv_sec: 0, tv_usec: 0 };
    set_timer(every);
    while workers.iter().any(|worker| !worker.is_finished()) {
        for worker in workers {
            // SAFETY: the thread is not joined yet, so its handle is valid.
            unsafe { libc::pthread_kill(worker.as_pthread_t(), libc::SIGUSR1) };
        }
        std::thread::yield_now();
    }
    set_timer(stop);
}

fn set_timer(every: libc::timeval) {
    let timer = libc::itimerval { it_interval: every, it_value: every };
    // SAFETY: a valid timer value; the old one is not asked for.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}

/// Threads that count until they are told to stop.
#[derive(Debug)]
pub struct Spinning {
    threads: Vec<JoinHandle<u64>>,
}

static STOP: AtomicBool = AtomicBool::new(false);

impl Spinning {
    /// Starts `threads` of them; they increment the counter alone.
    #[must_use]
    pub fn start(metrics: &Metrics, threads: usize) -> Self {
        STOP.store(false, Ordering::Relaxed);
        let spin = |metrics: Metrics| {
            let mut counted = 0;
            while !STOP.load(Ordering::Relaxed) {
                metrics.counter.inc();
                counted += 1;
            }
            counted
        };
        let threads = (0..threads)
            .map(|_| {
                let metrics = metrics.clone();
                std::thread::spawn(move || spin(metrics))
            })
            .collect();
        Self { threads }
    }

    /// Stops them: how often they incremented.
    ///
    /// # Panics
    /// When one of them has.
    #[must_use]
    pub fn stop(self) -> u64 {
        STOP.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a spinner doesn't panic")).sum()
    }
}
