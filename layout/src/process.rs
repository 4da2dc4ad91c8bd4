//! The process table: who is attached, and how a death shows.
//!
//! A slot is claimed by an open-file-description write lock on a byte far beyond the end of the file, so
//! the kernel arbitrates and the kernel releases. What is written into the slot is for people and for
//! gauge cells; whether a process lives is asked of the lock alone.

use crate::error::{Error, Result};
use crate::fields::{Field, field, put, u16_at, u32_at, u64_at};
use crate::hash::checksum;
use crate::sync::{AtomicU64, Ordering, fence};

/// Bytes from slot to slot.
pub const STRIDE: usize = 512;
/// Offset in the file of slot 0's lock byte; slot `n` is [`LOCK_STRIDE`] times `n` further on.
pub const LOCK_BASE: u64 = 1 << 42;
/// Bytes from lock byte to lock byte; a multiple of every page size.
pub const LOCK_STRIDE: u64 = 1 << 16;
/// Offset of the lock byte that serialises replacement.
pub const REPLACE_LOCK: u64 = LOCK_BASE - LOCK_STRIDE;
/// Offset of the lock byte that serialises the claims of slots.
pub const CLAIM_LOCK: u64 = LOCK_BASE - 2 * LOCK_STRIDE;
/// Offset of the byte on which every process that may count into the file holds a read lock, with a slot or without.
pub const USERS_LOCK: u64 = LOCK_BASE - 3 * LOCK_STRIDE;

const RECORD: usize = 64;
const CHECKSUM: usize = 64;
const GENERATION: usize = 72;
const PROCESS_ID: usize = 80;
const PID: usize = 88;
const UID: usize = 92;
const CLAIMED: usize = 96;
const START_TICKS: usize = 104;
const PID_NAMESPACE: usize = 112;
const COMMAND_LEN: usize = 120;
const ROLE_LEN: usize = 122;
const LABELS_LEN: usize = 124;
const LABEL_COUNT: usize = 126;
const TEXT: usize = 128;

/// Bytes for command, role and labels together.
pub const MAX_TEXT: usize = STRIDE - TEXT;

/// The fields of a slot.
pub const FIELDS: &[Field] = &[
    field("generation", 0, 8, "atomic: claims of this slot so far; 0 never claimed"),
    field("claim", 8, 8, "atomic: not 0 while a thread of the process claims a gauge cell"),
    field("forks", 16, 8, "atomic: the process has forked this often"),
    field("oldest", 24, 8, "atomic: reserved for the reuse of retired cells"),
    field("http_port", 32, 8, "atomic: port of the process's own server; 0 none"),
    field("callback_sockets", 40, 8, "atomic: bit n, 0 to 7: socket n of the process answers; see Callbacks"),
    field("reserved", 48, 16, "0"),
    field("checksum", CHECKSUM, 8, "XXH64, seed = offset of the slot, of bytes 72 to 512"),
    field("record_generation", GENERATION, 8, "the generation that wrote this record"),
    field("process_id", PROCESS_ID, 8, "ms since 1970 (40 bits), 24 random bits; one for all segments"),
    field("pid", PID, 4, "pid in the process's own namespace, for people"),
    field("uid", UID, 4, "effective user id"),
    field("claimed", CLAIMED, 8, "time of the claim, ns since 1970"),
    field("start_ticks", START_TICKS, 8, "field 22 of /proc/PID/stat"),
    field("pid_namespace", PID_NAMESPACE, 8, "inode of the process's pid namespace"),
    field("command_len", COMMAND_LEN, 2, "bytes of the command"),
    field("role_len", ROLE_LEN, 2, "bytes of the role"),
    field("labels_len", LABELS_LEN, 2, "bytes of the label block"),
    field("label_count", LABEL_COUNT, 2, "number of labels"),
    field("text", TEXT, MAX_TEXT, "command, role and label block, one after the other; then 0"),
];

/// The words of a slot that change.
#[repr(C)]
#[derive(Debug)]
pub struct SlotWords {
    /// Claims of this slot so far.
    pub generation: AtomicU64,
    /// Serialises the claims of gauge cells by one process's threads; 0 when free.
    pub claim: AtomicU64,
    /// Forks of the process.
    pub forks: AtomicU64,
    /// Reserved for the reuse of retired cells.
    pub oldest: AtomicU64,
    /// Port of the process's own server.
    pub http_port: AtomicU64,
    /// Which of the process's sockets for on-scrape callbacks there are; see [`crate::callbacks`].
    pub callback_sockets: AtomicU64,
    _reserved: [AtomicU64; 2],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<SlotWords>() == RECORD);

