//! `dyn-metrics info`: what a segment is, and who writes it.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use dyn_metrics_layout::header::{FORMAT_VERSION, Statistic};
use dyn_metrics_reader::SUPERSEDED_INFIX;
use dyn_metrics_reader::raw::{self, Raw};

use crate::Outcome;
use crate::error::CliError;
use crate::processes;
use crate::segment::{SegmentArgs, complain_about_raw};
use crate::table::Table;
use crate::text::{self, Style, clean};
use crate::time::{ago, now_unix_ns, utc};

const EXAMPLES: &str = "\
Examples:
  dyn-metrics info
  dyn-metrics info --shm /run/metrics/dynamo

A process takes a slot in the segment when it attaches, a forked child when it sets a gauge or attaches itself; a child \
that only counts through its parent's handles is not listed. Pids are as the processes see them, in their own namespaces. \
Directories and globs are for dump.

Exit status: 0 fine, 1 parts of the segment could not be read, 2 nothing of it could.";

/// Show what a segment is, and the processes in it
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct InfoArgs {
    #[command(flatten)]
    segment: SegmentArgs,
}

/// Shows facts about the segment that `args` names.
pub fn run(args: &InfoArgs) -> Result<Outcome, CliError> {
    let path = args.segment.path()?;
    let raw = raw::read(&path)?;
    let out = &mut BufWriter::new(io::stdout().lock());
    write(&raw, now_unix_ns(), Style::of_stdout(), out)?;
    out.flush()?;
    Ok(complain_about_raw(&path, &raw))
}

/// Writes what a segment is.
pub fn write(raw: &Raw, now: u64, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let path = raw.path.display().to_string();
    writeln!(out, "{}", style.bold(&clean(&path)))?;
    facts(raw, now).write(2, style, out)?;
    if !raw.processes.is_empty() {
        writeln!(out, "\n{}", style.bold("processes"))?;
        let attached = |at| format!("{}  {}", utc(at), ago(at, now));
        processes::table(&raw.processes, attached).write(2, style, out)?;
    }
    let counted = counted(&raw.statistics);
    if counted.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}", style.bold("counted by writers"))?;
    counted.write(2, style, out)
}

fn facts(raw: &Raw, now: u64) -> Table {
    let header = &raw.header;
    let created = header.created_unix_ns;
    let size = |bytes| format!("{bytes} bytes ({})", text::bytes(bytes));
    let alive = raw.processes.iter().filter(|process| process.alive).count();
    let dead = raw.processes.len() - alive;
    let overflow = raw.series.iter().filter(|series| series.overflow).count();
    let series = match overflow {
        0 => raw.series.len().to_string(),
        n => format!("{}, {n} of them for overflow", raw.series.len()),
    };
    let rows = [
        ("format", format!("version {FORMAT_VERSION}, {}", features(raw))),
        ("identity", format!("{:016x}{:016x}", header.segment_id[0], header.segment_id[1])),
        ("created", format!("{}, {}", utc(created), ago(created, now))),
        ("boot", boot(header.boot_id).to_owned()),
        ("state", if raw.state == 0 { "current" } else { "superseded by a newer segment" }.to_owned()),
        ("labels", text::or_dash(&text::labels(&raw.common_labels)).into_owned()),
        ("families", raw.families.len().to_string()),
        ("series", series),
        ("processes", format!("{alive} alive, {dead} dead, {} slots", header.process_slots)),
        ("file", size(raw.bytes_file)),
        ("used", size(raw.reserved_end)),
        ("limit", size(header.max_bytes)),
        ("CPUs", format!("{} possible, {} with blocks", header.possible_cpus, cpus_with_blocks(raw))),
        ("superseded", superseded(&raw.path)),
        ("updates here", dyn_metrics::update_path()),
    ];
    let mut table = Table::with_headings(&["", ""]);
    for (name, value) in rows {
        table.push([name.to_owned(), value]);
    }
    table
}

fn features(raw: &Raw) -> String {
    let header = &raw.header;
    let words = [header.compat, header.ro_compat, header.incompat];
    match words {
        [0, 0, 0] => "no features".to_owned(),
        [compat, ro_compat, incompat] => {
            format!("features compat {compat:#x}, ro_compat {ro_compat:#x}, incompat {incompat:#x}")
        }
    }
}

