//! Snapshots as JSON, for `dyn-metrics dump --format json` and for scripts.
//!
//! One object; the shape is stable: members may be added, none changes its meaning.
//!
//! ```json
//! {
//!   "format_version": 1,
//!   "families": [
//!     {"name": "requests_total", "help": "...", "unit": "", "type": "counter", "mode": null, "level": 0,
//!      "registrant": "...",
//!      "series": [{"labels": {"model": "7b"}, "value": 18446744073709551615}]}
//!   ],
//!   "segments": [
//!     {"path": "/dev/shm/dynamo", "state": "ok", "error": null, "bytes_file": 65536, "bytes_used": 4096,
//!      "bytes_free": 1024, "created_unix_ns": 1, "segment_id": "0f...", "statistics": {"nan": 0},
//!      "families": [{"name": "requests_total", "series": 1, "refused": 0}],
//!      "processes": [{"slot": 0, "alive": true, "generation": 1, "process_id": 1, "pid": 1, "uid": 1,
//!                     "pid_namespace": 1, "claimed_unix_ns": 1, "command": "", "role": "", "labels": {},
//!                     "http_port": 0}],
//!      "skipped": [{"reason": "record", "offset": 64, "what": "..."}]}
//!   ],
//!   "skipped": [{"segment": "/dev/shm/dynamo", "reason": "record", "count": 1}],
//!   "patterns": [{"pattern": "/dev/shm/dynamo", "files": 1}],
//!   "left_out": [{"reason": "permission_denied", "count": 1}]
//! }
//! ```
//!
//! | type | value |
//! | --- | --- |
//! | `counter`, `gauge` | a number |
//! | `summary` | `{"count": n, "sum": x}` |
//! | `histogram` | `{"buckets": [{"le": "0.1", "count": n}, ...], "count": n, "sum": x}`; counts cumulative, last `le` is `+Inf` |
//! | `info` | `1` |
//! | `stateset` | `{"ready": true, ...}` |
//!
//! Integers are written exactly, also beyond 2^53. A double that JSON has no number for is the string `"NaN"`,
//! `"+Inf"` or `"-Inf"`. `mode` is the name of the gauge mode, null for types without.

use dyn_metrics_layout::FORMAT_VERSION;
use dyn_metrics_layout::header::Statistic;

use super::number;
use crate::left_out::LeftOutReason;
use crate::skip::Skip;
use crate::snapshot::{
    FamilyReport, FamilySnapshot, Number, ProcessReport, SegmentReport, SegmentState, SeriesSnapshot,
    Skipped, Snapshot, Value,
};

/// Appends `snapshot` to `out` as one JSON object on one line.
pub fn encode(snapshot: &Snapshot, out: &mut Vec<u8>) {
    object(out, |o| {
        o.number("format_version", u64::from(FORMAT_VERSION));
        o.list("families", &snapshot.families, family);
        o.list("segments", &snapshot.segments, segment);
        o.list("skipped", &snapshot.stats.skipped, skipped);
        o.list("patterns", &snapshot.patterns, |pattern, o| {
            o.text("pattern", &pattern.pattern);
            o.number("files", pattern.files as u64);
        });
        let left_out = LeftOutReason::ALL.map(|reason| (reason, snapshot.left_out.count(reason) as u64));
        let left_out: Vec<_> = left_out.into_iter().filter(|(_, count)| *count > 0).collect();
        o.list("left_out", &left_out, |(reason, count), o| {
            o.text("reason", reason.name());
            o.number("count", *count);
        });
    });
    out.push(b'\n');
}

fn family(family: &FamilySnapshot, o: &mut Object<'_>) {
    o.text("name", &family.name);
    o.text("help", &family.help);
    o.text("unit", &family.unit);
    o.text("type", family.kind.name());
    match family.kind.is_per_process() {
        true => o.text("mode", family.mode.name()),
        false => o.raw("mode", b"null"),
    }
    o.number("level", u64::from(family.level));
    o.text("registrant", &family.registrant);
    o.list("series", &family.series, series);
}

