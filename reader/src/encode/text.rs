//! Prometheus text format 0.0.4.
//!
//! Each family is contiguous, with one `HELP` and one `TYPE`; a family without series has those two lines
//! alone. Names and label values are exposed as registered: values are escaped, never rewritten.
//!
//! | kind | type | samples |
//! | --- | --- | --- |
//! | counter, gauge | `counter`, `gauge` | `NAME` |
//! | tally | `summary` | `NAME_sum`, `NAME_count` |
//! | histogram | `histogram` | `NAME_bucket` with `le`, cumulative; `NAME_sum`; `NAME_count`, equal to the `+Inf` bucket |
//! | info | `gauge` | `NAME`, always 1 |
//! | state set | `gauge` | `NAME` with the label `NAME`, 0 or 1 for each state |
//!
//! Integers are written exactly, doubles in the fewest digits that read back; a bound is spelled in `le` as Go's
//! `%g` does (`0.1`, `1`, `1e+06`, `+Inf`), which is what Prometheus servers have stored so far.

use dyn_metrics_layout::Kind;

use super::{number, self_metrics};
use crate::labels::{Labels, escape_value};
use crate::snapshot::{FamilySnapshot, Number, Snapshot, Value};

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends `snapshot` to `out`: its families, then self-metrics named `dyn_metrics_*`.
///
/// No family of a segment has a name of theirs, because names that begin so are reserved. Cost: about a copy of the
/// text, no system call. Errors, panics: none.
pub fn encode(snapshot: &Snapshot, out: &mut Vec<u8>) {
    encode_families(&snapshot.families, out);
    self_metrics::encode(snapshot, out);
}

/// Appends families alone.
pub fn encode_families(families: &[FamilySnapshot], out: &mut Vec<u8>) {
    for family in families {
        encode_family(family, out);
    }
}

/// The type of a kind in this format.
#[must_use]
pub const fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Info | Kind::StateSet => "gauge",
        _ => kind.name(),
    }
}

