//! What a reader shows of the victim's metrics.

use std::collections::BTreeMap;

use dyn_metrics_reader::Collector;

/// Samples by their name with labels, as the text has them; those about the system itself are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page(pub BTreeMap<String, f64>);

impl Page {
    /// What the collector renders now.
    ///
    /// # Panics
    /// When that isn't text.
    #[must_use]
    pub fn of(collector: &mut Collector) -> Self {
        let mut text = Vec::new();
        collector.render(&mut text);
        Self::parse(std::str::from_utf8(&text).expect("UTF-8"))
    }

    fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let is_ours = !name.starts_with(['#']) && !name.starts_with("dyn_metrics_");
            is_ours.then(|| (name.to_owned(), value.parse().expect("a number")))
        };
        Self(text.lines().filter_map(sample).collect())
    }

    /// A sample; 0 when there is none.
    #[must_use]
    pub fn value(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// Sum over the samples of this name, whatever their labels.
    #[must_use]
    pub fn total(&self, name: &str) -> f64 {
        let same = |key: &&String| key.split('{').next() == Some(name);
        self.0.keys().filter(same).map(|key| self.0[key]).sum()
    }
}

/// Whether a sample may fall.
#[must_use]
pub fn is_gauge(name: &str) -> bool {
    ["deaths_running", "deaths_high", "deaths_recent", "deaths_all", "deaths_state"]
        .iter()
        .any(|gauge| name.split('{').next() == Some(gauge))
}

/// What is wrong with `now`, shown after a death, in the light of what was shown `before` the scenario and what
/// is shown when it is `done`.
#[must_use]
pub fn faults(before: &Page, now: &Page, done: &Page, loses: bool, vanishing: Option<&str>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, value) in &before.0 {
        let may_vanish = loses || vanishing.is_some_and(|family| name.starts_with(family));
        match now.0.get(name) {
            None if may_vanish => (),
            None => faults.push(format!("{name} is gone, was {value}")),
            Some(found) if loses && *found == 0.0 => (),
            Some(found) if found < value && !is_gauge(name) => {
                faults.push(format!("{name} was {value}, is {found}"));
            }
            Some(_) => (),
        }
    }
    for (name, value) in &now.0 {
        let (first, last) = (before.value(name), done.value(name));
        let is_right = if is_gauge(name) {
            vanishing.is_some_and(|family| name.starts_with(family)) || *value == first || *value == last
        } else {
            let may_vanish = loses || vanishing.is_some_and(|family| name.starts_with(family));
            (first..=last).contains(value) || (may_vanish && [first, last].contains(value))
        };
        if !is_right {
            faults.push(format!("{name} is {value}, expected from {first} to {last}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Page {
        Page::parse(text)
    }

    #[test]
    fn what_is_gone_has_fallen_or_was_made_up_is_a_fault() {
        let before = page("# HELP x\na_total 5\nb_total{n=\"1\"} 2\ndeaths_high 7\ndyn_metrics_x 3\n");
        let done = page("a_total 8\nb_total{n=\"1\"} 2\ndeaths_high 9\nc_total 1\n");
        let now = |text| faults(&before, &page(text), &done, false, None).len();
        assert_eq!(now("a_total 5\nb_total{n=\"1\"} 2\ndeaths_high 7\n"), 0);
        assert_eq!(now("a_total 8\nb_total{n=\"1\"} 2\ndeaths_high 9\nc_total 1\n"), 0);
        assert_eq!(now("a_total 4\nb_total{n=\"1\"} 2\ndeaths_high 7\n"), 2);
        assert_eq!(now("a_total 9\nb_total{n=\"1\"} 2\ndeaths_high 8\n"), 2);
        assert_eq!(now("a_total 5\ndeaths_high 7\n"), 1);
        assert_eq!(page("a_total{x=\"1\"} 5\na_total{x=\"2\"} 6\nab_total 7\n").total("a_total"), 11.0);
    }
}
