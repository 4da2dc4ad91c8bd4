//! Removal of series: nobody shows them any more, and whoever asks for their labels gets new ones.
//!
//! ```text
//! state of the series    0 current ----> 2 removing ----------------------------> 1 removed
//! removals of its family                              n ----> n + 1, by anybody
//! ```
//!
//! A process remembers handles by label values, and may go on handing them out while `removals` of their family is
//! what it was: it grows before a series is gone, never after, so a remover that dies halfway leaves a series that
//! still counts, and which the next look-up of it removes. Handles that are held go on with the retired cells, which
//! nothing else gets.
#![allow(unsafe_code, reason = "keeps the address of a word that is never freed")]

use std::ptr;

use dyn_metrics_layout::index::Match;
use dyn_metrics_layout::name::MAX_NAME;
use dyn_metrics_layout::record::{self, CURRENT, REMOVING, SERIES_TAG, Series, State, state_offset};
use dyn_metrics_layout::sync::{AtomicU64, Ordering};

use crate::error::Result;
use crate::family::{AnyFamily, Family, FamilyCore};
use crate::label_plan::LabelPlan;
use crate::local::{AtomicPtr, fence};
use crate::lookup::Identity;
use crate::metric::Metric;
use crate::opts::Opts;
use crate::origin::Origin;
use crate::registry::Registry;
use crate::segment::{Granted, Segment, attached};

/// For families whose state can't be reached.
pub(crate) static NONE_REMOVED: AtomicU64 = AtomicU64::new(0);

impl Segment {
    /// Removes the series whose record is at `offset`, or if `is_begun` what was begun; whether this call did it.
    fn remove_series(&'static self, offset: u64, is_begun: bool) -> Granted<bool> {
        let state: &State = self.at(state_offset(offset))?;
        let family = self.word(offset + Series::FAMILY_PLACE)?.load(Ordering::Relaxed);
        let family: &State = self.at(state_offset(family))?;
        let removed = if is_begun { state.finish_removal(family) } else { state.remove(family) };
        if removed && !self.is_overflow(offset) {
            // Not below 0: whoever registered it may have died before counting it.
            let less = |count: u64| count.checked_sub(1);
            let _ = family.series.fetch_update(Ordering::AcqRel, Ordering::Relaxed, less);
        }
        Ok(removed)
    }

    /// Whether the series counts for no limit.
    fn is_overflow(&'static self, offset: u64) -> bool {
        let Ok(bytes) = self.read_record(offset) else { return false };
        Series::decode(&bytes, offset, self.header.hash_seed).is_ok_and(|series| series.overflow)
    }

    /// What a record of the wanted identity is to a search.
    pub(crate) fn current_or_gone(&'static self, offset: u64, identity: &Identity<'_>) -> Match {
        if identity.tag != SERIES_TAG {
            return Match::Yes;
        }
        let Ok(state) = self.at::<State>(state_offset(offset)) else { return Match::Yes };
        match state.state.load(Ordering::Acquire) {
            CURRENT => Match::Yes,
            // Its remover has died, or is at it.
            REMOVING if self.remove_series(offset, true).is_err() => Match::Yes,
            _ => Match::Gone,
        }
    }
}

impl Origin {
    /// Whether the series was removed, or is about to be.
    pub(crate) fn is_gone(&self) -> bool {
        let state = self.family.segment.at::<State>(state_offset(self.series));
        state.is_ok_and(|state| state.state.load(Ordering::Acquire) != CURRENT)
    }
}

impl FamilyCore {
    /// See [`State::removals`].
    pub(crate) fn removals(&self) -> &'static AtomicU64 {
        self.state().map_or(&NONE_REMOVED, State::removals)
    }

    /// Removes the series with these values; whether there was one.
    pub(crate) fn remove(&'static self, plan: &LabelPlan, values: &[&str]) -> Result<bool> {
        let refuse = |refusal| self.segment.refused(self.error(refusal));
        let Some(series) = plan.find(self, values).map_err(|error| self.segment.refused(error))? else {
            return Ok(false);
        };
        let removed = self.segment.remove_series(series, false).map_err(refuse)?;
        if removed {
            log::debug!("{}: removed a series of {:?}", self.segment.path.display(), self.name);
        }
        Ok(removed)
    }
}

