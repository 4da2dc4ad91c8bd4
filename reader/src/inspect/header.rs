//! The words of the header that change; the fixed part is checked when the file is opened.

use dyn_metrics_layout::header::{
    self, FIELDS, NO_REUSE, RESERVED_END, STATE, STATE_CURRENT, STATE_SUPERSEDED, STATISTICS, Statistic,
};
use dyn_metrics_layout::record::check_labels;

use super::{Findings, HeaderWords, Inspection, check_reserved, word_at};

/// Offset of the common labels.
const COMMON_LABELS: u64 = 1024;
/// Words of the statistics.
const STATISTIC_WORDS: usize = 64;

/// Reads the header's words and checks what can be said about them.
pub(super) fn read(inspection: &mut Inspection) {
    let mut bytes = vec![0; header::BYTES];
    if let Err(fault) = inspection.bytes.read(0, &mut bytes) {
        return inspection.findings.fault(0, fault);
    }
    check_reserved(&bytes, FIELDS, 0, &mut inspection.findings);
    let word = |offset: u64| word_at(&bytes, offset as usize);
    let statistic = |number| word(STATISTICS + 8 * number as u64);
    let words = HeaderWords {
        reserved_end: word(RESERVED_END),
        state: word(STATE),
        no_reuse: word(NO_REUSE),
        statistics: (0..STATISTIC_WORDS).map(statistic).collect(),
    };
    check_words(inspection, &words);
    let fixed = *inspection.header();
    if let Err(fault) = check_labels(fixed.common_labels(&bytes), fixed.common_count as usize, COMMON_LABELS)
    {
        inspection.findings.fault(COMMON_LABELS, fault);
    }
    inspection.words = words;
}

fn check_words(inspection: &mut Inspection, words: &HeaderWords) {
    let header = *inspection.header();
    let _ = inspection.bytes.expect_inside(words.reserved_end, 0);
    let limit = header.max_bytes.min(inspection.bytes.len());
    let findings = &mut inspection.findings;
    let end = words.reserved_end;
    if !(header.data..=limit).contains(&end) || !end.is_multiple_of(8) {
        let what =
            format!("reserved end: found {end}, expected a multiple of 8 in {}..={limit}", header.data);
        findings.fault(RESERVED_END, what);
    }
    if let Ok(len) = inspection.bytes.file.full_len()
        && len > header.max_bytes
    {
        let what = format!(
            "length of the file: found {len}, expected at most {}; the rest is not read",
            header.max_bytes
        );
        findings.fault(header.max_bytes, what);
    }
    let is_in_use = inspection.slots.iter().any(|slot| slot.held) || inspection.bytes.file.is_in_use();
    if let Some(found) = inspection.bytes.file.allocated()
        && found < inspection.bytes.len()
        && is_in_use
    {
        let what = format!(
            "allocated bytes: found {found}, expected {}, as it is in use: somebody punched a hole, or truncated it",
            inspection.bytes.len()
        );
        findings.fault(0, what);
    }
    check_refusals(words, findings);
    if words.state != STATE_CURRENT && words.state != STATE_SUPERSEDED {
        findings.fault(STATE, format_args!("state: found {}, expected 0 or 1", words.state));
    }
    for (number, value) in words.statistics.iter().enumerate().skip(Statistic::ALL.len()) {
        if *value != 0 {
            // A newer writer may count more than this version knows.
            findings.note(STATISTICS + 8 * number as u64, format_args!("unknown statistic: found {value}"));
        }
    }
}

/// Notes what had no room: nothing of it is damage.
fn check_refusals(words: &HeaderWords, findings: &mut Findings) {
    for (statistic, what) in [
        (Statistic::RefusedFull, "registrations refused for want of space"),
        (Statistic::PrivateFull, "gauges kept private for want of space"),
    ] {
        let count = words.statistics.get(statistic as usize).copied().unwrap_or(0);
        if count > 0 {
            findings.note(statistic.offset(), format_args!("{what}: found {count} so far"));
        }
    }
}
