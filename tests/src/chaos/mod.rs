//! Chaos: many processes count in one segment while they are killed, stopped, forked and replaced at random.
//!
//! Each thread writes into a ledger of its own, outside the segment, what it is about to count and what it has counted
//! (`ledger.rs`). The exported total of every series must lie between the two, and must never fall from one scrape to
//! the next. `src/bin/chaotic.rs` is the program: `chaotic drive` starts everything, `chaotic work` is a worker.
//!
//! | question | file |
//! | --- | --- |
//! | which series are there, and what does an update of each add? | `series.rs` |
//! | what does a worker do? | `worker.rs`, `thread.rs` |
//! | who is killed, stopped, forked when? | `driver.rs`, `population.rs` |
//! | is anything lost? | `audit.rs` |
//! | does anything fall or vanish? | `watch.rs`, `scrapers.rs` |

pub mod audit;
pub mod driver;
pub mod findings;
pub mod ledger;
pub mod options;
pub mod population;
pub mod scrapers;
pub mod series;
pub mod thread;
pub mod twin;
pub mod watch;
pub mod worker;
