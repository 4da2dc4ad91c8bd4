//! The watcher: one thread of the process, as long as there are subscriptions.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};

use super::event::Event;
use super::home::{Choice, Home};
use super::lock;
use super::mailbox::Mailbox;
use super::pace::Pace;
use super::pool::Pool;
use super::rule::Rule;
use crate::error::{Error, Result};
use crate::local::AtomicPtr;
use crate::once_map::OnceValue;
use crate::registry::leaked;
use crate::threads::spawn_quiet;

/// Time between two calls of a function that computes a value: each wakes another thread.
const COMPUTED_EVERY: Duration = Duration::from_millis(5);

/// A call that runs longer is logged.
const LATE: Duration = Duration::from_secs(1);

/// Looks between two looks for such calls.
const LOOKS_FOR_LATE: u64 = 256;

/// The subscriptions of this process. A forked child has none, and makes one of its own.
pub(super) struct Engine {
    state: Mutex<State>,
    pool: Pool,
    /// Subscriptions that have ended since the watcher began.
    ended: AtomicUsize,
    looks: AtomicU64,
    period: AtomicU64,
    spent: AtomicU64,
    late: AtomicU64,
}

#[derive(Default)]
struct State {
    homes: Vec<Home>,
    computed: Vec<Arc<Mailbox>>,
    computed_at: Option<Instant>,
    is_running: bool,
    /// As of [`Engine::ended`] at the last look.
    ended: usize,
}

/// What the watcher of this process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Threads on which callbacks run, or wait for some.
    pub workers: usize,
    /// How often the watcher has looked since the process began.
    pub looks: u64,
    /// Time between two looks.
    pub period: Duration,
    /// Processor time of the watcher's thread since it began.
    pub spent: Duration,
    /// Calls that ran for more than a second.
    pub late: u64,
}

