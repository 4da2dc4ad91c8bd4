//! The SIGBUS guard: a file that somebody truncates must not kill its reader.
//!
//! Reading a page beyond the end of a mapped file raises SIGBUS. The guard's handler maps a page of zeros
//! over the fault, so that the read returns, and notes the hit, so that the collector throws away what it
//! read and reports the segment as shrunk (the way of systemd's journal). A look at the file's length before each
//! read would race with whoever truncates.
//!
//! The handler acts only on addresses inside maps of this crate; any other SIGBUS goes to the handler that was
//! installed before. A signal handler belongs to a program, not to a library: nothing is installed
//! until the program calls [`install`].
#![allow(unsafe_code, reason = "installs a signal handler and maps pages in it")]
#![allow(clippy::disallowed_types, reason = "process-local words, never in the segment")]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use libc::{c_int, c_void, siginfo_t};
use nix::errno::Errno;

/// Entries of a part of the table. Another part is added when all are taken, and stays.
const ENTRIES: usize = 256;

/// Start of an entry that is being filled in.
const CLAIMED: usize = 1;

static TABLE: Table = Table::new();
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();
static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
static PAGE: AtomicUsize = AtomicUsize::new(0);

/// Installs the guard for this process, once; a second call changes nothing.
///
/// Threads: any. Call it early, from a program, before or after collectors exist.
///
/// # Errors
/// When the system refuses the handler; the process then runs unguarded.
pub fn install() -> io::Result<()> {
    // SAFETY: asks for a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::Relaxed);
    // The previous action is known before the new one is in place: the handler may run at once.
    PREVIOUS.get_or_init(|| exchange_action(None).unwrap_or_else(|_| default_action()));
    let installed = INSTALLED.get_or_init(|| {
        let mut action = default_action();
        action.sa_sigaction = on_sigbus as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        exchange_action(Some(&action)).map(drop)
    });
    installed.map_err(io::Error::from)
}

/// A map in the guard's table; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Guarded {
    entry: &'static Entry,
}

impl Guarded {
    /// Puts a mapped range into the table, which grows where it must: no map is ever unguarded.
    pub(crate) fn register(start: usize, len: usize) -> Self {
        let entry = TABLE.claim();
        entry.hits.store(0, Ordering::Relaxed);
        entry.end.store(start.saturating_add(len), Ordering::Relaxed);
        entry.start.store(start, Ordering::Release); // pairs with: Entry::holds()
        Self { entry }
    }

    /// Whether a fault in the range was covered.
    pub(crate) fn was_hit(&self) -> bool {
        self.entry.hits.load(Ordering::Relaxed) != 0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.entry.start.store(0, Ordering::Release); // pairs with: Entry::claim()
    }
}

/// A part of the table, and the parts that were added to it.
struct Table {
    entries: [Entry; ENTRIES],
    next: OnceLock<Box<Self>>,
}

impl Table {
    const fn new() -> Self {
        Self { entries: [const { Entry::new() }; ENTRIES], next: OnceLock::new() }
    }

    fn claim(&'static self) -> &'static Entry {
        let mut part = self;
        loop {
            if let Some(entry) = part.entries.iter().find(|entry| entry.claim()) {
                return entry;
            }
            part = part.next.get_or_init(|| Box::new(Self::new()));
        }
    }

    /// The entry of the map in which `address` lies. Async-signal-safe: a part that is just being added has no
    /// entries yet, and asking for it doesn't wait.
    fn holder(&self, address: usize) -> Option<&Entry> {
        let mut part = Some(self);
        while let Some(Self { entries, next }) = part {
            if let Some(entry) = entries.iter().find(|entry| entry.holds(address)) {
                return Some(entry);
            }
            part = next.get().map(Box::as_ref);
        }
        None
    }
}

#[derive(Debug)]
struct Entry {
    /// First address; 0 free, [`CLAIMED`] being filled in.
    start: AtomicUsize,
    end: AtomicUsize,
    hits: AtomicU64,
}

impl Entry {
    const fn new() -> Self {
        Self { start: AtomicUsize::new(0), end: AtomicUsize::new(0), hits: AtomicU64::new(0) }
    }

