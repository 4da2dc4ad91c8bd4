//! Slices of contenders in turn, by one thread or several.
#![allow(clippy::disallowed_types, reason = "a barrier between threads of this process")]

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::rows::Samples;

/// Does an operation as often as told, in a loop of its own: worker, times.
pub type Slice = Box<dyn Fn(usize, u64) + Send + Sync>;

/// Something that is measured beside others.
pub struct Contender {
    /// Its name in tables.
    pub name: &'static str,
    /// What it does.
    pub slice: Slice,
    /// What is to be done after each slice, outside of the measured time.
    pub after: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Contender {
    /// One that does nothing between slices.
    pub fn new(name: &'static str, slice: impl Fn(usize, u64) + Send + Sync + 'static) -> Self {
        Self { name, slice: Box::new(slice), after: None }
    }
}

/// How long and how often to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Slices of each contender, beside a first one that warms up.
    pub slices: usize,
    /// Operations in a slice of each thread.
    pub operations: u64,
    /// Slices of slow operations are shortened to about this.
    pub longest: Duration,
}

/// Fewest slices that a median is made of.
const FEWEST: usize = 15;
/// Fewest operations in a slice, so that it goes through all label values.
const LEAST: u64 = 10_000;

/// Measures contenders round-robin: A B C A B C ...; nanoseconds of an operation, for each slice.
///
/// All threads start a slice together, each on a CPU of its own. Its time is from the first start to the last
/// end. A thread that is held up leaves the others, and then itself, alone with the metric; without care the
/// fastest slices would be those that were not contended. So those count in which all threads were at it for nine
/// tenths of the time, unless these are too few.
///
/// # Panics
/// When a contender does.
#[must_use]
pub fn measure(contenders: &[Contender], threads: usize, effort: Effort) -> Samples {
    let gate = Gate { threads, arrived: AtomicUsize::new(0) };
    let lengths: Vec<AtomicU64> = contenders.iter().map(|_| AtomicU64::new(LEAST)).collect();
    let work = |worker| slices(worker, contenders, &gate, &lengths, effort);
    let times: Vec<Vec<Vec<Time>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker ends")).collect()
    });
    let samples = |at: usize| {
        let slices = (0..effort.slices).map(|slice| Whole::of(times.iter().map(|time| &time[at][slice])));
        kept(&slices.collect::<Vec<_>>(), lengths[at].load(Ordering::Relaxed))
    };
    contenders.iter().enumerate().map(|(at, contender)| (contender.name.to_owned(), samples(at))).collect()
}

/// A slice of all threads.
struct Whole {
    elapsed: Duration,
    /// How long all threads were at it.
    together: Duration,
}

impl Whole {
    fn of<'t>(times: impl Iterator<Item = &'t Time> + Clone) -> Self {
        let starts = || times.clone().map(|time| time.start);
        let ends = || times.clone().map(|time| time.end);
        let span = |start: Option<Instant>, end: Option<Instant>| {
            start.zip(end).map_or(Duration::ZERO, |(start, end)| end.saturating_duration_since(start))
        };
        Self { elapsed: span(starts().min(), ends().max()), together: span(starts().max(), ends().min()) }
    }
}

/// Nanoseconds of an operation in the slices that count: those in which all threads were at it for nine tenths
/// of the time. Where there are too few, something else keeps a CPU busy, and all count.
fn kept(slices: &[Whole], operations: u64) -> Vec<f64> {
    let each = |slice: &Whole| slice.elapsed.as_nanos() as f64 / operations as f64;
    let contended = |slice: &&Whole| slice.together * 10 >= slice.elapsed * 9;
    let good: Vec<f64> = slices.iter().filter(contended).map(each).collect();
    if good.len() >= FEWEST.min(slices.len()) { good } else { slices.iter().map(each).collect() }
}

/// When one worker did a slice.
struct Time {
    start: Instant,
    end: Instant,
}

