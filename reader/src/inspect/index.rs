//! The index and the records it leads to.

use std::collections::BTreeMap;

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::error::Result as LayoutResult;
use dyn_metrics_layout::index::{self, FIELDS, HEADER_BYTES, NEXT};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::record::{
    self, FAMILY_TAG, Family, HEADER_FIELDS, REMOVED, REMOVING, RecordHead, STATE_FIELDS, Series,
    cells_place, state_offset,
};

use super::{Content, Inspection, Record, Table, Visited, check_reserved, word_at};
use crate::catalog::{FIRST_READ, MAX_TABLES, record_bytes};
use crate::raw::{RawFamily, RawSeries};

/// Reads the chain of tables, then their slots, those of the newest table first: a table is full before the
/// next one is used, and so it is full in what was read later.
pub(super) fn read_tables(inspection: &mut Inspection) {
    let mut visited = Visited::new();
    let mut next = Some(inspection.header().index);
    while let Some(offset) = next {
        if visited.len() == MAX_TABLES || !visited.insert(offset) {
            return inspection.findings.fault(offset, "index tables form a circle or too long a chain");
        }
        next = match read_table_head(inspection, offset) {
            Ok((slots, next)) => {
                inspection.tables.push(Table { offset, slots, used: Vec::new() });
                next
            }
            Err(fault) => {
                inspection.findings.fault(offset, fault);
                None
            }
        };
    }
    for number in (0..inspection.tables.len()).rev() {
        let Table { offset, slots, used } = &mut inspection.tables[number];
        let start = *offset + HEADER_BYTES as u64;
        let keep = |slot, word| used.push((slot, word));
        if let Err(fault) = inspection.bytes.used_words(start, *slots, keep) {
            inspection.findings.fault(start, fault);
        }
    }
}

/// Number of slots, and the next table's offset.
fn read_table_head(inspection: &mut Inspection, offset: u64) -> LayoutResult<(u32, Option<u64>)> {
    let mut head = vec![0; HEADER_BYTES];
    inspection.bytes.read(offset, &mut head)?;
    let slots = index::decode_header(&head, offset)?;
    inspection.bytes.expect_inside(offset, index::table_bytes(slots))?;
    check_reserved(&head, FIELDS, offset, &mut inspection.findings);
    let place = offset + NEXT;
    let next = Link::unpack(word_at(&head, NEXT as usize), place);
    if let Err(fault) = next {
        inspection.findings.fault(place, fault);
    }
    Ok((slots, next.unwrap_or(None)))
}

/// Reads the record behind every slot.
pub(super) fn read_records(inspection: &mut Inspection) {
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    for table in 0..inspection.tables.len() {
        for used in 0..inspection.tables[table].used.len() {
            let (slot, word) = inspection.tables[table].used[used];
            let (place, offset) =
                (slot_place(&inspection.tables[table], slot as usize), index::record_of(word));
            if let Some(other) = seen.insert(offset, place) {
                let what = format!("index slot leads to the record at {offset}, as the one at {other} does");
                inspection.findings.fault(place, what);
                continue;
            }
            match read_record(inspection, offset) {
                Ok(record) => {
                    check_slot(inspection, table, used, &record);
                    inspection.records.insert(offset, record);
                }
                Err(fault) => {
                    inspection
                        .findings
                        .fault(offset, format_args!("record of index slot at {place}: {fault}"));
                }
            }
        }
    }
    find_families(inspection);
}

/// Offset of a slot.
fn slot_place(table: &Table, slot: usize) -> u64 {
    table.offset + HEADER_BYTES as u64 + 8 * slot as u64
}

/// Whether a slot may hold its record: hash bits and probe window.
fn check_slot(inspection: &mut Inspection, table: usize, used: usize, record: &Record) {
    let table = &inspection.tables[table];
    let (slot, word) = table.used[used];
    let (slot, place) = (slot as usize, slot_place(table, slot as usize));
    let (slots, hash) = (table.slots as usize, record.identity_hash);
    if !index::may_hold(word, hash) {
        let expected = index::pack(index::record_of(word), hash);
        let what = format!("index slot: found {word:#x}, expected {expected:#x} (bits of the identity hash)");
        inspection.findings.fault(place, what);
    }
    if !index::window(slots, hash).any(|at| at == slot) {
        inspection.findings.fault(place, "index slot lies outside the probe window of its record");
    }
}

/// Whether a writer's search for this hash meets the record at `offset`; taken for granted when all searches
/// together have become too long.
pub(crate) fn contains(inspection: &Inspection, offset: u64, hash: u64) -> bool {
    for table in &inspection.tables {
        let mut used = table.used.as_slice();
        for (number, slot) in index::window(table.slots as usize, hash).enumerate() {
            let Some(left) = inspection.search_steps.get().checked_sub(1) else { return true };
            inspection.search_steps.set(left);
            if number == 0 || slot == 0 {
                used = table.used_from(slot);
            }
            let word = match used {
                [(known, word), rest @ ..] if *known as usize == slot => {
                    used = rest;
                    *word
                }
                // It may have been filled after it was copied.
                _ => inspection.bytes.words::<1>(slot_place(table, slot)).map_or(0, |[word]| word),
            };
            if word == 0 {
                return false;
            }
            if index::may_hold(word, hash) && index::record_of(word) == offset {
                return true;
            }
        }
    }
    false
}

