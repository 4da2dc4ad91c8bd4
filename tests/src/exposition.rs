//! A strict reader of Prometheus text 0.0.4: what it accepts, every server can parse.
//!
//! Stricter than the format asks, because our text has no reason not to be: every family has one `HELP` and one
//! `TYPE`, in this order and before its samples; families are contiguous; there are no comments, blank lines,
//! timestamps or superfluous spaces; no series appears twice; buckets of a histogram ascend, end with `+Inf` and
//! equal its count.

use std::collections::{HashMap, HashSet};

/// A family of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Family<'p> {
    /// Its name.
    pub name: &'p str,
    /// `counter`, `gauge`, `histogram` or `summary`.
    pub kind: &'p str,
    /// Its samples, in order.
    pub samples: Vec<Sample<'p>>,
}

/// A line with a number.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'p> {
    /// Its name.
    pub name: &'p str,
    /// Names and values of labels, the values as they are spelled.
    pub labels: Vec<(&'p str, &'p str)>,
    /// The number.
    pub value: f64,
    /// The number as it is spelled.
    pub spelled: &'p str,
}

impl Sample<'_> {
    /// Its name and labels, as the page has them.
    #[must_use]
    pub fn series(&self) -> String {
        if self.labels.is_empty() {
            return self.name.to_owned();
        }
        let labels: Vec<_> = self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}

/// Reads a page.
///
/// # Errors
/// What is wrong, with the line.
pub fn parse(page: &[u8]) -> Result<Vec<Family<'_>>, String> {
    let page = std::str::from_utf8(page).map_err(|error| format!("not UTF-8: {error}"))?;
    let mut reading = Reading::default();
    if page.is_empty() {
        return Ok(reading.families);
    }
    let lines = page.strip_suffix('\n').ok_or("no line end at the end")?;
    for (number, line) in lines.split('\n').enumerate() {
        reading.line(line).map_err(|what| format!("line {}: {what}: {line:?}", number + 1))?;
    }
    reading.end_family()?;
    Ok(reading.families)
}

#[derive(Default)]
struct Reading<'p> {
    families: Vec<Family<'p>>,
    announced: HashSet<&'p str>,
    /// The family that a sample's name belongs to.
    taken: HashMap<&'p str, &'p str>,
    series: HashSet<(&'p str, Vec<(&'p str, &'p str)>)>,
    /// A `HELP` that waits for its `TYPE`.
    help: Option<&'p str>,
}

impl<'p> Reading<'p> {
    fn line(&mut self, line: &'p str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            self.end_family()?;
            return Ok(self.help(rest)?);
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            return Ok(self.kind(rest)?);
        }
        if self.help.is_some() {
            return Err("HELP without TYPE".to_owned());
        }
        Ok(self.sample(line)?)
    }

    fn help(&mut self, rest: &'p str) -> Result<(), &'static str> {
        let (name, text) = rest.split_once(' ').ok_or("HELP without a space")?;
        expect_escapes(text, "\\n")?;
        if !is_metric_name(name) {
            return Err("bad name");
        }
        if self.help.replace(name).is_some() {
            return Err("HELP without TYPE");
        }
        if self.announced.insert(name) { Ok(()) } else { Err("family twice") }
    }

    fn kind(&mut self, rest: &'p str) -> Result<(), &'static str> {
        let (name, kind) = rest.split_once(' ').ok_or("TYPE without a type")?;
        if self.help.take() != Some(name) {
            return Err("TYPE without HELP before it");
        }
        if !["counter", "gauge", "histogram", "summary"].contains(&kind) {
            return Err("unknown type");
        }
        self.families.push(Family { name, kind, samples: Vec::new() });
        Ok(())
    }

    fn sample(&mut self, line: &'p str) -> Result<(), &'static str> {
        let sample = sample(line)?;
        let family = self.families.last_mut().ok_or("sample before any family")?;
        let suffix = sample.name.strip_prefix(family.name).ok_or("sample of another family")?;
        let fits = match family.kind {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            "summary" => ["_sum", "_count"].contains(&suffix),
            _ => suffix.is_empty(),
        };
        if !fits {
            return Err("suffix that the type doesn't have");
        }
        if *self.taken.entry(sample.name).or_insert(family.name) != family.name {
            return Err("name of another family's samples");
        }
        let mut labels = sample.labels.clone();
        labels.sort_unstable();
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err("label twice");
        }
        if !self.series.insert((sample.name, labels)) {
            return Err("series twice");
        }
        family.samples.push(sample);
        Ok(())
    }

    fn end_family(&self) -> Result<(), String> {
        let Some(family) = self.families.last() else { return Ok(()) };
        let checked = match family.kind {
            "histogram" => check_histogram(family),
            "summary" => check_pairs(&family.samples),
            _ => Ok(()),
        };
        checked.map_err(|what| format!("{}: {what}", family.name))
    }
}

/// `name{label="value",label="value"} number`.
fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let name_end = line.find(['{', ' ']).ok_or("no number")?;
    let (name, mut rest) = line.split_at(name_end);
    if !is_metric_name(name) {
        return Err("bad name");
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("label without a value")?;
            if !is_label_name(label) {
                return Err("bad label name");
            }
            let end = value_end(after).ok_or("label value without an end")?;
            let (value, after) = after.split_at(end);
            expect_escapes(value, "\\n\"")?;
            labels.push((label, value));
            rest = &after[1..];
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').ok_or("no comma between labels")?;
        }
    }
    let spelled = rest.strip_prefix(' ').ok_or("no space before the number")?;
    Ok(Sample { name, labels, value: number(spelled)?, spelled })
}

