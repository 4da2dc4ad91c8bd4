//! Which segment a verb is about, and one look at it.

use std::ffi::OsString;

use clap::builder::NonEmptyStringValueParser;
use dyn_metrics::DEFAULT_PATH;
use dyn_metrics_reader::check::Fault;
use dyn_metrics_reader::raw::Raw;
use dyn_metrics_reader::{Collector, Error, LeftOut, LeftOutReason, SegmentReport, SegmentState, Snapshot};

use crate::error::CliError;
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
    pub fn path(&self) -> Result<String, NotUtf8> {
        choose(&self.segment, &self.shm, DEFAULT_PATH).map(|chosen| chosen.path)
    }
}

/// A path, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub path: String,
    /// Whether that was the environment.
    pub by_environment: bool,
}

/// The environment names the segment in bytes that are no text.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE}: found {0:?}, expected UTF-8")]
pub struct NotUtf8(OsString);

/// The first of what was given, the environment's, and `default`.
pub fn choose(argument: &Option<String>, option: &Option<String>, default: &str) -> Result<Chosen, NotUtf8> {
    choose_from(argument.as_ref().or(option.as_ref()), std::env::var_os(VARIABLE), default)
}

fn choose_from(
    given: Option<&String>,
    environment: Option<OsString>,
    default: &str,
) -> Result<Chosen, NotUtf8> {
    let chosen = |path: &str, by_environment| Chosen { path: path.to_owned(), by_environment };
    if let Some(path) = given {
        return Ok(chosen(path, false));
    }
    match environment.filter(|path| !path.is_empty()) {
        Some(path) => path.into_string().map(|path| chosen(&path, true)).map_err(NotUtf8),
        None => Ok(chosen(default, false)),
    }
}

/// Reads once what `path` leads to: a segment with the superseded files beside it, a directory or a glob.
///
/// # Errors
/// When nothing of it can be read.
pub fn collect(path: &str, allow_uids: &[u32]) -> Result<Snapshot, CliError> {
    let snapshot = Collector::new(&[path.to_owned()]).allow_uids(allow_uids).collect();
    if snapshot.stats.segments > 0 {
        return Ok(snapshot);
    }
    if snapshot.segments.is_empty() && snapshot.patterns.iter().any(|pattern| pattern.is_search) {
        let left_out = left_out(&snapshot.left_out).map_or(String::new(), |what| format!(": {what}"));
        return Err(CliError::NothingFound { pattern: path.to_owned(), left_out });
    }
    let unreadable = snapshot.segments.into_iter().find_map(|report| match report.state {
        SegmentState::Unreadable(error) => Some(error),
        _ => None,
    });
    Err(unreadable.unwrap_or_else(|| Error::NotFound { path: path.into() }).into())
}

/// The segments whose series are in `snapshot`.
pub fn served(snapshot: &Snapshot) -> impl Iterator<Item = &SegmentReport> {
    snapshot.segments.iter().filter(|report| report.state.is_served())
}

/// Says what of `snapshot` could not be read.
pub fn complain_about(snapshot: &Snapshot) -> Outcome {
    let complaints = complaints(snapshot);
    complaints.iter().for_each(|complaint| complain(complaint));
    if complaints.is_empty() { Outcome::Fine } else { Outcome::Problems }
}

/// What of `snapshot` could not be read.
pub fn complaints(snapshot: &Snapshot) -> Vec<String> {
    let parts = |report: &SegmentReport| {
        let of = snapshot.stats.skipped.iter().filter(|skipped| skipped.segment == report.label);
        of.map(|skipped| skipped.count).sum()
    };
    let of_segments = snapshot.segments.iter().filter_map(|report| complaint(report, parts(report)));
    of_segments.chain(left_out(&snapshot.left_out)).collect()
}

