//! What the tests that cross crates and processes share.

pub mod asked;
pub mod brokers;
pub mod bytes;
pub mod chaos;
pub mod clients;
pub mod conformance;
pub mod delays;
pub mod document;
pub mod every_kind;
pub mod exposition;
pub mod filesystems;
pub mod forks;
pub mod golden;
pub mod host;
pub mod hostile;
pub mod otlp;
pub mod plugins;
pub mod random;
pub mod reading;
pub mod refusals;
pub mod requests;
pub mod rseq;
pub mod scene;
pub mod served;
pub mod servers;
pub mod stage;
pub mod steady;
#[cfg_attr(not(target_arch = "x86_64"), path = "step/elsewhere.rs")]
pub mod step;
pub mod systems;
pub mod work;

/// The programs in `docs/moving/`, run as tests.
#[cfg(doctest)]
mod moving {
    #[doc = include_str!("../../docs/moving/prometheus-rust.md")]
    struct FromPrometheus;
    #[doc = include_str!("../../docs/moving/dynamo.md")]
    struct FromDynamo;
}
