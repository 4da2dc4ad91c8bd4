//! Gauge cells: one for each (series, process), taken over when its process is dead.
//!
//! The owner word names slot and generation of the process that may write, and which of two halves counts.
//! A newcomer takes a dead owner's cell over: it marks the owner word, writes what must survive into the
//! idle half and flips owner and half in one store. A taker that dies before that store has changed nothing
//! that counts; the next one repeats the work.
//!
//! ```text
//! owner  63      50   49     48   47              16 15           0
//!        +----------+------+------+-----------------+--------------+
//!        |  check   |taking| half |   generation    |     slot     |
//!        +----------+------+------+-----------------+--------------+
//!
//!        owned by A, half 0 --CAS--> taken by B, half 0 --store--> owned by B, half 1
//!                ^                       |  B dies
//!                |                       +--CAS--> taken by C, half 0 --store--> ...
//!                +-- A is dead: its lock byte is free
//! ```

use crate::error::{Error, Result};
use crate::fields::{Field, field};
use crate::hash::check16;
use crate::kind::{GaugeMode, Kind, Number, Representation};
use crate::link::Link;
use crate::sync::{AtomicU64, Ordering, fence, load_acquire};

/// Bytes of a gauge cell.
pub const BYTES: usize = 128;
/// Alignment of a gauge cell: each half lies within one cache line.
pub const ALIGN: u64 = 128;
/// Offset, in a cell, of the link to the next one.
pub const NEXT: u64 = 8;
/// Offset, in a cell, of the link back to its series.
pub const SERIES: u64 = 64;

/// Offsets, in a cell, of its halves; each begins with the value and its stamp.
pub const HALVES: [u64; 2] = [16, 80];

/// The cell's fields.
pub const FIELDS: &[Field] = &[
    field("owner", 0, 8, "atomic: who may write, see the drawing"),
    field("next", 8, 8, "atomic link: the next older cell of the series"),
    field("half_0", 16, 48, "value, stamp, retained, retained_stamp, process_id, meta: 8 bytes each, atomic"),
    field("series", 64, 8, "atomic link: the series' record"),
    field("reserved", 72, 8, "0"),
    field("half_1", 80, 48, "as half_0"),
];

/// One of the two versions of a cell's contents.
#[repr(C)]
#[derive(Debug)]
pub struct Half {
    /// What the owner has set, encoded by [`GaugeMode::encode`].
    pub value: AtomicU64,
    /// When the owner set it (stamped modes), nanoseconds since 1970; 0 never.
    pub stamp: AtomicU64,
    /// What earlier, dead owners left, encoded likewise.
    pub retained: AtomicU64,
    /// When it was set (stamped modes).
    pub retained_stamp: AtomicU64,
    /// Identity of the owner, see [`crate::process::process_id`].
    pub process_id: AtomicU64,
    /// Pid (32 bits), representation of value and of retained (4 bits each), 0 (8), check (16).
    pub meta: AtomicU64,
}

/// The cell of one process in one series.
#[repr(C)]
#[derive(Debug)]
pub struct GaugeCell {
    /// Who may write, and which half counts.
    pub owner: AtomicU64,
    /// The next older cell of the series.
    pub next: AtomicU64,
    half_0: Half,
    /// The series' record.
    pub series: AtomicU64,
    reserved: AtomicU64,
    half_1: Half,
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<GaugeCell>() == BYTES);
    assert!(core::mem::offset_of!(GaugeCell, half_0) as u64 == HALVES[0]);
    assert!(core::mem::offset_of!(GaugeCell, series) == 64);
    assert!(core::mem::offset_of!(GaugeCell, half_1) as u64 == HALVES[1]);
};

/// Who may write a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Slot in the process table.
    pub slot: u32,
    /// Generation of the slot, its lower 32 bits.
    pub generation: u32,
    /// Which half counts: 0 or 1.
    pub half: usize,
    /// Whether the owner is still taking the cell over; `half` is the old one then.
    pub taking: bool,
}

