//! Checks that come with the crate.

mod canary;
mod etcd;
mod nats;
mod net;
mod progress;
mod segment;
mod space;

pub use canary::{Canary, Cancelled};
pub use etcd::Etcd;
pub use nats::Nats;
pub use progress::Progress;
pub use segment::SegmentAttached;
pub use space::Space;
