//! Who is attached to a segment, and who lives.

use std::time::{Duration, Instant};

use dyn_metrics_layout::gauge::Owner;
use dyn_metrics_layout::process::{Process, STRIDE, SlotWords};
use dyn_metrics_layout::record::labels;
use dyn_metrics_layout::sync::{Ordering, load_acquire};

use crate::catalog::Source;
use crate::snapshot::ProcessReport;

/// How long the kernel's answer about a lock is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// The slots of a segment's process table.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Generation at the last look; 0 never claimed.
    generation: u64,
    held: bool,
    asked: Option<Instant>,
    report: Option<ProcessReport>,
}

impl Processes {
    /// Reads the table, and asks the kernel about slots whose last answer is old or whose owner has changed.
    pub(crate) fn refresh(&mut self, source: Source<'_>, now: Instant) {
        let header = source.header();
        self.slots.resize_with(header.process_slots as usize, Slot::default);
        let (start, end) = (header.process_slot(0), header.process_slot(header.process_slots));
        let number = |offset: u64| (offset - start) / STRIDE as u64;
        let mut next = 0;
        for data in source.file.data(start, end) {
            // A slot in a hole was never claimed.
            let used = number(data.start).max(next)..number(data.end + STRIDE as u64 - 1);
            self.slots[next as usize..used.start as usize].fill_with(Slot::default);
            for number in used.clone() {
                self.slots[number as usize].refresh(source, number as u32, now);
            }
            next = used.end.max(next);
        }
        self.slots[next as usize..].fill_with(Slot::default);
    }

    /// Whether the owner of a gauge cell lives.
    pub(crate) fn is_alive(&self, owner: &Owner) -> bool {
        let slot = self.slots.get(owner.slot as usize);
        slot.is_some_and(|slot| slot.held && slot.generation as u32 == owner.generation)
    }

    /// Whether the owner of a gauge cell claimed its slot after the last look.
    pub(crate) fn is_newcomer(&self, owner: &Owner) -> bool {
        let is_behind = |slot: &Slot| (slot.generation as u32).wrapping_sub(owner.generation) > u32::MAX / 2;
        self.slots.get(owner.slot as usize).is_some_and(is_behind)
    }

    /// Whether any process lives.
    pub(crate) fn any_alive(&self) -> bool {
        self.slots.iter().any(|slot| slot.held)
    }

    /// The processes with a readable record.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &ProcessReport> {
        self.slots.iter().filter_map(|slot| slot.report.as_ref())
    }
}

impl Slot {
    fn refresh(&mut self, source: Source<'_>, number: u32, now: Instant) {
        let offset = source.header().process_slot(number);
        let Ok(words) = source.view().get::<SlotWords>(offset) else { return };
        let generation = load_acquire(&words.generation);
        if generation == 0 {
            *self = Self::default();
            return;
        }
        let renewed = generation != self.generation;
        let old = self.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= BELIEVED);
        if renewed || old {
            self.held = source.file.slot_is_held(number);
            self.asked = Some(now);
            self.generation = generation;
        }
        if renewed || self.report.is_none() {
            self.report = read_record(source, offset, number, generation);
        }
        if let Some(report) = &mut self.report {
            report.alive = self.held;
            report.http_port = u16::try_from(words.http_port.load(Ordering::Relaxed)).unwrap_or(0);
        }
    }
}

/// The record that the owner of this generation wrote; none while it writes, and when it died before.
fn read_record(source: Source<'_>, offset: u64, slot: u32, generation: u64) -> Option<ProcessReport> {
    let mut bytes = [0; STRIDE];
    source.view().copy(offset, &mut bytes).ok()?;
    let process = Process::decode(&bytes, offset).ok()??;
    (process.generation == generation).then(|| report(slot, &process))
}

/// A report of a process that is not known to live.
pub(crate) fn report(slot: u32, process: &Process<'_>) -> ProcessReport {
    ProcessReport {
        slot,
        alive: false,
        generation: process.generation,
        process_id: process.process_id,
        pid: process.pid,
        uid: process.uid,
        pid_namespace: process.pid_namespace,
        claimed_unix_ns: process.claimed_unix_ns,
        command: process.command.to_owned(),
        role: process.role.to_owned(),
        labels: labels(process.labels).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        http_port: 0,
    }
}
