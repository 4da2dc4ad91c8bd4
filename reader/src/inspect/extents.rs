//! Extents and their blocks.

use dyn_metrics_layout::error::{Error as Damage, Result as LayoutResult};
use dyn_metrics_layout::extent::{BLOCK_ALIGN, Extent, FIELDS, HEADER_BYTES, NEXT_WORD};
use dyn_metrics_layout::header::{OPEN_EXTENT, OPEN_SHARED_EXTENT};
use dyn_metrics_layout::link::Link;

use super::{Inspection, Visited, check_reserved, word_at};
use crate::raw::RawExtent;

/// Reads both chains of extents, and then those that only cells lead to.
pub(super) fn read(inspection: &mut Inspection) {
    let mut visited = Visited::new();
    let cpus = inspection.header().possible_cpus;
    for (place, expected) in [(OPEN_EXTENT, cpus), (OPEN_SHARED_EXTENT, 0)] {
        match inspection.bytes.words::<1>(place).and_then(|[word]| Link::unpack(word, place)) {
            Ok(newest) => read_chain(inspection, newest, expected, &mut visited),
            Err(fault) => inspection.findings.fault(place, fault),
        }
    }
    let of_cells = inspection.series().flat_map(|s| s.cells.iter().map(|(_, link)| (s.offset, link.extent)));
    let lost: Vec<_> = of_cells.filter(|(_, extent)| !visited.contains(extent)).collect();
    for (series, extent) in lost {
        let what = format!("cells of the series lie in the extent at {extent}, which is in no chain");
        inspection.findings.fault(series, what);
        if visited.insert(extent) {
            match read_extent(inspection, extent) {
                Ok((found, _)) => inspection.extents.push(found),
                Err(fault) => inspection.findings.fault(extent, fault),
            }
        }
    }
}

fn read_chain(inspection: &mut Inspection, newest: Option<u64>, cpus: u32, visited: &mut Visited) {
    let mut next = newest;
    while let Some(offset) = next {
        if !visited.insert(offset) {
            return inspection.findings.fault(offset, "extents form a circle, or one is in both chains");
        }
        next = match read_extent(inspection, offset) {
            Ok((extent, previous)) => {
                if extent.cpus != cpus {
                    let what = format!("CPUs of an extent: found {}, expected {cpus}", extent.cpus);
                    inspection.findings.fault(offset, what);
                }
                inspection.extents.push(extent);
                (previous != 0).then_some(previous)
            }
            Err(fault) => {
                inspection.findings.fault(offset, fault);
                None
            }
        };
    }
}

/// The extent at `offset`, and the offset of the one before it.
fn read_extent(inspection: &mut Inspection, offset: u64) -> LayoutResult<(RawExtent, u64)> {
    let mut head = vec![0; HEADER_BYTES];
    inspection.bytes.read(offset, &mut head)?;
    let extent = Extent::decode(&head, offset)?;
    check_reserved(&head, FIELDS, offset, &mut inspection.findings);
    check_block(inspection, extent.shared, extent.words)?;
    let words_drawn = word_at(&head, NEXT_WORD as usize);
    if words_drawn > u64::from(extent.words) {
        let what = format!("next word: found {words_drawn}, expected at most {}", extent.words);
        inspection.findings.fault(offset + NEXT_WORD, what);
    }
    let table = inspection.bytes.word_list(offset + HEADER_BYTES as u64, extent.cpus as usize)?;
    let mut blocks = Vec::new();
    for (cpu, word) in (0..).zip(table) {
        let place = Extent::entry_place(offset, cpu);
        let block = Link::unpack(word, place).and_then(|block| {
            block.map(|block| check_block(inspection, block, extent.words).map(|()| block)).transpose()
        });
        match block {
            Ok(block) => blocks.extend(block.map(|block| (cpu, block))),
            Err(fault) => inspection.findings.fault(place, fault),
        }
    }
    let Extent { words, cpus, previous, shared } = extent;
    Ok((RawExtent { offset, words, cpus, words_drawn, shared, blocks }, previous))
}

fn check_block(inspection: &Inspection, offset: u64, words: u32) -> LayoutResult<()> {
    let len = Extent::block_bytes(words);
    inspection.bytes.expect_inside(offset, len)?;
    if offset.is_multiple_of(BLOCK_ALIGN) { Ok(()) } else { Err(Damage::OutOfBounds { offset, len }) }
}
