//! The process table.

use dyn_metrics_layout::callbacks::MAX_SOCKETS;
use dyn_metrics_layout::error::Result as LayoutResult;
use dyn_metrics_layout::process::{FIELDS, Process, STRIDE};
use dyn_metrics_layout::record::check_labels;

use super::{Inspection, Slot, check_reserved, word_at};
use crate::processes::report;

/// How often a record is read again while its process may be writing it.
const ATTEMPTS: usize = 4;
const CLAIM: u64 = 8;
const HTTP_PORT: u64 = 32;
const CALLBACK_SOCKETS: u64 = 40;
const RECORD: u64 = 64;

/// Reads every slot.
pub(super) fn read(inspection: &mut Inspection) {
    for number in 0..inspection.header().process_slots {
        let offset = inspection.header().process_slot(number);
        match read_slot(inspection, number, offset) {
            Ok(slot) => inspection.slots.extend(slot),
            Err(fault) => inspection.findings.fault(offset, fault),
        }
    }
}

fn read_slot(inspection: &mut Inspection, number: u32, offset: u64) -> LayoutResult<Option<Slot>> {
    let mut bytes = vec![0; STRIDE];
    inspection.bytes.read(offset, &mut bytes)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let held = inspection.bytes.file.slot_is_held(number);
    for _ in 1..ATTEMPTS {
        if !held
            || matches!(Process::decode(&bytes, offset), Ok(Some(p)) if p.generation == word_at(&bytes, 0))
        {
            break;
        }
        inspection.bytes.read(offset, &mut bytes)?;
    }
    check_reserved(&bytes, FIELDS, offset, &mut inspection.findings);
    check_words(inspection, &bytes, offset, held);
    let generation = word_at(&bytes, 0);
    let report = read_record(inspection, &bytes, number, offset, held);
    Ok(Some(Slot { number, generation, held, report }))
}

fn check_words(inspection: &mut Inspection, bytes: &[u8], offset: u64, held: bool) {
    let word = |at: u64| word_at(bytes, at as usize);
    let findings = &mut inspection.findings;
    if word(CLAIM) != 0 && !held {
        findings.note(offset + CLAIM, "process died while it claimed a gauge cell");
    }
    if word(HTTP_PORT) > u64::from(u16::MAX) {
        let what = format!("port: found {}, expected at most {}", word(HTTP_PORT), u16::MAX);
        findings.fault(offset + HTTP_PORT, what);
    }
    if word(CALLBACK_SOCKETS) >> MAX_SOCKETS != 0 {
        let what = format!("sockets: found {:#x}, expected {MAX_SOCKETS} bits", word(CALLBACK_SOCKETS));
        findings.fault(offset + CALLBACK_SOCKETS, what);
    }
}

fn read_record(
    inspection: &mut Inspection,
    bytes: &[u8],
    number: u32,
    offset: u64,
    held: bool,
) -> Option<crate::snapshot::ProcessReport> {
    let (generation, place, findings) = (word_at(bytes, 0), offset + RECORD, &mut inspection.findings);
    let process = match Process::decode(bytes, offset) {
        Ok(Some(process)) => process,
        Ok(None) => {
            findings.note(place, "process record missing: claimer died before it wrote it");
            return None;
        }
        Err(fault) if held => {
            findings.fault(place, format_args!("record of a living process: {fault}"));
            return None;
        }
        Err(fault) => {
            findings.note(place, format_args!("record torn: claimer died while writing ({fault})"));
            return None;
        }
    };
    if process.generation > generation {
        let found = process.generation;
        let what = format!("generation of a process record: found {found}, expected at most {generation}");
        findings.fault(place, what);
    } else if process.generation < generation {
        findings.note(place, "process record is an earlier process's: claimer died before it wrote its own");
    }
    if let Err(fault) = check_labels(process.labels, usize::from(process.label_count), place) {
        findings.fault(place, fault);
    }
    let mut report = report(number, &process);
    report.alive = held && process.generation == generation;
    report.http_port = u16::try_from(word_at(bytes, HTTP_PORT as usize)).unwrap_or(0);
    Some(report)
}
