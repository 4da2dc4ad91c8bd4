//! What the tests that cross crates and processes share.

pub mod bytes;
pub mod delays;
pub mod every_kind;
pub mod exposition;
pub mod forks;
pub mod golden;
pub mod host;
pub mod hostile;
pub mod reading;
pub mod refusals;
pub mod rseq;
pub mod scene;
pub mod servers;
pub mod stage;
pub mod steady;
pub mod work;