/// Whether the kernel still runs under which the segment was made.
fn boot(found: [u64; 2]) -> &'static str {
    match this_boot() {
        Some(boot) if boot == found => "this one",
        Some(_) => "another: updates are slower and gauges stay private until a fresh segment is made",
        None => "unknown: /proc/sys/kernel/random/boot_id can't be read",
    }
}

/// The kernel's boot id, in the order in which the header has it.
fn this_boot() -> Option<[u64; 2]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let half = |range| u64::from_str_radix(digits.get(range)?, 16).ok();
    Some([half(0..16)?, half(16..32)?])
}

fn cpus_with_blocks(raw: &Raw) -> usize {
    let cpus = raw.extents.iter().flat_map(|extent| &extent.blocks).map(|(cpu, _)| *cpu);
    cpus.collect::<std::collections::BTreeSet<_>>().len()
}

/// Names of superseded files beside `path`.
fn superseded(path: &Path) -> String {
    let Some(name) = path.file_name() else { return "-".to_owned() };
    let prefix = format!("{}{SUPERSEDED_INFIX}", name.to_string_lossy());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = directory.read_dir().into_iter().flatten().filter_map(Result::ok);
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    names.sort();
    if names.is_empty() { "no files".to_owned() } else { clean(&names.join(", ")).into_owned() }
}

/// Statistics that are not 0, in words.
fn counted(statistics: &[(Statistic, u64)]) -> Table {
    let mut table = Table::with_headings(&[">", ""]);
    for (statistic, value) in statistics.iter().filter(|(_, value)| *value > 0) {
        table.push([value.to_string(), meaning(*statistic).to_owned()]);
    }
    table
}

const fn meaning(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::RefusedInvalid => "registrations refused: name, labels, bounds or options not valid",
        Statistic::RefusedConflict => {
            "registrations refused: the family exists with another type, unit, bounds or mode"
        }
        Statistic::RefusedClash => "registrations refused: samples of another family have that name",
        Statistic::RefusedFull => "registrations refused: filesystem or segment full",
        Statistic::RefusedSeriesLimit => "look-ups that got the overflow series: family at its limit",
        Statistic::DroppedNan => "updates dropped: not a number",
        Statistic::DroppedNegative => "updates dropped: negative increment of a counter",
        Statistic::DroppedBusy => "gauge updates dropped: the cell could not be claimed at once",
        Statistic::PrivateNoSlot => "gauge updates kept private: no process slot to be had",
        Statistic::PrivateFull => "gauge updates kept private: segment full",
        Statistic::BlockFailed => "blocks that a CPU could not have; its updates go to the shared one",
        Statistic::HelpDiffers => "registrations with another help text than the family's",
        Statistic::LevelDiffers => "registrations with another level than the family's",
        Statistic::ProcessesWithoutRseq => "processes without per-CPU updates",
        Statistic::SharedOff => "processes without per-CPU updates: DYN_METRICS_RSEQ=off",
        Statistic::SharedUnregistered => "processes without per-CPU updates: rseq is not registered",
        Statistic::SharedLibrary => "processes without per-CPU updates: the C library has no rseq",
        Statistic::SharedKernel => "processes without per-CPU updates: the kernel may not restart sequences",
        Statistic::SharedArchitecture => {
            "processes without per-CPU updates: no sequence for the architecture"
        }
        Statistic::SharedReboot => "processes without per-CPU updates: segment older than the last boot",
        Statistic::RseqLost => "processes in which a thread's rseq registration was gone",
        Statistic::GaugeTakeovers => "gauge cells taken over from dead processes",
        Statistic::InfiniteObservations => "infinite observations, left out of sums",
        Statistic::ProcessesAttached => "times that a process has attached",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_boot_is_recognised() {
        let boot_id = this_boot().unwrap();
        assert_eq!(boot(boot_id), "this one");
        assert!(boot([boot_id[0] ^ 1, boot_id[1]]).starts_with("another"));
    }

    #[test]
    fn superseded_files_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert_eq!(superseded(&path), "no files");
        for name in ["a.superseded-2", "a.superseded-1", "ab.superseded-3", "a"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(superseded(&path), "a.superseded-1, a.superseded-2");
    }

    #[test]
    fn only_what_happened_is_listed() {
        assert!(counted(&[(Statistic::DroppedNan, 0)]).is_empty());
        assert!(!counted(&[(Statistic::DroppedNan, 1)]).is_empty());
    }
}
