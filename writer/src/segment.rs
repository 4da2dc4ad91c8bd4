//! A segment that this process has attached to: checked access to its bytes, and drawing space from it.
//!
//! Attached segments are never released while the process lives: handles hold addresses in them.
#![allow(unsafe_code, reason = "a list of attached segments that are never freed; a borrowed raw descriptor")]

use crate::local::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::path::PathBuf;

use dyn_metrics_layout::header::{self, Header, Statistic};
use dyn_metrics_layout::view::{Mapped, View};
use dyn_metrics_layout::{self as layout, process, space};
use nix::errno::Errno;

use crate::cells::{Cells, LocalExtent};
use crate::error::Error;
use crate::family::FamilyCore;
use crate::gauge_cells::GaugeCore;
use crate::lookup::LocalTable;
use crate::map::Map;
use crate::once_map::OnceMap;
use crate::options::Builder;
use crate::origin::Origin;
use crate::slot::SlotClaim;
use crate::sys::{self, FileId, KeepErrno};
use crate::wipe;

/// Why something could not be had from the segment. Copied, never allocated: cold paths run in updates.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The bytes are damaged, or the segment is at its limit.
    Layout(layout::Error),
    /// The kernel said no.
    Kernel(Errno),
}

impl From<layout::Error> for Refusal {
    fn from(error: layout::Error) -> Self {
        Self::Layout(error)
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

pub(crate) type Granted<T> = std::result::Result<T, Refusal>;

/// An attached segment.
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) id: FileId,
    pub(crate) header: Header,
    /// The kernel that created it is the one that runs.
    pub(crate) same_boot: bool,
    /// Updates may use per-CPU blocks.
    pub(crate) per_cpu: bool,
    pub(crate) role: String,
    pub(crate) process_labels: Vec<u8>,
    pub(crate) process_label_count: u16,
    pub(crate) slot: SlotClaim,
    pub(crate) extents: OnceMap<LocalExtent>,
    pub(crate) families: OnceMap<FamilyCore>,
    pub(crate) gauges: OnceMap<GaugeCore>,
    pub(crate) infos: OnceMap<Origin>,
    /// Cells by their series, for each representation.
    pub(crate) cells: [OnceMap<Cells>; 3],
    pub(crate) tables: OnceMap<LocalTable>,
    /// Set when a block could not be had; cleared by the next successful registration.
    pub(crate) no_blocks: AtomicBool,
    /// Set once a thread was found without CPU number, and counted.
    rseq_lost: AtomicBool,
    /// Set when a gauge found no space for its cell; cleared likewise.
    pub(crate) gauges_without_space: AtomicBool,
    map: Map,
    fd: AtomicI32,
    file_bytes: AtomicU64,
    /// Space that a lost race left, for the next record: offset / 64 in the upper 48 bits, bytes / 64 below.
    /// Wiped in a forked child: the parent will use it.
    spare: &'static AtomicUsize,
    next: AtomicPtr<Segment>,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Attached segments, newest first.
static ATTACHED: AtomicPtr<Segment> = AtomicPtr::new(std::ptr::null_mut());

/// Every attached segment. Async-signal-safe.
pub(crate) fn attached() -> impl Iterator<Item = &'static Segment> {
    let mut next = ATTACHED.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null or a segment that was leaked by adopt() and is never freed.
        let segment: &'static Segment = unsafe { next.as_ref() }?;
        next = segment.next.load(Ordering::Acquire);
        Some(segment)
    })
}

/// Length of the file, once it is whole: chunks are mapped to their end, and a hole (in a copy, say) that is
/// written when the filesystem is full would be a SIGBUS. Nothing is drawn beyond `max_bytes`, so what lies there,
/// which somebody else has added, is left alone.
fn make_whole(fd: &OwnedFd, chunk_bytes: u32, max_bytes: u64) -> nix::Result<u64> {
    let stat = nix::sys::stat::fstat(fd)?;
    let number = |n: i64| u64::try_from(n).unwrap_or(0);
    let (len, allocated) = (number(stat.st_size).min(max_bytes), 512 * number(stat.st_blocks));
    let whole = len.next_multiple_of(u64::from(chunk_bytes));
    if len < whole || allocated < whole {
        sys::allocate(fd, 0, whole)?;
    }
    Ok(whole)
}