const OWNER_BITS: u32 = 50;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;

impl Owner {
    /// Packs the owner word of the cell at `place`.
    #[must_use]
    pub const fn pack(self, place: u64) -> u64 {
        let body = (self.slot as u64 & 0xffff)
            | (self.generation as u64) << 16
            | (self.half as u64 & 1) << 48
            | (self.taking as u64) << 49;
        body | (check16(body, place) >> 2) << OWNER_BITS
    }

    /// The owner in `word`, the owner word of the cell at `place`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the check doesn't match.
    pub const fn unpack(word: u64, place: u64) -> Result<Self> {
        let body = word & OWNER_MASK;
        let owner = Self {
            slot: (body & 0xffff) as u32,
            generation: (body >> 16) as u32,
            half: (body >> 48 & 1) as usize,
            taking: body >> 49 & 1 != 0,
        };
        let expected = owner.pack(place);
        if word == expected {
            Ok(owner)
        } else {
            Err(Error::Corrupt { what: "gauge owner", offset: place, found: word, expected })
        }
    }
}

/// A process that wants a cell.
#[derive(Clone, Copy, Debug)]
pub struct Claimant {
    /// Its slot.
    pub slot: u32,
    /// Its generation of the slot, lower 32 bits.
    pub generation: u32,
    /// Its identity.
    pub process_id: u64,
    /// Its pid.
    pub pid: u32,
}

impl Claimant {
    const fn owner(&self, half: usize, taking: bool) -> Owner {
        Owner { slot: self.slot, generation: self.generation, half, taking }
    }
}

/// Representation of a half's numbers, and whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Pid of the owner.
    pub pid: u32,
    /// Representation of the value.
    pub representation: Representation,
    /// Representation of what is retained.
    pub retained: Representation,
}

impl Meta {
    /// Packs the meta word of a half that names this owner.
    #[must_use]
    pub const fn pack(self, process_id: u64) -> u64 {
        let body = self.pid as u64 | (self.representation as u64) << 32 | (self.retained as u64) << 36;
        body | check16(body, process_id) << 48
    }

    fn unpack(word: u64, process_id: u64, place: u64) -> Result<Self> {
        let number = |shift: u32| Representation::from_number((word >> shift & 0xf) as u8);
        let found = match (number(32), number(36)) {
            (Some(representation), Some(retained)) => {
                Some(Self { pid: word as u32, representation, retained })
            }
            _ => None,
        };
        found.filter(|meta| meta.pack(process_id) == word).ok_or(Error::Corrupt {
            what: "gauge cell meta",
            offset: place,
            found: word,
            expected: check16(word & 0xffff_ffff_ffff, process_id) << 48,
        })
    }
}

impl Half {
    /// Sets the value: a store, and in stamped modes a second one with the time.
    ///
    /// Value first, then time: whoever sees the time sees this value or a later one.
    pub fn set(&self, number: Number, to: Representation, mode: GaugeMode, now: impl FnOnce() -> u64) {
        let word = mode.encode(number.convert(to).to_bits(), to);
        self.value.store(word, Ordering::Relaxed);
        if mode.is_stamped() {
            self.stamp.store(now(), Ordering::Release); // pairs with: GaugeCell::read()
        }
    }

    /// [`Self::set`] in the cell's own representation and a mode that neither tells "never set" from 0 nor keeps
    /// the time: a store.
    #[inline]
    pub fn set_plain(&self, bits: u64) {
        self.value.store(bits, Ordering::Relaxed);
    }

    /// [`Self::add`] to a whole number, in such a mode: an atomic addition; wraps.
    #[inline]
    pub fn add_plain(&self, bits: u64) {
        self.value.fetch_add(bits, Ordering::Relaxed);
    }

