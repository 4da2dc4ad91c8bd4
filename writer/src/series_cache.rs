//! What a family's look-ups remember: handles by label values, in front of the segment's index.
//!
//! A hash table of entries that never change, shared by the process's threads: no lock, nothing to write when an
//! entry is found, so threads don't disturb each other and a forked child goes on with it. Tables are replaced by
//! larger ones; entries and old tables are freed with the family, because a thread may be reading them.
//! An entry that a race leaves out of a table is looked up in the index once more. A table whose family has lost a
//! series since it was last swept finds nothing.
#![allow(unsafe_code, reason = "hands out references to entries and tables that live as long as the cache")]

use crate::local::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence};
use std::ptr;

use crate::family::AnyFamily;

/// Slots looked at before a look-up is given up.
const PROBES: usize = 8;
/// Slots of the first table.
const FIRST_SLOTS: usize = 32;
/// Values up to this long are compared by the words that cover them.
const SHORT: usize = 32;
/// Entries made for each series that the family may have: as content, at a few addresses, and lost in races.
const ENTRIES_PER_SERIES: usize = 4;

/// What an entry keeps of a label value: its length, and its first bytes or where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own {
    len: u32,
    bytes: [u8; SHORT],
}

const NOTHING: Own = Own { len: u32::MAX, bytes: [0; SHORT] };
/// In a length: the bytes are an address.
const ADDRESS: u32 = 1 << 31;
/// Longer values are not remembered.
const LONGEST: usize = 1 << 30;

/// How values are told apart.
pub(crate) trait Key {
    /// Words that equal values have in common, for the hash.
    fn sketch(value: &str, salt: u64) -> (u64, u64);
    /// What is kept of a value.
    fn own(value: &str) -> Own;
    /// Whether it was kept of this value, as far as it says.
    fn is_same(own: &Own, value: &str) -> bool;
    /// Whether that leaves bytes to compare.
    fn is_long(value: &str) -> bool;
}

/// By their bytes.
pub(crate) struct Content;

/// By where they lie: for strings that stay where they are, and as they are, for ever.
pub(crate) struct Address;

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[inline(always)]
fn half_word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, |b| u32::from_le_bytes(b).into())
}

impl Key for Content {
    #[inline(always)]
    fn sketch(value: &str, salt: u64) -> (u64, u64) {
        let (bytes, len) = (value.as_bytes(), value.len());
        match len {
            0 => (0, 0),
            1..=3 => (u64::from(bytes[0]) | u64::from(bytes[len / 2]) << 8, bytes[len - 1].into()),
            4..=7 => (half_word(bytes, 0), half_word(bytes, len - 4)),
            8..=16 => (word(bytes, 0), word(bytes, len - 8)),
            17..=SHORT => {
                let middle = fold(word(bytes, 8) ^ salt, word(bytes, len - 16) ^ MULTIPLIER);
                (word(bytes, 0) ^ middle, word(bytes, len - 8))
            }
            _ => (fold_all(bytes, salt), word(bytes, len - 8)),
        }
    }

    fn own(value: &str) -> Own {
        let (mut bytes, kept) = ([0; SHORT], value.len().min(SHORT));
        bytes[..kept].copy_from_slice(&value.as_bytes()[..kept]);
        Own { len: value.len() as u32, bytes }
    }

    /// Compares words that overlap in the middle: a call of the C library costs more than all the rest.
    #[inline(always)]
    fn is_same(own: &Own, value: &str) -> bool {
        let (other, len) = (value.as_bytes(), value.len());
        if own.len as usize != len {
            return false;
        }
        let differs = |at| word(&own.bytes, at) ^ word(other, at);
        match len {
            0 => true,
            1..=3 => [0, len / 2, len - 1].iter().all(|at| own.bytes[*at] == other[*at]),
            4..=7 => {
                half_word(&own.bytes, 0) == half_word(other, 0)
                    && half_word(&own.bytes, len - 4) == half_word(other, len - 4)
            }
            8..=16 => differs(0) | differs(len - 8) == 0,
            17..=SHORT => differs(0) | differs(8) | differs(len - 16) | differs(len - 8) == 0,
            _ => len <= LONGEST,
        }
    }

