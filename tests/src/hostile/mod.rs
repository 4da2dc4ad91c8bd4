//! Segments that somebody wants us to stumble over: sound ones, edited where it matters.
//!
//! An input is a short text of bytes that names a sound segment ([`base`]) and edits of its fields ([`edit`]); places
//! are chosen from the structures that are really there ([`sites`]), and checksums over what was edited are made right
//! again if the edit wants it ([`fix`]), so that inputs reach what lies behind the checks. [`stage`] puts the edited
//! segment on a filesystem in memory and afterwards puts it right again; [`targets`], [`race`] and [`attach`] use it and
//! say what must hold. `fuzz/` makes inputs without end, with the help of [`mutate`]; `tests/tests/hostile.rs` replays
//! those that were kept.

pub mod attach;
pub mod base;
pub mod edit;
pub mod fix;
pub mod mutate;
pub mod race;
pub mod sites;
pub mod stage;
pub mod targets;
pub mod work;

#[allow(missing_docs, reason = "not part of any interface")]
#[allow(clippy::pedantic, missing_debug_implementations, reason = "as it is where it belongs")]
#[path = "../../../reader/src/testing.rs"]
pub mod built;

/// Targets: what is done with a hostile segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A writer attaches, registers, counts and sets gauges.
    Attach,
    /// [`dyn_metrics_reader::Collector::collect`].
    Snapshot,
    /// [`dyn_metrics_reader::Collector::render`].
    Render,
    /// [`dyn_metrics_reader::check::check`] and [`dyn_metrics_reader::raw::read`].
    Check,
    /// What `dyn-metrics dump`, `check` and `info` write.
    Dump,
    /// The segment changes while it is read.
    Race,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Attach, Self::Snapshot, Self::Render, Self::Check, Self::Dump, Self::Race];

    /// Its name, which is that of its directory of inputs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attach => "attach",
            Self::Snapshot => "snapshot",
            Self::Render => "render",
            Self::Check => "check",
            Self::Dump => "dump",
            Self::Race => "race",
        }
    }

    /// Runs one input.
    ///
    /// # Panics
    /// When something doesn't hold that must.
    pub fn run(self, stage: &mut stage::Stage, input: &[u8]) {
        match self {
            Self::Attach => attach::run(stage, input, &mut attach::NoHooks),
            Self::Snapshot => targets::snapshot(stage, input),
            Self::Render => targets::render(stage, input),
            Self::Check => targets::check(stage, input),
            Self::Dump => targets::dump(stage, input),
            Self::Race => race::run(stage, input),
        }
    }
}
