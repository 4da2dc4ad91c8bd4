//! What opaque pointers lead to. Nothing of it is ever freed, so that a handle after its close, in whatever
//! thread, is an error and no crash; equal registrations share one object, so that memory doesn't grow with
//! calls.
//!
//! No locks: a forked child must not wait for one that another thread held.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::ffi::{CStr, CString};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use dyn_metrics::Registry;

use crate::described::Described;
use crate::hierarchy::Level;
use crate::metric::{Families, Handle};
use crate::registry::Scope;
use crate::status::{Failure, Result, dynm_status, failure};
use crate::types::dynm_type;

/// A registry: a segment, or a part of one with a prefix and labels. Opened or made by `dynm_open()`,
/// `dynm_root()` and `dynm_registry_child()`.
#[repr(C)]
pub struct dynm_registry {
    tag: u64,
    /// How often it was opened and not yet closed.
    opens: AtomicU32,
    /// What makes two registries the same.
    pub(crate) key: String,
    pub(crate) registry: Registry,
    pub(crate) scope: Scope,
    /// Of a hierarchy, if it is one.
    pub(crate) level: Option<Level>,
    pub(crate) families: List<dynm_family>,
}

/// Series of one name that differ in the values of their labels.
#[repr(C)]
pub struct dynm_family {
    tag: u64,
    /// How often it was opened and not yet closed.
    opens: AtomicU32,
    pub(crate) key: String,
    pub(crate) metric_type: dynm_type,
    pub(crate) families: Families,
    /// What look-ups that fail give to callers that remember metrics; null before the first.
    instead: AtomicPtr<dynm_metric>,
}

/// A series, of any type.
#[repr(C)]
pub struct dynm_metric {
    tag: u64,
    pub(crate) metric_type: dynm_type,
    pub(crate) handle: Handle,
    pub(crate) described: AtomicPtr<Described>,
}

impl dynm_registry {
    pub(crate) fn new(key: String, registry: Registry) -> Self {
        let scope = Scope::new(&registry);
        let (opens, level, families) = (AtomicU32::new(0), None, List::new());
        Self { tag: Self::TAG, opens, key, registry, scope, level, families }
    }

    pub(crate) fn of_level(self, level: Level) -> Self {
        Self { level: Some(level), ..self }
    }
}

impl dynm_family {
    pub(crate) fn new(key: String, metric_type: dynm_type, families: Families) -> Self {
        let instead = AtomicPtr::new(ptr::null_mut());
        Self { tag: Self::TAG, opens: AtomicU32::new(0), key, metric_type, families, instead }
    }

    /// The private metric that stands for all series that can't be had.
    pub(crate) fn instead(&self) -> *const dynm_metric {
        let known = self.instead.load(Ordering::Acquire);
        if !known.is_null() {
            return known;
        }
        let made = dynm_metric::private(self.metric_type, || self.families.private()).cast_mut();
        match self.instead.compare_exchange(known, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => made,
            Err(other) => other,
        }
    }
}

impl dynm_metric {
    /// The object of this handle's series.
    pub(crate) fn of(handle: Handle, metric_type: dynm_type) -> *const Self {
        let Some(word) = handle.attachment() else { return Self::nowhere(handle, metric_type) };
        let known = word.load(Ordering::Acquire);
        if known != 0 {
            return known as *const Self;
        }
        let made = Box::into_raw(Box::new(Self::new(handle, metric_type)));
        match word.compare_exchange(0, made as usize, Ordering::AcqRel, Ordering::Acquire) {
            Err(other) => {
                // SAFETY: made above, and published nowhere.
                drop(unsafe { Box::from_raw(made) });
                other as *const Self
            }
            Ok(_) => made,
        }
    }

    /// The object of all handles of a type, bounds and states whose updates go nowhere: they belong to no series.
    fn nowhere(handle: Handle, metric_type: dynm_type) -> *const Self {
        static NOWHERE: List<dynm_metric> = List::new();
        let same = |known: &Self| known.metric_type == metric_type && known.handle.shape() == handle.shape();
        if let Some(known) = List::search(NOWHERE.0.load(Ordering::Acquire), ptr::null_mut(), same) {
            return known;
        }
        NOWHERE.push(Self::new(handle, metric_type))
    }

    const fn new(handle: Handle, metric_type: dynm_type) -> Self {
        Self { tag: Self::TAG, metric_type, handle, described: AtomicPtr::new(ptr::null_mut()) }
    }

    /// A metric that nobody else sees, from `make`; beyond a limit the one that its type has for all.
    pub(crate) fn private(metric_type: dynm_type, make: impl FnOnce() -> Handle) -> *const Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        // Lists, also so that what looks for leaks finds them.
        static OWN: List<dynm_metric> = List::new();
        static COMMON: List<dynm_metric> = List::new();
        // An info has nothing of its own.
        let is_own = metric_type != dynm_type::DYNM_INFO;
        if is_own && COUNT.fetch_add(1, Ordering::Relaxed) < MOST_PRIVATE {
            return OWN.push(Self::new(make(), metric_type));
        }
        let same = |known: &Self| known.metric_type == metric_type;
        COMMON.find_or_push(same, || Ok(Self::new(make(), metric_type))).map_or(ptr::null(), ptr::from_ref)
    }
}

/// Private metrics with a value of their own; a host that asks again and again after a refusal must not grow.
const MOST_PRIVATE: usize = 4096;

/// Objects whose pointers C has.
pub(crate) trait Tagged: 'static {
    /// The first word of each.
    const TAG: u64;
    const NULL: &'static CStr;
    const WRONG: &'static CStr;
}

