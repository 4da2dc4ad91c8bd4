//! Edits: what an input says, and doing it.
//!
//! An input is a byte that chooses the base, a byte of flags, and then 12 bytes for each edit, at most [`MAX_EDITS`]:
//! number of the place (2 bytes), operation, argument, value (8 bytes). Every input means something.

use std::ops::Range;

use dyn_metrics_layout::gauge::{Meta, Owner};
use dyn_metrics_layout::link::{CellLink, Link};
use dyn_metrics_layout::record::cells_place;
use dyn_metrics_layout::{Representation, header, index};

use super::fix::{fix, word};
use super::sites::{Kind, Shape, Site, Sites, Structure};

pub mod records;

/// Bytes of an edit.
pub const EDIT_BYTES: usize = 12;
/// Most edits of an input.
pub const MAX_EDITS: usize = 32;
/// Most bytes that a file may gain.
const MAX_GROWTH: u64 = 1 << 20;
/// Bit of the argument: makes the checksum right afterwards.
pub const FIX: u8 = 0x80;

/// Numbers at which something may change its mind.
pub const EDGES: [u64; 24] = [
    0,
    1,
    2,
    7,
    8,
    63,
    64,
    127,
    128,
    255,
    256,
    512,
    4096,
    8192,
    32_768,
    65_535,
    65_536,
    1 << 20,
    u32::MAX as u64,
    1 << 32,
    header::MIN_CHUNK as u64 - 8,
    0xffff_ffff_ffff,
    1 << 63,
    u64::MAX,
];

/// Doubles that are odd.
const DOUBLES: [f64; 12] = [
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
    -0.0,
    f64::MAX,
    f64::MIN_POSITIVE,
    5e-324,
    -1.0,
    1e21,
    0.1,
    1e6,
    9_007_199_254_740_993.0,
];

/// One edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Number of the place.
    pub site: u16,
    /// What to do: see the code of [`apply`].
    pub operation: u8,
    /// How.
    pub argument: u8,
    /// With what.
    pub value: u64,
}

/// Number of operations.
pub const OPERATIONS: u8 = 16;

/// What an input says.
#[derive(Clone, Debug)]
pub struct Input {
    /// Chooses the base.
    pub base: u8,
    /// Whether the processes live that do in the base.
    pub living: bool,
    /// Whether the second half of the edits comes while the segment is followed.
    pub two_steps: bool,
    /// The edits.
    pub edits: Vec<Edit>,
}

impl Input {
    /// Reads an input.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (head, rest) = bytes.split_at(bytes.len().min(2));
        let [base, flags] = [0, 1].map(|at| head.get(at).copied().unwrap_or(0));
        let edits = rest.chunks_exact(EDIT_BYTES).take(MAX_EDITS).map(|edit| Edit {
            site: u16::from_le_bytes([edit[0], edit[1]]),
            operation: edit[2],
            argument: edit[3],
            value: edit[4..].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        });
        Self { base, living: flags & 1 == 0, two_steps: flags & 2 != 0, edits: edits.collect() }
    }

    /// The edits of each step.
    #[must_use]
    pub fn steps(&self) -> [&[Edit]; 2] {
        let (first, second) =
            self.edits.split_at(if self.two_steps { self.edits.len() / 2 } else { self.edits.len() });
        [first, second]
    }
}

/// Bytes of an edited base, and which of them were changed.
#[derive(Clone, Debug, Default)]
pub struct Edited {
    /// Bytes of each file.
    pub files: Vec<Vec<u8>>,
    /// Changed ranges with the number of their file.
    pub dirty: Vec<(usize, Range<usize>)>,
    /// Pages to be punched out, with the number of their file.
    pub holes: Vec<(usize, u64)>,
    /// Lengths, where they are not those of the bytes.
    pub lengths: Vec<(usize, u64)>,
}

impl Edited {
    /// Changes bytes; what isn't in the file stays out.
    pub fn write(&mut self, file: usize, at: usize, bytes: &[u8]) {
        let Some(end) = at.checked_add(bytes.len()) else { return };
        if let Some(place) = self.files[file].get_mut(at..end) {
            place.copy_from_slice(bytes);
            self.dirty.push((file, at..end));
        }
    }

    fn fix(&mut self, structure: &Structure) {
        let Structure { file, kind, at, .. } = *structure;
        for place in fix(&mut self.files[file], kind, at) {
            let end = place.saturating_add(8).min(self.files[file].len());
            self.dirty.push((file, place.min(end)..end));
        }
    }

    /// Stores a word.
    fn set(&mut self, file: usize, at: usize, value: u64) {
        self.write(file, at, &value.to_le_bytes());
    }
}

/// Does `edits`, and then makes checksums right where they ask for it.
pub fn apply(edits: &[Edit], sites: &Sites, edited: &mut Edited) {
    let mut fixed: Vec<usize> = Vec::new();
    for edit in edits {
        let Some(site) = sites.list.get(edit.site as usize % sites.list.len().max(1)) else { continue };
        apply_one(edit, site, sites, edited);
        if edit.argument & FIX != 0 && !fixed.contains(&site.structure) {
            fixed.push(site.structure);
        }
    }
    // The header last: others need its seed, and it needs none of them.
    fixed.sort_unstable();
    fixed.iter().rev().for_each(|number| edited.fix(&sites.structures[*number]));
}