/// Says that structures of `raw` are damaged.
pub fn complain_about_raw(path: &str, raw: &Raw) -> Outcome {
    let Some(first) = raw.skipped.first() else { return Outcome::Fine };
    let number = plural(raw.skipped.len() as u64 + raw.omitted, "part", "parts");
    let Fault { offset, what, .. } = first;
    complain(&format!(
        "{path}: {number} skipped, first at offset {offset}: {what}; see dyn-metrics check {path}"
    ));
    Outcome::Problems
}

/// What is wrong with one segment, of which so many parts were skipped.
fn complaint(report: &SegmentReport, parts: u64) -> Option<String> {
    let path = report.path.display();
    match &report.state {
        SegmentState::Unreadable(error) => Some(format!("{error}; shown without it")),
        SegmentState::Missing => Some(format!("{path}: no such file; shown are its superseded files")),
        SegmentState::Copy(of) => Some(format!("{path}: a copy of {}; shown without it", of.display())),
        _ => {
            let first = report.skipped.first()?;
            let number = plural(parts, "part", "parts");
            Some(format!("{path}: {number} skipped, first {first}; see dyn-metrics check {path}"))
        }
    }
}

/// What was found and left out, other things than segments aside.
fn left_out(left_out: &LeftOut) -> Option<String> {
    let told = [
        (LeftOutReason::PermissionDenied, "permission denied"),
        (LeftOutReason::Owner, "of other users (--allow-uid)"),
    ];
    let told: Vec<_> = told.into_iter().filter(|(reason, _)| left_out.count(*reason) > 0).collect();
    let total = told.iter().map(|(reason, _)| left_out.count(*reason) as u64).sum();
    let first = told.iter().find_map(|(reason, _)| left_out.files(*reason).first())?.display();
    let parts: Vec<_> = told.iter().map(|(r, what)| format!("{} {what}", left_out.count(*r))).collect();
    Some(format!("{} left out: {}, first {first}", plural(total, "file", "files"), parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn what_is_given_wins_and_an_empty_variable_is_none() {
        let chosen = |path: &str, by_environment| Chosen { path: path.to_owned(), by_environment };
        let (given, environment) = ("/a".to_owned(), || Some(OsString::from("/b")));
        assert_eq!(choose_from(Some(&given), environment(), "/c").unwrap(), chosen("/a", false));
        assert_eq!(choose_from(None, environment(), "/c").unwrap(), chosen("/b", true));
        for nothing in [None, Some(OsString::new())] {
            assert_eq!(choose_from(None, nothing, "/c").unwrap(), chosen("/c", false));
        }
        let bytes = OsString::from_vec(b"/b\xff".to_vec());
        let error = choose_from(None, Some(bytes), "/c").unwrap_err();
        assert_eq!(error.to_string(), r#"DYN_METRICS_SHM: found "/b\xFF", expected UTF-8"#);
    }

    #[test]
    fn what_holds_no_segment_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name| directory.path().join(name).to_str().unwrap().to_owned();
        for (name, expected) in [
            ("", "/: no segment found"),
            ("none", "none: no such file, expected a segment"),
            ("none*", "none*: no segment found"),
        ] {
            let error = collect(&path(name), &[]).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn all_skipped_parts_are_counted_also_those_that_are_not_described() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = directory.path().join("segment");
        let registry = dyn_metrics::Registry::open_at(&path).unwrap();
        let family = registry.family::<dyn_metrics::Counter>(&dyn_metrics::Opts::new("a_total", ""), &["n"]);
        let family = family.unwrap();
        (0..100).for_each(|number| family.with(&[&number.to_string()]).inc());
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        for series in dyn_metrics_reader::raw::read(&path).unwrap().series {
            std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 8], series.offset + 24).unwrap();
        }
        let snapshot = collect(path.to_str().unwrap(), &[]).unwrap();
        let parts = snapshot.stats.skipped.iter().map(|skipped| skipped.count).sum();
        let complaint = complaint(&snapshot.segments[0], parts).unwrap();
        assert!(complaint.contains(": 100 parts skipped, first record at offset"), "{complaint}");
    }
}
