//! Serves dyn-metrics segments to Prometheus, from a process of its own.
//!
//! The processes that count never see a scrape: this one maps their segments read-only, and answers HTTP.
//!
//! | question | module |
//! | --- | --- |
//! | which segments, which address? | [`Config`] |
//! | how do connections come, go, and end at a stop? | `server`, `door`, `descriptors` |
//! | what may one client do to the others? | `connection`, `timed`, `room` |
//! | which path answers what? | `http`, `negotiate`, `landing` |
//! | what may other servers of this workspace use? | [`serving`] |
//! | how do concurrent scrapes share one collection? | `scrape`, `page`, `gzip`, `buffers` |
//! | what is a collection? | `segments`, `self_metrics` |
//! | how are processes asked for values that they compute? | `callbacks` |
//! | when is a line logged about a segment? | `watch` |
//!
//! # Use
//!
//! ```no_run
//! # async fn example() -> Result<(), dyn_metrics_exporter::Error> {
//! use dyn_metrics_exporter::{Config, bind};
//!
//! let config = Config { shm: vec!["/dev/shm/dynamo".into()], listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
//! let server = bind(config).await?;
//! println!("http://{}/metrics", server.local_addr());
//! server.run(std::future::pending()).await
//! # }
//! ```
//!
//! # Limits
//!
//! No TLS, no authentication, HTTP/1 only: put a proxy in front where that matters. At most 512
//! connections at once, fewer where the limit of descriptors is low; for a further one, that which has been idle longest
//! is closed, or that whose client reads too slowly. At most 8 pages are on their way
//! to clients at once; while slow clients hold that many, requests get the newest of them. Events are emitted through `tracing`;
//! without a subscriber they go nowhere. The SIGBUS guard is for whole programs, so this library
//! does not install it: call `dyn_metrics_reader::guard::install` first if a segment may be truncated by somebody.

#![forbid(unsafe_code)]

mod buffers;
mod callbacks;
mod config;
mod connection;
mod descriptors;
mod door;
mod error;
mod gzip;
mod http;
mod landing;
mod negotiate;
mod page;
mod room;
mod scrape;
mod segments;
mod self_metrics;
mod server;
pub mod serving;
mod timed;
mod watch;

pub use config::{Config, DEFAULT_CALLBACK_TIMEOUT, DEFAULT_LISTEN, DEFAULT_SHM, SHM_VARIABLE, parse_listen};
pub use descriptors::raise_limit;
pub use error::Error;
pub use server::{Server, bind};
