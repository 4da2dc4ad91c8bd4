//! The labels of a series, with their exposition made once.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Labels sorted by name. Cloning costs a reference count.
///
/// Reads like a slice of (name, value) pairs, which is made when somebody first asks for it; until then the
/// exposition is all there is. Label sets compare by their exposition.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    text: Box<str>,
    pairs: OnceLock<Box<[(String, String)]>>,
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
        let kept = self.iter().filter(|(n, _)| n != name).map(|(n, v)| (n.as_str(), v.as_str()));
        kept.chain([(name, value)]).collect()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut text = String::new();
        for (name, value) in &pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            escape_value(value, &mut text);
            text.push('"');
        }
        Self(Arc::new(Inner { text: text.into(), pairs: OnceLock::new() }))
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::from_iter([] as [(&str, &str); 0])
    }
}

impl Deref for Labels {
    type Target = [(String, String)];

    fn deref(&self) -> &Self::Target {
        self.0.pairs.get_or_init(|| parse(&self.0.text).collect())
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
        self.0.text == other.0.text
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
        self.0.text.cmp(&other.0.text)
    }
}

/// The pairs in an exposition of ours.
fn parse(text: &str) -> impl Iterator<Item = (String, String)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (name, after) = rest.strip_prefix(',').unwrap_or(rest).split_once("=\"")?;
        let (mut value, mut chars) = (String::new(), after.char_indices());
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    rest = &after[at + 1..];
                    return Some((name.to_owned(), value));
                }
                '\\' => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    c => c,
                }),
                c => value.push(c),
            }
        }
        None
    })
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

    #[test]
    fn labels_are_sorted_escaped_and_never_rewritten() {
        let labels = Labels::from_iter([("b", "a\\b\"c\nd\\n,e=\"f"), ("a", "é/ü-1"), ("c", "")]);
        assert_eq!(labels.text(), r#"a="é/ü-1",b="a\\b\"c\nd\\n,e=\"f",c="""#);
        let pairs: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "é/ü-1"), ("b", "a\\b\"c\nd\\n,e=\"f"), ("c", "")]);
        assert_eq!(labels.value("c"), Some(""));
        assert_eq!(labels.value("d"), None);
    }

    #[test]
    fn a_label_added_replaces_its_namesake() {
        let one = Labels::from_iter([("pid", "1"), ("x", "2")]);
        assert_eq!(one.with("pid", "7"), Labels::from_iter([("x", "2"), ("pid", "7")]));
        assert_eq!(Labels::default().with("a", "b").text(), r#"a="b""#);
        assert!(Labels::default().is_empty());
    }
}
