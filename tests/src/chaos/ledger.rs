//! What every thread says it has counted: words in a shared mapping of their own, so that a SIGKILL leaves them.
//!
//! A *life* is a process from its start, fork or exec on. A *page* belongs to one thread of one life and holds lines.
//! A *line* says of one series up to which number the thread is about to count, one store before each batch, and up to
//! which it has counted, one store after each update. So a thread that is killed leaves one update at most of which
//! nobody knows whether it was made. Nobody else writes there, so plain stores do.
#![allow(unsafe_code, reason = "maps a file")]
#![allow(clippy::disallowed_types, reason = "words of the test's own, never in the segment")]

use std::collections::HashMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use super::series::What;

const HEADER: usize = 512;
const LIVES: usize = 1 << 16;
const LIFE: usize = 8;
const PAGES: usize = 1 << 19;
const PAGE: usize = 64;
const LINES: usize = (PAGE - 4) / LINE;
const LINE: usize = 3;
const WORDS: usize = HEADER + LIVES * LIFE + PAGES * PAGE;

/// Numbers of the whole run, each in a cache line of its own.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Global {
    /// Lives begun.
    Lives = 0,
    /// Pages drawn.
    Pages = 8,
    /// Not 0: everybody ends.
    Stop = 16,
    /// Series that may be registered so far in the growing family.
    Series = 24,
    /// Families that may be registered so far.
    Families = 32,
    /// Pid of the driver.
    Driver = 40,
}

/// How a life began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Beginning {
    /// Started by the driver.
    Started = 1,
    /// Forked by another life.
    Forked = 2,
    /// A process that replaced itself.
    Replaced = 3,
}

/// What the driver wants of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Command {
    /// Fork; both go on.
    Fork = 1,
    /// Replace itself by a new worker.
    Exec = 2,
}

/// A life as its entry says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its number.
    pub number: usize,
    /// Its pid.
    pub pid: i32,
    /// The life that forked it.
    pub parent: Option<usize>,
    /// Label that it counts under.
    pub seat: u64,
    /// How it began; none where the entry is torn.
    pub beginning: Option<Beginning>,
    /// Whether it was about to replace itself.
    pub leaving: bool,
}

const PID: usize = 0;
const PARENT: usize = 1;
const SEAT: usize = 2;
const BEGINNING: usize = 3;
const LEAVING: usize = 4;
const COMMAND: usize = 5;

/// What was counted in one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Acknowledged.
    pub done: u64,
    /// And what may have been in flight.
    pub begun: u64,
    /// Largest of the acknowledged numbers.
    pub most_done: u64,
    /// Largest of the numbers begun.
    pub most_begun: u64,
}

/// Totals of all series.
pub type Totals = HashMap<What, Total>;

/// The ledger of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    words: &'static [AtomicU64],
}

