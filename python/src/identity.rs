//! The cache in front of `labels()`: from the objects that were given to the child they led to.
//!
//! The objects themselves are compared, not what they say: two addresses instead of two texts. The cache
//! keeps them alive, so an address never comes to mean another text. Nothing is ever replaced, so a look-up
//! takes no lock: a slot that was written once stays. What finds no slot is found by its text.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::sync::OnceLock;

use pyo3::prelude::*;

/// Most labels whose objects are compared.
pub(crate) const MOST: usize = 4;
/// Slots that an entry may be in, in each table.
const PROBES: usize = 4;
/// Slots of the first table; each further one has eight times as many.
const FIRST: usize = 16;
const TABLES: u32 = 4;

/// The arguments of a call: absent ones are `None`.
pub(crate) type Given<'a, 'py> = [Option<Borrowed<'a, 'py, PyAny>>; MOST];

struct Entry {
    addresses: [usize; MOST],
    _alive: [Option<Py<PyAny>>; MOST],
    child: Py<PyAny>,
}

#[derive(Default)]
struct Table {
    slots: Box<[OnceLock<Entry>]>,
    next: OnceLock<Box<Table>>,
}

/// From label objects to children.
pub(crate) struct Identities(Table);

impl Table {
    fn new(number: u32) -> Self {
        let slots = (0..FIRST << (3 * number)).map(|_| OnceLock::new()).collect();
        Self { slots, next: OnceLock::new() }
    }

    #[inline(always)]
    fn window(&self, hash: usize) -> impl Iterator<Item = &OnceLock<Entry>> {
        (0..PROBES).map(move |step| &self.slots[(hash + step) & (self.slots.len() - 1)])
    }
}

#[inline(always)]
fn addresses(given: &Given<'_, '_>) -> [usize; MOST] {
    given.map(|object| object.map_or(0, |object| object.as_ptr().addr()))
}

/// Objects lie at multiples of 16.
#[inline(always)]
fn hash(addresses: &[usize; MOST]) -> usize {
    let [a, b, c, d] = *addresses;
    let mixed = a ^ b.rotate_left(21) ^ c.rotate_left(42) ^ d.rotate_left(11);
    mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

impl Identities {
    pub(crate) fn new() -> Self {
        Self(Table::new(0))
    }

    /// The child that these objects led to before.
    #[inline(always)]
    pub(crate) fn get(&self, given: &Given<'_, '_>) -> Option<&Py<PyAny>> {
        let addresses = addresses(given);
        let hash = hash(&addresses);
        let mut table = &self.0;
        loop {
            for slot in table.window(hash) {
                let entry = slot.get()?;
                if entry.addresses == addresses {
                    return Some(&entry.child);
                }
            }
            table = table.next.get()?;
        }
    }

    /// Remembers that these objects lead to `child`, if there is room.
    pub(crate) fn put(&self, given: &Given<'_, '_>, child: &Bound<'_, PyAny>) {
        let addresses = addresses(given);
        let hash = hash(&addresses);
        let alive = given.map(|object| object.map(|object| object.to_owned().unbind()));
        let mut entry = Entry { addresses, _alive: alive, child: child.clone().unbind() };
        let mut table = &self.0;
        for number in 1..=TABLES {
            for slot in table.window(hash) {
                match slot.set(entry) {
                    Ok(()) => return,
                    Err(back) => entry = back,
                }
            }
            if number == TABLES {
                return;
            }
            table = table.next.get_or_init(|| Box::new(Table::new(number)));
        }
    }
}
