//! `dyn-metrics describe`: which metrics there are, as a Markdown table.

mod declared;
mod markdown;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};

use dyn_metrics_reader::{FamilySnapshot, Value};

use crate::Outcome;
use crate::error::CliError;
use crate::segment::{SegmentArgs, collect, complain_about};
use crate::text::float;
use markdown::{code, plain};

const EXAMPLES: &str = "\
Examples:
  dyn-metrics describe > METRICS.md
  dyn-metrics describe /run/metrics/dynamo
  dyn-metrics describe --declared metrics.json
  my-service --print-metrics | dyn-metrics describe --declared -

Of a segment these are all its families, with the values that their labels have. What a struct declares is what its \
Metrics::declared_json() writes, several one after another too; without the prefix and the labels of the registry that \
it is made with, which are nobody's before.

SEGMENT may be a directory or a glob, whose segments are merged as by the exporter.

Exit status: 0 fine, 1 parts of the segment could not be read, 2 nothing could be read.";

/// Values of a label that are shown, of more of them the first.
const MOST_VALUES: usize = 5;

/// Describe metrics in a Markdown table: name, type, unit, labels, level, help
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DescribeArgs {
    #[command(flatten)]
    segment: SegmentArgs,

    /// Describe what a struct of metrics declares, from this file, or from standard input if it is -
    #[arg(long, value_name = "FILE", conflicts_with_all = ["segment", "shm", "allow_uid"])]
    declared: Option<String>,

    /// Describe what a directory or a glob leads to also if it belongs to this user, not only to oneself or root
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
}

/// A row of the table.
#[derive(Debug, Default, PartialEq)]
struct Row {
    name: String,
    kind: String,
    /// What else there is to say of the type: how gauges combine, buckets, states.
    detail: String,
    unit: String,
    labels: Vec<Label>,
    level: u64,
    help: String,
}

/// A label, and what of its values is known.
#[derive(Debug, PartialEq)]
struct Label {
    name: String,
    values: Vec<String>,
}

/// Writes the table to standard output.
pub fn run(args: &DescribeArgs) -> Result<Outcome, CliError> {
    let out = &mut BufWriter::new(io::stdout().lock());
    if let Some(file) = &args.declared {
        let rows = declared::read(file)?;
        write(&rows, out)?;
        out.flush()?;
        return Ok(Outcome::Fine);
    }
    let snapshot = collect(&args.segment.path()?, &args.allow_uid)?;
    let rows: Vec<_> = snapshot.families.iter().map(Row::of).collect();
    write(&rows, out)?;
    out.flush()?;
    Ok(complain_about(&snapshot))
}

fn write(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "| Name | Type | Unit | Labels | Level | Help |")?;
    writeln!(out, "| --- | --- | --- | --- | ---: | --- |")?;
    rows.iter().try_for_each(|row| {
        let Row { name, kind, detail, unit, labels, level, help } = row;
        let kind =
            if detail.is_empty() { plain(kind) } else { format!("{}: {}", plain(kind), plain(detail)) };
        let labels: Vec<_> = labels.iter().map(Label::cell).collect();
        let cells = [&code(name), &kind, &plain(unit), &labels.join("; "), &level.to_string(), &plain(help)];
        let cells = cells.map(|cell| if cell.is_empty() { " ".to_owned() } else { format!(" {cell} ") });
        writeln!(out, "|{}|", cells.join("|"))
    })
}

impl Row {
    fn of(family: &FamilySnapshot) -> Self {
        Self {
            name: family.name.clone(),
            kind: family.kind.name().to_owned(),
            detail: detail(family),
            unit: family.unit.clone(),
            labels: labels(family),
            level: family.level.into(),
            help: family.help.clone(),
        }
    }
}

/// How a gauge combines, buckets, states.
fn detail(family: &FamilySnapshot) -> String {
    match family.series.first().map(|series| &series.value) {
        Some(Value::Histogram { bounds, .. }) => buckets(bounds),
        Some(Value::StateSet { states, .. }) => states.join(", "),
        _ if family.kind.is_per_process() => family.mode.name().to_owned(),
        _ => String::new(),
    }
}

/// `11 buckets from 0.005 to 10`
fn buckets(bounds: &[f64]) -> String {
    match bounds {
        [] => String::new(),
        [only] => format!("1 bucket to {}", float(*only)),
        [first, .., last] => format!("{} buckets from {} to {}", bounds.len(), float(*first), float(*last)),
    }
}

/// The labels that series have, each with its values.
fn labels(family: &FamilySnapshot) -> Vec<Label> {
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in family.series.iter().flat_map(|series| series.labels.iter()) {
        labels.entry(name).or_default().insert(value);
    }
    let owned = |values: BTreeSet<&str>| values.into_iter().map(str::to_owned).collect();
    labels.into_iter().map(|(name, values)| Label { name: name.to_owned(), values: owned(values) }).collect()
}

impl Label {
    fn cell(&self) -> String {
        let Self { name, values } = self;
        let shown = values.iter().take(MOST_VALUES).map(|value| code(value)).collect::<Vec<_>>().join(", ");
        match values.len() {
            0 => code(name),
            1..=MOST_VALUES => format!("{}: {shown}", code(name)),
            more => format!("{}: {shown} and {} more", code(name), more - MOST_VALUES),
        }
    }
}
