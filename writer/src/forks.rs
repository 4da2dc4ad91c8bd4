//! What a forked child may have of a claim in progress: the descriptor that carries the lock of a slot, and the page
//! that keeps the lock.
//!
//! A fork copies descriptors first, then mappings, and memory last. A child that got the descriptor or the page
//! would keep the slot held when its parent is dead, and whoever reads takes the parent for alive. So a claim
//! tells in words of ordinary memory what it has open, and the child's fork handler closes that.
//!
//! `loom-tests/tests/forks.rs` drives this file with loom's atomics.

use crate::local::{AtomicU64, Ordering, fence};

/// Forks of this process.
#[derive(Debug)]
pub(crate) struct Forks {
    pub(crate) begun: AtomicU64,
    /// In the parent.
    pub(crate) ended: AtomicU64,
}

/// How many forks had begun at a moment when none was under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet(u64);

impl Forks {
    /// Before a fork.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst); // pairs with: have_gone_on()
    }

    /// After a fork, in the parent; also when it failed.
    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }

    /// In the child: the fork that made it was the last one.
    pub(crate) fn forget(&self) {
        self.ended.store(self.begun.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// A moment without forks, if this is one.
    pub(crate) fn none_under_way(&self) -> Option<Quiet> {
        let ended = self.ended.load(Ordering::SeqCst);
        let begun = self.begun.load(Ordering::SeqCst);
        (ended >= begun).then_some(Quiet(begun))
    }

    /// Whether a fork has begun since then. If not, the memory of every later child shows what this thread has stored
    /// before it asked.
    pub(crate) fn have_gone_on(&self, since: Quiet) -> bool {
        fence(Ordering::SeqCst); // our stores before, the fork's count after it: one side sees the other's
        self.begun.load(Ordering::SeqCst) != since.0
    }
}

const OPEN: u64 = 1 << 32;
const CLOSED: u64 = 1 << 33;
/// From here on a number that every claim raises: lest a word be taken for the equal one of an earlier claim.
const CLAIM: u64 = 1 << 34;

/// What the claim in progress has open. Children get a copy.
#[derive(Debug)]
pub(crate) struct Open {
    /// The descriptor (32 bits), whether it is open, whether it was closed, and the number of the claim.
    pub(crate) descriptor: AtomicU64,
    /// Address of the page that may be mapped and is not yet kept from children; 0 none.
    pub(crate) page: AtomicU64,
}

impl Open {
    /// Opens a description that no child shares, has `work` lock bytes with it, and closes it. None, and nothing was
    /// locked, when a fork was under way and its child may have the descriptor.
    ///
    /// Asked before `work`: a child may outlive a parent that is killed in there. Of a fork that begins
    /// later, the child finds the descriptor told of here and closes it.
    ///
    /// # Errors
    /// Those of `open`.
    pub(crate) fn hold<D, R, E>(
        &self,
        forks: &Forks,
        open: impl FnOnce() -> Result<D, E>,
        number: impl FnOnce(&D) -> u32,
        work: impl FnOnce(&D) -> R,
    ) -> Option<Result<R, E>> {
        let quiet = forks.none_under_way()?;
        let descriptor = match open() {
            Ok(descriptor) => descriptor,
            Err(error) => return Some(Err(error)),
        };
        let number = u64::from(number(&descriptor));
        let claim = (self.descriptor.load(Ordering::Relaxed) & !(CLAIM - 1)).wrapping_add(CLAIM);
        // Swapped, not stored: forget_closed() of another thread may be about to change an earlier claim's word.
        self.descriptor.swap(claim | OPEN | number, Ordering::SeqCst);
        let done = if forks.have_gone_on(quiet) { None } else { Some(work(&descriptor)) };
        drop(descriptor);
        // A fork that is under way may have copied the descriptor open, and has yet to copy the word that says so:
        // the word goes on saying which one it was, until no fork is under way.
        self.descriptor.swap(claim | CLOSED | number, Ordering::SeqCst);
        self.forget_closed(forks);
        done.map(Ok)
    }

    /// Maps a page of the description and keeps it from children: at an address that was reserved before, so that a
    /// child which gets the page finds its address here.
    ///
    /// # Errors
    /// Those of `reserve` and of `map`.
    pub(crate) fn keep_page<E>(
        &self,
        reserve: impl FnOnce() -> Result<usize, E>,
        map: impl FnOnce(usize) -> Result<(), E>,
    ) -> Result<usize, E> {
        let page = reserve()?;
        self.page.store(page as u64, Ordering::SeqCst);
        let mapped = map(page);
        self.page.store(0, Ordering::Release);
        mapped.map(|()| page)
    }

    /// Forgets a closed descriptor, unless a fork is under way: then whoever forks does it afterwards.
    pub(crate) fn forget_closed(&self, forks: &Forks) {
        // The end of a fork or of a claim before, a look at both after it: the later one of them sees the other.
        fence(Ordering::SeqCst);
        let word = self.descriptor.load(Ordering::SeqCst);
        if word & CLOSED != 0 && forks.none_under_way().is_some() {
            let none = word & !(CLAIM - 1);
            let _ = self.descriptor.compare_exchange(word, none, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    /// In a child: gives up what a claim in the parent had open at the fork, or shortly before.
    pub(crate) fn give_up(&self, close: impl FnOnce(u32), unmap: impl FnOnce(usize)) {
        let word = self.descriptor.load(Ordering::Acquire);
        self.descriptor.store(word & !(CLAIM - 1), Ordering::Release);
        if word & (OPEN | CLOSED) != 0 {
            close(word as u32);
        }
        let page = self.page.load(Ordering::Acquire);
        self.page.store(0, Ordering::Release);
        if page != 0 {
            unmap(page as usize);
        }
    }
}
