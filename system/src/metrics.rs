//! What a system shows of itself in the segment: health is metrics, too.

use std::time::{Duration, UNIX_EPOCH};

use dyn_metrics::own;
use dyn_metrics::{Counter, Family, FloatGauge, Gauge, GaugeMode, Histogram, Metric, Opts, Registry};

use crate::record::{Record, Status};

/// Bounds of the time that requests take, in seconds.
const BOUNDS: [f64; 9] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1.0];

/// Most label sets of a family: names of checks and paths are few, and bounded by others.
const MAX_SERIES: u32 = 4096;

/// The metrics of a system. A sample for each living process, with its `pid`; those of the dead vanish.
#[derive(Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    uptime: FloatGauge,
    port: Gauge,
    requests: Family<Counter>,
    durations: Family<Histogram>,
    checks: [Family<FloatGauge>; 4],
}

impl Metrics {
    /// Registers all of them. What the segment refuses works, and is seen by nobody.
    pub(crate) fn new(registry: &Registry) -> dyn_metrics::Result<Self> {
        // Names stand as they are documented, whatever prefix the application's registry has.
        let registry = match registry.prefix() {
            "" => registry.clone(),
            _ => {
                let labels: Vec<_> =
                    registry.labels().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                own::whole(registry).child("", &labels)?
            }
        };
        let check = |name, help| registry.family(&each(name, help), &["check"]);
        Ok(Self {
            uptime: registry.create(&each(
                "dynamo_system_uptime_seconds",
                "Time since the process's system server was started.",
            ))?,
            port: registry.create(&each(
                "dynamo_system_port",
                "Port of the process's system server; 0 when it has none.",
            ))?,
            requests: family(
                &registry,
                Opts::new("dynamo_system_http_requests_total", "Requests to system servers."),
                &["path", "code"],
            )?,
            durations: family(
                &registry,
                Opts::new(
                    "dynamo_system_http_request_duration_seconds",
                    "Time from a request to system servers to its answer.",
                )
                .bounds(&BOUNDS),
                &["path"],
            )?,
            checks: [
                check("dynamo_health_check_status", "1 while the check passes, 0 while it starts or fails.")?,
                check("dynamo_health_check_duration_seconds", "Time that the check's last run took.")?,
                check(
                    "dynamo_health_check_last_success_timestamp_seconds",
                    "When the check last succeeded, in seconds since 1970; 0 never.",
                )?,
                check(
                    "dynamo_health_check_consecutive_failures",
                    "Failures since the check's last success.",
                )?,
            ],
            registry,
        })
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn set_uptime(&self, uptime: Duration) {
        self.uptime.set(uptime.as_secs_f64());
    }

    /// Says where the server is: by a gauge, and in the process's slot, which tools list. Again and again, for the segment may be
    /// replaced.
    pub(crate) fn set_port(&self, port: u16) {
        self.port.set(i64::from(port));
        own::set_http_port(&self.registry, port);
    }

    pub(crate) fn count_request(&self, path: &str, code: u16, took: Duration) {
        let mut digits = [0; 3];
        let code = three_digits(code, &mut digits);
        self.requests.with(&[path, code]).inc();
        self.durations.with(&[path]).observe(took.as_secs_f64());
    }

    pub(crate) fn check(&self, name: &str) -> CheckMetrics {
        CheckMetrics(self.checks.each_ref().map(|family| family.with(&[name])))
    }
}

/// A status code as text.
fn three_digits(code: u16, digits: &mut [u8; 3]) -> &str {
    for (digit, unit) in digits.iter_mut().zip([100, 10, 1]) {
        *digit = b'0' + (code / unit % 10) as u8;
    }
    std::str::from_utf8(digits).unwrap_or("000")
}

fn each(name: &str, help: &str) -> Opts {
    Opts::new(name, help).mode(GaugeMode::LiveAll).max_series(MAX_SERIES)
}

fn family<M: Metric>(registry: &Registry, opts: Opts, labels: &[&str]) -> dyn_metrics::Result<Family<M>> {
    registry.family(&opts.max_series(MAX_SERIES), labels)
}

/// The metrics of a check: status, duration, last success, consecutive failures.
pub(crate) struct CheckMetrics([FloatGauge; 4]);

impl CheckMetrics {
    pub(crate) fn set(&self, record: &Record) {
        let success = record.last_success.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let values = [
            f64::from(record.status == Status::Ok),
            record.last.map_or(0.0, |(_, took)| took.as_secs_f64()),
            success.map_or(0.0, |success| success.as_secs_f64()),
            f64::from(record.consecutive_failures),
        ];
        self.0.iter().zip(values).for_each(|(gauge, value)| gauge.set(value));
    }

    /// The check is no more: nothing is known of it.
    pub(crate) fn retire(&self) {
        self.0.iter().for_each(|gauge| gauge.set(f64::NAN));
    }
}
