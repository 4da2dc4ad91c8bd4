//! Families as text the plain way, nothing kept and nothing shared: what kept lines are compared with.

use std::fmt::Write;

use dyn_metrics_layout::Kind;

use crate::encode::number;
use crate::labels::escape_value;
use crate::snapshot::{FamilySnapshot, Number, SeriesSnapshot, Value};

/// The families as text 0.0.4.
pub(crate) fn encode(families: &[FamilySnapshot]) -> String {
    let mut out = String::new();
    for family in families {
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        let kind = match family.kind {
            Kind::Info | Kind::StateSet => "gauge",
            kind => kind.name(),
        };
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}", name = family.name);
        for series in &family.series {
            encode_series(&family.name, series, &mut out);
        }
    }
    out
}

fn encode_series(name: &str, series: &SeriesSnapshot, out: &mut String) {
    let mut line = |suffix: &str, extra: Option<(&str, &str)>, value: Number| {
        let mut labels: Vec<String> = series.labels.iter().map(|(n, v)| label(n, v)).collect();
        labels.extend(extra.map(|(n, v)| label(n, v)));
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let mut number = Vec::new();
        number::push(value, &mut number);
        let _ = writeln!(out, "{name}{suffix}{labels} {}", String::from_utf8_lossy(&number));
    };
    match &series.value {
        Value::Counter(value) | Value::Gauge(value) => line("", None, *value),
        Value::Tally { count, sum } => {
            line("_sum", None, Number::Float(*sum));
            line("_count", None, Number::Unsigned(*count));
        }
        Value::Histogram { bounds, buckets, sum } => {
            let mut count = 0_u64;
            for (bound, bucket) in bounds.iter().chain([&f64::INFINITY]).zip(buckets) {
                count = count.saturating_add(*bucket);
                line("_bucket", Some(("le", &number::le(*bound))), Number::Unsigned(count));
            }
            line("_sum", None, Number::Float(*sum));
            line("_count", None, Number::Unsigned(count));
        }
        Value::Info => line("", None, Number::Unsigned(1)),
        Value::StateSet { states, bits } => {
            for (number, state) in states.iter().enumerate() {
                line("", Some((name, state)), Number::Unsigned(bits >> number & 1));
            }
        }
    }
}

fn label(name: &str, value: &str) -> String {
    let mut escaped = String::new();
    escape_value(value, &mut escaped);
    format!("{name}=\"{escaped}\"")
}