fn apply_one(edit: &Edit, site: &Site, sites: &Sites, edited: &mut Edited) {
    let structure = &sites.structures[site.structure];
    let (file, value) = (structure.file, edit.value);
    let length = edited.files[file].len() as u64;
    let old = word(&edited.files[file], site.at);
    let target = &sites.structures[value as usize % sites.structures.len()];
    match edit.operation % OPERATIONS {
        0 => store(edited, file, site, value),
        1 => store(edited, file, site, old ^ 1 << (value % (8 * site.bytes as u64))),
        2 => store(edited, file, site, old.wrapping_add(i64::from(value as i8) as u64)),
        3 => {
            let from = &sites.list[value as usize % sites.list.len()];
            let from_file = sites.structures[from.structure].file;
            store(edited, file, site, word(&edited.files[from_file], from.at));
        }
        4 => {
            let offset = target.at as u64 + 8 * (u64::from(edit.argument) & 7);
            store(edited, file, site, packed(site, offset, value >> 32, old, &edited.files[file]));
        }
        5 if site.shape == Shape::Plain => {
            store(edited, file, site, EDGES[value as usize % EDGES.len()]);
        }
        5 => {
            let word = packed(site, value & 0xffff_ffff_ffff, value >> 32, value, &edited.files[file]);
            store(edited, file, site, word);
        }
        6 => {
            let word = packed(site, structure.at as u64, value, old, &edited.files[file]);
            store(edited, file, site, word);
        }
        7 => edited.write(file, (value % length.max(1)) as usize, &[(value >> 56) as u8]),
        8 => edited.lengths.push((file, value % (length + 1))),
        9 => edited.lengths.push((file, length + value % MAX_GROWTH)),
        10 => edited.holes.push((file, (value % length.max(1)) & !4095)),
        11 => clone(structure, value, edited),
        12 => records::add_series(structure, sites, value, edited),
        13 => records::add_family(file, value, edit.argument, edited),
        14 => bind(structure, sites, edit, edited),
        _ => store(edited, file, site, DOUBLES[value as usize % DOUBLES.len()].to_bits()),
    }
}

fn store(edited: &mut Edited, file: usize, site: &Site, value: u64) {
    edited.write(file, site.at, &value.to_le_bytes()[..site.bytes]);
}

/// A word that passes its check at this place and leads to `offset`; `more` and `bits` say the rest.
fn packed(site: &Site, offset: u64, more: u64, bits: u64, bytes: &[u8]) -> u64 {
    let place = site.at as u64;
    match site.shape {
        Shape::Plain => offset,
        Shape::Link => Link::pack(offset, place),
        Shape::CellLink => CellLink { extent: offset & !63, word: more as u32 & 1023 }.pack(place),
        Shape::Slot => index::pack(offset, word(bytes, offset as usize + 16)),
        Shape::Owner => {
            let (generation, half) = (more as u32 & 0xff, (bits >> 48 & 1) as usize);
            Owner { slot: bits as u32 & 7, generation, half, taking: bits >> 49 & 1 != 0 }.pack(place)
        }
        Shape::Meta => {
            let representation = |n: u64| Representation::ALL[n as usize % Representation::COUNT];
            let (representation, retained) = (representation(more), representation(more >> 8));
            let process_id = word(bytes, site.at - 8);
            Meta { pid: bits as u32 & 0xff, representation, retained }.pack(process_id)
        }
    }
}

/// Copies a structure elsewhere and makes it right there; a free slot of the index leads to a record.
fn clone(structure: &Structure, value: u64, edited: &mut Edited) {
    let Structure { file, kind, at, bytes } = *structure;
    let Some(content) = edited.files[file].get(at..at + bytes).map(<[u8]>::to_vec) else { return };
    let to = (value as u32 as usize % edited.files[file].len().max(1)) & !63;
    edited.write(file, to, &content);
    if edited.files[file].len() < to + bytes {
        return;
    }
    edited.fix(&Structure { at: to, ..*structure });
    if kind == Kind::Record {
        publish(edited, file, to, (value >> 32) as usize);
    }
}

/// Has slot `slot` of the first index table lead to the record at `at`.
fn publish(edited: &mut Edited, file: usize, at: usize, slot: usize) {
    let table = word(&edited.files[file], 136) as usize;
    let place = table.saturating_add(index::HEADER_BYTES + 8 * (slot % index::MIN_SLOTS as usize));
    let hash = word(&edited.files[file], at + 16);
    edited.write(file, place, &index::pack(at as u64, hash).to_le_bytes());
}

/// Gives a record cells in an extent that is there.
fn bind(structure: &Structure, sites: &Sites, edit: &Edit, edited: &mut Edited) {
    let extents = || sites.structures.iter().filter(|s| s.kind == Kind::Extent && s.file == structure.file);
    let count = extents().count().max(1);
    let Some(extent) = extents().nth(edit.value as usize % count) else { return };
    let representation = Representation::ALL[edit.argument as usize % Representation::COUNT];
    let place = cells_place(structure.at.max(64) as u64, representation);
    let link = CellLink { extent: extent.at as u64, word: (edit.value >> 32) as u32 & 0x1ff };
    edited.write(structure.file, place as usize, &link.pack(place).to_le_bytes());
}
