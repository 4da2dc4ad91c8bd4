//! The cache in front of `labels()`: from the text objects that were given to the child they led to.
//!
//! The objects themselves are compared, not what they say: an address instead of a text. The cache keeps them
//! alive, so an address never comes to mean another text. Nothing in it is ever replaced, at most marked as gone, so
//! a look-up takes no lock. What finds no slot is found by what it says.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::collections::HashSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use pyo3::Borrowed;
use pyo3::prelude::*;

/// Most labels whose objects are compared.
pub(crate) const MOST: usize = 4;
/// Slots of a table that an entry may be in.
const PROBES: usize = 4;
/// Slots of the first table; each further one has eight times as many.
const FIRST: usize = 16;
const TABLES: u32 = 4;

/// Addresses of the objects, 0 where there is none, and of the tuple of their names, if they have names: a
/// call's place in a program has one tuple for ever. Last the segment's number.
type Key = [usize; MOST + 2];

/// What was given: objects, and their names.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a, 'py> {
    pub(crate) objects: &'a [Borrowed<'a, 'py, PyAny>],
    pub(crate) names: Option<Borrowed<'a, 'py, PyAny>>,
    /// Number of the segment that new children are in: those in another one are found no more.
    pub(crate) segment: usize,
}

struct Entry {
    key: Key,
    child: Py<PyAny>,
    /// Its series was removed.
    is_gone: AtomicBool,
    _alive: Vec<Py<PyAny>>,
}

struct Table {
    slots: Box<[OnceLock<Entry>]>,
    next: OnceLock<Box<Table>>,
}

/// From text objects to children.
pub(crate) struct Identities(Table);

impl Table {
    fn new(number: u32) -> Self {
        let slots = (0..FIRST << (3 * number)).map(|_| OnceLock::new()).collect();
        Self { slots, next: OnceLock::new() }
    }

    #[inline(always)]
    fn window(&self, hash: usize) -> impl Iterator<Item = &OnceLock<Entry>> {
        (0..PROBES).filter_map(move |step| self.slots.get((hash + step) & (self.slots.len() - 1)))
    }
}

#[inline(always)]
fn hash(key: &Key) -> usize {
    let [a, b, c, d, names, _] = *key;
    let mixed = a ^ b.rotate_left(21) ^ c.rotate_left(42) ^ d.rotate_left(11) ^ names.rotate_left(32);
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

impl Given<'_, '_> {
    /// None of more than [`MOST`] objects.
    #[inline(always)]
    fn key(&self) -> Option<Key> {
        let mut key = Key::default();
        let (addresses, names) = key.split_at_mut(MOST);
        for (address, object) in addresses.get_mut(..self.objects.len())?.iter_mut().zip(self.objects) {
            *address = object.as_ptr().addr();
        }
        if let [names, segment] = names {
            *names = self.names.map_or(0, |names| names.as_ptr().addr());
            *segment = self.segment;
        }
        Some(key)
    }
}

impl Identities {
    pub(crate) fn new() -> Self {
        Self(Table::new(0))
    }

    /// The child that these objects led to before.
    #[inline(always)]
    pub(crate) fn get(&self, given: Given<'_, '_>) -> Option<&Py<PyAny>> {
        let key = given.key()?;
        let hash = hash(&key);
        let mut table = &self.0;
        loop {
            for slot in table.window(hash) {
                let entry = slot.get()?;
                if entry.key == key && !entry.is_gone.load(Ordering::Relaxed) {
                    return Some(&entry.child);
                }
            }
            table = table.next.get()?;
        }
    }

    /// Finds these children no more. Their entries stay, and so do the objects that they keep alive.
    pub(crate) fn forget<'c>(&self, children: impl IntoIterator<Item = &'c Py<PyAny>>) {
        let gone: HashSet<usize> = children.into_iter().map(|child| child.as_ptr().addr()).collect();
        fence(Ordering::SeqCst);
        let mut next = Some(&self.0);
        while let Some(table) = next {
            let entries = table.slots.iter().filter_map(OnceLock::get);
            let of_gone = entries.filter(|entry| gone.contains(&entry.child.as_ptr().addr()));
            of_gone.for_each(|entry| entry.is_gone.store(true, Ordering::Relaxed));
            next = table.next.get().map(|table| &**table);
        }
    }

    /// Remembers that these objects lead to `child`, if there is room.
    pub(crate) fn put(&self, given: Given<'_, '_>, child: Py<PyAny>) {
        let Some(key) = given.key() else { return };
        let hash = hash(&key);
        let keep = |object: &Borrowed<'_, '_, PyAny>| (**object).clone().unbind();
        let alive = given.objects.iter().chain(&given.names).map(keep).collect();
        let mut entry = Entry { key, child, is_gone: AtomicBool::new(false), _alive: alive };
        let mut table = &self.0;
        for number in 1..=TABLES {
            for slot in table.window(hash) {
                match slot.set(entry) {
                    Ok(()) => return,
                    Err(back) => entry = back,
                }
            }
            if number < TABLES {
                table = table.next.get_or_init(|| Box::new(Table::new(number)));
            }
        }
    }
}
