//! Metrics of many processes in one shared-memory segment.
//!
//! Every process of a service maps one file, `/dev/shm/dynamo`, and updates counters, gauges and histograms in
//! it with ordinary stores: no system call, no lock, no look-up on the hot path. A separate program,
//! `dyn-metrics-exporter`, maps the file read-only and serves Prometheus; `dyn-metrics dump` shows it to a
//! person, also after every process has died.
//!
//! # Use
//!
//! ```
//! # fn main() -> Result<(), dyn_metrics::Error> {
//! # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
//! # let path = dir.path().join("service");
//! use dyn_metrics::{Counter, Opts, Registry};
//!
//! let registry = Registry::open_at(&path)?; // Registry::open() takes DYN_METRICS_SHM or /dev/shm/dynamo
//!
//! let tokens = registry.counter("llm_tokens_total", "Tokens generated")?;
//! tokens.inc_by(17);
//!
//! let ttft = registry.histogram("llm_ttft_seconds", "Time to first token", &[0.05, 0.1, 0.5, 1.0])?;
//! ttft.observe(0.23);
//! let answer = ttft.time(|| 6 * 7);
//!
//! let opts = Opts::new("llm_requests_total", "Requests answered");
//! let requests = registry.family::<Counter>(&opts, &["model", "status"])?;
//! requests.with(&["llama", "ok"]).inc();
//! # assert_eq!((tokens.value(), ttft.count(), answer), (17, 2, 42));
//! # Ok(())
//! # }
//! ```
//!
//! # Concepts
//!
//! - A **segment** is the file. The first process creates it, the others attach; it stays when all are gone.
//! - A **family** has a name, help, type and unit; a **series** is a family with one set of labels. Equal name
//!   and labels are the same series, whichever process or language asks.
//! - A **handle** ([`Counter`], [`Gauge`], [`Histogram`], ...) is a cheap reference to a series. Registering
//!   may fail; updating never does. `unwrap_or_default()` on a registration gives a handle that works and
//!   that nobody else sees.
//! - Counters, tallies and histograms are **per CPU**: an update is one restartable sequence in the current
//!   CPU's cell (x86-64 or aarch64, Linux 4.18, glibc 2.35 or later), otherwise an atomic instruction in a
//!   shared one. Totals survive the death of any process at any instruction.
//! - Gauges belong to a **process**; their family's [`GaugeMode`] says how readers combine them.
//! - [`MetricsRegistry`] is the interface for components that don't know what keeps their metrics: a segment, another
//!   library's registry or a test's ([`backend`], [`testing`]). [`DistributedRuntime`] and the levels below it are
//!   registries that add labels. A [struct of metrics](trait@Metrics) registers itself in any of them.
//!
//! # Forks, threads, signals
//!
//! Handles may be used from any thread, in signal handlers and in forked children. A child counts into the same
//! counters, and gets its own gauges at its first update. Not supported: updates between `vfork` and
//! `exec`, and in tasks made by a raw `clone` that share a thread's local storage.
//!
//! # Limits
//!
//! Writers of one segment trust each other: anybody who may write the file can spoil it for all, and who
//! truncates it kills its writers (SIGBUS), as with every mapped file. Linux on 64-bit little-endian machines
//! only. A full memory cgroup kills processes; no library can catch that.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("dyn-metrics needs Linux on a 64-bit little-endian machine");

mod attach;
pub mod backend;
mod birth;
mod cells;
#[cfg(feature = "render")]
pub mod composite;
mod declaration;
mod error;
mod family;
mod foreign;
mod forks;
mod gauge_cells;
mod hierarchy;
#[cfg_attr(miri, path = "kernel/miri.rs")]
mod kernel;
mod label_plan;
mod local;
mod lookup;
mod map;
mod metric;
mod metrics;
mod metrics_registry;
mod objects;
mod on_scrape;
mod once_map;
mod options;
mod opts;
mod origin;
mod percpu;
mod register;
mod registry;
mod remove;
mod render;
mod replace;
mod root;
mod segment;
mod series_cache;
mod slot;
mod sys;
pub mod testing;
mod threads;
#[cfg(feature = "watch")]
pub mod watch;
mod wipe;

#[doc(hidden)]
pub mod derive;
#[doc(hidden)]
pub mod own;
#[doc(hidden)]
pub mod raw;

pub use declaration::{Declaration, Metrics};
pub use dyn_metrics_layout::name::NameError;
pub use dyn_metrics_layout::{Error as LayoutError, FORMAT_VERSION, GaugeMode, Kind};
#[cfg(feature = "derive")]
pub use dyn_metrics_macros::Metrics;
pub use error::{Error, Result};
pub use family::{Family, OVERFLOW};
pub use hierarchy::{Component, DistributedRuntime, Endpoint, Namespace, Scheme};
pub use metric::Metric;
pub use metrics::{
    Counter, DurationCounter, DurationGauge, FloatCounter, FloatGauge, Gauge, Histogram, Info, StateSet,
    Tally, Timer,
};
pub use metrics_registry::MetricsRegistry;
pub use objects::{AnyMetric, MetricCounter, MetricGauge, MetricHistogram};
pub use on_scrape::{CALLBACK_LIMIT, CallbackRun, OnScrape};
pub use options::{Builder, DEFAULT_PATH};
pub use opts::{DEFAULT_BOUNDS, Opts};
pub use registry::Registry;

/// Which path updates take in this process, and why: `rseq`, or `shared: REASON`.
#[must_use]
pub fn update_path() -> String {
    percpu::path().to_string()
}

/// The README's quick start, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
