//! Broken twins: workers that do what the library must not, so that a run which finds nothing means something.
#![allow(unsafe_code, reason = "maps the segment in order to break it")]
#![allow(clippy::disallowed_types, reason = "breaks the rules of the segment's words on purpose")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use dyn_metrics_reader::raw;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use super::ledger::Line;
use super::series::Target;

/// What is wrong with the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Twin {
    /// Nothing.
    #[default]
    None,
    /// Every now and then they acknowledge an increment that they don't make.
    Forgets,
    /// Every now and then they make an increment twice.
    Repeats,
    /// Their increments are a load, an addition and a store in the shared block.
    Plain,
}

impl Twin {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Forgets, Self::Repeats, Self::Plain];

    /// Its name in arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Forgets => "forgets",
            Self::Repeats => "repeats",
            Self::Plain => "plain",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|twin| twin.name() == name)
    }

    /// What it does wrong after a batch, the `turn`th.
    #[inline]
    pub fn meddle(self, turn: u64, target: &Target, line: &Line) {
        match self {
            Self::Forgets if turn.is_multiple_of(100) => line.count(1, || ()),
            Self::Repeats if turn.is_multiple_of(100) => {
                if let Target::Counter(counter) = target {
                    counter.inc();
                }
            }
            _ => (),
        }
    }
}

/// A word of a shared block, updated as no word may be that several share.
#[derive(Clone, Copy, Debug)]
pub struct PlainWord(&'static AtomicU64);

impl PlainWord {
    /// The first word of the series without labels of this family, as the segment's structures lead to it.
    ///
    /// # Errors
    /// The system's.
    pub fn find(segment: &Path, family: &str) -> std::io::Result<Self> {
        let structures = raw::read(segment).map_err(std::io::Error::other)?;
        let series = structures.series.iter().find(|series| series.name == family);
        let cells = series.and_then(|series| series.cells.first()).map(|(_, link)| *link);
        let link = cells.ok_or_else(|| std::io::Error::other("no cells"))?;
        let extent = structures.extents.iter().find(|extent| extent.offset == link.extent);
        let block = extent.ok_or_else(|| std::io::Error::other("no extent"))?.shared;
        Self::map(segment, block + 8 * u64::from(link.word))
    }

    fn map(segment: &Path, place: u64) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).open(segment)?;
        let length = NonZeroUsize::new(file.metadata()?.len() as usize).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        // SAFETY: the structures were read from the file, which never shrinks: the word lies in it.
        let word = unsafe { start.as_ptr().cast::<u8>().add(place as usize) };
        // SAFETY: mapped for ever, aligned to 8 bytes, an atomic.
        Ok(Self(unsafe { &*word.cast::<AtomicU64>() }))
    }

    /// Adds 1, if nobody else does at the same time.
    #[inline]
    pub fn add_one(self) {
        // In several instructions: one alone would lose nothing while a busy machine leaves one CPU to all.
        let seen = std::hint::black_box(self.0.load(Ordering::Relaxed));
        self.0.store(std::hint::black_box(seen + 1), Ordering::Relaxed);
    }
}
