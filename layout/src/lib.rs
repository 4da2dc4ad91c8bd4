//! The byte format of a dyn-metrics segment, and the protocols that keep it consistent.
//!
//! This crate says where every byte of a segment lies and how processes that may die at any
//! instruction change it. It does no I/O, reads no clock and allocates nothing: whoever maps the file
//! ([`view::Memory`]) or draws space for it ([`space::reserve`]) lives in the crates above.
//! `docs/FORMAT.md` is the same knowledge for readers in other languages; a test holds the two together.
//!
//! | question | module |
//! | --- | --- |
//! | what are the first bytes of a segment? | [`header`] |
//! | who is attached? | [`process`] |
//! | how does a name lead to a record? | [`index`] |
//! | what does a record say? | [`record`] |
//! | where are the numbers of counters and histograms? | [`extent`] |
//! | where are the numbers of gauges, and what happens to them at death? | [`gauge`] |
//! | how is a number packed into a word? | [`kind`] |
//! | how is space drawn? | [`space`] |
//! | which names are allowed, which clash? | [`name`] |
//! | how do bytes become checked references? | [`view`] |
//! | what are its files called? | [`mod@file`] |
//!
//! Built with `--cfg loom`, [`sync`] switches to loom's atomics, and the protocol functions that take
//! `&AtomicU64` run unchanged in the models of `loom-tests`.

pub mod callbacks;
pub mod error;
pub mod extent;
pub mod fields;
pub mod file;
pub mod gauge;
pub mod hash;
pub mod header;
pub mod index;
pub mod kind;
pub mod link;
pub mod name;
pub mod process;
pub mod record;
pub mod space;
pub mod sync;
#[cfg(not(loom))]
pub mod view;

pub use error::{Error, Result};
pub use header::FORMAT_VERSION;
pub use kind::{GaugeMode, Kind, Representation};
