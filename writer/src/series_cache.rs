//! What a family's look-ups remember: handles by label values, in front of the segment's index.
//!
//! A hash table of entries that never change, shared by the process's threads: no lock, nothing to write when an
//! entry is found, so threads don't disturb each other and a forked child goes on with it. Tables are replaced by
//! larger ones; entries and old tables are freed with the family, because a thread may be reading them.
//! An entry that a race leaves out of a table is looked up in the index once more.
#![allow(unsafe_code, reason = "hands out references to entries and tables that live as long as the cache")]

use crate::local::{AtomicPtr, AtomicUsize, Ordering};
use std::ptr;

use crate::family::FamilyCore;

/// Slots looked at before a look-up is given up.
const PROBES: usize = 8;
/// Slots of the first table.
const FIRST_SLOTS: usize = 32;
/// Values up to this long are compared by the two words that cover them.
const SHORT: usize = 16;
/// Entries made for each series that the family may have: as content, at a few addresses, and lost in races.
const ENTRIES_PER_SERIES: usize = 4;

/// A label value as words: its length, and what of it the two words hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    first: u64,
    last: u64,
    len: usize,
}

/// How values are told apart.
pub(crate) trait Key {
    /// A value in words; equal for equal values.
    fn part(value: &str) -> Part;
    /// Whether equal words leave the bytes to compare.
    fn is_long(value: &str) -> bool;
}

/// By their bytes.
pub(crate) struct Content;

/// By where they lie: for strings that stay where they are, and as they are, for ever.
pub(crate) struct Address;

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn half_word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, |b| u32::from_le_bytes(b).into())
}

impl Key for Content {
    #[inline]
    fn part(value: &str) -> Part {
        let (bytes, len) = (value.as_bytes(), value.len());
        let (first, last) = match len {
            0 => (0, 0),
            1..=3 => {
                let byte = |at: usize| u64::from(bytes[at]);
                (byte(0) | byte(len / 2) << 8 | byte(len - 1) << 16, 0)
            }
            4..=7 => (half_word(bytes, 0), half_word(bytes, len - 4)),
            8..=SHORT => (word(bytes, 0), word(bytes, len - 8)),
            _ => (fold_all(bytes), word(bytes, len - 8)),
        };
        Part { first, last, len }
    }

    #[inline]
    fn is_long(value: &str) -> bool {
        value.len() > SHORT
    }
}

impl Key for Address {
    #[inline]
    fn part(value: &str) -> Part {
        // No value is this long, so these never equal words of content.
        Part { first: value.as_ptr() as u64, last: 0, len: value.len() | 1 << (usize::BITS - 1) }
    }

    #[inline]
    fn is_long(_: &str) -> bool {
        false
    }
}

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes two words into one: the halves of their product.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// All bytes of a long value.
fn fold_all(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(MULTIPLIER, |hash, chunk| fold(hash ^ word(chunk, 0), MULTIPLIER))
}

#[inline]
fn hash<K: Key>(values: &[&str]) -> u64 {
    values.iter().fold(MULTIPLIER, |hash, value| {
        let part = K::part(value);
        fold(hash ^ part.first, part.last.rotate_left(32) ^ MULTIPLIER ^ part.len as u64)
    })
}

struct Entry<M> {
    hash: u64,
    parts: Box<[Part]>,
    /// The long values, one after the other.
    long: Box<[u8]>,
    handle: M,
    /// The entry made before; for the end.
    next: *const Entry<M>,
}

impl<M> Entry<M> {
    fn new<K: Key>(values: &[&str], handle: M) -> Self {
        let long: Vec<u8> = values.iter().filter(|v| K::is_long(v)).flat_map(|v| v.bytes()).collect();
        let parts = values.iter().map(|value| K::part(value)).collect();
        Self { hash: hash::<K>(values), parts, long: long.into(), handle, next: ptr::null() }
    }

    #[inline]
    fn is_of<K: Key>(&self, hash: u64, values: &[&str]) -> bool {
        if self.hash != hash || self.parts.len() != values.len() {
            return false;
        }
        let mut long = &self.long[..];
        self.parts.iter().zip(values).all(|(part, value)| {
            if *part != K::part(value) {
                return false;
            }
            if !K::is_long(value) {
                return true;
            }
            let Some((own, rest)) = long.split_at_checked(value.len()) else { return false };
            long = rest;
            own == value.as_bytes()
        })
    }
}