impl SlotWords {
    /// Words of zeros, for models and tests.
    #[must_use]
    pub fn zeroed() -> Self {
        let word = || AtomicU64::new(0);
        let reserved = [word(), word()];
        Self {
            generation: word(),
            claim: word(),
            forks: word(),
            oldest: word(),
            http_port: word(),
            callback_sockets: word(),
            _reserved: reserved,
        }
    }

    /// Makes the slot the caller's, who has just locked its byte; the new generation. The record is written next.
    ///
    /// Clears first what the process before has left: whoever sees the generation, or a record of it, sees that.
    pub fn begin(&self) -> u64 {
        for word in [&self.claim, &self.forks, &self.oldest, &self.http_port, &self.callback_sockets] {
            word.store(0, Ordering::Relaxed);
        }
        let generation = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        self.generation.store(generation, Ordering::Release); // pairs with: is_alive()
        fence(Ordering::Release); // pairs with: has_written()
        generation
    }

    /// Whether a record of `generation`, which the caller has just read, is of the process that has the slot.
    pub fn has_written(&self, generation: u64) -> bool {
        fence(Ordering::Acquire); // pairs with: begin()
        self.generation.load(Ordering::Relaxed) == generation
    }

    /// Whether the process that claimed the slot under `generation`, of which these are the lower 32 bits, lives.
    pub fn is_alive(&self, generation: u32, is_locked: impl FnOnce() -> bool) -> bool {
        self.generation.load(Ordering::Acquire) as u32 == generation && is_locked()
    }

    /// Lets the thread `me`, not 0, be the one of its process that claims a gauge cell, until [`Self::leave`].
    ///
    /// # Errors
    /// The thread that is it already.
    pub fn enter(&self, me: u64) -> core::result::Result<(), u64> {
        self.claim.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).map(drop)
    }

    /// Ends what [`Self::enter`] began.
    pub fn leave(&self) {
        self.claim.store(0, Ordering::Release); // pairs with: enter()
    }
}

/// Offset of a slot's lock byte.
#[must_use]
pub const fn lock_offset(slot: u32) -> u64 {
    LOCK_BASE + slot as u64 * LOCK_STRIDE
}

/// The slot whose lock byte lies at `offset`, if one of `slots` does.
#[must_use]
pub const fn slot_of_lock(offset: u64, slots: u32) -> Option<u32> {
    if offset < LOCK_BASE || !(offset - LOCK_BASE).is_multiple_of(LOCK_STRIDE) {
        return None;
    }
    let slot = (offset - LOCK_BASE) / LOCK_STRIDE;
    if slot < slots as u64 { Some(slot as u32) } else { None }
}

/// What a process says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process<'b> {
    /// Generation of the slot that this record belongs to.
    pub generation: u64,
    /// Identity of the process, one for all segments: milliseconds since 1970 in the upper 40 bits, random below.
    pub process_id: u64,
    /// Pid in the process's own namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Time of the claim, nanoseconds since 1970.
    pub claimed_unix_ns: u64,
    /// Field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
    /// Inode of the pid namespace.
    pub pid_namespace: u64,
    /// Command name.
    pub command: &'b str,
    /// Role given by the application; may be empty.
    pub role: &'b str,
    /// Label block, see [`crate::record::labels`].
    pub labels: &'b [u8],
    /// Number of labels.
    pub label_count: u16,
}

impl<'b> Process<'b> {
    /// Encodes the record for the slot at `offset`: bytes 64 to 512 of the slot.
    ///
    /// # Errors
    /// [`Error::TooLong`] when command, role and labels don't fit.
    pub fn encode(&self, offset: u64, out: &mut [u8; STRIDE - RECORD]) -> Result<()> {
        let parts = [self.command.as_bytes(), self.role.as_bytes(), self.labels];
        let found = parts.iter().map(|part| part.len()).sum();
        if found > MAX_TEXT {
            return Err(Error::TooLong { what: "role and labels of the process", found, limit: MAX_TEXT });
        }
        out.fill(0);
        let at = |field: usize| field - RECORD;
        put(out, at(GENERATION), &self.generation.to_le_bytes());
        put(out, at(PROCESS_ID), &self.process_id.to_le_bytes());
        put(out, at(PID), &self.pid.to_le_bytes());
        put(out, at(UID), &self.uid.to_le_bytes());
        put(out, at(CLAIMED), &self.claimed_unix_ns.to_le_bytes());
        put(out, at(START_TICKS), &self.start_ticks.to_le_bytes());
        put(out, at(PID_NAMESPACE), &self.pid_namespace.to_le_bytes());
        for (field, part) in [(COMMAND_LEN, parts[0]), (ROLE_LEN, parts[1]), (LABELS_LEN, parts[2])] {
            put(out, at(field), &(part.len() as u16).to_le_bytes());
        }
        put(out, at(LABEL_COUNT), &self.label_count.to_le_bytes());
        let mut next = at(TEXT);
        for part in parts {
            put(out, next, part);
            next += part.len();
        }
        let sum = checksum(&[&out[at(GENERATION)..]], offset);
        put(out, at(CHECKSUM), &sum.to_le_bytes());
        Ok(())
    }

