//! Whether anything fell or vanished from one page to the next.

use std::collections::HashMap;

/// Which way a sample may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Up,
    Down,
    Any,
}

/// What a page did that none may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// Samples that went the wrong way.
    pub decreases: u64,
    /// Samples that were on the page before and no longer are.
    pub vanished: u64,
    /// Some of them, in words.
    pub texts: Vec<String>,
}

/// Compares the pages of one exporter, in their order.
#[derive(Debug, Default)]
pub struct Watch {
    /// Value of each sample, and the page it was last seen on.
    last: HashMap<String, (f64, u64)>,
    pages: u64,
}

/// Texts for one page.
const MOST: usize = 10;

impl Watch {
    /// Compares a page in Prometheus' text format with the one before.
    ///
    /// Watched are all samples of counters, histograms and summaries, and of the gauges whose mode makes them go one
    /// way: sums of what is only incremented, largest and smallest.
    pub fn feed(&mut self, page: &str) -> Wrong {
        self.pages += 1;
        let (mut wrong, mut way, mut seen) = (Wrong::default(), Way::Any, 0);
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                way = way_of(rest);
            } else if way != Way::Any && !line.starts_with('#') && !line.is_empty() {
                seen += 1;
                self.compare(line, way, &mut wrong);
            }
        }
        if seen < self.last.len() {
            self.find_vanished(&mut wrong);
        }
        wrong
    }

    /// Samples watched.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.last.len()
    }

    /// The value of a sample as the last page had it.
    #[must_use]
    pub fn value(&self, sample: &str) -> Option<f64> {
        self.last.get(sample).map(|(value, _)| *value)
    }

    /// All samples as the last page had them.
    pub fn last(&self) -> impl Iterator<Item = (&str, f64)> {
        self.last.iter().map(|(name, (value, _))| (name.as_str(), *value))
    }

    fn compare(&mut self, line: &str, way: Way, wrong: &mut Wrong) {
        let split = line.rsplit_once(' ').and_then(|(name, value)| Some((name, value.parse::<f64>().ok()?)));
        let Some((name, value)) = split else {
            wrong.decreases += 1;
            return wrong.texts.push(format!("a line that is no sample: {line}"));
        };
        let Some((last, page)) = self.last.get_mut(name) else {
            self.last.insert(name.to_owned(), (value, self.pages));
            return;
        };
        let keeps = if way == Way::Up { value >= *last } else { value <= *last };
        if !keeps {
            wrong.decreases += 1;
            if wrong.texts.len() < MOST {
                wrong.texts.push(format!("{name} went from {last} to {value}"));
            }
        }
        (*last, *page) = (value, self.pages);
    }

    fn find_vanished(&mut self, wrong: &mut Wrong) {
        let pages = self.pages;
        for (name, _) in self.last.iter().filter(|(_, (_, page))| *page != pages) {
            wrong.vanished += 1;
            if wrong.texts.len() < MOST {
                wrong.texts.push(format!("{name} vanished"));
            }
        }
        self.last.retain(|_, (_, page)| *page == pages);
    }
}

/// Of `NAME TYPE`.
fn way_of(family: &str) -> Way {
    match family.split_once(' ') {
        Some((_, "counter" | "histogram" | "summary")) => Way::Up,
        Some(("chaos_kept" | "chaos_kept_by_seat" | "chaos_highest", _)) => Way::Up,
        Some(("chaos_lowest", _)) => Way::Down,
        _ => Way::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# HELP a_total A\n# TYPE a_total counter\na_total{n=\"1 2\"} 5\na_total{n=\"3\"} 7\n\
                        # TYPE g gauge\ng 5\n# TYPE chaos_lowest gauge\nchaos_lowest 9\n\
                        # TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.5\nh_count 3\n";

    fn second(change: (&str, &str)) -> Wrong {
        let mut watch = Watch::default();
        assert_eq!(watch.feed(PAGE), Wrong::default());
        assert!(PAGE.contains(change.0));
        watch.feed(&PAGE.replace(change.0, change.1))
    }

    #[test]
    fn what_falls_is_reported() {
        for (change, text) in [
            (("} 5", "} 4"), "a_total{n=\"1 2\"} went from 5 to 4"),
            (("h_sum 4.5", "h_sum 4.25"), "h_sum went from 4.5 to 4.25"),
            (("h_count 3", "h_count 2"), "h_count went from 3 to 2"),
            (("lowest 9", "lowest 10"), "chaos_lowest went from 9 to 10"),
        ] {
            assert_eq!(second(change), Wrong { decreases: 1, vanished: 0, texts: vec![text.to_owned()] });
        }
        assert_eq!(second(("} 5", "} NaN")).decreases, 1);
        assert_eq!(second(("a_total{n=\"3\"} 7", "a_total{n=\"3\"} x")).decreases, 1);
    }

    #[test]
    fn what_vanishes_is_reported_once() {
        let wrong = second(("a_total{n=\"3\"} 7\n", ""));
        let text = "a_total{n=\"3\"} vanished".to_owned();
        assert_eq!(wrong, Wrong { decreases: 0, vanished: 1, texts: vec![text] });
        let mut watch = Watch::default();
        watch.feed(PAGE);
        assert_eq!(watch.feed("").vanished, 6);
        assert_eq!(watch.feed(""), Wrong::default());
    }

    #[test]
    fn what_grows_or_may_fall_is_not() {
        for change in [("} 5", "} 6"), ("\ng 5", "\ng 4"), ("lowest 9", "lowest 8"), ("h_sum", "h_sum")] {
            assert_eq!(second(change), Wrong::default());
        }
    }
}
