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
//! | `registry`, `metric`, `family`, `update`, `value` | open and register, update, read back |
//! | `hot`, `pin` | what a header needs to update cells without a call |
//! | `visit` | enumeration, rendering |
//! | `watch` | callbacks on changes and thresholds |
//! | `about` | versions and features |
#![allow(unsafe_code, reason = "functions called from C")]
#![allow(non_camel_case_types, reason = "names as C sees them")]

mod about;
mod described;
mod family;
mod handles;
mod hot;
mod input;
mod metric;
mod pin;
mod registry;
mod status;
mod types;
mod update;
mod value;
mod visit;
mod watch;

pub use about::*;
pub use family::*;
pub use handles::{dynm_family, dynm_metric, dynm_registry};
pub use hot::*;
pub use metric::*;
pub use pin::*;
pub use registry::*;
pub use status::{dynm_last_error, dynm_status, dynm_status_name};
pub use types::*;
pub use update::*;
pub use value::*;
pub use visit::*;
pub use watch::*;
