//! The restartable sequences with delays spliced in between any two of their instructions, and whatever makes the
//! kernel restart a section: in the spirit of librseq's tests.
//!
//! The sequences are those of the writer: the same macros, from the same file, with loops where production has
//! nothing. The twin leaves out the one store that arms a sequence, and must lose updates.
#![allow(unsafe_code, reason = "restartable sequences are assembly; signal handlers; run-time look-up")]
#![allow(clippy::disallowed_types, reason = "a table of cells that is no segment; process-local counts")]

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::thread::JoinHandleExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::Pid;

use crate::servers::Guard;
use crate::work::{cpus, move_to};

#[cfg(target_arch = "aarch64")]
#[macro_use]
#[allow(dead_code, reason = "the writer's file, of which the macros are used")]
#[path = "../../writer/src/percpu/aarch64.rs"]
mod arch;
#[cfg(target_arch = "x86_64")]
#[macro_use]
#[allow(dead_code, reason = "the writer's file, of which the macros are used")]
#[path = "../../writer/src/percpu/x86_64.rs"]
mod arch;

/// Turns of the loop at each place; the controlling thread changes them all the time.
static TURNS: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
const PLACES: usize = 16;

/// A loop that keeps the flags: it also stands between a comparison and its branch.
#[cfg(target_arch = "x86_64")]
macro_rules! delay {
    ($place:literal) => {
        concat!(
            "mov ecx, dword ptr [rip + {turns} + 4 * ",
            $place,
            "]\n77:\njrcxz 78f\nlea rcx, [rcx - 1]\njmp 77b\n78:"
        )
    };
}

/// A loop that keeps the flags.
#[cfg(target_arch = "aarch64")]
macro_rules! delay {
    ($place:literal) => {
        concat!(
            "adrp x9, {turns}\nadd x9, x9, :lo12:{turns}\nldr w9, [x9, #4 * ",
            $place,
            "]\n77:\ncbz w9, 78f\nsub w9, w9, #1\nb 77b\n78:"
        )
    };
}

/// The sequences with delays, armed or not.
macro_rules! delayed {
    ($name:ident, $armed:ident, $scratch:tt) => {
        mod $name {
            use super::TURNS;

            #[inline(never)]
            pub(super) unsafe fn add_one(rseq: isize, table: &[usize], at: usize) -> bool {
                // SAFETY: as the caller says.
                unsafe {
                    add_u64!($armed, delay, (rseq, table.as_ptr(), table.len() as u32, at), [const 1], [turns = sym TURNS, out($scratch) _,])
                };
                true
            }

            #[inline(never)]
            pub(super) unsafe fn add_u64(rseq: isize, table: &[usize], at: usize, n: u64) -> bool {
                // SAFETY: as the caller says.
                unsafe {
                    add_u64!($armed, delay, (rseq, table.as_ptr(), table.len() as u32, at), [in(reg) n], [turns = sym TURNS, out($scratch) _,])
                };
                true
            }

            #[inline(never)]
            pub(super) unsafe fn add_f64(rseq: isize, table: &[usize], at: usize, x: f64) -> bool {
                // SAFETY: as the caller says.
                unsafe {
                    add_f64!($armed, delay, (rseq, table.as_ptr(), table.len() as u32, at), x, [turns = sym TURNS, out($scratch) _,])
                };
                true
            }
        }
    };
}

#[cfg(target_arch = "aarch64")]
delayed!(armed, armed, "x9");
#[cfg(target_arch = "aarch64")]
delayed!(twin, unarmed, "x9");
#[cfg(target_arch = "x86_64")]
delayed!(armed, armed, "rcx");
#[cfg(target_arch = "x86_64")]
delayed!(twin, unarmed, "rcx");

/// Where the threads of all processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// All on one CPU.
    Pinned,
    /// Moved from CPU to CPU by another thread.
    Moving,
}

/// What a process does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where its threads run.
    pub place: Where,
    /// Whether the sequences are armed.
    pub armed: bool,
    /// Threads that update.
    pub threads: usize,
    /// For so long.
    pub time: Duration,
}

/// Updates made, or found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sum of the integers.
    pub integers: u64,
    /// Sum of the doubles, all of them whole.
    pub doubles: u64,
}

/// Most CPUs that the table of cells has room for.
const CPUS: usize = 1024;
/// Bytes of a CPU's cells: an integer and a double.
const STRIDE: usize = 128;

/// The cells of all CPUs, in a file that several processes map.
#[derive(Clone, Copy, Debug)]
pub struct Cells {
    words: &'static [AtomicU64],
}

