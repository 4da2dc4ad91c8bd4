//! Series of any back end as text.

use dyn_metrics_layout::Kind;
use dyn_metrics_layout::kind::Number as Given;
use dyn_metrics_reader::encode::text::encode_families;
use dyn_metrics_reader::{FamilySnapshot, Number, SeriesSnapshot, Value as Shown};

use super::{Descriptor, Value};

/// Series as Prometheus text 0.0.4, as a segment's are written: for [`super::Backend::render`].
///
/// Families are sorted by name, and their series by labels. A gauge or state set that has no value is left out, other
/// kinds are 0 then. Help and type of a family are those of its first series.
#[must_use]
pub fn text<'d>(series: impl IntoIterator<Item = (&'d Descriptor, Option<Value>)>) -> String {
    let mut series: Vec<_> = series.into_iter().collect();
    series.sort_by(|(a, _), (b, _)| (&a.name, &a.labels).cmp(&(&b.name, &b.labels)));
    let mut families: Vec<FamilySnapshot> = Vec::new();
    for (descriptor, value) in series {
        if families.last().is_none_or(|last| last.name != descriptor.name) {
            families.push(family(descriptor));
        }
        let labels = descriptor.labels.iter().map(|(name, value)| (name, value)).collect();
        if let (Some(family), Some(value)) = (families.last_mut(), shown(descriptor, value)) {
            family.series.push(SeriesSnapshot { labels, value });
        }
    }
    let mut text = Vec::new();
    encode_families(&families, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn family(of: &Descriptor) -> FamilySnapshot {
    FamilySnapshot {
        name: of.name.clone(),
        help: of.help.clone(),
        unit: of.unit.clone(),
        kind: of.kind,
        mode: of.mode,
        level: of.level,
        registrant: String::new(),
        series: Vec::new(),
    }
}

fn shown(descriptor: &Descriptor, value: Option<Value>) -> Option<Shown> {
    let shown = match (descriptor.kind, value) {
        (Kind::Counter, Some(Value::Number(Given::Integer(n)))) => Shown::Counter(Number::Unsigned(n as u64)),
        (Kind::Counter, Some(Value::Number(number))) => Shown::Counter(Number::Float(number.as_f64())),
        (Kind::Counter, _) => Shown::Counter(Number::Unsigned(0)),
        (Kind::Gauge, Some(Value::Number(Given::Integer(n)))) => Shown::Gauge(Number::Signed(n)),
        (Kind::Gauge, Some(Value::Number(number))) => Shown::Gauge(Number::Float(number.as_f64())),
        (Kind::StateSet, Some(Value::States(bits))) => {
            Shown::StateSet { states: descriptor.states.as_slice().into(), bits }
        }
        (Kind::Gauge | Kind::StateSet, _) => return None,
        (Kind::Info, _) => Shown::Info,
        (kind, Some(Value::Distribution { buckets, count, sum })) => match kind {
            Kind::Tally => Shown::Tally { count, sum },
            _ => Shown::Histogram { bounds: descriptor.bounds.as_slice().into(), buckets, sum },
        },
        (Kind::Tally, _) => Shown::Tally { count: 0, sum: 0.0 },
        _ => {
            let buckets = vec![0; descriptor.bounds.len() + 1];
            Shown::Histogram { bounds: descriptor.bounds.as_slice().into(), buckets, sum: 0.0 }
        }
    };
    Some(shown)
}
