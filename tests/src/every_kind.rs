//! One of every kind of metric, as the golden segment has them.

use std::time::Duration;

use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Error, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    Opts, Registry, StateSet, Tally,
};

/// Registers some metrics and updates them with numbers that depend on the process's.
pub type Step = fn(&Registry, u32) -> Result<(), Error>;

/// Counters, tallies, histograms and infos.
pub const COUNTING: [Step; 8] = [requests, work, batch, ttft, info, limited, shared, help];

/// Gauges and state sets.
pub const SETTING: [Step; 3] = [gauges, queues, states];

fn requests(registry: &Registry, n: u32) -> Result<(), Error> {
    let opts = Opts::new("golden_requests_total", "Requests answered, by model and outcome").level(2);
    let requests = registry.family::<Counter>(&opts, &["model", "status"])?;
    requests.with(&["模型-7b", "ok"]).inc_by(u64::from(n));
    requests.with(&["naïve \"q\" \\ \n", "Fehler"]).inc();
    requests.with(&["", "ok"]).inc_by(1 << 60);
    Ok(())
}

fn work(registry: &Registry, _: u32) -> Result<(), Error> {
    // One series in three representations, which readers add up.
    let opts = Opts::new("golden_work_seconds_total", "Time spent working").unit("seconds");
    registry.create::<Counter>(&opts)?.inc_by(10);
    registry.create::<FloatCounter>(&opts)?.inc_by(0.25);
    registry.create::<DurationCounter>(&opts)?.inc_by(Duration::from_millis(1500));
    Ok(())
}

fn batch(registry: &Registry, n: u32) -> Result<(), Error> {
    let batch = registry.tally("golden_batch_tokens", "Tokens in a batch")?;
    batch.observe(f64::from(n));
    batch.observe(1.5);
    Ok(())
}

fn ttft(registry: &Registry, n: u32) -> Result<(), Error> {
    let opts =
        Opts::new("golden_ttft_seconds", "Time to first token").unit("seconds").bounds(&[0.01, 0.1, 1.0]);
    let ttft = registry.family::<Histogram>(&opts, &["model"])?;
    for seconds in [0.005, 0.01, 0.05, 0.5, f64::from(n) * 2.0] {
        ttft.with(&["模型-7b"]).observe(seconds);
    }
    ttft.with(&["other"]).observe_n(0.0625, 1000);
    Ok(())
}

fn info(registry: &Registry, _: u32) -> Result<(), Error> {
    registry.info("golden_build_info", "What runs here", &[("version", "1.0"), ("built_by", "Žofie")])?;
    Ok(())
}

fn limited(registry: &Registry, _: u32) -> Result<(), Error> {
    let opts = Opts::new("golden_limited_total", "A family at its limit").max_series(2);
    let limited = registry.family::<Counter>(&opts, &["user", "zone_of_user"])?;
    for user in ["ann", "bob", "cyd", "dan"] {
        limited.with(&[user, "z"]).inc();
    }
    Ok(())
}

fn shared(registry: &Registry, _: u32) -> Result<(), Error> {
    let opts = Opts::new("golden_shared_total", "Counted in the shared block alone").shared(true);
    registry.create::<Counter>(&opts)?.inc_by(3);
    Ok(())
}

fn help(registry: &Registry, _: u32) -> Result<(), Error> {
    registry.family::<Counter>(&Opts::new("golden_empty_total", "A family without series"), &["model"])?;
    let help = "Line one,\nline \"two\" with a back\\slash, and žluťoučký kůň";
    registry.counter("golden_help_total", help)?.inc();
    Ok(())
}

/// A gauge of each mode, in a representation that depends on the process.
fn gauges(registry: &Registry, n: u32) -> Result<(), Error> {
    for mode in GaugeMode::EVERY {
        let name = format!("golden_gauge_{}", mode.name());
        let opts = Opts::new(&name, "A gauge of this mode").mode(mode).keep_dead(1);
        match n % 3 {
            0 => registry.create::<FloatGauge>(&opts)?.set(f64::from(n) + 0.5),
            1 => registry.create::<Gauge>(&opts)?.set(i64::from(n) - 5),
            _ => registry.create::<DurationGauge>(&opts)?.set(Duration::from_millis(u64::from(n) * 1001)),
        }
    }
    Ok(())
}

fn queues(registry: &Registry, n: u32) -> Result<(), Error> {
    let queues =
        registry.family::<Gauge>(&Opts::new("golden_queue_depth", "Requests that wait"), &["queue"])?;
    queues.with(&["prefill"]).set(i64::from(n));
    queues.with(&["décode"]).dec();
    let _never_set = queues.with(&["never set"]);
    Ok(())
}

fn states(registry: &Registry, n: u32) -> Result<(), Error> {
    let states = ["starting", "ready", "draining"];
    registry.state_set("golden_phase", "What the engine does", &states)?.set(states[n as usize % 3]);
    let opts =
        Opts::new("golden_phase_each", "What each engine does").states(&states).mode(GaugeMode::LiveAll);
    registry.create::<StateSet>(&opts)?.enable(states[(n as usize + 1) % 3]);
    let opts = Opts::new("golden_never_observed", "A tally without observations");
    registry.create::<Tally>(&opts)?;
    Ok(())
}
