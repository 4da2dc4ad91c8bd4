//! `dyn-metrics check`: is the file sound?

use std::io::{self, BufWriter, Write};

use dyn_metrics_reader::check::{self, Report, Severity};

use crate::Outcome;
use crate::error::CliError;
use crate::segment::SegmentArgs;
use crate::table::Table;
use crate::text::{self, Style, clean, plural};

const EXAMPLES: &str = "\
Examples:
  dyn-metrics check
  dyn-metrics check /tmp/copy-of-a-segment && echo sound

A fault is a byte that no correct writer leaves so. A note is what a process that was killed may leave: it costs \
some bytes and no counts. Superseded files beside the segment are files of their own: check them by their names. \
Directories and globs are for dump.

Exit status: 0 sound, 1 faults, 2 the file could not be read as a segment.";

/// Verify a segment
///
/// Follows every structure in the file, which may be in use, dead, or a copy, and lists what is wrong with its offset.
/// Changes nothing.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    #[command(flatten)]
    segment: SegmentArgs,
}

/// Verifies the segment that `args` names.
pub fn run(args: &CheckArgs) -> Result<Outcome, CliError> {
    let report = check::check(args.segment.path()?)?;
    let out = &mut BufWriter::new(io::stdout().lock());
    write(&report, Style::of_stdout(), out)?;
    out.flush()?;
    Ok(if report.is_sound() { Outcome::Fine } else { Outcome::Problems })
}

/// Writes what a check found.
pub fn write(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let path = report.path.display().to_string();
    writeln!(out, "{}: {}", style.bold(&clean(&path)), verdict(report))?;
    findings(report).write(2, style, out)?;
    if report.omitted > 0 {
        writeln!(out, "  and {} more", report.omitted)?;
    }
    totals(report).write(2, style, out)
}

/// `sound`, `sound, 2 notes` or `3 faults, 2 notes`.
fn verdict(report: &Report) -> String {
    let count = |severity| report.faults.iter().filter(|fault| fault.severity == severity).count() as u64;
    let (faults, notes) = (count(Severity::Fault), count(Severity::Note));
    let mut verdict = match faults {
        0 if report.is_sound() => "sound".to_owned(),
        faults => plural(faults, "fault", "faults"),
    };
    if notes > 0 {
        verdict += &format!(", {}", plural(notes, "note", "notes"));
    }
    if report.omitted > 0 {
        verdict += &format!(", {} not listed", report.omitted);
    }
    verdict
}

fn findings(report: &Report) -> Table {
    let mut table = Table::with_headings(&["", "", ">", ""]);
    for fault in &report.faults {
        let severity = match fault.severity {
            Severity::Fault => "FAULT",
            Severity::Note => "note",
        };
        let what = clean(&fault.what).into_owned();
        table.push([severity.to_owned(), "at offset".to_owned(), fault.offset.to_string(), what]);
    }
    table
}

fn totals(report: &Report) -> Table {
    let size = |bytes| format!("{bytes} bytes ({})", text::bytes(bytes));
    let processes = format!("{} alive, of {} slots ever used", report.processes_alive, report.processes);
    let rows = [
        ("families", report.families.to_string()),
        ("series", report.series.to_string()),
        ("gauge cells", report.gauge_cells.to_string()),
        ("extents", report.extents.to_string()),
        ("processes", processes),
        ("file", size(report.bytes_file)),
        ("reserved", size(report.bytes_reserved)),
        ("published", size(report.bytes_published)),
        ("wasted", size(report.bytes_wasted)),
    ];
    let mut table = Table::with_headings(&["", ""]);
    for (name, value) in rows {
        table.push([name.to_owned(), value]);
    }
    table
}

#[cfg(test)]
mod tests {
    use dyn_metrics_reader::check::Fault;

    use super::*;

    fn report(faults: &[(u64, Severity, &str)]) -> Report {
        let fault = |(offset, severity, what): &(u64, Severity, &str)| Fault {
            offset: *offset,
            severity: *severity,
            what: (*what).to_owned(),
        };
        Report { path: "/x".into(), faults: faults.iter().map(fault).collect(), ..Report::default() }
    }

    fn lines(report: &Report) -> Vec<String> {
        let mut out = Vec::new();
        write(report, Style::PLAIN, &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_finding_is_listed_with_its_offset() {
        let lines =
            lines(&report(&[(64, Severity::Note, "unused"), (4096, Severity::Fault, "bad\nchecksum")]));
        assert_eq!(lines[0], "/x: 1 fault, 1 note");
        assert_eq!(lines[1], "  note   at offset    64  unused");
        assert_eq!(lines[2], "  FAULT  at offset  4096  bad\\nchecksum");
    }

    #[test]
    fn notes_leave_a_segment_sound() {
        assert_eq!(verdict(&report(&[])), "sound");
        assert_eq!(verdict(&report(&[(1, Severity::Note, ""), (2, Severity::Note, "")])), "sound, 2 notes");
        let many = Report { omitted: 5, ..report(&[]) };
        assert_eq!(verdict(&many), "0 faults, 5 not listed");
    }
}