/// Adds the families of known series whose slots were filled after they were copied, and names all series.
fn find_families(inspection: &mut Inspection) {
    let wanted: Visited = inspection.series().map(|series| series.family).collect();
    for offset in wanted.into_iter().filter(|family| inspection.family(*family).is_none()).collect::<Vec<_>>()
    {
        if let Ok(record) = read_record(inspection, offset)
            && matches!(record.content, Content::Family(_))
            && contains(inspection, offset, record.identity_hash)
        {
            inspection.records.insert(offset, record);
        }
    }
    let names: BTreeMap<u64, String> = inspection.families().map(|f| (f.offset, f.name.clone())).collect();
    for record in inspection.records.values_mut() {
        if let Content::Series(series) = &mut record.content
            && let Some(name) = names.get(&series.family)
        {
            series.name.clone_from(name);
        }
    }
}

fn read_record(inspection: &mut Inspection, offset: u64) -> LayoutResult<Record> {
    inspection.bytes.expect_inside(offset, HEADER_BYTES as u64)?;
    // Before anything is read, and then for the rest of it.
    inspection.bytes.charge(offset, FIRST_READ as u64)?;
    let bytes = record_bytes(&inspection.bytes.file, offset, inspection.bytes.len())?;
    inspection.bytes.charge(offset, bytes.len().saturating_sub(FIRST_READ) as u64)?;
    let head = RecordHead::decode(&bytes, offset)?;
    let seed = inspection.header().hash_seed;
    let mut content = if head.tag == FAMILY_TAG {
        Content::Family(raw_family(offset, &Family::decode(&bytes, offset, seed)?, head.length))
    } else {
        Content::Series(raw_series(offset, &Series::decode(&bytes, offset, seed)?, head.length))
    };
    check_reserved(&bytes, HEADER_FIELDS, offset, &mut inspection.findings);
    if head.flags > 1 {
        inspection.findings.note(offset + 2, format_args!("flags: found {:#x}, known 0 and 1", head.flags));
    }
    read_state(inspection, offset, &mut content);
    Ok(Record { length: head.length, identity_hash: head.identity_hash, content })
}

/// Reads the state block before a record.
fn read_state(inspection: &mut Inspection, offset: u64, content: &mut Content) {
    let start = state_offset(offset);
    let state = match inspection.bytes.words::<8>(start) {
        Ok(state) => state,
        Err(fault) => return inspection.findings.fault(start, fault),
    };
    let findings = &mut inspection.findings;
    if state[0] > REMOVING {
        findings.fault(start, format_args!("state: found {}, expected 0 to {REMOVING}", state[0]));
    }
    let zero: &[usize] = match content {
        Content::Family(_) => &[2, 3, 4, 5],
        Content::Series(_) => &[5, 6, 7],
    };
    for &number in zero.iter().filter(|number| state[**number] != 0) {
        let name =
            STATE_FIELDS.iter().rfind(|field| field.offset <= 8 * number).map_or("", |field| field.name);
        let what = format!("{name} in a state block: found {:#x}, expected 0", state[number]);
        findings.fault(start + 8 * number as u64, what);
    }
    match content {
        Content::Family(family) => {
            (family.removals, family.series, family.refused) = (state[1], state[6], state[7]);
        }
        Content::Series(series) => {
            series.removed = state[0] == REMOVED;
            for representation in Representation::ALL {
                let place = cells_place(offset, representation);
                match CellLink::unpack(state[1 + representation as usize], place) {
                    Ok(link) => series.cells.extend(link.map(|link| (representation, link))),
                    Err(fault) => findings.fault(place, fault),
                }
            }
        }
    }
}

fn raw_family(offset: u64, family: &Family<'_>, length: u32) -> RawFamily {
    RawFamily {
        offset,
        length,
        name: family.name.to_owned(),
        kind: family.kind,
        mode: family.mode,
        help: family.help.to_owned(),
        unit: family.unit.to_owned(),
        bounds: family.bounds.iter().collect(),
        states: family.states.iter().map(str::to_owned).collect(),
        level: family.level,
        shared_only: family.shared_only,
        max_series: family.max_series,
        keep_dead: family.keep_dead,
        registrant: family.registrant.to_owned(),
        created_unix_ns: family.created_unix_ns,
        series: 0,
        removals: 0,
        refused: 0,
    }
}

fn raw_series(offset: u64, series: &Series<'_>, length: u32) -> RawSeries {
    RawSeries {
        offset,
        length,
        family: series.family,
        name: String::new(),
        labels: record::labels(series.labels).map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
        overflow: series.overflow,
        removed: false,
        created_unix_ns: series.created_unix_ns,
        cells: Vec::new(),
        gauges: Vec::new(),
    }
}
