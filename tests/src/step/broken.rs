//! Twins of the protocols with two steps exchanged, which a judge must find out; and filesystems that lack
//! something.
#![allow(unsafe_code, reason = "stores into a segment behind the library's back; a filter for system calls")]

use std::path::Path;

use dyn_metrics_layout::sync::{AtomicU64, Ordering};
use dyn_metrics_layout::{header, index, record};
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};

use crate::bytes;
use crate::step::scenario::{Outcome, PLAIN, SEGMENT, Scenario, filling, options, registered};
use crate::step::tracee::mark;

/// The twins.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "twin-counts-first", prepare: &[registered], run: counts_first, ..PLAIN },
    Scenario { name: "twin-slot-first", prepare: &[registered], run: slot_first, ..PLAIN },
    Scenario { name: "twin-cursor-back", prepare: &[registered], run: cursor_back, ..PLAIN },
    Scenario { name: "twin-halves", prepare: &[registered], run: halves, ..PLAIN },
];

/// The segment's words, as one that knows nothing of the protocols has them.
struct Words(&'static [AtomicU64]);

impl Words {
    fn of(directory: &Path) -> Outcome<Self> {
        let file = std::fs::File::options().read(true).write(true).open(directory.join(SEGMENT))?;
        let len = file.metadata()?.len() as usize;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let bytes = len.try_into()?;
        // SAFETY: a new mapping at an address of the kernel's choice, never unmapped.
        let map = unsafe { mmap(None, bytes, protection, MapFlags::MAP_SHARED, file, 0) }?;
        // SAFETY: `len` bytes, aligned to a page, that everybody touches as atomics.
        Ok(Self(unsafe { std::slice::from_raw_parts(map.as_ptr().cast(), len / 8) }))
    }

    fn at(&self, offset: u64) -> &'static AtomicU64 {
        &self.0[offset as usize / 8]
    }

    fn load(&self, offset: u64) -> u64 {
        self.at(offset).load(Ordering::Relaxed)
    }

    /// A slot of the first index table for which `is_wanted` holds, given its content.
    fn slot(&self, is_wanted: impl Fn(u64) -> bool) -> u64 {
        let index = self.load(bytes::field("index").offset as u64);
        let slots = (0..u64::from(index::MIN_SLOTS)).map(|n| index + index::HEADER_BYTES as u64 + 8 * n);
        slots.into_iter().find(|slot| is_wanted(self.load(*slot))).expect("such a slot")
    }
}

/// Counts a series in its family before it is published.
fn counts_first(directory: &Path, _: &str) -> Outcome<()> {
    let family = filling(&options(directory).open()?)?;
    let words = Words::of(directory)?;
    let is_family = |slot: u64| {
        let tag = |at: u64| words.load(at) as u16 == record::FAMILY_TAG;
        slot != 0 && tag(index::record_of(slot))
    };
    let record = index::record_of(words.load(words.slot(is_family)));
    let series = record::state_offset(record) + STATE_SERIES;
    mark();
    words.at(series).fetch_add(1, Ordering::Relaxed);
    let _ = family.with(&["new"]);
    words.at(series).fetch_sub(1, Ordering::Relaxed);
    mark();
    Ok(())
}

/// Where the state block of a family counts its series.
const STATE_SERIES: u64 = std::mem::offset_of!(record::State, series) as u64;

/// Publishes a record before it is written.
fn slot_first(directory: &Path, _: &str) -> Outcome<()> {
    let _registry = options(directory).open()?;
    let words = Words::of(directory)?;
    let end = words.load(header::RESERVED_END).next_multiple_of(64);
    let (slot, record) = (words.slot(|slot| slot == 0), end + 64);
    mark();
    words.at(header::RESERVED_END).store(end + 256, Ordering::Relaxed);
    words.at(slot).store(index::pack(record, 0), Ordering::Release);
    words.at(slot).store(0, Ordering::Relaxed);
    mark();
    Ok(())
}

/// Moves the cursor behind what is published back for a moment.
fn cursor_back(directory: &Path, _: &str) -> Outcome<()> {
    let _registry = options(directory).open()?;
    let words = Words::of(directory)?;
    let end = words.load(header::RESERVED_END);
    mark();
    words.at(header::RESERVED_END).store(end - 1024, Ordering::Relaxed);
    words.at(header::RESERVED_END).store(end, Ordering::Relaxed);
    mark();
    Ok(())
}

/// Sets a gauge in two stores.
fn halves(directory: &Path, _: &str) -> Outcome<()> {
    let all = crate::step::second::Everything::register(&options(directory).open()?)?;
    all.set_gauges(1 << 40 | 5);
    let words = Words::of(directory)?;
    let is_gauge = |offset: u64| words.load(offset) == (1 << 40 | 5);
    let cell = (0..words.0.len() as u64).map(|n| 8 * n).find(|offset| is_gauge(*offset)).ok_or("no gauge")?;
    mark();
    words.at(cell).store(1 << 40 | 7, Ordering::Relaxed);
    words.at(cell).store(2 << 40 | 7, Ordering::Relaxed);
    mark();
    Ok(())
}

/// Has this process live on a filesystem without unnamed files: asking for one fails.
///
/// # Errors
/// The kernel's.
pub fn deny_unnamed() -> nix::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    const FLAGS_AT: u32 = 16 + 2 * 8;
    let unnamed = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD, 0, 0, 0), // the call's number
        step(EQUAL, 0, 3, libc::SYS_openat as u32),
        step(LOAD, 0, 0, FLAGS_AT),
        step(ANY_BIT, 0, 1, unnamed),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: changes this process, which is a victim of a test.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // SAFETY: the kernel copies the program, which is valid.
    Errno::result(unsafe {
        libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
    })?;
    Ok(())
}
