//! The structures of a segment as they lie there, for people.

use std::path::{Path, PathBuf};

use dyn_metrics_layout::header::{Header, Statistic};
use dyn_metrics_layout::link::CellLink;
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use crate::error::Error;
use crate::skip::Skip;
use crate::snapshot::ProcessReport;

/// A segment's structures.
#[derive(Clone, Debug)]
pub struct Raw {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the file.
    pub bytes_file: u64,
    /// Fixed part of the header.
    pub header: Header,
    /// Offset of the first byte nobody has reserved.
    pub reserved_end: u64,
    /// State word: 0 current, 1 superseded.
    pub state: u64,
    /// Whether the reuse of retired cells has ended.
    pub no_reuse: bool,
    /// Labels added to every sample.
    pub common_labels: Vec<(String, String)>,
    /// What was refused or lost.
    pub statistics: Vec<(Statistic, u64)>,
    /// Processes, by slot.
    pub processes: Vec<ProcessReport>,
    /// Index tables, oldest first.
    pub tables: Vec<RawTable>,
    /// Family records, by offset.
    pub families: Vec<RawFamily>,
    /// Series records, by offset.
    pub series: Vec<RawSeries>,
    /// Extents, newest first, those with a shared block only last.
    pub extents: Vec<RawExtent>,
    /// What could not be read.
    pub skipped: Vec<Skip>,
}

/// An index table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTable {
    /// Its offset.
    pub offset: u64,
    /// Slots.
    pub slots: u32,
    /// Slots in use.
    pub used: u32,
}

/// A family's record.
#[derive(Clone, Debug, PartialEq)]
pub struct RawFamily {
    /// Its offset.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
    /// Exposed name.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// Gauge mode.
    pub mode: GaugeMode,
    /// Unit; may be empty.
    pub unit: String,
    /// Upper bounds.
    pub bounds: Vec<f64>,
    /// States.
    pub states: Vec<String>,
    /// Priority level.
    pub level: u8,
    /// Only shared blocks are used.
    pub shared_only: bool,
    /// Limit of series.
    pub max_series: u32,
    /// Samples of dead processes kept.
    pub keep_dead: u32,
    /// Who registered it.
    pub registrant: String,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Series registered.
    pub series: u64,
    /// Label sets refused at the limit.
    pub refused: u64,
}

/// A series' record.
#[derive(Clone, Debug, PartialEq)]
pub struct RawSeries {
    /// Its offset.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
    /// Offset of its family's record.
    pub family: u64,
    /// Name of its family.
    pub name: String,
    /// Labels.
    pub labels: Vec<(String, String)>,
    /// Whether it stands for all label sets beyond the limit.
    pub overflow: bool,
    /// Whether it was removed.
    pub removed: bool,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Its cells.
    pub cells: Vec<(Representation, CellLink)>,
    /// Its gauge cells, newest first.
    pub gauges: Vec<RawGauge>,
}

/// A gauge cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawGauge {
    /// Its offset.
    pub offset: u64,
    /// Slot of its owner.
    pub slot: u32,
    /// Generation of that slot, lower 32 bits.
    pub generation: u32,
    /// Which half counts.
    pub half: usize,
    /// Whether the owner is still taking it over.
    pub taking: bool,
    /// Pid of whom the contents belong to.
    pub pid: u32,
    /// Identity of that process.
    pub process_id: u64,
    /// Whether it lives.
    pub alive: bool,
}

/// An extent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawExtent {
    /// Its offset.
    pub offset: u64,
    /// Words of each block.
    pub words: u32,
    /// Entries of the block table; 0 for an extent with a shared block only.
    pub cpus: u32,
    /// Words drawn.
    pub words_drawn: u64,
    /// Offset of the shared block.
    pub shared: u64,
    /// CPU and offset of each block.
    pub blocks: Vec<(u32, u64)>,
}

/// Reads the structures of the segment at `path`.
///
/// # Errors
/// When it can't be opened or its header can't be read.
pub fn read(path: impl AsRef<Path>) -> Result<Raw, Error> {
    Err(Error::NotFound { path: path.as_ref().to_owned() })
}
