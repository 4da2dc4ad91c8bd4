//! A process forks while one of its threads claims a slot: no child keeps a lock of its parent's, wherever the
//! parent dies.
//!
//! Drives `writer/src/forks.rs` itself. The kernel is modelled: a fork copies the descriptors, then, under the lock of
//! the memory map, mappings and memory; locks belong to a description and live as long as a
//! descriptor or a mapping of any process refers to it.
#![cfg(loom)]

mod local {
    pub(crate) use dyn_metrics_layout::sync::{AtomicU64, Ordering, fence};
}

#[path = "../../writer/src/forks.rs"]
mod forks;

use dyn_metrics_layout::sync::system_call;
use dyn_metrics_loom_tests::{Executions, Victim, explore_bounded, explore_vanishing};
use forks::{Forks, Open, Quiet};
use local::{AtomicU64, Ordering};
use loom::sync::Arc;
use loom::thread;
use std::sync::Mutex;

/// The lowest free descriptor, whenever one is opened, and the address of whatever is mapped.
const NUMBER: u32 = 5;
const ADDRESS: usize = 0x7000;

/// What the kernel knows of descriptions; its own locks make this one order for all.
#[derive(Debug, Default)]
struct Descriptions {
    opened: u64,
    /// Those that hold a lock.
    locked: Vec<u64>,
    /// Those that children refer to, after their fork handlers.
    inherited: Vec<u64>,
}

/// A mapping of a description.
#[derive(Clone, Copy, Debug)]
struct Page {
    description: u64,
    is_inherited: bool,
}

struct Process {
    forks: Forks,
    open: Open,
    /// The description behind the descriptor; 0 none.
    descriptor: AtomicU64,
    /// What is mapped, behind the lock of the memory map.
    mapped: loom::sync::Mutex<Option<Page>>,
    kernel: Mutex<Descriptions>,
    steps: Steps,
}

#[derive(Clone, Copy)]
struct Steps {
    /// Claims once; whether that succeeded, none when forks were in the way.
    claim: fn(&Process) -> Option<bool>,
    forget: fn(&Open, &Forks),
    /// Whether to look at the word in the end; twins leave that out to show what a child keeps.
    is_tidy: bool,
}

const PRODUCTION: Steps = Steps { claim, forget: Open::forget_closed, is_tidy: true };

/// An open descriptor: closed when it is dropped, unless by the death of the process.
struct Descriptor<'p> {
    process: &'p Process,
    description: u64,
}

impl Drop for Descriptor<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = self.process.descriptor.compare_exchange(
                self.description,
                0,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
    }
}

impl Process {
    fn new(steps: Steps) -> Self {
        let word = || AtomicU64::new(0);
        Self {
            forks: Forks { begun: word(), ended: word() },
            open: Open { descriptor: word(), page: word() },
            descriptor: word(),
            mapped: loom::sync::Mutex::new(None),
            kernel: Mutex::default(),
            steps,
        }
    }

    fn kernel<R>(&self, work: impl FnOnce(&mut Descriptions) -> R) -> R {
        work(&mut self.kernel.lock().expect("the kernel doesn't panic"))
    }

    fn reopen(&self) -> Result<Descriptor<'_>, ()> {
        let description = self.kernel(|kernel| {
            kernel.opened += 1;
            kernel.opened
        });
        let free = self.descriptor.compare_exchange(0, description, Ordering::AcqRel, Ordering::Acquire);
        assert_eq!(free, Ok(0), "one claim at a time");
        Ok(Descriptor { process: self, description })
    }

    fn lock(&self, description: u64) {
        system_call();
        self.kernel(|kernel| kernel.locked.push(description));
    }

    fn map(&self, page: Page) {
        system_call();
        *self.mapped.lock().unwrap() = Some(page);
    }

    /// Forks; the child runs its handler.
    fn fork(&self) {
        self.forks.begin();
        // Read-modify-writes stand for the lock of the table.
        let descriptor = self.descriptor.fetch_add(0, Ordering::AcqRel);
        let mapped = self.mapped.lock().unwrap();
        let page = mapped.filter(|page| page.is_inherited);
        let copy = |word: &AtomicU64| AtomicU64::new(word.load(Ordering::Relaxed));
        let forks = Forks { begun: copy(&self.forks.begun), ended: copy(&self.forks.ended) };
        let open = Open { descriptor: copy(&self.open.descriptor), page: copy(&self.open.page) };
        drop(mapped);
        forks.forget();
        assert!(forks.none_under_way().is_some(), "the child waits for forks of its parent");
        let (mut closed, mut unmapped) = (false, false);
        open.give_up(|number| closed = number == NUMBER, |address| unmapped = address == ADDRESS);
        let page = page.map(|page| page.description).filter(|_| !unmapped);
        let descriptor = Some(descriptor).filter(|descriptor| *descriptor != 0 && !closed);
        self.kernel(|kernel| kernel.inherited.extend(page.into_iter().chain(descriptor)));
        self.end_fork();
    }

    fn end_fork(&self) {
        self.forks.end();
        (self.steps.forget)(&self.open, &self.forks);
    }
}