impl Segment {
    /// The attached segment with this device and inode.
    pub(crate) fn find(id: FileId) -> Option<&'static Self> {
        attached().find(|segment| segment.id == id)
    }

    /// Maps the checked file behind `fd` and lists it, unless another thread was faster.
    pub(crate) fn adopt(
        fd: OwnedFd,
        id: FileId,
        header: Header,
        options: &Builder,
    ) -> crate::Result<&'static Self> {
        let io =
            |action, errno: Errno| Error::Io { path: options.path.clone(), action, source: errno.into() };
        let file_bytes = make_whole(&fd, header.chunk_bytes, header.max_bytes)
            .map_err(|errno| io("allocate what it lacks", errno))?;
        let map = Map::new(&fd, u64::from(header.chunk_bytes), header.data, header.max_bytes)
            .map_err(|errno| io("map it", errno))?;
        let process_labels = options.encode_process_labels()?;
        let boot_id = sys::boot_id();
        // Zeros: creator or attacher had no /proc to read it from.
        let same_boot = [boot_id, header.boot_id].contains(&[0, 0]) || header.boot_id == boot_id;
        let reserve = |errno| io("reserve wipe-on-fork memory", errno);
        let segment = Box::new(Self {
            path: std::path::absolute(&options.path).unwrap_or_else(|_| options.path.clone()),
            id,
            header,
            same_boot,
            per_cpu: same_boot && matches!(crate::percpu::path(), crate::percpu::Path::Rseq { .. }),
            role: options.role.clone(),
            process_labels,
            process_label_count: options.process_labels.len() as u16,
            slot: SlotClaim::new().map_err(reserve)?,
            extents: OnceMap::new(header.max_bytes),
            families: OnceMap::new(header.max_bytes),
            gauges: OnceMap::new(header.max_bytes),
            infos: OnceMap::new(header.max_bytes),
            cells: std::array::from_fn(|_| OnceMap::new(header.max_bytes)),
            tables: OnceMap::new(header.max_bytes),
            no_blocks: AtomicBool::new(false),
            rseq_lost: AtomicBool::new(false),
            gauges_without_space: AtomicBool::new(false),
            map,
            fd: AtomicI32::new(fd.as_raw_fd()),
            file_bytes: AtomicU64::new(file_bytes),
            spare: &wipe::words(1).map_err(reserve)?[0],
            next: AtomicPtr::new(std::ptr::null_mut()),
        });
        Ok(segment.list(fd))
    }

    /// Puts the segment on the list for ever; gives back the listed one when another thread was faster.
    fn list(self: Box<Self>, fd: OwnedFd) -> &'static Self {
        // Before anybody can count through it. Should another thread be faster, its page says the same.
        if let Err(errno) = self.note_use() {
            log::debug!("{}: not noted as in use: {errno}", self.path.display());
        }
        let raw = Box::into_raw(self);
        loop {
            let head = ATTACHED.load(Ordering::Acquire);
            // SAFETY: `raw` was just leaked and is not freed before it is listed.
            let this: &'static Self = unsafe { &*raw };
            if let Some(listed) = Self::find(this.id) {
                // SAFETY: `raw` was never listed: no reference to it exists but `this`, which ends here.
                drop(unsafe { Box::from_raw(raw) });
                return listed;
            }
            this.next.store(head, Ordering::Release);
            if ATTACHED.compare_exchange(head, raw, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                let _ = fd.into_raw_fd();
                this.count(Statistic::ProcessesAttached, 1);
                this.count_path();
                return this;
            }
        }
    }

    /// Runs `work` with a descriptor of the segment's file.
    ///
    /// A host may have closed every descriptor, perhaps to open others under the same numbers, even the segment
    /// for reading: then a new one is opened by name. Async-signal-safe.
    pub(crate) fn with_fd<R>(&self, work: impl FnOnce(BorrowedFd<'_>) -> nix::Result<R>) -> nix::Result<R> {
        let _errno = KeepErrno::new();
        // SAFETY: a number that is no longer ours, or no descriptor at all, is found out by fstat below.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd.load(Ordering::Acquire).max(0)) };
        if FileId::of_fd(fd) == Ok(self.id) && sys::is_writable(fd) {
            return work(fd);
        }
        let reopened = sys::open_existing(&self.path)?;
        if FileId::of_fd(&reopened)? != self.id {
            return Err(Errno::EBADF);
        }
        let raw = reopened.into_raw_fd();
        self.fd.store(raw, Ordering::Release);
        // SAFETY: just opened, and from now on never closed by us.
        work(unsafe { BorrowedFd::borrow_raw(raw) })
    }

    /// Makes sure that the chunk with `offset` is mapped, and gives a view.
    pub(crate) fn reach(&'static self, offset: u64) -> Granted<View<'static, Map>> {
        let view = View::new(&self.map);
        if view.word(offset & !7).is_err() {
            self.with_fd(|fd| self.map.ensure(fd, offset))?;
        }
        Ok(view)
    }

    /// The structure at `offset`, mapped if need be.
    pub(crate) fn at<T: Mapped>(&'static self, offset: u64) -> Granted<&'static T> {
        Ok(self.reach(offset)?.get(offset)?)
    }

    /// The word at `offset`, mapped if need be.
    pub(crate) fn word(&'static self, offset: u64) -> Granted<&'static layout::sync::AtomicU64> {
        self.at(offset)
    }

    /// Counts something refused or lost, in the header.
    pub(crate) fn count(&'static self, statistic: Statistic, n: u64) {
        if let Ok(word) = self.word(statistic.offset()) {
            word.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Counts this process by the path of its updates.
    fn count_path(&'static self) {
        let reason = match crate::percpu::path() {
            crate::percpu::Path::Shared(reason) => reason.statistic(),
            crate::percpu::Path::Rseq { .. } if !self.same_boot => Statistic::SharedReboot,
            crate::percpu::Path::Rseq { .. } => return,
        };
        self.count(reason, 1);
        self.count(Statistic::ProcessesWithoutRseq, 1);
    }

    /// Counts, once, that a thread of this process has no CPU number although others have. Async-signal-safe.
    pub(crate) fn count_lost_rseq(&'static self) {
        if !self.rseq_lost.load(Ordering::Relaxed) && !self.rseq_lost.swap(true, Ordering::Relaxed) {
            self.count(Statistic::RseqLost, 1);
        }
    }

    /// Draws zeroed space. Async-signal-safe.
    pub(crate) fn draw(&'static self, bytes: u64, align: u64) -> Granted<u64> {
        space::reserve(self.end()?, bytes, align, self.limits(), |needed| self.grow(needed))
    }

    /// Makes sure that structures of these sizes can be drawn, so that a refusal leaves none of them behind.
    pub(crate) fn make_room(&'static self, sizes: &[u64]) -> Granted<()> {
        space::make_room(self.end()?, sizes, self.limits(), |needed| self.grow(needed))
    }

    fn limits(&self) -> space::Limits {
        let chunk_bytes = u64::from(self.header.chunk_bytes);
        space::Limits { chunk_bytes, max_bytes: self.header.max_bytes }
    }

    /// The cursor of reserved space.
    fn end(&'static self) -> Granted<&'static layout::sync::AtomicU64> {
        let end = self.word(header::RESERVED_END)?;
        let (found, expected) = (end.load(Ordering::Relaxed), self.header.data);
        if found < expected {
            // Damaged: what is drawn there would overwrite the header or the tables behind it.
            let (what, offset) = ("end of reserved space", header::RESERVED_END);
            return Err(layout::Error::Corrupt { what, offset, found, expected }.into());
        }
        Ok(end)
    }

    /// Makes the file at least `needed` bytes long.
    fn grow(&self, needed: u64) -> Granted<()> {
        if needed <= self.file_bytes.load(Ordering::Acquire) {
            return Ok(());
        }
        let chunk = u64::from(self.header.chunk_bytes);
        let len = self.with_fd(|fd| {
            let mut len = u64::try_from(nix::sys::stat::fstat(fd)?.st_size).unwrap_or(0);
            while len < needed {
                let step = chunk - len % chunk;
                sys::allocate(fd, len, step)?;
                len += step;
            }
            Ok(len)
        })?;
        self.file_bytes.fetch_max(len, Ordering::AcqRel);
        Ok(())
    }

    /// Draws space for a record and its state block, zeroed, aligned to 64; a spare one first.
    pub(crate) fn draw_record(&'static self, bytes: u64) -> Granted<u64> {
        let spare = self.spare.swap(0, Ordering::AcqRel) as u64;
        let (offset, room) = ((spare >> 16) << 6, (spare & 0xffff) << 6);
        if spare == 0 || room < bytes {
            self.keep_spare(offset, room);
            return self.draw(bytes.next_multiple_of(64), 64);
        }
        let view = self.reach(offset)?;
        for word in view.words(offset, (room / 8) as usize)? {
            word.store(0, Ordering::Relaxed);
        }
        Ok(offset)
    }

    /// Takes a read lock that says that the file is in use, and leaves it to a page without access: children inherit
    /// it, since they count through their parent's handles without a slot of their own; exec and death release it.
    fn note_use(&self) -> nix::Result<()> {
        let lock = self.with_fd(sys::reopen).or_else(|_| self.reopen_by_name())?;
        sys::share_lock(&lock, process::USERS_LOCK)?;
        crate::kernel::keep_locks(&lock, process::USERS_LOCK, None).map(drop)
    }

    /// A descriptor with a description of its own, where `/proc` doesn't lead to one.
    pub(crate) fn reopen_by_name(&self) -> nix::Result<OwnedFd> {
        let reopened = sys::open_existing(&self.path)?;
        if FileId::of_fd(&reopened)? == self.id { Ok(reopened) } else { Err(Errno::ESTALE) }
    }

    /// Forgets what could not be had: a registration has just succeeded, so it may be to be had now.
    pub(crate) fn try_again(&'static self) {
        self.no_blocks.store(false, Ordering::Relaxed);
        if self.slot.forget_refusal() {
            let _ = self.claimant();
        }
        self.tell_of_refusal();
        if self.gauges_without_space.swap(false, Ordering::AcqRel) {
            self.gauges.for_each(GaugeCore::retry);
        }
    }

    /// Keeps space that nobody else has seen for the next record.
    pub(crate) fn keep_spare(&self, offset: u64, bytes: u64) {
        let packed = (offset >> 6) << 16 | (bytes.div_ceil(64)).min(0xffff);
        if bytes > 0 {
            let _ = self.spare.compare_exchange(0, packed as usize, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    /// Whether the process that claimed `slot` under `generation` still lives; true when it can't be told.
    ///
    /// `fd` is that of [`Self::with_fd`]: checked once for many questions.
    pub(crate) fn is_alive(&'static self, fd: Option<BorrowedFd<'_>>, slot: u32, generation: u32) -> bool {
        if slot >= self.header.process_slots {
            return false;
        }
        let Ok(words) = self.at::<process::SlotWords>(self.header.process_slot(slot)) else { return true };
        let is_locked =
            |fd| sys::first_lock(fd, process::lock_offset(slot), 1).map_or(true, |held| held.is_some());
        words.is_alive(generation, || fd.is_none_or(is_locked))
    }

    /// An error that names this segment.
    pub(crate) fn error(&self, what: &'static str, refusal: Refusal) -> Error {
        let path = self.path.clone();
        match refusal {
            Refusal::Layout(source @ layout::Error::Full { .. }) => {
                let reason = format!("{source}; remedy: Builder::max_bytes of a fresh segment");
                Error::Full { path, what, reason }
            }
            Refusal::Layout(source @ layout::Error::TooLong { .. }) => {
                Error::TooLong { metric: what.to_owned(), source }
            }
            Refusal::Layout(source) => Error::Damaged { path, source },
            Refusal::Kernel(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => {
                let reason = format!("filesystem full ({errno}); remedy: remove files there or enlarge it");
                Error::Full { path, what, reason }
            }
            Refusal::Kernel(Errno::EFBIG) => {
                let reason = "file size limit (RLIMIT_FSIZE) reached; remedy: raise ulimit -f".to_owned();
                Error::Full { path, what, reason }
            }
            Refusal::Kernel(errno) => Error::Io { path, action: "reach it", source: errno.into() },
        }
    }
}