fn series(series: &SeriesSnapshot, o: &mut Object<'_>) {
    labels("labels", &series.labels, o);
    match &series.value {
        Value::Counter(value) | Value::Gauge(value) => push_number(*value, o.member("value")),
        Value::Tally { count, sum } => o.object("value", |o| {
            o.number("count", *count);
            push_number(Number::Float(*sum), o.member("sum"));
        }),
        Value::Histogram { bounds, buckets, sum } => o.object("value", |o| {
            let mut count = 0_u64;
            let upper = bounds.iter().copied().chain([f64::INFINITY]);
            let cumulative = buckets.iter().map(|bucket| {
                count = count.saturating_add(*bucket);
                count
            });
            let pairs: Vec<(f64, u64)> = upper.zip(cumulative).collect();
            o.list("buckets", &pairs, |(le, count), o| {
                o.text("le", &number::le(*le));
                o.number("count", *count);
            });
            o.number("count", count);
            push_number(Number::Float(*sum), o.member("sum"));
        }),
        Value::Info => o.number("value", 1),
        Value::StateSet { states, bits } => o.object("value", |o| {
            for (number, state) in states.iter().enumerate() {
                o.raw(state, if bits >> number & 1 == 1 { b"true" } else { b"false" });
            }
        }),
    }
}

fn segment(segment: &SegmentReport, o: &mut Object<'_>) {
    o.text("path", &segment.path.to_string_lossy());
    o.text("state", segment.state.name());
    match &segment.state {
        SegmentState::Unreadable(error) => o.text("error", &error.to_string()),
        SegmentState::Copy(of) => o.text("error", &format!("copy of {}", of.display())),
        _ => o.raw("error", b"null"),
    }
    o.number("bytes_file", segment.bytes_file);
    o.number("bytes_used", segment.bytes_used);
    o.number("bytes_free", segment.bytes_free);
    o.number("created_unix_ns", segment.created_unix_ns);
    let [high, low] = segment.segment_id;
    o.text("segment_id", &format!("{high:016x}{low:016x}"));
    o.object("statistics", |o| {
        for (statistic, value) in &segment.statistics {
            let name = Statistic::ALL.iter().find(|(s, _)| s == statistic).map_or("", |(_, name)| name);
            o.number(name, *value);
        }
    });
    o.list("families", &segment.families, family_report);
    o.list("processes", &segment.processes, process);
    o.list("skipped", &segment.skipped, skip);
}

fn family_report(report: &FamilyReport, o: &mut Object<'_>) {
    o.text("name", &report.name);
    o.number("series", report.series);
    o.number("refused", report.refused);
}

fn process(process: &ProcessReport, o: &mut Object<'_>) {
    o.number("slot", u64::from(process.slot));
    o.raw("alive", if process.alive { b"true" } else { b"false" });
    for (name, value) in [
        ("generation", process.generation),
        ("process_id", process.process_id),
        ("pid", u64::from(process.pid)),
        ("uid", u64::from(process.uid)),
        ("pid_namespace", process.pid_namespace),
        ("claimed_unix_ns", process.claimed_unix_ns),
    ] {
        o.number(name, value);
    }
    o.text("command", &process.command);
    o.text("role", &process.role);
    labels("labels", &process.labels, o);
    o.number("http_port", u64::from(process.http_port));
}

fn skip(skip: &Skip, o: &mut Object<'_>) {
    o.text("reason", skip.reason.name());
    o.number("offset", skip.offset);
    o.text("what", &skip.what);
}

fn skipped(skipped: &Skipped, o: &mut Object<'_>) {
    o.text("segment", &skipped.segment);
    o.text("reason", skipped.reason.name());
    o.number("count", skipped.count);
}

fn labels(name: &str, labels: &[(String, String)], o: &mut Object<'_>) {
    o.object(name, |o| {
        for (name, value) in labels {
            o.text(name, value);
        }
    });
}

