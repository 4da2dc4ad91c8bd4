//! The labels of a series, with their exposition made once.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Labels sorted by name. Cloning costs a reference count.
///
/// Reads like a slice of (name, value) pairs.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    pairs: Box<[(String, String)]>,
    text: Box<str>,
}

impl Labels {
    /// The labels as they stand between the braces of a sample, values escaped: `model="7b",status="ok"`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The value of a label.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// These labels and one more, which replaces one of the same name.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let kept = self.iter().filter(|(n, _)| n != name).cloned();
        kept.chain([(name.to_owned(), value.to_owned())]).collect()
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Self {
        let mut pairs: Box<[_]> = pairs.into_iter().collect();
        pairs.sort();
        let mut text = String::new();
        for (name, value) in &pairs {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            escape_value(value, &mut text);
            text.push('"');
        }
        Self(Arc::new(Inner { pairs, text: text.into() }))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl Deref for Labels {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        &self.0.pairs
    }
}

impl<'l> IntoIterator for &'l Labels {
    type Item = &'l (String, String);
    type IntoIter = std::slice::Iter<'l, (String, String)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.text())
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.0.pairs == other.0.pairs
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.pairs.cmp(&other.0.pairs)
    }
}

/// Appends a label value as text 0.0.4 wants it: backslash, quote and line feed escaped, nothing else changed.
pub(crate) fn escape_value(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn labels_are_sorted_escaped_and_never_rewritten() {
        let labels = labels(&[("b", "a\\b\"c\nd"), ("a", "é/ü-1")]);
        assert_eq!(labels.text(), r#"a="é/ü-1",b="a\\b\"c\nd""#);
        assert_eq!(labels.value("a"), Some("é/ü-1"));
        assert_eq!(labels.value("c"), None);
    }

    #[test]
    fn a_label_added_replaces_its_namesake() {
        let one = labels(&[("pid", "1"), ("x", "2")]);
        assert_eq!(one.with("pid", "7"), labels(&[("pid", "7"), ("x", "2")]));
        assert_eq!(Labels::default().with("a", "b").text(), r#"a="b""#);
    }
}