/// Appends the two lines that announce a family.
pub(super) fn announce(name: &str, help: &str, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    for byte in help.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

/// Appends one sample; `labels` and `extra` stand between the braces, already escaped.
pub(super) fn sample(name: [&str; 2], labels: &str, extra: &str, value: Number, out: &mut Vec<u8>) {
    out.extend_from_slice(name[0].as_bytes());
    out.extend_from_slice(name[1].as_bytes());
    if !labels.is_empty() || !extra.is_empty() {
        out.push(b'{');
        out.extend_from_slice(labels.as_bytes());
        if !labels.is_empty() && !extra.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(extra.as_bytes());
        out.push(b'}');
    }
    out.push(b' ');
    number::push(value, out);
    out.push(b'\n');
}

fn encode_family(family: &FamilySnapshot, out: &mut Vec<u8>) {
    announce(&family.name, &family.help, type_name(family.kind), out);
    let mut bounds = Bounds::default();
    for series in &family.series {
        let (name, labels) = (family.name.as_str(), &series.labels);
        match &series.value {
            Value::Counter(value) | Value::Gauge(value) => sample([name, ""], labels.text(), "", *value, out),
            Value::Tally { count, sum } => totals(name, labels, *sum, *count, out),
            Value::Histogram { bounds: upper, buckets, sum } => {
                let count = bounds.encode(name, labels, upper, buckets, out);
                totals(name, labels, *sum, count, out);
            }
            Value::Info => sample([name, ""], labels.text(), "", Number::Unsigned(1), out),
            Value::StateSet { states, bits } => encode_states(name, labels, states, *bits, out),
        }
    }
}

fn totals(name: &str, labels: &Labels, sum: f64, count: u64, out: &mut Vec<u8>) {
    sample([name, "_sum"], labels.text(), "", Number::Float(sum), out);
    sample([name, "_count"], labels.text(), "", Number::Unsigned(count), out);
}

fn encode_states(name: &str, labels: &Labels, states: &[String], bits: u64, out: &mut Vec<u8>) {
    for (number, state) in states.iter().enumerate() {
        let mut extra = format!("{name}=\"");
        escape_value(state, &mut extra);
        extra.push('"');
        sample([name, ""], labels.text(), &extra, Number::Unsigned(bits >> number & 1), out);
    }
}

/// The labels `le` of a family's buckets, made once.
#[derive(Default)]
struct Bounds {
    of: Vec<u64>,
    labels: Vec<String>,
}

impl Bounds {
    /// Appends the cumulative buckets and returns the count of all.
    fn encode(
        &mut self,
        name: &str,
        labels: &Labels,
        upper: &[f64],
        buckets: &[u64],
        out: &mut Vec<u8>,
    ) -> u64 {
        if self.labels.is_empty() || !self.of.iter().copied().eq(upper.iter().map(|x| x.to_bits())) {
            self.of = upper.iter().map(|bound| bound.to_bits()).collect();
            let all = upper.iter().copied().chain([f64::INFINITY]);
            self.labels = all.map(|bound| format!("le=\"{}\"", number::le(bound))).collect();
        }
        let mut total = 0_u64;
        for (le, bucket) in self.labels.iter().zip(buckets) {
            total = total.wrapping_add(*bucket);
            sample([name, "_bucket"], labels.text(), le, Number::Unsigned(total), out);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::Collector;
    use crate::testing::{Builder, every_kind, family, live, scratch};
    use dyn_metrics_layout::record::Texts;
    use dyn_metrics_layout::{GaugeMode, Representation};

    /// What a collector says about a segment alone in a directory, its path replaced.
    fn page(built: &Builder, living: &[u32]) -> String {
        let directory = scratch();
        let path = directory.path().join("segment");
        built.write(&path);
        let _alive: Vec<_> = living.iter().map(|slot| live(&path, *slot)).collect();
        let pattern = path.to_string_lossy().into_owned();
        let mut out = Vec::new();
        encode(&Collector::new(std::slice::from_ref(&pattern)).collect(), &mut out);
        String::from_utf8(out).unwrap().replace(&pattern, "SEGMENT")
    }

    #[test]
    fn every_kind_is_written_as_the_golden_page_says() {
        let page = page(&every_kind(1), &[0]);
        let golden = include_str!("golden.txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/encode/golden.txt"), &page).unwrap();
        } else {
            assert_eq!(page, golden);
        }
    }

    #[test]
    fn no_family_hides_a_self_metric_or_passes_for_one() {
        let mut built = Builder::new(1);
        for name in ["dyn_metrics_segments", "dyn_metrics_exporter_scrapes_total", "dyn_metrics"] {
            let own = built.family(&family(name, Kind::Counter));
            for number in ["1", "2"] {
                let series = built.series(own, &[("mine", number)]);
                built.cells(series, Representation::Integer, [&[5], &[], &[], &[]]);
            }
        }
        let page = page(&built, &[]);
        assert!(!page.contains("mine="), "{page}");
        assert!(page.contains("\ndyn_metrics_segments 1\n"), "{page}");
        let skipped: Vec<_> =
            page.lines().filter(|line| line.starts_with("dyn_metrics_records_skipped_total{")).collect();
        let expected = r#"dyn_metrics_records_skipped_total{reason="reserved_name",segment="SEGMENT"} 3"#;
        assert_eq!(skipped, [expected], "the families are counted, their series not once more");
    }

    #[test]
    fn a_state_set_without_a_living_process_shows_no_state() {
        let mut built = Builder::new(1);
        let states = Texts::Strs(&["on"]);
        let mode = GaugeMode::LiveMax;
        let states = dyn_metrics_layout::record::Family { states, mode, ..family("phase", Kind::StateSet) };
        let states = built.family(&states);
        built.series(states, &[]);
        assert!(!page(&built, &[]).contains("\nphase{"));
    }
}
