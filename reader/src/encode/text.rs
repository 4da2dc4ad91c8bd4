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

#[cfg(test)]
pub(crate) mod plain;

use dyn_metrics_layout::Kind;

use super::lines::Lines;
use super::self_metrics;
use crate::catalog::FamilyEntry;
use crate::merge::LabelSets;
use crate::snapshot::{FamilySnapshot, Snapshot, Value, ValueRef};
use crate::values::{Samples, Sink};

/// Media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Appends `snapshot` to `out`: its families, then self-metrics named `dyn_metrics_*`.
///
/// No family of a segment has a name of theirs, because names that begin so are reserved. Cost: about a copy of the
/// text, no system call. Errors, panics: none.
pub fn encode(snapshot: &Snapshot, out: &mut Vec<u8>) {
    encode_families(&snapshot.families, out);
    self_metrics::encode(snapshot.into(), out);
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

fn encode_family(family: &FamilySnapshot, out: &mut Vec<u8>) {
    let new = || Lines::new(&family.name, &family.help, family.kind);
    let mut lines = new();
    lines.announce(out);
    let mut before = None;
    for series in &family.series {
        // Series of a collection have the same bounds and states, but everybody may build a snapshot.
        match &series.value {
            Value::Histogram { bounds, .. } if before.is_none_or(|before| !same_bounds(before, bounds)) => {
                before = Some(bounds);
                lines = new().with_bounds(bounds);
            }
            Value::StateSet { states, .. } => lines = new().with_states(states),
            _ => {}
        }
        lines.clear();
        lines.add(&series.labels);
        lines.write(0, ValueRef::from(&series.value), out);
    }
}

fn same_bounds(a: &[f64], b: &[f64]) -> bool {
    a.iter().map(|bound| bound.to_bits()).eq(b.iter().map(|bound| bound.to_bits()))
}

/// The text of a collection, as it is read.
pub(crate) struct Page<'o> {
    out: &'o mut Vec<u8>,
    /// Where it starts.
    start: usize,
}

impl<'o> Page<'o> {
    /// Text to be appended to `out`.
    pub(crate) const fn new(out: &'o mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start }
    }
}

impl Sink for Page<'_> {
    type Family<'f>
        = FamilyText<'f>
    where
        Self: 'f;

    fn restart(&mut self) {
        self.out.truncate(self.start);
    }

    fn family<'f>(&'f mut self, family: &'f FamilyEntry, labels: &'f LabelSets) -> FamilyText<'f> {
        let lines = labels.lines.get_or_init(|| {
            let lines = Lines::new(&family.name, &family.help, family.kind);
            let mut lines = match family.kind {
                Kind::Histogram => lines.with_bounds(&family.bounds),
                Kind::StateSet => lines.with_states(&family.states),
                _ => lines,
            };
            labels.list.iter().for_each(|labels| lines.add(labels));
            lines.shrink();
            lines
        });
        lines.announce(self.out);
        FamilyText { lines, out: self.out }
    }
}

/// The text of a family, as it is read.
pub(crate) struct FamilyText<'f> {
    lines: &'f Lines,
    out: &'f mut Vec<u8>,
}

impl Samples for FamilyText<'_> {
    #[inline]
    fn sample(&mut self, number: usize, value: ValueRef<'_>) {
        self.lines.write(number, value, self.out);
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
    fn buckets_never_fall_whatever_a_file_holds() {
        let mut built = Builder::new(1);
        let bounds = dyn_metrics_layout::record::Doubles::Numbers(&[0.5, 1.0]);
        let latency = dyn_metrics_layout::record::Family { bounds, ..family("h", Kind::Histogram) };
        let latency = built.family(&latency);
        let series = built.series(latency, &[]);
        built.cells(series, Representation::Integer, [&[7, u64::MAX, 3, 1], &[], &[], &[]]);
        let page = page(&built, &[]);
        let shown: Vec<_> = page.lines().filter(|line| line.starts_with("h_")).collect();
        let most = u64::MAX;
        let expected = [
            r#"h_bucket{le="0.5"} 7"#.to_owned(),
            format!(r#"h_bucket{{le="1"}} {most}"#),
            format!(r#"h_bucket{{le="+Inf"}} {most}"#),
            "h_sum 1".to_owned(),
            format!("h_count {most}"),
        ];
        assert_eq!(shown, expected);
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
