//! Which families and series are wanted.

use dyn_metrics_reader::{Labels, Snapshot};
use glob::Pattern;

/// What the user wants to see; without any condition, everything.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Filter {
    /// Show families whose name matches, such as 'dynamo_frontend_*'; may be repeated, any of them suffices
    #[arg(long, value_name = "GLOB")]
    family: Vec<Pattern>,

    /// Show series that have this label; may be repeated, all of them are needed
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_label)]
    label: Vec<(String, String)>,

    /// Show families up to this priority level, 0 (most important) to 255
    #[arg(long, value_name = "N")]
    level: Option<u8>,
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl Filter {
    /// Whether there is any condition.
    pub fn is_set(&self) -> bool {
        !self.family.is_empty() || !self.label.is_empty() || self.level.is_some()
    }

    /// Drops what is not wanted, and families of which no series remains.
    pub fn apply(&self, snapshot: &mut Snapshot) {
        let is_wanted_level = |level| self.level.is_none_or(|most| level <= most);
        snapshot.families.retain(|family| self.wants_family(&family.name) && is_wanted_level(family.level));
        if self.label.is_empty() {
            return;
        }
        for family in &mut snapshot.families {
            family.series.retain(|series| self.wants_series(&series.labels));
        }
        snapshot.families.retain(|family| !family.series.is_empty());
    }

    fn wants_family(&self, name: &str) -> bool {
        self.family.is_empty() || self.family.iter().any(|pattern| pattern.matches(name))
    }

    fn wants_series(&self, labels: &Labels) -> bool {
        self.label.iter().all(|(name, value)| labels.value(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        filter: Filter,
    }

    fn filter(args: &[&str]) -> Filter {
        Cli::try_parse_from(["dump"].iter().chain(args)).unwrap().filter
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn without_conditions_everything_is_wanted() {
        let filter = filter(&[]);
        assert!(!filter.is_set());
        assert!(filter.wants_family("any") && filter.wants_series(&labels(&[])));
    }

    #[test]
    fn any_family_glob_suffices() {
        let filter = filter(&["--family", "llm_*_total", "--family", "up?"]);
        let wanted = ["llm_requests_total", "llm__total", "ups", "llm_a", "up", "x_llm_requests_total"];
        assert_eq!(
            wanted.map(|name| filter.wants_family(name)),
            [true, true, true, false, false, false],
            "a glob matches the whole name"
        );
    }

    #[test]
    fn all_labels_are_needed() {
        let filter = filter(&["--label", "model=a=b", "--label", "status="]);
        assert!(filter.wants_series(&labels(&[("model", "a=b"), ("status", ""), ("x", "y")])));
        assert!(!filter.wants_series(&labels(&[("model", "a=b")])), "empty is not missing");
        assert!(!filter.wants_series(&labels(&[("model", "a"), ("status", "")])));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (args, expected) in [
            (["--label", "model"], "expected NAME=VALUE"),
            (["--label", "=x"], "expected NAME=VALUE"),
            (["--family", "a["], "invalid value 'a['"),
            (["--level", "256"], "256 is not in 0..=255"),
            (["--level", "low"], "invalid value 'low'"),
        ] {
            let error = Cli::try_parse_from(["dump"].iter().chain(&args)).unwrap_err().to_string();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }
}