/// As `Segment::claim_slot` does: serialises claims, locks a slot, keeps a page, writes the record.
fn claim(process: &Process) -> Option<bool> {
    let work = |descriptor: &Descriptor<'_>| lock_and_keep(process, descriptor);
    process.open.hold(&process.forks, || process.reopen(), |_| NUMBER, work).map(|done| done == Ok(()))
}

fn lock_and_keep(process: &Process, descriptor: &Descriptor<'_>) {
    let description = descriptor.description;
    process.lock(description);
    let kept = process.open.keep_page::<()>(
        || Ok(ADDRESS),
        |_| {
            process.map(Page { description, is_inherited: true });
            process.map(Page { description, is_inherited: false });
            Ok(())
        },
    );
    assert_eq!(kept, Ok(ADDRESS));
}

/// How many descriptions children refer to; none of them holds a lock.
fn inherited(process: &Process) -> usize {
    process.kernel(|kernel| {
        let keeps = kernel.inherited.iter().any(|description| kernel.locked.contains(description));
        assert!(!keeps, "a child keeps its parent's lock: {kernel:?}");
        kernel.inherited.len()
    })
}

fn assert_forgotten(process: &Process) {
    let word = process.open.descriptor.load(Ordering::Relaxed);
    assert_eq!(word >> 32 & 3, 0, "a closed descriptor isn't forgotten");
}

/// A thread claims, and may vanish with its process; two others fork.
fn claim_and_two_forks(steps: Steps, victim: &Victim, outcomes: &Executions<(bool, usize)>) {
    let process = Arc::new(Process::new(steps));
    let forkers = [0; 2].map(|_| Arc::clone(&process)).map(|forker| thread::spawn(move || forker.fork()));
    let claimed = victim.run(|| (process.steps.claim)(&process) == Some(true));
    forkers.into_iter().for_each(|forker| forker.join().unwrap());
    outcomes.note((claimed == Some(true), inherited(&process)));
    if claimed.is_some() && steps.is_tidy {
        assert_forgotten(&process);
    }
}

fn alive(steps: Steps) {
    explore_bounded(2, move |outcomes| claim_and_two_forks(steps, &Victim::immortal(), outcomes));
}

fn dying(steps: Steps) -> Vec<Vec<(bool, usize)>> {
    explore_vanishing(|_| Some(2), move |victim, outcomes| claim_and_two_forks(steps, victim, outcomes))
}

/// A claim was given up for a fork, which ends while the next claim succeeds and another fork begins.
fn second_claim_and_two_forks(steps: Steps) -> Vec<(bool, usize)> {
    explore_bounded(3, move |outcomes| {
        let process = Arc::new(Process::new(steps));
        let reopen_late = || {
            let descriptor = process.reopen();
            process.forks.begin();
            descriptor
        };
        let first = process.open.hold(&process.forks, reopen_late, |_| NUMBER, |_| panic!("a fork goes on"));
        assert_eq!(first, None);
        let (claimer, forker) = (Arc::clone(&process), Arc::clone(&process));
        let claimer = thread::spawn(move || (claimer.steps.claim)(&claimer) == Some(true));
        let forker = thread::spawn(move || forker.fork());
        process.end_fork();
        let claimed = claimer.join().unwrap();
        forker.join().unwrap();
        outcomes.note((claimed, inherited(&process)));
        if steps.is_tidy {
            assert_forgotten(&process);
        }
    })
}

#[test]
fn no_child_keeps_a_lock_of_its_parent() {
    let explored = dying(PRODUCTION);
    assert_eq!(explored.len() - 1, 10, "as many writes as a claim makes");
    let every = [(false, 0), (false, 1), (false, 2), (true, 0)];
    assert_eq!(explored[10], every, "forks in the way or not");
}

