//! A parser of the text exposition that forgives nothing, in particular not what is cut off or written twice.

use std::collections::{BTreeMap, BTreeSet};

/// What a page consists of.
#[derive(Debug, Default)]
pub struct Page {
    /// Values by the sample's name and labels, as the text has them.
    pub samples: BTreeMap<String, f64>,
    families: BTreeSet<String>,
}

/// A sample's parts.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

/// A histogram's series as far as it was read.
#[derive(Default)]
struct Buckets {
    last: Option<(f64, f64)>,
    has_sum: bool,
    count: Option<f64>,
}

/// The family whose samples come.
#[derive(Default)]
struct Family<'a> {
    name: &'a str,
    kind: &'a str,
    buckets: BTreeMap<String, Buckets>,
}

/// Reads a whole page.
///
/// # Errors
/// What is wrong, and in which line.
pub fn parse(page: &[u8]) -> Result<Page, String> {
    let text = std::str::from_utf8(page).map_err(|error| error.to_string())?;
    let body = text.strip_suffix('\n').ok_or_else(|| format!("{} bytes without an end", text.len()))?;
    let (mut page, mut family, mut help) = (Page::default(), Family::default(), "");
    for line in body.split('\n') {
        let fault = |what: &str| format!("{what}: {line:?}");
        if let Some(rest) = line.strip_prefix("# HELP ") {
            finish(&family, help)?;
            (help, family) = (rest.split(' ').next().unwrap_or(""), Family::default());
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| fault("no type"))?;
            let known = ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind);
            if name != help || !known || !is_name(name) || !page.families.insert(name.to_owned()) {
                return Err(fault("bad or repeated family"));
            }
            family = Family { name, kind, ..Family::default() };
        } else {
            let (key, sample) = sample(line).map_err(|error| fault(&error))?;
            family.take(&sample).map_err(|error| fault(&error))?;
            if page.samples.insert(key.to_owned(), sample.value).is_some() {
                return Err(fault("repeated sample"));
            }
        }
    }
    finish(&family, help)?;
    Ok(page)
}

impl<'a> Family<'a> {
    fn take(&mut self, sample: &Sample<'a>) -> Result<(), String> {
        let suffix = sample.name.strip_prefix(self.name).filter(|_| !self.name.is_empty());
        match (self.kind, suffix) {
            ("counter", Some("")) if sample.value < 0.0 => Err("negative counter".to_owned()),
            ("counter" | "gauge" | "untyped", Some("")) | ("summary", Some("_sum" | "_count")) => Ok(()),
            ("histogram", Some(suffix)) => self.take_part(suffix, sample),
            _ => Err(format!("a sample of another family than {:?}", self.name)),
        }
    }

    fn take_part(&mut self, suffix: &str, sample: &Sample<'a>) -> Result<(), String> {
        let (bounds, labels): (Vec<_>, Vec<_>) = sample.labels.iter().partition(|(name, _)| *name == "le");
        let series = self.buckets.entry(format!("{labels:?}")).or_default();
        match (suffix, bounds.as_slice()) {
            ("_bucket", [(_, bound)]) => {
                let now = (number(bound)?, sample.value);
                if series.last.is_some_and(|last| now.0 <= last.0 || now.1 < last.1) {
                    return Err("buckets out of order".to_owned());
                }
                series.last = Some(now);
            }
            ("_sum", []) => series.has_sum = true,
            ("_count", []) => series.count = Some(sample.value),
            _ => return Err("no part of a histogram".to_owned()),
        }
        Ok(())
    }
}

/// A family ends: it must have both its lines, and each histogram of it must be whole. It may have no samples.
fn finish(family: &Family, help: &str) -> Result<(), String> {
    if family.name != help {
        return Err(format!("no type of {help:?}"));
    }
    for (labels, series) in &family.buckets {
        let whole = series.has_sum
            && series.last.is_some_and(|(bound, value)| bound.is_infinite() && Some(value) == series.count);
        if !whole {
            return Err(format!("half a histogram: {:?} {labels}", family.name));
        }
    }
    Ok(())
}

/// The sample of a line, and what stands before its value.
fn sample(line: &str) -> Result<(&str, Sample<'_>), String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err("no name".to_owned());
    }
    let mut labels: Vec<(&str, &str)> = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("no label")?;
            let end = end_of_value(after).ok_or("no end of a label's value")?;
            if !is_label(label) || labels.iter().any(|(other, _)| *other == label) {
                return Err(format!("bad or repeated label {label:?}"));
            }
            labels.push((label, &after[..end]));
            match after[end + 1..].split_at_checked(1) {
                Some((",", next)) => rest = next,
                Some(("}", next)) => break rest = next,
                _ => return Err("no end of the labels".to_owned()),
            }
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no value")?;
    let key = &line[..line.len() - rest.len()];
    Ok((key, Sample { name, labels, value: number(value)? }))
}

/// Where the quote that ends a label's value stands; none where there is none, or an unknown escape.
fn end_of_value(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(at),
            b'\\' => {
                bytes.next().filter(|(_, next)| b"\\\"n".contains(next))?;
            }
            _ => {}
        }
    }
    None
}

fn number(text: &str) -> Result<f64, String> {
    let known = ["NaN", "+Inf", "-Inf"].contains(&text)
        || text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte));
    text.parse().ok().filter(|_| known).ok_or_else(|| format!("no number {text:?}"))
}

fn is_name(name: &str) -> bool {
    is_label(&name.replace(':', "_"))
}

fn is_label(label: &str) -> bool {
    let starts = label.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    starts && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"y \\\"z\\\" \\\\\",n=\"1\"} 5\n\
        # HELP h_seconds H.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"0.1\"} 1\n\
        h_seconds_bucket{le=\"+Inf\"} 2\nh_seconds_sum 0.5\nh_seconds_count 2\n";

    #[test]
    fn a_good_page_is_read() {
        let page = parse(GOOD.as_bytes()).expect("a good page");
        assert_eq!(page.samples.len(), 5);
        assert_eq!(page.samples["h_seconds_bucket{le=\"+Inf\"}"], 2.0);
    }

    #[test]
    fn a_page_cut_within_a_family_is_refused() {
        let whole =
            ["a_total{", "# HELP h", "h_seconds_bucket{"].map(|next| GOOD.find(next).expect("a line"));
        for length in (0..GOOD.len()).filter(|length| !whole.contains(length)) {
            assert!(parse(&GOOD.as_bytes()[..length]).is_err(), "{:?}", &GOOD[..length]);
        }
    }

    #[test]
    fn what_is_not_quite_right_is_refused() {
        for (good, bad) in [
            ("} 5\n", "} 5\n\n"),
            ("} 5", "}  5"),
            ("} 5", "} -5"),
            ("} 5", "} 5 1"),
            ("n=\"1\"", "x=\"1\""),
            ("n=\"1\"", "n=\"1\\t\""),
            ("a_total{", "b_total{"),
            ("TYPE a_total counter", "TYPE a_total number"),
            ("count 2", "count 3"),
            ("0.1\"} 1", "0.1\"} 3"),
            ("le=\"0.1\"", "le=\"inf\""),
            ("h_seconds_sum 0.5\n", ""),
        ] {
            assert!(parse(GOOD.replace(good, bad).as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parse(format!("{GOOD}{GOOD}").as_bytes()).is_err());
    }
}
