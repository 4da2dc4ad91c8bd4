//! The structures of a segment as they lie there, for people.

use std::path::{Path, PathBuf};

use dyn_metrics_layout::header::{Header, Statistic};
use dyn_metrics_layout::link::CellLink;
use dyn_metrics_layout::record;
use dyn_metrics_layout::{GaugeMode, Kind, Representation};

use crate::error::Error;
use crate::inspect::{Content, Fault, Inspection, Severity};
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
    /// Structures that are damaged, each seen for itself; [`crate::check`] sees more.
    pub skipped: Vec<Fault>,
    /// Findings beyond [`crate::check::MAX_FAULTS`].
    pub omitted: u64,
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
    /// Help text.
    pub help: String,
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
    /// How often one of its series was removed, or was about to be.
    pub removals: u64,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Reads the structures of the segment at `path`, which may be dead or a copy, and changes nothing.
///
/// # Errors
/// When it can't be opened or its header can't be read.
pub fn read(path: impl AsRef<Path>) -> Result<Raw, Error> {
    let inspection = Inspection::of(path.as_ref())?;
    let header = *inspection.header();
    let header_bytes = inspection.bytes.file.header_bytes();
    let common = record::labels(header.common_labels(header_bytes));
    let statistics = Statistic::ALL.iter().zip(&inspection.words.statistics);
    let table = |table: &crate::inspect::Table| RawTable {
        offset: table.offset,
        slots: table.slots,
        used: table.used.len() as u32,
    };
    let (mut families, mut series) = (Vec::new(), Vec::new());
    for record in inspection.records.into_values() {
        match record.content {
            Content::Family(family) => families.push(family),
            Content::Series(one) => series.push(one),
        }
    }
    let (faults, omitted) = inspection.findings.into_sorted();
    Ok(Raw {
        path: path.as_ref().to_owned(),
        bytes_file: inspection.bytes.len(),
        header,
        reserved_end: inspection.words.reserved_end,
        state: inspection.words.state,
        no_reuse: inspection.words.no_reuse != 0,
        common_labels: common.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        statistics: statistics.map(|((statistic, _), value)| (*statistic, *value)).collect(),
        processes: inspection.slots.into_iter().filter_map(|slot| slot.report).collect(),
        tables: inspection.tables.iter().map(table).collect(),
        families,
        series,
        extents: inspection.extents,
        skipped: faults.into_iter().filter(|fault| fault.severity == Severity::Fault).collect(),
        omitted,
    })
}
