//! Lines of text 0.0.4, kept as far as they never change.

use std::ops::Range;

use dyn_metrics_layout::Kind;

use super::number;
use crate::labels::{Labels, escape_value};
use crate::snapshot::{Number, ValueRef};

/// What the lines of a family begin with: names, labels and escapes are written once, numbers at each scrape.
#[derive(Debug)]
pub(crate) struct Lines {
    name: Box<str>,
    layout: &'static [Start],
    /// `HELP` and `TYPE`.
    head: Vec<u8>,
    /// Starts of lines, label set by label set: `NAME{LABELS} `, or `NAME{LABELS,` where another label follows.
    starts: Vec<u8>,
    /// Where each start ends.
    ends: Vec<usize>,
    /// The labels that follow: `le="0.1"} `.
    extras: Vec<Box<[u8]>>,
}

/// A line's suffix, and whether another label follows: then there are several such lines.
type Start = (&'static str, bool);

/// The starts of each label set of a kind, in the order of exposition.
const fn layout(kind: Kind) -> &'static [Start] {
    match kind {
        Kind::Counter | Kind::Gauge | Kind::Info => &[("", false)],
        Kind::Tally => &[("_sum", false), ("_count", false)],
        Kind::Histogram | Kind::ExponentialHistogram => {
            &[("_bucket", true), ("_sum", false), ("_count", false)]
        }
        Kind::StateSet => &[("", true)],
    }
}

impl Lines {
    /// The lines of a family, yet without label sets.
    pub(super) fn new(name: &str, help: &str, kind: Kind) -> Self {
        let mut head = Vec::new();
        super::text::announce(name, help, super::text::type_name(kind), &mut head);
        let (starts, ends, extras) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), layout: layout(kind), head, starts, ends, extras }
    }

    /// Writes the labels `le` for a histogram with these bounds.
    pub(super) fn with_bounds(mut self, bounds: &[f64]) -> Self {
        let all = bounds.iter().copied().chain([f64::INFINITY]);
        self.extras =
            all.map(|bound| format!("le=\"{}\"}} ", number::le(bound)).into_bytes().into()).collect();
        self
    }

    /// Writes the labels of a state set with these states.
    pub(super) fn with_states(mut self, states: &[String]) -> Self {
        let extra = |state: &String| {
            let mut extra = format!("{}=\"", self.name);
            escape_value(state, &mut extra);
            extra.push_str("\"} ");
            extra.into_bytes().into()
        };
        self.extras = states.iter().map(extra).collect();
        self
    }

    /// Adds a label set.
    pub(super) fn add(&mut self, labels: &Labels) {
        let (labels, starts) = (labels.text(), &mut self.starts);
        for (suffix, another_label) in self.layout {
            starts.extend_from_slice(self.name.as_bytes());
            starts.extend_from_slice(suffix.as_bytes());
            let (open, close) = match (labels.is_empty(), another_label) {
                (true, true) => ("{", ""),
                (true, false) => ("", " "),
                (false, true) => ("{", ","),
                (false, false) => ("{", "} "),
            };
            starts.extend_from_slice(open.as_bytes());
            starts.extend_from_slice(labels.as_bytes());
            starts.extend_from_slice(close.as_bytes());
            self.ends.push(starts.len());
        }
    }

    /// Forgets the label sets.
    pub(super) fn clear(&mut self) {
        self.starts.clear();
        self.ends.clear();
    }

    /// Gives back the memory that is left over: nothing more will be added.
    pub(super) fn shrink(&mut self) {
        self.starts.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// Appends the lines that announce the family.
    pub(super) fn announce(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
    }

    /// Appends the lines of the label set of this number.
    #[inline]
    pub(super) fn write(&self, number: usize, value: ValueRef<'_>, out: &mut Vec<u8>) {
        match value {
            ValueRef::Counter(value) | ValueRef::Gauge(value) => line(self.start(number, 0), value, out),
            ValueRef::Tally { count, sum } => {
                line(self.start(number, 0), Number::Float(sum), out);
                line(self.start(number, 1), Number::Unsigned(count), out);
            }
            ValueRef::Histogram { buckets, sum, .. } => {
                let (bucket, mut count) = (self.start(number, 0), 0_u64);
                for (extra, found) in self.extras.iter().zip(buckets) {
                    count = count.saturating_add(*found);
                    out.extend_from_slice(bucket);
                    line(extra, Number::Unsigned(count), out);
                }
                line(self.start(number, 1), Number::Float(sum), out);
                line(self.start(number, 2), Number::Unsigned(count), out);
            }
            ValueRef::Info => line(self.start(number, 0), Number::Unsigned(1), out),
            ValueRef::StateSet { bits, .. } => {
                for (state, extra) in self.extras.iter().enumerate() {
                    out.extend_from_slice(self.start(number, 0));
                    line(extra, Number::Unsigned(bits >> state & 1), out);
                }
            }
        }
    }

    /// Start number `which` of the label set of this number.
    #[inline]
    fn start(&self, number: usize, which: usize) -> &[u8] {
        let at = number * self.layout.len() + which;
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.starts[Range { start: begin, end: self.ends[at] }]
    }
}

#[inline]
fn line(start: &[u8], value: Number, out: &mut Vec<u8>) {
    out.extend_from_slice(start);
    number::push(value, out);
    out.push(b'\n');
}
