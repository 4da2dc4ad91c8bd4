//! A writer process for the end-to-end tests: counts what it is told to, and says what it has counted.
//!
//! `serving PATH ROLE`, then lines on standard input: `work N` updates every metric N times and answers
//! `done TOTAL`, its own acknowledged total. Ends with its input.

use std::io::{BufRead, Write};

use dyn_metrics::{Counter, GaugeMode, Opts, Registry};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (path, role) = (arguments.next().ok_or("no path")?, arguments.next().ok_or("no role")?);
    let registry = Registry::builder().path(path).role(&role).open()?;
    let requests = registry
        .family::<Counter>(&Opts::new("e2e_requests_total", "Requests answered"), &["role", "status"])?;
    let ok = requests.with(&[&role, "ok"]);
    let busy = registry.duration_counter("e2e_busy_seconds_total", "Time spent working")?;
    let latency = registry.histogram("e2e_latency_seconds", "Time to answer", &[0.1, 0.25, 1.0])?;
    let size = registry.tally("e2e_request_bytes", "Size of requests")?;
    let running = registry.gauge("e2e_running_requests", "Requests under way")?;
    let peak = registry.create::<dyn_metrics::Gauge>(
        &Opts::new("e2e_peak_requests", "Most requests under way at once").mode(GaugeMode::Max),
    )?;
    registry.info("e2e_build_info", "Version", &[("version", "1.0 \"β\"\\\n")])?;
    let state = registry.state_set("e2e_state", "State of the engine", &["starting", "ready"])?;
    state.set("ready");
    running.set(1);
    let mut total: u64 = 0;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let n: u64 = line.strip_prefix("work ").ok_or("expected: work N")?.parse()?;
        for i in 0..n {
            ok.inc();
            latency.observe((i % 4) as f64 * 0.125);
            size.observe(512.0);
        }
        busy.inc_by(std::time::Duration::from_millis(n));
        peak.set(i64::try_from(n)?);
        total += n;
        println!("done {total}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
