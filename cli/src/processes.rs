//! The processes of a segment, as a table.

use dyn_metrics_reader::ProcessReport;

use crate::table::Table;
use crate::text;

/// A row for each process; `attached` says when, from nanoseconds since 1970.
pub fn table(processes: &[ProcessReport], attached: impl Fn(u64) -> String) -> Table {
    let mut table = Table::with_headings(&[">pid", "", "role", "labels", "command", "attached"]);
    for process in processes {
        table.push([
            process.pid.to_string(),
            if process.alive { "alive" } else { "dead" }.to_owned(),
            text::or_dash(&process.role).into_owned(),
            text::or_dash(&text::labels(&process.labels)).into_owned(),
            text::or_dash(&process.command).into_owned(),
            attached(process.claimed_unix_ns),
        ]);
    }
    table
}
