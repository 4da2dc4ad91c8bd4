//! What the bench program is made of, apart from what it measures: slices that take turns, what they are fed
//! with, statistics, tables, bars, tab-separated files.
//!
//! The program itself, `dyn-metrics-bench` (feature `peers`), measures; `make bench` runs it. These modules
//! need none of the peers, so their tests run with all others.

#![forbid(unsafe_code)]

pub mod bars;
pub mod op;
pub mod pool;
pub mod rows;
pub mod stats;
pub mod table;
