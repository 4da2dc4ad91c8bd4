//! Which files the patterns lead to.
//!
//! A pattern is a file, a directory or a glob. A file's superseded predecessors lie beside it as
//! `NAME.superseded-ID` and belong to its group. In directories and globs, files that are no
//! segments are left out, because other things may live there; a file that is named is expected
//! to be one.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::callbacks::is_socket_name;
use dyn_metrics_layout::file::{birth_base, superseded_base};

use crate::left_out::{LeftOut, LeftOutReason};
use crate::snapshot::PatternReport;

/// Files that belong to one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The name; perhaps nothing has it.
    pub(crate) path: PathBuf,
    /// Number of the first pattern that led to it.
    pub(crate) pattern: usize,
    /// What the patterns that led to it say of it.
    pub(crate) expected: Expected,
    /// Superseded files beside it, by name.
    pub(crate) superseded: Vec<PathBuf>,
}

/// What a pattern says of the files that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expected {
    /// Found in a directory: what is no segment or can't be read is left out.
    Anything,
    /// Matches a glob: what is no segment is left out.
    Readable,
    /// Named: must exist and be a segment.
    Segment,
}

/// Finds the groups of `patterns`, in their order and without repetition, and what each of these leads to. Directories
/// in which nobody may look are left out.
pub(crate) fn discover(patterns: &[String], left_out: &mut LeftOut) -> (Vec<Group>, Vec<PatternReport>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut numbers = HashMap::new();
    let mut reports = Vec::with_capacity(patterns.len());
    for (pattern, text) in patterns.iter().enumerate() {
        let (paths, expected) = paths_of(text, left_out);
        let is_search = expected != Expected::Segment;
        reports.push(PatternReport { pattern: text.clone(), is_search, files: paths.len() });
        for path in paths {
            let number = *numbers.entry(path.clone()).or_insert(groups.len());
            if number == groups.len() {
                groups.push(Group { path, pattern, expected, superseded: Vec::new() });
            }
            groups[number].expected = groups[number].expected.max(expected);
        }
    }
    let parents: BTreeSet<PathBuf> = numbers.keys().map(|path| parent(path).to_owned()).collect();
    for file in parents.iter().flat_map(|parent| files_in(parent).unwrap_or_default()).filter(|f| is_born(f))
    {
        if let Some(number) = base(&file).and_then(|base| numbers.get(&base)) {
            groups[*number].superseded.push(file);
        }
    }
    for report in reports.iter_mut().filter(|report| !report.is_search) {
        let group = &groups[numbers[Path::new(&report.pattern)]];
        report.files = usize::from(!group.superseded.is_empty() || group.path.symlink_metadata().is_ok());
    }
    (groups, reports)
}

/// The names that a pattern stands for, and what it says of them.
fn paths_of(pattern: &str, left_out: &mut LeftOut) -> (Vec<PathBuf>, Expected) {
    let path = Path::new(pattern);
    let (found, expected) = if path.is_dir() {
        let found = files_in(path).unwrap_or_else(|_| {
            left_out.add(path, LeftOutReason::PermissionDenied);
            Vec::new()
        });
        (found, Expected::Anything)
    } else if let Some(paths) = glob_of(path, pattern) {
        let found = paths.filter_map(|found| {
            found.map_err(|error| left_out.add(error.path(), LeftOutReason::PermissionDenied)).ok()
        });
        (found.collect(), Expected::Readable)
    } else {
        return (vec![path.to_owned()], Expected::Segment);
    };
    // A superseded file stands for its name, even when nothing has that any more.
    let names: BTreeSet<PathBuf> =
        found.into_iter().filter(|file| is_born(file)).map(|file| base(&file).unwrap_or(file)).collect();
    (names.into_iter().collect(), expected)
}

/// What a glob leads to; none for a pattern that is a file's name, also for want of being a valid glob.
fn glob_of(path: &Path, pattern: &str) -> Option<glob::Paths> {
    let is_glob = pattern.contains(['*', '?', '[']) && path.symlink_metadata().is_err();
    is_glob.then(|| glob::glob(pattern).ok()).flatten()
}

/// Whether it is neither one that is still being made, or whose maker has died, nor a socket of a process.
fn is_born(file: &Path) -> bool {
    file.file_name()
        .map(OsStr::as_bytes)
        .is_none_or(|name| birth_base(name).is_none() && !is_socket_name(name))
}

