//! What the bench program does with its figures: statistics, tables, bars, tab-separated files.
//!
//! The program itself, `dyn-metrics-bench` (feature `peers`), measures; `make bench` runs it. These modules
//! need none of the peers, so their tests run with all others.

#![forbid(unsafe_code)]

pub mod bars;
pub mod rows;
pub mod stats;
pub mod table;
