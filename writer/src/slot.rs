//! This process's slot in the process table: one for each segment, claimed when it attaches.
//!
//! A forked child claims one of its own when its first gauge needs it, or when it attaches itself.
//!
//! The claim is an open-file-description lock that lives on a mapping: lock a byte, map a page of it without
//! access, close the descriptor. Nothing the host does closes it, a fork doesn't inherit it, and death
//! or exec releases it. `/proc/self/maps` then shows the slot to other copies of this library in the process.
#![allow(unsafe_code, reason = "maps and unmaps the page that carries the lock; fork handlers")]

use crate::local::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

use dyn_metrics_layout::gauge::Claimant;
use dyn_metrics_layout::header::{self, Statistic};
use dyn_metrics_layout::process::{self, CLAIM_LOCK, Process, SlotWords};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fstat};

use crate::forks::{Forks, Open};
use crate::gauge_cells::GaugeCore;
use crate::kernel;
use crate::once_map::OnceValue;
use crate::segment::{Granted, Refusal, Segment, attached};
use crate::sys::{self, KeepErrno};
use crate::wipe;

/// Why there is no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoSlot {
    /// Another thread (or the code that a signal handler interrupted) is claiming it right now.
    Busy,
    /// There is none to be had.
    Refused,
}

const NONE: usize = 0;
const CLAIMED: usize = 1;
const REFUSED: usize = 2;
// Any other state is the thread that claims: see this_thread().

/// How often a thread looks again while another one claims, and a process while another one does.
const PATIENCE: usize = 400;
const PAUSE: std::time::Duration = std::time::Duration::from_micros(250);

static FORKS: Forks = Forks { begun: AtomicU64::new(0), ended: AtomicU64::new(0) };

/// The state of this process's claim.
#[derive(Debug)]
pub(crate) struct SlotClaim {
    /// Wiped in a child: state, slot, generation, process id, pid, whether attaching found the claim busy.
    own: &'static [AtomicUsize],
    /// Wiped in a child: identity of the process for this copy of the library, the same in every segment; 0 until
    /// the first claim.
    process_id: &'static AtomicUsize,
    /// Not wiped: for the fork handler.
    open: Open,
    /// Registrations since a claim was refused.
    asked: AtomicUsize,
    /// What the kernel said to a refused claim that nobody was told of yet; 0 nothing.
    untold: AtomicI32,
}

