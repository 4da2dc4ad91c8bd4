//! Which files the patterns lead to.
//!
//! A pattern is a file, a directory or a glob. A file's superseded predecessors lie beside it as
//! `NAME.superseded-ID` and belong to its group. In directories and globs, files that are no
//! segments are left out without a word, because other things may live there; a file that is named is expected
//! to be one.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use dyn_metrics_layout::file::{BIRTH_INFIX, superseded_base};

/// Files that belong to one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// The name; perhaps nothing has it.
    pub(crate) path: PathBuf,
    /// What the pattern that led to it says of it.
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

/// Finds the groups of `patterns`, in their order and without repetition.
pub(crate) fn discover(patterns: &[String]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut numbers = HashMap::new();
    for (path, expected) in patterns.iter().flat_map(|pattern| paths_of(pattern)) {
        let number = *numbers.entry(path.clone()).or_insert(groups.len());
        if number == groups.len() {
            groups.push(Group { path, expected, superseded: Vec::new() });
        }
        groups[number].expected = groups[number].expected.max(expected);
    }
    let parents: BTreeSet<PathBuf> = numbers.keys().map(|path| parent(path).to_owned()).collect();
    for file in parents.iter().flat_map(|parent| files_in(parent)) {
        if let Some(number) = base(&file).and_then(|base| numbers.get(&base)) {
            groups[*number].superseded.push(file);
        }
    }
    groups
}

/// The names that a pattern stands for.
fn paths_of(pattern: &str) -> Vec<(PathBuf, Expected)> {
    let path = Path::new(pattern);
    let (found, expected) = if path.is_dir() {
        (files_in(path), Expected::Anything)
    } else if pattern.contains(['*', '?', '[']) && path.symlink_metadata().is_err() {
        let paths = glob::glob(pattern).map(|paths| paths.filter_map(Result::ok).collect());
        (paths.unwrap_or_default(), Expected::Readable)
    } else {
        return vec![(path.to_owned(), Expected::Segment)];
    };
    // A superseded file stands for its name, even when nothing has that any more.
    let is_born = |file: &PathBuf| !file.to_string_lossy().contains(BIRTH_INFIX);
    let names: BTreeSet<PathBuf> =
        found.into_iter().filter(is_born).map(|file| base(&file).unwrap_or(file)).collect();
    names.into_iter().map(|name| (name, expected)).collect()
}

/// The name that a superseded file once had.
fn base(file: &Path) -> Option<PathBuf> {
    let name = file.file_name()?.as_bytes();
    superseded_base(name).map(|at| file.with_file_name(OsStr::from_bytes(&name[..at])))
}

/// Regular files in `directory`, by name; none when it can't be read.
fn files_in(directory: &Path) -> Vec<PathBuf> {
    let listed = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = listed.read_dir().into_iter().flatten().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut files: Vec<_> = files.map(|entry| directory.join(entry.file_name())).collect();
    files.sort();
    files
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
        let groups = discover(&patterns.iter().map(full).collect::<Vec<_>>());
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
    fn what_is_named_twice_is_found_once() {
        let directory = directory(&["a", "b"]);
        let (a, b) = (("a".into(), Expected::Readable, 0), ("b".into(), Expected::Segment, 0));
        assert_eq!(found(&directory, &["b", "*"]), [b.clone(), a.clone()]);
        assert_eq!(found(&directory, &["*", "b"]), [a, b]);
    }

    #[test]
    fn a_superseded_file_that_is_named_stands_for_itself() {
        let directory = directory(&["a", "a.superseded-1"]);
        assert_eq!(found(&directory, &["a.superseded-1"]), [("a.superseded-1".into(), Expected::Segment, 0)]);
    }
}
