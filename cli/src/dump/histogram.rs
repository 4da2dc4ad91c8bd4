//! Histograms: totals, quantiles and the shape of the distribution.

use std::io::{self, Write};

use dyn_metrics_reader::{SeriesSnapshot, Value};

use super::family::mean;
use crate::quantile::quantile;
use crate::table::Table;
use crate::text::{self, Style, float};

/// Letters for a bucket's share of the largest one, in eighths of a line.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Letters for a rest of a bar, in eighths of a letter.
const WIDTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Letters of the longest bar.
const BAR: f64 = 30.0;
/// Stands for an empty bucket between others.
const EMPTY: char = '·';

/// Count, sum, mean, three quantiles and distribution.
pub fn cells(bounds: &[f64], buckets: &[u64], sum: f64) -> Vec<String> {
    let mut cells = totals(bounds, buckets, sum).to_vec();
    cells.push(distribution(bounds, buckets));
    cells
}

fn totals(bounds: &[f64], buckets: &[u64], sum: f64) -> [String; 6] {
    let count = buckets.iter().fold(0_u64, |total, count| total.saturating_add(*count));
    let quantile = |share| quantile(bounds, buckets, share).map_or("-".to_owned(), |found| found.to_string());
    [count.to_string(), float(sum), mean(sum, count), quantile(0.5), quantile(0.9), quantile(0.99)]
}

/// Buckets from the first to the last that is not empty, between the bounds around them.
fn distribution(bounds: &[f64], buckets: &[u64]) -> String {
    let Some((first, last)) = filled(buckets) else { return String::new() };
    let largest = buckets.iter().copied().max().unwrap_or(1) as f64;
    let letter = |count: &u64| match *count {
        0 => EMPTY,
        count => HEIGHTS[((count as f64 / largest * 8.0).ceil() as usize).clamp(1, 8) - 1],
    };
    let shape: String = buckets[first..=last].iter().map(letter).collect();
    format!("{} {shape} {}", lower(bounds, first), upper(bounds, last))
}

/// First and last bucket that is not empty.
fn filled(buckets: &[u64]) -> Option<(usize, usize)> {
    let filled = |count: &u64| *count > 0;
    Some((buckets.iter().position(filled)?, buckets.iter().rposition(filled)?))
}

/// Where a bucket begins. The first one has no end there: it begins at zero if it goes beyond that.
fn lower(bounds: &[f64], bucket: usize) -> String {
    match (bucket.checked_sub(1), bounds.first()) {
        (Some(below), _) => bounds.get(below).copied().map_or_else(|| "+Inf".to_owned(), float),
        (None, Some(first)) if *first > 0.0 => "0".to_owned(),
        (None, Some(first)) => format!("<={}", float(*first)),
        (None, None) => "-Inf".to_owned(),
    }
}

fn upper(bounds: &[f64], bucket: usize) -> String {
    bounds.get(bucket).copied().map_or_else(|| "+Inf".to_owned(), float)
}

/// Writes, for each series, its totals and a row for each bucket, without the empty ones at both ends.
pub fn write_buckets(
    series: &[SeriesSnapshot],
    indent: usize,
    style: Style,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (number, series) in series.iter().enumerate() {
        let Value::Histogram { bounds, buckets, sum } = &series.value else { continue };
        if number > 0 {
            writeln!(out)?;
        }
        if !series.labels.is_empty() {
            writeln!(out, "{:indent$}{}", "", text::labels(&series.labels))?;
        }
        let mut table = Table::with_headings(&[">count", ">sum", ">mean", ">~p50", ">~p90", ">~p99"]);
        table.push(totals(bounds, buckets, *sum));
        table.write(indent, style, out)?;
        bucket_table(bounds, buckets).write(indent + 2, style, out)?;
    }
    Ok(())
}

fn bucket_table(bounds: &[f64], buckets: &[u64]) -> Table {
    let mut table = Table::with_headings(&["", ">", ">", ""]);
    let Some((first, last)) = filled(buckets) else { return table };
    let largest = buckets.iter().copied().max().unwrap_or(1) as f64;
    for (bucket, count) in buckets.iter().enumerate().take(last + 1).skip(first) {
        let share = *count as f64 / largest;
        table.push(["<=".to_owned(), upper(bounds, bucket), count.to_string(), bar(share)]);
    }
    table
}

/// A bar for a share of the largest; never nothing for something.
fn bar(share: f64) -> String {
    let eighths = (share * BAR * 8.0).ceil() as usize;
    "█".repeat(eighths / 8) + WIDTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 4] = [0.1, 0.5, 1.0, 2.5];

    #[test]
    fn cells_are_totals_quantiles_and_shape() {
        assert_eq!(
            cells(&BOUNDS, &[0, 8, 0, 2, 0], 4.5),
            ["10", "4.5", "0.45", "0.35", "1.75", "2.43", "0.1 █·▂ 2.5"]
        );
        assert_eq!(cells(&BOUNDS, &[0; 5], 0.0), ["0", "0", "-", "-", "-", "-", ""]);
    }

    #[test]
    fn the_shape_names_the_ends_that_it_has() {
        assert_eq!(distribution(&BOUNDS, &[1, 1, 0, 0, 0]), "0 ██ 0.5");
        assert_eq!(distribution(&BOUNDS, &[0, 0, 0, 0, 1]), "2.5 █ +Inf");
        assert_eq!(distribution(&[-1.0, 1.0], &[1, 2, 0]), "<=-1 ▄█ 1");
        assert_eq!(distribution(&[0.0, 1.0], &[2, 0, 0]), "<=0 █ 0");
        assert_eq!(distribution(&[], &[3]), "-Inf █ +Inf");
    }

    #[test]
    fn little_is_never_shown_as_nothing() {
        assert_eq!(distribution(&BOUNDS, &[1, 1_000_000, 0, 0, 0]), "0 ▁█ 0.5");
        assert_eq!([bar(0.0), bar(1e-9), bar(0.5), bar(1.0)], ["", "▏", &"█".repeat(15), &"█".repeat(30)]);
    }

    #[test]
    fn buckets_are_rows_between_the_first_and_the_last_that_is_filled() {
        let value = Value::Histogram { bounds: BOUNDS.into(), buckets: vec![0, 30, 0, 2, 0], sum: 9.0 };
        let labels = [("m".to_owned(), "a b".to_owned())].into_iter().collect();
        let mut out = Vec::new();
        write_buckets(&[SeriesSnapshot { labels, value }], 0, Style::PLAIN, &mut out).unwrap();
        let expected = format!(
            "\
m=\"a b\"
count  sum    mean   ~p50   ~p90  ~p99
   32    9  0.2812  0.313  0.484  2.26
  <=  0.5  30  {}
  <=    1   0
  <=  2.5   2  ██
",
            "█".repeat(30)
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