impl SlotClaim {
    pub(crate) fn new() -> nix::Result<Self> {
        static HANDLERS: AtomicBool = AtomicBool::new(false);
        static PROCESS_ID: OnceValue<&AtomicUsize> = OnceValue::new();
        if !HANDLERS.swap(true, Ordering::AcqRel) {
            // SAFETY: the handlers are plain functions that live as long as the process.
            unsafe { libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child)) };
        }
        let open = Open { descriptor: AtomicU64::new(0), page: AtomicU64::new(0) };
        let (asked, untold) = (AtomicUsize::new(0), AtomicI32::new(0));
        let process_id = PROCESS_ID.get_or(|| wipe::words(1).ok()?.first()).ok_or(Errno::ENOMEM)?;
        Ok(Self { own: wipe::words(6)?, process_id, open, asked, untold })
    }

    /// Identity of this process for this copy of the library, made by whichever segment needs it first.
    fn process_id(&self, unix_ms: u64) -> u64 {
        let new = process::process_id(unix_ms, sys::random());
        let made = self.process_id.compare_exchange(0, new as usize, Ordering::Relaxed, Ordering::Relaxed);
        made.map_or_else(|earlier| earlier as u64, |_| new)
    }

    /// This process as an owner of gauge cells, if it has a slot.
    pub(crate) fn claimed(&self) -> Option<Claimant> {
        let own = |at: usize| self.own[at].load(Ordering::Relaxed) as u64;
        (self.own[0].load(Ordering::Acquire) == CLAIMED).then(|| Claimant {
            slot: own(1) as u32,
            generation: own(2) as u32,
            process_id: own(3),
            pid: own(4) as u32,
        })
    }

    /// Lets a refused claim be tried again, for something may have changed; false when none was refused.
    ///
    /// Asked at every registration, and true ever more rarely: a claim asks the kernel about every slot.
    pub(crate) fn forget_refusal(&self) -> bool {
        if self.own[5].swap(0, Ordering::Relaxed) != 0 {
            return true;
        }
        if self.own[0].load(Ordering::Relaxed) != REFUSED {
            return false;
        }
        let asked = self.asked.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        (asked.is_power_of_two() || asked.is_multiple_of(1024))
            && self.own[0].compare_exchange(REFUSED, NONE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn keep(&self, claimant: &Claimant) {
        let values = [claimant.slot as usize, claimant.generation as usize, claimant.process_id as usize];
        for (at, value) in values.into_iter().enumerate() {
            self.own[at + 1].store(value, Ordering::Relaxed);
        }
        self.own[4].store(claimant.pid as usize, Ordering::Relaxed);
        self.own[0].store(CLAIMED, Ordering::Release);
    }
}

impl Segment {
    /// Claims a slot for this process, which has attached; without one it counts all the same.
    pub(crate) fn join(&'static self) {
        if let Err(reason) = self.claimant() {
            // Busy: with the next registration, then.
            self.slot.own[5].store(usize::from(reason == NoSlot::Busy), Ordering::Relaxed);
            if let Ok(word) = self.word(header::NO_REUSE) {
                word.store(1, Ordering::Relaxed); // nobody can tell when its handles are gone
            }
        }
        self.tell_of_refusal();
    }

    /// Logs, outside of any update, why a claim was refused: once for each refusal.
    pub(crate) fn tell_of_refusal(&self) {
        let errno = self.slot.untold.swap(0, Ordering::Relaxed);
        if errno != 0 {
            let (path, errno) = (self.path.display(), Errno::from_raw(errno));
            log::warn!("{path}: no process slot for this process ({errno}); its gauges stay private");
        }
    }

    /// This process as an owner of gauge cells; claims a slot when it has none.
    ///
    /// Async-signal-safe: allocates nothing, waits a bounded time, keeps `errno`.
    pub(crate) fn claimant(&'static self) -> Result<Claimant, NoSlot> {
        for _ in 0..PATIENCE {
            if let Some(claimant) = self.slot.claimed() {
                return Ok(claimant);
            }
            let me = this_thread();
            match self.slot.own[0].compare_exchange(NONE, me, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.claim(),
                Err(REFUSED) => return Err(NoSlot::Refused),
                Err(claimer) if claimer == me => break, // this is a signal handler, and waiting would be in vain
                Err(_) => pause(),
            }
        }
        Err(NoSlot::Busy)
    }

    fn claim(&'static self) -> Result<Claimant, NoSlot> {
        let _errno = KeepErrno::new();
        for _ in 0..PATIENCE {
            let claimed = if self.same_boot { self.claim_slot() } else { Some(Ok(None)) };
            match claimed {
                None => pause(), // a fork is under way
                Some(Ok(Some(claimant))) => {
                    self.slot.keep(&claimant);
                    self.gauges.for_each(GaugeCore::retry);
                    return Ok(claimant);
                }
                Some(refused @ (Ok(None) | Err(_))) => {
                    if let Err(Refusal::Kernel(errno)) = refused {
                        self.slot.untold.store(errno as i32, Ordering::Relaxed);
                    }
                    self.slot.own[0].store(REFUSED, Ordering::Release);
                    return Err(NoSlot::Refused);
                }
            }
        }
        self.slot.own[0].store(NONE, Ordering::Release);
        Err(NoSlot::Busy)
    }

    /// Claims a slot, or finds the one that another copy of the library has claimed, and leaves no other lock. None
    /// when a fork is in the way; no slot when all are taken.
    fn claim_slot(&'static self) -> Option<Granted<Option<Claimant>>> {
        let open = || self.with_fd(sys::reopen).or_else(|_| self.reopen_by_name());
        let number = |lock: &OwnedFd| lock.as_raw_fd().unsigned_abs();
        let held = self.slot.open.hold(&FORKS, open, number, |lock| {
            let claimed = self.claim_with(lock);
            // Closing is not enough: a child has the descriptor until its fork handler has run.
            let kept = matches!(claimed, Ok(Some(_)));
            let _ = if kept { sys::unlock(lock, CLAIM_LOCK, 1) } else { sys::unlock(lock, 0, 0) };
            claimed
        });
        held.map(|held| held?)
    }

    fn claim_with(&'static self, lock: &OwnedFd) -> Granted<Option<Claimant>> {
        let serialised = self.serialise_claims(lock);
        if let Some(claimant) = self.slot_in_maps(lock, None) {
            return Ok(Some(claimant));
        }
        for slot in 0..self.header.process_slots {
            if !sys::try_lock(lock, process::lock_offset(slot))? {
                continue;
            }
            let page = self.map_lock_page(lock, slot)?;
            if !serialised && let Some(other) = self.slot_in_maps(lock, Some(slot)) {
                sys::unlock(lock, process::lock_offset(slot), 1)?;
                unmap_lock_page(page);
                return Ok(Some(other));
            }
            return self.write_record(slot).map(Some);
        }
        Ok(None)
    }

    /// Keeps other copies of the library, and other processes, from claiming at the same time; false when
    /// that didn't succeed in bounded time.
    fn serialise_claims(&self, lock: &OwnedFd) -> bool {
        for _ in 0..PATIENCE {
            match sys::try_lock(lock, CLAIM_LOCK) {
                Ok(true) => return true,
                Ok(false) => pause(),
                Err(_) => return false,
            }
        }
        false
    }

    /// Puts the lock's life on a mapping that children don't get; its address.
    fn map_lock_page(&self, lock: &OwnedFd, slot: u32) -> nix::Result<usize> {
        self.slot.open.keep_page(kernel::reserve_page, |page| {
            // A refusal leaves the address alone: the reservation may be gone, and somebody else's mapping be there.
            kernel::keep_locks(lock, process::lock_offset(slot), Some(page))?;
            // SAFETY: the page was just mapped.
            unsafe { kernel::keep_from_children(page) };
            Ok(())
        })
    }

    /// The first slot that a mapping of this process names, other than `except`, and that a copy of this library
    /// has claimed for this process.
    fn slot_in_maps(&'static self, lock: &OwnedFd, except: Option<u32>) -> Option<Claimant> {
        let mut found: Option<Claimant> = None;
        let device = (libc::major(self.id.device), libc::minor(self.id.device));
        for_each_mapping(|line| {
            if line.inode != self.id.inode || line.device != device {
                return;
            }
            let slot = process::slot_of_lock(line.offset, self.header.process_slots);
            let slot =
                slot.filter(|slot| Some(*slot) != except && found.is_none_or(|found| *slot < found.slot));
            found = slot.and_then(|slot| self.own_claim(lock, slot)).or(found);
        });
        found
    }

    /// The claim of `slot`, if it is held, and by this process.
    ///
    /// A child made by a raw `clone` during a claim may have the page without the lock, and the parent holds the slot
    /// or has left it to another.
    fn own_claim(&'static self, lock: &OwnedFd, slot: u32) -> Option<Claimant> {
        sys::first_lock(lock, process::lock_offset(slot), 1).ok().flatten()?;
        let offset = self.header.process_slot(slot);
        let mut bytes = [0; process::STRIDE];
        self.reach(offset).ok()?.copy(offset, &mut bytes).ok()?;
        let process = Process::decode(&bytes, offset).ok().flatten()?;
        let words: &'static SlotWords = self.at(offset).ok()?;
        if !words.has_written(process.generation) {
            return None;
        }
        let mut stat = [0; 512];
        let me = (std::process::id(), pid_namespace(), start_ticks(read_into("/proc/self/stat", &mut stat)));
        let (generation, process_id, pid) = (process.generation as u32, process.process_id, process.pid);
        ((pid, process.pid_namespace, process.start_ticks) == me).then_some(Claimant {
            slot,
            generation,
            process_id,
            pid,
        })
    }

    /// Bumps the slot's generation and writes who has it now.
    fn write_record(&'static self, slot: u32) -> Granted<Claimant> {
        let offset = self.header.process_slot(slot);
        let words: &'static SlotWords = self.at(offset)?;
        let generation = words.begin();
        let now = sys::unix_ns();
        let (mut command, mut stat) = ([0; 64], [0; 512]);
        let me = Process {
            generation,
            process_id: self.slot.process_id(now / 1_000_000),
            pid: std::process::id(),
            uid: nix::unistd::geteuid().as_raw(),
            claimed_unix_ns: now,
            start_ticks: start_ticks(read_into("/proc/self/stat", &mut stat)),
            pid_namespace: pid_namespace(),
            command: read_into("/proc/self/comm", &mut command).trim_end(),
            role: &self.role,
            labels: &self.process_labels,
            label_count: self.process_label_count,
        };
        let mut record = [0; process::STRIDE - 64];
        if me.encode(offset, &mut record).is_err() {
            Process { role: "", labels: &[], label_count: 0, ..me }.encode(offset, &mut record)?;
        }
        let at = process::record_offset(offset);
        self.reach(at)?.store(at, &record)?;
        let generation = generation as u32;
        Ok(Claimant { slot, generation, process_id: me.process_id, pid: me.pid })
    }

    /// Runs `work` while no other thread of this process claims a gauge cell; none when one keeps at it.
    pub(crate) fn serialised<R>(&'static self, slot: u32, work: impl FnOnce() -> R) -> Option<R> {
        let words: &'static SlotWords = self.at(self.header.process_slot(slot)).ok()?;
        let me = this_thread() as u64;
        for attempt in 0..PATIENCE {
            match words.enter(me) {
                Ok(()) => {
                    let done = work();
                    words.leave();
                    return Some(done);
                }
                Err(claimer) if claimer == me => break, // this is a signal handler, and waiting would be in vain
                Err(_) if attempt > 16 => pause(),
                Err(_) => (),
            }
        }
        self.count(Statistic::DroppedBusy, 1);
        None
    }
}

/// Gives up a page that a claim has mapped, without access, and that nobody else knows of.
fn unmap_lock_page(page: usize) {
    // SAFETY: as above: mapped by map_lock_page(), never read or written.
    unsafe { kernel::drop_locks(page) };
}

/// A number that no other thread of the process has, larger than any state: the address of its `errno`.
/// Async-signal-safe.
fn this_thread() -> usize {
    // SAFETY: gives an address, which is not followed.
    unsafe { libc::__errno_location() as usize }
}

/// A short sleep; async-signal-safe, unlike a lock.
fn pause() {
    let _errno = KeepErrno::new();
    std::thread::sleep(PAUSE);
}

/// Reads the start of a small file without allocating; what isn't UTF-8 is left out.
fn read_into<'b>(path: &str, buffer: &'b mut [u8]) -> &'b str {
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC;
    let Ok(fd) = kernel::open(Path::new(path), flags, Mode::empty()) else { return "" };
    let read = nix::unistd::read(&fd, buffer).unwrap_or(0);
    let text = &buffer[..read];
    match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Number of this process's pid namespace; 0 where it can't be told.
