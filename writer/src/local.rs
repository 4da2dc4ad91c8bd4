//! Atomics of this process alone. What lies in a segment uses `dyn_metrics_layout::sync`; these never do.
#![allow(clippy::disallowed_types, reason = "the one place that names them, for words no segment holds")]

pub(crate) type AtomicBool = std::sync::atomic::AtomicBool;
pub(crate) type AtomicI32 = std::sync::atomic::AtomicI32;
pub(crate) type AtomicPtr<T> = std::sync::atomic::AtomicPtr<T>;
pub(crate) type AtomicU32 = std::sync::atomic::AtomicU32;
pub(crate) type AtomicU64 = std::sync::atomic::AtomicU64;
pub(crate) type AtomicUsize = std::sync::atomic::AtomicUsize;
pub(crate) use std::sync::atomic::{Ordering, fence};