/// An object that is being written.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_first: bool,
}

fn object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, is_first: true });
    out.push(b'}');
}

impl Object<'_> {
    /// Starts a member; its value is to be appended.
    fn member(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.is_first, false) {
            self.out.push(b',');
        }
        push_text(name, self.out);
        self.out.push(b':');
        self.out
    }

    fn raw(&mut self, name: &str, value: &[u8]) {
        self.member(name).extend_from_slice(value);
    }

    fn text(&mut self, name: &str, value: &str) {
        push_text(value, self.member(name));
    }

    fn number(&mut self, name: &str, value: u64) {
        number::push_unsigned(value, self.member(name));
    }

    fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        object(self.member(name), fill);
    }

    fn list<T>(&mut self, name: &str, items: &[T], mut fill: impl FnMut(&T, &mut Object<'_>)) {
        let out = self.member(name);
        out.push(b'[');
        for (number, item) in items.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            object(out, |o| fill(item, o));
        }
        out.push(b']');
    }
}

fn push_number(value: Number, out: &mut Vec<u8>) {
    match value {
        Number::Float(value) if !value.is_finite() => push_text(number::not_finite(value), out),
        value => number::push(value, out),
    }
}

fn push_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c < ' ' => out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes()),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use dyn_metrics_layout::{GaugeMode, Kind};

    fn family(kind: Kind, value: Value) -> FamilySnapshot {
        let labels = [("model", "a\"\\\n\u{1}é")].into_iter().collect();
        FamilySnapshot {
            name: "f".into(),
            help: "h".into(),
            unit: String::new(),
            kind,
            mode: GaugeMode::Max,
            level: 0,
            registrant: String::new(),
            series: vec![SeriesSnapshot { labels, value }],
        }
    }

    fn encoded(kind: Kind, value: Value) -> serde_json::Value {
        let mut out = Vec::new();
        encode(&Snapshot { families: vec![family(kind, value)], ..Snapshot::default() }, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    fn value(kind: Kind, value: Value) -> serde_json::Value {
        encoded(kind, value)["families"][0]["series"][0]["value"].clone()
    }

    #[test]
    fn every_kind_has_its_shape() {
        let (bounds, states) = (Arc::new([0.5, 1e6]), Arc::new(["up".to_owned(), "down".to_owned()]));
        let histogram = Value::Histogram { bounds, buckets: vec![1, 2, 3], sum: f64::NAN };
        for (kind, of, expected) in [
            (Kind::Counter, Value::Counter(Number::Unsigned(u64::MAX)), "18446744073709551615"),
            (Kind::Gauge, Value::Gauge(Number::Float(f64::NEG_INFINITY)), r#""-Inf""#),
            (Kind::Gauge, Value::Gauge(Number::Signed(-3)), "-3"),
            (Kind::Tally, Value::Tally { count: 2, sum: 0.5 }, r#"{"count":2,"sum":0.5}"#),
            (Kind::Info, Value::Info, "1"),
            (Kind::StateSet, Value::StateSet { states, bits: 2 }, r#"{"down":true,"up":false}"#),
            (
                Kind::Histogram,
                histogram,
                r#"{"buckets":[{"count":1,"le":"0.5"},{"count":3,"le":"1e+06"},{"count":6,"le":"+Inf"}],"count":6,"sum":"NaN"}"#,
            ),
        ] {
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            assert_eq!(value(kind, of), expected, "{kind:?}");
        }
    }

    #[test]
    fn text_survives_and_modes_show_only_where_there_are_some() {
        let json = encoded(Kind::Gauge, Value::Gauge(Number::Signed(1)));
        assert_eq!(json["families"][0]["series"][0]["labels"]["model"], "a\"\\\n\u{1}é");
        assert_eq!(json["families"][0]["mode"], "max");
        assert!(encoded(Kind::Info, Value::Info)["families"][0]["mode"].is_null());
    }
}
