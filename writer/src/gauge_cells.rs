//! Gauge cells as this process reaches them: its own cell in a series, claimed at the first update.
#![allow(unsafe_code, reason = "keeps the address of a cell's half in a word that a fork wipes")]

use crate::local::{AtomicPtr, AtomicUsize, Ordering};
use std::os::fd::BorrowedFd;
use std::ptr;

use dyn_metrics_layout::gauge::{self, Claimant, GaugeCell, Half};
use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::record::gauges_place;
use dyn_metrics_layout::sync::load_acquire;
use dyn_metrics_layout::{GaugeMode, Representation};

use crate::backend::Instrument;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::once_map::OnceValue;
use crate::origin::{Identity, Origin};
use crate::segment::{Granted, Refusal};
use crate::slot::NoSlot;
use crate::wipe;

/// Most cells looked at in one series; a longer list is damaged.
const MOST_CELLS: usize = 1 << 16;

/// Gauges that nobody else sees leaked so far; beyond a limit they are one whose value nobody reads, so that a
/// host which asks again and again after a refusal doesn't grow.
const MOST_PRIVATE: usize = 4096;

/// In a half's packed address: a value in its representation is stored as it is, and nothing else.
pub(crate) const PLAIN: usize = 4;
pub(crate) const FLAGS: usize = 7;
const _: () = assert!(align_of::<Half>() > FLAGS);

/// A gauge series in this process.
pub(crate) struct GaugeCore {
    /// None: private.
    origin: Option<Origin>,
    /// The series of another registry, which gets every update: `own` stays null.
    foreign: Option<&'static ForeignSeries>,
    /// Private, and of all those beyond the limit: its value is nobody's.
    is_sink: bool,
    mode: GaugeMode,
    /// Address of the half to write, its representation in the lowest two bits and [`PLAIN`] in the next; null in
    /// a forked child.
    own: &'static AtomicPtr<Half>,
    /// 1 + representation of what `private` holds; 0 when it holds nothing, and in a forked child.
    fallen_back: &'static AtomicUsize,
    /// Where values go when there is no cell to be had.
    private: GaugeCell,
}

