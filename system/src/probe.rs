//! What is asked, and what a process says of itself.

use std::fmt;

/// The three questions that a process is asked. They differ: each has its own consequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// Must it be restarted? Fed by checks of what only a restart helps against, and never by what others do.
    Liveness,
    /// May it get requests? Fed by every required check of liveness and readiness.
    Readiness,
    /// How is it? Everything together, for people and dashboards.
    Health,
}

impl Probe {
    /// All three.
    pub const EVERY: [Self; 3] = [Self::Liveness, Self::Readiness, Self::Health];

    /// Its name: `liveness`, `readiness` or `health`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::Health => "health",
        }
    }

    /// The probe of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|probe| probe.name() == name)
    }

    /// Whether this probe shows what feeds `other`: each one also what feeds those before it.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        other <= self
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a process is in its life, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not ready yet, and that is no fault.
    Starting = 0,
    /// Ready as far as its checks pass.
    Ready = 1,
    /// Finishes what it has, and wants no more.
    Draining = 2,
}

impl State {
    /// Its name: `starting`, `ready` or `draining`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }

    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Ready,
            _ => Self::Draining,
        }
    }
}
