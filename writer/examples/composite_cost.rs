//! What a reading of a composite of 1 000 series costs: printed by `make bench`.
//!
//! `cargo run --release -p dyn-metrics --example composite_cost`

use std::time::{Duration, Instant};

use dyn_metrics::composite::Composite;
use dyn_metrics::{Counter, Gauge, Histogram, Opts, Registry};

const SERIES: usize = 1_000;
const READINGS: usize = 2_001;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let registry = Registry::builder().path(directory.path().join("s")).open()?;
    let counters = registry.family::<Counter>(&Opts::new("c_total", ""), &["model", "number"])?;
    let gauges = registry.family::<Gauge>(&Opts::new("g", ""), &["model", "number"])?;
    let histograms = registry.family::<Histogram>(&Opts::new("h", ""), &["model", "number"])?;
    // From several threads, so that each CPU has cells.
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for number in (0..SERIES).map(|number| number.to_string()) {
                    counters.with(&["llama", &number]).inc();
                    gauges.with(&["llama", &number]).set(1);
                    histograms.with(&["llama", &number]).observe(0.01);
                }
            });
        }
    });
    println!("Composites over {SERIES} series, {READINGS} readings each, of which nothing changed, in us:");
    println!("{:<34}{:>8}{:>8}{:>8}", "", "median", "min", "99 %");
    let minute = Duration::from_secs(60);
    for (what, composite) in [
        ("sum of counters", Composite::sum("c_total")),
        ("max of counters, one label matched", Composite::max("c_total").matching("model", "llama")),
        ("rate of counters, 60 s", Composite::rate("c_total").window(minute)),
        ("avg of gauges over processes", Composite::avg("g").over_processes()),
        ("quantile of gauges", Composite::quantile("g", 0.99)),
        ("quantile of histograms", Composite::quantile("h", 0.99)),
        ("quantile of histograms, 60 s", Composite::quantile("h", 0.99).window(minute)),
        ("one counter of 1 000", Composite::sum("c_total").matching("number", "7")),
    ] {
        let mut live = registry.composite(&composite)?;
        live.read();
        let time = |_| {
            let started = Instant::now();
            std::hint::black_box(live.read());
            started.elapsed().as_nanos() as f64 / 1e3
        };
        let mut times: Vec<f64> = (0..READINGS).map(time).collect();
        times.sort_by(f64::total_cmp);
        let [median, min, late] = [READINGS / 2, 0, READINGS * 99 / 100].map(|at| times[at]);
        println!("{what:<34}{median:>8.1}{min:>8.1}{late:>8.1}");
    }
    Ok(())
}
