//! Some series of a segment, read again and again by any process: live, without a scrape.
//!
//! A [`Selector`] says which: one family, and of it the series whose labels match. A [`Selection`] finds them once and then
//! reads their numbers straight from the mapping, merged as a scrape merges them.
//!
//! ```
//! use dyn_metrics_reader::select::{Selection, Selector};
//!
//! let selector = Selector::new("llm_requests_total").equal("model", "llama").not_equal("status", "ok");
//! let mut failures = Selection::new("/dev/shm/dynamo", selector); // neither needs to exist yet
//! failures.refresh();
//! failures.read(|sample| println!("{} {:?} {:?}", sample.id, sample.labels, sample.value));
//! ```

mod selection;
mod trace;

use crate::labels::Labels;

pub use selection::{FamilyInfo, ProcessValue, Sample, Selection};

/// A family by its exposed name, and which of its series.
///
/// Strings are compared exactly. A label that a series doesn't have is an empty one, as in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    family: String,
    matchers: Vec<Matcher>,
}

/// A condition that a label must meet.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// It has this value.
    Equal(String, String),
    /// It has another value.
    NotEqual(String, String),
    /// It has one of these values.
    OneOf(String, Vec<String>),
    /// It is there, and not empty.
    Any(String),
}

impl Selector {
    /// All series of a family.
    #[must_use]
    pub fn new(family: impl Into<String>) -> Self {
        Self { family: family.into(), matchers: Vec::new() }
    }

    /// Of these only those whose label has this value.
    #[must_use]
    pub fn equal(self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.matching(Matcher::Equal(label.into(), value.into()))
    }

    /// Of these only those whose label has another value, or that don't have it.
    #[must_use]
    pub fn not_equal(self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.matching(Matcher::NotEqual(label.into(), value.into()))
    }

    /// Of these only those whose label has one of these values.
    #[must_use]
    pub fn one_of<V: Into<String>>(
        self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.matching(Matcher::OneOf(label.into(), values.into_iter().map(Into::into).collect()))
    }

    /// Of these only those that have the label, whatever its value.
    #[must_use]
    pub fn any(self, label: impl Into<String>) -> Self {
        self.matching(Matcher::Any(label.into()))
    }

    /// Of these only those that meet this condition, too.
    #[must_use]
    pub fn matching(mut self, matcher: Matcher) -> Self {
        self.matchers.push(matcher);
        self
    }

    /// The family's name.
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// The conditions.
    #[must_use]
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether a series of the family with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|name| labels.value(name))
    }

    /// As [`Self::matches`], for labels that `value` looks up.
    pub fn matches_by<'l>(&self, value: impl Fn(&str) -> Option<&'l str>) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(value(matcher.label()).unwrap_or_default()))
    }
}

impl Matcher {
    /// The label's name.
    #[must_use]
    pub fn label(&self) -> &str {
        match self {
            Self::Equal(label, _) | Self::NotEqual(label, _) | Self::OneOf(label, _) | Self::Any(label) => {
                label
            }
        }
    }

    /// Whether the label may have this value.
    #[must_use]
    pub fn matches(&self, found: &str) -> bool {
        match self {
            Self::Equal(_, value) => found == value,
            Self::NotEqual(_, value) => found != value,
            Self::OneOf(_, values) => values.iter().any(|value| found == value),
            Self::Any(_) => !found.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests;
