//! Places in a segment that mean something.

use std::path::Path;

use dyn_metrics_layout::extent::{self, Extent};
use dyn_metrics_layout::fields::Field;
use dyn_metrics_layout::{Representation, gauge, header, index, process, record};
use dyn_metrics_reader::raw::{self, Raw};

/// Most words of a long field that are places of their own.
const WORDS: usize = 12;

/// A structure.
#[derive(Clone, Copy, Debug)]
pub struct Structure {
    /// Which file of the base.
    pub file: usize,
    /// What it is.
    pub kind: Kind,
    /// Where it lies.
    pub at: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// Sorts of structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The header.
    Header,
    /// A process slot.
    Process,
    /// An index table.
    Table,
    /// A record.
    Record,
    /// An extent.
    Extent,
    /// A gauge cell.
    Gauge,
}

/// What a place holds, if its bits mean several things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A number or text.
    Plain,
    /// A link.
    Link,
    /// A cell link.
    CellLink,
    /// An index slot.
    Slot,
    /// Owner of a gauge cell.
    Owner,
    /// Meta word of a half of a gauge cell.
    Meta,
}

/// A place of 1 to 8 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// Where it lies.
    pub at: usize,
    /// Its bytes.
    pub bytes: usize,
    /// What it holds.
    pub shape: Shape,
    /// Number of the structure that it belongs to, among all.
    pub structure: usize,
}

/// The places of a base.
#[derive(Clone, Debug, Default)]
pub struct Sites {
    /// All structures.
    pub structures: Vec<Structure>,
    /// All places.
    pub list: Vec<Site>,
    file: usize,
}

impl Sites {
    /// The places in the sound segments at `paths`.
    ///
    /// # Panics
    /// When one isn't sound.
    pub fn of(paths: &[impl AsRef<Path>]) -> Self {
        let mut sites = Self::default();
        for (file, path) in paths.iter().enumerate() {
            sites.file = file;
            let bytes = std::fs::read(path).expect("a file");
            let raw = raw::read(path).expect("a segment");
            sites.header(&raw);
            sites.tables(&raw, &bytes);
            sites.records(&raw, &bytes);
            sites.extents(&raw);
            sites.gauges(&raw);
        }
        sites
    }

    fn structure(&mut self, kind: Kind, at: u64, bytes: usize) {
        self.structures.push(Structure { file: self.file, kind, at: at as usize, bytes });
    }

    fn site(&mut self, at: u64, bytes: usize, shape: Shape) {
        let structure = self.structures.len() - 1;
        self.list.push(Site { at: at as usize, bytes, shape, structure });
    }

    fn fields(&mut self, fields: &[Field], at: u64, links: &[&str]) {
        for field in fields {
            let shape = if links.contains(&field.name) { Shape::Link } else { Shape::Plain };
            let start = at + field.offset as u64;
            for word in (0..field.bytes).step_by(8).take(WORDS) {
                self.site(start + word as u64, (field.bytes - word).min(8), shape);
            }
        }
    }

    fn header(&mut self, raw: &Raw) {
        self.structure(Kind::Header, 0, header::BYTES);
        self.fields(header::FIELDS, 0, &["open_extent", "open_shared_extent"]);
        let slots = raw.processes.iter().map(|process| process.slot);
        for slot in slots.chain([raw.header.process_slots - 1]) {
            let at = raw.header.process_slot(slot);
            self.structure(Kind::Process, at, process::STRIDE);
            self.fields(process::FIELDS, at, &[]);
        }
    }

    fn tables(&mut self, raw: &Raw, bytes: &[u8]) {
        for table in &raw.tables {
            self.structure(Kind::Table, table.offset, index::HEADER_BYTES);
            self.fields(index::FIELDS, table.offset, &["next"]);
            let mut empty = 0;
            for slot in 0..table.slots {
                let at = table.offset + index::HEADER_BYTES as u64 + 8 * u64::from(slot);
                let is_empty = super::fix::word(bytes, at as usize) == 0;
                empty += usize::from(is_empty);
                if !is_empty || empty <= WORDS {
                    self.site(at, 8, Shape::Slot);
                }
            }
        }
    }

    fn records(&mut self, raw: &Raw, bytes: &[u8]) {
        let families = raw.families.iter().map(|f| (f.offset, f.length, record::FAMILY_FIELDS));
        let series = raw.series.iter().map(|s| (s.offset, s.length, record::SERIES_FIELDS));
        for (at, length, fields) in families.chain(series) {
            self.structure(Kind::Record, at, length as usize);
            self.fields(record::HEADER_FIELDS, at, &[]);
            self.fields(fields, at, &[]);
            let body = fields.iter().map(|field| field.offset + field.bytes).max().unwrap_or(0) as u64;
            for word in (body..u64::from(length)).step_by(8).take(2 * WORDS) {
                self.site(at + word, 8, Shape::Plain);
                // Lengths of labels and states among them.
                self.site(at + word, 2, Shape::Plain);
            }
            let state = record::state_offset(at);
            for representation in Representation::ALL {
                self.site(record::cells_place(at, representation), 8, Shape::CellLink);
            }
            self.site(record::gauges_place(at), 8, Shape::Link);
            for word in [0, 40, 48, 56] {
                self.site(state + word, 8, Shape::Plain);
            }
            debug_assert!(bytes.len() as u64 >= at);
        }
    }

    fn extents(&mut self, raw: &Raw) {
        for extent in &raw.extents {
            self.structure(Kind::Extent, extent.offset, extent::HEADER_BYTES);
            self.fields(extent::FIELDS, extent.offset, &[]);
            for cpu in 0..extent.cpus {
                self.site(Extent::entry_place(extent.offset, cpu), 8, Shape::Link);
            }
            let blocks = extent.blocks.iter().map(|(_, block)| *block).chain([extent.shared]);
            for block in blocks {
                for word in (0..u64::from(extent.words)).take(WORDS) {
                    self.site(block + 8 * word, 8, Shape::Plain);
                }
            }
        }
    }

    fn gauges(&mut self, raw: &Raw) {
        let cells = raw.series.iter().flat_map(|series| &series.gauges);
        for cell in cells {
            self.structure(Kind::Gauge, cell.offset, gauge::BYTES);
            self.site(cell.offset, 8, Shape::Owner);
            self.site(cell.offset + gauge::NEXT, 8, Shape::Link);
            self.site(cell.offset + gauge::SERIES, 8, Shape::Link);
            for half in [16, 80] {
                for word in 0..5 {
                    self.site(cell.offset + half + 8 * word, 8, Shape::Plain);
                }
                self.site(cell.offset + half + 40, 8, Shape::Meta);
            }
        }
    }
}