/// The name that a superseded file once had.
fn base(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.as_bytes();
    superseded_base(name).map(|at| file.with_file_name(OsStr::from_bytes(&name[..at])))
}

/// Regular files in `directory`, by name.
fn files_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = listed.read_dir()?.filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut files: Vec<_> = files.map(|entry| directory.join(entry.file_name())).collect();
    files.sort();
    Ok(files)
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(directory.path().join(file), "").unwrap();
        }
        directory
    }

    fn found(directory: &tempfile::TempDir, patterns: &[&str]) -> Vec<(String, Expected, usize)> {
        let full = |p: &&str| directory.path().join(p).to_string_lossy().into_owned();
        let patterns: Vec<_> = patterns.iter().map(full).collect();
        let (groups, _) = discover(&patterns, &mut LeftOut::default());
        let name = |group: &Group| group.path.file_name().unwrap().to_string_lossy().into_owned();
        groups.iter().map(|group| (name(group), group.expected, group.superseded.len())).collect()
    }

    #[test]
    fn a_file_leads_to_its_superseded_files_even_when_it_is_missing() {
        let directory = directory(&["a.superseded-1", "a.superseded-2", "ab", "a.superseded-"]);
        assert_eq!(found(&directory, &["a"]), [("a".into(), Expected::Segment, 2)]);
        assert_eq!(found(&directory, &["b"]), [("b".into(), Expected::Segment, 0)]);
    }

    #[test]
    fn directories_and_globs_group_by_name() {
        let directory = directory(&["b", "a", "a.superseded-1", "c.superseded-7"]);
        let all =
            |expected| [("a".into(), expected, 1), ("b".into(), expected, 0), ("c".into(), expected, 1)];
        assert_eq!(found(&directory, &[""]), all(Expected::Anything));
        assert_eq!(found(&directory, &["*"]), all(Expected::Readable));
        assert_eq!(found(&directory, &["[ab]*"]), all(Expected::Readable)[..2]);
    }

    #[test]
    fn each_pattern_says_what_it_leads_to() {
        let directory = directory(&["a", "b", "c.superseded-1"]);
        let full = |p: &str| directory.path().join(p).to_string_lossy().into_owned();
        let patterns = ["", "*", "a", "c", "d", "x*", "a["].map(full);
        let (_, reports) = discover(&patterns, &mut LeftOut::default());
        let found: Vec<_> = reports.iter().map(|report| (report.is_search, report.files)).collect();
        let (search, named) = (true, false);
        let expected =
            [(search, 3), (search, 3), (named, 1), (named, 1), (named, 0), (search, 0), (named, 0)];
        assert_eq!(found, expected, "what is no valid glob is a name");
        assert!(reports.iter().map(|report| &report.pattern).eq(&patterns));
    }

    #[test]
    fn what_is_named_twice_is_found_once() {
        let directory = directory(&["a", "b"]);
        let (a, b) = (("a".into(), Expected::Readable, 0), ("b".into(), Expected::Segment, 0));
        assert_eq!(found(&directory, &["b", "*"]), [b.clone(), a.clone()]);
        assert_eq!(found(&directory, &["*", "b"]), [a, b]);
    }

    #[test]
    fn what_is_still_being_made_is_left_alone() {
        let directory = directory(&["a", "a.birth-1", "a.superseded-1", "a.superseded-2.birth-2"]);
        assert_eq!(found(&directory, &["a"]), [("a".into(), Expected::Segment, 1)]);
        assert_eq!(found(&directory, &[""]), [("a".into(), Expected::Anything, 1)]);
    }

    #[test]
    fn sockets_for_callbacks_are_no_segments() {
        let directory = directory(&["a", ".dynm-ask-00000000000000ab-0000000000001234-0"]);
        for pattern in ["", "*", ".d*", "?*"] {
            let found = found(&directory, &[pattern]);
            assert!(found.iter().all(|(name, ..)| name == "a"), "{pattern}: {found:?}");
        }
    }

    #[test]
    fn a_superseded_file_that_is_named_stands_for_itself() {
        let directory = directory(&["a", "a.superseded-1"]);
        assert_eq!(found(&directory, &["a.superseded-1"]), [("a.superseded-1".into(), Expected::Segment, 0)]);
    }
}