    /// Reads the record from a copy of a whole slot; none when the slot was never claimed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the checksum or a length is wrong: the claimer died while it wrote, or the
    /// copy was taken while it did.
    pub fn decode(slot: &'b [u8], offset: u64) -> Result<Option<Self>> {
        if slot.len() < STRIDE {
            return Err(Error::OutOfBounds { offset, len: STRIDE as u64 });
        }
        if slot[RECORD..STRIDE].iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let (found, expected) = (u64_at(slot, CHECKSUM), checksum(&[&slot[GENERATION..STRIDE]], offset));
        let corrupt = |what, found, expected| Error::Corrupt { what, offset, found, expected };
        if found != expected {
            return Err(corrupt("process record checksum", found, expected));
        }
        let lens = [COMMAND_LEN, ROLE_LEN, LABELS_LEN].map(|at| usize::from(u16_at(slot, at)));
        let ends = [lens[0], lens[0] + lens[1], lens[0] + lens[1] + lens[2]];
        if ends[2] > MAX_TEXT {
            return Err(corrupt("process text length", ends[2] as u64, MAX_TEXT as u64));
        }
        let text = &slot[TEXT..STRIDE];
        let utf8 = |bytes| core::str::from_utf8(bytes).map_err(|_| corrupt("process text", 0, 0));
        Ok(Some(Self {
            generation: u64_at(slot, GENERATION),
            process_id: u64_at(slot, PROCESS_ID),
            pid: u32_at(slot, PID),
            uid: u32_at(slot, UID),
            claimed_unix_ns: u64_at(slot, CLAIMED),
            start_ticks: u64_at(slot, START_TICKS),
            pid_namespace: u64_at(slot, PID_NAMESPACE),
            command: utf8(&text[..ends[0]])?,
            role: utf8(&text[ends[0]..ends[1]])?,
            labels: &text[ends[1]..ends[2]],
            label_count: u16_at(slot, LABEL_COUNT),
        }))
    }
}

/// Offset of the record in its slot.
#[must_use]
pub const fn record_offset(slot_offset: u64) -> u64 {
    slot_offset + RECORD as u64
}

/// Makes a process identity from the time and a random number.
#[must_use]
pub const fn process_id(unix_ms: u64, random: u64) -> u64 {
    (unix_ms & ((1 << 40) - 1)) << 24 | (random & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: Process<'static> = Process {
        generation: 3,
        process_id: 7 << 24 | 9,
        pid: 4242,
        uid: 1000,
        claimed_unix_ns: 11,
        start_ticks: 12,
        pid_namespace: 13,
        command: "vllm",
        role: "décodeur",
        labels: b"",
        label_count: 0,
    };

    fn slot(process: &Process<'_>) -> [u8; STRIDE] {
        let mut record = [0; STRIDE - RECORD];
        process.encode(4096, &mut record).unwrap();
        let mut slot = [0; STRIDE];
        slot[RECORD..].copy_from_slice(&record);
        slot
    }

    #[test]
    fn a_process_record_survives_encoding_and_refuses_flips() {
        let bytes = slot(&WORKER);
        assert_eq!(Process::decode(&bytes, 4096), Ok(Some(WORKER)));
        assert!(Process::decode(&bytes, 4608).is_err());
        for at in RECORD..STRIDE {
            let mut flipped = bytes;
            flipped[at] ^= 1;
            assert!(Process::decode(&flipped, 4096).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_slot_never_claimed_holds_no_process() {
        assert_eq!(Process::decode(&[0; STRIDE], 4096), Ok(None));
    }

    #[test]
    fn text_that_does_not_fit_is_refused() {
        let role = "x".repeat(MAX_TEXT);
        let mut out = [0; STRIDE - RECORD];
        let error = Process { role: &role, ..WORKER }.encode(0, &mut out).unwrap_err();
        assert_eq!(
            error,
            Error::TooLong { what: "role and labels of the process", found: MAX_TEXT + 4, limit: MAX_TEXT }
        );
    }

    #[test]
    fn a_lock_offset_names_its_slot() {
        assert_eq!(slot_of_lock(lock_offset(5), 8), Some(5));
        assert_eq!(slot_of_lock(lock_offset(8), 8), None);
        assert_eq!(slot_of_lock(REPLACE_LOCK, 8), None);
        assert_eq!(slot_of_lock(lock_offset(1) + 1, 8), None);
    }
}