/// What one worker does; its times by contender and slice.
fn slices(
    worker: usize,
    contenders: &[Contender],
    gate: &Gate,
    lengths: &[AtomicU64],
    effort: Effort,
) -> Vec<Vec<Time>> {
    pin(worker);
    let mut times: Vec<Vec<Time>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..=effort.slices {
        for (at, contender) in contenders.iter().enumerate() {
            let n = lengths[at].load(Ordering::Relaxed);
            gate.pass();
            let start = Instant::now();
            (contender.slice)(worker, n);
            let end = Instant::now();
            gate.pass();
            if worker == 0 {
                if let Some(after) = &contender.after {
                    after();
                }
                if round == 0 {
                    let each = (end - start).as_nanos() as f64 / n as f64;
                    lengths[at].store(length(each, effort), Ordering::Relaxed);
                }
            }
            if round > 0 {
                times[at].push(Time { start, end });
            }
        }
        gate.pass();
    }
    times
}

/// Operations of a slice, when one takes `each` nanoseconds.
fn length(each: f64, effort: Effort) -> u64 {
    let fits = effort.longest.as_nanos() as f64 / each.max(0.01);
    (fits as u64).clamp(LEAST, effort.operations.max(LEAST))
}

/// Puts this thread on the n-th of the CPUs that it may use; without effect where that isn't allowed.
pub fn pin(n: usize) {
    let this = Pid::from_raw(0);
    let Ok(allowed) = sched_getaffinity(this) else { return };
    let mut usable = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
    let mut only = CpuSet::new();
    if let Some(cpu) = usable.nth(n)
        && only.set(cpu).is_ok()
    {
        let _ = sched_setaffinity(this, &only);
    }
}

/// A barrier that spins: a sleeping one wakes threads tens of microseconds apart.
struct Gate {
    threads: usize,
    arrived: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        let turn = self.arrived.fetch_add(1, Ordering::AcqRel) / self.threads;
        for spins in 0_u64.. {
            if self.arrived.load(Ordering::Acquire) >= (turn + 1) * self.threads {
                return;
            }
            if spins > 100_000 { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_gets_its_slices_in_turn() {
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let contender = |name| {
            let order = order.clone();
            Contender::new(name, move |worker, n| order.lock().unwrap().push((name, worker, n)))
        };
        let effort = Effort { slices: 2, operations: 1, longest: Duration::ZERO };
        let samples = measure(&[contender("a"), contender("b")], 1, effort);
        let names: Vec<_> = order.lock().unwrap().iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["a", "b", "a", "b", "a", "b"]);
        assert_eq!(samples.iter().map(|(_, times)| times.len()).collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn slices_in_which_threads_were_alone_do_not_count() {
        let slice = |elapsed, together| {
            let [elapsed, together] = [elapsed, together].map(Duration::from_nanos);
            Whole { elapsed, together }
        };
        let mut slices: Vec<Whole> = (0..FEWEST).map(|_| slice(100, 95)).collect();
        slices.push(slice(40, 10));
        assert_eq!(kept(&slices, 10), [10.0; FEWEST]);
        slices.remove(0);
        assert_eq!(kept(&slices, 10).len(), FEWEST, "too few are left: all count");
    }

    #[test]
    fn a_slice_lasts_from_the_first_start_to_the_last_end() {
        let zero = Instant::now();
        let at = |micros| zero + Duration::from_micros(micros);
        let times = [Time { start: at(0), end: at(7) }, Time { start: at(2), end: at(9) }];
        let whole = Whole::of(times.iter());
        assert_eq!((whole.elapsed.as_micros(), whole.together.as_micros()), (9, 5));
    }

    #[test]
    fn slow_operations_get_shorter_slices() {
        let effort = Effort { slices: 1, operations: 200_000, longest: Duration::from_millis(8) };
        assert_eq!(length(5.0, effort), 200_000);
        assert_eq!(length(80.0, effort), 100_000);
        assert_eq!(length(8000.0, effort), LEAST);
    }
}
