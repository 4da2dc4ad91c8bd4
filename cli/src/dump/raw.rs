//! The structures in a segment, with their offsets.

use std::io::{self, BufWriter, Write};

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::header::{FORMAT_VERSION, Header, STATE_SUPERSEDED, Statistic};
use dyn_metrics_reader::raw::{self, Raw, RawFamily, RawGauge, RawSeries};

use crate::Outcome;
use crate::error::CliError;
use crate::segment::complain_about_raw;
use crate::table::Table;
use crate::text::{self, Style, clean, float};
use crate::time::utc;

/// Spaces before what stands under a heading.
const INDENT: usize = 2;

/// Writes the structures of the segment at `path` to standard output.
pub fn run(path: &str) -> Result<Outcome, CliError> {
    let raw = raw::read(path)?;
    let out = &mut BufWriter::new(io::stdout().lock());
    write(&raw, Style::of_stdout(), out)?;
    out.flush()?;
    Ok(complain_about_raw(path, &raw))
}

/// Writes the structures of a segment.
pub fn write(raw: &Raw, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let sections: [(&str, Table); 7] = [
        ("header", header(raw)),
        ("statistics", statistics(&raw.statistics)),
        ("processes", processes(raw)),
        ("index tables", index_tables(raw)),
        ("families", families(&raw.families)),
        ("series", series(&raw.series)),
        ("gauge cells", gauges(&raw.series)),
    ];
    for (heading, table) in sections {
        writeln!(out, "{}", style.bold(heading))?;
        table.write(INDENT, style, out)?;
        writeln!(out)?;
    }
    writeln!(out, "{}", style.bold("extents"))?;
    extents(raw).write(INDENT, style, out)?;
    writeln!(out, "\n{}", style.bold("blocks"))?;
    blocks(raw).write(INDENT, style, out)
}

fn header(raw: &Raw) -> Table {
    let Header { compat, ro_compat, incompat, created_unix_ns, segment_id, boot_id, .. } = raw.header;
    let header = &raw.header;
    let state = if raw.state == STATE_SUPERSEDED { "superseded" } else { "current" };
    let rows: [(&str, String); 21] = [
        ("path", raw.path.display().to_string()),
        ("version", FORMAT_VERSION.to_string()),
        ("features", format!("compat {compat:#x}, ro_compat {ro_compat:#x}, incompat {incompat:#x}")),
        ("created", format!("{created_unix_ns} ({})", utc(created_unix_ns))),
        ("segment_id", format!("{:016x}{:016x}", segment_id[0], segment_id[1])),
        ("boot_id", format!("{:016x}{:016x}", boot_id[0], boot_id[1])),
        ("hash_seed", format!("{:#018x}", header.hash_seed)),
        ("page_bytes", header.page_bytes.to_string()),
        ("chunk_bytes", header.chunk_bytes.to_string()),
        ("max_bytes", header.max_bytes.to_string()),
        ("file_bytes", raw.bytes_file.to_string()),
        ("possible_cpus", header.possible_cpus.to_string()),
        ("process_slots", header.process_slots.to_string()),
        ("max_series", header.max_series.to_string()),
        ("processes", header.processes.to_string()),
        ("index", header.index.to_string()),
        ("data", header.data.to_string()),
        ("reserved_end", raw.reserved_end.to_string()),
        ("state", format!("{} ({state})", raw.state)),
        ("no_reuse", raw.no_reuse.to_string()),
        ("common_labels", text::labels(&raw.common_labels)),
    ];
    let mut table = Table::with_headings(&["", ""]);
    for (name, value) in rows {
        table.push([name.to_owned(), text::or_dash(&value).into_owned()]);
    }
    table
}

fn statistics(statistics: &[(Statistic, u64)]) -> Table {
    let mut table = Table::with_headings(&["name", ">offset", ">value"]);
    for (statistic, value) in statistics {
        table.push([name(*statistic).to_owned(), statistic.offset().to_string(), value.to_string()]);
    }
    table
}

/// The name of a statistic in self-metrics.
pub fn name(statistic: Statistic) -> &'static str {
    Statistic::ALL.iter().find(|(known, _)| *known == statistic).map_or("?", |(_, name)| name)
}

fn processes(raw: &Raw) -> Table {
    let headings = [
        ">slot",
        ">offset",
        ">generation",
        "state",
        ">pid",
        ">uid",
        ">pid_namespace",
        "process_id",
        ">claimed",
        "role",
        "command",
        "labels",
    ];
    let mut table = Table::with_headings(&headings);
    for process in &raw.processes {
        table.push([
            process.slot.to_string(),
            raw.header.process_slot(process.slot).to_string(),
            process.generation.to_string(),
            alive(process.alive),
            process.pid.to_string(),
            process.uid.to_string(),
            process.pid_namespace.to_string(),
            format!("{:016x}", process.process_id),
            process.claimed_unix_ns.to_string(),
            text::or_dash(&process.role).into_owned(),
            text::or_dash(&process.command).into_owned(),
            text::or_dash(&text::labels(&process.labels)).into_owned(),
        ]);
    }
    table
}

