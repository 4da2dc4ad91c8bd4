//! One family as a table: a row for each series, a column for each label.

use std::collections::BTreeSet;
use std::io::{self, Write};

use dyn_metrics_reader::{FamilySnapshot, Kind, SeriesSnapshot, Value};

use super::{View, histogram};
use crate::table::{Align, Table};
use crate::text::{self, clean, float, number, rounded};

/// Spaces before what belongs to a family.
const INDENT: usize = 4;

impl View {
    /// Writes `family` under its name, type, mode, unit and help.
    pub(super) fn write_family(self, family: &FamilySnapshot, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}  {}", self.style.bold(&clean(&family.name)), description(family))?;
        if !family.help.is_empty() {
            writeln!(out, "  {}", clean(&family.help))?;
        }
        if family.series.is_empty() {
            return writeln!(out, "{:INDENT$}{}", "", self.style.dim(why_empty(family)));
        }
        if self.buckets && family.kind == Kind::Histogram {
            return histogram::write_buckets(&family.series, INDENT, self.style, out);
        }
        let common = common_labels(&family.series);
        if !common.is_empty() {
            let line = format!("each has {}", text::labels(common.iter().copied()));
            writeln!(out, "{:INDENT$}{}", "", self.style.dim(&line))?;
        }
        table(family, &common).write(INDENT, self.style, out)
    }
}

/// Type, gauge mode and unit: `gauge (livesum), bytes`.
fn description(family: &FamilySnapshot) -> String {
    let kind = family.kind.name();
    let mode =
        if family.kind.is_per_process() { format!(" ({})", family.mode.name()) } else { String::new() };
    let unit = if family.unit.is_empty() { String::new() } else { format!(", {}", clean(&family.unit)) };
    format!("{kind}{mode}{unit}")
}

fn why_empty(family: &FamilySnapshot) -> &'static str {
    if family.kind.is_per_process() && family.mode.is_live() {
        "nothing set by a living process"
    } else {
        "no series"
    }
}

/// Labels that several series all have, which need no column.
fn common_labels(series: &[SeriesSnapshot]) -> Vec<&(String, String)> {
    let [first, others @ ..] = series else { return Vec::new() };
    if others.is_empty() {
        return Vec::new();
    }
    first.labels.iter().filter(|label| others.iter().all(|series| series.labels.contains(label))).collect()
}

fn table(family: &FamilySnapshot, common: &[&(String, String)]) -> Table {
    let all = family.series.iter().flat_map(|series| &series.labels);
    let names: BTreeSet<&str> = all.filter(|label| !common.contains(label)).map(name_of).collect();
    let values = headings(family, !names.is_empty());
    let labels = names.iter().map(|name| (clean(name).into_owned(), Align::Left));
    let mut table = Table::new(labels.chain(values));
    for series in &family.series {
        let label =
            |name: &&str| series.labels.value(name).map_or("-".into(), text::label_value).into_owned();
        table.push(names.iter().map(label).chain(cells(series)));
    }
    table
}

fn name_of((name, _): &(String, String)) -> &str {
    name
}

/// What stands over the values; nothing over a value that stands alone.
fn headings(family: &FamilySnapshot, has_labels: bool) -> Vec<(String, Align)> {
    let (left, right) =
        (|name: &str| (name.to_owned(), Align::Left), |name: &str| (name.to_owned(), Align::Right));
    match family.kind {
        Kind::Counter | Kind::Gauge => vec![right(if has_labels { "value" } else { "" })],
        Kind::Tally => ["count", "sum", "mean"].map(right).into(),
        Kind::Histogram | Kind::ExponentialHistogram => {
            let numbers = ["count", "sum", "mean", "~p50", "~p90", "~p99"].map(right);
            numbers.into_iter().chain([left("distribution")]).collect()
        }
        Kind::Info => Vec::new(),
        Kind::StateSet => vec![left(if has_labels { "state" } else { "" })],
    }
}

/// One cell for each of [`headings`].
fn cells(series: &SeriesSnapshot) -> Vec<String> {
    match &series.value {
        Value::Counter(value) | Value::Gauge(value) => vec![number(*value)],
        Value::Tally { count, sum } => vec![count.to_string(), float(*sum), mean(*sum, *count)],
        Value::Histogram { bounds, buckets, sum } => histogram::cells(bounds, buckets, *sum),
        Value::Info => Vec::new(),
        Value::StateSet { states, bits } => vec![state(states, *bits)],
    }
}

/// The mean, or `-` of nothing.
pub(super) fn mean(sum: f64, count: u64) -> String {
    if count == 0 { "-".to_owned() } else { rounded(sum / count as f64, 4) }
}