impl Ledger {
    /// Maps it; makes the file if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(8 * WORDS as u64)?; // sparse
        let length = NonZeroUsize::new(8 * WORDS).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        // SAFETY: just mapped, never unmapped, aligned to a page, atomics only; nobody shortens the file.
        let words = unsafe { std::slice::from_raw_parts(address.as_ptr().cast(), WORDS) };
        Ok(Self { words })
    }

    /// A number of the whole run.
    #[must_use]
    pub fn global(&self, which: Global) -> u64 {
        self.words[which as usize].load(Ordering::Relaxed)
    }

    /// Sets a number of the whole run.
    pub fn set_global(&self, which: Global, value: u64) {
        self.words[which as usize].store(value, Ordering::Relaxed);
    }

    /// Begins the life of this process; its number.
    ///
    /// # Panics
    /// When the ledger is full.
    #[must_use]
    pub fn begin_life(&self, beginning: Beginning, parent: Option<usize>, seat: u64) -> usize {
        let number = self.words[Global::Lives as usize].fetch_add(1, Ordering::Relaxed) as usize;
        assert!(number < LIVES, "the ledger has no room for further processes");
        let entry = self.life_words(number);
        entry[PARENT].store(parent.map_or(0, |parent| parent as u64 + 1), Ordering::Relaxed);
        entry[SEAT].store(seat, Ordering::Relaxed);
        entry[BEGINNING].store(beginning as u64, Ordering::Relaxed);
        entry[PID].store(u64::from(std::process::id()), Ordering::Release);
        number
    }

    /// How many lives have begun.
    #[must_use]
    pub fn lives(&self) -> usize {
        self.global(Global::Lives).min(LIVES as u64) as usize
    }

    /// A life; none while its entry isn't complete, which it never is when its process died too early.
    #[must_use]
    pub fn life(&self, number: usize) -> Option<Life> {
        let entry = self.life_words(number);
        let word = |at: usize| entry[at].load(Ordering::Relaxed);
        let pid = entry[PID].load(Ordering::Acquire) as i32;
        let beginning = match word(BEGINNING) {
            1 => Some(Beginning::Started),
            2 => Some(Beginning::Forked),
            3 => Some(Beginning::Replaced),
            _ => None,
        };
        let parent = (word(PARENT) as usize).checked_sub(1);
        let life = Life { number, pid, parent, seat: word(SEAT), beginning, leaving: word(LEAVING) != 0 };
        (pid != 0).then_some(life)
    }

    /// Says that this life is about to replace itself.
    pub fn leave(&self, life: usize) {
        self.life_words(life)[LEAVING].store(1, Ordering::Relaxed);
    }

    /// Tells a life to do something.
    pub fn command(&self, life: usize, command: Command) {
        self.life_words(life)[COMMAND].store(command as u64, Ordering::Relaxed);
    }

    /// What this life is to do; only one of its threads gets it.
    #[must_use]
    pub fn take_command(&self, life: usize) -> Option<Command> {
        let word = &self.life_words(life)[COMMAND];
        if word.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match word.swap(0, Ordering::Relaxed) {
            1 => Some(Command::Fork),
            2 => Some(Command::Exec),
            _ => None,
        }
    }

    /// Everything that was counted.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        self.for_each_line(|_, what, done, begun| {
            let total = totals.entry(what).or_default();
            total.done += done;
            total.begun += begun;
            total.most_done = total.most_done.max(done);
            total.most_begun = total.most_begun.max(begun);
        });
        totals
    }

    /// Calls `visit` for every line with its life, what it is about, and the numbers done and begun: the latter one
    /// more where the thread is, or was, in the midst of a batch.
    pub fn for_each_line(&self, mut visit: impl FnMut(usize, What, u64, u64)) {
        let pages = self.global(Global::Pages).min(PAGES as u64) as usize;
        for page in (0..pages).map(|page| self.page_words(page)) {
            let Some(life) = (page[0].load(Ordering::Relaxed) as usize).checked_sub(1) else { continue };
            for line in page[4..].chunks_exact(LINE) {
                if let Some(what) = What::unpack(line[0].load(Ordering::Acquire)) {
                    let done = line[2].load(Ordering::Acquire);
                    let is_counting = line[1].load(Ordering::Acquire) > done;
                    visit(life, what, done, done + u64::from(is_counting));
                }
            }
        }
    }

    fn life_words(&self, number: usize) -> &'static [AtomicU64] {
        &self.words[HEADER + number * LIFE..][..LIFE]
    }

    fn page_words(&self, number: usize) -> &'static [AtomicU64] {
        &self.words[HEADER + LIVES * LIFE + number * PAGE..][..PAGE]
    }

    fn draw_page(&self, life: usize) -> &'static [AtomicU64] {
        let number = self.words[Global::Pages as usize].fetch_add(1, Ordering::Relaxed) as usize;
        assert!(number < PAGES, "the ledger has no room for further lines");
        let page = self.page_words(number);
        page[0].store(life as u64 + 1, Ordering::Relaxed);
        page
    }
}

/// The lines of one thread. A forked child begins a book of its own.
#[derive(Debug)]
pub struct Book {
    ledger: Ledger,
    life: usize,
    page: &'static [AtomicU64],
    used: usize,
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(ledger: Ledger, life: usize) -> Self {
        Self { ledger, life, page: ledger.draw_page(life), used: 0 }
    }

    /// A new line about a series; to be drawn before the series is registered.
    pub fn line(&mut self, what: What) -> Line {
        if self.used == LINES {
            (self.page, self.used) = (self.ledger.draw_page(self.life), 0);
        }
        let words = &self.page[4 + self.used * LINE..][..LINE];
        self.used += 1;
        words[0].store(what.pack(), Ordering::Release);
        Line { words }
    }
}

/// What one thread counts in one series.
#[derive(Debug)]
pub struct Line {
    words: &'static [AtomicU64],
}

impl Line {
    /// Has `work` count one, `n` times, and says so before all and after each.
    #[inline]
    pub fn count(&self, n: u64, mut work: impl FnMut()) {
        let from = self.words[2].load(Ordering::Relaxed);
        self.words[1].store(from + n, Ordering::Release);
        for done in from + 1..=from + n {
            // A signal ends the thread between two instructions: their order is all that matters.
            compiler_fence(Ordering::SeqCst);
            work();
            compiler_fence(Ordering::SeqCst);
            self.words[2].store(done, Ordering::Release);
        }
    }
}