fn pid_namespace() -> u64 {
    nix::sys::stat::stat("/proc/self/ns/pid").map_or(0, |stat| stat.st_ino)
}

/// Field 22 of `/proc/PID/stat`; the command before may hold blanks and parentheses.
fn start_ticks(stat: &str) -> u64 {
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// A line of `/proc/self/maps`, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapping {
    offset: u64,
    device: (u32, u32),
    inode: u64,
}

/// Calls `visit` for every mapping of this process, without allocating.
fn for_each_mapping(mut visit: impl FnMut(Mapping)) {
    let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_CLOEXEC;
    let Ok(fd) = kernel::open(Path::new("/proc/self/maps"), flags, Mode::empty()) else { return };
    let (mut buffer, mut filled) = ([0_u8; 8192], 0);
    loop {
        let read = match nix::unistd::read(&fd, &mut buffer[filled..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        filled += read;
        let mut start = 0;
        while let Some(len) = buffer[start..filled].iter().position(|byte| *byte == b'\n') {
            if let Some(mapping) = parse_mapping(&buffer[start..start + len]) {
                visit(mapping);
            }
            start += len + 1;
        }
        // A line longer than the buffer is a path that isn't ours: drop what was read of it.
        if start == 0 && filled == buffer.len() {
            start = filled;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
    }
}

/// `start-end perms offset major:minor inode path`, numbers in hexadecimal but the inode.
fn parse_mapping(line: &[u8]) -> Option<Mapping> {
    let line = &line[..line.len().min(120)];
    let ascii = line.iter().position(|byte| !byte.is_ascii()).map_or(line, |at| &line[..at]);
    let mut fields = std::str::from_utf8(ascii).ok()?.split_ascii_whitespace().skip(2);
    let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?);
    Some(Mapping { offset, device, inode: fields.next()?.parse().ok()? })
}

/// Before a fork: lets claims in progress finish (for a bounded time, so that the child doesn't inherit their
/// descriptors) and records the fork.
extern "C" fn before_fork() {
    let _errno = KeepErrno::new();
    for segment in attached() {
        for _ in 0..PATIENCE / 10 {
            if segment.slot.own[0].load(Ordering::Acquire) <= REFUSED {
                break;
            }
            pause();
        }
        if let Some(me) = segment.slot.claimed()
            && let Ok(words) = segment.at::<SlotWords>(segment.header.process_slot(me.slot))
        {
            words.forks.fetch_add(1, Ordering::Relaxed);
        }
    }
    FORKS.begin();
}

/// After a fork, in the parent; also when it failed.
extern "C" fn in_parent() {
    FORKS.end();
    for segment in attached() {
        segment.slot.open.forget_closed(&FORKS);
    }
}

/// In the child: gives up what a claim in progress in the parent had open, lest the child keep the parent's
/// lock alive.
extern "C" fn in_child() {
    let _errno = KeepErrno::new();
    FORKS.forget();
    wipe::wipe_by_hand();
    crate::on_scrape::close_in_child();
    for segment in attached() {
        segment.slot.open.give_up(|fd| close_inherited(fd as i32, segment), unmap_lock_page);
    }
}

fn close_inherited(fd: i32, segment: &Segment) {
    // SAFETY: if it is open it is the parent's claim that opened it, and no thread of the child will close it.
    let inherited = unsafe { OwnedFd::from_raw_fd(fd) };
    let same = fstat(inherited.as_fd()).is_ok_and(|stat| sys::FileId::of(&stat) == segment.id);
    if !same {
        let _ = inherited.into_raw_fd(); // closed before the fork, and used for something else
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_maps_is_understood() {
        let line = b"7f00-7f01 ---s 40000030000 00:19 42                  /dev/shm/x y";
        let expected = Mapping { offset: 0x400_0003_0000, device: (0, 0x19), inode: 42 };
        assert_eq!(parse_mapping(line), Some(expected));
        assert_eq!(parse_mapping(b""), None);
    }

    #[test]
    fn the_start_time_is_found_behind_an_odd_command() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20";
        assert_eq!(start_ticks(stat), 424_242);
    }

    #[test]
    #[cfg_attr(miri, ignore = "/proc/self is about Miri itself")]
    fn every_mapping_of_this_process_is_visited() {
        let mut count = 0;
        for_each_mapping(|_| count += 1);
        let lines = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
        assert!(count + 3 > lines && count < lines + 3, "{count} of {lines}");
    }
}
