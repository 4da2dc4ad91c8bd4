//! The C ABI: what `dyn_metrics.h` declares. Its documentation is there, made from the comments in this
//! crate.
//!
//! | module | what |
//! | --- | --- |
//! | `status` | statuses, the message of the last error, the edge that no panic crosses |
//! | `types` | structures that cross the edge |
//! | `input` | texts, lists and sized structures from the other side, checked |
//! | `handles` | what opaque pointers lead to, and how a pointer is told from a bad one |
//! | `described` | a metric's texts, as C reads them |
//! | `choice`, `hierarchy` | registries of other kinds than a segment, thresholds, levels |
//! | `registry`, `metric`, `family`, `update`, `value` | open and register, update, read back |
//! | `hot`, `pin` | what a header needs to update cells without a call |
//! | `on_scrape` | values that are computed when somebody asks |
//! | `visit` | enumeration, rendering |
//! | `composite` | one number of many series |
//! | `system`, `system_checks` | the process's own server, unless built without feature `system` |
//! | `watch` | callbacks on changes and thresholds |
//! | `about` | versions and features |
#![allow(unsafe_code, reason = "functions called from C")]
#![allow(non_camel_case_types, reason = "names as C sees them")]

mod about;
mod choice;
mod composite;
mod described;
mod family;
mod handles;
mod hierarchy;
mod hot;
mod input;
mod metric;
mod on_scrape;
mod pin;
mod registry;
mod remove;
mod status;
#[cfg(feature = "system")]
mod system;
#[cfg(feature = "system")]
mod system_checks;
mod types;
mod update;
mod value;
mod visit;
mod watch;

pub use about::*;
pub use choice::*;
pub use composite::*;
pub use family::*;
pub use handles::{dynm_family, dynm_metric, dynm_registry};
pub use hierarchy::*;
pub use hot::*;
pub use metric::*;
pub use on_scrape::*;
pub use pin::*;
pub use registry::*;
pub use status::{dynm_last_error, dynm_status, dynm_status_name};
#[cfg(feature = "system")]
pub use system::*;
#[cfg(feature = "system")]
pub use system_checks::*;
pub use types::*;
pub use update::*;
pub use value::*;
pub use visit::*;
pub use watch::*;