impl Engine {
    /// This process's.
    pub(super) fn of_this_process() -> Result<&'static Self> {
        let word = Self::word().map_err(thread_error)?;
        let known = word.load(Ordering::Acquire);
        if !known.is_null() {
            return Ok(leaked(known));
        }
        let made: &'static Self = Box::leak(Box::new(Self {
            state: Mutex::default(),
            pool: Pool::default(),
            ended: AtomicUsize::new(0),
            looks: AtomicU64::new(0),
            period: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }));
        let raw = std::ptr::from_ref(made).cast_mut();
        // Of two made at once one is used.
        match word.compare_exchange(known, raw, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(made),
            Err(first) => Ok(leaked(first)),
        }
    }

    /// Where its address is, in memory that a forked child finds empty.
    fn word() -> nix::Result<&'static AtomicPtr<Self>> {
        static WORD: OnceValue<&'static AtomicPtr<Engine>> = OnceValue::new();
        let mut failed = nix::errno::Errno::ENOMEM;
        let word = WORD.get_or(|| crate::wipe::pointer().map_err(|errno| failed = errno).ok());
        word.copied().ok_or(failed)
    }

    /// Whether this is the process that made it, and no child of that.
    pub(super) fn is_ours(&'static self) -> bool {
        Self::word().is_ok_and(|word| std::ptr::eq(word.load(Ordering::Acquire), self))
    }

    /// Watches series of a family in the segment at `path`. What they are now is read before this returns.
    pub(super) fn watch(
        &'static self,
        (path, family): (&Path, &Arc<str>),
        choice: Choice,
        rule: Rule,
        mailbox: Arc<Mailbox>,
    ) -> Result<()> {
        let mut state = lock(&self.state);
        self.start(&mut state)?;
        let known = state.homes.iter().position(|home| home.path == path && home.family == *family);
        let at = known.unwrap_or_else(|| {
            state.homes.push(Home::new(path, family));
            state.homes.len() - 1
        });
        let mut work = Vec::new();
        state.homes[at].add(mailbox, rule, choice, &mut work);
        drop(state);
        self.pool.push(&mut work);
        Ok(())
    }

    /// Watches what a function computes.
    pub(super) fn watch_computed(&'static self, mailbox: Arc<Mailbox>, first: Option<Event>) -> Result<()> {
        let mut state = lock(&self.state);
        self.start(&mut state)?;
        let mut work = Vec::new();
        if let Some(event) = first {
            mailbox.post(0, event, &mut work);
        }
        state.computed.push(mailbox);
        drop(state);
        self.pool.push(&mut work);
        Ok(())
    }

    fn start(&'static self, state: &mut State) -> Result<()> {
        if !state.is_running {
            self.pool.open();
            spawn_quiet("dyn-watch", move || self.run())
                .map_err(|error| Error::Thread { name: "dyn-watch", source: error })?;
            state.is_running = true;
        }
        Ok(())
    }

    /// Says that a subscription has ended.
    pub(super) fn note_end(&self) {
        self.ended.fetch_add(1, Ordering::Release);
    }

    pub(super) fn report(&self) -> Report {
        let state = lock(&self.state);
        let subscriptions = state.mailboxes().count();
        drop(state);
        Report {
            subscriptions,
            workers: self.pool.workers(),
            looks: self.looks.load(Ordering::Relaxed),
            period: Duration::from_nanos(self.period.load(Ordering::Relaxed)),
            spent: Duration::from_nanos(self.spent.load(Ordering::Relaxed)),
            late: self.late.load(Ordering::Relaxed),
        }
    }

    /// What the watcher does, until nobody watches.
    fn run(&'static self) {
        let mut pace = Pace::new(spent());
        let (mut work, mut taken) = (Vec::new(), 0);
        let mut next = now();
        loop {
            // Absolute times, so that what a look takes isn't added to the period.
            next = (next + pace.period()).max(now());
            let _ =
                clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &next.into());
            let looks = self.looks.fetch_add(1, Ordering::Relaxed) + 1;
            let Some(has_news) = self.look(looks, &mut work) else { return };
            self.pool.push(&mut work);
            taken = self.pool.grow(taken);
            pace.count(has_news, || {
                let spent = spent();
                self.spent.store(spent.as_nanos() as u64, Ordering::Relaxed);
                spent
            });
            self.period.store(pace.period().as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// Looks at everything once: whether it has found changes; none when nothing is left to look at.
    fn look(&self, looks: u64, work: &mut Vec<Arc<Mailbox>>) -> Option<bool> {
        let mut state = lock(&self.state);
        let ended = self.ended.load(Ordering::Acquire);
        if ended != state.ended {
            state.ended = ended;
            state.forget_ended();
        }
        if state.homes.is_empty() && state.computed.is_empty() {
            state.is_running = false;
            self.pool.close();
            return None;
        }
        let now = Instant::now();
        state.homes.iter_mut().for_each(|home| home.look(now, work));
        let has_news = !work.is_empty();
        state.ask_for_computed(work);
        if looks.is_multiple_of(LOOKS_FOR_LATE) {
            let late = state.mailboxes().filter(|mailbox| mailbox.note_late(LATE)).count();
            self.late.fetch_add(late as u64, Ordering::Relaxed);
        }
        Some(has_news)
    }
}

impl State {
    fn forget_ended(&mut self) {
        for home in &mut self.homes {
            home.forget_ended();
        }
        self.homes.retain(|home| !home.is_empty());
        self.computed.retain(|mailbox| !mailbox.is_ended());
    }

    fn ask_for_computed(&mut self, work: &mut Vec<Arc<Mailbox>>) {
        if self.computed.is_empty() || self.computed_at.is_some_and(|at| at.elapsed() < COMPUTED_EVERY) {
            return;
        }
        self.computed_at = Some(Instant::now());
        self.computed.iter().for_each(|mailbox| mailbox.ask(work));
    }

    fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.homes.iter().flat_map(Home::mailboxes).chain(&self.computed)
    }
}

fn thread_error(errno: nix::errno::Errno) -> Error {
    Error::Thread { name: "dyn-watch", source: errno.into() }
}

/// Processor time of this thread.
fn spent() -> Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

fn now() -> Duration {
    ClockId::CLOCK_MONOTONIC.now().map_or(Duration::ZERO, Duration::from)
}