/// Handles of one segment's family.
struct Table<M> {
    core: &'static FamilyCore,
    slots: Box<[AtomicPtr<Entry<M>>]>,
    /// The table before; for the end.
    older: *const Table<M>,
}

impl<M> Table<M> {
    fn new(core: &'static FamilyCore, slots: usize) -> Box<Self> {
        let slots = (0..slots).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Box::new(Self { core, slots, older: ptr::null() })
    }

    #[inline]
    fn window(&self, hash: u64) -> impl Iterator<Item = &AtomicPtr<Entry<M>>> {
        let (mask, home) = (self.slots.len() - 1, hash as usize);
        (0..PROBES).map(move |step| &self.slots[home.wrapping_add(step) & mask])
    }

    /// Puts an entry into the first free slot of its window; false when there is none.
    fn put(&self, hash: u64, entry: *mut Entry<M>) -> bool {
        let free = |slot: &AtomicPtr<Entry<M>>| {
            slot.compare_exchange(ptr::null_mut(), entry, Ordering::AcqRel, Ordering::Acquire).is_ok()
        };
        self.window(hash).any(free)
    }
}

/// The handles that a family has handed out, and the segment's family that they belong to.
pub(crate) struct SeriesCache<M> {
    table: AtomicPtr<Table<M>>,
    /// All entries ever made, newest first.
    entries: AtomicPtr<Entry<M>>,
    count: AtomicUsize,
}

impl<M> SeriesCache<M> {
    /// An empty one, of the series of `core`.
    pub(crate) fn new(core: &'static FamilyCore) -> Self {
        let table = AtomicPtr::new(Box::into_raw(Table::new(core, FIRST_SLOTS)));
        Self { table, entries: AtomicPtr::new(ptr::null_mut()), count: AtomicUsize::new(0) }
    }

    #[inline]
    fn table(&self) -> &Table<M> {
        // SAFETY: never null; made by new(), grow() or move_to(), freed with the cache only.
        unsafe { &*self.table.load(Ordering::Acquire) }
    }