    /// Adds to the value; a value never set counts as 0.
    pub fn add(&self, number: Number, to: Representation, mode: GaugeMode, now: impl FnOnce() -> u64) {
        if to != Representation::Float && number.representation() == to && !mode.tells_unset() {
            return self.add_plain(number.to_bits());
        }
        let mut seen = self.value.load(Ordering::Relaxed);
        loop {
            let old = Number::from_bits(mode.decode(seen, to).unwrap_or(0), to);
            let word = mode.encode(old.plus(number).convert(to).to_bits(), to);
            match self.value.compare_exchange_weak(seen, word, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(current) => seen = current,
            }
        }
        if mode.is_stamped() {
            self.stamp.store(now(), Ordering::Release);
        }
    }

    /// Sets and clears bits of a state set's value.
    pub fn set_bits(&self, set: u64, clear: u64, mode: GaugeMode, now: impl FnOnce() -> u64) {
        let to = Representation::Integer;
        let mut seen = self.value.load(Ordering::Relaxed);
        loop {
            let bits = (mode.decode(seen, to).unwrap_or(0) & !clear) | set;
            let word = mode.encode(bits, to);
            match self.value.compare_exchange_weak(seen, word, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(current) => seen = current,
            }
        }
        if mode.is_stamped() {
            self.stamp.store(now(), Ordering::Release);
        }
    }

    /// The value; none when it was never set and the mode tells that from 0.
    #[must_use]
    pub fn value(&self, representation: Representation, mode: GaugeMode) -> Option<Number> {
        let bits = mode.decode(self.value.load(Ordering::Relaxed), representation)?;
        Some(Number::from_bits(bits, representation))
    }

    fn begin(&self, me: &Claimant, representation: Representation, retained: Representation) {
        self.value.store(0, Ordering::Relaxed);
        self.stamp.store(0, Ordering::Relaxed);
        self.process_id.store(me.process_id, Ordering::Relaxed);
        let meta = Meta { pid: me.pid, representation, retained };
        self.meta.store(meta.pack(me.process_id), Ordering::Relaxed);
    }

    fn copy(&self, place: u64) -> Result<Contents> {
        let stamp = load_acquire(&self.stamp); // pairs with: Half::set()
        let value = self.value.load(Ordering::Relaxed);
        let process_id = self.process_id.load(Ordering::Relaxed);
        let meta = Meta::unpack(self.meta.load(Ordering::Relaxed), process_id, place)?;
        Ok(Contents {
            value,
            stamp,
            retained: self.retained.load(Ordering::Relaxed),
            retained_stamp: self.retained_stamp.load(Ordering::Relaxed),
            process_id,
            meta,
        })
    }
}

/// A copy of the half that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    value: u64,
    /// When the value was set; 0 unless the mode is stamped.
    pub stamp: u64,
    retained: u64,
    /// When the retained value was set; 0 unless the mode is stamped.
    pub retained_stamp: u64,
    /// Identity of the owner.
    pub process_id: u64,
    /// Pid and representations.
    pub meta: Meta,
}

impl Contents {
    /// The owner's value.
    #[must_use]
    pub fn value(&self, mode: GaugeMode) -> Option<Number> {
        let bits = mode.decode(self.value, self.meta.representation)?;
        Some(Number::from_bits(bits, self.meta.representation))
    }

    /// What earlier owners left.
    #[must_use]
    pub fn retained(&self, mode: GaugeMode) -> Option<Number> {
        let bits = mode.decode(self.retained, self.meta.retained)?;
        Some(Number::from_bits(bits, self.meta.retained))
    }