    fn claim(&self) -> bool {
        self.start.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire); // pairs with: Guarded::register()
        start > CLAIMED && (start..self.end.load(Ordering::Relaxed)).contains(&address)
    }
}

/// Replaces the action on SIGBUS, if there is a new one, and returns the one before.
fn exchange_action(new: Option<&libc::sigaction>) -> Result<libc::sigaction, Errno> {
    let mut previous = default_action();
    let new = new.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: whole structures or null; the handler is async-signal-safe (see on_sigbus()).
    let result = unsafe { libc::sigaction(libc::SIGBUS, new, &raw mut previous) };
    Errno::result(result).map(|_| previous)
}

fn default_action() -> libc::sigaction {
    // SAFETY: all zero is a valid sigaction: SIG_DFL, empty mask, no flags.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Covers a fault in a guarded map; passes everything else on.
///
/// Async-signal-safe: atomic loads, `mmap`, `sigaction`, `raise`, and `errno` kept.
extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to a handler installed with SA_SIGINFO.
    let details = unsafe { &*info };
    let code = details.si_code;
    // SAFETY: the union holds an address for every SIGBUS of the kernel, and only those are believed.
    let address = unsafe { details.si_addr() } as usize;
    let covered = code > 0 && TABLE.holder(address).is_some_and(|entry| cover(entry, address));
    if !covered {
        pass_on(signal, code, info, context);
    }
}

fn cover(entry: &Entry, address: usize) -> bool {
    let page = PAGE.load(Ordering::Relaxed);
    let start = address & !(page - 1);
    entry.hits.fetch_add(1, Ordering::Relaxed);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // SAFETY: the address of this thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: valid for the life of the thread.
    let kept = unsafe { *errno };
    // SAFETY: INV-MEM: the page lies in a map of ours, which the faulting thread borrows; it stays readable.
    let mapped = unsafe { libc::mmap(start as *mut c_void, page, libc::PROT_READ, flags, -1, 0) };
    // SAFETY: as above.
    unsafe { *errno = kept };
    mapped != libc::MAP_FAILED
}

fn pass_on(signal: c_int, code: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let previous =
        PREVIOUS.get().filter(|p| p.sa_sigaction != libc::SIG_DFL && p.sa_sigaction != libc::SIG_IGN);
    match previous {
        Some(previous) if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
            // SAFETY: SA_SIGINFO says that the word is a function of this type.
            let handler = unsafe { std::mem::transmute::<usize, Handler>(previous.sa_sigaction) };
            handler(signal, info, context);
        }
        Some(previous) => {
            // SAFETY: without SA_SIGINFO the word is a function of this type.
            let handler =
                unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(previous.sa_sigaction) };
            handler(signal);
        }
        None => die(signal, code),
    }
}

/// Lets the default action happen: at once for a signal somebody sent, at the repeated fault otherwise.
fn die(signal: c_int, code: c_int) {
    let _ = exchange_action(Some(&default_action()));
    if code <= 0 {
        // SAFETY: async-signal-safe; delivered when the handler returns.
        unsafe { libc::raise(signal) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_holds_its_range_until_it_is_dropped() {
        let guarded = Guarded::register(0x10_0000, 0x2000);
        let entry = guarded.entry;
        assert!(entry.holds(0x10_0000) && entry.holds(0x10_1fff));
        assert!(!entry.holds(0x0f_ffff) && !entry.holds(0x10_2000));
        assert!(!guarded.was_hit());
        drop(guarded);
        assert!(!entry.holds(0x10_0000));
    }

    #[test]
    fn however_many_maps_there_are_each_is_guarded() {
        let start = |number: usize| 0x7000_0000 + number * 0x1000;
        let all: Vec<_> = (0..5 * ENTRIES).map(|number| Guarded::register(start(number), 0x1000)).collect();
        for (number, guarded) in all.iter().enumerate() {
            let holder = TABLE.holder(start(number) + 0xfff).expect("an entry");
            assert!(std::ptr::eq(holder, guarded.entry), "{number}");
        }
        drop(all);
        assert!((0..5 * ENTRIES).all(|number| TABLE.holder(start(number)).is_none()));
    }
}
