//! A map that only grows, and a value that is made once, without locks: what registration remembers in this
//! process.
//!
//! No lock means that a forked child never waits for one that another thread held.
#![allow(unsafe_code, reason = "hands out references to nodes that are never freed")]

use crate::local::{AtomicPtr, Ordering};
use std::ptr;

/// Bytes of a segment that one leaf covers, and those that share an entry of it: structures lie 64 apart.
const LEAF_BITS: u32 = 16;
const ENTRY_BITS: u32 = 6;
/// Bytes of a segment that one branch covers.
const BRANCH_BITS: u32 = 28;
/// Bytes of a segment that the tree covers at most.
const MOST_BITS: u32 = 40;

type Leaf<T> = [AtomicPtr<Node<T>>; 1 << (LEAF_BITS - ENTRY_BITS)];
type Branch<T> = [AtomicPtr<Leaf<T>>; 1 << (BRANCH_BITS - LEAF_BITS)];

struct Node<T: 'static> {
    key: u64,
    value: T,
    next: *const Node<T>,
}

/// Values by the offset of a structure; entries are never removed and live as long as the process.
///
/// A tree of fixed depth: a look-up costs a few loads, however many entries there are. Offsets that no sound
/// segment has (beyond its limit, or closer together than 64) are kept in a list.
pub(crate) struct OnceMap<T: 'static> {
    branches: Box<[AtomicPtr<Branch<T>>]>,
    /// What has no place in the tree, newest first.
    odd: AtomicPtr<Node<T>>,
}

impl<T: Sync> OnceMap<T> {
    /// A map of the structures of a segment of at most `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Self {
        let branches = max_bytes.clamp(1, 1 << MOST_BITS).div_ceil(1 << BRANCH_BITS);
        let branches = (0..branches).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Self { branches, odd: AtomicPtr::new(ptr::null_mut()) }
    }

    /// The value for `key`, if there is one.
    pub(crate) fn get(&self, key: u64) -> Option<&'static T> {
        let node = self.branches.get((key >> BRANCH_BITS) as usize).map(|branch| {
            let leaf = &leaked(branch)?[index(key, LEAF_BITS, BRANCH_BITS)];
            leaked(&leaked(leaf)?[index(key, ENTRY_BITS, LEAF_BITS)])
        });
        match node {
            Some(node) if node.is_none_or(|node| node.key == key) => Some(&node?.value),
            _ => Self::search(self.odd.load(Ordering::Acquire), ptr::null(), key),
        }
    }

    /// The value for `key`, made by `make` unless there is one; what two threads make at once, one keeps.
    pub(crate) fn get_or_try<E>(
        &self,
        key: u64,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&'static T, E> {
        if let Some(found) = self.get(key) {
            return Ok(found);
        }
        let node = Box::new(Node { key, value: make()?, next: ptr::null() });
        let Some(branch) = self.branches.get((key >> BRANCH_BITS) as usize) else {
            return Ok(self.keep_odd(node));
        };
        let leaf = &table(branch)[index(key, LEAF_BITS, BRANCH_BITS)];
        match keep_or_return(&table(leaf)[index(key, ENTRY_BITS, LEAF_BITS)], node) {
            (kept, Some(odd)) if kept.key != key => Ok(self.keep_odd(odd)),
            (kept, _) => Ok(&kept.value),
        }
    }

    fn keep_odd(&self, mut node: Box<Node<T>>) -> &'static T {
        let (mut head, mut seen): (_, *const Node<T>) = (self.odd.load(Ordering::Acquire), ptr::null());
        loop {
            if let Some(found) = Self::search(head, seen, node.key) {
                return found;
            }
            node.next = head;
            let raw = Box::into_raw(node);
            match self.odd.compare_exchange(head, raw, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: published nodes are never freed.
                Ok(_) => return &unsafe { &*raw }.value,
                Err(now) => {
                    // SAFETY: `raw` came from Box::into_raw just above and was not published.
                    node = unsafe { Box::from_raw(raw) };
                    seen = head;
                    head = now;
                }
            }
        }
    }

    /// Shows every value that was there before the call.
    pub(crate) fn for_each(&self, visit: impl Fn(&'static T)) {
        let leaves = self.branches.iter().filter_map(leaked).flatten().filter_map(leaked);
        leaves.flatten().filter_map(leaked).for_each(|node| visit(&node.value));
        let mut next: *const Node<T> = self.odd.load(Ordering::Acquire);
        // SAFETY: null or a published node, which is never freed and never changes.
        while let Some(node) = unsafe { next.as_ref() } {
            let node: &'static Node<T> = node;
            visit(&node.value);
            next = node.next;
        }
    }

    /// Searches the list from `from` up to `until`, which was searched before.
    fn search(mut from: *const Node<T>, until: *const Node<T>, key: u64) -> Option<&'static T> {
        while !from.is_null() && from != until {
            // SAFETY: published nodes are never freed and never change.
            let node: &'static Node<T> = unsafe { &*from };
            if node.key == key {
                return Some(&node.value);
            }
            from = node.next;
        }
        None
    }
}