impl Cells {
    /// Maps them; makes the file if there is none.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let bytes = CPUS * STRIDE;
        file.set_len(bytes as u64)?;
        let length = NonZeroUsize::new(bytes).unwrap_or(NonZeroUsize::MIN);
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        // SAFETY: just mapped, never unmapped, aligned to a page, atomics only.
        let words = unsafe { std::slice::from_raw_parts(address.as_ptr().cast(), bytes / 8) };
        Ok(Self { words })
    }

    /// What they hold.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let words =
            |first| self.words.iter().skip(first).step_by(STRIDE / 8).map(|w| w.load(Ordering::Relaxed));
        Totals { integers: words(0).sum(), doubles: words(1).map(|bits| f64::from_bits(bits) as u64).sum() }
    }

    /// A process's table of their addresses.
    fn table(&self) -> &'static [usize] {
        let entries = self.words.iter().step_by(STRIDE / 8).map(|word| std::ptr::from_ref(word) as usize);
        Vec::leak(entries.collect())
    }
}

/// Runs three processes over cells of their own, each made by `command` from the file's path, and reads what they print:
/// what they have acknowledged, and what is there.
///
/// # Panics
/// When a process can't be started, fails, or prints something else.
pub fn run_processes(command: impl Fn(&Path) -> Command) -> (Totals, Totals) {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let path = directory.path().join("cells");
    let cells = Cells::open(&path).expect("cells");
    let start = |_| Guard(command(&path).stdout(Stdio::piped()).spawn().expect("a process"));
    let processes: Vec<Guard> = (0..3).map(start).collect();
    let mut acknowledged = Totals::default();
    for mut process in processes {
        let text = std::io::read_to_string(process.0.stdout.take().expect("a pipe")).expect("text");
        assert!(process.0.wait().expect("it ends").success(), "a process failed: {text}");
        let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
        acknowledged.integers += numbers[0];
        acknowledged.doubles += numbers[1];
    }
    (acknowledged, cells.totals())
}

/// How long each case takes: `DYN_METRICS_DELAYS_SECONDS`, else `seconds`.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn time_for_each(seconds: f64) -> Duration {
    let wanted = std::env::var("DYN_METRICS_DELAYS_SECONDS").ok();
    let parse = |wanted: String| wanted.parse().expect("DYN_METRICS_DELAYS_SECONDS: a number");
    Duration::from_secs_f64(wanted.map_or(seconds, parse))
}