    /// The family that the handles belong to.
    pub(crate) fn core(&self) -> &'static FamilyCore {
        self.table().core
    }

    /// The handle of the series with these values, if it is remembered. Writes nothing.
    #[inline]
    pub(crate) fn get<K: Key>(&self, values: &[&str]) -> Option<&M> {
        let hash = hash::<K>(values);
        for slot in self.table().window(hash) {
            // SAFETY: null or an entry, which never changes and is freed with the cache only.
            let entry = unsafe { slot.load(Ordering::Acquire).as_ref() }?;
            if entry.is_of::<K>(hash, values) {
                return Some(&entry.handle);
            }
        }
        None
    }

    /// Remembers a handle of a series of `core`, unless the cache has moved on to another segment.
    pub(crate) fn put<K: Key>(&self, core: &'static FamilyCore, values: &[&str], handle: M) {
        let most = ENTRIES_PER_SERIES * core.max_series as usize;
        let is_full = self.count.load(Ordering::Relaxed) >= most;
        if is_full || !ptr::eq(self.core(), core) || self.get::<K>(values).is_some() {
            return;
        }
        let entry = Box::into_raw(Box::new(Entry::new::<K>(values, handle)));
        self.list(entry);
        // SAFETY: just made, and freed with the cache only.
        let hash = unsafe { &*entry }.hash;
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let mut table = self.table();
        // Two growths suffice but for odd hashes: then the entry stays unfound, which costs time alone.
        for _ in 0..2 {
            if !ptr::eq(table.core, core) {
                return;
            }
            if 2 * count <= table.slots.len() && table.put(hash, entry) {
                return;
            }
            if table.slots.len() > 16 * count.max(FIRST_SLOTS) {
                return;
            }
            table = self.grow(table);
        }
        if ptr::eq(table.core, core) {
            table.put(hash, entry);
        }
    }

    /// Keeps an entry until the end.
    fn list(&self, entry: *mut Entry<M>) {
        let mut head = self.entries.load(Ordering::Relaxed);
        loop {
            // SAFETY: made by the caller and in no table yet, so nobody else sees it.
            unsafe { (*entry).next = head };
            match self.entries.compare_exchange(head, entry, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Replaces `table` by one of twice as many slots, unless another thread was faster.
    fn grow(&self, table: &Table<M>) -> &Table<M> {
        let larger = Table::new(table.core, 2 * table.slots.len());
        for slot in &table.slots {
            let entry = slot.load(Ordering::Acquire);
            // SAFETY: null or an entry, freed with the cache only.
            if let Some(found) = unsafe { entry.as_ref() } {
                larger.put(found.hash, entry);
            }
        }
        self.replace(table, larger)
    }

    /// Forgets all handles: from now on they are those of the family in another segment.
    pub(crate) fn move_to(&self, core: &'static FamilyCore) {
        while !ptr::eq(self.core(), core) {
            self.replace(self.table(), Table::new(core, FIRST_SLOTS));
        }
    }

    fn replace(&self, table: &Table<M>, mut by: Box<Table<M>>) -> &Table<M> {
        by.older = table;
        let (old, new) = (ptr::from_ref(table).cast_mut(), Box::into_raw(by));
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
            table = freed.older.cast_mut();
        }
        let mut entry = self.entries.load(Ordering::Acquire);
        while !entry.is_null() {
            // SAFETY: made by Box::into_raw, listed once, and nobody else has the cache any more.
            let freed = unsafe { Box::from_raw(entry) };
            entry = freed.next.cast_mut();
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
    use crate::{Counter, Opts, Registry};
    use std::collections::HashMap;
    use std::sync::Arc;

    fn cores(count: usize) -> Vec<&'static FamilyCore> {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let registry = Registry::open_at(directory.path().join("s")).unwrap();
        let core = |n| registry.family::<Counter>(&Opts::new(&format!("x{n}_total"), ""), &["a"]).unwrap();
        (0..count).map(|n| core(n).core()).collect()
    }

    #[test]
    fn values_of_every_length_are_told_apart() {
        let core = cores(1)[0];
        let (cache, text) = (SeriesCache::new(core), "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
        let mut expected = HashMap::new();
        for len in 0..50 {
            // Each differs from the one before in one byte at most, at every place.
            for change in 0..=len {
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
        let core = cores(1)[0];
        let cache = SeriesCache::new(core);
        let (here, there): (&'static str, &'static str) = ("abc", String::from("abc").leak());
        cache.put::<Address>(core, &[here], 1);
        assert_eq!((cache.get::<Address>(&[here]), cache.get::<Address>(&[there])), (Some(&1), None));
        assert_eq!(cache.get::<Address>(&[&here[..2]]), None);
        assert_eq!(cache.get::<Content>(&[here]), None);
    }

    #[test]
    fn threads_that_fill_it_at_once_find_what_they_put() {
        let core = cores(1)[0];
        let cache = Arc::new(SeriesCache::new(core));
        let threads: Vec<_> = (0..4_usize)
            .map(|_| {
                let cache = Arc::clone(&cache);
                std::thread::spawn(move || {
                    for n in 0..2000_usize {
                        let value = n.to_string();
                        cache.put::<Content>(core, &[&value], n);
                        assert!(cache.get::<Content>(&[&value]).is_none_or(|found| *found == n));
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let found = (0..2000_usize).filter(|n| cache.get::<Content>(&[&n.to_string()]) == Some(n)).count();
        // A race may leave a few out of the table.
        assert!(found > 1900, "{found}");
        (0..2000_usize).for_each(|n| cache.put::<Content>(core, &[&n.to_string()], n));
        assert!((0..2000_usize).all(|n| cache.get::<Content>(&[&n.to_string()]) == Some(&n)));
    }

    #[test]
    fn another_segment_s_family_starts_empty_and_takes_no_handles_of_the_old_one() {
        let cores = cores(2);
        let cache = SeriesCache::new(cores[0]);
        cache.put::<Content>(cores[0], &["a"], 1);
        cache.move_to(cores[1]);
        assert!(ptr::eq(cache.core(), cores[1]));
        assert_eq!(cache.get::<Content>(&["a"]), None);
        cache.put::<Content>(cores[0], &["a"], 1);
        assert_eq!(cache.get::<Content>(&["a"]), None);
        cache.put::<Content>(cores[1], &["a"], 2);
        assert_eq!(cache.get::<Content>(&["a"]), Some(&2));
    }
}