/// The states that are on, then in parentheses those that are not.
fn state(states: &[String], bits: u64) -> String {
    let chosen = |wanted: u64| {
        let numbered = states.iter().enumerate().filter(|(number, _)| bits >> number & 1 == wanted);
        numbered.map(|(_, name)| text::label_value(name).into_owned()).collect::<Vec<_>>()
    };
    let on = if bits == 0 { "-".to_owned() } else { chosen(1).join(" + ") };
    let off = chosen(0);
    if off.is_empty() { on } else { format!("{on}  (not {})", off.join(", ")) }
}

#[cfg(test)]
mod tests {
    use dyn_metrics_reader::{GaugeMode, Number};

    use super::*;
    use crate::text::Style;

    fn series(labels: &[(&str, &str)], value: Value) -> SeriesSnapshot {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        SeriesSnapshot { labels: labels.collect(), value }
    }

    fn family(kind: Kind, unit: &str, series: Vec<SeriesSnapshot>) -> FamilySnapshot {
        FamilySnapshot {
            name: "name".into(),
            help: "What it is.".into(),
            unit: unit.into(),
            kind,
            mode: GaugeMode::Max,
            level: 0,
            registrant: String::new(),
            series,
        }
    }

    fn text(family: &FamilySnapshot) -> String {
        let mut out = Vec::new();
        View { style: Style::PLAIN, buckets: false, short: false }.write_family(family, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_counter_has_a_row_for_each_series_and_a_column_for_each_label() {
        let value = |n| Value::Counter(Number::Unsigned(n));
        let rows = vec![
            series(&[("model", "a"), ("status", "")], value(7)),
            series(&[("model", "long/name")], value(1_000)),
        ];
        let expected = "\
name  counter
  What it is.
    model      status  value
    a          \"\"          7
    long/name  -        1000
";
        assert_eq!(text(&family(Kind::Counter, "", rows)), expected);
    }

    #[test]
    fn what_all_series_have_is_said_once() {
        let value = |n| Value::Gauge(Number::Signed(n));
        let rows = vec![
            series(&[("cluster", "a"), ("node", "1")], value(-7)),
            series(&[("cluster", "a"), ("node", "2"), ("x", "y")], value(8)),
        ];
        let expected = "\
name  gauge (max)
  What it is.
    each has cluster=a
    node  x  value
    1     -     -7
    2     y      8
";
        assert_eq!(text(&family(Kind::Gauge, "", rows)), expected);
    }

    #[test]
    fn a_value_without_labels_stands_alone() {
        let rows = vec![series(&[], Value::Gauge(Number::Float(0.25)))];
        assert_eq!(
            text(&family(Kind::Gauge, "seconds", rows)),
            "name  gauge (max), seconds\n  What it is.\n    0.25\n"
        );
    }

    #[test]
    fn a_tally_shows_its_mean() {
        let tally = |count, sum| series(&[("n", &format!("{count}"))], Value::Tally { count, sum });
        let expected = "\
name  summary, bytes
  What it is.
    n  count  sum  mean
    0      0    0     -
    4      4   10   2.5
";
        assert_eq!(text(&family(Kind::Tally, "bytes", vec![tally(0, 0.0), tally(4, 10.0)])), expected);
    }

    #[test]
    fn a_state_set_shows_what_is_on() {
        let states: std::sync::Arc<[String]> = ["starting", "ready", "in drain"].map(str::to_owned).into();
        for (bits, expected) in [
            (0b010, "ready  (not starting, \"in drain\")"),
            (0b111, "starting + ready + \"in drain\""),
            (0, "-  (not starting, ready, \"in drain\")"),
        ] {
            let text = text(&family(
                Kind::StateSet,
                "",
                vec![series(&[], Value::StateSet { states: states.clone(), bits })],
            ));
            assert_eq!(text, format!("name  stateset (max)\n  What it is.\n    {expected}\n"));
        }
    }

    #[test]
    fn an_empty_family_says_why() {
        assert!(text(&family(Kind::Gauge, "", Vec::new())).ends_with("    no series\n"));
        let live = FamilySnapshot { mode: GaugeMode::LiveMax, ..family(Kind::Gauge, "", Vec::new()) };
        assert!(text(&live).ends_with("    nothing set by a living process\n"));
    }

    #[test]
    fn what_a_segment_says_cannot_command_the_terminal() {
        let rows = vec![series(&[("a", "\x1b]0;x\x07")], Value::Info)];
        let hostile = FamilySnapshot { help: "\x1b[2J".into(), ..family(Kind::Info, "\x1b", rows) };
        assert!(!text(&hostile).contains(|c: char| c.is_control() && c != '\n'));
    }
}