/// Offset and size of glibc's rseq area; none where none is registered.
#[must_use]
pub fn rseq_area() -> Option<(isize, u32)> {
    let symbol = |name: &std::ffi::CStr| {
        // SAFETY: dlsym with a NUL-terminated name.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    };
    let (offset, size) = (symbol(c"__rseq_offset")?, symbol(c"__rseq_size")?);
    // SAFETY: glibc declares `extern const ptrdiff_t __rseq_offset`.
    let offset = unsafe { *offset.cast::<isize>() };
    // SAFETY: glibc declares `extern const unsigned int __rseq_size`.
    let size = unsafe { *size.cast::<u32>() };
    (size != 0).then_some((offset, size))
}

/// Address of this thread's rseq area.
#[must_use]
pub fn rseq_address(offset: isize) -> usize {
    arch::thread_pointer().wrapping_add(offset) as usize
}

/// The signature that glibc has registered.
pub const SIGNATURE: u32 = arch::SIGNATURE;

/// What threads and the signal handler need.
#[derive(Debug)]
struct Bench {
    rseq: isize,
    table: &'static [usize],
    armed: bool,
    stop: AtomicBool,
    integers: AtomicU64,
    doubles: AtomicU64,
}

static BENCH: OnceLock<Bench> = OnceLock::new();

impl Bench {
    /// One update of each kind; what it has added is acknowledged afterwards.
    fn update(&self) {
        let (rseq, table) = (self.rseq, self.table);
        let (one, n, x) = if self.armed {
            // SAFETY: the offset of glibc's area, and a table of blocks of two words for all CPUs.
            let one = unsafe { armed::add_one(rseq, table, 0) };
            // SAFETY: as above.
            let n = unsafe { armed::add_u64(rseq, table, 0, 2) };
            // SAFETY: as above.
            (one, n, unsafe { armed::add_f64(rseq, table, 8, 1.0) })
        } else {
            // SAFETY: as above.
            let one = unsafe { twin::add_one(rseq, table, 0) };
            // SAFETY: as above.
            let n = unsafe { twin::add_u64(rseq, table, 0, 2) };
            // SAFETY: as above.
            (one, n, unsafe { twin::add_f64(rseq, table, 8, 1.0) })
        };
        self.integers.fetch_add(u64::from(one) + 2 * u64::from(n), Ordering::Relaxed);
        self.doubles.fetch_add(u64::from(x), Ordering::Relaxed);
    }
}

extern "C" fn handler(_: libc::c_int) {
    if let Some(bench) = BENCH.get() {
        bench.update();
    }
}

/// Updates the cells at `path` as planned; what was acknowledged.
///
/// # Errors
/// The system's, and that there is no rseq.
///
/// # Panics
/// When a thread does.
pub fn run(path: &Path, plan: Plan) -> std::io::Result<Totals> {
    let (rseq, _) = rseq_area().ok_or_else(|| std::io::Error::other("no rseq area is registered"))?;
    let bench = BENCH.get_or_init(|| Bench {
        rseq,
        table: Cells::open(path).expect("the cells").table(),
        armed: plan.armed,
        stop: AtomicBool::new(false),
        integers: AtomicU64::new(0),
        doubles: AtomicU64::new(0),
    });
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler loads statics and updates cells, which is async-signal-safe.
    unsafe { sigaction(Signal::SIGUSR1, &action) }?;
    let all = cpus();
    if plan.place == Where::Pinned {
        move_to(all[0]); // and all threads with it
    }
    static IDS: [AtomicI32; 64] = [const { AtomicI32::new(0) }; 64];
    let workers: Vec<_> = (0..plan.threads.min(IDS.len()))
        .map(|n| {
            std::thread::spawn(move || {
                IDS[n].store(nix::unistd::gettid().as_raw(), Ordering::Release);
                work(bench, n as u64);
            })
        })
        .collect();
    let mut random = Random(u64::from(std::process::id()) << 20 | 0x1234_5678);
    let start = Instant::now();
    while start.elapsed() < plan.time {
        change_a_delay(&mut random);
        for (worker, id) in workers.iter().zip(&IDS) {
            let id = id.load(Ordering::Acquire);
            if id != 0 && random.one_in(2) {
                // SAFETY: the thread is not joined yet, so its handle is valid.
                unsafe { libc::pthread_kill(worker.as_pthread_t(), libc::SIGUSR1) };
            }
            if id != 0 && plan.place == Where::Moving {
                move_thread(id, all[random.below(all.len() as u64) as usize]);
            }
        }
        std::thread::sleep(Duration::from_micros(random.below(300)));
    }
    bench.stop.store(true, Ordering::Relaxed);
    TURNS.iter().for_each(|turns| turns.store(0, Ordering::Relaxed));
    workers.into_iter().for_each(|worker| worker.join().expect("a worker doesn't panic"));
    Ok(Totals {
        integers: bench.integers.load(Ordering::Relaxed),
        doubles: bench.doubles.load(Ordering::Relaxed),
    })
}

/// Updates until it is told to stop, with pauses before and after.
fn work(bench: &Bench, seed: u64) {
    let mut random = Random(seed + 1);
    while !bench.stop.load(Ordering::Relaxed) {
        disturb(&mut random);
        bench.update();
        disturb(&mut random);
    }
}

fn disturb(random: &mut Random) {
    if random.one_in(8) {
        std::thread::yield_now();
    } else if random.one_in(64) {
        std::thread::sleep(Duration::from_nanos(random.below(20_000)));
    }
}

/// One place gets another delay, most others none: whatever is preempted is preempted there.
fn change_a_delay(random: &mut Random) {
    let longest = [0, 20, 1_000, 30_000][random.below(4) as usize];
    for (place, turns) in TURNS.iter().enumerate() {
        let long = random.below(PLACES as u64) as usize == place;
        turns.store(if long { longest } else { random.below(3) as u32 }, Ordering::Relaxed);
    }
}

fn move_thread(id: i32, cpu: usize) {
    let mut set = CpuSet::new();
    let _ = set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(id), &set));
}

/// Marsaglia's xorshift: enough to be different each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs under emulators too, which don't restart sections but show that delays keep flags and registers.
    #[test]
    fn a_delayed_sequence_adds_once() {
        let area: &'static [AtomicU64; 4] = Box::leak(Box::default());
        let rseq = (std::ptr::from_ref(area) as isize).wrapping_sub(arch::thread_pointer());
        let cells: &'static [AtomicU64; 2] = Box::leak(Box::default());
        // CPU 1 of 2; CPU 0 has no block.
        let blocks = [0, std::ptr::from_ref(cells) as usize];
        for round in 0..200 {
            let mut random = Random(round + 1);
            change_a_delay(&mut random);
            for (cpu, adds) in [(1_u64, true), (0, false), (2, false), (u64::from(u32::MAX), false)] {
                area[0].store(cpu << 32, Ordering::Relaxed);
                // SAFETY: an area of this thread's own, a table of two entries, a block of two words.
                assert_eq!(unsafe { armed::add_one(rseq, &blocks, 0) }, adds);
                // SAFETY: as above.
                assert_eq!(unsafe { armed::add_u64(rseq, &blocks, 0, 2) }, adds);
                // SAFETY: as above.
                assert_eq!(unsafe { armed::add_f64(rseq, &blocks, 8, 0.5) }, adds);
                assert_ne!(area[1].swap(0, Ordering::Relaxed), 0, "armed");
                // SAFETY: as above.
                assert_eq!(unsafe { twin::add_f64(rseq, &blocks, 8, 0.5) }, adds);
                assert_eq!(area[1].load(Ordering::Relaxed), 0, "not armed");
            }
        }
        let seen = cells.each_ref().map(|cell| cell.load(Ordering::Relaxed));
        assert_eq!(seen, [600, 200_f64.to_bits()]);
    }
}
