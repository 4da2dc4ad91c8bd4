//! What this server is made of, for other servers of this workspace: connections with limits and deadlines, single-flight
//! pages, negotiation. Not for applications, and not stable.
//!
//! [`host`] serves whatever answers requests ([`Answers`]) to at most so many clients, and closes those that dawdle when
//! others wait; [`Scraper`] makes one page for all who ask at the same time.

pub use crate::descriptors::connections;
pub use crate::gzip::Gzip;
pub use crate::http::{Answers, Body, PLAIN, exposition, plain, refusal, response};
pub use crate::negotiate::{wants_gzip, weight};
pub use crate::page::Page;
pub use crate::scrape::{Collect, CollectUpTo, NoPage, Scraper};
pub use crate::self_metrics::Count;
pub use crate::server::{host, listen};