impl Registry {
    /// Removes the series with this name and exactly these labels, of whatever kind, beside this registry's prefix and
    /// labels; whether there was one.
    ///
    /// It is no longer shown, in any process. Handles that are held stay valid, and what they count is lost; handles
    /// and families that are asked for from now on give a new series, which begins at 0. Its space in the segment is not
    /// used again yet. A process that dies halfway leaves the series, or has removed it.
    ///
    /// # Errors
    /// As [`Self::create`] for labels that can't be; [`crate::Error::Unsupported`] where a back end can't remove series.
    ///
    /// ```
    /// # fn main() -> Result<(), dyn_metrics::Error> {
    /// # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let registry = dyn_metrics::Registry::open_at(dir.path().join("s"))?;
    /// let workers = registry.family::<dyn_metrics::Counter>(&dyn_metrics::Opts::new("jobs_total", ""), &["worker"])?;
    /// workers.with(&["7"]).inc();
    /// assert!(registry.remove("jobs_total", &[("worker", "7")])?);
    /// assert_eq!(workers.with(&["7"]).value(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn remove(&self, name: &str, labels: &[(&str, &str)]) -> Result<bool> {
        self.remove_of(&Opts::new(name, ""), labels.iter().copied())
    }

    /// As [`Self::remove`], of the family and the labels that `opts` has.
    ///
    /// # Errors
    /// As there.
    #[doc(hidden)]
    pub fn remove_of<'l>(
        &self,
        opts: &Opts,
        labels: impl Iterator<Item = (&'l str, &'l str)>,
    ) -> Result<bool> {
        let opts = labels.fold(opts.clone(), |opts, (name, value)| opts.label(name, value));
        let opts = &*self.scoped(&opts, &[])?;
        let plan = LabelPlan::new(&opts.labels, &[]);
        if let Ok(foreign) = self.foreign() {
            return foreign.remove_named(&opts.name, &plan);
        }
        remove_everywhere(self.segment()?, &opts.name, &plan, &[])
    }
}

impl<M: Metric> Family<M> {
    /// Removes the series with these label values, in every process; whether there was one. See [`Registry::remove`].
    ///
    /// # Errors
    /// [`crate::Error::LabelCount`], and as there.
    pub fn remove(&self, values: &[&str]) -> Result<bool> {
        let (registry, plan) = self.parts();
        match self.core() {
            AnyFamily::Segment(core) => {
                self.check_count(values).map_err(|error| core.segment.refused(error))?;
                // What the name leads to now: another process may have replaced the segment.
                remove_everywhere(registry.segment()?, &core.name, plan, values)
            }
            AnyFamily::Foreign(family) => {
                self.check_count(values)?;
                registry.foreign()?.remove(family, plan, values)
            }
        }
    }
}

/// Removes a series from `segment` and from those that had its name before it: they are shown too.
fn remove_everywhere(segment: &Segment, family: &str, plan: &LabelPlan, values: &[&str]) -> Result<bool> {
    let mut removed = false;
    for segment in attached().filter(|one| one.path == segment.path) {
        if let Some(core) = segment.find_family(family)? {
            removed |= core.remove(plan, values)?;
        }
    }
    Ok(removed)
}

impl Segment {
    /// The family of this name, if it is registered.
    pub(crate) fn find_family(&'static self, name: &str) -> Result<Option<&'static FamilyCore>> {
        let what = "a metric family";
        let mut bytes = [0; MAX_NAME + 32];
        let Ok(len) = record::Family::encode_identity(name, &mut bytes) else {
            return Ok(None);
        };
        let found = self.find_record(&Identity::family(self, &bytes[..len]));
        let core = found.and_then(|found| found.map(|offset| self.family_core(offset)).transpose());
        core.map_err(|refusal| self.refused(self.error(what, refusal)))
    }
}

/// Whether what a binding remembers of a family still counts: see [`crate::raw::removals`].
#[derive(Debug)]
pub struct Removals {
    /// Grows before a series is gone.
    word: AtomicPtr<AtomicU64>,
    /// What it was when all that had gone was forgotten.
    swept: AtomicU64,
}

impl Default for Removals {
    fn default() -> Self {
        Self { word: AtomicPtr::new(ptr::from_ref(&NONE_REMOVED).cast_mut()), swept: AtomicU64::new(0) }
    }
}

impl Removals {
    #[inline(always)]
    fn word(&self) -> &'static AtomicU64 {
        // SAFETY: made from a reference to something that is never freed, by default() or follow().
        unsafe { &*self.word.load(Ordering::Acquire) }
    }

    /// Whether nothing was removed since the last [`Self::end_sweep`].
    #[inline(always)]
    #[must_use]
    pub fn is_swept(&self) -> bool {
        self.word().load(Ordering::Relaxed) == self.swept.load(Ordering::Acquire)
    }

    /// Goes on with a family's word in another segment, of which nothing is remembered yet. One thread at a time.
    pub fn follow(&self, word: &'static AtomicU64) {
        self.swept.store(word.load(Ordering::Acquire), Ordering::Release);
        self.word.store(ptr::from_ref(word).cast_mut(), Ordering::Release);
    }

    /// Before what was removed is forgotten: the number to end with. A full fence.
    #[must_use]
    pub fn begin_sweep(&self) -> u64 {
        let removals = self.word().load(Ordering::Acquire);
        fence(Ordering::SeqCst);
        removals
    }

    /// When it was forgotten. One thread at a time.
    pub fn end_sweep(&self, removals: u64) {
        self.swept.store(removals, Ordering::Release);
    }
}
