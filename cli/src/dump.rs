//! `dyn-metrics dump`: what the metrics in a segment say.

mod family;
mod filter;
mod histogram;
pub mod raw;

use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use dyn_metrics_reader::{ProcessReport, SegmentReport, Snapshot, encode};

use crate::error::CliError;
use crate::processes;
use crate::segment::{SegmentArgs, collect, complain_about, served};
use crate::text::{self, Style, plural};
use crate::time::{ago, now_unix_ns, utc};
use crate::{Outcome, complain};
use filter::Filter;

const EXAMPLES: &str = "\
Examples:
  dyn-metrics dump
  dyn-metrics dump /dev/shm/dynamo --family '*_seconds' --family '*_total'
  dyn-metrics dump --label model=llama-3-8b --label status=error
  dyn-metrics dump --family '*_first_token_seconds' --buckets
  dyn-metrics dump --level 0
  dyn-metrics dump --format json | jq '.families[].name'
  dyn-metrics dump '/run/metrics/*.shm'
  dyn-metrics dump --raw | less

A dead service's segment can be read as well as a living one's, and so can a copy of it. Gauges of the modes whose \
names begin with `live` show living processes only, and a copy has none: then `livesum`, the default, is 0, and those \
of the other live modes are not shown. Superseded files beside the segment are merged into it, as by the exporter.

SEGMENT may be a directory or a glob, whose segments are merged as by the exporter; with --raw it is one file.

Exit status: 0 fine, 1 parts could not be read or no series matches, 2 nothing could be read.";

/// Show what the metrics in a segment say
///
/// As a table, in which numbers that are not whole are rounded to six digits and quantiles are estimated by linear
/// interpolation inside their bucket; or exactly, as JSON or Prometheus text.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DumpArgs {
    #[command(flatten)]
    segment: SegmentArgs,

    /// What to write
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    format: Format,

    #[command(flatten)]
    filter: Filter,

    /// Show each bucket of histograms in the table; the other formats have them anyway
    #[arg(long)]
    buckets: bool,

    /// Show what a directory or a glob leads to also if it belongs to this user, not only to oneself or root
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,

    /// Show the structures in the file instead: header, processes, index, records, gauge cells, extents, blocks
    #[arg(long, conflicts_with_all = ["format", "family", "label", "level", "buckets", "allow_uid"])]
    raw: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Table,
    /// One object, with segments and processes
    Json,
    /// Text 0.0.4, as the exporter serves it but for what it says of itself (dyn_metrics_exporter_*); without any
    /// self-metrics where families or labels are chosen
    Prometheus,
}

/// Writes the segment that `args` names to standard output.
pub fn run(args: &DumpArgs) -> Result<Outcome, CliError> {
    let path = args.segment.path()?;
    if args.buckets && args.format != Format::Table {
        return Err(CliError::BucketsWithoutTable);
    }
    if args.raw {
        return raw::run(&path);
    }
    let mut snapshot = collect(&path, &args.allow_uid)?;
    args.filter.apply(&mut snapshot);
    let out = &mut BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Table => {
            let view = View { style: Style::of_stdout(), buckets: args.buckets, short: args.filter.is_set() };
            view.write(&snapshot, out)?;
        }
        Format::Json => write_encoded(out, |bytes| encode::json::encode(&snapshot, bytes))?,
        Format::Prometheus if args.filter.is_set() => {
            write_encoded(out, |bytes| encode::text::encode_families(&snapshot.families, bytes))?;
        }
        Format::Prometheus => write_encoded(out, |bytes| encode::text::encode(&snapshot, bytes))?,
    }
    out.flush()?;
    let outcome = complain_about(&snapshot);
    if args.filter.is_set() && snapshot.families.is_empty() {
        complain(&format!("{path}: no series matches"));
        return Ok(Outcome::Problems);
    }
    Ok(outcome)
}

/// Writes the table of the segment at `path` to standard output.
pub fn print(path: &str, style: Style) -> Result<Outcome, CliError> {
    let snapshot = collect(path, &[])?;
    let out = &mut BufWriter::new(io::stdout().lock());
    View { style, buckets: false, short: false }.write(&snapshot, out)?;
    out.flush()?;
    Ok(complain_about(&snapshot))
}

/// Writes `snapshot` as a table, with each bucket of histograms.
pub fn write_table(snapshot: &Snapshot, style: Style, out: &mut dyn Write) -> io::Result<()> {
    View { style, buckets: true, short: false }.write(snapshot, out)
}

fn write_encoded(out: &mut impl Write, encode: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    out.write_all(&bytes)
}

/// How a snapshot is shown to people.
#[derive(Clone, Copy, Debug)]
struct View {
    style: Style,
    /// Each bucket of histograms.
    buckets: bool,
    /// Without the processes.
    short: bool,
}

impl View {
    fn write(self, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
        if !self.short {
            served(snapshot).try_for_each(|report| self.write_segment(report, out))?;
        }
        for (number, family) in snapshot.families.iter().enumerate() {
            if number > 0 || !self.short {
                writeln!(out)?;
            }
            self.write_family(family, out)?;
        }
        Ok(())
    }

    fn write_segment(self, report: &SegmentReport, out: &mut dyn Write) -> io::Result<()> {
        let now = now_unix_ns();
        let path = report.path.display().to_string();
        let series = report.families.iter().map(|family| family.series).sum();
        let (families, series) =
            (plural(report.families.len() as u64, "family", "families"), plural(series, "series", "series"));
        let state = match report.state.name() {
            "ok" => String::new(),
            other => format!(" ({other})"),
        };
        writeln!(
            out,
            "{}{state}: {families}, {series}, {} used",
            self.style.bold(&text::clean(&path)),
            text::bytes(report.bytes_used)
        )?;
        let created = report.created_unix_ns;
        writeln!(out, "  created {}, {}", utc(created), ago(created, now))?;
        self.write_processes(&report.processes, now, out)
    }

    fn write_processes(self, processes: &[ProcessReport], now: u64, out: &mut dyn Write) -> io::Result<()> {
        let alive = processes.iter().filter(|process| process.alive).count();
        let dead = processes.len() - alive;
        let hint = if alive == 0 && dead > 0 { "; gauges of live modes count nobody" } else { "" };
        writeln!(out, "  processes: {alive} alive, {dead} dead{hint}")?;
        let table = processes::table(processes, |attached| ago(attached, now));
        if table.is_empty() { Ok(()) } else { table.write(4, self.style, out) }
    }
}
