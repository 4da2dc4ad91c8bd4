//! Times what a scrape costs the reader: `render_times [counters|floats|histograms|tallies|gauges|deaths] [SERIES]`,
//! by default all of them at the sizes of the targets. Build it with `--release`.
//!
//! The segment is a writer's: every CPU of this machine has counted in every series, so a machine with 2 CPUs
//! has 2 blocks. Collections are repeated with caches warm; what is printed is the least and the median. For
//! `deaths` 8 and then 1 000 processes have lived and were killed, at most 8 of them at a time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dyn_metrics::{Counter, FloatCounter, Gauge, GaugeMode, Histogram, Metric, Opts, Registry, Tally};
use dyn_metrics_reader::{Collector, encode};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Bounds as Prometheus' clients have by default.
const BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const ROUNDS: usize = 201;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (kind, series) = (arguments.first(), arguments.get(1));
    if let (Some("mortal"), Some(path)) = (kind.map(String::as_str), series) {
        return mortal(Path::new(path));
    }
    println!("kind series way min_ns_per_series median_ns_per_series bytes");
    for (name, usual, fill) in FILLS {
        if kind.is_none_or(|kind| kind == name) {
            let series = series.map_or(Ok(usual), |series| series.parse())?;
            let directory = tempfile::tempdir_in("/dev/shm")?;
            let path = directory.path().join("segment");
            fill(
                &Registry::builder().path(&path).max_bytes(1 << 30).max_series_per_family(1 << 20).open()?,
                series,
            )?;
            measure(name, series, &path)?;
        }
    }
    if kind.is_none_or(|kind| kind == "deaths") { deaths() } else { Ok(()) }
}

type Fill = fn(&Registry, usize) -> Outcome<()>;

const FILLS: [(&str, usize, Fill); 5] = [
    ("counters", 100_000, |registry, series| {
        fill(registry, series, Opts::new("requests_total", "Requests."), |c: &Counter, n| c.inc_by(n))
    }),
    ("floats", 100_000, |registry, series| {
        let update = |c: &FloatCounter, n| c.inc_by(n as f64 / 7.0);
        fill(registry, series, Opts::new("seconds_total", "Seconds."), update)
    }),
    ("histograms", 10_000, |registry, series| {
        let opts = Opts::new("latency_seconds", "Latency.").bounds(&BOUNDS);
        fill(registry, series, opts, |histogram: &Histogram, n| {
            BOUNDS.iter().for_each(|bound| histogram.observe(bound - 0.001 / n as f64));
        })
    }),
    ("tallies", 50_000, |registry, series| {
        let opts = Opts::new("size_bytes", "Sizes.");
        fill(registry, series, opts, |tally: &Tally, n| tally.observe(n as f64))
    }),
    ("gauges", 50_000, |registry, series| {
        fill(registry, series, Opts::new("depth", "Depth."), |gauge: &Gauge, n| gauge.set(n as i64))
    }),
];

/// Registers `series` series with two labels and updates each on every CPU.
fn fill<M: Metric>(registry: &Registry, series: usize, opts: Opts, update: impl Fn(&M, u64)) -> Outcome<()> {
    let family = registry.family::<M>(&opts, &["endpoint", "worker"])?;
    let value = |number: usize| (format!("generate-{}", number % 100), format!("worker-{:05}", number / 100));
    let handles: Vec<M> = (0..series)
        .map(value)
        .map(|(endpoint, worker)| family.try_with(&[&endpoint, &worker]))
        .collect::<Result<_, _>>()?;
    let all = sched_getaffinity(Pid::from_raw(0))?;
    for cpu in (0..CpuSet::count()).filter(|cpu| all.is_set(*cpu).unwrap_or(false)) {
        let mut one = CpuSet::new();
        one.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &one)?;
        handles.iter().zip(1..).for_each(|(handle, number)| update(handle, number * 977));
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &all)?)
}

/// Series of each family that a mortal process updates.
const SHARED: usize = 500;

/// What a process does that is to be killed: updates every series, says so, and waits for its end.
fn mortal(path: &Path) -> Outcome<()> {
    let registry = Registry::builder().path(path).open()?;
    let counters = registry.family::<Counter>(&Opts::new("requests_total", "Requests."), &["n"])?;
    (0..SHARED).try_for_each(|n| counters.try_with(&[&n.to_string()]).map(|counter| counter.inc()))?;
    for mode in [GaugeMode::LiveSum, GaugeMode::Sum, GaugeMode::MostRecent, GaugeMode::All] {
        let opts = Opts::new(&format!("depth_{}", mode.name()), "Depth.").mode(mode);
        let gauges = registry.family::<Gauge>(&opts, &["n"])?;
        (0..SHARED).try_for_each(|n| gauges.try_with(&[&n.to_string()]).map(|gauge| gauge.set(n as i64)))?;
    }
    println!("done");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn deaths() -> Outcome<()> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let path = directory.path().join("segment");
    for (name, batches) in [("after-8-deaths", 1), ("after-1000-deaths", 124)] {
        for _ in 0..batches {
            let mut mortals = (0..8).map(|_| born(&path)).collect::<Outcome<Vec<Child>>>()?;
            mortals.iter_mut().try_for_each(|mortal| mortal.kill().and_then(|()| mortal.wait()).map(drop))?;
        }
        measure(name, 5 * SHARED, &path)?;
    }
    Ok(())
}

/// A process that has updated everything.
fn born(path: &Path) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("mortal").arg(path).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or("its output")?;
    BufReader::new(output).read_line(&mut String::new())?;
    Ok(child)
}

fn measure(kind: &str, series: usize, path: &Path) -> Outcome<()> {
    let patterns = [path.to_str().ok_or("a path in UTF-8")?.to_owned()];
    let mut collector = Collector::new(&patterns);
    let mut page = Vec::new();
    collector.render(&mut page);
    let bytes = page.len();
    report(kind, series, "render", bytes, || {
        page.clear();
        collector.render(&mut page);
    });
    if std::env::var_os("ONLY_RENDER").is_some() {
        return Ok(());
    }
    report(kind, series, "collect", bytes, || drop(collector.collect()));
    let snapshot = collector.collect();
    report(kind, series, "encode", bytes, || {
        page.clear();
        encode::text::encode(&snapshot, &mut page);
    });
    Ok(())
}

fn report(kind: &str, series: usize, way: &str, bytes: usize, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort();
    let each = |time: Duration| time.as_nanos() as f64 / series as f64;
    println!("{kind} {series} {way} {:.1} {:.1} {bytes}", each(times[0]), each(times[ROUNDS / 2]));
}
