//! Death at every instruction: a process that is stepped through a scenario, what a death after each step would
//! leave, and what others make of that.
//!
//! `victim` (`src/bin/victim.rs`) runs one [`scenario`] between two marks. A [`walk`] steps it from the first to
//! the last and keeps every distinct [`image`] of its directory; a [`judge`] has others go on from each. The same
//! judge looks at what a real SIGKILL leaves at each distinct instruction of the [`code`] that keeps the protocols.

pub mod broken;
pub mod code;
pub mod deaths;
pub mod image;
pub mod judge;
pub mod page;
pub mod report;
pub mod scenario;
pub mod second;
pub mod tracee;
pub mod updates;
pub mod walk;