    #[inline(always)]
    fn is_long(value: &str) -> bool {
        value.len() > SHORT
    }
}

impl Key for Address {
    #[inline(always)]
    fn sketch(value: &str, _: u64) -> (u64, u64) {
        (value.as_ptr() as u64, 0)
    }

    fn own(value: &str) -> Own {
        let mut bytes = [0; SHORT];
        bytes[..8].copy_from_slice(&(value.as_ptr() as u64).to_le_bytes());
        Own { len: value.len() as u32 | ADDRESS, bytes }
    }

    #[inline(always)]
    fn is_same(own: &Own, value: &str) -> bool {
        own.len as usize == value.len() | ADDRESS as usize && word(&own.bytes, 0) == value.as_ptr() as u64
    }

    #[inline(always)]
    fn is_long(_: &str) -> bool {
        false
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes two words into one: the halves of their product.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// All bytes of a long value.
fn fold_all(bytes: &[u8], salt: u64) -> u64 {
    bytes.chunks_exact(8).fold(salt, |hash, chunk| fold(hash ^ word(chunk, 0), salt ^ MULTIPLIER))
}

/// A number that differs from process to process, so that nobody can choose values whose hashes collide: where
/// the kernel has put this program.
#[inline(always)]
fn seed() -> u64 {
    static PLACE: u8 = 0;
    MULTIPLIER ^ (&raw const PLACE as u64) << 20
}

/// In every hash, so that none is [`GONE`].
const HASHED: u64 = 1 << 63;
/// In place of an entry's hash, which nothing has: its series was removed.
const GONE: u64 = 0;

/// A hash of all values. Those of the values don't wait for one another.
#[inline(always)]
fn hash<K: Key>(values: &[&str]) -> u64 {
    let (mut hash, mut salt) = (0_u64, seed());
    for value in values {
        let (first, last) = K::sketch(value, salt);
        hash ^= fold(first ^ salt, last ^ salt.rotate_left(32) ^ value.len() as u64);
        salt = salt.wrapping_add(MULTIPLIER << 1);
    }
    hash | HASHED
}

/// Values kept in the entry itself.
const NEAR: usize = 2;

/// A handle and the values it was asked for by: for one or two short ones all in two neighbouring cache lines, since
/// among many series it is the cache misses that cost.
#[repr(C, align(128))]
struct Entry<M> {
    /// Of the values; in the end [`GONE`].
    hash: AtomicU64,
    handle: M,
    near: [Own; NEAR],
    /// What has no place there.
    rest: Option<Box<Rest>>,
    /// The entry made before; for the end.
    next: AtomicPtr<Entry<M>>,
}

struct Rest {
    /// Number of values.
    count: usize,
    /// The values behind the first ones.
    far: Box<[Own]>,
    /// The long values, one after the other.
    long: Box<[u8]>,
}

impl<M> Entry<M> {
    fn new<K: Key>(values: &[&str], handle: M) -> Self {
        let near = std::array::from_fn(|at| values.get(at).map_or(NOTHING, |value| K::own(value)));
        let has_rest = values.len() > NEAR || values.iter().any(|value| K::is_long(value));
        let rest = has_rest.then(|| Box::new(Rest::new::<K>(values)));
        Self {
            hash: AtomicU64::new(hash::<K>(values)),
            handle,
            near,
            rest,
            next: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Is found no more, if `is_gone` says so of its handle.
    fn mark(&self, is_gone: fn(&M) -> bool) {
        if is_gone(&self.handle) {
            self.hash.store(GONE, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn is_of<K: Key>(&self, hash: u64, values: &[&str]) -> bool {
        let is_near = |(at, own): (usize, &Own)| match values.get(at) {
            Some(value) => K::is_same(own, value),
            None => own.len == NOTHING.len,
        };
        self.hash.load(Ordering::Relaxed) == hash
            && self.near.iter().enumerate().all(is_near)
            && match &self.rest {
                None => values.len() <= NEAR,
                Some(rest) => rest.is_of::<K>(values),
            }
    }
}

impl Rest {
    fn new<K: Key>(values: &[&str]) -> Self {
        let long: Vec<u8> = values.iter().filter(|v| K::is_long(v)).flat_map(|v| v.bytes()).collect();
        let far = values.iter().skip(NEAR).map(|value| K::own(value)).collect();
        Self { count: values.len(), far, long: long.into() }
    }

    fn is_of<K: Key>(&self, values: &[&str]) -> bool {
        let mut long = &self.long[..];
        self.count == values.len()
            && self
                .far
                .iter()
                .zip(&values[NEAR.min(values.len())..])
                .all(|(own, value)| K::is_same(own, value))
            && values.iter().filter(|value| K::is_long(value)).all(|value| {
                let Some((own, rest)) = long.split_at_checked(value.len()) else { return false };
                long = rest;
                own == value.as_bytes()
            })
    }
}

/// Handles of one family.
struct Table<M> {
    core: AnyFamily,
    /// 1, and more by 1 in each further segment.
    generation: u64,
    /// See [`AnyFamily::removals`].
    removals: &'static AtomicU64,
    /// What it was when all gone entries had been marked.
    swept: AtomicU64,
    slots: Box<[AtomicPtr<Entry<M>>]>,
    /// Slots in use.
    count: AtomicUsize,
    /// Of these, as far as is known, with entries that are gone.
    gone: AtomicUsize,
    /// The table before; for the end.
    older: *mut Table<M>,
}

impl<M> Table<M> {
    fn new(core: AnyFamily, generation: u64, slots: usize) -> Box<Self> {
        debug_assert!(slots.is_power_of_two());
        let slots = (0..slots).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        let removals = core.removals();
        let swept = AtomicU64::new(removals.load(Ordering::Acquire));
        Box::new(Self {
            core,
            generation,
            removals,
            swept,
            slots,
            count: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            older: ptr::null_mut(),
        })
    }

    #[inline(always)]
    fn get<K: Key>(&self, values: &[&str]) -> Option<&M> {
        if self.removals.load(Ordering::Relaxed) != self.swept.load(Ordering::Acquire) {
            return None;
        }
        let hash = hash::<K>(values);
        for slot in self.window(hash) {
            // SAFETY: null or an entry, which never changes and is freed with the cache only.
            let entry = unsafe { slot.load(Ordering::Acquire).as_ref() }?;
            if entry.is_of::<K>(hash, values) {
                return Some(&entry.handle);
            }
        }
        None
    }

    #[inline(always)]
    fn window(&self, hash: u64) -> impl Iterator<Item = &AtomicPtr<Entry<M>>> {
        let (mask, home) = (self.slots.len() - 1, hash as usize);
        (0..PROBES).map(move |step| {
            let at = home.wrapping_add(step) & mask;
            // SAFETY: the number of slots is a power of two, so the masked index lies below it.
            unsafe { self.slots.get_unchecked(at) }
        })
    }

    /// Puts an entry into the first slot of its window that is free or has one that is gone; false when there is none.
    fn put(&self, hash: u64, entry: *mut Entry<M>) -> bool {
        let free = |slot: &AtomicPtr<Entry<M>>| {
            let now = slot.load(Ordering::Acquire);
            // SAFETY: null or an entry, freed with the cache only.
            let is_free =
                unsafe { now.as_ref() }.is_none_or(|entry| entry.hash.load(Ordering::Relaxed) == GONE);
            let swap = || slot.compare_exchange(now, entry, Ordering::AcqRel, Ordering::Acquire).is_ok();
            (is_free && swap()).then_some(now.is_null())
        };
        let found = self.window(hash).find_map(free);
        match found {
            Some(true) => _ = self.count.fetch_add(1, Ordering::Relaxed),
            Some(false) => {
                let less = |gone: usize| gone.checked_sub(1);
                let _ = self.gone.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            }
            None => (),
        }
        found.is_some()
    }

    /// Whether most of its entries are gone.
    fn is_mostly_gone(&self) -> bool {
        2 * self.gone.load(Ordering::Relaxed) > self.count.load(Ordering::Relaxed)
    }
}

/// The handles that a family has handed out, and the family of a segment or another registry that they belong to.
pub(crate) struct SeriesCache<M> {
    table: AtomicPtr<Table<M>>,
    /// All entries that any table has or had, newest first.
    entries: AtomicPtr<Entry<M>>,
    /// Whether the series of a handle was removed.
    is_gone: fn(&M) -> bool,
}

impl<M> SeriesCache<M> {
    /// An empty one, of the series of `core`; `is_gone` says of a handle whether its series was removed.
    pub(crate) fn new(core: impl Into<AnyFamily>, is_gone: fn(&M) -> bool) -> Self {
        let table = AtomicPtr::new(Box::into_raw(Table::new(core.into(), 1, FIRST_SLOTS)));
        Self { table, entries: AtomicPtr::new(ptr::null_mut()), is_gone }
    }

    #[inline(always)]
    fn table(&self) -> &Table<M> {
        // SAFETY: never null; made by new(), grow() or move_to(), freed with the cache only.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    /// The family that the handles belong to.
    pub(crate) fn core(&self) -> AnyFamily {
        self.table().core
    }

    /// The handle of the series with these values, if it is remembered. Writes nothing.
    #[inline(always)]
    pub(crate) fn get<K: Key>(&self, values: &[&str]) -> Option<&M> {
        self.table().get::<K>(values)
    }

    /// As [`Self::get`], and the number of the segment that the handle belongs to.
    pub(crate) fn get_of_generation<K: Key>(&self, values: &[&str]) -> Option<(&M, u64)> {
        let table = self.table();
        Some((table.get::<K>(values)?, table.generation))
    }

    /// See [`AnyFamily::removals`]; none unless the handles belong to the segment of this number.
    pub(crate) fn removals(&self, generation: u64) -> Option<&'static AtomicU64> {
        let table = self.table();
        (table.generation == generation).then_some(table.removals)
    }

    /// Marks what was removed, if something was since the last time.
    pub(crate) fn sweep(&self) {
        let table = self.table();
        let removals = table.removals.load(Ordering::Acquire); // pairs with: Segment::finish_removal()
        if table.swept.load(Ordering::Relaxed) == removals {
            return;
        }
        fence(Ordering::SeqCst); // pairs with: put(): one of both sees what the other did
        let mut gone = 0;
        for slot in &table.slots {
            // SAFETY: null or an entry, freed with the cache only.
            if let Some(entry) = unsafe { slot.load(Ordering::Acquire).as_ref() } {
                entry.mark(self.is_gone);
                gone += usize::from(entry.hash.load(Ordering::Relaxed) == GONE);
            }
        }
        table.gone.store(gone, Ordering::Relaxed);
        table.swept.fetch_max(removals, Ordering::Release);
    }

    /// Remembers a handle of a series of `core`, unless the cache has moved on to another segment, or is full.
    pub(crate) fn put<K: Key>(&self, core: impl Into<AnyFamily>, values: &[&str], handle: M) {
        if values.iter().any(|value| value.len() > LONGEST) || self.get::<K>(values).is_some() {
            return;
        }
        let core = core.into();
        let most = ENTRIES_PER_SERIES * core.max_series() as usize;
        let mut entry = Box::new(Entry::new::<K>(values, handle));
        let hash = *entry.hash.get_mut();
        let mut table = self.table();
        // What finds no slot in a table that has been enlarged for it shares its hash with too many others.
        for _ in 0..3 {
            let count = table.count.load(Ordering::Relaxed);
            let is_full = count >= most;
            if !table.core.is(core) || (is_full && !table.is_mostly_gone()) {
                return;
            }
            if !is_full && 2 * count < table.slots.len() {
                let raw = Box::into_raw(entry);
                if table.put(hash, raw) {
                    fence(Ordering::SeqCst); // pairs with: sweep()
                    // SAFETY: in a table now, so it lives as long as the cache.
                    unsafe { &*raw }.mark(self.is_gone);
                    return self.list(raw);
                }
                // SAFETY: came from Box::into_raw just above, and no table has it.
                entry = unsafe { Box::from_raw(raw) };
                if table.slots.len() > 16 * count.max(FIRST_SLOTS) {
                    return;
                }
            }
            table = self.grow(table);
        }
    }

    /// Keeps an entry that a table has until the end.
    fn list(&self, entry: *mut Entry<M>) {
        // SAFETY: in a table, so it lives as long as the cache.
        let next = unsafe { &(*entry).next };
        let mut head = self.entries.load(Ordering::Relaxed);
        loop {
            next.store(head, Ordering::Relaxed);
            match self.entries.compare_exchange(head, entry, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Replaces `table` by one of twice as many slots, or as many where most entries are gone, unless another thread
    /// was faster.
    fn grow(&self, table: &Table<M>) -> &Table<M> {
        let slots = if table.is_mostly_gone() { table.slots.len() } else { 2 * table.slots.len() };
        let mut larger = Table::new(table.core, table.generation, slots);
        *larger.swept.get_mut() = table.swept.load(Ordering::Acquire);
        for slot in &table.slots {
            let entry = slot.load(Ordering::Acquire);
            // SAFETY: null or an entry, freed with the cache only.
            if let Some(found) = unsafe { entry.as_ref() } {
                let hash = found.hash.load(Ordering::Relaxed);
                if hash != GONE {
                    larger.put(hash, entry);
                }
            }
        }
        self.replace(table, larger)
    }

    /// Forgets all handles: from now on they are those of the family in another segment.
    pub(crate) fn move_to(&self, core: impl Into<AnyFamily>) {
        let core = core.into();
        loop {
            let table = self.table();
            if table.core.is(core) {
                return;
            }
            self.replace(table, Table::new(core, table.generation + 1, FIRST_SLOTS));
        }
    }

    fn replace(&self, table: &Table<M>, mut by: Box<Table<M>>) -> &Table<M> {
        // The pointer itself, not the reference made from it: through it the table is freed in the end.
        let old = self.table.load(Ordering::Acquire);
        if !ptr::eq(old, table) {
            return self.table();
        }
        by.older = old;
        let new = Box::into_raw(by);
        if self.table.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: `new` came from Box::into_raw just above and was not published.
            drop(unsafe { Box::from_raw(new) });
        }
        self.table()
    }
}

impl<M> Drop for SeriesCache<M> {
    fn drop(&mut self) {
        let mut table = self.table.load(Ordering::Acquire);
        while !table.is_null() {
            // SAFETY: made by Box::into_raw, published once, and nobody else has the cache any more.
            let freed = unsafe { Box::from_raw(table) };
            table = freed.older;
        }
        let mut entry = self.entries.load(Ordering::Acquire);
        while !entry.is_null() {
            // SAFETY: made by Box::into_raw, listed once, and nobody else has the cache any more.
            let freed = unsafe { Box::from_raw(entry) };
            entry = freed.next.load(Ordering::Relaxed);
        }
    }
}

// SAFETY: hands out shared references to handles; what it owns it frees when nobody else has it.
unsafe impl<M: Send + Sync> Send for SeriesCache<M> {}
// SAFETY: as above.
unsafe impl<M: Send + Sync> Sync for SeriesCache<M> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::FamilyCore;
    use crate::{Counter, Opts, Registry};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn cores(count: usize, max_series: u32) -> Vec<&'static FamilyCore> {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let registry = Registry::open_at(directory.path().join("s")).unwrap();
        let opts = |n| Opts::new(&format!("x{n}_total"), "").max_series(max_series);
        let core = |n| registry.family::<Counter>(&opts(n), &["a"]).unwrap();
        let of_segment = |family: AnyFamily| match family {
            AnyFamily::Segment(core) => core,
            AnyFamily::Foreign(other) => panic!("{other:?}"),
        };
        (0..count).map(|n| of_segment(core(n).core())).collect()
    }

    /// How many entries a test makes; Miri is some thousand times slower.
    const fn entries(many: usize, few: usize) -> usize {
        if cfg!(miri) { few } else { many }
    }

    #[test]
    fn values_of_every_length_are_told_apart() {
        let core = cores(1, 1000)[0];
        let (cache, text) =
            (SeriesCache::new(core, |_| false), "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
        let mut expected = HashMap::new();
        // Miri has no time for all of them, but for each way to compare.
        let changes = |len| if cfg!(miri) { len / 2..=len / 2 } else { 0..=len };
        for len in (0..50).step_by(entries(1, 3)) {
            // Each differs from the one before in one byte at most, at every place.
            for change in changes(len) {
                let mut value = text[..len].to_owned();
                if change < len {
                    value.replace_range(change..=change, "-");
                }
                let number = expected.len();
                cache.put::<Content>(core, &[&value, "x"], number);
                expected.insert(value, number);
            }
        }
        for (value, number) in &expected {
            assert_eq!(cache.get::<Content>(&[value, "x"]), Some(number), "{value}");
            assert_eq!(cache.get::<Content>(&[value, "y"]), None);
            assert_eq!(cache.get::<Content>(&["x", value]), None);
            assert_eq!(cache.get::<Content>(&[value]), None);
            assert_eq!(cache.get::<Address>(&[value, "x"]), None);
        }
    }

    #[test]
    fn where_a_value_lies_decides_for_static_ones() {
        let core = cores(1, 1000)[0];
        let cache = SeriesCache::new(core, |_| false);
        let (here, there): (&'static str, &'static str) = ("abc", String::from("abc").leak());
        cache.put::<Address>(core, &[here], 1);
        assert_eq!((cache.get::<Address>(&[here]), cache.get::<Address>(&[there])), (Some(&1), None));
        assert_eq!(cache.get::<Address>(&[&here[..2]]), None);
        assert_eq!(cache.get::<Content>(&[here]), None);
    }

    #[test]
    fn threads_that_fill_it_at_once_find_what_they_put() {
        let core = cores(1, 1000)[0];
        let (cache, all) = (Arc::new(SeriesCache::new(core, |_| false)), entries(2000, 30));
        let threads: Vec<_> = (0..4_usize)
            .map(|_| {
                let cache = Arc::clone(&cache);
                std::thread::spawn(move || {
                    for n in 0..all {
                        let value = n.to_string();
                        cache.put::<Content>(core, &[&value], n);
                        assert!(cache.get::<Content>(&[&value]).is_none_or(|found| *found == n));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let found = (0..all).filter(|n| cache.get::<Content>(&[&n.to_string()]) == Some(n)).count();
        // A race may leave a few out of the table.
        assert!(found > entries(1900, 0), "{found} of {all}");
        (0..all).for_each(|n| cache.put::<Content>(core, &[&n.to_string()], n));
        assert!((0..all).all(|n| cache.get::<Content>(&[&n.to_string()]) == Some(&n)));
    }

    #[test]
    fn a_full_cache_takes_no_more_and_starts_anew_in_another_segment() {
        let cores = cores(2, entries(1000, 10) as u32);
        let (cache, most) =
            (SeriesCache::new(cores[0], |_| false), ENTRIES_PER_SERIES * cores[0].max_series as usize);
        let more = entries(100, 10);
        for round in 0..3 {
            let core = cores[round % 2];
            cache.move_to(core);
            (0..most + more).for_each(|n| cache.put::<Content>(core, &[&n.to_string()], n));
            let found =
                (0..most + more).filter(|n| cache.get::<Content>(&[&n.to_string()]).is_some()).count();
            assert_eq!(found, most, "round {round}");
        }
    }

    #[test]
    fn series_that_come_and_go_find_room_for_ever() {
        static GONE_BELOW: AtomicU64 = AtomicU64::new(0);
        let (at_once, all) = (entries(64, 8), entries(20_000, 100));
        // Each series asked for in two ways, so that there are twice as many entries.
        let core = cores(1, at_once as u32 / 2)[0];
        let cache = SeriesCache::new(core, |n| *n < GONE_BELOW.load(Ordering::Relaxed) as usize);
        for n in 0..all {
            if n >= at_once {
                GONE_BELOW.store((n + 1 - at_once) as u64, Ordering::Relaxed);
                core.removals().fetch_add(1, Ordering::Relaxed);
            }
            cache.sweep();
            cache.put::<Content>(core, &[&n.to_string()], n);
            assert_eq!(cache.get::<Content>(&[&n.to_string()]), Some(&n));
        }
        // Doubled once more where 16 slots for each entry that may be live don't suffice, which depends on the hashes.
        let (slots, most) = (cache.table().slots.len(), ENTRIES_PER_SERIES * core.max_series as usize);
        assert!(slots <= 32 * most.max(FIRST_SLOTS), "{slots} slots");
    }

    #[test]
    fn another_segment_s_family_starts_empty_and_takes_no_handles_of_the_old_one() {
        let cores = cores(2, 1000);
        let cache = SeriesCache::new(cores[0], |_| false);
        cache.put::<Content>(cores[0], &["a"], 1);
        cache.move_to(cores[1]);
        assert!(cache.core().is(cores[1].into()));
        assert_eq!(cache.get::<Content>(&["a"]), None);
        cache.put::<Content>(cores[0], &["a"], 1);
        assert_eq!(cache.get::<Content>(&["a"]), None);
        cache.put::<Content>(cores[1], &["a"], 2);
        assert_eq!(cache.get_of_generation::<Content>(&["a"]), Some((&2, 2)));
        assert_eq!(cache.get_of_generation::<Content>(&["b"]), None);
    }

    /// Under Miri: tables are freed by the pointer that made them, which no reader's reference has cut short.
    #[test]
    fn what_readers_still_hold_lives_until_the_cache_ends_and_no_longer() {
        let cores = cores(2, 1000);
        let (core, other) = (cores[0], cores[1]);
        let (cache, handle, all) = (SeriesCache::new(core, |_| false), Arc::new(()), entries(500, 12));
        cache.put::<Content>(core, &["first"], Arc::clone(&handle));
        let first = cache.get::<Content>(&["first"]).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (cache, handle) = (&cache, &handle);
                scope.spawn(move || {
                    for n in 0..all {
                        cache.put::<Content>(core, &[&format!("{thread} {n}")], Arc::clone(handle));
                    }
                });
            }
        });
        assert!(Arc::ptr_eq(first, &handle), "in the first of several tables");
        cache.move_to(other);
        assert_eq!(cache.get::<Content>(&["first"]), None);
        assert!(Arc::ptr_eq(first, &handle), "in no table any more");
        assert!(Arc::strong_count(&handle) > 2);
        drop(cache);
        assert_eq!(Arc::strong_count(&handle), 1);
    }
}