    /// What survives the owner's death: retained (+) value, by the rule of kind and mode, with its time.
    #[must_use]
    pub fn survivors(&self, kind: Kind, mode: GaugeMode) -> (Option<Number>, u64) {
        let (value, retained) = (self.value(mode), self.retained(mode));
        if let (Kind::StateSet, Some(v), Some(r)) = (kind, value, retained) {
            let bits = |bits: u64| (Some(Number::from_bits(bits, Representation::Integer)), 0);
            match mode {
                GaugeMode::Min => return bits(v.to_bits() & r.to_bits()),
                GaugeMode::Max => return bits(v.to_bits() | r.to_bits()),
                _ => {}
            }
        }
        let choose = |better: fn(f64, f64) -> bool| match (value, retained) {
            // Any number is better than none.
            (Some(v), Some(r)) if better(r.as_f64(), v.as_f64()) || v.as_f64().is_nan() => Some(r),
            (Some(v), _) => Some(v),
            (None, r) => r,
        };
        match mode {
            GaugeMode::Sum => match (value, retained) {
                (Some(v), Some(r)) if r.to_bits() != 0 => (Some(r.plus(v)), 0),
                (v, _) => (v, 0),
            },
            GaugeMode::Min => (choose(|r, v| r < v), 0),
            GaugeMode::Max => (choose(|r, v| r > v), 0),
            GaugeMode::MostRecent if self.retained_stamp > self.stamp => (retained, self.retained_stamp),
            GaugeMode::MostRecent => (value, self.stamp),
            GaugeMode::All
            | GaugeMode::LiveAll
            | GaugeMode::LiveMin
            | GaugeMode::LiveMax
            | GaugeMode::LiveSum
            | GaugeMode::LiveMostRecent => (None, 0),
        }
    }
}

/// A consistent copy of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Who owned it.
    pub owner: Owner,
    /// The owner word, to take the cell over if the owner is dead.
    pub word: u64,
    /// What it held.
    pub contents: Contents,
}

/// How often a reader looks again at a cell that changes owners meanwhile.
const READ_ATTEMPTS: usize = 8;

impl GaugeCell {
    /// A cell of zeros, for models and tests.
    #[must_use]
    pub fn zeroed() -> Self {
        let word = || AtomicU64::new(0);
        let half = || Half {
            value: word(),
            stamp: word(),
            retained: word(),
            retained_stamp: word(),
            process_id: word(),
            meta: word(),
        };
        Self { owner: word(), next: word(), half_0: half(), series: word(), reserved: word(), half_1: half() }
    }

    /// One of the halves.
    #[must_use]
    pub const fn half(&self, half: usize) -> &Half {
        if half == 0 { &self.half_0 } else { &self.half_1 }
    }

    /// Prepares a cell that nobody else can see yet; half 0 counts.
    pub fn begin(&self, place: u64, series: u64, me: &Claimant, representation: Representation) {
        self.half_0.begin(me, representation, representation);
        self.series.store(Link::pack(series, place + SERIES), Ordering::Relaxed);
        self.owner.store(me.owner(0, false).pack(place), Ordering::Relaxed);
    }