impl std::fmt::Debug for GaugeCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GaugeCore")
            .field("origin", &self.origin)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl GaugeCore {
    /// The gauge of the series at `series`.
    pub(crate) fn reach(family: &'static FamilyCore, series: u64) -> Granted<&'static Self> {
        let make = || Ok(Self::new(Some(Origin::new(family, series)), family.mode, false)?);
        family.segment.gauges.get_or_try(series, make)
    }

    fn new(origin: Option<Origin>, mode: GaugeMode, is_sink: bool) -> nix::Result<Self> {
        let (own, fallen_back) = (wipe::pointer()?, &wipe::words(1)?[0]);
        Ok(Self { origin, foreign: None, is_sink, mode, own, fallen_back, private: GaugeCell::zeroed() })
    }

    /// A gauge of another registry.
    pub(crate) fn foreign(series: &'static ForeignSeries, mode: GaugeMode) -> Self {
        static NULL: AtomicPtr<Half> = AtomicPtr::new(ptr::null_mut());
        static NONE: AtomicUsize = AtomicUsize::new(0);
        let (foreign, private) = (Some(series), GaugeCell::zeroed());
        Self { origin: None, foreign, is_sink: false, mode, own: &NULL, fallen_back: &NONE, private }
    }

    /// What gets the updates of a gauge of another registry; asked where there is no cell.
    #[cold]
    pub(crate) fn instrument(&self) -> Option<&'static dyn Instrument> {
        Some(self.foreign?.instrument())
    }

    /// A gauge that nobody else sees; none when not even its memory can be had.
    pub(crate) fn private(mode: GaugeMode) -> Option<&'static Self> {
        static SHARED: OnceValue<GaugeCore> = OnceValue::new();
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let make = |is_sink| Self::new(None, mode, is_sink).ok();
        if COUNT.fetch_add(1, Ordering::Relaxed) < MOST_PRIVATE {
            Some(Box::leak(Box::new(make(false)?)))
        } else {
            SHARED.get_or(|| make(true))
        }
    }

    /// Which series it is; none of a private gauge.
    pub(crate) fn identity(&'static self) -> Option<Identity> {
        match self.foreign {
            Some(series) => Some(Identity::Foreign(series)),
            None => self.origin.as_ref().map(Identity::Segment),
        }
    }

    /// The word with the address of the half to write, 0 in a forked child.
    pub(crate) fn own_word(&self) -> &'static AtomicUsize {
        let word = ptr::from_ref(self.own).cast::<AtomicUsize>();
        // SAFETY: an atomic pointer has the size, the alignment and the bytes of the integer that is its address.
        unsafe { &*word }
    }

    /// How cells of this series combine.
    pub(crate) const fn mode(&self) -> GaugeMode {
        self.mode
    }

    /// The half this process writes, with its representation; claimed if need be, none when that has to be
    /// given up for now (and is counted), and of a gauge of another registry.
    #[inline]
    pub(crate) fn own(&'static self, first: Representation) -> Option<(&'static Half, Representation)> {
        let own = self.own.load(Ordering::Acquire);
        if own.is_null() { self.claim(first) } else { Some(Self::unpack(own)) }
    }

    /// The half this process writes, if it has one in this representation, and a bare store will do.
    #[inline]
    pub(crate) fn plain(&'static self, representation: Representation) -> Option<&'static Half> {
        let own = self.own.load(Ordering::Acquire);
        let flags = PLAIN | representation as usize;
        // SAFETY: packed by keep() with these flags from a reference that lives as long as the process; INV-ATOMIC.
        (own.addr() & FLAGS == flags).then(|| unsafe { &*own.wrapping_byte_sub(flags) })
    }

    #[inline]
    fn unpack(own: *mut Half) -> (&'static Half, Representation) {
        let representation = match own.addr() & 3 {
            0 => Representation::Integer,
            1 => Representation::Float,
            _ => Representation::Nanoseconds,
        };
        // SAFETY: packed by keep() from a reference that lives as long as the process; INV-ATOMIC.
        (unsafe { &*own.map_addr(|address| address & !FLAGS) }, representation)
    }

    fn keep(&self, half: &'static Half, representation: Representation) -> (&'static Half, Representation) {
        let is_plain = !self.mode.tells_unset() && !self.mode.is_stamped();
        let plain = if is_plain { PLAIN } else { 0 };
        let flags = representation as usize | plain;
        let packed = ptr::from_ref(half).cast_mut().map_addr(|address| address | flags);
        self.own.store(packed, Ordering::Release);
        (half, representation)
    }

    #[cold]
    fn claim(&'static self, first: Representation) -> Option<(&'static Half, Representation)> {
        if self.foreign.is_some() {
            return None;
        }
        let Some(origin) = &self.origin else { return Some(self.fall_back(first)) };
        let segment = origin.family.segment;
        let first = self.private_representation().unwrap_or(first);
        let me = match segment.claimant() {
            Ok(me) => me,
            Err(NoSlot::Busy) => {
                segment.count(Statistic::DroppedBusy, 1);
                return None;
            }
            Err(NoSlot::Refused) => {
                segment.count(Statistic::PrivateNoSlot, 1);
                let private = self.fall_back(first);
                if segment.slot.claimed().is_some() {
                    self.retry(); // another thread got one just now
                }
                return Some(private);
            }
        };
        let find = || self.find_or_take(origin, &me, first).inspect(|cell| self.bring_along(*cell));
        match segment.serialised(me.slot, find)? {
            Ok((half, representation)) => Some(self.keep(half, representation)),
            Err(_) => {
                segment.count(Statistic::PrivateFull, 1);
                let private = self.fall_back(first);
                segment.gauges_without_space.store(true, Ordering::Release);
                Some(private)
            }
        }
    }

    /// Lets values go to the private cell, until [`Self::retry`].
    fn fall_back(&'static self, first: Representation) -> (&'static Half, Representation) {
        let half = self.private.half(0);
        let mark = first as usize + 1;
        if self.fallen_back.compare_exchange(0, mark, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            // In a forked child it still holds what the parent had set.
            half.value.store(0, Ordering::Relaxed);
            half.stamp.store(0, Ordering::Relaxed);
        }
        self.keep(half, self.private_representation().unwrap_or(first))
    }

    /// Representation of what the private cell holds; none when it holds nothing.
    fn private_representation(&self) -> Option<Representation> {
        let mark = self.fallen_back.load(Ordering::Acquire);
        Representation::from_number(mark.checked_sub(1)? as u8)
    }

    /// Moves what the private cell holds to the cell that was claimed at last.
    fn bring_along(&self, (half, to): (&'static Half, Representation)) {
        let Some(representation) = self.private_representation() else { return };
        let private = self.private.half(0);
        if let Some(number) = private.value(representation, self.mode) {
            half.set(number, to, self.mode, || private.stamp.load(Ordering::Relaxed));
        }
        self.fallen_back.store(0, Ordering::Release);
    }

    /// Has the next update look for a cell again, if values go to the private one.
    pub(crate) fn retry(&self) {
        let own = self.own.load(Ordering::Acquire);
        if own.addr() & !FLAGS == ptr::from_ref(self.private.half(0)).addr() {
            let _ = self.own.compare_exchange(own, ptr::null_mut(), Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// This process's cell: its own, or a dead process's, or a new one. One thread of the process at a time.
    fn find_or_take(
        &self,
        origin: &Origin,
        me: &Claimant,
        first: Representation,
    ) -> Granted<(&'static Half, Representation)> {
        let (segment, series) = (origin.family.segment, origin.series);
        // Without a descriptor nobody can be told to be dead.
        let search = |fd: Option<BorrowedFd<'_>>| self.search(origin, fd, me, first);
        let found = segment.with_fd(|fd| Ok(search(Some(fd)))).unwrap_or_else(|_| search(None))?;
        if let Some(found) = found {
            return Ok(found);
        }
        let place = segment.draw(gauge::BYTES as u64, gauge::ALIGN)?;
        let cell: &'static GaugeCell = segment.at(place)?;
        cell.begin(place, series, me, first);
        let head_place = gauges_place(series);
        cell.publish(place, segment.word(head_place)?, head_place)?;
        Ok((cell.half(0), first))
    }

    fn search(
        &self,
        origin: &Origin,
        fd: Option<BorrowedFd<'_>>,
        me: &Claimant,
        first: Representation,
    ) -> Granted<Option<(&'static Half, Representation)>> {
        let segment = origin.family.segment;
        let (mut dead, mut oldest) = (0, None::<(u64, u64)>);
        let head_place = gauges_place(origin.series);
        let mut place = Link::unpack(load_acquire(segment.word(head_place)?), head_place)?;
        for _ in 0..MOST_CELLS {
            let Some(at) = place else { break };
            let cell: &'static GaugeCell = segment.at(at)?;
            place = Link::unpack(load_acquire(&cell.next), at + gauge::NEXT)?;
            let Ok(reading) = cell.read(at) else { continue };
            let owner = reading.owner;
            if owner.slot == me.slot && owner.generation == me.generation && !owner.taking {
                return Ok(Some((cell.half(owner.half), reading.contents.meta.representation)));
            }
            if segment.is_alive(fd, owner.slot, owner.generation) {
                continue;
            }
            dead += 1;
            if oldest.is_none_or(|(_, id)| reading.contents.process_id < id) {
                oldest = Some((at, reading.contents.process_id));
            }
        }
        let kept = if self.mode == GaugeMode::All { origin.family.keep_dead } else { 0 };
        match oldest {
            Some((at, _)) if dead > kept => self.take(origin, fd, at, me, first),
            _ => Ok(None),
        }
    }

    /// Takes the dead process's cell at `place` over; none when another process was faster.
    fn take(
        &self,
        origin: &Origin,
        fd: Option<BorrowedFd<'_>>,
        place: u64,
        me: &Claimant,
        first: Representation,
    ) -> Granted<Option<(&'static Half, Representation)>> {
        let segment = origin.family.segment;
        let cell: &'static GaugeCell = segment.at(place)?;
        let reading = cell.read(place).map_err(Refusal::Layout)?;
        if segment.is_alive(fd, reading.owner.slot, reading.owner.generation) {
            return Ok(None); // somebody else has taken it
        }
        let taken = cell.take_over(place, &reading, me, first, origin.family.kind, self.mode);
        if taken.is_some() {
            segment.count(Statistic::GaugeTakeovers, 1);
        }
        Ok(taken.map(|half| (cell.half(half), first)))
    }

    /// What this process has set; none when it has set nothing. Claims no cell.
    pub(crate) fn value(&'static self) -> Option<Number> {
        if let Some(series) = self.foreign {
            return series.number();
        }
        if self.is_sink {
            return None;
        }
        let (half, representation) = match self.own.load(Ordering::Acquire) {
            own if own.is_null() => (self.private.half(0), self.private_representation()?),
            own => Self::unpack(own),
        };
        half.value(representation, self.mode)
    }

    /// Counts something dropped.
    #[cold]
    pub(crate) fn count(&self, statistic: Statistic) {
        match (&self.origin, self.foreign) {
            (Some(origin), _) => origin.family.segment.count(statistic, 1),
            (None, Some(series)) => series.dropped(statistic),
            (None, None) => (),
        }
    }
}
