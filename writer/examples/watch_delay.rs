//! Measures callbacks: how long after an update in another process one runs, and what watching costs while nothing
//! happens. `make bench` runs it; nothing is asserted.
//!
//! The other process adds to a counter, or sets a gauge, so that its value is the time of the update.

use std::env::args;
use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use dyn_metrics::watch::{self, Watched};
use dyn_metrics::{Counter, Gauge, Metric, Opts, Registry};
use nix::time::ClockId;

/// Updates for each figure, and the time between two of them in microseconds, plus up to as much.
const UPDATES: u64 = 2000;
const BETWEEN: u64 = 3000;
const IDLE: Duration = Duration::from_secs(5);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let given: Vec<String> = args().collect();
    if let [_, path, kind, series, updates] = given.as_slice() {
        return update(&Registry::open_at(path)?, kind, series.parse()?, updates.parse()?);
    }
    let updates = if given.iter().any(|argument| argument == "--quick") { 200 } else { UPDATES };
    println!(
        "{:<24} {:>7} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}",
        "watched", "updates", "median", "p99", "longest", "period", "watcher", "process"
    );
    for series in [1, 100, 1000] {
        for kind in ["counter", "gauge"] {
            measure(kind, series, updates)?;
        }
    }
    println!("watcher, process: share of one processor while nothing is updated");
    Ok(())
}

fn measure(kind: &str, series: u64, updates: u64) -> Outcome<()> {
    let directory = env_directory(kind, series)?;
    let path = directory.join("watched");
    let registry = Registry::open_at(&path)?;
    let (sender, delays) = channel();
    // What is there first is no update.
    update(&registry, kind, series, 0)?;
    let subscription = registry.on_change(Watched::family("watched"), move |event| {
        // A series' first value says when it began; without its process a gauge is 0.
        if let (Some(old), Some(updated)) = (event.old(), event.value())
            && old > 0.0
            && updated > 0.0
        {
            let _ = sender.send(now().as_nanos() as u64 - updated as u64);
        }
    })?;
    std::thread::sleep(Duration::from_millis(500));
    let (before, process) = (watch::report(), ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?);
    let began = now();
    std::thread::sleep(IDLE);
    let (after, wall) = (watch::report(), now() - began);
    let process = Duration::from(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?) - Duration::from(process);
    let share = |spent: Duration| format!("{:.2} %", 100.0 * spent.as_secs_f64() / wall.as_secs_f64());
    let mut child = Command::new("/proc/self/exe");
    child.args([&path.to_string_lossy(), kind, &series.to_string(), &updates.to_string()]);
    let mut child = child.stdin(Stdio::null()).spawn()?;
    let mut found = Vec::new();
    loop {
        match delays.recv_timeout(Duration::from_secs(1)) {
            Ok(delay) => found.push(delay),
            Err(RecvTimeoutError::Timeout) if child.try_wait()?.is_some() => break,
            Err(_) => (),
        }
    }
    found.sort_unstable();
    let at =
        |share: f64| found.get(((found.len() as f64 * share) as usize).min(found.len().saturating_sub(1)));
    let micros =
        |share| at(share).map_or_else(|| "none".to_owned(), |delay| format!("{:.0} us", *delay as f64 / 1e3));
    let name = format!("{series} {kind} series");
    println!(
        "{name:<24} {:>7} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}",
        found.len(),
        micros(0.5),
        micros(0.99),
        micros(1.0),
        format!("{:.2} ms", after.period.as_secs_f64() * 1e3),
        share(after.spent - before.spent),
        share(process),
    );
    subscription.cancel();
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

/// Registers the series, and updates one after the other at uneven times.
fn update(registry: &Registry, kind: &str, series: u64, updates: u64) -> Outcome<()> {
    match kind {
        "counter" => update_each::<Counter>(registry, series, updates, |counter, time| {
            counter.inc_by(time - counter.value())
        }),
        _ => update_each::<Gauge>(registry, series, updates, |gauge, time| gauge.set(time as i64)),
    }
}

fn update_each<M: Metric>(
    registry: &Registry,
    series: u64,
    updates: u64,
    set: impl Fn(&M, u64),
) -> Outcome<()> {
    let family = registry.family::<M>(&Opts::new("watched", ""), &["number"])?;
    let handles: Vec<M> = (0..series).map(|number| family.with(&[&number.to_string()])).collect();
    if updates == 0 {
        // The gauges' cells are this process's: only counters have a value now.
        return Ok(());
    }
    handles.iter().for_each(|handle| set(handle, now().as_nanos() as u64));
    std::thread::sleep(Duration::from_secs(1));
    let mut random = 1_u64;
    for update in 0..updates {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(BETWEEN + (random >> 33) % BETWEEN));
        set(&handles[(update % series) as usize], now().as_nanos() as u64);
    }
    Ok(())
}

/// One for each measurement: a file that another one takes the name of goes on being watched while this process has it.
fn env_directory(kind: &str, series: u64) -> Outcome<std::path::PathBuf> {
    let name = format!("/dev/shm/dyn-watch-delay-{}-{series}-{kind}", std::process::id());
    let path = std::path::PathBuf::from(name);
    std::fs::create_dir(&path)?;
    Ok(path)
}

fn now() -> Duration {
    ClockId::CLOCK_MONOTONIC.now().map_or(Duration::ZERO, Duration::from)
}