    /// Makes the cell at `place`, prepared by [`Self::begin`], the newest of the list that starts in `head`, a
    /// link word at `head_place`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when `head` holds something that is no link.
    pub fn publish(&self, place: u64, head: &AtomicU64, head_place: u64) -> Result<()> {
        let packed = Link::pack(place, head_place);
        let mut seen = load_acquire(head);
        loop {
            let older = Link::unpack(seen, head_place)?;
            let next = older.map_or(0, |older| Link::pack(older, place + NEXT));
            self.next.store(next, Ordering::Relaxed);
            match head.compare_exchange(seen, packed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }

    /// Reads the cell at `place` consistently.
    ///
    /// Never waits: a cell that changes owners again and again is given up after a few looks.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when owner or meta is damaged, or the cell never held still.
    pub fn read(&self, place: u64) -> Result<Reading> {
        let mut word = load_acquire(&self.owner); // pairs with: take_over()
        for _ in 0..READ_ATTEMPTS {
            let owner = Owner::unpack(word, place)?;
            let contents = self.half(owner.half).copy(place);
            fence(Ordering::Acquire);
            let again = self.owner.load(Ordering::Relaxed);
            if again == word {
                return Ok(Reading { owner, word, contents: contents? });
            }
            word = again;
            fence(Ordering::Acquire);
        }
        Err(Error::Corrupt { what: "gauge owner", offset: place, found: word, expected: word })
    }

    /// Takes the cell at `place` over from the dead owner in `reading`; returns the half to write, or none
    /// when somebody else was faster.
    ///
    /// The caller knows the owner dead from its lock byte, after which nothing of it can be stored any more.
    pub fn take_over(
        &self,
        place: u64,
        reading: &Reading,
        me: &Claimant,
        representation: Representation,
        kind: Kind,
        mode: GaugeMode,
    ) -> Option<usize> {
        let from = reading.owner.half;
        let taking = me.owner(from, true).pack(place);
        self.owner.compare_exchange(reading.word, taking, Ordering::AcqRel, Ordering::Acquire).ok()?;
        // A reader that sees a store below must see the owner word changed: pairs with the fence in read().
        fence(Ordering::Release);
        let contents = self.half(from).copy(place).ok()?;
        let (survivor, stamp) = contents.survivors(kind, mode);
        let retained = survivor.map_or(representation, Number::representation);
        let idle = self.half(1 - from);
        let word = survivor.map_or(0, |number| mode.encode(number.to_bits(), retained));
        idle.retained.store(word, Ordering::Relaxed);
        idle.retained_stamp.store(stamp, Ordering::Relaxed);
        idle.begin(me, representation, retained);
        self.owner.store(me.owner(1 - from, false).pack(place), Ordering::Release); // pairs with: read()
        Some(1 - from)
    }

    /// The representation in which the owner of `half` writes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the meta word is damaged.
    pub fn representation(&self, half: usize, place: u64) -> Result<Representation> {
        Ok(self.half(half).copy(place)?.meta.representation)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const PLACE: u64 = 8192;
    const A: Claimant = Claimant { slot: 1, generation: 1, process_id: 100, pid: 11 };
    const B: Claimant = Claimant { slot: 2, generation: 7, process_id: 200, pid: 22 };

    fn owned_by_a(mode: GaugeMode, value: i64) -> GaugeCell {
        let cell = GaugeCell::zeroed();
        cell.begin(PLACE, 640, &A, Representation::Integer);
        cell.half(0).set(Number::Integer(value), Representation::Integer, mode, || 5);
        cell
    }

    fn taken_by_b(kind: Kind, mode: GaugeMode, first: i64, second: i64) -> Reading {
        let cell = owned_by_a(mode, first);
        let reading = cell.read(PLACE).unwrap();
        let half = cell.take_over(PLACE, &reading, &B, Representation::Integer, kind, mode).unwrap();
        cell.half(half).set(Number::Integer(second), Representation::Integer, mode, || 9);
        cell.read(PLACE).unwrap()
    }

    #[test]
    fn what_a_dead_owner_left_survives_by_the_mode_s_rule() {
        for (mode, expected) in [
            (GaugeMode::Sum, Some(10)),
            (GaugeMode::Min, Some(3)),
            (GaugeMode::Max, Some(7)),
            (GaugeMode::MostRecent, Some(7)),
            (GaugeMode::LiveSum, None),
        ] {
            let (survivor, _) = taken_by_b(Kind::Gauge, mode, 3, 7).contents.survivors(Kind::Gauge, mode);
            assert_eq!(survivor, expected.map(Number::Integer), "{mode:?}");
        }
    }

    #[test]
    fn a_dead_owner_s_nan_takes_nothing_from_what_others_left() {
        for mode in [GaugeMode::Min, GaugeMode::Max] {
            let cell = GaugeCell::zeroed();
            cell.begin(PLACE, 640, &A, Representation::Float);
            cell.half(0).set(Number::Float(3.0), Representation::Float, mode, || 0);
            let reading = cell.read(PLACE).unwrap();
            let half = cell.take_over(PLACE, &reading, &B, Representation::Float, Kind::Gauge, mode).unwrap();
            cell.half(half).set(Number::Float(f64::NAN), Representation::Float, mode, || 0);
            let (survivor, _) = cell.read(PLACE).unwrap().contents.survivors(Kind::Gauge, mode);
            assert_eq!(survivor, Some(Number::Float(3.0)), "{mode:?}");
        }
    }

    #[test]
    fn states_that_a_dead_owner_left_are_joined_or_intersected() {
        for (mode, expected) in [
            (GaugeMode::Min, Some(0b010)),
            (GaugeMode::Max, Some(0b111)),
            (GaugeMode::MostRecent, Some(0b110)),
            (GaugeMode::LiveMax, None),
        ] {
            let contents = taken_by_b(Kind::StateSet, mode, 0b011, 0b110).contents;
            let (survivor, _) = contents.survivors(Kind::StateSet, mode);
            assert_eq!(survivor, expected.map(Number::Integer), "{mode:?}");
        }
    }

    #[test]
    fn the_taker_owns_the_other_half_with_its_own_value() {
        let reading = taken_by_b(Kind::Gauge, GaugeMode::Sum, 3, 7);
        assert_eq!((reading.owner.slot, reading.owner.half, reading.owner.taking), (2, 1, false));
        assert_eq!(reading.contents.value(GaugeMode::Sum), Some(Number::Integer(7)));
        assert_eq!(reading.contents.retained(GaugeMode::Sum), Some(Number::Integer(3)));
        assert_eq!(reading.contents.meta.pid, 22);
    }

    #[test]
    fn the_cell_published_last_is_the_newest() {
        let (first, second, head) =
            (owned_by_a(GaugeMode::Sum, 1), owned_by_a(GaugeMode::Sum, 2), AtomicU64::new(0));
        first.publish(PLACE, &head, 72).unwrap();
        second.publish(2 * PLACE, &head, 72).unwrap();
        assert_eq!(Link::unpack(head.load(Ordering::Relaxed), 72), Ok(Some(2 * PLACE)));
        let next = second.next.load(Ordering::Relaxed);
        assert_eq!(Link::unpack(next, 2 * PLACE + NEXT), Ok(Some(PLACE)));
        assert_eq!(first.next.load(Ordering::Relaxed), 0);
        assert!(first.publish(PLACE, &AtomicU64::new(7), 72).is_err());
    }

    #[test]
    fn only_one_of_two_takers_wins() {
        let cell = owned_by_a(GaugeMode::Sum, 1);
        let reading = cell.read(PLACE).unwrap();
        let take =
            |me| cell.take_over(PLACE, &reading, me, Representation::Float, Kind::Gauge, GaugeMode::Sum);
        assert!(take(&B).is_some());
        assert!(take(&A).is_none());
    }

    #[test]
    fn a_damaged_owner_or_meta_is_refused() {
        for bit in 0..64 {
            let cell = owned_by_a(GaugeMode::Sum, 1);
            cell.owner.fetch_xor(1 << bit, Ordering::Relaxed);
            let cell_2 = owned_by_a(GaugeMode::Sum, 1);
            cell_2.half(0).meta.fetch_xor(1 << bit, Ordering::Relaxed);
            assert!(cell.read(PLACE).is_err(), "owner bit {bit}");
            assert!(cell_2.read(PLACE).is_err(), "meta bit {bit}");
        }
    }

    #[test]
    fn adding_to_a_value_never_set_starts_at_zero() {
        for mode in GaugeMode::EVERY {
            let cell = GaugeCell::zeroed();
            cell.begin(PLACE, 640, &A, Representation::Integer);
            cell.half(0).add(Number::Integer(-4), Representation::Integer, mode, || 1);
            cell.half(0).add(Number::Float(1.4), Representation::Integer, mode, || 1);
            assert_eq!(
                cell.half(0).value(Representation::Integer, mode),
                Some(Number::Integer(-3)),
                "{mode:?}"
            );
        }
    }

    #[test]
    fn bits_are_set_and_cleared_together() {
        let mode = GaugeMode::MostRecent;
        let cell = owned_by_a(mode, 0b101);
        cell.half(0).set_bits(0b010, 0b001, mode, || 7);
        assert_eq!(cell.half(0).value(Representation::Integer, mode), Some(Number::Integer(0b110)));
    }
}
