//! What the tests that cross crates and processes share.

pub mod servers;