impl Tagged for dynm_registry {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_reg");
    const NULL: &'static CStr =
        c"the registry is NULL; take one from dynm_open or dynm_root, and look at its status";
    const WRONG: &'static CStr = c"found no dynm_registry where one is expected";
}

impl Tagged for dynm_family {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_fam");
    const NULL: &'static CStr = c"the family is NULL; look at the status of its registration";
    const WRONG: &'static CStr = c"found no dynm_family where one is expected";
}

impl Tagged for dynm_metric {
    const TAG: u64 = u64::from_le_bytes(*b"dynm_met");
    const NULL: &'static CStr = c"the metric is NULL; look at the status of its registration";
    const WRONG: &'static CStr = c"found no dynm_metric where one is expected";
}

/// What `handle` leads to. Requires: NULL, or a pointer that this library has handed out (of any type).
#[inline]
pub(crate) fn object<T: Tagged>(handle: *const T) -> Result<&'static T> {
    if handle.is_null() {
        return failure(dynm_status::DYNM_NULL, T::NULL);
    }
    // SAFETY: handed out by this library, whose objects are never freed and start with a tag; checked for
    // alignment.
    if !handle.is_aligned() || unsafe { handle.cast::<u64>().read() } != T::TAG {
        return failure(dynm_status::DYNM_WRONG_TYPE, T::WRONG);
    }
    // SAFETY: the tag says that it is one.
    Ok(unsafe { &*handle })
}

/// Objects that are opened and closed.
pub(crate) trait Closes: Tagged {
    fn opens(&self) -> &AtomicU32;
    const CLOSED: &'static CStr;
}

impl Closes for dynm_registry {
    fn opens(&self) -> &AtomicU32 {
        &self.opens
    }
    const CLOSED: &'static CStr = c"the registry was closed; open it again";
}

impl Closes for dynm_family {
    fn opens(&self) -> &AtomicU32 {
        &self.opens
    }
    const CLOSED: &'static CStr = c"the family was closed; register it again, which gives the same";
}

/// What `handle` leads to, unless it was closed.
pub(crate) fn open<T: Closes>(handle: *const T) -> Result<&'static T> {
    let object = object(handle)?;
    if object.opens().load(Ordering::Acquire) == 0 {
        return failure(dynm_status::DYNM_CLOSED, T::CLOSED);
    }
    Ok(object)
}

/// Notes one more opening.
pub(crate) fn opened<T: Closes>(object: &'static T) -> *const T {
    let more = |opens: u32| Some(opens.saturating_add(1));
    let _ = object.opens().fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    object
}

/// Closes `handle` once.
pub(crate) fn close<T: Closes>(handle: *const T) -> Result<()> {
    let less = |opens: u32| opens.checked_sub(1);
    match object(handle)?.opens().fetch_update(Ordering::AcqRel, Ordering::Acquire, less) {
        Ok(_) => Ok(()),
        Err(_) => failure(dynm_status::DYNM_CLOSED, T::CLOSED),
    }
}

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// A list that only grows, without a lock.
pub(crate) struct List<T>(AtomicPtr<Node<T>>);

impl<T: 'static> List<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    fn search(mut from: *mut Node<T>, until: *mut Node<T>, same: impl Fn(&T) -> bool) -> Option<&'static T> {
        while from != until {
            // SAFETY: published nodes are never freed and never change.
            let node: &'static Node<T> = unsafe { from.as_ref() }?;
            if same(&node.value) {
                return Some(&node.value);
            }
            from = node.next;
        }
        None
    }

    /// One more.
    pub(crate) fn push(&self, value: T) -> &'static T {
        let raw = Box::into_raw(Box::new(Node { value, next: ptr::null_mut() }));
        let mut head = self.0.load(Ordering::Acquire);
        loop {
            // SAFETY: made above, and not published yet.
            unsafe { (*raw).next = head };
            match self.0.compare_exchange(head, raw, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: published just now, and never freed.
                Ok(_) => return &unsafe { &*raw }.value,
                Err(now) => head = now,
            }
        }
    }

    /// The value that is the same, or the one that `make` makes; of two threads', one's.
    pub(crate) fn find_or_push(
        &self,
        same: impl Fn(&T) -> bool,
        make: impl FnOnce() -> std::result::Result<T, Failure>,
    ) -> Result<&'static T> {
        let mut head = self.0.load(Ordering::Acquire);
        if let Some(found) = Self::search(head, ptr::null_mut(), &same) {
            return Ok(found);
        }
        let mut node = Box::new(Node { value: make()?, next: head });
        let mut seen = head;
        loop {
            head = self.0.load(Ordering::Acquire);
            if let Some(found) = Self::search(head, seen, &same) {
                return Ok(found);
            }
            (seen, node.next) = (head, head);
            let raw = Box::into_raw(node);
            if self.0.compare_exchange(head, raw, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                // SAFETY: published just now, and never freed.
                return Ok(&unsafe { &*raw }.value);
            }
            // SAFETY: made by Box::into_raw above, and not published.
            node = unsafe { Box::from_raw(raw) };
        }
    }
}

/// A text for C; what comes after a NUL byte in it is left out.
pub(crate) fn c_text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_push_the_same_keep_one() {
        static LIST: List<usize> = List::new();
        fn find(key: usize) -> usize {
            std::ptr::from_ref(LIST.find_or_push(|known| *known == key, || Ok(key)).ok().unwrap()) as usize
        }
        let all = |_: usize| (0..200).map(find).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|at| std::thread::spawn(move || all(at))).collect();
        let found: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(found.iter().all(|other| *other == found[0]));
        assert!(LIST.find_or_push(|known| *known == 7, || failure(dynm_status::DYNM_FULL, c"")).is_ok());
    }
}
