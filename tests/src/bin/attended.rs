//! A worker with a server of its own, for the tests: `attended PATH`, with `DYN_SYSTEM_ENABLED` and the like in its environment.
//!
//! Its main loop beats and reads lines: `block MILLISECONDS` keeps it from beating, `pending N` says that work is pending,
//! `measure MILLISECONDS` works meanwhile and answers `measured UPDATE REQUEST`, the medians in nanoseconds of an update and of
//! a request. Ends with its input, draining first.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use dyn_metrics::{Counter, Histogram, Registry};
use dyn_metrics_system::checks::Progress;
use dyn_metrics_system::{Beat, Builder, Probe, Spec, State};

/// Updates that are timed together: the clock takes longer than one.
const UPDATES: u32 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("no path")?;
    let registry = Registry::builder().path(path).role("attended").open()?;
    let done = registry.counter("attended_done_total", "Requests answered")?;
    let pending = registry.gauge("attended_pending", "Requests that wait")?;
    let latency = registry.histogram("attended_latency_seconds", "Time to answer", &[0.001, 0.01, 0.1])?;
    let beat = Beat::new();
    let often = |name| Spec::new(name).probe(Probe::Health).every(Duration::from_millis(50));
    let stalls = Duration::from_millis(500);
    let system =
        Builder::from_env()?.ok_or("DYN_SYSTEM_ENABLED is not true")?.registry(&registry).version("9.8.7");
    let system = system
        .check(often("main_loop"), beat.stalls_after(stalls))
        .check(often("engine"), Progress::new(&done, &pending, stalls))
        .check(Spec::new("alive").probe(Probe::Liveness), beat.stalls_after(Duration::from_secs(600)))
        .start()?;
    let (lines, line) = mpsc::channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    loop {
        beat.beat();
        let line: String = match line.recv_timeout(Duration::from_millis(10)) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let (verb, number) = line.split_once(' ').ok_or("expected: VERB NUMBER")?;
        let number: u64 = number.parse()?;
        match verb {
            "block" => std::thread::sleep(Duration::from_millis(number)),
            "pending" => pending.set(i64::try_from(number)?),
            "measure" => {
                let (update, request) = measure(Duration::from_millis(number), &done, &latency, &beat);
                println!("measured {update} {request}");
            }
            _ => return Err("expected: block, pending or measure".into()),
        }
        println!("done {verb}");
        std::io::stdout().flush()?;
    }
    system.set_state(State::Draining)?;
    system.stop();
    Ok(())
}

/// Medians, in nanoseconds, of an update and of a request: some microseconds of work, timed and counted.
fn measure(time: Duration, done: &Counter, latency: &Histogram, beat: &Beat) -> (f64, f64) {
    let (mut updates, mut requests) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut sum = 1_u64;
    while start.elapsed() < time {
        beat.beat();
        let began = Instant::now();
        (0..UPDATES).for_each(|_| done.inc());
        updates.push(began.elapsed().as_nanos() as f64 / f64::from(UPDATES));
        let began = Instant::now();
        latency.time(|| {
            sum = (0..5000).fold(sum, |sum, n| {
                std::hint::black_box(sum.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n))
            });
        });
        requests.push(began.elapsed().as_nanos() as f64);
    }
    (median(updates), median(requests))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
