//! A map that only grows, and a value that is made once, without locks: what registration remembers in this
//! process.
//!
//! No lock means that a forked child never waits for one that another thread held.
#![allow(unsafe_code, reason = "hands out references to nodes that are never freed")]

use crate::local::{AtomicPtr, Ordering};
use std::ptr;

struct Node<T: 'static> {
    key: u64,
    value: T,
    next: *const Node<T>,
}

/// Values by number; entries are never removed and live as long as the process.
pub(crate) struct OnceMap<T: 'static> {
    buckets: Box<[AtomicPtr<Node<T>>]>,
}

impl<T: Sync> OnceMap<T> {
    /// A map with a fixed number of chains, a power of two.
    pub(crate) fn new(buckets: usize) -> Self {
        Self { buckets: (0..buckets).map(|_| AtomicPtr::new(ptr::null_mut())).collect() }
    }

    /// The value for `key`, if there is one.
    pub(crate) fn get(&self, key: u64) -> Option<&'static T> {
        Self::search(self.bucket(key).load(Ordering::Acquire), ptr::null(), key)
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
        let bucket = self.bucket(key);
        let mut node = Box::new(Node { key, value: make()?, next: ptr::null() });
        let (mut head, mut seen): (_, *const Node<T>) = (bucket.load(Ordering::Acquire), ptr::null());
        loop {
            if let Some(found) = Self::search(head, seen, key) {
                return Ok(found);
            }
            node.next = head;
            let raw = Box::into_raw(node);
            match bucket.compare_exchange(head, raw, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: published nodes are never freed.
                Ok(_) => return Ok(&unsafe { &*raw }.value),
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
        for bucket in &self.buckets {
            let mut next: *const Node<T> = bucket.load(Ordering::Acquire);
            // SAFETY: null or a published node, which is never freed and never changes.
            while let Some(node) = unsafe { next.as_ref() } {
                let node: &'static Node<T> = node;
                visit(&node.value);
                next = node.next;
            }
        }
    }

    fn bucket(&self, key: u64) -> &AtomicPtr<Node<T>> {
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        &self.buckets[mixed as usize & (self.buckets.len() - 1)]
    }

    /// Searches a chain from `from` up to `until`, which was searched before.
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
        let made = self.0.load(Ordering::Acquire);
        // SAFETY: null or leaked below, and never freed.
        if let Some(value) = unsafe { made.as_ref() } {
            return Some(value);
        }
        let raw = Box::into_raw(Box::new(make()?));
        let first = match self.0.compare_exchange(ptr::null_mut(), raw, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => raw,
            Err(first) => {
                // SAFETY: `raw` came from Box::into_raw just above and was not published.
                drop(unsafe { Box::from_raw(raw) });
                first
            }
        };
        // SAFETY: published and never freed.
        Some(unsafe { &*first })
    }
}

// SAFETY: nodes are reachable from several threads as shared references only, and never freed or changed.
unsafe impl<T: Sync + Send> Sync for OnceMap<T> {}
// SAFETY: as above; the map owns nothing that belongs to a thread.
unsafe impl<T: Sync + Send> Send for OnceMap<T> {}

impl<T> std::fmt::Debug for OnceMap<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnceMap").field("buckets", &self.buckets.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_gets_the_same_value_for_a_key() {
        let map: &'static OnceMap<usize> = Box::leak(Box::new(OnceMap::new(4)));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                std::thread::spawn(move || {
                    (0..500_u64)
                        .map(|key| {
                            ptr::from_ref(map.get_or_try(key, || Ok::<_, ()>(thread)).unwrap()) as usize
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
        assert_eq!(visited.get(), 500);
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
        let map = OnceMap::<u8>::new(2);
        assert_eq!(map.get_or_try(1, || Err("no")), Err("no"));
        assert_eq!(map.get(1), None);
        assert_eq!(map.get_or_try(1, || Ok::<_, ()>(7)), Ok(&7));
    }
}