fn alive(alive: bool) -> String {
    if alive { "alive" } else { "dead" }.to_owned()
}

fn index_tables(raw: &Raw) -> Table {
    let mut table = Table::with_headings(&[">offset", ">slots", ">used"]);
    for index in &raw.tables {
        table.push([index.offset.to_string(), index.slots.to_string(), index.used.to_string()]);
    }
    table
}

fn families(families: &[RawFamily]) -> Table {
    let headings = [
        ">offset", ">bytes", "name", "type", "mode", "unit", ">level", ">series", ">limit", ">refused",
        "more",
    ];
    let mut table = Table::with_headings(&headings);
    for family in families {
        let mode = if family.kind.is_per_process() { family.mode.name() } else { "-" };
        table.push([
            family.offset.to_string(),
            family.length.to_string(),
            clean(&family.name).into_owned(),
            family.kind.name().to_owned(),
            mode.to_owned(),
            text::or_dash(&family.unit).into_owned(),
            family.level.to_string(),
            family.series.to_string(),
            family.max_series.to_string(),
            family.refused.to_string(),
            more(family),
        ]);
    }
    table
}

/// What only some families have, and who registered this one.
fn more(family: &RawFamily) -> String {
    let list = |words: Vec<String>| words.join(" ");
    let mut parts = Vec::new();
    if !family.bounds.is_empty() {
        parts.push(format!("bounds {}", list(family.bounds.iter().map(|bound| float(*bound)).collect())));
    }
    if !family.states.is_empty() {
        let states = family.states.iter().map(|state| text::label_value(state).into_owned());
        parts.push(format!("states {}", list(states.collect())));
    }
    if family.shared_only {
        parts.push("shared block only".to_owned());
    }
    if family.keep_dead > 0 {
        parts.push(format!("keeps {} dead", family.keep_dead));
    }
    parts.push(format!("by {}", text::or_dash(&family.registrant)));
    parts.join("; ")
}

fn series(series: &[RawSeries]) -> Table {
    let mut table =
        Table::with_headings(&[">offset", ">bytes", ">family", "name", "labels", "state", "cells"]);
    for series in series {
        let cells = series.cells.iter().map(|(representation, link)| {
            format!(
                "{} at word {} of extent {}",
                representation_name(*representation),
                link.word,
                link.extent
            )
        });
        let cells: Vec<_> = cells.collect();
        table.push([
            series.offset.to_string(),
            series.length.to_string(),
            series.family.to_string(),
            clean(&series.name).into_owned(),
            text::or_dash(&text::labels(&series.labels)).into_owned(),
            state(series).to_owned(),
            text::or_dash(&cells.join(", ")).into_owned(),
        ]);
    }
    table
}

const fn state(series: &RawSeries) -> &'static str {
    match (series.removed, series.overflow) {
        (true, _) => "removed",
        (false, true) => "overflow",
        (false, false) => "-",
    }
}

const fn representation_name(representation: Representation) -> &'static str {
    match representation {
        Representation::Integer => "integer",
        Representation::Float => "float",
        Representation::Nanoseconds => "nanoseconds",
    }
}

fn gauges(series: &[RawSeries]) -> Table {
    let headings =
        [">offset", ">series", ">slot", ">generation", ">half", ">pid", "process_id", "owner", "state"];
    let mut table = Table::with_headings(&headings);
    for series in series {
        for gauge in &series.gauges {
            table.push(gauge_row(series.offset, gauge));
        }
    }
    table
}

fn gauge_row(series: u64, gauge: &RawGauge) -> [String; 9] {
    [
        gauge.offset.to_string(),
        series.to_string(),
        gauge.slot.to_string(),
        gauge.generation.to_string(),
        gauge.half.to_string(),
        gauge.pid.to_string(),
        format!("{:016x}", gauge.process_id),
        alive(gauge.alive),
        if gauge.taking { "being taken over" } else { "-" }.to_owned(),
    ]
}

fn extents(raw: &Raw) -> Table {
    let mut table =
        Table::with_headings(&[">offset", ">cpus", ">words", ">drawn", ">shared block", ">blocks"]);
    for extent in &raw.extents {
        table.push([
            extent.offset.to_string(),
            extent.cpus.to_string(),
            extent.words.to_string(),
            extent.words_drawn.to_string(),
            extent.shared.to_string(),
            extent.blocks.len().to_string(),
        ]);
    }
    table
}

fn blocks(raw: &Raw) -> Table {
    let mut table = Table::with_headings(&[">offset", ">extent", ">cpu", ">bytes"]);
    for extent in &raw.extents {
        for (cpu, offset) in &extent.blocks {
            let bytes = 8 * u64::from(extent.words);
            table.push([offset.to_string(), extent.offset.to_string(), cpu.to_string(), bytes.to_string()]);
        }
    }
    table
}
