//! Whether structures keep to the space that was reserved, and to themselves.

use std::collections::BTreeMap;

use dyn_metrics_layout::extent::{Extent, HEADER_BYTES};
use dyn_metrics_layout::gauge;
use dyn_metrics_layout::index::table_bytes;
use dyn_metrics_layout::record::{STATE_BYTES, state_offset};

use crate::inspect::{Findings, Inspection};
use crate::raw::RawExtent;

/// A structure's place.
struct Place {
    start: u64,
    len: u64,
    what: &'static str,
}

impl Place {
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// Finds structures that overlap or lie outside reserved space, and words that two series share. Returns the
/// bytes of all structures.
pub(super) fn check(inspection: &Inspection, findings: &mut Findings) -> u64 {
    check_words(inspection, findings);
    let mut places = places(inspection);
    places.sort_by_key(|place| place.start);
    let header = inspection.header();
    let (end, chunk) = (inspection.words.reserved_end, u64::from(header.chunk_bytes));
    let mut reached = &Place { start: 0, len: header.data, what: "header and first tables" };
    let mut published = header.data;
    for place in &places {
        let Place { start, len, what } = place;
        if reached.end() > *start {
            let other = format!("{} at {}", reached.what, reached.start);
            findings.fault(*start, format_args!("{what} of {len} bytes overlaps the {other}"));
        }
        if place.end() > end {
            findings
                .fault(*start, format_args!("{what} of {len} bytes passes the end of reserved space, {end}"));
        }
        if *len > 0 && start / chunk != (place.end() - 1) / chunk {
            findings.fault(*start, format_args!("{what} of {len} bytes crosses a multiple of {chunk}"));
        }
        published = published.saturating_add(*len);
        if place.end() > reached.end() {
            reached = place;
        }
    }
    published
}

fn places(inspection: &Inspection) -> Vec<Place> {
    let mut places = Vec::new();
    for table in inspection.tables.iter().skip(1) {
        places.push(Place { start: table.offset, len: table_bytes(table.slots), what: "index table" });
    }
    for (offset, record) in &inspection.records {
        let len = STATE_BYTES as u64 + u64::from(record.length);
        places.push(Place { start: state_offset(*offset), len, what: "record" });
    }
    for extent in &inspection.extents {
        let len = HEADER_BYTES as u64 + 8 * u64::from(extent.cpus);
        places.push(Place { start: extent.offset, len, what: "extent" });
        let len = Extent::block_bytes(extent.words);
        places.push(Place { start: extent.shared, len, what: "shared block" });
        let blocks = extent.blocks.iter().map(|(_, start)| Place { start: *start, len, what: "block" });
        places.extend(blocks);
    }
    for offset in inspection.gauges.keys() {
        places.push(Place { start: *offset, len: gauge::BYTES as u64, what: "gauge cell" });
    }
    places
}

/// Finds cells outside what was drawn from their extent, and words of two series.
fn check_words(inspection: &Inspection, findings: &mut Findings) {
    let extents: BTreeMap<u64, &RawExtent> = inspection.extents.iter().map(|e| (e.offset, e)).collect();
    let mut used: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
    for series in inspection.series() {
        let Some(family) = inspection.family(series.family) else { continue };
        let words = family.kind.cell_words(family.bounds.len()) as u64;
        for (representation, link) in &series.cells {
            let Some(extent) = extents.get(&link.extent) else { continue };
            let (start, end) = (u64::from(link.word), u64::from(link.word) + words);
            if end > extent.words_drawn || end > u64::from(extent.words) {
                let (drawn, at) = (extent.words_drawn, extent.offset);
                let what = format!(
                    "{representation:?} cells: found words {start}..{end} of the extent at {at}, expected at \
                     most {drawn} drawn of {}",
                    extent.words
                );
                findings.fault(series.offset, what);
            }
            // Words of a removed series may be another's by now.
            if series.removed || words == 0 {
                continue;
            }
            let before = used.range(..(link.extent, end)).next_back().map(|(key, value)| (*key, *value));
            if let Some(((extent, _), (other_end, other))) = before
                && extent == link.extent
                && other_end > start
            {
                let what =
                    format!("words {start}..{end} of the extent at {extent} are the series' at {other} too");
                findings.fault(series.offset, what);
            }
            used.insert((link.extent, start), (end, series.offset));
        }
    }
}
