//! Which segment a verb is about, and one look at it.

use std::path::Path;

use clap::builder::NonEmptyStringValueParser;
use dyn_metrics::DEFAULT_PATH;
use dyn_metrics_reader::check::Fault;
use dyn_metrics_reader::raw::Raw;
use dyn_metrics_reader::{Collector, Error, SegmentReport, SegmentState, Snapshot};

use crate::text::plural;
use crate::{Outcome, complain};

/// The environment variable that names the segment where no argument does.
const VARIABLE: &str = "DYN_METRICS_SHM";

/// The segment that a verb reads.
#[derive(Clone, Debug, clap::Args)]
pub struct SegmentArgs {
    /// Segment to read [default: DYN_METRICS_SHM, else /dev/shm/dynamo]
    #[arg(value_name = "SEGMENT", value_parser = NonEmptyStringValueParser::new())]
    segment: Option<String>,

    /// The same, as an option
    #[arg(long, value_name = "SEGMENT", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "segment")]
    shm: Option<String>,
}

impl SegmentArgs {
    /// The path that was given, or the default.
    pub fn path(&self) -> String {
        choose(&self.segment, &self.shm, DEFAULT_PATH)
    }
}

/// The first of what was given, the environment's, and `default`.
pub fn choose(argument: &Option<String>, option: &Option<String>, default: &str) -> String {
    let given = argument.as_ref().or(option.as_ref()).cloned();
    given.or_else(from_environment).unwrap_or_else(|| default.to_owned())
}

fn from_environment() -> Option<String> {
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty())?;
    Some(path.to_string_lossy().into_owned())
}

/// Reads the segment at `path`, and the superseded files beside it, once.
///
/// # Errors
/// When nothing of it can be read.
pub fn collect(path: &str) -> Result<Snapshot, Error> {
    if Path::new(path).is_dir() {
        return Err(Error::NotAFile { path: path.into(), found: "directory" });
    }
    let snapshot = Collector::new(&[path.to_owned()]).collect();
    if snapshot.stats.segments > 0 {
        return Ok(snapshot);
    }
    let unreadable = snapshot.segments.into_iter().find_map(|report| match report.state {
        SegmentState::Unreadable(error) => Some(error),
        _ => None,
    });
    Err(unreadable.unwrap_or_else(|| Error::NotFound { path: path.into() }))
}

/// The segments whose series are in `snapshot`.
pub fn served(snapshot: &Snapshot) -> impl Iterator<Item = &SegmentReport> {
    snapshot.segments.iter().filter(|report| report.state.is_served())
}

/// Says what of `snapshot` could not be read.
pub fn complain_about(snapshot: &Snapshot) -> Outcome {
    let complaints: Vec<String> = snapshot.segments.iter().filter_map(complaint).collect();
    complaints.iter().for_each(|complaint| complain(complaint));
    if complaints.is_empty() { Outcome::Fine } else { Outcome::Problems }
}

/// Says that structures of `raw` are damaged.
pub fn complain_about_raw(path: &str, raw: &Raw) -> Outcome {
    let Some(first) = raw.skipped.first() else { return Outcome::Fine };
    let number = plural(raw.skipped.len() as u64, "part", "parts");
    let Fault { offset, what, .. } = first;
    complain(&format!(
        "{path}: {number} skipped, first at offset {offset}: {what}; see dyn-metrics check {path}"
    ));
    Outcome::Problems
}

fn complaint(report: &SegmentReport) -> Option<String> {
    let path = report.path.display();
    match &report.state {
        SegmentState::Unreadable(error) => Some(format!("{error}; shown without it")),
        SegmentState::Missing => Some(format!("{path}: no such file; shown are its superseded files")),
        _ => {
            let first = report.skipped.first()?;
            let number = plural(report.skipped.len() as u64, "part", "parts");
            Some(format!("{path}: {number} skipped, first {first}; see dyn-metrics check {path}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(choose(&some("/a"), &None, "/c"), "/a");
        assert_eq!(choose(&None, &some("/b"), "/c"), "/b");
    }

    #[test]
    fn a_directory_and_a_missing_file_are_no_segments() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
        let error = collect(&path("")).unwrap_err().to_string();
        assert!(error.ends_with("found a directory, expected a regular file"), "{error}");
        let error = collect(&path("none")).unwrap_err().to_string();
        assert!(error.ends_with("none: no such file, expected a segment"), "{error}");
        let error = collect(&path("none*")).unwrap_err().to_string();
        assert!(error.ends_with("none*: no such file, expected a segment"), "{error}");
    }
}