#[test]
fn a_claim_that_was_given_up_hides_no_later_one_from_a_fork() {
    let outcomes = second_claim_and_two_forks(PRODUCTION);
    assert!(outcomes.contains(&(true, 0)) && outcomes.contains(&(false, 0)), "{outcomes:?}");
}

/// As production once did: forgets whatever closed descriptor has the same number.
fn forgetting_any(open: &Open, forks: &Forks) {
    let of = |word: u64| word & ((1 << 34) - 1);
    let word = open.descriptor.load(Ordering::SeqCst);
    if word >> 33 & 1 != 0 && forks.none_under_way().is_some() {
        let now = open.descriptor.load(Ordering::SeqCst);
        if of(now) == of(word) {
            let _ = open.descriptor.compare_exchange(now, now - of(now), Ordering::SeqCst, Ordering::SeqCst);
        }
    }
}

#[test]
#[should_panic(expected = "a child keeps its parent's lock")]
fn twin_forgetting_the_descriptor_of_a_later_claim_leaves_it_to_a_child() {
    second_claim_and_two_forks(Steps { forget: forgetting_any, is_tidy: false, ..PRODUCTION });
}

const OPEN: u64 = 1 << 32 | NUMBER as u64;
const CLOSED: u64 = 1 << 33 | NUMBER as u64;

/// Claims with these steps in the place of `Open::hold`: whether to lock, and what to say when it is closed.
fn holding(process: &Process, ask: fn(&Process, Quiet) -> bool, closed: u64) -> Option<bool> {
    let quiet = process.forks.none_under_way()?;
    let descriptor = process.reopen().ok()?;
    process.open.descriptor.swap(OPEN, Ordering::SeqCst);
    let done = ask(process, quiet).then(|| lock_and_keep(process, &descriptor));
    drop(descriptor);
    process.open.descriptor.swap(closed, Ordering::SeqCst);
    process.open.forget_closed(&process.forks);
    done.map(|()| true)
}

#[test]
#[should_panic(expected = "a child keeps its parent's lock")]
fn twin_locking_without_a_look_at_forks_leaves_the_lock_to_a_child() {
    let claim = |process: &Process| holding(process, |_, _| true, CLOSED);
    alive(Steps { claim, is_tidy: false, ..PRODUCTION });
}

#[test]
#[should_panic(expected = "a child keeps its parent's lock")]
fn twin_forgetting_at_once_leaves_the_descriptor_to_a_fork_under_way() {
    let claim = |process: &Process| holding(process, |process, quiet| !process.forks.have_gone_on(quiet), 0);
    alive(Steps { claim, is_tidy: false, ..PRODUCTION });
}

/// As production once did: locks, then asks, and gives the lock back when a fork has begun meanwhile.
fn asking_late(process: &Process) -> Option<bool> {
    let quiet = process.forks.none_under_way()?;
    let descriptor = process.reopen().ok()?;
    process.open.descriptor.swap(OPEN, Ordering::SeqCst);
    lock_and_keep(process, &descriptor);
    let gone_on = process.forks.have_gone_on(quiet);
    if gone_on {
        process.kernel(|kernel| kernel.locked.retain(|locked| *locked != descriptor.description));
    }
    drop(descriptor);
    process.open.descriptor.swap(CLOSED, Ordering::SeqCst);
    process.open.forget_closed(&process.forks);
    (!gone_on).then_some(true)
}

#[test]
#[should_panic(expected = "a child keeps its parent's lock")]
fn twin_asking_with_the_lock_in_hand_leaves_it_to_a_child_when_the_parent_dies() {
    dying(Steps { claim: asking_late, is_tidy: false, ..PRODUCTION });
}

/// Tells of the page when it is mapped already.
fn telling_late(process: &Process) -> Option<bool> {
    let work = |descriptor: &Descriptor<'_>| {
        let description = descriptor.description;
        process.lock(description);
        process.map(Page { description, is_inherited: true });
        process.open.page.store(ADDRESS as u64, Ordering::SeqCst);
        process.map(Page { description, is_inherited: false });
        process.open.page.store(0, Ordering::Release);
    };
    process.open.hold(&process.forks, || process.reopen(), |_| NUMBER, work).map(|done| done == Ok(()))
}

#[test]
#[should_panic(expected = "a child keeps its parent's lock")]
fn twin_telling_of_a_page_when_it_is_mapped_leaves_it_to_a_child() {
    dying(Steps { claim: telling_late, is_tidy: false, ..PRODUCTION });
}