/// Where the quote is that ends a label's value.
fn value_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

/// After each backslash one of these.
fn expect_escapes(text: &str, allowed: &str) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && !bytes.next().is_some_and(|next| allowed.as_bytes().contains(&next)) {
            return Err("bad escape");
        }
    }
    Ok(())
}

fn number(text: &str) -> Result<f64, &'static str> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "+Inf" => return Ok(f64::INFINITY),
        "-Inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let known = |byte: u8| byte.is_ascii_digit() || b"+-.e".contains(&byte);
    let number = if text.bytes().all(known) { text.parse().ok() } else { None };
    number.filter(|number: &f64| number.is_finite()).ok_or("bad number")
}

fn is_metric_name(name: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    name.bytes().next().is_some_and(first) && name.bytes().all(|byte| first(byte) || byte.is_ascii_digit())
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

/// Each label set of a histogram has its buckets, its sum and its count, one after the other.
fn check_histogram(family: &Family<'_>) -> Result<(), &'static str> {
    let is_bucket = |sample: &&Sample<'_>| sample.name.ends_with("_bucket");
    let mut rest = family.samples.as_slice();
    while !rest.is_empty() {
        let buckets = rest.iter().take_while(is_bucket).count();
        let (buckets, after) = rest.split_at(buckets);
        let [sum, count, after @ ..] = after else { return Err("a histogram without sum and count") };
        check_buckets(buckets, sum, count)?;
        rest = after;
    }
    Ok(())
}

fn check_buckets(buckets: &[Sample<'_>], sum: &Sample<'_>, count: &Sample<'_>) -> Result<(), &'static str> {
    let (mut bound, mut seen) = (f64::NEG_INFINITY, 0_u64);
    for (at, bucket) in buckets.iter().enumerate() {
        let Some((("le", le), labels)) = bucket.labels.split_last() else { return Err("bucket without le") };
        if *labels != *count.labels || *labels != *sum.labels {
            return Err("bucket, sum and count differ in their labels");
        }
        let (le, found) = (number(le)?, integer(bucket.spelled)?);
        if at > 0 && (le <= bound || le.is_nan()) {
            return Err("bounds do not ascend");
        }
        if found < seen {
            return Err("buckets are not cumulative");
        }
        (bound, seen) = (le, found);
    }
    if bound != f64::INFINITY {
        return Err("no bucket +Inf at the end");
    }
    if !sum.name.ends_with("_sum") || !count.name.ends_with("_count") {
        return Err("no sum and count after the buckets");
    }
    if integer(count.spelled)? == seen { Ok(()) } else { Err("count differs from the bucket +Inf") }
}

/// Sum and count of each label set, one after the other.
fn check_pairs(samples: &[Sample<'_>]) -> Result<(), &'static str> {
    for pair in samples.chunks(2) {
        let [sum, count] = pair else { return Err("sum without count") };
        if !sum.name.ends_with("_sum") || !count.name.ends_with("_count") || sum.labels != count.labels {
            return Err("sum and count do not belong together");
        }
        integer(count.spelled)?;
    }
    Ok(())
}

fn integer(text: &str) -> Result<u64, &'static str> {
    text.parse().map_err(|_| "a count that is no integer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(page: &str) -> String {
        parse(page.as_bytes()).expect_err(page)
    }

    const HISTOGRAM: &str = "# HELP h x\n# TYPE h histogram\nh_bucket{a=\"b\",le=\"0.5\"} 1\n\
         h_bucket{a=\"b\",le=\"+Inf\"} 3\nh_sum{a=\"b\"} NaN\nh_count{a=\"b\"} 3\n";

    #[test]
    fn a_page_is_read() {
        let page =
            format!("# HELP c a \\\\ \\n\n# TYPE c counter\nc{{l=\"\\\"\\\\,}}\"}} 1.5e-07\n{HISTOGRAM}");
        let families = parse(page.as_bytes()).expect("a page");
        assert_eq!(families[0].samples[0].labels, [("l", r#"\"\\,}"#)]);
        assert_eq!(families[0].samples[0].value, 1.5e-7);
        assert_eq!(families[0].samples[0].series(), r#"c{l="\"\\,}"}"#);
        assert_eq!(families[1].samples[3].series(), r#"h_count{a="b"}"#);
        assert_eq!((families[1].kind, families[1].samples.len()), ("histogram", 4));
        assert!(parse(b"").expect("nothing").is_empty());
    }

    #[test]
    fn what_is_not_strict_is_refused() {
        let head = "# HELP c x\n# TYPE c counter\n";
        for (page, expected) in [
            (format!("{head}c 1"), "no line end"),
            (format!("{head}c 1\n\n"), "no number"),
            (format!("{head}c 1\nc 2\n"), "series twice"),
            (format!("{head}{head}"), "family twice"),
            (format!("{head}d 1\n"), "another family"),
            (format!("{head}c_total 1\n"), "suffix"),
            (format!("{head}c inf\n"), "bad number"),
            (format!("{head}c 1 1\n"), "bad number"),
            (format!("{head}c{{}} 1\n"), "label without"),
            (format!("{head}c{{a=\"1\",a=\"2\"}} 1\n"), "label twice"),
            (format!("{head}c{{a=\"\\t\"}} 1\n"), "bad escape"),
            (format!("{head}c{{a:b=\"\"}} 1\n"), "bad label name"),
            ("# TYPE c counter\n".to_owned(), "TYPE without HELP"),
            ("# HELP c x\nc 1\n".to_owned(), "HELP without TYPE"),
            ("# HELP c x\\t\n# TYPE c counter\n".to_owned(), "bad escape"),
            ("# HELP c x\n# TYPE c untyped\n".to_owned(), "unknown type"),
            (HISTOGRAM.replace("5\"} 1", "5\"} 4"), "not cumulative"),
            (HISTOGRAM.replace("h_count{a=\"b\"} 3", "h_count{a=\"b\"} 2"), "count differs"),
            (HISTOGRAM.replace("+Inf", "7"), "no bucket +Inf"),
            (HISTOGRAM.replace("0.5", "+Inf"), "series twice"),
            (HISTOGRAM.replace("h_sum{a=\"b\"} NaN\n", ""), "without sum"),
            (HISTOGRAM.replace("h_sum{a=\"b\"}", "h_sum{a=\"c\"}"), "differ in their labels"),
        ] {
            assert!(error(&page).contains(expected), "{page}: {}", error(&page));
        }
        assert!(parse(b"\xff\n").expect_err("no text").contains("UTF-8"));
    }
}
