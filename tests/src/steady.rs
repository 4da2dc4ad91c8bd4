//! Updates that must make no system call, between two marks that a tracer sees.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Family, FloatCounter, FloatGauge, Gauge, GaugeMode, Histogram,
    Opts, Registry, StateSet, Tally,
};

use crate::work::{cpus, move_to};

/// Written to `/dev/null` before the updates.
pub const BEGIN: &str = "steady state begins";
/// Written after them.
pub const END: &str = "steady state ends";

struct Everything {
    counter: Counter,
    float: FloatCounter,
    duration: DurationCounter,
    tally: Tally,
    histogram: Histogram,
    gauge: Gauge,
    float_gauge: FloatGauge,
    duration_gauge: DurationGauge,
    stamped: Gauge,
    state: StateSet,
    by_model: Family<Counter>,
    latencies: Family<Histogram>,
    running: Family<Gauge>,
}

impl Everything {
    fn register(registry: &Registry) -> dyn_metrics::Result<Self> {
        let labels = ["model", "status"];
        Ok(Self {
            counter: registry.counter("steady_total", "Counter")?,
            float: registry.float_counter("steady_float_total", "Counter of doubles")?,
            duration: registry.duration_counter("steady_duration_seconds_total", "Counter of time")?,
            tally: registry.tally("steady_tally", "Tally")?,
            histogram: registry.histogram("steady_seconds", "Histogram", &[0.001, 0.01, 0.1, 1.0])?,
            gauge: registry.gauge("steady_gauge", "Gauge")?,
            float_gauge: registry.float_gauge("steady_float_gauge", "Gauge of doubles")?,
            duration_gauge: registry.duration_gauge("steady_duration_gauge", "Gauge of time")?,
            stamped: registry.create(&Opts::new("steady_stamped", "Gauge").mode(GaugeMode::MostRecent))?,
            state: registry.state_set("steady_state", "State set", &["starting", "ready"])?,
            by_model: registry.family(&Opts::new("steady_by_model_total", "Counters"), &labels)?,
            latencies: registry.family(&Opts::new("steady_by_model_seconds", "Histograms"), &labels)?,
            running: registry.family(&Opts::new("steady_by_model_running", "Gauges"), &labels)?,
        })
    }

    /// One update of each kind and operation.
    fn update(&self, i: u64) {
        self.counter.inc();
        self.counter.inc_by(2);
        self.float.inc_by(0.5);
        self.duration.inc_by(Duration::from_nanos(i));
        self.duration.time(|| ());
        self.tally.observe(i as f64);
        self.tally.start_timer().stop();
        self.histogram.observe(i as f64 * 1e-6);
        self.histogram.start_timer().stop();
        self.gauge.set(i as i64);
        self.gauge.inc();
        self.float_gauge.set(i as f64);
        self.float_gauge.add(0.5);
        self.duration_gauge.set(Duration::from_nanos(i));
        self.duration_gauge.sub(Duration::from_nanos(1));
        self.stamped.set(i as i64);
        self.stamped.dec();
        self.state.set("ready");
        self.state.enable("starting");
        let status = if i.is_multiple_of(2) { "ok" } else { "error" };
        self.by_model.with(&["llama", status]).inc();
        self.latencies.with(&["llama", status]).observe(0.5);
        self.running.with(&["llama", status]).set(1);
    }
}

/// Registers one metric of each kind in the segment at `path`, updates each on every CPU, and then `times` times
/// between the two marks. Without `warm_up` the first updates come after the first mark.
///
/// # Errors
/// Those of registration, and of the marks.
pub fn run(path: &Path, times: u64, warm_up: bool) -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::open_at(path)?;
    let everything = Everything::register(&registry)?;
    let mut marks = std::fs::File::options().write(true).open("/dev/null")?;
    let all = cpus();
    if warm_up {
        for cpu in &all {
            move_to(*cpu);
            // The second finds what the first has installed.
            (0..4).for_each(|i| everything.update(i));
        }
        crate::work::move_to_any(&all);
    }
    marks.write_all(BEGIN.as_bytes())?;
    (0..times).for_each(|i| everything.update(i));
    marks.write_all(END.as_bytes())?;
    let expected = times + if warm_up { 4 * all.len() as u64 } else { 0 };
    let counted = everything.counter.value();
    if counted == 3 * expected {
        Ok(())
    } else {
        Err(format!("counted {counted} of {}", 3 * expected).into())
    }
}
