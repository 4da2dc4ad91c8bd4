//! Gauge cells.

use dyn_metrics_layout::error::{Error as Damage, Result as LayoutResult};
use dyn_metrics_layout::gauge::{BYTES, FIELDS, GaugeCell, Half, NEXT, Reading, SERIES};
use dyn_metrics_layout::link::Link;
use dyn_metrics_layout::record::gauges_place;
use dyn_metrics_layout::sync::{AtomicU64, Ordering};

use super::{Content, Inspection, check_reserved, word_at};
use crate::gauges::MAX_CELLS;
use crate::raw::RawGauge;

/// How often a cell that changes owners meanwhile is read again.
const ATTEMPTS: usize = 4;

/// Reads the list of cells of every series.
pub(super) fn read(inspection: &mut Inspection) {
    let series: Vec<u64> = inspection.series().map(|series| series.offset).collect();
    for offset in series {
        let cells = read_list(inspection, offset);
        if let Some(record) = inspection.records.get_mut(&offset)
            && let Content::Series(series) = &mut record.content
        {
            series.gauges = cells;
        }
    }
}

fn read_list(inspection: &mut Inspection, series: u64) -> Vec<RawGauge> {
    let mut cells = Vec::new();
    let mut place = gauges_place(series);
    while cells.len() < MAX_CELLS {
        let next = inspection.bytes.words::<1>(place).and_then(|[word]| Link::unpack(word, place));
        let offset = match next {
            Ok(Some(offset)) => offset,
            Ok(None) => return cells,
            Err(fault) => {
                inspection.findings.fault(place, fault);
                return cells;
            }
        };
        if inspection.gauges.contains_key(&offset) {
            inspection
                .findings
                .fault(place, format_args!("gauge cell at {offset} is in two lists or twice in one"));
            return cells;
        }
        let cell = match read_cell(inspection, offset, series) {
            Ok(cell) => cell,
            Err(fault) => {
                inspection.findings.fault(offset, fault);
                return cells;
            }
        };
        inspection.gauges.insert(offset, cell);
        cells.push(cell);
        place = offset + NEXT;
    }
    inspection.findings.fault(place, format_args!("more than {MAX_CELLS} gauge cells in a series"));
    cells
}

/// Reads one cell; owner and contents that fail their checks are faults, but the list goes on behind them.
fn read_cell(inspection: &mut Inspection, offset: u64, series: u64) -> LayoutResult<RawGauge> {
    let mut bytes = vec![0; BYTES];
    let mut attempt = 1;
    let (reading, idle) = loop {
        inspection.bytes.read(offset, &mut bytes)?;
        let (reading, idle) = read_halves(&cell_of(&bytes), offset);
        if (reading.is_ok() && idle.is_ok()) || attempt == ATTEMPTS {
            break (reading, idle);
        }
        attempt += 1;
    };
    if !offset.is_multiple_of(8) {
        return Err(Damage::OutOfBounds { offset, len: BYTES as u64 });
    }
    let back = Link::unpack(word_at(&bytes, SERIES as usize), offset + SERIES)?;
    if back != Some(series) {
        let found = back.unwrap_or(0);
        return Err(Damage::Corrupt { what: "series of a gauge cell", offset, found, expected: series });
    }
    check_reserved(&bytes, FIELDS, offset, &mut inspection.findings);
    if let Err(fault) = idle {
        inspection.findings.fault(offset, format_args!("idle half: {fault}"));
    }
    if let Err(fault) = reading {
        inspection.findings.fault(offset, fault);
    }
    Ok(reading.map_or(RawGauge { offset, ..RawGauge::default() }, |reading| RawGauge {
        offset,
        slot: reading.owner.slot,
        generation: reading.owner.generation,
        half: reading.owner.half,
        taking: reading.owner.taking,
        pid: reading.contents.meta.pid,
        process_id: reading.contents.process_id,
        alive: false,
    }))
}

/// Reads the half that counts, and checks the idle one: zero, what an earlier owner left, or what a taker is
/// just writing.
fn read_halves(cell: &GaugeCell, offset: u64) -> (LayoutResult<Reading>, LayoutResult<()>) {
    let reading = cell.read(offset);
    let idle = match &reading {
        Ok(Reading { owner, .. }) if !owner.taking => {
            let number = 1 - owner.half;
            match cell.half(number).meta.load(Ordering::Relaxed) {
                0 => Ok(()),
                _ => cell.representation(number, offset).map(drop),
            }
        }
        _ => Ok(()),
    };
    (reading, idle)
}

/// Says which owners live, and finds owners that no slot can have.
pub(super) fn check_owners(inspection: &mut Inspection) {
    let slots = &inspection.slots;
    let owner_of = |cell: &RawGauge| slots.iter().find(|slot| slot.number == cell.slot);
    for cell in inspection.gauges.values_mut().filter(|cell| cell.pid != 0 || cell.process_id != 0) {
        let newest = owner_of(cell).map_or(0, |slot| slot.generation);
        cell.alive =
            !cell.taking && owner_of(cell).is_some_and(|s| s.held && s.generation as u32 == cell.generation);
        if cell.generation == 0 || u64::from(cell.generation) > newest {
            let what = format!(
                "owner of a gauge cell: found generation {} of slot {}, expected at most {newest}",
                cell.generation, cell.slot
            );
            inspection.findings.fault(cell.offset, what);
        }
    }
    let cells = &inspection.gauges;
    for record in inspection.records.values_mut() {
        if let Content::Series(series) = &mut record.content {
            for cell in &mut series.gauges {
                cell.alive = cells.get(&cell.offset).is_some_and(|cell| cell.alive);
            }
        }
    }
}

/// A cell with these contents.
fn cell_of(bytes: &[u8]) -> GaugeCell {
    let cell = GaugeCell::zeroed();
    let store = |word: &AtomicU64, at: usize| word.store(word_at(bytes, at), Ordering::Relaxed);
    let half = |half: &Half, at: usize| {
        store(&half.value, at);
        store(&half.stamp, at + 8);
        store(&half.retained, at + 16);
        store(&half.retained_stamp, at + 24);
        store(&half.process_id, at + 32);
        store(&half.meta, at + 40);
    };
    store(&cell.owner, 0);
    store(&cell.next, NEXT as usize);
    store(&cell.series, SERIES as usize);
    half(cell.half(0), 16);
    half(cell.half(1), 80);
    cell
}
