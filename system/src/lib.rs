//! Each process's own endpoint: metrics, health, liveness, readiness.
//!
//! One call starts a small HTTP server on threads of its own, never on the application's:
//!
//! | path | what |
//! | --- | --- |
//! | `/metrics` | the series that this process has registered; `?scope=segment` all of the segment |
//! | `/liveness`, `/live`, `/livez` | this process can answer, and what only a restart helps against is well |
//! | `/readiness`, `/ready`, `/readyz` | it may get requests: neither starting nor draining, and every required check passes |
//! | `/health`, `/healthz` | everything, aggregated |
//!
//! Probes are answered with 200 or 503, in JSON, as text (`Accept: text/plain`), or in a word (`?verbose=0`).
//!
//! # Use
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir_in("/dev/shm")?;
//! use std::time::Duration;
//! use dyn_metrics::Registry;
//! use dyn_metrics_system::{Beat, Probe, Spec, State, System, from_fn};
//!
//! let registry = Registry::open_at(dir.path().join("service"))?;
//! let system = System::builder().registry(&registry).host("127.0.0.1").port(0).start()?;
//! println!("http://{}/health", system.address());
//!
//! system.add(Spec::new("model").every(Duration::from_secs(10)), from_fn(|| -> Result<(), String> { Ok(()) }))?;
//! let beat = Beat::new();
//! system.add(Spec::new("main_loop").probe(Probe::Health), beat.stalls_after(Duration::from_secs(5)))?;
//! beat.beat(); // on every turn of the loop
//!
//! system.set_state(State::Draining)?; // before the end: no new requests
//! system.stop();
//! # Ok(())
//! # }
//! ```
//!
//! [`System::from_env`] starts it only where `DYN_SYSTEM_ENABLED` says so.
//!
//! # Concepts
//!
//! - A [`Check`] runs at intervals on a thread of its own; requests read its last result. One that does not answer within its
//!   limit has failed for that reason, and holds one thread until it returns.
//! - A [`Spec`] says which [`Probe`] a check feeds, whether it is required, when it runs and how often in a row it must fail
//!   or pass to count.
//! - The [`State`] of the process: starting, ready, draining. It becomes ready by itself once every required check has
//!   passed, unless [`Builder::starts_until_told`].
//! - Liveness asks for a restart. So what others do never feeds it: checks that ask over the network are refused there.
//! - Health is metrics, too: `dynamo_health_check_status` and others are in the segment, with a `pid` for each process.
//!
//! # Limits
//!
//! No TLS, no authentication, HTTP/1 only. Threads do not survive a fork: start a system in each child. A panic is a failed
//! check only where panics unwind.

mod accept;
mod beat;
mod check;
pub mod checks;
mod config;
mod engine;
mod error;
mod fork;
mod http;
mod metrics;
mod pages;
mod probe;
mod record;
mod report;
mod system;
mod threads;

pub use beat::Beat;
pub use check::{Check, Context, Outcome, Spec, from_fn};
pub use config::{
    Builder, DEFAULT_HOST, DEFAULT_PORT, ENABLED_VARIABLE, HEALTH_PATH_VARIABLE, HOST_VARIABLE,
    LIVE_PATH_VARIABLE, PORT_VARIABLE, Rendered, Scope,
};
pub use error::{Error, Result};
pub use probe::{Probe, State};
pub use record::Status;
pub use report::{CheckReport, Report};
pub use system::{SEGMENT_CHECK, System};