/// The part of `key` between two bits, as an index.
const fn index(key: u64, from: u32, to: u32) -> usize {
    (key >> from) as usize & ((1 << (to - from)) - 1)
}

/// What an entry leads to.
fn leaked<T>(entry: &AtomicPtr<T>) -> Option<&'static T> {
    // SAFETY: null or leaked by keep(), and never freed.
    unsafe { entry.load(Ordering::Acquire).as_ref() }
}

/// What an entry leads to: `made`, unless there is something.
fn keep<T>(entry: &AtomicPtr<T>, made: Box<T>) -> &'static T {
    keep_or_return(entry, made).0
}

/// As [`keep`], with what was not kept.
fn keep_or_return<T>(entry: &AtomicPtr<T>, made: Box<T>) -> (&'static T, Option<Box<T>>) {
    let raw = Box::into_raw(made);
    match entry.compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: published now, and never freed.
        Ok(_) => (unsafe { &*raw }, None),
        Err(first) => {
            // SAFETY: `raw` came from Box::into_raw just above and was not published.
            let returned = unsafe { Box::from_raw(raw) };
            // SAFETY: not null, so published by another thread, and never freed.
            (unsafe { &*first }, Some(returned))
        }
    }
}

/// The table that an entry leads to, made if there is none.
fn table<T, const N: usize>(entry: &AtomicPtr<[AtomicPtr<T>; N]>) -> &'static [AtomicPtr<T>; N] {
    leaked(entry).unwrap_or_else(|| {
        // SAFETY: a null pointer is all zeros, and so is an array of them.
        let made = unsafe { Box::new_zeroed().assume_init() };
        keep(entry, made)
    })
}

/// A value that is made when it is first asked for, and lives as long as the process.
pub(crate) struct OnceValue<T: 'static>(AtomicPtr<T>);

impl<T: Sync> OnceValue<T> {
    /// Not made yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    /// The value, made by `make` unless there is one; what two threads make at once, one keeps. None when
    /// `make` gives none.
    pub(crate) fn get_or(&self, make: impl FnOnce() -> Option<T>) -> Option<&'static T> {
        if let Some(value) = leaked(&self.0) {
            return Some(value);
        }
        let value = make()?;
        Some(keep(&self.0, Box::new(value)))
    }
}

// SAFETY: nodes are reachable from several threads as shared references only, and never freed or changed.
unsafe impl<T: Sync + Send> Sync for OnceMap<T> {}
// SAFETY: as above; the map owns nothing that belongs to a thread.
unsafe impl<T: Sync + Send> Send for OnceMap<T> {}

impl<T> std::fmt::Debug for OnceMap<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnceMap").field("branches", &self.branches.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_gets_the_same_value_for_a_key() {
        // Some in the tree, some too close to another, some beyond it.
        let map: &'static OnceMap<usize> = Box::leak(Box::new(OnceMap::new(1)));
        let keys: u64 = if cfg!(miri) { 12 } else { 500 };
        let offset = move |key: u64| (key % (keys / 2) + 1) * 32 + ((key / (keys / 2)) << 30);
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn(move || {
                    (0..keys)
                        .map(|key| {
                            let made = map.get_or_try(offset(key), || Ok::<_, ()>(thread)).unwrap();
                            assert!(ptr::eq(map.get(offset(key)).unwrap(), made));
                            ptr::from_ref(made) as usize
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut seen: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        seen.dedup();
        assert_eq!(seen.len(), 1);
        let visited = std::cell::Cell::new(0);
        map.for_each(|_| visited.set(visited.get() + 1));
        assert_eq!(visited.get(), keys);
    }

    #[test]
    fn a_value_is_made_once() {
        static VALUE: OnceValue<usize> = OnceValue::new();
        assert_eq!(VALUE.get_or(|| None), None);
        let threads: Vec<_> =
            (0..4).map(|n| std::thread::spawn(move || *VALUE.get_or(|| Some(n)).unwrap())).collect();
        let mut seen: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        seen.dedup();
        assert_eq!(seen.len(), 1);
    }

    #[test]
    fn a_failed_make_leaves_nothing() {
        let map = OnceMap::<u8>::new(1 << 20);
        for key in [64, 1 << 50] {
            assert_eq!(map.get_or_try(key, || Err("no")), Err("no"));
            assert_eq!(map.get(key), None);
            assert_eq!(map.get_or_try(key, || Ok::<_, ()>(7)), Ok(&7));
        }
    }
}
