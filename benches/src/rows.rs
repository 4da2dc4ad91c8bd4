//! Measured rows and the tab-separated files that other benches and documents read.

use std::fmt::Write as _;

use crate::stats::Summary;

/// First line of `rust.tsv`, and of the benches of other languages.
pub const OPS_HEADER: &str = "contender\top\tthreads\tmedian_ns\tmin_ns\tmax_ns\tratio";
/// First line of `render.tsv`.
pub const RENDER_HEADER: &str = "contender\tkind\tseries\tmedian_ms\tns_per_series\tbytes";

/// One contender in one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct OpRow {
    /// Library, or what else was measured.
    pub contender: String,
    /// Operation.
    pub op: String,
    /// Threads that did it at the same time, on the same metric.
    pub threads: usize,
    /// Wall time of an operation in each thread, in nanoseconds.
    pub ns: Summary,
    /// Minimum over that of the base contender.
    pub ratio: f64,
    /// Median over that of the base contender.
    pub median_ratio: f64,
}

/// One contender in rendering or scraping.
#[derive(Clone, Debug, PartialEq)]
pub struct RenderRow {
    /// Library, or what else was measured.
    pub contender: String,
    /// What was rendered: `counter`, `histogram`, or a case that the report explains.
    pub kind: String,
    /// Number of series.
    pub series: usize,
    /// Wall time of one rendering, in milliseconds.
    pub ms: Summary,
    /// Bytes of its text.
    pub bytes: usize,
}

impl RenderRow {
    /// Nanoseconds for each series, of the fastest rendering.
    #[must_use]
    pub fn ns_per_series(&self) -> f64 {
        self.ms.min * 1e6 / self.series as f64
    }
}

/// Samples of each contender, in nanoseconds.
pub type Samples = Vec<(String, Vec<f64>)>;

/// The rows of one operation, of whose contenders `base` is the divisor.
///
/// Contenders without samples are left out; none are given without the base.
#[must_use]
pub fn op_rows(op: &str, threads: usize, base: &str, samples: &[(String, Vec<f64>)]) -> Vec<OpRow> {
    let summaries: Vec<_> =
        samples.iter().filter_map(|(name, samples)| Some((name, Summary::of(samples)?))).collect();
    let Some((_, unit)) = summaries.iter().find(|(name, _)| *name == base).copied() else {
        return Vec::new();
    };
    let row = |(name, ns): (&String, Summary)| OpRow {
        contender: name.clone(),
        op: op.to_owned(),
        threads,
        ns,
        ratio: ns.min / unit.min,
        median_ratio: ns.median / unit.median,
    };
    summaries.into_iter().map(row).collect()
}

/// A line by which one process tells another its samples.
#[must_use]
pub fn samples_line(op: &str, threads: usize, contender: &str, samples: &[f64]) -> String {
    let samples: Vec<String> = samples.iter().map(f64::to_string).collect();
    format!("{op} {threads} {contender} {}\n", samples.join(" "))
}

/// The rows of such lines, in any number of groups of which each has `base` in it.
#[must_use]
pub fn read_samples(text: &str, base: &str) -> Vec<OpRow> {
    let mut groups: Vec<(String, usize, Samples)> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(op), Some(threads), Some(contender)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Ok(threads) = threads.parse() else { continue };
        let samples = (contender.to_owned(), words.filter_map(|word| word.parse().ok()).collect());
        match groups.iter_mut().find(|group| group.0 == op && group.1 == threads) {
            Some((_, _, group)) => group.push(samples),
            None => groups.push((op.to_owned(), threads, vec![samples])),
        }
    }
    groups.iter().flat_map(|(op, threads, samples)| op_rows(op, *threads, base, samples)).collect()
}

/// The text of `rust.tsv` and `cpp.tsv`; `ratio` is that of minima.
#[must_use]
pub fn ops_tsv(rows: &[OpRow]) -> String {
    let mut text = format!("{OPS_HEADER}\n");
    for row in rows {
        let OpRow { contender, op, threads, ns, ratio, .. } = row;
        let Summary { median, min, max } = ns;
        let _ = writeln!(text, "{contender}\t{op}\t{threads}\t{median:.3}\t{min:.3}\t{max:.3}\t{ratio:.4}");
    }
    text
}

/// The text of `render.tsv`; `ns_per_series` is that of the fastest rendering.
#[must_use]
pub fn render_tsv(rows: &[RenderRow]) -> String {
    let mut text = format!("{RENDER_HEADER}\n");
    for row in rows {
        let RenderRow { contender, kind, series, ms, bytes } = row;
        let (median, each) = (ms.median, row.ns_per_series());
        let _ = writeln!(text, "{contender}\t{kind}\t{series}\t{median:.4}\t{each:.1}\t{bytes}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Samples {
        vec![
            ("fetch_add".to_owned(), vec![6.0, 5.0, 9.0]),
            ("dyn-metrics".to_owned(), vec![0.75, 1.0, 0.5]),
            ("absent".to_owned(), vec![]),
        ]
    }

    #[test]
    fn ratios_divide_minima_by_minima_and_medians_by_medians() {
        let rows = op_rows("counter_inc", 2, "fetch_add", &samples());
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].ratio, rows[0].median_ratio), (1.0, 1.0));
        assert_eq!((rows[1].ratio, rows[1].median_ratio), (0.1, 0.125));
        assert!(op_rows("counter_inc", 2, "missing", &samples()).is_empty());
    }

    #[test]
    fn samples_of_another_process_become_rows_against_its_own_base() {
        let mut text = samples_line("counter_inc", 2, "ours", &[8.5, 6.0]);
        text += &samples_line("counter_inc", 1, "ours", &[1.0]);
        text += &samples_line("counter_inc", 2, "fetch_add", &[4.0, 3.0]);
        text += &samples_line("counter_inc", 1, "fetch_add", &[2.0]);
        let rows = read_samples(&text, "fetch_add");
        let of = |threads| rows.iter().find(|row| row.contender == "ours" && row.threads == threads).unwrap();
        assert_eq!((of(2).ratio, of(1).ratio, rows.len()), (2.0, 0.5, 4));
        assert_eq!(of(2).ns.max, 8.5);
    }

    #[test]
    fn operations_are_written_in_the_form_that_all_languages_share() {
        let text = ops_tsv(&op_rows("counter_inc", 2, "fetch_add", &samples()));
        let expected = "contender\top\tthreads\tmedian_ns\tmin_ns\tmax_ns\tratio\n\
                        fetch_add\tcounter_inc\t2\t6.000\t5.000\t9.000\t1.0000\n\
                        dyn-metrics\tcounter_inc\t2\t0.750\t0.500\t1.000\t0.1000\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn renderings_are_written_with_the_time_of_each_series() {
        let ms = Summary { median: 3.0, min: 2.0, max: 4.0 };
        let (contender, kind) = ("prometheus".to_owned(), "counter".to_owned());
        let text = render_tsv(&[RenderRow { contender, kind, series: 1000, ms, bytes: 77 }]);
        let expected = "contender\tkind\tseries\tmedian_ms\tns_per_series\tbytes\n\
                        prometheus\tcounter\t1000\t3.0000\t2000.0\t77\n";
        assert_eq!(text, expected);
    }
}
